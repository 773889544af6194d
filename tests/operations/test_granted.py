"""What a bound caller reaches: by its grants, in their regions, under their ceilings; what it pays; and persons looked up."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.core.callers.caller import PUBLIC, Caller
from gateway.core.disclosure.counts import told_count, told_facet
from gateway.core.errors import (
    CaseRefMissing,
    InvalidParameter,
    LookupBudgetSpent,
    NotFound,
    NotPermitted,
    ObligationFailed,
    RowBudgetSpent,
    StoreError,
    UnknownParameter,
)
from gateway.operations import look_up_person as looking
from gateway.operations import owing, read_feed
from gateway.operations.answer_query import (
    dataset,
    datasets,
    dictionary,
    find_subjects,
    listings,
    one_list,
    record,
    records_page,
    subject_document,
)
from gateway.operations.answering import begin
from gateway.operations.look_up_person import PersonAsked, look_up_person
from gateway.operations.reaching import owed_of
from gateway.operations.render_public import settle
from gateway.services import Services
from gateway.store import budgets
from tests.operations.publishing import (
    DEPARTMENT,
    MARKET,
    PENALTIES,
    REGISTRATIONS,
    TAX,
    a_house,
    a_town,
    ask,
    code,
    department,
    granted,
    ids,
    penalty,
    person_number,
    put,
    read,
    walked,
    whole,
)

OTHER = "11220521XXT0001189"
PERSON = PersonAsked(dataset=PENALTIES, id_no=person_number(1), name="测试甲")


@pytest.fixture
async def town(tmp_path: Path, store_url: str) -> AsyncIterator[tuple[Services, dict[str, str]]]:
    """A small rendered town with the ids of its records, on SQLite and on PostgreSQL."""
    async with a_town(tmp_path, store_url) as town:
        yield town


async def seen(services: Services, caller: Caller, **params: str) -> set[str]:
    """Ids of all records that a caller walks over."""
    return {item["id"] for item in await walked(records_page, services, caller=caller, limit="2", **params)}


async def told(services: Services, caller: Caller) -> list[dict[str, Any]]:
    """The items of a caller's feed about records."""
    return [item for item in read(await read_feed.changes(services, caller, ask(since="0")))["items"] if item["op"] != "policy"]


async def test_without_a_grant_there_is_nothing(town: tuple[Services, dict[str, str]]) -> None:
    """Nobody's records, lists, datasets or subjects: empty, or the same 404 as for what never was; never a refusal about data."""
    services, made = town
    bare = department()
    assert await seen(services, bare) == set()
    assert read(await datasets(services, bare, "zh-CN"))["items"] == []
    assert read(await find_subjects(services, bare, ask(q="药业")))["items"] == []
    assert await told(services, bare) == []
    for story in (
        record(services, made["罚单"], bare, "zh-CN"),
        subject_document(services, code(1), bare, "zh-CN"),
        one_list(services, "tax-violations", bare, "zh-CN"),
        listings(services, "tax-violations", bare, ask()),
        dataset(services, PENALTIES, bare, "zh-CN"),
        dictionary(services, PENALTIES, bare, "zh-CN"),
    ):
        with pytest.raises(NotFound):
            await story
    with pytest.raises(NotPermitted):
        await look_up_person(services, bare, PERSON, "zh-CN")


async def test_a_grant_reaches_its_dataset_in_its_regions(town: tuple[Services, dict[str, str]]) -> None:
    """Pages, exports, single records, subjects, lists and feeds agree; outside the regions everything is as if it were not there."""
    services, made = town
    here = department(granted(PENALTIES))
    assert await seen(services, here) == {made["罚单"], made["店罚"], made["人罚"]}
    elsewhere = department(granted(PENALTIES, regions=("220600",)), granted(TAX, regions=("220600",)))
    assert await seen(services, elsewhere) == set()
    assert await told(services, elsewhere) == []
    assert read(await dataset(services, PENALTIES, elsewhere, "zh-CN"))["rows"] == 0
    with pytest.raises(NotFound):
        await record(services, made["罚单"], elsewhere, "zh-CN")
    with pytest.raises(NotFound):
        await subject_document(services, code(1), elsewhere, "zh-CN")
    assert read(await find_subjects(services, elsewhere, ask()))["items"] == []
    feed = await told(services, here)
    assert {item["record"] for item in feed if item["op"] == "add"} == {made["罚单"], made["店罚"], made["人罚"]}
    numbers = {item["record"]: item["seq"] for item in await told(services, DEPARTMENT) if item["op"] == "add"}
    assert all(numbers[item["record"]] == item["seq"] for item in feed if item["op"] == "add")
    exported = await whole(await records_page(services, here, ask(limit="all", format_="ndjson")))
    assert exported.count(b"\n") == 3


async def test_ceilings_hold_on_every_way(town: tuple[Services, dict[str, str]]) -> None:
    """What a ceiling hides is on no page, in no file, dictionary or filter; feeds do not name it; the stored text stays closed."""
    services, made = town
    wide, narrow = department(granted(PENALTIES)), department(granted(PENALTIES, ceilings={"fine_amount": "drop", "facts": "drop"}))
    shown = read(await record(services, made["罚单"], narrow, "zh-CN"))
    assert read(await record(services, made["罚单"], wide, "zh-CN"))["fields"]["fine_amount"] == "1.200000"
    assert not {"fine_amount", "facts"} & shown["fields"].keys()
    names = {each["name"] for each in read(await dictionary(services, PENALTIES, narrow, "zh-CN"))["fields"]}
    assert "fine_amount" not in names
    csv = await whole(await records_page(services, narrow, ask(limit="all", format_="csv")))
    assert b"fine_amount" not in csv
    with pytest.raises(Exception, match="unknown-parameter"):
        await records_page(services, narrow, ask(dataset=PENALTIES, fine_amount__gte="1"))
    ids(await put(services, PENALTIES, penalty(code(1), "通化市示例药业有限公司", "通示罚〔2026〕1号", fine="2.5")))


    await settle(services)
    mods = [[item for item in await told(services, each) if item["op"] == "mod"] for each in (wide, narrow)]
    assert [item["fields_changed"] for item in mods[0]] == [["fields.fine_amount", "marks"]]
    assert mods[1] == []


async def test_several_grants_side_by_side(town: tuple[Services, dict[str, str]]) -> None:
    """Each record under the first grant that reaches it; a question is asked under all ceilings together."""
    services, made = town
    both = department(
        granted(PENALTIES, id="a", regions=("220502",), ceilings={"fine_amount": "drop"}), granted(PENALTIES, id="b", regions=("220500",))
    )
    items = await walked(records_page, services, caller=both)
    assert {item["id"] for item in items} == {made["罚单"], made["店罚"], made["人罚"]}
    assert all(("fine_amount" in item["fields"]) == (item["region"] != "220502") for item in items)
    with pytest.raises(Exception, match="unknown-parameter"):
        await records_page(services, both, ask(dataset=PENALTIES, fine_amount__gte="1"))


async def test_the_subject_sees_its_own(town: tuple[Services, dict[str, str]]) -> None:
    """Tier `subject`: what is about itself, whoever else is in the store; without a key nothing at all."""
    services, made = town
    public = read(await subject_document(services, code(1), PUBLIC, "zh-CN"))
    me = Caller(tier="subject", purpose="self.read", purposes=("self.read",), credential_kind="session", subject_key=public["id"])
    assert await seen(services, me) == {made["药业"], made["罚单"]}
    nobody = Caller(tier="subject", purpose="self.read", purposes=("self.read",), credential_kind="session")
    assert await seen(services, nobody) == set()
    with pytest.raises(NotFound):
        await record(services, made["列名"], me, "zh-CN")
    with pytest.raises(NotPermitted):
        await read_feed.changes(services, me, ask(since="0"))


async def test_what_the_supervisor_reaches(town: tuple[Services, dict[str, str]]) -> None:
    """Before its sequence of changes has begun it walks the records themselves, through the same gates, and is told nothing."""
    services, made = town
    said: dict[str, Any] = {"tier": "supervisor", "app": "app_test", "org": MARKET}
    inside = department(granted(PENALTIES), **said)
    assert await seen(services, inside, dataset=PENALTIES) == {made["罚单"], made["店罚"], made["人罚"]}
    assert read(await dataset(services, PENALTIES, inside, "zh-CN"))["rows"] is None
    assert await seen(services, department(granted(PENALTIES, regions=("220600",)), **said)) == set()
    assert await told(services, inside) == []


# --- what is owed ------------------------------------------------------------------------------------------------------


async def test_a_case_reference_is_asked_for_where_records_are_read(town: tuple[Services, dict[str, str]]) -> None:
    """Without one no record is shown; what describes data needs none."""
    services, made = town
    bare = department(granted(PENALTIES), case_ref=None)
    for story in (records_page(services, bare, ask()), record(services, made["罚单"], bare, "zh-CN"), find_subjects(services, bare, ask())):
        with pytest.raises(CaseRefMissing):
            await story
    assert read(await dataset(services, PENALTIES, bare, "zh-CN"))["id"] == PENALTIES


async def test_rows_of_a_day_are_a_budget(town: tuple[Services, dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the organisation's, whatever app and page; spent, it gives nothing and says when a new day begins; another has its own."""
    services, _ = town
    scene = await begin(services, department(granted(PENALTIES)), "zh-CN")
    owed = owed_of(scene.forms)
    limited = type(owed)(**{name: getattr(owed, name) for name in owed.__struct_fields__} | {"max_rows_day": 5})
    await owing.spend_rows(scene, limited, 3)
    with pytest.raises(RowBudgetSpent) as caught:
        await owing.spend_rows(scene, limited, 3)
    assert 0 < caught.value.retry_after <= 86_400
    await owing.spend_rows(scene, limited, 2)
    await owing.spend_rows(scene, limited, 0)
    other = await begin(services, department(granted(PENALTIES, org=OTHER), org=OTHER), "zh-CN")
    await owing.spend_rows(other, limited, 5)

    async def broken(*_: Any, **__: Any) -> bool:
        raise StoreError("no", code="store-busy")

    monkeypatch.setattr(budgets, "spend", broken)
    with pytest.raises(ObligationFailed):
        await owing.spend_rows(scene, limited, 1)


async def test_no_more_rows_at_once_than_a_plan_gives(town: tuple[Services, dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """A page is cut, an export of more is refused before it begins."""
    services, _ = town
    real = owed_of

    def two_at_once(*arguments: Any, **words: Any) -> Any:
        owed = real(*arguments, **words)
        return type(owed)(**{name: getattr(owed, name) for name in owed.__struct_fields__} | {"max_rows": 2})

    monkeypatch.setattr("gateway.operations.walk_records.owed_of", two_at_once)
    page = read(await records_page(services, department(granted(PENALTIES)), ask(limit="50")))
    assert len(page["items"]) == 2
    assert page["next"] is not None
    with pytest.raises(InvalidParameter):
        await records_page(services, department(granted(PENALTIES)), ask(limit="all"))


async def test_facets_tell_no_few(town: tuple[Services, dict[str, str]]) -> None:
    """Of fields with the right, over what the grants reach, in fives; hidden and unknown fields are refused alike."""
    services, _ = town
    here, elsewhere = department(granted(PENALTIES)), department(granted(PENALTIES, regions=("220600",)))
    rows = [penalty(code(number), f"通化市示例{number}商贸有限公司", f"通示罚〔2026〕{number}号") for number in range(20, 31)]
    rows += [penalty(code(40), "通化市示例40商贸有限公司", "通示罚〔2026〕40号", 失信严重程度="严重")]
    await put(services, PENALTIES, *rows)
    await settle(services)
    names = "region,severity,penalty_type,authority_code,dataset"
    facets = read(await records_page(services, here, ask(dataset=PENALTIES, facet=names)))["facets"]
    assert [(each["value"], each["count"]) for each in facets["penalty_type"]["values"]] == [("fine", 15)]
    assert [(each["value"], each["count"]) for each in facets["authority_code"]["values"]] == [(MARKET, 15)]
    assert facets["severity"]["values"] == [], "one of a single other would follow from the total"
    none = read(await records_page(services, elsewhere, ask(dataset=PENALTIES, facet=names)))["facets"]
    assert all(each == {"values": [], "timed_out": False} for each in none.values())
    refused, several = set(), department(granted(PENALTIES), granted(TAX))
    for name in ("id_no", "legal_representative", "nothing", "penalty_type"):
        with pytest.raises(UnknownParameter) as caught:  # of several datasets no field can be named
            await records_page(services, several, ask(facet=name, **({} if name == "penalty_type" else {"dataset": PENALTIES})))
        refused.add(str(caught.value))
    assert len(refused) == 1
    narrow = department(granted(PENALTIES, ceilings={"severity": "drop"}))
    with pytest.raises(UnknownParameter):
        await records_page(services, narrow, ask(dataset=PENALTIES, facet="severity"))


def test_counts_and_facets_below_k() -> None:
    """Nothing below k, everything in fives, and no single gap that a total would fill."""
    assert told_count(4, 5) == {"value": None, "kind": "suppressed"}
    assert told_count(13, 5) == {"value": 10, "kind": "rounded"}
    assert told_facet([("a", 17), ("b", 9), ("c", 3)], 5) == [("a", 15)]
    assert told_facet([("a", 17), ("b", 9), ("c", 3), ("d", 2)], 5) == [("a", 15), ("b", 5)]
    assert told_facet([("a", 4)], 5) == []


# --- persons -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting for the common time of hits and misses."""
    monkeypatch.setattr(looking, "FLOOR_S", 0.0)


@pytest.mark.usefixtures("quick")
async def test_a_person_is_found_by_number_and_name(town: tuple[Services, dict[str, str]]) -> None:
    """Both equal: the records, as the plan shows them; the name is folded, the number is not told."""
    services, made = town
    for name in ("测试甲", " 测试 甲 "):
        answer = await look_up_person(services, DEPARTMENT, PersonAsked(dataset=PENALTIES, id_no=PERSON.id_no, name=name), "zh-CN")
        body = read(answer)
        assert [each["id"] for each in body["matches"]] == [made["人罚"]]
        assert answer.no_store
        assert PERSON.id_no.encode() not in answer.body
    english = read(await look_up_person(services, DEPARTMENT, PERSON, "en"))
    assert english["matches"][0]["subject"]["kind"] == "person"


@pytest.mark.usefixtures("quick")
async def test_misses_read_alike(town: tuple[Services, dict[str, str]]) -> None:
    """Unknown, another name, another dataset, out of reach: one empty answer, byte for byte, and each costs a look-up."""
    services, _ = town
    elsewhere = department(granted(PENALTIES, regions=("220600",)))
    asked = [
        (DEPARTMENT, PersonAsked(dataset=PENALTIES, id_no=person_number(2), name="测试甲")),
        (DEPARTMENT, PersonAsked(dataset=PENALTIES, id_no=PERSON.id_no, name="测试乙")),
        (elsewhere, PERSON),
    ]
    answers = [await look_up_person(services, caller, person, "zh-CN") for caller, person in asked]
    assert len({answer.body for answer in answers}) == 1
    assert read(answers[0])["matches"] == []
    row = await services.store.reads.one(budgets.sa.text("SELECT used FROM budgets WHERE what = 'lookups'"))
    assert row is not None
    assert row.used == 3


@pytest.mark.parametrize(
    "person",
    [
        {"id_no": "220599199001010"},
        {"id_no": "220599"},
        {"id_no": person_number(1)[:17] + "%"},
        {"id_no": person_number(1)[:-1] + ("0" if person_number(1)[-1] != "0" else "1")},
        {"id_no": ""},
        {"name": ""},
        {"name": "测*"},
        {"name": "测"},
        {"name": "某某"},
        {"name": "a" * 51},
    ],
)
async def test_what_is_not_whole_is_refused_before_the_database(tmp_path: Path, sqlite_url: str, person: dict[str, str]) -> None:
    """With a pointer to the member, and without its value."""
    async with a_house(tmp_path, sqlite_url) as services:
        asked = PersonAsked(**({"dataset": PENALTIES, "id_no": PERSON.id_no, "name": PERSON.name} | person))
        with pytest.raises(InvalidParameter) as caught:
            await look_up_person(services, DEPARTMENT, asked, "zh-CN")
        assert [each.pointer for each in caught.value.errors] == [f"/{name}" for name in person]
        said = f"{caught.value} {caught.value.errors[0].detail}"
        assert not any(value in said for value in person.values() if len(value) > 1)


@pytest.mark.usefixtures("quick")
async def test_who_may_not_look_up(town: tuple[Services, dict[str, str]]) -> None:
    """Not the public, not for everybody's purpose, not without a case, not where a grant takes the number away."""
    services, _ = town
    for caller in (PUBLIC, department(granted(PENALTIES), purpose="open.read")):
        with pytest.raises(NotPermitted):
            await look_up_person(services, caller, PERSON, "zh-CN")
    with pytest.raises(CaseRefMissing):
        await look_up_person(services, department(granted(PENALTIES), case_ref=None), PERSON, "zh-CN")
    for caller in (department(granted(PENALTIES, ceilings={"id_no": "drop"})), department(granted(REGISTRATIONS))):
        with pytest.raises(NotPermitted):
            await look_up_person(services, caller, PERSON, "zh-CN")


@pytest.mark.usefixtures("quick")
async def test_look_ups_of_a_day_are_a_budget(town: tuple[Services, dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """The organisation's, by whatever app; hit and miss alike."""
    services, _ = town
    monkeypatch.setattr(looking, "_budget", lambda _: 2)
    await look_up_person(services, DEPARTMENT, PERSON, "zh-CN")
    await look_up_person(services, DEPARTMENT, PersonAsked(dataset=PENALTIES, id_no=person_number(9), name="无人"), "zh-CN")
    for person in (PERSON, PersonAsked(dataset=PENALTIES, id_no=person_number(9), name="无人")):
        with pytest.raises(LookupBudgetSpent):
            await look_up_person(services, DEPARTMENT, person, "zh-CN")


@pytest.mark.usefixtures("quick")
async def test_hit_and_miss_run_the_same_statements(
    town: tuple[Services, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many reads of the database, whether there is such a person or not (channel 14)."""
    services, _ = town
    reads = services.store.reads
    counted: list[int] = []
    real_all, real_one = type(reads).all, type(reads).one

    async def all_(self: Any, *arguments: Any) -> Any:
        counted.extend([1] * (self is reads))  # servers of other tests read beside, in threads of this process
        return await real_all(self, *arguments)

    async def one(self: Any, *arguments: Any) -> Any:
        counted.extend([1] * (self is reads))
        return await real_one(self, *arguments)

    await look_up_person(services, DEPARTMENT, PERSON, "zh-CN")  # keys are remembered from here on
    monkeypatch.setattr(type(reads), "all", all_)
    monkeypatch.setattr(type(reads), "one", one)
    numbers = []
    unknown = PersonAsked(dataset=PENALTIES, id_no=person_number(8), name="无人")
    for person in (PERSON, unknown, PersonAsked(dataset=PENALTIES, id_no=PERSON.id_no, name="无人")):
        await services.policies.fresh()  # looked at by the clock, whoever is asked about
        counted.clear()
        await look_up_person(services, DEPARTMENT, person, "zh-CN")
        numbers.append(len(counted))
    assert len(set(numbers)) == 1, numbers



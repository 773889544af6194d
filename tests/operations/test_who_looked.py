"""Who looked at what is kept about one subject: everything that was written about it, and nothing else, as the subject may read it.

Strategy: whom a row is about cannot be read from the trail, so what must be found is reckoned here by digest, row by row, or a house holds
one person alone, about whom every row then is. A list names every writer of subjects in the source, and the test that finds its rows.
"""

import ast
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

import gateway
from gateway.core.disclosure.policy import compile_policies
from gateway.core.errors import InvalidParameter, RoleMissing
from gateway.core.exchange.questions import SubjectAsked, number_of
from gateway.core.records.identifiers import parse_citizen_id
from gateway.core.records.periods import legal_day
from gateway.operations import who_looked as story
from gateway.operations.answer_partner import who_asked
from gateway.operations.change_policy import read_folder
from gateway.operations.erase import erase
from gateway.operations.handle_case import close_dispute, open_dispute, repair
from gateway.operations.kept_inquiries import show_inquiry
from gateway.operations.look_up_person import PersonAsked, look_up_person
from gateway.operations.match_names import MatchAsked, MatchQuery, match_names
from gateway.operations.record_access import question_said, record_question
from gateway.operations.render_public import settle
from gateway.operations.rotate_keys import rotate_label
from gateway.operations.send_batch import send_batch
from gateway.operations.set_up import shipped_policies
from gateway.operations.shred import shred
from gateway.operations.waiting_texts import show, waiting
from gateway.operations.who_looked import Looked, who_looked
from gateway.operations.withdraw import withdraw
from gateway.services import Services
from gateway.store import audit, audit_subjects
from gateway.store.audit import Wanted
from gateway.store.subjects import subject_by_key
from tests.administrators import hand
from tests.asking import ASKER
from tests.operations import test_lines, test_questions_persons
from tests.operations.line_partner import line_file
from tests.operations.publishing import (
    MARKET,
    PENALTIES,
    a_house,
    at,
    code,
    household_code,
    ids,
    person_number,
    person_penalty,
    put,
    stocked,
    whole,
)
from tests.operations.test_record_access import OFFICER, STORIES
from tests.region import BAISHAN, Cities, Line, a_city, agree

PRIVACY = hand("privacy", "privacy-officer")
CUSTODIAN = hand("custodian", "key-custodian")
PERSON, NAME = person_number(1), "测试甲"
WRITERS = {
    ("answer_partner", "data.asked"): "test_questions_of_cities_are_told_with_what_they_were_answered",
    ("answer_partner", "query.told-subject"): "test_questions_of_cities_are_told_with_what_they_were_answered",
    ("ask_partner", "data.ask"): "test_questions_of_cities_are_told_with_what_they_were_answered",
    ("kept_inquiries", "data.read"): "test_questions_of_cities_are_told_with_what_they_were_answered",
    ("record_access", "data.read"): "test_all_that_a_department_was_shown_of_a_subject_is_told",
    ("look_up_person", "record_access"): "test_all_that_a_department_was_shown_of_a_subject_is_told",
    ("waiting_texts", "record_access"): "test_texts_that_a_reviewer_saw_are_told",
    ("erase", "subject.erase"): "test_acts_upon_a_subject_and_its_records_are_told",
    ("erase", "record/record.erase"): "test_acts_upon_a_subject_and_its_records_are_told",
    ("erase_due", "record/record.erase"): "test_acts_upon_a_subject_and_its_records_are_told",
    ("handle_case", "record/dispute.open"): "test_acts_upon_a_subject_and_its_records_are_told",
    ("handle_case", "record/dispute.close"): "test_acts_upon_a_subject_and_its_records_are_told",
    ("handle_case", "record/record.repair"): "test_acts_upon_a_subject_and_its_records_are_told",
    ("withdraw", "record/record.withdraw"): "test_acts_upon_a_subject_and_its_records_are_told",
    ("review_text", "record/text.*"): "test_acts_upon_a_subject_and_its_records_are_told",
    ("recognise", "record/record.confirm"): "test_acts_upon_a_subject_and_its_records_are_told",
    ("show_exchange", "record/record.export"): "test_acts_upon_a_subject_and_its_records_are_told",
    ("shred", "subject.shred"): "test_a_shredded_person_is_found_by_number_where_the_number_was_asked_for",
    ("seal_batch", "batch.seal"): "test_a_batch_to_another_city_is_told",
    ("send_rows", "line.seal"): "test_a_row_to_the_province_is_told",
    ("who_looked", "audit.about"): "test_the_asking_is_a_row_about_the_subject",
}
"""Who writes rows about a subject, and where such a row is found; `record/` before an act upon a record, which is found by its target."""


@pytest.fixture
async def town(tmp_path: Path, store_url: str) -> AsyncIterator[Services]:
    """An empty house, on SQLite and on PostgreSQL."""
    async with a_house(tmp_path, store_url) as services:
        yield services


def natural(number: str = PERSON) -> dict[str, Any]:
    """A person, as a file or a body names one."""
    return {"subject": SubjectAsked(kind="natural", id_no=number)}


async def told(services: Services, **asked: Any) -> list[Looked]:
    """The extract for one subject, without the rows that only say that it was asked for."""
    found = await who_looked(services, **{"limit": 1000, "most": 10_000, "by": PRIVACY, **asked})
    assert found.next is None
    return [row for row in found.rows if row.act != "audit.about"]


async def places(services: Services, *names: str) -> set[str]:
    """Where the trail has rows with one of these ids or numbers, the askings aside."""
    digests = {services.store.vault.digest("audit-subject", name.encode())[:16].hex() for name in names}
    rows = await audit.rows(services.store.reads, Wanted(), limit=1000)
    assert len(rows) < 1000
    return {f"{row.day}/{row.writer}/{row.n}" for row in rows if row.act != "audit.about" and digests & set(row.subjects)}


async def subject_of(services: Services, key: str, value: str, kind: Any) -> str:
    """The opaque id of a subject."""
    found = await subject_by_key(services.store.reads, key, value, kind)
    assert found is not None
    return found.subject_id


async def looked_up(services: Services, number: str, name: str = NAME) -> None:
    """A department looks a person up."""
    await look_up_person(services, OFFICER, PersonAsked(dataset=PENALTIES, id_no=number, name=name), "zh-CN")


async def everything(services: Services, made: dict[str, str]) -> None:
    """An officer asks every story there is."""
    for each in STORIES.values():
        await whole(await each(services, OFFICER, made))


# --- who writes --------------------------------------------------------------------------------------------------------


def said(node: ast.expr | None) -> str:
    """What stands in the source; what is only known when it runs is a star."""
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "*" for part in node.values)
    return str(node.value) if isinstance(node, ast.Constant) else "*"


def writers() -> set[tuple[str, str]]:
    """Every place of the source that writes a row about a subject, or of an act upon a record or subject."""
    found = set()
    for path in Path(gateway.__file__).parent.rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(call, ast.Call):
                continue
            words = {word.arg: word.value for word in call.keywords}
            name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
            if name == "write" and len(call.args) > 3:
                target, act = said(call.args[3]), said(call.args[2])
                if "subjects" in words:
                    found.add((path.stem, act))
                elif target.startswith("record/"):
                    found.add((path.stem, f"record/{act}"))
                else:
                    assert not target.startswith("subject/"), path
            elif name == "record_access":
                found.add((path.stem, name))
            elif name in ("Said", "question_said") and "subjects" in words:
                found.add((path.stem, said(words.get("act"))))
    return found - {("record_access", "*")}  # what passes on what its caller says


def test_every_writer_of_subjects_has_a_test_that_finds_its_rows() -> None:
    """A new exit that names subjects in the trail stands in the list above, with the test that shows that they can be told of it."""
    assert writers() == set(WRITERS)
    assert set(WRITERS.values()) <= set(globals())


# --- what is told ------------------------------------------------------------------------------------------------------


async def test_all_that_a_department_was_shown_of_a_subject_is_told(town: Services) -> None:
    """Pages, exports, searches, single records and look-ups, hit or miss, of a firm, a household and a person: each its own rows alone."""
    made = await stocked(town)
    await everything(town, made)
    await match_names(town, OFFICER, MatchAsked(queries=(MatchQuery(id="q", name="通化市示例药业有限公司"),)), "zh-CN")
    await looked_up(town, PERSON)
    await looked_up(town, PERSON, "测试乙")
    await looked_up(town, person_number(2))
    firm = await subject_of(town, "uscc", code(1), "legal")
    shop = await subject_of(town, "uscc", household_code(7), "individual_business")
    person = await subject_of(town, "id_no", PERSON, "natural")
    for asked, names in (
        ({"code": code(1)}, (firm, code(1))),
        ({"code": household_code(7)}, (shop, household_code(7))),
        (natural(), (person, PERSON)),
        ({"code": person}, (person,)),
        (natural(person_number(2)), (person_number(2),)),
        (natural(person_number(3)), (person_number(3),)),
    ):
        rows = await told(town, **asked)
        assert {row.row for row in rows} == await places(town, *names), names
        assert [row.at for row in rows] == sorted(row.at for row in rows)
        assert {(row.act, row.org, row.unit, row.purpose_label, row.policy_version) for row in rows} <= {
            ("data.read", MARKET, "220500", "行政机关在监管中查询", 1)
        }
        assert all(len(row.policy_plan or "") == 64 and row.basis[0] == "《政务数据共享条例》" and row.case is None for row in rows)
        words = str(rows)
        assert not any(word in words for word in (OFFICER.app or "-", "thumb", OFFICER.case_ref or "-", PERSON, NAME))
    rows = await told(town, **natural())
    hit, miss = (row for row in rows if row.label == "按证件号码查询")
    assert ((hit.records, hit.result), (miss.records, miss.result)) == ((1, None), (0, "miss"))
    assert hit.datasets == (PENALTIES,)
    whole_plan = town.policies.current().plan_set(PENALTIES, "department", "dept.supervision")
    assert whole_plan is not None
    assert sum(hit.forms.values()) == len(whole_plan.plans["natural"].reasons)
    assert any(row.records is None for row in rows), "a page about many does not say how many were this one's"
    (other,) = await told(town, **natural(person_number(2)))
    assert other.result == "miss"


async def test_where_there_is_one_person_every_row_is_about_it(town: Services) -> None:
    """Of a house with one person alone every row that names subjects is in the extract, whatever story wrote it."""
    (record,) = ids(await put(town, PENALTIES, person_penalty(NAME, PERSON, "通示罚〔2026〕3号")))
    await settle(town)
    for name in ("record", "records", "all records", "subjects", "all subjects"):
        await whole(await STORIES[name](town, OFFICER, {"人罚": record}))
    await looked_up(town, PERSON)
    await looked_up(town, PERSON, "测试乙")
    rows = await audit.rows(town.store.reads, Wanted(), limit=1000)
    assert {row.row for row in await told(town, **natural())} == {f"{row.day}/{row.writer}/{row.n}" for row in rows if row.subjects}


async def test_texts_that_a_reviewer_saw_are_told(town: Services) -> None:
    """Whoever has the texts of a person's record before him to release them has looked at the person, in the queue and one by one."""
    facts = {"违法事实": "当事人伙同王小明、李建国无证经营，王小明电话13812345678。"}
    await put(town, PENALTIES, person_penalty(NAME, PERSON, "通示罚〔2026〕3号", **facts))
    await put(town, PENALTIES, person_penalty("测试乙", person_number(2), "通示罚〔2026〕4号"))
    await settle(town)
    (item, *_) = (await waiting(town, OFFICER)).items
    await show(town, OFFICER, item.id)
    rows = await told(town, **natural())
    assert {row.row for row in rows} == await places(town, await subject_of(town, "id_no", PERSON, "natural"))
    assert [(row.label, row.org) for row in rows] == [("审核文本", MARKET)] * 2
    assert await told(town, **natural(person_number(2))) == []


async def test_acts_upon_a_subject_and_its_records_are_told(town: Services) -> None:
    """Disputes, repairs and erasures of its records stand there by record, of the house, without whoever did them; others' do not."""
    made = await stocked(town)
    record = made["人罚"]
    await put(town, PENALTIES, person_penalty(NAME, PERSON, "通示罚〔2026〕4号"))  # another stays
    await open_dispute(town, record, actor="office:secretary")
    await close_dispute(town, record, upheld=False, actor="office:secretary")
    await repair(town, made["罚单"], actor="office:secretary")
    await erase(town, record, reason="request", by=CUSTODIAN)
    rows = await told(town, **natural())
    assert [(row.act, row.label, row.record) for row in rows] == [
        ("dispute.open", "受理异议", record),
        ("dispute.close", "异议办结", record),
        ("record.erase", "删除记录", record),
    ]
    assert {(row.org, row.name, row.purpose, row.result) for row in rows} == {(town.settings.org, town.settings.party, None, None)}
    assert not any(word in str(rows) for word in ("secretary", "custodian"))
    person = await subject_of(town, "id_no", PERSON, "natural")
    await erase(town, person, reason="request", by=CUSTODIAN)
    assert [row.act for row in await told(town, code=person)][-1] == "subject.erase"
    assert [row.act for row in await told(town, code=code(1))] == ["record.repair"]
    await withdraw(town, made["店罚"], reason="revoked", actor="office:test")
    upon = sorted(act.removeprefix("record/").replace("*", "approve") for _, act in WRITERS if act.startswith("record/"))
    async with town.store.transaction() as tx:
        for act in upon:  # whatever wrote it: an act upon a record is found by the record
            await audit.write(tx, "office:test", act, f"record/{made['列名']}", {})
    assert [row.act for row in await told(town, code=household_code(7))] == ["record.withdraw"]
    assert sorted(row.act for row in await told(town, code=code(2))) == upon


async def test_what_a_purpose_keeps_back_is_not_there_before(town: Services) -> None:
    """Where a law lets a purpose be told later, its rows, and any count of them, are there from that day on, and not before."""
    files = read_folder(shipped_policies())
    before = b'[purposes."dept.supervision"]\n'
    files["purposes.toml"] = files["purposes.toml"].replace(before, before + b'told_after = "P6M"\n')
    made = await stocked(town)
    town.policies._value = compile_policies(files, version=1, today=legal_day(town.clock()))
    await STORIES["record"](town, OFFICER, made)
    await open_dispute(town, made["人罚"], actor="office:test")
    for moment, acts in (("2026-12-01T02:30:00Z", ["dispute.open"]), ("2026-12-02T02:30:00Z", ["data.read", "dispute.open"])):
        async with at(town, moment) as later:
            assert sorted(row.act for row in await told(later, **natural())) == acts
            assert len((await who_looked(later, **natural(), to_day="2026-06-02", by=PRIVACY)).rows) == len(acts)


async def test_the_asking_is_a_row_about_the_subject(town: Services) -> None:
    """Each asking is written down before it is answered, sealed at once, and the next extract tells of it."""
    await stocked(town)
    assert (await who_looked(town, **natural(), by=PRIVACY)).rows == ()
    (row,) = (await who_looked(town, **natural(), by=PRIVACY)).rows
    assert (row.act, row.label, row.org) == ("audit.about", "向主体提供查询记录", town.settings.org)
    assert [each.act for each in (await who_looked(town, **natural(person_number(2)), by=PRIVACY)).rows] == []
    kept = (await audit.rows(town.store.reads, Wanted(act="audit.about")))[0]
    assert (kept.actor, kept.target, kept.detail) == (
        "admin:privacy",
        "audit",
        {"rows": 0, "kept_back": 0, "from": "", "to": story.ALWAYS},
    )


async def test_only_a_privacy_officer_asks_and_only_about_one_whole_number(town: Services) -> None:
    """Every other role is refused; what is no code or number is refused without being repeated, and leaves no row."""
    for role in ("author", "approver", "legal-officer", "key-custodian", "auditor", "operator"):
        with pytest.raises(RoleMissing):
            await who_looked(town, **natural(), by=hand("other", role))
    wrong: list[dict[str, Any]] = [
        {},
        {"code": code(1), **natural()},
        {"code": PERSON},
        {"code": code(1)[:-1]},
        natural(PERSON[:-1] + ("1" if PERSON[-1] != "1" else "2")),
        {"subject": SubjectAsked(kind="natural")},
        {"subject": SubjectAsked(kind="natural", uscc=code(1), id_no=PERSON)},
    ]
    for asked in wrong:
        with pytest.raises(InvalidParameter) as refused:
            await who_looked(town, **asked, by=PRIVACY)
        assert not any(digits in f"{refused.value}{refused.value.errors}" for digits in (PERSON[:8], code(1)[:8]))
    for text in ("2026-06-02", "2026-06-02/office", "2026-06-02/office/x", "2026-06-02/a/b/1"):
        with pytest.raises(InvalidParameter):
            story.place_in(text)
    assert await audit.rows(town.store.reads, Wanted(act="audit.about")) == []


async def test_pages_are_the_whole_in_order(town: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over days and strides, page by page, each row once and the earliest first; days that are asked for bound it."""
    made = await stocked(town)
    for day in ("2026-06-02", "2026-06-03", "2026-06-05"):
        async with at(town, f"{day}T03:00:00Z") as then:
            for _ in range(3):
                await STORIES["record"](then, OFFICER, made)
                await STORIES["subject"](then, OFFICER, made)
    async with at(town, "2026-06-06T03:00:00Z") as now:
        rows = await told(now, **natural())
        assert len(rows) == 9
        assert [row.row[:10] for row in rows] == sorted(row.row[:10] for row in rows)
        assert [row.row[:10] for row in await told(now, **natural(), from_day="2026-06-03", to_day="2026-06-03")] == ["2026-06-03"] * 3
        for stride, limit, most in ((2, 2, 1_000_000), (3, 1000, 5), (4000, 4, 1)):
            monkeypatch.setattr(audit_subjects, "STRIDE", stride)
            walked: list[Looked] = []
            place = None
            while True:
                page = await who_looked(now, **natural(), after=place, limit=limit, most=most, to_day="2026-06-05", by=PRIVACY)
                assert len(page.rows) <= limit
                walked += page.rows
                if page.next is None:
                    break
                place = story.place_in("{}/{}/{}".format(*page.next))
            assert walked == rows, (stride, limit, most)


async def test_a_new_key_of_the_digests_loses_no_row(town: Services) -> None:
    """What was written under an earlier key of the label is found beside what is written under the new one."""
    made = await stocked(town)
    await STORIES["record"](town, OFFICER, made)
    await rotate_label(town, "audit-subject", by=CUSTODIAN)
    await STORIES["record"](town, OFFICER, made)
    assert [row.act for row in await told(town, **natural())] == ["data.read"] * 2


async def test_a_shredded_person_is_found_by_number_where_the_number_was_asked_for(town: Services) -> None:
    """Once a person is shredded no number leads to the id: there remain the look-ups by number; by the id, whoever has it, the rest."""
    made = await stocked(town)
    person = await subject_of(town, "id_no", PERSON, "natural")
    await STORIES["record"](town, OFFICER, made)
    await looked_up(town, PERSON)
    await shred(town, person, reason="request", by=CUSTODIAN)
    await looked_up(town, PERSON)
    assert [(row.records, row.result) for row in await told(town, **natural())] == [(None, None), (0, "miss")]
    assert sorted(row.act for row in await told(town, code=person)) == ["data.read", "data.read", "subject.shred"]


# --- other cities, the province ----------------------------------------------------------------------------------------


async def test_questions_of_cities_are_told_with_what_they_were_answered(tmp_path: Path) -> None:
    """Who asked, on which ground and for which case, and hit or miss; in the city that asks, that it asked; spellings do not hide it."""
    async with test_questions_persons.towns(tmp_path, rule=True) as cities:
        number = test_questions_persons.NUMBER
        first = await test_questions_persons.ask(cities)
        second = await test_questions_persons.ask(cities, level=2, follows=first.id)
        await test_questions_persons.ask(cities, number=person_number(8))
        await show_inquiry(cities.baishan, ASKER, second.id)
        rows = await told(cities.tonghua, **natural(number))
        asked = await who_asked(cities.tonghua, number, by="office:test")
        assert sorted((row.name, row.case, row.basis[0], row.level, row.result, row.policy_plan) for row in rows) == sorted(
            (each.by, each.case, each.basis, each.level, each.result, each.policy_plan) for each in asked
        )
        assert {(row.purpose_label, row.datasets) for row in rows} == {("协议城市逐户查询", (PENALTIES,))}
        (miss,) = await told(cities.tonghua, **natural(person_number(8)))
        assert (miss.act, miss.result) == ("data.asked", "no_hit")
        assert [row.act for row in await told(cities.tonghua, **natural(number))][-1] == "query.told-subject"
        theirs = await told(cities.baishan, **natural(number))
        assert [(row.act, row.records) for row in theirs] == [("data.ask", None), ("data.ask", None), ("data.read", 1)]
        assert {(row.org, row.case) for row in theirs} == {(ASKER.org, None)}


async def test_other_spellings_of_a_number_are_found(town: Services) -> None:
    """A question that was refused for how it writes the number is still one about its owner: small letters, 15 digits."""
    number = next(each for each in map(person_number, range(1, 400)) if each.endswith("X"))
    old = number[:6] + number[8:17]
    assert parse_citizen_id(old, demo=True, today=legal_day(town.clock())).number == number
    for written in (number.lower(), old, number, f" {number}"):
        asked = number_of(SubjectAsked(kind="natural", id_no=written)) if len(written) > 18 else written
        await record_question(
            town,
            question_said(town, actor="partner/x", act="data.asked", target="query/x", org=MARKET, purpose="mutual.query",
                          datasets=[PENALTIES], rows=0, subjects=[asked], case_ref="案1"),
        )  # fmt: skip
    for written in (number, number.lower(), old):
        assert [row.result for row in await told(town, **natural(written))] == ["miss"] * 4


async def test_a_batch_to_another_city_is_told(tmp_path: Path) -> None:
    """Whoever stands in a batch is told to which city it went, for which purpose and under which plans."""
    policies = shutil.copytree(shipped_policies(), tmp_path / "policies")
    file = policies / "datasets" / f"{PENALTIES}.toml"
    rule = test_questions_persons.RULE.replace('"mutual.query"', '"exchange.batch"').replace('case_ref = "required"', 'case_ref = "none"')
    file.write_text(file.read_text(encoding="utf-8") + rule, encoding="utf-8")
    text = test_questions_persons.with_terms().replace("natural_persons = { allowed = false }", test_questions_persons.GROUND)
    hidden = ["XDR_SHXYM", "XDR_GSZC", "XDR_ZZJG", "XDR_SWDJ", "XDR_SYDW", "XDR_SHZZ", "WFXW", "SY", "YJ", "CFLB2", "NR", "NR_ZKDX"]
    first, then = text.split(']\n\n[[streams]]\ndataset = "honours"')
    first = first.replace('subject_kinds = ["legal"]', 'subject_kinds = ["natural"]')
    first = re.sub(rf'  {{ name = "CF_({"|".join(hidden)})".*\n', "", first)
    text = f'{first}]\n\n[[streams]]\ndataset = "honours"{then}'
    async with a_city(tmp_path / "th", "credit.tonghua.example", policies=policies) as ours, a_city(
        tmp_path / "bs", BAISHAN, port=8001
    ) as theirs:
        line = Line()
        ours, theirs = (structs.replace(one, adapters=line.adapters()) for one in (ours, theirs))
        line.join(ours, theirs)
        await agree(ours, theirs, text)
        cities = Cities(ours, theirs, line)
        await put(cities.tonghua, PENALTIES, person_penalty(NAME, PERSON, "通示罚〔2026〕7号"))
        sent = await send_batch(cities.tonghua, at_once=True)
        rows = await told(cities.tonghua, **natural())
        assert [(row.act, row.name, row.purpose_label, row.datasets) for row in rows] == [
            ("batch.seal", BAISHAN, "协议城市共享互认", (PENALTIES,))
        ], sent
        assert len(rows[0].policy_plan or "") == 64
        assert rows[0].forms


async def test_a_row_to_the_province_is_told(tmp_path: Path, store_url: str) -> None:
    """A person whose record went over a line is told to whom, and under which plans; a firm beside it does not make it two."""
    more = 'persons = { basis = [{ text = "《吉林省社会信用条例》" }], assessment = "评估〔2026〕1号" }'
    async with test_lines.an_office(tmp_path, store_url) as office:
        await office.approve(line_file(more, kinds='["legal", "natural"]'))
        await office.round()
        (row,) = await told(office.services, **natural())
        assert (row.act, row.name, row.purpose_label) == ("line.seal", "credit.jl.example", "向省级信用平台报送")
        assert row.datasets == (PENALTIES,)
        assert (row.records, bool(row.forms), re.fullmatch("[0-9a-f]{64}", row.policy_plan or "") is not None) == (None, True, True)

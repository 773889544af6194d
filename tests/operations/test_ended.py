"""Plans whose legal grounds have ended: nothing is shown, and nothing is said to be absent (policy.md §7: 503 `policy-expired`)."""

from collections.abc import AsyncIterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.core.callers.caller import PUBLIC
from gateway.core.errors import NotFound, PolicyExpired
from gateway.operations import alarms, read_feed
from gateway.operations.answer_query import (
    dataset,
    datasets,
    find_subjects,
    listings,
    lists,
    one_list,
    record,
    records_page,
    subject_document,
    subject_records,
    suggest,
)
from gateway.operations.look_up_person import PersonAsked, look_up_person
from gateway.services import Services
from tests.operations.publishing import (
    DEPARTMENT,
    HONOURS,
    PENALTIES,
    TAX,
    a_house,
    ask,
    at,
    code,
    department,
    granted,
    person_number,
    read,
    stocked,
    walked,
    whole,
)
from tests.operations.test_render_again import change_policy

LAST_DAY, BEFORE, AFTER = date(2026, 6, 20), "2026-06-20T15:59:59Z", "2026-06-20T16:00:00Z"
TEXT = "datasets/tax-violations.toml"
PUBLICS = (TEXT, 'article = "十一", from = 2022-02-01 }', f'article = "十一", from = 2022-02-01, until = {LAST_DAY} }}')
EVERYBODYS = (
    TEXT,
    'gx = { law = "政务数据共享条例", from = 2025-08-01 }',
    f'gx = {{ law = "政务数据共享条例", from = 2025-08-01, until = {LAST_DAY} }}',
)
REC, SUB = "rec_2222222222222222222222222a", "sub_2222222222222222222222222a"


@pytest.fixture
async def town(tmp_path: Path, store_url: str) -> AsyncIterator[tuple[Services, dict[str, str]]]:
    """A small town; the grounds of its tax violations end with a day in June, for the public and for departments."""
    async with a_house(tmp_path, store_url) as services:
        await change_policy(services, *PUBLICS)
        await change_policy(services, *EVERYBODYS)
        yield services, await stocked(services)


async def expired(*stories: Any) -> None:
    """Each story says that grounds have ended."""
    for story in stories:
        with pytest.raises(PolicyExpired):
            await story


async def test_until_its_last_day_a_plan_shows(town: tuple[Services, dict[str, str]]) -> None:
    """To the last second of the day; then it is over in the same second."""
    services, made = town
    async with at(services, BEFORE) as then:
        assert [item["id"] for item in await walked(records_page, then, dataset=TAX)] == [made["列名"]]
        assert read(await record(then, made["列名"], PUBLIC, "zh-CN"))["id"] == made["列名"]
    async with at(services, AFTER) as then:
        await expired(records_page(then, PUBLIC, ask(dataset=TAX)), record(then, made["列名"], PUBLIC, "zh-CN"))


async def test_every_exit_says_so_to_the_public(town: tuple[Services, dict[str, str]]) -> None:
    """Pages, exports, listings, subjects, search, feeds; what does not touch the dataset is answered as ever."""
    services, made = town
    async with at(services, AFTER) as then:
        await expired(
            records_page(then, PUBLIC, ask()),
            records_page(then, PUBLIC, ask(dataset=TAX, limit="all", format_="ndjson")),
            records_page(then, PUBLIC, ask(dataset=f"{PENALTIES},{TAX}")),
            listings(then, "tax-violations", PUBLIC, ask()),
            subject_document(then, code(1), PUBLIC, "zh-CN"),
            subject_document(then, code(2), PUBLIC, "zh-CN"),
            subject_records(then, code(1), PUBLIC, ask()),
            find_subjects(then, PUBLIC, ask(q="药业")),
            find_subjects(then, PUBLIC, ask()),
            suggest(then, PUBLIC, ask(q="药业")),
            read_feed.changes(then, PUBLIC, ask(since="0")),
            read_feed.changes(then, PUBLIC, ask(since="0", list="tax-violations")),
        )
        assert [item["id"] for item in await walked(records_page, then, dataset=PENALTIES)] == [made["罚单"]]
        assert read(await record(then, made["罚单"], PUBLIC, "zh-CN"))["id"] == made["罚单"]
        assert read(await read_feed.changes(then, PUBLIC, ask(since="0", dataset=PENALTIES)))["items"]
        assert read(await dataset(then, TAX, PUBLIC, "zh-CN"))["rows"] is None
        assert read(await one_list(then, "tax-violations", PUBLIC, "zh-CN"))["rows"] is None
        rows = {item["id"]: item["rows"] for item in read(await datasets(then, PUBLIC, "zh-CN"))["items"]}
        assert rows[TAX] is None
        assert rows[PENALTIES] is not None
        assert {item["id"]: item["rows"] for item in read(await lists(then, PUBLIC, "zh-CN"))["items"]}["tax-violations"] is None


async def test_an_unknown_id_reads_like_a_hidden_one(town: tuple[Services, dict[str, str]]) -> None:
    """Whether a record lies behind the ended plan is told to nobody: one that never was has the same answer."""
    services, made = town
    async with at(services, AFTER) as then:
        await expired(
            record(then, REC, PUBLIC, "zh-CN"),
            record(then, made["列名"], PUBLIC, "zh-CN"),
            record(then, made["人罚"], PUBLIC, "zh-CN"),
            subject_document(then, SUB, PUBLIC, "zh-CN"),
            subject_document(then, code(99), PUBLIC, "zh-CN"),
        )


async def test_bound_callers_are_told_for_what_their_grants_reach(town: tuple[Services, dict[str, str]]) -> None:
    """A grant for the dataset makes the answer a 503; without one there is nothing that could have ended."""
    services, made = town
    async with at(services, AFTER) as then:
        await expired(
            records_page(then, DEPARTMENT, ask()),
            records_page(then, DEPARTMENT, ask(dataset=TAX)),
            record(then, made["列名"], DEPARTMENT, "zh-CN"),
            subject_document(then, code(1), DEPARTMENT, "zh-CN"),
            find_subjects(then, DEPARTMENT, ask(q="药业")),
            read_feed.changes(then, DEPARTMENT, ask(since="0")),
        )
        other = department(granted(PENALTIES), granted(HONOURS))
        assert made["罚单"] in {item["id"] for item in await walked(records_page, then, caller=other)}
        with pytest.raises(NotFound):
            await record(then, made["列名"], other, "zh-CN")
        assert read(await subject_document(then, code(1), other, "zh-CN"))["uscc"] == code(1)


async def test_a_person_is_not_said_to_have_no_record(town: tuple[Services, dict[str, str]]) -> None:
    """A look-up under ended grounds is no miss, and costs nothing of the budget."""
    services, _ = town
    gx = 'gx = { law = "政务数据共享条例", from = 2025-08-01 }'
    await change_policy(services, f"datasets/{PENALTIES}.toml", gx, gx.replace(" }", f", until = {LAST_DAY} }}"))
    asked = PersonAsked(dataset=PENALTIES, id_no=person_number(1), name="测试甲")
    async with at(services, AFTER) as then:
        await expired(look_up_person(then, department(granted(PENALTIES)), asked, "zh-CN"))


async def test_a_long_answer_breaks_off_with_the_end(town: tuple[Services, dict[str, str]]) -> None:
    """An export that began before the end does not go on after it as if the rest were not there."""
    services, _ = town
    async with at(services, BEFORE) as then:
        answer = await records_page(then, DEPARTMENT, ask(limit="all", format_="ndjson"))
        assert (await whole(answer)).count(b"\n") >= 1
        answer = await records_page(then, DEPARTMENT, ask(limit="all", format_="ndjson"))
        then.clock._fixed = datetime.fromisoformat(AFTER)
        with pytest.raises(PolicyExpired):
            await whole(answer)


HOUSEHOLDS = "until = 2027-12-31"
EXCEPTION = """field = "administrative-penalties.uscc"
kinds = ["individual_business"]
max = { do = "keep", first = 8 }
basis = [{ law = "中华人民共和国行政处罚法", article = "四十八", from = 2021-07-15 }]
"""


async def test_an_ended_exception_for_households_leaves_what_never_names_one(tmp_path: Path) -> None:
    """Walking organisations, suggestions and lists of records go on; what may meet a household says that grounds have ended."""
    async with a_house(tmp_path, f"sqlite+aiosqlite:///{tmp_path}/gateway.db") as services:
        await change_policy(services, "redlines.toml", EXCEPTION + HOUSEHOLDS, f"{EXCEPTION}until = {LAST_DAY}")
        made = await stocked(services)
        async with at(services, AFTER) as then:
            assert read(await find_subjects(then, PUBLIC, ask()))["items"]
            assert read(await suggest(then, PUBLIC, ask(q="药业")))["items"]
            assert made["罚单"] in {item["id"] for item in await walked(records_page, then)}
            await expired(find_subjects(then, PUBLIC, ask(q="药业")))


async def test_an_end_within_a_month_is_an_alarm(town: tuple[Services, dict[str, str]]) -> None:
    """A month ahead, not a day earlier; it names the plans, and other datasets are none."""
    services, _ = town
    for moment, bad in ("2026-05-20T15:59:59Z", set()), ("2026-05-20T16:00:00Z", {TAX}), (AFTER, {TAX}):
        async with at(services, moment) as then:
            found = {each.target: each for each in alarms.endings(then)}
        assert {name for name, each in found.items() if each.bad} == bad, moment
    assert found[TAX].detail["end"] == datetime.fromisoformat(AFTER).isoformat()
    assert "public/open.read/legal" in str(found[TAX].detail["plans"])
    assert len(found) > 1

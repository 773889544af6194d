"""Who saw what is written before it is seen: in every story, in streams before each chunk, or there is no data; on both databases."""

from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from gateway.core.callers.caller import PUBLIC, Caller
from gateway.core.errors import AuditUnavailable
from gateway.operations import answer_query, read_feed, suggest
from gateway.operations.record_access import record_access
from gateway.operations.verify_audit import verify_store
from gateway.services import Services
from gateway.store import audit
from gateway.store.audit import AuditRow, Wanted
from tests.operations.publishing import DEPARTMENT, PENALTIES, a_house, ask, code, person_number, stocked, whole

OFFICER = msgspec.structs.replace(DEPARTMENT, case_ref="通市监案〔2026〕7号", credential_id="thumb", unit="220500")


@pytest.fixture
async def town(tmp_path: Path, store_url: str) -> AsyncIterator[Services]:
    """A small rendered town, on SQLite and on PostgreSQL."""
    async with a_house(tmp_path, store_url) as services:
        yield services


async def seen(services: Services) -> list[AuditRow]:
    """The accesses so far."""
    return await audit.rows(services.store.reads, Wanted(kind="access"), limit=1000)


STORIES: dict[str, Any] = {
    "subject": lambda town, caller, made: answer_query.subject_document(town, code(1), caller, "zh-CN"),
    "record": lambda town, caller, made: answer_query.record(town, made["人罚"], caller, "zh-CN"),
    "records of a subject": lambda town, caller, made: answer_query.subject_records(town, code(1), caller, ask()),
    "records": lambda town, caller, made: answer_query.records_page(town, caller, ask(dataset=PENALTIES)),
    "listings": lambda town, caller, made: answer_query.listings(town, "tax-violations", caller, ask()),
    "all records": lambda town, caller, made: answer_query.records_page(town, caller, ask(limit="all", format_="csv")),
    "subjects": lambda town, caller, made: answer_query.find_subjects(town, caller, ask()),
    "all subjects": lambda town, caller, made: answer_query.find_subjects(town, caller, ask(limit="all")),
    "search": lambda town, caller, made: answer_query.find_subjects(town, caller, ask(q="示例药业")),
    "suggest": lambda town, caller, made: suggest.suggest(town, caller, ask(q="示例药业")),
    "changes": lambda town, caller, made: read_feed.changes(town, caller, ask(since="0")),
}


async def test_every_story_writes_before_it_shows(town: Services) -> None:
    """An officer's every question leaves rows with purpose, plan and case, and HMACs of subjects; the public's leaves none."""
    made = await stocked(town)
    before = 0
    for name, story in STORIES.items():
        answered = await story(town, PUBLIC, made) if name != "record" else None
        if answered is not None:
            await whole(answered)
        assert len(await seen(town)) == before, name
        answer = await story(town, OFFICER, made)
        assert len(await seen(town)) > before, name
        await whole(answer)
        rows = (await seen(town))[before:]
        before += len(rows)
        for row in rows:
            assert (row.app, row.org, row.unit, row.purpose) == (OFFICER.app, OFFICER.org, OFFICER.unit, OFFICER.purpose)
            assert (row.credential, row.case_ref, row.policy_version) == ("thumb", OFFICER.case_ref, 1)
            assert len(row.plan_hash or "") == 64
            assert row.treatments
        shown = sum(row.row_count or 0 for row in rows)
        assert shown > 0, name
        if name != "changes":
            assert any(row.subjects for row in rows), name
    person = next(row for row in await seen(town) if row.shape == "record")
    again = (await audit.rows(town.store.reads, Wanted(kind="access", dataset=PENALTIES)))[0]
    assert person.dataset == PENALTIES
    assert set(person.subjects) <= {each for row in await seen(town) for each in row.subjects}
    assert again.plan_hash == person.plan_hash
    dumped = b"".join(
        bytes(value) if isinstance(value, bytes) else str(value).encode()
        for row in await town.store.reads.all(sa.text("SELECT * FROM audit").columns())
        for value in row
    )
    for word in ("测试甲", person_number(1), "示例药业", "通市监案"):
        assert word.encode() not in dumped
    assert (await verify_store(town)).ok


async def test_without_a_trail_there_is_no_data(town: Services) -> None:
    """When rows cannot be written every story of an officer is 503 `audit-unavailable`; the public goes on."""
    made = await stocked(town)
    export = await STORIES["all records"](town, OFFICER, made)
    written = sum(row.row_count or 0 for row in await seen(town))
    async with town.store.transaction() as tx:
        await tx.execute(sa.text("ALTER TABLE audit RENAME TO audit_away"))
    for name, story in STORIES.items():
        if name != "record":
            await whole(await story(town, PUBLIC, made))
        with pytest.raises(AuditUnavailable):
            await story(town, OFFICER, made)
    parts: list[bytes] = []
    with suppress(AuditUnavailable):  # an export that had begun gives what was written down when it began, and not a row more
        async for part in export.stream:
            parts.append(part)  # noqa: PERF401 - what came before the failure is what is looked at
    assert b"".join(parts).count(b'"id":"rec_') <= written


async def test_a_filter_is_told_by_its_shape(town: Services) -> None:
    """Fields and operators of a question are kept, its values are not; an empty answer is a row too."""
    await stocked(town)
    await answer_query.records_page(town, OFFICER, ask(dataset=PENALTIES, decision_date__gte="2031-01-02", sort="-decision_date"))
    (row,) = await seen(town)
    assert (row.dataset, row.row_count, row.subjects) == (PENALTIES, 0, ())
    assert row.shape == "dataset:eq decision_date:gte sort:-decision_date"


async def test_count_is_a_counter_only(town: Services) -> None:
    """A bound caller who asks as the public does leaves no row, but a count by tier and purpose."""
    await stocked(town)
    as_public: Caller = msgspec.structs.replace(OFFICER, purpose="open.read")
    await answer_query.records_page(town, as_public, ask(dataset=PENALTIES))
    assert await seen(town) == []
    assert town.trail.counts["department", "open.read", PENALTIES] == 1


async def test_a_look_up_is_written_hit_or_miss(town: Services) -> None:
    """The identifier asked for is kept as an HMAC: the same for a hit and a miss, so its owner can be told of both."""
    held = town.policies.current().plan_set(PENALTIES, "department", "dept.supervision")
    assert held is not None
    for rows in (1, 0):
        await record_access(town, town.policies.current(), OFFICER, [held], "lookup id_no name", rows, [person_number(1)])
    hit, miss = await seen(town)
    assert (hit.row_count, miss.row_count) == (1, 0)
    assert hit.subjects == miss.subjects
    assert hit.plan_hash == held.hash

"""A search that was answered is answered with the same page as long as it is true, and not a moment longer."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from gateway.core.callers.caller import PUBLIC
from gateway.core.publication.searching import fitting, read_query
from gateway.operations import look_up
from gateway.operations.answer_query import find_subjects
from gateway.operations.render_public import settle
from gateway.services import Services
from gateway.store import renderings, search
from tests.operations.publishing import (
    PENALTIES,
    REGISTRATIONS,
    a_town,
    ask,
    at,
    code,
    firm,
    ids,
    penalty,
    put,
    read,
)


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[Services]:
    """A small rendered town."""
    async with a_town(tmp_path, "") as (services, _):
        yield services


async def test_an_equal_search_is_the_same_page_until_something_is_committed(town: Services) -> None:
    """Asked again it is the very answer; after a commit another is made, with what came."""
    first = await find_subjects(town, PUBLIC, ask(q="示例", limit="5"))
    again = await find_subjects(town, PUBLIC, ask(q="示例", limit="5"))
    assert again.body is first.body
    assert again == first
    for other in (ask(q="示例", limit="6"), ask(q="示例药", limit="5"), ask(q="示例", limit="5", language="en")):
        assert (await find_subjects(town, PUBLIC, other)).body is not first.body
    await put(town, REGISTRATIONS, firm(31, "通化市示例甲商贸有限公司"))
    await settle(town)
    after = await find_subjects(town, PUBLIC, ask(q="示例", limit="5"))
    assert len(read(after)["items"]) == len(read(first)["items"]) + 1


async def test_what_was_committed_is_shown_before_any_reader_of_the_log(town: Services) -> None:
    """A renamed firm is not shown as it was, though neither index nor rendering has followed."""
    first = read(await find_subjects(town, PUBLIC, ask(q="示例药业")))
    await put(town, REGISTRATIONS, firm(1, "通化市新名药业有限公司"))
    later = read(await find_subjects(town, PUBLIC, ask(q="示例药业")))
    assert [item["name"] for item in first["items"]] == ["通化市示例药业有限公司"]
    assert "通化市示例药业有限公司" not in [item["name"] for item in later["items"]]


async def test_a_page_ends_with_the_first_of_its_documents(town: Services) -> None:
    """It is kept while everything in it is true by the clock: not past the end of a document, not past a minute, not before it was made."""
    ids(await put(town, PENALTIES, penalty(code(1), "通化市示例药业有限公司", "通示罚〔2026〕77号")))
    await settle(town)
    shown = read(await find_subjects(town, PUBLIC, ask(q="示例药业")))["items"][0]
    row = await renderings.subject_by_id(town.store.reads, shown["id"])
    assert row is not None
    end = datetime.fromisoformat(row.valid_until)
    assert end.year < 9999

    async def seconds_before(seconds: int) -> bytes:
        async with at(town, (end - timedelta(seconds=seconds)).isoformat()) as then:
            return (await find_subjects(then, PUBLIC, ask(q="示例药业"))).body

    made = await seconds_before(100)
    assert await seconds_before(60) is made
    assert await seconds_before(101) is not made, "before it was made"
    made = await seconds_before(20)
    assert await seconds_before(1) is made
    assert await seconds_before(0) is not made, "a document has ended"
    made = await seconds_before(130)
    assert await seconds_before(69) is not made, "a minute is over"


async def test_names_judged_in_portions_are_judged_as_at_once(town: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many names a wrong text looks at, the same of them fit."""
    await put(town, REGISTRATIONS, *(firm(40 + n, f"通化市澄泉{mark}商贸有限公司") for n, mark in enumerate("甲乙丙丁戊己庚")))
    await settle(town)
    query = read_query("澄泉甲商茂")
    rows = await search.candidates(town.store.reads, town.store.dialect, query.loose, every=False, limit=100)
    assert len(rows) >= 7
    monkeypatch.setattr(look_up, "_PORTION", 2)
    assert await look_up._fits(query, rows) == fitting(query, rows)
    assert fitting(query, rows)

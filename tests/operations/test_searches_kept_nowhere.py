"""A search leaves nothing behind that the next one could tell from how soon it is answered, and is judged in portions."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.core.callers.caller import PUBLIC
from gateway.core.publication.searching import fitting, read_query
from gateway.operations import look_up
from gateway.operations.answer_query import find_subjects, subject_document
from gateway.operations.render_public import settle
from gateway.services import Services
from gateway.store import search
from tests.operations.publishing import REGISTRATIONS, a_town, ask, firm, put, read


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[Services]:
    """A small rendered town."""
    async with a_town(tmp_path, "") as (services, _):
        yield services


async def statements(town: Services, text: str, **more: Any) -> list[str]:
    """What the database is asked for one search, with its values."""
    asked: list[str] = []
    connection = town.store.reads._connection  # type: ignore[attr-defined]  # the loop's own
    connection.set_trace_callback(asked.append)
    try:
        await find_subjects(town, PUBLIC, ask(q=text, **more))
    finally:
        connection.set_trace_callback(None)
    return [each for each in asked if not each.startswith("PRAGMA")]


@pytest.mark.parametrize("text", ["示例药业", "示例", "示列药业", "没有这样的名称"])
async def test_nobody_is_told_what_others_search_for(town: Services, text: str) -> None:
    """A search costs the database the same, whether it or a look-up of what it finds was asked before or not (channel 29)."""
    await find_subjects(town, PUBLIC, ask(q="通化", limit="1"))  # what every search asks once in a state
    moment = town.store.reads.moment()  # type: ignore[attr-defined]
    kept = dict(moment._kept)
    first = await statements(town, text)
    assert moment._kept == kept, "nothing is kept of what was searched for or found"
    assert await statements(town, text) == first
    for item in read(await find_subjects(town, PUBLIC, ask(q=text)))["items"]:
        await subject_document(town, item["id"], PUBLIC, "zh-CN")
    assert await statements(town, text) == first
    assert town.store.reads.moment() is moment, "all of it was asked in one state"  # type: ignore[attr-defined]


async def test_what_was_committed_is_shown_before_any_reader_of_the_log(town: Services) -> None:
    """A renamed firm is not shown as it was, though neither index nor rendering has followed."""
    first = read(await find_subjects(town, PUBLIC, ask(q="示例药业")))
    await put(town, REGISTRATIONS, firm(1, "通化市新名药业有限公司"))
    later = read(await find_subjects(town, PUBLIC, ask(q="示例药业")))
    assert [item["name"] for item in first["items"]] == ["通化市示例药业有限公司"]
    assert "通化市示例药业有限公司" not in [item["name"] for item in later["items"]]


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

"""What a guest gives beside its contract: told as that guest's fault, and no other row's or line's (exchange.md §17, A30)."""

from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from gateway.adapter_contract import CONTRACT_VERSION, Page, RowResult, SourceRecord
from gateway.adapter_loading import Adapters
from tests.operations.publishing import NOW, PENALTIES
from tests.operations.test_lines_inward import Town, a_town


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[Town]:
    """Ours on SQLite."""
    async with a_town(tmp_path, "") as found:
        yield found


def row(values: dict[str, Any], **changed: Any) -> SourceRecord:
    """A row as it should be, but for what is changed."""
    said = {"dataset": PENALTIES, "record_id": "a", "as_of": datetime.fromisoformat(NOW), "fields": values, "place": "p:1"}
    return SourceRecord(**said | changed)


def giving(town: Town, page: object) -> Any:
    """The town, whose line gives this page."""
    there = town.services.adapters.load("frontend_database")

    class Odd(there):  # type: ignore[misc, valid-type]  # whatever is installed
        contract_version = CONTRACT_VERSION
        capabilities = frozenset({"resume"})

        async def pull(self, since: str | None) -> AsyncIterator[object]:
            if isinstance(page, BaseException):
                raise page
            if since is None:
                yield page

    return structs.replace(town.services, adapters=Adapters({"frontend_database": lambda: Odd}))


ODD: list[dict[str, Any]] = [
    {"fields": {"CF_WSH": "号\ud800"}},
    {"fields": {"CF_WSH\ud800": "号"}},
    {"fields": {"CF_WSH": 1.5}},
    {"fields": {"CF_WSH": ["号"]}},
    {"fields": None},
    {"record_id": "a\udfff"},
    {"record_id": 7},
    {"place": "\ud800"},
    {"place": None},
    {"dataset": None},
    {"op": "praise"},
    {"as_of": datetime(2026, 6, 1, 10)},  # noqa: DTZ001  # that is what is wrong with it
    {"as_of": "2026-06-01"},
    {"version": "1"},
    {"version": 10**30},
    {"version": -1},
]


async def test_an_odd_row_stops_no_other(town: Town) -> None:
    """Rows that no source may give are rejected one by one; the row among them is taken, and none is told as a withdrawal."""
    town.put("a")
    values = {name: value for name, value in town.province.rows()[0].items() if name.startswith("CF_")}
    rows = (*(row(values, **changed) for changed in ODD[:8]), row(values), *(row(values, **changed) for changed in ODD[8:]), "no row")
    unreadable = (RowResult(place="\ud800", record_id=None, result="rejected"), RowResult(place="p", record_id=None, result="rejected"))
    run = await town.pull(giving(town, Page(records=rows, unreadable=unreadable, cursor="1", more=False)))  # type: ignore[arg-type]  # odd
    assert (run.rows, run.not_sent, run.code) == (1, {"SCHEMA_TYPE": len(ODD) + 2, "": 1}, None)
    assert (await town.record("a")).state == "in_force"


@pytest.mark.parametrize(
    "page",
    ["no page", SystemExit(0), Page(records=None, cursor="1", more=False), Page(records=(), cursor="\ud800", more=False)],
    ids=["no page", "it leaves", "no rows", "no cursor"],
)
async def test_an_odd_page_stops_its_line_alone(town: Town, page: Any) -> None:
    """A page that is none opens the breaker of its line, with a code; the round goes on."""
    run = await town.pull(giving(town, page))
    assert (run.rows, run.code) == (0, "ADAPTER_FAILED")

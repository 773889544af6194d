"""Rows asked for by their day: found by it where they are few, walked in order of id where they are many; the same either way."""

import sqlite3
from typing import Any

import pytest
import sqlalchemy as sa
from msgspec import structs

from gateway.store import walks
from gateway.store.conditions import Condition, parameters
from gateway.store.reads import compiled
from gateway.store.tables import metadata
from tests.web.city import Server
from tests.web.test_api import PENALTIES, walk


@pytest.mark.parametrize("bounds", ["decision_date__gte=2025-06-01", "decision_date__gt=2025-01-01&decision_date__lte=2026-03-01"])
def test_rows_of_many_days_are_not_put_in_order(sqlite_server: Server, monkeypatch: pytest.MonkeyPatch, bounds: str) -> None:
    """Where more rows are of these days than are sorted, no index of days is walked, and pages and exports hold the same rows."""
    path = f"/v1/records{{}}?{PENALTIES}&{bounds}&limit={{}}"
    pages = walk(sqlite_server, path.format("", 7))
    exports = {suffix: sqlite_server.get(path.format(suffix, "all")).content for suffix in (".ndjson", ".csv", ".json")}
    made, by_id = walks._page, []

    def page(shape: walks.Shape) -> Any:
        by_id.append(shape.by_id)
        return made(shape)

    monkeypatch.setattr(walks, "_page", page)
    assert walk(sqlite_server, path.format("", 8)) == pages  # another question: what was asked a moment ago is kept
    assert set(by_id) == {False}
    monkeypatch.setattr(walks, "_SORTED", 0)
    by_id.clear()
    assert walk(sqlite_server, path.format("", 9)) == pages
    assert {suffix: sqlite_server.get(path.format(suffix, "all")).content for suffix in exports} == exports
    assert len(by_id) > len(exports)
    assert set(by_id) == {True}


def test_a_walk_in_order_of_id_sorts_nothing() -> None:
    """SQLite puts nothing aside to be sorted, so rows leave at once and memory is flat, however many there are."""
    engine = sa.create_engine("sqlite://")
    conditions = [Condition(column="dataset", op="eq", values=("d",)), Condition(column="decision_date", op="gte", values=("2026-01-01",))]
    shape = walks._shape(conditions, (), after=False, back=False, payload="body", probe=False)
    values = {**parameters(conditions), "plan": "p", "now": "n", "snapshot": 1}
    with engine.connect() as connection:
        metadata.create_all(connection, tables=[metadata.tables[name] for name in ("rendered_records", "changes", "readers", "records")])
        raw: sqlite3.Connection = connection.connection.dbapi_connection  # type: ignore[assignment]
        for by_id, sorts in ((False, True), (True, False)):
            known = compiled(walks._page(structs.replace(shape, by_id=by_id)))
            steps = [row[3] for row in raw.execute(f"EXPLAIN QUERY PLAN {known.sql}", known.arguments(values))]
            assert any("TEMP B-TREE" in step for step in steps) is sorts

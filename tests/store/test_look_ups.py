"""A few records are looked up, whatever number of them the store holds."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from gateway.store import feed, outbox
from gateway.store.reads import compiled
from gateway.store.tables import metadata


def test_latest_changes_are_looked_up_by_record() -> None:
    """What a bound caller's records were told last costs as much in a feed of millions: no walk through a plan set."""
    plan = plan_of(feed._LATEST_OF, "feed", {"plan_set": "department/dept.supervision", "ids": ["rec_a", "rec_b"]})
    assert any("ix_feed_record_id_plan_set (record_id=?" in step for step in plan), plan
    assert not any("(plan_set=?)" in step or step.startswith("SCAN feed") for step in plan), plan


def test_what_is_due_in_a_stream_is_looked_up_by_its_time() -> None:
    """A pass over a stream that has told of millions reads what is due, not all that was ever told."""
    plan = plan_of(outbox._OUT_DUE, "out_records", {"stream": "a-b.penalties", "now": "2026-11-29T00:00:00Z", "n": 5000})
    assert plan == ["SEARCH out_records USING INDEX ix_out_records_stream_valid_until (stream=? AND valid_until<?)"]


def plan_of(statement: sa.Select[Any], table: str, given: Mapping[str, object]) -> list[str]:
    """The steps in which SQLite reads an empty table."""
    known = compiled(statement)
    engine = sa.create_engine("sqlite://")
    with engine.connect() as connection:
        metadata.create_all(connection, tables=[metadata.tables[table]])
        raw = connection.connection.dbapi_connection
        assert raw is not None
        return [row[3] for row in raw.execute(f"EXPLAIN QUERY PLAN {known.sql}", known.arguments(given))]  # type: ignore[attr-defined]  # of sqlite3

"""A few records are looked up, whatever number of them the store holds."""

import sqlalchemy as sa

from gateway.store import feed
from gateway.store.reads import compiled
from gateway.store.tables import metadata


def test_latest_changes_are_looked_up_by_record() -> None:
    """What a bound caller's records were told last costs as much in a feed of millions: no walk through a plan set."""
    known = compiled(feed._LATEST_OF)
    engine = sa.create_engine("sqlite://")
    with engine.connect() as connection:
        metadata.create_all(connection, tables=[metadata.tables["feed"]])
        raw = connection.connection.dbapi_connection
        assert raw is not None
        arguments = known.arguments({"plan_set": "department/dept.supervision", "ids": ["rec_a", "rec_b"]})
        plan = [row[3] for row in raw.execute(f"EXPLAIN QUERY PLAN {known.sql}", arguments)]  # type: ignore[attr-defined]
    assert any("ix_feed_record_id_plan_set (record_id=?" in step for step in plan), plan
    assert not any("(plan_set=?)" in step or step.startswith("SCAN feed") for step in plan), plan

"""A few records are looked up, whatever number of them the store holds."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from gateway.store import feed, ledger, lists, renderings, subjects
from gateway.store.reads import compiled
from gateway.store.tables import metadata


def test_latest_changes_are_looked_up_by_record() -> None:
    """What a bound caller's records were told last costs as much in a feed of millions: no walk through a plan set."""
    plan = plan_of(feed._LATEST_OF, "feed", given={"plan_set": "department/dept.supervision", "ids": ["rec_a", "rec_b"]})
    assert any("ix_feed_record_id_plan_set (record_id=?" in step for step in plan), plan
    assert not any("(plan_set=?)" in step or step.startswith("SCAN feed") for step in plan), plan


def test_what_is_due_in_a_stream_is_looked_up_by_its_time() -> None:
    """A pass over a stream that has told of millions reads what is due, not all that was ever told."""
    plan = plan_of(ledger._OUT_DUE, "out_records", given={"stream": "a-b.penalties", "now": "2026-11-29T00:00:00Z", "n": 5000})
    assert plan == ["SEARCH out_records USING INDEX ix_out_records_stream_valid_until (stream=? AND valid_until<?)"]


def test_whether_a_version_may_be_shown_is_no_walk_through_its_rows() -> None:
    """Every request for a file of a version asks what has happened since: that reads what is unread, leaving or over, in any collection."""
    tables = ("list_rows", "list_versions", "changes", "readers")
    given = {"of": "datasets/registrations", "seq": 9, "limit": 51, "now": "2026-11-29T00:00:00Z"}
    for statement, first in (
        (lists._UNREAD, "SEARCH changes USING INTEGER PRIMARY KEY (rowid>?)"),
        (lists._ENDED_OF, "SEARCH list_rows USING INDEX ix_list_rows_valid_until (valid_until<?)"),
        (lists._LEAVING_OF, "SEARCH list_rows USING INDEX ix_list_rows_leaving (leaving>?)"),
        (lists._ANY_LEAVING, "SEARCH list_rows USING INDEX ix_list_rows_leaving (leaving>?)"),
    ):
        plan = [step for step in plan_of(statement, *tables, given=given) if step.startswith(("SEARCH", "SCAN")) and "SUBQUERY" not in step]
        assert plan[0] == first, plan
        assert not any(("list_rows" in step and "(collection=?" in step) or "SCAN list_rows" in step for step in plan), plan


def test_a_subject_by_its_key_is_planned_once() -> None:
    """Another code, or another type of key, is no reason to plan the statement anew, which costs several times what it does itself."""
    engine, planned = sa.create_engine("sqlite://"), list[int]()
    with engine.connect() as connection:
        metadata.create_all(connection)
        raw: Any = connection.connection.dbapi_connection
        raw.set_authorizer(lambda *step: planned.append(step[0]) or 0)  # asked whenever a statement is planned
        for statement, type_, value in (
            (renderings._SUBJECT_BY_KEY, "key_type", "key_value"),
            (renderings._OF_KEYS, "key_type", "values"),
            (subjects._BY_KEY, "type", "value"),
            (subjects._OF_KEYS, "type", "wanted"),
        ):
            known = compiled(statement)
            for round_, code in enumerate(("91220502XXT00002X2", "91220599MA00000A1X")):
                for key_type in ("uscc", "reg_no"):
                    planned.clear()
                    raw.execute(known.sql, known.arguments({type_: key_type, value: [code] if value[-1] in "sd" else code})).fetchall()
                    assert not planned or (round_ == 0 and key_type == "uscc"), known.sql
        raw.set_authorizer(None)


def plan_of(statement: Any, *tables: str, given: Mapping[str, object]) -> list[str]:
    """The steps in which SQLite reads empty tables."""
    known = compiled(statement)
    engine = sa.create_engine("sqlite://")
    with engine.connect() as connection:
        metadata.create_all(connection, tables=[metadata.tables[table] for table in tables])
        raw = connection.connection.dbapi_connection
        assert raw is not None
        return [row[3] for row in raw.execute(f"EXPLAIN QUERY PLAN {known.sql}", known.arguments(given))]  # type: ignore[attr-defined]  # of sqlite3

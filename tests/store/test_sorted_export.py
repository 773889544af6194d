"""Exports in an order without an index: no value goes to a temporary file, and what is put in order is little."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from gateway.store import walks
from gateway.store.conditions import Order
from gateway.store.reads import _CACHE_KIB, SqliteReads, compiled
from gateway.store.tables import changes, metadata, readers, rendered_records

NAME = "通化市鸾翔澜沧商贸有限公司"
ROWS = 4000
"""More than a connection may keep while it streams, several times."""


def row(number: int) -> dict[str, Any]:
    """A rendering with some text; regions and severities return, so that the id decides."""
    mixed = number * 2654435761 % 2**32
    texts = {
        "subject_id": "sub",
        "dataset": "penalties",
        "category": "penalty",
        "plan": "plan",
        "valid_from": "2020",
        "valid_until": "9999",
    }
    return texts | {
        "record_id": f"rec_{mixed:08x}", "bulk": True, "version_seq": number, "seq": number, "added_seq": number, "told_at": "2026",
        "digest": b"", "received_at": "2026", "region": f"2205{mixed % 7:02d}", "severity": (None, "light", "heavy")[mixed % 3],
        "marks": "", "body": f"{number} {NAME}".encode() + bytes(1000), "flat": b"",
    }  # fmt: skip


@pytest.fixture
async def reads(tmp_path: Path) -> AsyncIterator[SqliteReads]:
    """Renderings of nobody's, and nothing behind the reader."""
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'a.db'}")
    with engine.begin() as connection:
        metadata.create_all(connection, [rendered_records, changes, readers])
        connection.execute(sa.insert(rendered_records), [row(number) for number in range(ROWS)])
    engine.dispose()
    found = SqliteReads(tmp_path / "a.db", None, wait_s=1)  # type: ignore[arg-type]  # nothing is opened
    yield found
    await found.close()


def in_files_without_a_name() -> list[bytes]:
    """What stands in files that this process has open and that nobody else can find."""
    held = []
    for each in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            if " (deleted)" in str(each.readlink()):
                held.append(each.read_bytes())
    return held


def export(reads: SqliteReads, *order: Order) -> AsyncIterator[list[Any]]:
    """All rows in an order."""
    return walks.export(reads, [], order, plan="plan", now="2026", snapshot=ROWS, payload="body", document=True)


@pytest.mark.parametrize("order", [[("region", False)], [("severity", True), ("region", False)]])
async def test_no_value_goes_to_a_file(reads: SqliteReads, order: list[tuple[Any, bool]]) -> None:
    """While rows leave in their order no file without a name holds one of them; every row comes once, with its own text."""
    found = []
    async for rows in export(reads, *(Order(column=column, descending=descending) for column, descending in order)):
        assert not any(NAME.encode() in held for held in in_files_without_a_name())
        found += rows
    wanted = sorted(map(row, range(ROWS)), key=lambda each: each["record_id"])
    for column, descending in reversed(order):
        wanted.sort(key=lambda each: each[column] or "", reverse=descending)
    assert found == [(None, each["body"], each["body"]) for each in wanted]


async def test_rows_are_not_put_in_order_themselves(reads: SqliteReads) -> None:
    """What is put in order has no row in it: each is found by its place afterwards, from the order that is ready."""
    shape = walks._shape([], [Order(column="region", descending=False)], after=False, back=False, payload="body", probe=False)
    known = compiled(walks._in_order(shape))
    given = {"plan": "plan", "now": "2026", "snapshot": ROWS}
    plan = reads._connection.execute(f"EXPLAIN QUERY PLAN {known.sql}", known.arguments(given)).fetchall()
    said = [line[3] for line in plan]
    assert said.index("SCAN sorted") + 1 == said.index("SEARCH rendered_records USING INTEGER PRIMARY KEY (rowid=?) LEFT-JOIN")
    (ordering,) = (line for line in plan if line[3] == "USE TEMP B-TREE FOR ORDER BY")
    assert (ordering[1], "CO-ROUTINE sorted") in [(line[0], line[3]) for line in plan]


class Stubborn(sqlite3.Connection):
    """A connection that takes no orders any more once it has begun to answer."""

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        """Like any other, but for the last pragma."""
        if sql == f"PRAGMA cache_size=-{_CACHE_KIB}" or sql.startswith("PRAGMA temp_store=MEMORY"):
            raise sqlite3.OperationalError
        return super().execute(sql, *parameters)


async def test_a_connection_that_fails_at_the_end_is_let_go(reads: SqliteReads, tmp_path: Path) -> None:
    """Whoever stops early hears no error of the driver, and a connection that could not be put right is not given to the next reader."""
    broken = sqlite3.connect(tmp_path / "a.db", factory=Stubborn, check_same_thread=False, isolation_level=None)
    reads._idle.put(broken)
    steps = export(reads, Order(column="region", descending=False))
    await anext(steps)
    await steps.aclose()  # type: ignore[attr-defined]  # it is a generator
    assert reads._idle.empty()
    with pytest.raises(sqlite3.ProgrammingError):
        broken.execute("SELECT 1")
    assert sum([len(rows) async for rows in export(reads, Order(column="region", descending=False))]) == ROWS
    assert reads._idle.qsize() == 1


async def test_what_is_made_of_rows_comes_in_their_order(reads: SqliteReads) -> None:
    """Some at a time, and the first of them alone: a first byte waits for few rows, which may have to come from disk."""
    steps = [
        step
        async for step in walks.export(
            reads, [], [], plan="plan", now="2026", snapshot=ROWS, payload="body", made=lambda rows: [row[1] for row in rows]
        )
    ]
    assert [len(step) for step in steps[:1]] == [1]
    assert len(steps[0][0]) < 100
    wanted = sorted(map(row, range(ROWS)), key=lambda each: each["record_id"])
    assert [body for step in steps for some in step for body in some] == [each["body"] for each in wanted]

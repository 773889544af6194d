"""The change log: one row for everything that happens to a record, dense and in order of commit; and the cursors of its readers.

Rules: a row is written in the transaction that makes the change, by `store/records.py` alone; whoever has read up to n has seen
everything up to n, for no smaller number can still be committed. A reader moves its cursor in the transaction that did the
reading's work. This room must not say what a change means for anybody.
"""

from datetime import datetime

import sqlalchemy as sa
from msgspec import Struct

from gateway.core.errors import StoreError
from gateway.core.records.model import DatasetId, RecordId, SubjectId
from gateway.store.reads import Reads, Row
from gateway.store.store import Transaction, moment
from gateway.store.tables import changes, counters, readers, record_versions, records

COUNTER = "changes"


class Change(Struct, frozen=True, gc=False, kw_only=True):
    """One line of the log; ids and codes, never values."""

    seq: int
    at: datetime
    record_id: RecordId
    subject_id: SubjectId
    dataset: DatasetId
    version: int
    """Of the record, after this change."""
    op: str
    reason: str | None
    actor: str


_AFTER = (
    sa.select(changes).where(changes.c.seq > sa.bindparam("position")).order_by(changes.c.seq).limit(sa.bindparam("n", type_=sa.Integer))
)
_LINES_AFTER = (
    sa.select(changes.c.seq, changes.c.at, changes.c.record_id, changes.c.subject_id, changes.c.op, changes.c.reason)
    .where(changes.c.seq > sa.bindparam("position"))
    .order_by(changes.c.seq)
    .limit(sa.bindparam("n", type_=sa.Integer))
)
_THIS: sa.BindParameter[str] = sa.bindparam("record_id", type_=sa.Text)
_ITS_NUMBERS = (
    sa.select(record_versions.c.seq)
    .where(record_versions.c.record_id == _THIS)
    .union_all(sa.select(records.c.changed_seq).where(records.c.record_id == _THIS))
)
_OF_RECORD = sa.select(changes).where(changes.c.seq.in_(_ITS_NUMBERS)).order_by(changes.c.seq)
_HEAD = sa.select(counters.c.value).where(counters.c.name == COUNTER)
_POSITION = sa.select(readers.c.position).where(readers.c.name == sa.bindparam("reader"))
_POSITIONS = sa.select(readers.c.name, readers.c.position).order_by(readers.c.name)
_MOVE = sa.text("INSERT INTO readers (name, position) VALUES (:reader, :to) ON CONFLICT (name) DO UPDATE SET position = :to")


async def after(source: Reads | Transaction, position: int, limit: int) -> list[Change]:
    """The next changes after a position, in order, at most `limit`."""
    return [_change(row) for row in await source.all(_AFTER, {"position": position, "n": limit})]


async def lines_after(source: Reads | Transaction, position: int, limit: int) -> list[Row]:
    """The same as they stand, for a reader of many."""
    return await source.all(_LINES_AFTER, {"position": position, "n": limit})


async def of_record(source: Reads | Transaction, record_id: RecordId) -> list[Change]:
    """Everything that ever happened to one record."""
    return [_change(row) for row in await source.all(_OF_RECORD, {"record_id": record_id})]


async def head(source: Reads | Transaction) -> int:
    """Number of the latest change; 0 in an empty store."""
    row = await source.one(_HEAD)
    return int(row.value) if row is not None else 0


async def reader_position(source: Reads | Transaction, name: str) -> int:
    """Up to where a reader has read; 0 for one that never did."""
    row = await source.one(_POSITION, {"reader": name})
    return int(row.position) if row is not None else 0


async def reader_positions(source: Reads | Transaction) -> dict[str, int]:
    """All readers and their positions, for `settle` and for monitoring."""
    return {row.name: int(row.position) for row in await source.all(_POSITIONS)}


async def move_reader(tx: Transaction, name: str, to: int, *, expected: int | None = None) -> None:
    """Put a reader's cursor; backwards means that it will read again.

    `expected` is the position on which the reader's work was based: another one means that somebody else did that work, so the
    whole transaction is to be undone. Raises StoreError `reader-moved`, or `reader-position` outside the log.
    """
    if expected is not None and await reader_position(tx, name) != expected:
        raise StoreError(
            "another process has moved this reader", code="reader-moved", place=name, hint="undo, and read again from its position"
        )
    if not 0 <= to <= await head(tx):
        raise StoreError("a reader cannot stand outside the log", code="reader-position", place=name)
    await tx.execute(_MOVE, {"reader": name, "to": to})


def _change(row: sa.Row[tuple[object, ...]]) -> Change:
    return Change(
        seq=row.seq,
        at=moment(row.at),
        record_id=row.record_id,
        subject_id=row.subject_id,
        dataset=row.dataset,
        version=row.version,
        op=row.op,
        reason=row.reason,
        actor=row.actor,
    )

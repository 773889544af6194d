"""The log above the audit trail: seals and checkpoints, and the rows as they are hashed (policy.md §15).

Rules: entries and the checkpoint over them are written in one transaction; numbers are dense; a partition is deleted whole or not at
all, and only after everything in it was sealed. What stands in `audit_partitions` and beside a checkpoint only makes work quick: whoever
goes on from it compares it with what was signed. This room signs nothing and judges nothing.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import sqlalchemy as sa
from msgspec import Struct

from gateway.core.audit.chain import COLUMNS, Partition
from gateway.core.audit.verify import Fault, PartitionCheck, SignedHead
from gateway.store.audit import Head, written_by_us
from gateway.store.reads import Reads, Row
from gateway.store.store import Source, Transaction
from gateway.store.tables import audit, audit_checkpoints, audit_log, audit_partitions
from gateway.store.vault import Vault

PAGE = 1000

Line = tuple[tuple[Any, ...], bytes]
"""A row as the values of COLUMNS, and its link."""


class Standing(Struct, frozen=True, kw_only=True):
    """Where a partition stands, and how much of it is sealed."""

    partition: Partition
    size: int
    link: bytes
    mac: bytes
    sealed: int
    tree: bytes
    retired: bool

    def ours(self, vault: Vault) -> bool:
        """Whether a process of ours moved its end there, some time."""
        return written_by_us(vault, self.partition, Head(self.size, self.link), self.mac)


class HeadRow(Struct, frozen=True, kw_only=True):
    """A checkpoint with the tree that it was made of."""

    head: SignedHead
    size: int
    tree: bytes


# --- rows -------------------------------------------------------------------------------------------------------------

_LINES = (
    sa.select(audit)
    .where(audit.c.day == sa.bindparam("day"), audit.c.writer == sa.bindparam("writer"), audit.c.n > sa.bindparam("n"))
    .order_by(audit.c.n)
    .limit(sa.bindparam("limit", type_=sa.Integer))
)
_LINKS = (
    sa.select(audit.c.n, audit.c.link)
    .where(
        audit.c.day == sa.bindparam("day"),
        audit.c.writer == sa.bindparam("writer"),
        audit.c.n > sa.bindparam("n"),
        audit.c.n <= sa.bindparam("last"),
    )
    .order_by(audit.c.n)
)
_STANDING = sa.select(audit_partitions).order_by(audit_partitions.c.day, audit_partitions.c.writer)
_STANDING_OF = sa.select(audit_partitions).where(
    audit_partitions.c.day == sa.bindparam("day"), audit_partitions.c.writer == sa.bindparam("writer")
)


def _line(row: Row) -> Line:
    values = (getattr(row, name) for name in COLUMNS)
    return tuple(bytes(value) if isinstance(value, memoryview) else value for value in values), bytes(row.link)


async def lines(source: Source, partition: Partition, page: int = PAGE) -> AsyncIterator[Line]:
    """Every row of a partition as it is hashed, in order of number."""
    number = -(1 << 62)  # also what an intruder numbered below 1
    while found := await source.all(_LINES, {"day": partition.day, "writer": partition.writer, "n": number, "limit": page}):
        for row in found:
            yield _line(row)
        number = found[-1].n


async def partitions(source: Source, from_day: str = "", to_day: str = "9999") -> list[Partition]:
    """Every partition of these days that has rows, stands somewhere, or is named by the log."""
    found: set[Partition] = set()
    for table in (audit, audit_partitions, audit_log):
        statement = sa.select(table.c.day, table.c.writer).where(table.c.day >= from_day, table.c.day <= to_day).distinct()
        found |= {Partition(row.day, row.writer) for row in await source.all(statement)}
    return sorted(found)


async def standings(source: Source, *, unsealed: bool) -> list[Standing]:
    """Where partitions stand; with `unsealed` only those that have grown since they were sealed."""
    statement = _STANDING.where(audit_partitions.c.size > audit_partitions.c.sealed) if unsealed else _STANDING
    return [_standing(row) for row in await source.all(statement)]


async def standing_of(source: Source, partition: Partition) -> Standing | None:
    """Where one partition stands."""
    row = await source.one(_STANDING_OF, {"day": partition.day, "writer": partition.writer})
    return None if row is None else _standing(row)


def _standing(row: Row) -> Standing:
    return Standing(
        partition=Partition(row.day, row.writer),
        size=row.size,
        link=bytes(row.link),
        mac=bytes(row.mac),
        sealed=row.sealed,
        tree=bytes(row.tree),
        retired=bool(row.retired),
    )


async def links_after(tx: Transaction, partition: Partition, number: int, last: int) -> list[tuple[int, bytes]]:
    """Numbers and links of the rows after one, up to another: on PostgreSQL a process may write on meanwhile."""
    found = await tx.all(_LINKS, {"day": partition.day, "writer": partition.writer, "n": number, "last": last})
    return [(row.n, bytes(row.link)) for row in found]


async def link_at(tx: Transaction, partition: Partition, number: int) -> bytes | None:
    """The link of one row; None when there is none."""
    found = await links_after(tx, partition, number - 1, number)
    return found[0][1] if found else None


async def first_broken(source: Source) -> str | None:
    """The first row at which a chain does not hold, as day/writer#number; None when all is well. Seals are not looked at."""
    for partition in await partitions(source):
        check = PartitionCheck(partition, (), "")
        async for row, link in lines(source, partition):
            fault = check.row(row, link)
            if fault is not None:
                return f"{fault.place}#{fault.index}"
    return None


# --- the log ----------------------------------------------------------------------------------------------------------

_ENTRIES = (
    sa.select(audit_log.c.idx, audit_log.c.day, audit_log.c.writer, audit_log.c.body)
    .where(audit_log.c.idx >= sa.bindparam("first"))
    .order_by(audit_log.c.idx)
    .limit(sa.bindparam("limit", type_=sa.Integer))
)
_OF_PARTITION = (
    sa.select(audit_log.c.body)
    .where(audit_log.c.day == sa.bindparam("day"), audit_log.c.writer == sa.bindparam("writer"))
    .order_by(audit_log.c.idx)
)
_LAST_OF_PARTITION = (
    sa.select(audit_log.c.body)
    .where(audit_log.c.day == sa.bindparam("day"), audit_log.c.writer == sa.bindparam("writer"))
    .order_by(audit_log.c.idx.desc())
    .limit(1)
)
_NOTE_OF_SIZE = sa.select(audit_checkpoints.c.note).where(audit_checkpoints.c.size == sa.bindparam("size"))
_HEADS = (
    sa.select(audit_checkpoints)
    .where(audit_checkpoints.c.number > sa.bindparam("number"))
    .order_by(audit_checkpoints.c.number)
    .limit(sa.bindparam("limit", type_=sa.Integer))
)
_NEWEST = sa.select(audit_checkpoints).order_by(audit_checkpoints.c.number.desc()).limit(sa.bindparam("limit", type_=sa.Integer))


def _head(row: Row) -> HeadRow:
    return HeadRow(head=SignedHead(number=row.number, at=row.at, note=row.note), size=row.size, tree=bytes(row.tree))


async def newest(source: Source, limit: int = 1) -> list[HeadRow]:
    """The newest checkpoints, newest first."""
    return [_head(row) for row in await source.all(_NEWEST, {"limit": limit})]


async def note_of_size(source: Source, size: int) -> str | None:
    """The note of the checkpoint over so many entries."""
    row = await source.one(_NOTE_OF_SIZE, {"size": size})
    return None if row is None else str(row.note)


async def heads(source: Source) -> AsyncIterator[HeadRow]:
    """Every checkpoint in order of number."""
    number = -(1 << 62)
    while found := await source.all(_HEADS, {"number": number, "limit": PAGE}):
        for row in found:
            yield _head(row)
        number = found[-1].number


async def entries(source: Source) -> AsyncIterator[tuple[int, Partition, bytes]]:
    """Every entry of the log in order: its index, the partition it is filed under, its bytes."""
    first = -(1 << 62)
    while found := await source.all(_ENTRIES, {"first": first, "limit": PAGE}):
        for row in found:
            yield row.idx, Partition(row.day, row.writer), bytes(row.body)
        first = found[-1].idx + 1


async def entries_of(source: Source, partition: Partition) -> list[bytes]:
    """The entries that are filed under a partition."""
    return [bytes(row.body) for row in await source.all(_OF_PARTITION, {"day": partition.day, "writer": partition.writer})]


async def last_entry(source: Source, partition: Partition) -> bytes | None:
    """The newest entry about a partition."""
    row = await source.one(_LAST_OF_PARTITION, {"day": partition.day, "writer": partition.writer})
    return None if row is None else bytes(row.body)


async def add(tx: Transaction, first: int, made: Sequence[tuple[Partition, bytes]], head: HeadRow) -> None:
    """Entries from an index on, and the checkpoint over all of them."""
    rows = [(first + place, each.day, each.writer, body) for place, (each, body) in enumerate(made)]
    await tx.insert(audit_log, ("idx", "day", "writer", "body"), rows)
    said = head.head
    await tx.insert(audit_checkpoints, ("number", "size", "at", "tree", "note"), [(said.number, head.size, said.at, head.tree, said.note)])


async def mark_sealed(tx: Transaction, partition: Partition, sealed: int, tree: bytes) -> None:
    """A partition is sealed so far."""
    await tx.execute(_at(sa.update(audit_partitions), partition).values(sealed=sealed, tree=tree))


async def delete_partition(tx: Transaction, partition: Partition) -> None:
    """Every row of a partition whose time is over; where it stood stays."""
    await tx.execute(sa.delete(audit).where(audit.c.day == partition.day, audit.c.writer == partition.writer))
    await tx.execute(_at(sa.update(audit_partitions), partition).values(retired=True))


def _at(statement: sa.Update, partition: Partition) -> sa.Update:
    return statement.where(audit_partitions.c.day == partition.day, audit_partitions.c.writer == partition.writer)


__all__ = ["Fault", "HeadRow", "Standing"]


_CALLS = (
    sa.select(audit.c.app, audit.c.dataset, audit.c.purpose, sa.func.count().label("calls"))
    .where(audit.c.kind == "access", audit.c.day >= sa.bindparam("since"), audit.c.app.is_not(None))
    .group_by(audit.c.app, audit.c.dataset, audit.c.purpose)
)


async def calls_of_apps(source: Reads, since_day: str) -> dict[tuple[str, str, str], int]:
    """(app, dataset, purpose) → calls that the trail holds since a legal day; the dataset is empty for answers over several."""
    return {(row.app, row.dataset or "", row.purpose or ""): int(row.calls) for row in await source.slow(_CALLS, {"since": since_day})}

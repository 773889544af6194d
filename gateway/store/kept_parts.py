"""Parts of batches that still hold lines of erased records, in the outbox and in the inbox (exchange.md §9).

Rules: of a batch that is acknowledged, or is not sent any more, such a part goes at once and is answered 410 from then on; one that a
partner has still to get is told of, not touched. Parts are looked for by the leaves of their stream, those that came in by their lines.
"""

import asyncio
from collections.abc import Collection, Mapping
from typing import Final

import sqlalchemy as sa
from msgspec import Struct

from gateway.core.errors import ExchangeError
from gateway.core.exchange.agreements import Limits
from gateway.core.exchange.batch_lines import split_lines
from gateway.core.exchange.manifests import PartEntry, read_manifest
from gateway.core.exchange.records import REASONS, read_line
from gateway.core.exchange.wire import SUITES, Suite
from gateway.store import batch_parts
from gateway.store.dialects import among, one_of
from gateway.store.store import Source, Transaction
from gateway.store.tables import drops, in_batches, in_parts, line_rows, out_batches, out_leaves, out_parts, out_records

_LEAVES = sa.select(out_leaves.c.stream, out_leaves.c.epoch, out_leaves.c.idx, out_leaves.c.record_id).where(
    among(out_leaves.c.record_id, "wanted")
)
_KEPT_OUT = (
    sa.select(out_batches.c.stream, out_batches.c.epoch, out_batches.c.seq, out_batches.c.state, out_batches.c.manifest)
    .where(
        sa.select(sa.literal(1))
        .where(out_parts.c.stream == out_batches.c.stream, out_parts.c.epoch == out_batches.c.epoch, out_parts.c.seq == out_batches.c.seq)
        .exists()
    )
    .order_by(out_batches.c.stream, out_batches.c.epoch, out_batches.c.seq)
)
_PART_OUT = sa.select(out_parts.c.name, out_parts.c.data).where(
    out_parts.c.stream == sa.bindparam("stream"),
    out_parts.c.epoch == sa.bindparam("of_epoch"),
    out_parts.c.name == sa.bindparam("of_name"),
)
_LYING = (
    sa.select(drops.c.stream, drops.c.epoch, out_batches.c.manifest)
    .join(
        out_batches,
        sa.and_(out_batches.c.stream == drops.c.stream, out_batches.c.epoch == drops.c.epoch, out_batches.c.seq == drops.c.seq),
    )
    .where(drops.c.cleared_at.is_(None))
)
_NOTHING_SAID: Final = b'"d":[]}'
"""How a line without disclosures ends."""
_NAMES_OUT = sa.select(out_parts.c.stream, out_parts.c.epoch, out_parts.c.name)
_KEPT_IN = (
    sa.select(in_parts.c.name, in_parts.c.data, in_batches)
    .join(
        in_batches,
        sa.and_(
            in_batches.c.sender == in_parts.c.sender,
            in_batches.c.stream == in_parts.c.stream,
            in_batches.c.epoch == in_parts.c.epoch,
            in_batches.c.manifest_digest == in_parts.c.manifest_digest,
        ),
    )
    .order_by(in_parts.c.stream, in_parts.c.name)
)
_OF_LINES = (
    sa.select(out_parts.c.stream, out_parts.c.epoch, out_parts.c.seq, out_parts.c.name, out_batches.c.state, line_rows.c.record_id)
    .join(line_rows, sa.and_(line_rows.c.stream == out_parts.c.stream, line_rows.c.seq == out_parts.c.seq))
    .join(
        out_batches,
        sa.and_(out_batches.c.stream == out_parts.c.stream, out_batches.c.epoch == out_parts.c.epoch, out_batches.c.seq == out_parts.c.seq),
    )
    .where(among(line_rows.c.record_id, "wanted"), one_of(line_rows.c.op, "assert", "amend"))
)
"""A part of a line's own format is one leaf: which records it holds say its rows."""
_BARE = (
    sa.update(out_records)
    .where(out_records.c.stream == sa.bindparam("of_stream"), among(out_records.c.record_id, "wanted"))
    .values(seed=None, view_digest=b"")
)
OVER: Final = frozenset({"acked", "nacked", "superseded"})
"""States of batches of which nothing is sent again."""


class Holding(Struct, frozen=True, kw_only=True):
    """A part of the outbox that holds lines of some records."""

    stream: str
    epoch: int
    seq: int
    name: str
    state: str
    record_ids: frozenset[str]


async def holding(source: Source, record_ids: Collection[str], stream: str | None = None) -> list[Holding]:
    """Every part of the outbox (or of one stream) that is kept and holds a line of one of these records."""
    leaves = await source.all(_LEAVES, {"wanted": sorted(record_ids)})
    found = [
        Holding(stream=row.stream, epoch=row.epoch, seq=row.seq, name=row.name, state=row.state, record_ids=frozenset({row.record_id}))
        for row in await source.all(_OF_LINES, {"wanted": sorted(record_ids)})
        if stream in (None, row.stream)
    ]
    if not leaves:
        return found
    names = {(row.stream, row.epoch, row.name) for row in await source.all(_NAMES_OUT)}
    for row in await source.all(_KEPT_OUT):
        if stream not in (None, row.stream):
            continue
        mine = {leaf.idx: leaf.record_id for leaf in leaves if (leaf.stream, leaf.epoch) == (row.stream, row.epoch)}
        for part in read_manifest(row.manifest).parts if mine else ():
            inside = {index: record_id for index, record_id in mine.items() if part.from_ <= index < part.to}
            if inside and (row.stream, row.epoch, part.name) in names:
                if row.state not in OVER:
                    inside = await _speaking(source, row.stream, row.epoch, part, inside)
                if inside:
                    found.append(
                        Holding(
                            stream=row.stream,
                            epoch=row.epoch,
                            seq=row.seq,
                            name=part.name,
                            state=row.state,
                            record_ids=frozenset(inside.values()),
                        )
                    )
    return found


async def _speaking(source: Source, stream: str, epoch: int, entry: PartEntry, inside: Mapping[int, str]) -> dict[int, str]:
    """Those lines of a part that say something of their record: a withdrawal names its id alone, and has to arrive."""
    row = await source.one(_PART_OUT, {"stream": stream, "of_epoch": epoch, "of_name": entry.name})
    if row is None:
        return {}
    data = await batch_parts.open_part(source, "out_parts", stream, row)
    raw = await asyncio.to_thread(lambda: dict(enumerate(split_lines(entry, data, Limits()), entry.from_)))
    return {index: record_id for index, record_id in inside.items() if not raw[index].endswith(_NOTHING_SAID)}


async def lying(source: Source, record_ids: Collection[str]) -> frozenset[str]:
    """Those of these records of which a batch of ours that lies in a shared folder holds a line, though its part is not kept here."""
    rows = await source.all(_LYING)
    leaves = await source.all(_LEAVES, {"wanted": sorted(record_ids)}) if rows else []
    names = {(row.stream, row.epoch, row.name) for row in await source.all(_NAMES_OUT)} if leaves else set()
    return frozenset(
        leaf.record_id
        for row in rows
        for part in read_manifest(row.manifest).parts
        for leaf in leaves
        if (leaf.stream, leaf.epoch) == (row.stream, row.epoch)
        and part.from_ <= leaf.idx < part.to
        and (row.stream, row.epoch, part.name) not in names
    )


async def purge_records(tx: Transaction, stream: str, record_ids: Collection[str]) -> int:
    """Drop every part of a stream that holds a line of these records and is not sent again, and the records' salts; how many parts."""
    dropped = [part for part in await holding(tx, record_ids, stream) if part.state in OVER]
    for part in dropped:
        await tx.execute(
            sa.delete(out_parts).where(out_parts.c.stream == stream, out_parts.c.epoch == part.epoch, out_parts.c.name == part.name)
        )
    await tx.execute(_BARE, {"of_stream": stream, "wanted": sorted(record_ids)})
    tx.shredded = True
    return len(dropped)


class Waiting(Struct, frozen=True, kw_only=True):
    """A batch that came in and waits, of which a part that is kept holds lines of some records."""

    sender: str
    stream: str
    epoch: int
    seq: int
    digest: str
    state: str
    record_ids: frozenset[str]


async def mentioned(source: Source, record_ids: Collection[str]) -> list[Waiting]:
    """Every part that came in and waits here and says something of one of these records."""
    found: list[Waiting] = []
    for row in await source.all(_KEPT_IN):
        manifest = read_manifest(row.manifest)
        suite = SUITES[manifest.suite]
        entry = next((part for part in manifest.parts if part.name == row.name), None)
        if entry is None:
            continue
        data = await batch_parts.open_part(source, "in_parts", row.stream, row)
        named = await asyncio.to_thread(_named, entry, data, suite) & set(record_ids)  # long work: others are served meanwhile
        if named:
            found.append(
                Waiting(
                    sender=row.sender,
                    stream=row.stream,
                    epoch=row.epoch,
                    seq=row.seq,
                    digest=row.manifest_digest,
                    state=row.state,
                    record_ids=frozenset(named),
                )
            )
    return found


def _named(entry: PartEntry, data: bytes, suite: Suite) -> set[str]:
    """Records of which a part says something, as far as it can be read: what cannot is refused when its turn comes, and goes then.

    A withdrawal names its id alone.
    """
    found: set[str] = set()
    try:
        for raw in split_lines(entry, data, Limits()):
            line = read_line(raw, suite)
            if line.rid is not None and (line.op not in REASONS or line.texts):
                found.add(line.rid)
    except ExchangeError:
        pass
    return found

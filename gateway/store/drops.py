"""What of ours lies in shared folders (exchange.md §11): which batches were laid down, and which have to be taken away.

This room must not touch a folder: it keeps what was done there.
"""

from datetime import datetime

import msgspec
import sqlalchemy as sa

from gateway.store.dialects import one_of
from gateway.store.outbox import OutBatch
from gateway.store.store import Source, Transaction, stamp
from gateway.store.tables import drops, out_batches, out_parts

Number = tuple[int, int]
"""Epoch and seq."""

_OF_BATCH = sa.and_(out_batches.c.stream == drops.c.stream, out_batches.c.epoch == drops.c.epoch, out_batches.c.seq == drops.c.seq)
_LAID = (
    sa.select(drops.c.epoch, drops.c.seq, out_batches.c.receipt.is_not(None).label("answered"))
    .join(out_batches, _OF_BATCH)
    .where(
        drops.c.stream == sa.bindparam("stream"),
        drops.c.cleared_at.is_(None),
        one_of(out_batches.c.state, "sealed", "published", "waiting"),
    )
)
_DONE = (
    sa.select(
        drops.c.epoch,
        drops.c.seq,
        out_batches.c.created,
        out_batches.c.manifest,
        sa.select(sa.func.count())
        .where(out_parts.c.stream == drops.c.stream, out_parts.c.epoch == drops.c.epoch, out_parts.c.seq == drops.c.seq)
        .scalar_subquery()
        .label("kept"),
    )
    .join(out_batches, _OF_BATCH)
    .where(
        drops.c.stream == sa.bindparam("stream"),
        drops.c.cleared_at.is_(None),
        one_of(out_batches.c.state, "acked", "nacked", "superseded"),
    )
    .order_by(drops.c.epoch, drops.c.seq)
)


async def laid(source: Source, stream: str) -> dict[Number, bool]:
    """Batches of a stream that lie in the folder and are not settled, and whether a receipt for each was found."""
    return {(row.epoch, row.seq): bool(row.answered) for row in await source.all(_LAID, {"stream": stream})}


async def was_laid(tx: Transaction, batch: OutBatch) -> None:
    """It lies there."""
    mine = (drops.c.stream == batch.stream, drops.c.epoch == batch.epoch, drops.c.seq == batch.seq)
    if await tx.one(sa.select(drops.c.seq).where(*mine)) is None:
        await tx.execute(sa.insert(drops).values(stream=batch.stream, epoch=batch.epoch, seq=batch.seq, laid_at=tx.now_text))


async def to_clear(source: Source, stream: str, *, before: datetime) -> list[Number]:
    """Batches that need not lie there any more, or may not: settled, and either old enough or with a part that we do not keep ourselves."""
    rows = await source.all(_DONE, {"stream": stream})
    return [
        (row.epoch, row.seq)
        for row in rows
        if row.created < stamp(before) or row.kept < len(msgspec.json.decode(row.manifest)["parts"])
    ]


async def was_cleared(tx: Transaction, stream: str, number: Number) -> None:
    """It is gone."""
    mine = (drops.c.stream == stream, drops.c.epoch == number[0], drops.c.seq == number[1])
    await tx.execute(sa.update(drops).where(*mine).values(cleared_at=tx.now_text))

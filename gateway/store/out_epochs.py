"""Our streams on their way into a new epoch: begun, told of withdrawals in the old one meanwhile, and swapped in by the partner.

A new epoch says everything anew; until the partner has applied the last batch of it, it holds what the old one told. This room must not
decide when an epoch begins, nor what is said in it.
"""

from collections.abc import Sequence

import sqlalchemy as sa

from gateway.core.errors import StoreError
from gateway.core.exchange.manifests import Head
from gateway.core.exchange.merkle import CompactRange
from gateway.core.exchange.sealing import Sealed
from gateway.store import outbox
from gateway.store.dialects import among, one_of
from gateway.store.outbox import OutStream, SentLine
from gateway.store.store import Source, Transaction
from gateway.store.tables import out_batches, out_parts, out_recalled, out_records, out_streams

_OWED = (
    sa.select(out_records)
    .join(
        out_batches,
        sa.and_(
            out_batches.c.stream == out_records.c.stream, out_batches.c.epoch == out_records.c.epoch, out_batches.c.seq == out_records.c.seq
        ),
    )
    .where(
        out_records.c.stream == sa.bindparam("stream"),
        one_of(out_records.c.op, "retract", "repair", "expire", "erase"),
        out_records.c.acked_at.is_(None),
        out_records.c.seed.is_(None),
        out_batches.c.state == "acked",
    )
)


async def begin(tx: Transaction, before: OutStream, *, lost: bool = False) -> int:
    """The next epoch of a stream, with nothing in it; of an old one that has stopped nothing is sent any more. Its number.

    `lost`: its receiver says that it has lost what it held. Withdrawals that it had got and not acknowledged stand on, beside what is said
    again: nobody is let off by forgetting, nor by asking once more for another reason. Erasures do so in every epoch.
    """
    lost = lost or before.lost
    present = await outbox.out_stream(tx, before.head.stream, before.head.tree.suite)
    if outbox.place_of(present) != outbox.place_of(before):
        raise StoreError("another process has moved this stream", code="stream-moved", place=before.head.stream)
    stream, epoch = before.head.stream, before.head.epoch + 1
    tree = CompactRange(before.head.tree.suite)
    await tx.execute(
        sa.insert(out_streams).values(
            stream=stream,
            epoch=epoch,
            acked_seq=0,
            seq=0,
            size=0,
            range=tree.dump(),
            cursor=0,
            plan="",
            lost_at=tx.now_text if lost else None,
        )
    )
    await _keep_owed(tx, stream, erasures=not lost)
    if before.stopped:
        await drop_older(tx, stream, epoch)
    return epoch


async def _keep_owed(tx: Transaction, stream: str, *, erasures: bool) -> None:
    """Withdrawals, or erasures alone, that the partner has got and not acknowledged, each as it was told."""
    for row in await tx.all(_OWED, {"stream": stream}):
        if erasures and row.op != "erase":
            continue
        mine = (out_recalled.c.stream == stream, out_recalled.c.epoch == row.epoch, out_recalled.c.record_id == row.record_id)
        await tx.execute(sa.delete(out_recalled).where(*mine))
        await tx.execute(
            sa.insert(out_recalled).values(stream=stream, epoch=row.epoch, record_id=row.record_id, v=row.v, op=row.op, seq=row.seq)
        )


async def drop_older(tx: Transaction, stream: str, epoch: int) -> None:
    """Nothing of older epochs is sent any more."""
    await tx.execute(
        sa.update(out_batches)
        .where(out_batches.c.stream == stream, out_batches.c.epoch < epoch, out_batches.c.state.in_(("sealed", "published", "waiting")))
        .values(state="superseded", next_attempt_at=None)
    )
    superseded = sa.select(out_batches.c.seq).where(
        out_batches.c.stream == stream, out_batches.c.state.in_(("superseded", "nacked")), out_batches.c.epoch == out_parts.c.epoch
    )
    await tx.execute(sa.delete(out_parts).where(out_parts.c.stream == stream, out_parts.c.epoch < epoch, out_parts.c.seq.in_(superseded)))


async def supersede(tx: Transaction, stream: str, epoch: int) -> None:
    """What was not acknowledged of an epoch is not sent any more."""
    mine = (out_batches.c.stream == stream, out_batches.c.epoch == epoch)
    waiting = out_batches.c.state.in_(("sealed", "published", "waiting"))
    await tx.execute(sa.update(out_batches).where(*mine, waiting).values(state="superseded", next_attempt_at=None))


async def in_flight(source: Source, out: OutStream | None) -> bool:
    """Whether a new epoch is on its way that the partner has not swapped in yet: then withdrawals go out in the old one too."""
    if out is None or out.head.epoch == 1 or out.stopped:
        return False
    first = await outbox.out_batch(source, out.head.stream, out.head.epoch, 1)
    return first is None or first.state != "acked"


async def commit_recall(
    tx: Transaction, before: OutStream, sealed: Sealed, lines: Sequence[SentLine], *, cursor: int, plan: str
) -> None:
    """Write down a batch of withdrawals of the old epoch; what the new one says of these records stays as it is.

    Raises StoreError stream-moved when another process has sealed meanwhile.
    """
    stream, epoch = sealed.head.stream, sealed.head.epoch
    await move_old_cursor(tx, before, sealed.head, cursor=cursor, plan=plan)
    await outbox.put_batch(tx, sealed, outbox.leaves_of(lines), withdrawals=len(lines))
    ids = [line.record_id for line in lines]
    mine = (out_recalled.c.stream == stream, out_recalled.c.epoch == epoch)
    await tx.execute(sa.delete(out_recalled).where(*mine, among(out_recalled.c.record_id, "wanted")), {"wanted": ids})
    rows = [(stream, epoch, line.record_id, line.v, line.op, sealed.head.seq, None) for line in lines]
    await tx.insert(out_recalled, ("stream", "epoch", "record_id", "v", "op", "seq", "acked_at"), rows)


async def move_old_cursor(tx: Transaction, before: OutStream, head: Head, *, cursor: int, plan: str) -> None:
    """Put head and cursor of the old epoch, if it still stands where it stood.

    Raises StoreError stream-moved when it does not.
    """
    present = await outbox.out_stream_at(tx, head.stream, head.epoch, head.tree.suite)
    if outbox.place_of(present) != outbox.place_of(before):
        raise StoreError("another process has moved this stream", code="stream-moved", place=head.stream)
    await outbox.put_place(tx, head, cursor=cursor, plan=plan)


async def finish(tx: Transaction, stream: str, epoch: int, receipt: bytes) -> None:
    """The partner has swapped: every batch of the epoch is acknowledged, and what the epoch does not name is withdrawn there."""
    mine = (out_batches.c.stream == stream, out_batches.c.epoch == epoch, out_batches.c.code == outbox.STAGED)
    await tx.execute(sa.update(out_batches).where(*mine).values(state="acked", code=None, receipt=receipt, next_attempt_at=None))
    await drop_older(tx, stream, epoch)
    arrived = sa.select(out_batches.c.seq).where(
        out_batches.c.stream == stream, out_batches.c.epoch == out_recalled.c.epoch, out_batches.c.state == "acked"
    )
    lost = sa.exists().where(out_streams.c.stream == stream, out_streams.c.epoch == epoch, out_streams.c.lost_at.is_not(None))
    await tx.execute(
        sa.update(out_recalled)
        .where(
            out_recalled.c.stream == stream,
            out_recalled.c.epoch < epoch,
            out_recalled.c.acked_at.is_(None),
            sa.or_(sa.and_(out_recalled.c.op != "erase", sa.not_(lost)), out_recalled.c.seq.not_in(arrived)),
        )
        .values(acked_at=tx.now_text)  # said again in this epoch; where an erasure has arrived, it is the first word that is acknowledged
    )
    older = (out_records.c.stream == stream, out_records.c.epoch < epoch)
    await tx.execute(
        sa.update(out_records)
        .where(*older, out_records.c.op.in_(("assert", "amend")))
        .values(op="retract", acked_at=tx.now_text, seed=None, view_digest=b"", valid_until=None)
    )
    await tx.execute(sa.update(out_records).where(*older, out_records.c.acked_at.is_(None)).values(acked_at=tx.now_text))


async def unstage(tx: Transaction, stream: str, epoch: int) -> None:
    """The partner lacks something of the new epoch: all of it goes again."""
    mine = (out_batches.c.stream == stream, out_batches.c.epoch == epoch, out_batches.c.code == outbox.STAGED)
    await tx.execute(sa.update(out_batches).where(*mine).values(code=None, next_attempt_at=None))

"""The outbox: streams that we sign, and their batches, with what each line of them says, until a receipt has come (exchange.md §5, §9).

Rules:
- Heads only grow; a head is moved by compare-and-swap, so that two processes never seal one number twice; a batch's row is written
  before a byte of it leaves.
- Parts hold values of records, so they stand here encrypted, and only as long as they are needed.

This room must not verify a signature or judge a batch.
"""

from collections.abc import Collection, Sequence
from datetime import datetime

import sqlalchemy as sa
from msgspec import Struct

from gateway.core.errors import StoreError
from gateway.core.exchange.manifests import Head
from gateway.core.exchange.merkle import CompactRange
from gateway.core.exchange.notes import SignedDocument
from gateway.core.exchange.sealing import Sealed
from gateway.core.exchange.wire import SHA256, Suite
from gateway.store import batch_parts
from gateway.store.dialects import one_of
from gateway.store.reads import Row
from gateway.store.store import Source, Transaction, moment, stamp
from gateway.store.tables import (
    out_batches,
    out_leaves,
    out_parts,
    out_records,
    out_streams,
    out_subtrees,
)


class OutStream(Struct, frozen=True, kw_only=True):
    """Where one of our streams stands."""

    head: Head
    cursor: int
    plan: str
    acked_seq: int
    stopped: str | None
    lost: bool = False
    """The epoch begins because its receiver has lost what it held: what it has not acknowledged is said again in it."""


_OUT_STREAM = sa.select(out_streams).where(out_streams.c.stream == sa.bindparam("stream")).order_by(out_streams.c.epoch.desc()).limit(1)
_OUT_STREAM_AT = sa.select(out_streams).where(
    out_streams.c.stream == sa.bindparam("stream"), out_streams.c.epoch == sa.bindparam("of_epoch")
)
STAGED = "STAGED"
"""Code of a batch of a new epoch that has arrived and waits there for the last one."""
_OUT_STREAMS = sa.select(out_streams).order_by(out_streams.c.stream, out_streams.c.epoch)
_OUT_BATCH = sa.select(out_batches).where(
    out_batches.c.stream == sa.bindparam("stream"),
    out_batches.c.epoch == sa.bindparam("of_epoch"),
    out_batches.c.seq == sa.bindparam("of_seq"),
)
_OUT_WAITING = (
    sa.select(out_batches)
    .where(out_batches.c.stream == sa.bindparam("stream"), one_of(out_batches.c.state, "sealed", "published", "waiting"))
    .order_by(out_batches.c.epoch, out_batches.c.seq)
)
_OUT_ACKED_WITH = (
    sa.select(out_batches)
    .where(out_batches.c.stream == sa.bindparam("stream"), out_batches.c.state == "acked", out_batches.c.code == sa.bindparam("code"))
    .order_by(out_batches.c.epoch, out_batches.c.seq)
)
_OUT_PARTS = (
    sa.select(out_parts)
    .where(
        out_parts.c.stream == sa.bindparam("stream"),
        out_parts.c.epoch == sa.bindparam("of_epoch"),
        out_parts.c.seq == sa.bindparam("of_seq"),
    )
    .order_by(out_parts.c.name)
)
_OUT_PART = sa.select(out_parts).where(
    out_parts.c.stream == sa.bindparam("stream"), out_parts.c.epoch == sa.bindparam("of_epoch"), out_parts.c.name == sa.bindparam("name")
)
_OUT_LEAVES = (
    sa.select(out_leaves.c.idx, out_leaves.c.leaf, out_leaves.c.record_id)
    .where(out_leaves.c.stream == sa.bindparam("stream"), out_leaves.c.epoch == sa.bindparam("of_epoch"))
    .order_by(out_leaves.c.idx)
)
_OLD_PARTS = (
    sa.select(out_parts.c.name)
    .join(
        out_batches,
        sa.and_(out_batches.c.stream == out_parts.c.stream, out_batches.c.epoch == out_parts.c.epoch, out_batches.c.seq == out_parts.c.seq),
    )
    .where(out_parts.c.stream == sa.bindparam("stream"), out_batches.c.state == "acked", out_batches.c.created < sa.bindparam("before"))
    .limit(1)
)


def _out_stream(row: Row, suite: Suite) -> OutStream:
    return OutStream(
        head=Head(
            stream=row.stream,
            epoch=row.epoch,
            seq=row.seq,
            tree=CompactRange.load(suite, row.size, row.range),
            manifest_digest=row.manifest_digest,
        ),
        cursor=row.cursor,
        plan=row.plan,
        acked_seq=row.acked_seq,
        stopped=row.stopped,
        lost=row.lost_at is not None,
    )


async def out_stream(source: Source, stream: str, suite: Suite = SHA256) -> OutStream | None:
    """Head, cursor and acknowledged number of one of our streams, in its latest epoch."""
    row = await source.one(_OUT_STREAM, {"stream": stream})
    return _out_stream(row, suite) if row is not None else None


async def out_streams_all(source: Source) -> list[Row]:
    """Every stream that we have ever sealed."""
    return await source.all(_OUT_STREAMS)


class SentLine(Struct, frozen=True, gc=False, kw_only=True):
    """What one sealed line says, for the ledger."""

    record_id: str
    v: int
    op: str
    idx: int
    leaf: bytes
    view_digest: bytes
    seed: bytes | None
    valid_until: datetime | None = None


_OUT_RECORD_COLUMNS = (
    "stream", "record_id", "v", "op", "idx", "epoch", "seq", "view_digest", "seed", "valid_until", "acked_at", "refused", "held",
)  # fmt: skip


async def commit_batch(
    tx: Transaction, before: OutStream | None, sealed: Sealed, lines: Sequence[SentLine], *, cursor: int, plan: str, withdrawals: int
) -> None:
    """Write a sealed batch down: head, outbox row, parts, leaves, and what was said of each record.

    Raises StoreError stream-moved when another process has sealed meanwhile: nothing of this batch may be used then.
    """
    stream, epoch, seq = sealed.head.stream, sealed.head.epoch, sealed.head.seq
    await move_cursor(tx, before, sealed.head, cursor=cursor, plan=plan)
    await put_batch(tx, sealed, leaves_of(lines), withdrawals=withdrawals)
    latest = {line.record_id: line for line in lines}
    await tx.put(
        out_records,
        _OUT_RECORD_COLUMNS,
        ("stream", "record_id"),
        [
            (
                stream,
                line.record_id,
                line.v,
                line.op,
                line.idx,
                epoch,
                seq,
                line.view_digest,
                line.seed,
                stamp(line.valid_until) if line.valid_until else None,
                None,
                None,
                False,
            )
            for _, line in sorted(latest.items())  # beside each other in the index
        ],
    )


def leaves_of(lines: Sequence[SentLine]) -> list[tuple[int, str, bytes]]:
    """Leaves as `put_batch` takes them."""
    return [(line.idx, line.record_id, line.leaf) for line in lines]


async def put_batch(
    tx: Transaction, sealed: Sealed, leaves: Sequence[tuple[int, str, bytes]], *, withdrawals: int, code: str | None = None
) -> None:
    """Outbox row, parts, and leaves as (index, record or part, hash) with the subtrees that they complete; `code`: why it waits here."""
    stream, epoch, seq = sealed.head.stream, sealed.head.epoch, sealed.head.seq
    await tx.execute(
        sa.insert(out_batches).values(
            stream=stream,
            epoch=epoch,
            seq=seq,
            manifest=sealed.document.body,
            manifest_digest=sealed.digest,
            note=sealed.document.note,
            checkpoint=sealed.checkpoint,
            state="sealed",
            created=sealed.manifest.created,
            attempts=0,
            withdrawals=withdrawals,
            code=code,
        )
    )
    if sealed.parts:
        dek = await tx.vault.dek(tx, batch_parts.scope_of(stream), create=True)
        await tx.insert(
            out_parts,
            ("stream", "epoch", "name", "seq", "digest", "data"),
            [
                (
                    stream,
                    epoch,
                    part.name,
                    seq,
                    part.entry.digest,
                    tx.vault.seal(dek, "out_parts", "data", f"{stream}/{part.name}", part.data),
                )
                for part in sealed.parts
            ],
        )
    await tx.insert(
        out_leaves,
        ("stream", "epoch", "idx", "record_id", "leaf"),
        [(stream, epoch, *leaf) for leaf in leaves],
    )
    await tx.insert(out_subtrees, ("stream", "epoch", "level", "number", "hash"), [(stream, epoch, *each) for each in sealed.subtrees])


async def out_stream_at(source: Source, stream: str, epoch: int, suite: Suite) -> OutStream | None:
    """Where one of our streams stands in one of its epochs."""
    row = await source.one(_OUT_STREAM_AT, {"stream": stream, "of_epoch": epoch})
    return _out_stream(row, suite) if row is not None else None


async def move_cursor(tx: Transaction, before: OutStream | None, head: Head, *, cursor: int, plan: str) -> None:
    """Put a stream's head and cursor, if it still stands where it stood.

    Raises StoreError stream-moved when it does not.
    """
    present = await out_stream(tx, head.stream, head.tree.suite)
    if place_of(present) != place_of(before):
        raise StoreError("another process has moved this stream", code="stream-moved", place=head.stream, hint="read again from its cursor")
    if before is None:
        values = _place_values(head, cursor=cursor, plan=plan)
        await tx.execute(sa.insert(out_streams).values(stream=head.stream, epoch=head.epoch, acked_seq=0, **values))
        return
    await put_place(tx, head, cursor=cursor, plan=plan)


def _place_values(head: Head, *, cursor: int, plan: str) -> dict[str, object]:
    return {
        "seq": head.seq,
        "size": head.tree.size,
        "range": head.tree.dump(),
        "manifest_digest": head.manifest_digest,
        "cursor": cursor,
        "plan": plan,
    }


async def put_place(tx: Transaction, head: Head, *, cursor: int, plan: str) -> None:
    """Head and cursor of a stream that has its row."""
    values = _place_values(head, cursor=cursor, plan=plan)
    await tx.execute(sa.update(out_streams).where(out_streams.c.stream == head.stream, out_streams.c.epoch == head.epoch).values(**values))


def place_of(stream: OutStream | None) -> tuple[int, int, int, str] | None:
    """What has to be the same for nobody to have been at a stream meanwhile."""
    return None if stream is None else (stream.head.epoch, stream.head.seq, stream.cursor, stream.plan)


class OutBatch(Struct, frozen=True, kw_only=True):
    """One batch of the outbox, without its parts."""

    stream: str
    epoch: int
    seq: int
    document: SignedDocument
    digest: str
    checkpoint: str
    state: str
    created: datetime
    published_at: datetime | None
    attempts: int
    next_attempt_at: datetime | None
    code: str | None
    withdrawals: int


def _out_batch(row: Row) -> OutBatch:
    return OutBatch(
        stream=row.stream,
        epoch=row.epoch,
        seq=row.seq,
        document=SignedDocument(row.manifest, row.note),
        digest=row.manifest_digest,
        checkpoint=row.checkpoint,
        state=row.state,
        created=moment(row.created),
        published_at=moment(row.published_at) if row.published_at else None,
        attempts=row.attempts,
        next_attempt_at=moment(row.next_attempt_at) if row.next_attempt_at else None,
        code=row.code,
        withdrawals=row.withdrawals,
    )


async def waiting_batches(source: Source, stream: str) -> list[OutBatch]:
    """Batches of a stream without an acknowledgement, in order."""
    return [_out_batch(row) for row in await source.all(_OUT_WAITING, {"stream": stream})]


async def acknowledged_with(source: Source, stream: str, code: str) -> list[OutBatch]:
    """Batches that are acknowledged, and yet bear this code."""
    return [_out_batch(row) for row in await source.all(_OUT_ACKED_WITH, {"stream": stream, "code": code})]


async def put_off(tx: Transaction, batch: OutBatch, *, next_attempt_at: datetime | None) -> None:
    """Look at an acknowledged batch again at some time, or (None) not any more."""
    values: dict[str, object] = (
        {"next_attempt_at": stamp(next_attempt_at), "attempts": batch.attempts + 1}
        if next_attempt_at
        else {
            "next_attempt_at": None,
            "code": None,
        }
    )
    await tx.execute(_update_batch(batch).values(**values))


async def out_batch(source: Source, stream: str, epoch: int, seq: int) -> OutBatch | None:
    """One batch of the outbox."""
    row = await source.one(_OUT_BATCH, {"stream": stream, "of_epoch": epoch, "of_seq": seq})
    return _out_batch(row) if row is not None else None


async def out_parts_of(source: Source, stream: str, epoch: int, seq: int) -> list[tuple[str, bytes]]:
    """(name, bytes) of the parts of a batch that are still kept, in order."""
    rows = await source.all(_OUT_PARTS, {"stream": stream, "of_epoch": epoch, "of_seq": seq})
    return [(row.name, await batch_parts.open_part(source, "out_parts", stream, row)) for row in rows]


async def out_part(source: Source, stream: str, epoch: int, name: str) -> bytes | None:
    """One part of the outbox; None when it is not kept (any more)."""
    row = await source.one(_OUT_PART, {"stream": stream, "of_epoch": epoch, "name": name})
    return await batch_parts.open_part(source, "out_parts", stream, row) if row is not None else None


async def out_leaf_hashes(source: Source, stream: str, epoch: int) -> list[bytes]:
    """The leaf hashes of a stream, in order: for proofs and for checking the whole."""
    return [row.leaf for row in await source.all(_OUT_LEAVES, {"stream": stream, "of_epoch": epoch})]


async def begin_delivery(tx: Transaction, batch: OutBatch, *, next_attempt_at: datetime) -> bool:
    """Say that bytes may have left from now on, and when the next attempt is due if this one never comes back.

    False when another process has begun this attempt meanwhile: then it is that one's.
    """
    result = await tx.execute(
        _update_batch(batch)
        .where(out_batches.c.attempts == batch.attempts, out_batches.c.state != "acked")
        .values(
            state="published" if batch.state == "sealed" else batch.state,
            published_at=stamp(batch.published_at or tx.now),
            attempts=batch.attempts + 1,
            next_attempt_at=stamp(next_attempt_at),
        )
    )
    return bool(result.rowcount)


async def end_delivery(
    tx: Transaction, batch: OutBatch, *, state: str, code: str | None, receipt: bytes | None = None, next_attempt_at: datetime | None = None
) -> None:
    """Write down what an attempt came to. An acknowledged batch stays acknowledged."""
    values: dict[str, object] = {"state": state, "code": code}
    if receipt is not None:
        values["receipt"] = receipt
    if next_attempt_at is not None or state in ("acked", "nacked"):
        values["next_attempt_at"] = stamp(next_attempt_at) if next_attempt_at else None
    # what a new epoch has superseded waits for nothing any more, though a late receipt may still acknowledge it
    settled = ("acked",) if state == "acked" else ("acked", "superseded")
    await tx.execute(_update_batch(batch).where(out_batches.c.state.not_in(settled)).values(**values))
    if state == "acked":
        await tx.execute(
            sa.update(out_streams)
            .where(out_streams.c.stream == batch.stream, out_streams.c.epoch == batch.epoch, out_streams.c.acked_seq < batch.seq)
            .values(acked_seq=batch.seq)
        )


async def due_now(tx: Transaction, streams: Collection[str] | None, *, over_lines: Collection[str]) -> int:
    """What waits for its next attempt waits no longer, of some streams or of all; how many batches.

    Of streams over lines a delivery that is under way is left to end: begun a second time, nobody would know what took effect.
    """
    waits: list[sa.ColumnElement[bool]] = [
        out_batches.c.next_attempt_at.is_not(None),
        out_batches.c.state.in_(("published", "waiting", "acked")),
    ]
    if over_lines:
        waits.append(sa.or_(out_batches.c.state != "published", out_batches.c.stream.not_in(sorted(over_lines))))
    if streams is not None:
        waits.append(out_batches.c.stream.in_(sorted(streams)))
    result = await tx.execute(sa.update(out_batches).where(*waits).values(next_attempt_at=None))
    return int(result.rowcount)


def _update_batch(batch: OutBatch) -> sa.Update:
    return sa.update(out_batches).where(
        out_batches.c.stream == batch.stream, out_batches.c.epoch == batch.epoch, out_batches.c.seq == batch.seq
    )


async def stop_stream(tx: Transaction, stream: str, epoch: int, code: str | None) -> None:
    """Stop a stream (nothing is sealed or sent) until a person has looked; None lets it go on."""
    await tx.execute(sa.update(out_streams).where(out_streams.c.stream == stream, out_streams.c.epoch == epoch).values(stopped=code))


async def stop_behind(tx: Transaction, stream: str, epoch: int, suite: Suite, code: str) -> None:
    """Stop a stream in the epoch that the partner holds, also where this house knows nothing of it."""
    if await out_stream_at(tx, stream, epoch, suite) is None:
        tree = CompactRange(suite)
        row = {"stream": stream, "epoch": epoch, "acked_seq": 0, "seq": 0, "size": 0, "range": tree.dump(), "cursor": 0, "plan": ""}
        await tx.execute(sa.insert(out_streams).values(**row))
    await stop_stream(tx, stream, epoch, code)


async def publish(tx: Transaction, stream: str) -> int:
    """What was sealed may be fetched from now on; how many batches."""
    result = await tx.execute(
        sa.update(out_batches)
        .where(out_batches.c.stream == stream, out_batches.c.state == "sealed")
        .values(state="published", published_at=tx.now_text)
    )
    return int(result.rowcount)


async def has_old_parts(source: Source, stream: str, before: datetime) -> bool:
    """Whether parts of batches acknowledged before a moment are still kept."""
    return await source.one(_OLD_PARTS, {"stream": stream, "before": stamp(before)}) is not None


async def purge_parts(tx: Transaction, stream: str, *, acked_before: datetime) -> int:
    """Drop the parts of batches acknowledged long enough ago; how many."""
    old = sa.select(out_batches.c.seq).where(
        out_batches.c.stream == stream,
        out_batches.c.state == "acked",
        out_batches.c.created < stamp(acked_before),
        out_batches.c.epoch == out_parts.c.epoch,
    )
    result = await tx.execute(sa.delete(out_parts).where(out_parts.c.stream == stream, out_parts.c.seq.in_(old)))
    return int(result.rowcount)

"""The inbox (exchange.md §6, §7): partners' streams and the batches that came, each until it is decided, and what freezes a stream.

Rules:
- A head is moved by compare-and-swap, so that two processes never apply one batch twice.
- Parts hold values of records, so they stand here encrypted, and only as long as they are needed.

This room must not verify a signature or judge a batch: `core/exchange` does; it keeps what was decided. What we answered stands in
`given_receipts`, what is held of records in `known_records`.
"""

from collections.abc import Collection, Mapping
from datetime import datetime

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from gateway.core.errors import StoreError
from gateway.core.exchange.manifests import Head
from gateway.core.exchange.merkle import CompactRange
from gateway.core.exchange.notes import SignedDocument
from gateway.core.exchange.wire import SHA256, Suite, b64
from gateway.store import batch_parts
from gateway.store.dialects import among, one_of
from gateway.store.reads import Row
from gateway.store.store import Source, Transaction, moment, stamp
from gateway.store.tables import (
    in_batches,
    in_parts,
    in_streams,
    line_cursors,
)


class InStream(Struct, frozen=True, kw_only=True):
    """Where a partner's stream stands here: the head of what was applied."""

    sender: str
    head: Head
    created: datetime | None
    """`created` of the latest applied batch: as of when we know."""
    frozen: str | None
    released: bool
    """A second person lets a frozen stream go on, in a new epoch."""
    receipt_no: int
    receipt_digest: str | None
    anew: str | None = None
    """Since when its sender has to begin a new epoch, because what it said was purged here."""
    asks: str | None = None
    """Since when its sender is asked for our last receipt, because we came back from a copy: none is given meanwhile."""
    first_epoch: int = 0
    """What came before this epoch was answered in the time that is lost with what followed the copy."""

    def answers(self, epoch: int) -> bool:
        """Whether a batch of an epoch may be answered: not where another answer to it may be with its sender."""
        return self.asks is None and not (self.anew is not None and epoch < self.first_epoch)


class InBatch(Struct, frozen=True, kw_only=True):
    """One batch as it came, and what became of it."""

    sender: str
    stream: str
    epoch: int
    seq: int
    digest: str
    state: str
    code: str | None
    document: SignedDocument
    checkpoint: str
    first_seen: datetime
    receipt_no: int | None
    verified: bytes | None = None
    """The compact range after it, when it was verified and waits."""

    @property
    def name(self) -> str:
        """What it is called beside its stream: epoch and number."""
        return f"{self.epoch}/{self.seq}"

    @property
    def decided(self) -> bool:
        """Its answer is final, or waits for a person."""
        return self.state in ("applied", "partial", "held", "rejected", "frozen", "staged", "superseded")


_IN_STREAM = sa.select(in_streams).where(in_streams.c.sender == sa.bindparam("sender"), in_streams.c.stream == sa.bindparam("stream"))
_IN_STREAMS = sa.select(in_streams).order_by(in_streams.c.sender, in_streams.c.stream)
_IN_BATCH = sa.select(in_batches).where(
    in_batches.c.sender == sa.bindparam("sender"),
    in_batches.c.stream == sa.bindparam("stream"),
    in_batches.c.epoch == sa.bindparam("of_epoch"),
    in_batches.c.seq == sa.bindparam("of_seq"),
)
_IN_SINCE = (
    sa.select(in_batches)
    .where(in_batches.c.sender == sa.bindparam("sender"), in_batches.c.first_seen >= sa.bindparam("since"))
    .order_by(in_batches.c.first_seen, in_batches.c.stream, in_batches.c.seq)
)
_IN_AHEAD = (
    sa.select(in_batches)
    .where(
        in_batches.c.sender == sa.bindparam("sender"),
        in_batches.c.stream == sa.bindparam("stream"),
        in_batches.c.epoch == sa.bindparam("of_epoch"),
        in_batches.c.seq > sa.bindparam("after"),
        in_batches.c.seq < sa.bindparam("before"),
        one_of(in_batches.c.state, "held", "quarantined", "staged"),
        in_batches.c.verified.is_not(None),
    )
    .order_by(in_batches.c.seq)
)
_CURSOR = sa.select(line_cursors.c.cursor).where(line_cursors.c.line == sa.bindparam("line"))
_IN_HELD = (
    sa.select(in_batches)
    .where(in_batches.c.sender == sa.bindparam("sender"), in_batches.c.stream == sa.bindparam("stream"), in_batches.c.state == "held")
    .order_by(in_batches.c.epoch, in_batches.c.seq)
    .limit(1)
)
_IN_REFUSED = (
    sa.select(in_batches.c.epoch)
    .where(
        in_batches.c.sender == sa.bindparam("sender"),
        in_batches.c.stream == sa.bindparam("stream"),
        in_batches.c.epoch > sa.bindparam("after", type_=sa.Integer),
        sa.or_(in_batches.c.state == "rejected", in_batches.c.state == "frozen"),
    )
    .distinct()
    .order_by(in_batches.c.epoch)
)
_IN_STAGED = (
    sa.select(in_batches)
    .where(
        in_batches.c.sender == sa.bindparam("sender"),
        in_batches.c.stream == sa.bindparam("stream"),
        in_batches.c.epoch == sa.bindparam("of_epoch"),
        in_batches.c.state == "staged",
    )
    .order_by(in_batches.c.seq)
)
_IN_GAP = sa.select(sa.func.min(in_batches.c.first_seen).label("since")).where(
    in_batches.c.sender == sa.bindparam("sender"),
    in_batches.c.stream == sa.bindparam("stream"),
    in_batches.c.state == "quarantined",
    in_batches.c.code == "SEQ_GAP",
    in_batches.c.verified.is_(None),  # whoever was verified waits for a person, not for a predecessor
)
_IN_FROZEN = (
    sa.select(in_batches)
    .where(in_batches.c.sender == sa.bindparam("sender"), in_batches.c.stream == sa.bindparam("stream"), in_batches.c.state == "frozen")
    .order_by(in_batches.c.receipt_no.desc())
    .limit(1000)
)
_IN_WAITING = sa.select(sa.func.count().label("n")).where(
    in_batches.c.sender == sa.bindparam("sender"),
    in_batches.c.stream == sa.bindparam("stream"),
    one_of(in_batches.c.state, "quarantined", "fetching"),
)
_PART_KEY = (
    in_parts.c.sender == sa.bindparam("sender"),
    in_parts.c.stream == sa.bindparam("stream"),
    in_parts.c.epoch == sa.bindparam("of_epoch"),
    in_parts.c.manifest_digest == sa.bindparam("digest"),
)
_IN_PART_NAMES = sa.select(in_parts.c.name).where(*_PART_KEY)
_IN_PART = sa.select(in_parts).where(*_PART_KEY, in_parts.c.name == sa.bindparam("of_name"))


async def in_stream(source: Source, sender: str, stream: str, suite: Suite = SHA256) -> InStream | None:
    """The head of what we have applied of a partner's stream; None when nothing of it was ever decided."""
    row = await source.one(_IN_STREAM, {"sender": sender, "stream": stream})
    if row is None:
        return None
    return InStream(
        sender=sender,
        head=Head(
            stream=stream,
            epoch=row.epoch,
            seq=row.seq,
            tree=CompactRange.load(suite, row.size, row.range),
            manifest_digest=row.manifest_digest,
        ),
        created=moment(row.created) if row.created else None,
        frozen=row.frozen,
        released=row.released_by is not None,
        receipt_no=row.receipt_no,
        receipt_digest=row.receipt_digest,
        anew=row.anew_since,
        asks=row.asks_since,
        first_epoch=row.first_epoch or 0,
    )


async def answered_before(source: Source, sender: str, stream: str, epoch: int) -> bool:
    """Whether a batch of this epoch was answered in a time that is lost here: a new epoch comes, and it is passed over."""
    place = await in_stream(source, sender, stream)
    return place is not None and place.asks is None and not place.answers(epoch)


async def in_streams_all(source: Source) -> list[Row]:
    """Every stream that partners have sent us."""
    return await source.all(_IN_STREAMS)


def _in_batch(row: Row) -> InBatch:
    return InBatch(
        sender=row.sender,
        stream=row.stream,
        epoch=row.epoch,
        seq=row.seq,
        digest=row.manifest_digest,
        state=row.state,
        code=row.code,
        document=SignedDocument(row.manifest, row.note),
        checkpoint=row.checkpoint,
        first_seen=moment(row.first_seen),
        receipt_no=row.receipt_no,
        verified=row.verified,
    )


async def in_batches_at(source: Source, sender: str, stream: str, epoch: int, seq: int) -> list[InBatch]:
    """Every batch that ever claimed this number; more than one is a fork."""
    return [_in_batch(row) for row in await source.all(_IN_BATCH, {"sender": sender, "stream": stream, "of_epoch": epoch, "of_seq": seq})]


async def batches_seen_since(source: Source, sender: str, since: datetime) -> list[InBatch]:
    """Batches of a partner that were first seen at a moment or later, oldest first."""
    return [_in_batch(row) for row in await source.all(_IN_SINCE, {"sender": sender, "since": stamp(since)})]


async def frozen_batches(source: Source, sender: str, stream: str) -> list[InBatch]:
    """Batches that froze a stream or came while it was frozen, the latest first; those of a fork that is over too."""
    return [_in_batch(row) for row in await source.all(_IN_FROZEN, {"sender": sender, "stream": stream})]


class Ahead(Struct, frozen=True, kw_only=True):
    """The last verified batch of a stream that waits behind what was applied, with all before it."""

    head: Head
    created: datetime
    snapshot: str


async def verified_ahead(source: Source, sender: str, head: Head, *, before: int) -> Ahead | None:
    """How far a stream was verified beyond its head, looking at numbers below `before`; None when nothing waits."""
    place = {"sender": sender, "stream": head.stream, "of_epoch": head.epoch}
    rows = await source.all(_IN_AHEAD, {**place, "after": head.seq, "before": before})
    found: Ahead | None = None
    for row in rows:
        if row.seq != (found.head.seq if found is not None else head.seq) + 1:
            break
        said = msgspec.json.decode(row.manifest)
        tree = CompactRange.load(head.tree.suite, said["tree"]["size"], row.verified)
        reached = Head(stream=head.stream, epoch=head.epoch, seq=row.seq, tree=tree, manifest_digest=row.manifest_digest)
        found = Ahead(head=reached, created=datetime.fromisoformat(said["created"]), snapshot=said["snapshot"])
    return found


async def waiting_in(source: Source, sender: str, stream: str) -> int:
    """How many batches of a stream wait for parts, a predecessor, keys or the agreement."""
    row = await source.one(_IN_WAITING, {"sender": sender, "stream": stream})
    return int(row.n) if row is not None else 0


async def oldest_gap(source: Source, sender: str, stream: str) -> str | None:
    """Since when the oldest batch waits for a predecessor that never came; None when no gap is open."""
    row = await source.one(_IN_GAP, {"sender": sender, "stream": stream})
    since: str | None = row.since if row is not None else None
    return since


async def put_in_batch(tx: Transaction, batch: InBatch) -> None:
    """Keep a batch with its state; signed bytes of one identity never change."""
    key = (
        in_batches.c.sender == batch.sender,
        in_batches.c.stream == batch.stream,
        in_batches.c.epoch == batch.epoch,
        in_batches.c.seq == batch.seq,
        in_batches.c.manifest_digest == batch.digest,
    )
    changed = {"state": batch.state, "code": batch.code, "receipt_no": batch.receipt_no, "verified": batch.verified}
    found = await tx.one(sa.select(in_batches.c.state).where(*key))
    if found is None:
        await tx.execute(
            sa.insert(in_batches).values(
                sender=batch.sender,
                stream=batch.stream,
                epoch=batch.epoch,
                seq=batch.seq,
                manifest_digest=batch.digest,
                manifest=batch.document.body,
                note=batch.document.note,
                checkpoint=batch.checkpoint,
                first_seen=stamp(batch.first_seen),
                **changed,
            )
        )
        return
    # a checkpoint held up may have been signed again with a newer key: the one that was verified last is kept
    await tx.execute(sa.update(in_batches).where(*key).values(note=batch.document.note, checkpoint=batch.checkpoint, **changed))


async def put_in_parts(tx: Transaction, batch: InBatch, parts: Mapping[str, bytes]) -> None:
    """Keep parts whose size and digest were checked."""
    held = await in_part_names(tx, batch)
    fresh = [name for name in parts if name not in held]
    if not fresh:
        return
    dek = await tx.vault.dek(tx, batch_parts.scope_of(batch.stream), create=True)
    for name in fresh:  # one at a time: together they may be more than memory holds
        sealed = tx.vault.seal(dek, "in_parts", "data", f"{batch.stream}/{name}", parts[name])
        await tx.insert(
            in_parts,
            ("sender", "stream", "epoch", "name", "manifest_digest", "data"),
            [(batch.sender, batch.stream, batch.epoch, name, batch.digest, sealed)],
        )


def _part_key(batch: InBatch) -> dict[str, object]:
    return {"sender": batch.sender, "stream": batch.stream, "of_epoch": batch.epoch, "digest": batch.digest}


async def in_part_names(source: Source, batch: InBatch) -> frozenset[str]:
    """Names of the parts of a batch that have come so far."""
    return frozenset(row.name for row in await source.all(_IN_PART_NAMES, _part_key(batch)))


async def in_part(source: Source, batch: InBatch, name: str) -> bytes:
    """One part of a batch that has come.

    Raises StoreError `stream-moved` when it has gone meanwhile.
    """
    row = await source.one(_IN_PART, {**_part_key(batch), "of_name": name})
    if row is None:
        raise StoreError("a part of a batch is not there any more", code="stream-moved", place=f"{batch.stream}/{name}")
    return await batch_parts.open_part(source, "in_parts", batch.stream, row)


async def drop_in_parts(tx: Transaction, batch: InBatch) -> None:
    """Forget the parts of a batch that was decided: what they say stands in the records, or was refused."""
    await tx.execute(
        sa.delete(in_parts).where(
            in_parts.c.sender == batch.sender,
            in_parts.c.stream == batch.stream,
            in_parts.c.epoch == batch.epoch,
            in_parts.c.manifest_digest == batch.digest,
        )
    )


async def drop_staged(tx: Transaction, sender: str, stream: str, epoch: int) -> None:
    """Forget what was staged of an epoch that does not come."""
    for batch in await staged_batches(tx, sender, stream, epoch):
        await put_in_batch(tx, msgspec.structs.replace(batch, state="superseded", verified=None))
        await drop_in_parts(tx, batch)


async def advance(tx: Transaction, before: InStream | None, head: Head, *, sender: str, created: datetime) -> None:
    """Put the head of a partner's stream after a batch was applied, if it still stands where it stood.

    Raises StoreError stream-moved when it does not.
    """
    present = await in_stream(tx, sender, head.stream, head.tree.suite)
    if present is None or before is None:
        raise StoreError("the stream has no row yet", code="stream-moved", place=head.stream)
    if (present.head.epoch, present.head.seq, present.head.manifest_digest) != (
        before.head.epoch,
        before.head.seq,
        before.head.manifest_digest,
    ):
        raise StoreError("another process has applied a batch of this stream", code="stream-moved", place=head.stream)
    await tx.execute(
        sa.update(in_streams)
        .where(in_streams.c.sender == sender, in_streams.c.stream == head.stream)
        .values(
            epoch=head.epoch,
            seq=head.seq,
            size=head.tree.size,
            range=head.tree.dump(),
            root=b64(head.tree.root()),
            manifest_digest=head.manifest_digest,
            created=stamp(created),
        )
    )


async def open_in_stream(tx: Transaction, sender: str, stream: str, epoch: int, suite: Suite = SHA256) -> InStream:
    """The row of a partner's stream, made when its first batch is decided."""
    found = await in_stream(tx, sender, stream, suite)
    if found is not None:
        return found
    tree = CompactRange(suite)
    await tx.execute(
        sa.insert(in_streams).values(
            sender=sender,
            stream=stream,
            epoch=epoch,
            seq=0,
            size=0,
            range=b"",
            root=b64(tree.root()),
            receipt_no=0,
        )
    )
    return InStream(
        sender=sender,
        head=Head(stream=stream, epoch=epoch, seq=0, tree=tree, manifest_digest=None),
        created=None,
        frozen=None,
        released=False,
        receipt_no=0,
        receipt_digest=None,
    )


async def line_cursor(source: Source, line: str) -> str | None:
    """How far we have fetched over the line of this agreement, or looked at this stream in its folder."""
    row = await source.one(_CURSOR, {"line": line})
    found: str | None = row.cursor if row is not None else None
    return found


async def keep_line_cursor(tx: Transaction, line: str, cursor: str) -> None:
    """Go on from here the next time."""
    if await line_cursor(tx, line) is None:
        await tx.execute(sa.insert(line_cursors).values(line=line, cursor=cursor))
    else:
        await tx.execute(sa.update(line_cursors).where(line_cursors.c.line == line).values(cursor=cursor))


async def held_batch(source: Source, sender: str, stream: str) -> InBatch | None:
    """The batch of a stream that waits for a person: one at most, for nothing behind it is judged."""
    row = await source.one(_IN_HELD, {"sender": sender, "stream": stream})
    return _in_batch(row) if row is not None else None


async def staged_batches(source: Source, sender: str, stream: str, epoch: int) -> list[InBatch]:
    """What has come of a new epoch and waits for its last batch, in order."""
    return [_in_batch(row) for row in await source.all(_IN_STAGED, {"sender": sender, "stream": stream, "of_epoch": epoch})]


async def refused_epoch(source: Source, sender: str, stream: str, *, after: int) -> int:
    """The last of the epochs that follow this one without a gap and of which a batch was refused; 0 when the next one was not.

    A batch that came to a frozen stream was refused as well: its number is used, and the stream may be released later.
    """
    rows = await source.all(_IN_REFUSED, {"sender": sender, "stream": stream, "after": after})
    last = after
    for row in rows:
        if row.epoch != last + 1:
            break
        last = row.epoch
    return last if last > after else 0


async def swap_epoch(tx: Transaction, sender: str, stream: str, epoch: int, receipt_no: int) -> None:
    """The new epoch stands: what was staged is applied with its last batch, what waited in an older one is superseded, a fork is over."""
    mine = (in_batches.c.sender == sender, in_batches.c.stream == stream)
    waiting = in_batches.c.state.in_(("fetching", "quarantined", "held", "staged"))
    staged = (*mine, in_batches.c.epoch == epoch, in_batches.c.state == "staged")
    await tx.execute(sa.update(in_batches).where(*staged).values(state="applied", receipt_no=receipt_no, verified=None))
    older = (*mine, in_batches.c.epoch < epoch, waiting)
    await tx.execute(sa.update(in_batches).where(*older, in_batches.c.receipt_no.is_not(None)).values(state="superseded", verified=None))
    await tx.execute(sa.delete(in_batches).where(*older, in_batches.c.receipt_no.is_(None)))
    behind = sa.select(in_batches.c.manifest_digest).where(*mine, in_batches.c.epoch == epoch, waiting)
    over = sa.or_(in_parts.c.epoch < epoch, sa.and_(in_parts.c.epoch == epoch, in_parts.c.manifest_digest.not_in(behind)))
    await tx.execute(sa.delete(in_parts).where(in_parts.c.sender == sender, in_parts.c.stream == stream, over))
    await tx.execute(
        sa.update(in_streams)
        .where(in_streams.c.sender == sender, in_streams.c.stream == stream)
        .values(frozen=None, release_asked_by=None, release_asked_key=None, released_by=None, anew_since=None)
    )


async def await_anew(tx: Transaction, sender: str, streams: Collection[str]) -> int:
    """These streams of a partner have to begin anew, as far as anything of them was ever applied; how many that concerns."""
    statement = sa.update(in_streams).where(
        in_streams.c.sender == sender, among(in_streams.c.stream, "wanted"), in_streams.c.seq > 0, in_streams.c.anew_since.is_(None)
    )
    result = await tx.execute(statement.values(anew_since=tx.now_text), {"wanted": sorted(streams)})
    return int(result.rowcount)


async def release_asked_by(source: Source, sender: str, stream: str) -> tuple[str, str | None] | None:
    """Who has asked for a frozen stream to go on, and the key that signed it."""
    row = await source.one(_IN_STREAM, {"sender": sender, "stream": stream})
    return None if row is None or row.release_asked_by is None else (row.release_asked_by, row.release_asked_key)


async def release(tx: Transaction, sender: str, stream: str, by: str, *, key: str | None, asked_by: str | None) -> bool:
    """One more person lets a frozen stream go on in a new epoch; true once that are two. `asked_by`: whose asking counts."""
    row = await tx.one(_IN_STREAM, {"sender": sender, "stream": stream})
    if row is None or row.frozen is None:
        raise StoreError("the stream is not frozen", code="stream-moved", place=stream)
    second = asked_by is not None and asked_by != by
    values = {"released_by": by} if second else {"release_asked_by": by, "release_asked_key": key}
    await tx.execute(sa.update(in_streams).where(in_streams.c.sender == sender, in_streams.c.stream == stream).values(**values))
    return second or row.released_by is not None


async def freeze(tx: Transaction, sender: str, stream: str, code: str) -> None:
    """Freeze a partner's stream: nothing of it is applied until a second person has released it."""
    await tx.execute(
        sa.update(in_streams)
        .where(in_streams.c.sender == sender, in_streams.c.stream == stream, in_streams.c.frozen.is_(None))
        .values(frozen=code)
    )

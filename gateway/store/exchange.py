"""The partner ledger: agreements and keys as signed, what was sealed and sent, what came in, and the receipts of both.

Rules:
- Signed bytes are kept as they came and never made again; heads only grow; a batch's row is written before a byte of it leaves.
- A head is moved by compare-and-swap inside a transaction: two processes never seal one number, or apply one batch, twice.
- Receipts are numbered without gaps and chained; whoever asks again gets the stored bytes.
- Parts hold values of records, so they stand here encrypted, and only as long as they are needed.

This room must not verify a signature or judge a batch: `core/exchange` does; it keeps what was decided.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from gateway.core.errors import ExchangeError, StoreError
from gateway.core.exchange import agreements as terms
from gateway.core.exchange import documents
from gateway.core.exchange.agreements import Agreement, Held, Local, Notice
from gateway.core.exchange.batches import Head, Sealed
from gateway.core.exchange.documents import PartnerKeys
from gateway.core.exchange.merkle import CompactRange
from gateway.core.exchange.notes import SignedDocument
from gateway.core.exchange.records import KnownRecord
from gateway.core.exchange.wire import SHA256, Suite, b64, split_stream
from gateway.store.dialects import among
from gateway.store.reads import Reads, Row
from gateway.store.store import Transaction, moment, stamp
from gateway.store.tables import (
    agreement_states,
    agreements,
    confirmations,
    in_batches,
    in_parts,
    in_records,
    in_streams,
    out_batches,
    out_leaves,
    out_parts,
    out_receipts,
    out_records,
    out_streams,
    partner_keys,
    receipts,
    recognitions,
    records,
)
from gateway.store.vault import dek_id_of

Source = Reads | Transaction


def _one_of(column: sa.Column[str], *words: str) -> sa.ColumnElement[bool]:
    """IN, written so that a statement is compiled once."""
    return sa.or_(*(column == word for word in words))


_encode = msgspec.json.Encoder().encode
_decode_local = msgspec.json.Decoder(Local).decode

# --- agreements and keys ----------------------------------------------------------------------------------------------

_AGREEMENTS = sa.select(agreements).order_by(agreements.c.agreement_id, agreements.c.version)
_AGREEMENT = sa.select(agreements).where(agreements.c.agreement_id == sa.bindparam("id")).order_by(agreements.c.version)
_NOTICES = sa.select(agreement_states).order_by(agreement_states.c.agreement_id, agreement_states.c.by_party, agreement_states.c.serial)
_PARTIES = sa.select(partner_keys.c.party).distinct()
_KEYS = sa.select(partner_keys).where(partner_keys.c.party == sa.bindparam("party")).order_by(partner_keys.c.serial)
_LATEST_KEYS = sa.select(partner_keys).where(partner_keys.c.party == sa.bindparam("party")).order_by(partner_keys.c.serial.desc()).limit(1)

_read: dict[bytes, Agreement] = {}
"""Agreements already read, by their bytes: they never change."""


def _agreement(body: bytes) -> Agreement:
    found = _read.get(body)
    if found is None:
        if len(_read) > 256:
            _read.clear()
        found = _read[body] = terms.read_agreement(body)
    return found


async def held_agreements(source: Source, agreement_id: str | None = None) -> dict[str, list[Held]]:
    """Every agreement, or one, with all its versions in order: signatures, notices and keys as they stand.

    Raises ExchangeError when stored bytes no longer verify: then somebody has changed them.
    """
    rows = await source.all(_AGREEMENT, {"id": agreement_id}) if agreement_id else await source.all(_AGREEMENTS)
    if not rows:
        return {}
    notices: dict[tuple[str, int], list[Notice]] = {}
    for row in await source.all(_NOTICES):
        notices.setdefault((row.agreement_id, row.version), []).append(
            Notice(by=row.by_party, serial=row.serial, state=row.state, from_at=moment(row.from_at), first_seen=moment(row.first_seen))
        )
    with_keys = {row.party for row in await source.all(_PARTIES)}
    held: dict[str, list[Held]] = {}
    for row in rows:
        versions = held.setdefault(row.agreement_id, [])
        agreement = _agreement(row.body)
        previous = versions[-1].agreement if versions and versions[-1].agreement.version == agreement.version - 1 else None
        versions.append(
            Held(
                agreement=agreement,
                note=row.note,
                signed=terms.signed_by(agreement, row.note, previous=previous, first_seen=moment(row.since)) if row.note else frozenset(),
                recorded=moment(row.since),
                notices=tuple(notices.get((row.agreement_id, row.version), ())),
                keys_held=with_keys.issuperset(agreement.parties),
                local=_decode_local(row.local),
            )
        )
    return {name: _with_successors(versions) for name, versions in held.items()}


def _with_successors(versions: list[Held]) -> list[Held]:
    linked: list[Held] = []
    successor: datetime | None = None
    for held in reversed(versions):
        linked.append(msgspec.structs.replace(held, successor=successor))
        if held.complete:
            successor = held.agreement.effective
    return linked[::-1]


async def put_agreement(tx: Transaction, agreement: Agreement, note: str, local: Local, *, state: str) -> None:
    """Keep a version of an agreement with the signature lines collected so far. Signed bytes of a version are never replaced.

    Raises StoreError agreement-differs when this version is held with other bytes.
    """
    rows = [row for row in await tx.all(_AGREEMENT, {"id": agreement.id}) if row.version == agreement.version]
    values = {"note": note, "local": _encode(local), "state": state, "since": tx.now_text}
    if not rows:
        await tx.execute(
            sa.insert(agreements).values(
                agreement_id=agreement.id, version=agreement.version, digest=agreement.digest, body=agreement.body, **values
            )
        )
        return
    if rows[0].body != agreement.body:
        raise StoreError(
            "this version is held with another text",
            code="agreement-differs",
            place=f"{agreement.id}/{agreement.version}",
            hint="both sides sign the same bytes: take the file that was offered, or make a new version",
        )
    values["since"] = rows[0].since
    await tx.execute(
        sa.update(agreements).where(agreements.c.agreement_id == agreement.id, agreements.c.version == agreement.version).values(**values)
    )


async def drop_unsigned(tx: Transaction, agreement_id: str, version: int) -> None:
    """Forget a version that nobody has signed yet: a draft may be changed."""
    await tx.execute(
        sa.delete(agreements).where(agreements.c.agreement_id == agreement_id, agreements.c.version == version, agreements.c.note == "")
    )


async def put_notice(tx: Transaction, agreement: Agreement, notice: Notice, document: SignedDocument) -> bool:
    """Keep a suspension, resumption or termination; False when it is held already.

    Raises StoreError notice-differs when the same number is held with other bytes.
    """
    row = await tx.one(
        sa.select(agreement_states).where(
            agreement_states.c.agreement_id == agreement.id,
            agreement_states.c.by_party == notice.by,
            agreement_states.c.serial == notice.serial,
        )
    )
    if row is not None:
        if row.body != document.body:
            raise StoreError(
                "a notice of this number is held with another text",
                code="notice-differs",
                place=f"{agreement.id}/{notice.by}/{notice.serial}",
            )
        return False
    await tx.execute(
        sa.insert(agreement_states).values(
            agreement_id=agreement.id,
            by_party=notice.by,
            serial=notice.serial,
            version=agreement.version,
            state=notice.state,
            from_at=stamp(notice.from_at),
            first_seen=stamp(notice.first_seen),
            body=document.body,
            note=document.note,
        )
    )
    return True


async def latest_keys(source: Source, party: str) -> Row | None:
    """The keys document of the highest serial held of a party: serial, digest, body, note, first_seen."""
    return await source.one(_LATEST_KEYS, {"party": party})


async def all_keys(source: Source, party: str) -> list[Row]:
    """Every keys document held of a party, oldest first."""
    return await source.all(_KEYS, {"party": party})


async def put_keys(tx: Transaction, keys: PartnerKeys, document: SignedDocument) -> bool:
    """Keep a believed keys document; False when this serial is held already."""
    row = await latest_keys(tx, keys.party)
    if row is not None and row.serial >= keys.serial:
        return False
    await tx.execute(
        sa.insert(partner_keys).values(
            party=keys.party, serial=keys.serial, digest=keys.digest, body=document.body, note=document.note, first_seen=tx.now_text
        )
    )
    return True


async def partner_keys_of(source: Source, agreement: Agreement, party: str) -> PartnerKeys | None:
    """The latest keys document of a party, verified again under the pins of an agreement; None when none is held that these pins signed.

    Raises ExchangeError when the stored bytes were altered.
    """
    row = await latest_keys(source, party)
    if row is None:
        return None
    try:
        return documents.read_keys(
            SignedDocument(row.body, row.note), agreement.pins(party), first_seen=moment(row.first_seen), skew=agreement.skew
        )
    except ExchangeError as error:
        if error.code == "SIG_UNKNOWN_KEY":
            return None  # another version of the agreement pins other keys: a document signed by those has to come first
        raise


# --- outbox -----------------------------------------------------------------------------------------------------------


class OutStream(Struct, frozen=True, kw_only=True):
    """Where one of our streams stands."""

    head: Head
    cursor: int
    plan: str
    acked_seq: int
    stopped: str | None


_OUT_STREAM = sa.select(out_streams).where(out_streams.c.stream == sa.bindparam("stream")).order_by(out_streams.c.epoch.desc()).limit(1)
_OUT_STREAMS = sa.select(out_streams).order_by(out_streams.c.stream, out_streams.c.epoch)
_OUT_RECORDS = sa.select(out_records).where(out_records.c.stream == sa.bindparam("stream"), among(out_records.c.record_id, "wanted"))
_OUT_DUE = (
    sa.select(out_records.c.record_id)
    .where(
        out_records.c.valid_until <= sa.bindparam("now"),
        out_records.c.stream == sa.bindparam("stream"),
        _one_of(out_records.c.op, "assert", "amend"),
    )
    .order_by(out_records.c.valid_until)
    .limit(sa.bindparam("n", type_=sa.Integer))
)
_OUT_BATCH = sa.select(out_batches).where(
    out_batches.c.stream == sa.bindparam("stream"),
    out_batches.c.epoch == sa.bindparam("of_epoch"),
    out_batches.c.seq == sa.bindparam("of_seq"),
)
_OUT_WAITING = (
    sa.select(out_batches)
    .where(out_batches.c.stream == sa.bindparam("stream"), _one_of(out_batches.c.state, "sealed", "published", "waiting"))
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
_OUT_RECEIPT = sa.select(out_receipts).where(out_receipts.c.stream == sa.bindparam("stream"), out_receipts.c.no == sa.bindparam("of_no"))
_OVERDUE = (
    sa.select(out_records.c.stream, sa.func.count().label("lines"), sa.func.min(out_batches.c.published_at).label("since"))
    .join(
        out_batches,
        sa.and_(
            out_batches.c.stream == out_records.c.stream, out_batches.c.epoch == out_records.c.epoch, out_batches.c.seq == out_records.c.seq
        ),
    )
    .where(
        _one_of(out_records.c.op, *sorted(terms.WITHDRAWALS)),
        out_records.c.acked_at.is_(None),
        out_batches.c.published_at < sa.bindparam("before"),
        out_records.c.stream == sa.bindparam("stream"),
    )
    .group_by(out_records.c.stream)
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


def _range(suite: Suite, size: int, data: bytes) -> CompactRange:
    return CompactRange.load(suite, size, data)


def _out_stream(row: Row, suite: Suite) -> OutStream:
    return OutStream(
        head=Head(
            stream=row.stream, epoch=row.epoch, seq=row.seq, tree=_range(suite, row.size, row.range), manifest_digest=row.manifest_digest
        ),
        cursor=row.cursor,
        plan=row.plan,
        acked_seq=row.acked_seq,
        stopped=row.stopped,
    )


async def out_stream(source: Source, stream: str, suite: Suite = SHA256) -> OutStream | None:
    """Head, cursor and acknowledged number of one of our streams, in its latest epoch."""
    row = await source.one(_OUT_STREAM, {"stream": stream})
    return _out_stream(row, suite) if row is not None else None


async def out_streams_all(source: Source) -> list[Row]:
    """Every stream that we have ever sealed."""
    return await source.all(_OUT_STREAMS)


class SentRecord(Struct, frozen=True, gc=False, kw_only=True):
    """What a partner was last told of a record."""

    record_id: str
    v: int
    op: str
    view_digest: bytes
    refused: str | None
    epoch: int
    seq: int
    idx: int
    """Its leaf in the stream's tree."""


async def sent_records(source: Source, stream: str, record_ids: Collection[str]) -> dict[str, SentRecord]:
    """What this stream last said of these records."""
    if not record_ids:
        return {}
    rows = await source.all(_OUT_RECORDS, {"stream": stream, "wanted": list(record_ids)})
    return {
        row.record_id: SentRecord(
            record_id=row.record_id,
            v=row.v,
            op=row.op,
            view_digest=row.view_digest,
            refused=row.refused,
            epoch=row.epoch,
            idx=row.idx,
            seq=row.seq,
        )
        for row in rows
    }


async def sent_due(source: Source, stream: str, now: datetime, limit: int) -> list[str]:
    """Records in force at the partner whose view time alone may have ended."""
    return [row.record_id for row in await source.all(_OUT_DUE, {"stream": stream, "now": stamp(now), "n": limit})]


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


_OUT_RECORD_COLUMNS = ("stream", "record_id", "v", "op", "idx", "epoch", "seq", "view_digest", "seed", "valid_until", "acked_at", "refused")


async def commit_batch(
    tx: Transaction, before: OutStream | None, sealed: Sealed, lines: Sequence[SentLine], *, cursor: int, plan: str, withdrawals: int
) -> None:
    """Write a sealed batch down: head, outbox row, parts, leaves, and what was said of each record.

    Raises StoreError stream-moved when another process has sealed meanwhile: nothing of this batch may be used then.
    """
    stream, epoch, seq = sealed.head.stream, sealed.head.epoch, sealed.head.seq
    await move_cursor(tx, before, sealed.head, cursor=cursor, plan=plan)
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
        )
    )
    if sealed.parts:
        dek = await tx.vault.dek(tx, _parts_scope(stream), create=True)
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
        [(stream, epoch, line.idx, line.record_id, line.leaf) for line in lines],
    )
    latest = {line.record_id: line for line in lines}
    await _forget_records(tx, stream, list(latest))
    await tx.insert(
        out_records,
        _OUT_RECORD_COLUMNS,
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
            )
            for line in latest.values()
        ],
    )


async def _forget_records(tx: Transaction, stream: str, record_ids: list[str]) -> None:
    await tx.execute(
        sa.delete(out_records).where(out_records.c.stream == sa.bindparam("of_stream"), among(out_records.c.record_id, "wanted")),
        {"of_stream": stream, "wanted": record_ids},
    )


async def move_cursor(tx: Transaction, before: OutStream | None, head: Head, *, cursor: int, plan: str) -> None:
    """Put a stream's head and cursor, if it still stands where it stood.

    Raises StoreError stream-moved when it does not.
    """
    present = await out_stream(tx, head.stream, head.tree.suite)
    if _place(present) != _place(before):
        raise StoreError("another process has moved this stream", code="stream-moved", place=head.stream, hint="read again from its cursor")
    values = {
        "seq": head.seq,
        "size": head.tree.size,
        "range": head.tree.dump(),
        "manifest_digest": head.manifest_digest,
        "cursor": cursor,
        "plan": plan,
    }
    if before is None:
        await tx.execute(sa.insert(out_streams).values(stream=head.stream, epoch=head.epoch, acked_seq=0, **values))
        return
    await tx.execute(sa.update(out_streams).where(out_streams.c.stream == head.stream, out_streams.c.epoch == head.epoch).values(**values))


def _place(stream: OutStream | None) -> tuple[int, int, int, str] | None:
    return None if stream is None else (stream.head.epoch, stream.head.seq, stream.cursor, stream.plan)


def _parts_scope(stream: str) -> str:
    return f"exchange:{stream}"


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
    return [(row.name, await _open_part(source, "out_parts", stream, row)) for row in rows]


async def out_part(source: Source, stream: str, epoch: int, name: str) -> bytes | None:
    """One part of the outbox; None when it is not kept (any more)."""
    row = await source.one(_OUT_PART, {"stream": stream, "of_epoch": epoch, "name": name})
    return await _open_part(source, "out_parts", stream, row) if row is not None else None


async def _open_part(source: Source, table: str, stream: str, row: Row) -> bytes:
    dek_id = dek_id_of(row.data)
    dek = (await source.vault.deks_by_id(source, (dek_id,))).get(dek_id)
    if dek is None:
        raise StoreError("the data key of a part is gone", code="key-missing", place=f"{table}:{stream}/{row.name}")
    return source.vault.open(dek, table, "data", f"{stream}/{row.name}", row.data)


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
    await tx.execute(_update_batch(batch).where(out_batches.c.state.not_in(("acked",))).values(**values))
    if state == "acked":
        await tx.execute(
            sa.update(out_streams)
            .where(out_streams.c.stream == batch.stream, out_streams.c.epoch == batch.epoch, out_streams.c.acked_seq < batch.seq)
            .values(acked_seq=batch.seq)
        )


def _update_batch(batch: OutBatch) -> sa.Update:
    return sa.update(out_batches).where(
        out_batches.c.stream == batch.stream, out_batches.c.epoch == batch.epoch, out_batches.c.seq == batch.seq
    )


async def stop_stream(tx: Transaction, stream: str, epoch: int, code: str | None) -> None:
    """Stop a stream (nothing is sealed or sent) until a person has looked; None lets it go on."""
    await tx.execute(sa.update(out_streams).where(out_streams.c.stream == stream, out_streams.c.epoch == epoch).values(stopped=code))


async def received_receipt(source: Source, stream: str, no: int) -> Row | None:
    """A receipt that the partner gave us: digest, body, note, feedback."""
    return await source.one(_OUT_RECEIPT, {"stream": stream, "of_no": no})


async def put_received_receipt(
    tx: Transaction, stream: str, no: int, digest: str, document: SignedDocument, feedback: bytes | None
) -> None:
    """Keep a believed receipt, or add the feedback to one that is held."""
    if await received_receipt(tx, stream, no) is None:
        await tx.execute(
            sa.insert(out_receipts).values(
                stream=stream, no=no, digest=digest, body=document.body, note=document.note, feedback=feedback, received_at=tx.now_text
            )
        )
    elif feedback is not None:
        await tx.execute(sa.update(out_receipts).where(out_receipts.c.stream == stream, out_receipts.c.no == no).values(feedback=feedback))


async def mark_acknowledged(tx: Transaction, stream: str, acknowledged: Iterable[tuple[str, int]]) -> None:
    """Withdrawals (record id, v) that the partner has carried out; their salts are not needed any more."""
    rows = [{"of_stream": stream, "rid": rid, "of_v": v, "at": tx.now_text} for rid, v in acknowledged]
    if rows:
        await tx.execute(_ACKNOWLEDGE, rows)


async def mark_refused(tx: Transaction, stream: str, refused: Iterable[tuple[str, int, str]]) -> None:
    """Versions (record id, v, code) that the partner did not take."""
    rows = [{"of_stream": stream, "rid": rid, "of_v": v, "code": code} for rid, v, code in refused]
    if rows:
        await tx.execute(_REFUSE, rows)


_ACKNOWLEDGE = (
    sa.update(out_records)
    .where(
        out_records.c.stream == sa.bindparam("of_stream"),
        out_records.c.record_id == sa.bindparam("rid"),
        out_records.c.v == sa.bindparam("of_v"),
    )
    .values(acked_at=sa.bindparam("at"))
)
_REFUSE = (
    sa.update(out_records)
    .where(
        out_records.c.stream == sa.bindparam("of_stream"),
        out_records.c.record_id == sa.bindparam("rid"),
        out_records.c.v == sa.bindparam("of_v"),
    )
    .values(refused=sa.bindparam("code"))
)


class Overdue(Struct, frozen=True, kw_only=True):
    """Withdrawals that a partner has not acknowledged in time."""

    stream: str
    lines: int
    since: datetime


async def overdue(source: Source, stream: str, *, now: datetime, hours: int) -> Overdue | None:
    """Withdrawals of a stream published longer ago than agreed and not acknowledged."""
    row = await source.one(_OVERDUE, {"stream": stream, "before": stamp(now - timedelta(hours=hours))})
    return Overdue(stream=row.stream, lines=row.lines, since=moment(row.since)) if row is not None else None


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


async def purge_record(tx: Transaction, stream: str, record_id: str) -> int:
    """Drop every acknowledged part that holds a line of an erased record, and its salts; how many parts."""
    of_record = (
        sa.select(out_leaves.c.idx).where(out_leaves.c.stream == stream, out_leaves.c.record_id == record_id).order_by(out_leaves.c.idx)
    )
    indexes = [row.idx for row in await tx.all(of_record)]
    dropped = 0
    batches = await tx.all(sa.select(out_batches).where(out_batches.c.stream == stream, out_batches.c.state.in_(("acked", "nacked"))))
    for row in batches:
        parts = msgspec.json.decode(row.manifest)["parts"]
        names = [part["name"] for part in parts if any(part["from"] <= index < part["to"] for index in indexes)]
        if names:
            result = await tx.execute(
                sa.delete(out_parts).where(out_parts.c.stream == stream, out_parts.c.epoch == row.epoch, out_parts.c.name.in_(names))
            )
            dropped += int(result.rowcount)
    await tx.execute(
        sa.update(out_records)
        .where(out_records.c.stream == stream, out_records.c.record_id == record_id)
        .values(seed=None, view_digest=b"")
    )
    tx.shredded = True
    return dropped


# --- inbox ------------------------------------------------------------------------------------------------------------


class InStream(Struct, frozen=True, kw_only=True):
    """Where a partner's stream stands here: the head of what was applied."""

    sender: str
    head: Head
    created: datetime | None
    """`created` of the latest applied batch: as of when we know."""
    frozen: str | None
    receipt_no: int
    receipt_digest: str | None


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

    @property
    def decided(self) -> bool:
        """Its answer is final, or waits for a person."""
        return self.state in ("applied", "partial", "held", "rejected", "frozen")


_IN_STREAM = sa.select(in_streams).where(in_streams.c.sender == sa.bindparam("sender"), in_streams.c.stream == sa.bindparam("stream"))
_IN_STREAMS = sa.select(in_streams).order_by(in_streams.c.sender, in_streams.c.stream)
_IN_BATCH = sa.select(in_batches).where(
    in_batches.c.sender == sa.bindparam("sender"),
    in_batches.c.stream == sa.bindparam("stream"),
    in_batches.c.epoch == sa.bindparam("of_epoch"),
    in_batches.c.seq == sa.bindparam("of_seq"),
)
_IN_FROZEN = (
    sa.select(in_batches)
    .where(in_batches.c.sender == sa.bindparam("sender"), in_batches.c.stream == sa.bindparam("stream"), in_batches.c.state == "frozen")
    .order_by(in_batches.c.receipt_no)
    .limit(1)
)
_IN_WAITING = sa.select(sa.func.count().label("n")).where(
    in_batches.c.sender == sa.bindparam("sender"),
    in_batches.c.stream == sa.bindparam("stream"),
    _one_of(in_batches.c.state, "quarantined", "fetching"),
)
_IN_PARTS = (
    sa.select(in_parts)
    .where(
        in_parts.c.sender == sa.bindparam("sender"),
        in_parts.c.stream == sa.bindparam("stream"),
        in_parts.c.epoch == sa.bindparam("of_epoch"),
        in_parts.c.manifest_digest == sa.bindparam("digest"),
    )
    .order_by(in_parts.c.name)
)
_IN_RECORDS = sa.select(in_records).where(among(in_records.c.record_id, "wanted"))
_OURS = sa.select(records.c.record_id, records.c.dataset).where(among(records.c.record_id, "wanted"), records.c.issuer == "")
_RECEIPT = sa.select(receipts).where(
    receipts.c.sender == sa.bindparam("sender"), receipts.c.stream == sa.bindparam("stream"), receipts.c.no == sa.bindparam("of_no")
)
_RECEIPTS = (
    sa.select(receipts)
    .where(receipts.c.sender == sa.bindparam("sender"), receipts.c.stream == sa.bindparam("stream"))
    .order_by(receipts.c.no)
)


async def in_stream(source: Source, sender: str, stream: str, suite: Suite = SHA256) -> InStream | None:
    """The head of what we have applied of a partner's stream; None when nothing of it was ever decided."""
    row = await source.one(_IN_STREAM, {"sender": sender, "stream": stream})
    if row is None:
        return None
    return InStream(
        sender=sender,
        head=Head(
            stream=stream, epoch=row.epoch, seq=row.seq, tree=_range(suite, row.size, row.range), manifest_digest=row.manifest_digest
        ),
        created=moment(row.created) if row.created else None,
        frozen=row.frozen,
        receipt_no=row.receipt_no,
        receipt_digest=row.receipt_digest,
    )


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
    )


async def in_batches_at(source: Source, sender: str, stream: str, epoch: int, seq: int) -> list[InBatch]:
    """Every batch that ever claimed this number; more than one is a fork."""
    return [_in_batch(row) for row in await source.all(_IN_BATCH, {"sender": sender, "stream": stream, "of_epoch": epoch, "of_seq": seq})]


async def frozen_batch(source: Source, sender: str, stream: str) -> InBatch | None:
    """The batch that froze a stream: the first that was answered so."""
    row = await source.one(_IN_FROZEN, {"sender": sender, "stream": stream})
    return _in_batch(row) if row is not None else None


async def waiting_in(source: Source, sender: str, stream: str) -> int:
    """How many batches of a stream wait for parts, a predecessor, keys or the agreement."""
    row = await source.one(_IN_WAITING, {"sender": sender, "stream": stream})
    return int(row.n) if row is not None else 0


async def put_in_batch(tx: Transaction, batch: InBatch) -> None:
    """Keep a batch with its state; signed bytes of one identity never change."""
    key = (
        in_batches.c.sender == batch.sender,
        in_batches.c.stream == batch.stream,
        in_batches.c.epoch == batch.epoch,
        in_batches.c.seq == batch.seq,
        in_batches.c.manifest_digest == batch.digest,
    )
    changed = {"state": batch.state, "code": batch.code, "receipt_no": batch.receipt_no}
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
    held = {row.name for row in await tx.all(_IN_PARTS, _part_key(batch))}
    fresh = [(name, data) for name, data in parts.items() if name not in held]
    if not fresh:
        return
    dek = await tx.vault.dek(tx, _parts_scope(batch.stream), create=True)
    await tx.insert(
        in_parts,
        ("sender", "stream", "epoch", "name", "manifest_digest", "data"),
        [
            (
                batch.sender,
                batch.stream,
                batch.epoch,
                name,
                batch.digest,
                tx.vault.seal(dek, "in_parts", "data", f"{batch.stream}/{name}", data),
            )
            for name, data in fresh
        ],
    )


def _part_key(batch: InBatch) -> dict[str, object]:
    return {"sender": batch.sender, "stream": batch.stream, "of_epoch": batch.epoch, "digest": batch.digest}


async def in_parts_of(source: Source, batch: InBatch) -> dict[str, bytes]:
    """The parts of a batch that have come so far, by name."""
    rows = await source.all(_IN_PARTS, _part_key(batch))
    return {row.name: await _open_part(source, "in_parts", batch.stream, row) for row in rows}


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


async def known_records(source: Source, rids: Collection[str]) -> dict[str, KnownRecord]:
    """What we hold of these record ids: partners' by their last line, our own as ours."""
    wanted = {"wanted": list(rids)}
    known = {
        row.record_id: KnownRecord(sender=None, dataset=row.dataset, v=0, op="assert", leaf=b"") for row in await source.all(_OURS, wanted)
    }
    for row in await source.all(_IN_RECORDS, wanted):
        known[row.record_id] = KnownRecord(sender=row.sender, dataset=split_stream(row.stream)[1], v=row.v, op=row.op, leaf=row.leaf)
    return known


async def put_known(tx: Transaction, stream: str, rows: Mapping[str, tuple[KnownRecord, bytes | None, str]]) -> None:
    """What we hold of records now: by id, the line that took effect, its clear payload (none after an erasure) and its time."""
    if not rows:
        return
    await tx.execute(sa.delete(in_records).where(among(in_records.c.record_id, "wanted")), {"wanted": list(rows)})
    await tx.insert(
        in_records,
        ("record_id", "sender", "stream", "v", "op", "leaf", "payload", "at"),
        [(rid, known.sender, stream, known.v, known.op, known.leaf, payload, at) for rid, (known, payload, at) in rows.items()],
    )


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
        receipt_no=0,
        receipt_digest=None,
    )


async def freeze(tx: Transaction, sender: str, stream: str, code: str) -> None:
    """Freeze a partner's stream: nothing of it is applied until a second person has released it."""
    await tx.execute(
        sa.update(in_streams)
        .where(in_streams.c.sender == sender, in_streams.c.stream == stream, in_streams.c.frozen.is_(None))
        .values(frozen=code)
    )


async def put_receipt(tx: Transaction, sender: str, stream: str, no: int, digest: str, document: SignedDocument, feedback: bytes) -> None:
    """Keep a receipt that we give, as the next of its stream.

    Raises StoreError receipt-number when it is not the next.
    """
    row = await tx.one(_IN_STREAM, {"sender": sender, "stream": stream})
    if row is None or row.receipt_no + 1 != no:
        raise StoreError("a receipt has the next number of its stream", code="receipt-number", place=f"{stream}/{no}")
    await tx.execute(
        sa.insert(receipts).values(sender=sender, stream=stream, no=no, body=document.body, note=document.note, feedback=feedback)
    )
    await tx.execute(
        sa.update(in_streams)
        .where(in_streams.c.sender == sender, in_streams.c.stream == stream)
        .values(receipt_no=no, receipt_digest=digest)
    )


class GivenReceipt(Struct, frozen=True, kw_only=True):
    """A receipt that we gave, with its feedback file."""

    no: int
    document: SignedDocument
    feedback: bytes


async def given_receipt(source: Source, sender: str, stream: str, no: int) -> GivenReceipt | None:
    """One receipt that we gave."""
    row = await source.one(_RECEIPT, {"sender": sender, "stream": stream, "of_no": no})
    return GivenReceipt(no=row.no, document=SignedDocument(row.body, row.note), feedback=row.feedback) if row is not None else None


async def given_receipts(source: Source, sender: str, stream: str) -> list[GivenReceipt]:
    """Every receipt that we gave for a stream, in order."""
    rows = await source.all(_RECEIPTS, {"sender": sender, "stream": stream})
    return [GivenReceipt(no=row.no, document=SignedDocument(row.body, row.note), feedback=row.feedback) for row in rows]


# --- recognition ------------------------------------------------------------------------------------------------------

_RECOGNITIONS = sa.select(recognitions).where(among(recognitions.c.record_id, "wanted"))
_DUE = (
    sa.select(recognitions.c.record_id)
    .where(recognitions.c.review_at <= sa.bindparam("now"))
    .order_by(recognitions.c.review_at)
    .limit(sa.bindparam("n", type_=sa.Integer))
)
_STALE = (
    sa.select(recognitions.c.record_id)
    .join(in_records, in_records.c.record_id == recognitions.c.record_id)
    .where(recognitions.c.reason == "stale", in_records.c.sender == sa.bindparam("sender"), in_records.c.stream == sa.bindparam("stream"))
    .order_by(recognitions.c.record_id)
)
_OF_STREAM = (
    sa.select(in_records.c.record_id)
    .where(
        in_records.c.sender == sa.bindparam("sender"),
        in_records.c.stream == sa.bindparam("stream"),
        in_records.c.record_id > sa.bindparam("after"),
    )
    .order_by(in_records.c.record_id)
    .limit(sa.bindparam("n", type_=sa.Integer))
)
_UNDER = (
    sa.select(recognitions.c.record_id)
    .where(recognitions.c.agreement == sa.bindparam("agreement"), recognitions.c.record_id > sa.bindparam("after"))
    .order_by(recognitions.c.record_id)
    .limit(sa.bindparam("n", type_=sa.Integer))
)
_OF_SUBJECTS = (
    sa.select(recognitions.c.record_id)
    .join(records, records.c.record_id == recognitions.c.record_id)
    .where(among(records.c.subject_id, "wanted"))
)
_LISTED = sa.select(records.c.record_id).where(
    among(records.c.subject_id, "wanted"), among(records.c.dataset, "lists"), records.c.issuer == "", records.c.state == "in_force"
)
_CONFIRMATIONS = sa.select(confirmations).where(among(confirmations.c.record_id, "wanted"))


async def told_records(source: Source, record_ids: Collection[str]) -> dict[str, Row]:
    """The last lines of partners about these records, by id: sender, stream, v, op, leaf, payload, at."""
    return {row.record_id: row for row in await source.all(_IN_RECORDS, {"wanted": list(record_ids)})}


async def decisions(source: Source, record_ids: Collection[str]) -> dict[str, Row]:
    """The present decisions about these records, by id: agreement, effect, consequence, reason, until, inputs, decided_at, review_at."""
    return {row.record_id: row for row in await source.all(_RECOGNITIONS, {"wanted": list(record_ids)})}


async def decisions_due(source: Source, now: datetime, limit: int) -> list[str]:
    """Records whose decision time alone may have changed."""
    return [row.record_id for row in await source.all(_DUE, {"now": stamp(now), "n": limit})]


async def decisions_stale(source: Source, sender: str, stream: str) -> list[str]:
    """Records whose effect was suspended because nothing had come from the partner for too long."""
    return [row.record_id for row in await source.all(_STALE, {"sender": sender, "stream": stream})]


async def decided_under(source: Source, agreement_id: str, *, after: str, limit: int) -> list[str]:
    """Records about which something was decided under an agreement, in order of id."""
    return [row.record_id for row in await source.all(_UNDER, {"agreement": agreement_id, "after": after, "n": limit})]


async def decided_of(source: Source, subject_ids: Collection[str]) -> list[str]:
    """Records of these subjects about which something was decided."""
    return [row.record_id for row in await source.all(_OF_SUBJECTS, {"wanted": list(subject_ids)})]


async def told_by(source: Source, sender: str, stream: str, *, after: str, limit: int) -> list[str]:
    """Records that a partner's stream has told us of, in order of id."""
    return [row.record_id for row in await source.all(_OF_STREAM, {"sender": sender, "stream": stream, "after": after, "n": limit})]


async def listings_of(source: Source, subject_ids: Collection[str], datasets: Collection[str]) -> list[str]:
    """Our own records in force of these subjects in these datasets."""
    if not datasets:
        return []
    return [row.record_id for row in await source.all(_LISTED, {"wanted": list(subject_ids), "lists": list(datasets)})]


_RECOGNITION_COLUMNS = tuple(column.name for column in recognitions.columns)


async def put_decisions(tx: Transaction, rows: Sequence[tuple[object, ...]]) -> None:
    """Keep decisions, each in place of an earlier one about its record; values in the order of the table."""
    if rows:
        await tx.execute(sa.delete(recognitions).where(among(recognitions.c.record_id, "wanted")), {"wanted": [row[0] for row in rows]})
        await tx.insert(recognitions, _RECOGNITION_COLUMNS, rows)


async def confirmed(source: Source, record_ids: Collection[str]) -> dict[tuple[str, int], Row]:
    """Named persons' confirmations of versions of these records: by_person, basis, at."""
    return {(row.record_id, row.version): row for row in await source.all(_CONFIRMATIONS, {"wanted": list(record_ids)})}


async def put_confirmation(tx: Transaction, record_id: str, v: int, *, by: str, basis: str) -> None:
    """Keep a confirmation; a second one of the same version is refused by the table."""
    await tx.execute(sa.insert(confirmations).values(record_id=record_id, version=v, by_person=by, basis=basis, at=tx.now_text))

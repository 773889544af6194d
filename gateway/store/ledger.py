"""The ledger: what each partner was last told of a record, and what it has answered (exchange.md §9).

Rules: one row for a record and stream, of the last version said; a withdrawal stands here until it is acknowledged, and beside it what an
old epoch was told to withdraw. This room must not write a batch (`outbox` does, with what its lines say), nor judge a receipt.
"""

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from msgspec import Struct

from gateway.core.exchange import agreements as terms
from gateway.core.exchange.notes import SignedDocument
from gateway.store.dialects import among, one_of
from gateway.store.reads import Row
from gateway.store.store import Source, Transaction, moment, stamp
from gateway.store.tables import (
    out_batches,
    out_leaves,
    out_recalled,
    out_receipts,
    out_records,
    out_streams,
    records,
)

_OUT_RECORDS = sa.select(out_records).where(out_records.c.stream == sa.bindparam("stream"), among(out_records.c.record_id, "wanted"))
_OUT_DUE = (
    sa.select(out_records.c.record_id)
    .where(
        out_records.c.valid_until <= sa.bindparam("now"),
        out_records.c.stream == sa.bindparam("stream"),
        one_of(out_records.c.op, "assert", "amend"),
    )
    .order_by(out_records.c.valid_until)
    .limit(sa.bindparam("n", type_=sa.Integer))
)
_TOLD_BESIDE = sa.union_all(
    *(
        sa.select(table.c.record_id, table.c.v, table.c.op).where(among(table.c.stream, "streams"), among(table.c.record_id, "wanted"))
        for table in (out_records, out_recalled)
    )
)
NOT_ARRIVED = "NOT_ARRIVED"
"""Why a version is not held over there: a person has found out that it never came."""
_TAKEN_BACK = (
    sa.update(out_records)
    .where(among(out_records.c.stream, "streams"), among(out_records.c.record_id, "wanted"), one_of(out_records.c.op, "assert", "amend"))
    .values(refused="SEQ_STATE", valid_until=sa.bindparam("now"))
)
_RECALLED = (
    sa.select(out_recalled)
    .where(out_recalled.c.stream == sa.bindparam("stream"), among(out_recalled.c.record_id, "wanted"))
    .order_by(out_recalled.c.epoch)
)
_SAID_IN = (
    sa.select(out_leaves.c.record_id)
    .distinct()
    .where(
        out_leaves.c.stream == sa.bindparam("stream"),
        out_leaves.c.epoch == sa.bindparam("of_epoch"),
        among(out_leaves.c.record_id, "wanted"),
    )
)
_RECALL_AWAITED = (
    sa.select(out_recalled.c.record_id)
    .join(
        out_batches,
        sa.and_(
            out_batches.c.stream == out_recalled.c.stream,
            out_batches.c.epoch == out_recalled.c.epoch,
            out_batches.c.seq == out_recalled.c.seq,
        ),
    )
    .where(out_recalled.c.stream == sa.bindparam("stream"), out_recalled.c.acked_at.is_(None), out_batches.c.published_at.is_not(None))
    .limit(1)
)
_RECEIPT_NUMBERS = sa.select(out_receipts.c.no).where(out_receipts.c.stream == sa.bindparam("stream"))
_AWAITED = (
    sa.select(out_records.c.record_id)
    .join(
        out_batches,
        sa.and_(
            out_batches.c.stream == out_records.c.stream, out_batches.c.epoch == out_records.c.epoch, out_batches.c.seq == out_records.c.seq
        ),
    )
    .where(
        out_records.c.stream == sa.bindparam("stream"),
        out_batches.c.published_at.is_not(None),
        sa.or_(
            out_records.c.held,
            sa.and_(one_of(out_records.c.op, *sorted(terms.WITHDRAWALS)), out_records.c.acked_at.is_(None), out_records.c.seed.is_(None)),
        ),
    )
    .limit(1)
)
_LAST_RECEIPT = sa.select(sa.func.max(out_receipts.c.no).label("no")).where(out_receipts.c.stream == sa.bindparam("stream"))
_OUT_RECEIPT = sa.select(out_receipts).where(out_receipts.c.stream == sa.bindparam("stream"), out_receipts.c.no == sa.bindparam("of_no"))


def _late(table: sa.Table, *unsalted: sa.ColumnElement[bool]) -> sa.Select[Any]:
    batch = sa.and_(out_batches.c.stream == table.c.stream, out_batches.c.epoch == table.c.epoch, out_batches.c.seq == table.c.seq)
    return (
        sa.select(out_batches.c.published_at)
        .select_from(sa.join(table, out_batches, batch))
        .where(
            one_of(table.c.op, *sorted(terms.WITHDRAWALS)),
            table.c.acked_at.is_(None),
            *unsalted,
            out_batches.c.published_at < sa.bindparam("before"),
            table.c.stream == sa.bindparam("stream"),
        )
    )


_LATE = sa.union_all(_late(out_records, out_records.c.seed.is_(None)), _late(out_recalled)).subquery()
_OVERDUE = sa.select(sa.func.count().label("lines"), sa.func.min(_LATE.c.published_at).label("since"))


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
    owed: bool
    """A withdrawal that is not acknowledged."""


_STILL_SAID = sa.select(out_records.c.record_id).where(
    out_records.c.stream == sa.bindparam("stream"),
    out_records.c.record_id == sa.bindparam("record_id"),
    sa.or_(out_records.c.valid_until.is_(None), out_records.c.valid_until > sa.bindparam("now")),
    records.c.record_id == out_records.c.record_id,
    records.c.state == "in_force",
    out_streams.c.stream == out_records.c.stream,
    out_streams.c.epoch == out_records.c.epoch,
    records.c.changed_seq <= out_streams.c.cursor,
)


async def still_said(source: Source, stream: str, record_id: str, *, now: str) -> bool:
    """Whether what a partner was last told of a record is true now: it is in force, unchanged since it was sealed, and not over by time."""
    return await source.one(_STILL_SAID, {"stream": stream, "record_id": record_id, "now": now}) is not None


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
            owed=row.op in terms.WITHDRAWALS and row.acked_at is None,
        )
        for row in rows
    }


async def sent_due(source: Source, stream: str, now: datetime, limit: int) -> list[str]:
    """Records in force at the partner whose view time alone may have ended."""
    return [row.record_id for row in await source.all(_OUT_DUE, {"stream": stream, "now": stamp(now), "n": limit})]


class Recalled(Struct, frozen=True, gc=False, kw_only=True):
    """What an old epoch was told to withdraw while the next one was on its way."""

    v: int
    op: str
    epoch: int


async def recalled(source: Source, stream: str, record_ids: Collection[str]) -> dict[str, Recalled]:
    """The latest such withdrawal of each of these records."""
    rows = await source.all(_RECALLED, {"stream": stream, "wanted": list(record_ids)}) if record_ids else []
    return {row.record_id: Recalled(v=row.v, op=row.op, epoch=row.epoch) for row in rows}


async def told_beside(source: Source, streams: Collection[str], record_ids: Collection[str]) -> dict[str, tuple[int, str]]:
    """Highest version, and its op, that these streams ever said of these records: a partner takes no lower one, under any agreement."""
    found: dict[str, tuple[int, str]] = {}
    if streams and record_ids:
        for row in await source.all(_TOLD_BESIDE, {"streams": list(streams), "wanted": list(record_ids)}):
            found[row.record_id] = max(found.get(row.record_id, (0, "")), (row.v, row.op))
    return found


async def said_in(source: Source, stream: str, epoch: int, record_ids: Collection[str]) -> frozenset[str]:
    """Those of these records of which an epoch has said anything."""
    asked = {"stream": stream, "of_epoch": epoch, "wanted": list(record_ids)}
    return frozenset(row.record_id for row in await source.all(_SAID_IN, asked)) if record_ids else frozenset()


async def received_receipt(source: Source, stream: str, no: int) -> Row | None:
    """A receipt that the partner gave us: digest, body, note, feedback."""
    return await source.one(_OUT_RECEIPT, {"stream": stream, "of_no": no})


async def last_receipt_no(source: Source, stream: str) -> int | None:
    """Number of the latest receipt that the partner gave us for a stream; None before the first."""
    row = await source.one(_LAST_RECEIPT, {"stream": stream})
    return row.no if row is not None else None


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
        await tx.execute(_ACKNOWLEDGE_RECALLED, rows)


async def mark_refused(tx: Transaction, stream: str, refused: Iterable[tuple[str, int, str, bool]]) -> None:
    """Versions (record id, v, code, whether a person there has still to decide) that the partner did not take."""
    rows = [{"of_stream": stream, "rid": rid, "of_v": v, "code": code, "waits": waits} for rid, v, code, waits in refused]
    if rows:
        await tx.execute(_REFUSE, rows)


async def mark_taken_back(tx: Transaction, streams: Collection[str], record_ids: Collection[str]) -> None:
    """The partner does not hold these records by what other streams told it any more: they are looked at again, and not amended."""
    await tx.execute(_TAKEN_BACK, {"streams": list(streams), "wanted": list(record_ids), "now": tx.now_text})


async def mark_not_arrived(tx: Transaction, stream: str, rows: Iterable[tuple[str, int, str]]) -> None:
    """Words (record id, v, op) that never came to a partner, if they are our last: what they said is looked at, and said, again.

    Of a withdrawal that did not arrive the partner still has what was told before: it stands so in the ledger until it is said anew.
    """
    for rid, v, op in rows:
        mine = (out_records.c.stream == stream, out_records.c.record_id == rid, out_records.c.v == v)
        values = {"op": op if op in ("assert", "amend") else "amend", "refused": NOT_ARRIVED, "valid_until": tx.now_text, "acked_at": None}
        await tx.execute(sa.update(out_records).where(*mine).values(**values))


async def mark_erased_before(tx: Transaction, stream: str, refused: Iterable[tuple[str, int]]) -> None:
    """Erasures (record id, v) of what the partner had erased by an earlier word: that one is acknowledged, not this."""
    for rid, v in refused:
        mine = (out_records.c.stream == stream, out_records.c.record_id == rid, out_records.c.v == v)
        await tx.execute(sa.update(out_records).where(*mine, out_records.c.op == "erase").values(acked_at=tx.now_text))


async def mark_decided(tx: Transaction, stream: str, decided: Iterable[tuple[str, int, str]]) -> None:
    """Versions (record id, v, code) about which a person at the partner has decided: HOLD_RELEASED, else they are not taken."""
    for rid, v, code in decided:
        values = {"held": False, "refused": None} if code == "HOLD_RELEASED" else {"held": False, "refused": code}
        await tx.execute(
            sa.update(out_records)
            .where(out_records.c.stream == stream, out_records.c.record_id == rid, out_records.c.v == v)
            .values(**values)
        )


async def awaits_news(source: Source, stream: str) -> bool:
    """Whether a partner owes us an acknowledgement of this stream, or holds a line of it until somebody has looked."""
    asked = {"stream": stream}
    return await source.one(_AWAITED, asked) is not None or await source.one(_RECALL_AWAITED, asked) is not None


async def receipts_held(source: Source, stream: str) -> frozenset[int]:
    """Numbers of the receipts that we have got for a stream."""
    return frozenset(row.no for row in await source.all(_RECEIPT_NUMBERS, {"stream": stream}))


_ACKNOWLEDGE = (
    sa.update(out_records)
    .where(
        out_records.c.stream == sa.bindparam("of_stream"),
        out_records.c.record_id == sa.bindparam("rid"),
        out_records.c.v == sa.bindparam("of_v"),
    )
    .values(acked_at=sa.bindparam("at"))
)
_ACKNOWLEDGE_RECALLED = (
    sa.update(out_recalled)
    .where(
        out_recalled.c.stream == sa.bindparam("of_stream"),
        out_recalled.c.record_id == sa.bindparam("rid"),
        out_recalled.c.v <= sa.bindparam("of_v"),  # whoever has carried out a later word has carried out the earlier one
        out_recalled.c.acked_at.is_(None),
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
    .values(refused=sa.bindparam("code"), held=sa.bindparam("waits"))
)


class Overdue(Struct, frozen=True, kw_only=True):
    """Withdrawals that a partner has not acknowledged in time."""

    stream: str
    lines: int
    since: datetime


async def overdue(source: Source, stream: str, *, now: datetime, hours: int) -> Overdue | None:
    """Withdrawals of a stream published longer ago than agreed and not acknowledged."""
    row = await source.one(_OVERDUE, {"stream": stream, "before": stamp(now - timedelta(hours=hours))})
    return Overdue(stream=stream, lines=row.lines, since=moment(row.since)) if row is not None and row.lines else None

"""The outbox of lines: parts in a partner's own format, the rows in them, and what the partner made of each.

Rules: heads, batches and parts stand where those of agreements do (`outbox`), under the same compare-and-swap, written before a byte
leaves; a batch has one part, which is one leaf. What was said of a record is kept sealed until a later word about it is answered, for a
withdrawal may have to name it as the partner knows it; an erasure takes it all. This room must not know the format of a part.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from gateway.core.exchange.sealing import Sealed
from gateway.core.records.model import Value
from gateway.store import batch_parts, ledger, outbox
from gateway.store.dialects import among, one_of
from gateway.store.outbox import OutBatch, OutStream
from gateway.store.reads import Row
from gateway.store.store import Source, Transaction, moment, stamp
from gateway.store.tables import line_rows, out_batches, out_parts, out_records
from gateway.store.vault import Dek, dek_id_of

_OF_BATCH = (
    sa.select(line_rows)
    .where(line_rows.c.stream == sa.bindparam("stream"), line_rows.c.seq == sa.bindparam("of_seq"))
    .order_by(line_rows.c.row)
)
_OF_RECORDS = (
    sa.select(line_rows)
    .where(line_rows.c.stream == sa.bindparam("stream"), among(line_rows.c.record_id, "wanted"))
    .order_by(line_rows.c.record_id, line_rows.c.v)
)
_OF_DAY = (
    sa.select(sa.func.count().label("n"))
    .select_from(line_rows.join(out_batches, sa.and_(out_batches.c.stream == line_rows.c.stream, out_batches.c.seq == line_rows.c.seq)))
    .where(
        line_rows.c.stream == sa.bindparam("stream"),
        out_batches.c.state == "acked",
        out_batches.c.created >= sa.bindparam("since"),
        out_batches.c.created < sa.bindparam("until"),
    )
)
_SILENT = (
    sa.select(line_rows)
    .select_from(line_rows.join(out_batches, sa.and_(out_batches.c.stream == line_rows.c.stream, out_batches.c.seq == line_rows.c.seq)))
    .where(
        line_rows.c.stream == sa.bindparam("stream"),
        line_rows.c.result.is_(None),
        out_batches.c.state == "acked",
        out_batches.c.published_at < sa.bindparam("before"),
    )
)
_ORDERED = _SILENT.order_by(line_rows.c.seq, line_rows.c.row)
_UNANSWERED = _SILENT.with_only_columns(sa.func.count().label("n"), sa.func.min(out_batches.c.published_at).label("since"))
_NOT_TAKEN = (
    sa.select(line_rows)
    .where(line_rows.c.stream == sa.bindparam("stream"), one_of(line_rows.c.result, "held", "rejected"))
    .order_by(line_rows.c.answered_at.desc(), line_rows.c.record_id, line_rows.c.v)
    .limit(sa.bindparam("n", type_=sa.Integer))
)
_TALLY = (
    sa.select(line_rows.c.result, sa.func.count().label("n"))
    .where(line_rows.c.stream == sa.bindparam("stream"))
    .group_by(line_rows.c.result)
)


class SaidRow(Struct, frozen=True, gc=False, kw_only=True):
    """One row of a part, for the ledger."""

    record_id: str
    v: int
    op: str
    fields: Mapping[str, Value]
    view_digest: bytes
    valid_until: datetime | None = None


async def commit_part(
    tx: Transaction, before: OutStream | None, sealed: Sealed, rows: Sequence[SaidRow], *, cursor: int, plan: str, code: str | None
) -> None:
    """Write a sealed part down: head, outbox row, part, leaf, and what was said of each record.

    Raises StoreError stream-moved when another process has sealed meanwhile: nothing of this batch may be used then.
    """
    stream, epoch, seq = sealed.head.stream, sealed.head.epoch, sealed.head.seq
    await outbox.move_cursor(tx, before, sealed.head, cursor=cursor, plan=plan)
    withdrawals = sum(row.op not in ("assert", "amend") for row in rows)
    (part,) = sealed.parts
    leaves = [(part.entry.from_, part.name, sealed.leaves[0])]
    await outbox.put_batch(tx, sealed, leaves, withdrawals=withdrawals, code=code)
    dek = await tx.vault.dek(tx, batch_parts.scope_of(stream), create=True)
    await tx.insert(
        line_rows,
        ("stream", "record_id", "v", "seq", "row", "op", "said"),
        [(stream, row.record_id, row.v, seq, place, row.op, _seal(tx, dek, stream, row)) for place, row in enumerate(rows, 1)],
    )
    await tx.put(
        out_records,
        ("stream", "record_id", "v", "op", "idx", "epoch", "seq", "view_digest", "seed", "valid_until", "acked_at", "refused", "held"),
        ("stream", "record_id"),
        [
            (
                stream,
                row.record_id,
                row.v,
                row.op,
                part.entry.from_,
                epoch,
                seq,
                row.view_digest,
                None,
                stamp(row.valid_until) if row.valid_until else None,
                None,
                None,
                False,
            )
            for row in rows
        ],
    )


def _seal(tx: Transaction, dek: Dek, stream: str, row: SaidRow) -> bytes | None:
    if row.op not in ("assert", "amend"):
        return None
    return tx.vault.seal(dek, "line_rows", "said", f"{stream}/{row.record_id}/{row.v}", msgspec.json.encode(row.fields))


async def said_before(source: Source, stream: str, record_ids: Collection[str]) -> dict[str, dict[str, Value]]:
    """What a line was last told of each record: the fields of its latest version that said any."""
    if not record_ids:
        return {}
    found: dict[str, dict[str, Value]] = {}
    for row in await source.all(_OF_RECORDS, {"stream": stream, "wanted": list(record_ids)}):
        if row.said:
            dek_id = dek_id_of(row.said)
            dek = (await source.vault.deks_by_id(source, (dek_id,)))[dek_id]
            plain = source.vault.open(dek, "line_rows", "said", f"{stream}/{row.record_id}/{row.v}", row.said)
            found[row.record_id] = msgspec.json.decode(plain)
    return found


class Answer(Struct, frozen=True, kw_only=True):
    """What a partner made of one row, matched to it."""

    record_id: str
    v: int
    op: str
    result: str
    code: str | None = None
    field: str | None = None
    partner_id: str | None = None
    at: datetime | None = None


async def rows_of(source: Source, stream: str, seq: int) -> list[Row]:
    """The rows of one batch, in their order."""
    return await source.all(_OF_BATCH, {"stream": stream, "of_seq": seq})


async def rows_about(source: Source, stream: str, record_ids: Collection[str]) -> list[Row]:
    """Every row that a line was given about some records."""
    return await source.all(_OF_RECORDS, {"stream": stream, "wanted": list(record_ids)}) if record_ids else []


async def answer(tx: Transaction, stream: str, answers: Iterable[Answer]) -> None:
    """Write down what became of rows; a withdrawal that was taken is acknowledged, a version that was not is refused."""
    answers = list(answers)
    for each in answers:
        this = (line_rows.c.stream == stream, line_rows.c.record_id == each.record_id, line_rows.c.v == each.v)
        await tx.execute(
            sa.update(line_rows)
            .where(*this)
            .values(
                result=each.result,
                code=each.code,
                field=each.field,
                partner_id=each.partner_id,
                answered_at=stamp(each.at) if each.at else tx.now_text,
            )
        )
    taken = [each for each in answers if each.result not in ("held", "rejected")]
    await ledger.mark_acknowledged(tx, stream, [(each.record_id, each.v) for each in taken if each.op not in ("assert", "amend")])
    refused = [(each.record_id, each.v, (each.code or each.result)[:32], False) for each in answers if each not in taken]
    await ledger.mark_refused(tx, stream, refused)
    for each in taken:  # what was said earlier is not needed any more, for the partner has something later
        older = (line_rows.c.stream == stream, line_rows.c.record_id == each.record_id, line_rows.c.v < each.v)
        await tx.execute(sa.update(line_rows).where(*older).values(said=None))


async def forget(tx: Transaction, stream: str, record_ids: Collection[str]) -> None:
    """Take everything said of erased records out of the outbox: their rows, and the acknowledged parts that hold them."""
    for record_id in record_ids:
        mine = (line_rows.c.stream == stream, line_rows.c.record_id == record_id)
        await tx.execute(sa.update(line_rows).where(*mine).values(said=None, partner_id=None))
        done = (out_batches.c.stream == stream, out_batches.c.state.in_(("acked", "nacked")))
        seqs = sa.select(line_rows.c.seq).where(*mine, line_rows.c.seq.in_(sa.select(out_batches.c.seq).where(*done)))
        await tx.execute(sa.delete(out_parts).where(out_parts.c.stream == stream, out_parts.c.seq.in_(seqs)))
        tx.shredded = True


async def release(tx: Transaction, batch: OutBatch, *, state: str, code: str | None) -> None:
    """A person has decided about a batch that waited for one."""
    await tx.execute(
        sa.update(out_batches)
        .where(out_batches.c.stream == batch.stream, out_batches.c.epoch == batch.epoch, out_batches.c.seq == batch.seq)
        .values(state=state, code=code, next_attempt_at=None)
    )


async def due_now(tx: Transaction, stream: str) -> None:
    """What waits for its next attempt is due at once."""
    waits = (out_batches.c.stream == stream, out_batches.c.state == "waiting")
    await tx.execute(sa.update(out_batches).where(*waits).values(next_attempt_at=None))


async def sent_on(source: Source, stream: str, since: datetime, until: datetime) -> int:
    """Rows that were delivered of batches of a day."""
    row = await source.one(_OF_DAY, {"stream": stream, "since": stamp(since), "until": stamp(until)})
    return int(row.n) if row is not None else 0


class Silence(Struct, frozen=True, kw_only=True):
    """Rows of which a partner has said nothing, and since when the first of them was under way."""

    rows: int
    since: datetime


async def unanswered(source: Source, stream: str, before: datetime) -> Silence | None:
    """How many rows were delivered before a moment, and never answered; None when none was."""
    row = await source.one(_UNANSWERED, {"stream": stream, "before": stamp(before)})
    return Silence(rows=int(row.n), since=moment(row.since)) if row is not None and row.n else None


async def silent_rows(source: Source, stream: str, before: datetime) -> list[Row]:
    """Those rows, in the order in which they went."""
    return await source.all(_ORDERED, {"stream": stream, "before": stamp(before)})


async def not_taken(source: Source, stream: str, limit: int) -> list[Row]:
    """Rows that the partner holds or has rejected, the latest first."""
    return await source.all(_NOT_TAKEN, {"stream": stream, "n": limit})


async def tally(source: Source, stream: str) -> dict[str, int]:
    """Rows by result; `waiting` without one."""
    return {row.result or "waiting": int(row.n) for row in await source.all(_TALLY, {"stream": stream})}

"""What follows here from partners' records: decisions on recognition, and the confirmations that they wait for (exchange.md §11).

Rules: a decision is replaced as a whole; a confirmation names a person and is never taken back. This room decides nothing.
"""

from collections.abc import Collection, Sequence
from datetime import datetime

import sqlalchemy as sa

from gateway.store.dialects import among
from gateway.store.reads import Row
from gateway.store.store import Source, Transaction, stamp
from gateway.store.tables import (
    confirmations,
    in_records,
    recognitions,
    records,
)

_IN_RECORDS = (
    sa.select(in_records, records.c.content_digest)
    .outerjoin(records, records.c.record_id == in_records.c.record_id)
    .where(among(in_records.c.record_id, "wanted"))
)
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
_AWAITING = (
    sa.select(recognitions)
    .where(recognitions.c.reason == "awaiting_confirmation", recognitions.c.record_id > sa.bindparam("after"))
    .order_by(recognitions.c.record_id)
    .limit(sa.bindparam("limit"))
)
_CONFIRMATIONS = sa.select(confirmations).where(among(confirmations.c.record_id, "wanted"))


async def told_records(source: Source, record_ids: Collection[str]) -> dict[str, Row]:
    """The last lines of partners about these records, by id: sender, stream, v, op, leaf, payload, at, content_digest."""
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


async def awaiting(source: Source, *, after: str, limit: int) -> list[Row]:
    """Decisions that wait for a named person, in order of the record's id: record_id, agreement, issuer, inputs, decided_at."""
    return await source.all(_AWAITING, {"after": after, "limit": limit})


async def confirmed(source: Source, record_ids: Collection[str]) -> list[Row]:
    """Named persons' confirmations about these records: record_id, version, content, by_person, basis, at."""
    return await source.all(_CONFIRMATIONS, {"wanted": list(record_ids)})


async def put_confirmation(tx: Transaction, record_id: str, v: int, content: bytes, *, by: str, basis: str) -> None:
    """Keep a confirmation; a second one of the same version with the same content is refused by the table."""
    await tx.execute(
        sa.insert(confirmations).values(record_id=record_id, version=v, content=content, by_person=by, basis=basis, at=tx.now_text)
    )

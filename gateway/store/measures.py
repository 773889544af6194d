"""Which measure rests on which record: ours on partners' records, theirs on ours. Only ids, codes and how it stands; the rest is a record.

Rules: a row follows the record of dataset `measures` that tells of it, in the transaction that writes that one. This room decides nothing.
"""

from collections.abc import Collection, Sequence
from typing import Literal

import sqlalchemy as sa
from msgspec import Struct

from gateway.store.dialects import among
from gateway.store.reads import Row
from gateway.store.store import Source, Transaction
from gateway.store.tables import erasures, measures, out_records, records

Standing = Literal["in_effect", "suspended", "lifted"]

_ABOUT = sa.select(measures).where(among(measures.c.about, "wanted")).order_by(measures.c.record_id)
_ALL = (
    sa.select(measures, records.c.state)
    .join(records, records.c.record_id == measures.c.record_id)
    .where(measures.c.record_id > sa.bindparam("after"), records.c.state != "erased")
    .order_by(measures.c.record_id)
    .limit(sa.bindparam("n", type_=sa.Integer))
)
_UNDONE = (
    sa.select(measures.c.about)
    .join(erasures, erasures.c.record_id == measures.c.record_id)
    .where(among(measures.c.about, "wanted"), erasures.c.done_at.is_(None))
)
_COUNTS = sa.select(measures.c.partner, measures.c.ours, measures.c.standing, sa.func.count().label("n")).group_by(
    measures.c.partner, measures.c.ours, measures.c.standing
)
_SUBJECTS = sa.select(records.c.record_id, records.c.subject_id).where(among(records.c.record_id, "wanted"), records.c.issuer == "")
_SENT = sa.select(out_records.c.record_id, out_records.c.stream).where(among(out_records.c.record_id, "wanted"))
_COLUMNS = ("record_id", "about", "v", "partner", "ours", "code", "authority", "standing", "since")


class Taken(Struct, frozen=True, kw_only=True):
    """One measure, and how it stands."""

    record_id: str
    about: str
    v: int
    partner: str
    ours: bool
    code: str
    authority: str
    standing: Standing
    since: str


def _taken(row: Row) -> Taken:
    return Taken(**{name: getattr(row, name) for name in _COLUMNS} | {"ours": bool(row.ours)})


async def measures_about(source: Source, record_ids: Collection[str]) -> list[Taken]:
    """Every measure that rests on these records."""
    return [_taken(row) for row in await source.all(_ABOUT, {"wanted": list(record_ids)})]


async def measures_after(source: Source, after: str, limit: int) -> list[Taken]:
    """Measures either way whose record is not erased, in order of their own record."""
    return [_taken(row) for row in await source.all(_ALL, {"after": after, "n": limit})]


async def counts(source: Source) -> list[Row]:
    """How many measures stand how: partner, ours, standing, n."""
    return await source.all(_COUNTS)


async def put_measures(tx: Transaction, taken: Sequence[Taken]) -> None:
    """Keep measures, each in place of what was known of its record."""
    if taken:
        await drop_measures(tx, [each.record_id for each in taken])
        await tx.insert(measures, _COLUMNS, [tuple(getattr(each, name) for name in _COLUMNS) for each in taken])


async def drop_measures(tx: Transaction, record_ids: Collection[str]) -> None:
    """Forget measures whose record is taken back."""
    await tx.execute(sa.delete(measures).where(among(measures.c.record_id, "wanted")), {"wanted": list(record_ids)})


async def unfinished_about(source: Source, record_ids: Collection[str]) -> frozenset[str]:
    """Those of these records on which a measure rested of whose erasure something may be left."""
    return frozenset(row.about for row in await source.all(_UNDONE, {"wanted": list(record_ids)}))


async def told_to(source: Source, record_ids: Collection[str]) -> dict[str, tuple[str, frozenset[str]]]:
    """Of our own records: subject, and the streams in which we have told of it."""
    wanted = {"wanted": list(record_ids)}
    streams: dict[str, set[str]] = {}
    for row in await source.all(_SENT, wanted):
        streams.setdefault(row.record_id, set()).add(row.stream)
    return {row.record_id: (row.subject_id, frozenset(streams.get(row.record_id, ()))) for row in await source.all(_SUBJECTS, wanted)}

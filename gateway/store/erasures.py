"""Erased records of which something may be left: in a copy that follows the change log, in the token index, in a free page.

Rules: an erasure is entered with the act and done when it was looked for and nothing was found; the row stays, with ids and times alone.
"""

from collections.abc import Collection

import sqlalchemy as sa
from msgspec import Struct

from gateway.store.dialects import among
from gateway.store.store import Source, Transaction
from gateway.store.tables import erasures

_WAITING = (
    sa.select(erasures.c.record_id, erasures.c.subject_id, erasures.c.at)
    .where(erasures.c.done_at.is_(None))
    .order_by(erasures.c.at, erasures.c.record_id)
    .limit(sa.bindparam("n", type_=sa.Integer))
)
_UNFINISHED = sa.select(erasures.c.record_id).where(among(erasures.c.record_id, "wanted"), erasures.c.done_at.is_(None))
_DONE = sa.update(erasures).where(among(erasures.c.record_id, "wanted")).values(done_at=sa.bindparam("now"))


class Erasure(Struct, frozen=True, gc=False, kw_only=True):
    """One erased record."""

    record_id: str
    subject_id: str
    at: str


async def enter(tx: Transaction, record_id: str, subject_id: str) -> None:
    """A record is erased now."""
    await tx.execute(sa.insert(erasures).values(record_id=record_id, subject_id=subject_id, at=tx.now_text))


async def waiting(source: Source, limit: int) -> list[Erasure]:
    """Erasures that are not done, the oldest first."""
    rows = await source.all(_WAITING, {"n": limit})
    return [Erasure(record_id=row.record_id, subject_id=row.subject_id, at=row.at) for row in rows]


async def unfinished(source: Source, record_ids: Collection[str]) -> frozenset[str]:
    """Those of these records of which something may be left."""
    return frozenset(row.record_id for row in await source.all(_UNFINISHED, {"wanted": sorted(record_ids)}))


async def done(tx: Transaction, record_ids: Collection[str]) -> None:
    """Nothing is left of these."""
    if record_ids:
        await tx.execute(_DONE, {"wanted": sorted(record_ids), "now": tx.now_text})

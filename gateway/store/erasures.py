"""Erased records of which something may be left: in a copy that follows the change log, in the token index, in a free page.

Rules: an erasure is entered with the act and done when it was looked for and nothing was found; the row stays, with ids and times alone,
but of a record that was only purged because an agreement ended and that its sender has said again.
"""

from collections.abc import Collection
from datetime import datetime

import sqlalchemy as sa
from msgspec import Struct

from gateway.store.dialects import among
from gateway.store.store import Source, Transaction, stamp
from gateway.store.tables import erasures

_WAITING = (
    sa.select(erasures.c.record_id, erasures.c.subject_id, erasures.c.at)
    .where(
        erasures.c.done_at.is_(None),
        sa.or_(
            erasures.c.at > sa.bindparam("after_at"),
            sa.and_(erasures.c.at == sa.bindparam("after_at"), erasures.c.record_id > sa.bindparam("after_id")),
        ),
    )
    .order_by(erasures.c.at, erasures.c.record_id)
    .limit(sa.bindparam("n", type_=sa.Integer))
)
_ENTERED = sa.select(erasures.c.record_id).where(among(erasures.c.record_id, "wanted"))
_UNFINISHED = sa.select(erasures.c.record_id).where(among(erasures.c.record_id, "wanted"), erasures.c.done_at.is_(None))
_SINCE = (
    sa.select(erasures.c.record_id)
    .where(sa.or_(erasures.c.at > sa.bindparam("start"), sa.and_(erasures.c.at == sa.bindparam("start"), erasures.c.done_at.is_(None))))
    .limit(1)
)
_TAKE_BACK = sa.delete(erasures).where(among(erasures.c.record_id, "wanted"))
_AGAIN = sa.update(erasures).where(among(erasures.c.record_id, "wanted")).values(at=sa.bindparam("now"), done_at=None)
_DONE = sa.update(erasures).where(among(erasures.c.record_id, "wanted")).values(done_at=sa.bindparam("now"))


class Erasure(Struct, frozen=True, gc=False, kw_only=True):
    """One erased record."""

    record_id: str
    subject_id: str
    at: str


async def enter(tx: Transaction, record_id: str, subject_id: str) -> None:
    """A record is erased now."""
    await tx.execute(sa.insert(erasures).values(record_id=record_id, subject_id=subject_id, at=tx.now_text))


async def enter_unheld(tx: Transaction, record_ids: Collection[str]) -> None:
    """Records of which nothing was taken in here are erased now: a batch that waits may speak of them all the same."""
    wanted = sorted(set(record_ids))
    if not wanted:
        return
    there = await entered(tx, wanted)
    rows = [(record_id, "", tx.now_text) for record_id in wanted if record_id not in there]
    await tx.insert(erasures, ("record_id", "subject_id", "at"), rows)


async def enter_again(tx: Transaction, record_ids: Collection[str]) -> None:
    """What was purged is erased now: what was told of it since, for it might come back, is looked for too."""
    if record_ids:
        await tx.execute(_AGAIN, {"wanted": sorted(record_ids), "now": tx.now_text})
        await enter_unheld(tx, record_ids)


async def any_since(source: Source, start: datetime) -> bool:
    """Whether a record was erased after a moment, or at it and is not done."""
    return await source.one(_SINCE, {"start": stamp(start)}) is not None


async def waiting(source: Source, limit: int, after: Erasure | None = None) -> list[Erasure]:
    """Erasures that are not done, the oldest first; those behind one of them."""
    place = {"after_at": after.at, "after_id": after.record_id} if after is not None else {"after_at": "", "after_id": ""}
    rows = await source.all(_WAITING, {"n": limit, **place})
    return [Erasure(record_id=row.record_id, subject_id=row.subject_id, at=row.at) for row in rows]


async def entered(source: Source, record_ids: Collection[str]) -> frozenset[str]:
    """Those of these records that are erased."""
    return frozenset(row.record_id for row in await source.all(_ENTERED, {"wanted": sorted(set(record_ids))}))


async def unfinished(source: Source, record_ids: Collection[str]) -> frozenset[str]:
    """Those of these records of which something may be left."""
    return frozenset(row.record_id for row in await source.all(_UNFINISHED, {"wanted": sorted(record_ids)}))


async def take_back(tx: Transaction, record_ids: Collection[str]) -> None:
    """These are held again: they were purged, and their sender has said them anew."""
    await tx.execute(_TAKE_BACK, {"wanted": sorted(record_ids)})


async def done(tx: Transaction, record_ids: Collection[str]) -> None:
    """Nothing is left of these."""
    if record_ids:
        await tx.execute(_DONE, {"wanted": sorted(record_ids), "now": tx.now_text})

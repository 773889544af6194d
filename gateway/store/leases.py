"""Leases: work that one process of all does, until it gives it up or is silent for too long.

Rules: nobody's clock is asked. A holder raises the row's number at every renewal; whoever wants the work sees the same number for the whole
time, by its own stopwatch, before it may take over, and takes over from just that number. So a clock that is set, on either machine or the
database's, changes nothing. This room must not know what the work is.
"""

import sqlalchemy as sa
from msgspec import Struct

from gateway.store.store import Source, Transaction
from gateway.store.tables import leases

_LEASE = sa.select(leases).where(leases.c.name == sa.bindparam("name"))


class Lease(Struct, frozen=True, kw_only=True):
    """Who does it, and the number of its last sign of life."""

    holder: str
    beat: int
    renewed_at: str


async def lease(source: Source, name: str) -> Lease | None:
    """As it stands; None when nobody has it."""
    row = await source.one(_LEASE, {"name": name})
    return Lease(holder=row.holder, beat=row.beat, renewed_at=row.renewed_at) if row is not None else None


async def take(tx: Transaction, name: str, holder: str, *, seen: Lease | None) -> Lease | None:
    """Take a lease, or renew it, if it still stands as it was seen; None when it does not: then it is somebody else's."""
    if await lease(tx, name) != seen:
        return None
    beat = seen.beat + 1 if seen is not None else 1
    values = {"holder": holder, "beat": beat, "renewed_at": tx.now_text}
    if seen is None:
        await tx.execute(sa.insert(leases).values(name=name, **values))
    else:
        await tx.execute(sa.update(leases).where(leases.c.name == name).values(**values))
    return Lease(holder=holder, beat=beat, renewed_at=tx.now_text)


async def give_up(tx: Transaction, name: str, holder: str) -> None:
    """Let the next one begin at once."""
    await tx.execute(sa.delete(leases).where(leases.c.name == name, leases.c.holder == holder))

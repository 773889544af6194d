"""Streams that an operator holds, of either direction: by whom, since when, and why.

Rules: one hold a stream. This room must not know what a hold keeps back.
"""

from datetime import datetime

import sqlalchemy as sa
from msgspec import Struct

from gateway.store.reads import Row
from gateway.store.store import Source, Transaction, moment
from gateway.store.tables import stream_holds as holds

_HOLD = sa.select(holds).where(holds.c.sender == sa.bindparam("sender"), holds.c.stream == sa.bindparam("stream"))
_ALL = sa.select(holds).order_by(holds.c.stream, holds.c.sender)


class Hold(Struct, frozen=True, kw_only=True):
    """One of them."""

    sender: str
    stream: str
    by: str
    reason: str
    since: datetime


def _hold(row: Row) -> Hold:
    return Hold(sender=row.sender, stream=row.stream, by=row.by, reason=row.reason, since=moment(row.since))


async def hold_on(source: Source, sender: str, stream: str) -> Hold | None:
    """The hold on a stream; None when there is none."""
    row = await source.one(_HOLD, {"sender": sender, "stream": stream})
    return _hold(row) if row is not None else None


async def every_hold(source: Source) -> list[Hold]:
    """All of them."""
    return [_hold(row) for row in await source.all(_ALL)]


async def put(tx: Transaction, sender: str, stream: str, *, by: str, reason: str) -> None:
    """Hold a stream from now on; a hold that stands gets the new reason."""
    await lift(tx, sender, stream)
    await tx.execute(sa.insert(holds).values(sender=sender, stream=stream, by=by, reason=reason, since=tx.now_text))


async def lift(tx: Transaction, sender: str, stream: str) -> bool:
    """Hold it no longer; whether it was held."""
    result = await tx.execute(sa.delete(holds).where(holds.c.sender == sender, holds.c.stream == stream))
    return bool(result.rowcount)

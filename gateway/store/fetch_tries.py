"""Agreements over whose line fetching fails: how often by now, and when the next attempt is due.

Rules: one row an agreement, gone with the first success. This room must not know how long to wait.
"""

from datetime import datetime

import sqlalchemy as sa
from msgspec import Struct

from gateway.store.store import Source, Transaction, moment, stamp
from gateway.store.tables import fetch_tries as tries

_ALL = sa.select(tries)


class Tried(Struct, frozen=True, kw_only=True):
    """How fetching under one agreement fares."""

    attempts: int
    next_attempt_at: datetime
    code: str


async def failing(source: Source) -> dict[str, Tried]:
    """By agreement, where the last attempt failed."""
    return {
        row.agreement: Tried(attempts=row.attempts, next_attempt_at=moment(row.next_attempt_at), code=row.code)
        for row in await source.all(_ALL)
    }


async def failed(tx: Transaction, agreement: str, *, attempts: int, next_attempt_at: datetime, code: str) -> None:
    """Write down an attempt that failed."""
    await went_well(tx, agreement)
    await tx.execute(
        sa.insert(tries).values(agreement=agreement, attempts=attempts, next_attempt_at=stamp(next_attempt_at), code=code[:64])
    )


async def went_well(tx: Transaction, agreement: str) -> None:
    """Nothing is waited for any more."""
    await tx.execute(sa.delete(tries).where(tries.c.agreement == agreement))

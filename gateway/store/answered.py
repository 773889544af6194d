"""First answers to requests under an `Idempotency-Key`: taken once, then the same for a day (api.md §9).

Rules: of several who come at once one takes the turn, the others are told what stands; a runner whose lease is over has died, and the next
one takes its turn; an answer is kept only by whoever has the turn. Keys stand as digests alone. This room must not know what
was asked.
"""

from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa
from msgspec import Struct

from gateway.store.store import Transaction, stamp
from gateway.store.tables import answered

KEPT: Final = timedelta(hours=24)
LEASE: Final = timedelta(minutes=10)
"""Longer than any request runs."""

_a = answered.c
_TAKE = sa.text(
    "INSERT INTO answered (digest, request, turn, lease, until) VALUES (:digest, :request, :turn, :lease, :until)"
    " ON CONFLICT (digest) DO UPDATE SET request = excluded.request, turn = excluded.turn, lease = excluded.lease, until = excluded.until,"
    " status = NULL, headers = NULL, body = NULL"
    " WHERE answered.until <= :now OR (answered.status IS NULL AND answered.lease <= :now AND answered.request = excluded.request)"
    " RETURNING turn"
)
_HELD = sa.select(_a.request, _a.status, _a.headers, _a.body).where(_a.digest == sa.bindparam("digest"))
_mine = sa.and_(_a.digest == sa.bindparam("of"), _a.turn == sa.bindparam("mine"))
_KEEP = (
    sa.update(answered)
    .where(_mine)
    .values(status=sa.bindparam("status"), headers=sa.bindparam("headers"), body=sa.bindparam("body"), until=sa.bindparam("until"))
)
_GIVE_UP = sa.delete(answered).where(_mine, _a.status.is_(None))
_FORGET = sa.delete(answered).where(_a.until <= sa.bindparam("now"))


class Held(Struct, frozen=True, kw_only=True):
    """What stands under a key."""

    request: str
    status: int | None
    """None: its first request is still running."""
    headers: bytes
    body: bytes


async def take(tx: Transaction, digest: str, request: str, turn: str, now: datetime) -> Held | None:
    """Take the turn under a key; what stands there instead, when it is taken."""
    await tx.execute(_FORGET, {"now": stamp(now)})
    taken = await tx.one(
        _TAKE,
        {
            "digest": digest,
            "request": request,
            "turn": turn,
            "lease": stamp(now + LEASE),
            "until": stamp(now + KEPT),
            "now": stamp(now),
        },
    )
    if taken is not None:
        return None
    row = await tx.one(_HELD, {"digest": digest})
    if row is None:  # given up in this very moment by whoever ran it
        return Held(request=request, status=None, headers=b"", body=b"")
    return Held(request=row.request, status=row.status, headers=bytes(row.headers or b""), body=bytes(row.body or b""))


async def keep(tx: Transaction, digest: str, turn: str, now: datetime, *, status: int, headers: bytes, body: bytes) -> None:
    """The answer, for whoever asks again; who has lost the turn keeps nothing."""
    await tx.execute(
        _KEEP, {"of": digest, "mine": turn, "status": status, "headers": headers, "body": body, "until": stamp(now + KEPT)}
    )


async def give_up(tx: Transaction, digest: str, turn: str) -> None:
    """The request failed: whoever asks again runs it anew."""
    await tx.execute(_GIVE_UP, {"of": digest, "mine": turn})

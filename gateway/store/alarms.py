"""Alarms: what a person must look at, raised once and kept until it is over.

Rules: an alarm names a kind and an id; raising it again while it stands changes nothing; each raising and clearing is an audit row.
This room must not decide what is alarming.
"""

from collections.abc import Mapping
from datetime import datetime

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from gateway.store import audit
from gateway.store.reads import Reads
from gateway.store.store import Transaction, moment
from gateway.store.tables import alarms

_DETAIL = msgspec.json.Decoder(dict[str, object])


class Alarm(Struct, frozen=True, kw_only=True):
    """One alarm that stands."""

    seq: int
    kind: str
    target: str
    raised_at: datetime
    detail: dict[str, object]


_OPEN = sa.select(alarms).where(alarms.c.cleared_at.is_(None)).order_by(alarms.c.seq)
_SAME = sa.select(alarms.c.seq).where(
    alarms.c.cleared_at.is_(None), alarms.c.kind == sa.bindparam("kind"), alarms.c.target == sa.bindparam("target")
)


async def standing(source: Reads | Transaction) -> list[Alarm]:
    """Every alarm that stands, oldest first."""
    return [
        Alarm(seq=row.seq, kind=row.kind, target=row.target, raised_at=moment(row.raised_at), detail=_DETAIL.decode(row.detail))
        for row in await source.all(_OPEN)
    ]


async def sound(tx: Transaction, kind: str, target: str, detail: Mapping[str, object]) -> bool:
    """Raise an alarm; false when it stands already. The detail holds ids, counts and codes, never values."""
    if await tx.one(_SAME, {"kind": kind, "target": target}) is not None:
        return False
    seq = await tx.number("alarms")
    await tx.execute(
        sa.insert(alarms).values(
            seq=seq, kind=kind, target=target, raised_at=tx.now_text, detail=msgspec.json.encode(dict(detail), order="sorted")
        )
    )
    await audit.write(tx, "gateway", "alarm.raise", target, {"kind": kind, **detail})
    return True


async def clear(tx: Transaction, kind: str, target: str, by: str) -> bool:
    """Let an alarm stand no more; false when none stood."""
    done = await tx.execute(
        sa.update(alarms)
        .where(alarms.c.cleared_at.is_(None), alarms.c.kind == kind, alarms.c.target == target)
        .values(cleared_at=tx.now_text, cleared_by=by)
    )
    if not done.rowcount:
        return False
    await audit.write(tx, by, "alarm.clear", target, {"kind": kind})
    return True

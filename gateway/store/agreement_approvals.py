"""Versions of agreements that are wider than before, and the second person's yes to them.

Rules: a yes is to one text with our own part; another text is asked for anew. This room must not know what is wider.
"""

from collections.abc import Sequence
from datetime import datetime

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from gateway.core.exchange.widening import Wider
from gateway.store.reads import Row
from gateway.store.store import Source, Transaction, moment
from gateway.store.tables import agreement_approvals as rows

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(tuple[Wider, ...]).decode
_ONE = sa.select(rows).where(
    rows.c.agreement_id == sa.bindparam("id"), rows.c.version == sa.bindparam("of_version"), rows.c.digest == sa.bindparam("digest")
)
_ALL = sa.select(rows).order_by(rows.c.agreement_id, rows.c.version, rows.c.asked_at)


class Approval(Struct, frozen=True, kw_only=True):
    """One version that waits for a second person, or has its yes."""

    agreement_id: str
    version: int
    digest: str
    wider: tuple[Wider, ...]
    asked_by: str
    asked_at: datetime
    approved_by: str | None


def _approval(row: Row) -> Approval:
    return Approval(
        agreement_id=row.agreement_id,
        version=row.version,
        digest=row.digest,
        wider=_decode(row.wider),
        asked_by=row.asked_by,
        asked_at=moment(row.asked_at),
        approved_by=row.approved_by,
    )


async def find(source: Source, agreement_id: str, version: int, digest: str) -> Approval | None:
    """What is known of one text."""
    row = await source.one(_ONE, {"id": agreement_id, "of_version": version, "digest": digest})
    return _approval(row) if row is not None else None


async def everything(source: Source) -> list[Approval]:
    """All that was ever asked for, in order."""
    return [_approval(row) for row in await source.all(_ALL)]


async def ask(tx: Transaction, agreement_id: str, version: int, digest: str, wider: Sequence[Wider], *, by: str) -> None:
    """Write down that somebody wants to sign this text; whoever asks again is who asked first."""
    if await find(tx, agreement_id, version, digest) is None:
        await tx.execute(
            sa.insert(rows).values(
                agreement_id=agreement_id, version=version, digest=digest, wider=_encode(wider), asked_by=by, asked_at=tx.now_text
            )
        )


async def drop(tx: Transaction, agreement_id: str, version: int, digest: str) -> None:
    """Forget who asked for a text and who agreed: its offer is taken back."""
    await tx.execute(sa.delete(rows).where(rows.c.agreement_id == agreement_id, rows.c.version == version, rows.c.digest == digest))


async def approve(tx: Transaction, approval: Approval, *, by: str) -> None:
    """Write down the second person's yes."""
    await tx.execute(
        sa.update(rows)
        .where(
            rows.c.agreement_id == approval.agreement_id,
            rows.c.version == approval.version,
            rows.c.digest == approval.digest,
            rows.c.approved_at.is_(None),
        )
        .values(approved_by=by, approved_at=tx.now_text)
    )

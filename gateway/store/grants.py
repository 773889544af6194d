"""Grants of apps with their approvals (policy.md §12).

Rules: a grant is kept as it was proposed, under the digest that was approved; it is never changed, only approved and ended, and its id
is never given twice. This room must not decide what a grant may reach.
"""

import hashlib
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from gateway.core.callers.grants import Grant
from gateway.store.reads import Reads, Row
from gateway.store.store import Transaction, moment
from gateway.store.tables import apps, grants

_encoder = msgspec.json.Encoder(order="sorted")
_decoder = msgspec.json.Decoder(Grant)


class GrantRow(Struct, frozen=True, kw_only=True):
    """A grant and how it stands."""

    grant: Grant
    digest: str
    personal: bool
    state: str
    proposed_at: datetime
    proposed_by: str
    approved_at: datetime | None
    approved_by: str | None
    ended_at: datetime | None


_ONE = sa.select(grants).where(grants.c.grant_id == sa.bindparam("which"))
_ALL = sa.select(grants).order_by(grants.c.proposed_at, grants.c.grant_id)
_ACTIVE = sa.select(grants).where(grants.c.app == sa.bindparam("which"), grants.c.state == "active").order_by(grants.c.grant_id)
_IN_FORCE = (
    sa.select(apps.c.tier, grants.c.body)
    .select_from(grants.join(apps, apps.c.app == grants.c.app))
    .where(grants.c.state == "active", apps.c.state == "active")
    .order_by(grants.c.grant_id)
)


def digest_of(grant: Grant) -> str:
    """What an approval names: SHA-256 of the grant as it is kept."""
    return hashlib.sha256(_encoder.encode(grant)).hexdigest()


async def find(source: Reads | Transaction, grant_id: str) -> GrantRow | None:
    """One grant, whatever its state."""
    row = await source.one(_ONE, {"which": grant_id})
    return None if row is None else _of(row)


async def everything(source: Reads | Transaction) -> list[GrantRow]:
    """All grants in order of proposal."""
    return [_of(row) for row in await source.all(_ALL)]


async def active(source: Reads | Transaction, app: str) -> tuple[Grant, ...]:
    """What an app was granted and nobody ended; whether today lies in it is the grant's own business."""
    return tuple(_decoder.decode(row.body) for row in await source.all(_ACTIVE, {"which": app}))


async def in_force(source: Reads | Transaction) -> list[tuple[str, Grant]]:
    """Every grant that nobody ended, of every app that is not suspended, with the tier of its app."""
    return [(row.tier, _decoder.decode(row.body)) for row in await source.all(_IN_FORCE)]


async def propose(tx: Transaction, grant: Grant, *, personal: bool, by: str) -> str:
    """Keep a grant; one that reaches no personal plan is active at once. Its digest."""
    body = _encoder.encode(grant)
    digest = hashlib.sha256(body).hexdigest()
    await tx.execute(
        sa.insert(grants).values(
            grant_id=grant.id,
            app=grant.app,
            dataset=grant.dataset,
            body=body,
            digest=digest,
            personal=personal,
            state="proposed" if personal else "active",
            proposed_at=tx.now_text,
            proposed_by=by,
        )
    )
    return digest


async def approve(tx: Transaction, grant_id: str, by: str) -> None:
    """A proposed grant becomes active."""
    await _change(tx, grant_id, state="active", approved_at=tx.now_text, approved_by=by)


async def end(tx: Transaction, grant_id: str, by: str) -> None:
    """A grant counts no more."""
    await _change(tx, grant_id, state="revoked", ended_at=tx.now_text, ended_by=by)


async def _change(tx: Transaction, grant_id: str, **values: Any) -> None:
    await tx.execute(sa.update(grants).where(grants.c.grant_id == grant_id).values(**values))


def _of(row: Row) -> GrantRow:
    return GrantRow(
        grant=_decoder.decode(row.body),
        digest=row.digest,
        personal=bool(row.personal),
        state=row.state,
        proposed_at=moment(row.proposed_at),
        proposed_by=row.proposed_by,
        approved_at=None if row.approved_at is None else moment(row.approved_at),
        approved_by=row.approved_by,
        ended_at=None if row.ended_at is None else moment(row.ended_at),
    )

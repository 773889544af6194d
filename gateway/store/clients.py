"""Access tokens of departments: opaque, 256 bits, kept only as SHA-256, bound to app, tier and purpose, short-lived.

Rules: an unknown and an expired token are the same answer; a token is shown once, when it is issued. This room must not decide
which tier an app may have.
"""

import base64
import hashlib
from datetime import datetime, timedelta

import sqlalchemy as sa
from msgspec import Struct

from gateway.core.errors import StoreError
from gateway.store.reads import Reads
from gateway.store.store import Transaction, moment, stamp
from gateway.store.tables import tokens

LONGEST = timedelta(minutes=10)
_PREFIX = "cxt_"


class TokenRow(Struct, frozen=True, kw_only=True):
    """What a live token says of its holder."""

    app: str
    org: str
    tier: str
    purpose: str
    issued_at: datetime
    expires_at: datetime


_FIND = sa.select(tokens).where(tokens.c.token_sha256 == sa.bindparam("token_sha256"), tokens.c.expires_at > sa.bindparam("at"))
_DROP = sa.delete(tokens).where(tokens.c.expires_at <= sa.bindparam("at"))
_REVOKE = sa.delete(tokens).where(tokens.c.app == sa.bindparam("of_app"))


async def issue(tx: Transaction, app: str, org: str, tier: str, purpose: str, lifetime: timedelta) -> str:
    """A new token; dead ones are cleared away on the occasion.

    Raises StoreError `token-lifetime` for more than ten minutes or none at all.
    """
    if not timedelta(seconds=1) <= lifetime <= LONGEST:
        raise StoreError("a token lives from one second to ten minutes", code="token-lifetime", place="lifetime")
    token = _PREFIX + base64.urlsafe_b64encode(tx.store.random(32)).decode().rstrip("=")
    await tx.execute(_DROP, {"at": tx.now_text})
    await tx.execute(
        sa.insert(tokens).values(
            token_sha256=_digest(token),
            app=app,
            org=org,
            tier=tier,
            purpose=purpose,
            issued_at=tx.now_text,
            expires_at=stamp(tx.now + lifetime),
        )
    )
    return token


async def find(source: Reads | Transaction, token: str, now: datetime) -> TokenRow | None:
    """What a token says, while it lives."""
    row = await source.one(_FIND, {"token_sha256": _digest(token), "at": stamp(now)})
    if row is None:
        return None
    return TokenRow(
        app=row.app, org=row.org, tier=row.tier, purpose=row.purpose, issued_at=moment(row.issued_at), expires_at=moment(row.expires_at)
    )


async def revoke_app(tx: Transaction, app: str) -> int:
    """End all tokens of an app at once; how many there were."""
    return (await tx.execute(_REVOKE, {"of_app": app})).rowcount


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()

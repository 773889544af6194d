"""Access tokens: opaque, 256 bits, kept only as SHA-256, bound to app, key, datasets and purposes, short-lived.

Rules: an unknown and an expired token are the same answer; a token is shown once, when it is issued; ending an app or a client key ends
its tokens in the same transaction. A token without a bound key is a trial token, and only test mode makes and takes one. This room
must not decide which tier an app may have.
"""

import base64
import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from gateway.core.errors import StoreError
from gateway.store.reads import Reads
from gateway.store.store import Transaction, moment, stamp
from gateway.store.tables import tokens

LONGEST = timedelta(minutes=10)
PREFIX = "cxt_"
EVERY_DATASET = "*"
Access = tuple[tuple[str, str], ...]
"""(dataset, purpose) pairs."""
_encoder = msgspec.json.Encoder()
_access = msgspec.json.Decoder(Access)


class TokenRow(Struct, frozen=True, kw_only=True):
    """What a live token says of its holder."""

    app: str
    org: str
    tier: str
    jkt: str | None
    credential: str | None
    access: Access
    issued_at: datetime
    expires_at: datetime

    @property
    def purposes(self) -> tuple[str, ...]:
        """What it may be used for, each once."""
        return tuple(dict.fromkeys(purpose for _, purpose in self.access))


_FIND = sa.select(tokens).where(tokens.c.token_sha256 == sa.bindparam("token_sha256"), tokens.c.expires_at > sa.bindparam("at"))
_TRIALS = sa.select(tokens.c.tier, tokens.c.access).where(tokens.c.jkt.is_(None), tokens.c.expires_at > sa.bindparam("at"))
_DROP = sa.delete(tokens).where(tokens.c.expires_at <= sa.bindparam("at"))
_REVOKE = sa.delete(tokens).where(tokens.c.app == sa.bindparam("of_app"))
_REVOKE_ONE = sa.delete(tokens).where(tokens.c.token_sha256 == sa.bindparam("digest"), tokens.c.app == sa.bindparam("of_app"))
_REVOKE_KEY = sa.delete(tokens).where(tokens.c.credential == sa.bindparam("of_key"))


def draw(random: Callable[[int], bytes]) -> str:
    """A new token, 256 bits."""
    return PREFIX + base64.urlsafe_b64encode(random(32)).decode().rstrip("=")


def digest_of(token: str) -> str:
    """What is kept of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


async def keep(
    tx: Transaction,
    token: str,
    *,
    app: str,
    org: str,
    tier: str,
    access: Sequence[tuple[str, str]],
    lifetime: timedelta,
    jkt: str | None = None,
    credential: str | None = None,
) -> None:
    """Keep a token that is about to be shown; dead ones are cleared away on the occasion.

    Raises StoreError `token-lifetime` for more than ten minutes or none at all.
    """
    if not timedelta(seconds=1) <= lifetime <= LONGEST:
        raise StoreError("a token lives from one second to ten minutes", code="token-lifetime", place="lifetime")
    await tx.execute(_DROP, {"at": tx.now_text})
    await tx.execute(
        sa.insert(tokens).values(
            token_sha256=digest_of(token),
            app=app,
            org=org,
            tier=tier,
            jkt=jkt,
            credential=credential,
            access=_encoder.encode(access),
            issued_at=tx.now_text,
            expires_at=stamp(tx.now + lifetime),
        )
    )


async def find(source: Reads | Transaction, token: str, now: datetime) -> TokenRow | None:
    """What a token says, while it lives."""
    row = await source.one(_FIND, {"token_sha256": digest_of(token), "at": stamp(now)})
    if row is None:
        return None
    return TokenRow(
        app=row.app,
        org=row.org,
        tier=row.tier,
        jkt=row.jkt,
        credential=row.credential,
        access=_access.decode(row.access),
        issued_at=moment(row.issued_at),
        expires_at=moment(row.expires_at),
    )


async def trials(source: Reads | Transaction, now: datetime) -> list[tuple[str, Access]]:
    """Tier and access of every trial token that lives."""
    return [(row.tier, _access.decode(row.access)) for row in await source.all(_TRIALS, {"at": stamp(now)})]


async def revoke(tx: Transaction, token: str, app: str) -> int:
    """End one token of this app; how many there were."""
    return (await tx.execute(_REVOKE_ONE, {"digest": digest_of(token), "of_app": app})).rowcount


async def revoke_app(tx: Transaction, app: str) -> int:
    """End all tokens of an app at once; how many there were."""
    return (await tx.execute(_REVOKE, {"of_app": app})).rowcount


async def revoke_key(tx: Transaction, thumbprint: str) -> int:
    """End all tokens that were obtained with a client key; how many there were."""
    return (await tx.execute(_REVOKE_KEY, {"of_key": thumbprint})).rowcount

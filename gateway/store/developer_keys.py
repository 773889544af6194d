"""API keys of developers' apps (policy.md §14.1).

Rules: of a secret only its HMAC is here; what has ended stays, so that the trail can name it; when a key was last used is known by the
day. This room must not see a secret.
"""

from datetime import date, datetime
from typing import Any

import sqlalchemy as sa
from msgspec import Struct

from gateway.store.reads import Reads, Row
from gateway.store.store import Transaction, moment
from gateway.store.tables import api_keys


class DeveloperKey(Struct, frozen=True, kw_only=True):
    """An API key without its secret."""

    key_id: str
    app: str
    mode: str
    mac: bytes
    scopes: tuple[str, ...]
    networks: tuple[str, ...]
    expires_on: date
    state: str
    issued_at: datetime
    issued_by: str
    exposed_at: datetime | None
    last_used: date | None

    def live(self, day: date) -> bool:
        """Whether it counts on this legal day."""
        return self.state == "active" and day <= self.expires_on


_ONE = sa.select(api_keys).where(api_keys.c.key_id == sa.bindparam("which"))
_OF_APP = sa.select(api_keys).where(api_keys.c.app == sa.bindparam("which")).order_by(api_keys.c.issued_at, api_keys.c.key_id)


async def find(source: Reads | Transaction, key_id: str) -> DeveloperKey | None:
    """One key, whatever its state."""
    row = await source.one(_ONE, {"which": key_id})
    return None if row is None else _of(row)


async def of_app(source: Reads | Transaction, app: str) -> list[DeveloperKey]:
    """All keys of an app."""
    return [_of(row) for row in await source.all(_OF_APP, {"which": app})]


async def add(
    tx: Transaction,
    *,
    key_id: str,
    app: str,
    mode: str,
    mac: bytes,
    scopes: tuple[str, ...],
    networks: tuple[str, ...],
    expires_on: date,
    by: str,
) -> None:
    """Keep a new key."""
    await tx.execute(
        sa.insert(api_keys).values(
            key_id=key_id,
            app=app,
            mode=mode,
            mac=mac,
            scopes=" ".join(scopes),
            networks=" ".join(networks),
            expires_on=expires_on.isoformat(),
            state="active",
            issued_at=tx.now_text,
            issued_by=by,
        )
    )


async def end(tx: Transaction, key_id: str) -> None:
    """A key counts no more."""
    await _change(tx, key_id, state="revoked", ended_at=tx.now_text)


async def expose(tx: Transaction, key_id: str) -> None:
    """A key was seen where it must never stand."""
    await _change(tx, key_id, exposed_at=tx.now_text)


async def use(tx: Transaction, key_id: str, day: date) -> None:
    """The last day on which a key was used."""
    await _change(tx, key_id, last_used=day.isoformat())


async def _change(tx: Transaction, key_id: str, **values: Any) -> None:
    await tx.execute(sa.update(api_keys).where(api_keys.c.key_id == key_id).values(**values))


def _of(row: Row) -> DeveloperKey:
    return DeveloperKey(
        key_id=row.key_id,
        app=row.app,
        mode=row.mode,
        mac=bytes(row.mac),
        scopes=tuple(row.scopes.split()),
        networks=tuple(row.networks.split()),
        expires_on=date.fromisoformat(row.expires_on),
        state=row.state,
        issued_at=moment(row.issued_at),
        issued_by=row.issued_by,
        exposed_at=None if row.exposed_at is None else moment(row.exposed_at),
        last_used=None if row.last_used is None else date.fromisoformat(row.last_used),
    )

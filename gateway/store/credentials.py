"""What a credential says, as this process may believe it for some seconds: tokens and API keys with their app and its grants.

Rules: an entry is believed for `credential_cache_s` at most (five), so that suspension, revocation, a new grant and the end of an
agreement are effective within it in every process; that somebody is unknown is never remembered; the table is bounded. This room must
not decide what a credential may do.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from time import monotonic
from typing import Any, Final, Generic, TypeVar

from msgspec import Struct

from gateway.core.callers.caller import AGREED_TIERS
from gateway.core.callers.grants import Grant
from gateway.core.callers.proof import digest_of
from gateway.core.errors import ExchangeError
from gateway.core.exchange.agreements import Held
from gateway.store import apps, clients, developer_keys, held_agreements
from gateway.store import grants as grant_rows
from gateway.store.apps import App
from gateway.store.clients import TokenRow
from gateway.store.developer_keys import DeveloperKey
from gateway.store.reads import Reads
from gateway.store.store import Transaction

KEPT: Final = 10_000
T = TypeVar("T")


class HeldToken(Struct, frozen=True, kw_only=True):
    """A token, its app and what the app was granted; no app: a trial token of test mode."""

    token: TokenRow
    ath: str
    """What a proof beside the token says of it."""
    app: App | None
    grants: tuple[Grant, ...] = ()
    agreements: tuple[tuple[Held, ...], ...] = ()
    """Of a tier whose grants are worth what agreements say: every agreement with its versions."""
    memo: dict[Any, Any] = {}
    """What follows from all this under one policy on one day; it goes with the entry."""


class HeldKey(Struct, frozen=True, kw_only=True):
    """An API key and its app."""

    key: DeveloperKey
    app: App


class _Table(Generic[T]):
    """Entries with the time when they were read; the oldest go when it is full."""

    def __init__(self, life: float) -> None:
        self._life = life
        self._held: OrderedDict[str, tuple[float, T]] = OrderedDict()

    def lately(self, name: str) -> T | None:
        """What was read of it, if that may still be believed."""
        found = self._held.get(name)
        return found[1] if found is not None and monotonic() - found[0] < self._life else None

    async def read(self, name: str, load: Callable[[], Awaitable[T | None]]) -> T | None:
        """Read anew."""
        began = monotonic()  # before the reading, so that an entry is never believed longer than it is old
        value = await load()
        self._held.pop(name, None)
        if value is not None:
            self._held[name] = (began, value)
            if len(self._held) > KEPT:
                self._held.popitem(last=False)
        return value

    def clear(self) -> None:
        self._held.clear()


class Credentials:
    """The credentials that one process has lately seen."""

    def __init__(self, reads: Reads, life: float) -> None:
        self._reads = reads
        self._tokens: _Table[HeldToken] = _Table(life)
        self._keys: _Table[HeldKey] = _Table(life)

    def lately(self, token: str) -> HeldToken | None:
        """What was read lately of what stands behind a token; None: `token` reads it."""
        return self._tokens.lately(clients.digest_of(token))

    async def token(self, token: str, now: datetime) -> HeldToken | None:
        """What stands behind a token; whether its app is live and its time has come is looked at by whoever asks."""
        name = clients.digest_of(token)
        return self._tokens.lately(name) or await self._tokens.read(name, partial(self._token, token, now))

    async def _token(self, token: str, now: datetime) -> HeldToken | None:
        row = await clients.find(self._reads, token, now)
        if row is None:
            return None
        if row.jkt is None:
            return HeldToken(token=row, ath=digest_of(token), app=None)
        app = await apps.find(self._reads, row.app)
        if app is None:
            return None
        grants = await grant_rows.active(self._reads, row.app)
        agreements = await agreements_for(self._reads, app.tier)
        return HeldToken(token=row, ath=digest_of(token), app=app, grants=grants, agreements=agreements)

    async def api_key(self, key_id: str) -> HeldKey | None:
        """What stands behind the id of an API key; its secret is checked by whoever asks."""
        return self._keys.lately(key_id) or await self._keys.read(key_id, partial(self._key, key_id))

    async def _key(self, key_id: str) -> HeldKey | None:
        key = await developer_keys.find(self._reads, key_id)
        app = None if key is None else await apps.find(self._reads, key.app)
        return None if key is None or app is None else HeldKey(key=key, app=app)

    def forget(self) -> None:
        """Read everything anew: this process has just changed something."""
        self._tokens.clear()
        self._keys.clear()


async def agreements_for(source: Reads | Transaction, tier: str) -> tuple[tuple[Held, ...], ...]:
    """The agreements on which grants of a tier rest, each with its versions; none where stored bytes no longer verify."""
    if tier not in AGREED_TIERS:
        return ()
    try:
        held = await held_agreements.held_agreements(source)
    except ExchangeError:  # somebody changed them: nobody reads anything by them; the exchange itself says so aloud
        return ()
    return tuple(tuple(versions) for versions in held.values())

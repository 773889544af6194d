"""Ids that may be used once: of client assertions and DPoP proofs (policy.md §14.3, §14.4).

Rules: several ids are consumed together or not at all; an id is remembered until what bore it could no longer be believed; where it
stands is a setting: the memory of one process (which then refuses what is older than itself), the database, or Valkey. When a shared
place cannot be reached nothing is believed. Only digests are kept. This room must not know what an id belongs to.
"""

import hashlib
import itertools
from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple, Protocol

import sqlalchemy as sa

from gateway.core.errors import Unavailable
from gateway.store.store import Store, Transaction, stamp
from gateway.store.tables import used_ids

PREFIX: Final = "chengxin:used:"
PATIENCE_S: Final = 1.0
_USE: Final = sa.text("INSERT INTO used_ids (digest, until) VALUES (:digest, :until) ON CONFLICT (digest) DO NOTHING")
"""As both databases write it."""
SWEEP: Final = 1024
"""Uses between two clearings of what has ended."""

SCRIPT: Final = """
for i = 1, #KEYS do
  if redis.call('EXISTS', KEYS[i]) == 1 then return 0 end
end
for i = 1, #KEYS do redis.call('SET', KEYS[i], '1', 'PX', ARGV[i]) end
return 1
"""


class Use(NamedTuple):
    """One id: of which kind, whose, and until when it must be remembered."""

    kind: str
    owner: str
    jti: str
    until: datetime

    @property
    def digest(self) -> str:
        """What is kept; lengths in front, so that no two ids are the same bytes."""
        kind, owner, jti, _ = self
        return hashlib.sha256(f"{len(kind)}:{kind}{len(owner)}:{owner}{len(jti)}:{jti}".encode()).hexdigest()


class Replay(Protocol):
    """Where used ids stand."""

    since: datetime | None
    """What was made before is refused: an id could have been used before this process began."""

    async def use(self, ids: Sequence[Use], now: datetime) -> bool:
        """Consume these ids; False, and none of them is consumed, when one was used before. Raises Unavailable, StoreError."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


class MemoryReplay:
    """Used ids of one process."""

    def __init__(self, since: datetime) -> None:
        self.since: datetime | None = since.replace(microsecond=0)
        self._used: set[str] = set()
        self._ending: dict[int, list[str]] = {}
        """By the second in which they end, so that whatever is forgotten is found without a look at the rest."""
        self._count = itertools.count(1)

    async def use(self, ids: Sequence[Use], now: datetime) -> bool:
        """As the protocol says; nothing is awaited, so two requests cannot come between."""
        digests = {one.digest: one.until for one in ids}
        if len(digests) != len(ids) or not self._used.isdisjoint(digests):
            return False
        for digest, until in digests.items():
            self._used.add(digest)
            self._ending.setdefault(int(until.timestamp()), []).append(digest)
        if next(self._count) % SWEEP == 0:
            this = int(now.timestamp())
            for second in [each for each in self._ending if each < this]:
                self._used.difference_update(self._ending.pop(second))
        return True

    async def close(self) -> None:
        """Nothing is held."""


class DatabaseReplay:
    """Used ids in the database: every process sees them."""

    since: datetime | None = None

    def __init__(self, store: Store) -> None:
        self._store = store
        self._count = itertools.count(1)

    async def use(self, ids: Sequence[Use], now: datetime) -> bool:
        """As the protocol says, in a transaction of its own."""
        try:
            async with self._store.transaction() as tx:
                for one in ids:
                    done = await tx.execute(_USE, {"digest": one.digest, "until": stamp(one.until)})
                    if done.rowcount != 1:
                        raise _Used
                if next(self._count) % SWEEP == 1:
                    await self._clear(tx, now)
        except _Used:
            return False
        return True

    async def _clear(self, tx: Transaction, now: datetime) -> None:
        await tx.execute(sa.delete(used_ids).where(used_ids.c.until < stamp(now)))

    async def close(self) -> None:
        """The store is closed by whoever opened it."""


class _Used(Exception):
    """Rolls back a transaction in which an id was used before."""


class ValkeyReplay:
    """Used ids in Valkey or Redis: one atomic script."""

    since: datetime | None = None

    def __init__(self, url: str) -> None:
        import valkey.asyncio as valkey  # only where the setting names it
        from valkey.exceptions import ValkeyError

        self._failed = (ValkeyError, OSError, TimeoutError)
        self._client = valkey.Valkey.from_url(url, socket_timeout=PATIENCE_S, socket_connect_timeout=PATIENCE_S)
        self._script = self._client.register_script(SCRIPT)

    async def use(self, ids: Sequence[Use], now: datetime) -> bool:
        """As the protocol says; unreachable is no yes."""
        keys = [f"{PREFIX}{{used}}:{one.digest}" for one in ids]  # one hash slot, so that a cluster runs the script too
        life = [max(1, int((one.until - now).total_seconds() * 1000)) + 1000 for one in ids]
        try:
            return bool(await self._script(keys=keys, args=life))
        except self._failed as error:
            raise Unavailable(place="replay_url") from error

    async def close(self) -> None:
        """Give the connections back."""
        await self._client.aclose()


def open_replay(url: str, store: Store) -> Replay:
    """The place that `replay_url` names."""
    if url == "memory":
        return MemoryReplay(store.clock())
    return DatabaseReplay(store) if url == "database" else ValkeyReplay(url)

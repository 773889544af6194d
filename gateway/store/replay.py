"""Ids that may be used once: of client assertions and DPoP proofs (policy.md §14.3, §14.4).

Rules: several ids are consumed together or not at all; an id is remembered until what bore it could no longer be believed; where it
stands is a setting: the memory of one process (which then refuses what is older than itself), the database, or Valkey. When a shared
place cannot be reached nothing is believed. Only digests are kept. This room must not know what an id belongs to.
"""

import asyncio
import hashlib
import itertools
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Final, NamedTuple, Protocol

import sqlalchemy as sa
from msgspec import Struct

from gateway.core.errors import StoreError, Unavailable
from gateway.store.dialects import Members, among
from gateway.store.store import Store, Transaction, stamp
from gateway.store.tables import used_ids

PREFIX: Final = "chengxin:used:"
PATIENCE_S: Final = 1.0
SWEEP: Final = 1024
"""Uses between two clearings of what has ended."""

SCRIPT: Final = """
for i = 1, #KEYS do
  if redis.call('EXISTS', KEYS[i]) == 1 then return 0 end
end
for i = 1, #KEYS do redis.call('SET', KEYS[i], '1', 'PX', ARGV[i]) end
return 1
"""


class Use(Struct, frozen=True, gc=False):
    """One id: of which kind, whose, and until when it must be remembered."""

    kind: str
    owner: str
    jti: str
    until: datetime

    @property
    def digest(self) -> str:
        """What is kept; lengths in front, so that no two ids are the same bytes."""
        kind, owner, jti = self.kind, self.owner, self.jti
        return hashlib.sha256(f"{len(kind)}:{kind}{len(owner)}:{owner}{len(jti)}:{jti}".encode()).hexdigest()


class Replay(Protocol):
    """Where used ids stand."""

    since: datetime | None
    """What was made before is refused: an id could have been used before this process began."""

    async def use(self, ids: Sequence[Use], now: datetime) -> bool:
        """Consume these ids; False, and none of them is consumed, when one was used before. Raises Unavailable, StoreError."""
        ...

    def at_once(self, ids: Sequence[Use], now: datetime) -> bool | None:
        """As `use`, where nothing has to be waited for; None, and nothing is consumed, where it has."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


class MemoryReplay:
    """Used ids of one process."""

    def __init__(self, since: datetime) -> None:
        self.since: datetime | None = since.replace(microsecond=0)
        self._used: set[str] = set()
        self._ending: dict[datetime, list[str]] = {}
        """By the moment at which they end, which many proofs share, so that whatever is forgotten is found without a look at the rest."""
        self._count = itertools.count(1)

    async def use(self, ids: Sequence[Use], now: datetime) -> bool:
        """As the protocol says."""
        return self.at_once(ids, now)

    def at_once(self, ids: Sequence[Use], now: datetime) -> bool:
        """As the protocol says; nothing is awaited, so two requests cannot come between."""
        digests = {one.digest: one.until for one in ids}
        if len(digests) != len(ids) or not self._used.isdisjoint(digests):
            return False
        self._used.update(digests)
        for digest, until in digests.items():
            ending = self._ending.get(until)
            if ending is None:
                self._ending[until] = [digest]
            else:
                ending.append(digest)
        if next(self._count) % SWEEP == 0:
            for moment in [each for each in self._ending if each < now]:
                self._used.difference_update(self._ending.pop(moment))
        return True

    async def close(self) -> None:
        """Nothing is held."""


class _Wish(NamedTuple):
    """Who waits to consume ids together."""

    until: Mapping[str, datetime]
    """By digest."""
    done: "asyncio.Future[bool]"


_LIST: Final = {"sqlite": "json_each(:ids)", "postgresql": "unnest(:ids) AS ids (value)"}
"""Of a list of texts its rows, in the words of each database."""


class DatabaseReplay:
    """Used ids in the database: every process sees them.

    What comes while others are written down shares the next transaction with whoever else came. Whether an id is new, the database says
    as it takes it, so on PostgreSQL no process waits for the turn of the one writer.
    """

    since: datetime | None = None

    def __init__(self, store: Store) -> None:
        self._store = store
        self._insert = sa.text(  # an id is its digest of 64 characters and the end after it
            f"INSERT INTO used_ids (digest, until) SELECT substr(value, 1, 64), substr(value, 65) FROM {_LIST[store.dialect]} WHERE true "
            "ON CONFLICT (digest) DO NOTHING RETURNING digest"
        ).bindparams(sa.bindparam("ids", type_=Members()))
        self._waiting: list[_Wish] = []
        self._task: asyncio.Task[None] | None = None
        self._before_sweep = 0

    async def use(self, ids: Sequence[Use], now: datetime) -> bool:
        """As the protocol says."""
        until = {one.digest: one.until for one in ids}
        if len(until) != len(ids):
            return False
        wish = _Wish(until, asyncio.get_running_loop().create_future())
        self._waiting.append(wish)
        if self._task is None:
            self._task = asyncio.create_task(self._write())
        return await wish.done

    def at_once(self, ids: Sequence[Use], now: datetime) -> None:
        """Never: it is written down."""

    async def _write(self) -> None:
        wishes: list[_Wish] = []
        try:
            while wishes := self._apart():
                try:
                    async with self._store.aside() as tx:
                        taken = await self._take(tx, wishes)
                except Exception as error:  # noqa: BLE001 - whoever waits must hear of any failure: nobody is believed without an answer
                    _tell(wishes, error)
                else:
                    for wish in wishes:
                        if not wish.done.done():
                            wish.done.set_result(wish.until.keys() <= taken)
                await self._sweep(len(wishes))
        finally:
            self._task = None
            _tell([*wishes, *self._waiting], StoreError("used ids are closed", code="store-unavailable"))  # who still waits: cancelled
            self._waiting = []

    def _apart(self) -> list[_Wish]:
        """Those who wait, no longer waiting; but whoever names an id that somebody before names too is decided after that one.

        Who has gone away meanwhile was never answered, and uses nothing up.
        """
        named: set[str] = set()
        apart, after = list[_Wish](), list[_Wish]()
        for wish in self._waiting:
            if wish.done.done():
                continue
            (apart if named.isdisjoint(wish.until) else after).append(wish)
            named |= wish.until.keys()
        self._waiting = after
        return apart

    async def _take(self, tx: Transaction, wishes: Sequence[_Wish]) -> set[str]:
        """Consume what is new; of ids that are consumed together and are not all new, none."""
        # in one order, so that processes never wait for each other in a ring
        asked = sorted(digest + stamp(until) for wish in wishes for digest, until in wish.until.items())
        taken = {row.digest for row in await tx.all(self._insert, {"ids": asked})}
        back = {digest for wish in wishes if not wish.until.keys() <= taken for digest in wish.until.keys() & taken}
        if back:
            await tx.execute(_GIVE_BACK, {"digests": list(back)})
        return taken - back

    async def _sweep(self, used: int) -> None:
        """Now and then forget what has ended, as the one writer: nobody's proof stands or falls with it."""
        self._before_sweep -= used
        if self._before_sweep >= 0:
            return
        with suppress(StoreError):  # the next one tries again
            async with self._store.transaction() as tx:
                await tx.execute(_FORGET, {"now": tx.now_text})
            self._before_sweep = SWEEP

    async def close(self) -> None:
        """Wait for what is being written down; the store is closed by whoever opened it."""
        if self._task is not None:
            await asyncio.wait({self._task})


_GIVE_BACK: Final = sa.delete(used_ids).where(among(used_ids.c.digest, "digests"))
_FORGET: Final = sa.delete(used_ids).where(used_ids.c.until < sa.bindparam("now"))


def _tell(wishes: Sequence[_Wish], error: Exception) -> None:
    """Each an error of its own, with what it comes from."""
    known = error if isinstance(error, StoreError) else StoreError("a used id failed", code="store-error")
    for wish in wishes:
        if not wish.done.done():
            told = StoreError(str(known.detail), code=known.code, place=known.place, hint=known.hint)
            told.__cause__ = error
            wish.done.set_exception(told)


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

    def at_once(self, ids: Sequence[Use], now: datetime) -> None:
        """Never: another process says so."""

    async def close(self) -> None:
        """Give the connections back."""
        await self._client.aclose()


def open_replay(url: str, store: Store) -> Replay:
    """The place that `replay_url` names."""
    if url == "memory":
        return MemoryReplay(store.clock())
    return DatabaseReplay(store) if url == "database" else ValkeyReplay(url)

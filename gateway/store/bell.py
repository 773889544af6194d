"""Rings when a feed has gone on: one look for all who wait, whoever it was that committed (api.md §7.9).

Rules: somebody who waits holds nothing of the store; while nobody waits nobody looks; a look costs the same for one as for a
thousand. What was committed between reading and waiting is not missed: whoever waits says which state was read. This room must not know who
is told what.
"""

import asyncio
from contextlib import suppress
from typing import Final

import sqlalchemy as sa

from gateway.core.errors import StoreError
from gateway.store.reads import Reads, moment_of
from gateway.store.tables import counters

LOOK_S: Final = 0.25
"""How often it looks while somebody waits."""
_HEADS: Final = sa.select(counters.c.name, counters.c.value).where(counters.c.name.like("feed:%")).order_by(counters.c.name)

State = tuple[tuple[str, int], ...]
"""Where every feed stands."""


async def heads(reads: Reads) -> State:
    """Where every feed stands now."""
    moment = moment_of(reads)
    known: State | None = None if moment is None else moment.known.get("heads")
    if known is None:
        known = tuple((row.name, int(row.value)) for row in await reads.all(_HEADS))
        if moment is not None:
            moment.known["heads"] = known
    return known


class Bell:
    """Wakes whoever waits for the next change."""

    __slots__ = ("_looking", "_waiting")

    def __init__(self) -> None:
        self._waiting: dict[asyncio.Future[None], State] = {}
        self._looking: asyncio.Task[None] | None = None

    async def changed(self, reads: Reads, seen: State, seconds: float) -> None:
        """Returns as soon as a feed stands elsewhere than in `seen`, or after so many seconds."""
        rung: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[rung] = seen
        if self._looking is None:
            self._looking = asyncio.create_task(self._look(reads))
        with suppress(TimeoutError):
            try:
                await asyncio.wait_for(rung, seconds)
            finally:
                del self._waiting[rung]

    async def _look(self, reads: Reads) -> None:
        """Look as long as anybody waits; when the store cannot be read, everybody is woken and finds that out."""
        try:
            while self._waiting:
                state = await heads(reads)
                for rung, seen in self._waiting.items():
                    if state != seen and not rung.done():
                        rung.set_result(None)
                await asyncio.sleep(LOOK_S)
        except StoreError:
            for rung in self._waiting:
                if not rung.done():
                    rung.set_result(None)
        finally:
            self._looking = None

    async def close(self) -> None:
        """Look no more."""
        if self._looking is not None:
            self._looking.cancel()
            with suppress(asyncio.CancelledError):
                await self._looking

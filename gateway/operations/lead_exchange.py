"""Which of several server processes keeps the exchange: one of them, and another one when it dies or is cut off from the store.

Rules: the one that leads renews its lease every five seconds; whoever sees the same sign of life for fifteen, by its own stopwatch, takes
over. A leader that cannot renew for so long stops its work by itself before anybody can have begun. That nothing is sealed or delivered
twice does not rest on this: numbers and attempts are taken by compare-and-swap. This story must not know what the work is.
"""

import asyncio
import os
import secrets
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any, Final

from gateway.core.errors import GatewayError
from gateway.services import Services
from gateway.store import leases
from gateway.store.leases import Lease

NAME: Final = "exchange"
LEASE_S: Final = 15.0
BEAT_S: Final = 5.0
MARGIN_S: Final = 1.0
ANSWER_S: Final = 5.0
"""How long the store may take over one beat."""


class Candidate:
    """What one process knows of the lease."""

    __slots__ = ("_mine", "_renewed", "_seen", "_since", "_stopwatch", "holder")

    def __init__(self, stopwatch: Callable[[], float] = monotonic) -> None:
        self.holder = f"{os.getpid()}-{secrets.token_hex(12)}"
        self._stopwatch = stopwatch
        self._mine: Lease | None = None
        self._renewed = 0.0
        self._seen: Lease | None = None
        """Somebody else's last sign of life, and since when we see no other."""
        self._since = 0.0

    @property
    def leading(self) -> bool:
        """Whether this process may work: nobody else can have taken over yet."""
        return self._mine is not None and self._stopwatch() - self._renewed < LEASE_S - MARGIN_S

    async def beat(self, services: Services) -> None:
        """Renew the lease, or take one that is free or silent; to be called every `BEAT_S`.

        Raises StoreError.
        """
        began = self._stopwatch()
        stands = self._mine
        if stands is None:
            stands = await leases.lease(services.store.reads, NAME)
            if stands is not None and stands.holder != self.holder:
                if stands != self._seen:
                    self._seen, self._since = stands, began
                if began - self._since < LEASE_S:
                    return
        async with services.store.transaction() as tx:
            taken = await leases.take(tx, NAME, self.holder, seen=stands)
        self._mine, self._renewed, self._seen = taken, began, None

    async def give_up(self, services: Services) -> None:
        """Another process may begin at once.

        Raises StoreError.
        """
        if self._mine is not None:
            self._mine = None
            async with services.store.transaction() as tx:
                await leases.give_up(tx, NAME, self.holder)


Work = Callable[[], Coroutine[Any, Any, None]]


async def lead(services: Services, candidate: Candidate, work: Sequence[Work], told: Callable[[str], None]) -> None:
    """Do this work while this process is the one that leads, until cancelled; `told` hears what went wrong, by code."""
    running: list[asyncio.Task[None]] = []
    try:
        while True:
            try:
                async with asyncio.timeout(ANSWER_S):
                    await candidate.beat(services)
            except GatewayError as error:
                told(error.code)
            except TimeoutError:
                told("lease-late")
            if candidate.leading and not running:
                told("leading")
                running = [asyncio.create_task(each()) for each in work]
            elif not candidate.leading and running:
                told("lease-lost")
                running = await _ended(running)
            await asyncio.sleep(BEAT_S)
    finally:
        await _ended(running)
        with suppress(GatewayError):  # the store is gone: the others see that we are silent
            await candidate.give_up(services)


async def _ended(running: Sequence[asyncio.Task[None]]) -> list[asyncio.Task[None]]:
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    return []

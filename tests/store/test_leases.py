"""Leases: one process of all, another one after fifteen silent seconds of a stopwatch, whatever any clock says; on both databases."""

import asyncio
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from gateway.operations import lead_exchange
from gateway.operations.lead_exchange import LEASE_S, Candidate, lead
from gateway.settings import Clock
from gateway.store import leases
from gateway.store.store import Store


class Stopwatch:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def house(store: Store) -> Any:
    """As much of the services as leading needs."""
    return SimpleNamespace(store=store)


async def test_one_leads_and_another_follows(store: Store) -> None:
    """The second one waits while the first gives signs of life, and takes over when it has seen none for the time of a lease."""
    watch, services = Stopwatch(), house(store)
    first, second = Candidate(watch), Candidate(watch)
    for _ in range(8):
        await first.beat(services)
        await second.beat(services)
        assert (first.leading, second.leading) == (True, False)
        watch.seconds += 5
    await second.beat(services)
    watch.seconds += LEASE_S - 5.5
    await second.beat(services)
    assert (first.leading, second.leading) == (False, False), "the first has stopped by itself, the second does not know yet"
    watch.seconds += 1
    await second.beat(services)
    assert second.leading
    await first.beat(services)
    assert not first.leading, "it comes back and sees that it was followed"


async def test_a_clock_that_jumps_changes_nothing(store: Store) -> None:
    """Set a year ahead or back between two beats, nobody takes over early and nobody is kept out."""
    watch, services = Stopwatch(), house(store)
    first, second = Candidate(watch), Candidate(watch)
    start = datetime(2026, 6, 2, tzinfo=UTC)
    for days in (0, 400, -400, 0):
        store.clock = Clock(fixed=start + timedelta(days=days))
        await first.beat(services)
        await second.beat(services)
        assert (first.leading, second.leading) == (True, False)
        watch.seconds += 5
    store.clock = Clock(fixed=start - timedelta(days=400))
    await second.beat(services)
    watch.seconds += LEASE_S
    await second.beat(services)
    assert second.leading


async def test_two_take_over_at_once_and_one_gets_it(store: Store) -> None:
    """Of several that see the same silence one takes the lease; given up, it is free at once."""
    watch, services = Stopwatch(), house(store)
    gone, *others = (Candidate(watch) for _ in range(4))
    await gone.beat(services)
    for one in others:
        await one.beat(services)
    watch.seconds += LEASE_S
    await asyncio.gather(*(one.beat(services) for one in others))
    leader = [one for one in others if one.leading]
    assert len(leader) == 1
    await leader[0].give_up(services)
    assert await leases.lease(store.reads, lead_exchange.NAME) is None
    rest = [one for one in others if one is not leader[0]]
    await rest[0].beat(services)
    assert rest[0].leading


async def test_work_ends_with_the_lease(store: Store, monkeypatch) -> None:
    """What a leader does is cancelled when somebody else has its lease, and begins again when it is free."""
    monkeypatch.setattr(lead_exchange, "BEAT_S", 0.02)
    services, said, begun, ended = house(store), list[str](), asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.sleep(3600)
        finally:
            ended.set()

    task = asyncio.create_task(lead(services, Candidate(), [work], said.append))
    await asyncio.wait_for(begun.wait(), 10)
    async with store.transaction() as tx:
        seen = await leases.lease(tx, lead_exchange.NAME)
        assert await leases.take(tx, lead_exchange.NAME, "somebody", seen=seen) is not None
    begun.clear()
    await asyncio.wait_for(ended.wait(), 10)
    assert not begun.is_set()
    async with store.transaction() as tx:
        await leases.give_up(tx, lead_exchange.NAME, "somebody")
    await asyncio.wait_for(begun.wait(), 10)
    ended.clear()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert ended.is_set()
    assert await leases.lease(store.reads, lead_exchange.NAME) is None, "who ends in order keeps nobody waiting"
    assert said == ["leading", "lease-lost", "leading"]

"""Errands that do not wait for each other: who takes long is left at it, and is heard when it is back."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

import pytest

from gateway.core.errors import StoreError
from gateway.operations.apart import Apart

SHORT = timedelta(milliseconds=20)


class Errands:
    """A slow errand that waits to be told, a quick one, and how often each was begun."""

    def __init__(self) -> None:
        self.may_end = asyncio.Event()
        self.begun: list[str] = []
        self.cut_off = False

    async def slow(self) -> dict[str, str]:
        self.begun.append("slow")
        try:
            await self.may_end.wait()
        except asyncio.CancelledError:
            self.cut_off = True
            raise
        return {"slow": "LATE"}

    async def quick(self) -> dict[str, str]:
        self.begun.append("quick")
        return {"quick": "SOON"}

    def both(self) -> dict[str, Callable[[], Coroutine[Any, Any, dict[str, str]]]]:
        return {"slow": self.slow, "quick": self.quick}


async def test_who_does_not_come_back_delays_nobody() -> None:
    """Rounds go on without it, it is not begun again meanwhile, and the round after its end tells what became of it."""
    errands, apart = Errands(), Apart(SHORT)
    for _ in range(3):
        assert await apart.round(errands.both()) == {"quick": "SOON"}
    assert (errands.begun.count("slow"), errands.begun.count("quick")) == (1, 3)
    assert apart.under_way == {"slow"}
    errands.may_end.set()
    await asyncio.sleep(0)
    assert await apart.round({}) == {"slow": "LATE"}
    assert await apart.round(errands.both()) == {"slow": "LATE", "quick": "SOON"}
    assert errands.begun.count("slow") == 2


async def test_without_patience_all_are_waited_for() -> None:
    """A person who asks for a round hears of everybody."""
    errands, apart = Errands(), Apart()
    waiting = asyncio.create_task(apart.round(errands.both()))
    await asyncio.sleep(0.02)
    assert not waiting.done()
    errands.may_end.set()
    assert await waiting == {"slow": "LATE", "quick": "SOON"}


async def test_what_one_raises_is_raised_when_the_others_are_back() -> None:
    """A store that fails ends the round, not the errands beside it; a guest that gives up its own task is a code."""
    errands, apart = Errands(), Apart(SHORT)

    async def fails() -> dict[str, str]:
        raise StoreError("gone", code="store-gone")

    async def gives_up() -> dict[str, str]:
        raise asyncio.CancelledError

    with pytest.raises(StoreError):
        await apart.round(errands.both() | {"fails": fails})
    assert (errands.begun, apart.under_way) == (["slow", "quick"], {"slow"})
    assert await apart.round({"gives up": gives_up}) == {"gives up": "ADAPTER_FAILED"}
    await apart.end()


async def test_a_guest_that_does_not_let_go_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that goes on when it is told to end keeps neither the process from its end nor another from leading."""
    monkeypatch.setattr("gateway.operations.apart.LETTING_GO", SHORT)
    may_end, told = asyncio.Event(), asyncio.Event()

    async def stubborn() -> dict[str, str]:
        while not may_end.is_set():
            try:
                await may_end.wait()
            except asyncio.CancelledError:
                told.set()
        return {}

    apart = Apart(SHORT)
    await apart.round({"stubborn": stubborn})
    await apart.end()
    assert (told.is_set(), apart.under_way) == (True, frozenset())
    may_end.set()


async def test_the_end_leaves_nothing_under_way() -> None:
    """A process that does not lead any more lets go of everybody."""
    errands, apart = Errands(), Apart(SHORT)
    await apart.round(errands.both())
    await apart.end()
    assert (errands.cut_off, apart.under_way) == (True, frozenset())

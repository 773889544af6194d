"""Short work for many requests, one piece right after the other.

Rules: checking a signature fills the processor's caches with tables of its own. Between two other pieces of an answer it finds them gone,
and takes twice its time; so the signatures of all requests that are there in one turn of the loop are checked in a row. Whatever is done
here is short, and awaits nothing. This file must not know what is done.
"""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")
MOST = 64
"""Pieces in a row; a signature takes about a tenth of a millisecond."""


class InARow:
    """What is to be done in one turn of a loop."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: list[tuple[Callable[[], Any], asyncio.Future[Any]]] = []

    async def do(self, work: Callable[[], T]) -> T:
        """What it gives, after all else that stands in this turn of the loop; raises what it raises."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        self._waiting.append((work, done))
        if len(self._waiting) == 1:
            loop.call_soon(self._do_all)
        return await done

    def _do_all(self) -> None:
        now, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
        if self._waiting:  # what else the loop has to do comes between
            asyncio.get_running_loop().call_soon(self._do_all)
        for work, done in now:
            if done.done():  # whoever asked has gone away
                continue
            try:
                found = work()
            except StopIteration as error:  # no future takes it
                done.set_exception(RuntimeError(repr(error)))
            except Exception as error:  # noqa: BLE001 - it is whoever asked that hears of it
                done.set_exception(error)
            else:
                done.set_result(found)

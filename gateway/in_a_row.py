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


class _Piece:
    __slots__ = ("error", "found", "over", "work")

    def __init__(self, work: Callable[[], Any]) -> None:
        self.work = work
        self.over = False
        self.found: Any = None
        self.error: Exception | None = None


class InARow:
    """What is to be done in one turn of a loop."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: list[_Piece] = []

    async def do(self, work: Callable[[], T]) -> T:
        """What it gives, after all else that stands in this turn of the loop; raises what it raises."""
        piece = _Piece(work)
        self._waiting.append(piece)
        if len(self._waiting) == 1:
            asyncio.get_running_loop().call_soon(self._do_all)
        while not piece.over:  # noqa: ASYNC110 - the loop keeps its order: its next turn has done the row before it comes round to us
            await asyncio.sleep(0)
        if piece.error is not None:
            raise piece.error
        found: T = piece.found
        return found

    def _do_all(self) -> None:
        now, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
        if self._waiting:  # what else the loop has to do comes between
            asyncio.get_running_loop().call_soon(self._do_all)
        for piece in now:
            piece.over = True
            try:
                piece.found = piece.work()
            except StopIteration as error:  # no coroutine may raise it
                piece.error = RuntimeError(repr(error))
            except Exception as error:  # noqa: BLE001 - it is whoever asked that hears of it
                piece.error = error

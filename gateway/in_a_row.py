"""Short work for many requests, one piece right after the other.

Rules: checking a signature fills the processor's caches with tables of its own. Between two other pieces of an answer it finds them gone,
and takes twice its time; and so it is with any code that is come to once a request. So what the requests ask for that are there in one
turn of the loop is done in a row: the first step of all of them, then the second of all. Whatever is done here is short, and awaits
nothing. This file must not know what is done.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

MOST: Final = 64
"""Pieces in a row; a signature takes about a tenth of a millisecond."""


class _Piece:
    __slots__ = ("error", "found", "over", "steps")

    def __init__(self, given: Any, steps: Sequence[Callable[[Any], Any]]) -> None:
        self.steps = steps
        self.over = False
        self.found = given
        self.error: Exception | None = None


class InARow:
    """What is to be done in one turn of a loop."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: list[_Piece] = []

    async def do(self, given: Any, *steps: Callable[[Any], Any]) -> Any:
        """What the steps make of what is given, each of what the one before it made, after all else that stands in this turn of the loop.

        Raises what a step raises; then those after it are not taken.
        """
        piece = _Piece(given, steps)
        self._waiting.append(piece)
        if len(self._waiting) == 1:
            asyncio.get_running_loop().call_soon(self._do_all)
        while not piece.over:  # noqa: ASYNC110 - the loop keeps its order: its next turn has done the row before it comes round to us
            await asyncio.sleep(0)
        if piece.error is not None:
            raise piece.error
        return piece.found

    def _do_all(self) -> None:
        now, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
        if self._waiting:  # what else the loop has to do comes between
            asyncio.get_running_loop().call_soon(self._do_all)
        for piece in now:
            piece.over = True
        for number in range(max(len(piece.steps) for piece in now)):
            for piece in now:
                if piece.error is not None or number >= len(piece.steps):
                    continue
                try:
                    piece.found = piece.steps[number](piece.found)
                except StopIteration as error:  # no coroutine may raise it
                    piece.error = RuntimeError(repr(error))
                except Exception as error:  # noqa: BLE001 - it is whoever asked that hears of it
                    piece.error = error

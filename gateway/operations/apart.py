"""Each line and each folder is reached by itself: who takes long delays nobody else, neither in this round nor in those that follow.

Rules: what is under way under a name is not begun again before it has come back; a round leaves what is not back after its patience, and a
later one tells how it ended. A command waits for all, side by side. How long an errand may take at all is for the story that runs it to
bound. This room must not know what the errands are.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from datetime import timedelta
from typing import Any, Final, TypeVar

from gateway.core.errors import ExchangeError

T = TypeVar("T")

Troubles = dict[str, str]
"""Stream, line, or partner and agreement → code of what did not go well."""
Errand = Callable[[], Coroutine[Any, Any, Troubles]]

PATIENCE: Final = timedelta(seconds=10)
"""How long a server's round waits for those that it has begun."""
LETTING_GO: Final = timedelta(seconds=5)
"""How long the end waits for them: less than a lease lasts."""


async def side_by_side(errands: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """What they come to, in their order, although all are under way at once.

    Raises what the first of several has raised, when the others have been heard; ExchangeError for one that a guest has given up.
    """
    done = await asyncio.gather(*errands, return_exceptions=True)
    for each in done:
        if isinstance(each, asyncio.CancelledError):  # not by us: a guest has given up the task that called it
            raise ExchangeError("an adapter has given up what it was asked for", code="ADAPTER_FAILED")
    failed = next((each for each in done if isinstance(each, BaseException)), None)
    if failed is not None:
        raise failed
    return [each for each in done if not isinstance(each, BaseException)]


class Apart:
    """Errands by name, as one process runs them; without `patience` a round waits until all that it has begun are back."""

    __slots__ = ("_patience", "_running")

    def __init__(self, patience: timedelta | None = None) -> None:
        self._patience = patience
        self._running: dict[str, asyncio.Task[Troubles]] = {}

    @property
    def under_way(self) -> frozenset[str]:
        """Names of what is not back."""
        return frozenset(self._running)

    async def round(self, errands: Mapping[str, Errand]) -> Troubles:
        """Begin what is not under way, wait for it, and tell what came back now, whenever it was begun.

        Raises what the first of several has raised, when the others have been heard.
        """
        begun = {name: asyncio.create_task(errand(), name=name) for name, errand in errands.items() if name not in self._running}
        self._running |= begun
        if begun:
            await asyncio.wait(begun.values(), timeout=None if self._patience is None else self._patience.total_seconds())
        back = [self._running.pop(name) for name, task in list(self._running.items()) if task.done()]
        troubles: Troubles = {}
        failed: BaseException | None = None
        for task in back:
            if task.cancelled():  # not by us: a guest has given up the task that called it
                troubles[task.get_name()] = "ADAPTER_FAILED"
            elif (error := task.exception()) is not None:
                failed = failed or error
            else:
                troubles |= task.result()
        if failed is not None:
            raise failed
        return troubles

    async def end(self) -> None:
        """Leave off everything that is under way; a guest that does not let go is left behind."""
        running = list(self._running.values())
        self._running.clear()
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running, timeout=LETTING_GO.total_seconds())

"""Server-sent events: an answer that goes on until its reader leaves, its hour is over, or it falls behind (WHATWG HTML, api.md §7.9).

Rules: what happened and was not read waits here, a thousand events at most; a reader that is further behind is cut off, and loses nothing,
for it comes back where it stood. What it is only caught up with waits until it reads. A stream holds one of its caller's two
places, and pays for each half minute while it stands. This room must not know what an event says.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import TYPE_CHECKING, Final, cast

from gateway.operations.follow_feed import Event, Heard
from gateway.web.asgi import Receive, Scope, Send
from gateway.web.limits import Charge, Limiter
from gateway.web.negotiation import EVENTS
from gateway.web.replies import NO_STORE, Header, Reply

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

UNREAD: Final = 1000
"""Events that may wait for their reader."""
RETRY_MS: Final = 5000
_BEAT: Final = b": \n"
"""A comment; without an empty line, at which some clients would see an event."""


class FellBehindError(Exception):
    """A reader that does not read what happens; it names nothing."""


def frame(event: Event) -> bytes:
    """One event as it is written."""
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (event.id, event.name.encode(), event.data)


class EventStream(Reply):
    """One open stream as an ASGI application."""

    __slots__ = ("_charge", "_heard", "_limits")

    def __init__(self, heard: AsyncIterator[Heard], *, limits: Limiter, charge: Charge, headers: list[Header]) -> None:
        super().__init__(
            200,
            [(b"content-type", EVENTS.encode()), NO_STORE, (b"x-accel-buffering", b"no"), *headers],
            chunks=cast("AsyncIterator[bytes]", heard),
        )
        self._heard = cast("AsyncGenerator[Heard, None]", heard)
        self._limits = limits
        self._charge = charge

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events as they come.

        Raises Refusal `too-many-streams` before the first byte, FellBehindError, or whatever ends the caller's right.
        """
        if scope["state"].get("head"):
            await super().__call__(scope, receive, send)
            return
        async with self._limits.place(self._charge, "stream"):
            waiting: asyncio.Queue[bytes] = asyncio.Queue(UNREAD)
            tasks = [
                asyncio.create_task(self._listen(waiting)),
                asyncio.create_task(self._speak(waiting, send)),
                asyncio.create_task(self._gone(receive)),
                asyncio.create_task(self._pay()),
            ]
            try:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                if tasks[0] in done and tasks[0].exception() is None and not tasks[2].done():  # its hour is over
                    await waiting.join()
                    await send({"type": "http.response.body", "body": b""})
                for task in done:
                    task.result()
            finally:
                for task in tasks:
                    task.cancel()
                for task in tasks:
                    with suppress(asyncio.CancelledError, Exception):
                        await task
                await self._heard.aclose()

    async def _listen(self, waiting: asyncio.Queue[bytes]) -> None:
        await waiting.put(b"retry: %d\n" % RETRY_MS)
        async for heard in self._heard:
            frames = [frame(event) for event in heard.events] or [_BEAT]
            for each in frames:
                if not heard.live:
                    await waiting.put(each)
                elif waiting.full():
                    raise FellBehindError
                else:
                    waiting.put_nowait(each)

    async def _speak(self, waiting: asyncio.Queue[bytes], send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        while True:
            frames = [await waiting.get()]
            while not waiting.empty() and len(frames) < 100:
                frames.append(waiting.get_nowait())
            await send({"type": "http.response.body", "body": b"".join(frames), "more_body": True})
            for _ in frames:
                waiting.task_done()

    async def _pay(self) -> None:
        while True:
            await asyncio.sleep(self._charge.costs.stream_s)
            await self._limits.stood(self._charge)

    @staticmethod
    async def _gone(receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

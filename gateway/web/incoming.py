"""The body of a request on its way in: how long it is waited for, and what becomes of what nobody read.

Rules: whoever holds the next piece back for too long has gone. An answer that leaves before the body was read whole is lost on most
senders, who see their connection reset: so what little is left is read and forgotten first, and where more is left, the answer says that
its connection ends. This room must not look at what is in a body.
"""

import asyncio
from typing import Final

from gateway.web.asgi import Message, Receive, Scope
from gateway.web.negotiation import header

WAIT_S: Final = 30.0
"""So long the next piece of a body may take, as the server waits for a head."""
MOST_FORGOTTEN: Final = 4 * 2**20
"""Bytes of a body that are read for nothing, so that its sender hears the answer."""
FORGETTING_S: Final = 2.0
"""And how long that may take."""


OF_BODIES: Final = frozenset({b"content-length", b"transfer-encoding"})
"""A request without one of these header fields bears no body."""


class Incoming:
    """`receive` of one request, which knows whether all of the body has come."""

    __slots__ = ("_begun", "_ended", "_receive", "_whole")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._begun = self._whole = False
        self._ended: Message | None = None

    async def __call__(self) -> Message:
        """The next message; of a sender who holds the next piece back for too long, that he has gone."""
        if self._ended is not None:
            return self._ended
        self._begun = True
        if self._whole:  # what is waited for now is that the caller goes, and that may take its time
            return await self._receive()
        try:
            async with asyncio.timeout(WAIT_S):
                message = await self._receive()
        except TimeoutError:
            message = {"type": "http.disconnect"}
        if message["type"] == "http.disconnect":
            self._ended = message
        self._whole = message["type"] == "http.request" and not message.get("more_body", False)
        return message

    async def leaves_nothing(self, scope: Scope) -> bool:
        """Whether the connection is free for another request; what little is left of a body is read now.

        Nobody who waits to be asked for a body is asked for it only to forget it.
        """
        fields = scope["headers"]
        bears_one = header(fields, b"content-length") not in (b"", b"0") or header(fields, b"transfer-encoding")
        if self._whole or not bears_one or scope["http_version"] >= "2":
            return True
        if self._begun or not header(fields, b"expect"):
            forgotten = 0
            try:
                async with asyncio.timeout(FORGETTING_S):
                    while forgotten < MOST_FORGOTTEN and (message := await self()).get("more_body", False):
                        forgotten += len(message.get("body", b""))
            except TimeoutError:
                pass
        return self._whole


LAST: Final = (b"connection", b"close")
"""Said with an answer whose request has not come whole."""

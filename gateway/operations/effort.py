"""How much one answer makes the gateway look at: counted, paid for, and ended in time.

Rules: a condition or order that only the documents decide looks at many rows for few; every step of such a walk says so here, lets other
requests go on between, and ends with the time that one page has. An export has no such end: it is paid by the row, and its reader may
leave. This room must not decide what a row costs.
"""

import asyncio
from time import monotonic
from typing import Final

from gateway.core.errors import QueryTimeout

BREATH: Final = 200
"""So many rows are looked at without a break."""
MADE_ANEW: Final = 10
"""As many rows as a subject counts whose document has to be made for it."""


class Effort:
    """Of one answer: the rows it looked at, and until when it may go on."""

    __slots__ = ("_since", "_steps", "_until", "rows")

    def __init__(self, seconds: float) -> None:
        self.rows = 0
        self._since = self._steps = 0
        self._until: float | None = monotonic() + seconds

    def take_your_time(self) -> None:
        """For exports: no end but the reader's patience."""
        self._until = None

    async def looked_at(self, rows: int) -> None:
        """A step is done.

        Raises QueryTimeout when the time of the page is over; a page of one step is given out, however slow it was.
        """
        self.rows += rows
        self._since += rows
        self._steps += 1
        if self._since >= BREATH:
            self._since = 0
            await asyncio.sleep(0)
        if self._steps > 1 and self._until is not None and monotonic() > self._until:
            raise QueryTimeout

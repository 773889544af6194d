"""The access log: one JSON line an answer, kept as long as a network log is kept (policy.md §15).

Rules: a line holds time, method, route template, status, size, request id and a class of duration: no query, no path value, no address, no
header field, nothing of a caller. What no route matches is one route, and a method that is none of HTTP's is `OTHER`, for both are texts
that a client chose. A request only leaves a note in memory; twenty times a second the loop makes lines of a portion (on a thread, a whole
second's notes held the interpreter's lock from the answers for several of its 5 ms), and once a second a thread writes them to the file of
their legal day (several processes append to one) or to standard output. What does not fit into memory is counted, not kept; the count
is a line itself. This room must not read a request.
"""

import asyncio
import os
import sys
from bisect import bisect_left
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, date, datetime
from time import monotonic, time
from typing import Final

import msgspec

from gateway.core.records.periods import legal_day
from gateway.operations.keep_audit import network_log_over
from gateway.settings import Settings, clock_of
from gateway.web.telemetry import METHODS

MOST: Final = 100_000
"""Lines that wait in memory at most: some seconds of the public lane."""
TURN_S: Final = 0.05
FLUSH_S: Final = 1.0
PORTION: Final = 2000
"""Notes that one turn makes lines of: some two milliseconds."""
CLASSES: Final = (0.01, 0.1, 1.0, 10.0)
"""Upper ends of the classes of duration, seconds; the last class has none."""
_NAMES: Final = (b"10ms", b"100ms", b"1s", b"10s", b"more")

_LINE: Final = b'{"time":"%b",%b,"size":%d,"request_id":"%b","within":"%b"}'

Noted = tuple[float, str, str, int, int, bytes, float]


class AccessLog:
    """The access log of one process."""

    def __init__(self, settings: Settings) -> None:
        self.folder = settings.data_path / "logs"
        self.dropped = 0
        self.failing: bool | None = None
        """Whether what was last to be written could not be; None before."""
        self._stdout = settings.access_log == "stdout"
        self._ahead = clock_of(settings)().timestamp() - time()
        self._noted: list[Noted] = []
        self._made: dict[str, list[bytes]] = {}
        """Lines by legal day, not written yet."""
        self._waiting = 0
        """How many notes and lines there are in memory."""

    def note(self, method: str, route: str, status: int, size: int, request_id: bytes, seconds: float) -> None:
        """An answer was given."""
        if self._waiting < MOST:
            self._waiting += 1
            self._noted.append((time(), method, route, status, size, request_id, seconds))
        else:
            self.dropped += 1

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Written while this lasts, and to the last line when it ends."""
        task = asyncio.create_task(self._keep())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            while self._noted:
                self._make()
            self._write(self._taken())

    def drop_old(self, retention: Mapping[str, str], today: date) -> int:
        """Delete the files of days whose time is over. How many."""
        gone = 0
        for path in self.folder.glob("access-*.ndjson"):
            with suppress(ValueError, OSError):
                if network_log_over(date.fromisoformat(path.stem.removeprefix("access-")), retention, today):
                    path.unlink()
                    gone += 1
        return gone

    async def _keep(self) -> None:
        written = monotonic()
        while True:
            await asyncio.sleep(TURN_S)
            if self._noted:
                self._make()
            if monotonic() - written >= FLUSH_S:
                written = monotonic()
                if self._made or self.dropped:
                    await asyncio.shield(asyncio.to_thread(self._write, self._taken()))

    def _taken(self) -> dict[str, list[bytes]]:
        """The lines that are made, no longer ours; the last says how many are missing."""
        made, self._made = self._made, {}
        self._waiting = len(self._noted)
        if self.dropped:
            said, day = _told(time() + self._ahead)
            made.setdefault(day, []).append(b'{"time":"%b","dropped":%d}' % (said, self.dropped))
            self.dropped = 0
        return made

    def _write(self, made: Mapping[str, Sequence[bytes]]) -> None:
        if not made:
            return
        try:
            for day, text in made.items():
                self._put(day, b"\n".join([*text, b""]))
            self.failing = False
        except (OSError, ValueError):  # a full disk, a closed output: an alarm tells, and answers go on
            self.failing = True

    def _make(self) -> None:
        """Lines of the oldest notes."""
        noted, self._noted = self._noted[:PORTION], self._noted[PORTION:]
        second, said, text = -1, b"", list[bytes]()
        heads: dict[tuple[str, str, int], bytes] = {}
        for at, method, route, status, size, request_id, seconds in noted:
            if int(at) != second:
                second = int(at)
                said, day = _told(second + self._ahead)
                text = self._made.setdefault(day, [])
            head = heads.get((method, route, status))
            if head is None:
                head = heads[method, route, status] = _head(method, route, status)
            text.append(_LINE % (said, head, size, request_id, _NAMES[bisect_left(CLASSES, seconds)]))

    def _put(self, day: str, data: bytes) -> None:
        if self._stdout:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
            return
        self.folder.mkdir(mode=0o700, exist_ok=True)
        file = os.open(self.folder / f"access-{day}.ndjson", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            left = memoryview(data)
            while left:
                left = left[os.write(file, left) :]
        finally:
            os.close(file)


def _head(method: str, route: str, status: int) -> bytes:
    """What many lines of a second have in common."""
    said = {"method": method if method in METHODS else "OTHER", "route": route, "status": status}
    return msgspec.json.encode(said)[1:-1]


def _told(at: float) -> tuple[bytes, str]:
    """A second as its line says it, and the legal day whose file it stands in."""
    moment = datetime.fromtimestamp(int(at), UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ").encode(), legal_day(moment).isoformat()


Noting = Callable[[str, str, int, int, bytes, float], None]
"""`AccessLog.note`: method, route template, status, size, request id, seconds."""

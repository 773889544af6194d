"""What a check watches while it runs: connections to elsewhere, words that must not be told, and calls that do not end."""

import asyncio
import io
import logging
import sys
from collections.abc import Callable, Collection, Coroutine, Generator, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from ipaddress import ip_address
from pathlib import Path
from time import monotonic
from typing import Any

from gateway.adapter_contract import Secret

PATIENCE_S = 1.0
"""How long a cancelled call may take to end."""
BEGUN_S = 0.05
"""How long a call has to get to where it waits, before it is cancelled."""

_SHORT = 3
"""Characters of a text that may stand anywhere by chance."""

_outside: list[str] | None = None
_hooked = False


@contextmanager
def at_home() -> Iterator[list[str]]:
    """No connection beyond this machine while it lasts; gives those that were tried."""
    global _outside, _hooked  # noqa: PLW0603  # an audit hook is the process's own and cannot be taken away again
    if not _hooked:
        sys.addaudithook(_heard)
        _hooked = True
    before, tried = _outside, list[str]()
    _outside = tried
    try:
        yield tried
    finally:
        _outside = before


def _heard(event: str, arguments: tuple[Any, ...]) -> None:
    if _outside is None or event not in ("socket.connect", "socket.sendto", "socket.getaddrinfo"):
        return
    address = arguments[0] if event == "socket.getaddrinfo" else arguments[1]
    host = address[0] if isinstance(address, tuple) else address if event == "socket.getaddrinfo" else None
    if isinstance(host, bytes):
        host = host.decode("latin-1")
    if isinstance(host, str) and host not in ("", "localhost") and not _loopback(host):
        _outside.append(host)
        raise OSError(f"{host} is not this machine")


def _loopback(host: str) -> bool:
    try:
        return ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


class _Listening(logging.Handler):
    """Everything that is logged, as text."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []
        self.setFormatter(logging.Formatter("%(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one line, with the traceback that it may carry."""
        self.lines.append(self.format(record))


def error_of(story: Callable[[], object]) -> BaseException | None:
    """What a story raises, if anything."""
    try:
        story()
    except Exception as error:  # noqa: BLE001  # which error it is, is what the check asks
        return error
    return None


def told(story: Callable[[], object], adapter: object, values: Collection[str]) -> list[str]:
    """Those of the values that stand in logs, in what is printed, in errors (their causes too) or in the adapter's repr."""
    listening, root, printed = _Listening(), logging.getLogger(), io.StringIO()
    level = root.level
    root.addHandler(listening)
    root.setLevel(logging.DEBUG)
    try:
        with redirect_stdout(printed), redirect_stderr(printed):
            error = error_of(story)
    finally:
        root.removeHandler(listening)
        root.setLevel(level)
    return [value for value in values if value in "\n".join([*listening.lines, printed.getvalue(), repr(adapter), words_of(error)])]


@contextmanager
def revealing() -> Iterator[set[str]]:
    """The secrets that are revealed while it lasts: whoever asked for one may tell it."""
    found: set[str] = set()
    plain = Secret.reveal

    def reveal(secret: Secret) -> str:
        value = plain(secret)
        if len(value) > _SHORT:
            found.add(value)
        return value

    Secret.reveal = reveal  # type: ignore[method-assign, assignment]  # for as long as a check lasts
    try:
        yield found
    finally:
        Secret.reveal = plain  # type: ignore[method-assign]  # as above


def held_open() -> int | None:
    """How many files and connections this process has; None where the system does not say."""
    for folder in ("/proc/self/fd", "/dev/fd"):
        if Path(folder).is_dir():
            return sum(1 for _ in Path(folder).iterdir())
    return None


def words_of(error: BaseException | None) -> str:
    """The words of an error and of those that caused it."""
    found: list[str] = []
    while error is not None and len(found) < 40:
        found += [str(error), *(str(each) for each in vars(error).values())]
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\n".join(found)


def cancelled_within(story: Callable[[], Coroutine[Any, Any, object]], after: Sequence[int] = (0, 1, 2, 5)) -> float:
    """Seconds from the cancellation of a story to its end, the longest of several turns of the loop; 0: when it waits."""

    async def measure(turns: int) -> float:
        task = asyncio.create_task(story())
        for _ in range(turns):
            await asyncio.sleep(0)
        if not turns:
            await asyncio.sleep(BEGUN_S)
        task.cancel()
        begun = monotonic()
        done, _ = await asyncio.wait([task], timeout=PATIENCE_S + 0.2)
        if not done:
            return PATIENCE_S + 0.2
        if not task.cancelled():
            task.exception()
        return monotonic() - begun

    longest = 0.0
    for turns in after:
        longest = max(longest, asyncio.run(measure(turns)))
        if longest > PATIENCE_S:
            break
    return longest


class Ended:
    """Awaits a story, and ends it at one of the moments at which it waits; `steps` counts them.

    What it holds is let go of, as a system does for a process that died.
    """

    def __init__(self, story: Coroutine[Any, Any, Any], at: int | None) -> None:
        self._story = story
        self._at = at
        self.steps = 0

    def __await__(self) -> Generator[Any, Any, Any]:
        inner = self._story.__await__()
        sent: Any = None
        thrown: BaseException | None = None
        while True:
            try:
                waited = inner.send(sent) if thrown is None else inner.throw(thrown)
            except StopIteration as done:
                return done.value
            task = asyncio.current_task()
            if self.steps == self._at and task is not None:
                task.cancel()
            self.steps += 1
            sent, thrown = None, None
            try:
                sent = yield waited
            except BaseException as error:  # noqa: BLE001  # the end goes to whoever waits inside
                thrown = error

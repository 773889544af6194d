"""What operators see: counters on a private listener and JSON event logs.

Rules: labels are route templates, methods and statuses, never a path or a value; refused requests (404, 405, limits) are
counted too; a log line is one event name and ids; a request's path, query, header fields and body are never logged. This room
must not be reachable from the public listener.
"""

import asyncio
import logging
import sys
from bisect import bisect_left
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import accumulate
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:  # a process without a listener needs nothing of the library
    from prometheus_client import CollectorRegistry, Metric
    from prometheus_client.registry import Collector

BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
UNMATCHED: Final = "(unmatched)"

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class _Counted:
    """Answers of one kind: how many took how long, by the buckets, and all of them together."""

    __slots__ = ("seconds", "times")

    def __init__(self) -> None:
        self.times = [0] * (len(BUCKETS) + 1)
        self.seconds = 0.0


class Meter:
    """Counts answers by route template; plain numbers, because one event loop writes them."""

    def __init__(self) -> None:
        self._counted: dict[tuple[str, str, int], _Counted] = {}
        """By route, method and status."""
        self._gauges: dict[str, tuple[str, Callable[[], float]]] = {}
        self._events: dict[str, int] = {}
        self._queue: Sequence[tuple[str, int, float, int]] = ()
        self._kept: Mapping[str, int] = {}

    def count(self, route: str, method: str, status: int, seconds: float) -> None:
        """One answer."""
        counted = self._counted.get((route, method, status))
        if counted is None:
            counted = self._counted.setdefault((route, method if method in METHODS else "OTHER", status), _Counted())
        counted.times[bisect_left(BUCKETS, seconds)] += 1
        counted.seconds += seconds

    def event(self, name: str, amount: int = 1) -> None:
        """Something that happened outside a request: a reader's step, a failure."""
        self._events[name] = self._events.get(name, 0) + amount

    def gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        """A value that is asked for when it is scraped."""
        self._gauges[name] = (text, read)

    def queue(self, waiting: Sequence[tuple[str, int, float, int]]) -> None:
        """Texts that wait for reviewers: dataset, records, age of the oldest in seconds, overdue ones."""
        self._queue = waiting

    def kept_long_enough(self, records: Mapping[str, int]) -> None:
        """By dataset how many records a key custodian should erase."""
        self._kept = records

    def collect(self) -> "Iterable[Metric]":
        """The present state, for a scrape."""
        from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        answers = CounterMetricFamily("chengxin_answers", "Answers by route, method and status", labels=("route", "method", "status"))
        by_route: dict[str, list[_Counted]] = {}
        for (route, method, status), counted in sorted(self._counted.items(), key=itemgetter(0)):
            answers.add_metric((route, method, str(status)), sum(counted.times))
            by_route.setdefault(route, []).append(counted)
        yield answers
        times = HistogramMetricFamily("chengxin_answer_seconds", "Time to the end of an answer", labels=("route",))
        for route, kinds in by_route.items():
            sums = accumulate(map(sum, zip(*(each.times for each in kinds), strict=True)))
            buckets = list(zip((*map(str, BUCKETS), "+Inf"), sums, strict=True))
            times.add_metric((route,), buckets=buckets, sum_value=sum(each.seconds for each in kinds))
        yield times
        events = CounterMetricFamily("chengxin_events", "What happened outside requests", labels=("event",))
        for event, value in sorted(self._events.items()):
            events.add_metric((event,), value)
        yield events
        families = (
            GaugeMetricFamily("chengxin_reviews_waiting", "Records whose texts wait for a reviewer", labels=("dataset",)),
            GaugeMetricFamily("chengxin_reviews_oldest_seconds", "How long the oldest of them waits", labels=("dataset",)),
            GaugeMetricFamily("chengxin_reviews_overdue", "How many of them wait too long", labels=("dataset",)),
        )
        for dataset, *figures in self._queue:
            for family, figure in zip(families, figures, strict=True):
                family.add_metric((dataset,), figure)
        yield from families
        kept = GaugeMetricFamily("chengxin_retention_due", "Records that were kept long enough", labels=("dataset",))
        for dataset, records in sorted(self._kept.items()):
            kept.add_metric((dataset,), records)
        yield kept
        for name, (text, read) in sorted(self._gauges.items()):
            yield GaugeMetricFamily(name, text, value=read())


def registry_of(meter: Meter, *more: "Collector") -> "CollectorRegistry":
    """What one process shows: its meter and `more`, and memory, processor and garbage collection of the process."""
    from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector

    registry = CollectorRegistry(auto_describe=False)
    for each in (meter, *more):
        registry.register(each)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


_MAX_HEAD = 8192


async def _answer_scrape(registry: "CollectorRegistry", reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

    try:
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), timeout=5)
        method, _, rest = head.split(b"\r\n", 1)[0].partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0]
        if method not in (b"GET", b"HEAD"):
            status, body, kind = b"405 Method Not Allowed\r\nallow: GET, HEAD", b"", "text/plain"
        elif path != b"/metrics":
            status, body, kind = b"404 Not Found", b"", "text/plain"
        else:
            status, body, kind = b"200 OK", generate_latest(registry), CONTENT_TYPE_LATEST
        fields = b"content-type: %s\r\ncontent-length: %d\r\ncache-control: no-store\r\nconnection: close" % (kind.encode(), len(body))
        writer.write(b"HTTP/1.1 " + status + b"\r\n" + fields + b"\r\n\r\n" + (body if method == b"GET" else b""))
        await writer.drain()
    except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
        pass
    finally:
        writer.close()


@asynccontextmanager
async def private_listener(registry: "CollectorRegistry", host: str, port: int, *, tries: int = 1) -> AsyncIterator[int]:
    """Serve `/metrics`, and nothing else, on a listener of its own; yields the port.

    Several workers take one port after the other, from the given one on: each is a target of its own.
    """

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _answer_scrape(registry, reader, writer)

    for number in range(tries):
        try:
            server = await asyncio.start_server(answer, host, port + number, limit=_MAX_HEAD)
            break
        except OSError:
            if number == tries - 1:
                raise
    async with server:
        yield server.sockets[0].getsockname()[1]


_QUIET = ("uvicorn.access", "granian.access", "httpx", "httpcore", "aiosqlite", "asyncio")


def set_up_logs(stream: Any = None) -> None:
    """JSON lines of event name and ids to standard error; access logs and clients that print URLs are silenced."""
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("uvicorn.access").disabled = True
    log.to(stream or sys.stderr)


def where(error: BaseException) -> str:
    """File and line in which an exception arose: all of a traceback that may be logged, for its message may hold values."""
    trace, place = error.__traceback__, "?"
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        place = f"{name.rsplit('/site-packages/', 1)[-1].rsplit('/gateway/', 1)[-1]}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place


class EventLog:
    """The event log; the library behind it, which brings a painter of terminals, is loaded with the first line."""

    def __init__(self) -> None:
        self._stream: Any = None

    def to(self, stream: Any) -> None:
        """Write there from the next line on."""
        self._stream = stream

    def __getattr__(self, level: str) -> Any:
        import structlog

        if self._stream is not None:
            structlog.configure(
                processors=[
                    structlog.contextvars.merge_contextvars,
                    structlog.processors.add_log_level,
                    structlog.processors.TimeStamper(fmt="iso", utc=True),
                    structlog.processors.JSONRenderer(ensure_ascii=False),
                ],
                wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
                logger_factory=structlog.WriteLoggerFactory(self._stream),
                cache_logger_on_first_use=False,
            )
            self._stream = None
        return getattr(structlog.get_logger("gateway"), level)


log = EventLog()

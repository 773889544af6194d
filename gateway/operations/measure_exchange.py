"""Figures of the exchange by partner, for whoever watches the gateway: what waits, how old it is, what came of batches and lines.

Rules: counts begin with the process and follow the receipts, the signed word on every batch in either direction; all else is asked of
the store as it stands. Names of partners and streams, numbers, and words of closed lists; no record. This story must not change anything.
"""

from collections import Counter
from datetime import datetime
from typing import Literal

from msgspec import Struct

from gateway.core.exchange import feedback
from gateway.core.exchange.feedback import Receipt
from gateway.operations.list_overdue import KINDS, Late, list_overdue
from gateway.operations.report_exchange import StreamReport, report_exchange
from gateway.services import Services
from gateway.store import debts, given_receipts, inbox, ledger, outbox, owed
from gateway.store.debts import What

Way = Literal["out", "in"]
AT_A_TIME = 500
"""Receipts read in one look."""
OUTCOMES = ("accepted", "unchanged", "warned", "held", "rejected", "withdrawn", "dropped")


class StreamFigures(Struct, frozen=True, kw_only=True):
    """One stream in one direction as it stands."""

    partner: str
    stream: str
    way: Way
    waiting: int
    waiting_s: float
    """Out: how long the oldest batch is published without a final receipt."""
    last_batch_s: float | None
    """How long ago the latest batch was made; None before the first."""
    stopped: bool
    """Stopped (out) or frozen (in): a person has to look."""
    debts: dict[What, tuple[int, float]] = {}
    """Out: lines that the partner has to acknowledge, and how long the first of them is out."""
    owed: int = 0
    """In: lines that we have to acknowledge."""


class Figures(Struct, frozen=True, kw_only=True):
    """All of it: how streams stand, and what was counted since the process began."""

    streams: tuple[StreamFigures, ...]
    batches: dict[tuple[str, str, Way, str], int]
    """(partner, stream, way, result) → receipts of batches."""
    lines: dict[tuple[str, str, Way, str], int]
    """(partner, stream, way, outcome) → lines."""
    overdue: dict[tuple[str, str, Late], int] = {}
    """(partner, stream, what) → lines that the partner has not acknowledged, or rows that it has not answered, in the agreed hours."""


class Measuring:
    """What one process has counted."""

    __slots__ = ("_batches", "_lines", "_seen")

    def __init__(self) -> None:
        self._batches: Counter[tuple[str, str, Way, str]] = Counter()
        self._lines: Counter[tuple[str, str, Way, str]] = Counter()
        self._seen: dict[tuple[str, Way], int] = {}

    async def look(self, services: Services) -> Figures:
        """Count what came since the last look, and see how everything stands.

        Raises StoreError.
        """
        streams = [await self._stream(services, report) for report in await report_exchange(services)]
        overdue: dict[tuple[str, str, Late], int] = {(each.partner, each.stream, what): 0 for each in streams for what in each.debts}
        overdue |= {(late.partner, late.stream, late.what): late.lines for late in await list_overdue(services)}
        return Figures(streams=tuple(streams), batches=dict(self._batches), lines=dict(self._lines), overdue=overdue)

    async def _stream(self, services: Services, report: StreamReport) -> StreamFigures:
        reads, now, out = services.store.reads, services.clock(), report.direction == "out"
        last = (await ledger.last_receipt_no(reads, report.stream)) or 0 if out else await _given(services, report)
        first = self._seen.setdefault((report.stream, report.direction), last)
        for no in range(first + 1, min(last, first + AT_A_TIME) + 1):
            body = await _receipt(services, report, no)
            if body is not None:
                self._count(report, feedback.read_receipt(body))
            self._seen[report.stream, report.direction] = no
        waiting = await outbox.waiting_batches(reads, report.stream) if out else []
        oldest = min((batch.published_at for batch in waiting if batch.published_at is not None), default=now)
        owing: dict[What, tuple[int, float]] = {}
        for what in KINDS if out else ():
            found = await debts.debt(reads, report.stream, what, now)
            owing[what] = (found.lines, _seconds(now, found.since)) if found is not None else (0, 0.0)
        return StreamFigures(
            partner=report.partner,
            stream=report.stream,
            way=report.direction,
            waiting=report.waiting,
            waiting_s=_seconds(now, oldest),
            last_batch_s=_seconds(now, made) if (made := await _made(services, report)) is not None else None,
            stopped=report.state != "open",
            debts=owing,
            owed=sum(
                row.lines for row in await owed.counted(reads) if not out and (row.sender, row.stream) == (report.partner, report.stream)
            ),
        )

    def _count(self, report: StreamReport, receipt: Receipt) -> None:
        key = report.partner, report.stream, report.direction
        if receipt.kind == "batch":
            self._batches[*key, receipt.result] += 1
            for outcome in OUTCOMES:
                self._lines[*key, outcome] += getattr(receipt.counts, outcome)


def _seconds(now: datetime, then: datetime) -> float:
    return max((now - then).total_seconds(), 0.0)


async def _given(services: Services, report: StreamReport) -> int:
    row = await inbox.in_stream(services.store.reads, report.partner, report.stream)
    return row.receipt_no if row is not None else 0


async def _receipt(services: Services, report: StreamReport, no: int) -> bytes | None:
    if report.direction == "out":
        row = await ledger.received_receipt(services.store.reads, report.stream, no)
        return bytes(row.body) if row is not None else None
    given = await given_receipts.receipt(services.store.reads, report.partner, report.stream, no)
    return given.document.body if given is not None else None


async def _made(services: Services, report: StreamReport) -> datetime | None:
    if report.direction == "in":
        return report.as_of
    batch = await outbox.out_batch(services.store.reads, report.stream, report.epoch, report.seq)
    return batch.created if batch is not None else None

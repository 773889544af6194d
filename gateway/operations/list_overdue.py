"""Which partner has not acknowledged withdrawals and erasures, or answered rows, in time: by name, with count, age and what was agreed.

Rules (exchange.md §9): the hours are those of the agreement in force, or of the line to a partner that signs nothing: `withdraw_h` and
`erase_h`, from the moment at which the record was withdrawn here, whether a batch says so yet or not; at twice the hours a debt is
escalated. A stream that is stopped owes, too, and is named with its code. Over a line a partner also owes an answer about each row,
`feedback_h` after it was delivered, whichever it leaves out. When what was delivered is not acknowledged for `stop_after_h`, nothing new is
sent to that partner, withdrawals always are. Numbers and codes, no record. This story must not remind or stop anybody.
"""

from datetime import datetime, timedelta
from typing import Final, Literal

from msgspec import Struct

from gateway.core.exchange.lines import Line
from gateway.operations.lines import approved_lines
from gateway.operations.partners import Stream, streams_from
from gateway.services import Services
from gateway.store import debts, ledger, line_rows, outbox
from gateway.store.debts import Since, What

ESCALATED: Final = 2
"""Times the agreed hours."""
KINDS: Final[tuple[What, ...]] = ("withdrawals", "erasures")


Late = What | Literal["answers"]
"""What may be overdue; answers about rows only over lines."""


class Overdue(Struct, frozen=True, kw_only=True):
    """What one partner owes of one stream, and has not paid in time."""

    partner: str
    stream: str
    what: Late
    lines: int
    """Withdrawn here, or delivered, longer ago than agreed, and not acknowledged or answered."""
    since: datetime
    """When the first of them was withdrawn here, or delivered."""
    age_h: int
    agreed_h: int
    escalated: bool
    """The first is older than twice the agreed hours."""
    stops: bool
    """Nothing new is sent to this partner until it acknowledges."""
    stopped: str | None = None
    """Code at which the stream stands, so that nothing is sealed or sent until a person has looked."""


def agreed_hours(stream: Stream, what: What) -> int:
    """Within how many hours a partner acknowledges."""
    sla = stream.governing.agreement.terms.sla
    return sla.erase_h if what == "erasures" else sla.withdraw_h


async def is_told(services: Services, partner: str) -> bool:
    """Whether anything of ours goes to a partner of this name, over a stream or a line."""
    streams = await streams_from(services.store.reads, services.signers.party, services.clock())
    return partner in {stream.receiver for stream in streams} | {line.terms.partner for line in await approved_lines(services, "out")}


async def list_overdue(services: Services, *, partner: str | None = None, since: Since = "committed") -> list[Overdue]:
    """Everything that is overdue, of one partner or all; the oldest first. A partner is told `since` published.

    Raises StoreError.
    """
    found: list[Overdue] = []
    for stream in await streams_from(services.store.reads, services.signers.party, services.clock()):
        if partner in (None, stream.receiver):
            stop = stream.governing.agreement.terms.sla.stop_after_h
            for what in KINDS:
                late = await _overdue(services, stream.receiver, stream.name, what, agreed_hours(stream, what), stop, since)
                found += [late] if late is not None else []
    for line in await approved_lines(services, "out"):
        if partner in (None, line.terms.partner):
            for name, _ in line.streams():
                for what in KINDS:
                    hours = line.terms.sla.hours(what)
                    late = await _overdue(services, line.terms.partner, name, what, hours, line.terms.sla.stop_after_h, since)
                    found += [late] if late is not None else []
                silent = await _unanswered(services, line, name)
                found += [silent] if silent is not None else []
    return sorted(found, key=lambda late: late.since)


async def _unanswered(services: Services, line: Line, stream: str) -> Overdue | None:
    """Rows of which a partner that signs nothing has said nothing, although what they were delivered with is answered, or should be."""
    hours = line.terms.sla.feedback_h
    silent = await line_rows.unanswered(services.store.reads, stream, services.clock() - timedelta(hours=hours))
    if silent is None:
        return None
    age = services.clock() - silent.since
    out = await outbox.out_stream(services.store.reads, stream)
    return Overdue(
        partner=line.terms.partner,
        stream=stream,
        what="answers",
        lines=silent.rows,
        since=silent.since,
        age_h=age // timedelta(hours=1),
        agreed_h=hours,
        escalated=age > timedelta(hours=hours * ESCALATED),
        stops=False,
        stopped=out.stopped if out is not None else None,
    )


async def _overdue(services: Services, partner: str, stream: str, what: What, hours: int, stop: int, since: Since) -> Overdue | None:
    now = services.clock()
    late = await debts.debt(services.store.reads, stream, what, now - timedelta(hours=hours), since=since)
    if late is None:
        return None
    age = now - late.since
    out = await outbox.out_stream(services.store.reads, stream)
    unheard = await ledger.overdue(services.store.reads, stream, now=now, hours=stop) if stop else None
    return Overdue(
        partner=partner,
        stream=stream,
        what=what,
        lines=late.lines,
        since=late.since,
        age_h=age // timedelta(hours=1),
        agreed_h=hours,
        escalated=age > timedelta(hours=hours * ESCALATED),
        stops=unheard is not None,
        stopped=out.stopped if out is not None else None,
    )

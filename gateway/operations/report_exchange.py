"""How the exchange stands, for the office: every stream of either direction, what waits, what is overdue, what has stopped.

Rules: a partner is named with count and age when its acknowledgements of withdrawals are overdue (exchange.md §9); numbers and codes
only, no record. This story must not send or repair anything.
"""

from datetime import datetime
from typing import Literal

import msgspec
from msgspec import Struct

from gateway.core.exchange.agreements import in_force
from gateway.core.exchange.wire import SHA256, b64
from gateway.operations.list_overdue import list_overdue
from gateway.operations.partners import Stream, stream_at
from gateway.services import Services
from gateway.store import changes, held_agreements, holds, inbox, measures, outbox


class StreamReport(Struct, frozen=True, kw_only=True):
    """One stream in one direction."""

    stream: str
    direction: Literal["out", "in"]
    partner: str
    epoch: int
    seq: int
    size: int
    root: str
    state: str
    """open, or the code that stopped or froze it."""
    unread: int = 0
    """Out: changes of the log that are not looked at yet."""
    waiting: int = 0
    """Batches without an acknowledgement (out) or without an end (in)."""
    overdue: int = 0
    """Withdrawals and erasures that the partner has not acknowledged in the agreed time."""
    overdue_since: datetime | None = None
    as_of: datetime | None = None
    """In: when the partner made the latest batch that was applied."""
    held_since: datetime | None = None
    """Since when an operator holds it: nothing but withdrawals goes through."""
    held_batch: str | None = None
    """In: epoch and number of the batch that waits for a person, as `exchange release` and `refuse` name it."""
    in_effect: int | None = None
    """Of a stream of measures: how many are in effect. None: another stream."""


async def report_exchange(services: Services) -> list[StreamReport]:
    """Every stream of every agreement, ours first."""
    reads = services.store.reads
    ours, now = services.signers.party, services.clock()
    reports: list[StreamReport] = []
    taken = {(row.partner, bool(row.ours)): row.n for row in await measures.counts(reads) if row.standing == "in_effect"}
    for name, versions in (await held_agreements.held_agreements(reads)).items():
        held = in_force(versions, now) or next((version for version in versions if version.complete), None)
        if held is None:
            continue
        for terms in held.agreement.terms.streams:
            stream = await stream_at(reads, f"{name}.{terms.dataset}", terms.from_, now)
            if stream is not None:
                report = await (_outward if terms.from_ == ours else _inward)(services, stream)
                if "measure" in terms.scope.categories:
                    report = msgspec.structs.replace(report, in_effect=taken.get((report.partner, report.direction == "out"), 0))
                hold = await holds.hold_on(reads, terms.from_, stream.name)
                reports.append(msgspec.structs.replace(report, held_since=hold.since if hold is not None else None))
    return sorted(reports, key=lambda report: (report.direction != "out", report.stream))


async def _outward(services: Services, stream: Stream) -> StreamReport:
    reads = services.store.reads
    out = await outbox.out_stream(reads, stream.name)
    late = [each for each in await list_overdue(services, partner=stream.receiver) if each.stream == stream.name]
    head = await changes.head(reads)
    return StreamReport(
        stream=stream.name,
        direction="out",
        partner=stream.receiver,
        epoch=out.head.epoch if out else 0,
        seq=out.head.seq if out else 0,
        size=out.head.tree.size if out else 0,
        root=b64(out.head.tree.root()) if out else b64(SHA256.hash(b"")),
        state=(out.stopped if out else None) or "open",
        unread=head - (out.cursor if out else 0),
        waiting=len(await outbox.waiting_batches(reads, stream.name)),
        overdue=sum(each.lines for each in late),
        overdue_since=min((each.since for each in late), default=None),
    )


async def _inward(services: Services, stream: Stream) -> StreamReport:
    into = await inbox.in_stream(services.store.reads, stream.sender, stream.name)
    held = await inbox.held_batch(services.store.reads, stream.sender, stream.name)
    return StreamReport(
        stream=stream.name,
        direction="in",
        partner=stream.sender,
        epoch=into.head.epoch if into else 0,
        seq=into.head.seq if into else 0,
        size=into.head.tree.size if into else 0,
        root=b64(into.head.tree.root()) if into else b64(SHA256.hash(b"")),
        state=(into.frozen if into else None) or "open",
        waiting=await inbox.waiting_in(services.store.reads, stream.sender, stream.name),
        as_of=into.created if into else None,
        held_batch=held.name if held else None,
    )

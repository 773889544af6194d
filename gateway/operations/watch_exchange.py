"""What of the exchange a person must look at: forks, gaps, held batches, receipts, acknowledgements that do not come (exchange.md §7, §9).

Rules: each is an alarm that names stream and partner and ends by itself when it is over; a withdrawal that is not acknowledged is told
when its time is up, and once more, as another alarm, at twice that. An agreement that ends is told a month ahead, a partner's notice that
dates itself back for a week. Numbers and codes, no record. This story must not stop or send.
"""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Final

from gateway.core.exchange.agreements import in_force
from gateway.core.exchange.wire import instant
from gateway.operations.alarms import Condition
from gateway.operations.begin_anew import awaits_anew
from gateway.operations.held_overdue import held_overdue
from gateway.operations.list_overdue import ESCALATED, KINDS, agreed_hours
from gateway.operations.partners import streams_from
from gateway.services import Services
from gateway.store import debts, held_agreements, inbox, outbox
from gateway.store.store import moment

GAP_OPEN: Final = timedelta(hours=24)
ANEW_LATE: Final = timedelta(hours=1)
"""Whoever can be asked has begun to say again by then what was purged here; a line that cannot ask needs a person."""
LATE: Final = timedelta(hours=1)
"""A notice may be on its way so long: whoever fetches asks every ten minutes."""
TOLD: Final = timedelta(days=7)


async def conditions(services: Services) -> list[Condition]:
    """Everything that may have to be told, as it stands now."""
    told = [each async for each in _inward(services)] + [each async for each in _outward(services)]
    return told + [each async for each in _agreements(services)]


async def _agreements(services: Services) -> AsyncIterator[Condition]:
    """What ends without a successor, after which what was received is purged or frozen for good; and notices that date themselves back."""
    now, ours = services.clock(), services.signers.party
    for name, versions in (await held_agreements.held_agreements(services.store.reads)).items():
        target = f"{versions[-1].agreement.other(ours)}/{name}"
        held = in_force(versions, now)
        terms = held.agreement.terms if held is not None and held.last_month(now) else None
        then = {"expires": terms.expires, "then": terms.retention.after_termination} if terms is not None else {}
        yield Condition(kind="agreement-ending", target=target, bad=terms is not None, detail=then)
        longest = max(LATE, versions[-1].agreement.skew)
        late = [
            notice
            for notice in versions[-1].notices
            if notice.by != ours and notice.behind(longest) and now < notice.first_seen + TOLD and notice.state != "active"
        ]
        detail = {"from": instant(late[-1].from_at), "counts_from": instant(late[-1].counts_from)} if late else {}
        yield Condition(kind="notice-dated-back", target=target, bad=bool(late), detail=detail)


async def _inward(services: Services) -> AsyncIterator[Condition]:
    reads, now = services.store.reads, services.clock()
    for row in await inbox.in_streams_all(reads):
        target = f"{row.sender}/{row.stream}"
        yield Condition(kind="stream-frozen", target=target, bad=row.frozen is not None, detail={"code": row.frozen or ""})
        oldest = await inbox.oldest_gap(reads, row.sender, row.stream)
        since = {"since": oldest} if oldest is not None else {}
        yield Condition(kind="stream-gap", target=target, bad=oldest is not None and now - moment(oldest) >= GAP_OPEN, detail=since)
        anew = {"since": row.anew_since} if await awaits_anew(services, row.sender, row.stream, row.anew_since) else {}
        late = bool(anew) and now - moment(row.anew_since) >= ANEW_LATE
        yield Condition(kind="epoch-awaited", target=target, bad=late, detail=anew)
        held = await held_overdue(services, row.sender, row.stream)
        detail = {"seq": held.seq, "since": held.since.isoformat()} if held is not None else {}
        yield Condition(kind="batch-held-overdue", target=target, bad=held is not None, detail=detail)


async def _outward(services: Services) -> AsyncIterator[Condition]:
    reads, now = services.store.reads, services.clock()
    for stream in await streams_from(reads, services.signers.party, now):
        target = f"{stream.receiver}/{stream.name}"
        sla = stream.governing.agreement.terms.sla
        out = await outbox.out_stream(reads, stream.name)
        stopped = out.stopped if out is not None else None
        yield Condition(kind="stream-stopped", target=target, bad=stopped is not None, detail={"code": stopped or ""})
        late = [
            batch
            for batch in await outbox.waiting_batches(reads, stream.name)
            if batch.published_at is not None and now - batch.published_at >= timedelta(hours=sla.feedback_h)
        ]
        yield Condition(kind="receipt-overdue", target=target, bad=bool(late), detail={"batches": len(late)})
        for what in KINDS:
            for kind, times in ((f"{what}-overdue", 1), (f"{what}-overdue-twice", ESCALATED)):
                hours = timedelta(hours=agreed_hours(stream, what) * times)
                owed = await debts.debt(reads, stream.name, what, now - hours)
                detail = {"lines": owed.lines, "since": owed.since.isoformat()} if owed is not None else {}
                yield Condition(kind=kind, target=target, bad=owed is not None, detail=detail)

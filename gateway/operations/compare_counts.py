"""Daily reconciliation of a line: how many rows we delivered of a day, how many the partner says it has, and whether the digests agree.

Rules: a day is one of UTC+8, by the time at which its batches were sealed; the last seven are compared once a day until both sides agree.
Our number is that of our own ledger, the partner's is its own word; a digest is compared where the line holds both. A difference is shown
and alarmed. This story must not send a row again: a person looks first.
"""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any, Final

from msgspec import Struct

from gateway.adapter_contract import AdapterError, Counts
from gateway.core.exchange.lines import Line
from gateway.core.records.periods import first_instant, legal_day
from gateway.operations.lines import guarded, is_sound
from gateway.operations.partners import LONGEST_CALL
from gateway.services import Services
from gateway.store import line_rows, lines

LOOK_BACK: Final = 7
MOST_COUNTS: Final = 10_000


class Comparison(Struct, frozen=True, kw_only=True):
    """One dataset and day."""

    stream: str
    day: str
    ours: int
    """Rows that we delivered."""
    theirs: int | None
    """Rows that the partner says it has; None: it says nothing."""
    same_digest: bool | None
    """None: one side gives no digest."""

    @property
    def agrees(self) -> bool:
        """Whether nothing speaks for a difference."""
        return self.theirs == self.ours and self.same_digest is not False


async def compare_counts(services: Services, line: Line, carrier: Any, *, at_once: bool = False) -> list[Comparison]:
    """Compare the days that do not agree yet; nothing where the line gives no counts, or this was done today.

    Raises AdapterError, StoreError.
    """
    today = legal_day(services.clock())
    state = await lines.state_of(services.store.reads, line.id)
    if line.terms.direction != "out" or "counts" not in carrier.capabilities or (state.reconciled == today.isoformat() and not at_once):
        return []
    first = today - timedelta(days=LOOK_BACK)
    known = {(each.stream, each.day): each for each in await comparisons(services, since=first.isoformat())}
    found: list[Comparison] = []
    for day in (first + timedelta(days=number) for number in range(LOOK_BACK)):
        told: Sequence[Counts] | None = None
        for stream, terms in line.streams():
            ours = await line_rows.sent_on(services.store.reads, stream, first_instant(day), first_instant(day + timedelta(days=1)))
            before = known.get((stream, day.isoformat()))
            if before is not None and before.agrees and before.ours == ours:
                continue
            if told is None:
                told = await _counts(carrier, day)
            one = _compared(stream, terms.dataset, day, ours, told)
            if one is not None:
                found.append(one)
    async with services.store.transaction() as tx:
        for one in found:
            await lines.put_count(tx, one.stream, one.day, ours=one.ours, theirs=one.theirs, same_digest=one.same_digest)
        await lines.put_state(tx, line.id, reconciled=today.isoformat())
    return found


async def comparisons(services: Services, *, since: str) -> list[Comparison]:
    """What was compared since a day."""
    return [
        Comparison(
            stream=row.stream,
            day=row.day,
            ours=row.ours,
            theirs=row.theirs,
            same_digest=None if row.same_digest is None else bool(row.same_digest),
        )
        for row in await lines.counts_since(services.store.reads, since)
    ]


async def _counts(carrier: Any, day: date) -> Sequence[Counts]:
    told = await guarded(carrier.counts(day), LONGEST_CALL)
    if not isinstance(told, list | tuple) or len(told) > MOST_COUNTS or not all(is_sound(each, Counts) for each in told):
        raise AdapterError("ADAPTER_FAILED", "适配器给出的不是对账数", transient=False)
    return told


def _compared(stream: str, dataset: str, day: date, ours: int, told: Sequence[Counts]) -> Comparison | None:
    theirs = next((each for each in told if (each.dataset, each.day, each.side) == (dataset, day, "recv")), None)
    sent = next((each for each in told if (each.dataset, each.day, each.side) == (dataset, day, "sent")), None)
    if ours == 0 and theirs is None:
        return None
    digests = (theirs.digest if theirs is not None else None, sent.digest if sent is not None else None)
    same = digests[0] == digests[1] if None not in digests else None
    return Comparison(stream=stream, day=day.isoformat(), ours=ours, theirs=theirs.rows if theirs is not None else None, same_digest=same)

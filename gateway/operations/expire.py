"""Expire records whose publication period is over: write down what the read path has already been saying.

Rules: the period is computed again from the rules in force, never taken from the stored column, which only finds candidates; one
transaction a chunk; a record of another city is left to that city, and the read path hides it meanwhile. No exit waits for this
story: it must not be the reason why something disappears.
"""

from datetime import date, datetime

from msgspec import Struct

from gateway.core.disclosure.plans import Policies
from gateway.core.records.model import Period, Record, RecordId
from gateway.core.records.periods import legal_day, publication
from gateway.services import Services
from gateway.store import audit, records

CHUNK = 1000


class Expired(Struct, frozen=True, kw_only=True):
    """How many were looked at and how many are expired now."""

    looked_at: int
    expired: int
    day: date


def period_of(record: Record, policies: Policies, now: datetime) -> Period | None:
    """The publication period of a stored record under the rules in force; None for a dataset that the policies no longer know."""
    dataset = policies.catalogue.datasets.get(record.dataset)
    if dataset is None:
        return None
    return publication(
        act=dataset.publish.act,
        severity=record.severity,
        kind=record.kind,
        category=record.category,
        dates=record.dates,
        table=policies.catalogue.periods,
        now=now,
        minor=record.minor,
    )


async def expire(services: Services, *, actor: str, everything: bool = False) -> Expired:
    """Write an expire change for each of our records whose period is over; with `everything` all records in force are computed anew.

    Raises NoActivePolicy in a store without policies.
    """
    policies = await services.policies.fresh()
    today = legal_day(services.clock())
    looked_at = expired = 0
    after: RecordId | None = None
    while True:
        found = await records.period_candidates(services.store.reads, None if everything else today, after=after, limit=CHUNK)
        if not found:
            return Expired(looked_at=looked_at, expired=expired, day=today)
        after = found[-1].record_id
        looked_at += len(found)
        over = [record for record in found if record.issuer is None and _is_over(period_of(record, policies, services.clock()))]
        if over:
            expired += await _write(services, over, actor)


def _is_over(period: Period | None) -> bool:
    return period is not None and period.state == "over"


async def _write(services: Services, over: list[Record], actor: str) -> int:
    async with services.store.transaction() as tx:
        still = {
            record.record_id
            for record in await records.load(tx, ids=[record.record_id for record in over], fields=frozenset())
            if record.state == "in_force"
        }
        for record in over:
            if record.record_id in still:
                await records.set_state(tx, record.record_id, state="expired", op="expire", reason="expired", actor=actor)
        await audit.write(tx, actor, "record.expire", "records", {"count": len(still)})
        return len(still)

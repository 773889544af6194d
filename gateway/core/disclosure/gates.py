"""Row gates: whether a plan may show a record at all, and from when until when (policy.md §6).

Rules, in this order: the plan is of this dataset and kind · withdrawn, annulled, erased: nobody · repaired: nobody · held: nobody ·
sealed: nobody · minor: the subject alone · unsigned and a burden: not to the public · what came from another city does not travel on ·
a red line · the plan's own grounds have not ended · a live basis and catalogue item (the subject sees its own records marked `held`) ·
the publication period (public) or the sharing period (department, partner, supervisor, pboc) is open · for publication, what the
dataset requires is there (`views` looks). What cannot be computed is closed. The `rows` of a plan are asked beside this, in the same
query (`row_language`).

The gate is asked at every read with the `now` of that read; no job is waited for. This room must not look at a value.
"""

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Final

from msgspec import Struct

from gateway.core.disclosure.plans import Plan, Policies
from gateway.core.records.basis import Legality, legality
from gateway.core.records.model import NEGATIVE_CATEGORIES, BasisRef, Dataset, DatasetId, LifeDates, Period, Record
from gateway.core.records.periods import end_instant, first_instant, legal_day, publication, sharing

MEMO_LIMIT: Final = 16_384
BASIS_LIMIT: Final = 8
"""What one record line may carry (exchange.md §4)."""
_DAY: Final = timedelta(days=1)
_BEGIN_OF_TIME: Final = date.min + 2 * _DAY
_END_OF_TIME: Final = date.max - 2 * _DAY


class Standing(Struct, frozen=True, kw_only=True):
    """What the calendar says of a record under a plan on one legal day; the same for all records with the same dates."""

    closed: str | None
    """`legality`, `publication`, `sharing`, `failed` (it could not be computed), or None."""
    detail: str | None = None
    """State of the period, or code of the legality gate."""
    basis: tuple[BasisRef, ...] = ()
    published_from: date | None = None
    publish_until: date | None = None
    period_rule: str | None = None
    opens: datetime | None = None
    """When a closed period opens, where that is known."""
    since: datetime | None = None
    """The last boundary before now."""
    until: datetime | None = None
    """The first moment at which this standing may no longer be true."""
    lapsed_since: datetime | None = None
    """When the record's own validity ended; then it is marked, not removed."""
    held: bool = False
    """No live basis, and shown nevertheless to the one it is about."""


_NO_RECORD: Final = Standing(closed="plan")
_FAILED: Final = Standing(closed="failed")


def row_gate(record: Record, plan: Plan, now: datetime) -> str | None:
    """The gates that ask the record itself."""
    if record.kind != plan.kind or record.dataset != plan.dataset:
        return "plan"
    state = record.state
    if state not in ("in_force", "expired") or record.hold_code is not None:
        return _STATES.get(state, "held")
    gate = plan.gate
    if record.sealed:
        return "sealed"
    if record.minor and (not gate.minors or "minor" in gate.flags):
        return "minor"
    if record.trust != "signed" and record.category in NEGATIVE_CATEGORIES and not gate.vouched_negative:
        return "trust"
    if record.issuer is not None and not gate.onward:
        return "onward"
    if gate.flags and ((record.dispute_since is not None and "disputed" in gate.flags) or (state == "expired" and "expired" in gate.flags)):
        return "redline"
    if state == "expired" and (gate.period == "publication" or record.issuer is not None):
        return gate.period
    if plan.valid_until is not None and plan.valid_until <= now:
        return "policy-expired"
    return None


_STATES: Final = {"retracted": "withdrawn", "erased": "withdrawn", "repaired": "repaired"}


def standing(record: Record, plan: Plan, policies: Policies, now: datetime) -> Standing:
    """What the calendar says; remembered per (plan, severity, dates, legal day), for many records have the same."""
    today = legal_day(now)
    key = (plan.plan_hash, record.severity, record.dates, today)
    memo = policies.memo
    found: Standing | None = memo.get(key)
    if found is None:
        try:
            found = _standing(record.severity, record.dates, plan, policies, now, today)
        except Exception:  # noqa: BLE001  # what cannot be computed is closed, whatever it was that broke
            found = _FAILED
        if len(memo) >= MEMO_LIMIT:
            memo.clear()
        memo[key] = found
    return found


def _standing(severity: str | None, dates: LifeDates, plan: Plan, policies: Policies, now: datetime, today: date) -> Standing:
    dataset = policies.catalogue.datasets.get(plan.dataset)
    if dataset is None:
        return _NO_RECORD
    lawful = _legality(dataset, policies, today)
    if not lawful.live and plan.gate.legality == "closed":
        return Standing(closed="legality", detail=lawful.code, until=_horizon(dataset, policies, today, dates))
    table = policies.catalogue.periods
    about = {"act": dataset.publish.act, "severity": severity, "kind": plan.kind, "category": dataset.category}
    published = publication(**about, dates=dates, table=table, now=now)  # type: ignore[arg-type]  # keys and types as written one line above
    governing = published if plan.gate.period == "publication" else sharing(**about, dates=dates, table=table, now=now)  # type: ignore[arg-type]  # the same
    known = published.state not in ("never", "unknown")
    lapsed = dates.valid_until is not None and dates.valid_until < today
    boundaries = [first_instant(day) for day in (published.first_day,) if day is not None and day <= today]
    lapsed_since = ending(dates.valid_until) if lapsed else None
    if lapsed_since is not None:
        boundaries.append(lapsed_since)
    return Standing(
        closed=None if plan.gate.period == "none" or governing.state == "open" else plan.gate.period,
        detail=governing.state,
        basis=tuple(dict.fromkeys((*plan.basis, *lawful.basis)))[:BASIS_LIMIT],
        published_from=published.first_day if known else None,
        publish_until=published.last_day if known else None,
        period_rule=published.rule if known else None,
        opens=_opening(governing),
        since=max(boundaries, default=None),
        until=_earliest(_horizon(dataset, policies, today, dates), _end(governing), plan.valid_until),
        lapsed_since=lapsed_since,
        held=not lawful.live,
    )


def _opening(period: Period) -> datetime | None:
    return first_instant(period.first_day) if period.state == "not_yet" and period.first_day is not None else None


def _end(period: Period) -> datetime | None:
    return ending(period.last_day) if period.state == "open" else _opening(period)


def ending(last_day: date | None) -> datetime | None:
    """The instant after a last day; None where there is none, or where it lies beyond the calendar."""
    return end_instant(last_day) if last_day is not None and last_day < _END_OF_TIME else None


def _earliest(*instants: datetime | None) -> datetime | None:
    return min((instant for instant in instants if instant is not None), default=None)


def _legality(dataset: Dataset, policies: Policies, today: date) -> Legality:
    key = ("legality", dataset.id, today)
    found: Legality | None = policies.memo.get(key)
    if found is None:
        found = policies.memo[key] = legality(dataset, policies.catalogue, today)
    return found


def _horizon(dataset: Dataset, policies: Policies, today: date, dates: LifeDates) -> datetime | None:
    """The next legal midnight at which a law, a period rule or a date of the record begins or ends."""
    days = [day for day in _boundaries(dataset.id, policies) if day > today]
    days += [day for day in _life_days(dates) if day > today]
    return first_instant(min(days)) if days else None


def _life_days(dates: LifeDates) -> Iterator[date]:
    for name in dates.__struct_fields__:
        day = getattr(dates, name)
        if day is not None and _BEGIN_OF_TIME < day < _END_OF_TIME:
            yield day
            yield day + _DAY


def _boundaries(dataset: DatasetId, policies: Policies) -> tuple[date, ...]:
    """First days, and days after last days, of everything legal that the gates of a dataset depend on."""
    key = ("boundaries", dataset)
    found: tuple[date, ...] | None = policies.memo.get(key)
    if found is None:
        found = policies.memo[key] = tuple(sorted(set(_all_boundaries(dataset, policies))))
    return found


def _all_boundaries(dataset: DatasetId, policies: Policies) -> Iterator[date]:
    catalogue = policies.catalogue
    held = catalogue.datasets[dataset]
    spells = [(rule.valid, rule.basis) for rule in catalogue.periods.rules]
    spells += [(ceiling.valid, ceiling.basis) for ceiling in catalogue.periods.ceilings]
    for valid, basis in spells:
        yield from _ends(valid.from_, valid.until)
        for ground in basis:
            yield from _ends(ground.from_, ground.until)
    edition = catalogue.editions.get(held.catalogue.edition)
    if edition is not None:
        yield from _ends(edition.from_, edition.until)
    item = catalogue.items.get((held.catalogue.edition, held.catalogue.item))
    listing = catalogue.list_of(dataset)
    for ground in (*(item.basis if item is not None else ()), *(listing.legal_basis if listing is not None else ())):
        yield from _ends(ground.from_, ground.until)


def _ends(first: date | None, last: date | None) -> Iterator[date]:
    if first is not None:
        yield first
    if last is not None and last < _END_OF_TIME:
        yield last + _DAY

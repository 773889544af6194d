"""How long a record is shown and shared: a table of rules with their own days in force, computed at every read.

Rules of the reckoning (domain notes, 7):
- days are legal days in Asia/Shanghai; months are clamped to their last day; the last day is the day before the anniversary;
- every rule in force at some time between the decision and today is computed, and the earliest end wins; `transition` marks it;
- first publication is the earliest day known, here or upstream; an end that the source asserted may come earlier than ours, never later;
- over every record that burdens its subject lies the ceiling;
- repair and revocation end it at once; minors are never published;
- what cannot be computed is `unknown`: not published, and someone is told.

This room must not publish or hide anything itself: the gates of `core/disclosure` ask it.
"""

import re
from calendar import monthrange
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta, timezone
from functools import cache
from types import MappingProxyType
from typing import Annotated, Literal, NamedTuple

from msgspec import Meta, Struct

from gateway.core.records.model import NEGATIVE_CATEGORIES, BasisRef, Category, LifeDates, Period, SubjectKind

_AHEAD = timedelta(hours=8)
LEGAL_ZONE = timezone(_AHEAD)
"""Beijing time, all year."""
_DAY = timedelta(days=1)
_LAST = date(9999, 12, 30)
"""The calendar ends a day later: what is reckoned beyond it stays there, for `9999-12-31` is a date that departments write."""
DURATION = "^P(?=[0-9])(?:[0-9]{1,3}Y)?(?:[0-9]{1,3}M)?(?:[0-9]{1,4}D)?\\Z"
_DURATION_PARTS = re.compile(r"P(?:([0-9]+)Y)?(?:([0-9]+)M)?(?:([0-9]+)D)?")

DurationText = Annotated[str, Meta(pattern=DURATION, max_length=16)]
StartEvent = Literal[
    "decision", "delivery", "listing", "conduct_end", "first_publication", "first_publication_here", "first_publication_upstream",
    "obligation_fulfilled", "valid_until", "sharing_end",
]
StopEvent = Literal["repair_approved", "revoked", "obligation_fulfilled"]
Severity = Literal["minor", "general", "serious"]


class Clock(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One clock of a rule: how long, counted from what."""

    max: DurationText | None = None
    """Longest time; absent only with `no_end`."""
    min: DurationText | None = None
    """Earliest repair after the start."""
    start: StartEvent | None = None
    """None: the text names no start; then only an end that the source gave counts."""
    no_end: bool = False
    """No statutory end is known: shown while the basis is live."""
    published: bool = True
    """False: the law has such records not published at all, `max` says how long where they must be."""
    until_fulfilled: bool = False
    """Runs on after `max` while the obligation is not fulfilled, up to the ceiling."""


class PeriodFor(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which records a rule is for; an act `penalty` takes in `penalty.food`."""

    acts: tuple[str, ...]
    severity: tuple[Severity, ...] = ()
    """Empty: any, also none."""
    kinds: tuple[SubjectKind, ...]


class Validity(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"from_": "from"}):
    """First and last day of a rule itself."""

    from_: date
    until: date | None = None


class PeriodRule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"for_": "for"}):
    """A row of `periods.toml`; rows are closed, never edited."""

    id: str
    for_: PeriodFor
    publication: Clock
    sharing: Clock
    retention: Clock | None = None
    early_stop: tuple[StopEvent, ...] = ()
    flags: tuple[str, ...] = ()
    basis: tuple[BasisRef, ...]
    valid: Validity
    note: str = ""

    def covers(self, act: str, severity: str | None, kind: SubjectKind) -> bool:
        """Whether a record of this act, severity and kind falls under the rule."""
        for_ = self.for_
        return kind in for_.kinds and (not for_.severity or severity in for_.severity) and self.takes(act)

    def takes(self, act: str) -> bool:
        """Whether the rule is for an act: `penalty` takes in `penalty.food`."""
        acts = self.for_.acts
        return act in acts or any(act.startswith(f"{each}.") for each in acts)

    def spans(self) -> tuple[tuple[date, date], ...]:
        """The days on which the rule and one of its grounds are in force, first and last of each span."""
        first, last = self.valid.from_, self.valid.until or date.max
        spans = ((max(first, ground.from_ or date.min), min(last, ground.until or date.max)) for ground in self.basis)
        return tuple(span for span in spans if span[0] <= span[1])


class Ceiling(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The longest that any rule may reach for some categories, counted from the first of the start events that is known."""

    id: str
    categories: tuple[Category, ...]
    max: DurationText
    start: tuple[StartEvent, ...]
    flags: tuple[str, ...] = ()
    basis: tuple[BasisRef, ...]
    valid: Validity

    def in_force(self, on: date) -> bool:
        """Whether the ceiling is in force on a day."""
        return self.valid.from_ <= on and (self.valid.until is None or on <= self.valid.until)


class PeriodTable(Struct, frozen=True, kw_only=True):
    """The rules, the ceilings, and how long the house keeps what it writes down about itself."""

    rules: tuple[PeriodRule, ...] = ()
    ceilings: tuple[Ceiling, ...] = ()
    retention: Mapping[str, DurationText] = MappingProxyType({})


def legal_day(now: datetime) -> date:
    """The day that it is in Asia/Shanghai."""
    if now.tzinfo is UTC:  # nearly always
        return (now + _AHEAD).date()
    return now.astimezone(LEGAL_ZONE).date()


def first_instant(day: date) -> datetime:
    """00:00 in Asia/Shanghai of a legal day, in UTC."""
    return datetime.combine(day, time(), LEGAL_ZONE).astimezone(UTC)


def end_instant(last_day: date) -> datetime:
    """The instant after a last legal day, in UTC."""
    return first_instant(min(last_day, _LAST) + _DAY)


@cache
def duration_parts(text: str) -> tuple[int, int]:
    """(months, days) of an ISO 8601 duration of years, months and days."""
    match = _DURATION_PARTS.fullmatch(text)
    if match is None or text == "P":
        raise ValueError("no duration of years, months and days")
    years, months, days = (int(part or 0) for part in match.groups())
    return years * 12 + months, days


def add_duration(start: date, text: str) -> date:
    """A day later by a duration: calendar months first, clamped to the end of the month, then days."""
    months, days = duration_parts(text)
    if months:
        year, month = divmod(start.year * 12 + start.month - 1 + months, 12)
        if year > _LAST.year:
            return _LAST
        start = date(year, month + 1, min(start.day, monthrange(year, month + 1)[1]))
    return min(start, _LAST - timedelta(days=days)) + timedelta(days=days) if days else start


def first_publication(dates: LifeDates) -> date | None:
    """The earliest known day on which anybody published it."""
    here, upstream = dates.first_publication_here, dates.first_publication_upstream
    if here is None or upstream is None:
        return here or upstream
    return min(here, upstream)


def event_day(name: StartEvent | None, dates: LifeDates) -> date | None:
    """The day of a start event; None where it is not known, and of `sharing_end`, which is no date of the record."""
    if name is None or name == "sharing_end":
        return None
    if name == "first_publication":
        return first_publication(dates)
    day: date | None = getattr(dates, name)
    return day


def _last_day(clock: Clock, dates: LifeDates, today: date) -> tuple[bool, date | None]:
    """(computable, last day or None for no end) of one clock."""
    if clock.no_end:
        return True, None
    start = event_day(clock.start, dates)
    if start is None or clock.max is None:
        return clock.start is None and dates.upstream_end is not None, dates.upstream_end
    last = add_duration(start, clock.max) - _DAY
    if clock.until_fulfilled and last < today:
        fulfilled = dates.obligation_fulfilled
        return True, max(last, fulfilled) if fulfilled else None
    return True, last


def _stopped(rules: Iterable["_Candidate"], dates: LifeDates, today: date) -> date | None:
    """The day on which repair, revocation or fulfilment ended it, if one has come."""
    if dates.repair_approved is None and dates.revoked is None and dates.obligation_fulfilled is None:
        return None
    days = {day for each in rules for name in each.rule.early_stop if (day := getattr(dates, name)) is not None and day <= today}
    return min(days, default=None)


class _Candidate(NamedTuple):
    rule: PeriodRule
    spans: tuple[tuple[date, date], ...]

    def runs(self, since: date, until: date) -> bool:
        """Whether it was in force at some time between two days."""
        return any(first <= until and since <= last for first, last in self.spans)


_CHOSEN: dict[tuple[int, str, str | None, str], tuple[PeriodTable, tuple[_Candidate, ...]]] = {}
_MOST_CHOSEN = 1024


def _candidates(table: PeriodTable, act: str, severity: str | None, kind: SubjectKind) -> tuple[_Candidate, ...]:
    """The rules for such records, whenever in force; tables are immutable, so they are looked for once."""
    key = (id(table), act, severity, kind)
    chosen = _CHOSEN.get(key)
    if chosen is None or chosen[0] is not table:
        if len(_CHOSEN) >= _MOST_CHOSEN:
            _CHOSEN.clear()
        found = tuple(_Candidate(rule, rule.spans()) for rule in table.rules if rule.covers(act, severity, kind))
        chosen = _CHOSEN[key] = (table, found)
    return chosen[1]


def _period(
    clock_name: Literal["publication", "sharing"], act: str, severity: str | None, kind: SubjectKind, category: str, dates: LifeDates,
    table: PeriodTable, today: date,
) -> Period:
    since = dates.decision if dates.decision is not None and dates.decision <= today else today
    rules = [each for each in _candidates(table, act, severity, kind) if each.runs(since, today)]
    current = [each.rule for each in rules if each.runs(today, today)]
    if not current:
        return Period(state="unknown")
    flags: tuple[str, ...] = ("transition",) if len(current) < len(rules) else ()
    for each in rules:
        flags += tuple(flag for flag in each.rule.flags if flag not in flags)
    first = first_publication(dates)
    best: tuple[date, str] | None = None
    for rule, _ in rules:
        clock = rule.publication if clock_name == "publication" else rule.sharing
        if not clock.published:
            if any(rule is each for each in current):
                return Period(state="never", rule=rule.id, flags=flags)
            continue
        known, last = _last_day(clock, dates, today)
        if not known:
            return Period(state="unknown", first_day=first, rule=rule.id, flags=flags)
        if last is not None and (best is None or last < best[0]):
            best = last, rule.id
        if first is None and clock.start != "valid_until":  # an end is no beginning
            first = event_day(clock.start, dates)
    if category in NEGATIVE_CATEGORIES:
        for ceiling in table.ceilings:
            if category not in ceiling.categories or not ceiling.in_force(today):
                continue
            start = next((day for name in ceiling.start if (day := event_day(name, dates)) is not None), None)
            if start is None:
                return Period(state="unknown", first_day=first, rule=ceiling.id, flags=flags)
            last = add_duration(start, ceiling.max) - _DAY
            if best is None or last < best[0]:
                best = last, ceiling.id
    stopped = _stopped(rules, dates, today)
    last_day, rule_id = best if best is not None else (None, current[0].id)
    if dates.upstream_end is not None and (last_day is None or dates.upstream_end < last_day):
        last_day, flags = dates.upstream_end, (*flags, "source_end")
    if stopped is not None and (last_day is None or stopped <= last_day):
        return Period(state="over", first_day=first, last_day=stopped - _DAY, rule=rule_id, flags=flags)
    state: Literal["open", "not_yet", "over"] = "open"
    if last_day is not None and last_day < today:
        state = "over"
    elif first is not None and first > today:
        state = "not_yet"
    return Period(state=state, first_day=first, last_day=last_day, rule=rule_id, flags=flags)


def rules_today(table: PeriodTable, act: str, severity: str | None, kind: SubjectKind, today: date) -> list[PeriodRule]:
    """The rules for such records that are in force on a day."""
    return [each.rule for each in _candidates(table, act, severity, kind) if each.runs(today, today)]


def publication(
    *, act: str, severity: str | None, kind: SubjectKind, category: str, dates: LifeDates, table: PeriodTable, now: datetime,
    minor: bool = False,
) -> Period:
    """How long a record is published; `never` for minors and for what the law has not published."""
    if minor:
        return Period(state="never", rule="minor")
    return _period("publication", act, severity, kind, category, dates, table, legal_day(now))


def sharing(
    *, act: str, severity: str | None, kind: SubjectKind, category: str, dates: LifeDates, table: PeriodTable, now: datetime
) -> Period:
    """How long a record is shared with departments and partners."""
    return _period("sharing", act, severity, kind, category, dates, table, legal_day(now))


def earliest_repair(
    *, act: str, severity: str | None, kind: SubjectKind, dates: LifeDates, table: PeriodTable, now: datetime
) -> date | None:
    """The first day on which repair may be approved under the rules in force now; None when it cannot be computed.

    A rule without a minimum opens repair with the fulfilment of the obligation, at the earliest with its start.
    """
    days = []
    for rule in rules_today(table, act, severity, kind, legal_day(now)):
        start = event_day(rule.publication.start, dates)
        if start is None:
            return None
        days.append(add_duration(start, rule.publication.min) if rule.publication.min else start)
    return max(days, default=None)


_SERIOUS = frozenset({"licence_revoked", "business_restricted", "closure", "practice_ban"})
_MINOR = frozenset({"warning", "criticism"})
_GENERAL = frozenset({"fine", "confiscation", "suspension", "licence_suspended", "grade_lowered"})


def derive_severity(penalty_types: Iterable[str]) -> Severity | None:
    """The severity that follows from the kinds of penalty, the heaviest of several; None: not derivable, so held (domain notes, 7.3)."""
    kinds = frozenset(penalty_types)
    if kinds & _SERIOUS:
        return "serious"
    if not kinds or kinds - _MINOR - _GENERAL:
        return None
    return "minor" if kinds <= _MINOR else "general"

"""How long a record is kept when nobody may be shown it any more (`retention` of the rows of `periods.toml`).

Rules of the reckoning, beside those of `periods`:
- `sharing_end` is the first day on which nobody is shown it any more: the day after the last of its sharing, and of its publication where
  that lasts longer; of a record that was withdrawn, the day on which it was, if that came first; of one that was corrected while it stood,
  no day before the correction: an end that lies further back was written then, and until then it may have been shown;
- only rules in force today count: what was repealed asks for no erasure. Of several that say something the earliest end wins, as of
  every period; one that cannot be reckoned leaves all of them unknown;
- no end lies before the end of sharing, whatever the clock of `retention` starts from; nor before the same day of a later month, counted
  from the day before (Civil Code, article 202), which differs where a month is too short: from 29 February 2024 five years are over with
  28 February 2029, not with the day before it, as of what is shown;
- what is shown today, has no end, or cannot be computed is kept: it is never guessed. So is what a partner asserted: it goes when that
  city erases it, or when the agreement ends.

This room must not erase anything: a day that has come is told to people.
"""

from datetime import date, datetime, timedelta
from typing import Final, Literal

from msgspec import Struct

from gateway.core.records.model import LifeDates, RecordState, SubjectKind
from gateway.core.records.periods import Clock, PeriodTable, add_duration, event_day, legal_day, publication, rules_today, sharing

Why = Literal["foreign", "no_rule", "no_end", "shown", "unknown"]
"""Why no day is known: a partner's · no rule in force says one · the rule has none · it is still shown · it cannot be computed."""

_DAY: Final = timedelta(days=1)
_LAST: Final = date.max - 2 * _DAY
_SHOWN: Final = frozenset({"open", "not_yet"})
_WITHDRAWN: Final = frozenset({"retracted", "repaired"})


class Keeping(Struct, frozen=True, kw_only=True):
    """How long one record is kept: to which last day and by which rule, or why that is not known."""

    state: Literal["open", "running", "over"]
    """`open`: no day is known. `over`: the last day has been."""
    why: Why | None = None
    """Of `open`."""
    last_day: date | None = None
    rule: str | None = None


def speaks(table: PeriodTable, act: str, today: date) -> bool:
    """Whether a rule in force says of any record of an act how long it is kept: others need not be looked at."""
    return any(
        rule.retention is not None and not rule.retention.no_end and rule.takes(act)
        and any(first <= today <= last for first, last in rule.spans())
        for rule in table.rules
    )  # fmt: skip


def retention(
    *, act: str, severity: str | None, kind: SubjectKind, category: str, state: RecordState, foreign: bool, minor: bool, dates: LifeDates,
    changed: date, corrected: date | None, table: PeriodTable, now: datetime,
) -> Keeping:
    """The last day on which a record is kept.

    `changed` is the legal day of its latest change: of a withdrawn one that of its withdrawal, or later; `corrected` that on which it last
    said something else while it was in force. An erased record is kept no more, and is not to be asked about.
    """
    if foreign:
        return Keeping(state="open", why="foreign")
    today = legal_day(now)
    clocks = [(rule.id, rule.retention) for rule in rules_today(table, act, severity, kind, today) if rule.retention is not None]
    if not clocks:
        return Keeping(state="open", why="no_rule")
    about = {"act": act, "severity": severity, "kind": kind, "category": category, "dates": dates, "table": table, "now": now}
    ended: date | Why = "unknown"
    shared = sharing(**about)  # type: ignore[arg-type]  # keys and types as written one line above
    if shared.state in _SHOWN:
        ended = "shown"
    elif shared.state == "over" and shared.last_day is not None:
        published = publication(**about, minor=minor)  # type: ignore[arg-type]  # the same
        if published.state in ("over", "never"):
            ended = max(shared.last_day, published.last_day or shared.last_day)
        elif published.state in _SHOWN:
            ended = "shown"
    if corrected is not None and isinstance(ended, date):
        ended = max(ended, corrected - _DAY)
    if state in _WITHDRAWN:
        left = changed - _DAY
        ended = min(left, ended) if isinstance(ended, date) else left
    if not isinstance(ended, date):
        return Keeping(state="open", why=ended)
    return _earliest(clocks, dates, ended, today)


def _earliest(clocks: list[tuple[str, Clock]], dates: LifeDates, ended: date, today: date) -> Keeping:
    """The first end of several clocks, none of which ends before the record's last day of being shown."""
    best: tuple[date, str] | None = None
    for rule, clock in clocks:
        if clock.no_end or clock.max is None:
            continue
        start = min(ended, _LAST) + _DAY if clock.start == "sharing_end" else event_day(clock.start, dates)
        if start is None:
            return Keeping(state="open", why="unknown", rule=rule)
        last = max(ended, add_duration(start, clock.max) - _DAY, add_duration(start - _DAY, clock.max))
        if clock.until_fulfilled and last < today:
            if dates.obligation_fulfilled is None:
                continue
            last = max(last, dates.obligation_fulfilled)
        if best is None or last < best[0]:
            best = last, rule
    if best is None:
        return Keeping(state="open", why="no_end")
    return Keeping(state="over" if best[0] < today else "running", last_day=best[0], rule=best[1])

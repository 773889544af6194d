"""How long a record is kept: five years from the end of sharing under the shipped rules, and never by a guess."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import PolicyError
from gateway.core.records.catalogue import Catalogue, read_catalogue
from gateway.core.records.model import BasisRef, LifeDates
from gateway.core.records.periods import Clock, PeriodFor, PeriodRule, PeriodTable, Validity, add_duration, publication, sharing
from gateway.core.records.retention import Keeping, retention, speaks

Files = dict[str, bytes]
DAY = timedelta(days=1)
DECIDED, SHOWN = date(2026, 5, 6), date(2026, 5, 11)
ENDED = date(2027, 5, 10)
"""The last day of a general penalty that was published then: a year."""
KEPT = date(2032, 5, 10)


def noon(day: date) -> datetime:
    """Noon in Tonghua."""
    return datetime(day.year, day.month, day.day, 4, tzinfo=UTC)


def kept(table: PeriodTable, today: date, **more: Any) -> Keeping:
    """How long a general penalty of a firm is kept, as of a day."""
    said: dict[str, Any] = {
        "act": "penalty", "severity": "general", "kind": "legal", "category": "penalty", "state": "expired", "foreign": False,
        "minor": False, "changed": today, "corrected": None, "dates": LifeDates(decision=DECIDED, first_publication_here=SHOWN),
    }  # fmt: skip
    return retention(**(said | more), table=table, now=noon(today) if "now" not in more else more["now"])


def test_five_years_from_the_day_on_which_nobody_was_shown_it(catalogue: Catalogue) -> None:
    """Its sharing ended five years ago: it is still kept; five years and a day ago: it was kept long enough."""
    last = kept(catalogue.periods, KEPT)
    assert last == Keeping(state="running", last_day=KEPT, rule="order36-general")
    assert kept(catalogue.periods, KEPT + DAY) == Keeping(state="over", last_day=KEPT, rule="order36-general")
    assert add_duration(ENDED, "P5Y") == KEPT


def test_the_day_is_that_of_beijing(catalogue: Catalogue) -> None:
    """A second before midnight in Beijing it is kept, at midnight no more, whatever day it is in London."""
    midnight = datetime(2032, 5, 10, 16, tzinfo=UTC)
    dates = LifeDates(decision=DECIDED, first_publication_here=SHOWN)
    said: dict[str, Any] = {
        "act": "penalty", "severity": "general", "kind": "legal", "category": "penalty", "state": "expired", "foreign": False,
        "minor": False, "changed": ENDED, "corrected": None, "dates": dates, "table": catalogue.periods,
    }  # fmt: skip
    assert retention(**said, now=midnight - timedelta(seconds=1)).state == "running"
    assert retention(**said, now=midnight).state == "over"


def test_what_is_shown_is_kept(catalogue: Catalogue) -> None:
    """While it is shared no day is known; nor of a licence, which has no end and of which no rule says how long it is kept."""
    assert kept(catalogue.periods, ENDED, state="in_force") == Keeping(state="open", why="shown")
    assert kept(catalogue.periods, ENDED + DAY, state="in_force").state == "running"
    assert kept(catalogue.periods, date(2090, 1, 1), act="licence", category="licence", severity=None).why == "no_rule"


def test_what_cannot_be_computed_is_kept(catalogue: Catalogue) -> None:
    """Without severity no rule is for it; without first publication its end is unknown; both for all time."""
    far = date(2090, 1, 1)
    assert kept(catalogue.periods, far, severity=None).why == "no_rule"
    assert kept(catalogue.periods, far, dates=LifeDates(decision=DECIDED)).why == "unknown"


def test_a_repair_or_a_revocation_ends_sharing(catalogue: Catalogue) -> None:
    """From the day of the repair, which came before the period was over; the day of the change says the same."""
    day = date(2026, 9, 1)
    dates = LifeDates(decision=DECIDED, first_publication_here=SHOWN, repair_approved=day)
    assert kept(catalogue.periods, date(2031, 8, 31), state="repaired", dates=dates, changed=day).state == "running"
    assert kept(catalogue.periods, date(2031, 9, 1), state="repaired", dates=dates, changed=day).state == "over"


def test_what_was_withdrawn_was_shown_to_nobody_since(catalogue: Catalogue) -> None:
    """A withdrawal leaves no date in the record but its change: from that day, or from an end that came before."""
    day, corrected = date(2026, 9, 1), LifeDates(decision=DECIDED)
    assert kept(catalogue.periods, date(2031, 9, 1), state="retracted", dates=corrected, changed=day).last_day == date(2031, 8, 31)
    late = kept(catalogue.periods, KEPT + DAY, state="retracted", changed=date(2030, 1, 1))
    assert (late.state, late.last_day) == ("over", KEPT)


def test_an_end_that_was_written_later_ends_no_sharing_before(catalogue: Catalogue) -> None:
    """Corrected in 2030, it may have been shown until then, whatever end it names since; corrected while it is shown, it is as ever."""
    day = date(2030, 1, 2)
    late = kept(catalogue.periods, date(2035, 1, 1), corrected=day)
    assert (late.state, late.last_day) == ("running", date(2035, 1, 1))
    assert kept(catalogue.periods, date(2035, 1, 2), corrected=day).state == "over"
    assert kept(catalogue.periods, KEPT + DAY, corrected=date(2026, 9, 1)).last_day == KEPT
    gone = kept(catalogue.periods, KEPT + DAY, state="retracted", corrected=day, changed=date(2031, 1, 1))
    assert gone.last_day == date(2035, 1, 1)


def test_a_partners_record_is_kept_until_that_city_erases_it(catalogue: Catalogue) -> None:
    """Whatever its dates say."""
    assert kept(catalogue.periods, date(2090, 1, 1), foreign=True) == Keeping(state="open", why="foreign")


def test_a_minors_record_is_not_published_and_ends_with_its_sharing(catalogue: Catalogue) -> None:
    """Never published is no reason to keep it."""
    assert kept(catalogue.periods, KEPT + DAY, kind="natural", minor=True).state == "over"


def test_of_what_the_law_publishes_never_sharing_counts_alone(catalogue: Catalogue) -> None:
    """A minor penalty is shared for three months and kept five years."""
    light = kept(catalogue.periods, date(2031, 8, 11), severity="minor")
    assert (light.state, light.last_day, light.rule) == ("over", date(2031, 8, 10), "order36-minor")


def rule(name: str, kept_for: Clock | None, *, shared: str = "P1Y", until: date | None = None, no_end: bool = False) -> PeriodRule:
    """A rule for penalties of firms."""
    clock = Clock(max=None if no_end else shared, start="decision", no_end=no_end)
    return PeriodRule(
        id=name,
        for_=PeriodFor(acts=("penalty",), kinds=("legal",)),
        publication=clock,
        sharing=clock,
        retention=kept_for,
        basis=(BasisRef(law="示例条例"),),
        valid=Validity(from_=date(2020, 1, 1), until=until),
    )


FIVE = Clock(max="P5Y", start="sharing_end")


def test_of_several_rules_the_earliest_end_wins_and_the_silent_say_nothing() -> None:
    """Ten years, five years and no word about it: five years; in whatever order they stand."""
    rules = rule("ten", Clock(max="P10Y", start="sharing_end")), rule("five", FIVE), rule("silent", None)
    for order in (rules, rules[::-1]):
        assert kept(PeriodTable(rules=order), date(2040, 1, 1)).rule == "five"


def test_a_rule_that_is_not_in_force_asks_for_no_erasure() -> None:
    """Repealed, it still shortens what is shown, but destroys nothing."""
    repealed = rule("old", FIVE, until=date(2026, 12, 31)), rule("new", None, shared="P3Y")
    table = PeriodTable(rules=repealed)
    assert kept(table, date(2040, 1, 1)) == Keeping(state="open", why="no_rule")
    assert speaks(table, "penalty.food", date(2026, 12, 31))
    assert not speaks(table, "penalty.food", date(2027, 1, 1))
    assert not speaks(table, "honour", date(2026, 12, 31))


def test_another_start_ends_nothing_before_the_end_of_sharing() -> None:
    """A month from the decision is over long before it is shown no more: then it ends with that day."""
    short = PeriodTable(rules=(rule("short", Clock(max="P1M", start="decision")),))
    assert kept(short, date(2027, 5, 5)).why == "shown"
    assert kept(short, date(2027, 5, 6)) == Keeping(state="over", last_day=date(2027, 5, 5), rule="short")


@pytest.mark.parametrize(
    ("ended", "last"),
    [
        (date(2028, 2, 28), date(2033, 2, 28)),  # 29 February has no fifth anniversary
        (date(2028, 2, 29), date(2033, 2, 28)),
        (date(2027, 2, 28), date(2032, 2, 29)),  # counted from 1 March
        (date(2026, 12, 31), date(2031, 12, 31)),
        (date(2027, 1, 30), date(2032, 1, 30)),
    ],
)
def test_five_years_are_whole_in_leap_years_too(ended: date, last: date) -> None:
    """Never a day less than to the same day five years later."""
    dates = LifeDates(decision=date(2026, 5, 6), upstream_end=ended)
    table = PeriodTable(rules=(rule("five", FIVE, shared="P9Y"),))
    assert kept(table, last, dates=dates).state == "running"
    assert kept(table, last + DAY, dates=dates) == Keeping(state="over", last_day=last, rule="five")


def test_a_start_that_is_not_known_leaves_all_unknown() -> None:
    """Another rule that could be reckoned does not decide: the earliest of both is not known."""
    two = PeriodTable(rules=(rule("five", FIVE), rule("listed", Clock(max="P1Y", start="listing"))))
    assert kept(two, date(2090, 1, 1)) == Keeping(state="open", why="unknown", rule="listed")


def test_rules_without_an_end() -> None:
    """A rule that knows no end says nothing beside one that does; alone it keeps the record, and so does an obligation that is not met."""
    open_ = rule("open", Clock(no_end=True))
    assert kept(PeriodTable(rules=(open_,)), date(2090, 1, 1)).why == "no_end"
    assert kept(PeriodTable(rules=(open_, rule("five", FIVE))), date(2090, 1, 1)).rule == "five"
    owed = PeriodTable(rules=(rule("owed", Clock(max="P1Y", start="sharing_end", until_fulfilled=True)),))
    assert kept(owed, date(2090, 1, 1)).why == "no_end"
    paid = LifeDates(decision=DECIDED, obligation_fulfilled=date(2035, 1, 1))
    assert kept(owed, date(2090, 1, 1), dates=paid).last_day == date(2035, 1, 1)


def test_sharing_without_an_end_is_never_over() -> None:
    """What is shared for ever is kept for ever, whatever its retention says."""
    assert kept(PeriodTable(rules=(rule("for-ever", FIVE, no_end=True),)), date(2090, 1, 1)).why == "shown"


@pytest.mark.parametrize(
    ("clock", "what"),
    [
        ('{ max = "P5Y" }', "kept since when"),
        ('{ max = "P5Y", start = "sharing_end", min = "P1Y" }', "other clocks"),
        ('{ max = "P5Y", start = "sharing_end", published = false }', "other clocks"),
    ],
)
def test_a_clock_that_guesses_does_not_parse(policy_files: Files, clock: str, what: str) -> None:
    """No start, an earliest repair, or `published`: none of it says how long a record is kept."""
    text = policy_files["periods.toml"].decode()
    bent = text.replace('retention = { max = "P5Y", start = "sharing_end" }', f"retention = {clock}", 1)
    with pytest.raises(PolicyError, match=what):
        read_catalogue(policy_files | {"periods.toml": bent.encode()})


DAYS = st.dates(date(2026, 4, 1), date(2032, 12, 31))
MAYBE = st.none() | DAYS
LIVES = st.builds(
    LifeDates, decision=DAYS, first_publication_here=MAYBE, first_publication_upstream=MAYBE, conduct_end=MAYBE, listing=MAYBE,
    repair_approved=MAYBE, revoked=MAYBE, obligation_fulfilled=MAYBE, valid_until=MAYBE, upstream_end=MAYBE,
)  # fmt: skip
ACTS = st.sampled_from(
    [
        ("penalty", "penalty"),
        ("serious-list.tax", "blacklist"),
        ("serious-list.market", "blacklist"),
        ("licence", "licence"),
        ("abnormal", "abnormal"),
    ]
)
SEVERITIES = st.sampled_from([None, "minor", "general", "serious"])
TODAY = st.dates(date(2026, 4, 1), date(2060, 12, 31))
STANDING = st.sampled_from(["in_force", "held", "expired"])
STARTS = st.sampled_from(["sharing_end", "decision", "first_publication", "listing", "conduct_end"])


def with_start(table: PeriodTable, start: Any) -> PeriodTable:
    """The same rules, keeping for two years from another event."""
    clock = Clock(max="P2Y", start=start)
    return msgspec.structs.replace(
        table, rules=tuple(msgspec.structs.replace(each, retention=each.retention and clock) for each in table.rules)
    )


@given(act=ACTS, severity=SEVERITIES, dates=LIVES, today=TODAY, state=STANDING, start=STARTS)
def test_nothing_is_due_before_sharing_ended(
    catalogue: Catalogue, act: Any, severity: Any, dates: Any, today: Any, state: Any, start: Any
) -> None:
    """Of what was not withdrawn: due means that sharing and publication are over, and were on the last day of keeping or before."""
    table = with_start(catalogue.periods, start)
    about: dict[str, Any] = {"act": act[0], "category": act[1], "severity": severity, "dates": dates}
    found = kept(table, today, state=state, **about)
    periods = [clock(**about, kind="legal", table=table, now=noon(today)) for clock in (sharing, publication)]
    if found.last_day is not None:
        assert periods[0].state == "over"
        assert periods[1].state in ("over", "never")
        assert all(each.last_day is None or each.last_day <= found.last_day for each in periods)
        assert (found.state == "over") == (found.last_day < today)
    if any(each.state in ("unknown", "open", "not_yet") for each in periods):
        assert found.state == "open"


@given(severity=SEVERITIES, dates=LIVES, shown=DAYS, today=TODAY, later=st.integers(1, 2000), start=STARTS)
def test_a_later_publication_ends_no_keeping_earlier(
    catalogue: Catalogue, severity: Any, dates: Any, shown: date, today: Any, later: int, start: Any
) -> None:
    """First shown later, it is kept no shorter."""
    table = with_start(catalogue.periods, start)
    days = shown, shown + timedelta(days=later)
    both = [msgspec.structs.replace(dates, first_publication_here=day, first_publication_upstream=None) for day in days]
    first, second = (kept(table, today, severity=severity, dates=each) for each in both)
    if second.last_day is not None:
        assert first.last_day is not None
        assert first.last_day <= second.last_day


@given(dates=LIVES, today=TODAY, left=DAYS, later=st.integers(0, 2000))
def test_a_later_withdrawal_ends_no_keeping_earlier(catalogue: Catalogue, dates: Any, today: Any, left: date, later: int) -> None:
    """Withdrawn later, it is kept no shorter; and always until the day of its withdrawal, or its period's end."""
    days = left, left + timedelta(days=later)
    first, second = (kept(catalogue.periods, today, state="retracted", dates=dates, changed=day) for day in days)
    assert first.last_day is not None
    assert second.last_day is not None
    assert first.last_day <= second.last_day
    assert second.last_day <= add_duration(days[1], "P5Y") - DAY

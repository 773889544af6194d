"""Clocks: rules of Orders 36 and 58, transition, ceilings, and what happens when something is not known."""

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.core.records.catalogue import Catalogue, read_catalogue
from gateway.core.records.model import DatasetId, LifeDates, Period
from gateway.core.records.periods import (
    LEGAL_ZONE,
    add_duration,
    derive_severity,
    duration_parts,
    earliest_repair,
    end_instant,
    first_instant,
    legal_day,
    publication,
    sharing,
)

NOW = datetime(2026, 6, 1, 2, 30, tzinfo=UTC)
Files = dict[str, bytes]


def noon(day: date) -> datetime:
    """Noon in Tonghua."""
    return datetime(day.year, day.month, day.day, 4, tzinfo=UTC)


def at(event: str, day: date) -> dict[str, Any]:
    """One date of the life of a record."""
    return {event: day}


def penalty(
    catalogue: Catalogue,
    now: datetime = NOW,
    *,
    severity: str | None = "general",
    clock: Any = publication,
    act: str = "penalty",
    category: str = "penalty",
    **dates: Any,
) -> Period:
    """The period of a penalty with these dates."""
    made: Period = clock(
        act=act, severity=severity, kind="legal", category=category, dates=LifeDates(**dates), table=catalogue.periods, now=now
    )
    return made


def test_general_penalty_under_order_36(catalogue: Catalogue) -> None:
    """A year from first publication, the last day being the day before the anniversary."""
    period = penalty(catalogue, decision=date(2026, 5, 6), first_publication_here=date(2026, 5, 11))
    assert (period.state, period.first_day, period.last_day, period.rule) == (
        "open",
        date(2026, 5, 11),
        date(2027, 5, 10),
        "order36-general",
    )
    assert "transition" not in period.flags


def test_serious_penalty_under_order_36(catalogue: Catalogue) -> None:
    """Three years for a serious one."""
    period = penalty(catalogue, severity="serious", decision=date(2026, 5, 6), first_publication_here=date(2026, 5, 11))
    assert (period.last_day, period.rule) == (date(2029, 5, 10), "order36-serious")


def test_minor_penalty_is_not_published(catalogue: Catalogue) -> None:
    """A minor one is never published, but shared for three months."""
    dates: dict[str, Any] = {"decision": date(2026, 5, 6), "first_publication_here": date(2026, 5, 11)}
    assert penalty(catalogue, severity="minor", **dates).state == "never"
    shared = penalty(catalogue, severity="minor", clock=sharing, **dates)
    assert (shared.state, shared.last_day) == ("open", date(2026, 8, 10))


def test_transition_takes_the_earlier_end(catalogue: Catalogue) -> None:
    """Of a decision before 1 April 2026 both orders are computed, and the earlier end wins."""
    new = penalty(catalogue, decision=date(2026, 3, 2), first_publication_here=date(2026, 3, 9))
    assert (new.last_day, new.rule) == (date(2027, 3, 8), "order36-general")
    assert "transition" in new.flags
    old = penalty(catalogue, decision=date(2023, 7, 1), first_publication_here=date(2026, 4, 20))
    assert (old.last_day, old.rule) == (date(2026, 6, 30), "order58-general")
    before_both = penalty(catalogue, decision=date(2022, 7, 1), first_publication_here=date(2026, 4, 20))
    assert (before_both.state, before_both.last_day) == ("over", date(2025, 6, 30))


def test_order_58_alone(catalogue: Catalogue) -> None:
    """While Order 58 was in force, it alone counted: three years from the decision."""
    period = penalty(catalogue, noon(date(2025, 6, 1)), decision=date(2024, 2, 29), first_publication_here=date(2024, 3, 5))
    assert (period.state, period.last_day, period.rule, period.flags) == ("open", date(2027, 2, 27), "order58-general", ())


def test_first_publication_is_the_earliest_known(catalogue: Catalogue) -> None:
    """A year runs from the earlier of the two first publications."""
    period = penalty(
        catalogue, decision=date(2026, 4, 2), first_publication_here=date(2026, 5, 11), first_publication_upstream=date(2026, 4, 10)
    )
    assert (period.first_day, period.last_day) == (date(2026, 4, 10), date(2027, 4, 9))


def test_end_of_the_source_may_come_earlier_never_later(catalogue: Catalogue) -> None:
    """An end that the source gave shortens the period and never lengthens it."""
    dates: dict[str, Any] = {"decision": date(2026, 5, 6), "first_publication_here": date(2026, 5, 11)}
    assert penalty(catalogue, **dates, upstream_end=date(2026, 12, 31)).last_day == date(2026, 12, 31)
    assert penalty(catalogue, **dates, upstream_end=date(2030, 12, 31)).last_day == date(2027, 5, 10)
    assert penalty(catalogue, **dates, upstream_end=date(2026, 5, 20)).state == "over"


def test_ceiling(catalogue: Catalogue) -> None:
    """Five years from the end of the conduct, or from the decision, are the most there is."""
    late = date(2026, 5, 11)
    dates: dict[str, Any] = {"decision": date(2026, 4, 6), "first_publication_here": late}
    assert penalty(catalogue, severity="serious", conduct_end=date(2022, 1, 10), **dates).last_day == date(2027, 1, 9)
    assert penalty(catalogue, severity="serious", conduct_end=date(2021, 5, 31), **dates).state == "over"


def test_unknown_is_not_published(catalogue: Catalogue) -> None:
    """Without first publication, severity, a rule of the act or of the kind nothing can be computed."""
    assert penalty(catalogue, decision=date(2026, 5, 6)).state == "unknown"
    assert penalty(catalogue, severity=None, decision=date(2026, 5, 6), first_publication_here=date(2026, 5, 11)).state == "unknown"
    assert penalty(catalogue, act="punishment", decision=date(2026, 5, 6), first_publication_here=date(2026, 5, 11)).state == "unknown"
    assert penalty(catalogue, first_publication_here=date(2026, 5, 11)).state == "unknown"
    natural = publication(
        act="registration",
        severity=None,
        kind="natural",
        category="registration",
        dates=LifeDates(first_publication_here=date(2026, 5, 11)),
        table=catalogue.periods,
        now=NOW,
    )
    assert natural.state == "unknown"


def test_repair_and_revocation_end_it_at_once(catalogue: Catalogue) -> None:
    """From the day of repair or revocation it is over; an approval in the future is not yet one."""
    dates: dict[str, Any] = {"decision": date(2026, 5, 6), "first_publication_here": date(2026, 5, 11)}
    for event in ("repair_approved", "revoked"):
        stopped = penalty(catalogue, **dates, **at(event, date(2026, 6, 1)))
        assert (stopped.state, stopped.last_day) == ("over", date(2026, 5, 31))
        assert penalty(catalogue, **dates, **at(event, date(2026, 6, 2))).state == "open"
        assert penalty(catalogue, clock=sharing, **dates, **at(event, date(2026, 6, 1))).state == "over"


def test_not_yet(catalogue: Catalogue) -> None:
    """Before its first day a record is not yet shown."""
    assert penalty(catalogue, decision=date(2026, 5, 6), first_publication_here=date(2026, 6, 2)).state == "not_yet"


def test_minors_never(catalogue: Catalogue) -> None:
    """No record of a minor is published, whatever the rules."""
    dates = LifeDates(decision=date(2026, 5, 6), first_publication_here=date(2026, 5, 11))
    period = publication(
        act="penalty", severity="general", kind="natural", category="penalty", dates=dates, table=catalogue.periods, now=NOW, minor=True
    )
    assert (period.state, period.rule) == ("never", "minor")


@pytest.mark.parametrize(
    ("act", "category", "rule"),
    [
        ("registration", "registration", "no-statutory-end-registration"),
        ("licence", "licence", "no-statutory-end-licence"),
        ("honour", "redlist", "no-statutory-end-honour"),
    ],
)
def test_no_statutory_end(catalogue: Catalogue, act: str, category: str, rule: str) -> None:
    """Registrations, licences and honours stay, past their own validity too, until they are revoked."""
    dates: dict[str, Any] = {"first_publication_here": date(2024, 5, 11), "valid_until": date(2025, 1, 1)}
    period = penalty(catalogue, severity=None, act=act, category=category, **dates)
    assert (period.state, period.last_day, period.rule) == ("open", None, rule)
    assert penalty(catalogue, severity=None, act=act, category=category, **dates, revoked=date(2026, 1, 1)).state == "over"


def test_serious_list_with_sector_rule(catalogue: Catalogue) -> None:
    """The general rule and the rule of the sector are both computed; the list names the one that it follows."""
    dates: dict[str, Any] = {"decision": date(2026, 5, 6), "first_publication_here": date(2026, 5, 11)}
    period = penalty(catalogue, severity="serious", act="serious-list.tax", category="blacklist", **dates)
    assert (period.last_day, period.rule) == (date(2029, 5, 10), catalogue.lists["tax-violations"].period_rule)
    assert "verify" in period.flags
    other = penalty(catalogue, severity="serious", act="serious-list.food", category="blacklist", **dates)
    assert "verify" not in other.flags
    assert penalty(catalogue, severity="serious", act="serious-listing", category="blacklist", **dates).state == "unknown"


def test_sector_rule_without_live_basis_does_not_count(policy_files: Files) -> None:
    """A shorter sector rule wins while its law is in force, and is gone with it."""
    text = policy_files["periods.toml"].replace(b'publication = { min = "P6M", max = "P3Y"', b'publication = { min = "P6M", max = "P1Y"')
    dates: dict[str, Any] = {"decision": date(2026, 5, 6), "first_publication_here": date(2026, 5, 11)}
    live = read_catalogue(policy_files | {"periods.toml": text})
    assert penalty(live, severity="serious", act="serious-list.tax", category="blacklist", **dates).rule == "tax-order54"
    law = '{ law = "重大税收违法失信主体信息公布管理办法", from = 2022-02-01'.encode()
    gone = read_catalogue(policy_files | {"periods.toml": text.replace(law, law + b", until = 2026-04-30")})
    assert penalty(gone, severity="serious", act="serious-list.tax", category="blacklist", **dates).rule == "order36-serious"


def test_running_on_until_fulfilled(policy_files: Files) -> None:
    """A rule that says so runs on after its maximum while the obligation is open, up to the ceiling."""
    text = policy_files["periods.toml"].replace(
        b'publication = { min = "P3M", max = "P1Y", start = "first_publication" }',
        b'publication = { min = "P3M", max = "P1Y", start = "first_publication", until_fulfilled = true }',
    )
    catalogue = read_catalogue(policy_files | {"periods.toml": text})
    dates: dict[str, Any] = {"decision": date(2026, 5, 6), "first_publication_here": date(2026, 5, 11)}
    later = noon(date(2028, 1, 1))
    assert (penalty(catalogue, later, **dates).state, penalty(catalogue, later, **dates).last_day) == ("open", date(2031, 5, 5))
    assert penalty(catalogue, later, **dates, obligation_fulfilled=date(2027, 9, 1)).state == "over"
    assert penalty(catalogue, noon(date(2031, 5, 6)), **dates).state == "over"


def test_clock_without_a_start_needs_an_end_from_the_source(policy_files: Files) -> None:
    """Where the text names no start, only the end that the source gave counts; without one it is unknown."""
    text = policy_files["periods.toml"].replace(
        b'publication = { min = "P3M", max = "P1Y", start = "first_publication" }', b'publication = { max = "P1Y" }'
    )
    catalogue = read_catalogue(policy_files | {"periods.toml": text})
    dates: dict[str, Any] = {"decision": date(2026, 5, 6), "first_publication_here": date(2026, 5, 11)}
    assert penalty(catalogue, **dates).state == "unknown"
    assert penalty(catalogue, **dates, upstream_end=date(2026, 9, 30)).last_day == date(2026, 9, 30)


def test_earliest_repair(catalogue: Catalogue) -> None:
    """Repair opens after the minimum; for a minor one at once; without a start nobody can say."""
    dates = LifeDates(decision=date(2026, 5, 6), first_publication_here=date(2026, 5, 11))
    days = [
        earliest_repair(act="penalty", severity=severity, kind="legal", dates=dates, table=catalogue.periods, now=NOW)
        for severity in ("minor", "general", "serious", None)
    ]
    assert days == [date(2026, 5, 11), date(2026, 8, 11), date(2027, 5, 11), None]
    assert earliest_repair(act="penalty", severity="general", kind="legal", dates=LifeDates(), table=catalogue.periods, now=NOW) is None
    at_58 = earliest_repair(
        act="penalty.food", severity="general", kind="legal", dates=dates, table=catalogue.periods, now=noon(date(2026, 3, 1))
    )
    assert at_58 == date(2027, 5, 6)


def test_days_of_law() -> None:
    """A legal day begins at 16:00 UTC of the day before and its end is exclusive."""
    assert first_instant(date(2026, 6, 1)) == datetime(2026, 5, 31, 16, tzinfo=UTC)
    assert end_instant(date(2027, 3, 8)) == datetime(2027, 3, 8, 16, tzinfo=UTC)
    assert legal_day(datetime(2026, 5, 31, 15, 59, 59, tzinfo=UTC)) == date(2026, 5, 31)
    assert legal_day(datetime(2026, 5, 31, 16, tzinfo=UTC)) == date(2026, 6, 1)
    assert legal_day(datetime(2026, 5, 31, 17, 59, tzinfo=timezone(timedelta(hours=2)))) == date(2026, 5, 31)
    assert legal_day(datetime(2026, 6, 1, tzinfo=LEGAL_ZONE)) == date(2026, 6, 1)


def test_last_day_is_shown_and_the_next_is_not(catalogue: Catalogue) -> None:
    """Shown until midnight of the last day, not a second longer."""
    dates: dict[str, Any] = {"decision": date(2026, 5, 6), "first_publication_here": date(2026, 5, 11)}
    last = penalty(catalogue, **dates).last_day
    assert last is not None
    end = end_instant(last)
    assert penalty(catalogue, end - timedelta(seconds=1), **dates).state == "open"
    assert penalty(catalogue, end, **dates).state == "over"


@pytest.mark.parametrize(
    ("start", "text", "expected"),
    [
        (date(2024, 2, 29), "P1Y", date(2025, 2, 28)),
        (date(2026, 11, 30), "P3M", date(2027, 2, 28)),
        (date(2026, 1, 31), "P1M", date(2026, 2, 28)),
        (date(2026, 12, 31), "P2M", date(2027, 2, 28)),
        (date(2026, 1, 31), "P1M3D", date(2026, 3, 3)),
        (date(2026, 1, 1), "P10D", date(2026, 1, 11)),
        (date(2026, 5, 31), "P1Y6M", date(2027, 11, 30)),
    ],
)
def test_calendar_months_are_clamped(start: date, text: str, expected: date) -> None:
    """A month later than the 31st is the last day of the month."""
    assert add_duration(start, text) == expected


@pytest.mark.parametrize("text", ["P", "3M", "PT1H", "P-1Y", "", "P1W"])
def test_no_other_durations(text: str) -> None:
    """Durations are of years, months and days."""
    with pytest.raises(ValueError, match="duration"):
        duration_parts(text)


@given(st.dates(date(1990, 1, 1), date(2100, 1, 1)), st.integers(0, 120), st.integers(0, 400))
def test_longer_durations_end_later(start: date, months: int, days: int) -> None:
    """More months never end earlier, and a day more ends a day later."""
    assert add_duration(start, f"P{months}M") <= add_duration(start, f"P{months + 1}M")
    assert add_duration(start, f"P{months}M{days + 1}D") - add_duration(start, f"P{months}M{days}D") == timedelta(days=1)


days = st.dates(date(2021, 1, 1), date(2031, 12, 31))


def test_what_is_over_stays_over(catalogue: Catalogue) -> None:
    """Time never reopens a period, ends never move later, and nothing is open outside its days."""

    @given(decision=days, published=days, severity=st.sampled_from(["minor", "general", "serious"]), now=days, later=st.integers(0, 3000))
    def holds(decision: date, published: date, severity: str, now: date, later: int) -> None:
        assume(decision <= now)
        dates = LifeDates(decision=decision, first_publication_here=max(decision, published))
        about: dict[str, Any] = {
            "act": "penalty",
            "severity": severity,
            "kind": "legal",
            "category": "penalty",
            "dates": dates,
            "table": catalogue.periods,
        }
        first = publication(**about, now=noon(now))
        second = publication(**about, now=noon(now + timedelta(days=later)))
        if first.state == "over":
            assert second.state in ("over", "never")
        if first.last_day and second.last_day:
            assert second.last_day <= first.last_day
        if first.state == "open":
            assert first.first_day is not None
            assert first.last_day is not None
            assert first.first_day <= now <= first.last_day
            assert first.last_day <= add_duration(decision, "P5Y")

    holds()


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (["warning"], "minor"),
        (["warning", "criticism"], "minor"),
        (["fine"], "general"),
        (["warning", "fine"], "general"),
        (["confiscation"], "general"),
        (["licence_suspended"], "general"),
        (["licence_revoked"], "serious"),
        (["fine", "practice_ban"], "serious"),
        (["closure"], "serious"),
        (["business_restricted", "other"], "serious"),
        (["detention"], None),
        (["other"], None),
        (["fine", "other"], None),
        (["licence_suspended_or_revoked"], None),
        ([], None),
    ],
)
def test_severity_from_kinds_of_penalty(kinds: list[str], expected: str | None) -> None:
    """Severity follows from the heaviest kind; detention, other and what may be a revocation are not derivable."""
    assert derive_severity(kinds) == expected


def test_every_kind_of_penalty_is_thought_of(catalogue: Catalogue) -> None:
    """Each value of the enumeration alone gives a severity, or is one of the three that are held."""
    values = catalogue.datasets[DatasetId("administrative-penalties")].fields["penalty_type"].values
    held = {code for code in values if derive_severity([code]) is None}
    assert held == {"detention", "other", "licence_suspended_or_revoked"}


def test_periods_are_plain_values(catalogue: Catalogue) -> None:
    """A period can be told as JSON and compared."""
    period = penalty(catalogue, decision=date(2026, 5, 6), first_publication_here=date(2026, 5, 11))
    assert msgspec.json.decode(msgspec.json.encode(period), type=Period) == period


def test_the_end_of_the_calendar_is_no_fault(catalogue: Catalogue) -> None:
    """Days near 9999-12-31, which departments write for "never", are reckoned without an error and end nothing late."""
    last = date(9999, 12, 31)
    assert add_duration(last, "P5Y") == add_duration(last, "P1D") == add_duration(date(9999, 6, 1), "P1Y") == date(9999, 12, 30)
    assert end_instant(last) == end_instant(date(9999, 12, 30))
    dates: dict[str, Any] = {"decision": date(2026, 5, 6), "first_publication_here": date(2026, 5, 7)}
    dates |= {"conduct_end": last, "valid_until": last}
    assert penalty(catalogue, severity="general", **dates).last_day == date(2027, 5, 6)


def test_an_assessment_ends_with_its_validity(catalogue: Catalogue) -> None:
    """A rating is shown from when it is first published to the last day of its validity; one without validity is not computable."""
    said: dict[str, Any] = {"act": "assessment", "severity": None, "kind": "legal", "category": "evaluation", "table": catalogue.periods}
    dates = LifeDates(decision=date(2026, 4, 20), valid_until=date(2026, 6, 1))
    for day, state in ((date(2026, 5, 1), "open"), (date(2026, 6, 1), "open"), (date(2026, 6, 2), "over")):
        period = publication(**said, dates=dates, now=datetime(day.year, day.month, day.day, 4, tzinfo=UTC))
        assert (period.state, period.last_day, period.first_day) == (state, date(2026, 6, 1), None)
    assert publication(**said, dates=LifeDates(decision=date(2026, 4, 20)), now=datetime(2026, 5, 1, tzinfo=UTC)).state == "unknown"


def test_an_entry_that_was_removed_is_over(catalogue: Catalogue) -> None:
    """The day on which an authority took a subject off its list ends the entry, which else runs to the ceiling."""
    said: dict[str, Any] = {"act": "abnormal", "severity": None, "kind": "legal", "category": "abnormal", "table": catalogue.periods}
    now = datetime(2026, 6, 1, 4, tzinfo=UTC)
    entered = LifeDates(decision=date(2026, 1, 6), listing=date(2026, 1, 6))
    period = publication(**said, dates=entered, now=now)
    assert (period.state, period.last_day, period.rule) == ("open", date(2031, 1, 5), "ceiling-five-years")
    assert publication(**said, dates=msgspec.structs.replace(entered, obligation_fulfilled=date(2026, 5, 20)), now=now).state == "over"

"""Token buckets with cost: the law of what they let through, debts, and how a cost is written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.callers.buckets import (
    FIFTHS,
    Level,
    Quota,
    decimal,
    is_full,
    level_at,
    owe,
    pay,
    pay_both,
    remaining,
    seconds_until,
    take,
    told,
)

BURST = Quota(name="burst", q=60, w=60)
DAY = Quota(name="day", q=5000, w=86_400)

STEPS = st.lists(st.tuples(st.floats(0, 90, allow_nan=False), st.integers(1, 30)), min_size=1, max_size=80)


@given(q=st.integers(1, 500), w=st.integers(1, 3600), steps=STEPS)
def test_a_window_lets_through_no_more_than_the_quota_and_what_flowed_in(q: int, w: int, steps: list[tuple[float, int]]) -> None:
    """In any time t from any request on, at most q + q·t/w requests are admitted: a window boundary adds nothing."""
    quota = Quota(name="burst", q=q, w=w)
    level: tuple[Level | None, ...] = (None,)
    now, admitted = 1000.0, []
    for pause, fifths in steps:
        now += pause
        fifths = min(fifths, quota.capacity)
        enough, level = take(level, (quota,), fifths, now)
        if enough:
            admitted.append((now, fifths))
    for begin, (start, _) in enumerate(admitted):
        total = 0
        for moment, fifths in admitted[begin:]:
            total += fifths
            assert total <= quota.capacity + quota.rate * (moment - start) + 1e-6


@given(steps=STEPS)
def test_a_refusal_takes_nothing_from_any_bucket(steps: list[tuple[float, int]]) -> None:
    """Either every bucket pays or none does."""
    levels: tuple[Level | None, ...] = (None, None)
    now = 0.0
    for pause, fifths in steps:
        now += pause
        before = [level_at(level, quota, now) for level, quota in zip(levels, (BURST, DAY), strict=True)]
        enough, after = take(levels, (BURST, DAY), fifths, now)
        assert [level.fifths for level in after] == [there - (fifths if enough else 0) for there in before]
        levels = after


def test_a_debt_delays_the_next_request() -> None:
    """What is owed may bring a bucket below nothing, and has to flow in again before anything is let through."""
    levels = owe((None,), (BURST,), 70 * FIFTHS, 0.0)
    assert remaining(levels[0], BURST, 0.0) == 0
    assert seconds_until(levels[0], BURST, 0.0, FIFTHS) == 11
    assert not take(levels, (BURST,), 1, 10.0)[0]
    assert take(levels, (BURST,), FIFTHS, 11.0)[0]


def test_a_cost_beyond_the_capacity_needs_a_full_bucket() -> None:
    """A call that costs more than a bucket holds is let through from a full one only, and leaves a debt."""
    enough, levels = take((None,), (BURST,), 100 * FIFTHS, 0.0)
    assert enough
    assert levels[0].fifths == -40 * FIFTHS
    assert not take((Level(BURST.capacity - 1, 0.0),), (BURST,), 100 * FIFTHS, 0.0)[0]


def test_a_clock_set_back_fills_nothing() -> None:
    """Time that runs backwards gives no tokens."""
    assert level_at(Level(3.0, 100.0), BURST, 40.0) == 3.0


def test_a_full_bucket_may_be_forgotten() -> None:
    """A bucket is full again after the time that its debt needs, not before."""
    level = owe((None,), (BURST,), 10 * FIFTHS, 0.0)[0]
    assert not is_full(level, BURST, 9.9)
    assert is_full(level, BURST, 10.0)


@pytest.mark.parametrize(("fifths", "written"), [(5, "1"), (1, "0.2"), (7, "1.4"), (0, "0"), (25, "5"), (4, "0.8")])
def test_a_cost_is_written_as_a_decimal(fifths: int, written: str) -> None:
    """Fifths of a request read as tenths, without a trailing zero."""
    assert decimal(fifths) == written


def test_what_remains_is_rounded_down() -> None:
    """Nine tenths of a request are none."""
    assert remaining(Level(4.0, 0.0), BURST, 0.0) == 0
    assert remaining(Level(5.0, 0.0), BURST, 0.0) == 1
    assert remaining(Level(-5.0, 0.0), BURST, 0.0) == 0


@given(steps=st.lists(st.tuples(st.floats(0, 100), st.integers(0, 30)), max_size=30))
def test_paying_in_one_pass_is_taking_and_telling(steps: list[tuple[float, int]]) -> None:
    """`pay` leaves the levels of `take` and says what `told` says; where one refuses, so does the other."""
    quotas = (Quota(name="burst", q=2, w=10), Quota(name="day", q=9, w=300))
    levels: tuple[Level | None, ...] = (None, None)
    now = 0.0
    for wait, fifths in steps:
        now += wait
        enough, after = take(levels, quotas, fifths, now)
        paid = pay(levels, quotas, fifths, now)
        assert (paid is not None) is enough
        if paid is not None:
            said = ", ".join(f'"{name}";r={left};t={seconds}' for name, left, seconds in told(after, quotas, now))
            assert paid == (after, said)
        if levels[0] is not None and levels[1] is not None:
            assert pay_both((levels[0], levels[1]), quotas, fifths, now) == paid, "written out for two"
        if paid is not None:
            levels = after

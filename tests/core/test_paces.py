"""Nothing is done again sooner than its pace, whatever the clock does."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.paces import Paces

NOW = datetime(2026, 6, 2, tzinfo=UTC)
SPANS = st.timedeltas(min_value=timedelta(seconds=1), max_value=timedelta(days=2))


def test_what_was_never_done_is_due() -> None:
    """Each name for itself, and everything once it is all forgotten."""
    paces = Paces()
    paces.did("one", NOW)
    assert (paces.due("one", NOW, timedelta(minutes=1)), paces.due("other", NOW, timedelta(minutes=1))) == (False, True)
    paces.forget()
    assert paces.due("one", NOW, timedelta(minutes=1))


@given(SPANS, SPANS)
def test_it_is_due_again_after_its_time(every: timedelta, later: timedelta) -> None:
    """At its time exactly, and not before."""
    paces = Paces()
    paces.did("one", NOW)
    assert paces.due("one", NOW + later, every) == (later >= every)


@given(SPANS, SPANS)
def test_what_a_clock_ahead_has_noted_is_due_when_it_is_right(every: timedelta, ahead: timedelta) -> None:
    """However far it was ahead, and from then on the pace is kept again."""
    paces = Paces()
    paces.did("one", NOW + ahead)
    assert paces.due("one", NOW, every)
    paces.did("one", NOW)
    assert not paces.due("one", NOW, every)

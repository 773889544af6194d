"""Cursors: sealed, deterministic, bound to caller, plan, query and day."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.core.errors import BadCursor, CursorExpired
from gateway.operations.asking import Position
from gateway.web.cursors import Binding, Cursors

DAY = date(2026, 11, 4)
CURSORS = Cursors(bytes(range(32)))
MINE = Binding(tier="public", purpose="open.read", app="", plan="p1", query="/v1/subjects?kind=enterprise")
HERE = Position(snapshot=88213, keys=("2026-03-02", "rec_2222222222222222222222222a"))
FIRST = "https://h/v1/subjects?kind=enterprise"


@given(
    snapshot=st.integers(0, 2**62),
    back=st.booleans(),
    keys=st.lists(st.one_of(st.none(), st.booleans(), st.integers(-(2**40), 2**40), st.text(max_size=40)), max_size=4),
)
def test_a_position_comes_back_as_it_went(snapshot: int, back: bool, keys: list[str | int | bool | None]) -> None:
    """Opening undoes sealing."""
    position = Position(snapshot=snapshot, keys=tuple(keys), back=back)
    assert CURSORS.open(CURSORS.seal(position, MINE, DAY), MINE, DAY, FIRST) == position


def test_sealing_is_deterministic_and_tells_nothing() -> None:
    """The same position on one day is the same cursor, another day another one, and no key can be read in it."""
    assert CURSORS.seal(HERE, MINE, DAY) == CURSORS.seal(HERE, MINE, DAY)
    assert CURSORS.seal(HERE, MINE, DAY) != CURSORS.seal(HERE, MINE, DAY + timedelta(days=1))
    assert CURSORS.seal(HERE, MINE, DAY).startswith("c1.")
    assert "rec_" not in CURSORS.seal(HERE, MINE, DAY)


@pytest.mark.parametrize(
    "change", [{"tier": "department"}, {"purpose": "dept.supervision"}, {"app": "app-1"}, {"query": "/v1/subjects?kind=organ"}]
)
def test_somebody_elses_cursor_is_bad(change: dict[str, str]) -> None:
    """Other tier, purpose, application or query: the same answer as for a forged one, however old."""
    cursor = CURSORS.seal(HERE, MINE, DAY)
    for day in (DAY, DAY + timedelta(days=9)):
        with pytest.raises(BadCursor):
            CURSORS.open(cursor, replace(MINE, **change), day, FIRST)


def test_own_cursor_lives_to_the_end_of_the_day_after_next() -> None:
    """48 to 72 hours; then it is expired, and says where to start again."""
    cursor = CURSORS.seal(HERE, MINE, DAY)
    assert CURSORS.open(cursor, MINE, DAY + timedelta(days=2), FIRST) == HERE
    with pytest.raises(CursorExpired) as caught:
        CURSORS.open(cursor, MINE, DAY + timedelta(days=3), FIRST)
    assert caught.value.next_url == FIRST


def test_own_cursor_of_another_policy_is_expired() -> None:
    """When the plan changes, a walk starts anew."""
    with pytest.raises(CursorExpired):
        CURSORS.open(CURSORS.seal(HERE, MINE, DAY), replace(MINE, plan="p2"), DAY, FIRST)


@pytest.mark.parametrize(
    "forged", ["", "c1.", "c2.AAAA", "c1.AAAA", "c1.====", "c1." + "A" * 3000, "c1.日本", "x", "c1.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"]
)
def test_forged_cursors_are_bad(forged: str) -> None:
    """Nothing but what we sealed opens."""
    with pytest.raises(BadCursor):
        CURSORS.open(forged, MINE, DAY, FIRST)


def test_one_changed_character_spoils_a_cursor() -> None:
    """Every character counts, also the last one's unused bits."""
    cursor = CURSORS.seal(HERE, MINE, DAY)
    for at in range(3, len(cursor)):
        for other in ("A", "B", "_"):
            if cursor[at] != other:
                with pytest.raises(BadCursor):
                    CURSORS.open(cursor[:at] + other + cursor[at + 1 :], MINE, DAY, FIRST)


def test_another_key_opens_nothing() -> None:
    """A cursor of another gateway is bad."""
    with pytest.raises(BadCursor):
        Cursors(bytes(32)).open(CURSORS.seal(HERE, MINE, DAY), MINE, DAY, FIRST)

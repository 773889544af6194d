"""Entries: one form, and what a monitor finds."""

import pytest

from gateway.core.errors import ExchangeError
from gateway.core.exchange.wire import b64
from gateway.core.transparency.entries import Entry, Place, entry_bytes, read_entry, read_place
from gateway.core.transparency.monitoring import Difference, Reading, differences

A, B, C = (f"rec_{letter * 25}a" for letter in "abc")
ONE, TWO = bytes([1]) * 32, bytes([2]) * 32


def entry(rid: str, op: str, v: int, commitment: bytes | None, prev: str | None = None) -> bytes:
    made = Entry(
        op=op,  # type: ignore[arg-type]
        rid=rid,
        v=v,
        c=None if commitment is None else b64(commitment),
        at="2026-06-01T02:00:00Z",
        authority=None,
        reason=None,
        prev=prev,
    )
    return entry_bytes(made)


GOOD = entry(A, "list", 1, ONE)


@pytest.mark.parametrize(
    "body",
    [
        GOOD.replace(b'"v":1', b'"v": 1'),
        GOOD.replace(b'"v":1', b'"v":0'),
        GOOD.replace(b'"op":"list"', b'"op":"other"'),
        GOOD.replace(b'"op":"list"', b'"op":"remove"'),
        GOOD.replace(b'"prev":null', b'"prev":"2026/01"'),
        GOOD.replace(b'"rid":"rec_a', b'"rid":"sub_a'),
        GOOD[:-1] + b',"x":1}',
        entry(A, "list", 1, ONE).replace(b'"c":"', b'"c":"A'),
        b"",
    ],
)
def test_an_entry_has_one_form(body: bytes) -> None:
    """Another spelling, an unknown member, a commitment where nothing is shown: no entry."""
    assert read_entry(GOOD).rid == A
    with pytest.raises(ExchangeError) as caught:
        read_entry(body)
    assert caught.value.code == "SCHEMA_LINE"


def test_places_read_back() -> None:
    """A place is year and index, without leading zeros."""
    assert read_place(str(Place(2026, 411))) == Place(2026, 411)
    for text in ("2026/01", "2026", "26/1", "2026/-1"):
        with pytest.raises(ExchangeError):
            read_place(text)


def test_an_entry_follows_the_one_before() -> None:
    """Who reads a log refuses an entry that leaves one of the same record out, or counts wrongly."""
    for second in (entry(A, "amend", 2, TWO), entry(A, "amend", 3, TWO, "2026/0"), entry(A, "amend", 2, TWO, "2026/1")):
        reading = Reading()
        with pytest.raises(ExchangeError) as caught:
            reading.take(2026, [GOOD, second])
        assert caught.value.code == "SEQ_PREVIOUS"
    reading = Reading()
    reading.begin(2026, 1)
    reading.take(2026, [GOOD])
    reading.begin(2027, 1)
    reading.take(2027, [entry(A, "amend", 2, TWO, "2026/0")])
    assert reading.latest[A][0] == Place(2027, 0)


def test_what_was_seen_in_the_second_of_an_entry_is_known() -> None:
    """Of a record with several entries of one second, what it bore before each of them; of one that changed later only the last."""
    reading = Reading()
    reading.take(2026, [GOOD, entry(A, "amend", 2, TWO, "2026/0"), entry(A, "hide", 3, None, "2026/1")])
    assert reading.lately[A] == {b64(ONE), b64(TWO)}
    later = entry(A, "unhide", 4, ONE, "2026/2").replace(b"02:00:00", b"03:00:00")
    reading.take(2026, [later])
    assert reading.lately[A] == {None}


def test_differences_are_named_both_ways() -> None:
    """A row that was edited, one that was slipped in, and one that was dropped: each by its id; what was taken down is none."""
    reading = Reading()
    reading.take(2026, [GOOD, entry(B, "list", 1, ONE), entry(C, "list", 1, ONE), entry(C, "remove", 2, None, "2026/2")])
    assert differences(reading.latest, {A: ONE, B: ONE}) == []
    assert differences(reading.latest, {A: TWO, C: ONE}) == [
        Difference(rid=A, kind="changed"),
        Difference(rid=B, kind="missing"),
        Difference(rid=C, kind="unlogged"),
    ]

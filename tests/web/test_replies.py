"""Validators, conditional requests, cache times."""

from datetime import UTC, date, datetime

import pytest

from gateway.web.replies import Reply, Validators, conditional, legal_date, link, matches, public_cache

TAG = b'W/"abc"'


@pytest.mark.parametrize(
    ("field", "found"),
    [
        (b'W/"abc"', True),
        (b'"abc"', True),
        (b"*", True),
        (b'"x", W/"abc"', True),
        (b'"x","y"', False),
        (b"", False),
        (b"abc", False),
        (b'W/"ABC"', False),
        (b'"abc', False),
        (b'"x" "abc"', False),
        (b'"a,b", "abc"', True),
        (b'*, "abc"', False),
        (b'"abc", *', False),
        (b' "abc" ', True),
        (b'w/"abc"', False),
    ],
)
def test_if_none_match_takes_lists_weak_forms_and_the_star(field: bytes, found: bool) -> None:
    """Weak comparison over a list; a broken field matches nothing."""
    assert matches(field, TAG) is found


def test_304_repeats_the_headers_of_the_200() -> None:
    """All fields but the length, and no body."""
    full = Reply(200, [(b"etag", TAG), (b"policy-version", b"42"), (b"cache-control", b"x")], b"{}")
    same = conditional(full, b'"abc"')
    assert (same.status, same.body) == (304, b"")
    assert same.headers == [field for field in full.headers if field[0] != b"content-length"]
    assert conditional(full, b'"other"') is full
    assert conditional(full, b"") is full


def test_problems_are_never_304() -> None:
    """Only a 200 has a 304."""
    problem = Reply(404, [(b"etag", TAG)], b"{}")
    assert conditional(problem, b"*") is problem


def test_tags_are_keyed_and_differ_with_every_part() -> None:
    """Equal parts, equal tag; another part or key, another tag."""
    mine = Validators(b"k" * 32)
    assert mine.tag("a", 1) == mine.tag("a", 1)
    assert len({mine.tag("a", 1), mine.tag("a", 2), mine.tag("a1"), Validators(b"l" * 32).tag("a", 1)}) == 4


@pytest.mark.parametrize(
    ("now", "age"),
    [
        (datetime(2026, 11, 4, 1, 0, tzinfo=UTC), 60),
        (datetime(2026, 11, 4, 15, 59, 30, tzinfo=UTC), 30),
        (datetime(2026, 11, 4, 15, 59, 59, tzinfo=UTC), 1),
        (datetime(2026, 11, 4, 16, 0, 0, tzinfo=UTC), 60),
    ],
)
def test_nothing_is_kept_past_midnight_in_china(now: datetime, age: int) -> None:
    """`max-age` is a minute at most and ends with the legal day."""
    name, value = public_cache(now)
    assert name == b"cache-control"
    assert value.startswith(b"public, max-age=%d, must-revalidate" % age)


def test_the_legal_day_begins_at_sixteen_utc() -> None:
    """The day in Asia/Shanghai."""
    assert legal_date(datetime(2026, 11, 4, 15, 59, 59, tzinfo=UTC)) == date(2026, 11, 4)
    assert legal_date(datetime(2026, 11, 4, 16, 0, 0, tzinfo=UTC)) == date(2026, 11, 5)


def test_link_fields_name_relation_and_url() -> None:
    """RFC 8288."""
    assert link(("next", "https://h/a"), ("first", "https://h/b")) == (b"link", b'<https://h/a>; rel="next", <https://h/b>; rel="first"')

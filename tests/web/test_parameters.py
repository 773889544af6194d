"""The query string, strictly."""

import pytest

from gateway.core.errors import BadRequest, InvalidParameter, RepeatedParameter, UnknownParameter
from gateway.web import parameters


def test_a_query_is_read_as_utf8() -> None:
    """Percent-encoding and plus signs are undone once."""
    assert parameters.read_query(b"q=%E7%A4%BA%E4%BE%8B+%E8%8D%AF&limit=5&&flag") == {"q": "示例 药", "limit": "5", "flag": ""}


@pytest.mark.parametrize("query", [b"q=%zz", b"q=%", b"q=%b0%a1", b"q=\xff", b"q=%00", b"q=a%0Ab", b"%ff=1"])
def test_broken_encodings_are_refused(query: bytes) -> None:
    """Bad percent signs, other encodings and control characters are a bad request."""
    with pytest.raises(BadRequest):
        parameters.read_query(query)


def test_gbk_is_named() -> None:
    """A GBK query is told as what it most likely is."""
    with pytest.raises(BadRequest, match="GBK"):
        parameters.read_query(b"q=%CA%BE%C0%FD")


def test_repeated_and_unknown_names_are_refused() -> None:
    """Each name once, and only known ones; the error names the parameter and no value."""
    with pytest.raises(RepeatedParameter) as repeated:
        parameters.read_query(b"a=1&a=2")
    assert repeated.value.errors[0].parameter == "a"
    with pytest.raises(UnknownParameter) as unknown:
        parameters.refuse_unknown({"access_token": "s3cret"}, {"q"})
    assert unknown.value.errors[0].parameter == "access_token"
    assert "s3cret" not in str(unknown.value) + unknown.value.errors[0].detail


@pytest.mark.parametrize("name", ["a b", "<script>", "é", "x" * 65, "22059920000101001X", ""])
def test_odd_names_are_not_echoed(name: str) -> None:
    """What is no plain name, or looks like a citizen number, is not repeated."""
    assert parameters.echo(name) == "?"


@pytest.mark.parametrize("value", ["0", "101", "1e3", "-1", "+1", "１０", "", "1.0", " 1", "9" * 30])
def test_integers_are_ascii_digits_within_bounds(value: str) -> None:
    """Nothing but plain digits in range is a number."""
    with pytest.raises(InvalidParameter):
        parameters.integer({"limit": value}, "limit", low=1, high=100, default=20)


def test_canonical_query_sorts_and_drops() -> None:
    """Order of parameters and spelled-out defaults make no difference; the cursor stands outside."""
    assert parameters.canonical_query({"b": "2", "a": "1", "limit": "20", "cursor": "x"}, defaults={"limit": "20"}) == "a=1&b=2"


def test_links_leave_out_citizen_numbers() -> None:
    """A value shaped like a citizen number never stands in a link."""
    assert parameters.shown_query({"q": "22059920000101001X", "kind": "organ"}) == "kind=organ"

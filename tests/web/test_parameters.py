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


@pytest.mark.parametrize("value", ["", "2", "true", "01", "１"])
def test_switches_are_nought_or_one(value: str) -> None:
    """Anything else is refused, and its value not repeated."""
    assert parameters.flag({"excel": "1"}, "excel")
    assert not parameters.flag({}, "excel")
    with pytest.raises(InvalidParameter) as caught:
        parameters.flag({"excel": value}, "excel")
    assert caught.value.errors[0].parameter == "excel"


def test_canonical_query_sorts_and_drops() -> None:
    """Order of parameters and spelled-out defaults make no difference; the cursor stands outside."""
    assert parameters.canonical_query({"b": "2", "a": "1", "limit": "20", "cursor": "x"}, defaults={"limit": "20"}) == "a=1&b=2"


def test_links_leave_out_citizen_numbers() -> None:
    """A value shaped like a citizen number never stands in a link."""
    assert parameters.shown_query({"q": "22059920000101001X", "kind": "organ"}) == "kind=organ"

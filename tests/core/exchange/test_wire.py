"""Strict JSON, canonical base64, instants and names: what a decoder must refuse, whatever the bytes."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import ExchangeError
from gateway.core.exchange import wire
from gateway.core.exchange.wire import b64, b64u, b64u_all, is_plain, strict_json, unb64, unb64u, unb64u_all


def code_of(story, *arguments) -> str:
    """The code with which something is refused."""
    with pytest.raises(ExchangeError) as caught:
        story(*arguments)
    return caught.value.code


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" ",
        b"[]",
        b"1",
        b'"a"',
        b"null",
        b"{",
        b"{}x",
        b'{"a":1,}',
        b'{"a":1,"a":1}',
        b'{"a":{"b":1,"b":2}}',
        b'{"a":[{"b":1,"b":1}]}',
        b'{"a":1,"\\u0061":2}',
        b'{"a":1.0}',
        b'{"a":1e2}',
        b'{"a":1E2}',
        b'{"a":-0}',
        b'{"a":-0.0}',
        b'{"a":[0.5]}',
        b'{"a":9007199254740992}',
        b'{"a":-9007199254740992}',
        b'{"a":123456789012345678901234567890}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":1e400}',
        b'{"a":"\\u0000"}',
        b'{"\\u0000":1}',
        b'{"a":"\\ud800"}',
        b'{"a":"\\udc00"}',
        b'{"a":"\\ud800\\ud800"}',
        b"\xef\xbb\xbf{}",
        b'{"a":"\xff"}',
        '{"a":"重"}'.encode("gbk"),
        b'{"a":"\x01"}',
        b'{"a":01}',
        b"{'a':1}",
        b'{"a":' + b"[" * 16 + b"]" * 16 + b"}",
        b"[" * 100_000,
        b'{"a":' * 1_100 + b"1" + b"}" * 1_100,
        b'{"a":' + b"9" * 400 + b"}",
    ],
)
def test_what_is_no_strict_json(data: bytes):
    """A14: duplicates at any depth, fractions, exponents, large integers, -0, NaN, NUL, lone surrogates, BOM, GBK, deep nesting."""
    assert code_of(strict_json, data) == "SCHEMA_JSON"


@pytest.mark.parametrize(
    "data",
    [
        b"{}",
        b'{"a":9007199254740991,"b":-9007199254740991}',
        b'{"a":"1.5","b":"1e2","c":":-0:"}',
        b'{"a":"\\ud83d\\ude00"}',
        b' { "a" : [ 1 , 2 ] } ',
        b'{"a":"\\"","b":"\\\\"}',
        b'{"a\\u003a":1}',
        b'{"a":' + b"[" * 15 + b"]" * 15 + b"}",
        b'{"a":[{},{}],"b":{"a":1}}',
        b'{"a":"\\\\u0000"}',
    ],
)
def test_what_is_strict_json(data: bytes):
    """Depth 16, the largest integers, escapes and blanks are taken, and mean what JSON means."""
    assert strict_json(data) == json.loads(data)


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-wire.MAX_INTEGER, wire.MAX_INTEGER)
    | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), values, max_size=5), st.booleans())
def test_what_we_write_is_strict(value, plain: bool):
    """Everything that we encode is strict JSON; so is the same value written with escapes, blanks and in another order of bytes."""
    data = wire.encode(value) if plain else json.dumps(value, ensure_ascii=True, indent=1).encode()
    assert strict_json(data) == value


@given(st.binary(max_size=200))
def test_any_bytes_are_judged(data: bytes):
    """Whatever the bytes, the answer is a value or SCHEMA_JSON, and what is taken is what the standard library reads."""
    if _taken(strict_json, data):
        assert strict_json(data) == json.loads(data)


@given(st.text(alphabet='{}[]":,\\u0eE-+.19ab \n', max_size=60))
def test_json_like_texts_agree_with_a_slow_judge(text: str):
    """The quick judge agrees with one that looks at every token."""
    assert _taken(strict_json, text.encode()) == _taken(_slow, text.encode())


def _taken(story, data: bytes) -> bool:
    try:
        story(data)
    except ExchangeError as error:
        return error.code != "SCHEMA_JSON"
    return True


def _slow(data: bytes) -> object:
    """Strict JSON by the standard library's hooks."""

    def refuse(*_: object) -> object:
        raise ExchangeError("no", code="SCHEMA_JSON")

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        if len({name for name, _ in pairs}) != len(pairs) or any("\0" in name for name, _ in pairs):
            refuse()
        return dict(pairs)

    def whole(text: str) -> int:
        if text == "-0" or abs(int(text)) > wire.MAX_INTEGER:
            refuse()
        return int(text)

    def deep(value: object, depth: int = 1) -> None:
        if depth > wire.MAX_DEPTH and isinstance(value, (dict, list)):
            refuse()
        if isinstance(value, str) and ("\0" in value or any(0xD800 <= ord(character) < 0xE000 for character in value)):
            refuse()
        for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            deep(inner, depth + 1)

    try:
        value = json.loads(data, object_pairs_hook=unique, parse_int=whole, parse_float=refuse, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise ExchangeError("no", code="SCHEMA_JSON") from error
    if not isinstance(value, dict):
        refuse()
    deep(value)
    return value


@given(st.lists(st.binary(max_size=70), max_size=40))
def test_base64_in_one_pass(parts: list[bytes]):
    """Many encoded at once are what each is alone, and decode to what they were."""
    texts = b64u_all(parts)
    assert texts == [b64u(part) for part in parts]
    assert unb64u_all(texts, "X") == parts
    assert [unb64(b64(part), "X") for part in parts] == parts


@pytest.mark.parametrize(
    "text", ["A", "AB", "AAB", "AA==", "AAA=", "A A", "AA\n", " AA", "A+", "A/", "AAAAA", "Ａ", "AA.A", "=", "====", "A\0AA"]
)
def test_base64url_that_is_not_canonical(text: str):
    """Stray bits, padding, blanks and foreign characters are refused, also between good ones."""
    assert code_of(unb64u, text, "SCHEMA_LINE") == "SCHEMA_LINE"
    assert code_of(unb64u_all, ("AAAA", text, "AAAA"), "SCHEMA_LINE") == "SCHEMA_LINE"


@pytest.mark.parametrize("text", ["A", "AA", "AAA", "AB==", "AAB=", "AA==\n", " AA==", "A-A=", "AA=", "AAAA=", "AA==AA=="])
def test_base64_that_is_not_canonical(text: str):
    """The same with padding."""
    assert code_of(unb64, text, "SIG_FORMAT") == "SIG_FORMAT"


@given(st.text(alphabet="AQgw-_+/= B", max_size=9))
def test_base64url_has_one_form(text: str):
    """What is taken is exactly what we would write."""
    try:
        data = unb64u(text, "X")
    except ExchangeError:
        return
    assert b64u(data) == text


@pytest.mark.parametrize(
    "text",
    [
        "2026-06-02T02:30:00+00:00",
        "2026-06-02T02:30:00.0Z",
        "2026-06-02 02:30:00Z",
        "2026-6-2T02:30:00Z",
        "2026-06-02T02:30Z",
        "2026-06-02T24:00:00Z",
        "2026-02-30T00:00:00Z",
        "2026-06-02T02:30:60Z",
        "2026-06-02T02:30:00Z\n",
        "２０２６-06-02T02:30:00Z",
        "",
    ],
)
def test_instants_have_one_form(text: str):
    """Exactly YYYY-MM-DDThh:mm:ssZ, and a moment that exists."""
    assert code_of(wire.parse_instant, text, "SCHEMA_TYPE") == "SCHEMA_TYPE"


@pytest.mark.parametrize("text", ["2026-02-30", "2026-2-3", "20260203", "2026-02-03T00:00:00Z", "2026-02-03\n", "２０２６-02-03"])
def test_days_have_one_form(text: str):
    """Exactly YYYY-MM-DD, and a day that exists."""
    assert code_of(wire.parse_date, text, "SCHEMA_TYPE") == "SCHEMA_TYPE"


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (
            wire.PartyName,
            ["credit.tonghua.example", "a.b"],
            ["credit", "Credit.example", "a..b", "-a.b", "a.b-", "a" * 63 + ".bc", "a.b\n", ""],
        ),
        (wire.AgreementId, ["a-b", "tonghua-baishan-2026"], ["a", "A-b", "1-a", "a.b", "a-b\n", "a" * 64]),
        (wire.DatasetName, ["a", "administrative-penalties", "a_b.c"], ["A", "1", "a" * 64, "a\n", ""]),
        (wire.StreamName, ["a-b.c", "tonghua-baishan-2026.penalties"], ["a-b", ".c", "a-b.", "a-b.C"]),
        (wire.Digest, ["sha-256:" + "A" * 43 + "="], ["sha-256:" + "A" * 44, "md5:" + "A" * 43 + "=", "sha-256:" + "A" * 43 + "=\n"]),
    ],
)
def test_names(kind, good: list[str], bad: list[str]):
    """Names are lower case ASCII of their shape, without anything after them."""
    for text in good:
        assert msgspec.convert(text, kind) == text
    for text in bad:
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(text, kind)


def test_what_is_plain():
    """Plain are exactly the bytes that we would write: no blank, no escape that is not needed, no NUL."""
    assert is_plain(b'{"a":1}', {"a": 1})
    for data in (b'{"a": 1}', b'{"a":1}\n', b'{"\\u0061":1}', b'{"a":1.0}'):
        assert not is_plain(data, {"a": 1})
    assert not is_plain(wire.encode({"a": "\0"}), {"a": "\0"})

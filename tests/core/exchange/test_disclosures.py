"""Quick looks at a line and its disclosures take nothing that a look at each would not, and take it as the same."""

import gc
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import ExchangeError
from gateway.core.exchange import records
from gateway.core.exchange.disclosures import digest_of, disclose_all, open_all
from gateway.core.exchange.wire import SHA256, b64u, b64u_all, unb64u_all

SEED = bytes(range(32))
SALT = "A" * 22
VALUES = st.lists(st.tuples(st.sampled_from(("CF_A", "CF_B", "乙")), st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.text())))


def opened(decoded: list[bytes]) -> list[tuple[str, object]] | str:
    """Name and value of each disclosure of a line that holds these, or the code of its refusal."""
    texts = b64u_all(decoded)
    try:
        found = open_all([*map(str.encode, texts)], b"\n".join(decoded), sorted(map(digest_of, texts)), SHA256)
    except ExchangeError as error:
        return error.code
    return [*zip(found.names, found.values, strict=True)]


def test_a_row_may_not_begin_in_one_disclosure_and_end_in_the_next() -> None:
    """As many rows as disclosures are not yet one row in each."""
    rows = json.dumps([[SALT, "CF_A", "a"], [SALT, "CF_B", "b"]], separators=(",", ":")).encode()[1:-1]
    at = rows.index(b',"b"]')
    assert opened([rows[:at], rows[at + 1 :]]) == "SCHEMA_DISCLOSURE"
    middle = rows.index(b"],[") + 1
    assert opened([rows[:middle], rows[middle + 1 :]]) == [("CF_A", "a"), ("CF_B", "b")]
    assert opened([rows[:middle] + b"\n" + rows[middle + 1 :], b""]) == "SCHEMA_DISCLOSURE"
    assert opened([rows[:middle] + b"\n" + rows[middle + 1 : -1], rows[-1:]]) == "SCHEMA_DISCLOSURE"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (SALT + "\n" + SALT, ""),
        ("A" * 21, "A" * 23),
        ("A" * 21 + "\n", SALT),
        ("A" * 21 + "B", SALT),
        (SALT, "A" * 21 + "="),
    ],
)
def test_salts_are_looked_at_one_by_one(first: str, second: str) -> None:
    """Two salts that have the right length together are not two salts."""
    rows = [json.dumps([first, "CF_A", 1]).encode(), json.dumps([second, "CF_B", 2]).encode()]
    plain = [json.dumps(json.loads(row), separators=(",", ":")).encode() for row in rows]
    assert opened(plain) == "SCHEMA_DISCLOSURE"
    assert opened(rows) == "SCHEMA_DISCLOSURE"


@pytest.mark.parametrize(
    ("value", "code"),
    [("a" * 16384, None), ("a" * 16385, "SCHEMA_LENGTH"), ("字" * 5462, "SCHEMA_LENGTH"), (2**53 - 1, None), (2**53, "SCHEMA_DISCLOSURE"),
     (-(2**53), "SCHEMA_DISCLOSURE"), (1.0, "SCHEMA_DISCLOSURE"), ("\0", "SCHEMA_DISCLOSURE")],
)  # fmt: skip
def test_bounds_of_a_value(value: object, code: str | None) -> None:
    """A value of 16 KiB, or of 2^53-1, is the last that is taken, among others too."""
    rows = [[SALT, "CF_B", "b"], [SALT, "CF_A", value]]
    decoded = [json.dumps(row, separators=(",", ":"), ensure_ascii=False).encode() for row in rows]
    assert opened(decoded) == (code or [("CF_B", "b"), ("CF_A", value)])


@given(VALUES)
def test_what_is_sealed_is_opened(values: list[tuple[str, object]]) -> None:
    """Every value comes out as it went in, unless two have one name."""
    texts, digests = disclose_all(SEED, values)  # type: ignore[arg-type]  # plain values
    named = {name for name, _ in values}
    got = opened(unb64u_all(texts, "SCHEMA_LINE"))
    assert digests == sorted(map(digest_of, texts))
    fits = len(named) == len(values) and not any("\0" in value for _, value in values if isinstance(value, str))
    assert got == (values if fits else "SCHEMA_DISCLOSURE")


GOOD = b'{"p":"' + b64u(b'{"op":"assert"}').encode() + b'","d":["' + b64u(b'["s"]').encode() + b'","' + b64u(b"[1]").encode() + b'"]}'


PUT = ("", '"', '","', "\\", "=", "+", "_", "A", "\n", " ", "]", "é", '","d":["')


@given(st.integers(0, len(GOOD)), st.integers(0, 3), st.sampled_from(PUT))
def test_a_line_cut_at_its_quotes(at: int, gone: int, put: str) -> None:
    """The quick look takes exactly what the full look takes, and reads the same in it."""
    raw = GOOD[:at] + put.encode() + GOOD[at + gone :]
    try:
        full = records._strict_line(raw)
    except ExchangeError:
        full = None
    quick = records._plain_line(raw)
    assert quick == full if quick is not None else full is None or full.texts == b""


def test_what_was_disclosed_is_let_go() -> None:
    """A batch has a million records: of none may anything stay in memory."""
    values = [("CF_A", "a"), ("CF_B", None)]
    texts, digests = disclose_all(SEED, values)
    lines, data = [*map(str.encode, texts)], b"\n".join(unb64u_all(texts, "SCHEMA_LINE"))

    def kept() -> int:
        gc.collect()
        return len(gc.get_objects())

    disclose_all(SEED, values)
    before = kept()
    for _ in range(2000):
        disclose_all(SEED, values)
        open_all(lines, data, digests, SHA256)
    assert kept() - before < 1000, "less than one object for two records: what else lives in the process comes and goes"

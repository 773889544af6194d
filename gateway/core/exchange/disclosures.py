"""Salted disclosures of a record (exchange.md §4; RFC 9901 §4.2.1): one for each agreed field, its digest in the clear payload.

A digest tells nothing of a low-entropy value, for the salt has 128 bits and is derived from a seed of its own for each record version
and stream; destroying the seed and the disclosure destroys the value. This room must not choose which fields are disclosed.
"""

import re
from collections.abc import Container, Iterable, Sequence
from functools import lru_cache
from hashlib import sha256
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from gateway.core.errors import ExchangeError
from gateway.core.exchange.wire import (
    MAX_INTEGER,
    SHA256,
    Suite,
    b64u,
    b64u_all,
    b64u_lines,
    encode_lines,
    hash_all,
    is_plain,
    strict_json,
    unb64u_lines,
)
from gateway.core.records.model import Value
from gateway.core.signing import INNER_PAD, OUTER_PAD, hmac_with

MAX_VALUE_BYTES = 16 * 1024
MAX_DISCLOSURES = 64
SALT_LABEL = b"chengxin-exchange/salt/1\x00"

CLEAR_MEMBERS = frozenset(
    {
        "iss",
        "rid",
        "v",
        "op",
        "status",
        "dataset",
        "schema",
        "category",
        "region",
        "subject_kind",
        "authority",
        "authority_name",
        "decided_on",
        "publish_until",
        "dispute",
        "reason",
        "basis",
        "trust",
        "at",
        "_sd",
        "_sd_alg",
        "...",
    }
)
"""Names that no disclosure may have: it would shadow what nobody may hide."""

_Row = tuple[str, str, str | Annotated[int, Meta(ge=-MAX_INTEGER, le=MAX_INTEGER)] | bool | None]
_decode_row = msgspec.json.Decoder(_Row).decode
_decode_rows = msgspec.json.Decoder(_Row).decode_lines


class Disclosed(Struct, frozen=True, gc=False):
    """One opened disclosure: wire name, value, and the digest that stands in `_sd`."""

    name: str
    value: Value
    digest: str


class Opened(Struct, frozen=True, gc=False):
    """The disclosures of a line, opened: in its order their wire names, values, and the digests that stand in `_sd`."""

    names: tuple[str, ...] = ()
    values: tuple[Value, ...] = ()
    digests: tuple[str, ...] = ()

    def digest_of(self, name: str | None) -> str | None:
        """The digest of a field's disclosure."""
        return next((digest for each, digest in zip(self.names, self.digests, strict=True) if each == name), None)

    def without(self, left_out: Container[str]) -> "Opened":
        """All but those of these names."""
        kept = [each for each in zip(self.names, self.values, self.digests, strict=True) if each[0] not in left_out]
        return Opened(*zip(*kept, strict=True))


def salt(seed: bytes, name: str, suite: Suite = SHA256) -> str:
    """First 16 bytes of HMAC-H(seed, label ‖ 0x00 ‖ name)."""
    return b64u(_salts(seed, (name.encode(),), suite)[0])


def _salts(seed: bytes, names: Sequence[bytes], suite: Suite) -> list[bytes]:
    """The salts of many names under one seed: HMAC (RFC 2104), its two key blocks hashed once."""
    if suite is not SHA256 or len(seed) > 64:
        return [hmac_with(suite.hash, seed, SALT_LABEL + name)[:16] for name in names]
    block = seed.ljust(64, b"\0")
    inner, outer = sha256(block.translate(INNER_PAD)), sha256(block.translate(OUTER_PAD))
    inner.update(SALT_LABEL)
    begun_within, begun_around = inner.copy, outer.copy
    made: list[bytes] = []
    for name in names:
        within, around = begun_within(), begun_around()
        within.update(name)
        around.update(within.digest())
        made.append(around.digest()[:16])
    return made


@lru_cache(maxsize=256)
def _encoded(names: tuple[str, ...]) -> tuple[bytes, ...]:
    """The names of fields, which all records of a stream have."""
    return tuple(map(str.encode, names))


def disclose(seed: bytes, values: Sequence[tuple[str, Value]], suite: Suite) -> tuple[list[bytes], list[bytes]]:
    """Disclosures in the given order, and their digests sorted by bytes, both in base64url."""
    if not values:
        return [], []
    names, given = zip(*values, strict=True)
    salts = b64u_all(_salts(seed, _encoded(names), suite))
    rows = encode_lines([*zip(salts, names, given, strict=True)]).split(b"\n")
    rows.pop()
    texts = b64u_lines(rows).split(b"\n")
    digests = b64u_lines(hash_all(texts, suite)).split(b"\n")
    digests.sort()
    return texts, digests


def disclose_all(seed: bytes, values: Iterable[tuple[str, Value]], suite: Suite = SHA256) -> tuple[list[str], list[str]]:
    """`disclose` as texts."""
    texts, digests = disclose(seed, list(values), suite)
    return [text.decode() for text in texts], [digest.decode() for digest in digests]


_SALT = re.compile(r"[A-Za-z0-9_-]{21}[AQgw]").fullmatch
_URL_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def _columns(texts: Sequence[bytes], data: bytes) -> tuple[tuple[str, ...], tuple[Value, ...]]:
    """Names and values of the disclosures, all decoded at once where they are written as we write them."""
    rows = _plain_rows(data, len(texts))
    if rows is None:
        rows = [_strict_row(each) for each in unb64u_lines(b"\n".join(texts)) or [b""]]
    salts, names, values = zip(*rows, strict=True)
    if _in_order(salts, names, data):
        return names, values
    for given_salt, name, value in rows:
        if _SALT(given_salt) is None:
            raise ExchangeError("a salt has 22 characters of canonical base64url", code="SCHEMA_DISCLOSURE")
        if name in CLEAR_MEMBERS:
            raise ExchangeError("a disclosure may not take the name of a clear member", code="SCHEMA_DISCLOSURE")
        if type(value) is str and len(value) > MAX_VALUE_BYTES // 4 and len(value.encode()) > MAX_VALUE_BYTES:
            raise ExchangeError("a value is longer than 16 KiB", code="SCHEMA_LENGTH", place=name)
    return names, values


def _in_order(salts: Sequence[str], names: Sequence[str], data: bytes) -> bool:
    """Whether nothing is wrong with any of them, as far as one look at all of them can say; then none is looked at alone."""
    given = "\n".join(salts).encode()
    between = b"\n" * (len(salts) - 1)
    return (
        len(given) == 23 * len(salts) - 1
        and given[22::23] == between
        and given.translate(None, _URL_ALPHABET) == between
        and not given[21::23].translate(None, b"AQgw")
        and CLEAR_MEMBERS.isdisjoint(names)
        and len(data) <= MAX_VALUE_BYTES
    )


def _plain_rows(data: bytes, count: int) -> list[tuple[str, str, Value]] | None:
    """The rows, if each disclosure is exactly the bytes that we would write for it; None: look at each one."""
    if b"\\u0000" in data:
        return None
    try:
        rows = _decode_rows(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    # told apart by LF, which JSON has none of inside: a row may not begin in one disclosure and end in the next
    return rows if len(rows) == count and encode_lines(rows) == data + b"\n" else None


def _strict_row(data: bytes) -> tuple[str, str, Value]:
    try:
        row: tuple[str, str, Value] = _decode_row(data)
        if not is_plain(data, row):
            strict_json(data, list)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ExchangeError) as error:
        raise ExchangeError("a disclosure is a strict JSON array of salt, name and value", code="SCHEMA_DISCLOSURE") from error
    return row


def digest_of(text: str, suite: Suite = SHA256) -> str:
    """The digest of one disclosure, as it stands in `_sd`."""
    return b64u(suite.hash(text.encode()))


def open_all(texts: Sequence[bytes], data: bytes, digests: Sequence[str], suite: Suite) -> Opened:
    """Every disclosure of a line, each found in `_sd` exactly once, and all of `_sd` disclosed.

    `texts` are canonical base64url, `data` is the JSON of all of them, a LF between two.
    Raises ExchangeError SCHEMA_DISCLOSURE or SCHEMA_LENGTH.
    """
    if len(texts) != len(digests):
        raise ExchangeError("a line discloses all of _sd and nothing else", code="SCHEMA_DISCLOSURE")
    opened = _opened(texts, data, suite)
    found = sorted(opened.digests)
    if found != list(digests) or len(set(found)) != len(found):
        raise ExchangeError("the digests of the disclosures are not those of _sd, sorted by bytes", code="SCHEMA_DISCLOSURE")
    return opened


def _opened(texts: Sequence[bytes], data: bytes, suite: Suite) -> Opened:
    """Each disclosure with its digest; no name comes twice."""
    if not texts:
        return Opened()
    names, values = _columns(texts, data)
    if len(set(names)) != len(names):
        raise ExchangeError("two disclosures have one name", code="SCHEMA_DISCLOSURE")
    return Opened(names, values, tuple(b64u_all(hash_all(texts, suite))))


def open_some(texts: Sequence[bytes], data: bytes, digests: Sequence[str], suite: Suite) -> list[Disclosed]:
    """Some of the disclosures of a record that is shown on: each found in `_sd` exactly once, none twice.

    Raises ExchangeError SCHEMA_DISCLOSURE or SCHEMA_LENGTH.
    """
    opened = _opened(texts, data, suite)
    found = set(opened.digests)
    if len(found) != len(opened.digests):
        raise ExchangeError("a disclosure comes twice", code="SCHEMA_DISCLOSURE")
    if len(set(digests)) != len(digests) or list(digests) != sorted(digests) or not found <= set(digests):
        raise ExchangeError("the digest of a disclosure does not stand in _sd exactly once", code="SCHEMA_DISCLOSURE")
    return [*map(Disclosed, opened.names, opened.values, opened.digests)]

"""Salted disclosures of a record (exchange.md §4; RFC 9901 §4.2.1): one for each agreed field, its digest in the clear payload.

A digest tells nothing of a low-entropy value, for the salt has 128 bits and is derived from a seed of its own for each record version
and stream; destroying the seed and the disclosure destroys the value. This room must not choose which fields are disclosed.
"""

from collections.abc import Callable, Iterable, Sequence
from hmac import digest as hmac_digest

import msgspec
from msgspec import Struct

from gateway.core.errors import ExchangeError
from gateway.core.exchange.wire import SHA256, Suite, b64u, encode, is_plain, strict_json, unb64u
from gateway.core.records.model import Value
from gateway.core.signing import hmac_with

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

_decode_plain = msgspec.json.Decoder(tuple[str, str, str | int | bool | None]).decode


class Disclosed(Struct, frozen=True):
    """One opened disclosure: wire name, value, and the digest that stands in `_sd`."""

    name: str
    value: Value
    digest: str


def salt(seed: bytes, name: str, suite: Suite = SHA256) -> str:
    """First 16 bytes of HMAC-H(seed, label ‖ 0x00 ‖ name)."""
    message = SALT_LABEL + name.encode()
    mac = hmac_digest(seed, message, "sha256") if suite.digest_name == "sha-256" else hmac_with(suite.hash, seed, message)
    return b64u(mac[:16])


def disclose(seed: bytes, name: str, value: Value, suite: Suite = SHA256) -> tuple[str, str]:
    """The disclosure and its digest."""
    text = b64u(encode((salt(seed, name, suite), name, value)))
    return text, b64u(suite.hash(text.encode()))


def disclose_all(seed: bytes, values: Iterable[tuple[str, Value]], suite: Suite = SHA256) -> tuple[list[str], list[str]]:
    """Disclosures in the given order, and their digests sorted by bytes."""
    disclosures: list[str] = []
    digests: list[str] = []
    for name, value in values:
        text, digest = disclose(seed, name, value, suite)
        disclosures.append(text)
        digests.append(digest)
    digests.sort()
    return disclosures, digests


def open_disclosure(text: str) -> tuple[str, Value]:
    """Name and value of one disclosure.

    Raises ExchangeError SCHEMA_DISCLOSURE for a shape that RFC 9901 §7.1 refuses, SCHEMA_LENGTH for a value over 16 KiB.
    """
    data = unb64u(text, "SCHEMA_DISCLOSURE")
    try:
        opened = _decode_plain(data)
        if not is_plain(data, opened):
            strict_json(data, list)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ExchangeError) as error:
        raise ExchangeError("a disclosure is a strict JSON array of salt, name and value", code="SCHEMA_DISCLOSURE") from error
    given_salt, name, value = opened
    if len(given_salt) != 22:
        raise ExchangeError("a salt has 22 characters of base64url", code="SCHEMA_DISCLOSURE")
    unb64u(given_salt, "SCHEMA_DISCLOSURE")
    if name in CLEAR_MEMBERS:
        raise ExchangeError("a disclosure may not take the name of a clear member", code="SCHEMA_DISCLOSURE")
    if isinstance(value, int) and not -(2**53) < value < 2**53:
        raise ExchangeError("an integer beyond 2^53-1", code="SCHEMA_DISCLOSURE")
    if isinstance(value, str) and len(value) > MAX_VALUE_BYTES // 4 and len(value.encode()) > MAX_VALUE_BYTES:
        raise ExchangeError("a value is longer than 16 KiB", code="SCHEMA_LENGTH", place=name)
    return name, value


def open_all(disclosures: Sequence[str], digests: Sequence[str], hash_of: Callable[[bytes], bytes]) -> list[Disclosed]:
    """Every disclosure of a line, each found in `_sd` exactly once, and all of `_sd` disclosed.

    Raises ExchangeError SCHEMA_DISCLOSURE or SCHEMA_LENGTH.
    """
    if len(disclosures) != len(digests):
        raise ExchangeError("a line discloses all of _sd and nothing else", code="SCHEMA_DISCLOSURE")
    opened: list[Disclosed] = []
    names: set[str] = set()
    found: list[str] = []
    for text in disclosures:
        digest = b64u(hash_of(text.encode()))
        name, value = open_disclosure(text)
        if name in names:
            raise ExchangeError("two disclosures have one name", code="SCHEMA_DISCLOSURE")
        names.add(name)
        found.append(digest)
        opened.append(Disclosed(name, value, digest))
    found.sort()
    if found != list(digests) or len(set(found)) != len(found):
        raise ExchangeError("the digests of the disclosures are not those of _sd, sorted by bytes", code="SCHEMA_DISCLOSURE")
    return opened

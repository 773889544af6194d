"""API keys: `cxk_<live|test>_<id 8>_<secret 43>_<check 6>`, all in base62 (policy.md §14.1).

Rules: the check characters are tested before any look-up; of the secret only an HMAC under a pepper is kept and compared in constant time,
also for an id that nobody has; a key sees exactly the public view, may be kept to some networks and to some parts of the API, and
lives a year at most. The prefix is published, so that secret scanners find lost keys. This room draws no randomness.
"""

import hmac
import re
import zlib
from collections.abc import Sequence
from datetime import date, timedelta
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final, Literal

from msgspec import Struct

from gateway.core.callers.refusals import CredentialRefused
from gateway.core.errors import BodyInvalid

Mode = Literal["live", "test"]
ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
PREFIX: Final = "cxk_"
ID_SIZE: Final = 8
SECRET_SIZE: Final = 43
CHECK_SIZE: Final = 6
RANDOM_BYTES: Final = 38
"""Six for the id, thirty-two for the secret."""
LONGEST: Final = timedelta(days=365)
MOST_LIVE: Final = 2
"""Live keys of one app: one in use, one to change over to."""
MOST_NETWORKS: Final = 16
SCOPES: Final[dict[str, str]] = {
    # scope → tag of the operations that it opens; what carries another tag is open to every key
    "subjects": "主体",
    "records": "记录",
    "lists": "名单",
    "changes": "变更",
    "datasets": "数据集",
    "checks": "校验",
}
SHAPE: Final = re.compile(r"cxk_(live|test)_([0-9A-Za-z]{8})_([0-9A-Za-z]{43})_([0-9A-Za-z]{6})", re.ASCII)
IN_TEXT: Final = re.compile(rb"cxk_(?:live|test)_[0-9A-Za-z]{8}_[0-9A-Za-z]{43}_[0-9A-Za-z]{6}")
"""A key wherever it stands: in a URL it is lost."""

_Network = IPv4Network | IPv6Network


class ApiKey(Struct, frozen=True, kw_only=True):
    """A key taken apart; its check characters fit."""

    mode: Mode
    key_id: str
    secret: str

    def __repr__(self) -> str:
        return f"<ApiKey {self.key_id}>"


def base62(number: int, size: int) -> str:
    """A number in base62, most significant first, padded with `0`."""
    digits = []
    for _ in range(size):
        number, digit = divmod(number, 62)
        digits.append(ALPHABET[digit])
    if number:
        raise ValueError("the number needs more digits")
    return "".join(reversed(digits))


def check_of(text: str) -> str:
    """The check characters of everything before the last underscore."""
    return base62(zlib.crc32(text.encode("ascii")), CHECK_SIZE)


def make_key(mode: Mode, drawn: bytes) -> str:
    """A new key out of `RANDOM_BYTES` random bytes."""
    if len(drawn) != RANDOM_BYTES:
        raise ValueError("a key is made of thirty-eight random bytes")
    key_id = base62(int.from_bytes(drawn[:6], "big") % 62**ID_SIZE, ID_SIZE)
    body = f"{PREFIX}{mode}_{key_id}_{base62(int.from_bytes(drawn[6:], 'big'), SECRET_SIZE)}"
    return f"{body}_{check_of(body)}"


def read_key(text: str) -> ApiKey:
    """A key taken apart.

    Raises CredentialRefused when its form or its check characters are wrong: no look-up is needed to say so.
    """
    match = SHAPE.fullmatch(text)
    if match is None:
        raise CredentialRefused("key-form")
    if not hmac.compare_digest(check_of(text[: -CHECK_SIZE - 1]), match[4]):
        raise CredentialRefused("key-check")
    return ApiKey(mode="live" if match[1] == "live" else "test", key_id=match[2], secret=match[3])


def mac_of(pepper: bytes, key: ApiKey) -> bytes:
    """What is kept of a secret; bound to its id."""
    return hmac.digest(pepper, f"{key.key_id}.{key.secret}".encode("ascii"), "sha256")


NO_MAC: Final = b"\0" * 32
"""Compared with when nobody has the id: the answer takes as long as for a wrong secret."""


def check_secret(peppers: Sequence[bytes], key: ApiKey, kept: bytes | None) -> None:
    """Raises CredentialRefused unless the secret is the one that is kept, under one of the peppers; every one is tried."""
    fits = sum(hmac.compare_digest(mac_of(pepper, key), kept if kept is not None else NO_MAC) for pepper in peppers) > 0
    if kept is None:
        raise CredentialRefused("key-unknown")
    if not fits:
        raise CredentialRefused("key-secret")


def check_network(address: str, networks: Sequence[str]) -> None:
    """Raises CredentialRefused when a key is kept to networks, and the address stands in none of them."""
    if not networks:
        return
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        raise CredentialRefused("key-network") from None
    mapped = getattr(found, "ipv4_mapped", None)
    if not any((mapped or found) in _network(each) for each in networks):
        raise CredentialRefused("key-network")


def _network(text: str) -> _Network:
    return ip_network(text, strict=True)


def read_networks(texts: Sequence[str]) -> tuple[str, ...]:
    """CIDR blocks as they are kept.

    Raises BodyInvalid for what is none (host bits must be zero), and for too many.
    """
    if len(texts) > MOST_NETWORKS:
        raise BodyInvalid("a key is kept to sixteen networks at most", place="cidr")
    try:
        return tuple(str(_network(text)) for text in texts)
    except ValueError:
        raise BodyInvalid("this is no network in CIDR notation", place="cidr", hint="198.51.100.0/24 or 2001:db8::/48") from None


def read_scopes(names: Sequence[str]) -> tuple[str, ...]:
    """Scopes as they are kept.

    Raises BodyInvalid for an unknown one.
    """
    if any(name not in SCOPES for name in names):
        raise BodyInvalid("there is no such scope", place="scope", hint=f"one of {', '.join(SCOPES)}")
    return tuple(sorted(set(names)))


def last_day(days: int | None, until: date | None, today: date) -> date:
    """The last day of a key that is to live so many days, or until a day; a year where neither is said.

    Raises BodyInvalid for both, for less than a day and for more than a year.
    """
    if days is not None and until is not None:
        raise BodyInvalid("a key lives so many days or until a day", place="until")
    life = (until - today).days if until is not None else LONGEST.days if days is None else days
    if not 1 <= life <= LONGEST.days:
        raise BodyInvalid("a key lives from one day to a year", place="until" if until is not None else "days")
    return today + timedelta(days=life)

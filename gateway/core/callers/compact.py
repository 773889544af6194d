"""Compact JWS, strictly: three segments in their one spelling, and JSON in which no name stands twice.

Rules: common decoders let the last of two equal names win and read `1e3` as a number; here both are refused, for two readers of one
token must never see two texts. Nothing is verified here: whoever reads must still ask the key. This room must not know what claims mean.
"""

import json
import re
from binascii import Error as BinasciiError
from binascii import a2b_base64
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, NoReturn

MAX_BYTES: Final = 8192


class Malformed(ValueError):
    """No compact JWS as it should be; the text is a short word for the log."""


class Compact(NamedTuple):
    """A compact JWS taken apart, not yet verified."""

    header: Mapping[str, Any]
    claims: Mapping[str, Any]


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Malformed("json-twice")
    return found


def _no_constant(_: str) -> NoReturn:
    raise Malformed("json-constant")


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_pairs, parse_constant=_no_constant)
_BLANK: Final = " \t\n\r"
_ESCAPED: Final = re.compile(rb"\\u(?:[dD][89a-fA-F]|0000)")
"""How a text of JSON in UTF-8 says what is no character."""
_SCAN: Final[Callable[[str, int], tuple[Any, int]]] = _DECODER.scan_once  # type: ignore[attr-defined]  # what `raw_decode` calls
_TO_PLAIN: Final = bytes.maketrans(b"-_+/=", b"+/???")
"""From base64url to base64; what only base64 has becomes a sign of neither."""
_PADS: Final = (b"", b"?", b"==", b"=")
_ENDS: Final = (bytes(range(128)), b"", b"AQgw", b"AEIMQUYcgkosw048")
"""By how many signs are left over after whole fours: what is missing, and with which sign a segment ends whose last bits are none."""


def strict_json(raw: bytes) -> Mapping[str, Any]:
    """A JSON object in UTF-8 in which no name stands twice, at any depth.

    Raises Malformed.
    """
    try:
        text = raw.decode("utf-8").strip(_BLANK)
        found, end = _SCAN(text, 0)
    except Malformed:
        raise
    except (ValueError, RecursionError, StopIteration):  # also UnicodeDecodeError, and digits beyond Python's limit
        raise Malformed("json-form") from None
    if end != len(text):
        raise Malformed("json-form")
    if not isinstance(found, dict):
        raise Malformed("json-object")
    return found


def unkeepable(raw: bytes, found: object) -> tuple[str | int, ...] | None:
    """Where a text of this JSON stands that nobody could keep or answer: half a surrogate pair, or a U+0000 in it; None: nowhere."""
    if not _ESCAPED.search(raw):
        return None
    waiting: list[tuple[tuple[str | int, ...], object]] = [((), found)]
    while waiting:
        place, value = waiting.pop()
        if isinstance(value, str):
            if "\0" in value or (not value.isascii() and any("\ud800" <= sign <= "\udfff" for sign in value)):
                return place
        elif isinstance(value, dict):
            waiting += [(place, name) for name in value]
            waiting += [((*place, name), each) for name, each in reversed(value.items())]
        elif isinstance(value, list):
            waiting += [((*place, index), each) for index, each in reversed(list(enumerate(value)))]
    return None


def decoded(segment: str) -> bytes:
    """The bytes of a base64url segment in its one spelling.

    Raises Malformed.
    """
    over = len(segment) % 4
    try:
        given = segment.encode("ascii")
        raw = a2b_base64(given.translate(_TO_PLAIN) + _PADS[over], strict_mode=True)
    except (BinasciiError, ValueError):
        raise Malformed("base64-form") from None
    if over and given[-1] not in _ENDS[over]:
        raise Malformed("base64-spelling")
    return raw


def read_header(segment: str) -> Mapping[str, Any]:
    """The protected header behind a first segment.

    Raises Malformed.
    """
    return strict_json(decoded(segment))


def read_compact(text: str) -> Compact:
    """A compact JWS of at most 8 KiB, taken apart.

    Raises Malformed.
    """
    header, payload, _ = split(text)
    return Compact(read_header(header), strict_json(decoded(payload)))


def split(text: str) -> list[str]:
    """Its three segments: of header, payload and signature.

    Raises Malformed.
    """
    if len(text) > MAX_BYTES:
        raise Malformed("too-long")
    segments = text.split(".")
    if len(segments) != 3 or "" in segments:
        raise Malformed("segments")
    return segments


def whole_second(claims: Mapping[str, Any], name: str) -> int:
    """A time among claims: an integer, and no boolean.

    Raises Malformed when it is absent or something else.
    """
    value = claims.get(name)
    if type(value) is not int or not 0 <= value < 2**53:
        raise Malformed(f"{name}-form")
    return value


def single_use_id(claims: Mapping[str, Any]) -> str:
    """A `jti` of 16 to 128 printable ASCII characters.

    Raises Malformed.
    """
    value = claims.get("jti")
    if not isinstance(value, str) or not 16 <= len(value) <= 128 or not (value.isascii() and value.isprintable()) or " " in value:
        raise Malformed("jti-form")
    return value

"""Conventions of the wire (exchange.md §1): strict JSON, base64, digests, instants, names.

JSON is never canonicalised: what is digested or signed are the bytes as sent. Strictness is proved either by encoding the decoded
value again and finding the same bytes (nearly always), or by a full scan. This room must not believe anything it decodes.
"""

import hashlib
import re
from binascii import Error as BinasciiError
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from gateway.core.errors import ExchangeError
from gateway.core.signing import Algorithm, sm3

MAX_INTEGER = 2**53 - 1
MAX_DEPTH = 16

PARTY = r"(?=.{3,64}\Z)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)+\Z"
AGREEMENT_ID = r"[a-z][a-z0-9-]{1,62}\Z"
DATASET_ID = r"[a-z][a-z0-9_.-]{0,62}\Z"
STREAM = r"[a-z][a-z0-9-]{1,62}\.[a-z][a-z0-9_.-]{0,62}\Z"

PartyName = Annotated[str, Meta(pattern="^" + PARTY)]
AgreementId = Annotated[str, Meta(pattern="^" + AGREEMENT_ID)]
DatasetName = Annotated[str, Meta(pattern="^" + DATASET_ID)]
StreamName = Annotated[str, Meta(pattern="^" + STREAM)]
Digest = Annotated[str, Meta(pattern=r"^(sha-256|sm3):[A-Za-z0-9+/]{43}=\Z")]
Root = Annotated[str, Meta(pattern=r"^[A-Za-z0-9+/]{43}=\Z")]
InstantText = Annotated[str, Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z\Z")]
DateText = Annotated[str, Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")]
Count = Annotated[int, Meta(ge=0, le=MAX_INTEGER)]
Number = Annotated[int, Meta(ge=1, le=MAX_INTEGER)]
CodeText = Annotated[str, Meta(pattern=r"^[A-Z][A-Z0-9_]{0,31}\Z")]
"""A code of §8 in shape: a partner's word is kept in columns and shown to people, so it is no place for a text."""


class Suite(Struct, frozen=True, kw_only=True):
    """The hash of a stream, everywhere in it, and the signature algorithm its notes need."""

    name: str
    digest_name: Literal["sha-256", "sm3"]
    hash: Callable[[bytes], bytes]
    algorithm: Algorithm


def sha256(data: bytes) -> bytes:
    """SHA-256 of the bytes."""
    return hashlib.sha256(data).digest()


def hash_all(parts: Iterable[bytes], suite: Suite) -> list[bytes]:
    """The suite's hash of each."""
    if suite is SHA256:
        begin = hashlib.sha256
        return [begin(part).digest() for part in parts]
    return [*map(suite.hash, parts)]


SHA256 = Suite(name="ed25519-sha256", digest_name="sha-256", hash=sha256, algorithm="ed25519")
GM1 = Suite(name="gm1", digest_name="sm3", hash=sm3, algorithm="sm2")
SUITES = {suite.name: suite for suite in (SHA256, GM1)}


GZIP = 31
"""zlib's `wbits` of a gzip member: its header has no moment and no name."""

# --- base64 -----------------------------------------------------------------------------------------------------------

_URL_TO_STANDARD = bytes.maketrans(b"-_+/=", b"+/!!!")
_PADDING = (b"", b"===", b"==", b"=")
_STANDARD_TO_URL = bytes.maketrans(b"+/", b"-_")
_LISTED_TO_LINES = bytes.maketrans(b"+/,", b"-_\n")
_decode_base64 = msgspec.json.Decoder(list[bytes]).decode


def b64(data: bytes) -> str:
    """RFC 4648 §4, with padding."""
    return b2a_base64(data, newline=False).decode()


def b64u(data: bytes) -> str:
    """RFC 4648 §5, without padding."""
    return b64u_bytes(data).decode()


def b64u_bytes(data: bytes) -> bytes:
    """`b64u` as bytes: msgspec writes bytes as padded base64, faster than `binascii`."""
    return encode(data).translate(_STANDARD_TO_URL, b'"=')


def b64u_lines(parts: list[bytes]) -> bytes:
    """`b64u` of each, a LF between two, in one pass over all of them."""
    return encode(parts).translate(_LISTED_TO_LINES, b'["=]')


def b64u_all(parts: list[bytes]) -> list[str]:
    """`b64u` of each."""
    return b64u_lines(parts).decode().split("\n") if parts else []


def unb64u_lines(lines: bytes) -> list[bytes] | None:
    """The bytes of each canonical unpadded base64url, between LFs; None when any of them is none: written again they must be what was read.

    All go through msgspec at once, which reads and writes bytes as padded base64: a call for each would cost more than the work.
    """
    plain = lines.translate(_URL_TO_STANDARD).split(b"\n")
    padded = b'["' + b'","'.join([line + _PADDING[len(line) & 3] for line in plain]) + b'"]'
    try:
        made = _decode_base64(padded)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return made if len(made) == len(plain) and encode(made) == padded else None


def unb64u_all(texts: Sequence[str], code: str) -> list[bytes]:
    """The bytes of each canonical unpadded base64url.

    Raises ExchangeError `code` for stray bits, padding, white space or a foreign character in any of them.
    """
    if not texts:
        return []
    try:
        made = unb64u_lines("\n".join(texts).encode("ascii"))
    except UnicodeEncodeError as error:
        raise ExchangeError("not canonical base64url", code=code) from error
    if made is None or len(made) != len(texts):
        raise ExchangeError("not canonical base64url", code=code)
    return made


def unb64u(text: str, code: str) -> bytes:
    """The bytes of canonical unpadded base64url.

    Raises ExchangeError `code` for stray bits, padding, white space or a foreign character.
    """
    return unb64u_all((text,), code)[0]


def unb64(text: str, code: str) -> bytes:
    """The bytes of canonical padded base64.

    Raises ExchangeError `code` for stray bits, wrong padding, white space or a foreign character.
    """
    try:
        raw = text.encode("ascii")
        data = a2b_base64(raw, strict_mode=True) if raw else b""
    except (UnicodeEncodeError, BinasciiError) as error:
        raise ExchangeError("not canonical base64", code=code) from error
    if b2a_base64(data, newline=False) != raw:
        raise ExchangeError("base64 with stray bits", code=code)
    return data


# --- strict JSON ------------------------------------------------------------------------------------------------------

_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')
_BAD_NUMBER = re.compile(rb"\.|[0-9][eE]|-0")
_LONG_NUMBER = re.compile(rb"[0-9]{16,}")
_decode = msgspec.json.Decoder().decode
encode = msgspec.json.Encoder().encode
"""Compact JSON of a Struct, dict or list; the bytes are then kept, never made again."""
_encode_lines = msgspec.json.Encoder().encode_lines


def encode_lines(values: list[Any]) -> bytes:
    """`encode` of each and a LF after it: JSON has none inside. A list alone: of any other iterable msgspec would never let go."""
    return _encode_lines(values)


def _shape(value: Any, depth: int) -> int:
    """Number of members in the value; refuses what the scan of bytes cannot see."""
    if isinstance(value, str):
        if "\0" in value:
            raise ExchangeError("U+0000 in JSON", code="SCHEMA_JSON")
        return 0
    if isinstance(value, dict):
        if depth > MAX_DEPTH:
            raise ExchangeError("JSON is nested too deep", code="SCHEMA_JSON")
        members = len(value)
        for name, inner in value.items():
            members += _shape(name, depth) + _shape(inner, depth + 1)
        return members
    if isinstance(value, list):
        if depth > MAX_DEPTH:
            raise ExchangeError("JSON is nested too deep", code="SCHEMA_JSON")
        return sum(_shape(inner, depth + 1) for inner in value)
    return 0


def strict_json(data: bytes, root: type = dict) -> Any:
    """The value of strict JSON whose root is an object, or an array where `root` is list.

    Raises ExchangeError SCHEMA_JSON for duplicate names at any depth, fractions, exponents, integers beyond 2^53-1, `-0`, U+0000,
    lone surrogates, a byte-order mark, invalid UTF-8, or nesting deeper than 16.
    """
    try:
        value = _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ExchangeError("not JSON in UTF-8", code="SCHEMA_JSON") from error
    if not isinstance(value, root):
        raise ExchangeError("the root of the JSON has another type", code="SCHEMA_JSON")
    outside = _STRING.sub(b"", data)
    if _BAD_NUMBER.search(outside):
        raise ExchangeError("a number with fraction or exponent, or -0", code="SCHEMA_JSON")
    if any(len(digits) > 16 or int(digits) > MAX_INTEGER for digits in _LONG_NUMBER.findall(outside)):
        raise ExchangeError("an integer beyond 2^53-1", code="SCHEMA_JSON")
    if _shape(value, 1) != outside.count(b":"):
        raise ExchangeError("a member name stands twice in one object", code="SCHEMA_JSON")
    return value


def is_plain(data: bytes, value: object) -> bool:
    """Whether these are exactly the bytes that we would write for the value: then nothing is doubled or dressed up."""
    return encode(value) == data and b"\\u0000" not in data


# --- digests, instants, names -----------------------------------------------------------------------------------------


def digest_text(data: bytes, suite: Suite = SHA256) -> str:
    """`sha-256:` or `sm3:` and the base64 of the hash."""
    return f"{suite.digest_name}:{b64(suite.hash(data))}"


@lru_cache(maxsize=1024)  # the records of a file came in at one moment
def instant(moment: datetime) -> str:
    """`YYYY-MM-DDThh:mm:ssZ`."""
    return moment.astimezone(UTC).isoformat(timespec="seconds")[:19] + "Z"


_INSTANT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z\Z")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")


@lru_cache(maxsize=1024)  # as of `instant`
def parse_instant(text: str, code: str) -> datetime:
    """The instant of `YYYY-MM-DDThh:mm:ssZ`.

    Raises ExchangeError `code` for any other form, or a moment that does not exist.
    """
    if not _INSTANT.match(text):
        raise ExchangeError("an instant is written YYYY-MM-DDThh:mm:ssZ", code=code)
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise ExchangeError("there is no such instant", code=code) from error


def parse_date(text: str, code: str) -> date:
    """The day of `YYYY-MM-DD`.

    Raises ExchangeError `code` for any other form, or a day that does not exist.
    """
    if not _DATE.match(text):
        raise ExchangeError("a date is written YYYY-MM-DD", code=code)
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ExchangeError("there is no such day", code=code) from error


def origin(sender: str, stream: str, epoch: int) -> str:
    """First line of a stream's checkpoints."""
    return f"{sender}/x/{stream}/{epoch}"


def batch_id(sender: str, stream: str, epoch: int, seq: int) -> str:
    """Context of a manifest."""
    return f"{sender}/x/{stream}/{epoch}/{seq}"


def split_stream(stream: str) -> tuple[str, str]:
    """Agreement and dataset; the first dot separates."""
    agreement, _, dataset = stream.partition(".")
    return agreement, dataset

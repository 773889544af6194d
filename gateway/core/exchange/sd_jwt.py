"""One record as SD-JWT (exchange.md §16; RFC 9901): the leaf that was sealed, chosen disclosures, and for how long it may be believed.

The payload part *is* the payload of the record line, so what is exported is what the partner got. Verifiers pin Ed25519 (RFC 9864) and the
key: never `none`, an HMAC, `EdDSA`, or a key that the header brings along. Nothing is fetched; after `cx_until` it is asked for again.

This room must not choose which fields are disclosed.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal

import msgspec
from msgspec import Struct

from gateway.core.errors import ExchangeError
from gateway.core.exchange.disclosures import Disclosed, open_some
from gateway.core.exchange.notes import DEFAULT_SKEW, KeyRing, key_fault
from gateway.core.exchange.records import Statement
from gateway.core.exchange.wire import SHA256, b64u, encode, instant, parse_date, parse_instant, strict_json, unb64u, unb64u_all
from gateway.core.records.periods import end_instant
from gateway.core.signing import Signer

TYPE: Literal["credit-record+sd-jwt"] = "credit-record+sd-jwt"
LIFE = timedelta(hours=24)
MAX_TOKEN = 128 * 1024


class Header(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The protected header; a member more, such as a key, is refused."""

    alg: Literal["Ed25519"]
    typ: Literal["credit-record+sd-jwt"]
    kid: str
    """Party `/export+` and the hex of the key id."""
    cx_as_of: str
    cx_until: str


class Shown(Struct, frozen=True, kw_only=True):
    """What an SD-JWT proves."""

    statement: Statement
    disclosed: tuple[Disclosed, ...]
    hidden: int
    """So many fields are not disclosed."""
    as_of: datetime
    until: datetime
    key: str


def export(payload: bytes, disclosures: Sequence[str], signer: Signer, *, as_of: datetime) -> str:
    """The record as its issuer vouches for it at a moment, with these disclosures of its line.

    Raises ExchangeError SCHEMA_STATUS for what is not in force or over, SCHEMA_VERSION for a payload of another suite.
    """
    said = _statement(payload)
    until = as_of + LIFE
    if said.publish_until is not None:
        until = min(until, end_instant(parse_date(said.publish_until, "SCHEMA_TYPE")))
    if said.status != "in_force" or until <= as_of:
        raise ExchangeError("only what is in force is exported", code="SCHEMA_STATUS", place=said.rid)
    kid = f"{signer.name}+{signer.key_id.hex()}"
    header = Header(alg="Ed25519", typ=TYPE, kid=kid, cx_as_of=instant(as_of), cx_until=instant(until))
    signed = f"{b64u(encode(header))}.{b64u(payload)}"
    return "~".join((f"{signed}.{b64u(signer.sign(signed.encode()))}", *disclosures, ""))


def read(text: str, ring: KeyRing, *, now: datetime, skew: timedelta = DEFAULT_SKEW) -> Shown:
    """What an SD-JWT shows, if a pinned `export` key of its issuer made it and it may still be believed.

    Raises ExchangeError SIZE_BYTES; SCHEMA_JSON for another form; SIG_FORMAT for another algorithm or type, SIG_UNKNOWN_KEY, SIG_INVALID,
    SIG_KEY_*; SCOPE_ISSUER when another party's record is signed; SCHEMA_DISCLOSURE; SCHEMA_STATUS; TIME_FUTURE, TIME_STALE.
    """
    if len(text) > MAX_TOKEN:
        raise ExchangeError("an SD-JWT has at most 128 KiB", code="SIZE_BYTES")
    token, *disclosures = text.split("~")
    parts = token.split(".")
    if len(parts) != 3 or not disclosures or disclosures.pop():
        raise ExchangeError("header, payload, signature and disclosures, each with `~` behind it, and no key binding", code="SCHEMA_JSON")
    header = _header(unb64u(parts[0], "SCHEMA_JSON"))
    name, _, hex_id = header.kid.rpartition("+")
    key = next((key for (held, number), key in ring.keys.items() if held == name and number.hex() == hex_id), None)
    if key is None or key.verifier.algorithm != "ed25519":
        raise ExchangeError("no key that we believe", code="SIG_UNKNOWN_KEY", place=header.kid)
    if not key.verifier.verify(f"{parts[0]}.{parts[1]}".encode(), unb64u(parts[2], "SIG_FORMAT")):
        raise ExchangeError("the signature fails", code="SIG_INVALID", place=header.kid)
    as_of, until = parse_instant(header.cx_as_of, "SCHEMA_TYPE"), parse_instant(header.cx_until, "SCHEMA_TYPE")
    if fault := key_fault(key, "export", now, as_of, skew):
        raise ExchangeError("the key may not sign this, or not then", code=fault, place=header.kid)
    if as_of > now + skew or not as_of < until <= as_of + LIFE:
        raise ExchangeError("from the future, or good for longer than a day", code="TIME_FUTURE")
    if now >= until:
        raise ExchangeError("over: ask the issuer again", code="TIME_STALE", place=header.cx_until)
    said = _statement(unb64u(parts[1], "SCHEMA_JSON"))
    if name != f"{said.iss}/export":
        raise ExchangeError("the record is of another issuer than the key", code="SCOPE_ISSUER", place=said.iss)
    if said.status != "in_force":
        raise ExchangeError("only what is in force is exported", code="SCHEMA_STATUS", place=said.rid)
    data = b"\n".join(unb64u_all(disclosures, "SCHEMA_DISCLOSURE"))
    opened = open_some([each.encode() for each in disclosures], data, said.sd, SHA256)
    return Shown(statement=said, disclosed=tuple(opened), hidden=len(said.sd) - len(opened), as_of=as_of, until=until, key=header.kid)


def _header(data: bytes) -> Header:
    try:
        return msgspec.convert(strict_json(data), Header)
    except msgspec.ValidationError as error:
        raise ExchangeError("Ed25519 by a pinned key, and nothing else in the header", code="SIG_FORMAT") from error


def _statement(payload: bytes) -> Statement:
    try:
        said = msgspec.convert(strict_json(payload), Statement)
    except msgspec.ValidationError as error:
        raise ExchangeError("no clear payload of a record", code="SCHEMA_JSON") from error
    if said.sd_alg != SHA256.digest_name:
        raise ExchangeError("only streams under ed25519-sha256 are exported", code="SCHEMA_VERSION", place=said.rid)
    return said

"""Record lines of a batch: payload in clear, fields as salted disclosures; how they are sealed and read (exchange.md §4).

A line that was read is well formed, and nothing of what it says is believed: `judging` says what it comes to. This room must not store
or publish.
"""

from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import Any, Literal, NamedTuple

import msgspec
from msgspec import Struct

from gateway.core.errors import ExchangeError
from gateway.core.exchange.agreements import OPS, Op, StreamRules, schema_of
from gateway.core.exchange.disclosures import MAX_DISCLOSURES, disclose
from gateway.core.exchange.merkle import leaf_hash
from gateway.core.exchange.wire import (
    MAX_INTEGER,
    Suite,
    b64u_bytes,
    encode,
    instant,
    is_plain,
    strict_json,
    unb64u_all,
    unb64u_lines,
)
from gateway.core.records.model import Value

MAX_PAYLOAD = 8 * 1024
STATUS_OF: dict[str, tuple[str, ...]] = {
    "assert": ("in_force", "suspended"),
    "amend": ("in_force", "suspended"),
    "retract": ("retracted",),
    "repair": ("repaired",),
    "expire": ("expired",),
    "erase": ("erased",),
}
REASONS: dict[str, frozenset[str]] = {
    "retract": frozenset({"revoked", "corrected", "objection_upheld", "no_longer_public"}),
    "repair": frozenset({"repaired"}),
    "expire": frozenset({"expired"}),
    "erase": frozenset({"erased"}),
}


class Basis(Struct, frozen=True, gc=False, kw_only=True, forbid_unknown_fields=True):
    """A legal ground beside a record; `item` = catalogue edition / item."""

    text: str
    uri: str | None
    item: str | None


class Statement(Struct, frozen=True, gc=False, kw_only=True, forbid_unknown_fields=True, rename={"sd": "_sd", "sd_alg": "_sd_alg"}):
    """Payload of `assert` and `amend`: clear, non-maskable."""

    iss: str
    rid: str
    v: int
    op: str
    status: str
    dataset: str
    schema: str
    category: str
    region: str
    subject_kind: str
    authority: str
    authority_name: str
    decided_on: str
    publish_until: str | None
    dispute: bool
    reason: str | None
    basis: tuple[Basis, ...]
    trust: str
    at: str
    sd: tuple[str, ...]
    sd_alg: str


class Withdrawal(Struct, frozen=True, gc=False, kw_only=True, forbid_unknown_fields=True, rename={"sd": "_sd", "sd_alg": "_sd_alg"}):
    """Payload of `retract`, `repair`, `expire` and `erase`: the opaque id and a coarse reason, nothing else."""

    iss: str
    rid: str
    v: int
    op: str
    dataset: str
    schema: str
    status: str
    reason: str | None
    at: str
    sd: tuple[str, ...]
    sd_alg: str


Payload = Statement | Withdrawal


class Line(Struct, frozen=True, gc=False):
    """One record line, well formed; nothing of what it says is believed."""

    op: str
    rid: str | None
    """As claimed; None when the payload has none of the right type."""
    payload: bytes
    texts: bytes = b""
    """Its disclosures, in base64url, a LF between two."""
    rows: bytes = b""
    """The JSON of each disclosure, a LF between two; where one holds a LF itself, `decoded` tells them apart."""
    said: Payload | None = None
    """The payload, where its bytes are exactly those that we would write for it."""

    @property
    def disclosures(self) -> tuple[str, ...]:
        """Its disclosures, in base64url."""
        return tuple(self.texts.decode().split("\n")) if self.texts else ()

    @property
    def decoded(self) -> tuple[bytes, ...]:
        """The JSON of each disclosure."""
        return tuple(unb64u_all(self.disclosures, "SCHEMA_LINE"))


class SealedLine(Struct, frozen=True, gc=False, kw_only=True):
    """One line ready to be sent."""

    rid: str
    v: int
    op: Op
    data: bytes
    leaf: bytes


# --- sealing ----------------------------------------------------------------------------------------------------------


def seal_statement(statement: Statement, values: Iterable[tuple[str, Value]], seed: bytes, suite: Suite) -> SealedLine:
    """The line of an assertion or amendment: `values` are all agreed fields in dictionary order, null where not known."""
    disclosures, digests = disclose(seed, values if isinstance(values, list) else [*values], suite)
    if statement.sd or statement.sd_alg != suite.digest_name:
        statement = msgspec.structs.replace(statement, sd=_NO_DIGESTS, sd_alg=suite.digest_name)
    clear = encode(statement)
    at = clear.rindex(_SD)  # behind it stands only the name of the hash
    if digests:
        clear = b"".join((clear[:at], b'"_sd":["', b'","'.join(digests), b'"]', clear[at + len(_SD) :]))
    return _sealed(statement, clear, disclosures, suite)


_NO_DIGESTS: tuple[str, ...] = ()
_SD = b'"_sd":[]'


def seal_withdrawal(withdrawal: Withdrawal, suite: Suite) -> SealedLine:
    """The line of a withdrawal."""
    return _sealed(withdrawal, encode(msgspec.structs.replace(withdrawal, sd=(), sd_alg=suite.digest_name)), [], suite)


def _sealed(said: Payload, payload: bytes, disclosures: Sequence[bytes], suite: Suite) -> SealedLine:
    listed = (b'","d":["', b'","'.join(disclosures), b'"]}\n') if disclosures else (b'","d":[]}\n',)  # base64url needs no escape
    data = b"".join((b'{"p":"', b64u_bytes(payload), *listed))
    if len(payload) > MAX_PAYLOAD or len(data) > 128 * 1024 or len(disclosures) > MAX_DISCLOSURES:
        raise ExchangeError("a record does not fit into a line", code="SIZE_LINE", place=said.rid)
    return SealedLine(rid=said.rid, v=said.v, op=said.op, data=data, leaf=leaf_hash(payload, suite))  # type: ignore[arg-type]  # op is ours


def statement(
    rules: StreamRules,
    *,
    rid: str,
    category: str,
    region: str,
    subject_kind: str,
    authority: str,
    authority_name: str,
    decided_on: str,
    publish_until: date | None,
    dispute: bool,
    basis: tuple[Basis, ...],
    trust: str,
) -> Statement:
    """The clear part of what we say of a record; version, operation, moment and digests come when it is sealed."""
    return Statement(
        iss=rules.terms.from_,
        rid=rid,
        v=1,
        op="assert",
        status="in_force",
        dataset=rules.terms.dataset,
        schema=schema_of(rules.terms),
        category=category,
        region=region,
        subject_kind=subject_kind,
        authority=authority,
        authority_name=authority_name,
        decided_on=decided_on,
        publish_until=publish_until.isoformat() if publish_until else None,
        dispute=dispute,
        reason=None,
        basis=basis,
        trust=trust,
        at="",
        sd=(),
        sd_alg="",
    )


def withdrawal(
    rules: StreamRules, *, rid: str, v: int, op: Literal["retract", "repair", "expire", "erase"], reason: str, at: datetime
) -> Withdrawal:
    """What we say when a record must disappear."""
    return Withdrawal(
        iss=rules.terms.from_,
        rid=rid,
        v=v,
        op=op,
        dataset=rules.terms.dataset,
        schema=schema_of(rules.terms),
        status=STATUS_OF[op][0],
        reason=reason if reason in REASONS[op] else next(iter(sorted(REASONS[op]))),
        at=instant(at),
        sd=(),
        sd_alg="",
    )


# --- reading a line ---------------------------------------------------------------------------------------------------


class _RawLine(Struct, frozen=True, gc=False, kw_only=True):
    p: str
    d: tuple[str, ...]


_decode_line = msgspec.json.Decoder(_RawLine).decode
_decode_statement = msgspec.json.Decoder(Statement).decode
_decode_withdrawal = msgspec.json.Decoder(Withdrawal).decode


def read_line(raw: bytes, suite: Suite) -> Line:
    """One line without its LF: exact grammar, canonical base64url, payload strict JSON with an operation.

    Raises ExchangeError SCHEMA_LINE, SIZE_LINE, SCHEMA_JSON or SCHEMA_ENUM: each fails the whole batch.
    """
    read = _plain_line(raw) or _strict_line(raw)
    payload, *decoded = read.decoded
    if len(payload) > MAX_PAYLOAD:
        raise ExchangeError("a payload is longer than 8 KiB", code="SIZE_LINE")
    if not all(decoded):
        raise ExchangeError("an empty disclosure", code="SCHEMA_LINE")
    said = _plain_payload(payload)
    if said is not None:
        return Line(said.op, said.rid, payload, read.texts, b"\n".join(decoded), said)
    value = strict_json(payload)
    op, rid = value.get("op"), value.get("rid")
    if not isinstance(op, str) or op not in OPS:
        raise ExchangeError("an operation that does not exist", code="SCHEMA_ENUM")
    return Line(op, rid if isinstance(rid, str) else None, payload, read.texts, b"\n".join(decoded))


class _Read(NamedTuple):
    texts: bytes
    """The disclosures, a LF between two."""
    decoded: list[bytes]
    """Of the payload, and of each disclosure."""


def _plain_line(raw: bytes) -> _Read | None:
    """The line cut at its quotes, where that leaves nothing but canonical base64url, which has none; else None: look at it in full."""
    head, found, rest = raw.partition(b'","d":["')
    if head[:6] != b'{"p":"' or not found or rest[-3:] != b'"]}' or b"\n" in raw:
        return None
    texts = rest[:-3].replace(b'","', b"\n")
    decoded = unb64u_lines(head[6:] + b"\n" + texts)
    return None if decoded is None or len(decoded) > MAX_DISCLOSURES + 1 else _Read(texts, decoded)


def _strict_line(raw: bytes) -> _Read:
    try:
        line = _decode_line(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ExchangeError('a line is {"p":…,"d":[…]}', code="SCHEMA_LINE") from error
    if encode(line) != raw:
        raise ExchangeError('a line is exactly {"p":…,"d":[…]}, without white space', code="SCHEMA_LINE")
    if len(line.d) > MAX_DISCLOSURES:
        raise ExchangeError("more than 64 disclosures in a line", code="SIZE_LINE")
    decoded = unb64u_all((line.p, *line.d), "SCHEMA_LINE")
    return _Read("\n".join(line.d).encode(), decoded)


def _plain_payload(payload: bytes) -> Payload | None:
    """The payload, when its bytes are exactly those that we would write for it; else None, and it must be looked at in full."""
    decode: Any
    for decode in (_decode_statement, _decode_withdrawal):
        try:
            said: Payload = decode(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
        if is_plain(payload, said) and abs(said.v) <= MAX_INTEGER:
            return said
    return None


def read_statement(payload: bytes) -> Statement:
    """The clear payload of an assertion or amendment that took effect."""
    return _decode_statement(payload)


def read_withdrawal(payload: bytes) -> Withdrawal:
    """The same of an operation that takes a record back. Raises msgspec.ValidationError, as `read_statement` does."""
    return _decode_withdrawal(payload)


def clear_content(said: Statement) -> bytes:
    """What a statement says in clear, whatever line says it: without operation, its reason, moment, schema and salted digests."""
    return encode(msgspec.structs.replace(said, op="", reason=None, at="", schema="", sd=(), sd_alg=""))

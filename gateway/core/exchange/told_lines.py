"""The record lines of a level-2 answer: what of a sealed line is told, and what a line that was told says (exchange.md §4, §12).

Rules: a line tells each field by a salted disclosure, and whoever tells may leave disclosures out, never change one: the leaf stays the
same, and so does the proof that this very record stands in the stream. A line that was never sent has no proof; the note of its answer
covers it. Nothing is coerced. This room must not decide what may be told.
"""

from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Struct

from gateway.core.errors import ExchangeError
from gateway.core.exchange import disclosures, merkle, notes, records
from gateway.core.exchange.agreements import Agreement
from gateway.core.exchange.disclosures import Disclosed
from gateway.core.exchange.notes import KeyRing
from gateway.core.exchange.questions import Answer, LineSent, Question, RecordSent
from gateway.core.exchange.records import Line, Statement
from gateway.core.exchange.wire import SHA256, SUITES, Suite, encode, origin
from gateway.core.records.model import Value

TELLS: Final = frozenset({"assert", "amend"})
_STAYS: Final = ("status", "category", "region", "subject_kind", "authority", "decided_on", "publish_until", "dispute", "basis", "trust")
"""What a sealed line says in clear and must still be true today."""


class Told(Struct, frozen=True, kw_only=True):
    """One record as a partner tells it."""

    rid: str
    v: int
    dataset: str
    category: str
    region: str
    subject_kind: str
    authority: str
    authority_name: str
    decided_on: str
    publish_until: str | None
    dispute: bool
    basis: tuple[records.Basis, ...]
    trust: str
    at: str
    fields: dict[str, Value]
    """By wire name: what the partner chose to tell."""
    proved: bool
    """It stands in the partner's signed stream to us; else the answer's signature alone vouches for it."""


def part_of(raw: bytes, today: Statement, values: Mapping[str, Value], suite: Suite) -> LineSent | None:
    """The part of a sealed line that says no more than may be told today, or None where it does not say the same any more.

    `values` are the agreed fields that today's view shows; a disclosure of any other field is left out.
    """
    line = records.read_line(raw.removesuffix(b"\n"), suite)
    said = line.said
    if not isinstance(said, Statement) or any(getattr(said, name) != getattr(today, name) for name in _STAYS):
        return None
    kept: list[str] = []
    named: dict[str, Value] = {}
    for text, each in zip(line.disclosures, _opened(line, said, suite), strict=True):
        if each.name not in values:
            continue
        if each.value != values[each.name] or type(each.value) is not type(values[each.name]):
            return None
        kept.append(text)
        named[each.name] = each.value
    if any(value is not None and name not in named for name, value in values.items()):
        return None
    plain = msgspec.json.decode(raw)
    return LineSent(p=plain["p"], d=tuple(kept))


def _opened(line: Line, said: Statement, suite: Suite) -> list[Disclosed]:
    """The disclosures of a line, in its order; each stands in `_sd`, but not all of `_sd` need be there.

    Raises ExchangeError SCHEMA_DISCLOSURE or SCHEMA_LENGTH.
    """
    opened = []
    seen: set[str] = set()
    for text, data in zip(line.disclosures, line.decoded, strict=True):
        digest = disclosures.digest_of(text, suite)
        if digest not in said.sd:
            raise ExchangeError("a disclosure that is not of this record", code="SCHEMA_DISCLOSURE")
        (each,) = disclosures.open_some([text.encode()], data, [digest], suite)
        if each.name in seen:
            raise ExchangeError("two disclosures have one name", code="SCHEMA_DISCLOSURE")
        seen.add(each.name)
        opened.append(each)
    return opened


def read_told(answer: Answer, asked: Question, agreement: Agreement, ring: KeyRing, **verifying: object) -> tuple[Told, ...]:
    """Every record of a believed answer, each about what was asked; `verifying`: `first_seen` and `skew` for the heads of proofs.

    Raises ExchangeError when one is not well formed, is about something else, or has a proof that does not hold.
    """
    found = tuple(_told(record, asked, agreement, ring, verifying) for record in answer.records)
    if len({each.rid for each in found}) != len(found):
        raise ExchangeError("a record stands twice in an answer", code="SEQ_VERSION")
    return found


def _told(record: RecordSent, asked: Question, agreement: Agreement, ring: KeyRing, verifying: Mapping[str, object]) -> Told:
    suite = _suite(record, asked, agreement)
    line = records.read_line(encode(record.line), suite)
    said = _statement(line)
    if said.iss != asked.to or said.dataset not in asked.datasets or said.subject_kind != asked.subject.kind:
        raise ExchangeError("a record that was not asked for", code="SCOPE_ISSUER" if said.iss != asked.to else "SCOPE_KIND")
    values = {each.name: each.value for each in _opened(line, said, suite)}
    _check_subject(said, values, asked, agreement)
    if record.proof is not None:
        _check_proof(record, said, line.payload, asked, ring, suite, verifying)
    elif record.origin is not None:
        raise ExchangeError("an origin without its proof", code="SEQ_ROOT")
    return Told(
        rid=said.rid,
        v=said.v,
        dataset=said.dataset,
        category=said.category,
        region=said.region,
        subject_kind=said.subject_kind,
        authority=said.authority,
        authority_name=said.authority_name,
        decided_on=said.decided_on,
        publish_until=said.publish_until,
        dispute=said.dispute,
        basis=said.basis,
        trust=said.trust,
        at=said.at,
        fields=values,
        proved=record.proof is not None,
    )


def _statement(line: Line) -> Statement:
    """What a line says, which tells a record in force.

    Raises ExchangeError SCHEMA_LINE.
    """
    said = line.said
    if said is None:
        try:
            said = records.read_statement(line.payload)
        except msgspec.DecodeError as error:
            raise ExchangeError("the payload of a line is no statement", code="SCHEMA_LINE") from error
    if not isinstance(said, Statement) or said.op not in TELLS:
        raise ExchangeError("an answer tells records in force", code="SCHEMA_LINE")
    return said


def _suite(record: RecordSent, asked: Question, agreement: Agreement) -> Suite:
    """That of the stream where the line comes from one."""
    if record.origin is None:
        return SHA256
    for dataset in asked.datasets:
        terms = agreement.stream(dataset, asked.to)
        if terms is not None and record.origin.startswith(f"{asked.to}/x/{agreement.id}.{dataset}/"):
            return SUITES[terms.wire.suite]
    raise ExchangeError("the record is of no stream between us", code="SCOPE_AGREEMENT")


def _check_subject(said: Statement, values: Mapping[str, Value], asked: Question, agreement: Agreement) -> None:
    """Where the agreement says which field is the code of the subject, the line has the one that was asked for."""
    terms = agreement.stream(said.dataset, asked.to)
    wanted = {"uscc": asked.subject.uscc, "id_no": asked.subject.id_no}
    for field in terms.fields if terms is not None else ():
        if field.role == "subject_code" and values.get(field.name) is not None and values[field.name] != wanted.get(field.type):
            raise ExchangeError("a record of another subject", code="SUBJ_CONFLICT")


def _check_proof(
    record: RecordSent, said: Statement, payload: bytes, asked: Question, ring: KeyRing, suite: Suite, verifying: Mapping[str, object]
) -> None:
    """The payload is a leaf of the partner's stream to us, under a head that it signed.

    Raises ExchangeError SEQ_ROOT, SIG_*.
    """
    assert record.proof is not None  # noqa: S101  # asked by the caller
    proof = merkle.read_proof(record.proof)
    text = notes.verify(
        proof.checkpoint,
        ring,
        use="exchange",
        required=frozenset({suite.algorithm}),
        **verifying,  # type: ignore[arg-type]  # first_seen, skew
    )
    head = notes.read_checkpoint(text)
    stream = f"{asked.agreement.id}.{said.dataset}"
    epoch = head.origin.rpartition("/")[2]
    if head.origin != record.origin or not epoch.isdigit() or head.origin != origin(asked.to, stream, int(epoch)):
        raise ExchangeError("the head is of another stream", code="SIG_CONTEXT")
    leaf = merkle.leaf_hash(payload, suite)
    if merkle.root_from_proof(leaf, proof.index, head.size, proof.hashes, suite) != head.root:
        raise ExchangeError("the proof does not lead to the head", code="SEQ_ROOT")

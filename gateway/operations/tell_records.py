"""What a partner may be told of one subject today, for a mutual query: found, seen through the agreement's plan, and sealed as lines.

Rules: the View of the agreement's tier and the purpose `mutual.query` decides; what it hides is not there. A record of another city is
never passed on, nor one outside what the agreement's stream of its dataset may speak of. What nobody signed for is no hit. A person or
household is found by whole code or number and whole name alone. A line that this partner was sent is told again with its proof as far as
it still says the same; any other is sealed for this answer. This story must not decide who may ask.
"""

from collections.abc import Iterator, Mapping
from datetime import date, datetime
from itertools import islice
from typing import Final

from msgspec import Struct, structs

from gateway.core.disclosure.plans import Plan, Policies
from gateway.core.disclosure.row_language import Attributes
from gateway.core.disclosure.views import View, bears_name, is_about, view
from gateway.core.errors import ExchangeError
from gateway.core.exchange import merkle, records
from gateway.core.exchange.agreements import Held, Limits, StreamRules, rules_of
from gateway.core.exchange.batch_lines import split_lines
from gateway.core.exchange.judging import scope_fault
from gateway.core.exchange.manifests import read_manifest
from gateway.core.exchange.questions import MAX_RECORDS, PURPOSE, LineSent, Question, RecordSent
from gateway.core.exchange.records import Statement
from gateway.core.exchange.told_lines import part_of
from gateway.core.exchange.wire import SHA256, SUITES, encode, instant, origin
from gateway.core.records.model import Dataset, DatasetId, Record, SubjectId, Value
from gateway.core.records.sealed import PERSONAL_TYPES
from gateway.operations.pseudonym_keys import pseudonyms_for
from gateway.operations.reaching import gated_by
from gateway.services import Services
from gateway.store import ledger, outbox
from gateway.store import records as rows
from gateway.store.ledger import SentRecord
from gateway.store.out_trees import StreamTree

MAX_TOLD_BYTES: Final = 700 * 1024
"""Lines of one answer: with the note, and quoted once more as JSON in JSON, it stays under a megabyte."""
SEED_BYTES: Final = 32
_NOBODY: Final = SubjectId("sub_")
"""Asked for when nobody has the number, so that a miss runs the statements of a hit."""


class GroundsEnded(Exception):
    """The grounds of a plan have ended: an answer now would say that nothing is there."""


class _Reach(Struct, frozen=True, kw_only=True):
    """One dataset of a question."""

    dataset: Dataset
    plan: Plan
    rules: StreamRules | None
    """What the agreement lets us say of the dataset in a stream; None: it has none."""
    attributes: Attributes


class Tellable(Struct, frozen=True, kw_only=True):
    """One record that may be told, as it is seen today."""

    record: Record
    said: Statement
    values: Mapping[str, Value]
    rules: StreamRules | None


class Found(Struct, frozen=True, kw_only=True):
    """What there is to tell, and about whom."""

    subject: SubjectId | None
    told: tuple[Tellable, ...]


async def find(services: Services, policies: Policies, held: Held, asked: Question, now: datetime) -> Found:
    """Everything that this question may be told at its level.

    Raises GroundsEnded, StoreError.
    """
    reaches = {reach.dataset.id: reach for reach in _reaches(services, policies, held, asked)}
    if any(reach.plan.valid_until is not None and reach.plan.valid_until <= now for reach in reaches.values()):
        raise GroundsEnded
    reads, subject = services.store.reads, asked.subject
    key, number = ("id_no", subject.id_no) if subject.kind == "natural" else ("uscc", subject.uscc)
    known = await rows.subject_by_key(reads, key, number or "", subject.kind)
    plans = [reach.plan for reach in reaches.values()]
    loaded = await rows.load(
        reads,
        subject=known.subject_id if known is not None else _NOBODY,
        fields=frozenset({"id_no", "name"} if subject.kind != "legal" else ()).union(*((*plan.columns, *gated_by(plan)) for plan in plans)),
        texts=frozenset[str]().union(*(plan.whole_texts for plan in plans)),
    )
    names = pseudonyms_for(services.store.vault, asked.from_, PURPOSE, now)
    told = []
    for record in loaded:
        reach = reaches.get(record.dataset)
        if reach is None or record.issuer is not None or record.kind != subject.kind or not _meant(record, asked):
            continue
        seen = view(record, reach.plan, policies, now, reach.attributes, keyed=names)
        if seen is None or (seen.valid_until is not None and seen.valid_until <= now):
            continue
        said = _said(services.signers.party, reach, record, seen)
        if said is None or (reach.rules is not None and scope_fault(said, reach.rules) is not None):
            continue
        told.append(Tellable(record=record, said=said, values=_values(held, reach, seen), rules=reach.rules))
    if all(each.said.trust == "vouched" for each in told):
        told = []  # beside what somebody has signed for it is told, as what it is; alone it is no hit
    return Found(subject=known.subject_id if known is not None else None, told=tuple(told))


def _reaches(services: Services, policies: Policies, held: Held, asked: Question) -> Iterator[_Reach]:
    for name in asked.datasets:
        dataset = policies.catalogue.datasets.get(DatasetId(name))
        plans = policies.plan_set(name, held.local.tier, PURPOSE)
        plan = plans.plans.get(asked.subject.kind) if plans is not None else None
        if dataset is None or plan is None:
            continue  # nothing of it is shown to anybody: that reads like nothing there
        rules = None
        if held.agreement.stream(name, services.signers.party) is not None:
            rules = rules_of(held.agreement, name, services.signers.party)
        regions = rules.terms.scope.regions if rules is not None else (services.settings.region,)
        yield _Reach(dataset=dataset, plan=plan, rules=rules, attributes=Attributes(grant_regions=regions))


def _meant(record: Record, asked: Question) -> bool:
    subject = asked.subject
    if subject.kind == "legal":
        return True
    if subject.kind == "natural":
        return is_about(record, subject.id_no or "", subject.name or "")
    return bears_name(record, subject.name or "")


def _said(ours: str, reach: _Reach, record: Record, seen: View) -> Statement | None:
    """The clear part of what we say; None when the view does not say who decided, when, or on what ground."""
    authority = seen.fields.get("authority_code") or seen.source_code
    name = seen.fields.get("authority") or seen.source_name
    if not isinstance(authority, str) or not isinstance(name, str) or seen.decision_date is None or not seen.basis:
        return None
    terms = reach.rules.terms if reach.rules is not None else None
    return Statement(
        iss=ours,
        rid=seen.record_id,
        v=record.version,
        op="assert",
        status="in_force",
        dataset=seen.dataset,
        schema=f"{seen.dataset}/{terms.schema_.major}.{terms.schema_.min_minor}" if terms is not None else f"{seen.dataset}/1.0",
        category=seen.category,
        region=seen.region,
        subject_kind=seen.kind,
        authority=authority,
        authority_name=name[:200],
        decided_on=date.fromisoformat(seen.decision_date).isoformat(),
        publish_until=seen.publish_until.isoformat() if seen.publish_until is not None else None,
        dispute=any(mark.code == "objection_in_progress" for mark in seen.marks),
        reason=None,
        basis=tuple(records.Basis(text=ground.text, uri=ground.uri, item=None) for ground in seen.basis[:8]),
        trust=seen.trust,
        at=instant(seen.received_at),
        sd=(),
        sd_alg="",
    )


def _values(held: Held, reach: _Reach, seen: View) -> dict[str, Value]:
    """What the view shows of what the agreement names; where it names nothing, no field about a person."""
    fields = reach.dataset.fields
    shown = {fields[name].wire_name: value for name, value in seen.fields.items() if name in fields}
    if reach.rules is not None:
        agreed = frozenset(reach.rules.checks)
    else:
        agreed = frozenset(each.wire_name for each in fields.values() if each.type.partition("(")[0] not in PERSONAL_TYPES)
    if seen.kind != "legal":
        agreed &= frozenset(held.agreement.terms.natural_persons.fields)
    return {name: value for name, value in shown.items() if name in agreed}


# --- lines ------------------------------------------------------------------------------------------------------------


async def lines(services: Services, held: Held, found: Found) -> tuple[list[RecordSent], bool]:
    """The lines of what was found, the latest decision first, and whether they are all: an answer has bounds."""
    made: list[RecordSent] = []
    left, whole = MAX_TOLD_BYTES, True
    streams: dict[str, _Stream] = {}
    ordered = sorted(found.told, key=lambda one: (one.said.decided_on, one.said.rid), reverse=True)
    for one in ordered:
        if one.rules is not None and one.rules.stream not in streams:
            ids = [each.record.record_id for each in found.told if each.said.dataset == one.said.dataset]
            sent = await ledger.sent_records(services.store.reads, one.rules.stream, ids)
            streams[one.rules.stream] = _Stream(services, one.rules, sent)
        record = None if one.rules is None else await streams[one.rules.stream].line(one)
        if record is None:
            try:
                record = _fresh(services, one)
            except ExchangeError:  # its values fit into no line: that it is there is told all the same
                record, whole = _fresh(services, structs.replace(one, values={})), False
        left -= len(encode(record))
        if left < 0 or len(made) == MAX_RECORDS:
            break
        made.append(record)
    return made, whole and len(made) == len(ordered)


def _fresh(services: Services, one: Tellable) -> RecordSent:
    sealed = records.seal_statement(one.said, list(one.values.items()), services.random(SEED_BYTES), SHA256)
    line = records.read_line(sealed.data.removesuffix(b"\n"), SHA256)
    return RecordSent(line=LineSent(p=_payload_of(sealed.data), d=line.disclosures), origin=None, proof=None)


def _payload_of(data: bytes) -> str:
    return data.partition(b'{"p":"')[2].partition(b'"')[0].decode()


class _Stream:
    """What one stream of ours to the partner said of these records; its tree is read once."""

    def __init__(self, services: Services, rules: StreamRules, sent: Mapping[str, SentRecord]) -> None:
        self._services = services
        self._rules = rules
        self._sent = sent
        self._trees: dict[tuple[int, int], StreamTree] = {}

    async def line(self, one: Tellable) -> RecordSent | None:
        """The line that was sent of a record, with its proof; None where it is not kept, or does not say the same any more."""
        reads, stream, suite = self._services.store.reads, self._rules.stream, SUITES[self._rules.terms.wire.suite]
        sent = self._sent.get(one.record.record_id)
        if sent is None or sent.op not in ("assert", "amend") or sent.refused is not None:
            return None
        batch = await outbox.out_batch(reads, stream, sent.epoch, sent.seq)
        out = await outbox.out_stream(reads, stream, suite)
        if batch is None or batch.published_at is None or out is None or out.head.epoch != sent.epoch:
            return None
        head = await outbox.out_batch(reads, stream, out.head.epoch, out.head.seq)
        entry = next((each for each in read_manifest(batch.document.body).parts if each.from_ <= sent.idx < each.to), None)
        data = await outbox.out_part(reads, stream, sent.epoch, entry.name) if entry is not None else None
        if head is None or entry is None or data is None:
            return None
        raw = next(islice(split_lines(entry, data, Limits()), sent.idx - entry.from_, None))
        part = part_of(raw, one.said, one.values, suite)
        if part is None:
            return None
        at = (sent.epoch, out.head.tree.size)
        tree = self._trees.setdefault(at, StreamTree(reads, stream, *at, suite))
        proof = await tree.inclusion_proof(sent.idx)
        where = origin(self._rules.terms.from_, stream, sent.epoch)
        return RecordSent(line=part, origin=where, proof=merkle.proof_text(sent.idx, proof, head.checkpoint))

"""The only door out: a Record becomes readable as a View, and only here.

Rules: a row whose gate is closed gives no view, nor one outside the territory that the plan has for its caller; a field without a rule
is not there; a view is one pass over the steps of a compiled plan; a treatment that fails drops its field and says `failed`, and the
raw value never takes its place; nothing raises past `view`. Values beside the fields (source, severity, decision date) show only what
the plan's fields show in clear; marks are never masked. Free text leaves as it was redacted at intake (`redacted_texts`), never
redacted on request.

`Unpublished.open()` may stand here, in `core/publication/listings.py` and in `store/records.py`, nowhere else.
"""

import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from datetime import date, datetime
from types import MappingProxyType
from typing import Final, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from gateway.core.disclosure.gates import Standing, ending, row_gate, standing
from gateway.core.disclosure.masking import DROPPED, Shown, Treat, band_label, household_name
from gateway.core.disclosure.narrowing import territory
from gateway.core.disclosure.plans import OWN_FIELDS, PERSONAL_CLASSES, Mode, Plan, Policies, Step, Summary
from gateway.core.disclosure.pseudonyms import Keyed
from gateway.core.disclosure.redactor import PERSONAL_TYPES, REVIEWED, reviewed_of, stamp_of
from gateway.core.disclosure.row_language import NOBODY, Attributes, Holds, fields_of_rule, predicate
from gateway.core.disclosure.seats import Seat, values_of
from gateway.core.records.model import (
    Admitted,
    BasisRef,
    Dataset,
    DatasetId,
    Recognised,
    Record,
    RecordId,
    Redaction,
    SubjectId,
    SubjectKind,
    Value,
)

__all__ = [
    "CASE_FIELD",
    "FAILED",
    "HELD",
    "SUMMARY",
    "WHOLE",
    "Mark",
    "View",
    "again_redacted",
    "bears_name",
    "case_of",
    "closed_gate",
    "is_about",
    "persons_of",
    "redacted_texts",
    "seat_of",
    "texts_of",
    "view",
]

HELD: Final = "held"
VOUCHED: Final = "vouched"
"""The mark of what no authority has signed for (exchange.md §14); of what burdens neither the public nor the bank sees it at all."""
FAILED: Final = "failed"
WHOLE: Final = "*"
"""What is counted as broken where a record could not be shown at all."""
SUMMARY: Final = "summary"


class Mark(Struct, frozen=True, kw_only=True):
    """What every format says beside a record: never maskable, never left out."""

    code: str
    """`objection_in_progress`, `corrected`, `recognised`, `validity_ended`, `vouched`; to the subject alone `held`."""
    since: datetime | None


class View(Struct, frozen=True, kw_only=True):
    """A record as one tier may see it under one policy version."""

    record_id: RecordId
    subject_id: SubjectId
    dataset: DatasetId
    category: str
    kind: SubjectKind
    policy_version: int
    plan_hash: str
    fields: dict[str, Value]
    """All shown fields in dictionary order, and `summary` last where the plan shows redacted text."""
    treatments: dict[str, str]
    """Shown, but not clear; `held` for a text not released, `failed` for a treatment that broke."""
    region: str
    published_from: date | None
    publish_until: date | None
    period_rule: str | None
    basis: tuple[BasisRef, ...]
    source_name: str | None
    source_code: str | None
    received_at: datetime
    marks: tuple[Mark, ...]
    trust: str
    issuer: str | None
    recognised: Recognised | None
    severity: str | None
    decision_date: str | None
    valid_from: datetime
    valid_until: datetime | None
    """Until when this view stays true as it is: period, own validity, grounds; None: until something changes."""


def view(
    record: Record, plan: Plan, policies: Policies, now: datetime, attributes: Attributes | None = NOBODY, *, keyed: Keyed | None = None
) -> View | None:
    """The record as this plan shows it, or None when a row gate is closed; it raises nothing.

    `attributes` are the caller's, for the plan's territory; without them a plan that has one shows nothing. None: nobody reads this
    yet (what a plan set is told of), and whoever does is asked then. `keyed` makes the recipient's pseudonyms; without it they are
    dropped and marked `failed`.
    """
    try:
        return _made(record, plan, policies, now, attributes, keyed)
    except Exception:  # noqa: BLE001  # whatever broke is not shown; `closed_gate` calls it `failed`
        _count_failure(plan, policies, WHOLE)
        return None


def _made(
    record: Record, plan: Plan, policies: Policies, now: datetime, attributes: Attributes | None, keyed: Keyed | None
) -> View | None:
    if row_gate(record, plan, now) is not None:
        return None
    held = standing(record, plan, policies, now)
    if held.closed is not None:
        return None
    raw = record.raw.open()
    if plan.tier == "public":  # the public brings nothing, whoever makes its view
        attributes = NOBODY if plan.rows is not None else None
    if attributes is not None and not _reached(record, raw, plan, policies, attributes):
        return None
    texts = record.texts
    if plan.gate.requires and not _complete(record, plan):
        return None
    layout: _Layout | None = policies.memo.get(("layout", plan.plan_hash))
    if layout is None or layout.steps is not plan.steps:
        layout = _layout_of(plan, policies)
    _, nothing, clear, treated, told, treatments = layout
    get = raw.copy().get  # through its proxy every look at a value costs half as much again
    fields = nothing.copy()
    fields.update(zip(clear, map(get, clear), strict=True))
    changed: dict[str, str] | None = None
    withheld = False
    for name, mode, treat, option, _ in treated:
        if mode == _VALUE:
            try:
                shown = treat(get(name))
            except Exception:  # noqa: BLE001  # whatever broke: the field is dropped and marked, its value never shown
                del fields[name]
                changed = _failed(plan, policies, name, treatments if changed is None else changed)
            else:
                if shown is DROPPED:
                    del fields[name]
                else:
                    fields[name] = shown
        elif mode == _PSEUDONYM:
            value = get(name)
            if value is None:
                continue
            shown = _pseudonym(keyed, name, treat, value)
            if shown is None or shown is DROPPED:
                del fields[name]
                changed = _failed(plan, policies, name, treatments if changed is None else changed) if shown is None else changed
            else:
                fields[name] = shown
        else:
            fields[name] = _household(raw, record.region, option)
    if texts:
        for name, strict, hold, stamp in told:
            text = texts.get(name)
            if text is None:
                continue
            if hold and (text.held or text.redactor != stamp):
                del fields[name]
                changed = dict(treatments) if changed is None else changed
                changed[name] = HELD
                withheld = True
                continue
            said = text.strict if strict else text.third_parties
            if said is None:  # its seal was not opened
                del fields[name]
                changed = _failed(plan, policies, name, treatments if changed is None else changed)
            else:
                fields[name] = said
    if plan.summary is not None:
        fields[SUMMARY] = _summary(plan.summary, raw) if withheld else None
    return _view(record, plan, policies, held, fields, treatments.copy() if changed is None else changed)


class _Layout(NamedTuple):
    """The steps of a plan as one pass takes them: all clear values at once, then each treated field, then the texts."""

    steps: tuple[Step, ...]
    nothing: dict[str, Value]
    """Every field in its place, null: what stands until a value is put there."""
    clear: tuple[str, ...]
    treated: tuple[Step, ...]
    texts: tuple[tuple[str, bool, bool, str], ...]
    """Field, whether the strict profile, whether it holds, and the redactor by which a text of it must have been scored."""
    treatments: dict[str, str]
    """What nearly every view of the plan says; each gets its own copy."""


_VALUE: Final = Mode.VALUE
_PSEUDONYM: Final = Mode.PSEUDONYM


def _layout_of(plan: Plan, policies: Policies) -> _Layout:
    fields = policies.catalogue.datasets[plan.dataset].fields
    layout = _Layout(
        steps=plan.steps,
        nothing=dict.fromkeys(step.field for step in plan.steps),
        clear=tuple(step.field for step in plan.steps if step.mode == Mode.CLEAR),
        treated=tuple(step for step in plan.steps if step.mode not in (Mode.CLEAR, Mode.TEXT)),
        texts=tuple((step.field, step.option, step.hold, stamp_of(fields[step.field])) for step in plan.steps if step.mode == Mode.TEXT),
        treatments=dict(plan.treatments),
    )
    policies.memo["layout", plan.plan_hash] = layout
    return layout


def _failed(plan: Plan, policies: Policies, name: str, treatments: dict[str, str]) -> dict[str, str]:
    """The treatments of a view of which one field broke, which is counted."""
    _count_failure(plan, policies, name)
    return {**treatments, name: FAILED}


def _count_failure(plan: Plan, policies: Policies, name: str) -> None:
    key = (plan.dataset, plan.tier, plan.purpose, plan.kind, name)
    policies.failures[key] = policies.failures.get(key, 0) + 1


def _pseudonym(keyed: Keyed | None, field: str, normalise: Treat, value: Value) -> Shown:
    """The recipient's own name for a value: dropped where it has no normal form, None where there is no key to make it with."""
    try:
        normal = normalise(value)
        return normal if not isinstance(normal, str) else keyed(field, normal) if keyed is not None else None
    except Exception:  # noqa: BLE001  # whatever broke: the field is dropped and marked, its value never shown
        return None


def closed_gate(
    record: Record, plan: Plan, policies: Policies, now: datetime, attributes: Attributes | None = None
) -> str | None:
    """The name of the first gate that is closed for this record, or None: it may be seen.

    The record must have been loaded with the columns of the plan. Without attributes the territory is not asked.
    """
    try:
        closed = row_gate(record, plan, now)
        if closed is None or closed == "policy-expired":  # where it is the catalogue's law that has ended, that is said
            lawful = standing(record, plan, policies, now).closed
            closed = lawful if closed is None or lawful == "legality" else closed
        if plan.tier == "public":
            attributes = NOBODY if plan.rows is not None else None
        if closed is None and attributes is not None and not _reached(record, record.raw.open(), plan, policies, attributes):
            return "territory"
        return closed or (None if _complete(record, plan) else "incomplete")
    except Exception:  # noqa: BLE001  # a gate that cannot be asked is closed
        return "failed"


def _reached(record: Record, raw: MappingProxyType[str, Value], plan: Plan, policies: Policies, attributes: Attributes) -> bool:
    """Whether the record lies in the territory that a plan has for a caller."""
    key = ("territory", plan.plan_hash, attributes)
    known: tuple[frozenset[str], Holds | None] | None = policies.memo.get(key)
    if known is None:
        rule = territory(plan, attributes)
        known = (frozenset(), None) if rule is None else (fields_of_rule(rule), predicate(rule, attributes))
        policies.memo[key] = known
    names, holds = known
    return holds is None or holds({name: raw.get(name) for name in names} | envelope_values(record))


def envelope_values(record: Record) -> dict[str, Value]:
    """The names that the gate language has beside a dataset's own fields; they win over a field of the same name."""
    owner = record.authority_code if record.authority_code is not None else record.sender
    return {"region": record.region, "owner_org": owner, "subject": record.subject_id}


def seat_of(record: Record, names: Iterable[str]) -> Seat:
    """Where the record lies, with the values of the fields that row rules ask for; it must have been loaded with them."""
    owner = record.authority_code if record.authority_code is not None else record.sender
    values = values_of(record.raw.open(), names)
    return Seat(dataset=record.dataset, kind=record.kind, region=record.region, owner=owner, values=values)


def is_about(record: Record, id_no: str, name: str) -> bool:
    """Whether a record is about the person with this number and this full name; both must have been loaded."""
    raw = record.raw.open()
    return record.kind == "natural" and raw.get("id_no") == id_no and folded_name(raw.get("name")) == folded_name(name)


def bears_name(record: Record, name: str) -> bool:
    """Whether a household's record has this whole trade name, which must have been loaded."""
    return record.kind == "individual_business" and folded_name(record.raw.open().get("name")) == folded_name(name)


def folded_name(name: Value) -> str | None:
    """A person's name without spaces and in one spelling of its dot and letters; None for what is no text."""
    if not isinstance(name, str):
        return None
    folded = unicodedata.normalize("NFKC", name)
    return "".join(_DOTS.get(letter, letter) for letter in folded if not letter.isspace()).upper()


_DOTS: Final = dict.fromkeys("•∙⋅・･‧.", "·")


def _complete(record: Record, plan: Plan) -> bool:
    """Whether everything is there without which the dataset publishes nothing."""
    raw = record.raw.open()
    for name in plan.gate.requires:  # noqa: SIM110  # a generator for each record costs more than the looks
        if raw.get(name) is None and name not in record.texts:
            return False
    return True


def _view(record: Record, plan: Plan, policies: Policies, held: Standing, fields: dict[str, Value], treatments: dict[str, str]) -> View:
    envelope = plan.envelope
    until = held.until
    if record.recognised is not None and record.recognised.until is not None:
        ends = ending(record.recognised.until)
        until = ends if ends is not None and (until is None or ends < until) else until
    name = fields.get("source_unit") if envelope.source else None
    code = fields.get("source_unit_code") if envelope.source_code else None
    if name is None and envelope.authority:
        name = record.authority_name
        code = code or (record.authority_code if envelope.authority_code else None)
    decided = fields.get("decision_date") if envelope.decision_date else None
    return View(
        record_id=record.record_id,
        subject_id=record.subject_id,
        dataset=record.dataset,
        category=record.category,
        kind=record.kind,
        policy_version=policies.version,
        plan_hash=plan.plan_hash,
        fields=fields,
        treatments=treatments,
        region=record.region,
        published_from=held.published_from,
        publish_until=held.publish_until,
        period_rule=held.period_rule,
        basis=held.basis,
        source_name=name if isinstance(name, str) else None,
        source_code=code if isinstance(code, str) else None,
        received_at=record.received_at,
        marks=_marks(record, held),
        trust=record.trust,
        issuer=record.issuer,
        recognised=record.recognised,
        severity=record.severity if envelope.severity else None,
        decision_date=decided if isinstance(decided, str) else None,
        valid_from=held.since or record.received_at,
        valid_until=until,
    )


def _marks(record: Record, held: Standing) -> tuple[Mark, ...]:
    if (
        record.dispute_since is None
        and record.corrected_since is None
        and record.recognised is None
        and held.lapsed_since is None
        and not held.held
        and record.trust == "signed"
    ):
        return ()
    recognised = record.recognised.since if record.recognised is not None else None
    since = (
        ("objection_in_progress", record.dispute_since),
        ("corrected", record.corrected_since),
        ("recognised", recognised),
        ("validity_ended", held.lapsed_since),
    )
    marks = tuple(Mark(code=code, since=moment) for code, moment in since if moment is not None)
    beside = ((VOUCHED, record.trust != "signed"), (HELD, held.held))
    return (*marks, *(Mark(code=code, since=None) for code, stands in beside if stands))


def _household(raw: Mapping[str, Value], region: str, by_code: bool) -> str:
    code = raw.get("uscc") if by_code else None
    return household_name(code if isinstance(code, str) else None, region)


# --- what stands for a held text --------------------------------------------------------------------------------------


def _summary(summary: Summary, raw: Mapping[str, Value]) -> str:
    """Act, kind of penalty, amount band and date, as far as the plan shows them (policy.md §13)."""
    kind = raw.get(summary.kind_field) if summary.kind_field is not None else None
    words = "、".join(summary.kind_words.get(each, each) for each in kind.split(";")) if isinstance(kind, str) and kind else None
    amount = raw.get(summary.amount_field) if summary.amount_field is not None else None
    band = band_label(amount, summary.amount_bands, summary.amount_unit)
    day = raw.get(summary.date_field) if summary.date_field is not None else None
    return "；".join(str(part) for part in (summary.act, words, band, day) if part)


# --- the texts of a record, as it comes in ----------------------------------------------------------------------------

_PLACEHOLDER: Final = re.compile("〔[^〔〕]{1,6}[0-9]{1,4}〕")
_LISTED: Final = re.compile("[、，,;；]+")
_NOBODY: Final = frozenset(
    {"不详", "暂无", "未知", "同上", "本人", "其他", "法人", "经营者", "负责人", "法定代表人", "身份证", "居民身份证"}
)
"""What departments write where a name or number should stand; it would be found all over the texts."""


class Told(Struct, frozen=True, kw_only=True):
    """What a record says of persons outside its texts."""

    known: tuple[str, ...]
    """Values of persons; `own`: those that name the record's own subject; `public`: names of organisations."""
    own: tuple[str, ...]
    public: tuple[str, ...]


CASE_FIELD: Final = "document_number"
"""Records that say the same here are of one case."""


def case_of(admitted: Admitted) -> str | None:
    """What tells that two records are of one case: the number of the decision. None: the record names none, or has no text."""
    raw = admitted.values.open()
    number = raw.get(CASE_FIELD)
    return number if isinstance(number, str) and number else None


def persons_of(admitted: Admitted, dataset: Dataset) -> tuple[str, ...]:
    """The values of persons in a record: looked for in the texts of the other records of its case too."""
    told = _told(admitted.values.open(), _lookout(dataset, admitted.kind))
    return (*told.known, *told.own)


def redacted_texts(admitted: Admitted, dataset: Dataset, case: Collection[str] = ()) -> dict[str, Redaction]:
    """Every free text of a record as it may leave, redacted once at intake with what the record itself says of persons.

    The personal values of the record's fields are found in its texts too, and so are those of the other records of its `case`;
    placeholders are numbered through the whole record; the name of an organisation is left in, also where it holds a person's.
    """
    raw = admitted.values.open()
    return texts_of(raw, admitted.kind, dataset, case)


def texts_of(raw: Mapping[str, Value], kind: SubjectKind, dataset: Dataset, case: Collection[str] = ()) -> dict[str, Redaction]:
    """The same of values that somebody has opened already."""
    lookout = _lookout(dataset, kind)
    texts = {name: value for name in lookout.texts if isinstance(value := raw.get(name), str) and value}
    if not texts:
        return {}
    from gateway.core.disclosure.redaction import redact_all  # a hundred patterns, compiled when the first text is there

    told = _told(raw, lookout)
    known = (*told.known, *(value for value in case if value not in told.own))
    made = redact_all(texts, known, told.own, keep=told.public)
    for name in lookout.reviewed:
        if name in made:
            made[name] = replace(made[name], residual=max(made[name].residual, 1), redactor=REVIEWED)
    return made


def again_redacted(record: Record, dataset: Dataset) -> dict[str, Redaction]:
    """The texts of a stored record as today's redactor leaves them: nobody has decided about these yet.

    What was replaced before and is not any more (a person known from another record of the case) is a doubt.
    """
    made = texts_of(record.raw.open(), record.kind, dataset)
    for name, text in made.items():
        was = record.texts.get(name)
        if was is not None:
            fewer = was.strict is None or len(_PLACEHOLDER.findall(text.strict)) < len(_PLACEHOLDER.findall(was.strict))
            made[name] = replace(text, of=was.of, residual=text.residual + fewer)
    return made


class _Lookout(NamedTuple):
    """Where the records of a dataset and kind hold texts, and where they name somebody."""

    dataset: Dataset
    texts: tuple[str, ...]
    own: tuple[str, ...]
    public: tuple[str, ...]
    reviewed: tuple[str, ...]
    """Texts that wait for a reviewer in any case."""
    hunted: tuple[tuple[str, bool], ...]
    """Fields with values of persons, and whether several may be listed in one."""


_LOOKOUTS: Final[dict[tuple[int, SubjectKind], _Lookout]] = {}
_MOST_LOOKOUTS: Final = 512


def _lookout(dataset: Dataset, kind: SubjectKind) -> _Lookout:
    """Asked once for a dataset and kind; datasets are immutable values that live as long as their policy version."""
    found = _LOOKOUTS.get((id(dataset), kind))
    if found is not None and found.dataset is dataset:
        return found
    others = {name: field for name, field in dataset.fields.items() if not field.text}
    personal = {name for name, field in others.items() if field.classes.get(kind, "U") in PERSONAL_CLASSES}
    hunted = [name for name, field in others.items() if name in personal - OWN_FIELDS and field.type in PERSONAL_TYPES]
    if len(_LOOKOUTS) >= _MOST_LOOKOUTS:
        _LOOKOUTS.clear()
    made = _LOOKOUTS[id(dataset), kind] = _Lookout(
        dataset=dataset,
        texts=tuple(name for name, field in dataset.fields.items() if field.text),
        own=tuple(name for name in others if name in OWN_FIELDS & personal),
        public=tuple(name for name in others if name in OWN_FIELDS - personal),
        reviewed=reviewed_of(dataset),
        hunted=tuple((name, others[name].type == "person_name") for name in hunted),
    )
    return made


def _told(raw: Mapping[str, Value], lookout: _Lookout) -> Told:
    known: list[str] = []
    for name, listed in lookout.hunted:
        value = raw.get(name)
        if isinstance(value, str) and value:
            known.extend(_several(value) if listed else [value])
    return Told(known=tuple(known), own=_listed(raw, lookout.own), public=_listed(raw, lookout.public))


def _listed(raw: Mapping[str, Value], names: Iterable[str]) -> tuple[str, ...]:
    return tuple([each for name in names if isinstance(value := raw.get(name), str) and value for each in _several(value)])


def _several(value: str) -> list[str]:
    """A value as it stands, and the single ones where several are listed in it."""
    if _LISTED.search(value) is None:
        value = value.strip()
        return [] if value in _NOBODY else [value]
    parts = [part.strip() for part in _LISTED.split(value)]
    return [part for part in dict.fromkeys((value.strip(), *parts)) if part not in _NOBODY]

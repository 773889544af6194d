"""From a rule to the plan of one (dataset, tier, purpose, kind of subject), and from such plans to the plan set that a request uses.

Rules: a plan ends with the first of its legal grounds (`valid_until`); it owes what its rule and its purpose demand; the subject's plans
reach its own rows only; a plan is named by its hash: SHA-256 over the canonical JSON of everything that decides what it shows, and of
the redactor, the red lines and the periods it stands under. This room must not see a record.
"""

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

from msgspec import structs

from gateway.core.disclosure import checks
from gateway.core.disclosure.deciding import Decider
from gateway.core.disclosure.fitting import misfit
from gateway.core.disclosure.masking import nothing, treat_function, unchanged
from gateway.core.disclosure.obligations import Obligations
from gateway.core.disclosure.plans import (
    PERSONAL_CLASSES,
    SHARING_TIERS,
    Envelope,
    FieldInfo,
    Gate,
    Mode,
    Plan,
    PlanSet,
    Reasons,
    Step,
    Summary,
    digest,
)
from gateway.core.disclosure.redaction import REDACTOR
from gateway.core.disclosure.row_language import All, RowRule
from gateway.core.disclosure.row_rules import read_row_rule
from gateway.core.disclosure.rules import DisclosureFiles, ExceptionText, Rule
from gateway.core.disclosure.schemas import field_schema, plan_schema
from gateway.core.disclosure.tiers import PurposeInfo
from gateway.core.disclosure.treatments import (
    Clear,
    Drop,
    Generalise,
    Keep,
    Pseudonym,
    Redact,
    Surname,
    Treatment,
    describe,
    leq,
    treatment_of,
    word,
)
from gateway.core.records.model import BasisRef, Capability, Dataset, DatasetId, Field, SubjectKind
from gateway.core.records.periods import end_instant

DEFAULT_BANDS: Final = ("1", "5", "10", "50", "100", "500")
"""Edges in the unit of the field (万元) for the summary of a held text, where the field names none."""
ASKED: Final[frozenset[Capability]] = frozenset({"filter", "sort", "facet"})
"""Capabilities that a question may use; the others say where a shown value stands."""
KIND_FIELDS: Final = ("penalty_type", "licence_type", "honour_name", "case_nature", "commitment_type", "scheme", "reason")
"""Fields that name what kind of act a record is: the second word of the summary of a held text."""


class Compiler:
    """Makes the plans of one policy folder; `law` names what the gates are computed from."""

    __slots__ = ("_asked", "_decider", "_law", "_schemas", "_steps", "_texts")

    def __init__(self, texts: DisclosureFiles, law: str) -> None:
        self._texts = texts
        self._law = law
        self._decider = Decider(texts)
        self._steps: dict[object, Step] = {}
        self._schemas: dict[object, Mapping[str, Any]] = {}
        self._asked: dict[object, FieldInfo] = {}

    def plan(self, dataset: Dataset, tier: str, purpose: str, kind: SubjectKind, rule: Rule) -> Plan:
        """All cells of one kind of subject, compiled."""
        texts = self._texts
        cells = {name: self._decider.cell(dataset, name, tier, kind, rule) for name in dataset.fields}
        shown = {name: cell for name, cell in cells.items() if not isinstance(cell.treatment, Drop)}
        steps = tuple(self._step(dataset, name, kind, cells) for name in shown)
        clear = frozenset(step.field for step in steps if step.mode == Mode.CLEAR)
        exceptions = [found for name, cell in shown.items() for found in checks.exceptions(dataset.id, name, kind, cell, tier, texts)]
        grounds = [dataset.bases[name] for name in rule.basis]
        columns = tuple(step.field for step in steps if step.mode != Mode.TEXT)
        held_texts = tuple(step.field for step in steps if step.mode == Mode.TEXT)
        schemas = {name: self._schema(dataset, name, cell.treatment) for name, cell in shown.items()}
        body: dict[str, Any] = {
            "dataset": dataset.id,
            "tier": tier,
            "purpose": purpose,
            "kind": kind,
            "columns": columns,
            "texts": held_texts,
            "treatments": MappingProxyType(
                {name: word(cell.treatment) for name, cell in shown.items() if not isinstance(cell.treatment, Clear)}
            ),
            "gate": _gate(dataset, tier, shown, texts),
            "envelope": _envelope(dataset, clear),
            "summary": _summary(dataset, clear) if held_texts else None,
            "capabilities": MappingProxyType({name: frozenset(cell.capabilities) for name, cell in cells.items() if cell.capabilities}),
            "personal": any(_is_personal(dataset.id, name, kind, cell, texts) for name, cell in shown.items()),
            "obligations": _obligations(tier, purpose, rule, texts),
            "budgets": MappingProxyType({name: int(line.budget.partition("/")[0]) for name, line in rule.fields.items() if line.budget}),
            "rows": _rows(dataset, tier, rule),
            "schema": plan_schema(schemas, summary=bool(held_texts)),
            "basis": tuple(grounds),
            "valid_until": _valid_until(rule, dataset, grounds, texts.purposes[purpose], exceptions),
        }
        decides = {
            **body,
            "capabilities": {name: sorted(cell.capabilities) for name, cell in cells.items() if cell.capabilities},
            "steps": [(name, dataset.fields[name].type, describe(cell.treatment)) for name, cell in shown.items()],
            "bases": dataset.bases,
            "publish": dataset.publish,
            "catalogue": dataset.catalogue,
            "redactor": REDACTOR,
            "law": self._law,
        }
        return Plan(**body, steps=steps, reasons=MappingProxyType(cells), plan_hash=digest(decides))

    def plan_set(self, dataset: Dataset, tier: str, purpose: str, kinds: Mapping[SubjectKind, Plan]) -> PlanSet:
        """What a request uses: the plans of its kinds of subject together."""
        plans = dict(sorted(kinds.items()))
        seen = {step.field for plan in plans.values() for step in plan.steps}
        shown = tuple(name for name in dataset.fields if name in seen)
        return PlanSet(
            dataset=dataset.id,
            tier=tier,
            purpose=purpose,
            plans=MappingProxyType(plans),
            hash=digest(sorted(plan.plan_hash for plan in plans.values())),
            columns=frozenset(name for plan in plans.values() for name in plan.columns),
            shown=shown,
            asked=MappingProxyType({name: self._info(dataset, name, plans) for name in shown}),
            described=dataset.fields,
        )

    def _info(self, dataset: Dataset, name: str, plans: Mapping[SubjectKind, Plan]) -> FieldInfo:
        """What may be asked of a field, by the kinds of subject whose plans allow it."""
        key = (dataset.id, name, *((kind, plan.reasons[name].capabilities) for kind, plan in plans.items()))
        known = self._asked.get(key)
        if known is None:
            described = dataset.fields[name]
            known = self._asked[key] = FieldInfo(
                type=described.type,
                query=frozenset(right for plan in plans.values() for right in plan.reasons[name].capabilities if right in ASKED),
                values=tuple(described.values),
                kinds=tuple(kind for kind, plan in plans.items() if plan.can(name, "filter")),
            )
        return known

    def _schema(self, dataset: Dataset, name: str, treatment: Treatment) -> Mapping[str, Any]:
        key = (dataset.id, name, treatment)
        known = self._schemas.get(key)
        if known is None:
            known = self._schemas[key] = MappingProxyType(field_schema(dataset.fields[name], treatment))
        return known

    def _step(self, dataset: Dataset, name: str, kind: SubjectKind, cells: Mapping[str, Reasons]) -> Step:
        treatment = cells[name].treatment
        by_code = isinstance(treatment, Surname) and _shows_division("uscc", cells)
        key = (dataset.id, name, kind, treatment, by_code)
        known = self._steps.get(key)
        if known is None:
            known = self._steps[key] = _step(dataset.fields[name], kind, treatment, by_code=by_code)
        return known


def _gate(dataset: Dataset, tier: str, shown: Mapping[str, Reasons], texts: DisclosureFiles) -> Gate:
    """The table of policy.md §6, by tier."""
    return Gate(
        period="none" if tier == "subject" else "sharing" if tier in SHARING_TIERS else "publication",
        legality="held" if tier == "subject" else "closed",
        minors=tier == "subject",
        vouched_negative=tier != "public",
        onward=tier not in ("partner", "supervisor", "pboc"),
        flags=tuple(sorted(line.when.flag for line in texts.redlines.redlines if line.when.flag is not None and tier not in line.except_)),
        requires=tuple(name for name in dataset.publish.requires if name in shown) if tier == "public" else (),
    )


_OWN: Final = read_row_rule({"eq": ["subject", "$subject.key"]}, {})
"""The gate `own`: the subject sees what is kept about itself, nothing else."""


def _rows(dataset: Dataset, tier: str, rule: Rule) -> RowRule | None:
    said = read_row_rule(rule.rows, dataset.fields, rule.kinds) if rule.rows is not None else None
    if tier == "subject":
        return _OWN if said is None else All((_OWN, said))
    return said


def _obligations(tier: str, purpose: str, rule: Rule, texts: DisclosureFiles) -> Obligations:
    """What the rule says, never less than its purpose demands; callers are counted in the class of their tier where no rule names one."""
    own = rule.obligations
    return structs.replace(
        own,
        case_ref=max(own.case_ref, texts.purposes[purpose].case_ref, key=("none", "required").index),
        rate_class=own.rate_class or texts.tiers[tier].rate_class,
    )


def _step(described: Field, kind: SubjectKind, treatment: Treatment, *, by_code: bool) -> Step:
    name = described.name
    if isinstance(treatment, Redact):
        return Step(name, Mode.TEXT, unchanged, treatment.profile == "strict", treatment.hold)
    if isinstance(treatment, Surname) and described.type == "subject_name" and kind == "individual_business":
        return Step(name, Mode.HOUSEHOLD, unchanged, by_code, hold=False)
    if isinstance(treatment, Clear):
        return Step(name, Mode.CLEAR, unchanged, option=False, hold=False)
    if misfit(treatment, described, kind):
        return Step(name, Mode.VALUE, nothing, option=False, hold=False)  # a fault of the policy; the check S10 refuses it by name
    mode = Mode.PSEUDONYM if isinstance(treatment, Pseudonym) else Mode.VALUE
    return Step(name, mode, treat_function(treatment, described.type, described.bands, described.unit), option=False, hold=False)


def _shows_division(code: str, cells: Mapping[str, Reasons]) -> bool:
    """Whether a plan shows the division digits of a code, so that a county taken from it tells nothing new."""
    return code in cells and leq(Keep(first=8), cells[code].treatment)


def _envelope(dataset: Dataset, clear: frozenset[str]) -> Envelope:
    def open_(name: str) -> bool:
        return name in clear or name not in dataset.fields

    return Envelope(
        severity=dataset.publish.severity is None or dataset.publish.severity in clear,
        authority=open_("authority"),
        authority_code=open_("authority_code"),
        source="source_unit" in clear,
        source_code="source_unit_code" in clear,
        decision_date="decision_date" in clear,
    )


def _summary(dataset: Dataset, clear: frozenset[str]) -> Summary:
    kind_field = next((name for name in KIND_FIELDS if name in clear), None)
    amounts = (described for name, described in dataset.fields.items() if described.type.startswith("decimal") and name in clear)
    amount = next((described for described in amounts if described.bands or described.unit == "万元"), None)
    return Summary(
        act=dataset.label,
        kind_field=kind_field,
        kind_words=dict(dataset.fields[kind_field].values) if kind_field else {},
        amount_field=amount.name if amount is not None else None,
        amount_bands=(amount.bands or DEFAULT_BANDS) if amount is not None else (),
        amount_unit=amount.unit if amount is not None else None,
        date_field="decision_date" if "decision_date" in clear else None,
    )


def _is_personal(dataset: DatasetId, name: str, kind: SubjectKind, cell: Reasons, texts: DisclosureFiles) -> bool:
    if cell.class_ not in PERSONAL_CLASSES or isinstance(cell.treatment, Drop | Surname | Generalise):
        return False
    return not any(
        found.field == f"{dataset}.{name}" and kind in found.kinds and leq(cell.treatment, treatment_of(found.max))
        for found in texts.redlines.exceptions
    )


def _valid_until(
    rule: Rule, dataset: Dataset, grounds: list[BasisRef], purpose: PurposeInfo, exceptions: list[ExceptionText]
) -> datetime | None:
    own = [dataset.bases[name] for line in rule.fields.values() for name in line.basis]
    days = [basis.until for basis in (*grounds, *own, *purpose.basis) if basis.until is not None]
    days += [found.until for found in exceptions]
    return end_instant(min(days)) if days else None

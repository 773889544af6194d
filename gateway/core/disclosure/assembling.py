"""Plans put together out of their cells: how every field is treated follows from the cells alone, whoever decided them.

Rules: `compiling` takes the cells that rules and red lines decide, `narrowing` those that a grant narrows; both are put together here, so
that steps, columns, schema, summary, envelope and rights can never say two things. This room must not decide a cell.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from msgspec import Struct

from gateway.core.disclosure.fitting import misfit
from gateway.core.disclosure.masking import nothing, treat_function, unchanged
from gateway.core.disclosure.plans import Envelope, FieldInfo, Mode, Plan, PlanSet, Reasons, Step, Summary, digest
from gateway.core.disclosure.schemas import JsonSchema, field_schema, plan_schema
from gateway.core.disclosure.treatments import Clear, Drop, Keep, Pseudonym, Redact, Surname, Treatment, leq, word
from gateway.core.records.model import Capability, Dataset, Field, SubjectKind

DEFAULT_BANDS: Final = ("1", "5", "10", "50", "100", "500")
"""Edges in the unit of the field (万元) for the summary of a held text, where the field names none."""
ASKED: Final[frozenset[Capability]] = frozenset({"filter", "sort", "facet"})
"""Capabilities that a question may use; the others say where a shown value stands."""
KIND_FIELDS: Final = ("penalty_type", "licence_type", "honour_name", "case_nature", "commitment_type", "scheme", "reason")
"""Fields that name what kind of act a record is: the second word of the summary of a held text."""


class Parts(Struct, frozen=True, kw_only=True):
    """What of a plan follows from its cells."""

    columns: tuple[str, ...]
    texts: tuple[str, ...]
    steps: tuple[Step, ...]
    treatments: Mapping[str, str]
    envelope: Envelope
    summary: Summary | None
    capabilities: Mapping[str, frozenset[Capability]]
    schema: JsonSchema


class Assembler:
    """Puts plans together; what is equal in many of them is made once."""

    __slots__ = ("_asked", "_schemas", "_steps")

    def __init__(self) -> None:
        self._steps: dict[object, Step] = {}
        self._schemas: dict[object, Mapping[str, Any]] = {}
        self._asked: dict[object, FieldInfo] = {}

    def parts(self, dataset: Dataset, kind: SubjectKind, cells: Mapping[str, Reasons]) -> Parts:
        """The parts of a plan with these cells."""
        shown = {name: cell for name, cell in cells.items() if not isinstance(cell.treatment, Drop)}
        steps = tuple(self._step(dataset, name, kind, cells) for name in shown)
        clear = frozenset(step.field for step in steps if step.mode == Mode.CLEAR)
        texts = tuple(step.field for step in steps if step.mode == Mode.TEXT)
        schemas = {name: self._schema(dataset, name, cell.treatment) for name, cell in shown.items()}
        return Parts(
            columns=tuple(step.field for step in steps if step.mode != Mode.TEXT),
            texts=texts,
            steps=steps,
            treatments=MappingProxyType(
                {name: word(cell.treatment) for name, cell in shown.items() if not isinstance(cell.treatment, Clear)}
            ),
            envelope=_envelope(dataset, clear),
            summary=_summary(dataset, clear) if texts else None,
            capabilities=MappingProxyType({name: frozenset(cell.capabilities) for name, cell in cells.items() if cell.capabilities}),
            schema=plan_schema(schemas, summary=bool(texts)),
        )

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
    """What no field shows clear stays closed, also where the dataset has no such field (any more)."""
    return Envelope(
        severity=dataset.publish.severity is None or dataset.publish.severity in clear,
        authority="authority" in clear,
        authority_code="authority_code" in clear,
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

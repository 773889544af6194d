"""From a rule to the plan of one (dataset, tier, purpose, kind of subject); `assembling` puts it together out of its cells.

Rules: a plan ends with the first of its legal grounds (`valid_until`); it owes what its rule and its purpose demand; the subject's plans
reach its own rows only; a plan is named by its hash: SHA-256 over the canonical JSON of everything that decides what it shows, and of
the redactor, the red lines and the periods it stands under. This room must not see a record.
"""

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final, Literal

from msgspec import structs

from gateway.core.disclosure import checks
from gateway.core.disclosure.assembling import Assembler
from gateway.core.disclosure.deciding import Decider
from gateway.core.disclosure.obligations import LOOKED_UP, LOOKUPS_A_DAY, Obligations
from gateway.core.disclosure.plans import (
    PERSONAL_CLASSES,
    SHARING_TIERS,
    Gate,
    Plan,
    PlanSet,
    Reasons,
    digest,
)
from gateway.core.disclosure.redactor import stamp_of
from gateway.core.disclosure.row_language import All, RowRule
from gateway.core.disclosure.row_rules import read_row_rule
from gateway.core.disclosure.rules import DisclosureFiles, ExceptionText, Redline, Rule
from gateway.core.disclosure.tiers import PurposeInfo
from gateway.core.disclosure.treatments import (
    Drop,
    describe,
    leq,
    treatment_of,
)
from gateway.core.records.basis import last_day
from gateway.core.records.catalogue import Catalogue
from gateway.core.records.model import Dataset, DatasetId, SubjectKind
from gateway.core.records.periods import end_instant


class Compiler:
    """Makes the plans of one policy folder; `law` names what the gates are computed from."""

    __slots__ = ("_assembler", "_catalogue", "_decider", "_law", "_texts")

    def __init__(self, texts: DisclosureFiles, catalogue: Catalogue, law: str) -> None:
        self._texts = texts
        self._catalogue = catalogue
        self._law = law
        self._decider = Decider(texts)
        self._assembler = Assembler()

    def plan(self, dataset: Dataset, tier: str, purpose: str, kind: SubjectKind, rule: Rule) -> Plan:
        """All cells of one kind of subject, compiled."""
        texts = self._texts
        cells = {name: self._decider.cell(dataset, name, tier, kind, rule) for name in dataset.fields}
        shown = {name: cell for name, cell in cells.items() if not isinstance(cell.treatment, Drop)}
        parts = self._assembler.parts(dataset, kind, cells)
        exceptions = [found for name, cell in shown.items() for found in checks.exceptions(dataset.id, name, kind, cell, tier, texts)]
        grounds = [dataset.bases[name] for name in rule.basis]
        body: dict[str, Any] = {
            "dataset": dataset.id,
            "tier": tier,
            "purpose": purpose,
            "kind": kind,
            "columns": parts.columns,
            "texts": parts.texts,
            "treatments": parts.treatments,
            "gate": _gate(dataset, tier, shown, texts),
            "envelope": parts.envelope,
            "summary": parts.summary,
            "capabilities": parts.capabilities,
            "personal": any(_is_personal(dataset.id, name, kind, cell, texts) for name, cell in shown.items()),
            "obligations": _obligations(tier, purpose, rule, texts),
            "budgets": MappingProxyType(_budgets(tier, kind, rule, cells)),
            "rows": _rows(dataset, tier, rule),
            "schema": parts.schema,
            "basis": tuple(grounds),
            "valid_until": self._valid_until(dataset, tier, texts.purposes[purpose], rule, cells, exceptions),
        }
        decides = {
            **body,
            "capabilities": {name: sorted(cell.capabilities) for name, cell in cells.items() if cell.capabilities},
            "steps": [(name, dataset.fields[name].type, describe(cell.treatment)) for name, cell in shown.items()],
            "bases": dataset.bases,
            "publish": dataset.publish,
            "catalogue": dataset.catalogue,
            "redactors": {name: stamp_of(field) for name in shown if (field := dataset.fields[name]).text},
            "law": self._law,
        }
        return Plan(**body, steps=parts.steps, reasons=MappingProxyType(cells), plan_hash=digest(decides))

    def plan_set(self, dataset: Dataset, tier: str, purpose: str, kinds: Mapping[SubjectKind, Plan]) -> PlanSet:
        """What a request uses: the plans of its kinds of subject together."""
        return self._assembler.plan_set(dataset, tier, purpose, kinds)

    def _valid_until(
        self,
        dataset: Dataset,
        tier: str,
        purpose: PurposeInfo,
        rule: Rule,
        cells: Mapping[str, Reasons],
        exceptions: list[ExceptionText],
    ) -> datetime | None:
        """The first end of everything that the plan stands on.

        Rule and lines, purpose, exceptions, red lines that reach it, and the law of its catalogue item and list, unless it shows without
        one (to the subject, as held).
        """
        own = [dataset.bases[name] for line in rule.fields.values() for name in line.basis]
        grounds = [*(dataset.bases[name] for name in rule.basis), *own, *purpose.basis]
        grounds += [basis for found in exceptions for basis in found.basis]
        grounds += [basis for line in self._texts.redlines.redlines if reaches(line, dataset, tier, cells) for basis in line.basis]
        days = [basis.until for basis in grounds] + [found.until for found in exceptions]
        if _legality(tier) == "closed":
            days.append(last_day(dataset, self._catalogue))
        ends = [day for day in days if day is not None]
        return end_instant(min(ends)) if ends else None


def reaches(line: Redline, dataset: Dataset, tier: str, cells: Mapping[str, Reasons]) -> bool:
    """Whether a red line stands over a plan: over its rows, or over one of its fields."""
    if tier in line.except_:
        return False
    if line.when.flag is not None:
        return True
    named = line.when.field
    return any(named == f"{dataset.id}.{name}" if named is not None else line.when.class_ == cell.class_ for name, cell in cells.items())


def _budgets(tier: str, kind: SubjectKind, rule: Rule, cells: Mapping[str, Reasons]) -> dict[str, int]:
    """What an organisation may spend a day, the default written out: only where the plan lets a person be looked up."""
    cell = cells.get(LOOKED_UP)
    if tier not in SHARING_TIERS or kind != "natural" or cell is None or "lookup" not in cell.capabilities:
        return {}
    line = rule.fields.get(LOOKED_UP)
    return {LOOKED_UP: int(line.budget.partition("/")[0]) if line is not None and line.budget is not None else LOOKUPS_A_DAY}


def _legality(tier: str) -> Literal["closed", "held"]:
    return "held" if tier == "subject" else "closed"


def _gate(dataset: Dataset, tier: str, shown: Mapping[str, Reasons], texts: DisclosureFiles) -> Gate:
    """The table of policy.md §6, by tier."""
    return Gate(
        period="none" if tier == "subject" else "sharing" if tier in SHARING_TIERS else "publication",
        legality=_legality(tier),
        minors=tier == "subject",
        vouched_negative=tier not in ("public", "pboc"),  # the bank sees of a burden what everybody sees
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


def _is_personal(dataset: DatasetId, name: str, kind: SubjectKind, cell: Reasons, texts: DisclosureFiles) -> bool:
    if cell.class_ not in PERSONAL_CLASSES or isinstance(cell.treatment, checks.NAMES_NOBODY):
        return False
    return not any(
        found.field == f"{dataset}.{name}" and kind in found.kinds and leq(cell.treatment, treatment_of(found.max))
        for found in texts.redlines.exceptions
    )

"""Plans narrowed by grants, and which rows of a dataset a caller reaches under which of them (policy.md §3, §6, §12).

Rules: a ceiling is met into the cell, so it can never widen; from the cells follows everything else (columns, steps, rights, texts'
summary, reasons), and the narrowed plan has a hash of its own. What is derived from a narrowed field is never shown better than it.
A bound tier sees a dataset only by a grant for the purpose, and of it only what lies in the grant's regions and in the territory of the
plan; of several grants the first by id that reaches a record shows it. The subject sees what is about itself. Without any of them
nothing is there. This room must not see a record.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from msgspec import Struct, structs

from gateway.core.callers.caller import BOUND_TIERS, Caller
from gateway.core.callers.grants import Grant
from gateway.core.disclosure.assembling import Assembler
from gateway.core.disclosure.fitting import misfit
from gateway.core.disclosure.gates import MEMO_LIMIT
from gateway.core.disclosure.plans import OWN_FIELDS, Plan, PlanSet, Policies, Reasons, digest
from gateway.core.disclosure.row_language import NOBODY, All, Attribute, Attributes, Member, RowRule, Within
from gateway.core.disclosure.treatments import DROP, Clear, Drop, Redact, Treatment, describe, meet, rank, treatment_of
from gateway.core.records.model import Capability, Dataset, DatasetId, Field, SubjectKind

_GRANTED: Final = Within("region", Attribute("$grant.regions"))
_THEMED: Final = Member("theme", "text", Attribute("$grant.themes"))


class Reach(Struct, frozen=True, kw_only=True):
    """What a caller sees of one dataset by one grant (or by being the public, or the subject): plans, and what its gates are asked with."""

    grant: str | None
    plan_set: PlanSet
    attributes: Attributes


def territory(plan: Plan, attributes: Attributes) -> RowRule | None:
    """Which rows a plan may show to its caller; None: all.

    Its `rows`, and for bound tiers what lies in the grant's regions and, where the grant names themes, on one of them: a dataset without
    themes then shows nothing.
    """
    if plan.tier not in BOUND_TIERS:
        return plan.rows
    parts = tuple(dict.fromkeys((_GRANTED, *([_THEMED] if attributes.grant_themes else []), *([] if plan.rows is None else [plan.rows]))))
    return parts[0] if len(parts) == 1 else All(parts)


def grant_digest(grants: Iterable[Grant]) -> str:
    """The name of the ceilings of some grants; what they are otherwise about does not change a plan."""
    return digest(sorted(_ceilings(grants).items()))


def narrowed(policies: Policies, plan_set: PlanSet, grants: Sequence[Grant]) -> PlanSet:
    """The plan set under the ceilings of all these grants together; itself where they take nothing away."""
    if not any(grant.ceilings for grant in grants):
        return plan_set
    key = ("narrowed", plan_set.hash, grant_digest(grants))
    known = policies.memo.get(key)
    if isinstance(known, PlanSet):
        return known
    dataset = policies.catalogue.datasets[plan_set.dataset]
    ceilings: dict[str, list[tuple[str, Treatment]]] = {}
    for grant in sorted(grants, key=lambda each: each.id):
        for name, spec in grant.ceilings.items():
            ceilings.setdefault(name, []).append((grant.id, treatment_of(spec)))
    plans = {kind: _narrowed_plan(dataset, kind, plan, ceilings) for kind, plan in plan_set.plans.items()}
    if all(plans[kind] is plan for kind, plan in plan_set.plans.items()):
        found = plan_set
    else:
        found = Assembler().plan_set(dataset, plan_set.tier, plan_set.purpose, plans)
    if len(policies.memo) >= MEMO_LIMIT:
        policies.memo.clear()
    policies.memo[key] = found
    return found


def _ceilings(grants: Iterable[Grant]) -> dict[str, list[str]]:
    found: dict[str, set[str]] = {}
    for grant in grants:
        for name, spec in grant.ceilings.items():
            found.setdefault(name, set()).add(describe(treatment_of(spec)))
    return {name: sorted(words) for name, words in found.items()}


def _narrowed_plan(dataset: Dataset, kind: SubjectKind, plan: Plan, ceilings: Mapping[str, list[tuple[str, Treatment]]]) -> Plan:
    cells = {name: _narrowed_cell(dataset.fields[name], kind, cell, ceilings.get(name, ())) for name, cell in plan.reasons.items()}
    cells = _without_telling_texts(dataset, plan.reasons, _without_better_twins(dataset, cells))
    if all(cells[name].treatment == cell.treatment for name, cell in plan.reasons.items()):
        return plan
    parts = Assembler().parts(dataset, kind, cells)
    shown = frozenset(step.field for step in parts.steps)
    return structs.replace(
        plan,
        columns=parts.columns,
        texts=parts.texts,
        steps=parts.steps,
        treatments=parts.treatments,
        envelope=parts.envelope,
        summary=parts.summary,
        capabilities=parts.capabilities,
        schema=parts.schema,
        gate=structs.replace(plan.gate, requires=tuple(name for name in plan.gate.requires if name in shown)),
        reasons=MappingProxyType(cells),
        plan_hash=digest({"narrows": plan.plan_hash, "cells": [(name, describe(cell.treatment)) for name, cell in cells.items()]}),
    )


def _narrowed_cell(described: Field, kind: SubjectKind, cell: Reasons, ceilings: Iterable[tuple[str, Treatment]]) -> Reasons:
    """The cell under each ceiling in turn; one that does not fit its field drops it."""
    for grant, most in ceilings:
        treatment = DROP if _unfit(described, kind, cell.treatment, most) else meet(cell.treatment, most)
        if treatment != cell.treatment:
            said = f"grant {grant}: at most {describe(most)} → {describe(treatment)}"
            cell = structs.replace(cell, treatment=treatment, capabilities=_rights(cell, treatment), steps=(*cell.steps, said))
    return cell


def _unfit(described: Field, kind: SubjectKind, shown: Treatment, most: Treatment) -> bool:
    """Whether what would be left under a ceiling cannot stand on the field, so that nothing is."""
    treatment = meet(shown, most)
    return treatment != shown and misfit(treatment, described, kind) is not None


def unfit(policies: Policies, tier: str, grant: Grant) -> tuple[str, ...]:
    """The fields of a grant that are shown to nobody by it, because the ceiling that it gives them does not fit them."""
    dataset = policies.catalogue.datasets.get(DatasetId(grant.dataset))
    held = [policies.plan_sets.get((grant.dataset, tier, purpose)) for purpose in grant.purposes]
    plans = [(kind, plan) for each in held if each is not None for kind, plan in each.plans.items()]
    return tuple(
        sorted(
            name
            for name, spec in grant.ceilings.items()
            if dataset is not None and name in dataset.fields
            and any(_unfit(dataset.fields[name], kind, plan.reasons[name].treatment, treatment_of(spec)) for kind, plan in plans)
        )
    )  # fmt: skip


def _rights(cell: Reasons, treatment: Treatment) -> tuple[Capability, ...]:
    """What may still be done with a narrowed field: nothing that came with being clear, and nothing at all once it is dropped."""
    return () if isinstance(treatment, Drop) or isinstance(cell.treatment, Clear) else cell.capabilities


def _without_better_twins(dataset: Dataset, cells: Mapping[str, Reasons]) -> dict[str, Reasons]:
    """What is derived from a field is dropped where it would now stand above it (S7)."""
    found = dict(cells)
    changed = True
    while changed:
        changed = False
        for name, cell in found.items():
            sources = [found[source] for source in dataset.fields[name].derived_from if source in found]
            if sources and rank(cell.treatment) > min(rank(source.treatment) for source in sources):
                said = "derived from a field that is shown less: drop"
                found[name] = structs.replace(cell, treatment=DROP, capabilities=(), steps=(*cell.steps, said))
                changed = True
    return found


def _without_telling_texts(dataset: Dataset, before: Mapping[str, Reasons], cells: Mapping[str, Reasons]) -> dict[str, Reasons]:
    """A text that would still name the subject is shown as strictly as the field that no longer does (channel 19)."""
    found = dict(cells)
    hidden = next((name for name in sorted(OWN_FIELDS & set(found)) if found[name].treatment != before[name].treatment), None)
    if hidden is None:
        return found
    for name, cell in found.items():
        if not dataset.fields[name].text:
            continue
        strict = meet(cell.treatment, Redact(profile="strict", hold=isinstance(cell.treatment, Redact) and cell.treatment.hold))
        if strict != cell.treatment:
            said = f"the subject's {hidden} is shown less: {describe(strict)}"
            found[name] = structs.replace(cell, treatment=strict, capabilities=_rights(cell, strict), steps=(*cell.steps, said))
    return found


def reaches_of(policies: Policies, caller: Caller, plan_set: PlanSet) -> tuple[Reach, ...]:
    """What this caller sees of the dataset of a plan set of its tier and purpose, the first that reaches a record first."""
    if caller.open:
        return (Reach(grant=None, plan_set=plan_set, attributes=NOBODY),)
    if caller.tier == "subject":
        if caller.subject_key is None:
            return ()
        return (Reach(grant=None, plan_set=plan_set, attributes=Attributes(org_id=caller.org, subject_key=caller.subject_key)),)
    return tuple(
        Reach(grant=grant.id, plan_set=narrowed(policies, plan_set, (grant,)), attributes=_attributes(caller, grant))
        for grant in granted(caller, plan_set.dataset)
    )


def granted(caller: Caller, dataset: str) -> tuple[Grant, ...]:
    """The caller's grants for a dataset and the purpose of this request, by id; whoever collected them."""
    return tuple(
        sorted(
            (
                grant
                for grant in caller.grants
                if grant.dataset == dataset and caller.purpose in grant.purposes and (grant.org, grant.app) == (caller.org, caller.app)
            ),
            key=lambda grant: grant.id,
        )
    )


def _attributes(caller: Caller, grant: Grant) -> Attributes:
    return Attributes(
        org_id=caller.org, org_unit=caller.unit, grant_regions=grant.regions, grant_themes=grant.themes, subject_key=caller.subject_key
    )

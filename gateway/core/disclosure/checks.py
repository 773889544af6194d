"""Static checks of compiled plans (policy.md §8): each is a named fault with the file, the line and the cells it concerns.

S1 public-personal · S2 unclassified-hidden · S4 tier-order · S5 windows-nest · S7 derived · S8 text · S9 query-needs-clear, and of S10
what stands on what. S3 and the names of S10 are looked at before (`naming`), S6 is counted in `residual`. The domain is finite, so each
is decided by looking at every cell. This room must not mend anything: it says what is wrong and what to do.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import combinations
from typing import Final

from gateway.core.disclosure.fitting import misfit
from gateway.core.disclosure.naming import fault_at
from gateway.core.disclosure.plans import GUESSABLE, OWN_FIELDS, PERSONAL_CLASSES, SHARING_TIERS, Plan, Reasons
from gateway.core.disclosure.rules import DisclosureFiles, ExceptionText, Rule
from gateway.core.disclosure.tiers import OPEN_PURPOSE, TIER_ORDER, TIERS
from gateway.core.disclosure.treatments import (
    Clear,
    Drop,
    Exists,
    Generalise,
    Keep,
    Pseudonym,
    Redact,
    Surname,
    describe,
    leq,
    rank,
    treatment_of,
)
from gateway.core.errors import PolicyError
from gateway.core.records.model import Dataset, DatasetId, SubjectKind

Cells = dict[tuple[DatasetId, str, str, SubjectKind], Rule]
Rules = Mapping[DatasetId, tuple[Rule, ...]]

_FREE_TO_ALLOW: Final = frozenset({"lookup", "export", "delta"})
"""Capabilities that a field may have without being shown clear (§6)."""
_FULL_TEXT_TIERS: Final = frozenset({"department", "supervisor"})
_PUBLIC_TEXT: Final = Redact(profile="strict", hold=True)
_STRICT: Final = Redact(profile="strict")
_DEVELOPER: Final = "developer"
NAMES_NOBODY: Final = (Drop, Surname, Generalise)
"""Treatments after which a value about a person does not tell who it is."""
_ABOVE: Final = {tier: frozenset(wide for narrow, wide in TIER_ORDER if narrow == tier) for tier in TIERS}


# --- after compiling: every cell --------------------------------------------------------------------------------------


def exceptions(dataset: DatasetId, name: str, kind: SubjectKind, cell: Reasons, tier: str, texts: DisclosureFiles) -> list[ExceptionText]:
    """The exceptions of redlines.toml without which a public cell would break S1; its plan ends with the first of them."""
    if tier != "public" or _harmless(cell):
        return []
    return [found for found in texts.redlines.exceptions if _covers(found, dataset, name, kind, cell)][:1]


def _covers(found: ExceptionText, dataset: DatasetId, name: str, kind: SubjectKind, cell: Reasons) -> bool:
    return found.field == f"{dataset}.{name}" and kind in found.kinds and leq(cell.treatment, treatment_of(found.max))


def _harmless(cell: Reasons) -> bool:
    if cell.class_ not in PERSONAL_CLASSES or isinstance(cell.treatment, NAMES_NOBODY):
        return True
    return isinstance(cell.treatment, Exists) and cell.class_ == "P1"


def plans(dataset: Dataset, compiled: Sequence[Plan], rules: Mapping[str, Rule], texts: DisclosureFiles) -> Iterator[PolicyError]:
    """S1, S2, S4, S5, S7, S8, S9 and the shapes of S10 over all plans of one dataset."""
    for plan in compiled:
        for name, cell in plan.reasons.items():
            yield from _cell_faults(dataset, plan, name, cell, texts)
            if cell.rule is not None and name in rules[cell.rule].fields:
                yield from _line_faults(dataset, plan, name, cell, rules[cell.rule])
        yield from _derived(dataset, plan)
    yield from _tier_order(compiled)
    yield from _windows(dataset, compiled)


def _fault(cell: Reasons, code: str, name: str, detail: str, hint: str) -> PolicyError:
    return PolicyError(detail, code=code, file=cell.file, line=cell.line, rule=cell.rule, field=name, hint=hint)


def _cell_faults(dataset: Dataset, plan: Plan, name: str, cell: Reasons, texts: DisclosureFiles) -> Iterator[PolicyError]:
    where = f"({plan.tier}, {plan.purpose}, {plan.kind})"
    wrong = misfit(cell.treatment, dataset.fields[name], plan.kind)
    if wrong:
        yield _fault(cell, "policy-S10", name, f"{name}: {wrong}", "policies/README.md lists what stands on what")
    if isinstance(cell.treatment, Pseudonym) and plan.tier not in SHARING_TIERS:
        detail = f"{name}: a pseudonym needs a recipient, and {plan.tier} is none"
        yield _fault(cell, "policy-S10", name, detail, f"it stands in rules for {', '.join(sorted(SHARING_TIERS))}")
    if plan.tier == "public" and not _harmless(cell) and not exceptions(dataset.id, name, plan.kind, cell, plan.tier, texts):
        detail = f"{name} ({cell.class_}) would be shown as {describe(cell.treatment)} to {where}"
        yield _fault(
            cell, "policy-S1", name, detail, "drop, surname or generalise it, or enter an exception with its basis in redlines.toml"
        )
    if dataset.fields[name].text:
        if isinstance(cell.treatment, Clear) and plan.tier not in _FULL_TEXT_TIERS:
            hint = "redact it; only department and supervisor may read a text as it came"
            yield _fault(cell, "policy-S8", name, f"the text {name} would be shown clear to {where}", hint)
        elif plan.tier == "public" and not leq(cell.treatment, _PUBLIC_TEXT):
            hint = 'text = { do = "redact", profile = "strict", hold = true }'
            yield _fault(cell, "policy-S8", name, f"the public text {name} needs profile strict with hold", hint)
        told = next((own for own in sorted(OWN_FIELDS) if _hides(plan, own)), None)
        if told is not None and not leq(cell.treatment, _STRICT):
            detail = f"the text {name} would name the subject to {where}, whose {told} is not shown clear"
            yield _fault(cell, "policy-S8", name, detail, "profile strict, or the name clear")


def _hides(plan: Plan, own: str) -> bool:
    """Whether the plan shows a name or number of the subject, where that is personal, less than clear."""
    cell = plan.reasons.get(own)
    return cell is not None and cell.class_ in PERSONAL_CLASSES and not isinstance(cell.treatment, Clear)


def _line_faults(dataset: Dataset, plan: Plan, name: str, cell: Reasons, rule: Rule) -> Iterator[PolicyError]:
    line, key = rule.fields[name], f"field.{name}"
    if line.budget is not None and plan.kind == "natural" and name not in plan.budgets:
        detail = f"a budget on {name}, by which {plan.tier} looks nobody up"
        yield fault_at(rule, "policy-S10", detail, key=key, field=name, hint='take `budget` out, or allow = ["lookup"]')
    shown = line.treatment is not None and not isinstance(treatment_of(line.treatment), Drop)
    if cell.class_ == "U" and (shown or line.allow):
        detail = f"{name} is unclassified for {plan.kind}: a rule may only drop it"
        yield fault_at(rule, "policy-S2", detail, key=key, field=name, hint="give the field a class first")
    for capability in line.allow:
        wrong = None
        if isinstance(cell.treatment, Drop):
            wrong = "the field is dropped"
        elif capability not in dataset.fields[name].query:
            wrong = "the field's own `query` does not offer it"
        elif capability == "lookup" and plan.kind == "natural" and plan.tier not in SHARING_TIERS:
            wrong = f"{plan.tier} looks up no natural person: that takes a duty or an agreement"
        elif cell.class_ in PERSONAL_CLASSES and capability in GUESSABLE:
            wrong = "a field about persons is only looked up whole"
        elif (
            not isinstance(cell.treatment, Clear)
            and capability not in _FREE_TO_ALLOW
            and not (capability == "search" and isinstance(cell.treatment, Redact))
        ):
            wrong = "the field is not shown clear"
        if wrong:
            yield fault_at(rule, "policy-S9", f"{capability} on {name}: {wrong}", key=key, field=name, hint="take it out of `allow`")


def owed(compiled: Sequence[Plan], rules: Mapping[str, Rule]) -> Iterator[PolicyError]:
    """S10: what every plan owes that shows a person to somebody who is known.

    That is a row in the trail before the data, no copy anywhere, and where a case is asked about a bound to what one organisation takes.
    A purpose that asks for no case is bulk by duty (batches, reports): its bound is the agreement or the law. The public is counted only.
    """
    told: set[tuple[str, str]] = set()
    for plan in compiled:
        if not plan.personal or plan.tier == "public":
            continue
        held = plan.obligations
        bound = plan.tier in SHARING_TIERS and held.case_ref == "required"
        wrong = (
            (held.audit != "subject", 'audit = "subject"'),
            (held.cache != "no-store", 'cache = "no-store"'),
            (bound and held.max_rows is None, "max_rows"),
            (bound and held.max_rows_day is None, "max_rows_day"),
        )
        rule = next(rules[cell.rule] for cell in plan.reasons.values() if cell.rule is not None)
        for missing, what in wrong:
            if missing and (rule.id, what) not in told:
                told.add((rule.id, what))
                detail = f"it shows persons to ({plan.tier}, {plan.purpose}, {plan.kind}) and does not owe {what}"
                yield fault_at(rule, "policy-S10", detail, key="obligations", hint="say it in `obligations` of the rule")


def _derived(dataset: Dataset, plan: Plan) -> Iterator[PolicyError]:
    for name, described in dataset.fields.items():
        cell = plan.reasons[name]
        for source in described.derived_from:
            origin = plan.reasons[source].treatment
            if rank(cell.treatment) > rank(origin):
                detail = f"{name} ({describe(cell.treatment)}) shows more than {source} ({describe(origin)}), of which it is made"
                yield _fault(cell, "policy-S7", name, detail, f"treat {name} no milder than {source}")


def _tier_order(compiled: Sequence[Plan]) -> Iterator[PolicyError]:
    for low, high in combinations_of_order(compiled):
        for name, cell in high.reasons.items():
            below = low.reasons[name]
            if not leq(below.treatment, cell.treatment):
                detail = (
                    f"{name} of {high.kind}: {high.tier} for {high.purpose} sees {describe(cell.treatment)}, but {low.tier} for "
                    f"{low.purpose} sees {describe(below.treatment)} (rule {below.rule})"
                )
                yield _fault(cell, "policy-S4", name, detail, "show the higher tier no less")


def combinations_of_order(compiled: Sequence[Plan]) -> Iterator[tuple[Plan, Plan]]:
    """Pairs of plans (lower tier, higher tier) of one kind that S4 compares; public's open plan counts as one of every purpose."""
    held = {(plan.kind, plan.purpose, plan.tier): plan for plan in compiled}
    for high in compiled:
        lower = dict.fromkeys((high.kind, high.purpose, tier) for tier in TIERS if high.tier in reach(tier))
        if high.tier in reach("public"):
            lower[high.kind, OPEN_PURPOSE, "public"] = None
        yield from ((held[key], high) for key in lower if key in held)


@cache
def reach(tier: str) -> frozenset[str]:
    """The tiers that must see no less than this one."""
    found: set[str] = set()
    todo = [tier]
    while todo:
        for wide in _ABOVE[todo.pop()]:
            if wide not in found:
                found.add(wide)
                todo.append(wide)
    return frozenset(found)


def _windows(dataset: Dataset, compiled: Sequence[Plan]) -> Iterator[PolicyError]:
    for name in dataset.fields:
        cells: dict[Keep, tuple[Plan, Reasons]] = {}
        for plan in compiled:
            cell = plan.reasons[name]
            if isinstance(cell.treatment, Keep):
                cells.setdefault(cell.treatment, (plan, cell))
        for (one, (first, _)), (other, (second, cell)) in combinations(cells.items(), 2):
            if not (leq(one, other) or leq(other, one)):
                detail = (
                    f"{name}: {describe(one)} for ({first.tier}, {first.purpose}, {first.kind}) and {describe(other)} for "
                    f"({second.tier}, {second.purpose}, {second.kind}) add up to more than either"
                )
                yield _fault(cell, "policy-S5", name, detail, "let one window lie within the other")

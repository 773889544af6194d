"""Static checks of a policy (policy.md §8): each is a named fault with the file, the line and the cells it concerns.

S1 public-personal · S2 unclassified-hidden · S3 one-rule · S4 tier-order · S5 windows-nest · S7 derived · S8 text ·
S9 query-needs-clear · S10 names-and-basis. The domain is finite, so each is decided by looking at every cell. This room must not
mend anything: it says what is wrong and what to do.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from functools import cache
from itertools import combinations, product
from typing import Final

from gateway.core.disclosure.fitting import bands_ascend, misfit
from gateway.core.disclosure.plans import GUESSABLE, PERSONAL_CLASSES, SHARING_TIERS, Plan, Reasons
from gateway.core.disclosure.row_rules import read_row_rule
from gateway.core.disclosure.rules import DisclosureFiles, ExceptionText, Rule, line_naming
from gateway.core.disclosure.tiers import OPEN_PURPOSE, RULED_TIERS, TIER_ORDER, TIERS
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
from gateway.core.records.catalogue import Catalogue
from gateway.core.records.model import BasisRef, Dataset, DatasetId, SubjectKind
from gateway.core.records.policy_file import line_of

Cells = dict[tuple[DatasetId, str, str, SubjectKind], Rule]
Rules = Mapping[DatasetId, tuple[Rule, ...]]

_FREE_TO_ALLOW: Final = frozenset({"lookup", "export", "delta"})
"""Capabilities that a field may have without being shown clear (§6)."""
_FULL_TEXT_TIERS: Final = frozenset({"department", "supervisor"})
_PUBLIC_TEXT: Final = Redact(profile="strict", hold=True)
_DEVELOPER: Final = "developer"
_ABOVE: Final = {tier: frozenset(wide for narrow, wide in TIER_ORDER if narrow == tier) for tier in TIERS}


# --- before compiling: names and grounds (S10), one rule a cell (S3) --------------------------------------------------


def names(
    catalogue: Catalogue, texts: DisclosureFiles, rules: Rules, files: Mapping[str, bytes], day: date | None
) -> Iterator[PolicyError]:
    """S10: every name a rule uses stands somewhere, every ground is in force; S4 for tiers that no rule may name.

    `day` is None for a version already in force: its grounds were checked when it was activated.
    """
    seen: dict[str, Rule] = {}
    for dataset in catalogue.datasets.values():
        yield from _dataset_names(dataset, files)
        for rule in rules[dataset.id]:
            if rule.id in seen:
                yield _at(
                    rule,
                    "policy-parse",
                    f"the rule id {rule.id} is used twice, first in {seen[rule.id].file}:{seen[rule.id].line}",
                    key="id",
                    hint="give it an id of its own",
                )
            seen.setdefault(rule.id, rule)
            yield from _rule_names(dataset, rule, texts, day)
            yield from _rule_fields(dataset, rule, day)
    yield from _file_names(catalogue, texts, files, day)


def _dataset_names(dataset: Dataset, files: Mapping[str, bytes]) -> Iterator[PolicyError]:
    path = f"datasets/{dataset.id}.toml"
    for name, described in dataset.fields.items():
        wrong = None
        if name == "summary":
            wrong = "the name `summary` is taken by what stands for a held text"
        elif described.bands and not bands_ascend(described.bands):
            wrong = "`bands` are numbers, each above the one before it"
        if wrong:
            line = line_of(files[path], ("fields", name))
            yield PolicyError(f"{name}: {wrong}", code="policy-S10", file=path, line=line, field=name, hint="mend the field")


def _rule_names(dataset: Dataset, rule: Rule, texts: DisclosureFiles, day: date | None) -> Iterator[PolicyError]:
    for tier in rule.tiers:
        if tier not in TIERS:
            yield _at(rule, "policy-S10", f"there is no tier {tier}", key="for", hint=f"one of {', '.join(sorted(RULED_TIERS))}")
        elif tier == _DEVELOPER:
            yield _at(rule, "policy-S4", "developer reads the public plans", key="for", hint="name public instead")
        elif tier in SHARING_TIERS and dataset.share == "none":
            yield _at(rule, "policy-S10", f"{dataset.id} is not shared: no rule for {tier}", key="for", hint="see `share` of the dataset")
    for purpose in rule.purposes:
        info = texts.purposes.get(purpose)
        if info is None:
            yield _at(rule, "policy-S10", f"there is no purpose {purpose}", key="for", hint="declare it in purposes.toml with its basis")
            continue
        for tier in rule.tiers:
            if purpose == OPEN_PURPOSE and tier in TIERS and tier != "public":
                yield _at(rule, "policy-S4", f"{OPEN_PURPOSE} has one plan set, public's", key="for", hint=f"take {tier} out of the rule")
            elif tier in TIERS and tier not in info.tiers:
                yield _at(rule, "policy-S10", f"the purpose {purpose} is not open to {tier}", key="for", hint="see purposes.toml")
    for kind in rule.kinds:
        if kind not in dataset.subject_kinds:
            yield _at(rule, "policy-S10", f"{dataset.id} holds no records about {kind}", key="for", hint="see subject_kinds of the dataset")
    for name in rule.basis:
        yield from _ground(dataset, rule, name, "basis", None, day)
    yield from _rows(dataset, rule)
    named = rule.obligations.rate_class
    if named is not None and named not in texts.rate_classes:
        known = ", ".join(sorted(texts.rate_classes))
        yield _at(rule, "policy-S10", f"there is no rate class {named}", key="obligations", hint=f"one of {known}")


def _rows(dataset: Dataset, rule: Rule) -> Iterator[PolicyError]:
    """What is wrong with the gate of a rule; those who are bound by an agreement or a duty always have one."""
    bound = [tier for tier in rule.tiers if tier in SHARING_TIERS]
    if rule.rows is None:
        if bound:
            hint = 'for example rows = { within = ["region", "$grant.regions"] }'
            yield _at(rule, "policy-S10", f"a rule for {', '.join(bound)} says which `rows` it reaches", key="for", hint=hint)
        return
    try:
        read_row_rule(rule.rows, dataset.fields, rule.kinds)
    except PolicyError as error:
        where = f"{error.detail} ({error.field})" if error.field else error.detail
        yield _at(rule, error.code, where, key="rows", hint=error.hint)


def _rule_fields(dataset: Dataset, rule: Rule, day: date | None) -> Iterator[PolicyError]:
    for name, line in rule.fields.items():
        key = f"field.{name}"
        described = dataset.fields.get(name)
        if described is None:
            yield _at(rule, "policy-S10", f"{dataset.id} has no field {name}", key=key, field=name, hint="see [fields] of the dataset")
            continue
        for ground in line.basis:
            yield from _ground(dataset, rule, ground, key, name, day)
        if line.treatment is None and not (line.allow or line.deny):
            yield _at(rule, "policy-parse", f"the line of {name} says nothing", key=key, field=name, hint="give a treatment, allow or deny")


def _ground(dataset: Dataset, rule: Rule, name: str, key: str, field: str | None, day: date | None) -> Iterator[PolicyError]:
    basis = dataset.bases.get(name)
    if basis is None:
        yield _at(rule, "policy-S10", f"there is no basis {name}", key=key, field=field, hint="declare it in [bases] of the dataset")
        return
    fault = dead(basis, day)
    if fault:
        yield _at(rule, "policy-S10", f"the basis {name} is {fault}", key=key, field=field, hint="name a ground in force")


def dead(basis: BasisRef, day: date | None) -> str | None:
    """What is wrong with a ground on that day: empty, not yet valid, expired; None if it holds."""
    if not basis.law.strip():
        return "empty"
    if day is None:
        return None
    if basis.from_ is not None and day < basis.from_:
        return f"not yet valid (from {basis.from_})"
    if basis.until is not None and basis.until < day:
        return f"expired (until {basis.until})"
    return None


def _file_names(catalogue: Catalogue, texts: DisclosureFiles, files: Mapping[str, bytes], day: date | None) -> Iterator[PolicyError]:
    def fault(path: str, words: str, detail: str, hint: str, code: str = "policy-S10") -> PolicyError:
        return PolicyError(detail, code=code, file=path, line=line_naming(files[path], words), hint=hint)

    for name, purpose in texts.purposes.items():
        for tier in purpose.tiers:
            if tier not in TIERS:
                yield fault("purposes.toml", name, f"purpose {name}: there is no tier {tier}", f"one of {', '.join(TIERS)}")
        if purpose.retention not in catalogue.retention:
            detail = f"purpose {name}: there is no retention {purpose.retention}"
            yield fault("purposes.toml", name, detail, f"one of {', '.join(sorted(catalogue.retention))}")
        for basis in purpose.basis:
            if wrong := dead(basis, day):
                yield fault("purposes.toml", name, f"purpose {name}: its basis is {wrong}", "name a ground in force")
    for redline in texts.redlines.redlines:
        for tier in redline.except_:
            if tier not in TIERS:
                yield fault("redlines.toml", redline.id, f"red line {redline.id}: there is no tier {tier}", f"one of {', '.join(TIERS)}")
        if redline.when.field is not None and not _field_exists(catalogue, redline.when.field):
            yield fault(
                "redlines.toml", redline.id, f"red line {redline.id}: there is no field {redline.when.field}", "write dataset.field"
            )
        for basis in redline.basis:
            if wrong := dead(basis, day):
                yield fault("redlines.toml", redline.id, f"red line {redline.id}: its basis is {wrong}", "name a ground in force")
    for exception in texts.redlines.exceptions:
        if not _field_exists(catalogue, exception.field):
            yield fault("redlines.toml", exception.field, f"exception: there is no field {exception.field}", "write dataset.field")
        if day is not None and exception.until < day:
            yield fault("redlines.toml", exception.field, f"the exception of {exception.field} ended on {exception.until}", "take it out")
        for basis in exception.basis:
            if wrong := dead(basis, day):
                yield fault(
                    "redlines.toml", exception.field, f"the exception of {exception.field}: its basis is {wrong}", "name a ground in force"
                )


def _field_exists(catalogue: Catalogue, dotted: str) -> bool:
    dataset, _, name = dotted.partition(".")
    held = catalogue.datasets.get(DatasetId(dataset))
    return held is not None and name in held.fields


def one_rule(rules: Rules) -> tuple[Cells, list[PolicyError]]:
    """S3: the rule of each (dataset, tier, purpose, kind), and a fault for each pair of rules that overlap, with what they share."""
    cells: Cells = {}
    shared: dict[tuple[str, str], tuple[Rule, Rule, list[str]]] = {}
    for dataset, of_dataset in rules.items():
        for rule in of_dataset:
            for tier, purpose, kind in dict.fromkeys(product(rule.tiers, rule.purposes, rule.kinds)):
                first = cells.setdefault((dataset, tier, purpose, kind), rule)
                if first is not rule:
                    shared.setdefault((first.id, rule.id), (first, rule, []))[2].append(f"({tier}, {purpose}, {kind})")
    faults = [
        _at(
            rule,
            "policy-S3",
            f"{rule.id} overlaps {first.id} ({first.file}:{first.line}) in {', '.join(triples)}",
            key="for",
            hint="exactly one rule may decide a tier, purpose and kind",
        )
        for first, rule, triples in shared.values()
    ]
    return cells, faults


def uncovered(
    catalogue: Catalogue, rules: Rules, texts: DisclosureFiles, cells: Cells, paths: Mapping[DatasetId, str]
) -> Iterator[PolicyError]:
    """Warnings of S3: triples that no rule covers, for the purposes that a rule of the dataset names; they drop everything."""
    for dataset in catalogue.datasets.values():
        named = dict.fromkeys(purpose for rule in rules[dataset.id] for purpose in rule.purposes)
        bare = [
            f"({tier}, {purpose}, {kind})"
            for purpose in named
            for tier in texts.purposes[purpose].tiers
            for kind in dataset.subject_kinds
            if tier in RULED_TIERS and (dataset.id, tier, purpose, kind) not in cells
        ]
        if bare:
            yield PolicyError(
                f"no rule covers {', '.join(bare)}: nothing of them is shown",
                code="policy-S3",
                file=paths[dataset.id],
                hint="a warning; add a rule if they are meant to be seen",
            )


# --- after compiling: every cell --------------------------------------------------------------------------------------


def exceptions(dataset: DatasetId, name: str, kind: SubjectKind, cell: Reasons, tier: str, texts: DisclosureFiles) -> list[ExceptionText]:
    """The exceptions of redlines.toml without which a public cell would break S1; its plan ends with the first of them."""
    if tier != "public" or _harmless(cell):
        return []
    return [found for found in texts.redlines.exceptions if _covers(found, dataset, name, kind, cell)][:1]


def _covers(found: ExceptionText, dataset: DatasetId, name: str, kind: SubjectKind, cell: Reasons) -> bool:
    return found.field == f"{dataset}.{name}" and kind in found.kinds and leq(cell.treatment, treatment_of(found.max))


def _harmless(cell: Reasons) -> bool:
    if cell.class_ not in PERSONAL_CLASSES or isinstance(cell.treatment, Drop | Surname | Generalise):
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


def _line_faults(dataset: Dataset, plan: Plan, name: str, cell: Reasons, rule: Rule) -> Iterator[PolicyError]:
    line, key = rule.fields[name], f"field.{name}"
    shown = line.treatment is not None and not isinstance(treatment_of(line.treatment), Drop)
    if cell.class_ == "U" and (shown or line.allow):
        detail = f"{name} is unclassified for {plan.kind}: a rule may only drop it"
        yield _at(rule, "policy-S2", detail, key=key, field=name, hint="give the field a class first")
    for capability in line.allow:
        wrong = None
        if isinstance(cell.treatment, Drop):
            wrong = "the field is dropped"
        elif capability not in dataset.fields[name].query:
            wrong = "the field's own `query` does not offer it"
        elif capability == "lookup" and (plan.tier, plan.kind) == ("public", "natural"):
            wrong = "the public looks up no natural person"
        elif cell.class_ in PERSONAL_CLASSES and capability in GUESSABLE:
            wrong = "a field about persons is only looked up whole"
        elif (
            not isinstance(cell.treatment, Clear)
            and capability not in _FREE_TO_ALLOW
            and not (capability == "search" and isinstance(cell.treatment, Redact))
        ):
            wrong = "the field is not shown clear"
        if wrong:
            yield _at(rule, "policy-S9", f"{capability} on {name}: {wrong}", key=key, field=name, hint="take it out of `allow`")


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


def _at(rule: Rule, code: str, detail: str, *, key: str | None = None, field: str | None = None, hint: str | None = None) -> PolicyError:
    line = rule.lines.get(key, rule.line) if key is not None else rule.line
    return PolicyError(detail, code=code, file=rule.file, line=line, rule=rule.id, field=field, hint=hint)

"""Static checks before anything is compiled (policy.md §8): S10 names-and-basis, S3 one-rule, and what S4 says of names of tiers.

Every name a rule uses stands somewhere, every ground is in force, every required key is there, and exactly one rule decides a cell. Each
fault names file, line and rule. This room must not mend anything.
"""

from collections.abc import Iterator, Mapping
from datetime import date
from itertools import product
from typing import Final

from gateway.core.disclosure.fitting import bands_ascend
from gateway.core.disclosure.obligations import LOOKED_UP
from gateway.core.disclosure.personal import misclassed
from gateway.core.disclosure.plans import SHARING_TIERS
from gateway.core.disclosure.row_rules import read_row_rule
from gateway.core.disclosure.rules import DisclosureFiles, Rule, line_naming
from gateway.core.disclosure.tiers import OPEN_PURPOSE, RULED_TIERS, TIERS
from gateway.core.disclosure.treatments import DROP, Drop
from gateway.core.errors import PolicyError
from gateway.core.records.basis import in_force, legality
from gateway.core.records.catalogue import COUNTED, Catalogue, Licence
from gateway.core.records.model import BasisRef, Dataset, DatasetId, SubjectKind
from gateway.core.records.policy_file import line_of

Cells = dict[tuple[DatasetId, str, str, SubjectKind], Rule]
Rules = Mapping[DatasetId, tuple[Rule, ...]]
_DEVELOPER: Final = "developer"


def names(
    catalogue: Catalogue, texts: DisclosureFiles, rules: Rules, files: Mapping[str, bytes], day: date | None
) -> Iterator[PolicyError]:
    """S10: every name a rule uses stands somewhere, every ground is in force; S4 for tiers that no rule may name.

    `day` is None for a version already in force: its grounds were checked when it was activated.
    """
    seen: dict[str, Rule] = {}
    for dataset in catalogue.datasets.values():
        yield from _dataset_names(catalogue, dataset, files)
        for rule in rules[dataset.id]:
            if rule.id in seen:
                yield fault_at(
                    rule,
                    "policy-parse",
                    f"the rule id {rule.id} is used twice, first in {seen[rule.id].file}:{seen[rule.id].line}",
                    key="id",
                    hint="give it an id of its own",
                )
            seen.setdefault(rule.id, rule)
            yield from _rule_names(dataset, rule, texts, day, catalogue.licences)
            yield from _rule_fields(dataset, rule, day)
    yield from _file_names(catalogue, texts, files, day)


def _dataset_names(catalogue: Catalogue, dataset: Dataset, files: Mapping[str, bytes]) -> Iterator[PolicyError]:
    path = f"datasets/{dataset.id}.toml"
    if dataset.category == "blacklist" and catalogue.list_of(dataset.id) is None:
        detail = f"{dataset.id} burdens its subjects by a list, and no list is built from it"
        line = line_of(files[path], ("dataset", "category"))
        yield PolicyError(detail, code="policy-S10", file=path, line=line, hint="write lists/*.toml with its legal basis")
    for name, described in dataset.fields.items():
        wrong = None
        if name == "summary":
            wrong = "the name `summary` is taken by what stands for a held text"
        elif described.bands and not bands_ascend(described.bands):
            wrong = "`bands` are numbers, each above the one before it"
        else:
            wrong = misclassed(described, dataset.subject_kinds)
        if wrong:
            line = line_of(files[path], ("fields", name))
            yield PolicyError(f"{name}: {wrong}", code="policy-S10", file=path, line=line, field=name, hint="mend the field")


def _rule_names(
    dataset: Dataset, rule: Rule, texts: DisclosureFiles, day: date | None, licences: Mapping[str, Licence]
) -> Iterator[PolicyError]:
    for tier in rule.tiers:
        if tier not in TIERS:
            yield fault_at(rule, "policy-S10", f"there is no tier {tier}", key="for", hint=f"one of {', '.join(sorted(RULED_TIERS))}")
        elif tier == _DEVELOPER:
            yield fault_at(rule, "policy-S4", "developer reads the public plans", key="for", hint="name public instead")
        elif tier in SHARING_TIERS and dataset.share == "none":
            yield fault_at(
                rule, "policy-S10", f"{dataset.id} is not shared: no rule for {tier}", key="for", hint="see `share` of the dataset"
            )
    for purpose in rule.purposes:
        info = texts.purposes.get(purpose)
        if info is None:
            yield fault_at(
                rule, "policy-S10", f"there is no purpose {purpose}", key="for", hint="declare it in purposes.toml with its basis"
            )
            continue
        for tier in rule.tiers:
            if purpose == OPEN_PURPOSE and tier in TIERS and tier != "public":
                yield fault_at(
                    rule, "policy-S4", f"{OPEN_PURPOSE} has one plan set, public's", key="for", hint=f"take {tier} out of the rule"
                )
            elif tier in TIERS and tier not in info.tiers:
                yield fault_at(rule, "policy-S10", f"the purpose {purpose} is not open to {tier}", key="for", hint="see purposes.toml")
    for kind in rule.kinds:
        if kind not in dataset.subject_kinds:
            yield fault_at(
                rule, "policy-S10", f"{dataset.id} holds no records about {kind}", key="for", hint="see subject_kinds of the dataset"
            )
    for name in rule.basis:
        yield from _ground(dataset, rule, name, "basis", None, day)
    if not isinstance(rule.classes.get("U", DROP), Drop):
        hint = "give its fields a class; what has none is dropped"
        yield fault_at(rule, "policy-S2", "a rule shows unclassified fields: it may only drop them", key="class", hint=hint)
    yield from _rows(dataset, rule)
    named = rule.obligations.rate_class
    if named is not None and named not in texts.rate_classes:
        known = ", ".join(sorted(texts.rate_classes))
        yield fault_at(rule, "policy-S10", f"there is no rate class {named}", key="obligations", hint=f"one of {known}")
    licence = rule.obligations.license
    if licence is not None and licence not in licences:
        known = f"one of {', '.join(licences)}" if licences else "declare it in [licences] of catalogue.toml"
        yield fault_at(rule, "policy-S10", f"there is no licence {licence}", key="obligations", hint=known)


def _rows(dataset: Dataset, rule: Rule) -> Iterator[PolicyError]:
    """What is wrong with the gate of a rule; those who are bound by an agreement or a duty always have one."""
    bound = [tier for tier in rule.tiers if tier in SHARING_TIERS]
    if rule.rows is None:
        if bound:
            hint = 'for example rows = { within = ["region", "$grant.regions"] }'
            yield fault_at(rule, "policy-S10", f"a rule for {', '.join(bound)} says which `rows` it reaches", key="for", hint=hint)
        return
    try:
        read_row_rule(rule.rows, dataset.fields, rule.kinds)
    except PolicyError as error:
        where = f"{error.detail} ({error.field})" if error.field else error.detail
        yield fault_at(rule, error.code, where, key="rows", hint=error.hint)


def _rule_fields(dataset: Dataset, rule: Rule, day: date | None) -> Iterator[PolicyError]:
    for name, line in rule.fields.items():
        key = f"field.{name}"
        described = dataset.fields.get(name)
        if described is None:
            yield fault_at(rule, "policy-S10", f"{dataset.id} has no field {name}", key=key, field=name, hint="see [fields] of the dataset")
            continue
        if line.budget is not None and (name != LOOKED_UP or "natural" not in rule.kinds):
            detail = f"a budget on {name}: only look-ups of natural persons by {LOOKED_UP} are counted"
            yield fault_at(rule, "policy-S10", detail, key=key, field=name, hint="take `budget` out")
        for ground in line.basis:
            yield from _ground(dataset, rule, ground, key, name, day)
        if line.treatment is None and not (line.allow or line.deny):
            yield fault_at(
                rule, "policy-parse", f"the line of {name} says nothing", key=key, field=name, hint="give a treatment, allow or deny"
            )


def _ground(dataset: Dataset, rule: Rule, name: str, key: str, field: str | None, day: date | None) -> Iterator[PolicyError]:
    basis = dataset.bases.get(name)
    if basis is None:
        yield fault_at(rule, "policy-S10", f"there is no basis {name}", key=key, field=field, hint="declare it in [bases] of the dataset")
        return
    fault = dead(basis, day)
    if fault:
        yield fault_at(rule, "policy-S10", f"the basis {name} is {fault}", key=key, field=field, hint="name a ground in force")


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
        if purpose.retention in COUNTED and set(purpose.tiers) - {"public"}:
            detail = f"purpose {name}: {purpose.retention} is for what nobody is known by"
            yield fault("purposes.toml", name, detail, "name a retention of what is personal")
    for each in catalogue.lists.values():
        path = f"lists/{each.id}.toml"
        if day is not None and not in_force(each.legal_basis, day):
            yield fault(path, "legal_basis", f"list {each.id}: no law of its legal basis is in force", "name a ground in force")
        for member, grounds in (("households", each.households), ("persons", each.persons)):
            if day is not None and grounds and not in_force(grounds, day):
                yield fault(path, member, f"list {each.id}: no ground of `{member}` is in force", "name a ground in force, or false")
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
        fault_at(
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
                line=rules[dataset.id][0].line,
                hint="a warning; add a rule if they are meant to be seen",
            )


def grounded(catalogue: Catalogue, files: Mapping[str, bytes], paths: Mapping[DatasetId, str], day: date) -> Iterator[PolicyError]:
    """Warnings of S10: datasets of which nothing is shown that day, for want of a live item in the catalogue or of a law under it."""
    for dataset in catalogue.datasets.values():
        missing = legality(dataset, catalogue, day).code
        if missing is not None:
            what = f"item {dataset.catalogue.item} in edition {dataset.catalogue.edition}" if missing == "LAW_CATALOGUE" else "law in force"
            yield PolicyError(
                f"{dataset.id} has no live {what}: all of its records are held",
                code="policy-S10",
                file=paths[dataset.id],
                line=line_of(files[paths[dataset.id]], ("dataset", "catalogue")),
                hint="a warning; name an item of catalogue.toml, if they are meant to be seen",
            )


def fault_at(
    rule: Rule, code: str, detail: str, *, key: str | None = None, field: str | None = None, hint: str | None = None
) -> PolicyError:
    """A fault at a rule, or at one of its keys."""
    line = rule.lines.get(key, rule.line) if key is not None else rule.line
    return PolicyError(detail, code=code, file=rule.file, line=line, rule=rule.id, field=field, hint=hint)

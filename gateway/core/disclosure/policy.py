"""Policies compiled: from the files of `policies/` to one frozen plan per (dataset, tier, purpose, kind of subject).

Rules:
1. Exactly one rule decides a cell; two are an error naming both (S3), none means that the whole kind is dropped.
2. A cell is the meet of what the rule says and of every red line that reaches it; what no rule names is dropped.
3. An unclassified field (`U`) is dropped whatever a rule says (S2).
4. Capabilities are rights of their own: a field's `query` where it is shown clear, plus `allow`, less `deny`. Fields about
   persons are never filtered, sorted, counted or searched by anybody: only looked up whole.
5. A plan ends with the first of its legal grounds (`valid_until`); nothing is shown under it from then on.
6. A plan is named by its hash: SHA-256 over the canonical JSON of everything that decides what it shows.

Everything is computed here, once; a request looks a plan up and evaluates nothing. This room must not see a record.
"""

import hashlib
from collections.abc import Mapping
from datetime import date, datetime
from types import MappingProxyType
from typing import Any, Final

from msgspec import Struct, structs

from gateway.core.disclosure import checks
from gateway.core.disclosure.cases import check_cases, read_cases
from gateway.core.disclosure.fitting import misfit
from gateway.core.disclosure.masking import nothing, treat_function, unchanged
from gateway.core.disclosure.obligations import Obligations
from gateway.core.disclosure.plans import (
    GUESSABLE,
    PERSONAL_CLASSES,
    SHARING_TIERS,
    Envelope,
    FieldInfo,
    Gate,
    Mode,
    Plan,
    PlanSet,
    Policies,
    Reasons,
    Step,
    Summary,
    digest,
)
from gateway.core.disclosure.redaction import REDACTOR
from gateway.core.disclosure.row_language import All, RowRule
from gateway.core.disclosure.row_rules import read_row_rule
from gateway.core.disclosure.rules import (
    DisclosureFiles,
    ExceptionText,
    Rule,
    read_disclosure_files,
    read_rules,
)
from gateway.core.disclosure.tiers import PurposeInfo
from gateway.core.disclosure.treatments import (
    DROP,
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
    meet,
    treatment_of,
    word,
)
from gateway.core.errors import PolicyError
from gateway.core.records.catalogue import read_catalogue
from gateway.core.records.model import BasisRef, Capability, Dataset, DatasetId, FieldClass, SubjectKind
from gateway.core.records.periods import end_instant
from gateway.core.records.policy_file import PolicyFile

MAX_RULES: Final = 10_000
DEFAULT_BANDS: Final = ("1", "5", "10", "50", "100", "500")
"""Edges in the unit of the field (万元) for the summary of a held text, where the field names none."""
ASKED: Final[frozenset[Capability]] = frozenset({"filter", "sort", "facet"})
"""Capabilities that a question may use; the others say where a shown value stands."""
KIND_FIELDS: Final = ("penalty_type", "licence_type", "honour_name", "case_nature")
"""Fields that name what kind of act a record is: the second word of the summary of a held text."""


class Checked(Struct, frozen=True, kw_only=True):
    """What `check_policies` found; `policies` is None when there is an error."""

    policies: Policies | None
    errors: tuple[PolicyError, ...]
    warnings: tuple[PolicyError, ...]


def files_digest(files: Mapping[str, bytes]) -> str:
    """The name of a policy folder's content: SHA-256 over the canonical JSON of path → SHA-256."""
    return digest({path: hashlib.sha256(content).hexdigest() for path, content in files.items()})


def compile_policies(files: Mapping[str, bytes], *, version: int, today: date, in_force: bool = False) -> Policies:
    """The plans of a policy folder as the law stands on that day.

    With `in_force` the folder is a version that was checked when it was activated: a ground that has ended since closes its plans
    (`valid_until`) instead of refusing the whole version.

    Raises PolicyError for the first fault: policy-parse, policy-S1 …; `check_policies` lists them all.
    """
    found = check_policies(files, version=version, today=today, in_force=in_force)
    if found.policies is None:
        raise found.errors[0]
    return found.policies


def check_policies(files: Mapping[str, bytes], *, version: int, today: date, in_force: bool = False) -> Checked:
    """Every fault of a folder by the static checks, or its compiled policies.

    Raises PolicyError policy-parse where the text cannot even be read.
    """
    catalogue = read_catalogue(files)
    texts = read_disclosure_files(files)
    paths = {name: f"datasets/{name}.toml" for name in catalogue.datasets}
    total = sum(map(len, catalogue.rules.values()))
    if total > MAX_RULES:
        most = max(catalogue.datasets, key=lambda name: len(catalogue.rules[name]))
        hint = "join rules whose blocks of the matrix have the same treatments"
        raise PolicyError(f"{total} rules; at most {MAX_RULES}", file=paths[most], line=1, hint=hint)
    rules = {name: read_rules(name, tuple(catalogue.rules.get(name, ())), paths[name], files[paths[name]]) for name in catalogue.datasets}
    day = None if in_force else today
    errors = [*checks.names(catalogue, texts, rules, files, day)]
    cells, overlaps = checks.one_rule(rules)
    errors += overlaps
    if errors:
        return Checked(policies=None, errors=tuple(errors), warnings=())
    law = _law_digest(files)
    plans: dict[tuple[DatasetId, str, str], dict[SubjectKind, Plan]] = {}
    for (name, tier, purpose, kind), rule in cells.items():
        plan = _plan(catalogue.datasets[name], tier, purpose, kind, rule, texts, law)
        plans.setdefault((name, tier, purpose), {})[kind] = plan
    by_dataset = {name: [plan for (of, _, _), kinds in plans.items() if of == name for plan in kinds.values()] for name in rules}
    for name, of_dataset in by_dataset.items():
        errors += checks.plans(catalogue.datasets[name], of_dataset, {rule.id: rule for rule in rules[name]}, texts)
    warnings = tuple(checks.uncovered(catalogue, rules, texts, cells, paths))
    if errors:
        return Checked(policies=None, errors=tuple(errors), warnings=warnings)
    policies = Policies(
        version=version,
        digest=files_digest(files),
        catalogue=catalogue,
        plan_sets=MappingProxyType(
            {
                (name, tier, purpose): _plan_set(catalogue.datasets[name], tier, purpose, kinds)
                for (name, tier, purpose), kinds in sorted(plans.items())
            }
        ),
        purposes=MappingProxyType(dict(texts.purposes)),
        tiers=MappingProxyType(dict(texts.tiers)),
        classes=MappingProxyType(dict(texts.classes)),
        redlines=texts.redlines,
        rate_classes=MappingProxyType(dict(texts.rate_classes)),
        costs=texts.costs,
        warnings=warnings,
    )
    errors += check_cases(policies, () if in_force else read_cases(files))
    if errors:
        return Checked(policies=None, errors=tuple(errors), warnings=warnings)
    return Checked(policies=policies, errors=(), warnings=warnings)


def _plan_set(dataset: Dataset, tier: str, purpose: str, kinds: Mapping[SubjectKind, Plan]) -> PlanSet:
    seen = {step.field for plan in kinds.values() for step in plan.steps}
    shown = tuple(name for name in dataset.fields if name in seen)
    return PlanSet(
        dataset=dataset.id,
        tier=tier,
        purpose=purpose,
        plans=MappingProxyType(dict(sorted(kinds.items()))),
        hash=digest(sorted(plan.plan_hash for plan in kinds.values())),
        columns=frozenset(name for plan in kinds.values() for name in plan.columns),
        shown=shown,
        asked=MappingProxyType(
            {
                name: FieldInfo(
                    type=dataset.fields[name].type,
                    query=frozenset(
                        right for plan in kinds.values() for right in plan.capabilities.get(name, frozenset()) if right in ASKED
                    ),
                    values=tuple(dataset.fields[name].values),
                    kinds=tuple(kind for kind, plan in sorted(kinds.items()) if plan.can(name, "filter")),
                )
                for name in shown
            }
        ),
        described=dataset.fields,
    )


def _plan(dataset: Dataset, tier: str, purpose: str, kind: SubjectKind, rule: Rule, texts: DisclosureFiles, law: str) -> Plan:
    cells = {name: _cell(dataset, name, tier, kind, rule, texts) for name in dataset.fields}
    shown = {name: cell for name, cell in cells.items() if not isinstance(cell.treatment, Drop)}
    steps = tuple(_step(dataset, name, kind, cells) for name in shown)
    clear = frozenset(step.field for step in steps if step.mode == Mode.CLEAR)
    gate = Gate(
        period="none" if tier == "subject" else "sharing" if tier in SHARING_TIERS else "publication",
        legality="held" if tier == "subject" else "closed",
        minors=tier == "subject",
        vouched_negative=tier != "public",
        onward=tier not in ("partner", "supervisor", "pboc"),
        flags=tuple(sorted(line.when.flag for line in texts.redlines.redlines if line.when.flag is not None and tier not in line.except_)),
        requires=tuple(name for name in dataset.publish.requires if name in shown) if tier == "public" else (),
    )
    exceptions = [found for name, cell in shown.items() for found in checks.exceptions(dataset.id, name, kind, cell, tier, texts)]
    grounds = [dataset.bases[name] for name in rule.basis]
    columns = tuple(step.field for step in steps if step.mode != Mode.TEXT)
    held_texts = tuple(step.field for step in steps if step.mode == Mode.TEXT)
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
        "gate": gate,
        "envelope": _envelope(dataset, clear),
        "summary": _summary(dataset, clear) if held_texts else None,
        "capabilities": MappingProxyType({name: frozenset(cell.capabilities) for name, cell in cells.items() if cell.capabilities}),
        "personal": any(_is_personal(dataset.id, name, kind, cell, texts) for name, cell in shown.items()),
        "obligations": _obligations(tier, purpose, rule, texts),
        "budgets": MappingProxyType({name: int(line.budget.partition("/")[0]) for name, line in rule.fields.items() if line.budget}),
        "rows": _rows(dataset, tier, rule),
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
        "law": law,
    }
    return Plan(**body, steps=steps, reasons=MappingProxyType(cells), plan_hash=digest(decides))


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


def _step(dataset: Dataset, name: str, kind: SubjectKind, cells: Mapping[str, Reasons]) -> Step:
    described, treatment = dataset.fields[name], cells[name].treatment
    if isinstance(treatment, Redact):
        return Step(name, Mode.TEXT, unchanged, treatment.profile == "strict", treatment.hold)
    if isinstance(treatment, Surname) and described.type == "subject_name" and kind == "individual_business":
        return Step(name, Mode.HOUSEHOLD, unchanged, _shows_division("uscc", cells), hold=False)
    if isinstance(treatment, Clear):
        return Step(name, Mode.CLEAR, unchanged, option=False, hold=False)
    if misfit(treatment, described, kind):
        return Step(name, Mode.VALUE, nothing, option=False, hold=False)  # a fault of the policy; the check S10 refuses it by name
    mode = Mode.PSEUDONYM if isinstance(treatment, Pseudonym) else Mode.VALUE
    return Step(name, mode, treat_function(treatment, described.type, described.bands, described.unit), option=False, hold=False)


def _shows_division(code: str, cells: Mapping[str, Reasons]) -> bool:
    """Whether a plan shows the division digits of a code, so that a county taken from it tells nothing new."""
    return code in cells and leq(Keep(first=8), cells[code].treatment)


def _cell(dataset: Dataset, name: str, tier: str, kind: SubjectKind, rule: Rule, texts: DisclosureFiles) -> Reasons:
    described = dataset.fields[name]
    class_ = described.classes.get(kind, "U")
    line = rule.fields.get(name)
    steps: list[str] = []
    if line is not None and line.treatment is not None:
        treatment = treatment_of(line.treatment)
        steps.append(f"field.{name}: {describe(treatment)}")
    elif described.text and class_ in rule.classes and not isinstance(rule.classes[class_], Drop):
        treatment = rule.text
        steps.append(f"text: {describe(treatment)}")
    elif described.text:
        treatment = DROP
        steps.append(f"class {class_} is not named for texts: drop")
    else:
        treatment = rule.classes.get(class_, DROP)
        steps.append(f"class {class_}: {describe(treatment)}" if class_ in rule.classes else f"class {class_} is not named: drop")
    if class_ == "U" and not isinstance(treatment, Drop):
        treatment = DROP
        steps.append("unclassified: drop")
    for redline in texts.redlines.redlines:
        when = redline.when
        reached = when.class_ == class_ if when.class_ is not None else when.field == f"{dataset.id}.{name}"
        if reached and redline.max != "drop-row" and tier not in redline.except_:
            ceiling = treatment_of(redline.max)
            treatment = meet(treatment, ceiling)
            steps.append(f"red line {redline.id}: at most {describe(ceiling)} → {describe(treatment)}")
    allowed: set[Capability] = set()
    if not isinstance(treatment, Drop):
        if isinstance(treatment, Clear):
            allowed |= described.query
        if line is not None:
            allowed |= set(line.allow)
            allowed -= set(line.deny)
        if class_ in PERSONAL_CLASSES:
            allowed -= GUESSABLE
    withheld, law = _withheld(class_, kind, treatment, texts)
    grounds = (*rule.basis, *(line.basis if line is not None else ()))
    return Reasons(
        label=described.label,
        class_=class_,
        class_label=texts.classes[class_].label,
        withheld=withheld,
        withheld_basis=tuple(basis.text for basis in law),
        rule=rule.id,
        file=rule.file,
        line=rule.line_of(name, text=described.text),
        steps=tuple(steps),
        treatment=treatment,
        capabilities=tuple(sorted(allowed)),
        basis=tuple(dataset.bases[ground].text for ground in grounds),
    )


def _withheld(class_: FieldClass, kind: SubjectKind, treatment: Treatment, texts: DisclosureFiles) -> tuple[str, tuple[BasisRef, ...]]:
    """Why a cell may be withheld; what is open by law of an organisation may still point at a person."""
    personal = texts.classes["P1"]
    if isinstance(treatment, Redact):
        return "自由文本可能含有个人信息", personal.basis
    if kind != "legal" and class_ not in PERSONAL_CLASSES and class_ != "U" and isinstance(treatment, Drop):
        return "可据以识别或者推知个人", personal.basis
    return texts.classes[class_].reason, texts.classes[class_].basis


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


def _law_digest(files: Mapping[str, bytes]) -> str:
    """What the gates are computed from beside the plan: periods, catalogue, lists and red lines, without their comments and layout."""
    paths = ["periods.toml", "catalogue.toml", "redlines.toml", *(path for path in sorted(files) if path.startswith("lists/"))]
    return digest({path: PolicyFile(path, files[path]).values for path in paths})


__all__ = [
    "Checked",
    "Gate",
    "Plan",
    "PlanSet",
    "Policies",
    "Reasons",
    "Step",
    "check_policies",
    "compile_policies",
    "files_digest",
]

"""Policy tests: cases of `policies/tests/*.toml`, each a synthetic record, what a tier must see of it, and what it must not ask.

Rules: read strictly, every error with file and line; a case runs through the real views and the real query planner; `ABSENT` means that
the key is not there; a case whose row gate is closed sees every field ABSENT; a bound caller has a grant for the whole city and every
theme, the subject asks for itself. A policy is proposable only if every case holds and
`coverage` is whole: each rule decides a case, and of each tier each class of field is expected by one. This room must not mend a case.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import Annotated, Any, Final, get_args

from msgspec import Meta, Struct

from gateway.core.disclosure.plans import FieldInfo, Plan, PlanSet, Policies
from gateway.core.disclosure.query import plan_query
from gateway.core.disclosure.row_language import Attributes, attributes_of_rule
from gateway.core.disclosure.synthetic import CITY, PARTNER_ORG, SAMPLE_KEY, RecordFlag, noon, synthetic_record
from gateway.core.disclosure.views import closed_gate, view
from gateway.core.errors import InvalidParameter, PolicyError, UnknownParameter
from gateway.core.records.model import Capability, DatasetId, FieldClass, SubjectKind, Value
from gateway.core.records.policy_file import PolicyFile

ABSENT: Final = "ABSENT"
FOLDER: Final = "tests/"
FIXTURES: Final = "tests/fixtures/"


class _SubjectText(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    kind: SubjectKind
    flags: tuple[RecordFlag, ...] = ()


class Fixture(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`tests/fixtures/*.toml`: one synthetic record."""

    subject: _SubjectText
    values: dict[str, Any]


class CaseFor(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which plan set a case asks."""

    dataset: str
    tier: str
    purpose: str


class CaseText(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"for_": "for"}):
    """One `[[cases]]` table."""

    for_: CaseFor
    fixture: Annotated[str, Meta(pattern=r"^fixtures/[A-Za-z0-9][A-Za-z0-9_.-]{0,98}\.toml\Z", max_length=120)]
    at: date | None = None
    """The day on which it is looked at; else the day of the test."""
    expect: dict[str, Any] = {}
    refused: tuple[Annotated[str, Meta(pattern="^(filter|sort|facet|search|lookup|export|delta):[a-z][a-z0-9_]{0,62}\\Z")], ...] = ()


class Case(Struct, frozen=True, kw_only=True):
    """A case with its fixture, and the place where it stands."""

    file: str
    line: int
    text: CaseText
    fixture: Fixture

    @property
    def kind(self) -> SubjectKind:
        """The kind of subject that its record is about."""
        return self.fixture.subject.kind


class CaseResult(Struct, frozen=True, kw_only=True):
    """How a case came out."""

    file: str
    line: int
    ok: bool
    failures: tuple[str, ...]


class Coverage(Struct, frozen=True, kw_only=True):
    """What no case looks at."""

    rules: tuple[str, ...]
    """Rules that decide no case."""
    classes: tuple[tuple[str, FieldClass], ...]
    """(tier, class) of which no case expects a field."""

    @property
    def whole(self) -> bool:
        """Whether nothing is left out: only then a policy may be proposed."""
        return not (self.rules or self.classes)


class _CasesText(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    cases: tuple[Any, ...] = ()


def read_cases(files: Mapping[str, bytes]) -> tuple[Case, ...]:
    """Every case of a folder, in file order.

    Raises PolicyError policy-parse, or policy-S10 for a fixture that is not there, with file and line.
    """
    fixtures = {name: _fixture(PolicyFile(name, files[name])) for name in sorted(files) if name.startswith(FIXTURES)}
    cases: list[Case] = []
    used: set[str] = set()
    for name in sorted(files):
        if not name.startswith(FOLDER) or name.startswith(FIXTURES) or not name.endswith(".toml"):
            continue
        file = PolicyFile(name, files[name])
        for number, table in enumerate(file.convert(file.values, _CasesText).cases):
            text = file.convert(table, CaseText, "cases", number)
            _scalars(file, text.expect, "cases", number, "expect")
            path = f"{FOLDER}{text.fixture}"
            if path not in fixtures:
                raise file.error("there is no such fixture", "cases", number, "fixture", code="policy-S10", hint=f"put it into {FIXTURES}")
            used.add(path)
            if not (text.expect or text.refused):
                raise file.error("a case that expects nothing", "cases", number, hint="give `expect`, `refused` or both")
            cases.append(Case(file=name, line=file.line("cases", number), text=text, fixture=fixtures[path]))
    for path in sorted(fixtures.keys() - used):
        raise PolicyError("no case uses this fixture", file=path, line=1, hint="take it out, or write a case for it")
    return tuple(cases)


def _fixture(file: PolicyFile) -> Fixture:
    made = file.convert(file.values, Fixture)
    _scalars(file, made.values, "values")
    return made


def _scalars(file: PolicyFile, values: Mapping[str, Any], *path: str | int) -> None:
    """Text, whole numbers, truths and days; an amount is text, as it is held."""
    for name, value in values.items():
        if not isinstance(value, str | int | date) or isinstance(value, datetime):
            raise file.error(f"{name} is neither text, whole number, truth nor day", *path, name, hint='an amount is text: "1.2"')


def plain_values(values: Mapping[str, Any]) -> dict[str, Value]:
    """Values as records hold them: days as ISO text."""
    return {name: value.isoformat() if isinstance(value, date) else value for name, value in values.items()}


def check_cases(policies: Policies, cases: Sequence[Case]) -> Iterator[PolicyError]:
    """S10: names in cases and fixtures that stand nowhere."""
    for case in cases:
        asked = case.text.for_
        dataset = policies.catalogue.datasets.get(DatasetId(asked.dataset))
        if dataset is None:
            yield _unknown(case, f"there is no dataset {asked.dataset}", None)
            continue
        if asked.tier not in policies.tiers:
            yield _unknown(case, f"there is no tier {asked.tier}", None)
        if asked.purpose not in policies.purposes:
            yield _unknown(case, f"there is no purpose {asked.purpose}", None)
        named = (*case.text.expect, *(each.partition(":")[2] for each in case.text.refused))
        for name in dict.fromkeys(named):
            # a name that never existed may be asked for, to see that it is refused like a hidden one; it cannot be expected
            if name not in dataset.fields and name != "summary" and name in case.text.expect:
                yield _unknown(case, f"{dataset.id} has no field {name}", name)
        for name in case.fixture.values:
            if name not in dataset.fields:
                yield _unknown(case, f"the fixture {case.text.fixture} has a value for {name}, which {dataset.id} does not have", name)


def _unknown(case: Case, detail: str, field: str | None) -> PolicyError:
    return PolicyError(detail, code="policy-S10", file=case.file, line=case.line, field=field, hint="policies/README.md, tests")


def run_case(policies: Policies, case: Case, today: date) -> CaseResult:
    """One case through real views and the real query planner."""
    failures: list[str] = []
    asked = case.text.for_
    plan_set = policies.plan_set(asked.dataset, asked.tier, asked.purpose)
    plan = plan_set.plans.get(case.kind) if plan_set is not None else None
    shown, closed = _shown(policies, case, plan, case.text.at or today)
    for name, expected in plain_values(case.text.expect).items():
        got = shown.get(name, ABSENT)
        if got != expected or isinstance(got, bool) != isinstance(expected, bool):
            gate = f" (the row is closed: {closed})" if closed is not None else ""
            failures.append(f"{name}: expected {expected}, shown {got}{gate}")
    failures += [
        f"{each}: not refused" for each in case.text.refused if plan_set is not None and not _is_refused(plan_set, plan, case, each)
    ]
    return CaseResult(file=case.file, line=case.line, ok=not failures, failures=tuple(failures))


def _shown(policies: Policies, case: Case, plan: Plan | None, day: date) -> tuple[Mapping[str, Value], str | None]:
    """What the plan shows of the fixture, or which gate is closed."""
    if plan is None:
        return {}, "no plan"
    dataset = policies.catalogue.datasets[DatasetId(case.text.for_.dataset)]
    fixture = case.fixture
    values = plain_values(fixture.values)
    record = synthetic_record(dataset, case.kind, values, at=day, name=case.text.fixture, flags=fixture.subject.flags)
    now = noon(day)
    themes = dataset.fields["theme"].values if "theme" in dataset.fields else ()
    themed = plan.rows is not None and "$grant.themes" in attributes_of_rule(plan.rows)  # without themes a grant is for all of them
    asking = Attributes(
        org_id=PARTNER_ORG, grant_regions=(CITY,), grant_themes=tuple(themes) if themed else (), subject_key=record.subject_id
    )
    made = view(record, plan, policies, now, asking, keyed=SAMPLE_KEY)
    return (made.fields, None) if made is not None else ({}, closed_gate(record, plan, policies, now, asking) or "failed")


_VALUES: Final[Mapping[str, str]] = {"date": "2026-06-01", "instant": "2026-06-01T00:00:00Z", "decimal": "1", "int": "1"} | {
    "bool": "true",
    "division": "220500",
}


def _is_refused(plan_set: PlanSet, plan: Plan | None, case: Case, what: str) -> bool:
    """Whether a caller may not use a field so, for records such as this one."""
    asked, _, name = what.partition(":")
    if plan is None:
        return True
    if asked not in ("filter", "sort"):
        return not plan.can(name, next(right for right in get_args(Capability) if right == asked))
    described = plan_set.described.get(name)
    base = described.type.partition("(")[0] if described is not None else "string"
    value = next(iter(described.values), "x") if described is not None and described.values else _VALUES.get(base, "x")
    envelope = {"dataset": FieldInfo(type="enum", query=frozenset({"filter"}), values=(plan_set.dataset,))}
    params = {"dataset": plan_set.dataset} | ({name: value} if asked == "filter" else {"sort": name})
    try:
        query = plan_query(params, [plan_set], envelope)
    except UnknownParameter:
        return True
    except InvalidParameter:
        return False
    # of mixed kinds the answer is narrowed to those that may be filtered, and the others are sorted by one constant key
    return case.kind not in query.kinds if asked == "filter" else not plan.can(name, "sort")


def coverage(policies: Policies, cases: Sequence[Case]) -> Coverage:
    """Rules that decide no case, and classes of a tier of which no case expects a field."""
    decided: set[str] = set()
    met: set[tuple[str, FieldClass]] = set()
    for case in cases:
        asked = case.text.for_
        plan_set = policies.plan_set(asked.dataset, asked.tier, asked.purpose)
        plan = plan_set.plans.get(case.kind) if plan_set is not None else None
        if plan is not None:
            decided |= {cell.rule for cell in plan.reasons.values() if cell.rule is not None}
            met |= {(plan.tier, plan.reasons[name].class_) for name in case.text.expect if name in plan.reasons}
    rules: dict[str, None] = {}
    pairs: set[tuple[str, FieldClass]] = set()
    for held in policies.plan_sets.values():
        for plan in held.plans.values():
            for cell in plan.reasons.values():
                pairs.add((plan.tier, cell.class_))
                if cell.rule is not None:
                    rules[cell.rule] = None
    return Coverage(rules=tuple(rule for rule in rules if rule not in decided), classes=tuple(sorted(pairs - met)))

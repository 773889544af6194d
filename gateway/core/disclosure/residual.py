"""S6: how many people remain possible behind what a plan shows of an identifier, given everything else that its callers can see.

Rules: callers put together what their tier shows: the other fields of a plan, and plans of the same tier that share a clear `link_key`.
Counted is one city, for that is what an attacker knows: eight divisions, 24,000 days of birth of the living adults, a thousand numbers a
day, one value of the check character in eleven. Exact for citizen numbers and phones, so that too few is an error; for names, addresses
and codes a typical figure. A fact that says what it is derived from tells only of that; any other tells of everybody in the record. A date
or whole number about persons may be a birthday, a truth or short word a sex, unless the field says what it `tells`; labels decide
nothing, for they can change without anybody's asking. The figures are of the policy alone: this room must not see a value.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from msgspec import Struct

from gateway.core.disclosure.plans import PERSONAL_CLASSES, Plan, Reasons
from gateway.core.disclosure.treatments import Clear, Drop, Generalise, Keep, Pseudonym, Redact, Surname, Treatment, axis, describe
from gateway.core.errors import PolicyError
from gateway.core.records.model import Dataset, DatasetId, Field, SubjectKind

DEFAULT_K: Final = 1000
DIVISIONS: Final = 8
"""Of a typical city."""
BIRTHDAYS: Final = 24_000
ADULTS: Final = 1_000_000
RARE_SURNAME: Final = 1000
"""Of so many adults one bears a surname that is not rare enough to be left out of the table."""
HOUSEHOLDS: Final = 60_000
VEHICLES: Final = 300_000
BLOCKS: Final = 10
"""Of ten thousand mobile numbers each, that a city has under three first digits."""

_DAYS: Final = {"none": BIRTHDAYS, "decade": 3652, "year": 365, "month": 30, "date": 1}
_SCALE: Final = ("none", "decade", "year", "month", "date")
_EXACT: Final = frozenset({"id_no", "mobile", "phone"})
_BIRTH: Final = re.compile("birth|(?:^|_)(?:age|born|dob)(?:$|_)")
_SEX: Final = re.compile("(?:^|_)sex(?:$|_)|gender")
"""Names of fields, which cannot change unseen."""
_FEW: Final = 3
"""Values of an enumeration that may be the sexes, `unknown` among them."""
_WORD: Final = 8
"""Characters of a text that may be no more than one word."""


class Residual(Struct, frozen=True, kw_only=True):
    """A partially shown identifier, and how many candidates are left for who sees it."""

    field: str
    """`dataset.field`."""
    tier: str
    purpose: str
    kind: SubjectKind
    treatment: str
    candidates: int


class _Fact(NamedTuple):
    """What a shown cell tells of a person: of one field that it is derived from, or of everybody in the record (empty)."""

    about: str
    what: str
    """`birth`, `sex`, `division`, `first`, `last` of a window, `split` into so many, `whole`."""
    level: int
    source: str


_Known = dict[tuple[str, str], tuple[int, str]]
"""(about, what) → the most that is known, and which field tells it."""


def residuals(
    datasets: Mapping[DatasetId, Dataset], plans: Sequence[Plan], k: int
) -> tuple[list[Residual], list[PolicyError], list[PolicyError]]:
    """The figure of every partially shown identifier; S6 for citizen numbers and phones below K; warnings for the others."""
    found: list[Residual] = []
    errors: list[PolicyError] = []
    warnings: list[PolicyError] = []
    by_tier: dict[str, list[Plan]] = {}
    for plan in plans:
        by_tier.setdefault(plan.tier, []).append(plan)
    for tier, of_tier in by_tier.items():
        for known, members in _reachable(datasets, of_tier):
            for plan in members:
                for name, cell in _partial(datasets[plan.dataset], plan):
                    described = datasets[plan.dataset].fields[name]
                    number, sources = _candidates(described, plan, cell.treatment, known)
                    found.append(
                        Residual(
                            field=f"{plan.dataset}.{name}",
                            tier=tier,
                            purpose=plan.purpose,
                            kind=plan.kind,
                            treatment=describe(cell.treatment),
                            candidates=number,
                        )
                    )
                    if number < k and tier != "subject":
                        exact = described.type in _EXACT
                        (errors if exact else warnings).append(_few(plan, name, cell, number, k, sources))
    found.sort(key=lambda each: (each.field, each.tier, each.purpose, each.kind))
    return found, errors, warnings


def _few(plan: Plan, name: str, cell: Reasons, number: int, k: int, sources: Sequence[str]) -> PolicyError:
    beside = f" beside {', '.join(dict.fromkeys(sources))}" if sources else ""
    whom = f"({plan.tier}, {plan.purpose}, {plan.kind})"
    return PolicyError(
        f"{name} as {describe(cell.treatment)} for {whom}{beside} leaves {number} candidates, fewer than {k}",
        code="policy-S6",
        file=cell.file,
        line=cell.line,
        rule=cell.rule,
        field=name,
        hint="show less of it, or of what stands beside it",
    )


# --- what can be put together -----------------------------------------------------------------------------------------


def _reachable(datasets: Mapping[DatasetId, Dataset], plans: Sequence[Plan]) -> Iterator[tuple[_Known, list[Plan]]]:
    """The plans of one tier in groups that a shared link joins, each with what the group tells."""
    parent: dict[object, object] = {}

    def root(node: object) -> object:
        while parent.setdefault(node, node) != node:
            parent[node] = node = parent[parent[node]]
        return node

    for number, plan in enumerate(plans):
        fields = datasets[plan.dataset].fields
        for step in plan.steps:
            link = fields[step.field].link_key
            treatment = plan.reasons[step.field].treatment
            if link is not None and isinstance(treatment, Clear | Pseudonym):
                parent[root(number)] = root(link if isinstance(treatment, Clear) else f"{link}/{step.field}")
    groups: dict[object, tuple[_Known, list[Plan]]] = {}
    memo: dict[object, tuple[_Fact, ...]] = {}
    for number, plan in enumerate(plans):
        known, members = groups.setdefault(root(number), ({}, []))
        members.append(plan)
        for fact in _facts(datasets[plan.dataset], plan, memo):
            key = (fact.about, fact.what)
            if key not in known or known[key][0] < fact.level:
                known[key] = (fact.level, fact.source)
    yield from groups.values()


def _facts(dataset: Dataset, plan: Plan, memo: dict[object, tuple[_Fact, ...]]) -> Iterator[_Fact]:
    for step in plan.steps:
        cell = plan.reasons[step.field]
        key = (dataset.id, step.field, cell.class_, cell.treatment)
        told = memo.get(key)
        if told is None:
            told = memo[key] = tuple(_facts_of(dataset, dataset.fields[step.field], cell))
        yield from told


def _facts_of(dataset: Dataset, described: Field, cell: Reasons) -> Iterator[_Fact]:
    name, source = described.name, f"{dataset.id}.{described.name}"
    if _identifies(described, cell):
        if isinstance(cell.treatment, Clear):
            yield _Fact(name, "whole", 1, source)
        elif isinstance(cell.treatment, Keep):
            yield _Fact(name, "first", cell.treatment.first, source)
            yield _Fact(name, "last", cell.treatment.last, source)
    for what, level in _told(described, cell):
        for about in described.derived_from or ("",):
            yield _Fact(about, what, level, source)


def _told(described: Field, cell: Reasons) -> Iterator[tuple[str, int]]:
    """What a shown value says of a person: when it was born, which sex it has, where it belongs."""
    base = described.type.partition("(")[0]
    treatment, personal = cell.treatment, cell.class_ in PERSONAL_CLASSES
    derived, clear = bool(described.derived_from), isinstance(cell.treatment, Clear)
    if _may_tell_birth(described, base, personal=personal):
        level = _birth(base, treatment)
        if level:
            yield "birth", level
    elif _may_tell_sex(described, base, personal=personal) and clear:
        yield "sex", 1
    elif base in ("division", "address") and personal:
        if clear:
            yield "division", 6
        elif isinstance(treatment, Generalise) and isinstance(treatment.to, int):
            yield "division", treatment.to
    elif derived and clear:
        if described.values:
            yield f"split {described.name}", len(described.values)
        elif base == "bool":
            yield f"split {described.name}", 2
        elif base not in ("decimal", "division", "address"):
            yield "whole", 1
    elif described.values and personal and clear and described.tells is None:
        yield f"split {described.name}", len(described.values)


def _may_tell_birth(described: Field, base: str, *, personal: bool) -> bool:
    if described.tells is not None:
        return described.tells == "birth"
    return base in ("date", "instant", "int") and (personal or bool(described.derived_from) or _BIRTH.search(described.name) is not None)


def _may_tell_sex(described: Field, base: str, *, personal: bool) -> bool:
    if described.tells is not None or described.derived_from:
        return described.tells == "sex" or (described.tells is None and _SEX.search(described.name) is not None)
    if _SEX.search(described.name):
        return True
    word = base == "string" and described.link_key is None and described.length is not None and described.length <= _WORD
    return personal and (base == "bool" or word or 0 < len(described.values) <= _FEW)


def _birth(base: str, treatment: Treatment) -> int:
    if isinstance(treatment, Clear):
        return _SCALE.index("year" if base == "int" else "date")
    if isinstance(treatment, Generalise):
        return _SCALE.index(str(treatment.to)) if axis(treatment) == "date" else _SCALE.index("decade")
    return 0


# --- how many are left ------------------------------------------------------------------------------------------------

_COUNTED: Final = frozenset({"id_no", "mobile", "phone", "uscc", "reg_no", "org_code", "plate"})


def _identifies(described: Field, cell: Reasons) -> bool:
    """Whether a cell is an identifier of a person or household."""
    return cell.class_ in PERSONAL_CLASSES and (
        described.type in _COUNTED or (described.type == "string" and described.link_key is not None)
    )


_WHOLE_OR_NOTHING: Final = (Drop, Clear, Pseudonym, Redact)
"""Treatments that show no part of an identifier."""


def _partial(dataset: Dataset, plan: Plan) -> Iterator[tuple[str, Reasons]]:
    """The cells that show a part of who somebody is."""
    for step in plan.steps:
        described, cell = dataset.fields[step.field], plan.reasons[step.field]
        if isinstance(cell.treatment, _WHOLE_OR_NOTHING):
            continue
        named = isinstance(cell.treatment, Surname)
        placed = described.type == "address" and isinstance(cell.treatment, Generalise)
        if named or placed or (_identifies(described, cell) and isinstance(cell.treatment, Keep)):
            yield step.field, cell


def _candidates(described: Field, plan: Plan, treatment: Treatment, known: _Known) -> tuple[int, list[str]]:
    """How many are left of one identifier, and the fields that narrow it beside its own window."""
    sources: list[str] = []
    own = f"{plan.dataset}.{described.name}"

    def most(what: str) -> int:
        best = max((known[key] for key in ((described.name, what), ("", what)) if key in known), default=(0, ""))
        if best[0] and best[1] != own and what not in ("first", "last"):
            sources.append(best[1])
        return best[0]

    if most("whole"):
        return 1, sources
    splits = 1
    for (about, what), (level, source) in known.items():
        if what.startswith("split ") and about in (described.name, "") and source != own:
            splits *= level
            sources.append(source)
    birth, sex, division = most("birth"), most("sex"), most("division")
    first, last = (treatment.first, treatment.last) if isinstance(treatment, Keep) else (0, 0)
    first, last = max(first, most("first")), max(last, most("last"))
    if described.type == "id_no":
        return -(-_citizens(first, last, birth, division, sexed=bool(sex)) // splits), sources
    narrowed = BIRTHDAYS // _DAYS[_SCALE[birth]] * (2 if sex else 1) * (DIVISIONS if division >= 6 else 1) * splits
    if isinstance(treatment, Surname) and not (described.type == "subject_name" and plan.kind == "individual_business"):
        return max(1, ADULTS // RARE_SURNAME // narrowed), sources
    if isinstance(treatment, Generalise):
        here = ADULTS // DIVISIONS if treatment.to == 6 else ADULTS
        return max(1, here // (narrowed // (DIVISIONS if division >= 6 else 1))), sources
    return max(1, _codes(described, treatment, first, last)), [] if isinstance(treatment, Surname) else sources


def _citizens(first: int, last: int, birth: int, division: int, *, sexed: bool) -> int:
    """Citizen numbers of one city's adults of which so many first and last characters are known."""
    places = 1 if first >= 6 or division >= 6 else DIVISIONS
    window = 4 if first >= 14 else 3 if first >= 12 else 2 if first >= 10 else 1 if first >= 9 else 0
    days = _DAYS[_SCALE[max(window, birth)]]
    days = max(1, days // _power(10, last - 4))
    unknown = max(0, 3 - max(0, first - 14) - max(0, min(last, 4) - 1))
    numbers = _power(10, unknown)
    if sexed and unknown and last < 2:
        numbers //= 2
    total = places * days * numbers
    return -(-total // 11) if last else total


def _codes(described: Field, treatment: Treatment, first: int, last: int) -> int:
    base = described.type
    if base == "mobile":
        return BLOCKS * _power(10, 4 - last) * _power(10, 3 - first)
    if base == "phone":
        return _power(10, 7 - first - last)
    if base == "plate":
        return VEHICLES // _power(24, first + last - 2)
    here = HOUSEHOLDS if first < 8 and not isinstance(treatment, Surname) else HOUSEHOLDS // DIVISIONS
    if base == "uscc":
        unknown = 8 - max(0, first - 8) - max(0, last - 2)
        return min(here, _power(31, unknown) // (31 if last else 1) // (11 if last > 1 else 1))
    if isinstance(treatment, Surname):
        return here
    length = {"reg_no": 15, "org_code": 9}.get(base, described.length or 18)
    return min(HOUSEHOLDS, _power(10, length - first - last))


def _power(base: int, exponent: int) -> int:
    """A power that is one below its first."""
    return int(base ** max(0, exponent))

"""How two plans of one dataset, tier, purpose and kind differ around their cells: every member of a plan is compared.

Rules: `MEMBERS` says for each member of a plan which way it goes; a member that does not stand there widens when it differs, so that
nothing of a plan can change unseen. What follows from the cells (steps, columns, schema …) is told by the cells that changed; what changed
in it under a cell that did not, widens. This room must not compare cells: `effect` does.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple

import msgspec

from gateway.core.disclosure.directions import Compare, Direction, at_least, at_most, every_ground, more, scale, when
from gateway.core.disclosure.obligations import AUDITS, CACHES
from gateway.core.disclosure.plans import Mode, Plan, Step, Summary
from gateway.core.disclosure.treatments import Clear, Drop
from gateway.core.disclosure.wording import said


class Found(NamedTuple):
    """One member of a plan that is otherwise."""

    area: str
    what: str
    before: str | None
    after: str | None
    direction: Direction


Look = Callable[[Plan, Plan], Iterator[Found]]


def surroundings(was: Plan, now: Plan) -> Iterator[Found]:
    """Every member of a plan that differs from the same plan of another version, but for its cells."""
    for member in Plan.__struct_fields__:
        look = MEMBERS.get(member)
        if look is not None:
            yield from look(was, now)
        elif getattr(was, member) != getattr(now, member):
            yield Found("other", member, None, None, "widens")


# --- members of their own ---------------------------------------------------------------------------------------------

_GATE: Final[Mapping[str, Compare]] = {
    "minors": scale(False, True),
    "vouched_negative": scale(False, True),
    "onward": scale(False, True),
    "flags": more,
    "requires": more,
}
_OWED: Final[Mapping[str, Compare]] = {
    "audit": scale(*reversed(AUDITS)),
    "case_ref": scale("required", "none"),
    "max_rows": at_most,
    "max_rows_day": at_most,
    "min_k": at_least,
    "cache": scale(*reversed(CACHES)),
}
"""What is not named here (another rate class, another licence) is not provably stricter."""
_SHOWN: Final = scale(False, True)


def _nothing(_was: Plan, _now: Plan) -> Iterator[Found]:
    """The same by the key of the plan, or compared as cells and rights."""
    return iter(())


def _within(area: str, member: str, known: Mapping[str, Compare], default: Compare | None = None) -> Look:
    """Look at each member of a Struct; one that is not known widens."""

    def look(was: Plan, now: Plan) -> Iterator[Found]:
        one, other = getattr(was, member), getattr(now, member)
        for name in one.__struct_fields__:
            before, after = getattr(one, name), getattr(other, name)
            if before != after:
                compare = known.get(name, default)
                yield Found(area, name, said(before), said(after), compare(before, after) if compare is not None else "widens")

    return look


def _rows(was: Plan, now: Plan) -> Iterator[Found]:
    if was.rows != now.rows:
        narrows = narrower_rows(msgspec.to_builtins(was.rows), msgspec.to_builtins(now.rows))
        yield Found("rows", "rows", said(was.rows), said(now.rows), when(narrows))


def _budgets(was: Plan, now: Plan) -> Iterator[Found]:
    """A budget ends with the look-up that it is spent for; a look-up without one is none of ours."""
    for name in sorted({*was.budgets, *now.budgets}):
        before, after = was.budgets.get(name), now.budgets.get(name)
        if before != after:
            if after is None:
                direction = when(not now.can(name, "lookup"))
            else:
                direction = when(not was.can(name, "lookup") or (before is not None and after <= before))
            yield Found("budget", name, said(before), said(after), direction)


def _basis(was: Plan, now: Plan) -> Iterator[Found]:
    if was.basis != now.basis:
        grounds, grounds_now = ("、".join(said(ground) for ground in plan.basis) for plan in (was, now))
        yield Found("basis", "rule", grounds, grounds_now, every_ground(was.basis, now.basis))
    rule, rule_now = ({basis.text for basis in plan.basis} for plan in (was, now))
    for name, one in was.reasons.items():
        other = now.reasons.get(name)
        if other is None or isinstance(one.treatment, Drop) or isinstance(other.treatment, Drop):
            continue
        own = tuple(text for text in one.basis if text not in rule)
        own_now = tuple(text for text in other.basis if text not in rule_now)
        if own != own_now:
            yield Found("basis", name, "、".join(own), "、".join(own_now), when(set(own) <= set(own_now)))


def _end(was: Plan, now: Plan) -> Iterator[Found]:
    if was.valid_until != now.valid_until:
        before, after = (moment.isoformat() if moment is not None else None for moment in (was.valid_until, now.valid_until))
        yield Found("end", "valid until", before, after, at_most(was.valid_until, now.valid_until))


def _summary(was: Plan, now: Plan) -> Iterator[Found]:
    """A summary is made of fields shown clear: one that was clear before tells nothing new in it."""
    one, other = was.summary, now.summary
    if one == other:
        return
    if one is None or other is None:
        yield Found("summary", "summary", said(one is not None), said(other is not None), when(other is None))
        return
    for member in Summary.__struct_fields__:
        before, after = getattr(one, member), getattr(other, member)
        if before == after:
            continue
        direction: Direction = "widens"
        if member in _SUMMED:
            direction = when(after is None or _clear(was, after))
        elif member in _OF and getattr(one, _OF[member]) != getattr(other, _OF[member]):
            direction = "neutral"  # words of another field, which is told itself
        elif member == "act":
            direction = "neutral"  # the title of the dataset
        yield Found("summary", member, said(before), said(after), direction)


_SUMMED: Final = frozenset({"kind_field", "amount_field", "date_field"})
_OF: Final = {"kind_words": "kind_field", "amount_bands": "amount_field", "amount_unit": "amount_field"}


def _clear(plan: Plan, name: str) -> bool:
    return name in plan.reasons and isinstance(plan.reasons[name].treatment, Clear)


def _personal(was: Plan, now: Plan) -> Iterator[Found]:
    """A plan ceases to be personal with what it showed of persons, not otherwise."""
    if was.personal and not now.personal and all(_same_cell(was, now, name) for name in was.reasons):
        yield Found("plan", "personal", "true", "false", "widens")


# --- what follows from the cells --------------------------------------------------------------------------------------


def _same_cell(was: Plan, now: Plan, name: str) -> bool:
    one, other = was.reasons.get(name), now.reasons.get(name)
    return one is not None and other is not None and one.treatment == other.treatment


def _unlike(member: str, wider: Callable[[Plan, Plan, str], bool]) -> Look:
    """Look for fields whose cell is the same, and which this member nevertheless makes more of."""

    def look(was: Plan, now: Plan) -> Iterator[Found]:
        for name in now.reasons:
            if _same_cell(was, now, name) and wider(was, now, name):
                yield Found("shape", f"{member} {name}", None, None, "widens")

    return look


def _stands(member: str) -> Callable[[Plan, Plan, str], bool]:
    return lambda was, now, name: name in getattr(now, member) and name not in getattr(was, member)


def _rights(was: Plan, now: Plan, name: str) -> bool:
    gained = now.capabilities.get(name, frozenset()) - was.capabilities.get(name, frozenset())
    return not gained <= set(now.reasons[name].capabilities) - set(was.reasons[name].capabilities)


def _step(was: Plan, now: Plan, name: str) -> bool:
    before, after = _steps(was).get(name), _steps(now).get(name)
    if after is None:
        return False
    if before is None or (before.mode, before.hold) != (after.mode, after.hold):
        return True
    return before.option != after.option and not (after.mode == Mode.HOUSEHOLD and before.option)


def _steps(plan: Plan) -> dict[str, Step]:
    return {step.field: step for step in plan.steps}


def _schema(was: Plan, now: Plan, name: str) -> bool:
    """How long a text may be and what it is called are told of the field itself."""
    shapes = [plan.schema["properties"].get(name) for plan in (was, now)]
    before, after = ({key: shape[key] for key in shape if key not in ("title", "maxLength")} if shape else None for shape in shapes)
    return after is not None and before != after


MEMBERS: Final[Mapping[str, Look]] = {
    **dict.fromkeys(("dataset", "tier", "purpose", "kind", "reasons", "plan_hash"), _nothing),
    "columns": _unlike("columns", _stands("columns")),
    "texts": _unlike("texts", _stands("texts")),
    "steps": _unlike("steps", _step),
    "treatments": _unlike("treatments", lambda was, now, name: was.treatments.get(name) != now.treatments.get(name)),
    "capabilities": _unlike("capabilities", _rights),
    "schema": _unlike("schema", _schema),
    "gate": _within("gate", "gate", _GATE),
    "envelope": _within("envelope", "envelope", {}, _SHOWN),
    "summary": _summary,
    "personal": _personal,
    "obligations": _within("obligation", "obligations", _OWED),
    "budgets": _budgets,
    "rows": _rows,
    "basis": _basis,
    "valid_until": _end,
}


def narrower_rows(before: object, after: object) -> bool:
    """Whether a row rule is, as it is written, the old one AND something: each of its conditions still stands. None: all rows."""
    return _conjuncts(before) <= _conjuncts(after)


def _conjuncts(rule: object) -> frozenset[str]:
    """The conditions that must all hold, each as canonical text."""
    if rule is None:
        return frozenset()
    members = rule.get("parts") if isinstance(rule, dict) and rule.get("type") == "all" else None
    if members is None and isinstance(rule, dict) and len(rule) == 1:
        members = rule.get("all")
    if isinstance(members, list | tuple):
        return frozenset().union(*(_conjuncts(member) for member in members))
    return frozenset({said(rule)})

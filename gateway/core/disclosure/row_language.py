"""The gate language: which rows of a dataset a rule reaches, as a closed little language over fields and attributes (policy.md §6).

Rules: `all any not eq ne lt le gt ge between in within is_null`, nothing else: no SQL text, no patterns. An empty `any` is FALSE, an
empty `all` is an error. A name that stands nowhere is an error; an attribute without a value makes its atom FALSE; NULL matches
nothing but `is_null`. `not` stands over one atom alone, of a `required` field; it is TRUE only where field and attribute have values
and the atom is FALSE, so that what is missing never opens. Compiled twice: here to a predicate, in `store/row_gates` to SQL; both
agree on every row. `row_rules` reads what people write. This room must not see a record.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, reduce
from typing import Final, Literal

from msgspec import Struct

from gateway.core.records.divisions import covers
from gateway.core.records.model import Value

ENVELOPE: Final[Mapping[str, str]] = {"region": "division", "owner_org": "uscc", "subject": "subject", "theme": "enum"}
"""Names beside a dataset's own fields, with their types. `region`: division of the deciding authority. `owner_org`: the deciding
authority, or the sender where none is named. `subject`: id of the subject. `theme`: the field of that name; where a dataset has none it
has no value."""

ATTRIBUTES: Final[Mapping[str, tuple[str, bool]]] = {
    "$org.id": ("org_id", False),
    "$org.unit": ("org_unit", False),
    "$grant.regions": ("grant_regions", True),
    "$grant.themes": ("grant_themes", True),
    "$subject.key": ("subject_key", False),
}
"""The closed registry: attribute → (member of `Attributes`, whether it is a list)."""


class Attributes(Struct, frozen=True, kw_only=True, cache_hash=True):
    """What a caller brings to the gates, from credential and grant; None and the empty list are no value."""

    org_id: str | None = None
    org_unit: str | None = None
    grant_regions: tuple[str, ...] = ()
    grant_themes: tuple[str, ...] = ()
    subject_key: str | None = None


NOBODY: Final = Attributes()
"""Every atom with an attribute is FALSE."""


class Attribute(Struct, frozen=True, tag="attribute"):
    """A reference to an attribute by its name in the registry."""

    name: str


Scalar = str | int | bool
Kind = Literal["text", "number", "truth"]
"""How a value is held; part of every atom, so that 1 and true never meet."""
CompareOp = Literal["eq", "ne", "lt", "le", "gt", "ge"]


class Compare(Struct, frozen=True, tag="compare"):
    """`eq ne lt le gt ge`: a field against a literal or an attribute; ordered only where values have an order."""

    op: CompareOp
    field: str
    kind: Kind
    to: Scalar | Attribute


class Between(Struct, frozen=True, tag="between"):
    """A field from a first to a last value, both included."""

    field: str
    kind: Kind
    low: str | int
    high: str | int


class Member(Struct, frozen=True, tag="in"):
    """A field whose value is one of some."""

    field: str
    kind: Kind
    of: tuple[Scalar, ...] | Attribute


class Within(Struct, frozen=True, tag="within"):
    """A division that lies in one of some: `XX0000` takes its province in, `XXYY00` its city, anything else only itself."""

    field: str
    of: tuple[str, ...] | Attribute


class IsNull(Struct, frozen=True, tag="is_null"):
    """A field without a value."""

    field: str


Atom = Compare | Between | Member | Within | IsNull


class Not(Struct, frozen=True, tag="not"):
    """An atom that is FALSE although everything it asks for has a value."""

    atom: Atom


class All(Struct, frozen=True, tag="all"):
    """Every part; never empty."""

    parts: "tuple[RowRule, ...]"


class AnyOf(Struct, frozen=True, tag="any"):
    """One part at least; FALSE when empty."""

    parts: "tuple[RowRule, ...]"


RowRule = Compare | Between | Member | Within | IsNull | Not | All | AnyOf


def written(rule: RowRule) -> str:
    """The rule as a policy file writes it, to be read beside one: `{ within = ["region", "$grant.regions"] }`; a day stands in quotes."""
    match rule:
        case All(parts) | AnyOf(parts):
            word, operand = ("all" if isinstance(rule, All) else "any"), f"[{', '.join(map(written, parts))}]"
        case Not(atom):
            word, operand = "not", written(atom)
        case IsNull(field):
            word, operand = "is_null", _literal(field)
        case Between(field, _, low, high):
            word, operand = "between", _literal((field, low, high))
        case Compare(op, field, _, to):
            word, operand = op, _literal((field, to))
        case Member(field, _, of):
            word, operand = "in", _literal((field, of))
        case Within(field, of):
            word, operand = "within", _literal((field, of))
    return f"{{ {word} = {operand} }}"


def _literal(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_literal, value))}]"
    return json.dumps(value.name if isinstance(value, Attribute) else value, ensure_ascii=False)


def atoms(rule: RowRule) -> Iterator[Atom]:
    """Every atom of a rule, in order."""
    if isinstance(rule, All | AnyOf):
        for part in rule.parts:
            yield from atoms(part)
    else:
        yield rule.atom if isinstance(rule, Not) else rule


def fields_of_rule(rule: RowRule) -> frozenset[str]:
    """The names of a record that a rule asks for, those of the envelope included."""
    return frozenset(atom.field for atom in atoms(rule))


def attributes_of_rule(rule: RowRule) -> frozenset[str]:
    """The attributes that a rule asks for."""
    asked = (atom.to if isinstance(atom, Compare) else atom.of for atom in atoms(rule) if isinstance(atom, Compare | Member | Within))
    return frozenset(each.name for each in asked if isinstance(each, Attribute))


# --- evaluation --------------------------------------------------------------------------------------------------------

Holds = Callable[[Mapping[str, Value]], bool]


def value_of(attribute: Attribute, attributes: Attributes) -> str | tuple[str, ...] | None:
    """The value of an attribute; None where it has none."""
    found: str | tuple[str, ...] | None = getattr(attributes, ATTRIBUTES[attribute.name][0])
    return found or None


def stem(division: str) -> str:
    """The digits that everything within a division begins with; empty for what is no division."""
    if not covers(division, division):
        return ""
    return division[:2] if division.endswith("0000") else division[:4] if division.endswith("00") else division


def allows(rule: RowRule, values: Mapping[str, Value], attributes: Attributes) -> bool:
    """Whether a rule reaches a row with these values (fields, and the names of the envelope), for a caller with these attributes."""
    return predicate(rule, attributes)(values)


@lru_cache(maxsize=1024)
def predicate(rule: RowRule, attributes: Attributes) -> Holds:
    """A rule as a function of a row's values; remembered, for rules and callers are few."""
    if isinstance(rule, All):
        return reduce(_both, [predicate(part, attributes) for part in rule.parts])
    if isinstance(rule, AnyOf):
        some = tuple(predicate(part, attributes) for part in rule.parts)
        return lambda values: any(holds(values) for holds in some)
    if isinstance(rule, Not):
        return _not(rule.atom, attributes)
    return _atom(rule, attributes)


def _never(_values: Mapping[str, Value]) -> bool:
    return False


def _both(first: Holds, second: Holds) -> Holds:
    return lambda values: first(values) and second(values)


def is_open_for(atom: Atom, attributes: Attributes) -> bool:
    """Whether the attribute of an atom, if it asks for one, has a value."""
    asked = atom.to if isinstance(atom, Compare) else atom.of if isinstance(atom, Member | Within) else None
    return not isinstance(asked, Attribute) or value_of(asked, attributes) is not None


def _not(atom: Atom, attributes: Attributes) -> Holds:
    if not is_open_for(atom, attributes):
        return _never
    holds, name = _atom(atom, attributes), atom.field
    return lambda values: values.get(name) is not None and not holds(values)


def _atom(atom: Atom, attributes: Attributes) -> Holds:  # one return an operator
    name = atom.field
    if isinstance(atom, IsNull):
        return lambda values: values.get(name) is None
    if not is_open_for(atom, attributes):
        return _never
    if isinstance(atom, Between):
        low, high = atom.low, atom.high
        return lambda values: _ordered(values.get(name), low, "ge") and _ordered(values.get(name), high, "le")
    if isinstance(atom, Compare):
        to = value_of(atom.to, attributes) if isinstance(atom.to, Attribute) else atom.to
        if atom.op == "eq":
            return lambda values: _same(values.get(name), to)
        if atom.op == "ne":
            return lambda values: type(values.get(name)) is type(to) and values.get(name) != to
        op = atom.op
        return lambda values: _ordered(values.get(name), to, op)
    found = value_of(atom.of, attributes) if isinstance(atom.of, Attribute) else atom.of
    of = found if isinstance(found, tuple) else ()
    if isinstance(atom, Member):
        return lambda values: any(_same(values.get(name), each) for each in of)
    stems = tuple(filter(None, (stem(str(each)) for each in of)))
    return lambda values: _lies_in(values.get(name), stems)


def _same(value: Value, other: object) -> bool:
    """Equality within one type: true is not 1."""
    return type(value) is type(other) and value == other


def _ordered(value: Value, other: object, op: str) -> bool:
    if isinstance(value, str) and isinstance(other, str):
        return _compared(value, other, op)
    if type(value) is int and type(other) is int:
        return _compared(value, other, op)
    return False


def _compared(value: str | int, other: str | int, op: str) -> bool:
    if op in ("lt", "ge"):
        below: bool = value < other  # type: ignore[operator]  # both of one type, as just seen
        return below if op == "lt" else not below
    above: bool = value > other  # type: ignore[operator]  # both of one type, as just seen
    return above if op == "gt" else not above


def _lies_in(value: Value, stems: tuple[str, ...]) -> bool:
    return isinstance(value, str) and len(value) == 6 and value.startswith(stems)

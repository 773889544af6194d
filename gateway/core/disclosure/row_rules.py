"""Reads the `rows` of a rule: from plain TOML values to a frozen rule of the gate language (`row_language`), or an error.

Rules: strict: an unknown operator, name or attribute, a wrong type, a value outside a closed list, an empty `all` are errors that name
the path (`rows.all[0].within`) and never repeat a value. A field that is stored as ciphertext for a kind of the rule, free text, an
amount and a field of several values cannot be asked. What does not parse is `policy-parse`; a well-formed name that stands
nowhere is `policy-S10`. File and line are added by who knows them.
"""

from collections.abc import Collection, Mapping
from datetime import UTC, date, datetime
from typing import Final

from gateway.core.disclosure.row_language import (
    ATTRIBUTES,
    ENVELOPE,
    NOBODY,
    All,
    AnyOf,
    Atom,
    Attribute,
    Attributes,
    Between,
    Compare,
    CompareOp,
    IsNull,
    Kind,
    Member,
    Not,
    RowRule,
    Scalar,
    Within,
    allows,
    attributes_of_rule,
    fields_of_rule,
)
from gateway.core.errors import PolicyError
from gateway.core.records.divisions import covers
from gateway.core.records.model import SUBJECT_KINDS, Field, SubjectKind
from gateway.core.records.sealed import is_sealed

__all__ = [
    "ATTRIBUTES",
    "ENVELOPE",
    "NOBODY",
    "Attributes",
    "RowRule",
    "allows",
    "attributes_of_rule",
    "fields_of_rule",
    "read_row_rule",
]

MAX_DEPTH: Final = 8
MAX_PARTS: Final = 64
_COMPARE: Final[Mapping[str, CompareOp]] = {"eq": "eq", "ne": "ne", "lt": "lt", "le": "le", "gt": "gt", "ge": "ge"}
_OPERATORS: Final = ("all", "any", "not", *_COMPARE, "between", "in", "within", "is_null")
_ORDERED: Final = frozenset({"int", "date", "instant"})
_NEVER_ASKED: Final = frozenset({"decimal", "address", "email", "phone"})
_HINT: Final = 'for example { within = ["region", "$grant.regions"] }; policies/README.md has the whole language'


def read_row_rule(
    value: object, fields: Mapping[str, Field], kinds: Collection[SubjectKind] = SUBJECT_KINDS, *, path: str = "rows"
) -> RowRule:
    """The rule that a policy file writes under `path`, over the fields of its dataset and for its kinds of subject.

    Raises PolicyError policy-parse or policy-S10, with the path in `field`.
    """
    return _Reader(fields, kinds).rule(value, path, 0)


class _Reader:
    """What reading one rule needs."""

    def __init__(self, fields: Mapping[str, Field], kinds: Collection[SubjectKind]) -> None:
        self._fields = fields
        self._kinds = kinds

    def rule(self, value: object, path: str, depth: int) -> RowRule:
        """One rule: a table with exactly one operator."""
        if depth > MAX_DEPTH:
            raise _parse(f"rules are nested at most {MAX_DEPTH} deep", path)
        if not isinstance(value, Mapping) or len(value) != 1:
            raise _parse("a rule is a table with exactly one operator", path)
        ((op, operand),) = value.items()
        path = f"{path}.{op}"
        if op not in _OPERATORS:
            raise _parse(f"there is no such operator; one of {', '.join(_OPERATORS)}", path)
        if op in ("all", "any"):
            if not isinstance(operand, list):
                raise _parse(f"`{op}` takes a list of rules", path)
            if len(operand) > MAX_PARTS:
                raise _parse(f"at most {MAX_PARTS} parts", path)
            parts = tuple(self.rule(each, f"{path}[{number}]", depth + 1) for number, each in enumerate(operand))
            if op == "all" and not parts:
                raise _parse("an empty `all` would be true for every row", path)
            return All(parts) if op == "all" else AnyOf(parts)
        if op == "not":
            return self._not(operand, path, depth)
        return self._atom(op, operand, path)

    def _not(self, operand: object, path: str, depth: int) -> Not:
        inner = self.rule(operand, path, depth + 1)
        if isinstance(inner, All | AnyOf | Not):
            raise _parse("`not` stands over one atom only", path)
        described = self._fields.get(inner.field)
        required = inner.field in ("region", "subject") or (inner.field not in ENVELOPE and described is not None and described.required)
        if inner.field == "theme":
            required = described is not None and described.required
        if not required:
            raise _parse("`not` stands only over fields that are `required`", path)
        return Not(inner)

    def _atom(self, op: str, operand: object, path: str) -> Atom:
        if op == "is_null":
            if not isinstance(operand, str):
                raise _parse("`is_null` takes the name of a field", path)
            self._type(operand, path)
            return IsNull(operand)
        count = 3 if op == "between" else 2
        if not isinstance(operand, list) or len(operand) != count or not isinstance(operand[0], str):
            raise _parse(f"`{op}` takes a list of a field and {'two values' if count == 3 else 'what it is compared with'}", path)
        name = operand[0]
        type_ = self._type(name, path)
        if op == "between":
            low, high = (self._literal(each, name, type_, path) for each in operand[1:])
            if type_ not in _ORDERED:
                raise _parse("only whole numbers, dates and instants have an order", path)
            if isinstance(low, str) != isinstance(high, str) or low > high:  # type: ignore[operator]  # both of the field's one type
                raise _parse("the first value is not above the last", path)
            return Between(name, _kind(type_), low, high)
        if op in ("in", "within"):
            return self._membership(op, name, type_, operand[1], path)
        return self._compare(_COMPARE[op], name, type_, operand[1], path)

    def _compare(self, op: CompareOp, name: str, type_: str, to: object, path: str) -> Compare:
        if op not in ("eq", "ne") and type_ not in _ORDERED:
            raise _parse("only whole numbers, dates and instants have an order", path)
        if isinstance(to, str) and to.startswith("$"):
            return Compare(op, name, _kind(type_), self._attribute(to, type_, path, many=False))
        return Compare(op, name, _kind(type_), self._literal(to, name, type_, path))

    def _membership(self, op: str, name: str, type_: str, of: object, path: str) -> Member | Within:
        if op == "within" and type_ != "division":
            raise _parse("`within` asks for a division", path)
        if isinstance(of, str) and of.startswith("$"):
            attribute = self._attribute(of, type_, path, many=True)
            return Member(name, _kind(type_), attribute) if op == "in" else Within(name, attribute)
        if not isinstance(of, list) or not of or len(of) > MAX_PARTS:
            raise _parse(f"`{op}` takes a list of 1 to {MAX_PARTS} values, or an attribute that is a list", path)
        values = tuple(self._literal(each, name, type_, path) for each in of)
        if len(set(values)) < len(values):
            raise _parse("a value stands twice", path)
        return Member(name, _kind(type_), values) if op == "in" else Within(name, tuple(str(each) for each in values))

    def _attribute(self, name: str, type_: str, path: str, *, many: bool) -> Attribute:
        held = ATTRIBUTES.get(name)
        if held is None:
            raise _unknown(f"there is no such attribute; one of {', '.join(ATTRIBUTES)}", path)
        if held[1] != many:
            raise _parse("`in` and `within` take an attribute that is a list, the other operators one that is none", path)
        if _kind(type_) != "text" or type_ in ("date", "instant"):
            raise _parse("attributes are words: this field holds none", path)
        return Attribute(name)

    def _type(self, name: str, path: str) -> str:
        """The base type of a name, if a gate may ask for it."""
        described = self._fields.get(name)
        if name in ENVELOPE and (name != "theme" or described is None):
            return ENVELOPE[name]
        if described is None:
            raise _unknown("there is no such field in this dataset", path)
        type_ = described.type.partition("(")[0]
        if any(is_sealed(described, kind) for kind in self._kinds):
            raise _parse("this field is stored encrypted for a kind of this rule: a gate cannot ask for it", path)
        if type_ in _NEVER_ASKED or described.multiple:
            raise _parse("amounts, contacts and fields of several values cannot be asked by a gate", path)
        return type_

    def _literal(self, value: object, name: str, type_: str, path: str) -> Scalar:
        """A literal of the field's type, in the form in which values are held."""
        if isinstance(value, str) and value.startswith("$"):
            raise _parse("an attribute cannot stand here", path)
        if type_ == "bool":
            if isinstance(value, bool):
                return value
        elif type_ == "int":
            if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**18:
                return value
        elif type_ == "date":
            if isinstance(value, date) and not isinstance(value, datetime):
                return value.isoformat()
        elif type_ == "instant":
            if isinstance(value, datetime) and value.tzinfo is not None:
                return value.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        elif isinstance(value, str) and 0 < len(value) <= 200:
            return self._word(value, name, type_, path)
        raise _parse(f"this is no value of type {type_}", path)

    def _word(self, value: str, name: str, type_: str, path: str) -> str:
        described = self._fields.get(name)
        if type_ == "division" and not covers(value, value):
            raise _parse("a division code has six digits", path)
        if type_ == "enum" and described is not None and described.values and value not in described.values:
            raise _parse("this is no value of the field's closed list", path)
        return value


def _kind(type_: str) -> Kind:
    return "number" if type_ == "int" else "truth" if type_ == "bool" else "text"


def _parse(detail: str, path: str) -> PolicyError:
    return PolicyError(detail, field=path, hint=_HINT)


def _unknown(detail: str, path: str) -> PolicyError:
    return PolicyError(detail, code="policy-S10", field=path, hint=_HINT)

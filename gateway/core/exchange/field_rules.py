"""What an agreed field takes: its types, and what is wrong with a value (exchange.md §3).

This room must not know a record.
"""

import re
from collections.abc import Callable
from functools import partial

from msgspec import Struct

from gateway.core.disclosure import masking
from gateway.core.errors import ExchangeError
from gateway.core.exchange.agreed_terms import FieldTerms
from gateway.core.exchange.disclosures import CLEAR_MEMBERS, MAX_VALUE_BYTES
from gateway.core.exchange.wire import MAX_INTEGER, parse_date
from gateway.core.records.identifiers import citizen_check_character, uscc_is_valid
from gateway.core.records.model import Value

Check = Callable[[Value], str | None]
"""Code of what is wrong with a value, or None."""

_DECIMAL_TYPE = re.compile(r"decimal\(([1-9][0-9]?),([0-9][0-9]?)\)\Z")
_DECIMAL = re.compile(r"-?(0|[1-9][0-9]*)(?:\.([0-9]+))?\Z")
_ID = re.compile(r"[0-9]{17}[0-9X]\Z")
_TWINS = (
    re.compile(r"(surname)"),
    re.compile(r"(keep)\([0-9]{1,2},[0-9]{1,2}\)"),
    re.compile(r"(generalise)\((?:month|year)\)"),
)
_TWINS_OF = {
    "surname": frozenset({"person_name"}),
    "keep": frozenset({"string", "text", "person_name", "uscc", "id_no"}),
    "generalise": frozenset({"date"}),
}
"""Which types a treatment knows how to show in part (§22)."""
TEXT_TYPES = frozenset({"string", "text", "person_name"})
_SIMPLE_TYPES = TEXT_TYPES | {"uscc", "id_no", "date", "integer", "boolean", "enum"}


def field_fault(field: FieldTerms) -> str | None:
    """What is wrong with the terms of a field."""
    decimal = _DECIMAL_TYPE.match(field.type)
    if decimal is None and field.type not in _SIMPLE_TYPES:
        return f"there is no field type {field.type!r}"
    if decimal is not None and int(decimal[2]) > int(decimal[1]):
        return "a decimal has more places than digits"
    if field.type == "enum" and not field.values:
        return "an enum names its values"
    if field.values and field.type != "enum":
        return "only an enum names values"
    if field.type in TEXT_TYPES and field.length is None:
        return "a text has a length"
    if field.name in CLEAR_MEMBERS:
        return "a field may not take the name of a clear member of the payload, which says it already"
    return next(filter(None, (_twin_fault(field, treatment) for treatment in field.twins)), None)


def _twin_fault(field: FieldTerms, treatment: str) -> str | None:
    """What is wrong with one form in which a field is sealed beside itself (§22)."""
    name = next((match for pattern in _TWINS if (match := pattern.fullmatch(treatment))), None)
    if name is None:
        return f"there is no twin {treatment!r}: surname, keep(first,last), generalise(month) or generalise(year)"
    if field.type not in _TWINS_OF[name[1]]:
        return f"a field of type {field.type} has no twin {treatment}"
    if field.twins.count(treatment) > 1:
        return f"the twin {treatment} is named twice"
    return None


class Twin(Struct, frozen=True, kw_only=True):
    """One further form in which a field is sealed, which whoever has the whole value recomputes."""

    name: str
    """`CF_FRDB#surname`."""
    field: str
    treat: Callable[[Value], Value]


def twins_of(field: FieldTerms) -> tuple[Twin, ...]:
    """The twins of an agreed field."""
    return tuple(
        Twin(name=f"{field.name}#{each}", field=field.name, treat=partial(masking.twin, masking.parse_twin(each), field.type))
        for each in field.twins
    )


def check_of(field: FieldTerms) -> Check:
    """The check of a value of an agreed field (§3) that is not null."""
    decimal = _DECIMAL_TYPE.match(field.type)
    if decimal is not None:
        digits, places = int(decimal[1]), int(decimal[2])
        return lambda value: _decimal(value, digits, places)
    match field.type:
        case "uscc":
            return _uscc
        case "id_no":
            return _citizen_id
        case "date":
            return _date
        case "integer":
            return lambda value: None if type(value) is int and abs(value) <= MAX_INTEGER else "SCHEMA_TYPE"
        case "boolean":
            return lambda value: None if type(value) is bool else "SCHEMA_TYPE"
        case "enum":
            allowed = frozenset(field.values)
            return lambda value: "SCHEMA_TYPE" if not isinstance(value, str) else None if value in allowed else "SCHEMA_ENUM"
        case _:
            length = field.length or 0
            return lambda value: "SCHEMA_TYPE" if not isinstance(value, str) else _too_long(value, length)


def plain_length(field: FieldTerms) -> int:
    """So many characters a text of this field may have without a look at its bytes."""
    return min(field.length or 0, MAX_VALUE_BYTES // 4)


def twin_check(value: Value) -> str | None:
    """Whether a twin is a text; that it is the right one is seen beside its field."""
    return None if isinstance(value, str) else "SCHEMA_TYPE"


def _too_long(value: str, length: int) -> str | None:
    size = len(value)
    return "SCHEMA_LENGTH" if size > length or (size > MAX_VALUE_BYTES // 4 and len(value.encode()) > MAX_VALUE_BYTES) else None


def _decimal(value: Value, digits: int, places: int) -> str | None:
    match = _DECIMAL.match(value) if isinstance(value, str) else None
    if match is None:
        return "SCHEMA_TYPE"
    fraction = match[2] or ""
    return "SCHEMA_LENGTH" if len(fraction) > places or len(match[1]) + len(fraction) > digits else None


def _uscc(value: Value) -> str | None:
    if not isinstance(value, str):
        return "SCHEMA_TYPE"
    return None if uscc_is_valid(value) else "SUBJ_USCC"


def _citizen_id(value: Value) -> str | None:
    if not isinstance(value, str):
        return "SCHEMA_TYPE"
    return None if _ID.match(value) and citizen_check_character(value[:17]) == value[17] else "SUBJ_ID"


def _date(value: Value) -> str | None:
    try:
        if isinstance(value, str):
            parse_date(value, "SCHEMA_TYPE")
            return None
    except ExchangeError:
        pass
    return "SCHEMA_TYPE"

"""What the cells of a flat column are: the types that Parquet and XLSX files give them (api.md §1.3).

Rules: a type follows from dictionary and plans alone, never from a value, so that a file says nothing by its types; a column that is of
two types under two plans, or that a treatment shows coarser than its dictionary says, is text. Codes, divisions and everything else
that only looks like a number are text. A value is read back from the one form that it has from intake to every exit. This room
must not know how a file is written.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from gateway.core.disclosure.plans import Plan, PlanSet
from gateway.core.publication.flat import FlatValue

ColumnType = Literal["text", "date", "instant", "integer", "boolean", "decimal"]
Cell = str | int | bool | date | datetime | Decimal | None
"""A typed value; None is null, which is no empty text."""

MOST_DIGITS: Final = 38
"""Of a decimal in a file: what 128 bits hold."""
_FIELD: Final = "fields_"
_COUNT: Final = "record_counts_"


class Column(Struct, frozen=True):
    """One column: its name, and what stands in its cells."""

    name: str
    type: ColumnType = "text"
    digits: int = 0
    """Of a decimal: all of them, as in `decimal(18,6)`."""
    places: int = 0


def spelled(column: Column) -> str:
    """A column with its type, in a word without commas."""
    more = f":{column.digits}:{column.places}" if column.type == "decimal" else ""
    return column.name if column.type == "text" else f"{column.name}:{column.type}{more}"


@lru_cache(4096)
def column_of(text: str) -> Column:
    """The column behind a word; there are as many as the datasets have, and every request for a version reads some fifty."""
    name, *said = text.split(":")
    if not said:
        return Column(name)
    kind, *numbers = said
    return Column(name, msgspec.convert(kind, ColumnType), *(int(number) for number in numbers))


def fitting(columns: Sequence[Column], rows: Iterable[Mapping[str, FlatValue]]) -> tuple[Column, ...]:
    """The same columns, but text where a value of these rows is not of its column."""
    broken: set[str] = set()
    for row in rows:
        for column in columns:
            if column.type != "text" and column.name not in broken and not _fits(column, row.get(column.name)):
                broken.add(column.name)
    return tuple(Column(column.name) if column.name in broken else column for column in columns)


def _fits(column: Column, value: FlatValue) -> bool:
    try:
        cell = cell_of(column, value)
    except (ValueError, ArithmeticError):
        return False
    if not isinstance(cell, Decimal):
        return not isinstance(cell, int) or -(2**63) <= cell < 2**63
    return cell.is_finite() and cell == round(cell, column.places) and abs(cell) < Decimal(10) ** (column.digits - column.places)


_ENVELOPE: Final[Mapping[str, ColumnType]] = {
    "published_from": "date",
    "publish_until": "date",
    "source_received_at": "instant",
    "seq": "integer",
    "policy_version": "integer",
}
_OF_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "decision_date": ("decision_date",),
    "listed_on": ("listed_on", "decision_date"),
    "established_on": ("established_on",),
}
"""Columns of the envelope that show what fields say."""


def typed(names: Sequence[str], sets: Iterable[PlanSet]) -> tuple[Column, ...]:
    """The columns of these names, for rows shown under these plans."""
    shown: dict[str, list[Column]] = {}
    for held in sets:
        for name in held.shown:
            for plan in held.plans.values():
                if name in plan.schema["properties"]:
                    shown.setdefault(name, []).append(_as_shown(name, held, plan))
    return tuple(_column(name, shown) for name in names)


def _column(name: str, shown: Mapping[str, list[Column]]) -> Column:
    if name in _ENVELOPE:
        return Column(name, _ENVELOPE[name])
    if name.startswith(_COUNT):
        return Column(name, "integer")
    if name in _OF_FIELDS:
        return _one(name, [each for field in _OF_FIELDS[name] for each in shown.get(field, ())])
    return _one(name, shown.get(name.removeprefix(_FIELD), ())) if name.startswith(_FIELD) else Column(name)


def _as_shown(name: str, held: PlanSet, plan: Plan) -> Column:
    """A field as one plan shows it, read from the schema that the plan publishes of it."""
    shape: Mapping[str, Any] = plan.schema["properties"][name]
    kinds = shape["type"] if isinstance(shape["type"], list) else [shape["type"]]
    if "boolean" in kinds:
        return Column(name, "boolean")
    if "integer" in kinds:
        return Column(name, "integer")
    if "format" in shape:
        return Column(name, "date" if shape["format"] == "date" else "instant")
    described = held.described[name].type if name in held.described else "string"
    if described.startswith("decimal(") and name not in plan.treatments:
        digits, places = described[len("decimal(") : -1].split(",")
        return Column(name, "decimal", int(digits), int(places))
    return Column(name)


def _one(name: str, ways: Iterable[Column]) -> Column:
    """One column for all ways in which its values are shown."""
    ways = list(ways)
    types = {each.type for each in ways}
    if len(types) != 1:
        return Column(name)
    (kind,) = types
    places = max(each.places for each in ways)
    digits = max(each.digits - each.places for each in ways) + places
    if kind == "decimal" and digits > MOST_DIGITS:
        return Column(name)
    return Column(name, kind, digits, places) if kind == "decimal" else Column(name, kind)


def cell_of(column: Column, value: FlatValue) -> Cell:
    """A flat value as its column types it.

    Raises ValueError for a value that is not of its column: a file that is wrong is never finished.
    """
    if value is None:
        return None
    kind = column.type
    if kind == "text":
        return value if isinstance(value, str) else ("true" if value else "false") if isinstance(value, bool) else str(value)
    if isinstance(value, (bool, int)):
        if (kind == "boolean") != isinstance(value, bool) or kind not in ("boolean", "integer"):
            raise ValueError("a value is not of its column")
        return value
    if kind == "date":
        return date.fromisoformat(value)
    if kind == "instant":
        return datetime.fromisoformat(value).astimezone(UTC)
    if kind == "decimal":
        return Decimal(value)
    raise ValueError("a value is not of its column")

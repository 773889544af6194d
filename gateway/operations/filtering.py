"""What the database decides of a walk, and what is decided on the shown document.

Rules: a condition or order on a column of the read model is the database's; any other is decided on the document, so it can only ever
see what is shown. Null matches `isnull` only; decimals compare as numbers, regions take in what lies in them. This room must not
decide which filters a caller has: the planner did.
"""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import Any

from msgspec import Struct

from gateway.core.disclosure.query import Filter, Query
from gateway.core.publication.excerpts import excerpt_of
from gateway.core.publication.forms import kind_of_form
from gateway.core.records.divisions import covers
from gateway.core.records.model import SUBJECT_KINDS
from gateway.operations.answering import DOCUMENT, ENCODER, Scene
from gateway.store.conditions import Condition, Order

Document = dict[str, Any]
Predicate = Callable[[Document], bool]
Sorting = tuple[tuple[str, bool], ...]
"""(dotted path, descending), at most two; the id always follows."""

_COLUMNS: Mapping[str, str] = {
    "dataset": "dataset", "kind": "category", "region": "region", "source": "source", "severity": "severity",
    "decision_date": "decision_date", "published_from": "published_from", "list": "list", "listed_on": "listed_on", "marks": "marks",
}  # fmt: skip
_SORTED_COLUMNS = frozenset({"decision_date", "published_from", "listed_on", "region", "severity"})
_LIVE_COLUMNS: Mapping[str, str] = {"dataset": "dataset", "kind": "category", "list": "list"}


class Plan(Struct, frozen=True, kw_only=True):
    """A planned walk: what the database decides, and what is decided on the document."""

    conditions: tuple[Condition, ...]
    predicates: tuple[Predicate, ...]
    order: tuple[Order, ...]
    sorting: Sorting
    """Not empty: an order that only the documents know; then `order` is by id."""
    listing: bool = False
    looks_at: tuple[str, ...] | None = None
    """What of a document the predicates ask for: only this is read; None: all of it."""


def path_value(document: Mapping[str, Any], name: str) -> Any:
    """The shown value of a filter name: an envelope key, `subject.…`, or a field of the dataset; None where it is not shown."""
    if name == "marks":
        return [mark["code"] for mark in document.get("marks", ())]
    if name == "source":
        return document["source"].get("uscc")
    if name in ("name", "uscc"):
        return document["subject"].get(name) if "subject" in document else document.get(name)
    if "." in name:
        head, _, rest = name.partition(".")
        inner = document.get(head)
        return inner.get(rest) if isinstance(inner, Mapping) else None
    if name in document and name not in ("fields", "treatments", "links", "basis"):
        return document[name]
    fields = document.get("fields")
    return fields.get(name) if isinstance(fields, Mapping) else None


def predicate(condition: Filter, type_: str = "string") -> Predicate:
    """A condition as a function of a shown document; null matches `isnull` only."""
    name, op, values = condition.field, condition.op, condition.values
    number = type_.startswith("decimal") or type_ == "int"

    def plain(value: Any) -> Any:
        if number and value is not None:
            try:
                return Decimal(str(value))
            except InvalidOperation:
                return None
        return value

    wanted = [plain(value) for value in values]

    def holds(document: Document) -> bool:
        found = path_value(document, name)
        if op == "isnull":
            return (found is None or found == []) == (values[0] in (True, "true", "1"))
        if found is None:
            return False
        if isinstance(found, list):
            return any(value in found for value in wanted)
        if name == "region" or type_ == "division":
            return any(covers(str(value), str(found)) for value in values)
        shown = plain(found)
        if op in ("eq", "in"):
            parts = str(found).split(";") if type_ == "enum" and isinstance(found, str) else ()
            return shown in wanted or any(part in wanted for part in parts)
        if op == "prefix":
            return any(str(found).startswith(str(value)) for value in values)
        if op == "contains":
            return any(str(value) in str(found) for value in values)
        if shown is None or wanted[0] is None:
            return False
        first = wanted[0]
        return bool(shown >= first if op == "gte" else shown > first if op == "gt" else shown <= first if op == "lte" else shown < first)

    return holds


def _division_bounds(value: str) -> tuple[str, str]:
    stem = value[:2] if value.endswith("0000") else value[:4] if value.endswith("00") else value
    return stem, stem[:-1] + chr(ord(stem[-1]) + 1)


def condition_of(filter_: Filter, column: str) -> Condition | None:
    """A filter as a condition of the database; None when only the document can tell."""
    values = tuple(str(value) for value in filter_.values)
    if filter_.op == "isnull":
        return Condition(column=column, op="isnull" if filter_.values[0] in (True, "true", "1") else "notnull")
    if column == "region":
        if filter_.op not in ("eq", "in"):
            return None
        return Condition(column=column, op="prefix", values=tuple(bound for value in values for bound in _division_bounds(value)))
    if column == "marks":
        return Condition(column=column, op="marked", values=values) if filter_.op in ("eq", "in") else None
    if filter_.op in ("eq", "in"):
        return Condition(column=column, op="in" if len(values) > 1 else "eq", values=values)
    if filter_.op in ("gte", "gt", "lte", "lt") and len(values) == 1:
        return Condition(column=column, op=filter_.op, values=values)
    return None


def plan_walk(scene: Scene, query: Query, types: Mapping[str, str], *, fixed: Sequence[Condition] = (), listing: bool = False) -> Plan:
    """Which conditions and orders the database decides, and which the shown document."""
    columns = _COLUMNS if scene.public else _LIVE_COLUMNS
    conditions, predicates, paths = list(fixed), [], set[str]()
    for each in query.filters:
        column = columns.get(each.field)
        condition = condition_of(each, column) if column is not None else None
        if condition is not None:
            conditions.append(condition)
            continue
        type_ = types.get(each.field, "string")
        predicates.append(predicate(each, type_))
        paths |= _paths(each.field)
        if scene.public and not listing and (hint := _hint(each, type_)) is not None:
            conditions.append(hint)
    if set(query.kinds) != set(SUBJECT_KINDS):  # a filter reaches only the kinds for which it is allowed
        bulk = Condition(column="bulk", op="eq")
        if scene.public and query.kinds == ("legal",):
            conditions.append(bulk)
        elif bulk not in fixed or "legal" not in query.kinds:  # in bulk there are organisations alone
            predicates.append(partial(_of_kinds, frozenset(query.kinds)))
            paths.add("subject")
    by_column = scene.public and all(name in _SORTED_COLUMNS for name, _ in query.sort)
    return Plan(
        conditions=tuple(dict.fromkeys(conditions)),
        predicates=tuple(predicates),
        order=tuple(Order(column=_COLUMNS[name], descending=down) for name, down in query.sort) if by_column else (),
        sorting=() if by_column else query.sort,
        listing=listing,
        looks_at=tuple(sorted(paths)),
    )


_ENVELOPE = frozenset(
    {"name", "uscc", "document_number", "decision_date", "severity", "marks", "source", "region", "kind", "dataset", "list"}
)
_WHOLE = frozenset({"string", "subject_name", "uscc", "reg_no", "org_code", "date", "enum"})


def _hint(each: Filter, type_: str) -> Condition | None:
    """Bytes that a rendering must hold to meet a filter by whole values: the database looks, the document still decides."""
    if each.op not in ("eq", "in") or type_ not in _WHOLE or each.field in _ENVELOPE:
        return None
    if type_ == "enum":  # one of several codes may be meant
        return Condition(column="body", op="holds", values=tuple(str(value).encode() for value in each.values))
    return Condition(
        column="body", op="holds", values=tuple(b'"%b":%b' % (each.field.encode(), ENCODER.encode(str(value))) for value in each.values)
    )


def _of_kinds(kinds: frozenset[str], document: Document) -> bool:
    return kind_of_form(document["subject"]["kind"]) in kinds


_DOCUMENT_NAMES = {column: name for name, column in _COLUMNS.items()}


def meets(condition: Condition, document: Document) -> bool:
    """Whether a document made anew still meets a condition that the database decided on its old rendering."""
    if condition.column in ("bulk", "subject_id", "body"):
        return True
    found = path_value(document, _DOCUMENT_NAMES[condition.column])
    values = condition.values
    if condition.op == "isnull":
        return found is None
    if condition.op == "notnull":
        return found is not None
    if found is None:
        return False
    if condition.op == "marked":
        return any(value in found for value in values)
    if condition.op == "prefix":
        return any(values[n] <= found < values[n + 1] for n in range(0, len(values), 2))
    if condition.op in ("eq", "in"):
        return found in values
    first = values[0]
    compared = {"gte": found >= first, "gt": found > first, "lte": found <= first, "lt": found < first}
    return bool(compared[condition.op])


def _paths(name: str) -> set[str]:
    """Where `path_value` looks for a filter name."""
    if name in ("name", "uscc"):
        return {"subject", name}
    return {name} if "." in name or name in ("marks", "source") else {name, f"fields.{name}"}


def passes(plan: Plan, body: bytes) -> bool:
    """Whether a shown document meets the conditions that the database could not decide."""
    document = DOCUMENT.decode(body) if plan.looks_at is None else excerpt_of(plan.looks_at).read(body)
    return all(holds(document) for holds in plan.predicates)

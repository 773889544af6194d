"""Reads a question: filters, order, size and chosen fields, as far as the caller's plans allow them (api.md §1.1).

Rules:
- a field may be filtered or sorted only by whoever sees it clear, and the answer is narrowed to the kinds of subject for which that
  holds (`Query.kinds`); fields about persons never are.
- a hidden field and a name that never existed give the same `UnknownParameter`, equal but for the name that the caller sent.
- fields of a dataset can be named only when the question is about exactly one dataset.
- every bound is kept here: 20 filters, 50 values each, 200 characters a value, two sort keys, 100 rows a page.
- no error repeats a value.

This room must not fetch anything: it gives a frozen `Query`, and what reads it decides how.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Final, Literal

import msgspec
from msgspec import Struct

from gateway.core.disclosure.plans import FieldInfo, PlanSet
from gateway.core.errors import ErrorItem, InvalidParameter, UnknownParameter
from gateway.core.records.model import SUBJECT_KINDS, SubjectKind, Value

__all__ = ["FieldInfo", "Filter", "Op", "Query", "facets_of", "plan_query", "question", "unknown"]

MAX_FILTERS: Final = 20
MAX_VALUES: Final = 50
MAX_LENGTH: Final = 200
MAX_SORT: Final = 2
MAX_FIELDS: Final = 100
MAX_LIMIT: Final = 100
DEFAULT_LIMIT: Final = 20
MAX_QUESTION: Final = 128

Op = Literal["eq", "in", "gte", "gt", "lte", "lt", "prefix", "contains", "isnull"]
OPS: Final[Mapping[str, Op]] = {
    "gte": "gte",
    "gt": "gt",
    "lte": "lte",
    "lt": "lt",
    "prefix": "prefix",
    "contains": "contains",
    "isnull": "isnull",
}

_ORDERED: Final = frozenset({"date", "instant", "decimal", "int"})
_PREFIXED: Final = frozenset({"string", "subject_name", "division", "uscc", "reg_no", "org_code", "uri"})
_CONTAINED: Final = frozenset({"string", "subject_name"})
_FILTERS: Final = re.compile(r"([a-z][a-z0-9_]*?)(?:__(gte|gt|lte|lt|prefix|contains|isnull))?")


class Filter(Struct, frozen=True, kw_only=True):
    """One condition; `eq` has one value, `in` several, `isnull` True or False."""

    field: str
    op: Op
    values: tuple[Value, ...]


class Query(Struct, frozen=True, kw_only=True):
    """A question that this caller may ask."""

    filters: tuple[Filter, ...] = ()
    sort: tuple[tuple[str, bool], ...] = ()
    """(name, descending); the opaque id always comes last."""
    fields: tuple[str, ...] = ()
    """Dotted paths of a sparse answer; empty: everything."""
    limit: int | None = DEFAULT_LIMIT
    """None: all rows."""
    q: str | None = None
    kinds: tuple[SubjectKind, ...] = SUBJECT_KINDS
    """The answer holds rows of these kinds only: those whose plan allows every filter."""


def plan_query(params: Mapping[str, str], plan_sets: Sequence[PlanSet], envelope: Mapping[str, FieldInfo]) -> Query:
    """The question in these parameters, each given once.

    `envelope` names the values beside the dataset's own fields; `q` may be asked where it stands in it. Raises UnknownParameter for
    whatever this caller has no right to name, InvalidParameter for broken bounds and values.
    """
    infos = _infos(_scope(params, plan_sets), envelope)
    filters: list[Filter] = []
    kinds: tuple[SubjectKind, ...] = SUBJECT_KINDS
    for name, text in params.items():
        if name in _RESERVED and (name != "q" or "q" in envelope):
            continue
        info, filter_ = _filter(name, text, infos)
        filters.append(filter_)
        kinds = tuple(kind for kind in kinds if kind in info.kinds)
    if len(filters) > MAX_FILTERS:
        raise _invalid("filters", f"最多 {MAX_FILTERS} 个筛选条件。")
    q = question(params["q"]) if "q" in params else None
    sort = _sort(params.get("sort"), infos)
    if q is not None and sort:
        raise _invalid("sort", "有 q 时按相关度排序，不能指定 sort。")
    return Query(
        filters=tuple(filters),
        sort=sort,
        fields=_fields(params.get("fields"), plan_sets, envelope),
        limit=_limit(params.get("limit")),
        q=q,
        kinds=kinds,
    )


def facets_of(params: Mapping[str, str], plan_sets: Sequence[PlanSet], envelope: Mapping[str, FieldInfo]) -> dict[str, FieldInfo]:
    """What may be counted by distinct values in the answer to these parameters: of the kinds for which a plan allows it."""
    return {name: info for name, info in _infos(_scope(params, plan_sets), envelope).items() if "facet" in info.query}


_RESERVED: Final = frozenset({"limit", "sort", "fields", "q"})


def _scope(params: Mapping[str, str], plan_sets: Sequence[PlanSet]) -> Sequence[PlanSet]:
    """The plan sets that the question is about."""
    named = params.get("dataset")
    if named is None:
        return plan_sets
    wanted = set(named.split(","))
    return [held for held in plan_sets if held.dataset in wanted] if len(wanted) == 1 else plan_sets


def _infos(scope: Sequence[PlanSet], envelope: Mapping[str, FieldInfo]) -> dict[str, FieldInfo]:
    """What may be asked: the envelope's names, and the fields of the one dataset in question as its plans allow them.

    A name that is both follows the dataset's plans, so that a field hidden there cannot be felt for through the envelope.
    """
    if len(scope) != 1:
        return dict(envelope)
    held = scope[0]
    return {name: info for name, info in envelope.items() if name not in held.described or name in held.asked} | {
        name: msgspec.structs.replace(info, type=envelope[name].type, values=envelope[name].values) if name in envelope else info
        for name, info in held.asked.items()
    }


def _filter(name: str, text: str, infos: Mapping[str, FieldInfo]) -> tuple[FieldInfo, Filter]:
    found = _FILTERS.fullmatch(name)
    info = infos.get(found[1]) if found is not None else None
    if found is None or info is None or "filter" not in info.query:
        raise unknown(name)
    op = OPS.get(found[2]) if found[2] is not None else None
    base = info.type.partition("(")[0]
    if op in ("gte", "gt", "lte", "lt"):
        if base not in _ORDERED:
            raise unknown(name)
        return info, Filter(field=found[1], op=op, values=(_value(name, text, info),))
    if op == "isnull":
        if text not in ("true", "false"):
            raise _invalid(name, "取值为 true 或 false。")
        return info, Filter(field=found[1], op=op, values=(text == "true",))
    if (op == "prefix" and base not in _PREFIXED) or (op == "contains" and base not in _CONTAINED):
        raise unknown(name)
    texts = members(name, text, MAX_VALUES)
    if op is not None:
        return info, Filter(field=found[1], op=op, values=tuple(_plain(name, each) for each in texts))
    values = tuple(_value(name, each, info) for each in texts)
    return info, Filter(field=found[1], op="eq" if len(values) == 1 else "in", values=values)


def _plain(name: str, text: str) -> str:
    if not text or len(text) > MAX_LENGTH:
        raise _invalid(name, f"每个取值为 1 至 {MAX_LENGTH} 个字符。")
    return text


_DECIMAL: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,29})(?:\.[0-9]{1,18})?")
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_INT: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
_DIVISION: Final = re.compile(r"[1-9][0-9]{5}")


def _value(name: str, text: str, info: FieldInfo) -> Value:
    """One value of the field's type, in the form in which values are held."""
    _plain(name, text)
    base = info.type.partition("(")[0]
    if info.values and text not in info.values:
        if name == "dataset":  # one that there is and that this purpose does not reach is answered alike
            raise _invalid(name, "没有这个数据集，或者它不在此使用目的的范围之内。")
        raise _invalid(name, "不是该字段的取值。")
    if base == "date":
        return _day(name, text)
    if base == "instant":
        return _instant(name, text)
    if base == "decimal":
        if _DECIMAL.fullmatch(text) is None:
            raise _invalid(name, "应为十进制数。")
    elif base == "int":
        if _INT.fullmatch(text) is None:
            raise _invalid(name, "应为整数。")
        return int(text)
    elif base == "bool":
        if text not in ("true", "false"):
            raise _invalid(name, "取值为 true 或 false。")
        return text == "true"
    elif base == "division" and _DIVISION.fullmatch(text) is None:
        raise _invalid(name, "应为六位行政区划代码。")
    return text


def _day(name: str, text: str) -> str:
    try:
        if _DATE.fullmatch(text):
            return date.fromisoformat(text).isoformat()
    except ValueError:
        pass
    raise _invalid(name, "应为日期，例如 2026-03-02。")


def _instant(name: str, text: str) -> str:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise _invalid(name, "应为带时区的时刻，例如 2026-03-02T00:00:00Z。") from None
    if moment.tzinfo is None:
        raise _invalid(name, "应为带时区的时刻，例如 2026-03-02T00:00:00Z。")
    return text


def question(text: str) -> str:
    """A text that is looked for, as it was typed.

    Raises InvalidParameter for an empty one and for more than 128 characters.
    """
    if not text.strip() or len(text) > MAX_QUESTION:
        raise _invalid("q", f"应为 1 至 {MAX_QUESTION} 个字符。")
    return text


def _limit(text: str | None) -> int | None:
    if text is None:
        return DEFAULT_LIMIT
    if text == "all":
        return None
    if _INT.fullmatch(text) is None or not 1 <= int(text) <= MAX_LIMIT:
        raise _invalid("limit", f"应为 1 至 {MAX_LIMIT} 的整数，或者 all。")
    return int(text)


def _sort(text: str | None, infos: Mapping[str, FieldInfo]) -> tuple[tuple[str, bool], ...]:
    if text is None:
        return ()
    sort = []
    for key in members("sort", text, MAX_SORT):
        name = key.removeprefix("-")
        info = infos.get(name)
        if info is None or "sort" not in info.query:
            raise unknown("sort")
        sort.append((name, key.startswith("-")))
    if len({name for name, _ in sort}) < len(sort):  # once up and once down
        raise _invalid("sort", "排序字段不能重复。")
    return tuple(sort)


def _fields(text: str | None, plan_sets: Iterable[PlanSet], envelope: Mapping[str, FieldInfo]) -> tuple[str, ...]:
    if text is None:
        return ()
    paths = members("fields", text, MAX_FIELDS)
    shown = {name for held in plan_sets for name in held.shown}
    shown |= {"summary" for held in plan_sets if any(plan.summary is not None for plan in held.plans.values())}
    for path in paths:
        head, _, tail = path.partition(".")
        if path not in envelope and not (head == "fields" and tail in shown):
            raise unknown("fields")
    return paths


def members(name: str, text: str, most: int) -> tuple[str, ...]:
    """What stands between the commas of a parameter that takes several, each once.

    Raises InvalidParameter for an empty one, one that stood before, and more than so many.
    """
    found = tuple(text.split(","))
    if len(found) > most:
        raise _invalid(name, f"最多 {most} 个取值。")
    for at, each in enumerate(found):
        if not each:
            raise _invalid(name, f"第 {at + 1} 个取值是空的。")
        if each in found[:at]:
            raise _invalid(name, f"第 {at + 1} 个取值与前面的重复。")
    return found


def unknown(name: str) -> UnknownParameter:
    """The one answer to every name that this caller may not use, hidden or never heard of."""
    detail = "没有这个参数，或者不能这样使用。"
    return UnknownParameter(detail, place=name, errors=(ErrorItem("unknown", detail, parameter=name),))


def _invalid(name: str, detail: str) -> InvalidParameter:
    return InvalidParameter(detail, place=name, errors=(ErrorItem("invalid", detail, parameter=name),))

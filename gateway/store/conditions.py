"""Conditions and orders of walks over the read model, as statements whose text depends on their shape alone.

Rules: values are always bound, never part of a statement's text, so that a statement is compiled once for each shape; an order always
ends in the opaque id, so that a walk can stand on its keys. This room must not know what a column means.
"""

from collections.abc import Sequence
from typing import Any, Literal

import sqlalchemy as sa
from msgspec import Struct
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

Op = Literal["eq", "in", "gte", "gt", "lte", "lt", "prefix", "isnull", "notnull", "marked", "holds"]
Payload = Literal["body", "listing", "flat", "listing_flat"]
Column = str


class Condition(Struct, frozen=True, kw_only=True):
    """One condition on a filter column; its values are bound, its shape decides the statement."""

    column: Column
    op: Op
    values: tuple[str | bytes, ...] = ()


class Order(Struct, frozen=True, kw_only=True):
    """One sort key; the opaque id always follows."""

    column: Column
    descending: bool = False


class _Holds(FunctionElement[int]):
    """Where some bytes stand in other bytes, counted from 1; 0: nowhere."""

    name = "holds"
    inherit_cache = True
    type = sa.Integer()


@compiles(_Holds, "sqlite")
def _holds_sqlite(element: _Holds, compiler: SQLCompiler, **words: Any) -> str:
    return f"instr({compiler.process(element.clauses, **words)})"


@compiles(_Holds, "postgresql")
def _holds_postgresql(element: _Holds, compiler: SQLCompiler, **words: Any) -> str:
    column, wanted = element.clauses
    return f"position({compiler.process(wanted, **words)} IN {compiler.process(column, **words)})"


def bound(column: sa.ColumnElement[Any], op: Op, place: int, count: int) -> sa.ColumnElement[bool]:
    """A condition on a column, with parameters v<place>_<n>."""

    def value(n: int = 0) -> sa.BindParameter[str]:
        return sa.bindparam(f"v{place}_{n}", type_=sa.Text())

    if op == "holds":
        return sa.or_(*(_Holds(column, sa.bindparam(f"v{place}_{n}", type_=sa.LargeBinary())) > 0 for n in range(count)))
    if op == "eq":
        return column == value()
    if op == "in":
        return sa.or_(*(column == value(n) for n in range(count)))
    if op == "gte":
        return column >= value()
    if op == "gt":
        return column > value()
    if op == "lte":
        return sa.and_(column <= value(), column != "")
    if op == "lt":
        return sa.and_(column < value(), column != "")
    if op == "prefix":  # each value comes with its upper bound
        return sa.or_(*(sa.and_(column >= value(2 * n), column < value(2 * n + 1)) for n in range(count // 2)))
    if op == "isnull":
        return sa.or_(column.is_(None), column == "")
    if op == "notnull":
        return sa.and_(column.is_not(None), column != "")
    wrapped = sa.literal("|") + column + sa.literal("|")
    return sa.or_(*(wrapped.contains(sa.literal("|") + value(n) + sa.literal("|")) for n in range(count)))


def parameters(conditions: Sequence[Condition]) -> dict[str, str | bytes]:
    """The values of conditions, by the names that their statement binds."""
    return {f"v{place}_{n}": value for place, condition in enumerate(conditions) for n, value in enumerate(condition.values)}


def keyset(order: Sequence[tuple[sa.ColumnElement[Any], bool]], back: bool) -> sa.ColumnElement[bool]:
    """Rows strictly after the keys k0, k1, … in an order whose last key is unique."""
    steps: list[sa.ColumnElement[bool]] = []
    for place, (column, descending) in enumerate(order):
        key = sa.bindparam(f"k{place}", type_=sa.Text())
        beyond = column < key if descending != back else column > key
        before = [each == sa.bindparam(f"k{n}", type_=sa.Text()) for n, (each, _) in enumerate(order[:place])]
        steps.append(sa.and_(*before, beyond))
    first, descending = order[0]
    bound = sa.bindparam("k0", type_=sa.Text())
    # says again what the steps imply, so that an index on the first key is walked from there
    return sa.and_(first <= bound if descending != back else first >= bound, sa.or_(*steps))


def shape_of(conditions: Sequence[Condition]) -> tuple[tuple[Column, Op, int], ...]:
    """Everything about conditions but their values."""
    return tuple((each.column, each.op, len(each.values)) for each in conditions)

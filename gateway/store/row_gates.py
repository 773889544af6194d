"""The gate language as SQL: which rows a caller may see, decided in the same statement that finds them (policy.md §6, channel 14).

Rules: an expression here agrees with `core/disclosure/row_language` on every row, on both databases: every atom is
`COALESCE(…, FALSE)`, texts are compared byte by byte, and what is of another type than the field's matches nothing. Values of a
dataset are read from the JSON of what stands in clear; a sealed one cannot be asked for. A caller's attributes are bound values,
so statements may be remembered. This room must not decide which rule governs.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import sqlalchemy as sa
from msgspec import Struct
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from gateway.core.disclosure.row_language import (
    All,
    AnyOf,
    Atom,
    Attribute,
    Attributes,
    Between,
    Compare,
    IsNull,
    Kind,
    Member,
    Not,
    RowRule,
    Within,
    is_open_for,
    stem,
    value_of,
)
from gateway.core.records.model import SubjectKind
from gateway.store.tables import feed_left, records

_x, _l = records.c, feed_left.c


class Reach(Struct, frozen=True, kw_only=True):
    """A part of the records: of one dataset and some kinds of subject, the rows that a rule reaches for a caller; no rule: all."""

    dataset: str
    kinds: tuple[SubjectKind, ...]
    rule: RowRule | None
    attributes: Attributes


class _Json(FunctionElement[Any]):
    """A member of the JSON object in a column, as text; NULL where it is of another JSON type than the wanted one."""

    inherit_cache = False
    name = "json_member"
    type = sa.Text()

    def __init__(self, document: sa.ColumnElement[Any], member: str, kind: Kind) -> None:
        super().__init__(document)
        self.member = member
        self.kind = kind


_SQLITE_TYPES: Final[Mapping[Kind, str]] = {"text": "('text')", "number": "('integer')", "truth": "('true', 'false')"}
_POSTGRESQL_TYPES: Final[Mapping[Kind, str]] = {"text": "string", "number": "number", "truth": "boolean"}


def _quoted(member: str) -> str:
    """A member's name inside SQL text: dataset files allow plain names only, and nothing else comes here."""
    if not (member.isascii() and member.replace("_", "").isalnum()):
        raise ValueError("a field's name is plain")
    return member


@compiles(_Json, "sqlite")
def _json_sqlite(element: _Json, compiler: SQLCompiler, **words: Any) -> str:
    text, path = f"CAST({compiler.process(element.clauses, **words)} AS TEXT)", f"'$.{_quoted(element.member)}'"
    kind = f"json_type({text}, {path})"
    shown = kind if element.kind == "truth" else f"json_extract({text}, {path})"
    return f"CASE WHEN {kind} IN {_SQLITE_TYPES[element.kind]} THEN {shown} END"


@compiles(_Json, "postgresql")
def _json_postgresql(element: _Json, compiler: SQLCompiler, **words: Any) -> str:
    document, member = f"convert_from({compiler.process(element.clauses, **words)}, 'UTF8')::json", f"'{_quoted(element.member)}'"
    shown = f"({document} ->> {member})" + ("::bigint" if element.kind == "number" else "")
    collated = "" if element.kind == "number" else ' COLLATE "C"'
    return f"(CASE WHEN json_typeof({document} -> {member}) = '{_POSTGRESQL_TYPES[element.kind]}' THEN {shown} END){collated}"


class _Bytewise(FunctionElement[Any]):
    """A text column compared byte by byte, whatever the database's own order is."""

    inherit_cache = True
    name = "bytewise"
    type = sa.Text()


@compiles(_Bytewise, "sqlite")
def _bytewise_sqlite(element: _Bytewise, compiler: SQLCompiler, **words: Any) -> str:
    return compiler.process(element.clauses, **words)


@compiles(_Bytewise, "postgresql")
def _bytewise_postgresql(element: _Bytewise, compiler: SQLCompiler, **words: Any) -> str:
    return f'({compiler.process(element.clauses, **words)} COLLATE "C")'


class Place:
    """Where a gate finds what it asks for: in a row of `records`, or in what is kept of how a record lay."""

    __slots__ = ("columns", "dataset", "document", "kind")

    def __init__(
        self,
        *,
        dataset: sa.ColumnElement[Any],
        kind: sa.ColumnElement[Any],
        document: sa.ColumnElement[Any],
        columns: Mapping[str, sa.ColumnElement[Any]],
    ) -> None:
        self.dataset = dataset
        self.kind = kind
        self.document = document
        """JSON object of the values in clear."""
        self.columns = {name: _Bytewise(column) for name, column in columns.items()}
        """Names that are no fields of a dataset."""


RECORDS: Final = Place(
    dataset=_x.dataset,
    kind=_x.kind,
    document=_x.clear,
    columns={"region": _x.region, "owner_org": sa.func.coalesce(_x.authority_code, _x.sender), "subject": _x.subject_id},
)
"""A record as it stands."""
LEFT: Final = Place(
    dataset=_l.dataset,
    kind=_l.kind,
    document=_l.gated,
    columns={"region": _l.region, "owner_org": _l.owner, "subject": sa.cast(sa.null(), sa.Text())},
)
"""A record as it lay before; the subject, who alone is asked for, has no feed."""


@lru_cache(maxsize=512)
def expression(rule: RowRule, attributes: Attributes, at: Place = RECORDS) -> sa.ColumnElement[bool]:
    """A rule as a condition on a place; never NULL."""
    if isinstance(rule, All):
        return sa.and_(*(expression(part, attributes, at) for part in rule.parts))
    if isinstance(rule, AnyOf):
        return sa.or_(sa.false(), *(expression(part, attributes, at) for part in rule.parts))
    if isinstance(rule, Not):
        if not is_open_for(rule.atom, attributes):
            return sa.false()
        return sa.and_(sa.not_(_is_null(rule.atom.field, at)), sa.not_(_atom(rule.atom, attributes, at)))
    return _atom(rule, attributes, at)


@lru_cache(maxsize=512)
def reached(reaches: tuple[Reach, ...], at: Place = RECORDS) -> sa.ColumnElement[bool]:
    """Whether a row lies in one of these parts; FALSE for none."""
    return sa.or_(sa.false(), *(_part(each, at) for each in reaches))


def _part(reach: Reach, at: Place) -> sa.ColumnElement[bool]:
    here: list[sa.ColumnElement[bool]] = [at.dataset == reach.dataset, sa.or_(*(at.kind == kind for kind in reach.kinds))]
    if reach.rule is not None:
        here.append(expression(reach.rule, reach.attributes, at))
    return sa.and_(*here)


def _kind_of(atom: Atom) -> Kind:
    return atom.kind if isinstance(atom, Compare | Between | Member) else "text"


def _column(name: str, kind: Kind, at: Place) -> sa.ColumnElement[Any]:
    return at.columns[name] if name in at.columns else _Json(at.document, name, kind)


def _atom(atom: Atom, attributes: Attributes, at: Place) -> sa.ColumnElement[bool]:
    if isinstance(atom, IsNull):
        return _is_null(atom.field, at)
    if not is_open_for(atom, attributes):
        return sa.false()
    column = _column(atom.field, _kind_of(atom), at)
    if isinstance(atom, Between):
        return _sure(sa.and_(column >= _bound(atom.low), column <= _bound(atom.high)))
    if isinstance(atom, Compare):
        to = value_of(atom.to, attributes) if isinstance(atom.to, Attribute) else atom.to
        return _sure(_OPERATORS[atom.op](column, _bound(to)))
    found = value_of(atom.of, attributes) if isinstance(atom.of, Attribute) else atom.of
    of: Sequence[Any] = found if isinstance(found, tuple) else ()
    if isinstance(atom, Member):
        return _sure(sa.or_(sa.false(), *(column == _bound(each) for each in of)))
    return _within(atom, column, of)


def _within(atom: Within, column: sa.ColumnElement[Any], of: Sequence[Any]) -> sa.ColumnElement[bool]:
    stems = [digits for digits in (stem(str(each)) for each in of) if digits]
    lies = sa.or_(sa.false(), *(sa.func.substr(column, 1, len(digits)) == _bound(digits) for digits in stems))
    return _sure(sa.and_(sa.func.length(column) == 6, lies))


def _is_null(name: str, at: Place) -> sa.ColumnElement[bool]:
    """Whether a name has no value of any type."""
    if name in at.columns:
        return at.columns[name].is_(None)
    return sa.and_(*(_Json(at.document, name, kind).is_(None) for kind in _SQLITE_TYPES))


_OPERATORS: Final[Mapping[str, Callable[[Any, Any], sa.ColumnElement[bool]]]] = {
    "eq": lambda column, value: column == value,
    "ne": lambda column, value: column != value,
    "lt": lambda column, value: column < value,
    "le": lambda column, value: column <= value,
    "gt": lambda column, value: column > value,
    "ge": lambda column, value: column >= value,
}


def _bound(value: Any) -> sa.BindParameter[Any]:
    if isinstance(value, bool):
        return sa.literal("true" if value else "false", sa.Text())
    return sa.literal(value, sa.BigInteger() if isinstance(value, int) else sa.Text())


def _sure(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    return sa.func.coalesce(condition, sa.false())

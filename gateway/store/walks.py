"""Walks over the read model: records, listings and subjects in pages, exports, counts and facets; what bound plan sets were told.

Rules: every row says whether it may be shown as it stands (`fresh`; in exports by an id where it may not). Depth costs nothing: a page
begins at keys. Short statements on indexed columns are read in the event loop, everything else off it. This room must not make a stale
row fresh.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from functools import lru_cache
from typing import Any, Final, cast

import sqlalchemy as sa
from msgspec import Struct, structs

from gateway.store.conditions import Column, Condition, Op, Order, Payload, bound, keyset, parameters, shape_of
from gateway.store.dialects import among
from gateway.store.reads import Made, SqliteReads
from gateway.store.renderings import SUBJECT, log_position
from gateway.store.row_gates import Reach, reached
from gateway.store.store import Reads, Row
from gateway.store.tables import changes, feed_rows, records, rendered_records, rendered_subjects, subjects

_d, _x, _r, _s = rendered_records.c, records.c, rendered_subjects.c, subjects.c


class Shape(Struct, frozen=True, kw_only=True):
    """Everything about a page statement but its values."""

    conditions: tuple[tuple[Column, Op, int], ...]
    order: tuple[Order, ...]
    after: bool
    back: bool
    payload: Payload
    probe: bool
    """Ask each row's record (pages); else look once through the changes after the reader (exports)."""
    document: bool = False
    """The document beside the payload, for conditions that only it decides."""
    by_id: bool = False
    """Walk in order of id, whatever other index would find the rows too."""


def _dirty(probe: bool) -> sa.ColumnElement[bool]:
    """Whether the record has changed since its rendering was made."""
    if probe:
        return sa.exists().where(records.c.record_id == _d.record_id, records.c.changed_seq > log_position)
    return _d.record_id.in_(sa.select(changes.c.record_id).where(changes.c.seq > log_position))


def fresh(*, probe: bool = False) -> sa.ColumnElement[bool]:
    """Whether a rendering may be shown as it stands under `plan`, at `now`."""
    return sa.and_(
        _d.plan == sa.bindparam("plan"),
        _d.valid_from <= sa.bindparam("now"),
        _d.valid_until > sa.bindparam("now"),
        sa.not_(_dirty(probe)),
    )


def fresh_flag(probe: bool) -> sa.ColumnElement[int]:
    """1 when the rendering may be shown as it stands."""
    return sa.case((fresh(probe=probe), 1), else_=0).label("fresh")


def _held() -> sa.ColumnElement[str | None]:
    """The id of a record whose rendering may not be shown as it stands; of the many that may, nothing."""
    return sa.case((fresh(), sa.null()), else_=_d.record_id).label("held")


@lru_cache(maxsize=512)
def _page(shape: Shape) -> sa.Select[Any]:
    keys: list[tuple[sa.ColumnElement[Any], bool]] = [
        (sa.func.coalesce(_d[each.column], "") if each.column in _NULLABLE else _d[each.column], each.descending) for each in shape.order
    ]
    keys.append((_d.record_id, False))
    statement = sa.select(
        *((_d.record_id, fresh_flag(True)) if shape.probe else (_held(),)),
        _d[shape.payload].label("payload"),
        *([_d.seq, *(column.label(f"k{n}") for n, (column, _) in enumerate(keys))] if shape.probe else []),
        *([_d.body.label("document")] if shape.document else []),
    ).where(_d.added_seq <= sa.bindparam("snapshot"))
    for place, (column, op, count) in enumerate(shape.conditions):
        compared = _d[column].concat("") if shape.by_id and column == _DATED else _d[column]
        statement = statement.where(bound(compared, op, place, count) if column != "bulk" else _d.bulk.is_(sa.true()))
    if shape.after:
        statement = statement.where(keyset(keys, shape.back))
    statement = statement.order_by(*(column.desc() if descending != shape.back else column.asc() for column, descending in keys))
    return statement.limit(sa.bindparam("limit")) if shape.probe else statement


@lru_cache(maxsize=256)
def _in_order(shape: Shape) -> sa.Select[Any]:
    """An export of SQLite's in an order that the read model has no index for: keys alone are put in order, rows are read one by one.

    Nothing that is put in order goes to a file (see `dialects`), so it has to be little. The limit, which is none, keeps the inner
    statement by itself and in its order; the outer join follows it.
    """
    rows = sa.literal_column("rendered_records.rowid", sa.Integer)
    inner = _page(shape).with_only_columns(rows.label("at"), maintain_column_froms=True).limit(-1).subquery("sorted")
    return sa.select(
        _held(),
        _d[shape.payload].label("payload"),
        *([_d.body.label("document")] if shape.document else []),
    ).select_from(inner.outerjoin(rendered_records, inner.c.at == rows))


_NULLABLE = frozenset({"severity", "source", "list"})
_INDEXED = frozenset({"dataset", "list", "subject_id", "bulk"})
_SHORT = 101
"""Rows of the largest page, and the one that tells of more."""


def _shape(conditions: Sequence[Condition], order: Sequence[Order], *, after: bool, back: bool, payload: Payload, probe: bool) -> Shape:
    return Shape(
        conditions=shape_of(conditions),
        order=tuple(order),
        after=after,
        back=back,
        payload=payload,
        probe=probe,
    )


_DATED: Final = "decision_date"
_SORTED: Final = 5000
"""So many rows are found by their day and put in order of id; more are walked in order of id, and each looked at."""


@lru_cache(maxsize=64)
def _many(conditions: tuple[tuple[Column, Op, int], ...]) -> sa.Select[Any]:
    statement = sa.select(sa.literal(1)).select_from(rendered_records)
    for place, (column, op, count) in enumerate(conditions):
        if column in ("dataset", _DATED):
            statement = statement.where(bound(_d[column], op, place, count))
    return statement.limit(1).offset(sa.bindparam("sorted", type_=sa.Integer))


async def _by_id(source: Reads, shape: Shape, params: Mapping[str, Any]) -> Shape:
    """The shape of a walk in which SQLite does not find by day so many rows that putting them in order would take seconds, and all memory.

    PostgreSQL knows by itself how many there are.
    """
    columns = {column: op for column, op, _ in shape.conditions}
    if not isinstance(source, SqliteReads) or shape.order or columns.get("dataset") != "eq" or _DATED not in columns:
        return shape
    return structs.replace(shape, by_id=bool(await source.slow(_many(shape.conditions), {**params, "sorted": _SORTED})))


async def page(
    source: Reads,
    conditions: Sequence[Condition],
    order: Sequence[Order],
    *,
    plan: str,
    now: str,
    snapshot: int,
    limit: int,
    keys: Sequence[str] | None,
    back: bool = False,
    payload: Payload = "body",
) -> list[Row]:
    """At most `limit` rows after the keys, each with `fresh`, `payload`, `seq` and its own keys k0, k1, … (the id last).

    In the loop when it is short: a page's rows by indexed columns in order of id; else off it.
    """
    shape = _shape(conditions, order, after=keys is not None, back=back, payload=payload, probe=True)
    params: dict[str, Any] = {**parameters(conditions), "plan": plan, "now": now, "snapshot": snapshot, "limit": limit}
    params.update({f"k{place}": key for place, key in enumerate(keys or ())})
    statement = _page(await _by_id(source, shape, params))
    if not order and limit <= _SHORT and all(each.column in _INDEXED for each in conditions):
        return await source.all(statement, params)
    return await source.slow(statement, params)


async def export(
    source: Reads,
    conditions: Sequence[Condition],
    order: Sequence[Order],
    *,
    plan: str,
    now: str,
    snapshot: int,
    payload: Payload,
    document: bool = False,
    ahead: bool = False,
    size: int = 1000,
    made: Made | None = None,
) -> AsyncIterator[list[Any]]:
    """All rows in lists, of one snapshot, off the loop, as plain tuples: record id or None, payload, and the document if wanted.

    The id is there where the rendering may not be shown as it stands. `ahead`: after the first of them a list for `told_ahead`.
    `made`: lists of what it makes of some rows at a time (see `Reads.stream`).
    """
    shape = structs.replace(_shape(conditions, order, after=False, back=False, payload=payload, probe=False), document=document)
    params = {**parameters(conditions), "plan": plan, "now": now, "snapshot": snapshot}
    shape = await _by_id(source, shape, params)
    statement = _in_order(shape) if shape.order and isinstance(source, SqliteReads) else _page(shape)
    steps = source.stream(statement, params, size, named=False, ahead=_ahead(shape) if ahead else None, made=made)
    async with aclosing(cast("AsyncGenerator[list[Row], None]", steps)) as rows:
        async for step in rows:
            yield step


@lru_cache(maxsize=256)
def _count(conditions: tuple[tuple[Column, Op, int], ...], group: str | None) -> sa.Select[Any]:
    true = sa.func.sum(fresh_flag(False)).label("n")
    statement = sa.select(true) if group is None else sa.select(_d[group].label("value"), true).group_by(_d[group])
    for place, (column, op, count) in enumerate(conditions):
        statement = statement.where(bound(_d[column], op, place, count) if column != "bulk" else _d.bulk.is_(sa.true()))
    return statement


_STALE: Final = 1000
"""So many rows that are to be made anew a count names; where there are more, nobody can say ahead how many rows there will be."""
LONG: Final = 16_383
"""Bytes of a document from which on one of its texts may be longer than a spreadsheet's cell: the index of long rows begins here."""
_LONG = sa.text(f"length(rendered_records.body) > {LONG}")


class Ahead:
    """What is known of the rows of an export when it begins: filled in before its first rows are given on."""

    __slots__ = ("rows",)

    def __init__(self, rows: int | None = None) -> None:
        self.rows = rows
        """How many there will be; None: only the last of them tells."""


def _ahead_of(rows: sa.Select[Any], name: str) -> sa.CompoundSelect[Any]:
    """Of the rows of an export: how many there are (without an id), and the first that may not be shown as they stand."""
    all_of_them, stale = rows.subquery("told"), rows.subquery("held")
    counted = sa.select(sa.cast(sa.null(), sa.Text).label(name), sa.func.count().label("n")).select_from(all_of_them)
    first = sa.select(stale.c[name], sa.literal(0)).where(stale.c.fresh == 0).limit(_STALE + 1).subquery("first")
    return sa.union_all(counted, sa.select(first))


@lru_cache(maxsize=256)
def _ahead(shape: Shape) -> sa.CompoundSelect[Any]:
    return _ahead_of(_page(shape).order_by(None).with_only_columns(_d.record_id, fresh_flag(False)), "record_id")


async def told_ahead(steps: AsyncIterator[list[Row]]) -> tuple[int, list[str]] | None:
    """The second list of an export that was asked `ahead`: all its rows, and which of them are stale; None where those are too many."""
    (number, *stale) = await anext(steps)
    return None if len(stale) > _STALE else (int(number[1]), [row[0] for row in stale])


@lru_cache(maxsize=256)
def _long(conditions: tuple[tuple[Column, Op, int], ...], payload: Payload) -> sa.Select[Any]:
    statement = sa.select(_d[payload].label("payload")).where(_LONG, _d.added_seq <= sa.bindparam("snapshot"), fresh())
    for place, (column, op, count) in enumerate(conditions):
        statement = statement.where(bound(_d[column], op, place, count) if column != "bulk" else _d.bulk.is_(sa.true()))
    return statement.limit(_STALE)


async def long_rows(source: Reads, conditions: Sequence[Condition], *, plan: str, now: str, snapshot: int, payload: Payload) -> list[bytes]:
    """Those rows of an export that hold a long text, at most a thousand; off the loop."""
    params = {**parameters(conditions), "plan": plan, "now": now, "snapshot": snapshot}
    return [bytes(row.payload) for row in await source.slow(_long(shape_of(conditions), payload), params)]


_BEYOND = sa.select(sa.literal(1)).select_from(rendered_records).limit(1).offset(sa.bindparam("rows", type_=sa.Integer))


async def beyond(source: Reads, rows: int) -> bool:
    """Whether more rows than that are rendered at all; off the loop."""
    return bool(await source.slow(_BEYOND, {"rows": rows}))


async def count(source: Reads, conditions: Sequence[Condition], *, plan: str, now: str) -> int:
    """How many rows may be shown as they stand; off the loop."""
    shape = shape_of(conditions)
    rows = await source.slow(_count(shape, None), {**parameters(conditions), "plan": plan, "now": now})
    return int(rows[0].n or 0)


async def facet(source: Reads, conditions: Sequence[Condition], column: str, *, plan: str, now: str) -> list[tuple[str | None, int]]:
    """The values of a column with how many rows have each, most first; off the loop."""
    shape = shape_of(conditions)
    rows = await source.slow(_count(shape, column), {**parameters(conditions), "plan": plan, "now": now})
    return sorted(((row.value, int(row.n)) for row in rows if row.n), key=lambda item: (-item[1], item[0] or ""))


@lru_cache(maxsize=256)
def _told_page(
    conditions: tuple[tuple[Column, Op, int], ...], gates: tuple[Reach, ...], of_subject: bool, after: bool, back: bool
) -> sa.Select[Any]:
    t = feed_rows.c
    statement = sa.select(t.record_id).where(t.plan_set == sa.bindparam("plan_set"), t.added_seq <= sa.bindparam("snapshot"))
    statement = statement.join(records, _x.record_id == t.record_id).where(reached(gates))
    if of_subject:
        statement = statement.where(_x.subject_id == sa.bindparam("subject_id"))
    for place, (column, op, count) in enumerate(conditions):
        statement = statement.where(bound(t[column], op, place, count))
    if after:
        beyond = sa.bindparam("k0", type_=sa.Text())
        statement = statement.where(t.record_id < beyond if back else t.record_id > beyond)
    return statement.order_by(t.record_id.desc() if back else t.record_id.asc()).limit(sa.bindparam("limit"))


async def told_page(
    source: Reads,
    plan_set: str,
    conditions: Sequence[Condition],
    *,
    gates: tuple[Reach, ...],
    snapshot: int,
    limit: int,
    subject_id: str | None = None,
    key: str | None = None,
    back: bool = False,
) -> list[str]:
    """Records that a bound plan set was told of by a moment of its sequence and that one caller reaches, in order of id."""
    shape = shape_of(conditions)
    params: dict[str, Any] = {**parameters(conditions), "plan_set": plan_set, "snapshot": snapshot, "limit": limit}
    if subject_id is not None:
        params["subject_id"] = subject_id
    if key is not None:
        params["k0"] = key
    statement = _told_page(shape, gates, subject_id is not None, key is not None, back)
    rows = await source.slow(statement, params)  # gates may look far for the next row
    return [row.record_id for row in rows]


@lru_cache(maxsize=256)
def _told_count(conditions: tuple[tuple[Column, Op, int], ...], gates: tuple[Reach, ...]) -> sa.Select[Any]:
    t = feed_rows.c
    statement = sa.select(sa.func.count().label("n")).where(t.plan_set == sa.bindparam("plan_set"))
    statement = statement.join_from(feed_rows, records, _x.record_id == t.record_id).where(reached(gates))
    for place, (column, op, count) in enumerate(conditions):
        statement = statement.where(bound(t[column], op, place, count))
    return statement


async def told_count(source: Reads, plan_set: str, conditions: Sequence[Condition], *, gates: tuple[Reach, ...]) -> int:
    """How many records a bound plan set was told of and one caller reaches; off the loop."""
    shape = shape_of(conditions)
    rows = await source.slow(_told_count(shape, gates), {**parameters(conditions), "plan_set": plan_set})
    return int(rows[0].n)


@lru_cache(maxsize=256)
def _reached_page(conditions: tuple[tuple[Column, Op, int], ...], gates: tuple[Reach, ...], after: bool, back: bool) -> sa.Select[Any]:
    statement = sa.select(_x.record_id).where(_x.state != "erased", reached(gates))
    for place, (column, op, count) in enumerate(conditions):
        statement = statement.where(bound(_x[column], op, place, count))
    if after:
        beyond = sa.bindparam("k0", type_=sa.Text())
        statement = statement.where(_x.record_id < beyond if back else _x.record_id > beyond)
    return statement.order_by(_x.record_id.desc() if back else _x.record_id.asc()).limit(sa.bindparam("limit"))


async def reached_page(
    source: Reads, conditions: Sequence[Condition], *, gates: tuple[Reach, ...], limit: int, key: str | None = None, back: bool = False
) -> list[str]:
    """Records that one caller reaches, in order of id: for who has no sequence of changes, the subject."""
    params: dict[str, Any] = {**parameters(conditions), "limit": limit}
    if key is not None:
        params["k0"] = key
    rows = await source.slow(_reached_page(shape_of(conditions), gates, key is not None, back), params)
    return [row.record_id for row in rows]


# --- subjects in bulk --------------------------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def _subject_page(conditions: tuple[tuple[Column, Op, int], ...], listed: int, after: bool, back: bool, limited: bool) -> sa.Select[Any]:
    fresh = sa.case(
        (sa.and_(_r.plan == sa.bindparam("plan"), _r.valid_until > sa.bindparam("now"), _r.head_seq == _s.head_seq), 1),
        else_=0,
    ).label("fresh")
    statement = (
        sa.select(_r.subject_id, fresh, _r.body.label("payload"), _r.seq)
        .select_from(rendered_subjects.join(subjects, _s.subject_id == _r.subject_id))
        .where(_r.body.is_not(None), _r.kind != "household", _r.added_seq <= sa.bindparam("snapshot"))
    )
    for place, (column, op, count) in enumerate(conditions):
        statement = statement.where(bound(_r[column], op, place, count))
    if listed:
        here = [_d.list == sa.bindparam(f"list{n}", type_=sa.Text()) for n in range(listed)]
        statement = statement.where(
            sa.exists().where(
                _d.subject_id == _r.subject_id,
                sa.or_(*here),
                _d.plan == sa.bindparam("plan"),
                _d.valid_until > sa.bindparam("now"),
                sa.not_(_dirty(True)),
            )
        )
    if after:
        beyond = sa.bindparam("k0", type_=sa.Text())
        statement = statement.where(_r.subject_id < beyond if back else _r.subject_id > beyond)
    statement = statement.order_by(_r.subject_id.desc() if back else _r.subject_id.asc())
    return statement.limit(sa.bindparam("limit")) if limited else statement


def _subject_parameters(conditions: Sequence[Condition], lists: Sequence[str], plan: str, now: str, snapshot: int) -> dict[str, Any]:
    return {**parameters(conditions), **{f"list{n}": each for n, each in enumerate(lists)}, "plan": plan, "now": now, "snapshot": snapshot}


async def subject_page(
    source: Reads,
    conditions: Sequence[Condition],
    lists: Sequence[str],
    *,
    plan: str,
    now: str,
    snapshot: int,
    limit: int,
    key: str | None,
    back: bool = False,
) -> list[Row]:
    """Organisations with something public, in order of id."""
    shape = shape_of(conditions)
    params = {**_subject_parameters(conditions, lists, plan, now, snapshot), "limit": limit}
    if key is not None:
        params["k0"] = key
    statement = _subject_page(shape, len(lists), key is not None, back, True)
    return await (source.slow(statement, params) if conditions or lists else source.all(statement, params))


def subject_export(
    source: Reads,
    conditions: Sequence[Condition],
    lists: Sequence[str],
    *,
    plan: str,
    now: str,
    snapshot: int,
    ahead: bool = False,
    size: int = 1000,
) -> AsyncIterator[list[Row]]:
    """All organisations with something public, in lists, of one snapshot, off the loop; `ahead`: the second is for `told_ahead`."""
    shape = shape_of(conditions)
    return source.stream(
        _subject_page(shape, len(lists), False, False, False),
        _subject_parameters(conditions, lists, plan, now, snapshot),
        size,
        ahead=_subjects_ahead(shape, len(lists)) if ahead else None,
    )


@lru_cache(maxsize=64)
def _subjects_ahead(conditions: tuple[tuple[Column, Op, int], ...], listed: int) -> sa.CompoundSelect[Any]:
    inner = _subject_page(conditions, listed, False, False, False).order_by(None)
    return _ahead_of(inner.with_only_columns(_r.subject_id, inner.selected_columns.fresh), "subject_id")


@lru_cache(maxsize=64)
def _subject_count(conditions: tuple[tuple[Column, Op, int], ...], listed: int, group: str | None) -> sa.Select[Any]:
    inner = _subject_page(conditions, listed, False, False, False).order_by(None)
    columns = inner.with_only_columns(
        *([_r[group].label("value")] if group else []), inner.selected_columns.fresh.label("fresh")
    ).subquery()
    total = sa.func.sum(columns.c.fresh).label("n")
    return sa.select(total) if group is None else sa.select(columns.c.value, total).group_by(columns.c.value)


async def subject_count(source: Reads, conditions: Sequence[Condition], lists: Sequence[str], *, plan: str, now: str, snapshot: int) -> int:
    """How many organisations a walk would give; off the loop."""
    shape = shape_of(conditions)
    rows = await source.slow(_subject_count(shape, len(lists), None), _subject_parameters(conditions, lists, plan, now, snapshot))
    return int(rows[0].n or 0)


async def subject_facet(
    source: Reads,
    conditions: Sequence[Condition],
    lists: Sequence[str],
    column: str,
    *,
    plan: str,
    now: str,
    snapshot: int,
) -> list[tuple[str | None, int]]:
    """The values of a column with how many organisations have each, most first; off the loop."""
    shape = shape_of(conditions)
    rows = await source.slow(_subject_count(shape, len(lists), column), _subject_parameters(conditions, lists, plan, now, snapshot))
    return sorted(((row.value, int(row.n)) for row in rows if row.n), key=lambda item: (-item[1], item[0] or ""))


_LISTED = (
    sa.select(_d.subject_id)
    .distinct()
    .where(
        among(_d.subject_id, "ids"),
        among(_d.list, "lists"),
        _d.plan == sa.bindparam("plan"),
        _d.valid_until > sa.bindparam("now"),
        sa.not_(_dirty(True)),
    )
)


async def listed(source: Reads, ids: Sequence[str], lists: Sequence[str], *, plan: str, now: str) -> set[str]:
    """Which of these subjects stand on one of the lists."""
    rows = await source.all(_LISTED, {"ids": list(ids), "lists": list(lists), "plan": plan, "now": now})
    return {row.subject_id for row in rows}


@lru_cache(maxsize=256)
def _all_subjects(gates: tuple[Reach, ...], after: bool, back: bool) -> sa.Select[Any]:
    seen = sa.exists().where(_x.subject_id == _s.subject_id, _x.state != "erased", reached(gates))
    statement = SUBJECT.where(_s.kind != "natural", seen)
    if after:
        beyond = sa.bindparam("k0", type_=sa.Text())
        statement = statement.where(_s.subject_id < beyond if back else _s.subject_id > beyond)
    return statement.order_by(_s.subject_id.desc() if back else _s.subject_id.asc()).limit(sa.bindparam("limit"))


async def all_subjects(source: Reads, *, gates: tuple[Reach, ...], limit: int, key: str | None, back: bool = False) -> list[Row]:
    """Organisations and households with a record that one caller reaches, in order of id: for bound tiers, who see each live."""
    params: dict[str, Any] = {"limit": limit} if key is None else {"limit": limit, "k0": key}
    return await source.slow(_all_subjects(gates, key is not None, back), params)

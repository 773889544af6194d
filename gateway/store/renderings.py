"""The read model of the public: rendered subjects and records by key, and what bound plan sets were told.

Rules: a rendering is a cache of the door, never another door. A row is true only under the plan tag it names, inside its own
validity, and while no change of its record stands after the reader's position; whoever reads asks for that flag and shows a row
without it only after making it anew. Nothing here is ever more than the public may see. This room must not make a View.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal

import sqlalchemy as sa
from msgspec import Struct, structs
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from gateway.core.publication.changes import Told
from gateway.store.dialects import among
from gateway.store.reads import Parameters, Statement
from gateway.store.store import Reads, Row, Transaction
from gateway.store.tables import (
    changes,
    counters,
    feed_rows,
    meta,
    readers,
    records,
    rendered_records,
    rendered_subjects,
    subject_keys,
    subjects,
)

READER = "renderings"
"""Reader of the change log that keeps all this."""
RERENDER = "renderings-policy"
"""Reader that walks the log again from its start after another policy came into force."""
PLAN_META = "rendered-plan"
DAY_META = "rendered-day"
GENERATION = "renderings"

SUBJECT_COLUMNS = (
    "subject_id",
    "head_seq",
    "plan",
    "valid_until",
    "etag",
    "seq",
    "added_seq",
    "kind",
    "region",
    "industry",
    "status",
    "body",
)
RECORD_COLUMNS = (
    "record_id",
    "subject_id",
    "dataset",
    "category",
    "list",
    "bulk",
    "version_seq",
    "plan",
    "valid_from",
    "valid_until",
    "seq",
    "added_seq",
    "digest",
    "amended",
    "corrected",
    "received_at",
    "region",
    "source",
    "severity",
    "decision_date",
    "published_from",
    "listed_on",
    "marks",
    "body",
    "listing",
    "flat",
    "listing_flat",
)
FEED_ROW_COLUMNS = (
    "plan_set",
    "record_id",
    "dataset",
    "category",
    "list",
    "digest",
    "valid_until",
    "added_seq",
    "amended",
    "corrected",
    "received_at",
)

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


# --- one subject, one record -------------------------------------------------------------------------------------------

_r, _s = rendered_subjects.c, subjects.c
_SUBJECT = sa.select(
    _s.subject_id, _s.kind, _s.head_seq, _r.head_seq.label("rendered_seq"), _r.plan, _r.valid_until, _r.etag, _r.seq, _r.added_seq, _r.body
).select_from(subjects.outerjoin(rendered_subjects, _r.subject_id == _s.subject_id))
_SUBJECT_BY_ID = _SUBJECT.where(_s.subject_id == sa.bindparam("subject_id"))
_SUBJECT_BY_KEY = (
    sa.select(*_SUBJECT.selected_columns)
    .select_from(
        subject_keys.join(subjects, _s.subject_id == subject_keys.c.subject_id).outerjoin(rendered_subjects, _r.subject_id == _s.subject_id)
    )
    .where(subject_keys.c.key_type == sa.bindparam("key_type"), subject_keys.c.key_value == sa.bindparam("key_value"))
)
_SUBJECTS_BY_IDS = _SUBJECT.where(among(_s.subject_id, "ids"))


async def subject_by_key(source: Reads | Transaction, key_type: str, key_value: str) -> Row | None:
    """A subject with its rendering, by a key as stored: one statement whether it exists, is rendered, or not."""
    return await source.one(_SUBJECT_BY_KEY, {"key_type": key_type, "key_value": key_value})


async def subject_by_id(source: Reads | Transaction, subject_id: str) -> Row | None:
    """A subject with its rendering, by its opaque id."""
    return await source.one(_SUBJECT_BY_ID, {"subject_id": subject_id})


async def subjects_by_ids(source: Reads | Transaction, ids: Sequence[str]) -> list[Row]:
    """Subjects with their renderings."""
    return await source.all(_SUBJECTS_BY_IDS, {"ids": list(ids)})


_d, _x = rendered_records.c, records.c
_position = sa.select(readers.c.position).where(readers.c.name == READER).scalar_subquery()
_seen = sa.func.coalesce(_position, 0)
_RECORD = (
    sa.select(
        (_x.changed_seq > _seen).label("dirty"),
        sa.select(meta.c.value).where(meta.c.name == PLAN_META).scalar_subquery().label("known"),
        sa.select(readers.c.position).where(readers.c.name == RERENDER).scalar_subquery().label("again"),
        _x.record_id,
        _x.subject_id,
        _x.dataset,
        _x.state,
        _x.changed_seq,
        _d.version_seq,
        _d.plan,
        _d.valid_from,
        _d.valid_until,
        _d.body,
    )
    .select_from(records.outerjoin(rendered_records, _d.record_id == _x.record_id))
    .where(_x.record_id == sa.bindparam("record_id"))
)


async def record_by_id(source: Reads | Transaction, record_id: str) -> Row | None:
    """A record's rendering beside what tells whether it is still true: `dirty`, the plans that the reader knows, a walk under way."""
    return await source.one(_RECORD, {"record_id": record_id})


# --- pages and exports -------------------------------------------------------------------------------------------------


def _dirty(probe: bool) -> sa.ColumnElement[bool]:
    """Whether the record has changed since its rendering was made."""
    if probe:
        return sa.exists().where(records.c.record_id == _d.record_id, records.c.changed_seq > _seen)
    return _d.record_id.in_(sa.select(changes.c.record_id).where(changes.c.seq > _seen))


def _fresh_flag(probe: bool) -> sa.ColumnElement[int]:
    """1 when the rendering may be shown as it stands."""
    return sa.case(
        (
            sa.and_(
                _d.plan == sa.bindparam("plan"),
                _d.valid_from <= sa.bindparam("now"),
                _d.valid_until > sa.bindparam("now"),
                sa.not_(_dirty(probe)),
            ),
            1,
        ),
        else_=0,
    ).label("fresh")


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


def _bound(column: sa.ColumnElement[Any], op: Op, place: int, count: int) -> sa.ColumnElement[bool]:
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


def _parameters(conditions: Sequence[Condition]) -> dict[str, str | bytes]:
    return {f"v{place}_{n}": value for place, condition in enumerate(conditions) for n, value in enumerate(condition.values)}


def _keyset(order: Sequence[tuple[sa.ColumnElement[Any], bool]], back: bool) -> sa.ColumnElement[bool]:
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


@lru_cache(maxsize=512)
def _page(shape: Shape) -> sa.Select[Any]:
    keys: list[tuple[sa.ColumnElement[Any], bool]] = [
        (sa.func.coalesce(_d[each.column], "") if each.column in _NULLABLE else _d[each.column], each.descending) for each in shape.order
    ]
    keys.append((_d.record_id, False))
    statement = sa.select(
        _d.record_id,
        _fresh_flag(shape.probe),
        _d[shape.payload].label("payload"),
        _d.seq,
        *(column.label(f"k{n}") for n, (column, _) in enumerate(keys)),
        *([_d.body.label("document")] if shape.document else []),
    ).where(_d.added_seq <= sa.bindparam("snapshot"))
    for place, (column, op, count) in enumerate(shape.conditions):
        statement = statement.where(_bound(_d[column], op, place, count) if column != "bulk" else _d.bulk.is_(sa.true()))
    if shape.after:
        statement = statement.where(_keyset(keys, shape.back))
    statement = statement.order_by(*(column.desc() if descending != shape.back else column.asc() for column, descending in keys))
    return statement.limit(sa.bindparam("limit")) if shape.probe else statement


_NULLABLE = frozenset({"severity", "source", "list"})
_INDEXED = frozenset({"dataset", "list", "subject_id", "bulk"})


def _shape(conditions: Sequence[Condition], order: Sequence[Order], *, after: bool, back: bool, payload: Payload, probe: bool) -> Shape:
    return Shape(
        conditions=tuple((each.column, each.op, len(each.values)) for each in conditions),
        order=tuple(order),
        after=after,
        back=back,
        payload=payload,
        probe=probe,
    )


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

    Short when only indexed columns are asked for in order of id; else off the loop.
    """
    statement = _page(_shape(conditions, order, after=keys is not None, back=back, payload=payload, probe=True))
    params: dict[str, Any] = {**_parameters(conditions), "plan": plan, "now": now, "snapshot": snapshot, "limit": limit}
    params.update({f"k{place}": key for place, key in enumerate(keys or ())})
    if not order and all(each.column in _INDEXED for each in conditions):
        return await source.all(statement, params)
    return await source.slow(statement, params)


def export(
    source: Reads,
    conditions: Sequence[Condition],
    order: Sequence[Order],
    *,
    plan: str,
    now: str,
    snapshot: int,
    payload: Payload,
    document: bool = False,
    size: int = 1000,
) -> AsyncIterator[list[Row]]:
    """All rows in lists, of one snapshot, off the loop; each with `fresh` and `payload`, and its `document` if wanted."""
    shape = structs.replace(_shape(conditions, order, after=False, back=False, payload=payload, probe=False), document=document)
    statement = _page(shape)
    return source.stream(statement, {**_parameters(conditions), "plan": plan, "now": now, "snapshot": snapshot}, size)


@lru_cache(maxsize=256)
def _count(conditions: tuple[tuple[Column, Op, int], ...], group: str | None) -> sa.Select[Any]:
    true = sa.func.sum(_fresh_flag(False)).label("n")
    statement = sa.select(true) if group is None else sa.select(_d[group].label("value"), true).group_by(_d[group])
    for place, (column, op, count) in enumerate(conditions):
        statement = statement.where(_bound(_d[column], op, place, count) if column != "bulk" else _d.bulk.is_(sa.true()))
    return statement


async def count(source: Reads, conditions: Sequence[Condition], *, plan: str, now: str) -> int:
    """How many rows may be shown as they stand; off the loop."""
    shape = tuple((each.column, each.op, len(each.values)) for each in conditions)
    rows = await source.slow(_count(shape, None), {**_parameters(conditions), "plan": plan, "now": now})
    return int(rows[0].n or 0)


async def facet(source: Reads, conditions: Sequence[Condition], column: str, *, plan: str, now: str) -> list[tuple[str | None, int]]:
    """The values of a column with how many rows have each, most first; off the loop."""
    shape = tuple((each.column, each.op, len(each.values)) for each in conditions)
    rows = await source.slow(_count(shape, column), {**_parameters(conditions), "plan": plan, "now": now})
    return sorted(((row.value, int(row.n)) for row in rows if row.n), key=lambda item: (-item[1], item[0] or ""))


@lru_cache(maxsize=256)
def _told_page(conditions: tuple[tuple[Column, Op, int], ...], of_subject: bool, after: bool, back: bool) -> sa.Select[Any]:
    t = feed_rows.c
    statement = sa.select(t.record_id).where(t.plan_set == sa.bindparam("plan_set"), t.added_seq <= sa.bindparam("snapshot"))
    if of_subject:
        statement = statement.join(records, _x.record_id == t.record_id).where(_x.subject_id == sa.bindparam("subject_id"))
    for place, (column, op, count) in enumerate(conditions):
        statement = statement.where(_bound(t[column], op, place, count))
    if after:
        beyond = sa.bindparam("k0", type_=sa.Text())
        statement = statement.where(t.record_id < beyond if back else t.record_id > beyond)
    return statement.order_by(t.record_id.desc() if back else t.record_id.asc()).limit(sa.bindparam("limit"))


async def told_page(
    source: Reads,
    plan_set: str,
    conditions: Sequence[Condition],
    *,
    snapshot: int,
    limit: int,
    subject_id: str | None = None,
    key: str | None = None,
    back: bool = False,
) -> list[str]:
    """Records that a bound plan set was told of by a moment of its sequence, in order of id."""
    shape = tuple((each.column, each.op, len(each.values)) for each in conditions)
    params: dict[str, Any] = {**_parameters(conditions), "plan_set": plan_set, "snapshot": snapshot, "limit": limit}
    if subject_id is not None:
        params["subject_id"] = subject_id
    if key is not None:
        params["k0"] = key
    statement = _told_page(shape, subject_id is not None, key is not None, back)
    rows = await (source.slow(statement, params) if conditions else source.all(statement, params))
    return [row.record_id for row in rows]


@lru_cache(maxsize=64)
def _told_count(conditions: tuple[tuple[Column, Op, int], ...]) -> sa.Select[Any]:
    t = feed_rows.c
    statement = sa.select(sa.func.count().label("n")).where(t.plan_set == sa.bindparam("plan_set"))
    for place, (column, op, count) in enumerate(conditions):
        statement = statement.where(_bound(t[column], op, place, count))
    return statement


async def told_count(source: Reads, plan_set: str, conditions: Sequence[Condition]) -> int:
    """How many records a bound plan set was told of; off the loop."""
    shape = tuple((each.column, each.op, len(each.values)) for each in conditions)
    rows = await source.slow(_told_count(shape), {**_parameters(conditions), "plan_set": plan_set})
    return int(rows[0].n)


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
        statement = statement.where(_bound(_r[column], op, place, count))
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
    return {**_parameters(conditions), **{f"list{n}": each for n, each in enumerate(lists)}, "plan": plan, "now": now, "snapshot": snapshot}


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
    shape = tuple((each.column, each.op, len(each.values)) for each in conditions)
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
    size: int = 1000,
) -> AsyncIterator[list[Row]]:
    """All organisations with something public, in lists, of one snapshot, off the loop."""
    shape = tuple((each.column, each.op, len(each.values)) for each in conditions)
    return source.stream(
        _subject_page(shape, len(lists), False, False, False), _subject_parameters(conditions, lists, plan, now, snapshot), size
    )


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
    shape = tuple((each.column, each.op, len(each.values)) for each in conditions)
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
    shape = tuple((each.column, each.op, len(each.values)) for each in conditions)
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


@lru_cache(maxsize=4)
def _all_subjects(after: bool, back: bool) -> sa.Select[Any]:
    statement = _SUBJECT.where(_s.kind != "natural")
    if after:
        beyond = sa.bindparam("k0", type_=sa.Text())
        statement = statement.where(_s.subject_id < beyond if back else _s.subject_id > beyond)
    return statement.order_by(_s.subject_id.desc() if back else _s.subject_id.asc()).limit(sa.bindparam("limit"))


async def all_subjects(source: Reads, *, limit: int, key: str | None, back: bool = False) -> list[Row]:
    """Organisations and households, public or not, in order of id: for bound tiers, who see each live."""
    params: dict[str, Any] = {"limit": limit} if key is None else {"limit": limit, "k0": key}
    return await source.all(_all_subjects(key is not None, back), params)


# --- what the reader keeps ---------------------------------------------------------------------------------------------

_HELD = sa.select(
    _d.record_id,
    _d.subject_id,
    _d.dataset,
    _d.category,
    _d.list,
    _d.digest,
    _d.added_seq,
    _d.seq,
    _d.version_seq,
    _d.plan,
    _d.body,
    _d.amended,
    _d.corrected,
    _d.received_at,
).where(among(_d.record_id, "ids"))
_TOLD = sa.select(
    feed_rows.c.record_id,
    feed_rows.c.dataset,
    feed_rows.c.category,
    feed_rows.c.list,
    feed_rows.c.digest,
    feed_rows.c.valid_until,
    feed_rows.c.added_seq,
    feed_rows.c.amended,
    feed_rows.c.corrected,
    feed_rows.c.received_at,
).where(feed_rows.c.plan_set == sa.bindparam("plan_set"), among(feed_rows.c.record_id, "ids"))
_SIBLINGS = sa.select(
    _d.record_id,
    _d.subject_id,
    _d.plan,
    _d.seq,
    _d.body,
    _d.valid_until,
    sa.case((sa.and_(_d.plan == sa.bindparam("plan"), _d.valid_until > sa.bindparam("now")), 1), else_=0).label("fresh"),
).where(among(_d.subject_id, "ids"))
_RECORDS_OF = sa.select(_x.record_id, _x.subject_id).where(among(_x.subject_id, "ids"))
_ENDING: sa.ColumnElement[str] = sa.literal_column("'9999'")
"""Said in the statement, so that the indexes of what has an end are used."""
_DUE = (
    sa.select(_d.record_id)
    .where(_d.valid_until <= sa.bindparam("now"), _d.valid_until < _ENDING)
    .order_by(_d.valid_until, _d.record_id)
    .limit(sa.bindparam("limit"))
)
_TOLD_DUE = (
    sa.select(feed_rows.c.record_id)
    .where(
        feed_rows.c.plan_set == sa.bindparam("plan_set"), feed_rows.c.valid_until <= sa.bindparam("now"), feed_rows.c.valid_until < _ENDING
    )
    .order_by(feed_rows.c.valid_until, feed_rows.c.record_id)
    .limit(sa.bindparam("limit"))
)
_OPENING = (
    sa.select(_x.record_id, _x.subject_id)
    .where(
        _x.state == "in_force",
        _x.publish_from > sa.bindparam("from_day"),
        _x.publish_from <= sa.bindparam("to_day"),
    )
    .order_by(_x.record_id)
)
_DROP_RECORDS = sa.delete(rendered_records).where(among(_d.record_id, "ids"))
_DROP_SUBJECTS = sa.delete(rendered_subjects).where(among(_r.subject_id, "ids"))
_DROP_TOLD = sa.delete(feed_rows).where(feed_rows.c.plan_set == sa.bindparam("plan_set"), among(feed_rows.c.record_id, "ids"))
_META = sa.select(meta.c.name, meta.c.value).where(sa.or_(meta.c.name == PLAN_META, meta.c.name == DAY_META))
_SET_META = sa.text("INSERT INTO meta (name, value) VALUES (:name, :value) ON CONFLICT (name) DO UPDATE SET value = excluded.value")
_GENERATION = sa.select(counters.c.value).where(counters.c.name == GENERATION)
_POSITIONS = sa.select(readers.c.name, readers.c.position).where(sa.or_(readers.c.name == READER, readers.c.name == RERENDER))
_SET_POSITION = sa.text(
    "INSERT INTO readers (name, position) VALUES (:name, :position) ON CONFLICT (name) DO UPDATE SET position = excluded.position"
)


async def held(source: Reads | Transaction, ids: Sequence[str]) -> dict[str, Row]:
    """What is rendered of these records now."""
    return {row.record_id: row for row in await source.all(_HELD, {"ids": list(ids)})}


async def told(source: Reads | Transaction, plan_set: str, ids: Sequence[str]) -> dict[str, Row]:
    """What a bound plan set was last told of these records."""
    return {row.record_id: row for row in await source.all(_TOLD, {"plan_set": plan_set, "ids": list(ids)})}


def told_of(rows: Mapping[str, Row]) -> dict[str, Told]:
    """What a plan set was told last, by record, from rows that `held` or `told` gave."""
    return {
        record_id: Told(digest=row.digest, amended=row.amended, corrected=row.corrected, received_at=row.received_at)
        for record_id, row in rows.items()
    }


async def siblings(source: Reads | Transaction, subject_ids: Sequence[str], *, plan: str, now: str) -> list[Row]:
    """Renderings of all records of these subjects, each with `fresh`."""
    return await source.all(_SIBLINGS, {"ids": list(subject_ids), "plan": plan, "now": now})


async def records_of(source: Reads | Transaction, subject_ids: Sequence[str]) -> list[Row]:
    """All records of these subjects, rendered or not."""
    return await source.all(_RECORDS_OF, {"ids": list(subject_ids)})


async def due(source: Reads | Transaction, plan_sets: Sequence[str], *, now: str, limit: int) -> list[str]:
    """Records whose rendering, or what a plan set was told of them, has stopped being true."""
    found = dict.fromkeys(row.record_id for row in await source.all(_DUE, {"now": now, "limit": limit}))
    for plan_set in plan_sets:
        found.update(
            dict.fromkeys(row.record_id for row in await source.all(_TOLD_DUE, {"plan_set": plan_set, "now": now, "limit": limit}))
        )
    return list(found)[:limit]


async def opening(source: Reads, *, from_day: str, to_day: str) -> list[Row]:
    """Records (with their subjects) whose first day of publication came after one day and not after another; off the loop."""
    return await source.slow(_OPENING, {"from_day": from_day, "to_day": to_day})


async def replace_records(tx: Transaction, gone: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
    """Take renderings away, then put the new ones (tuples of RECORD_COLUMNS) in."""
    if gone:
        await tx.execute(_DROP_RECORDS, {"ids": list(gone)})
    await tx.insert(rendered_records, RECORD_COLUMNS, rows)


async def replace_subjects(tx: Transaction, gone: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
    """Take renderings away, then put the new ones (tuples of SUBJECT_COLUMNS) in."""
    if gone:
        await tx.execute(_DROP_SUBJECTS, {"ids": list(gone)})
    await tx.insert(rendered_subjects, SUBJECT_COLUMNS, rows)


async def replace_told(tx: Transaction, plan_set: str, gone: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
    """Take away what a plan set was told, then put the new rows (tuples of FEED_ROW_COLUMNS) in."""
    if gone:
        await tx.execute(_DROP_TOLD, {"plan_set": plan_set, "ids": list(gone)})
    await tx.insert(feed_rows, FEED_ROW_COLUMNS, rows)


class ReaderState(Struct, frozen=True, kw_only=True):
    """Where the reader stands."""

    position: int
    again: int | None
    """Position of the walk after a policy change; None when there is none to do."""
    plan: str | None
    """Plan tag of the last policy it knows."""
    day: str | None
    """Last legal day whose opening records were looked at."""
    generation: int
    """Counts the committed passes: whoever prepared one on another count begins again."""


async def reader_state(source: Reads | Transaction) -> ReaderState:
    """Where the reader stands, in three short statements."""
    counted = await source.one(_GENERATION)
    positions = {row.name: int(row.position) for row in await source.all(_POSITIONS)}
    said = {row.name: row.value for row in await source.all(_META)}
    return ReaderState(
        position=positions.get(READER, 0),
        again=positions.get(RERENDER),
        plan=said.get(PLAN_META),
        day=said.get(DAY_META),
        generation=0 if counted is None else int(counted.value),
    )


async def next_generation(tx: Transaction, expected: int) -> bool:
    """Count this pass; False when another one was committed since `expected` was read, and nothing may be written."""
    return await tx.number(GENERATION) == expected + 1


async def say(tx: Transaction, name: str, value: str) -> None:
    """Remember a word about the reader."""
    await tx.execute(_SET_META, {"name": name, "value": value})


async def put_reader(tx: Transaction, name: str, position: int | None) -> None:
    """Move a reader; None takes it away."""
    if position is None:
        await tx.execute(sa.delete(readers).where(readers.c.name == name))
    else:
        await tx.execute(_SET_POSITION, {"name": name, "position": position})


class OffLoop:
    """Reads whose every statement leaves the event loop: for a reader that works in big pieces beside requests."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads
        self.vault = reads.vault
        self.fresh_keys = reads.fresh_keys

    async def all(self, statement: Statement, params: Parameters | None = None) -> list[Row]:
        """All rows."""
        return await self._reads.slow(statement, params)

    async def one(self, statement: Statement, params: Parameters | None = None) -> Row | None:
        """The first row, or None."""
        rows = await self._reads.slow(statement, params)
        return rows[0] if rows else None

    async def slow(self, statement: Statement, params: Parameters | None = None) -> list[Row]:
        """All rows."""
        return await self._reads.slow(statement, params)

    def stream(self, statement: Statement, params: Parameters | None = None, size: int = 1000) -> AsyncIterator[list[Row]]:
        """Rows in lists."""
        return self._reads.stream(statement, params, size)

    async def close(self) -> None:
        """The reads belong to the store."""

"""The read model of the public: rendered subjects and records by key, and what bound plan sets were told.

Rules: a rendering is a cache of the door, never another door. A row is true only under the plan tag it names, inside its own
validity, and while no change of its record stands after the reader's position; whoever reads asks for that flag and shows a row
without it only after making it anew. Nothing here is ever more than the public may see. This room must not make a View.
"""

from collections.abc import AsyncIterator, Collection, Hashable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final

import sqlalchemy as sa
from msgspec import Struct

from gateway.core.publication.changes import Told
from gateway.store.dialects import Members, among, stated
from gateway.store.reads import Made, Parameters, Statement, lately
from gateway.store.store import Reads, Row, Transaction
from gateway.store.tables import (
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
USED_META = "rendered-used"
"""Plan set → last legal day on which somebody could read its feed, as `name=day name=day`."""
BEGUN_META = "rendered-begun"
"""Plan sets whose first walk is still under way, with blanks between."""
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
    "told_at",
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
    "salt",
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
    "seat",
)

# --- one subject, one record -------------------------------------------------------------------------------------------

_r, _s = rendered_subjects.c, subjects.c
SUBJECT = sa.select(
    _s.subject_id, _s.kind, _s.head_seq, _r.head_seq.label("rendered_seq"), _r.plan, _r.valid_until, _r.etag, _r.seq, _r.added_seq, _r.body
).select_from(subjects.outerjoin(rendered_subjects, _r.subject_id == _s.subject_id))
_SUBJECT_BY_ID = SUBJECT.where(_s.subject_id == sa.bindparam("subject_id"))
_SUBJECT_BY_KEY = (
    sa.select(*SUBJECT.selected_columns)
    .select_from(
        subject_keys.join(subjects, _s.subject_id == subject_keys.c.subject_id).outerjoin(rendered_subjects, _r.subject_id == _s.subject_id)
    )
    .where(subject_keys.c.key_type == stated("key_type"), subject_keys.c.key_value == sa.bindparam("key_value"))
)
_ORGANISATIONS_BY_INNER_CODE = (  # the key's type is written out, for only then SQLite takes the index over some of the keys
    sa.select(*SUBJECT.selected_columns)
    .select_from(
        subject_keys.join(subjects, _s.subject_id == subject_keys.c.subject_id).outerjoin(rendered_subjects, _r.subject_id == _s.subject_id)
    )
    .where(sa.text("subject_keys.key_type = 'uscc' AND substr(subject_keys.key_value, 9, 9) = :code"), _s.kind == "legal")
    .order_by(_s.subject_id)
    .limit(20)
)
_OF_KEYS = sa.select(subject_keys.c.key_value, subject_keys.c.subject_id).where(
    subject_keys.c.key_type == stated("key_type"), among(subject_keys.c.key_value, "values")
)
_SUBJECTS_BY_IDS = SUBJECT.where(among(_s.subject_id, "ids"))
_SHOWN_BY_IDS: Final = {
    dialect: sa.text(
        "SELECT s.subject_id, CASE WHEN r.head_seq = s.head_seq AND r.plan = :plan AND r.valid_until > :now THEN 1 ELSE 0 END AS fresh,"
        f" r.seq, r.body FROM {listed} CROSS JOIN subjects AS s LEFT JOIN rendered_subjects AS r ON r.subject_id = s.subject_id"
        " WHERE s.subject_id = asked.value"
    ).bindparams(sa.bindparam("ids", type_=Members()))
    for dialect, listed in (("sqlite", "json_each(:ids) AS asked"), ("postgresql", "unnest(:ids) AS asked (value)"))
}
"""From one id to the next, with what a search needs of each: of most subjects it is fresh, and nothing else is looked at."""
_STANDING = (
    sa.select(_s.subject_id, _s.head_seq, _r.seq, _r.added_seq, _r.body.is_not(None).label("alive"))
    .select_from(subjects.outerjoin(rendered_subjects, _r.subject_id == _s.subject_id))
    .where(among(_s.subject_id, "ids"))
)


async def subject_by_key(source: Reads | Transaction, key_type: str, key_value: str) -> Row | None:
    """A subject with its rendering, by a key as stored: one statement whether it exists, is rendered, or not."""
    return await lately(source, key_type, key_value, _SUBJECT_BY_KEY, {"key_type": key_type, "key_value": key_value})


async def organisations_by_inner_code(source: Reads | Transaction, code: str) -> list[Row]:
    """Organisations whose unified code holds this organisation code (GB 32100: characters 9 to 17), by id; nearly always one."""
    return await source.all(_ORGANISATIONS_BY_INNER_CODE, {"code": code})


async def subject_by_id(source: Reads | Transaction, subject_id: str) -> Row | None:
    """A subject with its rendering, by its opaque id."""
    return await lately(source, "subject", subject_id, _SUBJECT_BY_ID, {"subject_id": subject_id})


async def subjects_by_ids(source: Reads | Transaction, ids: Sequence[str]) -> list[Row]:
    """Subjects with their renderings."""
    return await source.all(_SUBJECTS_BY_IDS, {"ids": list(ids)})


async def shown_by_ids(source: Reads, dialect: str, ids: Sequence[str], *, plan: str, now: str) -> list[Row]:
    """Documents of subjects: `body`, its `seq`, and whether it is `fresh`, as shown under this plan set now; a stale one is made anew."""
    return await source.all(_SHOWN_BY_IDS[dialect], {"ids": list(ids), "plan": plan, "now": now})


async def standing(source: Reads | Transaction, ids: Sequence[str]) -> dict[str, Row]:
    """How the renderings of subjects stand, without their documents; `alive`: something of it is shown."""
    return {row.subject_id: row for row in await source.all(_STANDING, {"ids": list(ids)})}


async def many_subjects(source: Reads, ids: Sequence[str]) -> list[Row]:
    """Subjects with their renderings, off the loop."""
    return await source.slow(_SUBJECTS_BY_IDS, {"ids": list(ids)})


async def subjects_of_keys(source: Reads, key_type: str, values: Sequence[str]) -> dict[str, str]:
    """Stored key → subject, of those that anybody has; off the loop."""
    return {row.key_value: row.subject_id for row in await source.slow(_OF_KEYS, {"key_type": key_type, "values": list(values)})}


_d, _x = rendered_records.c, records.c
_position = sa.select(readers.c.position).where(readers.c.name == READER).scalar_subquery()
log_position = sa.func.coalesce(_position, 0)
"""Up to where the reader has read, as part of a statement."""
_RECORD = (
    sa.select(
        (_x.changed_seq > log_position).label("dirty"),
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
    return await lately(source, "record", record_id, _RECORD, {"record_id": record_id})


# --- what the reader keeps ---------------------------------------------------------------------------------------------

_HELD = sa.select(
    _d.record_id,
    _d.subject_id,
    _d.dataset,
    _d.category,
    _d.list,
    _d.bulk,
    _d.digest,
    _d.added_seq,
    _d.told_at,
    _d.seq,
    _d.version_seq,
    _d.plan,
    _d.body,
    _d.salt,
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
    feed_rows.c.seat,
).where(feed_rows.c.plan_set == sa.bindparam("plan_set"), among(feed_rows.c.record_id, "ids"))
_SIBLINGS = sa.select(
    _d.record_id,
    _d.subject_id,
    _d.dataset,
    _d.category,
    _d.decision_date,
    _d.plan,
    _d.list,
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
    .order_by(feed_rows.c.valid_until, feed_rows.c.added_seq)
    .limit(sa.bindparam("limit"))
)
_NEXT_END = sa.select(sa.func.min(_d.valid_until).label("at")).where(_d.valid_until < _ENDING)
_TOLD_NEXT_END = sa.select(sa.func.min(feed_rows.c.valid_until).label("at")).where(
    feed_rows.c.plan_set == sa.bindparam("plan_set"), feed_rows.c.valid_until < _ENDING
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
_DROP_TOLD = sa.delete(feed_rows).where(feed_rows.c.plan_set == sa.bindparam("plan_set"), among(feed_rows.c.record_id, "ids"))
_META = sa.select(meta.c.name, meta.c.value).where(among(meta.c.name, "names"))
_WORDS = (PLAN_META, DAY_META, USED_META, BEGUN_META)
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


async def next_ends(source: Reads | Transaction, plan_sets: Sequence[str]) -> list[str | None]:
    """From when something is `due`: of what is rendered, and of what each plan set was told."""
    found = [await source.one(_NEXT_END)] + [await source.one(_TOLD_NEXT_END, {"plan_set": each}) for each in plan_sets]
    return [None if row is None else row.at for row in found]


async def opening(source: Reads, *, from_day: str, to_day: str) -> list[Row]:
    """Records (with their subjects) whose first day of publication came after one day and not after another; off the loop."""
    return await source.slow(_OPENING, {"from_day": from_day, "to_day": to_day})


async def replace_records(tx: Transaction, gone: Collection[str], rows: Sequence[tuple[Any, ...]]) -> None:
    """Take these renderings away, or put what comes in their place; then the new ones (tuples of RECORD_COLUMNS) in."""
    left = set(gone).difference([row[0] for row in rows])
    if left:
        await tx.execute(_DROP_RECORDS, {"ids": sorted(left)})
    rows = sorted(rows, key=_FIRST)
    if len(left) < len(gone):
        await tx.put(rendered_records, RECORD_COLUMNS, ("record_id",), rows)
    else:
        await tx.insert(rendered_records, RECORD_COLUMNS, rows)


async def put_subjects(tx: Transaction, rows: Sequence[tuple[Any, ...]]) -> None:
    """Put renderings (tuples of SUBJECT_COLUMNS) in the place of those that stand."""
    await tx.put(rendered_subjects, SUBJECT_COLUMNS, ("subject_id",), sorted(rows, key=_FIRST))


async def replace_told(tx: Transaction, plan_set: str, gone: Collection[str], rows: Sequence[tuple[Any, ...]]) -> None:
    """Take away what a plan set was told of these, or put what comes in its place; then the new rows (tuples of FEED_ROW_COLUMNS) in."""
    left = set(gone).difference([row[1] for row in rows])
    if left:
        await tx.execute(_DROP_TOLD, {"plan_set": plan_set, "ids": sorted(left)})
    rows = sorted(rows, key=_SECOND)
    if len(left) < len(gone):
        await tx.put(feed_rows, FEED_ROW_COLUMNS, ("plan_set", "record_id"), rows)
    else:
        await tx.insert(feed_rows, FEED_ROW_COLUMNS, rows)


_FIRST, _SECOND = itemgetter(0), itemgetter(1)
"""Ids: in their order an index is written page by page."""


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
    used: Mapping[str, str]
    """Plan set → last legal day on which somebody could read its feed."""
    begun: frozenset[str]
    """Plan sets whose first walk is still under way."""

    @property
    def known(self) -> dict[str, str]:
        """The plan sets that have a feed, with the tag that the reader knows."""
        return dict(pair.split("=") for pair in (self.plan or "").split())


async def reader_state(source: Reads | Transaction) -> ReaderState:
    """Where the reader stands, in three short statements."""
    counted = await source.one(_GENERATION)
    positions = {row.name: int(row.position) for row in await source.all(_POSITIONS)}
    said = await _said(source)
    return ReaderState(
        position=positions.get(READER, 0),
        again=positions.get(RERENDER),
        plan=said.get(PLAN_META),
        day=said.get(DAY_META),
        generation=0 if counted is None else int(counted.value),
        used=dict(pair.split("=") for pair in said.get(USED_META, "").split()),
        begun=frozenset(said.get(BEGUN_META, "").split()),
    )


async def _said(source: Reads | Transaction) -> dict[str, str]:
    return {row.name: row.value for row in await source.all(_META, {"names": list(_WORDS)})}


async def days_used(source: Reads | Transaction) -> dict[str, str]:
    """Plan set → last legal day on which somebody could read its feed."""
    return dict(pair.split("=") for pair in (await _said(source)).get(USED_META, "").split())


async def is_whole(source: Reads | Transaction, plan_set: str) -> bool:
    """Whether what this plan set was told is everything that it is shown: its feed has begun, and its first walk has ended."""
    said = await _said(source)
    known = {pair.partition("=")[0] for pair in said.get(PLAN_META, "").split()}
    return plan_set in known and plan_set not in said.get(BEGUN_META, "").split()


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

    async def brief(self, statement: Statement, params: Parameters) -> list[Row]:
        """All rows."""
        return await self._reads.slow(statement, params)

    async def slow(self, statement: Statement, params: Parameters | None = None) -> list[Row]:
        """All rows."""
        return await self._reads.slow(statement, params)

    def stream(
        self,
        statement: Statement,
        params: Parameters | None = None,
        size: int = 1000,
        *,
        named: bool = True,
        ahead: Statement | None = None,
        made: Made | None = None,
    ) -> AsyncIterator[list[Row]]:
        """Rows in lists."""
        return self._reads.stream(statement, params, size, named=named, ahead=ahead, made=made)

    async def state(self) -> Hashable | None:
        """What stands for the state of the database."""
        return await self._reads.state()

    async def close(self) -> None:
        """The reads belong to the store."""

"""Versions of lists and datasets: each row once with the versions that hold it, issues, and what their files are (api.md §7.8).

Rules: what a version holds is what its number says of the rows, so one statement takes a row out of every version and a
build writes what changed alone. A row that left keeps id, reason and commitment, never line or salt. Everything follows from these
tables: files are copies. This room must not know what a row says.
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

import sqlalchemy as sa
from msgspec import Struct

from gateway.core.publication.columns import column_of, spelled
from gateway.core.publication.versions import OPEN, File, Issue, Kept, Leaf, Version
from gateway.store.dialects import among
from gateway.store.renderings import GENERATION
from gateway.store.store import Reads, Row, Transaction
from gateway.store.tables import (
    changes,
    counters,
    feed,
    list_file_parts,
    list_files,
    list_issues,
    list_rows,
    list_states,
    list_versions,
    readers,
    rendered_records,
)

READER = "lists"
TURNS = "lists"
"""Counts what is written here: whoever prepared something on another count begins again."""
"""Reader of the change log that takes out of the versions what leaves."""
VERSION_COLUMNS = (
    "collection", "seq", "name", "built_at", "issue", "withdrawn", "rows", "size", "root", "policy_version", "ground", "columns",
    "valid_until",
)  # fmt: skip
ROW_COLUMNS = ("collection", "record_id", "first", "until", "line", "commitment", "valid_until", "rewritten", "rewritten_fields")
ISSUE_COLUMNS = ("collection", "seq", "issue", "at", "cause", "removed", "size", "root")
PART_COLUMNS = ("collection", "seq", "issue", "format", "part", "bytes")
FOREVER = "9999-12-31T00:00:00Z"
READY = 0
"""End of a row that lies ready for a version: it is in none."""
ENDING = "ending"
"""Reason of a row that is known to end at `leaving` and is shown until then."""

_v, _r, _i, _f, _p, _s = list_versions.c, list_rows.c, list_issues.c, list_files.c, list_file_parts.c, list_states.c
_d = rendered_records.c
_of: sa.BindParameter[str] = sa.bindparam("of", type_=sa.Text())


class Built(Struct, frozen=True, kw_only=True):
    """How far a collection is built, and under what."""

    seq: int
    tag: str
    ground: str


class Standing(Struct, frozen=True, kw_only=True):
    """A row that still stands, as a build compares it."""

    record_id: str
    first: int
    line: bytes | None
    valid_until: str
    leaving: str | None
    rewritten: int


# --- reading -----------------------------------------------------------------------------------------------------------

_VERSIONS = sa.select(list_versions).where(_v.collection == _of).order_by(_v.seq.desc())
_SOME: sa.BindParameter[int] = sa.bindparam("limit", type_=sa.Integer)
_OLDER = sa.select(list_versions).where(_v.collection == _of, _v.seq < sa.bindparam("seq")).order_by(_v.seq.desc()).limit(_SOME)
_NEWER = sa.select(list_versions).where(_v.collection == _of, _v.seq > sa.bindparam("seq")).order_by(_v.seq).limit(_SOME)
_VERSION = sa.select(list_versions).where(_v.collection == _of, _v.name == sa.bindparam("name"))
_CURRENT = sa.select(list_versions).where(_v.collection == _of, _v.withdrawn.is_(sa.false())).order_by(_v.seq.desc()).limit(1)
_NEWEST = sa.select(list_versions).where(_v.collection == _of).order_by(_v.seq.desc()).limit(1)
_OLDEST = sa.select(list_versions).where(_v.collection == _of).order_by(_v.seq).limit(1)
_BEFORE = sa.select(list_versions).where(_v.collection == _of, _v.seq < sa.bindparam("seq")).order_by(_v.seq.desc()).limit(1)
_AS_OF = sa.select(list_versions).where(_v.collection == _of, _v.built_at <= sa.bindparam("at")).order_by(_v.seq.desc()).limit(1)
_ISSUES = sa.select(list_issues).where(_i.collection == _of, _i.seq == sa.bindparam("seq")).order_by(_i.issue.desc())
_FILES = sa.select(list_files).where(_f.collection == _of, _f.seq == sa.bindparam("seq"), _f.issue == sa.bindparam("issue"))
_PARTS = (
    sa.select(_p.bytes)
    .where(_p.collection == _of, _p.seq == sa.bindparam("seq"), _p.issue == sa.bindparam("issue"), _p.format == sa.bindparam("format"))
    .order_by(_p.part)
)
KEPT = sa.select(
    _r.record_id, _r.first, _r.until, _r.line, _r.commitment, _r.reason, _r.rewritten, _r.rewritten_fields, _r.leaving, _r.valid_until
)
_HOLDS = sa.and_(_r.first <= sa.bindparam("seq"), _r.until > sa.bindparam("seq"))
_LEAVES_OF = (
    sa.select(_r.record_id, _r.commitment, _r.line.is_(None).label("gone"))
    .where(_r.collection == _of, _HOLDS, _r.commitment.is_not(None))
    .order_by(_r.record_id)
)
_LINES_OF = sa.select(_r.line).where(_r.collection == _of, _HOLDS, _r.line.is_not(None)).order_by(_r.record_id)
"""In order of id: ids have one length and one case, so every collation has them alike."""
_END = sa.and_(_r.first <= sa.bindparam("end"), _r.until > sa.bindparam("end"))
_SAME = sa.and_(_r.first <= sa.bindparam("seq"), _r.until > sa.bindparam("end"), _r.line.is_not(None), _r.rewritten < sa.bindparam("seq"))
"""Stands in both of two versions, and did in every issue of them."""
_ROWS_OF_TWO = KEPT.where(_r.collection == _of, sa.or_(_HOLDS, _END), sa.not_(_SAME)).order_by(_r.record_id, _r.first)
_STANDING_IDS = sa.select(_r.record_id).where(_r.collection == _of, _r.until == OPEN)
_STANDING_AMONG = sa.select(_r.record_id, _r.first, _r.line, _r.valid_until, _r.leaving, _r.rewritten).where(
    _r.collection == _of, _r.until == OPEN, among(_r.record_id, "ids")
)
_STATE = sa.select(list_states).where(_s.collection == _of)
_PLACED = (
    sa.select((sa.func.row_number().over(order_by=_r.record_id) - 1).label("place"), _r.commitment, _r.line.is_(None).label("gone"))
    .where(_r.collection == _of, _HOLDS, _r.commitment.is_not(None))
    .subquery("placed")
)
_GONE_OF = sa.select(_PLACED.c.place, _PLACED.c.commitment).where(_PLACED.c.gone).order_by(_PLACED.c.place)
_OF_FEW = _r.collection.concat("") == _of
"""Of a collection, where another condition leaves few rows: SQLite would look through the whole collection for them."""
_FEW_IDS = sa.select(_r.record_id.concat("").label("record_id")).distinct()
"""Likewise: it would look through all rows in order of id, so as to meet each id once."""
_POSITION = sa.select(readers.c.position).where(readers.c.name == READER).scalar_subquery()
_UNREAD = (
    _FEW_IDS.select_from(changes.join(list_rows, _r.record_id == changes.c.record_id))
    .where(changes.c.seq > sa.func.coalesce(_POSITION, 0), _OF_FEW, _r.line.is_not(None), _HOLDS)
    .limit(sa.bindparam("limit"))
)
_LEAVES = sa.and_(_OF_FEW, _r.leaving.is_not(None), _r.reason != ENDING, _r.line.is_not(None))
_ANY_LEAVING = (
    sa.select(_r.record_id).where(_LEAVES).union_all(sa.select(_v.name).where(_v.collection == _of, _v.pending.is_not(None))).limit(1)
)
_ENDED_OF = _FEW_IDS.where(
    _OF_FEW, _r.valid_until <= sa.bindparam("now"), _r.valid_until < sa.literal_column("'9999'"), _r.line.is_not(None), _HOLDS
).limit(sa.bindparam("limit"))
_LEAVING_OF = (
    sa.select(_r.record_id)
    .where(_LEAVES, _HOLDS)
    .union_all(sa.select(_v.name).where(_v.collection == _of, _v.seq == sa.bindparam("seq"), _v.pending.is_not(None)))
    .limit(1)
)
_LINES_OF_SOME = sa.select(_r.record_id, _r.line).where(_r.collection == _of, _HOLDS, _r.line.is_not(None), among(_r.record_id, "ids"))
_TOUCHED = sa.select(feed.c.record_id, feed.c.op).where(
    feed.c.plan_set == sa.bindparam("plan_set"), feed.c.seq > sa.bindparam("since"), feed.c.dataset == sa.bindparam("dataset")
)
_GENERATION = sa.select(counters.c.value).where(counters.c.name == GENERATION)
_TURN = sa.select(counters.c.value).where(counters.c.name == TURNS)
_LISTED_IDS = sa.select(_d.record_id).where(_d.list == sa.bindparam("what"))
_BULK_IDS = sa.select(_d.record_id).where(_d.dataset == sa.bindparam("what"), _d.bulk.is_(sa.true()))
LISTED = sa.select(_d.record_id, _d.valid_until, _d.plan, _d.listing.label("body"), _d.salt).where(
    _d.list == sa.bindparam("what"), among(_d.record_id, "ids")
)
BULK = sa.select(_d.record_id, _d.valid_until, _d.plan, _d.body, _d.salt).where(
    _d.dataset == sa.bindparam("what"), _d.bulk.is_(sa.true()), among(_d.record_id, "ids")
)
_COLLECTIONS = sa.select(_v.collection).distinct()


def version_of(row: Row) -> Version:
    """A version from its row."""
    return Version(
        collection=row.collection, seq=int(row.seq), name=row.name, built_at=row.built_at, issue=int(row.issue),
        withdrawn=bool(row.withdrawn), rows=int(row.rows), size=int(row.size), root=bytes(row.root),
        policy_version=int(row.policy_version), ground=row.ground,
        columns=tuple(map(column_of, row.columns.split(","))), valid_until=row.valid_until,
        pending=row.pending,
    )  # fmt: skip


def _kept(row: Row) -> Kept:
    return Kept(
        record_id=row.record_id,
        first=int(row.first),
        until=int(row.until),
        line=None if row.line is None else bytes(row.line),
        commitment=None if row.commitment is None else bytes(row.commitment),
        reason=row.reason,
        rewritten=int(row.rewritten),
        rewritten_fields=tuple(row.rewritten_fields.split(",")) if row.rewritten_fields else (),
    )


def in_order(rows: Iterable[Row]) -> list[Kept]:
    """By id, whatever order the database has for text."""
    return sorted((_kept(row) for row in rows), key=lambda row: (row.record_id, row.first))


async def versions(source: Reads | Transaction, collection: str) -> list[Version]:
    """All kept versions, newest first."""
    return [version_of(row) for row in await source.all(_VERSIONS, {"of": collection})]


async def older(source: Reads, collection: str, seq: int, limit: int) -> list[Version]:
    """Some versions before a place, newest first."""
    return [version_of(row) for row in await source.all(_OLDER, {"of": collection, "seq": seq, "limit": limit})]


async def newer(source: Reads, collection: str, seq: int, limit: int) -> list[Version]:
    """Some versions after a place, oldest first."""
    return [version_of(row) for row in await source.all(_NEWER, {"of": collection, "seq": seq, "limit": limit})]


async def version(source: Reads | Transaction, collection: str, name: str) -> Version | None:
    """One version by its name."""
    row = await source.one(_VERSION, {"of": collection, "name": name})
    return None if row is None else version_of(row)


async def current(source: Reads | Transaction, collection: str) -> Version | None:
    """The newest version that is not withdrawn."""
    row = await source.one(_CURRENT, {"of": collection})
    return None if row is None else version_of(row)


async def newest(source: Reads | Transaction, collection: str) -> Version | None:
    """The newest version, withdrawn or not."""
    row = await source.one(_NEWEST, {"of": collection})
    return None if row is None else version_of(row)


async def oldest(source: Reads | Transaction, collection: str) -> Version | None:
    """The oldest version that is kept: where the window begins."""
    row = await source.one(_OLDEST, {"of": collection})
    return None if row is None else version_of(row)


async def before(source: Reads | Transaction, collection: str, seq: int) -> Version | None:
    """The version before one."""
    row = await source.one(_BEFORE, {"of": collection, "seq": seq})
    return None if row is None else version_of(row)


async def as_of(source: Reads | Transaction, collection: str, at: str) -> Version | None:
    """The version that was the newest at a moment."""
    row = await source.one(_AS_OF, {"of": collection, "at": at})
    return None if row is None else version_of(row)


async def issues(source: Reads | Transaction, version: Version) -> list[Issue]:
    """The issues of a version, newest first."""
    return [
        Issue(issue=int(row.issue), at=row.at, cause=row.cause, removed=int(row.removed), size=int(row.size), root=bytes(row.root))
        for row in await source.all(_ISSUES, {"of": version.collection, "seq": version.seq})
    ]


async def files(source: Reads | Transaction, version: Version) -> dict[str, File]:
    """What is known of the files of the present issue, by format."""
    rows = await source.all(_FILES, {"of": version.collection, "seq": version.seq, "issue": version.issue})
    return {
        row.format: File(format=row.format, size=int(row.bytes), sha256=row.sha256, sm3=row.sm3, refused=row.refused) for row in rows
    }


async def parts(source: Reads, version: Version, name: str) -> AsyncIterator[bytes]:
    """The kept bytes of a file of the present issue, piece by piece; off the loop."""
    state = {"of": version.collection, "seq": version.seq, "issue": version.issue, "format": name}
    async for rows in source.stream(_PARTS, state, 1):
        for row in rows:
            yield bytes(row.bytes)


async def gone_of(source: Reads, version: Version) -> list[tuple[int, bytes]]:
    """Place in the version's tree, and commitment, of each row that has left it; off the loop, for all its rows are counted."""
    return [(int(row.place), bytes(row.commitment)) for row in await source.slow(_GONE_OF, {"of": version.collection, "seq": version.seq})]


async def leaves_of_in(tx: Transaction, collection: str, seq: int) -> list[Leaf]:
    """The leaves of a version's tree, in order of id, with what this transaction has written."""
    return [Leaf(bytes(row.commitment), bool(row.gone)) for row in await tx.all(_LEAVES_OF, {"of": collection, "seq": seq})]


async def lines_of(source: Reads, version: Version, size: int = 1000) -> AsyncIterator[list[bytes]]:
    """The rows of the present issue, in order of id, off the loop and in flat memory."""
    async for rows in source.stream(_LINES_OF, {"of": version.collection, "seq": version.seq}, size):
        yield [bytes(row.line) for row in rows]


async def rows_of_two(source: Reads, collection: str, start: int, end: int, size: int = 1000) -> AsyncIterator[list[Kept]]:
    """What one of two versions holds or held and the other not so: whole records in order of id, off the loop and in flat memory."""
    held: list[Kept] = []
    async for rows in source.stream(_ROWS_OF_TWO, {"of": collection, "seq": start, "end": end}, size):
        held += [_kept(row) for row in rows]
        last = next(place for place in range(len(held) - 1, -1, -1) if place == 0 or held[place - 1].record_id != held[-1].record_id)
        if last:
            yield held[:last]
            del held[:last]
    if held:
        yield held


async def unread(source: Reads, version: Version, limit: int) -> list[str]:
    """Records of a version that something happened to since the reader of lists looked last."""
    rows = await source.all(_UNREAD, {"of": version.collection, "seq": version.seq, "limit": limit})
    return [row.record_id for row in rows]


async def ended_of(source: Reads, version: Version, now: str, limit: int) -> list[str]:
    """Records of a version that are to be asked again because of the time."""
    rows = await source.all(_ENDED_OF, {"of": version.collection, "seq": version.seq, "now": now, "limit": limit})
    return [row.record_id for row in rows]


async def lines_of_some(source: Reads, version: Version, ids: Sequence[str]) -> dict[str, bytes]:
    """What a version says of these records."""
    rows = await source.all(_LINES_OF_SOME, {"of": version.collection, "seq": version.seq, "ids": list(ids)})
    return {row.record_id: bytes(row.line) for row in rows}


async def is_leaving(source: Reads, version: Version) -> bool:
    """Whether a row of this version is about to go, or the version has to be issued again."""
    return await source.one(_LEAVING_OF, {"of": version.collection, "seq": version.seq}) is not None


async def any_leaving(source: Reads | Transaction, collection: str) -> bool:
    """Whether a row of any version of a collection is about to go, or a version has to be issued again."""
    return await source.one(_ANY_LEAVING, {"of": collection}) is not None


async def built(source: Reads | Transaction, collection: str) -> Built | None:
    """How far a collection is built."""
    row = await source.one(_STATE, {"of": collection})
    return None if row is None else Built(seq=int(row.seq), tag=row.tag, ground=row.ground)


async def turn(source: Reads | Transaction) -> int:
    """How often something was written here."""
    row = await source.one(_TURN)
    return 0 if row is None else int(row.value)


async def next_turn(tx: Transaction) -> int:
    """Count what is written now."""
    return await tx.number(TURNS)


async def touched(source: Reads | Transaction, plan_set: str, dataset: str, since: int) -> dict[str, str]:
    """Records of a dataset that a plan set was told of since a position, with the last word about each."""
    rows = await source.all(_TOUCHED.order_by(feed.c.seq), {"plan_set": plan_set, "dataset": dataset, "since": since})
    return {row.record_id: row.op for row in rows}


async def generation(source: Reads | Transaction) -> int:
    """Counts the passes of the reader that renders."""
    row = await source.one(_GENERATION)
    return 0 if row is None else int(row.value)


async def rendered_ids(source: Reads, what: str, *, listing: bool) -> list[str]:
    """Records that are rendered on a list or in a dataset, in order; off the loop."""
    return sorted(row.record_id for row in await source.slow(_LISTED_IDS if listing else _BULK_IDS, {"what": what}))


async def rendered(source: Reads, what: str, *, listing: bool, ids: Sequence[str]) -> list[Row]:
    """Those of these records that are rendered on a list or in a dataset, with what they say; off the loop."""
    return await source.slow(LISTED if listing else BULK, {"what": what, "ids": list(ids)})


async def collections(source: Reads | Transaction) -> list[str]:
    """Every collection that has a version."""
    return sorted(row.collection for row in await source.all(_COLLECTIONS))


async def standing(source: Reads, collection: str, ids: Sequence[str]) -> dict[str, Standing]:
    """Those of these records that still stand; off the loop."""
    rows = await source.slow(_STANDING_AMONG, {"of": collection, "ids": list(ids)})
    return {
        row.record_id: Standing(
            record_id=row.record_id,
            first=int(row.first),
            line=None if row.line is None else bytes(row.line),
            valid_until=row.valid_until,
            leaving=row.leaving,
            rewritten=int(row.rewritten),
        )
        for row in rows
    }


async def standing_ids(source: Reads, collection: str) -> list[str]:
    """All records that still stand; off the loop."""
    return [row.record_id for row in await source.slow(_STANDING_IDS, {"of": collection})]


# --- writing -----------------------------------------------------------------------------------------------------------

_CLOSE = sa.update(list_rows).values(until=sa.bindparam("next")).where(_r.collection == _of, _r.until == OPEN, among(_r.record_id, "ids"))
_READY = sa.select(sa.func.count().label("n")).where(_r.collection == _of, _r.until == READY)
_FIRST_END = sa.select(sa.func.min(_r.valid_until).label("at")).where(_r.collection == _of, _r.line.is_not(None), _HOLDS)
_WITHDRAW = sa.update(list_versions).values(withdrawn=True).where(_v.collection == _of, _v.seq == sa.bindparam("which"))
_SET_STATE = sa.text(
    "INSERT INTO list_states (collection, seq, tag, ground) VALUES (:collection, :seq, :tag, :ground)"
    " ON CONFLICT (collection) DO UPDATE SET seq = excluded.seq, tag = excluded.tag, ground = excluded.ground"
)
_SET_FILE = sa.text(
    "INSERT INTO list_files (collection, seq, issue, format, bytes, sha256, sm3, refused)"
    " VALUES (:collection, :seq, :issue, :format, :bytes, :sha256, :sm3, :refused) ON CONFLICT (collection, seq, issue, format) DO NOTHING"
)
async def put_built(tx: Transaction, collection: str, built: Built) -> None:
    """Remember how far a collection is built."""
    await tx.execute(_SET_STATE, {"collection": collection, "seq": built.seq, "tag": built.tag, "ground": built.ground})


async def first_end(tx: Transaction, collection: str, seq: int) -> str:
    """The first end of a period among the rows of a version."""
    row = await tx.one(_FIRST_END, {"of": collection, "seq": seq})
    return FOREVER if row is None or row.at is None else str(row.at)


async def close(tx: Transaction, collection: str, ids: Sequence[str], seq: int) -> None:
    """These rows stand in no version from `seq` on."""
    if ids:
        await tx.execute(_CLOSE, {"of": collection, "ids": list(ids), "next": seq})


async def lay_ready(tx: Transaction, collection: str, rows: Sequence[tuple[str, int, bytes, bytes, str]]) -> None:
    """(record, first version, line, commitment, end) of rows of a version that is being built: they are in none until `take_in`."""
    await tx.insert(
        list_rows,
        ROW_COLUMNS,
        [(collection, record_id, first, READY, line, leaf, end, 0, None) for record_id, first, line, leaf, end in rows],
    )


async def clear_ready(tx: Transaction, collection: str) -> None:
    """Take away what a build laid ready that was not finished."""
    await tx.execute(sa.delete(list_rows).where(_r.collection == collection, _r.until == READY))


async def count_ready(tx: Transaction, collection: str) -> int:
    """How many rows lie ready."""
    row = await tx.one(_READY, {"of": collection})
    return 0 if row is None else int(row.n)


async def take_in(tx: Transaction, collection: str, seq: int) -> None:
    """What lies ready is in the version `seq` and in those after it."""
    await tx.execute(sa.update(list_rows).where(_r.collection == collection, _r.until == READY).values(until=OPEN, first=seq))


async def add_version(tx: Transaction, version: Version) -> None:
    """A new version, and its first issue."""
    await tx.insert(
        list_versions,
        VERSION_COLUMNS,
        [(
            version.collection, version.seq, version.name, version.built_at, version.issue, version.withdrawn, version.rows, version.size,
            version.root, version.policy_version, version.ground, ",".join(map(spelled, version.columns)), version.valid_until,
        )],
    )  # fmt: skip
    first = Issue(issue=version.issue, at=version.built_at, cause="built", removed=0, size=version.size, root=version.root)
    await add_issue(tx, [(version, first)])


async def add_issue(tx: Transaction, made: Sequence[tuple[Version, Issue]]) -> None:
    """Issues of versions."""
    await tx.insert(
        list_issues,
        ISSUE_COLUMNS,
        [(of.collection, of.seq, each.issue, each.at, each.cause, each.removed, each.size, each.root) for of, each in made],
    )


async def withdraw(tx: Transaction, version: Version) -> None:
    """A version that was published in error: no byte of it is kept."""
    await tx.execute(_WITHDRAW, {"of": version.collection, "which": version.seq})
    await tx.execute(sa.delete(list_file_parts).where(_p.collection == version.collection, _p.seq == version.seq))
    tx.shredded = True


async def put_files(tx: Transaction, version: Version, made: Mapping[str, File]) -> None:
    """Remember what the files of an issue are."""
    for file in made.values():
        await tx.execute(
            _SET_FILE,
            {
                "collection": version.collection, "seq": version.seq, "issue": version.issue, "format": file.format, "bytes": file.size,
                "sha256": file.sha256, "sm3": file.sm3, "refused": file.refused,
            },
        )  # fmt: skip


async def put_parts(tx: Transaction, version: Version, name: str, pieces: Iterable[bytes]) -> None:
    """Keep the bytes of a file with the issue, piece by piece."""
    for place, piece in enumerate(pieces):
        await tx.insert(list_file_parts, PART_COLUMNS, [(version.collection, version.seq, version.issue, name, place, piece)])


async def drop_before(tx: Transaction, collection: str, seq: int) -> None:
    """Take away versions before one, and rows that stand in none any more."""
    for table, column in ((list_versions, _v.seq), (list_issues, _i.seq), (list_files, _f.seq), (list_file_parts, _p.seq)):
        await tx.execute(sa.delete(table).where(table.c.collection == collection, column < seq))
    await tx.execute(sa.delete(list_rows).where(_r.collection == collection, _r.until <= seq))
    tx.shredded = True

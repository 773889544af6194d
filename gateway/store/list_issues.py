"""What takes rows, or parts of them, out of versions that stand, and issues these again (api.md §7.8).

Rules: line and salt go in the transaction that marks the versions which held them as `pending`; nothing of such a version is given until
it has its next issue, whoever is killed between the two. Only what is issued again counts issues up. This room must not know what a
row says.
"""

from bisect import bisect_left
from collections.abc import AsyncIterator, Iterable, Sequence

import sqlalchemy as sa
from msgspec import Struct, structs

from gateway.core.publication.columns import spelled
from gateway.core.publication.versions import OPEN, Cause, Issue, Kept, Version
from gateway.store.dialects import among
from gateway.store.lists import (
    BULK,
    ENDING,
    FOREVER,
    KEPT,
    LISTED,
    READY,
    Built,
    add_issue,
    in_order,
    put_built,
    version_of,
    versions,
)
from gateway.store.store import Reads, Row, Transaction
from gateway.store.tables import list_file_parts, list_files, list_rows, list_states, list_versions

_WEIGHTS: Sequence[Cause] = ("removal", "redacted", "policy")

_v, _r, _f, _s = list_versions.c, list_rows.c, list_files.c, list_states.c
_of: sa.BindParameter[str] = sa.bindparam("of", type_=sa.Text())
_ENDING: sa.ColumnElement[str] = sa.literal_column("'9999'")
_STAYS = sa.or_(_r.leaving.is_(None), _r.reason == ENDING)
"""Nobody has said of it that it leaves now."""


class Held(Struct, frozen=True, kw_only=True):
    """Where a record stands in versions."""

    collection: str
    record_id: str
    first: int
    until: int
    valid_until: str
    ending: bool
    """It was found to end, and is shown until then."""


class Span(Struct, frozen=True, kw_only=True):
    """A row as the tree and the count of a version see it."""

    first: int
    until: int
    commitment: bytes | None
    gone: bool
    valid_until: str


# --- reading -----------------------------------------------------------------------------------------------------------

_HELD = sa.select(_r.collection, _r.record_id, _r.first, _r.until, _r.valid_until, _r.leaving.is_not(None).label("ending"))
_HELD_AMONG = _HELD.where(among(_r.record_id, "ids"), _r.line.is_not(None), _STAYS)
_HELD_OF = _HELD.where(_r.collection == _of, among(_r.record_id, "ids"), _r.line.is_not(None))
_ENDED = _HELD.where(_r.valid_until <= sa.bindparam("now"), _r.valid_until < _ENDING, _r.line.is_not(None), _r.leaving.is_(None)).limit(
    sa.bindparam("limit")
)
_ENDING_AT = _HELD.where(_r.valid_until <= sa.bindparam("at"), _r.valid_until < _ENDING, _r.line.is_not(None), _r.leaving.is_(None))
_DUE = _HELD.where(
    _r.leaving <= sa.bindparam("now"), _r.line.is_not(None), sa.or_(_r.reason != ENDING, _r.valid_until <= _r.leaving)
).limit(sa.bindparam("limit"))
_NEXT_END = sa.select(sa.func.min(_r.valid_until).label("at")).where(_r.valid_until < _ENDING, _r.line.is_not(None), _r.leaving.is_(None))
_NEXT_DUE = sa.select(sa.func.min(_r.leaving).label("at")).where(
    _r.leaving.is_not(None), _r.line.is_not(None), sa.or_(_r.reason != ENDING, _r.valid_until <= _r.leaving)
)
_LINES_AMONG = KEPT.where(_r.collection == _of, among(_r.record_id, "ids"), _r.line.is_not(None))
_NEXT_IDS = (
    sa.select(_r.record_id)
    .distinct()
    .where(_r.collection == _of, _r.record_id > sa.bindparam("after"), _r.line.is_not(None))
    .order_by(_r.record_id)
    .limit(sa.bindparam("limit"))
)
_PENDING = sa.select(list_versions).where(_v.pending.is_not(None)).order_by(_v.collection, _v.seq.desc())
_SPANS = (
    sa.select(_r.first, _r.until, _r.commitment, _r.line.is_(None).label("gone"), _r.valid_until)
    .where(_r.collection == _of, _r.until != READY)
    .order_by(_r.record_id, _r.first)
)
_STATES = sa.select(list_states)


def _held(rows: Iterable[Row]) -> list[Held]:
    return [
        Held(
            collection=row.collection,
            record_id=row.record_id,
            first=int(row.first),
            until=int(row.until),
            valid_until=row.valid_until,
            ending=bool(row.ending),
        )
        for row in rows
    ]


async def held_among(tx: Transaction, ids: Sequence[str]) -> list[Held]:
    """Where these records stand in versions."""
    return _held(await tx.all(_HELD_AMONG, {"ids": list(ids)}))


async def held_of(tx: Transaction, collection: str, ids: Sequence[str]) -> list[Held]:
    """Every row of these records in one collection that says something."""
    return _held(await tx.all(_HELD_OF, {"of": collection, "ids": list(ids)}))


async def ended(source: Reads | Transaction, now: str, limit: int) -> list[Held]:
    """Rows of versions that are to be asked again because of the time."""
    return _held(await source.all(_ENDED, {"now": now, "limit": limit}))


async def ending(source: Reads | Transaction, at: str) -> list[Held]:
    """Rows of versions that are to be asked again by this moment, of which nobody has said what becomes of them."""
    return _held(await source.all(_ENDING_AT, {"at": at}))


async def due(source: Reads | Transaction, now: str, limit: int) -> list[Held]:
    """Rows whose moment to go has come."""
    return _held(await source.all(_DUE, {"now": now, "limit": limit}))


async def next_dates(source: Reads | Transaction) -> list[str | None]:
    """From when a row has `ended`, and from when one is `due`."""
    return [None if row is None else row.at for row in (await source.one(_NEXT_END), await source.one(_NEXT_DUE))]


async def lines_among(source: Reads | Transaction, collection: str, ids: Sequence[str]) -> list[Kept]:
    """The lines of these records in whatever version, in order of id."""
    return in_order(await source.all(_LINES_AMONG, {"of": collection, "ids": list(ids)}))


async def next_ids(source: Reads | Transaction, collection: str, after: str, limit: int) -> list[str]:
    """The next records of a collection that have a line in some version, in order."""
    return [row.record_id for row in await source.all(_NEXT_IDS, {"of": collection, "after": after, "limit": limit})]


async def rendered_now(tx: Transaction, what: str, *, listing: bool, ids: Sequence[str]) -> dict[str, Row]:
    """Those of these records that are rendered on a list or in a dataset as this transaction sees it, with what they say."""
    return {row.record_id: row for row in await tx.all(LISTED if listing else BULK, {"what": what, "ids": list(ids)})}


async def pending(source: Reads | Transaction) -> list[Version]:
    """Versions that have to be issued again: by collection, newest first."""
    return [version_of(row) for row in await source.all(_PENDING)]


async def spans(source: Reads, collection: str, size: int = 5000) -> AsyncIterator[list[Span]]:
    """Every row of a collection through its time, in order of id, off the loop and in flat memory."""
    async for rows in source.stream(_SPANS, {"of": collection}, size):
        yield [
            Span(
                first=int(row.first),
                until=int(row.until),
                commitment=None if row.commitment is None else bytes(row.commitment),
                gone=bool(row.gone),
                valid_until=row.valid_until,
            )
            for row in rows
        ]


async def states(source: Reads | Transaction) -> dict[str, Built]:
    """How far every collection is built, and under what."""
    return {row.collection: Built(seq=int(row.seq), tag=row.tag, ground=row.ground) for row in await source.all(_STATES)}


# --- writing -----------------------------------------------------------------------------------------------------------

_MARK = (
    sa.update(list_rows)
    .values(leaving=sa.bindparam("at"), reason=sa.bindparam("why"))
    .where(_r.collection == _of, _r.record_id == sa.bindparam("which"), _r.line.is_not(None), _STAYS)
)
_MOVE_END = (
    sa.update(list_rows)
    .values(valid_until=sa.bindparam("end"), leaving=None, reason=None)
    .where(_r.collection == _of, _r.record_id == sa.bindparam("which"), _r.line.is_not(None), _STAYS)
)
_ERASE = (
    sa.update(list_rows)
    .values(
        line=None,
        valid_until=FOREVER,
        leaving=None,
        reason=sa.case((_r.reason.is_(None), "removed"), (_r.reason == ENDING, "expired"), else_=_r.reason),
        until=sa.case((_r.until == OPEN, sa.bindparam("next")), else_=_r.until),
    )
    .where(_r.collection == _of, among(_r.record_id, "ids"), _r.line.is_not(None))
)
_ERASE_READY = sa.delete(list_rows).where(_r.collection == _of, _r.until == READY, among(_r.record_id, "ids"))
_UNPLANT = sa.update(list_rows).values(commitment=None).where(_r.collection == _of, _r.line.is_(None), _r.commitment.is_not(None))
_REWRITE = (
    sa.update(list_rows)
    .values(
        line=sa.bindparam("new_line"), commitment=sa.bindparam("new_leaf"), rewritten=sa.bindparam("newest"),
        rewritten_fields=sa.bindparam("paths"),
    )
    .where(_r.collection == _of, _r.record_id == sa.bindparam("which"), _r.first == sa.bindparam("came"))
)  # fmt: skip
_PEND = sa.update(list_versions).values(pending=sa.bindparam("cause")).where(_v.collection == _of, _v.seq == sa.bindparam("which"))
_RE_ISSUE = (
    sa.update(list_versions)
    .values(
        issue=sa.bindparam("new_issue"), rows=sa.bindparam("new_rows"), size=sa.bindparam("new_size"), root=sa.bindparam("new_root"),
        valid_until=sa.bindparam("end"), columns=sa.bindparam("new_columns"), policy_version=sa.bindparam("new_policy"), pending=None,
    )
    .where(_v.collection == _of, _v.seq == sa.bindparam("which"))
)  # fmt: skip
_SET_VALID = sa.update(list_versions).values(valid_until=sa.bindparam("end")).where(_v.collection == _of, _v.seq == sa.bindparam("which"))
_SET_GROUND = sa.update(list_versions).values(ground=sa.bindparam("new_ground")).where(_v.collection == _of)
_OLD_FILES = sa.delete(list_files).where(_f.collection == _of, _f.seq == sa.bindparam("which"))
_OLD_PARTS = sa.delete(list_file_parts).where(list_file_parts.c.collection == _of, list_file_parts.c.seq == sa.bindparam("which"))
_ENDS = (
    sa.select(_r.first, _r.until, sa.func.min(_r.valid_until).label("end"))
    .where(_r.collection == _of, _r.line.is_not(None), _r.valid_until < _ENDING, _r.until != READY)
    .group_by(_r.first, _r.until)
)


async def mark_leaving(tx: Transaction, rows: Sequence[tuple[str, str, str, str]]) -> None:
    """(collection, record, moment, reason) of what leaves: until its moment the versions that hold it are not served."""
    if rows:
        await tx.execute(_MARK, [{"of": of, "which": which, "at": at, "why": why} for of, which, at, why in rows])


async def move_ends(tx: Transaction, rows: Sequence[tuple[str, str, str]]) -> None:
    """(collection, record, end) of what is shown for another time than before; the versions that hold it are asked again."""
    if not rows:
        return
    await tx.execute(_MOVE_END, [{"of": of, "which": which, "end": end} for of, which, end in rows])
    for collection in sorted({of for of, _, _ in rows}):
        held = await versions(tx, collection)
        ends = Ends([each.seq for each in held])
        for row in await tx.all(_ENDS, {"of": collection}):
            ends.add(int(row.first), int(row.until), row.end)
        moved = [{"of": collection, "which": each.seq, "end": end} for each in held if (end := ends.of(each.seq)) != each.valid_until]
        if moved:
            await tx.execute(_SET_VALID, moved)


class Ends:
    """The first end among the rows of each version."""

    def __init__(self, seqs: Iterable[int]) -> None:
        self._seqs = sorted(seqs)
        self._spans: dict[tuple[int, int], str] = {}
        self._found: dict[int, str] | None = None

    def add(self, first: int, until: int, end: str) -> None:
        """A row that stands in the versions of a span."""
        place = (bisect_left(self._seqs, first), bisect_left(self._seqs, until))
        if place[0] < place[1] and end < self._spans.get(place, FOREVER):
            self._spans[place] = end

    def of(self, seq: int) -> str:
        """The first end of one version."""
        if self._found is None:
            self._found = {}
            open_ = list(self._seqs)
            for (start, stop), end in sorted(self._spans.items(), key=lambda item: item[1]):
                if not open_:
                    break
                low, high = bisect_left(open_, self._seqs[start]), bisect_left(open_, self._seqs[stop - 1] + 1)
                self._found |= dict.fromkeys(open_[low:high], end)
                del open_[low:high]
        return self._found.get(seq, FOREVER)


async def erase(tx: Transaction, collection: str, ids: Sequence[str]) -> None:
    """Take line and salt of these records away; they stand in no later version than there is now.

    What a build has laid ready goes whole: it is in no version, and where there is none yet nothing else would take it away.
    """
    if not ids:
        return
    await tx.execute(_ERASE_READY, {"of": collection, "ids": list(ids)})
    if held := await versions(tx, collection):
        await tx.execute(_ERASE, {"of": collection, "ids": list(ids), "next": held[0].seq + 1})
    tx.shredded = True  # the write-ahead log holds the line too


async def rewrite(tx: Transaction, collection: str, rows: Sequence[tuple[Kept, bytes, bytes, Sequence[str]]]) -> None:
    """Narrower lines in place of others, under new commitments."""
    held = await versions(tx, collection)
    if not rows or not held:
        return
    await tx.execute(
        _REWRITE,
        [
            {
                "of": collection, "which": row.record_id, "came": row.first, "new_line": line, "new_leaf": leaf, "newest": held[0].seq,
                "paths": ",".join(sorted({*row.rewritten_fields, *paths})),
            }
            for row, line, leaf, paths in rows
        ],
    )  # fmt: skip
    tx.shredded = True


async def unplant(tx: Transaction, collection: str) -> None:
    """What left before stands in no tree any more."""
    await tx.execute(_UNPLANT, {"of": collection})


async def pend(tx: Transaction, collection: str, cause: Cause, rows: Iterable[Held | Kept] | None = None) -> None:
    """The versions that hold these rows (or all) have to be issued again, and their kept bytes go; the weightier of two causes stays."""
    held = await versions(tx, collection)
    lighter = {None, *_WEIGHTS[: _WEIGHTS.index(cause)]}
    if rows is None:
        hit = {each.seq for each in held}
    else:
        seqs = sorted(each.seq for each in held)
        spans = {(bisect_left(seqs, row.first), bisect_left(seqs, row.until)) for row in rows}
        hit = {seq for start, stop in spans for seq in seqs[start:stop]}
    marked = [{"of": collection, "which": each.seq, "cause": cause} for each in held if each.seq in hit and each.pending in lighter]
    if marked:
        await tx.execute(_PEND, marked)
    if hit:
        await tx.execute(_OLD_PARTS, [{"of": collection, "which": seq} for seq in sorted(hit)])


async def re_issue(tx: Transaction, anew: Sequence[tuple[Version, int]], *, at: str, causes: Sequence[Cause]) -> None:
    """The next issue of versions; each is the old one with what is new about it, and how many rows it lost."""
    if not anew:
        return
    counted = [structs.replace(version, issue=version.issue + 1) for version, _ in anew]
    await tx.execute(
        _RE_ISSUE,
        [
            {
                "of": each.collection, "which": each.seq, "new_issue": each.issue, "new_rows": each.rows, "new_size": each.size,
                "new_root": each.root, "end": each.valid_until, "new_columns": ",".join(map(spelled, each.columns)),
                "new_policy": each.policy_version,
            }
            for each in counted
        ],
    )  # fmt: skip
    issues = [
        Issue(issue=each.issue, at=at, cause=cause, removed=removed, size=each.size, root=each.root)
        for each, (_, removed), cause in zip(counted, anew, causes, strict=True)
    ]
    await add_issue(tx, list(zip(counted, issues, strict=True)))
    await tx.execute(_OLD_FILES, [{"of": each.collection, "which": each.seq} for each in counted])


async def stand_under(tx: Transaction, collection: str, ground: str, state: Built) -> None:
    """All rows of all versions were held against these plans."""
    await tx.execute(_SET_GROUND, {"of": collection, "new_ground": ground})
    await put_built(tx, collection, structs.replace(state, ground=ground))

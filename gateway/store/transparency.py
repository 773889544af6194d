"""The transparency log: entries, tiles, heads, and what each record's latest entry says (exchange.md §15).

Rules: entries are only ever added, under the one writer's turn; tiles grow with them in the same transaction. A signed head stands
here before it is given to anybody. This room must not know what an entry says, nor sign.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from hashlib import sha256

import sqlalchemy as sa
from msgspec import Struct, structs

from gateway.core.transparency.entries import Place
from gateway.core.transparency.tiles import WIDTH, TileName
from gateway.store.dialects import among
from gateway.store.store import Reads, Row, Source, Transaction
from gateway.store.tables import log_entries, log_heads, log_pending, log_states, log_tiles, rendered_records, witnessed_heads

_e, _t, _h, _s, _p, _w, _d = (
    log_entries.c, log_tiles.c, log_heads.c, log_states.c, log_pending.c, witnessed_heads.c, rendered_records.c,
)  # fmt: skip
ENTRY_COLUMNS = ("year", "idx", "record_id", "at", "commitment", "entry")
TILE_COLUMNS = ("year", "level", "number", "width", "hashes")
STATE_COLUMNS = ("record_id", "year", "idx", "v", "op", "commitment", "authority")
PENDING_COLUMNS = ("record_id", "since", "op", "reason")
_year: sa.BindParameter[int] = sa.bindparam("of", type_=sa.Integer)


class Head(Struct, frozen=True, kw_only=True):
    """A year's log: how large it is, and its newest signed head."""

    year: int
    size: int
    tree: bytes
    signed_size: int = 0
    signed_at: str | None = None
    note: str | None = None
    unwitnessed_since: str | None = None


class State(Struct, frozen=True, kw_only=True):
    """What the latest entry about a record says."""

    record_id: str
    place: Place
    v: int
    op: str
    commitment: bytes | None
    authority: str | None
    """Who decided, as the public was told."""


class Pending(Struct, frozen=True, kw_only=True):
    """A listing that was rendered otherwise, or is not any more."""

    record_id: str
    since: str
    op: str | None
    reason: str | None


class Listed(Struct, frozen=True, kw_only=True):
    """A listing as the public is shown it."""

    record_id: str
    dataset: str
    plan: str
    valid_until: str
    listing: bytes


class ListedInAllForms(Listed, frozen=True, kw_only=True):
    """The same with the other forms of the record: its page, and a CSV line of either."""

    page: bytes
    lines: tuple[bytes, bytes | None]


class WitnessedHead(Struct, frozen=True, kw_only=True):
    """A head of a partner's log that we signed."""

    origin: str
    size: int
    root: bytes
    at: str
    note: str


# --- reading ----------------------------------------------------------------------------------------------------------

_HEADS = sa.select(log_heads).order_by(_h.year)
_HEAD = sa.select(log_heads).where(_h.year == _year)
_ENTRY = sa.select(_e.entry, _e.at).where(_e.year == _year, _e.idx == sa.bindparam("idx"))
_ENTRIES = (
    sa.select(_e.idx, _e.entry).where(_e.year == _year, _e.idx >= sa.bindparam("low"), _e.idx < sa.bindparam("high")).order_by(_e.idx)
)
_ALL = (
    sa.select(_e.entry).where(_e.year == _year, _e.idx >= sa.bindparam("low"), _e.idx < sa.bindparam("high")).order_by(_e.idx)
)
_TILE = sa.select(_t.hashes).where(_t.year == _year, _t.level == sa.bindparam("level"), _t.number == sa.bindparam("number"))
_EDGES = sa.select(_t.level, _t.hashes).where(_t.year == _year, _t.width < WIDTH)
_STATES = sa.select(log_states).where(among(_s.record_id, "ids"))
_PLACE_OF = (
    sa.select(_e.year, _e.idx)
    .where(_e.commitment == sa.bindparam("commitment", type_=sa.LargeBinary))
    .order_by(_e.year.desc(), _e.idx.desc())
    .limit(1)
)
_NEXT_OF = (
    sa.select(_e.at)
    .where(
        _e.record_id == sa.bindparam("record_id"),
        sa.or_(_e.year > _year, sa.and_(_e.year == _year, _e.idx > sa.bindparam("idx"))),
    )
    .order_by(_e.year, _e.idx)
    .limit(1)
)
_PENDING = sa.select(log_pending).where(_p.since <= sa.bindparam("now")).order_by(_p.since, _p.record_id).limit(sa.bindparam("limit"))
_LISTED = sa.select(_d.record_id, _d.dataset, _d.plan, _d.valid_until, _d.listing).where(
    _d.list.is_not(None), _d.listing.is_not(None), among(_d.record_id, "ids")
)
_SALTS = sa.select(_d.record_id, _d.salt).where(_d.salt.is_not(None), among(_d.record_id, "ids"))
_ALL_LISTED = (
    sa.select(_d.record_id, _d.dataset, _d.plan, _d.valid_until, _d.listing, _d.body, _d.flat, _d.listing_flat)
    .where(_d.list.is_not(None), _d.listing.is_not(None))
    .order_by(_d.record_id)
)
_ALL_STATES = sa.select(log_states).order_by(_s.record_id)
_HISTORY = sa.select(_e.year, _e.idx, _e.at, _e.entry).where(_e.record_id == sa.bindparam("record_id")).order_by(_e.year, _e.idx)
_WITNESSED = sa.select(witnessed_heads).where(_w.origin == sa.bindparam("origin"))
_WITNESSED_BY = sa.select(witnessed_heads).where(_w.digest == sa.bindparam("digest"))


def _raw(value: bytes | str) -> bytes:
    """What stands in a column of bytes; whoever edits it by hand in SQLite may leave a text there, and is to be named for it."""
    return value.encode() if isinstance(value, str) else bytes(value)


def _head_of(row: Row) -> Head:
    return Head(
        year=int(row.year), size=int(row.size), tree=_raw(row.tree), signed_size=int(row.signed_size), signed_at=row.signed_at,
        note=row.note, unwitnessed_since=row.unwitnessed_since,
    )  # fmt: skip


def _state_of(row: Row) -> State:
    return State(
        record_id=row.record_id, place=Place(int(row.year), int(row.idx)), v=int(row.v), op=row.op,
        commitment=None if row.commitment is None else _raw(row.commitment), authority=row.authority,
    )  # fmt: skip


def _listed_of(row: Row) -> Listed:
    return Listed(record_id=row.record_id, dataset=row.dataset, plan=row.plan, valid_until=row.valid_until, listing=_raw(row.listing))


async def heads(source: Source) -> list[Head]:
    """The logs of all years, the oldest first."""
    return [_head_of(row) for row in await source.all(_HEADS)]


async def head(source: Source, year: int) -> Head | None:
    """The log of a year."""
    row = await source.one(_HEAD, {"of": year})
    return None if row is None else _head_of(row)


async def entry(source: Source, place: Place) -> tuple[bytes, str] | None:
    """One entry, and when it was entered."""
    row = await source.one(_ENTRY, {"of": place.year, "idx": place.index})
    return None if row is None else (_raw(row.entry), row.at)


async def entries(source: Source, year: int, low: int, high: int) -> list[bytes]:
    """Some entries, in order."""
    return [_raw(row.entry) for row in await source.all(_ENTRIES, {"of": year, "low": low, "high": high})]


async def all_entries(source: Reads, year: int, size: int, chunk: int = 1024, *, first: int = 0) -> AsyncIterator[list[bytes]]:
    """The entries of a head from one of them on, in order and in flat memory."""
    async for rows in source.stream(_ALL, {"of": year, "low": first, "high": size}, chunk):
        yield [_raw(row.entry) for row in rows]


async def tiles(source: Source, year: int, names: Sequence[TileName]) -> dict[TileName, bytes]:
    """Tiles as they stand now, cut to the widths that are asked; missing ones are not there."""
    found: dict[TileName, bytes] = {}
    for name in names:
        row = await source.one(_TILE, {"of": year, "level": name.level, "number": name.number})
        if row is not None:
            found[name] = _raw(row.hashes)[: name.width * 32]
    return found


async def edges(tx: Transaction, year: int) -> dict[int, bytes]:
    """The partial tiles of a log, by level."""
    return {int(row.level): _raw(row.hashes) for row in await tx.all(_EDGES, {"of": year})}


async def states(source: Source, ids: Sequence[str]) -> dict[str, State]:
    """What the latest entries about these records say."""
    return {row.record_id: _state_of(row) for row in await source.all(_STATES, {"ids": list(ids)})}


async def place_of(source: Source, commitment: bytes) -> Place | None:
    """The latest entry that bears a commitment."""
    row = await source.one(_PLACE_OF, {"commitment": commitment})
    return None if row is None else Place(int(row.year), int(row.idx))


async def next_of(source: Source, record_id: str, place: Place) -> str | None:
    """When the next entry about the same record was entered; None: there is none."""
    row = await source.one(_NEXT_OF, {"record_id": record_id, "of": place.year, "idx": place.index})
    return None if row is None else str(row.at)


async def all_states(source: Reads, chunk: int = 2000) -> AsyncIterator[list[State]]:
    """What the latest entries about all records say, by record."""
    async for rows in source.stream(_ALL_STATES, {}, chunk):
        yield [_state_of(row) for row in rows]


async def history(source: Source, record_id: str) -> list[tuple[Place, bytes, str]]:
    """Every entry about a record."""
    return [(Place(int(row.year), int(row.idx)), _raw(row.entry), row.at) for row in await source.all(_HISTORY, {"record_id": record_id})]


async def pending(source: Source, now: str, limit: int) -> list[Pending]:
    """Listings to look at, those that wait longest first."""
    return [
        Pending(record_id=row.record_id, since=row.since, op=row.op, reason=row.reason)
        for row in await source.all(_PENDING, {"now": now, "limit": limit})
    ]


async def listed(source: Source, ids: Sequence[str]) -> dict[str, Listed]:
    """What the public is shown of these listings."""
    return {row.record_id: _listed_of(row) for row in await source.all(_LISTED, {"ids": list(ids)})}


async def salts(source: Source, ids: Sequence[str]) -> dict[str, bytes]:
    """The salts of these listings, as they were rendered last."""
    return {row.record_id: _raw(row.salt) for row in await source.all(_SALTS, {"ids": list(ids)})}


async def all_listed(source: Reads, chunk: int = 100) -> AsyncIterator[list[ListedInAllForms]]:
    """Every listing that the public is shown, by record, with the other forms of it."""
    async for rows in source.stream(_ALL_LISTED, {}, chunk):
        yield [
            ListedInAllForms(
                **structs.asdict(_listed_of(row)),
                page=_raw(row.body),
                lines=(_raw(row.flat), None if row.listing_flat is None else _raw(row.listing_flat)),
            )
            for row in rows
        ]


async def witnessed(source: Source, origin: str) -> WitnessedHead | None:
    """The newest head of a log that we signed."""
    return _witnessed(await source.one(_WITNESSED, {"origin": origin}))


async def witnessed_by_digest(source: Source, digest: str) -> WitnessedHead | None:
    """The same, by the SHA-256 of the log's origin in hex."""
    return _witnessed(await source.one(_WITNESSED_BY, {"digest": digest}))


def _witnessed(row: Row | None) -> WitnessedHead | None:
    if row is None:
        return None
    return WitnessedHead(origin=row.origin, size=int(row.size), root=_raw(row.root), at=row.at, note=row.note)


# --- writing ----------------------------------------------------------------------------------------------------------

_PUT_HEAD = sa.text(
    "INSERT INTO log_heads (year, size, tree, signed_size) VALUES (:year, :size, :tree, 0)"
    " ON CONFLICT (year) DO UPDATE SET size = excluded.size, tree = excluded.tree"
)
_SIGN = (
    sa.update(log_heads)
    .values(
        signed_size=sa.bindparam("n"), signed_at=sa.bindparam("when"), note=sa.bindparam("text"), unwitnessed_since=sa.bindparam("since")
    )
    .where(_h.year == _year)
)
_LOOKED_AT = sa.delete(log_pending).where(_p.record_id == sa.bindparam("which"), _p.since == sa.bindparam("then"))
_PUT_WITNESSED = sa.text(
    "INSERT INTO witnessed_heads (origin, digest, size, root, at, note) VALUES (:origin, :digest, :size, :root, :at, :note)"
    " ON CONFLICT (origin) DO UPDATE SET size = excluded.size, root = excluded.root, at = excluded.at, note = excluded.note"
)


async def append(tx: Transaction, head: Head, added: Sequence[tuple[str, bytes | None, bytes]], changed: Mapping[TileName, bytes]) -> None:
    """Entries behind those there are, each with its record and commitment, the tiles that grew, and the head that results."""
    first = head.size - len(added)
    await tx.insert(
        log_entries,
        ENTRY_COLUMNS,
        [(head.year, first + place, record_id, tx.now_text, leaf, body) for place, (record_id, leaf, body) in enumerate(added)],
    )
    tiles_now = [(head.year, name.level, name.number, name.width, hashes) for name, hashes in changed.items()]
    await tx.put(log_tiles, TILE_COLUMNS, ("year", "level", "number"), tiles_now)
    await tx.execute(_PUT_HEAD, {"year": head.year, "size": head.size, "tree": head.tree})


async def sign(tx: Transaction, year: int, size: int, note: str, *, unwitnessed_since: str | None) -> None:
    """The newest signed head of a year."""
    await tx.execute(_SIGN, {"of": year, "n": size, "when": tx.now_text, "text": note, "since": unwitnessed_since})


async def put_note(tx: Transaction, head: Head, note: str, *, unwitnessed_since: str | None) -> None:
    """The same head with other cosignatures."""
    await tx.execute(_SIGN, {"of": head.year, "n": head.signed_size, "when": head.signed_at, "text": note, "since": unwitnessed_since})


async def put_states(tx: Transaction, made: Sequence[State]) -> None:
    """The latest entries about records."""
    rows = [(state.record_id, state.place.year, state.place.index, state.v, state.op, state.commitment, state.authority) for state in made]
    await tx.put(log_states, STATE_COLUMNS, ("record_id",), rows)


async def await_entries(tx: Transaction, waiting: Sequence[Pending]) -> None:
    """These listings are to be looked at; whatever was to be done for them before is done with it."""
    rows = [(each.record_id, each.since, each.op, each.reason) for each in waiting]
    await tx.put(log_pending, PENDING_COLUMNS, ("record_id",), rows)


async def looked_at(tx: Transaction, seen: Sequence[Pending]) -> None:
    """These have been; one that was rendered again meanwhile stays."""
    if seen:
        await tx.execute(_LOOKED_AT, [{"which": each.record_id, "then": each.since} for each in seen])


async def put_witnessed(tx: Transaction, origin: str, size: int, root: bytes, note: str) -> None:
    """A head that we signed as a witness."""
    await tx.execute(
        _PUT_WITNESSED,
        {
            "origin": origin, "digest": sha256(origin.encode()).hexdigest(), "size": size, "root": root, "at": tx.now_text, "note": note,
        },
    )  # fmt: skip

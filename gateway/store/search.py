"""The names index: which organisations share tokens with a query; SQLite FTS5, PostgreSQL text arrays under GIN, equal answers.

Rules: rows are made from what the public may see, organisations only. The engines only gather candidates; `core/publication/names`
looks at the text again, so both databases answer alike. A token reaches an engine quoted or as an array element: no search
operator can be typed. No LIKE over the register. A contentless index deletes a row by its old tokens, which is why they stand in
the ordinary table. The key of a name is its place among all names (`core/publication/names`), so that both engines give names in
that order, and whoever wants a few reads a few. This room must not rank.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import timedelta
from functools import lru_cache
from operator import attrgetter, itemgetter
from typing import Any

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from gateway.core.publication.rendering import Name
from gateway.core.publication.searching import EXACT_CORE, EXACT_NAME, PREFIX, Edge, Step
from gateway.store.dialects import among
from gateway.store.store import Reads, Row, Transaction, stamp
from gateway.store.tables import meta, names

_fts = sa.Table("names_fts", sa.MetaData(), sa.Column("rowid", sa.Integer), sa.Column("names_fts", sa.Text), sa.Column("tokens", sa.Text))
"""SQLite's virtual table, made by the first migration; it is no part of the metadata."""
_COLUMNS = ("name_id", "subject_id", "role", "shown", "name_norm", "core", "tokens")
_JSON = msgspec.json.Encoder()
_PLACE = attrgetter("place")


MERGE_PAGES = 500
"""Pages of the token index that are merged in one transaction."""
_CHANGED = sa.text("SELECT total_changes()")
_MERGE = sa.text("INSERT INTO names_fts (names_fts, rank) VALUES ('merge', :pages)")
_SOMETHING = 2
"""A merge that changed fewer rows had nothing to do (SQLite, FTS5 §6.7)."""
_TIDIED = sa.select(meta.c.value).where(meta.c.name == "names_tidied")
_NOTE_TIDIED = sa.text(
    "INSERT INTO meta (name, value) VALUES ('names_tidied', :now) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
)
_PIECES = sa.text(
    "WITH RECURSIVE piece (number) AS (SELECT min(segid) FROM names_fts_idx UNION ALL"
    " SELECT (SELECT min(segid) FROM names_fts_idx WHERE segid > number) FROM piece WHERE number IS NOT NULL)"
    " SELECT count(number) AS number FROM piece"
)
"""From one to the next: what lies between them, a row for each page, is not read."""

_n = names.c
_FOUND = (_n.name_id.label("place"), _n.subject_id, _n.role, _n.shown, _n.name_norm, _n.core, _n.tokens)

_OF_SUBJECTS = sa.select(*(_n[name] for name in _COLUMNS))
_HELD = _OF_SUBJECTS.where(among(_n.subject_id, "ids"))
_DROP = sa.delete(names).where(among(_n.name_id, "ids"))
_TAKEN = sa.select(_n.name_id).where(among(_n.name_id, "ids"))


async def held(source: Reads | Transaction, subject_ids: Sequence[str]) -> dict[str, list[Row]]:
    """The names in the index of these subjects, each with its `name_id` and tokens."""
    found: dict[str, list[Row]] = {}
    for row in await source.all(_HELD, {"ids": list(subject_ids)}):
        found.setdefault(row.subject_id, []).append(row)
    return found


async def change(tx: Transaction, gone: Sequence[Row], new: Sequence[Name]) -> None:
    """Take rows that `held` gave out of the index, and put new ones in; by place, for an index written back and forth falls to pieces."""
    if gone:
        if tx.store.dialect == "sqlite":
            rows = sorted((row.name_id, row.tokens) for row in gone)
            await tx.insert(_fts, ("names_fts", "rowid", "tokens"), [("delete", place, tokens) for place, tokens in rows])
        await tx.execute(_DROP, {"ids": [row.name_id for row in gone]})
    if new:
        placed = sorted(zip(await _places(tx, new), new, strict=True), key=itemgetter(0))
        await tx.insert(
            names,
            _COLUMNS,
            [(place, each.subject_id, each.role, each.shown, each.name_norm, each.core, each.tokens) for place, each in placed],
        )
        if tx.store.dialect == "sqlite":
            await tx.insert(_fts, ("rowid", "tokens"), [(place, each.tokens) for place, each in placed])


async def pieces(source: Reads, dialect: str) -> int:
    """How many pieces SQLite's token index is written in; each transaction that changes names begins one, and some are merged by and by."""
    row = await source.one(_PIECES) if dialect == "sqlite" else None
    return 0 if row is None else row.number


async def begin_tidying(tx: Transaction, every: timedelta) -> bool:
    """Note that the token index is put together from now on; False where somebody began within that time (an instant to come is none)."""
    row = await tx.one(_TIDIED)
    if row is not None and stamp(tx.now - every) < row.value <= tx.now_text:
        return False
    await tx.execute(_NOTE_TIDIED, {"now": tx.now_text})
    return True


async def merge_away(tx: Transaction, first: bool) -> bool:
    """One step of merging SQLite's token index, so that no token of a row that was taken out is left in it; False when that is done.

    A contentless index only notes that a row is gone; its tokens go when the pieces that hold them are merged into one.
    """
    if tx.store.dialect != "sqlite":
        return False
    before = (await tx.execute(_CHANGED)).scalar() or 0
    await tx.execute(_MERGE, {"pages": -MERGE_PAGES if first else MERGE_PAGES})
    return ((await tx.execute(_CHANGED)).scalar() or 0) - before >= _SOMETHING


async def _places(tx: Transaction, new: Sequence[Name]) -> list[int]:
    """The place of each name, or the next one that is free."""
    taken = await _taken(tx, [each.place for each in new])
    found: list[int] = []
    for each in new:
        place = each.place
        while place in taken:
            place += 1
            taken |= await _taken(tx, [place])
        taken.add(place)
        found.append(place)
    return found


async def _taken(tx: Transaction, places: Sequence[int]) -> set[int]:
    return {row.name_id for row in await tx.all(_TAKEN, {"ids": list(places)})}


# --- what a text finds -------------------------------------------------------------------------------------------------


class Walked(Struct, frozen=True, kw_only=True):
    """Names that were found on one way, as far as it was walked."""

    rows: Sequence[Row]
    edges: Sequence[Edge]
    """Where more may follow; none: this is all."""
    many: int
    """How many names the steps of the way have together, counted up to a bound."""
    borne: bool = False
    """Whether an individual business bears the text as its whole name."""


class _Name(Struct, frozen=True, array_like=True, gc=False):
    """A name of the index as SQLite gives it packed."""

    step: int
    part: int
    place: int
    subject_id: str
    role: str
    shown: str
    name_norm: str
    core: str
    tokens: str


_NAMES = msgspec.json.Decoder(list[_Name])


def _packed(rows: str) -> sa.TextClause:
    """The rows of a statement as one: for each row a thread has to win the interpreter's lock again, which takes as long as requests do.

    As bytes: nobody reads them but the decoder.
    """
    columns = ", ".join(_Name.__struct_fields__)
    return sa.text(f"SELECT CAST(json_group_array(json_array({columns})) AS BLOB) AS packed FROM ({rows})")


async def _unpacked(read: Callable[[Any, Any], Awaitable[list[Row]]], statement: sa.TextClause, params: Any) -> list[_Name]:
    ((packed,),) = await read(statement, params)
    return _NAMES.decode(packed)


# What holds the text needs no tokens to be judged by: they are most of a row.
_TOKENS_IN_SQLITE = "CASE WHEN instr(name_norm, :held) THEN '' ELSE tokens END AS tokens"
_TOKENS_IN_POSTGRES = "CASE WHEN strpos(name_norm, CAST(:held AS text)) > 0 THEN '' ELSE tokens END AS tokens"


def _whole(columns: str) -> str:
    """Names that are the text, and names whose core is this one."""
    return (
        f"SELECT * FROM (SELECT -2 AS step, 0 AS part, name_id AS place, {columns} FROM names"
        " WHERE name_norm = :text ORDER BY name_id LIMIT :most) AS whole"
        f" UNION ALL SELECT * FROM (SELECT -1, 0, name_id, {columns} FROM names WHERE core = :core ORDER BY name_id LIMIT :most) AS cores"
    )


_NONE = "'', '', '', '', '', ''"
_BORNE = f" UNION ALL SELECT -3, 3, 0, {_NONE} FROM subject_names WHERE name_blind = :bearer"
_SHOWN = "subject_id, role, shown, name_norm, core, "
# One statement: whether a household is called so; of each step the first names (part 0); where there are more, the first of those
# that begin so (1), and how many there are of the step (2).
_LIST_OF = "SELECT rowid AS place FROM names_fts WHERE names_fts MATCH {} ORDER BY rowid LIMIT :most"
_STEP_BY_FTS = (
    f" UNION ALL SELECT {{n}}, 0, name_id, {_SHOWN}{_TOKENS_IN_SQLITE} FROM held_{{n}} CROSS JOIN names ON name_id = held_{{n}}.place"
    f" UNION ALL SELECT {{n}}, 1, name_id, {_SHOWN}{_TOKENS_IN_SQLITE} FROM longer_{{n}}"
    f" CROSS JOIN ({_LIST_OF.format(':begun_{n}')}) AS first CROSS JOIN names ON name_id = first.place WHERE :begun_{{n}} <> ''"
    " UNION ALL SELECT {n}, 2, (SELECT count(*) FROM (SELECT 1 FROM names_fts WHERE names_fts MATCH :all_of_{n} LIMIT :counted)),"
    f" {_NONE} FROM longer_{{n}}"
)


def _walked_by_fts(steps: int) -> str:
    """SQLite has no LATERAL: each number of steps has a statement of its own, of which there are three."""
    lists = [
        f"held_{n} AS MATERIALIZED ({_LIST_OF.format(f':all_of_{n}')}),"
        f" longer_{n} AS MATERIALIZED (SELECT 1 WHERE (SELECT count(*) FROM held_{n}) = :most)"
        for n in range(steps)
    ]
    return (
        (f"WITH {', '.join(lists)} " if lists else "")
        + _whole(_SHOWN + _TOKENS_IN_SQLITE)
        + _BORNE
        + "".join([_STEP_BY_FTS.format(n=n) for n in range(steps)])
    )


@lru_cache(maxsize=8)
def _walk(steps: int, packed: bool) -> sa.TextClause:
    return _packed(_walked_by_fts(steps)) if packed else sa.text(_walked_by_fts(steps))


_OF_STEP = "SELECT * FROM names WHERE string_to_array(names.tokens, ' ') @> string_to_array({}, ' ') ORDER BY name_id LIMIT :most"
_WALKED_BY_ARRAY = sa.text(
    "WITH asked AS (SELECT place - 1 AS step, all_of, begun"
    " FROM unnest(CAST(:steps AS text[]), CAST(:begun AS text[])) WITH ORDINALITY AS given(all_of, begun, place)),"
    f" walked AS MATERIALIZED (SELECT asked.*, held.* FROM asked JOIN LATERAL ({_OF_STEP.format('asked.all_of')}) AS held ON true),"
    " longer AS (SELECT step, all_of, begun FROM walked GROUP BY step, all_of, begun HAVING count(*) = :most)"
    f" {_whole(_SHOWN + _TOKENS_IN_POSTGRES)}{_BORNE}"
    f" UNION ALL SELECT step, 0, name_id, {_SHOWN}{_TOKENS_IN_POSTGRES} FROM walked"
    f" UNION ALL SELECT step, 1, name_id, {_SHOWN}{_TOKENS_IN_POSTGRES}"
    f" FROM longer JOIN LATERAL ({_OF_STEP.format('longer.begun')}) AS held ON begun <> ''"
    " UNION ALL SELECT step, 2, (SELECT count(*) FROM (SELECT 1 FROM names WHERE string_to_array(names.tokens, ' ')"
    f" @> string_to_array(all_of, ' ') LIMIT :counted) AS held), {_NONE} FROM longer"
)


async def walked(
    source: Reads,
    dialect: str,
    text: str,
    core: str,
    steps: Sequence[Step],
    *,
    most: int,
    counted: int,
    bearer: str = "",
    untold: bool = False,
) -> Walked:
    """Names that are the text, whose core is this one, and of each step the first `most`, by place: one statement.

    `bearer` is the text as the names of individual businesses are stored; empty: they are not asked. `untold`: names that hold the text
    come without their tokens, of which nobody asks.

    A few names of one token stand at the head of its list: that is read in the loop. Lists of several tokens are compared there too,
    which is brief where one of them is short, and nearly always is for pairs that follow one another; not where it once took long.
    """
    told = [step for step in steps if all(map(str.isalnum, step.tokens))]
    asked: dict[str, Any] = {
        "text": text, "core": core, "most": most, "counted": counted, "bearer": bearer, "held": text if untold else None,
    }  # fmt: skip
    few = most <= _FEW
    read = source.slow if not few else source.all if all(len(step.tokens) == 1 for step in told) else source.brief
    if dialect == "sqlite":
        for place, step in enumerate(told):
            asked[f"all_of_{place}"] = every = _told(step.tokens)
            asked[f"begun_{place}"] = f'"{step.begun}" AND {every}' if step.begun.isalnum() else ""
        statement = _walk(len(told), not few)
        found: Sequence[Row] = await (read(statement, asked) if few else _unpacked(read, statement, asked))
    else:
        begun = [(step.begun, *step.tokens) if step.begun.isalnum() else () for step in told]
        arrays = {"steps": [" ".join(step.tokens) for step in told], "begun": [" ".join(first) for first in begun]}
        found = await read(_WALKED_BY_ARRAY, {**asked, **arrays})
    rows = [row for row in found if row.part < _COUNT]
    borne = len(rows) < len(found) and any(row.part == _BEARER for row in found)
    if len(found) < most:  # nothing is as long as it may be
        return Walked(rows=rows, edges=(), many=sum([row.step >= 0 for row in rows]), borne=borne)
    places: dict[tuple[int, int], list[int]] = {}
    for row in rows:
        places.setdefault((row.step, row.part), []).append(row.place)
    tiers = {(_TEXT, 0): EXACT_NAME, (_CORE, 0): EXACT_CORE}
    for place, step in enumerate(told):
        tiers |= {(place, 0): step.tier, (place, 1): PREFIX}
    counts = {row.step: row.place for row in found if row.part == _COUNT}
    return Walked(
        rows=rows,
        edges=[(tiers[key], max(some)) for key, some in places.items() if len(some) == most],
        many=sum([max(counts.get(place, 0), len(places.get((place, 0), ()))) for place in range(len(told))]),
        borne=borne,
    )


_TEXT, _CORE = -2, -1
_COUNT, _BEARER = 2, 3
_FEW = 50

_MATCH = _packed(
    "SELECT 0 AS step, 0 AS part, name_id AS place, subject_id, role, shown, name_norm, core, names.tokens FROM"
    " (SELECT rowid AS held FROM names_fts WHERE names_fts MATCH :expression ORDER BY rowid LIMIT :limit)"
    " CROSS JOIN names ON names.name_id = held"
)


@lru_cache(maxsize=2)
def _array(every: bool) -> sa.Select[Any]:
    from sqlalchemy.dialects.postgresql import ARRAY  # a process that serves SQLite needs nothing of it

    tokens = sa.func.string_to_array(_n.tokens, sa.literal_column("' '"), type_=ARRAY(sa.Text))
    wanted = sa.bindparam("tokens", type_=ARRAY(sa.Text))
    found = tokens.contains(wanted) if every else tokens.overlap(wanted)
    return sa.select(*_FOUND).where(found).order_by(_n.name_id).limit(sa.bindparam("limit"))


def _told(tokens: Sequence[str]) -> str:
    """Tokens of letters alone, all of which must be there."""
    return '"' + '" AND "'.join(tokens) + '"'


def _quoted(tokens: Iterable[str], joint: str) -> str:
    """Tokens as FTS5 takes them: each a string, so that nothing in it is an operator."""
    return joint.join('"' + token.replace('"', '""') + '"' for token in tokens)


async def candidates(source: Reads, dialect: str, tokens: Sequence[str], *, every: bool, limit: int) -> list[Row]:
    """Names that hold all (or any) of the tokens, at most `limit`, by place; off the loop."""
    # combining marks part tokens on SQLite, whose index knows no phrases: such a token finds nothing on either database
    tokens = [token for token in tokens if token.isalnum()]
    if not tokens:
        return []
    if dialect == "sqlite":
        found = await _unpacked(source.slow, _MATCH, {"expression": _quoted(tokens, " AND " if every else " OR "), "limit": limit})
        return sorted(found, key=_PLACE)
    return await source.slow(_array(every), {"tokens": list(tokens), "limit": limit})


# --- many at once ------------------------------------------------------------------------------------------------------

_OF_TEXTS = sa.select(*_FOUND).where(among(_n.name_norm, "texts")).order_by(_n.name_id)
_GATHERED_BY_FTS = _packed(
    "SELECT asked.key AS step, 0 AS part, name_id AS place, subject_id, role, shown, name_norm, core, names.tokens"
    " FROM json_each(:groups) AS asked, json_each((SELECT json_group_array(held.rowid) FROM"
    " (SELECT rowid FROM names_fts WHERE names_fts MATCH asked.value ORDER BY rowid LIMIT :most) AS held)) AS hit"
    " JOIN names ON names.name_id = hit.value"
)
_ONCE_BY_FTS = _packed(
    "SELECT 0 AS step, 0 AS part, name_id AS place, subject_id, role, shown, name_norm, core, names.tokens FROM names WHERE name_id IN"
    " (SELECT hit.value FROM json_each(:groups) AS asked, json_each((SELECT json_group_array(held.rowid) FROM"
    " (SELECT rowid FROM names_fts WHERE names_fts MATCH asked.value ORDER BY rowid LIMIT :most) AS held)) AS hit)"
)
_GATHERED_BY_ARRAY = sa.text(
    "SELECT asked.place - 1 AS step, held.name_id AS place, held.subject_id, held.role, held.shown, held.name_norm, held.core, held.tokens"
    " FROM unnest(CAST(:groups AS text[])) WITH ORDINALITY AS asked(tokens, place)"
    " JOIN LATERAL (SELECT * FROM names WHERE string_to_array(names.tokens, ' ') @> string_to_array(asked.tokens, ' ')"
    " ORDER BY names.name_id LIMIT :most) AS held ON true"
    " ORDER BY asked.place, held.name_id"
)


async def exact_of(source: Reads, texts: Sequence[str]) -> list[Row]:
    """Names that are one of the texts; off the loop."""
    return await source.slow(_OF_TEXTS, {"texts": list(texts)})


async def gathered(source: Reads, dialect: str, groups: Sequence[Sequence[str]], *, limit: int) -> list[list[Row]]:
    """For each group of tokens the names that hold all of them, at most `limit`, by place: one statement, off the loop."""
    found: list[list[Row]] = [[] for _ in groups]
    told = [(place, tokens) for place, tokens in enumerate(groups) if tokens and all(token.isalnum() for token in tokens)]
    if dialect == "sqlite":
        asked = _JSON.encode([_quoted(each, " AND ") for _, each in told]).decode()
        rows: Sequence[Row] = sorted(await _unpacked(source.slow, _GATHERED_BY_FTS, {"groups": asked, "most": limit}), key=_PLACE)
    else:
        rows = await source.slow(_GATHERED_BY_ARRAY, {"groups": [" ".join(each) for _, each in told], "most": limit})
    for row in rows:
        found[told[row.step][0]].append(row)
    return found


async def gathered_once(source: Reads, dialect: str, groups: Sequence[Sequence[str]], *, limit: int) -> Sequence[Row]:
    """Names that hold all tokens of some group, at most `limit` of each, a name once however many groups find it; off the loop."""
    if dialect != "sqlite":
        rows = await gathered(source, dialect, groups, limit=limit)
        return list({row.place: row for some in rows for row in some}.values())
    asked = _JSON.encode([_quoted(each, " AND ") for each in groups if each and all(token.isalnum() for token in each)]).decode()
    return await _unpacked(source.slow, _ONCE_BY_FTS, {"groups": asked, "most": limit})

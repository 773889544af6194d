"""The names index: which organisations share tokens with a query; SQLite FTS5, PostgreSQL text arrays under GIN, equal answers.

Rules: rows are made from what the public may see, organisations only. The engines only gather candidates; `core/publication/names`
looks at the text again, so both databases answer alike. A token reaches an engine quoted or as an array element: no search
operator can be typed. No LIKE over the register. A contentless index deletes a row by its old tokens, which is why they stand in
the ordinary table. This room must not rank.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from gateway.core.publication.rendering import Name
from gateway.store.dialects import among
from gateway.store.store import Reads, Row, Transaction
from gateway.store.tables import names, rendered_subjects

_fts = sa.Table("names_fts", sa.MetaData(), sa.Column("rowid", sa.Integer), sa.Column("names_fts", sa.Text), sa.Column("tokens", sa.Text))
"""SQLite's virtual table, made by the first migration; it is no part of the metadata."""
_COLUMNS = ("name_id", "subject_id", "role", "shown", "name_norm", "core", "tokens")
COUNTER = "names"
_JSON = msgspec.json.Encoder()


_n = names.c
_FOUND = (_n.subject_id, _n.role, _n.shown, _n.name_norm, _n.core, _n.tokens, rendered_subjects.c.status)
_FROM = names.outerjoin(rendered_subjects, rendered_subjects.c.subject_id == _n.subject_id)


_OF_SUBJECTS = sa.select(*(_n[name] for name in _COLUMNS))
_HELD = _OF_SUBJECTS.where(among(_n.subject_id, "ids"))
_DROP = sa.delete(names).where(among(_n.name_id, "ids"))


async def held(source: Reads | Transaction, subject_ids: Sequence[str]) -> dict[str, list[Row]]:
    """The names in the index of these subjects, each with its `name_id` and tokens."""
    found: dict[str, list[Row]] = {}
    for row in await source.all(_HELD, {"ids": list(subject_ids)}):
        found.setdefault(row.subject_id, []).append(row)
    return found


async def change(tx: Transaction, gone: Sequence[Row], new: Sequence[Name]) -> None:
    """Take rows that `held` gave out of the index, and put new ones in."""
    if gone:
        if tx.store.dialect == "sqlite":
            await tx.insert(_fts, ("names_fts", "rowid", "tokens"), [("delete", row.name_id, row.tokens) for row in gone])
        await tx.execute(_DROP, {"ids": [row.name_id for row in gone]})
    if new:
        first = await tx.number(COUNTER, len(new))
        await tx.insert(
            names,
            _COLUMNS,
            [(first + n, each.subject_id, each.role, each.shown, each.name_norm, each.core, each.tokens) for n, each in enumerate(new)],
        )
        if tx.store.dialect == "sqlite":
            await tx.insert(_fts, ("rowid", "tokens"), [(first + n, each.tokens) for n, each in enumerate(new)])


_EXACT = sa.select(*_FOUND).select_from(_FROM).where(_n.name_norm == sa.bindparam("text"))
_EXACT_PAGE = _EXACT.order_by(_n.name_id).limit(sa.bindparam("limit"))
_MATCH = (
    sa.select(*_FOUND)
    .select_from(_FROM.join(_fts, _fts.c.rowid == _n.name_id))
    .where(sa.literal_column("names_fts").op("MATCH")(sa.bindparam("expression", type_=sa.Text())))
    .order_by(_fts.c.rowid)
    .limit(sa.bindparam("limit"))
)
_tokens = sa.func.string_to_array(_n.tokens, sa.literal_column("' '"), type_=ARRAY(sa.Text))


@lru_cache(maxsize=2)
def _array(every: bool) -> sa.Select[Any]:
    wanted = sa.bindparam("tokens", type_=ARRAY(sa.Text))
    found = _tokens.contains(wanted) if every else _tokens.overlap(wanted)
    return sa.select(*_FOUND).select_from(_FROM).where(found).order_by(_n.name_id).limit(sa.bindparam("limit"))


def _quoted(tokens: Iterable[str], joint: str) -> str:
    """Tokens as FTS5 takes them: each a string, so that nothing in it is an operator."""
    return joint.join('"' + token.replace('"', '""') + '"' for token in tokens)


async def candidates(source: Reads, dialect: str, tokens: Sequence[str], *, every: bool, limit: int) -> list[Row]:
    """Names that hold all (or any) of the tokens, at most `limit`, in order of entry; off the loop."""
    # combining marks part tokens on SQLite, whose index knows no phrases: such a token finds nothing on either database
    tokens = [token for token in tokens if token.isalnum()]
    if not tokens:
        return []
    if dialect == "sqlite":
        return await source.slow(_MATCH, {"expression": _quoted(tokens, " AND " if every else " OR "), "limit": limit})
    return await source.slow(_array(every), {"tokens": list(tokens), "limit": limit})


async def exact(source: Reads, text: str, *, limit: int) -> list[Row]:
    """Names that are the text."""
    return await source.all(_EXACT_PAGE, {"text": text, "limit": limit})


# --- many at once ------------------------------------------------------------------------------------------------------

_OF_TEXTS = sa.select(*_FOUND).select_from(_FROM).where(among(_n.name_norm, "texts")).order_by(_n.name_id)
_GATHERED_BY_FTS = sa.text(
    # one statement, each group with its own limit: SQLite has no LATERAL, but a list of row ids may depend on the group
    "SELECT asked.key AS place, names.subject_id, names.role, names.shown, names.name_norm, names.core, names.tokens, shown_as.status"
    " FROM json_each(:groups) AS asked, json_each((SELECT json_group_array(held.rowid) FROM"
    " (SELECT rowid FROM names_fts WHERE names_fts MATCH asked.value ORDER BY rowid LIMIT :most) AS held)) AS hit"
    " JOIN names ON names.name_id = hit.value LEFT JOIN rendered_subjects AS shown_as ON shown_as.subject_id = names.subject_id"
    " ORDER BY asked.key, names.name_id"
)
_GATHERED_BY_ARRAY = sa.text(
    "SELECT asked.place - 1 AS place, held.subject_id, held.role, held.shown, held.name_norm, held.core, held.tokens, shown_as.status"
    " FROM unnest(CAST(:groups AS text[])) WITH ORDINALITY AS asked(tokens, place)"
    " JOIN LATERAL (SELECT * FROM names WHERE string_to_array(names.tokens, ' ') @> string_to_array(asked.tokens, ' ')"
    " ORDER BY names.name_id LIMIT :most) AS held ON true LEFT JOIN rendered_subjects AS shown_as ON shown_as.subject_id = held.subject_id"
    " ORDER BY asked.place, held.name_id"
)


async def exact_of(source: Reads, texts: Sequence[str]) -> list[Row]:
    """Names that are one of the texts; off the loop."""
    return await source.slow(_OF_TEXTS, {"texts": list(texts)})


async def gathered(source: Reads, dialect: str, groups: Sequence[Sequence[str]], *, limit: int) -> list[list[Row]]:
    """For each group of tokens the names that hold all of them, at most `limit`, in order of entry: one statement, off the loop."""
    found: list[list[Row]] = [[] for _ in groups]
    told = [(place, tokens) for place, tokens in enumerate(groups) if tokens and all(token.isalnum() for token in tokens)]
    if dialect == "sqlite":
        rows = await source.slow(
            _GATHERED_BY_FTS, {"groups": _JSON.encode([_quoted(each, " AND ") for _, each in told]).decode(), "most": limit}
        )
    else:
        rows = await source.slow(_GATHERED_BY_ARRAY, {"groups": [" ".join(each) for _, each in told], "most": limit})
    for row in rows:
        found[told[row.place][0]].append(row)
    return found

"""Whether the tables that stand in a database are those that this program knows, by name and by column.

Until the first release the first migration is written anew, followed by another only where rows of before are brought over, so that the
number alone does not say what a database holds. Tables that are not ours are nobody's business here.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from gateway.store.tables import metadata

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

_SQLITE = (
    "SELECT held.name, group_concat(part.name) FROM sqlite_master AS held, pragma_table_info(held.name) AS part"
    " WHERE held.type = 'table' AND held.name NOT LIKE 'names_fts%' GROUP BY held.name"
)
_POSTGRESQL = (
    "SELECT held.relname, string_agg(part.attname::text, ',') FROM pg_class AS held"
    " JOIN pg_namespace AS room ON room.oid = held.relnamespace JOIN pg_attribute AS part ON part.attrelid = held.oid"
    " WHERE room.nspname = current_schema() AND held.relkind IN ('r', 'p') AND part.attnum > 0 AND NOT part.attisdropped"
    " GROUP BY held.relname"
)


@cache
def _known() -> dict[str, frozenset[str]]:
    return {table.name: frozenset(column.name for column in table.columns) for table in metadata.tables.values()}


async def columns_held(connection: "AsyncConnection") -> dict[str, frozenset[str]]:
    """The tables of a database with their columns, in one statement."""
    said = await connection.exec_driver_sql(_SQLITE if connection.dialect.name == "sqlite" else _POSTGRESQL)
    rows: Iterable[Any] = said.all()
    return {name: frozenset(columns.split(",")) for name, columns in rows}


def strange_table(held: Mapping[str, frozenset[str]]) -> str | None:
    """A table of ours that is absent or has other columns; None when all are as they should be."""
    return next((name for name, columns in _known().items() if held.get(name) != columns), None)

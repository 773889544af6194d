"""How records were disputed, version by version; for the events of those that are shown. This room must not judge what is shown."""

from collections.abc import Sequence

import sqlalchemy as sa

from gateway.store.dialects import among
from gateway.store.store import Reads
from gateway.store.tables import record_versions, records

_v, _x = record_versions.c, records.c
_BEFORE = sa.select(_v.record_id, _v.version, _v.dispute_since, _v.at).where(among(_v.record_id, "ids"))
_NOW = sa.select(_x.record_id, _x.version, _x.dispute_since, _x.changed_at.label("at")).where(among(_x.record_id, "ids"))


async def states(source: Reads, ids: Sequence[str]) -> dict[str, list[tuple[str | None, str]]]:
    """Of each record, by version: since when it was disputed, and when that version came."""
    rows = [row for statement in (_BEFORE, _NOW) for row in await source.all(statement, {"ids": list(ids)})]
    found: dict[str, list[tuple[str | None, str]]] = {}
    for row in sorted(rows, key=lambda row: (row.record_id, row.version)):
        found.setdefault(row.record_id, []).append((row.dispute_since, row.at))
    return found

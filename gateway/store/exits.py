"""Every exit at which a record may still be seen, asked after it was withdrawn (exchange.md §9).

Rules: a record has left only when the reader of the change log has passed its last change, and no read model, version of a list, item or
removal that waits to be told, effect here, or partner that it was carried on to knows it. This room must not decide what is owed.
"""

from collections.abc import Collection, Mapping
from typing import Final

import sqlalchemy as sa

from gateway.core.exchange import agreements
from gateway.store.dialects import among, one_of
from gateway.store.renderings import log_position
from gateway.store.store import Source
from gateway.store.tables import (
    feed,
    feed_pending,
    list_rows,
    list_versions,
    out_records,
    out_streams,
    recognitions,
    records,
    rendered_records,
)

PARTNERS: Final = "partners"

_pending = (
    sa.select(sa.literal(1)).where(list_versions.c.collection == list_rows.c.collection, list_versions.c.pending.is_not(None)).exists()
)
_EXITS: Final[Mapping[str, sa.Select[tuple[str]]]] = {
    "reader": sa.select(records.c.record_id).where(among(records.c.record_id, "wanted"), records.c.changed_seq > log_position),
    "renderings": sa.select(rendered_records.c.record_id).where(among(rendered_records.c.record_id, "wanted")),
    "feeds": sa.select(feed.c.record_id).where(among(feed.c.record_id, "wanted"), feed.c.op != "del", feed.c.op != "left"),
    "removals": sa.select(feed_pending.c.record_id).where(among(feed_pending.c.record_id, "wanted")),
    "lists": sa.select(list_rows.c.record_id).where(
        among(list_rows.c.record_id, "wanted"), sa.or_(list_rows.c.line.is_not(None), _pending)
    ),
    "recognition": sa.select(recognitions.c.record_id).where(among(recognitions.c.record_id, "wanted"), recognitions.c.effect.is_not(None)),
    PARTNERS: sa.select(out_records.c.record_id).where(
        out_records.c.stream.in_(sa.select(out_streams.c.stream)),  # so that the key of the table leads there
        among(out_records.c.record_id, "wanted"),
        sa.or_(
            one_of(out_records.c.op, "assert", "amend"),
            sa.and_(one_of(out_records.c.op, *sorted(agreements.WITHDRAWALS)), out_records.c.acked_at.is_(None)),
        ),
    ),
}


async def still_at(source: Source, record_ids: Collection[str], *, partners: bool = True) -> dict[str, str]:
    """Those of these records that have not left every exit, each with one where it is still seen; without `partners`, of this house."""
    found: dict[str, str] = {}
    wanted = set(record_ids)
    for name, asked in _EXITS.items():
        if not wanted:
            break
        if name == PARTNERS and not partners:
            continue
        for row in await source.all(asked, {"wanted": sorted(wanted)}):
            found.setdefault(row.record_id, name)
        wanted -= found.keys()
    return found

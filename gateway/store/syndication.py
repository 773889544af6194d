"""What feeds of lists are made of: listings by their latest change, and removals (api.md §7.10).

Rules: a listing stands where it was last told of, so that every page of an archive is a range of the public's numbers that never moves; a
removal is known for as long as it is asked for, and says nothing of where the record stood. This room must not make a stale row fresh.
"""

from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from gateway.store.store import Reads, Row, stamp
from gateway.store.tables import feed, rendered_records
from gateway.store.walks import fresh_flag

RECENT: Final = 20_000
"""Items that are looked through for the latest change of something; of what did not change among them an upper bound is told."""

_d, _f = rendered_records.c, feed.c
_LISTED = (
    sa.select(_d.record_id, fresh_flag(probe=True), _d.listing.label("payload"), _d.seq, _d.added_seq, _d.told_at)
    .where(
        _d.list == sa.bindparam("list", type_=sa.Text()),
        _d.seq > sa.bindparam("above", type_=sa.BigInteger()),
        _d.seq <= sa.bindparam("upto", type_=sa.BigInteger()),
    )
    .order_by(_d.seq.desc(), _d.record_id)
    .limit(sa.bindparam("limit"))
)
_NEWEST = sa.select(sa.func.max(_d.seq).label("seq")).where(
    _d.list == sa.bindparam("list", type_=sa.Text()), _d.seq <= sa.bindparam("upto", type_=sa.BigInteger())
)
_GONE = (
    sa.select(_f.seq, _f.at, _f.record_id, _f.reason)
    .where(
        _f.plan_set == sa.bindparam("plan_set"),
        _f.op == "del",
        _f.list == sa.bindparam("list", type_=sa.Text()),
        _f.at >= sa.bindparam("since"),
        sa.not_(sa.exists().where(_d.record_id == _f.record_id, _d.list == _f.list)),  # one that came back is there again
    )
    .order_by(_f.seq.desc())
)
_LATEST = (
    sa.select(_f.dataset, sa.func.max(_f.at).label("at"))
    .where(_f.plan_set == sa.bindparam("plan_set"), _f.seq > sa.bindparam("above"), _f.dataset.is_not(None))
    .group_by(_f.dataset)
)
_BEFORE = (
    sa.select(_f.at).where(_f.plan_set == sa.bindparam("plan_set"), _f.seq <= sa.bindparam("upto")).order_by(_f.seq.desc()).limit(1)
)
_FIRST = sa.select(_f.at).where(_f.plan_set == sa.bindparam("plan_set")).order_by(_f.seq).limit(1)


async def listed(reads: Reads, list_id: str, *, above: int, upto: int, limit: int, plan: str, now: str) -> list[Row]:
    """Listings whose latest change has a number in this range, the newest first, each with `fresh` and `payload`."""
    params: dict[str, Any] = {"list": list_id, "above": above, "upto": upto, "limit": limit, "plan": plan, "now": now}
    return await reads.slow(_LISTED, params)


async def newest(reads: Reads, list_id: str, upto: int) -> int:
    """The highest number of a listing that is not above another; 0: there is none."""
    row = await reads.one(_NEWEST, {"list": list_id, "upto": upto})
    return int(row.seq or 0) if row is not None else 0


async def gone(reads: Reads, plan_set: str, list_id: str, since: datetime) -> list[Row]:
    """Removals from a list that were told since a moment, the newest first."""
    return await reads.slow(_GONE, {"plan_set": plan_set, "list": list_id, "since": stamp(since)})


async def latest(reads: Reads, plan_set: str, head: int) -> tuple[dict[str, str], str]:
    """When each dataset changed last, and an instant that is not before the last change of any dataset that is not named."""
    above = max(0, head - RECENT)
    named = {row.dataset: row.at for row in await reads.slow(_LATEST, {"plan_set": plan_set, "above": above})}
    before = await reads.one(_BEFORE, {"plan_set": plan_set, "upto": above}) if above else None
    bound = before or await reads.one(_FIRST, {"plan_set": plan_set})
    return named, bound.at if bound is not None else ""

"""What partners owe us: acknowledgements of withdrawals and erasures, from the moment at which they were committed here (exchange.md §9).

Rules: a debt begins with the change of the record, sealed or not, on its way or not, and ends with the acknowledgement; where nothing was
changed (a scope, a policy, time alone), when its batch was sealed. A partner itself is told of what was published to it, from then on.
What went out in an old epoch while a new one was on its way counts by itself. Numbers and times, no record. This room must not know what
was agreed.
"""

from datetime import datetime
from typing import Any, Final, Literal

import sqlalchemy as sa
from msgspec import Struct

from gateway.core.exchange import agreements
from gateway.store.dialects import one_of
from gateway.store.store import Source, moment, stamp
from gateway.store.tables import changes, out_batches, out_recalled, out_records, out_streams, records

What = Literal["withdrawals", "erasures"]
Since = Literal["committed", "published"]
_WITHDRAWN: Final = tuple(sorted(agreements.WITHDRAWALS - {"erase"}))


class Debt(Struct, frozen=True, kw_only=True):
    """Lines of a stream of which nothing is heard, and when the first of them was committed."""

    lines: int
    since: datetime


def _sealed(table: sa.Table, *, erasures: bool, since: Since) -> sa.Select[Any]:
    """Withdrawals that stand in a batch, since the record's last change, if that is what the batch says, else since the batch."""
    said = table.c.op == "erase" if erasures else one_of(table.c.op, *_WITHDRAWN)
    committed = sa.case(
        (sa.and_(changes.c.op == table.c.op, changes.c.at <= out_batches.c.created), changes.c.at), else_=out_batches.c.created
    )
    at = committed if since == "committed" else out_batches.c.published_at
    batch = sa.and_(out_batches.c.stream == table.c.stream, out_batches.c.epoch == table.c.epoch, out_batches.c.seq == table.c.seq)
    joined = (
        sa.join(table, out_batches, batch)
        .outerjoin(records, records.c.record_id == table.c.record_id)
        .outerjoin(changes, changes.c.seq == records.c.changed_seq)
    )
    unsalted = (table.c.seed.is_(None),) if "seed" in table.c else ()
    return (
        sa.select(at.label("at"))
        .select_from(joined)
        .where(table.c.stream == sa.bindparam("stream"), said, table.c.acked_at.is_(None), *unsalted)
    )


def _unsealed(*, erasures: bool) -> sa.Select[Any]:
    """Withdrawals behind the cursor of a stream, of which no batch says anything yet: it is stopped, or its turn has not come.

    Begins at the changes behind the cursor, of which there are few; what was ever sent may be a million.
    """
    stands = sa.select(out_streams.c.epoch, out_streams.c.cursor).where(out_streams.c.stream == sa.bindparam("stream"))
    now = stands.order_by(out_streams.c.epoch.desc()).limit(1).subquery()
    epoch, cursor = (sa.select(column).scalar_subquery() for column in (now.c.epoch, now.c.cursor))
    ops = (changes.c.op == "erase", out_records.c.op != "erase")
    if not erasures:
        ops = (one_of(changes.c.op, *_WITHDRAWN), one_of(out_records.c.op, "assert", "amend"))
    last = sa.exists().where(records.c.record_id == changes.c.record_id, records.c.changed_seq == changes.c.seq)
    told = sa.exists().where(
        out_records.c.stream == sa.bindparam("stream"),
        out_records.c.record_id == changes.c.record_id,
        out_records.c.epoch >= epoch - 1,  # what an older one said has gone with the one after it
        ops[1],
    )
    return sa.select(changes.c.at.label("at")).where(changes.c.seq > cursor, ops[0], last, told)


def _counted(*, erasures: bool, since: Since) -> Any:
    parts = [_sealed(table, erasures=erasures, since=since) for table in (out_records, out_recalled)]
    if since == "committed":
        parts.append(_unsealed(erasures=erasures))
    lines = sa.union_all(*parts).subquery()
    return sa.select(sa.func.count().label("lines"), sa.func.min(lines.c.at).label("since")).where(lines.c.at < sa.bindparam("before"))


_SINCE: Final[tuple[Since, ...]] = ("committed", "published")
_COUNTED: Final = {
    (what, since): _counted(erasures=erasures, since=since)
    for since in _SINCE
    for what, erasures in (("withdrawals", False), ("erasures", True))
}


async def debt(source: Source, stream: str, what: What, before: datetime, *, since: Since = "committed") -> Debt | None:
    """Lines of a stream that were committed, or published, before a moment and are not acknowledged."""
    row = await source.one(_COUNTED[what, since], {"stream": stream, "before": stamp(before)})
    return Debt(lines=row.lines, since=moment(row.since)) if row is not None and row.lines else None

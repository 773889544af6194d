"""What partners owe us: acknowledgements of withdrawals and erasures that went out (exchange.md §9).

Rules: a debt begins when its batch is published and ends with the acknowledgement; what went out in an old epoch while a new one was on
its way counts by itself. Numbers and times, no record. This room must not know what was agreed.
"""

from datetime import datetime
from typing import Any, Final, Literal

import sqlalchemy as sa
from msgspec import Struct

from gateway.core.exchange import agreements
from gateway.store.dialects import one_of
from gateway.store.store import Source, moment, stamp
from gateway.store.tables import out_batches, out_recalled, out_records

What = Literal["withdrawals", "erasures"]


class Debt(Struct, frozen=True, kw_only=True):
    """Lines of a stream of which nothing is heard, and when the first of them went out."""

    lines: int
    since: datetime


def _debts(table: sa.Table, *, erasures: bool) -> sa.Select[Any]:
    said = table.c.op == "erase" if erasures else one_of(table.c.op, *sorted(agreements.WITHDRAWALS - {"erase"}))
    chosen = sa.select(out_batches.c.published_at.label("at")).join_from(
        table,
        out_batches,
        sa.and_(out_batches.c.stream == table.c.stream, out_batches.c.epoch == table.c.epoch, out_batches.c.seq == table.c.seq),
    )
    unsalted = (table.c.seed.is_(None),) if "seed" in table.c else ()
    return chosen.where(
        table.c.stream == sa.bindparam("stream"),
        said,
        table.c.acked_at.is_(None),
        *unsalted,
        out_batches.c.published_at < sa.bindparam("before"),
    )


def _counted(*, erasures: bool) -> Any:
    lines = sa.union_all(_debts(out_records, erasures=erasures), _debts(out_recalled, erasures=erasures)).subquery()
    return sa.select(sa.func.count().label("lines"), sa.func.min(lines.c.at).label("since"))


_COUNTED: Final = {"withdrawals": _counted(erasures=False), "erasures": _counted(erasures=True)}


async def debt(source: Source, stream: str, what: What, before: datetime) -> Debt | None:
    """Lines of a stream that went out before a moment and are not acknowledged."""
    row = await source.one(_COUNTED[what], {"stream": stream, "before": stamp(before)})
    return Debt(lines=row.lines, since=moment(row.since)) if row is not None and row.lines else None

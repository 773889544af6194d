"""Numbers of the files for a partner: from 1 each day, by series, taken in the transaction that writes the batch and never given twice."""

from collections.abc import Iterable
from datetime import date

import sqlalchemy as sa

from gateway.store.store import Source, Transaction
from gateway.store.tables import line_numbers

_OF_BATCH = sa.select(line_numbers.c.series, line_numbers.c.number).where(
    line_numbers.c.stream == sa.bindparam("stream"), line_numbers.c.seq == sa.bindparam("seq")
)


async def take(tx: Transaction, partner: str, day: date, series: Iterable[str], *, stream: str, seq: int) -> dict[str, int]:
    """The next number of the day in each series, for one batch."""
    taken: dict[str, int] = {}
    for each in series:
        this = (line_numbers.c.partner == partner, line_numbers.c.day == day.isoformat(), line_numbers.c.series == each)
        last = await tx.one(sa.select(sa.func.max(line_numbers.c.number).label("number")).where(*this))
        taken[each] = (last.number if last is not None and last.number is not None else 0) + 1
        await tx.execute(
            sa.insert(line_numbers).values(partner=partner, day=day.isoformat(), series=each, number=taken[each], stream=stream, seq=seq)
        )
    return taken


async def numbers_of(source: Source, stream: str, seq: int) -> dict[str, int]:
    """The numbers that a batch has."""
    return {row.series: row.number for row in await source.all(_OF_BATCH, {"stream": stream, "seq": seq})}

"""What we still owe partners who send to us: acknowledgements of withdrawals and news of held lines (exchange.md §8, §9).

Rules: a debt is written with the effect, and ends with the receipt that pays it, each in one transaction. This room must not decide
whether it can be paid.
"""

from collections.abc import Collection, Iterable, Sequence

import sqlalchemy as sa
from msgspec import Struct

from gateway.store.dialects import among
from gateway.store.reads import Row
from gateway.store.store import Source, Transaction
from gateway.store.tables import in_owed, records

_COLUMNS = ("sender", "stream", "record_id", "v", "idx", "code", "since")
_STREAMS = sa.select(in_owed.c.sender, in_owed.c.stream).distinct().order_by(in_owed.c.sender, in_owed.c.stream)
_OWED = (
    sa.select(in_owed)
    .where(in_owed.c.sender == sa.bindparam("sender"), in_owed.c.stream == sa.bindparam("of_stream"))
    .order_by(in_owed.c.since, in_owed.c.idx)
    .limit(sa.bindparam("n", type_=sa.Integer))
)
_AMONG = sa.select(in_owed.c.record_id, in_owed.c.v).where(
    in_owed.c.sender == sa.bindparam("sender"), in_owed.c.stream == sa.bindparam("of_stream"), among(in_owed.c.record_id, "wanted")
)
_PAY = sa.delete(in_owed).where(
    in_owed.c.sender == sa.bindparam("of_sender"),
    in_owed.c.stream == sa.bindparam("of_stream"),
    in_owed.c.record_id == sa.bindparam("rid"),
    in_owed.c.v == sa.bindparam("of_v"),
)
_STATES = sa.select(records.c.record_id, records.c.state).where(among(records.c.record_id, "wanted"))
_COUNTED = (
    sa.select(in_owed.c.sender, in_owed.c.stream, sa.func.count().label("lines"), sa.func.min(in_owed.c.since).label("since"))
    .where(in_owed.c.code != "HOLD_RELEASED")
    .group_by(in_owed.c.sender, in_owed.c.stream)
)


class Owed(Struct, frozen=True, gc=False, kw_only=True):
    """One line of which the sender still has to hear."""

    record_id: str
    v: int
    idx: int
    code: str
    """ACK_WITHDRAWN, ACK_ERASED, or HOLD_RELEASED: how a held line ends."""


async def owe(tx: Transaction, sender: str, stream: str, debts: Iterable[Owed]) -> None:
    """Write debts down; one that stands already stays as it is."""
    wanted = {(debt.record_id, debt.v): debt for debt in debts}
    if not wanted:
        return
    asked = {"sender": sender, "of_stream": stream, "wanted": [record_id for record_id, _ in wanted]}
    standing = {(row.record_id, row.v) for row in await tx.all(_AMONG, asked)}
    await tx.insert(
        in_owed,
        _COLUMNS,
        [(sender, stream, one.record_id, one.v, one.idx, one.code, tx.now_text) for key, one in wanted.items() if key not in standing],
    )


async def streams_owed(source: Source) -> list[tuple[str, str]]:
    """(sender, stream) of every stream of which something is owed."""
    return [(row.sender, row.stream) for row in await source.all(_STREAMS)]


async def owed(source: Source, sender: str, stream: str, limit: int) -> list[Owed]:
    """What is owed of a stream, the oldest first."""
    rows = await source.all(_OWED, {"sender": sender, "of_stream": stream, "n": limit})
    return [Owed(record_id=row.record_id, v=row.v, idx=row.idx, code=row.code) for row in rows]


async def pay(tx: Transaction, sender: str, stream: str, debts: Sequence[Owed]) -> None:
    """These have been told."""
    if debts:
        rows = [{"of_sender": sender, "of_stream": stream, "rid": debt.record_id, "of_v": debt.v} for debt in debts]
        await tx.execute(_PAY, rows)


async def states(source: Source, record_ids: Collection[str]) -> dict[str, str]:
    """State of these records."""
    return {row.record_id: row.state for row in await source.all(_STATES, {"wanted": sorted(record_ids)})}


async def counted(source: Source) -> list[Row]:
    """How many acknowledgements we owe, by sender and stream, and since when."""
    return await source.all(_COUNTED)

"""Partners' streams of which more was answered than this house knows of, for it came back from a copy (exchange.md §8).

Rules: from the mark on no receipt is given, until the number of the last one is known again; what followed the number at which both
sides still agree was never believed, and goes. This room must not ask anybody, nor decide which receipt is the last.
"""

from typing import Final

import sqlalchemy as sa

from gateway.core.exchange.wire import Suite
from gateway.store import inbox
from gateway.store.reads import Row
from gateway.store.store import Source, Transaction
from gateway.store.tables import in_parts, in_records, in_streams, receipts, records

_ASKING: Final = sa.select(in_streams).where(in_streams.c.asks_since.is_not(None)).order_by(in_streams.c.sender, in_streams.c.stream)

_UNPURGED: Final = (
    sa.select(in_records.c.record_id)
    .select_from(in_records.outerjoin(records, records.c.record_id == in_records.c.record_id))
    .where(
        in_records.c.sender == sa.bindparam("sender"),
        in_records.c.stream == sa.bindparam("stream"),
        sa.or_(sa.and_(in_records.c.op != "erase", in_records.c.op != "purge"), records.c.state != "erased"),
    )
    .limit(1)
)
_PARTS: Final = (
    sa.select(in_parts.c.name).where(in_parts.c.sender == sa.bindparam("sender"), in_parts.c.stream == sa.bindparam("stream")).limit(1)
)


async def mark(tx: Transaction, sender: str, stream: str, suite: Suite) -> None:
    """Ask for our last receipt of a stream, which may have gone on in the time that is lost, or begun in it."""
    await inbox.open_in_stream(tx, sender, stream, 1, suite)
    mine = (in_streams.c.sender == sender, in_streams.c.stream == stream)
    await tx.execute(sa.update(in_streams).where(*mine, in_streams.c.asks_since.is_(None)).values(asks_since=tx.now_text))
    begun = (in_streams.c.seq > 0, in_streams.c.anew_since.is_(None))
    await tx.execute(sa.update(in_streams).where(*mine, *begun).values(anew_since=tx.now_text))


async def asking(source: Source) -> list[Row]:
    """Streams whose senders still have to show us our last receipt."""
    return await source.all(_ASKING)


async def asks(source: Source, sender: str, stream: str) -> bool:
    """Whether the sender of a stream still has to show us our last receipt."""
    return any((row.sender, row.stream) == (sender, stream) for row in await asking(source))


async def unpurged(source: Source, sender: str, stream: str) -> bool:
    """Whether anything is kept of what a stream told."""
    mine = {"sender": sender, "stream": stream}
    return await source.one(_UNPURGED, mine) is not None or await source.one(_PARTS, mine) is not None


async def find_place(
    tx: Transaction, sender: str, stream: str, *, no: int, digest: str | None, agreed: int, brought: int, first_epoch: int
) -> None:
    """The last receipt is known again: the next one follows it; those behind the last number that both sides know alike are not ours.

    `brought`: the last one that the sender has; `first_epoch`: 0 where nothing was ever applied, so that nothing has to begin anew.
    """
    mine = (in_streams.c.sender == sender, in_streams.c.stream == stream)
    await tx.execute(
        sa.delete(receipts).where(receipts.c.sender == sender, receipts.c.stream == stream, receipts.c.no > agreed)
    )
    values = {"receipt_no": no, "receipt_digest": digest, "brought_no": brought, "asks_since": None}
    await tx.execute(sa.update(in_streams).where(*mine).values(**values))
    if first_epoch:
        anew = sa.func.coalesce(in_streams.c.anew_since, tx.now_text)
        await tx.execute(sa.update(in_streams).where(*mine).values(first_epoch=first_epoch, anew_since=anew))

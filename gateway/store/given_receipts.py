"""The receipts that we gave for partners' batches (exchange.md §8), as signed, each with its feedback.

Rules: they are numbered without gaps and chained, stream by stream; whoever asks again gets the stored bytes. This room must not verify a
signature, nor know what a receipt says.
"""

import sqlalchemy as sa
from msgspec import Struct

from gateway.core.errors import StoreError
from gateway.core.exchange.notes import SignedDocument
from gateway.store.store import Source, Transaction
from gateway.store.tables import in_streams, receipts

_STREAM = sa.select(in_streams.c.receipt_no, in_streams.c.brought_no, in_streams.c.asks_since).where(
    in_streams.c.sender == sa.bindparam("sender"), in_streams.c.stream == sa.bindparam("stream")
)
_RECEIPT = sa.select(receipts).where(
    receipts.c.sender == sa.bindparam("sender"), receipts.c.stream == sa.bindparam("stream"), receipts.c.no == sa.bindparam("of_no")
)
_RECEIPTS = (
    sa.select(receipts)
    .where(receipts.c.sender == sa.bindparam("sender"), receipts.c.stream == sa.bindparam("stream"))
    .order_by(receipts.c.no)
)


class GivenReceipt(Struct, frozen=True, kw_only=True):
    """A receipt that we gave, with its feedback file."""

    no: int
    document: SignedDocument
    feedback: bytes


async def put(tx: Transaction, sender: str, stream: str, no: int, digest: str, document: SignedDocument, feedback: bytes) -> None:
    """Keep a receipt that we give, as the next of its stream.

    Raises StoreError receipt-number when it is not the next, or the number of the last one is still asked for.
    """
    row = await tx.one(_STREAM, {"sender": sender, "stream": stream})
    if row is None or row.receipt_no + 1 != no or row.asks_since is not None:
        raise StoreError("a receipt has the next number of its stream", code="receipt-number", place=f"{stream}/{no}")
    await tx.execute(
        sa.insert(receipts).values(sender=sender, stream=stream, no=no, body=document.body, note=document.note, feedback=feedback)
    )
    await tx.execute(
        sa.update(in_streams)
        .where(in_streams.c.sender == sender, in_streams.c.stream == stream)
        .values(receipt_no=no, receipt_digest=digest)
    )


async def receipt(source: Source, sender: str, stream: str, no: int) -> GivenReceipt | None:
    """One receipt that we gave."""
    row = await source.one(_RECEIPT, {"sender": sender, "stream": stream, "of_no": no})
    return GivenReceipt(no=row.no, document=SignedDocument(row.body, row.note), feedback=row.feedback) if row is not None else None


async def to_bring(source: Source, sender: str, stream: str) -> list[GivenReceipt]:
    """Receipts that a sender from whom we fetch has not got yet, in order."""
    row = await source.one(_STREAM, {"sender": sender, "stream": stream})
    if row is None or row.receipt_no == (row.brought_no or 0):
        return []
    numbers = range((row.brought_no or 0) + 1, row.receipt_no + 1)
    found = [await receipt(source, sender, stream, no) for no in numbers]
    return [each for each in found if each is not None]


async def was_brought(tx: Transaction, sender: str, stream: str, no: int) -> None:
    """The sender has it."""
    await tx.execute(sa.update(in_streams).where(in_streams.c.sender == sender, in_streams.c.stream == stream).values(brought_no=no))


async def receipts_of(source: Source, sender: str, stream: str) -> list[GivenReceipt]:
    """Every receipt that we gave for a stream, in order."""
    rows = await source.all(_RECEIPTS, {"sender": sender, "stream": stream})
    return [GivenReceipt(no=row.no, document=SignedDocument(row.body, row.note), feedback=row.feedback) for row in rows]

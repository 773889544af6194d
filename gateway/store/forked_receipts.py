"""Receipts that contradict those held of the same receiver: evidence that it gave a number twice, or signed two histories.

Rules: what is kept was verified, and stays: evidence outlives the stream's standstill and the agreement. Of a number the first that
contradicts is enough, and of a stream a few: a receiver that signs more of them proves nothing more. It says how many lines a batch had and
what became of them, never what stands in one.
"""

from typing import Final

import sqlalchemy as sa

from gateway.core.exchange.notes import SignedDocument
from gateway.store.store import Row, Source, Transaction
from gateway.store.tables import forked_receipts

MOST: Final = 16
"""Of a stream."""
_t = forked_receipts.c
_LATEST = sa.select(forked_receipts).where(_t.stream == sa.bindparam("stream")).order_by(_t.received_at.desc(), _t.no.desc()).limit(MOST)


async def latest(source: Source, stream: str) -> list[Row]:
    """What is kept of a stream, the latest first: no, body, note, received_at."""
    return await source.all(_LATEST, {"stream": stream})


async def keep(tx: Transaction, stream: str, no: int, document: SignedDocument) -> None:
    """Keep a receipt that contradicts, unless enough is kept."""
    held = await latest(tx, stream)
    if len(held) < MOST and no not in {row.no for row in held}:
        values = {"stream": stream, "no": no, "body": document.body, "note": document.note, "received_at": tx.now_text}
        await tx.execute(sa.insert(forked_receipts).values(**values))

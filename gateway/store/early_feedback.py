"""Feedback that came before the receipt that names it (exchange.md §10): kept unread, little of it, and not for long.

Rules: a number is kept only near the last receipt held, so many bytes of a stream at most, and a day at most; whoever brings receipts in
order never meets these bounds. This room must not read what it keeps.
"""

from datetime import timedelta
from typing import Final

import sqlalchemy as sa

from gateway.core.errors import ExchangeError
from gateway.store import ledger
from gateway.store.store import Source, Transaction, stamp
from gateway.store.tables import out_feedback

AHEAD: Final = 16
"""How many numbers beyond the last receipt held."""
KEPT_BYTES: Final = 64 * 2**20
"""Of one stream together: one file of the largest size."""
KEPT_FOR: Final = timedelta(days=1)

_FEEDBACK = sa.select(out_feedback.c.data).where(
    out_feedback.c.stream == sa.bindparam("stream"), out_feedback.c.no == sa.bindparam("of_no")
)
_OTHERS = sa.select(sa.func.coalesce(sa.func.sum(sa.func.length(out_feedback.c.data)), 0).label("bytes")).where(
    out_feedback.c.stream == sa.bindparam("stream"), out_feedback.c.no != sa.bindparam("of_no")
)


async def keep_feedback(tx: Transaction, stream: str, no: int, data: bytes) -> None:
    """Keep feedback that came before its receipt; what comes again takes its place.

    Raises ExchangeError SEQ_GAP for a number too far ahead, SIZE_BYTES when too much of the stream is kept already.
    """
    await purge(tx)
    if no > (await ledger.last_receipt_no(tx, stream) or 0) + AHEAD:
        raise ExchangeError("feedback of a receipt that is not due yet", code="SEQ_GAP", place=stream)
    others = await tx.one(_OTHERS, {"stream": stream, "of_no": no})
    assert others is not None  # noqa: S101  # a sum is always one row
    if int(others.bytes) + len(data) > KEPT_BYTES:
        raise ExchangeError("too much feedback waits for its receipts", code="SIZE_BYTES", place=stream)
    await drop_feedback(tx, stream, no)
    await tx.execute(sa.insert(out_feedback).values(stream=stream, no=no, data=data, received_at=tx.now_text))


async def kept_feedback(source: Source, stream: str, no: int) -> bytes | None:
    """Feedback that came before its receipt."""
    row = await source.one(_FEEDBACK, {"stream": stream, "of_no": no})
    return bytes(row.data) if row is not None else None


async def drop_feedback(tx: Transaction, stream: str, no: int) -> None:
    """Forget it: it stands with its receipt."""
    await tx.execute(sa.delete(out_feedback).where(out_feedback.c.stream == stream, out_feedback.c.no == no))


async def purge(tx: Transaction) -> None:
    """Forget, of every stream, what has waited for its receipt for a day."""
    await tx.execute(sa.delete(out_feedback).where(out_feedback.c.received_at < stamp(tx.now - KEPT_FOR)))

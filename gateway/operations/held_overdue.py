"""Since when a partner's batch is held, and whether that is longer than agreed (exchange.md §7).

Rules: what counts is when we answered `held`, and `hold_h` of the agreement that governs now. This story must not decide about the batch.
"""

from datetime import datetime, timedelta

from msgspec import Struct

from gateway.core.exchange.feedback import read_receipt
from gateway.operations.partners import stream_at
from gateway.services import Services
from gateway.store import given_receipts, inbox


class HeldOverdue(Struct, frozen=True, kw_only=True):
    """A batch about which a person should have decided by now."""

    seq: int
    since: datetime


async def held_overdue(services: Services, sender: str, stream: str) -> HeldOverdue | None:
    """The held batch of a partner's stream, once it waits for longer than agreed."""
    reads, now = services.store.reads, services.clock()
    batch = await inbox.held_batch(reads, sender, stream)
    governed = await stream_at(reads, stream, sender, now) if batch is not None else None
    if batch is None or governed is None:
        return None
    receipt = await given_receipts.receipt(reads, sender, stream, batch.receipt_no or 0)
    since = datetime.fromisoformat(read_receipt(receipt.document.body).decided_at) if receipt is not None else batch.first_seen
    if now - since < timedelta(hours=governed.governing.agreement.terms.sla.hold_h):
        return None
    return HeldOverdue(seq=batch.seq, since=since)

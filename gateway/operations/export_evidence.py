"""Evidence of a fork: two batches of one number, or two roots for one size, both signed by the same partner, as anybody can check them.

Rules: only what the partner signed is exported, byte for byte, and nothing of the records. This story must not release the stream:
that takes a second person and a new epoch.
"""

from gateway.core.errors import ExchangeError
from gateway.core.exchange.admitting import fork_evidence
from gateway.services import Services
from gateway.store import inbox
from gateway.store.inbox import InBatch


async def export_evidence(services: Services, stream: str) -> bytes:
    """The two sides of the fork that froze a partner's stream (exchange.md §7), as one JSON document.

    Raises ExchangeError NOT_FOUND when no partner's stream of this name is frozen.
    """
    reads = services.store.reads
    for row in await inbox.in_streams_all(reads):
        if row.stream != stream or row.frozen is None:
            continue
        frozen = await inbox.frozen_batch(reads, row.sender, stream)
        if frozen is not None:
            other = await _contradicted(services, frozen)
            if other is not None:
                return fork_evidence((other.document, other.checkpoint), (frozen.document, frozen.checkpoint))
    raise ExchangeError("no stream of this name is frozen", code="NOT_FOUND", place=stream)


async def _contradicted(services: Services, frozen: InBatch) -> InBatch | None:
    """What the batch contradicts: another one of its number, or else its predecessor."""
    reads = services.store.reads
    for seq in (frozen.seq, frozen.seq - 1):
        found = await inbox.in_batches_at(reads, frozen.sender, frozen.stream, frozen.epoch, seq)
        others = [batch for batch in found if batch.digest != frozen.digest]
        if others:
            return min(others, key=lambda batch: (batch.first_seen, batch.digest))
    return None

"""Evidence of a fork: two batches of one number, or two roots for one size, both signed by the same partner, as anybody can check them.

Rules: only what the partner signed is exported, byte for byte, and nothing of the records. This story must not release the stream:
that takes a second person and a new epoch.
"""

from gateway.core.errors import ExchangeError
from gateway.core.exchange.admitting import fork_evidence
from gateway.core.exchange.manifests import read_manifest
from gateway.services import Services
from gateway.store import inbox
from gateway.store.inbox import InBatch


async def export_evidence(services: Services, stream: str) -> bytes:
    """The two sides of the latest fork of a partner's stream (exchange.md §7), as one JSON document; also once it is over.

    Raises ExchangeError NOT_FOUND when no partner's stream of this name was ever forked.
    """
    reads = services.store.reads
    for row in await inbox.in_streams_all(reads):
        if row.stream == stream:
            for frozen in await inbox.frozen_batches(reads, row.sender, stream):
                other = await _contradicted(services, frozen)
                if other is not None:
                    return fork_evidence((other.document, other.checkpoint), (frozen.document, frozen.checkpoint))
    raise ExchangeError("no stream of this name was forked", code="NOT_FOUND", place=stream)


async def _contradicted(services: Services, frozen: InBatch) -> InBatch | None:
    """What the batch contradicts: one of its number, or else a predecessor that it does not name; None for what only came later."""
    reads = services.store.reads
    for seq in (frozen.seq, frozen.seq - 1):
        found = await inbox.in_batches_at(reads, frozen.sender, frozen.stream, frozen.epoch, seq)
        others = [batch for batch in found if batch.digest != frozen.digest]
        if seq != frozen.seq and read_manifest(frozen.document.body).previous in {batch.digest for batch in others}:
            return None
        if others:
            return min(others, key=lambda batch: (batch.first_seen, batch.digest))
    return None

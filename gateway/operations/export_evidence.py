"""Evidence of a fork, signed by one partner, as anybody can check it: two batches of one number, two roots for one size, or two receipts.

Rules: only what the partner signed is exported, byte for byte, and nothing of the records. This story must not release the stream:
that takes a second person and a new epoch.
"""

from gateway.core.errors import ExchangeError
from gateway.core.exchange.admitting import fork_evidence
from gateway.core.exchange.feedback import read_receipt, receipt_fork_evidence
from gateway.core.exchange.manifests import read_manifest
from gateway.core.exchange.notes import SignedDocument
from gateway.services import Services
from gateway.store import forked_receipts, inbox, ledger
from gateway.store.inbox import InBatch


async def export_evidence(services: Services, stream: str) -> bytes:
    """The two sides of the latest fork of a partner's stream, or of its receipts for ours (exchange.md §7, §8), as one JSON document.

    It is there also once the fork is over. Raises ExchangeError NOT_FOUND when nothing of this name was ever forked.
    """
    reads = services.store.reads
    receipts = await _receipts(services, stream)
    if receipts is not None:
        return receipts
    for row in await inbox.in_streams_all(reads):
        if row.stream == stream:
            for frozen in await inbox.frozen_batches(reads, row.sender, stream):
                other = await _contradicted(services, frozen)
                if other is not None:
                    return fork_evidence((other.document, other.checkpoint), (frozen.document, frozen.checkpoint))
    raise ExchangeError("no stream of this name was forked", code="NOT_FOUND", place=stream)


async def _receipts(services: Services, stream: str) -> bytes | None:
    """The latest receipt for a stream of ours that contradicts, with the one that it contradicts."""
    reads = services.store.reads
    for forked in await forked_receipts.latest(reads, stream):
        before, same, after = [await ledger.received_receipt(reads, stream, forked.no + step) for step in (-1, 0, 1)]
        if same is not None:
            held = same if same.body != forked.body else None
        elif before is not None and before.digest != read_receipt(forked.body).previous:
            held = before
        else:
            held = after
        if held is not None:
            return receipt_fork_evidence(*(SignedDocument(bytes(one.body), one.note) for one in (held, forked)))
    return None


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

"""Which sealed batches an operator's hold keeps here: those that withdraw nothing, and behind which nothing waits that withdraws.

Rules: numbers cannot be left out, and what has to be taken back does not wait for a person. This file tells no story.
"""

from typing import Final

from gateway.store import holds, outbox
from gateway.store.outbox import OutBatch
from gateway.store.store import Source

HELD: Final = "HELD"
"""An operator holds the stream: the batch does not leave now."""


async def held_back(source: Source, sender: str, batch: OutBatch) -> bool:
    """Whether a batch of ours stays here for now."""
    if await holds.hold_on(source, sender, batch.stream) is None:
        return False
    waiting = await outbox.waiting_batches(source, batch.stream)
    behind = [each for each in waiting if each.epoch == batch.epoch and each.seq >= batch.seq]
    return bool(behind) and behind[0].seq == batch.seq and not any(each.withdrawals for each in behind)

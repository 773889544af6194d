"""Which sealed batches an operator's hold keeps here: those that withdraw nothing, and behind which nothing waits that withdraws.

Rules: numbers cannot be left out, and what has to be taken back does not wait for a person. This file tells no story.
"""

from typing import Final

from gateway.core.exchange.lines import Line
from gateway.store import holds, outbox
from gateway.store.outbox import OutBatch
from gateway.store.store import Source

HELD: Final = "HELD"
"""An operator holds the stream: the batch does not leave now."""


def line_sender(line: Line, ours: str) -> str:
    """In whose name a line's streams are held."""
    return ours if line.terms.direction == "out" else line.terms.partner


async def line_held(source: Source, line: Line, stream: str, ours: str) -> bool:
    """Whether an operator holds a line's stream."""
    return await holds.hold_on(source, line_sender(line, ours), stream) is not None


async def held_back(source: Source, sender: str, batch: OutBatch) -> bool:
    """Whether a batch of ours stays here for now."""
    if await holds.hold_on(source, sender, batch.stream) is None:
        return False
    waiting = await outbox.waiting_batches(source, batch.stream)
    behind = [each for each in waiting if each.epoch == batch.epoch and each.seq >= batch.seq]
    return bool(behind) and behind[0].seq == batch.seq and not any(each.withdrawals for each in behind)

"""Epochs that are being replaced: a newer one has begun to arrive, and is not applied.

This room must not decide which epoch counts.
"""

from typing import Final

import sqlalchemy as sa

from gateway.core.exchange.manifests import read_manifest
from gateway.store import inbox
from gateway.store.outbox import OutBatch
from gateway.store.store import Source
from gateway.store.tables import in_batches, out_batches

_NEWER: Final = (
    sa.select(sa.literal(1))
    .where(
        in_batches.c.sender == sa.bindparam("sender"),
        in_batches.c.stream == sa.bindparam("stream"),
        in_batches.c.epoch > sa.bindparam("of_epoch", type_=sa.BigInteger),
        in_batches.c.state != "superseded",  # went with an end of its agreement
    )
    .limit(1)
)
_NEXT_BEGINS: Final = sa.select(out_batches.c.manifest).where(
    out_batches.c.stream == sa.bindparam("stream"),
    out_batches.c.epoch == sa.bindparam("of_epoch", type_=sa.BigInteger),
    out_batches.c.seq == 1,
    out_batches.c.receipt.is_(None),
)
_ALL: Final = 2**31 - 1


async def being_replaced(source: Source, sender: str, stream: str) -> tuple[int, int] | None:
    """The epoch that is applied, and its last number that was verified here; None unless batches of a newer one have come."""
    held = await inbox.in_stream(source, sender, stream)
    if held is None or await source.one(_NEWER, {"sender": sender, "stream": stream, "of_epoch": held.head.epoch}) is None:
        return None
    ahead = await inbox.verified_ahead(source, sender, held.head, before=_ALL)
    return held.head.epoch, held.head.seq if ahead is None else ahead.head.seq


async def answered(source: Source, stream: str, epoch: int) -> bool:
    """Whether the partner has answered a batch of an epoch of ours."""
    mine = (out_batches.c.stream == stream, out_batches.c.epoch == epoch, out_batches.c.receipt.is_not(None))
    return await source.one(sa.select(sa.literal(1)).where(*mine).limit(1)) is not None


async def lengthens(source: Source, batch: OutBatch) -> bool:
    """Whether a batch of ours goes beyond the head that the next epoch replaces, of which the partner has not answered the first batch."""
    begins = await source.one(_NEXT_BEGINS, {"stream": batch.stream, "of_epoch": batch.epoch + 1})
    replaces = read_manifest(bytes(begins.manifest)).replaces if begins is not None else None
    return replaces is not None and read_manifest(batch.document.body).tree.size > replaces.size

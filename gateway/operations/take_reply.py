"""Take what a partner answers to a batch of ours: believe the receipt, and do what it says.

Signature, batch, tree, and only then is the batch acknowledged. A fork of the receiver, or a receiver that knows more than we do, stops the
stream until a person has looked. What does not verify moves nothing. This story delivers nothing.
"""

from datetime import datetime

from gateway.core.errors import ExchangeError
from gateway.core.exchange import feedback, notes
from gateway.core.exchange.feedback import Receipt
from gateway.core.exchange.manifests import Manifest
from gateway.core.exchange.notes import SignedDocument
from gateway.core.exchange.wire import batch_id, digest_text
from gateway.operations.backing_off import pause
from gateway.operations.believe_receipt import Reply, believed, contradicts, stop_for, take_feedback
from gateway.operations.partners import Stream
from gateway.services import Services
from gateway.store import audit, ledger, out_epochs, outbox
from gateway.store.outbox import OutBatch

UNEXPLAINED = "SIG_PART_MISSING"
"""Acknowledged, but the feedback file did not come along: the acknowledgements in it are still owed."""


async def take_reply(services: Services, stream: Stream, batch: OutBatch, manifest: Manifest, said: Reply) -> str | None:
    """Check a receipt and do what it says; None when it acknowledges the batch.

    Raises ExchangeError for what does not verify: then nothing has moved.
    """
    now = services.clock()
    receipt = await check_receipt(services, stream, batch, said.document, now)
    lines = feedback.read_feedback(said.feedback, receipt.feedback, stream.suite) if said.feedback is not None else None
    digest = digest_text(said.document.body, stream.suite)
    if await contradicts(services, stream, receipt, digest):
        async with services.store.transaction() as tx:
            await outbox.end_delivery(tx, batch, state="waiting", code="SEQ_FORK")
            await stop_for(tx, stream, receipt, said.document)
        return "SEQ_FORK"
    out = await outbox.out_stream(services.store.reads, stream.name, stream.suite)
    if out is not None and receipt.tree.epoch == out.head.epoch and receipt.tree.size > out.head.tree.size:
        async with services.store.transaction() as tx:  # the epoch that a person begins names the head that it shows
            await ledger.put_received_receipt(tx, stream.name, receipt.no, digest, said.document, said.feedback)
        return await stop(services, batch, "SEQ_ROOT")  # the partner knows more than we do: we were restored from a backup
    if receipt.result in ("applied", "partial") and (
        receipt.tree.size < manifest.tree.size or (receipt.tree.size == manifest.tree.size and receipt.tree.root != manifest.tree.root)
    ):
        return await stop(services, batch, "SEQ_FORK")
    acked = receipt.result in ("applied", "partial")
    staged = receipt.result == "quarantined" and receipt.code is None and manifest.snapshot == "part"
    refused = receipt.result in ("rejected", "frozen")
    unexplained = acked and lines is None and receipt.feedback.lines > 0
    async with services.store.transaction() as tx:
        await ledger.put_received_receipt(tx, stream.name, receipt.no, digest, said.document, said.feedback)
        await outbox.end_delivery(
            tx,
            batch,
            state="acked" if acked else "nacked" if refused else "waiting",
            code=UNEXPLAINED if unexplained else outbox.STAGED if staged else receipt.code,
            receipt=notes.envelope(said.document),
            next_attempt_at=tx.now + pause(batch.attempts) if unexplained or not (acked or refused) else None,
        )
        if lines is not None and acked:
            await take_feedback(tx, stream.name, lines)
        if acked and manifest.snapshot == "last":
            await out_epochs.finish(tx, stream.name, batch.epoch, notes.envelope(said.document))
        if receipt.code == "SEQ_GAP" and manifest.snapshot != "none":
            await out_epochs.unstage(tx, stream.name, batch.epoch)
        if refused:
            await outbox.stop_stream(tx, stream.name, batch.epoch, receipt.code or receipt.result)
        await audit.write(
            tx,
            f"partner/{stream.receiver}",
            "batch.receipt",
            f"batch/{manifest.id}",
            {
                "no": receipt.no,
                "result": receipt.result,
                "code": receipt.code,
                "accepted": receipt.counts.accepted,
                "rejected": receipt.counts.rejected,
            },
        )
    return None if acked or staged else receipt.code or receipt.result


async def check_receipt(services: Services, stream: Stream, batch: OutBatch, document: SignedDocument, now: datetime) -> Receipt:
    """The receipt, if the partner signed it about this batch.

    Raises ExchangeError SIG_*, SCHEMA_* or SIG_CONTEXT.
    """
    receipt = await believed(services, stream, document, now)
    about = receipt.batch
    if about is None or (about.epoch, about.seq, about.manifest) != (batch.epoch, batch.seq, batch.digest):
        raise ExchangeError(
            "a receipt of another batch", code="SIG_CONTEXT", place=batch_id(services.signers.party, stream.name, batch.epoch, batch.seq)
        )
    return receipt


async def stop(services: Services, batch: OutBatch, code: str) -> str:
    """The stream goes no further until a person has looked; why, as a code."""
    async with services.store.transaction() as tx:
        await outbox.end_delivery(tx, batch, state="waiting", code=code)
        await outbox.stop_stream(tx, batch.stream, batch.epoch, code)
        await audit.write(tx, "gateway", "stream.stop", f"stream/{batch.stream}", {"code": code, "seq": batch.seq})
    return code

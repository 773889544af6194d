"""Take receipts that a partner brings us, for batches that it has fetched and later ones: the feedback, then the receipt (exchange.md §10).

Rules: feedback is kept unread until its receipt comes, and believed only as the bytes that the receipt names; a receipt is checked and
acted upon as one that comes back from a delivery. This story must not deliver anything.
"""

from gateway.core.errors import ExchangeError, NotFound
from gateway.core.exchange import feedback, notes
from gateway.core.exchange.manifests import read_manifest
from gateway.core.exchange.wire import SUITES, digest_text
from gateway.operations.believe_receipt import Reply, take_later
from gateway.operations.partners import Stream, streams_from
from gateway.operations.take_reply import take_reply
from gateway.services import Services
from gateway.store import early_feedback, ledger, outbox


async def keep_feedback(services: Services, partner: str, stream: str, no: int, data: bytes) -> None:
    """Keep the feedback of a receipt that is still to come.

    Raises NotFound for a stream that this partner does not receive, ExchangeError SEQ_GAP for a number too far ahead, SIZE_BYTES.
    """
    await _received_by(services, partner, stream)
    async with services.store.transaction() as tx:
        await early_feedback.keep_feedback(tx, stream, no, data)


async def take_receipt(services: Services, partner: str, stream: str, body: bytes) -> None:
    """Check a receipt with its feedback and do what it says; one that was taken before has no second effect.

    Raises NotFound for a stream or batch that this partner did not get, ExchangeError SIG_*, SCHEMA_*; SIG_PART_MISSING without feedback.
    """
    found = await _received_by(services, partner, stream)
    reads = services.store.reads
    document = notes.read_envelope(body)
    receipt = feedback.read_receipt(document.body)
    batch = await outbox.out_batch(reads, stream, receipt.batch.epoch, receipt.batch.seq) if receipt.batch is not None else None
    if batch is None and receipt.batch is not None:
        raise NotFound
    held = await ledger.received_receipt(reads, stream, receipt.no)
    same = held is not None and held.feedback is not None and held.digest == digest_text(document.body, found.suite)
    if same and (batch is None or batch.state == "acked"):
        return  # our answer was lost; its feedback, which was dropped when it was believed, is not asked for again
    told = await early_feedback.kept_feedback(reads, stream, receipt.no) if receipt.feedback.lines else b""
    if told is None:
        raise ExchangeError("the feedback comes before its receipt", code="SIG_PART_MISSING", place=f"{stream}/{receipt.no}")
    if batch is None:
        await take_later(services, found, document, told)
    else:
        await take_reply(services, found, batch, read_manifest(batch.document.body), Reply(document=document, feedback=told))
    async with services.store.transaction() as tx:
        await early_feedback.drop_feedback(tx, stream, receipt.no)


async def _received_by(services: Services, partner: str, name: str) -> Stream:
    for stream in await streams_from(services.store.reads, services.signers.party, services.clock()):
        if stream.name == name and stream.receiver == partner and stream.rules.terms.wire.suite in SUITES:
            return stream
    raise NotFound

"""Tell senders what could not be told with a batch's receipt: later receipts (exchange.md §8, §9).

Rules:
- a withdrawal is acknowledged when its record has left every exit here and wherever it was carried on to, an erasure when nothing of it
  is left in any copy, index or free page either; `at` is when that was found so. What was said anew meanwhile has left by that.
- a held line is told of once: HOLD_RELEASED when somebody let it in, HOLD_REFUSED when it was taken back.
- a later receipt counts nothing, takes the next number and is chained like every other; receipt and debt are one transaction.
This story must not withdraw anything, and never acknowledges what it has not looked for.
"""

from collections.abc import Sequence

from gateway.core.exchange import feedback
from gateway.core.exchange.admitting import required_algorithms
from gateway.core.exchange.feedback import Feedback, ReceiptAgreement, ReceiptCounts
from gateway.core.exchange.wire import SUITES, digest_text, instant
from gateway.operations.partners import Stream, exchange_signers, stream_at
from gateway.services import Services
from gateway.store import audit, erasures, exits, given_receipts, inbox, known_records, owed
from gateway.store.owed import Owed
from gateway.store.store import Source, Transaction

LINES = 5_000
"""Lines of one later receipt."""


async def acknowledge(services: Services) -> int:
    """Give a later receipt for every stream of which something can be told now; how many lines that were.

    Raises SettingsError key-missing, StoreError.
    """
    told = 0
    for sender, name in await owed.streams_owed(services.store.reads):
        stream = await stream_at(services.store.reads, name, sender, services.clock())
        if stream is not None:
            told += await _tell(services, stream)
    return told


async def _tell(services: Services, stream: Stream) -> int:
    if not await _ready(services.store.reads, stream):
        return 0
    async with services.store.transaction() as tx:
        lines = await _ready(tx, stream)  # another process may have been faster
        if lines:
            await _give(services, tx, stream, lines)
    return len(lines)


async def _ready(source: Source, stream: Stream) -> list[tuple[Owed, str]]:
    """What can be told of a stream now, each with its code; nothing while the number of the last receipt is asked for."""
    place = await inbox.in_stream(source, stream.sender, stream.name, stream.suite)
    if place is not None and place.asks is not None:
        return []
    debts = await owed.owed(source, stream.sender, stream.name, LINES)
    ids = [debt.record_id for debt in debts]
    known = await known_records.known(source, ids)
    seen = await exits.still_at(source, ids)
    unfinished = await erasures.unfinished(source, ids)
    states = await owed.states(source, ids)
    ready: list[tuple[Owed, str]] = []
    for debt in debts:
        held = known.get(debt.record_id)
        replaced = held is not None and held.v > debt.v
        if debt.code == "HOLD_RELEASED":
            state = states.get(debt.record_id)
            if replaced or state != "held":
                ready.append((debt, debt.code if state == "in_force" and not replaced else "HOLD_REFUSED"))
        elif debt.code == "ACK_ERASED":
            if debt.record_id not in seen and debt.record_id not in unfinished:
                ready.append((debt, debt.code))
        elif debt.record_id not in seen or (replaced and held is not None and held.op in ("assert", "amend")):
            ready.append((debt, debt.code))
    return ready


async def _give(services: Services, tx: Transaction, stream: Stream, ready: Sequence[tuple[Owed, str]]) -> None:
    """Sign and keep the next receipt of the stream; what it tells is not owed any more."""
    suite = SUITES[stream.rules.terms.wire.suite]
    place = await inbox.open_in_stream(tx, stream.sender, stream.name, 1, suite)
    lines = [
        Feedback(
            i=debt.idx,
            rid=debt.record_id,
            v=debt.v,
            severity="info",
            code=code,
            message=feedback.MESSAGES[code],
            at=instant(tx.now),
        )
        for debt, code in ready
    ]
    file = feedback.feedback_file(lines)
    agreement = stream.governing.agreement
    body = feedback.make_receipt(
        receiver=stream.receiver,
        sender=stream.sender,
        stream=stream.name,
        no=place.receipt_no + 1,
        previous=place.receipt_digest,
        batch=None,
        result="applied",
        code=None,
        epoch=place.head.epoch,
        size=place.head.tree.size,
        root=place.head.tree.root(),
        agreement=ReceiptAgreement(id=agreement.id, version=agreement.version),
        counts=ReceiptCounts(),
        feedback=feedback.feedback_sum(file, len(lines), suite),
        received_at=tx.now,
        decided_at=tx.now,
    )
    receipt = feedback.read_receipt(body)
    document = feedback.sign_receipt(body, receipt, exchange_signers(services, tx.now, required_algorithms(stream.rules)), suite)
    await given_receipts.put(tx, stream.sender, stream.name, receipt.no, digest_text(body, suite), document, file)
    await owed.pay(tx, stream.sender, stream.name, [debt for debt, _ in ready])
    await audit.write(
        tx, "gateway", "batch.acknowledge", f"stream/{stream.sender}/{stream.name}", {"receipt": receipt.no, "lines": len(lines)}
    )

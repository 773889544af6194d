"""What a partner's receipt must show before anything of it is believed, and what its feedback says of our lines (exchange.md §8).

Rules: its note verifies with a key of the partner, it is about a stream of ours to that partner, its number was not given to another
one, and it is chained to the one before that we hold. A receipt of kind `later` is about no batch: it may only bring news of lines.
This story must not deliver or seal anything.
"""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from gateway.adapter_contract import AdapterError, PartnerAdapter
from gateway.core.errors import ExchangeError
from gateway.core.exchange import feedback, notes
from gateway.core.exchange.admitting import required_algorithms
from gateway.core.exchange.feedback import Feedback, Receipt
from gateway.core.exchange.notes import SignedDocument
from gateway.core.exchange.wire import SUITES, Suite, digest_text, strict_json
from gateway.operations.fetch_keys import with_newer_keys
from gateway.operations.partners import Stream, trusted_keys
from gateway.services import Services
from gateway.store import audit, forked_receipts, kept_parts, ledger, outbox
from gateway.store.store import Transaction

ACKNOWLEDGED = ("ACK_WITHDRAWN", "ACK_ERASED")
AT_A_TIME = 100
"""Receipts asked for in one round."""


class Reply(Struct, frozen=True, kw_only=True):
    """A receipt with the feedback that came with it, before anything of them is believed."""

    document: SignedDocument
    feedback: bytes | None


def read_reply(reply: bytes) -> Reply:
    """A receipt, alone or with its feedback beside it."""
    value = strict_json(reply)
    if "receipt" not in value:
        return Reply(document=notes.from_envelope(value), feedback=None)
    told = value.get("feedback")
    return Reply(document=notes.from_envelope(value["receipt"]), feedback=told.encode() if isinstance(told, str) else None)


def suite_of(stream: Stream) -> Suite:
    """The suite of a stream."""
    return SUITES[stream.rules.terms.wire.suite]


async def believed(services: Services, stream: Stream, document: SignedDocument, now: datetime) -> Receipt:
    """The receipt, if the partner signed it about this stream of ours; a key that we do not know is asked for.

    Raises ExchangeError SIG_*, SCHEMA_* or SIG_CONTEXT.
    """
    receipt = feedback.read_receipt(document.body)

    async def verify() -> None:
        ring, _ = await trusted_keys(services.store.reads, stream.governing, stream.receiver)
        notes.verify_document(
            document,
            ring,
            artefact="receipt",
            context=feedback.receipt_context(stream.name, services.signers.party, receipt.no),
            use="exchange",
            first_seen=now,
            own_time=_decided(receipt),
            required=required_algorithms(stream.rules),
            suite=suite_of(stream),
            skew=stream.governing.agreement.skew,
        )

    await with_newer_keys(services, stream.receiver, verify)
    if (receipt.sender, receipt.receiver, receipt.stream) != (services.signers.party, stream.receiver, stream.name):
        raise ExchangeError("a receipt of another stream", code="SIG_CONTEXT")
    return receipt


def _decided(receipt: Receipt) -> datetime | None:
    try:
        return datetime.fromisoformat(receipt.decided_at)
    except ValueError:
        return None


async def contradicts(services: Services, stream: Stream, receipt: Receipt, digest: str) -> bool:
    """Whether the receiver has given this number to another receipt, or one of its neighbours that we hold is chained to another."""
    before, same, after = [await ledger.received_receipt(services.store.reads, stream.name, receipt.no + step) for step in (-1, 0, 1)]
    return (
        (same is not None and same.digest != digest)
        or (before is not None and before.digest != receipt.previous)
        or (after is not None and feedback.read_receipt(after.body).previous != digest)
    )


async def stop_for(tx: Transaction, stream: Stream, receipt: Receipt, document: SignedDocument) -> None:
    """A fork of the receiver: the stream goes no further until a person has looked, and what contradicts is kept as evidence."""
    await forked_receipts.keep(tx, stream.name, receipt.no, document)
    out = await outbox.out_stream(tx, stream.name, suite_of(stream))
    if out is not None and out.stopped == "SEQ_FORK":
        return  # it shows the same again
    await outbox.stop_stream(tx, stream.name, out.head.epoch if out is not None else 1, "SEQ_FORK")
    await audit.write(tx, "gateway", "stream.stop", f"stream/{stream.name}", {"code": "SEQ_FORK", "receipt": receipt.no})


async def take_feedback(tx: Transaction, stream: str, lines: Sequence[Feedback]) -> None:
    """Do what a partner says of our lines: debts that are paid, versions that were not taken, lines that a person decided about."""
    said = [(line.rid, line.v, line) for line in lines if line.rid and line.v]
    await ledger.mark_acknowledged(tx, stream, [(rid, v) for rid, v, line in said if line.code in ACKNOWLEDGED])
    await ledger.mark_refused(
        tx, stream, [(rid, v, line.code, line.severity == "hold") for rid, v, line in said if line.severity in ("reject", "hold")]
    )
    await ledger.mark_decided(tx, stream, [(rid, v, line.code) for rid, v, line in said if line.code in ("HOLD_RELEASED", "HOLD_REFUSED")])
    await ledger.mark_erased_before(tx, stream, [(rid, v) for rid, v, line in said if line.code == "SEQ_ERASED"])
    erased = [rid for rid, _, line in said if line.code == "ACK_ERASED"]
    if erased:
        await kept_parts.purge_records(tx, stream, erased)


# --- later receipts -----------------------------------------------------------------------------------------------------


async def take_later(services: Services, stream: Stream, document: SignedDocument, told: bytes) -> Receipt:
    """Check a receipt that is about no batch, and do what its lines say; taken twice it has no second effect.

    Raises ExchangeError for what does not verify: then nothing has moved. A fork of the receiver stops the stream.
    """
    receipt = await believed(services, stream, document, services.clock())
    if receipt.kind != "later":
        raise ExchangeError("the receipt is about a batch", code="SIG_CONTEXT")
    lines = feedback.read_feedback(told, receipt.feedback, suite_of(stream))
    digest = digest_text(document.body, suite_of(stream))
    forked = await contradicts(services, stream, receipt, digest)
    async with services.store.transaction() as tx:
        if forked:
            await stop_for(tx, stream, receipt, document)
            return receipt
        if await ledger.received_receipt(tx, stream.name, receipt.no) is None:
            await ledger.put_received_receipt(tx, stream.name, receipt.no, digest, document, told)
            await take_feedback(tx, stream.name, lines)
            await audit.write(
                tx, f"partner/{stream.receiver}", "batch.later", f"stream/{stream.name}", {"no": receipt.no, "lines": len(lines)}
            )
    return receipt


async def ask_for_receipts(services: Services, stream: Stream, line: PartnerAdapter) -> int:
    """Ask the receiver of a stream for the receipts that it gave and we have not got, while we wait for news; how many were taken.

    Raises StoreError. What the partner or its line does wrong only delays the news.
    """
    ask = getattr(line, "receipts", None) if "receipts" in line.capabilities else None
    if ask is None or not await ledger.awaits_news(services.store.reads, stream.name):
        return 0
    held = await ledger.receipts_held(services.store.reads, stream.name)
    missing = [no for no in range(1, max(held, default=0) + 2) if no not in held]
    taken = 0
    for first in [*missing[: AT_A_TIME - 1], *missing[AT_A_TIME - 1 :][-1:]]:  # however many are lost for good, the news is not behind them
        try:
            async for no, receipt, told in ask(stream.name, first - 1):
                if no not in held:
                    await keep_receipt(services, stream, notes.read_envelope(receipt), told)
                    taken += 1
                if taken == AT_A_TIME:
                    break
        except AdapterError as error:
            if error.code == "SEQ_CLOSED":
                continue  # the receiver came back from a copy and has lost this one: what follows it is asked for
            return taken  # the next round asks again
        except ExchangeError:
            return taken
        except Exception:  # noqa: BLE001 - a guest may raise anything; the batches that wait must go out
            return taken
        return taken
    return taken


async def keep_receipt(services: Services, stream: Stream, document: SignedDocument, told: bytes) -> None:
    """Keep a receipt that was asked for, and do what it says of lines; a fork of the receiver stops the stream.

    Raises ExchangeError for what does not verify.
    """
    receipt = await believed(services, stream, document, services.clock())
    if receipt.kind == "later":
        await take_later(services, stream, document, told)
        return
    # of a batch, which its own delivery brings in: kept, so that the chain has no hole and is not asked for again
    digest = digest_text(document.body, suite_of(stream))
    feedback.read_feedback(told, receipt.feedback, suite_of(stream))
    forked = await contradicts(services, stream, receipt, digest)
    async with services.store.transaction() as tx:
        if forked:
            await stop_for(tx, stream, receipt, document)
            return
        await ledger.put_received_receipt(tx, stream.name, receipt.no, digest, document, told)

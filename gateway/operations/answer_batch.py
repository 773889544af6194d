"""What a batch is answered, and what is written of it: rows of the inbox, receipts that go on from one another, the audit.

Every answer is one transaction in which the stream stands where the steps found it; a receipt is signed here, and exists if and only if
what it says is committed. This story must not decide what an answer is: `admit_batch` and `apply_batch` do.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal, NoReturn

from msgspec import Struct

from gateway.core.errors import ExchangeError, NoteRefused, StoreError
from gateway.core.exchange import admitting, feedback, manifests
from gateway.core.exchange.admitting import SUSPENDED
from gateway.core.exchange.agreements import Agreement
from gateway.core.exchange.feedback import Feedback, Receipt, ReceiptAgreement, ReceiptBatch, ReceiptCounts
from gateway.core.exchange.manifests import Manifest
from gateway.core.exchange.notes import SignedDocument
from gateway.core.exchange.wire import SHA256, Suite, batch_id, digest_text
from gateway.core.signing import Algorithm
from gateway.operations.partners import exchange_signers
from gateway.operations.parts_at_hand import PartsAtHand
from gateway.services import Services
from gateway.store import audit, given_receipts, inbox
from gateway.store.inbox import InBatch, InStream
from gateway.store.store import Source, Transaction

MAX_WAITING = 100
FROZEN = "frozen"
"""`place` of the error that repeats why a stream is frozen."""

Result = Literal["applied", "partial", "held", "quarantined", "rejected", "frozen", "fetching"]


class Received(Struct, frozen=True, kw_only=True):
    """The answer to a batch: a signed receipt, or the parts that are still wanted."""

    result: Result
    batch: str
    code: str | None = None
    receipt: SignedDocument | None = None
    no: int | None = None
    feedback: bytes = b""
    missing: tuple[str, ...] = ()


class BatchRefused(NoteRefused):
    """A failure that moves nothing: the caller gets a problem and may try again."""

    def __init__(self, error: ExchangeError) -> None:
        super().__init__(error.detail, place=error.place, hint=error.hint, code=error.code)


class Claim(Struct, frozen=True, kw_only=True):
    """What a manifest says of itself, read only to find agreement and keys."""

    sender: str
    epoch: int
    seq: int
    created: datetime | None


class Answering:
    """One batch that came, as far as it is known, and its answers."""

    claim: Claim
    digest: str
    agreement: Agreement
    required: frozenset[Algorithm]
    first_seen: datetime

    def __init__(self, services: Services, stream: str, document: SignedDocument, checkpoint: str, parts: Mapping[str, bytes]) -> None:
        self.services = services
        self.ours = services.signers.party
        self.name = stream
        self.document = document
        self.checkpoint = checkpoint
        self.parts = PartsAtHand(parts)
        """Read one at a time: what lies on a line, or is kept here, is not held in memory."""
        self.suite: Suite = SHA256
        self.stored: InBatch | None = None
        self.head: InStream | None = None
        self.range: bytes | None = None
        """Compact range after this batch, once it is verified and has to wait."""

    def row(self, state: str, code: str | None, receipt_no: int | None) -> InBatch:
        """The batch as a row of the inbox."""
        return InBatch(
            sender=self.claim.sender,
            stream=self.name,
            epoch=self.claim.epoch,
            seq=self.claim.seq,
            digest=self.digest,
            state=state,
            code=code,
            document=self.document,
            checkpoint=self.checkpoint,
            first_seen=self.first_seen,
            receipt_no=receipt_no,
            verified=self.range,
        )

    async def again(self, source: Source, stored: InBatch) -> Received:
        """The stored receipt, byte for byte."""
        receipt = await given_receipts.receipt(source, stored.sender, stored.stream, stored.receipt_no or 0)
        if receipt is None:
            raise StoreError("a decided batch has no receipt", code="receipt-number", place=self.id)
        return Received(
            result=feedback.read_receipt(receipt.document.body).result,
            batch=self.id,
            code=stored.code,
            receipt=receipt.document,
            no=receipt.no,
            feedback=receipt.feedback,
        )

    @property
    def id(self) -> str:
        """Sender, stream, epoch and number (exchange.md §1)."""
        return batch_id(self.claim.sender, self.name, self.claim.epoch, self.claim.seq)

    async def fetch(self, manifest: Manifest, missing: tuple[str, ...]) -> Received:
        """Keep what has come, and say what is wanted."""
        async with self.services.store.transaction() as tx:
            await inbox.open_in_stream(tx, self.claim.sender, self.name, 1, self.suite)
            if self.stored is None:
                await self.room(tx)
            state = self.stored.state if self.stored is not None else "fetching"
            row = self.row(
                state, self.stored.code if self.stored is not None else None, self.stored.receipt_no if self.stored is not None else None
            )
            await inbox.put_in_batch(tx, row)
            await inbox.put_in_parts(tx, row, self.parts.came)
        return Received(result="fetching", batch=manifest.id, missing=missing)

    async def room(self, tx: Transaction) -> None:
        """Room for one more batch that waits.

        Raises BatchRefused RATE_LIMIT.
        """
        if await inbox.waiting_in(tx, self.claim.sender, self.name) >= MAX_WAITING:
            problem(ExchangeError("too many batches of this stream wait", code="RATE_LIMIT"))

    async def refuse(self, code: str) -> Received:
        """A batch that was held, or would have been, is refused: final."""
        async with self.services.store.transaction() as tx:
            await self.same_place(tx)
            return await self.refused(tx, code)

    async def refused(self, tx: Transaction, code: str, detail: Mapping[str, object] | None = None) -> Received:
        """The receipt of a refusal; nothing of the batch stays here, nor of the epoch that it would have ended."""
        self.range = None
        received = await self.answer(tx, "rejected", code, detail=detail)
        await inbox.drop_in_parts(tx, self.row("rejected", code, received.no))
        await inbox.drop_staged(tx, self.claim.sender, self.name, self.claim.epoch)
        tx.shredded = True
        return received

    async def failed(self, step: int, error: ExchangeError) -> Received:
        """A receipt for what is intact and signed, yet wrong or too early; a problem for all else."""
        answer = "frozen" if error.place == FROZEN else admitting.answer_to(step, error)
        if answer == "problem":
            problem(error)
        if answer == "quarantined":
            return await self._quarantine(error.code)
        async with self.services.store.transaction() as tx:
            await self.same_place(tx)
            await inbox.open_in_stream(tx, self.claim.sender, self.name, 1, self.suite)
            received = await self.answer(tx, answer, error.code, why=_in_words(error))
            if answer == "frozen":
                await inbox.freeze(tx, self.claim.sender, self.name, error.code)
        return received

    async def _quarantine(self, code: str) -> Received:
        if (
            self.stored is not None
            and self.stored.state == "quarantined"
            and self.stored.code == code
            and self.stored.receipt_no is not None
        ):
            async with self.services.store.transaction() as tx:
                await inbox.put_in_parts(tx, self.stored, await self._good_parts())
            return await self.again(self.services.store.reads, self.stored)
        async with self.services.store.transaction() as tx:
            await self.same_place(tx)
            await inbox.open_in_stream(tx, self.claim.sender, self.name, 1, self.suite)
            if self.stored is None:
                await self.room(tx)
            received = await self.answer(tx, "quarantined", code)
            await inbox.put_in_parts(tx, self.row("quarantined", code, received.no), await self._good_parts())
        return received

    async def _good_parts(self) -> dict[str, bytes]:
        """Parts that came along and are what the manifest says; others are dropped and asked for again."""
        try:
            entries = {part.name: part for part in manifests.read_manifest(self.document.body).parts}
        except ExchangeError:
            return {}
        return {
            name: data
            for name, data in self.parts.came.items()
            if name in entries and len(data) == entries[name].bytes and digest_text(data, self.suite) == entries[name].digest
        }

    async def same_place(self, tx: Transaction) -> None:
        """Nobody else has decided about this stream since we looked.

        Raises StoreError stream-moved.
        """
        present = await inbox.in_stream(tx, self.claim.sender, self.name, self.suite)
        if _place(present) != _place(self.head):
            raise StoreError("another process is at this stream", code="stream-moved", place=self.name)

    async def answer(
        self,
        tx: Transaction,
        result: Literal["applied", "partial", "held", "quarantined", "rejected", "frozen"],
        code: str | None,
        *,
        counts: ReceiptCounts | None = None,
        lines: Sequence[Feedback] = (),
        detail: Mapping[str, object] | None = None,
        why: str | None = None,
    ) -> Received:
        """Write the next receipt of the stream and what became of the batch; the receipt is signed here.

        `detail` stands in the audit, `why` in the receipt.
        """
        stream = await inbox.open_in_stream(tx, self.claim.sender, self.name, 1, self.suite)
        file = feedback.feedback_file(lines)
        body = feedback.make_receipt(
            receiver=self.ours,
            sender=self.claim.sender,
            stream=self.name,
            no=stream.receipt_no + 1,
            previous=stream.receipt_digest,
            batch=ReceiptBatch(epoch=self.claim.epoch, seq=self.claim.seq, manifest=self.digest),
            result=result,
            code=code,
            epoch=stream.head.epoch,
            size=stream.head.tree.size,
            root=stream.head.tree.root(),
            agreement=ReceiptAgreement(id=self.agreement.id, version=self.agreement.version),
            counts=counts or ReceiptCounts(),
            feedback=feedback.feedback_sum(file, len(lines), self.suite),
            received_at=self.first_seen,
            decided_at=tx.now,
            detail=why,
        )
        receipt: Receipt = feedback.read_receipt(body)
        document = feedback.sign_receipt(body, receipt, exchange_signers(self.services, tx.now, self.required), self.suite)
        await given_receipts.put(tx, self.claim.sender, self.name, receipt.no, digest_text(body, self.suite), document, file)
        await inbox.put_in_batch(tx, self.row(result, code, receipt.no))
        await audit.write(
            tx,
            f"partner/{self.claim.sender}",
            "batch.receive",
            f"batch/{self.id}",
            {
                "result": result,
                "code": code,
                "receipt": receipt.no,
                "lines": receipt.counts.lines,
                **(detail or {}),
            },
        )
        return Received(result=result, batch=self.id, code=code, receipt=document, no=receipt.no, feedback=file)


def _in_words(error: ExchangeError) -> str:
    """What is wrong and where, for who wrote the sender; no text of these steps repeats a value of a record."""
    return error.detail if error.place in (None, FROZEN, SUSPENDED) else f"{error.detail} ({error.place})"


def _place(stream: InStream | None) -> tuple[object, ...] | None:
    if stream is None:
        return None
    return stream.head.epoch, stream.head.seq, stream.head.manifest_digest, stream.frozen, stream.receipt_no


def problem(error: ExchangeError) -> NoReturn:
    """Answer by a problem: nothing is written."""
    raise BatchRefused(error)

"""Steps 1 to 9 of a partner's batch: that it is what the partner signed, the next of its stream, and that its lines hash to its root.

sizes · manifest note · manifest · (already decided: the stored receipt) · agreement · time · sequence · checkpoint · parts · lines, root. A
failure fails the batch as a whole with nothing written of it; what is intact and signed, yet wrong, is answered by a receipt, all else by a
problem. This story must not look into a record: `judge_lines` does, and `apply_batch` writes.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from time import monotonic
from typing import Literal, NoReturn

from msgspec import Struct

from gateway.core.errors import ExchangeError, NoteRefused, StoreError
from gateway.core.exchange import admitting, batch_lines, feedback, manifests
from gateway.core.exchange.admitting import SUSPENDED
from gateway.core.exchange.agreements import Agreement
from gateway.core.exchange.batch_lines import Verified
from gateway.core.exchange.documents import PartnerKeys
from gateway.core.exchange.feedback import Feedback, Receipt, ReceiptAgreement, ReceiptBatch, ReceiptCounts
from gateway.core.exchange.manifests import Head, Manifest, PartEntry
from gateway.core.exchange.merkle import CompactRange
from gateway.core.exchange.notes import KeyRing, SignedDocument
from gateway.core.exchange.wire import (
    SHA256,
    SUITES,
    Suite,
    batch_id,
    digest_text,
    strict_json,
)
from gateway.operations.manage_agreements import agreement_with
from gateway.operations.partners import Stream, exchange_signers, stream_at, trusted_keys
from gateway.operations.parts_at_hand import PartsAtHand
from gateway.operations.render_public import IN_LOOP, uncollected
from gateway.services import Services
from gateway.store import audit, inbox
from gateway.store.inbox import InBatch, InStream
from gateway.store.store import Source, Transaction

MAX_BODY = 2**20
"""A manifest of a thousand parts has a quarter of this."""
PREPARED = 10_000
"""A batch of at most this many lines is prepared before its transaction begins, so that other writers wait less."""
MAX_WAITING = 100

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


class _Claim(Struct, frozen=True, kw_only=True):
    """What a manifest says of itself, read only to find agreement and keys."""

    sender: str
    epoch: int
    seq: int
    created: datetime | None


class _Stepped(Exception):
    """A step has failed."""

    def __init__(self, step: int, error: ExchangeError) -> None:
        super().__init__(error.code)
        self.step = step
        self.error = error


class Passed(Struct, frozen=True, kw_only=True):
    """A batch after step 9."""

    manifest: Manifest
    verified: Verified
    ahead: bool = False
    """What comes before it is missing, and its root unproved: nothing but its withdrawals may be taken from it."""


class Admission:
    """One batch on its way through the steps."""

    def __init__(
        self,
        services: Services,
        stream: str,
        document: SignedDocument,
        checkpoint: str,
        parts: Mapping[str, bytes],
        caller: str | None,
        *,
        released: bool = False,
        lifted: bool = False,
    ) -> None:
        self.released = released
        """A person has looked at it: that it was held does not hold it any more."""
        self.lifted = lifted
        """It was held by an operator's hold on its stream, which is over: judged like any other, its rate too."""
        self.caller = caller
        self.services = services
        self.ours = services.signers.party
        self.name = stream
        self.document = document
        self.checkpoint = checkpoint
        self.parts = PartsAtHand(parts)
        """Read one at a time: what lies on a line, or is kept here, is not held in memory."""
        self.now = services.clock()
        self.suite: Suite = SHA256
        self.suspended: ExchangeError | None = None
        self.stream: Stream | None = None
        self.stored: InBatch | None = None
        self.head: InStream | None = None
        self.base: Head | None = None
        """The last verified batch before this one: `head`, or further when batches wait."""
        self.base_created: datetime | None = None
        self.staging = False
        self.given_up = 0
        """The last of the epochs behind the present one that were refused here: the sender has to go on with the next."""
        """It belongs to the epoch after the current one, and is taken in unseen until that is whole."""
        self.staged: Head | None = None
        self.whole = False
        """The next epoch has come to its last batch, which waits: what follows that one waits too."""
        self.stopped = False
        """The agreement is suspended or has ended: only withdrawals may come."""
        self.range: bytes | None = None
        """Compact range after this batch, once it is verified and has to wait."""

    async def run(self) -> Received | Passed:
        """All steps up to 9, in order; an answer when one of them ends it."""
        reads = self.services.store.reads
        ring, keys, others = await self._believe(reads)
        self.head = await inbox.in_stream(reads, self.claim.sender, self.name, self.suite)
        place = self.head.head if self.head is not None else None
        if place is not None and self.claim.epoch > place.epoch + 1:
            purged = self.head is not None and self.head.anew is not None  # nothing of what went before is held: any later one will do
            refused = await inbox.refused_epoch(reads, self.claim.sender, self.name, after=place.epoch)
            self.given_up = self.claim.epoch - 1 if purged else refused
        self.staging = admitting.begins_epoch(self.claim.epoch, place, refused=self.given_up)
        if self.staging:
            start = Head(stream=self.name, epoch=self.claim.epoch, seq=0, tree=CompactRange(self.suite), manifest_digest=None)
            ahead = await inbox.verified_ahead(reads, self.claim.sender, start, before=self.claim.seq)
            self.base = self.staged = ahead.head if ahead is not None else start
            self.whole = ahead is not None and ahead.snapshot == "last"
            self.base_created = ahead.created if ahead is not None else None
        elif self.head is not None:
            self.base, self.base_created = self.head.head, self.head.created
            ahead = await inbox.verified_ahead(reads, self.claim.sender, self.base, before=self.claim.seq)
            if ahead is not None and self.claim.epoch == ahead.head.epoch:
                self.base, self.base_created = ahead.head, ahead.created
        if self.stored is not None and self.stored.decided and not ((self.released or self.lifted) and self.stored.state == "held"):
            return await self.again(reads, self.stored)
        try:
            manifest = self._manifest()
            self._check_keys(keys)
            await self._check_standing(reads, manifest)
            try:
                self._check_order(manifest, others)
            except _Stepped as failed:
                taken = await self._withdrawals_ahead(reads, manifest, ring) if failed.error.code == "SEQ_GAP" else None
                if taken is None:
                    raise
                return taken
            self._check_checkpoint(manifest, ring)
            missing = await self._collect(reads, manifest)
            if missing:
                return await self._fetch(manifest, missing)
            tree = self.base.tree if self.base is not None else CompactRange(self.suite)
            verified = await self._verify(reads, manifest, tree)
        except _Stepped as failed:
            return await self._failed(failed.step, failed.error)
        return Passed(manifest=manifest, verified=verified)

    # --- steps 1 to 3 ---

    async def first_look(self) -> frozenset[str]:
        """Steps 1 to 3 on the manifest alone: names of the parts that are worth reading, before any is read.

        Raises BatchRefused when it is not to be believed.
        """
        await self._believe(self.services.store.reads)
        if self.stored is not None and self.stored.decided:
            return frozenset()
        try:
            return frozenset(part.name for part in self._manifest().parts)
        except _Stepped:
            return frozenset()  # the admission answers it, without its parts

    async def _believe(self, reads: Source) -> tuple[KeyRing, PartnerKeys | None, list[InBatch]]:
        self._check_bounds()
        self.claim = self._claim()
        ring, keys = await self._trust(reads)
        self.digest = digest_text(self.document.body, self.suite)
        others = await inbox.in_batches_at(reads, self.claim.sender, self.name, self.claim.epoch, self.claim.seq)
        self.stored = next((batch for batch in others if batch.digest == self.digest), None)
        self._check_note(ring)
        return ring, keys, list(others)

    def _check_bounds(self) -> None:
        if len(self.document.body) > MAX_BODY:
            _problem(ExchangeError("a manifest is longer than 1 MiB", code="SIZE_BYTES"))
        if len(self.checkpoint) > 16 * 1024 or len(self.document.note) > 16 * 1024:
            _problem(ExchangeError("a note has at most 16 KiB", code="SIG_FORMAT"))

    def _claim(self) -> _Claim:
        try:
            said = strict_json(self.document.body)
        except ExchangeError as error:
            _problem(error)
        sender, stream, epoch, seq, created = (said.get(name) for name in ("sender", "stream", "epoch", "seq", "created"))
        if not (isinstance(sender, str) and type(epoch) is int and type(seq) is int) or min(epoch, seq) < 1 or stream != self.name:
            _problem(ExchangeError("the manifest is of another stream, or of none", code="SCHEMA_MANIFEST"))
        if self.caller not in (None, sender):
            _problem(ExchangeError("the manifest is of another sender than the caller", code="SCHEMA_MANIFEST"))
        try:
            when = datetime.fromisoformat(created) if isinstance(created, str) and created.endswith("Z") else None
        except ValueError:
            when = None
        return _Claim(sender=sender, epoch=epoch, seq=seq, created=when)

    async def _trust(self, reads: Source) -> tuple[KeyRing, PartnerKeys | None]:
        claim = self.claim
        self.stream = await stream_at(reads, self.name, claim.sender, claim.created or self.now)
        held = self.stream.governing if self.stream is not None else await agreement_with(reads, self.ours, claim.sender, self.now)
        if held is None or claim.sender == self.ours:
            _problem(ExchangeError("no agreement with this sender", code="SIG_UNKNOWN_KEY"))
        if self.stream is not None:
            self.suite = SUITES[self.stream.rules.terms.wire.suite]
        self.agreement: Agreement = held.agreement
        self.deadline = monotonic() + held.agreement.terms.limits.batch_s
        return await trusted_keys(reads, held, claim.sender)

    def _check_note(self, ring: KeyRing) -> None:
        claim = self.claim
        required = admitting.required_algorithms(self.stream.rules) if self.stream is not None else frozenset({SHA256.algorithm})
        self.required = required
        # what was first seen, and believed, before a key was revoked stays good: a batch waits for parts or for its predecessor
        self.first_seen = self.stored.first_seen if self.stored is not None else self.now
        try:
            admitting.check_note(
                self.document,
                ring,
                context=batch_id(claim.sender, self.name, claim.epoch, claim.seq),
                required=required,
                suite=self.suite,
                first_seen=self.first_seen,
                skew=self.agreement.skew,
            )
        except ExchangeError as error:
            _problem(error)

    def _manifest(self) -> Manifest:
        try:
            manifest = manifests.read_manifest(self.document.body)
            if manifest.receiver != self.ours:
                raise ExchangeError("the batch is for somebody else", code="SCOPE_RECEIVER")
            admitting.check_size(manifest, self.agreement.terms.limits)
        except ExchangeError as error:
            raise _Stepped(1 if error.code.startswith("SIZE_") else 3, error) from error
        return manifest

    def _check_keys(self, keys: PartnerKeys | None) -> None:
        if keys is not None and not keys.fresh(self.now, self.agreement.skew):
            raise _Stepped(4, ExchangeError("the sender's keys document has expired", code="SIG_KEY_EXPIRED", place=SUSPENDED))

    # --- steps 4 to 9 ---

    async def _check_standing(self, source: Source, manifest: Manifest) -> None:
        """Step 4. A suspension lets the later steps go on: what is only withdrawn takes effect at once."""
        stream = self.stream
        try:
            if stream is None:
                raise ExchangeError("no agreement has such a stream in this direction", code="SCOPE_AGREEMENT")
            if stream.rules.terms.dataset not in self.services.policies.current().catalogue.datasets:
                raise ExchangeError("our policies do not know this dataset any more", code="SCOPE_AGREEMENT")
            again = await stream_at(source, self.name, self.claim.sender, manifest.created_at)
            if again is None:
                raise ExchangeError("no agreement was in force at `created`", code="SCOPE_AGREEMENT")
            admitting.check_agreement(manifest, again.versions, again.governing, again.rules, self.now)
            self.stopped = not any(held.standing(self.now).active for held in again.versions)
        except ExchangeError as error:
            if error.place != SUSPENDED:
                raise _Stepped(4, error) from error
            self.suspended = error

    def _check_order(self, manifest: Manifest, others: Sequence[InBatch]) -> None:
        """Steps 5 and 6."""
        head = self.head
        forked = any(batch.digest != self.digest for batch in others)
        try:
            if self.stored is None and not forked:  # two batches of one number are a fork, whatever times they bear
                admitting.check_time(
                    manifest, now=self.now, skew=self.agreement.skew, previous_created=self.base_created
                )
        except ExchangeError as error:
            raise _Stepped(5, error) from error
        if head is not None and head.frozen is not None and not (self.staging and head.released):
            raise _Stepped(6, ExchangeError("the stream is frozen", code=head.frozen, place=FROZEN))
        try:
            if forked:
                raise ExchangeError("two batches have one number", code="SEQ_FORK")
            held = head.head if head is not None else None
            known = self.stored is not None and self.stored.verified is not None
            place = held if self.staging else self.base
            admitting.check_sequence(
                manifest, place, self.staged, refused=self.given_up, replaced=known and self.staging, whole=self.whole
            )
        except ExchangeError as error:
            raise _Stepped(6, error) from error

    def _check_checkpoint(self, manifest: Manifest, ring: KeyRing) -> None:
        """Step 7."""
        tree = self.base.tree if self.base is not None else CompactRange(self.suite)
        try:
            admitting.check_checkpoint(
                manifest,
                self.checkpoint,
                ring,
                required=self.required,
                first_seen=self.first_seen if self.stored is not None and self.stored.checkpoint == self.checkpoint else self.now,
                skew=self.agreement.skew,
                held_root=tree.root() if tree.size == manifest.tree.size else None,
            )
        except ExchangeError as error:
            raise _Stepped(7, error) from error

    async def _collect(self, source: Source, manifest: Manifest) -> tuple[str, ...]:
        """Step 8: the parts at hand are right; names of those that are not here."""
        entries = {part.name: part for part in manifest.parts}
        try:
            batch_lines.check_surplus(manifest, self.parts.came)
            for name, data in self.parts.came.items():
                batch_lines.check_part(entries[name], data, self.suite)
        except ExchangeError as error:
            raise _Stepped(8, error) from error
        if self.stored is not None and len(self.parts.came) < len(entries):
            self.parts = await PartsAtHand.with_kept(source, self.parts.came, self.stored)
        return batch_lines.missing_parts(manifest, self.parts)

    async def _withdrawals_ahead(self, source: Source, manifest: Manifest, ring: KeyRing) -> Passed | None:
        """While an agreement does not let the batch before it leave its sender, what a batch withdraws does not wait for that one."""
        if not (self.stopped and manifest.only_withdrawals and manifest.parts) or self.staging:
            return None
        self._check_checkpoint(manifest, ring)
        if await self._collect(source, manifest):
            return None
        return Passed(manifest=manifest, verified=await self._verify(source, manifest, None), ahead=True)

    def in_time(self) -> None:
        """Goes on only while the agreed time for one batch lasts; asked between parts and between chunks of lines.

        Raises BatchRefused SIZE_TIME: nothing is kept then, and the sender may try again.
        """
        if monotonic() > self.deadline:
            _problem(ExchangeError("the batch takes longer than agreed", code="SIZE_TIME", place=self._id))

    async def _verify(self, source: Source, manifest: Manifest, tree: CompactRange | None) -> Verified:
        """Step 9."""
        check = batch_lines.LineCheck(manifest, tree, self.agreement.terms.limits, keep=PREPARED)
        try:
            for part in manifest.parts:
                self.in_time()
                data = await self._read(source, part)
                with uncollected(part.lines > IN_LOOP):
                    await asyncio.to_thread(check.add, part, data)  # long work: others are served meanwhile
            return check.done()
        except BatchRefused:
            raise
        except ExchangeError as error:
            raise _Stepped(9, error) from error

    async def _read(self, source: Source, part: PartEntry) -> bytes:
        """A part once more: step 8 again, for it need not be what it was."""
        try:
            return await self.parts.read(source, part, self.suite)
        except ExchangeError as error:
            raise _Stepped(8, error) from error

    # --- answers without effect ---

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

    @property
    def behind(self) -> bool:
        """Whether a verified batch before this one waits."""
        return not self.staging and self.base is not None and self.head is not None and self.base.seq > self.head.head.seq

    async def again(self, source: Source, stored: InBatch) -> Received:
        """The stored receipt, byte for byte."""
        receipt = await inbox.given_receipt(source, stored.sender, stored.stream, stored.receipt_no or 0)
        if receipt is None:
            raise StoreError("a decided batch has no receipt", code="receipt-number", place=self._id)
        return Received(
            result=feedback.read_receipt(receipt.document.body).result,
            batch=self._id,
            code=stored.code,
            receipt=receipt.document,
            no=receipt.no,
            feedback=receipt.feedback,
        )

    @property
    def _id(self) -> str:
        return batch_id(self.claim.sender, self.name, self.claim.epoch, self.claim.seq)

    async def _fetch(self, manifest: Manifest, missing: tuple[str, ...]) -> Received:
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
            _problem(ExchangeError("too many batches of this stream wait", code="RATE_LIMIT"))

    async def refuse_held(self) -> Received:
        """A person refuses a batch that is held: final."""
        reads = self.services.store.reads
        self.claim = self._claim()
        await self._trust(reads)
        self.required = admitting.required_algorithms(self.stream.rules) if self.stream is not None else frozenset({SHA256.algorithm})
        self.digest = digest_text(self.document.body, self.suite)
        others = await inbox.in_batches_at(reads, self.claim.sender, self.name, self.claim.epoch, self.claim.seq)
        self.stored = next(batch for batch in others if batch.digest == self.digest)
        self.first_seen = self.stored.first_seen
        self.head = await inbox.in_stream(reads, self.claim.sender, self.name, self.suite)
        return await self.refuse("HOLD_REFUSED")

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

    async def _failed(self, step: int, error: ExchangeError) -> Received:
        """A receipt for what is intact and signed, yet wrong or too early; a problem for all else."""
        answer = "frozen" if error.place == FROZEN else admitting.answer_to(step, error)
        if answer == "problem":
            _problem(error)
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
        await inbox.put_receipt(tx, self.claim.sender, self.name, receipt.no, digest_text(body, self.suite), document, file)
        await inbox.put_in_batch(tx, self.row(result, code, receipt.no))
        await audit.write(
            tx,
            f"partner/{self.claim.sender}",
            "batch.receive",
            f"batch/{self._id}",
            {
                "result": result,
                "code": code,
                "receipt": receipt.no,
                "lines": receipt.counts.lines,
                **(detail or {}),
            },
        )
        return Received(result=result, batch=self._id, code=code, receipt=document, no=receipt.no, feedback=file)


FROZEN = "frozen"
"""`place` of the error that repeats why a stream is frozen."""


def _in_words(error: ExchangeError) -> str:
    """What is wrong and where, for who wrote the sender; no text of these steps repeats a value of a record."""
    return error.detail if error.place in (None, FROZEN, SUSPENDED) else f"{error.detail} ({error.place})"


def _place(stream: InStream | None) -> tuple[object, ...] | None:
    if stream is None:
        return None
    return stream.head.epoch, stream.head.seq, stream.head.manifest_digest, stream.frozen, stream.receipt_no


def _problem(error: ExchangeError) -> NoReturn:
    raise BatchRefused(error)

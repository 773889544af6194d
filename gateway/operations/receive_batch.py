"""Take a partner's batch: twelve steps, one transaction, one signed receipt.

The steps are those of `core/exchange/batches`: sizes · manifest note · manifest · (already decided: the stored receipt) · agreement ·
time · sequence · checkpoint · parts · lines and root · each record · rate of rejections · one transaction with records, changes, ledger,
receipt and audit. Until step 10 no record is looked at, and a failure fails the batch as a whole with nothing written of it.

Rules:
- An acknowledgement exists if and only if the effect is committed; the same batch again gives the same receipt, byte for byte.
- What fails before the note is believed leaves no row. What is intact and signed, yet wrong, is answered by a receipt and is final.
- A missing predecessor, missing parts, a suspended agreement or an expired keys document wait; a fork freezes the stream, and both sides
  of it are kept as evidence. Withdrawals of a verified batch take effect at once, also while the batch waits for a person or the agreement.
- Records come in by the one door, with the sender as issuer, and are decided about (互认) in the same transaction.

This story must not fetch anything, and never applies part of a batch.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import Literal, NoReturn

import msgspec
from msgspec import Struct

from gateway.adapter_contract import SourceRecord
from gateway.core.errors import ExchangeError, NoteRefused, RowFault, StoreError
from gateway.core.exchange import batches, feedback, notes
from gateway.core.exchange.agreements import Agreement
from gateway.core.exchange.batches import SUSPENDED, Head, Manifest, Verified
from gateway.core.exchange.disclosures import CLEAR_MEMBERS
from gateway.core.exchange.documents import PartnerKeys
from gateway.core.exchange.feedback import MESSAGES, Feedback, Receipt, ReceiptAgreement, ReceiptBatch, ReceiptCounts, Severity
from gateway.core.exchange.merkle import CompactRange
from gateway.core.exchange.notes import KeyRing, SignedDocument
from gateway.core.exchange.records import REASONS, Finding, Judged, KnownRecord, Line, Statement, judge
from gateway.core.exchange.records import after as known_after
from gateway.core.exchange.wire import (
    SHA256,
    SUITES,
    Suite,
    batch_id,
    digest_text,
    instant,
    parse_instant,
    split_stream,
    strict_json,
    unb64,
)
from gateway.core.records.intake import IntakeContext, intake
from gateway.core.records.model import Admitted, Dataset, LifeDates, RecordId, Unpublished, Value
from gateway.core.records.periods import publication
from gateway.operations.accept_records import Texts, accept_records, redactions
from gateway.operations.manage_agreements import agreement_with, own_maintenance
from gateway.operations.partners import Stream, exchange_signers, stream_at, trusted_keys
from gateway.operations.recognise import decide
from gateway.services import Services
from gateway.store import audit, inbox, recognitions
from gateway.store.inbox import InBatch, InStream
from gateway.store.records import Outcome
from gateway.store.store import Source, Transaction

MAX_BODY = 2**20
"""A manifest of a thousand parts has a quarter of this."""
CHUNK = 1000
"""Lines judged and stored at a time."""
PREPARED = 10_000
"""A batch of at most this many lines is prepared before its transaction begins, so that other writers wait less."""
MAX_WAITING = 100
HELD_AT_LEAST = 20
"""Fewer rejected lines than this never hold a batch."""

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


class Answered(Struct, frozen=True, kw_only=True):
    """What goes back over HTTP: a signed receipt, or the names of the parts that are wanted."""

    status: int
    body: bytes


STATUS_OF: Mapping[Result, int] = {
    "applied": 200,
    "partial": 200,
    "held": 202,
    "quarantined": 202,
    "fetching": 202,
    "frozen": 409,
    "rejected": 422,
}
MAX_INLINE = 8 * 2**20
"""Parts that come with the batch itself, decoded."""


# --- the way in -------------------------------------------------------------------------------------------------------


async def receive_posted(services: Services, stream: str, body: bytes, *, caller: str | None = None) -> Answered:
    """Take a batch as it is posted: `{"manifest":{body,note},"checkpoint":"…","parts":{name:b64}?}`.

    `caller` is who brought it, where the line knows.

    Raises BatchRefused, StoreError.
    """
    maintenance = await own_maintenance(services)
    if maintenance is not None and maintenance.now(services.clock()):
        raise BatchRefused(ExchangeError("we take nothing until our maintenance is over", code="MAINTENANCE"))
    try:
        document, checkpoint, decoded = await asyncio.to_thread(_posted, body)
    except ExchangeError as error:
        raise BatchRefused(error) from error
    received = await receive_batch(services, stream=stream, document=document, checkpoint=checkpoint, parts=decoded, caller=caller)
    if received.receipt is None:
        return Answered(status=STATUS_OF[received.result], body=msgspec.json.encode({"state": "FETCHING", "missing": received.missing}))
    return Answered(status=STATUS_OF[received.result], body=notes.envelope(received.receipt))


class _Posted(Struct, forbid_unknown_fields=True):
    manifest: notes.Envelope
    checkpoint: str
    parts: dict[str, str] = {}


_read_posted = msgspec.json.Decoder(_Posted).decode


def _posted(body: bytes) -> tuple[SignedDocument, str, dict[str, bytes]]:
    """The batch in a body. What has another form is refused before the strict look at it, which takes seconds for 12 MB of numbers."""
    try:
        body.decode()
        said = _read_posted(body)
    except msgspec.ValidationError as error:
        text = str(error)
        of_another_form = "manifest`" in text or "manifest." in text or (text.startswith("Expected `object`, got") and " - at " not in text)
        code = "SCHEMA_JSON" if of_another_form else "SCHEMA_MANIFEST"
        raise ExchangeError("a batch is a manifest, a checkpoint and perhaps parts", code=code) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ExchangeError("not JSON in UTF-8", code="SCHEMA_JSON") from error
    strict_json(body)
    if sum(len(part) for part in said.parts.values()) * 3 // 4 > MAX_INLINE:
        raise ExchangeError("more than 8 MiB of parts inline: send them one by one", code="SIZE_BYTES")
    parts = {name: unb64(part, "SCHEMA_MANIFEST") for name, part in said.parts.items()}
    return SignedDocument(said.manifest.body.encode(), said.manifest.note), said.checkpoint, parts


async def receive_batch(
    services: Services,
    *,
    stream: str,
    document: SignedDocument,
    checkpoint: str,
    parts: Mapping[str, bytes] | None = None,
    caller: str | None = None,
) -> Received:
    """Take one batch, as far as it has come, and whatever had been waiting for it. `caller` may bring its own batches only.

    Raises BatchRefused for what is answered by a problem, StoreError when nothing could be written.
    """
    await services.policies.fresh()
    received = await _receive(services, stream, document, checkpoint, parts or {}, caller)
    if received.result in ("applied", "partial"):
        await _resume(services, received)
    return received


async def _receive(
    services: Services,
    stream: str,
    document: SignedDocument,
    checkpoint: str,
    parts: Mapping[str, bytes],
    caller: str | None = None,
) -> Received:
    for attempt in range(4):
        try:
            return await _Admission(services, stream, document, checkpoint, parts, caller).run()
        except StoreError as error:
            if error.code != "stream-moved" or attempt == 3:
                raise
    raise AssertionError  # the loop returns or raises


async def _resume(services: Services, received: Received) -> None:
    """Take the batches that had arrived before their predecessor, in order of number."""
    batch = received.batch
    while True:
        sender, stream, epoch, seq = _parse_batch_id(batch)
        waiting = [
            each for each in await inbox.in_batches_at(services.store.reads, sender, stream, epoch, seq + 1) if each.state == "quarantined"
        ]
        if not waiting:
            return
        try:
            after = await _receive(services, stream, waiting[0].document, waiting[0].checkpoint, {})
        except ExchangeError:
            return  # its sender asks again, and is told then
        if after.result not in ("applied", "partial"):
            return
        batch = after.batch


async def resume_waiting(services: Services) -> int:
    """Take the batches that waited for their predecessor, for keys or for the agreement, where that is gone; how many were applied.

    Raises StoreError.
    """
    done = 0
    for row in await inbox.in_streams_all(services.store.reads):
        if row.frozen:
            continue
        found = await inbox.in_batches_at(services.store.reads, row.sender, row.stream, row.epoch, row.seq + 1)
        for batch in found:
            if batch.state != "quarantined" or not await _may_go_on(services, batch):
                continue
            try:
                received = await receive_batch(services, stream=batch.stream, document=batch.document, checkpoint=batch.checkpoint)
            except ExchangeError:
                continue  # its sender asks again, and is told then
            done += received.result in ("applied", "partial")
    return done


async def _may_go_on(services: Services, batch: InBatch) -> bool:
    """Whether what a batch waited for is gone, as far as that can be seen without looking into it."""
    if batch.code == "SEQ_GAP":
        return True
    now = services.clock()
    stream = await stream_at(services.store.reads, batch.stream, batch.sender, now)
    if stream is None:
        return False
    if batch.code == "SCOPE_AGREEMENT":
        return stream.governing.standing(now).active
    _, keys = await trusted_keys(services.store.reads, stream.governing, batch.sender)
    return keys is not None and keys.fresh(now, stream.governing.agreement.skew)


def _parse_batch_id(batch: str) -> tuple[str, str, int, int]:
    origin, _, seq = batch.rpartition("/")
    origin, _, epoch = origin.rpartition("/")
    sender, _, stream = origin.partition("/x/")
    return sender, stream, int(epoch), int(seq)


async def size_wanted(services: Services, *, sender: str, stream: str, epoch: int, seq: int, name: str) -> int:
    """How long a part must be, asked before its bytes are read: only a batch whose manifest was believed may bring any.

    Raises BatchRefused NOT_FOUND.
    """
    for batch in await _fetching(services.store.reads, sender, stream, epoch, seq):
        for part in batches.read_manifest(batch.document.body).parts:
            if part.name == name:
                return part.bytes
    raise BatchRefused(ExchangeError("no batch waits for this part", code="NOT_FOUND"))


async def put_part(services: Services, *, sender: str, stream: str, epoch: int, seq: int, name: str, data: bytes) -> None:
    """Keep a part of a batch whose manifest was believed and that still lacks it.

    Raises BatchRefused NOT_FOUND when no batch waits for it, SIG_PART_DIGEST when it is another one, SIZE_BYTES when it is too large.
    """
    async with services.store.transaction() as tx:
        for batch in await _fetching(tx, sender, stream, epoch, seq):
            manifest = batches.read_manifest(batch.document.body)
            entry = next((part for part in manifest.parts if part.name == name), None)
            if entry is not None:
                try:
                    batches.check_part(entry, data, SUITES[manifest.suite])
                except ExchangeError as error:
                    raise BatchRefused(error) from error
                await inbox.put_in_parts(tx, batch, {name: data})
                return
    raise BatchRefused(ExchangeError("no batch waits for this part", code="NOT_FOUND"))


async def _fetching(source: Source, sender: str, stream: str, epoch: int, seq: int) -> list[InBatch]:
    found = await inbox.in_batches_at(source, sender, stream, epoch, seq)
    return [batch for batch in found if batch.state in ("fetching", "quarantined")]


# --- admission --------------------------------------------------------------------------------------------------------


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


class _HeldByRate(Exception):
    """Too many lines were rejected: nothing is applied, a person looks."""

    def __init__(self, codes: Mapping[str, int]) -> None:
        super().__init__("HOLD_RATE")
        self.codes = codes


class _Admission:
    """One batch on its way through the steps."""

    def __init__(
        self,
        services: Services,
        stream: str,
        document: SignedDocument,
        checkpoint: str,
        parts: Mapping[str, bytes],
        caller: str | None,
    ) -> None:
        self.caller = caller
        self.services = services
        self.ours = services.signers.party
        self.name = stream
        self.document = document
        self.checkpoint = checkpoint
        self.parts = dict(parts)
        self.now = services.clock()
        self.suite: Suite = SHA256
        self.suspended: ExchangeError | None = None
        self.stream: Stream | None = None
        self.stored: InBatch | None = None
        self.head: InStream | None = None

    async def run(self) -> Received:
        """All steps, in order."""
        reads = self.services.store.reads
        self._check_bounds()
        self.claim = self._claim()
        ring, keys = await self._trust(reads)
        self.digest = digest_text(self.document.body, self.suite)
        others = await inbox.in_batches_at(reads, self.claim.sender, self.name, self.claim.epoch, self.claim.seq)
        self.stored = next((batch for batch in others if batch.digest == self.digest), None)
        self._check_note(ring)
        self.head = await inbox.in_stream(reads, self.claim.sender, self.name, self.suite)
        if self.stored is not None and self.stored.decided:
            return await self.again(reads, self.stored)
        try:
            manifest = self._manifest()
            self._check_keys(keys)
            await self._check_standing(reads, manifest)
            self._check_order(manifest, others)
            self._check_checkpoint(manifest, ring)
            missing = await self._collect(reads, manifest)
            if missing:
                return await self._fetch(manifest, missing)
            verified = await asyncio.to_thread(self._verify, manifest)  # long work: others are served meanwhile
        except _Stepped as failed:
            return await self._failed(failed.step, failed.error)
        try:
            return await _Application(self, manifest, verified).run()
        except _HeldByRate as held:
            return await self._hold(manifest, verified, held)

    # --- steps 1 to 3 ---

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
        held = self.stream.governing if self.stream is not None else await agreement_with(reads, self.ours, claim.sender)
        if held is None or claim.sender == self.ours:
            _problem(ExchangeError("no agreement with this sender", code="SIG_UNKNOWN_KEY"))
        if self.stream is not None:
            self.suite = SUITES[self.stream.rules.terms.wire.suite]
        self.agreement: Agreement = held.agreement
        return await trusted_keys(reads, held, claim.sender)

    def _check_note(self, ring: KeyRing) -> None:
        claim = self.claim
        required = batches.required_algorithms(self.stream.rules) if self.stream is not None else frozenset({SHA256.algorithm})
        self.required = required
        # what was first seen, and believed, before a key was revoked stays good: a batch waits for parts or for its predecessor
        self.first_seen = self.stored.first_seen if self.stored is not None else self.now
        try:
            batches.check_note(
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
            manifest = batches.read_manifest(self.document.body)
            if manifest.receiver != self.ours:
                raise ExchangeError("the batch is for somebody else", code="SCOPE_RECEIVER")
            batches.check_size(manifest, self.agreement.terms.limits)
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
            batches.check_agreement(manifest, again.versions, again.governing, again.rules, self.now)
        except ExchangeError as error:
            if error.place != SUSPENDED:
                raise _Stepped(4, error) from error
            self.suspended = error

    def _check_order(self, manifest: Manifest, others: Sequence[InBatch]) -> None:
        """Steps 5 and 6."""
        head = self.head
        try:
            if self.stored is None:
                batches.check_time(
                    manifest, now=self.now, skew=self.agreement.skew, previous_created=head.created if head is not None else None
                )
        except ExchangeError as error:
            raise _Stepped(5, error) from error
        if head is not None and head.frozen is not None:
            raise _Stepped(6, ExchangeError("the stream is frozen", code=head.frozen, place=FROZEN))
        try:
            if any(batch.digest != self.digest for batch in others):
                raise ExchangeError("two batches have one number", code="SEQ_FORK")
            batches.check_sequence(manifest, head.head if head is not None else None)
        except ExchangeError as error:
            raise _Stepped(6, error) from error

    def _check_checkpoint(self, manifest: Manifest, ring: KeyRing) -> None:
        """Step 7."""
        tree = self.head.head.tree if self.head is not None else CompactRange(self.suite)
        try:
            batches.check_checkpoint(
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
            batches.check_surplus(manifest, self.parts)
            for name, data in self.parts.items():
                batches.check_part(entries[name], data, self.suite)
        except ExchangeError as error:
            raise _Stepped(8, error) from error
        if self.stored is not None and len(self.parts) < len(entries):
            self.parts = {**await inbox.in_parts_of(source, self.stored), **self.parts}
        return batches.missing_parts(manifest, self.parts)

    def _verify(self, manifest: Manifest) -> Verified:
        """Step 9."""
        tree = self.head.head.tree if self.head is not None else CompactRange(self.suite)
        try:
            parts = [(part, self.parts[part.name]) for part in manifest.parts]
            return batches.verify_lines(manifest, parts, tree, self.agreement.terms.limits, keep=PREPARED)
        except ExchangeError as error:
            raise _Stepped(9, error) from error

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
        )

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
                await self._room(tx)
            state = self.stored.state if self.stored is not None else "fetching"
            row = self.row(
                state, self.stored.code if self.stored is not None else None, self.stored.receipt_no if self.stored is not None else None
            )
            await inbox.put_in_batch(tx, row)
            await inbox.put_in_parts(tx, row, self.parts)
        return Received(result="fetching", batch=manifest.id, missing=missing)

    async def _room(self, tx: Transaction) -> None:
        if await inbox.waiting_in(tx, self.claim.sender, self.name) >= MAX_WAITING:
            _problem(ExchangeError("too many batches of this stream wait", code="RATE_LIMIT"))

    async def _failed(self, step: int, error: ExchangeError) -> Received:
        """A receipt for what is intact and signed, yet wrong or too early; a problem for all else."""
        answer = "frozen" if error.place == FROZEN else batches.answer_to(step, error)
        if answer == "problem":
            _problem(error)
        if answer == "quarantined":
            return await self._quarantine(error.code)
        async with self.services.store.transaction() as tx:
            await self.same_place(tx)
            await inbox.open_in_stream(tx, self.claim.sender, self.name, 1, self.suite)
            received = await self.answer(tx, answer, error.code)
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
                await self._room(tx)
            received = await self.answer(tx, "quarantined", code)
            await inbox.put_in_parts(tx, self.row("quarantined", code, received.no), await self._good_parts())
        return received

    async def _good_parts(self) -> dict[str, bytes]:
        """Parts that came along and are what the manifest says; others are dropped and asked for again."""
        try:
            entries = {part.name: part for part in batches.read_manifest(self.document.body).parts}
        except ExchangeError:
            return {}
        return {
            name: data
            for name, data in self.parts.items()
            if name in entries and len(data) == entries[name].bytes and digest_text(data, self.suite) == entries[name].digest
        }

    async def _hold(self, manifest: Manifest, verified: Verified, held: _HeldByRate) -> Received:
        """Too many rejected lines: a person decides; only what is withdrawn takes effect."""
        return await _Application(self, manifest, verified).withdraw_only("held", "HOLD_RATE", {"rejected": dict(held.codes)})

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
    ) -> Received:
        """Write the next receipt of the stream and what became of the batch; the receipt is signed here."""
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
        )
        receipt: Receipt = feedback.read_receipt(body)
        document = feedback.sign_receipt(body, receipt, exchange_signers(self.services, tx.now), self.suite)
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


def _place(stream: InStream | None) -> tuple[object, ...] | None:
    if stream is None:
        return None
    return stream.head.epoch, stream.head.seq, stream.head.manifest_digest, stream.frozen, stream.receipt_no


def _problem(error: ExchangeError) -> NoReturn:
    raise BatchRefused(error)


# --- steps 10 to 12 ---------------------------------------------------------------------------------------------------


class _Line(Struct, frozen=True, gc=False, kw_only=True):
    """One judged line and, if it goes on, what intake made of it."""

    index: int
    leaf: bytes
    payload: bytes
    judged: Judged
    admitted: Admitted | None
    findings: tuple[Finding, ...]


class _Chunk(Struct, frozen=True, kw_only=True):
    """Some lines, no two about one record, judged against what we held of them."""

    lines: tuple[_Line, ...]
    rids: tuple[str, ...]
    known: Mapping[str, KnownRecord]
    texts: tuple[Texts, ...]


class _Application:
    """A verified batch on its way into the store."""

    def __init__(self, admission: _Admission, manifest: Manifest, verified: Verified) -> None:
        assert admission.stream is not None  # noqa: S101  # step 4 refuses a batch without one
        self.admission = admission
        self.services = admission.services
        self.manifest = manifest
        self.verified = verified
        self.stream = admission.stream
        self.rules = admission.stream.rules
        self.suite = admission.suite
        policies = self.services.policies.current()
        self.dataset: Dataset = policies.catalogue.datasets[split_stream(manifest.stream)[1]]  # type: ignore[index]  # a DatasetId is a str
        self.wires = {name: field.wire_name for name, field in self.dataset.fields.items()}
        self.counts: Counter[str] = Counter()
        self.codes: Counter[str] = Counter()
        self.feedback: list[Feedback] = []
        self.touched: list[str] = []
        self.periods: dict[tuple[object, ...], bool] = {}
        self.actor = f"partner/{manifest.sender}"

    async def run(self) -> Received:
        """Judge every line and apply the batch in one transaction."""
        suspended, stored = self.admission.suspended, self.admission.stored
        if suspended is not None:
            if stored is not None and (stored.state, stored.code) == ("quarantined", suspended.code):
                return await self.admission.again(self.services.store.reads, stored)
            return await self.withdraw_only("quarantined", suspended.code, {})
        prepared = [chunk async for chunk in self._chunks(self.services.store.reads)] if self._fits() else None
        async with self.services.store.transaction() as tx:
            await self._still_as_checked(tx)
            if prepared is not None:
                for chunk in prepared:
                    if await inbox.known_records(tx, chunk.rids) != chunk.known:
                        raise StoreError("another stream has spoken of these records", code="stream-moved", place=self.manifest.stream)
                    await self._apply(tx, chunk)
            else:
                async for chunk in self._chunks(tx):
                    await self._apply(tx, chunk)
            self._check_rate()
            return await self._finish(tx)

    def _fits(self) -> bool:
        return self.verified.distinct and self.manifest.lines <= PREPARED

    async def withdraw_only(self, result: Literal["held", "quarantined"], code: str, detail: Mapping[str, object]) -> Received:
        """The batch waits; what it withdraws is withdrawn now, and acknowledged when the batch is applied."""
        admission = self.admission
        async with self.services.store.transaction() as tx:
            await admission.same_place(tx)
            async for chunk in self._chunks(tx):
                lines = tuple(line for line in chunk.lines if line.judged.action == "withdraw")
                await self._apply(tx, msgspec.structs.replace(chunk, lines=lines, texts=({},) * len(lines)))
            await decide(self.services, tx, self.touched)
            received = await admission.answer(tx, result, code, detail={**detail, "withdrawn": self.counts["withdrawn"]})
            await inbox.put_in_parts(tx, admission.row(result, code, received.no), admission.parts)
        return received

    async def _still_as_checked(self, tx: Transaction) -> None:
        """Step 12 begins by looking again whether anything was decided, moved or suspended meanwhile.

        Raises StoreError stream-moved: then the whole is begun anew, and answered as it stands by then.
        """
        admission = self.admission
        await admission.same_place(tx)
        again = await stream_at(tx, admission.name, self.manifest.sender, self.manifest.created_at)
        try:
            if again is None:
                raise ExchangeError("no agreement", code="SCOPE_AGREEMENT")
            batches.check_agreement(self.manifest, again.versions, again.governing, again.rules, tx.now)
        except ExchangeError as error:
            raise StoreError("the agreement has changed meanwhile", code="stream-moved", place=self.manifest.stream) from error

    # --- step 10 ---

    async def _chunks(self, source: Source) -> AsyncIterator[_Chunk]:
        """The lines in chunks in which no record stands twice: what one line does, the next about it must see."""
        lines: list[tuple[int, Line]] = []
        rids: set[str | None] = set()
        for index, line in self._read():
            if len(lines) == CHUNK or line.rid in rids:
                yield await self._judge(source, lines)
                lines, rids = [], set()
            lines.append((index, line))
            rids.add(line.rid)
        if lines:
            yield await self._judge(source, lines)

    def _read(self) -> Iterator[tuple[int, Line]]:
        """(index in the stream, line): as kept by step 9, or read again."""
        if self.verified.lines is not None:
            yield from enumerate(self.verified.lines, self.manifest.range.from_)
            return
        for entry in self.manifest.parts:
            yield from batches.lines_of(entry, self.admission.parts[entry.name], self.rules.agreement.terms.limits, self.suite)

    async def _judge(self, source: Source, lines: Sequence[tuple[int, Line]]) -> _Chunk:
        rids = tuple(line.rid for _, line in lines if line.rid is not None)
        known = await inbox.known_records(source, rids)
        judged, texts = await asyncio.to_thread(self._judged, lines, known)
        return _Chunk(lines=judged, rids=rids, known=known, texts=texts)

    def _judged(self, lines: Sequence[tuple[int, Line]], known: Mapping[str, KnownRecord]) -> tuple[tuple[_Line, ...], tuple[Texts, ...]]:
        """Judgement, intake and redaction of a chunk: all that needs no store."""
        judged = tuple(self._one(index, line, known.get(line.rid or "")) for index, line in lines)
        return judged, tuple(redactions([line.admitted for line in judged if line.admitted is not None], self.dataset))

    def _one(self, index: int, line: Line, known: KnownRecord | None) -> _Line:
        judged = judge(line, self.rules, known, self.suite)
        leaf = self.verified.leaves[index - self.manifest.range.from_]
        findings = judged.findings
        admitted: Admitted | None = None
        if judged.action == "withdraw":
            admitted = self._withdrawn(judged, index)
        elif judged.action == "store":
            try:
                admitted, more = self._admit(judged, index)
                findings += more
            except RowFault as fault:
                wire = self.wires.get(fault.field or "", fault.field)
                severity: Severity = "hold" if fault.severity == "hold" else "reject"
                finding = Finding(
                    severity=severity, code=fault.code, field=wire, disclosure=judged.digest_of(wire), retry=fault.code not in FINAL
                )
                judged = msgspec.structs.replace(judged, action=severity)
                findings += (finding,)
        return _Line(index=index, leaf=leaf, payload=line.payload, judged=judged, admitted=admitted, findings=findings)

    def _withdrawn(self, judged: Judged, index: int) -> Admitted:
        reason = judged.payload.reason if judged.payload is not None else None
        if reason not in REASONS[judged.op]:
            reason = DEFAULT_REASON[judged.op]
        rid = judged.rid or ""
        return Admitted(
            dataset=self.dataset.id,
            category=self.dataset.category,
            op="erase" if judged.op == "erase" else "withdraw",
            reason=reason,
            kind="natural",
            subject_keys=(),
            business_key=(rid,),
            values=Unpublished({}),
            trust="signed",
            issuer=self.manifest.sender,
            region=self.services.settings.region,
            dates=LifeDates(),
            record_id=RecordId(rid),
            version=judged.v,
            received_at=self.admission.now,
            place=str(index),
        )

    def _admit(self, judged: Judged, index: int) -> tuple[Admitted, tuple[Finding, ...]]:
        """Through the one door in; and what the payload says in clear must be what the fields say.

        Raises RowFault.
        """
        said = judged.payload
        assert isinstance(said, Statement)  # noqa: S101  # only statements are stored
        fields: dict[str, Value] = {each.name: each.value for each in judged.values if each.value is not None}
        if self.wires.get("authority") in CLEAR_MEMBERS:
            fields[self.wires["authority"]] = said.authority_name  # said in clear; a disclosure may not take its name
        admitted = intake(
            SourceRecord(
                dataset=self.dataset.id,
                record_id=said.rid,
                version=said.v,
                as_of=self.admission.now,
                fields=fields,
                place=str(index),
            ),
            IntakeContext(
                dataset=self.dataset,
                authorities={},
                demo=self.services.settings.demo,
                now=self.admission.now,
                region=said.region,
                issuer=self.manifest.sender,
            ),
        )
        if admitted.kind != "legal" and not self.rules.persons:
            raise RowFault("LAW_PERSON", "the agreement has no basis for persons")
        if said.category != self.dataset.category:
            raise RowFault("SCOPE_CATEGORY", "the dataset has another category here")
        if admitted.authority_code is not None and admitted.authority_code != said.authority:
            raise RowFault("SCOPE_AUTHORITY", "the fields name another authority than the payload", field="authority_code")
        if admitted.dates.decision is not None and admitted.dates.decision.isoformat() != said.decided_on:
            raise RowFault("SCHEMA_TYPE", "the fields name another day of decision than the payload", field="decision_date")
        conflict = admitted.kind != said.subject_kind
        ends = [day for day in (admitted.dates.upstream_end, _day(said.publish_until)) if day is not None]
        dates = msgspec.structs.replace(
            admitted.dates, decision=admitted.dates.decision or date.fromisoformat(said.decided_on), upstream_end=min(ends, default=None)
        )
        admitted = msgspec.structs.replace(
            admitted,
            trust=said.trust,
            region=said.region,
            authority_code=admitted.authority_code or said.authority,
            authority_name=admitted.authority_name or said.authority_name,
            dates=dates,
            record_id=RecordId(said.rid),
            version=said.v,
            reason=said.reason,
            dispute_since=parse_instant(said.at, "SCHEMA_TYPE") if said.dispute else None,
            place=str(index),
            hold_code=admitted.hold_code or ("SUBJ_CONFLICT" if conflict else "SCHEMA_STATUS" if said.status == "suspended" else None),
        )
        findings = [
            Finding(
                severity="warn",
                code=code,
                field=self.wires.get(name or "", name),
                disclosure=judged.digest_of(self.wires.get(name or "", name)),
            )
            for code, name in admitted.warnings
        ]
        if self._period_is_shorter(admitted, _day(said.publish_until)):
            findings.append(Finding(severity="warn", code="LAW_PERIOD", field="publish_until"))
        return admitted, tuple(findings)

    def _period_is_shorter(self, admitted: Admitted, until: date | None) -> bool:
        """Whether our own periods end before the day that the sender names; ours apply."""
        if until is None:
            return False
        key = (admitted.kind, admitted.severity, msgspec.structs.replace(admitted.dates, upstream_end=None), until)
        known = self.periods.get(key)
        if known is None:
            period = publication(
                act=self.dataset.publish.act,
                severity=admitted.severity,
                kind=admitted.kind,
                category=admitted.category,
                dates=key[2],
                table=self.services.policies.current().catalogue.periods,
                now=self.admission.now,
                minor=admitted.minor,
            )
            known = self.periods[key] = period.last_day is not None and period.last_day < until
        return known

    # --- step 12 ---

    async def _apply(self, tx: Transaction, chunk: _Chunk) -> None:
        admitted = [line.admitted for line in chunk.lines if line.admitted is not None]
        outcomes: dict[str, Outcome] = {}
        if admitted:
            for outcome in await accept_records(self.services, tx, admitted, self.dataset, actor=self.actor, texts=chunk.texts):
                outcomes[outcome.place] = outcome
        held: dict[str, tuple[KnownRecord, bytes | None, str]] = {}
        for line in chunk.lines:
            self._count(line, outcomes.get(str(line.index)), tx.now, chunk.known, held)
        await inbox.put_known(tx, self.manifest.stream, held)

    def _count(
        self,
        line: _Line,
        outcome: Outcome | None,
        now: datetime,
        known: Mapping[str, KnownRecord],
        held: dict[str, tuple[KnownRecord, bytes | None, str]],
    ) -> None:
        """What the line came to: count, feedback, and what we hold of the record from now on."""
        judged, findings = line.judged, line.findings
        result = _RESULT_OF[judged.action]
        if outcome is not None and judged.action == "store":
            result = outcome.result
            if outcome.result in ("held", "rejected"):
                wire = self.wires.get(outcome.field or "", outcome.field)
                severity: Severity = "hold" if outcome.result == "held" else "reject"
                findings += (
                    Finding(
                        severity=severity, code=outcome.code or "SCHEMA_ENUM", field=wire, disclosure=judged.digest_of(wire), retry=True
                    ),
                )
            elif outcome.result == "unchanged":
                findings += (Finding(severity="info", code="DUP_SAME"),)
        self.counts[result] += 1
        if result == "accepted" and any(finding.severity == "warn" for finding in findings):
            self.counts["warned"] += 1
        if result in ("held", "rejected"):
            self.codes[findings[-1].code] += 1
        self.feedback += [_feedback(line.index, judged, finding, now) for finding in findings]
        if result == "rejected":
            return
        takes = known_after(known, judged, line.leaf, self.manifest.sender, self.dataset.id)
        if takes is not None and judged.rid is not None and judged.payload is not None:
            held[judged.rid] = (takes, None if judged.op == "erase" else line.payload, judged.payload.at)
            self.touched.append(judged.rid)

    def _check_rate(self) -> None:
        """Step 11.

        Raises _HeldByRate.
        """
        rejected = self.counts["rejected"]
        if rejected >= HELD_AT_LEAST and rejected * 1000 > self.rules.agreement.terms.limits.error_permille * self.manifest.lines:
            raise _HeldByRate(self.codes)

    async def _finish(self, tx: Transaction) -> Received:
        admission, manifest = self.admission, self.manifest
        stream = await inbox.open_in_stream(tx, manifest.sender, manifest.stream, manifest.epoch, self.suite)
        stale = await recognitions.decisions_stale(tx, manifest.sender, manifest.stream)
        head = Head(
            stream=manifest.stream, epoch=manifest.epoch, seq=manifest.seq, tree=self.verified.tree, manifest_digest=admission.digest
        )
        await inbox.advance(tx, stream, head, sender=manifest.sender, created=manifest.created_at)
        recognised = any(entry.dataset == self.dataset.id for entry in self.rules.agreement.terms.recognition)
        touched = self.touched if recognised else list(await recognitions.decisions(tx, self.touched))
        await decide(self.services, tx, [*touched, *stale])
        counts = ReceiptCounts(
            lines=manifest.lines,
            **{name: self.counts[name] for name in ("accepted", "unchanged", "warned", "held", "rejected", "withdrawn")},
        )
        partial = self.counts["held"] > 0 or self.counts["rejected"] > 0
        received = await admission.answer(
            tx, "partial" if partial else "applied", None, counts=counts, lines=self.feedback, detail={"codes": dict(self.codes)}
        )
        await inbox.drop_in_parts(tx, admission.row(received.result, None, received.no))
        return received


FINAL = frozenset({"LAW_PERSON", "LAW_MINOR", "LAW_PROHIBITED", "SCOPE_CATEGORY"})
"""A corrected version may not come either."""
DEFAULT_REASON = {"retract": "no_longer_public", "repair": "repaired", "expire": "expired", "erase": "erased"}
_RESULT_OF = {
    "store": "accepted",
    "withdraw": "withdrawn",
    "acknowledge": "withdrawn",
    "unchanged": "unchanged",
    "hold": "held",
    "reject": "rejected",
}


def _day(text: str | None) -> date | None:
    return date.fromisoformat(text) if text is not None else None


def _feedback(index: int, judged: Judged, finding: Finding, now: datetime) -> Feedback:
    return Feedback(
        i=index,
        rid=judged.rid,
        v=judged.v,
        severity=finding.severity,
        code=finding.code,
        field=finding.field,
        disclosure=finding.disclosure,
        message=MESSAGES.get(finding.code, finding.code),
        retry=finding.retry,
        at=instant(now),
    )

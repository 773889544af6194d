"""Steps 1 to 9 of a partner's batch: that it is what the partner signed, the next of its stream, and that its lines hash to its root.

sizes · manifest note · manifest · (already decided: the stored receipt) · agreement · time · sequence · checkpoint · parts · lines, root. A
failure fails the batch as a whole with nothing written of it; what is intact and signed, yet wrong, is answered by a receipt, all else by a
problem (`answer_batch`). This story must not look into a record: `judge_lines` does, and `apply_batch` writes.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from time import monotonic

from msgspec import Struct

from gateway.core.errors import ExchangeError
from gateway.core.exchange import admitting, batch_lines, manifests
from gateway.core.exchange.admitting import SUSPENDED
from gateway.core.exchange.batch_lines import Verified
from gateway.core.exchange.documents import PartnerKeys
from gateway.core.exchange.manifests import Head, Manifest, PartEntry
from gateway.core.exchange.merkle import CompactRange
from gateway.core.exchange.notes import KeyRing, SignedDocument
from gateway.core.exchange.wire import SHA256, SUITES, batch_id, digest_text, strict_json
from gateway.operations.answer_batch import FROZEN, Answering, BatchRefused, Claim, Received, problem
from gateway.operations.manage_agreements import agreement_with
from gateway.operations.partners import Stream, stream_at, trusted_keys
from gateway.operations.parts_at_hand import PartsAtHand
from gateway.operations.render_public import IN_LOOP, uncollected
from gateway.services import Services
from gateway.store import inbox
from gateway.store.inbox import InBatch
from gateway.store.store import Source

MAX_BODY = 2**20
"""A manifest of a thousand parts has a quarter of this."""
PREPARED = 10_000
"""A batch of at most this many lines is prepared before its transaction begins, so that other writers wait less."""


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


class Admission(Answering):
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
        super().__init__(services, stream, document, checkpoint, parts)
        self.released = released
        """A person has looked at it: that it was held does not hold it any more."""
        self.lifted = lifted
        """It was held by an operator's hold on its stream, which is over: judged like any other, its rate too."""
        self.caller = caller
        self.now = services.clock()
        self.suspended: ExchangeError | None = None
        self.stream: Stream | None = None
        self.base: Head | None = None
        """The last verified batch before this one: `head`, or further when batches wait."""
        self.base_created: datetime | None = None
        self.staging = False
        """It belongs to the epoch after the current one, and is taken in unseen until that is whole."""
        self.given_up = 0
        """The last of the epochs behind the present one that were refused here: the sender has to go on with the next."""
        self.staged: Head | None = None
        self.whole = False
        """The next epoch has come to its last batch, which waits: what follows that one waits too."""
        self.stopped = False
        """The agreement is suspended or has ended: only withdrawals may come."""

    @property
    def behind(self) -> bool:
        """Whether a verified batch before this one waits."""
        return not self.staging and self.base is not None and self.head is not None and self.base.seq > self.head.head.seq

    async def run(self) -> Received | Passed:
        """All steps up to 9, in order; an answer when one of them ends it."""
        reads = self.services.store.reads
        ring, keys, others = await self._believe(reads)
        self.head = await inbox.in_stream(reads, self.claim.sender, self.name, self.suite)
        if self.head is not None and not self.head.answers(self.claim.epoch):
            problem(ExchangeError("this house came back from a copy, and takes a new epoch alone", code="UNAVAILABLE", place=self.name))
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
                return await self.fetch(manifest, missing)
            tree = self.base.tree if self.base is not None else CompactRange(self.suite)
            verified = await self._verify(reads, manifest, tree)
        except _Stepped as failed:
            return await self.failed(failed.step, failed.error)
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
            problem(ExchangeError("a manifest is longer than 1 MiB", code="SIZE_BYTES"))
        if len(self.checkpoint) > 16 * 1024 or len(self.document.note) > 16 * 1024:
            problem(ExchangeError("a note has at most 16 KiB", code="SIG_FORMAT"))

    def _claim(self) -> Claim:
        try:
            said = strict_json(self.document.body)
        except ExchangeError as error:
            problem(error)
        sender, stream, epoch, seq, created = (said.get(name) for name in ("sender", "stream", "epoch", "seq", "created"))
        if not (isinstance(sender, str) and type(epoch) is int and type(seq) is int) or min(epoch, seq) < 1 or stream != self.name:
            problem(ExchangeError("the manifest is of another stream, or of none", code="SCHEMA_MANIFEST"))
        if self.caller not in (None, sender):
            problem(ExchangeError("the manifest is of another sender than the caller", code="SCHEMA_MANIFEST"))
        try:
            when = datetime.fromisoformat(created) if isinstance(created, str) and created.endswith("Z") else None
        except ValueError:
            when = None
        return Claim(sender=sender, epoch=epoch, seq=seq, created=when)

    async def _trust(self, reads: Source) -> tuple[KeyRing, PartnerKeys | None]:
        claim = self.claim
        self.stream = await stream_at(reads, self.name, claim.sender, claim.created or self.now)
        held = self.stream.governing if self.stream is not None else await agreement_with(reads, self.ours, claim.sender, self.now)
        if held is None or claim.sender == self.ours:
            problem(ExchangeError("no agreement with this sender", code="SIG_UNKNOWN_KEY"))
        if self.stream is not None:
            self.suite = SUITES[self.stream.rules.terms.wire.suite]
        self.agreement = held.agreement
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
            problem(error)

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
            problem(ExchangeError("the batch takes longer than agreed", code="SIZE_TIME", place=self.id))

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

    # --- a person's no ---

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

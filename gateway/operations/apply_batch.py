"""Steps 11 and 12 of a partner's batch: one transaction with records, changes, ledger, receipt and audit, or none of it.

Rules: the agreement is read again inside the transaction; a batch with too many rejected lines waits for a person, and one under a
suspended agreement for its end: what such a batch withdraws is withdrawn at once. One with a line about persons
for which there is no basis does not wait: it is refused, and nothing of it kept. Records are decided about (互认) in the same transaction.
This story never applies part of a batch.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from gateway.core.errors import ExchangeError, StoreError
from gateway.core.exchange import admitting
from gateway.core.exchange.feedback import ReceiptCounts
from gateway.core.exchange.manifests import Head
from gateway.operations import staged_epoch
from gateway.operations.admit_batch import Admission, Passed
from gateway.operations.answer_batch import Received
from gateway.operations.apply_lines import Applied, unheld
from gateway.operations.judge_lines import Judging
from gateway.operations.judged import Chunk
from gateway.operations.partners import stream_at
from gateway.operations.recognise import decide
from gateway.operations.render_public import IN_LOOP, uncollected
from gateway.store import holds, inbox, known_records, measures, owed, recognitions
from gateway.store.store import Transaction

MAX_DROPPED_PERMILLE = 200
"""A new epoch that leaves out more of what is in force waits for a person."""
HELD_AT_LEAST = 20
"""Fewer rejected lines than this never hold a batch."""
PERSONS = frozenset({"LAW_PERSON", "LAW_MINOR"})
"""Codes of lines that may not be kept, not even until somebody has looked."""


async def apply_batch(admission: Admission, passed: Passed) -> Received:
    """Judge every line of a verified batch and apply it, or say what it waits for.

    Raises StoreError stream-moved when something was decided meanwhile: then all steps are taken anew.
    """
    try:
        return await _Application(admission, passed).run()
    except _Held as held:
        if admission.staging:
            about_persons = min(PERSONS & held.codes.keys(), default=None)
            if about_persons is not None:
                return await admission.refuse(about_persons)
            return await _Application(admission, passed).keep("held", held.code)
        return await _Application(admission, passed).withdraw_only("held", held.code, {"rejected": dict(held.codes)})


class _Held(Exception):
    """Too many lines rejected, records left out of a new epoch, or (no code) an operator's hold: nothing is applied, a person looks."""

    def __init__(self, codes: Mapping[str, int], code: str | None = "HOLD_RATE") -> None:
        super().__init__(code)
        self.codes = codes
        self.code = code


class _Application:
    """A verified batch on its way into the store."""

    def __init__(self, admission: Admission, passed: Passed) -> None:
        assert admission.stream is not None  # noqa: S101  # step 4 refuses a batch without one
        self.admission = admission
        self.services = admission.services
        self.passed = passed
        self.manifest = passed.manifest
        self.verified = passed.verified
        self.ahead = passed.ahead
        self.stream = admission.stream
        self.rules = admission.stream.rules
        self.suite = admission.suite
        waited = admission.stored is not None and admission.stored.receipt_no is not None
        self.judging = Judging(self.services, self.stream, passed, admission.parts, admission.now, waited=waited)
        self.dataset = self.judging.dataset
        self.applied = Applied(self.services, self.stream, self.dataset)
        self.lines = 0 if admission.staging else self.manifest.lines
        self.dropped = 0
        """Records that a new epoch left out."""

    async def run(self) -> Received:
        """Judge every line and apply the batch in one transaction."""
        suspended, stored = self.admission.suspended, self.admission.stored
        if self.admission.staging and self.manifest.snapshot == "part":
            return await self.keep("quarantined", None)
        if self.ahead:
            if stored is not None and stored.receipt_no is not None and not await self._in_force_here():
                return await self.admission.again(self.services.store.reads, stored)
            return await self.withdraw_only("quarantined", "SEQ_GAP", {})
        waits = suspended.code if suspended is not None else "SEQ_GAP" if self.admission.behind else None
        if waits is not None:
            if stored is not None and (stored.state, stored.code) == ("quarantined", waits) and stored.verified is not None:
                return await self.admission.again(self.services.store.reads, stored)
            return await (self.keep("quarantined", waits) if self.admission.staging else self.withdraw_only("quarantined", waits, {}))
        if self.admission.staging:
            return await self._swap()
        with uncollected(self._fits() and self.lines > IN_LOOP):  # until it stands: what is prepared goes without a search for cycles
            return await self._decided()

    async def _decided(self) -> Received:
        """The batch is judged before its transaction where that is possible, and applied or held."""
        prepared = [chunk async for chunk in self.judging.chunks(self.services.store.reads)] if self._fits() else None
        async with self.services.store.transaction() as tx:
            await self._still_as_checked(tx)
            await self._check_hold(tx)
            if prepared is not None:
                for chunk in prepared:
                    if await known_records.known(tx, chunk.rids) != chunk.known:
                        raise StoreError("another stream has spoken of these records", code="stream-moved", place=self.manifest.stream)
                    await self._apply(tx, chunk)
            else:
                async for chunk in self.judging.chunks(tx):
                    await self._apply(tx, chunk)
            if not self.admission.released:
                self._check_rate()
            return await self._finish(tx)

    def _fits(self) -> bool:
        return self.verified.distinct and self.verified.lines is not None

    async def withdraw_only(self, result: Literal["held", "quarantined"], code: str | None, detail: Mapping[str, object]) -> Received:
        """The batch waits; what it withdraws is withdrawn now, counted when the batch is applied, and acknowledged when it has left.

        With a line about persons that may not be kept it does not wait but is refused.
        """
        admission = self.admission
        about_persons: set[str] = set()
        async with self.services.store.transaction() as tx:
            await admission.same_place(tx)
            if admission.stored is None:
                await admission.room(tx)
            admission.range = None if self.ahead else self.verified.tree.dump()
            async for chunk in self.judging.chunks(tx):
                about_persons |= {finding.code for line in chunk.lines for finding in line.findings} & PERSONS
                lines = tuple(line for line in chunk.lines if line.judged.action == "withdraw" or unheld(line, chunk.known))
                admitted = sum(line.admitted is not None for line in lines)
                await self._apply(tx, msgspec.structs.replace(chunk, lines=lines, texts=({},) * admitted))
            await decide(self.services, tx, self.applied.touched)
            await owed.owe(tx, self.manifest.sender, self.manifest.stream, self.applied.owed)
            detail = {**detail, "withdrawn": self.applied.counts["withdrawn"]}
            if about_persons:
                return await admission.refused(tx, min(about_persons), detail)
            received = await admission.answer(tx, result, code, detail=detail)
            await inbox.put_in_parts(tx, admission.row(result, code, received.no), admission.parts.came)
        return received

    async def _in_force_here(self) -> bool:
        """Whether we still hold in force what the batch withdraws."""
        async for chunk in self.judging.chunks(self.services.store.reads):
            if any(known.op in ("assert", "amend") for known in chunk.known.values()):
                return True
        return False

    async def keep(self, result: Literal["held", "quarantined"], code: str | None) -> Received:
        """A batch of a new epoch is kept unseen; without a code it waits for nothing but the last one."""
        admission = self.admission
        async with self.services.store.transaction() as tx:
            await admission.same_place(tx)
            admission.range = self.verified.tree.dump()
            received = await admission.answer(tx, result, code)
            row = admission.row("staged" if (result, code) == ("quarantined", None) else result, code, received.no)
            await inbox.put_in_batch(tx, row)
            await inbox.put_in_parts(tx, row, admission.parts.came)
        return received

    async def _swap(self) -> Received:
        """The last batch of a new epoch: everything that was staged, and it, in one transaction.

        What the epoch leaves out is withdrawn first, so that its lines are judged beside what stands once it is whole: a record that comes
        back under another id is no double of the one that goes. Who waits for a person, or fails, has withdrawn nothing.
        """
        seen: set[str] = set()
        async with self.services.store.transaction() as tx:
            await self._still_as_checked(tx)
            await self._check_hold(tx)
            before = await known_records.said_by(tx, self.manifest.sender, self.manifest.stream)
            missing = before.copy()
            batches = await staged_epoch.verified(tx, self.admission, self.passed, missing)
            self.applied.touched += await staged_epoch.withdraw(self.services, tx, self.judging, missing)
            self.dropped = len(missing)
            for passed, parts in batches:
                self.judging = Judging(self.services, self.stream, passed, parts, self.admission.now, snapshot=seen)
                self.lines += passed.manifest.lines
                async for chunk in self.judging.chunks(tx):
                    await self._apply(tx, chunk)
            if not self.admission.released:
                self._check_rate()
                if len(missing) * 1000 > MAX_DROPPED_PERMILLE * len(before):
                    raise _Held(self.applied.codes, "HOLD_DROP")
            return await self._finish(tx)

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
            admitting.check_agreement(self.manifest, again.versions, again.governing, again.rules, tx.now)
        except ExchangeError as error:
            raise StoreError("the agreement has changed meanwhile", code="stream-moved", place=self.manifest.stream) from error

    async def _apply(self, tx: Transaction, chunk: Chunk) -> None:
        self.admission.in_time()
        await self.applied.add(tx, chunk)

    async def _check_hold(self, tx: Transaction) -> None:
        """Raises _Held while an operator holds the stream, unless a person has just decided about this batch."""
        if not self.admission.released and await holds.hold_on(tx, self.manifest.sender, self.manifest.stream) is not None:
            raise _Held({}, None)

    def _check_rate(self) -> None:
        """Step 11.

        Raises _Held.
        """
        rejected = self.applied.counts["rejected"]
        if rejected >= HELD_AT_LEAST and rejected * 1000 > self.rules.agreement.terms.limits.error_permille * self.lines:
            raise _Held(self.applied.codes)

    async def _finish(self, tx: Transaction) -> Received:
        """Step 12 behind its last line: the stream moves on, what follows is decided, and the receipt says what became of the batch."""
        admission, manifest, applied = self.admission, self.manifest, self.applied
        stream = await inbox.open_in_stream(tx, manifest.sender, manifest.stream, manifest.epoch, self.suite)
        stale = await recognitions.decisions_stale(tx, manifest.sender, manifest.stream)
        head = Head(
            stream=manifest.stream, epoch=manifest.epoch, seq=manifest.seq, tree=self.verified.tree, manifest_digest=admission.digest
        )
        await inbox.advance(tx, stream, head, sender=manifest.sender, created=manifest.created_at)
        await decide(self.services, tx, [*await self._decided_about(tx), *stale])
        await owed.owe(tx, manifest.sender, manifest.stream, applied.owed)
        counts = ReceiptCounts(
            lines=self.lines,
            dropped=self.dropped,
            **{name: applied.counts[name] for name in ("accepted", "unchanged", "warned", "held", "rejected", "withdrawn")},
        )
        partial = applied.counts["held"] > 0 or applied.counts["rejected"] > 0
        detail = {"codes": dict(applied.codes), **({"held_again": applied.revived} if applied.revived else {})}
        received = await admission.answer(
            tx, "partial" if partial else "applied", None, counts=counts, lines=applied.feedback, detail=detail
        )
        await inbox.drop_in_parts(tx, admission.row(received.result, None, received.no))
        if admission.staging:
            await inbox.swap_epoch(tx, manifest.sender, manifest.stream, manifest.epoch, received.no or 0)
        return received

    async def _decided_about(self, tx: Transaction) -> Sequence[str]:
        """Of the touched records those that are recognised here, were decided about before, or on which a measure rests."""
        touched = self.applied.touched
        if any(entry.dataset == self.dataset.id for entry in self.rules.agreement.terms.recognition):
            return touched
        taken = await measures.measures_about(tx, touched)
        return sorted({*(await recognitions.decisions(tx, touched)), *(each.about for each in taken)})

"""Steps 11 and 12 of a partner's batch: one transaction with records, changes, ledger, receipt and audit, or none of it.

Rules: the agreement is read again inside the transaction; a batch with too many rejected lines waits for a person, and one under a
suspended agreement for its end: what such a batch withdraws is withdrawn at once. One with a line about persons
for which there is no basis does not wait: it is refused, and nothing of it kept. Records are decided about (互认) in the same transaction.
This story never applies part of a batch.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import datetime
from typing import Literal

import msgspec

from gateway.core.errors import ExchangeError, StoreError
from gateway.core.exchange import admitting, batch_lines, manifests
from gateway.core.exchange.feedback import MESSAGES, Feedback, ReceiptCounts, Severity
from gateway.core.exchange.manifests import Head
from gateway.core.exchange.merkle import CompactRange
from gateway.core.exchange.records import Finding, Judged, KnownRecord
from gateway.core.exchange.records import after as known_after
from gateway.core.exchange.wire import SUITES, instant
from gateway.operations import hear_measures
from gateway.operations.accept_records import accept_records
from gateway.operations.admit_batch import Admission, Passed
from gateway.operations.answer_batch import BatchRefused, Received
from gateway.operations.judge_lines import CHUNK, Judging
from gateway.operations.judged import Chunk, JudgedLine
from gateway.operations.partners import stream_at
from gateway.operations.parts_at_hand import PartsAtHand
from gateway.operations.recognise import decide
from gateway.operations.render_public import IN_LOOP, uncollected
from gateway.store import erasures, holds, inbox, measures, owed, recognitions
from gateway.store.owed import Owed
from gateway.store.records import Outcome
from gateway.store.store import Transaction

MAX_DROPPED_PERMILLE = 200
"""A new epoch that leaves out more of what is in force waits for a person."""
HELD_AT_LEAST = 20
"""Fewer rejected lines than this never hold a batch."""
PERSONS = frozenset({"LAW_PERSON", "LAW_MINOR"})
"""Codes of lines that may not be kept, not even until somebody has looked."""
_RESULT_OF = {
    "store": "accepted",
    "withdraw": "withdrawn",
    "acknowledge": "withdrawn",
    "unchanged": "unchanged",
    "hold": "held",
    "reject": "rejected",
}


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
        self.manifest = passed.manifest
        self.verified = passed.verified
        self.ahead = passed.ahead
        self.stream = admission.stream
        self.rules = admission.stream.rules
        self.suite = admission.suite
        waited = admission.stored is not None and admission.stored.receipt_no is not None
        self.judging = Judging(self.services, self.stream, passed, admission.parts, admission.now, waited=waited)
        self.dataset, self.wires = self.judging.dataset, self.judging.wires
        self.counts: Counter[str] = Counter()
        self.codes: Counter[str] = Counter()
        self.feedback: list[Feedback] = []
        self.touched: list[str] = []
        self.owed: list[Owed] = []
        """What is told in a later receipt: withdrawals, once the record has left every exit, and held lines, once somebody decides."""
        self.lines = 0 if admission.staging else self.manifest.lines
        self.dropped = 0
        self.revived = 0
        """Records that had been purged because an agreement ended, and are held again."""
        self.actor = f"partner/{self.manifest.sender}"

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
                    if await inbox.known_records(tx, chunk.rids) != chunk.known:
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
                lines = tuple(line for line in chunk.lines if line.judged.action == "withdraw" or _unheld(line, chunk.known))
                admitted = sum(line.admitted is not None for line in lines)
                await self._apply(tx, msgspec.structs.replace(chunk, lines=lines, texts=({},) * admitted))
            await decide(self.services, tx, self.touched)
            await owed.owe(tx, self.manifest.sender, self.manifest.stream, self.owed)
            detail = {**detail, "withdrawn": self.counts["withdrawn"]}
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
            before = await inbox.said_by(tx, self.manifest.sender, self.manifest.stream)
            missing = before.copy()
            batches = [each async for each in self._epoch(tx, missing)]
            await self._drop(tx, missing)
            for passed, parts in batches:
                self.judging = Judging(self.services, self.stream, passed, parts, self.admission.now, snapshot=seen)
                self.lines += passed.manifest.lines
                async for chunk in self.judging.chunks(tx):
                    await self._apply(tx, chunk)
            if not self.admission.released:
                self._check_rate()
                if len(missing) * 1000 > MAX_DROPPED_PERMILLE * len(before):
                    raise _Held(self.codes, "HOLD_DROP")
            return await self._finish(tx)

    async def _epoch(self, tx: Transaction, missing: dict[str, KnownRecord]) -> AsyncIterator[tuple[Passed, PartsAtHand]]:
        """Every batch of the new epoch with its parts, in order; those that were staged are verified again.

        Takes out of `missing` what they name, whatever they say of it.
        """
        manifest, tree = self.manifest, CompactRange(self.suite)
        for batch in await inbox.staged_batches(tx, manifest.sender, manifest.stream, manifest.epoch):
            parts = await PartsAtHand.with_kept(tx, {}, batch)
            staged = manifests.read_manifest(batch.document.body)
            check = batch_lines.LineCheck(staged, tree, self.rules.agreement.terms.limits)
            try:
                for part in staged.parts:
                    await asyncio.to_thread(check.add, part, await parts.read(tx, part, SUITES[staged.suite]))
                verified = check.done()
            except ExchangeError as error:
                raise BatchRefused(error) from error
            tree = verified.tree
            _take_out(missing, verified.named)
            yield Passed(manifest=staged, verified=msgspec.structs.replace(verified, named=frozenset())), parts
        _take_out(missing, self.verified.named)
        yield Passed(manifest=manifest, verified=self.verified), self.admission.parts

    async def _drop(self, tx: Transaction, missing: Mapping[str, KnownRecord]) -> None:
        """Records that the new epoch does not name any more are withdrawn."""
        self.dropped = len(missing)
        rids = sorted(missing)
        for at in range(0, len(rids), CHUNK):
            some = rids[at : at + CHUNK]
            admitted = [self.judging.left_out(rid, missing[rid].v) for rid in some]
            await accept_records(self.services, tx, admitted, self.dataset, actor=self.actor, texts=({},) * len(some))
            gone = {rid: (msgspec.structs.replace(missing[rid], op="retract"), None, instant(tx.now)) for rid in some}
            await inbox.put_known(tx, gone)
            await measures.drop_measures(tx, some)
            self.touched += some

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

    # --- step 12 ---

    async def _apply(self, tx: Transaction, chunk: Chunk) -> None:
        self.admission.in_time()
        with uncollected(len(chunk.lines) > IN_LOOP):
            await self._store(tx, chunk)

    async def _store(self, tx: Transaction, chunk: Chunk) -> None:
        admitted = [line.admitted for line in chunk.lines if line.admitted is not None]
        outcomes: dict[str, Outcome] = {}
        if admitted:
            for outcome in await accept_records(self.services, tx, admitted, self.dataset, actor=self.actor, texts=chunk.texts):
                outcomes[outcome.place] = outcome
                self.revived += outcome.revived
        erasing = [line for line in chunk.lines if line.judged.op == "erase"]
        if erasing:
            await erasures.enter_unheld(tx, [line.judged.rid for line in erasing if line.judged.rid and _unheld(line, chunk.known)])
            await erasures.enter_again(tx, [line.judged.rid for line in erasing if line.judged.rid and _bare(line, outcomes)])
        held: dict[str, tuple[KnownRecord, bytes | None, str]] = {}
        for line in chunk.lines:
            self._count(line, outcomes.get(str(line.index)), tx.now, chunk.known, held)
        await inbox.put_known(tx, held)
        if self.dataset.category == "measure":
            taken = [line for line in chunk.lines if (said := outcomes.get(str(line.index))) is not None and said.result != "rejected"]
            await hear_measures.keep(tx, self.stream, taken)

    def _count(
        self,
        line: JudgedLine,
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
        if findings:  # of what is accepted there is mostly nothing to tell
            if result == "accepted" and any(finding.severity == "warn" for finding in findings):
                self.counts["warned"] += 1
            if result in ("held", "rejected"):
                self.codes[findings[-1].code] += 1
            findings = self._later(line, result, findings, known)
            self.feedback += [_feedback(line.index, judged, finding, now) for finding in findings]
        if result == "rejected":
            return
        manifest = self.manifest
        takes = known_after(known, judged, line.leaf, sender=manifest.sender, dataset=self.dataset.id, stream=manifest.stream)
        if takes is not None and judged.rid is not None and judged.payload is not None:
            held[judged.rid] = (takes, None if judged.op == "erase" else line.payload, judged.payload.at)
            self.touched.append(judged.rid)

    def _later(
        self, line: JudgedLine, result: str, findings: tuple[Finding, ...], known: Mapping[str, KnownRecord]
    ) -> tuple[Finding, ...]:
        """What can be told of a line now; the rest is owed. What was never held here has left every exit already."""
        judged = line.judged
        if judged.rid is None or judged.v is None:
            return findings
        if result == "held" and line.admitted is not None:
            self.owed.append(Owed(record_id=judged.rid, v=judged.v, idx=line.index, code="HOLD_RELEASED"))
        told = tuple(finding for finding in findings if not finding.code.startswith("ACK_"))
        if len(told) == len(findings) or (judged.rid not in known and judged.op != "erase"):
            return findings
        code = "ACK_ERASED" if judged.op == "erase" else "ACK_WITHDRAWN"
        self.owed.append(Owed(record_id=judged.rid, v=judged.v, idx=line.index, code=code))
        return told

    async def _check_hold(self, tx: Transaction) -> None:
        """Raises _Held while an operator holds the stream, unless a person has just decided about this batch."""
        if not self.admission.released and await holds.hold_on(tx, self.manifest.sender, self.manifest.stream) is not None:
            raise _Held({}, None)

    def _check_rate(self) -> None:
        """Step 11.

        Raises _Held.
        """
        rejected = self.counts["rejected"]
        if rejected >= HELD_AT_LEAST and rejected * 1000 > self.rules.agreement.terms.limits.error_permille * self.lines:
            raise _Held(self.codes)

    async def _resting(self, tx: Transaction) -> set[str]:
        """Of the touched records those about which something was decided here, or on which a measure rests."""
        taken = await measures.measures_about(tx, self.touched)
        return {*(await recognitions.decisions(tx, self.touched)), *(each.about for each in taken)}

    async def _finish(self, tx: Transaction) -> Received:
        admission, manifest = self.admission, self.manifest
        stream = await inbox.open_in_stream(tx, manifest.sender, manifest.stream, manifest.epoch, self.suite)
        stale = await recognitions.decisions_stale(tx, manifest.sender, manifest.stream)
        head = Head(
            stream=manifest.stream, epoch=manifest.epoch, seq=manifest.seq, tree=self.verified.tree, manifest_digest=admission.digest
        )
        await inbox.advance(tx, stream, head, sender=manifest.sender, created=manifest.created_at)
        recognised = any(entry.dataset == self.dataset.id for entry in self.rules.agreement.terms.recognition)
        touched = self.touched if recognised else sorted(await self._resting(tx))
        await decide(self.services, tx, [*touched, *stale])
        await owed.owe(tx, manifest.sender, manifest.stream, self.owed)
        counts = ReceiptCounts(
            lines=self.lines,
            dropped=self.dropped,
            **{name: self.counts[name] for name in ("accepted", "unchanged", "warned", "held", "rejected", "withdrawn")},
        )
        partial = self.counts["held"] > 0 or self.counts["rejected"] > 0
        detail = {"codes": dict(self.codes), **({"held_again": self.revived} if self.revived else {})}
        received = await admission.answer(
            tx, "partial" if partial else "applied", None, counts=counts, lines=self.feedback, detail=detail
        )
        await inbox.drop_in_parts(tx, admission.row(received.result, None, received.no))
        if admission.staging:
            await inbox.swap_epoch(tx, manifest.sender, manifest.stream, manifest.epoch, received.no or 0)
        return received


def _take_out(missing: dict[str, KnownRecord], named: Iterable[str | None]) -> None:
    for rid in named:
        missing.pop(rid, None)  # type: ignore[arg-type]  # a line without an id names nothing


def _unheld(line: JudgedLine, known: Mapping[str, KnownRecord]) -> bool:
    """Whether a line erases a record of which nothing was taken in here: what waits may speak of it."""
    return (line.judged.op, line.judged.action) == ("erase", "acknowledge") and line.judged.rid not in known


def _bare(line: JudgedLine, outcomes: Mapping[str, Outcome]) -> bool:
    """Whether a line erases a record of which nothing is left here, as after a purge: what waits may speak of it."""
    outcome = outcomes.get(str(line.index))
    return line.judged.op == "erase" and outcome is not None and outcome.code == "SEQ_ERASED"


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

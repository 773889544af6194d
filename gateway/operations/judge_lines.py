"""Step 10 of a partner's batch: each line by itself, through the one door in, with the sender as issuer.

disclosures → schema and fields → ops, region, authority, category, kind → owner → identifiers → version and state → basis, period, persons.
Lines come in chunks in which no record stands twice: what one line does, the next about it must see. This story writes nothing.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import Literal

import msgspec

from gateway.adapter_contract import SourceRecord
from gateway.core.errors import ExchangeError, RowFault
from gateway.core.exchange import batch_lines
from gateway.core.exchange.disclosures import CLEAR_MEMBERS, Opened
from gateway.core.exchange.feedback import Severity
from gateway.core.exchange.judging import Finding, Judged, KnownRecord, acknowledgement, judge
from gateway.core.exchange.merkle import leaf_hash
from gateway.core.exchange.records import REASONS, Line, Statement, clear_content, read_statement
from gateway.core.exchange.wire import (
    SUITES,
    parse_instant,
    split_stream,
)
from gateway.core.records.intake import IntakeContext, intake_all
from gateway.core.records.model import Admitted, Dataset, LifeDates, RecordId, Unpublished, Value
from gateway.core.records.periods import legal_day, publication
from gateway.operations import hear_measures
from gateway.operations.accept_records import Texts, redactions
from gateway.operations.admit_batch import Passed
from gateway.operations.answer_batch import BatchRefused
from gateway.operations.judged import Chunk, JudgedLine
from gateway.operations.partners import Stream, stream_at
from gateway.operations.parts_at_hand import PartsAtHand
from gateway.operations.render_public import IN_LOOP, uncollected
from gateway.services import Services
from gateway.store import inbox, known_records, owed, recognitions, records
from gateway.store.reads import Row
from gateway.store.store import Source

CHUNK = 1000
CHUNK_BYTES = 8 * 2**20
"""Lines judged and stored at a time."""
FINAL = frozenset({"LAW_PERSON", "LAW_MINOR", "LAW_PROHIBITED", "SCOPE_CATEGORY"})
"""A corrected version may not come either."""
WITHDRAWN = frozenset({"retract", "repair", "expire", "erase"})
"""Operations that take a record off every exit."""
DEFAULT_REASON = {"retract": "no_longer_public", "repair": "repaired", "expire": "expired", "erase": "erased"}


class Judging:
    """The lines of one verified batch."""

    def __init__(
        self,
        services: Services,
        stream: Stream,
        passed: Passed,
        parts: PartsAtHand,
        now: datetime,
        *,
        snapshot: set[str] | None = None,
        waited: bool = False,
    ) -> None:
        self.waited = waited
        """The batch was here before, and waited: what it withdraws may have taken effect by then."""
        self.snapshot = snapshot
        """Records that a new epoch has named so far: the first line about each is judged as if nothing of the old epoch were in force."""
        self.floors: dict[str, int] = {}
        """Versions of the old epoch below which the new one may not go."""
        self.said: dict[str, Row] = {}
        """Lines of the old epoch that the new one repeats under their number: it may not say anything else under it."""
        self.taken_back: dict[str, int] = {}
        """Versions of withdrawals that overtook these lines: those that went out in the old epoch while this one was on its way, and those
        that took effect out of turn while batches waited."""
        self.elsewhere: dict[str, bool] = {}
        """Other streams of the sender: whether what is in force by one is left to it."""
        self.left: frozenset[str] = frozenset()
        """Of a chunk the records that are in force by another stream of the sender: they stay as that one says."""
        self.named: set[str] = set()
        """Records that were named so far: what one line does is no news of another batch to the next."""
        self.services = services
        self.manifest = passed.manifest
        self.verified = passed.verified
        self.stream = stream
        self.rules = stream.rules
        self.suite = SUITES[stream.rules.terms.wire.suite]
        self.parts = parts
        self.now = now
        policies = services.policies.current()
        self.dataset: Dataset = policies.catalogue.datasets[split_stream(self.manifest.stream)[1]]  # type: ignore[index]  # a DatasetId is a str
        self.wires = {name: field.wire_name for name, field in self.dataset.fields.items()}
        self.lives: dict[tuple[LifeDates, str, str | None], LifeDates] = {}
        """Dates of life as many lines have them: of the fields, and with what the payload says of them."""
        self.periods: dict[tuple[object, ...], bool] = {}
        self.contexts: dict[str, IntakeContext] = {}
        self.layouts: dict[tuple[str, ...], bool] = {}

    async def chunks(self, source: Source) -> AsyncIterator[Chunk]:
        """The lines in chunks in which no record stands twice: what one line does, the next about it must see."""
        lines: list[tuple[int, Line]] = []
        rids: set[str | None] = set()
        size = 0
        async for part in self._read(source):
            for index, line in part:
                if len(lines) == CHUNK or size > CHUNK_BYTES or line.rid in rids:
                    yield await self._chunk(source, lines)
                    lines, rids, size = [], set(), 0
                lines.append((index, line))
                size += len(line.payload) + len(line.rows)
                rids.add(line.rid)
        if lines:
            yield await self._chunk(source, lines)

    async def _chunk(self, source: Source, lines: Sequence[tuple[int, Line]]) -> Chunk:
        with uncollected(len(lines) > IN_LOOP):
            return await self._judge(source, lines)

    async def _read(self, source: Source) -> AsyncIterator[Iterable[tuple[int, Line]]]:
        """(index in the stream, line): as kept by step 9, or read again part by part and held against what step 9 saw.

        Empties `self.verified.lines`, the one thing in what was verified that changes: whoever asks a second time has the parts read again.

        Raises BatchRefused.
        """
        if self.verified.lines:
            lines = self.verified.lines[::-1]
            self.verified.lines.clear()  # what is judged is let go: only what comes of it is held until the batch stands
            yield enumerate((lines.pop() for _ in range(len(lines))), self.manifest.range.from_)
            return
        for entry in self.manifest.parts:
            try:
                data = await self.parts.read(source, entry, self.suite)
            except ExchangeError as error:
                raise BatchRefused(error) from error
            yield self._as_verified(batch_lines.lines_of(entry, data, self.rules.agreement.terms.limits, self.suite))

    def _as_verified(self, lines: Iterable[tuple[int, Line]]) -> Iterator[tuple[int, Line]]:
        """Lines that are those of step 9, one by one."""
        first, leaves = self.manifest.range.from_, self.verified.leaves
        for index, line in lines:
            if leaf_hash(line.payload, self.suite) != leaves[index - first]:
                raise BatchRefused(ExchangeError("a line is another than was verified", code="SEQ_ROOT", place=str(index)))
            yield index, line

    async def _judge(self, source: Source, lines: Sequence[tuple[int, Line]]) -> Chunk:
        rids = tuple(line.rid for _, line in lines if line.rid is not None)
        held = known = await known_records.known(source, rids)
        self.left = await self._left_to_others(source, held)
        if self.snapshot is not None:
            stays = self.snapshot | {line.rid for _, line in lines if line.op in WITHDRAWN}  # that takes back what the old epoch told, too
            known = {rid: one for rid, one in held.items() if rid in stays or not self._of_the_old_epoch(one)}
            self.floors |= {rid: one.v for rid, one in held.items() if rid not in known}
            again = [rid for _, line in lines if (rid := line.rid) is not None and self._may_repeat(rid, line)]
            self.said |= await recognitions.told_records(source, again)
            self.taken_back |= {
                rid: one.v
                for rid, one in held.items()
                if rid not in self.snapshot and one.sender == self.manifest.sender and one.op in ("retract", "repair", "expire")
            }
            self.snapshot.update(rids)
        elif await self._were_overtaken(source, lines, held):
            self.taken_back |= {
                rid: one.v
                for rid, one in held.items()
                if rid not in self.named and one.sender == self.manifest.sender and one.op in WITHDRAWN
            }
        self.named.update(rids)
        standing = await self._as_they_stand(source, lines, known)
        judged, texts = await asyncio.to_thread(self._judged, lines, standing)
        if self.dataset.category == "measure":
            judged, texts = await self._believed(source, judged)
        return Chunk(lines=judged, rids=rids, known=known, texts=texts)

    async def _left_to_others(self, source: Source, held: Mapping[str, KnownRecord]) -> frozenset[str]:
        """Records that are in force by another stream of the sender, which covers them or is about to be purged; not what was frozen."""
        found: set[str] = set()
        for rid, one in held.items():
            if one.sender == self.manifest.sender and one.stream != self.manifest.stream and one.op in ("assert", "amend"):
                if one.stream not in self.elsewhere:
                    other = await stream_at(source, one.stream, self.manifest.sender, self.now)
                    self.elsewhere[one.stream] = other is not None and not other.governing.frozen(self.now)
                if self.elsewhere[one.stream]:
                    found.add(rid)
        return frozenset(found)

    async def _as_they_stand(
        self, source: Source, lines: Sequence[tuple[int, Line]], known: dict[str, KnownRecord]
    ) -> dict[str, KnownRecord]:
        """What is known, where an assertion names what was asserted before: what a rule here held, or a person refused, is said anew so."""
        asserted = {line.rid for _, line in lines if line.op == "assert"}
        ours = (self.manifest.sender, self.manifest.stream)
        told = {rid: one for rid, one in known.items() if rid in asserted and (one.sender, one.stream) == ours}
        again = [rid for rid, one in told.items() if one.op in ("assert", "amend")]
        if not again:
            return known
        states = await owed.states(source, again)
        waits = [rid for rid in again if states.get(rid) in ("held", "retracted")]
        return known | {rid: msgspec.structs.replace(known[rid], op="held") for rid in waits}

    async def _were_overtaken(self, source: Source, lines: Sequence[tuple[int, Line]], held: Mapping[str, KnownRecord]) -> bool:
        """Whether withdrawals behind these lines may have taken effect before them, because batches waited (exchange.md §7)."""
        late = any(
            line.said is not None and (one := held.get(line.said.rid)) is not None and one.op in WITHDRAWN and line.said.v < one.v
            for _, line in lines
        )
        return late and (self.waited or await inbox.waiting_in(source, self.manifest.sender, self.manifest.stream) > 0)

    async def _believed(self, source: Source, lines: Sequence[JudgedLine]) -> tuple[tuple[JudgedLine, ...], tuple[Texts, ...]]:
        """Of lines about measures those that this partner may tell us."""
        left = await hear_measures.believed(source, self.stream, lines)
        return left, tuple(redactions([line.admitted for line in left if line.admitted is not None], self.dataset))

    def _may_repeat(self, rid: str, line: Line) -> bool:
        return rid in self.floors and (line.said is None or line.said.v == self.floors[rid])

    def _of_the_old_epoch(self, known: KnownRecord) -> bool:
        """Whether the old epoch may be forgotten of a record: not that it is another's, erased, or repaired."""
        return known.sender == self.manifest.sender and known.op not in ("erase", "repair")

    def _judged(
        self, lines: Sequence[tuple[int, Line]], known: Mapping[str, KnownRecord]
    ) -> tuple[tuple[JudgedLine, ...], tuple[Texts, ...]]:
        """Judgement, intake and redaction of a chunk: all that needs no store."""
        believed = [self._judgement(index, line, known.get(line.rid or "")) for index, line in lines]
        taken = self._taken_in([(index, judged) for (index, _), judged in zip(lines, believed, strict=True) if judged.action == "store"])
        made = tuple(self._one(index, line, judged, taken.get(index)) for (index, line), judged in zip(lines, believed, strict=True))
        return made, tuple(redactions([line.admitted for line in made if line.admitted is not None], self.dataset))

    def _judgement(self, index: int, line: Line, known: KnownRecord | None) -> Judged:
        """What a line may do, before it is known what its values say."""
        judged = judge(line, self.rules, known, self.suite)
        leaf = self.verified.leaves[index - self.manifest.range.from_]
        if self.waited and known is not None and (judged.op, judged.v, leaf) == ("erase", known.v, known.leaf) and known.op == "erase":
            repeated = (Finding(severity="info", code="DUP_SAME"), acknowledgement("erase"))
            judged = msgspec.structs.replace(judged, action="acknowledge", findings=repeated)  # by this very line, while it waited
        if self.snapshot is not None and known is not None and judged.op == known.op == "erase" and _only_late(judged):
            judged = msgspec.structs.replace(judged, action="unchanged", findings=(Finding(severity="info", code="SEQ_ERASED"),))
        if judged.rid in self.left and judged.op not in WITHDRAWN and _only_late(judged):
            judged = msgspec.structs.replace(judged, action="unchanged", findings=(Finding(severity="info", code="SEQ_STATE"),))
        if (judged.v or 0) < self.taken_back.get(judged.rid or "", 0) and _only_late(judged):
            code = "SEQ_ERASED" if known is not None and known.op == "erase" else "SEQ_VERSION"
            judged = msgspec.structs.replace(judged, action="unchanged", findings=(Finding(severity="info", code=code),))
        if judged.action == "store" and (judged.v or 0) < self.floors.get(judged.rid or "", 0):
            judged = msgspec.structs.replace(
                judged, action="reject", findings=(Finding(severity="reject", code="SEQ_VERSION", retry=True),)
            )
        return judged

    def _taken_in(self, lines: Sequence[tuple[int, Judged]]) -> dict[int, Admitted | RowFault]:
        """Through the one door in, the statements of each region together; by index of the line."""
        by_region: dict[str, list[tuple[int, SourceRecord]]] = {}
        for index, judged in lines:
            said = judged.payload
            assert isinstance(said, Statement)  # noqa: S101  # only statements are stored
            fields: dict[str, Value] = dict(zip(judged.opened.names, judged.opened.values, strict=True))
            if not self._known_here(judged.opened.names):
                fields = {name: value for name, value in fields.items() if value is not None}
            if self.wires.get("authority") in CLEAR_MEMBERS:
                fields[self.wires["authority"]] = said.authority_name  # said in clear; a disclosure may not take its name
            source = SourceRecord(
                dataset=self.dataset.id, record_id=said.rid, version=said.v, as_of=self.now, fields=fields, place=str(index)
            )
            by_region.setdefault(said.region, []).append((index, source))
        taken: dict[int, Admitted | RowFault] = {}
        for region, some in by_region.items():
            outcomes = intake_all([source for _, source in some], self._context(region))
            taken.update(zip([index for index, _ in some], outcomes, strict=True))
        return taken

    def _known_here(self, names: tuple[str, ...]) -> bool:
        """Whether our dataset has all these fields: then empty ones stay, so that all lines have the same and are read together."""
        known = self.layouts.get(names)
        if known is None:
            known = self.layouts[names] = set(self.wires.values()).issuperset(names)
        return known

    def _one(self, index: int, line: Line, judged: Judged, taken: Admitted | RowFault | None) -> JudgedLine:
        """What became of a line; `taken` is what intake says of it, where it is to be stored."""
        leaf = self.verified.leaves[index - self.manifest.range.from_]
        findings = judged.findings
        admitted: Admitted | None = None
        if judged.action == "withdraw":
            admitted = self._withdrawn(judged, index)
        elif taken is not None:
            try:
                admitted, more = self._fitting(judged, taken, index)
                if judged.v == self.floors.get(judged.rid or ""):
                    self._check_repeated(judged, admitted)
                findings += more
            except RowFault as fault:
                wire = self.wires.get(fault.field or "", fault.field)
                severity: Severity = "hold" if fault.severity == "hold" else "reject"
                finding = Finding(
                    severity=severity, code=fault.code, field=wire, disclosure=judged.digest_of(wire), retry=fault.code not in FINAL
                )
                judged = msgspec.structs.replace(judged, action=severity)
                admitted = None
                findings += (finding,)
        if admitted is not None and admitted.hold_field is None and self.dataset.category != "measure":
            judged = msgspec.structs.replace(judged, opened=Opened())  # nobody asks for the digest of a field any more
        return JudgedLine(index=index, leaf=leaf, payload=line.payload, judged=judged, admitted=admitted, findings=findings)

    def _check_repeated(self, judged: Judged, admitted: Admitted) -> None:
        """A new epoch repeats a version with other salts, never with other content: somebody may have confirmed what it said.

        Raises RowFault.
        """
        before = self.said.get(judged.rid or "")
        if before is not None and before.op == "purge":
            return  # nothing is held that it could repeat
        assert isinstance(judged.payload, Statement)  # noqa: S101  # only statements are stored
        if (
            before is None
            or before.op not in ("assert", "amend")
            or clear_content(read_statement(before.payload)) != clear_content(judged.payload)
            or not records.only_repeats(self.services.store.vault, self.dataset, admitted, before.content_digest or b"")
        ):
            raise RowFault("SEQ_VERSION", "the new epoch says something else under a version of the old one")

    def _withdrawn(self, judged: Judged, index: int) -> Admitted:
        reason = judged.payload.reason if judged.payload is not None else None
        if reason not in REASONS[judged.op]:
            reason = DEFAULT_REASON[judged.op]
        return self._taken_back(
            judged.rid or "", judged.v, op="erase" if judged.op == "erase" else "withdraw", reason=reason, place=str(index)
        )

    def _taken_back(self, rid: str, v: int | None, *, op: Literal["withdraw", "erase"], reason: str | None, place: str) -> Admitted:
        return Admitted(
            dataset=self.dataset.id,
            category=self.dataset.category,
            op=op,
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
            version=v,
            received_at=self.now,
            place=place,
        )

    def left_out(self, rid: str, v: int) -> Admitted:
        """What a new epoch does not name any more is withdrawn."""
        return self._taken_back(rid, v, op="withdraw", reason="no_longer_public", place=rid)

    def _fitting(self, judged: Judged, admitted: Admitted | RowFault, index: int) -> tuple[Admitted, tuple[Finding, ...]]:
        """What the payload says in clear must be what the fields say.

        Raises RowFault.
        """
        if isinstance(admitted, RowFault):
            raise admitted
        said = judged.payload
        assert isinstance(said, Statement)  # noqa: S101  # only statements are stored
        if admitted.kind != "legal" and not self.rules.persons:
            raise RowFault("LAW_PERSON", "the agreement has no basis for persons")
        if said.category != self.dataset.category:
            raise RowFault("SCOPE_CATEGORY", "the dataset has another category here")
        if admitted.authority_code is not None and admitted.authority_code != said.authority:
            raise RowFault("SCOPE_AUTHORITY", "the fields name another authority than the payload", field="authority_code")
        if admitted.dates.decision is not None and admitted.dates.decision.isoformat() != said.decided_on:
            raise RowFault("SCHEMA_TYPE", "the fields name another day of decision than the payload", field="decision_date")
        conflict = admitted.kind != said.subject_kind
        admitted = msgspec.structs.replace(
            admitted,
            trust=said.trust,
            region=said.region,
            authority_code=admitted.authority_code or said.authority,
            authority_name=admitted.authority_name or said.authority_name,
            dates=self._dates(admitted.dates, said),
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
        if said.publish_until is not None and self._period_is_shorter(admitted, said.publish_until):
            findings.append(Finding(severity="warn", code="LAW_PERIOD", field="publish_until"))
        return admitted, tuple(findings)

    def _context(self, region: str) -> IntakeContext:
        """What intake must know beside a record of a region."""
        known = self.contexts.get(region)
        if known is None:
            known = self.contexts[region] = IntakeContext(
                dataset=self.dataset,
                authorities={},
                demo=self.services.settings.demo,
                now=self.now,
                region=region,
                issuer=self.manifest.sender,
            )
        return known

    def _dates(self, dates: LifeDates, said: Statement) -> LifeDates:
        """The dates of the fields, with the day of decision and the last day shown of the payload; the same value for the same days."""
        key = (dates, said.decided_on, said.publish_until)
        known = self.lives.get(key)
        if known is None:
            ends = [day for day in (dates.upstream_end, _day(said.publish_until)) if day is not None]
            known = self.lives[key] = msgspec.structs.replace(
                dates, decision=dates.decision or date.fromisoformat(said.decided_on), upstream_end=min(ends, default=None)
            )
        return known

    def _period_is_shorter(self, admitted: Admitted, last: str) -> bool:
        """Whether our own periods end before the day that the sender names; ours apply."""
        key = (admitted.kind, admitted.severity, admitted.minor, admitted.dates, last)
        known = self.periods.get(key)
        if known is None:
            until = date.fromisoformat(last)
            period = publication(
                act=self.dataset.publish.act,
                severity=admitted.severity,
                kind=admitted.kind,
                category=admitted.category,
                dates=msgspec.structs.replace(
                    admitted.dates, upstream_end=None, first_publication_here=admitted.dates.first_publication_here or legal_day(self.now)
                ),
                table=self.services.policies.current().catalogue.periods,
                now=self.now,
                minor=admitted.minor,
            )
            known = self.periods[key] = period.last_day is not None and period.last_day < until
        return known


def _only_late(judged: Judged) -> bool:
    """Whether nothing but its age speaks against a line."""
    return judged.action == "store" or {finding.code for finding in judged.findings} <= {"SEQ_VERSION", "SEQ_STATE", "SEQ_ERASED"}


def _day(text: str | None) -> date | None:
    return date.fromisoformat(text) if text is not None else None

"""What the judged lines of a batch come to: each stored, withdrawn, held or rejected, counted, and told to the sender.

Feedback is what can be told of a line at once; what is told in a later receipt is owed. This story opens no transaction and decides nothing
about the batch as a whole: `apply_batch` does.
"""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime

from gateway.core.exchange.feedback import MESSAGES, Feedback, Severity
from gateway.core.exchange.judging import Finding, Judged, KnownRecord
from gateway.core.exchange.judging import after as known_after
from gateway.core.exchange.wire import instant
from gateway.core.records.model import Dataset
from gateway.operations import hear_measures
from gateway.operations.accept_records import accept_records
from gateway.operations.judged import Chunk, JudgedLine
from gateway.operations.partners import Stream
from gateway.operations.render_public import IN_LOOP, uncollected
from gateway.services import Services
from gateway.store import erasures, known_records
from gateway.store.owed import Owed
from gateway.store.records import Outcome
from gateway.store.store import Transaction

_RESULT_OF = {
    "store": "accepted",
    "withdraw": "withdrawn",
    "acknowledge": "withdrawn",
    "unchanged": "unchanged",
    "hold": "held",
    "reject": "rejected",
}
"""What a line came to, by what its judgement asks for; what is stored, intake decides."""


class Applied:
    """The lines of one batch that have been applied so far."""

    def __init__(self, services: Services, stream: Stream, dataset: Dataset) -> None:
        self.services = services
        self.stream = stream
        self.dataset = dataset
        self.wires = {name: field.wire_name for name, field in dataset.fields.items()}
        self.counts: Counter[str] = Counter()
        self.codes: Counter[str] = Counter()
        """Why lines were held or rejected."""
        self.feedback: list[Feedback] = []
        self.touched: list[str] = []
        """Records of which something else is held from now on."""
        self.owed: list[Owed] = []
        """What is told in a later receipt: withdrawals, once the record has left every exit, and held lines, once somebody decides."""
        self.revived = 0
        """Records that had been purged because an agreement ended, and are held again."""

    async def add(self, tx: Transaction, chunk: Chunk) -> None:
        """Some more lines, in their order."""
        with uncollected(len(chunk.lines) > IN_LOOP):
            await self._store(tx, chunk)

    async def _store(self, tx: Transaction, chunk: Chunk) -> None:
        admitted = [line.admitted for line in chunk.lines if line.admitted is not None]
        outcomes: dict[str, Outcome] = {}
        if admitted:
            actor = f"partner/{self.stream.sender}"
            for outcome in await accept_records(self.services, tx, admitted, self.dataset, actor=actor, texts=chunk.texts):
                outcomes[outcome.place] = outcome
                self.revived += outcome.revived
        erasing = [line for line in chunk.lines if line.judged.op == "erase"]
        if erasing:
            await erasures.enter_unheld(tx, [line.judged.rid for line in erasing if line.judged.rid and unheld(line, chunk.known)])
            await erasures.enter_again(tx, [line.judged.rid for line in erasing if line.judged.rid and _bare(line, outcomes)])
        held: dict[str, tuple[KnownRecord, bytes | None, str]] = {}
        for line in chunk.lines:
            self._count(line, outcomes.get(str(line.index)), tx.now, chunk.known, held)
        await known_records.put(tx, held)
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
        judged = line.judged
        result, findings = self._result(line, outcome)
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
        takes = known_after(known, judged, line.leaf, sender=self.stream.sender, dataset=self.dataset.id, stream=self.stream.name)
        if takes is not None and judged.rid is not None and judged.payload is not None:
            held[judged.rid] = (takes, None if judged.op == "erase" else line.payload, judged.payload.at)
            self.touched.append(judged.rid)

    def _result(self, line: JudgedLine, outcome: Outcome | None) -> tuple[str, tuple[Finding, ...]]:
        """What became of a line, with what intake and the store found beside its judgement."""
        judged = line.judged
        if outcome is None or judged.action != "store":
            return _RESULT_OF[judged.action], line.findings
        if outcome.result == "unchanged":
            return "unchanged", (*line.findings, Finding(severity="info", code="DUP_SAME"))
        if outcome.result not in ("held", "rejected"):
            return outcome.result, line.findings
        wire = self.wires.get(outcome.field or "", outcome.field)
        severity: Severity = "hold" if outcome.result == "held" else "reject"
        found = Finding(severity=severity, code=outcome.code or "SCHEMA_ENUM", field=wire, disclosure=judged.digest_of(wire), retry=True)
        return outcome.result, (*line.findings, found)

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


def unheld(line: JudgedLine, known: Mapping[str, KnownRecord]) -> bool:
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

"""What is said of each record that changed: the line out of its view, or a withdrawal, or nothing.

A record is seen through the agreement's tier. An unchanged view is not said again; what may no longer be shown is withdrawn from everybody
who was told of it; a version is higher than all that the partner was told under whichever agreement. This story writes nothing, and knows
nothing of batches: `seal_batch` makes one of what is said here.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from itertools import islice
from typing import Literal

import msgspec

from gateway.core.disclosure.plans import Plan, PlanSet, Policies
from gateway.core.disclosure.row_rules import Attributes, fields_of_rule
from gateway.core.disclosure.views import View, view
from gateway.core.errors import ExchangeError
from gateway.core.exchange.agreements import StreamRules
from gateway.core.exchange.judging import check_values, scope_fault
from gateway.core.exchange.manifests import Head
from gateway.core.exchange.records import Basis, SealedLine, Statement, seal_statement, seal_withdrawal, statement, withdrawal
from gateway.core.exchange.wire import encode, instant
from gateway.core.records.model import BasisRef, Record, RecordId, Value
from gateway.operations.partners import Stream, streams_beside
from gateway.operations.pseudonym_keys import pseudonyms_for
from gateway.operations.render_public import IN_LOOP, uncollected
from gateway.services import Services
from gateway.store import ledger, records
from gateway.store.changes import Change
from gateway.store.ledger import SentRecord
from gateway.store.outbox import SentLine

CHUNK = 1_000
"""Records read, seen and said at a time."""
SEED_BYTES = 32

Said = tuple[SealedLine, SentLine]
"""A line as it goes into the batch, and as the ledger keeps it."""

_REASON_OF = {"retract": "no_longer_public", "repair": "repaired", "expire": "expired", "erase": "erased"}
_OP_OF_STATE: Mapping[str, Literal["retract", "repair", "expire", "erase"]] = {
    "retracted": "retract",
    "repaired": "repair",
    "expired": "expire",
    "erased": "erase",
}


class Saying:
    """What one pass of a stream says.

    `only_withdrawals`: nothing new; `recalling`: only that this epoch, which is being replaced, is not to be believed of a record any more.
    """

    def __init__(
        self,
        services: Services,
        stream: Stream,
        policies: Policies,
        plans: PlanSet | None,
        head: Head,
        now: datetime,
        *,
        only_withdrawals: bool,
        recalling: bool,
    ) -> None:
        self.services = services
        self.stream = stream
        self.rules: StreamRules = stream.rules
        self.suite = stream.suite
        self.policies = policies
        self.plans = plans
        self.head = head
        self.now = now
        self.only_withdrawals = only_withdrawals
        self.recalling = recalling
        dataset = policies.catalogue.datasets.get(stream.rules.terms.dataset)  # type: ignore[call-overload]  # a DatasetId is a str
        wires = {field.wire_name: name for name, field in dataset.fields.items()} if dataset is not None else {}
        self.names = tuple(field.name for field in stream.rules.terms.fields)
        """Of each agreed field its name on the wire; `ours`: the one here."""
        self.ours = tuple(wires.get(name, "") for name in self.names)
        # the agreement in force is the grant, and its other side the one who asks
        org = stream.rules.agreement.party(stream.rules.terms.to).identity.org
        self.reach = Attributes(org_id=org, grant_regions=stream.rules.terms.scope.regions)
        vault = services.store.vault
        self.pseudonyms = pseudonyms_for(vault, stream.rules.terms.to, stream.rules.terms.purpose, now)
        self.digest_of_view = vault.digester("exchange-view")
        self.snapshot = False
        """The epoch is not whole yet: an erasure that is owed by an older one is said again."""
        self.lost = False
        """The epoch begins because its receiver has lost what it held: every withdrawal that is owed is said again."""
        self.still: frozenset[str] = frozenset()
        """Of a pass that recalls: records that the old epoch has told of, and not withdrawn."""
        self.beside: list[str] | None = None
        """Streams of other agreements in which the partner was told of this dataset; None: not looked for yet."""
        self.told: Mapping[str, tuple[int, str]] = {}
        """Highest version, and op, of what those said of the records at hand."""
        self.left_out: set[str] = set()
        """Records in force that are withdrawn because this agreement does not let us say them any more: others may."""
        self.not_sent: dict[str, int] = {}
        """Records of which nothing could be said, by code."""
        self.people: dict[str, str] = {}
        """Record → subject, of those about persons and households: whom the audit names."""

    async def lines(self, touched: Mapping[str, Change | None], before: int = 0) -> list[Said]:
        """What there is to say of these records, behind so many lines of the batch; they are in memory a chunk at a time."""
        lines: list[Said] = []
        changed = iter(touched.items())
        while chunk := dict(islice(changed, CHUNK)):
            with uncollected(len(chunk) > IN_LOOP):
                lines += await self._lines_of(chunk, before + len(lines))
        return lines

    async def _lines_of(self, touched: Mapping[str, Change | None], before: int) -> list[Said]:
        reads = self.services.store.reads
        ids = [RecordId(record_id) for record_id in touched]
        columns = frozenset() if self.plans is None else self.plans.columns.union(*map(_gated, self.plans.plans.values()))
        texts = frozenset() if self.plans is None else self.plans.whole_texts
        loaded = await records.load(reads, ids=ids, fields=columns, texts=texts)
        held = {record.record_id: record for record in loaded}
        sent = await ledger.sent_records(reads, self.stream.name, ids)
        for record_id, recalled in (await ledger.recalled(reads, self.stream.name, ids)).items():
            if record_id in sent:  # what the old epoch was told has taken its version
                sent[record_id] = msgspec.structs.replace(sent[record_id], v=max(sent[record_id].v, recalled.v))
        if self.beside is None:
            self.beside = await streams_beside(reads, self.stream)
        self.told = await ledger.told_beside(reads, self.beside, ids)
        if self.recalling:
            self.still = await self._still_told(ids, held, sent)
        seeds = self.services.random(SEED_BYTES * len(touched))
        # long work: others are served meanwhile
        return await asyncio.to_thread(self._said, touched, held, sent, self.head.tree.size + before, seeds)

    async def _still_told(
        self, ids: Sequence[RecordId], held: Mapping[RecordId, Record], sent: Mapping[str, SentRecord]
    ) -> frozenset[str]:
        """Those of these records that the partner still holds by the old epoch; an erasure is told of whatever was withdrawn."""
        reads, epoch = self.services.store.reads, self.head.epoch
        told = await ledger.said_in(reads, self.stream.name, epoch, ids)
        recalled = await ledger.recalled(reads, self.stream.name, ids)

        def still(record_id: RecordId) -> bool:
            ops = {each.op for each in (recalled.get(record_id),) if each is not None and each.epoch == epoch}
            last = sent.get(record_id)
            if last is not None and last.epoch == epoch and last.op not in ("assert", "amend"):
                ops.add(last.op)
            record = held.get(record_id)
            return not ops or ((record is None or record.state == "erased") and "erase" not in ops)

        return frozenset(record_id for record_id in ids if record_id in told and still(record_id))

    def _said(
        self,
        touched: Mapping[str, Change | None],
        held: Mapping[RecordId, Record],
        sent: Mapping[str, SentRecord],
        index: int,
        seeds: bytes,
    ) -> list[Said]:
        """A line for each record of which there is something to say."""
        lines: list[Said] = []
        for place, (record_id, change) in enumerate(touched.items()):
            record = held.get(RecordId(record_id))
            if record is not None and record.issuer is not None:
                continue  # of another city: it does not travel on
            seed = seeds[place * SEED_BYTES : (place + 1) * SEED_BYTES]
            line = self._line(record_id, record, change, sent.get(record_id), index, seed)
            if line is not None:
                lines.append(line)
                index += 1
        return lines

    def _line(
        self, record_id: str, record: Record | None, change: Change | None, sent: SentRecord | None, index: int, seed: bytes
    ) -> Said | None:
        """What there is to say of one record: it changed, or its view has ended by time alone (no change)."""
        at = change.at if change is not None else self.now
        if self.recalling:
            hidden = record is None or self._shown(record) is None
            return self._withdraw(record_id, record, change, sent, at, index) if sent and hidden and record_id in self.still else None
        owed = sent is not None and sent.owed and self.snapshot and sent.epoch < self.head.epoch
        if sent is not None and sent.op == "erase" and not owed:
            return None
        if sent is not None and (record is None or record.state == "erased"):
            return self._withdraw(record_id, record, change, sent, at, index)  # also what was withdrawn before: it is still kept there
        shown = self._shown(record) if record is not None else None
        told = sent is not None and sent.op in ("assert", "amend") and sent.epoch == self.head.epoch
        if shown is None:  # who has forgotten what he was told has not forgotten what he owes
            return self._withdraw(record_id, record, change, sent, at, index) if sent and (told or (owed and self.lost)) else None
        if self.only_withdrawals:
            return None
        said, values, until = shown
        view_digest = self.digest_of_view(encode((said, values)))[:16]
        if told and sent is not None and sent.refused is None and sent.view_digest == view_digest:
            return None
        final = self._worded(said, record_id, record, sent, at, told=told)
        try:
            line = seal_statement(final, values, seed, self.suite)
        except ExchangeError as error:  # it fits into no line: what the partner has of it is not true any more
            self._leave_out(error.code)
            return self._withdraw(record_id, record, change, sent, at, index) if told and sent is not None else None
        return line, SentLine(
            record_id=record_id, v=final.v, op=line.op, idx=index, leaf=line.leaf, view_digest=view_digest, seed=seed, valid_until=until
        )

    def _worded(
        self, said: Statement, record_id: str, record: Record | None, sent: SentRecord | None, at: datetime, *, told: bool
    ) -> Statement:
        """The statement as it is made today: asserted or amended, under which version, and whether that takes a repair back."""
        lost = sent is not None and sent.refused is not None and (sent.op == "assert" or sent.refused == "SEQ_STATE")
        told_v, told_op = self.told.get(record_id, (0, ""))
        revoked = (told_op if sent is None or told_v > sent.v else sent.op) == "repair"
        return msgspec.structs.replace(
            said,
            v=self._next_version(record_id, record, sent),
            op="amend" if told and not lost else "assert",  # what the partner does not hold is not amended
            reason="repair_revoked" if revoked else None,
            at=instant(at),
            sd_alg=self.suite.digest_name,
        )

    def _next_version(self, record_id: str, record: Record | None, sent: SentRecord | None) -> int:
        """Higher than all that the partner was told of the record, under whichever agreement."""
        told = max(sent.v if sent is not None else 0, self.told.get(record_id, (0, ""))[0])
        return max(told + 1, record.version if record is not None else 1)

    def _shown(self, record: Record) -> tuple[Statement, list[tuple[str, Value]], datetime | None] | None:
        """What the agreement lets us say of a record today, without the moment of saying it; None when nothing."""
        plan = self.plans.plans.get(record.kind) if self.plans is not None else None
        seen = view(record, plan, self.policies, self.now, self.reach, keyed=self.pseudonyms) if plan is not None else None
        if seen is None:
            return None
        said = _statement(self.rules, seen)
        code = (
            "LAW_PERSON"
            if seen.kind != "legal" and not self.rules.persons
            else "SCHEMA_MISSING"
            if said is None
            else scope_fault(said, self.rules)
        )
        values = [*zip(self.names, map(seen.fields.get, self.ours), strict=True)]
        code = code or check_values(values, self.rules)
        if code is not None or said is None:
            self._leave_out(code or "SCHEMA_MISSING")
            return None
        if record.kind != "legal":
            self.people[record.record_id] = record.subject_id
        return said, self.rules.with_twins(values) if self.rules.twins else values, seen.valid_until

    def _leave_out(self, code: str) -> None:
        self.not_sent[code] = self.not_sent.get(code, 0) + 1

    def _withdraw(
        self, record_id: str, record: Record | None, change: Change | None, sent: SentRecord, at: datetime, index: int
    ) -> Said:
        op = _OP_OF_STATE.get(record.state, "retract") if record is not None else "erase"
        if record is not None and record.state == "in_force" and change is None:
            op = "expire"  # nothing was decided: time has ended its view
        reason = change.reason if change is not None and change.op == op and change.reason else _REASON_OF[op]
        if record is not None and record.state == "in_force":
            self.left_out.add(record_id)
        v = self._next_version(record_id, record, sent)
        line = seal_withdrawal(withdrawal(self.rules, rid=record_id, v=v, op=op, reason=reason, at=at), self.suite)
        return line, SentLine(record_id=record_id, v=v, op=op, idx=index, leaf=line.leaf, view_digest=b"", seed=None)


def _statement(rules: StreamRules, seen: View) -> Statement | None:
    """The clear part of what we say, out of a View; None when it does not say who decided, or when."""
    authority = seen.fields.get("authority_code") or seen.source_code
    name = seen.fields.get("authority") or seen.source_name
    if not isinstance(authority, str) or not isinstance(name, str) or seen.decision_date is None or not seen.basis:
        return None
    return statement(
        rules,
        rid=seen.record_id,
        category=seen.category,
        region=seen.region,
        subject_kind=seen.kind,
        authority=authority,
        authority_name=name[:200],
        decided_on=seen.decision_date,
        publish_until=seen.publish_until,
        dispute="objection_in_progress" in [mark.code for mark in seen.marks],
        basis=_grounds(seen.basis),
        trust=seen.trust,
    )


@lru_cache(maxsize=256)  # of a dataset nearly all records have the same
def _grounds(basis: tuple[BasisRef, ...]) -> tuple[Basis, ...]:
    return tuple(Basis(text=ground.text, uri=ground.uri, item=None) for ground in basis[:8])


def _gated(plan: Plan) -> frozenset[str]:
    """What the territory of a plan asks of a record."""
    return frozenset() if plan.rows is None else fields_of_rule(plan.rows)

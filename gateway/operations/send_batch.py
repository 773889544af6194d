"""Send a partner what changed: seal, write down, deliver, check the receipt, go on.

A batch out, in this order, and what a crash at each point means:
1. changes after the stream's cursor; does the agreement cover them today? View at the agreement's tier; an unchanged view is not
   sent again, a record that may no longer be shown is withdrawn from everybody who got it (a crash: nothing has happened yet)
2. head, manifest, notes, parts and cursor are committed in one transaction (a crash before it: nothing was sent)
3. the adapter delivers; the row says so before a byte leaves (a crash: the same bytes go again)
4. the receipt is checked: signature, batch, tree; only then is the batch acknowledged (a crash before it: delivered again, no
   second effect)

While an agreement is suspended or has ended, acknowledgements are too long overdue, or an operator holds the stream, only withdrawals are
sealed and the cursor stays; batches that were sealed before stay here too, and what only withdraws goes before them.
A fork of the receiver, or a receiver that knows more than we do, stops the stream until a person has looked. This story must not change a
record, and it never skips a number.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Literal

import msgspec
from msgspec import Struct

from gateway.adapter_contract import AdapterError, Part, PartnerAdapter, SealedBatch
from gateway.core.disclosure.obligations import strictest
from gateway.core.disclosure.plans import Plan, PlanSet, Policies
from gateway.core.disclosure.row_rules import Attributes, fields_of_rule
from gateway.core.disclosure.views import View, view
from gateway.core.errors import ExchangeError, StoreError
from gateway.core.exchange import feedback, notes
from gateway.core.exchange.agreements import StreamRules
from gateway.core.exchange.batches import Head, Manifest, Replaced, fitting, read_manifest, required_algorithms, seal
from gateway.core.exchange.feedback import Receipt
from gateway.core.exchange.merkle import CompactRange
from gateway.core.exchange.notes import SignedDocument
from gateway.core.exchange.records import (
    Basis,
    SealedLine,
    Statement,
    check_values,
    scope_fault,
    seal_statement,
    seal_withdrawal,
    statement,
    withdrawal,
)
from gateway.core.exchange.wire import SUITES, Suite, b64, batch_id, digest_text, encode, instant, origin
from gateway.core.records.model import Dataset, Record, RecordId, Value
from gateway.operations.backing_off import pause
from gateway.operations.believe_receipt import Reply, ask_for_receipts, believed, contradicts, read_reply, take_feedback
from gateway.operations.found_ours import found_ours
from gateway.operations.held_back import HELD, held_back
from gateway.operations.partners import Stream, exchange_signers, line_to, stream_at, streams_from, trusted_keys
from gateway.operations.pseudonym_keys import pseudonyms_for
from gateway.services import Services
from gateway.store import audit, changes, drops, holds, kept_parts, outbox, records
from gateway.store.changes import Change
from gateway.store.outbox import OutBatch, OutStream, SentLine, SentRecord
from gateway.store.store import Source

CHANGES_A_BATCH = 5_000
"""Changes read for one batch: bounds memory, and how long the receiver's transaction may last."""
SEED_BYTES = 32
UNEXPLAINED = "SIG_PART_MISSING"
"""Acknowledged, but the feedback file did not come along: the acknowledgements in it are still owed."""
STOPPED = "SCOPE_AGREEMENT"
"""The agreement does not let the batch leave now."""
LAID = "laid"
"""It lies in a shared folder now; its receipt will be found there."""
ELSEWHERE = "elsewhere"
"""Another process is delivering this batch just now."""
LONGEST_DELIVERY = timedelta(hours=1)
LONGEST_REPLY = 96 * 2**20
"""A receipt with the feedback of a million lines."""
HEARTBEAT = 0.75
"""After this share of `max_interval_h` without a batch an empty one is sealed: the receiver's knowledge must not look stale."""

_REASON_OF = {"retract": "no_longer_public", "repair": "repaired", "expire": "expired", "erase": "erased"}
_OP_OF_STATE: Mapping[str, Literal["retract", "repair", "expire", "erase"]] = {
    "retracted": "retract",
    "repaired": "repair",
    "expired": "expire",
    "erased": "erase",
}


class Sent(Struct, frozen=True, kw_only=True):
    """What one pass over one stream came to."""

    stream: str
    partner: str
    sealed: int
    """Batches sealed now."""
    lines: int
    not_sent: Mapping[str, int]
    """Records that the agreement does not let us send, by code."""
    delivered: int
    """Batches acknowledged now."""
    waiting: int
    """Batches not acknowledged yet."""
    state: Literal["idle", "acked", "waiting", "stopped"]
    code: str | None
    """Why it waits or has stopped."""
    seq: int
    size: int
    root: str


async def send_batch(services: Services, *, stream: str | None = None, deliver: bool = True, at_once: bool = False) -> list[Sent]:
    """Seal what changed for every stream of ours (or one), and deliver what is due; `at_once` does not wait for the retry schedule.

    Raises NoActivePolicy, SettingsError for a missing key or adapter, StoreError. What a partner does wrong is told, not raised.
    """
    await services.policies.fresh()
    streams = await streams_from(services.store.reads, services.signers.party, services.clock())
    return [await _send(services, found, deliver=deliver, at_once=at_once) for found in streams if stream is None or found.name == stream]


async def _send(services: Services, stream: Stream, *, deliver: bool, at_once: bool) -> Sent:
    sealed = lines = 0
    not_sent: dict[str, int] = {}
    while True:
        try:
            done = await seal_next(services, stream)
        except StoreError as error:
            if error.code != "stream-moved":
                raise
            break  # another process is at this stream: it seals what we would have sealed
        for why, count in done.not_sent.items():
            not_sent[why] = not_sent.get(why, 0) + count
        sealed += done.sealed
        lines += done.lines
        if not done.more:
            break
    delivered, code = await deliver_due(services, stream, at_once=at_once) if deliver else (0, None)
    await _purge(services, stream)
    out = await outbox.out_stream(services.store.reads, stream.name, _suite(stream))
    waiting = await outbox.waiting_batches(services.store.reads, stream.name)
    stopped = out.stopped if out is not None else None
    return Sent(
        stream=stream.name,
        partner=stream.receiver,
        sealed=sealed,
        lines=lines,
        not_sent=not_sent,
        delivered=delivered,
        waiting=len(waiting),
        state="stopped" if stopped else "waiting" if waiting else "acked" if delivered else "idle",
        code=stopped or code,
        seq=out.head.seq if out else 0,
        size=out.head.tree.size if out else 0,
        root=b64(out.head.tree.root()) if out else "",
    )


def _suite(stream: Stream) -> Suite:
    return SUITES[stream.rules.terms.wire.suite]


def _licence(policies: Policies, plans: PlanSet | None) -> str | None:
    """Address of the licence of what a stream sends."""
    if plans is None:
        return None
    licences = policies.catalogue.licences
    named = strictest((plan.obligations for plan in plans.plans.values()), tuple(licences)).license
    return None if named is None else licences[named].url


# --- sealing ----------------------------------------------------------------------------------------------------------


class Pass(Struct, frozen=True, kw_only=True):
    """One sealing: whether a batch came of it, and whether more changes wait."""

    sealed: int
    lines: int
    not_sent: Mapping[str, int]
    more: bool


_NOTHING = Pass(sealed=0, lines=0, not_sent={}, more=False)


async def seal_next(services: Services, stream: Stream) -> Pass:
    """Seal the next batch of a stream, if there is something to say or a sign of life is due.

    Raises StoreError, SettingsError key-missing.
    """
    now = services.clock()
    out = await outbox.out_stream(services.store.reads, stream.name, _suite(stream))
    if out is not None and out.stopped:
        return _NOTHING
    mode = await _mode(services, stream, out, now)
    if mode == "nothing" and not stream.governing.takes_withdrawals(now):
        return _NOTHING
    policies = services.policies.current()
    dataset = policies.catalogue.datasets.get(stream.rules.terms.dataset)  # type: ignore[call-overload]  # a DatasetId is a str
    plans = policies.plan_set(stream.rules.terms.dataset, stream.governing.local.tier, stream.rules.terms.purpose)
    work = _Sealing(services, stream, policies, dataset, plans, out, now, only_withdrawals=mode == "withdrawals")
    if out is not None and await outbox.in_flight(services.store.reads, out):
        old = await outbox.out_stream_at(services.store.reads, stream.name, out.head.epoch - 1, _suite(stream))
        if old is not None and not old.stopped:
            recall = _Sealing(services, stream, policies, dataset, plans, old, now, only_withdrawals=True)
            done = await recall.recall()
            if done.sealed:
                return msgspec.structs.replace(done, more=True)  # first the old epoch: the new one says the same under a higher version
            work.upto = recall.read_to
    return await work.run() if mode != "nothing" else _NOTHING


async def incomplete(source: Source, out: OutStream | None) -> bool:
    """Whether a stream is in a new epoch of which the last batch is not sealed yet."""
    if out is None or out.head.epoch == 1:
        return False
    last = await outbox.out_batch(source, out.head.stream, out.head.epoch, out.head.seq)
    return last is None or read_manifest(last.document.body).snapshot == "part"


async def _mode(services: Services, stream: Stream, out: OutStream | None, now: datetime) -> Literal["all", "withdrawals", "nothing"]:
    held = stream.governing
    standing = held.standing(now)
    holding = await holds.hold_on(services.store.reads, stream.sender, stream.name) is not None
    if await incomplete(services.store.reads, out):
        return "all" if standing.active and not holding else "nothing"  # an epoch is whole or does not come; it carries out what is overdue
    if standing.active:
        if holding:
            return "withdrawals"
        hours = held.agreement.terms.sla.stop_after_h
        late = await outbox.overdue(services.store.reads, stream.name, now=now, hours=hours) if hours else None
        return "withdrawals" if late is not None else "all"
    return "withdrawals" if held.takes_withdrawals(now) else "nothing"


class _Sealing:
    """One pass over the changes after the cursor."""

    def __init__(
        self,
        services: Services,
        stream: Stream,
        policies: Policies,
        dataset: Dataset | None,
        plans: PlanSet | None,
        out: OutStream | None,
        now: datetime,
        *,
        only_withdrawals: bool,
    ) -> None:
        self.services = services
        self.stream = stream
        self.rules: StreamRules = stream.rules
        self.policies = policies
        self.plans = plans
        self.out = out
        self.now = now
        self.only_withdrawals = only_withdrawals
        self.suite = _suite(stream)
        wires = {field.wire_name: name for name, field in dataset.fields.items()} if dataset is not None else {}
        self.fields = [(field.name, wires.get(field.name, "")) for field in stream.rules.terms.fields]
        """Of each agreed field its name on the wire and ours."""
        # the agreement in force is the grant, and its other side the one who asks
        org = stream.rules.agreement.party(stream.rules.terms.to).identity.org
        self.reach = Attributes(org_id=org, grant_regions=stream.rules.terms.scope.regions)
        vault = services.store.vault
        self.pseudonyms = pseudonyms_for(vault, stream.rules.terms.to, stream.rules.terms.purpose, now)
        self.digest_of_view = vault.digester("exchange-view")
        # without a plan nothing may be shown any more: everything that was sent is withdrawn
        self.plan = digest_text(f"{plans.hash if plans is not None else None}|{stream.governing.agreement.digest}".encode())
        self.licence = _licence(policies, plans)
        self.replaces: Replaced | None = None
        """Of the first batch of a new epoch: the head that it replaces."""
        self.snapshot = False
        """The epoch is not whole yet: everything is said anew."""
        self.upto: int | None = None
        """While the old epoch is told of withdrawals too: the last change that it has looked at."""
        self.read_to = 0
        """Of a pass for the old epoch: the last change that it has looked at."""
        self.recalling = False
        """The pass withdraws in the old epoch what the partner still holds by it."""
        self.still: frozenset[str] = frozenset()
        """Of such a pass: records that the old epoch has told of, and not withdrawn."""
        self.not_sent: dict[str, int] = {}
        self.people: dict[str, str] = {}
        """Record → subject, of those about persons and households: whom the audit names."""

    @property
    def head(self) -> Head:
        """Where the stream stands; the beginning of epoch 1 before its first batch."""
        if self.out is not None:
            return self.out.head
        return Head(stream=self.stream.name, epoch=1, seq=0, tree=CompactRange(self.suite), manifest_digest=None)

    async def run(self) -> Pass:
        """Read what changed, and seal a batch of it, or only move the cursor."""
        await self._look_at_epoch()
        start = self.out.cursor if self.out is not None and self.out.plan == self.plan else 0
        if self.only_withdrawals:
            return await self._withdrawals_after(start)
        found = await changes.after(self.services.store.reads, start, CHANGES_A_BATCH)
        more = len(found) == CHANGES_A_BATCH
        if self.upto is not None and found and found[-1].seq > self.upto:
            found, more = [change for change in found if change.seq <= self.upto], False
        to = found[-1].seq if found else start
        lines = await self._lines(await self._touched(found))
        if lines or (self.snapshot and not more) or await self._heartbeat_due(more):
            return await self._commit(lines, to, more)
        if self.out is None or (to, self.plan) != (self.out.cursor, self.out.plan):
            async with self.services.store.transaction() as tx:  # nothing to say of these: only the cursor goes on
                await outbox.move_cursor(tx, self.out, self.head, cursor=to, plan=self.plan)
        return Pass(sealed=0, lines=0, not_sent=self.not_sent, more=more)

    async def _look_at_epoch(self) -> None:
        head = self.head
        if head.epoch == 1:
            return
        reads = self.services.store.reads
        self.snapshot = await incomplete(reads, self.out)
        if head.seq == 0:
            old = await outbox.replaced_head(reads, head.stream, head.epoch, self.suite)
            assert old is not None  # noqa: S101  # an epoch follows another one
            where = origin(self.stream.sender, old.stream, old.epoch)
            self.replaces = Replaced(origin=where, size=old.tree.size, root=b64(old.tree.root()))

    async def _withdrawals_after(self, start: int) -> Pass:
        """Only what must disappear, from everything after the cursor; the cursor stays for the day when all may be said again."""
        position, lines = start, list[tuple[SealedLine, SentLine]]()
        while len(lines) < CHANGES_A_BATCH:
            found = await changes.after(self.services.store.reads, position, CHANGES_A_BATCH)
            lines += await self._lines(await self._touched(found), len(lines))
            if len(found) < CHANGES_A_BATCH:
                break
            position = found[-1].seq
        return await self._commit(lines, start, more=False) if lines else _NOTHING

    async def recall(self) -> Pass:
        """What must disappear while the next epoch is on its way, said in this one; its cursor goes on, for nothing else is said here."""
        assert self.out is not None  # noqa: S101  # an old epoch has its row
        self.recalling = True
        position = self.out.cursor if self.out.plan == self.plan else 0
        lines: list[tuple[SealedLine, SentLine]] = []
        more = True
        while more and len(lines) < CHANGES_A_BATCH:
            found = await changes.after(self.services.store.reads, position, CHANGES_A_BATCH)
            lines += await self._lines(await self._touched(found), len(lines))
            position = found[-1].seq if found else position
            more = len(found) == CHANGES_A_BATCH
        self.read_to = position
        if lines:
            return await self._commit(lines, position, more=more)
        if (position, self.plan) != (self.out.cursor, self.out.plan):
            async with self.services.store.transaction() as tx:
                await outbox.move_old_cursor(tx, self.out, self.head, cursor=position, plan=self.plan)
        return Pass(sealed=0, lines=0, not_sent={}, more=more)

    async def _touched(self, found: Sequence[Change]) -> dict[str, Change | None]:
        """Records that changed, with the last change, and records whose view time alone may have ended."""
        touched: dict[str, Change | None] = {change.record_id: change for change in found if change.dataset == self.rules.terms.dataset}
        for record_id in await outbox.sent_due(self.services.store.reads, self.stream.name, self.now, CHANGES_A_BATCH):
            touched.setdefault(record_id, None)
        return touched

    async def _heartbeat_due(self, more: bool) -> bool:
        if more:
            return False
        if self.out is None:
            return True
        last = await outbox.out_batch(self.services.store.reads, self.stream.name, self.out.head.epoch, self.out.head.seq)
        return last is None or self.now - last.created >= timedelta(hours=self.rules.terms.max_interval_h * HEARTBEAT)

    async def _lines(self, touched: Mapping[str, Change | None], before: int = 0) -> list[tuple[SealedLine, SentLine]]:
        reads = self.services.store.reads
        ids = [RecordId(record_id) for record_id in touched]
        columns = frozenset() if self.plans is None else self.plans.columns.union(*map(_gated, self.plans.plans.values()))
        texts = frozenset() if self.plans is None else frozenset[str]().union(*(plan.whole_texts for plan in self.plans.plans.values()))
        loaded = await records.load(reads, ids=ids, fields=columns, texts=texts) if ids else []
        held = {record.record_id: record for record in loaded}
        sent = await outbox.sent_records(reads, self.stream.name, ids)
        for record_id, recalled in (await outbox.recalled(reads, self.stream.name, ids)).items():
            if record_id in sent:  # what the old epoch was told has taken its version
                sent[record_id] = msgspec.structs.replace(sent[record_id], v=max(sent[record_id].v, recalled.v))
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
        told = await outbox.said_in(reads, self.stream.name, epoch, ids)
        recalled = await outbox.recalled(reads, self.stream.name, ids)

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
    ) -> list[tuple[SealedLine, SentLine]]:
        """A line for each record of which there is something to say."""
        lines: list[tuple[SealedLine, SentLine]] = []
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
    ) -> tuple[SealedLine, SentLine] | None:
        if self.recalling:
            hidden = record is None or self._shown(record) is None
            at = change.at if change is not None else self.now
            return self._withdraw(record_id, record, change, sent, at, index) if sent and hidden and record_id in self.still else None
        if sent is not None and sent.op == "erase":
            return None
        if sent is not None and (record is None or record.state == "erased"):
            at = change.at if change is not None else self.now
            return self._withdraw(record_id, record, change, sent, at, index)  # also what was withdrawn before: it is still kept there
        shown = self._shown(record) if record is not None else None
        at = change.at if change is not None else self.now
        told = sent is not None and sent.op in ("assert", "amend") and sent.epoch == self.head.epoch
        if shown is None:
            return self._withdraw(record_id, record, change, sent, at, index) if told and sent is not None else None
        if self.only_withdrawals:
            return None
        said, values, until = shown
        view_digest = self.digest_of_view(encode((msgspec.structs.replace(said, at=""), values)))[:16]
        if told and sent is not None and sent.refused is None and sent.view_digest == view_digest:
            return None
        again = told and sent is not None and not (sent.refused is not None and sent.op == "assert")
        revoked = sent is not None and sent.op == "repair"
        v = max((sent.v if sent is not None else 0) + 1, record.version if record is not None else 1)
        final = msgspec.structs.replace(
            said, v=v, op="amend" if again else "assert", reason="repair_revoked" if revoked else None, at=instant(at)
        )
        try:
            line = seal_statement(final, values, seed, self.suite)
        except ExchangeError as error:  # it fits into no line: what the partner has of it is not true any more
            self._leave_out(error.code)
            return self._withdraw(record_id, record, change, sent, at, index) if told and sent is not None else None
        return line, SentLine(
            record_id=record_id, v=v, op=line.op, idx=index, leaf=line.leaf, view_digest=view_digest, seed=seed, valid_until=until
        )

    def _shown(self, record: Record) -> tuple[Statement, list[tuple[str, Value]], datetime | None] | None:
        """What the agreement lets us say of a record today; None when nothing."""
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
        shown = seen.fields.get
        values = [(name, shown(ours)) for name, ours in self.fields]
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
    ) -> tuple[SealedLine, SentLine]:
        op = _OP_OF_STATE.get(record.state, "retract") if record is not None else "erase"
        if record is not None and record.state == "in_force" and change is None:
            op = "expire"  # nothing was decided: time has ended its view
        reason = change.reason if change is not None and change.op == op and change.reason else _REASON_OF[op]
        v = max(sent.v + 1, record.version if record is not None else 1)
        line = seal_withdrawal(withdrawal(self.rules, rid=record_id, v=v, op=op, reason=reason, at=at), self.suite)
        return line, SentLine(record_id=record_id, v=v, op=op, idx=index, leaf=line.leaf, view_digest=b"", seed=None)

    async def _commit(self, lines: Sequence[tuple[SealedLine, SentLine]], to: int, more: bool) -> Pass:
        limit = fitting([line for line, _ in lines], self.rules.agreement.terms.limits)
        if len(lines) > limit:
            return await self._commit_part(lines[:limit], more=True)
        sealed = await asyncio.to_thread(
            seal,
            self.head,
            [line for line, _ in lines],
            self.rules,
            exchange_signers(self.services, self.now, required_algorithms(self.rules)),
            policy_version=self.policies.version,
            created=self.now,
            snapshot=("part" if more else "last") if self.snapshot else "none",
            replaces=self.replaces,
            licence=self.licence,
        )
        withdrawals = sum(line.op not in ("assert", "amend") for line, _ in lines)
        async with self.services.store.transaction() as tx:
            again = await stream_at(tx, self.stream.name, self.stream.sender, tx.now)
            if (
                again is None
                or again.governing.agreement.digest != self.stream.governing.agreement.digest
                or (not again.governing.standing(tx.now).active and not sealed.manifest.only_withdrawals)
            ):
                raise StoreError("the agreement has changed meanwhile", code="stream-moved", place=self.stream.name)
            said = [sent for _, sent in lines]
            if self.recalling and self.out is not None:
                await outbox.commit_recall(tx, self.out, sealed, said, cursor=to, plan=self.plan)
            else:
                await outbox.commit_batch(tx, self.out, sealed, said, cursor=to, plan=self.plan, withdrawals=withdrawals)
            erased = [line.rid for line, _ in lines if line.op == "erase"]
            if erased:
                await kept_parts.purge_records(tx, self.stream.name, erased)
            await audit.write(
                tx,
                "gateway",
                "batch.seal",
                f"batch/{sealed.manifest.id}",
                {
                    "lines": len(lines),
                    "withdrawals": withdrawals,
                    "digest": sealed.digest,
                    "policy_version": self.policies.version,
                },
                subjects=[self.people[line.rid] for line, _ in lines if line.rid in self.people] or None,
            )
        return Pass(sealed=1, lines=len(lines), not_sent=self.not_sent, more=more)

    async def _commit_part(self, lines: Sequence[tuple[SealedLine, SentLine]], *, more: bool) -> Pass:
        """More lines than a batch may have: the cursor stays, the rest comes with the next pass, where these are unchanged."""
        return await self._commit(lines, self.out.cursor if self.out is not None and self.out.plan == self.plan else 0, more)


def _statement(rules: StreamRules, seen: View) -> Statement | None:
    """The clear part of what we say, out of a View; None when it does not say who decided, or when."""
    authority = seen.fields.get("authority_code") or seen.source_code
    name = seen.fields.get("authority") or seen.source_name
    if not isinstance(authority, str) or not isinstance(name, str) or seen.decision_date is None or not seen.basis:
        return None
    return statement(
        rules,
        rid=seen.record_id,
        v=1,
        op="assert",
        category=seen.category,
        region=seen.region,
        subject_kind=seen.kind,
        authority=authority,
        authority_name=name[:200],
        decided_on=date.fromisoformat(seen.decision_date),
        publish_until=seen.publish_until,
        dispute=any(mark.code == "objection_in_progress" for mark in seen.marks),
        reason=None,
        basis=[Basis(text=ground.text, uri=ground.uri, item=None) for ground in seen.basis[:8]],
        trust=seen.trust,
        at=seen.received_at,
    )


# --- delivery ---------------------------------------------------------------------------------------------------------


async def deliver_due(services: Services, stream: Stream, *, at_once: bool = False) -> tuple[int, str | None]:
    """Deliver the batches of a stream that are due, in order, until one is not acknowledged: (acknowledged now, code).

    Raises SettingsError for a missing adapter, StoreError.
    """
    reads, now = services.store.reads, services.clock()
    waiting = await outbox.waiting_batches(reads, stream.name)
    unexplained = [
        batch
        for batch in await outbox.acknowledged_with(reads, stream.name, UNEXPLAINED)
        if (at_once or batch.next_attempt_at is None or batch.next_attempt_at <= now) and _may_leave(stream, batch, now)
    ]
    out = await outbox.out_stream(reads, stream.name, _suite(stream))
    news = await outbox.awaits_news(reads, stream.name)
    if not (waiting or unexplained or news) or out is None or out.stopped:
        return 0, None
    if stream.rules.terms.wire.delivery == "pull":
        async with services.store.transaction() as tx:
            await outbox.publish(tx, stream.name)  # `show_exchange` gives only what may leave
        return 0, None  # the partner fetches, and brings its receipts
    _, keys = await trusted_keys(reads, stream.governing, stream.receiver)
    if keys is not None and keys.maintenance is not None and keys.maintenance.now(now):
        return 0, "MAINTENANCE"  # announced: nothing is tried before it is over
    acknowledged, kept = 0, None
    lies = await drops.laid(reads, stream.name) if stream.rules.terms.wire.delivery == "drop" else {}
    async with line_to(services, stream.governing, stream.receiver) as line:
        if news and stream.rules.terms.wire.delivery != "drop":  # in a folder every receipt is found by whoever looks there
            await ask_for_receipts(services, stream, line)
        for batch in unexplained:
            await _explain(services, stream, line, batch)
        behind: set[int] = set()
        hurried = _hurried(waiting)
        for batch in _in_order(waiting):
            if batch.epoch in behind:
                continue
            if batch.code == outbox.STAGED or lies.get((batch.epoch, batch.seq)):
                continue
            may_leave = _may_leave(stream, batch, services.clock())
            if not may_leave or await held_back(reads, stream.sender, batch):
                kept = HELD if may_leave else STOPPED
                if batch.seq == 1 and batch.epoch == out.head.epoch:
                    behind.add(batch.epoch - 1)  # it names the head it replaces: nothing may lengthen that before it has arrived
                continue  # what only withdraws goes before it: the receiver takes it so
            waits = batch.next_attempt_at is not None and services.clock() < batch.next_attempt_at
            if waits and not at_once and batch.seq > hurried.get(batch.epoch, 0):
                if (batch.epoch, batch.seq) in lies:
                    continue
                if batch.epoch < out.head.epoch:
                    behind.add(batch.epoch)
                    continue
                return acknowledged, batch.code
            code = await _deliver(services, stream, line, batch)
            if code == LAID:
                continue
            if code in (STOPPED, HELD) or (kept is not None and code == "SEQ_GAP"):
                kept = kept or code
                continue
            if code in ("HOLD_RATE", "held") and batch.seq < hurried.get(batch.epoch, 0):
                kept = code
                continue  # behind it stands a withdrawal, which takes effect whatever a person there decides
            if code is not None and batch.epoch < out.head.epoch:
                behind.add(batch.epoch)  # the new epoch does not wait for the old one
                continue
            if code is not None:
                return acknowledged, code
            acknowledged += 1
    return acknowledged, kept


def _in_order(waiting: Sequence[OutBatch]) -> list[OutBatch]:
    """By epoch and number; what the old epoch says after the new one began goes behind the batch that names the head it replaces."""
    begins = next((batch for batch in waiting if batch.seq == 1 and batch.epoch > 1), None)
    replaced = read_manifest(begins.document.body).replaces if begins is not None else None
    if begins is None or replaced is None:
        return list(waiting)

    def place(batch: OutBatch) -> tuple[int, int, int]:
        if batch.epoch == begins.epoch:
            return (1 if batch.seq == 1 else 3), batch.epoch, batch.seq
        return (0 if read_manifest(batch.document.body).tree.size <= replaced.size else 2), batch.epoch, batch.seq

    return sorted(waiting, key=place)


def _hurried(waiting: Sequence[OutBatch]) -> dict[int, int]:
    """By epoch the last batch with withdrawals that was never tried: it, and what stands before it, waits for no schedule."""
    return {batch.epoch: batch.seq for batch in waiting if batch.withdrawals and batch.attempts == 0}


def _may_leave(stream: Stream, batch: OutBatch, now: datetime) -> bool:
    """Whether the agreement lets a sealed batch leave: while it is suspended, or has ended, only what withdraws and nothing else."""
    return stream.governing.lets_through(now, only_withdrawals=read_manifest(batch.document.body).only_withdrawals)


async def _deliver(services: Services, stream: Stream, line: PartnerAdapter, batch: OutBatch) -> str | None:
    """One attempt; None when the batch is acknowledged now, else why not."""
    manifest = read_manifest(batch.document.body)
    parts = dict(await outbox.out_parts_of(services.store.reads, batch.stream, batch.epoch, batch.seq))
    if len(parts) != len(manifest.parts):
        return await _stop(services, batch, "SEQ_CLOSED")
    async with services.store.transaction() as tx:
        now = await stream_at(tx, stream.name, stream.sender, tx.now)
        if now is None or not _may_leave(now, batch, tx.now):
            return STOPPED  # since we looked
        if await held_back(tx, stream.sender, batch):
            return HELD
        mine = await outbox.begin_delivery(tx, batch, next_attempt_at=tx.now + pause(batch.attempts))
    if not mine:
        return batch.code or ELSEWHERE
    try:
        reply = await _guarded(line, _sealed(manifest, batch, parts))
        if reply is None and stream.rules.terms.wire.delivery == "drop":
            return await _laid(services, batch)
        return await take_reply(services, stream, batch, manifest, read_reply(_given(reply)))
    except AdapterError as error:
        if error.outcome_unknown and "idempotent" not in line.capabilities:
            return await _stop(services, batch, "UNAVAILABLE")
        if error.code == "SEQ_FORK" and await _was_ours(services, stream, line, batch):
            return await _stop(services, batch, error.code)  # another batch of ours has this number there: we were restored from a backup
        return await _wait(services, batch, error.code)
    except ExchangeError as error:
        return await _wait(services, batch, error.code)  # an answer that does not verify moves nothing beyond a retry


async def _explain(services: Services, stream: Stream, line: PartnerAdapter, batch: OutBatch) -> None:
    """Ask again for the feedback of a batch that is acknowledged: the same batch brings the same receipt, and this time its lines."""
    manifest = read_manifest(batch.document.body)
    parts = dict(await outbox.out_parts_of(services.store.reads, batch.stream, batch.epoch, batch.seq))
    try:
        if len(parts) != len(manifest.parts) or "idempotent" not in line.capabilities:
            raise AdapterError(UNEXPLAINED, "the batch cannot be shown again", transient=False)
        said = read_reply(_given(await _guarded(line, _sealed(manifest, batch, parts))))
        receipt = await _check_receipt(services, stream, batch, said.document, services.clock())
        if said.feedback is None or await contradicts(services, stream, receipt, digest_text(said.document.body, _suite(stream))):
            raise ExchangeError("the feedback is still missing", code=UNEXPLAINED)
        lines = feedback.read_feedback(said.feedback, receipt.feedback, _suite(stream))
    except (AdapterError, ExchangeError):
        async with services.store.transaction() as tx:
            await outbox.put_off(tx, batch, next_attempt_at=tx.now + pause(batch.attempts))
        return
    async with services.store.transaction() as tx:
        digest = digest_text(said.document.body, _suite(stream))
        await outbox.put_received_receipt(tx, stream.name, receipt.no, digest, said.document, said.feedback)
        await take_feedback(tx, stream.name, lines)
        await outbox.put_off(tx, batch, next_attempt_at=None)


async def _was_ours(services: Services, stream: Stream, line: PartnerAdapter, batch: OutBatch) -> bool:
    try:
        return await found_ours(services, stream, line, batch)
    except AdapterError:
        return False  # the next attempt looks again


async def _laid(services: Services, batch: OutBatch) -> str:
    async with services.store.transaction() as tx:
        await drops.was_laid(tx, batch)
        await outbox.end_delivery(tx, batch, state="published", code=None)
    return LAID


async def _guarded(line: PartnerAdapter, sealed: SealedBatch) -> bytes | None:
    """What the guest brings back, within time and size; whatever else it does is a permanent failure of its line alone.

    Raises AdapterError.
    """
    try:
        async with asyncio.timeout(LONGEST_DELIVERY.total_seconds()):
            reply = await line.deliver(sealed)
    except AdapterError:
        raise
    except TimeoutError as error:
        raise AdapterError("UNAVAILABLE", "the line did not come back in time", transient=True, outcome_unknown=True) from error
    except Exception as error:  # a guest may raise anything; the other streams must go on
        raise AdapterError("UNAVAILABLE", f"the adapter failed: {type(error).__name__}", transient=False) from error
    if isinstance(reply, bytes) and len(reply) > LONGEST_REPLY:
        raise AdapterError("SIZE_BYTES", "the line returned too much", transient=False)
    return reply


def _given(reply: bytes | None) -> bytes:
    if not isinstance(reply, bytes):
        raise AdapterError("UNAVAILABLE", "the line returned no receipt", transient=True)
    return reply


def _sealed(manifest: Manifest, batch: OutBatch, parts: Mapping[str, bytes]) -> SealedBatch:
    def part(name: str, data: bytes, digest: str) -> Part:
        def read() -> Iterator[bytes]:
            for at in range(0, len(data), 65536):
                yield data[at : at + 65536]

        return Part(name=name, size=len(data), digest=digest, read=read)

    return SealedBatch(
        batch=manifest.id,
        manifest=batch.document.body,
        manifest_note=batch.document.note.encode(),
        checkpoint=batch.checkpoint.encode(),
        parts=tuple(part(entry.name, parts[entry.name], entry.digest) for entry in manifest.parts),
    )


async def _wait(services: Services, batch: OutBatch, code: str) -> str:
    async with services.store.transaction() as tx:
        await outbox.end_delivery(tx, batch, state="waiting", code=code, next_attempt_at=tx.now + pause(batch.attempts))
    return code


async def _stop(services: Services, batch: OutBatch, code: str) -> str:
    async with services.store.transaction() as tx:
        await outbox.end_delivery(tx, batch, state="waiting", code=code)
        await outbox.stop_stream(tx, batch.stream, batch.epoch, code)
        await audit.write(tx, "gateway", "stream.stop", f"stream/{batch.stream}", {"code": code, "seq": batch.seq})
    return code


# --- receipts ---------------------------------------------------------------------------------------------------------


def _gated(plan: Plan) -> frozenset[str]:
    """What the territory of a plan asks of a record."""
    return frozenset() if plan.rows is None else fields_of_rule(plan.rows)


async def take_reply(services: Services, stream: Stream, batch: OutBatch, manifest: Manifest, said: Reply) -> str | None:
    """Check a receipt and do what it says; None when it acknowledges the batch.

    Raises ExchangeError for what does not verify: then nothing has moved.
    """
    now = services.clock()
    receipt = await _check_receipt(services, stream, batch, said.document, now)
    lines = feedback.read_feedback(said.feedback, receipt.feedback, _suite(stream)) if said.feedback is not None else None
    digest = digest_text(said.document.body, _suite(stream))
    if await contradicts(services, stream, receipt, digest):
        return await _stop(services, batch, "SEQ_FORK")  # a fork of the receiver
    out = await outbox.out_stream(services.store.reads, stream.name, _suite(stream))
    if out is not None and receipt.tree.epoch == out.head.epoch and receipt.tree.size > out.head.tree.size:
        return await _stop(services, batch, "SEQ_ROOT")  # the partner knows more than we do: we were restored from a backup
    if receipt.result in ("applied", "partial") and (
        receipt.tree.size < manifest.tree.size or (receipt.tree.size == manifest.tree.size and receipt.tree.root != manifest.tree.root)
    ):
        return await _stop(services, batch, "SEQ_FORK")
    acked = receipt.result in ("applied", "partial")
    staged = receipt.result == "quarantined" and receipt.code is None and manifest.snapshot == "part"
    refused = receipt.result in ("rejected", "frozen")
    unexplained = acked and lines is None and receipt.feedback.lines > 0
    async with services.store.transaction() as tx:
        await outbox.put_received_receipt(tx, stream.name, receipt.no, digest, said.document, said.feedback)
        await outbox.end_delivery(
            tx,
            batch,
            state="acked" if acked else "nacked" if refused else "waiting",
            code=UNEXPLAINED if unexplained else outbox.STAGED if staged else receipt.code,
            receipt=notes.envelope(said.document),
            next_attempt_at=tx.now + pause(batch.attempts) if unexplained or not (acked or refused) else None,
        )
        if lines is not None and acked:
            await take_feedback(tx, stream.name, lines)
        if acked and manifest.snapshot == "last":
            await outbox.finish_epoch(tx, stream.name, batch.epoch, notes.envelope(said.document))
        if receipt.code == "SEQ_GAP" and manifest.snapshot != "none":
            await outbox.unstage(tx, stream.name, batch.epoch)
        if refused:
            await outbox.stop_stream(tx, stream.name, batch.epoch, receipt.code or receipt.result)
        await audit.write(
            tx,
            f"partner/{stream.receiver}",
            "batch.receipt",
            f"batch/{manifest.id}",
            {
                "no": receipt.no,
                "result": receipt.result,
                "code": receipt.code,
                "accepted": receipt.counts.accepted,
                "rejected": receipt.counts.rejected,
            },
        )
    return None if acked or staged else receipt.code or receipt.result


async def _check_receipt(services: Services, stream: Stream, batch: OutBatch, document: SignedDocument, now: datetime) -> Receipt:
    """The receipt, if the partner signed it about this batch.

    Raises ExchangeError SIG_*, SCHEMA_* or SIG_CONTEXT.
    """
    receipt = await believed(services, stream, document, now)
    about = receipt.batch
    if about is None or (about.epoch, about.seq, about.manifest) != (batch.epoch, batch.seq, batch.digest):
        raise ExchangeError(
            "a receipt of another batch", code="SIG_CONTEXT", place=batch_id(services.signers.party, stream.name, batch.epoch, batch.seq)
        )
    return receipt


async def _purge(services: Services, stream: Stream) -> None:
    """Parts of batches acknowledged longer ago than agreed are not kept."""
    days = stream.governing.agreement.terms.retention.parts_days
    before = services.clock() - timedelta(days=days)
    if await outbox.has_old_parts(services.store.reads, stream.name, before):
        async with services.store.transaction() as tx:
            await outbox.purge_parts(tx, stream.name, acked_before=before)

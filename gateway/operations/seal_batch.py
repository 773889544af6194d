"""Seal what changed into the next batch of a stream: read, view, say, write down; nothing leaves here.

Changes after the stream's cursor are seen through the agreement's tier. An unchanged view is not sent again, a record that may no longer be
shown is withdrawn from everybody who got it. Head, manifest, notes, parts and cursor are committed in one transaction (a crash before it:
nothing was sent). While only withdrawals may be said the cursor stays, for the day when all may be said again. This story must not change
a record, and it never skips a number.
"""

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import islice
from typing import Literal

import msgspec
from msgspec import Struct

from gateway.core.disclosure.obligations import strictest
from gateway.core.disclosure.plans import Plan, PlanSet, Policies
from gateway.core.disclosure.row_rules import Attributes, fields_of_rule
from gateway.core.disclosure.views import View, view
from gateway.core.errors import ExchangeError, StoreError
from gateway.core.exchange.admitting import required_algorithms
from gateway.core.exchange.agreements import StreamRules
from gateway.core.exchange.manifests import Head, Replaced, read_manifest
from gateway.core.exchange.merkle import CompactRange
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
from gateway.core.exchange.sealing import fitting, seal
from gateway.core.exchange.wire import b64, digest_text, encode, instant, origin
from gateway.core.records.model import BasisRef, Dataset, Record, RecordId, Value
from gateway.operations.compare_heads import BEHIND, partners_head
from gateway.operations.partners import Stream, exchange_signers, stream_at, streams_beside
from gateway.operations.pseudonym_keys import pseudonyms_for
from gateway.operations.record_access import treatments_of
from gateway.operations.render_public import IN_LOOP, uncollected
from gateway.services import Services
from gateway.store import audit, changes, holds, kept_parts, ledger, outbox, records
from gateway.store.changes import Change
from gateway.store.ledger import SentRecord
from gateway.store.outbox import OutStream, SentLine
from gateway.store.store import Source, Transaction

CHANGES_A_BATCH = 5_000
"""Changes read for one batch: bounds memory, and how long the receiver's transaction may last."""
CHUNK = 1_000
"""Records read, seen and said at a time."""
SEED_BYTES = 32
PARTS_AT_ONCE = 4
"""Parts of one batch that are compressed at the same time."""
HEARTBEAT = 0.75
"""After this share of `max_interval_h` without a batch an empty one is sealed: the receiver's knowledge must not look stale."""

_REASON_OF = {"retract": "no_longer_public", "repair": "repaired", "expire": "expired", "erase": "erased"}
_OP_OF_STATE: Mapping[str, Literal["retract", "repair", "expire", "erase"]] = {
    "retracted": "retract",
    "repaired": "repair",
    "expired": "expire",
    "erased": "erase",
}


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
    out = await outbox.out_stream(services.store.reads, stream.name, stream.suite)
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
        old = await outbox.out_stream_at(services.store.reads, stream.name, out.head.epoch - 1, stream.suite)
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
        late = await ledger.overdue(services.store.reads, stream.name, now=now, hours=hours) if hours else None
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
        self.suite = stream.suite
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
        self.beside: list[str] | None = None
        """Streams of other agreements in which the partner was told of this dataset; None: not looked for yet."""
        self.told: Mapping[str, tuple[int, str]] = {}
        """Highest version, and op, of what those said of the records at hand."""
        self.left_out: set[str] = set()
        """Records in force that are withdrawn because this agreement does not let us say them any more: others may."""
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
        found = await self._changes_after(start)
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
            old = await outbox.out_stream_at(reads, head.stream, head.epoch - 1, self.suite)
            assert old is not None  # noqa: S101  # an epoch follows another one
            size, root = old.head.tree.size, b64(old.head.tree.root())
            known = await partners_head(reads, head.stream)
            if known is not None and known.epoch == old.head.epoch and (known.size > size or old.stopped == BEHIND):
                size, root = known.size, known.root  # we were restored: it holds what we have forgotten
            self.replaces = Replaced(origin=origin(self.stream.sender, old.head.stream, old.head.epoch), size=size, root=root)

    async def _withdrawals_after(self, start: int) -> Pass:
        """Only what must disappear, from everything after the cursor; the cursor stays for the day when all may be said again."""
        position, lines = start, list[tuple[SealedLine, SentLine]]()
        while len(lines) < CHANGES_A_BATCH:
            found = await self._changes_after(position)
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
            found = await self._changes_after(position)
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

    async def _changes_after(self, position: int) -> list[Change]:
        with uncollected(big=True):
            return await changes.after(self.services.store.reads, position, CHANGES_A_BATCH)

    async def _touched(self, found: Sequence[Change]) -> dict[str, Change | None]:
        """Records that changed, with the last change, and records whose view time alone may have ended."""
        touched: dict[str, Change | None] = {change.record_id: change for change in found if change.dataset == self.rules.terms.dataset}
        for record_id in await ledger.sent_due(self.services.store.reads, self.stream.name, self.now, CHANGES_A_BATCH):
            touched.setdefault(record_id, None)
        return touched

    async def _heartbeat_due(self, more: bool) -> bool:
        if more:
            return False
        if self.out is None:
            return True
        last = await outbox.out_batch(self.services.store.reads, self.stream.name, self.out.head.epoch, self.out.head.seq)
        return last is None or self.now - last.created >= timedelta(hours=self.rules.terms.max_interval_h * HEARTBEAT)

    async def _created(self) -> datetime:
        """Now, but never so long before the batch before it that no receiver would take it: our clock may have been ahead."""
        if self.out is None or self.head.seq == 0:
            return self.now
        last = await outbox.out_batch(self.services.store.reads, self.stream.name, self.head.epoch, self.head.seq)
        return self.now if last is None else max(self.now, last.created - self.rules.agreement.skew)

    async def _lines(self, touched: Mapping[str, Change | None], before: int = 0) -> list[tuple[SealedLine, SentLine]]:
        """What there is to say of these records, behind so many lines of the batch; they are in memory a chunk at a time."""
        lines: list[tuple[SealedLine, SentLine]] = []
        changed = iter(touched.items())
        while chunk := dict(islice(changed, CHUNK)):
            with uncollected(len(chunk) > IN_LOOP):
                lines += await self._lines_of(chunk, before + len(lines))
        return lines

    async def _lines_of(self, touched: Mapping[str, Change | None], before: int) -> list[tuple[SealedLine, SentLine]]:
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
        view_digest = self.digest_of_view(encode((said, values)))[:16]
        if told and sent is not None and sent.refused is None and sent.view_digest == view_digest:
            return None
        lost = sent is not None and sent.refused is not None and (sent.op == "assert" or sent.refused == "SEQ_STATE")
        again = told and not lost  # what the partner does not hold is not amended
        told_v, told_op = self.told.get(record_id, (0, ""))
        revoked = (told_op if sent is None or told_v > sent.v else sent.op) == "repair"
        v = self._next_version(record_id, record, sent)
        final = msgspec.structs.replace(
            said,
            v=v,
            op="amend" if again else "assert",
            reason="repair_revoked" if revoked else None,
            at=instant(at),
            sd_alg=self.suite.digest_name,
        )
        try:
            line = seal_statement(final, values, seed, self.suite)
        except ExchangeError as error:  # it fits into no line: what the partner has of it is not true any more
            self._leave_out(error.code)
            return self._withdraw(record_id, record, change, sent, at, index) if told and sent is not None else None
        return line, SentLine(
            record_id=record_id, v=v, op=line.op, idx=index, leaf=line.leaf, view_digest=view_digest, seed=seed, valid_until=until
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
    ) -> tuple[SealedLine, SentLine]:
        op = _OP_OF_STATE.get(record.state, "retract") if record is not None else "erase"
        if record is not None and record.state == "in_force" and change is None:
            op = "expire"  # nothing was decided: time has ended its view
        reason = change.reason if change is not None and change.op == op and change.reason else _REASON_OF[op]
        if record is not None and record.state == "in_force":
            self.left_out.add(record_id)
        v = self._next_version(record_id, record, sent)
        line = seal_withdrawal(withdrawal(self.rules, rid=record_id, v=v, op=op, reason=reason, at=at), self.suite)
        return line, SentLine(record_id=record_id, v=v, op=op, idx=index, leaf=line.leaf, view_digest=b"", seed=None)

    async def _commit(self, lines: Sequence[tuple[SealedLine, SentLine]], to: int, more: bool) -> Pass:
        limit = fitting([line for line, _ in lines], self.rules.agreement.terms.limits)
        if len(lines) > limit:
            return await self._commit_part(lines[:limit], more=True)
        with uncollected(len(lines) > IN_LOOP):
            return await self._sealed(lines, to, more=more)

    async def _sealed(self, lines: Sequence[tuple[SealedLine, SentLine]], to: int, *, more: bool) -> Pass:
        plan = self.plans.hash if self.plans is not None else None
        created = await self._created()
        with ThreadPoolExecutor(PARTS_AT_ONCE) as pool:  # compression holds up nothing else
            sealed = await asyncio.to_thread(
                seal,
                self.head,
                [line for line, _ in lines],
                self.rules,
                exchange_signers(self.services, self.now, required_algorithms(self.rules)),
                policy_version=self.policies.version,
                created=created,
                snapshot=("part" if more else "last") if self.snapshot else "none",
                replaces=self.replaces,
                licence=self.licence,
                plan=plan,
                each=pool.map,
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
            await self._told_again_beside(tx, [line.rid for line, _ in lines if line.rid in self.left_out])
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
                    "policy_plan": plan,
                },
                subjects=[self.people[line.rid] for line, _ in lines if line.rid in self.people] or None,
                given=audit.Given(
                    org=self.rules.agreement.party(self.stream.receiver).identity.org,
                    purpose=self.rules.terms.purpose,
                    dataset=self.rules.terms.dataset,
                    plan_hash=plan,
                    policy_version=self.policies.version,
                    treatments=None if self.plans is None else treatments_of([self.plans]),
                ),
            )
        return Pass(sealed=1, lines=len(lines), not_sent=self.not_sent, more=more)

    async def _told_again_beside(self, tx: Transaction, record_ids: Sequence[str]) -> None:
        """What this agreement takes back leaves the partner under every one; those that still let us say it say it anew."""
        if not record_ids or not self.beside:
            return
        there = {name: await stream_at(tx, name, self.stream.sender, tx.now) for name in self.beside}
        going = [name for name, stream in there.items() if stream is not None and not stream.governing.standing(tx.now).ended]
        if going:
            await ledger.mark_taken_back(tx, going, record_ids)

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


def _licence(policies: Policies, plans: PlanSet | None) -> str | None:
    """Address of the licence of what a stream sends."""
    if plans is None:
        return None
    licences = policies.catalogue.licences
    named = strictest((plan.obligations for plan in plans.plans.values()), tuple(licences)).license
    return None if named is None else licences[named].url


def _gated(plan: Plan) -> frozenset[str]:
    """What the territory of a plan asks of a record."""
    return frozenset() if plan.rows is None else fields_of_rule(plan.rows)

"""Seal what changed into the next batch of a stream: read, say, seal, write down; nothing leaves here.

Changes after the stream's cursor are read, and what there is to say of them (`say_lines`) becomes a batch. Head, manifest, notes, parts and
cursor are committed in one transaction (a crash before it: nothing was sent). While only withdrawals may be said the cursor stays, for the
day when all may be said again. This story must not change a record, and it never skips a number.
"""

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Literal

import msgspec
from msgspec import Struct

from gateway.core.disclosure.obligations import strictest
from gateway.core.disclosure.plans import PlanSet, Policies
from gateway.core.errors import StoreError
from gateway.core.exchange.admitting import required_algorithms
from gateway.core.exchange.agreements import StreamRules
from gateway.core.exchange.manifests import Head, Replaced, read_manifest
from gateway.core.exchange.merkle import CompactRange
from gateway.core.exchange.sealing import Sealed, fitting, seal
from gateway.core.exchange.wire import b64, digest_text, origin
from gateway.operations.compare_heads import BEHIND, partners_head
from gateway.operations.partners import Stream, exchange_signers, stream_at
from gateway.operations.record_access import treatments_of
from gateway.operations.render_public import IN_LOOP, uncollected
from gateway.operations.say_lines import Said, Saying
from gateway.services import Services
from gateway.store import audit, changes, holds, kept_parts, ledger, out_epochs, outbox
from gateway.store.changes import Change
from gateway.store.outbox import OutStream
from gateway.store.store import Source, Transaction

CHANGES_A_BATCH = 5_000
"""Changes read for one batch: bounds memory, and how long the receiver's transaction may last."""
PARTS_AT_ONCE = 4
"""Parts of one batch that are compressed at the same time."""
HEARTBEAT = 0.75
"""After this share of `max_interval_h` without a batch an empty one is sealed: the receiver's knowledge must not look stale."""


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
    plans = policies.plan_set(stream.rules.terms.dataset, stream.governing.local.tier, stream.rules.terms.purpose)
    work = _Sealing(services, stream, policies, plans, out, now, only_withdrawals=mode == "withdrawals")
    if out is not None and await out_epochs.in_flight(services.store.reads, out):
        old = await outbox.out_stream_at(services.store.reads, stream.name, out.head.epoch - 1, stream.suite)
        if old is not None and not old.stopped:
            recall = _Sealing(services, stream, policies, plans, old, now, only_withdrawals=True, recalling=True)
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
        plans: PlanSet | None,
        out: OutStream | None,
        now: datetime,
        *,
        only_withdrawals: bool,
        recalling: bool = False,
    ) -> None:
        self.services = services
        self.stream = stream
        self.rules: StreamRules = stream.rules
        self.policies = policies
        self.plans = plans
        self.out = out
        self.now = now
        self.only_withdrawals = only_withdrawals
        self.recalling = recalling
        """The pass withdraws in the old epoch what the partner still holds by it."""
        self.suite = stream.suite
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
        self.saying = Saying(services, stream, policies, plans, self.head, now, only_withdrawals=only_withdrawals, recalling=recalling)

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
        lines = await self.saying.lines(await self._touched(found))
        if lines or (self.snapshot and not more) or await self._heartbeat_due(more):
            return await self._commit(lines, to, more)
        if self.out is None or (to, self.plan) != (self.out.cursor, self.out.plan):
            async with self.services.store.transaction() as tx:  # nothing to say of these: only the cursor goes on
                await outbox.move_cursor(tx, self.out, self.head, cursor=to, plan=self.plan)
        return Pass(sealed=0, lines=0, not_sent=self.saying.not_sent, more=more)

    async def _look_at_epoch(self) -> None:
        head = self.head
        if head.epoch == 1:
            return
        reads = self.services.store.reads
        self.snapshot = self.saying.snapshot = await incomplete(reads, self.out)
        self.saying.lost = self.out is not None and self.out.lost
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
        position, lines = start, list[Said]()
        while len(lines) < CHANGES_A_BATCH:
            found = await self._changes_after(position)
            lines += await self.saying.lines(await self._touched(found), len(lines))
            if len(found) < CHANGES_A_BATCH:
                break
            position = found[-1].seq
        return await self._commit(lines, start, more=False) if lines else _NOTHING

    async def recall(self) -> Pass:
        """What must disappear while the next epoch is on its way, said in this one; its cursor goes on, for nothing else is said here."""
        assert self.out is not None  # noqa: S101  # an old epoch has its row
        position = self.out.cursor if self.out.plan == self.plan else 0
        lines: list[Said] = []
        more = True
        while more and len(lines) < CHANGES_A_BATCH:
            found = await self._changes_after(position)
            lines += await self.saying.lines(await self._touched(found), len(lines))
            position = found[-1].seq if found else position
            more = len(found) == CHANGES_A_BATCH
        self.read_to = position
        if lines:
            return await self._commit(lines, position, more=more)
        if (position, self.plan) != (self.out.cursor, self.out.plan):
            async with self.services.store.transaction() as tx:
                await out_epochs.move_old_cursor(tx, self.out, self.head, cursor=position, plan=self.plan)
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

    async def _commit(self, lines: Sequence[Said], to: int, more: bool) -> Pass:
        """Lines as a batch, up to the change `to`; as many as it may have."""
        limit = fitting([line for line, _ in lines], self.rules.agreement.terms.limits)
        if len(lines) > limit:  # the cursor stays: the rest comes with the next pass, where these are unchanged
            start = self.out.cursor if self.out is not None and self.out.plan == self.plan else 0
            return await self._commit(lines[:limit], start, more=True)
        with uncollected(len(lines) > IN_LOOP):
            sealed = await self._sealed(lines, more=more)
            async with self.services.store.transaction() as tx:
                await self._still_agreed(tx, sealed)
                await self._write_down(tx, lines, sealed, to)
        return Pass(sealed=1, lines=len(lines), not_sent=self.saying.not_sent, more=more)

    async def _sealed(self, lines: Sequence[Said], *, more: bool) -> Sealed:
        """The batch with its signatures, in memory."""
        created = await self._created()
        with ThreadPoolExecutor(PARTS_AT_ONCE) as pool:  # compression holds up nothing else
            return await asyncio.to_thread(
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
                plan=self.plans.hash if self.plans is not None else None,
                each=pool.map,
            )

    async def _still_agreed(self, tx: Transaction, sealed: Sealed) -> None:
        """Raises StoreError stream-moved when the agreement was changed while the batch was made, or does not let it go any more."""
        again = await stream_at(tx, self.stream.name, self.stream.sender, tx.now)
        if (
            again is None
            or again.governing.agreement.digest != self.stream.governing.agreement.digest
            or (not again.governing.standing(tx.now).active and not sealed.manifest.only_withdrawals)
        ):
            raise StoreError("the agreement has changed meanwhile", code="stream-moved", place=self.stream.name)

    async def _write_down(self, tx: Transaction, lines: Sequence[Said], sealed: Sealed, to: int) -> None:
        """Head, batch, ledger and cursor, what other agreements have to say anew, what is kept of erased records, and the audit."""
        withdrawals = sum(line.op not in ("assert", "amend") for line, _ in lines)
        said = [sent for _, sent in lines]
        if self.recalling and self.out is not None:
            await out_epochs.commit_recall(tx, self.out, sealed, said, cursor=to, plan=self.plan)
        else:
            await outbox.commit_batch(tx, self.out, sealed, said, cursor=to, plan=self.plan, withdrawals=withdrawals)
        await self._told_again_beside(tx, [line.rid for line, _ in lines if line.rid in self.saying.left_out])
        erased = [line.rid for line, _ in lines if line.op == "erase"]
        if erased:
            await kept_parts.purge_records(tx, self.stream.name, erased)
        plan, people = self.plans.hash if self.plans is not None else None, self.saying.people
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
            subjects=[people[line.rid] for line, _ in lines if line.rid in people] or None,
            given=audit.Given(
                org=self.rules.agreement.party(self.stream.receiver).identity.org,
                purpose=self.rules.terms.purpose,
                dataset=self.rules.terms.dataset,
                plan_hash=plan,
                policy_version=self.policies.version,
                treatments=None if self.plans is None else treatments_of([self.plans]),
            ),
        )

    async def _told_again_beside(self, tx: Transaction, record_ids: Sequence[str]) -> None:
        """What this agreement takes back leaves the partner under every one; those that still let us say it say it anew."""
        if not record_ids or not self.saying.beside:
            return
        there = {name: await stream_at(tx, name, self.stream.sender, tx.now) for name in self.saying.beside}
        going = [name for name, stream in there.items() if stream is not None and not stream.governing.standing(tx.now).ended]
        if going:
            await ledger.mark_taken_back(tx, going, record_ids)


def _licence(policies: Policies, plans: PlanSet | None) -> str | None:
    """Address of the licence of what a stream sends."""
    if plans is None:
        return None
    licences = policies.catalogue.licences
    named = strictest((plan.obligations for plan in plans.plans.values()), tuple(licences)).license
    return None if named is None else licences[named].url

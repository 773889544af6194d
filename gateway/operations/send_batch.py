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
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from typing import Literal

from msgspec import Struct

from gateway.adapter_contract import AdapterError, Part, PartnerAdapter, SealedBatch
from gateway.core.errors import ExchangeError, SettingsError, StoreError
from gateway.core.exchange import feedback
from gateway.core.exchange.manifests import Manifest, read_manifest
from gateway.core.exchange.wire import b64, digest_text
from gateway.operations.apart import side_by_side
from gateway.operations.backing_off import due, pause
from gateway.operations.believe_receipt import ask_for_receipts, contradicts, read_reply, take_feedback
from gateway.operations.compare_heads import compare_heads
from gateway.operations.found_ours import found_ours
from gateway.operations.held_back import HELD, held_back
from gateway.operations.partners import Stream, code_of, line_to, one_of_two, stream_at, streams_from, trusted_keys
from gateway.operations.seal_batch import seal_next
from gateway.operations.take_reply import UNEXPLAINED, check_receipt, stop, take_reply
from gateway.services import Services
from gateway.store import drops, ledger, outbox
from gateway.store.old_epochs import lengthens
from gateway.store.outbox import OutBatch

STOPPED = "SCOPE_AGREEMENT"
"""The agreement does not let the batch leave now."""
LAID = "laid"
"""It lies in a shared folder now; its receipt will be found there."""
ELSEWHERE = "elsewhere"
"""Another process is delivering this batch just now."""
LONGEST_DELIVERY = timedelta(hours=1)
LONGEST_REPLY = 96 * 2**20
"""A receipt with the feedback of a million lines."""


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

    Streams are sealed one after the other, and told of in their order; over its own line no agreement waits for another's.

    Raises NoActivePolicy, SettingsError for a missing adapter, StoreError. What a partner does wrong is told, and a stream without a key.
    """
    await services.policies.fresh()
    streams = await streams_from(services.store.reads, services.signers.party, services.clock())
    under: dict[str, list[Stream]] = {}
    for found in streams:
        if stream is None or found.name == stream:
            under.setdefault(found.governing.agreement.id, []).append(found)
    sealing = asyncio.Lock()
    sent: dict[str, Sent] = {}

    async def over_one_line(those: Sequence[Stream]) -> None:
        for each in those:
            sent[each.name] = await _send(services, each, sealing, deliver=deliver, at_once=at_once)

    await side_by_side(over_one_line(those) for those in under.values())
    return [sent[found.name] for found in streams if found.name in sent]


async def _send(services: Services, stream: Stream, sealing: asyncio.Lock, *, deliver: bool, at_once: bool) -> Sent:
    unheard = await compare_heads(services, stream) if deliver else None
    async with sealing:  # much memory, and what was said beside is known
        made = await _seal(services, stream)
    delivered, code = await deliver_due(services, stream, at_once=at_once, unheard=unheard) if deliver else (0, None)
    await _purge(services, stream)
    out = await outbox.out_stream(services.store.reads, stream.name, stream.suite)
    waiting = await outbox.waiting_batches(services.store.reads, stream.name)
    stopped = out.stopped if out is not None else None
    return Sent(
        stream=stream.name,
        partner=stream.receiver,
        sealed=made.sealed,
        lines=made.lines,
        not_sent=made.not_sent,
        delivered=delivered,
        waiting=len(waiting),
        state="stopped" if stopped else "waiting" if waiting or made.keyless else "acked" if delivered else "idle",
        code=stopped or code or made.keyless,
        seq=out.head.seq if out else 0,
        size=out.head.tree.size if out else 0,
        root=b64(out.head.tree.root()) if out else "",
    )


class _Made(Struct, frozen=True, kw_only=True):
    """What was sealed of a stream now."""

    sealed: int
    lines: int
    not_sent: Mapping[str, int]
    keyless: str | None
    """Code of a stream for which no key is good now."""


async def _seal(services: Services, stream: Stream) -> _Made:
    """Everything that there is to say of a stream."""
    sealed = lines = 0
    not_sent: dict[str, int] = {}
    keyless: str | None = None
    while True:
        try:
            done = await seal_next(services, stream)
        except StoreError as error:
            if error.code != "stream-moved":
                raise
            break  # another process is at this stream: it seals what we would have sealed
        except SettingsError as error:
            if error.code != "key-missing":
                raise
            keyless = error.code  # no key of its algorithm is good now: the other streams have theirs
            break
        for why, count in done.not_sent.items():
            not_sent[why] = not_sent.get(why, 0) + count
        sealed += done.sealed
        lines += done.lines
        if not done.more:
            break
    return _Made(sealed=sealed, lines=lines, not_sent=not_sent, keyless=keyless)


async def deliver_due(
    services: Services, stream: Stream, *, at_once: bool = False, unheard: str | None = None
) -> tuple[int, str | None]:
    """Deliver the batches of a stream that are due, in order, until one is not acknowledged: (acknowledged now, code).

    `unheard`: why the partner has not told yet where it stands; then each attempt ends so.

    Raises SettingsError for a missing adapter, StoreError.
    """
    reads, now = services.store.reads, services.clock()
    waiting = await outbox.waiting_batches(reads, stream.name)
    unexplained = [
        batch
        for batch in await outbox.acknowledged_with(reads, stream.name, UNEXPLAINED)
        if (at_once or due(batch.next_attempt_at, now)) and _may_leave(stream, batch, now)
    ]
    out = await outbox.out_stream(reads, stream.name, stream.suite)
    news = await ledger.awaits_news(reads, stream.name)
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
            if await lengthens(reads, batch):
                behind.add(batch.epoch)  # the new epoch's first batch names the head that it replaces: that one has to be there before
                continue
            waits = not due(batch.next_attempt_at, services.clock())
            if waits and not at_once and batch.seq > hurried.get(batch.epoch, 0):
                if (batch.epoch, batch.seq) in lies:
                    continue
                if batch.epoch < out.head.epoch or _recalls(waiting, batch):
                    behind.add(batch.epoch)
                    kept = kept or batch.code
                    continue
                return acknowledged, batch.code
            code = await _deliver(services, stream, line, batch, unheard)
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
            if code is not None and _recalls(waiting, batch):
                behind.add(batch.epoch)  # it waits there, for a person perhaps: the old epoch withdraws all the same
                kept = kept or code
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


def _recalls(waiting: Sequence[OutBatch], batch: OutBatch) -> bool:
    """Whether this batch begins an epoch, and the one before it still has something to say."""
    return batch.seq == 1 and any(other.epoch < batch.epoch for other in waiting)


def _hurried(waiting: Sequence[OutBatch]) -> dict[int, int]:
    """By epoch the last batch with withdrawals that was never tried: it, and what stands before it, waits for no schedule."""
    return {batch.epoch: batch.seq for batch in waiting if batch.withdrawals and batch.attempts == 0}


def _may_leave(stream: Stream, batch: OutBatch, now: datetime) -> bool:
    """Whether the agreement lets a sealed batch leave: while it is suspended, or has ended, only what withdraws and nothing else."""
    return stream.governing.lets_through(now, only_withdrawals=read_manifest(batch.document.body).only_withdrawals)


async def _deliver(services: Services, stream: Stream, line: PartnerAdapter, batch: OutBatch, unheard: str | None) -> str | None:
    """One attempt; None when the batch is acknowledged now, else why not."""
    async with AsyncExitStack() as place:
        if stream.rules.terms.wire.delivery == "push":
            await place.enter_async_context(one_of_two(services, stream.receiver))
        manifest = read_manifest(batch.document.body)
        parts = dict(await outbox.out_parts_of(services.store.reads, batch.stream, batch.epoch, batch.seq))
        if len(parts) != len(manifest.parts):
            return await stop(services, batch, "SEQ_CLOSED")
        async with services.store.transaction() as tx:
            now = await stream_at(tx, stream.name, stream.sender, tx.now)
            if now is None or not _may_leave(now, batch, tx.now):
                return STOPPED  # since we looked
            if await held_back(tx, stream.sender, batch):
                return HELD
            mine = await outbox.begin_delivery(tx, batch, next_attempt_at=tx.now + pause(batch.attempts))
        if not mine:
            return batch.code or ELSEWHERE
        if unheard is not None:
            return await _wait(services, batch, unheard)
        try:
            reply = await _guarded(line, _sealed(manifest, batch, parts))
            await place.aclose()  # its body has come: the answer is looked at without
            if reply is None and stream.rules.terms.wire.delivery == "drop":
                return await _laid(services, batch)
            return await take_reply(services, stream, batch, manifest, read_reply(_given(reply)))
        except AdapterError as error:
            if error.outcome_unknown and "idempotent" not in line.capabilities:
                return await stop(services, batch, "UNAVAILABLE")
            if error.code == "SEQ_FORK" and await _was_ours(services, stream, line, batch):
                return await stop(services, batch, error.code)  # another batch of ours has this number there: this house is a backup
            return await _wait(services, batch, code_of(error))
        except ExchangeError as error:
            return await _wait(services, batch, error.code)  # an answer that does not verify moves nothing beyond a retry


async def _explain(services: Services, stream: Stream, line: PartnerAdapter, batch: OutBatch) -> None:
    """Ask again for the feedback of a batch that is acknowledged: the same batch brings the same receipt, and this time its lines."""
    manifest = read_manifest(batch.document.body)
    parts = dict(await outbox.out_parts_of(services.store.reads, batch.stream, batch.epoch, batch.seq))
    try:
        if len(parts) != len(manifest.parts) or "idempotent" not in line.capabilities:
            raise AdapterError(UNEXPLAINED, "the batch cannot be shown again", transient=False)
        async with one_of_two(services, stream.receiver):
            reply = await _guarded(line, _sealed(manifest, batch, parts))
        said = read_reply(_given(reply))
        receipt = await check_receipt(services, stream, batch, said.document, services.clock())
        if said.feedback is None or await contradicts(services, stream, receipt, digest_text(said.document.body, stream.suite)):
            raise ExchangeError("the feedback is still missing", code=UNEXPLAINED)
        lines = feedback.read_feedback(said.feedback, receipt.feedback, stream.suite)
    except (AdapterError, ExchangeError):
        async with services.store.transaction() as tx:
            await outbox.put_off(tx, batch, next_attempt_at=tx.now + pause(batch.attempts))
        return
    async with services.store.transaction() as tx:
        digest = digest_text(said.document.body, stream.suite)
        await ledger.put_received_receipt(tx, stream.name, receipt.no, digest, said.document, said.feedback)
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
    except (Exception, SystemExit) as error:  # a guest may raise anything, or mean to leave; the other streams must go on
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


async def _purge(services: Services, stream: Stream) -> None:
    """Parts of batches acknowledged longer ago than agreed are not kept."""
    days = stream.governing.agreement.terms.retention.parts_days
    before = services.clock() - timedelta(days=days)
    if await outbox.has_old_parts(services.store.reads, stream.name, before):
        async with services.store.transaction() as tx:
            await outbox.purge_parts(tx, stream.name, acked_before=before)

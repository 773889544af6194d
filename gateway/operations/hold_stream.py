"""An operator's hold on a stream of either direction, and its end; what waits is tried now when an operator asks (exchange.md §7).

Rules: of a held stream to us batches are verified and HELD, of one from us nothing new is sealed or delivered; what withdraws takes effect,
and goes, as ever. When the hold is lifted, a batch that it held is judged like any other. So of lines to partners that sign nothing, named
by their stream or, for all of a line, by its id; a source is read as a whole, so a line inward is held as a whole. One dataset in both
directions is one name, and held both ways. A release says in its signed words what it releases, and releases nothing else. Trying again
changes when, never what: a stream that stopped for a person stays so, and a delivery over a line that is under way is left to end. Whoever
holds the data directory may hold and try again; what ends a hold is signed. Every act and its reason stand in the audit. This story must
not decide about a batch.
"""

from collections.abc import Sequence
from typing import Final, Literal, get_args

from msgspec import Struct

from gateway.core.callers.administrators import Administrator
from gateway.core.errors import AdminError, ExchangeError, StoreError
from gateway.core.exchange.lines import Line
from gateway.core.exchange.wire import split_stream
from gateway.operations.admit_batch import Admission
from gateway.operations.answer_batch import Received
from gateway.operations.apply_batch import apply_batch
from gateway.operations.decide_held import DECIDE, decide_held
from gateway.operations.four_eyes import actor, proof
from gateway.operations.held_back import line_sender
from gateway.operations.lines import approved_lines
from gateway.operations.partners import streams_of
from gateway.operations.receive_batch import resume_behind
from gateway.operations.release_frozen import release_frozen
from gateway.services import Services
from gateway.store import audit, fetch_tries, holds, inbox, lines, outbox, told_documents
from gateway.store.holds import Hold
from gateway.store.store import Transaction

Meant = Literal["hold", "batch", "frozen"]
"""What a release ends: an operator's hold, the wait of a held batch, a fork."""
MEANT: Final[tuple[Meant, ...]] = get_args(Meant)


class HeldStream(Struct, frozen=True, kw_only=True):
    """What a hold means for a stream."""

    stream: str
    direction: Literal["in", "out", "both"]
    partner: str
    waiting: int
    """Out: batches sealed before, which stay here unless a withdrawal stands behind them."""


class Released(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a release came to."""

    stream: str
    what: Literal["lifted", "applied", "refused", "asked", "released"]
    """lifted: the hold; applied: the held batch; refused: it, for it does not pass any more; asked, released: a frozen stream, by the
    first or the second person."""
    code: str | None = None
    """Why the batch does not pass."""


class Retried(Struct, frozen=True, kw_only=True):
    """What is due now."""

    batches: int
    partners: tuple[str, ...]


async def hold_stream(services: Services, stream: str, *, reason: str, by: Administrator | str) -> HeldStream:
    """Hold a stream, or all streams of a line, from now on.

    Raises RoleMissing; ExchangeError NOT_FOUND for a stream of no agreement and no line.
    """
    _may(by)
    ours = services.signers.party
    found = [pair for pair in await streams_of(services.store.reads, stream) if ours in pair]
    if found:
        async with services.store.transaction() as tx:
            for sender, _ in found:
                await _put(tx, sender, stream, reason, by)
        out, into = any(sender == ours for sender, _ in found), any(sender != ours for sender, _ in found)
        waiting = len(await outbox.waiting_batches(services.store.reads, stream)) if out else 0
        (partner, *_) = (party for party in found[0] if party != ours)
        return HeldStream(stream=stream, direction="both" if out and into else "out" if out else "in", partner=partner, waiting=waiting)
    for line in await approved_lines(services):
        if _names(line, stream):
            return await _hold_line(services, line, _meant(line, stream), reason, by)
    raise ExchangeError("no agreement and no line has a stream of this name", code="NOT_FOUND", place=stream)


async def _hold_line(services: Services, line: Line, streams: tuple[str, ...], reason: str, by: Administrator | str) -> HeldStream:
    sender = line_sender(line, services.signers.party)
    async with services.store.transaction() as tx:
        for stream in streams:
            await _put(tx, sender, stream, reason, by)
    waiting = sum([len(await outbox.waiting_batches(services.store.reads, stream)) for stream in streams])
    named = streams[0] if len(streams) == 1 else line.id
    return HeldStream(stream=named, direction=line.terms.direction, partner=line.terms.partner, waiting=waiting)


async def _put(tx: Transaction, sender: str, stream: str, reason: str, by: Administrator | str) -> None:
    await holds.put(tx, sender, stream, by=actor(by), reason=reason)
    await audit.write(tx, actor(by), "stream.hold", f"stream/{sender}/{stream}", {"reason": reason, **proof(by)})


def _names(line: Line, name: str) -> bool:
    """Whether a name is a line's, or one of its streams'."""
    return name in (line.id, *(stream for stream, _ in line.streams()))


def _meant(line: Line, name: str) -> tuple[str, ...]:
    """The streams of a line that a name stands for."""
    return (name,) if name != line.id and line.terms.direction == "out" else tuple(stream for stream, _ in line.streams())


def _may(by: Administrator | str) -> None:
    if isinstance(by, Administrator):
        by.require(*DECIDE)


async def release_stream(
    services: Services, stream: str, *, what: Meant, batch: str | None = None, reason: str, by: Administrator
) -> Released:
    """Lift an operator's hold, apply a held batch, or release a frozen stream (two persons): what is meant, and nothing else.

    A held batch is named (`EPOCH/SEQ`), and is applied when no hold stands before it.

    Raises RoleMissing; ExchangeError NOT_FOUND when nothing of this stream is held; AdminError release-other when something else is,
    approval-conflict; BatchRefused, StoreError.
    """
    by.require(*DECIDE)
    standing = await _holds_on(services, stream)
    there = await _there(services, stream, standing)
    if not there:
        raise ExchangeError("nothing of this stream is held", code="NOT_FOUND", place=stream)
    if what not in there:
        raise AdminError(f"to be released here: {', '.join(there)}", code="release-other", place="--what", hint="chengxin exchange status")
    if (what == "batch") != (batch is not None):
        raise AdminError("a held batch is named, a hold and a fork are not", code="release-other", place="--batch", hint="EPOCH/SEQ")
    if what == "frozen":
        done = await release_frozen(services, stream, by=by, reason=reason)
        return Released(stream=stream, what="released" if done else "asked")
    if batch is not None:
        received = await decide_held(services, stream, batch=batch, apply=True, by=by, reason=reason)
        refused = received.result in ("rejected", "frozen")
        return Released(stream=stream, what="refused" if refused else "applied", code=received.code if refused else None)
    for hold in standing:
        async with services.store.transaction() as tx:
            await holds.lift(tx, hold.sender, hold.stream)
            said = {"reason": reason, "held_by": hold.by, **proof(by)}
            await audit.write(tx, actor(by), "stream.lift", f"stream/{hold.sender}/{hold.stream}", said)
        await _take_up(services, hold.sender, hold.stream)
    return Released(stream=stream, what="lifted")


async def _holds_on(services: Services, name: str) -> list[Hold]:
    """The holds that a name stands for: a stream's of either direction, or those of a line."""
    meant = {name} | {each for line in await approved_lines(services) if _names(line, name) for each in _meant(line, name)}
    return [hold for hold in await holds.every_hold(services.store.reads) if hold.stream in meant]


async def _there(services: Services, stream: str, standing: Sequence[Hold]) -> tuple[Meant, ...]:
    """What of a stream could be released now."""
    reads = services.store.reads
    rows = [row for row in await inbox.in_streams_all(reads) if row.stream == stream]
    held = [await inbox.held_batch(reads, row.sender, stream) for row in rows]
    found: dict[Meant, bool] = {
        "hold": bool(standing),
        "batch": not standing and any(each is not None for each in held),
        "frozen": any(row.frozen is not None for row in rows),
    }
    return tuple(each for each in MEANT if found[each])


async def _take_up(services: Services, sender: str, stream: str) -> None:
    """The batch that a hold has kept goes through every step once more, its rate too; what waited behind it follows."""
    held = await inbox.held_batch(services.store.reads, sender, stream)
    if held is None or held.code is not None:
        return  # a person has to look at it for another reason
    await services.policies.fresh()
    for attempt in range(4):
        admission = Admission(services, stream, held.document, held.checkpoint, {}, None, lifted=True)
        try:
            found = await admission.run()
            received = found if isinstance(found, Received) else await apply_batch(admission, found)
        except StoreError as error:
            if error.code != "stream-moved" or attempt == 3:
                raise
        else:
            await resume_behind(services, received)
            return


async def retry(services: Services, *, stream: str | None = None, every: bool = False, by: Administrator | str) -> Retried:
    """What waits for its next attempt is due now: batches, receipts to be explained, documents, fetching, lines behind an open breaker.

    Raises RoleMissing; ExchangeError NOT_FOUND for a stream that nobody has, or where neither a stream nor all of them are named.
    """
    _may(by)
    if every == (stream is not None):
        raise ExchangeError("one stream or line, or all of them", code="NOT_FOUND", place="stream", hint="chengxin exchange retry --all")
    ours, partners = services.signers.party, set[str]()
    known = await streams_of(services.store.reads, stream)
    partners |= {receiver if sender == ours else sender for sender, receiver in known}
    found = [line for line in await approved_lines(services) if stream is None or _names(line, stream)]
    over_lines = {name for line in found for name in ([each for each, _ in line.streams()] if stream is None else _meant(line, stream))}
    if stream is not None and not known and not found:
        raise ExchangeError("there is no stream of this name", code="NOT_FOUND", place=stream)
    async with services.store.transaction() as tx:
        batches = await outbox.due_now(tx, None if stream is None else {stream, *over_lines}, over_lines=over_lines)
        for agreement in await fetch_tries.failing(tx) if stream is None else {split_stream(stream)[0]} if known else ():
            await fetch_tries.went_well(tx, agreement)
        for party in sorted(partners):
            await told_documents.due_now(tx, party)
        for line in found:
            await _close(services, tx, line.id)
        await audit.write(tx, actor(by), "exchange.retry", f"stream/{stream or '*'}", {"batches": batches, **proof(by)})
    return Retried(batches=batches, partners=tuple(sorted(partners | {line.terms.partner for line in found})))


async def _close(services: Services, tx: Transaction, line: str) -> None:
    state = await lines.state_of(services.store.reads, line)
    if state.closed_until is not None:
        await lines.put_state(tx, line, closed_until=None)

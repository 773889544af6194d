"""An operator's hold on a stream of either direction, and its end; what waits is tried now when an operator asks (exchange.md §7).

Rules: of a held stream to us batches are verified and HELD, of one from us nothing new is sealed or delivered; what withdraws takes effect,
and goes, as ever. When the hold is lifted, a batch that it held is judged like any other. Trying again changes when, never what: a stream
that stopped for a person stays so. Every act and its reason stand in the audit. This story must not decide about a line.
"""

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

from gateway.core.errors import ExchangeError, StoreError
from gateway.operations.admit_batch import Admission, Received
from gateway.operations.apply_batch import apply_batch
from gateway.operations.decide_held import decide_held
from gateway.operations.lines import approved_lines
from gateway.operations.partners import streams_of
from gateway.operations.receive_batch import resume_behind
from gateway.operations.release_frozen import release_frozen
from gateway.services import Services
from gateway.store import audit, fetch_tries, holds, inbox, lines, outbox, told_documents
from gateway.store.store import Transaction

Proof = Mapping[str, object]
_UNSIGNED: Proof = {}


class HeldStream(Struct, frozen=True, kw_only=True):
    """What a hold means for a stream."""

    stream: str
    direction: Literal["in", "out"]
    partner: str
    waiting: int
    """Out: batches sealed before, which stay here unless a withdrawal stands behind them."""


class Released(Struct, frozen=True, kw_only=True):
    """What a release came to."""

    stream: str
    what: Literal["lifted", "applied", "asked", "released"]
    """lifted: the hold; applied: the held batch; asked, released: a frozen stream, by the first or the second person."""


class Retried(Struct, frozen=True, kw_only=True):
    """What is due now."""

    batches: int
    partners: tuple[str, ...]


async def hold_stream(services: Services, stream: str, *, reason: str, by: str, proof: Proof = _UNSIGNED) -> HeldStream:
    """Hold a stream from now on.

    Raises ExchangeError NOT_FOUND for a stream of no agreement.
    """
    ours = services.signers.party
    for sender, receiver in await streams_of(services.store.reads, stream):
        if ours in (sender, receiver):
            async with services.store.transaction() as tx:
                await holds.put(tx, sender, stream, by=by, reason=reason)
                await audit.write(tx, by, "stream.hold", f"stream/{sender}/{stream}", {"reason": reason, **proof})
            out = sender == ours
            waiting = len(await outbox.waiting_batches(services.store.reads, stream)) if out else 0
            return HeldStream(stream=stream, direction="out" if out else "in", partner=receiver if out else sender, waiting=waiting)
    raise ExchangeError("no agreement has a stream of this name", code="NOT_FOUND", place=stream)


async def release_stream(services: Services, stream: str, *, reason: str, by: str, proof: Proof = _UNSIGNED) -> Released:
    """Lift an operator's hold; where there is none, release a frozen stream (two persons), else apply its held batch.

    Raises ExchangeError NOT_FOUND when nothing of this stream is held; BatchRefused, StoreError.
    """
    for hold in await holds.every_hold(services.store.reads):
        if hold.stream == stream:
            async with services.store.transaction() as tx:
                await holds.lift(tx, hold.sender, stream)
                said = {"reason": reason, "held_by": hold.by, **proof}
                await audit.write(tx, by, "stream.lift", f"stream/{hold.sender}/{stream}", said)
            await _take_up(services, hold.sender, stream)
            return Released(stream=stream, what="lifted")
    try:
        done = await release_frozen(services, stream, by=by, reason=reason)
    except ExchangeError as error:
        if error.code != "NOT_FOUND":
            raise
    else:
        return Released(stream=stream, what="released" if done else "asked")
    await decide_held(services, stream, apply=True, by=by, reason=reason)
    return Released(stream=stream, what="applied")


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


async def retry(services: Services, *, stream: str | None = None, every: bool = False, by: str, proof: Proof = _UNSIGNED) -> Retried:
    """What waits for its next attempt is due now: batches, receipts to be explained, documents, fetching, lines behind an open breaker.

    Raises ExchangeError NOT_FOUND for a stream that nobody has, or where neither a stream nor all of them are named.
    """
    if every == (stream is not None):
        raise ExchangeError("one stream or line, or all of them", code="NOT_FOUND", place="stream", hint="chengxin exchange retry --all")
    ours, partners = services.signers.party, set[str]()
    known = await streams_of(services.store.reads, stream)
    partners |= {receiver if sender == ours else sender for sender, receiver in known}
    found = [line for line in await approved_lines(services) if stream in (None, line.id, *(name for name, _ in line.streams()))]
    if stream is not None and not known and not found:
        raise ExchangeError("there is no stream of this name", code="NOT_FOUND", place=stream)
    async with services.store.transaction() as tx:
        batches = await outbox.due_now(tx, stream)
        for party in sorted(partners):
            await fetch_tries.went_well(tx, party)
            await told_documents.due_now(tx, party)
        for line in found:
            await _close(services, tx, line.id)
        await audit.write(tx, by, "exchange.retry", f"stream/{stream or '*'}", {"batches": batches, **proof})
    return Retried(batches=batches, partners=tuple(sorted(partners | {line.terms.partner for line in found})))


async def _close(services: Services, tx: Transaction, line: str) -> None:
    state = await lines.state_of(services.store.reads, line)
    if state.closed_until is not None:
        await lines.put_state(tx, line, closed_until=None)

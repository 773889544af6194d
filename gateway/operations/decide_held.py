"""Decide about a partner's batch that is held: an administrator applies it in spite of its rejected lines, or refuses it (exchange.md §7).

Rules: applied means taken through every step once more, as things stand today, with the rate alone left out: rejected lines stay rejected,
so the receipt says `partial`; what was withdrawn when the batch was held stays withdrawn and is counted now. Refused is final, with a
receipt `HOLD_REFUSED`: the sender goes on in a new epoch. What waited behind it goes on by itself. The person names the batch that was
looked at: another one that is held by now is another decision. The act, the person and the signature are in the audit with the receipt.
This story must not change a line.
"""

from typing import Final

from gateway.core.callers.administrators import Administrator, Role
from gateway.core.errors import AdminError, ExchangeError, StoreError
from gateway.operations.admit_batch import Admission
from gateway.operations.answer_batch import Received
from gateway.operations.apply_batch import apply_batch
from gateway.operations.four_eyes import actor, proof
from gateway.operations.receive_batch import resume_behind
from gateway.services import Services
from gateway.store import audit, inbox
from gateway.store.inbox import InBatch

DECIDE: Final[tuple[Role, ...]] = ("operator", "approver")


async def decide_held(services: Services, stream: str, *, batch: str, apply: bool, by: Administrator, reason: str) -> Received:
    """Apply or refuse the batch `EPOCH/SEQ` of a partner's stream that is held; the receipt that its sender gets from now on.

    Raises RoleMissing; ExchangeError NOT_FOUND when no batch of this stream is held; AdminError release-other when it is another one;
    BatchRefused, StoreError.
    """
    by.require(*DECIDE)
    await services.policies.fresh()
    held = await _held(services, stream)
    if batch != held.name:
        raise AdminError(f"held is {held.name}", code="release-other", place="--batch", hint="chengxin exchange status")
    async with services.store.transaction() as tx:
        act = "batch.release" if apply else "batch.refuse"
        said = {"reason": reason, "code": held.code, **proof(by)}
        await audit.write(tx, actor(by), act, f"batch/{held.sender}/x/{stream}/{held.name}", said)
    for attempt in range(4):
        admission = Admission(services, stream, held.document, held.checkpoint, {}, None, released=True)
        try:
            if not apply:
                return await admission.refuse_held()
            found = await admission.run()
            received = found if isinstance(found, Received) else await apply_batch(admission, found)
        except StoreError as error:
            if error.code != "stream-moved" or attempt == 3:
                raise
        else:
            await resume_behind(services, received)
            return received
    raise AssertionError  # the loop returns or raises


async def _held(services: Services, stream: str) -> InBatch:
    reads = services.store.reads
    for row in await inbox.in_streams_all(reads):
        if row.stream == stream:
            batch = await inbox.held_batch(reads, row.sender, stream)
            if batch is not None:
                return batch
    raise ExchangeError("no batch of this stream is held", code="NOT_FOUND", place=stream)

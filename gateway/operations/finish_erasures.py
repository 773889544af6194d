"""Finish erasures: when the readers of the change log have followed, take away what they leave, and look whether anything is left.

Rules:
- an erasure is done when its record has left every exit of this house, no part of a batch that is kept holds a line of it, results of
  match jobs made before it are gone, the token index is merged and no old page is left in the write-ahead log.
- a part that a partner has still to get is kept for it, but no longer than the agreement gives for erasing; then it goes, and the stream
  begins a new epoch.
- nothing is said to be done before it was looked for; what is not done is looked at again, and told to the office by age.
This story must not know what was erased: it has ids.
"""

from datetime import timedelta

from gateway.core.exchange.wire import split_stream
from gateway.operations.begin_epoch import begin_epoch
from gateway.services import Services
from gateway.store import audit, erasures, exits, held_agreements, kept_parts, match_jobs, outbox, search
from gateway.store.erasures import Erasure
from gateway.store.kept_parts import Holding
from gateway.store.store import moment

AT_A_TIME = 500


async def finish_erasures(services: Services) -> int:
    """One look at everything that is not done; how many erasures are done now.

    Raises StoreError.
    """
    reads = services.store.reads
    waiting = await erasures.waiting(reads, AT_A_TIME)
    if not waiting:
        return 0
    ids = [each.record_id for each in waiting]
    left = set(await exits.still_at(reads, ids, partners=False))
    left |= await kept_parts.mentioned(reads, ids)
    left |= await kept_parts.lying(reads, ids)
    for part in await kept_parts.holding(reads, ids):
        if not await _take_away(services, part, waiting):
            left |= part.record_ids
    ready = [each for each in waiting if each.record_id not in left]
    if not ready:
        return 0
    async with services.store.transaction() as tx:
        await match_jobs.expire_before(tx, max(each.at for each in ready))
        tx.shredded = True
    await _merge_tokens(services)
    if not await services.store.forget():
        return 0  # somebody reads an old page: the next look
    async with services.store.transaction() as tx:
        await erasures.done(tx, [each.record_id for each in ready])
        await audit.write(tx, "gateway", "erasures.done", "erasures", {"records": len(ready)})
    return len(ready)


async def _take_away(services: Services, part: Holding, waiting: list[Erasure]) -> bool:
    """Whether a part of the outbox that holds a line of an erased record is gone now."""
    if part.state in kept_parts.OVER:
        async with services.store.transaction() as tx:
            await kept_parts.purge_records(tx, part.stream, part.record_ids)
        return True
    since = min(moment(each.at) for each in waiting if each.record_id in part.record_ids)
    hours = await _hours(services, part.stream)
    if hours is None or services.clock() - since < hours:
        return False
    out = await outbox.out_stream(services.store.reads, part.stream)
    if out is not None and out.head.epoch == part.epoch:
        async with services.store.transaction() as tx:
            await outbox.stop_stream(tx, part.stream, part.epoch, "SEQ_CLOSED")  # what it waited for is not sent any more
        await begin_epoch(services, part.stream, by="gateway", reason="erased")
    async with services.store.transaction() as tx:
        await outbox.supersede(tx, part.stream, part.epoch)
        await kept_parts.purge_records(tx, part.stream, part.record_ids)
    return True


async def _hours(services: Services, stream: str) -> timedelta | None:
    """How long the agreement of a stream gives for erasing; None for a line that signs nothing, which is waited for."""
    agreement_id, _ = split_stream(stream)
    versions = (await held_agreements.held_agreements(services.store.reads, agreement_id)).get(agreement_id, [])
    return timedelta(hours=min(held.agreement.terms.sla.erase_h for held in versions)) if versions else None


async def _merge_tokens(services: Services) -> None:
    first, more = True, True
    while more:
        async with services.store.transaction() as tx:
            more = await search.merge_away(tx, first)
        first = False

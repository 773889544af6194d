"""Finish erasures: when the readers of the change log have followed, take away what they leave, and look whether anything is left.

Rules:
- an erasure is done when its record has left every exit of this house, no part of a batch that is kept holds a line of it, results of
  match jobs and files of nobody's that came before it are gone, the token index is merged and no old page is left in the write-ahead log.
- it does not stop at a case or a measure: what a partner told of the record for a case goes, and the erasure of a measure that rested on
  the record is done before the record's own.
- a part that a partner has still to get is kept for it, but no longer than the agreement gives for erasing; then it goes, and the stream
  begins a new epoch. A part that came in and waits here stays no longer either: a held batch is refused then, another's parts are asked for
  again when its turn comes.
- what was only purged, because an agreement ended, went with all that came under it: what is told of it since, under another, is let be.
- nothing is said to be done before it was looked for; what is not done is looked at again, and told to the office by age.
This story must not know what was erased: it has ids.
"""

from contextlib import suppress
from datetime import timedelta

from gateway.core.errors import ExchangeError
from gateway.core.exchange.wire import split_stream
from gateway.operations.admit_batch import Admission
from gateway.operations.begin_epoch import begin_epoch
from gateway.operations.tidy_names import merge_tokens
from gateway.services import Services
from gateway.store import (
    audit,
    erasures,
    exits,
    held_agreements,
    inbox,
    inquiries,
    kept_parts,
    kept_uploads,
    match_jobs,
    measures,
    out_epochs,
    outbox,
    purged,
)
from gateway.store.erasures import Erasure
from gateway.store.kept_parts import Holding, Waiting
from gateway.store.store import moment

AT_A_TIME = 500


async def finish_erasures(services: Services) -> int:
    """One look at everything that is not done; how many erasures are done now.

    Raises StoreError.
    """
    done, after = 0, None
    while True:
        waiting = await erasures.waiting(services.store.reads, AT_A_TIME, after)  # those that are stuck keep back none behind them
        if waiting:
            done += await _finish(services, waiting)
        if len(waiting) < AT_A_TIME:
            return done
        after = waiting[-1]


async def _finish(services: Services, waiting: list[Erasure]) -> int:
    reads = services.store.reads
    ids = [each.record_id for each in waiting]
    left = set(await exits.still_at(reads, ids, partners=False)) | await measures.unfinished_about(reads, ids)
    ended = await purged.purged(reads, ids)
    for_good = [each for each in ids if each not in ended]
    if await inquiries.telling(reads, for_good):
        async with services.store.transaction() as tx:
            await inquiries.erase_told(tx, for_good)
    for batch in await kept_parts.mentioned(reads, for_good):
        if not await _turn_away(services, batch, waiting):
            left |= batch.record_ids
    left |= await kept_parts.lying(reads, ids)
    for part in await kept_parts.holding(reads, ids):
        if not await _take_away(services, part, waiting):
            left |= part.record_ids
    ready = [each for each in waiting if each.record_id not in left]
    if not ready:
        return 0
    async with services.store.transaction() as tx:
        last = max(each.at for each in ready)
        await match_jobs.expire_before(tx, last)
        await kept_uploads.drop_until(tx, moment(last))
        tx.shredded = True
    await merge_tokens(services)
    if not await services.store.forget():
        return 0  # somebody reads an old page: the next look
    async with services.store.transaction() as tx:
        await erasures.done(tx, [each.record_id for each in ready])
        await audit.write(tx, "gateway", "erasures.done", "erasures", {"records": len(ready)})
    return len(ready)


async def _turn_away(services: Services, batch: Waiting, waiting: list[Erasure]) -> bool:
    """Whether the parts of a batch that waits here and speaks of an erased record are gone now."""
    since = min(moment(each.at) for each in waiting if each.record_id in batch.record_ids)
    hours = await _hours(services, batch.stream)
    if batch.state == "staged" or hours is None or services.clock() - since < hours:
        return False  # what is staged goes with its epoch
    found = await inbox.in_batches_at(services.store.reads, batch.sender, batch.stream, batch.epoch, batch.seq)
    row = next(each for each in found if each.digest == batch.digest)
    if row.state == "held":
        async with services.store.transaction() as tx:
            target = f"batch/{row.sender}/x/{row.stream}/{row.epoch}/{row.seq}"
            await audit.write(tx, "gateway", "batch.refuse", target, {"reason": "erased", "code": row.code})
        with suppress(ExchangeError):  # no agreement by which to answer any more: its parts go all the same
            await Admission(services, row.stream, row.document, row.checkpoint, {}, None).refuse_held()
    async with services.store.transaction() as tx:
        await inbox.drop_in_parts(tx, row)
        tx.shredded = True
    return True


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
        await out_epochs.supersede(tx, part.stream, part.epoch)
        await kept_parts.purge_records(tx, part.stream, part.record_ids)
    return True


async def _hours(services: Services, stream: str) -> timedelta | None:
    """How long the agreement of a stream gives for erasing; None for a line that signs nothing, which is waited for."""
    agreement_id, _ = split_stream(stream)
    versions = (await held_agreements.held_agreements(services.store.reads, agreement_id)).get(agreement_id, [])
    return timedelta(hours=min(held.agreement.terms.sla.erase_h for held in versions)) if versions else None

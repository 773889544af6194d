"""A new epoch as a whole: the batches that were staged until its last one came, and the records that none of them names.

What was staged is verified again, part by part, before anything of it is applied. This story judges no line: `apply_batch` has that done,
once what the epoch leaves out is withdrawn.
"""

import asyncio
from collections.abc import Iterable, Mapping

import msgspec

from gateway.core.errors import ExchangeError
from gateway.core.exchange import batch_lines, manifests
from gateway.core.exchange.judging import KnownRecord
from gateway.core.exchange.merkle import CompactRange
from gateway.core.exchange.wire import SUITES, instant
from gateway.operations.accept_records import accept_records
from gateway.operations.admit_batch import Admission, Passed
from gateway.operations.answer_batch import BatchRefused
from gateway.operations.judge_lines import CHUNK, Judging
from gateway.operations.parts_at_hand import PartsAtHand
from gateway.services import Services
from gateway.store import inbox, known_records, measures
from gateway.store.store import Transaction


async def verified(
    tx: Transaction, admission: Admission, last: Passed, missing: dict[str, KnownRecord]
) -> list[tuple[Passed, PartsAtHand]]:
    """Every batch of the epoch with its parts, in order; what any of them names, whatever it says of it, is taken out of `missing`.

    Raises BatchRefused when what was staged is not what it was.
    """
    assert admission.stream is not None  # noqa: S101  # step 4 refuses a batch without one
    limits, tree = admission.stream.rules.agreement.terms.limits, CompactRange(admission.suite)
    batches: list[tuple[Passed, PartsAtHand]] = []
    for batch in await inbox.staged_batches(tx, last.manifest.sender, last.manifest.stream, last.manifest.epoch):
        parts = await PartsAtHand.with_kept(tx, {}, batch)
        manifest = manifests.read_manifest(batch.document.body)
        check = batch_lines.LineCheck(manifest, tree, limits)
        try:
            for part in manifest.parts:
                await asyncio.to_thread(check.add, part, await parts.read(tx, part, SUITES[manifest.suite]))
            again = check.done()
        except ExchangeError as error:
            raise BatchRefused(error) from error
        tree = again.tree
        _take_out(missing, again.named)
        batches.append((Passed(manifest=manifest, verified=msgspec.structs.replace(again, named=frozenset())), parts))
    _take_out(missing, last.verified.named)
    return [*batches, (Passed(manifest=last.manifest, verified=last.verified), admission.parts)]


def _take_out(missing: dict[str, KnownRecord], named: Iterable[str | None]) -> None:
    for rid in named:
        missing.pop(rid, None)  # type: ignore[arg-type]  # a line without an id names nothing


async def withdraw(services: Services, tx: Transaction, judging: Judging, missing: Mapping[str, KnownRecord]) -> list[str]:
    """Records that the new epoch does not name any more are withdrawn; their ids."""
    rids = sorted(missing)
    for at in range(0, len(rids), CHUNK):
        some = rids[at : at + CHUNK]
        admitted = [judging.left_out(rid, missing[rid].v) for rid in some]
        actor = f"partner/{judging.stream.sender}"
        await accept_records(services, tx, admitted, judging.dataset, actor=actor, texts=({},) * len(some))
        gone = {rid: (msgspec.structs.replace(missing[rid], op="retract"), None, instant(tx.now)) for rid in some}
        await known_records.put(tx, gone)
        await measures.drop_measures(tx, some)
    return rids

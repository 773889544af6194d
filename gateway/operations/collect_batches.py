"""Fetch what partners have sealed for us, take it in, and bring them receipts with their feedback (exchange.md §10); look into folders.

Rules: partners are asked for the streams of which an agreement says `pull`, under each agreement over its own line; each batch goes through
`receive_batch` like one that was posted, by that partner and no other; a line has its own cursor, kept when a batch has been answered, so
what was cut off is fetched again without a second effect. While a new epoch is on its way the old one is asked for too: what it withdraws
does not wait for the new one's last batch. Receipts are brought in order, each once, also those that follow a person's decision later;
feedback goes before the receipt that names it. What fails, brings much or answers without end delays that line alone, neither another
partner nor another agreement with this one. This story must not judge anything.
"""

import asyncio
from collections.abc import Iterable
from datetime import timedelta
from functools import partial
from time import monotonic

from gateway.adapter_contract import AdapterError, IncomingBatch, PartnerAdapter
from gateway.core.errors import ExchangeError, GatewayError
from gateway.core.exchange import notes
from gateway.core.exchange.agreements import Held
from gateway.core.exchange.manifests import read_manifest
from gateway.core.exchange.notes import SignedDocument
from gateway.operations.apart import Apart, Errand, Troubles
from gateway.operations.backing_off import due, pause
from gateway.operations.fetch_keys import with_newer_keys
from gateway.operations.look_first import PartFiles, parts_worth_reading
from gateway.operations.look_in_folders import folders, look_in_folder
from gateway.operations.partners import LONGEST_LOOK, agreed_lines, fetched_from, line_name, line_to, one_of_two
from gateway.operations.receive_batch import receive_batch
from gateway.services import Services
from gateway.store import fetch_tries, given_receipts, inbox
from gateway.store.old_epochs import being_replaced

TURN = timedelta(minutes=5)
"""After this no further batch of the same line is begun at one look."""


async def collect_batches(
    services: Services, apart: Apart | None = None, *, partner: str | None = None, paced: bool = False
) -> dict[str, str]:
    """One look over every line that fetches, or those of one partner; partner and agreement, or stream in a folder → what went wrong.

    Lines are looked over side by side; `apart` remembers which are still under way from before. `paced`: into folders only as often
    as their line says, and not before a line's next attempt is due. Raises StoreError when the store cannot be used.
    """
    errands: dict[str, Errand] = {}
    for held, other in await folders(services):
        if partner in (None, other):
            errands[f"{held.agreement.id}/folder"] = partial(look_in_folder, services, held, other, paced=paced)
    tried = await fetch_tries.failing(services.store.reads)
    for held, other in await agreed_lines(services):
        if fetched_from(held, other) and partner in (None, other):
            last = tried.get(held.agreement.id)
            if not paced or last is None or due(last.next_attempt_at, services.clock()):
                errands[held.agreement.id] = partial(_look_over, services, held, other, last.attempts if last is not None else None)
    return await (apart or Apart()).round(errands)


async def fetches_from(services: Services, partner: str) -> bool:
    """Whether under any agreement something is fetched from this partner, over a line or out of a folder."""
    fetched = [other for held, other in await agreed_lines(services) if fetched_from(held, other)]
    return partner in (*fetched, *(other for _, other in await folders(services)))


async def fetched_frozen(services: Services, partner: str | None = None) -> dict[str, str]:
    """Streams that are fetched, from all partners or one, and go no further because of a fork; stream → code."""
    fetched = {
        (other, name) for held, other in await agreed_lines(services) if partner in (None, other) for name in fetched_from(held, other)
    }
    rows = await inbox.in_streams_all(services.store.reads)
    return {f"{row.sender}/{row.stream}": row.frozen for row in rows if row.frozen is not None and (row.sender, row.stream) in fetched}


async def _look_over(services: Services, held: Held, partner: str, attempts: int | None) -> Troubles:
    """Everything that there is for us over one line; `attempts`: so many have failed of late."""
    code, reads, name = None, services.store.reads, held.agreement.id
    before = await inbox.line_cursor(reads, name)
    try:
        async with line_to(services, held, partner) as line:
            if "collect" in line.capabilities:
                async with asyncio.timeout(LONGEST_LOOK.total_seconds()):
                    await _collect(services, held, partner, line)
    except (AdapterError, GatewayError) as error:
        code = error.code
    except TimeoutError:
        code = "UNAVAILABLE"
    except asyncio.CancelledError:
        if (task := asyncio.current_task()) is None or task.cancelling():
            raise
        code = "ADAPTER_FAILED"  # not by us: a guest has given up
    except Exception as error:  # noqa: BLE001  # a guest may raise anything; its own schedule must go on
        code = type(error).__name__
    if code is not None or attempts is not None:
        if attempts is not None and code is not None and await inbox.line_cursor(reads, name) != before:
            attempts = 0  # something has come: it does not fail again and again
        await _note(services, name, code, attempts or 0)
    return {} if code is None else {line_name(held, partner): code}


async def _note(services: Services, agreement: str, code: str | None, attempts: int) -> None:
    """What an attempt came to: it decides when the next one is due, after a restart too."""
    async with services.store.transaction() as tx:
        if code is None:
            await fetch_tries.went_well(tx, agreement)
        else:
            await fetch_tries.failed(tx, agreement, attempts=attempts + 1, next_attempt_at=tx.now + pause(attempts), code=code)


async def _collect(services: Services, held: Held, partner: str, line: PartnerAdapter) -> None:
    names = fetched_from(held, partner)
    until = monotonic() + TURN.total_seconds()
    for name in names:
        await _bring(services, partner, name, line)
    try:
        await _behind(services, held, partner, line, names, until)
        async for batch in line.collect(await inbox.line_cursor(services.store.reads, held.agreement.id)):
            name = await _take(services, held, partner, batch)
            async with services.store.transaction() as tx:
                await inbox.keep_line_cursor(tx, held.agreement.id, batch.cursor)
            await _bring(services, partner, name, line)
            if monotonic() > until:
                return  # the cursor stands: the next look goes on behind it
    except AdapterError as error:
        resync = getattr(line, "resync", None) if "resync" in line.capabilities else None
        if error.code == "SEQ_CLOSED" and resync is not None and error.place in names:
            await resync(error.place, "too_late")  # what we want is not kept any more
        raise


async def _behind(services: Services, held: Held, partner: str, line: PartnerAdapter, names: Iterable[str], until: float) -> None:
    """What old epochs still withdraw while new ones are on their way: first, for its versions are lower, and no cursor moves by it."""
    collect = getattr(line, "collect_behind", None)
    for name in names if collect is not None else ():
        place = await being_replaced(services.store.reads, partner, name)
        if place is not None and collect is not None:
            async for batch in collect(name, *place):
                await _take(services, held, partner, batch)
                await _bring(services, partner, name, line)
                if monotonic() > until:
                    return


async def _take(services: Services, held: Held, partner: str, batch: IncomingBatch) -> str:
    """Take in one batch; the name of its stream."""
    manifest = read_manifest(batch.manifest)
    stream = manifest.stream
    if await inbox.answered_before(services.store.reads, partner, stream, manifest.epoch):
        return stream
    document = SignedDocument(batch.manifest, batch.manifest_note.decode())
    wanted = await with_newer_keys(services, partner, lambda: parts_worth_reading(services, stream, document, partner))
    parts = PartFiles(batch.parts, wanted)
    limit = held.agreement.terms.limits.part_bytes
    if any(part.size > limit for part in batch.parts if part.name in parts):
        raise ExchangeError("a part is larger than agreed", code="SIZE_BYTES", place=stream)
    checkpoint = batch.checkpoint.decode()
    received = await with_newer_keys(
        services,
        partner,
        lambda: receive_batch(services, stream=stream, document=document, checkpoint=checkpoint, parts=parts, caller=partner),
    )
    if received.receipt is None:
        raise ExchangeError("parts of the batch are missing", code="SIG_PART_MISSING", place=stream)
    return stream


async def _bring(services: Services, partner: str, stream: str, line: PartnerAdapter) -> None:
    """Receipts that the sender has not got yet, in order."""
    acknowledge = getattr(line, "acknowledge", None) if "acknowledge" in line.capabilities else None
    if acknowledge is None:
        return
    for given in await given_receipts.to_bring(services.store.reads, partner, stream):
        async with one_of_two(services, partner):
            await acknowledge(stream, given.no, notes.envelope(given.document), given.feedback)
        async with services.store.transaction() as tx:
            await given_receipts.was_brought(tx, partner, stream, given.no)

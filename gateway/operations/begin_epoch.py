"""Begin a stream of ours anew: everything that the partner may hold today, in a new epoch that replaces the old one (exchange.md §5).

Rules: an epoch begins because the partner asks for it, or because a person here decides so; while one is not whole no other begins, but
for a partner who had some of it and has lost it. Until the partner has swapped, the old epoch still delivers what waits and what must
disappear; what it stopped at is over. Old heads stay as they are, for whoever looks later.
This story seals nothing: `seal_batch` does, in the epoch that it finds.
"""

from typing import Literal

import msgspec
from msgspec import Struct

from gateway.core.errors import ExchangeError, NotFound
from gateway.core.exchange.manifests import read_manifest
from gateway.core.exchange.wire import SUITES, strict_json
from gateway.operations.partners import Stream, streams_from
from gateway.operations.seal_batch import incomplete
from gateway.services import Services
from gateway.store import audit, old_epochs, out_epochs, outbox
from gateway.store.outbox import OutStream
from gateway.store.store import Source

Reason = Literal["too_late", "lost_state", "fork_released"]


class Resync(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a partner posts."""

    reason: Reason


async def asked_for(services: Services, partner: str, stream: str, body: bytes) -> int:
    """The epoch that comes because the receiver of a stream of ours asks for one; one that is still on its way is enough.

    Raises NotFound for a stream that this partner does not receive, ExchangeError SCHEMA_JSON or SCHEMA_MANIFEST.
    """
    found = await _stream(services, stream)
    if found is None or found.receiver != partner:
        raise NotFound
    strict_json(body)
    try:
        reason = msgspec.json.decode(body, type=Resync).reason
    except msgspec.ValidationError as error:
        raise ExchangeError("a reason: too_late, lost_state or fork_released", code="SCHEMA_MANIFEST") from error
    return await _begin(services, found, by=f"partner/{partner}", reason=reason, lost=reason == "lost_state")


async def begin_epoch(services: Services, stream: str, *, by: str, reason: str) -> int:
    """The epoch that a person here decides on, after a batch that was refused or a stream that has stopped.

    Raises NotFound for no stream of ours.
    """
    found = await _stream(services, stream)
    if found is None:
        raise NotFound
    return await _begin(services, found, by=by, reason=reason)


async def _stream(services: Services, name: str) -> Stream | None:
    streams = await streams_from(services.store.reads, services.signers.party, services.clock())
    return next((stream for stream in streams if stream.name == name), None)


async def _begin(services: Services, stream: Stream, *, by: str, reason: str, lost: bool = False) -> int:
    suite = SUITES[stream.rules.terms.wire.suite]
    async with services.store.transaction() as tx:
        out = await outbox.out_stream(tx, stream.name, suite)
        if out is None:
            return 1  # nothing was ever said: what comes is whole
        if await _on_its_way(tx, out):
            if not lost or not await old_epochs.answered(tx, stream.name, out.head.epoch):
                return out.head.epoch
            await out_epochs.supersede(tx, stream.name, out.head.epoch)  # what had come of it is lost with the rest
        epoch = await out_epochs.begin(tx, out, lost=lost)
        await audit.write(tx, by, "stream.epoch", f"stream/{stream.name}", {"epoch": epoch, "reason": reason, "size": out.head.tree.size})
    return epoch


async def _on_its_way(source: Source, out: OutStream) -> bool:
    """Whether the epoch is a new one that the partner has not swapped in yet, and may."""
    if out.head.epoch == 1 or out.stopped:
        return False
    if await incomplete(source, out):
        return True
    return any(read_manifest(one.document.body).snapshot != "none" for one in await outbox.waiting_batches(source, out.head.stream))

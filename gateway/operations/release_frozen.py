"""Let a partner's frozen stream go on: two persons, and a new epoch of the partner's (exchange.md §7).

Rules: the first person asks, another one agrees; only then may a new epoch be staged, and only when it is whole is the stream open again.
Nothing of the forked epoch is applied any more; the evidence stays. This story must not decide who of the two signatures was right.
"""

from gateway.adapter_contract import AdapterError
from gateway.core.errors import ExchangeError, NotFound
from gateway.core.exchange.wire import split_stream
from gateway.operations.begin_epoch import Reason
from gateway.operations.partners import line_to
from gateway.services import Services
from gateway.store import audit, held_agreements, inbox


async def release_frozen(services: Services, stream: str, *, by: str, reason: str) -> bool:
    """One person more for the release of a frozen stream; true once two have agreed and a new epoch is taken.

    Raises ExchangeError NOT_FOUND when no partner's stream of this name is frozen.
    """
    for row in await inbox.in_streams_all(services.store.reads):
        if row.stream == stream and row.frozen is not None:
            async with services.store.transaction() as tx:
                done = await inbox.release(tx, row.sender, stream, by)
                act = "stream.release" if done else "stream.release-asked"
                await audit.write(tx, by, act, f"stream/{row.sender}/{stream}", {"reason": reason, "code": row.frozen})
            return done
    raise ExchangeError("no stream of this name is frozen", code="NOT_FOUND", place=stream)


async def ask_for_epoch(services: Services, stream: str, *, reason: Reason, by: str) -> None:
    """Ask the sender of a stream to us for a new epoch, over its line.

    Raises NotFound for no stream to us, AdapterError for what goes wrong on the line, or for a line that cannot ask.
    """
    reads, now = services.store.reads, services.clock()
    agreement_id, dataset = split_stream(stream)
    for held in reversed((await held_agreements.held_agreements(reads, agreement_id)).get(agreement_id, [])):
        partner = held.agreement.other(services.signers.party)
        if held.complete and not held.standing(now).ended and held.agreement.stream(dataset, partner) is not None:
            async with line_to(services, held, partner) as line:
                ask = getattr(line, "resync", None) if "resync" in line.capabilities else None
                if ask is None:
                    raise AdapterError("UNAVAILABLE", "此线路不能请求新一期数据", transient=False)
                await ask(stream, reason)
            async with services.store.transaction() as tx:
                await audit.write(tx, by, "stream.resync", f"stream/{partner}/{stream}", {"reason": reason})
            return
    raise NotFound

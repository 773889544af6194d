"""An agreement that goes on after its end, and streams whose sender has to say anew what was purged here (exchange.md §3, §5).

Rules:
- no version follows an end; but the second signature of one may reach us when we have carried out the end of the one before already, and
  the other side never had one. Then our own streams begin a new epoch, for their parts and salts are gone, and of the partner's streams a
  new epoch is awaited, where they were purged.
- a stream of ours that has stopped stays so: a person looks at it first, and begins its epoch (`chengxin exchange epoch`).
- a partner is asked for it (`resync`, `lost_state`) until something of it has come: then the epoch speaks for itself. A line that cannot
  ask is left to people: the doctor says what to do.
- the inventory of the end goes, so that the next end has one of its own. All this is one transaction: cut off, the next round goes on.
This story must not decide that an agreement is in force: signatures and time do.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final

from gateway.core.errors import GatewayError
from gateway.core.exchange.agreements import Held, in_force
from gateway.core.exchange.wire import SUITES, split_stream
from gateway.operations.apart import Troubles
from gateway.operations.partners import line_to, stream_at
from gateway.operations.release_frozen import ask_for_epoch
from gateway.services import Services
from gateway.store import agreement_ends, audit, held_agreements, inbox, old_epochs, out_epochs, outbox
from gateway.store.store import Source, Transaction

ASK_EVERY: Final = timedelta(minutes=10)


async def go_on_after_end(services: Services) -> list[str]:
    """Begin anew under every agreement that is in force though we carried out, or began, the end of an earlier version; which.

    Raises StoreError.
    """
    done: list[str] = []
    for agreement_id, versions in (await held_agreements.held_agreements(services.store.reads)).items():
        if await _ended_before(services, services.store.reads, versions) is not None:
            async with services.store.transaction() as tx:
                versions = (await held_agreements.held_agreements(tx, agreement_id))[agreement_id]
                both = await _ended_before(services, tx, versions)
                if both is not None:  # no other process was faster
                    await _go_on(services, tx, *both)
                    done.append(agreement_id)
    return done


async def _ended_before(services: Services, source: Source, versions: Sequence[Held]) -> tuple[Held, Held] | None:
    """(the version that goes on, the one whose end was carried out or begun); None where none goes on after an end."""
    now = services.clock()
    held = in_force(versions, now)
    if held is None or held.standing(now).ended:
        return None
    made = await agreement_ends.inventory(source, held.agreement.id, services.signers.party)
    if made is None or made.version == held.agreement.version:
        return None
    return next(((held, one) for one in versions if one.agreement.version == made.version), None)


async def _go_on(services: Services, tx: Transaction, held: Held, ended: Held) -> None:
    agreement, ours = held.agreement, services.signers.party
    partner = agreement.other(ours)
    begun = 0
    for terms in agreement.terms.streams:
        name = f"{agreement.id}.{terms.dataset}"
        out = await outbox.out_stream(tx, name, SUITES[terms.wire.suite]) if terms.from_ == ours else None
        if out is not None and out.head.seq and not out.stopped:  # else nothing of it was lost, or a person has to look first
            epoch = await out_epochs.begin(tx, out)
            await outbox.stop_stream(tx, name, out.head.epoch, "SEQ_CLOSED")  # its parts are gone: what must disappear says the new one
            await out_epochs.drop_older(tx, name, epoch)
            begun += 1
            said = {"epoch": epoch, "reason": "agreement-goes-on", "size": out.head.tree.size}
            await audit.write(tx, "gateway", "stream.epoch", f"stream/{name}", said)
    purged = ended.agreement.terms.retention.after_termination == "purge"
    awaited = [f"{agreement.id}.{terms.dataset}" for terms in agreement.terms.streams if terms.from_ == partner] if purged else []
    awaiting = await inbox.await_anew(tx, partner, awaited) if awaited else 0
    await agreement_ends.drop_inventory(tx, agreement.id, ours)
    detail = {"begun": begun, "awaited": awaiting}
    await audit.write(tx, "gateway", "agreement.goes-on", f"agreement/{agreement.id}/{agreement.version}", detail)


async def anew_due(services: Services, lines: Sequence[tuple[Held, str]]) -> Mapping[str, tuple[Held, list[str]]]:
    """Under each agreement the streams for whose new epoch its partner is to be asked now; `lines`: agreements with their partners."""
    found: dict[str, tuple[Held, list[str]]] = {}
    now = services.clock()
    held_of = {(held.agreement.id, partner): held for held, partner in lines}
    for row in await inbox.in_streams_all(services.store.reads):
        held = held_of.get((split_stream(row.stream)[0], row.sender))
        if held is None or not services.paces.due(f"anew/{row.stream}", now, ASK_EVERY):
            continue
        if row.frozen is None and row.asks_since is None and await awaits_anew(services, row.sender, row.stream, row.anew_since):
            found.setdefault(held.agreement.id, (held, []))[1].append(row.stream)
    return found


async def awaits_anew(services: Services, sender: str, stream: str, since: str | None) -> bool:
    """Whether a stream to us has to begin anew, under an agreement in force, and nothing of the new epoch has come; `since`: its mark."""
    if since is None:
        return False
    found = await stream_at(services.store.reads, stream, sender, services.clock())
    active = found is not None and found.governing.standing(services.clock()).active
    return active and await old_epochs.being_replaced(services.store.reads, sender, stream) is None


async def ask_anew(services: Services, held: Held, partner: str, streams: Sequence[str]) -> Troubles:
    """Ask a partner for a new epoch of its streams, over a line that can; stream → code of what went wrong."""
    troubles: Troubles = {}
    try:
        async with line_to(services, held, partner) as line:
            able = "resync" in line.capabilities
    except GatewayError as error:
        return dict.fromkeys(streams, error.code)
    for stream in streams if able else ():
        services.paces.did(f"anew/{stream}", services.clock())
        try:
            await ask_for_epoch(services, stream, reason="lost_state", by="gateway")
        except GatewayError as error:
            troubles[stream] = error.code
    return troubles

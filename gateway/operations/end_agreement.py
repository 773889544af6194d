"""The end of an agreement: its records leave, what was kept for them goes, and a signed inventory says so (exchange.md §3).

Rules: at the end, by termination or by time, everything of the partner that was in force here leaves every exit at once. `purge`: then
its content is destroyed in every version, at once too, for nothing is left that it could serve; versions, numbers and leaf hashes stay.
Measures that we took on its account go with it, for they name whom it named. `freeze`: it is kept sealed, shown to nobody, and its sender
may still withdraw or erase it. Parts go in either case, ours too, but those that only withdraw and are on their way. The inventory counts
what was in force when it began; cut off anywhere, the next round goes on.
An agreement whose next version is signed and still to come has not ended. This story must not end an agreement: time and notices do.
"""

from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Struct

from gateway.core.callers.administrators import Administrator
from gateway.core.errors import ExchangeError
from gateway.core.exchange.agreements import Agreement, Held, in_force
from gateway.core.exchange.inventories import (
    Difference,
    Inventory,
    InventoryStream,
    Sealed,
    decode_inventory,
    differences,
    inventory_body,
    read_inventory,
    sign_inventory,
)
from gateway.core.exchange.merkle import CompactRange
from gateway.core.exchange.notes import SignedDocument, context_of
from gateway.core.exchange.wire import SUITES, b64, origin, split_stream
from gateway.core.records.model import RecordId
from gateway.operations.four_eyes import actor, proof
from gateway.operations.partners import every_key, exchange_signers
from gateway.operations.recognise import decide, decide_under
from gateway.services import Services
from gateway.store import agreement_ends, audit, came_back, held_agreements, inbox, inquiries, measures, outbox, purged, records
from gateway.store.reads import Row
from gateway.store.store import Source, Transaction, moment

CHUNK = 200
ENDED = ("terminated", "expired")


class Ended(Struct, frozen=True, kw_only=True):
    """An agreement that has ended, as both sides have taken stock of it."""

    agreement: str
    version: int
    partner: str
    state: str
    ours: Inventory | None
    """What we have done with the partner's records; None: not yet."""
    theirs: Inventory | None
    """What the partner says that it has done with ours; None: it has not said so yet."""
    differences: tuple[Difference, ...] = ()
    """Where theirs is not what we know."""


async def end_agreements(services: Services) -> list[str]:
    """Carry out the end of every agreement that is over and has no inventory of ours yet; which were finished now.

    Raises NoActivePolicy, StoreError, SettingsError key-missing.
    """
    finished: list[str] = []
    for agreement_id, versions in (await held_agreements.held_agreements(services.store.reads)).items():
        held = _over(services, versions)
        if held is None:
            continue
        made = await agreement_ends.inventory(services.store.reads, agreement_id, services.signers.party)
        if made is not None and made.version < held.agreement.version:
            made = None  # of an earlier end, after which the agreement went on
        if made is None or not made.note:
            await services.policies.fresh()
            await _end(services, held, made)
            finished.append(agreement_id)
    return finished


def _over(services: Services, versions: Sequence[Held]) -> Held | None:
    now = services.clock()
    held = in_force(versions, now)
    if held is None or held.standing(now).state not in ENDED or services.signers.party not in held.agreement.parties:
        return None
    return None if any(one.complete and one.agreement.effective > now for one in versions) else held


async def _end(services: Services, held: Held, made: Row | None) -> None:
    agreement, ours = held.agreement, services.signers.party
    partner = agreement.other(ours)
    streams = await agreement_ends.received_streams(services.store.reads, agreement.id, partner)
    if made is None:
        async with services.store.transaction() as tx:
            counts = {row.stream: await agreement_ends.in_force(tx, partner, row.stream) for row in streams}
            await decide_under(services, tx, agreement.id)
            draft = SignedDocument(msgspec.json.encode(counts), "")
            await agreement_ends.put_inventory(tx, agreement.id, ours, agreement.version, draft)
    else:
        counts = agreement_ends.decode_counts(made.body)
    purging = agreement.terms.retention.after_termination == "purge"
    for row in streams:
        await (purge_stream if purging else _freeze)(services, partner, row.stream)
    async with services.store.transaction() as tx:
        streams = await agreement_ends.received_streams(tx, agreement.id, partner)
        for row in streams:
            await agreement_ends.drop_received(tx, partner, row.stream)
        for row in await outbox.out_streams_all(tx):
            if split_stream(row.stream)[0] == agreement.id:
                await agreement_ends.drop_sent(tx, row.stream)
        said = [
            InventoryStream(
                origin=origin(partner, row.stream, row.epoch),
                size=row.size,
                root=row.root,
                held=counts.get(row.stream, 0),
                action="purged" if purging else "frozen",
            )
            for row in streams
        ]
        if purging:
            await inquiries.end_agreement(tx, agreement.id)  # what the partner told for a case
            await _await_elsewhere(services, tx, partner, [stream for stream, held_then in counts.items() if held_then])
        body = inventory_body(agreement, by=ours, streams=said, done_at=tx.now)
        document = sign_inventory(body, agreement, ours, exchange_signers(services, tx.now, agreement.algorithms))
        await agreement_ends.put_inventory(tx, agreement.id, ours, agreement.version, document)
        detail = {"streams": len(said), "records": sum(counts.values()), "action": "purged" if purging else "frozen"}
        await audit.write(tx, "gateway", "agreement.inventory", f"agreement/{agreement.id}/{agreement.version}", detail)
    services.doors.credentials.forget()


async def _await_elsewhere(services: Services, tx: Transaction, partner: str, streams: Sequence[str]) -> None:
    """What was purged may be held under another agreement with its sender, where it was left to this one: there it begins anew."""
    datasets = {split_stream(stream)[1] for stream in streams}
    going = [
        f"{name}.{terms.dataset}"
        for name, versions in (await held_agreements.held_agreements(tx)).items()
        if (held := in_force(versions, tx.now)) is not None and not held.standing(tx.now).ended
        for terms in held.agreement.terms.streams
        if terms.from_ == partner and terms.dataset in datasets
    ]
    if going:
        await inbox.await_anew(tx, partner, going)


async def purge_stream(services: Services, partner: str, stream: str, *, decide_anew: bool = False) -> None:
    """Destroy what a partner's records say, some in a transaction; `decide_anew`: what was decided about them ends with them."""
    after = ""
    while found := await agreement_ends.to_purge(services.store.reads, partner, stream, after=after, limit=CHUNK):
        async with services.store.transaction() as tx:
            if decide_anew and not await came_back.asks(tx, partner, stream):
                return  # another process was faster, and its sender tells it anew
            present = await agreement_ends.to_purge(tx, partner, stream, after=after, limit=CHUNK)
            ours = [one.record_id for one in await measures.measures_about(tx, present)]  # they name whom the partner's record named
            for record_id in [*present, *await agreement_ends.not_erased(tx, [one for one in ours if one not in present])]:
                await records.erase(tx, RecordId(record_id), actor="gateway/agreement")
            if decide_anew:
                await decide(services, tx, present)
            await measures.drop_measures(tx, [*present, *ours])
            await purged.mark(tx, present)
        after = found[-1]
    async with services.store.transaction() as tx:
        await purged.erased_before(tx, partner, stream)


async def _freeze(services: Services, partner: str, stream: str) -> None:
    """Take a partner's records back here, some in a transaction; what they say stays sealed."""
    after = ""
    while found := await agreement_ends.to_freeze(services.store.reads, partner, stream, after=after, limit=CHUNK):
        async with services.store.transaction() as tx:
            for record_id in await agreement_ends.to_freeze(tx, partner, stream, after=after, limit=CHUNK):
                await records.set_state(
                    tx, RecordId(record_id), state="retracted", op="retract", reason="no_longer_public", actor="gateway/agreement"
                )
        after = found[-1]


async def take_inventory(services: Services, document: SignedDocument, *, by: Administrator | str) -> Ended:
    """Keep the other side's inventory of an agreement that is over.

    Raises ExchangeError SIG_*, SCHEMA_*; SCOPE_AGREEMENT where the agreement is not over, SCOPE_DIGEST for another text or a second one.
    """
    agreement_id, _, party = context_of(document.note).partition("/")
    said = decode_inventory(document.body)
    async with services.store.transaction() as tx:
        versions = (await held_agreements.held_agreements(tx, agreement_id)).get(agreement_id, [])
        held = next((one for one in versions if one.agreement.version == said.agreement.version), None)
        if held is None or not held.complete or held.standing(tx.now).state not in ENDED or party == services.signers.party:
            raise ExchangeError("no agreement of this name and version is over", code="SCOPE_AGREEMENT", place=agreement_id)
        held.agreement.other(party)
        read_inventory(document, held.agreement, await every_key(tx, held, party), first_seen=tx.now)
        present = await agreement_ends.inventory(tx, agreement_id, party)
        if present is not None and present.version < held.agreement.version:
            present = None  # of an earlier end, after which the agreement went on
        if present is not None and present.body != document.body:
            raise ExchangeError("another inventory of this party is held", code="SCOPE_DIGEST", place=f"{agreement_id}/{party}")
        if present is None:
            await agreement_ends.put_inventory(tx, agreement_id, party, held.agreement.version, document)
            detail = {"by": party, **proof(by)}
            await audit.write(tx, actor(by), "agreement.inventory", f"agreement/{agreement_id}/{held.agreement.version}", detail)
        return await _shown(services, tx, held)


async def show_end(services: Services, agreement_id: str) -> Ended:
    """Both inventories of an agreement that is over, and where the other side's is not what we know.

    Raises ExchangeError SCOPE_AGREEMENT when it is not over.
    """
    versions = (await held_agreements.held_agreements(services.store.reads, agreement_id)).get(agreement_id, [])
    held = _over(services, versions)
    if held is None:
        raise ExchangeError("no agreement of this name is over", code="SCOPE_AGREEMENT", place=agreement_id)
    return await _shown(services, services.store.reads, held)


async def _shown(services: Services, source: Source, held: Held) -> Ended:
    agreement, ours = held.agreement, services.signers.party
    partner = agreement.other(ours)
    mine, other = [
        row if (row := await agreement_ends.inventory(source, agreement.id, party)) and row.version == agreement.version else None
        for party in (ours, partner)
    ]
    theirs: Inventory | None = None
    found: tuple[Difference, ...] = ()
    if other is not None:
        ring = await every_key(source, held, partner)
        theirs = read_inventory(SignedDocument(other.body, other.note), agreement, ring, first_seen=moment(other.first_seen))
        found = differences(theirs, agreement, await _sealed(source, agreement, ours, theirs))
    return Ended(
        agreement=agreement.id,
        version=agreement.version,
        partner=partner,
        state=held.standing(services.clock()).state,
        ours=decode_inventory(mine.body) if mine is not None and mine.note else None,
        theirs=theirs,
        differences=found,
    )


async def _sealed(source: Source, agreement: Agreement, ours: str, theirs: Inventory) -> Mapping[str, Sealed]:
    """Our streams under an agreement, each with its root at the size that the other side names: the latest epochs, and those it names."""
    named = {stream.origin: stream.size for stream in theirs.streams}
    mine = [row for row in await outbox.out_streams_all(source) if split_stream(row.stream)[0] == agreement.id]
    latest = {row.stream: row.epoch for row in mine}
    found: dict[str, Sealed] = {}
    for row in mine:
        where = origin(ours, row.stream, row.epoch)
        if where in named or latest[row.stream] == row.epoch:
            found[where] = Sealed(size=row.size, root=await _root_at(source, agreement, ours, row, named.get(where, row.size)))
    return found


async def _root_at(source: Source, agreement: Agreement, ours: str, row: Row, size: int) -> str | None:
    terms = agreement.stream(split_stream(row.stream)[1], ours)
    if terms is None or size > row.size:
        return None
    tree = CompactRange(SUITES[terms.wire.suite])
    tree.extend((await outbox.out_leaf_hashes(source, row.stream, row.epoch))[:size])
    return b64(tree.root())

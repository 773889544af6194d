"""A house that came back from a copy finds its place in partners' streams again, and is told anew what it held (exchange.md §8).

Rules:
- a copy is of the past: what partners withdrew or had erased since stands in it as if nothing had happened. So everything that they told
  leaves every exit and is purged, from the first moment on, and each stream begins anew (`lost_state`). What is purged they may say again.
- receipts that were given since are with their senders, signed by us. Until a sender has shown the last one, none is given in its stream:
  a batch is answered 503, and tried again. Then the next number follows that one. What we may have signed meanwhile, before anybody marked
  the stream, was never believed, for it forked; it is set aside with its digests in the trail.
- the next keys document has a number beyond all that may have been published since: partners refuse one that goes back.
- a stream that was frozen in the lost time, as our last receipt about a batch says, is frozen again: two persons let it go on.
- only a receipt that we signed about this stream counts. A sender that shows an older one than it has, or none, makes us fork before its
  own eyes: then it stops, and nothing is lost but its own stream.
- batches of epochs that were answered in the lost time are not answered again: a new epoch comes, and whatever those withdrew is in no
  exit here. Cut off anywhere, the next round goes on.
This story must not believe what a partner says of itself, nor bring back a record.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Final

from msgspec import Struct

from gateway.adapter_contract import AdapterError, PartnerAdapter
from gateway.core.errors import ExchangeError, GatewayError, NoActivePolicy, NotFound, SettingsError
from gateway.core.exchange import feedback, notes
from gateway.core.exchange.admitting import required_algorithms
from gateway.core.exchange.agreements import Held, in_force
from gateway.core.exchange.feedback import Receipt
from gateway.core.exchange.notes import KeyRing
from gateway.core.exchange.wire import SUITES, digest_text, split_stream
from gateway.operations.apart import Troubles
from gateway.operations.end_agreement import purge_stream
from gateway.operations.manage_agreements import publish_ahead
from gateway.operations.partners import Stream, agreed_lines, code_of, every_key, line_to, stream_at
from gateway.services import Services
from gateway.store import agreement_ends, audit, came_back, given_receipts, held_agreements, inbox, purged
from gateway.store.inbox import InStream
from gateway.store.store import Transaction, moment

ASK_EVERY: Final = timedelta(minutes=1)
MOST: Final = 10_000
"""Receipts that are looked at until one is found that both sides know alike."""


class _Shown(Struct, frozen=True, kw_only=True):
    """A receipt of ours that a sender keeps, believed."""

    receipt: Receipt
    digest: str


# --- the mark -----------------------------------------------------------------------------------------------------------


async def mark_streams(services: Services, tx: Transaction, only: str | None = None) -> list[tuple[str, str]]:
    """Mark every stream that partners send us under an agreement that is not over, or one: sender and name of each.

    Raises NotFound for a name that none of them has.
    """
    marked: list[tuple[str, str]] = []
    for agreement_id, versions in (await held_agreements.held_agreements(tx)).items():
        held = in_force(versions, tx.now) or next((one for one in versions if one.complete), None)
        if held is None or services.signers.party not in held.agreement.parties or held.standing(tx.now).ended:
            continue
        partner = held.agreement.other(services.signers.party)
        for terms in held.agreement.terms.streams:
            name = f"{agreement_id}.{terms.dataset}"
            if terms.from_ == partner and only in (None, name) and terms.wire.suite in SUITES:
                await came_back.mark(tx, partner, name, SUITES[terms.wire.suite])
                marked.append((partner, name))
    if only is not None and not marked:
        raise NotFound
    return marked


async def came_back_from_copy(services: Services, *, by: str, reason: str, stream: str | None = None) -> list[str]:
    """Begin partners' streams anew, or one, because this house is an older copy of itself; which.

    Raises NotFound for no such stream, SettingsError key-missing, NoActivePolicy, StoreError.
    """
    await publish_ahead(services)
    async with services.store.transaction() as tx:
        marked = await mark_streams(services, tx, stream)
        for sender, name in marked:
            await audit.write(tx, by, "stream.came-back", f"stream/{sender}/{name}", {"reason": reason})
    await purge_marked(services)
    return [name for _, name in marked]


async def purge_marked(services: Services) -> int:
    """Purge what partners told in marked streams, as far as that is not done; how many streams are marked.

    Raises NoActivePolicy, StoreError.
    """
    rows = await came_back.asking(services.store.reads)
    if rows:
        await services.policies.fresh()
    for row in rows:
        if not await came_back.unpurged(services.store.reads, row.sender, row.stream):
            continue
        await purge_stream(services, row.sender, row.stream, decide_anew=True)
        async with services.store.transaction() as tx:
            if not await came_back.asks(tx, row.sender, row.stream):
                continue  # another process was faster: what is there now was told anew
            await agreement_ends.drop_received(tx, row.sender, row.stream)
            await purged.forget_words(tx, row.sender, row.stream)
    return len(rows)


async def purge_restored(services: Services) -> None:
    """The same, for a gateway that was just made out of a copy; one without a policy in force holds nothing of partners.

    Where no key of ours is good now nothing was published of late either: whoever makes one publishes it. Raises StoreError.
    """
    with suppress(SettingsError):
        await publish_ahead(services)
    with suppress(NoActivePolicy):
        await purge_marked(services)


# --- the last receipt ---------------------------------------------------------------------------------------------------


async def places_due(services: Services, lines: Sequence[tuple[Held, str]]) -> Mapping[str, tuple[Held, list[str]]]:
    """Under each agreement the streams whose sender is to be asked now for our last receipt."""
    found: dict[str, tuple[Held, list[str]]] = {}
    now = services.clock()
    held_of = {(held.agreement.id, partner): held for held, partner in lines}
    for row in await came_back.asking(services.store.reads):
        held = held_of.get((split_stream(row.stream)[0], row.sender))
        if held is not None and services.paces.due(f"place/{row.stream}", now, ASK_EVERY):
            found.setdefault(held.agreement.id, (held, []))[1].append(row.stream)
    return found


async def find_places(services: Services, held: Held, partner: str, streams: Sequence[str]) -> Troubles:
    """Ask a sender for our last receipts, over a line that can; stream → code of what went wrong.

    Raises StoreError.
    """
    troubles: Troubles = {}
    for name in streams:
        services.paces.did(f"place/{name}", services.clock())
        try:
            async with line_to(services, held, partner) as line:
                if "kept" not in line.capabilities:
                    raise ExchangeError("this line cannot show our receipts", code="UNAVAILABLE", place=name)
                await _find_place(services, partner, name, line)
        except AdapterError as error:
            troubles[name] = code_of(error)
        except GatewayError as error:
            troubles[name] = error.code
    return troubles


async def find_all_places(services: Services) -> Troubles:
    """Ask every sender of a marked stream at once, due or not.

    Raises StoreError.
    """
    troubles: Troubles = {}
    marked = {(row.sender, row.stream) for row in await came_back.asking(services.store.reads)}
    for held, partner in await agreed_lines(services):
        streams = [name for sender, name in sorted(marked) if (sender, split_stream(name)[0]) == (partner, held.agreement.id)]
        troubles |= await find_places(services, held, partner, streams)
    return troubles


async def go_on_from(services: Services, stream: str, last: int, *, by: str, reason: str) -> None:
    """Go on in a marked stream on a person's word that its sender has no later receipt than the one that we hold, `last`.

    For a sender whose program or line cannot show it. Raises NotFound for no marked stream, ExchangeError SEQ_FORK for another number,
    NoActivePolicy.
    """
    row = next((each for each in await came_back.asking(services.store.reads) if each.stream == stream), None)
    if row is None:
        raise NotFound
    if row.receipt_no != last:
        hint = "the receipts that are lost must be shown, or another agreement begins at one"
        raise ExchangeError(f"the last receipt that we hold is {row.receipt_no}", code="SEQ_FORK", place=stream, hint=hint)
    await purge_marked(services)
    async with services.store.transaction() as tx:
        await came_back.find_place(
            tx,
            row.sender,
            stream,
            no=last,
            digest=row.receipt_digest,
            agreed=last,
            brought=last,
            first_epoch=row.epoch + 1 if row.seq else 0,
        )
        await audit.write(tx, by, "stream.found-place", f"stream/{row.sender}/{stream}", {"held": last, "reason": reason})


async def _find_place(services: Services, sender: str, name: str, line: PartnerAdapter) -> None:
    reads = services.store.reads
    stream = await stream_at(reads, name, sender, services.clock())
    if stream is None:
        raise NotFound
    head = await inbox.in_stream(reads, sender, name, stream.suite)
    if head is None or head.asks is None:
        return
    search = _Search(services, stream, line, head, await every_key(reads, stream.governing, services.signers.party))
    last = await search.shown(None)
    agreed = head.receipt_no if last is None else await search.agreed(last)
    after = last if last is not None and last.receipt.no > agreed else None
    ours = head.receipt_no if after is None else agreed
    # what both know alike stands; behind it stands what was signed before anybody knew, and nobody believed
    aside = {str(no): digest for no in range(ours + 1, head.receipt_no + 1) if (digest := await search.digest_of(no)) is not None}
    frozen = await search.frozen(last)
    applied = max(head.head.epoch if head.head.seq else 0, last.receipt.tree.epoch if last is not None else 0)
    async with services.store.transaction() as tx:
        present = await inbox.in_stream(tx, sender, name, stream.suite)
        if present is None or present.asks is None or present.receipt_no != head.receipt_no:
            return  # another process was faster
        if await came_back.unpurged(tx, sender, name):
            return  # marked after this round's purge: what is shown still would stay until it is told anew
        await came_back.find_place(
            tx,
            sender,
            name,
            no=after.receipt.no if after is not None else head.receipt_no,
            digest=after.digest if after is not None else head.receipt_digest,
            agreed=ours,
            brought=last.receipt.no if last is not None else 0,
            first_epoch=applied + 1 if applied else 0,
        )
        if frozen is not None:
            await inbox.freeze(tx, sender, name, frozen)
        detail: dict[str, object] = {"held": head.receipt_no, "first_epoch": applied + 1 if applied else 0}
        if last is not None:
            detail |= {"shown": last.receipt.no, "digest": last.digest, "size": last.receipt.tree.size}
        if frozen is not None:
            detail["frozen"] = frozen
        if aside:
            detail |= {"set_aside": aside}
        await audit.write(tx, "gateway", "stream.found-place", f"stream/{sender}/{name}", detail)


class _Search:
    """Where our receipts of a stream, as its sender keeps them, part from those that we hold."""

    def __init__(self, services: Services, stream: Stream, line: PartnerAdapter, head: InStream, ring: KeyRing) -> None:
        self.services = services
        self.stream = stream
        self.line = line
        self.head = head
        self.ring = ring

    async def shown(self, no: int | None) -> _Shown | None:
        """A receipt of ours that the sender keeps, or the last; None where it has none of that number.

        Raises ExchangeError SIG_*, SCHEMA_* for one that is not ours, or another one; AdapterError.
        """
        raw = await self.line.kept(self.stream.name, no, self.head.receipt_no)  # type: ignore[attr-defined]  # promised by the capability
        if raw is None:
            return None
        document = notes.read_envelope(raw)
        receipt = feedback.read_receipt(document.body)
        decided = moment(receipt.decided_at)
        notes.verify_document(
            document,
            self.ring,
            artefact="receipt",
            context=feedback.receipt_context(self.stream.name, self.stream.sender, receipt.no),
            use="exchange",
            first_seen=decided,  # we signed it then; a key that ended since was good
            own_time=decided,
            required=required_algorithms(self.stream.rules),
            suite=self.stream.suite,
            skew=self.stream.governing.agreement.skew,
        )
        said = (receipt.receiver, receipt.sender, receipt.stream, receipt.no if no is not None else None)
        if said != (self.services.signers.party, self.stream.sender, self.stream.name, no):
            raise ExchangeError("another receipt than was asked for", code="SIG_CONTEXT", place=self.stream.name)
        return _Shown(receipt=receipt, digest=digest_text(document.body, self.stream.suite))

    async def digest_of(self, no: int) -> str | None:
        """Of our receipt of a number, if we hold it."""
        given = await given_receipts.receipt(self.services.store.reads, self.stream.sender, self.stream.name, no)
        return digest_text(given.document.body, self.stream.suite) if given is not None else None

    async def frozen(self, last: _Shown | None) -> str | None:
        """Why the stream was frozen when a batch was last answered, by our own word; what came behind it may be about no batch.

        Raises as `shown` does.
        """
        shown = last
        for _ in range(MOST):
            if shown is None:
                return None
            receipt = shown.receipt
            if receipt.kind == "batch":
                return (receipt.code or "SEQ_FORK") if receipt.result == "frozen" else None
            shown = await self.shown(receipt.no - 1) if receipt.no > 1 else None
        return None

    async def agreed(self, last: _Shown) -> int:
        """The last number whose receipt both sides know alike; 0 where there is none.

        Raises ExchangeError UNAVAILABLE when it lies too far back.
        """
        no = last.receipt.no
        if await self.digest_of(no) == last.digest:
            return no
        after: _Shown | None = last
        if no > self.head.receipt_no + 1:
            no = self.head.receipt_no + 1
            after = await self.shown(no)
        for _ in range(MOST):
            no -= 1
            if no == 0:
                return 0
            mine = await self.digest_of(no)
            if mine is not None and after is not None and after.receipt.previous == mine:
                return no
            after = await self.shown(no)
            if after is not None and after.digest == mine:
                return no
        raise ExchangeError("no receipt is known to both sides alike", code="UNAVAILABLE", place=self.stream.name)

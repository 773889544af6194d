"""What lies in the folders that we share with partners (exchange.md §11): their batches and receipts, keys and agreements of both.

One look at a folder, in this order: signed documents that are newer here or there · receipts for what we laid down · batches that need not
lie there any more, or may not · of each of the partner's streams our receipts that are not there yet, what an old epoch withdraws while
the new one is on its way, then what is next · now and then the manifests of the last `parts_days` against the ledger.

Rules:
- Numbers come out of the ledger; a batch goes through `receive_batch` like one that was posted, by that partner and no other. A file that
  is missing, cut, or other than its note says is waited for until the batch is past its time; then the admission says so.
- No part is read before the manifest's note is believed and its sizes are within the agreement; then one at a time.
- What lies under a number that was decided, signed and with another digest, is a fork; the admission freezes the stream and keeps both.
- What is wrong with one stream delays no other. This story must not judge anything, and never looks at what it did not ask for.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

from gateway.adapter_contract import AdapterError, IncomingBatch, PartnerAdapter
from gateway.core.errors import ExchangeError, GatewayError, SettingsError
from gateway.core.exchange import batch_lines, notes
from gateway.core.exchange.agreements import Agreement, Held, in_force, read_agreement, signed_by
from gateway.core.exchange.manifests import Manifest, read_manifest
from gateway.core.exchange.notes import SignedDocument
from gateway.core.exchange.wire import SUITES, Suite, batch_id, digest_text, parse_instant, strict_json
from gateway.operations.answer_batch import BatchRefused, Received
from gateway.operations.fetch_keys import with_newer_keys
from gateway.operations.look_first import PartFiles, parts_worth_reading
from gateway.operations.manage_agreements import own_keys, take
from gateway.operations.partners import LONGEST_LOOK, line_name, line_to
from gateway.operations.receive_batch import receive_batch
from gateway.operations.take_receipt import keep_feedback, take_receipt
from gateway.services import Services
from gateway.store import drops, given_receipts, held_agreements, inbox, ledger, withdrawn_offers
from gateway.store.old_epochs import being_replaced

DOCUMENTS_EVERY: Final = timedelta(minutes=10)
LEDGER_EVERY: Final = timedelta(hours=1)


async def look_in_folder(services: Services, held: Held, partner: str, *, paced: bool = False) -> dict[str, str]:
    """One look into the folder of an agreement; stream, or partner and agreement → code of what did not go well.

    `paced`: only where the line's own pause is over. Raises StoreError when the store cannot be used.
    """
    troubles: dict[str, str] = {}
    try:
        async with line_to(services, held, partner) as line:
            pause = timedelta(seconds=getattr(line, "poll_s", 0))
            if not paced or _due(services, f"{held.agreement.id}/folder", pause):
                async with asyncio.timeout(LONGEST_LOOK.total_seconds()):
                    await _Look(services, held, partner, line, troubles).run(paced=paced)
    except (AdapterError, GatewayError) as error:
        troubles[line_name(held, partner)] = error.code
    except TimeoutError:
        troubles[line_name(held, partner)] = "UNAVAILABLE"
    except Exception as error:  # noqa: BLE001  # a guest may raise anything; the other partners must not wait for it
        troubles[line_name(held, partner)] = type(error).__name__
    return troubles


async def folders(services: Services) -> list[tuple[Held, str]]:
    """Each agreement under which something travels by folder, as it governs now or did last, with its partner."""
    found = []
    for versions in (await held_agreements.held_agreements(services.store.reads)).values():
        held = in_force(versions, services.clock()) or next((version for version in reversed(versions) if version.complete), None)
        held = held or versions[-1]
        if services.signers.party in held.agreement.parties and any(one.wire.delivery == "drop" for one in held.agreement.terms.streams):
            found.append((held, held.agreement.other(services.signers.party)))
    return found


def _due(services: Services, what: str, pause: timedelta) -> bool:
    """Whether it is time to look at something again, as far as this process remembers."""
    now = services.clock()
    due = services.paces.due(what, now, pause)
    if due:
        services.paces.did(what, now)
    return due


class _Look:
    """One look into one folder."""

    def __init__(self, services: Services, held: Held, partner: str, line: PartnerAdapter, troubles: dict[str, str]) -> None:
        self.services = services
        self.held = held
        self.partner = partner
        self.line = line
        self.guest: Any = line
        """The same line, for what only some lines have."""
        self.troubles = troubles

    def _has(self, *capabilities: str) -> bool:
        return self.line.capabilities.issuperset(capabilities)

    async def run(self, *, paced: bool) -> None:
        """All of it. What is wrong with the folder itself ends the look; what is wrong with one stream does not."""
        if not self._has("apart", "receipts"):
            raise SettingsError("this adapter looks into no folder", code="adapter-contract", place=self.held.local.adapter)
        agreement, ours, now = self.held.agreement, self.services.signers.party, self.services.clock()
        over = self.held.complete and self.held.standing(now).ended and not self.held.takes_withdrawals(now)
        if not over and self._has("publish") and (not paced or _due(self.services, f"{agreement.id}/documents", DOCUMENTS_EVERY)):
            await self._exchange_documents()
        for terms in agreement.terms.streams:
            if terms.wire.delivery != "drop" or not self.held.complete:
                continue
            name, suite = f"{agreement.id}.{terms.dataset}", SUITES[terms.wire.suite]
            try:
                if over:
                    await self._clear(name, now)
                elif terms.from_ == ours:
                    await self._take_receipts(name)
                    await self._clear(name, now - timedelta(days=agreement.terms.retention.parts_days))
                else:
                    await self._bring(name)
                    await self._take_batches(name, suite)
                    if not paced or _due(self.services, f"{name}/ledger", LEDGER_EVERY):
                        await self._compare(name, suite)
            except (AdapterError, GatewayError) as error:
                self.troubles[name] = error.code

    # --- documents ------------------------------------------------------------------------------------------------------

    async def _exchange_documents(self) -> None:
        """Our keys, and every version of the agreement that somebody has signed; what has more signatures there is taken."""
        await self.guest.publish(f"keys/{self.services.signers.party}", notes.envelope(await own_keys(self.services)))
        agreement_id = self.held.agreement.id
        before: Agreement | None = None
        for version in (await held_agreements.held_agreements(self.services.store.reads, agreement_id)).get(agreement_id, []):
            name = f"agreements/{agreement_id}-{version.agreement.version}"
            lies = await self.guest.published(name)
            there = await self._signed_there(notes.read_envelope(lies), version.agreement, before) if lies is not None else frozenset[str]()
            if there > version.signed:
                await take(self.services, notes.read_envelope(lies), by=f"partner/{self.partner}")
            elif version.signed > there:
                await self.guest.publish(name, notes.envelope(SignedDocument(version.agreement.body, version.note)))
            before = version.agreement

    async def _taken_back(self, body: bytes) -> bool:
        try:
            agreement = read_agreement(body)
        except GatewayError:  # whatever it is, we never offered it
            return False
        return await withdrawn_offers.is_withdrawn(self.services.store.reads, agreement)

    async def _signed_there(self, lies: SignedDocument, agreement: Agreement, before: Agreement | None) -> frozenset[str]:
        """Who has signed what lies there; nobody, when its note cannot be believed, or it is an offer that we have taken back.

        Raises ExchangeError SCOPE_DIGEST for another text: it is not written over.
        """
        if lies.body != agreement.body:
            if await self._taken_back(lies.body):
                return frozenset()
            raise ExchangeError("another text of this version lies in the folder", code="SCOPE_DIGEST", place=agreement.id)
        try:
            return signed_by(agreement, lies.note, previous=before, first_seen=self.services.clock())
        except ExchangeError:
            return frozenset()

    # --- what we laid down ----------------------------------------------------------------------------------------------

    async def _take_receipts(self, stream: str) -> None:
        """Receipts that the partner has left since the last one, in order, until one cannot be taken."""
        reads = self.services.store.reads
        after = await ledger.last_receipt_no(reads, stream) or 0
        found: AsyncIterator[tuple[int, bytes, bytes]] = self.guest.receipts(stream, after)
        async for no, receipt, told in found:
            if told:
                await keep_feedback(self.services, self.partner, stream, no, told)
            await take_receipt(self.services, self.partner, stream, receipt)
            if no > (await ledger.last_receipt_no(reads, stream) or 0):
                return  # it bears another number than its name: nothing behind it is looked at

    async def _clear(self, stream: str, before: datetime) -> None:
        """Take away what is settled and older than this, and at once what holds an erased record."""
        if not self._has("clear"):
            return
        for epoch, seq in await drops.to_clear(self.services.store.reads, stream, before=before):
            await self.guest.clear(stream, epoch, seq)
            async with self.services.store.transaction() as tx:
                await drops.was_cleared(tx, stream, (epoch, seq))

    # --- what the partner laid down -------------------------------------------------------------------------------------

    async def _bring(self, stream: str) -> None:
        """Receipts of ours that do not lie there yet, in order."""
        for given in await given_receipts.to_bring(self.services.store.reads, self.partner, stream):
            await self.guest.acknowledge(stream, given.no, notes.envelope(given.document), given.feedback)
            async with self.services.store.transaction() as tx:
                await given_receipts.was_brought(tx, self.partner, stream, given.no)

    async def _take_batches(self, stream: str, suite: Suite) -> None:
        cursor = await inbox.line_cursor(self.services.store.reads, stream)
        found: AsyncIterator[IncomingBatch]
        place = await being_replaced(self.services.store.reads, self.partner, stream)
        if place is not None and hasattr(self.guest, "collect_behind"):  # first, for its versions are lower; no cursor moves by it
            async for batch in self.guest.collect_behind(stream, *place, lambda batch: self._wanted(stream, batch)):
                await self._take(stream, batch, suite)
                await self._bring(stream)
        if hasattr(self.guest, "collect_wanted"):
            found = self.guest.collect_wanted(cursor, stream, lambda batch: self._wanted(stream, batch))
        else:
            found = self.guest.collect(cursor, stream)
        async for batch in found:
            await self._take(stream, batch, suite)
            async with self.services.store.transaction() as tx:
                await inbox.keep_line_cursor(tx, stream, batch.cursor)
            await self._bring(stream)

    async def _take(self, stream: str, batch: IncomingBatch, suite: Suite) -> None:
        """Take in one batch, if it is whole or past its time.

        Raises ExchangeError for what is not there yet.
        """
        wanted = await self._wanted(stream, batch)
        document = _document(batch.manifest, batch.manifest_note)
        manifest = _manifest(document)
        if manifest is not None and await inbox.answered_before(self.services.store.reads, self.partner, stream, manifest.epoch):
            return
        limit = self.held.agreement.terms.limits.part_bytes
        parts: Mapping[str, bytes] = PartFiles((part for part in batch.parts if part.size <= limit), wanted)
        fault = _not_whole(manifest, parts, suite, limit) if manifest is not None and wanted else None
        if fault is not None and manifest is not None:
            if self.services.clock() <= _ends(manifest) + self.held.agreement.skew:
                raise fault
            parts = {}
        received = await with_newer_keys(self.services, self.partner, lambda: self._receive(stream, document, batch.checkpoint, parts))
        if received.receipt is None:
            raise fault or ExchangeError("parts of the batch are missing", code="SIG_PART_MISSING", place=batch.batch)

    async def _wanted(self, stream: str, batch: IncomingBatch) -> frozenset[str]:
        """Which parts are worth reading, by the manifest and its note alone.

        Raises ExchangeError when that is not to be believed, or of another batch.
        """
        document = _document(batch.manifest, batch.manifest_note)
        if _claimed(document.body) not in (None, batch.batch):
            raise ExchangeError("under this number lies another batch", code="SIG_CONTEXT", place=batch.batch)
        look = partial(parts_worth_reading, self.services, stream, document, self.partner)
        return await with_newer_keys(self.services, self.partner, look)

    async def _receive(self, stream: str, document: SignedDocument, checkpoint: bytes, parts: Mapping[str, bytes]) -> Received:
        return await receive_batch(
            self.services,
            stream=stream,
            document=document,
            checkpoint=_text(checkpoint),
            parts=parts,
            caller=self.partner,
        )

    async def _compare(self, stream: str, suite: Suite) -> None:
        """Look again at what was taken in the last `parts_days`: another digest under a number is a fork."""
        if not self._has("look"):
            return
        since = self.services.clock() - timedelta(days=self.held.agreement.terms.retention.parts_days)
        known: dict[tuple[int, int], set[str]] = {}
        for batch in await inbox.batches_seen_since(self.services.store.reads, self.partner, since):
            if batch.stream == stream:
                known.setdefault((batch.epoch, batch.seq), set()).add(batch.digest)
        for (epoch, seq), digests in known.items():
            lies = await self.guest.look(stream, epoch, seq, self.partner)
            if lies is None or digest_text(lies[0], suite) in digests:
                continue
            manifest, note, checkpoint = lies
            document = _document(manifest, note)
            try:
                received = await self._receive(stream, document, checkpoint, {})
            except BatchRefused as refused:  # not signed by the partner: damage, or somebody else; nothing to hold against it
                raise ExchangeError("what lies under a taken number is another file", code=refused.code, place=stream) from refused
            if received.code is not None:
                raise ExchangeError("another batch lies under a taken number", code=received.code, place=stream)


def _document(body: bytes, note: bytes) -> SignedDocument:
    return SignedDocument(body, _text(note))


def _text(data: bytes) -> str:
    """What is no text is no note.

    Raises ExchangeError SIG_FORMAT.
    """
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ExchangeError("a note is UTF-8", code="SIG_FORMAT") from error


def _manifest(document: SignedDocument) -> Manifest | None:
    """What it says; None when it is no manifest, which the admission judges."""
    try:
        return read_manifest(document.body)
    except ExchangeError:
        return None


def _claimed(body: bytes) -> str | None:
    """The id that a manifest gives itself, right or wrong in all else."""
    try:
        said = strict_json(body)
        return batch_id(said["sender"], said["stream"], said["epoch"], said["seq"])
    except (ExchangeError, KeyError):
        return None


def _not_whole(manifest: Manifest, parts: Mapping[str, bytes], suite: Suite, limit: int) -> ExchangeError | None:
    """Why a batch still has to be waited for."""
    for entry in manifest.parts:
        if entry.bytes > limit:
            return None  # larger than agreed: the admission refuses it without its bytes
        if entry.name not in parts:
            return ExchangeError("a part is not there, or not whole", code="SIG_PART_MISSING", place=entry.name)
        try:
            batch_lines.check_part(entry, parts[entry.name], suite)
        except ExchangeError as error:
            return error
    return None


def _ends(manifest: Manifest) -> datetime:
    return parse_instant(manifest.valid_until, "SCHEMA_MANIFEST")

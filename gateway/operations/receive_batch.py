"""Take a partner's batch: twelve steps, one transaction, one signed receipt.

The steps are those of `core/exchange/admitting`: sizes · manifest note · manifest · (already decided: the stored receipt) · agreement ·
time · sequence · checkpoint · parts · lines and root · each record · rate of rejections · one transaction with records, changes, ledger,
receipt and audit. Until step 10 no record is looked at, and a failure fails the batch as a whole with nothing written of it.

Rules:
- An acknowledgement exists if and only if the effect is committed; the same batch again gives the same receipt, byte for byte.
- What fails before the note is believed leaves no row. What is intact and signed, yet wrong, is answered by a receipt and is final.
- A missing predecessor, missing parts, a suspended agreement or an expired keys document wait; a fork freezes the stream, and both sides
  of it are kept as evidence. Withdrawals of a verified batch take effect at once, also while the batch waits for a person or the agreement.
- Records come in by the one door, with the sender as issuer, and are decided about (互认) in the same transaction.

`admit_batch` has steps 1 to 9, `judge_lines` step 10, `apply_batch` 11 and 12. This story must not fetch anything.
"""

import asyncio
from collections.abc import Mapping

import msgspec
from msgspec import Struct

from gateway.core.errors import ExchangeError, StoreError
from gateway.core.exchange import batch_lines, manifests, notes
from gateway.core.exchange.notes import SignedDocument
from gateway.core.exchange.wire import (
    SUITES,
    strict_json,
    unb64,
)
from gateway.operations.admit_batch import Admission
from gateway.operations.answer_batch import BatchRefused, Received, Result
from gateway.operations.apply_batch import apply_batch
from gateway.operations.manage_agreements import own_maintenance
from gateway.operations.partners import stream_at, trusted_keys
from gateway.services import Services
from gateway.store import inbox
from gateway.store.inbox import InBatch
from gateway.store.store import Source


class Answered(Struct, frozen=True, kw_only=True):
    """What goes back over HTTP: a signed receipt, or the names of the parts that are wanted."""

    status: int
    body: bytes


STATUS_OF: Mapping[Result, int] = {
    "applied": 200,
    "partial": 200,
    "held": 202,
    "quarantined": 202,
    "fetching": 202,
    "frozen": 409,
    "rejected": 422,
}
MAX_INLINE = 8 * 2**20
"""Parts that come with the batch itself, decoded."""


# --- the way in -------------------------------------------------------------------------------------------------------


async def receive_posted(services: Services, stream: str, body: bytes, *, caller: str | None = None) -> Answered:
    """Take a batch as it is posted: `{"manifest":{body,note},"checkpoint":"…","parts":{name:b64}?}`.

    `caller` is who brought it, where the line knows.

    Raises BatchRefused, StoreError.
    """
    maintenance = await own_maintenance(services)
    if maintenance is not None and maintenance.now(services.clock()):
        raise BatchRefused(ExchangeError("we take nothing until our maintenance is over", code="MAINTENANCE"))
    try:
        document, checkpoint, decoded = await asyncio.to_thread(_posted, body)
    except ExchangeError as error:
        raise BatchRefused(error) from error
    received = await receive_batch(services, stream=stream, document=document, checkpoint=checkpoint, parts=decoded, caller=caller)
    if received.receipt is None:
        return Answered(status=STATUS_OF[received.result], body=msgspec.json.encode({"state": "FETCHING", "missing": received.missing}))
    return Answered(status=STATUS_OF[received.result], body=notes.envelope(received.receipt))


class _Posted(Struct, forbid_unknown_fields=True):
    manifest: notes.Envelope
    checkpoint: str
    parts: dict[str, str] = {}


_read_posted = msgspec.json.Decoder(_Posted).decode


def _posted(body: bytes) -> tuple[SignedDocument, str, dict[str, bytes]]:
    """The batch in a body. What has another form is refused before the strict look at it, which takes seconds for 12 MB of numbers."""
    try:
        body.decode()
        said = _read_posted(body)
    except msgspec.ValidationError as error:
        text = str(error)
        of_another_form = "manifest`" in text or "manifest." in text or (text.startswith("Expected `object`, got") and " - at " not in text)
        code = "SCHEMA_JSON" if of_another_form else "SCHEMA_MANIFEST"
        raise ExchangeError("a batch is a manifest, a checkpoint and perhaps parts", code=code) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ExchangeError("not JSON in UTF-8", code="SCHEMA_JSON") from error
    strict_json(body)
    if sum(len(part) for part in said.parts.values()) * 3 // 4 > MAX_INLINE:
        raise ExchangeError("more than 8 MiB of parts inline: send them one by one", code="SIZE_BYTES")
    parts = {name: unb64(part, "SCHEMA_MANIFEST") for name, part in said.parts.items()}
    return SignedDocument(said.manifest.body.encode(), said.manifest.note), said.checkpoint, parts


async def receive_batch(
    services: Services,
    *,
    stream: str,
    document: SignedDocument,
    checkpoint: str,
    parts: Mapping[str, bytes] | None = None,
    caller: str | None = None,
) -> Received:
    """Take one batch, as far as it has come, and whatever had been waiting for it. `caller` may bring its own batches only.

    Raises BatchRefused for what is answered by a problem, StoreError when nothing could be written.
    """
    await services.policies.fresh()
    received = await _receive(services, stream, document, checkpoint, parts or {}, caller)
    await resume_behind(services, received)
    return received


async def _receive(
    services: Services,
    stream: str,
    document: SignedDocument,
    checkpoint: str,
    parts: Mapping[str, bytes],
    caller: str | None = None,
) -> Received:
    for attempt in range(4):
        try:
            admission = Admission(services, stream, document, checkpoint, parts, caller)
            found = await admission.run()
            return found if isinstance(found, Received) else await apply_batch(admission, found)
        except StoreError as error:
            if error.code != "stream-moved" or attempt == 3:
                raise
    raise AssertionError  # the loop returns or raises


async def resume_behind(services: Services, received: Received) -> None:
    """Take the batches that waited behind one that is applied now, in order of number."""
    if received.result not in ("applied", "partial"):
        return
    batch = received.batch
    while True:
        sender, stream, epoch, seq = _parse_batch_id(batch)
        waiting = [
            each for each in await inbox.in_batches_at(services.store.reads, sender, stream, epoch, seq + 1) if each.state == "quarantined"
        ]
        if not waiting:
            return
        try:
            after = await _receive(services, stream, waiting[0].document, waiting[0].checkpoint, {})
        except ExchangeError:
            return  # its sender asks again, and is told then
        if after.result not in ("applied", "partial"):
            return
        batch = after.batch


async def resume_waiting(services: Services) -> int:
    """Take the batches that waited for their predecessor, for keys or for the agreement, where that is gone; how many were applied.

    Raises StoreError.
    """
    done = 0
    for row in await inbox.in_streams_all(services.store.reads):
        if row.frozen:
            continue
        found = await inbox.in_batches_at(services.store.reads, row.sender, row.stream, row.epoch, row.seq + 1)
        for batch in found:
            if batch.state != "quarantined" or not await _may_go_on(services, batch):
                continue
            try:
                received = await receive_batch(services, stream=batch.stream, document=batch.document, checkpoint=batch.checkpoint)
            except ExchangeError:
                continue  # its sender asks again, and is told then
            done += received.result in ("applied", "partial")
    return done


async def _may_go_on(services: Services, batch: InBatch) -> bool:
    """Whether what a batch waited for is gone, as far as that can be seen without looking into it."""
    if batch.code == "SEQ_GAP":
        return True
    now = services.clock()
    stream = await stream_at(services.store.reads, batch.stream, batch.sender, now)
    if stream is None:
        return False
    if batch.code == "SCOPE_AGREEMENT":
        return stream.governing.standing(now).active
    _, keys = await trusted_keys(services.store.reads, stream.governing, batch.sender)
    return keys is not None and keys.fresh(now, stream.governing.agreement.skew)


def _parse_batch_id(batch: str) -> tuple[str, str, int, int]:
    origin, _, seq = batch.rpartition("/")
    origin, _, epoch = origin.rpartition("/")
    sender, _, stream = origin.partition("/x/")
    return sender, stream, int(epoch), int(seq)


async def size_wanted(services: Services, *, sender: str, stream: str, epoch: int, seq: int, name: str) -> int:
    """How long a part must be, asked before its bytes are read: only a batch whose manifest was believed may bring any.

    Raises BatchRefused NOT_FOUND.
    """
    for batch in await _fetching(services.store.reads, sender, stream, epoch, seq):
        for part in manifests.read_manifest(batch.document.body).parts:
            if part.name == name:
                return part.bytes
    raise BatchRefused(ExchangeError("no batch waits for this part", code="NOT_FOUND"))


async def put_part(services: Services, *, sender: str, stream: str, epoch: int, seq: int, name: str, data: bytes) -> None:
    """Keep a part of a batch whose manifest was believed and that still lacks it.

    Raises BatchRefused NOT_FOUND when no batch waits for it, SIG_PART_DIGEST when it is another one, SIZE_BYTES when it is too large.
    """
    async with services.store.transaction() as tx:
        for batch in await _fetching(tx, sender, stream, epoch, seq):
            manifest = manifests.read_manifest(batch.document.body)
            entry = next((part for part in manifest.parts if part.name == name), None)
            if entry is not None:
                try:
                    batch_lines.check_part(entry, data, SUITES[manifest.suite])
                except ExchangeError as error:
                    raise BatchRefused(error) from error
                await inbox.put_in_parts(tx, batch, {name: data})
                return
    raise BatchRefused(ExchangeError("no batch waits for this part", code="NOT_FOUND"))


async def _fetching(source: Source, sender: str, stream: str, epoch: int, seq: int) -> list[InBatch]:
    found = await inbox.in_batches_at(source, sender, stream, epoch, seq)
    return [batch for batch in found if batch.state in ("fetching", "quarantined")]

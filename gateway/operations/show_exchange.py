"""What a partner may read of the exchange: our keys, agreements, streams, batches, and the receipts that we gave.

Rules: everything is given as the bytes that were signed, never made again; a stream belongs to the two parties of its agreement and to
nobody else, and whoever else asks is told what would be told of one that does not exist; what is not kept any more is said to be closed.
`partner` is the party whose signature was believed. This story must not believe a signature.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

import msgspec
from msgspec import Struct

from gateway.core.errors import ExchangeError, NoteRefused, NotFound, SeqClosed, SettingsError
from gateway.core.exchange import merkle, notes, sd_jwt
from gateway.core.exchange.agreements import Held, Limits
from gateway.core.exchange.batch_lines import split_lines
from gateway.core.exchange.manifests import read_manifest
from gateway.core.exchange.notes import SignedDocument
from gateway.core.exchange.records import read_line
from gateway.core.exchange.wire import SHA256, SUITES, instant, split_stream
from gateway.core.signing import parse_vkey
from gateway.operations.held_back import held_back
from gateway.operations.keep_audit import published_heads
from gateway.operations.list_overdue import list_overdue
from gateway.operations.manage_agreements import own_keys, own_maintenance
from gateway.operations.partners import stream_at, streams_from
from gateway.operations.take_documents import take_document
from gateway.services import Services
from gateway.store import agreement_ends, audit, given_receipts, held_agreements, inbox, ledger, outbox, owed
from gateway.store.ledger import SentRecord
from gateway.store.old_epochs import lengthens
from gateway.store.out_trees import StreamTree
from gateway.store.outbox import OutBatch, OutStream
from gateway.store.reads import Row
from gateway.store.store import moment, stamp

LONGEST_WAIT = timedelta(seconds=30)
_LOOK_AGAIN_S = 0.5
SD_JWT = "application/sd-jwt"


class Shown(Struct, frozen=True, kw_only=True):
    """An answer: bytes, their type, and the digest that makes an entity tag."""

    body: bytes
    media: str = "application/json"
    tag: str | None = None


def _json(value: object) -> Shown:
    return Shown(body=msgspec.json.encode(value))


async def keys(services: Services) -> Shown:
    """Our signed keys document."""
    document = await own_keys(services)
    return Shown(body=notes.envelope(document), tag=notes.parse(document.note).text.rsplit("sha-256:", 1)[-1].strip())


# --- agreements -------------------------------------------------------------------------------------------------------


async def agreements(services: Services, partner: str) -> Shown:
    """Every agreement version with this partner that we hold, with how it stands."""
    now = services.clock()
    return _json({"items": [_agreement(version, now) for version in await _held_with(services, partner)]})


async def _held_with(services: Services, partner: str) -> list[Held]:
    held = await held_agreements.held_agreements(services.store.reads)
    return [version for versions in held.values() for version in versions if partner in version.agreement.parties]


def _agreement(held: Held, now: datetime) -> dict[str, object]:
    standing = held.standing(now)
    agreement = held.agreement
    return {
        "id": agreement.id,
        "version": agreement.version,
        "digest": agreement.digest,
        "state": standing.state,
        "since": instant(standing.since),
    }


async def agreement(services: Services, partner: str, agreement_id: str, version: int) -> Shown:
    """One version of an agreement with this partner, as signed.

    Raises NotFound.
    """
    versions = (await held_agreements.held_agreements(services.store.reads, agreement_id)).get(agreement_id, [])
    for held in versions:
        if held.agreement.version == version and partner in held.agreement.parties:
            return Shown(body=notes.envelope(SignedDocument(held.agreement.body, held.note)))
    raise NotFound


async def states(services: Services, partner: str, agreement_id: str) -> Shown:
    """Notices about an agreement with this partner, as signed, each side's in order: ours, then its own, which it may have lost.

    Raises NotFound.
    """
    await _with(services, partner, agreement_id)
    both = [await held_agreements.notices_of(services.store.reads, agreement_id, party) for party in (services.signers.party, partner)]
    return _json({"items": [{"body": row.body.decode(), "note": row.note} for rows in both for row in rows]})


async def inventory(services: Services, partner: str, agreement_id: str) -> Shown:
    """Our inventory of an agreement with this partner that is over, as signed.

    Raises NotFound.
    """
    await _with(services, partner, agreement_id)
    row = await agreement_ends.inventory(services.store.reads, agreement_id, services.signers.party)
    if row is None or not row.note:
        raise NotFound
    return Shown(body=notes.envelope(SignedDocument(row.body, row.note)))


async def _with(services: Services, partner: str, agreement_id: str) -> None:
    versions = (await held_agreements.held_agreements(services.store.reads, agreement_id)).get(agreement_id, [])
    if not any(partner in held.agreement.parties for held in versions):
        raise NotFound


async def take_posted(services: Services, partner: str, body: bytes) -> tuple[int, Shown]:
    """A later version offered or countersigned, a notice or an inventory; 202 while a signature is missing.

    Raises ExchangeError as `take_document` does; NoteRefused where the document's own note is not believed.
    """
    try:
        taken = await take_document(services, notes.read_envelope(body), by=f"partner/{partner}")
    except ExchangeError as error:
        if error.code.startswith("SIG_"):  # of the document's note, not of the request
            raise NoteRefused(error.detail, place=error.place, hint=error.hint, code=error.code) from error
        raise
    return 202 if taken.state == "offered" else 200, _json(taken)


# --- streams that we send ---------------------------------------------------------------------------------------------


async def streams(services: Services, partner: str) -> Shown:
    """Every stream of either direction between this partner and us, with where it stands."""
    return _json({"items": await _streams(services, partner)})


async def _streams(services: Services, partner: str) -> list[dict[str, object]]:
    reads = services.store.reads
    out: list[dict[str, object]] = [
        {
            "stream": row.stream,
            "direction": "out",
            "epoch": row.epoch,
            "seq": row.seq,
            "size": row.size,
            "receipt_no": await ledger.last_receipt_no(reads, row.stream),
            "state": row.stopped or "open",
        }
        for row in await _out_rows(services, partner)
    ]
    into: list[dict[str, object]] = [
        {
            "stream": row.stream,
            "direction": "in",
            "epoch": row.epoch,
            "seq": row.seq,
            "size": row.size,
            "receipt_no": row.receipt_no,
            "state": "frozen" if row.frozen else "open",
        }
        for row in await inbox.in_streams_all(reads)
        if row.sender == partner
    ]
    return [*out, *into]


async def _out_rows(services: Services, partner: str) -> list[Row]:
    """Streams that we send to this partner, each in its latest epoch."""
    ids = {held.agreement.id for held in await _held_with(services, partner)}
    rows = await outbox.out_streams_all(services.store.reads)
    return list({row.stream: row for row in rows if split_stream(row.stream)[0] in ids}.values())


async def _between(services: Services, partner: str, stream: str) -> list[Held]:
    """The versions of the agreement of a stream between this partner and us.

    Raises NotFound, also for a stream of ours with somebody else.
    """
    try:
        agreement_id, _ = split_stream(stream)
    except ExchangeError as error:
        raise NotFound from error
    versions = (await held_agreements.held_agreements(services.store.reads, agreement_id)).get(agreement_id, [])
    ours = services.signers.party
    if not any(ours != partner and {ours, partner} == set(held.agreement.parties) for held in versions):
        raise NotFound
    return versions


async def checkpoint(services: Services, partner: str, stream: str, epoch: int | None) -> Shown:
    """The signed head of one of our streams.

    Raises NotFound.
    """
    await _between(services, partner, stream)
    batch = await _batch(services, stream, epoch, None)
    if batch is None:
        raise NotFound
    return Shown(body=batch.checkpoint.encode(), media="text/plain; charset=utf-8")


async def manifest(services: Services, partner: str, stream: str, seq: int | None, *, epoch: int | None, wait_s: int = 0) -> Shown | None:
    """One batch of ours without its parts; None when it is the next one and not there yet, after waiting.

    Raises NotFound for a stream that is not ours, ExchangeError SEQ_GAP beyond the next one, SEQ_CLOSED when its parts
    are gone, or a new epoch has begun.
    """
    versions, (_, dataset) = await _between(services, partner, stream), split_stream(stream)
    agreed = any(held.agreement.stream(dataset, services.signers.party) is not None for held in versions)
    deadline = asyncio.get_running_loop().time() + min(wait_s, LONGEST_WAIT.total_seconds())
    while True:
        head = await outbox.out_stream(services.store.reads, stream)
        if head is None and not agreed:
            raise NotFound
        present, last = (1, 0) if head is None else (head.head.epoch, head.head.seq)  # of one that has said nothing the first is next
        batch = None if head is None else await _batch(services, stream, epoch, seq)
        if batch is not None and batch.epoch < present and await lengthens(services.store.reads, batch):
            batch = None  # whoever fetches sees the new epoch's first batch before: it names the head that it replaces
        if batch is not None:
            return await _shown(services, batch)
        if head is not None and epoch is not None and epoch < present:
            raise SeqClosed("a new epoch has begun", epoch=await _whole_epoch(services, head), place=stream)
        if seq is None or seq > last + 1 or (epoch is not None and epoch > present):
            raise ExchangeError("there is no such batch yet", code="SEQ_GAP", place=stream)
        left = deadline - asyncio.get_running_loop().time()
        if left <= 0:
            return None
        await asyncio.sleep(min(left, _LOOK_AGAIN_S))


async def _whole_epoch(services: Services, head: OutStream) -> int:
    """The epoch that can be fetched from its first batch on: the present one, or else the one that comes when it is asked for."""
    stream, epoch = head.head.stream, head.head.epoch
    first = await outbox.out_batch(services.store.reads, stream, epoch, 1)
    return epoch if first is None or await _kept(services, first) else epoch + 1


async def _kept(services: Services, batch: OutBatch) -> bool:
    parts = read_manifest(batch.document.body).parts
    return not parts or await outbox.out_part(services.store.reads, batch.stream, batch.epoch, parts[0].name) is not None


async def _batch(services: Services, stream: str, epoch: int | None, seq: int | None) -> OutBatch | None:
    head = await outbox.out_stream(services.store.reads, stream)
    if head is None:
        raise NotFound
    return await outbox.out_batch(services.store.reads, stream, epoch or head.head.epoch, seq or head.head.seq)


async def _must_leave(services: Services, batch: OutBatch) -> None:
    """Raises ExchangeError SCOPE_AGREEMENT for a batch that may not leave now: the agreement is suspended or over, or the stream held."""
    found = await stream_at(services.store.reads, batch.stream, services.signers.party, services.clock())
    only_withdrawals = read_manifest(batch.document.body).only_withdrawals
    if found is None or not found.governing.lets_through(services.clock(), only_withdrawals=only_withdrawals):
        raise ExchangeError("the agreement is not in force: this batch is not given now", code="SCOPE_AGREEMENT", place=batch.stream)
    if await held_back(services.store.reads, services.signers.party, batch):
        raise ExchangeError("an operator holds the stream: this batch is not given now", code="SCOPE_AGREEMENT", place=batch.stream)


async def _shown(services: Services, batch: OutBatch) -> Shown:
    await _must_leave(services, batch)
    if not await _kept(services, batch):
        head = await outbox.out_stream(services.store.reads, batch.stream)
        assert head is not None  # noqa: S101  # a batch has its stream
        epoch = await _whole_epoch(services, head)
        raise SeqClosed("the parts of this batch are not kept any more", epoch=epoch, place=batch.stream)
    return _json({"manifest": {"body": batch.document.body.decode(), "note": batch.document.note}, "checkpoint": batch.checkpoint})


async def part(services: Services, partner: str, stream: str, name: str) -> Shown:
    """The bytes of one part of ours, as they were sealed.

    Raises NotFound, ExchangeError SEQ_CLOSED when it is not kept any more.
    """
    await _between(services, partner, stream)
    head = await outbox.out_stream(services.store.reads, stream)
    epoch, _, rest = name.partition("-")
    seq = rest.partition("-")[0]
    if head is None or not (epoch.isascii() and epoch.isdigit() and seq.isascii() and seq.isdigit()) or max(len(epoch), len(seq)) > 15:
        raise NotFound
    batch = await outbox.out_batch(services.store.reads, stream, int(epoch), int(seq))
    entry = next((each for each in read_manifest(batch.document.body).parts if each.name == name), None) if batch is not None else None
    if entry is None or batch is None:
        raise NotFound
    await _must_leave(services, batch)
    data = await outbox.out_part(services.store.reads, stream, int(epoch), name)
    if data is None:
        raise ExchangeError("this part is not kept any more", code="SEQ_CLOSED", place=stream)
    return Shown(body=data, media="application/octet-stream", tag=entry.digest)


async def record(services: Services, partner: str, stream: str, record_id: str, v: int) -> Shown:
    """One record as it was sealed for the partner, and the proof that it stands in the log; nothing that has changed here since.

    Raises NotFound when this stream never said this version, ExchangeError SEQ_CLOSED when it was withdrawn or is not kept any more.
    """
    await _between(services, partner, stream)
    line, sent, head = await _sealed_line(services, stream, record_id, v)
    said = read_manifest(head.document.body)
    tree = StreamTree(services.store.reads, stream, sent.epoch, said.tree.size, SUITES[said.suite])
    proof = merkle.proof_text(sent.idx, await tree.inclusion_proof(sent.idx), head.checkpoint)
    return _json({"line": msgspec.json.decode(line), "proof": proof})


async def exported(services: Services, partner: str, stream: str, record_id: str, v: int, disclose: Sequence[str] | None = None) -> Shown:
    """The same record as SD-JWT, with all of its disclosures or those named: what a third party can be shown (exchange.md §16).

    Raises like `record`, and ExchangeError SCHEMA_STATUS when it is not in force any more, SCHEMA_VERSION for a stream under another suite,
    SCOPE_FIELD for a field that the line does not have.
    """
    await _between(services, partner, stream)
    line, _, _ = await _sealed_line(services, stream, record_id, v)
    read = read_line(line.rstrip(b"\n"), SHA256)
    named = dict(zip((msgspec.json.decode(each)[1] for each in read.decoded), read.disclosures, strict=True))
    unknown = sorted(set(disclose or ()) - set(named))
    if unknown:
        raise ExchangeError("the line has no such field", code="SCOPE_FIELD", place=", ".join(unknown))
    chosen = [text for name, text in named.items() if disclose is None or name in disclose]
    signer = services.signers.signing("export", services.clock())
    token = sd_jwt.export(read.payload, chosen, signer, as_of=services.clock())
    return Shown(body=token.encode(), media=SD_JWT)


async def own_record(services: Services, stream: str, record_id: str, disclose: Sequence[str] | None = None, *, by: str) -> str:
    """The present version of a record that a stream of ours said, as SD-JWT for its subject or whoever the office shows it to.

    Raises like `exported`.
    """
    found = {each.name: each for each in await streams_from(services.store.reads, services.signers.party, services.clock())}
    sent = (await ledger.sent_records(services.store.reads, stream, [record_id])).get(record_id)
    if stream not in found or sent is None:
        raise NotFound
    shown = await exported(services, found[stream].receiver, stream, record_id, sent.v, disclose)
    async with services.store.transaction() as tx:
        said = {"stream": stream, "v": sent.v, "fields": list(disclose or ["*"])}
        await audit.write(tx, by, "record.export", f"record/{record_id}", said)
    return shown.body.decode()


async def _sealed_line(services: Services, stream: str, record_id: str, v: int) -> tuple[bytes, SentRecord, OutBatch]:
    """The line, where it stands, and the head of its epoch.

    Raises NotFound, ExchangeError SEQ_CLOSED.
    """
    reads = services.store.reads
    sent = (await ledger.sent_records(reads, stream, [record_id])).get(record_id)
    if sent is None or v > sent.v:
        raise NotFound
    batch = await outbox.out_batch(reads, stream, sent.epoch, sent.seq)
    head = await _batch(services, stream, sent.epoch, None)
    if sent.v != v or sent.op not in ("assert", "amend") or batch is None or head is None:
        raise ExchangeError("this version was withdrawn or replaced", code="SEQ_CLOSED", place=stream)
    if not await ledger.still_said(reads, stream, record_id, now=stamp(services.clock())):
        raise ExchangeError("this version is not true any more; what is comes with the next batch", code="SEQ_CLOSED", place=stream)
    await _must_leave(services, batch)
    entry = next(each for each in read_manifest(batch.document.body).parts if each.from_ <= sent.idx < each.to)
    data = await outbox.out_part(reads, stream, sent.epoch, entry.name)
    if data is None:
        raise ExchangeError("this version is not kept any more", code="SEQ_CLOSED", place=stream)
    return next(islice(split_lines(entry, data, Limits()), sent.idx - entry.from_, None)), sent, head


# --- receipts that we gave --------------------------------------------------------------------------------------------


async def _from(services: Services, partner: str, stream: str) -> str:
    """The sender of a stream to us: this partner, or nobody.

    Raises NotFound.
    """
    versions = await _between(services, partner, stream)
    if not any(held.agreement.stream(split_stream(stream)[1], partner) is not None for held in versions):
        raise NotFound
    return partner


async def receipt(services: Services, partner: str, stream: str, no: int | None) -> Shown:
    """One receipt that we gave for a stream, or the latest.

    Raises NotFound, ExchangeError SEQ_CLOSED for one that was lost when we came back from a copy.
    """
    sender = await _from(services, partner, stream)
    head = await inbox.in_stream(services.store.reads, sender, stream)
    last = head.receipt_no if head is not None else 0
    given = await given_receipts.receipt(services.store.reads, sender, stream, last if no is None else no)
    if given is None and no is not None and no <= last:
        raise ExchangeError("a receipt that we have lost", code="SEQ_CLOSED", place=stream)
    if given is None:
        raise NotFound
    return Shown(body=notes.envelope(given.document))


async def kept_receipt(services: Services, partner: str, stream: str, no: int | None) -> Shown | None:
    """A receipt that this partner gave us for a stream of ours, or the latest, as it came; None where we hold none of that number.

    Raises NotFound for no stream that it receives.
    """
    reads = services.store.reads
    ours = await streams_from(reads, services.signers.party, services.clock())
    if (stream, partner) not in {(each.name, each.receiver) for each in ours}:
        raise NotFound
    no = await ledger.last_receipt_no(reads, stream) if no is None else no
    row = await ledger.received_receipt(reads, stream, no) if no is not None else None
    return Shown(body=notes.envelope(SignedDocument(row.body, row.note))) if row is not None else None


async def feedback(services: Services, partner: str, stream: str, no: int) -> Shown:
    """The feedback file of one receipt.

    Raises NotFound.
    """
    given = await given_receipts.receipt(services.store.reads, await _from(services, partner, stream), stream, no)
    if given is None:
        raise NotFound
    return Shown(body=given.feedback, media="application/x-ndjson")


# --- status -----------------------------------------------------------------------------------------------------------


async def status(services: Services, partner: str) -> Shown:
    """Clock, and this partner's agreements, streams and what is overdue; whether we can sign and verify; our audit log's head.

    Whoever supervises us and asks now and then can show later that something was cut off.
    """
    now = services.clock()
    reads = services.store.reads
    versions = await _held_with(services, partner)
    overdue: list[dict[str, Any]] = [
        {"stream": late.stream, "what": late.what, "lines": late.lines, "since": instant(late.since), "agreed_h": late.agreed_h}
        for late in await list_overdue(services, partner=partner, since="published")
    ]
    owing = [
        {"stream": row.stream, "lines": row.lines, "since": row.since} for row in await owed.counted(reads) if row.sender == partner
    ]
    heads, _ = await published_heads(services, 1)
    return _json(
        {
            "party": services.signers.party,
            "clock": instant(now),
            "maintenance": await own_maintenance(services),
            "agreements": [_agreement(version, now) for version in versions],
            "streams": await _streams(services, partner),
            "last_batch": _last([row.created for row in await inbox.in_streams_all(reads) if row.created and row.sender == partner]),
            "overdue": overdue,
            "owed": owing,
            "able_to_sign_and_verify": _signs(services, now),
            "audit_checkpoint": {"number": heads[0].number, "at": heads[0].at, "note": heads[0].note} if heads else None,
        }
    )


def _last(moments: list[str]) -> str | None:
    return instant(max(moment(text) for text in moments)) if moments else None


def _signs(services: Services, now: datetime) -> bool:
    """Whether a text that we sign now verifies; not without a key that is good now."""
    try:
        signer = services.signers.signing("exchange", now)
    except SettingsError:
        return False
    text = f"chengxin-exchange/self-test/1\n{services.signers.party}\n{instant(now)}\n"
    line = notes.parse(notes.sign(text, [signer])).lines[0]
    return parse_vkey(signer.vkey).verify(text.encode(), line.signature)

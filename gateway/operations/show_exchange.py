"""What a partner may read of the exchange: our keys, agreements, streams, batches, and the receipts that we gave.

Rules: everything is given as the bytes that were signed, never made again; a stream belongs to the two parties of its agreement and to
nobody else; what is not kept any more is said to be closed, with the epoch to start from. This story must not decide who is asking: the
web does.
"""

import asyncio
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

import msgspec
from msgspec import Struct

from gateway.core.errors import ExchangeError, NotFound
from gateway.core.exchange import merkle, notes
from gateway.core.exchange.agreements import Held, Limits
from gateway.core.exchange.batches import read_manifest, split_lines
from gateway.core.exchange.notes import SignedDocument
from gateway.core.exchange.wire import instant, split_stream
from gateway.core.signing import parse_vkey
from gateway.operations.keep_audit import published_heads
from gateway.operations.manage_agreements import own_keys, take, take_notice
from gateway.services import Services
from gateway.store import held_agreements, inbox, outbox
from gateway.store.outbox import OutBatch
from gateway.store.store import moment

LONGEST_WAIT = timedelta(seconds=30)
_LOOK_AGAIN_S = 0.5


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


async def agreements(services: Services) -> Shown:
    """Every agreement version that we hold, with how it stands."""
    now = services.clock()
    held = await held_agreements.held_agreements(services.store.reads)
    return _json({"items": [_agreement(version, now) for versions in held.values() for version in versions]})


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


async def agreement(services: Services, agreement_id: str, version: int) -> Shown:
    """One version, as signed.

    Raises NotFound.
    """
    versions = (await held_agreements.held_agreements(services.store.reads, agreement_id)).get(agreement_id, [])
    for held in versions:
        if held.agreement.version == version:
            return Shown(body=notes.envelope(SignedDocument(held.agreement.body, held.note)))
    raise NotFound


async def take_document(services: Services, body: bytes) -> Shown:
    """An agreement coming back countersigned, or a notice that suspends, resumes or ends one; believed by its signatures alone.

    Raises ExchangeError as `take` and `take_notice` do; SCHEMA_MANIFEST for any other document.
    """
    document = notes.read_envelope(body)
    artefact = notes.parse(document.note).text.partition("\n")[0]
    if artefact == "chengxin-exchange/agreement/1":
        status = await take(services, document, by="partner")
    elif artefact == "chengxin-exchange/agreement-state/1":
        status = await take_notice(services, document, by="partner")
    else:
        raise ExchangeError("only agreements and their states are taken here", code="SCHEMA_MANIFEST")
    return _json(
        {"id": status.id, "version": status.version, "digest": status.digest, "state": status.state, "since": instant(status.since)}
    )


# --- streams that we send ---------------------------------------------------------------------------------------------


async def streams(services: Services) -> Shown:
    """Every stream of either direction, with where it stands."""
    reads = services.store.reads
    out: list[dict[str, object]] = [
        {
            "stream": row.stream,
            "direction": "out",
            "epoch": row.epoch,
            "seq": row.seq,
            "size": row.size,
            "receipt_no": None,
            "state": row.stopped or "open",
        }
        for row in await outbox.out_streams_all(reads)
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
    ]
    return _json({"items": [*out, *into]})


async def checkpoint(services: Services, stream: str, epoch: int | None) -> Shown:
    """The signed head of one of our streams.

    Raises NotFound.
    """
    batch = await _batch(services, stream, epoch, None)
    if batch is None:
        raise NotFound
    return Shown(body=batch.checkpoint.encode(), media="text/plain; charset=utf-8")


async def manifest(services: Services, stream: str, seq: int | None, *, epoch: int | None, wait_s: int = 0) -> Shown | None:
    """One batch of ours without its parts; None when it is the next one and not there yet, after waiting.

    Raises NotFound for a stream that is not ours, ExchangeError SEQ_GAP beyond the next one, SEQ_CLOSED when its parts are gone.
    """
    deadline = asyncio.get_running_loop().time() + min(wait_s, LONGEST_WAIT.total_seconds())
    while True:
        head = await outbox.out_stream(services.store.reads, stream)
        if head is None:
            raise NotFound
        batch = await _batch(services, stream, epoch, seq)
        if batch is not None:
            return await _shown(services, batch)
        if seq is None or seq > head.head.seq + 1:
            raise ExchangeError("there is no such batch yet", code="SEQ_GAP", place=stream)
        left = deadline - asyncio.get_running_loop().time()
        if left <= 0:
            return None
        await asyncio.sleep(min(left, _LOOK_AGAIN_S))


async def _batch(services: Services, stream: str, epoch: int | None, seq: int | None) -> OutBatch | None:
    head = await outbox.out_stream(services.store.reads, stream)
    if head is None:
        raise NotFound
    return await outbox.out_batch(services.store.reads, stream, epoch or head.head.epoch, seq or head.head.seq)


async def _shown(services: Services, batch: OutBatch) -> Shown:
    parts = read_manifest(batch.document.body).parts
    if parts and await outbox.out_part(services.store.reads, batch.stream, batch.epoch, parts[0].name) is None:
        raise ExchangeError("the parts of this batch are not kept any more", code="SEQ_CLOSED", place=batch.stream)
    return _json({"manifest": {"body": batch.document.body.decode(), "note": batch.document.note}, "checkpoint": batch.checkpoint})


async def part(services: Services, stream: str, name: str) -> Shown:
    """The bytes of one part of ours, as they were sealed.

    Raises NotFound, ExchangeError SEQ_CLOSED when it is not kept any more.
    """
    head = await outbox.out_stream(services.store.reads, stream)
    epoch, _, rest = name.partition("-")
    seq = rest.partition("-")[0]
    if head is None or not (epoch.isascii() and epoch.isdigit() and seq.isascii() and seq.isdigit()) or max(len(epoch), len(seq)) > 15:
        raise NotFound
    batch = await outbox.out_batch(services.store.reads, stream, int(epoch), int(seq))
    entry = next((each for each in read_manifest(batch.document.body).parts if each.name == name), None) if batch is not None else None
    if entry is None:
        raise NotFound
    data = await outbox.out_part(services.store.reads, stream, int(epoch), name)
    if data is None:
        raise ExchangeError("this part is not kept any more", code="SEQ_CLOSED", place=stream)
    return Shown(body=data, media="application/octet-stream", tag=entry.digest)


async def record(services: Services, stream: str, record_id: str, v: int) -> Shown:
    """One record as it was sealed for the partner, and the proof that it stands in the log.

    Raises NotFound when this stream never said this version, ExchangeError SEQ_CLOSED when it was withdrawn or is not kept any more.
    """
    reads = services.store.reads
    sent = (await outbox.sent_records(reads, stream, [record_id])).get(record_id)
    if sent is None or v > sent.v:
        raise NotFound
    batch = await outbox.out_batch(reads, stream, sent.epoch, sent.seq)
    head = await _batch(services, stream, sent.epoch, None)
    if sent.v != v or sent.op not in ("assert", "amend") or batch is None or head is None:
        raise ExchangeError("this version was withdrawn or replaced", code="SEQ_CLOSED", place=stream)
    entry = next(each for each in read_manifest(batch.document.body).parts if each.from_ <= sent.idx < each.to)
    data = await outbox.out_part(reads, stream, sent.epoch, entry.name)
    if data is None:
        raise ExchangeError("this version is not kept any more", code="SEQ_CLOSED", place=stream)
    line = next(islice(split_lines(entry, data, Limits()), sent.idx - entry.from_, None))
    leaves = await outbox.out_leaf_hashes(reads, stream, sent.epoch)
    proof = merkle.proof_text(sent.idx, merkle.inclusion_proof(leaves, sent.idx), head.checkpoint)
    return _json({"line": msgspec.json.decode(line), "proof": proof})


# --- receipts that we gave --------------------------------------------------------------------------------------------


async def _sender(services: Services, stream: str) -> str:
    """Who sends a stream to us: the other party of its agreement."""
    agreement_id, dataset = split_stream(stream)
    ours = services.signers.party
    for held in (await held_agreements.held_agreements(services.store.reads, agreement_id)).get(agreement_id, []):
        if ours in held.agreement.parties and held.agreement.stream(dataset, held.agreement.other(ours)) is not None:
            return held.agreement.other(ours)
    raise NotFound


async def receipt(services: Services, stream: str, no: int | None) -> Shown:
    """One receipt that we gave for a stream, or the latest.

    Raises NotFound.
    """
    sender = await _sender(services, stream)
    if no is None:
        head = await inbox.in_stream(services.store.reads, sender, stream)
        no = head.receipt_no if head is not None else 0
    given = await inbox.given_receipt(services.store.reads, sender, stream, no)
    if given is None:
        raise NotFound
    return Shown(body=notes.envelope(given.document))


async def feedback(services: Services, stream: str, no: int) -> Shown:
    """The feedback file of one receipt.

    Raises NotFound.
    """
    given = await inbox.given_receipt(services.store.reads, await _sender(services, stream), stream, no)
    if given is None:
        raise NotFound
    return Shown(body=given.feedback, media="application/x-ndjson")


# --- status -----------------------------------------------------------------------------------------------------------


async def status(services: Services) -> Shown:
    """Clock, agreements, streams, what is overdue; whether we can sign and verify, by doing both; and the head of our audit log, to keep.

    Whoever supervises us and asks now and then can show later that something was cut off.
    """
    now = services.clock()
    reads = services.store.reads
    overdue: list[dict[str, Any]] = []
    for row in await outbox.out_streams_all(reads):
        agreement_id = split_stream(row.stream)[0]
        versions = (await held_agreements.held_agreements(reads, agreement_id)).get(agreement_id, [])
        if versions:
            late = await outbox.overdue(reads, row.stream, now=now, hours=versions[-1].agreement.terms.sla.withdraw_h)
            if late is not None:
                overdue.append({"stream": late.stream, "lines": late.lines, "since": instant(late.since)})
    held = await held_agreements.held_agreements(reads)
    heads, _ = await published_heads(services, 1)
    return _json(
        {
            "party": services.signers.party,
            "clock": instant(now),
            "maintenance": None,
            "agreements": [_agreement(version, now) for versions in held.values() for version in versions],
            "streams": msgspec.json.decode((await streams(services)).body)["items"],
            "last_batch": _last([row.created for row in await inbox.in_streams_all(reads) if row.created]),
            "overdue": overdue,
            "able_to_sign_and_verify": _signs(services, now),
            "audit_checkpoint": {"number": heads[0].number, "at": heads[0].at, "note": heads[0].note} if heads else None,
        }
    )


def _last(moments: list[str]) -> str | None:
    return instant(max(moment(text) for text in moments)) if moments else None


def _signs(services: Services, now: datetime) -> bool:
    signer = services.signers.signing("exchange", now)
    text = f"chengxin-exchange/self-test/1\n{services.signers.party}\n{instant(now)}\n"
    line = notes.parse(notes.sign(text, [signer])).lines[0]
    return parse_vkey(signer.vkey).verify(text.encode(), line.signature)

"""The exchange over HTTP, `/x/v1` (exchange.md §10): every request but the one for our keys is signed by a partner (RFC 9421, RFC 9530).

Rules: the signature is believed before anything else is looked at, parameters and body included; what is signed is the address under the
configured origin, never what Host or a proxy says. A partner is shown its own agreements and streams and no others. Bodies are bounded
before they are read. This room must not look into what it carries.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from time import monotonic
from typing import Final

import msgspec
from litestar import Router, get, post, put
from litestar.exceptions.http_exceptions import RequestEntityTooLarge
from litestar.params import FromPath

from gateway.core.errors import ExchangeError, InvalidParameter, NotFound
from gateway.core.exchange.questions import MAX_QUESTION, Evidence
from gateway.core.message_signing import Message
from gateway.operations import answer_partner, begin_epoch, believe_partner, fetch_keys, receive_batch, show_exchange, take_receipt
from gateway.operations.answer_batch import BatchRefused
from gateway.operations.show_exchange import Shown
from gateway.services import Services
from gateway.web.conditions import refuse_unmet
from gateway.web.describe import AnyRequest
from gateway.web.files import wanted_range
from gateway.web.house import House, house_of
from gateway.web.negotiation import header
from gateway.web.replies import NO_STORE, Header, Reply, matches

MAX_DOCUMENT: Final = 2**20
MAX_POST: Final = 12 * 2**20
MAX_FEEDBACK: Final = 64 * 2**20
MAX_PART: Final = 256 * 2**20
SLOWEST_BYTES_S: Final = 1024
SLOWEST_WINDOW_S: Final = 30.0
"""A body that comes slower than this for so long is not waited for (exchange.md §6)."""
LONGEST_BODY_S: Final = 600.0
_NUMBER = re.compile(r"[1-9][0-9]{0,14}\Z")
_SIGNED: Final = frozenset({"content-type", "content-digest", "signature-input", "signature"})
"""What of a question's head is evidence with its body."""
_NO_CACHE: Final[Header] = (b"cache-control", b"no-cache")


def _reply(shown: Shown, status: int = 200, *more: Header) -> Reply:
    return Reply(status, [(b"content-type", shown.media.encode()), *(more or (NO_STORE,))], shown.body)


def _message(request: AnyRequest) -> Message:
    """The request as it was signed: under the configured origin."""
    scope = request.scope
    raw = (scope.get("raw_path") or scope["path"].encode()).partition(b"?")[0]
    query = scope["query_string"].decode("ascii", "replace")
    return Message(
        method=scope["method"],
        url=house_of(request).origin + raw.decode("ascii", "replace") + (f"?{query}" if query else ""),
        headers=[(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]],
    )


async def _reader(request: AnyRequest) -> tuple[Services, str]:
    """The house, and the partner that asks.

    Raises ExchangeError SIG_*, TIME_*, RATE_LIMIT.
    """

    async def nothing(party: str, a_minute: int) -> bytes:
        house_of(request).limits.partner(party, a_minute)
        return b""

    services = house_of(request).services
    partner, _ = await believe_partner.by_request(services, _message(request), tag="cx-read", read_body=nothing)
    return services, partner


@asynccontextmanager
async def _writer(request: AnyRequest, limit: int, media: str) -> AsyncIterator[tuple[Services, str, bytes]]:
    """The house, the partner that writes, and the body that it has signed; until the answer is known it is one of its two on their way.

    Raises ExchangeError SIG_*, TIME_*, RATE_LIMIT, MEDIA_TYPE, SIZE_BYTES, SIZE_TIME.
    """
    async with AsyncExitStack() as places:

        async def body(party: str, a_minute: int) -> bytes:
            house_of(request).limits.partner(party, a_minute)
            await places.enter_async_context(house_of(request).limits.body(party))
            return await _body(request, limit, media)

        services = house_of(request).services
        partner, sent = await believe_partner.by_request(services, _message(request), tag="cx-write", read_body=body)
        refuse_unmet(request.scope)
        yield services, partner, sent


def _number(text: str | None, name: str) -> int | None:
    if text is None:
        return None
    if not _NUMBER.match(text):
        raise InvalidParameter("应为正整数。", place=name)
    return int(text)


async def _body(request: AnyRequest, limit: int, media: str) -> bytes:
    """The body of a request, at most `limit` bytes.

    Raises ExchangeError MEDIA_TYPE, SIZE_BYTES; SIZE_TIME when it comes slower than 1 KiB a second.
    """
    if header(list(request.scope["headers"]), b"content-type").partition(b";")[0].strip().lower() != media.encode():
        raise ExchangeError(f"正文须为 {media}。", code="MEDIA_TYPE")
    size, chunks, arrived = 0, list[bytes](), request.stream()
    begun = window = monotonic()
    counted = 0
    while True:
        try:
            async with asyncio.timeout(SLOWEST_WINDOW_S):
                chunk = await anext(arrived, None)
        except TimeoutError as error:
            raise ExchangeError("正文传送过慢。", code="SIZE_TIME") from error
        except RequestEntityTooLarge as error:  # by its length, before a byte is read
            raise ExchangeError("正文过大。", code="SIZE_BYTES") from error
        if chunk is None:
            return b"".join(chunks)
        size += len(chunk)
        if size > limit:
            raise ExchangeError("正文过大。", code="SIZE_BYTES")
        chunks.append(chunk)
        now = monotonic()
        if now - window >= SLOWEST_WINDOW_S:
            if size - counted < SLOWEST_BYTES_S * SLOWEST_WINDOW_S:
                raise ExchangeError("正文传送过慢。", code="SIZE_TIME")
            window, counted = now, size
        if now - begun > LONGEST_BODY_S:
            raise ExchangeError("正文传送过久。", code="SIZE_TIME")


# --- keys and agreements ----------------------------------------------------------------------------------------------


@get("/keys", include_in_schema=False)
async def keys(request: AnyRequest) -> Reply:
    """Our signed keys document, open to all."""
    house: House = house_of(request)
    shown = await show_exchange.keys(house.services)
    tag = b'"%s"' % (shown.tag or "").encode()
    headers: list[Header] = [(b"content-type", b"application/json"), (b"etag", tag), (b"cache-control", b"public, max-age=300")]
    if matches(header(list(request.scope["headers"]), b"if-none-match"), tag):
        return Reply(304, headers)
    return Reply(200, headers, shown.body)


@get("/agreements", include_in_schema=False)
async def agreements(request: AnyRequest) -> Reply:
    """Agreements with their states."""
    return _reply(await show_exchange.agreements(*await _reader(request)))


@get("/agreements/{agreement_id:str}/{version:str}", include_in_schema=False)
async def agreement(request: AnyRequest, agreement_id: FromPath[str], version: FromPath[str]) -> Reply:
    """One agreement version, as signed."""
    services, partner = await _reader(request)
    if not _NUMBER.match(version):
        raise NotFound
    return _reply(await show_exchange.agreement(services, partner, agreement_id, int(version)))


@get("/agreements/{agreement_id:str}/states", include_in_schema=False)
async def agreement_states(request: AnyRequest, agreement_id: FromPath[str]) -> Reply:
    """Our own notices about an agreement, for whoever fetches from us."""
    return _reply(await show_exchange.states(*await _reader(request), agreement_id))


@get("/agreements/{agreement_id:str}/inventory", include_in_schema=False)
async def agreement_inventory(request: AnyRequest, agreement_id: FromPath[str]) -> Reply:
    """Our inventory of an agreement that is over."""
    return _reply(await show_exchange.inventory(*await _reader(request), agreement_id))


@post("/agreements", include_in_schema=False, request_max_body_size=MAX_DOCUMENT)
async def post_agreement(request: AnyRequest) -> Reply:
    """A later version offered or countersigned; a suspension, resumption or end; an inventory."""
    async with _writer(request, MAX_DOCUMENT, "application/json") as (services, partner, body):
        status, shown = await show_exchange.take_posted(services, partner, body)
        return _reply(shown, status)


# --- streams ----------------------------------------------------------------------------------------------------------


@get("/streams", include_in_schema=False)
async def streams(request: AnyRequest) -> Reply:
    """Streams of both directions."""
    return _reply(await show_exchange.streams(*await _reader(request)))


@get("/streams/{stream:str}/checkpoint", include_in_schema=False)
async def checkpoint(request: AnyRequest, stream: FromPath[str]) -> Reply:
    """The signed head of a stream of ours."""
    services, partner = await _reader(request)
    epoch = _number(request.query_params.get("epoch"), "epoch")
    return _reply(await show_exchange.checkpoint(services, partner, stream, epoch), 200, _NO_CACHE)


@get("/streams/{stream:str}/manifests/{seq:str}", include_in_schema=False)
async def manifest(request: AnyRequest, stream: FromPath[str], seq: FromPath[str]) -> Reply:
    """A batch of ours without its parts; the next one may be waited for."""
    services, partner = await _reader(request)
    if seq != "latest" and not _NUMBER.match(seq):
        raise NotFound
    wait = request.query_params.get("wait", "0")
    if not re.fullmatch(r"[0-9]|[12][0-9]|30", wait):
        raise InvalidParameter("应为 0 至 30 秒。", place="wait")
    shown = await show_exchange.manifest(
        services,
        partner,
        stream,
        None if seq == "latest" else int(seq),
        epoch=_number(request.query_params.get("epoch"), "epoch"),
        wait_s=int(wait),
    )
    return Reply(204, [NO_STORE, (b"retry-after", b"30")]) if shown is None else _reply(shown)


@get("/streams/{stream:str}/files/{name:str}", include_in_schema=False)
async def file(request: AnyRequest, stream: FromPath[str], name: FromPath[str]) -> Reply:
    """The bytes of one part of ours, or a range of them: its bytes never change, so a broken transfer goes on where it stopped."""
    shown = await show_exchange.part(*await _reader(request), stream, name)
    algorithm, _, digest = (shown.tag or "").partition(":")
    headers: list[Header] = [NO_STORE, (b"repr-digest", f"{algorithm}=:{digest}:".encode()), (b"accept-ranges", b"bytes")]
    part = wanted_range(header(list(request.scope["headers"]), b"range"), len(shown.body))
    if part is None:
        return _reply(shown, 200, *headers)
    first, end = part
    headers.append((b"content-range", b"bytes %d-%d/%d" % (first, end - 1, len(shown.body))))
    return _reply(msgspec.structs.replace(shown, body=shown.body[first:end]), 206, *headers)


@post("/streams/{stream:str}/batches", include_in_schema=False, request_max_body_size=MAX_POST)
async def post_batch(request: AnyRequest, stream: FromPath[str]) -> Reply:
    """A partner's batch: a signed receipt, or the names of the parts that are still wanted."""
    async with _writer(request, MAX_POST, "application/json") as (services, partner, body):
        answered = await fetch_keys.with_newer_keys(
            services, partner, lambda: receive_batch.receive_posted(services, stream, body, caller=partner)
        )
    return Reply(answered.status, [(b"content-type", b"application/json"), NO_STORE], answered.body)


@put("/streams/{stream:str}/files/{name:str}", include_in_schema=False, request_max_body_size=MAX_PART)
async def put_file(request: AnyRequest, stream: FromPath[str], name: FromPath[str]) -> Reply:
    """One part of a batch that was posted without it."""
    services = house_of(request).services
    place: dict[str, int] = {}

    async def body(party: str, a_minute: int) -> bytes:
        house_of(request).limits.partner(party, a_minute)
        await places.enter_async_context(house_of(request).limits.body(party))
        epoch, seq = _number(request.query_params.get("epoch"), "epoch"), _number(request.query_params.get("seq"), "seq")
        if epoch is None or seq is None:
            raise InvalidParameter("须给出 epoch 与 seq。", place="epoch" if epoch is None else "seq")
        place.update(epoch=epoch, seq=seq)
        size = await receive_batch.size_wanted(services, sender=party, stream=stream, name=name, **place)
        return await _body(request, size, "application/octet-stream")

    async with AsyncExitStack() as places:
        partner, data = await believe_partner.by_request(services, _message(request), tag="cx-write", read_body=body)
        refuse_unmet(request.scope)
        await receive_batch.put_part(services, sender=partner, stream=stream, name=name, data=data, **place)
    return Reply(201, [NO_STORE])


@get("/streams/{stream:str}/receipts/{no:str}", include_in_schema=False)
async def receipt(request: AnyRequest, stream: FromPath[str], no: FromPath[str]) -> Reply:
    """A receipt that we gave."""
    services, partner = await _reader(request)
    if no != "latest" and not _NUMBER.match(no):
        raise NotFound
    return _reply(await show_exchange.receipt(services, partner, stream, None if no == "latest" else int(no)))


@get("/streams/{stream:str}/kept-receipts/{no:str}", include_in_schema=False)
async def kept_receipt(request: AnyRequest, stream: FromPath[str], no: FromPath[str]) -> Reply:
    """A receipt that the caller once gave us, for a caller who came back from a copy."""
    services, partner = await _reader(request)
    if no != "latest" and not _NUMBER.match(no):
        raise NotFound
    shown = await show_exchange.kept_receipt(services, partner, stream, None if no == "latest" else int(no))
    return Reply(204, [NO_STORE]) if shown is None else _reply(shown)


@get("/streams/{stream:str}/feedback/{no:str}", include_in_schema=False)
async def feedback(request: AnyRequest, stream: FromPath[str], no: FromPath[str]) -> Reply:
    """The feedback file of a receipt."""
    services, partner = await _reader(request)
    if not _NUMBER.match(no):
        raise NotFound
    return _reply(await show_exchange.feedback(services, partner, stream, int(no)))


@put("/streams/{stream:str}/feedback/{no:str}", include_in_schema=False, request_max_body_size=MAX_FEEDBACK)
async def put_feedback(request: AnyRequest, stream: FromPath[str], no: FromPath[str]) -> Reply:
    """The feedback of a receipt that a partner is about to bring for a batch that it has fetched."""
    async with _writer(request, MAX_FEEDBACK, "application/x-ndjson") as (services, partner, data):
        if not _NUMBER.match(no):
            raise NotFound
        await take_receipt.keep_feedback(services, partner, stream, int(no), data)
    return Reply(204, [NO_STORE])


@post("/streams/{stream:str}/receipts", include_in_schema=False, request_max_body_size=MAX_DOCUMENT)
async def post_receipt(request: AnyRequest, stream: FromPath[str]) -> Reply:
    """A partner's receipt for a batch that it has fetched."""
    async with _writer(request, MAX_DOCUMENT, "application/json") as (services, partner, body):
        try:
            await take_receipt.take_receipt(services, partner, stream, body)
        except ExchangeError as error:
            if error.code.startswith("SIG_"):  # of the receipt's note, not of the request
                raise BatchRefused(error) from error
            raise
    return Reply(204, [NO_STORE])


@post("/streams/{stream:str}/resync", include_in_schema=False, request_max_body_size=MAX_DOCUMENT)
async def resync(request: AnyRequest, stream: FromPath[str]) -> Reply:
    """The receiver of a stream of ours cannot go on: a new epoch will come."""
    async with _writer(request, MAX_DOCUMENT, "application/json") as (services, partner, body):
        epoch = await begin_epoch.asked_for(services, partner, stream, body)
    return Reply(202, [(b"content-type", b"application/json"), NO_STORE], msgspec.json.encode({"epoch": epoch}))


@get("/records/{record_id:str}/{version:str}", include_in_schema=False)
async def record(request: AnyRequest, record_id: FromPath[str], version: FromPath[str]) -> Reply:
    """One record as it was sealed, with its proof; or as SD-JWT, with the fields that `disclose` names."""
    services, partner = await _reader(request)
    stream = request.query_params.get("stream")
    if not _NUMBER.match(version) or stream is None:
        raise NotFound
    if show_exchange.SD_JWT not in request.headers.get("accept", ""):
        return _reply(await show_exchange.record(services, partner, stream, record_id, int(version)))
    named = request.query_params.getall("disclose", [])
    return _reply(await show_exchange.exported(services, partner, stream, record_id, int(version), named or None))


# --- mutual query -----------------------------------------------------------------------------------------------------


@post("/query", include_in_schema=False, status_code=200, request_max_body_size=MAX_DOCUMENT)
async def query(request: AnyRequest) -> Reply:
    """A partner's question about one subject: a signed answer, refusals included."""
    services, message = house_of(request).services, _message(request)

    async def read(party: str, a_minute: int) -> bytes:
        house_of(request).limits.partner(party, a_minute)
        return await _body(request, MAX_QUESTION, "application/json")

    partner, body = await believe_partner.by_request(services, message, tag="cx-query", read_body=read)
    refuse_unmet(request.scope)
    signed = {name: value for name, value in message.headers if name in _SIGNED}
    answer = await answer_partner.answer_partner(services, partner, Evidence(body=body, url=message.url, headers=signed))
    return Reply(200, [(b"content-type", b"application/json"), NO_STORE], answer)


@get("/query/{question:str}", include_in_schema=False)
async def query_again(request: AnyRequest, question: FromPath[str]) -> Reply:
    """The answer to a question that could not be answered at once."""
    services, partner = await _reader(request)
    answer = await answer_partner.later_answer(services, partner, question)
    return Reply(200, [(b"content-type", b"application/json"), NO_STORE], answer)


@get("/status", include_in_schema=False)
async def status(request: AnyRequest) -> Reply:
    """Clock, agreements, streams and what is overdue; signing and verifying are tried, not assumed."""
    return _reply(await show_exchange.status(*await _reader(request)))


router = Router(
    path="/x/v1",
    route_handlers=[
        keys,
        agreements,
        agreement,
        agreement_states,
        agreement_inventory,
        post_agreement,
        streams,
        checkpoint,
        manifest,
        file,
        post_batch,
        put_file,
        receipt,
        kept_receipt,
        feedback,
        put_feedback,
        post_receipt,
        resync,
        record,
        query,
        query_again,
        status,
    ],
)

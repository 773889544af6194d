"""Receipts of queries: given for an answer, shown to whoever holds the id, with a QR code of the page that verifies (api.md §7.17)."""

import io
from functools import partial
from typing import Any, Final

import msgspec
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from msgspec import Struct

from gateway.core.callers.caller import PUBLIC
from gateway.core.errors import InvalidParameter, NotFound, UnknownParameter
from gateway.core.exchange.wire import b64u
from gateway.core.publication.receipts import Receipt
from gateway.operations import query_receipts
from gateway.operations.asking import Language
from gateway.operations.query_receipts import AskAgain, Given
from gateway.web import again
from gateway.web.api import proof_shapes
from gateway.web.api.common import CASE_REF, PURPOSE
from gateway.web.asked import Asked, begin
from gateway.web.bodies import json_body
from gateway.web.describe import AnyRequest, Described, Parameter, path, posted
from gateway.web.negotiation import JSON
from gateway.web.once import IDEMPOTENCY_KEY, ONCE_PROBLEMS, once
from gateway.web.replies import NO_STORE, Header, Reply

MAX_BODY: Final = 4096
_ENCODER: Final = msgspec.json.Encoder()
SVG: Final = "image/svg+xml"
_QR_SCALE: Final = 4


class ReceiptAsked(Struct, forbid_unknown_fields=True, frozen=True):
    """Of which answer a receipt is wanted."""

    url: str


_EXAMPLE: Final[dict[str, Any]] = {
    "id": "rcpt_2222222222222222222222222a",
    "issued_at": "2026-11-04T01:02:03Z",
    "answer_sha256": "5f6a9c0e5b1f0e3c0f4e5d6c7b8a9f0e1d2c3b4a5f6e7d8c9b0a1f2e3d4c5b6a",
    "dataset_version": "20261104010000-88213",
    "policy_version": 42,
    "policy_plan": "0" * 64,
    "verify_uri": "https://h/verify/rcpt_2222222222222222222222222a",
    "qr": "https://h/v1/receipts/rcpt_2222222222222222222222222a/qr.svg",
    "note": "chengxin-receipt/2\ncredit.tonghua.example\nrcpt_2222222222222222222222222a\n…\n\n— credit.tonghua.example/receipt AAAA\n",
}
_RECEIPT: Final = Parameter(
    name="receipt", where="path", text="回执编号，只有持有人知道。Id of a receipt.", example="rcpt_2222222222222222222222222a"
)

ISSUE = Described(
    operation_id="issueReceipt",
    tag="回执",
    summary="为一次查询出具回执",
    description="Asks a GET path about subjects, records or lists as the caller, and gives a signed receipt of the answer: when, under "
    "which versions and plans, and its digest. `answer_salt` is given once, where persons or households may stand in the answer: the "
    "digest is then SHA-256 of salt and answer.",
    method="post",
    status=201,
    body=ReceiptAsked,
    sends={"url": "/v1/subjects/91220502XXT00002X2/records?kind=penalty"},
    sends_text="要留证的查询，本接口的路径。The query, as a path of this API.",
    takes=(IDEMPOTENCY_KEY, PURPOSE, CASE_REF),
    gives=proof_shapes.IssuedReceipt,
    problems=(*ONCE_PROBLEMS, "body-invalid", "body-too-large", "unsupported-media-type", "purpose-missing", "case-ref-missing"),
    example={**_EXAMPLE, "answer_salt": None},
)


@posted("/v1/receipts", ISSUE, most=MAX_BODY)
async def issue(request: AnyRequest) -> Reply:
    """Ask, and give a receipt of the answer."""
    asked = await begin(request, ISSUE)
    url = (await json_body(request, ReceiptAsked)).url
    return await once(asked, f"{asked.language}\n{url}".encode(), partial(_issue, request, asked, url))


async def _issue(request: AnyRequest, asked: Asked, url: str) -> Reply:
    reply = await again.ask(request, url, asked.caller, asked.language)
    said = dict(reply.headers)
    given = Given(
        url=url,
        language=asked.language,
        body=reply.body,
        dataset_version=said[b"dataset-version"].decode(),
        policy_version=int(said[b"policy-version"]),
        policy_plan=said[b"policy-plan"].decode().strip('"'),
    )
    issued = await query_receipts.issue(asked.services, asked.caller, given)
    receipt = issued.receipt
    document = {**_document(asked, receipt), "note": issued.note, "answer_salt": b64u(issued.salt) if issued.salt else None}
    headers = [*_headers(asked), (b"location", f"{asked.house.origin}/v1/receipts/{receipt.id}".encode())]
    return Reply(201, headers, _ENCODER.encode(document))


SHOW = Described(
    operation_id="getReceipt",
    tag="回执",
    summary="核验一份回执",
    description="Issue time, versions, plans, digest, signature, and whether the answer would say something else today. Never what was "
    "asked, nor the answer. `overtaken` is null where the answer was about persons or households, or for a caller of its own: nothing is "
    "kept then. `policy_plan` is null in a receipt of before plans were named.",
    takes=(_RECEIPT,),
    gives=proof_shapes.QueryReceipt,
    example={**_EXAMPLE, "overtaken": False},
)


@path("/v1/receipts/{receipt:str}", SHOW)
async def show(request: AnyRequest, receipt: FromPath[str]) -> Reply:
    """Show a receipt to whoever holds its id."""
    asked = await begin(request, SHOW)
    shown = await query_receipts.show(asked.services, receipt, asking_again(request))
    document = {**_document(asked, shown.receipt), "note": shown.note, "overtaken": shown.overtaken}
    return Reply(200, _headers(asked), _ENCODER.encode(document))


def asking_again(request: AnyRequest) -> AskAgain:
    """How the question of a receipt is asked again: as the public; what it would cost is paid by whoever wants to know."""

    async def ask(url: str, language: Language) -> bytes | None:
        try:
            return (await again.ask(request, url, PUBLIC, language)).body
        except (NotFound, InvalidParameter, UnknownParameter):  # any other failure says nothing about the answer
            return None

    return ask


QR = Described(
    operation_id="getReceiptQr",
    tag="回执",
    summary="回执的二维码",
    description="A QR code of the address of the page that verifies the receipt.",
    takes=(_RECEIPT,),
    media=(SVG,),
    example='<svg xmlns="http://www.w3.org/2000/svg"/>',
)


@path("/v1/receipts/{receipt:str}/qr.svg", QR)
async def qr(request: AnyRequest, receipt: FromPath[str]) -> Reply:
    """The QR code of a receipt."""
    import segno  # for whoever asks for the picture

    asked = await begin(request, QR)
    found, _ = await query_receipts.look(asked.services, receipt)
    out = io.BytesIO()
    segno.make(verify_uri(asked, found), error="m", micro=False).save(out, kind="svg", scale=_QR_SCALE, xmldecl=False, light="#fff")
    headers: list[Header] = [(b"content-type", SVG.encode()), (b"content-security-policy", b"default-src 'none'"), NO_STORE]
    return Reply(200, headers, out.getvalue())


def verify_uri(asked: Asked, receipt: Receipt) -> str:
    """The address of the page that verifies a receipt."""
    return f"{asked.house.origin}/verify/{receipt.id}"


def _document(asked: Asked, receipt: Receipt) -> dict[str, Any]:
    return {
        "id": receipt.id,
        "issued_at": receipt.issued_at,
        "answer_sha256": receipt.answer_sha256,
        "dataset_version": receipt.dataset_version,
        "policy_version": receipt.policy_version,
        "policy_plan": receipt.policy_plan,
        "verify_uri": verify_uri(asked, receipt),
        "qr": f"{asked.house.origin}/v1/receipts/{receipt.id}/qr.svg",
    }


def _headers(asked: Asked) -> list[Header]:
    return [(b"content-type", JSON.encode()), (b"content-language", asked.language.encode()), NO_STORE]


HANDLERS: Final[tuple[HTTPRouteHandler, ...]] = (issue, show, qr)

"""Pages for people: what a problem means, whether a receipt holds, a subject as everybody sees it (api.md §1, §5, §7.17).

They share limits, header fields and validators with the API; a problem on the way to one is a page, where a page is wanted.
"""

from hashlib import sha256
from typing import Final

from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from msgspec import structs

from gateway.core.errors import NotFound
from gateway.operations import query_receipts
from gateway.operations.show_subject import show_subject
from gateway.web import pages
from gateway.web.api.basics import document, plain_request
from gateway.web.api.common import CASE_REF, PURPOSE
from gateway.web.api.receipts import asking_again
from gateway.web.asked import begin
from gateway.web.describe import AnyRequest, Described
from gateway.web.house import house_of
from gateway.web.negotiation import HTML
from gateway.web.replies import NO_INDEX, NO_STORE, PROBLEMS_CACHE, Reply

MEDIA_TYPE: Final = "text/html; charset=utf-8"


@get("/problems/{code:str}", include_in_schema=False)
async def problem_kind(request: AnyRequest, code: FromPath[str]) -> Reply:
    """What a problem type's URL leads to: a page in both languages."""
    page = pages.problem_kind(code)
    plain_request(request, (HTML,))
    if page is None:
        raise NotFound
    return document(request, page, MEDIA_TYPE.encode(), PROBLEMS_CACHE, pages.CONTENT_POLICY, languages=b"zh-CN, en")


_VERIFY = Described(
    operation_id="verifyPage", tag="回执", summary="回执核验页", description="The page that verifies a receipt.", media=(HTML,), example=""
)


@get("/verify/{receipt:str}", include_in_schema=False)
async def verify(request: AnyRequest, receipt: FromPath[str]) -> Reply:
    """Whether a receipt holds, and whether its answer is overtaken; in both languages."""
    asked = await begin(request, _VERIFY)
    shown = await query_receipts.show(asked.services, receipt, asking_again(request))
    settings = asked.services.settings
    body = pages.receipt(shown, party=settings.party, sample=settings.demo)
    return Reply(
        200,
        [(b"content-type", MEDIA_TYPE.encode()), (b"content-language", b"zh-CN, en"), NO_STORE, NO_INDEX, pages.CONTENT_POLICY],
        body,
    )


_SUBJECT = Described(
    operation_id="subjectPage",
    tag="主体",
    summary="主体页",
    description="The page of a subject.",
    takes=(PURPOSE, CASE_REF),
    media=(HTML,),
    example="",
)


@get("/subjects/{subject:str}", include_in_schema=False)
async def subject(request: AnyRequest, subject: FromPath[str]) -> Reply:
    """A subject and the first page of its records, in the language that is wanted."""
    asked = await begin(request, _SUBJECT, any_code=True)
    shown = await show_subject(asked.services, subject, asked.caller, asked.ask())
    body = pages.subject(shown, language=asked.language, sample=asked.services.settings.demo)
    tag = house_of(request).validators.tag("page", sha256(body).hexdigest()).removeprefix(b'W/"').removesuffix(b'"').decode()
    reply = asked.reply(structs.replace(shown.answer, body=body, media_type=MEDIA_TYPE, etag=tag))
    reply.headers.append(pages.CONTENT_POLICY)
    return reply


HANDLERS: Final[tuple[HTTPRouteHandler, ...]] = (problem_kind, verify, subject)

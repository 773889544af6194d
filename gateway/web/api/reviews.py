"""The review queue of held texts, for the department whose record it is (policy.md §13).

Rules: a decision is a POST with a small strict JSON body; nothing of it is repeated in an error. Whoever is no reviewer gets the same
403 on every path, before anything is looked up; what no grant of today reaches is the one 404. Answers are kept by nobody.
"""

from typing import Annotated, Final, TypeVar

import msgspec
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from msgspec import Meta, Struct

from gateway.core.errors import ErrorItem, InvalidParameter
from gateway.operations import review_text, waiting_texts
from gateway.web import parameters
from gateway.web.api.common import CASE_REF, PURPOSE
from gateway.web.asked import Asked, begin
from gateway.web.bodies import small_body
from gateway.web.describe import AnyRequest, Described, Parameter, path, posted
from gateway.web.replies import Reply

MAX_BODY: Final = 16 * 1024
_ENCODER: Final = msgspec.json.Encoder()
_ITEM: Final = {
    "id": "rec_2222222222222222222222222a~facts",
    "record": "rec_2222222222222222222222222a",
    "dataset": "administrative-penalties",
    "field": "facts",
    "label": "违法事实",
    "residual": 1,
    "since": "2026-11-20T02:30:00Z",
    "overdue": False,
}
MAX_DATASET: Final = 63
MAX_AFTER: Final = 100
_DECIDED: Final = {"id": _ITEM["id"], "decision": "released", "decided": 1}
_REVIEW: Final = Parameter(
    name="review",
    where="path",
    text="待审文本编号：记录~字段。Record and field, joined by ~.",
    example="rec_2222222222222222222222222a~facts",
)
_LOOKING: Final = ("purpose-missing", "case-ref-missing", "quota-exceeded", "audit-unavailable", "obligation-failed")
_PROBLEMS: Final = (*_LOOKING, "body-invalid", "body-too-large", "unsupported-media-type", "conflict", "invalid-parameter")

Said = TypeVar("Said", bound=Struct)


class ReviewApproval(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Release the text as it was shown."""

    same_text: bool = False


class ReviewSpan(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A place of the text as it was shown, in characters: from, and up to."""

    start: Annotated[int, Meta(ge=0, le=10_000_000)]
    end: Annotated[int, Meta(ge=1, le=10_000_000)]


class ReviewEdit(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Places to be covered."""

    spans: Annotated[tuple[ReviewSpan, ...], Meta(min_length=1, max_length=200)]


class ReviewRefusal(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why the text must not be shown; kept for the office, shown to nobody."""

    reason: Annotated[str, Meta(min_length=1, max_length=400)]


QUEUE: Final = Described(
    operation_id="listReviews",
    tag="审核",
    summary="待审文本",
    description="Held texts of records that this department decided or sent, the oldest first. Purpose dept.supervision.",
    takes=(
        Parameter(
            name="dataset",
            text="数据集。Dataset.",
            schema={"type": "string", "maxLength": MAX_DATASET},
            example="administrative-penalties",
        ),
        Parameter(name="overdue", text="只要超期的。Only overdue ones.", schema={"type": "string", "enum": ["0", "1"]}),
        Parameter(
            name="after",
            text="上一页的 next。As given in `next`.",
            schema={"type": "string", "maxLength": MAX_AFTER},
            example=_REVIEW.example,
        ),
        Parameter(
            name="limit", text="每页记录数。Records a page.", schema={"type": "integer", "minimum": 1, "maximum": 100, "default": 100}
        ),
        PURPOSE,
        CASE_REF,
    ),
    gives=waiting_texts.ReviewPage,
    problems=("invalid-parameter", *_LOOKING),
    example={"items": [_ITEM], "next": None},
)
ONE: Final = Described(
    operation_id="getReview",
    tag="审核",
    summary="一条待审文本",
    description="The redacted candidate with its suspicious places, counted in characters.",
    takes=(_REVIEW, PURPOSE, CASE_REF),
    gives=waiting_texts.ReviewCandidate,
    problems=_LOOKING,
    example={**_ITEM, "text": "经查，丁甲乙供述", "doubts": [{"start": 3, "end": 6, "text": "丁甲乙"}], "same_text": 0},
)
APPROVE: Final = Described(
    operation_id="approveReview",
    method="post",
    tag="审核",
    summary="放行文本",
    description="Release the text as it was shown; with same_text every text of this department that reads exactly so.",
    takes=(_REVIEW, PURPOSE, CASE_REF),
    body=ReviewApproval,
    sends={"same_text": False},
    sends_text="是否连同文字完全相同者一并放行。Whether all that reads the same goes too.",
    gives=review_text.ReviewDecision,
    problems=_PROBLEMS,
    example=_DECIDED,
)
EDIT: Final = Described(
    operation_id="editReview",
    method="post",
    tag="审核",
    summary="遮盖后放行",
    description="Put placeholders over places of the text, and release what is left.",
    takes=(_REVIEW, PURPOSE, CASE_REF),
    body=ReviewEdit,
    sends={"spans": [{"start": 3, "end": 6}]},
    sends_text="要遮盖的位置，以字符计。Places to be covered, in characters.",
    gives=review_text.ReviewDecision,
    problems=_PROBLEMS,
    example=_DECIDED,
)
REFUSE: Final = Described(
    operation_id="refuseReview",
    method="post",
    tag="审核",
    summary="不予放行",
    description="The text stays held and leaves the queue until it or the redactor changes.",
    takes=(_REVIEW, PURPOSE, CASE_REF),
    body=ReviewRefusal,
    sends={"reason": "处处可见当事人"},
    sends_text="不予公示的理由，仅内部留存。Why; kept for the office.",
    gives=review_text.ReviewDecision,
    problems=_PROBLEMS,
    example={**_DECIDED, "decision": "refused"},
)


@path("/v1/reviews", QUEUE)
async def queue(request: AnyRequest) -> Reply:
    """Texts that wait."""
    asked = await begin(request, QUEUE)
    params = dict(asked.params)
    limit = params.get("limit", str(waiting_texts.PAGE))
    if not (limit.isascii() and limit.isdigit() and len(limit) <= 9 and 1 <= int(limit) <= waiting_texts.PAGE):
        raise InvalidParameter(errors=(ErrorItem("range", "", parameter="limit"),))
    page = await waiting_texts.waiting(
        asked.services,
        asked.caller,
        dataset=parameters.bounded(params, "dataset", MAX_DATASET),
        overdue=parameters.flag(params, "overdue"),
        after=parameters.bounded(params, "after", MAX_AFTER),
        limit=int(limit),
    )
    return await _reply(asked, page)


@path("/v1/reviews/{review:str}", ONE)
async def one(request: AnyRequest, review: FromPath[str]) -> Reply:
    """One text with its suspicious places."""
    asked = await begin(request, ONE)
    return await _reply(asked, await waiting_texts.show(asked.services, asked.caller, review))


@posted("/v1/reviews/{review:str}/approve", APPROVE)
async def approve(request: AnyRequest, review: FromPath[str]) -> Reply:
    """Release."""
    asked = await begin(request, APPROVE)
    said = await _body(request, asked, ReviewApproval)
    return await _reply(asked, await review_text.approve(asked.services, asked.caller, review, same_text=said.same_text))


@posted("/v1/reviews/{review:str}/edit", EDIT)
async def edit(request: AnyRequest, review: FromPath[str]) -> Reply:
    """Cover and release."""
    asked = await begin(request, EDIT)
    said = await _body(request, asked, ReviewEdit)
    spans = [(span.start, span.end) for span in said.spans]
    return await _reply(asked, await review_text.edit(asked.services, asked.caller, review, spans))


@posted("/v1/reviews/{review:str}/refuse", REFUSE)
async def refuse(request: AnyRequest, review: FromPath[str]) -> Reply:
    """Keep held."""
    asked = await begin(request, REFUSE)
    said = await _body(request, asked, ReviewRefusal)
    return await _reply(asked, await review_text.refuse(asked.services, asked.caller, review, said.reason))


async def _body(request: AnyRequest, asked: Asked, kind: type[Said]) -> Said:
    """The body of a decision, read only for who may decide.

    Raises NotPermitted, Refusal unsupported-media-type or body-too-large, BodyInvalid.
    """
    waiting_texts.reviewer(asked.caller)
    return await small_body(request, kind, most=MAX_BODY)


async def _reply(asked: Asked, answer: Struct) -> Reply:
    return await asked.kept_by_nobody(_ENCODER.encode(answer))


HANDLERS: Final[tuple[HTTPRouteHandler, ...]] = (queue, one, approve, edit, refuse)

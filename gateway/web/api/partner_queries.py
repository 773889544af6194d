"""Mutual query 互查 for departments: one subject, a purpose, a case; every partner answers for itself (exchange.md §12).

Rules: only departments with the purpose `mutual.query`, a grant for it and a case reference; whoever has none gets the same 403 before
anything is looked up. A question is small strict JSON, and nothing of it is repeated in an error. Another organisation's question, and
another case's, is the one 404. Answers are kept by nobody. This room must not read what partners say.
"""

from typing import Annotated, Final, Literal

import msgspec
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from msgspec import Meta, Struct, structs

from gateway.core.errors import ErrorItem, ExchangeError, InvalidParameter
from gateway.core.exchange.questions import LONGEST_NAME, SubjectAsked
from gateway.operations import ask_partner, kept_inquiries
from gateway.operations.ask_partner import Asking, Inquiry
from gateway.web.api.common import CASE_REF, PURPOSE
from gateway.web.asked import Asked, begin
from gateway.web.bodies import small_body
from gateway.web.describe import AnyRequest, Described, Parameter, deleted, path, posted
from gateway.web.replies import Reply

MAX_BODY: Final = 16 * 1024
_ENCODER: Final = msgspec.json.Encoder()
_TAKES: Final = (PURPOSE, structs.replace(CASE_REF, required=True))
_INQUIRY: Final = Parameter(
    name="inquiry",
    where="path",
    text="互查编号。Id of the inquiry.",
    schema={"type": "string", "pattern": "^inq_[a-z2-7]{26}$"},
    example="inq_2222222222222222222222222a",
)
_READING: Final = ("purpose-missing", "case-ref-missing", "quota-exceeded", "audit-unavailable")
_PROBLEMS: Final = (*_READING, "invalid-parameter", "body-invalid", "body-too-large", "unsupported-media-type")
_SAID: Final = {
    "partner": "credit.baishan.example",
    "agreement": "tonghua-baishan-2026",
    "datasets": ["administrative-penalties"],
    "status": "no_hit",
    "code": None,
    "need": [],
    "until": None,
    "details": False,
    "as_of": "2026-11-20T02:30:00Z",
    "answered_at": "2026-11-20T02:30:00Z",
    "expires_at": "2026-11-20T03:30:00Z",
    "records": [],
}
_EXAMPLE: Final = {
    "id": _INQUIRY.example,
    "level": 1,
    "total": "incomplete",
    "asked_at": "2026-11-20T02:30:00Z",
    "partners": [
        _SAID,
        {**_SAID, "partner": "credit.jian.example", "status": "unanswered", "as_of": None, "answered_at": None, "expires_at": None},
    ],
}


class SubjectInQuestion(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """About whom: an organisation by its code, a household by code and name, a person by number and name."""

    kind: Literal["legal", "individual_business", "natural"]
    uscc: Annotated[str, Meta(max_length=18)] | None = None
    id_no: Annotated[str, Meta(max_length=18)] | None = None
    name: Annotated[str, Meta(max_length=LONGEST_NAME)] | None = None

    def __repr__(self) -> str:
        return "<SubjectInQuestion>"


class PartnerQuestion(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a case needs to know of a subject."""

    subject: SubjectInQuestion
    basis: Annotated[str, Meta(min_length=1, max_length=400)]
    """The legal ground; partners read it."""
    officer: Annotated[str, Meta(min_length=1, max_length=64)]
    """As the department names its officer; partners see a pseudonym."""
    level: Literal[1, 2] = 1
    datasets: Annotated[tuple[Annotated[str, Meta(max_length=63)], ...], Meta(max_length=64)] = ()
    partners: Annotated[tuple[Annotated[str, Meta(max_length=64)], ...], Meta(max_length=64)] = ()
    follows: Annotated[str, Meta(max_length=30)] | None = None
    """Level 2: the inquiry whose hits are followed."""
    deadline_s: Annotated[int, Meta(ge=1, le=30)] = 5


class CaseEnded(Struct, frozen=True, kw_only=True):
    """Of how many answers the records were deleted."""

    answers: int


ASK: Final = Described(
    operation_id="askPartners",
    tag="记录",
    summary="向协议城市互查",
    description=(
        "Ask the cities with which an agreement is in force about one subject, for a case: all at once, under one deadline, and each under "
        "every agreement that covers the question. Each row, a city under one agreement, has a status; `total` is `no_hit` only when every "
        "city was asked and has said so under each. Level 2 tells the records behind the hits of an "
        "inquiry of the last day. Departments with a grant for the purpose mutual.query. Costs 5."
    ),
    method="post",
    public=False,
    body=PartnerQuestion,
    sends={"subject": {"kind": "legal", "uscc": "91220502XXT00002X2"}, "basis": "《示例条例》第一条", "officer": "警号-0412"},
    sends_text="主体、依据与经办人。Subject, ground and officer.",
    takes=_TAKES,
    gives=Inquiry,
    problems=_PROBLEMS,
    example=_EXAMPLE,
)
ONE: Final = Described(
    operation_id="getPartnerQuery",
    tag="记录",
    summary="一次互查的结果",
    description="What each city said to an inquiry of the same organisation and case; records only as long as the case lasts.",
    public=False,
    takes=(_INQUIRY, *_TAKES),
    gives=Inquiry,
    problems=_READING,
    example=_EXAMPLE,
)
AGAIN: Final = Described(
    operation_id="askPartnersAgain",
    tag="记录",
    summary="取回延后的答复",
    description="Fetch the answers of cities that said `not_available_until`, where the time has come.",
    method="post",
    public=False,
    takes=(_INQUIRY, *_TAKES),
    gives=Inquiry,
    problems=_READING,
    example=_EXAMPLE,
)
END: Final = Described(
    operation_id="endPartnerCase",
    tag="记录",
    summary="结束案件的互查",
    description="The case of `Case-Ref` is over: the records that cities told for it are deleted.",
    method="delete",
    public=False,
    takes=_TAKES,
    gives=CaseEnded,
    problems=_READING,
    example={"answers": 1},
)


@posted("/v1/partner-queries", ASK)
async def ask(request: AnyRequest) -> Reply:
    """Ask partners."""
    asked = await begin(request, ASK)
    asker, case = ask_partner.asker_of(asked.caller)
    await asked.also_costs(asked.charge.costs.lookup - asked.charge.costs.request)  # beyond the request itself
    said = await small_body(request, PartnerQuestion, most=MAX_BODY)
    subject = SubjectAsked(kind=said.subject.kind, uscc=said.subject.uscc, id_no=said.subject.id_no, name=said.subject.name)
    asking = Asking(
        subject=subject,
        case=case,
        basis=said.basis,
        officer=said.officer,
        level=said.level,
        datasets=said.datasets,
        partners=said.partners,
        follows=said.follows,
        deadline_s=said.deadline_s,
    )
    try:
        found = await ask_partner.ask_partners(asked.services, asker, asking)
    except ExchangeError as error:  # what no partner could be asked
        code = error.code.lower().replace("_", "-")
        raise InvalidParameter(errors=(ErrorItem(code, error.detail, pointer=f"/{error.place or 'subject'}"),)) from error
    return await _reply(asked, found)


@path("/v1/partner-queries/{inquiry:str}", ONE)
async def one(request: AnyRequest, inquiry: FromPath[str]) -> Reply:
    """One inquiry."""
    asked = await begin(request, ONE)
    asker, case = ask_partner.asker_of(asked.caller)
    return await _reply(asked, await kept_inquiries.show_inquiry(asked.services, asker, inquiry, case=case))


@posted("/v1/partner-queries/{inquiry:str}/again", AGAIN)
async def again(request: AnyRequest, inquiry: FromPath[str]) -> Reply:
    """Answers that come later."""
    asked = await begin(request, AGAIN)
    asker, case = ask_partner.asker_of(asked.caller)
    return await _reply(asked, await kept_inquiries.ask_again(asked.services, asker, inquiry, case=case))


@deleted("/v1/partner-queries", END)
async def end(request: AnyRequest) -> Reply:
    """The end of a case."""
    asked = await begin(request, END)
    asker, case = ask_partner.asker_of(asked.caller)
    ended = await kept_inquiries.end_case(asked.services, asker.org, case, by=asker.actor)
    return await _reply(asked, CaseEnded(answers=ended))


async def _reply(asked: Asked, value: Inquiry | CaseEnded) -> Reply:
    return await asked.kept_by_nobody(_ENCODER.encode(value))


HANDLERS: Final[tuple[HTTPRouteHandler, ...]] = (ask, one, again, end)

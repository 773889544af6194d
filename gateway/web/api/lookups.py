"""Personal look-up (api.md §7.20): the one POST of the data paths, for callers with a duty and a case."""

from typing import Any, Final

import msgspec
from litestar import post
from litestar.handlers import HTTPRouteHandler
from msgspec import structs

from gateway.core.callers.compact import Malformed, strict_json, unkeepable
from gateway.core.errors import BodyInvalid
from gateway.operations.look_up_person import PersonAsked, look_up_person, may_ask
from gateway.web.api import match_shapes
from gateway.web.api.common import CASE_REF, PURPOSE
from gateway.web.api.subjects import EXAMPLE_RECORD
from gateway.web.asked import begin
from gateway.web.describe import AnyRequest, Described
from gateway.web.negotiation import JSON, header
from gateway.web.problems import Refusal
from gateway.web.replies import Reply

MAX_BODY: Final = 4096

LOOKUP: Final = Described(
    operation_id="lookUpPerson",
    tag="记录",
    summary="个人查询",
    description=(
        "Whether a person has records in a dataset: by whole number and full name, for a case. Departments, partners, province and PBoC "
        "whose grant allows it. A miss is an empty list. Costs 5."
    ),
    method="post",
    public=False,
    body=PersonAsked,
    sends={"dataset": "administrative-penalties", "id_no": "220599199003071236", "name": "测试丁"},
    sends_text="数据集、完整的身份号码与姓名。Dataset, the whole number and the whole name.",
    takes=(PURPOSE, structs.replace(CASE_REF, required=True)),
    gives=match_shapes.Matches,
    problems=(
        "invalid-parameter",
        "body-invalid",
        "purpose-missing",
        "case-ref-missing",
        "body-too-large",
        "unsupported-media-type",
        "lookup-budget-spent",
        "audit-unavailable",
        "obligation-failed",
    ),
    example={"matches": [EXAMPLE_RECORD], "dataset_version": "20261104010000-88213", "policy_version": 42},
)


@post(
    "/v1/lookups",
    operation_id=LOOKUP.operation_id,
    opt={"described": LOOKUP, "template": "/v1/lookups"},
    include_in_schema=False,
    status_code=200,
    request_max_body_size=MAX_BODY,
)
async def look_up(request: AnyRequest) -> Reply:
    """Look a person up."""
    asked = await begin(request, LOOKUP)
    may_ask(asked.caller)
    await asked.also_costs(asked.charge.costs.lookup - asked.charge.costs.request)  # beyond the request itself
    person = await _person(request)
    return asked.reply(await look_up_person(asked.services, asked.caller, person, asked.language))


async def _person(request: AnyRequest) -> PersonAsked:
    """The body; no value of it is ever repeated.

    Raises Refusal unsupported-media-type, BodyInvalid.
    """
    fields = list(request.scope["headers"])
    if header(fields, b"content-type").partition(b";")[0].strip().lower() != JSON.encode() or header(fields, b"content-encoding"):
        raise Refusal("unsupported-media-type")
    body = await request.body()
    try:
        found: Any = strict_json(body)
        if unkeepable(body, found) is not None:
            raise BodyInvalid
        return msgspec.convert(found, PersonAsked)
    except (Malformed, msgspec.ValidationError):
        raise BodyInvalid from None


HANDLERS: Final[tuple[HTTPRouteHandler, ...]] = (look_up,)

"""Matching names and codes with the subjects that are shown (api.md §7.5)."""

from typing import Final

from litestar.handlers import HTTPRouteHandler

from gateway.operations.match_names import MatchAsked, match_names, most_queries
from gateway.web.api import match_shapes
from gateway.web.api.common import CASE_REF, PURPOSE
from gateway.web.asked import begin
from gateway.web.bodies import json_body
from gateway.web.describe import AnyRequest, Described, posted
from gateway.web.replies import Reply

MATCH: Final = Described(
    operation_id="matchNames",
    tag="主体",
    summary="名称与代码核对",
    description=(
        "Which of our subjects is meant by a name or code that you have; at most 100 queries, 20 without a credential. An address or "
        "region only says where. A code of one with the name of another is `possible`, never a match. Costs 1 a query."
    ),
    method="post",
    body=MatchAsked,
    sends={
        "queries": [{"id": "a1", "name": "示例药业公司", "region": "220502"}, {"id": "a2", "uscc": "91220502XXT00002X3"}],
        "limit": 3,
        "threshold": 0.85,
        "explain": True,
    },
    sends_text="要核对的名称与代码。Names and codes to be matched.",
    takes=(PURPOSE, CASE_REF),
    gives=match_shapes.Matched,
    problems=(
        "body-invalid",
        "body-too-large",
        "unsupported-media-type",
        "purpose-missing",
        "case-ref-missing",
        "audit-unavailable",
        "obligation-failed",
        "policy-expired",
    ),
    example={
        "results": [
            {
                "id": "a1",
                "status": "match",
                "status_label": "相符",
                "candidates": [
                    {
                        "subject": {
                            "id": "sub_2222222222222222222222222a",
                            "uscc": "91220502XXT00002X2",
                            "name": "通化市示例药业有限公司",
                        },
                        "score": 0.93,
                        "features": {
                            "name_equal": False,
                            "core_similarity": 1.0,
                            "pinyin_similarity": 1.0,
                            "region_conflict": False,
                            "form_conflict": False,
                            "former_name": False,
                        },
                    }
                ],
            },
            {
                "id": "a2",
                "status": "invalid",
                "status_label": "无法核对",
                "errors": [{"code": "check_digit"}],
                "suggestions": ["91220502XXT00002X2"],
            },
        ],
        "algorithm": "cx-match/1",
        "dataset_version": "20261104010000-88213",
        "policy_version": 42,
    },
)


MAX_BODY: Final = 256 * 1024
"""A hundred queries, each with every field at its longest, however they are escaped."""


@posted("/v1/match", MATCH, most=MAX_BODY)
async def match(request: AnyRequest) -> Reply:
    """Match a batch."""
    asked = await begin(request, MATCH)
    most_queries(asked.caller)  # who may not ask at all learns it before the body is read
    batch = await json_body(request, MatchAsked)
    costs = asked.charge.costs
    await asked.also_costs(max(0, costs.match_item * len(batch.queries) - costs.request))  # beyond the request itself
    return asked.reply(await match_names(asked.services, asked.caller, batch, asked.language))


HANDLERS: Final[tuple[HTTPRouteHandler, ...]] = (match,)

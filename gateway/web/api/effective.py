"""What the caller may see at all: the rows of the matrix that govern the request (api.md §7.1, policy.md §10)."""

from typing import Final

import msgspec

from gateway.operations.asking import Answer
from gateway.operations.explain_policy import matrix_for
from gateway.web.api import door_shapes
from gateway.web.api.common import DATASET, PURPOSE
from gateway.web.asked import begin
from gateway.web.describe import AnyRequest, Described, path
from gateway.web.replies import Reply

_ENCODER: Final = msgspec.json.Encoder()

MY_FIELDS = Described(
    operation_id="listMyFields",
    tag="接口",
    summary="当前调用方可见的字段",
    description="Rows of the policy matrix for this caller and purpose: field, kind of subject, treatment, capabilities, legal basis.",
    takes=(DATASET, PURPOSE),
    gives=door_shapes.EffectiveFields,
    problems=("invalid-parameter", "purpose-missing"),
    example={
        "items": [
            {
                "dataset": "administrative-penalties",
                "field": "uscc",
                "label": "统一社会信用代码",
                "subject_kind": "individual_business",
                "tier": "public",
                "purpose": "open.read",
                "treatment": "keep(8,0)",
                "capabilities": ["lookup"],
                "basis": [{"text": "《中华人民共和国行政处罚法》第四十八条", "uri": None}],
            }
        ],
        "policy_version": 42,
    },
)


@path("/v1/me/fields", MY_FIELDS)
async def my_fields(request: AnyRequest) -> Reply:
    """The caller's own rows of the matrix."""
    asked = await begin(request, MY_FIELDS)
    policies = await asked.services.policies.fresh()
    rows, plan = matrix_for(policies, asked.caller, asked.params.get("dataset"), english=asked.language == "en")
    body = _ENCODER.encode({"items": rows, "policy_version": policies.version})
    return asked.reply(Answer(body=body, no_store=True, policy_version=policies.version, policy_plan=plan), names_subjects=False)


HANDLERS: Final = (my_fields,)

"""Policies as open data: versions, matrix, differences (api.md §7.16)."""

from typing import Final

from litestar.params import FromPath

from gateway.operations import publish_policies
from gateway.web.api import data_shapes
from gateway.web.api.common import DATASET, PURPOSE
from gateway.web.asked import begin
from gateway.web.describe import TABLE_MEDIA, AnyRequest, Described, Parameter, path
from gateway.web.replies import Reply

_VERSION: Final = Parameter(name="policy", where="path", text="策略版本号。Policy version.", example="1")
_BEFORE: Final = Parameter(name="before", where="path", text="较早的版本号。The one version.", example="1")
_AFTER: Final = Parameter(name="after", where="path", text="较晚的版本号。The other version.", example="1")
_TIER: Final = Parameter(name="tier", text="访问层级。Tier.", schema={"type": "string", "maxLength": 20}, example="public")
_CELL: Final = {"dataset": "honours", "field": "name", "subject_kind": "individual_business", "tier": "public", "purpose": "open.read"}

POLICIES = Described(
    operation_id="listPolicies",
    tag="策略",
    summary="策略版本",
    description="Versions that were, are and will be in force, the newest first.",
    takes=(PURPOSE,),
    gives=data_shapes.PolicyVersions,
    example={
        "items": [
            {
                "version": 42,
                "state": "in_force",
                "effective_from": "2026-06-01T00:00:00Z",
                "effective_until": None,
                "summary": "新版本，取代第 41 版。",
                "links": {"matrix": "https://h/v1/policies/42/matrix", "diff": "https://h/v1/policies/41/diff/42"},
            }
        ],
        "policy_version": 42,
    },
)


@path("/v1/policies", POLICIES)
async def policies(request: AnyRequest) -> Reply:
    """All versions."""
    asked = await begin(request, POLICIES)
    return asked.reply(await publish_policies.policies(asked.services, asked.caller, asked.language), names_subjects=False)


MATRIX = Described(
    operation_id="getPolicyMatrix",
    tag="策略",
    summary="策略矩阵",
    description="Who sees which field in which form, what may be asked of it, on what ground; only fields that everybody may know of.",
    takes=(_VERSION, DATASET, _TIER, PURPOSE),
    gives=data_shapes.PolicyMatrix,
    items=True,
    media=TABLE_MEDIA,
    problems=("invalid-parameter",),
    example={
        "version": 42,
        "items": [
            {
                **_CELL,
                "label": "名称",
                "treatment": "surname",
                "capabilities": ["lookup"],
                "basis": [{"text": "《中华人民共和国政府信息公开条例》第二十条", "uri": None}],
            }
        ],
    },
)


@path("/v1/policies/{policy:str}/matrix", MATRIX, suffixes=True)
async def matrix(request: AnyRequest, policy: FromPath[str]) -> Reply:
    """The matrix of a version."""
    asked = await begin(request, MATRIX)
    told = await publish_policies.matrix(
        asked.services,
        policy,
        asked.caller,
        asked.language,
        dataset=asked.params.get("dataset"),
        tier=asked.params.get("tier"),
        spelt=asked.format,
    )
    return asked.reply(told, names_subjects=False)


DIFF = Described(
    operation_id="getPolicyDiff",
    tag="策略",
    summary="两个策略版本的差别",
    description="Cells and rights that the second version widens or narrows against the first; only fields that everybody may know of.",
    takes=(_BEFORE, _AFTER, PURPOSE),
    gives=data_shapes.PolicyDiff,
    example={
        "from": 41,
        "to": 42,
        "items": [{**_CELL, "change": "narrowed", "before": "clear", "after": "surname", "capability": None}],
        "policy_version": 42,
    },
)


@path("/v1/policies/{before:str}/diff/{after:str}", DIFF)
async def diff(request: AnyRequest, before: FromPath[str], after: FromPath[str]) -> Reply:
    """What changes between two versions."""
    asked = await begin(request, DIFF)
    told = await publish_policies.difference(asked.services, before, after, asked.caller, asked.language)
    return asked.reply(told, names_subjects=False)


HANDLERS: Final = (policies, matrix, diff)

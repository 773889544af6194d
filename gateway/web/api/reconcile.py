"""Reconciliation for OpenRefine and its kin: the protocol's paths, for everybody, without a key (api.md §7.7)."""

from html import escape
from typing import Final, NoReturn, cast

from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from msgspec import structs

from gateway.core.errors import BodyInvalid, ErrorItem, InvalidParameter, NotFound
from gateway.operations import reconcile as story
from gateway.operations.answering import ENCODER
from gateway.operations.asking import Answer
from gateway.operations.reconcile import MOST_QUERIES, MOST_SKIPPED, Extension, Kind, Query
from gateway.web import pages
from gateway.web.api import match_shapes
from gateway.web.asked import Asked, begin
from gateway.web.bodies import FORM, form_body, read_json, read_members
from gateway.web.describe import AnyRequest, Described, Parameter, path, posted
from gateway.web.negotiation import HTML
from gateway.web.parameters import bounded
from gateway.web.replies import Reply

MAX_BODY: Final = 256 * 1024
MAX_TYPE: Final = 64
_FIELDS: Final = ("queries", "extend")
_JSON_TEXT: Final = {"type": "string", "contentMediaType": "application/json"}
_QUERIES: Final = '{"q0": {"query": "通化市示例药业有限公司", "limit": 3}}'
_EXTEND: Final = '{"ids": ["91220502XXT00002X2"], "properties": [{"id": "region"}]}'
_KIND: Final = Parameter(
    name="kind",
    where="path",
    text="entity 主体、type 类型、property 属性。What is offered.",
    schema={"type": "string", "enum": ["entity", "type", "property"]},
    example="type",
)
_EXAMPLE: Final = {
    "versions": ["0.2"],
    "name": "诚信网关 credit.tonghua.example",
    "identifierSpace": "https://h/subjects/",
    "schemaSpace": "https://h/v1/reconcile/suggest/type",
    "view": {"url": "https://h/subjects/{{id}}"},
}
_RESULT: Final = {
    "q0": {
        "result": [
            {
                "id": "91220502XXT00002X2",
                "name": "通化市示例药业有限公司",
                "description": "企业 · 东昌区 · 存续",
                "score": 93.0,
                "match": True,
                "type": [{"id": "enterprise", "name": "企业"}],
                "features": [{"id": "core_similarity", "value": 1.0}],
            }
        ]
    }
}

MANIFEST = Described(
    operation_id="getReconciliation",
    tag="主体",
    summary="OpenRefine 对照服务的说明与查询",
    description="Reconciliation Service API 0.2: without a parameter the manifest; with `queries` or `extend` what the POST gives.",
    takes=(
        Parameter(name="queries", text="查询，JSON，至多 20 个。Queries by name.", schema=_JSON_TEXT, example=_QUERIES),
        Parameter(name="extend", text="补充字段的请求，JSON；不与 queries 同时。Entities and fields.", schema=_JSON_TEXT, example=_EXTEND),
    ),
    problems=("invalid-parameter",),
    example=_EXAMPLE,
)
RECONCILE = Described(
    operation_id="reconcile",
    tag="主体",
    summary="OpenRefine 对照查询",
    description="At most 20 queries, or 20 entities to extend; everybody is answered as the public. Costs 1 a query or entity.",
    method="post",
    fields={
        FORM: {
            "type": "object",
            "properties": {"queries": _JSON_TEXT, "extend": _JSON_TEXT},
            "oneOf": [{"required": ["queries"]}, {"required": ["extend"]}],
            "additionalProperties": False,
        }
    },
    sends={"queries": _QUERIES},
    sends_text="queries 或 extend 之一。One of the two.",
    problems=("body-invalid", "body-too-large", "unsupported-media-type"),
    example=_RESULT,
)


@path("/v1/reconcile", MANIFEST)
async def manifest(request: AnyRequest) -> Reply:
    """The manifest, or the answer to queries in the URL."""
    asked = await begin(request, MANIFEST)
    if not asked.params:
        return asked.reply(await story.show_manifest(asked.services, asked.language), names_subjects=False)
    if len(asked.params) > 1:
        raise InvalidParameter(errors=(ErrorItem("exclusive", "queries 与 extend 不能同时使用", parameter="extend"),))
    return asked.reply(await _answered(asked, asked.params, in_url=True))


@posted("/v1/reconcile", RECONCILE, most=MAX_BODY)
async def reconcile(request: AnyRequest) -> Reply:
    """The answer to a form."""
    asked = await begin(request, RECONCILE)
    form = await form_body(request, _FIELDS)
    if len(form) != 1:
        raise BodyInvalid(errors=(ErrorItem("required", "须有 queries 或 extend 之一", pointer=""),))
    return asked.reply((await _answered(asked, form, in_url=False)).unstored())


async def _answered(asked: Asked, sent: dict[str, str], *, in_url: bool) -> Answer:
    ((name, text),) = sent.items()
    try:
        if name == "queries":
            queries = read_members(text.encode(), Query, most=MOST_QUERIES)
            await _pay(asked, len(queries))
            return await story.reconcile(asked.services, queries, asked.language)
        extension = read_json(text.encode(), Extension)
        await _pay(asked, len(extension.ids))
        return await story.extend(asked.services, extension, asked.language)
    except BodyInvalid as error:
        _placed(error, name, in_url=in_url)


def _placed(error: BodyInvalid, name: str, *, in_url: bool) -> NoReturn:
    """The same fault, in the parameter or the field of the form that it stands in."""
    if in_url:
        items = tuple(ErrorItem(each.code, each.detail, parameter=name, pointer=each.pointer or None) for each in error.errors)
        raise InvalidParameter(errors=items) from None
    raise BodyInvalid(
        errors=tuple(ErrorItem(each.code, each.detail, pointer=f"/{name}{each.pointer or ''}") for each in error.errors)
    ) from None


async def _pay(asked: Asked, items: int) -> None:
    costs = asked.charge.costs
    await asked.also_costs(max(0, costs.match_item * items - costs.request))  # beyond the request itself


SUGGEST = Described(
    operation_id="suggestForReconciliation",
    tag="主体",
    summary="OpenRefine 输入提示",
    description="At most ten entities, types or properties for what has been typed; public organisations only.",
    takes=(
        _KIND,
        Parameter(name="prefix", text="已输入的文字。What has been typed.", schema={"type": "string", "maxLength": 128}, example="企业"),
        Parameter(
            name="cursor",
            text="跳过的条数 0–90。How many offers are skipped.",
            schema={"type": "integer", "minimum": 0, "maximum": MOST_SKIPPED, "default": 0},
        ),
    ),
    gives=match_shapes.ReconcileOffers,
    problems=("invalid-parameter",),
    example={"result": [{"id": "enterprise", "name": "企业"}]},
)


@path("/v1/reconcile/suggest/{kind:str}", SUGGEST)
async def suggest(request: AnyRequest, kind: FromPath[str]) -> Reply:
    """Offers while somebody types."""
    asked = await begin(request, SUGGEST)
    skipped = _number(asked, "cursor", 0, 0, MOST_SKIPPED)
    wanted = _kind(kind)
    answer = await story.suggest(asked.services, wanted, asked.params.get("prefix", ""), skipped, asked.language)
    return asked.reply(answer, names_subjects=wanted == "entity")


_ID: Final = Parameter(
    name="id", text="标识。Id.", schema={"type": "string", "minLength": 1, "maxLength": 64}, required=True, example="enterprise"
)
FLYOUT = Described(
    operation_id="showForReconciliation",
    tag="主体",
    summary="OpenRefine 悬停说明",
    description="A few words about an entity, a type or a property, as a piece of HTML.",
    takes=(_KIND, _ID),
    gives=match_shapes.ReconcileFlyout,
    problems=("invalid-parameter",),
    example={"id": "enterprise", "html": "<p><strong>企业</strong></p>"},
)


@path("/v1/reconcile/flyout/{kind:str}", FLYOUT)
async def flyout(request: AnyRequest, kind: FromPath[str]) -> Reply:
    """A few words."""
    asked = await begin(request, FLYOUT)
    wanted = _kind(kind)
    answer, said = await story.flyout(asked.services, wanted, _required(asked, "id"), asked.language)
    html = f"<p><strong>{escape(said['name'])}</strong></p>"
    if "description" in said:
        html += f"<p>{escape(said['description'])}</p>"
    return asked.reply(_filled(asked, answer, ENCODER.encode({"id": said["id"], "html": html})), names_subjects=wanted == "entity")


PREVIEW = Described(
    operation_id="previewForReconciliation",
    tag="主体",
    summary="OpenRefine 预览页",
    description="A subject on a small page without script, to be shown inside another one.",
    takes=(structs.replace(_ID, example="91220502XXT00002X2"),),
    media=(HTML,),
    problems=("invalid-parameter",),
    example="<!doctype html>",
)


@path("/v1/reconcile/preview", PREVIEW)
async def preview(request: AnyRequest) -> Reply:
    """A subject on a small page."""
    asked = await begin(request, PREVIEW)
    answer, document = await story.preview(asked.services, _required(asked, "id"), asked.language)
    body = pages.preview(
        document,
        language=asked.language,
        sample=asked.services.settings.demo,
        address=f"{asked.house.origin}/subjects/{story.entity_id(document)}",
    )
    reply = asked.reply(_filled(asked, answer, body, "text/html; charset=utf-8"))
    reply.headers.append(pages.PREVIEW_POLICY)
    return reply


PROPOSE = Described(
    operation_id="proposeForReconciliation",
    tag="主体",
    summary="OpenRefine 可补充的字段",
    description="Fields that organisations of a type can be extended by: those that everybody sees in clear.",
    takes=(
        Parameter(name="type", text="类型。Type.", schema={"type": "string", "maxLength": MAX_TYPE}, example="enterprise"),
        Parameter(
            name="limit", text="条数 1–100。At most so many.", schema={"type": "integer", "minimum": 1, "maximum": 100, "default": 100}
        ),
    ),
    gives=match_shapes.ReconcileProposal,
    problems=("invalid-parameter",),
    example={"properties": [{"id": "industry", "name": "行业"}], "type": "enterprise", "limit": 100},
)


@path("/v1/reconcile/extend/propose", PROPOSE)
async def propose(request: AnyRequest) -> Reply:
    """Fields that are offered."""
    asked = await begin(request, PROPOSE)
    limit = _number(asked, "limit", 100, 1, 100)
    of_type = bounded(asked.params, "type", MAX_TYPE)
    return asked.reply(await story.propose(asked.services, of_type, limit, asked.language), names_subjects=False)


# --- parameters --------------------------------------------------------------------------------------------------------


def _kind(kind: str) -> Kind:
    if kind not in ("entity", "type", "property"):
        raise NotFound
    return cast(Kind, kind)


def _required(asked: Asked, name: str) -> str:
    text = asked.params.get(name, "")
    if not 1 <= len(text) <= 64:
        raise InvalidParameter(errors=(ErrorItem("required" if not text else "length", "应有 1 至 64 个字符", parameter=name),))
    return text


def _number(asked: Asked, name: str, default: int, least: int, most: int) -> int:
    text = asked.params.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) <= 3 and least <= int(text) <= most):
        raise InvalidParameter(errors=(ErrorItem("range", f"应为 {least} 至 {most} 的整数", parameter=name),))
    return int(text)


def _filled(asked: Asked, answer: Answer, body: bytes, media_type: str = "application/json") -> Answer:
    """The answer with a body that is made here, and its validator."""
    tag = asked.house.validators.tag("reconcile", body).removeprefix(b'W/"').removesuffix(b'"').decode()
    return structs.replace(answer, body=body, media_type=media_type, etag=tag)


HANDLERS: Final[tuple[HTTPRouteHandler, ...]] = (manifest, reconcile, suggest, flyout, preview, propose)

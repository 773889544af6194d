"""The API about itself: root, caller, keys, problems, its document and page, health."""

from collections.abc import Callable
from hashlib import sha256
from typing import Any, Final

import msgspec
from litestar import get

from gateway import __version__
from gateway.core.errors import NoActivePolicy
from gateway.operations import answer_query
from gateway.operations.ask_partner import may_ask_partners
from gateway.operations.manage_keys import list_keys
from gateway.operations.report_health import report_health
from gateway.web import documents, parameters, problems
from gateway.web.api import door_shapes
from gateway.web.api.common import PURPOSE
from gateway.web.asked import begin
from gateway.web.describe import AnyRequest, Described, path
from gateway.web.house import house_of
from gateway.web.negotiation import HTML, JSON, OPENAPI, YAML, header, language_of, media_type_of
from gateway.web.pages import STYLE_PATH
from gateway.web.problems import Refusal
from gateway.web.replies import DOCUMENT_CACHE, NO_STORE, PRIVATE, PROBLEMS_CACHE, Header, Reply, compressed, conditional

_ENCODER: Final = msgspec.json.Encoder()

ROOT = Described(
    operation_id="getRoot",
    tag="接口",
    summary="接口的入口",
    description="Version, present state and where to go.",
    gives=door_shapes.Root,
    takes=(PURPOSE,),
    example={
        "version": "0.1.0",
        "seq": 88213,
        "dataset_version": "20261104010000-88213",
        "policy_version": 42,
        "licence": None,
        "city": "通化市",
        "region": "220500",
        "links": {"subjects": "https://h/v1/subjects", "lists": "https://h/v1/lists", "openapi": "https://h/openapi.json"},
    },
)


@path("/v1", ROOT)
async def root(request: AnyRequest) -> Reply:
    """Where to begin."""
    asked = await begin(request, ROOT)
    return asked.reply(await answer_query.root(asked.services, asked.caller, asked.ask(), version=__version__), names_subjects=False)


ME = Described(
    operation_id="getMe",
    tag="接口",
    summary="当前调用方",
    description="Tier, purposes and quotas of the caller, and the last day of its API key; works without a credential.",
    gives=door_shapes.Me,
    takes=(PURPOSE,),
    problems=("purpose-missing",),
    example={
        "tier": "public",
        "purpose": "open.read",
        "purposes": ["open.read"],
        "app": None,
        "org": None,
        "credential": "none",
        "key_expires_on": None,
        "links": {"effective_fields": "https://h/v1/me/fields"},
        "quotas": [{"name": "burst", "quota": 60, "window_s": 60, "remaining": 59, "full_in_s": 1}],
    },
)


@path("/v1/me", ME)
async def me(request: AnyRequest) -> Reply:
    """Who the gateway takes the caller for."""
    asked = await begin(request, ME)
    caller = asked.caller
    body = _ENCODER.encode(
        {
            "tier": caller.tier,
            "purpose": caller.purpose,
            "purposes": caller.purposes,
            "app": caller.app or None,
            "org": caller.org,
            "credential": caller.credential_kind,
            "key_expires_on": caller.key_expires_on,
            "quotas": asked.house.limits.state(asked.charge),
            **({"warning": "credential-exposed"} if caller.exposed else {}),
            "links": {"effective_fields": f"{asked.house.origin}/v1/me/fields"},
        }
    )
    return await asked.kept_by_nobody(body)


KEYS = Described(
    operation_id="listKeys",
    tag="接口",
    summary="本机构的验签公钥",
    description="Public keys that verify what this gateway has signed.",
    gives=door_shapes.Keys,
    example={
        "items": [
            {
                "name": "credit.tonghua.example/x",
                "algorithm": "ed25519",
                "use": "exchange",
                "from": "2026-01-01T00:00:00Z",
                "until": None,
                "vkey": "credit.tonghua.example/x+00000000+AAAA",
            }
        ]
    },
)


@path("/v1/keys", KEYS)
async def keys(request: AnyRequest) -> Reply:
    """Keys that verify what this gateway has signed."""
    asked = await begin(request, KEYS)
    services = asked.services
    items = [
        {
            "name": line.vkey.split("+", 1)[0],
            "algorithm": "ed25519",
            "vkey": line.vkey,
            "use": line.use,
            "from": line.not_before,
            "until": line.revoked_at or line.not_after,
        }
        for line in list_keys(services.settings, services.clock())
    ]
    return document(request, _ENCODER.encode({"items": items}), b"application/json", DOCUMENT_CACHE)


PROBLEMS = Described(
    operation_id="listProblems",
    tag="接口",
    summary="错误代码",
    description="All codes an error may have, with status and words.",
    gives=door_shapes.Problems,
    example={
        "items": [
            {
                "code": "not-found",
                "status": 404,
                "type": "https://h/problems/not-found",
                "title": "未找到",
                "detail": "没有可以显示的内容。",
                "title_zh": "未找到",
                "title_en": "Not found",
            }
        ]
    },
)


@path("/v1/problems", PROBLEMS)
async def problem_list(request: AnyRequest) -> Reply:
    """All codes as data."""
    asked = await begin(request, PROBLEMS)
    body = problems.catalogue(asked.house.origin, asked.language)
    return document(request, body, b"application/json", PROBLEMS_CACHE)


def document(request: AnyRequest, body: bytes, kind: bytes, cache: Header, *more: Header, languages: bytes | None = None) -> Reply:
    """A fixed document with its validator; shared caches never keep what was answered to a credential."""
    scope: Any = request.scope
    keyed = bool(header(scope["headers"], b"authorization"))
    if keyed and cache != NO_STORE:
        cache = PRIVATE
    spoken = languages or language_of(header(scope["headers"], b"accept-language")).encode()
    etag = house_of(request).validators.tag("document", sha256(body).hexdigest())
    headers = [(b"content-type", kind), (b"content-language", spoken), cache, (b"etag", etag), *more]
    reply = conditional(Reply(200, headers, body), header(scope["headers"], b"if-none-match"))
    # as everywhere, the length of an answer to a credential tells nothing
    return reply if keyed else compressed(reply, header(scope["headers"], b"accept-encoding"))


@get("/docs", include_in_schema=False)
async def docs(request: AnyRequest) -> Reply:
    """The API document as a page, in the reader's language."""
    plain_request(request, (HTML,))
    scope: Any = request.scope
    return _page(request, house_of(request).documents.page(language_of(header(scope["headers"], b"accept-language"))))


@get(STYLE_PATH, include_in_schema=False)
async def style(request: AnyRequest) -> Reply:
    """The style sheet of the pages."""
    plain_request(request, ("text/css",))
    return document(request, house_of(request).documents.style, b"text/css; charset=utf-8", DOCUMENT_CACHE)


def _page(request: AnyRequest, page: bytes) -> Reply:
    policy = (b"content-security-policy", documents.CONTENT_POLICY.encode())
    return document(request, page, b"text/html; charset=utf-8", DOCUMENT_CACHE, policy)


@get("/openapi.json", include_in_schema=False)
async def openapi_json(request: AnyRequest) -> Reply:
    """The OpenAPI document: the committed one, with the fields that the caller's plans show."""
    return (await _api_document(request, (JSON, OPENAPI)))(b"application/json", 0)


@get("/openapi.yaml", include_in_schema=False)
async def openapi_yaml(request: AnyRequest) -> Reply:
    """The same document as YAML."""
    return (await _api_document(request, (YAML, "application/x-yaml", "text/yaml")))(b"application/yaml", 1)


async def _api_document(request: AnyRequest, offers: tuple[str, ...]) -> Callable[[bytes, int], Reply]:
    """The API document of this caller; without a policy in force, what the paths alone say."""
    plain_request(request, offers)
    asked = await begin(request, _ANY_DOCUMENT)
    held = asked.house.documents
    try:
        known = await answer_query.shapes(asked.services, asked.caller, asked.language)
        beyond = (
            *(_OF_PERSONS if known.persons else ()),
            *(_OF_ASKERS if may_ask_partners(asked.caller) else ()),
            *(_OF_DEPARTMENTS if asked.caller.tier == "department" else ()),
        )
        made = held.under(known.name, asked.language, known.fields, beyond)
    except NoActivePolicy:
        made = held.json, held.yaml
    return lambda kind, which: document(request, made[which], kind, DOCUMENT_CACHE)


_OF_PERSONS: Final = ("lookUpPerson",)
"""Operations that stand only in the documents of whoever may look persons up."""
_OF_ASKERS: Final = ("askPartners", "askPartnersAgain", "endPartnerCase", "getPartnerQuery")
"""Of whoever may ask other cities."""
_OF_DEPARTMENTS: Final = ("takeMeasure",)
"""Of departments."""
_ANY_DOCUMENT = Described(
    operation_id="getDocument",
    tag="接口",
    summary="接口文档",
    description="The document itself.",
    takes=(PURPOSE,),
    media=(JSON, OPENAPI, YAML),
    example={},
)


def plain_request(request: AnyRequest, offers: tuple[str, ...]) -> None:
    """Raises UnknownParameter for any parameter, Refusal where none of these types is wanted."""
    scope: Any = request.scope
    parameters.refuse_unknown(parameters.read_query(scope["query_string"]), ())
    if media_type_of(header(scope["headers"], b"accept"), offers) is None:
        raise Refusal("not-acceptable", acceptable=offers)


@get("/healthz", include_in_schema=False)
async def healthz() -> Reply:
    """Whether the process runs."""
    return Reply(200, [(b"content-type", b"application/json"), NO_STORE], b'{"status":"ok"}')


@get("/readyz", include_in_schema=False)
async def readyz(request: AnyRequest) -> Reply:
    """Whether the process can answer: store, tables, policy in force, readers."""
    health = await report_health(house_of(request).services)
    status = 200 if health.ready else 503
    headers: list[Header] = [(b"content-type", b"application/json"), NO_STORE]
    return Reply(status, headers if health.ready else [*headers, (b"retry-after", b"5")], _ENCODER.encode(health))


HANDLERS: Final = (root, me, keys, problem_list, docs, style, openapi_json, openapi_yaml, healthz, readyz)

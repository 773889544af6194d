"""The doors for apps: `/oauth/token`, `/oauth/revoke`, `/oauth/introspect`, and the two documents that name them.

Rules: what is no plain form, is larger than 16 KiB or says a name twice is refused before OAuth's grammar sees it; every refusal of an
assertion reads alike, and leaves a line in the audit. The address of the request is the configured one, never the one that was sent.
"""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec

from gateway.core.callers.refusals import AssertionRefused, NonceWanted, ProofRefused
from gateway.operations import issue_token
from gateway.operations.issue_token import Believed, Posted
from gateway.operations.record_access import audit_refusal
from gateway.web.api import door_shapes
from gateway.web.api.basics import document
from gateway.web.asked import begin
from gateway.web.callers import presented_by
from gateway.web.conditions import refuse_unmet
from gateway.web.describe import AnyRequest, Described, path, posted
from gateway.web.house import House, house_of
from gateway.web.limits import enter
from gateway.web.negotiation import header
from gateway.web.oauth import INTROSPECT, ISSUE, REVOKE, Answer, Loaded
from gateway.web.replies import DOCUMENT_CACHE, NO_STORE, Header, Reply

MAX_FORM: Final = 16 * 1024
MAX_FIELDS: Final = 32
FORM: Final = b"application/x-www-form-urlencoded"
_ENCODER: Final = msgspec.json.Encoder()
_TEXT: Final = {"type": "string"}
_CLIENT: Final = {
    "client_assertion_type": {"type": "string", "const": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
    "client_assertion": {"type": "string", "maxLength": 8192},
    "client_id": _TEXT,
}
_PROVEN: Final = {
    "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
    "client_assertion": "eyJ…",
}
_DETAIL: Final = {"type": "credit-data", "dataset": "administrative-penalties", "purpose": "dept.supervision"}


def _form(required: tuple[str, ...], **more: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {**_CLIENT, **more},
        "required": ["client_assertion_type", "client_assertion", *required],
    }


TOKEN_ISSUE: Final = Described(
    operation_id="issueToken",
    tag="凭证",
    summary="领取访问令牌",
    description=(
        "client_credentials with private_key_jwt and a DPoP proof that bears the server's nonce. Purposes are asked for by "
        "authorization_details of type credit-data; none asked for: everything that is granted today."
    ),
    method="post",
    form=_form(
        ("grant_type",),
        grant_type={"type": "string", "const": "client_credentials"},
        authorization_details={"type": "string", "description": "JSON: [{type: credit-data, purpose, dataset}]"},
    ),
    sends={**_PROVEN, "grant_type": "client_credentials"},
    sends_text="应用的断言。The app's assertion.",
    gives=door_shapes.IssuedToken,
    example={"access_token": "cxt_…", "token_type": "DPoP", "expires_in": 600, "authorization_details": [_DETAIL]},
)
TOKEN_REVOKE: Final = Described(
    operation_id="revokeToken",
    tag="凭证",
    summary="作废访问令牌",
    description="RFC 7009. Another app's token, or one that is not there, is answered alike.",
    method="post",
    form=_form(("token",), token=_TEXT, token_type_hint=_TEXT),
    sends={**_PROVEN, "token": "cxt_…"},
    sends_text="断言与令牌。The assertion and the token.",
    example={},
)
TOKEN_INTROSPECT: Final = Described(
    operation_id="introspectToken",
    tag="凭证",
    summary="查验访问令牌",
    description="RFC 7662, for registered resource servers; to all others every token is inactive.",
    method="post",
    form=_form(("token",), token=_TEXT, token_type_hint=_TEXT),
    sends={**_PROVEN, "token": "cxt_…"},
    sends_text="断言与令牌。The assertion and the token.",
    gives=door_shapes.Introspected,
    example={"active": False},
)


@posted(ISSUE, TOKEN_ISSUE)
async def token(request: AnyRequest) -> Reply:
    """A token for an app that proves itself."""
    return await _answer(request, ISSUE)


@posted(REVOKE, TOKEN_REVOKE)
async def revoke(request: AnyRequest) -> Reply:
    """The end of a token."""
    return await _answer(request, REVOKE)


@posted(INTROSPECT, TOKEN_INTROSPECT)
async def introspect(request: AnyRequest) -> Reply:
    """What a token is worth."""
    return await _answer(request, INTROSPECT)


async def _answer(request: AnyRequest, endpoint: str) -> Reply:
    """Load, let Authlib decide, commit, answer."""
    house = house_of(request)
    services = house.services
    form = await _read(request)
    if form is None:
        return _reply(Answer(400, {"error": "invalid_request"}))
    believed: Believed | None = None
    if endpoint != ISSUE or form.get("grant_type") == "client_credentials":
        try:
            believed = await _believed(request, house, endpoint, form)
        except NonceWanted as error:
            return _reply(Answer(400, {"error": "use_dpop_nonce"}), error.nonce)
        except ProofRefused:
            return _reply(Answer(400, {"error": "invalid_dpop_proof"}))
    named = form.get("token", "") if endpoint != ISSUE and believed is not None else ""
    loaded = Loaded(
        house.origin,
        endpoint,
        form,
        believed=believed,
        token=issue_token.draw(services) if endpoint == ISSUE else "",
        looked=await issue_token.look_at(services, named) if named else None,
    )
    answer = house.authority.decide(loaded)
    if answer.status == 200:
        refuse_unmet(_scope(request))
    if believed is not None and loaded.access is not None and answer.status == 200:
        await enter(house.limits, _scope(request), issue_token.payer(believed))
        try:
            await issue_token.commit(services, believed, loaded.token, loaded.access)
        except AssertionRefused as error:  # it ended while this was decided
            await audit_refusal(services, "token", error.cause, presented_by(_scope(request), house.settings.trusted_proxies).address)
            loaded.believed = None
            answer = house.authority.decide(loaded)
    elif believed is not None and loaded.revoked:
        await issue_token.revoke(services, believed, named)
    return _reply(answer, issue_token.next_nonce(services) if endpoint == ISSUE else None)


async def _believed(request: AnyRequest, house: House, endpoint: str, form: Mapping[str, str]) -> Believed | None:
    """The app behind a request; None when it is not believed, which is Authlib's to tell.

    Raises ProofRefused, NonceWanted.
    """
    scope = _scope(request)
    shown = presented_by(scope, house.settings.trusted_proxies)
    asked = Posted(path=endpoint, form=form, authorization=bool(shown.authorization), proofs=shown.proofs)
    try:
        return await issue_token.believe(house.services, asked, bound=endpoint == ISSUE)
    except NonceWanted:
        raise  # nothing wrong, so far: anybody can make such a proof, so it counts among what a network may try (policy.md §14.8)
    except (ProofRefused, AssertionRefused) as error:
        await audit_refusal(house.services, "token", error.cause, shown.address)
        if isinstance(error, ProofRefused):
            raise
        return None


def _scope(request: AnyRequest) -> Any:
    return request.scope


async def _read(request: AnyRequest) -> dict[str, str] | None:
    """The form of a request, each name once; None when it is no form, too large, or says a name twice."""
    headers = _scope(request)["headers"]
    kind, _, words = header(headers, b"content-type").partition(b";")
    plain = kind.strip().lower() == FORM and words.strip().lower() in (b"", b"charset=utf-8")
    if not plain or header(headers, b"content-encoding") or _scope(request)["query_string"]:
        return None
    size, chunks = 0, []
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_FORM:
            return None
        chunks.append(chunk)
    try:
        pairs = parse_qsl(
            b"".join(chunks).decode("ascii"), keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=MAX_FIELDS
        )
    except ValueError:  # also UnicodeDecodeError
        return None
    form = dict(pairs)
    if not pairs or len(form) != len(pairs) or any("\0" in name + value for name, value in pairs):
        return None
    return {name: value for name, value in form.items() if value}  # RFC 6749 §3.2: without a value is not there


def _reply(answer: Answer, nonce: str | None = None) -> Reply:
    headers: list[Header] = [(b"content-type", b"application/json"), NO_STORE, (b"pragma", b"no-cache")]
    if nonce is not None:
        headers.append((b"dpop-nonce", nonce.encode()))
    return Reply(answer.status, headers, _ENCODER.encode(answer.body))


SERVER: Final = Described(
    operation_id="getAuthorizationServer",
    tag="凭证",
    summary="授权服务器说明",
    description="RFC 8414. There is no authorization endpoint: machines use client_credentials.",
    gives=door_shapes.ServerMetadata,
    example={
        "issuer": "https://h",
        "token_endpoint": "https://h/oauth/token",
        "revocation_endpoint": "https://h/oauth/revoke",
        "introspection_endpoint": "https://h/oauth/introspect",
        "response_types_supported": [],
        "grant_types_supported": ["client_credentials"],
        "token_endpoint_auth_methods_supported": ["private_key_jwt"],
        "dpop_signing_alg_values_supported": ["ES256", "Ed25519"],
    },
)
RESOURCE: Final = Described(
    operation_id="getProtectedResource",
    tag="凭证",
    summary="受保护资源说明",
    description="RFC 9728. Named in WWW-Authenticate.",
    gives=door_shapes.ResourceMetadata,
    example={
        "resource": "https://h",
        "authorization_servers": ["https://h"],
        "bearer_methods_supported": ["header"],
        "dpop_signing_alg_values_supported": ["ES256", "Ed25519"],
    },
)


@path("/.well-known/oauth-authorization-server", SERVER)
async def server(request: AnyRequest) -> Reply:
    """How apps obtain tokens."""
    asked = await begin(request, SERVER)
    return document(request, _ENCODER.encode(asked.house.server_metadata), b"application/json", DOCUMENT_CACHE)


@path("/.well-known/oauth-protected-resource", RESOURCE)
async def resource(request: AnyRequest) -> Reply:
    """Which server issues tokens for this API."""
    asked = await begin(request, RESOURCE)
    return document(request, _ENCODER.encode(asked.house.resource_metadata), b"application/json", DOCUMENT_CACHE)


HANDLERS: Final = (token, revoke, introspect, server, resource)

"""The shapes of answers about the service itself: its root, tokens and keys, quotas, what somebody may see, uploads, problems, health.

Rules: those of `shapes`. This room must not import a story.
"""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from gateway.web.api.shapes import Count, Day, Instant, Seq, Uri, Version


class Root(Struct, kw_only=True):
    """Where to begin."""

    version: str
    seq: Seq
    dataset_version: Version
    policy_version: Count
    licence: Uri | None
    city: str
    region: str
    links: dict[str, Uri]


class ReceiptLine(Struct, kw_only=True):
    """One row of an uploaded file that was not plainly accepted."""

    line: int
    code: str
    field: str | None


class Receipt(Struct, kw_only=True):
    """What became of an uploaded file: places and codes, never values."""

    dataset: str
    file_sha256: str
    trust: str
    accepted: int
    unchanged: int
    held: int
    withdrawn: int
    rejected: dict[str, int]
    noted: dict[str, int]
    rows: list[ReceiptLine]
    notes: list[ReceiptLine]


class QuotaState(Struct, kw_only=True):
    """One quota of the caller, and what is left of it."""

    name: str
    quota: int
    window_s: int
    remaining: int
    full_in_s: int


class EffectiveField(Struct, kw_only=True):
    """One cell of the policy matrix, as it governs the caller."""

    dataset: str
    field: str
    label: str
    subject_kind: str
    tier: str
    purpose: str
    treatment: str
    capabilities: list[str]
    basis: list[dict[str, str | None]]


class EffectiveFields(Struct, kw_only=True):
    """What the caller may see, for the purpose of the request."""

    items: list[EffectiveField]
    policy_version: Count


class Me(Struct, kw_only=True):
    """Who the gateway takes the caller for."""

    tier: str
    purpose: str
    purposes: list[str]
    app: str | None
    org: str | None
    credential: str
    key_expires_on: Day | None
    """Last day of the API key that was shown."""
    quotas: list[QuotaState]
    links: dict[str, Uri]
    warning: Literal["credential-exposed"] | UnsetType = UNSET
    """The key has stood in a URL, where logs keep it: replace it."""


class VerifierKey(Struct, kw_only=True, rename={"from_": "from"}):
    """A key under which this gateway signs."""

    name: str
    algorithm: str
    vkey: str
    use: str
    from_: Instant
    until: Instant | None


class Keys(Struct, kw_only=True):
    """Keys that verify what this gateway has signed."""

    items: list[VerifierKey]


class ProblemEntry(Struct, kw_only=True):
    """One code of the table."""

    code: str
    status: Annotated[int, Meta(ge=400, le=599)]
    type: Uri
    title: str
    detail: str
    title_zh: str
    title_en: str


class Problems(Struct, kw_only=True):
    """All codes of the API."""

    items: list[ProblemEntry]


class Health(Struct, kw_only=True):
    """Whether this process can answer."""

    ready: bool
    checks: dict[str, str]


class CreditDataDetail(Struct, kw_only=True):
    """What a token may be used for (RFC 9396)."""

    type: Literal["credit-data"]
    dataset: str
    purpose: str


class IssuedToken(Struct, kw_only=True):
    """An access token, opaque and bound to the key of the proof."""

    access_token: str
    token_type: Literal["DPoP"]
    expires_in: Annotated[int, Meta(ge=1, le=600)]
    authorization_details: list[CreditDataDetail]


class Introspected(Struct, kw_only=True):
    """What a registered resource server may know of a token (RFC 7662); to all others every token is inactive."""

    active: bool
    client_id: str | UnsetType = UNSET
    token_type: Literal["DPoP"] | UnsetType = UNSET
    iat: int | UnsetType = UNSET
    exp: int | UnsetType = UNSET
    cnf: dict[str, str] | UnsetType = UNSET
    authorization_details: list[CreditDataDetail] | UnsetType = UNSET


class ServerMetadata(Struct, kw_only=True):
    """RFC 8414."""

    issuer: Uri
    token_endpoint: Uri
    revocation_endpoint: Uri
    introspection_endpoint: Uri
    response_types_supported: list[str]
    grant_types_supported: list[str]
    token_endpoint_auth_methods_supported: list[str]
    dpop_signing_alg_values_supported: list[str]


class ResourceMetadata(Struct, kw_only=True):
    """RFC 9728."""

    resource: Uri
    authorization_servers: list[Uri]
    bearer_methods_supported: list[str]
    dpop_signing_alg_values_supported: list[str]

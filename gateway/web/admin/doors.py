"""Apps, their keys and their grants over the administrators' API: what `chengxin key new-app` … and `chengxin grant …` do.

An API key is in the answer once, as the command prints it once. A grant comes as the text of its file, so that the second person
approves the very bytes; which text that is, the digest says.
"""

from datetime import date
from typing import Annotated

from msgspec import Meta, Struct

from gateway.operations import manage_apps, manage_grants
from gateway.web.admin.desk import Act, Route

_Text = Annotated[str, Meta(min_length=1, max_length=200)]


class AppBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An app to register, and its organisation the first time."""

    org: _Text
    org_name: _Text
    kind: _Text
    region: _Text
    name: _Text
    tier: _Text
    unit: str | None = None
    introspects: bool = False
    uploads: bool = False
    jwk: Annotated[str, Meta(min_length=1, max_length=8192)] | None = None
    """Its public key too, PEM or JWK as text."""


class KeyBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A public key, PEM or JWK as text, and its id where the app gives one."""

    key: Annotated[str, Meta(min_length=1, max_length=8192)]
    kid: str | None = None


class ApiKeyBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How far an API key reaches, and how long."""

    scopes: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    days: Annotated[int, Meta(ge=1, le=366)] | None = None
    until: date | None = None
    """Last day, instead of `days`; a year where neither is said."""


class GrantBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A grant, as the text of its file."""

    text: Annotated[str, Meta(min_length=1, max_length=65_536)]


class GrantApproval(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which text is approved."""

    digest: Annotated[str, Meta(min_length=1, max_length=128)]


class Revoked(Struct, frozen=True, kw_only=True):
    """What was revoked."""

    revoked: str


async def listed(act: Act) -> object:
    """All apps with their keys."""
    return await manage_apps.list_apps(act.services)


async def shown(act: Act) -> object:
    """One app."""
    return await manage_apps.show_app(act.services, act.path["app"])


async def new_app(act: Act) -> object:
    """Register an app."""
    body: AppBody = act.body
    return await manage_apps.new_app(
        act.services,
        org=body.org,
        org_name=body.org_name,
        kind=body.kind,
        region=body.region,
        name=body.name,
        unit=body.unit,
        tier=body.tier,
        introspects=body.introspects,
        uploads=body.uploads,
        jwk=None if body.jwk is None else body.jwk.encode(),
        by=act.by,
    )


async def suspend(act: Act) -> object:
    """Stop an app."""
    return await manage_apps.suspend_app(act.services, act.path["app"], by=act.by)


async def resume(act: Act) -> object:
    """Let an app in again."""
    return await manage_apps.resume_app(act.services, act.path["app"], by=act.by)


async def approve_resume(act: Act) -> object:
    """The second person's yes to letting an app in again."""
    return await manage_apps.approve_resume(act.services, act.path["app"], by=act.by)


async def add_key(act: Act) -> object:
    """Register a client key."""
    body: KeyBody = act.body
    return await manage_apps.add_key(act.services, act.path["app"], body.key.encode(), kid=body.kid, by=act.by)


async def issue_key(act: Act) -> object:
    """An API key, shown once."""
    body: ApiKeyBody = act.body
    return await manage_apps.issue_key(
        act.services, act.path["app"], scopes=body.scopes, networks=body.networks, days=body.days, until=body.until, by=act.by
    )


async def approve_key(act: Act) -> object:
    """The second person's yes to a client key."""
    return await manage_apps.approve_key(act.services, act.path["thumbprint"], by=act.by)


async def revoke(act: Act) -> object:
    """End a client key or an API key."""
    return Revoked(revoked=await manage_apps.revoke(act.services, act.path["key"], by=act.by))


async def grants(act: Act) -> object:
    """All grants, or those of an organisation, also those that are over."""
    return await manage_grants.list_grants(act.services, org=act.query.get("org"))


async def propose_grant(act: Act) -> object:
    """Take a grant in."""
    body: GrantBody = act.body
    return await manage_grants.propose_grant(act.services, body.text.encode(), by=act.by)


async def approve_grant(act: Act) -> object:
    """The second person's yes to this very text."""
    body: GrantApproval = act.body
    return await manage_grants.approve_grant(act.services, act.path["grant"], digest=body.digest, by=act.by)


async def revoke_grant(act: Act) -> object:
    """End a grant."""
    return await manage_grants.revoke_grant(act.services, act.path["grant"], by=act.by)


_APPS = "/admin/v1/apps"
_KEYS = "/admin/v1/credentials"
_GRANTS = "/admin/v1/grants"

ROUTES: tuple[Route, ...] = (
    Route(method="GET", path=_APPS, command="key list-apps", summary="Apps with their keys", handler=listed,
          gives=list[manage_apps.AppLine]),
    Route(method="POST", path=_APPS, command="key new-app", summary="Register an app", handler=new_app, takes=AppBody,
          gives=manage_apps.AppLine),
    Route(method="GET", path=f"{_APPS}/{{app}}", command="key list-apps", summary="One app", handler=shown, gives=manage_apps.AppLine),
    Route(method="POST", path=f"{_APPS}/{{app}}/suspend", command="key suspend", summary="Stop an app", handler=suspend,
          gives=manage_apps.AppLine),
    Route(method="POST", path=f"{_APPS}/{{app}}/resume", command="key resume", summary="Let an app in again", handler=resume,
          gives=manage_apps.AppLine),
    Route(method="POST", path=f"{_APPS}/{{app}}/approve", command="key approve", summary="The second yes to letting an app in again",
          handler=approve_resume, gives=manage_apps.AppLine),
    Route(method="POST", path=f"{_APPS}/{{app}}/keys", command="key add", summary="Register a client key", handler=add_key, takes=KeyBody,
          gives=manage_apps.KeyLine),
    Route(method="POST", path=f"{_APPS}/{{app}}/api-keys", command="key issue", summary="An API key, shown once", handler=issue_key,
          takes=ApiKeyBody, gives=manage_apps.IssuedKey),
    Route(method="POST", path=f"{_KEYS}/{{thumbprint}}/approve", command="key approve", summary="The second yes to a client key",
          handler=approve_key, gives=manage_apps.KeyLine),
    Route(method="POST", path=f"{_KEYS}/{{key}}/revoke", command="key revoke", summary="End a credential", handler=revoke,
          gives=Revoked),
    Route(method="GET", path=_GRANTS, command="grant list", summary="Grants", handler=grants, query=("org",),
          gives=list[manage_grants.GrantLine]),
    Route(method="POST", path=_GRANTS, command="grant propose", summary="Take a grant in", handler=propose_grant, takes=GrantBody,
          gives=manage_grants.GrantLine),
    Route(method="POST", path=f"{_GRANTS}/{{grant}}/approve", command="grant approve", summary="The second yes to a grant",
          handler=approve_grant, takes=GrantApproval, gives=manage_grants.GrantLine),
    Route(method="POST", path=f"{_GRANTS}/{{grant}}/revoke", command="grant revoke", summary="End a grant", handler=revoke_grant,
          gives=manage_grants.GrantLine),
)  # fmt: skip

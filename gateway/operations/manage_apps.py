"""Register apps of organisations, their keys and API keys; suspend, resume and revoke them (policy.md §12, §14.1, §14.5).

Rules: an app has one tier, fixed at registration and limited by what its organisation is; a client key of a tier that reaches persons
counts only after a second person has approved its thumbprint, and a suspended app of such a tier is let in again by two persons; two live
keys an app, for changing over; what ends takes its tokens along in the same transaction, and any one administrator may end it. An API key
is shown once. This story must not see a private key.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import date, datetime
from typing import Final

import msgspec
from msgspec import Struct

from gateway.core.callers import api_keys
from gateway.core.callers.administrators import Administrator, Role
from gateway.core.callers.caller import BOUND_TIERS
from gateway.core.callers.compact import Malformed, strict_json
from gateway.core.callers.refusals import CredentialRefused
from gateway.core.disclosure.plans import Policies
from gateway.core.errors import AdminError, StoreError
from gateway.core.records.divisions import division
from gateway.core.records.identifiers import parse_uscc
from gateway.core.records.periods import legal_day
from gateway.core.signing import JoseKey, JoseKeyRefused, jose_key, jose_key_of_pem
from gateway.operations.four_eyes import actor, proof, refuse_dependent
from gateway.services import Services
from gateway.store import apps, audit, clients, developer_keys
from gateway.store.apps import App, AppKey, Organisation
from gateway.store.developer_keys import DeveloperKey
from gateway.store.store import Reads, Transaction

TIERS_OF_KIND: Final[Mapping[str, frozenset[str]]] = {
    "department": frozenset({"department", "developer"}),
    "district": frozenset({"department", "developer"}),
    "partner": frozenset({"partner", "developer"}),
    "supervisor": frozenset({"supervisor", "developer"}),
    "pboc": frozenset({"pboc", "developer"}),
    "company": frozenset({"developer"}),
}
"""What an organisation is → which tiers its apps may have."""
REGISTER: Final[tuple[Role, ...]] = ("operator",)
APPROVE: Final[tuple[Role, ...]] = ("approver", "privacy-officer")
STOP: Final[tuple[Role, ...]] = ("operator", "approver", "privacy-officer", "legal-officer", "key-custodian")
"""Whoever acts at all may end a credential: that only narrows."""
MOST_KEYS: Final = 2
KEY_LIMIT: Final = 8192
_IGNORED: Final = frozenset({"use", "kid", "alg", "key_ops"})
_NAME_LIMIT: Final = 100


class AppLine(Struct, frozen=True, kw_only=True):
    """An app as the office lists it."""

    app: str
    org: str
    org_name: str
    kind: str
    name: str
    unit: str | None
    tier: str
    introspects: bool
    uploads: bool
    state: str
    resume_by: str | None = None
    """Who asked to let it in again; it waits for a second person."""
    keys: tuple["KeyLine", ...] = ()
    api_keys: tuple["ApiKeyLine", ...] = ()


class KeyLine(Struct, frozen=True, kw_only=True):
    """A client key as the office lists it."""

    thumbprint: str
    app: str
    kid: str
    alg: str
    state: str
    """proposed (a second person must approve), active, revoked."""
    added_by: str
    approved_by: str | None


class ApiKeyLine(Struct, frozen=True, kw_only=True):
    """An API key as the office lists it."""

    key_id: str
    app: str
    scopes: tuple[str, ...]
    networks: tuple[str, ...]
    expires_on: date
    state: str
    last_used: date | None
    exposed_at: datetime | None
    """When it was first seen in a URL: whoever runs proxies and logs knows it since. Replace it."""


class IssuedKey(Struct, frozen=True, kw_only=True):
    """An API key, shown once."""

    key: str
    line: ApiKeyLine


# --- apps -------------------------------------------------------------------------------------------------------------


async def new_app(
    services: Services,
    *,
    org: str,
    org_name: str,
    kind: str,
    region: str,
    name: str,
    unit: str | None,
    tier: str,
    introspects: bool,
    by: Administrator,
    uploads: bool = False,
    jwk: bytes | None = None,
) -> AppLine:
    """Register an app, and its organisation the first time; with `jwk` its first key too, as `add_key` takes it.

    Raises RoleMissing, RowFault for a wrong organisation code, AdminError app-tier, app-invalid, key-refused, key-twice.
    """
    by.require(*REGISTER)
    if jwk is not None:
        key = _read_key(jwk)
        if tier not in BOUND_TIERS and not introspects:
            raise AdminError("a developer's app has API keys", code="app-tier", place="jwk", hint="chengxin key issue")
        if await apps.key(services.store.reads, key.thumbprint) is not None:
            raise AdminError("this key has been registered before", code="key-twice", place="jwk", hint="make a new key pair")
    org = parse_uscc(org)
    allowed = TIERS_OF_KIND.get(kind)
    if allowed is None or tier not in allowed:
        hint = f"{kind}: {', '.join(sorted(allowed))}" if allowed else f"one of {', '.join(TIERS_OF_KIND)}"
        raise AdminError("an organisation of this kind has no app of this tier", code="app-tier", place="tier", hint=hint)
    if uploads and tier != "department":
        raise AdminError("only a department's app sends records", code="app-tier", place="uploads", hint="register it with tier department")
    if division(region) is None:
        raise AdminError("there is no such division", code="app-invalid", place="region", hint="six digits, such as 220500")
    for place, text in (("name", name), ("org-name", org_name), ("unit", unit or "-")):
        if not 1 <= len(text) <= _NAME_LIMIT or not text.isprintable():
            raise AdminError(f"a name is one line of {_NAME_LIMIT} characters at most", code="app-invalid", place=place)
    made = Organisation(org=org, name=org_name, kind=kind, region=region)
    async with services.store.transaction() as tx:
        known = await apps.organisation(tx, org)
        if known is None:
            await apps.add_organisation(tx, made, actor(by))
        elif (known.kind, known.region) != (kind, region):
            raise AdminError(
                "the organisation is registered as something else", code="app-invalid", place="org", hint=f"{known.kind}, {known.region}"
            )
        app = await apps.add_app(tx, org=org, name=name, unit=unit, tier=tier, introspects=introspects, by=by.name, uploads=uploads)
        said = {"org": org, "tier": tier, "introspects": introspects, "uploads": uploads, **proof(by)}
        await audit.write(tx, actor(by), "app.register", f"app/{app}", said)
    if jwk is not None:
        await add_key(services, app, jwk, kid=None, by=by)
    return await show_app(services, app)


async def suspend_app(services: Services, app: str, *, by: Administrator) -> AppLine:
    """Stop an app: its tokens end now, its credentials count no more. One person is enough.

    Raises RoleMissing, AdminError app-unknown.
    """
    by.require(*STOP)
    async with services.store.transaction() as tx:
        await _known(tx, app)
        await apps.set_state(tx, app, "suspended")
        ended = await clients.revoke_app(tx, app)
        await audit.write(tx, actor(by), "app.suspend", f"app/{app}", {"tokens": ended, **proof(by)})
    services.doors.credentials.forget()
    return await show_app(services, app)


async def resume_app(services: Services, app: str, *, by: Administrator) -> AppLine:
    """Let an app in again, with the credentials that were not revoked. Where its tier reaches persons, a second person must agree first.

    Raises RoleMissing, AdminError app-unknown, app-state.
    """
    by.require(*REGISTER)
    policies = await services.policies.fresh()
    async with services.store.transaction() as tx:
        found = await _known(tx, app)
        if found.live:
            raise AdminError("the app is not suspended", code="app-state", place="app")
        second = tier_reaches_persons(policies, found.tier)
        await apps.set_state(tx, app, "suspended" if second else "active", resume_by=by.name if second else None)
        await audit.write(tx, actor(by), "app.resume", f"app/{app}", {"second": second, **proof(by)})
    services.doors.credentials.forget()
    return await show_app(services, app)


async def approve_resume(services: Services, app: str, *, by: Administrator) -> AppLine:
    """The second person's yes to letting a suspended app in again.

    Raises RoleMissing, AdminError app-unknown, app-state, approval-conflict.
    """
    by.require(*APPROVE)
    asked_by = (await _known(services.store.reads, app)).resume_by
    if asked_by is None:
        raise _nothing_waits()
    await refuse_dependent(services, by, asked_by)
    async with services.store.transaction() as tx:
        if (await _known(tx, app)).resume_by != asked_by:
            raise _nothing_waits()
        await apps.set_state(tx, app, "active")
        await audit.write(tx, actor(by), "app.resume.approve", f"app/{app}", {"asked_by": asked_by, **proof(by)})
    services.doors.credentials.forget()
    return await show_app(services, app)


def _nothing_waits() -> AdminError:
    return AdminError("nobody has asked to let this app in again", code="app-state", place="app", hint="chengxin key resume APP")


async def list_apps(services: Services) -> list[AppLine]:
    """All apps with their keys and API keys."""
    return [await _line(services, found) for found in await apps.everyone(services.store.reads)]


async def show_app(services: Services, app: str) -> AppLine:
    """One app with its keys and API keys.

    Raises AdminError app-unknown.
    """
    return await _line(services, await _known(services.store.reads, app))


# --- client keys ------------------------------------------------------------------------------------------------------


async def add_key(services: Services, app: str, given: bytes, *, kid: str | None, by: Administrator) -> KeyLine:
    """Register a client key: PEM or JWK of a public key. Where its tier reaches persons, a second person must approve it.

    Raises RoleMissing, AdminError app-unknown, app-tier, key-refused, key-limit, key-twice.
    """
    by.require(*REGISTER)
    key = _read_key(given)
    policies = await services.policies.fresh()
    async with services.store.transaction() as tx:
        found = await _known(tx, app)
        if found.tier not in BOUND_TIERS and not found.introspects:
            raise AdminError("a developer's app has API keys", code="app-tier", place="app", hint="chengxin key issue")
        live = [one for one in await apps.keys_of(tx, app) if one.state != "revoked"]
        if len(live) >= MOST_KEYS:
            raise AdminError(
                "an app has two live keys at most", code="key-limit", place="app", hint="revoke one: " + ", ".join(k.kid for k in live)
            )
        name = kid or key.thumbprint
        if not 1 <= len(name) <= 64 or not name.isascii() or not name.isprintable():
            raise AdminError("a key id has 1 to 64 ASCII characters", code="key-refused", place="kid")
        if await apps.key(tx, key.thumbprint) is not None or any(one.kid == name for one in await apps.keys_of(tx, app)):
            raise AdminError("this key, or its id, has been registered before", code="key-twice", place="key", hint="make a new key pair")
        state = "proposed" if tier_reaches_persons(policies, found.tier) else "active"
        await apps.add_key(tx, thumbprint=key.thumbprint, app=app, kid=name, alg=key.alg, members=key.members, state=state, by=by.name)
        await audit.write(
            tx, actor(by), "app.key.add", f"app/{app}", {"thumbprint": key.thumbprint, "alg": key.alg, "state": state, **proof(by)}
        )
    return await _key_line(services, key.thumbprint)


async def approve_key(services: Services, thumbprint: str, *, by: Administrator) -> KeyLine:
    """The second person's yes to this very key.

    Raises RoleMissing, AdminError key-unknown, key-state, approval-conflict.
    """
    by.require(*APPROVE)
    found = await apps.key(services.store.reads, thumbprint)
    if found is None:
        raise AdminError("there is no such key", code="key-unknown", place="key", hint="chengxin key list-apps")
    await refuse_dependent(services, by, found.added_by)
    async with services.store.transaction() as tx:
        now = await apps.key(tx, thumbprint)
        if now is None or now.state != "proposed":
            raise AdminError("the key waits for no approval", code="key-state", place="key")
        await apps.approve_key(tx, thumbprint, by.name)
        await audit.write(tx, actor(by), "app.key.approve", f"app/{found.app}", {"thumbprint": thumbprint, **proof(by)})
    services.doors.credentials.forget()
    return await _key_line(services, thumbprint)


async def revoke(services: Services, what: str, *, by: Administrator) -> str:
    """End a client key (by thumbprint), with the tokens that it obtained, or an API key (by id). What it was.

    Raises RoleMissing, AdminError key-unknown.
    """
    by.require(*STOP)
    async with services.store.transaction() as tx:
        client_key = await apps.key(tx, what)
        api_key = await developer_keys.find(tx, what)
        if client_key is not None:
            await apps.end_key(tx, what)
            ended = await clients.revoke_key(tx, what)
            await audit.write(tx, actor(by), "app.key.revoke", f"app/{client_key.app}", {"thumbprint": what, "tokens": ended, **proof(by)})
        elif api_key is not None:
            await developer_keys.end(tx, what)
            await audit.write(tx, actor(by), "api-key.revoke", f"app/{api_key.app}", {"key_id": what, **proof(by)})
        else:
            raise AdminError("there is no such key", code="key-unknown", place="key", hint="chengxin key list-apps")
    services.doors.credentials.forget()
    return "key" if client_key is not None else "api-key"


def tier_reaches_persons(policies: Policies, tier: str) -> bool:
    """Whether any plan of a tier is a personal one: then a key of the tier needs a second person, whatever is granted today."""
    return any(held.personal for (_, of, _), held in policies.plan_sets.items() if of == tier)


def _read_key(given: bytes) -> JoseKey:
    if len(given) > KEY_LIMIT:
        raise AdminError("a public key has 8 KiB at most", code="key-refused", place="key")
    try:
        if given.lstrip().startswith(b"-----BEGIN "):
            return jose_key_of_pem(given)
        return jose_key(strict_json(given.strip()), ignored=_IGNORED, rsa=True)
    except (JoseKeyRefused, Malformed) as error:
        raise AdminError(
            f"this is no public key of ours: {error}",
            code="key-refused",
            place="key",
            hint="PEM or JWK of a public P-256, Ed25519 or RSA key of 3072 bits and more; a private key belongs to its owner alone",
        ) from None


# --- API keys ---------------------------------------------------------------------------------------------------------


async def issue_key(
    services: Services,
    app: str,
    *,
    scopes: Sequence[str],
    networks: Sequence[str],
    by: Administrator,
    days: int | None = None,
    until: date | None = None,
) -> IssuedKey:
    """An API key for a developer's app, shown once. It lives for so many days or until a day; a year where neither is said.

    Raises RoleMissing, BodyInvalid for wrong scopes, networks or days, AdminError app-unknown, app-tier, key-limit.
    """
    by.require(*REGISTER)
    kept_scopes, kept_networks = api_keys.read_scopes(scopes), api_keys.read_networks(networks)
    today = legal_day(services.clock())
    expires_on = api_keys.last_day(days, until, today)
    text = api_keys.make_key("test" if services.settings.demo else "live", services.random(api_keys.RANDOM_BYTES))
    key = api_keys.read_key(text)
    async with services.store.transaction() as tx:
        found = await _known(tx, app)
        if found.tier != "developer":
            raise AdminError("only developers' apps have API keys", code="app-tier", place="app", hint="chengxin key add")
        if sum(one.live(today) for one in await developer_keys.of_app(tx, app)) >= api_keys.MOST_LIVE:
            raise AdminError("an app has two live keys at most", code="key-limit", place="app", hint="chengxin key revoke")
        await developer_keys.add(
            tx,
            key_id=key.key_id,
            app=app,
            mode=key.mode,
            mac=api_keys.mac_of(services.doors.pepper, key),
            scopes=kept_scopes,
            networks=kept_networks,
            expires_on=expires_on,
            by=by.name,
        )
        await audit.write(
            tx, actor(by), "api-key.issue", f"app/{app}", {"key_id": key.key_id, "until": expires_on.isoformat(), **proof(by)}
        )
        kept = await developer_keys.find(tx, key.key_id)
    if kept is None:
        raise AdminError("there is no such key", code="key-unknown", place="key")
    return IssuedKey(key=text, line=_api_line(kept))


async def mark_exposed(services: Services, seen: bytes) -> bool:
    """Keys that stood in a URL: whoever keeps logs on the way knows them. Only real keys are marked, and only once; whether one was."""
    marked = False
    for match in api_keys.IN_TEXT.finditer(seen):
        try:
            key = api_keys.read_key(match[0].decode("ascii"))
            held = await services.doors.credentials.api_key(key.key_id)
            api_keys.check_secret(services.doors.peppers, key, None if held is None else held.key.mac)
        except CredentialRefused:
            continue
        if held is None or held.key.exposed_at is not None:
            continue
        with suppress(StoreError):  # the next time that it is seen
            async with services.store.transaction() as tx:
                await developer_keys.expose(tx, key.key_id)
                await audit.write(tx, held.app.app, "api-key.exposed", f"app/{held.app.app}", {"key_id": key.key_id})
            services.doors.credentials.forget()
            marked = True
    return marked


# --- lines ------------------------------------------------------------------------------------------------------------


async def _known(source: Reads | Transaction, app: str) -> App:
    found = await apps.find(source, app)
    if found is None:
        raise AdminError("there is no such app", code="app-unknown", place="app", hint="chengxin key list-apps")
    return found


async def _line(services: Services, app: App) -> AppLine:
    reads = services.store.reads
    return AppLine(
        app=app.app,
        org=app.org,
        org_name=app.org_name,
        kind=app.kind,
        name=app.name,
        unit=app.unit,
        tier=app.tier,
        introspects=app.introspects,
        uploads=app.uploads,
        state=app.state,
        resume_by=app.resume_by,
        keys=tuple(_key(one) for one in await apps.keys_of(reads, app.app)),
        api_keys=tuple(_api_line(one) for one in await developer_keys.of_app(reads, app.app)),
    )


async def _key_line(services: Services, thumbprint: str) -> KeyLine:
    found = await apps.key(services.store.reads, thumbprint)
    if found is None:
        raise AdminError("there is no such key", code="key-unknown", place="key")
    return _key(found)


def _key(one: AppKey) -> KeyLine:
    return KeyLine(
        thumbprint=one.thumbprint,
        app=one.app,
        kid=one.kid,
        alg=one.alg,
        state=one.state,
        added_by=one.added_by,
        approved_by=one.approved_by,
    )


def _api_line(one: DeveloperKey) -> ApiKeyLine:
    return msgspec.convert(one, ApiKeyLine, from_attributes=True)

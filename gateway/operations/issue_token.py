"""Give a token to an app that proves itself: load, decide, commit (policy.md §14.2).

First everything is loaded and checked that needs no writing: the proof with the server's nonce, then the assertion with the app's own
keys. Then both single-use ids are consumed together. What the OAuth grammar makes of it is decided in the web room, in memory; then
token and audit row are committed, and only then does the answer leave.

Rules: an unknown app, a suspended one and a wrong signature are one refusal; nothing is written for whom we do not believe, except the
audit of the refusal; a token allows what was asked for and is granted today, never more. This story must not know OAuth's words.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import cache
from typing import Final, cast

from msgspec import Struct

from gateway.core.callers.assertion import ASSERTION_TYPE, Assertion, check_assertion, claimed_app
from gateway.core.callers.authorization_details import Access, granted
from gateway.core.callers.caller import BOUND_TIERS, OPEN_PURPOSE, Caller, Tier
from gateway.core.callers.proof import Proof, check_proof, nonce_of
from gateway.core.callers.refusals import AssertionRefused, ProofRefused
from gateway.core.errors import NoActivePolicy
from gateway.core.exchange.access import kept
from gateway.core.records.periods import legal_day
from gateway.core.signing import JoseKey, jose_key
from gateway.operations.identify_caller import purpose_open
from gateway.services import Services
from gateway.store import apps, audit, clients
from gateway.store import grants as grant_rows
from gateway.store.apps import App
from gateway.store.credentials import agreements_for
from gateway.store.replay import Use

_OTHER_METHODS: Final = frozenset({"client_secret", "code", "refresh_token", "username", "password", "assertion"})
_BASE_POINT: Final = {
    "kty": "EC",
    "crv": "P-256",
    "x": "axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY",
    "y": "T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU",
}
"""Of the curve: a key on which nothing ever depends."""


@cache
def nobodys_key() -> JoseKey:
    """The key of an unknown app: it costs a verification, as a known one does."""
    return jose_key(_BASE_POINT)


class Posted(Struct, frozen=True, kw_only=True):
    """A request to an endpoint of ours for apps: its form, each name once, and what stands in its header."""

    path: str
    form: Mapping[str, str]
    authorization: bool
    """Whether it has an `Authorization` field: a second way of saying who one is."""
    proofs: tuple[str, ...] = ()


class Believed(Struct, frozen=True, kw_only=True):
    """An app that has proven itself, with what it may be given today."""

    app: App
    assertion: Assertion
    jkt: str | None
    """Key of its proof; None where none is wanted."""
    access: Access


async def believe(services: Services, posted: Posted, *, bound: bool) -> Believed:
    """The app behind a request, its assertion and (with `bound`) its proof consumed.

    Raises AssertionRefused, ProofRefused, NonceWanted.
    """
    now, settings = services.clock(), services.settings
    form = posted.form
    if posted.authorization or not _OTHER_METHODS.isdisjoint(form):
        raise AssertionRefused("methods")
    if form.get("client_assertion_type") != ASSERTION_TYPE or "client_assertion" not in form:
        raise AssertionRefused("assertion-absent")
    proof = None
    if bound:
        proof = check_proof(
            posted.proofs,
            method="POST",
            url=settings.public_origin.rstrip("/") + posted.path,
            now=now,
            window_s=settings.dpop_window_s,
            nonce_key=services.doors.nonce_key,
        )
    app, assertion = await _app_of(services, form)
    await _consume(services, assertion, proof)
    return Believed(app=app, assertion=assertion, jkt=None if proof is None else proof.jkt, access=await _access(services, app))


async def _app_of(services: Services, form: Mapping[str, str]) -> tuple[App, Assertion]:
    text = form["client_assertion"]
    reads = services.store.reads
    claimed = claimed_app(text)
    app = await apps.find(reads, claimed)
    keys = {key.kid: key for key in await apps.keys_of(reads, claimed) if key.state == "active"}  # asked of an unknown app too
    if app is None:
        nobodys_key().verify(text)
        raise AssertionRefused("app-unknown")

    def known(kid: str) -> JoseKey | None:
        key = keys.get(kid)
        if key is None:
            nobodys_key().verify(text)
            return None
        return jose_key(key.members, rsa=True)

    assertion = check_assertion(
        text,
        issuer=services.settings.token_issuer,
        keys=known,
        client_id=form.get("client_id"),
        now=services.clock(),
        max_s=services.settings.assertion_max_s,
    )
    if not app.live or (app.tier not in BOUND_TIERS and not app.introspects):
        raise AssertionRefused("app-suspended")
    return app, assertion


async def _consume(services: Services, assertion: Assertion, proof: Proof | None) -> None:
    """Both ids at once: an assertion whose proof was used before stays good, and the other way round."""
    replay = services.doors.replay
    if replay.since is not None and assertion.issued_at < replay.since:
        raise AssertionRefused("assertion-before-start")
    if replay.since is not None and proof is not None and proof.issued_at < replay.since:
        raise ProofRefused("proof-before-start")
    ids = [Use("assertion", assertion.app, assertion.jti, assertion.used_until)]
    if proof is not None:
        ids.append(Use("proof", proof.jkt, proof.jti, proof.used_until))
    if not await replay.use(ids, services.clock()):
        raise AssertionRefused("replayed")


async def _access(services: Services, app: App) -> Access:
    """What is granted to an app today, as far as agreements in force and the policies know it."""
    try:
        policies = await services.policies.fresh()
    except NoActivePolicy:
        return ()
    now, reads = services.clock(), services.store.reads
    agreements = await agreements_for(reads, app.tier)
    grants = kept(await grant_rows.active(reads, app.app), agreements, tier=app.tier, ours=services.settings.party, at=now)
    held = granted(grants, legal_day(now))
    return tuple(pair for pair in held if purpose_open(policies, app.tier, pair[1]))


def payer(believed: Believed) -> Caller:
    """Whose quota a token request is paid from: the app's own."""
    app = believed.app
    return Caller(
        tier=cast(Tier, app.tier), purpose=OPEN_PURPOSE, purposes=(), credential_kind="token", app=app.app, org=app.org, assurance="bound"
    )


def draw(services: Services) -> str:
    """A new token, not yet worth anything."""
    return clients.draw(services.random)


def next_nonce(services: Services) -> str:
    """The nonce that the next proof should bear."""
    return nonce_of(services.doors.nonce_key, services.clock())


async def commit(services: Services, believed: Believed, token: str, access: Access) -> None:
    """Keep a token that was decided on, with its audit row, if app and key are still what they were when the assertion was believed.

    Raises AssertionRefused.
    """
    async with services.store.transaction() as tx:
        app, key = await apps.find(tx, believed.app.app), await apps.key(tx, believed.assertion.thumbprint)
        if app is None or not app.live:
            raise AssertionRefused("app-suspended")
        if key is None or key.state != "active":
            raise AssertionRefused("key-ended")
        await clients.keep(
            tx,
            token,
            app=believed.app.app,
            org=believed.app.org,
            tier=believed.app.tier,
            jkt=believed.jkt,
            credential=believed.assertion.thumbprint,
            access=access,
            lifetime=timedelta(seconds=services.settings.token_lifetime_s),
        )
        await audit.write(
            tx,
            believed.app.app,
            "token.issue",
            f"app/{believed.app.app}",
            {"key": believed.assertion.thumbprint, "jkt": believed.jkt, "access": [list(pair) for pair in access]},
        )


class Looked(Struct, frozen=True, kw_only=True):
    """A live token, as a resource server may know it."""

    app: str
    jkt: str
    access: Access
    sends: bool
    """It was issued to send records with, and to read what the public reads."""
    issued_at: datetime
    expires_at: datetime


async def look_at(services: Services, token: str) -> Looked | None:
    """A live bound token with what it may still be used for; None: unknown, or over, or its app suspended."""
    row = await clients.find(services.store.reads, token, services.clock())
    if row is None or row.jkt is None:
        return None
    app = await apps.find(services.store.reads, row.app)
    if app is None or not app.live or app.tier != row.tier:
        return None
    still = frozenset(await _access(services, app))
    access = tuple(pair for pair in row.access if pair in still)
    sends = app.uploads and not row.access
    return Looked(app=row.app, jkt=row.jkt, access=access, sends=sends, issued_at=row.issued_at, expires_at=row.expires_at)


async def revoke(services: Services, believed: Believed, token: str) -> None:
    """End a token of this app; of another app's nothing happens, and nobody learns which it was."""
    async with services.store.transaction() as tx:
        ended = await clients.revoke(tx, token, believed.app.app)
        if ended:
            await audit.write(tx, believed.app.app, "token.revoke", f"app/{believed.app.app}", {"tokens": ended})
    services.doors.credentials.forget()

"""Who sent a request: from its credential, proof, purpose and case reference, as texts, to a `Caller`.

Rules: no credential is the public; a credential that fails never becomes the public, and every failure reads alike. What a kind of
credential may be at most is written here, not in a policy: an API key is a developer, a token with its proof what its app is registered
as. A token counts for what it was issued for, what its app is granted today (a partner's, the province's, the bank's: under an
agreement in force) and what the policies in force know. This story must
not look at what is asked for.
"""

import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import date, datetime
from typing import Final, NamedTuple, cast

from msgspec import Struct, structs

from gateway.core.callers import api_keys
from gateway.core.callers.caller import ASSURANCES, BOUND_TIERS, OPEN_PURPOSE, PUBLIC, Caller, Tier, stated_purpose
from gateway.core.callers.grants import Grant
from gateway.core.callers.proof import Proof, Read, read_proof
from gateway.core.callers.refusals import CredentialRefused, NonceWanted, ProofRefused
from gateway.core.disclosure.plans import Policies
from gateway.core.errors import BadRequest, NotPermitted, StoreError
from gateway.core.exchange.access import kept
from gateway.core.records.periods import end_instant, first_instant, legal_day
from gateway.operations.wide_grants import wide_grants
from gateway.services import Services
from gateway.store import clients, developer_keys
from gateway.store.apps import App
from gateway.store.clients import TokenRow
from gateway.store.credentials import HeldToken
from gateway.store.replay import Use

_CREDENTIAL: Final = re.compile(r"([A-Za-z]{4,6}) +([A-Za-z0-9._~+/-]{16,256}=*)", re.ASCII)
_SCHEMES: Final = frozenset({"bearer", "dpop"})
_PURPOSE: Final = re.compile(r"[a-z][a-z0-9_.\-]{0,62}")
_CASE_REF: Final = range(4, 65)
"""Characters of a case reference (policy.md §6); most are Chinese file numbers."""


class Presented(Struct, frozen=True, kw_only=True):
    """What a request shows of its sender, as it came; the method and the path are what a proof is bound to."""

    method: str = "GET"
    """As sent: HEAD is HEAD."""
    path: str = "/"
    """As sent, percent signs and all; without the query."""
    authorization: tuple[str, ...] = ()
    """Every `Authorization` field."""
    proofs: tuple[str, ...] = ()
    """Every `DPoP` field."""
    purpose: str | None = None
    case_ref: str | None = None
    """In UTF-8; bytes that are none stand as lone surrogates, and are refused."""
    address: str = ""
    """Network address of the sender, behind our own proxies; only keys that are kept to networks look at it."""

    @property
    def nobody(self) -> bool:
        """Whether it shows nothing at all: the public."""
        return not self.authorization and not self.proofs and self.purpose is None and self.case_ref is None


Believed = Callable[[Caller], None]
"""Hears who pays for a request, as soon as its credential is believed: what is refused after that costs its app, like any other answer."""


def _nobody_listens(_: Caller) -> None:
    """Where nothing is paid."""


async def identify_caller(services: Services, presented: Presented, *, again: bool = False, believed: Believed = _nobody_listens) -> Caller:
    """The caller behind what a request shows; `again`: of a request that goes on, whose proof has been believed and used.

    Raises CredentialRefused, NonceWanted, PurposeMissing, NotPermitted, BadRequest.
    """
    if presented.proofs and not again:  # all that is asked of it is asked in the row
        return await _by_token(services, presented, believed)
    shown = _credential(presented)
    if shown is None:
        return PUBLIC
    scheme, text = shown
    if scheme == "dpop":
        return await (_by_token_again if again else _by_token)(services, presented, believed)
    if presented.proofs:
        raise CredentialRefused("proof-with-bearer")
    if text.startswith(api_keys.PREFIX):
        return await _by_key(services, presented, text, believed)
    return await _by_trial_token(services, presented, text, believed)


def _credential(presented: Presented) -> tuple[str, str] | None:
    """Scheme and text of the one credential of a request whose other fields are right; None: it has none, and is the public's.

    Raises CredentialRefused, NotPermitted, BadRequest.
    """
    purpose = presented.purpose
    if purpose is not None and _PURPOSE.fullmatch(purpose) is None:
        raise NotPermitted
    case_ref = presented.case_ref
    if case_ref is not None and not (len(case_ref) in _CASE_REF and case_ref.isprintable()):
        raise BadRequest("Case-Ref 请求头应为 4 至 64 个字符（UTF-8）。")
    if not presented.authorization:
        if presented.proofs:
            raise CredentialRefused("proof-alone")
        if purpose not in (None, OPEN_PURPOSE):
            raise NotPermitted
        return None
    if len(presented.authorization) > 1:
        raise CredentialRefused("authorization-twice")
    match = _CREDENTIAL.fullmatch(presented.authorization[0])
    if match is None or (scheme := match[1].lower()) not in _SCHEMES:
        raise CredentialRefused("authorization-form")
    return scheme, match[2]


# --- API keys ---------------------------------------------------------------------------------------------------------


async def _by_key(services: Services, presented: Presented, text: str, believed: Believed) -> Caller:
    key = api_keys.read_key(text)
    held = await services.doors.credentials.api_key(key.key_id)
    api_keys.check_secret(services.doors.peppers, key, None if held is None else held.key.mac)
    if held is None:
        raise CredentialRefused("key-unknown")
    today = legal_day(services.clock())
    if not held.key.live(today) or key.mode != held.key.mode or (key.mode == "test") != services.settings.demo:
        raise CredentialRefused("key-ended")
    if not held.app.live or held.app.tier != "developer":
        raise CredentialRefused("app-suspended")
    api_keys.check_network(presented.address, held.key.networks)
    purposes = (OPEN_PURPOSE,)
    caller = Caller(
        tier="developer",
        purpose=OPEN_PURPOSE,
        purposes=purposes,
        credential_kind="key",
        app=held.app.app,
        org=held.app.org,
        unit=held.app.unit,
        assurance="key",
        credential_id=key.key_id,
        case_ref=presented.case_ref,
        scopes=held.key.scopes,
        key_expires_on=held.key.expires_on,
        exposed=held.key.exposed_at is not None,
    )
    believed(caller)
    stated_purpose(presented.purpose, purposes)
    await _note_use(services, held.key, today)
    return caller


async def _note_use(services: Services, key: developer_keys.DeveloperKey, today: date) -> None:
    """Write down the day, once; that it could not be written is no reason to refuse."""
    noted = services.doors.noted
    if key.last_used == today or noted.get(key.key_id) == today:
        return
    noted[key.key_id] = today
    with suppress(StoreError):
        async with services.store.transaction() as tx:
            await developer_keys.use(tx, key.key_id, today)


# --- tokens -----------------------------------------------------------------------------------------------------------


class _NotAtHandError(Exception):
    """What stands behind a token must be read first."""


class _Asking:
    """A request with a token and its proof, step by step: each raises what is wrong, and then those after it are not taken.

    They are short and await nothing, so that those of all requests of one turn of the loop can be taken in a row.
    """

    __slots__ = ("_app", "_believed", "_presented", "_proof", "_read", "_services", "_standing", "_token", "caller", "now", "text", "uses")

    caller: Caller
    text: str
    """The token."""
    _app: App
    _token: TokenRow
    _standing: "_Standing"
    _read: Read
    _proof: Proof

    def __init__(self, services: Services, presented: Presented, believed: Believed) -> None:
        self._services = services
        self._presented = presented
        self._believed = believed
        self.now = services.clock()
        self.uses: tuple[Use] | None = None
        """What has still to be used up, where that has to be waited for."""

    def look_up(self) -> HeldToken:
        """What is known of the token lately. Raises _NotAtHandError, as the token may be read then."""
        shown = _credential(self._presented)
        if shown is None or shown[0] != "dpop":
            raise CredentialRefused("proof-with-bearer")
        self.text = shown[1]
        held = self._services.doors.credentials.lately(self.text)
        if held is None:
            raise _NotAtHandError
        return held

    def stand(self, held: HeldToken | None) -> str:
        """What may be asked with it today; the digest that its proof has to name."""
        now = self.now
        if held is None or held.app is None or held.token.jkt is None or held.token.expires_at <= now:
            raise CredentialRefused("token-unknown")
        self._app, self._token = app, token = held.app, held.token
        if not app.live or app.tier != token.tier or app.tier not in BOUND_TIERS:
            raise CredentialRefused("app-suspended")
        self._standing = _standing(self._services, self._services.policies.current(), held, now)
        return held.ath

    def read(self, ath: str) -> None:
        """The proof, of which nothing is believed yet."""
        presented, settings = self._presented, self._services.settings
        url = settings.public_origin.rstrip("/") + presented.path
        nonce_key = self._services.doors.nonce_key if self._standing.personal else None
        window_s, jkt = settings.dpop_window_s, self._token.jkt
        self._read = read_proof(presented.proofs, presented.method, url, self.now, window_s, ath, jkt, nonce_key)

    def believe(self, _: None) -> None:
        """The proof, if its key signed it."""
        try:
            self._proof = self._read.believed()
        except NonceWanted:  # a right proof, but for the nonce: no failure, and no answer that costs nothing
            self._believed(_payer(self._app.tier, self._app.app, self._app.org))
            raise

    def use(self, _: None) -> None:
        """Use it up, and name the caller; or say what is to be used up."""
        replay, proof = self._services.doors.replay, self._proof
        if replay.since is not None and proof.issued_at < replay.since:
            raise ProofRefused("proof-before-start")
        uses = (Use("proof", proof.jkt, proof.jti, proof.used_until),)
        used = replay.at_once(uses, self.now)
        if used is None:
            self.uses = uses
        else:
            self.name(used=used)

    def name(self, *, used: bool) -> None:
        """The caller, whose proof nobody had used."""
        if not used:
            raise ProofRefused("proof-replayed")
        app, standing, purpose, case_ref = self._app, self._standing, self._presented.purpose, self._presented.case_ref
        caller = standing.callers.get(purpose)
        self._believed(_payer(app.tier, app.app, app.org) if caller is None else caller)
        if caller is None:
            sends_only = app.uploads and not self._token.access
            stated = OPEN_PURPOSE if sends_only and purpose is None else purpose
            caller = standing.callers[purpose] = _caller(self._services.policies.current(), standing, app, str(self._token.jkt), stated)
        self.caller = caller if case_ref is None else structs.replace(caller, case_ref=case_ref)


async def _by_token(services: Services, presented: Presented, believed: Believed) -> Caller:
    asking, doors = _Asking(services, presented, believed), services.doors
    row, steps = doors.in_a_row, (asking.stand, asking.read, asking.believe, asking.use)
    try:
        await row.do(asking, _Asking.look_up, *steps)
    except _NotAtHandError:
        await row.do(await doors.credentials.token(asking.text, asking.now), *steps)
    if asking.uses is not None:
        asking.name(used=await doors.replay.use(asking.uses, asking.now))
    return asking.caller


async def _by_token_again(services: Services, presented: Presented, believed: Believed) -> Caller:
    asking = _Asking(services, presented, believed)
    try:
        held: HeldToken | None = asking.look_up()
    except _NotAtHandError:
        held = await services.doors.credentials.token(asking.text, asking.now)
    asking.stand(held)
    asking.name(used=True)
    return asking.caller


def _payer(tier: str, app: str, org: str) -> Caller:
    """An app of which nothing is known yet but that it asks."""
    return Caller(tier=cast(Tier, tier), purpose=OPEN_PURPOSE, purposes=(), credential_kind="token", app=app, org=org, assurance="bound")


def _caller(policies: Policies, standing: "_Standing", app: App, jkt: str, purpose: str | None) -> Caller:
    """An app with one of its purposes, without a case.

    Raises NotPermitted, PurposeMissing.
    """
    purposes = standing.purposes
    if not purposes and purpose is None:
        raise NotPermitted("nothing is granted to this app today", place="Purpose")
    stated = _fit(policies, stated_purpose(purpose, purposes))
    return Caller(
        tier=cast(Tier, app.tier),
        purpose=stated,
        purposes=purposes,
        credential_kind="token",
        app=app.app,
        org=app.org,
        unit=app.unit,
        assurance="bound",
        credential_id=jkt,
        grants=tuple(grant for grant in standing.grants if stated in grant.purposes),
    )


class _Standing(NamedTuple):
    """What a token may be used for under one policy on one day."""

    grants: tuple[Grant, ...]
    purposes: tuple[str, ...]
    personal: bool
    callers: dict[str | None, Caller]
    """Who it is with each purpose that it has stated, without a case."""


def _standing(services: Services, policies: Policies, held: HeldToken, now: datetime) -> _Standing:
    known: tuple[Policies, datetime, datetime, _Standing] | None = held.memo.get("standing")
    if known is None or known[0] is not policies or not known[1] <= now < known[2]:
        day = legal_day(now)
        under = kept(held.grants, held.agreements, tier=held.token.tier, ours=services.settings.party, at=now)
        live = _live(policies, held, under, day)
        purposes = tuple(dict.fromkeys(purpose for grant in live for purpose in grant.purposes))
        personal = any(reaches_persons(policies, held.token.tier, grant.dataset, grant.purposes) for grant in live)
        standing = _Standing(live, purposes, personal, {})
        known = held.memo["standing"] = policies, first_instant(day), end_instant(day), standing
    return known[3]


def _live(policies: Policies, held: HeldToken, grants: Iterable[Grant], day: date) -> tuple[Grant, ...]:
    """What the token may still be used for: its grants of today, with the purposes that it was issued for and that are in force."""
    access = frozenset(held.token.access)
    found = []
    for grant in grants:
        if grant.live(day):
            purposes = tuple(
                purpose
                for purpose in grant.purposes
                if (grant.dataset, purpose) in access and purpose_open(policies, held.token.tier, purpose)
            )
            if purposes:
                found.append(grant.keeping(purposes))
    return tuple(found)


def purpose_open(policies: Policies, tier: str, purpose: str) -> bool:
    """Whether the policies in force let a tier use a purpose."""
    known = policies.purposes.get(purpose)
    return known is not None and tier in known.tiers


def reaches_persons(policies: Policies, tier: str, dataset: str, purposes: tuple[str, ...]) -> bool:
    """Whether some plan behind these purposes is a personal one."""
    sets = (policies.plan_sets.get((dataset, tier, purpose)) for purpose in purposes)
    return any(held is not None and held.personal for held in sets)


def _fit(policies: Policies, purpose: str) -> str:
    """A purpose that a bound token may use.

    Raises NotPermitted where the policy wants more of the caller.
    """
    known = policies.purposes.get(purpose)
    if known is None or ASSURANCES.index(known.assurance) > ASSURANCES.index("bound"):
        raise NotPermitted("this purpose needs another kind of credential", place="Purpose")
    return purpose


async def _by_trial_token(services: Services, presented: Presented, text: str, believed: Believed) -> Caller:
    """Test mode: a token that the office made to try things, without a key behind it. A bound token never comes this way."""
    now = services.clock()
    held = await services.doors.credentials.token(text, now)
    if held is None or held.token.jkt is not None or not services.settings.demo or held.token.expires_at <= now:
        raise CredentialRefused("token-bearer" if held is not None else "token-unknown")
    token = held.token
    if token.tier not in BOUND_TIERS:
        raise CredentialRefused("token-tier")
    believed(_payer(token.tier, token.app, token.org))
    stated = stated_purpose(presented.purpose, token.purposes)
    return Caller(
        tier=cast(Tier, token.tier),
        purpose=stated,
        purposes=token.purposes,
        credential_kind="token",
        app=token.app,
        org=token.org,
        assurance="bound",
        credential_id=clients.digest_of(text)[:16],
        grants=wide_grants(services, org=token.org, app=token.app, purpose=stated),
        case_ref=presented.case_ref,
    )

"""Grants: what an app may use a dataset for; proposed from a file, approved by a second person where persons are reached.

policy.md §4 shows the file, §12 the rules.

Rules: a grant names what exists: an app of its organisation, a dataset, purposes of its tier with plans behind them, divisions inside the
organisation's own; for a partner, the province and the bank it says no more than an agreement in force with that organisation, nor
longer. It can only narrow. An approval names the digest of the very text. Ending one takes one person, and is effective within
seconds. This story must not decide what a plan shows.
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from gateway.core.callers.administrators import Administrator
from gateway.core.callers.caller import AGREED_TIERS, BOUND_TIERS
from gateway.core.callers.grants import Grant
from gateway.core.disclosure.narrowing import unfit
from gateway.core.disclosure.plans import Policies
from gateway.core.errors import AdminError
from gateway.core.exchange.access import QUERY, active_with, gives, kept, lasts
from gateway.core.exchange.agreements import Held, in_force
from gateway.core.records.divisions import covers, division
from gateway.core.records.model import DatasetId
from gateway.core.records.periods import legal_day
from gateway.core.toml import TomlFault, decode
from gateway.operations.four_eyes import actor, proof, refuse_dependent
from gateway.operations.identify_caller import purpose_open, reaches_persons
from gateway.operations.manage_apps import APPROVE, REGISTER, STOP
from gateway.services import Services
from gateway.store import apps, audit, held_agreements
from gateway.store import grants as rows
from gateway.store.apps import App
from gateway.store.credentials import agreements_for
from gateway.store.grants import GrantRow
from gateway.store.store import Transaction

FILE_LIMIT: Final = 64 * 1024
HOME_KINDS: Final = frozenset({"department", "district"})
"""Organisations of the city: their grants stay inside their own division."""


class GrantLine(Struct, frozen=True, kw_only=True):
    """A grant as the office lists it."""

    id: str
    app: str
    org: str
    dataset: str
    purposes: tuple[str, ...]
    regions: tuple[str, ...]
    themes: tuple[str, ...]
    since: str
    until: str
    digest: str
    """What an approval names."""
    personal: bool
    state: str
    """proposed (a second person must approve), active, unagreed (no agreement in force says the same), over (its last day has passed),
    revoked."""
    proposed_by: str
    approved_by: str | None
    ended_at: datetime | None
    unfit: tuple[str, ...]
    """Fields that it hides because the ceiling that it gives them does not fit them: most likely a slip of whoever wrote it."""


async def propose_grant(services: Services, text: bytes, *, by: Administrator) -> GrantLine:
    """Take a grant in from its file; one that reaches no person is active at once.

    Raises RoleMissing, AdminError grant-invalid, grant-twice, app-unknown.
    """
    by.require(*REGISTER)
    grant = read_grant(text)
    policies = await services.policies.fresh()
    async with services.store.transaction() as tx:
        app = await apps.find(tx, grant.app)
        if app is None:
            raise AdminError("there is no such app", code="app-unknown", place="app", hint="chengxin key list-apps")
        _check(policies, app, grant, await _told_from(services, tx, policies, grant))
        await _check_agreed(services, tx, app, grant)
        if grant.until < legal_day(tx.now):
            raise _invalid("its last day has passed", "until")
        if await rows.find(tx, grant.id) is not None:
            raise AdminError("a grant with this id was proposed before", code="grant-twice", place="id", hint="an id is given once")
        personal = reaches_persons(policies, app.tier, grant.dataset, grant.purposes)
        digest = await rows.propose(tx, grant, personal=personal, by=by.name)
        await audit.write(
            tx, actor(by), "grant.propose", f"grant/{grant.id}", {"app": grant.app, "digest": digest, "personal": personal, **proof(by)}
        )
    services.doors.credentials.forget()
    return await show_grant(services, grant.id)


async def approve_grant(services: Services, grant_id: str, *, digest: str, by: Administrator) -> GrantLine:
    """The second person's yes to this very text.

    Raises RoleMissing, AdminError grant-unknown, grant-state, approval-stale, approval-conflict.
    """
    by.require(*APPROVE)
    found = await _known(services, grant_id)
    await refuse_dependent(services, by, found.proposed_by)
    if digest != found.digest:
        raise AdminError("the approval is about another text", code="approval-stale", place="digest", hint="chengxin grant list")
    policies = await services.policies.fresh()
    async with services.store.transaction() as tx:
        now = await rows.find(tx, grant_id)
        if now is None or now.state != "proposed":
            raise AdminError("the grant waits for no approval", code="grant-state", place="grant")
        app = await apps.find(tx, found.grant.app)
        if app is None:
            raise AdminError("there is no such app", code="app-unknown", place="app")
        # the policies may have changed since, and the agreement
        _check(policies, app, found.grant, await _told_from(services, tx, policies, found.grant))
        await _check_agreed(services, tx, app, found.grant)
        await rows.approve(tx, grant_id, by.name)
        await audit.write(tx, actor(by), "grant.approve", f"grant/{grant_id}", {"digest": digest, **proof(by)})
    services.doors.credentials.forget()
    return await show_grant(services, grant_id)


async def revoke_grant(services: Services, grant_id: str, *, by: Administrator) -> GrantLine:
    """End a grant; one person is enough.

    Raises RoleMissing, AdminError grant-unknown.
    """
    by.require(*STOP)
    await _known(services, grant_id)
    async with services.store.transaction() as tx:
        await rows.end(tx, grant_id, by.name)
        await audit.write(tx, actor(by), "grant.revoke", f"grant/{grant_id}", proof(by))
    services.doors.credentials.forget()
    return await show_grant(services, grant_id)


async def list_grants(services: Services, *, org: str | None = None) -> list[GrantLine]:
    """All grants (or those of one organisation), also those that are over."""
    reads = services.store.reads
    tiers = {app.app: app.tier for app in await apps.everyone(reads)}
    found = [row for row in await rows.everything(reads) if org in (None, row.grant.org)]
    agreed = {tier: await agreements_for(reads, tier) for tier in sorted({tiers[row.grant.app] for row in found})}
    return [_line(services, row, tiers[row.grant.app], agreed[tiers[row.grant.app]]) for row in found]


async def show_grant(services: Services, grant_id: str) -> GrantLine:
    """One grant.

    Raises AdminError grant-unknown.
    """
    found = await _known(services, grant_id)
    app = await apps.find(services.store.reads, found.grant.app)
    tier = "" if app is None else app.tier
    return _line(services, found, tier, await agreements_for(services.store.reads, tier))


def read_grant_file(path: Path) -> bytes:
    """The text of a grant file.

    Raises AdminError grant-invalid when it is too large.
    """
    with path.open("rb") as file:
        text = file.read(FILE_LIMIT + 1)
    if len(text) > FILE_LIMIT:
        raise _invalid("a grant has 64 KiB at most", str(path))
    return text


def read_grant(text: bytes) -> Grant:
    """A grant from its TOML text, strictly.

    Raises AdminError grant-invalid, with the place.
    """
    try:
        return decode(text, Grant)
    except msgspec.ValidationError as error:
        what, _, place = str(error).partition(" - at ")
        raise _invalid(what, place.strip("`") or "grant") from None
    except TomlFault as fault:
        raise _invalid(fault.detail, "grant") from None


async def _told_from(services: Services, tx: Transaction, policies: Policies, grant: Grant) -> tuple[str, ...]:
    """Divisions of neighbours that tell us of measures under an agreement in force: a measure lies where it is taken."""
    dataset = policies.catalogue.datasets.get(DatasetId(grant.dataset))
    if dataset is None or dataset.category != "measure":
        return ()
    found: list[str] = []
    for versions in (await held_agreements.held_agreements(tx)).values():
        held = in_force(versions, tx.now)
        if held is not None and held.standing(tx.now).active:
            for stream in held.agreement.terms.streams:
                if (stream.dataset, stream.to) == (dataset.id, services.settings.party):
                    found += stream.scope.regions
    return tuple(found)


def _check(policies: Policies, app: App, grant: Grant, told_from: tuple[str, ...]) -> None:
    """Everything that a grant names is there, and is this app's to be given."""
    if grant.org != app.org:
        raise _invalid("the app is another organisation's", "org")
    if app.tier not in BOUND_TIERS:
        raise _invalid("an app of this tier has no grants", "app")
    if grant.from_ > grant.until:
        raise _invalid("it ends before it begins", "until")
    dataset = policies.catalogue.datasets.get(DatasetId(grant.dataset))
    if dataset is None:
        raise _invalid("there is no such dataset", "dataset")
    for purpose in grant.purposes:
        asks = app.tier == "department" and purpose == QUERY  # other cities, about the dataset: nothing of ours is shown under it
        planned = asks or (grant.dataset, app.tier, purpose) in policies.plan_sets
        if not purpose_open(policies, app.tier, purpose) or not planned:
            raise _invalid("the policies give this tier no plan for a purpose and dataset of the grant", "purposes")
    for region in grant.regions:
        if division(region) is None:
            raise _invalid("there is no such division", "regions")
        if app.kind in HOME_KINDS and not any(covers(home, region) for home in (app.region, *told_from)):
            raise _invalid("a division outside the organisation's own", "regions")
    theme = dataset.fields.get("theme")
    if set(grant.themes) - set(theme.values if theme is not None else ()):
        raise _invalid("a theme that the dataset does not have (the code, not its label)", "themes")
    if set(grant.ceilings) - set(dataset.fields):
        raise _invalid("a ceiling for a field that the dataset does not have", "ceilings")


async def _check_agreed(services: Services, tx: Transaction, app: App, grant: Grant) -> None:
    """For these tiers the grant is the agreement in force: it says the same, or less."""
    if app.tier not in AGREED_TIERS:
        return
    ours = services.settings.party
    under = active_with(await agreements_for(tx, app.tier), org=grant.org, tier=app.tier, ours=ours, at=tx.now)
    if not under:
        raise _invalid("no agreement with this organisation is in force for apps of this tier", "org")
    for purpose in grant.purposes:
        giving = [one for one in under if gives(one, ours, grant, purpose)]
        if not giving:
            raise _invalid("no agreement in force gives this dataset in these regions for a purpose of the grant", "purposes")
        if not any(lasts(one, grant) for one in giving):
            raise _invalid("the grant begins before its agreement, or outlasts it", "until")


def _invalid(what: str, place: str) -> AdminError:
    return AdminError(what, code="grant-invalid", place=place, hint="gateway/README.md shows a grant")


async def _known(services: Services, grant_id: str) -> GrantRow:
    found = await rows.find(services.store.reads, grant_id)
    if found is None:
        raise AdminError("there is no such grant", code="grant-unknown", place="grant", hint="chengxin grant list")
    return found


def _line(services: Services, found: GrantRow, tier: str, agreements: Sequence[Sequence[Held]]) -> GrantLine:
    grant, now, state = found.grant, services.clock(), found.state
    if state == "active" and grant.until < legal_day(now):
        state = "over"
    elif state == "active" and not kept((grant,), agreements, tier=tier, ours=services.settings.party, at=now):
        state = "unagreed"
    return GrantLine(
        id=grant.id,
        app=grant.app,
        org=grant.org,
        dataset=grant.dataset,
        purposes=grant.purposes,
        regions=grant.regions,
        themes=grant.themes,
        since=grant.from_.isoformat(),
        until=grant.until.isoformat(),
        digest=found.digest,
        personal=found.personal,
        state=state,
        proposed_by=found.proposed_by,
        approved_by=found.approved_by,
        ended_at=found.ended_at,
        unfit=unfit(services.policies.current(), tier, grant) if services.policies.version else (),
    )

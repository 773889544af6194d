"""Approve a proposal: the second pair of eyes, bound by signature to exactly one change.

Rules: an approver is independent of the author (another account, person, key and unit, and neither brought the other in) and signs the
SHA-256 of version, parent, effect, instant, name and time; fields that the public newly sees are typed by hand; what shows more
of persons takes a basis text. Whether enough have approved is asked again at activation, with the signatures verified again.
This story must not put anything into force.
"""

from collections.abc import Iterable
from datetime import datetime

from msgspec import Struct, structs

from gateway.core.callers.administrators import ACT_SKEW, Administrator, Evidence, Role, canonical, dependence
from gateway.core.disclosure.approval import Approval, Approved, approval, counts, missing, read_approval
from gateway.core.errors import AdminError, PolicyError
from gateway.core.signing import Ed25519Verifier
from gateway.operations.act_as import not_believed
from gateway.operations.propose_policy import closed, read_reason, refuse_stale, still_open, told
from gateway.operations.weigh_policy import EffectFigures, Weighed, figures, weigh
from gateway.services import Services
from gateway.store import administrators as admin_rows
from gateway.store import proposals
from gateway.store.proposals import Proposal
from gateway.store.reads import Reads
from gateway.store.store import Transaction


class ToApprove(Struct, frozen=True, kw_only=True):
    """What an approver reads and signs."""

    proposal: int
    version: int
    author: str
    approval: Approval
    sign: str
    """The 32 bytes to be signed, hexadecimal: SHA-256 of the canonical JSON of `approval`."""
    effect: EffectFigures
    missing: tuple[Role, ...]
    """Whose approvals are missing still."""


class ApprovedLine(Struct, frozen=True, kw_only=True):
    """An approval that was given."""

    proposal: int
    version: int
    by: str
    state: str
    missing: tuple[Role, ...]


async def to_approve(services: Services, proposal: int, *, approver: str, activate_at: datetime | None = None) -> ToApprove:
    """The approval that this approver would sign now, and the effect that it is about.

    Raises PolicyError proposal-unknown, proposal-state, approval-stale.
    """
    held, weighed = await _weighed(services, proposal)
    said = _approval(weighed, approver, activate_at, services.clock())
    return ToApprove(
        proposal=proposal,
        version=held.version,
        author=held.author,
        approval=said,
        sign=said.digest().hex(),
        effect=figures(weighed.effect, weighed.effect_digest),
        missing=await _missing(services.store.reads, held, weighed, activate_at),
    )


def timed(services: Services, said: Approval) -> Approval:
    """The same approval, signed now: reading may have taken its time."""
    return structs.replace(said, time=services.clock().replace(microsecond=0))


async def approve(
    services: Services,
    proposal: int,
    *,
    said: Approval,
    signature: bytes,
    public_fields: Iterable[str] = (),
    basis: str | None = None,
    by: Administrator,
) -> ApprovedLine:
    """Believe an approval and keep it.

    Raises RoleMissing, AdminError admin-signature, PolicyError approval-stale, approval-conflict (not independent), approval-fields,
    reason-missing (no basis), proposal-unknown, proposal-state.
    """
    by.require("approver", "privacy-officer", "legal-officer")
    held, weighed = await _weighed(services, proposal)
    await _refuse_dependent(services, held, by)
    if said != _approval(weighed, by.name, said.activate_at, said.time):
        raise PolicyError("the approval is about another change", code="approval-stale", hint="ask again what there is to approve")
    if abs(services.clock() - said.time) > ACT_SKEW:
        raise AdminError("the approval is not of now", cause="stale", hint="check the clock of this machine")
    if not Ed25519Verifier(by.key_id.rpartition("+")[0], by.public).verify(said.digest(), signature):
        raise not_believed("signature")
    if frozenset(public_fields) != frozenset(weighed.effect.public_fields):
        raise PolicyError(
            f"the public newly sees {len(weighed.effect.public_fields)} fields: type each, as the effect names them",
            code="approval-fields",
            hint="`dataset.field`, every one and no other",
        )
    ground = None if basis is None else read_reason(basis)
    if weighed.effect.widens and weighed.effect.personal and "privacy-officer" in by.roles and ground is None:
        raise PolicyError("more is shown of persons: a basis is needed", code="reason-missing", hint="give --basis TEXT")
    async with services.store.transaction() as tx:
        now = await still_open(tx, proposal)
        evidence = Evidence(kind="approval", signed=said.digest(), signature=signature, key_id=by.key_id)
        detail = {"approval": canonical(said).decode(), "basis": ground, "roles": sorted(by.roles)}
        await proposals.tell(tx, proposal, "approval", by.name, detail, evidence)
        lacking = await _missing(tx, held, weighed, said.activate_at)
        state = now.state
        if not lacking and state == "proposed":
            state = "approved"
            await proposals.tell(tx, proposal, "approved", "gateway", {}, state="approved")
        await told(tx, by, "policy.approve", proposal, {"version": held.version, "approval": said.digest().hex()})
    return ApprovedLine(proposal=proposal, version=held.version, by=by.name, state=state, missing=lacking)


async def approvals_of(source: Reads | Transaction, proposal: int) -> list[Approved]:
    """The approvals of a proposal that are still believed: signed by a live administrator's enrolled key, whom we know by now."""
    everybody = {row.admin.name: row for row in await admin_rows.everybody(source)}
    found: dict[str, Approved] = {}
    for event in await proposals.events(source, proposal):
        row = everybody.get(event.by)
        if event.event != "approval" or event.evidence is None or row is None or not row.live:
            continue
        said = read_approval(event.detail["approval"].encode())
        key = Ed25519Verifier(row.admin.key_id.rpartition("+")[0], row.admin.public)
        if said.approver == event.by and key.verify(said.digest(), event.evidence.signature):
            found[event.by] = Approved(approval=said, by=row.admin, basis=event.detail.get("basis"))
    return list(found.values())


async def counted(source: Reads | Transaction, held: Proposal, weighed: Weighed, at: datetime | None) -> list[Approved]:
    """The approvals that are about exactly this change, for this instant, by whoever is independent of the author."""
    author = await author_of(source, held)
    return [
        one
        for one in await approvals_of(source, held.id)
        if dependence(author, one.by) is None
        and counts(one, version=weighed.digest, parent=weighed.parent_digest, effect=weighed.effect_digest, at=at)
    ]


async def author_of(source: Reads | Transaction, held: Proposal) -> Administrator:
    """Who proposed it, also when retired since.

    Raises AdminError admin-unknown.
    """
    row = await admin_rows.find(source, held.author)
    if row is None:
        raise AdminError("the author is no administrator", code="admin-unknown", place=f"proposal/{held.id}")
    return row.admin


async def _missing(source: Reads | Transaction, held: Proposal, weighed: Weighed, at: datetime | None) -> tuple[Role, ...]:
    author = await author_of(source, held)
    return missing(weighed.effect, author, await counted(source, held, weighed, at))


async def _refuse_dependent(services: Services, held: Proposal, by: Administrator) -> None:
    why = dependence(await author_of(services.store.reads, held), by)
    if why is not None:
        raise PolicyError(
            f"approver and author are no two pairs of eyes: {why}",
            code="approval-conflict",
            hint="a second person of another unit approves",
        )


async def _weighed(services: Services, proposal: int) -> tuple[Proposal, Weighed]:
    held = await proposals.find(services.store.reads, proposal)
    if held.state not in ("proposed", "approved"):
        raise closed(held)
    weighed = await weigh(services, held.version)
    await refuse_stale(services, held, weighed)
    return held, weighed


def _approval(weighed: Weighed, approver: str, activate_at: datetime | None, time: datetime) -> Approval:
    return approval(
        version=weighed.digest,
        parent=weighed.parent_digest,
        effect=weighed.effect_digest,
        activate_at=activate_at,
        approver=approver,
        time=time,
    )

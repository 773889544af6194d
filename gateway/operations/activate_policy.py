"""Put a version into force: at once, at an instant, back to an old one, or narrower by one person; and watch what follows.

Rules: everything is weighed again at the very moment, against what is in force and the law of that day, and the signatures of all
approvals are verified again; what fails leaves the old version in force. A provably narrower version may be activated by one
person: it is queued for confirmation, and after 24 hours without one it alarms and stays. A rollback is a new activation. Nothing
that was written is changed. This story must not decide what is narrower: `core/disclosure/effect.py` does.
"""

from datetime import datetime, timedelta

from msgspec import Struct

from gateway.core.callers.administrators import Administrator, dependence
from gateway.core.disclosure.approval import OPEN, Approved, missing
from gateway.core.errors import GatewayError, PolicyError, StoreError
from gateway.operations import alarms
from gateway.operations.approve_policy import author_of, counted
from gateway.operations.propose_policy import ProposalLine, closed, propose_version, refuse_stale, show, still_open, told
from gateway.operations.weigh_policy import Weighed, weigh
from gateway.services import Services
from gateway.store import administrators as admin_rows
from gateway.store import audit, proposals
from gateway.store import policies as policy_rows
from gateway.store.proposals import Proposal
from gateway.store.store import Transaction

UNCONFIRMED = "policy-unconfirmed"
SCHEDULE_FAILED = "policy-schedule-failed"
CONFIRM_WITHIN = timedelta(hours=24)
FARTHEST = timedelta(days=366)


class Activation(Struct, frozen=True, kw_only=True):
    """What became of an activation."""

    proposal: int
    version: int
    digest: str
    state: str
    activate_at: datetime | None
    confirmation: bool
    """Whether a second person must still confirm it."""
    approvals: tuple[str, ...]


async def activate(
    services: Services, proposal: int, *, by: Administrator, at: datetime | None = None, narrow_only: bool = False
) -> Activation:
    """Put a proposal into force now, or schedule it.

    Raises RoleMissing, PolicyError approval-missing, not-narrow-only, approval-stale, proposal-state, proposal-unknown, schedule-time,
    and whatever check fails today.
    """
    by.require("author", "approver")
    held = await proposals.find(services.store.reads, proposal)
    if held.state not in OPEN:
        raise closed(held)
    if at is not None and not services.clock() < at <= services.clock() + FARTHEST:
        raise PolicyError("an instant in the future, at most a year away", code="schedule-time", hint="2026-07-01T00:00:00+08:00")
    weighed = await weigh(services, held.version)
    await refuse_stale(services, held, weighed)
    approvals = await _enough(services, held, weighed, at=at, narrow_only=narrow_only)
    if at is None:
        return await _put_in_force(services, held, weighed, by=by, approvals=approvals, narrow_only=narrow_only)
    async with services.store.transaction() as tx:
        await still_open(tx, proposal)
        detail = {"at": at, "narrow_only": narrow_only, "approvals": [one.by.name for one in approvals]}
        await proposals.tell(
            tx, proposal, "scheduled", by.name, detail, by.evidence, state="scheduled", activate_at=at, narrow_only=narrow_only
        )
        await told(tx, by, "policy.schedule", proposal, {"version": held.version, "at": at.isoformat()})
    return Activation(
        proposal=proposal,
        version=held.version,
        digest=weighed.digest,
        state="scheduled",
        activate_at=at,
        confirmation=False,
        approvals=tuple(one.by.name for one in approvals),
    )


async def rollback(services: Services, version: int, *, by: Administrator) -> Activation:
    """Propose an old version again; what widens nothing is in force at once, what widens waits for its approvals.

    Raises RoleMissing, StoreError policy-unknown, PolicyError of the first check that fails today.
    """
    by.require("author", "approver")
    made = await propose_version(services, version, kind="rollback", by=by)
    if not made.effect.widens:
        return await activate(services, made.proposal, by=by, narrow_only=True)
    return Activation(
        proposal=made.proposal,
        version=version,
        digest=made.digest,
        state="proposed",
        activate_at=None,
        confirmation=False,
        approvals=(),
    )


async def confirm(services: Services, proposal: int, *, by: Administrator) -> ProposalLine:
    """A second person stands by what one person has put into force.

    Raises RoleMissing, PolicyError proposal-unknown, proposal-state, approval-conflict.
    """
    by.require("approver")
    async with services.store.transaction() as tx:
        held = await proposals.find(tx, proposal)
        if held.unconfirmed_since is None:
            raise PolicyError("nothing waits for a confirmation", code="proposal-state", hint="`chengxin policy status`")
        done = [event.by for event in await proposals.events(tx, proposal) if event.event == "activated"]
        for name in {held.author, *done}:
            row = await admin_rows.find(tx, name)
            why = None if row is None else dependence(row.admin, by)
            if why is not None:
                raise PolicyError(
                    f"who confirms and who activated are no two pairs of eyes: {why}",
                    code="approval-conflict",
                    hint="a second person of another unit confirms",
                )
        await proposals.tell(tx, proposal, "confirmed", by.name, {}, by.evidence, unconfirmed_since=None)
        await told(tx, by, "policy.confirm", proposal, {"version": held.version})
        await alarms.clear(tx, UNCONFIRMED, f"proposal/{proposal}", f"admin:{by.name}")
    return await show(services, proposal)


async def keep_policies(services: Services) -> None:
    """What needs no person: activate what is due, and alarm about what was not confirmed in time. One short read when nothing waits."""
    for held in await proposals.pending(services.store.reads):
        now = services.clock()
        if held.state == "scheduled" and held.activate_at is not None and held.activate_at <= now:
            await _due(services, held, held.activate_at)
        if held.unconfirmed_since is not None and held.unconfirmed_since + CONFIRM_WITHIN <= now:
            async with services.store.transaction() as tx:
                if (await proposals.find(tx, held.id)).unconfirmed_since is not None:
                    await alarms.sound(tx, UNCONFIRMED, f"proposal/{held.id}", {"version": held.version})


async def _due(services: Services, held: Proposal, at: datetime) -> None:
    """A scheduled version at its instant: weighed again; a failure leaves the old one in force and alarms."""
    scheduled = [event.by for event in await proposals.events(services.store.reads, held.id) if event.event == "scheduled"]
    try:
        weighed = await weigh(services, held.version)
        await refuse_stale(services, held, weighed)
        approvals = await _enough(services, held, weighed, at=at, narrow_only=held.narrow_only)
        by = await admin_rows.find(services.store.reads, scheduled[-1])
        if by is None or not by.live:
            raise PolicyError("who scheduled it is no administrator any more", code="approval-missing")
        await _put_in_force(services, held, weighed, by=by.admin, approvals=approvals, narrow_only=held.narrow_only)
    except StoreError:  # locked, or another process was faster: the next round looks again
        raise
    except GatewayError as error:
        async with services.store.transaction() as tx:
            now = await proposals.find(tx, held.id)
            if now.state in OPEN:
                await proposals.tell(tx, held.id, "schedule-failed", "gateway", {"code": error.code}, state="refused", activate_at=None)
            if now.state not in ("active", "superseded"):
                await alarms.sound(tx, SCHEDULE_FAILED, f"proposal/{held.id}", {"version": held.version, "code": error.code})


async def _enough(services: Services, held: Proposal, weighed: Weighed, *, at: datetime | None, narrow_only: bool) -> list[Approved]:
    """The approvals that carry this activation.

    Raises PolicyError not-narrow-only, approval-missing.
    """
    if narrow_only:
        if weighed.effect.widens:
            raise PolicyError(
                "the version is not provably narrower than what is in force",
                code="not-narrow-only",
                hint="`chengxin policy approve` by a second person; the effect names what widens",
            )
        return []
    author = await author_of(services.store.reads, held)
    approvals = await counted(services.store.reads, held, weighed, at)
    lacking = missing(weighed.effect, author, approvals)
    if lacking:
        raise PolicyError(f"approvals are missing: {', '.join(lacking)}", code="approval-missing", hint="`chengxin policy approve`")
    if not any("approver" in one.by.roles for one in approvals):
        raise PolicyError(
            "nobody has approved this",
            code="approval-missing",
            hint="it is provably narrower: --narrow-only activates it at once and queues it for confirmation",
        )
    return approvals


async def _put_in_force(
    services: Services, held: Proposal, weighed: Weighed, *, by: Administrator, approvals: list[Approved], narrow_only: bool
) -> Activation:
    """The activation itself, if nothing has moved since the weighing."""
    names = tuple(one.by.name for one in approvals)
    async with services.store.transaction() as tx:
        now = await proposals.find(tx, held.id)
        if now.state not in OPEN:
            raise closed(now)
        if await policy_rows.latest_activation(tx) != weighed.activation:
            raise StoreError("another version came into force meanwhile", code="store-conflict", hint="look at the status, and try again")
        reason = "narrow-only" if narrow_only else held.kind
        await policy_rows.activate(tx, held.version, f"admin:{by.name}", reason, proposal=held.id, approvals=names)
        await _supersede(tx, held, confirmed=not narrow_only)
        await proposals.tell(
            tx,
            held.id,
            "activated",
            by.name,
            {"reason": reason, "approvals": list(names)},
            by.evidence,
            state="active",
            activate_at=None,
            unconfirmed_since=tx.now if narrow_only else None,
        )
        detail = {"digest": weighed.digest, "reason": reason, "approvals": list(names), "from": weighed.parent or 0}
        await told(tx, by, "policy.activate", held.id, {"version": held.version, **detail})
    await services.policies.refresh()
    return Activation(
        proposal=held.id,
        version=held.version,
        digest=weighed.digest,
        state="active",
        activate_at=None,
        confirmation=narrow_only,
        approvals=names,
    )


async def _supersede(tx: Transaction, by: Proposal, *, confirmed: bool) -> None:
    """What was in force is superseded; what waits for approvals against it is stale. A second person's yes ends all open confirmations."""
    for one in await proposals.active(tx):
        await proposals.tell(tx, one.id, "superseded", "gateway", {"by": by.id}, state="superseded")
    for one in await proposals.open_ones(tx):
        if one.id != by.id and one.state != "scheduled":
            await proposals.tell(tx, one.id, "stale", "gateway", {"by": by.id}, state="stale")
            await audit.write(tx, "gateway", "policy.stale", f"proposal/{one.id}", {"by": by.id})
    for one in await proposals.pending(tx):
        if confirmed and one.unconfirmed_since is not None:
            await proposals.tell(tx, one.id, "confirmation-over", "gateway", {"by": by.id}, unconfirmed_since=None)
            await alarms.clear(tx, UNCONFIRMED, f"proposal/{one.id}", "gateway")

"""Four eyes over an agreement that widens: before our signature stands under it, a second person agrees to this very text.

Rules: what widens is told in words; what only narrows needs nobody. Where administrators are enrolled, an operator or author asks and an
approver of another unit agrees, each signed with an own key. Where nobody is enrolled yet, whoever holds the data directory acts under two
names, and a first agreement needs one, as a first policy does; the audit says so. A yes is to the bytes to be signed and to our own part
beside them. This story must not sign an agreement.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

import msgspec
from msgspec import Struct

from gateway.core.callers.administrators import Administrator, Role
from gateway.core.errors import AdminError
from gateway.core.exchange.agreements import Agreement, Held, Local
from gateway.core.exchange.widening import Wider, widenings
from gateway.operations.four_eyes import actor, proof, refuse_dependent
from gateway.services import Services
from gateway.store import administrators, agreement_approvals, audit, held_agreements
from gateway.store.agreement_approvals import Approval

ASK: Final[tuple[Role, ...]] = ("operator", "author")
APPROVE: Final[tuple[Role, ...]] = ("approver", "privacy-officer")


class Approved(Struct, frozen=True, kw_only=True):
    """A second person's yes."""

    agreement: str
    version: int
    digest: str
    asked_by: str
    approved_by: str
    wider: tuple[Wider, ...]


def digest_of(agreement: Agreement, local: Local) -> str:
    """What a yes is to: the bytes to be signed, and our own part."""
    return "sha256:" + sha256(agreement.body + b"\0" + msgspec.json.encode(local)).hexdigest()


def wider_than(held: Sequence[Held], agreement: Agreement, local: Local) -> tuple[Wider, ...]:
    """What a version widens against the newest one before it that both have signed; of a text that they signed, what our own part does."""
    same = [one for one in held if one.complete and one.agreement.body == agreement.body]
    before = same or [one for one in held if one.complete and one.agreement.version < agreement.version]
    if not before:
        return widenings(None, agreement)
    return widenings(before[-1].agreement, agreement, local=(before[-1].local, local))


async def must_be_agreed(services: Services, agreement: Agreement, local: Local, *, by: Administrator | str) -> tuple[Wider, ...]:
    """Goes on when this text widens nothing, or a second person has agreed to it; what is wider.

    Raises AdminError approval-missing, which tells what is wider and is the request itself; operator-needed; RoleMissing.
    """
    versions = (await held_agreements.held_agreements(services.store.reads, agreement.id)).get(agreement.id, [])
    wider = wider_than(versions, agreement, local)
    if not wider:
        return wider
    enrolled = await _enrolled(services)
    if not enrolled and not any(held.complete for held in versions):
        return wider
    if isinstance(by, Administrator):
        by.require(*ASK)
    elif enrolled:
        raise AdminError(
            "administrators are enrolled: whoever wants a wider agreement signs",
            code="operator-needed",
            place="--as",
            hint="--as ADMIN --key FILE",
        )
    digest = digest_of(agreement, local)
    found = await agreement_approvals.find(services.store.reads, agreement.id, agreement.version, digest)
    if found is not None and found.approved_by is not None:
        return wider
    if found is None:
        async with services.store.transaction() as tx:
            await agreement_approvals.ask(tx, agreement.id, agreement.version, digest, wider, by=_plain(by))
            detail: dict[str, object] = {"digest": digest, "wider": len(wider), **proof(by)}
            await audit.write(tx, actor(by), "agreement.ask", f"agreement/{agreement.id}/{agreement.version}", detail)
    raise AdminError(
        "wider than before, so a second person agrees first: " + "; ".join(f"{each.place}: {each.words}" for each in wider),
        code="approval-missing",
        place=f"{agreement.id}/{agreement.version}",
        hint=f"chengxin agreement approve {agreement.id} {agreement.version} --digest {digest}",
    )


async def approve_wider(services: Services, agreement_id: str, version: int, *, digest: str, by: Administrator | str) -> Approved:
    """The second person's yes to this very text.

    Raises RoleMissing; AdminError approval-stale for a text that nobody asked for, approval-conflict for no second pair of eyes,
    operator-needed without a signature where administrators are enrolled.
    """
    if isinstance(by, Administrator):
        by.require(*APPROVE)
    elif await _enrolled(services):
        raise AdminError(
            "administrators are enrolled: an approval is signed", code="operator-needed", place="--as", hint="--as ADMIN --key FILE"
        )
    found = await agreement_approvals.find(services.store.reads, agreement_id, version, digest)
    if found is None:
        raise AdminError("nobody asked for this text", code="approval-stale", place="--digest", hint="chengxin agreement list")
    await _second(services, found, by)
    async with services.store.transaction() as tx:
        await agreement_approvals.approve(tx, found, by=_plain(by))
        detail: dict[str, object] = {"digest": digest, "asked_by": found.asked_by, **proof(by)}
        await audit.write(tx, actor(by), "agreement.approve", f"agreement/{agreement_id}/{version}", detail)
    return Approved(
        agreement=agreement_id,
        version=version,
        digest=digest,
        asked_by=found.asked_by,
        approved_by=found.approved_by or _plain(by),
        wider=found.wider,
    )


async def _second(services: Services, found: Approval, by: Administrator | str) -> None:
    if isinstance(by, Administrator):
        await refuse_dependent(services, by, found.asked_by)
    elif by == found.asked_by:
        raise AdminError("whoever approves is who asked", code="approval-conflict", place="--actor", hint="another person approves")


def _plain(by: Administrator | str) -> str:
    return by.name if isinstance(by, Administrator) else by


async def _enrolled(services: Services) -> bool:
    """Whether anybody could approve with an own key."""
    return any(row.live and set(APPROVE) & row.admin.acting for row in await administrators.everybody(services.store.reads))

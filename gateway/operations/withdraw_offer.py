"""Take back our offer of an agreement's version that the other side has not signed, so that another text of it can be taken.

Both offices may offer a next version at once, each another text: neither takes the other's, for one text stands under a number. They agree
on one; whose text gives way takes it back, and takes what the other side has offered. Rules: a version that both have signed stays. Our
signature under the text is in the world, so the text is remembered: signed by the other side after all, it is refused here, until a person
here signs the same text again, with a second person's new yes where that is needed. This story must not tell the other side.
"""

from msgspec import Struct

from gateway.core.callers.administrators import Administrator
from gateway.core.errors import AdminError, ExchangeError
from gateway.operations.agree_wider import ASK, digest_of
from gateway.operations.four_eyes import actor, must_sign, proof
from gateway.services import Services
from gateway.store import agreement_approvals, audit, held_agreements, withdrawn_offers


class WithdrawnOffer(Struct, frozen=True, kw_only=True):
    """Which text is no longer offered."""

    id: str
    version: int
    digest: str
    partner: str


async def withdraw_offer(services: Services, agreement_id: str, version: int, *, reason: str, by: Administrator | str) -> WithdrawnOffer:
    """Take back a version that we alone have signed.

    Raises RoleMissing, AdminError operator-needed, reason-missing; ExchangeError SCOPE_AGREEMENT when there is no such offer of ours.
    """
    await must_sign(services, by, *ASK)
    if not reason.strip():
        raise AdminError("an offer is taken back with its reason", code="reason-missing", place="--reason")
    ours = services.signers.party
    async with services.store.transaction() as tx:
        versions = (await held_agreements.held_agreements(tx, agreement_id)).get(agreement_id, [])
        held = next((each for each in versions if each.agreement.version == version), None)
        if held is None or set(held.signed) != {ours}:
            raise ExchangeError(
                "no such version waits with our signature alone",
                code="SCOPE_AGREEMENT",
                place=f"{agreement_id}/{version}",
                hint="chengxin agreement list",
            )
        await held_agreements.drop_version(tx, agreement_id, version)
        await agreement_approvals.drop(tx, agreement_id, version, digest_of(held.agreement, held.local))
        await withdrawn_offers.put(tx, held.agreement)
        said = {"digest": held.agreement.digest, "reason": reason, **proof(by)}
        await audit.write(tx, actor(by), "agreement.withdraw", f"agreement/{agreement_id}/{version}", said)
    return WithdrawnOffer(id=agreement_id, version=version, digest=held.agreement.digest, partner=held.agreement.other(ours))

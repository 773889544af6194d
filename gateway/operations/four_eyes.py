"""Two pairs of eyes: that whoever approves is not, in any way we can see, whoever proposed; and what an act leaves in the audit.

Rules: another name is not enough: another person, key and unit, and neither brought the other in. Where an act may be done by whoever
holds the data directory, that ends when somebody is enrolled who could sign it. This story must not know what is approved.
"""

from gateway.core.callers.administrators import Administrator, Role, dependence
from gateway.core.errors import AdminError
from gateway.services import Services
from gateway.store import administrators


async def refuse_dependent(services: Services, by: Administrator, proposer: str) -> None:
    """Raises AdminError approval-conflict when `by` is no second pair of eyes beside the proposer."""
    row = await administrators.find(services.store.reads, proposer)
    why = "cannot be compared with the proposer, who is unknown" if row is None else dependence(by, row.admin)
    if why is not None:
        raise AdminError(
            f"whoever approves {why}",
            code="approval-conflict",
            place="--as",
            hint="another person of another unit approves, with an own key",
        )


async def must_sign(services: Services, by: Administrator | str, *roles: Role) -> None:
    """Go on for an administrator with one of the roles; for whoever holds the data directory only while nobody is enrolled with one.

    Raises RoleMissing, AdminError admin-unconfirmed; operator-needed without a signature.
    """
    if isinstance(by, Administrator):
        by.require(*roles)
    elif any(row.live and row.admin.acting.intersection(roles) for row in await administrators.everybody(services.store.reads)):
        raise AdminError(
            "administrators are enrolled who can do this: it is signed", code="operator-needed", place="--as", hint="--as ADMIN --key FILE"
        )


def actor(by: Administrator | str) -> str:
    """How the audit names who acts: an administrator, or whoever holds the data directory by the name given."""
    return f"admin:{by.name}" if isinstance(by, Administrator) else by


def proof(by: Administrator | str) -> dict[str, object]:
    """What shows later that it was really they: key and signature of this act; nothing of whoever signed nothing."""
    if not isinstance(by, Administrator) or by.evidence is None:
        return {}
    return {"key": by.evidence.key_id, "signature": by.evidence.signature.hex()}

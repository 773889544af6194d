"""Two pairs of eyes: that whoever approves is not, in any way we can see, whoever proposed; and what an act leaves in the audit.

Rules: another name is not enough: another person, key and unit, and neither brought the other in. This story must not know what is
approved.
"""

from gateway.core.callers.administrators import Administrator, dependence
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


def actor(by: Administrator) -> str:
    """How the audit names an administrator."""
    return f"admin:{by.name}"


def proof(by: Administrator) -> dict[str, object]:
    """What shows later that it was really they: key and signature of this act."""
    return {} if by.evidence is None else {"key": by.evidence.key_id, "signature": by.evidence.signature.hex()}

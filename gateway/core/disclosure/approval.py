"""Approving a policy version: what is signed, whose signatures a change needs, and which states a proposal passes (policy.md §9).

Rules: what is not provably narrower takes a second person, independent of the author; what shows more of persons takes the privacy
officer too, what touches red lines the privacy and the legal officer; each role is filled by another person. An approval binds version,
parent and effect by their digests, and an instant where it names one: whatever of these changes makes it worthless. This room must
not know how approvals are kept.
"""

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal

import msgspec
from msgspec import Struct

from gateway.core.callers.administrators import Administrator, Role, canonical, dependence
from gateway.core.disclosure.effect import Effect

APPROVAL_TYPE: Final = "chengxin-policy-approval-v1"

State = Literal["checked", "proposed", "approved", "scheduled", "active", "superseded", "refused", "stale", "withdrawn"]
OPEN: Final[frozenset[str]] = frozenset({"proposed", "approved", "scheduled"})
"""States from which a proposal can still come into force. A draft is a folder; it becomes `checked` on its way to `proposed`."""


class Approval(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an approver signs: SHA-256 of its canonical JSON."""

    type: str
    version: str
    """Digest of the version's files."""
    parent: str | None
    """Digest of the version that it was compared with; None: of nothing."""
    effect: str
    """Digest of the whole effect."""
    activate_at: datetime | None
    """Only at this instant; None: whenever it is activated."""
    approver: str
    time: datetime

    def digest(self) -> bytes:
        """The 32 bytes that the administrator's key signs."""
        return hashlib.sha256(canonical(self)).digest()


def approval(*, version: str, parent: str | None, effect: str, activate_at: datetime | None, approver: str, time: datetime) -> Approval:
    """The approval of one version against one parent by one approver."""
    return Approval(
        type=APPROVAL_TYPE,
        version=version,
        parent=parent,
        effect=effect,
        activate_at=activate_at,
        approver=approver,
        time=time.replace(microsecond=0),
    )


def read_approval(data: bytes) -> Approval:
    """An approval from its JSON. Raises msgspec.DecodeError."""
    return msgspec.json.decode(data, type=Approval)


class Approved(Struct, frozen=True, kw_only=True):
    """One approval that was believed, with who gave it."""

    approval: Approval
    by: Administrator
    basis: str | None = None


def roles_needed(effect: Effect) -> tuple[Role, ...]:
    """Whose approvals an effect needs; nobody's where it is provably narrower."""
    if not effect.widens:
        return ()
    needed: list[Role] = ["approver"]
    if effect.personal or effect.redlines:
        needed.append("privacy-officer")
    if effect.redlines:
        needed.append("legal-officer")
    return tuple(needed)


def counts(one: Approved, *, version: str, parent: str | None, effect: str, at: datetime | None) -> bool:
    """Whether an approval is about exactly this version, parent and effect, and for this instant (None: at once)."""
    said = one.approval
    same = (said.type, said.version, said.parent, said.effect) == (APPROVAL_TYPE, version, parent, effect)
    return same and said.activate_at in (None, at)


def missing(effect: Effect, author: Administrator, approvals: Sequence[Approved]) -> tuple[Role, ...]:
    """The roles that nobody fills yet: the least that is missing, each person filling one role.

    An approval by whoever is not independent of the author fills none, and two of one person fill one.
    """
    needed = roles_needed(effect)
    givers = [one for one in approvals if dependence(author, one.by) is None]
    best: tuple[Role, ...] = needed

    def fill(place: int, used: tuple[Administrator, ...], lacking: tuple[Role, ...]) -> None:
        nonlocal best
        if len(lacking) >= len(best):
            return
        if place == len(needed):
            best = lacking
            return
        role = needed[place]
        for one in givers:
            if role in one.by.acting and not (role == "privacy-officer" and effect.personal and not one.basis) and _other(one.by, used):
                fill(place + 1, (*used, one.by), lacking)
        fill(place + 1, used, (*lacking, role))

    fill(0, (), ())
    return best


def _other(by: Administrator, used: tuple[Administrator, ...]) -> bool:
    """Another person than all of these."""
    return all(by.name != one.name and by.person != one.person and by.public != one.public for one in used)

"""Who asks, and what a credential may be at most (policy.md §3, api.md §2).

Rules: a caller without a credential is `PUBLIC`; a credential never falls back to it. Tier and purposes come from the
credential, the purpose of one request from its `Purpose` header, and nothing here widens either. A caller is the unit to which
cursors and quotas are bound; it carries no address. This room must not look at data.
"""

from datetime import date
from typing import Literal

from msgspec import Struct, structs

from gateway.core.callers.grants import Grant
from gateway.core.errors import NotPermitted, PurposeMissing

Tier = Literal["public", "developer", "subject", "department", "partner", "supervisor", "pboc"]
BOUND_TIERS: frozenset[str] = frozenset({"department", "partner", "supervisor", "pboc"})
"""Tiers with a duty or an agreement behind them: they state a purpose, and their answers are never shared."""
AGREED_TIERS: frozenset[str] = frozenset({"partner", "supervisor", "pboc"})
"""Of these the tiers whose grants are worth what an agreement in force says, and no more (policy.md §3)."""

OPEN_PURPOSE = "open.read"
CredentialKind = Literal["none", "token", "key", "session"]
Assurance = Literal["none", "key", "bound", "session"]
"""How surely the caller is who it says: a purpose names the weakest that may use it."""
ASSURANCES: tuple[Assurance, ...] = ("none", "key", "bound", "session")


class Caller(Struct, frozen=True, kw_only=True):
    """Who sent the request, under which tier, and for which purpose."""

    tier: Tier
    purpose: str
    """Of this request: one of `purposes`."""
    purposes: tuple[str, ...]
    """What the credential allows."""
    credential_kind: CredentialKind = "none"
    app: str = ""
    """Registered application; empty for anonymous callers, never an address."""
    org: str | None = None
    """USCC of the organisation behind the application."""
    unit: str | None = None
    """Division or office of the organisation, as the app was registered."""
    assurance: Assurance = "none"
    credential_id: str = ""
    """Id of the key or thumbprint of the bound key: what the audit names; never the credential."""
    grants: tuple[Grant, ...] = ()
    """Live grants for the purpose of this request: what the plans are narrowed by."""
    case_ref: str | None = None
    """`Case-Ref` of this request; kept encrypted, never logged."""
    subject_key: str | None = None
    """Tier `subject`: the subject whose own records may be seen."""
    scopes: tuple[str, ...] = ()
    """Parts of the API that an API key is kept to; empty: no narrowing of its own."""
    key_expires_on: date | None = None
    """Last day of an API key."""
    exposed: bool = False
    """An API key that has stood in a URL: its owner is warned with every look at `/v1/me`."""
    plan_tier: str = ""
    """The tier whose plans govern: `developer` reads the public plans, and `open.read` has only those. This and the next two are worked
    out, never given: they are asked for a dozen times a request."""
    shared: bool = False
    """Whether a shared cache may keep the answer: no credential behind it."""
    open: bool = False
    """Whether this request is answered from what everybody may see."""

    def __post_init__(self) -> None:
        """Work out what follows from tier, purpose and credential."""
        open_ = self.tier == "developer" or self.purpose == OPEN_PURPOSE or self.tier == "public"
        structs.force_setattr(self, "plan_tier", "public" if open_ else self.tier)
        structs.force_setattr(self, "shared", self.credential_kind == "none")
        structs.force_setattr(self, "open", open_)

    @property
    def plan_set(self) -> str:
        """Name of the sequence of changes this caller sees: tier/purpose."""
        return f"{self.plan_tier}/{self.purpose}"


PUBLIC = Caller(tier="public", purpose=OPEN_PURPOSE, purposes=(OPEN_PURPOSE,))
"""Anyone, without a credential."""


def stated_purpose(stated: str | None, purposes: tuple[str, ...]) -> str:
    """The purpose of one request, out of those that its credential allows.

    Raises PurposeMissing when the credential allows several purposes and the request states none, NotPermitted when it states one that
    the credential does not allow. `open.read` is everybody's, so a bound caller may ask as the public does.
    """
    if stated is None:
        if len(purposes) != 1:
            raise PurposeMissing("state one of the purposes of this credential", place="Purpose", hint="send the header Purpose")
        return purposes[0]
    if stated not in purposes and stated != OPEN_PURPOSE:
        raise NotPermitted("this credential does not allow the stated purpose", place="Purpose")
    return stated

"""Who sent a request: from its credential, proof, purpose and case reference, as texts, to a `Caller`.

Rules: no credential is the public; a credential that is malformed, unknown or expired is refused and never becomes the public;
an unknown and an expired token read alike. This story must not look at what is asked for.
"""

import re
from typing import Final, cast

from msgspec import Struct

from gateway.core.callers.caller import BOUND_TIERS, OPEN_PURPOSE, PUBLIC, Caller, Tier, stated_purpose
from gateway.core.callers.refusals import CredentialRefused
from gateway.core.errors import NotPermitted
from gateway.services import Services
from gateway.store import clients

_BEARER: Final = re.compile(r"Bearer +([A-Za-z0-9._~+/-]{16,256}=*)", re.IGNORECASE)
_PURPOSE: Final = re.compile(r"[a-z0-9][a-z0-9.\-]{0,62}")


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
    address: str = ""
    """Network address of the sender, behind our own proxies; only keys that are kept to networks look at it."""

    @property
    def nobody(self) -> bool:
        """Whether it shows nothing at all: the public."""
        return not self.authorization and not self.proofs and self.purpose is None and self.case_ref is None


async def identify_caller(services: Services, presented: Presented) -> Caller:
    """The caller behind what a request shows.

    Raises CredentialRefused, PurposeMissing, NotPermitted.
    """
    purpose = presented.purpose
    if purpose is not None and _PURPOSE.fullmatch(purpose) is None:
        raise NotPermitted
    if not presented.authorization:
        if presented.proofs:
            raise CredentialRefused("proof-alone")
        if purpose not in (None, OPEN_PURPOSE):
            raise NotPermitted
        return PUBLIC
    if len(presented.authorization) > 1:
        raise CredentialRefused("authorization-twice")
    match = _BEARER.fullmatch(presented.authorization[0].strip())
    if match is None:
        raise CredentialRefused("authorization-form")
    token = await clients.find(services.store.reads, match[1], services.clock())
    if token is None or token.tier not in BOUND_TIERS:
        raise CredentialRefused("token-unknown")
    return Caller(
        tier=cast(Tier, token.tier),
        purpose=stated_purpose(purpose, (token.purpose,)),
        purposes=(token.purpose,),
        credential_kind="token",
        app=token.app,
        org=token.org,
        case_ref=presented.case_ref,
    )

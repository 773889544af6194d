"""Who sent a request: from the text of its credential and of its `Purpose` header to a `Caller`.

Rules: no credential is the public; a credential that is malformed, unknown or expired is refused and never becomes the public;
an unknown and an expired token read alike. This story must not look at what is asked for.
"""

import re
from typing import Final, cast

from gateway.core.callers.caller import BOUND_TIERS, OPEN_PURPOSE, PUBLIC, Caller, Tier, caller_of_token
from gateway.core.errors import CredentialsInvalid, NotPermitted
from gateway.services import Services
from gateway.store import clients

_BEARER: Final = re.compile(r"Bearer +([A-Za-z0-9._~+/-]{16,256}=*)", re.IGNORECASE)
_PURPOSE: Final = re.compile(r"[a-z0-9][a-z0-9.\-]{0,62}")


async def identify_caller(services: Services, authorization: str | None, purpose: str | None) -> Caller:
    """The caller behind an `Authorization` field (None: absent) for the stated purpose (None: none stated).

    Raises CredentialsInvalid, PurposeMissing, NotPermitted.
    """
    if purpose is not None and _PURPOSE.fullmatch(purpose) is None:
        raise NotPermitted
    if authorization is None:
        if purpose not in (None, OPEN_PURPOSE):
            raise NotPermitted
        return PUBLIC
    match = _BEARER.fullmatch(authorization.strip())
    if match is None:
        raise CredentialsInvalid
    token = await clients.find(services.store.reads, match[1], services.clock())
    if token is None or token.tier not in BOUND_TIERS:
        raise CredentialsInvalid
    return caller_of_token(tier=cast(Tier, token.tier), org=token.org, app=token.app, purposes=(token.purpose,), stated=purpose)

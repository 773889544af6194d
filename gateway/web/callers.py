"""Who asks: the credential and the `Purpose` of a request, as text, handed to the story that knows them.

Rules: a request has one `Authorization` field or none; two are a forged or broken request and are refused; nothing about tiers
is read from any other header field. This room must not decide what a caller may do.
"""

from collections.abc import Iterable

from gateway.core.callers.caller import PUBLIC, Caller
from gateway.core.errors import BadRequest, CredentialsInvalid
from gateway.operations.identify_caller import identify_caller
from gateway.services import Services


async def caller_of(services: Services, headers: Iterable[tuple[bytes, bytes]]) -> Caller:
    """The caller of a request.

    Raises CredentialsInvalid, PurposeMissing, NotPermitted, BadRequest.
    """
    authorization: bytes | None = None
    purpose: bytes | None = None
    for name, value in headers:
        if name == b"authorization":
            if authorization is not None:
                raise CredentialsInvalid
            authorization = value
        elif name == b"purpose":
            if purpose is not None:
                raise BadRequest("Purpose 请求头只能出现一次。")
            purpose = value
    if authorization is None and purpose is None:
        return PUBLIC
    return await identify_caller(
        services,
        None if authorization is None else authorization.decode("latin-1"),
        None if purpose is None else purpose.decode("latin-1").strip(),
    )

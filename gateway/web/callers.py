"""Who asks: what a request shows of its sender, as text, handed to the story that knows credentials.

Rules: nothing about tiers is read from any field but those named here; a field that may stand once and stands twice is a forged or
broken request. The path is the one that was sent, never one that was rebuilt. This room must not decide what a caller may do.
"""

from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Final, cast

from msgspec import structs

from gateway.core.callers.caller import PUBLIC, Caller
from gateway.core.callers.refusals import CredentialRefused, NonceWanted
from gateway.core.errors import BadRequest, GatewayError, Unavailable
from gateway.operations.identify_caller import Presented, identify_caller
from gateway.operations.record_access import audit_refusal
from gateway.services import Services
from gateway.web.asgi import Scope
from gateway.web.networks import address_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

_BESIDE: Final = frozenset({b"purpose", b"case-ref"})
"""What a sender says beside its credential."""
_SHOWN: Final = frozenset({b"authorization", b"dpop", *_BESIDE})


async def caller_of(services: Services, scope: Scope) -> Caller:
    """The caller of a request; of a question inside another request the one that is given with it.

    Raises CredentialsInvalid, PurposeMissing, NotPermitted, BadRequest.
    """
    given: Caller | None = scope["state"].get("caller")
    if given is not None:
        return given
    if not shows_anything(scope):
        return PUBLIC
    presented = presented_by(scope, services.settings.trusted_proxies)
    if presented.nobody:
        return PUBLIC
    try:
        return await identify_caller(services, presented, believed=lambda caller: scope["state"].update(believed=caller))
    except NonceWanted:
        raise  # no failure
    except CredentialRefused as error:
        scope["state"]["doubted"] = True
        await audit_refusal(services, "api", error.cause, presented.address)
        raise


async def payer_of(services: Services, scope: Scope) -> Caller | None:
    """Who pays for a request that was answered before anybody asked for its caller: whose credential it shows, whatever else is wrong.

    None where none is believed.
    """
    state = scope["state"]
    if not {"believed", "doubted"} & state.keys():
        bare = {**scope, "headers": [field for field in scope["headers"] if field[0] not in _BESIDE]}
        with suppress(GatewayError):  # what has been answered stays the answer
            await caller_of(services, bare)
    payer: Caller | None = state.get("believed")
    return payer


def shows_anything(scope: Scope) -> bool:
    """Whether a request shows anything of its sender; else it comes from anybody."""
    for name, _ in scope["headers"]:
        if name in _SHOWN:
            return True
    return "caller" in scope["state"]


async def caller_again(services: Services, scope: Scope) -> Caller:
    """The caller of a request that goes on, as its credential stands now. Raises as `caller_of`; nothing is audited."""
    given: Caller | None = scope["state"].get("caller")
    if given is not None:
        return given
    presented = presented_by(scope, services.settings.trusted_proxies)
    return PUBLIC if presented.nobody else await identify_caller(services, presented, again=True)


async def while_let_in(services: Services, scope: Scope, caller: Caller, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same chunks, as long as the credential that asked for them lets its caller in with all grants that it began with.

    Raises as `caller_of`, Unavailable for a grant that ended: before the first byte a problem, after it a torn connection.
    """
    presented = structs.replace(presented_by(scope, services.settings.trusted_proxies), purpose=caller.purpose)
    async with aclosing(cast("AsyncGenerator[bytes, None]", chunks)) as made:
        async for chunk in made:
            now = await identify_caller(services, presented, again=True)
            if any(grant not in now.grants for grant in caller.grants):
                raise Unavailable("授权已变更，请重新导出。")
            yield chunk


def presented_by(scope: Scope, trusted_proxies: int = 0) -> Presented:
    """What a request shows of its sender.

    Raises BadRequest for a purpose or case reference given twice.
    """
    authorization: tuple[str, ...] = ()
    proofs: tuple[str, ...] = ()
    purpose: str | None = None
    case_ref: str | None = None
    for name, value in scope["headers"]:
        if name not in _SHOWN:
            continue
        if name == b"authorization":
            authorization += (value.decode("latin-1"),)
        elif name == b"dpop":
            proofs += (value.decode("latin-1"),)
        elif name == b"purpose":
            if purpose is not None:
                raise BadRequest("Purpose 请求头只能出现一次。")
            purpose = value.decode("latin-1").strip()
        else:
            if case_ref is not None:
                raise BadRequest("Case-Ref 请求头只能出现一次。")
            case_ref = value.decode("utf-8", "surrogateescape").strip()
    return Presented(
        method="HEAD" if scope["state"].get("head") else scope["method"],
        path=(scope.get("raw_path") or scope["path"].encode()).partition(b"?")[0].decode("latin-1"),
        authorization=authorization,
        proofs=proofs,
        purpose=purpose,
        case_ref=case_ref,
        address=address_of(scope, trusted_proxies),
    )

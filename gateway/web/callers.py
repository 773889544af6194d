"""Who asks: what a request shows of its sender, as text, handed to the story that knows credentials.

Rules: nothing about tiers is read from any field but those named here; a field that may stand once and stands twice is a forged or
broken request. The path is the one that was sent, never one that was rebuilt. This room must not decide what a caller may do.
"""

from gateway.core.callers.caller import PUBLIC, Caller
from gateway.core.errors import BadRequest
from gateway.operations.identify_caller import Presented, identify_caller
from gateway.services import Services
from gateway.web.asgi import Scope


async def caller_of(services: Services, scope: Scope) -> Caller:
    """The caller of a request.

    Raises CredentialsInvalid, PurposeMissing, NotPermitted, BadRequest.
    """
    presented = presented_by(scope)
    return PUBLIC if presented.nobody else await identify_caller(services, presented)


def presented_by(scope: Scope) -> Presented:
    """What a request shows of its sender.

    Raises BadRequest for a purpose or case reference given twice.
    """
    authorization: list[str] = []
    proofs: list[str] = []
    once: dict[bytes, str] = {}
    for name, value in scope["headers"]:
        if name == b"authorization":
            authorization.append(value.decode("latin-1"))
        elif name == b"dpop":
            proofs.append(value.decode("latin-1"))
        elif name == b"purpose" or name == b"case-ref":
            if name in once:
                raise BadRequest(f"{'Purpose' if name == b'purpose' else 'Case-Ref'} 请求头只能出现一次。")
            once[name] = value.decode("latin-1").strip()
    peer = scope.get("client")
    return Presented(
        method="HEAD" if scope["state"].get("head") else scope["method"],
        path=(scope.get("raw_path") or scope["path"].encode()).partition(b"?")[0].decode("latin-1"),
        authorization=tuple(authorization),
        proofs=tuple(proofs),
        purpose=once.get(b"purpose"),
        case_ref=once.get(b"case-ref"),
        address=str(peer[0]) if peer else "",
    )

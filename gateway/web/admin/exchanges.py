"""The exchange over the administrators' API: what `chengxin exchange overdue`, `hold`, `release` and `retry` say and do."""

from typing import Annotated

from msgspec import Meta, Struct

from gateway.operations import hold_stream
from gateway.operations.four_eyes import actor, proof
from gateway.operations.list_overdue import Overdue, list_overdue
from gateway.web.admin.desk import Act, Route


class Reason(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why; it stands in the audit trail."""

    reason: Annotated[str, Meta(min_length=1, max_length=500)]


class What(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One stream or line, or all of them."""

    stream: Annotated[str, Meta(min_length=1, max_length=128)] | None = None
    all: bool = False


async def overdue(act: Act) -> object:
    """Partners that have not acknowledged withdrawals or erasures in time."""
    return await list_overdue(act.services, partner=act.query.get("partner"))


async def held(act: Act) -> object:
    """Hold a stream."""
    act.by.require("operator", "approver")
    body: Reason = act.body
    return await hold_stream.hold_stream(act.services, act.path["stream"], reason=body.reason, by=actor(act.by), proof=proof(act.by))


async def released(act: Act) -> object:
    """End a hold, apply a held batch, or agree that a frozen stream goes on."""
    act.by.require("operator", "approver")
    body: Reason = act.body
    return await hold_stream.release_stream(act.services, act.path["stream"], reason=body.reason, by=actor(act.by), proof=proof(act.by))


async def retried(act: Act) -> object:
    """What waits is due now."""
    act.by.require("operator", "approver")
    body: What = act.body
    return await hold_stream.retry(act.services, stream=body.stream, every=body.all, by=actor(act.by), proof=proof(act.by))


_STREAM = "/admin/v1/exchange/streams/{stream}"

ROUTES: tuple[Route, ...] = (
    Route(method="GET", path="/admin/v1/exchange/overdue", command="exchange overdue",
          summary="Partners that have not acknowledged withdrawals or erasures in time, by name", handler=overdue, gives=list[Overdue],
          query=("partner",)),
    Route(method="POST", path=f"{_STREAM}/hold", command="exchange hold", summary="Hold a stream of either direction", handler=held,
          takes=Reason, gives=hold_stream.HeldStream),
    Route(method="POST", path=f"{_STREAM}/release", command="exchange release",
          summary="End a hold, apply a held batch, or agree that a frozen stream goes on", handler=released, takes=Reason,
          gives=hold_stream.Released),
    Route(method="POST", path="/admin/v1/exchange/retry", command="exchange retry", summary="What waits is due now", handler=retried,
          takes=What, gives=hold_stream.Retried),
)  # fmt: skip

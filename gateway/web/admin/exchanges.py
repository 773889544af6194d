"""The exchange over the administrators' API: debts, holds and their end, held batches, and confirmations, as `chengxin exchange …` does."""

from typing import Annotated

from msgspec import Meta, Struct

from gateway.operations import await_confirmation, decide_held, hold_stream, recognise
from gateway.operations.list_overdue import Overdue, list_overdue
from gateway.web.admin.desk import Act, Route

BatchName = Annotated[str, Meta(pattern=r"^[1-9][0-9]{0,17}/[1-9][0-9]{0,17}$", max_length=40)]
"""Epoch and number of a batch in its stream."""


class Reason(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why; it stands in the audit trail."""

    reason: Annotated[str, Meta(min_length=1, max_length=500)]


class Releasing(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is released, and why."""

    what: hold_stream.Meant
    batch: BatchName | None = None
    reason: Annotated[str, Meta(min_length=1, max_length=500)]


class Refusing(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which held batch is refused, and why."""

    batch: BatchName
    reason: Annotated[str, Meta(min_length=1, max_length=500)]


class What(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One stream or line, or all of them."""

    stream: Annotated[str, Meta(min_length=1, max_length=128)] | None = None
    all: bool = False


class Confirming(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was read, and the legal ground of the measure here."""

    version: Annotated[int, Meta(ge=1)]
    digest: Annotated[str, Meta(min_length=1, max_length=128)]
    basis: Annotated[str, Meta(min_length=1, max_length=500)]


class Decision(Struct, frozen=True, kw_only=True):
    """What became of a held batch: what its sender is told from now on."""

    stream: str
    result: str
    code: str | None


async def overdue(act: Act) -> object:
    """Partners that have not acknowledged withdrawals or erasures in time."""
    return await list_overdue(act.services, partner=act.query.get("partner"))


async def held(act: Act) -> object:
    """Hold a stream."""
    body: Reason = act.body
    return await hold_stream.hold_stream(act.services, act.path["stream"], reason=body.reason, by=act.by)


async def released(act: Act) -> object:
    """End a hold, apply a held batch, or agree that a frozen stream goes on."""
    body: Releasing = act.body
    stream = act.path["stream"]
    return await hold_stream.release_stream(act.services, stream, what=body.what, batch=body.batch, reason=body.reason, by=act.by)


async def refused(act: Act) -> object:
    """Refuse the held batch of a stream to us."""
    body: Refusing = act.body
    stream = act.path["stream"]
    done = await decide_held.decide_held(act.services, stream, batch=body.batch, apply=False, reason=body.reason, by=act.by)
    return Decision(stream=stream, result=done.result, code=done.code)


async def confirmed(act: Act) -> object:
    """A named person's yes to the effect of a partner's adverse record."""
    body: Confirming = act.body
    record = act.path["record"]
    return await recognise.confirm(act.services, record, version=body.version, digest=body.digest, basis=body.basis, by=act.by)


async def waiting(act: Act) -> object:
    """Partners' adverse records that wait for a named person."""
    return await await_confirmation.awaiting(act.services, after=act.query.get("after", ""))


async def retried(act: Act) -> object:
    """What waits is due now."""
    body: What = act.body
    return await hold_stream.retry(act.services, stream=body.stream, every=body.all, by=act.by)


_STREAM = "/admin/v1/exchange/streams/{stream}"

ROUTES: tuple[Route, ...] = (
    Route(method="GET", path="/admin/v1/exchange/overdue", command="exchange overdue",
          summary="Partners that have not acknowledged withdrawals or erasures in time, by name", handler=overdue, gives=list[Overdue],
          query=("partner",)),
    Route(method="POST", path=f"{_STREAM}/hold", command="exchange hold", summary="Hold a stream of either direction", handler=held,
          takes=Reason, gives=hold_stream.HeldStream),
    Route(method="POST", path=f"{_STREAM}/release", command="exchange release",
          summary="End a hold, apply a held batch, or agree that a frozen stream goes on", handler=released, takes=Releasing,
          gives=hold_stream.Released),
    Route(method="POST", path=f"{_STREAM}/refuse", command="exchange refuse", summary="Refuse the held batch of a stream to us",
          handler=refused, takes=Refusing, gives=Decision),
    Route(method="POST", path="/admin/v1/exchange/records/{record}/confirm", command="exchange confirm",
          summary="A named person's yes to the effect of a partner's adverse record", handler=confirmed, takes=Confirming,
          gives=recognise.Decided),
    Route(method="GET", path="/admin/v1/exchange/records", command="exchange awaiting",
          summary="Partners' adverse records that wait for a named person, with the version and digest that a confirmation names",
          handler=waiting, gives=list[await_confirmation.Awaiting], query=("after",)),
    Route(method="POST", path="/admin/v1/exchange/retry", command="exchange retry", summary="What waits is due now", handler=retried,
          takes=What, gives=hold_stream.Retried),
)  # fmt: skip

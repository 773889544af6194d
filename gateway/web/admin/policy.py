"""Policies over the administrators' API: what `chengxin policy …` does, one to one."""

import asyncio
import re
from base64 import b64decode
from binascii import Error as BinasciiError
from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from gateway.core.disclosure.approval import Approval
from gateway.core.errors import BodyInvalid, InvalidParameter
from gateway.core.records.periods import legal_day
from gateway.operations import (
    activate_policy,
    approve_policy,
    change_policy,
    compare_policies,
    explain_policy,
    preview_policy,
    propose_policy,
    run_cases,
)
from gateway.web.admin.desk import Act, Route

Instant = Annotated[datetime, Meta(tz=True)]


class FilesBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A policy folder: the text of each file by its path."""

    files: dict[str, str]


class DatedFiles(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A policy folder, as of a day; else today."""

    files: dict[str, str]
    at: date | None = None


class Sides(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Two versions, each `active`, the number of a version, or a folder as the text of each file by its path."""

    a: str | int | dict[str, str] = compare_policies.ACTIVE
    b: str | int | dict[str, str] = compare_policies.ACTIVE


class ApproveBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An approval as `…/approval` gives it to be signed, and its signature by the administrator's key over the SHA-256."""

    approval: Approval
    signature: str
    """Base64 of 64 bytes."""
    public_fields: tuple[str, ...] = ()
    basis: str | None = None


class ActivateBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to activate."""

    at: Instant | None = None
    narrow_only: bool = False


class RollbackBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which version to go back to."""

    version: Annotated[int, Meta(ge=1, le=2**31 - 1)]


class ReasonBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why."""

    reason: str


async def check(act: Act) -> object:
    """Every fault of these files, and of the agreements among them."""
    settings = act.services.settings
    return await asyncio.to_thread(
        change_policy.check_files,
        _files(act.body),
        _moment(act),
        residual_k=settings.residual_k,
        agreements=change_policy.agreements_in(_sent(act.body.files)),
        ours=settings.party,
    )


async def status(act: Act) -> object:
    """What is in force, what waits, and alarms."""
    return await change_policy.status(act.services)


async def explain(act: Act) -> object:
    """Why a tier sees a field as it does; of the subject's own tier also who may see what."""
    return await explain_policy.explained(
        act.services,
        dataset=act.query.get("dataset", ""),
        tier=act.query.get("tier", "public"),
        purpose=act.query.get("purpose"),
        kind=act.query.get("kind"),
        field=act.query.get("field"),
        org=act.query.get("org"),
    )


async def test(act: Act) -> object:
    """The cases of these files."""
    few = act.services.settings.residual_k
    return await asyncio.to_thread(run_cases.run_cases_of, _files(act.body), _moment(act), residual_k=few)


async def diff(act: Act) -> object:
    """What changes between two versions in force here, now or once."""
    return await _compared(act, *(act.query.get(name, compare_policies.ACTIVE) for name in ("a", "b")))


async def diff_sent(act: Act) -> object:
    """What changes between two versions, each of which may be a folder that was sent."""
    body: Sides = act.body
    return await _compared(act, body.a, body.b)


async def _compared(act: Act, *given: str | int | dict[str, str]) -> object:
    """A folder of this machine is never a side."""
    sides: list[compare_policies.Named] = []
    for side in given:
        if isinstance(side, dict):
            sides.append(_read(side))
        elif re.fullmatch(r"active|[0-9]{1,9}", str(side)):
            sides.append(str(side))
        else:
            raise InvalidParameter("a and b are each `active` or the number of a version")
    return await compare_policies.compare(act.services, sides[0], sides[1], today=legal_day(act.services.clock()))


async def preview(act: Act) -> object:
    """The synthetic twin as a tier sees it."""
    return await preview_policy.previewed(
        act.services,
        tier=act.query.get("tier", "public"),
        dataset=act.query.get("dataset"),
        purpose=act.query.get("purpose"),
        org=act.query.get("org"),
        at=_day(act.query.get("at")),
    )


async def proposals(act: Act) -> object:
    """Every proposal with its history, newest first."""
    return await propose_policy.list_proposals(act.services)


async def proposal(act: Act) -> object:
    """One proposal with its history."""
    return await propose_policy.show(act.services, act.number("proposal"))


async def propose(act: Act) -> object:
    """Check these files, and propose them against what is in force."""
    return await propose_policy.propose(act.services, _files(act.body), by=act.by)


async def approval(act: Act) -> object:
    """What this administrator would sign to approve, and the effect that it is about."""
    text = act.query.get("activate_at")
    try:
        at = None if text is None else msgspec.convert(text, Instant)
    except msgspec.ValidationError:
        raise InvalidParameter("activate_at is an instant with its zone") from None
    return await approve_policy.to_approve(act.services, act.number("proposal"), approver=act.by.name, activate_at=at)


async def approve(act: Act) -> object:
    """Keep a signed approval."""
    body: ApproveBody = act.body
    try:
        signature = b64decode(body.signature, validate=True)
    except (BinasciiError, ValueError):
        raise BodyInvalid("the signature is no base64") from None
    return await approve_policy.approve(
        act.services,
        act.number("proposal"),
        said=body.approval,
        signature=signature,
        public_fields=body.public_fields,
        basis=body.basis,
        by=act.by,
    )


async def activate(act: Act) -> object:
    """Put a proposal into force, now or at an instant."""
    body: ActivateBody = act.body
    return await activate_policy.activate(act.services, act.number("proposal"), by=act.by, at=body.at, narrow_only=body.narrow_only)


async def rollback(act: Act) -> object:
    """An old version again."""
    return await activate_policy.rollback(act.services, act.body.version, by=act.by)


async def confirm(act: Act) -> object:
    """A second person's yes to what one person activated."""
    return await activate_policy.confirm(act.services, act.number("proposal"), by=act.by)


async def withdraw(act: Act) -> object:
    """The author takes it back."""
    return await propose_policy.withdraw(act.services, act.number("proposal"), by=act.by)


async def refuse(act: Act) -> object:
    """An officer ends it."""
    return await propose_policy.refuse(act.services, act.number("proposal"), reason=act.body.reason, by=act.by)


def _files(body: FilesBody | DatedFiles) -> dict[str, bytes]:
    return _read(body.files)


def _read(files: Mapping[str, str]) -> dict[str, bytes]:
    return change_policy.read_files(_sent(files))


def _sent(files: Mapping[str, str]) -> dict[str, bytes]:
    return {path: text.encode() for path, text in files.items()}


def _moment(act: Act) -> datetime:
    """The middle of the day that the body names, else now."""
    body: DatedFiles = act.body
    return act.services.clock() if body.at is None else datetime.combine(body.at, time(4), UTC)


def _day(text: str | None) -> date | None:
    try:
        return None if text is None else msgspec.convert(text, date)
    except msgspec.ValidationError:
        raise InvalidParameter("at is a day: 2026-07-01") from None


_ONE = "/admin/v1/policy/proposals/{proposal}"
_LINE = propose_policy.ProposalLine
ROUTES: tuple[Route, ...] = (
    Route(method="POST", path="/admin/v1/policy/check", command="policy check", summary="Every fault of a folder", handler=check,
          takes=DatedFiles, gives=change_policy.CheckReport),
    Route(method="GET", path="/admin/v1/policy/status", command="policy status", summary="What is in force, what waits, alarms",
          handler=status, gives=change_policy.PolicyStatus),
    Route(method="GET", path="/admin/v1/policy/explain", command="policy explain", summary="Why a field is shown so; never a value",
          handler=explain, query=("dataset", "tier", "purpose", "kind", "field", "org")),
    Route(method="POST", path="/admin/v1/policy/test", command="policy test", summary="The cases of a folder", handler=test,
          takes=DatedFiles, gives=run_cases.TestReport),
    Route(method="GET", path="/admin/v1/policy/diff", command="policy diff", summary="What changes between two versions", handler=diff,
          query=("a", "b"), gives=compare_policies.Compared),
    Route(method="POST", path="/admin/v1/policy/diff", command="policy diff", summary="The same with folders that are sent",
          handler=diff_sent, takes=Sides, gives=compare_policies.Compared),
    Route(method="GET", path="/admin/v1/policy/preview", command="policy preview", summary="The synthetic twin as a tier sees it",
          handler=preview, query=("tier", "dataset", "purpose", "org", "at"), gives=list[preview_policy.Previewed]),
    Route(method="GET", path="/admin/v1/policy/proposals", command="policy proposals", summary="Proposals with their history",
          handler=proposals, gives=list[_LINE]),
    Route(method="POST", path="/admin/v1/policy/proposals", command="policy propose", summary="Check and propose a folder",
          handler=propose, takes=FilesBody, gives=propose_policy.Proposed),
    Route(method="GET", path=_ONE, command="policy proposals", summary="One proposal", handler=proposal, gives=_LINE),
    Route(method="GET", path=_ONE + "/approval", command="policy approve", summary="What there is to sign", handler=approval,
          query=("activate_at",), gives=approve_policy.ToApprove),
    Route(method="POST", path=_ONE + "/approve", command="policy approve", summary="Approve", handler=approve, takes=ApproveBody,
          gives=approve_policy.ApprovedLine),
    Route(method="POST", path=_ONE + "/activate", command="policy activate", summary="Put into force, or schedule", handler=activate,
          takes=ActivateBody, gives=activate_policy.Activation),
    Route(method="POST", path=_ONE + "/confirm", command="policy confirm", summary="Confirm what one person activated", handler=confirm,
          gives=_LINE),
    Route(method="POST", path=_ONE + "/withdraw", command="policy withdraw", summary="The author takes it back", handler=withdraw,
          gives=_LINE),
    Route(method="POST", path=_ONE + "/refuse", command="policy refuse", summary="An officer ends it", handler=refuse, takes=ReasonBody,
          gives=_LINE),
    Route(method="POST", path="/admin/v1/policy/rollback", command="policy rollback", summary="An old version again", handler=rollback,
          takes=RollbackBody, gives=activate_policy.Activation),
)  # fmt: skip

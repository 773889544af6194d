"""Propose a policy version, take a proposal back, refuse it, and show what became of each.

Rules: a folder becomes a version, named by its content, only when every check passes today; an author proposes and may withdraw, an
officer refuses with a reason; a proposal whose parent is no longer in force is stale. Each act is kept with what was signed, and is
an audit row. This story must not put anything into force.
"""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from msgspec import Struct

from gateway.core.callers.administrators import Administrator
from gateway.core.disclosure.approval import OPEN
from gateway.core.disclosure.policy import compile_policies, files_digest
from gateway.core.errors import PolicyError
from gateway.core.records.periods import legal_day
from gateway.operations.change_policy import read_folder
from gateway.operations.run_cases import run_cases_of
from gateway.operations.weigh_policy import EffectFigures, Weighed, figures, weigh
from gateway.services import Services
from gateway.store import audit, proposals
from gateway.store import policies as policy_rows
from gateway.store.proposals import Proposal
from gateway.store.store import Transaction

REASON_LIMIT = 500


class Proposed(Struct, frozen=True, kw_only=True):
    """A proposal as its author sees it."""

    proposal: int
    version: int
    digest: str
    parent: int | None
    state: str
    effect: EffectFigures


class EventLine(Struct, frozen=True, kw_only=True):
    """One thing that happened to a proposal; `signature` is over what the evidence of the event holds."""

    event: str
    by: str
    at: datetime
    detail: Mapping[str, object]
    key_id: str | None
    signature: str | None


class ProposalLine(Struct, frozen=True, kw_only=True):
    """One proposal with its whole history."""

    proposal: int
    version: int
    digest: str
    parent: int | None
    author: str
    kind: str
    state: str
    activate_at: datetime | None
    unconfirmed_since: datetime | None
    events: tuple[EventLine, ...]


async def propose(services: Services, files: Mapping[str, bytes], *, by: Administrator) -> Proposed:
    """Make a version of these files and propose it against what is in force.

    Raises RoleMissing, PolicyError of the first check that fails, approval-conflict when it is in force already or proposed and open.
    """
    by.require("author")
    await asyncio.to_thread(_refuse_faulty, services, files)
    digest = files_digest(files)
    async with services.store.transaction() as tx:
        version = await policy_rows.propose(tx, files, digest, f"admin:{by.name}")
    return await propose_version(services, version, kind="propose", by=by)


def _refuse_faulty(services: Services, files: Mapping[str, bytes]) -> None:
    """Every check passes today, every policy test holds, and the tests look at every rule."""
    few = services.settings.residual_k
    compile_policies(files, version=0, today=legal_day(services.clock()), residual_k=few)
    report = run_cases_of(files, services.clock(), residual_k=few)
    if not report.ok:
        first = report.failed[0] if report.failed else None
        raise PolicyError(
            f"{len(report.failed)} of {report.cases} policy tests fail" if first else "the policy tests do not look at every rule",
            code="policy-tests",
            file=None if first is None else first.file,
            line=None if first is None else first.line,
            hint="`chengxin policy test FOLDER` tells each",
        )


async def propose_folder(services: Services, folder: Path, *, by: Administrator) -> Proposed:
    """The same with the files of a folder."""
    return await propose(services, read_folder(folder), by=by)


async def propose_version(services: Services, version: int, *, kind: str, by: Administrator) -> Proposed:
    """Propose a version that is stored.

    Raises PolicyError, StoreError policy-unknown.
    """
    weighed = await weigh(services, version)
    if weighed.parent == version:
        raise PolicyError("this very version is in force", code="approval-conflict", hint="nothing needs to be changed")
    async with services.store.transaction() as tx:
        if any(one.version == version and one.parent == weighed.parent for one in await proposals.open_ones(tx)):
            raise PolicyError(
                "this version is proposed already", code="approval-conflict", hint="`chengxin policy status` shows the open proposals"
            )
        shown = figures(weighed.effect, weighed.effect_digest)
        number = await proposals.add(
            tx,
            version=version,
            parent=weighed.parent,
            author=by.name,
            kind=kind,
            effect=weighed.effect_digest,
            detail={"widens": shown.widens, "personal": shown.personal, "redlines": shown.redlines, "needs": list(shown.needs)},
            evidence=by.evidence,
        )
        await told(tx, by, "policy.propose", number, {"version": version, "digest": weighed.digest, "kind": kind})
    return Proposed(proposal=number, version=version, digest=weighed.digest, parent=weighed.parent, state="proposed", effect=shown)


async def withdraw(services: Services, proposal: int, *, by: Administrator) -> ProposalLine:
    """The author takes a proposal back.

    Raises RoleMissing, PolicyError proposal-unknown, proposal-state, approval-conflict.
    """
    by.require("author")
    async with services.store.transaction() as tx:
        held = await still_open(tx, proposal)
        if held.author != by.name:
            raise PolicyError("only its author withdraws a proposal", code="approval-conflict", hint="an officer refuses it instead")
        await proposals.tell(tx, proposal, "withdrawn", by.name, {}, by.evidence, state="withdrawn", activate_at=None)
        await told(tx, by, "policy.withdraw", proposal, {"version": held.version})
    return await show(services, proposal)


async def refuse(services: Services, proposal: int, *, reason: str, by: Administrator) -> ProposalLine:
    """An officer ends a proposal, with a reason.

    Raises RoleMissing, PolicyError proposal-unknown, proposal-state, reason-missing.
    """
    by.require("approver", "privacy-officer", "legal-officer")
    reason = read_reason(reason)
    async with services.store.transaction() as tx:
        held = await still_open(tx, proposal)
        await proposals.tell(tx, proposal, "refused", by.name, {"reason": reason}, by.evidence, state="refused", activate_at=None)
        await told(tx, by, "policy.refuse", proposal, {"version": held.version})
    return await show(services, proposal)


def read_reason(text: str) -> str:
    """A reason or basis as it is kept.

    Raises PolicyError reason-missing.
    """
    text = text.strip()
    if not text or len(text) > REASON_LIMIT or not text.isprintable():
        raise PolicyError("a reason or basis is a line of 1 to 500 characters", code="reason-missing")
    return text


async def still_open(tx: Transaction, proposal: int) -> Proposal:
    """A proposal that can still come into force.

    Raises PolicyError proposal-unknown, proposal-state.
    """
    held = await proposals.find(tx, proposal)
    if held.state not in OPEN:
        raise closed(held)
    return held


def closed(held: Proposal) -> PolicyError:
    """That a proposal is over."""
    return PolicyError(
        f"the proposal is {held.state}",
        code="approval-stale" if held.state == "stale" else "proposal-state",
        hint="propose the folder again" if held.state == "stale" else "`chengxin policy status` shows the open proposals",
    )


async def refuse_stale(services: Services, held: Proposal, weighed: Weighed) -> None:
    """A proposal counts only against the parent it was made for, with the effect it had; else it is stale from now on.

    Raises PolicyError approval-stale.
    """
    if (held.parent, held.effect) == (weighed.parent, weighed.effect_digest):
        return
    async with services.store.transaction() as tx:
        if (await proposals.find(tx, held.id)).state in OPEN:
            await proposals.tell(tx, held.id, "stale", "gateway", {"in_force": weighed.parent or 0}, state="stale", activate_at=None)
            await audit.write(tx, "gateway", "policy.stale", f"proposal/{held.id}", {"in_force": weighed.parent or 0})
    raise PolicyError(
        "what is in force, its catalogue or its fields have changed since this was proposed",
        code="approval-stale",
        hint="propose the folder again: the approvals were about another change",
    )


async def show(services: Services, proposal: int) -> ProposalLine:
    """One proposal with all that happened to it.

    Raises PolicyError proposal-unknown.
    """
    reads = services.store.reads
    held = await proposals.find(reads, proposal)
    return ProposalLine(
        proposal=held.id,
        version=held.version,
        digest=held.digest,
        parent=held.parent,
        author=held.author,
        kind=held.kind,
        state=held.state,
        activate_at=held.activate_at,
        unconfirmed_since=held.unconfirmed_since,
        events=tuple(
            EventLine(
                event=one.event,
                by=one.by,
                at=one.at,
                detail=one.detail,
                key_id=None if one.evidence is None else one.evidence.key_id,
                signature=None if one.evidence is None else one.evidence.signature.hex(),
            )
            for one in await proposals.events(reads, proposal)
        ),
    )


async def list_proposals(services: Services) -> list[ProposalLine]:
    """Every proposal, newest first."""
    return [await show(services, one.id) for one in reversed(await proposals.everything(services.store.reads))]


async def told(tx: Transaction, by: Administrator, act: str, proposal: int, detail: Mapping[str, object]) -> None:
    """An act about a proposal in the audit, with the signature that it was believed by."""
    proof = {} if by.evidence is None else {"key": by.key_id, "signature": by.evidence.signature.hex()}
    await audit.write(tx, f"admin:{by.name}", act, f"proposal/{proposal}", {**detail, **proof})

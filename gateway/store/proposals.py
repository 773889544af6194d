"""Proposals of policy versions and what became of each: events are append-only, with what was signed for them.

Rules: a proposal names a version, its parent and its author, and never changes; its state is that of its newest event, kept beside it
so that it can be found. This room must not decide which event may follow which.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from gateway.core.callers.administrators import Evidence
from gateway.core.disclosure.approval import OPEN, State
from gateway.core.errors import PolicyError
from gateway.store.reads import Reads
from gateway.store.store import Transaction, moment, stamp
from gateway.store.tables import policy_events, policy_proposals, policy_versions

_DETAIL = msgspec.json.Decoder(dict[str, Any])


class Proposal(Struct, frozen=True, kw_only=True):
    """One proposal as it stands now."""

    id: int
    version: int
    digest: str
    parent: int | None
    parent_digest: str | None
    author: str
    kind: str
    """propose, rollback or initial."""
    effect: str
    """Digest of the effect at the time of proposing."""
    proposed_at: datetime
    state: State
    activate_at: datetime | None
    narrow_only: bool
    """Scheduled by one person: it must still be provably narrower then."""
    unconfirmed_since: datetime | None
    """In force by one person's act, and no second one has confirmed it."""


class Event(Struct, frozen=True, kw_only=True):
    """One thing that happened to a proposal."""

    seq: int
    proposal: int
    event: str
    by: str
    at: datetime
    detail: dict[str, Any]
    evidence: Evidence | None


_parents = policy_versions.alias("parents")
_PROPOSALS = (
    sa.select(policy_proposals, policy_versions.c.digest, _parents.c.digest.label("parent_digest"))
    .join(policy_versions, policy_versions.c.version == policy_proposals.c.version)
    .outerjoin(_parents, _parents.c.version == policy_proposals.c.parent)
    .order_by(policy_proposals.c.proposal)
)
_ONE = _PROPOSALS.where(policy_proposals.c.proposal == sa.bindparam("proposal"))
_PENDING = _PROPOSALS.where(sa.or_(policy_proposals.c.state == "scheduled", policy_proposals.c.unconfirmed_since.is_not(None)))
_ANY_PENDING = sa.select(sa.func.count()).where(
    sa.or_(policy_proposals.c.state == "scheduled", policy_proposals.c.unconfirmed_since.is_not(None))
)
_ACTIVE = _PROPOSALS.where(policy_proposals.c.state == "active")
_EVENTS = sa.select(policy_events).where(policy_events.c.proposal == sa.bindparam("proposal")).order_by(policy_events.c.seq)


async def add(
    tx: Transaction,
    *,
    version: int,
    parent: int | None,
    author: str,
    kind: str,
    effect: str,
    detail: Mapping[str, object],
    evidence: Evidence | None,
) -> int:
    """A new proposal with its first events; its number."""
    proposal = await tx.number("policy_proposals")
    await tx.execute(
        sa.insert(policy_proposals).values(
            proposal=proposal, version=version, parent=parent, author=author, kind=kind, effect=effect,
            proposed_at=tx.now_text, state="proposed", narrow_only=False,
        )
    )  # fmt: skip
    await _event(tx, proposal, "checked", author, detail, None)
    await _event(tx, proposal, "proposed", author, {"kind": kind}, evidence)
    return proposal


async def tell(
    tx: Transaction,
    proposal: int,
    event: str,
    by: str,
    detail: Mapping[str, object],
    evidence: Evidence | None = None,
    *,
    state: State | None = None,
    **changed: object,
) -> None:
    """Write down what happened, and the state that follows from it."""
    await _event(tx, proposal, event, by, detail, evidence)
    values: dict[str, object] = {name: stamp(value) if isinstance(value, datetime) else value for name, value in changed.items()}
    if state is not None:
        values["state"] = state
    if values:
        await tx.execute(sa.update(policy_proposals).where(policy_proposals.c.proposal == proposal).values(values))


async def _event(tx: Transaction, proposal: int, event: str, by: str, detail: Mapping[str, object], evidence: Evidence | None) -> None:
    seq = await tx.number("policy_events")
    await tx.execute(
        sa.insert(policy_events).values(
            seq=seq,
            proposal=proposal,
            event=event,
            by=by,
            at=tx.now_text,
            detail=msgspec.json.encode(dict(detail), order="sorted"),
            evidence=None if evidence is None else msgspec.msgpack.encode(evidence),
        )
    )


async def find(source: Reads | Transaction, proposal: int) -> Proposal:
    """One proposal.

    Raises PolicyError proposal-unknown.
    """
    row = await source.one(_ONE, {"proposal": proposal})
    if row is None:
        raise PolicyError("there is no such proposal", code="proposal-unknown", hint="`chengxin policy status` names them")
    return _proposal(row)


async def everything(source: Reads | Transaction) -> list[Proposal]:
    """Every proposal there ever was, oldest first."""
    return [_proposal(row) for row in await source.all(_PROPOSALS)]


async def pending(source: Reads | Transaction) -> list[Proposal]:
    """Proposals that wait for an instant or for a confirmation."""
    row = await source.one(_ANY_PENDING)
    if row is None or not row[0]:
        return []
    return [_proposal(row) for row in await source.all(_PENDING)]


async def active(source: Reads | Transaction) -> list[Proposal]:
    """The proposal whose version is in force: one, or none in a store that was activated before there were proposals."""
    return [_proposal(row) for row in await source.all(_ACTIVE)]


async def open_ones(source: Reads | Transaction) -> list[Proposal]:
    """Proposals that can still come into force."""
    return [one for one in await everything(source) if one.state in OPEN]


async def events(source: Reads | Transaction, proposal: int) -> list[Event]:
    """What happened to a proposal, oldest first."""
    return [
        Event(
            seq=row.seq,
            proposal=row.proposal,
            event=row.event,
            by=row.by,
            at=moment(row.at),
            detail=_DETAIL.decode(row.detail),
            evidence=None if row.evidence is None else msgspec.msgpack.decode(row.evidence, type=Evidence),
        )
        for row in await source.all(_EVENTS, {"proposal": proposal})
    ]


def _proposal(row: Any) -> Proposal:
    return Proposal(
        id=row.proposal,
        version=row.version,
        digest=row.digest,
        parent=row.parent,
        parent_digest=row.parent_digest,
        author=row.author,
        kind=row.kind,
        effect=row.effect,
        proposed_at=moment(row.proposed_at),
        state=cast(State, row.state),
        activate_at=None if row.activate_at is None else moment(row.activate_at),
        narrow_only=bool(row.narrow_only),
        unconfirmed_since=None if row.unconfirmed_since is None else moment(row.unconfirmed_since),
    )

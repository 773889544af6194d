"""Policy versions and what is in force: both append-only.

Rules: a version is a whole `policies/` folder under one digest and never changes; an activation names a version, who, when and why.
The newest activation is in force. This room must not read the files: what they say is the business of `core/disclosure/policy.py`.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from gateway.core.errors import StoreError
from gateway.store.reads import Reads
from gateway.store.store import Transaction, moment
from gateway.store.tables import policy_activations, policy_versions

_encoder = msgspec.msgpack.Encoder(order="sorted")
_decoder = msgspec.msgpack.Decoder(dict[str, bytes])


class Activation(Struct, frozen=True, kw_only=True):
    """One activation: which version, since when, by whom, why."""

    seq: int
    version: int
    digest: str
    at: datetime
    by: str
    reason: str
    from_version: int | None = None
    proposal: int | None = None
    approvals: tuple[str, ...] = ()


_BY_DIGEST = sa.select(policy_versions.c.version).where(policy_versions.c.digest == sa.bindparam("digest"))
_BY_VERSION = sa.select(policy_versions.c.files).where(policy_versions.c.version == sa.bindparam("version"))
_NEWEST = sa.select(policy_activations.c.version, policy_activations.c.seq).order_by(policy_activations.c.seq.desc()).limit(1)
_ACTIVE = (
    sa.select(policy_versions.c.version, policy_versions.c.files)
    .join(policy_activations, policy_activations.c.version == policy_versions.c.version)
    .order_by(policy_activations.c.seq.desc())
    .limit(1)
)
_HISTORY = (
    sa.select(policy_activations, policy_versions.c.digest)
    .join(policy_versions, policy_activations.c.version == policy_versions.c.version)
    .order_by(policy_activations.c.seq)
)


async def propose(tx: Transaction, files: Mapping[str, bytes], digest: str, by: str) -> int:
    """The version number of these files; the same digest is the same version."""
    known = await tx.one(_BY_DIGEST, {"digest": digest})
    if known is not None:
        return int(known.version)
    parent = await tx.one(_NEWEST)
    version = await tx.number("policy_versions")
    await tx.execute(
        sa.insert(policy_versions).values(
            version=version,
            digest=digest,
            parent=None if parent is None else parent.version,
            files=_encoder.encode(dict(files)),
            proposed_at=tx.now_text,
            proposed_by=by,
        )
    )
    return version


async def activate(
    tx: Transaction, version: int, by: str, reason: str, *, proposal: int | None = None, approvals: Sequence[str] = ()
) -> int:
    """Put a version in force, by whose approvals; the number of the activation.

    Raises StoreError `policy-unknown` when there is no such version.
    """
    if await tx.one(_BY_VERSION, {"version": version}) is None:
        raise StoreError(
            "there is no such policy version", code="policy-unknown", place=str(version), hint="`chengxin policy status` names them"
        )
    before = await tx.one(_NEWEST)
    seq = await tx.number("policy_activations")
    await tx.execute(
        sa.insert(policy_activations).values(
            seq=seq,
            version=version,
            at=tx.now_text,
            by=by,
            reason=reason,
            from_version=None if before is None else before.version,
            proposal=proposal,
            approvals=" ".join(approvals),
        )
    )
    return seq


async def active(source: Reads | Transaction) -> tuple[int, dict[str, bytes]] | None:
    """Number and files of the version in force; None before the first activation."""
    row = await source.one(_ACTIVE)
    return None if row is None else (int(row.version), _decoder.decode(row.files))


async def latest_activation(source: Reads | Transaction) -> int:
    """Number of the newest activation, 0 when there is none: the cheap question whether anything changed."""
    row = await source.one(_NEWEST)
    return 0 if row is None else int(row.seq)


async def files_of(source: Reads | Transaction, version: int) -> dict[str, bytes]:
    """The files of a version.

    Raises StoreError `policy-unknown`.
    """
    row = await source.one(_BY_VERSION, {"version": version})
    if row is None:
        raise StoreError("there is no such policy version", code="policy-unknown", place=str(version))
    return _decoder.decode(row.files)


async def activations(source: Reads | Transaction) -> list[Activation]:
    """Every activation there ever was, oldest first."""
    return [
        Activation(
            seq=row.seq,
            version=row.version,
            digest=row.digest,
            at=moment(row.at),
            by=row.by,
            reason=row.reason,
            from_version=row.from_version,
            proposal=row.proposal,
            approvals=tuple((row.approvals or "").split()),
        )
        for row in await source.all(_HISTORY)
    ]

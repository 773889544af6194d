"""Keep the audit trail: seal what was written, sign the head of the log, delete what has had its time (policy.md §15).

Rules:
- a checkpoint goes on only from what was signed: if the tree beside the last checkpoint, or the sealed part of a partition, is not what
  the signature says, nothing more is signed, and the fault is told until somebody has looked.
- entries, seals and the checkpoint are one transaction, under the writer's turn: two processes never sign two heads of one size.
- the newest head also stands as a file in the data directory: who can only change the database cannot cut the log unseen.
- a partition goes as a whole when the time that `periods.toml [retention]` gives it is over, and only if all of it was sealed; its
  roots stay in the log, so every later proof verifies. Refusals are a network log and go earlier than what is about persons.
This story must not read what the rows say.
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Final

from msgspec import Struct

from gateway.core.audit import log
from gateway.core.audit.chain import Partition
from gateway.core.audit.verify import SignedHead, read_head
from gateway.core.errors import ExchangeError, StoreError
from gateway.core.exchange.merkle import CompactRange, leaf_hash
from gateway.core.exchange.notes import Checkpoint, KeyRing, KnownKey
from gateway.core.exchange.wire import b64
from gateway.core.records.periods import add_duration, legal_day
from gateway.core.signing import Signer, Signers, parse_vkey
from gateway.services import Services
from gateway.store import audit, audit_log
from gateway.store.audit_log import HeadRow, Standing
from gateway.store.audit_trail import NETWORK
from gateway.store.store import Transaction

HEAD_FILE: Final = "audit-checkpoint"
"""In the data directory: the newest checkpoint that a process of this machine made."""
LONGEST: Final = "P10Y"
NETWORK_LOG: Final = "P6M"
"""Kept so long where the policies say nothing."""


class Sealed(Struct, frozen=True, kw_only=True):
    """What a round came to."""

    partitions: int
    rows: int
    size: int
    number: int


def key_ring(signers: Signers) -> KeyRing:
    """Our own public keys: what the checkpoints of this gateway are verified with."""
    return KeyRing.of(
        signers.party,
        [
            KnownKey(
                verifier=parse_vkey(key.signer.vkey),
                use=key.use,
                not_before=key.not_before,
                not_after=key.not_after,
                revoked_at=key.revoked_at,
            )
            for key in signers.keys
            if key.use == "audit"
        ],
    )


async def checkpoint(services: Services) -> Sealed | None:
    """Seal every partition that has grown and sign the new head; None when nothing was written since the last one.

    Raises StoreError `audit-broken` when what is stored is not what was signed.
    """
    if not await audit_log.standings(services.store.reads, unsealed=True):
        services.trail.unsealed = 0
        return None
    signer = services.signers.signing("audit", services.clock())
    async with services.store.transaction() as tx:
        grown = await audit_log.standings(tx, unsealed=True)
        if not grown:
            return None
        services.trail.unsealed = 0
        last = await _last(services, tx)
        tree = log.tree_of(last.size, last.tree) if last is not None else CompactRange()
        made: list[tuple[Partition, bytes]] = []
        rows = 0
        for standing in grown:
            entry, count = await _seal(tx, standing)
            made.append((standing.partition, log.entry_bytes(entry)))
            rows += count
        head = await _sign(services, tx, tree, made, last, signer)
    _keep_head(services, head.head.note)
    return Sealed(partitions=len(made), rows=rows, size=head.size, number=head.head.number)


async def _last(services: Services, tx: Transaction) -> HeadRow | None:
    """The checkpoint to go on from, once it was found to be ours."""
    found = await audit_log.newest(tx)
    if not found:
        return None
    last = found[0]
    try:
        said = read_head(last.head, key_ring(services.signers))
        whole = said.size == last.size and said.root == log.tree_of(last.size, last.tree).root()
    except (ExchangeError, ValueError):
        whole = False
    if not whole:
        raise _broken(f"checkpoint#{last.head.number}")
    return last


async def _seal(tx: Transaction, standing: Standing) -> tuple[log.Entry, int]:
    """How far a partition has come, once its sealed part was found to be what the log says."""
    partition = standing.partition
    tree = log.tree_of(standing.sealed, standing.tree)
    body = await audit_log.last_entry(tx, partition)
    before = None if body is None else log.read_entry(body)
    if (before is None) != (standing.sealed == 0) or standing.retired:
        raise _broken(f"{partition}#{standing.sealed}")
    if before is not None and (before.size, before.root) != (tree.size, b64(tree.root())):
        raise _broken(f"{partition}#{standing.sealed}")
    found = await audit_log.links_after(tx, partition, standing.sealed)
    if [number for number, _ in found] != list(range(standing.sealed + 1, standing.size + 1)):
        raise _broken(f"{partition}#{standing.sealed + 1}")
    log.append(tree, [link for _, link in found])
    await audit_log.mark_sealed(tx, partition, tree.size, tree.dump())
    return log.seal(tree, partition, found[-1][1], tx.now_text), len(found)


async def _sign(
    services: Services, tx: Transaction, tree: CompactRange, made: Sequence[tuple[Partition, bytes]], last: HeadRow | None, signer: Signer
) -> HeadRow:
    first = tree.size
    tree.extend(leaf_hash(body) for _, body in made)
    number = 1 if last is None else last.head.number + 1
    note = log.signed_head(services.signers.party, tree, signer)
    head = HeadRow(head=SignedHead(number=number, at=tx.now_text, note=note), size=tree.size, tree=tree.dump())
    await audit_log.add(tx, first, made, head)
    return head


def _broken(place: str) -> StoreError:
    return StoreError(
        "the audit trail is not what was signed; no checkpoint is made over it",
        code="audit-broken",
        place=place,
        hint="`chengxin verify audit` names the first bad row; keep a copy of the database before anything else",
    )


def _keep_head(services: Services, note: str) -> None:
    """The newest head beside the database; whole or not at all."""
    path = head_path(services)
    draft = path.with_name(f"{path.name}.{os.getpid()}.part")
    with suppress(OSError):  # the log itself stands; a full disk is told by everything else
        draft.write_text(note, encoding="utf-8")
        draft.replace(path)


def head_path(services: Services) -> Path:
    """Where the newest head stands."""
    return services.settings.data_path / HEAD_FILE


async def published_heads(services: Services, limit: int) -> tuple[list[SignedHead], list[Checkpoint]]:
    """The newest checkpoints, newest first, and what they say."""
    found = await audit_log.newest(services.store.reads, limit)
    ring = key_ring(services.signers)
    return [each.head for each in found], [read_head(each.head, ring) for each in found]


# --- retention --------------------------------------------------------------------------------------------------------


def is_over(partition: Partition, retention: Mapping[str, str], today: date) -> bool:
    """Whether a partition has had its time: the longest of the periods that may concern one of its rows."""
    if partition.writer.startswith(NETWORK):
        periods = [retention.get("audit.network", retention.get("audit.count", NETWORK_LOG))]
    else:
        periods = [period for name, period in retention.items() if name.startswith(("audit.", "disclosure."))] or [LONGEST]
    return all(add_duration(date.fromisoformat(partition.day), period) < today for period in periods)


async def retire(services: Services, *, by: str) -> int:
    """Delete the partitions whose time is over. How many.

    Raises NoActivePolicy, StoreError `audit-broken`.
    """
    policies = await services.policies.fresh()
    retention, today = policies.catalogue.retention, legal_day(services.clock())
    due = [
        each
        for each in await audit_log.standings(services.store.reads, unsealed=False)
        if not each.retired and each.size == each.sealed and is_over(each.partition, retention, today)
    ]
    if not due:
        return 0
    signer = services.signers.signing("audit", services.clock())
    async with services.store.transaction() as tx:
        last = await _last(services, tx)
        if last is None:
            return 0
        made = []
        for standing in due:
            body = await audit_log.last_entry(tx, standing.partition)
            entry = None if body is None else log.read_entry(body)
            if entry is None or entry.op != "seal" or entry.size != standing.size:
                raise _broken(f"{standing.partition}#{standing.size}")
            made.append((standing.partition, log.entry_bytes(log.retired(entry, tx.now_text))))
            await audit_log.delete_partition(tx, standing.partition)
        head = await _sign(services, tx, log.tree_of(last.size, last.tree), made, last, signer)
        await audit.write(tx, by, "audit.retire", "audit", {"partitions": len(made)})
        tx.shredded = True
    _keep_head(services, head.head.note)
    return len(made)

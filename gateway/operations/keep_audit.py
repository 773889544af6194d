"""Keep the audit trail: seal what was written, sign the head of the log, delete what has had its time (policy.md §15).

Rules:
- how a checkpoint comes about, and when none does, are the rules of `store/audit_seals`; a fault is an alarm until somebody has looked.
- a partition goes as a whole when the time that `periods.toml [retention]` gives it is over, and only if all of it was sealed; its
  roots stay in the log, so every later proof verifies. Refusals are a network log and go earlier than what is about persons.
This story must not read what the rows say.
"""

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Final

from gateway.core.audit import log
from gateway.core.audit.chain import Partition
from gateway.core.audit.verify import SignedHead, key_ring, read_head
from gateway.core.errors import SettingsError, StoreError
from gateway.core.exchange.notes import Checkpoint
from gateway.core.records.periods import add_duration, legal_day
from gateway.operations.alarms import raise_alarm
from gateway.services import Services
from gateway.store import audit, audit_log
from gateway.store.audit_seals import BROKEN, TRAIL, UNSEALED, Sealed, broken
from gateway.store.audit_trail import NETWORK

__all__ = ["Sealed", "checkpoint", "head_path", "is_over", "network_log_over", "published_heads", "retire"]

LONGEST: Final = "P10Y"
NETWORK_LOG: Final = "P6M"
"""Kept so long where the policies say nothing."""


async def checkpoint(services: Services) -> Sealed | None:
    """Seal every partition that has grown and sign the new head; None when nothing was written since the last one.

    Raises StoreError `audit-broken` when what is stored is not what was signed, or lacks what this process wrote, SettingsError when no
    key may sign; an alarm stands then.
    """
    services.trail.unsealed = 0
    try:
        if await services.sealer.idle(services.store.reads):
            return None
        async with services.store.transaction() as tx:
            return await services.sealer.seal(tx)
    except StoreError as error:
        if error.code == BROKEN:
            await raise_alarm(services, BROKEN, TRAIL, {"place": error.place or ""})
        raise
    except SettingsError as error:
        await raise_alarm(services, UNSEALED, TRAIL, {"code": error.code})
        raise


def head_path(services: Services) -> Path:
    """Where the newest head stands beside the database."""
    return services.sealer.head_file


async def published_heads(services: Services, limit: int) -> tuple[list[SignedHead], list[Checkpoint]]:
    """The newest checkpoints, newest first, and what they say."""
    found = await audit_log.newest(services.store.reads, limit)
    ring = key_ring(services.signers)
    return [each.head for each in found], [read_head(each.head, ring) for each in found]


# --- retention --------------------------------------------------------------------------------------------------------


def is_over(partition: Partition, retention: Mapping[str, str], today: date) -> bool:
    """Whether a partition has had its time: the longest of the periods that may concern one of its rows."""
    if partition.writer.startswith(NETWORK):
        return network_log_over(date.fromisoformat(partition.day), retention, today)
    periods = [period for name, period in retention.items() if name.startswith(("audit.", "disclosure."))] or [LONGEST]
    return all(add_duration(date.fromisoformat(partition.day), period) < today for period in periods)


def network_log_over(day: date, retention: Mapping[str, str], today: date) -> bool:
    """Whether a day of a network log has had its time: refusals, and the access log."""
    return add_duration(day, retention.get("audit.network", retention.get("audit.count", NETWORK_LOG))) < today


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
    async with services.store.transaction() as tx:
        last = await services.sealer.last(tx)
        if last is None:
            return 0
        made = []
        for standing in due:
            body = await audit_log.last_entry(tx, standing.partition)
            entry = None if body is None else log.read_entry(body)
            if entry is None or entry.op != "seal" or entry.size != standing.size:
                raise broken(f"{standing.partition}#{standing.size}")
            made.append((standing.partition, log.entry_bytes(log.retired(entry, tx.now_text))))
            await audit_log.delete_partition(tx, standing.partition)
        await services.sealer.sign(tx, made, last)
        await audit.write(tx, by, "audit.retire", "audit", {"partitions": len(made)})
        tx.shredded = True
    return len(made)

"""Whether anything in a store has changed: a digest of each table's rows, but for counters and used numbers.

    before = await contents(services.store)
    …what must be refused…
    assert moved(before, await contents(services.store)) == set()

What a well-signed batch leaves behind although its lines are refused (the batch, its receipt, the trail) is named by `LEDGER`.
"""

import hashlib
from collections.abc import Mapping

import sqlalchemy as sa

from gateway.store.store import Store
from gateway.store.tables import metadata

COUNTS_ONLY = frozenset({"counters", "used_ids", "admin_nonces", "budgets", "alarms"})
"""What a refused request may move: numbers, ids used once, and what is told of it."""
TRAIL = frozenset({"audit", "audit_partitions", "audit_log", "audit_checkpoints"})
"""The trail tells of refusals too."""
LEDGER = TRAIL | {"in_batches", "in_streams", "receipts"}
"""What an admitted batch leaves behind of which no line is taken."""


async def contents(store: Store, *, without: frozenset[str] = COUNTS_ONLY) -> dict[str, str]:
    """A digest of the rows of every table, in no order, by the table's name."""
    found: dict[str, str] = {}
    for table in metadata.sorted_tables:
        if table.name in without:
            continue
        rows = sorted(repr(tuple(row)) for row in await store.reads.slow(sa.select(table)))
        found[table.name] = hashlib.sha256("\n".join(rows).encode()).hexdigest()
    return found


def moved(before: Mapping[str, str], now: Mapping[str, str]) -> set[str]:
    """The tables whose rows are not what they were."""
    return {name for name in before if before[name] != now[name]}

"""What one process writes to the audit trail beside the acts: accesses and refusals, many in one transaction.

Rules:
- a process has a partition of its own, so it waits for no other process; a call that must be written down waits for the commit, and
  calls that come meanwhile share the next one.
- a refusal waits for nothing and nobody waits for it: those of one door, cause and network within a second are one row with a count,
  and there are never more than a bounded number of them.
- after a failed commit the end of the partition is read again: what was committed without our knowing is followed, never doubled.
This room must not decide what is written.
"""

import asyncio
import contextlib
import os
from collections import Counter
from collections.abc import Sequence
from typing import Final

from gateway.core.audit.chain import Partition
from gateway.core.errors import StoreError
from gateway.core.records.periods import legal_day
from gateway.store import audit
from gateway.store.audit import Head, Said
from gateway.store.store import Store

GATHER_S: Final = 1.0
"""Refusals of one kind within this time are one row."""
MAX_REFUSED: Final = 1000
"""Kinds of refusals that are remembered at once; those beyond it share a row without a network."""
MAX_ROWS: Final = 2000
"""Rows of one transaction."""
ACCESSES: Final = "p"
NETWORK: Final = "n"
"""First letter of a process's partitions: accesses, and refusals, which are kept for a shorter time."""

Waiting = tuple[Sequence[Said], "asyncio.Future[None]"]


class AuditTrail:
    """The writer of one process; `counts` are the accesses that only a counter knows of, by (tier, purpose, dataset)."""

    def __init__(self, store: Store) -> None:
        self.process = os.urandom(6).hex()
        self.counts: Counter[tuple[str, str, str]] = Counter()
        self.unsealed = 0
        """Rows written since the last checkpoint that this process made."""
        self.failing: bool | None = None
        """Whether what was last to be written could not be; None before."""
        self._store = store
        self._waiting: list[Waiting] = []
        self._refused: Counter[tuple[str, str, str]] = Counter()
        self._task: asyncio.Task[None] | None = None
        self._gathering: asyncio.Task[None] | None = None
        self._heads: dict[Partition, Head] = {}
        self._closed = False

    async def append(self, rows: Sequence[Said]) -> None:
        """Write rows down; they are committed when this returns.

        Raises StoreError when they cannot be.
        """
        if self._closed:
            raise StoreError("the audit trail is closed", code="store-unavailable")
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((rows, done))
        if self._task is None:
            self._task = asyncio.create_task(self._write())
        await done

    def refused(self, door: str, cause: str, network: str) -> None:
        """A credential that was turned away; written within a second."""
        key = (door, cause, network)
        if key not in self._refused and len(self._refused) >= MAX_REFUSED:
            key = (door, cause, "")
        self._refused[key] += 1
        if self._gathering is None and not self._closed:
            self._gathering = asyncio.create_task(self._gather(GATHER_S))

    async def flush(self) -> None:
        """Write down at once what was gathered. A failure keeps it for the next time."""
        if self._gathering is not None:
            self._gathering.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._gathering
        with contextlib.suppress(StoreError):
            await self._gather(0)

    async def close(self) -> None:
        """Write what is left, then nothing more."""
        await self.flush()
        self._closed = True
        if self._task is not None:
            await self._task

    # --- inside ------------------------------------------------------------------------------------------------------

    async def _gather(self, pause: float) -> None:
        try:
            await asyncio.sleep(pause)
            gathered, self._refused = self._refused, Counter()
            if gathered:
                try:
                    await self.append([_refusal(key, count) for key, count in sorted(gathered.items())])
                except StoreError:
                    self._refused.update(gathered)
                    if pause == 0:
                        raise
        finally:
            self._gathering = None

    async def _write(self) -> None:
        try:
            while self._waiting:
                taken, count = 0, 0
                while taken < len(self._waiting) and (taken == 0 or count + len(self._waiting[taken][0]) <= MAX_ROWS):
                    count += len(self._waiting[taken][0])
                    taken += 1
                batch, self._waiting = self._waiting[:taken], self._waiting[taken:]
                try:
                    await self._commit([row for rows, _ in batch for row in rows])
                except Exception as error:  # noqa: BLE001 - whoever waits must hear of any failure: without a row there is no data
                    self._heads, self.failing = {}, True
                    _settle(batch, error)
                else:
                    self.unsealed += count
                    self.failing = False
                    _settle(batch, None)
        finally:
            self._task = None
            if self._waiting:  # cancelled with the process: nobody waits for ever
                _settle(self._waiting, StoreError("the audit trail is closed", code="store-unavailable"))
                self._waiting = []

    async def _commit(self, said: Sequence[Said]) -> None:
        vault, made = self._store.vault, {}
        async with self._store.aside() as tx:
            day = legal_day(tx.now).isoformat()
            for kind, letter in (("access", ACCESSES), ("refusal", NETWORK)):
                own = [each for each in said if each.kind == kind]
                if not own:
                    continue
                partition = Partition(day, f"{letter}{self.process}")
                head = self._heads.get(partition) or await audit.head_of(tx, partition)
                rows = [audit.row_of(vault, each, partition, head.size + place, tx.now_text) for place, each in enumerate(own, 1)]
                made[partition] = await audit.append(tx, partition, head, rows)
        self._heads = {partition: head for partition, head in self._heads.items() if partition.day == day} | made


def _settle(batch: Sequence[Waiting], error: Exception | None) -> None:
    for _, done in batch:
        if done.done():
            continue
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error if isinstance(error, StoreError) else StoreError("the audit trail failed", code="store-error"))


def _refusal(key: tuple[str, str, str], count: int) -> Said:
    door, cause, network = key
    return Said(kind="refusal", actor=f"door/{door}", act="credential.refuse", target=network, shape=cause, row_count=count)

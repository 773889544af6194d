"""The parts of a partner's batch: those that came now, and those that were kept here before.

One at a time is read: together they may be more than memory holds. What is read again need not be what was read before, neither on a line
nor in the store: each time a part is held against its manifest. This story must not judge what a part says.
"""

import asyncio
from collections.abc import Iterator, Mapping

from gateway.core.exchange.batch_lines import check_part
from gateway.core.exchange.manifests import PartEntry
from gateway.core.exchange.wire import Suite
from gateway.store import inbox
from gateway.store.inbox import InBatch
from gateway.store.store import Source


class PartsAtHand:
    """Parts by name; nothing is read until it is asked for."""

    def __init__(self, came: Mapping[str, bytes], batch: InBatch | None = None, kept: frozenset[str] = frozenset()) -> None:
        self.came = came
        """What came now, and is not kept yet."""
        self._batch = batch
        self._kept = kept

    @classmethod
    async def with_kept(cls, source: Source, came: Mapping[str, bytes], batch: InBatch) -> "PartsAtHand":
        """With what is kept of a batch."""
        return cls(came, batch, await inbox.in_part_names(source, batch))

    def __iter__(self) -> Iterator[str]:
        return iter({**dict.fromkeys(self.came), **dict.fromkeys(self._kept)})

    async def read(self, source: Source, entry: PartEntry, suite: Suite) -> bytes:
        """The bytes of one of them, as the manifest says.

        Raises ExchangeError SIG_PART_DIGEST.
        """
        if entry.name in self.came or self._batch is None:
            data = self.came[entry.name]
        else:
            data = await inbox.in_part(source, self._batch, entry.name)
        await asyncio.to_thread(check_part, entry, data, suite)
        return data

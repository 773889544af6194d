"""The parts of a partner's batch: those that came now, and those that were kept here before.

One at a time is read: together they may be more than memory holds. This story must not judge a part.
"""

from collections.abc import Iterator, Mapping

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

    async def read(self, source: Source, name: str) -> bytes:
        """The bytes of one of them."""
        if name in self.came or self._batch is None:
            return self.came[name]
        return await inbox.in_part(source, self._batch, name)

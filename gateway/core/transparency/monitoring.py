"""What a monitor finds: a log read whole, and what is public held against it (exchange.md §15).

Rules: every leaf is hashed from its entry, every tile of every level made anew, the root from them; nothing is taken over from what the
log says of itself. Then both ways: each public record's latest entry bears its commitment, and each record whose latest entry shows it
is public. A difference names the record. This room must not fetch anything.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

from msgspec import Struct

from gateway.core.errors import ExchangeError
from gateway.core.exchange.merkle import CompactRange, leaf_hash
from gateway.core.exchange.wire import unb64
from gateway.core.transparency.entries import Entry, Place, read_entry
from gateway.core.transparency.tiles import HASH, WIDTH, TileName, root_of_tile

Kind = Literal["unlogged", "changed", "missing"]


class Difference(Struct, frozen=True, kw_only=True, order=True):
    """A record of which log and public answer say different things."""

    rid: str
    kind: Kind
    """`unlogged`: public, and not shown by the log; `changed`: another commitment; `missing`: shown by the log, and not public."""


class Reading:
    """A log as it is read entry by entry: latest entry of every record, and the tiles that follow."""

    def __init__(self) -> None:
        self.latest: dict[str, tuple[Place, Entry]] = {}
        self.lately: dict[str, frozenset[str | None]] = {}
        """What else each record bore at the second of its latest entry: whoever looked in that second may have seen it."""
        self.tree = CompactRange()
        self._rows: list[bytearray] = [bytearray()]
        self._ready: list[tuple[TileName, bytes]] = []

    def take(self, year: int, bodies: Iterable[bytes]) -> None:
        """The next entries of a year's log.

        Raises ExchangeError SCHEMA_LINE for what is no entry, SEQ_PREVIOUS when it does not name the record's entry before.
        """
        for body in bodies:
            entry = read_entry(body)
            before = self.latest.get(entry.rid)
            place = Place(year, self.tree.size)
            if entry.prev != (None if before is None else str(before[0])) or entry.v != (1 if before is None else before[1].v + 1):
                raise ExchangeError("an entry does not follow the one before it", code="SEQ_PREVIOUS", place=str(place))
            if before is not None:
                also = self.lately.get(entry.rid, frozenset()) if before[1].at == entry.at else frozenset()
                self.lately[entry.rid] = also | {before[1].c}
            self.latest[entry.rid] = place, entry
            leaf = leaf_hash(body)
            self.tree.append(leaf)
            self._add(0, leaf)

    def _add(self, level: int, node: bytes) -> None:
        if level == len(self._rows):
            self._rows.append(bytearray())
        row = self._rows[level]
        row += node
        if len(row) == WIDTH * HASH:
            number = (self.tree.size >> 8 * (level + 1)) - 1
            self._ready.append((TileName(level, number), bytes(row)))
            above = root_of_tile(bytes(row))
            row.clear()
            self._add(level + 1, above)

    def tiles(self) -> Iterator[tuple[TileName, bytes]]:
        """The full tiles that came about since the last time, each with its bytes."""
        ready, self._ready = self._ready, []
        return iter(ready)

    def partial(self) -> Iterator[tuple[TileName, bytes]]:
        """The tiles at the right edge."""
        for level, row in enumerate(self._rows):
            if row:
                yield TileName(level, self.tree.size >> 8 * (level + 1), len(row) // HASH), bytes(row)

    def new_year(self) -> None:
        """The next log begins; records keep their latest entries."""
        self.tree = CompactRange()
        self._rows = [bytearray()]
        self._ready = []


def differences(latest: Mapping[str, tuple[Place, Entry]], public: Mapping[str, bytes]) -> list[Difference]:
    """Where log and public answer part: `public` has the commitment of every public listing."""
    found: list[Difference] = []
    for rid, commitment in public.items():
        entry = latest[rid][1] if rid in latest else None
        if entry is None or not entry.shown or entry.c is None:
            found.append(Difference(rid=rid, kind="unlogged"))
        elif unb64(entry.c, "SCHEMA_LINE") != commitment:
            found.append(Difference(rid=rid, kind="changed"))
    found += [Difference(rid=rid, kind="missing") for rid, (_, entry) in latest.items() if entry.shown and rid not in public]
    return sorted(found)

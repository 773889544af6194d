"""What a monitor finds: a log read whole, and what is public held against it (exchange.md §15).

Rules: every leaf is hashed from its entry, every tile of every level made anew, the root from them; nothing is taken over from what the
log says of itself. What was read once is kept as the right edge of its tree and the latest entry of every record, and read on from there: a
log that is another at any place before leads to another root. No log that was read once may be missing afterwards, and one that is read
from its beginning again must pass through the root that it had. Then both ways: each public record's latest entry bears its commitment, and
each record whose latest entry shows it is public. A difference names the record. This room must not fetch anything.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from gateway.core.errors import ExchangeError
from gateway.core.exchange.merkle import CompactRange, leaf_hash
from gateway.core.exchange.wire import SHA256, unb64
from gateway.core.transparency.entries import Entry, Place, read_entry
from gateway.core.transparency.tiles import HASH, WIDTH, TileName, root_of_tile

Kind = Literal["unlogged", "changed", "missing"]


class Difference(Struct, frozen=True, kw_only=True, order=True):
    """A record of which log and public answer say different things."""

    rid: str
    kind: Kind
    """`unlogged`: public, and not shown by the log; `changed`: another commitment; `missing`: shown by the log, and not public."""


WHOLE_EVERY: Final = timedelta(days=1)
"""After so long a monitor that goes on from where it was reads the log from its beginning again: entries that were changed behind it."""


class Kept(Struct, frozen=True, kw_only=True):
    """How far a log was read and verified, to go on from there."""

    whole_at: Annotated[datetime, Meta(tz=True)]
    """When it was read from its beginning last."""
    years: dict[int, tuple[int, bytes]]
    """Of logs that are over: size and root."""
    year: int
    size: int
    tree: bytes
    rows: tuple[bytes, ...]
    """The hashes at the right edge, by level."""
    latest: dict[str, tuple[Place, Entry]]
    lately: dict[str, tuple[str | None, ...]]


class Reading:
    """A log as it is read entry by entry: latest entry of every record, and the tiles that follow."""

    def __init__(self, before: Mapping[int, tuple[int, bytes]] | None = None) -> None:
        self._before = dict(before or {})
        """Sizes and roots of all logs as an earlier reading left them: this one must come by there."""
        self._passed: dict[int, bytes] = {}
        """The roots that were met at those sizes."""
        self._goal = 0
        self.year = 0
        self.years: dict[int, tuple[int, bytes]] = {}
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
            place = Place(year, self.tree.size)
            try:
                entry = read_entry(body)
            except ExchangeError as error:
                raise ExchangeError(error.detail, code=error.code, place=str(place)) from error
            before = self.latest.get(entry.rid)
            if entry.prev != (None if before is None else str(before[0])) or entry.v != (1 if before is None else before[1].v + 1):
                raise ExchangeError("an entry does not follow the one before it", code="SEQ_PREVIOUS", place=str(place))
            if before is not None:
                also = self.lately.get(entry.rid, frozenset()) if before[1].at == entry.at else frozenset()
                self.lately[entry.rid] = also | {before[1].c}
            self.latest[entry.rid] = place, entry
            leaf = leaf_hash(body)
            self.tree.append(leaf)
            self._add(0, leaf)
            if self.tree.size == self._goal:
                self._passed[year] = self.tree.root()

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

    def begin(self, year: int, size: int) -> int | None:
        """Turn to a year's log that has this size now: from which entry on it is still to be read; None: it is over, and was read.

        Records keep their latest entries from one log to the next. Raises ExchangeError SEQ_FORK when it has another size than it may have
        after what was read.
        """
        if year in self.years:
            if self.years[year][0] != size:
                raise ExchangeError("a log that was over is longer or shorter than it was", code="SEQ_FORK", place=str(year))
            return None
        if year != self.year:
            if self.year:
                self.years[self.year] = self.tree.size, self.tree.root()
            self.year, self.tree, self._rows, self._ready = year, CompactRange(), [bytearray()], []
            self._goal = self._before.get(year, (0, b""))[0]
        if size < self.tree.size:
            raise ExchangeError("the log is shorter than it was", code="SEQ_FORK", place=str(year))
        return self.tree.size

    def known(self) -> dict[int, tuple[int, bytes]]:
        """Size and root of every log that was read."""
        return self.years | ({self.year: (self.tree.size, self.tree.root())} if self.year else {})

    def complete(self, years: Iterable[int]) -> None:
        """These are all logs that there are.

        Raises ExchangeError SEQ_FORK when one is missing that was read before, or does not go on from what it was then.
        """
        gone = sorted({*self.known(), *self._before} - set(years))
        if gone:
            raise ExchangeError("a log that was read before is gone", code="SEQ_FORK", place=str(gone[0]))
        for year, (size, root) in self._before.items():
            if size and self._passed.get(year) != root:
                raise ExchangeError("the log does not go on from what it was", code="SEQ_FORK", place=str(year))
        self._before = {}

    def same(self, bodies: Sequence[bytes]) -> bool:
        """Whether these are the last entries that were read, as far as they stand in one bundle with the next."""
        leaves = b"".join(leaf_hash(body) for body in bodies)
        return bytes(self._rows[0]) == leaves

    def leads_to(self, year: int, size: int, root: bytes) -> bool:
        """Whether what was read of a year's log has this size and root."""
        return self.years.get(year, (self.tree.size, self.tree.root())) == (size, root)

    def kept(self, whole_at: datetime) -> Kept:
        """What is to be kept of it."""
        return Kept(
            whole_at=whole_at,
            years=dict(self.years),
            year=self.year,
            size=self.tree.size,
            tree=self.tree.dump(),
            rows=tuple(bytes(row) for row in self._rows),
            latest=self.latest,
            lately={rid: tuple(sorted(said, key=str)) for rid, said in self.lately.items() if said},
        )

    @classmethod
    def of(cls, kept: Kept) -> "Reading":
        """Go on from what was kept.

        Raises ExchangeError SEQ_ROOT when it is not of one piece.
        """
        reading = cls()
        reading.year, reading.years = kept.year, dict(kept.years)
        reading.tree = CompactRange.load(SHA256, kept.size, kept.tree)
        reading._rows = [bytearray(row) for row in kept.rows] or [bytearray()]
        if any(len(row) // HASH != (kept.size >> 8 * level) % WIDTH for level, row in enumerate(reading._rows)):
            raise ExchangeError("what was kept of a log is not of one piece", code="SEQ_ROOT", place=str(kept.year))
        reading.latest = dict(kept.latest)
        reading.lately = {rid: frozenset(said) for rid, said in kept.lately.items()}
        return reading


class Memory:
    """What a monitor remembers from one run to the next. A run that fails leaves nothing to go on from: the next one reads all.

    Sizes and roots of what was verified last stay even then: whoever reads all must come by there.
    """

    def __init__(self, kept: Kept | None = None) -> None:
        self._reading = Reading.of(kept) if kept is not None else None
        self._known = self._reading.known() if self._reading is not None else {}
        self._whole_at = kept.whole_at if kept is not None else None

    def begin(self, now: datetime, *, whole: bool = False) -> tuple[Reading, bool]:
        """A reading to go on with, or a new one: when asked for, when there is none, and now and then; whether it is new."""
        reading, self._reading = self._reading, None
        if reading is None or whole or self._whole_at is None or not timedelta(0) <= now - self._whole_at < WHOLE_EVERY:
            self._whole_at = now
            return Reading(self._known), True
        return reading, False

    def keep(self, reading: Reading) -> None:
        """It was verified."""
        self._reading, self._known = reading, reading.known()

    @property
    def kept(self) -> Kept | None:
        """What to write down for another process."""
        return None if self._reading is None or self._whole_at is None else self._reading.kept(self._whole_at)


class State(Struct, frozen=True, kw_only=True):
    """What a monitor writes down: signed heads by origin, how far it has read, and of whose log under which policy."""

    heads: dict[str, str]
    reading: Kept | None = None
    party: str = ""
    policy: tuple[str, ...] | None = None
    """The lines that were believed; none for a log that was read out of its own store. None: as it once was written."""

    def of(self, party: str, policy: Iterable[str]) -> "State":
        """The same of this party's log under a policy: it may name further keys of logs, as every year does, and nothing else new.

        Raises ExchangeError SIG_CONTEXT for the state of another log or policy.
        """
        parties = {origin.partition("/")[0] for origin in self.heads} | ({self.party} if self.party else set())
        if parties - {party}:
            raise ExchangeError("the state is of another log", code="SIG_CONTEXT", place="state")
        lines = tuple(policy)
        if self.policy is not None and (
            set(self.policy) - set(lines) or any(not line.startswith("log ") for line in set(lines) - set(self.policy))
        ):
            raise ExchangeError(
                "the state was written under another policy",
                code="SIG_CONTEXT",
                place="state",
                hint="when the new policy is known to be good, begin a new state",
            )
        return msgspec.structs.replace(self, party=party, policy=lines)


_heads = msgspec.json.Decoder(dict[str, str]).decode
_state = msgspec.json.Decoder(State).decode
_encode = msgspec.json.Encoder().encode


def read_state(body: bytes) -> State:
    """What a monitor wrote down; heads alone, as they once were written, are a state too.

    Raises ExchangeError SCHEMA_JSON.
    """
    try:
        return State(heads=_heads(body))
    except msgspec.MsgspecError:
        pass
    try:
        return _state(body)
    except (msgspec.MsgspecError, ValueError) as error:
        raise ExchangeError("this is nothing that a monitor has written", code="SCHEMA_JSON", place="state") from error


def state_bytes(state: State) -> bytes:
    """What a monitor writes down."""
    return _encode(state)


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

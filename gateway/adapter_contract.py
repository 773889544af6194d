"""THE contract between the gateway and its guests (exchange.md §17). Imports nothing of ours.

Order is always *encode, digest, sign, deliver* and *verify, digest, admit, decode*: a guest's format cannot influence what
is trusted. The core owns keys, signatures, admission, state, cursors, retry, deadlines, size bounds, quarantine and audit;
an adapter holds only its own line's settings.

An adapter MUST NOT repair, reorder or skip what it reads, retry, sleep, follow redirects, cache keys or log values.
Fields are added only with defaults; a removal is version 2.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import Annotated, ClassVar, Literal, Protocol

from msgspec import Meta, Struct

__all__ = [
    "CAPABILITY_METHODS",
    "CONTRACT_VERSION",
    "PARTNER_METHODS",
    "SOURCE_METHODS",
    "AdapterError",
    "Counts",
    "Diagnostic",
    "IncomingBatch",
    "Instant",
    "LateReply",
    "Page",
    "Part",
    "PartnerAdapter",
    "Row",
    "RowResult",
    "SealedBatch",
    "Secret",
    "SourceAdapter",
    "SourceRecord",
    "Tools",
    "Value",
    "broken_promises",
]

CONTRACT_VERSION = 1

Value = str | int | bool | None
"""Dates, decimals and enumerations are strings, as read: never repaired, never coerced."""

Instant = Annotated[datetime, Meta(tz=True)]


class AdapterError(Exception):
    """The only exception that may leave an adapter.

    `transient`: the core may try again. `place`: file, sheet, row, column. `outcome_unknown`: sent, but nobody knows
    whether it took effect; the stream stops until a person reconciles. The message never contains a value.
    """

    def __init__(self, code: str, message: str, *, transient: bool, place: str | None = None, outcome_unknown: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.transient = transient
        self.place = place
        self.outcome_unknown = outcome_unknown


class Secret:
    """A setting that has no repr and is in no encoder's list; `reveal()` at the one place that needs it.

    In a settings file it is `{ file = "/run/secrets/token" }` or `{ env = "TOKEN" }`, never the value itself.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The value; for the line to the partner only."""
        return self._value

    def __repr__(self) -> str:
        return "<Secret>"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a Secret is neither pickled nor copied")


class SourceRecord(Struct, frozen=True, kw_only=True):
    """One statement as the source made it: wire names and values as read."""

    dataset: str
    record_id: str | None
    """The source's own stable id; None: intake derives one from the business key, keyed."""
    op: Literal["upsert", "withdraw", "erase"] = "upsert"
    version: int | None = None
    reason: str | None = None
    """Of exchange.md §9, for withdraw."""
    as_of: Instant
    fields: dict[str, Value]
    place: str
    """Where it stood, for example `penalties.xlsx!Sheet1!R17`."""


class RowResult(Struct, frozen=True, kw_only=True):
    """What became of one row."""

    place: str
    """Where it stood. Of a row that we sent and that bears no `record_id`: its number in its part, from 1, is the last number in it."""
    record_id: str | None
    result: Literal["accepted", "unchanged", "warned", "held", "rejected", "withdrawn"]
    code: str | None = None
    field: str | None = None
    message: str | None = None
    partner_id: str | None = None
    at: Instant | None = None
    version: int | None = None
    """Of the record, where the partner names it; else its version that was sent last is meant."""


class Page(Struct, frozen=True, kw_only=True):
    """Rows in cursor order; an unreadable row is reported, not raised."""

    records: tuple[SourceRecord, ...]
    unreadable: tuple[RowResult, ...] = ()
    cursor: str
    more: bool


class Row(Struct, frozen=True, kw_only=True):
    """One record as the agreement's view shows it, for a partner's own format."""

    rid: str
    v: int
    op: str
    dataset: str
    reason: str | None
    at: Instant
    fields: dict[str, Value]
    sent: dict[str, Value] | None = None
    """What this partner last got, for withdrawals by business key."""


class Part(Struct, frozen=True, kw_only=True):
    """One file of a batch; `read` yields its bytes, any number of times."""

    name: str
    size: int
    digest: str
    read: Callable[[], Iterator[bytes]]


class SealedBatch(Struct, frozen=True, kw_only=True):
    """A signed batch, ready to be carried; nothing in it may be changed."""

    batch: str
    manifest: bytes
    manifest_note: bytes
    checkpoint: bytes
    parts: tuple[Part, ...]
    numbers: dict[str, int] = {}
    """Series → the number of this batch's file in it, from 1 each day of UTC+8 (capability `numbers`)."""


class IncomingBatch(SealedBatch, frozen=True, kw_only=True):
    """A batch as found on the line, before anything of it is believed."""

    cursor: str


class LateReply(Struct, frozen=True, kw_only=True):
    """What a partner has written back some time after a delivery, as it stood: `read_reply` reads it."""

    cursor: str
    """Of this reply; the next call of `feedback` begins behind it."""
    data: bytes
    batch: str | None = None
    """Batch id that it is about, where the line knows it; else its rows name records."""


class Counts(Struct, frozen=True, kw_only=True):
    """What one side has for one dataset and day (of UTC+8, by the manifest's `created`), for reconciliation."""

    dataset: str
    day: date
    rows: int
    digest: str | None = None
    side: Literal["recv", "sent"] = "recv"
    """`sent`: what the line itself holds of what we have sent, for comparing digests."""


class Diagnostic(Struct, frozen=True, kw_only=True):
    """One finding of `check`, in plain Chinese, with what to do."""

    what: str
    ok: bool
    message: str
    remedy: str | None = None


class Tools(Protocol):
    """Lent by the core; no key is handed out."""

    def sign_request(self, method: str, url: str, content_type: str | None, body: bytes | None) -> Mapping[str, str]:
        """Headers of exchange.md §10 for this partner's base URL only."""
        ...

    def seal_file(self, name: str, data: bytes) -> bytes:
        """Transport encryption of the line."""
        ...

    def open_file(self, name: str, data: bytes) -> bytes:
        """Undo `seal_file`."""
        ...


class SourceAdapter(Protocol):
    """Reads an agency's system. Built as `Adapter(config, tools)`."""

    contract_version: ClassVar[int]
    capabilities: ClassVar[frozenset[str]]
    """Of: resume withdrawals report counts snapshot."""
    Config: ClassVar[type[Struct]]

    def pull(self, since: str | None) -> AsyncIterator[Page]:
        """Pages after a cursor, in cursor order; the same cursor gives the same page again."""
        ...

    async def report(self, cursor: str, results: Sequence[RowResult]) -> None:
        """Give the source what became of its rows."""
        ...

    async def counts(self, day: date) -> Sequence[Counts]:
        """Rows of a day, for reconciliation."""
        ...

    async def check(self) -> Sequence[Diagnostic]:
        """What is wrong with this line and what to do; never raises."""
        ...

    async def close(self) -> None:
        """Let go of everything; twice is harmless."""
        ...


class PartnerAdapter(Protocol):
    """Carries batches to and from a partner. Built as `Adapter(config, tools)`.

    Of what the agreement says its settings are given what they have a name for: `base_url` and `allow_private` of the partner, `ours` and
    `partner` (the parties), `incoming` (the partner's streams). What the operator has written wins.
    """

    contract_version: ClassVar[int]
    capabilities: ClassVar[frozenset[str]]
    """Of: native encode decode deliver collect ask reply counts withdrawals idempotent keys resync acknowledge feedback numbers
    apart receipts look clear publish later tell hear kept.

    What a line has by its settings alone stands in an attribute of the adapter itself, which wins over the class's.

    `keys` promises one more method, `async def keys(self, held: str | None) -> bytes`: the partner's signed keys document as it
    came, or nothing when it is still the one whose body has the digest `held`; AdapterError NOT_FOUND on a line where none lies.
    `resync` promises `async def resync(self, stream: str, reason: str) -> None`: asks the partner for a new epoch of a stream of its own.
    `acknowledge` promises `async def acknowledge(self, stream: str, no: int, receipt: bytes, feedback: bytes) -> None`: brings it a
    receipt for a batch that was collected, the feedback first.
    `kept` promises `async def kept(self, stream: str, no: int | None, near: int) -> bytes | None`: the receipt of a number that we once
    gave for a stream of the partner, as it keeps it or as it lies on the line; None for `no`: the last one; the answer is None where there
    is none. `near` is the last number that we know of.
    `later` promises `async def later(self, question: str) -> bytes`: the answer to a question that was `not_available_until`, as received.
    `tell` promises `async def tell(self, document: bytes) -> bytes`: brings the partner a signed agreement, notice or inventory.
    `hear` promises `async def hear(self, held: Mapping[str, str]) -> Sequence[bytes]`: the signed agreements, notices and inventories that
    the partner keeps for us where it says another state than `held`: `id/version` → the state that we know.
    `feedback` promises `def feedback(self, after: str | None) -> AsyncIterator[LateReply]`: what the partner has written back about rows
    since a cursor, in order; each is kept as it stood and given to `read_reply`.

    `numbers` promises `def numbers(self, part: bytes) -> Sequence[str]`: the series in which the files of a part are numbered; the core
    takes the next number of the day (of the manifest's `created`, UTC+8) in each, 999 at most, in the transaction that writes the batch.

    A line on which things lie until they are looked for (`deliver` gives None) has these; `poll_s`, an attribute, says how many seconds
    the core waits between two looks. Stream, epoch and seq come out of the core's ledger.
    `apart` promises that `collect(after, stream)` looks at one stream alone, with a cursor of its own: what is wrong with it delays no
    other.
    `receipts` promises `def receipts(self, stream: str, after: int) -> AsyncIterator[tuple[int, bytes, bytes]]`: what the partner has left
    for a stream of ours after a number, in order, each as `acknowledge` carries it: number, receipt, feedback.
    `look` promises `async def look(self, stream: str, epoch: int, seq: int, sender: str) -> tuple[bytes, bytes, bytes] | None`: manifest,
    note and checkpoint as they lie now under a number of either party, that was collected or delivered before.
    `clear` promises `async def clear(self, stream: str, epoch: int, seq: int) -> None`: takes a batch of ours off the line.
    `publish` promises `async def publish(self, name: str, document: bytes) -> None` and `async def published(self, name: str) -> bytes |
    None`: signed documents that lie open, `keys/<party>` and `agreements/<id>-<version>`.
    """
    Config: ClassVar[type[Struct]]

    def encode(self, rows: Sequence[Row]) -> bytes:
        """One part in the partner's format; refuses what the format cannot carry."""
        ...

    def decode(self, part: bytes) -> Sequence[SourceRecord]:
        """The records of one part."""
        ...

    async def deliver(self, sealed: SealedBatch) -> bytes | None:
        """Carry the batch; receipt or reply bytes, None if the line returns none. Twice has one effect if `idempotent`."""
        ...

    def read_reply(self, reply: bytes) -> Sequence[RowResult]:
        """What the partner's own reply says of each row."""
        ...

    def collect(self, after: str | None) -> AsyncIterator[IncomingBatch]:
        """Batches on the line after a cursor."""
        ...

    async def ask(self, question: bytes, deadline: Instant) -> bytes:
        """Carry a signed question; the answer's bytes as received."""
        ...

    async def counts(self, day: date) -> Sequence[Counts]:
        """Rows of a day, for reconciliation."""
        ...

    async def check(self) -> Sequence[Diagnostic]:
        """What is wrong with this line and what to do; never raises."""
        ...

    async def close(self) -> None:
        """Let go of everything; twice is harmless."""
        ...


SOURCE_METHODS = ("pull", "report", "counts", "check", "close")
PARTNER_METHODS = ("encode", "decode", "deliver", "read_reply", "collect", "ask", "counts", "check", "close")
"""What an adapter of each kind has; a method without its capability is never called."""
CAPABILITY_METHODS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("resume", "withdrawals", "snapshot", "native", "idempotent", "apart"), ()),
    **{name: (name,) for name in ("report", "counts", "encode", "decode", "deliver", "collect", "ask")},
    "reply": ("read_reply",),
    **{name: (name,) for name in ("keys", "resync", "acknowledge", "feedback", "numbers", "receipts", "look", "clear", "later")},
    **{name: (name,) for name in ("tell", "hear", "kept")},
    "publish": ("publish", "published"),
}
"""Every capability, with the methods that it promises."""


def broken_promises(adapter: object) -> list[str]:
    """Capabilities that the contract does not know or whose method is missing; of an adapter or its class."""
    broken = []
    for capability in sorted(getattr(adapter, "capabilities", ())):
        methods = CAPABILITY_METHODS.get(capability)
        if methods is None:
            broken.append(capability)
        else:
            broken += [f"{capability} ({method})" for method in methods if not callable(getattr(adapter, method, None))]
    return broken

"""The shapes of what proves something: receipts of answers, ranges and the normaliser for asking without saying whom, audit and log.

Rules: those of `shapes`. This room must not import a story.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from gateway.web.api.shapes import Count, Instant, Sha256, Uri, Version


class IssuedReceipt(Struct, kw_only=True):
    """A signed receipt of an answer, as it is given once."""

    id: Annotated[str, Meta(pattern="^rcpt_[a-z2-7]{26}$")]
    issued_at: Instant
    answer_sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    dataset_version: Version
    policy_version: Count
    policy_plan: Sha256
    verify_uri: Uri
    qr: Uri
    note: str
    answer_salt: str | None


class QueryReceipt(Struct, kw_only=True):
    """A receipt as whoever holds its id sees it."""

    id: Annotated[str, Meta(pattern="^rcpt_[a-z2-7]{26}$")]
    issued_at: Instant
    answer_sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    dataset_version: Version
    policy_version: Count
    policy_plan: Sha256 | None
    verify_uri: Uri
    qr: Uri
    note: str
    overtaken: bool | None


class PrefixLength(Struct, kw_only=True):
    """How many digits of a digest a range look-up may name, and how many still point at nobody in a register of this size."""

    min: Count
    max: Count
    recommended: Count


class RangeBit(Struct, kw_only=True):
    """Which bit of a row stands for which list."""

    bit: Count
    list: str


class RangeGuide(Struct, kw_only=True):
    """How range look-ups are asked."""

    algorithms: list[str]
    on: list[str]
    prefix_length: PrefixLength
    register_size: Count
    normaliser: str
    lists: list[RangeBit]
    links: dict[str, Uri]
    dataset_version: Version
    policy_version: Count


class NormaliserStep(Struct, kw_only=True):
    """One step of the normaliser."""

    step: str
    text: str


class NormaliserTable(Struct, kw_only=True):
    """The one-to-one table of variant characters."""

    sha256: str
    tsv: str


class NormaliserVector(Struct, kw_only=True):
    """What comes of one input."""

    input: str
    normalised: str
    sha256: str
    sm3: str


class Normaliser(Struct, kw_only=True):
    """How names are made comparable before they are digested."""

    name: str
    encoding: str
    steps: list[NormaliserStep]
    table: NormaliserTable
    vectors: list[NormaliserVector]


class AuditCheckpoint(Struct, kw_only=True):
    """A signed head of the audit log."""

    number: Count
    at: Instant
    size: Count
    root: str
    note: str


class AuditCheckpoints(Struct, kw_only=True):
    """Signed heads of the audit log, newest first."""

    items: list[AuditCheckpoint]


class LogLinks(Struct, kw_only=True):
    """Where the log of a year is read."""

    checkpoint: Uri
    tiles: Uri
    policy: Uri


class TransparencyLogOfYear(Struct, kw_only=True):
    """The transparency log of one year."""

    year: int
    origin: str
    size: Count
    signed_at: Instant | None
    vkeys: list[str]
    witnessed: bool
    merge_delay_s: Count | None
    """Seconds within which what happens stands under a signed head; null where somebody signs by hand."""
    links: LogLinks


class TransparencyLogs(Struct, kw_only=True):
    """The transparency logs of all years."""

    items: list[TransparencyLogOfYear]
    policy_version: Count


class LogEntry(Struct, kw_only=True):
    """One entry of a transparency log."""

    year: int
    index: Count
    op: Literal["list", "amend", "hide", "unhide", "remove", "erase"]
    rid: str
    v: Count
    commitment: str | None
    at: Instant
    authority: str | None
    reason: Literal["expired", "corrected", "removed", "policy"] | None
    prev: str | None
    entry: str
    policy_version: Count


class LogProof(Struct, kw_only=True):
    """That something was entered in a transparency log, and since when and until when it was shown."""

    year: int
    index: Count
    entry: str
    proof: str
    row: str | None
    published_at: Instant
    removed_at: Instant | None
    policy_version: Count

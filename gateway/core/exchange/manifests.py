"""What a batch says of itself (exchange.md §4): its manifest, and where a stream stands after it.

A manifest is strict JSON whose names, sizes and sums fit each other; that it is true is shown by its note (`admitting.py`) and its lines
(`batch_lines.py`). This room must not know a key, a clock or a record.
"""

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from gateway.core.errors import ExchangeError
from gateway.core.exchange.agreements import OPS
from gateway.core.exchange.merkle import CompactRange
from gateway.core.exchange.wire import (
    SUITES,
    AgreementId,
    Count,
    Digest,
    InstantText,
    Number,
    PartyName,
    Root,
    StreamName,
    batch_id,
    parse_instant,
    strict_json,
    unb64,
)

FREE_OF_RATIO = 65536
"""So many bytes of a part may come out of any fewer (§6)."""

MAX_LIFETIME = timedelta(days=90)
LIFETIME = timedelta(days=30)


class OpCounts(Struct, frozen=True, kw_only=True, rename={"assert_": "assert"}):
    """Lines by operation."""

    assert_: Count
    amend: Count
    retract: Count
    repair: Count
    expire: Count
    erase: Count

    @classmethod
    def of(cls, counts: Mapping[str, int]) -> "OpCounts":
        """Counts by the names of the wire."""
        return cls(assert_=counts.get("assert", 0), **{op: counts.get(op, 0) for op in OPS[1:]})

    def as_dict(self) -> dict[str, int]:
        """By the names of the wire."""
        return {op: getattr(self, "assert_" if op == "assert" else op) for op in OPS}


class PartEntry(Struct, frozen=True, kw_only=True, rename={"from_": "from"}):
    """One part as the manifest names it."""

    name: Annotated[str, Meta(max_length=64)]
    bytes: Count
    bytes_raw: Count
    lines: Number
    digest: Digest
    from_: Count
    to: Count


class ManifestAgreement(Struct, frozen=True, kw_only=True):
    """Under which agreement the batch was sealed."""

    id: AgreementId
    version: Number
    digest: Digest


class Replaced(Struct, frozen=True, kw_only=True):
    """Last head of the epoch that this one replaces."""

    origin: str
    size: Count
    root: Root


class RangeEntry(Struct, frozen=True, kw_only=True, rename={"from_": "from"}):
    """Entries [from, to) of the stream."""

    from_: Count
    to: Count


class TreeEntry(Struct, frozen=True, kw_only=True):
    """Head of the stream after the batch."""

    size: Count
    root: Root


class Manifest(Struct, frozen=True, kw_only=True, rename={"type_": "type", "schema_": "schema"}):
    """The signed list of parts; members unknown to us are ignored."""

    type_: Literal["chengxin-exchange/manifest/1"] = "chengxin-exchange/manifest/1"
    stream: StreamName
    epoch: Number
    seq: Number
    sender: PartyName
    receiver: PartyName
    agreement: ManifestAgreement
    previous: Digest | None
    replaces: Replaced | None
    suite: Annotated[str, Meta(max_length=32)]
    format: Annotated[str, Meta(max_length=32)]
    schema_: Annotated[str, Meta(max_length=96)]
    range: RangeEntry
    tree: TreeEntry
    counts: OpCounts
    parts: tuple[PartEntry, ...]
    snapshot: Literal["none", "part", "last"]
    policy_version: Count
    created: InstantText
    valid_until: InstantText
    license: Annotated[str, Meta(max_length=508)] | UnsetType = UNSET
    """Address of the licence of its records, where the sender's plans name one."""
    policy_plan: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")] | UnsetType = UNSET
    """Hash of the sender's plans of the dataset under which it was sealed; absent where there were none, and of batches of before."""

    @property
    def id(self) -> str:
        """The batch id."""
        return batch_id(self.sender, self.stream, self.epoch, self.seq)

    @property
    def lines(self) -> int:
        """How many entries it appends."""
        return self.range.to - self.range.from_

    @property
    def created_at(self) -> datetime:
        """When it was sealed, by the sender's clock."""
        return parse_instant(self.created, "SCHEMA_MANIFEST")

    @property
    def only_withdrawals(self) -> bool:
        """Nothing is newly said or replaced: such a batch also travels while an agreement is suspended."""
        return self.counts.assert_ == 0 and self.counts.amend == 0


class Head(Struct, frozen=True, kw_only=True):
    """Where a stream stands: last batch, tree, and the manifest that the next one names as previous."""

    stream: str
    epoch: int
    seq: int
    tree: CompactRange
    manifest_digest: str | None


_MANIFEST = msgspec.json.Decoder(Manifest)


def read_manifest(body: bytes) -> Manifest:
    """Step 3 but for the addressee: strict JSON, types, names and sums.

    Raises ExchangeError SCHEMA_JSON or SCHEMA_MANIFEST.
    """
    strict_json(body)
    try:
        manifest = _MANIFEST.decode(body)
    except msgspec.ValidationError as error:
        raise ExchangeError(f"no manifest: {error}", code="SCHEMA_MANIFEST") from error
    fault = _manifest_fault(manifest)
    if fault:
        raise ExchangeError(fault, code="SCHEMA_MANIFEST")
    return manifest


_PART_NAME = re.compile(r"(?P<epoch>[1-9][0-9]*)-(?P<seq>[1-9][0-9]*)-(?P<number>[0-9]{3})\.(?P<kind>ndjson|bin)(?:\.gz)?\Z")


def _manifest_fault(manifest: Manifest) -> str | None:
    created, until = manifest.created_at, parse_instant(manifest.valid_until, "SCHEMA_MANIFEST")
    unb64(manifest.tree.root, "SCHEMA_MANIFEST")
    if not created <= until <= created + MAX_LIFETIME:
        return "valid_until lies before created, or more than 90 days after it"
    if manifest.range.to < manifest.range.from_ or manifest.tree.size != manifest.range.to:
        return "the range does not end at the size of the tree"
    if (manifest.previous is None) != (manifest.seq == 1):
        return "previous is null in the first batch of an epoch and nowhere else"
    if manifest.replaces is not None and (manifest.seq != 1 or manifest.epoch == 1):
        return "replaces stands in the first batch of a later epoch only"
    if manifest.format == "lines/1" and sum(manifest.counts.as_dict().values()) != manifest.lines:
        return "the counts do not add up to the range"
    at = manifest.range.from_
    digest_name = SUITES[manifest.suite].digest_name if manifest.suite in SUITES else None
    for number, part in enumerate(manifest.parts):
        match = _PART_NAME.match(part.name)
        if match is None or (int(match["epoch"]), int(match["seq"]), int(match["number"])) != (manifest.epoch, manifest.seq, number):
            return "a part has another name than epoch-seq-number"
        if match["kind"] != ("bin" if manifest.format == "part/1" else "ndjson"):
            return "a part has a name of another format"
        if part.from_ != at or part.to <= part.from_ or (manifest.format == "lines/1" and part.lines != part.to - part.from_):
            return "the parts do not cover the range in order"
        if not part.name.endswith(".gz") and part.bytes != part.bytes_raw:
            return "a part without compression has two sizes"
        if digest_name is not None and not part.digest.startswith(digest_name + ":"):
            return "a digest of another suite"
        unb64(part.digest.partition(":")[2], "SCHEMA_MANIFEST")
        at = part.to
    return "the parts do not cover the range" if at != manifest.range.to else None

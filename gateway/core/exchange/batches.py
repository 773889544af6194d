"""Seal and admit batches of record lines (exchange.md §4–7).

A batch is admitted only if, in this order: it is small enough; its manifest note verifies with pinned keys of the sender; it is
addressed to us; an agreement in force covers its stream and direction; its time is right; it is the next of its stream and names the
manifest we hold as previous; its checkpoint verifies and says the same; each part has the size and digest the manifest says and there is
no other; its lines hash to the root. Only then is a record looked at (`records.py`). Until then nothing of it is believed, and a failure
fails the batch as a whole.

Sealing is the reverse: lines, leaves, root, parts, manifest, notes; everything that is digested is encoded once and those bytes are kept.
This room must not look into a record, read a clock or keep anything.
"""

import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from gateway.core.errors import ExchangeError
from gateway.core.exchange import notes
from gateway.core.exchange.agreements import OPS, Agreement, Held, Limits, StreamRules, schema_of
from gateway.core.exchange.merkle import CompactRange, Subtree, leaf_hash
from gateway.core.exchange.notes import Checkpoint, KeyRing, SignedDocument, read_checkpoint
from gateway.core.exchange.records import Line, SealedLine, read_line
from gateway.core.exchange.wire import (
    SHA256,
    SUITES,
    AgreementId,
    Count,
    Digest,
    InstantText,
    Number,
    PartyName,
    Root,
    StreamName,
    Suite,
    b64,
    batch_id,
    digest_text,
    encode,
    instant,
    origin,
    parse_instant,
    strict_json,
    unb64,
)
from gateway.core.signing import Algorithm, Signer

try:  # what is written here is compressed in a sixth of zlib's time; what others have written is read by zlib alone
    from isal import isal_zlib as deflate
except ImportError:  # no build for this machine
    import zlib as deflate  # type: ignore[no-redef]  # the same call, the same format

MAX_LINE = 128 * 1024
FREE_OF_RATIO = 65536
"""So many bytes of a part may come out of any fewer (§6)."""
MAX_LIFETIME = timedelta(days=90)
LIFETIME = timedelta(days=30)

KEPT_BYTES = 32 * 2**20
"""So much of a batch's lines at most is kept for who reads them next."""

GZIP = 31
"""zlib's `wbits` of a gzip member: its header has no moment and no name."""

LINES_A_PART = 4000
BYTES_A_PART = 6 * 2**20
"""How we cut our own parts: small enough to be held in memory, to be sent inline, and to be asked for again."""


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


# --- sealing ----------------------------------------------------------------------------------------------------------


class Head(Struct, frozen=True, kw_only=True):
    """Where a stream stands: last batch, tree, and the manifest that the next one names as previous."""

    stream: str
    epoch: int
    seq: int
    tree: CompactRange
    manifest_digest: str | None


class SealedPart(Struct, frozen=True, kw_only=True):
    """One part's name and bytes."""

    name: str
    data: bytes
    entry: PartEntry


class Sealed(Struct, frozen=True, kw_only=True):
    """A sealed batch: everything that will be committed before a byte leaves."""

    manifest: Manifest
    document: SignedDocument
    digest: str
    checkpoint: str
    parts: tuple[SealedPart, ...]
    leaves: tuple[bytes, ...]
    subtrees: tuple[Subtree, ...]
    """Those that the batch has completed."""
    head: Head


class _Cut(Struct, frozen=True, kw_only=True):
    """What goes into one part."""

    name: str
    lines: Sequence[SealedLine]
    start: int
    suite: Suite
    limits: Limits
    compress: bool


def seal(
    head: Head,
    lines: Sequence[SealedLine],
    rules: StreamRules,
    signers: Sequence[Signer],
    *,
    policy_version: int,
    created: datetime,
    snapshot: Literal["none", "part", "last"] = "none",
    replaces: Replaced | None = None,
    licence: str | None = None,
    compress: bool = True,
    lines_a_part: int = LINES_A_PART,
    each: Callable[[Callable[[_Cut], SealedPart], Iterable[_Cut]], Iterable[SealedPart]] = map,
) -> Sealed:
    """The next batch of the stream; no lines make a heartbeat. `each` may compress several parts at once.

    Raises ExchangeError SIZE_LINES when there are more lines than the agreement allows in a batch: `fitting` says how many.
    """
    agreement, terms = rules.agreement, rules.terms
    limits = agreement.terms.limits
    if len(lines) > fitting(lines, limits, lines_a_part):
        raise ExchangeError("more lines than a batch may have", code="SIZE_LINES", place=rules.stream)
    suite = SUITES[terms.wire.suite]
    seq, start = head.seq + 1, head.tree.size
    tree = head.tree.copy()
    counts: dict[str, int] = dict.fromkeys(OPS, 0)
    for line in lines:
        tree.append(line.leaf)
        counts[line.op] += 1
    cuts = [
        _Cut(
            name=f"{head.epoch}-{seq}-{number:03d}.ndjson",
            lines=lines[at:end],
            start=start + at,
            suite=suite,
            limits=limits,
            compress=compress,
        )
        for number, (at, end) in enumerate(_pieces(lines, limits, lines_a_part))
    ]
    parts = tuple(each(_part, cuts))
    root = tree.root()
    manifest = Manifest(
        stream=head.stream,
        epoch=head.epoch,
        seq=seq,
        sender=terms.from_,
        receiver=terms.to,
        agreement=ManifestAgreement(id=agreement.id, version=agreement.version, digest=agreement.digest),
        previous=head.manifest_digest,
        replaces=replaces,
        suite=suite.name,
        format=terms.wire.format,
        schema_=schema_of(terms),
        range=RangeEntry(from_=start, to=tree.size),
        tree=TreeEntry(size=tree.size, root=b64(root)),
        counts=OpCounts.of(counts),
        parts=tuple(part.entry for part in parts),
        snapshot=snapshot,
        policy_version=policy_version,
        created=instant(created),
        valid_until=instant(created + LIFETIME),
        license=UNSET if licence is None else licence,
    )
    body = encode(manifest)
    checkpoint = Checkpoint(origin=origin(terms.from_, head.stream, head.epoch), size=tree.size, root=root)
    digest = digest_text(body, suite)
    return Sealed(
        manifest=manifest,
        document=notes.sign_document("manifest", manifest.id, body, signers, suite),
        digest=digest,
        checkpoint=notes.sign(checkpoint.text, signers),
        parts=parts,
        leaves=tuple(line.leaf for line in lines),
        subtrees=tuple(tree.whole),
        head=Head(stream=head.stream, epoch=head.epoch, seq=seq, tree=tree, manifest_digest=digest),
    )


def fitting(lines: Sequence[SealedLine], limits: Limits, lines_a_part: int = LINES_A_PART) -> int:
    """How many of these lines a batch may have, in so many parts of such size as agreed."""
    ends = [end for _, end in islice(_pieces(lines, limits, lines_a_part), limits.parts)]
    return min(limits.lines, ends[-1] if ends else 0)


def _pieces(lines: Sequence[SealedLine], limits: Limits, lines_a_part: int) -> Iterator[tuple[int, int]]:
    """From where to where each part goes: what fits without compression fits with it."""
    bound = min(BYTES_A_PART, limits.part_bytes, limits.part_bytes_raw)
    at = 0
    while at < len(lines):
        end, size = at, 0
        while end < len(lines) and end - at < lines_a_part and (end == at or size + len(lines[end].data) <= bound):
            size += len(lines[end].data)
            end += 1
        yield at, end
        at = end


def _part(cut: _Cut) -> SealedPart:
    raw = b"".join([line.data for line in cut.lines])
    data = deflate.compress(raw, 1, wbits=GZIP) if cut.compress else raw
    if len(data) > cut.limits.part_bytes or (len(raw) > FREE_OF_RATIO and len(raw) > len(data) * cut.limits.ratio):
        data = raw
    name = cut.name + (".gz" if data is not raw else "")
    entry = PartEntry(
        name=name,
        bytes=len(data),
        bytes_raw=len(raw),
        lines=len(cut.lines),
        digest=digest_text(data, cut.suite),
        from_=cut.start,
        to=cut.start + len(cut.lines),
    )
    return SealedPart(name=name, data=data, entry=entry)


# --- admission: the manifest ------------------------------------------------------------------------------------------

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


def check_size(manifest: Manifest, limits: Limits) -> None:
    """Step 1, as far as the manifest says it: number and sizes of parts, number of lines.

    Raises ExchangeError SIZE_PARTS, SIZE_LINES, SIZE_BYTES or SIZE_RATIO.
    """
    if len(manifest.parts) > limits.parts:
        raise ExchangeError("more parts than agreed", code="SIZE_PARTS")
    if sum(part.lines for part in manifest.parts) > limits.lines or manifest.lines > limits.lines:
        raise ExchangeError("more lines than agreed", code="SIZE_LINES")
    for part in manifest.parts:
        if part.bytes > limits.part_bytes or part.bytes_raw > limits.part_bytes_raw:
            raise ExchangeError("a part is larger than agreed", code="SIZE_BYTES", place=part.name)
        if part.bytes_raw > FREE_OF_RATIO and part.bytes_raw > part.bytes * limits.ratio:
            raise ExchangeError("a part is compressed further than agreed", code="SIZE_RATIO", place=part.name)


def required_algorithms(rules: StreamRules) -> frozenset[Algorithm]:
    """What the stream's notes must be signed with."""
    return frozenset({SUITES[rules.terms.wire.suite].algorithm, *rules.terms.wire.also_sign})


def _own_time(body: bytes) -> datetime | None:
    try:
        created = strict_json(body).get("created")
        return parse_instant(created, "SCHEMA_MANIFEST") if isinstance(created, str) else None
    except ExchangeError:
        return None


def check_note(
    document: SignedDocument,
    ring: KeyRing,
    *,
    context: str,
    required: frozenset[Algorithm],
    suite: Suite,
    first_seen: datetime,
    skew: timedelta,
) -> None:
    """Step 2: the manifest's note, with keys of the sender, about this batch and these bytes.

    Raises ExchangeError SIG_*.
    """
    notes.verify_document(
        document,
        ring,
        artefact="manifest",
        context=context,
        use="exchange",
        first_seen=first_seen,
        own_time=_own_time(document.body),
        required=required,
        suite=suite,
        skew=skew,
    )


def check_agreement(manifest: Manifest, versions: Sequence[Held], governing: Held | None, rules: StreamRules, now: datetime) -> None:
    """Step 4: an agreement in force covers this stream, direction, suite, format and schema.

    `governing` is the version that was in force at `created` (after the end: the last in force); a batch may name a neighbour of it, where
    the two sides have had the second signature at different moments. It is judged by the rules of `governing` in any case.

    Raises ExchangeError SCOPE_AGREEMENT, SCOPE_DIGEST or SCHEMA_VERSION; SCOPE_AGREEMENT with place `suspended` waits, it is not refused.
    """
    if governing is None or governing.agreement.id != manifest.agreement.id:
        raise ExchangeError("no agreement was in force at `created`", code="SCOPE_AGREEMENT")
    _check_text(manifest.agreement, versions, governing.agreement)
    _check_standing(manifest, versions, governing, now)
    if (manifest.sender, manifest.receiver) != (rules.terms.from_, rules.terms.to):
        raise ExchangeError("the stream goes the other way", code="SCOPE_AGREEMENT")
    if (manifest.suite, manifest.format) != (rules.terms.wire.suite, rules.terms.wire.format):
        raise ExchangeError("another suite or format than agreed", code="SCHEMA_VERSION")
    if not rules.schema_fits(manifest.schema_):
        raise ExchangeError("another schema than agreed", code="SCHEMA_VERSION")


SUSPENDED = "suspended"
"""`place` of an error that waits, for the agreement or a keys document, instead of being refused."""


def _check_text(named: ManifestAgreement, versions: Sequence[Held], governing: Agreement) -> None:
    """The batch names the text in force, or the one before, of which its sender lacks the successor; one that names the next waits."""
    if (named.version, named.digest) == (governing.version, governing.digest):
        return
    held = next((one for one in versions if (one.agreement.version, one.agreement.digest) == (named.version, named.digest)), None)
    if held is not None and held.complete and held.agreement.version == governing.version - 1:
        return
    if held is not None and not held.complete and held.agreement.version == governing.version + 1:
        raise ExchangeError("a signature of this version has not come yet", code="SCOPE_AGREEMENT", place=SUSPENDED)
    raise ExchangeError("another text of the agreement was in force", code="SCOPE_DIGEST")


def _check_standing(manifest: Manifest, versions: Sequence[Held], governing: Held, now: datetime) -> None:
    latest = max((held for held in versions if held.complete), key=lambda held: held.agreement.version, default=governing)
    present = governing.standing(now)
    if present.state == "superseded" and latest.standing(now).state in ("active", "suspended"):
        present = latest.standing(now)
    then = governing.standing(manifest.created_at)
    if present.active and then.state in ("active", "suspended", "superseded"):
        return  # whoever made it meanwhile had not heard of the suspension, or of its end before us: it has waited
    if manifest.only_withdrawals and (governing.takes_withdrawals(now) or latest.takes_withdrawals(now)):
        return
    raise ExchangeError(
        f"the agreement is {present.state}", code="SCOPE_AGREEMENT", place=SUSPENDED if present.state == "suspended" else None
    )


def check_time(manifest: Manifest, *, now: datetime, skew: timedelta, previous_created: datetime | None) -> None:
    """Step 5, judged once, at first sight.

    Raises ExchangeError TIME_FUTURE, TIME_EXPIRED or TIME_ORDER.
    """
    if manifest.created_at > now + skew:
        raise ExchangeError("created lies in the future", code="TIME_FUTURE")
    if parse_instant(manifest.valid_until, "SCHEMA_MANIFEST") < now - skew:
        raise ExchangeError("valid_until is past", code="TIME_EXPIRED")
    if previous_created is not None and manifest.created_at < previous_created - skew:
        raise ExchangeError("created lies before that of the previous batch", code="TIME_ORDER")


def check_sequence(
    manifest: Manifest,
    head: Head | None,
    staged: Head | None = None,
    *,
    refused: int = 0,
    replaced: bool = False,
    whole: bool = False,
) -> None:
    """Step 6: the next batch of its stream, naming the manifest held as previous.

    `staged` is how far the next epoch has come, `refused` the last of those behind the present one that were refused here; `replaced`: that
    the head which it replaces was the one held was found before, and the old epoch has gone on since; `whole`: the last batch of the next
    epoch is here, and waits. A batch of a seq already held reaches this only with another digest.

    Raises ExchangeError SEQ_EPOCH, SEQ_GAP, SEQ_FORK, SEQ_PREVIOUS, SEQ_REPLAY or SEQ_ROOT.
    """
    begins = begins_epoch(manifest.epoch, head, refused=refused)
    place = staged if begins else head
    if begins and staged is not None and staged.seq and manifest.snapshot == "none" and manifest.seq > staged.seq + (0 if whole else 1):
        raise ExchangeError("the new epoch is not whole yet, or not applied", code="SEQ_GAP")
    if begins:
        _check_new_epoch(manifest, None if replaced else head)
    elif manifest.epoch != (head.epoch if head is not None else 1):
        raise ExchangeError("another epoch than the current or the next one", code="SEQ_EPOCH")
    seq, size, digest = (place.seq, place.tree.size, place.manifest_digest) if place is not None else (0, 0, None)
    if manifest.seq > seq + 1:
        raise ExchangeError("a batch before this one is missing", code="SEQ_GAP")
    if manifest.seq <= seq:
        raise ExchangeError("another batch holds this number", code="SEQ_FORK")
    if manifest.previous != digest:
        raise ExchangeError("previous names another manifest than the one held", code="SEQ_PREVIOUS")
    if manifest.range.from_ < size:
        raise ExchangeError("the range begins below the size held", code="SEQ_REPLAY")
    if manifest.range.from_ > size:
        raise ExchangeError("the range begins above the size held", code="SEQ_ROOT")


def begins_epoch(epoch: int, head: Head | None, *, refused: int = 0) -> bool:
    """Whether a batch belongs to the next epoch, or to one behind those that were refused; whoever holds nothing of a stream takes any."""
    if head is None or head.seq == 0:
        return epoch > (head.epoch if head is not None else 1)
    return head.epoch < epoch <= max(head.epoch, refused) + 1


def _check_new_epoch(manifest: Manifest, head: Head | None) -> None:
    if manifest.snapshot == "none":
        raise ExchangeError("a new epoch begins with a snapshot", code="SEQ_EPOCH")
    replaces = manifest.replaces
    if manifest.seq > 1:
        return
    if replaces is None:
        raise ExchangeError("the first batch of an epoch names the head that it replaces", code="SEQ_EPOCH")
    if head is None or head.seq == 0:
        return
    if replaces.origin not in {origin(manifest.sender, manifest.stream, epoch) for epoch in range(head.epoch, manifest.epoch)}:
        raise ExchangeError("the first batch of an epoch names the head that it replaces", code="SEQ_EPOCH")
    if replaces.origin != origin(manifest.sender, manifest.stream, head.epoch):
        return  # of an epoch that was refused here nothing is held that it could contradict
    if replaces.size < head.tree.size or (replaces.size == head.tree.size and replaces.root != b64(head.tree.root())):
        raise ExchangeError("replaces contradicts the head held", code="SEQ_FORK")


def check_checkpoint(
    manifest: Manifest,
    checkpoint: str,
    ring: KeyRing,
    *,
    required: frozenset[Algorithm],
    first_seen: datetime,
    skew: timedelta,
    held_root: bytes | None = None,
) -> None:
    """Step 7: the checkpoint verifies and says what the manifest says.

    `held_root` is the root that we hold for the same size, if we hold one.

    Raises ExchangeError SIG_*, SEQ_ROOT, or SEQ_FORK when another root was well signed for the same size.
    """
    said = read_checkpoint(
        notes.verify(checkpoint, ring, use="exchange", required=required, first_seen=first_seen, own_time=manifest.created_at, skew=skew)
    )
    if said.origin != origin(manifest.sender, manifest.stream, manifest.epoch):
        raise ExchangeError("the checkpoint is of another stream", code="SIG_CONTEXT")
    if held_root is not None and said.size == manifest.tree.size and said.root != held_root:
        raise ExchangeError("two roots for one size, both well signed", code="SEQ_FORK")
    if said.size != manifest.tree.size or b64(said.root) != manifest.tree.root:
        raise ExchangeError("the checkpoint says another head than the manifest", code="SEQ_ROOT")


# --- admission: the parts ---------------------------------------------------------------------------------------------


def check_part(entry: PartEntry, data: bytes, suite: Suite = SHA256) -> None:
    """Step 8 for one part: exact size and digest of the delivered bytes.

    Raises ExchangeError SIG_PART_DIGEST.
    """
    if len(data) != entry.bytes or digest_text(data, suite) != entry.digest:
        raise ExchangeError("the part has another size or digest", code="SIG_PART_DIGEST", place=entry.name)


def missing_parts(manifest: Manifest, held: Iterable[str]) -> tuple[str, ...]:
    """Names of the parts that have not come yet, in order."""
    have = set(held)
    return tuple(part.name for part in manifest.parts if part.name not in have)


def check_surplus(manifest: Manifest, names: Iterable[str]) -> None:
    """Step 8: no part that the manifest does not name.

    Raises ExchangeError SCHEMA_MANIFEST.
    """
    if set(names) - {part.name for part in manifest.parts}:
        raise ExchangeError("a part that the manifest does not name", code="SCHEMA_MANIFEST")


_CHUNK = 64 * 1024


def _raw_chunks(entry: PartEntry, data: bytes, limits: Limits) -> Iterator[bytes]:
    if not entry.name.endswith(".gz"):
        yield data
        return
    if len(data) < 18 or data[:3] != b"\x1f\x8b\x08" or data[3] & 0b11111100:
        raise ExchangeError("not plain gzip of one member", code="SCHEMA_LINE", place=entry.name)
    engine = zlib.decompressobj(wbits=GZIP)
    total = 0
    try:
        for at in range(0, len(data), _CHUNK):
            chunk = data[at : at + _CHUNK]
            while chunk and not engine.eof:
                raw = engine.decompress(chunk, 4 * _CHUNK)
                chunk = engine.unconsumed_tail
                total += len(raw)
                if total > entry.bytes_raw:
                    raise ExchangeError("the part is longer than the manifest says", code="SCHEMA_COUNTS", place=entry.name)
                if total > limits.part_bytes_raw:
                    raise ExchangeError("the part is longer than agreed", code="SIZE_BYTES", place=entry.name)
                if total > _CHUNK and total > len(data) * limits.ratio:
                    raise ExchangeError("the part is compressed further than agreed", code="SIZE_RATIO", place=entry.name)
                yield raw
            if engine.eof and (engine.unused_data or at + _CHUNK < len(data)):
                raise ExchangeError("something follows the gzip member", code="SCHEMA_LINE", place=entry.name)
    except zlib.error as error:
        raise ExchangeError("damaged gzip", code="SCHEMA_LINE", place=entry.name) from error
    if not engine.eof:
        raise ExchangeError("the gzip is cut off", code="SCHEMA_LINE", place=entry.name)


def split_lines(entry: PartEntry, data: bytes, limits: Limits) -> Iterator[bytes]:
    """The lines of a part without their LF, decompressed within bounds.

    Raises ExchangeError SIZE_*, SCHEMA_LINE or SCHEMA_COUNTS.
    """
    rest, lines, total = b"", 0, 0
    for chunk in _raw_chunks(entry, data, limits):
        total += len(chunk)
        *whole, rest = (rest + chunk).split(b"\n") if rest else chunk.split(b"\n")
        for line in whole:
            if len(line) >= MAX_LINE:
                raise ExchangeError("a line is longer than 128 KiB", code="SIZE_LINE", place=entry.name)
            lines += 1
            if lines > entry.lines:
                raise ExchangeError("the part has more lines than the manifest says", code="SCHEMA_COUNTS", place=entry.name)
            yield line
        if len(rest) >= MAX_LINE:
            raise ExchangeError("a line is longer than 128 KiB", code="SIZE_LINE", place=entry.name)
    if rest:
        raise ExchangeError("the last line has no LF", code="SCHEMA_LINE", place=entry.name)
    if (total, lines) != (entry.bytes_raw, entry.lines):
        raise ExchangeError("the part has another length than the manifest says", code="SCHEMA_COUNTS", place=entry.name)


class Verified(Struct, frozen=True, kw_only=True):
    """What step 9 proves of a batch: its leaves and the tree with them."""

    leaves: tuple[bytes, ...]
    tree: CompactRange
    distinct: bool
    """No record stands in two lines."""
    lines: list[Line] | None
    """The lines, where they are few and short enough to be kept; whoever judges them takes them out, and they are read again after that."""


class LineCheck:
    """Step 9, part by part: every line is well formed, operations and lines are counted, and the leaves hash to the root.

    Of a batch of at most `keep` lines, and 32 MiB of them, the lines are kept; of a larger one they are read again. Without a tree, because
    what comes before is missing, the root is not compared: then only what is withdrawn may be believed of it.
    """

    def __init__(self, manifest: Manifest, tree: CompactRange | None, limits: Limits, *, keep: int = 0) -> None:
        self._manifest = manifest
        self._limits = limits
        self._suite = SUITES[manifest.suite]
        self._rooted = tree is not None
        self._tree = tree.copy() if tree is not None else CompactRange(self._suite)
        self._leaves: list[bytes] = []
        self._rids: set[str | None] = set()
        self._kept: list[Line] | None = [] if manifest.lines <= keep else None
        self._size = 0
        self._counts: dict[str, int] = dict.fromkeys(OPS, 0)

    def add(self, entry: PartEntry, data: bytes) -> None:
        """Look at the lines of the next part.

        Raises ExchangeError SIZE_*, SCHEMA_LINE, SCHEMA_JSON, SCHEMA_ENUM, SCHEMA_COUNTS or SEQ_ROOT.
        """
        suite, tree, counts, leaves, rids = self._suite, self._tree, self._counts, self._leaves, self._rids
        if self._rooted and entry.from_ != tree.size:
            raise ExchangeError("the parts come in another order", code="SEQ_ROOT", place=entry.name)
        for raw in split_lines(entry, data, self._limits):
            line = read_line(raw, suite)
            if line.op not in counts:
                raise ExchangeError("an operation that does not exist", code="SCHEMA_ENUM", place=f"{entry.name}:{tree.size}")
            counts[line.op] += 1
            rids.add(line.rid)
            self._size += len(raw)
            if self._size > KEPT_BYTES:
                self._kept = None
            if self._kept is not None:
                self._kept.append(line)
            leaf = leaf_hash(line.payload, suite)
            leaves.append(leaf)
            tree.append(leaf)

    def done(self) -> Verified:
        """What all parts together prove.

        Raises ExchangeError SCHEMA_COUNTS or SEQ_ROOT.
        """
        manifest, tree = self._manifest, self._tree
        if self._counts != manifest.counts.as_dict():
            raise ExchangeError("the operations are not those that the manifest counts", code="SCHEMA_COUNTS")
        if self._rooted and (tree.size != manifest.tree.size or b64(tree.root()) != manifest.tree.root):
            raise ExchangeError("the lines do not hash to the root", code="SEQ_ROOT")
        return Verified(
            leaves=tuple(self._leaves),
            tree=tree,
            distinct=len(self._rids) == len(self._leaves),
            lines=self._kept,
        )


def verify_lines(
    manifest: Manifest, parts: Iterable[tuple[PartEntry, bytes]], tree: CompactRange | None, limits: Limits, *, keep: int = 0
) -> Verified:
    """`LineCheck` of parts that are all at hand."""
    check = LineCheck(manifest, tree, limits, keep=keep)
    for entry, data in parts:
        check.add(entry, data)
    return check.done()


def lines_of(entry: PartEntry, data: bytes, limits: Limits, suite: Suite) -> Iterator[tuple[int, Line]]:
    """(index in the stream, line) of a part that `verify_lines` has passed."""
    for number, raw in enumerate(split_lines(entry, data, limits)):
        yield entry.from_ + number, read_line(raw, suite)


# --- how a failure is answered ----------------------------------------------------------------------------------------

Answer = Literal["problem", "rejected", "quarantined", "frozen"]


def answer_to(step: int, error: ExchangeError) -> Answer:
    """What a failure of a step is answered with (§6, §7): a receipt of this result, or a problem that moves nothing."""
    code = error.code
    if step == 7:
        return "frozen" if code == "SEQ_FORK" else "problem"
    if step in (1, 2, 8):
        return "problem"
    if code in ("SEQ_FORK", "SEQ_PREVIOUS"):
        return "frozen"
    if code == "SEQ_GAP" or error.place == SUSPENDED:
        return "quarantined"
    return "problem" if code == "TIME_FUTURE" else "rejected"


def fork_evidence(a: tuple[SignedDocument, str], b: tuple[SignedDocument, str]) -> bytes:
    """Both sets of notes as exportable evidence."""

    def side(document: SignedDocument, checkpoint: str) -> dict[str, object]:
        return {"manifest": {"body": document.body.decode(), "note": document.note}, "checkpoint": checkpoint}

    return encode({"type": "chengxin-exchange/fork/1", "a": side(*a), "b": side(*b)})

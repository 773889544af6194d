"""Seal record lines into a batch (exchange.md §4): lines, leaves, root, parts, manifest, notes.

Everything that is digested is encoded once, and those bytes are kept. This room must not look into a record, read a clock or keep anything.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import accumulate, islice
from typing import Literal

from msgspec import UNSET, Struct

from gateway.core.errors import ExchangeError
from gateway.core.exchange import notes
from gateway.core.exchange.agreements import Limits, StreamRules, schema_of
from gateway.core.exchange.manifests import (
    FREE_OF_RATIO,
    LIFETIME,
    Head,
    Manifest,
    ManifestAgreement,
    OpCounts,
    PartEntry,
    RangeEntry,
    Replaced,
    TreeEntry,
)
from gateway.core.exchange.merkle import Subtree
from gateway.core.exchange.notes import Checkpoint, SignedDocument
from gateway.core.exchange.records import SealedLine
from gateway.core.exchange.wire import GZIP, SUITES, Suite, b64, digest_text, encode, instant, origin
from gateway.core.signing import Signer

try:  # what is written here is compressed in a sixth of zlib's time; what others have written is read by zlib alone
    from isal import isal_zlib as deflate
except ImportError:  # no build for this machine
    import zlib as deflate  # type: ignore[no-redef]  # the same call, the same format

LINES_A_PART = 4000
BYTES_A_PART = 6 * 2**20
"""How we cut our own parts: small enough to be held in memory, to be sent inline, and to be asked for again."""


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
    plan: str | None = None,
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
    leaves = tuple([line.leaf for line in lines])
    tree.extend(leaves)
    counts = Counter[str](line.op for line in lines)
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
        policy_plan=UNSET if plan is None else plan,
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
        leaves=leaves,
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
    upto = [*accumulate(len(line.data) for line in lines)]
    at = before = 0
    while at < len(lines):
        end = bisect_right(upto, before + bound, at + 1, min(at + lines_a_part, len(lines)))  # a line at least
        yield at, end
        at, before = end, upto[end - 1]


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

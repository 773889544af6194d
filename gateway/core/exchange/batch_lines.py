"""The parts of a batch and their lines (exchange.md §5–6): decompressed within bounds, counted, hashed to the root.

No part is read before its size and digest are those of the manifest, and no line is judged here. This room must not look into a record
further than its operation and id.
"""

import zlib
from collections.abc import Iterable, Iterator

from msgspec import Struct

from gateway.core.errors import ExchangeError
from gateway.core.exchange.agreements import OPS, Limits
from gateway.core.exchange.manifests import Manifest, PartEntry
from gateway.core.exchange.merkle import CompactRange, leaf_hash
from gateway.core.exchange.records import Line, read_line
from gateway.core.exchange.wire import GZIP, SHA256, SUITES, Suite, b64, digest_text

MAX_LINE = 128 * 1024

KEPT_BYTES = 32 * 2**20
"""So much of a batch's lines at most is kept for who reads them next."""


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
    named: frozenset[str | None]
    """Of a batch of a snapshot the ids that its lines name: what else was held is left out."""
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
        suite, tree, counts, rids = self._suite, self._tree, self._counts, self._rids
        if self._rooted and entry.from_ != tree.size:
            raise ExchangeError("the parts come in another order", code="SEQ_ROOT", place=entry.name)
        leaves: list[bytes] = []
        for raw in split_lines(entry, data, self._limits):
            line = read_line(raw, suite)
            if line.op not in counts:
                place = f"{entry.name}:{tree.size + len(leaves)}"
                raise ExchangeError("an operation that does not exist", code="SCHEMA_ENUM", place=place)
            counts[line.op] += 1
            rids.add(line.rid)
            self._size += len(raw)
            if self._size > KEPT_BYTES:
                self._kept = None
            if self._kept is not None:
                self._kept.append(line)
            leaves.append(leaf_hash(line.payload, suite))
        self._leaves += leaves
        tree.extend(leaves)

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
            named=frozenset(self._rids) if manifest.snapshot != "none" else frozenset(),
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

"""The append-only tree of a stream (exchange.md §2.2; RFC 6962 §2.1 with the suite's hash).

A receiver keeps a compact range, at most 64 hashes, and needs no history; a sender keeps its leaf hashes for proofs.
This room must not know what a leaf says.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from msgspec import Struct

from gateway.core.errors import ExchangeError
from gateway.core.exchange.wire import SHA256, Suite, b64, unb64

Hash = Callable[[bytes], bytes]


class Subtree(NamedTuple):
    """A complete subtree of 2^level leaves, counted from the left, and its root."""

    level: int
    number: int
    hash: bytes


class CompactRange:
    """Size and right edge of a tree; grows, never shrinks."""

    __slots__ = ("_hash", "_stack", "size", "suite", "whole")

    def __init__(self, suite: Suite = SHA256, size: int = 0, stack: Sequence[bytes] = ()) -> None:
        if size.bit_count() != len(stack) or any(len(node) != 32 for node in stack):
            raise ExchangeError("a compact range holds one hash for each bit of its size", code="SEQ_ROOT")
        self._hash = suite.hash
        self.suite = suite
        self._stack = list(stack)
        self.size = size
        self.whole: list[Subtree] = []
        """Subtrees of 256, 65,536, … leaves that have become complete here: what a proof is read from later."""

    @classmethod
    def load(cls, suite: Suite, size: int, data: bytes) -> "CompactRange":
        """As stored: the hashes one after the other, from the largest subtree down."""
        return cls(suite, size, [data[at : at + 32] for at in range(0, len(data), 32)])

    def dump(self) -> bytes:
        """The hashes one after the other."""
        return b"".join(self._stack)

    def copy(self) -> "CompactRange":
        """Another one with the same leaves."""
        return CompactRange(self.suite, self.size, self._stack)

    def append(self, leaf: bytes) -> None:
        """Add a leaf hash at the right."""
        self.extend((leaf,))

    def extend(self, leaves: Iterable[bytes]) -> None:
        """Add leaf hashes at the right, in order."""
        hash_of, stack, size = self._hash, self._stack, self.size
        for node in leaves:
            rest, level = size, 0
            while rest & 1:
                node = hash_of(b"\x01" + stack.pop() + node)
                rest >>= 1
                level += 1
                if not level & 7:
                    self.whole.append(Subtree(level, rest, node))
            stack.append(node)
            size += 1
        self.size = size

    def root(self) -> bytes:
        """The root over all leaves so far."""
        if not self._stack:
            return self._hash(b"")
        root = self._stack[-1]
        for node in self._stack[-2::-1]:
            root = self._hash(b"\x01" + node + root)
        return root


def leaf_hash(payload: bytes, suite: Suite = SHA256) -> bytes:
    """H(0x00 ‖ payload)."""
    return suite.hash(b"\x00" + payload)


def inclusion_proof(leaves: Sequence[bytes], index: int, suite: Suite = SHA256) -> list[bytes]:
    """The hashes that lead from leaf `index` to the root over `leaves` (RFC 6962 §2.1.1).

    Raises ExchangeError SEQ_ROOT when the tree has no such leaf.
    """
    if not 0 <= index < len(leaves):
        raise ExchangeError("the tree has no such leaf", code="SEQ_ROOT")
    start, end = 0, len(leaves)
    outside: list[tuple[int, int]] = []
    while end - start > 1:
        middle = start + (1 << (end - start - 1).bit_length() - 1)
        if index < middle:
            outside.append((middle, end))
            end = middle
        else:
            outside.append((start, middle))
            start = middle
    return [_subtree(leaves, low, high, suite) for low, high in reversed(outside)]


def _subtree(leaves: Sequence[bytes], low: int, high: int, suite: Suite) -> bytes:
    tree = CompactRange(suite)
    tree.extend(leaves[low:high])
    return tree.root()


def root_from_proof(leaf: bytes, index: int, size: int, proof: Sequence[bytes], suite: Suite = SHA256) -> bytes:
    """The root that the proof leads to (RFC 9162 §2.1.3.2).

    Raises ExchangeError SEQ_ROOT when the proof has another length than index and size ask for.
    """
    if not 0 <= index < size:
        raise ExchangeError("the tree has no such leaf", code="SEQ_ROOT")
    first, last, node = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise ExchangeError("the proof is too long", code="SEQ_ROOT")
        if first & 1 or first == last:
            node = suite.hash(b"\x01" + sibling + node)
            while first and not first & 1:
                first >>= 1
                last >>= 1
        else:
            node = suite.hash(b"\x01" + node + sibling)
        first >>= 1
        last >>= 1
    if last:
        raise ExchangeError("the proof is too short", code="SEQ_ROOT")
    return node


def proof_text(index: int, proof: Sequence[bytes], checkpoint: str) -> str:
    """A c2sp.org/tlog-proof@v1."""
    lines = ["c2sp.org/tlog-proof@v1", f"index {index}", *(b64(node) for node in proof)]
    return "\n".join(lines) + "\n\n" + checkpoint


class InclusionProof(Struct, frozen=True, kw_only=True):
    """A tlog-proof taken apart; nothing of it is believed."""

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: str


def read_proof(text: str) -> InclusionProof:
    """A c2sp.org/tlog-proof@v1 as we write it.

    Raises ExchangeError SEQ_ROOT for anything else.
    """
    head, gap, checkpoint = text.partition("\n\n")
    first, *lines = head.split("\n")
    index = lines[0].removeprefix("index ") if lines else ""
    plain = index.isascii() and index.isdigit() and len(index) < 17 and str(int(index)) == index
    if first != "c2sp.org/tlog-proof@v1" or not gap or not plain or len(lines) > 65:
        raise ExchangeError("this is no inclusion proof", code="SEQ_ROOT")
    hashes = tuple(unb64(line, "SEQ_ROOT") for line in lines[1:])
    if any(len(each) != 32 for each in hashes):
        raise ExchangeError("a hash has 32 bytes", code="SEQ_ROOT")
    return InclusionProof(index=int(index), hashes=hashes, checkpoint=checkpoint)

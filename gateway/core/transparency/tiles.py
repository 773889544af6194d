"""A log as tiles (c2sp.org/tlog-tiles): which hash stands where, what is added, and proofs out of tiles (RFC 6962 §2.1).

Rules: a tile at level L holds up to 256 hashes of complete subtrees of 256^L leaves; all others follow from them. A full tile never
changes; a partial one only grows. Proofs are planned first (which nodes), so that whoever reads tiles asks for them at once. This
room must not know what a leaf says.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from gateway.core.errors import ExchangeError
from gateway.core.exchange.wire import sha256

WIDTH: Final = 256
HEIGHT: Final = 8
"""Levels of the tree in one tile."""
HASH: Final = 32
TOP: Final = 6
"""No log of ours has more levels of tiles: 256^6 leaves."""

_PATH = re.compile(r"(?P<level>[0-5]|entries)/(?P<number>(?:x[0-9]{3}/)*[0-9]{3})(?:\.p/(?P<width>[1-9][0-9]{0,2}))?\Z")


class Node(NamedTuple):
    """A complete subtree: of 2^level leaves, counted from the left."""

    level: int
    number: int


class TileName(NamedTuple):
    """A tile, or a bundle of entries at level -1, with so many hashes or entries."""

    level: int
    number: int
    width: int = WIDTH


BUNDLE: Final = -1


def tile_path(name: TileName) -> str:
    """`L/N` or `entries/N`, N in groups of three digits, with `.p/W` for a partial one."""
    digits = f"{name.number:03d}"
    groups = [digits[max(0, end - 3) : end].zfill(3) for end in range(len(digits), 0, -3)][::-1]
    number = "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
    level = "entries" if name.level == BUNDLE else str(name.level)
    return f"{level}/{number}" + ("" if name.width == WIDTH else f".p/{name.width}")


def read_tile_path(path: str) -> TileName | None:
    """The tile of a path below `tile/`; None when it is none, or written otherwise than we write it."""
    match = _PATH.match(path)
    if match is None:
        return None
    number = int(match["number"].replace("x", "").replace("/", ""))
    width = int(match["width"]) if match["width"] else WIDTH
    name = TileName(BUNDLE if match["level"] == "entries" else int(match["level"]), number, width)
    return name if number < 2**53 and width <= WIDTH and tile_path(name) == path and not (match["width"] and width == WIDTH) else None


def node_hash(left: bytes, right: bytes) -> bytes:
    """H(0x01 ‖ left ‖ right)."""
    return sha256(b"\x01" + left + right)


def tiles_of(size: int) -> list[TileName]:
    """Every tile of a tree, without its bundles, from the lowest level up."""
    names: list[TileName] = []
    level, count = 0, size
    while count:
        names += [TileName(level, number, min(WIDTH, count - number * WIDTH)) for number in range((count + WIDTH - 1) // WIDTH)]
        level, count = level + 1, count // WIDTH
    return names


def bundles_of(size: int) -> list[TileName]:
    """Every bundle of entries of a log."""
    return [TileName(BUNDLE, number, min(WIDTH, size - number * WIDTH)) for number in range((size + WIDTH - 1) // WIDTH)]


def bundle(entries: Iterable[bytes]) -> bytes:
    """Entries as served: two bytes of length, big-endian, before each."""
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


def read_bundle(data: bytes, width: int) -> list[bytes]:
    """The entries of a bundle.

    Raises ExchangeError SCHEMA_LINE unless there are exactly so many, and nothing behind them.
    """
    entries: list[bytes] = []
    at = 0
    while at < len(data):
        length = int.from_bytes(data[at : at + 2], "big")
        entry = data[at + 2 : at + 2 + length]
        if len(entry) != length or len(entries) == width:
            raise ExchangeError("a bundle is cut off or too long", code="SCHEMA_LINE")
        entries.append(entry)
        at += 2 + length
    if len(entries) != width:
        raise ExchangeError("a bundle has another number of entries", code="SCHEMA_LINE")
    return entries


# --- growing ----------------------------------------------------------------------------------------------------------


def grow(size: int, edges: Mapping[int, bytes], leaves: Sequence[bytes]) -> dict[TileName, bytes]:
    """The tiles that change when leaf hashes are added to a tree of `size`.

    `edges`: of each level the hashes of its last tile, when it is a partial one. Given back are whole tiles under their new widths.
    """
    changed: dict[TileName, bytes] = {}
    level, count, added = 0, size, list(leaves)
    while added:
        full, data = divmod(count, WIDTH)[0], edges.get(level, b"") if count % WIDTH else b""
        if len(data) != count % WIDTH * HASH:
            raise ExchangeError("the edge of the tree does not fit its size", code="SEQ_ROOT")
        data += b"".join(added)
        above: list[bytes] = []
        for at in range(0, len(data), WIDTH * HASH):
            tile = data[at : at + WIDTH * HASH]
            changed[TileName(level, full + at // (WIDTH * HASH), len(tile) // HASH)] = tile
            if len(tile) == WIDTH * HASH:
                above.append(root_of_tile(tile))
        level, count, added = level + 1, full, above
    return changed


def root_of_tile(tile: bytes) -> bytes:
    """The root of a full tile, or of any run of a power of two hashes."""
    row = [tile[at : at + HASH] for at in range(0, len(tile), HASH)]
    while len(row) > 1:
        row = [node_hash(row[at], row[at + 1]) for at in range(0, len(row), 2)]
    return row[0]


# --- proofs -----------------------------------------------------------------------------------------------------------

Plan = list[list[Node]]
"""One list for each hash of a proof: the complete subtrees that make it, from the left."""


def subtree(low: int, high: int) -> list[Node]:
    """The complete subtrees that make the tree over leaves [low, high), from the left."""
    nodes: list[Node] = []
    while low < high:
        span = high - low
        level = span.bit_length() - 1
        if low:
            level = min(level, (low & -low).bit_length() - 1)
        nodes.append(Node(level, low >> level))
        low += 1 << level
    return nodes


def plan_head(size: int) -> list[Node]:
    """What makes the root of a tree."""
    return subtree(0, size)


def plan_inclusion(index: int, size: int) -> Plan:
    """What leads from a leaf to the root of a tree.

    Raises ExchangeError SEQ_ROOT when the tree has no such leaf.
    """
    if not 0 <= index < size:
        raise ExchangeError("the tree has no such leaf", code="SEQ_ROOT")
    low, high = 0, size
    outside: Plan = []
    while high - low > 1:
        middle = low + (1 << (high - low - 1).bit_length() - 1)
        if index < middle:
            outside.append(subtree(middle, high))
            high = middle
        else:
            outside.append(subtree(low, middle))
            low = middle
    return outside[::-1]


def plan_consistency(old: int, new: int) -> Plan:
    """What shows that a tree of `new` leaves begins with the one of `old` (RFC 6962 §2.1.2); nothing for the empty tree or an equal one.

    Raises ExchangeError SEQ_ROOT when `old` is larger.
    """
    if not 0 <= old <= new:
        raise ExchangeError("the older tree is larger", code="SEQ_ROOT")
    if old in (0, new):
        return []
    low, high, whole = 0, new, True
    outside: Plan = []
    while old != high:
        middle = low + (1 << (high - low - 1).bit_length() - 1)
        if old <= middle:
            outside.append(subtree(middle, high))
            high = middle
        else:
            outside.append(subtree(low, middle))
            low, whole = middle, False
    if not whole:
        outside.append(subtree(low, high))
    return outside[::-1]


def tile_of(node: Node, size: int) -> TileName:
    """The tile in which a node's hash stands or from which it follows."""
    level = node.level // HEIGHT
    first = node.number << node.level % HEIGHT
    number = first // WIDTH
    return TileName(level, number, min(WIDTH, (size >> level * HEIGHT) - number * WIDTH))


def hash_of(node: Node, tile: bytes) -> bytes:
    """A node's hash out of its tile.

    Raises ExchangeError SEQ_ROOT when the tile is too short.
    """
    count = 1 << node.level % HEIGHT
    first = (node.number * count) % WIDTH
    run = tile[first * HASH : (first + count) * HASH]
    if len(run) != count * HASH:
        raise ExchangeError("a tile is too short", code="SEQ_ROOT")
    return root_of_tile(run)


def fold(hashes: Sequence[bytes]) -> bytes:
    """The root over complete subtrees from the left; of none SHA-256 of nothing."""
    if not hashes:
        return sha256(b"")
    root = hashes[-1]
    for left in hashes[-2::-1]:
        root = node_hash(left, root)
    return root


def follow(plan: Plan, size: int, read: Callable[[TileName], bytes]) -> list[bytes]:
    """A planned proof out of tiles."""
    return [fold([hash_of(node, read(tile_of(node, size))) for node in nodes]) for nodes in plan]


def needed(plan: Iterable[Iterable[Node]], size: int) -> list[TileName]:
    """The tiles that a plan reads, each once."""
    return list(dict.fromkeys(tile_of(node, size) for nodes in plan for node in nodes))


def check_consistency(old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Check that one tree begins with the other (RFC 9162 §2.1.4.2).

    Raises ExchangeError SEQ_ROOT when the proof has another length, or does not lead to both roots.
    """
    if not 0 <= old <= new:
        raise ExchangeError("the older tree is larger", code="SEQ_ROOT")
    if old in (0, new):
        if proof or (old == new and old_root != new_root) or (old == 0 and old_root != sha256(b"")):
            raise ExchangeError("the trees differ", code="SEQ_ROOT")
        return
    rest = list(proof)
    if old & (old - 1) == 0:
        rest.insert(0, old_root)
    if not rest:
        raise ExchangeError("the proof is too short", code="SEQ_ROOT")
    first, last = old - 1, new - 1
    while first & 1:
        first, last = first >> 1, last >> 1
    of_old = of_new = rest[0]
    for sibling in rest[1:]:
        if last == 0:
            raise ExchangeError("the proof is too long", code="SEQ_ROOT")
        if first & 1 or first == last:
            of_old, of_new = node_hash(sibling, of_old), node_hash(sibling, of_new)
            while first and not first & 1:
                first, last = first >> 1, last >> 1
        else:
            of_new = node_hash(of_new, sibling)
        first, last = first >> 1, last >> 1
    if last or of_old != old_root or of_new != new_root:
        raise ExchangeError("the newer tree does not begin with the older one", code="SEQ_ROOT")

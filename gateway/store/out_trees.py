"""Proofs out of our streams: roots of complete subtrees stand beside the leaves, and a proof reads some hundred hashes of a million.

This room must not know what a leaf says.
"""

import sqlalchemy as sa

from gateway.core.errors import StoreError
from gateway.core.exchange.merkle import CompactRange
from gateway.core.exchange.wire import Suite
from gateway.core.transparency.tiles import HEIGHT, WIDTH, Node, plan_inclusion
from gateway.store.store import Source
from gateway.store.tables import out_leaves, out_subtrees

_LEAVES = (
    sa.select(out_leaves.c.leaf.label("hash"))
    .where(
        out_leaves.c.stream == sa.bindparam("stream"),
        out_leaves.c.epoch == sa.bindparam("of_epoch"),
        out_leaves.c.idx >= sa.bindparam("low"),
        out_leaves.c.idx < sa.bindparam("high"),
    )
    .order_by(out_leaves.c.idx)
)
_SUBTREES = (
    sa.select(out_subtrees.c.hash)
    .where(
        out_subtrees.c.stream == sa.bindparam("stream"),
        out_subtrees.c.epoch == sa.bindparam("of_epoch"),
        out_subtrees.c.level == sa.bindparam("of_level"),
        out_subtrees.c.number >= sa.bindparam("low"),
        out_subtrees.c.number < sa.bindparam("high"),
    )
    .order_by(out_subtrees.c.number)
)


class StreamTree:
    """The tree of one epoch of a stream at one size; what was read of it for one proof serves the next."""

    def __init__(self, source: Source, stream: str, epoch: int, size: int, suite: Suite) -> None:
        self.size = size
        self._source = source
        self._where = {"stream": stream, "of_epoch": epoch}
        self._suite = suite
        self._tiles: dict[tuple[int, int], list[bytes]] = {}

    async def inclusion_proof(self, index: int) -> list[bytes]:
        """The hashes that lead from a leaf to the root (RFC 6962 §2.1.1).

        Raises ExchangeError SEQ_ROOT when the tree has no such leaf, StoreError `value-altered` when one of its hashes is missing.
        """
        proof: list[bytes] = []
        for nodes in plan_inclusion(index, self.size):
            root, *others = [await self._hash(node) for node in reversed(nodes)]
            for left in others:
                root = self._suite.hash(b"\x01" + left + root)
            proof.append(root)
        return proof

    async def _hash(self, node: Node) -> bytes:
        """The root of a complete subtree: of as many hashes of the level below it that is kept."""
        level, count = node.level // HEIGHT * HEIGHT, 1 << node.level % HEIGHT
        tile, at = divmod(node.number * count, WIDTH)
        run = (await self._tile(level, tile))[at : at + count]
        if len(run) != count:
            raise StoreError("a hash of a stream is missing", code="value-altered", place=str(self._where["stream"]))
        tree = CompactRange(self._suite)
        tree.extend(run)
        return tree.root()

    async def _tile(self, level: int, number: int) -> list[bytes]:
        if (level, number) not in self._tiles:
            wanted = {**self._where, "low": number * WIDTH, "high": (number + 1) * WIDTH}
            rows = await self._source.all(_SUBTREES, {**wanted, "of_level": level}) if level else await self._source.all(_LEAVES, wanted)
            self._tiles[level, number] = [row.hash for row in rows]
        return self._tiles[level, number]

"""Proofs out of what is kept of a stream: right at every size, and read from a few hundred hashes."""

import pytest
import sqlalchemy as sa

from gateway.core.errors import ExchangeError, StoreError
from gateway.core.exchange.merkle import CompactRange, inclusion_proof, root_from_proof
from gateway.core.exchange.wire import GM1, SHA256, Suite
from gateway.store.out_trees import StreamTree
from gateway.store.reads import Row
from gateway.store.store import Store
from gateway.store.tables import out_leaves, out_subtrees

STREAM = "tonghua-baishan-2026.penalties"


class Counting:
    """The store's reads, and how many rows they have given."""

    def __init__(self, store: Store) -> None:
        self._reads = store.reads
        self.rows = 0

    async def all(self, statement: sa.Select, parameters: dict[str, object]) -> list[Row]:
        """Rows, counted."""
        found = await self._reads.all(statement, parameters)
        self.rows += len(found)
        return found


async def grown(store: Store, size: int, suite: Suite) -> tuple[list[bytes], CompactRange]:
    """A stream of so many leaves, written down as sealing does it, in batches of several sizes."""
    leaves = [number.to_bytes(32, "big") for number in range(size)]
    tree = CompactRange(suite)
    for at in range(0, size, 4999):
        tree = CompactRange.load(suite, tree.size, tree.dump())
        tree.extend(leaves[at : at + 4999])
        async with store.transaction() as tx:
            rows = [(STREAM, 1, at + number, "rec", leaf) for number, leaf in enumerate(leaves[at : at + 4999])]
            await tx.insert(out_leaves, ("stream", "epoch", "idx", "record_id", "leaf"), rows)
            done = [(STREAM, 1, *each) for each in tree.whole]
            await tx.insert(out_subtrees, ("stream", "epoch", "level", "number", "hash"), done)
    return leaves, tree


@pytest.mark.parametrize("suite", [SHA256, GM1], ids=lambda suite: suite.name)
async def test_proofs(store: Store, suite: Suite) -> None:
    """At every size the proof is the one that all leaves would give."""
    leaves, _ = await grown(store, 1100, suite)
    for size in (1, 2, 255, 256, 257, 512, 1000, 1100):
        tree = StreamTree(store.reads, STREAM, 1, size, suite)
        for index in {0, size // 2, min(255, size - 1), size - 1}:
            assert await tree.inclusion_proof(index) == inclusion_proof(leaves[:size], index, suite)
    with pytest.raises(ExchangeError):
        await StreamTree(store.reads, STREAM, 1, 1100, suite).inclusion_proof(1100)


async def test_a_proof_reads_few_hashes(store: Store) -> None:
    """Of a tree of more than 65,536 leaves no proof reads more than some tiles of 256."""
    leaves, whole = await grown(store, 70_001, SHA256)
    for index in (0, 255, 65_535, 65_536, 69_999, 70_000):
        reads = Counting(store)
        tree = StreamTree(reads, STREAM, 1, 70_001, SHA256)  # type: ignore[arg-type]  # all of a source that it needs
        proof = await tree.inclusion_proof(index)
        assert root_from_proof(leaves[index], index, 70_001, proof) == whole.root()
        assert reads.rows <= 5 * 256


async def test_a_hash_is_missing(store: Store) -> None:
    """A proof is not made of what is left when something is gone."""
    await grown(store, 600, SHA256)
    async with store.transaction() as tx:
        await tx.execute(sa.delete(out_subtrees).where(out_subtrees.c.number == 1))
    with pytest.raises(StoreError, match="hash"):
        await StreamTree(store.reads, STREAM, 1, 600, SHA256).inclusion_proof(3)

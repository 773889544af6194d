"""Logs as tiles: paths, growth, proofs, bundles."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.errors import ExchangeError
from gateway.core.exchange.merkle import CompactRange, inclusion_proof, leaf_hash, root_from_proof
from gateway.core.transparency import tiles
from gateway.core.transparency.monitoring import Reading
from gateway.core.transparency.tiles import BUNDLE, TileName

LEAVES = [leaf_hash(b"%d" % number) for number in range(70_000)]


class Stored:
    """Tiles as a store keeps them."""

    def __init__(self) -> None:
        self.size = 0
        self.tiles: dict[tuple[int, int], bytes] = {}

    def add(self, count: int) -> None:
        edges = {
            level: self.tiles[level, (self.size >> 8 * (level + 1))] for level in range(tiles.TOP) if (self.size >> 8 * level) % tiles.WIDTH
        }
        for name, data in tiles.grow(self.size, edges, LEAVES[self.size : self.size + count]).items():
            assert len(data) == name.width * 32
            self.tiles[name.level, name.number] = data
        self.size += count

    def read(self, name: TileName) -> bytes:
        return self.tiles[name.level, name.number]


@pytest.mark.parametrize(
    ("name", "path"),
    [
        (TileName(0, 0), "0/000"),
        (TileName(2, 67, 5), "2/067.p/5"),
        (TileName(0, 1_234_067), "0/x001/x234/067"),
        (TileName(BUNDLE, 1_000, 255), "entries/x001/000.p/255"),
    ],
)
def test_paths(name: TileName, path: str) -> None:
    """A tile's number stands in groups of three digits, and reads back."""
    assert tiles.tile_path(name) == path
    assert tiles.read_tile_path(path) == name


@pytest.mark.parametrize(
    "path", ["0/0", "0/0000", "0/x000/067", "0/000.p/256", "0/000.p/0", "6/000", "-1/000", "0/000/", "entries/000.p/", "0/../000", "00/000"]
)
def test_other_spellings_are_no_tiles(path: str) -> None:
    """Only the one spelling of a tile's path names it."""
    assert tiles.read_tile_path(path) is None


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 700), min_size=1, max_size=8), st.data())
def test_tiles_grow_and_prove(steps: list[int], data: st.DataObject) -> None:
    """However a log grows, its tiles give the root of its leaves, and every proof out of them holds."""
    stored, roots = Stored(), {}
    tree = CompactRange()
    for step in steps:
        tree.extend(LEAVES[stored.size : stored.size + step])
        stored.add(step)
        roots[stored.size] = tree.root()
    size = stored.size
    assert {(name.level, name.number) for name in tiles.tiles_of(size)} == stored.tiles.keys()
    plan = tiles.plan_head(size)
    assert tiles.fold([tiles.hash_of(node, stored.read(tiles.tile_of(node, size))) for node in plan]) == tree.root()
    index = data.draw(st.integers(0, size - 1))
    proof = tiles.follow(tiles.plan_inclusion(index, size), size, stored.read)
    assert proof == inclusion_proof(LEAVES[:size], index)
    assert root_from_proof(LEAVES[index], index, size, proof) == tree.root()
    old = data.draw(st.sampled_from(sorted(roots)))
    path = tiles.follow(tiles.plan_consistency(old, size), size, stored.read)
    tiles.check_consistency(old, roots[old], size, tree.root(), path)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 300), st.integers(0, 300), st.data())
def test_consistency_is_refused_when_anything_differs(old: int, more: int, data: st.DataObject) -> None:
    """A proof with another hash, another length or another root does not hold."""
    new = old + more + 1
    stored = Stored()
    stored.add(new)
    before, after = CompactRange(), CompactRange()
    before.extend(LEAVES[:old])
    after.extend(LEAVES[:new])
    proof = tiles.follow(tiles.plan_consistency(old, new), new, stored.read)
    tiles.check_consistency(old, before.root(), new, after.root(), proof)
    at = data.draw(st.integers(0, len(proof) - 1))
    wrong = [
        [*proof[:at], bytes(32), *proof[at + 1 :]],
        proof[:at] + proof[at + 1 :],
        [*proof, bytes(32)],
    ]
    for each in wrong:
        with pytest.raises(ExchangeError):
            tiles.check_consistency(old, before.root(), new, after.root(), each)
    with pytest.raises(ExchangeError):
        tiles.check_consistency(old, bytes(32), new, after.root(), proof)
    with pytest.raises(ExchangeError):
        tiles.check_consistency(old, before.root(), new, bytes(32), proof)
    with pytest.raises(ExchangeError):
        tiles.check_consistency(new, after.root(), old, before.root(), proof)


def test_a_large_log_has_three_levels() -> None:
    """70,000 leaves fill tiles of three levels, and a leaf of the first tile is proven through all of them."""
    stored = Stored()
    stored.add(65_536)
    stored.add(4_464)
    tree = CompactRange()
    tree.extend(LEAVES)
    assert max(level for level, _ in stored.tiles) == 2
    for index in (0, 255, 256, 65_535, 65_536, 69_999):
        proof = tiles.follow(tiles.plan_inclusion(index, 70_000), 70_000, stored.read)
        assert root_from_proof(LEAVES[index], index, 70_000, proof) == tree.root()


def test_an_edge_that_does_not_fit_is_refused() -> None:
    """A tree never grows over an edge of another length."""
    with pytest.raises(ExchangeError):
        tiles.grow(3, {0: bytes(64)}, [bytes(32)])


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=20))
def test_bundles_read_back(entries: list[bytes]) -> None:
    """Entries come out of a bundle as they went in, and never in another number."""
    data = tiles.bundle(entries)
    assert tiles.read_bundle(data, len(entries)) == entries
    with pytest.raises(ExchangeError):
        tiles.read_bundle(data, len(entries) + 1)
    if entries:
        with pytest.raises(ExchangeError):
            tiles.read_bundle(data[:-1], len(entries))


def test_a_reader_makes_every_tile_anew() -> None:
    """Who reads a log entry by entry comes to the very tiles of whoever wrote it."""
    bodies = [
        b'{"op":"list","rid":"rec_%b","v":1,"c":"ZNCIiJ+N8E8DSJUJnXcmG1hLJxQUafsRdWc5IgaxycA=","at":"2026-06-01T02:00:00Z",'
        b'"authority":null,"reason":null,"prev":null}' % name
        for name in (_rid(number) for number in range(600))
    ]
    reading, made = Reading(), {}
    for at in range(0, 600, 100):
        reading.take(2026, bodies[at : at + 100])
        made |= dict(reading.tiles())
    made |= dict(reading.partial())
    leaves = [leaf_hash(body) for body in bodies]
    assert made == tiles.grow(0, {}, leaves)


def _rid(number: int) -> bytes:
    letters = "abcdefghijklmnopqrstuvwxyz234567"
    text = ""
    for _ in range(25):
        text, number = letters[number % 32] + text, number // 32
    return (text + "a").encode()

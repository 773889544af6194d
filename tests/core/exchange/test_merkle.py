"""The append-only tree: compact ranges, roots and inclusion proofs, against the definition of RFC 6962."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import ExchangeError
from gateway.core.exchange.merkle import CompactRange, inclusion_proof, leaf_hash, root_from_proof
from gateway.core.exchange.wire import GM1, SHA256, Suite

suites = st.sampled_from([SHA256, GM1])
leaves = st.lists(st.binary(max_size=8), max_size=70)


def by_definition(payloads: list[bytes], suite: Suite) -> bytes:
    """MTH of RFC 6962 §2.1, as it is written there."""
    if not payloads:
        return suite.hash(b"")
    if len(payloads) == 1:
        return suite.hash(b"\x00" + payloads[0])
    split = 1
    while split * 2 < len(payloads):
        split *= 2
    return suite.hash(b"\x01" + by_definition(payloads[:split], suite) + by_definition(payloads[split:], suite))


@given(leaves, suites)
def test_roots(payloads: list[bytes], suite: Suite):
    """A compact range has the root of the definition, however it was cut and stored in between."""
    tree = CompactRange(suite)
    for payload in payloads:
        tree.append(leaf_hash(payload, suite))
        tree = CompactRange.load(suite, tree.size, tree.dump())
    assert tree.root() == by_definition(payloads, suite)
    assert len(tree.dump()) <= 64 * 32


@given(st.lists(st.binary(max_size=8), min_size=1, max_size=70), st.data())
def test_inclusion(payloads: list[bytes], data: st.DataObject):
    """Each leaf's proof leads to the root, and no other leaf, index or size does."""
    index = data.draw(st.integers(0, len(payloads) - 1))
    hashes = [leaf_hash(payload) for payload in payloads]
    proof = inclusion_proof(hashes, index)
    root = by_definition(payloads, SHA256)
    assert root_from_proof(hashes[index], index, len(hashes), proof) == root
    assert root_from_proof(leaf_hash(b"another"), index, len(hashes), proof) != root
    for broken in (proof[:-1], [*proof, b"\0" * 32]):
        if len(broken) != len(proof):
            with pytest.raises(ExchangeError):
                assert root_from_proof(hashes[index], index, len(hashes), broken) == root
                raise ExchangeError("another root", code="SEQ_ROOT")


@pytest.mark.parametrize(("index", "size"), [(-1, 3), (3, 3), (0, 0)])
def test_leaves_that_are_not_there(index: int, size: int):
    """There is no proof of a leaf outside the tree."""
    with pytest.raises(ExchangeError):
        inclusion_proof([b"\0" * 32] * size, index)
    with pytest.raises(ExchangeError):
        root_from_proof(b"\0" * 32, index, size, [])


def test_a_range_that_does_not_fit_its_size():
    """One hash for each bit of the size, and each of 32 bytes."""
    for size, data in ((1, b""), (2, b"\0" * 64), (3, b"\0" * 32), (1, b"\0" * 31)):
        with pytest.raises(ExchangeError):
            CompactRange.load(SHA256, size, data)


def test_copies_grow_apart():
    """A copy does not change what it was copied from."""
    tree = CompactRange()
    tree.append(leaf_hash(b"a"))
    copy = tree.copy()
    copy.append(leaf_hash(b"b"))
    assert (tree.size, copy.size) == (1, 2)
    assert tree.root() == leaf_hash(b"a")

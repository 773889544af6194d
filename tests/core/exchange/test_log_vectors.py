"""Vectors of the transparency log and of witnesses, as the wire specification ships them."""

import json
from base64 import b64decode
from hashlib import sha256

import pytest

from gateway.core.errors import ExchangeError
from gateway.core.exchange import merkle, notes
from gateway.core.exchange.merkle import CompactRange, leaf_hash
from gateway.core.exchange.wire import b64, unb64
from gateway.core.publication.versions import commitment_of
from gateway.core.signing import CosignatureSigner, Ed25519Signer, parse_cosignature_vkey, parse_vkey
from gateway.core.transparency import tiles
from gateway.core.transparency.entries import entry_bytes, read_entry
from gateway.core.transparency.tiles import TileName, bundle, grow, read_tile_path, tile_path
from gateway.core.transparency.witnessing import Held, WitnessRefused, cosigned, judge, read_ask, read_policy, ring_of, write_ask
from tests.core.exchange.test_vectors import VECTORS

LOG = VECTORS["log"]
KEYS = VECTORS["vkeys"]["tonghua"]
ORIGIN = "credit.tonghua.example/log/2026"
ENTRIES = [entry.encode() for entry in LOG["entries"]]
LEAVES = [bytes.fromhex(leaf) for leaf in LOG["leaves"]]


def root(size: int) -> bytes:
    """The root over the first leaves."""
    tree = CompactRange()
    tree.extend(LEAVES[:size])
    return tree.root()


def signer(use: str) -> Ed25519Signer:
    """The signer of a published seed."""
    return Ed25519Signer(f"credit.tonghua.example/{use}", bytes([VECTORS["seeds"]["tonghua"][use]]) * 32)


def test_the_commitment_is_over_salt_and_row() -> None:
    """The listing as a reader has it gives the row that is committed to, and the first entry bears its commitment."""
    listing = json.loads(LOG["listing"])
    assert b64(commitment_of(listing)) == LOG["commitment"] == json.loads(ENTRIES[0])["c"]
    salt = b64decode(listing["salt"] + "==", altchars=b"-_")
    assert b64(sha256(salt + LOG["row"].encode()).digest()) == LOG["commitment"]
    changed = listing | {"listed_on": "2026-10-02"}
    assert b64(commitment_of(changed)) != LOG["commitment"]


def test_entries_have_one_form_and_the_published_leaves() -> None:
    """Each reads and is written back byte for byte; another order of members, or a commitment of what is gone, is none."""
    assert [entry_bytes(read_entry(entry)) for entry in ENTRIES] == ENTRIES
    assert [leaf_hash(entry) for entry in ENTRIES] == LEAVES
    for wrong in (ENTRIES[0].replace(b'"v":1', b'"v": 1'), ENTRIES[2].replace(b'"c":null', b'"c":"%s"' % LOG["commitment"].encode())):
        with pytest.raises(ExchangeError):
            read_entry(wrong)


def test_tiles_and_bundles_are_as_served() -> None:
    """Path and bytes of the first tile and bundle, and how large numbers are written."""
    assert {f"tile/{tile_path(name)}": data for name, data in grow(0, {}, LEAVES).items()} == {
        LOG["tile"]["path"]: bytes.fromhex(LOG["tile"]["hex"])
    }
    assert (f"tile/{tile_path(TileName(tiles.BUNDLE, 0, 3))}", bundle(ENTRIES)) == (
        LOG["bundle"]["path"], b64decode(LOG["bundle"]["base64"]),
    )  # fmt: skip
    for said, path in LOG["paths"].items():
        level, number, width = said.split()
        name = TileName(tiles.BUNDLE if level == "entries" else int(level), int(number), int(width))
        assert (f"tile/{tile_path(name)}", read_tile_path(path.removeprefix("tile/"))) == (path, name)


def test_heads_and_the_inclusion_proof() -> None:
    """Both heads are signed by the log's key over the published roots, and the proof leads from the first entry to the newer one."""
    for size, note in LOG["heads"].items():
        head = notes.read_checkpoint(notes.parse(note).text)
        assert (head.origin, head.size, head.root) == (ORIGIN, int(size), root(int(size)))
        assert notes.sign(head.text, [signer("log/2026")]) == note
    proof = merkle.read_proof(LOG["inclusion"])
    assert (proof.index, proof.checkpoint) == (0, LOG["heads"]["3"])
    assert merkle.root_from_proof(LEAVES[0], proof.index, 3, proof.hashes) == root(3)


def test_a_witness_signs_what_continues() -> None:
    """The published request is believed by whoever holds the older head, and answered by the published line; no other root is."""
    consistency = [unb64(line, "SEQ_ROOT") for line in LOG["consistency"]]
    assert write_ask(2, consistency, LOG["heads"]["3"]).decode() == LOG["add_checkpoint"]
    logs = {ORIGIN: ring_of(ORIGIN, [parse_vkey(KEYS["log/2026"])])}
    ask = read_ask(LOG["add_checkpoint"].encode())
    head = judge(ask, logs, Held(2, root(2)))
    witness = CosignatureSigner(signer("witness"))
    assert witness.vkey == KEYS["witness"]
    line = f"— {witness.name} {b64(witness.key_id + witness.sign(head.text.encode(), LOG['time']))}\n"
    assert line == LOG["cosignature"]
    for held, status in ((Held(3, root(3)), 409), (Held(1, root(1)), 409), (Held(2, root(1)), 422), (None, 409)):
        with pytest.raises(WitnessRefused) as caught:
            judge(ask, logs, held)
        assert caught.value.status == status


def test_a_witnessed_head_meets_the_policy() -> None:
    """The head with its cosignature counts under the published policy, and says when it was witnessed; changed, it fails."""
    policy = read_policy(LOG["policy"])
    note = LOG["heads"]["3"] + LOG["cosignature"]
    found = cosigned(note, policy.witnesses)
    assert {name: int(at.timestamp()) for name, at in found.items()} == {"neighbour": LOG["time"]}
    assert policy.met(frozenset(found))
    assert not policy.met(frozenset())
    assert policy.witnesses[0].verifier.vkey == parse_cosignature_vkey(KEYS["witness"]).vkey
    with pytest.raises(ExchangeError):
        cosigned(note.replace("\n3\n", "\n4\n"), policy.witnesses)

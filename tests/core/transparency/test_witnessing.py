"""Witnesses: what they sign, what they refuse, and policies."""

import pytest

from gateway.core.errors import ExchangeError
from gateway.core.exchange import notes
from gateway.core.exchange.merkle import CompactRange, leaf_hash
from gateway.core.exchange.notes import Checkpoint
from gateway.core.exchange.wire import b64
from gateway.core.signing import CosignatureSigner, Ed25519Signer, parse_cosignature_vkey
from gateway.core.transparency import tiles
from gateway.core.transparency.witnessing import Held, WitnessRefused, cosigned, judge, read_ask, read_policy, ring_of, write_ask

PARTY = "credit.tonghua.example"
ORIGIN = f"{PARTY}/log/2026"
LOG = Ed25519Signer(ORIGIN, b"\x04" * 32)
WITNESS = CosignatureSigner(Ed25519Signer(f"{PARTY}/witness", b"\x05" * 32))
LEAVES = [leaf_hash(b"%d" % number) for number in range(20)]
LOGS = {ORIGIN: ring_of(ORIGIN, [LOG.verifier])}


def root(size: int) -> bytes:
    tree = CompactRange()
    tree.extend(LEAVES[:size])
    return tree.root()


def head(size: int, signer: Ed25519Signer = LOG, origin: str = ORIGIN, of: bytes | None = None) -> str:
    return notes.sign(Checkpoint(origin=origin, size=size, root=of or root(size)).text, [signer])


def proof(old: int, new: int) -> list[bytes]:
    grown = {(name.level, name.number): data for name, data in tiles.grow(0, {}, LEAVES[:new]).items()}
    return tiles.follow(tiles.plan_consistency(old, new), new, lambda name: grown[name.level, name.number])


def test_keys_are_those_of_the_vectors() -> None:
    """Log and witness keys of the published seeds have the published verifier keys."""
    assert f"{PARTY}/log/2026+0533d8af+AcqTrBcFGHBx1nuDx/8O/oEI6OxFMFdddyaHkzPb2r58" == LOG.vkey
    assert f"{PARTY}/witness+c1f57d5b+BG56HN0psLeP0Tr0xVmP7/TvKpcWbjym8uT7/M2AUFvx" == WITNESS.vkey


def test_a_head_that_continues_is_signed() -> None:
    """From no head, and from the one held, with its proof; the request reads back as written."""
    for old, new in ((0, 5), (5, 5), (5, 20)):
        ask = read_ask(write_ask(old, proof(old, new), head(new)))
        assert judge(ask, LOGS, Held(old, root(old)) if old else None).size == new


@pytest.mark.parametrize(
    ("status", "body", "held"),
    [
        (400, b"", None),
        (400, b"old 1\n", None),
        (400, b"old 01\n\n" + head(5).encode(), None),
        (400, b"old 0\nAAAA\n\n" + head(5).encode(), None),
        (400, b"old 0\n" + b"".join(b64(bytes(32)).encode() + b"\n" for _ in range(64)) + b"\n" + head(5).encode(), None),
        (400, write_ask(6, [], head(5)), Held(6, root(6))),
        (400, write_ask(0, [], notes.sign("other\n", [LOG])), None),
        (403, write_ask(0, [], head(5, Ed25519Signer(ORIGIN, b"\x09" * 32))), None),
        (403, write_ask(0, [], head(5).replace(b64(root(5)), b64(root(6)))), None),
        (404, write_ask(0, [], head(5, Ed25519Signer("else.example/log/2026", b"\x09" * 32), "else.example/log/2026")), None),
        (409, write_ask(0, [], head(5)), Held(3, root(3))),
        (409, write_ask(5, [], head(5, of=root(6))), Held(5, root(5))),
        (409, write_ask(3, proof(3, 5), head(5)), None),
        (422, write_ask(3, proof(4, 5), head(5)), Held(3, root(3))),
        (422, write_ask(3, [], head(5)), Held(3, root(3))),
    ],
)
def test_everything_else_is_refused(status: int, body: bytes, held: Held | None) -> None:
    """Each fault has its status; a size that is not the one held is told."""
    with pytest.raises(WitnessRefused) as caught:
        judge(read_ask(body), LOGS, held)
    assert caught.value.status == status
    assert caught.value.size == ((held.size if held else 0) if status == 409 else None)


def test_cosignatures_are_told_by_witness_and_time() -> None:
    """A head with a witness's line is witnessed by it, at its time; a line that fails is refused, one of nobody known ignored."""
    policy = read_policy(f"log {LOG.vkey}\nwitness w {WITNESS.vkey} https://w.example\nquorum w\n")
    text = Checkpoint(origin=ORIGIN, size=5, root=root(5)).text
    line = f"— {WITNESS.name} {b64(WITNESS.key_id + WITNESS.sign(text.encode(), 1_780_000_000))}\n"
    assert cosigned(head(5), policy.witnesses) == {}
    found = cosigned(head(5) + line, policy.witnesses)
    assert [(name, when.timestamp()) for name, when in found.items()] == [("w", 1_780_000_000)]
    assert policy.met(frozenset(found))
    with pytest.raises(ExchangeError) as caught:
        cosigned(head(6) + line, policy.witnesses)
    assert caught.value.code == "SIG_INVALID"


def test_a_note_of_the_witness_key_is_no_cosignature() -> None:
    """A witness's key is never believed for a plain signature over the same text."""
    verifier = parse_cosignature_vkey(WITNESS.vkey)
    plain = Ed25519Signer(WITNESS.name, b"\x05" * 32)
    assert not verifier.verify(b"text\n", plain.sign(b"text\n"))
    assert not verifier.verify(b"text\n", (7).to_bytes(8, "big") + plain.sign(b"text\n"))
    assert verifier.verify(b"text\n", WITNESS.sign(b"text\n", 7))
    with pytest.raises(ExchangeError):
        parse_cosignature_vkey(LOG.vkey)


def test_groups_make_a_quorum() -> None:
    """Any, all or some of a group, of witnesses or of groups."""
    keys = [CosignatureSigner(Ed25519Signer(f"w{number}.example/w", bytes([number]) * 32)).vkey for number in range(1, 5)]
    lines = [f"witness w{number} {vkey}" for number, vkey in enumerate(keys, 1)]
    policy = read_policy("\n".join([*lines, "group pair all w1 w2", "group other any w3 w4", "group both 2 pair other", "quorum both"]))
    assert policy.met(frozenset({"w1", "w2", "w4"}))
    assert not policy.met(frozenset({"w1", "w3", "w4"}))
    assert read_policy("quorum none\n").met(frozenset())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "quorum none\nquorum none\n",
        "quorum missing\n",
        f"witness w {LOG.vkey}\nquorum w\n",
        f"witness w {WITNESS.vkey}\nwitness w {WITNESS.vkey}\nquorum w\n",
        f"witness w {WITNESS.vkey}\ngroup g 2 w\nquorum g\n",
        f"witness w {WITNESS.vkey}\ngroup g all w w\nquorum g\n",
        "group g any w\nquorum g\n",
        "nonsense\nquorum none\n",
    ],
)
def test_a_policy_is_read_strictly(text: str) -> None:
    """What is no policy is refused, with the line."""
    with pytest.raises(ExchangeError) as caught:
        read_policy(text)
    assert caught.value.code in ("SCHEMA_LINE", "SIG_FORMAT")

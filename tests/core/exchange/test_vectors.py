"""Every vector of the wire specification, in both suites: a second implementation interoperates from them alone."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.core.errors import ExchangeError
from gateway.core.exchange import (
    admitting,
    agreements,
    batch_lines,
    disclosures,
    documents,
    feedback,
    inventories,
    judging,
    manifests,
    merkle,
    notes,
    records,
    sealing,
    wire,
)
from gateway.core.exchange.agreements import Held, Notice
from gateway.core.exchange.merkle import CompactRange
from gateway.core.exchange.notes import KeyRing, KnownKey, SignedDocument
from gateway.core.exchange.wire import GM1, SHA256
from gateway.core.message_signing import Message, claimed_key, sign_request, verify_body, verify_request
from gateway.core.signing import Ed25519Signer, parse_vkey

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "gateway/core/exchange/README.md").read_text(encoding="utf-8")
"""The specification that is shipped: what is tested here is what a stranger reads."""
VECTORS: dict[str, Any] = json.loads(PAGE.rpartition("\n```json\n")[2].partition("\n```\n")[0])
TONGHUA, BAISHAN = "credit.tonghua.example", "credit.baishan.example"
SEED = bytes(range(32))
SEALED = datetime(2026, 12, 2, 1, 0, tzinfo=UTC)
RECEIVED = SEALED + timedelta(seconds=2)


def signer(party: str, use: str) -> Ed25519Signer:
    """The signer of a vector."""
    city = party.split(".")[1]
    return Ed25519Signer(f"{party}/{use}", bytes([VECTORS["seeds"][city][use]]) * 32)


@pytest.fixture
def agreement() -> agreements.Agreement:
    """The agreement of the vectors."""
    body, _ = agreements.signed_form(VECTORS["agreement"]["toml"].encode())
    return agreements.read_agreement(body)


@pytest.fixture
def ring(agreement: agreements.Agreement) -> KeyRing:
    """Tonghua's keys, as its keys document lists them under the pin of the agreement."""
    document = SignedDocument(VECTORS["keys"]["body"].encode(), VECTORS["keys"]["note"])
    pins = agreement.pins(TONGHUA)
    return documents.ring(pins, [documents.read_keys(document, pins, first_seen=SEALED)])


@pytest.fixture
def rules(agreement: agreements.Agreement) -> agreements.StreamRules:
    """The rules of the one stream."""
    return agreements.rules_of(agreement, "penalties", TONGHUA)


@pytest.mark.parametrize(
    ("city", "use"),
    [("tonghua", "x"), ("tonghua", "http"), ("tonghua", "agreement"), ("tonghua", "log/2026"), ("baishan", "x"), ("baishan", "agreement")],
)
def test_vkeys(city: str, use: str) -> None:
    """A seed gives the verifier key of the specification, and the key parses back to itself."""
    made = Ed25519Signer(f"credit.{city}.example/{use}", bytes([VECTORS["seeds"][city][use]]) * 32)
    assert made.vkey == VECTORS["vkeys"][city][use]
    assert parse_vkey(made.vkey).vkey == made.vkey


def test_salts() -> None:
    """Salts follow from seed and name."""
    for name, expected in VECTORS["salts"].items():
        assert disclosures.salt(SEED, name) == expected


def test_disclosure() -> None:
    """A disclosure and its digest, both ways."""
    expected = VECTORS["disclosure"]
    assert disclosures.disclose_all(SEED, [(expected["name"], expected["value"])]) == ([expected["b64u"]], [expected["digest"]])
    assert wire.unb64u(expected["b64u"], "X").decode() == expected["json"]
    data = wire.unb64u(expected["b64u"], "X")
    opened = disclosures.open_all([expected["b64u"].encode()], data, [expected["digest"]], SHA256)
    assert opened == disclosures.Opened((expected["name"],), (expected["value"],), (expected["digest"],))


def test_withdrawal_leaf() -> None:
    """The leaf of a withdrawal is the hash of its payload bytes."""
    payload = VECTORS["withdrawal"]["payload"].encode()
    assert len(payload) == VECTORS["withdrawal"]["bytes"]
    assert merkle.leaf_hash(payload).hex() == VECTORS["withdrawal"]["leaf"]


@pytest.mark.parametrize("suite", [SHA256, GM1])
def test_trees(suite: wire.Suite) -> None:
    """Roots over one and three payloads, in both hashes."""
    tree = CompactRange(suite)
    tree.append(merkle.leaf_hash(b"a", suite))
    assert tree.root().hex() == VECTORS["trees"]["a"][suite.digest_name]
    tree.extend(merkle.leaf_hash(payload, suite) for payload in (b"b", b"c"))
    assert tree.root().hex() == VECTORS["trees"]["abc"][suite.digest_name]


def test_note() -> None:
    """A signed note, byte for byte."""
    text = notes.document_text("manifest", f"{TONGHUA}/x/tonghua-baishan-2026.penalties/1/1", VECTORS["note"]["body"].encode())
    assert text == VECTORS["note"]["text"]
    assert notes.sign(text, [signer(TONGHUA, "x")]) == text + "\n" + VECTORS["note"]["line"]


def test_sm2_note_verifies() -> None:
    """The SM2 note is good under the key of GB/T 32918.5 annex A, and for no other text."""
    key = parse_vkey(VECTORS["sm2_vkey"])
    ring = KeyRing.of(TONGHUA, [KnownKey(verifier=key, use="exchange")])
    checked: dict[str, Any] = {"use": "exchange", "required": frozenset({"sm2"}), "first_seen": SEALED}
    notes.verify(VECTORS["sm2_note"], ring, **checked)
    with pytest.raises(ExchangeError) as caught:
        notes.verify(VECTORS["sm2_note"].replace("2026.penalties", "2027.penalties"), ring, **checked)
    assert caught.value.code == "SIG_INVALID"


def test_sm2_note_is_of_an_unknown_key(ring: KeyRing) -> None:
    """A line of an SM2 key that nobody published is set aside like any other."""
    with pytest.raises(notes.ExchangeError) as caught:
        notes.verify(VECTORS["sm2_note"], ring, use="exchange", required=frozenset({"ed25519"}), first_seen=SEALED)
    assert caught.value.code == "SIG_UNKNOWN_KEY"


def test_agreement(agreement: agreements.Agreement) -> None:
    """The TOML gives the signed bytes, their digest, and Tonghua's signature."""
    assert len(agreement.body) == VECTORS["agreement"]["bytes"]
    assert agreement.digest == VECTORS["agreement"]["digest"]
    note = notes.sign(agreements.signing_text(agreement), [signer(TONGHUA, "agreement")])
    assert note.endswith("\n\n" + VECTORS["agreement"]["line"])
    assert agreements.signed_by(agreement, note, previous=None, first_seen=SEALED) == {TONGHUA}
    both = notes.add_line(note, signer(BAISHAN, "agreement"))
    assert agreements.signed_by(agreement, both, previous=None, first_seen=SEALED) == {TONGHUA, BAISHAN}


def test_keys(ring: KeyRing) -> None:
    """The keys document verifies under the pin, and gives the keys it lists."""
    signed = documents.sign_keys(VECTORS["keys"]["body"].encode(), signer(TONGHUA, "agreement"))
    assert signed.note == VECTORS["keys"]["note"]
    assert ring.vkeys("exchange") == (VECTORS["vkeys"]["tonghua"]["x"],)
    assert ring.vkeys("http") == (VECTORS["vkeys"]["tonghua"]["http"],)


def sealed_lines(rules: agreements.StreamRules) -> list[records.SealedLine]:
    """The two lines of batch 1/1."""
    said = msgspec.json.decode(VECTORS["batch"]["payloads"][0].encode(), type=records.Statement)
    taken_back = msgspec.json.decode(VECTORS["batch"]["payloads"][1].encode(), type=records.Withdrawal)
    values = [("CF_XDR_SHXYM", "91220502XXT00002X2"), ("CF_WSH", "通市监罚〔2026〕12号")]
    return [records.seal_statement(said, values, SEED, SHA256), records.seal_withdrawal(taken_back, SHA256)]


def test_seal(rules: agreements.StreamRules) -> None:
    """Sealing gives the lines, manifest, checkpoint, notes and proof of the specification, byte for byte."""
    lines = sealed_lines(rules)
    for line, payload, shown, leaf in zip(
        lines, VECTORS["batch"]["payloads"], VECTORS["batch"]["disclosures"], VECTORS["batch"]["leaves"], strict=True
    ):
        read = records.read_line(line.data[:-1], SHA256)
        assert (read.payload.decode(), read.disclosures) == (payload, tuple(shown))
        assert line.leaf.hex() == leaf
    head = manifests.Head(stream=rules.stream, epoch=1, seq=0, tree=CompactRange(), manifest_digest=None)
    sealed = sealing.seal(head, lines, rules, [signer(TONGHUA, "x")], policy_version=1, created=SEALED, compress=False)
    assert len(sealed.parts[0].data) == VECTORS["batch"]["bytes"]
    assert sealed.parts[0].entry.digest == VECTORS["batch"]["digest"]
    assert sealed.document.body.decode() == VECTORS["manifest"]["body"]
    assert sealed.document.note == VECTORS["manifest"]["note"]
    assert sealed.checkpoint == VECTORS["checkpoint"]
    proof = merkle.inclusion_proof(sealed.leaves, 0)
    assert merkle.proof_text(0, proof, sealed.checkpoint) == VECTORS["proof"]
    assert merkle.root_from_proof(sealed.leaves[0], 0, 2, proof) == sealed.head.tree.root()


def test_a_manifest_names_licence_and_plans(rules: agreements.StreamRules) -> None:
    """Where there are plans they are members of the signed manifest, and the licence that they name; where not, there is no such member."""
    head = manifests.Head(stream=rules.stream, epoch=1, seq=0, tree=CompactRange(), manifest_digest=None)
    address = "https://example.cn/by"
    sealed = sealing.seal(
        head, sealed_lines(rules), rules, [signer(TONGHUA, "x")], policy_version=1, created=SEALED, licence=address, plan="0" * 64,
        compress=False,
    )  # fmt: skip
    read = manifests.read_manifest(sealed.document.body)
    assert (read.license, read.policy_plan) == (address, "0" * 64)
    assert not any(name in VECTORS["manifest"]["body"] for name in ("license", "policy_plan"))


def test_admit(agreement: agreements.Agreement, rules: agreements.StreamRules, ring: KeyRing) -> None:
    """The batch of the specification passes every step, and its lines come out as a record and its repair."""
    lines = sealed_lines(rules)
    document = SignedDocument(VECTORS["manifest"]["body"].encode(), VECTORS["manifest"]["note"])
    manifest = manifests.read_manifest(document.body)
    skew, required = agreement.skew, admitting.required_algorithms(rules)
    admitting.check_note(
        document, ring, context=f"{TONGHUA}/x/a-b.penalties/1/1", required=required, suite=SHA256, first_seen=RECEIVED, skew=skew
    )
    held = Held(agreement=agreement, note="", signed=frozenset(agreement.parties), recorded=SEALED, keys_held=True)
    admitting.check_agreement(manifest, [held], held, rules, RECEIVED)
    admitting.check_time(manifest, now=RECEIVED, skew=skew, previous_created=None)
    admitting.check_sequence(manifest, None)
    admitting.check_checkpoint(manifest, VECTORS["checkpoint"], ring, required=required, first_seen=RECEIVED, skew=skew)
    data = b"".join(line.data for line in lines)
    batch_lines.check_part(manifest.parts[0], data)
    verified = batch_lines.verify_lines(manifest, [(manifest.parts[0], data)], CompactRange(), agreement.terms.limits)
    assert [leaf.hex() for leaf in verified.leaves] == VECTORS["batch"]["leaves"]
    known: dict[str, judging.KnownRecord] = {}
    actions = []
    for (_, line), leaf in zip(batch_lines.lines_of(manifest.parts[0], data, agreement.terms.limits, SHA256), verified.leaves, strict=True):
        judged = judging.judge(line, rules, known.get("rec_aaaqeayeaudaocajbifqydiob4"), SHA256)
        now_known = judging.after(known, judged, leaf, sender=TONGHUA, dataset="penalties", stream="a-b.penalties")
        assert now_known is not None
        known["rec_aaaqeayeaudaocajbifqydiob4"] = now_known
        actions.append((judged.action, [finding.code for finding in judged.findings]))
    assert actions == [("store", []), ("withdraw", ["ACK_WITHDRAWN"])]


@pytest.mark.parametrize(
    "case", [case for case in VECTORS["versions"] if case["epoch"] == "same"], ids=lambda case: f"{case['held']}, {case['line']}"
)
def test_versions(rules: agreements.StreamRules, case: dict[str, Any]) -> None:
    """What becomes of a line where its record is held, within an epoch; those of a new epoch are asked of a served gateway."""
    op, v, how = (*case["line"].split(), "")[:3]
    line = versioned(op, int(v), how)
    held = None
    if case["held"] is not None:
        held_op, held_v = case["held"].split()
        leaf = merkle.leaf_hash(line.payload, SHA256) if how == "same" else bytes(32)
        held = judging.KnownRecord(sender=TONGHUA, dataset="penalties", v=int(held_v), op=held_op, leaf=leaf)
    assert [finding.code for finding in judging.judge(line, rules, held, SHA256).findings] == case["codes"]


def versioned(op: str, v: int, how: str) -> records.Line:
    """A line of the vectors' batch, told as another operation under another version."""
    if op in ("assert", "amend"):
        said = msgspec.json.decode(VECTORS["batch"]["payloads"][0].encode(), type=records.Statement)
        reason = how if how == "repair_revoked" else None
        values = [("CF_XDR_SHXYM", "91220502XXT00002X2"), ("CF_WSH", "通市监罚〔2026〕12号")]
        told = msgspec.structs.replace(said, op=op, v=v, reason=reason)
        return records.read_line(records.seal_statement(told, values, SEED, SHA256).data[:-1], SHA256)
    taken_back = msgspec.json.decode(VECTORS["batch"]["payloads"][1].encode(), type=records.Withdrawal)
    status = {"retract": "retracted", "repair": "repaired", "expire": "expired", "erase": "erased"}[op]
    gone = msgspec.structs.replace(taken_back, op=op, v=v, status=status, reason="revoked" if op == "retract" else status)
    return records.read_line(records.seal_withdrawal(gone, SHA256).data[:-1], SHA256)


def test_feedback_and_receipt() -> None:
    """The feedback line and the receipt with its note."""
    line = feedback.Feedback(
        i=1,
        rid="rec_aaaqeayeaudaocajbifqydiob4",
        v=2,
        severity="info",
        code="ACK_WITHDRAWN",
        message=feedback.MESSAGES["ACK_WITHDRAWN"],
        at="2026-12-02T01:00:05Z",
    )
    file = feedback.feedback_file([line])
    assert file.decode() == VECTORS["feedback"]
    manifest = VECTORS["manifest"]["body"].encode()
    root = manifests.read_manifest(manifest).tree.root
    body = feedback.make_receipt(
        receiver=BAISHAN,
        sender=TONGHUA,
        stream="a-b.penalties",
        no=1,
        previous=None,
        batch=feedback.ReceiptBatch(epoch=1, seq=1, manifest=wire.digest_text(manifest)),
        result="applied",
        code=None,
        epoch=1,
        size=2,
        root=wire.unb64(root, "X"),
        agreement=feedback.ReceiptAgreement(id="a-b", version=1),
        counts=feedback.ReceiptCounts(lines=2, accepted=1, withdrawn=1),
        feedback=feedback.feedback_sum(file, 1),
        received_at=RECEIVED,
        decided_at=SEALED + timedelta(seconds=5),
    )
    assert body.decode() == VECTORS["receipt"]["body"]
    document = feedback.sign_receipt(body, feedback.read_receipt(body), [signer(BAISHAN, "x")])
    assert document.note == VECTORS["receipt"]["note"]


def test_standing(agreement: agreements.Agreement) -> None:
    """An agreement runs from 00:00 UTC+8 of its first day to 24:00 UTC+8 of its last, suspended and ended by one side."""
    held = Held(agreement=agreement, note="", signed=frozenset(agreement.parties), recorded=SEALED, keys_held=True)
    first, last = datetime(2026, 11, 30, 16, 0, tzinfo=UTC), datetime(2028, 11, 30, 16, 0, tzinfo=UTC)
    assert held.standing(first - timedelta(seconds=1)).state == "agreed"
    assert held.standing(first).state == "active"
    assert held.standing(last - timedelta(seconds=1)).state == "active"
    assert held.standing(last).state == "expired"
    stopped = msgspec.structs.replace(held, notices=(Notice(by=TONGHUA, serial=1, state="suspended", from_at=SEALED, first_seen=SEALED),))
    assert stopped.standing(SEALED).state == "suspended"


def test_the_page_has_the_golden_vectors() -> None:
    """The vectors of the specification are those of `tests/golden`, letter for letter."""
    assert json.loads((ROOT / "tests/golden/exchange/vectors.json").read_text(encoding="utf-8")) == VECTORS


def test_a_signed_request() -> None:
    """The request of the specification verifies as it stands there, and our own signature over it is the same."""
    said = VECTORS["http"]
    fields = [
        ("content-type", said["content_type"]),
        ("content-digest", said["content_digest"]),
        ("signature-input", said["signature_input"]),
        ("signature", said["signature"]),
    ]
    message = Message(method=said["method"], url=said["url"], headers=fields)
    now = datetime.fromtimestamp(1793926800, UTC)
    key = parse_vkey(VECTORS["vkeys"]["tonghua"]["http"])
    assert claimed_key(message) == f"{TONGHUA}/http+4bab8278"
    believed = verify_request(message, keys={claimed_key(message): key}, tag="cx-query", now=now)
    verify_body(message, believed, said["body"].encode())
    with pytest.raises(ExchangeError):
        verify_body(message, believed, said["body"].encode() + b" ")
    with pytest.raises(ExchangeError):
        verify_request(message, keys={claimed_key(message): key}, tag="cx-write", now=now)
    ours = dict(
        sign_request(
            signer(TONGHUA, "http"),
            method=said["method"],
            url=said["url"],
            body=said["body"].encode(),
            content_type=said["content_type"],
            tag="cx-query",
            now=now,
            nonce="AAECAwQFBgcICQoLDA0ODw",
        )
    )
    assert ours["Content-Digest"] == said["content_digest"]
    again = Message(method=said["method"], url=said["url"], headers=list(ours.items()))
    verify_body(again, verify_request(again, keys={claimed_key(again): key}, tag="cx-query", now=now), said["body"].encode())


def test_notices_and_inventories(agreement: agreements.Agreement):
    """An agreement-state and an inventory are signed as the page shows, byte for byte, and believed under the keys of their party."""
    at = datetime(2026, 12, 3, 1, 0, tzinfo=UTC)
    body = agreements.state_body(agreement, by=BAISHAN, serial=1, state="terminated", from_at=at, reason="向量")
    made = notes.sign_document("agreement-state", f"{agreement.id}/{BAISHAN}/1", body, [signer(BAISHAN, "agreement")])
    assert {"body": made.body.decode(), "note": made.note} == VECTORS["agreement_state"]
    assert agreements.read_state(made, agreement, first_seen=at).state == "terminated"
    said = inventories.decode_inventory(VECTORS["inventory"]["body"].encode())
    body = inventories.inventory_body(agreement, by=BAISHAN, streams=said.streams, done_at=at)
    document = inventories.sign_inventory(body, agreement, BAISHAN, [signer(BAISHAN, "x")])
    assert {"body": document.body.decode(), "note": document.note} == VECTORS["inventory"]
    known = notes.KnownKey(verifier=parse_vkey(signer(BAISHAN, "x").vkey), use="exchange")
    read = inventories.read_inventory(document, agreement, KeyRing.of(BAISHAN, [known]), first_seen=at)
    assert [(one.size, one.action) for one in read.streams] == [(2, "purged")]

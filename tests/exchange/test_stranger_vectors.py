"""The vectors of the wire specification, made and read by the partner of another make: two programs, one page."""

import ast
import base64
import json
import sys
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.exchange.stranger.formats import (
    Refused,
    SigningKey,
    Tree,
    as_json,
    b64,
    checkpoint_text,
    digest,
    note_text,
    open_note,
    opened,
    read_vkey,
    sha256,
    unb64u,
)
from tests.exchange.stranger.log import PublicLog, commitment, cosigned_at, row_of, tile_path
from tests.exchange.stranger.messages import signature
from tests.exchange.stranger.records import (
    Head,
    Line,
    Stream,
    admit,
    disclosed_digest,
    disclosure,
    read_line,
    read_proof,
    salt,
    signed_form,
    withdrawal,
)

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "gateway/core/exchange/README.md").read_text(encoding="utf-8")
VECTORS: dict[str, Any] = json.loads(PAGE.rpartition("\n```json\n")[2].partition("\n```\n")[0])
TONGHUA, BAISHAN = "credit.tonghua.example", "credit.baishan.example"
SEED = bytes(range(32))


def signer(city: str, use: str) -> SigningKey:
    """The key of a vector."""
    return SigningKey(f"credit.{city}.example/{use}", bytes([VECTORS["seeds"][city][use]]) * 32)


def stream() -> Stream:
    """The stream of the vectors."""
    agreement = json.loads(signed_form(tomllib.loads(VECTORS["agreement"]["toml"])))
    return Stream(agreement, VECTORS["agreement"]["digest"], "penalties", TONGHUA, BAISHAN)


def document(name: str) -> dict[str, str]:
    """A signed document of the vectors."""
    return {"body": VECTORS[name]["body"], "note": VECTORS[name]["note"]}


def test_the_stranger_knows_nothing_of_the_program():
    """No file of the partner imports anything but the standard library, `cryptography` and its own other files."""
    for path in (ROOT / "tests/exchange/stranger").glob("*.py"):
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        imported = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
        imported |= {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        foreign = {name for name in imported if name.partition(".")[0] not in {*sys.stdlib_module_names, "cryptography"}}
        assert {name for name in foreign if not name.startswith("tests.exchange.stranger.")} == set(), path


def test_keys_and_trees():
    """Verifier keys and roots of the vectors come out of their seeds and leaves."""
    for city, keys in VECTORS["vkeys"].items():
        for use, vkey in keys.items():
            assert signer(city, use).key.text == vkey
            assert read_vkey(vkey) == signer(city, use).key
    for name, roots in VECTORS["trees"].items():
        tree = Tree()
        for each in name:
            tree.append(each.encode())
        assert tree.root().hex() == roots["sha-256"]


def test_records():
    """Salts, disclosures, the withdrawal and the leaves of the batch are the page's, byte for byte."""
    said = VECTORS["disclosure"]
    assert {name: salt(SEED, name) for name in VECTORS["salts"]} == VECTORS["salts"]
    assert disclosure(SEED, said["name"], said["value"]) == said["b64u"]
    assert disclosed_digest(said["b64u"]) == said["digest"]
    at = datetime(2026, 11, 4, 1, tzinfo=UTC)
    gone = withdrawal(TONGHUA, "rec_aaaqeayeaudaocajbifqydiob4", 2, "repair", "repaired", "penalties/1.0", at)
    assert json.loads(gone.payload) == json.loads(VECTORS["withdrawal"]["payload"])
    assert len(VECTORS["withdrawal"]["payload"].encode()) == VECTORS["withdrawal"]["bytes"]
    batch = VECTORS["batch"]
    for payload, leaf in zip(batch["payloads"], batch["leaves"], strict=True):
        assert sha256(b"\0" + payload.encode()).hex() == leaf


def test_documents():
    """Every signed document of the vectors is signed to the same bytes, and believed."""
    tonghua, baishan = signer("tonghua", "x"), signer("baishan", "x")
    for name, artefact, context, key in (
        ("manifest", "manifest", f"{TONGHUA}/x/a-b.penalties/1/1", tonghua),
        ("receipt", "receipt", f"a-b.penalties/{TONGHUA}/1", baishan),
        ("keys", "keys", f"{TONGHUA}/7", signer("tonghua", "agreement")),
        ("agreement_state", "agreement-state", f"a-b/{BAISHAN}/1", signer("baishan", "agreement")),
        ("inventory", "inventory", f"a-b/{BAISHAN}", baishan),
    ):
        body = VECTORS[name]["body"].encode()
        assert key.note(note_text(artefact, context, body)) == VECTORS[name]["note"]
        assert opened(document(name), artefact, context, [key.key])["type"] == f"chengxin-exchange/{artefact}/1"
        with pytest.raises(Refused, match="SIG_CONTEXT"):
            opened(document(name), artefact, context + "0", [key.key])
        changed = document(name) | {"body": VECTORS[name]["body"].replace("a", "e", 1)}
        with pytest.raises(Refused, match="SIG_INVALID"):
            opened(changed, artefact, context, [key.key])


def test_the_agreement():
    """The signed form of the file has the bytes of the vector, and its line is the page's."""
    said = VECTORS["agreement"]
    body = signed_form(tomllib.loads(said["toml"]))
    assert (len(body), digest(body)) == (said["bytes"], said["digest"])
    assert signer("tonghua", "agreement").line(note_text("agreement", "a-b/1", body)) == said["line"]


def test_the_batch():
    """Manifest, checkpoint, part and proof of the vectors are admitted as they lie on the page, and none of them with another record."""
    batch, key = VECTORS["batch"], signer("tonghua", "x").key
    lines = [Line(payload.encode(), tuple(said)) for payload, said in zip(batch["payloads"], batch["disclosures"], strict=True)]
    part = b"".join(line.data for line in lines)
    assert (len(part), digest(part)) == (batch["bytes"], batch["digest"])
    given = stream(), Head(), document("manifest"), VECTORS["checkpoint"], [key]
    manifest, records, after = admit(*given, lambda _: part)
    assert [record.clear["op"] for record in records] == ["assert", "repair"]
    assert records[0].values["CF_WSH"] == VECTORS["disclosure"]["value"]
    assert checkpoint_text(stream().origin(1), after.tree) == open_note(VECTORS["checkpoint"], [key])[0]
    assert manifest["tree"]["root"] == b64(after.tree.root())
    with pytest.raises(Refused, match="SIG_PART_DIGEST"):
        admit(*given, lambda _: part.replace(b"e", b"f", 1))
    assert read_proof(VECTORS["proof"], lines[0].payload, stream().origin(1), [key]) == 0
    with pytest.raises(Refused, match="SEQ_ROOT"):
        read_proof(VECTORS["proof"], lines[1].payload, stream().origin(1), [key])


def test_the_request():
    """The signature of the page's request comes out the same."""
    said = VECTORS["http"]
    created = datetime.fromtimestamp(int(said["signature_input"].partition("created=")[2].partition(";")[0]), UTC)
    nonce = unb64u(said["signature_input"].partition('nonce="')[2].partition('"')[0], "SIG_HTTP")
    key = signer("tonghua", "http")
    headers = signature(key, said["method"], said["url"], "cx-query", said["body"].encode(), said["content_type"], created, nonce)
    assert (headers["Content-Digest"], headers["Signature-Input"], headers["Signature"]) == (
        said["content_digest"],
        said["signature_input"],
        said["signature"],
    )


def test_questions_and_answers():
    """Both answers of the vectors are signed, of their question, and the record of the second is what was disclosed."""
    for level in ("level_1", "level_2"):
        said = VECTORS["query"][level]
        question = json.loads(said["question"])
        answer = opened({"body": said["answer"], "note": said["note"]}, "answer", question["id"], [signer("tonghua", "x").key])
        assert answer["request_digest"] == digest(said["question"].encode()) == said["digest"]
    (record,) = answer["records"]
    told = read_line(Line(unb64u(record["line"]["p"], "SCHEMA_LINE"), tuple(record["line"]["d"])), all_of_it=False)
    assert told.clear == json.loads(VECTORS["query"]["level_2"]["payload"])
    assert told.values == VECTORS["query"]["level_2"]["disclosed"]
    assert as_json(question["follows"]) == as_json(digest(VECTORS["query"]["level_1"]["answer"].encode()))


def test_the_public_log():
    """Rows, commitments, paths, entries, tile, proof and cosignature of the log are the page's."""
    said = VECTORS["log"]
    listing, key = json.loads(said["listing"]), signer("tonghua", "log/2026").key
    assert row_of(listing).decode() == said["row"]
    assert commitment(listing) == said["commitment"] == json.loads(said["entries"][0])["c"]
    for asked, path in said["paths"].items():
        level, index, width = asked.split()
        assert tile_path(level, int(index), int(width)) == path
    files = {
        "/checkpoint": said["heads"]["3"].encode(),
        f"/{said['bundle']['path']}": base64.b64decode(said["bundle"]["base64"]),
        f"/{said['tile']['path']}": bytes.fromhex(said["tile"]["hex"]),
    }
    log = PublicLog(f"{TONGHUA}/log/2026", [key], files.__getitem__)
    assert [log.entry(index).decode() for index in range(log.size)] == said["entries"]
    assert log.span(0, log.size) == log.root
    assert read_proof(said["inclusion"], log.entry(0), f"{TONGHUA}/log/2026", [key]) == 0
    assert [b64(each) for each in log.path(0)] == said["inclusion"].split("\n")[2:4]
    text = open_note(said["heads"]["3"], [key])[0]
    witness = signer("tonghua", "witness").key
    assert cosigned_at(text, said["cosignature"], witness) == said["time"]
    with pytest.raises(Refused, match="SIG_INVALID"):
        cosigned_at(open_note(said["heads"]["2"], [key])[0], said["cosignature"], witness)

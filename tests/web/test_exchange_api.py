"""`/x/v1` over real sockets: who is believed, what everybody may read and what only a partner, batches and parts, its problems.

Strategy: two served cities cost seconds, so all tests share them, and what one has sent the next one finds. They run in their order and in
one process: `make test` spreads whole files (`--dist loadfile`); with `-n 2` alone four of them fail.
"""

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from gateway.core.exchange import merkle, notes, sd_jwt
from gateway.core.exchange.notes import KeyRing, KnownKey
from gateway.core.exchange.wire import SHA256, b64u, unb64, unb64u
from gateway.core.message_signing import sign_request
from gateway.core.signing import Ed25519Signer, parse_vkey
from gateway.operations.export_evidence import export_evidence
from gateway.operations.release_frozen import ask_for_epoch, release_frozen
from gateway.web.exchange_words import EXCHANGE_WORDS
from gateway.web.problems import exchange_status
from tests.administrators import enrolled
from tests.house import PLAIN
from tests.ledger import check_ledger
from tests.operations.publishing import PENALTIES as DATASET
from tests.operations.publishing import code, ids, penalty, put
from tests.region import (
    AGREEMENT,
    BAISHAN,
    HONOURS,
    NOW,
    PENALTIES,
    TONGHUA,
    Cities,
    Forger,
    Line,
    SignedBy,
    a_city,
    agree,
    posted_of,
    signed_by,
    template,
    utc,
)
from tests.untouched import LEDGER, contents, moved


def free_port() -> int:
    """A port that nobody has just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Towns:
    """Two cities on disk, the second one served."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = free_port(), free_port()
        self.auth: dict[str, SignedBy] = {}
        """How each city signs its requests."""

    def ours(self):
        """Tonghua, opened here."""
        return a_city(self.folder / "th", TONGHUA, now=NOW, port=self.ports[0])

    def theirs(self):
        """Baishan, opened here."""
        return a_city(self.folder / "bs", BAISHAN, now=NOW, port=self.ports[1])


@pytest.fixture(scope="module")
def towns(tmp_path_factory: pytest.TempPathFactory) -> Towns:
    """Two cities that have agreed; Tonghua has sealed a batch."""
    made = Towns(tmp_path_factory.mktemp("towns"))

    async def prepare() -> None:
        async with made.ours() as ours, made.theirs() as theirs:
            await agree(ours, theirs, template())
            made.auth = {TONGHUA: signed_by(ours), BAISHAN: signed_by(theirs)}

    asyncio.run(prepare())
    return made


@pytest.fixture(scope="module")
def served(towns: Towns) -> Iterator[dict[str, httpx.Client]]:
    """Both cities, served as in production; to each a client that signs as the other one."""
    processes, clients = [], {}
    for key, folder, port, other in (("ours", "th", towns.ports[0], BAISHAN), ("theirs", "bs", towns.ports[1], TONGHUA)):
        processes.append(
            subprocess.Popen(
                [sys.executable, "-m", "gateway", "--settings", str(towns.folder / folder / "chengxin.toml"), "serve"],
                env=os.environ | {"CHENGXIN_NOW": NOW, "CHENGXIN_EXCHANGE_POLL_S": "0"},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        )
        clients[key] = httpx.Client(base_url=f"http://127.0.0.1:{port}/x/v1", timeout=30, auth=towns.auth[other], verify=PLAIN)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                if httpx.get(f"http://127.0.0.1:{port}/healthz", verify=PLAIN).status_code == httpx.codes.OK:
                    break
            except httpx.HTTPError:
                time.sleep(0.05)
    yield clients
    for client in clients.values():
        client.close()
    for process in processes:
        process.terminate()
    for process in processes:
        process.wait(20)


def problem(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of a problem."""
    assert answer.headers["content-type"].startswith("application/problem+json"), answer.text
    return answer.status_code, answer.json()["code"]


def test_keys_are_open_to_all(served):
    """The keys document is signed, has an ETag, and is not sent again to whoever has it."""
    answer = served["ours"].get("/keys", auth=None)
    assert answer.status_code == httpx.codes.OK
    assert json.loads(answer.json()["body"])["party"] == TONGHUA
    again = served["ours"].get("/keys", headers={"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (httpx.codes.NOT_MODIFIED, b"")


def test_agreements(served):
    """Agreements are listed, and given as signed."""
    (item,) = served["ours"].get("/agreements").json()["items"]
    assert item["state"] == "active"
    document = served["ours"].get(f"/agreements/{item['id']}/1").json()
    assert notes.parse(document["note"]).text.startswith("chengxin-exchange/agreement/1\n")
    assert problem(served["ours"].get(f"/agreements/{item['id']}/9")) == (404, "not-found")
    assert problem(served["ours"].post("/agreements", json=document | {"note": document["note"].replace("agreement/1", "keys/1", 1)})) == (
        400,
        "schema-manifest",
    )
    assert served["ours"].post("/agreements", json=document).status_code == httpx.codes.OK


@pytest.fixture(scope="module")
def sealed(towns: Towns, served) -> dict[str, object]:
    """A batch of the forger, sealed under the agreement, and its records."""
    del served

    async def make():
        async with towns.ours() as ours, towns.theirs() as theirs:
            forger = Forger(Cities(ours, theirs, Line()))
            first = forger.seal([forger.penalty(number) for number in range(1, 6)], lines_a_part=3)
            return forger, first, forger.head, forger.seal([forger.penalty(9)])

    forger, first, after, second = asyncio.run(make())
    return {"forger": forger, "first": first, "after": after, "second": second}


def body_of(batch, parts: bool = True) -> bytes:
    """The body of POST."""
    inline = {part.name: part.data for part in batch.parts} if parts else {}
    return posted_of(batch.document.body, batch.document.note, batch.checkpoint, inline)


JSON = {"content-type": "application/json"}
READ_EVERY_S = 0.5
"""`reader_poll_s`."""


def test_a_batch_is_posted(served, sealed):
    """Posted without parts, its parts are asked for and put; then it is applied, and the same receipt is given again and by number."""
    client, batch = served["theirs"], sealed["first"]
    path = f"/streams/{PENALTIES}/batches"
    name = batch.parts[0].name
    where = f"/streams/{PENALTIES}/files/{name}?epoch=1&seq=1"
    octets = {"content-type": "application/octet-stream"}
    assert problem(client.put(where, content=batch.parts[0].data, headers=octets)) == (404, "not-found")
    wanted = client.post(path, content=body_of(batch, parts=False), headers=JSON)
    assert (wanted.status_code, wanted.json()) == (202, {"state": "FETCHING", "missing": [part.name for part in batch.parts]})
    assert problem(client.put(where, content=batch.parts[0].data[:-1] + b"x", headers=octets)) == (422, "sig-part-digest")
    assert problem(client.put(where, content=batch.parts[0].data + b"x", headers=octets)) == (413, "size-bytes")
    for part in batch.parts:
        assert (
            client.put(f"/streams/{PENALTIES}/files/{part.name}?epoch=1&seq=1", content=part.data, headers=octets).status_code
            == httpx.codes.CREATED
        )
    answer = client.post(path, content=body_of(batch, parts=False), headers=JSON)
    assert answer.status_code == httpx.codes.OK
    receipt = json.loads(answer.json()["body"])
    assert (receipt["result"], receipt["counts"]["accepted"]) == ("applied", 5)
    assert client.post(path, content=body_of(batch), headers=JSON).content == answer.content
    assert client.get(f"/streams/{PENALTIES}/receipts/latest").content == answer.content
    assert client.get(f"/streams/{PENALTIES}/receipts/1").content == answer.content
    assert client.get(f"/streams/{PENALTIES}/feedback/1").content == b""
    assert problem(client.get(f"/streams/{PENALTIES}/receipts/99")) == (404, "not-found")


def test_what_lies_outside_the_agreement(towns: Towns, served, sealed):
    """A17, A18: each line outside scope is answered by its code in the feedback, and only the batch, its receipt and the trail are new."""
    forger: Forger = sealed["forger"]
    outside = {
        "SCOPE_ISSUER": forger.penalty(31, iss=BAISHAN),
        "SCOPE_REGION": forger.penalty(32, region="2205"),
        "SCOPE_AUTHORITY": forger.penalty(33, authority="11220600XXT0001186"),
        "SCOPE_CATEGORY": forger.penalty(34, category="measure"),
        "SCOPE_FIELD": forger.penalty(35, values={"BZ": "备注"}),
        "LAW_PERSON": forger.penalty(36, subject_kind="natural", region="2205"),
        "SUBJ_USCC": forger.penalty(37, values={"CF_XDR_SHXYM": code(37).lower()}),
    }

    async def look() -> dict[str, str]:
        async with towns.theirs() as theirs:
            return await contents(theirs.store)

    before = asyncio.run(look())
    time.sleep(2 * READ_EVERY_S)
    while (seen := asyncio.run(look())) != before:  # readers of the log still follow the batch before
        before = seen
        time.sleep(2 * READ_EVERY_S)
    batch = forger.seal(list(outside.values()), head=sealed["after"], advance=False)
    answer = served["theirs"].post(f"/streams/{PENALTIES}/batches", content=body_of(batch), headers=JSON)
    assert answer.status_code == httpx.codes.OK
    counts = json.loads(answer.json()["body"])["counts"]
    assert (counts["lines"], counts["rejected"]) == (len(outside), len(outside))
    told = served["theirs"].get(f"/streams/{PENALTIES}/feedback/2").content
    assert [json.loads(line)["code"] for line in told.splitlines()] == list(outside)
    assert moved(before, asyncio.run(look())) <= LEDGER


def test_what_is_refused(served, sealed):
    """Media type, size, shape, unknown keys and gaps have their statuses and codes."""
    client, batch = served["theirs"], sealed["second"]
    path = f"/streams/{PENALTIES}/batches"
    assert problem(client.post(path, content=body_of(batch), headers={"content-type": "text/plain"})) == (415, "media-type")
    assert problem(client.post(path, content=b"{}", headers=JSON)) == (400, "schema-json")
    # what has another form is refused by its form: nobody looks for doubled names in megabytes of it
    heavy = body_of(batch)[:-1] + b',"a":[' + b'{"b":1,"b":1},' * 1000 + b"1]}"
    assert problem(client.post(path, content=heavy, headers=JSON)) == (400, "schema-manifest")
    assert problem(client.post("/agreements", content=b'{"body":"","note":"","a":[1,1]}', headers=JSON)) == (400, "schema-json")
    assert client.post(path, content=b" " * (13 * 2**20), headers=JSON).status_code == httpx.codes.REQUEST_ENTITY_TOO_LARGE
    broken = (
        body_of(batch).replace(b"\\u2014 ", b"\\u2014 x", 1)
        if b"\\u2014" in body_of(batch)
        else body_of(batch).replace("— ".encode(), "— x".encode(), 1)
    )
    assert problem(client.post(path, content=broken, headers=JSON)) == (422, "sig-unknown-key")
    assert problem(client.post("/streams/a-b.c/batches", content=body_of(batch), headers=JSON)) == (400, "schema-manifest")
    for way in ("../x", "a%2fb", "//x"):
        assert client.get(f"/streams/{way}").status_code == httpx.codes.NOT_FOUND


def test_a_fork_is_answered_and_can_be_shown(towns: Towns, served, sealed):
    """Another batch of a used number freezes the stream (409); both sides can be exported as evidence, signed by the partner."""
    client, forger = served["theirs"], sealed["forger"]
    from gateway.core.exchange.manifests import Head
    from gateway.core.exchange.merkle import CompactRange

    start = Head(stream=PENALTIES, epoch=1, seq=0, tree=CompactRange(), manifest_digest=None)
    other = forger.seal([forger.penalty(77)], head=start, advance=False)
    answer = client.post(f"/streams/{PENALTIES}/batches", content=body_of(other), headers=JSON)
    assert answer.status_code == httpx.codes.CONFLICT
    assert json.loads(answer.json()["body"])["code"] == "SEQ_FORK"

    async def look() -> bytes:
        async with towns.theirs() as theirs:
            await check_ledger(theirs)
            return await export_evidence(theirs, PENALTIES)

    evidence = json.loads(asyncio.run(look()))
    assert evidence["type"] == "chengxin-exchange/fork/1"
    bodies = [json.loads(evidence[side]["manifest"]["body"]) for side in "ab"]
    assert [body["seq"] for body in bodies] == [1, 1]
    assert bodies[0]["tree"] != bodies[1]["tree"]


def test_our_own_stream_can_be_read(towns: Towns, served):
    """A partner reads our manifests, parts, checkpoint and single records with their proofs; the next batch may be waited for."""

    async def say() -> str:
        from gateway.operations.send_batch import send_batch

        async with towns.ours() as ours:
            rows = [penalty(code(number), f"通化市测试{number}商贸有限公司", f"通示罚〔2026〕{number}号") for number in (501, 502, 503)]
            made = ids(await put(ours, DATASET, *rows))
            await send_batch(ours, stream=PENALTIES, deliver=False)
            return made[1]

    record_id = asyncio.run(say())
    client = served["ours"]
    latest = client.get(f"/streams/{PENALTIES}/manifests/latest").json()
    assert client.get(f"/streams/{PENALTIES}/manifests/1").json() == latest
    manifest = json.loads(latest["manifest"]["body"])
    note = client.get(f"/streams/{PENALTIES}/checkpoint")
    assert (note.text, note.headers["content-type"], note.headers["cache-control"]) == (
        latest["checkpoint"],
        "text/plain; charset=utf-8",
        "no-cache",
    )
    part = manifest["parts"][0]
    file = client.get(f"/streams/{PENALTIES}/files/{part['name']}")
    assert (len(file.content), file.headers["repr-digest"]) == (part["bytes"], f"sha-256=:{part['digest'].removeprefix('sha-256:')}:")
    rest = client.get(f"/streams/{PENALTIES}/files/{part['name']}", headers={"range": "bytes=10-"})
    assert (rest.status_code, rest.content, rest.headers["repr-digest"]) == (206, file.content[10:], file.headers["repr-digest"])
    assert rest.headers["content-range"] == f"bytes 10-{part['bytes'] - 1}/{part['bytes']}"
    beyond = client.get(f"/streams/{PENALTIES}/files/{part['name']}", headers={"range": f"bytes={part['bytes']}-"})
    assert problem(beyond) == (416, "range-not-satisfiable")
    assert client.get(f"/streams/{PENALTIES}/manifests/2").status_code == httpx.codes.NO_CONTENT
    begun = time.monotonic()
    assert client.get(f"/streams/{PENALTIES}/manifests/2?wait=1").status_code == httpx.codes.NO_CONTENT
    assert time.monotonic() - begun >= 0.9
    assert problem(client.get(f"/streams/{PENALTIES}/manifests/9")) == (404, "seq-gap")
    assert problem(client.get(f"/streams/{PENALTIES}/manifests/2?wait=99")) == (400, "invalid-parameter")
    assert problem(client.get("/streams/a-b.c/manifests/1")) == (404, "not-found")
    assert client.get(f"/streams/{HONOURS}/manifests/1?epoch=1").status_code == httpx.codes.NO_CONTENT, "nothing was sealed yet"
    assert problem(client.get(f"/streams/{HONOURS}/manifests/2")) == (404, "seq-gap")
    assert problem(client.get(f"/streams/{AGREEMENT}.measures/manifests/1")) == (404, "not-found"), "it flows the other way"
    assert problem(client.get(f"/streams/{PENALTIES}/files/../../chengxin.toml")) == (404, "not-found")

    said = client.get(f"/records/{record_id}/1?stream={PENALTIES}").json()
    leaf = merkle.leaf_hash(unb64u(said["line"]["p"], "X"))
    head, _, checkpoint = said["proof"].partition("\n\n")
    lines = head.split("\n")
    proof = [unb64(text, "X") for text in lines[2:]]
    assert checkpoint == latest["checkpoint"]
    root = merkle.root_from_proof(leaf, int(lines[1].removeprefix("index ")), manifest["tree"]["size"], proof, SHA256)
    assert root == unb64(manifest["tree"]["root"], "X")
    assert problem(client.get(f"/records/{record_id}/2?stream={PENALTIES}")) == (404, "not-found")
    wanted = {"accept": "application/sd-jwt"}
    token = client.get(f"/records/{record_id}/1?stream={PENALTIES}&disclose=CF_WSH&disclose=CF_JDRQ", headers=wanted)
    assert token.headers["content-type"] == "application/sd-jwt"
    keys = json.loads(client.get("/keys", auth=None).json()["body"])["keys"]
    ring = KeyRing.of(TONGHUA, [KnownKey(verifier=parse_vkey(key["vkey"]), use="export") for key in keys if key["use"] == "export"])
    shown = sd_jwt.read(token.text, ring, now=utc(NOW))
    assert ({each.name for each in shown.disclosed}, shown.statement.rid) == ({"CF_WSH", "CF_JDRQ"}, record_id)
    assert b64u(json.dumps(json.loads(unb64u(said["line"]["p"], "X")), ensure_ascii=False, separators=(",", ":")).encode()) in token.text
    assert sd_jwt.read(client.get(f"/records/{record_id}/1?stream={PENALTIES}", headers=wanted).text, ring, now=utc(NOW)).hidden == 0
    unknown = client.get(f"/records/{record_id}/1?stream={PENALTIES}&disclose=CF_X", headers=wanted)
    assert problem(unknown) == (403, "scope-field")
    status = client.get("/status").json()
    assert (status["party"], status["able_to_sign_and_verify"]) == (TONGHUA, True)
    head = status["audit_checkpoint"]["note"]
    assert head.startswith(f"{TONGHUA}/audit\n")
    assert head == client.get("/status").json()["audit_checkpoint"]["note"], "nothing was done meanwhile"
    assert {item["direction"] for item in client.get("/streams").json()["items"]} == {"out"}


def test_a_refusal_says_what_it_means_and_its_type_leads_to_a_page(served):
    """In Chinese and English, by its code; the page of the type says the same to whoever looks it up."""
    with httpx.Client(base_url=served["ours"].base_url, timeout=30, verify=PLAIN) as unsigned:
        for language, words in (("zh-CN", EXCHANGE_WORDS["SIG_HTTP"][0]), ("en", "signature")):
            said = unsigned.get("/streams", headers={"accept-language": language}).json()
            assert (said["code"], words in said["detail"]) == ("sig-http", True), said
        page = unsigned.get(said["type"], headers={"accept": "text/html"})
        none = unsigned.get(said["type"] + "x", headers={"accept": "text/html"})
    assert (page.status_code, none.status_code) == (httpx.codes.OK, httpx.codes.NOT_FOUND)
    assert "RFC 9421" in page.text
    for code_, (chinese, english) in EXCHANGE_WORDS.items():
        assert (exchange_status(code_) >= 400, chinese.endswith("。"), english[-1]) == (True, True, ".")


def test_a_body_is_too_large_by_its_length(served):
    """Told under the code of the format before a byte of it is read, whichever room counts the bytes."""
    client = served["theirs"]
    request = client.build_request("POST", "/agreements", content=b"{}", headers=JSON)
    assert client.auth is not None
    signed = next(client.auth.sync_auth_flow(request))
    fields = {**signed.headers, "content-length": str(2**20 + 1)}
    with socket.create_connection((client.base_url.host, client.base_url.port), timeout=10) as line:
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        line.sendall(f"POST {signed.url.raw_path.decode()} HTTP/1.1\r\n{head}\r\n".encode())
        answer = line.recv(65536)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"code":"size-bytes"' in answer


def test_receipts_are_brought(served):
    """Feedback is kept until its receipt comes; a receipt about another batch is none; only the receiver of the stream may bring any."""
    client, octets = served["ours"], {"content-type": "application/x-ndjson"}
    receipt = served["theirs"].get(f"/streams/{PENALTIES}/receipts/1").content
    path = f"/streams/{PENALTIES}/feedback/1"
    assert client.put(path, content=b'{"i":0}\n', headers=octets).status_code == httpx.codes.NO_CONTENT
    assert problem(client.put(path, content=b"{}", headers=JSON)) == (415, "media-type")
    assert problem(client.put(f"/streams/{PENALTIES}/feedback/x", content=b"{}", headers=octets)) == (404, "not-found")
    assert problem(client.put(f"/streams/{PENALTIES}/feedback/1000000", content=b"{}", headers=octets)) == (404, "seq-gap")
    assert problem(served["theirs"].put(path, content=b"{}", headers=octets)) == (404, "not-found")
    assert problem(client.post(f"/streams/{PENALTIES}/receipts", content=receipt, headers=JSON)) == (422, "sig-context")
    altered = receipt.replace(b"applied", b"partial", 1)
    assert problem(client.post(f"/streams/{PENALTIES}/receipts", content=altered, headers=JSON)) == (422, "sig-invalid")
    assert problem(client.post(f"/streams/{PENALTIES}/receipts", content=b"{}", headers=JSON)) == (400, "schema-json")


def test_a_new_epoch_is_asked_for(towns: Towns, served):
    """The receiver asks over its line, of what a fork froze once two persons agree; whoever does not receive the stream hears of none."""

    async def ask() -> None:
        async with towns.theirs() as theirs:
            for name in ("li", "wang"):
                by = await (await enrolled(theirs, name, "approver")).acts("exchange.release")
                await release_frozen(theirs, PENALTIES, by=by, reason="已核对")
            await ask_for_epoch(theirs, PENALTIES, reason="lost_state", by="test")

    asyncio.run(ask())
    said = served["ours"].post(f"/streams/{PENALTIES}/resync", json={"reason": "too_late"})
    assert (said.status_code, said.json()) == (202, {"epoch": 2}), "that one is on its way"
    assert {(item["stream"], item["epoch"], item["seq"]) for item in served["ours"].get("/streams").json()["items"]} >= {(PENALTIES, 2, 0)}
    closed = served["ours"].get(f"/streams/{PENALTIES}/manifests/2?epoch=1")
    assert (problem(closed), closed.json()["epoch"]) == ((410, "seq-closed"), 2)
    assert problem(served["ours"].get(f"/streams/{PENALTIES}/manifests/1?epoch=3")) == (404, "seq-gap")
    assert problem(served["theirs"].post(f"/streams/{PENALTIES}/resync", json={"reason": "too_late"})) == (404, "not-found")
    assert problem(served["ours"].post(f"/streams/{PENALTIES}/resync", json={"reason": "because"})) == (400, "schema-manifest")


READS = (
    "/agreements",
    "/agreements/tonghua-baishan-2026/1",
    "/streams",
    f"/streams/{PENALTIES}/checkpoint",
    f"/streams/{PENALTIES}/manifests/latest",
    f"/streams/{PENALTIES}/files/1-1-000.ndjson.gz",
    f"/streams/{PENALTIES}/receipts/latest",
    f"/streams/{PENALTIES}/feedback/1",
    f"/records/rec_aaaqeayeaudaocajbifqydiob4/1?stream={PENALTIES}",
    "/status",
)


def test_nothing_is_read_or_written_without_a_signature(served):
    """Whoever does not sign is refused alike everywhere, in test mode too: only our keys are open."""
    client = served["ours"]
    for path in READS:
        assert problem(client.get(path, auth=None)) == (401, "sig-http"), path
    for path in ("/agreements", *(f"/streams/{PENALTIES}/{what}" for what in ("batches", "receipts", "resync"))):
        assert problem(client.post(path, content=b"{}", headers=JSON, auth=None)) == (401, "sig-http")
    for path in (f"/streams/{PENALTIES}/files/x?epoch=1&seq=1", f"/streams/{PENALTIES}/feedback/1"):
        assert problem(client.put(path, content=b"x", auth=None)) == (401, "sig-http")


def test_a_request_is_believed_once_and_as_it_was_signed(towns: Towns, served):
    """Replayed, aged, of the future, for another address, method or tag, by an unknown or another key: each has its code."""
    client, mine = served["ours"], towns.auth[BAISHAN]
    path = "/status"

    def asked(auth: SignedBy) -> tuple[int, str]:
        return problem(client.get(path, auth=auth))

    once = SignedBy(mine.signer, mine.now, nonce="AAECAwQFBgcICQoLDA0ODw")
    assert client.get(path, auth=once).status_code == httpx.codes.OK
    assert asked(once) == (401, "time-replay")
    for seconds in (-121, 61):
        assert asked(SignedBy(mine.signer, mine.now + timedelta(seconds=seconds))) == (401, "time-expired")
    assert client.get(path, auth=SignedBy(mine.signer, mine.now - timedelta(seconds=110))).status_code == httpx.codes.OK
    for changed in (
        {"url": str(client.base_url) + "/streams"},
        {"url": f"http://localhost:{towns.ports[0]}/x/v1/status"},
        {"method": "POST"},
        {"tag": "cx-write"},
        {"tag": "cx-admin"},
        {"nonce": "short"},
    ):
        assert asked(SignedBy(mine.signer, mine.now, **changed)) == (401, "sig-http"), changed
    stranger = Ed25519Signer(f"{BAISHAN}/http", bytes(range(32)))
    assert asked(SignedBy(stranger, mine.now)) == (401, "sig-unknown-key")
    assert asked(SignedBy(Ed25519Signer("credit.jilin.example/http", bytes(range(32))), mine.now)) == (401, "sig-unknown-key")

    async def other_use() -> Ed25519Signer:
        async with towns.theirs() as theirs:
            return theirs.signers.signing("exchange", theirs.clock())

    assert asked(SignedBy(asyncio.run(other_use()), mine.now)) == (401, "sig-key-use")


def test_a_body_is_signed_with_its_digest_and_type(towns: Towns, served):
    """Another body, a digest header that is gone or of another algorithm, an uncovered body: refused before anything of it is read."""
    client, mine = served["ours"], towns.auth[BAISHAN]
    url = str(client.base_url) + "agreements"

    def sent(body: bytes, signed: bytes, **more: str | None) -> tuple[int, str]:
        fields = dict(
            sign_request(
                mine.signer,
                method="POST",
                url=url,
                body=signed,
                content_type="application/json",
                tag="cx-write",
                now=mine.now,
                nonce=b64u(os.urandom(16)),
            )
        )
        headers = {name: value for name, value in ({"Content-Type": "application/json"} | fields | more).items() if value is not None}
        return problem(client.post("/agreements", content=body, headers=headers, auth=None))

    assert sent(b'{"a":1}', b'{"a":2}') == (401, "sig-content-digest")
    assert sent(b'{"a":1}', b"") == (401, "sig-content-digest")
    assert sent(b'{"a":1}', b'{"a":1}', **{"Content-Digest": None}) == (401, "sig-http")
    assert sent(b'{"a":1}', b'{"a":1}', **{"Content-Type": "application/problem+json"})[0] in (401, 415)
    assert sent(b'{"a":1}', b'{"a":1}') == (400, "schema-json"), "believed, and then read"


def test_another_partner_s_stream_does_not_exist(towns: Towns, served):
    """A stream of two others, one that nobody has, and one in the other direction: the same bytes, but for ids of the request."""
    client = served["ours"]

    def bytes_of(path: str) -> dict[str, object]:
        answer = client.get(path)
        assert answer.status_code == httpx.codes.NOT_FOUND, path
        return {name: value for name, value in answer.json().items() if name not in ("instance", "trace_id")}

    told = [bytes_of(f"/streams/{stream}/receipts/latest") for stream in (PENALTIES, HONOURS, "other-cities.honours", "nonsense")]
    assert all(one == told[0] for one in told)

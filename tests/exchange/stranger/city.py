"""A small partner city of another make: the standard library, `cryptography`, and the wire specification alone.

It serves keys, signs agreements, sends batches, takes those that are pushed to it, pulls what is laid ready, and asks about a firm.
"""

import http.client
import json
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from tests.exchange.stranger.formats import (
    JsonObject,
    SigningKey,
    VerifierKey,
    as_json,
    b64,
    b64u,
    demand,
    digest,
    good_at,
    instant,
    moment_of,
    note_text,
    opened,
    read_vkey,
    sha256,
    signed,
    strict_json,
    unb64u,
)
from tests.exchange.stranger.messages import JSON, Answer, Believer, signature
from tests.exchange.stranger.receiving import Incoming
from tests.exchange.stranger.records import WITHDRAWN, Batch, Head, Line, Said, Stream, read_line, read_proof, seal
from tests.exchange.stranger.serving import serve


class Stranger:
    """The city: its keys, its agreement, the partner's keys as it believes them, and where its streams stand."""

    def __init__(self, party: str, org: str, region: str, clock: Callable[[], datetime]) -> None:
        self.clock = clock
        self.party, self.org, self.region = party, org, region
        self.x, self.http, self.agreement_key = (SigningKey(f"{party}/{use}", os.urandom(32)) for use in ("x", "http", "agreement"))
        self.agreement: JsonObject = {}
        self.agreement_digest = ""
        self.partner = ""
        self.origin = ""
        self.listed: list[JsonObject] = []
        """The partner's keys, as its keys document lists them."""
        self.incoming: dict[str, Incoming] = {}
        """Streams to us, by name."""
        self.offers: list[JsonObject] = []
        """Documents that the partner brought."""
        self.sent = Head()
        """How far the own stream was sent."""
        self.in_force: dict[str, Line] = {}
        """What was said and stands, by record."""
        self.asked: list[str] = []
        """What the partner has asked for."""
        self.refused: list[str] = []
        """What it was refused."""
        self.believer = Believer()
        self.issued = self.clock()
        self.server = serve(self)
        self.base_url = f"http://127.0.0.1:{self.server.server_port}/x/v1"

    def close(self) -> None:
        """Serve no more."""
        self.server.shutdown()
        self.server.server_close()

    # -- keys and agreement

    def keys_document(self) -> JsonObject:
        """The own keys document."""
        span = {"not_before": instant(self.issued - timedelta(days=2)), "not_after": instant(self.issued + timedelta(days=700))}
        rest = span | {"revoked_at": None, "reason": None}
        keys = [{"vkey": key.key.text, "alg": "ed25519", "use": use} | rest for key, use in ((self.x, "exchange"), (self.http, "http"))]
        body = {
            "type": "chengxin-exchange/keys/1",
            "party": self.party,
            "org": self.org,
            "region": self.region,
            "serial": 1,
            "issued_at": instant(self.issued),
            "valid_until": instant(self.issued + timedelta(days=60)),
            "base_url": self.base_url,
            "keys": keys,
            "maintenance": None,
        }
        return signed("keys", f"{self.party}/1", as_json(body), self.agreement_key)

    def pinned(self, party: str) -> list[VerifierKey]:
        """The agreement keys that the agreement pins for a party."""
        (found,) = (each for each in self.agreement["parties"] if each["party"] == party)
        return [read_vkey(each) for each in found["agreement_keys"]]

    def offered(self, body: bytes) -> JsonObject:
        """An agreement with the own line alone."""
        said = json.loads(body)
        return signed("agreement", f"{said['id']}/{said['version']}", body, self.agreement_key)

    def countersigned(self, document: JsonObject, body: bytes) -> JsonObject:
        """The partner's offer with the own line under it, if it says the same as the own file."""
        said = strict_json(document["body"].encode())
        demand(said == json.loads(body), "SCOPE_DIGEST", "another text")
        text = note_text("agreement", f"{said['id']}/{said['version']}", document["body"].encode())
        return {"body": document["body"], "note": document["note"] + self.agreement_key.line(text)}

    def agreed(self, document: JsonObject, partner: str) -> None:
        """Hold an agreement that both have signed."""
        said = strict_json(document["body"].encode())
        self.agreement, self.agreement_digest, self.partner = said, digest(document["body"].encode()), partner
        for party in (self.party, partner):
            opened(document, "agreement", f"{said['id']}/{said['version']}", self.pinned(party), f"{party}/agreement")
        (there,) = (each for each in said["parties"] if each["party"] == partner)
        self.origin = there["identity"]["base_url"]
        for each in said["streams"]:
            if each["to"] == self.party:
                stream = self.stream(each["dataset"], ours=False)
                self.incoming.setdefault(stream.name, Incoming(stream))

    def take_keys(self) -> JsonObject:
        """Fetch and believe the partner's keys document."""
        document = self.send("GET", "/keys", {}).json
        serial = json.loads(document["body"])["serial"]
        said = opened(document, "keys", f"{self.partner}/{serial}", self.pinned(self.partner))
        demand(said["party"] == self.partner and moment_of(said["valid_until"]) > self.clock(), "SIG_KEY_EXPIRED")
        self.listed = said["keys"]
        return said

    def trusted(self, use: str = "exchange", said: datetime | None = None) -> list[VerifierKey]:
        """The partner's keys of a use that are good for what says that moment and is seen now."""
        now = self.clock()
        return [read_vkey(each["vkey"]) for each in self.listed if each["use"] == use and good_at(each, said or now, now)]

    def stream(self, dataset: str, *, ours: bool) -> Stream:
        """A stream from us, or to us."""
        ends = (self.party, self.partner) if ours else (self.partner, self.party)
        return Stream(self.agreement, self.agreement_digest, dataset, *ends)

    # -- HTTP

    def believe(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> None:
        """Refuse a request that the partner did not sign for us."""
        url = self.base_url.removesuffix("/x/v1") + path
        self.believer.believe(method, url, headers, body, self.trusted("http"), self.clock())

    def headers(self, method: str, path: str, body: bytes = b"", *, media: str = JSON, tag: str = "") -> dict[str, str]:
        """Those of one request, with a signature that is good once."""
        tag = tag or ("cx-read" if method == "GET" else "cx-write")
        return signature(self.http, method, self.origin + path, tag, body, media, self.clock(), os.urandom(16))

    def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> Answer:
        """A request to the partner with these headers; no redirect is followed."""
        there = urlsplit(self.origin)
        line = http.client.HTTPConnection(there.hostname or "", there.port, timeout=30)
        try:
            line.request(method, there.path + path, body if method != "GET" else None, dict(headers))
            answer = line.getresponse()
            return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        finally:
            line.close()

    def ask(self, method: str, path: str, body: bytes = b"", *, media: str = JSON, tag: str = "") -> Answer:
        """A signed request to the partner."""
        return self.send(method, path, self.headers(method, path, body, media=media, tag=tag), body)

    # -- sending

    def seal(self, dataset: str, *lines: Line, after: Head | None = None, carried: Sequence[Line] | None = None) -> Batch:
        """The next batch of the own stream, or the one behind a head."""
        stream = self.stream(dataset, ours=True)
        return seal(stream, after or self.sent, lines, f"{dataset}/1.0", self.x, self.clock(), carried=carried)

    def seal_anew(self, dataset: str, last: Head, *lines: Line) -> Batch:
        """All that is in force, and these lines, as a new epoch behind the last head that was signed."""
        stream = self.stream(dataset, ours=True)
        replaces = {"origin": stream.origin(last.epoch), "size": last.tree.size, "root": b64(last.tree.root())}
        said = [*self.in_force.values(), *lines]
        return seal(stream, Head(last.epoch + 1), said, f"{dataset}/1.0", self.x, self.clock(), replaces=replaces)

    def receipt(self, dataset: str, document: JsonObject) -> JsonObject:
        """A receipt of the partner's about the own stream, once it is believed."""
        stream = self.stream(dataset, ours=True)
        no = json.loads(document["body"])["no"]
        said = opened(document, "receipt", f"{stream.name}/{self.party}/{no}", self.trusted())
        demand((said["receiver"], said["sender"], said["stream"]) == (self.partner, self.party, stream.name), "SIG_CONTEXT")
        return said

    def acknowledged(self, dataset: str, batch: Batch, answer: Answer) -> JsonObject:
        """What the partner made of a batch, if its signed receipt is about this batch and its tree is ours."""
        said = self.receipt(dataset, answer.json)
        after = batch.after
        demand(said["batch"] == {"epoch": after.epoch, "seq": after.seq, "manifest": after.manifest}, "SIG_CONTEXT", str(said["batch"]))
        if said["result"] in ("applied", "partial"):
            tree = {"epoch": after.epoch, "size": after.tree.size, "root": b64(after.tree.root())}
            demand(said["tree"] == tree, "SEQ_ROOT", str(said["tree"]))
            self.sent = after
            bad = {each["rid"] for each in self.feedback(dataset, said) if each["severity"] == "reject"}
            for line in batch.lines:
                rid, op = (json.loads(line.payload)[name] for name in ("rid", "op"))
                if op in WITHDRAWN:
                    self.in_force.pop(rid, None)
                elif rid not in bad:
                    self.in_force[rid] = line
        return said

    def feedback(self, dataset: str, said: JsonObject) -> list[JsonObject]:
        """The feedback file of a receipt, if it is the one that the receipt names."""
        stream = self.stream(dataset, ours=True)
        data = self.ask("GET", f"/streams/{stream.name}/feedback/{said['no']}").body
        lines = [strict_json(each) for each in data.splitlines()]
        demand({"lines": len(lines), "bytes": len(data), "digest": digest(data)} == said["feedback"], "SIG_INVALID", "another file")
        return lines

    # -- pulling

    def pull(self, dataset: str, *, wait: int = 0) -> tuple[JsonObject, list[Said]] | None:
        """The next batch that the partner has for us, verified, if there is one."""
        incoming = self.incoming[self.stream(dataset, ours=False).name]
        head, path = incoming.head, f"/streams/{incoming.stream.name}"
        answer = self.ask("GET", f"{path}/manifests/{head.seq + 1}?epoch={head.epoch}&wait={wait}")
        if answer.status == 204:
            return None
        demand(answer.status == 200, "UNAVAILABLE", f"{answer.status} {answer.body!r}")

        def part(name: str) -> bytes:
            found = self.ask("GET", f"{path}/files/{name}")
            demand(found.status == 200, "SIG_PART_MISSING", f"{found.status} {name}")
            demand(found.headers.get("repr-digest") == f"sha-256=:{b64(sha256(found.body))}:", "SIG_PART_DIGEST", str(found.headers))
            return found.body

        return incoming.take(answer.json["manifest"], answer.json["checkpoint"], lambda said: self.trusted(said=said), part)

    def give_receipt(self, dataset: str, manifest: JsonObject, records: Sequence[Said], *, with_feedback: bool = True) -> None:
        """Bring the sender feedback and receipt of the batch that was pulled last: all of it applied."""
        incoming = self.incoming[self.stream(dataset, ours=False).name]
        document, feedback = incoming.receipt(manifest, records, self.x, self.clock())
        path, no = f"/streams/{incoming.stream.name}", len(incoming.given) + 1
        if feedback and with_feedback:  # it comes before the receipt that names it
            kept = self.ask("PUT", f"{path}/feedback/{no}", feedback, media="application/x-ndjson")
            demand(kept.status == 204, "UNAVAILABLE", f"{kept.status} {kept.body!r}")
        taken = self.ask("POST", f"{path}/receipts", as_json(document))
        demand(taken.status == 204, "UNAVAILABLE", f"{taken.status} {taken.body!r}")
        incoming.keep(document, feedback)

    # -- asking

    def question(self, uscc: str, datasets: Sequence[str], *, level: int = 1, follows: str | None = None, **changed: Any) -> bytes:
        """A question about a firm for a case."""
        now = self.clock()
        said = {
            "type": "chengxin-exchange/question/1",
            "id": b64u(os.urandom(16)),
            "agreement": {"id": self.agreement["id"], "version": self.agreement["version"]},
            "from": self.party,
            "to": self.partner,
            "level": level,
            "purpose": "mutual.query",
            "case": "白市监案〔2026〕31号",
            "basis": "《示例条例》第一条",
            "officer": "5f2b8c1e9d3a47f6a0b1c2d3e4f50617",
            "subject": {"kind": "legal", "uscc": uscc},
            "datasets": list(datasets),
            "follows": follows,
            "asked_at": instant(now),
            "deadline": instant(now + timedelta(seconds=5)),
        }
        return as_json(said | changed)

    def answer_to(self, question: bytes, answer: Answer) -> JsonObject:
        """The partner's answer, if it is signed, of this question and still good."""
        demand(answer.status == 200, "UNAVAILABLE", f"{answer.status} {answer.body!r}")
        asked = json.loads(question)
        said = opened(answer.json, "answer", asked["id"], self.trusted())
        demand(said["request_digest"] == digest(question) and said["question"] == asked["id"], "SIG_CONTEXT", "of another question")
        demand(said["level"] == asked["level"] and moment_of(said["expires_at"]) > self.clock(), "TIME_EXPIRED")
        for each in said["records"]:
            self.told(asked, each)
        return said

    def told(self, asked: JsonObject, record: JsonObject) -> Said:
        """A record of an answer, if it is what was asked and the partner's own."""
        line = Line(unb64u(record["line"]["p"], "SCHEMA_LINE"), tuple(record["line"]["d"]))
        said = read_line(line, all_of_it=False)
        stream = self.stream(said.clear["dataset"], ours=False)
        (code,) = (each["name"] for each in stream.rules["fields"] if each.get("role") == "subject_code")
        demand(said.clear["iss"] == self.partner and said.clear["op"] in ("assert", "amend"), "SCOPE_ISSUER")
        demand(said.clear["dataset"] in asked["datasets"] and said.clear["subject_kind"] == asked["subject"]["kind"], "QUERY_SCOPE")
        demand(said.values[code] == asked["subject"]["uscc"], "SUBJ_CONFLICT")
        if record["proof"] is not None:
            demand(record["origin"].rpartition("/")[0] == stream.origin(0).rpartition("/")[0], "SIG_CONTEXT")
            read_proof(record["proof"], line.payload, record["origin"], self.trusted())
        return said

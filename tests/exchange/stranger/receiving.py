"""What a receiver keeps of one stream to it, and the receipts that it gives, sections 5 to 8 of the wire specification."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from tests.exchange.stranger.formats import (
    JsonObject,
    SigningKey,
    VerifierKey,
    as_json,
    b64,
    demand,
    digest,
    instant,
    moment_of,
    opened,
    signed,
    strict_json,
    unb64,
)
from tests.exchange.stranger.records import WITHDRAWN, Head, Said, Stream, admit


class Incoming:
    """One stream: how far it was taken, and every receipt with its feedback."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.head = Head()
        self.records: list[Said] = []
        self.given: list[tuple[JsonObject, bytes]] = []
        self.decided: dict[str, int] = {}
        """Number of the receipt of a manifest's digest."""
        self.parts: dict[str, bytes] = {}
        """Parts that were put, by name."""
        self.wanted: dict[str, str] = {}
        """Digests of the parts that are missing, by name."""

    def take(
        self, document: JsonObject, checkpoint: str, keys: Callable[[datetime], Sequence[VerifierKey]], part: Callable[[str], bytes]
    ) -> tuple[JsonObject, list[Said]]:
        """Manifest and records of the next batch, once it is admitted."""
        created = moment_of(strict_json(document["body"].encode())["created"])
        manifest, records, self.head = admit(self.stream, self.head, document, checkpoint, keys(created), part)
        self.records += records
        return manifest, records

    def receipt(self, manifest: JsonObject, records: Sequence[Said], key: SigningKey, now: datetime) -> tuple[JsonObject, bytes]:
        """The next receipt, that all of the batch that was taken last is applied, and its feedback; `keep` makes it given."""
        head, stream = self.head, self.stream
        gone = [(at, each.clear) for at, each in enumerate(records, manifest["range"]["from"]) if each.clear["op"] in WITHDRAWN]
        told = [
            {
                "i": at,
                "rid": clear["rid"],
                "v": clear["v"],
                "severity": "info",
                "code": "ACK_ERASED" if clear["op"] == "erase" else "ACK_WITHDRAWN",
                "field": None,
                "disclosure": None,
                "rule": None,
                "message": "已撤下",
                "hint": None,
                "retry": False,
                "at": instant(now),
            }
            for at, clear in gone
        ]
        feedback = b"".join(as_json(each) + b"\n" for each in told)
        no = len(self.given) + 1
        counts = dict.fromkeys(("lines", "accepted", "unchanged", "warned", "held", "rejected", "withdrawn", "dropped"), 0)
        counts |= {"lines": len(records), "accepted": len(records) - len(gone), "withdrawn": len(gone)}
        body = as_json(
            {
                "type": "chengxin-exchange/receipt/1",
                "receiver": stream.receiver,
                "sender": stream.sender,
                "stream": stream.name,
                "no": no,
                "previous": digest(self.given[-1][0]["body"].encode()) if self.given else None,
                "kind": "batch",
                "batch": {"epoch": head.epoch, "seq": head.seq, "manifest": head.manifest},
                "result": "applied",
                "code": None,
                "tree": {"epoch": head.epoch, "size": head.tree.size, "root": b64(head.tree.root())},
                "agreement": {"id": stream.agreement["id"], "version": stream.agreement["version"]},
                "counts": counts,
                "feedback": {"lines": len(told), "bytes": len(feedback), "digest": digest(feedback)},
                "received_at": instant(now),
                "decided_at": instant(now),
            }
        )
        return signed("receipt", f"{stream.name}/{stream.sender}/{no}", body, key), feedback

    def keep(self, document: JsonObject, feedback: bytes) -> None:
        """A receipt has been given, or is given now."""
        self.given.append((document, feedback))
        self.decided[self.head.manifest or ""] = len(self.given)

    def posted(
        self, said: Mapping[str, JsonObject], keys: Callable[[datetime], Sequence[VerifierKey]], key: SigningKey, now: datetime
    ) -> tuple[int, JsonObject]:
        """Status and answer of a POST: what is missing, or the receipt; of a batch that was decided the receipt that was given."""
        document, named = said["manifest"], digest(said["manifest"]["body"].encode())
        if named in self.decided:
            return 200, self.given[self.decided[named] - 1][0]
        manifest = opened(document, "manifest", f"{self.stream.origin(self.head.epoch)}/{self.head.seq + 1}", keys(now))
        inline = {name: unb64(data, "SCHEMA_MANIFEST") for name, data in said.get("parts", {}).items()}
        self.wanted = {each["name"]: each["digest"] for each in manifest["parts"] if each["name"] not in inline | self.parts}
        if self.wanted:
            return 202, {"state": "FETCHING", "missing": [*self.wanted]}
        receipt = self.receipt(*self.take(document, str(said["checkpoint"]), keys, lambda name: (inline | self.parts)[name]), key, now)
        self.keep(*receipt)
        self.parts = {}
        return 200, receipt[0]

    def put(self, name: str, data: bytes) -> None:
        """A part that was missing."""
        demand(name in self.wanted, "NOT_FOUND", name)
        demand(digest(data) == self.wanted[name], "SIG_PART_DIGEST", name)
        self.parts[name] = data

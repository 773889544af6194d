"""Agreements, records and batches of the exchange, sections 3 to 7 of the wire specification; nothing of the program is imported."""

import gzip
import hashlib
import hmac
import json
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from tests.exchange.stranger.formats import (
    JsonObject,
    Refused,
    SigningKey,
    Tree,
    VerifierKey,
    as_json,
    b64,
    b64u,
    checkpoint_text,
    demand,
    digest,
    included,
    instant,
    open_note,
    opened,
    sha256,
    signed,
    strict_json,
    unb64,
    unb64u,
)


def signed_form(agreement: Mapping[str, Any]) -> bytes:
    """The bytes that both sign for an agreement, out of its file as `tomllib` reads it."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: plain(each) for name, each in value.items()}
        if isinstance(value, list):
            return [plain(each) for each in value]
        return value if isinstance(value, str | int) else value.isoformat()

    body = {name: each for name, each in agreement.items() if name != "local"}
    return as_json({"type": "chengxin-exchange/agreement/1"} | plain(body))


# -- records


WITHDRAWN = {"retract": "retracted", "repair": "repaired", "expire": "expired", "erase": "erased"}
WITHDRAWAL = {"iss", "rid", "v", "op", "dataset", "schema", "status", "reason", "at", "_sd", "_sd_alg"}
STATEMENT = WITHDRAWAL | {
    *("category", "region", "subject_kind", "authority", "authority_name"),
    *("decided_on", "publish_until", "dispute", "basis", "trust"),
}


def salt(seed: bytes, name: str) -> str:
    """The salt of a field, out of the seed of a record's version."""
    return b64u(hmac.new(seed, b"chengxin-exchange/salt/1\0" + name.encode(), hashlib.sha256).digest()[:16])


def disclosure(seed: bytes, name: str, value: Any) -> str:
    """A salted disclosure."""
    return b64u(as_json([salt(seed, name), name, value]))


def disclosed_digest(disclosure: str) -> str:
    """What stands in `_sd` for a disclosure."""
    return b64u(sha256(disclosure.encode()))


@dataclass(frozen=True)
class Line:
    """A record line."""

    payload: bytes
    disclosures: tuple[str, ...] = ()

    @property
    def data(self) -> bytes:
        """As it stands in a part."""
        said = ",".join(f'"{each}"' for each in self.disclosures)
        return f'{{"p":"{b64u(self.payload)}","d":[{said}]}}\n'.encode()


def statement(members: Mapping[str, Any], values: Mapping[str, Any], seed: bytes) -> Line:
    """A line that asserts or amends: the clear members, and every agreed field as a disclosure."""
    disclosures = tuple(disclosure(seed, name, value) for name, value in values.items())
    digests = sorted(disclosed_digest(each) for each in disclosures)
    return Line(as_json({**members, "_sd": digests, "_sd_alg": "sha-256"}), disclosures)


def withdrawal(iss: str, rid: str, v: int, op: str, reason: str, schema: str, at: datetime) -> Line:
    """A line that takes a record back."""
    dataset = schema.partition("/")[0]
    said = {"iss": iss, "rid": rid, "v": v, "op": op, "dataset": dataset, "schema": schema, "status": WITHDRAWN[op], "reason": reason}
    return Line(as_json({**said, "at": instant(at), "_sd": [], "_sd_alg": "sha-256"}))


LINE = re.compile(rb'\{"p":"([A-Za-z0-9_-]*)","d":\[((?:"[A-Za-z0-9_-]*"(?:,"[A-Za-z0-9_-]*")*)?)\]\}\n')


def read_lines(data: bytes) -> list[Line]:
    """The lines of a part."""
    lines = []
    for each in data.splitlines(keepends=True):
        found = LINE.fullmatch(each)
        demand(found is not None and len(each) <= 128 * 1024, "SCHEMA_LINE", repr(each[:80]))
        disclosures = tuple(one.strip('"') for one in found[2].decode().split(",") if one)  # type: ignore[index]
        demand(len(disclosures) <= 64, "SIZE_LINE")
        lines.append(Line(unb64u(found[1].decode(), "SCHEMA_LINE"), disclosures))  # type: ignore[index]
    return lines


@dataclass(frozen=True)
class Said:
    """What a line says: the clear members, and the values of the fields that are disclosed."""

    clear: JsonObject
    values: JsonObject


def read_line(line: Line, *, all_of_it: bool = True) -> Said:
    """What a line says, if its disclosures are those of its payload: all of them, unless some may be left out."""
    clear = strict_json(line.payload)
    withdrawn = clear.get("op") in WITHDRAWN
    demand(set(clear) == (WITHDRAWAL if withdrawn else STATEMENT), "SCHEMA_UNKNOWN", str(sorted(clear)))
    demand(clear["status"] in ([WITHDRAWN[clear["op"]]] if withdrawn else ["in_force", "suspended"]), "SCHEMA_STATUS")
    digests, values = clear["_sd"], {}
    demand(digests == sorted(set(digests)) and clear["_sd_alg"] == "sha-256", "SCHEMA_DISCLOSURE", "_sd")
    for each in line.disclosures:
        said = strict_json(unb64u(each, "SCHEMA_DISCLOSURE"), list, "SCHEMA_DISCLOSURE")
        demand(len(said) == 3 and len(unb64u(said[0], "SCHEMA_DISCLOSURE")) == 16, "SCHEMA_DISCLOSURE", "shape")
        demand(disclosed_digest(each) in digests, "SCHEMA_DISCLOSURE", "not of this payload")
        demand(isinstance(said[1], str) and said[1] not in {*values, *clear, "..."}, "SCHEMA_DISCLOSURE", "its name")
        values[said[1]] = said[2]
    demand(not all_of_it or len(values) == len(digests), "SCHEMA_DISCLOSURE", "not all")
    return Said(clear, values)


# -- batches


@dataclass(frozen=True)
class Head:
    """How far a stream is: the epoch, the last batch, its manifest's digest, and the tree."""

    epoch: int = 1
    seq: int = 0
    manifest: str | None = None
    tree: Tree = field(default_factory=Tree)


@dataclass(frozen=True)
class Stream:
    """One direction of one dataset under an agreement."""

    agreement: JsonObject
    digest: str
    dataset: str
    sender: str
    receiver: str

    @property
    def name(self) -> str:
        """As URLs name it."""
        return f"{self.agreement['id']}.{self.dataset}"

    @property
    def rules(self) -> JsonObject:
        """What the agreement says of it."""
        ends = {"dataset": self.dataset, "from": self.sender, "to": self.receiver}
        (found,) = (each for each in self.agreement["streams"] if ends.items() <= each.items())
        return dict(found)

    @property
    def fields(self) -> list[str]:
        """The agreed fields with their twins."""
        return [
            name for each in self.rules["fields"] for name in (each["name"], *(f"{each['name']}#{twin}" for twin in each.get("twins", ())))
        ]

    def origin(self, epoch: int) -> str:
        """Whose log it is."""
        return f"{self.sender}/x/{self.name}/{epoch}"


OPS = ("assert", "amend", "retract", "repair", "expire", "erase")


def unpacked(data: bytes, size: int) -> bytes:
    """A part as it was before gzip: one member, nothing after it, and no more than the manifest says."""
    unzip = zlib.decompressobj(31)
    try:
        raw = unzip.decompress(data, size + 1)
    except zlib.error as error:
        raise Refused("SCHEMA_LINE", str(error)) from None
    demand(len(raw) <= size, "SCHEMA_COUNTS", "more than it says")
    demand(unzip.eof and not unzip.unused_data and not data[3] & 0b11100, "SCHEMA_LINE", "gzip")
    return raw


@dataclass(frozen=True)
class Batch:
    """A sealed batch, and where its stream stands after it."""

    document: JsonObject
    checkpoint: str
    parts: dict[str, bytes]
    after: Head
    lines: tuple[Line, ...]

    def posted(self, *, inline: bool = True) -> bytes:
        """The body of its POST."""
        parts = {"parts": {name: b64(data) for name, data in self.parts.items()}} if inline else {}
        return as_json({"manifest": self.document, "checkpoint": self.checkpoint} | parts)


def seal(
    stream: Stream,
    head: Head,
    lines: Sequence[Line],
    schema: str,
    key: SigningKey,
    created: datetime,
    *,
    replaces: JsonObject | None = None,
    carried: Sequence[Line] | None = None,
) -> Batch:
    """The next batch of a stream, in one part; one that replaces an epoch is all of the new one. Other lines may be carried than sealed."""
    tree, seq, counts = head.tree.copy(), head.seq + 1, dict.fromkeys(OPS, 0)
    for line in lines:
        tree.append(line.payload)
        counts[json.loads(line.payload)["op"]] += 1
    raw = b"".join(line.data for line in carried or lines)
    name, packed = f"{head.epoch}-{seq}-000.ndjson.gz", gzip.compress(raw, mtime=0)
    span = {"from": head.tree.size, "to": tree.size}
    part = {"name": name, "bytes": len(packed), "bytes_raw": len(raw), "lines": len(lines), "digest": digest(packed), **span}
    body = as_json(
        {
            "type": "chengxin-exchange/manifest/1",
            "stream": stream.name,
            "epoch": head.epoch,
            "seq": seq,
            "sender": stream.sender,
            "receiver": stream.receiver,
            "agreement": {"id": stream.agreement["id"], "version": stream.agreement["version"], "digest": stream.digest},
            "previous": head.manifest,
            "replaces": replaces,
            "suite": "ed25519-sha256",
            "format": "lines/1",
            "schema": schema,
            "range": span,
            "tree": {"size": tree.size, "root": b64(tree.root())},
            "counts": counts,
            "parts": [part] if lines else [],
            "snapshot": "last" if replaces else "none",
            "policy_version": 1,
            "created": instant(created),
            "valid_until": instant(created + timedelta(days=30)),
        }
    )
    return Batch(
        signed("manifest", f"{stream.origin(head.epoch)}/{seq}", body, key),
        key.note(checkpoint_text(stream.origin(head.epoch), tree)),
        {name: packed} if lines else {},
        Head(head.epoch, seq, digest(body), tree),
        tuple(lines),
    )


def admit(
    stream: Stream, head: Head, document: Mapping[str, Any], checkpoint: str, keys: Sequence[VerifierKey], part: Callable[[str], bytes]
) -> tuple[JsonObject, list[Said], Head]:
    """Manifest, records and new head of the next batch of a stream, in the order of section 6; `part` fetches a part by its name."""
    context = f"{stream.origin(head.epoch)}/{head.seq + 1}"
    manifest = opened(document, "manifest", context, keys)
    ends = {"stream": stream.name, "sender": stream.sender, "epoch": head.epoch, "seq": head.seq + 1}
    demand(manifest | ends == manifest, "SCHEMA_MANIFEST", context)
    demand(manifest["receiver"] == stream.receiver, "SCOPE_RECEIVER")
    named = {"id": stream.agreement["id"], "version": stream.agreement["version"], "digest": stream.digest}
    demand(manifest["agreement"] == named, "SCOPE_DIGEST")
    wire = stream.rules["wire"]
    demand((manifest["suite"], manifest["format"]) == (wire["suite"], wire["format"]), "SCOPE_AGREEMENT")
    demand(manifest["previous"] == head.manifest, "SEQ_PREVIOUS")
    demand(manifest["range"]["from"] == head.tree.size, "SEQ_ROOT", "where it begins")
    text, _ = open_note(checkpoint, keys)
    said = manifest["tree"]
    demand(text == f"{stream.origin(head.epoch)}\n{said['size']}\n{said['root']}\n", "SEQ_ROOT", "the checkpoint says otherwise")
    tree, records, counts = head.tree.copy(), [], dict.fromkeys(OPS, 0)
    for each in manifest["parts"]:
        data = part(each["name"])
        demand(len(data) == each["bytes"] and digest(data) == each["digest"], "SIG_PART_DIGEST", each["name"])
        raw = unpacked(data, each["bytes_raw"]) if each["name"].endswith(".gz") else data
        lines = read_lines(raw)
        demand((len(raw), len(lines)) == (each["bytes_raw"], each["lines"]), "SCHEMA_COUNTS")
        for line in lines:
            tree.append(line.payload)
            record = read_line(line)
            demand(record.clear["iss"] == stream.sender, "SCOPE_ISSUER")
            demand(record.clear["op"] in WITHDRAWN or set(record.values) == set(stream.fields), "SCOPE_FIELD", str(set(record.values)))
            counts[record.clear["op"]] += 1
            records.append(record)
    demand(counts == manifest["counts"], "SCHEMA_COUNTS")
    demand((tree.size, b64(tree.root())) == (said["size"], said["root"]), "SEQ_ROOT")
    return manifest, records, Head(head.epoch, head.seq + 1, digest(document["body"].encode()), tree)


def read_proof(text: str, payload: bytes, origin: str, keys: Sequence[VerifierKey]) -> int:
    """The index of a payload in a stream's log, if a tlog-proof shows it there."""
    proof, _, checkpoint = text.partition("\n\n")
    kind, index, *path = proof.split("\n")
    demand(kind == "c2sp.org/tlog-proof@v1" and index.startswith("index "), "SCHEMA_JSON", "no proof")
    said, size, root = open_note(checkpoint, keys)[0].split("\n")[:3]
    demand(said == origin, "SIG_CONTEXT", said)
    at, hashes = int(index.removeprefix("index ")), [unb64(each, "SIG_FORMAT") for each in path]
    demand(included(sha256(b"\0" + payload), at, int(size), hashes, unb64(root, "SIG_FORMAT")), "SEQ_ROOT", "not included")
    return at

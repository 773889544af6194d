"""What stands on the wire between two cities, written from `gateway/core/exchange/README.md` alone: nothing of the program is imported.

Names in brackets are sections of that page. Only the suite `ed25519-sha256` is spoken.
"""

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

JsonObject = dict[str, Any]


class Refused(Exception):
    """What the page says must not be believed; the code is the page's."""

    def __init__(self, code: str, why: str = "") -> None:
        super().__init__(f"{code} {why}")
        self.code = code


def demand(good: bool, code: str, why: str = "") -> None:
    """Go on only where it is so."""
    if not good:
        raise Refused(code, why)


# -- conventions


def b64(data: bytes) -> str:
    """Base64 with padding."""
    return base64.b64encode(data).decode()


def b64u(data: bytes) -> str:
    """Base64 for names, without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: str, code: str) -> bytes:
    """Canonical base64 alone."""
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        raise Refused(code, text) from None
    demand(b64(data) == text, code, text)
    return data


def unb64u(text: str, code: str) -> bytes:
    """Canonical base64 for names alone."""
    demand(re.fullmatch(r"[A-Za-z0-9_-]*", text) is not None, code, text)
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        raise Refused(code, text) from None
    demand(b64u(data) == text, code, text)
    return data


def sha256(data: bytes) -> bytes:
    """The H of the suite."""
    return hashlib.sha256(data).digest()


def digest(data: bytes) -> str:
    """A digest as the page writes it."""
    return "sha-256:" + b64(sha256(data))


def instant(moment: datetime) -> str:
    """A moment in UTC, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def moment_of(text: str) -> datetime:
    """The moment that an instant says."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def strict_json(data: bytes, root: type = dict, code: str = "SCHEMA_JSON") -> Any:
    """JSON as narrowly as the page wants it."""

    def members(pairs: list[tuple[str, Any]]) -> JsonObject:
        demand(len(dict(pairs)) == len(pairs), code, "a name twice")
        return dict(pairs)

    def whole(text: str) -> int:
        demand(text != "-0" and abs(int(text)) < 2**53, code, text)
        return int(text)

    def never(text: str) -> Any:
        raise Refused(code, text)

    def walk(value: Any, depth: int) -> None:
        demand(not isinstance(value, dict | list) or depth <= 16, code, "too deep")
        if isinstance(value, str):
            demand("\0" not in value and not re.search("[\ud800-\udfff]", value), code, "a character")
        for each in [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else ():
            walk(each, depth + 1)

    try:
        value = json.loads(data.decode(), object_pairs_hook=members, parse_int=whole, parse_float=never, parse_constant=never)
    except (ValueError, RecursionError) as error:
        raise Refused(code, str(error)) from None
    walk(value, 1)
    demand(type(value) is root, code, "its root")
    return value


def as_json(value: Any) -> bytes:
    """JSON without white space."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


# -- trees


@dataclass
class Tree:
    """A compact range."""

    size: int = 0
    stack: list[bytes] = field(default_factory=list)

    def append(self, payload: bytes) -> None:
        """One more leaf."""
        x, n = sha256(b"\0" + payload), self.size
        while n & 1:
            x, n = sha256(b"\1" + self.stack.pop() + x), n >> 1
        self.stack.append(x)
        self.size += 1

    def root(self) -> bytes:
        """The root over all leaves."""
        if not self.stack:
            return sha256(b"")
        *rest, r = self.stack
        for y in reversed(rest):
            r = sha256(b"\1" + y + r)
        return r

    def copy(self) -> "Tree":
        """The same, to go on with."""
        return Tree(self.size, [*self.stack])


def included(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """Whether an inclusion proof of RFC 6962 (as RFC 9162, 2.1.3.2, checks it) holds; `leaf` is the leaf's hash."""
    if index >= size:
        return False
    fn, sn, r = index, size - 1, leaf
    for p in path:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            r = sha256(b"\1" + p + r)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            r = sha256(b"\1" + r + p)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and r == root


# -- notes, signed documents, keys


ED25519, COSIGNATURE = b"\1", b"\4"


@dataclass(frozen=True)
class VerifierKey:
    """Whom a line of a note is believed of."""

    name: str
    key_id: bytes
    public: bytes
    kind: bytes = ED25519

    @property
    def text(self) -> str:
        """As it is pinned and listed."""
        return f"{self.keyid}+{b64(self.kind + self.public)}"

    @property
    def keyid(self) -> str:
        """As HTTP signatures name it."""
        return f"{self.name}+{self.key_id.hex()}"

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Whether this key signed it."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, message)
        except InvalidSignature:
            return False
        return True


def key_of(name: str, public: bytes) -> VerifierKey:
    """A key under its name; a witness's has a type of its own."""
    kind = COSIGNATURE if name.endswith("/witness") else ED25519
    return VerifierKey(name, sha256(name.encode() + b"\n" + kind + public)[:4], public, kind)


def read_vkey(text: str) -> VerifierKey:
    """A verifier key from its text."""
    name, _, rest = text.split("+", 2)
    key = key_of(name, unb64(rest, "SIG_FORMAT")[1:])
    demand(key.text == text and len(key.public) == 32, "SIG_FORMAT", text)
    return key


class SigningKey:
    """One key pair of one use."""

    def __init__(self, name: str, seed: bytes) -> None:
        self.private = Ed25519PrivateKey.from_private_bytes(seed)
        self.key = key_of(name, self.private.public_key().public_bytes_raw())

    def line(self, text: str) -> str:
        """The line of a note over its text."""
        return f"— {self.key.name} {b64(self.key.key_id + self.private.sign(text.encode()))}\n"

    def note(self, text: str) -> str:
        """A whole note."""
        return f"{text}\n{self.line(text)}"


def open_note(note: str, trusted: Iterable[VerifierKey]) -> tuple[str, set[str]]:
    """The text of a note and the names whose lines are good; believed only if one is."""
    demand(len(note.encode()) <= 16384 and re.search(r"[\0-\x09\x0b-\x1f\x7f]", note) is None, "SIG_FORMAT", "size or characters")
    text, parted, lines = note.rpartition("\n\n")
    text += "\n"
    demand(bool(parted) and lines.endswith("\n") and 1 <= lines.count("\n") <= 16, "SIG_FORMAT", "lines")
    known = {(key.name, key.key_id): key for key in trusted}
    seen, good = set(), set()
    for line in lines[:-1].split("\n"):
        found = re.fullmatch(r"— ([^ ]+) ([A-Za-z0-9+/=]+)", line)
        demand(found is not None, "SIG_FORMAT", line)
        name, data = found[1], unb64(found[2], "SIG_FORMAT")  # type: ignore[index]  # it was demanded
        demand((name, data[:4]) not in seen, "SIG_FORMAT", "a line twice")
        seen.add((name, data[:4]))
        if key := known.get((name, data[:4])):
            demand(len(data) == 68 and key.verifies(data[4:], text.encode()), "SIG_INVALID", name)
            good.add(name)
    demand(bool(good), "SIG_UNKNOWN_KEY", str(sorted(name for name, _ in seen)))
    return text, good


def note_text(artefact: str, context: str, body: bytes) -> str:
    """What is signed for a body."""
    return f"chengxin-exchange/{artefact}/1\n{context}\n{digest(body)}\n"


def signed(artefact: str, context: str, body: bytes, *keys: SigningKey) -> JsonObject:
    """A signed document as it goes over HTTP."""
    text = note_text(artefact, context, body)
    return {"body": body.decode(), "note": text + "\n" + "".join(key.line(text) for key in keys)}


def opened(document: Mapping[str, Any], artefact: str, context: str, trusted: Iterable[VerifierKey], *names: str) -> JsonObject:
    """The body of a signed document, once its note is believed: by every one of the names, where some are asked for."""
    body = document["body"].encode()
    text, good = open_note(document["note"], trusted)
    demand(good >= set(names), "SIG_UNKNOWN_KEY", f"{good} of {names}")
    first, second, third = text.split("\n")[:3]
    demand((first, second) == (f"chengxin-exchange/{artefact}/1", context), "SIG_CONTEXT", text)
    demand(third == digest(body) and text == note_text(artefact, context, body), "SIG_INVALID", text)
    said: JsonObject = strict_json(body)
    return said


def checkpoint_text(origin: str, tree: Tree) -> str:
    """The text of a checkpoint."""
    return f"{origin}\n{tree.size}\n{b64(tree.root())}\n"


def good_at(key: Mapping[str, Any], said: datetime, seen: datetime, skew_s: int = 300) -> bool:
    """Whether a listed key is good for what says one moment and was first seen at another."""

    def seconds(name: str) -> float:
        return moment_of(key[name]).timestamp()

    begun = seconds("not_before") <= said.timestamp() + skew_s
    over = max(said, seen).timestamp() >= seconds("not_after") + skew_s
    return begun and not over and (key["revoked_at"] is None or seen < moment_of(key["revoked_at"]))

"""A witness of transparency logs: one file, to be copied; it needs `cryptography`, nothing of ours (c2sp.org/tlog-witness).

    python witness.py new-key witness.example/w1 witness.key          prints the verifier key
    python witness.py serve --key witness.key --log VKEY --state FOLDER [--log VKEY …] [--listen 127.0.0.1:8444]

It signs the head of a log only if the head continues the one that it signed before: POST /add-checkpoint. What it signed last stands in the
folder, one file a log, written and flushed before the signature leaves; check and store happen under one lock. GET /ORIGIN-HASH/checkpoint
gives the newest head with its signature. So two heads of one size, or a shortened log, never bear its name.
"""

import argparse
import base64
import hashlib
import os
import re
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

MOST = 32 * 1024
EMPTY = hashlib.sha256(b"").digest()


class Refused(Exception):
    """A request that is not signed: status, what is said, and of what media type."""

    def __init__(self, status: int, said: str, media: str = "text/plain; charset=utf-8") -> None:
        super().__init__(said)
        self.status, self.said, self.media = status, said, media


def key_id(name: str, kind: bytes, public: bytes) -> bytes:
    """The first four bytes of SHA-256(name ‖ LF ‖ type ‖ public key)."""
    return hashlib.sha256(name.encode() + b"\n" + kind + public).digest()[:4]


def vkey(name: str, kind: bytes, public: bytes) -> str:
    """The text form of a public key."""
    return f"{name}+{key_id(name, kind, public).hex()}+{base64.b64encode(kind + public).decode()}"


def read_log_key(text: str) -> tuple[str, bytes, Ed25519PublicKey]:
    """Name, key id and key of a log (type 0x01). Raises ValueError."""
    name, given, encoded = text.split("+", 2)
    data = base64.b64decode(encoded, validate=True)
    if data[:1] != b"\x01" or len(data) != 33 or key_id(name, b"\x01", data[1:]).hex() != given:
        raise ValueError("no Ed25519 verifier key of a log")
    return name, bytes.fromhex(given), Ed25519PublicKey.from_public_bytes(data[1:])


def node(left: bytes, right: bytes) -> bytes:
    """H(0x01 ‖ left ‖ right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def continues(old: int, old_root: bytes, new: int, new_root: bytes, proof: list[bytes]) -> bool:
    """Whether one tree begins with the other (RFC 9162 §2.1.4.2)."""
    if old == new:
        return not proof and old_root == new_root
    if old == 0:
        return not proof
    path = list(proof) if old & (old - 1) else [old_root, *proof]
    if not path:
        return False
    first, last = old - 1, new - 1
    while first & 1:
        first, last = first >> 1, last >> 1
    of_old = of_new = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if first & 1 or first == last:
            of_old, of_new = node(sibling, of_old), node(sibling, of_new)
            while first and not first & 1:
                first, last = first >> 1, last >> 1
        else:
            of_new = node(of_new, sibling)
        first, last = first >> 1, last >> 1
    return last == 0 and of_old == old_root and of_new == new_root


class Witness:
    """The logs it knows, its key, and what it signed last."""

    def __init__(self, name: str, private: Ed25519PrivateKey, logs: list[str], state: Path) -> None:
        self.name, self.private, self.state = name, private, state
        self.public = private.public_key().public_bytes_raw()
        self.logs: dict[str, list[tuple[bytes, Ed25519PublicKey]]] = {}
        for text in logs:
            log, ident, key = read_log_key(text)
            self.logs.setdefault(log, []).append((ident, key))
        self.lock = threading.Lock()

    def file(self, origin: str) -> Path:
        """Where the newest head of a log stands."""
        return self.state / hashlib.sha256(origin.encode()).hexdigest()

    def held(self, origin: str) -> tuple[int, bytes]:
        """Size and root of it."""
        path = self.file(origin)
        if not path.exists():
            return 0, EMPTY
        _, size, root, *_ = path.read_text(encoding="utf-8").split("\n")
        return int(size), base64.b64decode(root)

    def add(self, body: bytes) -> str:
        """The cosignature line over the head that is asked for. Raises Refused."""
        old, proof, text, lines = self.read(body)
        origin, size_text, root_text = text.split("\n")[:3]
        size, root = int(size_text), base64.b64decode(root_text)
        keys = self.logs.get(origin)
        if keys is None:
            raise Refused(404, "no log of this origin is known here\n")
        self.check(origin, keys, text, lines)
        if old > size:
            raise Refused(400, "the older tree is larger than the newer one\n")
        with self.lock:
            held, held_root = self.held(origin)
            if old != held or (size == held and root != held_root):
                raise Refused(409, f"{held}\n", "text/x.tlog.size")
            if not continues(held, held_root, size, root, proof):
                raise Refused(422, "the proof does not hold\n")
            line = self.sign(text)
            self.keep(origin, f"{text}\n{line}")
        return line

    def read(self, body: bytes) -> tuple[int, list[bytes], str, list[str]]:
        """Size, proof, text and signature lines of a request. Raises Refused 400."""
        try:
            head, _, note = body.decode().partition("\n\n")
            first, *rest = head.split("\n")
            old = re.fullmatch(r"old (0|[1-9][0-9]{0,15})", first)
            text, _, signatures = note.partition("\n\n")
            lines = signatures.split("\n")
            proof = [base64.b64decode(each, validate=True) for each in rest]
            checkpoint = re.fullmatch(r"[^\n]+\n(0|[1-9][0-9]{0,15})\n[A-Za-z0-9+/]{43}=", text)
            if old is None or checkpoint is None or len(rest) > 63 or any(len(each) != 32 for each in proof) or lines.pop():
                raise ValueError
            return int(old[1]), proof, text + "\n", lines
        except (ValueError, IndexError):
            raise Refused(400, "the body is `old SIZE`, proof lines, an empty line and a checkpoint\n") from None

    def check(self, origin: str, keys: list[tuple[bytes, Ed25519PublicKey]], text: str, lines: list[str]) -> None:
        """Some line is of a key of this log, and every such line is good. Raises Refused 403."""
        known = dict(keys)
        good = 0
        for line in lines:
            match = re.fullmatch(r"— (\S+) ([A-Za-z0-9+/]+={0,2})", line)
            data = base64.b64decode(match[2]) if match else b""
            if match is None or match[1] != origin or data[:4] not in known:
                continue
            try:
                known[data[:4]].verify(data[4:], text.encode())
            except InvalidSignature:
                raise Refused(403, "a signature of the log fails\n") from None
            good += 1
        if not good:
            raise Refused(403, "no signature of a key of this log\n")

    def sign(self, text: str) -> str:
        """Our line: key id, time and signature (c2sp.org/tlog-cosignature)."""
        now = int(time.time())
        message = f"cosignature/v1\ntime {now}\n{text}".encode()
        signature = key_id(self.name, b"\x04", self.public) + now.to_bytes(8, "big") + self.private.sign(message)
        return f"— {self.name} {base64.b64encode(signature).decode()}\n"

    def keep(self, origin: str, note: str) -> None:
        """Written and flushed, file and folder, before anybody is given it."""
        path = self.file(origin)
        draft = path.with_suffix(".part")
        with draft.open("w", encoding="utf-8") as file:
            file.write(note)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        folder = os.open(self.state, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def server(witness: Witness, host: str, port: int) -> ThreadingHTTPServer:
    """The witness on an address; `serve_forever` it."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 20

        def do_POST(self) -> None:
            """`/add-checkpoint`."""
            length = self.headers.get("content-length", "")
            try:
                if self.path != "/add-checkpoint":
                    raise Refused(404, "POST /add-checkpoint\n")
                if not length.isdigit() or int(length) > MOST:
                    raise Refused(413, "a request has at most 32 KiB\n")
                self.answer(200, witness.add(self.rfile.read(int(length))))
            except Refused as error:
                self.answer(error.status, error.said, error.media)

        def do_GET(self) -> None:
            """`/ORIGIN-HASH/checkpoint`."""
            match = re.fullmatch(r"/([0-9a-f]{64})/checkpoint", self.path)
            path = witness.state / match[1] if match else None
            if path is None or not path.exists():
                self.answer(404, "GET /ORIGIN-HASH/checkpoint\n")
            else:
                self.answer(200, path.read_text(encoding="utf-8"))

        def answer(self, status: int, said: str, media: str = "text/plain; charset=utf-8") -> None:
            """One short answer."""
            body = said.encode()
            self.send_response(status)
            self.send_header("content-type", media)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in the standard library
            """One line an answer, without the address."""
            sys.stderr.write(f"{self.command} {self.path} {format % args}\n")

    return ThreadingHTTPServer((host, port), Handler)


def new_key(name: str, path: Path) -> str:
    """A key file of mode 0400, never overwritten; its verifier key."""
    private = Ed25519PrivateKey.generate()
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400), "w", encoding="ascii") as file:
        file.write(f"{name}\n{base64.b64encode(private.private_bytes_raw()).decode()}\n")
    return vkey(name, b"\x04", private.public_key().public_bytes_raw())


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="a witness of transparency logs")
    commands = parser.add_subparsers(dest="command", required=True)
    new = commands.add_parser("new-key", help="make a key file and print the verifier key")
    new.add_argument("name")
    new.add_argument("file", type=Path)
    serve = commands.add_parser("serve", help="answer")
    serve.add_argument("--key", type=Path, required=True)
    serve.add_argument("--log", action="append", required=True, help="verifier key of a log; its name is the log's origin")
    serve.add_argument("--state", type=Path, required=True)
    serve.add_argument("--listen", default="127.0.0.1:8444")
    given = parser.parse_args(arguments)
    if given.command == "new-key":
        sys.stdout.write(new_key(given.name, given.file) + "\n")
        return
    name, seed = given.key.read_text(encoding="ascii").split()
    given.state.mkdir(parents=True, exist_ok=True)
    witness = Witness(name, Ed25519PrivateKey.from_private_bytes(base64.b64decode(seed)), given.log, given.state)
    host, _, port = given.listen.rpartition(":")
    door = server(witness, host, int(port))
    sys.stdout.write(f"http://{host}:{door.server_address[1]} {vkey(name, bytes([4]), witness.public)}\n")
    sys.stdout.flush()
    door.serve_forever()


if __name__ == "__main__":
    main()

"""A small partner gateway over real sockets, in a thread: takes batches, lends its own, and misbehaves on demand."""

import base64
import json
import re
import threading
import time
from collections.abc import Container, Iterator
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from gateway.adapter_contract import Part, SealedBatch


class Partner:
    """What the server knows and how it behaves."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.posts: list[dict[str, Any]] = []
        self.parts: dict[str, bytes] = {}
        self.arrived: dict[str, SealedBatch] = {}
        self.effects: dict[str, int] = {}
        self.offered: list[SealedBatch] = []
        self.held_back: Container[int] = ()
        """Batches that are not given while their agreement stands still."""
        self.answer = b"{}"
        self.asked: list[bytes] = []
        self.feedback = b'{"i":0}\n'
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.delay_s = 0.0
        self.lose_replies = False
        self.redirect_to: str | None = None
        self.status: int | None = None
        self.kind = "application/problem+json"
        self.body = b"{}"
        self.ignore_inline = False
        self.never_satisfied = False
        self.trickle_s = 0.0
        self.keys = b'{"body":"{\\"maintenance\\":null}","note":"n"}'
        self.date: str | None = None
        self.break_off = False
        self.fail_to_keep = False
        self.fed_back: dict[int, bytes] = {}
        self.receipts: dict[int, tuple[bytes, bytes]] = {}
        self.resyncs: dict[str, str] = {}
        self.left: dict[int, tuple[bytes, bytes]] = {}
        self.told: list[bytes] = []
        """Signed documents about agreements that were brought."""
        self.later: dict[str, bytes] = {}
        """Answers to questions that could not be answered at once."""
        self.agreements: dict[str, bytes] = {}
        """What is answered below `/agreements`, by the rest of the path."""


def _body(document: bytes) -> bytes:
    return str(json.loads(document)["body"]).encode()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def partner(self) -> Partner:
        return self.server.partner  # type: ignore[attr-defined, no-any-return]  # put there by `serving`

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the name of the standard library
        """Silent."""

    def date_time_string(self, timestamp: float | None = None) -> str:
        """The clock that the test wants."""
        return self.partner.date or super().date_time_string(timestamp)

    def _any(self) -> None:
        partner = self.partner
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length // 2 if partner.break_off else length)
        if partner.break_off or len(body) < length:
            self.close_connection = True
            self.connection.close()
            return
        url = urlsplit(self.path)
        with partner.lock:
            partner.requests.append((self.command, self.path, {name.lower(): value for name, value in self.headers.items()}))
        if partner.delay_s:
            time.sleep(partner.delay_s)
        if partner.redirect_to is not None:
            self._send(307, b"", "text/plain", location=partner.redirect_to + self.path)
            return
        if partner.status is not None:
            self._send(partner.status, partner.body, partner.kind)
            return
        self._route(url.path, parse_qs(url.query), body)

    do_GET = _any  # noqa: N815  # the standard library calls them so
    do_POST = _any  # noqa: N815  # the same
    do_PUT = _any  # noqa: N815  # the same

    def _route(self, path: str, query: dict[str, list[str]], body: bytes) -> None:
        partner = self.partner
        if path.endswith("/batches"):
            self._batch(json.loads(body))
        elif path.endswith("/keys"):
            held = self.headers.get("if-none-match")
            same = held is not None and held.strip('"') == base64.b64encode(sha256(_body(partner.keys)).digest()).decode()
            self._send(304 if same else 200, b"" if same else partner.keys)
        elif path.endswith("/agreements") and self.command == "POST":
            partner.told.append(body)
            self._send(202, b'{"state":"offered"}')
        elif "/agreements" in path:
            found = partner.agreements.get(path.partition("/agreements")[2])
            self._send(200, found) if found is not None else self._send(404, b'{"code":"not-found"}', "application/problem+json")
        elif path.endswith("/resync"):
            partner.resyncs[path.split("/")[-2]] = json.loads(body)["reason"]
            self._send(202, b"{}")
        elif path.endswith("/receipts"):
            no = max(partner.fed_back, default=0)  # the feedback comes first
            partner.receipts[no] = (body, partner.fed_back.get(no, b""))
            self._send(204, b"")
        elif self.command == "PUT" and (match := re.search(r"/feedback/(\d+)$", path)):
            partner.fed_back[int(match[1])] = body
            self._send(204, b"")
        elif path.endswith("/query"):
            partner.asked.append(body)
            self._send(200, partner.answer)
        elif (match := re.search(r"/query/([^/]+)$", path)) and match[1] in partner.later:
            self._send(200, partner.later[match[1]])
        elif match := re.search(r"/feedback/(\d+)$", path):
            self._send(200, partner.left.get(int(match[1]), (b"", partner.feedback))[1], "application/x-ndjson")
        elif match := re.search(r"/kept-receipts/(\d+|latest)$", path):
            no = max(partner.receipts, default=0) if match[1] == "latest" else int(match[1])
            self._send(200, partner.receipts[no][0]) if no in partner.receipts else self._send(204, b"")
        elif (match := re.search(r"/receipts/(\d+)$", path)) and int(match[1]) in partner.left:
            self._send(200, partner.left[int(match[1])][0])
        elif match := re.search(r"/manifests/(\d+)$", path):
            self._manifest(int(match[1]))
        elif match := re.search(r"/files/(.+)$", path):
            self._file(match[1], body)
        else:
            self._send(404, b'{"code":"not-found"}', "application/problem+json")

    def _batch(self, said: dict[str, Any]) -> None:
        partner = self.partner
        manifest = json.loads(said["manifest"]["body"])
        names = [part["name"] for part in manifest.get("parts", [])]
        with partner.lock:
            partner.posts.append(said)
            if not partner.ignore_inline:
                partner.parts |= {name: base64.b64decode(data) for name, data in (said.get("parts") or {}).items()}
            missing = [name for name in names if name not in partner.parts]
            wanted: bytes | None
            if missing or partner.never_satisfied:
                wanted = json.dumps({"state": "FETCHING", "missing": missing or names}).encode()
            elif partner.fail_to_keep:
                wanted = None
            else:
                wanted = b""
                batch = f"{manifest['sender']}/x/{manifest['stream']}/{manifest['epoch']}/{manifest['seq']}"
                if batch not in partner.arrived:
                    partner.effects[batch] = partner.effects.get(batch, 0) + 1
                partner.arrived[batch] = sealed(batch, said, {name: partner.parts[name] for name in names})
        if partner.lose_replies:
            self.close_connection = True
            self.connection.close()
            return
        if wanted is None:
            self._send(500, b"{}", "application/problem+json")
            return
        if wanted:
            self._send(202, wanted)
            return
        receipt = json.dumps({"no": 1, "feedback": {"lines": 1}})
        self._send(200, json.dumps({"body": receipt, "note": "n"}).encode())

    def _manifest(self, seq: int) -> None:
        if seq in self.partner.held_back:
            self._send(403, b'{"code":"scope-agreement"}', "application/problem+json")
            return
        found = [each for each in self.partner.offered if each.batch.endswith(f"/{seq}")]
        if not found and seq > len(self.partner.offered) + 1:
            self._send(404, b'{"code":"seq-gap"}', "application/problem+json")
            return
        if not found:
            self._send(204, b"")
            return
        batch = found[0]
        self._send(
            200,
            json.dumps(
                {
                    "manifest": {"body": batch.manifest.decode(), "note": batch.manifest_note.decode()},
                    "checkpoint": batch.checkpoint.decode(),
                }
            ).encode(),
        )

    def _file(self, name: str, body: bytes) -> None:
        if self.command == "PUT":
            with self.partner.lock:
                self.partner.parts[name] = body
            self._send(201, b"")
            return
        for batch in self.partner.offered:
            for part in batch.parts:
                if part.name == name:
                    self._send(200, b"".join(part.read()), "application/octet-stream")
                    return
        self._send(404, b"")

    def _send(self, status: int, body: bytes, kind: str = "application/json", location: str | None = None) -> None:
        try:
            self.send_response(status)
            self.send_header("content-type", kind)
            if location is not None:
                self.send_header("location", location)
            if status not in (204, 304):
                self.send_header("content-length", str(len(body)))
            self.end_headers()
            if self.partner.trickle_s:
                for at in range(len(body)):
                    self.wfile.write(body[at : at + 1])
                    self.wfile.flush()
                    time.sleep(self.partner.trickle_s)
            else:
                self.wfile.write(body)
        except OSError:
            self.close_connection = True


def sealed(batch: str, said: dict[str, Any], parts: dict[str, bytes]) -> SealedBatch:
    """A batch as it was posted."""

    def part(name: str, data: bytes) -> Part:
        def read() -> Iterator[bytes]:
            yield data

        return Part(name=name, size=len(data), digest="", read=read)

    return SealedBatch(
        batch=batch,
        manifest=said["manifest"]["body"].encode(),
        manifest_note=said["manifest"]["note"].encode(),
        checkpoint=said["checkpoint"].encode(),
        parts=tuple(part(name, data) for name, data in parts.items()),
    )


class Server:
    """A partner that listens."""

    def __init__(self) -> None:
        self.partner = Partner()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self._server.partner = self.partner  # type: ignore[attr-defined]  # read by the handler
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    @property
    def origin(self) -> str:
        """Scheme, address, port."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def serving() -> Iterator[Server]:
    """A partner for one test."""
    server = Server()
    try:
        yield server
    finally:
        server.close()

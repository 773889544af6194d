"""What a partner city serves, section 10 of the wire specification: keys to all, and to its partner batches' POST and PUT, and receipts."""

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from tests.exchange.stranger.formats import JsonObject, Refused, as_json, demand, digest
from tests.exchange.stranger.messages import JSON

if TYPE_CHECKING:
    from tests.exchange.stranger.city import Stranger

UNSEEN = ("NOT_FOUND", "SEQ_GAP")


def routed(city: "Stranger", method: str, path: str, body: bytes) -> tuple[int, str, bytes]:
    """Status, type and body of the answer to a request that was believed."""
    found = re.fullmatch(r"/streams/([^/]+)/(batches|files|receipts|feedback)(?:/([^/]+))?", path)
    if (method, path) == ("POST", "/agreements"):
        document = json.loads(body)
        city.offers.append(document)
        said = json.loads(document["body"])
        held = {"id": said.get("id"), "version": said.get("version"), "digest": digest(document["body"].encode())}
        return 202, JSON, as_json(held | {"state": "offered", "since": None})
    demand(found is not None and found[1] in city.incoming, "NOT_FOUND", path)
    stream, kind, name = found.groups()  # type: ignore[union-attr]  # it was demanded
    incoming = city.incoming[stream]
    if (method, kind) == ("POST", "batches"):
        status, answer = incoming.posted(json.loads(body), lambda said: city.trusted(said=said), city.x, city.clock())
        return status, JSON, as_json(answer)
    if (method, kind) == ("PUT", "files"):
        incoming.put(name, body)
        return 201, JSON, b""
    no = len(incoming.given) if name == "latest" else int(name)
    demand(method == "GET" and 1 <= no <= len(incoming.given), "NOT_FOUND", path)
    document, feedback = incoming.given[no - 1]
    return (200, JSON, as_json(document)) if kind == "receipts" else (200, "application/x-ndjson", feedback)


def serve(city: "Stranger") -> ThreadingHTTPServer:
    """The city's server on a port of its own, running."""
    one_at_a_time = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _handle(self) -> None:
            """Keys for everybody; everything else for whoever signs."""
            body = self.rfile.read(int(self.headers["Content-Length"] or 0))
            city.asked.append(f"{self.command} {self.path}")
            path = self.path.removeprefix("/x/v1").partition("?")[0]
            if (self.command, path) == ("GET", "/keys"):
                document = as_json(city.keys_document())
                tag = f'"{digest(document)}"'
                held = self.headers["If-None-Match"] == tag
                self._answer(304 if held else 200, JSON, b"" if held else document, tag)
                return
            try:
                with one_at_a_time:
                    city.believe(self.command, self.path, dict(self.headers.items()), body)
            except Refused as error:
                self._problem(401, error)
                return
            try:
                with one_at_a_time:
                    self._answer(*routed(city, self.command, path, body))
            except Refused as error:
                city.refused.append(str(error))
                self._problem(404 if error.code in UNSEEN else 422, error)

        do_GET = do_POST = do_PUT = _handle  # noqa: N815  # the standard library calls them so

        def _problem(self, status: int, error: Refused) -> None:
            said: JsonObject = {"title": error.code, "status": status, "code": error.code.lower().replace("_", "-")}
            self._answer(status, "application/problem+json", as_json(said))

        def _answer(self, status: int, media: str, body: bytes, tag: str = "") -> None:
            self.send_response(status)
            if tag:
                self.send_header("ETag", tag)
            self.send_header("Content-Type", media)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing is logged."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    return server

"""The other side of `province_soap` for tests and rehearsals: a receiving service on loopback that takes rows, and misbehaves on demand.

It reads what arrives with the same hardened reader, checks the token, keeps rows in order, knows a business key again where it is told to,
and answers `00`, or a code with line and text. It is no implementation of any authority's service.
"""

import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from typing import Any, Final

from adapters.hardened_xml import escape, local, read_xml
from adapters.province_soap_xml import SOAP
from gateway.adapter_contract import AdapterError

__all__ = ["BOMB", "Province", "ProvinceServer", "serving"]

MAX_CALL: Final = 64 * 2**20
_LADDER: Final = "abcdefghijk"
BOMB: Final = (
    '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY a "xxxxxxxxxx">'
    + "".join(f'<!ENTITY {name} "{f"&{below};" * 10}">' for below, name in pairwise(_LADDER))
    + "]><a>&k;</a>"
).encode()
"""Ten thousand million letters in a thousand bytes."""


class Province:
    """What the service knows and how it behaves."""

    def __init__(self, token: str = "token") -> None:  # noqa: S107  # the word of a simulator
        self.token = token
        self.lock = threading.Lock()
        self.key: tuple[str, ...] = ()
        """Elements of the business key; empty: it knows no row again."""
        self.rows: list[dict[str, str]] = []
        """Rows taken, in order; a known key replaces its row."""
        self.taken = 0
        """Rows taken as new ones."""
        self.calls: list[bytes] = []
        self.paths: list[str] = []
        self.faults: Mapping[str, tuple[str, str]] = {}
        """A text that a row contains → code and text with which its call is refused."""
        self.delay_s = 0.0
        self.trickle_s = 0.0
        self.status: int | None = None
        self.body: bytes | None = None
        """What it answers to everything, after it has taken the rows."""
        self.keeps = True
        """False: it takes nothing, whatever it answers."""
        self.half = False
        self.redirect_to: str | None = None
        self.drop: str = ""
        """`before`: hangs up without reading on; `after`: hangs up when the rows are taken."""
        self.escaped = False
        """Answers with an escaped document of its own."""
        self.date: str | None = None
        """What its clock says."""
        self.line_offset = 0
        """Added to every line number that it names."""

    def take(self, data: bytes) -> bytes:
        """What one call is answered; its rows are taken whole or not at all."""
        try:
            root = read_xml(data, limit=MAX_CALL)
            said = {local(each.tag): each.text or "" for each in root[0][0]}
            if said["token"] != self.token:
                return self.answer("10", None, "token")
            inner = read_xml(said["xml"].encode(), limit=MAX_CALL)
        except (AdapterError, IndexError, KeyError):
            return _envelope("<soapenv:Fault><faultcode>soapenv:Client</faultcode><faultstring>xml</faultstring></soapenv:Fault>")
        rows = [{local(cell.tag): cell.text or "" for cell in row} for row in inner.iter() if local(row.tag) in ("ROW", "fields")]
        for number, row in enumerate(rows, 1):
            for text, (code, why) in self.faults.items():
                if any(text in value for value in row.values()):
                    return self.answer(code, number + self.line_offset, why)
        if self.keeps:
            with self.lock:
                for row in rows:
                    self._keep(row)
        return self.answer("00", None, None)

    def _keep(self, row: dict[str, str]) -> None:
        if self.key:
            for at, known in enumerate(self.rows):
                if all(known.get(name) == row.get(name) for name in self.key):
                    self.rows[at] = row
                    return
        self.rows.append(row)
        self.taken += 1

    def answer(self, code: str, line: int | None, text: str | None) -> bytes:
        """An answer in the service's own words."""
        inner = f"<code>{escape(code)}</code>"
        inner += f"<line>{line}</line>" if line is not None else ""
        inner += f"<text>{escape(text)}</text>" if text is not None else ""
        if self.escaped:
            return _envelope(f"<r:response xmlns:r='urn:r'><return>{escape(f'<RESULT>{inner}</RESULT>')}</return></r:response>")
        return _envelope(f"<r:response xmlns:r='urn:r'><return>{inner}</return></r:response>")


def _envelope(inner: str) -> bytes:
    head = '<?xml version="1.0" encoding="UTF-8"?>'
    return f'{head}<soapenv:Envelope xmlns:soapenv="{SOAP}"><soapenv:Body>{inner}</soapenv:Body></soapenv:Envelope>'.encode()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def province(self) -> Province:
        return self.server.province  # type: ignore[attr-defined, no-any-return]  # put there by the server

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the name of the standard library
        """Silent."""

    def date_time_string(self, timestamp: float | None = None) -> str:
        """The clock that the test wants."""
        return self.province.date or super().date_time_string(timestamp)

    def do_GET(self) -> None:
        """The description of the service."""
        if self.province.redirect_to is not None:
            self._send(302, b"", location=self.province.redirect_to)
            return
        self._send(200, b"<definitions/>")

    def do_POST(self) -> None:
        """One call."""
        province = self.province
        length = self.headers.get("content-length", "")
        if not re.fullmatch(r"[0-9]{1,8}", length) or int(length) > MAX_CALL:
            self._send(413, b"")
            return
        if province.drop == "before":
            self._hang_up()
            return
        data = self.rfile.read(int(length))
        with province.lock:
            province.calls.append(data)
            province.paths.append(self.path)
        if province.delay_s:
            time.sleep(province.delay_s)
        if province.redirect_to is not None:
            self._send(307, b"", location=province.redirect_to)
            return
        answer = province.take(data)
        if province.drop == "after":
            self._hang_up()
            return
        fault = b"<soapenv:Fault>" in answer
        self._send(province.status or (500 if fault else 200), answer if province.body is None else province.body)

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _send(self, status: int, body: bytes, location: str | None = None) -> None:
        province = self.province
        try:
            self.send_response(status)
            self.send_header("content-type", "text/xml; charset=utf-8")
            if location is not None:
                self.send_header("location", location)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            if province.half:
                self.wfile.write(body[: len(body) // 2])
                self._hang_up()
                return
            if province.trickle_s:
                for at in range(len(body)):
                    self.wfile.write(body[at : at + 1])
                    self.wfile.flush()
                    time.sleep(province.trickle_s)
                return
            self.wfile.write(body)
        except OSError:
            self.close_connection = True


class ProvinceServer:
    """A service that listens on loopback; with a certificate and its key over TLS."""

    def __init__(self, province: Province | None = None, *, certificate: Sequence[str] = ()) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self.province = province or Province()
        self._scheme = "http"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
            self._scheme = "https"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    @property
    def province(self) -> Province:
        """What it knows now."""
        return self._server.province  # type: ignore[attr-defined, no-any-return]  # read by the handler

    @province.setter
    def province(self, province: Province) -> None:
        self._server.province = province  # type: ignore[attr-defined]  # read by the handler

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._server.server_port

    @property
    def origin(self) -> str:
        """Scheme, address, port."""
        return f"{self._scheme}://127.0.0.1:{self.port}"

    def close(self) -> None:
        """Stop listening; twice is harmless."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def serving(province: Province | None = None) -> Iterator[ProvinceServer]:
    """A service for a while."""
    server = ProvinceServer(province)
    try:
        yield server
    finally:
        server.close()

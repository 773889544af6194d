"""A copy that is cut while it is sent: its reader sees a broken transfer, on both servers and both ways of sending."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.operations.version_files import _cut
from gateway.web.asgi import PATHSEND, Receive, Scope, Send
from gateway.web.files import WholeFile, _chunks
from gateway.web.replies import Reply
from tests.web.test_health import free_port

SIZE = 48 << 20
ROOT = Path(__file__).resolve().parents[2]


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Two ways to send a file."""
    if scope["type"] != "http":
        return
    path = Path(os.environ["COPY"])
    size = [(b"content-length", b"%d" % path.stat().st_size)]
    if scope["path"] == "/whole" and PATHSEND in scope.get("extensions", {}):
        await WholeFile(200, size, path)(scope, receive, send)
    else:
        await Reply(200, size, chunks=_chunks(path.open("rb"), 0, path.stat().st_size))(scope, receive, send)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A long copy."""
    path = tmp_path / "copy.ndjson"
    path.write_bytes(os.urandom(1 << 20) * (SIZE >> 20))
    return path


@pytest.fixture(params=["granian", "uvicorn"])
def port(request: pytest.FixtureRequest, copy: Path) -> Iterator[int]:
    """A server that sends it."""
    number = free_port()
    asgi = ["--interface", "asgi"] if request.param == "granian" else []
    command = [sys.executable, "-m", request.param, *asgi, "--port", str(number), "tests.web.test_files:app"]
    environment = {**os.environ, "COPY": str(copy), "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", number)).close()
            break
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
    yield number
    process.terminate()
    process.wait(timeout=30)


def _read(port: int, way: str, copy: Path, *, cut: bool) -> int:
    """Bytes of the body that a slow reader gets before the connection ends."""
    with socket.socket() as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        reader.settimeout(60)
        reader.connect(("127.0.0.1", port))
        reader.sendall(b"GET /%b HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n" % way.encode())
        held = reader.recv(1 << 16)
        if cut:
            _cut(copy)
        while b"\r\n\r\n" not in held:
            held += reader.recv(1 << 16)
        head, _, body = held.partition(b"\r\n\r\n")
        assert b"content-length: %d" % SIZE in head.lower()
        got = len(body)
        try:
            while piece := reader.recv(1 << 20):
                got += len(piece)
        except ConnectionResetError:
            pass
        return got


@pytest.mark.parametrize("way", ["whole", "pieces"])
def test_a_cut_copy_breaks_the_transfer(port: int, way: str, copy: Path) -> None:
    """Whoever reads slowly gets the length that was said, or after a cut less than it and the end of the connection."""
    assert _read(port, way, copy, cut=False) == SIZE
    assert _read(port, way, copy, cut=True) < SIZE
    assert not copy.exists()

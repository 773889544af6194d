"""Real sockets for tests of the web room: an ASGI application on uvicorn in the test's own loop, and raw requests to it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import httpx
import uvicorn

from tests.house import PLAIN


@asynccontextmanager
async def serving(app: Any, port: int = 0) -> AsyncIterator[str]:
    """The origin under which an application answers while the block lasts; its lifespan runs too."""
    config = uvicorn.Config(
        app, host="127.0.0.1", port=port, log_config=None, access_log=False, proxy_headers=False, lifespan="on", timeout_graceful_shutdown=2
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:
        if task.done():
            await task
            raise RuntimeError("the application did not start")
        await asyncio.sleep(0.01)
    host, port = server.servers[0].sockets[0].getsockname()[:2]
    try:
        yield f"http://{host}:{port}"
    finally:
        server.should_exit = True
        await task


@asynccontextmanager
async def client_of(app: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client on a real socket to an application; it follows no redirect and sends nothing of its own accord but `Accept: */*`."""
    async with serving(app) as origin, httpx.AsyncClient(base_url=origin, timeout=20, verify=PLAIN) as client:
        client.headers.clear()
        client.headers["Accept"] = "*/*"
        yield client


class Raw(NamedTuple):
    """An answer as bytes."""

    status: int
    headers: dict[str, str]
    body: bytes
    complete: bool
    """Whether the body ended as it should, not by a broken connection."""

    @property
    def decoded(self) -> bytes:
        """The body without its chunks."""
        if self.headers.get("transfer-encoding") != "chunked":
            return self.body
        body, rest = b"", self.body
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
        return body


async def raw(origin: str, request: bytes) -> Raw:
    """Send bytes as they are, read until the connection ends."""
    host, port = origin.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    await writer.drain()
    answer = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    complete = (
        body.endswith(b"0\r\n\r\n") if headers.get("transfer-encoding") == "chunked" else len(body) == int(headers.get("content-length", 0))
    )
    return Raw(int(lines[0].split(" ")[1]), headers, body, complete)


def get(path: str | bytes, *headers: str, method: str = "GET") -> bytes:
    """The bytes of a request that closes its connection."""
    target = path.encode("latin-1") if isinstance(path, str) else path
    return (
        method.encode()
        + b" "
        + target
        + b" HTTP/1.1\r\nhost: h\r\nconnection: close\r\n"
        + "".join(f"{line}\r\n" for line in headers).encode()
        + b"\r\n"
    )


def pass_on(_: Any, error: Exception) -> Any:
    """As the application's own: every exception goes to the front door."""
    raise error

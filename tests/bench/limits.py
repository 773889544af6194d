"""What the machine and the peers can do at most, started in the same run: nginx, bare ASGI, Litestar's constant bytes, raw sqlite3.

Run as `granian --interface asgi tests.bench.limits:constant` and the like; `document` reads a table of code and document that holds
the product's own renderings, so that the limit serves the very same bytes by the very same key.
"""

import json
import os
import sqlite3
from collections.abc import Awaitable, Callable, MutableMapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from litestar import Litestar, get
from litestar.response import Response

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

BODY = b"x" * 600
HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"600")]
READ_MODEL = os.environ.get("BENCH_DATABASE", "")
ANSWER = os.environ.get("BENCH_ANSWER", "")
"""File with one answer of the product: [header fields as pairs of texts, body]."""


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def constant(scope: Scope, receive: Receive, send: Send) -> None:
    """A bare ASGI application that answers 600 constant bytes."""
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
        return
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})


@lru_cache(1)
def _answer() -> tuple[list[tuple[bytes, bytes]], bytes]:
    fields, body = json.loads(Path(ANSWER).read_bytes())
    return [(name.encode(), value.encode()) for name, value in fields], body.encode()


async def headed(scope: Scope, receive: Receive, send: Send) -> None:
    """A bare ASGI application that gives everybody one answer of the product with all its header fields: what the server takes for them."""
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
        return
    fields, body = _answer()
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": body})


@lru_cache(1)
def _reader() -> sqlite3.Connection:
    return sqlite3.connect(f"file:{READ_MODEL}?mode=ro", uri=True, check_same_thread=False)


def copy_documents(source: str, target: str) -> int:
    """Make the table that `document` reads, out of the product's read model; how many documents."""
    with sqlite3.connect(target) as connection:
        connection.execute("CREATE TABLE documents (code TEXT PRIMARY KEY, body BLOB) WITHOUT ROWID")
        connection.execute("ATTACH ? AS house", (source,))
        done = connection.execute(
            "INSERT INTO documents SELECT k.key_value, r.body FROM house.subject_keys k JOIN house.rendered_subjects r USING (subject_id) "
            "WHERE k.key_type = 'uscc' AND r.body IS NOT NULL"
        )
        return done.rowcount


async def document(scope: Scope, receive: Receive, send: Send) -> None:
    """A bare ASGI application that answers a rendered document by key, with nothing around it."""
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
        return
    key = scope["path"].rsplit("/", 1)[1]
    row = _reader().execute("SELECT body FROM documents WHERE code = ?", (key,)).fetchone()
    body = row[0] if row else b"{}"
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200 if row else 404, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@get("/v1/constant", operation_id="constant", sync_to_thread=False)
def litestar_constant() -> Response[bytes]:
    """600 constant bytes from a Litestar handler: what the framework costs by itself."""
    return Response(BODY, media_type="application/json")


framework = Litestar([litestar_constant], openapi_config=None)

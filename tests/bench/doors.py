"""What a door costs: look-ups of an app with token and proof against anonymous ones that take the same way.

Over HTTP (`Program`, `office_lane`): a server without the public lane, each request with a proof of its own that is used once. In one
process, which shows the difference itself: `python -m tests.bench.doors SETTINGS SUBJECTS` prints {"office": […], "open": […],
"department": […], "proof_us": …}: look-ups a second in each round of the anonymous office lane, of a DPoP caller for open.read (the same
view: the door alone), of a DPoP caller with its own plans and audit.
"""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from msgspec import Struct

from gateway import garbage
from gateway import settings as settings_room
from gateway.app import create, create_app
from gateway.core.callers.caller import OPEN_PURPOSE
from gateway.core.callers.proof import check_proof, digest_of, nonce_of
from gateway.services import open_services
from gateway.settings import Settings, clock_of
from gateway.web.asgi import App, Receive, Scope, Send
from tests.bench import register
from tests.callers import Key, proof
from tests.doors import PENALTIES, REGISTRATIONS, a_token
from tests.doors import register as register_app

ROUND = 320
TOGETHER = 32
"""Requests under way at once: what is written down is committed for many of them."""
ROUNDS = 17
ALG = "ES256"


Address = tuple[str, str]
"""Path and query."""


@asynccontextmanager
async def living(app: Any) -> AsyncIterator[None]:
    """An application between its start and its end."""
    inbox, outbox = asyncio.Queue[dict[str, Any]](), asyncio.Queue[dict[str, Any]]()
    life = asyncio.create_task(app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, inbox.get, outbox.put))
    await inbox.put({"type": "lifespan.startup"})
    if (await outbox.get())["type"] != "lifespan.startup.complete":
        raise RuntimeError("the application does not start")
    try:
        yield
    finally:
        await inbox.put({"type": "lifespan.shutdown"})
        await outbox.get()
        await life


async def answer(app: Any, path: str, query: str = "", headers: Sequence[tuple[bytes, bytes]] = ()) -> tuple[int, bytes]:
    """Status and body of a request that takes no socket."""
    status, parts = 0, list[bytes]()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        else:
            parts.append(message.get("body", b""))

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http", "path": path,
        "raw_path": path.encode(), "query_string": query.encode(), "root_path": "", "headers": [(b"host", b"h"), *headers],
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80),
    }  # fmt: skip
    await app(scope, receive, send)
    return status, b"".join(parts)


async def _ask(app: Any, path: str, headers: list[tuple[bytes, bytes]]) -> int:
    return (await answer(app, path, headers=headers))[0]


class Program(Struct, frozen=True, kw_only=True):
    """An app of a department with its token, as it asks one house."""

    key: Key
    token: str
    nonce_key: bytes
    settings: Settings

    def headers(self, path: str, purpose: str) -> dict[str, str]:
        """The header fields of one request, whose proof is made now and good once."""
        now = clock_of(self.settings)()
        url = self.settings.public_origin.rstrip("/") + path
        made = proof(self.key, "GET", url, now, self.token, nonce=nonce_of(self.nonce_key, now))
        return {"Authorization": f"DPoP {self.token}", "DPoP": made, "Purpose": purpose, "Case-Ref": "BENCH-1"}


async def a_program(settings: Settings) -> Program:
    """An app with grants for three datasets, of which one has plans about persons: so each of its proofs bears the server's nonce."""
    key = Key(ALG, seed=time.time_ns())
    async with open_services(settings) as services:
        app = await register_app(services, key, datasets=(PENALTIES, REGISTRATIONS, "administrative-licences"))
        token = await a_token(services, app, key)
        return Program(key=key, token=token, nonce_key=services.doors.nonce_key, settings=settings)


def office_lane() -> App:
    """The program as a server runs it, with the settings that its environment names, but without the public lane."""
    door = create()

    async def answering(scope: Scope, receive: Receive, send: Send) -> None:
        door.lane = None  # its start opens one
        await door(scope, receive, send)

    return answering


def check_alike(origin: str, paths: Sequence[str], program: Program) -> None:
    """Whether the app is told the very bytes that everybody is told, and for its proofs alone."""
    with httpx.Client(base_url=origin, timeout=60) as client:
        for path in paths:
            said = program.headers(path, OPEN_PURPOSE)
            anonymous, bound = client.get(path), client.get(path, headers=said)
            if (anonymous.status_code, bound.status_code) != (200, 200) or anonymous.content != bound.content:
                raise RuntimeError(f"{path}: {anonymous.status_code}, {bound.status_code}, or other bytes")
            if client.get(path, headers=said).status_code != 401:
                raise RuntimeError(f"{path}: a proof was believed twice")


async def measure(settings: Settings, codes: list[str]) -> dict[str, Any]:
    """The rates of every round after the first, which take turns."""
    program = await a_program(settings)
    app = create_app(settings)

    def bound(path: str, purpose: str) -> list[tuple[bytes, bytes]]:
        return [(name.lower().encode(), value.encode()) for name, value in program.headers(path, purpose).items()]

    rates: dict[str, list[float]] = {"office": [], "open": [], "department": []}
    async with living(app):
        app.lane = None  # what has credentials never takes it; anonymous requests would
        for turn in range(ROUNDS):
            for name, taken in list(rates.items())[:: -1 if turn % 2 else 1]:
                asked = []
                for number in range(ROUND):
                    path = f"/v1/subjects/{codes[(turn * ROUND + number) % len(codes)]}"
                    purpose = {"open": OPEN_PURPOSE, "department": "dept.supervision"}.get(name)
                    asked.append((path, [] if purpose is None else bound(path, purpose)))
                began = time.perf_counter()
                statuses = set[int]()
                for first in range(0, ROUND, TOGETHER):
                    statuses |= set(await asyncio.gather(*(_ask(app, path, headers) for path, headers in asked[first : first + TOGETHER])))
                spent = time.perf_counter() - began
                if statuses != {200}:
                    raise RuntimeError(f"{name}: {statuses}")
                if turn:
                    taken.append(ROUND / spent)
    return {**rates, "proof_us": _proof_us(program.key, program.token)}


def _proof_us(key: Key, token: str) -> float:
    """Microseconds of checking one proof."""
    from datetime import UTC, datetime

    at = datetime.now(UTC)
    text, ath, jkt = proof(key, "GET", "https://h/v1/x", at, token), digest_of(token), key.thumbprint
    took = []
    for _ in range(7):
        began = time.perf_counter()
        for _ in range(ROUND):
            check_proof([text], method="GET", url="https://h/v1/x", now=at, window_s=30, ath=ath, jkt=jkt)
        took.append((time.perf_counter() - began) / ROUND * 1e6)
    return min(took)


def main() -> None:
    """Print the figures as JSON."""
    settings = settings_room.load(Path(sys.argv[1]), {})
    print(json.dumps(asyncio.run(measure(settings, list(register.codes(int(sys.argv[2])))))))


if __name__ == "__main__":
    garbage.seldom()
    main()

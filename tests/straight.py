"""A city asked without a socket: what a server would hand the application, and what the application would hand the server.

Where thousands of answers of two gateways are compared, a socket, two parsers of HTTP and a thread a gateway cost as much as the answers;
and they are the same on both sides, so that they can neither make a difference nor be what one is in. What a server adds is asked of
real ones everywhere else. A test that compares sees more here: each header field as it was sent, in its order.
"""

import asyncio
import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import httpx
import uvloop

from gateway.app import create_app
from gateway.web.asgi import App
from tests.web.city import NOW, City


class Answer(NamedTuple):
    """One answer, whole."""

    status_code: int
    headers: list[tuple[str, str]]
    """As they were sent, in their order."""
    content: bytes

    def json(self) -> Any:
        """What its body says."""
        return json.loads(self.content)


class Straight:
    """An application between its start and its end, in a loop that runs while it is asked."""

    def __init__(self, app: App, loop: asyncio.AbstractEventLoop) -> None:
        self._app = app
        self._loop = loop
        self._inbox, self._outbox = asyncio.Queue[dict[str, Any]](), asyncio.Queue[dict[str, Any]]()
        self._life: asyncio.Future[None] | None = None

    async def begin(self) -> None:
        """Start it, as a server would."""
        scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
        self._life = asyncio.ensure_future(self._app(scope, self._inbox.get, self._outbox.put))
        await self._inbox.put({"type": "lifespan.startup"})
        if (told := await self._outbox.get())["type"] != "lifespan.startup.complete":
            raise RuntimeError(f"it does not start: {told}")

    async def end(self) -> None:
        """End it."""
        assert self._life is not None
        await self._inbox.put({"type": "lifespan.shutdown"})
        assert (await self._outbox.get())["type"] == "lifespan.shutdown.complete"
        await self._life

    def get(self, path: str, **headers: str) -> Answer:
        """GET a path, with the header fields of `Server.get`."""
        if "authorization" in headers:
            headers = {"case_ref": "2026-0001"} | headers
        return self.request("GET", path, {name.replace("_", "-"): value for name, value in headers.items()})

    def request(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        content: bytes | None = None,
        *,
        hosts: Sequence[str] = ("127.0.0.1:8000",),
        version: str = "1.1",
    ) -> Answer:
        """One request, and its answer."""
        fields = {"accept": "*/*"} | headers
        if content is not None:
            fields["content-length"] = str(len(content))
        target, _, query = httpx.URL(path).raw_path.partition(b"?")
        scope = {
            "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": version, "scheme": "http", "method": method,
            "path": httpx.URL(path).path, "raw_path": target, "query_string": query, "root_path": "", "state": {},
            "headers": [(b"host", host.encode()) for host in hosts] + [(name.encode(), value.encode()) for name, value in fields.items()],
            "client": ("127.0.0.1", 50_000), "server": ("127.0.0.1", 8000),
        }  # fmt: skip
        return self._loop.run_until_complete(self._answer(scope, content or b""))

    async def _answer(self, scope: dict[str, Any], content: bytes) -> Answer:
        answered = asyncio.Event()
        asked = iter([{"type": "http.request", "body": content, "more_body": False}])
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            if (message := next(asked, None)) is not None:
                return message
            await answered.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                answered.set()

        await self._app(scope, receive, send)
        begun, *parts = sent
        assert begun["type"] == "http.response.start", begun
        assert answered.is_set(), "it left the answer unfinished"
        assert {part["type"] for part in parts} == {"http.response.body"}
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in begun["headers"]]
        return Answer(begun["status"], headers, b"".join(part.get("body", b"") for part in parts))


@contextlib.contextmanager
def asked_straight(city: City, now: str = NOW) -> Iterator[Straight]:
    """The application of this city at an instant, asked without a socket."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        loop = runner.get_loop()  # `runner.run` would write the whole answer into the name of a handler of signals, each time
        straight = Straight(create_app(city.settings(now)), loop)
        loop.run_until_complete(straight.begin())
        try:
            yield straight
        finally:
            loop.run_until_complete(straight.end())

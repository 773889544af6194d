"""The desk of the administrators' API: one signed request, one story, one answer.

Rules: nothing is looked at before the signature is believed, not even whether the path exists; every refusal of a signature is one and
the same 401 and leaves an audit line. One path is for people whose key nobody knows yet: their request brings the key that signed it,
and a one-time code; whatever is wrong there is the same 401 too, and counted by network. Paths are matched on the decoded path, the
target URI that was signed is made from the configured origin, never from Host or forwarded headers. A desk knows no data path. This room
must not decide who may do what: stories do.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from time import monotonic
from typing import Any, Final

import msgspec
from msgspec import Struct

from gateway.core.callers.administrators import ROLES, Administrator, Role
from gateway.core.errors import AdminError, BodyInvalid, MethodNotAllowed, NotFound, RequestError, Unavailable
from gateway.core.message_signing import Message
from gateway.operations import act_as
from gateway.services import Services
from gateway.web.asgi import Receive, Scope, Send
from gateway.web.bodies import read_json
from gateway.web.conditions import judge, refuse_unmet
from gateway.web.limits import Limiter
from gateway.web.networks import network_of
from gateway.web.parameters import read_query, refuse_unknown
from gateway.web.problems import Refusal
from gateway.web.replies import NO_STORE, Reply
from gateway.web.telemetry import Meter

MAX_BODY: Final = 24 * 2**20
"""A whole policy folder as JSON; anything else is far smaller."""
MAX_FIRST_WORDS: Final = 2048
"""Of somebody whose key is not known yet."""
REFUSALS_A_MINUTE: Final = 60
"""Audit lines about refused signatures: an attacker must not fill the trail."""
JSON: Final = "application/json"


WORKING: Final[tuple[Role, ...]] = tuple(role for role in ROLES if role != "auditor")


class Act(Struct, frozen=True, kw_only=True):
    """What a handler gets: who acts, and the parsed request."""

    services: Services
    by: Administrator
    path: Mapping[str, str]
    query: Mapping[str, str]
    body: Any = None
    """Of the type that the route takes; None where it takes none."""

    def number(self, name: str) -> int:
        """A number of the path. Raises NotFound for anything else."""
        text = self.path[name]
        if not text.isascii() or not text.isdigit() or len(text) > 9:
            raise NotFound
        return int(text)


class FirstWords(Struct, frozen=True, kw_only=True):
    """What a handler gets of somebody whose key is not known yet; it believes the signature itself."""

    services: Services
    message: Message
    sent: bytes
    """The body as it was sent."""
    body: Any


class Download(Struct, frozen=True, kw_only=True):
    """What a handler gives to be sent piece by piece."""

    media_type: str
    file_name: str
    chunks: AsyncIterator[bytes]


Handler = Callable[[Act], Awaitable[object]] | Callable[[FirstWords], Awaitable[object]]


class Route(Struct, frozen=True, kw_only=True):
    """One operation of the administrators' API."""

    method: str
    path: str
    """`/admin/v1/policy/proposals/{proposal}`: a piece in braces matches one segment."""
    command: str
    """The command of `chengxin` that it mirrors."""
    summary: str
    handler: Handler
    takes: type[Struct] | None = None
    gives: Any = None
    """Type of the answer, for the document."""
    media_type: str = JSON
    """Of the answer."""
    query: tuple[str, ...] = ()
    """Parameters that the query may hold."""
    newcomer: bool = False
    """For those whose key nobody knows yet: the handler gets `FirstWords`."""
    roles: tuple[Role, ...] = WORKING
    """Who may ask at all; the story asks again for what it does. An auditor reads the audit and nothing else."""


class Desk:
    """The ASGI application behind the front door of the administrators' listener."""

    def __init__(
        self,
        routes: tuple[Route, ...],
        opening: Callable[[], AbstractAsyncContextManager[Services]],
        *,
        origin: str,
        meter: Meter,
        trusted_proxies: int = 0,
    ) -> None:
        self._routes = [(_pattern(route.path), route) for route in routes if not route.newcomer]
        self._newcomers = {(route.method, route.path): route for route in routes if route.newcomer}
        self._limits = Limiter(lambda: None, meter=meter)
        self._proxies = trusted_proxies
        self._opening = opening
        self._origin = origin.rstrip("/")
        self._meter = meter
        self._services: Services | None = None
        self._minute = self._written = self._unwritten = 0

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if self._services is None:
            raise Unavailable
        newcomer = self._newcomers.get((scope["method"], scope["path"]))
        if newcomer is not None:
            await self._told(newcomer, await self._meet(self._services, newcomer, scope, receive), scope, receive, send)
            return
        by, body = await self._believe(self._services, scope, receive)
        route, path = self._find(scope)
        scope["path_template"] = route.path
        by.require(*route.roles)
        query = read_query(scope["query_string"])
        refuse_unknown(query, frozenset(route.query))
        act = Act(services=self._services, by=by, path=path, query=query, body=_decoded(route, scope, body))
        judge(scope, lambda: any(each.method == "GET" and pattern.fullmatch(scope["path"]) for pattern, each in self._routes))
        refuse_unmet(scope)
        await self._told(route, await route.handler(act), scope, receive, send)  # type: ignore[arg-type]  # no newcomer's

    async def _told(self, route: Route, found: object, scope: Scope, receive: Receive, send: Send) -> None:
        self._meter.event(f"admin-{route.command.replace(' ', '-')}")
        if isinstance(found, Download):
            named = (b"content-disposition", b'attachment; filename="%s"' % found.file_name.encode("ascii"))
            reply = Reply(200, [(b"content-type", found.media_type.encode()), NO_STORE, named], chunks=found.chunks)
            scope.setdefault("state", {})
        else:
            reply = Reply(200, [(b"content-type", JSON.encode()), NO_STORE], msgspec.json.encode(found))
        await reply(scope, receive, send)

    async def _meet(self, services: Services, route: Route, scope: Scope, receive: Receive) -> object:
        """The answer to somebody whose key is not known yet.

        Raises AdminError admin-signature for whatever is wrong with the request, Refusal quota-exceeded after many such from a network.
        """
        network = network_of(scope, self._proxies)
        self._limits.may_try(network)
        scope["path_template"] = route.path
        try:
            try:
                sent = await _body(receive, MAX_FIRST_WORDS)
                refuse_unknown(read_query(scope["query_string"]), frozenset(route.query))
                body = _decoded(route, scope, sent)
                judge(scope, lambda: False)
                refuse_unmet(scope)
            except (Refusal, RequestError) as error:
                raise act_as.not_believed("first-words") from error
            return await route.handler(FirstWords(services=services, message=self._message(scope), sent=sent, body=body))  # type: ignore[arg-type]  # a newcomer's
        except AdminError as error:
            self._limits.failed(network)
            await self._refused(services, error)
            raise

    def _message(self, scope: Scope) -> Message:
        raw = (scope.get("raw_path") or scope["path"].encode()).partition(b"?")[0]
        query = scope["query_string"].decode("ascii", "replace")
        target = self._origin + raw.decode("ascii", "replace") + (f"?{query}" if query else "")
        return Message(
            method=scope["method"],
            url=target,
            headers=[(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]],
        )

    async def _believe(self, services: Services, scope: Scope, receive: Receive) -> tuple[Administrator, bytes]:
        async def read() -> bytes:
            return await _body(receive)

        try:
            return await act_as.by_request(services, self._message(scope), read)
        except AdminError as error:
            await self._refused(services, error)
            raise

    async def _refused(self, services: Services, error: AdminError) -> None:
        self._meter.event(f"admin-refused-{error.cause or error.code}")
        await self._write_down(services, error)

    async def _write_down(self, services: Services, error: AdminError) -> None:
        """An audit line for a refusal; of a flood sixty a minute, and how many were left out with the next."""
        minute = int(monotonic() // 60)
        if minute != self._minute:
            self._minute, self._written = minute, 0
        if self._written >= REFUSALS_A_MINUTE:
            self._unwritten += 1
            return
        self._written += 1
        left_out, self._unwritten = self._unwritten, 0
        await act_as.refused(services, "http", error, left_out=left_out)

    def _find(self, scope: Scope) -> tuple[Route, dict[str, str]]:
        allowed = []
        for pattern, route in self._routes:
            match = pattern.fullmatch(scope["path"])
            if match is not None and route.method == scope["method"]:
                return route, match.groupdict()
            if match is not None:
                allowed.append(route.method)
        if allowed:
            raise MethodNotAllowed(f"this path has {', '.join(sorted(allowed))}")
        raise NotFound

    async def live(self, receive: Receive, send: Send) -> None:
        """The lifespan: open the house, and close it at the end."""
        async with AsyncExitStack() as stack:
            while True:
                message = await receive()
                if message["type"] == "lifespan.startup":
                    self._services = await stack.enter_async_context(self._opening())
                    await send({"type": "lifespan.startup.complete"})
                elif message["type"] == "lifespan.shutdown":
                    self._services = None
                    break
        await send({"type": "lifespan.shutdown.complete"})


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile("/".join(f"(?P<{piece[1:-1]}>[^/]+)" if piece.startswith("{") else re.escape(piece) for piece in path.split("/")))


async def _body(receive: Receive, most: int = MAX_BODY) -> bytes:
    """The whole body. Raises Refusal body-too-large."""
    chunks, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refusal("bad-request")
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > most:
            raise Refusal("body-too-large")
        chunks.append(chunk)
        more = message.get("more_body", False)
    return b"".join(chunks)


def _decoded(route: Route, scope: Scope, body: bytes) -> Any:
    if route.takes is None:
        if body:
            raise BodyInvalid("this path takes no body")
        return None
    kinds = [value for name, value in scope["headers"] if name == b"content-type"]
    if len(kinds) != 1 or kinds[0].partition(b";")[0].strip().lower() != JSON.encode():
        raise Refusal("unsupported-media-type", detail="This path takes a body of application/json, {} where there is nothing to say.")
    return read_json(body, route.takes)

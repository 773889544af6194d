"""The front door: an ASGI application around everything else.

A request passes here first, in this order: the public lane → what an anonymous request is known to cost → limits of URL and header
fields → broken encodings → odd paths → OPTIONS → the framework (HEAD as GET without a body). Every answer leaves with the common header
fields, a request id and the state of its caller's quota, and is counted under its route template. Whatever raises before the first
byte becomes a problem here; after it the connection breaks off visibly.

Rules: nothing of a request is logged but its id, method and route template; a path that is not written the one right way is 404, never
repaired.
"""

import os
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from time import perf_counter
from typing import Final
from urllib.parse import unquote_to_bytes

from gateway.core.callers.api_keys import IN_TEXT, PREFIX
from gateway.core.callers.caller import Caller
from gateway.core.errors import BadRequest, ErrorItem, NotFound, UnknownParameter
from gateway.web import pages, problems, telemetry
from gateway.web.access_log import Noting
from gateway.web.asgi import PATHSEND, App, Message, Receive, Scope, Send
from gateway.web.conditions import judge
from gateway.web.incoming import LAST, OF_BODIES, Incoming
from gateway.web.limits import RANGES, Charge, Limiter, known_cost
from gateway.web.negotiation import HTML, PROBLEM, Language, header, language_of, media_type_of
from gateway.web.networks import network_of
from gateway.web.parameters import echo
from gateway.web.problems import Refusal
from gateway.web.replies import COMMON, NO_INDEX, NO_STORE, Header, Reply

MAX_URI: Final = 8192
MAX_HEADERS: Final = 16_384
PREFLIGHT_AGE: Final = "86400"
_ALLOWED_HEADERS: Final = (
    "Accept, Accept-Language, Authorization, Cache-Control, Case-Ref, Content-Digest, Content-Type, DPoP, Idempotency-Key, If-Match, "
    "If-Modified-Since, If-None-Match, If-Range, If-Unmodified-Since, Last-Event-ID, Officer, Purpose, Range, traceparent"
)
_BAD_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_PLAIN_PATH = re.compile(rb"(?:/[A-Za-z0-9_~-][A-Za-z0-9_~.-]*)+")
"""How nearly every path is written: no percent sign, no empty piece, no piece that begins with a dot."""
HOST: Final = re.compile(rb"[0-9A-Za-z.:\[\]-]*")
"""A Host field of which nobody needs to ask more; whatever else it may hold the framework judges."""
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
_TRACE = re.compile(rb"^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?$")
_NO_TRACE = b"0" * 32
_ESCAPED_ASCII: Final = re.compile(rb"%[0-7]")
_KEY_MARK: Final = PREFIX.encode()
PAGES: Final = ("/subjects/", "/verify/", "/problems/", "/docs")
"""Where people look: a problem there is a page, where a page is wanted."""
FAULT: Final = b"test-fault"
"""By this header field a client tries how it takes a fault of ours, in test mode alone: its code, or `abort` in mid-answer."""
FAULTS: Final = frozenset({"query-timeout", "overloaded", "internal"})
FREE: Final = frozenset({"/healthz", "/readyz"})
"""Paths that cost nothing and say nothing of quotas."""
_PARTNERS: Final = "/x/v1/"
"""Cities are bound by their agreements, not by the quota of their network."""
_TOKENS: Final = "/oauth/"
"""Paths that learn from the body who asks: the story names the payer."""


def request_ids() -> Iterator[bytes]:
    """Random request ids, 32 hexadecimal digits; drawn from the system some hundred at a time."""
    while True:
        pool = os.urandom(4096).hex().encode()
        for at in range(0, len(pool), 32):
            yield pool[at : at + 32]


class Routes:
    """The route templates of the application: which methods a path has, and under which name it is counted."""

    __slots__ = ("_patterns", "_plain")

    def __init__(self, routes: Sequence[tuple[str, str, frozenset[str]]]) -> None:
        """Each route as (path with typed parameters, name under which it is counted, methods)."""
        self._plain: dict[str, tuple[str, frozenset[str]]] = {}
        self._patterns: list[tuple[re.Pattern[str], str, frozenset[str]]] = []
        for template, name, methods in routes:
            allowed = methods | {"OPTIONS"} | ({"HEAD"} if "GET" in methods else frozenset())
            if "{" not in template:
                self._plain[template] = (name, allowed)
                continue
            pattern = "".join(
                "/" + (("(?:.+)" if piece.endswith(":path}") else "[^/]+") if piece.startswith("{") else re.escape(piece))
                for piece in template.strip("/").split("/")
            )
            self._patterns.append((re.compile(pattern), name, allowed))

    def find(self, path: str) -> tuple[str, frozenset[str]] | None:
        """Name and methods of a path; a plain path goes before a pattern, as in the router."""
        if path in self._plain:
            return self._plain[path]
        for pattern, name, allowed in self._patterns:
            if pattern.fullmatch(path):
                return name, allowed
        return None

    def name(self, path: str) -> str:
        """Under which name a path is counted; one for all that no route matches."""
        found = self.find(path)
        return found[0] if found is not None else telemetry.UNMATCHED


def check_target(scope: Scope) -> None:
    """Refuses URLs and header fields that are too large, undecodable, or not written the one right way."""
    raw_path = (scope.get("raw_path") or scope["path"].encode("utf-8", "surrogateescape")).partition(b"?")[0]
    if len(raw_path) + len(scope["query_string"]) >= MAX_URI:
        raise Refusal("uri-too-long")
    size = hosts = 0
    for name, value in scope["headers"]:
        size += len(name) + len(value)
        hosts += name == b"host"
    if size > MAX_HEADERS:
        raise Refusal("headers-too-large")
    if hosts > 1:  # we believe none of them; but whoever stands in front may have believed the other one (RFC 9112 §3.2)
        raise BadRequest("Host 请求头只能出现一次。")
    if not hosts and scope.get("http_version") == "1.1":
        raise BadRequest("HTTP/1.1 的请求应有 Host 请求头。")
    if _PLAIN_PATH.fullmatch(raw_path):
        return
    if _BAD_PERCENT.search(raw_path):
        raise BadRequest("网址中的百分号编码不正确。")
    decoded = unquote_to_bytes(raw_path)
    if _CONTROL.search(decoded):
        raise BadRequest("网址中含有控制字符。")
    try:
        decoded.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRequest("网址不是 UTF-8 编码；很可能是 GBK/GB18030，请改用 UTF-8 后再做百分号编码。") from error
    if decoded.count(b"/") != raw_path.count(b"/") or b"//" in decoded or (len(decoded) > 1 and decoded.endswith(b"/")):
        raise NotFound
    if b"/../" in decoded + b"/" or b"/./" in decoded + b"/":
        raise NotFound


SUBJECTS: Final = "/v1/subjects/"
RECORDS: Final = "/v1/records/"
SEARCH: Final = "/v1/subjects"
_LANE: Final = (SUBJECTS, RECORDS)
"""How the paths begin that are offered to the lane."""
Paid = list[Header] | None
Pay = Callable[[Scope, int], Paid | Awaitable[Paid]]
"""Takes what an anonymous answer costs: the header fields that say so, or None when the quota is spent; to be waited for only where other
processes count too, for a wait is a tenth of what a look-up takes."""
Lane = Callable[[Scope, Send, Pay], Awaitable[int]]
"""Answers a request by itself and returns its status (`scope["answered"]` says under which template it is counted, its size and its
request id), or returns 0 and has sent nothing. What was taken of a request that is then left to the framework stands in `scope["paid"]`,
in fifths."""


class AnswerTornError(Exception):
    """An answer that began and cannot be finished; a server that gets this breaks the connection off. It names nothing."""


class TestFaultError(Exception):
    """An answer breaks off because a client of test mode wished it."""


def _target(scope: Scope) -> bytes:
    return b"%b?%b" % (scope["path"].encode("utf-8", "surrogateescape"), scope["query_string"])


def _may_bear_key(scope: Scope) -> bool:
    """Whether it is worth a closer look: most URLs hold neither what every key begins with nor an escaped sign."""
    target = _target(scope)
    return b"%" in target or _KEY_MARK in target


class FrontDoor:
    """The ASGI application that a server runs."""

    def __init__(
        self,
        inner: App,
        *,
        routes: Routes,
        origin: str,
        meter: telemetry.Meter,
        limits: Limiter,
        proxies: int = 0,
        lane: Lane | None = None,
        faults: bool = False,
    ) -> None:
        self.inner = inner
        self.lane = lane
        self.searches: Lane | None = None
        self.limits = limits
        self._proxies = proxies
        self._faults = faults
        self._routes = routes
        self._origin = origin
        self._meter = meter
        self._ids = request_ids()
        self.exposed: Callable[[bytes], Awaitable[bool]] | None = None
        """Told of what looks like an API key in a URL."""
        self.payer: Callable[[Scope], Awaitable[Caller | None]] | None = None
        """Tells whose credential a request shows that nobody has asked for it."""
        self.noting: Noting | None = None
        """Told of every answer, for the access log."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._other(scope, receive, send)
            return
        began, status = perf_counter(), 0
        if self.lane is not None and scope["path"].startswith(_LANE):
            status = await self.lane(scope, send, self._here)
        elif self.searches is not None and scope["path"] == SEARCH:
            status = await self.searches(scope, send, self._here)
        if not status:
            await self._serve(scope, receive, send)
            return
        took = perf_counter() - began
        route, size, request_id = scope["answered"]
        self._meter.count(route, scope["method"], status, took)
        if self.noting is not None:
            self.noting(scope["method"], route, status, size, request_id, took)

    async def _other(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.inner(scope, receive, send)
        else:  # no path of ours speaks WebSocket
            await receive()
            await send({"type": "websocket.close", "code": 1000, "reason": ""})

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = perf_counter()
        request_id = next(self._ids)
        state = scope.setdefault("state", {})
        state["request_id"] = request_id.decode()
        method, seen, size = scope["method"], 0, 0
        coming, bears_one = Incoming(receive), False
        for name, _ in scope["headers"]:
            if name in OF_BODIES:
                bears_one = True
                break
        counted = method != "OPTIONS" and scope["path"] not in FREE and not scope["path"].startswith(_PARTNERS)
        faults = self._faults

        async def sending(message: Message) -> None:
            nonlocal seen, size
            if message["type"] == "http.response.start":
                seen = message["status"]
                message["headers"] = [*message["headers"], *COMMON, (b"request-id", request_id), *state.get("also", ())]
                if counted:
                    message["headers"] += await self._settled(scope, method, seen)
                if bears_one and not await coming.leaves_nothing(scope):
                    message["headers"].append(LAST)
            elif message["type"] == "http.response.body":
                if method == "HEAD":
                    message["body"] = b""
                elif faults and state.get("abort") and seen == 200:
                    await send({**message, "body": message.get("body", b"")[: len(message.get("body", b"")) // 2], "more_body": True})
                    raise TestFaultError
                size += len(message.get("body", b""))
            elif message["type"] == PATHSEND:
                if faults and state.get("abort"):
                    raise TestFaultError
                size += os.stat(message["path"]).st_size  # noqa: PTH116 - one call of the system for a page in its cache
            await send(message)

        try:
            try:
                if counted:
                    await self._admit(scope)
                elif scope["path"].startswith(_PARTNERS):
                    self.limits.call(network_of(scope, self._proxies))
                check_target(scope)
                if faults:
                    state["abort"] = self._faulty(scope)
                if _may_bear_key(scope):
                    await self._refuse_key(scope)
                if method == "GET":
                    await self.inner(scope, receive, sending)  # without a look at what comes: nothing reads it
                else:
                    await self._dispatch(scope, coming, sending)
            except Exception as error:  # noqa: BLE001 - the last place that can turn a fault into a problem without data
                if seen:
                    self._meter.event("answer-torn")
                    cause = problems.root_of(error)
                    telemetry.log.error(
                        "answer-torn", error=type(cause).__name__, at=telemetry.where(cause), request_id=request_id.decode()
                    )
                    raise AnswerTornError from None
                await self.problem(await self._paid(error, scope) if counted else error, scope)(scope, receive, sending)
        finally:
            charge: Charge | None = state.get("charge")
            if charge is not None and charge.tally is not None:
                await self.limits.settle_stream(charge, perf_counter() - began)
            route, took = scope.get("path_template") or self._routes.name(scope["path"]), perf_counter() - began
            self._meter.count(route, method, seen, took)
            if self.noting is not None:
                self.noting(method, route, seen, size, request_id, took)

    @staticmethod
    def _faulty(scope: Scope) -> bool:
        """Whether an answer is to break off in the middle.

        Raises Refusal for a fault that is wished for, BadRequest for one that does not exist.
        """
        wished = header(scope["headers"], FAULT).decode("latin-1")
        if wished in FAULTS:
            raise Refusal(wished)
        if wished not in ("", "abort"):
            raise BadRequest("Test-Fault 请求头应为 query-timeout、overloaded、internal 或 abort。")
        return wished == "abort"

    async def _refuse_key(self, scope: Scope) -> None:
        """A key in a URL is known to whoever keeps logs on the way: it is marked, and its parameter is one that nobody knows.

        Raises UnknownParameter.
        """
        query: bytes = scope["query_string"]
        target = _target(scope)
        if _ESCAPED_ASCII.search(target) is not None:  # no key is written in anything else
            target = unquote_to_bytes(target)
        if _KEY_MARK not in target or IN_TEXT.search(target) is None:
            return
        if self.exposed is not None and await self.exposed(target):
            self._meter.event("api-key-exposed")
            telemetry.log.warning("api-key-exposed", request_id=scope["state"]["request_id"])
        for piece in query.split(b"&"):
            name, _, value = piece.partition(b"=")
            if IN_TEXT.search(unquote_to_bytes(value)) is not None:
                raise UnknownParameter(errors=(ErrorItem("unknown", "未知参数", parameter=echo(name.decode("latin-1"))),))

    def _here(self, scope: Scope, cost: int) -> Paid | Awaitable[Paid]:
        """`Pay`."""
        network = network_of(scope, self._proxies)
        return self.limits.pay_here(network, cost) if self.limits.shared is None else self._there(network, cost)

    async def _there(self, network: str, cost: int) -> Paid:
        charge = self.limits.anonymous(network)
        return self.limits.fields(charge) if await self.limits.takes(charge, cost) else None

    async def _admit(self, scope: Scope) -> None:
        """Take what a request without a credential is known to cost; with one, its story names the payer, and unnamed it has failed.

        Raises Refusal `quota-exceeded`.
        """
        state = scope["state"]
        state["network"] = network = network_of(scope, self._proxies)
        if "paid" in scope:  # by a lane, which left the answer to the framework
            state["charge"] = self.limits.paid(network, scope["paid"])
            return
        if scope["path"].startswith(_TOKENS) or header(scope["headers"], b"authorization"):
            self.limits.may_try(network)
            return
        state["charge"] = charge = self.limits.anonymous(network)
        await self.limits.admit(charge, known_cost(charge, scope))

    async def _named(self, scope: Scope) -> Charge | None:
        """The charge of a request that has none yet, where the credential that it shows is believed after all."""
        if self.payer is None or scope["path"].startswith(_TOKENS) or (payer := await self.payer(scope)) is None:
            return None
        scope["state"]["charge"] = charge = self.limits.known(payer)
        return charge

    async def _paid(self, error: Exception, scope: Scope) -> Exception:
        """What a request is refused for: that, and paid like an answer by whose credential it shows; or that its payer has nothing left."""
        if "charge" in scope["state"] or (isinstance(error, Refusal) and error.code == "quota-exceeded"):
            return error
        try:
            if (charge := await self._named(scope)) is not None:
                await self.limits.admit(charge, known_cost(charge, scope))
        except Refusal as refusal:
            return refusal
        return error

    async def _settled(self, scope: Scope, method: str, status: int) -> list[Header]:
        """What the answer costs in all, taken; the header fields that say so."""
        state = scope["state"]
        network = state.get("network") or network_of(scope, self._proxies)
        charge: Charge | None = state.get("charge")
        if charge is None and status != 429:
            charge = await self._named(scope)
        if charge is None:  # a credential that nobody believes: no neighbour pays for it
            if status != 429:  # what was refused for its number is not counted again
                self.limits.failed(network)
            charge = self.limits.anonymous(network)
            await self.limits.settle(charge, 0)
            return self.limits.fields(charge)
        costs = charge.costs
        cost = 0 if status == 429 else costs.head if method == "HEAD" else costs.not_modified if status == 304 else costs.request
        if status == 200 and scope["path"].startswith(RANGES):
            cost = min(cost, costs.range)
        await self.limits.settle(charge, cost + charge.extra if status != 429 else 0)
        return self.limits.fields(charge)

    async def _dispatch(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = scope["method"]
        if method == "OPTIONS":
            await self._options(scope, receive, send)
        elif method == "HEAD":
            scope["state"]["head"] = True
            scope["method"] = "GET"
            await self.inner(scope, receive, send)
        else:
            judge(scope, lambda: (found := self._routes.find(scope["path"])) is not None and "GET" in found[1])
            await self.inner(scope, receive, send)

    async def _options(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self._routes.find(scope["path"])
        if found is None:
            raise NotFound
        allow = ", ".join(sorted(found[1])).encode()
        headers: list[Header] = [(b"allow", allow), NO_STORE]
        if header(scope["headers"], b"access-control-request-method"):
            headers += [
                (b"access-control-allow-methods", allow),
                (b"access-control-allow-headers", _ALLOWED_HEADERS.encode()),
                (b"access-control-max-age", PREFLIGHT_AGE.encode()),
            ]
        await Reply(204, headers)(scope, receive, send)

    def problem(self, error: Exception, scope: Scope) -> Reply:
        """The problem answer of an exception, also for handlers inside the framework."""
        language: Language = language_of(header(scope["headers"], b"accept-language"))
        request_id = scope["state"]["request_id"]
        trace = _TRACE.match(header(scope["headers"], b"traceparent"))
        trace_id = trace[1].decode() if trace and trace[1] != _NO_TRACE else request_id
        document = problems.problem_of(error, origin=self._origin, request_id=request_id, trace_id=trace_id, language=language)
        if document.status >= 500:
            self._meter.event(f"problem-{document.code}")
            telemetry.log.error(
                "problem",
                code=document.code,
                error=type(error).__name__,
                at=telemetry.where(error),
                request_id=request_id,
                trace_id=trace_id,
            )
        page = scope["path"].startswith(PAGES) and media_type_of(header(scope["headers"], b"accept"), (PROBLEM, HTML)) == HTML
        kind = b"text/html; charset=utf-8" if page else PROBLEM.encode()
        headers: list[Header] = [(b"content-type", kind), (b"content-language", language.encode()), NO_STORE]
        more = problems.headers_of(error, document.code, document.status, origin=self._origin)
        headers += [(name.lower().encode(), value.encode()) for name, value in more.items()]
        if document.status == 405 and (found := self._routes.find(scope["path"])):
            headers = [field for field in headers if field[0] != b"allow"] + [(b"allow", ", ".join(sorted(found[1])).encode())]
        if page:
            headers += [pages.CONTENT_POLICY, NO_INDEX]
        body = pages.problem(document, language, more.get("Retry-After")) if page else problems.encode(document)
        return Reply(document.status, headers, body)

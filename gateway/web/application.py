"""Puts the web room together: routes, framework, front door.

Rules: the framework's own OpenAPI, response cache, rate limiter, compression and logging are off, each for a reason in
`stack.md` A; every exception goes to `problems.py`; HEAD, OPTIONS, limits and common header fields are the front door's. This
room is given an opened house; it opens nothing itself.
"""

import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from inspect import signature
from typing import Any, Final, NamedTuple, cast

from litestar import Litestar, Request, Router
from litestar.datastructures import State
from litestar.events import BaseEventEmitterBackend
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.plugins import PluginProtocol
from litestar.plugins.core import MsgspecDIPlugin
from litestar.routes import HTTPRoute

from gateway.operations.manage_apps import mark_exposed
from gateway.operations.plain_search import Memory
from gateway.services import Services
from gateway.settings import Settings
from gateway.web.api.routes import ROUTES
from gateway.web.asgi import App, Receive, Scope, Send
from gateway.web.callers import payer_of
from gateway.web.describe import Handler
from gateway.web.documents import Documents
from gateway.web.edge import FrontDoor, Lane, Routes
from gateway.web.house import House
from gateway.web.search_lane import SearchLane
from gateway.web.telemetry import Meter

MAX_BODY = 1024 * 1024
"""Of a JSON body, bytes; paths that take files have a bound of their own."""


class Opened(NamedTuple):
    """What the handlers of one process get at start."""

    services: Services
    lane: Lane | None = None
    memory: Memory | None = None


Opening = Callable[[], AbstractAsyncContextManager[Opened]]
"""Opens what the stories use, and closes it at the end of the process."""


def _routes(app: Litestar) -> Routes:
    return Routes([(route.path, route.path_format, frozenset(getattr(route, "methods", ()))) for route in app.routes])


_HOST: Final = re.compile(rb"[0-9A-Za-z.:\[\]-]*")
"""A host that needs no judgement; any other is the framework's to refuse."""


class _Way(NamedTuple):
    handler: Handler
    template: str
    """Under which it is counted."""
    parameter: str | None


class _Brief:
    """A request as most handlers need it; for all else that they ask of it there is the framework's, made then."""

    __slots__ = ("_whole", "app", "receive", "scope", "send")

    def __init__(self, app: Litestar, scope: Scope, receive: Receive, send: Send) -> None:
        self.app = app
        self.scope = scope
        self.receive = receive
        self.send = send
        self._whole: Request[Any, Any, Any] | None = None

    def __getattr__(self, name: str) -> Any:
        if self._whole is None:
            self._whole = Request(cast(Any, self.scope), cast(Any, self.receive), cast(Any, self.send))
        return getattr(self._whole, name)


class Straight:
    """The framework in front of which GET paths without guards and dependencies go to their own handler at once.

    The handlers, their paths and parameters are the framework's: read from its routes once, called as it would call them, with what
    is as good as its request. Whatever is not such a path, or is one in more than one way, goes through the framework.
    """

    def __init__(self, framework: Litestar) -> None:
        self.framework = framework
        self._ways: dict[tuple[str, str | None], _Way | None] = {}
        self._plain = {route.path for route in framework.routes}
        for route in framework.routes:
            if isinstance(route, HTTPRoute) and "GET" in route.route_handler_map:
                self._add(route)

    def _add(self, route: HTTPRoute) -> None:
        handler = route.route_handler_map["GET"][0]
        typed = list(route.path_parameters.values())
        if "template" not in handler.opt or handler.resolve_guards() or handler.resolve_dependencies() or handler.has_sync_callable:
            return
        names = {"request", *(each.name for each in typed)}
        if set(signature(handler.fn).parameters) != names or len(typed) > 1 or any(each.type is not str for each in typed):
            return
        if not typed:
            key: tuple[str, str | None] = (route.path, None)
        else:
            before, _, after = route.path.partition(f"/{{{typed[0].full}}}")
            if after.count("/") > 1:
                return
            key = (before, after)
        way = _Way(handler.fn, route.path_format, typed[0].name if typed else None)
        self._ways[key] = None if key in self._ways else way

    def _find(self, path: str) -> tuple[_Way, str] | None:
        """The way of a path and its parameter."""
        way = self._ways.get((path, None))
        if way is not None or path in self._plain:
            return (way, "") if way is not None else None
        before, _, last = path.rpartition("/")
        way = self._ways.get((before, ""))
        first, _, middle = before.rpartition("/")
        inner = self._ways.get((first, "/" + last))
        if way is None:
            return (inner, middle) if inner is not None else None
        return (way, last) if inner is None else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let the framework answer."""
        found = self._find(scope["path"]) if scope["type"] == "http" and scope["method"] == "GET" and not scope.get("root_path") else None
        if found is not None:
            for name, value in scope["headers"]:
                if name == b"host" and _HOST.fullmatch(value) is None:
                    found = None
        if found is None:
            await cast(App, self.framework)(scope, receive, send)
            return
        way, last = found
        scope["app"] = scope["litestar_app"] = self.framework
        scope["path_template"] = way.template
        request = _Brief(self.framework, scope, receive, send)
        reply = await (way.handler(request=request) if way.parameter is None else way.handler(request=request, **{way.parameter: last}))
        await reply(scope, receive, send)


class _Framework(Litestar):
    """The framework without what it would load of pydantic and attrs wherever they happen to be installed: we use neither.

    Nor has it a handler of OPTIONS for each path: it would look into these as long as into ours, at every start. One stands for all, and
    fails if it is asked, for the front door answers OPTIONS. The framework has no setting for that: while one is made, which takes no turn
    of the loop, its class of routes gives every route of the process this handler. An application that another thread made meanwhile would
    get it, too; we make them in one thread.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        @HTTPRouteHandler("/", http_method="OPTIONS", include_in_schema=False)
        async def never_asked() -> None:
            raise NotImplementedError  # the front door has answered; a request that comes here shows that it did not

        own = HTTPRoute.create_options_handler
        HTTPRoute.create_options_handler = lambda self, path: never_asked  # type: ignore[method-assign]
        try:
            super().__init__(*args, **options)
        finally:
            HTTPRoute.create_options_handler = own  # type: ignore[method-assign]

    @staticmethod
    def _get_default_plugins(plugins: list[PluginProtocol]) -> list[PluginProtocol]:
        return [*plugins, MsgspecDIPlugin()]


class _NoEvents(BaseEventEmitterBackend):
    """Nothing here is told by events of the framework: its own emitter would load a second layer over asyncio, and keep a task waiting."""

    def emit(self, event_id: str, *args: Any, **kwargs: Any) -> None:
        """Never called: no story tells anything by events, and one that would is not to be lost in silence."""
        raise NotImplementedError

    async def __aexit__(self, *_: object) -> None:
        """There is nothing to end."""


def pass_on(_: Any, error: Exception) -> Any:
    """Every exception goes to the front door, which alone makes problems."""
    raise error


def build(
    settings: Settings,
    opening: Opening,
    *,
    meter: Meter | None = None,
    more: Sequence[Router | HTTPRouteHandler] = (),
) -> FrontDoor:
    """The ASGI application; `opening` runs in its lifespan."""
    house = House(settings, meter or Meter())

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        async with opening() as opened:
            house.open(opened.services)
            door.lane = opened.lane
            door.searches = SearchLane(house, settings.trusted_proxies, opened.memory)
            door.exposed = partial(mark_exposed, opened.services)
            door.payer = partial(payer_of, opened.services)
            try:
                yield
            finally:
                door.lane = door.searches = door.exposed = door.payer = None
                await house.close()

    framework = _Framework(
        [*ROUTES, *more],
        event_emitter_backend=_NoEvents,
        lifespan=[lifespan],
        exception_handlers={HTTPException: pass_on, Exception: pass_on},
        openapi_config=None,
        logging_config=None,
        request_max_body_size=MAX_BODY,
        state=State({"house": house}),
    )
    house.documents = Documents(ROUTES, house.settings.contact)
    door = FrontDoor(
        Straight(framework),
        routes=_routes(framework),
        origin=house.origin,
        meter=house.meter,
        limits=house.limits,
        proxies=settings.trusted_proxies,
        faults=settings.demo,
    )
    return door

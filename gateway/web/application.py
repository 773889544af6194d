"""Puts the web room together: routes, framework, front door.

Rules: the framework's own OpenAPI, response cache, rate limiter, compression and logging are off, each for a reason in
`stack.md` A; every exception goes to `problems.py`; HEAD, OPTIONS, limits and common header fields are the front door's. This
room is given an opened house; it opens nothing itself.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, NamedTuple, cast

from litestar import Litestar, Router
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler

from gateway.services import Services
from gateway.settings import Settings
from gateway.web.api.routes import ROUTES
from gateway.web.asgi import App
from gateway.web.documents import Documents
from gateway.web.edge import FrontDoor, Lane, Routes
from gateway.web.house import House
from gateway.web.telemetry import Meter

MAX_BODY = 1024 * 1024
"""Of a JSON body, bytes; paths that take files have a bound of their own."""


class Opened(NamedTuple):
    """What the handlers of one process get at start."""

    services: Services
    lane: Lane | None = None


Opening = Callable[[], AbstractAsyncContextManager[Opened]]
"""Opens what the stories use, and closes it at the end of the process."""


def _routes(app: Litestar) -> Routes:
    return Routes([(route.path, route.path_format, frozenset(getattr(route, "methods", ()))) for route in app.routes])


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
            try:
                yield
            finally:
                door.lane = None
                house.close()

    framework = Litestar(
        [*ROUTES, *more],
        lifespan=[lifespan],
        exception_handlers={HTTPException: pass_on, Exception: pass_on},
        openapi_config=None,
        logging_config=None,
        request_max_body_size=MAX_BODY,
        state=State({"house": house}),
    )
    house.documents = Documents(ROUTES)
    door = FrontDoor(cast(App, framework), routes=_routes(framework), origin=house.origin, meter=house.meter)
    return door

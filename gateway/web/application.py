"""Puts the web room together: routes, framework, front door.

Rules: the framework's own OpenAPI, response cache, rate limiter, compression and logging are off, each for a reason in
`stack.md` A; every exception goes to `problems.py`; HEAD, OPTIONS, limits and common header fields are the front door's. This
room is given an opened house; it opens nothing itself.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, cast

from litestar import Litestar, Router
from litestar.datastructures import State
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.types import ASGIApp

from gateway.services import Services
from gateway.settings import Settings
from gateway.web import openapi
from gateway.web.api import routes as api_routes
from gateway.web.asgi import App
from gateway.web.edge import FrontDoor, Lane, Routes
from gateway.web.house import House
from gateway.web.telemetry import Meter

MAX_BODY = 1024 * 1024
"""Of a JSON body, bytes; paths that take files have a bound of their own."""

Opening = Callable[[], AbstractAsyncContextManager[Services]]
"""Opens what the stories use, and closes it at the end of the process."""
LaneOf = Callable[[House], Lane | None]


def _templates(app: Litestar) -> Routes:
    return Routes([(route.path_format if "{" not in route.path else route.path, frozenset(getattr(route, "methods", ()))) for route in app.routes])


def build(settings: Settings, opening: Opening, *, lane_of: LaneOf | None = None, more: tuple[Router | HTTPRouteHandler, ...] = ()) -> App:
    """The ASGI application; `opening` runs in its lifespan, `lane_of` makes the public lane once the house is open."""
    house = House(settings, Meter())

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        async with opening() as services:
            house.open(services)
            door.lane = lane_of(house) if lane_of is not None else None
            try:
                yield
            finally:
                door.lane = None
                house.close()

    def on_error(request: Any, error: Exception) -> ASGIApp:
        return cast(ASGIApp, door.problem(error, request.scope))

    framework = Litestar(
        [*api_routes.ROUTES, *more],
        lifespan=[lifespan],
        exception_handlers={HTTPException: on_error, Exception: on_error},
        openapi_config=None,
        logging_config=None,
        request_max_body_size=MAX_BODY,
        state=State({"house": house}),
    )
    house.documents = openapi.Documents(framework.routes, settings)
    door = FrontDoor(cast(App, framework), routes=_templates(framework), origin=house.origin, meter=house.meter)
    door.house = house
    return door

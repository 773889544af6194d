"""All handlers of the public API."""

from typing import Final

from litestar.handlers import HTTPRouteHandler

from gateway.web.api import audit, basics, datasets, lists, records, subjects

ROUTES: Final[tuple[HTTPRouteHandler, ...]] = (
    *basics.HANDLERS,
    *audit.HANDLERS,
    *subjects.HANDLERS,
    *records.HANDLERS,
    *lists.HANDLERS,
    *datasets.HANDLERS,
)

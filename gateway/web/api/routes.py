"""All handlers of the public API."""

from typing import Final

from litestar.handlers import HTTPRouteHandler

from gateway.web.api import audit, basics, datasets, effective, lists, lookups, match, oauth, ranges, records, reviews, subjects, uploads

ROUTES: Final[tuple[HTTPRouteHandler, ...]] = (
    *basics.HANDLERS,
    *audit.HANDLERS,
    *effective.HANDLERS,
    *subjects.HANDLERS,
    *records.HANDLERS,
    *lists.HANDLERS,
    *ranges.HANDLERS,
    *lookups.HANDLERS,
    *match.HANDLERS,
    *datasets.HANDLERS,
    *reviews.HANDLERS,
    *uploads.HANDLERS,
    *oauth.HANDLERS,
)

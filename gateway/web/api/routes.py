"""All handlers of the public API."""

from typing import Final

from litestar.handlers import HTTPRouteHandler

from gateway.web.api import (
    audit,
    basics,
    catalogue,
    datasets,
    effective,
    feeds,
    house_files,
    lists,
    log,
    lookups,
    match,
    match_jobs,
    oauth,
    pages,
    partner_queries,
    policies,
    ranges,
    receipts,
    reconcile,
    records,
    reviews,
    subjects,
    uploads,
    versions,
)

ROUTES: Final[tuple[HTTPRouteHandler, ...]] = (
    *basics.HANDLERS,
    *pages.HANDLERS,
    *audit.HANDLERS,
    *effective.HANDLERS,
    *subjects.HANDLERS,
    *records.HANDLERS,
    *lists.HANDLERS,
    *feeds.HANDLERS,
    *versions.HANDLERS,
    *ranges.HANDLERS,
    *log.HANDLERS,
    *receipts.HANDLERS,
    *lookups.HANDLERS,
    *partner_queries.HANDLERS,
    *match.HANDLERS,
    *match_jobs.HANDLERS,
    *reconcile.HANDLERS,
    *datasets.HANDLERS,
    *catalogue.HANDLERS,
    *policies.HANDLERS,
    *house_files.HANDLERS,
    *reviews.HANDLERS,
    *uploads.HANDLERS,
    *oauth.HANDLERS,
)

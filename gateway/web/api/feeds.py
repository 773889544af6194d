"""Feeds for feed readers: lists in Atom and JSON Feed, the datasets, and what changes in this API itself (api.md §7.10)."""

from typing import Final

from litestar.params import FromPath

from gateway.core.errors import NotFound
from gateway.core.publication import syndication
from gateway.core.publication.syndication import Channel, Entry
from gateway.operations import syndicate
from gateway.web.api.basics import document
from gateway.web.api.common import PURPOSE
from gateway.web.asked import Asked, begin
from gateway.web.changelog import CHANGELOG
from gateway.web.describe import AnyRequest, Described, Parameter, path
from gateway.web.negotiation import ATOM, JSON_FEED
from gateway.web.replies import DOCUMENT_CACHE, Reply

FEED: Final = Described(
    operation_id="getFeed",
    tag="变更",
    summary="供订阅器使用的变更源",
    description=(
        "A list as Atom (`{list}.atom`, with deleted entries of RFC 6721) or JSON Feed (`{list}.json`, with `_credit`): the newest 500 "
        "changes, older ones on archive pages (RFC 5005, `prev-archive`, `next_url`). Also `datasets.atom` and, about this API, "
        "`changelog.atom`."
    ),
    takes=(
        Parameter(
            name="feed",
            where="path",
            text="名单标识加 .atom 或 .json；datasets.atom；changelog.atom。List id with a suffix, or one of the two others.",
            schema={"type": "string", "pattern": "^[a-z0-9-]+[.](atom|json)$", "maxLength": 80},
            example="tax-violations.atom",
        ),
        Parameter(
            name="page",
            text="归档页，见 prev-archive。Page of the archive, as linked.",
            schema={"type": "string", "pattern": "^[0-9]{1,12}$"},
            example="1",
        ),
        PURPOSE,
    ),
    media=(ATOM, JSON_FEED),
    problems=("invalid-parameter", "purpose-missing"),
    example=(
        '<?xml version="1.0" encoding="utf-8"?>\n<feed xmlns="http://www.w3.org/2005/Atom" xmlns:at="http://purl.org/atompub/tombstones/1.0">'
        "<id>tag:h,2026:list/tax-violations</id><title>重大税收违法失信主体名单</title><updated>2026-11-04T00:58:11Z</updated>"
        '<at:deleted-entry ref="tag:h,2026:record/rec_2222222222222222222222222b" when="2026-11-04T00:58:00Z">'
        "<at:comment>expired</at:comment></at:deleted-entry></feed>"
    ),
    examples={
        JSON_FEED: {
            "version": "https://jsonfeed.org/version/1.1",
            "title": "重大税收违法失信主体名单",
            "feed_url": "https://h/v1/feeds/tax-violations.json",
            "items": [
                {
                    "id": "tag:h,2026:record/rec_2222222222222222222222222b",
                    "date_modified": "2026-11-04T00:58:00Z",
                    "_credit": {"seq": 88213, "op": "del", "reason": "expired"},
                }
            ],
        }
    },
)


@path("/v1/feeds/{feed:str}", FEED)
async def feed(request: AnyRequest, feed: FromPath[str]) -> Reply:
    """One feed."""
    asked = await begin(request, FEED, by_name=True)
    name, _, kind = feed.rpartition(".")
    if kind not in ("atom", "json") or (name in ("changelog", "datasets") and (kind == "json" or "page" in asked.params)):
        raise NotFound
    if name == "changelog":
        return _changelog(request, asked)
    if name == "datasets":
        return asked.reply(await syndicate.dataset_feed(asked.services, asked.caller, asked.language), names_subjects=False)
    return asked.reply(await syndicate.list_feed(asked.services, name, "atom" if kind == "atom" else "json", asked.caller, asked.ask()))


def _changelog(request: AnyRequest, asked: Asked) -> Reply:
    """What changed in this API; nothing of it depends on data or plans."""
    origin, english = asked.house.origin, asked.language == "en"
    entries = tuple(
        Entry(
            id=syndication.tag(origin, f"api/{change.id}"),
            title=change.title_en if english else change.title_zh,
            text=change.text_en if english else change.text_zh,
            updated=change.at,
            url=f"{origin}/openapi.json",
            page=f"{origin}/docs",
            categories=((change.kind, None),),
        )
        for change in CHANGELOG
    )
    own = f"{origin}/v1/feeds/changelog.atom"
    channel = Channel(
        id=syndication.tag(origin, "api"),
        title="Changes of this API" if english else "接口变更",
        subtitle="What was added, and what will go." if english else "新增的内容，以及将要停用的内容。",
        author=asked.house.settings.portal,
        language=asked.language,
        updated=entries[0].updated,
        self_url=own,
        current_url=own,
        home_url=f"{origin}/openapi.json",
        entries=entries,
    )
    return document(request, syndication.atom(channel), syndicate.ATOM.encode(), DOCUMENT_CACHE)


HANDLERS: Final = (feed,)

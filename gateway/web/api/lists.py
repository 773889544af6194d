"""Lists, their listings, and the feed of changes (api.md §7.8, §7.9)."""

from typing import Final

from litestar.params import FromPath

from gateway.operations import answer_query, read_feed
from gateway.web.api import shapes
from gateway.web.api.common import CASE_REF, EXAMPLE_PAGE, LIST, PAGE_PROBLEMS, PAGING, PURPOSE, REGION
from gateway.web.api.subjects import EXAMPLE_RECORD
from gateway.web.asked import begin, without_suffix
from gateway.web.describe import TABLE_MEDIA, AnyRequest, Described, Parameter, path
from gateway.web.replies import Reply

_LIST: Final = {
    "id": "tax-violations",
    "name": "重大税收违法失信主体名单",
    "polarity": "black",
    "polarity_label": "黑名单",
    "legal_basis": [{"text": "《重大税收违法失信主体信息公布管理办法》第六条", "uri": None}],
    "authority": {"name": "国家税务总局通化市税务局（示例）"},
    "entry_conditions": "…",
    "removal_conditions": "…",
    "period_rule": "…",
    "rows": 42,
    "seq": 88213,
    "authority_lookup_uri": None,
    "links": {"listings": "https://h/v1/lists/tax-violations/listings"},
}

LISTS = Described(
    operation_id="listLists",
    tag="名单",
    summary="所有名单",
    description="All lists, red and black alike.",
    takes=(PURPOSE,),
    gives=shapes.Lists,
    example={"items": [_LIST], "policy_version": 42},
)


@path("/v1/lists", LISTS)
async def lists(request: AnyRequest) -> Reply:
    """All lists."""
    asked = await begin(request, LISTS)
    return asked.reply(await answer_query.lists(asked.services, asked.caller, asked.language))


LIST_ONE = Described(
    operation_id="getList",
    tag="名单",
    summary="一个名单",
    description="A list: its legal basis, authority and conditions.",
    takes=(LIST, PURPOSE),
    gives=shapes.CreditList,
    example=_LIST,
)


@path("/v1/lists/{list_id:str}", LIST_ONE)
async def one(request: AnyRequest, list_id: FromPath[str]) -> Reply:
    """One list."""
    asked = await begin(request, LIST_ONE)
    return asked.reply(await answer_query.one_list(asked.services, without_suffix(list_id), asked.caller, asked.language))


LISTINGS = Described(
    operation_id="listListings",
    tag="名单",
    summary="名单上的主体",
    description="Present listings of a list.",
    takes=(LIST, REGION, *PAGING),
    open_filters=True,
    gives=shapes.ListingPage,
    items=True,
    media=TABLE_MEDIA,
    problems=PAGE_PROBLEMS,
    example={
        "items": [
            EXAMPLE_RECORD
            | {
                "dataset": "tax-violations",
                "kind": "blacklist",
                "kind_label": "严重失信",
                "list": "tax-violations",
                "listed_on": "2026-03-02",
                "listing_basis": [],
                "measures": [],
                "removal_conditions": "…",
                "remedy": None,
            }
        ],
        **EXAMPLE_PAGE,
    },
)


@path("/v1/lists/{list_id:str}/listings", LISTINGS, suffixes=True)
async def listings(request: AnyRequest, list_id: FromPath[str]) -> Reply:
    """Who stands on a list now."""
    asked = await begin(request, LISTINGS)
    return asked.reply(await answer_query.listings(asked.services, list_id, asked.caller, asked.ask()))


CHANGES = Described(
    operation_id="listChanges",
    tag="变更",
    summary="变更记录",
    description="Changes after a position, in order, as the caller's plans show them. Items name records, they do not contain them.",
    takes=(
        Parameter(
            name="since",
            text="上次得到的 next_since；0 为最早。Position; 0 starts at the oldest kept.",
            schema={"type": "integer", "minimum": 0, "maximum": 10**15},
            required=True,
            example="0",
        ),
        Parameter(name="list", text="名单。List.", schema={"type": "string", "maxLength": 400}),
        Parameter(name="dataset", text="数据集。Dataset.", schema={"type": "string", "maxLength": 400}),
        Parameter(name="kind", text="种类。Kind.", schema={"type": "string", "maxLength": 400}),
        Parameter(
            name="limit",
            text="条数 1–1000，默认 100。",
            schema={"type": "integer", "minimum": 1, "maximum": 1000, "default": 100},
            example="100",
        ),
        Parameter(
            name="wait",
            text="没有变更时等待的秒数 0–30。Hold for seconds.",
            schema={"type": "integer", "minimum": 0, "maximum": 30, "default": 0},
        ),
        PURPOSE,
        CASE_REF,
    ),
    gives=shapes.Changes,
    problems=("invalid-parameter", "since-too-old", "purpose-missing"),
    example={
        "items": [
            {
                "seq": 88190,
                "op": "mod",
                "at": "2026-11-04T00:58:11Z",
                "dataset": "tax-violations",
                "list": "tax-violations",
                "record": "rec_2222222222222222222222222a",
                "uri": "https://h/v1/records/rec_2222222222222222222222222a",
                "fields_changed": ["marks"],
            }
        ],
        "next_since": 88190,
        "more": False,
        "next": "https://h/v1/changes?since=88190",
        "policy_version": 42,
    },
)


@path("/v1/changes", CHANGES)
async def changes(request: AnyRequest) -> Reply:
    """What changed after a position."""
    asked = await begin(request, CHANGES)
    return asked.reply(await read_feed.changes(asked.services, asked.caller, asked.ask()))


HANDLERS: Final = (lists, one, listings, changes)

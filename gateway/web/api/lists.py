"""Lists, their listings, and the feed of changes (api.md §7.8, §7.9)."""

from typing import Final

from litestar.params import FromPath

from gateway.operations import answer_query, follow_feed, read_feed
from gateway.operations.answering import stands_under
from gateway.web.api import list_shapes, shapes
from gateway.web.api.common import CASE_REF, EXAMPLE_PAGE, LIST, PAGE_PROBLEMS, PAGING, PURPOSE, REGION
from gateway.web.api.subjects import EXAMPLE_RECORD
from gateway.web.asked import answer_alike, begin, without_suffix
from gateway.web.callers import caller_again
from gateway.web.describe import TABLE_MEDIA, AnyRequest, Described, Parameter, path
from gateway.web.event_stream import EventStream
from gateway.web.negotiation import EVENTS, header
from gateway.web.replies import Reply, policy_headers

_LIST: Final = {
    "id": "tax-violations",
    "name": "重大税收违法失信主体名单",
    "polarity": "black",
    "polarity_label": "黑名单",
    "dataset": "tax-violations",
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
    gives=list_shapes.Lists,
    example={"items": [_LIST], "dataset_version": "20261104010000-88213", "policy_version": 42},
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
    gives=list_shapes.CreditList,
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
    return await answer_alike(request, LISTINGS, lambda asked: answer_query.listings(asked.services, list_id, asked.caller, asked.ask()))


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
        Parameter(name="list", text="名单。List.", schema={"type": "string", "maxLength": 400}, example="tax-violations"),
        Parameter(name="dataset", text="数据集。Dataset.", schema={"type": "string", "maxLength": 400}, example="tax-violations"),
        Parameter(name="kind", text="种类。Kind.", schema={"type": "string", "maxLength": 400}, example="blacklist"),
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
    gives=list_shapes.Changes,
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
        "dataset_version": "20261104005811-88190",
        "policy_version": 42,
        "policy_plan": "0" * 64,
    },
)


@path("/v1/changes", CHANGES)
async def changes(request: AnyRequest) -> Reply:
    """What changed after a position."""
    asked = await begin(request, CHANGES)
    services, scope = asked.services, asked.scope
    return asked.reply(await read_feed.changes(services, asked.caller, asked.ask(), lambda: caller_again(services, scope)))


_FOLLOWED: Final = tuple(each for each in CHANGES.takes if each.name in ("list", "dataset", "kind"))

STREAM: Final = Described(
    operation_id="followChanges",
    tag="变更",
    summary="变更的事件流",
    description=(
        "The same changes as server-sent events, as they happen: `id` is the position, `event` is change, policy, reset, or plan: the "
        "version and plans under which all that follows is told, where they are no longer those of the header. Resumes after "
        "Last-Event-ID, else after `since`, else from now on. Closed after an hour or 1,000 unread events; two streams a caller."
    ),
    takes=(
        Parameter(
            name="since",
            text="上次得到的位置；没有则从现在开始。Position; without one the stream begins now.",
            schema={"type": "integer", "minimum": 0, "maximum": 10**15},
            example="88213",
        ),
        *_FOLLOWED,
        Parameter(
            name="Last-Event-ID",
            where="header",
            text="最后收到的事件编号，优先于 since。Id of the last event received; goes before `since`.",
            schema={"type": "string", "pattern": "^[0-9]{1,15}$"},
        ),
        PURPOSE,
        CASE_REF,
    ),
    media=(EVENTS,),
    problems=("invalid-parameter", "purpose-missing", "too-many-streams"),
    example=(
        "retry: 5000\nid: 88190\nevent: change\n"
        'data: {"seq":88190,"op":"add","at":"2026-11-04T00:58:11Z","dataset":"tax-violations","list":"tax-violations",'
        '"record":"rec_2222222222222222222222222a","uri":"https://h/v1/records/rec_2222222222222222222222222a"}\n\n'
    ),
)


@path("/v1/changes/stream", STREAM)
async def stream(request: AnyRequest) -> Reply:
    """Changes as they happen."""
    asked = await begin(request, STREAM)
    services, scope = asked.services, asked.scope
    last = header(list(scope["headers"]), b"last-event-id").decode("latin-1")
    heard = await follow_feed.follow(services, lambda: caller_again(services, scope), asked.ask(), last)
    under = await stands_under(services, asked.caller)
    headers = [(b"content-language", asked.language.encode()), *(policy_headers(*under) if under is not None else ())]
    return EventStream(heard, limits=asked.house.limits, charge=asked.charge, headers=headers)


HANDLERS: Final = (lists, one, listings, changes, stream)

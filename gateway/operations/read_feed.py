"""Read the change feed: what a plan set was told after a position (api.md §7.9, §12.12).

Rules: a position is a stored number, no cursor; items name records and never contain them. Version and plans stand on the page, and not
on an item, which was counted under what is over (decision 0064). A filter keeps policy changes and the
removal of every record whose last item passed it. A position below the window is gone, one beyond the head never was. Waiting
holds no transaction and ends with the first visible thing. There is no filter by subject, on purpose. Of what a
bound plan set was told, a caller gets what its grants reach, under the same numbers; a record that came within its reach
is an `add` to it, one that left a `del`. Where a feed has only begun there is less, and nothing wrong.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, TypeAlias
from urllib.parse import urlencode

from msgspec import structs

from gateway.core.callers.caller import Caller
from gateway.core.disclosure.query import MAX_LENGTH, MAX_VALUES, members
from gateway.core.errors import ErrorItem, NotPermitted, SinceTooOld, UnknownParameter
from gateway.core.publication.documents import FOREVER
from gateway.core.publication.labels import KINDS, label
from gateway.core.records.model import DatasetId
from gateway.operations.answering import ENCODER, Scene, answer, begin, marked, refuse_ended
from gateway.operations.asking import Answer, Ask
from gateway.operations.pages import invalid
from gateway.operations.record_access import record_feed
from gateway.services import Services
from gateway.store import feed
from gateway.store.bell import State, heads
from gateway.store.feed import Item

LIMIT = 100
MAX_LIMIT = 1000
MAX_WAIT_S = 30
MAX_SEQ = 10**15
FILTERS = ("list", "dataset", "kind")
_KNOWN = frozenset({"since", "limit", "wait", *FILTERS})

Filters: TypeAlias = Mapping[str, tuple[str, ...]]
"""What a reader wants to hear of, by parameter; empty: of everything."""


async def changes(services: Services, caller: Caller, ask: Ask, again: Callable[[], Awaitable[Caller]] | None = None) -> Answer:
    """The items after `since`; whom a request that has waited comes from, `again` says, else it is who it was.

    Raises InvalidParameter, UnknownParameter, NotPermitted for a tier without a sequence of changes, SinceTooOld with the URL of the
    present state.
    """
    filters = filters_of(ask, _KNOWN)
    since = number(ask, "since", None, 0, MAX_SEQ)
    limit = number(ask, "limit", LIMIT, 1, MAX_LIMIT)
    wait = number(ask, "wait", 0, 0, MAX_WAIT_S)
    state = await heads(services.store.reads)
    scene = await begin(services, caller, ask.language)
    if not scene.forms.fed:
        raise NotPermitted
    await refuse_unknown(scene, filters)
    refuse_ended(scene, about(scene, filters))
    if since > scene.head.seq:
        raise invalid("since", "超出当前位置")
    floor = await feed.floor(services.store.reads, scene.forms.name)
    if 0 < since < floor:
        raise SinceTooOld("此位置已不再保留", next_url=snapshot_url(scene, filters))
    found = await after(scene, since, limit + 1, filters)
    if not found and wait:
        scene, found = await _wait(scene, again, state, since, limit + 1, filters, wait)
    await record_feed(scene, min(len(found), limit))
    return _answer(scene, ask, since, limit, found, filters, waited=wait > 0)


def filters_of(ask: Ask, known: Collection[str]) -> Filters:
    """The filters of a request that takes just these parameters.

    Raises UnknownParameter, InvalidParameter.
    """
    unknown = [name for name in ask.params if name not in known]
    if unknown:
        raise UnknownParameter("未知参数", errors=tuple(ErrorItem("unknown", "未知参数", parameter=name) for name in unknown[:1]))
    return {name: _values(ask, name) for name in FILTERS}


async def refuse_unknown(scene: Scene, filters: Filters) -> None:
    """Who follows a name that there is not would wait for ever. What is shown no more may be followed while its removals are told.

    Raises InvalidParameter, alike for a dataset that never was and one that the caller was never shown.
    """
    known: Mapping[str, Collection[str]] = {
        "list": scene.policies.catalogue.lists, "dataset": scene.forms.plan_sets, "kind": KINDS,
    }  # fmt: skip
    for name, values in filters.items():
        strange = set(values) - set(known[name])
        if strange and not (name == "dataset" and strange <= await _told(scene)):
            if name == "dataset":
                raise invalid(name, "没有这个数据集，或者它不在此使用目的的范围之内。")
            raise invalid(name, "不是该字段的取值。")


async def _told(scene: Scene) -> frozenset[str]:
    """The datasets of which this sequence tells, as long as nothing is added to it."""
    told: frozenset[str]
    seq, told = scene.forms.remembered.get("datasets told", (None, frozenset()))
    if seq != scene.head.seq:
        told = await feed.datasets_told(scene.services.store.reads, scene.forms.name)
        scene.forms.remembered["datasets told"] = scene.head.seq, told
    return told


def about(scene: Scene, filters: Filters) -> list[str]:
    """The datasets whose changes are asked for."""
    held = scene.policies.catalogue.datasets
    lists = {each.dataset for name, each in scene.policies.catalogue.lists.items() if name in filters["list"]}
    return [
        name
        for name in scene.forms.plan_sets
        if (not filters["dataset"] or name in filters["dataset"])
        and (not filters["kind"] or held[DatasetId(name)].category in filters["kind"])
        and (not filters["list"] or name in lists)
    ]


def number(ask: Ask, name: str, default: int | None, low: int, high: int) -> int:
    """A parameter that is a whole number; without a default it must be there. Raises InvalidParameter."""
    text = ask.params.get(name)
    if text is None:
        if default is None:
            raise invalid(name, "缺少此参数")
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 18 and str(int(text)) == text and low <= int(text) <= high):
        raise invalid(name, f"应为 {low} 至 {high} 的整数")
    return int(text)


def _values(ask: Ask, name: str) -> tuple[str, ...]:
    text = ask.params.get(name)
    if text is None:
        return ()
    values = members(name, text, MAX_VALUES)
    if any(len(value) > MAX_LENGTH for value in values):
        raise invalid(name, f"每个取值为 1 至 {MAX_LENGTH} 个字符。")
    return values


async def after(scene: Scene, since: int, limit: int, filters: Filters) -> list[Item]:
    """The next items that the caller may know of; what names only fields that its own plans hide is left out."""
    found: list[Item] = []
    while True:
        items = await _items(scene, since, limit - len(found), filters)
        found += [known for item in items if (known := _known_item(scene, item)) is not None]
        if len(found) >= limit or not items or scene.public:
            return found
        since = items[-1].seq


def _known_item(scene: Scene, item: Item) -> Item | None:
    """An item with those changed fields alone that some plan of the caller shows; None: nothing of it is left."""
    if scene.public or item.op != "mod" or item.dataset is None or not item.fields_changed:
        return item
    reaches = scene.forms.reaches.get(item.dataset, ())
    hidden = {name for reach in reaches for name in reach.plan_set.described} - {name for reach in reaches for name in reach.plan_set.shown}
    paths = item.fields_changed.split(",")
    shown = [path for path in paths if path.rpartition(".")[2] not in hidden]
    if len(shown) == len(paths):
        return item
    return structs.replace(item, fields_changed=",".join(shown)) if set(shown) - _MARKED else None


_MARKED = frozenset({"marks"})
"""What changes with any other field: alone it would tell of a hidden one."""


async def _items(scene: Scene, since: int, limit: int, filters: Filters) -> list[Item]:
    return await feed.items(
        scene.services.store.reads,
        scene.forms.name,
        since,
        limit=limit,
        datasets=filters["dataset"],
        categories=filters["kind"],
        lists=filters["list"],
        gates=None if scene.public else scene.gates,
    )


async def _wait(
    scene: Scene, again: Callable[[], Awaitable[Caller]] | None, state: State, since: int, limit: int, filters: Filters, wait: int
) -> tuple[Scene, list[Item]]:
    """Look again at every change until something visible has happened or the time is up; caller and plan are looked up again each time."""
    services, loop = scene.services, asyncio.get_running_loop()
    deadline = loop.time() + wait
    looked = scene.head.seq
    while (left := deadline - loop.time()) > 0:
        await services.bell.changed(services.store.reads, state, left)
        state = await heads(services.store.reads)
        scene = await begin(services, scene.caller if again is None else await again(), scene.language)
        refuse_ended(scene, about(scene, filters))
        if scene.head.seq > looked:
            looked = scene.head.seq
            found = await after(scene, since, limit, filters)
            if found:
                return scene, found
    return scene, []


def item_document(scene: Scene, item: Item) -> dict[str, Any]:
    """An item as it is told."""
    document: dict[str, Any] = {"seq": item.seq, "op": item.op, "at": item.at}
    if item.op == "policy":
        document["policy_version"] = int(item.fields_changed or 0)
        return document
    document["dataset"] = item.dataset
    if item.list is not None:
        document["list"] = item.list
    document["record"] = item.record_id
    if item.op == "del":
        document["reason"] = item.reason
        document["reason_label"] = label("reason", item.reason, scene.language)
        return document
    document["uri"] = f"{scene.origin}/v1/records/{item.record_id}"
    if item.op == "mod":
        document["fields_changed"] = [path for path in (item.fields_changed or "").split(",") if path]
    return document


def _answer(
    scene: Scene, ask: Ask, since: int, limit: int, found: list[Item], filters: Filters, *, waited: bool
) -> Answer:
    more = len(found) > limit
    found = found[:limit]
    next_since = found[-1].seq if found else since
    parameters: dict[str, str] = {name: ",".join(values) for name, values in filters.items() if values}
    if "limit" in ask.params:
        parameters["limit"] = ask.params["limit"]
    next_url = f"{scene.origin}/v1/changes?{urlencode({'since': str(next_since), **parameters})}"
    document = {
        "items": [item_document(scene, item) for item in found], "next_since": next_since, "more": more, "next": next_url,
        "dataset_version": scene.head.version, "policy_version": scene.forms.version, "policy_plan": scene.forms.plan_hash,
    }  # fmt: skip
    made = answer(scene, marked(scene, ENCODER.encode(document)), valid_until=FOREVER, links=(("next", next_url),), rows=len(found))
    return made.unstored() if waited else made


def snapshot_url(scene: Scene, filters: Filters) -> str:
    """The present state, from which one begins again."""
    if len(filters["list"]) == 1:
        return f"{scene.origin}/v1/lists/{filters['list'][0]}/listings?limit=all"
    parameters = {name: ",".join(filters[name]) for name in ("dataset", "kind") if filters[name]}
    return f"{scene.origin}/v1/records?{urlencode({**parameters, 'limit': 'all'})}"

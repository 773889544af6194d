"""Follow the change feed: what `/v1/changes` tells, told as it happens (api.md §7.9).

Rules: whoever resumes loses nothing: it goes on after the number that it heard last. Caller and plan are looked up again for each
event, so a right that ends is not told to its end. Under which plans it is told the answer's header says, and an event (`plan`) when they
change. What cannot be told any more is said to be so (`reset`), and the stream goes on from the present. Waiting holds nothing of the
store. This story must not know how an event is written.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, Literal, NamedTuple

from gateway.core.callers.caller import Caller
from gateway.core.errors import NotPermitted
from gateway.operations.answering import ENCODER, Scene, begin, refuse_ended
from gateway.operations.asking import Ask
from gateway.operations.pages import invalid
from gateway.operations.read_feed import (
    FILTERS,
    MAX_SEQ,
    Filters,
    about,
    after,
    filters_of,
    item_document,
    number,
    refuse_unknown,
    snapshot_url,
)
from gateway.operations.record_access import record_feed
from gateway.services import Services
from gateway.store import feed
from gateway.store.bell import heads

STEP: Final = 100
BEAT_S: Final = 15.0
"""How often a stream in which nothing happens says that it lives."""
LIFE_S: Final = 3600.0
"""After this a stream ends; the reader comes back where it stood."""
_KNOWN: Final = frozenset({"since", *FILTERS})


class Event(NamedTuple):
    """One event."""

    id: int
    name: Literal["plan", "change", "policy", "reset"]
    data: bytes


class Heard(NamedTuple):
    """What is told next: some events, or none for a sign of life."""

    events: list[Event]
    live: bool
    """Whether they have just happened; else the reader is still being told of earlier ones."""


async def follow(
    services: Services, identify: Callable[[], Awaitable[Caller]], ask: Ask, last_event_id: str | None
) -> AsyncIterator[Heard]:
    """Events after `Last-Event-ID`, else after `since`, else from now on; they come as they are taken.

    Raises InvalidParameter, UnknownParameter, NotPermitted before the first; later anything that ends the stream.
    """
    filters = filters_of(ask, _KNOWN)
    scene = await _begin(services, await identify(), ask, filters)
    await refuse_unknown(scene, filters)
    since = _position(scene, ask, last_event_id)
    return _told(services, identify, ask, filters, since, _under(scene))


async def _begin(services: Services, caller: Caller, ask: Ask, filters: Filters) -> Scene:
    scene = await begin(services, caller, ask.language)
    if not scene.forms.fed:
        raise NotPermitted
    refuse_ended(scene, about(scene, filters))
    return scene


def _position(scene: Scene, ask: Ask, last_event_id: str | None) -> int:
    name, since = "since", number(ask, "since", scene.head.seq, 0, MAX_SEQ)
    if last_event_id:
        if not (last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) <= 15):
            raise invalid("Last-Event-ID", "应为此前收到的事件编号")
        name, since = "Last-Event-ID", int(last_event_id)
    if since > scene.head.seq:
        raise invalid(name, "超出当前位置")
    return since


def _under(scene: Scene) -> dict[str, Any]:
    return {"policy_version": scene.forms.version, "policy_plan": scene.forms.plan_hash}


async def _told(
    services: Services, identify: Callable[[], Awaitable[Caller]], ask: Ask, filters: Filters, since: int, under: dict[str, Any]
) -> AsyncIterator[Heard]:
    reads, loop = services.store.reads, asyncio.get_running_loop()
    ends = loop.time() + LIFE_S
    live = False
    while loop.time() < ends:
        state = await heads(reads)
        scene = await _begin(services, await identify(), ask, filters)
        if under != (under := _under(scene)):
            yield Heard([Event(since, "plan", ENCODER.encode(under))], live)
        if 0 < since < await feed.floor(reads, scene.forms.name):
            since = scene.head.seq
            said: dict[str, Any] = {"reason": "since-too-old", "snapshot": snapshot_url(scene, filters), "since": since}
            yield Heard([Event(since, "reset", ENCODER.encode(said))], live)
            continue
        found = await after(scene, since, STEP, filters)
        if found:
            await record_feed(scene, len(found))
            since = found[-1].seq
            yield Heard(
                [
                    Event(item.seq, "policy" if item.op == "policy" else "change", ENCODER.encode(item_document(scene, item)))
                    for item in found
                ],
                live,
            )
            continue
        since, live = max(since, scene.head.seq), True
        await services.bell.changed(reads, state, BEAT_S)
        if await heads(reads) == state:
            yield Heard([], live)

"""Prepare what leaves versions at the next midnight, so that their next issue takes over in the first instant of the day (api.md §7.8).

Rules: whether a record is shown at that instant is asked of its public View made for that instant, not guessed from its dates; who ends
is only marked, and shown until then; whatever is told of a record meanwhile takes its mark away again (`reissue_lists`). This story
must not take anything out.
"""

from collections.abc import Sequence
from datetime import timedelta

from msgspec import structs

from gateway.core.callers.caller import PUBLIC
from gateway.core.publication.documents import instant
from gateway.core.records.periods import first_instant, legal_day
from gateway.operations.answering import Scene, begin
from gateway.operations.collected import collections_of
from gateway.operations.live_records import live
from gateway.services import Services
from gateway.store import changes, list_issues
from gateway.store.lists import ENDING, READER

AHEAD = timedelta(minutes=10)
"""How long before midnight it is looked who ends."""
_ASK = 200
"""Records that are looked at together."""


async def prepare_ends(services: Services) -> int:
    """Mark the rows of all versions that end at the next midnight, if that is near; how many records."""
    now = services.clock()
    end = first_instant(legal_day(now) + timedelta(days=1))
    if end - now > AHEAD:
        return 0
    position = await changes.reader_position(services.store.reads, READER)
    held = await list_issues.ending(services.store.reads, instant(end))
    if not held:
        return 0
    scene = await begin(services, PUBLIC, "zh-CN")
    then = structs.replace(scene, now=end, now_text=instant(end))
    known = {each.id: each.listing is not None for each in collections_of(scene.policies, scene.forms)}
    gone: list[tuple[str, str, str, str]] = []
    for collection, listing in known.items():
        ids = sorted({row.record_id for row in held if row.collection == collection})
        for at in range(0, len(ids), _ASK):
            over = await _over(then, ids[at : at + _ASK], listing=listing)
            gone += [(collection, record_id, instant(end), ENDING) for record_id in over]
    async with services.store.transaction() as tx:
        if await changes.reader_position(tx, READER) != position:
            return 0  # something was told of records meanwhile, that found no mark to take away: the next look asks again
        await list_issues.mark_leaving(tx, gone)
    return len(gone)


async def _over(then: Scene, ids: Sequence[str], *, listing: bool) -> list[str]:
    shown = await live(then, ids, listing=listing)
    return [each for each in ids if each not in shown]

"""The first page of a plain search: a text that stands in names as it was typed, and a size; asked by everybody, in Chinese, as JSON.

Nearly every search is one, and what it finds is certain on the first way. So its page is made here in fewer steps than `find_subjects`
takes, out of the same parts: how names are looked for, ranked and shown is decided where it is decided for all searches. Of what is
not as usual (a code, a household, a text typed wrong, a stale rendering, hits that are not certain) nothing is said here, and
`find_subjects` is asked.

Rules: a page is the one that `find_subjects` gives, to the byte (tested). Nothing is kept but what all searches of one state of the
database have in common. This room must not decide what fits.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, TypeAlias

from msgspec import Struct

from gateway.core.callers.caller import PUBLIC
from gateway.core.disclosure.query import MAX_LIMIT
from gateway.core.publication.forms import Forms
from gateway.core.publication.searching import MAX_CANDIDATES, SOUNDS, Hit, NameQuery, certain, fitting, ranked, read_query
from gateway.core.records.identifiers import looks_like_citizen_number
from gateway.operations import pages
from gateway.operations.answering import ENCODER, Scene, begin
from gateway.operations.find_subjects import matched_at, with_match
from gateway.operations.look_up import SPARE, Found, may_look_up
from gateway.operations.reaching import ends_of, licence_of, owed_of
from gateway.services import Services
from gateway.store import renderings, search
from gateway.store.reads import moment_of
from gateway.store.search_memory import SearchMemory
from gateway.store.subjects import stored_value

Memory: TypeAlias = SearchMemory
"""What a process keeps of names and documents, whoever asks (SQLite)."""
_LONGEST: Final = 64
"""Characters of a text that is looked for here."""


class Ground(Struct, frozen=True, kw_only=True):
    """What all plain searches in one state of the database stand on."""

    forms: Forms
    version: str
    """Of the data that everybody sees."""
    snapshot: int
    households: bool
    """Whether somebody of a name is looked for among households too."""
    most: int
    """Rows that a page may have."""
    ends: datetime | None
    """When the grounds of the first plan end."""
    cache: str
    licence: str | None
    tail: dict[str, Any]
    """What stands beside the rows of a page; without its addresses."""


class FirstPage(Struct, frozen=True, gc=False):
    """The rows of a page, and the keys of the last one where more follow."""

    items: list[bytes]
    last: tuple[int, int, int, str] | None


async def ground_of(services: Services) -> Ground:
    """What all plain searches stand on now. Raises NoActivePolicy, ObligationFailed."""
    moment = moment_of(services.store.reads)
    key = ("plain-search", services.policies)
    known: Ground | None = moment.known.get(key) if moment is not None else None
    if known is None:
        known = _ground(await begin(services, PUBLIC, "zh-CN"))
        if moment is not None:
            moment.known[key] = known
    return known


def _ground(scene: Scene) -> Ground:
    owed, ends = owed_of(scene.forms), ends_of(scene.forms)
    return Ground(
        forms=scene.forms,
        version=scene.head.version,
        snapshot=scene.head.seq,
        households=may_look_up(scene, "name", "individual_business"),
        most=MAX_LIMIT if owed.max_rows is None else owed.max_rows,
        ends=ends[0] if ends else None,
        cache=owed.cache,
        licence=licence_of(scene.forms),
        tail=pages.tail_of(scene, scene.head.version),
    )


async def first_page(
    services: Services, memory: Memory | None, ground: Ground, text: str, limit: int, now_text: str
) -> FirstPage | None:
    """The first page of what a text finds, if that is certain; None: `find_subjects` says."""
    if len(text) > _LONGEST or looks_like_citizen_number(text):
        return None
    query = read_query(text)
    if query.route not in ("pairs", "character"):
        return None
    store = services.store
    limit = min(limit, ground.most)
    bearer = stored_value(store.vault, "name", query.text, "individual_business") if ground.households else ""
    hits: Sequence[Hit] | None = None
    if memory is not None and (names := memory.names()) is not None:
        hits = names.first(query, limit + 1)
        if hits is not None and bearer and memory.is_borne(bearer) is not False:
            return None
    if hits is None:
        hits = await _walked(services, query, limit, bearer)
    if not hits:
        return None
    bodies = await _documents(services, memory, [hit.subject_id for hit in hits], ground.forms.tag, now_text)
    if len(bodies) < len(hits):
        return None
    found, text = Found(query=query, hits=hits), query.text
    items: list[bytes] = []
    ends: dict[int, bytes] = {}
    for hit in hits[:limit]:
        body, norm = bodies[hit.subject_id], hit.norm
        at = norm.find(text)
        if at < 0 or norm.find(text, at + 1) >= 0 or norm != hit.shown or hit.matched_on != "name":
            items.append(with_match(found, hit, body))
            continue
        end = ends.get(at)
        if end is None:
            end = ends[at] = matched_at(at, at + len(text))
        items.append(body[:-1] + end)
    return FirstPage(items, hits[limit - 1].order if len(hits) > limit else None)


async def _walked(services: Services, query: NameQuery, limit: int, bearer: str) -> Sequence[Hit] | None:
    """The first hits, one more than a page has, as the index in the database gives them; None where that is not certain."""
    way = await search.walked(
        services.store.reads,
        services.store.dialect,
        query.text,
        query.core or query.text,
        query.asked[0],
        most=limit + SPARE,
        counted=MAX_CANDIDATES + 1,
        bearer=bearer,
        untold=True,
    )
    if way.borne or way.many > MAX_CANDIDATES or not way.rows:
        return None
    hits: Sequence[Hit] = ranked(query, fitting(query, way.rows), limit + 1)
    if way.edges:
        hits = certain(hits, way.edges)
        return hits if len(hits) > limit else None
    return None if hits and query.loose and hits[0].order[0] > SOUNDS else hits


async def _documents(services: Services, memory: Memory | None, ids: Sequence[str], tag: str, now_text: str) -> dict[str, bytes]:
    """The documents of these subjects as they are shown now, of those of which one is true."""
    found: dict[str, bytes] = {}
    if memory is not None:
        for subject_id, kept in memory.documents(ids):
            if kept.plan == tag and kept.valid_until > now_text:
                found[subject_id] = kept.body
        if len(found) == len(ids):
            return found
    left = [each for each in ids if each not in found]
    for row in await renderings.shown_by_ids(services.store.reads, services.store.dialect, left, plan=tag, now=now_text):
        if row.fresh and row.body is not None:
            found[row.subject_id] = row.body
    return found


def page_bytes(ground: Ground, page: FirstPage, own: str, following: str | None) -> bytes:
    """The page as it leaves: `own` is its address, `following` that of the next one."""
    tail = {"next": following, "prev": None, "self": own, **ground.tail}
    return b'{"items":[%b],%b' % (b",".join(page.items), ENCODER.encode(tail)[1:])

"""Look a subject up by what somebody typed: a whole code, a household's whole name, or a name or part of one (api.md §8).

Rules: the index holds what the public may see, organisations only; it finds candidates, the text decides. A household is found by its
whole name or whole code alone, where a plan of the caller allows the look-up. What looks like a citizen number finds nothing. This
room must not say how a subject looks.
"""

import asyncio
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any

from msgspec import Struct, structs

from gateway.core.callers.caller import PUBLIC
from gateway.core.publication.forms import forms_of
from gateway.core.publication.names import pairs
from gateway.core.publication.searching import (
    MAX_CANDIDATES,
    MAX_QUERY,
    SOUNDS,
    Fit,
    Hit,
    NameQuery,
    certain,
    fitting,
    likeness,
    ranked,
    read_query,
)
from gateway.core.records.identifiers import check_uscc, looks_like_citizen_number, normalise_code, suggest_uscc
from gateway.core.records.model import SubjectKind
from gateway.operations import pages
from gateway.operations.answering import DOCUMENT, Scene
from gateway.operations.live_records import live_subject
from gateway.store import renderings, search
from gateway.store.store import Row
from gateway.store.subjects import stored_value, subjects_by_name

_MEANT = 3
"""Names offered where nothing is found."""
_TRIED = 12
"""Names that are looked at for them."""
_LIKE_ENOUGH = 500
SPARE = 6
"""So many names are read beyond what is enough: former names, pairs that stand apart, the one that tells that more follow."""
_PORTION = 200
"""So many names are judged without a break."""
_NEAR = 200
"""Names that one group of a text typed wrong may bring."""


class Found(Struct, frozen=True, kw_only=True):
    """What a search found."""

    query: NameQuery
    hits: Sequence[Hit]
    truncated: bool = False
    alone: bool = False
    """A household: one row, no highlight, no count."""
    whole: bool = True
    """These are all hits; else the first ones."""


def kind_of_code(code: str) -> SubjectKind:
    """The kind of subject that a code belongs to: households have codes of their own."""
    return "individual_business" if code.startswith("92") else "legal"


async def shown_subject(scene: Scene, row: Row) -> bytes | None:
    """The document of a subject as the caller may see it now; None: not at all."""
    if scene.public and row.plan == scene.forms.tag and row.rendered_seq == row.head_seq and row.valid_until > scene.now_text:
        return row.body if row.body is None else bytes(row.body)
    made = await live_subject(scene, row)
    return made[0] if made is not None else None


async def look_up(scene: Scene, text: str, enough: int | None = None) -> Found:
    """What a name or code finds, best first: all of it, or (`enough`) at least more than so many of the first ones where there are more.

    Raises InvalidParameter for a text without a letter, or of more than 128 characters.
    """
    query = read_query(text)
    if not 1 <= len(query.text) <= MAX_QUERY:
        raise pages.invalid("q", "去掉标点、空格和符号后应有 1 至 128 个字符")
    if looks_like_citizen_number(text):
        return Found(query=query, hits=())
    by_code = await _by_code(scene, text, query)
    if by_code is not None:
        return by_code
    return await _by_name(scene, query, enough)


async def _by_code(scene: Scene, text: str, query: NameQuery) -> Found | None:
    """The subject whose whole code this is; None when it is none, so that it may be a name."""
    if query.route not in ("uscc", "org_code", "reg_no"):
        return None
    code = normalise_code(text)
    if query.route == "org_code":
        return await _by_org_code(scene, query, code.replace("-", ""))
    if query.route == "uscc" and not check_uscc(code).valid:
        return None
    kind: SubjectKind = "individual_business" if query.route == "uscc" and code.startswith("92") else "legal"
    if not may_look_up(scene, query.route, kind):
        return None
    reads, vault = scene.services.store.reads, scene.services.store.vault
    row = await renderings.subject_by_key(reads, query.route, stored_value(vault, query.route, code, kind))
    if row is None or row.kind != kind:
        return Found(query=query, hits=()) if query.route == "uscc" else None
    hit = Hit(subject_id=row.subject_id, matched_on=query.route, shown=code, order=(0, 0, 0, row.subject_id))
    return Found(query=query, hits=(hit,), alone=kind == "individual_business")


async def _by_org_code(scene: Scene, query: NameQuery, code: str) -> Found | None:
    """Organisations of an organisation code: as a source stated it, or as it stands in their unified codes."""
    if not may_look_up(scene, "org_code", "legal"):
        return None
    reads = scene.services.store.reads
    stated = await renderings.subject_by_key(reads, "org_code", code)
    held = await renderings.organisations_by_inner_code(reads, code) if may_look_up(scene, "uscc", "legal") else []
    found = dict.fromkeys(row.subject_id for row in (stated, *held) if row is not None and row.kind == "legal")
    hits = tuple(Hit(subject_id=each, matched_on="org_code", shown=code, order=(0, 0, at, each)) for at, each in enumerate(found))
    return Found(query=query, hits=hits) if hits else None


def may_look_up(scene: Scene, field: str, kind: SubjectKind) -> bool:
    """Whether some plan of the caller finds subjects of this kind by the whole value of a field."""
    key = ("may-look-up", field, kind)
    known: bool | None = scene.forms.remembered.get(key)
    if known is None:
        plans = [plan for held in scene.forms.plan_sets.values() if (plan := held.plans.get(kind)) is not None]
        known = scene.forms.remembered[key] = any(plan.can(field, "lookup") or plan.can(field, "filter") for plan in plans)
    return known


async def _household(scene: Scene, norm: str) -> Hit | None:
    """The household whose whole name this is, if the caller is shown just one."""
    reads = scene.services.store.reads
    bearers = await subjects_by_name(reads, norm)
    rows = await renderings.subjects_by_ids(reads, [each.subject_id for each in bearers]) if bearers else []
    # who else bears the name, unseen by the caller, changes nothing
    shown = [row.subject_id for row in rows if await shown_subject(scene, row) is not None]
    if len(shown) != 1:
        return None
    return Hit(subject_id=shown[0], matched_on="name", shown="", order=(0, 0, 0, shown[0]))


async def _by_name(scene: Scene, query: NameQuery, enough: int | None, *, written: bool = True) -> Found:
    """The household called so, if a plan lets it be found; else what a name finds: on the first way that finds something, else typed wrong.

    No more of it than is enough, if that is certain. Not `written`, the text is one that was meant, and no household's whole name.
    """
    store = scene.services.store
    households = written and may_look_up(scene, "name", "individual_business")
    bearer = stored_value(store.vault, "name", query.text, "individual_business") if households else ""
    most = MAX_CANDIDATES + 1 if enough is None else enough + SPARE
    hits: list[Hit] = []
    fits: list[Fit] = []
    seen: set[int] = set()
    truncated = False
    for steps in query.asked:
        way = await search.walked(
            store.reads,
            store.dialect,
            query.text,
            query.core or query.text,
            steps,
            most=most,
            counted=MAX_CANDIDATES + 1,
            bearer=bearer,
            untold=query.route != "spoken",
        )
        if way.borne and (household := await _household(scene, query.text)) is not None:
            return Found(query=query, hits=(household,), alone=True)
        bearer = ""
        truncated = way.many > MAX_CANDIDATES
        fits = await _fits(query, way.rows)
        seen |= {row.place for row in way.rows}
        hits = ranked(query, fits)
        if enough is not None and way.edges:
            first = certain(hits, way.edges)
            if len(first) > enough:
                return Found(query=query, hits=first, truncated=truncated, whole=False)
            return await _by_name(scene, query, None, written=written)
        if hits:
            break
    if not hits and (near := query.near):
        fits = await _fits(query, _new(seen, await search.gathered_once(store.reads, store.dialect, near, limit=_NEAR)))
        hits = ranked(query, fits)
    if query.loose and (not hits or hits[0].order[0] > SOUNDS):
        more = await search.candidates(store.reads, store.dialect, query.loose, every=False, limit=MAX_CANDIDATES)
        fits += await _fits(query, _new(seen, more))
        hits = ranked(query, fits)
    if not hits and query.regions:
        return await _by_region(scene, query, enough)
    return Found(query=query, hits=hits[:MAX_CANDIDATES], truncated=truncated or len(hits) > MAX_CANDIDATES)


async def _by_region(scene: Scene, query: NameQuery, enough: int | None) -> Found:
    """What the region finds that was written in pinyin, as if it had been written in characters; of several all that they find."""
    found = [each for region in query.regions if (each := await _by_name(scene, read_query(region), enough, written=False)).hits]
    if len(found) > 1 and enough is not None:
        return await _by_region(scene, query, None)
    best: dict[str, Hit] = {}
    for hit in sorted((hit for each in found for hit in each.hits), key=_ORDER):
        best.setdefault(hit.subject_id, structs.replace(hit, matched_on="pinyin" if hit.matched_on == "name" else hit.matched_on))
    return Found(
        query=structs.replace(query, needed=query.regions),  # what of a name is highlighted
        hits=list(best.values())[:MAX_CANDIDATES],
        truncated=any(each.truncated for each in found) or len(best) > MAX_CANDIDATES,
        whole=all(each.whole for each in found),
    )


_ORDER = attrgetter("order")


async def _fits(query: NameQuery, rows: Sequence[Row]) -> list[Fit]:
    """Those of the rows that fit: a text typed wrong has a thousand and more to look at, and lets other requests go on between."""
    fits = fitting(query, rows[:_PORTION])
    for at in range(_PORTION, len(rows), _PORTION):
        await asyncio.sleep(0)
        fits += fitting(query, rows[at : at + _PORTION])
    return fits


def _new(seen: set[int], rows: Sequence[Row]) -> list[Row]:
    """Those of the rows that did not come on another way: each name is looked at once."""
    new = {row.place: row for row in rows if row.place not in seen}
    seen |= new.keys()
    return list(new.values())


async def is_public_organisation(scene: Scene, code: str) -> bool:
    """Whether everybody may see that this is the code of an organisation."""
    if kind_of_code(code) != "legal":
        return False
    row = await renderings.subject_by_key(scene.services.store.reads, "uscc", code)
    tag = forms_of(scene.policies, PUBLIC.plan_tier, PUBLIC.purpose).tag
    return bool(
        row is not None and row.body is not None and row.kind == "legal" and row.plan == tag and row.rendered_seq == row.head_seq
        and row.valid_until > scene.now_text
    )  # fmt: skip


async def meant_names(scene: Scene, text: str) -> list[str]:
    """Names of public organisations that may have been meant; nothing for what looks like a person's number."""
    if looks_like_citizen_number(text):
        return []
    store = scene.services.store
    query = read_query(text)
    if query.route == "uscc":
        return [code for code, _ in suggest_uscc(text) if await is_public_organisation(scene, code)][:_MEANT]
    tokens = pairs(query.core) or pairs(query.text)
    rows = await search.candidates(store.reads, store.dialect, tokens[:8], every=False, limit=500)
    alike = sorted({(-likeness(query, row.name_norm, row.core), row.shown, row.subject_id) for row in rows})
    return await _still_borne(scene, [(row[1], row[2]) for row in alike if -row[0] >= _LIKE_ENOUGH])


async def _still_borne(scene: Scene, names: Sequence[tuple[str, str]]) -> list[str]:
    """The first of these (name, subject) that the caller is shown now: the index forgets a moment after the register."""
    found: list[str] = []
    ids = [subject_id for _, subject_id in names[:_TRIED]]
    rows = {row.subject_id: row for row in await renderings.subjects_by_ids(scene.services.store.reads, ids)} if ids else {}
    for name, subject_id in names[:_TRIED]:
        row = rows.get(subject_id)
        body = await shown_subject(scene, row) if row is not None else None
        if body is not None and name not in found and bears(DOCUMENT.decode(body), name):
            found.append(name)
        if len(found) == _MEANT:
            break
    return found


def bears(document: Mapping[str, Any], name: str) -> bool:
    """Whether a subject's document, as somebody is shown it, bears this name or once did."""
    return name == document.get("name") or name in (document.get("former_names") or ())

"""Find subjects: by name, by code, or by walking them in order of their opaque id (api.md §7.2, §7.4, §8).

Rules: the index holds what the public may see, organisations only; it finds candidates, the text decides. A household is found by its
whole name or whole code alone: exactly that one row, neither highlighted nor counted. What looks like a citizen number finds
nothing. Each found subject is then shown as the caller's own plans show it. No score leaves.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from msgspec import Struct

from gateway.core.callers.caller import PUBLIC, Caller
from gateway.core.disclosure.query import Query, plan_query
from gateway.core.publication import names
from gateway.core.publication.flat import subject_columns
from gateway.core.publication.forms import forms_of
from gateway.core.publication.labels import label, region_label
from gateway.core.publication.names import Candidate, Hit, NameQuery
from gateway.core.records.identifiers import check_uscc, looks_like_citizen_number, normalise_code, suggest_uscc
from gateway.core.records.model import SubjectKind
from gateway.operations import pages, walking
from gateway.operations.answering import DOCUMENT, ENCODER, Scene, begin, document_answer
from gateway.operations.asking import Answer, Ask
from gateway.operations.live_subject import live_subject
from gateway.operations.planning import subject_envelope
from gateway.services import Services
from gateway.store import renderings, search
from gateway.store.renderings import Condition
from gateway.store.store import Row
from gateway.store.subjects import stored_value, subjects_by_name

_COLUMNS: Mapping[str, str] = {"kind": "kind", "region": "region", "industry": "industry", "status": "status"}
_STEP = 100
_SUGGESTED = 3
_LIKE_ENOUGH = 500
MAX_OFFERS = 10


class _Found(Struct, frozen=True, kw_only=True):
    """What a search found."""

    query: NameQuery
    hits: Sequence[Hit]
    truncated: bool = False
    alone: bool = False
    """A household: one row, no highlight, no count."""


async def find_subjects(services: Services, caller: Caller, ask: Ask) -> Answer:
    """Search subjects by `q`, or walk them.

    Raises InvalidParameter, UnknownParameter, BadCursor, CursorExpired.
    """
    scene = await begin(services, caller, ask.language)
    own, params = pages.own_parameters(ask)
    query = plan_query(params, (), subject_envelope(scene))
    columns = subject_columns(scene.forms.categories)
    facets = _COLUMNS if scene.public and query.q is None else ()
    if query.q is not None:
        columns = (*columns, "matched_on", "highlight")
    form = pages.form_of(ask, query, own, columns, facets=facets)
    if query.q is not None:
        return await _search(scene, ask, form, query)
    return await _browse(scene, ask, form, query)


# --- walking all -------------------------------------------------------------------------------------------------------


def _lists_of(query: Query) -> tuple[str, ...]:
    return tuple(str(value) for each in query.filters if each.field == "list" for value in each.values)


def _conditions(query: Query) -> tuple[tuple[Condition, ...], tuple[walking.Predicate, ...]]:
    conditions, predicates = [], []
    for each in query.filters:
        if each.field == "list":
            continue
        condition = walking.condition_of(each, _COLUMNS[each.field])
        if condition is not None:
            conditions.append(condition)
        else:
            predicates.append(walking.predicate(each))
    return tuple(conditions), tuple(predicates)


async def _browse(scene: Scene, ask: Ask, form: pages.Form, query: Query) -> Answer:
    reads = scene.services.store.reads
    if query.limit is None:
        return pages.export_answer(
            scene, ask, form, _everything(scene, query), ready=ask.format != "csv" and _as_is(scene, form), name="subjects"
        )
    position = ask.pages.position(scene.forms.tag)
    snapshot, version, key, back = scene.head.seq, scene.head.version, None, False
    if position is not None:
        snapshot, version, key, back = position.snapshot, str(position.keys[0]), str(position.keys[-1]), position.back
    rows, more = await _browse_step(scene, query, snapshot=snapshot, key=key, back=back, limit=query.limit or pages.DEFAULT_LIMIT)
    ahead, behind = more, key is not None
    if back:
        rows, ahead, behind = rows[::-1], True, more
    count, facets = None, None
    if scene.public:
        conditions, _ = _conditions(query)
        state: dict[str, Any] = {"plan": scene.forms.tag, "now": scene.now_text, "snapshot": snapshot}
        if form.count != "none":
            number = await renderings.subject_count(reads, conditions, _lists_of(query), **state)
            stopped = number > pages.COUNT_STOP
            count = {"value": pages.COUNT_STOP if stopped else number, "kind": "at_least" if stopped else "exact"}
        if form.facets:
            facets = {
                name: {
                    "values": [
                        facet_value(scene, name, value, number)
                        for value, number in await renderings.subject_facet(reads, conditions, _lists_of(query), _COLUMNS[name], **state)
                        if value
                    ][:30],
                    "timed_out": False,
                }
                for name in form.facets
            }
    return pages.page_answer(
        scene,
        ask,
        form,
        [body for _, body in rows],
        version=version,
        snapshot=snapshot,
        first=(rows[0][0],) if rows and behind else None,
        last=(rows[-1][0],) if rows and ahead else None,
        count=count,
        facets=facets,
    )


def facet_value(scene: Scene, name: str, value: str, number: int) -> dict[str, Any]:
    """One value of a facet with its label and count."""
    if name == "region":
        word = region_label(value, scene.language)
    elif name in ("kind", "status"):
        word = label("subject_kind" if name == "kind" else "status", value, scene.language)
    else:
        word = value
    return {"value": value, "label": word, "count": number}


def _as_is(scene: Scene, form: pages.Form) -> bool:
    return form.plain and scene.language == "zh-CN"


async def _browse_step(
    scene: Scene, query: Query, *, snapshot: int, key: str | None, back: bool, limit: int
) -> tuple[list[tuple[str, bytes]], bool]:
    """At most `limit` shown subjects after a key, and whether more follow."""
    conditions, predicates = _conditions(query)
    lists = _lists_of(query)
    found: list[tuple[str, bytes]] = []
    size = limit + 1 if scene.public and not predicates else max(_STEP, limit + 1)
    while True:
        if scene.public:
            rows = await renderings.subject_page(
                scene.services.store.reads,
                conditions,
                lists,
                plan=scene.forms.tag,
                now=scene.now_text,
                snapshot=snapshot,
                limit=size,
                key=key,
                back=back,
            )
        else:
            rows = await renderings.all_subjects(scene.services.store.reads, limit=size, key=key, back=back)
        for subject_id, body in await _bodies(scene, rows, query, predicates):
            if len(found) == limit:
                return found, True
            found.append((subject_id, body))
        if len(rows) < size:
            return found, False
        key = rows[-1].subject_id


async def _bodies(scene: Scene, rows: Sequence[Row], query: Query, predicates: Sequence[walking.Predicate]) -> list[tuple[str, bytes]]:
    """The shown documents of these subjects, in their order; what was made anew, or for a bound tier, must meet the filters."""
    found = []
    listed: set[str] | None = None
    for row in rows:
        true = scene.public and row.fresh
        body: bytes | None = row.payload if true else None
        if not true:
            subject = await renderings.subject_by_id(scene.services.store.reads, row.subject_id)
            made = await live_subject(scene, subject) if subject is not None else None
            body = made[0] if made is not None else None
        if body is None:
            continue
        checks = predicates if true else [*predicates, *_all_predicates(query)]
        if checks:
            document = DOCUMENT.decode(body)
            if not all(holds(document) for holds in checks):
                continue
        if not true and _lists_of(query):
            if listed is None:
                listed = await _listed(scene, [each.subject_id for each in rows], query)
            if row.subject_id not in listed:
                continue
        found.append((row.subject_id, body))
    return found


def _all_predicates(query: Query) -> list[walking.Predicate]:
    return [walking.predicate(each) for each in query.filters if each.field != "list"]


async def _listed(scene: Scene, ids: Sequence[str], query: Query) -> set[str]:
    """Which of these subjects stand on the lists asked for, as everybody may see."""
    tag = forms_of(scene.policies, PUBLIC.plan_tier, PUBLIC.purpose).tag
    return await renderings.listed(scene.services.store.reads, ids, _lists_of(query), plan=tag, now=scene.now_text)


async def _everything(scene: Scene, query: Query) -> AsyncIterator[list[bytes]]:
    """All subjects, in steps of one snapshot for the public."""
    conditions, predicates = _conditions(query)
    if scene.public:
        steps = renderings.subject_export(
            scene.services.store.reads, conditions, _lists_of(query), plan=scene.forms.tag, now=scene.now_text, snapshot=scene.head.seq
        )
        async for rows in steps:
            if not predicates and all(row.fresh for row in rows):
                yield [row.payload for row in rows]
            else:
                yield [body for _, body in await _bodies(scene, rows, query, predicates)]
        return
    key: str | None = None
    more = True
    while more:
        found, more = await _browse_step(scene, query, snapshot=scene.head.seq, key=key, back=False, limit=1000)
        yield [body for _, body in found]
        key = found[-1][0] if found else None


# --- searching ---------------------------------------------------------------------------------------------------------


async def _search(scene: Scene, ask: Ask, form: pages.Form, query: Query) -> Answer:
    """One page of what a name or code finds, best first."""
    found = await look_up(scene, query.q or "")
    position = ask.pages.position(scene.forms.tag)
    snapshot, version = scene.head.seq, scene.head.version
    after: tuple[Any, ...] | None = None
    if position is not None:
        snapshot, version, after = position.snapshot, str(position.keys[0]), tuple(position.keys[1:])
    hits = list(found.hits)
    back = position is not None and position.back
    if after is not None:
        hits = [hit for hit in hits if hit.order < after][::-1] if back else [hit for hit in hits if hit.order > after]
    limit = names.MAX_CANDIDATES if query.limit is None else query.limit or pages.DEFAULT_LIMIT
    rows, more = await _shown(scene, found, hits, query, limit)
    ahead, behind = more, after is not None
    if back:
        rows, ahead, behind = rows[::-1], True, more
    notice: dict[str, Any] | None = None
    if found.truncated:
        notice = {"code": "search-truncated"}
    elif not rows and position is None:
        notice = {"code": "no-results", "suggestions": await _suggestions(scene, query.q or "")}
    bodies = [body for _, body in rows]
    if query.limit is None:
        return pages.export_answer(
            scene,
            ask,
            form,
            _one_step(bodies),
            ready=ask.format != "csv" and _as_is(scene, form),
            name="subjects",
            notice=notice,
            truncated=found.truncated or more,
        )
    count = None
    if form.count != "none" and not found.alone and scene.public:
        passing, _ = await _shown(scene, found, found.hits, query, names.MAX_CANDIDATES)
        count = {"value": len(passing), "kind": "at_least" if found.truncated else "exact"}
    return pages.page_answer(
        scene,
        ask,
        form,
        bodies,
        version=version,
        snapshot=snapshot,
        first=rows[0][0].order if rows and behind else None,
        last=rows[-1][0].order if rows and ahead else None,
        count=count,
        notice=notice,
    )


async def _one_step(bodies: list[bytes]) -> AsyncIterator[list[bytes]]:
    yield bodies


async def _shown(scene: Scene, found: _Found, hits: Sequence[Hit], query: Query, limit: int) -> tuple[list[tuple[Hit, bytes]], bool]:
    """The documents of the first hits that the caller may see and that meet the filters, and whether more follow."""
    checks = _all_predicates(query)
    lists = _lists_of(query)
    rows: list[tuple[Hit, bytes]] = []
    for start in range(0, len(hits), _STEP):
        some = hits[start : start + _STEP]
        ids = [hit.subject_id for hit in some]
        entries = {row.subject_id: row for row in await renderings.subjects_by_ids(scene.services.store.reads, ids)}
        listed = await _listed(scene, ids, query) if lists else None
        for hit in some:
            row = entries.get(hit.subject_id)
            if row is None or (listed is not None and hit.subject_id not in listed):
                continue
            body = await _body(scene, row)
            if body is None or (checks and not all(holds(DOCUMENT.decode(body)) for holds in checks)):
                continue
            if len(rows) == limit:
                return rows, True
            rows.append((hit, _with_match(found, hit, body)))
    return rows, False


async def _body(scene: Scene, row: Row) -> bytes | None:
    if scene.public and row.plan == scene.forms.tag and row.rendered_seq == row.head_seq and row.valid_until > scene.now_text:
        return row.body if row.body is None else bytes(row.body)
    made = await live_subject(scene, row)
    return made[0] if made is not None else None


def _with_match(found: _Found, hit: Hit, body: bytes) -> bytes:
    """The document, saying what matched and where; a household's says nothing of the sort."""
    if found.alone:
        return body
    marks = names.highlight(found.query, hit.shown) if hit.matched_on in ("name", "former_name") else []
    said: dict[str, Any] = {"matched_on": hit.matched_on, "highlight": marks}
    if hit.matched_on == "former_name":
        said["matched_text"] = hit.shown
    return body[:-1] + b"," + ENCODER.encode(said)[1:]


async def look_up(scene: Scene, text: str) -> _Found:
    """What a name or code finds, best first.

    Raises InvalidParameter for a text without a letter, or of more than 128 characters.
    """
    query = names.read_query(text)
    if not 1 <= len(query.text) <= names.MAX_QUERY:
        raise pages.invalid("q", "应有 1 至 128 个字符")
    if looks_like_citizen_number(text):
        return _Found(query=query, hits=())
    by_code = await _by_code(scene, text, query)
    if by_code is not None:
        return by_code
    household = await _household(scene, query.text)
    if household is not None:
        return _Found(query=query, hits=(household,), alone=True)
    return await _by_name(scene, query)


async def _by_code(scene: Scene, text: str, query: NameQuery) -> _Found | None:
    """The subject whose whole code this is; None when it is none, so that it may be a name."""
    if query.route not in ("uscc", "org_code", "reg_no"):
        return None
    code = normalise_code(text)
    if query.route == "uscc" and not check_uscc(code).valid:
        return None
    kind: SubjectKind = "individual_business" if query.route == "uscc" and code.startswith("92") else "legal"
    if not _may_look_up(scene, query.route, kind):
        return None
    reads, vault = scene.services.store.reads, scene.services.store.vault
    row = await renderings.subject_by_key(reads, query.route, stored_value(vault, query.route, code, kind))
    if row is None or row.kind != kind:
        return _Found(query=query, hits=()) if query.route == "uscc" else None
    hit = Hit(subject_id=row.subject_id, matched_on=query.route, shown=code, order=(0, 0, 0, row.subject_id))
    return _Found(query=query, hits=(hit,), alone=kind == "individual_business")


def _may_look_up(scene: Scene, field: str, kind: SubjectKind) -> bool:
    """Whether some plan of the caller finds subjects of this kind by the whole value of a field."""
    plans = [plan for held in scene.forms.plan_sets.values() if (plan := held.plans.get(kind)) is not None]
    return any(plan.can(field, "lookup") or plan.can(field, "filter") for plan in plans)


async def _household(scene: Scene, norm: str) -> Hit | None:
    """The household whose whole name this is, if there is just one and a plan lets it be found so."""
    if not _may_look_up(scene, "name", "individual_business"):
        return None
    found = await subjects_by_name(scene.services.store.reads, norm)
    if len(found) != 1:
        return None
    row = await renderings.subject_by_id(scene.services.store.reads, found[0].subject_id)
    if row is None or await _body(scene, row) is None:
        return None
    return Hit(subject_id=found[0].subject_id, matched_on="name", shown="", order=(0, 0, 0, found[0].subject_id))


def _candidate(row: Row) -> Candidate:
    return Candidate(
        subject_id=row.subject_id,
        role=row.role,
        shown=row.shown,
        name_norm=row.name_norm,
        core=row.core,
        tokens=row.tokens,
        cancelled=row.status == "cancelled",
    )


async def _by_name(scene: Scene, query: NameQuery) -> _Found:
    store = scene.services.store
    rows = await search.exact(store.reads, query.text, limit=names.MAX_CANDIDATES)
    hits: list[Hit] = []
    truncated = False
    for group in query.asked:
        more = await search.candidates(store.reads, store.dialect, group, every=True, limit=names.MAX_CANDIDATES + 1)
        truncated = truncated or len(more) > names.MAX_CANDIDATES
        rows = [*rows, *more[: names.MAX_CANDIDATES]]
        hits = names.rank(query, map(_candidate, rows), capped=truncated)
        if hits and query.route not in ("character", "spoken"):
            break
    if not hits and query.loose:
        rows = await search.candidates(store.reads, store.dialect, query.loose, every=False, limit=5 * names.MAX_CANDIDATES)
        hits = names.rank(query, map(_candidate, rows))
    return _Found(query=query, hits=hits[: names.MAX_CANDIDATES], truncated=truncated or len(hits) > names.MAX_CANDIDATES)


async def _suggestions(scene: Scene, text: str) -> list[str]:
    """Names of public organisations that may have been meant; nothing for what looks like a person's number."""
    if looks_like_citizen_number(text):
        return []
    store = scene.services.store
    query = names.read_query(text)
    if query.route == "uscc":
        known = []
        for code, _ in suggest_uscc(text):
            row = await renderings.subject_by_key(store.reads, "uscc", code)
            if row is not None and row.kind == "legal" and row.body is not None:
                known.append(code)
        return known[:_SUGGESTED]
    tokens = names.pairs(query.core) or names.pairs(query.text)
    rows = await search.candidates(store.reads, store.dialect, tokens[:8], every=False, limit=500)
    alike = sorted({(-names.likeness(query, row.name_norm, row.core), row.shown) for row in rows})
    return [shown for score, shown in alike if -score >= _LIKE_ENOUGH][:_SUGGESTED]


# --- offers while somebody types ---------------------------------------------------------------------------------------


async def suggest(services: Services, caller: Caller, ask: Ask) -> Answer:
    """At most ten offers for what has been typed: subjects, datasets, fields."""
    scene = await begin(services, caller, ask.language)
    text = ask.params.get("q", "")
    limit = ask.params.get("limit", str(MAX_OFFERS))
    if not (limit.isascii() and limit.isdigit() and 1 <= int(limit) <= MAX_OFFERS):
        raise pages.invalid("limit", "应为 1 至 10 的整数")
    kinds = (ask.params["kind"],) if "kind" in ask.params else ("subject", "dataset", "field")
    if not 1 <= len(names.normalise(text)) <= names.MAX_QUERY:
        raise pages.invalid("q", "应有 1 至 128 个字符")
    items: list[dict[str, Any]] = []
    if "subject" in kinds:
        items.extend(await _subject_offers(scene, text, int(limit)))
    norm = names.normalise(text)
    for name, held in sorted(scene.forms.plan_sets.items()):
        described = scene.policies.catalogue.datasets[held.dataset]
        if "dataset" in kinds and norm in names.normalise(described.label + name):
            items.append({"kind": "dataset", "text": described.label, "id": name, "matched_on": "label"})
        if "field" in kinds:
            items.extend(
                {"kind": "field", "text": described.fields[field].label, "id": f"{name}.{field}", "matched_on": "label"}
                for field in held.shown
                if norm in names.normalise(described.fields[field].label)
            )
    return document_answer(scene, {"items": items[: int(limit)], "policy_version": scene.forms.version})


async def _subject_offers(scene: Scene, text: str, limit: int) -> list[dict[str, Any]]:
    found = await look_up(scene, text)
    if found.alone:  # a household is never offered
        return []
    rows, _ = await _shown(scene, found, found.hits, Query(), limit)
    offers = []
    for hit, body in rows:
        document = DOCUMENT.decode(body)
        offer = {
            "kind": "subject",
            "text": document.get("name"),
            "id": hit.subject_id,
            "uscc": document.get("uscc"),
            "matched_on": hit.matched_on,
        }
        offers.append({key: value for key, value in offer.items() if value is not None})
    return offers

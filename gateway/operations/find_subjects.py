"""Find subjects: by name, by code, or by walking them in order of their opaque id (api.md §7.2, §7.4, §8).

Rules: the index holds what the public may see, organisations only; it finds candidates, the text decides. A household is found by its
whole name or whole code alone: exactly that one row, neither highlighted nor counted. What looks like a citizen number finds
nothing. Each found subject is then shown as the caller's own plans show it. No score leaves.
"""

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from msgspec import Struct, structs

from gateway.core.callers.caller import PUBLIC, Caller
from gateway.core.disclosure.query import Query, plan_query, question
from gateway.core.publication.flat import subject_columns
from gateway.core.publication.forms import forms_of
from gateway.core.publication.searching import MAX_CANDIDATES, Hit, highlight
from gateway.operations import exports, owing, pages
from gateway.operations.answering import DOCUMENT, ENCODER, Scene, begin, refuse_ended
from gateway.operations.asking import Answer, Ask
from gateway.operations.effort import MADE_ANEW
from gateway.operations.filtering import Predicate, condition_of, predicate
from gateway.operations.live_records import PORTION, live_subject, live_subjects
from gateway.operations.look_up import Found, bears, look_up, meant_names
from gateway.operations.planning import subject_envelope
from gateway.operations.reaching import owed_of
from gateway.operations.record_access import shape_of
from gateway.operations.row_forms import Form
from gateway.operations.row_steps import after
from gateway.services import Services
from gateway.store import renderings, walks
from gateway.store.conditions import Condition
from gateway.store.store import Row
from gateway.store.walks import Ahead

_COLUMNS: Mapping[str, str] = {"kind": "kind", "region": "region", "industry": "industry", "status": "status"}
_TABLES: Mapping[str, str] = {"kind": "subject_kind", "status": "status"}
"""Tables of words for codes of subjects."""
_STEP = 100
_PLAIN = frozenset({"q", "limit"})


async def find_subjects(services: Services, caller: Caller, ask: Ask) -> Answer:
    """Search subjects by `q`, or walk them.

    Raises InvalidParameter, UnknownParameter, BadCursor, CursorExpired, PolicyExpired.
    """
    scene = await begin(services, caller, ask.language)
    query, form = _read(scene, ask)
    # the public browses organisations alone; by its whole name or code it may meet a household too
    refuse_ended(scene, kinds=("legal",) if scene.public and query.q is None else None)
    if query.q is not None:
        return await _searched(scene, ask, form, query)
    return await _browse(scene, ask, form, query)


def _read(scene: Scene, ask: Ask) -> tuple[Query, Form]:
    """What is asked, and how the answer looks; but for its text a plain search is read once for each size of its pages."""
    plain = "q" in ask.params and ask.params.keys() <= _PLAIN
    key = ("plain-search", ask.params.get("limit"))
    known: tuple[Query, Form] | None = scene.forms.remembered.get(key) if plain else None
    if known is not None:
        query, form = known
        return structs.replace(query, q=question(ask.params["q"])), form
    own, params = pages.own_parameters(ask)
    query = plan_query(params, (), subject_envelope(scene))
    columns = subject_columns(scene.forms.categories)
    facets = _COLUMNS if scene.public else ()
    if query.q is not None:
        columns = (*columns, "matched_on", "highlight")
    form = pages.form_of(ask, query, own, columns, facets=facets)
    if plain and (query.limit is None or ask.params.get("limit") in (None, str(query.limit))):
        scene.forms.remembered[key] = structs.replace(query, q=None), form
    return query, form


# --- walking all -------------------------------------------------------------------------------------------------------


def _lists_of(query: Query) -> tuple[str, ...]:
    return tuple(str(value) for each in query.filters if each.field == "list" for value in each.values)


def _conditions(query: Query) -> tuple[tuple[Condition, ...], tuple[Predicate, ...]]:
    conditions, predicates = [], []
    for each in query.filters:
        if each.field == "list":
            continue
        condition = condition_of(each, _COLUMNS[each.field])
        if condition is not None:
            conditions.append(condition)
        else:
            predicates.append(predicate(each))
    return tuple(conditions), tuple(predicates)


async def _browse(scene: Scene, ask: Ask, form: Form, query: Query) -> Answer:
    reads = scene.services.store.reads
    if query.limit is None:
        scene.effort.take_your_time()
        ready = ask.format != "csv" and _as_is(scene, form)
        told = Ahead() if ask.format == "msgpack" and scene.public and not _conditions(query)[1] else None
        steps = await _exported(scene, query, _everything(scene, query, told))
        return exports.export_answer(scene, ask, form, steps, ready=ready, name="subjects", ahead=told)
    position = ask.pages.position(scene.forms.tag)
    snapshot, version, key, back = scene.head.seq, scene.head.version, None, False
    if position is not None:
        snapshot, version, key, back = position.snapshot, str(position.keys[0]), str(position.keys[-1]), position.back
    limit = owing.most_of_a_page(owed_of(scene.forms), query.limit or pages.DEFAULT_LIMIT)
    rows, more = await _browse_step(scene, query, snapshot=snapshot, key=key, back=back, limit=limit)
    ahead, behind = more, key is not None
    if back:
        rows, ahead, behind = rows[::-1], True, more
    count, facets = None, None
    if scene.public:
        conditions, _ = _conditions(query)
        state: dict[str, Any] = {"plan": scene.forms.tag, "now": scene.now_text, "snapshot": snapshot}
        if form.count != "none":
            number = await walks.subject_count(reads, conditions, _lists_of(query), **state)
            stopped = number > pages.COUNT_STOP
            count = {"value": pages.COUNT_STOP if stopped else number, "kind": "at_least" if stopped else "exact"}
        if form.facets:
            facets = {
                name: _facet(scene, name, await walks.subject_facet(reads, conditions, _lists_of(query), _COLUMNS[name], **state))
                for name in form.facets
            }
    bodies = [body for _, body in rows]
    await owing.pay(scene, owed_of(scene.forms), shape_of(query), bodies)
    return pages.page_answer(
        scene,
        ask,
        form,
        bodies,
        version=version,
        snapshot=snapshot,
        first=(rows[0][0],) if rows and behind else None,
        last=(rows[-1][0],) if rows and ahead else None,
        count=count,
        facets=facets,
    )


def _facet(scene: Scene, name: str, numbers: Sequence[tuple[str | None, int]]) -> dict[str, Any]:
    """Values of a column of subjects, most first."""
    told = [(value, number) for value, number in numbers if value][: pages.FACET_VALUES]
    return {"values": [pages.facet_value(scene, name, value, number, tables=_TABLES) for value, number in told], "timed_out": False}


async def _exported(scene: Scene, query: Query, steps: AsyncIterator[list[bytes]]) -> AsyncIterator[Sequence[bytes]]:
    """The steps of an export; of a bound caller at most as many rows as its plans give at once, and paid for."""
    return await owing.paid(scene, owed_of(scene.forms), shape_of(query), steps)


def _as_is(scene: Scene, form: Form) -> bool:
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
            rows = await walks.subject_page(
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
            rows = await walks.all_subjects(scene.services.store.reads, gates=scene.gates, limit=size, key=key, back=back)
        await scene.effort.looked_at(len(rows))
        for subject_id, body in await _bodies(scene, rows, query, predicates):
            if len(found) == limit:
                return found, True
            found.append((subject_id, body))
        if len(rows) < size:
            return found, False
        key = rows[-1].subject_id


async def _bodies(scene: Scene, rows: Sequence[Row], query: Query, predicates: Sequence[Predicate]) -> list[tuple[str, bytes]]:
    """The shown documents of these subjects, in their order; what was made anew, or for a bound tier, must meet the filters."""
    found = []
    listed: set[str] | None = None
    anew = await _made_anew(scene, [row.subject_id for row in rows if not (scene.public and row.fresh)])
    for row in rows:
        true = scene.public and row.fresh
        body: bytes | None = row.payload if true else anew.get(row.subject_id)
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


async def _made_anew(scene: Scene, ids: Sequence[str]) -> dict[str, bytes]:
    """The documents of these subjects as the caller is shown them now, a portion of them with each statement."""
    made: dict[str, bytes] = {}
    for at in range(0, len(ids), PORTION):
        rows = await renderings.subjects_by_ids(scene.services.store.reads, ids[at : at + PORTION])
        await scene.effort.looked_at(MADE_ANEW * len(rows))
        made |= {subject_id: body for subject_id, (body, _) in (await live_subjects(scene, rows)).items()}
    return made


class _Stale(Struct, frozen=True, kw_only=True):
    """A subject that is to be made anew."""

    subject_id: str
    fresh: bool = False


def _all_predicates(query: Query) -> list[Predicate]:
    return [predicate(each) for each in query.filters if each.field != "list"]


async def _listed(scene: Scene, ids: Sequence[str], query: Query) -> set[str]:
    """Which of these subjects stand on the lists asked for, as everybody may see."""
    tag = forms_of(scene.policies, PUBLIC.plan_tier, PUBLIC.purpose).tag
    return await walks.listed(scene.services.store.reads, ids, _lists_of(query), plan=tag, now=scene.now_text)


async def _everything(scene: Scene, query: Query, ahead: Ahead | None = None) -> AsyncIterator[list[bytes]]:
    """All subjects, in steps of one snapshot for the public.

    `ahead` is told their number after an empty step, which says that the first of them are read.
    """
    conditions, predicates = _conditions(query)
    if scene.public:
        steps = walks.subject_export(
            scene.services.store.reads,
            conditions,
            _lists_of(query),
            plan=scene.forms.tag,
            now=scene.now_text,
            snapshot=scene.head.seq,
            ahead=ahead is not None,
        )
        made: dict[str, bytes] | None = None
        if ahead is not None:
            first: list[Row] = await anext(steps)
            yield []
            if (told := await walks.told_ahead(steps)) is not None:
                number, stale = told
                made = dict(await _bodies(scene, [_Stale(subject_id=each) for each in stale], query, predicates))
                ahead.rows = number - len(stale) + len(made)
            steps = after(first, steps)
        async for rows in steps:
            if not predicates and all(row.fresh for row in rows):
                yield [row.payload for row in rows]
            elif made is not None:
                yield [body for row in rows if (body := row.payload if row.fresh else made.get(row.subject_id)) is not None]
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


async def _searched(scene: Scene, ask: Ask, form: Form, query: Query) -> Answer:
    """One page of what a name or code finds, best first.

    Nothing of it is kept: an answer that came sooner for having been asked before would tell who else asks (channel 29).
    """
    position = ask.pages.position(scene.forms.tag)
    owed = owed_of(scene.forms)
    limit = owing.most_of_a_page(owed, MAX_CANDIDATES if query.limit is None else query.limit or pages.DEFAULT_LIMIT)
    first = position is None and query.limit is not None and not query.filters and form.count == "none" and not form.facets
    found = await look_up(scene, query.q or "", limit if first else None)
    snapshot, version = scene.head.seq, scene.head.version
    after: tuple[Any, ...] | None = None
    if position is not None:
        snapshot, version, after = position.snapshot, str(position.keys[0]), tuple(position.keys[1:])
    hits = list(found.hits)
    back = position is not None and position.back
    if after is not None:
        hits = [hit for hit in hits if hit.order < after][::-1] if back else [hit for hit in hits if hit.order > after]
    rows, more = await shown_hits(scene, found, hits, query, limit)
    if not more and not found.whole:  # some of the first are not shown
        found = await look_up(scene, query.q or "")
        rows, more = await shown_hits(scene, found, found.hits, query, limit)
    ahead, behind = more, after is not None
    if back:
        rows, ahead, behind = rows[::-1], True, more
    notice: dict[str, Any] | None = None
    if found.truncated:
        notice = {"code": "search-truncated"}
    elif not rows and position is None:
        notice = {"code": "no-results", "suggestions": await meant_names(scene, query.q or "")}
    bodies = [body for _, body in rows]
    await owing.pay(scene, owed, shape_of(query), bodies)
    if query.limit is None:
        return exports.export_answer(
            scene,
            ask,
            form,
            owing.at_once([bodies]),
            ready=ask.format != "csv" and _as_is(scene, form),
            name="subjects",
            notice=notice,
            truncated=found.truncated or more,
            ahead=Ahead(len(bodies)),
        )
    count, facets = None, None
    if (form.count != "none" or form.facets) and not found.alone and scene.public:
        passing, _ = await shown_hits(scene, found, found.hits, query, MAX_CANDIDATES)
        if form.count != "none":
            count = {"value": len(passing), "kind": "at_least" if found.truncated else "exact"}
        documents = [DOCUMENT.decode(body) for _, body in passing] if form.facets else []
        facets = {name: _facet(scene, name, _most_first(documents, name)) for name in form.facets} or None
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
        facets=facets,
        notice=notice,
    )


def _most_first(documents: Sequence[Mapping[str, Any]], name: str) -> list[tuple[str, int]]:
    """The values of one name of shown documents with how many have each, in the order in which the database tells a column's."""
    numbers = Counter(str(value) for document in documents if (value := document.get(name)) is not None)
    return sorted(numbers.items(), key=lambda each: (-each[1], each[0]))


async def shown_hits(
    scene: Scene, found: Found, hits: Sequence[Hit], query: Query, limit: int
) -> tuple[list[tuple[Hit, bytes]], bool]:
    """The documents of the first hits that the caller may see and that meet the filters, and whether more follow."""
    checks = _all_predicates(query)
    store, lists = scene.services.store, _lists_of(query)
    tag, now = (scene.forms.tag, scene.now_text) if scene.public else ("", "")  # what a bound caller is shown is made for it
    rows: list[tuple[Hit, bytes]] = []
    looked_at = 0
    while looked_at < len(hits):
        some = hits[looked_at : looked_at + min(_STEP, limit + 1 - len(rows))]
        looked_at += len(some)
        ids = [hit.subject_id for hit in some]
        entries = {row.subject_id: row for row in await renderings.shown_by_ids(store.reads, store.dialect, ids, plan=tag, now=now)}
        listed = await _listed(scene, ids, query) if lists else None
        for hit in some:
            row = entries.get(hit.subject_id)
            if row is None or (listed is not None and hit.subject_id not in listed):
                continue
            body: bytes | None = row.body
            if not row.fresh:  # nearly all are
                made = await live_subject(scene, row)
                body = None if made is None else made[0]
            if body is None or (checks and not all(holds(DOCUMENT.decode(body)) for holds in checks)):
                continue
            if len(rows) == limit:
                return rows, True
            rows.append((hit, with_match(found, hit, body)))
    return rows, False


def matched_at(start: int, end: int) -> bytes:
    """What takes the place of the last brace of a document that is found by its name, which holds the text once, from here to there."""
    return b',"matched_on":"name","highlight":[[%d,%d]]}' % (start, end)


def with_match(found: Found, hit: Hit, body: bytes) -> bytes:
    """The document, saying what matched and where; a household's says nothing of the sort."""
    if found.alone:
        return body
    marks = highlight(found.query, hit.shown, hit.norm) if hit.matched_on not in ("uscc", "org_code", "reg_no") else []
    if hit.matched_on == "name" and len(marks) == 1:  # nearly always; as the encoder writes it
        return body[:-1] + matched_at(marks[0][0], marks[0][1])
    said: dict[str, Any] = {"matched_on": hit.matched_on, "highlight": marks}
    if hit.matched_on == "former_name" and bears(DOCUMENT.decode(body), hit.shown):  # the index forgets a moment after the register
        said["matched_text"] = hit.shown
    return body[:-1] + b"," + ENCODER.encode(said)[1:]

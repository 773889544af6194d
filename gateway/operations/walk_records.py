"""Walk records or listings: a page, or all of them, as the caller asked and as its plans allow.

Rules: what may be asked is planned first; then rows come from the read model (the public) or live (bound tiers). An export gives the
rendered bytes themselves wherever nothing has to be done to them. Counts over what may hold persons are never exact. This story must
not widen what its caller fixed.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from typing import Any

from msgspec import structs

from gateway.core.disclosure.counts import told_count, told_facet
from gateway.core.disclosure.obligations import Obligations
from gateway.core.disclosure.query import FieldInfo, Query, facets_of, plan_query
from gateway.core.publication import flat
from gateway.core.publication.forms import bulk_document, kind_of_form
from gateway.core.records.catalogue import ListDef
from gateway.core.records.model import SUBJECT_KINDS, DatasetId, SubjectId, SubjectKind
from gateway.operations import exports, owing, pages, rows_in_files, walking
from gateway.operations.answering import DOCUMENT, Scene, alike, refuse_ended
from gateway.operations.asking import Answer, Ask
from gateway.operations.filtering import Plan, passes, path_value, plan_walk
from gateway.operations.pages import form_of, own_parameters
from gateway.operations.planning import envelope_of, types_of
from gateway.operations.reaching import owed_of
from gateway.operations.record_access import shape_of
from gateway.operations.row_forms import Form
from gateway.operations.row_steps import after
from gateway.store import walks
from gateway.store.conditions import Condition, Payload
from gateway.store.reads import Made
from gateway.store.store import Row
from gateway.store.walks import Ahead

_RECORD_FACETS: Mapping[str, str] = {
    "kind": "category", "dataset": "dataset", "region": "region", "severity": "severity", "source": "source",
}  # fmt: skip

_TABLES: Mapping[str, str] = {"kind": "kind", "severity": "severity"}
"""Tables of words for what every record has."""
FACET_ROWS = 5000
"""A facet that no column of the read model answers looks at so many rows; where there are more, nothing is told. A number of rows and
no time, so that equal questions get equal answers."""
_SENT = 1 << 18
"""Bytes of an export from which on they are sent: smaller pieces cost more each, larger ones more memory."""


async def walk_records(
    scene: Scene, ask: Ask, *, fixed: Sequence[Condition], subject: SubjectId | None = None, listing: ListDef | None = None, name: str
) -> Answer:
    """A page of records or listings, or all of them."""
    walk = partial(_walk, scene, ask, fixed=fixed, subject=subject, listing=listing, name=name)
    return await alike(scene, ask, walk, of=(subject, listing and listing.id, tuple(fixed), name))


async def _walk(
    scene: Scene, ask: Ask, *, fixed: Sequence[Condition], subject: SubjectId | None, listing: ListDef | None, name: str
) -> Answer:
    own, params = own_parameters(ask)
    plan_sets = tuple(scene.forms.plan_sets.values()) if listing is None else (scene.forms.plan_sets[listing.dataset],)
    query = plan_query(params, plan_sets, envelope_of(scene, listing=listing is not None))
    chosen = _datasets_of(query, scene, listing)
    refuse_ended(scene, chosen, _kinds(fixed))
    bulk = query.limit is None
    columns = scene.forms.columns(chosen, listing=listing is not None, bulk=bulk)
    may = facets_of(params, plan_sets, envelope_of(scene, listing=listing is not None))
    form = form_of(ask, query, own, columns, facets=may)
    plan = plan_walk(
        scene,
        query,
        types_of(scene, chosen, listing=listing is not None),
        fixed=fixed,
        listing=listing is not None,
    )
    source = walking.source_of(scene, subject)
    owed = owed_of(scene.forms, tuple(chosen))
    shape = shape_of(query)
    if bulk:
        scene.effort.take_your_time()
        return await _export(scene, ask, form, plan, source, chosen, owed=owed, shape=shape, name=name)
    position = ask.pages.position(scene.forms.tag)
    snapshot, version, keys, back = walking.snapshot_of(scene), scene.head.version, None, False
    if position is not None:
        snapshot, back = position.snapshot, position.back
        version, keys = str(position.keys[0]), tuple(str(key) for key in position.keys[1:])
    limit = owing.most_of_a_page(owed, query.limit or pages.DEFAULT_LIMIT)
    rows, more = await walking.walk(source, plan, keys=keys, back=back, limit=limit, snapshot=snapshot)
    ahead, behind = more, keys is not None
    if back:
        rows, ahead, behind = rows[::-1], True, more
    count = await _count(scene, form, plan, source, snapshot, owed)
    facets = await _facets(scene, form, plan, source, chosen, snapshot, owed, may) if form.facets else None
    bodies = [row.body for row in rows if row.body is not None]
    await owing.pay(scene, owed, shape, bodies, datasets=chosen)
    return pages.page_answer(
        scene,
        ask,
        form,
        bodies,
        version=version,
        snapshot=snapshot,
        first=rows[0].keys if rows and behind else None,
        last=rows[-1].keys if rows and ahead else None,
        count=count,
        facets=facets,
        datasets=tuple(chosen),
        more_links=_described(scene, ask, form, chosen, listing=listing is not None),
    )


def _described(scene: Scene, ask: Ask, form: Form, chosen: Sequence[str], *, listing: bool) -> tuple[tuple[str, str], ...]:
    """The link to a CSVW description, of a CSV whose very columns it describes."""
    if ask.format != "csv" or ask.excel or listing or len(chosen) != 1 or form.columns != tuple(scene.forms.columns(chosen, bulk=True)):
        return ()
    return (("describedby", f"{scene.origin}/v1/datasets/{chosen[0]}/csv-metadata.json"),)


def _datasets_of(query: Query, scene: Scene, listing: ListDef | None) -> list[str]:
    """The datasets that an answer may hold rows of."""
    if listing is not None:
        return [listing.dataset]
    for each in query.filters:
        if each.field == "dataset":
            return sorted({str(value) for value in each.values} & scene.forms.plan_sets.keys())
    return sorted(scene.forms.plan_sets)


def _kinds(fixed: Sequence[Condition]) -> tuple[SubjectKind, ...]:
    """The kinds of subject among the rows: in bulk to everybody organisations alone."""
    return ("legal",) if any(each.column == "bulk" for each in fixed) else SUBJECT_KINDS


async def _export(
    scene: Scene,
    ask: Ask,
    form: Form,
    plan: Plan,
    source: walking.Source,
    chosen: Sequence[str],
    *,
    owed: Obligations,
    shape: str,
    name: str,
) -> Answer:
    """All rows: the rendered bytes themselves where nothing has to be done to them.

    A bound caller gets at most as many as its plans give at once, and each step is paid for before it leaves.
    """
    links = _described(scene, ask, form, chosen, listing=plan.listing)
    kinds = _kinds(plan.conditions)
    form = structs.replace(form, alike=len(chosen) == 1 and len(kinds) == 1)
    if any(scene.forms.by_dataset[each].withheld.get(kind) for each in chosen for kind in kinds):
        form = structs.replace(form, withheld=partial(bulk_document, scene.forms))
    in_order = isinstance(source, walking.Rendered) and not plan.sorting
    as_rendered = in_order and scene.language == "zh-CN"
    lines_ready = as_rendered and ask.format == "csv" and len(chosen) == 1 and not ask.excel and (scene.caller.shared or not form.fields)
    plain = as_rendered and ask.format != "csv" and form.plain
    if in_order and ask.format not in rows_in_files.FILES and (lines_ready or plain or scene.caller.shared):
        write = exports.writing(scene, ask, form, ready=lines_ready)
        if lines_ready and form.fields:
            write = flat.Picked(scene.forms.columns(chosen, listing=plan.listing, bulk=True), form.columns).lines
        parts = _written(scene, plan, write, csv=lines_ready)
        return exports.written_answer(scene, ask, form, parts, name=name, datasets=tuple(chosen), links=links)
    if in_order and ask.format in rows_in_files.FILES:  # each row is shaped on its way into the file
        ahead = Ahead()
        rendered = _rendered_steps(scene, plan, ahead=ahead if ask.format == "msgpack" and not plan.predicates else None)
        if ask.format == "xlsx":
            rendered = rows_in_files.fitting(scene, form, plan.conditions, "listing" if plan.listing else "body", rendered, ahead)
        return exports.export_answer(scene, ask, form, rendered, ready=False, name=name, datasets=tuple(chosen), ahead=ahead)
    steps: AsyncIterator[Sequence[bytes]]
    steps = _rendered_steps(scene, plan) if in_order else walking.everything(source, plan, snapshot=walking.snapshot_of(scene))
    steps = await owing.paid(scene, owed, shape, steps, datasets=chosen)
    return exports.export_answer(scene, ask, form, steps, ready=False, name=name, datasets=tuple(chosen), links=links)


def _rendered(scene: Scene, plan: Plan, *, csv: bool = False, ahead: bool = False, made: Made | None = None) -> AsyncIterator[list[Any]]:
    """The rows of the read model as `walks.export` gives them: documents, or ready CSV lines."""
    payload: Payload = ("listing_flat" if plan.listing else "flat") if csv else ("listing" if plan.listing else "body")
    return walks.export(
        scene.services.store.reads,
        plan.conditions,
        plan.order,
        plan=scene.forms.tag,
        now=scene.now_text,
        snapshot=scene.head.seq,
        payload=payload,
        document=bool(plan.predicates),
        ahead=ahead,
        size=walking.EXPORT if made is None else 2 * walking.EXPORT,  # of what is written already few bytes wait, and most are sent on
        made=made,
    )


async def _written(scene: Scene, plan: Plan, write: exports.Write, *, csv: bool) -> AsyncIterator[exports.Part]:
    """The rendered rows as they are written, where they are read; those among which one is stale are written when it is made anew."""
    async for step in _rendered(scene, plan, csv=csv, made=partial(_part, plan, write)):
        held = [row[0] for part in step if isinstance(part, list) for row in part if row[0]]
        anew = await walking.live_rows(scene, plan, held, csv=csv) if held else {}
        rows, size, waiting = 0, 0, list[bytes]()
        for part in step:
            if isinstance(part, list):
                bodies = [body for row in part if (body := anew.get(row[0]) if row[0] else row[1]) is not None]
                part = len(bodies), await asyncio.to_thread(write, bodies)
            rows, size = rows + part[0], size + len(part[1])
            waiting.append(part[1])
            if size >= _SENT:
                yield rows, b"".join(waiting)
                rows, size, waiting = 0, 0, []
        yield rows, b"".join(waiting)


def _part(plan: Plan, write: exports.Write, rows: list[Row]) -> exports.Part | list[Row]:
    """Some rows as they are written; themselves, where one of them is to be made anew."""
    if plan.predicates:
        rows = [row for row in rows if row[0] or passes(plan, row[2])]
    held, bodies, *_ = zip(*rows, strict=True) if rows else ((), ())
    return rows if any(held) else (len(rows), write(bodies))


async def _rendered_steps(scene: Scene, plan: Plan, *, ahead: Ahead | None = None) -> AsyncIterator[Sequence[bytes]]:
    """The rendered bytes of all rows, in steps; a stale row is made anew or left out.

    `ahead` is told their number after an empty step, which says that the first of them are read.
    """
    steps = _rendered(scene, plan, ahead=ahead is not None)
    made: dict[str, bytes] | None = None
    if ahead is not None:
        first: list[Row] = await anext(steps)
        yield []
        if (told := await walks.told_ahead(steps)) is not None:
            number, stale = told
            made = await walking.live_rows(scene, plan, stale, csv=False) if stale else {}
            ahead.rows = number - len(stale) + len(made)
        steps = after(first, steps)
    async for rows in steps:
        if plan.predicates:
            rows = [row for row in rows if row[0] or passes(plan, row[2])]
        held = [row[0] for row in rows if row[0]]
        if not held:
            yield [row[1] for row in rows]
            continue
        anew = made if made is not None else await walking.live_rows(scene, plan, held, csv=False)
        yield [body for row in rows if (body := anew.get(row[0]) if row[0] else row[1]) is not None]


async def _count(scene: Scene, form: Form, plan: Plan, source: walking.Source, snapshot: int, owed: Obligations) -> dict[str, Any] | None:
    """How many rows the walk has, where the caller asked and may know."""
    if form.count == "none":
        return None
    reads = scene.services.store.reads
    if scene.public and not plan.predicates:
        number = await walks.count(reads, plan.conditions, plan=scene.forms.tag, now=scene.now_text)
    else:
        number = 0
        async for step in walking.everything(source, _unsorted(plan), snapshot=snapshot):
            number += len(step)
            if number > pages.COUNT_STOP:
                break
    k = _least(scene, plan, owed)
    if k is not None:  # persons may be among them: nothing below k, nothing exact
        return told_count(number, k)
    if number > pages.COUNT_STOP:
        return {"value": pages.COUNT_STOP, "kind": "at_least"}
    return {"value": number, "kind": "exact"}


def _unsorted(plan: Plan) -> Plan:
    return structs.replace(plan, order=(), sorting=())


def _least(scene: Scene, plan: Plan, owed: Obligations) -> int | None:
    """Below which number nothing is counted: for bound callers always, for the public where households may be among the rows."""
    if not scene.public:
        return max(owed.min_k or 0, scene.services.settings.min_k)
    return None if any(each.column in ("bulk", "subject_id") for each in plan.conditions) else owed.min_k


async def _facets(
    scene: Scene,
    form: Form,
    plan: Plan,
    source: walking.Source,
    chosen: Sequence[str],
    snapshot: int,
    owed: Obligations,
    may: Mapping[str, FieldInfo],
) -> dict[str, Any]:
    """Distinct values with counts: of everybody's rows by columns of the read model, else of the documents themselves."""
    k = _least(scene, plan, owed)
    columns = [name for name in form.facets if name in _RECORD_FACETS] if scene.public and not plan.predicates else []
    numbers: dict[str, list[tuple[str, int]] | None] = {}
    for name in columns:
        rows = await walks.facet(
            scene.services.store.reads, plan.conditions, _RECORD_FACETS[name], plan=scene.forms.tag, now=scene.now_text
        )
        numbers[name] = [(value, number) for value, number in rows if value]
    if len(columns) < len(form.facets):
        walked = {name: may[name] for name in form.facets if name not in columns}
        numbers |= await _walked_facets(source, _unsorted(plan), snapshot, walked)
    found: dict[str, Any] = {}
    for name in form.facets:
        counted, words = numbers[name], _words(scene, chosen, name)
        told = (counted if k is None else told_facet(counted, k))[: pages.FACET_VALUES] if counted is not None else []
        values = [pages.facet_value(scene, name, value, number, tables=_TABLES, words=words) for value, number in told]
        found[name] = {"values": values, "timed_out": counted is None}
    return found


async def _walked_facets(
    source: walking.Source, plan: Plan, snapshot: int, asked: Mapping[str, FieldInfo]
) -> dict[str, list[tuple[str, int]] | None]:
    """Values of the documents that the caller may walk over now, of the kinds whose plan allows it, most first; None: too many rows."""
    numbers: dict[str, Counter[str]] = {name: Counter() for name in asked}
    looked = 0
    async for step in walking.everything(source, plan, snapshot=snapshot):
        looked += len(step)
        if looked > FACET_ROWS:
            return dict.fromkeys(asked)
        await asyncio.to_thread(_tally, step, asked, numbers)  # a thousand documents are more than a turn of the loop may take
    return {name: sorted(counter.items(), key=lambda each: (-each[1], each[0])) for name, counter in numbers.items()}


def _tally(step: Sequence[bytes], asked: Mapping[str, FieldInfo], numbers: Mapping[str, Counter[str]]) -> None:
    """Add what some documents say under each name."""
    for document in map(DOCUMENT.decode, step):
        kind = kind_of_form(document["subject"]["kind"])
        for name, counter in numbers.items():
            found = path_value(document, name) if kind in asked[name].kinds else None
            if found is not None and found != "":
                counter.update(set(str(found).split(";")) if asked[name].type == "enum" else (str(found),))


def _words(scene: Scene, chosen: Sequence[str], name: str) -> Mapping[str, str]:
    """Words for the values of a facet that are no codes of the API's own: authorities, datasets, and enumerations of the one dataset."""
    if name in ("source", "authority_code"):
        return {each.uscc: each.name for each in scene.services.settings.authorities}
    datasets, english = scene.policies.catalogue.datasets, scene.language == "en"
    if name == "dataset":
        return {each.id: (each.label_en or each.label) if english else each.label for each in datasets.values()}
    fields = datasets[DatasetId(chosen[0])].fields if len(chosen) == 1 else {}
    return fields[name].words(english=english) if name in fields else {}

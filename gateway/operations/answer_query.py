"""Answer a query: a subject, records, lists and their listings, as this caller may see them now.

Each story reads once what it stands under (`begin`), finds rows in the read model (the public) or live (bound tiers), and gives bytes.
Rules:
- a rendering that is stale is never shown: the answer is then made from the records themselves, with the same bytes.
- absent, hidden, removed, not yet public, someone else's: one 404, found out by the same number of statements.
- an individual household is reached by its exact code, its exact name or its id, and stands in no bulk output but the lists whose
  basis demands it; a natural person is nobody to the public.
- a value shaped like a citizen number is neither looked up nor suggested upon.
No story here returns a Record, or anything that did not pass a View.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from typing import Any

from msgspec import structs

from gateway.core.callers.caller import PUBLIC, Caller
from gateway.core.disclosure.query import Query, plan_query
from gateway.core.errors import ErrorItem, NotFound, UsccInvalid
from gateway.core.publication.documents import (
    FOREVER,
    localise,
)
from gateway.core.publication.forms import bulk_document
from gateway.core.publication.listings import list_document
from gateway.core.records.catalogue import ListDef
from gateway.core.records.identifiers import check_uscc, looks_like_citizen_number, normalise_code, suggest_uscc
from gateway.core.records.model import SUBJECT_KINDS, SubjectId, SubjectKind
from gateway.operations import pages, walking
from gateway.operations.answering import DOCUMENT, ENCODER, Scene, answer, begin, document_answer, marked
from gateway.operations.asking import Answer, Ask, Language
from gateway.operations.describe_data import dataset, datasets, dictionary, root
from gateway.operations.find_subjects import facet_value, find_subjects, suggest
from gateway.operations.live_subject import live_subject
from gateway.operations.pages import Form, form_of, own_parameters
from gateway.operations.planning import envelope_of, types_of
from gateway.services import Services
from gateway.store import renderings
from gateway.store.renderings import Condition
from gateway.store.store import Row
from gateway.store.subjects import stored_value

__all__ = [
    "Answer",
    "Ask",
    "dataset",
    "datasets",
    "dictionary",
    "find_subjects",
    "listings",
    "lists",
    "one_list",
    "record",
    "records_page",
    "root",
    "subject_document",
    "subject_records",
    "suggest",
    "validate_uscc",
]

_RECORD_FACETS: Mapping[str, str] = {
    "kind": "category", "dataset": "dataset", "region": "region", "severity": "severity", "source": "source",
}  # fmt: skip


# --- subjects ----------------------------------------------------------------------------------------------------------


async def subject_document(services: Services, subject: str, caller: Caller, language: Language) -> Answer:
    """One subject by code or id.

    Raises UsccInvalid for what is neither, NotFound.
    """
    scene = await begin(services, caller, language)
    row = await _find(scene, subject)
    if scene.public and _true(scene, row):
        if row.body is None:
            raise NotFound
        return _subject_answer(scene, subject, row.body, row.etag, row.valid_until)
    made = await live_subject(scene, row)
    if made is None:
        raise NotFound
    body, valid_until = made
    return _subject_answer(scene, subject, body, None, valid_until)


def _subject_answer(scene: Scene, asked: str, body: bytes, etag: str | None, valid_until: str) -> Answer:
    if scene.language != "zh-CN":
        body, etag = ENCODER.encode(localise(DOCUMENT.decode(body), scene.language)), None
    links: tuple[tuple[str, str], ...] = ()
    if not asked.startswith("sub_") and normalise_code(asked) != asked:
        links = (("canonical", f"{scene.origin}/v1/subjects/{normalise_code(asked)}"),)
    # the validator of a rendering is of its stored bytes; a document made live has the same
    etag = etag or scene.etag(body)
    return answer(scene, marked(scene, body), validator=etag, valid_until=valid_until, links=links)


def _true(scene: Scene, row: Row) -> bool:
    """Whether the rendering of a subject may be shown as it stands."""
    return bool(row.plan == scene.forms.tag and row.rendered_seq == row.head_seq and row.valid_until > scene.now_text)


def kind_of_code(code: str) -> SubjectKind:
    """The kind of subject that a code belongs to: households have codes of their own."""
    return "individual_business" if code.startswith("92") else "legal"


async def _find(scene: Scene, text: str) -> Row:
    """The subject behind a code or id.

    Raises UsccInvalid, NotFound.
    """
    reads = scene.services.store.reads
    if text.startswith("sub_"):
        row = await renderings.subject_by_id(reads, text)
    else:
        code = normalise_code(text)
        if not check_uscc(code).valid:
            raise await _uscc_invalid(scene, text, code)
        row = await renderings.subject_by_key(reads, "uscc", stored_value(scene.services.store.vault, "uscc", code, kind_of_code(code)))
    if row is None:
        raise NotFound
    return row


async def _uscc_invalid(scene: Scene, text: str, code: str) -> UsccInvalid:
    """What is wrong with a code, and which codes may be meant; nothing of that for what looks like a person's number."""
    check = check_uscc(code)
    errors = tuple(
        ErrorItem(name, _CODE_FAULTS.get(name, "不符合编码规则"), parameter="subject")
        for name, state in check.checks.items()
        if state == "failed"
    )
    suggestions: list[dict[str, object]] = []
    if not looks_like_citizen_number(text):
        for suggested, reason in suggest_uscc(text):
            known = (
                await renderings.subject_by_key(scene.services.store.reads, "uscc", suggested)
                if kind_of_code(suggested) == "legal"
                else None
            )
            suggestions.append({"code": suggested, "reason": reason, "known": known is not None and known.body is not None})
    detail = errors[0].detail if errors else "不是统一社会信用代码。"
    return UsccInvalid(detail, errors=errors, suggestions=tuple(suggestions))


_CODE_FAULTS: Mapping[str, str] = {
    "length": "应为 18 位",
    "alphabet": "含有不使用的字符",
    "structure": "登记管理部门、机构类别或行政区划不符",
    "check_digit": "第 18 位校验码不符",
}


async def subject_records(services: Services, subject: str, caller: Caller, ask: Ask) -> Answer:
    """The records of one subject; an unknown subject is the same 404 as one of which nothing is shown."""
    scene = await begin(services, caller, ask.language)
    row = await _find(scene, subject)
    hidden = row.body is None if scene.public and _true(scene, row) else await live_subject(scene, row) is None
    if hidden:
        raise NotFound
    fixed = (Condition(column="subject_id", op="eq", values=(row.subject_id,)),) if scene.public else ()
    return await _walk(scene, ask, fixed=fixed, subject=SubjectId(row.subject_id), name="records")


# --- records -----------------------------------------------------------------------------------------------------------


async def record(services: Services, record_id: str, caller: Caller, language: Language) -> Answer:
    """One record by its id.

    Raises NotFound.
    """
    scene = await begin(services, caller, language)
    row = await renderings.record_by_id(services.store.reads, record_id)
    if row is None and scene.public:
        raise NotFound
    body: bytes | None
    until = FOREVER
    if (
        scene.public
        and row is not None
        and row.version_seq == row.changed_seq
        and row.plan == scene.forms.tag
        and row.valid_from <= scene.now_text < row.valid_until
    ):
        body, until = row.body, row.valid_until
    elif (
        scene.public
        and row is not None
        and row.version_seq is None
        and not row.dirty
        and row.again is None
        and scene.forms.tag in (row.known or "")
    ):
        body = None  # the reader has looked at it: it is not public
    else:
        body = (await walking.live(scene, [record_id])).get(record_id)
    if body is None:
        raise NotFound
    if scene.language != "zh-CN":
        body = ENCODER.encode(localise(DOCUMENT.decode(body), scene.language))
    return answer(scene, marked(scene, body), valid_until=until)


async def records_page(services: Services, caller: Caller, ask: Ask) -> Answer:
    """Records across subjects; organisations only for tiers without a personal plan."""
    scene = await begin(services, caller, ask.language)
    fixed = (Condition(column="bulk", op="eq"),) if scene.public else ()
    return await _walk(scene, ask, fixed=fixed, name="records")


async def _walk(
    scene: Scene, ask: Ask, *, fixed: Sequence[Condition], subject: SubjectId | None = None, listing: ListDef | None = None, name: str
) -> Answer:
    """A page of records or listings, or all of them."""
    own, params = own_parameters(ask)
    plan_sets = tuple(scene.forms.plan_sets.values()) if listing is None else (scene.forms.plan_sets[listing.dataset],)
    query = plan_query(params, plan_sets, envelope_of(scene, listing=listing is not None))
    chosen = _datasets_of(query, scene, listing)
    bulk = query.limit is None
    columns = scene.forms.columns(chosen, listing=listing is not None, bulk=bulk)
    form = form_of(ask, query, own, columns, facets=_RECORD_FACETS if scene.public else ())
    plan = walking.plan_walk(
        scene,
        query,
        types_of(scene, chosen, listing=listing is not None),
        fixed=fixed,
        listing=listing is not None,
    )
    source = walking.source_of(scene, subject)
    if bulk:
        return _export(scene, ask, form, plan, source, chosen, name=name)
    position = ask.pages.position(scene.forms.tag)
    snapshot, version, keys, back = scene.head.seq, scene.head.version, None, False
    if position is not None:
        snapshot, back = position.snapshot, position.back
        version, keys = str(position.keys[0]), tuple(str(key) for key in position.keys[1:])
    limit = query.limit or pages.DEFAULT_LIMIT
    rows, more = await walking.walk(source, plan, keys=keys, back=back, limit=limit, snapshot=snapshot)
    ahead, behind = more, keys is not None
    if back:
        rows, ahead, behind = rows[::-1], True, more
    return pages.page_answer(
        scene,
        ask,
        form,
        [row.body for row in rows if row.body is not None],
        version=version,
        snapshot=snapshot,
        first=rows[0].keys if rows and behind else None,
        last=rows[-1].keys if rows and ahead else None,
        count=await _count(scene, form, plan, source, snapshot),
        facets=await _facets(scene, form, plan),
    )


def _datasets_of(query: Query, scene: Scene, listing: ListDef | None) -> list[str]:
    """The datasets that an answer may hold rows of."""
    if listing is not None:
        return [listing.dataset]
    for each in query.filters:
        if each.field == "dataset":
            return sorted({str(value) for value in each.values} & scene.forms.plan_sets.keys())
    return sorted(scene.forms.plan_sets)


def _export(scene: Scene, ask: Ask, form: Form, plan: walking.Plan, source: walking.Source, chosen: Sequence[str], *, name: str) -> Answer:
    """All rows: the rendered bytes themselves where nothing has to be done to them."""
    as_rendered = isinstance(source, walking.Rendered) and not plan.sorting and scene.language == "zh-CN"
    csv_ready = ask.format == "csv" and len(chosen) == 1 and not ask.excel and not form.fields
    kinds: tuple[SubjectKind, ...] = ("legal",) if any(each.column == "bulk" for each in plan.conditions) else SUBJECT_KINDS
    if any(scene.forms.by_dataset[each].withheld.get(kind) for each in chosen for kind in kinds):
        form = structs.replace(form, withheld=partial(bulk_document, scene.forms))
    if as_rendered and (csv_ready or (ask.format != "csv" and form.plain)):
        return pages.export_answer(scene, ask, form, _rendered_steps(scene, plan, csv=csv_ready), ready=True, name=name)
    return pages.export_answer(scene, ask, form, walking.everything(source, plan, snapshot=scene.head.seq), ready=False, name=name)


async def _rendered_steps(scene: Scene, plan: walking.Plan, *, csv: bool) -> AsyncIterator[list[bytes]]:
    """The rendered bytes of all rows, in steps; a stale row is made anew or left out."""
    payload: renderings.Payload = ("listing_flat" if plan.listing else "flat") if csv else ("listing" if plan.listing else "body")
    steps = renderings.export(
        scene.services.store.reads,
        plan.conditions,
        plan.order,
        plan=scene.forms.tag,
        now=scene.now_text,
        snapshot=scene.head.seq,
        payload=payload,
        document=bool(plan.predicates),
        size=walking.EXPORT,
    )
    async for rows in steps:
        if plan.predicates:
            rows = [row for row in rows if not row.fresh or walking.passes(plan, row.document)]
        stale = [row.record_id for row in rows if not row.fresh]
        if not stale:
            yield [row.payload for row in rows]
            continue
        anew = await walking.live_rows(scene, plan, stale, csv=csv)
        yield [body for row in rows if (body := row.payload if row.fresh else anew.get(row.record_id)) is not None]


async def _count(scene: Scene, form: Form, plan: walking.Plan, source: walking.Source, snapshot: int) -> dict[str, Any] | None:
    """How many rows the walk has, where the caller asked and may know."""
    if form.count == "none":
        return None
    reads = scene.services.store.reads
    if scene.public and not plan.predicates:
        number = await renderings.count(reads, plan.conditions, plan=scene.forms.tag, now=scene.now_text)
    else:
        number = 0
        async for step in walking.everything(source, _unsorted(plan), snapshot=snapshot):
            number += len(step)
            if number > pages.COUNT_STOP:
                break
    if not scene.public:  # persons may be among them: nothing below k, nothing exact
        if number < scene.services.settings.min_k:
            return {"value": None, "kind": "suppressed"}
        return {"value": number - number % 5, "kind": "rounded"}
    if number > pages.COUNT_STOP:
        return {"value": pages.COUNT_STOP, "kind": "at_least"}
    return {"value": number, "kind": "exact"}


def _unsorted(plan: walking.Plan) -> walking.Plan:
    return walking.Plan(conditions=plan.conditions, predicates=plan.predicates, order=(), sorting=(), listing=plan.listing)


async def _facets(scene: Scene, form: Form, plan: walking.Plan) -> dict[str, Any] | None:
    """Distinct values with counts, of columns of the read model."""
    if not form.facets:
        return None
    if plan.predicates:
        raise pages.invalid("facet", "与此过滤条件不能同时使用")
    found: dict[str, Any] = {}
    for name in form.facets:
        rows = await renderings.facet(
            scene.services.store.reads, plan.conditions, _RECORD_FACETS[name], plan=scene.forms.tag, now=scene.now_text
        )
        found[name] = {"values": [facet_value(scene, name, value, number) for value, number in rows if value][:30], "timed_out": False}
    return found


# --- lists -------------------------------------------------------------------------------------------------------------


async def lists(services: Services, caller: Caller, language: Language) -> Answer:
    """All lists, red and black alike, by id."""
    scene = await begin(services, caller, language)
    items = [
        await _list_document(scene, each)
        for _, each in sorted(scene.policies.catalogue.lists.items())
        if each.dataset in scene.forms.plan_sets
    ]
    return document_answer(scene, {"items": items, "dataset_version": scene.head.version, "policy_version": scene.forms.version})


async def one_list(services: Services, list_id: str, caller: Caller, language: Language) -> Answer:
    """One list.

    Raises NotFound.
    """
    scene = await begin(services, caller, language)
    return document_answer(scene, await _list_document(scene, _list(scene, list_id)))


def _list(scene: Scene, list_id: str) -> ListDef:
    found = scene.policies.catalogue.lists.get(list_id)
    if found is None or found.dataset not in scene.forms.plan_sets:
        raise NotFound
    return found


async def _list_document(scene: Scene, listing: ListDef) -> dict[str, Any]:
    reads = scene.services.store.reads
    on_list = (Condition(column="list", op="eq", values=(listing.id,)),)
    if scene.public:
        rows = await renderings.count(reads, on_list, plan=scene.forms.tag, now=scene.now_text)
    else:
        rows = await renderings.told_count(reads, scene.forms.name, on_list)
        rows -= rows % 5
    return localise(list_document(listing, rows=rows, seq=scene.head.seq, origin=scene.origin), scene.language)


async def listings(services: Services, list_id: str, caller: Caller, ask: Ask) -> Answer:
    """Who stands on a list now.

    Raises NotFound for a list that does not exist.
    """
    scene = await begin(services, caller, ask.language)
    listing = _list(scene, list_id)
    return await _walk(scene, ask, fixed=(Condition(column="list", op="eq", values=(listing.id,)),), listing=listing, name=listing.id)


# --- codes -------------------------------------------------------------------------------------------------------------


async def validate_uscc(services: Services, code: str, language: Language) -> Answer:
    """What arithmetic alone says of a code; no data is asked."""
    scene = await begin(services, PUBLIC, language)
    check = check_uscc(code)
    personal = looks_like_citizen_number(code) and not check.valid
    document = {
        "code": None if personal else check.code,
        "valid": check.valid,
        "checks": check.checks,
        "parts": None if personal else check.parts,
        "suggestions": [] if check.valid or personal else [{"code": each, "reason": reason} for each, reason in suggest_uscc(code)],
    }
    return document_answer(scene, document, reads_data=False)

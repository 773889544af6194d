"""A list as it leaves: a page or all rows, in JSON, NDJSON, CSV, XLSX, Parquet or MessagePack, with equal rows in each (api.md §1.1–§1.3).

Rules: the same URL gives the same rows, order and fields in every format. The state of a walk (its dataset version) is sealed into
its cursors, so it is one state from first page to last. An export streams in flat memory; a failure in it breaks off, so that half
a file never ends like a whole one. This room must not choose rows.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, Final, TypeVar, cast

import msgspec
from msgspec import structs

from gateway.core.disclosure.query import Query, members, unknown
from gateway.core.errors import ErrorItem, InvalidParameter, TooManyRowsForFormat
from gateway.core.publication import flat
from gateway.core.publication.columns import Column, typed
from gateway.core.publication.documents import notice as sample_notice
from gateway.core.publication.excerpts import excerpt_of
from gateway.core.publication.labels import label, region_label
from gateway.operations.answering import ENCODER, Scene, answer, instant_of_version, notice_of
from gateway.operations.asking import MEDIA_TYPES, Answer, Ask, Format, Position, Tally
from gateway.operations.pinned import while_permitted
from gateway.operations.row_forms import Document, Form, csv_line, shaped, shaped_document, shaped_items, shaped_lines
from gateway.operations.table_files import (
    MOST_ROWS,
    About,
    MsgpackFile,
    PackedStream,
    ParquetFile,
    TableFile,
    XlsxFile,
    file_of,
    packed_head,
    refuse_long,
    stream_of,
)
from gateway.store import walks
from gateway.store.conditions import Condition, Payload
from gateway.store.walks import Ahead

Step = TypeVar("Step")

OWN_PARAMETERS = frozenset({"count", "facet", "shape", "trailer"})
"""Parameters about the form of the answer: no business of the planner."""
DEFAULT_LIMIT = 20
COUNT_STOP = 100_000
MAX_FACETS = 5
FACET_VALUES = 30
_UNCOUNTED: Final = 200_000
"""So many rows fit into any workbook: only where there are more at all an export is counted first."""
_TABLES: Final[frozenset[Format]] = frozenset({"xlsx", "parquet"})
FILES: Final[frozenset[Format]] = _TABLES | {"msgpack"}
"""Formats with a writer of their own, which takes rows as documents."""
_PACKED: Final = msgspec.msgpack.Encoder()
PATIENCE_S: Final = 0.1
"""So long the head of a file waits for the number of its rows."""


def invalid(parameter: str, detail: str) -> InvalidParameter:
    """A parameter that breaks a bound; its value is not repeated."""
    return InvalidParameter(detail, errors=(ErrorItem("invalid", detail, parameter=parameter),))


def own_parameters(ask: Ask) -> tuple[dict[str, str], dict[str, str]]:
    """The parameters about the form of the answer, and those for the planner."""
    own = {name: value for name, value in ask.params.items() if name in OWN_PARAMETERS}
    return own, {name: value for name, value in ask.params.items() if name not in OWN_PARAMETERS}


def form_of(ask: Ask, query: Query, own: Mapping[str, str], columns: Sequence[str], *, facets: Iterable[str] = ()) -> Form:
    """How the rows of this request look.

    Raises InvalidParameter for a word that is none, UnknownParameter for a facet that the caller has no right to.
    """
    if own.get("shape", "nested") not in ("nested", "flat"):
        raise invalid("shape", "应为 nested 或 flat")
    if own.get("trailer", "0") not in ("0", "1"):
        raise invalid("trailer", "应为 0 或 1")
    if own.get("trailer") == "1" and ask.format != "ndjson":
        raise invalid("trailer", "只用于 NDJSON")
    if ask.excel and ask.format != "csv":
        raise invalid("excel", "只用于 CSV")
    if own.get("count", "none") not in ("none", "estimated", "exact"):
        raise invalid("count", "应为 none、estimated 或 exact")
    asked = members("facet", own["facet"], MAX_FACETS) if "facet" in own else ()
    known = frozenset(facets)
    if any(name not in known for name in asked):
        raise unknown("facet")
    fields = tuple(query.fields or ())
    return Form(
        columns=narrowed(columns, fields),
        fields=fields,
        flat=own.get("shape") == "flat",
        trailer=own.get("trailer") == "1",
        count=own.get("count", "none"),
        facets=asked,
    )


def narrowed(columns: Sequence[str], fields: Sequence[str]) -> tuple[str, ...]:
    """The flat columns that a sparse answer keeps: those whose values stand in it."""
    if not fields:
        return tuple(columns)
    excerpt = excerpt_of(tuple(fields))
    return tuple(column for column in columns if excerpt.keeps(column))


# --- a page ------------------------------------------------------------------------------------------------------------


def page_answer(
    scene: Scene,
    ask: Ask,
    form: Form,
    items: Sequence[bytes],
    *,
    version: str,
    snapshot: int,
    first: Sequence[Any] | None,
    last: Sequence[Any] | None,
    count: Mapping[str, Any] | None = None,
    facets: Mapping[str, Any] | None = None,
    datasets: tuple[str, ...] | None = None,
    notice: Mapping[str, Any] | None = None,
    more_links: tuple[tuple[str, str], ...] = (),
) -> Answer:
    """One page. `first` and `last` are the keys of its edges where the walk goes on beyond them, None where it does not."""
    plan = scene.forms.tag
    next_url = None if last is None else ask.pages.url(plan, Position(snapshot=snapshot, keys=(version, *last)))
    prev_url = None if first is None else ask.pages.url(plan, Position(snapshot=snapshot, keys=(version, *first), back=True))
    own = ask.pages.url(plan, None)
    here = ask.pages.position(plan)
    links = [(relation, url) for relation, url in (("next", next_url), ("prev", prev_url)) if url is not None]
    links.append(("first", own))
    tail = {
        "next": next_url,
        "prev": prev_url,
        "self": own if here is None else ask.pages.url(plan, here),
        **tail_of(scene, version, count=count, facets=facets, notice=notice),
    }
    validator = None
    if ask.format in _TABLES:  # made on its way out: what it will hold is named by what it is made of
        body = b""
        state = (scene.caller.plan_set, ask.format, ask.language, version, *form.columns)
        validator = scene.etag(b"table", *(part.encode() for part in state), *items)
    elif ask.format == "msgpack":
        body = _PACKED.encode({"items": [shaped_document(scene, form, item) for item in items], **tail})
    elif ask.format == "csv":
        body = (flat.BOM if ask.excel else b"") + flat.line(form.columns)
        body += b"".join(csv_line(scene, form, item, excel=ask.excel) for item in items)
    elif ask.format == "ndjson":
        body = b"".join(shaped(scene, form, item) + b"\n" for item in items)
        if form.trailer:
            body += ENCODER.encode({"_end": {"rows": len(items), "dataset_version": version}}) + b"\n"
    else:
        body = b'{"items":[' + shaped_items(scene, form, items)[1:] + b"]," + ENCODER.encode(tail)[1:]
    extension = _extension(ask)
    made = answer(
        scene,
        body,
        validator=validator,
        dataset_version=version,
        links=(*links, *more_links),
        rows=len(items),
        media_type=MEDIA_TYPES[ask.format],
        file_name=f"page-{version}.{extension}" if ask.format in _TABLES or extension != ask.format else None,
        datasets=datasets,
    )
    if ask.format not in _TABLES:
        return made
    return structs.replace(made, stream=_table(scene, ask, form, _at_once(items), version=version, title="page", datasets=datasets))


def tail_of(
    scene: Scene,
    version: str,
    *,
    count: Mapping[str, Any] | None = None,
    facets: Mapping[str, Any] | None = None,
    notice: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What stands beside the rows of a page, behind its addresses."""
    return {
        "count": count,
        "facets": facets,
        "as_of": instant_of_version(version),
        "dataset_version": version,
        "policy_version": scene.forms.version,
        "notice": notice_of(scene, notice),
    }


def _extension(ask: Ask) -> str:
    """How a file is named: what Excel is given is not lossless, and its name says so."""
    return "excel.csv" if ask.excel and ask.format == "csv" else ask.format


async def _at_once(items: Sequence[bytes]) -> AsyncIterator[Sequence[bytes]]:
    yield items


# --- files -------------------------------------------------------------------------------------------------------------


def _typed(scene: Scene, form: Form, datasets: tuple[str, ...] | None) -> tuple[Column, ...]:
    """The flat columns with their types, for rows of these datasets (None: subjects, of all)."""
    key = ("typed", form.columns, datasets)
    known: tuple[Column, ...] | None = scene.forms.remembered.get(key)
    if known is None:
        chosen = [name for name in scene.forms.plan_sets if datasets is None or name in datasets]
        if scene.forms.reaches:
            sets = [reach.plan_set for name in chosen for reach in scene.forms.reaches[name]]
        else:
            sets = [scene.forms.plan_sets[name] for name in chosen]
        known = scene.forms.remembered[key] = typed(form.columns, sets)
    return known


def _table(
    scene: Scene,
    ask: Ask,
    form: Form,
    steps: AsyncIterator[Sequence[bytes]],
    *,
    version: str,
    title: str,
    datasets: tuple[str, ...] | None,
    ahead: Ahead | None = None,
) -> AsyncIterator[bytes]:
    """Rows as XLSX or Parquet."""
    made_at = instant_of_version(version)
    about = About(
        title=title,
        versions={"dataset_version": version, "policy_version": str(scene.forms.version)}
        | ({"notice": sample_notice(scene.language)["text"]} if scene.services.settings.demo else {}),
        made_at=None if made_at is None else datetime.fromisoformat(made_at),
    )
    columns = _typed(scene, form, datasets)
    shape = partial(_shaped_step, scene, structs.replace(form, flat=True))

    def make(place: IO[bytes]) -> TableFile:
        return (
            XlsxFile(place, columns, about, None if ahead is None else ahead.rows)
            if ask.format == "xlsx"
            else ParquetFile(place, columns, about)
        )

    return stream_of(make, shape, while_permitted(scene, steps))


def _shaped_step(scene: Scene, form: Form, step: Sequence[bytes]) -> list[Document]:
    """Rows as a file takes them."""
    return [shaped_document(scene, form, body) for body in step]


def _filed(scene: Scene, form: Form, make: Callable[[Path], TableFile], steps: AsyncIterator[Sequence[bytes]]) -> AsyncIterator[bytes]:
    """A file of these rows; each is shaped off the loop, on its way into it."""
    return file_of(
        make,
        partial(_shaped_step, scene, form),
        while_permitted(scene, steps),
        scene.services.settings.data_path,
        personal=scene.no_store,
    )


async def _packed(
    scene: Scene, form: Form, tail: Mapping[str, Any], steps: AsyncIterator[Sequence[bytes]], ahead: Ahead | None
) -> AsyncIterator[bytes]:
    """Rows as MessagePack: as they come where their number is known with the first of them, else when it is.

    What is wrong with the first rows is an answer. Where counting them all (the second step) takes long the head does not wait for it; what
    goes wrong after that breaks the answer off.
    """
    head = packed_head(tail)
    first = await _next(steps)
    second = asyncio.ensure_future(_next(steps))
    try:
        if ahead is not None:
            await asyncio.wait({second}, timeout=PATIENCE_S)
            if not second.done():
                yield head
                head = b""
        steps = after(first, after(await second, steps))
    finally:
        second.cancel()
    if ahead is None or (rows := ahead.rows) is None:
        parts = _filed(scene, form, MsgpackFile, steps)
    else:
        parts = stream_of(lambda place: PackedStream(place, rows), partial(_shaped_step, scene, form), while_permitted(scene, steps))
    async with aclosing(cast("AsyncGenerator[bytes, None]", parts)) as made:
        async for part in made:
            yield head + part if head else part
            head = b""


async def _next(steps: AsyncIterator[Sequence[bytes]]) -> Sequence[bytes]:
    """The next step, an empty one at the end. Python 3.11 cannot end `anext` with a tuple for it: that is a SystemError."""
    return await anext(steps, None) or ()


async def after(first: Step, steps: AsyncIterator[Step]) -> AsyncIterator[Step]:
    """A step that was taken, and those that follow it."""
    yield first
    async for step in steps:
        yield step


async def begun(steps: AsyncIterator[Sequence[bytes]]) -> AsyncIterator[Sequence[bytes]]:
    """The same steps, the first of them made now: what goes wrong there is an answer, not a broken stream."""
    return after(await _next(steps), steps)


async def fitting(
    scene: Scene, form: Form, conditions: Sequence[Condition], payload: Payload, steps: AsyncIterator[Sequence[bytes]], ahead: Ahead
) -> AsyncIterator[Sequence[bytes]]:
    """The rows of a workbook: what a sheet cannot hold is refused before the first of them, as far as the read model tells.

    Raises TooManyRowsForFormat, TextTooLongForFormat.
    """
    reads, state = scene.services.store.reads, {"plan": scene.forms.tag, "now": scene.now_text}
    if await walks.beyond(reads, min(MOST_ROWS["xlsx"], _UNCOUNTED)):
        ahead.rows = await walks.count(reads, conditions, **state)
        if ahead.rows > MOST_ROWS["xlsx"]:
            raise TooManyRowsForFormat
    long = await walks.long_rows(reads, conditions, **state, snapshot=scene.head.seq, payload=payload)
    flat_form = structs.replace(form, flat=True)
    for body in long:
        refuse_long(shaped_document(scene, flat_form, body))
    async for step in steps:
        yield step


# --- an export ---------------------------------------------------------------------------------------------------------


Part = tuple[int, bytes]
"""So many rows, written as they leave."""
Write = Callable[[Sequence[bytes]], bytes]
"""How rows are written; of JSON's items each has its comma before it."""


def writing(scene: Scene, ask: Ask, form: Form, *, ready: bool) -> Write:
    """How this request's rows are written, in a format that has no file of its own; it waits for nothing, and may run in a thread.

    With `ready` rows come in their final form: JSON documents, or CSV lines.
    """
    if ask.format == "csv":
        return b"".join if ready else lambda rows: b"".join([csv_line(scene, form, body, excel=ask.excel) for body in rows])
    return partial(shaped_lines if ask.format == "ndjson" else shaped_items, scene, form)


async def written(write: Write, steps: AsyncIterator[Sequence[bytes]]) -> AsyncIterator[Part]:
    """Rows as they are written, step by step."""
    async for step in steps:
        yield len(step), write(step)


def export_answer(
    scene: Scene,
    ask: Ask,
    form: Form,
    steps: AsyncIterator[Sequence[bytes]],
    *,
    ready: bool,
    name: str,
    notice: Mapping[str, Any] | None = None,
    truncated: bool = False,
    datasets: tuple[str, ...] | None = None,
    links: tuple[tuple[str, str], ...] = (),
    ahead: Ahead | None = None,
) -> Answer:
    """All rows as a stream. With `ready` the steps are rows in their final form (JSON documents, or CSV lines).

    `ahead` says with the first rows how many there will be, where that is known.
    """
    if ask.format not in FILES:
        lines = written(writing(scene, ask, form, ready=ready), steps)
        return written_answer(scene, ask, form, lines, name=name, notice=notice, truncated=truncated, datasets=datasets, links=links)
    tally = Tally()
    counted = _counted(steps, tally)
    if ask.format == "msgpack":
        own = ask.pages.url(scene.forms.tag, None)
        parts = _packed(scene, form, _tail(scene, scene.head.version, own, notice), counted, ahead)
    else:
        parts = _table(scene, ask, form, counted, version=scene.head.version, title=name, datasets=datasets, ahead=ahead)
    return _streaming(scene, ask, parts, tally, name=name, datasets=datasets, links=links)


def written_answer(
    scene: Scene,
    ask: Ask,
    form: Form,
    parts: AsyncIterator[Part],
    *,
    name: str,
    notice: Mapping[str, Any] | None = None,
    truncated: bool = False,
    datasets: tuple[str, ...] | None = None,
    links: tuple[tuple[str, str], ...] = (),
) -> Answer:
    """All rows as a stream, written already (see `writing`)."""
    tally = Tally()
    stream = _stream(scene, ask, form, parts, tally, notice=notice, truncated=truncated)
    return _streaming(scene, ask, stream, tally, name=name, datasets=datasets, links=links)


def _streaming(
    scene: Scene,
    ask: Ask,
    parts: AsyncIterator[bytes],
    tally: Tally,
    *,
    name: str,
    datasets: tuple[str, ...] | None,
    links: tuple[tuple[str, str], ...],
) -> Answer:
    version = scene.head.version
    own = ask.pages.url(scene.forms.tag, None)
    state = (scene.forms.tag, scene.caller.plan_set, version, scene.now_text[:10], own, ask.format, str(ask.excel), ask.language)
    return answer(
        scene,
        b"",
        validator=scene.etag(b"export", *(part.encode() for part in state)),
        dataset_version=version,
        media_type=MEDIA_TYPES[ask.format],
        file_name=f"{name}-{version}.{_extension(ask)}",
        datasets=datasets,
        links=links,
    ).streaming(while_permitted(scene, parts), tally)


async def _stream(
    scene: Scene,
    ask: Ask,
    form: Form,
    parts: AsyncIterator[Part],
    tally: Tally,
    *,
    notice: Mapping[str, Any] | None,
    truncated: bool,
) -> AsyncIterator[bytes]:
    version = scene.head.version
    if ask.format == "csv":
        yield (flat.BOM if ask.excel else b"") + flat.line(form.columns)
    elif ask.format == "json":
        yield b'{"items":['
    async for rows, part in parts:
        if rows:
            first = tally.rows == 0
            tally.rows += rows
            yield part[1:] if first and ask.format == "json" else part
    if ask.format == "json":
        yield b"]," + ENCODER.encode(_tail(scene, version, ask.pages.url(scene.forms.tag, None), notice))[1:]
    elif ask.format == "ndjson" and form.trailer:
        end: dict[str, Any] = {"rows": tally.rows, "dataset_version": version}
        yield ENCODER.encode({"_end": {**end, "truncated": True} if truncated else end}) + b"\n"


def _tail(scene: Scene, version: str, own: str, notice: Mapping[str, Any] | None) -> dict[str, Any]:
    """What stands beside the rows of an export."""
    return {"next": None, "prev": None, "self": own, **tail_of(scene, version, notice=notice)}


async def _counted(steps: AsyncIterator[Sequence[bytes]], tally: Tally) -> AsyncIterator[Sequence[bytes]]:
    async for step in steps:
        tally.rows += len(step)
        yield step


# --- facets -----------------------------------------------------------------------------------------------------------


def facet_value(
    scene: Scene, name: str, value: str, number: int, *, tables: Mapping[str, str], words: Mapping[str, str] = MappingProxyType({})
) -> dict[str, Any]:
    """One value of a facet with its label and count: in the table that `tables` says for this name, else in words of its own."""
    if name == "region":
        word = region_label(value, scene.language)
    elif name in tables:
        word = label(tables[name], value, scene.language)
    else:
        word = words.get(value, value)
    return {"value": value, "label": word, "count": number}


def limit_of(given: str | None) -> int:
    """How many rows a page has where there is no export.

    Raises InvalidParameter.
    """
    if given is None:
        return DEFAULT_LIMIT
    if not (given.isascii() and given.isdigit() and 1 <= int(given[:4]) <= 100 and len(given) <= 3):
        raise invalid("limit", "应为 1 至 100 的整数")
    return int(given)

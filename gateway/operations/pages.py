"""A list as it leaves: one page or all rows, in JSON, NDJSON or CSV, with equal rows in each (api.md §1.1–§1.3).

Rules: the same URL gives the same rows, order and fields in every format. The state of a walk (its dataset version) is sealed into
its cursors, so it is one state from first page to last. An export streams in flat memory; a failure in it breaks off, so that half
a file never ends like a whole one. This room must not choose rows.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from gateway.core.disclosure.query import Query
from gateway.core.errors import ErrorItem, InvalidParameter
from gateway.core.publication import flat
from gateway.core.publication.documents import localise
from gateway.core.publication.labels import label, region_label
from gateway.operations.answering import DOCUMENT, ENCODER, Scene, answer, instant_of_version, notice_of
from gateway.operations.asking import MEDIA_TYPES, Answer, Ask, Position, Tally
from gateway.operations.pinned import while_permitted

Document = dict[str, Any]

OWN_PARAMETERS = frozenset({"count", "facet", "shape", "trailer"})
"""Parameters about the form of the answer: no business of the planner."""
DEFAULT_LIMIT = 20
COUNT_STOP = 100_000
_ALWAYS = ("id", "marks")


class Form(Struct, frozen=True, kw_only=True):
    """How the rows of one request look."""

    columns: tuple[str, ...]
    """Flat columns, as narrowed by `fields`."""
    fields: tuple[str, ...]
    """Dotted paths asked for; empty: everything."""
    flat: bool
    trailer: bool
    count: str
    facets: tuple[str, ...]
    withheld: Callable[[Document], Document] | None = None
    """What bulk output leaves out."""

    @property
    def plain(self) -> bool:
        """Rows leave as they are rendered."""
        return not self.fields and not self.flat and self.withheld is None


def invalid(parameter: str, detail: str) -> InvalidParameter:
    """A parameter that breaks a bound; its value is not repeated."""
    return InvalidParameter(detail, errors=(ErrorItem("invalid", detail, parameter=parameter),))


def own_parameters(ask: Ask) -> tuple[dict[str, str], dict[str, str]]:
    """The parameters about the form of the answer, and those for the planner."""
    own = {name: value for name, value in ask.params.items() if name in OWN_PARAMETERS}
    return own, {name: value for name, value in ask.params.items() if name not in OWN_PARAMETERS}


def form_of(ask: Ask, query: Query, own: Mapping[str, str], columns: Sequence[str], *, facets: Iterable[str] = ()) -> Form:
    """How the rows of this request look.

    Raises InvalidParameter for a word that is none.
    """
    if own.get("shape", "nested") not in ("nested", "flat"):
        raise invalid("shape", "应为 nested 或 flat")
    if own.get("trailer", "0") not in ("0", "1"):
        raise invalid("trailer", "应为 0 或 1")
    if own.get("count", "none") not in ("none", "estimated", "exact"):
        raise invalid("count", "应为 none、estimated 或 exact")
    asked = tuple(name for name in own.get("facet", "").split(",") if name)
    known = frozenset(facets)
    if len(asked) > 5 or any(name not in known for name in asked):
        raise invalid("facet", "至多 5 个可分面统计的字段")
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
    """The flat columns that a sparse answer keeps."""
    if not fields:
        return tuple(columns)
    prefixes = tuple(path.replace(".", "_") for path in (*fields, *_ALWAYS))
    return tuple(column for column in columns if any(column == prefix or column.startswith(prefix + "_") for prefix in prefixes))


def sparse(document: Document, fields: Sequence[str]) -> Document:
    """The document with only these dotted paths; `id` and `marks` always stay."""
    kept: Document = {}
    for key, value in document.items():
        if key in _ALWAYS or key in fields:
            kept[key] = value
        elif isinstance(value, Mapping):
            inner = {name: each for name, each in value.items() if f"{key}.{name}" in fields}
            if inner:
                kept[key] = inner
    return kept


def shaped(scene: Scene, form: Form, body: bytes) -> bytes:
    """One row as this request wants it."""
    if form.plain and scene.language == "zh-CN":
        return body
    return ENCODER.encode(shaped_document(scene, form, DOCUMENT.decode(body)))


def shaped_document(scene: Scene, form: Form, document: Document) -> Document:
    """One row as this request wants it, as a document."""
    document = localise(document, scene.language)
    if form.withheld is not None:
        document = form.withheld(document)
    if form.fields:
        document = sparse(document, form.fields)
    if form.flat:
        row = flat.flatten(document)
        return {column: row.get(column) for column in form.columns}
    return document


def csv_line(scene: Scene, form: Form, body: bytes, *, excel: bool) -> bytes:
    """One row as a CSV line."""
    document = localise(DOCUMENT.decode(body), scene.language)
    if form.withheld is not None:
        document = form.withheld(document)
    return flat.row_line(document, form.columns, excel=excel)


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
) -> Answer:
    """One page. `first` and `last` are the keys of its edges where the walk goes on beyond them, None where it does not."""
    plan = scene.forms.tag
    next_url = None if last is None else ask.pages.url(plan, Position(snapshot=snapshot, keys=(version, *last)))
    prev_url = None if first is None else ask.pages.url(plan, Position(snapshot=snapshot, keys=(version, *first), back=True))
    own = ask.pages.url(plan, None)
    here = ask.pages.position(plan)
    links = [(relation, url) for relation, url in (("next", next_url), ("prev", prev_url)) if url is not None]
    links.append(("first", own))
    if ask.format == "csv":
        body = (flat.BOM if ask.excel else b"") + flat.line(form.columns)
        body += b"".join(csv_line(scene, form, item, excel=ask.excel) for item in items)
    elif ask.format == "ndjson":
        body = b"".join(shaped(scene, form, item) + b"\n" for item in items)
        if form.trailer:
            body += ENCODER.encode({"_end": {"rows": len(items), "dataset_version": version}}) + b"\n"
    else:
        tail = ENCODER.encode(
            {
                "next": next_url,
                "prev": prev_url,
                "self": own if here is None else ask.pages.url(plan, here),
                "count": count,
                "facets": facets,
                "as_of": instant_of_version(version),
                "dataset_version": version,
                "policy_version": scene.forms.version,
                "notice": notice_of(scene, notice),
            }
        )
        body = b'{"items":[' + b",".join([shaped(scene, form, item) for item in items]) + b"]," + tail[1:]
    return answer(
        scene,
        body,
        dataset_version=version,
        links=tuple(links),
        rows=len(items),
        media_type=MEDIA_TYPES[ask.format],
        datasets=datasets,
    )


# --- an export ---------------------------------------------------------------------------------------------------------


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
) -> Answer:
    """All rows as a stream. With `ready` the steps are rows in their final form (JSON documents, or CSV lines)."""
    version = scene.head.version
    own = ask.pages.url(scene.forms.tag, None)
    tally = Tally()
    parts = _stream(scene, ask, form, steps, tally, ready=ready, version=version, own=own, notice=notice, truncated=truncated)
    extension = "excel.csv" if ask.excel else ask.format
    state = (scene.forms.tag, scene.caller.plan_set, version, scene.now_text[:10], own, ask.format, str(ask.excel), ask.language)
    return answer(
        scene,
        b"",
        validator=scene.etag(b"export", *(part.encode() for part in state)),
        dataset_version=version,
        media_type=MEDIA_TYPES[ask.format],
        file_name=f"{name}-{version}.{extension}",
        datasets=datasets,
        links=links,
    ).streaming(while_permitted(scene, parts), tally)


async def _stream(
    scene: Scene,
    ask: Ask,
    form: Form,
    steps: AsyncIterator[Sequence[bytes]],
    tally: Tally,
    *,
    ready: bool,
    version: str,
    own: str,
    notice: Mapping[str, Any] | None,
    truncated: bool,
) -> AsyncIterator[bytes]:
    if ask.format == "csv":
        yield (flat.BOM if ask.excel else b"") + flat.line(form.columns)
        async for step in steps:
            tally.rows += len(step)
            yield b"".join(step if ready else [csv_line(scene, form, body, excel=ask.excel) for body in step])
        return
    if ask.format == "ndjson":
        async for step in steps:
            tally.rows += len(step)
            if step:
                yield b"\n".join(step if ready else [shaped(scene, form, body) for body in step]) + b"\n"
        if form.trailer:
            end: dict[str, Any] = {"rows": tally.rows, "dataset_version": version}
            yield ENCODER.encode({"_end": {**end, "truncated": True} if truncated else end}) + b"\n"
        return
    yield b'{"items":['
    async for step in steps:
        if step:
            yield (b"," if tally.rows else b"") + b",".join(step if ready else [shaped(scene, form, body) for body in step])
            tally.rows += len(step)
    tail = ENCODER.encode(
        {
            "next": None,
            "prev": None,
            "self": own,
            "count": None,
            "facets": None,
            "as_of": instant_of_version(version),
            "dataset_version": version,
            "policy_version": scene.forms.version,
            "notice": notice_of(scene, notice),
        }
    )
    yield b"]," + tail[1:]


# --- facets -----------------------------------------------------------------------------------------------------------


def facet_value(scene: Scene, name: str, value: str, number: int) -> dict[str, Any]:
    """One value of a facet with its label and count."""
    if name == "region":
        word = region_label(value, scene.language)
    elif name in ("kind", "status"):
        word = label("subject_kind" if name == "kind" else "status", value, scene.language)
    else:
        word = value
    return {"value": value, "label": word, "count": number}

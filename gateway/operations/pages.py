"""A page of a list as it leaves, in JSON, NDJSON, CSV, XLSX, Parquet or MessagePack, with equal rows in each (api.md §1.1–§1.3).

Rules: the same URL gives the same rows, order and fields in every format. The state of a walk (its dataset version) is sealed into
its cursors, so it is one state from first page to last. All rows at once are `exports`; this room must not choose rows.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import msgspec
from msgspec import structs

from gateway.core.disclosure.query import Query, members, unknown
from gateway.core.errors import ErrorItem, InvalidParameter
from gateway.core.publication import flat
from gateway.core.publication.excerpts import excerpt_of
from gateway.core.publication.labels import label, region_label
from gateway.operations.answering import ENCODER, Scene, answer, instant_of_version, notice_of
from gateway.operations.asking import MEDIA_TYPES, Answer, Ask, Position
from gateway.operations.row_forms import Form, csv_line, shaped, shaped_document, shaped_items
from gateway.operations.row_steps import at_once
from gateway.operations.rows_in_files import TABLES, extension_of, table

OWN_PARAMETERS = frozenset({"count", "facet", "shape", "trailer"})
"""Parameters about the form of the answer: no business of the planner."""
DEFAULT_LIMIT = 20
COUNT_STOP = 100_000
MAX_FACETS = 5
FACET_VALUES = 30
_PACKED: Final = msgspec.msgpack.Encoder()


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
    if ask.format in TABLES:  # made on its way out: what it will hold is named by what it is made of
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
    extension = extension_of(ask)
    made = answer(
        scene,
        body,
        validator=validator,
        dataset_version=version,
        links=(*links, *more_links),
        rows=len(items),
        media_type=MEDIA_TYPES[ask.format],
        file_name=f"page-{version}.{extension}" if ask.format in TABLES or extension != ask.format else None,
        datasets=datasets,
    )
    if ask.format not in TABLES:
        return made
    return structs.replace(made, stream=table(scene, ask, form, at_once(items), version=version, title="page", datasets=datasets))


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

"""Walks: the rows of a list, page by page or all at once, from the read model or live from records, by one set of rules.

Rules:
- the public walks rendered rows; a row whose record changed since, or whose time ran out, is made anew from the record and its View,
  or is not there. Bound tiers walk what their plan set was told of, each record made live through its View.
- a condition or order on a column of the read model is the database's; any other is decided on the shown document, so it can
  only ever see what is shown. Rows that came after the walk began stay out; a removed row is gone at once.
- keys of a walk are shown values and the opaque id. Nothing is counted by skipping: no OFFSET.
This room must not decide which filters a caller has: the planner did.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from functools import partial
from heapq import nsmallest
from typing import Any, Literal, Protocol

import msgspec
from msgspec import Struct

from gateway.core.disclosure.query import Filter, Query
from gateway.core.disclosure.views import View, view
from gateway.core.publication import flat
from gateway.core.publication.changes import Digests, settled
from gateway.core.publication.documents import Head, head_bytes, record_bytes, record_head, until
from gateway.core.publication.forms import bulk_document, kind_of_form
from gateway.core.publication.listings import list_for, listing_head, measures_of
from gateway.core.publication.rendering import public_digest
from gateway.core.records.divisions import covers
from gateway.core.records.model import SUBJECT_KINDS, Record, RecordId, SubjectId
from gateway.operations.answering import DOCUMENT, ENCODER, Scene
from gateway.store import feed, renderings
from gateway.store.records import load
from gateway.store.renderings import Condition, Order

Document = dict[str, Any]
Predicate = Callable[[Document], bool]
Sorting = tuple[tuple[str, bool], ...]
"""(dotted path, descending), at most two; the id always follows."""

SCAN = 500
"""Rows looked at in one step when a condition is decided on the document."""
EXPORT = 1000
"""Rows in one step of an export."""
_COLUMNS: Mapping[str, str] = {
    "dataset": "dataset", "kind": "category", "region": "region", "source": "source", "severity": "severity",
    "decision_date": "decision_date", "published_from": "published_from", "list": "list", "listed_on": "listed_on", "marks": "marks",
}  # fmt: skip
_SORTED_COLUMNS = frozenset({"decision_date", "published_from", "listed_on", "region", "severity"})
_LIVE_COLUMNS: Mapping[str, str] = {"dataset": "dataset", "kind": "category", "list": "list"}


class Row(Struct, frozen=True):
    """One row of a walk: its keys (the id last) and its bytes; None: not shown any more."""

    keys: tuple[str, ...]
    body: bytes | None


class Plan(Struct, frozen=True, kw_only=True):
    """A planned walk: what the database decides, and what is decided on the document."""

    conditions: tuple[Condition, ...]
    predicates: tuple[Predicate, ...]
    order: tuple[Order, ...]
    sorting: Sorting
    """Not empty: an order that only the documents know; then `order` is by id."""
    listing: bool = False
    narrow: bool = False
    """All predicates are about fields of the dataset, so only these are decoded."""


class Source(Protocol):
    """Where the rows of a walk come from."""

    async def batch(self, plan: Plan, *, keys: Sequence[str] | None, back: bool, size: int, snapshot: int) -> list[Row]:
        """The next rows in order; fewer than `size` means the end."""
        ...


# --- conditions --------------------------------------------------------------------------------------------------------


def path_value(document: Mapping[str, Any], name: str) -> Any:
    """The shown value of a filter name: an envelope key, `subject.…`, or a field of the dataset; None where it is not shown."""
    if name == "marks":
        return [mark["code"] for mark in document.get("marks", ())]
    if name == "source":
        return document["source"].get("uscc")
    if name in ("name", "uscc"):
        return document["subject"].get(name) if "subject" in document else document.get(name)
    if "." in name:
        head, _, rest = name.partition(".")
        inner = document.get(head)
        return inner.get(rest) if isinstance(inner, Mapping) else None
    if name in document and name not in ("fields", "treatments", "links", "basis"):
        return document[name]
    fields = document.get("fields")
    return fields.get(name) if isinstance(fields, Mapping) else None


def predicate(condition: Filter, type_: str = "string") -> Predicate:
    """A condition as a function of a shown document; null matches `isnull` only."""
    name, op, values = condition.field, condition.op, condition.values
    number = type_.startswith("decimal") or type_ == "int"

    def plain(value: Any) -> Any:
        if number and value is not None:
            try:
                return Decimal(str(value))
            except InvalidOperation:
                return None
        return value

    wanted = [plain(value) for value in values]

    def holds(document: Document) -> bool:
        found = path_value(document, name)
        if op == "isnull":
            return (found is None or found == []) == (values[0] in (True, "true", "1"))
        if found is None:
            return False
        if isinstance(found, list):
            return any(value in found for value in wanted)
        if name == "region" or type_ == "division":
            return any(covers(str(value), str(found)) for value in values)
        shown = plain(found)
        if op in ("eq", "in"):
            parts = str(found).split(";") if type_ == "enum" and isinstance(found, str) else ()
            return shown in wanted or any(part in wanted for part in parts)
        if op == "prefix":
            return any(str(found).startswith(str(value)) for value in values)
        if op == "contains":
            return any(str(value) in str(found) for value in values)
        if shown is None or wanted[0] is None:
            return False
        first = wanted[0]
        return bool(shown >= first if op == "gte" else shown > first if op == "gt" else shown <= first if op == "lte" else shown < first)

    return holds


def _division_bounds(value: str) -> tuple[str, str]:
    stem = value[:2] if value.endswith("0000") else value[:4] if value.endswith("00") else value
    return stem, stem[:-1] + chr(ord(stem[-1]) + 1)


def condition_of(filter_: Filter, column: str) -> Condition | None:
    """A filter as a condition of the database; None when only the document can tell."""
    values = tuple(str(value) for value in filter_.values)
    if filter_.op == "isnull":
        return Condition(column=column, op="isnull" if filter_.values[0] in (True, "true", "1") else "notnull")
    if column == "region":
        if filter_.op not in ("eq", "in"):
            return None
        return Condition(column=column, op="prefix", values=tuple(bound for value in values for bound in _division_bounds(value)))
    if column == "marks":
        return Condition(column=column, op="marked", values=values) if filter_.op in ("eq", "in") else None
    if filter_.op in ("eq", "in"):
        return Condition(column=column, op="in" if len(values) > 1 else "eq", values=values)
    if filter_.op in ("gte", "gt", "lte", "lt") and len(values) == 1:
        return Condition(column=column, op=filter_.op, values=values)
    return None


def plan_walk(scene: Scene, query: Query, types: Mapping[str, str], *, fixed: Sequence[Condition] = (), listing: bool = False) -> Plan:
    """Which conditions and orders the database decides, and which the shown document."""
    columns = _COLUMNS if scene.public else _LIVE_COLUMNS
    conditions, predicates = list(fixed), []
    narrow = True
    for each in query.filters:
        column = columns.get(each.field)
        condition = condition_of(each, column) if column is not None else None
        if condition is not None:
            conditions.append(condition)
            continue
        type_ = types.get(each.field, "string")
        predicates.append(predicate(each, type_))
        narrow = narrow and each.field not in _ENVELOPE and column is None
        if scene.public and not listing and (hint := _hint(each, type_)) is not None:
            conditions.append(hint)
    if set(query.kinds) != set(SUBJECT_KINDS):  # a filter reaches only the kinds for which it is allowed
        if scene.public and query.kinds == ("legal",):
            conditions.append(Condition(column="bulk", op="eq"))
        else:
            predicates.append(partial(_of_kinds, frozenset(query.kinds)))
            narrow = False
    by_column = scene.public and all(name in _SORTED_COLUMNS for name, _ in query.sort)
    return Plan(
        conditions=tuple(dict.fromkeys(conditions)),
        predicates=tuple(predicates),
        order=tuple(Order(column=_COLUMNS[name], descending=down) for name, down in query.sort) if by_column else (),
        sorting=() if by_column else query.sort,
        listing=listing,
        narrow=narrow,
    )


_ENVELOPE = frozenset(
    {"name", "uscc", "document_number", "decision_date", "severity", "marks", "source", "region", "kind", "dataset", "list"}
)
_WHOLE = frozenset({"string", "subject_name", "uscc", "reg_no", "org_code", "date", "enum"})


def _hint(each: Filter, type_: str) -> Condition | None:
    """Bytes that a rendering must hold to meet a filter by whole values: the database looks, the document still decides."""
    if each.op not in ("eq", "in") or type_ not in _WHOLE or each.field in _ENVELOPE:
        return None
    if type_ == "enum":  # one of several codes may be meant
        return Condition(column="body", op="holds", values=tuple(str(value).encode() for value in each.values))
    return Condition(
        column="body", op="holds", values=tuple(b'"%b":%b' % (each.field.encode(), ENCODER.encode(str(value))) for value in each.values)
    )


def _of_kinds(kinds: frozenset[str], document: Document) -> bool:
    return kind_of_form(document["subject"]["kind"]) in kinds


# --- making a row live -------------------------------------------------------------------------------------------------


class Seen(Struct, frozen=True):
    """A record as the caller sees it at this moment."""

    view: View
    head: Head


async def seen_now(scene: Scene, records: Sequence[Record]) -> dict[str, Seen]:
    """These records as the caller may see them at this moment, with the receipt and correction that its plan set may know."""
    views: list[tuple[Record, View]] = []
    for record in records:
        plan = scene.forms.plan(record.dataset, record.kind)
        seen = view(record, plan, scene.policies, scene.now) if plan is not None else None
        if seen is not None and until(seen.valid_until) > scene.now_text:
            views.append((record, seen))
    if not views:
        return {}
    reads, ids = scene.services.store.reads, [record.record_id for record, _ in views]
    rows = await (renderings.held(reads, ids) if scene.public else renderings.told(reads, scene.forms.name, ids))
    before = renderings.told_of(rows)
    digests = Digests(scene.services.store.vault.key("feed-digest"))
    found: dict[str, Seen] = {}
    for record, seen in views:
        form = scene.forms.by_dataset[record.dataset]
        if scene.public:
            digest = public_digest(digests, form, record.kind, scene.origin)
        else:
            digest = partial(digests.view, silent=form.silent[record.kind])
        shown = settled(seen, record.corrected_since, before.get(record.record_id), digest).view
        found[record.record_id] = Seen(shown, record_head(shown, scene.origin))
    return found


async def live(
    scene: Scene, record_ids: Sequence[str], *, listing: bool = False, seqs: Mapping[str, int] | None = None
) -> dict[str, bytes]:
    """These records as the caller may see them at this moment, made from the records themselves; a hidden one is absent."""
    if not record_ids:
        return {}
    reads = scene.services.store.reads
    known = await feed.latest_of(reads, scene.forms.name, record_ids) if seqs is None else seqs
    records = await load(reads, ids=[RecordId(each) for each in record_ids], fields=fields_of(scene))
    found: dict[str, bytes] = {}
    for record_id, seen in (await seen_now(scene, records)).items():
        document = seen.head.document
        if listing:
            held = list_for(seen.view, scene.policies.catalogue)
            if held is None:
                continue
            document = listing_head(seen.head, held, measures_of(seen.view, scene.policies.catalogue))
        found[record_id] = record_bytes(
            head_bytes(document), seq=known.get(record_id, 0), policy_version=scene.forms.version, origin=scene.origin, record_id=record_id
        )
    return found


def fields_of(scene: Scene, dataset: str | None = None) -> frozenset[str]:
    """What the caller's plans select; nothing else leaves the database, nor is it decrypted."""
    forms = scene.forms
    plan_sets = forms.plan_sets.values() if dataset is None else [forms.plan_sets[dataset]] if dataset in forms.plan_sets else []
    return frozenset(name for held in plan_sets for plan in held.plans.values() for name in plan.columns)


async def live_rows(scene: Scene, plan: Plan, record_ids: Sequence[str], *, csv: bool) -> dict[str, bytes]:
    """Stale rows of an export made anew: as documents, or as CSV lines in the columns of their dataset."""
    found: dict[str, bytes] = {}
    for record_id, body in (await live(scene, record_ids, listing=plan.listing)).items():
        if _still(plan, body) is None or (plan.predicates and not passes(plan, body)):
            continue
        if not csv:
            found[record_id] = body
            continue
        document = DOCUMENT.decode(body)
        form = scene.forms.by_dataset[document["dataset"]]
        columns = form.bulk_listing_columns if plan.listing else form.bulk_columns
        found[record_id] = flat.row_line(bulk_document(scene.forms, document), columns)
    return found


# --- sources -----------------------------------------------------------------------------------------------------------


class Rendered:
    """The public's rows: rendered ones, and stale ones made anew."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    async def batch(self, plan: Plan, *, keys: Sequence[str] | None, back: bool, size: int, snapshot: int) -> list[Row]:
        """The next rows in order."""
        scene = self._scene
        payload: Literal["listing", "body"] = "listing" if plan.listing else "body"
        rows = await renderings.page(
            scene.services.store.reads,
            plan.conditions,
            plan.order,
            plan=scene.forms.tag,
            now=scene.now_text,
            snapshot=snapshot,
            limit=size,
            keys=keys,
            back=back,
            payload=payload,
        )
        stale = [row.record_id for row in rows if not row.fresh]
        anew = await live(scene, stale, listing=plan.listing, seqs={row.record_id: row.seq for row in rows}) if stale else {}
        count = len(plan.order) + 1
        return [Row(tuple(row[4 : 4 + count]), row.payload if row.fresh else _still(plan, anew.get(row.record_id))) for row in rows]


def _still(plan: Plan, body: bytes | None) -> bytes | None:
    """A row made anew, if it still meets the conditions that the database decided on the old rendering."""
    if body is None:
        return None
    document = DOCUMENT.decode(body)
    for condition in plan.conditions:
        if not _meets(condition, document):
            return None
    return body


_DOCUMENT_NAMES = {column: name for name, column in _COLUMNS.items()}


def _meets(condition: Condition, document: Document) -> bool:
    if condition.column in ("bulk", "subject_id", "body"):
        return True
    found = path_value(document, _DOCUMENT_NAMES[condition.column])
    values = condition.values
    if condition.op == "isnull":
        return found is None
    if condition.op == "notnull":
        return found is not None
    if found is None:
        return False
    if condition.op == "marked":
        return any(value in found for value in values)
    if condition.op == "prefix":
        return any(values[n] <= found < values[n + 1] for n in range(0, len(values), 2))
    if condition.op in ("eq", "in"):
        return found in values
    first = values[0]
    compared = {"gte": found >= first, "gt": found > first, "lte": found <= first, "lt": found < first}
    return bool(compared[condition.op])


class Live:
    """A bound tier's rows: what its plan set was told of, each made live; by id."""

    def __init__(self, scene: Scene, subject_id: str | None = None) -> None:
        self._scene = scene
        self._subject_id = subject_id

    async def batch(self, plan: Plan, *, keys: Sequence[str] | None, back: bool, size: int, snapshot: int) -> list[Row]:
        """The next rows in order."""
        scene = self._scene
        ids = await renderings.told_page(
            scene.services.store.reads,
            scene.forms.name,
            plan.conditions,
            snapshot=snapshot,
            limit=size,
            subject_id=self._subject_id,
            key=keys[-1] if keys else None,
            back=back,
        )
        made = await live(scene, ids, listing=plan.listing)
        return [Row((record_id,), made.get(record_id)) for record_id in ids]


def source_of(scene: Scene, subject: SubjectId | None = None) -> Source:
    """Where this caller's rows come from."""
    return Rendered(scene) if scene.public else Live(scene, subject)


# --- walking -----------------------------------------------------------------------------------------------------------


async def walk(
    source: Source, plan: Plan, *, keys: tuple[str, ...] | None, back: bool, limit: int, snapshot: int
) -> tuple[list[Row], bool]:
    """At most `limit` shown rows after the keys, in the order of reading, and whether more follow."""
    if plan.sorting:
        return await _sorted_walk(source, plan, keys=keys, back=back, limit=limit, snapshot=snapshot)
    found: list[Row] = []
    at: Sequence[str] | None = keys
    size = limit + 1 if not plan.predicates else max(SCAN, limit + 1)
    while True:
        rows = await source.batch(plan, keys=at, back=back, size=size, snapshot=snapshot)
        for row in rows:
            if row.body is not None and (not plan.predicates or passes(plan, row.body)):
                if len(found) == limit:
                    return found, True
                found.append(row)
        if len(rows) < size:
            return found, False
        at = rows[-1].keys


class _Narrow(Struct):
    fields: dict[str, Any]


_NARROW = msgspec.json.Decoder(_Narrow)


def passes(plan: Plan, body: bytes) -> bool:
    """Whether a shown document meets the conditions that the database could not decide."""
    document = {"fields": _NARROW.decode(body).fields} if plan.narrow else DOCUMENT.decode(body)
    return all(holds(document) for holds in plan.predicates)


class _Down:
    """A key that sorts the other way round."""

    __slots__ = ("key",)

    def __init__(self, key: tuple[int, Any]) -> None:
        self.key = key

    def __lt__(self, other: "_Down") -> bool:
        return other.key < self.key

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Down) and other.key == self.key

    def __hash__(self) -> int:
        return hash(self.key)


def _comparable(text: str) -> tuple[int, Any]:
    """A sort key from its text in a cursor: nothing first, numbers by value, else text."""
    if text == "":
        return (0, "")
    try:
        return (1, Decimal(text))
    except InvalidOperation:
        return (2, text)


def _order_key(keys: Sequence[str], sorting: Sorting, back: bool) -> tuple[Any, ...]:
    parts: list[Any] = []
    for text, (_, down) in zip(keys, sorting, strict=False):
        key = _comparable(text)
        parts.append(_Down(key) if down != back else key)
    last = (2, keys[-1])
    parts.append(_Down(last) if back else last)
    return tuple(parts)


async def _sorted_walk(
    source: Source, plan: Plan, *, keys: tuple[str, ...] | None, back: bool, limit: int, snapshot: int
) -> tuple[list[Row], bool]:
    """The same in an order that only the shown documents know: every page looks at every row, and keeps `limit` of them."""
    best: list[tuple[tuple[Any, ...], Row]] = []
    after = _order_key(keys, plan.sorting, back) if keys is not None else None
    at: Sequence[str] | None = None
    while True:
        rows = await source.batch(plan, keys=at, back=False, size=SCAN, snapshot=snapshot)
        for row in rows:
            if row.body is None:
                continue
            document = DOCUMENT.decode(row.body)
            if not all(holds(document) for holds in plan.predicates):
                continue
            texts = tuple(_text(path_value(document, name)) for name, _ in plan.sorting)
            full = (*texts, row.keys[-1])
            order = _order_key(full, plan.sorting, back)
            if after is None or after < order:
                best.append((order, Row(full, row.body)))
        best = nsmallest(limit + 1, best, key=lambda item: item[0])
        if len(rows) < SCAN:
            break
        at = rows[-1].keys
    return [row for _, row in best[:limit]], len(best) > limit


def _text(value: Any) -> str:
    return "" if value is None else "true" if value is True else "false" if value is False else str(value)


async def everything(source: Source, plan: Plan, *, snapshot: int) -> AsyncIterator[list[bytes]]:
    """All shown rows, in steps; for exports that the read model has no ready bytes for."""
    if plan.sorting:
        more, keys = True, None
        while more:
            rows, more = await _sorted_walk(source, plan, keys=keys, back=False, limit=20 * EXPORT, snapshot=snapshot)
            yield [row.body for row in rows if row.body is not None]
            keys = rows[-1].keys if rows else None
        return
    at: Sequence[str] | None = None
    while True:
        rows = await source.batch(plan, keys=at, back=False, size=EXPORT, snapshot=snapshot)
        yield [row.body for row in rows if row.body is not None and (not plan.predicates or passes(plan, row.body))]
        if len(rows) < EXPORT:
            return
        at = rows[-1].keys

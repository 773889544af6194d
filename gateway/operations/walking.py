"""Walks: the rows of a list, page by page or all at once, from the read model or live from records, by one set of rules.

Rules:
- the public walks rendered rows; a row whose record changed since, or whose time ran out, is made anew from the record and its View,
  or is not there. Bound tiers walk what their plan set was told of, each record made live through its View.
- a condition or order on a column of the read model is the database's; any other is decided on the shown document, so it can
  only ever see what is shown. Rows that came after the walk began stay out; a removed row is gone at once.
- keys of a walk are shown values and the opaque id. Nothing is counted by skipping: no OFFSET.
This room must not decide which filters a caller has: the planner did.
"""

from collections.abc import AsyncIterator, Sequence
from decimal import Decimal, InvalidOperation
from heapq import nsmallest
from typing import Any, Literal, Protocol

from msgspec import Struct

from gateway.core.publication import flat
from gateway.core.publication.forms import bulk_document
from gateway.core.records.model import SubjectId
from gateway.operations.answering import DOCUMENT, Scene
from gateway.operations.filtering import Plan, Sorting, meets, passes, path_value
from gateway.operations.live_records import live
from gateway.store import walks
from gateway.store.conditions import Condition

SCAN = 500
"""Rows looked at in one step when a condition is decided on the document."""
EVERYTHING = 2**53 - 1
"""No number of a sequence is beyond it."""
EXPORT = 1000
"""Rows in one step of an export."""


class Row(Struct, frozen=True):
    """One row of a walk: its keys (the id last) and its bytes; None: not shown any more."""

    keys: tuple[str, ...]
    body: bytes | None


class Source(Protocol):
    """Where the rows of a walk come from."""

    async def batch(self, plan: Plan, *, keys: Sequence[str] | None, back: bool, size: int, snapshot: int) -> list[Row]:
        """The next rows in order; fewer than `size` means the end."""
        ...


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
        rows = await walks.page(
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
        await scene.effort.looked_at(len(rows))
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
        if not meets(condition, document):
            return None
    return body


class Live:
    """A bound tier's rows: what its plan set was told of and its grants reach, each made live; by id."""

    def __init__(self, scene: Scene, subject_id: str | None = None) -> None:
        self._scene = scene
        self._subject_id = subject_id

    async def batch(self, plan: Plan, *, keys: Sequence[str] | None, back: bool, size: int, snapshot: int) -> list[Row]:
        """The next rows in order."""
        scene = self._scene
        ids = await walks.told_page(
            scene.services.store.reads,
            scene.forms.name,
            plan.conditions,
            gates=scene.gates,
            snapshot=snapshot,
            limit=size,
            subject_id=self._subject_id,
            key=keys[-1] if keys else None,
            back=back,
        )
        await scene.effort.looked_at(len(ids))
        made = await live(scene, ids, listing=plan.listing)
        return [Row((record_id,), made.get(record_id)) for record_id in ids]


class Reached:
    """Rows of who has no (whole) sequence of changes: whatever the gates reach, each made live; by id. Every page is of its own moment."""

    def __init__(self, scene: Scene, subject_id: str | None = None) -> None:
        self._scene = scene
        self._subject_id = subject_id

    async def batch(self, plan: Plan, *, keys: Sequence[str] | None, back: bool, size: int, snapshot: int) -> list[Row]:
        """The next rows in order."""
        scene = self._scene
        conditions = [each for each in plan.conditions if each.column != "list"]  # the document decides: one that is no listing is absent
        if self._subject_id is not None:
            conditions.append(Condition(column="subject_id", op="eq", values=(self._subject_id,)))
        ids = await walks.reached_page(
            scene.services.store.reads, conditions, gates=scene.gates, limit=size, key=keys[-1] if keys else None, back=back
        )
        await scene.effort.looked_at(len(ids))
        made = await live(scene, ids, listing=plan.listing)
        found = {record_id: body for record_id, body in made.items() if _still(plan, body) is not None}
        return [Row((record_id,), found.get(record_id)) for record_id in ids]


def source_of(scene: Scene, subject: SubjectId | None = None) -> Source:
    """Where this caller's rows come from."""
    if scene.public:
        return Rendered(scene)
    return Live(scene, subject) if scene.forms.fed and scene.whole else Reached(scene, subject)


def snapshot_of(scene: Scene) -> int:
    """The state that a walk begins in: rows that came later stay out, where that can be told."""
    return scene.head.seq if scene.whole else EVERYTHING


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


async def told_rows(scene: Scene, *conditions: Condition) -> int | None:
    """About how many rows a bound caller would get, for a description: rounded down to fives; None where only a walk could tell."""
    if not (scene.forms.fed and scene.whole):
        return None
    rows = await walks.told_count(scene.services.store.reads, scene.forms.name, conditions, gates=scene.gates)
    return rows - rows % 5

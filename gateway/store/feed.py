"""The change log as each plan set sees it: items, pending removals, heads (api.md §7.9).

Rules: `seq` is counted for each plan set by itself and says nothing of any other; an item names a record and never contains it. A
removal takes the record's earlier items away at once, waits until the next full 30 seconds, and is then told among all others of
that moment in order of id. Items older than the window are taken away, and the floor remembers where. This room must not
decide what a plan set sees.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from msgspec import Struct

from gateway.store.dialects import among
from gateway.store.row_gates import Reach, reached
from gateway.store.store import Reads, Row, Transaction
from gateway.store.tables import counters, feed, feed_pending, records

FEED_COLUMNS = ("plan_set", "seq", "op", "at", "record_id", "dataset", "category", "list", "reason", "fields_changed")
PENDING_COLUMNS = ("plan_set", "record_id", "tell_at", "dataset", "category", "list", "reason")
FIRST_VERSION = "00000000000000-0"


class Head(Struct, frozen=True, kw_only=True):
    """The latest item of a plan set."""

    seq: int = 0
    at: str = ""

    @property
    def version(self) -> str:
        """The dataset version: commit time and sequence; sorts as text."""
        return "".join(character for character in self.at[:19] if character.isdigit()) + f"-{self.seq}" if self.seq else FIRST_VERSION


class Item(Struct, frozen=True, kw_only=True):
    """One item as stored."""

    seq: int
    op: str
    at: str
    record_id: str | None = None
    dataset: str | None = None
    category: str | None = None
    list: str | None = None
    reason: str | None = None
    fields_changed: str | None = None


def counter(plan_set: str) -> str:
    """Name of the counter behind a plan set's sequence."""
    return f"feed:{plan_set}"


def floor_counter(plan_set: str) -> str:
    """Name of the counter that holds the last sequence taken away for age."""
    return f"feed-floor:{plan_set}"


_f, _p = feed.c, feed_pending.c
_HEAD = sa.select(_f.seq, _f.at).where(_f.plan_set == sa.bindparam("plan_set")).order_by(_f.seq.desc()).limit(1)
_COUNTED = sa.select(counters.c.name, counters.c.value).where(among(counters.c.name, "names"))
_PENDING = (
    sa.select(_p.record_id, _p.tell_at, _p.dataset, _p.category, _p.list, _p.reason)
    .where(_p.plan_set == sa.bindparam("plan_set"), _p.tell_at <= sa.bindparam("until"))
    .order_by(_p.tell_at, _p.record_id)
)
_NEXT_TELLING = sa.select(sa.func.min(_p.tell_at).label("at"))
_FORGET = sa.delete(feed).where(_f.plan_set == sa.bindparam("of"), among(_f.record_id, "ids"))
_UNPEND = sa.delete(feed_pending).where(_p.plan_set == sa.bindparam("of"), among(_p.record_id, "ids"))
_STALE = sa.select(sa.func.max(_f.seq).label("seq")).where(_f.plan_set == sa.bindparam("plan_set"), _f.at < sa.bindparam("before"))
_PRUNE = sa.delete(feed).where(_f.plan_set == sa.bindparam("of"), _f.seq <= sa.bindparam("floor"))
_SET_COUNTER = sa.text("INSERT INTO counters (name, value) VALUES (:name, :value) ON CONFLICT (name) DO UPDATE SET value = excluded.value")
_LATEST_OF = (
    sa.select(_f.record_id, sa.func.max(_f.seq).label("seq"))
    .where(_f.plan_set == sa.bindparam("plan_set"), among(_f.record_id, "ids"))
    .group_by(_f.record_id)
)


async def head(source: Reads | Transaction, plan_set: str) -> Head:
    """The latest item of a plan set."""
    row = await source.one(_HEAD, {"plan_set": plan_set})
    return Head() if row is None else Head(seq=int(row.seq), at=row.at)


async def floor(source: Reads | Transaction, plan_set: str) -> int:
    """The last sequence that was taken away for age; 0 when none was."""
    rows = await source.all(_COUNTED, {"names": [floor_counter(plan_set)]})
    return int(rows[0].value) if rows else 0


async def latest_of(source: Reads | Transaction, plan_set: str, ids: Sequence[str]) -> dict[str, int]:
    """The latest visible change of each of these records."""
    return {row.record_id: int(row.seq) for row in await source.all(_LATEST_OF, {"plan_set": plan_set, "ids": list(ids)})}


@lru_cache(maxsize=256)
def _items(datasets: int, categories: int, lists: int, gates: tuple[Reach, ...] | None) -> sa.Select[Any]:
    statement = sa.select(_f.seq, _f.op, _f.at, _f.record_id, _f.dataset, _f.category, _f.list, _f.reason, _f.fields_changed).where(
        _f.plan_set == sa.bindparam("plan_set"), _f.seq > sa.bindparam("since")
    )
    if gates is not None:
        here = sa.exists().where(records.c.record_id == _f.record_id, reached(gates))
        statement = statement.where(sa.or_(_f.op == "policy", here))
    for column, name, count in ((_f.dataset, "dataset", datasets), (_f.category, "kind", categories), (_f.list, "list", lists)):
        if count:  # a policy change concerns every filter
            statement = statement.where(
                sa.or_(_f.op == "policy", *(column == sa.bindparam(f"{name}{n}", type_=sa.Text()) for n in range(count)))
            )
    return statement.order_by(_f.seq).limit(sa.bindparam("limit"))


async def items(
    source: Reads,
    plan_set: str,
    since: int,
    *,
    limit: int,
    datasets: Sequence[str] = (),
    categories: Sequence[str] = (),
    lists: Sequence[str] = (),
    gates: tuple[Reach, ...] | None = None,
) -> list[Item]:
    """The items after a position, in order; filters keep what equals any of their values, and policy changes.

    Of one caller (`gates`) only those whose record it reaches now; None: everybody's. The numbers stay as they are.
    """
    params: dict[str, Any] = {"plan_set": plan_set, "since": since, "limit": limit}
    for name, values in (("dataset", datasets), ("kind", categories), ("list", lists)):
        params.update({f"{name}{n}": value for n, value in enumerate(values)})
    rows = await source.all(_items(len(datasets), len(categories), len(lists), gates), params)
    return [Item(**row._asdict()) for row in rows]


async def add(tx: Transaction, plan_set: str, rows: Iterable[tuple[Any, ...]]) -> None:
    """Append items: tuples of FEED_COLUMNS without the plan set."""
    await tx.insert(feed, FEED_COLUMNS, [(plan_set, *row) for row in rows])


async def forget(tx: Transaction, plan_set: str, record_ids: Sequence[str]) -> None:
    """Take every item that names these records away."""
    if record_ids:
        await tx.execute(_FORGET, {"of": plan_set, "ids": list(record_ids)})


async def wait_no_more(tx: Transaction, plan_set: str, record_ids: Sequence[str]) -> None:
    """Take away what waits to be told of these records."""
    if record_ids:
        await tx.execute(_UNPEND, {"of": plan_set, "ids": list(record_ids)})


async def await_telling(tx: Transaction, plan_set: str, rows: Iterable[tuple[Any, ...]]) -> None:
    """Removals that wait for their moment: tuples of PENDING_COLUMNS without the plan set."""
    await tx.insert(feed_pending, PENDING_COLUMNS, [(plan_set, *row) for row in rows])


async def pending(source: Reads | Transaction, plan_set: str, until: str) -> list[Row]:
    """Removals whose moment has come, in order of moment and id."""
    return await source.all(_PENDING, {"plan_set": plan_set, "until": until})


async def next_telling(source: Reads | Transaction) -> str | None:
    """The earliest moment at which a removal waits to be told."""
    row = await source.one(_NEXT_TELLING)
    return None if row is None else row.at


async def prune(tx: Transaction, plan_set: str, before: str) -> None:
    """Take the items of before a moment away, and remember where the feed begins now; the latest stays, for it is where the feed stands."""
    row = await tx.one(_STALE, {"plan_set": plan_set, "before": before})
    if row is None or row.seq is None:
        return
    upto = min(int(row.seq), (await head(tx, plan_set)).seq - 1)
    if upto > 0:
        await tx.execute(_PRUNE, {"of": plan_set, "floor": upto})
        await tx.execute(_SET_COUNTER, {"name": floor_counter(plan_set), "value": upto})

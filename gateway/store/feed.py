"""The change log as each plan set sees it: items, pending removals, heads (api.md §7.9).

Rules: `seq` is counted for each plan set by itself and says nothing of any other; an item names a record and never contains it. A
removal takes the record's earlier items away at once, waits until the next full 30 seconds, and is then told among all others of
that moment in order of id. Items older than the window are taken away, and the floor remembers where.

Of a bound plan set each caller is told what concerns the records that it reaches. Where a record lay before it moved, or was removed, is
kept (`feed_left`), so that every item can be asked who reached the record before it and who after; nothing is kept of a caller. A
`mod` that brought a record within reach is an `add` to who did not reach it before; `move` is one that nobody else is told
of; `left` is the removal of who reached it before, told with all others. This room must not decide what a plan set sees.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from msgspec import Struct, structs

from gateway.core.disclosure.seats import Seat
from gateway.store.dialects import among
from gateway.store.row_gates import LEFT, Reach, reached
from gateway.store.store import Reads, Row, Transaction
from gateway.store.tables import counters, feed, feed_left, feed_pending, feed_rows, records

FEED_COLUMNS = ("plan_set", "seq", "op", "at", "record_id", "dataset", "category", "list", "reason", "fields_changed")
LEFT_COLUMNS = ("plan_set", "number", "record_id", "dataset", "kind", "region", "owner", "gated", "moved", "told")
PENDING_COLUMNS = ("plan_set", "record_id", "op", "tell_at", "dataset", "category", "list", "reason")
FIRST_VERSION = "00000000000000-0"


class Head(Struct, frozen=True, kw_only=True):
    """The latest item of a plan set."""

    seq: int = 0
    at: str = ""
    version: str = FIRST_VERSION
    """The dataset version: commit time and sequence; sorts as text. Worked out, never given."""

    def __post_init__(self) -> None:
        """Work the version out."""
        if self.seq:
            structs.force_setattr(self, "version", f"{''.join(filter(str.isdigit, self.at[:19]))}-{self.seq}")


class Item(Struct, frozen=True, kw_only=True):
    """One item as stored, or as one caller is told of it."""

    seq: int
    op: str
    at: str
    record_id: str | None = None
    dataset: str | None = None
    category: str | None = None
    list: str | None = None
    reason: str | None = None
    fields_changed: str | None = None
    came: bool = False
    """It brought the record within this caller's reach."""


def counter(plan_set: str) -> str:
    """Name of the counter behind a plan set's sequence."""
    return f"feed:{plan_set}"


def floor_counter(plan_set: str) -> str:
    """Name of the counter that holds the last sequence taken away for age."""
    return f"feed-floor:{plan_set}"


def left_counter(plan_set: str) -> str:
    """Name of the counter that numbers what records of a plan set have left."""
    return f"feed-left:{plan_set}"


_f, _p, _l = feed.c, feed_pending.c, feed_left.c
_HEAD = sa.select(_f.seq, _f.at).where(_f.plan_set == sa.bindparam("plan_set")).order_by(_f.seq.desc()).limit(1)
_COUNTED = sa.select(counters.c.name, counters.c.value).where(among(counters.c.name, "names"))
_PENDING = (
    sa.select(_p.record_id, _p.op, _p.tell_at, _p.dataset, _p.category, _p.list, _p.reason)
    .where(_p.plan_set == sa.bindparam("plan_set"), _p.tell_at <= sa.bindparam("until"))
    .order_by(_p.tell_at, _p.record_id)
)
_ANY_PENDING = sa.select(_p.record_id).where(_p.plan_set == sa.bindparam("plan_set")).limit(1)
_NEXT_TELLING = sa.select(sa.func.min(_p.tell_at).label("at"))
_FORGET = sa.delete(feed).where(_f.plan_set == sa.bindparam("of"), among(_f.record_id, "ids"))
_WAITING = (
    sa.select(_l.record_id, _l.dataset, _l.kind, _l.region, _l.owner, _l.gated)
    .where(_l.plan_set == sa.bindparam("plan_set"), among(_l.record_id, "ids"), _l.told == 0)
    .order_by(_l.record_id, _l.number)
)
_TELL_AGAIN = sa.update(feed_left).values(told=0).where(_l.plan_set == sa.bindparam("of"), among(_l.record_id, "ids"))
_TELL_LEFT = (
    sa.update(feed_left)
    .values(told=sa.bindparam("seq"))
    .where(_l.plan_set == sa.bindparam("of"), _l.record_id == sa.bindparam("which"), _l.told == 0)
)
_NO_LEFT = sa.delete(feed_left).where(_l.plan_set == sa.bindparam("of"), among(_l.record_id, "ids"), _l.told == 0)
_PRUNE_LEFT = sa.delete(feed_left).where(_l.plan_set == sa.bindparam("of"), _l.told > 0, _l.told <= sa.bindparam("floor"))
_AWAIT_LEAVING = sa.text(
    "INSERT INTO feed_pending (plan_set, record_id, op, tell_at, dataset, category, list, reason)"
    " VALUES (:plan_set, :record_id, :op, :tell_at, :dataset, :category, :list, :reason) ON CONFLICT (plan_set, record_id) DO NOTHING"
)
_BACK = sa.update(feed_pending).values(op="left").where(_p.plan_set == sa.bindparam("of"), among(_p.record_id, "ids"))
_UNPEND = sa.delete(feed_pending).where(_p.plan_set == sa.bindparam("of"), among(_p.record_id, "ids"))
_STALE = sa.select(sa.func.max(_f.seq).label("seq")).where(_f.plan_set == sa.bindparam("plan_set"), _f.at < sa.bindparam("before"))
_PRUNE = sa.delete(feed).where(_f.plan_set == sa.bindparam("of"), _f.seq <= sa.bindparam("floor"))
_SET_COUNTER = sa.text("INSERT INTO counters (name, value) VALUES (:name, :value) ON CONFLICT (name) DO UPDATE SET value = excluded.value")
_LATEST_OF = (
    sa.select(_f.record_id, sa.func.max(_f.seq).label("seq"))
    # a plan set that is compared as it stands, SQLite walks from end to end, instead of looking a few records up
    .where(_f.plan_set.concat("") == sa.bindparam("plan_set"), among(_f.record_id, "ids"), sa.or_(_f.op == "add", _f.op == "mod"))
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


_DATASETS_TOLD = sa.union(
    *(
        sa.select(table.c.dataset).where(table.c.plan_set == sa.bindparam("plan_set"), table.c.dataset.is_not(None))
        for table in (feed, feed_pending)
    )
)


async def datasets_told(source: Reads, plan_set: str) -> frozenset[str]:
    """The datasets of which anything is told, or about to be: of their removals too, where the plan set is shown none of it any more.

    Looks at the whole sequence, off the loop: not to be asked for every question.
    """
    return frozenset(row.dataset for row in await source.slow(_DATASETS_TOLD, {"plan_set": plan_set}))


async def latest_of(source: Reads | Transaction, plan_set: str, ids: Sequence[str]) -> dict[str, int]:
    """The latest visible change of each of these records."""
    return {row.record_id: int(row.seq) for row in await source.all(_LATEST_OF, {"plan_set": plan_set, "ids": list(ids)})}


@lru_cache(maxsize=256)
def _items(datasets: int, categories: int, lists: int, gates: tuple[Reach, ...] | None) -> sa.Select[Any]:
    statement = sa.select(_f.seq, _f.op, _f.at, _f.record_id, _f.dataset, _f.category, _f.list, _f.reason, _f.fields_changed).where(
        _f.plan_set == sa.bindparam("plan_set"), _f.seq > sa.bindparam("since")
    )
    if gates is not None:
        of = sa.and_(_l.plan_set == _f.plan_set, _l.record_id == _f.record_id)
        here = sa.exists().where(records.c.record_id == _f.record_id, reached(gates))
        came = sa.exists().where(of, _l.moved == _f.seq, sa.not_(reached(gates, LEFT)))
        # an item of before the record last came within reach: it was out of it at some time since
        past = sa.exists().where(of, _l.moved > _f.seq, sa.not_(reached(gates, LEFT)))
        was = sa.exists().where(of, _l.told == _f.seq, reached(gates, LEFT))
        statement = statement.add_columns(came.label("came")).where(
            sa.or_(
                _f.op == "policy",
                sa.and_(sa.or_(_f.op == "add", _f.op == "mod"), here, sa.not_(past)),
                sa.and_(_f.op == "move", here, came, sa.not_(past)),
                sa.and_(_f.op == "del", was),
                sa.and_(_f.op == "left", was, sa.not_(here)),
            )
        )
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

    Of one caller (`gates`) only those that concern what it reaches, and as it is to hear them; None: the public's. The numbers
    stay as they are.
    """
    params: dict[str, Any] = {"plan_set": plan_set, "since": since, "limit": limit}
    for name, values in (("dataset", datasets), ("kind", categories), ("list", lists)):
        params.update({f"{name}{n}": value for n, value in enumerate(values)})
    rows = await source.all(_items(len(datasets), len(categories), len(lists), gates), params)
    return [_heard(Item(**row._asdict())) for row in rows]


def _heard(item: Item) -> Item:
    """An item in the three words that a caller knows."""
    if item.op == "left":
        return structs.replace(item, op="del")
    return structs.replace(item, op="add", fields_changed=None) if item.came and item.op in ("mod", "move") else item


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


async def come_back(tx: Transaction, plan_set: str, record_ids: Sequence[str]) -> None:
    """Records that are there again before their removal was told: it is told to those alone who no longer reach them."""
    if record_ids and await tx.one(_ANY_PENDING, {"plan_set": plan_set}) is not None:  # seldom: none has to be looked for one by one
        await tx.execute(_BACK, {"of": plan_set, "ids": list(record_ids)})


async def leave(tx: Transaction, plan_set: str, seats: Sequence[tuple[str, Seat, int]]) -> None:
    """Keep where records lay: (record, seat, number of the item that moved it, 0 for none)."""
    if not seats:
        return
    first = await tx.number(left_counter(plan_set), len(seats))
    await tx.insert(
        feed_left,
        LEFT_COLUMNS,
        [
            (plan_set, number, record_id, seat.dataset, seat.kind, seat.region, seat.owner, seat.values, moved, 0)
            for number, (record_id, seat, moved) in enumerate(seats, first)
        ],
    )


async def tell_again(tx: Transaction, plan_set: str, record_ids: Sequence[str]) -> None:
    """Whoever ever reached these records is told of their removal: the items that told some of them go away with all others."""
    if record_ids:
        await tx.execute(_TELL_AGAIN, {"of": plan_set, "ids": list(record_ids)})


async def waiting_seats(source: Reads | Transaction, plan_set: str, record_ids: Sequence[str]) -> dict[str, list[Seat]]:
    """Where these records lay of which nobody who reached them there has been told yet."""
    found: dict[str, list[Seat]] = {}
    if record_ids:
        for row in await source.all(_WAITING, {"plan_set": plan_set, "ids": list(record_ids)}):
            seat = Seat(dataset=row.dataset, kind=row.kind, region=row.region, owner=row.owner, values=bytes(row.gated))
            found.setdefault(row.record_id, []).append(seat)
    return found


async def tell_left(tx: Transaction, plan_set: str, told: Sequence[tuple[str, int]], nobody: Sequence[str]) -> None:
    """What waits of these records is told by the items of these numbers; of others (`nobody`) nothing has to be told."""
    if told:
        await tx.execute(_TELL_LEFT, [{"of": plan_set, "which": record_id, "seq": seq} for record_id, seq in told])
    if nobody:
        await tx.execute(_NO_LEFT, {"of": plan_set, "ids": list(nobody)})


async def close(tx: Transaction, plan_set: str, at: str, said: str) -> None:
    """Take away everything of a plan set that nobody may read; whoever comes again begins anew (410), and numbers go on."""
    seq = await tx.number(counter(plan_set))
    for table in (feed, feed_left, feed_pending, feed_rows):
        await tx.execute(sa.delete(table).where(table.c.plan_set == plan_set))
    await add(tx, plan_set, [(seq, "policy", at, None, None, None, None, None, said)])
    await tx.execute(_SET_COUNTER, {"name": floor_counter(plan_set), "value": seq})


async def await_telling(tx: Transaction, plan_set: str, rows: Iterable[tuple[Any, ...]]) -> None:
    """Removals that wait for their moment: tuples of PENDING_COLUMNS without the plan set."""
    await tx.insert(feed_pending, PENDING_COLUMNS, [(plan_set, *row) for row in rows])


async def await_leaving(tx: Transaction, plan_set: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """The same of records that moved; one that waits already keeps its moment."""
    if rows:
        await tx.execute(_AWAIT_LEAVING, [dict(zip(PENDING_COLUMNS, (plan_set, *row), strict=True)) for row in rows])


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
        await tx.execute(_PRUNE_LEFT, {"of": plan_set, "floor": upto})
        await tx.execute(_SET_COUNTER, {"name": floor_counter(plan_set), "value": upto})

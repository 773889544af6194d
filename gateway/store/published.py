"""What the public sees of datasets, in numbers: for the catalogue and for what is told of quality (api.md §7.14).

Rules: counted are the rows that everybody may take as a whole (`bulk`: organisations only) and that may be shown as they stand, so whatever
comes out could be counted by whoever downloads them. Statements are bounded: one pass over a dataset's rows, a sample of
them in order of their ids, which are random, and the newest files. This room must not read a record.
"""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from msgspec import Struct

from gateway.store.ingests import Ingest, ingest_of
from gateway.store.reads import Reads
from gateway.store.store import moment
from gateway.store.tables import feed, ingests, records, rendered_records
from gateway.store.walks import fresh

_d, _f, _x = rendered_records.c, feed.c, records.c
_shown = (_d.dataset == sa.bindparam("dataset"), _d.bulk.is_(sa.true()), fresh())


class Overview(Struct, frozen=True, kw_only=True):
    """A dataset as everybody may take it."""

    rows: int
    first: str | None
    last: str | None
    """Days of the earliest and the latest decision."""
    received: str | None
    """Instant of the latest words."""


class Supplied(Struct, frozen=True, kw_only=True):
    """The same of one source."""

    source: str | None
    rows: int
    received: str | None
    objections: int


class Removal(Struct, frozen=True, kw_only=True):
    """When a removal was due and when it was told."""

    source: str | None
    until: str | None
    """Last day shown, where its period ended; else None."""
    changed: datetime
    told: datetime


_COUNT = sa.func.count().label("rows")
_RECEIVED = sa.func.max(_d.received_at).label("received")
_OVERVIEW = sa.select(
    _COUNT, sa.func.min(_d.decision_date).label("first"), sa.func.max(_d.decision_date).label("last"), _RECEIVED
).where(*_shown)
_OBJECTIONS = sa.func.sum(sa.case((_d.marks.like("%objection_in_progress%"), 1), else_=0)).label("objections")
_SUPPLIED = sa.select(_d.source, _COUNT, _RECEIVED, _OBJECTIONS).where(*_shown).group_by(_d.source)
_SAMPLE = sa.select(_d.body).where(*_shown).order_by(_d.record_id).limit(sa.bindparam("limit", type_=sa.Integer))
_FILES = (
    sa.select(ingests)
    .where(ingests.c.dataset == sa.bindparam("dataset"), ingests.c.state == "done")
    .order_by(ingests.c.finished_at.desc(), ingests.c.ingest_id)
    .limit(sa.bindparam("limit", type_=sa.Integer))
)
_REMOVALS = (
    sa.select(_x.sender, _x.publish_until, _x.changed_at, _f.at, _f.reason)
    .join(records, _x.record_id == _f.record_id)
    .where(_f.plan_set == sa.bindparam("plan_set"), _f.op == "del", _f.dataset == sa.bindparam("dataset"))
    .order_by(_f.seq.desc())
    .limit(sa.bindparam("limit", type_=sa.Integer))
)


async def overview(source: Reads, dataset: str, *, plan: str, now: str) -> Overview:
    """What everybody may take of a dataset; off the loop."""
    row = (await source.slow(_OVERVIEW, {"dataset": dataset, "plan": plan, "now": now}))[0]
    return Overview(rows=int(row.rows), first=row.first, last=row.last, received=row.received)


async def supplied(source: Reads, dataset: str, *, plan: str, now: str) -> list[Supplied]:
    """The same by source, in order of their codes; off the loop."""
    rows = await source.slow(_SUPPLIED, {"dataset": dataset, "plan": plan, "now": now})
    found = [Supplied(source=row.source, rows=int(row.rows), received=row.received, objections=int(row.objections)) for row in rows]
    return sorted(found, key=lambda each: each.source or "")


async def sample(source: Reads, dataset: str, *, plan: str, now: str, limit: int) -> Sequence[bytes]:
    """Documents of at most so many shown rows; ids are random, so they stand for the whole. Off the loop."""
    return [bytes(row.body) for row in await source.slow(_SAMPLE, {"dataset": dataset, "plan": plan, "now": now, "limit": limit})]


async def files(source: Reads, dataset: str, *, limit: int) -> list[Ingest]:
    """The newest files of a dataset that came in whole; off the loop."""
    return [ingest_of(row) for row in await source.slow(_FILES, {"dataset": dataset, "limit": limit})]


async def removals(source: Reads, dataset: str, *, plan_set: str, limit: int) -> list[Removal]:
    """The newest removals that a plan set was told of, as far as it still remembers them; off the loop."""
    return [
        Removal(
            source=row.sender,
            until=row.publish_until if row.reason == "expired" else None,
            changed=moment(row.changed_at),
            told=moment(row.at),
        )
        for row in await source.slow(_REMOVALS, {"plan_set": plan_set, "dataset": dataset, "limit": limit})
    ]

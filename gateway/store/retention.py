"""Records that were kept long enough: what the daily look has to know of each record, and the list of what it found.

Rules: the look reads states and dates alone, never a value, in order of dataset and id; of a stretch of ids that was looked at the list
holds what was found due there and nothing else. A record that is erased, by whatever act, leaves the list in that transaction.
This room must not reckon how long anything is kept.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import date
from functools import lru_cache
from typing import Final

import msgspec
import sqlalchemy as sa
from msgspec import Struct

from gateway.core.records.model import LifeDates, RecordState, SubjectId, SubjectKind
from gateway.core.records.periods import legal_day
from gateway.store.dialects import among
from gateway.store.reads import Reads, Row
from gateway.store.store import Source, Transaction, moment
from gateway.store.tables import records, retention_due

_decode_dates = lru_cache(4096)(msgspec.json.Decoder(LifeDates).decode)
"""Many records have the same dates."""
_legal_day_of = lru_cache(1024)(lambda day_and_hour: legal_day(moment(day_and_hour)))


def _day_of(text: str) -> date:
    day: date = _legal_day_of(text[:13] + ":00:00Z")
    return day


class Standing(Struct, frozen=True, gc=False, kw_only=True):
    """What is asked of a record to know how long it is kept."""

    record_id: str
    subject_id: SubjectId
    dataset: str
    category: str
    kind: SubjectKind
    state: RecordState
    issuer: str
    severity: str | None
    minor: bool
    disputed: bool
    dates: LifeDates
    changed_at: str
    corrected_since: str | None
    changed_seq: int

    @property
    def changed(self) -> date:
        """The legal day of its latest change."""
        return _day_of(self.changed_at)

    @property
    def corrected(self) -> date | None:
        """The legal day on which it last said something else while it was in force."""
        return None if self.corrected_since is None else _day_of(self.corrected_since)


class Due(Struct, frozen=True, gc=False, kw_only=True):
    """One record of the list."""

    record_id: str
    last_day: str
    rule: str


class DueDataset(Struct, frozen=True, kw_only=True):
    """How many records of a dataset were kept long enough, and since when the oldest."""

    dataset: str
    records: int
    oldest: date
    """The earliest last day."""


_ASKED: Final = (
    records.c.record_id, records.c.subject_id, records.c.dataset, records.c.category, records.c.kind, records.c.state, records.c.issuer,
    records.c.severity, records.c.minor, records.c.dispute_since, records.c.dates, records.c.changed_at,
    records.c.corrected_since, records.c.changed_seq,
)  # fmt: skip
_STRETCH = (
    sa.select(*_ASKED)
    .where(
        records.c.dataset == sa.bindparam("dataset"),
        records.c.record_id > sa.bindparam("after"),
        records.c.state != "erased",
        records.c.issuer == "",  # what a partner asserted is its own to erase
    )
    .order_by(records.c.record_id)
    .limit(sa.bindparam("n", type_=sa.Integer))
)
_ONES = sa.select(*_ASKED).where(among(records.c.record_id, "wanted"), records.c.state != "erased")
_HELD = sa.select(retention_due).where(
    retention_due.c.dataset == sa.bindparam("dataset"),
    retention_due.c.record_id > sa.bindparam("after"),
    retention_due.c.record_id <= sa.bindparam("last"),
)
_UNCHANGED = sa.select(records.c.record_id, records.c.changed_seq).where(among(records.c.record_id, "wanted"))
_DROP = sa.delete(retention_due).where(retention_due.c.dataset == sa.bindparam("dataset"), among(retention_due.c.record_id, "wanted"))
_DROP_OTHERS = sa.delete(retention_due).where(sa.not_(among(retention_due.c.dataset, "wanted")))
_COUNTS = (
    sa.select(retention_due.c.dataset, sa.func.count().label("n"), sa.func.min(retention_due.c.last_day).label("oldest"))
    .group_by(retention_due.c.dataset)
    .order_by(retention_due.c.dataset)
)
_PAGE = (
    sa.select(retention_due)
    .where(
        retention_due.c.dataset == sa.bindparam("dataset"),
        retention_due.c.last_day <= sa.bindparam("until"),
        sa.tuple_(retention_due.c.last_day, retention_due.c.record_id)  # written out with OR, each page would pass all those before it
        > sa.tuple_(sa.bindparam("after_day", type_=sa.String), sa.bindparam("after_id", type_=sa.String)),
    )
    .order_by(retention_due.c.last_day, retention_due.c.record_id)
    .limit(sa.bindparam("n", type_=sa.Integer))
)
_LAST_ID: Final = "rec_" + "z" * 26
"""No id of ours lies behind it, whatever the database sorts by."""
ALWAYS: Final = "9999-12-31"


def _standing(row: Row) -> Standing:
    return Standing(
        record_id=row.record_id, subject_id=row.subject_id, dataset=row.dataset, category=row.category, kind=row.kind, state=row.state,
        issuer=row.issuer, severity=row.severity, minor=bool(row.minor), disputed=row.dispute_since is not None,
        dates=_decode_dates(bytes(row.dates)), changed_at=row.changed_at,
        corrected_since=row.corrected_since, changed_seq=row.changed_seq,
    )  # fmt: skip


async def stretch(reads: Reads, dataset: str, after: str, limit: int) -> list[Standing]:
    """Our records of a dataset behind an id, in order; fewer than `limit` are the last ones."""
    return [_standing(row) for row in await reads.slow(_STRETCH, {"dataset": dataset, "after": after, "n": limit})]


async def standing(source: Source, record_ids: Collection[str]) -> dict[str, Standing]:
    """These records, by id, without those that are erased."""
    return {row.record_id: _standing(row) for row in await source.all(_ONES, {"wanted": sorted(record_ids)})}


class Found(Struct, frozen=True, kw_only=True):
    """What a look at one stretch of a dataset's ids has to write into the list."""

    dataset: str
    put: tuple[tuple[Due, int], ...]
    """Each with the number of the record's latest change when it was read."""
    drop: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.put or self.drop)


async def compare(source: Source, dataset: str, after: str, last: str | None, due: Mapping[str, tuple[Due, int]]) -> Found:
    """What the list has otherwise than a look that found `due` between two ids, the first not included; `last` None: to the end."""
    rows = await source.all(_HELD, {"dataset": dataset, "after": after, "last": last or _LAST_ID})
    held = {row.record_id: Due(record_id=row.record_id, last_day=row.last_day, rule=row.rule) for row in rows}
    return Found(
        dataset=dataset,
        put=tuple(pair for record_id, pair in due.items() if held.get(record_id) != pair[0]),
        drop=tuple(sorted(held.keys() - due.keys())),
    )


async def note(tx: Transaction, found: Found) -> None:
    """Write down what a look found, but for records that changed meanwhile: the next look finds those."""
    await drop(tx, found.dataset, found.drop)
    rows = await tx.all(_UNCHANGED, {"wanted": [due.record_id for due, _ in found.put]})
    now = {row.record_id: row.changed_seq for row in rows}
    put = [due for due, changed_seq in found.put if now.get(due.record_id) == changed_seq]
    await tx.put(
        retention_due,
        ("dataset", "record_id", "last_day", "rule"),
        ("dataset", "record_id"),
        [(found.dataset, due.record_id, due.last_day, due.rule) for due in put],
    )


async def drop(tx: Transaction, dataset: str, record_ids: Sequence[str]) -> None:
    """Take records off the list."""
    if record_ids:
        await tx.execute(_DROP, {"dataset": dataset, "wanted": list(record_ids)})


async def drop_others(tx: Transaction, datasets: Collection[str]) -> None:
    """Take off the list whatever is of none of these datasets."""
    await tx.execute(_DROP_OTHERS, {"wanted": sorted(datasets)})


async def counts(reads: Reads) -> tuple[DueDataset, ...]:
    """How many records of each dataset stand in the list."""
    rows = await reads.slow(_COUNTS)
    return tuple(DueDataset(dataset=row.dataset, records=row.n, oldest=date.fromisoformat(row.oldest)) for row in rows)


async def page(source: Source, dataset: str, *, after: tuple[str, str] = ("", ""), until: str = ALWAYS, limit: int) -> list[Due]:
    """Records of the list in order of last day and id, behind a place, up to a day."""
    rows = await source.all(
        _PAGE, {"dataset": dataset, "after_day": after[0], "after_id": after[1], "until": until, "n": limit}
    )
    return [Due(record_id=row.record_id, last_day=row.last_day, rule=row.rule) for row in rows]

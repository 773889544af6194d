"""Rows of the trail about one subject, in bounded strides.

Rules:
- no index says whom a row is about: it would be a second trail, by person, and dearer to write than the first. Rows are read in their
  order, some thousands with a statement, off the loop, and whoever has the digests of a subject compares.
- a row is about a subject when it bears the digest of its id or number, under any key that the label ever had, or is an act upon the
  subject or one of its records.
- what is sealed in a row is not opened here: neither details nor the reference of anybody's case.
This room must not know who asks.
"""

from collections.abc import AsyncGenerator, Iterable, Sequence
from typing import Final

import sqlalchemy as sa
from msgspec import Struct

from gateway.store.audit import SUBJECT_BYTES, SUBJECT_LABEL
from gateway.store.reads import Reads, Row
from gateway.store.tables import Seq, audit
from gateway.store.vault import Vault

STRIDE: Final = 2000
"""Rows of one statement."""
_c = audit.c
_STRIDE = (
    sa.select(_c.day, _c.writer, _c.n, _c.target, _c.subjects)
    .where(
        sa.tuple_(_c.day, _c.writer, _c.n)
        > sa.tuple_(sa.bindparam("of_day", type_=sa.String), sa.bindparam("of_writer", type_=sa.String), sa.bindparam("of_n", type_=Seq)),
        _c.day <= sa.bindparam("to_day"),
    )
    .order_by(_c.day, _c.writer, _c.n)
    .limit(sa.bindparam("stride"))
)
_ROW = sa.select(
    _c.day, _c.writer, _c.n, _c.at, _c.kind, _c.actor, _c.act, _c.target, _c.org, _c.unit, _c.purpose, _c.dataset, _c.plan_hash,
    _c.policy_version, _c.treatments, _c.row_count, _c.shape, _c.subjects,
).where(_c.day == sa.bindparam("of_day"), _c.writer == sa.bindparam("of_writer"), _c.n == sa.bindparam("of_n"))  # fmt: skip


class About(Struct, frozen=True, kw_only=True):
    """How the trail names one subject."""

    digests: frozenset[bytes]
    targets: frozenset[str]
    """Of acts upon the subject and its records."""

    def names(self, subjects: bytes | None, target: str) -> bool:
        """Whether a row is about the subject."""
        if target in self.targets:
            return True
        return subjects is not None and any(each in subjects for each in self.digests) and not self.digests.isdisjoint(digests_in(subjects))

    def alone(self, subjects: bytes | None) -> bool:
        """Whether a row is about nobody else."""
        return subjects is not None and self.digests.issuperset(digests_in(subjects))


def digests_in(subjects: bytes) -> list[bytes]:
    """Whom a row is about, as it is stored."""
    return [subjects[at : at + SUBJECT_BYTES] for at in range(1, len(subjects), SUBJECT_BYTES)]


def about(vault: Vault, names: Iterable[str], targets: Iterable[str]) -> About:
    """A subject by its ids and numbers, and what is done to it by its targets."""
    return About(
        digests=frozenset(each[:SUBJECT_BYTES] for name in names for each in vault.digests(SUBJECT_LABEL, name.encode())),
        targets=frozenset(targets),
    )


class Day(Struct, frozen=True):
    """One legal day of the trail, read to its end."""

    day: str
    rows: Sequence[Row]
    """Those about the subject, the earliest first."""
    read: int
    """How many rows the day has."""


async def by_day(source: Reads, whom: About, *, from_day: str, to_day: str) -> AsyncGenerator[Day, None]:
    """The days of the trail that have rows, each with those about the subject."""
    place = (from_day, "", 0)
    day, found, read = "", list[tuple[str, str, int]](), 0
    while True:
        of_day, of_writer, of_n = place
        rows = await source.slow(_STRIDE, {"of_day": of_day, "of_writer": of_writer, "of_n": of_n, "to_day": to_day, "stride": STRIDE})
        for row in rows:
            if row.day != day:
                if day:
                    yield Day(day, await _rows(source, found), read)
                day, found, read = row.day, [], 0
            read += 1
            if whom.names(row.subjects, row.target):
                found.append((row.day, row.writer, row.n))
        if len(rows) < STRIDE:
            break
        place = rows[-1].day, rows[-1].writer, rows[-1].n
    if day:
        yield Day(day, await _rows(source, found), read)


async def _rows(source: Reads, places: Sequence[tuple[str, str, int]]) -> list[Row]:
    rows = [await source.one(_ROW, {"of_day": day, "of_writer": writer, "of_n": n}) for day, writer, n in places]
    return sorted((row for row in rows if row is not None), key=lambda row: (row.at, row.kind, row.writer, row.n))

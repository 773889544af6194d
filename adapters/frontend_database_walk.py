"""A walk through rows in an order of time, with a look back for those that were committed late; and its cursor.

Rules: the order is (time, id, version), and a cursor names the row last given. Rows of the minutes before it are remembered by short
digests, or, where they are many, by one digest of all: then, when anything has come among them, all of them are given again, and the core
drops what it knows. A cursor beyond the last row is nobody's, but of a table that is tidied up. This file must not know what a row says.
"""

import json
from base64 import urlsafe_b64encode
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

import sqlalchemy as sa
from msgspec import Struct

from adapters.frontend_database_tables import LOCAL, as_instant
from gateway.adapter_contract import AdapterError

REMEMBERED = 100
"""So many rows of the look-back are remembered one by one."""
MOST_LATE = 5_000
"""Of more rows in the look-back the newest: what comes late comes shortly before the last row."""


class Mark(Struct, frozen=True, kw_only=True):
    """How far one table was read."""

    at: str
    """Instant, ISO 8601."""
    recid: str
    rec_v: int | None
    seen: tuple[str, ...] | None
    """Short digests of the rows of the look-back; None where they are many."""
    all_seen: str
    """One digest of them all."""


def open_cursor(cursor: str | None, datasets: Collection[str]) -> dict[str, Mark]:
    """The marks of a cursor by dataset; empty at the beginning.

    Raises AdapterError CURSOR_UNKNOWN.
    """
    if cursor is None:
        return {}
    try:
        said = json.loads(cursor)
        marks = {
            str(dataset): Mark(
                at=datetime.fromisoformat(at).isoformat(),
                recid=str(recid),
                rec_v=None if rec_v is None else int(rec_v),
                seen=None if seen is None else tuple(map(str, seen)),
                all_seen=str(all_seen),
            )
            for dataset, (at, recid, rec_v, seen, all_seen) in said["marks"].items()
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise AdapterError("CURSOR_UNKNOWN", "游标不是此线路给出的", transient=False) from error
    if not set(marks) <= set(datasets):
        raise AdapterError("CURSOR_UNKNOWN", "游标所指的数据集不在配置中", transient=False)
    return marks


def write_cursor(marks: dict[str, Mark]) -> str:
    """A cursor of these marks."""
    said = {name: [mark.at, mark.recid, mark.rec_v, mark.seen, mark.all_seen] for name, mark in sorted(marks.items())}
    return json.dumps({"marks": said}, ensure_ascii=False, separators=(",", ":"))


class Walk(Struct, frozen=True, kw_only=True):
    """One table, in order."""

    columns: Sequence[Any]
    order: Sequence[Any]
    """Time, id and, where there is one, version."""
    where: Sequence[Any]
    said: Callable[[Any], object]
    """What of a row makes it another one when it changes."""
    overlap: timedelta
    page: int
    tidied: bool = False
    """Whoever writes the rows takes away what was read, also the last of it: a cursor beyond the last row is nobody else's."""

    def pages(self, connection: Any, mark: Mark | None) -> Iterator[tuple[Sequence[Any], Mark]]:
        """All pages after a mark."""
        while True:
            rows, mark = self.next(connection, mark)
            if not rows or mark is None:
                return
            yield rows, mark

    def next(self, connection: Any, mark: Mark | None) -> tuple[list[Any], Any]:
        """The next page, and where it ends: first what came late, then what follows.

        Raises AdapterError CURSOR_UNKNOWN.
        """
        if not isinstance(self.order[0].type, sa.DateTime):
            raise AdapterError("SCHEMA_TYPE", "对方的时间列不是时间类型", transient=False, place=str(self.order[0].name))
        if mark is None:
            rows = self._select(connection, limit=self.page)
            return [self._own(each) for each in rows], self._mark(connection, rows[-1]) if rows else None
        position = self._bound(mark)
        newest = connection.execute(sa.select(sa.func.max(self.order[0])).where(*self.where)).scalar()
        if newest is not None and not self.tidied and not self._there(connection, position):
            raise AdapterError("CURSOR_UNKNOWN", "游标在对方最后一行之后", transient=False)
        window = self._window(connection, position)
        digests = [self._digest(each) for each in window]
        if mark.seen is None:
            late = window if _all(digests) != mark.all_seen else []
        else:
            late = [each for each, digest in zip(window, digests, strict=True) if digest not in mark.seen]
        if late:
            return [self._own(each) for each in late], self._made(mark, digests)
        rows = self._select(connection, self._after(position), limit=self.page)
        return [self._own(each) for each in rows], self._mark(connection, rows[-1]) if rows else mark

    def _own(self, row: Any) -> tuple[Any, ...]:
        return tuple(row[len(self.order) :])

    # --- statements ---

    def _select(self, connection: Any, *where: Any, limit: int) -> list[Any]:
        chosen = sa.select(*self.order, *self.columns).where(*self.where, *where).order_by(*self.order).limit(limit)
        return list(connection.execute(chosen).all())

    def _window(self, connection: Any, position: tuple[Any, ...]) -> list[Any]:
        since = position[0] - self.overlap
        within = (*self.where, self.order[0] > since, sa.not_(self._after(position)))
        newest = sa.select(*self.order, *self.columns).where(*within).order_by(*(each.desc() for each in self.order)).limit(MOST_LATE)
        return list(connection.execute(newest).all())[::-1]

    def _there(self, connection: Any, position: tuple[Any, ...]) -> bool:
        """Whether some row stands at the position or after it."""
        last = sa.select(*self.order).where(*self.where).order_by(*(each.desc() for each in self.order)).limit(1)
        found = connection.execute(last).first()
        return found is not None and _comparable(found) >= _comparable(position)

    def _after(self, position: tuple[Any, ...]) -> Any:
        """(time, id, version) > position, in words that every database has."""
        clauses = []
        for at, column in enumerate(self.order):
            same = [other == value for other, value in zip(self.order[:at], position[:at], strict=True)]
            clauses.append(sa.and_(*same, column > position[at]))
        return sa.or_(*clauses)

    # --- marks ---

    def _mark(self, connection: Any, row: Any) -> Mark:
        position = tuple(row[: len(self.order)])
        digests = [self._digest(each) for each in self._window(connection, position)]
        instant = as_instant(position[0])
        if instant is None:
            raise AdapterError("SCHEMA_TYPE", "时间列不可读", transient=False)
        rec_v = int(position[2]) if len(position) > 2 else None
        mark = Mark(at=instant.isoformat(), recid=str(position[1]), rec_v=rec_v, seen=None, all_seen="")
        return self._made(mark, digests)

    def _made(self, mark: Mark, digests: Sequence[str]) -> Mark:
        seen = tuple(digests) if len(digests) <= REMEMBERED else None
        return Mark(at=mark.at, recid=mark.recid, rec_v=mark.rec_v, seen=seen, all_seen=_all(digests) if seen is None else "")

    def _bound(self, mark: Mark) -> tuple[Any, ...]:
        column = self.order[0]
        at = datetime.fromisoformat(mark.at)
        zoned = bool(getattr(column.type, "timezone", False))
        moment = at if zoned else at.astimezone(LOCAL).replace(tzinfo=None)
        return (moment, mark.recid, mark.rec_v)[: len(self.order)]

    def _digest(self, row: Any) -> str:
        place = [str(each) for each in row[: len(self.order)]]
        said = repr((place, self.said(tuple(row[len(self.order) :])))).encode()
        return urlsafe_b64encode(sha256(said).digest()[:6]).decode()


def _all(digests: Sequence[str]) -> str:
    return sha256("".join(sorted(digests)).encode()).hexdigest()[:22]


def _comparable(position: Any) -> tuple[Any, ...]:
    instant = as_instant(position[0])
    return (instant, *map(str, position[1:2]), *position[2:])

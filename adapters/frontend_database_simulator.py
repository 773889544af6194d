"""The other side of a front-end database: makes its tables, takes rows, writes back, counts, and misbehaves when told to.

For tests and for trying a line out (`chengxin adapter` and the settings of a city need no more than its address). It speaks to the database
directly, as the province's own program would, and shares no code with the adapter but the names of the default columns.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from hashlib import sha256
from typing import Any

import sqlalchemy as sa

__all__ = ["Province", "exchange_table", "on", "reconciliation_table"]

LOCAL = timezone(timedelta(hours=8))


def exchange_table(metadata: sa.MetaData, name: str, columns: Mapping[str, Any]) -> sa.Table:
    """An exchange table with these business columns."""
    return sa.Table(
        name, metadata,
        sa.Column("RECID", sa.String(64), primary_key=True),
        sa.Column("REC_V", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("OP", sa.String(8), nullable=False),
        sa.Column("OP_YY", sa.String(32)),
        *(sa.Column(column, kind) for column, kind in columns.items()),
        sa.Column("BZ", sa.String(512)),
        sa.Column("DFBM", sa.String(6), nullable=False),
        sa.Column("SJC", sa.DateTime, nullable=False),
        sa.Column("SYFW", sa.String(16)),
        sa.Column("BATCH_NO", sa.String(160)),
        sa.Column("ROW_DIGEST", sa.String(64)),
        sa.Column("FK_ZT", sa.String(8)),
        sa.Column("FK_SJ", sa.DateTime),
        sa.Column("FK_CODE", sa.String(32)),
        sa.Column("FK_YY", sa.String(500)),
        sa.Column("FK_ID", sa.String(64)),
        sa.Column("FK_RWBH", sa.String(64)),
    )  # fmt: skip


def reconciliation_table(metadata: sa.MetaData, name: str = "CX_DZ") -> sa.Table:
    """The table of daily counts."""
    return sa.Table(
        name, metadata,
        sa.Column("DAY", sa.Date, primary_key=True),
        sa.Column("DATASET", sa.String(64), primary_key=True),
        sa.Column("SIDE", sa.String(4), primary_key=True),
        sa.Column("ROWS_N", sa.Integer, nullable=False),
        sa.Column("ROWS_DIGEST", sa.String(64)),
    )  # fmt: skip


Run = Callable[[Callable[[sa.Connection], Any]], Any]
"""Does something on a connection, in a transaction of its own."""


def on(engine: sa.Engine) -> Run:
    """The way to a database with a synchronous driver."""

    def run(story: Callable[[sa.Connection], Any]) -> Any:
        with engine.begin() as connection:
            return story(connection)

    return run


class Province:
    """One exchange table and the reconciliation table."""

    def __init__(self, run: Run, dataset: str, table: str, columns: Mapping[str, Any]) -> None:
        self.run = run
        self.dataset = dataset
        metadata = sa.MetaData()
        self.table = exchange_table(metadata, table, columns)
        self.counted = reconciliation_table(metadata)
        run(metadata.create_all)

    def rows(self) -> list[dict[str, Any]]:
        """Everything that stands in the table, in order of id and version."""
        chosen = sa.select(self.table).order_by(self.table.c.RECID, self.table.c.REC_V)
        rows: list[dict[str, Any]] = self.run(lambda connection: [dict(row) for row in connection.execute(chosen).mappings()])
        return rows

    def put(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Rows of its own, for us to read."""
        for row in rows:
            self._do(sa.insert(self.table).values(**row))

    def empty(self) -> None:
        """Nothing stands there any more."""
        self._do(sa.delete(self.table))

    def write_back(self, answers: Sequence[tuple[str, int, str, str | None]], *, at: datetime | None = None) -> None:
        """(RECID, REC_V, status, code) of rows, at a time."""
        moment = (at or datetime.now(UTC)).astimezone(LOCAL).replace(tzinfo=None)
        for recid, rec_v, status, code in answers:
            said = {"FK_ZT": status, "FK_SJ": moment, "FK_CODE": code, "FK_ID": f"P{recid[-4:]}"}
            self._do(sa.update(self.table).where(self._this(recid, rec_v)).values(**said))

    def count(self, day: date, *, rows: int | None = None, digest: str | None = None) -> None:
        """Write its counts of a day: what it has, or something else that it is told to say."""
        first = datetime(day.year, day.month, day.day)  # noqa: DTZ001  # the table's times bear no zone
        lines = sorted(
            f"{row['RECID']}|{row['REC_V']}|{row['ROW_DIGEST'] or ''}\n"
            for row in self.rows()
            if first <= row["SJC"] < first + timedelta(days=1)
        )
        said = {
            "ROWS_N": len(lines) if rows is None else rows,
            "ROWS_DIGEST": sha256("".join(lines).encode()).hexdigest() if digest is None else digest,
        }
        key = {"DAY": day, "DATASET": self.dataset, "SIDE": "recv"}
        this = [self.counted.columns[name] == value for name, value in key.items()]
        if not self._do(sa.update(self.counted).where(*this).values(**said)):
            self._do(sa.insert(self.counted).values(**key, **said))

    def tamper(self, recid: str, rec_v: int, **values: Any) -> None:
        """Change what it was given."""
        self._do(sa.update(self.table).where(self._this(recid, rec_v)).values(**values))

    def lose(self, recid: str) -> None:
        """Lose the rows of a record."""
        self._do(sa.delete(self.table).where(self._this(recid)))

    def _do(self, statement: sa.Insert | sa.Update | sa.Delete) -> int:
        """Rows that it changed."""
        count: int = self.run(lambda connection: connection.execute(statement).rowcount)
        return count

    def _this(self, recid: str, rec_v: int | None = None) -> sa.ColumnElement[bool]:
        found: sa.ColumnElement[bool] = self.table.columns["RECID"] == recid
        return found if rec_v is None else sa.and_(found, self.table.columns["REC_V"] == rec_v)

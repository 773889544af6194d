"""The tables of a front-end database, as they are found there: columns by name whatever their case, values in the types of the columns.

Rules: what a statement fails with is told by SQLSTATE (or the driver's own class) and row, never with a value; a database that does not
answer may be tried again, a fault of the statement may not. Times without a zone are those of UTC+8. This file must not know what a row
means.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    DisconnectionError,
    InterfaceError,
    NoSuchModuleError,
    NoSuchTableError,
    OperationalError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from adapters.frontend_database_format import FrontendConfig
from gateway.adapter_contract import AdapterError

T = TypeVar("T")
LONGEST_LOCK_S = 2.0
"""How long SQLite waits for whoever else writes."""
LOCAL = timezone(timedelta(hours=8))
_PASSING = ("08", "40", "53", "55", "57")
"""Classes of SQLSTATE that another try may mend: connection, rollback, resources, locks, shutdown."""


class FoundTable:
    """A table over there, with its columns by name in any case."""

    def __init__(self, table: sa.Table) -> None:
        self.table = table
        self._columns = {column.name.lower(): column for column in table.columns}

    def __contains__(self, name: str) -> bool:
        return name.lower() in self._columns

    def __getitem__(self, name: str) -> "sa.Column[Any]":
        """A column. Raises AdapterError SCHEMA_COLUMN when there is none."""
        found = self._columns.get(name.lower())
        if found is None:
            raise AdapterError("SCHEMA_COLUMN", f"对方表中没有列 {name}", transient=False, place=f"{self.table.name}.{name}")
        return found

    def unique_on(self, names: Iterable[str]) -> bool:
        """Whether the table itself lets no two rows have the same values in these columns."""
        key = {name.lower() for name in names}
        kept = [self.table.primary_key.columns, *(each.columns for each in self.table.constraints if isinstance(each, sa.UniqueConstraint))]
        kept += [each.columns for each in self.table.indexes if each.unique]
        return any(columns and {column.name.lower() for column in columns} <= key for columns in (tuple(each) for each in kept))

    def bound(self, values: Mapping[str, object]) -> dict[str, object]:
        """Values by the names of the columns, in their types.

        Raises AdapterError SCHEMA_TYPE.
        """
        return {self[name].name: _into(self[name], value, f"{self.table.name}.{name}") for name, value in values.items()}


class Database:
    """One database, opened when first asked for; what is done there is done in one go, on one connection.

    With an asynchronous driver in the loop, with any other in a thread. A thread cannot be stopped: what is left of it ends by itself.
    """

    def __init__(self, config: FrontendConfig) -> None:
        self._config = config
        self._engine: sa.Engine | AsyncEngine | None = None
        self._found: dict[str, FoundTable] = {}

    def _opened(self) -> sa.Engine | AsyncEngine:
        """The engine; no connection is made by it yet.

        Raises AdapterError CONFIG for an address that SQLAlchemy does not take.
        """
        if self._engine is None:
            try:
                url = make_url(self._config.url.reveal())
                url = url.set(drivername="sqlite") if url.get_backend_name() == "sqlite" else url
                arguments: dict[str, Any] = {}
                if url.get_backend_name() == "sqlite":
                    arguments = {"timeout": min(self._config.timeout_s, LONGEST_LOCK_S)}
                elif url.get_driver_name() == "asyncpg":
                    arguments = {"timeout": self._config.timeout_s}
                dialect = url.get_dialect()
                made = create_async_engine if dialect.is_async else sa.create_engine
                self._engine = made(url, poolclass=NullPool, connect_args=arguments, hide_parameters=True)
            except (ArgumentError, NoSuchModuleError, ImportError, ValueError) as error:
                raise AdapterError("CONFIG", "数据库地址不正确，或者缺少驱动", transient=False) from error
        return self._engine

    async def run(self, story: Callable[..., T], *said: Any, writes: bool = False) -> T:
        """What a story does on a connection; with `writes` it is committed at the end, and may be in doubt if that fails.

        Raises AdapterError.
        """
        engine = self._opened()
        file = engine.url.database if engine.url.get_backend_name() == "sqlite" else None
        if file and file != ":memory:" and not await asyncio.to_thread(Path(file).is_file):
            raise AdapterError("UNAVAILABLE", "数据库文件不存在", transient=True)  # opened, it would be there, and empty
        committing = False
        try:
            async with asyncio.timeout(self._config.timeout_s):
                if not isinstance(engine, AsyncEngine):
                    return await asyncio.to_thread(_in_thread, engine, story, said, writes)
                async with engine.connect() as connection:
                    done = await connection.run_sync(story, *said)
                    if writes:
                        committing = True
                        await connection.commit()
                    return done
        except TimeoutError as error:
            raise AdapterError("UNAVAILABLE", "数据库未在时限内应答", transient=True, outcome_unknown=writes) from error
        except (sa.exc.SQLAlchemyError, OSError, sqlite3.Error) as error:
            raise told(error, None, in_doubt=committing) from error

    def table(self, connection: sa.Connection, name: str) -> FoundTable:
        """A table as it is over there.

        Raises AdapterError SCHEMA_TABLE when there is none.
        """
        found = self.find(connection, name)
        if found is None:
            raise AdapterError("SCHEMA_TABLE", f"对方库中没有表 {name}", transient=False, place=name)
        return found

    def find(self, connection: sa.Connection, name: str) -> FoundTable | None:
        """The same, or None. What is not there is looked for again the next time."""
        if name not in self._found:
            found = _reflected(connection, name, self._config.db_schema)
            if found is None:
                return None
            self._found[name] = found
        return self._found[name]

    async def close(self) -> None:
        """Let go of it; twice is harmless."""
        engine, self._engine = self._engine, None
        if isinstance(engine, AsyncEngine):
            await engine.dispose()
        elif engine is not None:
            engine.dispose()


def _in_thread(engine: sa.Engine, story: Callable[..., T], said: tuple[Any, ...], writes: bool) -> T:
    with engine.connect() as connection:
        done = story(connection, *said)
        if writes:
            connection.commit()
        return done


def _reflected(connection: sa.Connection, name: str, schema: str | None) -> FoundTable | None:
    for spelled in (name, name.lower(), name.upper()):
        try:
            return FoundTable(sa.Table(spelled, sa.MetaData(), schema=schema, autoload_with=connection))
        except NoSuchTableError:
            continue
    return None


def insert_new(table: sa.Table, columns: Iterable[str], dialect: str) -> sa.Insert:
    """An insert that does nothing where the key stands, where the database can say so in one statement."""
    values = {name: sa.bindparam(name, type_=table.columns[name].type) for name in columns}
    if dialect == "postgresql":
        return postgresql.insert(table).values(values).on_conflict_do_nothing()
    if dialect == "sqlite":
        return sqlite.insert(table).values(values).on_conflict_do_nothing()
    return sa.insert(table).values(values)


@contextmanager
def at_row(place: str) -> Iterator[None]:
    """Faults of a statement are told with the row that it was about."""
    try:
        yield
    except (sa.exc.SQLAlchemyError, OSError, sqlite3.Error) as error:
        raise told(error, place) from error


def told(error: Exception, place: str | None, *, in_doubt: bool = False) -> AdapterError:
    """What a database says, without what it was told."""
    original = getattr(error, "orig", None)
    state = getattr(original, "sqlstate", None) or getattr(getattr(original, "__cause__", None), "sqlstate", None)
    gone = isinstance(error, OSError | DisconnectionError | PoolTimeout) or (isinstance(error, DBAPIError) and error.connection_invalidated)
    if isinstance(state, str) and len(state) == 5:
        passing, name = state.startswith(_PASSING), f"SQL_{state}"
    else:
        passing = gone or isinstance(error, OperationalError | InterfaceError | sqlite3.OperationalError)
        name = f"SQL_{type(original or error).__name__.upper()}"
    if passing or gone:
        return AdapterError("UNAVAILABLE", f"数据库暂不可用（{name}）", transient=True, place=place, outcome_unknown=in_doubt)
    return AdapterError(name[:64], "数据库拒绝了语句", transient=False, place=place, outcome_unknown=in_doubt)


# --- values -----------------------------------------------------------------------------------------------------------


def _into(column: "sa.Column[Any]", value: object, place: str) -> object:
    """A value in the type of its column."""
    try:
        kind = column.type.python_type
    except NotImplementedError:
        kind = str
    if value is None or (isinstance(value, kind) and kind is not datetime):
        return value
    try:
        if kind is datetime:
            moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
            zoned = bool(getattr(column.type, "timezone", False))
            return moment.astimezone(UTC) if zoned else moment.astimezone(LOCAL).replace(tzinfo=None)
        if kind is date:
            return date.fromisoformat(str(value).replace("/", "-"))
        if kind in (Decimal, float):
            return Decimal(str(value))
        if kind is int:
            return int(str(value))
        if kind is bool:
            return {"1": True, "0": False}[str(value)]
    except (ValueError, KeyError, InvalidOperation) as error:
        raise AdapterError("SCHEMA_TYPE", "值与对方列的类型不符", transient=False, place=place) from error
    return value.isoformat(sep=" ") if isinstance(value, datetime) else str(value)


def as_text(value: object) -> str | None:
    """A value of a column as text: days with slashes, decimals as the database keeps them."""
    if value is None:
        return None
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, datetime):
        return as_instant(value).isoformat()  # type: ignore[union-attr]  # of a time
    if isinstance(value, date):
        return f"{value:%Y/%m/%d}"
    if isinstance(value, Decimal):
        return format(value, "f")
    return str(value)


def as_instant(value: object) -> datetime | None:
    """A time of a column with its zone; None for what is none."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    return (value if value.tzinfo is not None else value.replace(tzinfo=LOCAL)).astimezone(UTC)

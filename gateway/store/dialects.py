"""What differs between SQLite and PostgreSQL, and nothing else: engines, one SQL construct, and what an error means.

Rules: every write transaction is alone (SQLite: BEGIN IMMEDIATE; PostgreSQL: one advisory lock), so that *select, then update*
is safe and order of number is order of commit. SQLite writes with synchronous=FULL: what was acknowledged or signed survives a power
failure. No parameter ever appears in an error. This room must not know what the statements are about.
"""

import errno
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL, Dialect, make_url
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.visitors import InternalTraversal
from sqlalchemy.types import Boolean, Text, TypeDecorator, TypeEngine

from gateway.core.errors import StoreError
from gateway.late import late, load

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

WRITER_LOCK = 0x63786777  # "cxgw": one writer at a time on PostgreSQL
MIGRATION_LOCK = 0x6378676D  # "cxgm": several processes start at once

SQLITE_PRAGMAS = (
    "page_size=8192",  # of a new file; two or three rendered records fill a page, of 4,096 bytes one would leave a third empty
    "journal_mode=WAL",
    "synchronous=FULL",  # with NORMAL a power failure can undo a commit that was already acknowledged or signed
    "secure_delete=ON",  # what is erased is overwritten, not merely unlinked
    "temp_store=MEMORY",  # no temporary file ever holds a value
    "cache_size=-65536",  # KiB; random keys in five indexes of a big register
    "wal_autocheckpoint=4000",  # pages; a chunk of ingest is some thousand pages
)

# sqlite3 asks every null and every bytes that it binds for a protocol that neither has, half a microsecond each; told that both stay as
# they are, it does not
sqlite3.register_adapter(type(None), cast("Callable[[None], None]", {}.get))
sqlite3.register_adapter(bytes, bytes.__bytes__)


def is_sqlite(url: URL) -> bool:
    """Whether this URL names a SQLite file."""
    return url.get_backend_name() == "sqlite"


def sqlite_file(address: str) -> Path | None:
    """The file behind an address of SQLite; None behind any other."""
    url = make_url(address)
    return Path(url.database or "") if is_sqlite(url) else None


def check_url(url: URL) -> None:
    """Refuse drivers and forms of SQLite that the store cannot run on.

    Raises StoreError `database-unsupported`.
    """
    if url.drivername not in ("sqlite+aiosqlite", "postgresql+asyncpg"):
        raise StoreError(
            "this database or driver is not supported",
            code="database-unsupported",
            place="database",
            hint="sqlite+aiosqlite:///file or postgresql+asyncpg://…",
        )
    if is_sqlite(url) and (not url.database or url.database == ":memory:" or url.database.startswith("file:") or url.query):
        raise StoreError(
            "SQLite needs a plain file: in memory all tasks would share one connection",
            code="database-unsupported",
            place="database",
            hint="sqlite+aiosqlite:////absolute/path/gateway.db",
        )


def write_engine(url: URL, *, wait_s: float, foreign_keys: bool = True) -> "AsyncEngine":
    """The engine of all writes; `foreign_keys=False` only for migrations, whose table rebuilds would fire the cascades."""
    if not is_sqlite(url):
        return _engine(
            url,
            hide_parameters=True,
            pool_pre_ping=True,  # a write is not asked again, so a dead connection is found before it begins
            pool_size=5,
            max_overflow=5,
            pool_timeout=max(wait_s, 0.1),
            connect_args={"server_settings": _server_settings(wait_s)},
        )
    # one connection: tasks of this process queue in order of asking, only other processes meet the busy timeout
    engine = _engine(
        url, hide_parameters=True, pool_size=1, max_overflow=0, pool_timeout=max(wait_s, 0.1), connect_args={"timeout": wait_s}
    )

    @event.listens_for(engine.sync_engine, "connect")
    def prepare(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves
        for pragma in (*SQLITE_PRAGMAS, f"busy_timeout={int(wait_s * 1000)}", f"foreign_keys={'ON' if foreign_keys else 'OFF'}"):
            connection.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")  # readers have their own connections

    @event.listens_for(engine.sync_engine, "invalidate")
    def undo(connection: Any, _record: object, _error: object) -> None:
        # a writer that was cancelled: its connection is closed, but as long as a cursor of it lives in some traceback, SQLite keeps it
        # and its lock; nobody else could write until the garbage is collected
        with suppress(Exception):  # who is cancelled once more leaves: the connection's thread has its order already
            connection.rollback()

    return engine


def read_engine(url: URL, *, wait_s: float) -> "AsyncEngine":
    """PostgreSQL's engine of reads: each statement its own snapshot, no BEGIN and ROLLBACK around it."""
    return _engine(
        url,
        hide_parameters=True,
        pool_size=10,
        max_overflow=10,
        pool_timeout=max(wait_s, 0.1),
        isolation_level="AUTOCOMMIT",
        connect_args={"server_settings": {**_server_settings(wait_s), "default_transaction_read_only": "on"}},
    )


def _engine(url: URL, **options: Any) -> "AsyncEngine":
    """An engine without the ORM, which the sessions bring that the package of engines names beside them."""
    late("sqlalchemy.ext.asyncio")
    load("sqlalchemy.ext.asyncio.exc")  # engines ask the package for it
    from sqlalchemy.ext.asyncio.engine import create_async_engine

    return create_async_engine(url, **options)


def _server_settings(wait_s: float) -> dict[str, str]:
    return {"lock_timeout": f"{int(wait_s * 1000)}ms", "application_name": "chengxin", "timezone": "UTC"}


class Members(TypeDecorator[Any]):
    """A list of texts or integers as one bound parameter: an array on PostgreSQL, JSON on SQLite."""

    impl = Text
    cache_ok = True

    def __init__(self, item: TypeEngine[Any] | None = None) -> None:
        super().__init__()
        self.item = item if item is not None else Text()

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """What the database calls it."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(sa.ARRAY(self.item))
        return dialect.type_descriptor(Text())

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """The list as the database takes it."""
        if value is None or dialect.name == "postgresql":
            return value if value is None else list(value)
        return members_text(value)


def members_text(values: Any) -> str:
    """A list as SQLite's `json_each` reads it."""
    return msgspec.json.encode(list(values)).decode()


def stated(name: str) -> ColumnElement[str]:
    """A text that is asked for in a column by whose values an index stands over some of the rows alone.

    SQLite looks at what is bound there bare, to see whether that index will do, and so plans the statement anew for each value: a subject
    by its code was four times as dear.
    """
    return sa.cast(sa.bindparam(name), Text())


def one_of(column: sa.Column[str], *words: str) -> ColumnElement[bool]:
    """IN a few words of ours, written so that a statement is compiled once."""
    return sa.or_(*(column == word for word in words))


class among(ColumnElement[bool]):  # noqa: N801 - reads as the SQL word it stands for
    """`column IN (:name)` with one bound list of any length, so that the statement's text never changes."""

    inherit_cache = True
    _traverse_internals = [("column", InternalTraversal.dp_clauseelement), ("values", InternalTraversal.dp_clauseelement)]  # noqa: RUF012 - SQLAlchemy reads it
    type = Boolean()

    def __init__(self, column: ColumnElement[Any], name: str) -> None:
        self.column = column
        integers = isinstance(column.type, sa.Integer)
        self.values = sa.bindparam(name, type_=Members(sa.BigInteger() if integers else Text()))

    def self_group(self, against: Any = None) -> "among":
        """A condition already: SQLAlchemy would add `= 1`, which no index serves."""
        return self


@compiles(among, "sqlite")
def _among_sqlite(element: among, compiler: SQLCompiler, **words: Any) -> str:
    # the cast gives the values the column's affinity: without it SQLite uses no index
    cast = "INTEGER" if isinstance(element.column.type, sa.Integer) else "TEXT"
    column, values = compiler.process(element.column, **words), compiler.process(element.values, **words)
    return f"{column} IN (SELECT CAST(value AS {cast}) FROM json_each({values}))"


@compiles(among, "postgresql")
def _among_postgresql(element: among, compiler: SQLCompiler, **words: Any) -> str:
    return f"{compiler.process(element.column, **words)} = ANY ({compiler.process(element.values, **words)})"


_SQLSTATE = {
    "55P03": "store-locked",
    "40P01": "store-locked",
    "40001": "store-locked",
    "57014": "store-locked",
    "53100": "store-full",
    "53200": "store-full",
    "25006": "store-readonly",
    "42501": "store-readonly",
    "42P01": "migration-needed",
    "42703": "migration-needed",
    "XX001": "store-corrupt",
    "XX002": "store-corrupt",
}
_ERRNO = {errno.ENOSPC: "store-full", errno.EDQUOT: "store-full", errno.EROFS: "store-readonly"}
_HINTS = {
    "store-locked": "another process is writing; try again",
    "store-full": "free space on the disk of the database; nothing was applied",
    "store-readonly": "give the gateway's user write access to the data directory",
    "store-unavailable": "is the database running, and does the address in `database` lead there?",
    "migration-needed": "run the gateway once with migrations allowed: `chengxin init`",
    "store-corrupt": "restore the database from a backup; `PRAGMA integrity_check` names the damage",
    "store-conflict": "a program error: a rule of the tables was broken; nothing was applied",
    "store-error": "a program error: nothing was applied",
}


def _sqlite_code(error: BaseException) -> str:
    # the primary result code; the extended one (SQLITE_IOERR_WRITE …) carries it in its low byte
    number = getattr(error, "sqlite_errorcode", None)
    primary = number & 0xFF if isinstance(number, int) else None
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return "store-locked"
    if primary == sqlite3.SQLITE_FULL or number == sqlite3.SQLITE_IOERR_SHMSIZE:  # no room for the first page of its index either
        return "store-full"
    if primary == sqlite3.SQLITE_READONLY:
        return "store-readonly"
    if primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return "store-corrupt"
    if primary in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH):
        return "store-unavailable"
    if primary == sqlite3.SQLITE_CONSTRAINT or isinstance(error, sqlite3.IntegrityError):
        return "store-conflict"
    if "no such table" in str(error) or "no such column" in str(error) or "has no column" in str(error):
        return "migration-needed"
    return "store-error"


def store_error(error: BaseException) -> StoreError:
    """The coded error of what a driver raised; repeats neither statement parameters nor the driver's own detail, which may quote values."""
    original = error.orig if isinstance(error, DBAPIError) else error
    cause = getattr(original, "__cause__", None)  # the driver's own exception behind SQLAlchemy's adapter
    state = getattr(original, "sqlstate", None) or getattr(cause, "sqlstate", None)
    constraint = getattr(cause, "constraint_name", None)
    if isinstance(error, PoolTimeout):
        code, what = "store-locked", "no connection became free in time"
    elif isinstance(original, sqlite3.Error):
        code, what = _sqlite_code(original), getattr(original, "sqlite_errorname", None) or type(original).__name__
    elif isinstance(state, str):
        code, what = _SQLSTATE.get(state) or _class_of(state), f"SQLSTATE {state}" + (f", {constraint}" if constraint else "")
    elif isinstance(error, IntegrityError):
        code, what = "store-conflict", type(original).__name__
    elif isinstance(error, SQLAlchemyError) and not isinstance(error, DBAPIError):
        code, what = "store-error", type(error).__name__
    elif isinstance(original, OSError) and original.errno in _ERRNO:
        code, what = _ERRNO[original.errno], type(original).__name__
    else:  # sockets, name resolution, a connection that went away
        code, what = "store-unavailable", type(original).__name__
    return StoreError(f"the database answered: {what}", code=code, hint=_HINTS[code])


@contextmanager
def coded() -> Iterator[None]:
    """Driver errors leave as StoreError."""
    try:
        yield
    except DRIVER_ERRORS as error:
        raise store_error(error) from None


def _class_of(state: str) -> str:
    if state.startswith("23"):
        return "store-conflict"
    if state.startswith(("08", "57", "53", "28", "3D")):
        return "store-unavailable"
    return "store-error"


DRIVER_ERRORS = (SQLAlchemyError, sqlite3.Error, OSError)
"""What a statement may raise that is not ours."""

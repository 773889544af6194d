"""Reading without a transaction: one statement, one snapshot.

SQLite is read through its own read-only connections of the standard library: short statements in the event loop, where 30 µs of
work is cheaper than a hop to a thread (`brief`: until one took long); `slow` and `stream` off the loop, each on its own connection. A
statement object is compiled to SQL text once, so make statements module constants with `bindparam`s. PostgreSQL is read through the
async engine.

Rows are tuples with attributes. This room must not write.
"""

import asyncio
import sqlite3
from collections import namedtuple
from collections.abc import AsyncIterator, Callable, Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from hashlib import sha256
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event, Lock
from time import thread_time
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias
from urllib.parse import quote
from weakref import WeakKeyDictionary

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite.aiosqlite import dialect as sqlite_dialect

from gateway.store.dialects import DRIVER_ERRORS, coded, members_text, store_error
from gateway.store.vault import Vault

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

Row: TypeAlias = Any
"""A row of a result: a tuple whose elements are also attributes, named as the statement names its columns."""

Statement: TypeAlias = sa.Executable
Parameters: TypeAlias = Mapping[str, Any]
Made: TypeAlias = Callable[[list[Row]], Any]
"""What some rows become; called in a thread, so it waits for nothing."""

_OFF_LOOP_THREADS = 4
_CACHE_KIB: Final = 32 * 1024
"""Of pages that one connection keeps."""
_PASSING_KIB: Final = 1024
"""While rows are streamed: they pass by once, and each costs more where many are kept."""
_AT_ONCE: Final = 50
"""So many streamed rows are made into something while they still stand in the processor's cache."""
KEPT_BYTES: Final = 16 * 2**20
"""Of what was read lately; the oldest goes first."""
_ENTRY: Final = 1000
"""What an entry costs beside its document, about."""
_KEY: Final = 300
"""What another key of the same costs, about."""
_BRIEF_S: Final = 0.002
"""Processor time that a statement may take in the loop."""
_LONG_ONES: Final = 4096
_STOP_AGAIN_S: Final = 0.02
_SINGLE: Final = frozenset({str, int, type(None)})
"""What nearly every parameter is: no list."""
_DIALECT = sqlite_dialect(paramstyle="qmark")


class Reads(Protocol):
    """Answers of the database as it stands; each call sees one snapshot."""

    fresh_keys: bool
    """Always False here: whether this source sees data keys that are not committed."""
    vault: Vault
    """Opens what is read."""

    async def all(self, statement: Statement, params: Parameters | None = None) -> list[Row]:
        """All rows of a short, indexed statement. Raises StoreError."""
        ...

    async def one(self, statement: Statement, params: Parameters | None = None) -> Row | None:
        """The first row, or None. Raises StoreError."""
        ...

    async def slow(self, statement: Statement, params: Parameters | None = None) -> list[Row]:
        """All rows of a statement that may take longer than 2 ms: off the event loop. Raises StoreError."""
        ...

    async def brief(self, statement: Statement, params: Parameters) -> list[Row]:
        """All rows of a statement that takes long with few parameters only: off the loop with those that did. Raises StoreError."""
        ...

    def stream(
        self,
        statement: Statement,
        params: Parameters | None = None,
        size: int = 1000,
        *,
        named: bool = True,
        ahead: Statement | None = None,
        made: Made | None = None,
    ) -> AsyncIterator[list[Row]]:
        """Rows in lists of at most `size`, off the loop, in flat memory, all of one snapshot. Close the iterator when stopping early.

        Without `named` a row may be a tuple without attributes, and of what SQLite knows: it has no booleans. `ahead` is answered when the
        first rows were read, from the same snapshot and with the same parameters: the first list (empty, where there are no rows) is
        followed by all rows of it. `made`: some rows at a time are given to it where they are read, without names, and the lists are of
        what it returns.
        """
        ...

    async def state(self) -> Hashable | None:
        """What stands for the state of the database: if two are equal, nothing at all was committed between them. None: it cannot be told.

        Raises StoreError.
        """
        ...

    async def close(self) -> None:
        """Let go of the connections; twice is harmless."""
        ...


class Moment:
    """One state of the database as a reader sees it: the same object while nothing has been committed since."""

    __slots__ = ("_kept", "_keys", "_size", "known", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        self.known: dict[Any, Any] = {}
        """What was read in this state, or after it; it goes away with the state."""
        self._kept: dict[Any, Any] = {}
        self._keys: dict[int, int] = {}
        """Of what is kept, by its `id`, how many keys there are: its bytes count once."""
        self._size = 0

    def kept(self, key: Any) -> Any:
        """What was read lately under a key, and is still kept; else None."""
        return self._kept.get(key)

    def keep(self, key: Any, found: Any) -> None:
        """Keep something with a `body` (bytes or None) as long as there is room; another key of what is kept already costs little."""
        if key in self._kept:
            return
        self._kept[key] = found
        keys = self._keys[id(found)] = self._keys.get(id(found), 0) + 1
        self._size += _KEY if keys > 1 else len(found.body or b"") + _ENTRY
        while self._size > KEPT_BYTES:
            self._let_go(next(iter(self._kept)))

    def _let_go(self, key: Any) -> None:
        found = self._kept.pop(key)
        keys = self._keys.pop(id(found)) - 1
        if keys:
            self._keys[id(found)] = keys
        self._size -= _KEY if keys else len(found.body or b"") + _ENTRY


async def lately(source: Any, what: str, key: str, statement: Statement, params: Parameters) -> Row | None:
    """The first row of a short statement with a `body` among its columns: read once in each state of the database.

    Nothing is kept of what is not there: any text can be asked for.
    """
    moment = moment_of(source)
    found = moment.kept((what, key)) if moment is not None else None
    if found is None:
        found = await source.one(statement, params)
        if found is not None and moment is not None:
            moment.keep((what, key), found)
    return found


def moment_of(reads: Any) -> Moment | None:
    """The present state; None where that costs as much as reading (PostgreSQL). Take it first, read then. Raises StoreError."""
    return reads.moment() if isinstance(reads, SqliteReads) else None


class _Compiled:
    """A statement as SQLite takes it."""

    __slots__ = ("_defaults", "_flags", "_make", "_names", "sql")

    def __init__(self, statement: Statement) -> None:
        compiled = statement.compile(dialect=_DIALECT)  # type: ignore[attr-defined]  # every statement we make is also a ClauseElement
        self.sql: str = compiled.string
        self._names: tuple[str, ...] = tuple(compiled.positiontup or ())
        self._defaults: dict[str, Any] = dict(compiled.params)
        columns: Any = getattr(statement, "exported_columns", ())
        self._flags = tuple(index for index, column in enumerate(columns) if isinstance(column.type, sa.Boolean))
        self._make: Callable[[Sequence[Any]], Row] | None = None

    def arguments(self, params: Parameters | None) -> tuple[Any, ...]:
        values = self._defaults.copy()
        if params is not None:
            for name, value in params.items():
                # most are none, and to ask a class for its name costs less than to ask for its ancestors
                values[name] = (
                    value if value.__class__ in _SINGLE or not isinstance(value, (list, tuple, set, frozenset)) else members_text(value)
                )
        return tuple(map(values.__getitem__, self._names))

    def row(self, cursor: sqlite3.Cursor, raw: tuple[Any, ...]) -> Row:
        make = self._make
        return make(raw) if make is not None and not self._flags else self.rows(cursor, [raw])[0]

    def rows(self, cursor: sqlite3.Cursor, raw: list[tuple[Any, ...]]) -> list[Row]:
        if not raw:
            return []
        make = self._make
        if make is None:
            names = [column[0] for column in cursor.description]
            kind: Any = namedtuple("Row", names, rename=True)  # type: ignore[misc]  # the names are known when the statement has run
            make = self._make = partial(tuple.__new__, kind)  # `_make` counts the columns of every row again
        if self._flags:  # SQLite has no booleans
            changed = [list(row) for row in raw]
            for row in changed:
                for index in self._flags:
                    if row[index] is not None:
                        row[index] = bool(row[index])
            return list(map(make, changed))
        return list(map(make, raw))


_compiled: "WeakKeyDictionary[Statement, _Compiled]" = WeakKeyDictionary()


def compiled(statement: Statement) -> _Compiled:
    """The statement for SQLite, compiled at its first use."""
    found = _compiled.get(statement)
    if found is None:
        found = _compiled[statement] = _Compiled(statement)
    return found


def _stop(running: list[sqlite3.Connection], hands: Lock, over: Callable[[], bool]) -> None:
    """Stop the statement of a reader who has gone away: again until it is over, for what comes before a statement has begun is lost.

    `hands` is held while a connection leaves `running`: what is given back may be another's a moment later, and must not be interrupted.
    """
    with hands:
        for connection in running:
            connection.interrupt()
    if not over():
        asyncio.get_running_loop().call_later(_STOP_AGAIN_S, _stop, running, hands, over)


class SqliteReads:
    """Read-only connections to one SQLite file."""

    def __init__(self, path: Path, vault: Vault, *, wait_s: float) -> None:
        self.fresh_keys = False
        self.vault = vault
        self._path = path
        self._wait_s = wait_s
        self._idle: SimpleQueue[sqlite3.Connection] = SimpleQueue()
        self._threads = ThreadPoolExecutor(_OFF_LOOP_THREADS, thread_name_prefix="reads")
        with coded():
            # in the loop nobody may wait long for a lock; WAL readers never do, save while a crash is being recovered
            self._connection = self._connect(min(wait_s, 0.5))
        self._moment = Moment(-1)
        self._long: dict[bytes, None] = {}
        """Digests of what took long (see `brief`); the oldest goes first."""
        self._asked: asyncio.AbstractEventLoop | None = None
        """The loop of whose present turn the moment is."""
        self._closed = False

    def _connect(self, wait_s: float) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"file:{quote(str(self._path))}?mode=ro",
            uri=True,
            timeout=wait_s,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=512,
        )
        for pragma in ("query_only=ON", "temp_store=MEMORY", f"cache_size=-{_CACHE_KIB}"):
            connection.execute(f"PRAGMA {pragma}")
        return connection

    def moment(self) -> Moment:
        """The state of the database, as SQLite counts the commits of everybody else; this connection commits nothing.

        It is asked once in each turn of the event loop: whoever asks after a commit is heard in a later turn than one that looked before
        it, so nothing that left is shown to anybody who asked afterwards (see `lane`).
        """
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # outside a loop it is asked each time
            loop = None
        if self._asked is not None and self._asked is loop:
            return self._moment
        try:
            number: int = self._connection.execute("PRAGMA data_version").fetchall()[0][0]
        except sqlite3.Error as error:
            raise store_error(error) from None
        if number != self._moment.number:
            self._moment = Moment(number)
        if loop is not None:
            loop.call_soon(self._ask_again)
            self._asked = loop
        return self._moment

    def _ask_again(self) -> None:
        self._asked = None

    async def state(self) -> Hashable | None:
        """The number of the present state."""
        return self.moment().number

    async def all(self, statement: Statement, params: Parameters | None = None) -> list[Row]:
        """All rows of a short, indexed statement, read in the loop."""
        known = compiled(statement)
        return self._here(known, known.arguments(params))

    def _here(self, known: _Compiled, arguments: tuple[Any, ...]) -> list[Row]:
        try:
            cursor = self._connection.execute(known.sql, arguments)
            return known.rows(cursor, cursor.fetchall())
        except sqlite3.Error as error:
            raise store_error(error) from None

    async def one(self, statement: Statement, params: Parameters | None = None) -> Row | None:
        """The first row, or None."""
        known = compiled(statement)
        try:
            cursor = self._connection.execute(known.sql, known.arguments(params))
            row = cursor.fetchone()
            result = known.row(cursor, row) if row is not None else None
            cursor.close()  # an open cursor would hold its snapshot and stop checkpoints
            return result
        except sqlite3.Error as error:
            raise store_error(error) from None

    async def brief(self, statement: Statement, params: Parameters) -> list[Row]:
        """All rows, read in the loop unless the same took long before.

        A thread costs more than most of these statements, and under load each of its turns waits for the loop to let the interpreter's
        lock go. Which parameters took long decides where is read, never what; they are remembered as digests.
        """
        known = compiled(statement)
        arguments = known.arguments(params)
        if self._long and _digest(arguments) in self._long:
            return await self.slow(statement, params)
        began = thread_time()
        found = self._here(known, arguments)
        if thread_time() - began > _BRIEF_S:
            self._long[_digest(arguments)] = None
            if len(self._long) > _LONG_ONES:
                del self._long[next(iter(self._long))]
        return found

    async def slow(self, statement: Statement, params: Parameters | None = None) -> list[Row]:
        """All rows, read on a thread with its own connection; who is cancelled meanwhile stops the statement too."""
        known = compiled(statement)
        arguments = known.arguments(params)
        running: list[sqlite3.Connection] = []
        hands = Lock()

        def read() -> list[Row]:
            with coded():
                connection = self._take()
                running.append(connection)
                try:
                    cursor = connection.execute(known.sql, arguments)
                    return known.rows(cursor, cursor.fetchall())
                finally:
                    with hands:
                        running.clear()
                    self._give(connection)

        job = self._threads.submit(read)
        try:
            return await asyncio.wrap_future(job)
        except asyncio.CancelledError:
            _stop(running, hands, job.done)
            raise

    async def stream(
        self,
        statement: Statement,
        params: Parameters | None = None,
        size: int = 1000,
        *,
        named: bool = True,
        ahead: Statement | None = None,
        made: Made | None = None,
    ) -> AsyncIterator[list[Row]]:
        """Rows in lists, read on a thread with its own connection; one snapshot from first to last."""
        known = compiled(statement)
        arguments = known.arguments(params)
        loop = asyncio.get_running_loop()
        running: list[sqlite3.Connection] = []
        turn = Lock()  # a reader who is cancelled leaves while the thread still fetches: the end waits for it
        hands, ended = Lock(), Event()
        cursors: list[sqlite3.Cursor] = []

        def begun() -> sqlite3.Connection:
            if not running:
                connection = self._take()
                running.append(connection)
                connection.execute(f"PRAGMA cache_size=-{_PASSING_KIB}")
            return running[0]

        def told(of_all: Statement) -> list[Row]:
            with turn, coded():
                cursor = running[0].execute(compiled(of_all).sql, compiled(of_all).arguments(params))
                return compiled(of_all).rows(cursor, cursor.fetchall())

        some = min(size, _AT_ONCE)

        def more(wanted: int = size) -> list[Row]:
            with turn, coded():
                if not cursors:
                    connection = begun()
                    if ahead is not None:
                        connection.execute("BEGIN")  # the snapshot that both see begins with the first of them
                    cursors.append(connection.execute(known.sql, arguments))
                fetch = cursors[0].fetchmany
                if made is not None:
                    return [made(raw) for _ in range(0, wanted, some) if (raw := fetch(some))]
                raw = fetch(wanted)
                return known.rows(cursors[0], raw) if named else raw

        def end() -> None:
            with turn:
                for cursor in cursors:
                    cursor.close()
                with hands:
                    held = running.copy()
                    running.clear()
                ended.set()
                for connection in held:
                    try:
                        if connection.in_transaction:
                            connection.execute("ROLLBACK")
                        connection.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
                    except sqlite3.Error:
                        connection.close()  # one that keeps its snapshot is of no use to anybody
                    else:
                        self._give(connection)

        try:
            if ahead is not None or made is not None:  # somebody waits for the first: where nothing is in memory each is read from disk
                first = await loop.run_in_executor(self._threads, more, some)
                if first or ahead is not None:
                    yield first
            if ahead is not None:
                yield await loop.run_in_executor(self._threads, told, ahead)
            while rows := await loop.run_in_executor(self._threads, more):
                yield rows
        except asyncio.CancelledError:
            _stop(running, hands, ended.is_set)
            raise
        finally:
            if self._closed:  # whoever left in the middle, by an error, is closed by the loop, after the house
                end()
            else:
                await loop.run_in_executor(self._threads, end)

    def _take(self) -> sqlite3.Connection:
        try:
            return self._idle.get_nowait()
        except Empty:
            return self._connect(self._wait_s)

    def _give(self, connection: sqlite3.Connection) -> None:
        if self._closed or self._idle.qsize() >= _OFF_LOOP_THREADS:
            connection.close()
        else:
            self._idle.put(connection)

    async def close(self) -> None:
        """Close every connection; twice is harmless."""
        if self._closed:
            return
        self._closed = True
        await asyncio.get_running_loop().run_in_executor(None, self._threads.shutdown)
        self._connection.close()
        while not self._idle.empty():
            self._idle.get_nowait().close()


def _digest(arguments: tuple[Any, ...]) -> bytes:
    return sha256(repr(arguments).encode()).digest()


def _made(made: Made, rows: Sequence[Row]) -> list[Any]:
    """What some rows at a time become."""
    return [made(list(rows[at : at + _AT_ONCE])) for at in range(0, len(rows), _AT_ONCE)]


_SNAPSHOT: Final = sa.text(
    "SELECT CASE WHEN NOT pg_is_in_recovery() THEN concat(pg_postmaster_start_time(), ' ', pg_current_snapshot()) END AS snapshot"
)
"""Two snapshots of one server see the same if they name the same transactions; a standby does not name all that are under way."""


class PostgresReads:
    """Reads through SQLAlchemy's async engine, each statement in its own autocommit."""

    def __init__(self, engine: "AsyncEngine", vault: Vault) -> None:
        self.fresh_keys = False
        self.vault = vault
        self._engine = engine

    async def all(self, statement: Statement, params: Parameters | None = None) -> list[Row]:
        """All rows."""
        return list((await self._execute(statement, params)).all())

    async def one(self, statement: Statement, params: Parameters | None = None) -> Row | None:
        """The first row, or None."""
        return (await self._execute(statement, params)).first()

    async def _execute(self, statement: Statement, params: Parameters | None) -> sa.CursorResult[Any]:
        """A read has no effect, so it is asked again when the server had closed the connection (a restart, a fail-over)."""
        for again in (True, False):
            try:
                async with self._engine.connect() as connection:
                    return await connection.execute(statement, params)
            except DRIVER_ERRORS as error:
                if not (again and isinstance(error, sa.exc.DBAPIError) and error.connection_invalidated):
                    raise store_error(error) from None
        raise AssertionError  # the second round returned or raised

    async def brief(self, statement: Statement, params: Parameters) -> list[Row]:
        """All rows; on PostgreSQL nothing blocks the loop."""
        return await self.all(statement, params)

    async def slow(self, statement: Statement, params: Parameters | None = None) -> list[Row]:
        """All rows; on PostgreSQL nothing blocks the loop."""
        return await self.all(statement, params)

    async def stream(
        self,
        statement: Statement,
        params: Parameters | None = None,
        size: int = 1000,
        *,
        named: bool = True,
        ahead: Statement | None = None,
        made: Made | None = None,
    ) -> AsyncIterator[list[Row]]:
        """Rows in lists through a server-side cursor."""
        try:
            async with self._engine.connect() as connection:
                # a cursor lives in a transaction
                await connection.execution_options(isolation_level="REPEATABLE READ", yield_per=size)
                result = await connection.stream(statement, params)
                if ahead is not None or made is not None:
                    first = list(await result.fetchmany(min(size, _AT_ONCE)))
                    yield first if made is None else await asyncio.to_thread(_made, made, first)
                if ahead is not None:
                    yield list(await (await connection.stream(ahead, params)).all())
                async for rows in result.partitions(size):
                    yield list(rows) if made is None else await asyncio.to_thread(_made, made, rows)
        except DRIVER_ERRORS as error:
            raise store_error(error) from None

    async def state(self) -> Hashable | None:
        """Which transactions a reader sees; those of other databases of the server count too."""
        row = await self.one(_SNAPSHOT)
        return None if row is None else row.snapshot

    async def close(self) -> None:
        """Close the pool; twice is harmless."""
        await self._engine.dispose()

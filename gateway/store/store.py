"""The store: one database, one writer at a time, any number of readers.

Rules:
- A story writes in one `transaction()`: all of it stands, or nothing does. Whoever has a transaction is the only writer of the whole
  database until it ends, on SQLite (BEGIN IMMEDIATE) and on PostgreSQL (one advisory lock) alike: *select, then decide, then write* is
  safe, and order of number is order of commit. So do what needs no database (parsing, redaction, signing checks) before it begins.
- Never begin a transaction inside a transaction of the same task: it would wait for itself.
- Whoever only reads uses `reads`, which never waits for a writer.
- A store belongs to one gateway, one region and one key-encryption key, and is opened only in the form this program knows.
- Every failure of the database leaves as StoreError with a stable code and without values.

This is the only room with SQL; it decides nothing about what anybody may see.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import URL, CursorResult, make_url

from gateway.core.audit.chain import Partition
from gateway.core.errors import StoreError
from gateway.store import copies, migrations
from gateway.store.dialects import DRIVER_ERRORS, MIGRATION_LOCK, WRITER_LOCK, check_url, is_sqlite, read_engine, store_error, write_engine
from gateway.store.form import columns_held, strange_table
from gateway.store.keyring import LabelVersion, WrappedRoot
from gateway.store.reads import Parameters, PostgresReads, Reads, Row, SqliteReads, Statement
from gateway.store.tables import counters, key_labels, key_roots, meta
from gateway.store.vault import Vault

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

__all__ = ["Reads", "Row", "Store", "Transaction", "moment", "new_id", "new_ids", "stamp"]

Answer = TypeVar("Answer")

KEYS_CHANGED = "keys"
"""Counter of changes of the key tables."""
WAIT_S = 5.0
"""How long a writer waits for another before it gives up with `store-locked`."""


# --- texts of the tables ----------------------------------------------------------------------------------------------


@lru_cache(maxsize=1024)  # the records of a batch end, and came in, at few moments
def stamp(instant: datetime) -> str:
    """An instant as the tables hold it: whole seconds, UTC, `Z`; sortable as text."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def moment(text: str) -> datetime:
    """The instant behind a text of the tables."""
    return datetime.fromisoformat(text)


def new_id(prefix: str, random: Callable[[int], bytes]) -> str:
    """An id we issue: the prefix and 26 base32 characters of 128 random bits; it carries no order and no time."""
    return new_ids(prefix, 1, random)[0]


_ALPHABET = b"abcdefghijklmnopqrstuvwxyz234567"
_FIVE_BITS = bytes(_ALPHABET[byte & 31] for byte in range(256))
_LAST_THREE_BITS = bytes(_ALPHABET[(byte & 7) << 2] for byte in range(256))  # 128 = 25 × 5 + 3


def new_ids(prefix: str, count: int, random: Callable[[int], bytes]) -> list[str]:
    """Many ids at once."""
    drawn = random(26 * count)
    heads = drawn[: 25 * count].translate(_FIVE_BITS).decode()
    tails = drawn[25 * count :].translate(_LAST_THREE_BITS).decode()
    return [f"{prefix}{heads[25 * place : 25 * place + 25]}{tails[place]}" for place in range(count)]


# --- transaction ------------------------------------------------------------------------------------------------------

_VERSION = "SELECT version_num FROM alembic_version"
_META = sa.select(meta.c.name, meta.c.value)
_KEYS_EPOCH = sa.select(counters.c.value).where(counters.c.name == KEYS_CHANGED)
_COUNT = sa.text(
    "INSERT INTO counters (name, value) VALUES (:name, :n) ON CONFLICT (name) DO UPDATE SET value = counters.value + :n RETURNING value"
)


@lru_cache(maxsize=256)
def _insert_text(table: sa.Table, columns: tuple[str, ...], dialect: str) -> str:
    marks = ", ".join("?" if dialect == "sqlite" else f"${place}" for place in range(1, len(columns) + 1))
    return f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES ({marks})"


@lru_cache(maxsize=256)
def _put_text(table: sa.Table, columns: tuple[str, ...], key: tuple[str, ...], dialect: str) -> str:
    words = ", ".join(f"{column} = excluded.{column}" for column in columns if column not in key)
    return f"{_insert_text(table, columns, dialect)} ON CONFLICT ({', '.join(key)}) DO UPDATE SET {words}"


@lru_cache(maxsize=256)
def _update_text(table: sa.Table, columns: tuple[str, ...], key: str, dialect: str) -> str:
    marks = [f"{column} = {'?' if dialect == 'sqlite' else f'${place}'}" for place, column in enumerate(columns, 1)]
    return f"UPDATE {table.name} SET {', '.join(marks)} WHERE {key} = {'?' if dialect == 'sqlite' else f'${len(columns) + 1}'}"


class Transaction:
    """The one writer while it lasts. `now` is read once: everything a story writes bears the same instant."""

    def __init__(self, store: "Store", connection: "AsyncConnection", now: datetime) -> None:
        self.store = store
        self.vault = store.vault
        self.connection = connection
        self.now = now
        self.now_text = stamp(now)
        self.fresh_keys = False
        self.shredded = False
        """Something was erased: after the commit the write-ahead log is emptied too."""
        self.audited: dict[Partition, tuple[tuple[int, bytes], tuple[int, bytes]]] = {}
        """Partitions of the audit trail that were written: where each ended before, and ends now."""
        self.at_once = False
        """An act was written that is to be sealed before the commit."""
        self.head: Any = None
        """The checkpoint that was made, a HeadRow."""
        self.sealed: dict[Partition, int] = {}
        """How far it covers each partition."""

    async def execute(self, statement: Statement, params: Parameters | Sequence[Parameters] | None = None) -> CursorResult[Any]:
        """Execute a statement; with a list of parameters once for each. Raises StoreError."""
        return await self._answer(self.connection.execute(statement, params), many=isinstance(params, Sequence))

    async def all(self, statement: Statement, params: Parameters | None = None) -> list[Row]:
        """All rows, with what this transaction has written so far."""
        return list((await self.execute(statement, params)).all())

    async def one(self, statement: Statement, params: Parameters | None = None) -> Row | None:
        """The first row, or None."""
        return (await self.execute(statement, params)).first()

    async def number(self, counter: str, n: int = 1) -> int:
        """The first of the next `n` dense numbers of a counter. Take it late: what fails afterwards gives it back by rolling back."""
        value = (await self.execute(_COUNT, {"name": counter, "n": n})).scalar_one()
        return int(value) - n + 1

    async def insert(self, table: sa.Table, columns: tuple[str, ...], rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert many rows, given as tuples in the order of `columns`: the fast way in."""
        if rows:
            await self._many(_insert_text(table, columns, self.store.dialect), rows)

    async def put(self, table: sa.Table, columns: tuple[str, ...], key: tuple[str, ...], rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert many rows, or where one of the same key stands, change it in its place: taken out and put in, it would move."""
        if rows:
            await self._many(_put_text(table, columns, key, self.store.dialect), rows)

    async def update(self, table: sa.Table, columns: tuple[str, ...], key: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Update many rows by key; each tuple has the columns in order and the key last."""
        if rows:
            await self._many(_update_text(table, columns, key, self.store.dialect), rows)

    async def _many(self, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
        await self._answer(self.connection.exec_driver_sql(statement, list(rows)), many=True)

    async def _answer(self, asked: Awaitable[Answer], *, many: bool) -> Answer:
        try:
            return await (to_its_end(asked) if many and self.store.dialect == "postgresql" else asked)
        except DRIVER_ERRORS as error:
            raise store_error(error) from None


async def to_its_end(asked: Awaitable[Answer]) -> Answer:
    """What cannot be left half done, as a statement for each of many rows: whoever is cancelled waits until it is over, and ends then.

    asyncpg sends many rows in portions, and one that is cancelled between two waits for an answer that the server will not give before the
    rest has come: for ever, with its process, the one writer's turn and all who wait for them.
    """
    asking = asyncio.ensure_future(asked)
    try:
        return await asyncio.shield(asking)
    finally:
        while not asking.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({asking})
        if not asking.cancelled():
            asking.exception()  # it is known, or whoever would hear of it has gone


# --- store ------------------------------------------------------------------------------------------------------------


Source = Reads | Transaction
"""What can be read from: a snapshot, or a transaction that sees what it has written."""


class Watch(Protocol):
    """Who looks at every transaction when it ends: the audit trail's seals."""

    async def before_commit(self, tx: Transaction) -> None:
        """The last chance to write."""

    def after_commit(self, tx: Transaction) -> None:
        """What it wrote stands."""


class Store:
    """An open database of this gateway."""

    def __init__(self, url: URL, *, vault: Vault, clock: Callable[[], datetime], random: Callable[[int], bytes], wait_s: float) -> None:
        check_url(url)
        self.dialect = "sqlite" if is_sqlite(url) else "postgresql"
        self.vault = vault
        self.clock = clock
        self.random = random
        self._url = url
        self._wait_s = wait_s
        self._engine: AsyncEngine = write_engine(url, wait_s=wait_s)
        self._reads: Reads | None = None
        self._old_pages = False
        self.watch: Watch | None = None
        vault.refresh = self._refresh

    def __repr__(self) -> str:
        return f"<Store {self.dialect}>"  # no address: it may carry a password

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        vault: Vault,
        clock: Callable[[], datetime],
        random: Callable[[int], bytes],
        party: str | None = None,
        region: str | None = None,
        migrate: bool = False,
        wait_s: float = WAIT_S,
    ) -> "Store":
        """Open the database, and only if it is ours.

        `party` and `region` are this gateway's; the first to open a fresh store claims it. With `migrate` the tables are brought to
        the present form first. Raises StoreError `migration-needed`, `migration-newer`, `migration-unreleased`, `store-foreign`,
        `key-wrong`, `store-…`.
        """
        try:
            parsed = make_url(url)
        except sa.exc.ArgumentError:
            raise StoreError(
                "this is no database address",
                code="database-unsupported",
                place="database",
                hint="sqlite+aiosqlite:///file or postgresql+asyncpg://…",
            ) from None
        store = cls(parsed, vault=vault, clock=clock, random=random, wait_s=wait_s)
        try:
            if migrate:
                await store.migrate()
            await store._check(party, region)
        except BaseException:
            await store.close()
            raise
        return store

    @property
    def reads(self) -> Reads:
        """Reading without a transaction."""
        if self._reads is None:
            raise StoreError("the store is not open", code="store-unavailable")
        return self._reads

    @property
    def path(self) -> Path | None:
        """The SQLite file; None on PostgreSQL."""
        return Path(self._url.database or "") if self.dialect == "sqlite" else None

    @asynccontextmanager
    async def _transact(self) -> AsyncIterator[Transaction]:
        try:
            async with self._engine.begin() as connection:
                if self.dialect == "postgresql":
                    await connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({WRITER_LOCK})")
                if ((await connection.execute(_KEYS_EPOCH)).scalar() or 0) != self.vault.ring.epoch:
                    await self._load_keys(_rows_of(connection))
                transaction = Transaction(self, connection, self.clock())
                yield transaction
                if self.watch is not None:
                    await self.watch.before_commit(transaction)
        except DRIVER_ERRORS as error:
            raise store_error(error) from None
        if self.watch is not None:
            self.watch.after_commit(transaction)
        self._old_pages = self._old_pages or transaction.shredded
        if self._old_pages:
            await self._forget()

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """Begin to write; commits at the end of the block, rolls back when it raises.

        Raises StoreError `store-locked` when another writer does not end in time, `store-full`, `store-unavailable`; nothing is applied.
        """
        return self._transact()

    @asynccontextmanager
    async def aside(self) -> AsyncIterator[Transaction]:
        """Write what needs no turn as the one writer, and on PostgreSQL has none.

        Rows that no other process writes, reads before it writes, or counts; or such as whoever comes first takes, as the database tells.

        Raises StoreError like `transaction`.
        """
        if self.dialect == "sqlite":
            async with self._transact() as transaction:
                yield transaction
            return
        try:
            async with self._engine.begin() as connection:
                transaction = Transaction(self, connection, self.clock())
                yield transaction
        except DRIVER_ERRORS as error:
            raise store_error(error) from None
        if self.watch is not None:
            self.watch.after_commit(transaction)

    async def migrate(self) -> None:
        """Bring the tables to the present form; several processes may do so at once.

        Raises StoreError `migration-newer` when a newer program was here, `migration-failed` when rows would lose their parents.
        """
        path = self.path
        if path is not None:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch(mode=0o600)  # before SQLite makes it by the umask; its -wal and -shm take the same mode
            except OSError as error:
                raise store_error(error) from None
        # rebuilding a SQLite table drops it: with foreign keys on, that would delete its children without an error
        engine = write_engine(self._url, wait_s=max(self._wait_s, 60.0), foreign_keys=False)
        try:
            async with engine.begin() as connection:
                if self.dialect == "postgresql":
                    await connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")
                version = await connection.run_sync(_version)
                if version == migrations.HEAD:
                    return
                if version is not None and version not in migrations.KNOWN:
                    raise _newer()
                await connection.run_sync(migrations.upgrade)
                if self.dialect == "sqlite" and (await connection.exec_driver_sql("PRAGMA foreign_key_check")).first() is not None:
                    raise StoreError("the migration would leave rows without their parents; it was undone", code="migration-failed")
        except DRIVER_ERRORS as error:
            raise store_error(error) from None
        finally:
            await engine.dispose()

    async def _check(self, party: str | None, region: str | None) -> None:
        path = self.path
        if path is not None and not path.is_file():
            raise _unmigrated()
        try:
            async with self._engine.begin() as connection:
                held = await columns_held(connection)
                version = (await connection.exec_driver_sql(_VERSION)).scalar() if "alembic_version" in held else None
                if version is None or (version != migrations.HEAD and version in migrations.KNOWN):
                    raise _unmigrated()
                if version != migrations.HEAD:
                    raise _newer()
                if (table := strange_table(held)) is not None:
                    raise _unreleased(table)
                if self.dialect == "postgresql":
                    await connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({WRITER_LOCK})")
                await self._claim(connection, party, region)
        except DRIVER_ERRORS as error:
            raise store_error(error) from None
        if path is not None:
            copies.sweep(path)
            await self._forget()  # a process that died after an erasure may have left its log
            self._reads = SqliteReads(path, self.vault, wait_s=self._wait_s)
        else:
            self._reads = PostgresReads(read_engine(self._url, wait_s=self._wait_s), self.vault)

    async def _claim(self, connection: "AsyncConnection", party: str | None, region: str | None) -> None:
        """Ours if it says so; a fresh store learns whose it is."""
        held = {row.name: row.value for row in (await connection.execute(_META)).all()}
        ring = self.vault.ring
        if not ring.choose(held.get("key_check", ring.key_check)):
            raise StoreError(
                "this database was written under another key-encryption key",
                code="key-wrong",
                place="kek_file",
                hint="put back the KEK file that belongs to this database",
            )
        for name, ours in (("party", party), ("region", region)):
            if ours is not None and held.get(name, ours) != ours:
                raise StoreError(
                    f"this database belongs to another gateway: its {name} is {held[name]}",
                    code="store-foreign",
                    place=name,
                    hint="give each gateway its own data_dir or database",
                )
        fresh = {"party": party, "region": region, "key_check": ring.key_check, "label_suite": str(self.vault.suite)}
        for name, value in fresh.items():
            if value is not None and name not in held:
                await connection.execute(sa.insert(meta).values(name=name, value=value))
        await self._load_keys(_rows_of(connection))

    async def _load_keys(self, rows: Callable[[sa.Executable], Awaitable[Sequence[Any]]]) -> None:
        """What the key tables say now, and the key file that belongs to them.

        Raises StoreError `key-wrong` when the key was exchanged and its new file is not here yet.
        """
        held = {row.name: row.value for row in await rows(_META)}
        ring, check = self.vault.ring, held.get("key_check")
        if check is not None and check != ring.key_check:
            ring.offer(check, *(self.vault.reload() if self.vault.reload is not None else ()))
            if check != ring.key_check:
                raise StoreError(
                    "the key-encryption key was exchanged; this process has the old one",
                    code="key-wrong",
                    place="kek_file",
                    hint="put the new KEK file in its place on this machine",
                )
        epoch = await rows(_KEYS_EPOCH)
        roots = await rows(sa.select(key_roots))
        labels = await rows(sa.select(key_labels))
        ring.load(
            int(held.get("kek_version", "1")),
            int(held.get("label_suite", "1")),
            [WrappedRoot(version=row.version, kek_version=row.kek_version, wrapped=bytes(row.wrapped)) for row in roots],
            [LabelVersion(label=row.label, version=row.version, root=row.root, suite=row.suite, state=row.state) for row in labels],
            epoch[0].value if epoch else 0,
        )
        self.vault.forget_shared()

    async def refresh_keys(self) -> bool:
        """Read the key tables again if they have changed; every process does so at each of its transactions, and between them."""
        row = await self.reads.one(_KEYS_EPOCH)
        if row is None or row.value == self.vault.ring.epoch:
            return False
        await self._load_keys(self.reads.all)
        return True

    async def _refresh(self) -> None:
        await self.refresh_keys()

    async def forget(self) -> bool:
        """See that what was erased is in no old page either; False while somebody still reads one."""
        await self._forget()
        return not self._old_pages

    async def _forget(self) -> None:
        """After an erasure: no old page may stay in SQLite's write-ahead log. A reader in the way only delays it to the next transaction.

        PostgreSQL has no such act: what was erased leaves its files with the next vacuum, and its log with the log's own retention.
        """
        self._old_pages = False
        if self.dialect == "sqlite":
            with contextlib.suppress(*DRIVER_ERRORS):
                async with self._engine.connect() as connection:
                    self._old_pages = not await connection.run_sync(_empty_log)

    async def close(self) -> None:
        """Let go of the database; twice is harmless."""
        if self._reads is not None:
            await self._reads.close()
        await asyncio.shield(self._engine.dispose())


def _rows_of(connection: "AsyncConnection") -> Callable[[sa.Executable], Awaitable[Sequence[Any]]]:
    async def rows(statement: sa.Executable) -> Sequence[Any]:
        return (await connection.execute(statement)).all()

    return rows


def _unmigrated() -> StoreError:
    return StoreError(
        "the tables are not in the form that this program needs",
        code="migration-needed",
        place="database",
        hint="run `chengxin init`, or let the start migrate",
    )


def _unreleased(table: str) -> StoreError:
    return StoreError(
        f"these data were made by an unreleased version of this program, or changed by hand: table {table} is another here",
        code="migration-unreleased",
        place="database",
        hint="no step leads on from there: give a new data_dir (PostgreSQL: an empty database), run `chengxin init`, take files in again",
    )


def _newer() -> StoreError:
    return StoreError(
        "the tables were made by a newer program", code="migration-newer", place="database", hint="run that version, or a later one"
    )


def _empty_log(connection: sa.Connection) -> bool:
    """Copy the write-ahead log into the database and cut it to nothing; False when a reader was in the way."""
    cursor = connection.connection.cursor()  # beneath SQLAlchemy, which would begin a transaction
    try:
        cursor.execute("PRAGMA busy_timeout")
        (usual,) = cursor.fetchone() or (0,)
        cursor.execute("PRAGMA busy_timeout = 200")  # meanwhile no other task writes
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (busy, *_pages) = cursor.fetchone() or (1,)
        cursor.execute(f"PRAGMA busy_timeout = {usual}")
    finally:
        cursor.close()
    return busy == 0


def _version(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    versions: Iterable[Any] = connection.exec_driver_sql(_VERSION).scalars()
    return next(iter(versions), None)

"""Copies of a SQLite database for a backup: the data without the keys to it, and these keys apart; and both put together again.

Rules: both copies are of one moment, so that no value of the one lacks its key in the other. The keys never lie in the folder of the data,
not for an instant and not in a freed page: the copy is cleared where the database stands before it goes there. What was shredded since
stays so: a scope of which a later copy of the keys knows nothing is put back without its key. On PostgreSQL its own tools do this.
Everything here blocks. This room must not decide where copies go, nor who may make them.
"""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from secrets import token_hex
from typing import Final
from urllib.parse import quote

from gateway.core.errors import StoreError
from gateway.store.dialects import DRIVER_ERRORS, store_error
from gateway.store.tables import deks, key_roots

KEY_TABLES: Final = (deks.name, key_roots.name)
_SUBJECT: Final = "subject:"
_MODE: Final = 0o600


def copy_apart(database: Path, data: Path, keys: Path) -> None:
    """Copy what is committed now: everything but the keys into one new file, the keys into another. Others read and write meanwhile.

    Raises StoreError.
    """
    beside = database.with_name(f".{database.name}.copy-{token_hex(8)}")
    try:
        with _coded():
            _make_empty(beside)
            with closing(_reader(database)) as source:
                source.execute("VACUUM INTO ?", (str(beside),))
            with _writer(beside) as copy:
                _take_keys(copy, keys)
                for table in KEY_TABLES:
                    copy.execute(f"DELETE FROM {table}")
                _sound(copy)
            _put(beside, data)
    finally:
        beside.unlink(missing_ok=True)


def put_together(data: Path, keys: Path, database: Path, *, newer: Path | None = None) -> list[str]:
    """Make a database of a copy of the data and the keys of the same moment; whose keys a newer copy of them lacks altogether.

    It is there whole or not at all. Raises StoreError.
    """
    beside = database.with_name(f".{database.name}.copy-{token_hex(8)}")
    try:
        with _coded():
            shutil.copyfile(data, _make_empty(beside))
            with _writer(beside) as copy:
                for table in KEY_TABLES:
                    if copy.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() is not None:
                        raise StoreError("this copy of the data holds keys: none of ours does", code="backup-damaged", place=str(data))
                copy.execute("ATTACH ? AS apart", (str(keys),))
                for table in KEY_TABLES:
                    copy.execute(f"INSERT INTO main.{table} SELECT * FROM apart.{table}")
                copy.execute("DETACH apart")
                gone = [] if newer is None else _shredded_since(copy, newer)
                _sound(copy)
            _put(beside, database)
    finally:
        beside.unlink(missing_ok=True)
    return gone


def _shredded_since(copy: sqlite3.Connection, newer: Path) -> list[str]:
    """Take away keys of scopes that the newer copy does not know: one that was renewed has a successor there."""
    copy.execute("ATTACH ? AS newer", (str(newer),))
    gone = "main.deks WHERE scope NOT IN (SELECT scope FROM newer.deks)"
    scopes: list[str] = [scope for (scope,) in copy.execute(f"SELECT DISTINCT scope FROM {gone} ORDER BY scope")]
    copy.execute(f"DELETE FROM {gone}")
    copy.execute("DETACH newer")
    return [scope.removeprefix(_SUBJECT) for scope in scopes]


def _take_keys(copy: sqlite3.Connection, keys: Path) -> None:
    """The tables of keys, and nothing else, in a file of their own."""
    _make_empty(keys)
    marks = ", ".join("?" for _ in KEY_TABLES)
    made = [sql for (sql,) in copy.execute(f"SELECT sql FROM sqlite_master WHERE type = 'table' AND name IN ({marks})", KEY_TABLES)]
    with _writer(keys) as apart:
        for sql in made:
            apart.execute(sql)
        for table in KEY_TABLES:
            rows = copy.execute(f"SELECT * FROM {table}").fetchall()
            if rows:
                apart.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' for _ in rows[0])})", rows)


def _sound(copy: sqlite3.Connection) -> None:
    """Raises StoreError when a page is damaged, or a row lacks its parent."""
    (said,) = copy.execute("PRAGMA integrity_check").fetchone()
    if said != "ok" or copy.execute("PRAGMA foreign_key_check").fetchone() is not None:
        raise StoreError("the copy is damaged", code="store-corrupt")


def _reader(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, isolation_level=None)


@contextmanager
def _writer(path: Path) -> Iterator[sqlite3.Connection]:
    """A file that nobody else knows: no page of it lies in a journal, and what is deleted is overwritten where it lay."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for pragma in ("journal_mode = OFF", "secure_delete = ON", "foreign_keys = OFF"):
            connection.execute(f"PRAGMA {pragma}")
        yield connection


def _make_empty(path: Path) -> Path:
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, _MODE))
    return path


def _put(beside: Path, place: Path) -> None:
    """Copy a finished file to where it shall stand, on whatever disk: whole or not at all, and on the disk when this returns."""
    draft = place.with_name(f"{place.name}.part")
    draft.unlink(missing_ok=True)
    shutil.copyfile(beside, _make_empty(draft))
    with draft.open("rb+") as file:
        os.fsync(file.fileno())
    draft.replace(place)
    folder = os.open(place.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def _coded() -> Iterator[None]:
    try:
        yield
    except DRIVER_ERRORS as error:
        raise store_error(error) from None

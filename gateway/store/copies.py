"""Copies of a SQLite database for a backup: the data without the keys to it, and these keys apart; and both put together again.

Rules: both copies are of one moment, so that no value of the one lacks its key in the other. The keys never lie in the folder of the data,
not for an instant and not in a freed page: the copy is cleared where the database stands before it goes there. What a process that was
killed leaves there goes when the database is opened next: it holds keys that may be shredded meanwhile. What was shredded since stays so: a
scope of which a later copy of the keys knows nothing is put back without its key. On PostgreSQL its own tools do this.
Everything here blocks. This room must not decide where copies go, nor who may make them.
"""

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from fcntl import LOCK_EX, LOCK_NB, flock
from glob import escape
from pathlib import Path
from secrets import token_hex
from typing import Final
from urllib.parse import quote

from gateway.core.errors import StoreError
from gateway.store.dialects import coded
from gateway.store.tables import deks, key_roots

KEY_TABLES: Final = (deks.name, key_roots.name)
_SUBJECT: Final = "subject:"
_MODE: Final = 0o600
ENDINGS: Final = ("", "-wal", "-shm", "-journal")
"""Of the files of a database."""


def copy_apart(database: Path, data: Path, keys: Path) -> None:
    """Copy what is committed now: everything but the keys into one new file, the keys into another. Others read and write meanwhile.

    Raises StoreError.
    """
    with coded(), _beside(database) as beside:
        with closing(_reader(database)) as source:
            source.execute("VACUUM INTO ?", (str(beside),))
        with _writer(beside) as copy:
            _take_keys(copy, keys)
            for table in KEY_TABLES:
                copy.execute(f"DELETE FROM {table}")
            _sound(copy)
        _put(beside, data)


def put_together(data: Path, keys: Path, database: Path, *, newer: Path | None = None) -> list[str]:
    """Make a database of a copy of the data and the keys of the same moment; persons whose keys a newer copy of them lacks altogether.

    It is there whole or not at all, and takes the place of nothing. Raises StoreError.
    """
    with coded():
        database.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _beside(database) as beside:
            shutil.copyfile(data, beside)
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
            _sync(beside)
            refuse_standing(database)
            try:
                os.link(beside, database)  # unlike a renaming it never takes another's place
            except FileExistsError:
                raise _standing(database) from None
            _sync(database.parent)
    return gone


def refuse_standing(database: Path) -> None:
    """Nothing may stand where a database shall come: nor a log without its database, which SQLite would play into the new one.

    Raises StoreError `backup-target`.
    """
    for ending in ENDINGS:
        if os.path.lexists(file := database.with_name(database.name + ending)):
            raise _standing(file)


def sweep(database: Path) -> None:
    """Take away what a copying that was killed has left beside a database: all values, and keys. One that is under way is let be."""
    for left in database.parent.glob(f".{escape(database.name)}.copy-*"):
        with suppress(OSError):  # another's, or gone just now
            turn = os.open(left, os.O_RDONLY)
            try:
                flock(turn, LOCK_EX | LOCK_NB)
                left.unlink()
            finally:
                os.close(turn)


def write(path: Path, said: bytes) -> None:
    """Put a small file, on the disk when this returns. Raises StoreError."""
    with coded():
        path.write_bytes(said)
        _sync(path)
        _sync(path.parent)


@contextmanager
def _beside(database: Path) -> Iterator[Path]:
    """An empty file beside the database, which nobody else reads and which is gone afterwards; locked as long as somebody works at it."""
    sweep(database)
    path = database.with_name(f".{database.name}.copy-{token_hex(8)}")
    turn = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, _MODE)
    try:
        flock(turn, LOCK_EX)
        if not path.exists():
            raise StoreError("another process took the copy away before it was begun", code="store-locked", hint="try again")
        yield path
    finally:
        path.unlink(missing_ok=True)
        os.close(turn)


def _shredded_since(copy: sqlite3.Connection, newer: Path) -> list[str]:
    """Take away keys of scopes that the newer copy does not know: one that was renewed has a successor there."""
    copy.execute("ATTACH ? AS newer", (str(newer),))
    gone = "main.deks WHERE scope NOT IN (SELECT scope FROM newer.deks)"
    scopes: list[str] = [scope for (scope,) in copy.execute(f"SELECT DISTINCT scope FROM {gone} ORDER BY scope")]
    copy.execute(f"DELETE FROM {gone}")
    copy.execute("DETACH newer")
    return [scope.removeprefix(_SUBJECT) for scope in scopes if scope.startswith(_SUBJECT)]


def _take_keys(copy: sqlite3.Connection, keys: Path) -> None:
    """The tables of keys, and nothing else, in a file of their own."""
    _make_empty(keys)
    marks = ", ".join("?" for _ in KEY_TABLES)
    made = [sql for (sql,) in copy.execute(f"SELECT sql FROM sqlite_master WHERE type = 'table' AND name IN ({marks})", KEY_TABLES)]
    with _writer(keys) as apart:
        for sql in made:
            apart.execute(sql)
    copy.execute("ATTACH ? AS apart", (str(keys),))
    copy.execute("PRAGMA apart.journal_mode = OFF")
    for table in KEY_TABLES:
        copy.execute(f"INSERT INTO apart.{table} SELECT * FROM main.{table}")
    copy.execute("DETACH apart")
    _sync(keys)


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
    shutil.copyfile(beside, _make_empty(draft))
    _sync(draft)
    draft.replace(place)
    _sync(place.parent)


def _sync(path: Path) -> None:
    """A file or folder is on the disk when this returns."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _standing(place: Path) -> StoreError:
    return StoreError(
        "there is a database already",
        code="backup-target",
        place=str(place),
        hint="move it away, with its -wal and -shm: it may hold what no backup has",
    )

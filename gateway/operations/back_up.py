"""A backup of a gateway on SQLite, and what it takes to come back from one.

Rules: data and keys go to two folders, for the keys are kept apart and not long (policy.md §11): a shredded person would come back with
them. Each folder says what it holds, of which moment and gateway, with a digest; nothing is written over. That a copy was made, and that a
gateway was brought back, are acts in the trail. What happened after the moment of the copy is not in it: withdrawals,
erasures, batches; so the story that brings a gateway back says what it still takes before anybody may ask it. Our signing keys and the
key-encryption key are files in places of their own, and no part of either folder. This story must not overwrite a database.
"""

import asyncio
import os
from datetime import datetime
from hashlib import file_digest
from pathlib import Path
from typing import Final, Literal

import msgspec
from msgspec import Struct

from gateway.core.errors import StoreError
from gateway.operations.come_back import mark_streams, purge_restored
from gateway.services import Services, open_services
from gateway.settings import Settings
from gateway.store import audit, copies, migrations
from gateway.store.dialects import sqlite_file
from gateway.store.store import to_its_end

FORMAT: Final = "chengxin-backup/1"
NOTE: Final = "backup.json"
DATA: Final = "gateway.db"
KEYS: Final = "keys.db"
_HEADS: Final = ("audit-checkpoint", "log-checkpoint-*")


class Note(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`backup.json` in each of the two folders."""

    format: Literal["chengxin-backup/1"] = FORMAT
    holds: Literal["data", "keys"]
    party: str
    region: str
    made_at: datetime
    """Of the copy; nothing that was committed later is in it."""
    form: str
    """Of the tables."""
    file: str
    size: int
    sha256: str
    other: str
    """SHA-256 of the file in the other folder: these two belong together."""


class BackedUp(Struct, frozen=True, kw_only=True):
    """What was copied."""

    made_at: datetime
    data: str
    keys: str
    data_bytes: int
    keys_bytes: int


class Restored(Struct, frozen=True, kw_only=True):
    """What was brought back, and what it still takes."""

    made_at: datetime
    database: str
    shredded_since: list[str]
    """Persons and households whose keys were destroyed after the copy: to be shredded again, for their rows are back, unreadable."""
    streams: list[str]
    """Partners' streams of which everything was purged: each is told anew once its sender has shown our last receipt."""
    heads: list[str]
    """Signed heads that stand beside the database and may be ahead of it: evidence to be kept, and to be moved away by hand."""


async def back_up(services: Services, *, data: Path, keys: Path, by: str) -> BackedUp:
    """Copy data and keys into two new or empty folders, while others read and write.

    Raises StoreError `backup-postgresql`, `backup-folder`, `store-…`.
    """
    database = services.store.path
    if database is None:
        raise _elsewhere()
    claimed: list[Path] = []
    try:
        for folder, apart_from in ((data, None), (keys, data)):
            await asyncio.to_thread(_claim, folder, apart_from=apart_from)
            claimed.append(folder)
        async with services.store.transaction() as tx:  # before it: the copy says of itself that it was made
            await audit.write(tx, by, "backup.made", "backup", {"data": str(data), "keys": str(keys)})
            made_at = tx.now
        # whoever is cancelled waits for the thread, which nothing stops: it would lay keys where all was taken away
        return await to_its_end(asyncio.to_thread(_copied, services.settings, database, made_at, data, keys))
    except BaseException:
        for folder in claimed:
            for file in folder.iterdir():
                file.unlink()
        raise


def _copied(settings: Settings, database: Path, made_at: datetime, data: Path, keys: Path) -> BackedUp:
    copies.copy_apart(database, data / DATA, keys / KEYS)
    digests = {"data": _digest(data / DATA), "keys": _digest(keys / KEYS)}
    for holds, folder, file in (("data", data, DATA), ("keys", keys, KEYS)):
        note = Note(
            holds=holds,  # type: ignore[arg-type]  # one of the two just above
            party=settings.party,
            region=settings.region,
            made_at=made_at,
            form=migrations.HEAD,
            file=file,
            size=(folder / file).stat().st_size,
            sha256=digests[holds],
            other=digests["keys" if holds == "data" else "data"],
        )
        copies.write(folder / NOTE, msgspec.json.format(msgspec.json.encode(note), indent=2) + b"\n")
    return BackedUp(
        made_at=made_at,
        data=str(data),
        keys=str(keys),
        data_bytes=(data / DATA).stat().st_size,
        keys_bytes=(keys / KEYS).stat().st_size,
    )


async def restore(settings: Settings, *, data: Path, keys: Path, newer_keys: Path | None, by: str) -> Restored:
    """Make the database of this gateway anew out of a backup; it must not be there.

    `newer_keys`: the folder of the newest copy of the keys that there is. Raises StoreError `backup-postgresql`, `backup-damaged`,
    `backup-target`, `store-foreign`, `key-wrong`, `migration-newer`, `store-…`.
    """
    database = sqlite_file(settings.database_url)
    if database is None:
        raise _elsewhere()
    copies.refuse_standing(database)
    of_data = await asyncio.to_thread(_checked, data, "data", settings)
    of_keys = await asyncio.to_thread(_checked, keys, "keys", settings)
    if of_keys.sha256 != of_data.other or of_data.sha256 != of_keys.other:
        raise StoreError(
            "these keys are of another copy than this data",
            code="backup-damaged",
            place=str(keys),
            hint="give the two folders that one `backup make` has written; a later copy of the keys goes to --newer-keys",
        )
    newer = None
    if newer_keys is not None:
        of_newer = await asyncio.to_thread(_checked, newer_keys, "keys", settings)
        if of_newer.made_at < of_keys.made_at:
            raise StoreError(
                "this copy of the keys is older than the one beside the data",
                code="backup-damaged",
                place=str(newer_keys),
                hint="give the newest there is",
            )
        newer = newer_keys / KEYS
    gone = await to_its_end(asyncio.to_thread(copies.put_together, data / DATA, keys / KEYS, database, newer=newer))
    try:
        async with open_services(settings, migrate=True) as services:
            async with services.store.transaction() as tx:
                streams = await mark_streams(services, tx)  # what partners told since, and what we answered, is not in the copy
                detail = {"made_at": of_data.made_at.isoformat(), "shredded_since": len(gone), "streams": len(streams)}
                await audit.write(tx, by, "backup.restored", "backup", detail)
            await purge_restored(services)
    except BaseException:  # a key that does not fit, a newer program's tables: nothing is half brought back
        for ending in copies.ENDINGS:
            database.with_name(database.name + ending).unlink(missing_ok=True)
        raise
    heads = sorted(str(path) for name in _HEADS for path in settings.data_path.glob(name))
    return Restored(
        made_at=of_data.made_at, database=str(database), shredded_since=gone, streams=[name for _, name in streams], heads=heads
    )


def _claim(folder: Path, *, apart_from: Path | None = None) -> None:
    """A folder with nothing in it, of which a note without a word says that a copy begins: a second one finds it. Raises StoreError."""
    try:
        if apart_from is not None and folder.resolve().is_relative_to(apart_from.resolve()):
            raise _unfit(folder, "the keys are kept apart from the data")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise _unfit(folder, "something lies there, and nothing is written over")
        os.close(os.open(folder / NOTE, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except OSError as error:
        raise _unfit(folder, f"cannot be written: {error.strerror}") from None


def _checked(folder: Path, holds: str, settings: Settings) -> Note:
    """What a folder says it holds, after its file was found to be that. Raises StoreError."""
    try:
        note = msgspec.json.decode((folder / NOTE).read_bytes(), type=Note)
        whole = note.holds == holds and note.file in (DATA, KEYS) and _digest(folder / note.file) == note.sha256
    except (OSError, msgspec.DecodeError) as error:
        raise StoreError(
            f"no backup lies here: {type(error).__name__}",
            code="backup-damaged",
            place=str(folder / NOTE),
            hint=f"give the folder of {holds} that `backup make` has written",
        ) from None
    if not whole:
        raise StoreError(
            "this is another file than was copied",
            code="backup-damaged",
            place=str(folder),
            hint=f"give the folder of {holds}, or another copy",
        )
    for name, theirs, ours in (("party", note.party, settings.party), ("region", note.region, settings.region)):
        if theirs != ours:
            raise StoreError(f"this is a backup of another gateway: its {name} is {theirs}", code="store-foreign", place=name)
    return note


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _unfit(folder: Path, why: str) -> StoreError:
    return StoreError(why, code="backup-folder", place=str(folder), hint="give two new folders, on other disks than the database")


def _elsewhere() -> StoreError:
    return StoreError(
        "this database is on PostgreSQL",
        code="backup-postgresql",
        place="database",
        hint="pg_dump, as gateway/RUNNING.md says: data and keys apart",
    )

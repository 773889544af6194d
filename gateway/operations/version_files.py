"""Files of versions and deltas: copies in the data directory of what the store says, made when they are wanted.

Rules: a file's name says version and issue, so a copy of an issue that is no more is never asked for; it is made beside and put in its
place whole, and taken away again when its issue was replaced meanwhile; what no present issue names is swept, and cut to nothing, so that
no transfer that began before goes on: it breaks off, for its length was said. Of files that a library writes (XLSX, Parquet) the
bytes are kept in the store until a row of theirs leaves, for its next release may write others: a copy is a copy of these. A process
that is killed leaves a copy too many or too few, and either does no harm. This room must not decide whether a version may be shown.
"""

import asyncio
import fcntl
import os
import re
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from hashlib import sha256
from itertools import chain, islice
from pathlib import Path
from tempfile import NamedTemporaryFile
from time import monotonic
from typing import IO
from weakref import WeakKeyDictionary, WeakValueDictionary

from gateway.core.errors import TextTooLongForFormat, TooManyRowsForFormat, Unavailable, VersionReissuing
from gateway.core.publication import deltas, flat, ftm
from gateway.core.publication.columns import Column, fitting
from gateway.core.publication.flat import FlatValue
from gateway.core.publication.version_formats import FORMATS
from gateway.core.publication.versions import File, Kept, Version, document_of
from gateway.core.signing import sm3_of_chunks
from gateway.operations.collected import Collection, sheet_of
from gateway.operations.table_files import About, ParquetFile, XlsxFile, table_pieces
from gateway.services import Services
from gateway.store import lists

CHUNK = 1 << 20
STEP = 1000
"""Rows of a table that are held at once."""
UNFINISHED = ".making-"
ROWS = "ndjson"
"""The format from which the others are made."""
_PARTS = re.compile(r"([0-9]{14}-[0-9]+)\.r([0-9]+)")
_KNOWN: dict[Path, File] = {}
"""What copies of deltas are, so that they are read once only; bounded."""
_KNOWN_MOST = 4096
KEPT_BETWEEN = 64
"""So many files between two versions a collection keeps: any pair may be asked for, and there are millions."""
AT_ONCE = 2
_FLIGHTS: WeakValueDictionary[Path, asyncio.Lock] = WeakValueDictionary()
"""Who makes which file between versions: whoever else asks for it waits, and finds it made."""
PATIENCE_S = 15.0
"""So long a request waits for a file that another is making."""
POLL_S = 0.05
_TURNS: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()
_SWEPT: dict[Path, int] = {}
"""By folder the turn of the tables after which this process has swept it."""


def folder_of(services: Services, collection_id: str) -> Path:
    """Where the copies of one collection stand."""
    return services.settings.lists_path / collection_id


def version_path(services: Services, version: Version, name: str) -> Path:
    """The copy of one file of the present issue."""
    return folder_of(services, version.collection) / f"{version.name}.r{version.issue}.{name}"


class _Copy:
    """A copy that is made beside its place, piece by piece. Blocking."""

    def __init__(self, path: Path, name: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._name = path, name
        self._file = NamedTemporaryFile(dir=path.parent, prefix=UNFINISHED, delete=False)  # noqa: SIM115 - until it is whole
        self._digest, self._size = sha256(), 0

    def add(self, chunks: Iterable[bytes]) -> None:
        """More of it."""
        held = bytearray()
        for chunk in chunks:
            held += chunk
            if len(held) >= CHUNK:
                self._flush(held)
        self._flush(held)

    def _flush(self, held: bytearray) -> None:
        self._digest.update(held)
        self._size += len(held)
        self._file.write(held)
        held.clear()

    def finish(self) -> File:
        """Put it in its place; what it is."""
        self._file.close()
        beside = Path(self._file.name)
        code = sm3_of(beside)
        beside.replace(self._path)
        return File(format=self._name, size=self._size, sha256=self._digest.hexdigest(), sm3=code)

    def abandon(self) -> None:
        """Take away what is not whole."""
        self._file.close()
        Path(self._file.name).unlink(missing_ok=True)


def _write(path: Path, chunks: Iterable[bytes], name: str) -> File:
    """Make a copy whole, and say what it is. Blocking."""
    copy = _Copy(path, name)
    try:
        copy.add(chunks)
        return copy.finish()
    except BaseException:
        copy.abandon()
        raise


def _said_of(path: Path, name: str) -> File | None:
    """What a copy is, read once; None where there is none. Blocking."""
    digest, size = sha256(), 0
    try:
        if path in _KNOWN and path.is_file():
            return _KNOWN[path]
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
                size += len(chunk)
        return File(format=name, size=size, sha256=digest.hexdigest(), sm3=sm3_of(path))
    except FileNotFoundError:
        return None


def sm3_of(path: Path) -> str:
    """SM3 of a file. Blocking."""
    with path.open("rb") as file:
        return sm3_of_chunks(iter(lambda: file.read(CHUNK), b"")).hex()


async def _made(services: Services, path: Path, name: str, write: Callable[[], Iterable[bytes]], *versions: Version) -> File:
    """Make a copy, unless one of its versions was issued again meanwhile.

    Raises VersionReissuing.
    """
    try:
        file = await asyncio.to_thread(lambda: _write(path, write(), name))
    except (ValueError, FileNotFoundError):  # fewer rows than the version says, or none: some were taken out meanwhile
        await _still(services, path, *versions)
        raise
    await _still(services, path, *versions)
    return file


async def _still(services: Services, path: Path, *versions: Version) -> None:
    """A copy of issues that are no more is taken away. Raises VersionReissuing."""
    for version in versions:
        now = await lists.version(services.store.reads, version.collection, version.name)
        if now is None or now.issue != version.issue or await lists.is_leaving(services.store.reads, version):
            await asyncio.to_thread(path.unlink, missing_ok=True)
            raise VersionReissuing


async def files_of(services: Services, collection: Collection, version: Version, *, at_hand: bool = False) -> dict[str, File]:
    """Every file of the present issue of a version: size and digests, by format; `at_hand`: without those that a library writes.

    Raises VersionReissuing when it is issued again meanwhile.
    """
    known = await lists.files(services.store.reads, version)
    wanted = [name for name in collection.formats if not (at_hand and FORMATS[name].write is None)]
    missing = [name for name in wanted if name not in known]
    if missing:
        made = {name: await _file(services, collection, version, name) for name in missing}
        async with services.store.transaction() as tx:
            now = await lists.version(tx, version.collection, version.name)
            if now is None or now.issue != version.issue or now.pending is not None:
                raise VersionReissuing
            first = await lists.files(tx, version)  # another process may have been faster: what it made is what there is
            anew = {name: file for name, file in made.items() if name not in first}
            await lists.put_files(tx, version, anew)
            for name, file in anew.items():
                if FORMATS[name].write is None and file.refused is None:
                    await lists.put_parts(tx, version, name, _pieces(version_path(services, version, name)))
        for name, file in made.items():
            if first.get(name, file) != file:  # the copy here is of other bytes than are kept
                await asyncio.to_thread(version_path(services, version, name).unlink, missing_ok=True)
        known |= made | first
    return {name: known[name] for name in wanted}


async def _file(services: Services, collection: Collection, version: Version, name: str) -> File:
    """Make one file: the canonical rows out of the store, every other format out of those."""
    rows = version_path(services, version, ROWS)
    if name == ROWS or not await asyncio.to_thread(rows.is_file):
        rows.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=rows.parent, prefix=UNFINISHED, delete=False) as making:
            async for lines in lists.lines_of(services.store.reads, version):
                await asyncio.to_thread(making.writelines, [line + b"\n" for line in lines])
        await asyncio.to_thread(Path(making.name).replace, rows)
        await _still(services, rows, version)  # also where another format is wanted, and it is only on the way to that
    sheet = sheet_of(collection, version, services.settings.public_origin.rstrip("/"))
    path = version_path(services, version, name)
    write = FORMATS[name].write
    if write is not None:
        return await _made(services, path, name, lambda: write(_lines(rows), sheet), version)
    try:
        try:
            return await _made(services, path, name, lambda: _table(rows, version, version.columns, name), version)
        except (ValueError, ArithmeticError):  # a row of before today's dictionary holds what its column does not: it is a column of texts
            columns = await asyncio.to_thread(lambda: fitting(version.columns, chain.from_iterable(_flat(rows))))
            return await _made(services, path, name, lambda: _table(rows, version, columns, name), version)
    except (TooManyRowsForFormat, TextTooLongForFormat) as error:
        return File(format=name, size=0, sha256="", sm3="", refused=error.code)


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        for line in file:
            yield line[:-1]


def _flat(path: Path) -> Iterator[list[dict[str, FlatValue]]]:
    """The flat rows behind the lines of a file, in steps."""
    lines = _lines(path)
    while step := [flat.flatten(document_of(line)) for line in islice(lines, STEP)]:
        yield step


def _table(rows: Path, version: Version, columns: Sequence[Column], name: str) -> Iterator[bytes]:
    """A file that a library writes, piece by piece. Raises ValueError for other rows than the version says."""
    about = About(
        title=version.collection,
        versions={"version": version.name, "issue": str(version.issue), "policy_version": str(version.policy_version)},
        made_at=datetime.fromisoformat(version.built_at),
    )
    written = 0

    def counted() -> Iterator[list[dict[str, FlatValue]]]:
        nonlocal written
        for step in _flat(rows):
            written += len(step)
            yield step
        if written != version.rows:
            raise ValueError("a version has other rows than it says")

    return table_pieces(
        lambda place: XlsxFile(place, columns, about, version.rows) if name == "xlsx" else ParquetFile(place, columns, about), counted()
    )


async def version_file(services: Services, collection: Collection, version: Version, name: str) -> tuple[Path, File]:
    """One file of the present issue, with a copy of it here.

    Raises VersionReissuing; TooManyRowsForFormat or TextTooLongForFormat where this format has none.
    """
    known = (await lists.files(services.store.reads, version)).get(name) or (await files_of(services, collection, version))[name]
    for refusal in (TooManyRowsForFormat, TextTooLongForFormat):
        if known.refused == refusal.code:
            raise refusal
    path = version_path(services, version, name)
    if not path.is_file():
        await (_file(services, collection, version, name) if FORMATS[name].write is not None else _back(services, version, known, path))
    return path, known


async def _back(services: Services, version: Version, known: File, path: Path) -> None:
    """A copy of what is kept with the issue.

    Raises VersionReissuing when it is kept no more.
    """
    copy = await asyncio.to_thread(_Copy, path, known.format)
    try:
        async for piece in lists.parts(services.store.reads, version, known.format):
            await asyncio.to_thread(copy.add, [piece])
        made = await asyncio.to_thread(copy.finish)
    except BaseException:
        copy.abandon()
        raise
    if made != known:
        await asyncio.to_thread(path.unlink, missing_ok=True)
        raise VersionReissuing
    await _still(services, path, version)


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(CHUNK):
            yield piece


async def delta_file(services: Services, start: Version, end: Version, name: str) -> tuple[Path, File]:
    """The delta between the present issues of two versions, with a copy of it here."""
    path = folder_of(services, end.collection) / f"{start.name}.r{start.issue}..{end.name}.r{end.issue}.{name}"

    def lines(rows: list[Kept]) -> Iterable[bytes]:
        steps = deltas.delta(rows, start.seq, end.seq)
        return deltas.csv_lines(steps, end.names) if name == "csv" else deltas.ndjson_lines(steps)

    head = [deltas.csv_head(end.names)] if name == "csv" else []
    return path, await _between(services, path, name, start, end, lines, head)


async def chain_file(services: Services, collection: Collection, before: Version, version: Version) -> tuple[Path, File]:
    """The link of the FollowTheMoney chain that leads to a version, with a copy of it here."""
    name = "chain.ftm.json"
    path = folder_of(services, version.collection) / f"{before.name}.r{before.issue}..{version.name}.r{version.issue}.{name}"
    sheet = sheet_of(collection, version, services.settings.public_origin.rstrip("/"))

    def lines(rows: list[Kept]) -> Iterable[bytes]:
        return ftm.chain_lines(rows, before.seq, version.seq, program=sheet.program, source_url=sheet.source_url)

    return path, await _between(services, path, name, before, version, lines, [])


async def _between(
    services: Services,
    path: Path,
    name: str,
    start: Version,
    end: Version,
    lines: Callable[[list[Kept]], Iterable[bytes]],
    head: Iterable[bytes],
) -> File:
    """A file between two versions: made once however many ask for it at once, few at a time, in flat memory; and not all are kept.

    Raises VersionReissuing.
    """
    known = await asyncio.to_thread(_said_of, path, name) if path in _KNOWN else None
    if known is None:
        async with _flight(path):
            known = await asyncio.to_thread(_said_of, path, name)  # also where another process made it
            if known is None:
                async with _turn():
                    known = await _piece_by_piece(services, path, name, start, end, lines, head)
                await asyncio.to_thread(_keep_few, path.parent)
            await _still(services, path, start, end)
            _remember(path, known)
            return known
    with suppress(OSError):
        os.utime(path)  # the copies that are asked for are kept longest
    await _still(services, path, start, end)
    return known


@asynccontextmanager
async def _flight(path: Path) -> AsyncIterator[None]:
    """Make this file alone: whoever else wants it, here or in another process of this machine, waits, but not for ever.

    A lock of the file system needs no expiry: it ends with whoever holds it. Raises Unavailable.
    """
    lock = _FLIGHTS.setdefault(path, asyncio.Lock())
    try:
        async with asyncio.timeout(PATIENCE_S):
            await lock.acquire()
    except TimeoutError:
        raise Unavailable("此增量正在生成，请稍后再试。") from None
    try:
        beside = path.parent / f"{UNFINISHED}{sha256(path.name.encode()).hexdigest()[:16]}.lock"
        held = await asyncio.to_thread(_opened, beside)
        try:
            until = monotonic() + PATIENCE_S
            while not _locked(held):
                if monotonic() > until:
                    raise Unavailable("此增量正在生成，请稍后再试。")
                await asyncio.sleep(POLL_S)
            try:
                yield
            finally:
                beside.unlink(missing_ok=True)
        finally:
            held.close()
    finally:
        lock.release()


def _opened(path: Path) -> IO[bytes]:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("wb")


def _locked(file: IO[bytes]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


async def _piece_by_piece(
    services: Services,
    path: Path,
    name: str,
    start: Version,
    end: Version,
    lines: Callable[[list[Kept]], Iterable[bytes]],
    head: Iterable[bytes],
) -> File:
    copy = await asyncio.to_thread(_Copy, path, name)
    try:
        await asyncio.to_thread(copy.add, head)
        async for rows in lists.rows_of_two(services.store.reads, end.collection, start.seq, end.seq):
            await asyncio.to_thread(_add, copy, lines, rows)
        return await asyncio.to_thread(copy.finish)
    except BaseException:
        copy.abandon()
        raise


def _add(copy: _Copy, lines: Callable[[list[Kept]], Iterable[bytes]], rows: list[Kept]) -> None:
    copy.add(lines(rows))


def _turn() -> asyncio.Semaphore:
    """Of the running loop: so many files between versions are made at once in this process."""
    return _TURNS.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(AT_ONCE))


def _keep_few(folder: Path) -> None:
    """Of the files between versions those that were asked for last; a transfer of another goes on to its end. Blocking."""
    held: list[tuple[float, Path]] = []
    for path in folder.glob("*..*"):
        with suppress(OSError):
            held.append((path.stat().st_mtime, path))
    for _, path in sorted(held)[:-KEPT_BETWEEN]:
        path.unlink(missing_ok=True)


def _remember(path: Path, file: File) -> None:
    if len(_KNOWN) >= _KNOWN_MOST:
        _KNOWN.clear()
    _KNOWN[path] = file


async def sweep_behind(services: Services) -> None:
    """Sweep where something was written since this process swept last: every machine has copies of its own."""
    root, turn = services.settings.lists_path, await lists.turn(services.store.reads)
    if _SWEPT.get(root) != turn:
        await sweep(services)
        _SWEPT[root] = turn


async def sweep(services: Services) -> int:
    """Take away every copy that no present issue names; how many.

    What lies there is looked at before the store is asked: a copy is made after its version was committed, so one that another process
    makes meanwhile is none that the store would not know.
    """
    root = services.settings.lists_path
    there = await asyncio.to_thread(lambda: list(root.glob("*/*/*")) if root.is_dir() else [])
    issues: dict[str, Mapping[str, int]] = {
        collection: {
            each.name: each.issue
            for each in await lists.versions(services.store.reads, collection)
            if not each.withdrawn and each.pending is None
        }
        for collection in await lists.collections(services.store.reads)
    }
    return await asyncio.to_thread(_sweep, there, issues)


def _sweep(there: Sequence[Path], issues: Mapping[str, Mapping[str, int]]) -> int:
    gone = 0
    for path in there:
        held = issues.get(f"{path.parent.parent.name}/{path.parent.name}", {})
        named = _PARTS.findall(path.name)
        if path.name.startswith(UNFINISHED):
            continue  # swept at the start, when nobody makes anything
        if not named or any(held.get(name) != int(issue) for name, issue in named):
            _cut(path)
            _KNOWN.pop(path, None)
            gone += 1
    return gone


def _cut(path: Path) -> None:
    """Take a copy away, also from under who is sending it: what is read after this ends early, so its reader sees a broken transfer."""
    with suppress(OSError), path.open("r+b") as file:
        path.unlink()
        file.truncate()


def clear_unfinished(services: Services) -> None:
    """Take away what a killed process left half made, an hour old at least."""
    root = services.settings.lists_path
    for path in root.glob(f"*/*/{UNFINISHED}*") if root.is_dir() else ():
        with suppress(OSError):
            if path.stat().st_mtime < services.clock().timestamp() - 3600:
                path.unlink()

"""Files of versions and deltas: copies in the data directory of what the store says, made when they are wanted.

Rules: a file's name says version and issue, so a copy of an issue that is no more is never asked for; it is made beside and put in its
place whole, and taken away again when its issue was replaced meanwhile; what no present issue names is swept, and cut to nothing, so that
no transfer that began before goes on: it breaks off, for its length was said. A process that is killed leaves a copy too many or too
few, and either does no harm. This room must not decide whether a version may be shown.
"""

import asyncio
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from tempfile import NamedTemporaryFile

from gateway.core.errors import VersionReissuing
from gateway.core.publication import deltas, ftm
from gateway.core.publication.version_formats import FORMATS
from gateway.core.publication.versions import File, Version
from gateway.core.signing import sm3_of_chunks
from gateway.operations.collected import Collection, sheet_of
from gateway.services import Services
from gateway.store import lists

CHUNK = 1 << 20
UNFINISHED = ".making-"
ROWS = "ndjson"
"""The format from which the others are made."""
_PARTS = re.compile(r"([0-9]{14}-[0-9]+)\.r([0-9]+)")
_KNOWN: dict[Path, File] = {}
"""What copies of deltas are, so that they are read once only; bounded."""
_KNOWN_MOST = 4096
_SWEPT: dict[Path, int] = {}
"""By folder the turn of the tables after which this process has swept it."""


def folder_of(services: Services, collection_id: str) -> Path:
    """Where the copies of one collection stand."""
    return services.settings.lists_path / collection_id


def version_path(services: Services, version: Version, name: str) -> Path:
    """The copy of one file of the present issue."""
    return folder_of(services, version.collection) / f"{version.name}.r{version.issue}.{name}"


def _write(path: Path, chunks: Iterable[bytes], name: str) -> File:
    """Make a copy whole, and say what it is. Blocking."""
    path.parent.mkdir(parents=True, exist_ok=True)
    digest, size, held = sha256(), 0, bytearray()
    with NamedTemporaryFile(dir=path.parent, prefix=UNFINISHED, delete=False) as making:
        beside = Path(making.name)
        try:
            for chunk in chunks:
                digest.update(chunk)
                held += chunk
                size += len(chunk)
                if len(held) >= CHUNK:
                    making.write(held)
                    held.clear()
            making.write(held)
            making.close()
            code = sm3_of(beside)
            beside.replace(path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
    return File(format=name, size=size, sha256=digest.hexdigest(), sm3=code)


def sm3_of(path: Path) -> str:
    """SM3 of a file. Blocking."""
    with path.open("rb") as file:
        return sm3_of_chunks(iter(lambda: file.read(CHUNK), b"")).hex()


async def _made(services: Services, path: Path, name: str, write: Callable[[], Iterable[bytes]], *versions: Version) -> File:
    """Make a copy, unless one of its versions was issued again meanwhile.

    Raises VersionReissuing.
    """
    file = await asyncio.to_thread(lambda: _write(path, write(), name))
    for version in versions:
        now = await lists.version(services.store.reads, version.collection, version.name)
        if now is None or now.issue != version.issue or await lists.is_leaving(services.store.reads, version):
            await asyncio.to_thread(path.unlink, missing_ok=True)
            raise VersionReissuing
    return file


async def files_of(services: Services, collection: Collection, version: Version) -> dict[str, File]:
    """Every file of the present issue of a version: size and digests, by format.

    Raises VersionReissuing when it is issued again meanwhile.
    """
    known = await lists.files(services.store.reads, version)
    missing = [name for name in collection.formats if name not in known]
    if missing:
        made = {name: await _file(services, collection, version, name) for name in missing}
        async with services.store.transaction() as tx:
            now = await lists.version(tx, version.collection, version.name)
            if now is None or now.issue != version.issue or now.pending is not None:
                raise VersionReissuing
            await lists.put_files(tx, version, made)
        known |= made
    return {name: known[name] for name in collection.formats}


async def _file(services: Services, collection: Collection, version: Version, name: str) -> File:
    """Make one file: the canonical rows out of the store, every other format out of those."""
    rows = version_path(services, version, ROWS)
    if name == ROWS or not await asyncio.to_thread(rows.is_file):
        rows.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=rows.parent, prefix=UNFINISHED, delete=False) as making:
            async for lines in lists.lines_of(services.store.reads, version):
                await asyncio.to_thread(making.writelines, [line + b"\n" for line in lines])
        await asyncio.to_thread(Path(making.name).replace, rows)
    sheet = sheet_of(collection, version, services.settings.public_origin.rstrip("/"))
    path = version_path(services, version, name)
    return await _made(services, path, name, lambda: FORMATS[name].write(_lines(rows), sheet), version)


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        for line in file:
            yield line[:-1]


async def version_file(services: Services, collection: Collection, version: Version, name: str) -> tuple[Path, File]:
    """One file of the present issue, with a copy of it here."""
    known = (await lists.files(services.store.reads, version)).get(name) or (await files_of(services, collection, version))[name]
    path = version_path(services, version, name)
    if not path.is_file():
        await _file(services, collection, version, name)
    return path, known


async def delta_file(services: Services, start: Version, end: Version, name: str) -> tuple[Path, File]:
    """The delta between the present issues of two versions, with a copy of it here."""
    path = folder_of(services, end.collection) / f"{start.name}.r{start.issue}..{end.name}.r{end.issue}.{name}"
    if not path.is_file() or path not in _KNOWN:
        rows = await lists.rows_of_two(services.store.reads, end.collection, start.seq, end.seq)

        def write() -> Iterable[bytes]:
            steps = deltas.delta(rows, start.seq, end.seq)
            return deltas.csv_lines(steps, end.columns) if name == "csv" else deltas.ndjson_lines(steps)

        _remember(path, await _made(services, path, name, write, start, end))
    return path, _KNOWN[path]


async def chain_file(services: Services, collection: Collection, before: Version, version: Version) -> tuple[Path, File]:
    """The link of the FollowTheMoney chain that leads to a version, with a copy of it here."""
    name = "chain.ftm.json"
    path = folder_of(services, version.collection) / f"{before.name}.r{before.issue}..{version.name}.r{version.issue}.{name}"
    if not path.is_file() or path not in _KNOWN:
        rows = await lists.rows_of_two(services.store.reads, version.collection, before.seq, version.seq)
        sheet = sheet_of(collection, version, services.settings.public_origin.rstrip("/"))

        def write() -> Iterable[bytes]:
            return ftm.chain_lines(rows, before.seq, version.seq, program=sheet.program, source_url=sheet.source_url)

        _remember(path, await _made(services, path, name, write, before, version))
    return path, _KNOWN[path]


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
    """Take away every copy that no present issue names; how many."""
    issues: dict[str, Mapping[str, int]] = {
        collection: {
            each.name: each.issue
            for each in await lists.versions(services.store.reads, collection)
            if not each.withdrawn and each.pending is None
        }
        for collection in await lists.collections(services.store.reads)
    }
    return await asyncio.to_thread(_sweep, services.settings.lists_path, issues)


def _sweep(root: Path, issues: Mapping[str, Mapping[str, int]]) -> int:
    gone = 0
    for path in root.glob("*/*/*") if root.is_dir() else ():
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

"""The folder in which an auditor takes the trail home: rows, log and signed heads, enough to verify it without us (policy.md §15).

`about.json` (party, days, verifier keys, column names), `rows.ndjson` (a row a line as it is hashed, bytes in base64, its link last),
`log.ndjson` (the entries of those days whole, of the others the leaf hash), `checkpoints.ndjson`. Rules: what is sealed stays sealed: case
references and details leave as ciphertext, so a folder is no copy of anything about a person. As an archive (tar) it is sent piece by piece
from files that have no name any more: nothing of it stays here. This room must not judge what it reads.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from tarfile import BLOCKSIZE, PAX_FORMAT, TarInfo
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO, Final

import msgspec
from msgspec import Struct

from gateway.core.audit.chain import COLUMNS, Partition
from gateway.core.audit.verify import SignedHead, key_ring
from gateway.core.errors import SettingsError
from gateway.core.exchange.merkle import leaf_hash
from gateway.services import Services
from gateway.store import audit_log
from gateway.store.audit_log import Line

ABOUT: Final = "about.json"
ROWS: Final = "rows.ndjson"
LOG: Final = "log.ndjson"
HEADS: Final = "checkpoints.ndjson"

PIECE: Final = 256 * 1024

_BYTES: Final = tuple(COLUMNS.index(name) for name in ("subjects", "case_ref", "detail"))
_encode = msgspec.json.Encoder().encode
_line = msgspec.json.Decoder(tuple[dict[str, Any], bytes]).decode
_head = msgspec.json.Decoder(SignedHead).decode


class About(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a folder is of."""

    party: str
    from_day: str
    to_day: str
    keys: tuple[str, ...]
    columns: tuple[str, ...] = COLUMNS


class LogLine(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """An entry of the log: whole, or as its leaf hash alone."""

    idx: int
    body: bytes | None = None
    leaf: bytes | None = None


_log_line = msgspec.json.Decoder(LogLine).decode


class Exported(Struct, frozen=True, kw_only=True):
    """What was written."""

    folder: str
    rows: int
    entries: int
    checkpoints: int


async def write_folder(services: Services, out: Path, *, from_day: str, to_day: str) -> Exported:
    """Write the rows of these days with everything that vouches for them into a new folder.

    Raises SettingsError `audit-folder` when there is something in the folder already.
    """
    _make(out)
    source = services.store.reads
    keys = key_ring(services.signers).vkeys("audit")
    (out / ABOUT).write_bytes(_encode(About(party=services.signers.party, from_day=from_day, to_day=to_day, keys=keys)))
    count = 0
    with (out / ROWS).open("wb") as file:
        for partition in await audit_log.partitions(source, from_day, to_day):
            async for row, link in audit_log.lines(source, partition):
                file.write(_encode((dict(zip(COLUMNS, row, strict=True)), link)) + b"\n")
                count += 1
    entries = 0
    with (out / LOG).open("wb") as file:
        async for index, partition, body in audit_log.entries(source):
            whole = from_day <= partition.day <= to_day
            file.write(_encode(LogLine(idx=index, body=body) if whole else LogLine(idx=index, leaf=leaf_hash(body))) + b"\n")
            entries += 1
    heads = 0
    with (out / HEADS).open("wb") as file:
        async for found in audit_log.heads(source):
            if found.size <= entries:  # one that was made meanwhile belongs to the next export
                file.write(_encode(found.head) + b"\n")
                heads += 1
    return Exported(folder=str(out), rows=count, entries=entries, checkpoints=heads)


class Archived(Struct, frozen=True, kw_only=True):
    """The same folder as one tar file, still to be read."""

    name: str
    """Of the folder in it."""
    chunks: AsyncIterator[bytes]
    rows: int


async def archive_folder(services: Services, *, from_day: str, to_day: str) -> Archived:
    """The folder of these days as one archive; it is written beside the data first, so that what is sent is whole."""
    with TemporaryDirectory(prefix="audit-export-", dir=services.settings.data_path) as place:
        folder = Path(place) / "folder"
        done = await write_folder(services, folder, from_day=from_day, to_day=to_day)
        files = {name: (folder / name).open("rb") for name in (ABOUT, ROWS, LOG, HEADS)}
    name = f"audit-{from_day}-{to_day}"
    return Archived(name=name, chunks=_packed(name, files, services.clock()), rows=done.rows)


async def _packed(folder: str, files: Mapping[str, BinaryIO], at: datetime) -> AsyncIterator[bytes]:
    try:
        for name, file in files.items():
            head = TarInfo(f"{folder}/{name}")
            head.size, head.mtime, head.mode = os.fstat(file.fileno()).st_size, int(at.timestamp()), 0o400
            yield head.tobuf(PAX_FORMAT)
            while piece := await asyncio.to_thread(file.read, PIECE):
                yield piece
            yield bytes(-head.size % BLOCKSIZE)
        yield bytes(2 * BLOCKSIZE)
    finally:
        for file in files.values():
            file.close()


def _make(out: Path) -> None:
    out.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(out.iterdir()):
        raise SettingsError("the folder is not empty", code="audit-folder", place=str(out), hint="give a new folder")


class Folder:
    """An exported folder, read line by line."""

    def __init__(self, path: Path, about: About) -> None:
        self._path = path
        self.about = about

    @classmethod
    def open(cls, path: Path) -> "Folder":
        """The folder.

        Raises SettingsError `audit-folder` when it is none.
        """
        try:
            about = msgspec.json.decode((path / ABOUT).read_bytes(), type=About)
        except (OSError, msgspec.MsgspecError) as error:
            raise _damaged(path / ABOUT) from error
        return cls(path, about)

    def _lines(self, name: str) -> Iterator[bytes]:
        try:
            with (self._path / name).open("rb") as file:
                yield from file
        except OSError as error:
            raise _damaged(self._path / name) from error

    def rows(self) -> dict[Partition, list[Line]]:
        """The rows by partition, in the order of the file."""
        found: dict[Partition, list[Line]] = {}
        for number, line in enumerate(self._lines(ROWS), 1):
            try:
                values, link = _line(line)
                row = [values[name] for name in COLUMNS]
                for place in _BYTES:
                    row[place] = None if row[place] is None else msgspec.convert(row[place], bytes)
            except (msgspec.MsgspecError, KeyError) as error:
                raise _damaged(self._path / ROWS, number) from error
            found.setdefault(Partition(str(row[0]), str(row[1])), []).append((tuple(row), link))
        return found

    def leaves(self) -> Iterator[bytes | tuple[int, bytes]]:
        """The entries of the log in order: a leaf hash, or index and bytes."""
        for number, line in enumerate(self._lines(LOG), 1):
            try:
                said = _log_line(line)
            except msgspec.MsgspecError as error:
                raise _damaged(self._path / LOG, number) from error
            yield said.leaf if said.leaf is not None else (said.idx, said.body or b"")

    def heads(self) -> Iterator[SignedHead]:
        """The checkpoints in order."""
        for number, line in enumerate(self._lines(HEADS), 1):
            try:
                yield _head(line)
            except msgspec.MsgspecError as error:
                raise _damaged(self._path / HEADS, number) from error


def _damaged(path: Path, line: int | None = None) -> SettingsError:
    return SettingsError(
        "this is no export of an audit trail, or a damaged one",
        code="audit-folder",
        place=f"{path}:{line}" if line is not None else str(path),
        hint="`chengxin audit export` writes one",
    )

"""Tables as files: XLSX, Parquet and MessagePack, which leave as their rows come (api.md §1.3).

Rules: rows pass in steps, so memory stays flat whatever their number. A file begins with its first rows, and breaks off where it
fails: without its end nobody reads it. MessagePack tells the number of its items at the beginning, so where nobody knows it ahead that file
is written to disk first and read back. The writers are plain functions of a thread: nothing here waits in the
loop. Codes are text; in XLSX a text that a spreadsheet would take for a formula is a text cell with the quote prefix that Excel itself
gives to such texts, so its value stays as it is; a text longer than a cell is refused, never cut. Null is an absent cell, never an
empty text. A file on disk that grows beyond its bounds is refused. Such files stand in a room of their own inside the data directory, open
to nobody else; what personal plans show stands in memory where the system has such a place. This room must not choose rows.
"""

import asyncio
import io
import os
import shutil
import stat
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Protocol

import msgspec

from gateway.core.errors import TextTooLongForFormat, TooManyRowsForFormat
from gateway.core.publication.columns import Column, cell_of
from gateway.core.publication.flat import FlatValue
from gateway.operations.workbook import Value, Workbook

if TYPE_CHECKING:
    import pyarrow as pa

FlatRow = Mapping[str, FlatValue]
"""A flat row, by column; a column that it does not have is null."""

MOST_ROWS: Final = {"xlsx": 1_048_575, "parquet": 100_000_000, "msgpack": 100_000_000}
"""Rows that a file may have: an Excel sheet has 1,048,576 lines, one of them the header."""
MOST_BYTES: Final = 2 << 30
"""Of a file that waits to be sent."""
CHUNK: Final = 1 << 18
ROW_GROUP: Final = 10_000
BEGINNING: Final = 100
"""So many rows are made before the first byte leaves: a page whole, and of an export what takes some milliseconds."""
LEFT_OVER_S: Final = 6 * 3600
"""So old a folder of an export belongs to a process that died."""
ROOM: Final = "exports"
_IN_MEMORY: Final = "chengxin-exports-"
"""How folders in the memory of all users begin: each stands there by itself, for a room with a known name could be anybody's."""
MEMORY: Final = Path("/dev/shm")  # noqa: S108 - folders inside are made with names that nobody can guess, mode 0700
"""Where Linux keeps files in memory."""
_SIGNIFICANT: Final = 15
"""Digits of a number that Excel keeps."""
_LONGEST_CELL: Final = 32_767
"""Of a text in a cell, counted as Excel counts: in units of UTF-16."""
_FIRST_EXCEL_DAY: Final = date(1900, 3, 1)
"""Before it Excel counts a day that there never was: earlier dates are text."""
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_CELLS_OF_A_LARGE_ONE: Final = 20_000_000
"""From here on a sheet may unpack to two gigabytes: a cell of a text is about a hundred bytes."""
_ENCODER: Final = msgspec.msgpack.Encoder()


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What a file says of itself."""

    title: str
    versions: Mapping[str, str]
    """`dataset_version`, `policy_version` and whatever else a reader must be able to name."""
    made_at: datetime | None = None
    """The state that it shows, not the clock: equal rows give equal files."""


class TableFile(Protocol):
    """A file that takes rows in steps. Every call belongs off the event loop."""

    rows: int

    def add(self, rows: Sequence[Any]) -> None:
        """More rows. Raises TooManyRowsForFormat, TextTooLongForFormat, ValueError."""
        ...

    def finish(self) -> None:
        """The end of the file."""
        ...

    def abandon(self) -> None:
        """Let go of a file that is not finished."""
        ...


# --- XLSX --------------------------------------------------------------------------------------------------------------


class XlsxFile:
    """One sheet, written from front to back."""

    def __init__(self, place: Path | IO[bytes], columns: Sequence[Column], about: About, rows: int | None = None) -> None:
        """`rows`: how many there will be, where that is known."""
        self.rows = 0
        self._columns = tuple(columns)
        self._place = place.open("wb") if isinstance(place, Path) else place
        self._own = isinstance(place, Path)
        self._book = Workbook(
            self._place,
            [column.name for column in columns],
            title=about.title,
            comments="; ".join(f"{name}={value}" for name, value in about.versions.items()),
            made_at=about.made_at or _EPOCH,
            large=rows is not None and rows * len(self._columns) > _CELLS_OF_A_LARGE_ONE,
        )

    def add(self, rows: Sequence[FlatRow]) -> None:
        """More lines."""
        if self.rows + len(rows) > MOST_ROWS["xlsx"]:
            raise TooManyRowsForFormat
        self._book.add([[_as_cell(column, row.get(column.name)) for column in self._columns] for row in rows])
        self.rows += len(rows)

    def finish(self) -> None:
        """The end of the file."""
        try:
            self._book.finish()
        finally:
            self._let_go()

    def abandon(self) -> None:
        """Let go of the unfinished file: it never gets its end."""
        self._book.abandon()
        self._let_go()

    def _let_go(self) -> None:
        if self._own:
            self._place.close()


def _as_cell(column: Column, value: FlatValue) -> Value:
    """What stands in a cell: what Excel would alter stays the text that it is."""
    cell = value if column.type == "text" else cell_of(column, value)
    if cell is None or isinstance(cell, bool | datetime):
        return cell
    if isinstance(cell, date):
        return cell if cell >= _FIRST_EXCEL_DAY else str(value)
    if isinstance(cell, int | Decimal) and column.type != "text":
        return cell if _keeps(cell) else str(value)
    text = cell if isinstance(cell, str) else str(cell_of(column, value))
    if 2 * len(text) > _LONGEST_CELL and len(text.encode("utf-16-le")) > 2 * _LONGEST_CELL:
        raise TextTooLongForFormat
    return text


def refuse_long(row: FlatRow) -> None:
    """Raises TextTooLongForFormat for a row with a text that no cell holds."""
    for name, value in row.items():
        if isinstance(value, str):
            _as_cell(Column(name), value)


def _keeps(number: int | Decimal) -> bool:
    """Whether a spreadsheet's number keeps every digit."""
    return len(Decimal(number).normalize().as_tuple().digits) <= _SIGNIFICANT


# --- Parquet -----------------------------------------------------------------------------------------------------------


class ParquetFile:
    """Row groups of a fixed size, compressed with zstd; written from front to back."""

    def __init__(self, place: Path | IO[bytes], columns: Sequence[Column], about: About) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.rows = 0
        self._columns = tuple(columns)
        metadata = {"title": about.title, **about.versions}
        self._schema = pa.schema([pa.field(column.name, _arrow(pa, column)) for column in self._columns], metadata=metadata)
        self._pa = pa
        self._writer = pq.ParquetWriter(str(place) if isinstance(place, Path) else place, self._schema, compression="zstd")
        self._waiting: list[pa.RecordBatch] = []
        self._rows_waiting = 0

    def add(self, rows: Sequence[FlatRow]) -> None:
        """More rows."""
        self.rows += len(rows)
        if self.rows > MOST_ROWS["parquet"]:
            raise TooManyRowsForFormat
        cells = [[cell_of(column, row.get(column.name)) for row in rows] for column in self._columns]
        made = [self._pa.array(each, type=field.type) for each, field in zip(cells, self._schema, strict=True)]
        self._waiting.append(self._pa.record_batch(made, schema=self._schema))
        self._rows_waiting += len(rows)
        while self._rows_waiting >= ROW_GROUP:
            self._write(ROW_GROUP)

    def _write(self, rows: int) -> None:
        """One row group of what waits; the rest goes on waiting."""
        table = self._pa.Table.from_batches(self._waiting, schema=self._schema)
        self._writer.write_table(table.slice(0, rows).combine_chunks(), row_group_size=ROW_GROUP)
        self._waiting = table.slice(rows).to_batches()
        self._rows_waiting -= rows

    def finish(self) -> None:
        """The end of the file."""
        if self._rows_waiting:
            self._write(self._rows_waiting)
        self._writer.close()

    def abandon(self) -> None:
        """Let go of the unfinished file."""
        self._writer.close()


def _arrow(pa: Any, column: Column) -> "pa.DataType":
    if column.type == "decimal":
        return pa.decimal128(column.digits, column.places)
    types = {
        "text": pa.string(), "date": pa.date32(), "instant": pa.timestamp("ms", tz="UTC"), "integer": pa.int64(), "boolean": pa.bool_(),
    }  # fmt: skip
    return types[column.type]


# --- MessagePack -------------------------------------------------------------------------------------------------------


def packed_head(beside: Mapping[str, Any]) -> bytes:
    """What stands beside the items of a list, and how its map begins: known before anything is known of the items."""
    if len(beside) > 14:
        raise ValueError("more members than a short map has")
    return bytes([0x81 + len(beside)]) + _ENCODER.encode(dict(beside))[1:]


def _items(rows: int) -> bytes:
    return _ENCODER.encode("items") + b"\xdd" + rows.to_bytes(4, "big")


class MsgpackFile:
    """The items of a list, which follow its head: their number stands before them, so it is written last."""

    def __init__(self, path: Path) -> None:
        self.rows = 0
        self._file = path.open("wb")
        self._file.write(_items(0))

    def add(self, rows: Sequence[Any]) -> None:
        """More items, as plain values."""
        self.rows += len(rows)
        if self.rows > MOST_ROWS["msgpack"]:
            raise TooManyRowsForFormat
        self._file.write(b"".join([_ENCODER.encode(row) for row in rows]))

    def finish(self) -> None:
        """Say how many there are."""
        self._file.seek(0)
        self._file.write(_items(self.rows))
        self._file.close()

    def abandon(self) -> None:
        """Let go of the unfinished file."""
        self._file.close()


class PackedStream:
    """The same items where it is known ahead how many there are: written from front to back."""

    def __init__(self, place: IO[bytes], rows: int) -> None:
        if rows > MOST_ROWS["msgpack"]:
            raise TooManyRowsForFormat
        self.rows = 0
        self._place, self._said = place, rows
        self._place.write(_items(rows))

    def add(self, rows: Sequence[Any]) -> None:
        """More items, as plain values."""
        self.rows += len(rows)
        self._place.write(b"".join([_ENCODER.encode(row) for row in rows]))

    def finish(self) -> None:
        """The end of the value.

        Raises ValueError where there were others than were said: then the answer breaks off.
        """
        if self.rows != self._said:
            raise ValueError("a list has other rows than were counted")

    def abandon(self) -> None:
        """Nothing is held."""


# --- to and from disk --------------------------------------------------------------------------------------------------


def new_folder(data_dir: Path, *, personal: bool = False) -> Path:
    """A folder for one file, for whoever removes it again; folders that dead processes left behind go too."""
    room, prefix = (MEMORY, _IN_MEMORY) if personal and MEMORY.is_dir() else (data_dir / ROOM, "")
    if not prefix:
        room.mkdir(mode=0o700, parents=True, exist_ok=True)
    now, own = time.time(), os.geteuid()
    for old in room.iterdir():
        with suppress(OSError):
            held = old.lstat() if old.name.startswith(prefix) else None
            if held is not None and held.st_uid == own and stat.S_ISDIR(held.st_mode) and now - held.st_mtime > LEFT_OVER_S:
                shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(dir=room, prefix=prefix))


async def file_of(
    make: Callable[[Path], TableFile],
    convert: Callable[[Sequence[Any]], Sequence[Any]],
    steps: AsyncIterator[Sequence[Any]],
    data_dir: Path,
    *,
    personal: bool = False,
) -> AsyncIterator[bytes]:
    """The bytes of a file of these rows, each step converted for it: it is made off the loop, whole, and then read in pieces.

    Raises TooManyRowsForFormat, TextTooLongForFormat before the first piece.
    """
    folder = await asyncio.to_thread(new_folder, data_dir, personal=personal)
    try:
        path = folder / "table"
        table = await asyncio.to_thread(make, path)
        try:
            async for step in steps:
                if step:
                    await asyncio.to_thread(_add, table, convert, step, folder)
            await asyncio.to_thread(table.finish)
        except BaseException:
            table.abandon()
            raise
        pieces = _pieces(path)
        try:
            while piece := await asyncio.to_thread(next, pieces, b""):
                yield piece
        finally:
            pieces.close()
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


class _Outlet(io.RawIOBase):
    """A file that is only written to, from which what was written is taken away."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        return len(self._parts[-1])

    def taken(self) -> bytes:
        """What was written since it was last asked."""
        parts, self._parts = self._parts, []
        return b"".join(parts)


async def stream_of(
    make: Callable[[IO[bytes]], TableFile],
    convert: Callable[[Sequence[Any]], Sequence[Any]],
    steps: AsyncIterator[Sequence[Any]],
) -> AsyncIterator[bytes]:
    """The bytes of a file that is written from front to back, as they come: made off the loop, kept nowhere.

    Whatever is wrong with the first rows, as many as a page has, is raised before the first piece.
    """
    outlet = _Outlet()
    steps = aiter(steps)
    first = await anext(steps, None)  # before the file is begun: it may tell what stands in its head
    table = await asyncio.to_thread(make, outlet)  # type: ignore[arg-type]  # all of a file that a writer asks for
    try:
        for some in (first[:BEGINNING], first[BEGINNING:]) if first else ():
            await asyncio.to_thread(_take, table, convert, some)
            if piece := outlet.taken():
                yield piece
        async for step in steps:
            if step:
                await asyncio.to_thread(_take, table, convert, step)
            if piece := outlet.taken():
                yield piece
        await asyncio.to_thread(table.finish)
    except BaseException:
        table.abandon()
        raise
    yield outlet.taken()


def table_pieces(make: Callable[[IO[bytes]], TableFile], steps: Iterable[Sequence[FlatRow]]) -> Iterator[bytes]:
    """The same off the loop, piece by piece. Blocking."""
    outlet = _Outlet()
    table = make(outlet)  # type: ignore[arg-type]
    try:
        for step in steps:
            table.add(step)
            yield outlet.taken()
        table.finish()
    except BaseException:
        table.abandon()
        raise
    yield outlet.taken()


def _take(table: TableFile, convert: Callable[[Sequence[Any]], Sequence[Any]], step: Sequence[Any]) -> None:
    table.add(convert(step))


def _add(table: TableFile, convert: Callable[[Sequence[Any]], Sequence[Any]], step: Sequence[Any], folder: Path) -> None:
    table.add(convert(step))
    if sum(file.stat().st_size for file in folder.iterdir()) > MOST_BYTES:
        raise TooManyRowsForFormat


def _pieces(path: Path) -> Generator[bytes, None, None]:
    with path.open("rb") as file:
        while piece := file.read(CHUNK):
            yield piece

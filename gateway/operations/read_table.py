"""Read somebody's table as it is: CSV and XLSX by the adapter that takes departments' files, NDJSON line by line.

Rules: cells are what was typed, nothing is repaired; a formula is nobody's value and refuses the workbook, as everything does that the
adapter refuses. The file has no name and lies on disk only while it is read. A table that is larger than it may be is refused while it is
read. This story must not know what the table is for.
"""

import asyncio
import tempfile
from contextlib import aclosing
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from gateway.adapter_contract import AdapterError, Page
from gateway.core.errors import ErrorItem, FileUnfit
from gateway.core.publication.flat import BOM
from gateway.operations.take_upload import OPEN_FILES
from gateway.services import Services

Kind = Literal["csv", "xlsx", "ndjson"]
Cell = str | int | float | bool | None
ADAPTER: Final = "excel_csv"
LONGEST_CELL: Final = 32_767
"""Of a workbook's cell: whatever comes in can go out in every format."""
MOST_COLUMNS: Final = 200
_LINE: Final = msgspec.json.Decoder(dict[str, str | Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | float | bool | None])
"""Of whole numbers those of 64 bits: what is larger loses digits in most programs, and is no cell of ours."""


class Table(Struct, frozen=True):
    """Columns and rows of a table."""

    columns: list[str]
    rows: list[list[Cell]]


async def read_table(services: Services, body: bytes, kind: Kind, *, encoding: str, most: int) -> Table:
    """A table out of bytes.

    Raises FileUnfit with code and place.
    """
    table = await asyncio.to_thread(_lines, body, most) if kind == "ndjson" else await _sheet(services, body, kind, encoding, most)
    await asyncio.to_thread(_check, table)
    return table


def _check(table: Table) -> None:
    if not table.rows:
        raise _unfit("FILE_HEADER", "文件没有数据行", None)
    for line, row in enumerate(table.rows, start=1):
        if any(isinstance(cell, str) and len(cell) > LONGEST_CELL for cell in row):
            raise _unfit("SIZE_LINE", f"单元格至多 {LONGEST_CELL} 个字符", f"R{line}")


async def _sheet(services: Services, body: bytes, kind: Kind, encoding: str, most: int) -> Table:
    folder = services.settings.data_path / "uploads"
    folder.mkdir(mode=0o700, exist_ok=True)
    table = Table([], [])
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(body)
        file.flush()
        config = {
            "path": str(OPEN_FILES / str(file.fileno())),
            "name": f"table.{kind}",
            "dataset": "",
            "headers": {},
            "any_header": True,
            "as_of": services.clock(),
            "encoding": encoding,
        }
        adapter = services.adapters.source(ADAPTER, config)
        try:
            async with aclosing(adapter.pull(None)) as pages:  # type: ignore[type-var]  # every pull is an async generator
                async for page in pages:
                    _take(table, page, most)
        except AdapterError as error:
            raise _unfit(error.code, error.message, _place(error.place)) from error
        finally:
            await adapter.close()
    return table


def _take(table: Table, page: Page, most: int) -> None:
    if page.unreadable:
        wrong = page.unreadable[0]
        raise _unfit(wrong.code or "SCHEMA_LINE", wrong.message or "", _place(wrong.place))
    for record in page.records:
        if not table.columns:
            table.columns.extend(record.fields)
        table.rows.append([record.fields.get(name) for name in table.columns])
    if len(table.rows) > most:
        raise _unfit("SIZE_LINES", f"一次最多 {most} 行", None)


def _lines(body: bytes, most: int) -> Table:
    columns: dict[str, int] = {}
    rows: list[list[Cell]] = []
    for number, line in enumerate(body.removeprefix(BOM).split(b"\n"), start=1):  # some programs of Windows write the mark everywhere
        if not line.strip():
            continue
        try:
            found = _LINE.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise _unfit("SCHEMA_JSON", "每行应为一个 JSON 对象，值为文本、数（整数不超过 64 位）、真假或 null", f"R{number}") from None
        for name in found:
            columns.setdefault(name, len(columns))
        if len(columns) > MOST_COLUMNS:
            raise _unfit("FILE_COLUMNS", f"超过 {MOST_COLUMNS} 列", f"R{number}")
        rows.append([found.get(name) for name in columns])
        if len(rows) > most:
            raise _unfit("SIZE_LINES", f"一次最多 {most} 行", None)
    width = len(columns)
    return Table(list(columns), [[*row, *([None] * (width - len(row)))] for row in rows])


def _place(place: str | None) -> str | None:
    """The row and cell alone."""
    return place.rpartition("!")[2] if place and "!" in place and "/" not in place else None


def _unfit(code: str, detail: str, place: str | None) -> FileUnfit:
    pointer = f"/file/{place}" if place else "/file"
    return FileUnfit("文件未被接收。", errors=(ErrorItem(code, detail, pointer=pointer),))

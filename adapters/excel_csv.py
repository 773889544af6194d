"""Source adapter `excel_csv`: a department's upload as an `.xlsx` workbook or a CSV file (exchange.md §18).

Rules:
- A first pass reads the whole file and finds every file fault before the first row is given out; row faults come as
  `unreadable` results of that row alone.
- The header row is matched to the labels and wire names that the settings give; an unknown or doubled column refuses the file.
- The encoding of a CSV file is declared and decoded strictly. Bounds: 64 MiB raw, ratio 100, 1,000,000 rows, 200 columns.
- Cells are given as typed: nothing is trimmed or repaired. A date cell becomes ISO text, a number cell the digits a person
  typed; a code that the spreadsheet keeps as a number has lost digits and is a fault of its row.
- Cursor: SHA-256 of the file and the row last given; the same cursor gives the same page again.
- Rows of a CSV file of at most 8 MiB are kept from the first pass, which most files are; a longer one is read again, page by page, so
  that memory does not grow with it.
- Blank rows state nothing and are passed over. Messages name places, never values.
"""

import asyncio
import os
import re
import stat
import unicodedata
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Annotated, BinaryIO, ClassVar, Literal, NamedTuple, TypeVar, cast

from msgspec import Meta, Struct

from adapters.cells import Cell, Faulty, Moment, Number
from adapters.csv_file import MAX_COLUMNS, MAX_ROWS, CsvFile, Encoding, refused
from gateway.adapter_contract import (
    CONTRACT_VERSION,
    AdapterError,
    Counts,
    Diagnostic,
    Instant,
    Page,
    RowResult,
    SourceRecord,
    Tools,
    Value,
)

if TYPE_CHECKING:
    from adapters.xlsx_file import XlsxFile

__all__ = ["ExcelCsv"]

MAX_BYTES = 64 * 1024 * 1024
"""Bytes of a file as uploaded."""

KEPT_BYTES = 8 * 1024 * 1024
"""Bytes of a CSV file whose rows are kept: in memory they take some three times as many."""

OPERATION_HEADER = "操作"
OPERATIONS: Mapping[str, Literal["upsert", "withdraw"]] = {"新增": "upsert", "更新": "upsert", "撤销": "withdraw"}
WITHDRAWN = "revoked"
"""Reason of a row that says 撤销 (exchange.md §9): the act itself was revoked."""

_OLD_FORMATS: Mapping[str, tuple[str, str]] = {
    ".xls": ("FILE_FORMAT", "旧版 .xls 文件"),
    ".xlsb": ("FILE_FORMAT", "二进制 .xlsb 文件"),
    ".xltx": ("FILE_FORMAT", "模板文件"),
    ".xlsm": ("FILE_MACRO", "带宏的 .xlsm 文件"),
    ".xltm": ("FILE_MACRO", "带宏的模板文件"),
}
_EXPONENT = re.compile(r"[0-9](\.[0-9]+)?[eE]\+?[0-9]{1,3}")
_SAVED_AS_NUMBER = "代码以数字格式存放，位数已丢失；请把该列设为“文本”格式后重新填写"
_INVISIBLE = re.compile(r"[\s\u200b-\u200f\u2060\ufeff]+")
SAFE_DIGITS = 15
"""Digits that a spreadsheet's number keeps."""
_CHINA = timezone(timedelta(hours=8))

Kind = Literal["text", "date", "code", "number"]
T = TypeVar("T")


class _Column(NamedTuple):
    """What a column of the file is: its wire name, and how cells that are no text are read."""

    name: str
    kind: Kind


class _Wrong(NamedTuple):
    """A cell that spoils its row."""

    field: str
    message: str


class _Typed(NamedTuple):
    """The text of a cell, or what is wrong with it."""

    ok: bool
    text: str


class _Survey(NamedTuple):
    """What the first pass found."""

    digest: str
    header_row: int
    columns: tuple[_Column | None, ...]
    """None: a column without a header, in which nothing may stand."""
    operation: int | None
    last_row: int
    rows: int
    table: "CsvFile | XlsxFile"
    kept: list[tuple[int, Sequence[Cell]]] | None
    """Rows of a short file; None: they are read again."""
    stamp: tuple[int, int]
    """Size and time of change: what is read later must be what was surveyed."""


class ExcelCsv:
    """One uploaded file."""

    contract_version: ClassVar[int] = CONTRACT_VERSION
    capabilities: ClassVar[frozenset[str]] = frozenset({"resume", "withdrawals", "counts"})

    class Config(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """What the operation says about one file."""

        path: str
        """The file; its ending says what it is, where `name` does not."""
        name: str = ""
        """What the file is called; for one that has no name in any folder."""
        dataset: str
        headers: dict[str, str]
        """Header text → wire name; labels, wire names and synonyms of the dataset."""
        any_header: bool = False
        """Every header is a column, under its own text: a table that is nobody's dataset."""
        giving_back: bool = False
        """Every row comes, and every cell as it stands, also one that is at fault: for showing a sender its own rows again."""
        as_of: Instant
        """When the file was uploaded."""
        encoding: Encoding = "utf-8"
        """As declared by the sender; for CSV only."""
        dates: frozenset[str] = frozenset()
        """Wire names whose cells are days."""
        codes: frozenset[str] = frozenset()
        """Wire names whose cells are codes and must be kept as text."""
        numbers: frozenset[str] = frozenset()
        """Wire names whose cells are amounts or counts."""
        page_rows: Annotated[int, Meta(ge=1, le=50_000)] = 2000

    def __init__(self, config: Config, tools: Tools | None = None) -> None:
        del tools  # a file needs neither signatures nor transport encryption
        self._config = config
        self._path = Path(config.path)
        self._name = Path(config.name or self._path.name)
        self._file: BinaryIO | None = None
        self._survey: _Survey | None = None
        self._lock = Lock()
        self._working = 0
        self._closed = False

    async def pull(self, since: str | None) -> AsyncIterator[Page]:
        """Pages after a cursor; the whole file is surveyed before the first."""
        survey = await self._aside(self._surveyed)
        after = survey.header_row if since is None else self._row_of(survey, since)
        pages = self._pages(survey, after)
        while (page := await self._aside(lambda: next(pages, None))) is not None:
            yield page

    async def report(self, cursor: str, results: Sequence[RowResult]) -> None:
        """Not among the capabilities: the receipt is the operation's, a file has no way back of its own."""
        raise AdapterError("UNSUPPORTED", "excel_csv 不回写结果", transient=False, place=cursor)

    async def counts(self, day: date) -> Sequence[Counts]:
        """The rows of this file, when it was uploaded on that day."""
        survey = await self._aside(self._surveyed)
        if self._config.as_of.astimezone(_CHINA).date() != day:
            return ()
        return (Counts(dataset=self._config.dataset, day=day, rows=survey.rows, digest=survey.digest),)

    async def check(self) -> Sequence[Diagnostic]:
        """Whether the file can be taken as it stands, and if not, why."""
        try:
            survey = await self._aside(self._surveyed)
        except AdapterError as error:
            said = f"{error.code} {error.place or ''} {error.message}".replace("  ", " ")
            return (Diagnostic(what="文件", ok=False, message=said, remedy="请按说明改正文件后再上传"),)
        except Exception as error:  # noqa: BLE001 - `check` never raises, whatever a file does to a library
            return (Diagnostic(what="文件", ok=False, message=f"文件无法读取（{type(error).__name__}）", remedy="请重新导出后再上传"),)
        return (Diagnostic(what="文件", ok=True, message=f"可以接收：{survey.rows} 行"),)

    async def close(self) -> None:
        """Let go of the file; a thread that still reads it lets go of it when it is done."""
        with self._lock:
            self._closed = True
            if not self._working:
                self._shut()

    async def _aside(self, work: Callable[[], T]) -> T:
        """Work in a thread. Whoever cancels does not wait for it: the file stays open under it, and no longer."""

        def held() -> T:
            with self._lock:
                self._refuse_when_closed()
                self._working += 1
            try:
                return work()
            finally:
                with self._lock:
                    self._working -= 1
                    if self._closed and not self._working:
                        self._shut()

        return await asyncio.to_thread(held)

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise self._refused("FILE_MISSING", "文件已关闭")

    # --- the first pass ---------------------------------------------------------------------------------------------------

    def _surveyed(self) -> _Survey:
        if self._survey is None:
            self._shut()
            self._file = self._open()
            try:
                self._survey = self._first_pass(self._file)
            except BaseException:
                self._shut()
                raise
        return self._survey

    def _shut(self) -> None:
        self._survey = None
        if self._file is not None:
            self._file.close()
            self._file = None

    def _first_pass(self, file: BinaryIO) -> _Survey:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise self._refused("FILE_MISSING", "不是普通文件")
        if found.st_size > MAX_BYTES:
            raise self._refused("SIZE_BYTES", f"文件超过 {MAX_BYTES // 1024 // 1024} MiB；请分成几个文件")
        table = self._table(file, found.st_size)
        digest = table.survey()
        columns: tuple[_Column | None, ...] = ()
        operation: int | None = None
        header_row = last_row = rows = 0
        kept: list[tuple[int, Sequence[Cell]]] | None = [] if isinstance(table, CsvFile) and found.st_size <= KEPT_BYTES else None
        for number, cells in table.rows():
            self._refuse_when_closed()
            if not _stated(cells):
                continue
            if not header_row:
                columns, operation = self._header(table, number, cells)
                header_row = last_row = number
                continue
            last_row = number
            rows += 1
            if rows > MAX_ROWS:
                raise refused("SIZE_LINES", f"超过 {MAX_ROWS} 行", table.place(number))
            if kept is not None:
                kept.append((number, cells))
        if not header_row:
            raise refused("FILE_HEADER", "文件没有表头", table.place(1))
        return _Survey(digest, header_row, columns, operation, last_row, rows, table, kept, (found.st_size, found.st_mtime_ns))

    def _table(self, file: BinaryIO, size: int) -> "CsvFile | XlsxFile":
        if self._name.suffix.lower() == ".csv":
            return CsvFile(file.fileno(), self._name.name, self._config.encoding)
        from adapters.xlsx_file import XlsxFile  # brings readers of XML, which take longer to load than a short CSV file to read

        return XlsxFile(file, self._name.name, size)

    def _open(self) -> BinaryIO:
        ending = self._name.suffix.lower()
        if ending in _OLD_FORMATS:
            code, what = _OLD_FORMATS[ending]
            raise self._refused(code, f"不接受{what}；请另存为 .xlsx 或 CSV")
        if ending not in (".xlsx", ".csv"):
            raise self._refused("FILE_FORMAT", "只接受 .xlsx 和 .csv 文件")
        try:
            return open(self._path, "rb", opener=_opener)  # Path.open takes no opener
        except OSError as error:
            raise self._refused("FILE_MISSING", f"文件无法打开（{error.strerror}）") from None

    def _refused(self, code: str, message: str) -> AdapterError:
        return refused(code, message, self._name.name)

    def _header(self, table: "CsvFile | XlsxFile", row: int, cells: Sequence[Cell]) -> tuple[tuple[_Column | None, ...], int | None]:
        known = {_plain(text): name for text, name in self._config.headers.items()}
        columns: list[_Column | None] = []
        seen: dict[str, int] = {}
        operation: int | None = None
        for at, cell in enumerate(cells, start=1):
            text = _plain(cell) if isinstance(cell, str) else ""
            if text == "" and (cell is None or isinstance(cell, str)):
                columns.append(None)
                continue
            named = known.get(text, OPERATION_HEADER if text == OPERATION_HEADER else "")
            name = str(cell) if self._config.any_header or self._config.giving_back else named
            if not named and not self._config.any_header:
                encoding = "；编码声明有误时也会如此" if isinstance(table, CsvFile) else ""
                raise refused("FILE_HEADER", f"表头不认识：须为本数据集的中文名称或字段代码{encoding}", table.place(row, at))
            if name in seen:
                raise refused("FILE_HEADER", f"表头与第 {seen[name]} 列重复", table.place(row, at))
            seen[name] = at
            if named == OPERATION_HEADER and OPERATION_HEADER not in known and not (self._config.any_header or self._config.giving_back):
                operation = at - 1
                columns.append(None)
            else:
                columns.append(_Column(name, self._kind(name)))
        while columns and columns[-1] is None and operation != len(columns) - 1:
            columns.pop()
        if not any(columns):
            raise refused("FILE_HEADER", "没有一列是本数据集的字段", table.place(row))
        if len(columns) > MAX_COLUMNS:
            raise refused("FILE_COLUMNS", f"超过 {MAX_COLUMNS} 列", table.place(row, MAX_COLUMNS + 1))
        return tuple(columns), operation

    def _kind(self, name: str) -> Kind:
        config = self._config
        return "code" if name in config.codes else "date" if name in config.dates else "number" if name in config.numbers else "text"

    # --- pages ------------------------------------------------------------------------------------------------------------

    def _row_of(self, survey: _Survey, cursor: str) -> int:
        digest, _, row = cursor.partition(":")
        given = int(row) if row.isascii() and row.isdigit() and len(row) <= 7 else 0
        if digest != survey.digest or not survey.header_row <= given <= survey.last_row:
            raise self._refused("CURSOR_UNKNOWN", "位置不属于这个文件")
        return given

    def _pages(self, survey: _Survey, after: int) -> Iterator[Page]:
        read = self._reader(survey)
        read_again: Iterable[tuple[int, Sequence[Cell]]] = survey.table.rows() if survey.kept is None else survey.kept
        rows = (row for row in read_again if row[0] > after and _stated(row[1]))
        cursor = after
        while True:
            records: list[SourceRecord] = []
            unreadable: list[RowResult] = []
            for number, cells in islice(rows, self._config.page_rows):
                found = read(number, cells)
                if isinstance(found, SourceRecord):
                    records.append(found)
                else:
                    unreadable.append(found)
                cursor = number
            self._unchanged(survey)
            more = cursor < survey.last_row
            yield Page(records=tuple(records), unreadable=tuple(unreadable), cursor=f"{survey.digest}:{cursor}", more=more)
            if not more:
                return

    def _unchanged(self, survey: _Survey) -> None:
        if self._file is None:
            raise self._refused("FILE_MISSING", "文件已关闭")
        found = os.fstat(self._file.fileno())
        if (found.st_size, found.st_mtime_ns) != survey.stamp:
            raise AdapterError("FILE_CHANGED", "文件在读取时被改动；请勿改动后重新上传", transient=True, place=self._name.name)

    def _reader(self, survey: _Survey) -> Callable[[int, Sequence[Cell]], SourceRecord | RowResult]:
        """The function that turns one row into a record or a fault; what can be known beforehand is worked out here."""
        columns, operation = survey.columns, survey.operation
        width = len(columns)
        named = [(at, column.name, column.kind) for at, column in enumerate(columns) if column is not None]
        nameless = [at for at, column in enumerate(columns) if column is None and at != operation]
        is_csv = isinstance(survey.table, CsvFile)
        fields_of = _text_fields(named) if is_csv else _cell_fields(named)
        dataset, as_of = self._config.dataset, self._config.as_of
        start = survey.table.place(0)[:-1]

        def fault(number: int, code: str, field: str | None, message: str) -> RowResult:
            return RowResult(place=f"{start}{number}", record_id=None, result="rejected", code=code, field=field, message=message)

        def back(number: int, cells: Sequence[Cell]) -> SourceRecord:
            fields: dict[str, Value] = {name: _as_it_stands(cells[at]) if at < len(cells) else None for at, name, _ in named}
            return SourceRecord(dataset=dataset, record_id=None, as_of=as_of, fields=fields, place=f"{start}{number}")

        def read(number: int, cells: Sequence[Cell]) -> SourceRecord | RowResult:
            op: Literal["upsert", "withdraw"] = "upsert"
            if len(cells) != width:
                if len(cells) > width and _stated(cells[width:]):
                    return fault(number, "SCHEMA_LINE", None, "有数据超出表头所列的列")
                if len(cells) < width and is_csv:
                    return fault(number, "SCHEMA_LINE", None, "列数少于表头；请检查逗号和引号")
                cells = [*cells[:width], *([None] * (width - len(cells)))]
            if nameless and _stated([cells[at] for at in nameless]):
                return fault(number, "SCHEMA_LINE", None, "没有表头的列里有数据")
            if operation is not None and (said := cells[operation]) is not None and said != "":
                if not isinstance(said, str) or said not in OPERATIONS:
                    return fault(number, "SCHEMA_ENUM", OPERATION_HEADER, "操作只能是 新增、更新 或 撤销")
                op = OPERATIONS[said]
            fields = fields_of(cells)
            if isinstance(fields, _Wrong):
                return fault(number, "SCHEMA_TYPE", fields.field, fields.message)
            return SourceRecord(dataset=dataset, record_id=None, op=op, reason=WITHDRAWN if op == "withdraw" else None,
                                as_of=as_of, fields=fields, place=f"{start}{number}")

        return back if self._config.giving_back else read


_FieldsOf = Callable[[Sequence[Cell]], "dict[str, Value] | _Wrong"]


def _text_fields(named: Sequence[tuple[int, str, Kind]]) -> _FieldsOf:
    """Fields of a CSV row, all of whose cells are text."""
    names = [name for _, name, _ in named]
    positions = [at for at, _, _ in named]
    codes = [(at, name) for at, name, kind in named if kind == "code"]
    straight = positions == list(range(len(positions)))

    def fields_of(cells: Sequence[Cell]) -> dict[str, Value] | _Wrong:
        texts = cast("Sequence[str]", cells)
        for at, name in codes:
            text = texts[at]
            # the cheap test first: hardly any code has an E in it
            if text and ("E" in text or "e" in text) and _EXPONENT.fullmatch(text):
                return _Wrong(name, _SAVED_AS_NUMBER)
        # a row is at least as long as its header here; zip stops at the last named column
        return dict(zip(names, texts if straight else [texts[at] for at in positions], strict=False))

    return fields_of


def _cell_fields(named: Sequence[tuple[int, str, Kind]]) -> _FieldsOf:
    """Fields of a workbook's row, whose cells have types."""

    def fields_of(cells: Sequence[Cell]) -> dict[str, Value] | _Wrong:
        fields: dict[str, Value] = {}
        for at, name, kind in named:
            cell = cells[at]
            if cell is None or isinstance(cell, str | bool):
                fields[name] = cell
                continue
            typed = _typed(cell, kind)
            if not typed.ok:
                return _Wrong(name, typed.text)
            fields[name] = typed.text
        return fields

    return fields_of


def _as_it_stands(cell: Cell) -> Value:
    """What a person sees in a cell, whatever it may be read as."""
    if cell is None or isinstance(cell, str | bool):
        return cell
    return "#错误" if isinstance(cell, Faulty) else cell.text


def _opener(path: str, flags: int) -> int:
    # without O_NONBLOCK, opening a named pipe that nobody writes would wait for ever
    return os.open(path, flags | os.O_NONBLOCK)


def _stated(cells: Sequence[Cell]) -> bool:
    """Whether a row says anything at all; the quick question first, for FALSE says something too."""
    return any(cells) or False in cells


def _plain(text: str) -> str:
    """A header without what the eye does not see: width, case, blanks, line ends."""
    return _INVISIBLE.sub("", unicodedata.normalize("NFKC", text)).casefold()


def _typed(cell: Number | Moment | Faulty, kind: Kind) -> _Typed:
    """What a cell that is no text says in a column of this kind."""
    if isinstance(cell, Faulty):
        return _Typed(False, "单元格显示的是错误值")
    if isinstance(cell, Moment):
        if cell.text is None:
            return _Typed(False, "单元格不是一个存在的日期")
        if kind in ("code", "number"):
            return _Typed(False, "单元格被存成了日期；请把该列设为“文本”格式后重新填写")
        return _Typed(True, cell.text)
    if cell.text is None:
        return _Typed(False, "单元格不是一个数")
    if kind == "number":
        return _Typed(True, cell.text)
    if kind == "code":
        return _Typed(False, _SAVED_AS_NUMBER)
    if kind == "date":
        # 20260131 typed as a number is read as those eight digits; a bare serial is not guessed at
        return _Typed(True, cell.text) if _is_day(cell.text) else _Typed(False, "单元格不是日期；请填 2026-01-31 或设为日期格式")
    if len(cell.text.lstrip("-0.").replace(".", "")) > SAFE_DIGITS:
        return _Typed(False, f"数字超过 {SAFE_DIGITS} 位，位数已丢失；请把该列设为“文本”格式后重新填写")
    return _Typed(True, cell.text)


def _is_day(text: str) -> bool:
    if len(text) != 8 or not text.isascii() or not text.isdigit():
        return False
    try:
        datetime(int(text[:4]), int(text[4:6]), int(text[6:]), tzinfo=UTC)
    except ValueError:
        return False
    return True

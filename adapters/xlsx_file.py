"""Rows of a department's XLSX workbook: read as a stream, in bounded memory, each cell as it was typed.

Rules, all of which refuse the whole file: not a workbook, an old or encrypted one, macros, entries that unpack to more than
the ratio allows, a document type declaration, a formula or merged cell, a NUL, more than one visible sheet with data, rows,
columns or cells over their bounds. Date cells become ISO text by the workbook's own epoch (1900 or 1904); numbers become the
text a person typed. This file must not calculate, repair, or read hidden sheets (templates keep their word lists there).

The sheets are walked with expat rather than openpyxl's reader, which holds all shared strings, keeps an element for each row
and builds whatever stands in one row before anybody can count it; openpyxl still says which number formats are dates and is
the oracle of the tests (gateway/decisions/0008-sheets-as-streams.md).
"""

import hashlib
import posixpath
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from math import isfinite
from typing import BinaryIO
from xml.etree.ElementTree import Element, ParseError
from xml.parsers import expat

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from adapters.cells import Cell, Faulty, Moment, Number
from adapters.csv_file import MAX_CELL, MAX_COLUMNS, MAX_ROWS, refused
from gateway.adapter_contract import AdapterError

RATIO = 100
"""Unpacked : packed, of the whole workbook."""
RATIO_FROM = 1_048_576
"""Unpacked bytes below which the ratio is not asked: a small sheet of equal rows packs better than any bomb."""
MAX_ENTRIES_BYTES = 1_048_576
"""Bytes of the archive's directory: a workbook has some twenty entries, not a million."""
MAX_PART = 16_777_216
"""Bytes of a part that is read whole: workbook, relations, styles."""
MAX_STRINGS = 10_000_000
MAX_TOKEN = 1_048_576
"""Bytes that expat may take without coming to the end of a tag."""
MAX_DEPTH = 64
MAX_FORMAT = 255
"""Characters of a number format; the format itself allows no more."""
LAST_ROW, LAST_COLUMN = 1_048_576, 16_384
"""Bounds of the format itself."""
CHUNK = 65_536
BLOCK = 256
"""Shared strings packed together; see `SharedStrings`."""

_OLE = bytes.fromhex("D0CF11E0A1B11AE1")
_ENCRYPTED = "EncryptedPackage".encode("utf-16-le")
_SPREADSHEET = ("http://schemas.openxmlformats.org/spreadsheetml/2006/main", "http://purl.oclc.org/ooxml/spreadsheetml/main")
_LOCAL = ("row", "c", "v", "f", "is", "t", "rPh", "si", "mergeCell")
_TAGS = {f"{space}\n{tag}": tag for space in _SPREADSHEET for tag in _LOCAL}
_BUILTIN_DATES = frozenset({*range(14, 23), *range(27, 37), *range(45, 48), *range(50, 59)})
"""Number formats without a text of their own that are dates; 27–36 and 50–58 are those of a Chinese Excel."""
_ESCAPE = re.compile("_x([0-9A-Fa-f]{4})_")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_REFERENCE = re.compile("[A-Z]{1,3}[0-9]{1,7}")
_EPOCH_1900, _EPOCH_1904 = datetime(1899, 12, 30), datetime(1904, 1, 1)  # noqa: DTZ001 - a cell has no zone


class SharedStrings:
    """The workbook's texts by number, kept packed in blocks: never much more than they take in the file, and never on a disk."""

    __slots__ = ("_blocks", "_open", "count", "unpack")

    def __init__(self) -> None:
        self._blocks: list[bytes] = []
        self._open: list[str] = []
        self.count = 0
        self.unpack: Callable[[int], list[str]] = lru_cache(maxsize=64)(self._unpack)

    def append(self, text: str) -> None:
        """One more text."""
        self._open.append(text)
        self.count += 1
        if len(self._open) == BLOCK:
            self.seal()

    def seal(self) -> None:
        """Pack what is open; after the last `append`."""
        if self._open:
            self._blocks.append(zlib.compress("\0".join(self._open).encode(), 1))
            self._open = []

    def __getitem__(self, number: int) -> str:
        if not 0 <= number < self.count:
            raise IndexError(number)
        return self.unpack(number // BLOCK)[number % BLOCK]

    def _unpack(self, block: int) -> list[str]:
        return zlib.decompress(self._blocks[block]).decode().split("\0")


class XlsxFile:
    """One workbook, its one data sheet read from the beginning as often as asked."""

    __slots__ = ("_archive", "_dates", "_epoch", "_file", "_name", "_sheet", "_sheet_part", "_size", "_strings")

    def __init__(self, file: BinaryIO, name: str, size: int) -> None:
        self._file = file
        self._name = name
        self._size = size
        self._archive: zipfile.ZipFile | None = None
        self._dates: frozenset[str] = frozenset()
        self._epoch = _EPOCH_1900
        self._sheet = ""
        self._sheet_part = ""
        self._strings = SharedStrings()

    def place(self, row: int, column: int | None = None) -> str:
        """Where something stands: `penalties.xlsx!Sheet1!R17C3`."""
        sheet = f"!{self._sheet}" if self._sheet else ""
        return f"{self._name}{sheet}!R{row}" + (f"C{column}" if column is not None else "")

    def survey(self) -> str:
        """SHA-256 of the file, once archive, workbook, texts and choice of sheet are known to be good.

        Raises AdapterError (FILE_*, SIZE_*).
        """
        self._file.seek(0)
        digest = hashlib.sha256()
        while chunk := self._file.read(CHUNK):
            digest.update(chunk)
        self._archive = self._open_archive()
        workbook_part = self._related("", "/officeDocument")[0][0]
        types = self._part("[Content_Types].xml")
        if any("macroEnabled" in element.get("ContentType", "") for element in types) or any(
            posixpath.basename(name) == "vbaProject.bin" for name in self._archive.namelist()
        ):
            raise self._refused("FILE_MACRO", "文件带有宏；请另存为不带宏的 .xlsx")
        workbook = self._part(workbook_part)
        settings = next((element for element in workbook if _local(element) == "workbookPr"), None)
        if settings is not None and settings.get("date1904") in ("1", "true"):
            self._epoch = _EPOCH_1904
        for part, _ in self._related(workbook_part, "/styles", required=False):
            self._dates = _date_styles(self._part(part))
        for part, _ in self._related(workbook_part, "/sharedStrings", required=False):
            self._read_strings(part)
        self._choose_sheet(workbook, {key: part for part, key in self._related(workbook_part, "/worksheet")})
        return digest.hexdigest()

    def rows(self) -> Iterator[tuple[int, list[Cell]]]:
        """Every row that the sheet writes down, with its number; cells up to the last that holds something.

        Merged cells stand behind the rows in the file, so they are refused at the end.
        Raises AdapterError (FILE_*, SIZE_*) with sheet, row and column.
        """
        walk = _SheetWalk(self)
        last = 1
        for chunk in self._chunks(self._sheet_part):
            walk.feed(chunk)
            for number, cells in walk.done:
                last = number if cells else last
                yield number, cells
            walk.done.clear()
        walk.feed(b"", final=True)
        for reference in walk.merged:
            row, column = _row_and_column(reference.partition(":")[0])
            if row <= last:
                raise refused("FILE_MERGED", "数据区有合并单元格；请取消合并并逐格填写", self.place(row, column))

    @property
    def strings(self) -> SharedStrings:
        """The texts that cells point to."""
        return self._strings

    def moment(self, serial: float) -> Moment:
        """The day (and time, if any) that a date cell shows."""
        if not 0 <= serial < 2_958_466 or (self._epoch is _EPOCH_1900 and int(serial) == 60):
            return Moment(None)  # before the calendar, after 9999, or 29 February 1900, which never was
        days = serial + (1 if self._epoch is _EPOCH_1900 and serial < 60 else 0)
        try:
            at = self._epoch + timedelta(seconds=round(days * 86_400))
        except OverflowError:
            return Moment(None)
        return Moment(at.date().isoformat() if at.time() == datetime.min.time() else at.isoformat())

    def is_date(self, style: str | None) -> bool:
        """Whether a cell of this style shows a date."""
        return style in self._dates

    def _refused(self, code: str, message: str) -> AdapterError:
        return refused(code, message, self._name)

    def _open_archive(self) -> zipfile.ZipFile:
        self._file.seek(0)
        head = self._file.read(8)
        if head == _OLE:
            self._file.seek(0)
            if _ENCRYPTED in self._file.read():
                raise self._refused("FILE_PASSWORD", "文件设有打开密码；请取消密码后再上传")
            raise self._refused("FILE_FORMAT", "这是旧版 .xls 文件；请另存为 .xlsx 或 CSV")
        self._bound_directory()
        try:
            archive = zipfile.ZipFile(self._file)
        except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError):
            raise self._refused("FILE_FORMAT", "文件不是 .xlsx 工作簿，或已损坏") from None
        entries = archive.infolist()
        if any(entry.flag_bits & 0x1 for entry in entries):
            raise self._refused("FILE_PASSWORD", "文件设有密码；请取消密码后再上传")
        if len({entry.filename for entry in entries}) != len(entries):
            raise self._refused("FILE_FORMAT", "压缩包内有同名文件")
        if any(entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for entry in entries):
            raise self._refused("FILE_FORMAT", "压缩方式不是工作簿所用的方式")
        unpacked = sum(entry.file_size for entry in entries)
        if unpacked > max(RATIO * self._size, RATIO_FROM):
            raise self._refused("SIZE_RATIO", f"解压后超过原文件的 {RATIO} 倍")
        return archive

    def _bound_directory(self) -> None:
        """Refuse a directory that would be large before it is read: `zipfile` holds all of it."""
        start = max(self._size - 65_557, 0)
        self._file.seek(start)
        tail = self._file.read()
        at = tail.rfind(b"PK\5\6")
        if at < 0 or len(tail) - at < 22:
            raise self._refused("FILE_FORMAT", "文件不是 .xlsx 工作簿，或已损坏")
        (directory,) = struct.unpack_from("<I", tail, at + 12)
        if directory > MAX_ENTRIES_BYTES or tail[max(at - 20, 0):at].startswith(b"PK\6\7"):
            raise self._refused("SIZE_RATIO", "压缩包内文件过多")

    def _chunks(self, part: str) -> Iterator[bytes]:
        archive = self._archive
        if archive is None:
            raise self._refused("FILE_FORMAT", "文件尚未检查")
        try:
            with archive.open(part) as stream:
                while chunk := stream.read(CHUNK):
                    yield chunk
        except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, NotImplementedError, RuntimeError, OSError):
            raise self._refused("FILE_FORMAT", "压缩包内容损坏") from None

    def _part(self, part: str) -> Element:
        data = bytearray()
        for chunk in self._chunks(part):
            data += chunk
            if len(data) > MAX_PART:
                raise self._refused("SIZE_RATIO", "工作簿的结构部分过大")
        try:
            root: Element = fromstring(bytes(data), forbid_dtd=True)
        except (ParseError, DefusedXmlException, ValueError, LookupError):
            raise self._refused("FILE_FORMAT", "工作簿的结构无法读取") from None
        return root

    def _related(self, part: str, kind: str, *, required: bool = True) -> list[tuple[str, str]]:
        """(part, relation id) of what a part points to, by kind of relation."""
        folder, name = posixpath.split(part)
        found = []
        for element in self._part(posixpath.join(folder, "_rels", f"{name}.rels")):
            if element.get("Type", "").endswith(kind) and element.get("TargetMode") != "External":
                target = element.get("Target", "")
                path = target.lstrip("/") if target.startswith("/") else posixpath.normpath(posixpath.join(folder, target))
                found.append((path, element.get("Id", "")))
        if required and not found:
            raise self._refused("FILE_FORMAT", "文件不是 .xlsx 工作簿")
        return found

    def _read_strings(self, part: str) -> None:
        parts: list[str] = []
        collecting = phonetic = False
        length = depth = 0

        def start(name: str, _attributes: dict[str, str]) -> None:
            nonlocal collecting, phonetic, length, depth
            depth += 1
            tag = _TAGS.get(name)
            if tag == "si":
                parts.clear()
                length = 0
            elif tag == "rPh":
                phonetic = True
            collecting = tag == "t" and not phonetic
            if depth > MAX_DEPTH:
                raise self._refused("FILE_FORMAT", "工作簿的嵌套过深")

        def end(name: str) -> None:
            nonlocal collecting, phonetic, depth
            depth -= 1
            collecting = False
            tag = _TAGS.get(name)
            if tag == "rPh":
                phonetic = False
            elif tag == "si":
                if self._strings.count >= MAX_STRINGS:
                    raise self._refused("SIZE_LINES", f"共享文本超过 {MAX_STRINGS} 条")
                # a NUL parts the texts of a block, so it is kept in the escaped form in which it came
                self._strings.append(_unescape("".join(parts)).replace("\0", "_x0000_"))

        def text(data: str) -> None:
            nonlocal length
            if collecting:
                parts.append(data)
                length += len(data)
                if length > MAX_CELL:
                    raise self._refused("SIZE_LINE", f"单元格超过 {MAX_CELL} 个字符")

        parser = _Parser(start, end, text, self._refused)
        for chunk in self._chunks(part):
            parser.feed(chunk)
        parser.feed(b"", final=True)
        self._strings.seal()

    def _choose_sheet(self, workbook: Element, parts: dict[str, str]) -> None:
        """The one visible sheet that holds anything."""
        for sheet in workbook.iter():
            if _local(sheet) != "sheet" or sheet.get("state", "visible") != "visible":
                continue
            key = next((value for name, value in sheet.attrib.items() if name.endswith("}id")), "")
            chosen, self._sheet = self._sheet, sheet.get("name", "")
            if key not in parts or not self._holds_anything(parts[key]):
                self._sheet = chosen
                continue
            if self._sheet_part:
                raise refused("FILE_SHEET", "不止一张工作表有数据；每个文件只放一张数据表", self.place(1))
            self._sheet_part = parts[key]
        if not self._sheet_part:
            raise self._refused("FILE_HEADER", "文件没有表头：工作表是空的")

    def _holds_anything(self, part: str) -> bool:
        walk = _SheetWalk(self)
        for chunk in self._chunks(part):
            walk.feed(chunk)
            if any(cells for _, cells in walk.done):
                return True
            walk.done.clear()
        return False


class _Parser:
    """Expat without document types, with a bound on what it buffers."""

    __slots__ = ("_expat", "_refused", "_since")

    def __init__(self, start: Callable[[str, dict[str, str]], None], end: Callable[[str], None], text: Callable[[str], None],
                 refused: Callable[[str, str], AdapterError]) -> None:
        self._refused = refused
        self._since = 0
        self._expat = expat.ParserCreate(namespace_separator="\n")
        self._expat.buffer_text = True
        self._expat.StartElementHandler = start
        self._expat.EndElementHandler = end
        self._expat.CharacterDataHandler = text
        self._expat.StartDoctypeDeclHandler = self._doctype

    def feed(self, chunk: bytes, *, final: bool = False) -> None:
        """Parse some more."""
        before = self._expat.CurrentByteIndex
        try:
            self._expat.Parse(chunk, final)
        except (expat.ExpatError, ValueError, LookupError):
            raise self._refused("FILE_FORMAT", "工作簿的 XML 不合规") from None
        self._since = self._since + len(chunk) if self._expat.CurrentByteIndex == before else 0
        if self._since > MAX_TOKEN:
            raise self._refused("SIZE_LINE", "工作簿里有过长的标记")

    def _doctype(self, *_: object) -> None:
        raise self._refused("FILE_FORMAT", "工作簿的 XML 带有文档类型声明")


class _SheetWalk:
    """Walks one sheet and keeps the rows it has finished in `done`."""

    __slots__ = ("_cells", "_collecting", "_column", "_depth", "_file", "_length", "_parser", "_parts", "_phonetic", "_row",
                 "_seen", "_style", "_type", "done", "merged")

    def __init__(self, file: XlsxFile) -> None:
        self._file = file
        self.done: list[tuple[int, list[Cell]]] = []
        self.merged: list[str] = []
        self._row = 0
        self._column = 0
        self._cells: list[Cell] = []
        self._type = "n"
        self._style: str | None = None
        self._collecting = False
        self._phonetic = False
        self._seen = False
        self._depth = 0
        self._length = 0
        self._parts: list[str] = []
        self._parser = _Parser(self._start, self._end, self._text, self._fault)

    def feed(self, chunk: bytes, *, final: bool = False) -> None:
        """Walk some more."""
        self._parser.feed(chunk, final=final)

    def _fault(self, code: str, message: str) -> AdapterError:
        return refused(code, message, self._file.place(max(self._row, 1), self._column or None))

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._fault("FILE_FORMAT", "工作簿的嵌套过深")
        tag = _TAGS.get(name)
        if tag == "c":
            reference = attributes.get("r")
            column = self._column + 1 if reference is None else _column(reference)
            if not self._column < column <= LAST_COLUMN:
                raise self._fault("FILE_FORMAT", "单元格的次序或编号不合规")
            self._column = column
            self._type = attributes.get("t", "n")
            self._style = attributes.get("s")
            self._seen = False
            self._parts.clear()
            self._length = 0
        elif tag in ("v", "t"):
            self._collecting = not self._phonetic
            self._seen = True
        elif tag == "f":
            raise self._fault("FILE_FORMULA", "单元格是公式；请改为数值（选择性粘贴→数值）")
        elif tag == "row":
            number = self._row + 1
            given = attributes.get("r")
            if given is not None:
                number = int(given) if given.isascii() and given.isdigit() and len(given) <= 7 else 0
            if not self._row < number <= LAST_ROW:
                raise self._fault("FILE_FORMAT", "行的次序或编号不合规")
            self._row = number
            self._column = 0
            self._cells = []
        elif tag == "rPh":
            self._phonetic = True
        elif tag == "mergeCell":
            reference = attributes.get("ref", "")
            if len(self.merged) >= MAX_ROWS or not all(_REFERENCE.fullmatch(part) for part in reference.split(":", 1)):
                raise self._fault("FILE_FORMAT", "合并单元格的编号不合规")
            self.merged.append(reference)

    def _end(self, name: str) -> None:
        self._depth -= 1
        tag = _TAGS.get(name)
        if tag in ("v", "t"):
            self._collecting = False
        elif tag == "c":
            if self._seen and (value := self._value()) is not None:
                if self._column > MAX_COLUMNS:
                    raise self._fault("FILE_COLUMNS", f"超过 {MAX_COLUMNS} 列")
                gap = self._column - len(self._cells) - 1
                if gap:
                    self._cells.extend([None] * gap)
                self._cells.append(value)
        elif tag == "rPh":
            self._phonetic = False
        elif tag == "row":
            self.done.append((self._row, self._cells))

    def _text(self, data: str) -> None:
        if self._collecting:
            self._parts.append(data)
            self._length += len(data)
            if self._length > MAX_CELL:
                raise self._fault("SIZE_LINE", f"单元格超过 {MAX_CELL} 个字符")

    def _value(self) -> Cell:
        text = self._parts[0] if len(self._parts) == 1 else "".join(self._parts)
        if not text:
            return None
        kind = self._type
        if kind == "s":
            try:
                return self._whole(self._file.strings[int(text)])
            except (ValueError, IndexError):
                raise self._fault("FILE_FORMAT", "单元格指向不存在的文本") from None
        if kind in ("inlineStr", "str"):
            return self._whole(_unescape(text))
        if kind == "n":
            return self._number(text)
        if kind == "b":
            return text.strip() in ("1", "true")
        if kind == "d":
            return Moment(text.removesuffix("Z").removesuffix("T00:00:00"))
        if kind == "e":
            return Faulty()
        raise self._fault("FILE_FORMAT", "单元格的类型不合规")

    def _whole(self, text: str) -> str | None:
        if "\0" in text or "_x0000_" in text:
            raise self._fault("FILE_NUL", "单元格含有空字符（NUL），文件可能已损坏")
        return text or None

    def _number(self, text: str) -> Cell:
        text = text.strip()
        if len(text) > 64 or _NUMBER.fullmatch(text) is None:
            return Number(None)
        value = float(text)
        if self._file.is_date(self._style):
            return self._file.moment(value)
        if not isfinite(value) or abs(value) >= 1e300:
            return Number(None)
        # a double is stored with 17 digits (1.1 as 1.1000000000000001); its shortest form is what was typed
        return Number(format(Decimal(repr(value)).normalize(), "f"))


def _unescape(text: str) -> str:
    """The characters behind `_x000D_`; what is no character stays as it stands."""
    if "_x" not in text:
        return text
    return _ESCAPE.sub(lambda match: match.group() if 0xD800 <= int(match[1], 16) <= 0xDFFF else chr(int(match[1], 16)), text)


@lru_cache(maxsize=4096)
def _letters(letters: str) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - 64
    return number if letters.isascii() and letters.isalpha() and letters.isupper() and len(letters) <= 3 else 0


def _column(reference: str) -> int:
    return _letters(reference.rstrip("0123456789"))


def _row_and_column(reference: str) -> tuple[int, int]:
    letters = reference.rstrip("0123456789")
    return int(reference[len(letters):]), _letters(letters)


def _local(element: Element) -> str:
    return element.tag.rpartition("}")[2]


def _date_styles(styles: Element) -> frozenset[str]:
    """The cell styles that show a date."""
    from openpyxl.styles.numbers import is_date_format  # loads numpy too: half a second that no CSV file owes

    formats = {element.get("numFmtId", ""): element.get("formatCode", "") for element in styles.iter() if _local(element) == "numFmt"}
    found = set()
    for part in styles:
        if _local(part) == "cellXfs":
            for number, style in enumerate(part):
                key = style.get("numFmtId", "0")
                if key in formats:
                    dated = len(formats[key]) <= MAX_FORMAT and bool(is_date_format(formats[key]))
                else:
                    dated = key.isdigit() and int(key) in _BUILTIN_DATES
                if dated:
                    found.add(str(number))
    return frozenset(found)

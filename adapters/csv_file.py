"""Rows of a department's CSV file: strictly decoded, in bounded memory, each with the number a spreadsheet shows.

Rules: the encoding is declared (`utf-8`, a byte order mark allowed, or `gb18030`) and every byte must obey it; a NUL byte
refuses the file; a record that is longer than its bound is refused before it is held in memory; quotes must close. A row
number counts records, not lines: a cell may contain line ends. This file must not repair, trim or skip anything.
"""

import codecs
import csv
import hashlib
import io
import os
from collections.abc import Iterator
from typing import Literal

from gateway.adapter_contract import AdapterError

Encoding = Literal["utf-8", "gb18030"]

MAX_ROWS = 1_000_000
"""Data rows of one file."""
MAX_COLUMNS = 200
MAX_CELL = 131_072
"""Characters of one cell."""
MAX_RECORD = 1_048_576
"""Characters of one CSV record with its quotes and line ends."""
CHUNK = 1_048_576

UTF8_MARK = codecs.BOM_UTF8
OTHER_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)



def refused(code: str, message: str, place: str) -> AdapterError:
    """A fault of the whole file, found at a place."""
    return AdapterError(code, message, transient=False, place=place)


class _Bytes(io.RawIOBase):
    """The first bytes of an open file with a position of their own: two readers of one file do not disturb each other."""

    def __init__(self, descriptor: int, size: int | None = None) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._left = size
        self._at = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # typeshed's WriteableBuffer is not public
        view = memoryview(buffer) if self._left is None else memoryview(buffer)[:self._left]
        count = os.preadv(self._descriptor, [view], self._at)
        self._at += count
        if self._left is not None:
            self._left -= count
        return count


class CsvFile:
    """One CSV file, read from its beginning as often as asked."""

    __slots__ = ("_descriptor", "_encoding", "_name")

    def __init__(self, descriptor: int, name: str, encoding: Encoding) -> None:
        self._descriptor = descriptor
        self._name = name
        self._encoding = encoding

    def place(self, row: int, column: int | None = None) -> str:
        """Where something stands: `penalties.csv!R17` or `penalties.csv!R17C3`."""
        return f"{self._name}!R{row}" + (f"C{column}" if column is not None else "")

    def survey(self) -> str:
        """SHA-256 of the file, once every byte is known to obey the declared encoding.

        Raises AdapterError (FILE_ENCODING, FILE_NUL) with row and column of the first bad byte.
        """
        file = io.BufferedReader(_Bytes(self._descriptor))
        digest = hashlib.sha256()
        decoder = codecs.getincrementaldecoder(self._encoding)("strict")
        offset = 0
        while True:
            chunk = file.read(CHUNK)
            if offset == 0:
                self._refuse_other_marks(chunk)
            digest.update(chunk)
            nul = chunk.find(b"\0")
            checked = chunk if nul < 0 else chunk[:nul]
            try:
                decoder.decode(checked, final=not chunk)
            except UnicodeDecodeError as error:
                # the decoder may still have held bytes of the chunk before: `object` is those and ours
                raise self._bad_byte(offset + error.start - (len(error.object) - len(checked))) from None
            if nul >= 0:
                raise refused("FILE_NUL", "文件含有空字符（NUL），可能已损坏", self._locate(offset + nul))
            if not chunk:
                return digest.hexdigest()
            offset += len(chunk)

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Every record with its row number, blank ones included; the first is number 1.

        Raises AdapterError (FILE_FORMAT, SIZE_LINE) with the row.
        """
        yield from self._records(io.BufferedReader(_Bytes(self._descriptor)), strict=True)

    @property
    def _codec(self) -> str:
        return "utf-8-sig" if self._encoding == "utf-8" else self._encoding

    def _records(self, file: io.BufferedReader | io.BytesIO, *, strict: bool) -> Iterator[tuple[int, list[str]]]:
        text = io.TextIOWrapper(file, encoding=self._codec, errors="strict" if strict else "replace", newline="")
        left = MAX_RECORD
        number = 0

        def lines() -> Iterator[str]:
            nonlocal left
            while line := text.readline(MAX_RECORD + 1):
                left -= len(line)
                if left < 0:
                    raise refused("SIZE_LINE", f"一行超过 {MAX_RECORD} 个字符", self.place(number + 1))
                yield line

        reader = csv.reader(lines(), strict=strict)
        while True:
            try:
                for row in reader:  # the inner loop runs at C speed; it is left only by an end or an error
                    number += 1
                    if left < MAX_RECORD - MAX_CELL and max(map(len, row)) > MAX_CELL:  # the reader's own limit is the whole process's
                        raise self._cell_too_long(number)
                    left = MAX_RECORD
                    yield number, row
                return
            except csv.Error as error:
                here = self.place(number + 1)
                if "field larger" in str(error):
                    raise self._cell_too_long(number + 1) from None
                raise refused("FILE_FORMAT", "引号不成对或位置不对；请用电子表格软件重新另存为 CSV", here) from None

    def _cell_too_long(self, number: int) -> AdapterError:
        return refused("SIZE_LINE", f"单元格超过 {MAX_CELL} 个字符", self.place(number))

    def _refuse_other_marks(self, head: bytes) -> None:
        if head.startswith(OTHER_MARKS):
            raise refused("FILE_ENCODING", "文件为 UTF-16 编码；只接受 utf-8 或 gb18030", self.place(1, 1))
        if self._encoding == "gb18030" and head.startswith(UTF8_MARK):
            raise refused("FILE_ENCODING", "文件声明为 gb18030，却带有 UTF-8 标记；请声明 utf-8", self.place(1, 1))

    def _bad_byte(self, offset: int) -> AdapterError:
        other = "gb18030" if self._encoding == "utf-8" else "utf-8"
        message = f"文件不是所声明的 {self._encoding} 编码；如确为 {other}，请如实声明（encoding={other}）"
        return refused("FILE_ENCODING", message, self._locate(offset))

    def _locate(self, offset: int) -> str:
        """The place of a byte, everything before which decodes: a mark put there must stand in the last cell read."""
        head = io.BytesIO(io.BufferedReader(_Bytes(self._descriptor, offset)).read() + b"x")
        row, column = 1, 1
        try:
            for number, cells in self._records(head, strict=False):
                row, column = number, max(len(cells), 1)
        except AdapterError as error:  # the record in which it stands is over its bound too: its row is all that can be said
            return error.place or self.place(row)
        return self.place(row, column)

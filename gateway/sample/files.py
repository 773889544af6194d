"""The files of the invented sample as departments send them: CSV in either encoding, workbooks, and the faults put into them.

Rules: the same rows give the same bytes; every fault is counted, so that a receipt can be checked against it. This room must not know
what a row says.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path

import xlsxwriter
from msgspec import Struct

from gateway.sample.people import Authority
from gateway.sample.rows import Cell, Row, spelled

OFFICER = "测试员甲"
ISO, SLASH, COMPACT = "%Y-%m-%d", "%Y/%m/%d", "%Y%m%d"


class SampleFile(Struct, frozen=True, kw_only=True):
    """One file of the sample and how it is to be ingested."""

    path: Path
    dataset: str
    authority: str | None
    """USCC of the department whose statement it is; None: nobody answers for it, it is vouched."""
    officer: str | None
    encoding: str
    rows: int
    rejected: dict[str, int]
    """Rows that must be rejected, by code."""


class Batch:
    """Rows of one file in the making, and the faults put into them."""

    __slots__ = ("rejected", "rows")

    def __init__(self, rows: Sequence[Row] = ()) -> None:
        self.rows: list[Row] = list(rows)
        self.rejected: dict[str, int] = {}

    def spoil(self, fault: str, row: Row) -> None:
        """A row that must be rejected with this code."""
        self.rows.append(row)
        self.rejected[fault] = self.rejected.get(fault, 0) + 1


class FileWriter:
    """Writes the files of one folder; what is dated in them is the day of the sample."""

    __slots__ = ("_folder", "_today")

    def __init__(self, folder: Path, today: date) -> None:
        self._folder = folder
        self._today = today

    def _told(self, path: Path, dataset: str, batch: Batch, by: Authority | None, encoding: str) -> SampleFile:
        return SampleFile(path=path, dataset=dataset, authority=by.uscc if by else None, officer=OFFICER if by else None, encoding=encoding,
                          rows=len(batch.rows), rejected=batch.rejected)

    def csv(self, name: str, dataset: str, batch: Batch, by: Authority | None, *, encoding: str, days: str = ISO,
            headers: Mapping[str, str] | None = None) -> SampleFile:
        """A comma-separated file; with `headers` under those names, and only what has one."""
        labels = _labels(batch.rows)
        if headers is not None:
            labels = [label for label in labels if label in headers]
        text = io.StringIO(newline="")
        out = csv.writer(text)
        out.writerow(headers[label] if headers is not None else label for label in labels)
        for row in batch.rows:
            texts = spelled(row, days)
            out.writerow(texts.get(label, "") for label in labels)
        path = self._folder / f"{name}.csv"
        path.write_bytes(text.getvalue().encode(encoding))
        return self._told(path, dataset, batch, by, "gb18030" if encoding == "gb18030" else "utf-8")

    def xlsx(self, name: str, dataset: str, batch: Batch, by: Authority) -> SampleFile:
        """A workbook of one sheet, with days and amounts as a workbook keeps them."""
        labels = _labels(batch.rows)
        path = self._folder / f"{name}.xlsx"
        book = xlsxwriter.Workbook(str(path), {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False})
        book.set_properties({"author": "示例", "created": datetime.combine(self._today, time())})
        day = book.add_format({"num_format": "yyyy-mm-dd"})
        sheet = book.add_worksheet("数据")
        for column, label in enumerate(labels):
            sheet.write_string(0, column, label)
        for at, row in enumerate(batch.rows, start=1):
            for column, label in enumerate(labels):
                value: Cell = row.get(label)
                if value is None:
                    continue
                if isinstance(value, date):
                    done = sheet.write_datetime(at, column, datetime.combine(value, time()), day)
                elif isinstance(value, Decimal):
                    done = sheet.write_number(at, column, float(value))
                else:
                    done = sheet.write_string(at, column, value)
                if done != 0:
                    raise ValueError(f"{name}: a cell of row {at + 1} does not fit into a workbook")
        book.close()
        return self._told(path, dataset, batch, by, "utf-8")


def _labels(rows: Sequence[Row]) -> list[str]:
    """All columns of a file, in the order in which rows first name them."""
    return list(dict.fromkeys(label for row in rows for label in row))

"""`excel_csv` under the conformance suite: the simulated other side is a department that writes a workbook or a CSV file."""

import csv
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import xlsxwriter

from adapters.excel_csv import ExcelCsv
from adapters.suite import AT, CannedRow, SourceAdapterSuite, SourceLine
from gateway.adapter_contract import SourceRecord

COLUMNS = ("document_number", "name", "amount", "note")
CAPS = {
    "test_reports_arrive": "a file has no way back; the error file is the core's, made from the file and its receipt (decisions/0043)",
    "test_a_slow_source_can_be_left": "a local file is never slow",
}


class Uploaded(SourceLine):
    """A folder with one upload."""

    name = "canned.csv"
    config: ClassVar[Mapping[str, object]] = {"path": "a.csv", "dataset": "canned", "headers": {"名称": "name"}, "as_of": AT}
    needs: ClassVar[tuple[str, ...]] = ("path", "dataset", "headers", "as_of")
    gone_is_transient = False
    versions = False

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.path = self.folder / self.name
        self.rows: list[CannedRow] = []
        self.put(())

    def connect(self) -> ExcelCsv:
        """An adapter on the file as it lies there."""
        headers = {name: name for name in COLUMNS}
        return ExcelCsv(ExcelCsv.Config(path=str(self.path), dataset="canned", headers=headers, as_of=AT, page_rows=3))

    def put(self, rows: Sequence[CannedRow]) -> None:
        """A file of these rows."""
        self.rows = list(rows)
        self.write()

    def grow(self, rows: Sequence[CannedRow]) -> None:
        """Somebody saves the file once more."""
        self.rows += rows
        self.write()

    def key(self, record: SourceRecord) -> str:
        """By the number of the decision."""
        number = str(record.fields["document_number"])
        return next(row.record_id for row in self.rows if row.fields["document_number"] == number)

    def cut(self) -> None:
        """The file is gone."""
        self.path.unlink()

    def end(self) -> None:
        """Nothing is left."""
        shutil.rmtree(self.folder)

    def cells(self, row: CannedRow) -> list[str | None]:
        """As a person types them."""
        values = [row.fields[name] for name in COLUMNS]
        return ["撤销" if row.op == "withdraw" else "新增", *(None if value is None else str(value) for value in values)]

    def write(self) -> None:
        """As CSV; a damaged row is cut off."""
        with self.path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["操作", *COLUMNS])
            for row in self.rows:
                writer.writerow(self.cells(row) if row.readable else self.cells(row)[:2])


class Workbook(Uploaded):
    """The same as a workbook."""

    name = "canned.xlsx"

    def write(self) -> None:
        """Text cells; a damaged row shows an error."""
        book = xlsxwriter.Workbook(str(self.path), {"strings_to_numbers": False, "strings_to_formulas": False, "strings_to_urls": False})
        sheet = book.add_worksheet()
        sheet.write_row(0, 0, ["操作", *COLUMNS])
        for number, row in enumerate(self.rows, 1):
            for at, cell in enumerate(self.cells(row)):
                if cell is not None and cell != "":
                    sheet.write_string(number, at, cell)
            if not row.readable:
                sheet.write_number(number, 3, 12345678901234567890)
        book.close()


class TestCsv(SourceAdapterSuite):
    """A CSV file."""

    skips: ClassVar[Mapping[str, str]] = CAPS | {"test_null_is_not_empty": "a CSV cell has no null"}

    def line(self) -> SourceLine:
        """An empty file."""
        return Uploaded()


class TestWorkbook(SourceAdapterSuite):
    """A workbook."""

    skips: ClassVar[Mapping[str, str]] = CAPS | {"test_null_is_not_empty": "a spreadsheet knows no cell that is empty and there"}

    def line(self) -> SourceLine:
        """An empty workbook."""
        return Workbook()

"""The `excel_csv` source adapter: what it gives, what it refuses, and that neither costs memory."""

import asyncio
import csv
import io
import os
import resource
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import msgspec
import openpyxl
import pytest
import xlsxwriter
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.excel_csv import KEPT_BYTES, ExcelCsv
from gateway.adapter_contract import AdapterError, Page, RowResult, SourceRecord

HEADERS = {
    "行政相对人名称": "CF_XDR_MC", "CF_XDR_MC": "CF_XDR_MC",
    "统一社会信用代码": "CF_XDR_SHXYM", "CF_XDR_SHXYM": "CF_XDR_SHXYM",
    "处罚决定日期": "CF_JDRQ", "罚款金额（万元）": "CF_NR_FK", "备注": "BZ", "决定书文号": "CF_WSH",
}
AS_OF = datetime(2026, 6, 1, tzinfo=UTC)
NAME, CODE, DAY, FINE, NOTE, NUMBER = "行政相对人名称", "统一社会信用代码", "处罚决定日期", "罚款金额（万元）", "备注", "决定书文号"


def adapter(path: Path, **changes: object) -> ExcelCsv:
    """The adapter for one file."""
    config: dict[str, object] = {
        "path": str(path), "dataset": "administrative-penalties", "headers": HEADERS, "as_of": AS_OF, "dates": ["CF_JDRQ"],
        "codes": ["CF_XDR_SHXYM"], "numbers": ["CF_NR_FK"],
    }
    return ExcelCsv(msgspec.convert(config | changes, ExcelCsv.Config))


async def pages(guest: ExcelCsv, since: str | None = None) -> list[Page]:
    """All pages after a cursor; the file is closed again."""
    try:
        return [page async for page in guest.pull(since)]
    finally:
        await guest.close()


async def read(path: Path, **changes: object) -> tuple[list[SourceRecord], list[RowResult]]:
    """All records and unreadable rows of a file."""
    found = await pages(adapter(path, **changes))
    return [record for page in found for record in page.records], [row for page in found for row in page.unreadable]


async def refusal(path: Path, **changes: object) -> AdapterError:
    """The error with which a file is refused, before any page."""
    guest = adapter(path, **changes)
    with pytest.raises(AdapterError) as caught:
        await anext(guest.pull(None))
    await guest.close()
    assert not caught.value.transient
    return caught.value


def csv_file(folder: Path, rows: Sequence[Sequence[str]], *, encoding: str = "utf-8", name: str = "penalties.csv") -> Path:
    """A CSV file as a spreadsheet writes it."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    path = folder / name
    path.write_bytes(text.getvalue().encode(encoding))
    return path


def xlsx_file(folder: Path, rows: Sequence[Sequence[object]], *, name: str = "penalties.xlsx", **options: object) -> Path:
    """A workbook with one sheet; a day becomes a date cell."""
    path = folder / name
    book = xlsxwriter.Workbook(str(path), {"strings_to_formulas": False, **options})
    day = book.add_format({"num_format": "yyyy-mm-dd"})
    sheet = book.add_worksheet()
    for row, cells in enumerate(rows):
        for column, cell in enumerate(cells):
            if isinstance(cell, date):
                sheet.write_datetime(row, column, cell, day)
            elif cell is not None:
                sheet.write(row, column, cell)
    book.close()
    return path


def repacked(path: Path, **parts: bytes) -> Path:
    """The same workbook with parts replaced or added; `__` in a name stands for `/`, `_dot_` for a point."""
    with zipfile.ZipFile(path) as old:
        contents = {name: old.read(name) for name in old.namelist()}
    contents |= {name.replace("__", "/").replace("_dot_", "."): data for name, data in parts.items()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name, data in contents.items():
            new.writestr(name, data)
    return path


def sheet_xml(rows: str, after: str = "") -> bytes:
    """A worksheet part with these rows."""
    return (f'<?xml version="1.0" encoding="UTF-8"?><worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">'
            f"<sheetData>{rows}</sheetData>{after}</worksheet>").encode()


def sheet_file(folder: Path, rows: str, after: str = "") -> Path:
    """A workbook whose sheet is written by hand."""
    return repacked(xlsx_file(folder, [[NAME]]), xl__worksheets__sheet1_dot_xml=sheet_xml(rows, after))


HEADER_ROW = f'<row r="1"><c r="A1" t="inlineStr"><is><t>{NAME}</t></is></c><c r="B1" t="inlineStr"><is><t>{DAY}</t></is></c></row>'


# --- what it gives --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("encoding", "declared"), [("utf-8", "utf-8"), ("utf-8-sig", "utf-8"), ("gb18030", "gb18030")])
async def test_csv_rows_come_as_read(tmp_path, encoding, declared):
    """Values of a CSV file arrive unchanged in each declared encoding, under wire names, with file and row as place."""
    rows = [[NAME, CODE, FINE], ["示例甲有限公司 ", "007", "1.200000"], ["示例\n乙，公司", "", "N/A"]]
    path = csv_file(tmp_path, rows, encoding=encoding)
    records, unreadable = await read(path, encoding=declared)
    assert unreadable == []
    assert [record.fields for record in records] == [
        {"CF_XDR_MC": "示例甲有限公司 ", "CF_XDR_SHXYM": "007", "CF_NR_FK": "1.200000"},
        {"CF_XDR_MC": "示例\n乙，公司", "CF_XDR_SHXYM": "", "CF_NR_FK": "N/A"},
    ]
    assert [record.place for record in records] == ["penalties.csv!R2", "penalties.csv!R3"]
    assert {record.dataset for record in records} == {"administrative-penalties"}
    assert {record.as_of for record in records} == {AS_OF}


async def test_headers_match_labels_and_wire_names(tmp_path):
    """A label, a wire name, full-width brackets and blanks in a header all find their field."""
    path = csv_file(tmp_path, [[" 行政相对人名称", "cf_xdr_shxym", "罚款金额(万元)", "处罚决定\n日期"], ["甲", "乙", "1", "2026-01-31"]])
    records, _ = await read(path)
    assert records[0].fields == {"CF_XDR_MC": "甲", "CF_XDR_SHXYM": "乙", "CF_NR_FK": "1", "CF_JDRQ": "2026-01-31"}


async def test_workbook_cells_come_as_typed(tmp_path):
    """Date cells become ISO days, amounts the digits typed (not the 17 stored), text stays as it is, an absent cell is null."""
    path = xlsx_file(tmp_path, [
        [NAME, CODE, DAY, FINE, NOTE, NUMBER],
        ["示例甲", "007", date(2026, 1, 31), 1.1, None, 20260001],
        ["=1+1", None, "2026/01/31", 200000000000, "尾空 ", "通市监罚〔2026〕3号"],
        ["示例乙", "9", 20260131, 0.000001, "x", None],
    ])
    records, unreadable = await read(path)
    assert unreadable == []
    assert [list(record.fields.values()) for record in records] == [
        ["示例甲", "007", "2026-01-31", "1.1", None, "20260001"],
        ["=1+1", None, "2026/01/31", "200000000000", "尾空 ", "通市监罚〔2026〕3号"],
        ["示例乙", "9", "20260131", "0.000001", "x", None],
    ]
    assert records[0].place == "penalties.xlsx!Sheet1!R2"


async def test_both_date_systems(tmp_path):
    """The same day typed under the 1900 and the 1904 system reads the same, also with a time, also before March 1900."""
    days = [date(2026, 1, 31), date(1904, 1, 2), datetime(2026, 1, 31, 8, 30)]  # noqa: DTZ001 - a cell has no zone
    for option in (False, True):
        path = xlsx_file(tmp_path, [[NAME, DAY], *[["甲", day] for day in days]], date_1904=option)
        records, _ = await read(path)
        assert [record.fields["CF_JDRQ"] for record in records] == ["2026-01-31", "1904-01-02", "2026-01-31T08:30:00"]
    path = xlsx_file(tmp_path, [[NAME, DAY], ["甲", date(1900, 1, 1)], ["乙", date(1900, 2, 28)], ["丙", date(1900, 3, 1)]])
    records, _ = await read(path)
    assert [record.fields["CF_JDRQ"] for record in records] == ["1900-01-01", "1900-02-28", "1900-03-01"]


@pytest.mark.parametrize("number_format", [14, 31, 57, 58])
async def test_builtin_date_formats_of_a_chinese_excel(tmp_path, number_format):
    """Number formats that a Chinese Excel writes without a text of their own (31 = 2026年1月31日) are dates."""
    path = tmp_path / "penalties.xlsx"
    book = xlsxwriter.Workbook(str(path))
    shown = book.add_format()
    shown.set_num_format(number_format)
    sheet = book.add_worksheet()
    sheet.write_row(0, 0, [NAME, DAY])
    sheet.write(1, 0, "甲")
    sheet.write_datetime(1, 1, date(2026, 1, 31), shown)
    book.close()
    records, _ = await read(path)
    assert records[0].fields["CF_JDRQ"] == "2026-01-31"


async def test_a_bare_serial_is_not_guessed_to_be_a_day(tmp_path):
    """A number that is neither a date cell nor YYYYMMDD spoils its row with a hint; so does 29 February 1900."""
    path = xlsx_file(tmp_path, [[NAME, DAY], ["甲", 46053], ["乙", 20261301]])
    records, unreadable = await read(path)
    assert records == []
    assert [(row.code, row.field) for row in unreadable] == [("SCHEMA_TYPE", "CF_JDRQ")] * 2
    space = b"http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    style = b'<styleSheet xmlns="%s"><cellXfs><xf numFmtId="14"/></cellXfs></styleSheet>' % space
    path = sheet_file(tmp_path, HEADER_ROW + '<row r="2"><c r="A2" t="str"><v>甲</v></c><c r="B2" s="0"><v>60</v></c></row>')
    _, unreadable = await read(repacked(path, xl__styles_dot_xml=style))
    assert [(row.code, row.field, row.place) for row in unreadable] == [("SCHEMA_TYPE", "CF_JDRQ", "penalties.xlsx!Sheet1!R2")]


async def test_code_kept_as_number_is_a_fault_of_its_row(tmp_path):
    """A code that the spreadsheet turned into a number is SCHEMA_TYPE with a hint, in both formats; its neighbours pass."""
    table = csv_file(tmp_path, [[NAME, CODE], ["甲", "9.12205E+17"], ["乙", "9E20500XXT0000000E"[:18]], ["丙", "91220500XXT000011D"]])
    book = xlsx_file(tmp_path, [[NAME, CODE], ["甲", 912205000000000001], ["乙", "912205000000000001"], ["丙", "91220500XXT000011D"]])
    for path in (table, book):
        records, unreadable = await read(path)
        assert [record.fields["CF_XDR_MC"] for record in records] == ["乙", "丙"]
        assert [(row.code, row.field, row.result) for row in unreadable] == [("SCHEMA_TYPE", "CF_XDR_SHXYM", "rejected")]
        assert unreadable[0].place.endswith("!R2")
        assert unreadable[0].message is not None
        assert "文本" in unreadable[0].message


async def test_long_number_in_a_text_column_is_a_fault(tmp_path):
    """A document number of more than 15 digits kept as a number has lost digits, whatever the column."""
    records, unreadable = await read(xlsx_file(tmp_path, [[NAME, NUMBER], ["甲", 2026000000000000123], ["乙", 202600000000001]]))
    assert [record.fields["CF_WSH"] for record in records] == ["202600000000001"]
    assert [(row.code, row.field) for row in unreadable] == [("SCHEMA_TYPE", "CF_WSH")]


async def test_error_and_truth_cells(tmp_path):
    """A cell showing #N/A spoils its row; TRUE is handed on as it is, for intake to judge."""
    rows = HEADER_ROW + '<row r="2"><c r="A2" t="e"><v>#N/A</v></c></row><row r="3"><c r="A3" t="b"><v>1</v></c></row>'
    records, unreadable = await read(sheet_file(tmp_path, rows))
    assert [record.fields["CF_XDR_MC"] for record in records] == [True]
    assert [(row.code, row.field, row.place) for row in unreadable] == [("SCHEMA_TYPE", "CF_XDR_MC", "penalties.xlsx!Sheet1!R2")]


async def test_operation_column(tmp_path):
    """操作 says 新增, 更新 or 撤销; a withdrawal carries its reason; another word spoils its row."""
    path = csv_file(tmp_path, [["操作", NAME], ["新增", "甲"], ["更新", "乙"], ["撤销", "丙"], ["", "丁"], ["删除", "戊"]])
    records, unreadable = await read(path)
    assert [(record.op, record.reason, record.fields) for record in records] == [
        ("upsert", None, {"CF_XDR_MC": "甲"}), ("upsert", None, {"CF_XDR_MC": "乙"}),
        ("withdraw", "revoked", {"CF_XDR_MC": "丙"}), ("upsert", None, {"CF_XDR_MC": "丁"}),
    ]
    assert [(row.code, row.field, row.place) for row in unreadable] == [("SCHEMA_ENUM", "操作", "penalties.csv!R6")]


async def test_ragged_rows_spoil_only_themselves(tmp_path):
    """A CSV row that is too short, or holds something beyond the header, is reported with its place; blank trailing cells are not."""
    path = tmp_path / "penalties.csv"
    path.write_text(f"{NAME},{CODE},\n甲,1,\n乙\n丙,3,x\n丁,4,,,\n\n戊,5,\n", encoding="utf-8")
    records, unreadable = await read(path)
    assert [record.fields["CF_XDR_MC"] for record in records] == ["甲", "丁", "戊"]
    assert [(row.code, row.place) for row in unreadable] == [("SCHEMA_LINE", "penalties.csv!R3"), ("SCHEMA_LINE", "penalties.csv!R4")]
    assert records[-1].place == "penalties.csv!R7"


async def test_column_without_header_may_hold_nothing(tmp_path):
    """A cell under an empty header spoils its row: nobody knows what it says."""
    records, unreadable = await read(csv_file(tmp_path, [[NAME, "", CODE], ["甲", "", "1"], ["乙", "?", "2"]]))
    assert [record.fields for record in records] == [{"CF_XDR_MC": "甲", "CF_XDR_SHXYM": "1"}]
    assert [row.code for row in unreadable] == ["SCHEMA_LINE"]


async def test_header_alone_gives_one_empty_page(tmp_path):
    """A file without data rows is good and empty."""
    for path in (csv_file(tmp_path, [[NAME]]), xlsx_file(tmp_path, [[NAME]])):
        found = await pages(adapter(path))
        assert [(page.records, page.unreadable, page.more) for page in found] == [((), (), False)]


async def test_escapes_phonetics_and_prefixes_of_workbooks(tmp_path):
    """`_x000D_` is a character, phonetic readings are no text, and another namespace prefix or the strict one changes nothing."""
    rows = HEADER_ROW + (
        '<row r="2"><c r="A2" t="inlineStr"><is><r><t>示例</t></r><r><t>甲_x000D_乙</t></r>'
        '<rPh sb="0" eb="1"><t>shili</t></rPh></is></c></row>'
    )
    records, _ = await read(sheet_file(tmp_path, rows))
    assert records[0].fields["CF_XDR_MC"] == "示例甲\r乙"
    prefixed = ('<x:worksheet xmlns:x="http://purl.oclc.org/ooxml/spreadsheetml/main"><x:sheetData>'
                f'<x:row><x:c t="str"><x:v>{NAME}</x:v></x:c></x:row><x:row><x:c t="str"><x:v>甲</x:v></x:c></x:row>'
                "</x:sheetData></x:worksheet>").encode()
    records, _ = await read(repacked(xlsx_file(tmp_path, [[NAME]]), xl__worksheets__sheet1_dot_xml=prefixed))
    assert records[0].fields == {"CF_XDR_MC": "甲"}


async def test_hidden_sheets_are_the_templates_own(tmp_path):
    """A hidden sheet (word lists of a template) is passed over, an empty visible one too."""
    path = tmp_path / "penalties.xlsx"
    book = xlsxwriter.Workbook(str(path))
    book.add_worksheet("空表")
    book.add_worksheet("数据").write_column(0, 0, [NAME, "甲"])
    hidden = book.add_worksheet("字典")
    hidden.write_column(0, 0, ["警告", "罚款"])
    hidden.hide()
    book.close()
    records, _ = await read(path)
    assert [record.place for record in records] == ["penalties.xlsx!数据!R2"]


@given(st.lists(st.lists(
    st.one_of(
        st.text(st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="\ufffe\uffff"), min_size=1, max_size=20)
        .filter(lambda text: "_x" not in text and text.strip() == text),
        st.integers(-10**14, 10**14), st.none(),
    ), min_size=3, max_size=3), min_size=1, max_size=12))
@settings(max_examples=40, deadline=None)
def test_workbooks_read_as_openpyxl_reads_them(tmp_path_factory, cells):
    """Whatever openpyxl's own reader sees in a workbook, the stream sees too."""
    folder = tmp_path_factory.mktemp("book")
    path = xlsx_file(folder, [[NAME, CODE, NUMBER], *cells], strings_to_urls=False, strings_to_numbers=False)
    sheet = openpyxl.load_workbook(path).active
    expected = [list(row) for row in sheet.iter_rows(min_row=2, max_col=3, values_only=True)]
    expected = [[str(cell) if isinstance(cell, int) else cell for cell in row] for row in expected if any(cell is not None for cell in row)]
    records, unreadable = asyncio.run(read(path, codes=[]))
    assert unreadable == []
    assert [list(record.fields.values()) for record in records] == expected


# --- cursors --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["csv", "xlsx"])
async def test_resume_at_every_cursor(tmp_path, ending):
    """After every cursor come exactly the rows behind it; the same cursor gives the same page again."""
    rows = [[NAME, CODE], *[[f"甲{number}", "" if number % 3 else f"{number}"] for number in range(23)]]
    rows[7] = ["", ""]
    path = csv_file(tmp_path, rows) if ending == "csv" else xlsx_file(tmp_path, [[cell or None for cell in row] for row in rows])
    whole = await pages(adapter(path, page_rows=4))
    assert [page.more for page in whole] == [True] * (len(whole) - 1) + [False]
    places = [record.place for page in whole for record in page.records]
    assert len(places) == len(set(places)) == 22
    for number, page in enumerate(whole):
        again = await pages(adapter(path, page_rows=4), page.cursor)
        assert again == (whole[number + 1:] or [msgspec.structs.replace(page, records=(), unreadable=())])
        single = await pages(adapter(path, page_rows=1), page.cursor)
        assert [record.place for later in single for record in later.records] == [
            record.place for later in whole[number + 1:] for record in later.records]


async def test_a_long_file_reads_like_a_short_one(tmp_path):
    """Rows that are read once more, because there are too many to be kept, come as those that are kept: ragged, blank and resumed."""
    firm = ["示例公司", "91220502XXT00002X2", "2026-05-06"]
    rows = [[*firm, "注" * 200], ["", "", "", ""], firm]
    header = [NAME, CODE, DAY, NOTE]
    short = csv_file(tmp_path, [header, *rows * 4], name="short.csv")
    long = csv_file(tmp_path, [header, *rows * (KEPT_BYTES // 600)], name="long.csv")
    assert short.stat().st_size <= KEPT_BYTES < long.stat().st_size
    (few,), many = await pages(adapter(short)), await pages(adapter(long))
    for told, of_many in ((few.records, many[0].records), (few.unreadable, many[0].unreadable)):
        assert [each.place[-3:] for each in told] == [each.place[-3:] for each in of_many[: len(told)]]
    assert [each.fields for each in few.records] == [each.fields for each in many[0].records[: len(few.records)]]
    middle = len(many) // 2
    assert await pages(adapter(long), many[middle].cursor) == many[middle + 1 :]


async def test_unknown_and_future_cursors_are_refused(tmp_path):
    """A cursor of another file, beyond the end, or malformed is CURSOR_UNKNOWN."""
    path = csv_file(tmp_path, [[NAME], ["甲"], ["乙"]])
    digest = (await pages(adapter(path)))[-1].cursor.partition(":")[0]
    for cursor in (f"{digest}:9", f"{digest}:0", f"{digest}:x", f"{digest}:２", f"{digest}", f"{'0' * 64}:2", ""):
        with pytest.raises(AdapterError) as caught:
            await pages(adapter(path), cursor)
        assert (caught.value.code, caught.value.transient) == ("CURSOR_UNKNOWN", False)


async def test_file_changed_while_it_is_read(tmp_path):
    """A file that changes after the survey is not read on: what would be stored was never checked."""
    path = csv_file(tmp_path, [[NAME], *[["甲"]] * 9])
    guest = adapter(path, page_rows=2)
    walk = guest.pull(None)
    await anext(walk)
    path.write_bytes(path.read_bytes() + "乙\r\n".encode())
    with pytest.raises(AdapterError) as caught:
        await anext(walk)
    assert (caught.value.code, caught.value.transient) == ("FILE_CHANGED", True)
    await guest.close()


async def test_two_walks_of_one_adapter_do_not_disturb_each_other(tmp_path):
    """Pages of two interleaved walks are the same pages."""
    rows = [[NAME], *[[f"甲{number}"] for number in range(50)]]
    for path in (csv_file(tmp_path, rows), xlsx_file(tmp_path, rows)):
        guest = adapter(path, page_rows=3)
        one, two = guest.pull(None), guest.pull(None)
        for _ in range(5):
            assert await anext(one) == await anext(two)
        await one.aclose()
        await two.aclose()
        await guest.close()


async def test_counts_check_and_close(tmp_path):
    """Counts are those of the day of upload in China; `check` says in Chinese what is wrong and never raises; close twice is harmless."""
    guest = adapter(csv_file(tmp_path, [[NAME], ["甲"], [""], ["乙"]]), as_of=datetime(2026, 5, 31, 16, tzinfo=UTC))
    assert [(count.dataset, count.rows) for count in await guest.counts(date(2026, 6, 1))] == [("administrative-penalties", 2)]
    assert await guest.counts(date(2026, 5, 31)) == ()
    assert [diagnostic.ok for diagnostic in await guest.check()] == [True]
    await guest.close()
    await guest.close()
    bad = await adapter(tmp_path / "absent.csv").check()
    assert [(finding.ok, "FILE_MISSING" in finding.message) for finding in bad] == [(False, True)]


def test_settings_are_strict():
    """An unknown key and an undeclared encoding are refused when the adapter is built."""
    with pytest.raises(msgspec.ValidationError):
        adapter(Path("x.csv"), sheets="all")
    with pytest.raises(msgspec.ValidationError):
        adapter(Path("x.csv"), encoding="gbk")


# --- what refuses the whole file ------------------------------------------------------------------------------------------


async def test_gbk_declared_as_utf8_is_refused_whole(tmp_path):
    """A GBK file declared UTF-8 is refused at the first byte that is none, with row, column and the declaration to make."""
    path = csv_file(tmp_path, [["CF_XDR_MC", "CF_XDR_SHXYM"], *[["A", "1"]] * 70_000, ["B", "示例"]], encoding="gb18030")
    error = await refusal(path)
    assert (error.code, error.place) == ("FILE_ENCODING", "penalties.csv!R70002C2")
    assert "gb18030" in error.message


@pytest.mark.parametrize(("data", "declared"), [
    ("\ufeff行政相对人名称\n甲\n".encode(), "gb18030"), ("行政相对人名称\n甲\n".encode("utf-16"), "utf-8"),
    ("行政相对人名称\n甲\n".encode("utf-16"), "gb18030"), ("行政相对人名称\n甲".encode()[:-1], "utf-8"),
    ("行政相对人名称\n甲".encode("gb18030")[:-1], "gb18030"), (b"CF_XDR_MC\nA\xff\n", "gb18030"), (b"CF_XDR_MC\n\xed\xa0\x80\n", "utf-8"),
])
async def test_wrong_encodings(tmp_path, data, declared):
    """Marks of another encoding, a character cut at the end, bytes outside the encoding and lone surrogates refuse the file."""
    path = tmp_path / "penalties.csv"
    path.write_bytes(data)
    assert (await refusal(path, encoding=declared)).code == "FILE_ENCODING"


async def test_nul_is_named_by_row_and_column(tmp_path):
    """A NUL refuses the file and is named by row and column, in a CSV file and in a cell of a workbook."""
    path = tmp_path / "penalties.csv"
    path.write_bytes(f'{NAME},{CODE}\n"甲\n丙",1\n乙,2\0\n'.encode())
    error = await refusal(path)
    assert (error.code, error.place) == ("FILE_NUL", "penalties.csv!R3C2")
    book = sheet_file(tmp_path, HEADER_ROW + '<row r="2"><c r="B2" t="inlineStr"><is><t>2026_x0000_</t></is></c></row>')
    error = await refusal(book)
    assert (error.code, error.place) == ("FILE_NUL", "penalties.xlsx!Sheet1!R2C2")


@pytest.mark.parametrize(("header", "place"), [
    ([NAME, "信用分"], "R1C2"), ([NAME, CODE, "CF_XDR_MC"], "R1C3"), ([NAME, "操作", "操作"], "R1C3"),
    (["操作"], "R1"), (["甲", "乙"], "R1C1"),
])
async def test_unknown_and_doubled_columns_refuse_the_file(tmp_path, header, place):
    """A column that the dataset does not know, or that stands there twice, refuses the file; the text of the header is not repeated."""
    for path in (csv_file(tmp_path, [header, ["x"] * len(header)]), xlsx_file(tmp_path, [header, ["x"] * len(header)])):
        error = await refusal(path)
        assert error.code == "FILE_HEADER"
        assert error.place is not None
        assert error.place.endswith(f"!{place}")
        assert "信用分" not in str(error) + (error.place or "")


async def test_empty_files_have_no_header(tmp_path):
    """Nothing at all, blank lines or an empty workbook are refused for want of a header."""
    path = tmp_path / "penalties.csv"
    for data in (b"", b"\n\n", b",,\n", b"\xef\xbb\xbf"):
        path.write_bytes(data)
        assert (await refusal(path)).code == "FILE_HEADER"
    assert (await refusal(xlsx_file(tmp_path, []))).code == "FILE_HEADER"


async def test_formula_and_merged_cells_are_named(tmp_path):
    """A formula cell and a merged data cell refuse the file and are named; a merged range below the data is nothing."""
    path = tmp_path / "penalties.xlsx"
    book = xlsxwriter.Workbook(str(path))
    sheet = book.add_worksheet()
    sheet.write_row(0, 0, [NAME, FINE])
    sheet.write_row(1, 0, ["甲", "1"])
    sheet.write_formula(2, 1, "=1+1")
    book.close()
    error = await refusal(path)
    assert (error.code, error.place) == ("FILE_FORMULA", "penalties.xlsx!Sheet1!R3C2")
    rows = HEADER_ROW + '<row r="2"><c r="A2" t="str"><v>甲</v></c></row>'
    error = await refusal(sheet_file(tmp_path, rows, '<mergeCells><mergeCell ref="A2:B2"/></mergeCells>'))
    assert (error.code, error.place) == ("FILE_MERGED", "penalties.xlsx!Sheet1!R2C1")
    records, _ = await read(sheet_file(tmp_path, rows, '<mergeCells><mergeCell ref="A9:B9"/></mergeCells>'))
    assert len(records) == 1


async def test_two_sheets_with_data(tmp_path):
    """Data on a second visible sheet would be lost in silence: the file is refused."""
    path = tmp_path / "penalties.xlsx"
    book = xlsxwriter.Workbook(str(path))
    for name in ("一", "二"):
        book.add_worksheet(name).write_column(0, 0, [NAME, "甲"])
    book.close()
    error = await refusal(path)
    assert (error.code, error.place) == ("FILE_SHEET", "penalties.xlsx!二!R1")


@pytest.mark.parametrize(("name", "data", "code"), [
    ("a.xls", b"x", "FILE_FORMAT"), ("a.xlsm", b"x", "FILE_MACRO"), ("a.txt", b"x", "FILE_FORMAT"), ("a", b"x", "FILE_FORMAT"),
    ("a.xlsx", b"x", "FILE_FORMAT"), ("a.xlsx", b"", "FILE_FORMAT"), ("a.xlsx", b"PK\5\6" + bytes(18), "FILE_FORMAT"),
    ("a.xlsx", bytes.fromhex("D0CF11E0A1B11AE1") + bytes(600), "FILE_FORMAT"),
    ("a.xlsx", bytes.fromhex("D0CF11E0A1B11AE1") + bytes(600) + "EncryptedPackage".encode("utf-16-le"), "FILE_PASSWORD"),
    ("a.csv", '行政相对人名称\n"甲"乙\n'.encode(), "FILE_FORMAT"), ("a.csv", '行政相对人名称\n"甲\n'.encode(), "FILE_FORMAT"),
])
async def test_other_formats(tmp_path, name, data, code):
    """Old, encrypted and macro workbooks, other endings, broken archives and unbalanced quotes are refused, each with its code."""
    path = tmp_path / name
    path.write_bytes(data)
    assert (await refusal(path)).code == code


async def test_not_a_regular_file(tmp_path):
    """A folder, a named pipe that nobody writes, and no file at all are refused at once."""
    (tmp_path / "a.csv").mkdir()
    os.mkfifo(tmp_path / "b.csv")
    for name in ("a.csv", "b.csv", "c.csv"):
        assert (await asyncio.wait_for(refusal(tmp_path / name), 5)).code == "FILE_MISSING"


async def test_macro_inside_an_xlsx(tmp_path):
    """A workbook with a macro part is refused whatever its ending says."""
    assert (await refusal(repacked(xlsx_file(tmp_path, [[NAME]]), xl__vbaProject_dot_bin=b"x"))).code == "FILE_MACRO"


@pytest.mark.parametrize("rows", [
    '<row r="2"><c r="A2" t="s"><v>99</v></c></row>', '<row r="2"><c r="A2" t="s"><v>x</v></c></row>',
    '<row r="1"><c r="A1"><v>1</v></c></row>', '<row r="2"><c r="B2"><v>1</v></c><c r="A2"><v>1</v></c></row>',
    '<row r="0"/>', '<row r="99999999"/>', '<row r="2"><c r="ZZZZ2"><v>1</v></c></row>',
    '<row r="2"><c r="A2" t="?"><v>1</v></c></row>', "<row><c></row>", "<row>", f"{'<a>' * 80}{'</a>' * 80}", "&amp;&nix;",
])
async def test_malformed_sheets(tmp_path, rows):
    """A sheet that breaks its own format is refused as a file, never half read, and nothing but AdapterError comes out."""
    assert (await refusal(sheet_file(tmp_path, HEADER_ROW + rows))).code == "FILE_FORMAT"


async def test_document_types_and_entity_bombs(tmp_path):
    """A document type, with or without a bomb of entities, is refused in the sheet, in the texts and in the workbook part."""
    bomb = b'<?xml version="1.0"?><!DOCTYPE b [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]><b>&b;</b>'
    book = ("xl__workbook_dot_xml", "xl__styles_dot_xml", "_rels___dot_rels")
    for part in ("xl__worksheets__sheet1_dot_xml", "xl__sharedStrings_dot_xml", *book):
        assert (await refusal(repacked(xlsx_file(tmp_path, [[NAME], ["甲"]]), **{part: bomb}))).code == "FILE_FORMAT"


async def test_damaged_archives(tmp_path):
    """A workbook cut anywhere, or with a flipped byte, is refused by AdapterError or read whole: never another exception."""
    good = xlsx_file(tmp_path, [[NAME, DAY], *[["甲", date(2026, 1, 31)]] * 40]).read_bytes()
    path = tmp_path / "damaged.xlsx"
    for cut in range(0, len(good), 97):
        path.write_bytes(good[:cut])
        await refusal(path)
    codes = set()
    for at in range(0, len(good), 53):
        path.write_bytes(good[:at] + bytes([good[at] ^ 0x41]) + good[at + 1:])
        try:
            await read(path)
        except AdapterError as error:
            codes.add(error.code.partition("_")[0])
    assert codes <= {"FILE", "SIZE"}


# --- bounds ---------------------------------------------------------------------------------------------------------------


async def test_columns_rows_and_cells_are_bounded(tmp_path):
    """More than 200 columns, a million rows or 131,072 characters in a cell refuse the file and say where."""
    wide = {f"列{number}": f"F{number}" for number in range(201)}
    error = await refusal(csv_file(tmp_path, [list(wide)]), headers=wide)
    assert (error.code, error.place) == ("FILE_COLUMNS", "penalties.csv!R1C201")
    error = await refusal(xlsx_file(tmp_path, [list(wide)]), headers=wide)
    assert (error.code, error.place) == ("FILE_COLUMNS", "penalties.xlsx!Sheet1!R1C201")
    error = await refusal(csv_file(tmp_path, [[NAME], ["甲"], ["x" * 131_073]]))
    assert (error.code, error.place) == ("SIZE_LINE", "penalties.csv!R3")
    row = f'<row r="2"><c r="A2" t="inlineStr"><is><t>{"x" * 131_073}</t></is></c></row>'
    error = await refusal(sheet_file(tmp_path, HEADER_ROW + row))
    assert (error.code, error.place) == ("SIZE_LINE", "penalties.xlsx!Sheet1!R2C1")
    path = tmp_path / "penalties.csv"
    path.write_text("CF_XDR_MC\n" + "x\n" * 1_000_001, encoding="ascii")
    error = await refusal(path)
    assert (error.code, error.place) == ("SIZE_LINES", "penalties.csv!R1000002")


async def test_the_bound_of_a_cell_is_ours(tmp_path):
    """A library that raises the limit of all CSV readers of the process raises none of ours."""
    usual = csv.field_size_limit(10_000_000)
    try:
        error = await refusal(csv_file(tmp_path, [[NAME], ["甲"], ["x" * 131_073]]))
        assert (error.code, error.place) == ("SIZE_LINE", "penalties.csv!R3")
        assert len((await read(csv_file(tmp_path, [[NAME], ["x" * 131_072]])))[0]) == 1
    finally:
        csv.field_size_limit(usual)


async def test_one_endless_record_of_many_cells(tmp_path):
    """A record of millions of cells, on one line or on many within quotes, is refused before it is held."""
    path = tmp_path / "penalties.csv"
    for data in (b"CF_XDR_MC\n" + b"," * 3_000_000, b"CF_XDR_MC\n" + b'"\n",' * 700_000):
        path.write_bytes(data)
        error = await refusal(path)
        assert (error.code, error.place) == ("SIZE_LINE", "penalties.csv!R2")


async def test_file_over_64_mib(tmp_path):
    """A file over 64 MiB is refused by its size alone."""
    for name in ("a.csv", "a.xlsx"):
        path = tmp_path / name
        with path.open("wb") as file:
            file.truncate(64 * 1024 * 1024 + 1)
        assert (await refusal(path)).code == "SIZE_BYTES"


async def test_zip_bombs(tmp_path):
    """Parts that unpack to more than 100 times the file are refused before they are unpacked; so is an archive of very many entries."""
    bomb = repacked(xlsx_file(tmp_path, [[NAME]]), xl__media__a_dot_bin=bytes(40_000_000))
    assert (await refusal(bomb)).code == "SIZE_RATIO"
    with zipfile.ZipFile(tmp_path / "many.xlsx", "w") as archive:
        for number in range(20_000):
            archive.writestr(f"{number:060}", b"")
    assert (await refusal(tmp_path / "many.xlsx")).code == "SIZE_RATIO"


async def test_a_lying_directory_does_not_unpack_more(tmp_path):
    """An entry that unpacks to more than its directory says is not believed."""
    path = repacked(xlsx_file(tmp_path, [[NAME], ["甲"]]), xl__worksheets__sheet1_dot_xml=sheet_xml(HEADER_ROW) + b" " * 900_000)
    data = bytearray(path.read_bytes())
    at = data.rfind(b"xl/worksheets/sheet1.xml") - 46
    assert data[at:at + 4] == b"PK\1\2"
    data[at + 24:at + 28] = (1000).to_bytes(4, "little")
    path.write_bytes(data)
    assert (await refusal(path)).code == "FILE_FORMAT"


BOUNDED = """
import asyncio, resource, sys
from datetime import UTC, datetime
from adapters.excel_csv import KEPT_BYTES, ExcelCsv
from gateway.adapter_contract import AdapterError
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
guest = ExcelCsv(ExcelCsv.Config(path=sys.argv[1], dataset="d", headers={"CF_XDR_MC": "CF_XDR_MC"}, as_of=datetime.now(UTC)))
async def walk():
    rows = 0
    try:
        async for page in guest.pull(None):
            rows += len(page.records)
    except AdapterError as error:
        return error.code
    return rows
print(asyncio.run(walk()), (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def measured(path: Path) -> tuple[str, int]:
    """(rows or code, MiB by which the process grew), in a process of its own under a limit of address space."""
    limit = 1024 * 1024 * 1024
    done = subprocess.run([sys.executable, "-c", BOUNDED, str(path)], capture_output=True, text=True, check=True, timeout=120,
                          preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)))
    outcome, grown = done.stdout.split()
    return outcome, int(grown)


def test_two_gibibytes_in_one_line(tmp_path):
    """A file that is one line of 2 GiB is refused at once, in bounded memory."""
    path = tmp_path / "a.csv"
    with path.open("wb") as file:
        file.write(b"CF_XDR_MC\n")
        file.truncate(2 * 1024 * 1024 * 1024)
    assert measured(path) == ("SIZE_BYTES", pytest.approx(0, abs=8))


def test_memory_does_not_grow_with_rows(tmp_path):
    """Sixty MiB of rows, one line of sixty MiB, and a workbook with one row of five million cells or texts: all within 40 MiB."""
    path = tmp_path / "a.csv"
    path.write_bytes(b"CF_XDR_MC\n" + (b"x" * 99 + b"\n") * 600_000)
    outcome, grown = measured(path)
    assert (outcome, grown < 40) == ("600000", True)
    path.write_bytes(b"CF_XDR_MC\n" + b"x" * 60_000_000)
    outcome, grown = measured(path)
    assert (outcome, grown < 40) == ("SIZE_LINE", True)


@pytest.mark.parametrize(("data", "code"), [
    (b'<row r="2">' + b"<c><v>1</v></c>" * 1_500_000, "FILE_COLUMNS"),
    (b'<row r="2"><c t="str"><v>' + b"xy" * 15_000_000, "SIZE_LINE"),
    (b'<row r="2" a="' + b"xy" * 15_000_000, "SIZE_LINE"),
    (b"<!--" + b"xy" * 15_000_000, "SIZE_LINE"),
    (b"<row/>" * 3_000_000, "FILE_FORMAT"),
    (b"<a>" * 3_000_000, "FILE_FORMAT"),
])
def test_hostile_sheets_in_bounded_memory(tmp_path, data, code):
    """Endless cells, texts, attributes, comments, rows or depth inside a workbook within its ratio are refused in bounded memory."""
    padding = os.urandom(1_000_000)  # keeps the whole under the ratio, so that the walk itself has to refuse
    head = sheet_xml('<row r="1"><c r="A1" t="str"><v>CF_XDR_MC</v></c></row>').removesuffix(b"</sheetData></worksheet>")
    path = repacked(xlsx_file(tmp_path, [[NAME]]), xl__worksheets__sheet1_dot_xml=head + data, xl__media__a_dot_bin=padding)
    outcome, grown = measured(path)
    assert (outcome, grown < 40) == (code, True)


def test_shared_texts_in_bounded_memory(tmp_path):
    """A workbook with a million distinct shared texts is read without holding them unpacked."""
    strings = b'<sst xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><si><t>CF_XDR_MC</t></si>' + b"".join(
        b"<si><t>%07d%s</t></si>" % (number, b"x" * 60) for number in range(400_000)) + b"</sst>"
    rows = "".join(f'<row><c t="s"><v>{number}</v></c></row>' for number in range(0, 400_001, 40))
    path = repacked(xlsx_file(tmp_path, [[NAME]]), xl__worksheets__sheet1_dot_xml=sheet_xml(rows), xl__sharedStrings_dot_xml=strings)
    outcome, grown = measured(path)
    assert (outcome, grown < 40) == ("10000", True)


async def test_nothing_of_a_value_in_errors(tmp_path, caplog):
    """No message, place or log line of any fault repeats what stood in a cell."""
    secret = "220599199001011234"
    files = [
        csv_file(tmp_path, [[NAME, CODE], [secret, "9.12205E+17"], [secret, "1", secret]], name="a.csv"),
        csv_file(tmp_path, [[NAME, secret]], name="b.csv"),
        xlsx_file(tmp_path, [[NAME, CODE], [secret, int(secret)]], name="c.xlsx"),
        csv_file(tmp_path, [[NAME, "操作"], ["甲", secret]], name="d.csv"),
    ]
    said = []
    for path in files:
        guest = adapter(path)
        said += [diagnostic.message for diagnostic in await guest.check()]
        try:
            for page in await pages(guest):
                said += [repr(row) for row in page.unreadable]
        except AdapterError as error:
            said.append(f"{error} {error.place} {error.message}")
    assert len(said) >= 6
    assert secret not in " ".join(said) + caplog.text


async def test_cancelling_ends_within_a_second(tmp_path):
    """A walk that is cancelled between pages ends at once."""
    path = csv_file(tmp_path, [[NAME], *[["甲"]] * 20_000])

    guest = adapter(path, page_rows=1)

    async def walk() -> None:
        async for _ in guest.pull(None):
            await asyncio.sleep(0)

    task = asyncio.create_task(walk())
    await asyncio.sleep(0.2)
    task.cancel()
    started = asyncio.get_running_loop().time()
    with pytest.raises(asyncio.CancelledError):
        await task
    await guest.close()
    assert timedelta(seconds=asyncio.get_running_loop().time() - started) < timedelta(seconds=1)

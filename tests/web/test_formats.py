"""One filtered list in six formats: the same rows, order and types, read back with the libraries that people use."""

import asyncio
import io
import json
import os
import sqlite3
import threading
import urllib.parse
from datetime import UTC, date, datetime
from decimal import Decimal
from secrets import token_hex
from typing import Any
from zipfile import BadZipFile

import httpx
import msgspec
import openpyxl
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import ArrowInvalid

from gateway.core.errors import StoreError, TextTooLongForFormat, TooManyRowsForFormat
from gateway.core.publication.columns import Column, cell_of, typed
from gateway.operations import rows_in_files, table_files, walking, workbook
from gateway.operations.table_files import (
    About,
    MsgpackFile,
    PackedStream,
    ParquetFile,
    TableFile,
    XlsxFile,
    file_of,
    new_folder,
    packed_head,
    stream_of,
)
from gateway.store import walks
from gateway.web.negotiation import XLSX
from tests.web.city import City, Server, served

SUFFIXES = (".json", ".ndjson", ".csv", ".xlsx", ".parquet", ".msgpack")
LISTS = (
    "/v1/subjects{}?region=220500&limit=all",
    "/v1/subjects{}?limit=7",
    "/v1/records{}?dataset=administrative-penalties&decision_date__gte=2025-01-01&limit=all",
    "/v1/records{}?limit=all&region=220500",
    "/v1/records{}?dataset=administrative-penalties&limit=9&sort=-decision_date",
    "/v1/records{}?dataset=administrative-penalties&limit=5&fields=decision_date,fields.fine_amount",
    "/v1/lists/tax-violations/listings{}?limit=all",
)


def parquet(body: bytes) -> Any:
    """A Parquet file as a table."""
    return pq.read_table(io.BytesIO(body))


def sheet(body: bytes) -> list[list[Any]]:
    """The cells of the one sheet of a workbook."""
    book = openpyxl.load_workbook(io.BytesIO(body), read_only=True)
    return [[cell.value for cell in row] for row in book.worksheets[0].iter_rows()]


def as_excel(cell: Any) -> Any:
    """A typed value as a spreadsheet holds it."""
    if isinstance(cell, datetime):
        return cell.replace(tzinfo=None)
    if isinstance(cell, date):
        return datetime(cell.year, cell.month, cell.day) if cell >= date(1900, 3, 1) else cell.isoformat()  # noqa: DTZ001 - as Excel
    if isinstance(cell, Decimal):
        return pytest.approx(float(cell)) if len(cell.normalize().as_tuple().digits) <= 15 else str(cell)
    return cell


@pytest.mark.parametrize("path", LISTS)
def test_a_list_is_the_same_in_every_format(sqlite_server: Server, path: str) -> None:
    """Rows, order, columns and types are equal in JSON, NDJSON, CSV, XLSX, Parquet and MessagePack; null is no empty text."""
    answers = {suffix: sqlite_server.get(path.format(suffix)) for suffix in SUFFIXES}
    assert {answer.status_code for answer in answers.values()} == {200}
    states = {(answer.headers["dataset-version"], 'rel="next"' in answer.headers.get("link", "")) for answer in answers.values()}
    assert len(states) == 1
    nested = answers[".json"].json()["items"]
    assert nested, "a list without rows shows nothing"
    assert [json.loads(line) for line in answers[".ndjson"].text.splitlines()] == nested
    assert msgspec.msgpack.decode(answers[".msgpack"].content)["items"] == nested
    flat = sqlite_server.get(path.format(".json") + "&shape=flat").json()["items"]
    assert msgspec.msgpack.decode(sqlite_server.get(path.format(".msgpack") + "&shape=flat").content)["items"] == flat
    assert [row["id"] for row in flat] == [row["id"] for row in nested]

    frame = pd.read_csv(io.BytesIO(answers[".csv"].content), dtype=str, keep_default_na=False, na_values=[""])
    names = list(frame.columns)
    assert names == list(flat[0])
    texts = [{name: None if pd.isna(value) else value for name, value in row.items()} for row in frame.to_dict("records")]
    assert texts == [{name: None if value is None else written(value) for name, value in row.items()} for row in flat]

    table = parquet(answers[".parquet"].content)
    assert table.column_names == names
    columns = [column_of(field) for field in table.schema]
    typed_rows = [[cell_of(column, row[column.name]) for column in columns] for row in flat]
    assert [list(row.values()) for row in table.to_pylist()] == typed_rows
    head, *cells = sheet(answers[".xlsx"].content)
    assert head == names
    assert cells == [[as_excel(cell) for cell in row] for row in typed_rows]


@pytest.mark.parametrize(
    ("path", "some"), [("/v1/subjects{}?limit=all&q=通化", True), ("/v1/records{}?limit=all&document_number=none", False)]
)
def test_an_export_that_ends_with_its_first_step(sqlite_server: Server, path: str, some: bool) -> None:
    """What a search finds, and nothing at all, are files like any other: their number of rows is known when the first are."""
    rows = sqlite_server.get(path.format(".json")).json()["items"]
    assert bool(rows) is some
    assert msgspec.msgpack.decode(sqlite_server.get(path.format(".msgpack")).content)["items"] == rows
    assert parquet(sqlite_server.get(path.format(".parquet")).content).num_rows == len(rows)
    assert len(sheet(sqlite_server.get(path.format(".xlsx")).content)) == len(rows) + 1


@pytest.mark.parametrize("size", ["2", "all"])
def test_what_excel_is_given_is_named_so(sqlite_server: Server, size: str) -> None:
    """It is not lossless: whoever finds the file later reads it in its name, a page's too."""
    named = sqlite_server.get(f"/v1/subjects.csv?excel=1&limit={size}").headers["content-disposition"]
    assert '.excel.csv"; filename*=UTF-8' in named
    assert ".excel" not in sqlite_server.get(f"/v1/subjects.csv?limit={size}").headers.get("content-disposition", "")


def written(value: Any) -> str:
    """A flat value as CSV writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def column_of(field: Any) -> Column:
    """The column that a Parquet field was made of."""
    kinds = {"string": "text", "date32[day]": "date", "timestamp[ms, tz=UTC]": "instant", "int64": "integer", "bool": "boolean"}
    if str(field.type).startswith("decimal"):
        return Column(field.name, "decimal", field.type.precision, field.type.scale)
    return Column(field.name, kinds[str(field.type)])


def test_types_come_from_the_dictionary(sqlite_server: Server) -> None:
    """Dates, instants and amounts are typed, codes are text, and the versions stand in the file."""
    answer = sqlite_server.get("/v1/records.parquet?dataset=administrative-penalties&limit=all")
    schema = parquet(answer.content).schema
    types = {field.name: str(field.type) for field in schema}
    assert types["decision_date"] == types["publish_until"] == "date32[day]"
    assert types["source_received_at"] == "timestamp[ms, tz=UTC]"
    assert types["fields_fine_amount"] == "decimal128(18, 6)"
    assert types["seq"] == "int64"
    assert types["subject_uscc"] == types["region"] == types["document_number"] == "string"
    assert schema.metadata[b"dataset_version"].decode() == answer.headers["dataset-version"]
    assert schema.metadata[b"policy_version"].decode() == answer.headers["policy-version"]
    described = pq.ParquetFile(io.BytesIO(answer.content)).metadata
    assert described.row_group(0).column(0).compression == "ZSTD"


def test_csv_opens_in_pandas_without_arguments(sqlite_server: Server) -> None:
    """Every column and row is there; codes with letters stay text, and with `dtype=str` all do, as the document says."""
    body = sqlite_server.get("/v1/records.csv?dataset=administrative-penalties&limit=all").content
    guessed = pd.read_csv(io.BytesIO(body))
    exact = pd.read_csv(io.BytesIO(body), dtype=str, keep_default_na=False, na_values=[""])
    assert guessed.shape == exact.shape
    assert list(guessed["subject_uscc"]) == list(exact["subject_uscc"])
    assert {len(code) for code in exact["region"]} == {6}
    document = sqlite_server.get("/openapi.json").json()
    words = document["paths"]["/v1/records"]["get"]["responses"]["200"]["content"]["text/csv"]["schema"]["description"]
    assert "dtype=str, keep_default_na=False, na_values=['']" in words


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        ("application/vnd.apache.parquet", "application/vnd.apache.parquet"),
        ("text/csv;q=0.4, application/vnd.msgpack;q=0.5", "application/vnd.msgpack"),
        ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet, */*;q=0.1", XLSX),
        ("text/*", "text/csv; charset=utf-8"),
    ],
)
def test_accept_chooses_a_format(sqlite_server: Server, accept: str, media: str) -> None:
    """The most wanted format is given, and the answer varies by Accept."""
    answer = sqlite_server.get("/v1/records?limit=2", accept=accept)
    assert (answer.status_code, answer.headers["content-type"]) == (200, media)
    assert "Accept" in answer.headers["vary"]


def test_what_is_not_there_is_named(sqlite_server: Server) -> None:
    """Nothing acceptable is 406 with all types that there are; an unknown suffix is 404, and so is one that this path does not have."""
    answer = sqlite_server.get("/v1/records?limit=2", accept="image/png")
    assert answer.status_code == 406
    assert answer.json()["acceptable"] == [
        "application/json",
        "application/x-ndjson",
        "text/csv",
        XLSX,
        "application/vnd.apache.parquet",
        "application/vnd.msgpack",
    ]
    assert sqlite_server.get("/v1/records.ods?limit=2").status_code == 404
    assert sqlite_server.get("/v1/lists.parquet").status_code == 404


@pytest.mark.parametrize("suffix", [".xlsx", ".parquet", ".msgpack"])
def test_files_are_conditional_and_named(sqlite_server: Server, suffix: str) -> None:
    """A page and an export have validators, HEAD has no body, and a download bears its name."""
    for path in (f"/v1/records{suffix}?limit=3", f"/v1/records{suffix}?dataset=tax-violations&limit=all"):
        answer = sqlite_server.get(path)
        assert sqlite_server.get(path, if_none_match=answer.headers["etag"]).status_code == 304
        head = sqlite_server.client.head(path)
        assert (head.status_code, head.content, head.headers["etag"]) == (200, b"", answer.headers["etag"])
    assert urllib.parse.quote(suffix.lstrip(".")) in answer.headers["content-disposition"]
    assert "content-encoding" not in answer.headers or suffix == ".msgpack"


# --- the writers -------------------------------------------------------------------------------------------------------

COLUMNS = (
    Column("id"),
    Column("text"),
    Column("day", "date"),
    Column("at", "instant"),
    Column("n", "integer"),
    Column("yes", "boolean"),
    Column("amount", "decimal", 20, 6),
)
ABOUT = About(title="t", versions={"dataset_version": "v"}, made_at=datetime(2026, 1, 1, tzinfo=UTC))
SHOWN = st.text(st.characters(exclude_categories=("Cs", "Cc", "Cn")), min_size=1, max_size=20)
INSTANTS = st.datetimes(datetime(1900, 3, 1), datetime(9999, 1, 1)).map(lambda at: at.replace(microsecond=0).isoformat() + "Z")  # noqa: DTZ001
LIKE_SOMETHING_ELSE = ("=1+1", "+1", "-1", "@x", "＝1", '=HYPERLINK("http://h")', "007", "1e5", "NA", "null", "true", "2026-01-01")
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "id": SHOWN,
            "text": st.none() | SHOWN | st.sampled_from(LIKE_SOMETHING_ELSE),
            "day": st.none() | st.dates(date(1800, 1, 1)).map(date.isoformat),
            "at": st.none() | INSTANTS,
            "n": st.none() | st.integers(-(10**15) + 1, 10**15 - 1),
            "yes": st.none() | st.booleans(),
            "amount": st.none() | st.decimals(-(10**13), 10**13, places=6).map(lambda number: f"{number:f}"),
        }
    ),
    max_size=6,
)


async def made(tmp_path: Any, make: Any, rows: list[Any]) -> bytes:
    """A file of these rows, in steps of two."""

    async def steps() -> Any:
        for at in range(0, len(rows), 2):
            yield rows[at : at + 2]

    return b"".join([part async for part in file_of(make, lambda step: step, steps(), tmp_path)])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS)
async def test_what_is_written_is_read_back(tmp_path: Any, rows: list[dict[str, Any]]) -> None:
    """Whatever stands in a row comes back from Parquet and XLSX: texts that look like formulas or numbers stay texts, null stays null."""
    wanted = [[cell_of(column, row[column.name]) for column in COLUMNS] for row in rows]
    table = parquet(await made(tmp_path, lambda path: ParquetFile(path, COLUMNS, ABOUT), rows))
    assert [list(row.values()) for row in table.to_pylist()] == wanted
    head, *cells = sheet(await made(tmp_path, lambda path: XlsxFile(path, COLUMNS, ABOUT), rows))
    assert head == [column.name for column in COLUMNS]
    assert cells == [[as_excel(cell) for cell in row] for row in wanted]
    packed = packed_head({"next": None, "rows": len(rows)}) + await made(tmp_path, MsgpackFile, rows)
    assert msgspec.msgpack.decode(packed) == {"items": rows, "next": None, "rows": len(rows)}


async def test_formulas_are_inert_in_a_workbook(tmp_path: Any) -> None:
    """A text that a spreadsheet would run is a text cell with Excel's own quote prefix, and its value is as it was."""
    rows = [{"id": text, "text": "plain"} for text in ("=1+1", "+1", "-1", "@x", "＝1+1")]
    body = await made(tmp_path, lambda path: XlsxFile(path, COLUMNS[:2], ABOUT), rows)
    cells = list(openpyxl.load_workbook(io.BytesIO(body)).worksheets[0].iter_rows(min_row=2))
    assert [(row[0].value, row[0].data_type, row[0].quotePrefix) for row in cells] == [(row["id"], "s", True) for row in rows]
    assert {(row[1].data_type, row[1].quotePrefix) for row in cells} == {("s", False)}


LONG = "文" * 32_767


async def test_a_text_longer_than_a_cell_is_refused(tmp_path: Any) -> None:
    """A sheet takes a text of 32,767 units of UTF-16 whole, and one of more not at all: it is never cut."""
    body = await made(tmp_path, lambda path: XlsxFile(path, COLUMNS[:2], ABOUT), [{"id": "a", "text": LONG}])
    assert sheet(body)[1] == ["a", LONG]
    for text in (LONG + "文", "a" + "𠮷" * 16_384):
        with pytest.raises(TextTooLongForFormat):
            await made(tmp_path, lambda path: XlsxFile(path, COLUMNS[:2], ABOUT), [{"id": "a", "text": text}])
    assert not list((tmp_path / "exports").iterdir())


def test_a_text_longer_than_a_cell_over_http(sqlite_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is 422 with its code before the first byte; without the field, and in another format, the rows are there."""
    monkeypatch.setattr(table_files, "_LONGEST_CELL", 30)
    path = "/v1/records{}?dataset=administrative-penalties&limit={}"
    for limit in ("3", "all"):
        answer = sqlite_server.get(path.format(".xlsx", limit))
        assert (answer.status_code, answer.json()["code"]) == (422, "text-too-long-for-format")
        assert sqlite_server.get(path.format(".parquet", limit)).status_code == 200
    monkeypatch.setattr(table_files, "_LONGEST_CELL", 120)
    assert sqlite_server.get(path.format(".xlsx", "all") + "&fields=decision_date").status_code == 200


async def test_a_parquet_file_begins_with_its_first_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """It leaves while rows are still read, group by group, is the same bytes in whatever steps they come, and breaks off where they do."""
    monkeypatch.setattr(table_files, "ROW_GROUP", 10)
    rows = [{"id": f"rec_{number:03}", "n": number} for number in range(95)]
    read: list[int] = []

    async def steps(size: int, until: int | None = None) -> Any:
        for at in range(0, len(rows), size):
            if until is not None and at >= until:
                raise ValueError("broken")
            read.append(at)
            yield rows[at : at + size]

    async def parts(size: int, until: int | None = None) -> Any:
        async for part in stream_of(lambda place: ParquetFile(place, COLUMNS, ABOUT), lambda step: step, steps(size, until)):
            yield part

    first = await anext(parts(4))
    assert (first, read) == (b"PAR1", [0])
    whole = [b"".join([part async for part in parts(size)]) for size in (1, 4, 10, 33, 100)]
    assert len(set(whole)) == 1
    assert [row["n"] for row in parquet(whole[0]).to_pylist()] == list(range(95))
    assert pq.ParquetFile(io.BytesIO(whole[0])).metadata.num_row_groups == 10
    torn = b""
    with pytest.raises(ValueError, match="broken"):
        async for part in parts(10, 50):
            torn += part
    assert torn[:4] == b"PAR1"
    assert len(torn) > 1000
    with pytest.raises(ArrowInvalid):
        parquet(torn)


@pytest.mark.parametrize("suffix", [".xlsx", ".msgpack"])
async def test_a_file_begins_with_its_first_rows(tmp_path: Any, suffix: str) -> None:
    """XLSX and MessagePack leave while rows are still read, are the same bytes as written to disk, and break off where the rows do."""
    rows = [{"id": f"rec_{number:05}" + token_hex(50), "n": number} for number in range(3000)]
    read: list[int] = []

    async def steps(until: int = 3000) -> Any:
        for at in range(0, 3000, 100):
            if at >= until:
                raise ValueError("broken")
            read.append(at)
            yield rows[at : at + 100]

    def begin(place: Any, said: int = 3000) -> TableFile:
        return XlsxFile(place, COLUMNS, ABOUT) if suffix == ".xlsx" else PackedStream(place, said)

    parts = stream_of(begin, lambda step: step, steps())
    first = await anext(parts)
    assert (len(first) > 0, read) == (True, [0])
    whole = first + b"".join([part async for part in parts])
    if suffix == ".xlsx":
        assert whole == await made(tmp_path, lambda path: XlsxFile(path, COLUMNS, ABOUT), rows)
        assert [row[4] for row in sheet(whole)[1:]] == list(range(3000))
    else:
        assert msgspec.msgpack.decode(packed_head({"next": None}) + whole) == {"items": rows, "next": None}
        assert whole == await made(tmp_path, MsgpackFile, rows)
        with pytest.raises(ValueError, match="counted"):
            [part async for part in stream_of(lambda place: begin(place, 3001), lambda step: step, steps())]
    torn = b""
    with pytest.raises(ValueError, match="broken"):
        async for part in stream_of(begin, lambda step: step, steps(2000)):
            torn += part
    assert len(torn) > 10_000
    with pytest.raises((BadZipFile, msgspec.DecodeError)):
        sheet(torn) if suffix == ".xlsx" else msgspec.msgpack.decode(packed_head({"next": None}) + torn)


@pytest.mark.parametrize("path", ["/v1/records{}?limit=all", "/v1/lists/tax-violations/listings{}?limit=all", "/v1/subjects{}?limit=all"])
def test_a_counted_export_is_not_kept_first(server: Server, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    """Of everybody's exports the number of rows is known ahead, so MessagePack leaves as they come, on both databases."""
    rows = server.get(path.format(".json")).json()["items"]
    assert rows
    monkeypatch.setattr(rows_in_files, "filed", None)
    assert msgspec.msgpack.decode(server.get(path.format(".msgpack")).content)["items"] == rows
    assert len(sheet(server.get(path.format(".xlsx")).content)) == len(rows) + 1


def test_the_head_does_not_wait_for_a_long_count(sqlite_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the rows of MessagePack are not counted soon its first bytes leave before, and the value is the same."""
    path = "/v1/records.msgpack?dataset=administrative-penalties&limit=all"
    whole = sqlite_server.get(path).content
    counted, told = threading.Event(), walks.told_ahead

    async def slowly(steps: Any) -> Any:
        assert await asyncio.to_thread(counted.wait, 20), "nothing left before the count"
        return await told(steps)

    monkeypatch.setattr(walks, "told_ahead", slowly)
    with sqlite_server.client.stream("GET", path, headers={"Accept-Encoding": "identity"}) as answer:
        parts = answer.iter_raw()
        first = next(parts)
        counted.set()
        assert first + b"".join(parts) == whole
    assert msgspec.msgpack.decode(whole)["items"]


@pytest.mark.parametrize(("module", "name", "path"), [
    (walks, "export", "/v1/records.msgpack?dataset=administrative-penalties&limit=all"),
    (walks, "export", "/v1/records.msgpack?dataset=administrative-penalties&penalty_type=fine,warning&limit=all"),
    (walks, "subject_export", "/v1/subjects.msgpack?limit=all"),
])  # fmt: skip
def test_a_late_fault_of_the_first_rows_is_an_answer(
    sqlite_server: Server, monkeypatch: pytest.MonkeyPatch, module: Any, name: str, path: str
) -> None:
    """However long the first rows are waited for, a database that fails at them is 503 and no beginning of a file."""

    async def breaks(*_arguments: Any, **_more: Any) -> Any:
        await asyncio.sleep(5 * rows_in_files.PATIENCE_S)
        raise StoreError("the database answered: gone", code="store-unavailable")
        yield []

    monkeypatch.setattr(module, name, breaks)
    answer = sqlite_server.get(path)
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_export_that_breaks_is_torn(sqlite_server: Server, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    """A fault after the first byte ends the connection without the end of the body, in every format: half a file is no file."""
    monkeypatch.setattr(walking, "EXPORT", 3)
    whole = walks.export

    async def breaks(*arguments: Any, **more: Any) -> Any:
        steps = 0
        async for rows in whole(*arguments, **more):
            steps += 1
            if steps > 4:
                raise StoreError("the database answered: gone", code="store-unavailable")
            yield rows

    monkeypatch.setattr(walks, "export", breaks)
    url = f"{sqlite_server.origin}/v1/records{suffix}?dataset=administrative-penalties&limit=all"
    body = b""
    with sqlite_server.client.stream("GET", url) as answer:
        assert answer.status_code == 200
        with pytest.raises(httpx.RemoteProtocolError):
            for part in answer.iter_bytes():
                body += part
    assert body


def test_stale_rows_are_counted_as_they_are_shown(fresh_city: City, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is made anew counts, what is shown no more does not; where too many are stale the file is written first."""
    path = "/v1/records{}?dataset=administrative-penalties&limit=all"
    with served(fresh_city) as door:
        ids = [row["id"] for row in door.get(path.format(".json")).json()["items"]]
        with sqlite3.connect(fresh_city.folder / "data" / "gateway.db") as connection:
            connection.execute("UPDATE rendered_records SET plan = 'old' WHERE record_id IN (?, ?, ?)", (ids[0], ids[2], ids[-1]))
            connection.execute("UPDATE records SET state = 'withdrawn', publish_until = '2020-01-01' WHERE record_id = ?", (ids[2],))
        left = [row["id"] for row in door.get(path.format(".json")).json()["items"]]
        assert left == [each for each in ids if each != ids[2]]
        filed = rows_in_files.filed
        for most, spooled in ((1000, False), (2, True)):
            monkeypatch.setattr(walks, "_STALE", most)
            walks._ahead.cache_clear()
            monkeypatch.setattr(rows_in_files, "filed", filed if spooled else None)
            found = msgspec.msgpack.decode(door.get(path.format(".msgpack")).content)["items"]
            assert [row["id"] for row in found] == left
    walks._ahead.cache_clear()


@pytest.mark.parametrize("language", ["zh-CN", "en"])
def test_stale_rows_are_written_as_the_others_are(fresh_city: City, language: str) -> None:
    """In every text form, whole and in part: the same lines but for the one that is shown no more."""
    paths = [
        f"/v1/records{suffix}?dataset=administrative-penalties&limit=all{fields}"
        for suffix in (".csv", ".ndjson", ".json")
        for fields in ("", "&fields=id,document_number,decision_date", "&shape=flat" if suffix != ".csv" else "&excel=1")
    ]

    def rows(door: Any, path: str) -> list[str]:
        text = door.get(path, accept_language=language).text
        found = [json.dumps(each, sort_keys=False) for each in json.loads(text)["items"]] if ".json" in path else text.splitlines()
        return [row for row in found if "rec_" in row]

    with served(fresh_city) as door:
        ids = [row["id"] for row in door.get(paths[-3]).json()["items"]]
        before = {path: rows(door, path) for path in paths}
        with sqlite3.connect(fresh_city.folder / "data" / "gateway.db") as connection:
            connection.execute("UPDATE rendered_records SET plan = 'old' WHERE record_id IN (?, ?, ?)", (ids[0], ids[2], ids[-1]))
            connection.execute("UPDATE records SET state = 'withdrawn', publish_until = '2020-01-01' WHERE record_id = ?", (ids[2],))
        for path in paths:
            assert len(before[path]) == len(ids), path
            assert rows(door, path) == [row for row in before[path] if ids[2] not in row], path


def test_a_long_text_is_known_before_the_first_byte(fresh_city: City, monkeypatch: pytest.MonkeyPatch) -> None:
    """A workbook of many steps whose last row holds a text that no cell holds is 422, not torn; without the row it streams."""
    monkeypatch.setattr(walking, "EXPORT", 2)
    path = "/v1/records{}?dataset=administrative-penalties&limit=all"
    with served(fresh_city) as door:
        last = door.get(path.format(".json")).json()["items"][-1]["id"]
        assert door.get(path.format(".xlsx")).status_code == 200
        with sqlite3.connect(fresh_city.folder / "data" / "gateway.db") as connection:
            (body,) = connection.execute("SELECT body FROM rendered_records WHERE record_id = ?", (last,)).fetchone()
            document = json.loads(body)
            document["document_number"] = LONG + "文"
            anew = json.dumps(document, ensure_ascii=False).encode()
            connection.execute("UPDATE rendered_records SET body = ? WHERE record_id = ?", (anew, last))
        answer = door.get(path.format(".xlsx"))
        assert (answer.status_code, answer.json()["code"]) == (422, "text-too-long-for-format")
        assert door.get(path.format(".xlsx") + "&fields=decision_date").status_code == 200
        assert door.get(path.format(".msgpack")).status_code == 200


def test_personal_files_stand_in_memory_where_nobody_else_reads(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has a folder of this user alone with a name of its own; a room that somebody laid there before is not entered, nor cleared."""
    monkeypatch.setattr(table_files, "MEMORY", tmp_path)
    (tmp_path / "chengxin-exports").mkdir(mode=0o777)
    old, linked = tmp_path / "chengxin-exports-old", tmp_path / "elsewhere"
    for folder in (old, linked):
        folder.mkdir()
        (folder / "table").touch()
        os.utime(folder, (0, 0))
    (tmp_path / "chengxin-exports-link").symlink_to(linked)
    made_at = new_folder(tmp_path / "data", personal=True)
    assert made_at.parent == tmp_path
    assert made_at.name.startswith("chengxin-exports-")
    held = made_at.lstat()
    assert (held.st_uid, held.st_mode & 0o777) == (os.geteuid(), 0o700)
    assert not old.exists()
    assert (linked / "table").exists()
    assert not list((tmp_path / "chengxin-exports").iterdir())


async def test_equal_rows_give_equal_files(tmp_path: Any) -> None:
    """A file has no clock: two of the same rows are the same bytes."""
    rows = [{"id": "rec_a", "day": "2026-01-02"}]
    for make in (XlsxFile, ParquetFile):
        one, other = [await made(tmp_path, lambda path, make=make: make(path, COLUMNS, ABOUT), rows) for _ in range(2)]  # type: ignore[misc]
        assert one == other


async def test_too_many_rows_are_refused_and_nothing_is_left(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sheet holds so many rows; a file that is not finished goes with its folder."""
    monkeypatch.setitem(table_files.MOST_ROWS, "xlsx", 3)
    rows = [{"id": "a"}] * 4
    with pytest.raises(TooManyRowsForFormat):
        await made(tmp_path, lambda path: XlsxFile(path, COLUMNS, ABOUT), rows)
    monkeypatch.setattr(table_files, "MOST_BYTES", 10_000)
    with pytest.raises(TooManyRowsForFormat):
        await made(tmp_path, lambda path: XlsxFile(path, COLUMNS, ABOUT), [{"id": token_hex(15_000)} for _ in range(20)])
    monkeypatch.setattr(workbook, "MOST", 200)
    with pytest.raises(TooManyRowsForFormat):
        await made(tmp_path, lambda path: XlsxFile(path, COLUMNS[:2], ABOUT), [{"id": "a" * 200}])
    large = await made(tmp_path, lambda path: XlsxFile(path, COLUMNS[:2], ABOUT, 20_000_000), [{"id": "a" * 200}])
    assert sheet(large)[1] == ["a" * 200, None]
    assert not list((tmp_path / "exports").iterdir())


def test_too_many_rows_over_http(sqlite_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """An export that does not fit into the format is 422 with its code, before the first byte."""
    monkeypatch.setitem(table_files.MOST_ROWS, "xlsx", 3)
    answer = sqlite_server.get("/v1/records.xlsx?dataset=administrative-penalties&limit=all")
    assert (answer.status_code, answer.json()["code"]) == (422, "too-many-rows-for-format")
    assert sqlite_server.get("/v1/records.xlsx?limit=3").status_code == 200


async def test_a_broken_file_is_no_file(tmp_path: Any) -> None:
    """A value that is not of its column breaks off, and leaves nothing behind."""

    class Broken(MsgpackFile):
        def add(self, rows: Any) -> None:
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await made(tmp_path, Broken, [{"id": 1}])
    with pytest.raises(ValueError, match="column"):
        cell_of(Column("n", "integer"), "text")
    assert not list((tmp_path / "exports").iterdir())


def test_a_column_of_two_types_is_text() -> None:
    """Without plans nothing is typed but the envelope."""
    assert [column.type for column in typed(("fields_x", "publish_until", "seq", "record_counts_penalty", "decision_date"), ())] == [
        "text",
        "date",
        "integer",
        "integer",
        "text",
    ]


@pytest.mark.parametrize("language", ["zh-CN", "en"])
@pytest.mark.parametrize("query", [
    "dataset=administrative-penalties&fields=subject.name,fields.penalty_type,source.issuer,seq",
    "dataset=administrative-penalties&penalty_type=fine&fields=fields.penalty_type,treatments",
    "dataset=administrative-penalties&sort=-decision_date&fields=decision_date",
    "fields=subject.name,kind,fields.valid_until",
])  # fmt: skip
def test_an_export_holds_the_very_rows_of_the_pages(server: Server, query: str, language: str) -> None:
    """Excerpts that are cut out of bytes are those of the pages, key by key in their order, in both databases and languages."""
    said = {"accept-language": language}
    pages_of, path = {}, f"/v1/records?limit=100&{query}"
    while path:
        page = server.client.get(server.origin + path, headers=said).json()
        pages_of |= {item["id"]: json.dumps(item) for item in page["items"]}
        path = page["next"] and "/v1/" + page["next"].split("/v1/", 1)[1]
    lines = server.client.get(f"{server.origin}/v1/records.ndjson?limit=all&{query}", headers=said).text.splitlines()
    rows = [json.loads(line) for line in lines]
    assert rows
    assert [json.dumps(row) for row in rows] == [pages_of[row["id"]] for row in rows]
    whole = server.client.get(f"{server.origin}/v1/records.json?limit=all&{query}", headers=said)
    assert whole.json()["items"] == rows

"""Match jobs over a real socket: whole files in and out, nothing of them left behind, and nobody else's to see (api.md §7.6)."""

import asyncio
import codecs
import csv
import io
import json
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import openpyxl
import pytest
import xlsxwriter
from msgspec import structs

from gateway.core.callers.caller import PUBLIC
from gateway.operations import match_jobs
from gateway.operations.match_jobs import charged_rows
from gateway.operations.read_table import Table
from tests.doors import developer
from tests.web.city import City, Server, copied, served
from tests.web.test_api import problem

ADDED = ["match_status", "match_uscc", "match_name", "match_score", "match_reason"]
PLANTED = "欧阳测甲乙丙丁"
LATER = "2026-06-02T03:00:00Z"


@pytest.fixture(scope="module")
def city(sqlite_city: City, tmp_path_factory: pytest.TempPathFactory) -> City:
    """A copy of the city that jobs may be kept in."""
    return copied(sqlite_city, tmp_path_factory.mktemp("jobs") / "gateway")


@pytest.fixture(scope="module")
def server(city: City) -> Iterator[Server]:
    """Its server."""
    with served(city) as running:
        yield running


@pytest.fixture(scope="module")
def firms(server: Server) -> list[dict[str, Any]]:
    """Some organisations of the city."""
    found: list[dict[str, Any]] = server.get("/v1/subjects?limit=8&kind=enterprise").json()["items"]
    return found


def send(server: Server, name: str, body: bytes, mapping: Any, headers: dict[str, str] | None = None, **fields: str) -> httpx.Response:
    """A file and its fields."""
    data = {"mapping": mapping if isinstance(mapping, str) else json.dumps(mapping, ensure_ascii=False), **fields}
    return server.client.post("/v1/match-jobs", files={"file": (name, body)}, data=data, headers=headers or {})


def as_csv(rows: list[list[str]]) -> bytes:
    """Rows as a file."""
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    return out.getvalue().encode()


def ended(server: Server, answer: httpx.Response, **headers: str) -> dict[str, Any]:
    """The job when its work has ended."""
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == answer.json()["links"]["self"]
    for _ in range(600):
        job: dict[str, Any] = server.get(answer.headers["location"], **headers).json()
        if job["state"] not in ("queued", "running"):
            return job
        time.sleep(0.05)
    raise AssertionError(job)


def test_a_condition_of_a_write_is_honoured(server: Server) -> None:
    """`If-Match` names no tag that could hold, so nothing is done; `*` holds where there is something; what is refused anyway, first."""
    job = ended(server, send(server, "a.csv", as_csv([["企业"], ["通化市示例甲有限公司"]]), {"name": "企业"}))
    at, tag = urlsplit(job["links"]["self"]).path, '"x", W/"y"'
    problem(server.client.delete(at, headers={"If-Match": tag}), 412, "precondition-failed")
    problem(send(server, "a.csv", b"x", {"name": "x"}, {"If-Match": "*"}), 412, "precondition-failed")
    assert server.get(at, if_match=tag).json()["state"] == job["state"], "nothing was done; what only reads is not concerned"
    for answer, status in (
        (server.client.delete("/v1/nothing", headers={"If-Match": tag}), 404),
        (server.client.delete("/v1/records", headers={"If-Match": tag}), 405),
        (server.client.delete(at + "?x=1", headers={"If-Match": tag}), 400),
        (server.client.delete(at, headers={"If-Match": tag, "Authorization": "Bearer x"}), 401),
    ):
        assert answer.status_code == status, answer.text
    assert server.client.delete(at, headers={"If-Match": "*"}).json()["state"] == "cancelled"


def test_text_is_priced_and_bounded(server: Server) -> None:
    """A file of few rows and much text is as dear as its text; more than a million characters nobody leaves here without a credential."""
    wide = [["企业", *(f"列{number}" for number in range(32))]] + [["通化市示例甲有限公司", *["字" * 1000] * 32] for _ in range(20)]
    assert send(server, "a.csv", as_csv(wide), {"name": "企业"}).status_code == 202
    refused = send(server, "a.csv", as_csv([*wide, *wide[1:]]), {"name": "企业"})
    assert (refused.status_code, refused.json()["code"]) == (413, "body-too-large")


@pytest.mark.parametrize(("rows", "characters", "price"), [(3, 10, 3), (3, 5000, 15), (2000, 1, 2000)])
def test_a_job_is_priced_by_its_rows_or_its_text(rows: int, characters: int, price: int) -> None:
    """A row for every thousand characters, where that is more than its rows."""
    table = Table(columns=["企业"], rows=[["字" * characters] for _ in range(rows)])
    assert charged_rows(structs.replace(PUBLIC, tier="developer"), table) == price


def test_a_file_comes_back_with_what_was_found(server: Server, firms: list[dict[str, Any]], city: City) -> None:
    """In every format the columns as sent and five more; a formula is a text in all of them, and no file holds a name in clear."""
    rows = [["编号", "企业", "代码", "备注"]]
    rows += [[f"00{number}", each["name"], "", "=1+1"] for number, each in enumerate(firms)]
    rows += [["甲", "", firms[0]["uscc"].lower(), "-2"], ["乙", PLANTED, "", "@SUM(A1)"], ["丙", firms[0]["name"], firms[1]["uscc"], ""]]
    answer = send(server, "a.csv", as_csv(rows), {"name": "企业", "uscc": "代码"})
    job = ended(server, answer)
    assert (job["state"], job["rows"], job["done"]) == ("done", len(rows) - 1, len(rows) - 1)
    assert answer.headers["cache-control"] == "no-store"
    result = server.get(job["links"]["result"])
    found = list(csv.reader(io.StringIO(result.content.decode(), newline="")))
    assert found[0] == rows[0] + ADDED
    assert [row[:4] for row in found[1:]] == rows[1:]
    for each, row in zip(firms, found[1:], strict=False):
        assert row[4] in ("exact", "ambiguous")
        assert row[4] == "ambiguous" or (row[5], row[6], row[7]) == (each["uscc"], each["name"], "1.0")
    assert [row[4] for row in found[-3:]] == ["exact", "not_found", "possible"]
    assert "name_equal" in found[1][8]
    lines = [json.loads(line) for line in server.get(job["links"]["self"] + "/result.ndjson").text.splitlines()]
    assert [["" if value is None else str(value) for value in line.values()] for line in lines] == found[1:]
    book = openpyxl.load_workbook(io.BytesIO(server.get(job["links"]["self"] + "/result.xlsx").content))
    sheet = book["data"]
    assert [[str(cell.value or "") for cell in row] for row in sheet.iter_rows()] == found
    assert {cell.data_type for row in sheet.iter_rows() for cell in row if cell.value is not None} == {"s"}
    for file in city.folder.rglob("*"):
        if file.is_file() and "sample" not in file.parts:
            assert PLANTED.encode() not in file.read_bytes(), file


def test_workbooks_lines_and_gb18030(server: Server, firms: list[dict[str, Any]]) -> None:
    """The result is offered in the format of the file, whichever it is; a table may be in the encoding that is declared for it."""
    out = io.BytesIO()
    book = xlsxwriter.Workbook(out)
    sheet = book.add_worksheet()
    sheet.write_row(0, 0, ["名称", "数"])
    sheet.write_row(1, 0, [firms[0]["name"], 12])
    book.close()
    job = ended(server, send(server, "a.xlsx", out.getvalue(), {"name": "名称"}))
    assert job["links"]["result"] == job["links"]["self"] + "/result.xlsx"
    (row,) = openpyxl.load_workbook(io.BytesIO(server.get(job["links"]["result"]).content))["data"].iter_rows(min_row=2, values_only=True)
    assert row[:3] == (firms[0]["name"], "12", "exact")
    lines = [{"n": firms[0]["name"], "x": 1.5}, {"n": None, "y": True}]
    job = ended(server, send(server, "a.ndjson", "\n".join(map(json.dumps, lines)).encode(), {"name": "n"}, threshold="0.9"))
    got = [json.loads(line) for line in server.get(job["links"]["result"]).text.splitlines()]
    assert [(each["x"], each["y"], each["match_status"]) for each in got] == [(1.5, None, "exact"), (None, True, "invalid")]
    job = ended(server, send(server, "a.ndjson", codecs.BOM_UTF8 + json.dumps(lines[0]).encode() + b"\r\n", {"name": "n"}))
    assert [json.loads(line)["match_status"] for line in server.get(job["links"]["result"]).text.splitlines()] == ["exact"]
    body = as_csv([["名称"], [firms[0]["name"]]]).decode().encode("gb18030")
    job = ended(server, send(server, "a.csv", body, {"name": "名称"}, encoding="gb18030"))
    back = server.get(job["links"]["result"]).content
    assert back.startswith(codecs.BOM_UTF8), "whoever sends GB18030 opens what comes back where text without a mark is taken for it"
    assert list(csv.reader(io.StringIO(back.decode("utf-8-sig"))))[1][:2] == [firms[0]["name"], "exact"]
    problem(send(server, "a.csv", body, {"name": "名称"}), 422, "file-refused")


def test_a_byte_order_mark_comes_back(server: Server, firms: list[dict[str, Any]]) -> None:
    """A CSV file that Excel could read is one when it comes back; one without the mark gets none."""
    for mark in (b"\xef\xbb\xbf", b""):
        job = ended(server, send(server, "a.csv", mark + as_csv([["名称"], [firms[0]["name"]]]), {"name": "名称"}))
        assert server.get(job["links"]["result"]).content.startswith(mark + "名称,match_status".encode())


@pytest.mark.parametrize(
    ("name", "body", "mapping", "status", "code", "pointer"),
    [
        ("a.csv", b"n\nx\n", "{", 400, "body-invalid", "/mapping"),
        ("a.csv", b"n\nx\n", {"nmae": "n"}, 400, "body-invalid", "/mapping"),
        ("a.csv", b"n\nx\n", {"name": 5}, 400, "body-invalid", "/mapping/name"),
        ("a.csv", b"n\nx\n", {"name": "m"}, 400, "body-invalid", "/mapping/name"),
        ("a.csv", b"n\nx\n", {"region": "n"}, 400, "body-invalid", "/mapping"),
        ("a.csv", b"n,match_name\nx,y\n", {"name": "n"}, 400, "body-invalid", "/file"),
        ("a.csv", b"n\n", {"name": "n"}, 422, "file-refused", "/file"),
        ("a.csv", b"n,n\nx,y\n", {"name": "n"}, 422, "file-refused", "/file/R1C2"),
        ("a.csv", b"n,m\nx\n", {"name": "n"}, 422, "file-refused", "/file/R2"),
        ("a.csv", b"n\n" + b"x\n" * 1001, {"name": "n"}, 422, "file-refused", "/file"),
        ("a.xlsx", b"no workbook", {"name": "n"}, 422, "file-refused", "/file"),
        ("a.ndjson", b'{"n":"x"}\n{"n":{}}', {"name": "n"}, 422, "file-refused", "/file/R2"),
        ("a.ndjson", b'{"n":"\xff"}', {"name": "n"}, 422, "file-refused", "/file/R1"),
        ("a.ndjson", b'{"n":"x","m":18446744073709551616}', {"name": "n"}, 422, "file-refused", "/file/R1"),
        ("a.ndjson", b'{"n":-9223372036854775809}', {"name": "n"}, 422, "file-refused", "/file/R1"),
    ],
)
def test_a_bad_file_is_told_with_its_place(
    server: Server, name: str, body: bytes, mapping: Any, status: int, code: str, pointer: str
) -> None:
    """And nothing of it is kept or repeated."""
    answer = send(server, name, body, mapping)
    (fault,) = problem(answer, status, code)["errors"]
    assert fault["pointer"] == pointer


def test_a_file_with_other_separators_is_told_so(server: Server) -> None:
    """A header of one cell that holds semicolons or tabs is no list of columns; the same in English."""
    for body in ("名称;代码\n示例;1\n", "名称\t代码\n示例\t1\n"):
        (fault,) = problem(send(server, "a.csv", body.encode(), {"name": "名称"}), 400, "body-invalid")["errors"]
        assert fault == {"pointer": "/mapping/name", "code": "invalid", "detail": "文件中没有这一列；表头只有一列，请用英文逗号分隔"}
    english = send(server, "a.csv", "名称;代码\n示例;1\n".encode(), {"name": "名称"}, {"accept-language": "en"})
    assert "separate by commas" in english.json()["errors"][0]["detail"]


def test_what_is_no_form_of_a_job(server: Server) -> None:
    """415, 400 with the place, and no parameter exists."""
    problem(server.client.post("/v1/match-jobs", json={}), 415, "unsupported-media-type")
    problem(send(server, "a.pdf", b"n\nx\n", {"name": "n"}), 415, "unsupported-media-type")
    for fields in ({"threshold": "2"}, {"threshold": "nan"}, {"encoding": "big5"}, {"sort": "n"}):
        problem(send(server, "a.csv", b"n\nx\n", {"name": "n"}, **fields), 400, "body-invalid")
    problem(server.client.post("/v1/match-jobs", data={"mapping": "{}"}, files={"other": b"x"}), 400, "body-invalid")
    broken = {"content-type": "multipart/form-data; boundary=x"}
    problem(server.client.post("/v1/match-jobs", content=b"--x\r\nbroken", headers=broken), 400, "body-invalid")
    problem(server.client.post("/v1/match-jobs?limit=1", data={}, files={"file": b"x"}), 400, "unknown-parameter")


def test_a_job_belongs_to_its_caller(server: Server, city: City) -> None:
    """Of an app nobody else finds it, an anonymous one is whose has its id; a key gives the same job again for the same request."""
    key = {"authorization": f"Bearer {city.run(developer)[1]}"}
    token = {"authorization": f"Bearer {city.token()}"}
    sent = [send(server, "a.csv", b"n\nx\n", {"name": "n"}, {**key, "idempotency-key": "once"}) for _ in range(2)]
    assert sent[0].json() == sent[1].json()
    assert sent[1].headers["idempotent-replay"] == "true"
    problem(send(server, "a.csv", b"n\ny\n", {"name": "n"}, {**key, "idempotency-key": "once"}), 422, "idempotency-mismatch")
    job = ended(server, sent[0], **key)
    for headers in ({}, token):
        for path in ("", "/result.csv"):
            problem(server.get(job["links"]["self"] + path, **headers), 404, "not-found")
    assert server.get(job["links"]["result"], **key).status_code == 200
    anonymous = ended(server, send(server, "a.csv", b"n\nx\n", {"name": "n"}))
    problem(server.get(anonymous["links"]["self"], **key), 404, "not-found")
    problem(server.get(f"/v1/match-jobs/job_{'a' * 26}"), 404, "not-found")


def test_a_deleted_job_has_no_result(server: Server) -> None:
    """Its files are gone with the answer."""
    job = ended(server, send(server, "a.csv", b"n\nx\n", {"name": "n"}))
    gone = server.client.delete(httpx.URL(job["links"]["self"]).path)
    assert (gone.status_code, gone.json()["state"]) == (200, "cancelled")
    problem(server.get(job["links"]["result"]), 404, "not-found")
    assert server.get(job["links"]["self"]).json()["state"] == "cancelled"


def test_a_day_later_a_result_has_expired(fresh_city: City) -> None:
    """410, with where to send the file again."""
    with served(fresh_city) as server:
        job = ended(server, send(server, "a.csv", b"n\nx\n", {"name": "n"}))
    with served(fresh_city, LATER) as server:
        for _ in range(100):
            answer = server.get(job["links"]["self"])
            if answer.status_code == 410:
                break
            time.sleep(0.05)
        assert problem(answer, 410, "job-expired")["next"].endswith("/v1/match-jobs")
        problem(server.get(job["links"]["self"] + "/result.csv"), 410, "job-expired")


@pytest.mark.parametrize("where", ["outcomes", "_sealed"])
def test_a_job_outlives_its_server(fresh_city: City, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """Stopped between two steps, or when its result is about to be kept, it is begun anew by the next process and ends whole."""
    arrived = threading.Event()
    plain = getattr(match_jobs, where)

    async def held(*given: Any, **named: Any) -> Any:
        if arrived.is_set():
            await asyncio.sleep(3600)
        arrived.set()
        return await plain(*given, **named)

    def held_in_thread(*given: Any) -> Any:
        if given[2] == "result":
            arrived.set()
            time.sleep(2)
        return plain(*given)

    monkeypatch.setattr(match_jobs, where, held if where == "outcomes" else held_in_thread)
    body = as_csv([["n"], *[[f"通化市示例{number}药业有限公司"] for number in range(600)]])
    with served(fresh_city) as server:
        sent = send(server, "a.csv", body, {"name": "n"})
        assert arrived.wait(60)
    monkeypatch.undo()
    with served(fresh_city) as server:
        before = server.get(sent.headers["location"]).json()
        assert before["state"] in ("queued", "running")
        job = ended(server, sent)
        assert (job["state"], job["done"]) == ("done", 600)
        assert len(server.get(job["links"]["result"]).text.splitlines()) == 601


def test_rows_are_paid_from_a_bucket_of_the_day(fresh_city: City) -> None:
    """Five jobs of a thousand rows are a day of the public; the sixth is refused, and a request is still served."""
    settings = fresh_city.settings_file
    settings.write_text(settings.read_text(encoding="utf-8").replace("quota_factor = 100000", "reader_poll_s = 60"), encoding="utf-8")
    body = b"n\n" + b"x\n" * 1000
    with served(fresh_city) as server:
        assert [send(server, "a.csv", body, {"name": "n"}).status_code for _ in range(5)] == [202] * 5
        refused = send(server, "a.csv", body, {"name": "n"})
        problem(refused, 429, "quota-exceeded")
        assert int(refused.headers["retry-after"]) > 0
        assert server.get("/v1").status_code == 200

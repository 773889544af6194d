"""Files over HTTP: a department sends as itself, and gets its receipt; nobody else sends, and nothing stays behind."""

import csv
import io
import subprocess
import sys
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from openpyxl import load_workbook
from sqlalchemy import text

from gateway.operations.manage_keys import issue_token
from gateway.operations.take_upload import MAX_BYTES
from gateway.store import audit
from gateway.store.audit import Wanted
from tests.callers import Key
from tests.doors import Program, register
from tests.house import CENTRE, a_gateway
from tests.web.city import NOW, City, Server, served

HEADER = (
    "行政相对人名称,行政相对人类别,统一社会信用代码,行政处罚决定书文号,违法行为类型,违法事实,处罚依据,处罚类别,处罚内容,"
    "罚款金额（万元）,处罚决定日期,处罚有效期,失信严重程度,处罚机关,处罚机关统一社会信用代码,数据来源单位,数据来源单位统一社会信用代码\n"
)
ROW = (
    "{name},法人及非法人组织,{code},通示罚〔2026〕{number}号,无证经营,未取得许可从事经营。,《无证无照经营查处办法》第十三条,罚款,罚款人民币5000元。,"
    "0.5,2026-05-06,2027-05-06,一般,通化市信用中心（示例）,{authority},通化市信用中心（示例）,{authority}\n"
)
OTHER = "11220600XXT000124T"
"""An authority for which the sender does not speak."""
PATH = "/v1/uploads?dataset=administrative-penalties"


@pytest.fixture
def running(fresh_city: City) -> Any:
    """A server of a city that may be changed, and the header fields of a department's upload."""
    token = fresh_city.token()
    with served(fresh_city) as server:
        yield server, {"Authorization": f"Bearer {token}", "Content-Type": "text/csv", "Officer": quote("测试员甲")}, fresh_city


def a_file(server: Server, *numbers: int, authority: str = CENTRE) -> str:
    subject = server.get("/v1/subjects?kind=enterprise&limit=1").json()["items"][0]
    rows = [ROW.format(name=subject["name"], code=subject["uscc"], number=number, authority=authority) for number in numbers]
    return HEADER + "".join(rows)


def digest_of(body: bytes) -> str:
    """The field by which an officer confirms a file."""
    return f"sha-256=:{b64encode(sha256(body).digest()).decode()}:"


def send(server: Server, body: bytes | str, headers: dict[str, str], path: str = PATH) -> httpx.Response:
    """Send a file that the officer has confirmed."""
    data = body if isinstance(body, bytes) else body.encode()
    return server.client.post(path, content=data, headers={"Content-Digest": digest_of(data), **headers})


def test_a_department_sends_a_file_and_gets_its_receipt(running: Any) -> None:
    """Accepted rows, the same file once more is the same receipt, and the file itself is gone."""
    server, headers, city = running
    text = a_file(server, 9001, 9002)
    answer = send(server, text, headers)
    assert answer.status_code == 200, answer.text
    receipt = answer.json()
    assert (receipt["accepted"], receipt["trust"], receipt["rejected"]) == (2, "signed", {})
    assert send(server, text, headers).json() == receipt
    assert answer.headers["cache-control"] == "no-store"
    assert list((city.folder / "data" / "uploads").iterdir()) == []
    assert oct((city.folder / "data" / "uploads").stat().st_mode)[-3:] == "700"


@pytest.mark.parametrize(("uploads", "status"), [(False, 403), (True, 200)])
def test_an_app_that_was_registered_to_read_does_not_send(running: Any, uploads: bool, status: int) -> None:
    """A grant to read penalties is none to write them: sending is its own mark, which a second person's approval of the key covers."""
    server, headers, city = running

    async def token(services: Any) -> str:
        app = await register(services, None, uploads=uploads)
        made: str = (await issue_token(services, app=app, org=CENTRE, tier="department", purpose="dept.supervision", by="test")).token
        return made

    answer = send(server, a_file(server, 9051), {**headers, "Authorization": f"Bearer {city.run(token)}"})
    assert answer.status_code == status, answer.text


@pytest.mark.parametrize("uploads", [False, True])
def test_an_app_without_a_grant_gets_a_token_to_send_with(running: Any, uploads: bool) -> None:
    """It names no data, sends, and shows of records what the public sees; who was not registered to send gets none."""
    server, headers, city = running
    key = Key("ES256", seed=41)
    app = city.run(lambda services: register(services, key, datasets=(), uploads=uploads))
    program = Program(client=server.client, app=app, key=key, now=datetime.fromisoformat(NOW))
    answer = program.ask_token()
    if not uploads:
        assert (answer.status_code, answer.json()["error"]) == (400, "unauthorized_client")
        return
    assert (answer.status_code, answer.json()["authorization_details"]) == (200, [])
    proven = {"Authorization": f"DPoP {program.token}", "DPoP": program.prove("POST", PATH, program.token)}
    sent = send(server, a_file(server, 9052), headers | proven)
    assert sent.status_code == 200, sent.text
    assert sent.json()["accepted"] == 1
    assert program.get("/v1/me").json()["purpose"] == "open.read"
    assert program.get("/v1/me", Purpose="dept.supervision").status_code == 403
    other = Key("ES256", seed=42)
    asker = city.run(lambda services: register(services, other, datasets=(), introspects=True))
    resource = Program(client=server.client, app=asker, key=other, now=datetime.fromisoformat(NOW))
    told = resource.post("/oauth/introspect", resource.form(token=program.token)).json()
    assert (told["active"], told["client_id"], told["authorization_details"]) == (True, app, [])


def test_one_file_by_several_requests_at_once(running: Any) -> None:
    """Whoever comes while it is being taken in is told so with 409; nothing is doubled, and sent again it gives the one receipt."""
    server, headers, _ = running
    text = a_file(server, *range(9100, 9160))
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: send(server, text, headers), range(4)))
    assert {answer.status_code for answer in answers} <= {200, 409}
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} <= {"conflict"}
    receipt = send(server, text, headers).json()
    assert receipt["accepted"] == 60
    assert all(answer.json() == receipt for answer in answers if answer.status_code == 200)


SENDS = """
import asyncio, sys
from gateway.core.callers.caller import Caller
from gateway.operations.take_upload import take_upload
from gateway.services import open_services
from tests.house import CENTRE, settings_of
from pathlib import Path

async def body():
    yield open(sys.argv[2], "rb").read()
    print("arrived", flush=True)
    await asyncio.sleep(600)

async def work():
    async with open_services(settings_of(Path(sys.argv[1]))) as services:
        caller = Caller(tier="department", purpose="dept.supervision", purposes=("dept.supervision",), credential_kind="token",
                        app="app-1", org=CENTRE, assurance="bound")
        await take_upload(services, caller, dataset="administrative-penalties", officer="a", media_type="text/csv", encoding=None,
                          body=body())

asyncio.run(work())
"""


async def test_a_kill_leaves_nothing_of_a_file(tmp_path: Path) -> None:
    """Killed while it arrives, no file of the data directory holds a byte of it."""
    async with a_gateway(tmp_path):
        pass
    planted = "行政相对人名称：测试员" * 20_000
    (tmp_path / "body").write_text(planted, encoding="utf-8")
    sender = subprocess.Popen(
        [sys.executable, "-c", SENDS, str(tmp_path / "chengxin.toml"), str(tmp_path / "body")], stdout=subprocess.PIPE, text=True
    )
    assert sender.stdout is not None
    assert sender.stdout.readline() == "arrived\n"
    sender.kill()
    sender.communicate()
    assert (tmp_path / "data" / "uploads").is_dir()
    found = [path for path in (tmp_path / "data").rglob("*") if path.is_file() and "测试员".encode() in path.read_bytes()]
    assert found == []


def test_who_sent_is_written_before_the_first_row(running: Any) -> None:
    """The row that names the app stands in the transaction with which the ingest begins, and leads to it."""
    server, headers, city = running
    receipt = send(server, a_file(server, 9011), headers).json()

    async def acts(services: Any) -> list[Any]:
        return [row for row in await audit.rows(services.store.reads, Wanted(kind="act"), limit=1000) if row.target.startswith("ingest/")]

    last = city.run(acts)[-2:]
    assert [row.act for row in last] == ["upload.take", "ingest.file"]
    assert last[0].target == last[1].target
    assert last[0].actor.startswith("app/")
    assert last[0].detail["sha256"] == receipt["file_sha256"]


def test_a_bad_row_is_told_by_line_and_code_without_its_value(running: Any) -> None:
    """One row is rejected alone; the receipt names the line and the column, never what stood there."""
    server, headers, _ = running
    wrong = a_file(server, 9003).replace("0.5,2026-05-06", "0.5,2026-13-77")
    receipt = send(server, wrong + a_file(server, 9004).splitlines()[1] + "\n", headers).json()
    assert receipt["accepted"] == 1
    assert sum(receipt["rejected"].values()) == 1
    assert receipt["rows"][0]["line"] == 2
    assert "2026-13-77" not in str(receipt)


def test_rows_of_a_foreign_authority_are_refused(running: Any) -> None:
    """A sender speaks for itself and for whom its register entry covers; another city's authority it is not."""
    server, headers, _ = running
    receipt = send(server, a_file(server, 9005, authority="11220600XXT000124C"), headers).json()
    assert receipt["accepted"] == 0


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"Authorization": None}, 403, "not-permitted"),
        ({"Authorization": "Bearer " + "x" * 43}, 401, "credentials-invalid"),
        ({"Content-Type": "application/json"}, 415, "unsupported-media-type"),
        ({"Content-Encoding": "gzip"}, 415, "unsupported-media-type"),
        ({"Officer": None}, 400, "body-invalid"),
        ({"Officer": "%ff%fe"}, 400, "bad-request"),
        ({"Officer": quote("a" * 33)}, 400, "body-invalid"),
        ({"Officer": "%20%20"}, 400, "body-invalid"),
        ({"Officer": quote("甲\u202e乙")}, 400, "body-invalid"),
    ],
    ids=["nobody", "stranger", "json", "gzip", "no officer", "no utf-8", "long officer", "blank officer", "officer turned round"],
)
def test_who_and_what_is_refused(running: Any, change: dict[str, str | None], status: int, code: str) -> None:
    """Nobody without a department's credential sends; a type, a coding, an officer that is none is a problem of its own."""
    server, headers, _ = running
    said = {name: value for name, value in {**headers, **change}.items() if value is not None}
    answer = send(server, a_file(server, 9006), said)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v1/uploads", "invalid-parameter"),
        (f"{PATH}&encoding=big5", "invalid-parameter"),
        (f"{PATH}&more=1", "unknown-parameter"),
        ("/v1/uploads?dataset=nothing", "file-refused"),
    ],
)
def test_wrong_parameters(running: Any, path: str, code: str) -> None:
    """A dataset must be named, an encoding must be one of two, nothing else is taken."""
    server, headers, _ = running
    assert send(server, a_file(server, 9007), headers, path).json()["code"] == code


@pytest.mark.parametrize(
    "body",
    [b"", b"\xff\xfe\x00", "列甲,列乙\n1,2\n".encode(), "甲乙丙".encode("gb18030")],
    ids=["empty", "binary", "columns", "gbk"],
)
def test_a_file_that_is_none(running: Any, body: bytes) -> None:
    """A file refused as a whole says by which code and where, and never shows a path of this machine."""
    server, headers, city = running
    answer = send(server, body, headers)
    assert answer.status_code in (400, 422)
    assert answer.json()["code"] in ("file-refused", "body-invalid")
    assert str(city.folder) not in answer.text
    assert list((city.folder / "data" / "uploads").glob("*")) == []


def test_what_is_wrong_beside_the_file_is_said_in_words(running: Any) -> None:
    """A dataset that is none, and an officer's name in no UTF-8, are told as what they are, where they stand."""
    server, headers, _ = running
    body = a_file(server, 9010)
    unknown = send(server, body, headers, "/v1/uploads?dataset=nowhere").json()
    assert unknown["errors"] == [{"parameter": "dataset", "code": "dataset-unknown", "detail": "没有这个数据集"}]
    measures = send(server, body, headers, "/v1/uploads?dataset=measures").json()
    assert measures["errors"][0]["code"] == "SCOPE_CATEGORY"
    assert "逐条登记" in measures["errors"][0]["detail"]
    officer = send(server, body, {**headers, "Officer": "%ff"}).json()
    assert (officer["code"], officer["detail"]) == ("bad-request", "Officer 请求头须为 UTF-8 的百分号编码。")


def test_a_file_too_large_ends_while_it_arrives(running: Any) -> None:
    """Bounded while it is read; nothing of it is kept."""
    server, headers, city = running
    answer = send(server, b"a" * (MAX_BYTES + 1), headers)
    assert (answer.status_code, answer.json()["code"]) == (413, "body-too-large")
    assert list((city.folder / "data" / "uploads").glob("*")) == []


def test_a_partner_sends_nothing(running: Any) -> None:
    """Only departments send: a token of another tier is not permitted."""
    server, headers, city = running
    partner = city.token("partner", "mutual.query")
    answer = send(server, a_file(server, 9008), {**headers, "Authorization": f"Bearer {partner}", "Case-Ref": "AN-1"})
    assert (answer.status_code, answer.json()["code"]) == (403, "not-permitted")


# --- confirmed by its digest, or vouched ---------------------------------------------------------------------------------


def test_a_file_that_nobody_confirmed_is_vouched(running: Any) -> None:
    """Without the digest the same rows are told by nobody who answers for them, and speak for no other authority either."""
    server, headers, city = running
    body = a_file(server, 9301).encode()
    plain = server.client.post(PATH, content=body, headers=headers)
    assert (plain.status_code, plain.json()["trust"], plain.json()["accepted"]) == (200, "vouched", 1)
    assert server.client.post(PATH, content=body, headers=headers).json() == plain.json()
    foreign = a_file(server, 9302, authority=OTHER).encode()
    assert server.client.post(PATH, content=foreign, headers=headers).json()["rejected"] == {"SCOPE_AUTHORITY": 1}

    async def trusts(services: Any) -> set[str]:
        return {row.trust for row in await services.store.reads.all(text("SELECT trust FROM records WHERE trust = 'vouched'"), {})}

    assert city.run(trusts) == {"vouched"}
    assert send(server, body, headers).json()["trust"] == "signed"


@pytest.mark.parametrize(
    ("field", "code"),
    [
        (digest_of(b"another file"), "digest-mismatch"),
        ("sha-256=:AAAA:", "format"),
        ("sha-256=abc", "format"),
        ("md5=:AAAA:", "format"),
        ("sha-256=:!!!!:", "format"),
        ("RIGHT, " + digest_of(b"another file"), "format"),
        (digest_of(b"another file") + ", RIGHT", "format"),
    ],
)
def test_another_file_than_the_confirmed_one_is_refused(running: Any, field: str, code: str) -> None:
    """A digest that is not the file's, none that can be read, or two at once refuse the file before any row of it is stored."""
    server, headers, _ = running
    body = a_file(server, 9303).encode()
    stated = field.replace("RIGHT", digest_of(body))
    answer = server.client.post(PATH, content=body, headers={**headers, "Content-Digest": stated})
    assert (answer.status_code, answer.json()["code"]) == (400, "body-invalid")
    assert answer.json()["errors"][0]["code"] == code
    assert send(server, a_file(server, 9303), headers).json()["accepted"] == 1


# --- the error file ------------------------------------------------------------------------------------------------------


def test_a_department_fetches_the_error_file_of_its_upload(running: Any) -> None:
    """Sent again with `Accept`, the file comes back as CSV or XLSX: its own bad rows with code, words and advice, and the counts."""
    server, headers, city = running
    good = a_file(server, 9401)
    bad = a_file(server, 9402).splitlines()[1].replace("0.5,2026-05-06", "0.5,2026-13-77").replace("罚款,罚款人民币", "罚款,=罚款人民币")
    body = good + bad + "\n"
    receipt = send(server, body, headers).json()
    table = send(server, body, {**headers, "Accept": "text/csv"})
    assert table.status_code == 200, table.text
    assert table.headers["content-type"] == "text/csv; charset=utf-8"
    assert "administrative-penalties.errors.csv" in table.headers["content-disposition"]
    assert table.headers["cache-control"] == "no-store"
    rows = list(csv.reader(io.StringIO(table.content.decode("utf-8-sig"))))
    assert rows[0] == ["行号", *HEADER.strip().split(","), "结果", "代码", "字段", "说明", "建议"]
    assert (rows[1][0], rows[1][-5], rows[1][-4], rows[1][-3]) == ("3", "拒绝", receipt["rows"][0]["code"], receipt["rows"][0]["field"])
    assert rows[1][-2]
    assert "2026-13-77" in rows[1]
    assert any(cell.startswith("'=罚款") for cell in rows[1])
    counts = {row[0]: row[-1] for row in rows[2:] if row[0]}
    assert counts == {"总行数": "2", "接受": "1", "未变": "0", "撤销": "0", "拒绝": "1", "待核": "0"}
    book = send(server, body, {**headers, "Accept": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"})
    sheet = list(load_workbook(io.BytesIO(book.content)).active.iter_rows(values_only=True))
    assert [str(cell) if cell is not None else "" for cell in sheet[1]] == [cell.removeprefix("'") for cell in rows[1]]
    assert send(server, body, headers).json() == receipt
    assert list((city.folder / "data" / "uploads").iterdir()) == []


def test_a_format_that_there_is_not_is_refused(running: Any) -> None:
    """Receipt and error file come in three media types; another is 406, before the file is taken."""
    server, headers, _ = running
    assert send(server, a_file(server, 9403), {**headers, "Accept": "application/pdf"}).status_code == 406

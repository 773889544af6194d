"""`chengxin exchange confirm` and `chengxin measure …` as an officer types them, on a city that was told of a penalty next door."""

import asyncio
import json
from pathlib import Path

import pytest

from gateway.operations.send_batch import send_batch
from tests.commands import Done, chengxin
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
            return record_id

    return tmp_path / "bs", asyncio.run(prepare())


def test_a_measure_is_taken_listed_and_lifted(told: tuple[Path, str], tmp_path: Path) -> None:
    """Refused until a named person has confirmed the record; then it stands beside what follows by itself, and is lifted again."""
    folder, record = told

    def call(*arguments: str) -> Done:
        return chengxin(folder, "--settings", "chengxin.toml", "--actor", "测试员乙", *arguments, CHENGXIN_NOW=NOW)

    take = ("measure", "take", record, "--measure", "focus-supervision", "--authority", MARKET)
    refused = call(*take)
    assert (refused.returncode, refused.stderr.split()[1]) == (1, "measure-refused")
    assert call("measure", "list", "--json").stdout.strip() == "[]"
    confirmed = call("exchange", "confirm", record, "--basis", "《示例条例》第一条")
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

"""Who looked at what is kept about somebody, as a privacy officer answers it at the counter: `chengxin audit about`."""

import json
from pathlib import Path

import pytest

from gateway.services import Services
from tests.administrators import Admin, enrolled
from tests.commands import Done, chengxin
from tests.house import make, settings_of, write_settings
from tests.operations.publishing import NOW, code, person_number, stocked
from tests.operations.test_record_access import OFFICER, STORIES

NUMBER = person_number(1)


async def looked_at(services: Services) -> tuple[Admin, Admin]:
    """A small town, of which an officer has seen a person's penalty; who may tell of it, and an auditor."""
    made = await stocked(services)
    await STORIES["record"](services, OFFICER, made)
    return await enrolled(services, "privacy", "privacy-officer"), await enrolled(services, "audit", "auditor")


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    """The town, with the keys of both beside it."""
    for admin in await make(settings_of(write_settings(tmp_path), CHENGXIN_NOW=NOW), looked_at):
        admin.key_file(tmp_path)
    return tmp_path


def test_a_person_at_the_counter_is_answered(folder: Path) -> None:
    """The number stands in a file; the answer says who, when, why and in which form; it asks for a signature of the right role."""

    def call(*arguments: str, name: str = "privacy") -> Done:
        signed = ("--as", name, "--key", f"{name}.key")
        return chengxin(folder, "--settings", "chengxin.toml", "audit", "about", *arguments, *signed, CHENGXIN_NOW=NOW)

    (folder / "whom.json").write_text(json.dumps({"kind": "natural", "id_no": NUMBER}), encoding="utf-8")
    told = call("--subject", "whom.json", "--json")
    assert told.returncode == 0, told.stderr
    (row,) = json.loads(told.stdout)["rows"]
    assert (row["act"], row["org"], row["purpose_label"], row["datasets"]) == (
        "data.read",
        OFFICER.org,
        "行政机关在监管中查询",
        ["administrative-penalties"],
    )
    assert not any(word in told.stdout for word in (NUMBER, "测试甲", OFFICER.app or "-", OFFICER.case_ref or "-"))
    table = call("--subject", "whom.json", "--limit", "1")
    assert "行政机关在监管中查询" in table.stdout
    assert f"more: --after {row['row']}" in table.stdout
    assert "向主体提供查询记录" in call("--subject", "whom.json", "--after", row["row"]).stdout
    assert json.loads(call(code(2), "--json").stdout)["rows"] == []
    typed = call(NUMBER)
    assert (typed.returncode, "--subject" in typed.stderr, NUMBER in typed.stderr) == (2, True, False)
    assert call().returncode == 2
    assert call(code(1), "--subject", "whom.json").returncode == 2
    wrong = call("--subject", "whom.json", "--after", "yesterday")
    assert (wrong.returncode, "invalid-parameter" in wrong.stderr) == (1, True)
    (folder / "whom.json").write_text(json.dumps({"kind": "natural", "id_no": NUMBER[:-1] + "A"}), encoding="utf-8")
    wrong = call("--subject", "whom.json")
    assert (wrong.returncode, "invalid-parameter" in wrong.stderr, NUMBER[:-1] in wrong.stderr) == (1, True, False)
    assert "role-missing" in call(code(1), name="audit").stderr

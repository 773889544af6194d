"""Mutual query as the office types it: `chengxin query …`."""

import json
from pathlib import Path

import pytest

from tests.commands import Done, chengxin
from tests.house import make, settings_of, write_settings
from tests.operations.publishing import NOW, code, stocked

PERSON = "220599198506150070"


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    """A city without any partner."""
    await make(settings_of(write_settings(tmp_path), CHENGXIN_NOW=NOW), stocked)
    return tmp_path


def test_a_city_that_asks_nobody(folder: Path) -> None:
    """Without a partner nothing is complete; nobody asked and nobody was asked; the number of a person is typed into no command line."""

    def call(*arguments: str) -> Done:
        return chengxin(folder, "--settings", "chengxin.toml", "--actor", "测试员乙", "query", *arguments, CHENGXIN_NOW=NOW)

    asked = call("ask", "--uscc", code(1), "--case", "市监案1号", "--basis", "《示例条例》第一条", "--json")
    assert (asked.returncode, json.loads(asked.stdout)["total"]) == (1, "incomplete")
    refused = call("ask", "--uscc", "9122", "--case", "市监案1号", "--basis", "《示例条例》第一条")
    assert (refused.returncode, refused.stderr.split()[1]) == (1, "QUERY_SUBJECT")
    for command in (("log",), ("asked",), ("asked", "--since", "2026-06-01"), ("about", code(1))):
        told = call(*command, "--json")
        assert (told.returncode, told.stdout.strip()) == (0, "[]"), command
    typed = call("about", PERSON)
    assert (typed.returncode, "--subject" in typed.stderr, PERSON in typed.stderr) == (2, True, False)
    (folder / "subject.json").write_text(json.dumps({"kind": "natural", "id_no": PERSON, "name": "王小明"}), encoding="utf-8")
    assert call("about", "--subject", "subject.json", "--json").stdout.strip() == "[]"
    assert call("about").returncode == 2
    assert "0 answers" in call("end-case", "--case", " 市监案1号 ").stdout

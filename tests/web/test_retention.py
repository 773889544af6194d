"""What was kept long enough, as whoever keeps the house sees it: alarm, figures and the command."""

import asyncio
import json
from datetime import date
from pathlib import Path

import pytest

from gateway import background
from gateway.app import create_app
from gateway.operations import alarms
from gateway.operations.erase_due import erase_due
from gateway.services import open_services
from gateway.settings import Settings
from tests.administrators import enrolled, hand
from tests.commands import chengxin
from tests.operations.publishing import PENALTIES, TAX, a_house, ids, put
from tests.operations.test_retention import YESTERDAY, old
from tests.web.serving import client_of


async def until(settings: Settings, wanted: list[tuple[str, str]]) -> None:
    """Wait until just these alarms about retention stand."""
    found = None
    for _ in range(100):
        async with open_services(settings) as services:
            found = [(each.kind, each.target) for each in await alarms.standing(services) if each.kind == "retention-over"]
        if found == wanted:
            return
        await asyncio.sleep(0.1)
    assert found == wanted


async def test_an_alarm_stands_as_long_as_something_is_due(tmp_path: Path, store_url: str, monkeypatch: pytest.MonkeyPatch):
    """A server looks by itself, raises it and counts; erased, the alarm is over; and it erased nothing itself."""
    monkeypatch.setattr(background, "RETENTION_LOOK_S", 0.1)
    monkeypatch.setattr(background, "POLICY_POLL_S", 0.1)
    async with a_house(tmp_path, store_url) as services:
        settings = services.settings
        made = ids(await put(services, PENALTIES, old(1, "2019-01-09"), old(2, "2026-06-01")))
        door = create_app(settings)
        async with client_of(door) as client:
            assert (await client.get("/v1/problems")).status_code == 200
            await until(settings, [("retention-over", PENALTIES)])
            due = next(family for family in door._meter.collect() if family.name == "chengxin_retention_due")
            assert {sample.labels["dataset"]: sample.value for sample in due.samples} == {PENALTIES: 1}
            by = hand("kang", "key-custodian")
            assert (await erase_due(services, PENALTIES, until=YESTERDAY, most=1, dry_run=False, by=by)).records == 1
            await until(settings, [])
        assert len(made) == 2


async def with_one(folder: Path) -> tuple[str, Path]:
    """A house with a record that is due, and a key custodian's key."""
    async with a_house(folder, "") as services:
        (over,) = ids(await put(services, PENALTIES, old(1, "2019-01-09")))
        return over, (await enrolled(services, "kang", "key-custodian")).key_file(folder)


def test_on_the_command_line(tmp_path: Path):
    """look, due, a dry run, the act: numbers, ids and days, and no value."""
    over, key = asyncio.run(with_one(tmp_path))
    now = {"CHENGXIN_NOW": "2026-06-02T02:30:00Z"}
    assert "no look is finished" in chengxin(tmp_path, "retention", "due", **now).stdout
    words = ["retention", "erase", PENALTIES, "--until", "2024-01-09", "--as", "kang", "--key", str(key)]
    assert "no look is finished" in chengxin(tmp_path, *words, "--dry-run", **now).stdout, "that nothing would go is not known"
    looked = chengxin(tmp_path, "retention", "look", **now)
    assert looked.stdout.splitlines() == ["as of 2026-06-02", f"{PENALTIES}: 1 records, the oldest to be kept until 2024-01-09"]
    named = chengxin(tmp_path, "retention", "due", "--dataset", PENALTIES, **now)
    assert named.stdout.splitlines()[-1] == f"  {over}: 2024-01-09 by order36-general, in_force"
    dry = chengxin(tmp_path, *words, "--dry-run", **now)
    assert dry.stdout.startswith(f"{PENALTIES}, kept until 2024-01-09 at most: 1 records would go")
    wrong = chengxin(tmp_path, "retention", "due", "--dataset", "administrative-penalty", **now)
    assert (wrong.returncode, wrong.stderr) == (1, "error: invalid-parameter: dataset is none of the policy in force\n")
    assert chengxin(tmp_path, *words, **now).returncode == 1
    done = chengxin(tmp_path, *words, "--records", "1", "--json", **now)
    assert json.loads(done.stdout)["records"] == 1
    assert json.loads(chengxin(tmp_path, "retention", "due", "--dataset", TAX, "--json", **now).stdout)["items"] == []
    assert date.fromisoformat(json.loads(chengxin(tmp_path, "retention", "due", "--json", **now).stdout)["looked_on"]) == date(2026, 6, 2)

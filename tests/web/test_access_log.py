"""The access log: every answer is one line, and nothing that anybody sent stands in it."""

import asyncio
import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from gateway.app import create_admin_app, create_app
from gateway.web.access_log import MOST, AccessLog
from tests.house import make, settings_of, write_settings
from tests.web.city import NOW, City, Server, served
from tests.web.serving import client_of

PLANTED = "220599198001010013"
KEYS = {"time", "method", "route", "status", "size", "request_id", "within"}


def lines_of(folder: Path) -> list[dict[str, Any]]:
    """Every line of every day."""
    return [json.loads(line) for path in sorted(folder.glob("*")) for line in path.read_bytes().splitlines()]


def test_every_answer_is_a_line_without_a_value(fresh_city: City) -> None:
    """Lane, lists, problems of the framework and of the front door: route, status and size are told, planted values nowhere."""
    with served(fresh_city) as server:
        code = server.get("/v1/subjects?kind=enterprise&limit=1").json()["items"][0]["uscc"]
        lane = server.get(f"/v1/subjects/{code}", accept_encoding="identity")
        asked = [
            lane,
            server.client.head(f"{server.origin}/v1/subjects/{code}"),
            server.get(f"/v1/subjects?q={PLANTED}"),
            server.get(f"/v1/records?dataset={PLANTED}", authorization=f"Bearer {PLANTED}", referer=f"http://x/{PLANTED}"),
            server.get(f"/v1/nothing/{PLANTED}"),
            server.get(f"/v1/subjects/{PLANTED}/records?case={PLANTED}", user_agent=PLANTED),
            server.get(f"/v1//{PLANTED}"),
            server.client.request("PUT", f"{server.origin}/v1/subjects/{PLANTED}"),
            server.client.request(f"X{PLANTED}", f"{server.origin}/v1/subjects"),
            server.client.post(f"{server.origin}/v1/lookups", json={"id_no": PLANTED, "name": "测试人甲"}),
            server.get("/v1/records.ndjson?dataset=administrative-penalties&limit=all", accept_encoding="identity"),
        ]
    folder = fresh_city.folder / "data" / "logs"
    text = b"".join(path.read_bytes() for path in folder.glob("*"))
    for value in (PLANTED, code, "测试人甲", "127.0.0.1", "?"):
        assert value.encode() not in text, value
    found = {line["request_id"]: line for line in lines_of(folder)}
    assert all(set(line) == KEYS for line in found.values())
    for answer in asked:
        line = found[answer.headers["request-id"]]
        assert line["status"] == answer.status_code, answer.url
        assert line["size"] == len(answer.content), answer.url
    routes = [found[answer.headers["request-id"]]["route"] for answer in asked]
    assert routes[:2] == ["/v1/subjects/{subject}"] * 2
    assert routes[4] == "(unmatched)"
    assert found[asked[8].headers["request-id"]]["method"] == "OTHER"
    assert {path.name for path in folder.iterdir()} == {"access-2026-06-01.ndjson"}
    assert oct(folder.stat().st_mode)[-3:] == "700"
    assert oct(next(folder.iterdir()).stat().st_mode)[-3:] == "600"


async def test_the_administrators_listener_has_one_too(tmp_path: Path) -> None:
    """Its answers are lines of the same files; so are those that nobody signed."""
    settings = settings_of(write_settings(tmp_path), CHENGXIN_NOW=NOW)
    await make(settings)
    async with client_of(create_admin_app(settings)) as client:
        refused = await client.get(f"/admin/v1/policy/proposals/{PLANTED}?x={PLANTED}")
    (line,) = lines_of(tmp_path / "data" / "logs")
    assert (line["status"], line["size"]) == (refused.status_code, len(refused.content))
    assert PLANTED not in json.dumps(line)


@pytest.mark.parametrize("where", ["stdout", "off"])
async def test_elsewhere_or_not_at_all(tmp_path: Path, where: str, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """By setting the lines go to standard output, or nowhere; then there is no folder."""
    settings = settings_of(write_settings(tmp_path), CHENGXIN_NOW=NOW, CHENGXIN_ACCESS_LOG=where, CHENGXIN_EXCHANGE_POLL_S="0")
    await make(settings)
    async with client_of(create_app(settings)) as client:
        assert (await client.get("/v1/problems")).status_code == 200
    told = [json.loads(line) for line in capfdbinary.readouterr().out.splitlines() if line.startswith(b'{"time"')]
    assert [line["route"] for line in told] == (["/v1/problems"] if where == "stdout" else [])
    assert not (tmp_path / "data" / "logs").exists()


async def test_bounded_in_memory_and_dropped_by_day(tmp_path: Path) -> None:
    """Beyond the bound lines are counted; a day goes as a whole when its time is over; a disk that refuses is told, not raised."""
    settings = settings_of(write_settings(tmp_path), CHENGXIN_NOW="2026-06-01T15:59:00Z")
    (tmp_path / "data").mkdir()
    log = AccessLog(settings)
    async with log.running():
        for number in range(MOST + 3):
            log.note("GET", "/v1/x", 200, number, b"0" * 32, 0.05)
        await asyncio.sleep(0)
    found = lines_of(log.folder)
    assert len(found) == MOST + 1
    assert (found[0]["within"], found[-1]["dropped"], log.failing) == ("100ms", 3, False)
    (today,) = log.folder.iterdir()
    assert today.name == "access-2026-06-01.ndjson"
    (log.folder / "access-2025-11-30.ndjson").touch()
    (log.folder / "access-2025-12-01.ndjson").touch()
    (log.folder / "access-notes.ndjson").touch()
    assert log.drop_old({}, date(2026, 6, 1)) == 1
    assert log.drop_old({"audit.network": "P1Y"}, date(2026, 12, 1)) == 0
    assert log.drop_old({"audit.count": "P6M"}, date(2026, 12, 2)) == 2
    assert {path.name for path in log.folder.iterdir()} == {"access-notes.ndjson"}
    for path in log.folder.iterdir():
        path.unlink()
    log.folder.rmdir()
    log.folder.touch()
    async with log.running():
        log.note("GET", "/v1/x", 200, 1, b"0" * 32, 0.05)
    assert log.failing


def test_its_server_is_the_one_that_is_served(sqlite_city: City) -> None:
    """The door of `create_app` notes as soon as it is open, and no more when it is closed."""
    with served(sqlite_city) as server:
        assert isinstance(server, Server)
        assert server.app.noting is not None
    assert server.app.noting is None

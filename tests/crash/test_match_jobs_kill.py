"""Kill −9 of a real server in the middle of a match job: the next one begins it anew and gives the whole result once, never half of it."""

import csv
import io
import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx

from gateway.sample.generate import write_sample
from tests.commands import chengxin, environment
from tests.crash.test_ingest_kill import a_house, command, ingest_words, stored
from tests.house import PLAIN

ROWS = 1000
JOB = "SELECT state, done, upload IS NULL, result IS NULL FROM match_jobs"
TURN = "SELECT turn FROM match_jobs WHERE state = 'running' AND done > 0"
"""Of whoever is at work and has told so; a turn is begun with nothing done."""
PATIENCE_S = 120.0


class Server:
    """A server of a house at an instant, with all its processes in a group of their own."""

    def __init__(self, settings: Path, port: int, now: str) -> None:
        self.process = subprocess.Popen(
            command(settings, "serve"),
            env=environment(CHENGXIN_NOW=now),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, verify=PLAIN)
        until(self._answers)

    def _answers(self) -> bool:
        assert self.process.poll() is None, "the server ended"
        try:
            return self.client.get("/healthz").status_code == 200
        except httpx.TransportError:
            return False

    def kill(self) -> None:
        """The end that nothing can prepare for, of every process."""
        self.client.close()
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def until(said: Any) -> None:
    """Wait until it is so."""
    deadline = time.monotonic() + PATIENCE_S
    while not said():
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.02)


def test_killed_in_the_middle_of_a_match_job(tmp_path: Path) -> None:
    """Killed at work twice: told as at work and without a result, then done by the third server, each row once and the file erased."""
    settings = a_house(tmp_path / "house")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    settings.write_text(settings.read_text(encoding="utf-8").replace("8000", str(port)), encoding="utf-8")
    (file,) = [each for each in write_sample(tmp_path / "files", seed=11, subjects=120) if each.path.name.startswith("01")]
    chengxin(settings.parent, *ingest_words(file, tmp_path / "receipt.json"))
    names = [f"通化市示例{number}药业有限公司" for number in range(ROWS)]
    sheet = "\r\n".join(["名称", *names]).encode()

    address, turn = "", stored(settings, TURN)
    for minute in (30, 40):  # each at an instant at which the turn of the one before is over
        server = Server(settings, port, f"2026-06-01T02:{minute}:00Z")
        try:
            if not address:
                form = {"mapping": json.dumps({"name": "名称"})}
                sent = server.client.post("/v1/match-jobs", files={"file": ("a.csv", sheet, "text/csv")}, data=form)
                assert sent.status_code == 202, sent.text
                address = httpx.URL(sent.headers["location"]).path
            else:
                assert server.client.get(address).json()["state"] in ("queued", "running")
            until(lambda before=turn: stored(settings, TURN) not in (before, []))
            turn = stored(settings, TURN)
        finally:
            server.kill()
        ((state, done, no_upload, no_result),) = stored(settings, JOB)
        assert (state, no_upload, no_result) == ("running", 0, 1)
        assert 0 < int(str(done)) < ROWS

    server = Server(settings, port, "2026-06-01T02:50:00Z")
    try:
        assert server.client.get(f"{address}/result.csv").status_code == 404
        until(lambda: server.client.get(address).json()["state"] == "done")
        job = server.client.get(address).json()
        assert (job["rows"], job["done"]) == (ROWS, ROWS)
        rows = list(csv.DictReader(io.StringIO(server.client.get(f"{address}/result.csv").text)))
        assert [row["名称"] for row in rows] == names
        assert all(row["match_status"] for row in rows)
    finally:
        server.kill()
    assert stored(settings, JOB) == [("done", ROWS, 1, 0)]

"""Kill −9 of a real sender and of a real receiver in the middle of a batch: the next start goes on, effects exactly once.

Two real processes over real sockets: `chengxin exchange send` here, `chengxin serve` next door; whose start is not the point, is a child
of a process that has loaded everything.
"""

import asyncio
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.crash.commanding import Command, through
from tests.house import PLAIN
from tests.ledger import check_ledger
from tests.operations.publishing import PENALTIES as DATASET
from tests.operations.publishing import code, penalty, put
from tests.region import BAISHAN, NOW, PENALTIES, TONGHUA, a_city, agreed_at

RECORDS = 1200


def free_port() -> int:
    """A port that nobody has just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Town:
    """One city as processes see it."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self.settings = folder / "chengxin.toml"
        self.environment = os.environ | {"CHENGXIN_NOW": NOW}

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """`chengxin …` as a process of its own, in a group of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "gateway", "--settings", str(self.settings), *arguments],
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def ask(self, query: str) -> list[tuple[object, ...]]:
        """Rows of its database, read from outside."""
        connection = sqlite3.connect(f"file:{self.folder / 'data' / 'gateway.db'}?mode=ro", uri=True)
        try:
            return connection.execute(query).fetchall()
        finally:
            connection.close()

    def wait(self, query: str, process: subprocess.Popen[bytes] | Command) -> None:
        """Until the query has a row; the process must still be running then."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if self.ask(query):
                break
            assert process.poll() is None, "it was through before it could be killed"
            time.sleep(0.001)
        assert self.ask(query)


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill −9 of the process and of its children."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


@contextmanager
def serving(town: Town) -> Iterator[subprocess.Popen[bytes]]:
    """`chengxin serve`, ready; killed at the end if it still runs."""
    process = town.start("serve")
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            assert process.poll() is None, process.communicate()
            try:
                if httpx.get(f"http://127.0.0.1:{town.port}/healthz", verify=PLAIN).status_code == httpx.codes.OK:
                    break
            except httpx.HTTPError:
                time.sleep(0.05)
        yield process
    finally:
        if process.poll() is None:
            kill(process)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int, int]:
    """Two cities that have agreed; Tonghua has penalties to tell. Copied for each test; their ports are free again by then."""
    folder, ports = tmp_path_factory.mktemp("towns"), (free_port(), free_port())

    async def prepare() -> None:
        async with agreed_at(folder, ports) as (tonghua, _):
            rows = [
                penalty(code(number), f"通化市测试{number}商贸有限公司", f"通示罚〔2026〕{number}号") for number in range(1, RECORDS + 1)
            ]
            await put(tonghua, DATASET, *rows)

    asyncio.run(prepare())
    return folder, *ports


@pytest.fixture
def towns(prepared: tuple[Path, int, int], tmp_path: Path) -> tuple[Town, Town]:
    """The two cities of this test."""
    folder, *ports = prepared
    shutil.copytree(folder, tmp_path / "towns")
    return Town(tmp_path / "towns" / "th", ports[0]), Town(tmp_path / "towns" / "bs", ports[1])


def sending(town: Town) -> tuple[str, ...]:
    """The words of `chengxin exchange send`."""
    return ("--settings", str(town.settings), "exchange", "send", "--now")


def send(town: Town) -> None:
    """`chengxin exchange send`, to its end."""
    through(*sending(town), variables=town.environment)


def all_is_well(ours: Town, theirs: Town) -> None:
    """Both ledgers hold, every record arrived once, and both logs have one head."""

    async def look() -> None:
        async with (
            a_city(ours.folder, TONGHUA, now=NOW, port=ours.port) as tonghua,
            a_city(theirs.folder, BAISHAN, now=NOW, port=theirs.port) as baishan,
        ):
            await check_ledger(tonghua)
            await check_ledger(baishan)

    asyncio.run(look())
    assert theirs.ask("SELECT count(*), count(DISTINCT record_id), max(version), min(state) FROM records") == [
        (RECORDS, RECORDS, 1, "in_force")
    ]
    assert theirs.ask("SELECT count(*), min(seq), max(seq) FROM changes") == [(RECORDS, 1, RECORDS)]
    head = f"stream = '{PENALTIES}'"
    sent, got = (
        ours.ask(f"SELECT epoch, seq, size, manifest_digest FROM out_streams WHERE {head}"),
        theirs.ask(f"SELECT epoch, seq, size, manifest_digest FROM in_streams WHERE {head}"),
    )
    assert sent == got
    assert ours.ask("SELECT count(*) FROM out_batches WHERE state <> 'acked'") == [(0,)]


def test_the_sender_is_killed(towns: tuple[Town, Town]):
    """While it is delivered: the same bytes go again, and a receipt that was lost comes again. Every transition: test_exchange_seeds."""
    ours, theirs = towns
    moment = f"SELECT 1 FROM out_batches WHERE stream = '{PENALTIES}' AND state = 'published'"
    with serving(theirs):
        process = ours.start("exchange", "send", "--now")
        ours.wait(moment, process)
        sealed = ours.ask("SELECT stream, seq, manifest_digest FROM out_batches ORDER BY 1, 2")
        kill(process)
        before = ours.ask("SELECT stream, seq, manifest_digest FROM out_batches ORDER BY 1, 2")
        assert before[: len(sealed)] == sealed
        send(ours)
        after = ours.ask("SELECT stream, seq, manifest_digest FROM out_batches ORDER BY 1, 2")
        assert set(before) <= set(after), "what was sealed is never sealed again"
    all_is_well(ours, theirs)


def test_the_receiver_is_killed(towns: tuple[Town, Town]):
    """Killed while it applies, the receiver has applied nothing, or all of it; the same batch again is applied once."""
    ours, theirs = towns
    for pause in (0.05, 0.6):
        with serving(theirs) as receiver:
            sender = Command(*sending(ours), variables=ours.environment)
            ours.wait("SELECT 1 FROM out_batches WHERE attempts > 0", sender)
            time.sleep(pause)
            kill(receiver)
            sender.wait()
        (count,) = theirs.ask("SELECT count(*) FROM records")[0]
        assert count in (0, RECORDS), "a batch is applied whole or not at all"
        assert (count == 0) == (theirs.ask(f"SELECT seq FROM in_streams WHERE stream = '{PENALTIES}' AND seq > 0") == [])
    with serving(theirs):
        send(ours)
    all_is_well(ours, theirs)

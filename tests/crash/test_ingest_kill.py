"""Kill −9 of the command in the middle of an ingest: the next start goes on, nothing is doubled, nothing is lost."""

import json
import signal
import sqlite3
import sys
import time
from pathlib import Path

import pytest

from gateway.sample.files import SampleFile
from gateway.sample.generate import write_sample
from gateway.sample.people import authorities
from tests.commands import chengxin
from tests.crash.commanding import Command, started, through
from tests.house import write_settings

CHUNK = 25


def command(settings: Path, *arguments: str) -> list[str]:
    """`chengxin …` as a process of its own."""
    return [sys.executable, "-m", "gateway", "--settings", str(settings), *arguments]


def ingest_words(file: SampleFile, receipt: Path) -> list[str]:
    """The ingest of one file of the sample."""
    said = ["--authority", str(file.authority), "--officer", str(file.officer), "--encoding", file.encoding]
    return ["ingest", file.dataset, str(file.path), *said, "--receipt", str(receipt)]


def a_house(folder: Path) -> Path:
    """A gateway in a folder, with the sample's authorities and small chunks; its settings file."""
    settings = write_settings(folder, more=f"ingest_chunk = {CHUNK}")
    with settings.open("a", encoding="utf-8") as file:
        for each in authorities("220500")[1:]:
            file.write(f'\n[[authorities]]\nuscc = "{each.uscc}"\nname = "{each.name}"\nregion = "{each.region}"\n')
    done = chengxin(folder, "init")
    assert done.returncode == 0, done.stderr
    return settings


def stored(settings: Path, query: str) -> list[tuple[object, ...]]:
    """Rows of the gateway's database, read from outside."""
    connection = sqlite3.connect(f"file:{settings.parent / 'data' / 'gateway.db'}?mode=ro", uri=True)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


RECORDS = "SELECT state, version, hold_code, trust, count(*) FROM records GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4"
CHANGES = "SELECT count(*), min(seq), max(seq), count(DISTINCT record_id) FROM changes"
RENDERED = "SELECT count(*) FROM rendered_records"


@pytest.mark.parametrize("prefix", ["01", "05"])
def test_killed_in_the_middle_of_an_ingest(tmp_path, prefix):
    """Killed twice at different chunks, the third start finishes: same receipt, same records, a dense log without repeats."""
    files = write_sample(tmp_path / "files", seed=11, subjects=420)
    file = next(file for file in files if file.path.name.startswith(prefix))
    calm = a_house(tmp_path / "calm")
    done = chengxin(calm.parent, *ingest_words(file, tmp_path / "calm.json"))
    assert done.returncode == 3, done.stderr

    settings = a_house(tmp_path / "stormy")
    receipt = tmp_path / "stormy.json"
    reached = 0
    for death in range(2):
        begin = started if (prefix, death) == ("01", 0) else Command
        process = begin("--settings", str(settings), *ingest_words(file, receipt))
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            (count,) = stored(settings, "SELECT count(*) FROM changes")[0]
            if count > reached:
                reached = int(count)
                break
            time.sleep(0.002)
        assert process.poll() is None, "the ingest was through before it could be killed"
        process.kill()
        assert process.wait() == -signal.SIGKILL
        assert not receipt.exists()
        (count, first, last, _) = stored(settings, CHANGES)[0]
        assert (first, last) == (1, count)
        (cursor,) = stored(settings, "SELECT cursor FROM ingests")[0]
        assert int(str(cursor).partition(":")[2]) > 1

    through("--settings", str(settings), *ingest_words(file, receipt), status=3)
    assert json.loads(receipt.read_bytes()) == json.loads((tmp_path / "calm.json").read_bytes())
    for query in (RECORDS, CHANGES, RENDERED):
        assert stored(settings, query) == stored(calm, query)
    assert stored(settings, "SELECT state FROM ingests") == [("done",)]

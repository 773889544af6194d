"""Kill −9 of the command in the middle of building versions, and of issuing them again: old or new whole, never half."""

import hashlib
import sqlite3
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from gateway.core.publication.versions import commitment, root_of
from gateway.sample.generate import write_sample
from tests.commands import chengxin
from tests.crash.commanding import Command, started, through
from tests.crash.test_ingest_kill import a_house, ingest_words, stored

PARTS = "SELECT (SELECT count(*) FROM list_versions), (SELECT count(*) FROM list_rows), (SELECT count(*) FROM list_issues WHERE issue > 1)"


def killed(settings: Path, *arguments: str, begin: Callable[..., Command | subprocess.Popen[bytes]] = Command) -> bool:
    """Run a command and kill it at the first sign that it writes; whether it was still at work."""
    before = stored(settings, PARTS)
    process = begin("--settings", str(settings), *arguments)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None and stored(settings, PARTS) == before:
        time.sleep(0.001)
    alive = process.poll() is None
    process.kill()
    process.wait()
    return alive


def whole(settings: Path, *, settled: bool = False) -> int:
    """Every version that is given has all its rows, its size and its root; how many versions there are.

    One that waits for its next issue, and is refused until then, may have lost lines that it still counts, and nothing else.
    """
    connection = sqlite3.connect(f"file:{settings.parent / 'data' / 'gateway.db'}?mode=ro", uri=True)
    try:
        found = connection.execute("SELECT collection, seq, rows, size, root, pending FROM list_versions").fetchall()
        for collection, seq, rows, size, root, pending in found:
            held = connection.execute(
                "SELECT line, commitment FROM list_rows WHERE collection = ? AND first <= ? AND until > ? ORDER BY record_id",
                (collection, seq, seq),
            ).fetchall()
            lines = sum(line is not None for line, _ in held)
            assert len(held) == size
            assert lines < rows if pending is not None else lines == rows
            assert not (settled and pending)
            assert root_of(leaf for _, leaf in held) == root
            assert all(commitment(line) == leaf for line, leaf in held if line is not None)
        return len(found)
    finally:
        connection.close()


def test_killed_while_versions_are_built_and_issued_again(tmp_path: Path) -> None:
    """After each kill every version is whole; the next run finishes; nothing of who left is in any file."""
    settings = a_house(tmp_path / "house")
    files = {file.dataset: file for file in write_sample(tmp_path / "files", seed=11, subjects=60)}
    for dataset in ("registrations", "tax-violations"):
        chengxin(settings.parent, *ingest_words(files[dataset], tmp_path / f"{dataset}.json"))
    assert killed(settings, "lists", "build", begin=started)
    whole(settings)
    through("--settings", str(settings), "lists", "build")
    built = whole(settings)
    assert built > 2
    assert stored(settings, "SELECT count(*) FROM list_rows WHERE until = 0") == [(0,)]

    ((record, line),) = stored(
        settings, "SELECT record_id, line FROM list_rows WHERE collection = 'lists/tax-violations' AND line IS NOT NULL LIMIT 1"
    )
    assert chengxin(settings.parent, "withdraw", str(record), "--reason", "revoked").returncode == 0
    killed(settings, "settle")
    whole(settings)
    through("--settings", str(settings), "settle")
    assert whole(settings, settled=True) >= built
    assert stored(settings, f"SELECT count(*) FROM list_rows WHERE record_id = '{record}' AND line IS NOT NULL") == [(0,)]
    kept = [path for path in (settings.parent / "data" / "lists").rglob("*") if path.is_file() and not path.name.startswith(".")]
    assert kept
    known = {str(digest) for (digest,) in stored(settings, "SELECT sha256 FROM list_files")}
    for path in kept:
        assert str(record).encode() not in path.read_bytes()
        assert hashlib.sha256(path.read_bytes()).hexdigest() in known
    assert line

"""The demo as a real process: the whole story, told again, ended by Ctrl-C at any moment, and refused with what to do."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import httpx
import pytest

from gateway.sample.generate import showcase
from tests.commands import environment
from tests.house import PLAIN
from tests.test_cli import free_port

SUBJECTS = 60
SEED = 7
CHAPTERS = (
    "1. Keys and data",
    "2. Department files",
    "3. Agreement",
    "4. Served",
    "5. One record, two views",
    "6. A signed batch",
    "7. An honour, recognised next door",
    "8. A penalty, repaired",
    "9. The log",
    "Try:",
)
PATIENCE_S = 240


class Demo:
    """`chengxin demo` in a folder, with its output in a file; whatever is left of it is killed at the end."""

    def __init__(self, folder: Path, *more: str, ports: tuple[int, int] | None = None) -> None:
        self.folder = folder
        self.ports = ports or (free_port(), free_port())
        self.more = more
        self.log = folder.parent / f"{folder.name}.log"

    def __enter__(self) -> "Demo":
        arguments = ("demo", "--data", str(self.folder), "--port", str(self.ports[0]), "--neighbour-port", str(self.ports[1]))
        sample = ("--subjects", str(SUBJECTS), "--seed", str(SEED))
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gateway", *arguments, *sample, *self.more],
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=environment(),
                start_new_session=True,
            )
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    @property
    def output(self) -> str:
        """What it has said so far."""
        return self.log.read_text(encoding="utf-8")

    def until(self, text: str) -> None:
        """Wait until it has said this."""
        deadline = time.monotonic() + PATIENCE_S
        while text not in self.output:
            assert self.process.poll() is None, self.output
            assert time.monotonic() < deadline, self.output
            time.sleep(0.1)

    def ended(self) -> int:
        """Wait for its end."""
        return self.process.wait(timeout=PATIENCE_S)

    def interrupt(self, number: int = signal.SIGINT) -> int:
        """Ctrl-C, as a terminal sends it to the whole foreground group."""
        os.killpg(self.process.pid, number)
        return self.ended()


def listening(port: int) -> bool:
    """Whether anybody answers there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def left_over(folder: Path) -> list[str]:
    """Processes that still have this folder in their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in line and "pytest" not in line:
            found.append(line)
    return found


def nobody_is_left(demo: Demo) -> bool:
    """All children are gone, within a moment."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if not left_over(demo.folder) and not any(map(listening, demo.ports)):
            return True
        time.sleep(0.1)
    return False


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Demo, str]:
    """A demo that told its story once and was ended by Ctrl-C, with what it said."""
    demo = Demo(tmp_path_factory.mktemp("demo") / "run")
    with demo:
        demo.until("Both gateways stay up")
        said = demo.output
        firm = showcase(seed=SEED, city="220500", subjects=SUBJECTS, today=_today(demo)).firm.uscc
        for port in demo.ports:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10, verify=PLAIN) as client:
                assert client.get("/healthz").status_code == 200
                answer = client.get(f"/v1/subjects/{firm}")
                assert answer.status_code == 200
                assert answer.headers["sample-data"] == "?1"
        statuses = {
            url: httpx.get(url, timeout=30, verify=PLAIN).status_code
            for url in re.findall(r"^  (http\S+)$", said[said.index("Try:") :], re.MULTILINE)
        }
        assert len(statuses) >= 10
        assert set(statuses.values()) == {200}, statuses
        assert demo.interrupt() == 0, demo.output
    return demo, said


def _today(demo: Demo) -> date:
    return date.fromisoformat(json.loads((demo.folder / "state.json").read_bytes())["today"])


def test_the_story_is_told_in_its_order(told: tuple[Demo, str]) -> None:
    """Every chapter is there, in order, and both cities' receipts are printed."""
    _, said = told
    places = [said.index(chapter) for chapter in CHAPTERS]
    assert places == sorted(places)
    assert said.count("accepted ") >= 2
    assert said.count("rejected by code") == 2
    assert "SUBJ_USCC" in said


def test_a_masked_answer_stands_beside_the_departments(told: tuple[Demo, str]) -> None:
    """The household's code is masked for the public and whole for the department, and each hidden field has its reason with the law."""
    _, said = told
    chapter = said[said.index(CHAPTERS[4]) : said.index(CHAPTERS[5])]
    assert re.search(r"统一社会信用代码 +92220\d{3}\*{10} +92220\d{3}XXT\w{7} +keep\(8,0\)", chapter)
    assert re.search(r"行政相对人名称 +\S+\*{4}个体工商户 ", chapter)
    reasons = chapter[chapter.index("why:") :].splitlines()[1:]
    assert sum("《" in reason for reason in reasons) >= 3
    assert "示例数据" in chapter


def test_the_neighbour_admits_recognises_and_forgets(told: tuple[Demo, str]) -> None:
    """The receipts are checked, honour and filing are recognised, the repaired penalty is gone from both cities, and the heads are one."""
    _, said = told
    assert len(re.findall(r"batch 1: [1-9]\d* lines?, tree size", said)) == 4
    assert len(re.findall(r"receipt \d+, signed by credit\.baishan\.example/x, verified: (?:applied|partial), accepted", said)) == 4
    assert "batch 2: 1 line," in said
    assert "verified: applied, withdrawn 1" in said
    assert said.count("marks: recognised (互认)") == 2, "an honour and a filing"
    assert "under tonghua-baishan-2026, as of" in said
    assert re.search(r"通化市 is told: green-channel in_effect, filing-accepted in_effect", said)
    assert len(re.findall(r"→ 404, and not among the firm's records", said)) == 2
    heads = re.findall(r"size +(\d+)  root (\S+)", said[said.index(CHAPTERS[8]) :])
    assert len(heads) == 2
    assert heads[0] == heads[1]
    assert said.count(": verified") >= 2
    assert "recomputed, verified" in said


def test_nothing_breaks_on_the_way(told: tuple[Demo, str]) -> None:
    """No alarm was raised in either city."""
    demo, _ = told
    for city in ("tonghua", "baishan"):
        with contextlib.closing(sqlite3.connect(demo.folder / city / "data" / "gateway.db")) as database:
            assert database.execute("SELECT kind, target FROM alarms").fetchall() == []


def test_ctrl_c_ends_everything(told: tuple[Demo, str]) -> None:
    """After Ctrl-C no process and no listener is left, and the status was 0."""
    demo, _ = told
    assert nobody_is_left(demo)
    assert "ending both gateways" in demo.output
    assert "error" not in demo.output


def test_told_again_it_reuses_the_data(told: tuple[Demo, str]) -> None:
    """The second run takes nothing in again, shows the same heads, does not repair twice, and ends by itself with --once."""
    first, said = told
    with Demo(first.folder, "--once", ports=first.ports) as again:
        assert again.ended() == 0, again.output
        repeated = again.output
    assert "taken in before" in repeated
    assert "signed before" in repeated
    assert "repaired at" not in repeated
    tail = slice(said.index(CHAPTERS[8]), said.index("Try:"))
    assert said[tail] == repeated[repeated.index(CHAPTERS[8]) : repeated.index("Try:")]
    assert nobody_is_left(again)


def test_other_ports_for_the_same_folder_are_refused(told: tuple[Demo, str]) -> None:
    """The agreement names addresses: a folder that was made for others is not mixed, and the error says what to do."""
    first, _ = told
    with Demo(first.folder, "--once") as other:
        assert other.ended() == 1
        assert "error: demo-folder" in other.output
        assert "--data" in other.output


def test_data_of_an_older_version_are_told_with_the_folder(told: tuple[Demo, str], tmp_path: Path) -> None:
    """A folder that an unreleased version made is not gone on with, and the error names the folder to delete."""
    first, _ = told
    folder = tmp_path / "run"
    shutil.copytree(first.folder, folder)
    with contextlib.closing(sqlite3.connect(folder / "baishan" / "data" / "gateway.db")) as connection:
        connection.execute("DROP TABLE out_subtrees")
    with Demo(folder, "--once", ports=first.ports) as older:
        assert older.ended() == 1
        assert f"error: migration-unreleased at {folder}: " in older.output
        assert f"delete {folder} and begin anew" in older.output


def test_a_used_port_is_told_before_anything_is_made(tmp_path: Path) -> None:
    """Nothing is written when an address is taken."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with Demo(tmp_path / "run", "--once", ports=(taken.getsockname()[1], free_port())) as demo:
            assert demo.ended() == 1
            assert demo.output.startswith("error: port-in-use at 127.0.0.1:")
    assert not (tmp_path / "run").exists()


def test_an_interrupted_story_ends_cleanly_and_goes_on(tmp_path: Path) -> None:
    """Ended in the middle, twice and by either signal, nothing is left running; the next run goes on from there to the end.

    And when one of its servers is gone then, the demo says so and ends the other.
    """
    ports = free_port(), free_port()
    for chapter, number in (("2. Department files", signal.SIGINT), ("4. Served", signal.SIGTERM)):
        with Demo(tmp_path / "run", ports=ports) as demo:
            demo.until(chapter)
            assert demo.interrupt(number) == 130, demo.output
            assert nobody_is_left(demo)
    with Demo(tmp_path / "run", ports=ports) as again:
        again.until("Both gateways stay up")
        assert [chapter for chapter in CHAPTERS if chapter not in again.output] == []
        server = next(int(path.parent.name) for path in Path("/proc").glob("[0-9]*/cmdline") if _is_server(path, again))
        os.kill(server, signal.SIGKILL)
        assert again.ended() == 1
        assert "error: demo-child-failed" in again.output
        assert nobody_is_left(again)


def test_a_killed_demo_takes_its_children_along(told: tuple[Demo, str]) -> None:
    """Even when the demo itself is killed, no server stays behind."""
    first, _ = told
    with Demo(first.folder, ports=first.ports) as demo:
        demo.until("Both gateways stay up")
        demo.process.kill()
        assert demo.ended() == -signal.SIGKILL
        assert nobody_is_left(demo)


def _is_server(path: Path, demo: Demo) -> bool:
    try:
        line = path.read_bytes().decode(errors="replace")
    except OSError:
        return False
    return str(demo.folder) in line and "tonghua" in line and line.rstrip("\0").endswith("serve")

"""The product under measurement: one gateway's data directory, filled by its own commands, and the processes that serve it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench import register
from tests.bench.load import SERVER_CORE, free_port, server

SETTINGS = """
party = "credit.tonghua.example"
region = "220500"
org = "11220500XXT0001181"
data_dir = "data"
policies = "policies"
public_origin = "http://127.0.0.1:{port}"
port = {port}
demo = true
quota_factor = 100000
ingest_chunk = 2000
lists_build_s = 0
authorities = [{{ uscc = "{authority}", name = "{name}", region = "220500" }}]
"""


class House:
    """One gateway in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.settings = folder / "chengxin.toml"
        folder.mkdir(parents=True, exist_ok=True)
        self.settings.write_text(
            SETTINGS.format(port=self.port, authority=register.AUTHORITY, name=register.AUTHORITY_NAME), encoding="utf-8"
        )

    @property
    def origin(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def database(self) -> Path:
        """Its SQLite file."""
        return self.folder / "data" / "gateway.db"

    def command(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run `chengxin …` on the server's core."""
        done = subprocess.run(
            ["taskset", "-c", SERVER_CORE, sys.executable, "-m", "gateway", "--settings", str(self.settings), *arguments],
            capture_output=True,
            text=True,
        )
        if check and done.returncode != 0:
            raise RuntimeError(f"chengxin {' '.join(arguments)}: exit {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
        return done

    def ingest(self, dataset: str, file: Path) -> tuple[dict[str, object], float]:
        """Ingest a file by the command; its receipt and the wall seconds, start-up of the process included."""
        receipt = file.with_suffix(".receipt.json")
        started = time.perf_counter()
        self.command(
            "ingest",
            dataset,
            str(file),
            "--authority",
            register.AUTHORITY,
            "--officer",
            "bench",
            "--encoding",
            "utf-8",
            "--receipt",
            str(receipt),
        )
        seconds = time.perf_counter() - started
        return json.loads(receipt.read_bytes()), seconds

    @contextmanager
    def serving(self) -> Iterator[int]:
        """The production entry, pinned to the server's core."""
        with server(self._serve, f"{self.origin}/healthz") as pid:
            yield pid

    @contextmanager
    def serving_unkept(self) -> Iterator[str]:
        """The same beside it, with nothing of the register in memory: where it answers."""
        port = free_port()
        origin = f"http://127.0.0.1:{port}"
        with server(self._serve, f"{origin}/healthz", env={"CHENGXIN_PORT": str(port), "CHENGXIN_LANE_MEMORY_MB": "0"}):
            yield origin

    @property
    def _serve(self) -> list[str]:
        return [sys.executable, "-m", "gateway", "--settings", str(self.settings), "serve"]


def in_child(module: str, *arguments: str, env: dict[str, str] | None = None) -> dict[str, float]:
    """Run a measuring module in a process of its own on the server's core; it prints one JSON object last."""
    done = subprocess.run(
        ["taskset", "-c", SERVER_CORE, sys.executable, "-m", module, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **(env or {})},
    )
    if done.returncode != 0:
        raise RuntimeError(f"{module}: exit {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}")
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))

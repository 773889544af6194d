"""The command `chengxin` as a test calls it: in this process where its answer is the point, as a real process where the process is.

Strategy: a process start costs a second of a core, most of it spent on importing what this process holds already. What a command says,
its status and the lines of its errors come from the same `cli.run` either way; signals, pipes, limits of memory, being killed, what is
imported, and one command of every status stay real processes.
"""

import os
import subprocess
import sys
from contextlib import chdir
from pathlib import Path

from click.testing import CliRunner

from gateway import cli

Done = subprocess.CompletedProcess[str]


def environment(**more: str) -> dict[str, str]:
    """Ours without any setting, so that a test sees what it gives."""
    return {name: value for name, value in os.environ.items() if not name.startswith("CHENGXIN_")} | {"COLUMNS": "200"} | more


def process(folder: Path, *arguments: str, typed: str = "", **more: str) -> Done:
    """Run the command in a folder, as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "gateway", *arguments],
        cwd=folder,
        env=environment(**more),
        input=typed,
        capture_output=True,
        text=True,
        timeout=120,
    )


def chengxin(folder: Path, *arguments: str, typed: str = "", **more: str) -> Done:
    """Run the command in a folder, in this process: everything but the start of the interpreter."""
    ours = dict.fromkeys(name for name in os.environ if name.startswith("CHENGXIN_"))
    with chdir(folder), CliRunner().isolation(input=typed, env={**ours, "COLUMNS": "200", **more}) as (out, err, _):
        try:
            status = cli.run(arguments)
        except SystemExit as end:  # a command that ends with a status of its own
            status = int(end.code or 0)
        sys.stdout.flush()
        sys.stderr.flush()
        said = out.getvalue().decode(), err.getvalue().decode()
    return subprocess.CompletedProcess(arguments, status, *said)

"""`chengxin …` as a process that can be killed, without its start: a child of the process that has loaded everything (`dying`).

It has a session, a directory and an environment of its own, and runs the same `cli.run`. Each story of deaths has one of a command that was
`started` as an operator starts it, for a child of a full process might hold what such a one has not.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from gateway import cli
from tests.commands import environment
from tests.crash.dying import SPAWN


def _run(arguments: tuple[str, ...], variables: Mapping[str, str], errors: str) -> None:
    os.setsid()
    os.environ.clear()
    os.environ.update(variables)
    sys.path[:0] = filter(None, variables.get("PYTHONPATH", "").split(os.pathsep))  # as an interpreter of its own would have it
    for number, path in ((0, os.devnull), (1, os.devnull), (2, errors)):
        opened = os.open(path, os.O_RDWR)
        os.dup2(opened, number)
        os.close(opened)
    sys.exit(cli.run(arguments))


class Command:
    """One command at work, in the words of `subprocess.Popen`."""

    def __init__(self, *arguments: str, variables: Mapping[str, str] | None = None) -> None:
        self.args = arguments
        with tempfile.NamedTemporaryFile(delete=False) as file:
            self._errors = Path(file.name)
        self._said = b""
        self._process: ForkServerProcess = SPAWN.Process(target=_run, args=(arguments, variables or environment(), str(self._errors)))
        self._process.start()

    @property
    def pid(self) -> int:
        """Of the process, and of its session."""
        return int(self._process.pid or 0)

    @property
    def returncode(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """The same."""
        return self.returncode

    def kill(self) -> None:
        """The end that nothing can prepare for."""
        self._process.kill()

    def wait(self, timeout: float = 120) -> int:
        """Its status, when it has ended."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(self.args, timeout)
        if self._errors.exists():
            self._said = self._errors.read_bytes()
            self._errors.unlink()
        return self._process.exitcode

    def communicate(self, timeout: float = 120) -> tuple[bytes, bytes]:
        """Nothing, and what it said of errors, when it has ended."""
        self.wait(timeout)
        return b"", self._said


def started(*arguments: str, variables: Mapping[str, str] | None = None) -> "subprocess.Popen[bytes]":
    """The same as an operator starts it: an interpreter of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "gateway", *arguments],
        env=variables or environment(),
        stdout=subprocess.DEVNULL,  # errors go where this process says its own
        start_new_session=True,
    )


def through(*arguments: str, variables: Mapping[str, str] | None = None, status: int = 0) -> None:
    """A command to its end, which has this status."""
    done = Command(*arguments, variables=variables)
    _, errors = done.communicate()
    assert done.returncode == status, errors.decode()

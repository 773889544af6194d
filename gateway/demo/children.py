"""The demo's child processes: the real command, started, watched and ended.

Rules: a child is `python -m gateway …` with the environment of a fresh shell (no `CHENGXIN_…` of ours leaks in); its output goes to
a log file beside the city's data; a server is signalled only after it has answered once, because an earlier signal is lost on it;
whatever happens, no child outlives the demo. This room must not know the story.
"""

import asyncio
import ctypes
import os
import signal
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import httpx

from gateway.core.errors import GatewayError, SettingsError
from gateway.settings import ENVIRONMENT_PREFIX

READY_S = 90.0
STOP_S = 15.0
PARENT_DEATH = 1
"""`PR_SET_PDEATHSIG` of prctl(2)."""


class ChildFailed(GatewayError):
    """A process of the demo ended with an error; its own last line says why."""

    code = "demo-child-failed"


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Ours without the variables that would override a city's settings; the test clock and seed stay."""
    kept = {f"{ENVIRONMENT_PREFIX}NOW", f"{ENVIRONMENT_PREFIX}SEED"}
    return {name: value for name, value in environment.items() if not name.startswith(ENVIRONMENT_PREFIX) or name in kept}


def refuse_used_ports(ports: tuple[int, ...]) -> None:
    """Find out before any work that an address is taken.

    Raises SettingsError port-in-use.
    """
    for port in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                raise SettingsError(
                    f"the address cannot be used: {error.strerror}",
                    code="port-in-use",
                    place=f"127.0.0.1:{port}",
                    hint="stop what listens there, or give other ports with `chengxin demo --port N --neighbour-port M`",
                ) from error


async def run(module: str, *arguments: str, log: Path) -> None:
    """Run a module of ours to its end.

    Raises ChildFailed with the last line of what it wrote.
    """
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", module, *arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=clean_environment(os.environ),
            preexec_fn=_end_with_parent,
            start_new_session=True,
        )
        try:
            status = await process.wait()
        except asyncio.CancelledError:
            _kill_group(process.pid)
            await process.wait()
            raise
    if status != 0:
        raise ChildFailed(_last_line(log), place=module, hint=f"its whole output stands in {log}")


class Server:
    """One city's `chengxin serve`."""

    def __init__(self, name: str, settings: Path, origin: str, log: Path) -> None:
        self.name = name
        self.origin = origin
        self._settings = settings
        self._log = log
        self._process: asyncio.subprocess.Process | None = None
        self._answered = False

    async def start(self) -> None:
        """Start it; `ready` tells when it answers."""
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "gateway", "--settings", str(self._settings), "--actor", "demo", "serve"),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=clean_environment(os.environ),
                preexec_fn=_end_with_parent,
                start_new_session=True,
            )

    async def ready(self) -> None:
        """Wait until it answers and its read model has caught up.

        Raises ChildFailed when it ends or does not answer in time.
        """
        deadline = asyncio.get_running_loop().time() + READY_S
        async with httpx.AsyncClient(base_url=self.origin, timeout=5.0) as client:
            for path in ("/healthz", "/readyz"):
                while not await self._answers(client, path):
                    if self._process is None or self._process.returncode is not None:
                        raise ChildFailed(_last_line(self._log), place=f"serve {self.name}", hint=f"its whole output stands in {self._log}")
                    if asyncio.get_running_loop().time() > deadline:
                        raise ChildFailed(
                            f"no answer at {path} within {READY_S:.0f} s", place=f"serve {self.name}", hint=f"see {self._log}"
                        )
                    await asyncio.sleep(0.1)

    async def _answers(self, client: httpx.AsyncClient, path: str) -> bool:
        try:
            answer = await client.get(path)
        except httpx.HTTPError:
            return False
        self._answered = True
        return answer.status_code == httpx.codes.OK

    async def ended(self) -> None:
        """Wait until the process is gone by itself.

        Raises ChildFailed: a server of the demo ends only when the demo ends it.
        """
        status = await self._process.wait() if self._process is not None else 0
        raise ChildFailed(f"the server has ended with status {status}", place=f"serve {self.name}", hint=f"see {self._log}")

    async def stop(self) -> None:
        """End it in order, by force when it does not listen; harmless when it is gone."""
        process = self._process
        if process is None:
            return
        if process.returncode is None:
            process.send_signal(signal.SIGTERM if self._answered else signal.SIGKILL)
            with suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), STOP_S)
        _kill_group(process.pid)  # a worker that does not listen, or whose parent is gone
        await process.wait()


def _kill_group(leader: int) -> None:
    """The child leads a session of its own: whatever is left of it goes with it."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        return


def _end_with_parent() -> None:
    """In the child: when the demo is killed, end too (Linux; elsewhere Ctrl-C and TERM still end it in order)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PARENT_DEATH, signal.SIGTERM)


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it ended without a word"

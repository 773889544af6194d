"""Servers pinned to one core, the load generator to the other; one measurement = requests a second and latency percentiles."""

import contextlib
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import httpx
from msgspec import Struct

CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE, LOAD_CORE = str(CORES[0]), str(CORES[-1])

_LUA = """
local paths = {}
for line in io.lines("%s") do paths[#paths + 1] = line end
local requests = {}
init = function(args)
  math.randomseed(%d)
  wrk.headers["Accept"] = "application/json"
  %s
  for i, path in ipairs(paths) do requests[i] = wrk.format("GET", path) end
end
request = function() return requests[math.random(#requests)] end
"""

_PLAYED = """
local requests, at = {}, 0
init = function(args)
  wrk.headers["Accept"] = "application/json"
  for line in io.lines("%s") do
    local headers, path = {}, nil
    for name, value in pairs(wrk.headers) do headers[name] = value end
    for piece in line:gmatch("[^\\t]+") do
      if path == nil then path = piece else headers[piece:match("^[^:]+")] = piece:match(": (.*)$") end
    end
    requests[#requests + 1] = wrk.format("GET", path, headers)
  end
end
request = function()
  at = at + 1
  return requests[at] or wrk.format("GET", "/nothing-is-left")
end
local runner
setup = function(thread) runner = thread end
others = 0
response = function(status) if status ~= 200 then others = others + 1 end end
done = function() print("Other than 200: " .. runner:get("others")) end
"""
"""Requests in their order, each once; one more than there are would be a 404. Every status is looked at."""


class Load(Struct, frozen=True, kw_only=True):
    """One run of the load generator."""

    rate: float
    """Requests a second."""
    p50_ms: float
    p99_ms: float
    bytes_s: float
    errors: int
    """Answers other than 2xx and 3xx, and socket errors."""


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextlib.contextmanager
def server(
    command: Sequence[str], url: str, *, env: dict[str, str] | None = None, core: str = SERVER_CORE, timeout_s: float = 60
) -> Iterator[int]:
    """A server process pinned to a core, ready when `url` answers; gives its pid, ends it at the end."""
    process = subprocess.Popen(
        ["taskset", "-c", core, *command],
        env={**os.environ, **(env or {})},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                if httpx.get(url, timeout=2).status_code < 500:
                    break
            except httpx.HTTPError:
                pass
            if process.poll() is not None or time.monotonic() > deadline:
                said = process.stderr.read() if process.poll() is not None and process.stderr else b""
                raise RuntimeError(f"{command[0]} did not answer at {url}: {said.decode()[-2000:]}")
            time.sleep(0.05)
        yield process.pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def granian(target: str, port: int, *options: str) -> list[str]:
    """The command that serves an application on one granian worker."""
    return [
        sys.executable,
        "-m",
        "granian",
        "--interface",
        "asgi",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--workers",
        "1",
        "--no-access-log",
        *options,
        target,
    ]


@contextlib.contextmanager
def nginx(folder: Path) -> Iterator[str | None]:
    """Nginx with one worker over a folder of static files; None where it is not installed."""
    binary = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
    if binary is None:
        yield None
        return
    port = free_port()
    with tempfile.TemporaryDirectory() as scratch:
        configuration = Path(scratch) / "nginx.conf"
        configuration.write_text(
            f"daemon off; worker_processes 1; pid {scratch}/pid; error_log /dev/null;\nuser root;\n"
            "events { worker_connections 1024; }\n"
            f"http {{ access_log off; sendfile on; keepalive_requests 1000000; default_type application/json;\n"
            f"  client_body_temp_path {scratch}; proxy_temp_path {scratch}; fastcgi_temp_path {scratch};\n"
            f"  uwsgi_temp_path {scratch}; scgi_temp_path {scratch};\n"
            f"  server {{ listen 127.0.0.1:{port}; root {folder}; }} }}\n"
        )
        with server([binary, "-p", scratch, "-c", str(configuration)], f"http://127.0.0.1:{port}/"):
            yield f"http://127.0.0.1:{port}"


def _seconds(text: str) -> float:
    number, unit = re.fullmatch(r"([0-9.]+)(us|ms|s|m)", text).groups()  # type: ignore[union-attr]  # wrk's own output
    return float(number) * {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}[unit]


def _bytes(text: str) -> float:
    number, unit = re.fullmatch(r"([0-9.]+)([KMGT]?)B", text).groups()  # type: ignore[union-attr]  # wrk's own output
    return float(number) * {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}[unit]


def wrk(
    origin: str, paths: Sequence[str], *, connections: int = 64, seconds: float = 3, headers: dict[str, str] | None = None, seed: int = 1
) -> Load:
    """One run of wrk with random paths over the whole register; needs Debian's `wrk`."""
    asked = "\n".join(random.Random(seed).sample(list(paths), min(len(paths), 20000)))
    lines = "\n  ".join(f'wrk.headers["{name}"] = [==[{value}]==]' for name, value in (headers or {}).items())
    return _run(origin, asked, lambda file: _LUA % (file, seed, lines), connections, seconds)


def played(origin: str, requests: Sequence[tuple[str, dict[str, str]]], *, connections: int = 64, seconds: float = 3) -> Load:
    """One run of wrk with these requests (path and header fields), in their order, each once; running out of them is an error."""
    asked = "\n".join("\t".join([path, *(f"{name}: {value}" for name, value in headers.items())]) for path, headers in requests)
    return _run(origin, asked, lambda file: _PLAYED % file, connections, seconds)


def _run(origin: str, asked: str, script: Callable[[Path], str], connections: int, seconds: float) -> Load:
    with tempfile.TemporaryDirectory() as scratch:
        (Path(scratch) / "asked").write_text(asked + "\n")
        (Path(scratch) / "load.lua").write_text(script(Path(scratch) / "asked"))
        out = subprocess.run(
            [
                "taskset",
                "-c",
                LOAD_CORE,
                "wrk",
                "-t1",
                f"-c{connections}",
                f"-d{max(1, round(seconds))}s",
                "--latency",
                "-s",
                f"{scratch}/load.lua",
                origin,
            ],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    wrong = re.search(r"Other than 200: ([0-9]+)", out) or re.search(r"Non-2xx or 3xx responses: ([0-9]+)", out)
    broken = re.search(r"Socket errors: connect ([0-9]+), read ([0-9]+), write ([0-9]+), timeout ([0-9]+)", out)
    return Load(
        rate=float(re.search(r"Requests/sec:\s+([0-9.]+)", out)[1]),  # type: ignore[index]  # wrk's own output
        p50_ms=_seconds(re.search(r"50%\s+([0-9.]+[a-z]+)", out)[1]) * 1000,  # type: ignore[index]  # wrk's own output
        p99_ms=_seconds(re.search(r"99%\s+([0-9.]+[a-z]+)", out)[1]) * 1000,  # type: ignore[index]  # wrk's own output
        bytes_s=_bytes(re.search(r"Transfer/sec:\s+([0-9.]+[KMGT]?B)", out)[1]),  # type: ignore[index]  # wrk's own output
        errors=sum(int(number) for found in (wrong, broken) if found for number in found.groups()),
    )


def memory_mb(pid: int) -> float:
    """Memory of a process and its children, MB; a page that several share counts once (proportional set size)."""
    total = 0.0
    for process in (pid, *children(pid)):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) / 1024
    return total


def processor_s(pid: int) -> float:
    """Seconds of processor time that a process and its children have had, in steps of a hundredth."""
    ticks = 0
    for process in (pid, *children(pid)):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def children(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += [int(child), *children(int(child))]
    return found

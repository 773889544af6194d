"""Readiness, metrics of a whole application, and the application on granian as `serve` runs it."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from gateway.app import create_app
from gateway.core.audit.verify import read_kept
from gateway.core.exchange.wire import b64
from gateway.operations.report_health import Health, report_health
from gateway.operations.verify_audit import ring_of
from tests.house import PLAIN
from tests.web import serving
from tests.web.city import NOW, City, Server, served


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_reader_that_stands_makes_the_process_unready(fresh_city: City) -> None:
    """Behind for less than a minute it is ready, behind for longer it is not."""
    with sqlite3.connect(fresh_city.folder / "data" / "gateway.db") as connection:
        connection.execute("UPDATE readers SET position = 0")
    connection.close()
    soon: Health = fresh_city.run(report_health, now="2026-06-01T02:31:00Z")
    late: Health = fresh_city.run(report_health, now="2026-06-01T02:31:01Z")
    assert soon.ready
    assert not late.ready
    assert late.checks == {"store": "ok", "migrations": "ok", "policy": "ok", "readers": "behind"}


def test_a_store_that_is_gone_makes_the_process_unready(fresh_city: City) -> None:
    """The check tells the code, and no path."""

    async def closed(services: Any) -> Health:
        await services.store.close()
        return await report_health(services)

    health: Health = fresh_city.run(closed)
    assert not health.ready
    assert health.checks["store"].startswith("store-")


def test_the_reader_runs_with_the_application(fresh_city: City) -> None:
    """What another process commits is rendered without being asked for."""
    with sqlite3.connect(fresh_city.folder / "data" / "gateway.db") as connection:
        connection.execute("UPDATE readers SET position = 0")
    connection.close()
    with served(fresh_city) as server:
        deadline = time.monotonic() + 20
        position = 0
        while position == 0 and time.monotonic() < deadline:
            time.sleep(0.1)
            with sqlite3.connect(fresh_city.folder / "data" / "gateway.db") as connection:
                position = connection.execute("SELECT max(position) FROM readers").fetchone()[0]
            connection.close()
        assert position > 0
        assert server.get("/readyz").status_code == 200


def test_metrics_are_on_their_own_listener(sqlite_city: City) -> None:
    """The public listener has no `/metrics`; the private one counts answers of lane, framework and refusals by template."""
    port = free_port()
    server = Server(create_app(replace(sqlite_city.settings(), metrics_port=port))).start()
    try:
        code = server.get("/v1/subjects?limit=1").json()["items"][0]["uscc"]
        server.get(f"/v1/subjects/{code}")
        server.get(f"/v1/subjects/{code}?x=1")
        server.get("/metrics")
        server.client.delete(f"/v1/subjects/{code}")
        text = httpx.get(f"http://127.0.0.1:{port}/metrics", verify=PLAIN).text
    finally:
        server.stop()
    for line in (
        'chengxin_answers_total{method="GET",route="/v1/subjects/{subject}",status="200"} 1.0',
        'chengxin_answers_total{method="GET",route="/v1/subjects/{subject}",status="400"} 1.0',
        'chengxin_answers_total{method="DELETE",route="/v1/subjects/{subject}",status="405"} 1.0',
        'chengxin_answers_total{method="GET",route="(unmatched)",status="404"} 1.0',
        "chengxin_policy_version 1.0",
    ):
        assert line in text
    assert code not in text


@pytest.fixture(scope="module")
def granian(sqlite_city: City) -> Iterator[str]:
    """The application on granian, in a process of its own."""
    port = free_port()
    environment = {"PATH": os.environ["PATH"], "CHENGXIN_SETTINGS": str(sqlite_city.settings_file), "CHENGXIN_NOW": NOW}
    command = [
        sys.executable,
        "-m",
        "granian",
        "--interface",
        "asgi",
        "--factory",
        "--port",
        str(port),
        "--workers",
        "1",
        "--no-ws",
        "gateway.app:create",
    ]
    process = subprocess.Popen(
        command, env=environment, cwd=Path(__file__).resolve().parents[2], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    origin = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 60
    while True:  # a signal that comes before the worker is ready would be lost
        try:
            httpx.get(f"{origin}/healthz", verify=PLAIN).raise_for_status()
            break
        except httpx.TransportError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
    yield origin
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert b"Traceback" not in output
    assert b"/v1/" not in output  # no access log


async def test_granian_answers_as_uvicorn_does(granian: str, sqlite_city: City) -> None:
    """Lane, framework, HEAD, 304, problems, limits and a whole export, byte for byte."""
    differing = {"date", "request-id", "ratelimit", "request-cost", "server", "connection", "transfer-encoding"}
    with served(sqlite_city) as other:
        code = other.get("/v1/subjects?limit=1").json()["items"][0]["uscc"]
        etag = other.get(f"/v1/subjects/{code}").headers["etag"]
        asked: list[tuple[str, list[str], str]] = [
            (f"/v1/subjects/{code}", [], "GET"),
            (f"/v1/subjects/{code}", [], "HEAD"),
            (f"/v1/subjects/{code}", [f"if-none-match: {etag}"], "GET"),
            (f"/v1/subjects/{code}.json", [], "GET"),
            ("/v1/records?limit=5", [], "GET"),
            ("/v1/records.csv?limit=all", [], "GET"),
            ("/v1/records.ndjson?limit=all", [], "HEAD"),
            ("/v1/records/", ["accept-language: en"], "GET"),
            ("/v1/records?q=%zz", [], "GET"),
            ("/v1/%b0%a1", [], "GET"),
            ("/v1/a%2fb", [], "GET"),
            ("/v1", [], "OPTIONS"),
            ("/v1", [], "BREW"),
            ("/v1?x=" + "y" * 8200, [], "GET"),
            ("/v1", ["x-long: " + "y" * 17_000], "GET"),
        ]
        requests = [serving.get(path, *headers, method=method) for path, headers, method in asked]
        for request in requests:
            here, there = await serving.raw(granian, request), await serving.raw(other.origin, request)
            assert here.status == there.status, request[:80]
            assert {k: v for k, v in here.headers.items() if k not in differing} == {
                k: v for k, v in there.headers.items() if k not in differing
            }
            if here.status < 400:
                assert here.decoded == there.decoded


def test_audit_checkpoints_are_published(fresh_city: City) -> None:
    """When a server ends it signs what was written; the next one shows the head, which verifies with the published key."""
    with served(fresh_city):
        pass
    with served(fresh_city) as server:
        item, *older = server.get("/v1/audit/checkpoints").json()["items"]
        keys = [each["vkey"] for each in server.get("/v1/keys").json()["items"] if each["use"] == "audit"]
        found = read_kept(item["note"], ring_of("credit.tonghua.example", keys))
        assert (found.size, b64(found.root), item["number"]) == (item["size"], item["root"], len(older) + 1)
        assert server.get("/v1/audit/checkpoints?limit=0").status_code == 400

"""Metrics on their private listener, and logs that tell no value."""

import io
import json
import logging

import httpx
import pytest
import structlog

from gateway.web import telemetry
from gateway.web.telemetry import Meter, private_listener, registry_of
from tests.house import PLAIN


async def test_the_private_listener_serves_metrics_and_nothing_else() -> None:
    """Templates, methods and statuses as labels; any other path is 404, any other method 405."""
    meter = Meter()
    meter.count("/v1/subjects/{subject}", "GET", 200, 0.002)
    meter.count("/v1/subjects/{subject}", "GET", 404, 5.0)
    meter.count("(unmatched)", "PROPFIND", 404, 99.0)
    meter.event("reader-step", 3)
    meter.gauge("chengxin_policy_version", "Version", lambda: 42.0)
    async with (
        private_listener(registry_of(meter), "127.0.0.1", 0) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", verify=PLAIN) as client,
    ):
        answer = await client.get("/metrics")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/plain")
        assert 'chengxin_answers_total{method="GET",route="/v1/subjects/{subject}",status="200"} 1.0' in answer.text
        assert 'chengxin_answers_total{method="OTHER",route="(unmatched)",status="404"} 1.0' in answer.text
        assert 'chengxin_answer_seconds_bucket{le="0.0025",route="/v1/subjects/{subject}"} 1.0' in answer.text
        assert 'chengxin_answer_seconds_count{route="/v1/subjects/{subject}"} 2.0' in answer.text
        assert 'chengxin_events_total{event="reader-step"} 3.0' in answer.text
        assert "chengxin_policy_version 42.0" in answer.text
        assert "process_resident_memory_bytes" in answer.text
        assert (await client.head("/metrics")).text == ""
        assert (await client.get("/")).status_code == 404
        assert (await client.post("/metrics")).status_code == 405


async def test_several_workers_take_one_port_after_the_other() -> None:
    """Each worker is a target of its own, from the configured port on."""
    registry = registry_of(Meter())
    async with private_listener(registry, "127.0.0.1", 0) as first:
        async with private_listener(registry, "127.0.0.1", first, tries=2) as second:
            assert second == first + 1
        with pytest.raises(OSError, match="in use"):
            async with private_listener(registry, "127.0.0.1", first):
                pass


def test_logs_are_json_lines_without_words_of_faults() -> None:
    """An event is one JSON object; where a fault arose is told by file and line."""
    kept = structlog.get_config()
    stream = io.StringIO()
    try:
        telemetry.set_up_logs(stream)
        try:
            raise ValueError("a secret value")
        except ValueError as error:
            telemetry.log.error("reader-failed", error=type(error).__name__, at=telemetry.where(error))
        line = json.loads(stream.getvalue())
        assert line["event"] == "reader-failed"
        assert line["level"] == "error"
        assert line["at"].startswith("/") or "test_telemetry.py:" in line["at"]
        assert "secret" not in stream.getvalue()
        assert logging.getLogger("uvicorn.access").disabled
        assert logging.getLogger("httpx").level == logging.WARNING
    finally:
        structlog.configure(**kept)
        logging.getLogger("uvicorn.access").disabled = False

"""What goes on beside the answers goes on whatever a round of it meets."""

import asyncio
import io
import logging
from collections.abc import Awaitable, Callable

import structlog

from gateway.background import _again_and_again
from gateway.core.errors import StoreError
from gateway.web import telemetry
from gateway.web.telemetry import Meter

SECRET = "91220599XXT0000019"


async def until_done(meter: Meter, work: Callable[[], Awaitable[None]], done: asyncio.Event, *, fault_s: float | None = None) -> None:
    """Let a work go on until it says that it has seen enough, and a little longer."""
    task = asyncio.create_task(_again_and_again(meter, "work", work, 0.0, fault_s=fault_s))
    async with asyncio.timeout(10):
        await done.wait()
    await asyncio.sleep(0.05)
    task.cancel()


async def test_a_work_goes_on_after_every_fault() -> None:
    """What the house foresaw is counted by its code; what nobody foresaw is told by kind and place, without what it was about."""
    meter, done, stream = Meter(), asyncio.Event(), io.StringIO()
    faults = [StoreError("busy", code="store-locked"), ValueError(SECRET)]

    async def once() -> None:
        if faults:
            raise faults.pop(0)
        done.set()

    kept = structlog.get_config()
    try:
        telemetry.set_up_logs(stream)
        await until_done(meter, once, done)
    finally:
        structlog.configure(**kept)
        logging.getLogger("uvicorn.access").disabled = False
    told = stream.getvalue()
    assert ("work-failed" in told, "ValueError" in told, SECRET in told) == (True, True, False)
    counted = {sample.labels["event"]: sample.value for family in meter.collect() for sample in family.samples if "event" in sample.labels}
    assert {"work-store-locked": 1.0, "work-failed": 1.0}.items() <= counted.items()


async def test_a_work_rests_after_what_nobody_foresaw() -> None:
    """It is not tried again in a row that fills the log."""
    meter, done, rounds = Meter(), asyncio.Event(), list[str]()

    async def failing() -> None:
        rounds.append("failed")
        done.set()
        raise ValueError

    await until_done(meter, failing, done, fault_s=3600.0)
    assert rounds == ["failed"]

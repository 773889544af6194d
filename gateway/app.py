"""The composition root: settings → services → stories → handlers → the ASGI application that a server runs.

`create` is the factory a server calls in each worker: it reads the settings itself, for a worker sees only the environment and
files. What goes on beside the answers (`background`) and the private listener live as long as the application.
"""

import asyncio
import ctypes
import gc
import multiprocessing
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from gateway import garbage
from gateway import settings as settings_room
from gateway.background import keep_signers, works_of
from gateway.core.errors import GatewayError
from gateway.operations import report_health
from gateway.operations.keep_audit import checkpoint
from gateway.operations.lead_exchange import Work
from gateway.services import Services, open_services
from gateway.settings import Settings
from gateway.store.lane import LaneReads
from gateway.store.search_memory import SearchMemory
from gateway.web import application, openapi, telemetry
from gateway.web.access_log import AccessLog
from gateway.web.api import exchange, witness
from gateway.web.api import log as log_room
from gateway.web.api.routes import ROUTES
from gateway.web.application import Opened
from gateway.web.asgi import App
from gateway.web.edge import FrontDoor
from gateway.web.exchange_meter import ExchangeMeter
from gateway.web.lane import Prepared, PublicLane
from gateway.web.telemetry import Meter

if TYPE_CHECKING:
    from gateway.web.admin.application import AdminDoor

BEGIN_S = 0.2
"""How long after its start a worker begins with what goes on beside the answers: whoever waits at the door is answered first."""
SWITCH_S = 0.001
"""How long the loop keeps the interpreter's lock from a thread that reads for one of its answers; Python would say five times that."""
PARENT_DEATH = 1
"""PR_SET_PDEATHSIG of prctl(2)."""


def create_app(settings: Settings, *, whole_process: bool = False) -> App:
    """The application of one process; nothing is opened before its lifespan starts.

    With `whole_process` nothing else lives in it: what stands at its start (plans, tables, libraries) is never looked through for garbage,
    for hardly any of it is, and a full collection would hold every answer up for some tenths of a second.
    """
    if whole_process:
        gc.disable()
    meter, partners = Meter(), ExchangeMeter()

    @asynccontextmanager
    async def opening() -> AsyncIterator[Opened]:
        async with AsyncExitStack() as stack:
            services = await stack.enter_async_context(open_services(settings))
            with suppress(GatewayError):  # without a policy every data path says so; /readyz too
                await services.policies.refresh()
            if settings.metrics_port:
                _measure(services, meter)
                await stack.enter_async_context(
                    telemetry.private_listener(
                        telemetry.registry_of(meter, partners), settings.metrics_host, settings.metrics_port, tries=settings.workers
                    )
                )
            lane = memory = None
            if services.store.dialect == "sqlite":  # elsewhere a look-up waits for the network: the office lane is as good
                reads = stack.enter_context(closing(LaneReads[Prepared](services.store, kept_bytes=settings.lane_memory_mb * 2**20)))
                lane = PublicLane(services, reads)
                memory = stack.enter_context(closing(SearchMemory(services.store, kept_bytes=settings.search_memory_mb * 2**20)))
            access = await stack.enter_async_context(_access_log(settings, door))
            works = works_of(services, meter, door, access, partners)
            tasks = [asyncio.create_task(_begin(work, BEGIN_S if whole_process else 0.0)) for work in works]
            if whole_process:
                sys.setswitchinterval(SWITCH_S)
                gc.freeze()
                garbage.seldom()
                gc.enable()
            try:
                yield Opened(services=services, lane=lane, memory=memory)
            finally:
                for task in tasks:
                    task.cancel()
                for task in tasks:
                    with suppress(asyncio.CancelledError):
                        await task
                with suppress(GatewayError):  # told while it ran; the next start seals what is left
                    await services.trail.flush()
                    await checkpoint(services)

    door = application.build(settings, opening, meter=meter, more=(exchange.router, log_room.router, *witness.ROUTERS))
    return door


def create_admin_app(settings: Settings) -> App:
    """The administrators' API of one process, for a listener of its own."""
    from gateway.web.admin import application as admin  # no part of the process that serves the public

    @asynccontextmanager
    async def opening() -> AsyncIterator[Services]:
        async with open_services(settings) as services, _access_log(settings, door):
            watching = asyncio.create_task(keep_signers(services))
            try:
                yield services
            finally:
                watching.cancel()
                with suppress(asyncio.CancelledError):
                    await watching
                with suppress(GatewayError):
                    await checkpoint(services)

    door = admin.build(settings, opening)
    return door


@asynccontextmanager
async def _access_log(settings: Settings, door: "FrontDoor | AdminDoor") -> AsyncIterator[AccessLog | None]:
    """The access log of a door, while it is open."""
    if settings.access_log == "off":
        yield None
        return
    access = AccessLog(settings)
    async with access.running():
        door.noting = access.note
        try:
            yield access
        finally:
            door.noting = None


def create_admin() -> App:
    """The administrators' API of its worker, with the settings that its environment names."""
    end_with_supervisor()
    telemetry.set_up_logs()
    file = os.environ.get("CHENGXIN_SETTINGS")
    return create_admin_app(settings_room.load(Path(file) if file else None))


def create() -> App:
    """The application of a worker, with the settings that its environment names."""
    end_with_supervisor()
    telemetry.set_up_logs()
    file = os.environ.get("CHENGXIN_SETTINGS")
    return create_app(settings_room.load(Path(file) if file else None), whole_process=True)


def end_with_supervisor() -> None:
    """A worker whose supervisor was killed must not keep the port and serve on unseen (Linux; elsewhere the service manager ends it)."""
    if sys.platform != "linux" or multiprocessing.parent_process() is None:
        return
    ctypes.CDLL(None).prctl(PARENT_DEATH, signal.SIGTERM)
    if os.getppid() == 1:  # it died before we asked
        raise SystemExit(1)


def openapi_document() -> bytes:
    """The OpenAPI document as every process of this version serves it; `openapi/gateway.json` is a copy."""
    return openapi.encoded(openapi.document(ROUTES))


async def _begin(work: Work, pause_s: float) -> None:
    """One of the works that go on beside the answers, after a pause."""
    if pause_s:
        await asyncio.sleep(pause_s)
    await work()


def _measure(services: Services, meter: Meter) -> None:
    meter.gauge("chengxin_policy_version", "Policy version in force", lambda: float(services.policies.version))
    meter.gauge("chengxin_reader_lag_seconds_bound", "Readiness ends beyond this lag", report_health.LAG.total_seconds)

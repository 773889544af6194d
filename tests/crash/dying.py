"""Processes that kill themselves with −9 at one step of the exchange.

They are children of a process that has loaded everything (`multiprocessing`'s forkserver), so one costs a tenth of a second and not three.
Steps are those of transactions that write to the exchange, to records or to the change log: begun, half written, before the commit,
after it.
"""

import asyncio
import multiprocessing
import os
import re
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.context import ForkServerProcess
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import uvicorn
from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine

from gateway.app import create_app
from gateway.core.exchange.wire import SHA256
from gateway.operations.begin_epoch import begin_epoch
from gateway.operations.collect_batches import collect_batches
from gateway.operations.handle_case import open_dispute, repair
from gateway.operations.send_batch import send_batch
from gateway.services import Services, open_services
from gateway.settings import Settings
from gateway.store import outbox
from gateway.store.tables import records
from tests.house import settings_of
from tests.region import NOW, PENALTIES

STEPS = re.compile(r"\s*(?:INSERT INTO|UPDATE|DELETE FROM)\s+\"?(?:in_|out_|receipts|recognitions|records\b|changes\b)", re.IGNORECASE)
SPAWN = multiprocessing.get_context("forkserver")
SPAWN.set_forkserver_preload(
    [
        "tests.crash.dying",
        "tests.crash.warmed",
        "tests.crash.commanding",
        "adapters.https_partner",
        "aiosqlite",
        "httpcore",
        "anyio._backends._asyncio",
    ]
)
NEVER = 0
HALF = 2
"""Two moments in a transaction: before its first statement, and half written before its second."""
REPAIRED = 2
"""So many records are repaired."""


def _count_steps(dies_at: int, steps: "Synchronized[int]") -> None:
    """From now on this process counts its steps, and dies at the one named."""

    def step() -> None:
        steps.value += 1
        if steps.value == dies_at:
            os.kill(os.getpid(), signal.SIGKILL)

    @event.listens_for(Engine, "before_cursor_execute")
    def look(connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
        if STEPS.match(statement):
            connection.info["step"] = written = connection.info.get("step", 0) + 1
            if written <= HALF:
                step()

    @event.listens_for(Engine, "rollback")
    def forget(connection: Connection) -> None:
        connection.info.pop("step", None)

    commit = Connection._commit_impl

    def counted(self: Connection) -> None:
        counts = self.info.pop("step", 0)
        if counts:
            step()
        commit(self)
        if counts:
            step()

    Connection._commit_impl = counted  # type: ignore[method-assign]  # of this child alone


def settings_at(folder: Path, now: str = NOW) -> Settings:
    """The settings of a city as its processes have them; nothing is sent or fetched but by the test."""
    return settings_of(folder / "chengxin.toml", CHENGXIN_NOW=now, CHENGXIN_EXCHANGE_POLL_S="0")


async def tell(services: Services) -> None:
    """What Tonghua has to tell, from where it stands: everything, two repairs, a dispute, all anew; each when the last is known."""
    reads = services.store.reads
    await send_batch(services, stream=PENALTIES, at_once=True)
    if await outbox.waiting_batches(reads, PENALTIES):
        return
    columns = records.c.record_id, records.c.state, records.c.dispute_since
    known = await reads.all(sa.select(*columns).order_by(records.c.record_id).limit(REPAIRED + 1))
    for record in known[:REPAIRED]:
        if record.state == "in_force":
            await repair(services, record.record_id, actor="test", document="示例")
    await send_batch(services, stream=PENALTIES, at_once=True)
    if await outbox.waiting_batches(reads, PENALTIES):
        return
    if known[-1].dispute_since is None:
        await open_dispute(services, known[-1].record_id, actor="test")
    await send_batch(services, stream=PENALTIES, at_once=True)
    if await outbox.waiting_batches(reads, PENALTIES):
        return
    out = await outbox.out_stream(reads, PENALTIES, SHA256)
    if out is not None and out.head.epoch == 1:
        await begin_epoch(services, PENALTIES, by="test", reason="too_late")
    await send_batch(services, stream=PENALTIES, at_once=True)


async def fetch(services: Services) -> None:
    """What Baishan does where it fetches."""
    await collect_batches(services)


def _act(folder: str, story: Callable[[Services], Any], dies_at: int, steps: "Synchronized[int]") -> None:
    async def act() -> None:
        async with open_services(settings_at(Path(folder))) as services:
            _count_steps(dies_at, steps)
            await story(services)

    asyncio.run(act())


def _fill_up(pages: int) -> None:
    """From now on no database of this process may grow beyond so many pages: its disk is full."""

    @event.listens_for(Engine, "connect")
    def look(connection: Any, _: Any) -> None:
        connection.execute(f"PRAGMA max_page_count = {pages}")


def _serve(folder: str, bound: socket.socket, now: str, pages: int, dies_at: int, steps: "Synchronized[int]") -> None:
    with suppress(KeyboardInterrupt):
        _count_steps(dies_at, steps)
        if pages:
            _fill_up(pages)
        uvicorn.Server(uvicorn.Config(create_app(settings_at(Path(folder), now)), log_level="critical", lifespan="on")).run(sockets=[bound])


class Child:
    """One process; how many steps it has made is known also after its death."""

    def __init__(self, target: Callable[..., None], *arguments: Any, dies_at: int) -> None:
        self._steps: Synchronized[int] = SPAWN.Value("i", 0)
        self.process: ForkServerProcess = SPAWN.Process(target=target, args=(*arguments, dies_at, self._steps))
        self.process.start()

    @property
    def steps(self) -> int:
        """So far."""
        return int(self._steps.value)

    def ended(self, seconds: float = 60) -> int:
        """Wait for its end; its exit code, −9 where it killed itself."""
        self.process.join(seconds)
        assert self.process.exitcode is not None, "it hangs"
        return self.process.exitcode

    def kill(self) -> int:
        """End it, if it has not ended."""
        self.process.kill()
        return self.ended()


def acting(folder: Path, story: Callable[[Services], Any], dies_at: int = NEVER) -> Child:
    """A process that does one story of a city and ends."""
    return Child(_act, str(folder), story, dies_at=dies_at)


def serving(folder: Path, port: int, dies_at: int = NEVER, *, now: str = NOW, pages: int = 0) -> Child:
    """A process that serves a city; whoever connects waits until it is up, for its socket listens already."""
    bound = socket.create_server(("127.0.0.1", port))
    child = Child(_serve, str(folder), bound, now, pages, dies_at=dies_at)
    bound.close()
    return child

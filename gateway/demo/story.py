"""The demo: two invented cities on one machine, from keys to a proof that was checked, then up until somebody ends it.

Told once, in this order: keys and data directories · department files taken in, both cities at once · an agreement that both sign ·
both gateways served · a record as the public and as a department sees it, with the reason for each difference · a signed batch,
its receipt, an honour recognised next door · a penalty repaired, and gone from both cities' answers · both heads of the log, and
the proof that one leads to the other. What happened once is remembered and only shown the next time.

Everything goes through the same stories and the same command that an operator uses; nothing here reaches past them.
"""

import asyncio
import signal
from collections.abc import Awaitable
from contextlib import AsyncExitStack, suppress
from pathlib import Path

from msgspec import Struct

from gateway.console import say, tell_error
from gateway.core.errors import StoreError
from gateway.core.records.periods import legal_day
from gateway.demo import exchange, views
from gateway.demo.children import Server, refuse_used_ports, run
from gateway.demo.cities import City, Memory, recall, remember, two_cities, write_settings
from gateway.demo.intake import kept_receipts
from gateway.demo.receipts import receipt_table, totals
from gateway.operations.manage_keys import list_keys
from gateway.operations.set_up import set_up
from gateway.sample.generate import Showcase, showcase
from gateway.services import Services, open_services
from gateway.settings import clock_of

INTERRUPTED = 130


class Plan(Struct, frozen=True, kw_only=True):
    """What to show, and where."""

    folder: Path
    ports: tuple[int, int]
    subjects: int
    seed: int
    stay: bool


def run_demo(plan: Plan) -> int:
    """Tell the story and stay up; the exit status. Ctrl-C and SIGTERM end everything that was started."""
    return asyncio.run(_told(plan))


async def _told(plan: Plan) -> int:
    """The story, with an end that always comes: whatever was started is stopped, in whichever way it ends."""
    loop = asyncio.get_running_loop()
    end = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end.set)
    async with AsyncExitStack() as stack:
        demo = _Demo(plan, stack)
        try:
            await _until(end, demo.tell())
            if not end.is_set() and plan.stay:
                await _until(end, demo.stay())
        except Exception as error:  # noqa: BLE001 - told as one line, and the children are ended all the same
            return tell_error(error)
        if end.is_set():
            say("ending both gateways …")
        if not demo.finished:
            return INTERRUPTED
    return 0


async def _until(end: asyncio.Event, told: Awaitable[None]) -> None:
    """Go on until it is told, or somebody wants an end; what it raises is raised."""
    telling = asyncio.ensure_future(told)
    ending = asyncio.ensure_future(end.wait())
    try:
        await asyncio.wait({telling, ending}, return_when=asyncio.FIRST_COMPLETED)
        if telling.done():
            telling.result()
    finally:
        for task in (telling, ending):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


class _Demo:
    """The chapters, in the order in which they are told."""

    def __init__(self, plan: Plan, stack: AsyncExitStack) -> None:
        self._plan = plan
        self._stack = stack
        self._tonghua, self._baishan = two_cities(plan.folder.resolve(), plan.ports)
        self._memory: Memory
        self._services: dict[str, Services] = {}
        self._servers: list[Server] = []
        self.finished = False

    @property
    def _cities(self) -> tuple[City, City]:
        return self._tonghua, self._baishan

    async def tell(self) -> None:
        """All chapters."""
        await self._prepare()
        await self._take_in()
        await self._agree()
        await self._serve()
        await self._show()
        await self._exchange()
        self.finished = True
        self._urls()

    async def stay(self) -> None:
        """Until a server ends by itself, which is an error."""
        say("\nBoth gateways stay up; Ctrl-C ends them.")
        await asyncio.gather(*(server.ended() for server in self._servers))

    # --- chapters ---

    async def _prepare(self) -> None:
        refuse_used_ports(self._plan.ports)
        self._plan.folder.mkdir(parents=True, exist_ok=True)
        for city in self._cities:
            write_settings(city)
        today = legal_day(clock_of(self._tonghua.settings())())
        self._memory = recall(self._plan.folder, ports=self._plan.ports, seed=self._plan.seed, subjects=self._plan.subjects, today=today)
        say("诚信网关 · two invented cities (示例数据，均为虚构：nothing here is real)\n\n1. Keys and data")
        for city in self._cities:
            settings = city.settings()
            try:
                done = await set_up(settings, by="demo")
            except StoreError as error:
                raise (self._of_another_version(error) if error.code == "migration-unreleased" else error) from None
            what = f"made {', '.join(done.keys.files)}" if done.keys.files else "kept"
            say(f"   {city.name} {city.region}: {city.folder / 'data'} ({what}; policy version {done.policy.version})")
            for line in list_keys(settings, clock_of(settings)()):
                say(f"     {line.vkey}")
        for city in self._cities:
            self._services[city.key] = await self._stack.enter_async_context(open_services(city.settings()))

    def _of_another_version(self, error: StoreError) -> StoreError:
        """The same, and what folder to delete: what stands in it is invented, but it may hold somebody's own files beside."""
        folder = str(self._plan.folder.resolve())
        return StoreError(error.detail, code=error.code, place=folder, hint=f"the demo's data are invented: delete {folder} and begin anew")

    async def _take_in(self) -> None:
        say("\n2. Department files" + (" (taken in before; the receipts again)" if self._memory.ingested else ""))
        for city, told in zip(self._cities, await asyncio.gather(*(self._one_city(city) for city in self._cities)), strict=True):
            say(f"   {city.name}")
            for line in told:
                say(f"     {line}")
        if not self._memory.ingested:
            self._memory.ingested = True
            remember(self._plan.folder, self._memory)

    async def _one_city(self, city: City) -> list[str]:
        """One city's files in a process of its own; both cities at once."""
        seed, subjects, today = self._plan.seed, self._plan.subjects, self._memory.today
        if not self._memory.ingested:
            await run(
                "gateway.demo.intake", str(city.settings_file), str(seed), str(subjects), today.isoformat(), log=city.folder / "ingest.log"
            )
        taken = kept_receipts(city.folder)
        return [*receipt_table(taken), totals(taken)]

    async def _agree(self) -> None:
        say("\n3. Agreement" + (" (signed before)" if self._memory.agreed else ""))
        for line in await exchange.agree(self._services, self._cities, signed=self._memory.agreed):
            say(f"   {line}")
        if not self._memory.agreed:
            self._memory.agreed = True
            remember(self._plan.folder, self._memory)

    async def _serve(self) -> None:
        say("\n4. Served")
        for city in self._cities:
            server = Server(city.name, city.settings_file, city.origin, city.folder / "serve.log")
            self._stack.push_async_callback(server.stop)
            self._servers.append(server)
            await server.start()
        await asyncio.gather(*(server.ready() for server in self._servers))
        for city in self._cities:
            say(f"   {city.name}: {city.origin}")

    async def _show(self) -> None:
        say("\n5. One record, two views")
        for line in await views.side_by_side(self._services["tonghua"], self._tonghua, self._sample()):
            say(f"   {line}")

    async def _exchange(self) -> None:
        chapters = exchange.Exchange(self._services, self._cities, self._sample())
        say("\n6. A signed batch")
        for line in await chapters.send():
            say(f"   {line}")
        say("\n7. An honour, recognised next door")
        for line in await chapters.recognised():
            say(f"   {line}")
        say("\n8. A penalty, repaired")
        self._memory.repaired, lines = await chapters.repair(self._memory.repaired)
        remember(self._plan.folder, self._memory)
        for line in lines:
            say(f"   {line}")
        say("\n9. The log")
        for line in await chapters.prove(self._memory.repaired):
            say(f"   {line}")

    def _sample(self) -> Showcase:
        return showcase(seed=self._plan.seed, city=self._tonghua.region, subjects=self._plan.subjects, today=self._memory.today)

    def _urls(self) -> None:
        firm = self._sample().firm
        say("\nTry:")
        for city in self._cities:
            for path in (
                "/docs",
                f"/v1/subjects?q={city.name[:2]}",
                f"/v1/subjects/{firm.uscc}/records",
                "/v1/lists/tax-violations/listings",
                "/v1/records.csv?dataset=honours",
                "/v1/changes?since=0",
                "/x/v1/keys",
            ):
                say(f"  {city.origin}{path}")

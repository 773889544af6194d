"""A city for tests of the API: the invented sample in a store, once a session, and a server on a thread of its own.

Strategy: filling a gateway costs a second, so it is done once for each database and the API is only read; a test that changes
something takes `fresh_city`, a copy. Requests go over a real socket to uvicorn.
"""

import asyncio
import contextlib
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from msgspec import Struct

from gateway.app import create_app
from gateway.operations.build_lists import settle_lists
from gateway.operations.ingest import ingest
from gateway.operations.manage_keys import issue_token
from gateway.operations.render_public import settle
from gateway.operations.set_up import set_up
from gateway.sample.generate import write_sample
from gateway.sample.people import authorities
from gateway.services import open_services
from gateway.settings import Settings
from gateway.web.edge import FrontDoor
from tests.house import CENTRE, PLAIN, settings_of, write_settings

NOW = "2026-06-01T02:30:00Z"
SUBJECTS = 300


class City(Struct, kw_only=True):
    """A filled gateway: its settings file and database."""

    folder: Path
    settings_file: Path
    database: str
    untouched: Path | None = None
    """The folder as it was filled: no server writes there, so it is whole whenever it is copied."""
    shared: bool = False
    """Many tests read it: a server at another instant would write what had happened until then."""

    def settings(self, now: str = NOW) -> Settings:
        """Its settings at an instant.

        Nothing changes in a city that is shared, and its servers live as long as the session: on PostgreSQL one that looks for changes
        twice a second takes a tenth of a core, from whatever is tested meanwhile.
        """
        return settings_of(self.settings_file, CHENGXIN_NOW=now, **{"CHENGXIN_READER_POLL_S": "60"} if self.shared else {})

    def run(self, story: Callable[[Any], Any], now: str = NOW) -> Any:
        """Run a story against it, as the command line does.

        What it gives is no result of the task: at its end `asyncio.run` has its handler of signals named, the name has the task's result in
        it, and all plans of a policy written out are half a second.
        """
        given: list[Any] = []

        async def told() -> None:
            async with open_services(self.settings(now)) as services:
                await services.policies.refresh()
                given.append(await story(services))

        asyncio.run(told())
        return given[0]

    def token(self, tier: str = "department", purpose: str = "dept.supervision", now: str = NOW) -> str:
        """An access token of its credit centre."""

        async def issue(services: Any) -> str:
            return (await issue_token(services, app="app-1", org=CENTRE, tier=tier, purpose=purpose, by="test")).token

        token: str = self.run(issue, now)
        return token


def fill(folder: Path, database: str = "", subjects: int = SUBJECTS) -> City:
    """A gateway of Tonghua with the sample, everything rendered."""
    more = "".join(
        f'\n[[authorities]]\nuscc = "{each.uscc}"\nname = "{each.name}"\nregion = "{each.region}"\ncovers = {list(each.covers)}\n'.replace(
            "'", '"'
        )
        for each in authorities("220500")
        if each.uscc != CENTRE
    )
    settings_file = write_settings(folder, database=database, more=more)
    city = City(folder=folder, settings_file=settings_file, database=database)

    async def work() -> None:
        settings = city.settings()
        await set_up(settings, by="test")
        async with open_services(settings) as services:
            for file in write_sample(folder / "sample", seed=7, subjects=subjects):
                await ingest(
                    services,
                    dataset=file.dataset,
                    path=file.path,
                    authority=file.authority,
                    officer=file.officer,
                    encoding=file.encoding,
                    progress=None,
                )
            await settle(services)
            await settle_lists(services)

    asyncio.run(work())
    if not database:
        city.untouched = folder.with_name(f"{folder.name}-untouched")
        shutil.copytree(folder, city.untouched)
    return city


def copied(city: City, folder: Path) -> City:
    """The same city as it was filled, in a folder of its own; SQLite only."""
    shutil.copytree(city.untouched or city.folder, folder)
    return City(folder=folder, settings_file=folder / city.settings_file.name, database="", untouched=city.untouched)


class Server:
    """uvicorn on a thread, with a client."""

    def __init__(self, app: FrontDoor) -> None:
        self.app = app
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                host="127.0.0.1",
                port=0,
                log_config=None,
                access_log=False,
                proxy_headers=False,
                lifespan="on",
                timeout_graceful_shutdown=5,
            )
        )
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self.origin = ""
        self.client = httpx.Client(verify=PLAIN)

    def start(self) -> "Server":
        """Start and wait until it answers."""
        self._thread.start()
        while not self._server.started:
            if not self._thread.is_alive():
                raise RuntimeError("the server did not start")
            threading.Event().wait(0.01)
        host, port = self._server.servers[0].sockets[0].getsockname()[:2]
        self.origin = f"http://{host}:{port}"
        self.client = httpx.Client(base_url=self.origin, timeout=30, verify=PLAIN)
        self.client.headers.clear()
        self.client.headers["Accept"] = "*/*"
        return self

    def stop(self) -> None:
        """Stop and wait."""
        self.client.close()
        self._server.should_exit = True
        self._thread.join()

    def get(self, path: str, **headers: str) -> httpx.Response:
        """GET a path, or an absolute URL of the configured origin, with header fields (underscores stand for dashes).

        Who has a credential gives a case reference too, unless the test names one.
        """
        if "authorization" in headers:
            headers = {"case_ref": "2026-0001"} | headers
        return self.client.get(
            path.removeprefix("http://127.0.0.1:8000"), headers={name.replace("_", "-"): value for name, value in headers.items()}
        )


@contextlib.contextmanager
def served(city: City, now: str = NOW) -> Iterator[Server]:
    """A server of this city at an instant; a city that is shared stands at NOW."""
    if city.shared and now != NOW:
        raise AssertionError("a server at another instant changes the city: take `fresh_city`")
    door = create_app(city.settings(now))
    assert isinstance(door, FrontDoor)
    server = Server(door).start()
    try:
        yield server
    finally:
        server.stop()

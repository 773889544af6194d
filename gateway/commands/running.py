"""Commands that set up, serve and show: `init`, `serve`, `demo`, `sample`, `settle`, `openapi`."""

import asyncio
import os
import shlex
import signal
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from gateway.commands.office import Office, as_json, office
from gateway.console import show
from gateway.core.errors import SettingsError
from gateway.late import late

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.sample.files import SampleFile
    from gateway.services import Services
    from gateway.settings import Settings
    from gateway.web.asgi import App

SAMPLE_SEED = 20260401
_NEVER_USED = ("yaml", "pdb")
"""Litestar imports them, for a description of the API that we write ourselves and for a debugger that we never start."""


@click.command()
@as_json
@office
def init(office: Office, as_json: bool) -> None:
    """Make data directory, keys and tables, and put the first policies into force; may be repeated."""
    from gateway.operations.set_up import set_up

    done = asyncio.run(set_up(office.settings(), by=office.actor))
    made = ", ".join(done.keys.files) or "none, all were there"
    show(
        done,
        as_json=as_json,
        text=lambda: [
            f"data directory  {done.data_dir} ({done.database})",
            f"new keys        {made}",
            f"policies        {done.policies_folder}" + (" (copied from the shipped ones)" if done.policies_copied else ""),
            f"policy version  {done.policy.version}" + (" (activated now)" if done.policy.first else " (in force already)"),
        ],
    )


@click.command()
@office
def serve(office: Office) -> None:
    """Serve the gateway over HTTP: the production entry."""
    import gc

    gc.disable()  # thousands of functions and classes are made now, and hardly any of them is garbage: it is not looked for
    config = office.settings()
    if office.path is not None:
        os.environ["CHENGXIN_SETTINGS"] = str(office.path.resolve())  # workers are processes of their own and read it again

    from gateway.operations.partner_settings import refuse_unusable
    from gateway.services import open_services

    async def check() -> None:
        async with open_services(config) as services:  # a fault shows here, once, instead of in a worker that is started over and over
            await refuse_unusable(services)

    asyncio.run(check())
    _port_is_free(config.host, config.port)
    for name in _NEVER_USED:
        late(name)
    import gateway.app  # workers are forked from here: what is imported now is imported once; a fault above is told before

    gc.freeze()  # a worker that looked all this through would write to its pages, and have copies instead of sharing them
    gc.enable()
    factory = f"{gateway.app.create.__module__}:{gateway.app.create.__name__}"
    with _admin_listener(config, gateway.app.create_admin):
        _serve(config, factory)


def _serve(config: "Settings", factory: str) -> None:
    from granian import Granian
    from granian.constants import Interfaces
    from granian.log import LogLevels

    # a caller that goes away in the middle of an answer must not end a worker: `main` had made a closed pipe deadly
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    # a TERM that comes before a worker is ready is lost on it; after ten seconds the worker is ended
    Granian(
        factory,
        address=config.host,
        port=config.port,
        interface=Interfaces.ASGI,
        factory=True,
        workers=config.workers,
        log_access=False,
        log_level=LogLevels.warning,
        workers_kill_timeout=10,
        respawn_failed_workers=True,
    ).serve()


@contextmanager
def _admin_listener(config: "Settings", factory: "Callable[[], App]") -> "Iterator[None]":
    """The administrators' API beside the public one, in processes of its own: neither slows the other, and they share no path."""
    if not config.admin_port:
        yield
        return
    import multiprocessing

    _port_is_free(config.admin_host, config.admin_port)
    listener = multiprocessing.Process(
        target=_serve_admin, args=(config.admin_host, config.admin_port, f"{factory.__module__}:{factory.__name__}"), name="admin"
    )
    listener.start()
    try:
        yield
    finally:
        listener.terminate()
        listener.join(15)


def _serve_admin(host: str, port: int, factory: str) -> None:
    from granian import Granian
    from granian.constants import Interfaces
    from granian.log import LogLevels

    from gateway.app import end_with_supervisor

    end_with_supervisor()
    Granian(
        factory,
        address=host,
        port=port,
        interface=Interfaces.ASGI,
        factory=True,
        log_access=False,
        log_level=LogLevels.warning,
        workers_kill_timeout=10,
        respawn_failed_workers=True,
    ).serve()


def _port_is_free(host: str, port: int) -> None:
    import socket

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise SettingsError(
                f"the address cannot be used: {error.strerror}",
                code="port-in-use",
                place=f"{host}:{port}",
                hint="stop what listens there, or set another `port`",
            ) from error


@click.command()
@click.option(
    "--data",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".run"),
    show_default=True,
    help="Where both cities keep their data.",
)
@click.option(
    "--port",
    type=click.IntRange(1, 65534),
    default=8000,
    show_default=True,
    help="Port of Tonghua; Baishan takes the next one unless --neighbour-port says otherwise.",
)
@click.option("--neighbour-port", type=click.IntRange(1, 65535), default=None, help="Port of Baishan.")
@click.option("--subjects", type=click.IntRange(50, 200_000), default=3000, show_default=True, help="Invented subjects a city.")
@click.option("--seed", type=int, default=SAMPLE_SEED, show_default=True, help="Seed of the invented sample.")
@click.option("--once", is_flag=True, help="End after the story instead of staying up.")
def demo(folder: Path, port: int, neighbour_port: int | None, subjects: int, seed: int, once: bool) -> None:
    """Two invented cities on this machine, exchanging; the same as `make run`."""
    from gateway.demo.story import Plan, run_demo

    raise SystemExit(run_demo(Plan(folder=folder, ports=(port, neighbour_port or port + 1), subjects=subjects, seed=seed, stay=not once)))


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--city", type=click.Choice(["220500", "220600"]), default="220500", show_default=True, help="Whose departments send.")
@click.option("--subjects", type=click.IntRange(8, 200_000), default=3000, show_default=True, help="How many invented subjects.")
@click.option("--seed", type=int, default=SAMPLE_SEED, show_default=True, help="The same seed gives the same bytes.")
@as_json
def sample(folder: Path, city: str, subjects: int, seed: int, as_json: bool) -> None:
    """Write invented department files to try, dirty rows among them; nothing in them is real."""
    from gateway.sample.generate import write_sample

    files = write_sample(folder, seed=seed, city=city, subjects=subjects)
    told = [
        {
            "file": str(one.path),
            "dataset": one.dataset,
            "authority": one.authority,
            "officer": one.officer,
            "encoding": one.encoding,
            "rows": one.rows,
        }
        for one in files
    ]
    show(told, as_json=as_json, text=lambda: [shlex.join(["chengxin", *ingest_arguments(one)]) for one in files])


def ingest_arguments(file: "SampleFile") -> list[str]:
    """The command line that takes a file of the sample in as it was meant."""
    whose = ["--authority", file.authority, "--officer", file.officer or ""] if file.authority is not None else []
    return ["ingest", file.dataset, str(file.path), "--encoding", file.encoding, *whose]


@click.command()
@as_json
@office
def settle(office: Office, as_json: bool) -> None:
    """Test mode: run all readers of the change log to the end."""
    from gateway.operations.build_lists import settle_lists
    from gateway.operations.render_public import settle as story

    async def told(services: "Services") -> None:
        if not services.settings.demo:
            raise SettingsError("`settle` exists with demo = true on loopback only", code="test-mode-only", place="settle")
        await story(services)
        if services.settings.lists_build_s:
            await settle_lists(services)

    office.run(told)
    show({"settled": True}, as_json=as_json, text=lambda: ["settled"])


@click.command()
def openapi() -> None:
    """The OpenAPI document as this program serves it."""
    from gateway.app import openapi_document

    sys.stdout.buffer.write(openapi_document())

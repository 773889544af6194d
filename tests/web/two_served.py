"""Two cities that have agreed, each served by its own application on a real socket: what one sends the other goes over HTTP.

`th` and `bs` are the houses opened once more, as commands open them while a server runs; what they do is real on both sides.
"""

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
from msgspec import Struct

from gateway.app import create_app
from gateway.services import Services
from tests.house import PLAIN, settings_of
from tests.region import BAISHAN, NOW, TONGHUA, a_city, agree, signed_by, template
from tests.web.serving import serving


def free_port() -> int:
    """A port that nobody has just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Served(Struct):
    """Both houses, and to each a client that signs as the other one."""

    th: Services
    bs: Services
    to_th: httpx.AsyncClient
    to_bs: httpx.AsyncClient
    folder: Path


@asynccontextmanager
async def two_served(
    folder: Path, databases: tuple[str, str] = ("", ""), *, now: str = NOW, change: Callable[[str], str] = str, **environment: str
) -> AsyncIterator[Served]:
    """Two served cities; `change` edits the agreement before it is signed, rounds are made by whoever tests."""
    ports = free_port(), free_port()
    async with (
        a_city(folder / "th", TONGHUA, database=databases[0], now=now, port=ports[0]) as th,
        a_city(folder / "bs", BAISHAN, database=databases[1], now=now, port=ports[1]) as bs,
    ):
        await agree(th, bs, change(template()))
        said = {"CHENGXIN_NOW": now, "CHENGXIN_EXCHANGE_POLL_S": "0", **environment}
        apps = [create_app(settings_of(folder / name / "chengxin.toml", **said)) for name in ("th", "bs")]
        async with (
            serving(apps[0], ports[0]) as first,
            serving(apps[1], ports[1]) as second,
            httpx.AsyncClient(base_url=f"{first}/x/v1", timeout=30, auth=signed_by(bs), verify=PLAIN) as to_th,
            httpx.AsyncClient(base_url=f"{second}/x/v1", timeout=30, auth=signed_by(th), verify=PLAIN) as to_bs,
        ):
            yield Served(th, bs, to_th, to_bs, folder)

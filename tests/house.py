"""A whole gateway in a folder of one test: settings file, keys, tables, the shipped policies in force.

Strategy: setting a gateway up costs half a second of a core, and most tests begin with it. So it is done once in a process for all whose
settings are alike but for their place, and each test has a copy of its own. What is not new is set up where it stands.
"""

import os
import shutil
import sqlite3
import ssl
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
from sqlalchemy.engine import make_url

from gateway import settings as settings_room
from gateway.operations.set_up import set_up, shipped_policies
from gateway.sample.people import authorities
from gateway.services import Services, open_services
from gateway.settings import Settings

TONGHUA = "credit.tonghua.example"
CENTRE = "11220500XXT0001181"

SETTINGS = """\
party = "{party}"
region = "220500"
org = "11220500XXT0001181"
data_dir = "data"
policies = "{policies}"
database = "{database}"
public_origin = "http://127.0.0.1:{port}"
port = {port}
demo = true
quota_factor = 100000
security_contact = "mailto:security@credit.tonghua.example"
{more}
"""


def write_settings(
    folder: Path,
    *,
    database: str = "",
    port: int = 8000,
    more: str = "",
    party: str = TONGHUA,
    policies: Path | None = None,
    change: Callable[[str], str] = str,
) -> Path:
    """A settings file of Tonghua in this folder, changed before it is put there whole: another process may read it meanwhile."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "chengxin.toml"
    policies = policies or shipped_policies()
    text = SETTINGS.format(party=party, policies=policies, database=database, port=port, more=more)
    for one in authorities("220500"):
        text += f'\n[[authorities]]\nuscc = "{one.uscc}"\nname = "{one.name}"\nregion = "{one.region}"\ncovers = {list(one.covers)}\n'
    written = path.with_suffix(f".{os.getpid()}")
    written.write_text(change(text), encoding="utf-8")
    written.replace(path)
    return path


def settings_of(path: Path, **environment: str) -> Settings:
    """The settings as a process with just these variables would read them."""
    return settings_room.load(path, environment)


PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Of clients of our own servers, which speak no TLS: a client without one reads all certificates of the world first, 30 ms of a core."""

_PATTERNS = tempfile.TemporaryDirectory(prefix="houses")
_MADE: dict[tuple[Any, ...], tuple[Path, Any]] = {}
"""Data directories as they were set up, by what they were set up from, and what the story gave; copied, never opened again."""


async def make(settings: Settings, then: Callable[[Services], Awaitable[Any]] | None = None) -> Any:
    """Set a gateway up as `chengxin init` does, or copy one that was set up from settings alike; `then` a story, and what it gives."""
    url = make_url(settings.database_url)
    path = Path(url.database or "")
    sqlite = url.get_backend_name() == "sqlite"
    if settings.now is None or settings.kek_file or settings.data_path.exists() or not Path(settings.policies).is_dir():
        return await _made(settings, then)
    if not (_new(settings, path) if sqlite else await _new_on_its_server(settings)):
        return await _made(settings, then)
    files = sorted(each for each in Path(settings.policies).rglob("*") if each.is_file())
    alike = msgspec.structs.replace(settings, data_dir="", database="", policies="", port=0, public_origin="")
    key = (then, msgspec.json.encode(alike), *(str(each.relative_to(settings.policies)).encode() + each.read_bytes() for each in files))
    if not sqlite:
        return await _copied_by_its_server(settings, then, (url.set(database=""), *key))
    if key not in _MADE:
        pattern = Path(tempfile.mkdtemp(dir=_PATTERNS.name)) / "data"
        _MADE[key] = pattern, await _made(msgspec.structs.replace(settings, data_dir=str(pattern), database=""), then)
    pattern, given = _MADE[key]
    shutil.copytree(pattern, settings.data_path)
    made = settings.data_path / "gateway.db"
    if made.resolve() != path.resolve():
        made.replace(path)
    return given


async def _copied_by_its_server(settings: Settings, then: Callable[[Services], Awaitable[Any]] | None, key: tuple[Any, ...]) -> Any:
    """The same on PostgreSQL, for a test's own new database: its server copies one that was filled."""
    url = make_url(settings.database_url)
    connection = await asyncpg.connect(url.set(drivername="postgresql", database="postgres").render_as_string(hide_password=False))
    try:
        if key not in _MADE:
            given = await _made(settings, then)
            name = f"pattern_{os.urandom(6).hex()}"
            await connection.execute(f"CREATE DATABASE {name} TEMPLATE {url.database} STRATEGY FILE_COPY")
            pattern = Path(tempfile.mkdtemp(dir=_PATTERNS.name)) / "data"
            shutil.copytree(settings.data_path, pattern)
            _MADE[key] = pattern, (name, given)
            return given
        pattern, (name, given) = _MADE[key]
        await connection.execute(f"DROP DATABASE {url.database} WITH (FORCE)")
        await connection.execute(f"CREATE DATABASE {url.database} TEMPLATE {name} STRATEGY FILE_COPY")
        shutil.copytree(pattern, settings.data_path)
        return given
    finally:
        await connection.close()


async def _made(settings: Settings, then: Callable[[Services], Awaitable[Any]] | None) -> Any:
    await set_up(settings, by="test")
    if then is None:
        return None
    async with open_services(settings) as services:
        return await then(services)


def _new(settings: Settings, database: Path) -> bool:
    """Whether nobody was here before: no database but one with empty tables."""
    if not database.exists():
        return database.parent == settings.data_path
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute("SELECT count(*) FROM meta").fetchone() == (0,)


async def _new_on_its_server(settings: Settings) -> bool:
    """The same on PostgreSQL, where a test's own database has its tables."""
    connection = await asyncpg.connect(make_url(settings.database_url).set(drivername="postgresql").render_as_string(hide_password=False))
    try:
        if await connection.fetchval("SELECT to_regclass('meta')") is None:
            return False
        return bool(await connection.fetchval("SELECT count(*) FROM meta") == 0)
    finally:
        await connection.close()


@asynccontextmanager
async def a_gateway(folder: Path, *, database: str = "", **environment: str) -> AsyncIterator[Services]:
    """An open gateway with keys, tables and the shipped policies in force."""
    settings = settings_of(write_settings(folder, database=database), **environment)
    await make(settings)
    async with open_services(settings) as services:
        yield services

"""Fixtures of the web room: a filled city on each database, and its server."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from msgspec import structs
from sqlalchemy.engine import make_url

from tests.web.city import City, Server, copied, fill, served


@pytest.fixture(scope="session")
def sqlite_city(tmp_path_factory: pytest.TempPathFactory) -> City:
    """The sample city on SQLite; read only."""
    return structs.replace(fill(tmp_path_factory.mktemp("city") / "gateway"), shared=True)


@pytest.fixture(scope="session")
def pg_city(tmp_path_factory: pytest.TempPathFactory, pg_server: str, pg_url: str) -> City:
    """The sample city on PostgreSQL; read only."""

    async def create() -> None:
        connection = await asyncpg.connect(pg_server)
        await connection.execute("CREATE DATABASE city")
        await connection.close()

    asyncio.run(create())
    database = make_url(pg_url).set(database="city").render_as_string(hide_password=False)
    return structs.replace(fill(tmp_path_factory.mktemp("city") / "gateway", database), shared=True)


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def city(request: pytest.FixtureRequest) -> City:
    """The sample city, on each kind of database in turn; read only."""
    found: City = request.getfixturevalue("sqlite_city" if request.param == "sqlite" else "pg_city")
    return found


@pytest.fixture(scope="session")
def server(city: City) -> Iterator[Server]:
    """A server of the sample city."""
    with served(city) as running:
        yield running


@pytest.fixture(scope="session")
def sqlite_server(sqlite_city: City) -> Iterator[Server]:
    """A server of the sample city on SQLite, for what is no matter of the database."""
    with served(sqlite_city) as running:
        yield running


@pytest.fixture
def fresh_city(sqlite_city: City, tmp_path: Path) -> City:
    """A copy of the sample city that a test may change."""
    return copied(sqlite_city, tmp_path / "gateway")

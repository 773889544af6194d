"""A house, or two cities that have agreed, for tests that name them; a file that needs others makes its own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.services import Services
from tests.operations.publishing import a_house
from tests.region import Cities, two_cities


@pytest.fixture
async def town(tmp_path: Path, store_url: str) -> AsyncIterator[Services]:
    """A gateway with nothing in it, on SQLite and on PostgreSQL."""
    async with a_house(tmp_path, store_url) as services:
        yield services


@pytest.fixture
async def small(tmp_path: Path) -> AsyncIterator[Services]:
    """The same on SQLite alone."""
    async with a_house(tmp_path, "") as services:
        yield services


@pytest.fixture(params=["sqlite", "postgresql"])
def databases(request: pytest.FixtureRequest) -> tuple[str, str]:
    """The one that holds is on each kind of database in turn."""
    return ("", "") if request.param == "sqlite" else ("", str(request.getfixturevalue("pg_database")))


@pytest.fixture
async def cities(databases: tuple[str, str], tmp_path: Path) -> AsyncIterator[Cities]:
    """Two cities that have agreed."""
    async with two_cities(tmp_path, databases) as both:
        yield both


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Cities]:
    """The same, on SQLite alone."""
    async with two_cities(tmp_path) as both:
        yield both

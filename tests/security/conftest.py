"""The sample city and its server, as in the tests of the web room."""

from collections.abc import Iterator

import pytest

from tests.web.city import City, Server, served
from tests.web.conftest import sqlite_city

__all__ = ["sqlite_city"]


@pytest.fixture(scope="session")
def server(sqlite_city: City) -> Iterator[Server]:
    """A server of the sample city."""
    with served(sqlite_city) as running:
        yield running


@pytest.fixture(scope="session")
def office(sqlite_city: City) -> dict[str, str]:
    """Header fields of a department that supervises."""
    return {"authorization": f"Bearer {sqlite_city.token()}", "purpose": "dept.supervision"}

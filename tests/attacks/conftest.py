"""The field of the attacks, for every file of this folder."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.attacks.field import Field, Ground
from tests.crash.test_exchange_kill import free_port
from tests.region import agreed_at


@pytest.fixture(scope="module")
def agreed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int, int]:
    """Two cities that have agreed; copied for each test."""
    folder, ports = tmp_path_factory.mktemp("towns"), (free_port(), free_port())

    async def prepare() -> None:
        async with agreed_at(folder, ports):
            pass

    asyncio.run(prepare())
    return folder, *ports


@pytest.fixture
async def ground(agreed: tuple[Path, int, int], tmp_path: Path) -> AsyncIterator[Ground]:
    """A copy of both cities."""
    folder, *ports = agreed
    shutil.copytree(folder, tmp_path / "towns")
    async with AsyncExitStack() as stack:
        yield Ground(tmp_path / "towns", (ports[0], ports[1]), stack)


@pytest.fixture
async def field(ground: Ground) -> Field:
    """The usual field."""
    return await ground.field()

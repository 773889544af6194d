"""Kill −9 between the steps of coming back from a copy: no receipt is given and less and less is held, until all is told anew."""

import asyncio
import signal
import sqlite3
from pathlib import Path

import pytest

from gateway.core.errors import ExchangeError
from gateway.operations import end_agreement
from gateway.operations.come_back import came_back_from_copy, purge_marked
from gateway.operations.receive_batch import receive_posted
from gateway.operations.send_batch import send_batch
from gateway.services import Services
from gateway.store import came_back
from tests.crash.dying import NEVER, acting
from tests.crash.test_purge_kill import again
from tests.ledger import check_ledger
from tests.operations.publishing import PENALTIES as DATASET
from tests.operations.publishing import code, ids, penalty, put
from tests.operations.test_came_back import able, until_still
from tests.operations.test_exchange import states
from tests.region import PENALTIES, posted, two_cities

RECORDS = 6


async def come_back(services: Services) -> None:
    """What the command does, two records a transaction; killed, what the next round does."""
    end_agreement.CHUNK = 2
    await services.policies.fresh()
    if await came_back.asking(services.store.reads):
        await purge_marked(services)
    else:
        await came_back_from_copy(services, by="test", reason="恢复")


async def told(folder: Path) -> list[str]:
    """Two cities, and records of the one that the other holds."""
    async with two_cities(folder) as cities:
        rows = [penalty(code(number), f"通化市示例{number}商贸有限公司", f"通示罚〔2026〕{number}号") for number in range(1, RECORDS + 1)]
        made = ids(await put(cities.tonghua, DATASET, *rows))
        await send_batch(cities.tonghua, stream=PENALTIES, at_once=True)
        assert await states(cities.baishan, *made) == ["in_force"] * RECORDS
    return made


def stands(folder: Path) -> tuple[bool, int]:
    """Whether the stream is marked, and how many records are purged."""
    connection = sqlite3.connect(f"file:{folder / 'bs' / 'data' / 'gateway.db'}?mode=ro", uri=True)
    try:
        (marked,) = connection.execute("SELECT asks_since IS NOT NULL FROM in_streams WHERE stream = ?", (PENALTIES,)).fetchone()
        found = connection.execute("SELECT r.state, i.op FROM records r JOIN in_records i USING (record_id)").fetchall()
        assert set(found) <= {("erased", "purge"), ("in_force", "assert")}
        purged = sum(state == "erased" for state, _ in found)
        return bool(marked), purged
    finally:
        connection.close()


def test_killed_while_it_comes_back(tmp_path: Path) -> None:
    """Before the mark all stands as it was; behind it nothing is answered, and however often it is cut off all goes and comes again."""
    made = asyncio.run(told(tmp_path))
    found: list[tuple[bool, int]] = []
    for dies_at in (1, 2, 3, 4, 7, 2, 6, NEVER):
        status = acting(tmp_path / "bs", come_back, dies_at).ended()
        assert status == (-signal.SIGKILL if dies_at else 0), dies_at
        found.append(stands(tmp_path))
    assert [marked for marked, _ in found] == sorted(marked for marked, _ in found)
    assert [purged for _, purged in found] == sorted(purged for _, purged in found)
    assert (False, 0) in found
    assert any(0 < purged < RECORDS for _, purged in found)
    assert found[-1] == (True, RECORDS)

    async def go_on() -> None:
        async with again(tmp_path) as cities:
            cities = able(cities)
            await put(cities.tonghua, DATASET, penalty(code(7), "通化市示例7商贸有限公司", "通示罚〔2026〕7号"))
            (sent,) = await send_batch(cities.tonghua, stream=PENALTIES, at_once=True)
            assert sent.code == "UNAVAILABLE"
            with pytest.raises(ExchangeError, match="came back from a copy"):
                await receive_posted(cities.baishan, PENALTIES, posted(cities.line.carried[-1]))
            await until_still(cities)
            assert await states(cities.baishan, *made) == ["in_force"] * RECORDS
            for services in (cities.tonghua, cities.baishan):
                await check_ledger(services)

    asyncio.run(go_on())

"""Kill −9 between the steps of an end: what is purged bears its mark, the rest stands, and under the next agreement all comes back."""

import asyncio
import signal
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from gateway.operations import end_agreement
from gateway.operations.manage_agreements import change_state, take_notice
from gateway.operations.send_batch import send_batch
from gateway.services import Services
from tests.crash.dying import NEVER, acting
from tests.ledger import check_ledger
from tests.operations.publishing import PENALTIES as DATASET
from tests.operations.publishing import code, ids, penalty, put
from tests.operations.test_exchange import states
from tests.operations.test_purged_again import NEXT_PENALTIES, agree_again
from tests.region import AGREEMENT, BAISHAN, PENALTIES, TONGHUA, Cities, Line, a_city, two_cities

RECORDS = 6


async def end_all(services: Services) -> None:
    """Carry the end out, two records a transaction."""
    end_agreement.CHUNK = 2
    await services.policies.fresh()
    await end_agreement.end_agreements(services)


async def ended(folder: Path) -> list[str]:
    """Two cities, and an end that Baishan knows of and has not carried out."""
    async with two_cities(folder) as cities:
        rows = [penalty(code(number), f"通化市示例{number}商贸有限公司", f"通示罚〔2026〕{number}号") for number in range(1, RECORDS + 1)]
        made = ids(await put(cities.tonghua, DATASET, *rows))
        await send_batch(cities.tonghua, stream=PENALTIES, at_once=True)
        assert await states(cities.baishan, *made) == ["in_force"] * RECORDS
        notice = await change_state(cities.tonghua, AGREEMENT, "terminated", reason="测试", by="test")
        await take_notice(cities.baishan, notice, by="test")
        await end_agreement.end_agreements(cities.tonghua)
    return made


@asynccontextmanager
async def again(folder: Path) -> AsyncIterator[Cities]:
    """Both as they stand, with a short line between them."""
    async with a_city(folder / "th", TONGHUA, new=False) as ours, a_city(folder / "bs", BAISHAN, port=8001, new=False) as theirs:
        line = Line()
        both = [msgspec.structs.replace(each, adapters=line.adapters()) for each in (ours, theirs)]
        line.join(*both)
        yield Cities(both[0], both[1], line)


def purged(folder: Path) -> int:
    """How many are purged: erased and marked in one commit, and nothing is said of them any more; the others stand with all they say."""
    connection = sqlite3.connect(f"file:{folder / 'bs' / 'data' / 'gateway.db'}?mode=ro", uri=True)
    try:
        found = connection.execute(
            "SELECT r.state, r.clear = x'7b7d', i.op, i.purged_at IS NOT NULL, i.payload IS NULL "
            "FROM records r JOIN in_records i USING (record_id)"
        ).fetchall()
        assert set(found) <= {("erased", 1, "purge", 1, 1), ("in_force", 0, "assert", 0, 0)}
        return sum(row[0] == "erased" for row in found)
    finally:
        connection.close()


def test_killed_between_the_steps_of_a_purge(tmp_path: Path) -> None:
    """Begun, half written, before the commit, after it, between two stretches and before the inventory: two more are purged or none is."""
    made = asyncio.run(ended(tmp_path))
    found: list[int] = []
    for dies_at in (1, 2, 3, 4, 7, 2, 6, NEVER):
        status = acting(tmp_path / "bs", end_all, dies_at).ended()
        assert status == (-signal.SIGKILL if dies_at else 0), dies_at
        found.append(purged(tmp_path))
    assert found == [0, 0, 0, 2, 4, 4, 6, 6]

    async def come_back() -> None:
        async with again(tmp_path) as cities:
            assert await end_agreement.end_agreements(cities.baishan) == []
            await agree_again(cities)
            await send_batch(cities.tonghua, stream=NEXT_PENALTIES, at_once=True)
            assert await states(cities.baishan, *made) == ["in_force"] * RECORDS
            for services in (cities.tonghua, cities.baishan):
                await check_ledger(services)

    asyncio.run(come_back())

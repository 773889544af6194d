"""One record by itself, with its proof or as SD-JWT: only while what was sealed is true here, whatever the stream has said by then."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from gateway.core.errors import ExchangeError
from gateway.operations import show_exchange
from gateway.operations.handle_case import open_dispute, repair
from gateway.operations.send_batch import send_batch
from gateway.operations.withdraw import withdraw
from gateway.store.tables import out_streams
from tests.operations.publishing import PENALTIES as DATASET
from tests.operations.publishing import code, ids, penalty, put
from tests.region import BAISHAN, PENALTIES, Cities, two_cities


@pytest.fixture
async def cities(tmp_path: Path, store_url: str) -> AsyncIterator[Cities]:
    """Two cities; the sender on either database."""
    async with two_cities(tmp_path, (store_url if "postgresql" in store_url else "", "")) as both:
        yield both


async def refused(cities: Cities, record_id: str, v: int = 1) -> list[str]:
    """Codes with which each way to the record refuses it; empty where it is given."""
    ours, found = cities.tonghua, []
    for ask in (
        lambda: show_exchange.record(ours, BAISHAN, PENALTIES, record_id, v),
        lambda: show_exchange.exported(ours, BAISHAN, PENALTIES, record_id, v),
        lambda: show_exchange.own_record(ours, PENALTIES, record_id, by="test"),
    ):
        try:
            await ask()
        except ExchangeError as error:
            found.append(error.code)
    return found


async def test_nothing_is_proved_that_has_changed_here(cities: Cities):
    """Withdrawn, repaired, disputed, over by time, or of a stream that stands still: no proof from that moment on."""
    rows = [penalty(code(number), f"通化市测试{number}商贸有限公司", f"通示罚〔2026〕{number}号") for number in (1, 2, 3, 4)]
    made = ids(await put(cities.tonghua, DATASET, *rows))
    await send_batch(cities.tonghua, stream=PENALTIES)
    assert [await refused(cities, each) for each in made] == [[]] * 4
    await withdraw(cities.tonghua, made[0], reason="objection_upheld", actor="test")
    await repair(cities.tonghua, made[1], actor="test", document="示例")
    await open_dispute(cities.tonghua, made[2], actor="test")
    assert [await refused(cities, each) for each in made[:3]] == [["SEQ_CLOSED"] * 3] * 3, "before the next batch"
    assert await refused(cities, made[3]) == []
    async with cities.tonghua.store.transaction() as tx:
        await tx.execute(sa.update(out_streams).values(stopped="SEQ_FORK"))
    await send_batch(cities.tonghua, stream=PENALTIES)
    assert [await refused(cities, each) for each in made[:3]] == [["SEQ_CLOSED"] * 3] * 3, "where the stream has stopped"
    async with cities.tonghua.store.transaction() as tx:
        await tx.execute(sa.update(out_streams).values(stopped=None))
    await send_batch(cities.tonghua, stream=PENALTIES, at_once=True)
    assert await refused(cities, made[2], v=2) == [], "disputed, and said so"
    years_on = cities.at(cities.now + timedelta(days=1100))
    assert "SEQ_CLOSED" in await refused(years_on, made[3])

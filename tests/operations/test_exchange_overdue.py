"""What partners owe and do not pay: by name, count and age, at once and twice the agreed hours; told in lists, alarms and figures."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from prometheus_client.exposition import generate_latest

from gateway.core.records.model import RecordId
from gateway.operations import show_exchange
from gateway.operations.alarms import standing
from gateway.operations.begin_epoch import begin_epoch
from gateway.operations.handle_case import repair
from gateway.operations.keep_exchange import Rounds
from gateway.operations.list_overdue import list_overdue
from gateway.operations.measure_exchange import Measuring
from gateway.operations.send_batch import send_batch
from gateway.operations.watch_exchange import conditions
from gateway.store import outbox, records
from gateway.store.tables import records as record_table
from gateway.web.exchange_meter import ExchangeMeter
from gateway.web.telemetry import Meter, registry_of
from tests.operations.publishing import PENALTIES as DATASET
from tests.operations.publishing import code, ids, penalty, put
from tests.region import BAISHAN, PENALTIES, TONGHUA, Cities, followed, two_cities


@pytest.fixture
async def cities(tmp_path: Path) -> AsyncIterator[Cities]:
    """Two cities whose agreement gives 24 hours for withdrawing, 72 for erasing, and stops new records after 100."""
    async with two_cities(tmp_path, change=lambda text: text.replace("stop_after_h = 0", "stop_after_h = 100")) as both:
        yield both


@pytest.fixture
async def any_cities(tmp_path: Path, store_url: str) -> AsyncIterator[Cities]:
    """The same with the first one on either database: for what asks its tables in its own way."""
    databases = ("", "") if store_url.startswith("sqlite") else (store_url, "")
    async with two_cities(tmp_path, databases, change=lambda text: text.replace("stop_after_h = 0", "stop_after_h = 100")) as both:
        yield both


async def penalise(cities: Cities, *numbers: int) -> list[str]:
    """Penalties of Tonghua that Baishan holds."""
    rows = [penalty(code(number), f"通化市测试{number}商贸有限公司", f"通示罚〔2026〕{number}号") for number in numbers]
    made = ids(await put(cities.tonghua, DATASET, *rows))
    await send_batch(cities.tonghua, stream=PENALTIES)
    return made


async def test_each_act_has_its_own_hours(cities: Cities):
    """A withdrawal is overdue after `withdraw_h`, an erasure after `erase_h`; at twice the hours both are escalated; new records stop."""
    withdrawn, again, erased, last = await penalise(cities, 1, 2, 3, 4)
    for record_id in (withdrawn, again):
        await repair(cities.tonghua, record_id, actor="test")
    async with cities.tonghua.store.transaction() as tx:
        await records.erase(tx, RecordId(erased), actor="test")
    await send_batch(cities.tonghua, stream=PENALTIES)

    async def after(hours: float) -> list[tuple[str, int, int, bool, bool]]:
        later = cities.at(start + timedelta(hours=hours))
        found = await list_overdue(later.tonghua)
        assert {(each.partner, each.stream) for each in found} <= {(BAISHAN, PENALTIES)}
        return sorted((each.what, each.lines, each.agreed_h, each.escalated, each.stops) for each in found)

    start = cities.now
    assert await after(23.9) == []
    assert await after(24.1) == [("withdrawals", 2, 24, False, False)]
    assert await after(48.1) == [("withdrawals", 2, 24, True, False)]
    assert await after(72.1) == [("erasures", 1, 72, False, False), ("withdrawals", 2, 24, True, False)]
    assert await after(144.1) == [("erasures", 1, 72, True, True), ("withdrawals", 2, 24, True, True)]
    later = cities.at(start + timedelta(hours=145))
    await put(later.tonghua, DATASET, penalty(code(9), "通化市测试9商贸有限公司", "通示罚〔2026〕9号"))
    (sent,) = await send_batch(later.tonghua, stream=PENALTIES, deliver=False)
    assert sent.lines == 0, "no new record to a partner that owes for so long"
    await repair(later.tonghua, last, actor="test")
    (sent,) = await send_batch(later.tonghua, stream=PENALTIES, deliver=False)
    assert sent.lines == 1, "withdrawals always go"
    said = json.loads((await show_exchange.status(later.tonghua, BAISHAN)).body)["overdue"]
    assert [(each["what"], each["lines"], each["agreed_h"]) for each in said] == [("withdrawals", 2, 24), ("erasures", 1, 72)]
    assert json.loads((await show_exchange.status(later.baishan, TONGHUA)).body)["owed"][0]["lines"] == 3


async def test_alarms_and_figures_follow(cities: Cities):
    """Both debts are alarms of their own kinds and figures by partner; when the partner acknowledges, both are over."""
    withdrawn, erased = await penalise(cities, 1, 2)
    await repair(cities.tonghua, withdrawn, actor="test")
    async with cities.tonghua.store.transaction() as tx:
        await records.erase(tx, RecordId(erased), actor="test")
    measuring, meter = Measuring(), ExchangeMeter()
    await measuring.look(cities.tonghua)
    await send_batch(cities.tonghua, stream=PENALTIES)
    later = cities.at(cities.now + timedelta(hours=145))
    rounds = Rounds()
    cities.line.lose_before = 10**6  # whoever is asked for receipts does not answer
    await rounds.run(later.tonghua)
    kinds = {alarm.kind for alarm in await standing(later.tonghua) if alarm.target == f"{BAISHAN}/{PENALTIES}"}
    assert kinds >= {"withdrawals-overdue", "withdrawals-overdue-twice", "erasures-overdue", "erasures-overdue-twice"}

    async def figures() -> str:
        meter.show(await measuring.look(later.tonghua))
        return generate_latest(registry_of(Meter(), meter)).decode()

    stream = f'partner="{BAISHAN}",stream="{PENALTIES}"'
    text = await figures()
    for line in (
        f'chengxin_exchange_unacknowledged{{{stream},what="withdrawals"}} 1.0',
        f'chengxin_exchange_unacknowledged_seconds{{{stream},what="erasures"}} {145 * 3600:.1f}',
        f'chengxin_exchange_overdue{{{stream},what="erasures"}} 1.0',
        f'chengxin_exchange_stopped{{{stream},way="out"}} 0.0',
    ):
        assert line in text, line
    assert f'chengxin_exchange_batches_total{{partner="{BAISHAN}",result="applied",stream="{PENALTIES}",way="out"}} 1.0' in text
    assert f'chengxin_exchange_lines_total{{outcome="withdrawn",partner="{BAISHAN}",stream="{PENALTIES}",way="out"}} 2.0' in text
    cities.line.lose_before = 0
    await followed(later.baishan)
    later = later.at(later.now + timedelta(minutes=2))
    await rounds.run(later.tonghua)
    assert not {alarm.kind for alarm in await standing(later.tonghua) if alarm.target.endswith(PENALTIES)} & kinds
    text = await figures()
    for name in ("unacknowledged", "overdue"):
        assert f'chengxin_exchange_{name}{{{stream},what="withdrawals"}} 0.0' in text


async def test_a_stopped_stream_owes_from_the_commit(any_cities: Cities):
    """What is withdrawn while nothing is sealed is overdue by name, with the code of the stop; of that the partner is told nothing."""
    cities = any_cities
    withdrawn, erased, gone = await penalise(cities, 1, 2, 3)
    out = await outbox.out_stream(cities.tonghua.store.reads, PENALTIES)
    assert out is not None
    async with cities.tonghua.store.transaction() as tx:
        await outbox.stop_stream(tx, PENALTIES, out.head.epoch, "SEQ_FORK")
    await repair(cities.tonghua, withdrawn, actor="test")
    async with cities.tonghua.store.transaction() as tx:
        await records.erase(tx, RecordId(erased), actor="test")
    await put(cities.tonghua, DATASET, penalty(code(4), "通化市测试4商贸有限公司", "通示罚〔2026〕4号"))
    (sent,) = await send_batch(cities.tonghua, stream=PENALTIES)
    assert (sent.state, sent.sealed) == ("stopped", 0)

    async def told(hours: float) -> list[tuple[str, int, str | None]]:
        later = cities.at(cities.now + timedelta(hours=hours))
        found = await list_overdue(later.tonghua)
        assert all((each.since, each.stops) == (cities.now, False) for each in found)
        return sorted((each.what, each.lines, each.stopped) for each in found)

    assert await told(23.9) == []
    assert await told(24.1) == [("withdrawals", 1, "SEQ_FORK")]
    assert await told(72.1) == [("erasures", 1, "SEQ_FORK"), ("withdrawals", 1, "SEQ_FORK")]
    late = cities.at(cities.now + timedelta(hours=145))
    assert json.loads((await show_exchange.status(late.tonghua, BAISHAN)).body)["overdue"] == []
    kinds = {each.kind for each in await conditions(late.tonghua) if each.bad}
    assert kinds >= {"withdrawals-overdue", "withdrawals-overdue-twice", "erasures-overdue-twice", "stream-stopped"}
    async with late.tonghua.store.transaction() as tx:
        await outbox.stop_stream(tx, PENALTIES, out.head.epoch, None)
    await send_batch(late.tonghua, stream=PENALTIES, deliver=False)
    assert [(each.what, each.lines, each.since, each.stopped) for each in await list_overdue(late.tonghua)] == [
        ("withdrawals", 1, cities.now, None),
        ("erasures", 1, cities.now, None),
    ], "sealed late, it is as old as before"
    await send_batch(late.tonghua, stream=PENALTIES, at_once=True)
    await followed(late.baishan)
    later = late.at(late.now + timedelta(minutes=2))
    await Rounds().run(later.tonghua)
    assert await list_overdue(later.tonghua) == []
    assert gone in await states_of(later)


async def states_of(cities: Cities) -> set[str]:
    """Records of Tonghua that Baishan holds in force."""
    rows = await cities.baishan.store.reads.all(sa.select(record_table.c.record_id).where(record_table.c.state == "in_force"))
    return {row.record_id for row in rows}


async def test_a_new_epoch_makes_no_old_debts(cities: Cities):
    """What was withdrawn and acknowledged, or left out by an epoch, long ago is no debt while the next epoch is on its way."""
    first, second = await penalise(cities, 1, 2)
    await repair(cities.tonghua, first, actor="test")
    await send_batch(cities.tonghua, stream=PENALTIES)
    await followed(cities.baishan)
    soon = cities.at(cities.now + timedelta(minutes=2))
    await Rounds().run(soon.tonghua)
    assert await list_overdue(cities.at(cities.now + timedelta(hours=100)).tonghua) == []
    later = cities.at(cities.now + timedelta(hours=200))
    for _ in range(2):
        await begin_epoch(later.tonghua, PENALTIES, by="test", reason="too_late")
        assert await list_overdue(later.tonghua) == []
        await send_batch(later.tonghua, stream=PENALTIES, at_once=True)
    assert await list_overdue(later.tonghua) == []
    assert second in await states_of(later)

"""A clock that was far ahead and is right again: what it put off is tried again at once, and not when that time has come."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from gateway.adapter_contract import AdapterError
from gateway.operations.backing_off import FURTHEST, due, pause
from gateway.operations.collect_batches import collect_batches
from gateway.operations.lines import LONGEST_DELIVERY
from gateway.operations.manage_agreements import change_state
from gateway.operations.send_batch import send_batch
from gateway.operations.tell_partners import letters_due
from gateway.services import Clock, Services
from gateway.store import fetch_tries, outbox, told_documents
from tests.operations.publishing import PENALTIES as DATASET
from tests.operations.publishing import code, penalty, put
from tests.operations.test_lines import STREAM, Office, an_office
from tests.region import AGREEMENT, PENALTIES, TONGHUA, two_cities

AHEAD = timedelta(hours=6)
"""Beyond every pause, and too short for a sign of life, which a partner would not take before its time."""


@pytest.fixture
async def office(tmp_path: Path, store_url: str) -> AsyncIterator[Office]:
    """An office with a line to the province, on either database."""
    async with an_office(tmp_path, store_url) as found:
        yield found


def at(services: Services, moment: datetime) -> Services:
    """The same house by another clock."""
    clock = Clock(fixed=moment)
    services.store.clock = clock
    return msgspec.structs.replace(services, clock=clock)


def test_no_attempt_is_put_off_further_than_the_bound():
    """Neither by a pause, however often it failed, nor while a delivery is under way; beyond it is due, as what was never put off is."""
    now = datetime(2026, 6, 2, tzinfo=UTC)
    assert max(pause(attempts) for attempts in range(200)) <= FURTHEST
    assert LONGEST_DELIVERY * 1.1 <= FURTHEST
    assert not due(now + FURTHEST, now)
    assert [due(each, now) for each in (now + FURTHEST + timedelta(seconds=1), now, now - AHEAD, None)] == [True] * 4


async def test_a_batch_is_delivered_as_soon_as_the_clock_is_right(tmp_path: Path, store_url: str):
    """What failed at a partner while the clock was ahead leaves in the next round, and a pause of today is still kept."""
    async with two_cities(tmp_path, (store_url, "")) as cities:
        now = cities.now
        await put(cities.tonghua, DATASET, penalty(code(1), "通化市测试商贸有限公司", "通示罚〔2026〕1号"))
        await send_batch(cities.tonghua, stream=PENALTIES, deliver=False)
        cities.line.lose_before = 2
        for moment in (now + AHEAD, now):
            (sent,) = await send_batch(cities.at(moment).tonghua, stream=PENALTIES, at_once=False)
            assert (sent.state, sent.code) == ("waiting", "UNAVAILABLE")
            (batch,) = await outbox.waiting_batches(cities.tonghua.store.reads, PENALTIES)
            assert batch.next_attempt_at is not None
            assert batch.next_attempt_at - moment < FURTHEST
        assert len(cities.line.carried) == 2
        (sent,) = await send_batch(cities.at(now).tonghua, stream=PENALTIES, at_once=False)
        assert (sent.state, len(cities.line.carried)) == ("waiting", 2), "not due"
        (sent,) = await send_batch(cities.at(batch.next_attempt_at).tonghua, stream=PENALTIES, at_once=False)
        assert sent.state == "acked"


async def test_fetching_and_letters_go_on_as_soon_as_the_clock_is_right(tmp_path: Path, store_url: str, monkeypatch: pytest.MonkeyPatch):
    """A line that failed while the clock was ahead is asked in the next round, and a notice that was not taken is brought."""
    async with two_cities(tmp_path, ("", store_url), change=lambda text: text.replace('delivery = "push"', 'delivery = "pull"')) as cities:
        now, asked = cities.now, []

        async def failing(self: object, after: str | None) -> AsyncIterator[object]:
            asked.append(after)
            raise AdapterError("UNAVAILABLE", "断线", transient=True)
            yield

        monkeypatch.setattr(cities.baishan.adapters.load("https_partner").__mro__[1], "collect", failing)
        for moment, times in ((now + AHEAD, 1), (now + AHEAD, 1), (now, 2), (now, 2)):
            await collect_batches(cities.at(moment).baishan, paced=True)
            assert len(asked) == times
        tried = (await fetch_tries.failing(cities.baishan.store.reads))[AGREEMENT]
        assert (tried.attempts, tried.next_attempt_at - now < FURTHEST) == (2, True)
        here = cities.at(now).baishan
        await change_state(here, AGREEMENT, "suspended", reason="测试", by="test")
        ((letter,),) = (await letters_due(here)).values()
        for ahead, waits in ((AHEAD, False), (timedelta(minutes=30), True)):
            async with here.store.transaction() as tx:
                await told_documents.note(
                    tx, TONGHUA, letter.what, letter.digest, told=False, attempts=3, code="UNAVAILABLE", next_attempt_at=now + ahead
                )
            assert (await letters_due(here) == {}) is waits


async def test_a_line_is_tried_as_soon_as_the_clock_is_right(office: Office):
    """Of a partner that signs nothing too: a part that failed while the clock was ahead goes in the next round."""
    now = office.services.clock()
    await office.round(deliver=False)
    office.desk.mood = "down"
    assert (await office.round(at(office.services, now + AHEAD))).code == "UNAVAILABLE"
    office.desk.mood = ""
    assert (await office.round(at(office.services, now + AHEAD))).delivered == 0, "not due by that clock"
    assert (await office.round(at(office.services, now))).delivered == 1
    assert await outbox.waiting_batches(office.services.store.reads, STREAM) == []

"""What stops with an agreement: at once, on both sides, in flight too; and what travels all the same, because it only takes back (A20)."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from gateway.core.errors import ExchangeError, StoreError
from gateway.operations import show_exchange
from gateway.operations.admit_batch import Admission, Passed
from gateway.operations.apply_batch import apply_batch
from gateway.operations.handle_case import repair
from gateway.operations.manage_agreements import change_state, take_notice
from gateway.operations.send_batch import send_batch
from gateway.store import held_agreements, known_records
from tests.ledger import check_ledger
from tests.operations.publishing import PENALTIES as DATASET
from tests.operations.publishing import code, ids, penalty, put
from tests.operations.test_exchange_waiting import states as known
from tests.region import AGREEMENT, BAISHAN, PENALTIES, Cities, Forger, two_cities


@pytest.fixture
async def cities(tmp_path: Path) -> AsyncIterator[Cities]:
    """Two cities that have agreed."""
    async with two_cities(tmp_path) as both:
        yield both


async def penalise(cities: Cities, number: int) -> str:
    """One more penalty of Tonghua."""
    row = penalty(code(number), f"通化市测试{number}商贸有限公司", f"通示罚〔2026〕{number}号")
    (record_id,) = ids(await put(cities.tonghua, DATASET, row))
    return record_id


async def ops(cities: Cities, *record_ids: str) -> list[str | None]:
    """What Baishan last heard of records."""
    held = await known_records.known(cities.baishan.store.reads, record_ids)
    return [held[record_id].op if record_id in held else None for record_id in record_ids]


async def both(cities: Cities, state: str) -> None:
    """Tonghua says so, and Baishan hears it."""
    notice = await change_state(cities.tonghua, AGREEMENT, state, reason="测试", by="test")  # type: ignore[arg-type]  # one of the words
    await take_notice(cities.baishan, notice, by="test")


async def test_what_was_in_flight_stays_and_withdrawals_go_before_it(cities: Cities):
    """A batch sealed before the suspension does not leave; a withdrawal behind it does and takes effect; then all goes on."""
    first = await penalise(cities, 1)
    await send_batch(cities.tonghua, stream=PENALTIES)
    second = await penalise(cities, 2)
    await send_batch(cities.tonghua, stream=PENALTIES, deliver=False)
    await both(cities, "suspended")
    await repair(cities.tonghua, first, actor="test", document="示例")
    for _ in range(2):
        (sent,) = await send_batch(cities.tonghua, stream=PENALTIES, at_once=True)
        assert (sent.state, sent.code, sent.waiting, sent.delivered) == ("waiting", "SCOPE_AGREEMENT", 2, 0)
    assert [batch.batch.rpartition("/")[2] for batch in cities.line.carried] == ["1", "3", "3"], "the second batch never left"
    assert await ops(cities, first, second) == ["repair", None]
    await check_ledger(cities.baishan)
    await both(cities, "active")
    (sent,) = await send_batch(cities.tonghua, stream=PENALTIES, at_once=True)
    assert (sent.state, sent.waiting) == ("acked", 0)
    assert await ops(cities, first, second) == ["repair", "assert"]
    for services in (cities.tonghua, cities.baishan):
        await check_ledger(services)


async def test_after_the_end_withdrawals_go_for_the_agreed_days(cities: Cities):
    """Terminated with a batch in flight: that one never leaves, a withdrawal does within `freeze_days`, and nothing does afterwards."""
    first = await penalise(cities, 1)
    await send_batch(cities.tonghua, stream=PENALTIES)
    await penalise(cities, 2)
    await send_batch(cities.tonghua, stream=PENALTIES, deliver=False)
    await both(cities, "terminated")
    carried = len(cities.line.carried)
    await repair(cities.tonghua, first, actor="test", document="示例")
    await send_batch(cities.tonghua, stream=PENALTIES, at_once=True)
    assert [batch.batch.rpartition("/")[2] for batch in cities.line.carried[carried:]] == ["3"]
    late = cities.at(cities.now + timedelta(days=91))
    await send_batch(late.tonghua, stream=PENALTIES, at_once=True)
    assert len(cities.line.carried) == carried + 1


async def test_whoever_fetches_gets_nothing_that_is_in_flight(cities: Cities):
    """While the agreement stands still a batch, its parts and its records are refused to whoever asks for them; withdrawals are given."""
    first = await penalise(cities, 1)
    await send_batch(cities.tonghua, stream=PENALTIES)
    await penalise(cities, 2)
    await send_batch(cities.tonghua, stream=PENALTIES, deliver=False)
    await both(cities, "suspended")
    await repair(cities.tonghua, first, actor="test", document="示例")
    await send_batch(cities.tonghua, stream=PENALTIES, deliver=False)
    ours = cities.tonghua
    for story in (
        show_exchange.manifest(ours, BAISHAN, PENALTIES, 2, epoch=None),
        show_exchange.part(ours, BAISHAN, PENALTIES, "1-2-000.ndjson.gz"),
        show_exchange.part(ours, BAISHAN, PENALTIES, "1-1-000.ndjson.gz"),
    ):
        with pytest.raises(ExchangeError) as caught:
            await story
        assert caught.value.code == "SCOPE_AGREEMENT"
    given = await show_exchange.manifest(ours, BAISHAN, PENALTIES, 3, epoch=None)
    assert given is not None
    assert json.loads(json.loads(given.body)["manifest"]["body"])["counts"]["repair"] == 1
    assert (await show_exchange.part(ours, BAISHAN, PENALTIES, "1-3-000.ndjson.gz")).body


async def test_suspended_between_fetch_and_apply(cities: Cities):
    """A20: a batch that passed every step before the suspension is not applied after it: the transaction looks again."""
    forger = Forger(cities)
    await forger.post(forger.penalty(500))
    sealed = forger.seal([forger.penalty(1), forger.withdrawal(500)])
    parts = {part.name: part.data for part in sealed.parts}
    admission = Admission(cities.baishan, PENALTIES, sealed.document, sealed.checkpoint, parts, None)
    passed = await admission.run()
    assert isinstance(passed, Passed)
    await change_state(cities.baishan, AGREEMENT, "suspended", reason="测试", by="test")
    with pytest.raises(StoreError) as caught:
        await apply_batch(admission, passed)
    assert caught.value.code == "stream-moved"
    assert await known(cities, 1, 500) == [None, "assert"], "nothing of it"
    received = await forger.send(sealed)
    assert (received.result, received.code) == ("quarantined", "SCOPE_AGREEMENT")
    assert await known(cities, 1, 500) == [None, "repair"]
    await check_ledger(cities.baishan)


async def test_expired_last_night(tmp_path: Path):
    """A20: a batch of the last evening that comes after midnight is refused for good; a withdrawal is taken."""
    async with two_cities(tmp_path, change=lambda text: text.replace("expires = 2028-12-31", "expires = 2026-06-30")) as cities:
        (held,) = (await held_agreements.held_agreements(cities.baishan.store.reads))[AGREEMENT]
        evening = cities.at(held.agreement.ends - timedelta(minutes=10))
        forger = Forger(evening, agreement=held.agreement)
        await forger.post(forger.penalty(500))
        gone = forger.seal([forger.withdrawal(500)])
        forger.cities = evening.at(held.agreement.ends + timedelta(seconds=1))
        received = await forger.send(gone)
        assert (received.result, received.code) == ("applied", None)
        received = await forger.send(forger.seal([forger.penalty(1)], created=held.agreement.ends - timedelta(minutes=1)))
        assert (received.result, received.code) == ("rejected", "SCOPE_AGREEMENT")
        assert await known(forger.cities, 1, 500) == [None, "repair"]


async def test_a_schema_outside_the_agreed_range(cities: Cities):
    """A20: another major of the schema is refused before a line is looked at."""
    forger = Forger(cities)

    def other(said: dict[str, object]) -> None:
        said["schema"] = "administrative-penalties/2.0"

    received = await forger.send(forger.seal([forger.penalty(1)], edit=other))
    assert (received.result, received.code) == ("rejected", "SCHEMA_VERSION")
    assert await known(cities, 1) == [None]

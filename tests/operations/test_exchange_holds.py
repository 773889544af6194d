"""An operator's hold on a stream of either direction, and what is due now because somebody asks."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from gateway.adapter_contract import AdapterError
from gateway.core.errors import ExchangeError
from gateway.operations.collect_batches import collect_batches
from gateway.operations.decide_held import decide_held
from gateway.operations.doctor import examine
from gateway.operations.handle_case import repair
from gateway.operations.hold_stream import hold_stream, release_stream, retry
from gateway.operations.report_exchange import report_exchange
from gateway.operations.send_batch import Sent, send_batch
from gateway.store import fetch_tries, inbox, outbox
from tests.administrators import hand
from tests.ledger import check_ledger
from tests.operations.publishing import PENALTIES as DATASET
from tests.operations.publishing import code, ids, penalty, put
from tests.operations.test_exchange import states as states_at
from tests.operations.test_exchange_waiting import states, told, wrong
from tests.region import AGREEMENT, PENALTIES, TONGHUA, Cities, Forger, held_batch, two_cities


async def penalise(cities: Cities, *numbers: int) -> list[str]:
    """Penalties at Tonghua."""
    rows = [penalty(code(number), f"通化市测试{number}商贸有限公司", f"通示罚〔2026〕{number}号") for number in numbers]
    return ids(await put(cities.tonghua, DATASET, *rows))


async def sent(cities: Cities, *, at_once: bool = True) -> Sent:
    """One pass of Tonghua over its penalties."""
    (found,) = await send_batch(cities.tonghua, stream=PENALTIES, at_once=at_once)
    await check_ledger(cities.tonghua)
    await check_ledger(cities.baishan)
    return found


async def test_a_stream_to_us_is_held(cities: Cities) -> None:
    """Batches wait, HELD without a code, what they withdraw is withdrawn; when the hold is over they are applied in order."""
    forger = Forger(cities)
    await forger.post(forger.penalty(500), forger.penalty(501))
    held = await hold_stream(cities.baishan, PENALTIES, reason="与对方核对中", by="admin:one")
    assert (held.direction, held.partner) == ("in", TONGHUA)
    first, second = forger.seal([forger.penalty(1), forger.withdrawal(500)]), forger.seal([forger.penalty(2), forger.withdrawal(501)])
    assert told(await forger.send(first)) == ("held", None)
    assert told(await forger.send(second)) == ("quarantined", "SEQ_GAP")
    assert told(await forger.send(first)) == ("held", None), "asked again, the same receipt"
    assert await states(cities, 1, 2, 500, 501) == [None, None, "repair", "repair"]
    (report,) = [each for each in await report_exchange(cities.baishan) if each.stream == PENALTIES]
    assert report.held_since == cities.now
    (found,) = [each for each in await examine(cities.baishan, lines=False) if not each.ok]
    assert (found.code, found.where) == ("stream-held", f"{TONGHUA}/{PENALTIES}")
    assert (await release_stream(cities.baishan, PENALTIES, what="hold", reason="已核对", by=hand())).what == "lifted"
    assert await states(cities, 1, 2) == ["assert", "assert"]
    assert told(await forger.send(first)) == ("applied", None)
    await check_ledger(cities.baishan)
    with pytest.raises(ExchangeError) as caught:
        await release_stream(cities.baishan, PENALTIES, what="hold", reason="再次", by=hand())
    assert caught.value.code == "NOT_FOUND"


async def test_a_hold_does_not_carry_wrong_lines_in(pair: Cities) -> None:
    """Lifted, a batch is judged with its rate; it may also be refused while the stream is held."""
    forger = Forger(pair)
    await forger.post(forger.penalty(500))
    await hold_stream(pair.baishan, PENALTIES, reason="x", by="admin:one")
    bad = wrong(forger)
    assert told(await forger.send(bad)) == ("held", None)
    await release_stream(pair.baishan, PENALTIES, what="hold", reason="x", by=hand())
    assert told(await forger.send(bad)) == ("held", "HOLD_RATE")
    await hold_stream(pair.baishan, PENALTIES, reason="x", by="admin:one")
    assert (await release_stream(pair.baishan, PENALTIES, what="hold", reason="x", by=hand())).what == "lifted"
    assert await states(pair, 31) == [None], "what is held for its rate waits for a person of its own"
    name = await held_batch(pair.baishan)
    assert told(await decide_held(pair.baishan, PENALTIES, batch=name, apply=False, by=hand(), reason="x")) == ("rejected", "HOLD_REFUSED")
    await check_ledger(pair.baishan)


async def test_a_stream_from_us_is_held(pair: Cities) -> None:
    """Nothing new is sealed or delivered, withdrawals go; afterwards everything is told that happened meanwhile."""
    first, second = await penalise(pair, 1, 2)
    assert (await sent(pair)).state == "acked"
    held = await hold_stream(pair.tonghua, PENALTIES, reason="数据核查", by="admin:one")
    assert (held.direction, held.waiting) == ("out", 0)
    (third,) = await penalise(pair, 3)
    await repair(pair.tonghua, first, actor="test", document="示例")
    done = await sent(pair)
    assert (done.sealed, done.delivered, done.waiting) == (1, 1, 0)
    assert await states_at(pair.baishan, first, second, third) == ["repaired", "in_force", None]
    await release_stream(pair.tonghua, PENALTIES, what="hold", reason="完成", by=hand())
    await sent(pair)
    assert await states_at(pair.baishan, second, third) == ["in_force", "in_force"]


async def test_what_was_sealed_before_waits_for_a_withdrawal(pair: Cities) -> None:
    """A batch that was sealed before the hold stays here until something stands behind it that has to be taken back."""
    (first,) = await penalise(pair, 1)
    await sent(pair)
    await penalise(pair, 2)
    await send_batch(pair.tonghua, stream=PENALTIES, deliver=False)
    assert (await hold_stream(pair.tonghua, PENALTIES, reason="x", by="admin:one")).waiting == 1
    carried = len(pair.line.carried)
    done = await sent(pair)
    assert (done.waiting, done.code, len(pair.line.carried)) == (1, "HELD", carried)
    await repair(pair.tonghua, first, actor="test", document="示例")
    done = await sent(pair)
    assert (done.waiting, done.code) == (0, None)
    assert await states_at(pair.baishan, first) == ["repaired"]


async def test_retry_makes_due_what_waits(pair: Cities) -> None:
    """A batch in the middle of its schedule goes with the next ordinary round; one that stopped for a person does not."""
    await penalise(pair, 1)
    pair.line.lose_before = 2
    await sent(pair)
    await sent(pair)
    assert (await sent(pair, at_once=False)).waiting == 1
    done = await retry(pair.tonghua, stream=PENALTIES, by="admin:one")
    assert done.batches == 1
    assert (await sent(pair, at_once=False)).state == "acked"
    async with pair.tonghua.store.transaction() as tx:
        await outbox.stop_stream(tx, PENALTIES, 1, "SEQ_FORK")
    await retry(pair.tonghua, every=True, by="admin:one")
    await penalise(pair, 2)
    assert (await sent(pair, at_once=False)).state == "stopped"
    for wrongly in ({}, {"stream": PENALTIES, "every": True}, {"stream": "nobody-2026.x"}):
        with pytest.raises(ExchangeError):
            await retry(pair.tonghua, by="admin:one", **wrongly)


async def test_fetching_waits_longer_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """1, 2, 4 minutes, kept in the store; a command asks at once, `retry` makes it due, a success ends it."""
    async with two_cities(tmp_path, change=lambda text: text.replace('delivery = "push"', 'delivery = "pull"')) as cities:
        asked = []

        async def failing(self: object, after: str | None) -> AsyncIterator[object]:
            asked.append(after)
            raise AdapterError("UNAVAILABLE", "断线", transient=True)
            yield

        line = cities.baishan.adapters.load("https_partner")
        monkeypatch.setattr(line.__mro__[1], "collect", failing)
        now = cities.now
        for attempt, minutes in enumerate((1, 2, 4), 1):
            assert await collect_batches(cities.at(now).baishan, paced=True) == {f"{TONGHUA}/{AGREEMENT}": "UNAVAILABLE"}
            tried = (await fetch_tries.failing(cities.baishan.store.reads))[AGREEMENT]
            assert tried.attempts == attempt
            assert 0.79 * minutes <= (tried.next_attempt_at - now) / timedelta(minutes=1) <= 1.21 * minutes
            assert await collect_batches(cities.at(now).baishan, paced=True) == {}, "not due"
            now = tried.next_attempt_at
        assert len(asked) == 3
        await collect_batches(cities.at(now - timedelta(seconds=5)).baishan)
        assert len(asked) == 4
        monkeypatch.undo()
        await retry(cities.baishan, every=True, by="admin:one")
        assert await collect_batches(cities.baishan, paced=True) == {}
        assert await fetch_tries.failing(cities.baishan.store.reads) == {}
        assert await inbox.line_cursor(cities.baishan.store.reads, AGREEMENT) is None

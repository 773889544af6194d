"""Batches that wait: for a person, behind another one, under a suspended agreement; what is verified, and what takes effect, meanwhile."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.core.errors import ExchangeError
from gateway.core.exchange.batches import Sealed
from gateway.core.exchange.records import SealedLine
from gateway.operations.decide_held import decide_held
from gateway.operations.manage_agreements import change_state
from gateway.operations.receive_batch import Received, resume_waiting
from gateway.store import inbox
from tests.ledger import check_ledger
from tests.region import AGREEMENT, PENALTIES, TONGHUA, Cities, Forger, two_cities


@pytest.fixture
async def cities(tmp_path: Path) -> AsyncIterator[Cities]:
    """Two cities that have agreed."""
    async with two_cities(tmp_path) as both:
        yield both


def wrong(forger: Forger, *more: SealedLine) -> Sealed:
    """A batch with 20 lines outside the agreement's scope, and 2 good ones."""
    bad = [forger.penalty(number, region="220600") for number in range(1, 21)]
    return forger.seal([*bad, forger.penalty(31), forger.penalty(32), *more])


async def states(cities: Cities, *numbers: int) -> list[str | None]:
    """In which state Baishan holds records of the forger."""
    from tests.region import rid

    rows = {row.record_id: row.op for row in await _rows(cities)}
    return [rows.get(rid(number)) for number in numbers]


async def _rows(cities: Cities) -> list[object]:
    import sqlalchemy as sa

    from gateway.store.tables import in_records

    return await cities.baishan.store.reads.all(sa.select(in_records))


def told(received: Received) -> tuple[str, str | None]:
    """Result and code."""
    return received.result, received.code


async def test_a_person_applies_what_was_held(cities: Cities):
    """The rejected lines stay rejected, the others come in, earlier withdrawals are counted; who waited behind it goes on."""
    forger = Forger(cities)
    await forger.post(forger.penalty(500))
    sealed = wrong(forger, forger.withdrawal(500))
    held = await forger.send(sealed)
    assert told(held) == ("held", "HOLD_RATE")
    behind = forger.seal([forger.penalty(70)])
    assert told(await forger.send(behind)) == ("quarantined", "SEQ_GAP")
    await check_ledger(cities.baishan)
    released = await decide_held(cities.baishan, PENALTIES, apply=True, by="admin:officer", reason="已与对方核对")
    assert released.result == "partial"
    assert released.receipt is not None
    counts = json.loads(released.receipt.body)["counts"]
    assert (counts["lines"], counts["accepted"], counts["rejected"], counts["withdrawn"]) == (23, 2, 20, 1)
    assert await states(cities, 1, 31, 70, 500) == [None, "assert", "assert", "repair"]
    assert (await forger.send(sealed)).receipt == released.receipt, "from now on its sender gets this one"
    assert (await forger.send(behind)).result == "applied"
    with pytest.raises(ExchangeError) as caught:
        await decide_held(cities.baishan, PENALTIES, apply=True, by="admin:officer", reason="再次")
    assert caught.value.code == "NOT_FOUND"
    await check_ledger(cities.baishan)


async def test_a_person_refuses_what_was_held(cities: Cities):
    """Refused is final: the same receipt for ever, nothing of it applied, its parts gone."""
    forger = Forger(cities)
    sealed = wrong(forger)
    await forger.send(sealed)
    refused = await decide_held(cities.baishan, PENALTIES, apply=False, by="admin:officer", reason="对方将更正")
    assert told(refused) == ("rejected", "HOLD_REFUSED")
    assert (await forger.send(sealed)).receipt == refused.receipt
    assert await states(cities, 31) == [None]
    await check_ledger(cities.baishan)


async def test_verification_runs_ahead_of_application(cities: Cities):
    """Behind a held batch the next ones are verified in order; what they withdraw is withdrawn at once, the rest waits."""
    forger = Forger(cities)
    await forger.post(forger.penalty(500), forger.penalty(501))
    await forger.send(wrong(forger))
    second = forger.seal([forger.penalty(70), forger.withdrawal(500)])
    third = forger.seal([forger.withdrawal(501), forger.withdrawal(70)])
    assert [told(await forger.send(one)) for one in (second, third)] == [("quarantined", "SEQ_GAP")] * 2
    assert await states(cities, 70, 500, 501) == [None, "repair", "repair"]
    again = await forger.send(third)
    stream = await inbox.in_stream(cities.baishan.store.reads, TONGHUA, PENALTIES)
    assert stream is not None
    assert (again.no, stream.receipt_no) == (4, 4), "asked again, nothing is decided again"
    assert stream.head.seq == 1, "nothing is applied before its turn"
    await check_ledger(cities.baishan)
    await decide_held(cities.baishan, PENALTIES, apply=True, by="admin:officer", reason="已与对方核对")
    stream = await inbox.in_stream(cities.baishan.store.reads, TONGHUA, PENALTIES)
    assert stream is not None
    assert (stream.head.seq, stream.head.tree.root()) == (4, forger.head.tree.root())
    assert await states(cities, 31, 70, 500, 501) == ["assert", "repair", "repair", "repair"]
    await check_ledger(cities.baishan)


async def test_a_wrong_chain_behind_a_held_batch_is_seen_at_once(cities: Cities):
    """A batch behind a held one that names another predecessor freezes the stream now, not after a person has looked."""
    forger = Forger(cities)
    await forger.post(forger.penalty(500))
    await forger.send(wrong(forger))

    def other(said: dict[str, object]) -> None:
        said["previous"] = "sha-256:" + "A" * 43 + "="

    assert told(await forger.send(forger.seal([forger.penalty(70)], edit=other))) == ("frozen", "SEQ_PREVIOUS")
    await check_ledger(cities.baishan)


async def test_batches_of_a_suspended_agreement_are_verified_in_order(cities: Cities):
    """A20: while it is suspended every batch is verified, only withdrawals take effect; when it is active again all go on in order."""
    forger = Forger(cities)
    await forger.post(forger.penalty(500))
    await change_state(cities.baishan, AGREEMENT, "suspended", reason="测试", by="test")
    first, second = forger.seal([forger.penalty(1)]), forger.seal([forger.penalty(2), forger.withdrawal(500)])
    assert [told(await forger.send(one)) for one in (first, second)] == [("quarantined", "SCOPE_AGREEMENT")] * 2
    assert await states(cities, 1, 2, 500) == [None, None, "repair"]
    await change_state(cities.baishan, AGREEMENT, "active", reason="测试", by="test")
    assert await resume_waiting(cities.baishan) == 1
    assert await states(cities, 1, 2, 500) == ["assert", "assert", "repair"]
    await check_ledger(cities.baishan)

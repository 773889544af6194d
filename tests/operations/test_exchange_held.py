"""A batch that is held keeps no persons, is told of when it waits too long, and does not keep back an erasure."""

import json
from datetime import timedelta

import pytest
import sqlalchemy as sa

from gateway.core.exchange.feedback import read_receipt
from gateway.core.exchange.records import SealedLine
from gateway.core.exchange.sealing import Sealed
from gateway.operations import finish_erasures as finishing
from gateway.operations.decide_held import decide_held
from gateway.operations.doctor import examine
from gateway.operations.finish_erasures import finish_erasures
from gateway.operations.hold_stream import hold_stream
from gateway.operations.manage_agreements import change_state
from gateway.operations.watch_exchange import conditions
from gateway.store import erasures, given_receipts
from gateway.store.tables import erasures as erased_rows
from gateway.store.tables import in_batches, in_parts
from tests.administrators import hand
from tests.ledger import check_ledger
from tests.operations.test_exchange_waiting import states, told, wrong
from tests.region import AGREEMENT, PENALTIES, TONGHUA, Cities, Forger, followed, held_batch, news, rid

TARGET = f"{TONGHUA}/{PENALTIES}"


def persons(forger: Forger, count: int = 25) -> list[SealedLine]:
    """Lines about natural persons, for which the agreement has no basis."""
    values = {"CF_XDR_MC": "王小明", "CF_XDR_LB": "natural", "CF_XDR_SHXYM": None}
    return [forger.penalty(100 + number, subject_kind="natural", values=values) for number in range(count)]


async def kept(cities: Cities) -> int:
    """How many parts that came in Baishan keeps."""
    return len(await cities.baishan.store.reads.all(sa.select(in_parts.c.name)))


async def overdue(cities: Cities) -> list[str]:
    """Targets of the alarm about held batches."""
    return [each.target for each in await conditions(cities.baishan) if each.kind == "batch-held-overdue" and each.bad]


async def test_a_list_of_persons_is_not_kept(pair: Cities) -> None:
    """Too many lines to take the batch, and about persons: refused for good, nothing kept, its withdrawals in effect."""
    forger = Forger(pair)
    await forger.post(forger.penalty(500))
    sealed = forger.seal([*persons(forger), forger.penalty(1), forger.withdrawal(500)])
    refused = await forger.send(sealed)
    assert told(refused) == ("rejected", "LAW_PERSON")
    assert await kept(pair) == 0
    assert await states(pair, 1, 500) == [None, "repair"]
    assert await news(pair) == ["ACK_WITHDRAWN"]
    assert (await forger.send(sealed)).receipt == refused.receipt
    assert await kept(pair) == 0
    await check_ledger(pair.baishan)


@pytest.mark.parametrize("why", ["held by an operator", "held for its rate", "suspended"])
async def test_one_person_among_many_is_not_kept(pair: Cities, why: str) -> None:
    """One such line is enough, whatever the batch would wait for."""
    forger = Forger(pair)
    await forger.post(forger.penalty(500))
    if why == "held by an operator":
        await hold_stream(pair.baishan, PENALTIES, reason="核对", by="admin:one")
    elif why == "suspended":
        await change_state(pair.baishan, AGREEMENT, "suspended", reason="测试", by="test")
    assert told(await forger.send(wrong(forger, *persons(forger, 1)))) == ("rejected", "LAW_PERSON")
    assert await kept(pair) == 0
    await check_ledger(pair.baishan)


async def test_a_new_epoch_of_persons_is_not_kept(pair: Cities) -> None:
    """The last batch of an epoch that would be held is refused with all that was staged of it."""
    forger = Forger(pair)
    await forger.post(forger.penalty(500))
    replaces = forger.anew()
    staged: Sealed = forger.seal([*persons(forger), forger.penalty(1)], replaces=replaces, snapshot="part")
    assert told(await forger.send(staged)) == ("quarantined", None)
    assert told(await forger.send(forger.seal([forger.penalty(500)], snapshot="last"))) == ("rejected", "LAW_PERSON")
    assert await kept(pair) == 0
    assert await states(pair, 1, 500) == [None, "assert"]
    await check_ledger(pair.baishan)


async def test_a_batch_that_is_held_too_long_is_told_of(pair: Cities) -> None:
    """After `hold_h`, not before, by partner and stream, to the office and by the doctor; over with the decision."""
    forger = Forger(pair)
    assert told(await forger.send(wrong(forger))) == ("held", "HOLD_RATE")
    hours = forger.agreement.terms.sla.hold_h
    assert await overdue(pair.at(pair.now + timedelta(hours=hours, seconds=-1))) == []
    later = pair.at(pair.now + timedelta(hours=hours))
    assert await overdue(later) == [TARGET]
    found = {each.code: each for each in await examine(later.baishan, lines=False) if not each.ok}
    assert found["batch-held-overdue"].where == TARGET
    assert found["batch-held-overdue"].remedy_en
    await decide_held(later.baishan, PENALTIES, batch=await held_batch(later.baishan), apply=False, by=hand(), reason="x")
    assert await overdue(later) == []


async def test_a_held_batch_does_not_keep_back_an_erasure(cities: Cities) -> None:
    """A record that came before and one that stands in the held batch alone: both are erased when `erase_h` is over, and acknowledged."""
    forger = Forger(cities)
    await forger.post(forger.penalty(500))
    amended = forger.penalty(500, v=2, op="amend", values={"CF_NR_FK": "3.000000"})
    sealed = wrong(forger, amended)
    assert told(await forger.send(sealed)) == ("held", "HOLD_RATE")
    lines = [forger.withdrawal(number, v=3, op="erase", reason="erased") for number in (31, 500)]
    assert told(await forger.post(*lines)) == ("quarantined", "SEQ_GAP")
    hours = forger.agreement.terms.sla.erase_h
    forger.cities = early = cities.at(cities.now + timedelta(hours=hours, seconds=-1))
    assert await news(early) == []
    assert told(await forger.send(sealed)) == ("held", "HOLD_RATE")
    forger.cities = later = cities.at(early.now + timedelta(seconds=1))
    assert await followed(later.baishan) == 2
    said = (await given_receipts.receipts_of(later.baishan.store.reads, TONGHUA, PENALTIES))[-1].feedback.splitlines()
    acknowledged = sorted((json.loads(line)["rid"], json.loads(line)["code"]) for line in said)
    assert acknowledged == [(rid(31), "ACK_ERASED"), (rid(500), "ACK_ERASED")]
    assert told(await forger.send(sealed)) == ("rejected", "HOLD_REFUSED"), "its sender goes on in a new epoch"
    rows = await later.baishan.store.reads.all(sa.select(in_batches.c.state).order_by(in_batches.c.seq))
    assert [row.state for row in rows] == ["applied", "rejected", "quarantined"]
    await check_ledger(later.baishan)
    replaces = forger.anew()
    assert told(await forger.send(forger.seal([forger.penalty(600)], replaces=replaces, snapshot="last"))) == ("applied", None)
    assert await states(later, 31, 500, 600) == ["erase", "erase", "assert"]
    assert await kept(later) == 0
    await check_ledger(later.baishan)


async def test_an_erasure_that_took_effect_while_it_waited_is_counted_as_one(pair: Cities) -> None:
    """Behind a held batch twenty erasures take effect at once; when their turn comes they are withdrawals, and hold nothing."""
    forger = Forger(pair)
    numbers = range(500, 520)
    await forger.post(*[forger.penalty(number) for number in numbers])
    assert told(await forger.send(wrong(forger))) == ("held", "HOLD_RATE")
    erasing = forger.seal([forger.withdrawal(number, v=2, op="erase", reason="erased") for number in (*numbers, 700)])
    assert told(await forger.send(erasing)) == ("quarantined", "SEQ_GAP")
    assert await states(pair, *numbers) == ["erase"] * len(numbers)
    await decide_held(pair.baishan, PENALTIES, batch=await held_batch(pair.baishan), apply=True, by=hand(), reason="x")
    receipt = await forger.send(erasing)
    assert told(receipt) == ("applied", None)
    assert receipt.receipt is not None
    assert read_receipt(receipt.receipt.body).counts.withdrawn == len(numbers) + 1
    assert await news(pair) == ["ACK_ERASED"] * (len(numbers) + 1)
    await check_ledger(pair.baishan)


async def test_what_waits_elsewhere_loses_its_parts_alone(pair: Cities) -> None:
    """Under a suspended agreement: the parts go and are asked for again, the batch goes on waiting."""
    forger = Forger(pair)
    await forger.post(forger.penalty(500))
    await change_state(pair.baishan, AGREEMENT, "suspended", reason="测试", by="test")
    waits = forger.seal([forger.penalty(500, v=2, op="amend"), forger.penalty(2)])
    assert told(await forger.send(waits)) == ("quarantined", "SCOPE_AGREEMENT")
    assert told(await forger.post(forger.withdrawal(500, v=3, op="erase", reason="erased"))) == ("quarantined", "SEQ_GAP")
    assert await news(pair) == []
    assert await kept(pair) == 2
    forger.cities = later = pair.at(pair.now + timedelta(hours=forger.agreement.terms.sla.erase_h))
    assert await news(later) == ["ACK_ERASED"]
    assert await kept(later) == 1, "the erasure itself says nothing of the record"
    assert (await forger.send(waits, {})).missing
    assert told(await forger.send(waits)) == ("quarantined", "SCOPE_AGREEMENT")
    assert await kept(later) == 2
    await forger.post(forger.withdrawal(501, v=2, op="erase", reason="erased"))
    assert await states(later, 2, 500, 501) == [None, "erase", "erase"]
    await check_ledger(later.baishan)


async def test_stuck_erasures_keep_back_none_behind_them(cities: Cities, monkeypatch: pytest.MonkeyPatch) -> None:
    """More that cannot be finished than are looked at at a time: the next ones are finished all the same, in any order of their ids."""
    monkeypatch.setattr(finishing, "AT_A_TIME", 2)
    forger = Forger(cities)
    await forger.post(*[forger.penalty(number) for number in range(500, 505)])
    assert told(await forger.send(wrong(forger, *[forger.penalty(number, v=2, op="amend") for number in (500, 501, 502)])))[0] == "held"
    await forger.post(*[forger.withdrawal(number, v=3, op="erase", reason="erased") for number in range(500, 505)])
    await followed(cities.baishan)
    rows = await cities.baishan.store.reads.all(sa.select(erased_rows.c.record_id).where(erased_rows.c.done_at.is_not(None)))
    assert {row.record_id for row in rows} == {rid(503), rid(504)}
    left = await erasures.waiting(cities.baishan.store.reads, 2)
    assert [each.record_id for each in left] == [rid(500), rid(501)]
    assert [each.record_id for each in await erasures.waiting(cities.baishan.store.reads, 2, left[-1])] == [rid(502)]
    assert await finish_erasures(cities.baishan) == 0

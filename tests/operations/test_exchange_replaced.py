"""What a new epoch brings under other ids: judged beside what stands once it is whole, and nothing of it before."""

import json
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from gateway.adapter_contract import SourceRecord
from gateway.core.exchange.records import SealedLine
from gateway.core.records.intake import IntakeContext, intake
from gateway.core.records.model import DatasetId
from gateway.operations.accept_records import accept_records
from gateway.operations.admit_batch import Admission, Passed
from gateway.operations.answer_batch import BatchRefused
from gateway.operations.apply_batch import apply_batch
from gateway.operations.decide_held import decide_held
from gateway.operations.receive_batch import Received
from gateway.store.tables import changes, in_records, records
from tests.administrators import hand
from tests.ledger import check_ledger
from tests.operations.publishing import PENALTIES as DATASET
from tests.operations.publishing import code, penalty, put
from tests.region import BAISHAN, PENALTIES, Cities, Forger, a_city, held_batch, rid


def again(forger: Forger, number: int, *, of: int, **clear: Any) -> SealedLine:
    """The penalty of another number under an id of its own, as a city says it that took its file in again."""
    values = {"CF_XDR_MC": f"通化市测试{of}商贸有限公司", "CF_XDR_SHXYM": code(of), "CF_WSH": f"通示罚〔2026〕{of}号"}
    return forger.penalty(number, values=values, **clear)


async def states(cities: Cities) -> dict[int, tuple[str, str | None]]:
    """By the forger's number how each of Tonghua's records stands in Baishan, and why it is held."""
    rows = await cities.baishan.store.reads.all(sa.select(records.c.record_id, records.c.state, records.c.hold_code))
    numbers = {rid(number): number for number in range(100)}
    return {numbers[row.record_id]: (row.state, row.hold_code) for row in rows if row.record_id in numbers}


IN_FORCE = ("in_force", None)


def counts(received: Received) -> dict[str, int]:
    """What the receipt counts, without zeros."""
    assert received.receipt is not None
    return {name: count for name, count in json.loads(received.receipt.body)["counts"].items() if count}


async def test_what_goes_is_no_double_of_what_comes(cities: Cities):
    """A decision that the epoch names under another id stands under that one; its old id has gone before it came."""
    forger = Forger(cities)
    await forger.post(*(forger.penalty(number) for number in range(1, 7)))
    replaces = forger.anew()
    first = forger.seal([again(forger, 7, of=6), forger.penalty(1, v=2), forger.penalty(2, v=2)], replaces=replaces, snapshot="part")
    last = forger.seal([forger.penalty(number, v=2) for number in (3, 4, 5)], snapshot="last")
    assert ((await forger.send(first)).result, await states(cities)) == ("quarantined", dict.fromkeys(range(1, 7), IN_FORCE))
    swapped = await forger.send(last)
    assert (swapped.result, counts(swapped)) == ("applied", {"lines": 6, "accepted": 1, "unchanged": 5, "dropped": 1})
    assert await states(cities) == {**dict.fromkeys((1, 2, 3, 4, 5, 7), IN_FORCE), 6: ("retracted", None)}
    log = await cities.baishan.store.reads.all(sa.select(changes.c.record_id, changes.c.op).order_by(changes.c.seq))
    assert log[-2:] == [(rid(6), "retract"), (rid(7), "assert")]
    assert (await forger.send(last)).receipt == swapped.receipt
    await check_ledger(cities.baishan)


async def test_what_stays_is_a_double(cities: Cities):
    """A decision that the epoch names under both ids, in whatever batch and order, is held under the new one."""
    forger = Forger(cities)
    await forger.post(*(forger.penalty(number) for number in range(1, 7)))
    replaces = forger.anew()
    first = [again(forger, 7, of=6), *(forger.penalty(number, v=2) for number in range(1, 6))]
    await forger.send(forger.seal(first, replaces=replaces, snapshot="part"))
    swapped = await forger.send(forger.seal([forger.penalty(6, v=2)], snapshot="last"))
    assert (swapped.result, counts(swapped)) == ("partial", {"lines": 7, "unchanged": 6, "held": 1})
    assert await states(cities) == {**dict.fromkeys(range(1, 7), IN_FORCE), 7: ("held", "DUP_KEY")}
    await check_ledger(cities.baishan)


async def test_a_double_is_one_no_more_when_the_other_goes(cities: Cities):
    """What was held beside its older id is in force once an epoch names it and leaves that one out, and is amended like any other."""
    forger = Forger(cities)
    await forger.post(*(forger.penalty(number) for number in range(1, 7)), again(forger, 7, of=6))
    assert (await states(cities))[7] == ("held", "DUP_KEY")
    replaces = forger.anew()
    lines = [again(forger, 7, of=6, v=2), *(forger.penalty(number, v=2) for number in range(1, 6))]
    swapped = await forger.send(forger.seal(lines, replaces=replaces, snapshot="last"))
    assert (swapped.result, counts(swapped)) == ("applied", {"lines": 6, "accepted": 1, "unchanged": 5, "dropped": 1})
    assert await states(cities) == {**dict.fromkeys((1, 2, 3, 4, 5, 7), IN_FORCE), 6: ("retracted", None)}
    assert (await forger.post(again(forger, 7, of=6, v=3, op="amend"))).result == "applied"
    await check_ledger(cities.baishan)


async def test_a_line_that_is_refused_leaves_its_record_in_place(cities: Cities):
    """Whatever the epoch says of an id, also what is rejected, names it: it stays, and beside it another id is a double."""
    forger = Forger(cities)
    await forger.post(*(forger.penalty(number) for number in range(1, 7)))
    await forger.post(forger.penalty(6, v=5, op="amend"))
    replaces = forger.anew()
    lines = [*(forger.penalty(number, v=2) for number in range(1, 6)), forger.penalty(6, v=4), again(forger, 7, of=6)]
    swapped = await forger.send(forger.seal(lines, replaces=replaces, snapshot="last"))
    assert (swapped.result, counts(swapped)) == ("partial", {"lines": 7, "unchanged": 5, "rejected": 1, "held": 1})
    assert await states(cities) == {**dict.fromkeys(range(1, 7), IN_FORCE), 7: ("held", "DUP_KEY")}
    await check_ledger(cities.baishan)


async def test_an_epoch_takes_nobody_elses_place(cities: Cities):
    """What another partner said, or we, is neither left out by an epoch nor taken over: its id is refused, its decision held."""
    stranger = "credit.jilin.example"
    dataset = cities.baishan.policies.current().catalogue.datasets[DatasetId(DATASET)]
    context = IntakeContext(dataset=dataset, authorities={}, demo=True, now=cities.now, region="220000", issuer=stranger)
    fields = penalty(code(21), "通化市测试21商贸有限公司", "通示罚〔2026〕21号")
    theirs = intake(SourceRecord(dataset=DATASET, record_id=rid(21), version=1, as_of=cities.now, fields=fields, place="1"), context)
    async with cities.baishan.store.transaction() as tx:
        (made,) = await accept_records(cities.baishan, tx, [theirs], dataset, actor=f"partner/{stranger}")
        values = {"record_id": rid(21), "sender": stranger, "stream": f"x-y.{DATASET}", "v": 1, "op": "assert", "leaf": b"", "at": ""}
        await tx.execute(sa.insert(in_records).values(**values, payload=b"{}"))
    assert made.result == "accepted"
    (own,) = await put(cities.baishan, DATASET, penalty(code(22), "通化市测试22商贸有限公司", "通示罚〔2026〕22号"))
    forger = Forger(cities)
    await forger.post(*(forger.penalty(number) for number in range(1, 7)))
    replaces = forger.anew()
    lines = [
        *(forger.penalty(number, v=2) for number in range(1, 7)),
        forger.penalty(21, v=2),
        again(forger, 31, of=21),
        forger.raw(forger.penalty(22, v=2), rid=own.record_id),
        again(forger, 32, of=22),
    ]
    swapped = await forger.send(forger.seal(lines, replaces=replaces, snapshot="last"))
    assert (swapped.result, counts(swapped)) == ("partial", {"lines": 10, "unchanged": 6, "held": 2, "rejected": 2})
    told = [json.loads(line) for line in swapped.feedback.splitlines()]
    assert [line["code"] for line in told if line["i"] > 5] == ["SCOPE_OWNER", "DUP_OTHER_SOURCE", "SCOPE_OWNER", "DUP_OTHER_SOURCE"]
    doubled = ("held", "DUP_OTHER_SOURCE")
    assert await states(cities) == {**dict.fromkeys((*range(1, 7), 21), IN_FORCE), 31: doubled, 32: doubled}
    ours = sa.select(records.c.state, records.c.issuer).where(records.c.record_id == own.record_id)
    assert await cities.baishan.store.reads.all(ours) == [("in_force", "")]


async def test_who_waits_for_a_person_has_withdrawn_nothing(cities: Cities):
    """An epoch that leaves out too much is held with nothing done; once a person applies it, what it renames stands under the new ids."""
    forger = Forger(cities)
    await forger.post(*(forger.penalty(number) for number in range(1, 6)))
    replaces = forger.anew()
    lines = [*(forger.penalty(number, v=2) for number in (1, 2, 3)), again(forger, 14, of=4), again(forger, 15, of=5)]
    kept = await forger.send(forger.seal(lines, replaces=replaces, snapshot="last"))
    assert (kept.result, kept.code, await states(cities)) == ("held", "HOLD_DROP", dict.fromkeys(range(1, 6), IN_FORCE))
    await check_ledger(cities.baishan)
    done = await decide_held(cities.baishan, PENALTIES, batch=await held_batch(cities.baishan), apply=True, by=hand(), reason="对方已说明")
    assert (done.result, counts(done)) == ("applied", {"lines": 5, "accepted": 2, "unchanged": 3, "dropped": 2})
    gone = dict.fromkeys((4, 5), ("retracted", None))
    assert await states(cities) == {**dict.fromkeys((1, 2, 3, 14, 15), IN_FORCE), **gone}
    await check_ledger(cities.baishan)


async def test_what_is_broken_off_has_withdrawn_nothing(cities: Cities, databases: tuple[str, str], tmp_path: Path):
    """A swap that ends in the middle leaves every record as it was; the same batch, also to another process, makes the whole of it."""
    forger = Forger(cities)
    await forger.post(*(forger.penalty(number) for number in range(1, 7)))
    replaces = forger.anew()
    first = forger.seal([again(forger, 7, of=6), forger.penalty(1, v=2)], replaces=replaces, snapshot="part")
    last = forger.seal([forger.penalty(number, v=2) for number in (2, 3, 4, 5)], snapshot="last")
    await forger.send(first)
    admission = Admission(cities.baishan, PENALTIES, last.document, last.checkpoint, {part.name: part.data for part in last.parts}, None)
    passed = await admission.run()
    assert isinstance(passed, Passed)
    admission.deadline = 0.0  # asked before the first lines are written: what is left out has been withdrawn by then
    with pytest.raises(BatchRefused) as caught:
        await apply_batch(admission, passed)
    assert caught.value.code == "SIZE_TIME"
    assert await states(cities) == dict.fromkeys(range(1, 7), IN_FORCE)
    await check_ledger(cities.baishan)
    await cities.baishan.store.close()
    async with a_city(tmp_path / "bs", BAISHAN, database=databases[1], port=8001, new=False) as baishan:
        cities.baishan = baishan
        swapped = await forger.send(last)
        assert (swapped.result, counts(swapped)) == ("applied", {"lines": 6, "accepted": 1, "unchanged": 5, "dropped": 1})
        assert await states(cities) == {**dict.fromkeys((1, 2, 3, 4, 5, 7), IN_FORCE), 6: ("retracted", None)}
        await check_ledger(baishan)

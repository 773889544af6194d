"""Batches that wait: for a person, behind another one, under a suspended agreement; what is verified, and what takes effect, meanwhile."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.adapter_contract import SealedBatch
from gateway.core.errors import AdminError, ExchangeError
from gateway.core.exchange.records import SealedLine
from gateway.core.exchange.sealing import Sealed
from gateway.operations.alarms import standing
from gateway.operations.decide_held import decide_held
from gateway.operations.handle_case import repair
from gateway.operations.keep_exchange import Rounds
from gateway.operations.manage_agreements import agreements, change_state, countersign, offer
from gateway.operations.partners import streams_from
from gateway.operations.receive_batch import Received, resume_waiting
from gateway.operations.send_batch import send_batch
from gateway.operations.take_documents import take_document
from gateway.services import Services
from gateway.store import given_receipts, inbox, outbox
from tests.administrators import hand
from tests.ledger import check_ledger
from tests.operations.publishing import PENALTIES as DATASET
from tests.operations.publishing import code, ids, penalty, put
from tests.operations.test_agreements import edited, proposal
from tests.region import AGREEMENT, PENALTIES, TONGHUA, Cities, Forger, followed, held_batch, two_cities


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
    name = await held_batch(cities.baishan)
    for other in ("1/1", f"{name}0", "", "none"):
        with pytest.raises(AdminError) as wrong_one:
            await decide_held(cities.baishan, PENALTIES, batch=other, apply=True, by=hand(), reason="已与对方核对")
        assert (wrong_one.value.code, name in wrong_one.value.detail) == ("release-other", True), "another batch is another decision"
    released = await decide_held(cities.baishan, PENALTIES, batch=name, apply=True, by=hand(), reason="已与对方核对")
    assert released.result == "partial"
    assert released.receipt is not None
    counts = json.loads(released.receipt.body)["counts"]
    assert (counts["lines"], counts["accepted"], counts["rejected"], counts["withdrawn"]) == (23, 2, 20, 1)
    assert await states(cities, 1, 31, 70, 500) == [None, "assert", "assert", "repair"]
    assert (await forger.send(sealed)).receipt == released.receipt, "from now on its sender gets this one"
    assert (await forger.send(behind)).result == "applied"
    with pytest.raises(ExchangeError) as caught:
        await decide_held(cities.baishan, PENALTIES, batch=await held_batch(cities.baishan), apply=True, by=hand(), reason="再次")
    assert caught.value.code == "NOT_FOUND"
    await check_ledger(cities.baishan)


async def test_a_person_refuses_what_was_held(cities: Cities):
    """Refused is final: the same receipt for ever, nothing of it applied, its parts gone."""
    forger = Forger(cities)
    sealed = wrong(forger)
    await forger.send(sealed)
    name = await held_batch(cities.baishan)
    refused = await decide_held(cities.baishan, PENALTIES, batch=name, apply=False, by=hand(), reason="对方将更正")
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
    await decide_held(cities.baishan, PENALTIES, batch=await held_batch(cities.baishan), apply=True, by=hand(), reason="已与对方核对")
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


async def alarms_after_a_round(services: Services, rounds: Rounds) -> list[tuple[str, str]]:
    """Which alarms stand after one more round."""
    await rounds.run(services)
    return [(alarm.kind, alarm.target) for alarm in await standing(services)]


async def test_what_was_made_during_a_suspension_is_taken_after_it(cities: Cities):
    """Sealed before its sender had heard: it waits as long as the suspension lasts, and no longer; what follows it is taken too."""
    forger = Forger(cities)
    await change_state(cities.baishan, AGREEMENT, "suspended", reason="测试", by="test")
    sealed = forger.seal([forger.penalty(1)])
    assert told(await forger.send(sealed)) == ("quarantined", "SCOPE_AGREEMENT")
    forger.cities = later = cities.at(cities.now + timedelta(hours=1))
    assert await resume_waiting(later.baishan) == 0
    await change_state(later.baishan, AGREEMENT, "active", reason="测试", by="test")
    assert await resume_waiting(later.baishan) == 1
    assert told(await forger.send(forger.seal([forger.penalty(2)]))) == ("applied", None)
    assert await states(later, 1, 2) == ["assert", "assert"]
    await check_ledger(later.baishan)


async def test_a_signature_on_its_way_stops_no_stream(cities: Cities):
    """On its first day a version is whole at one side only: a batch that names the next one waits, the one before is taken."""
    forger, (first,) = Forger(cities), await agreements(cities.tonghua)
    toml = edited(proposal(cities.tonghua, cities.baishan), "version = 1", f'version = 2\nprevious = "{first.digest}"')
    offered = await offer(cities.tonghua, toml, by="test")
    await take_document(cities.baishan, offered, by="test")

    def names(version: int, digest: str) -> Callable[[dict[str, Any]], None]:
        return lambda said: said["agreement"].update(version=version, digest=digest)

    second = (await agreements(cities.tonghua))[1].digest
    assert told(await forger.send(forger.seal([forger.penalty(1)], edit=names(2, second)))) == ("quarantined", "SCOPE_AGREEMENT")
    await countersign(cities.baishan, offered, toml, by="test")
    assert await resume_waiting(cities.baishan) == 1
    assert told(await forger.send(forger.seal([forger.penalty(2)], edit=names(1, first.digest)))) == ("applied", None)
    assert await states(cities, 1, 2) == ["assert", "assert"]
    assert told(await forger.send(forger.seal([forger.penalty(3)], edit=names(2, first.digest)))) == ("rejected", "SCOPE_DIGEST")
    await check_ledger(cities.baishan)


async def test_a_gap_and_a_fork_are_told(cities: Cities):
    """A gap that is open for a day is an alarm, over when it closes; so is a fork, which stays."""
    forger, target = Forger(cities), f"{TONGHUA}/{PENALTIES}"
    first, second = forger.seal([forger.penalty(1)]), forger.seal([forger.penalty(2)])
    await forger.send(second)
    rounds = Rounds()
    assert await alarms_after_a_round(cities.baishan, rounds) == []
    later = cities.at(cities.now + timedelta(hours=24))
    assert await alarms_after_a_round(later.baishan, rounds) == [("stream-gap", target)]
    forger.cities = later
    assert (await forger.send(first)).result == "applied"
    later = later.at(later.now + timedelta(minutes=1))
    assert await alarms_after_a_round(later.baishan, rounds) == []
    forger.cities = later
    stream = await inbox.in_stream(later.baishan.store.reads, TONGHUA, PENALTIES)
    assert stream is not None
    again = Forger(later)
    assert told(await again.send(again.seal([again.penalty(9)]))) == ("frozen", "SEQ_FORK")
    later = later.at(later.now + timedelta(minutes=1))
    assert await alarms_after_a_round(later.baishan, rounds) == [("stream-frozen", target)]


async def test_what_a_partner_owes_is_told(cities: Cities):
    """A receipt that does not come, and withdrawals that are not acknowledged, are alarms by partner and stream, until they come."""
    rows = [penalty(code(number), f"通化市测试{number}商贸有限公司", f"通示罚〔2026〕{number}号") for number in (1, 2)]
    made = ids(await put(cities.tonghua, DATASET, *rows))
    await send_batch(cities.tonghua, stream=PENALTIES)
    await repair(cities.tonghua, made[1], actor="test", document="示例")
    cities.line.lose_before = 10**6
    await send_batch(cities.tonghua, stream=PENALTIES, at_once=True)
    rounds = Rounds()

    async def after(hours: float) -> list[str]:
        later = cities.at(start + timedelta(hours=hours))
        return [kind for kind, target in await alarms_after_a_round(later.tonghua, rounds) if target.endswith(PENALTIES)]

    start = cities.now
    assert await after(1) == []
    assert await after(24.1) == ["receipt-overdue", "withdrawals-overdue"]
    assert await after(48.2) == ["receipt-overdue", "withdrawals-overdue", "withdrawals-overdue-twice"]
    cities.line.lose_before = 0
    later = cities.at(start + timedelta(hours=49))
    await send_batch(later.tonghua, stream=PENALTIES, at_once=True)
    assert await after(49.05) == ["withdrawals-overdue", "withdrawals-overdue-twice"], "applied there, not yet out of every exit"
    assert await followed(later.baishan) == 1
    assert await after(49.1) == []


async def test_a_partner_that_hangs_holds_up_nothing_of_ours(cities: Cities, monkeypatch: pytest.MonkeyPatch):
    """While a delivery hangs every stream has been sealed already, and what was due here is done; then the rest of the round goes on."""
    hangs, goes_on, carry = asyncio.Event(), asyncio.Event(), cities.line.carry

    async def slow(sealed: SealedBatch) -> bytes | None:
        hangs.set()
        await goes_on.wait()
        return await carry(sealed)

    monkeypatch.setattr(cities.line, "carry", slow)
    await put(cities.tonghua, DATASET, penalty(code(1), "通化市测试1商贸有限公司", "通示罚〔2026〕1号"))
    round_of_ours = asyncio.create_task(Rounds().run(cities.tonghua))
    await hangs.wait()
    heads = {row.stream: row.seq for row in await outbox.out_streams_all(cities.tonghua.store.reads)}
    assert heads == dict.fromkeys(heads, 1)
    assert len(heads) == len(await streams_from(cities.tonghua.store.reads, TONGHUA, cities.now)), "each is sealed, though one hangs"
    goes_on.set()
    assert await round_of_ours == {}
    assert await outbox.waiting_batches(cities.tonghua.store.reads, PENALTIES) == []


async def test_what_withdrawals_overtook_does_not_hold_its_batch(cities: Cities):
    """Amends that waited for a suspension, withdrawn or erased meanwhile by what came behind, are old news and no errors, however many."""
    forger = Forger(cities)
    numbers = range(1, 31)
    await forger.post(*(forger.penalty(number) for number in numbers))
    await change_state(cities.baishan, AGREEMENT, "suspended", reason="测试", by="test")
    amended = forger.seal([forger.penalty(number, v=2, op="amend") for number in numbers])
    gone = [
        forger.withdrawal(number, v=3) if number % 2 else forger.withdrawal(number, v=3, op="erase", reason="erased") for number in numbers
    ]
    assert [(await forger.send(sealed)).result for sealed in (amended, forger.seal(gone))] == ["quarantined"] * 2
    assert await states(cities, *numbers) == ["repair", "erase"] * 15
    await change_state(cities.baishan, AGREEMENT, "active", reason="测试", by="test")
    await resume_waiting(cities.baishan)
    *_, late, behind = await given_receipts.receipts_of(cities.baishan.store.reads, TONGHUA, PENALTIES)
    for given, unchanged in ((late, 30), (behind, 0)):
        said = json.loads(given.document.body)
        assert (said["result"], said["counts"]["unchanged"], said["counts"]["rejected"]) == ("applied", unchanged, 0)
    lines = [json.loads(line) for line in late.feedback.splitlines()]
    assert [(line["code"], line["severity"]) for line in lines] == [("SEQ_VERSION", "info"), ("SEQ_ERASED", "info")] * 15
    assert await states(cities, *numbers) == ["repair", "erase"] * 15
    await check_ledger(cities.baishan)


async def test_an_old_version_is_an_error_where_nothing_waited(cities: Cities):
    """Behind a withdrawal that took effect in its turn a lower version is refused."""
    forger = Forger(cities)
    await forger.post(forger.penalty(1), forger.penalty(2))
    await forger.post(forger.withdrawal(1, v=3), forger.withdrawal(2, v=3, op="erase", reason="erased"))
    received = await forger.post(forger.penalty(1, v=2, op="amend"), forger.penalty(2, v=2, op="amend"))
    lines = [json.loads(line) for line in received.feedback.splitlines()]
    assert [(line["code"], line["severity"]) for line in lines] == [("SEQ_VERSION", "reject"), ("SEQ_ERASED", "reject")]

"""New epochs: staged unseen, swapped whole, what they leave out withdrawn; a fork is over with two persons and a new epoch."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa

from gateway.core.errors import AdminError, ExchangeError, NotFound
from gateway.core.exchange.manifests import Head
from gateway.core.exchange.merkle import CompactRange
from gateway.operations.begin_epoch import asked_for, begin_epoch
from gateway.operations.decide_held import decide_held
from gateway.operations.doctor import examine
from gateway.operations.erase import erase
from gateway.operations.export_evidence import export_evidence
from gateway.operations.handle_case import repair
from gateway.operations.manage_agreements import change_state
from gateway.operations.partners import streams_from
from gateway.operations.receive_batch import Received
from gateway.operations.release_frozen import ask_for_epoch, release_frozen
from gateway.operations.send_batch import send_batch
from gateway.store import audit, inbox, ledger, outbox
from gateway.store.tables import in_batches, in_records, out_batches, records
from tests.administrators import Admin, enrolled, hand
from tests.ledger import check_ledger
from tests.operations.publishing import PENALTIES as DATASET
from tests.operations.publishing import code, ids, penalty, put
from tests.region import AGREEMENT, BAISHAN, PENALTIES, TONGHUA, Cities, Forger, held_batch, rid, two_cities


@pytest.fixture
async def cities(tmp_path: Path) -> AsyncIterator[Cities]:
    """Two cities that have agreed."""
    async with two_cities(tmp_path) as both:
        yield both


def told(received: Received) -> tuple[str, str | None]:
    """Result and code."""
    return received.result, received.code


def counts(received: Received) -> dict[str, int]:
    """What the receipt counts, without zeros."""
    assert received.receipt is not None
    return {name: count for name, count in json.loads(received.receipt.body)["counts"].items() if count}


async def held(cities: Cities) -> dict[int, str]:
    """Ops of what Baishan holds, by the forger's number."""
    rows = await cities.baishan.store.reads.all(sa.select(in_records.c.record_id, in_records.c.op))
    return {number: row.op for number in range(100) for row in rows if row.record_id == rid(number)}


async def place(cities: Cities) -> tuple[int, int, int]:
    """Epoch, number and size of what Baishan has applied."""
    stream = await inbox.in_stream(cities.baishan.store.reads, TONGHUA, PENALTIES)
    assert stream is not None
    return stream.head.epoch, stream.head.seq, stream.head.tree.size


async def test_a_sender_begins_anew(cities: Cities):
    """Everything that may be held today is said again, the rest is gone there at the swap; the stream goes on in the new epoch."""
    rows = [penalty(code(number), f"通化市测试{number}商贸有限公司", f"通示罚〔2026〕{number}号") for number in (1, 2, 3, 4, 5)]
    made = ids(await put(cities.tonghua, DATASET, *rows))
    await send_batch(cities.tonghua, stream=PENALTIES)
    cities.line.lose_before = 10**6
    await repair(cities.tonghua, made[1], actor="test", document="示例")
    await send_batch(cities.tonghua, stream=PENALTIES)
    cities.line.lose_before = 0
    assert await begin_epoch(cities.tonghua, PENALTIES, by="test", reason="too_late") == 2
    (sent,) = await send_batch(cities.tonghua, stream=PENALTIES)
    assert (sent.sealed, sent.lines, sent.delivered, sent.waiting, sent.state) == (1, 4, 1, 0, "acked")
    assert await place(cities) == (2, 1, 4)
    there = await cities.baishan.store.reads.all(sa.select(records.c.record_id, records.c.state))
    assert {row.record_id for row in there if row.state == "in_force"} == set(made) - {made[1]}
    late = await ledger.overdue(cities.tonghua.store.reads, PENALTIES, now=cities.at(cities.now).now, hours=-1)
    assert late is None, "what the epoch leaves out is withdrawn with it"
    states = await cities.tonghua.store.reads.all(
        sa.select(out_batches.c.epoch, out_batches.c.state).where(out_batches.c.stream == PENALTIES)
    )
    assert sorted((row.epoch, row.state) for row in states) == [(1, "acked"), (1, "superseded"), (2, "acked")]
    await put(cities.tonghua, DATASET, penalty(code(6), "通化市测试6商贸有限公司", "通示罚〔2026〕6号"))
    (sent,) = await send_batch(cities.tonghua, stream=PENALTIES)
    assert (sent.lines, sent.seq, sent.size) == (1, 2, 5)
    for services in (cities.tonghua, cities.baishan):
        await check_ledger(services)


async def test_an_epoch_withdraws_what_the_old_one_told(cities: Cities):
    """Where the old epoch stopped for good, the new one says what was erased since, and a withdrawal of its own takes effect too."""
    rows = [penalty(code(number), f"通化市测试{number}商贸有限公司", f"通示罚〔2026〕{number}号") for number in (1, 2, 3)]
    gone, taken_back, kept = ids(await put(cities.tonghua, DATASET, *rows))
    await send_batch(cities.tonghua, stream=PENALTIES)
    async with cities.tonghua.store.transaction() as tx:
        await outbox.stop_stream(tx, PENALTIES, 1, "SEQ_CLOSED")
    admin = await enrolled(cities.tonghua, "kang", "key-custodian")
    await erase(cities.tonghua, gone, reason="request", by=await admin.acts("record.erase", target=gone, reason="request"))
    await begin_epoch(cities.tonghua, PENALTIES, by="test", reason="lost_state")
    (sent,) = await send_batch(cities.tonghua, stream=PENALTIES)
    assert (sent.lines, sent.state) == (3, "acked")
    there = await cities.baishan.store.reads.all(sa.select(records.c.record_id, records.c.state))
    assert {row.record_id: row.state for row in there} == {gone: "erased", taken_back: "in_force", kept: "in_force"}
    for services in (cities.tonghua, cities.baishan):
        await check_ledger(services)
    forger = Forger(cities)
    out = await outbox.out_stream(cities.tonghua.store.reads, PENALTIES)
    assert out is not None
    forger.head = out.head
    lines = [forger.raw(forger.withdrawal(1, v=9), rid=taken_back), forger.raw(forger.penalty(3, v=9), rid=kept)]
    received = await forger.send(forger.seal(lines, replaces=forger.anew(), snapshot="last"))
    assert received.result == "applied"
    there = await cities.baishan.store.reads.all(sa.select(records.c.record_id, records.c.state))
    assert {row.record_id: row.state for row in there} == {gone: "erased", taken_back: "repaired", kept: "in_force"}
    await check_ledger(cities.baishan)


async def test_an_epoch_in_several_batches(cities: Cities, monkeypatch: pytest.MonkeyPatch):
    """A sender with more changes than a batch holds sends several, all but the last marked so; nothing is swapped before the last."""
    import gateway.operations.seal_batch as story

    rows = [penalty(code(number), f"通化市测试{number}商贸有限公司", f"通示罚〔2026〕{number}号") for number in range(1, 8)]
    await put(cities.tonghua, DATASET, *rows)
    await send_batch(cities.tonghua, stream=PENALTIES)
    monkeypatch.setattr(story, "CHANGES_A_BATCH", 3)
    await begin_epoch(cities.tonghua, PENALTIES, by="test", reason="lost_state")
    (sent,) = await send_batch(cities.tonghua, stream=PENALTIES)
    assert (sent.sealed, sent.delivered, sent.waiting) == (3, 3, 0)
    assert await place(cities) == (2, 3, 7)
    for services in (cities.tonghua, cities.baishan):
        await check_ledger(services)


async def test_a_suspension_stops_an_epoch_that_is_not_whole(cities: Cities, monkeypatch: pytest.MonkeyPatch):
    """A withdrawal under a suspended agreement never passes for the last batch of an epoch; active again, the epoch is finished."""
    import gateway.operations.seal_batch as story

    rows = [penalty(code(number), f"通化市测试{number}商贸有限公司", f"通示罚〔2026〕{number}号") for number in range(1, 8)]
    made = ids(await put(cities.tonghua, DATASET, *rows))
    await send_batch(cities.tonghua, stream=PENALTIES)
    monkeypatch.setattr(story, "CHANGES_A_BATCH", 3)
    await begin_epoch(cities.tonghua, PENALTIES, by="test", reason="lost_state")
    (stream,) = [one for one in await streams_from(cities.tonghua.store.reads, TONGHUA, cities.now) if one.name == PENALTIES]
    assert (await story.seal_next(cities.tonghua, stream)).sealed == 1
    await change_state(cities.tonghua, AGREEMENT, "suspended", reason="测试", by="test")
    await repair(cities.tonghua, made[1], actor="test", document="示例")
    (sent,) = await send_batch(cities.tonghua, stream=PENALTIES)
    assert (sent.sealed, sent.lines) == (1, 1), "in the old epoch, behind which the new one is not whole yet"
    (old,) = [one for one in await outbox.waiting_batches(cities.tonghua.store.reads, PENALTIES) if one.epoch == 1]
    assert old.withdrawals == 1
    await change_state(cities.tonghua, AGREEMENT, "active", reason="测试", by="test")
    (sent,) = await send_batch(cities.tonghua, stream=PENALTIES)
    assert (sent.state, (await place(cities))[0]) == ("acked", 2)
    there = await cities.baishan.store.reads.all(sa.select(records.c.record_id, records.c.state))
    assert {row.record_id for row in there if row.state == "in_force"} == set(made) - {made[1]}
    for services in (cities.tonghua, cities.baishan):
        await check_ledger(services)


async def test_staged_unseen_then_swapped(cities: Cities):
    """Batches of a new epoch change nothing until the last; then it stands whole, and what it leaves out is withdrawn and counted."""
    forger = Forger(cities)
    await forger.post(*(forger.penalty(number) for number in range(1, 7)))
    old = forger.head
    replaces = forger.anew()
    first = forger.seal([forger.penalty(1, v=2), forger.penalty(2, v=2)], replaces=replaces, snapshot="part")
    second = forger.seal([forger.penalty(number, v=2) for number in (3, 4)], snapshot="part")
    last = forger.seal([forger.penalty(number, v=2) for number in (5, 7)], snapshot="last")
    staged = await forger.send(first)
    assert told(staged) == ("quarantined", None)
    assert (await forger.send(first)).receipt == staged.receipt
    assert told(await forger.send(last)) == ("quarantined", "SEQ_GAP")
    assert told(await forger.send(second)) == ("quarantined", None)
    assert await place(cities) == (1, 1, 6)
    assert await held(cities) == dict.fromkeys(range(1, 7), "assert")
    await check_ledger(cities.baishan)
    swapped = await forger.send(last)
    assert (told(swapped), counts(swapped)) == (("applied", None), {"lines": 6, "accepted": 1, "unchanged": 5, "dropped": 1})
    assert await held(cities) == {**dict.fromkeys((1, 2, 3, 4, 5, 7), "assert"), 6: "retract"}
    assert await place(cities) == (2, 3, 6)
    await check_ledger(cities.baishan)
    assert (await forger.send(last)).receipt == swapped.receipt
    assert (await forger.post(forger.penalty(8))).result == "applied"
    assert told(await forger.send(forger.seal([forger.penalty(9)], head=old, advance=False))) == ("rejected", "SEQ_EPOCH")
    await check_ledger(cities.baishan)


async def test_what_is_no_next_epoch(cities: Cities):
    """An epoch further on, and one that does not begin with a snapshot, are rejected; the stream stays where it is."""
    forger = Forger(cities)
    await forger.post(forger.penalty(1))
    replaces = forger.anew()
    further = Head(stream=PENALTIES, epoch=3, seq=0, tree=CompactRange(), manifest_digest=None)
    lines = [forger.penalty(1, v=2)]
    for sealed in (
        forger.seal(lines, head=further, replaces=replaces, snapshot="last", advance=False),
        forger.seal(lines, replaces=replaces, advance=False),
    ):
        assert told(await forger.send(sealed)) == ("rejected", "SEQ_EPOCH")
    assert await place(cities) == (1, 1, 1)
    await check_ledger(cities.baishan)


async def test_an_epoch_may_not_go_back(cities: Cities):
    """A snapshot with an older version of a record, or with an erased one, has that line rejected; the rest is swapped."""
    forger = Forger(cities)
    await forger.post(*(forger.penalty(number) for number in (1, 2, 3)))
    await forger.post(forger.penalty(1, v=5, op="amend"), forger.withdrawal(2, op="erase", reason="erased"))
    replaces = forger.anew()
    lines = [forger.penalty(1, v=4), forger.penalty(2, v=9), forger.penalty(3, v=2)]
    swapped = await forger.send(forger.seal(lines, replaces=replaces, snapshot="last"))
    assert (swapped.result, counts(swapped)) == ("partial", {"lines": 3, "unchanged": 1, "rejected": 2})
    assert [json.loads(line)["code"] for line in swapped.feedback.splitlines()] == ["SEQ_VERSION", "SEQ_ERASED", "DUP_SAME"]
    assert await held(cities) == {1: "amend", 2: "erase", 3: "assert"}
    await check_ledger(cities.baishan)


async def test_another_head_is_a_fork(cities: Cities):
    """A new epoch that replaces a smaller head than the one held, or another root of its size, freezes the stream."""
    forger = Forger(cities)
    await forger.post(forger.penalty(1))
    replaces = forger.anew()
    sealed = forger.seal([forger.penalty(1, v=2)], replaces=msgspec.structs.replace(replaces, size=0), snapshot="last")
    assert told(await forger.send(sealed)) == ("frozen", "SEQ_FORK")
    assert await held(cities) == {1: "assert"}
    await check_ledger(cities.baishan)


async def test_a_fork_is_over_with_two_persons_and_a_new_epoch(cities: Cities):
    """A3: one person is not enough, nor the same one twice, nor one who is no second pair of eyes; then the new epoch opens the stream.

    Nothing of the forked one comes in, and both signatures stand in the audit.
    """
    baishan = cities.baishan
    approver = await enrolled(baishan, "li", "approver")
    beside = await enrolled(baishan, "qian", "approver", unit="unit of zhao")
    author = await enrolled(baishan, "sun", "author")
    first = await enrolled(baishan, "zhang", "operator")
    zhao, feng = [await enrolled(baishan, name, "operator", by=await first.acts("key.invite-admin")) for name in ("zhao", "feng")]
    forger = Forger(cities)
    await forger.post(*(forger.penalty(number) for number in range(1, 6)))
    fork = Forger(cities)
    assert told(await fork.send(fork.seal([fork.penalty(66)]))) == ("frozen", "SEQ_FORK")
    replaces = forger.anew()
    sealed = forger.seal([forger.penalty(number, v=2) for number in range(1, 6)], replaces=replaces, snapshot="last")
    assert told(await forger.send(sealed)) == ("frozen", "SEQ_FORK"), "nobody has released it"

    async def agrees(who: Admin) -> bool:
        return await release_frozen(baishan, PENALTIES, by=await who.acts("exchange.release"), reason="已核对")

    async def refused(who: Admin) -> str:
        with pytest.raises(AdminError) as caught:
            await agrees(who)
        return caught.value.code

    assert await refused(author) == "role-missing"
    for _ in range(2):
        assert not await agrees(zhao)
    assert await refused(first) == await refused(beside) == "approval-conflict", "who brought the other in; one unit"
    assert await refused(feng) == "role-missing", "two operators are no approver"
    assert (await agrees(approver), (await place(cities))[0]) == (True, 1)
    rows = [row for row in await audit.after(baishan.store.reads, 0, 10_000) if row.act.startswith("stream.release")]
    assert [(row.act, row.actor) for row in rows] == [
        ("stream.release-asked", "admin:zhao"),
        ("stream.release-asked", "admin:zhao"),
        ("stream.release", "admin:li"),
    ]
    assert all(row.detail and row.detail["signature"] and row.detail["key"] for row in rows)
    again = forger.seal(
        [forger.penalty(number, v=3) for number in range(1, 6)],
        head=Head(stream=PENALTIES, epoch=2, seq=0, tree=CompactRange(), manifest_digest=None),
        replaces=replaces,
        snapshot="last",
        advance=False,
    )
    assert (await forger.send(again)).code == "SEQ_FORK", "two contents under one number are a fork, in the new epoch too"


async def test_a_released_stream_opens(cities: Cities):
    """After the release the partner's new epoch is taken, and the stream is open again."""
    rows = [penalty(code(number), f"通化市测试{number}商贸有限公司", f"通示罚〔2026〕{number}号") for number in (1, 2)]
    await put(cities.tonghua, DATASET, *rows)
    await send_batch(cities.tonghua, stream=PENALTIES)
    fork = Forger(cities)
    assert told(await fork.send(fork.seal([fork.penalty(66)]))) == ("frozen", "SEQ_FORK")
    await put(cities.tonghua, DATASET, penalty(code(3), "通化市测试3商贸有限公司", "通示罚〔2026〕3号"))
    (sent,) = await send_batch(cities.tonghua, stream=PENALTIES)
    assert (sent.state, sent.code) == ("stopped", "SEQ_FORK")
    with pytest.raises(NotFound):
        await asked_for(cities.tonghua, TONGHUA, PENALTIES, b'{"reason":"fork_released"}')
    with pytest.raises(ExchangeError, match="SEQ_FORK"):
        await ask_for_epoch(cities.baishan, PENALTIES, reason="fork_released", by="test")
    approver, other = [await enrolled(cities.baishan, name, "approver") for name in ("li", "wang")]
    await release_frozen(cities.baishan, PENALTIES, by=await approver.acts("exchange.release"), reason="已核对")
    assert await release_frozen(cities.baishan, PENALTIES, by=await other.acts("exchange.release"), reason="已核对")
    assert [each.code for each in await examine(cities.baishan, lines=False) if not each.ok] == ["epoch-awaited"]
    for body in (b'{"reason":"because"}', b"{}"):
        with pytest.raises(ExchangeError):
            await asked_for(cities.tonghua, BAISHAN, PENALTIES, body)
    for _ in range(2):
        assert await asked_for(cities.tonghua, BAISHAN, PENALTIES, b'{"reason":"fork_released"}') == 2, "one is enough"
    (sent,) = await send_batch(cities.tonghua, stream=PENALTIES)
    assert (sent.state, sent.lines, sent.waiting) == ("acked", 3, 0)
    stream = await inbox.in_stream(cities.baishan.store.reads, TONGHUA, PENALTIES)
    assert stream is not None
    assert (stream.frozen, stream.released, stream.head.epoch) == (None, False, 2)
    for services in (cities.tonghua, cities.baishan):
        await check_ledger(services)


async def test_an_epoch_begun_before_the_release_does_not_shut_the_stream_for_good(cities: Cities):
    """A sender that did not wait for both persons goes on with the epoch after the one that the frozen stream refused."""
    await put(cities.tonghua, DATASET, penalty(code(1), "通化市测试1商贸有限公司", "通示罚〔2026〕1号"))
    await send_batch(cities.tonghua, stream=PENALTIES)
    fork = Forger(cities)
    assert told(await fork.send(fork.seal([fork.penalty(66)]))) == ("frozen", "SEQ_FORK")
    assert await begin_epoch(cities.tonghua, PENALTIES, by="operator", reason="too early") == 2
    (sent,) = await send_batch(cities.tonghua, stream=PENALTIES)
    assert (sent.state, sent.code) == ("stopped", "SEQ_FORK")
    for name in ("li", "wang"):
        who = await enrolled(cities.baishan, name, "approver")
        await release_frozen(cities.baishan, PENALTIES, by=await who.acts("exchange.release"), reason="已核对")
    assert await asked_for(cities.tonghua, BAISHAN, PENALTIES, b'{"reason":"fork_released"}') == 3
    (sent,) = await send_batch(cities.tonghua, stream=PENALTIES)
    assert (sent.state, sent.lines) == ("acked", 1)
    stream = await inbox.in_stream(cities.baishan.store.reads, TONGHUA, PENALTIES)
    assert stream is not None
    assert (stream.frozen, stream.head.epoch) == (None, 3)


async def test_evidence_is_of_the_latest_fork_and_outlives_it(cities: Cities):
    """What came after a fork is no evidence of it; a second fork has its own; a stream that is open again keeps that of the last one."""
    forger, numbers = Forger(cities), range(1, 6)
    await forger.post(*(forger.penalty(number) for number in numbers))
    approvers = [await enrolled(cities.baishan, name, "approver") for name in ("li", "wang")]

    async def sides() -> set[tuple[int, int, str]]:
        said = json.loads(await export_evidence(cities.baishan, PENALTIES))
        manifests = [json.loads(said[side]["manifest"]["body"]) for side in "ab"]
        return {(each["epoch"], each["seq"], each["tree"]["root"]) for each in manifests}

    for epoch in (1, 2):
        other = Forger(cities)
        other.head = msgspec.structs.replace(forger.head, seq=forger.head.seq - 1, tree=CompactRange(), manifest_digest=None)
        assert told(await other.send(other.seal([other.penalty(60 + epoch)]))) == ("frozen", "SEQ_FORK")
        assert told(await forger.send(forger.seal([forger.penalty(70 + epoch)], advance=False))) == ("frozen", "SEQ_FORK")
        found = await sides()
        assert ({(each[:2]) for each in found}, len(found)) == ({(epoch, 1)}, 2)
        for who in approvers:
            await release_frozen(cities.baishan, PENALTIES, by=await who.acts("exchange.release"), reason="已核对")
        sealed = forger.seal([forger.penalty(number, v=1 + epoch) for number in numbers], replaces=forger.anew(), snapshot="last")
        assert told(await forger.send(sealed))[0] == "applied"
        assert await sides() == found


async def test_an_epoch_that_leaves_out_much_waits_for_a_person(cities: Cities):
    """More than a fifth left out: held, nothing is withdrawn; a person who has looked applies it."""
    forger = Forger(cities)
    await forger.post(*(forger.penalty(number) for number in range(1, 6)))
    replaces = forger.anew()
    sealed = forger.seal([forger.penalty(number, v=2) for number in (1, 2, 3)], replaces=replaces, snapshot="last")
    kept = await forger.send(sealed)
    assert told(kept) == ("held", "HOLD_DROP")
    assert (await forger.send(sealed)).receipt == kept.receipt
    assert await held(cities) == dict.fromkeys(range(1, 6), "assert")
    await check_ledger(cities.baishan)
    done = await decide_held(cities.baishan, PENALTIES, batch=await held_batch(cities.baishan), apply=True, by=hand(), reason="对方已说明")
    assert (done.result, counts(done)["dropped"]) == ("applied", 2)
    assert await held(cities) == {**dict.fromkeys((1, 2, 3), "assert"), **dict.fromkeys((4, 5), "retract")}
    await check_ledger(cities.baishan)


async def test_an_epoch_behind_one_that_was_refused(cities: Cities):
    """A sender whose new epoch was refused goes on with the one after it, and that is taken; one behind an epoch that never came is not."""
    forger = Forger(cities)
    await forger.send(forger.seal([forger.penalty(number) for number in range(1, 6)]))
    first = forger.head
    refused = forger.seal([forger.penalty(number, v=2) for number in (1, 2)], replaces=forger.anew(), snapshot="last")
    assert told(await forger.send(refused)) == ("held", "HOLD_DROP")
    early = forger.head
    again = forger.seal([forger.penalty(1, v=3)], replaces=forger.anew(), snapshot="last", advance=False)
    assert told(await forger.send(again)) == ("rejected", "SEQ_EPOCH"), "the second is not refused yet"
    forger.head = early
    await decide_held(cities.baishan, PENALTIES, batch=await held_batch(cities.baishan), apply=False, by=hand(), reason="数据不全")
    forger.head = msgspec.structs.replace(forger.head, epoch=forger.head.epoch + 1)  # the third epoch was spent above
    replaces = forger.anew()
    assert forger.head.epoch == 4
    whole = forger.seal([forger.penalty(number, v=4) for number in range(1, 6)], replaces=replaces, snapshot="last")
    swapped = await forger.send(whole)
    assert (swapped.result, swapped.code) == ("applied", None)
    assert await place(cities) == (4, 1, 5)
    assert first.epoch == 1
    await check_ledger(cities.baishan)
    lost = Forger(cities)
    lost.head = msgspec.structs.replace(forger.head, epoch=5)
    beyond = lost.seal([lost.penalty(1, v=9)], replaces=lost.anew(), snapshot="last")
    assert told(await lost.send(beyond)) == ("rejected", "SEQ_EPOCH")


async def test_a_receiver_that_holds_nothing_takes_any_epoch(cities: Cities):
    """A receiver that is new, or has lost its state, begins with the epoch that comes; an older batch waits no more."""
    forger = Forger(cities)
    forger.seal([forger.penalty(1), forger.penalty(2)])
    later = forger.seal([forger.penalty(3)])
    assert told(await forger.send(later)) == ("quarantined", "SEQ_GAP")
    replaces = forger.anew()
    swapped = await forger.send(forger.seal([forger.penalty(1, v=2), forger.penalty(3, v=2)], replaces=replaces, snapshot="last"))
    assert (swapped.result, counts(swapped)) == ("applied", {"lines": 2, "accepted": 2})
    rows = await cities.baishan.store.reads.all(sa.select(in_batches.c.epoch, in_batches.c.state))
    assert sorted((row.epoch, row.state) for row in rows) == [(1, "superseded"), (2, "applied")]
    assert told(await forger.send(later)) == ("quarantined", "SEQ_GAP"), "the stored receipt, and nothing else"
    await check_ledger(cities.baishan)


async def test_a_suspension_stops_the_swap(cities: Cities):
    """A20: staged while the agreement is suspended, applied only when it is active again."""
    forger = Forger(cities)
    await forger.post(forger.penalty(1))
    replaces = forger.anew()
    await change_state(cities.baishan, AGREEMENT, "suspended", reason="测试", by="test")
    first = forger.seal([forger.penalty(1, v=2)], replaces=replaces, snapshot="part")
    last = forger.seal([forger.penalty(2, v=2)], snapshot="last")
    assert [told(await forger.send(one)) for one in (first, last)] == [("quarantined", None), ("quarantined", "SCOPE_AGREEMENT")]
    assert await held(cities) == {1: "assert"}
    await change_state(cities.baishan, AGREEMENT, "active", reason="测试", by="test")
    assert (await forger.send(last)).result == "applied"
    assert await held(cities) == {1: "assert", 2: "assert"}
    await check_ledger(cities.baishan)

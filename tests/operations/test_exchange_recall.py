"""What must disappear does not wait: not for a new epoch that is on its way, not for the retry schedule, nor behind a held batch."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from gateway.core.exchange.manifests import read_manifest
from gateway.core.records.model import RecordId
from gateway.operations.begin_epoch import begin_epoch
from gateway.operations.decide_held import decide_held
from gateway.operations.handle_case import repair
from gateway.operations.list_overdue import list_overdue
from gateway.operations.manage_agreements import change_state, take_notice
from gateway.operations.send_batch import Sent, deliver_due, send_batch
from gateway.operations.withdraw import withdraw
from gateway.store import inbox, ledger, outbox, records
from gateway.store.tables import erasures, in_batches, in_records, out_batches, out_parts, out_recalled
from gateway.store.tables import records as record_rows
from tests.administrators import hand
from tests.ledger import check_ledger
from tests.operations.publishing import PENALTIES as DATASET
from tests.operations.publishing import code, ids, penalty, put
from tests.region import AGREEMENT, PENALTIES, TONGHUA, Cities, followed, held_batch, two_cities


@pytest.fixture
async def cities(tmp_path: Path) -> AsyncIterator[Cities]:
    """Two cities that have agreed."""
    async with two_cities(tmp_path) as both:
        yield both


async def penalise(cities: Cities, *numbers: int, region: str = "220500") -> list[str]:
    """Penalties of Tonghua, not sent yet."""
    rows = [penalty(code(number), f"通化市测试{number}商贸有限公司", f"通示罚〔2026〕{number}号") for number in numbers]
    return ids(await put(cities.tonghua, DATASET, *rows))


async def send(cities: Cities, *, at_once: bool = True) -> Sent:
    """One pass over the stream."""
    (sent,) = await send_batch(cities.tonghua, stream=PENALTIES, at_once=at_once)
    return sent


async def states(cities: Cities, made: list[str]) -> list[str]:
    """What Baishan holds of these."""
    rows = await cities.baishan.store.reads.all(sa.select(record_rows.c.record_id, record_rows.c.state))
    held = {row.record_id: row.state for row in rows}
    return [held.get(record_id, "-") for record_id in made]


async def place(cities: Cities) -> tuple[int, int, int]:
    """Epoch, number and size of what Baishan has applied."""
    stream = await inbox.in_stream(cities.baishan.store.reads, TONGHUA, PENALTIES)
    assert stream is not None
    return stream.head.epoch, stream.head.seq, stream.head.tree.size


async def whole(cities: Cities) -> None:
    """Both ledgers hold."""
    for services in (cities.tonghua, cities.baishan):
        await check_ledger(services)


class Held:
    """A line on which the last batch of a new epoch does not arrive for now."""

    def __init__(self, cities: Cities, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open = False
        carry = cities.line.carry

        async def slow(sealed):  # type: ignore[no-untyped-def]
            if not self.open and read_manifest(sealed.manifest).snapshot == "last":
                from gateway.adapter_contract import AdapterError

                raise AdapterError("UNAVAILABLE", "断线", transient=True)
            return await carry(sealed)

        monkeypatch.setattr(cities.line, "carry", slow)


async def test_withdrawals_go_out_in_the_old_epoch_too(cities: Cities, monkeypatch: pytest.MonkeyPatch):
    """While the last batch of a new epoch does not arrive, a withdrawal takes effect by the old one, and is said again after the last."""
    import gateway.operations.seal_batch as story

    made = await penalise(cities, 1, 2, 3, 4, 5)
    await send(cities)
    monkeypatch.setattr(story, "CHANGES_A_BATCH", 3)
    line = Held(cities, monkeypatch)
    await begin_epoch(cities.tonghua, PENALTIES, by="test", reason="lost_state")
    await send(cities)
    assert await place(cities) == (1, 1, 5)
    for number, act in ((0, "repair"), (1, "withdraw"), (2, "erase")):
        if act == "repair":
            await repair(cities.tonghua, made[number], actor="test")
        elif act == "withdraw":
            await withdraw(cities.tonghua, made[number], reason="corrected", actor="test")
        else:
            async with cities.tonghua.store.transaction() as tx:
                await records.erase(tx, RecordId(made[number]), actor="test")
        await send(cities)
    assert (await place(cities))[0] == 1
    assert (await states(cities, made))[:2] == ["repaired", "retracted"]
    assert await states(cities, made[2:]) == ["erased", "in_force", "in_force"]
    await followed(cities.baishan)
    await send(cities)
    left = await cities.tonghua.store.reads.all(sa.select(out_recalled).where(out_recalled.c.acked_at.is_(None)))
    assert [row.op for row in left] == ["erase"], "acknowledged before the epoch is whole, but for what a staged part still holds"
    line.open = True
    sent = await send(cities)
    assert (sent.state, (await place(cities))[0]) == ("acked", 2)
    assert await states(cities, made) == ["repaired", "retracted", "erased", "in_force", "in_force"]
    await followed(cities.baishan)
    await send(cities)
    assert not await ledger.awaits_news(cities.tonghua.store.reads, PENALTIES), "said again, and acknowledged again"
    again = ids(await put(cities.tonghua, DATASET, penalty(code(2), "通化市测试2商贸有限公司", "通示罚〔2026〕2号", fine="9.9")))
    assert again == [made[1]]
    await send(cities)
    assert await states(cities, made[1:2]) == ["in_force"], "under a version above that of the old epoch"
    rows = await cities.baishan.store.reads.all(sa.select(in_batches.c.state).where(in_batches.c.stream == PENALTIES))
    assert {row.state for row in rows} <= {"applied", "partial"}
    await whole(cities)


async def test_what_leaves_before_the_epoch_is_sealed_whole(cities: Cities, monkeypatch: pytest.MonkeyPatch):
    """A record that is withdrawn before the new epoch has come to it leaves by the old one; suspended, only that goes on."""
    import gateway.operations.seal_batch as story
    from gateway.operations.partners import streams_from

    made = await penalise(cities, 1, 2, 3, 4, 5)
    await send(cities)
    monkeypatch.setattr(story, "CHANGES_A_BATCH", 3)
    await begin_epoch(cities.tonghua, PENALTIES, by="test", reason="lost_state")
    (stream,) = [one for one in await streams_from(cities.tonghua.store.reads, TONGHUA, cities.now) if one.name == PENALTIES]
    assert (await story.seal_next(cities.tonghua, stream)).sealed == 1
    await deliver_due(cities.tonghua, stream)
    notice = await change_state(cities.tonghua, AGREEMENT, "suspended", reason="测试", by="test")
    await take_notice(cities.baishan, notice, by="test")
    await repair(cities.tonghua, made[4], actor="test")
    await send(cities)
    assert await states(cities, made) == ["in_force"] * 4 + ["repaired"]
    assert (await place(cities))[0] == 1
    notice = await change_state(cities.tonghua, AGREEMENT, "active", reason="测试", by="test")
    await take_notice(cities.baishan, notice, by="test")
    await send(cities)
    assert (await place(cities))[0] == 2
    assert await states(cities, made) == ["in_force"] * 4 + ["repaired"]
    await whole(cities)


async def test_an_erasure_that_the_old_epoch_never_brought(cities: Cities, monkeypatch: pytest.MonkeyPatch):
    """Where nothing of the old epoch arrives any more, the new one brings the erasure all the same, and it is acknowledged."""
    made = await penalise(cities, 1, 2)
    await send(cities)
    Held(cities, monkeypatch)
    await begin_epoch(cities.tonghua, PENALTIES, by="test", reason="lost_state")
    await send(cities)
    carry = cities.line.carry

    async def none_of_the_old(sealed):  # type: ignore[no-untyped-def]
        from gateway.adapter_contract import AdapterError

        if read_manifest(sealed.manifest).epoch == 1:
            raise AdapterError("UNAVAILABLE", "断线", transient=True)
        return await carry(sealed)

    monkeypatch.setattr(cities.line, "carry", none_of_the_old)
    async with cities.tonghua.store.transaction() as tx:
        await records.erase(tx, RecordId(made[0]), actor="test")
    await send(cities)
    assert await states(cities, made) == ["in_force", "in_force"]
    monkeypatch.undo()
    assert (await send(cities)).waiting == 0
    assert await states(cities, made) == ["erased", "in_force"]
    await followed(cities.baishan)
    await send(cities)
    assert not await ledger.awaits_news(cities.tonghua.store.reads, PENALTIES)
    await whole(cities)


async def test_a_withdrawal_overtakes_the_schedule_and_not_the_sequence(cities: Cities):
    """A batch that waits for its next attempt goes again at once, before the withdrawal behind it; then both wait as usual."""
    made = await penalise(cities, 1)
    await send(cities)
    cities.line.lose_before = 3
    await penalise(cities, 2)
    for _ in range(3):
        assert (await send(cities)).waiting == 1
    assert (await send(cities, at_once=False)).delivered == 0, "not due"
    await repair(cities.tonghua, made[0], actor="test")
    sent = await send(cities, at_once=False)
    assert (sent.delivered, sent.waiting) == (2, 0)
    assert await states(cities, made) == ["repaired"]
    cities.line.lose_before = 10**6
    again = await penalise(cities, 3)
    await send(cities, at_once=False)
    carried = len(cities.line.carried)
    await send(cities, at_once=False)
    assert (len(cities.line.carried), len(again)) == (carried, 1), "nothing hurries without a withdrawal"
    await whole(cities)


async def test_a_withdrawal_is_sealed_by_the_next_round(cities: Cities):
    """A withdrawal is sealed with the first pass after its commit, well within 15 minutes; its debt begins with the delivery."""
    made = await penalise(cities, 1)
    await send(cities)
    await repair(cities.tonghua, made[0], actor="test")
    sent = await send(cities)
    assert sent.lines == 1
    rows = await cities.tonghua.store.reads.all(sa.select(out_batches.c.created, out_batches.c.withdrawals).order_by(out_batches.c.seq))
    assert rows[-1].withdrawals == 1
    assert await list_overdue(cities.at(cities.now + timedelta(hours=23)).tonghua) == []


async def test_a_withdrawal_goes_behind_a_held_batch(cities: Cities, monkeypatch: pytest.MonkeyPatch):
    """A batch that waits for a person there does not keep a withdrawal here: it is delivered behind it, in order, and takes effect."""
    import gateway.operations.apply_batch as there

    made = await penalise(cities, 1, 2)
    await send(cities)
    monkeypatch.setattr(there, "HELD_AT_LEAST", 1)
    async with cities.baishan.store.transaction() as tx:
        await tx.execute(sa.update(in_records).where(in_records.c.record_id == made[1]).values(v=50))  # so that an amendment is rejected
    await put(cities.tonghua, DATASET, penalty(code(2), "通化市测试2商贸有限公司", "通示罚〔2026〕2号", fine="9.9"))
    assert (await send(cities)).code == "HOLD_RATE"
    await repair(cities.tonghua, made[0], actor="test")
    sent = await send(cities, at_once=False)
    assert (sent.waiting, sent.code) == (2, "HOLD_RATE")
    assert await states(cities, made) == ["repaired", "in_force"]
    await followed(cities.baishan)
    await send(cities, at_once=False)
    assert not await ledger.awaits_news(cities.tonghua.store.reads, PENALTIES), "acknowledged while the batch before it still waits"
    carried = len(cities.line.carried)
    await send(cities, at_once=False)
    assert len(cities.line.carried) == carried, "then both wait for their next attempt"
    await whole(cities)


async def test_an_erasure_here_does_not_wait_for_a_partner_that_is_away(cities: Cities):
    """What a partner has still to get is kept for the agreed hours; then it is dropped, and a new epoch begins without it."""
    made = await penalise(cities, 1, 2)
    cities.line.lose_before = 10**6
    await send(cities)
    async with cities.tonghua.store.transaction() as tx:
        await records.erase(tx, RecordId(made[0]), actor="test")
    await send(cities)

    async def done(cities: Cities) -> bool:
        await followed(cities.tonghua)
        row = await cities.tonghua.store.reads.one(sa.select(erasures.c.done_at).where(erasures.c.record_id == made[0]))
        assert row is not None
        return row.done_at is not None

    assert not await done(cities), "its part waits for the partner"
    later = cities.at(cities.now + timedelta(hours=72))
    assert await done(later)
    out = await outbox.out_stream(later.tonghua.store.reads, PENALTIES)
    assert out is not None
    assert out.head.epoch == 2
    kept = await later.tonghua.store.reads.all(sa.select(out_parts.c.epoch).where(out_parts.c.stream == PENALTIES))
    assert kept == []
    cities.line.lose_before = 0
    await send(later)
    assert await states(later, made) == ["-", "in_force"]
    await whole(later)


async def test_an_erasure_that_is_on_its_way_is_done_here(cities: Cities):
    """Acknowledged parts go at once; the line that tells of the erasure holds nothing, so that a slow partner keeps nothing undone here."""
    made = await penalise(cities, 1, 2)
    await send(cities)
    cities.line.lose_before = 10**6
    async with cities.tonghua.store.transaction() as tx:
        await records.erase(tx, RecordId(made[0]), actor="test")
    await send(cities)
    await followed(cities.tonghua)
    row = await cities.tonghua.store.reads.one(sa.select(erasures.c.done_at))
    assert row is not None
    assert row.done_at is not None
    (late,) = await list_overdue(cities.at(cities.now + timedelta(hours=73)).tonghua)
    assert (late.what, late.lines) == ("erasures", 1)


async def test_a_new_epoch_that_waits_for_a_person_keeps_back_no_withdrawal(cities: Cities, monkeypatch: pytest.MonkeyPatch):
    """Posted and held there, the only batch of a new epoch lets the old one withdraw; decided about later it is applied, and is no fork."""
    import gateway.operations.apply_batch as there

    made = await penalise(cities, 1, 2, 3)
    await send(cities)
    monkeypatch.setattr(there, "MAX_DROPPED_PERMILLE", -1)  # whatever it leaves out, a person looks
    await begin_epoch(cities.tonghua, PENALTIES, by="test", reason="lost_state")
    assert (await send(cities)).code == "HOLD_DROP"
    await repair(cities.tonghua, made[0], actor="test")
    await send(cities, at_once=False)
    assert await states(cities, made) == ["repaired", "in_force", "in_force"]
    assert await place(cities) == (1, 2, 4)
    await decide_held(cities.baishan, PENALTIES, batch=await held_batch(cities.baishan), apply=True, by=hand(), reason="已核对")
    assert (await send(cities)).waiting == 0
    assert (await place(cities))[0] == 2
    assert await states(cities, made) == ["repaired", "in_force", "in_force"]
    await followed(cities.baishan)
    await send(cities)
    assert not await ledger.awaits_news(cities.tonghua.store.reads, PENALTIES)
    await whole(cities)

"""Where an agreement says `pull`: nothing is delivered, the receiver fetches, and brings its receipts, each once, with their feedback."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from gateway.adapter_contract import IncomingBatch, Part
from gateway.core.errors import ExchangeError, NotFound
from gateway.core.exchange import notes
from gateway.core.exchange.manifests import read_manifest
from gateway.operations.collect_batches import collect_batches, fetched_frozen
from gateway.operations.decide_held import decide_held
from gateway.operations.handle_case import repair
from gateway.operations.send_batch import send_batch
from gateway.operations.take_receipt import take_receipt
from gateway.store import given_receipts, held_agreements, inbox, ledger, outbox
from tests.administrators import hand
from tests.ledger import check_ledger
from tests.operations.publishing import PENALTIES as DATASET
from tests.operations.publishing import code, ids, penalty, put
from tests.region import AGREEMENT, BAISHAN, PENALTIES, TONGHUA, Cities, Forger, followed, held_batch, two_cities


@pytest.fixture
async def cities(tmp_path: Path) -> AsyncIterator[Cities]:
    """Two cities whose agreement says that Baishan fetches."""
    async with two_cities(tmp_path, change=lambda text: text.replace('delivery = "push"', 'delivery = "pull"')) as both:
        yield both


async def lay_ready(cities: Cities) -> None:
    """Everything that Tonghua has published of penalties, as a line finds it."""
    reads = cities.tonghua.store.reads
    found = []
    for batch in await outbox.waiting_batches(reads, PENALTIES):
        manifest = read_manifest(batch.document.body)
        parts = dict(await outbox.out_parts_of(reads, PENALTIES, batch.epoch, batch.seq))
        found.append(incoming(manifest.id, batch.document.body, batch.document.note, batch.checkpoint, parts))
    cities.line.fetched += found


def incoming(batch: str, manifest: bytes, note: str, checkpoint: str, parts: dict[str, bytes]) -> IncomingBatch:
    """A batch as a line brings it; without a cursor of its own."""

    def part(name: str, data: bytes) -> Part:
        return Part(name=name, size=len(data), digest="", read=lambda: iter([data]))

    return IncomingBatch(
        batch=batch,
        manifest=manifest,
        manifest_note=note.encode(),
        checkpoint=checkpoint.encode(),
        parts=tuple(part(name, data) for name, data in parts.items()),
        cursor="",
    )


async def test_fetched_applied_and_acknowledged(cities: Cities):
    """A batch is published and not delivered; fetched and applied, its receipt acknowledges it, and a withdrawal with its feedback."""
    rows = [penalty(code(number), f"通化市测试{number}商贸有限公司", f"通示罚〔2026〕{number}号") for number in (1, 2)]
    made = ids(await put(cities.tonghua, DATASET, *rows))
    (sent,) = await send_batch(cities.tonghua, stream=PENALTIES, at_once=True)
    assert (sent.sealed, sent.delivered, sent.waiting, cities.line.carried) == (1, 0, 1, [])
    await lay_ready(cities)
    assert await collect_batches(cities.baishan) == {}
    assert cities.line.brought == [(PENALTIES, 1)]
    assert await outbox.waiting_batches(cities.tonghua.store.reads, PENALTIES) == []
    await repair(cities.tonghua, made[1], actor="test", document="示例")
    await send_batch(cities.tonghua, stream=PENALTIES)
    await lay_ready(cities)
    for _ in range(2):
        assert await collect_batches(cities.baishan) == {}
    assert cities.line.brought == [(PENALTIES, 1), (PENALTIES, 2)], "each once"
    late = await ledger.overdue(cities.tonghua.store.reads, PENALTIES, now=cities.now, hours=-1)
    assert late is not None, "applied is not yet out of every exit"
    assert await followed(cities.baishan) == 1
    assert await collect_batches(cities.baishan) == {}
    assert cities.line.brought[2:] == [(PENALTIES, 3)], "a later receipt, with its feedback"
    late = await ledger.overdue(cities.tonghua.store.reads, PENALTIES, now=cities.now, hours=-1)
    assert late is None, "the withdrawal is acknowledged"
    assert await inbox.line_cursor(cities.baishan.store.reads, AGREEMENT) == "2"
    for services in (cities.tonghua, cities.baishan):
        await check_ledger(services)


async def test_a_partner_has_its_turn_and_no_longer(cities: Cities, monkeypatch: pytest.MonkeyPatch):
    """Who brings much is gone on with at the next look, behind what was taken; who never comes to an end counts as one that is silent."""
    for number in (1, 2):
        row = penalty(code(number), f"通化市测试{number}商贸有限公司", f"通示罚〔2026〕{number}号")
        await put(cities.tonghua, DATASET, row)
        await send_batch(cities.tonghua, stream=PENALTIES, at_once=True)
    await lay_ready(cities)
    assert len(cities.line.fetched) == 2
    monkeypatch.setattr("gateway.operations.collect_batches.TURN", timedelta(0))
    for taken in ("1", "2", "2"):
        assert await collect_batches(cities.baishan) == {}
        assert await inbox.line_cursor(cities.baishan.store.reads, AGREEMENT) == taken

    async def silent(_after: str | None) -> AsyncIterator[IncomingBatch]:
        await asyncio.Event().wait()
        yield cities.line.fetched[0]

    monkeypatch.setattr("tests.region.Direct.collect", lambda _, after: silent(after))
    monkeypatch.setattr("gateway.operations.collect_batches.LONGEST_LOOK", timedelta(milliseconds=200))
    async with asyncio.timeout(20):
        assert await collect_batches(cities.baishan) == {f"{TONGHUA}/{AGREEMENT}": "UNAVAILABLE"}


async def test_a_fetched_fork_is_told_beside_what_failed(cities: Cities):
    """A fork is answered like any batch, so no line fails; the stream that it froze is told all the same."""
    (agreed,) = (await held_agreements.held_agreements(cities.tonghua.store.reads))[AGREEMENT]
    forger = Forger(cities, agreement=agreed.agreement)
    start = forger.head
    for number in (1, 2):
        assert await fetched_frozen(cities.baishan) == {}
        await forger.send(forger.seal([forger.penalty(number)], head=start))
    assert await fetched_frozen(cities.baishan, TONGHUA) == {f"{TONGHUA}/{PENALTIES}": "SEQ_FORK"}
    assert await fetched_frozen(cities.baishan, BAISHAN) == {}


async def test_a_later_decision_is_brought_too(cities: Cities):
    """What a person decides about a held batch reaches a sender that is not posting, with the next look."""
    (agreed,) = (await held_agreements.held_agreements(cities.tonghua.store.reads))[AGREEMENT]
    forger = Forger(cities, agreement=agreed.agreement)
    bad = [forger.penalty(number, region="220600") for number in range(1, 21)]
    sealed = forger.seal([*bad, forger.penalty(31)])
    cities.line.fetched.append(
        incoming("b", sealed.document.body, sealed.document.note, sealed.checkpoint, {part.name: part.data for part in sealed.parts})
    )
    troubles = await collect_batches(cities.baishan)
    assert troubles == {f"{TONGHUA}/{AGREEMENT}": "not-found"}, "the sender here knows nothing of the forger's batch"
    await decide_held(cities.baishan, PENALTIES, batch=await held_batch(cities.baishan), apply=True, by=hand(), reason="已核对")
    waiting = await given_receipts.to_bring(cities.baishan.store.reads, TONGHUA, PENALTIES)
    assert [given.no for given in waiting] == [1, 2], "in order, until they have arrived"


async def test_receipts_that_are_not_to_be_believed(cities: Cities):
    """A receipt before its feedback, of another party, or altered, moves nothing."""
    rows = [penalty(code(number), f"通化市测试{number}商贸有限公司", f"通示罚〔2026〕{number}号") for number in (1, 2)]
    made = ids(await put(cities.tonghua, DATASET, *rows))
    await send_batch(cities.tonghua, stream=PENALTIES)
    await repair(cities.tonghua, made[1], actor="test", document="示例")
    await send_batch(cities.tonghua, stream=PENALTIES)
    await lay_ready(cities)
    await collect_batches(cities.baishan)
    await followed(cities.baishan)
    given = await given_receipts.receipts_of(cities.baishan.store.reads, TONGHUA, PENALTIES)
    last = notes.envelope(given[-1].document)
    with pytest.raises(NotFound):
        await take_receipt(cities.tonghua, TONGHUA, PENALTIES, last)
    with pytest.raises(ExchangeError) as caught:
        await take_receipt(cities.tonghua, BAISHAN, PENALTIES, last)
    assert caught.value.code == "SIG_PART_MISSING"
    await collect_batches(cities.baishan)
    await take_receipt(cities.tonghua, BAISHAN, PENALTIES, last)  # brought again, by whoever did not hear that it was taken

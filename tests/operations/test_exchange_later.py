"""Later receipts: an acknowledgement waits until the record has left every exit, is numbered and chained, and closes the debt."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.core.errors import ExchangeError
from gateway.core.exchange import notes
from gateway.core.exchange.feedback import receipt_context
from gateway.operations import keep_log
from gateway.operations.acknowledge import acknowledge
from gateway.operations.build_lists import settle_lists
from gateway.operations.handle_case import repair
from gateway.operations.reissue_lists import follow as follow_lists
from gateway.operations.render_public import render_public, settle
from gateway.operations.send_batch import send_batch
from gateway.operations.take_receipt import take_receipt
from gateway.store import exits, given_receipts, ledger, outbox
from tests.ledger import check_ledger
from tests.operations.publishing import PENALTIES as DATASET
from tests.operations.publishing import code, ids, penalty, put
from tests.region import BAISHAN, PENALTIES, TONGHUA, Cities, Forger, followed, news, rid, two_cities


@pytest.fixture
async def cities(tmp_path: Path) -> AsyncIterator[Cities]:
    """Two cities that have agreed."""
    async with two_cities(tmp_path) as both:
        yield both


async def penalise(cities: Cities, *numbers: int) -> list[str]:
    """Penalties of Tonghua that Baishan holds and shows."""
    rows = [penalty(code(number), f"通化市测试{number}商贸有限公司", f"通示罚〔2026〕{number}号") for number in numbers]
    made = ids(await put(cities.tonghua, DATASET, *rows))
    await send_batch(cities.tonghua, stream=PENALTIES)
    await settle(cities.baishan)
    return made


async def owes(cities: Cities) -> bool:
    """Whether Baishan owes Tonghua anything."""
    return await ledger.awaits_news(cities.tonghua.store.reads, PENALTIES)


async def test_an_acknowledgement_waits_for_every_exit(cities: Cities):
    """Reader, removals that are still to be told, versions of lists: each keeps the acknowledgement back; then it comes, and is taken."""
    (record_id,) = await penalise(cities, 1)
    await settle_lists(cities.baishan)
    reads = cities.baishan.store.reads

    async def where() -> str | None:
        assert await acknowledge(cities.baishan) == 0
        return (await exits.still_at(reads, [record_id])).get(record_id)

    await repair(cities.tonghua, record_id, actor="test")
    (sent,) = await send_batch(cities.tonghua, stream=PENALTIES)
    assert sent.state == "acked"
    assert await owes(cities)
    assert await where() == "reader"
    while await render_public(cities.baishan):
        pass
    assert await where() == "removals"
    await settle(cities.baishan)
    assert await where() == "lists"
    while await follow_lists(cities.baishan, at_once=True):
        pass
    await keep_log.settle_log(cities.baishan)
    assert await acknowledge(cities.baishan) == 1
    assert await acknowledge(cities.baishan) == 0, "each once"
    assert await owes(cities)
    await send_batch(cities.tonghua, stream=PENALTIES)
    assert not await owes(cities)
    for services in (cities.tonghua, cities.baishan):
        await check_ledger(services)


async def test_a_later_receipt_counts_nothing_and_is_chained(cities: Cities):
    """It names no batch, counts nothing, takes the next number with the digest of the one before, and its line says when it was so."""
    made = await penalise(cities, 1, 2)
    for record_id in made:
        await repair(cities.tonghua, record_id, actor="test")
    await send_batch(cities.tonghua, stream=PENALTIES)
    later = cities.at(cities.now + timedelta(hours=3))
    assert await followed(later.baishan) == 2
    given = await given_receipts.receipts_of(later.baishan.store.reads, TONGHUA, PENALTIES)
    body = json.loads(given[-1].document.body)
    assert (body["kind"], body["batch"], body["result"], body["no"], set(body["counts"].values())) == ("later", None, "applied", 3, {0})
    lines = [json.loads(line) for line in given[-1].feedback.splitlines()]
    assert {line["rid"] for line in lines} == set(made)
    assert {(line["code"], line["severity"], line["at"]) for line in lines} == {("ACK_WITHDRAWN", "info", "2026-06-02T05:30:00Z")}
    assert [line["i"] for line in lines] == [2, 3], "the line of the stream that withdrew it"


async def test_a_receipt_that_was_missed_is_asked_for(cities: Cities):
    """Numbers are taken without holes: a later receipt given before one that came back with a batch is not overlooked."""
    first, second = await penalise(cities, 1, 2)
    await repair(cities.tonghua, first, actor="test")
    await send_batch(cities.tonghua, stream=PENALTIES)
    await followed(cities.baishan)
    await repair(cities.tonghua, second, actor="test")
    reads = cities.tonghua.store.reads
    assert await ledger.receipts_held(reads, PENALTIES) == {1, 2}
    await send_batch(cities.tonghua, stream=PENALTIES)
    assert await ledger.receipts_held(reads, PENALTIES) == {1, 2, 3, 4}, "3 was asked for, 4 came back with the batch"
    assert (await ledger.sent_records(reads, PENALTIES, [first, second])).keys() == {first, second}
    late = await ledger.overdue(reads, PENALTIES, now=cities.now, hours=-1)
    assert late is not None
    assert late.lines == 1
    await followed(cities.baishan)
    await send_batch(cities.tonghua, stream=PENALTIES)
    assert not await owes(cities)


async def test_a_later_receipt_that_is_not_to_be_believed(cities: Cities):
    """Altered, with other feedback, or under a number that another one has: no debt ends; the last is a fork of the receiver."""
    (record_id,) = await penalise(cities, 1)
    await repair(cities.tonghua, record_id, actor="test")
    await send_batch(cities.tonghua, stream=PENALTIES)
    await followed(cities.baishan)
    (*_, last) = await given_receipts.receipts_of(cities.baishan.store.reads, TONGHUA, PENALTIES)
    from gateway.operations.take_receipt import keep_feedback

    body = notes.envelope(last.document)
    for altered in (body.replace(b'\\"applied\\"', b'\\"partial\\"'), body.replace(b"/x ", b"/y ")):
        await keep_feedback(cities.tonghua, BAISHAN, PENALTIES, last.no, last.feedback)
        with pytest.raises(ExchangeError):
            await take_receipt(cities.tonghua, BAISHAN, PENALTIES, altered)
    await keep_feedback(cities.tonghua, BAISHAN, PENALTIES, last.no, last.feedback.replace(b"ACK_WITHDRAWN", b"ACK_UNKNOWN__"))
    with pytest.raises(ExchangeError) as caught:
        await take_receipt(cities.tonghua, BAISHAN, PENALTIES, body)
    assert caught.value.code == "SIG_PART_DIGEST"
    assert await owes(cities)
    await keep_feedback(cities.tonghua, BAISHAN, PENALTIES, last.no, last.feedback)
    for _ in range(2):
        await keep_feedback(cities.tonghua, BAISHAN, PENALTIES, last.no, last.feedback)
        await take_receipt(cities.tonghua, BAISHAN, PENALTIES, body)
    assert not await owes(cities)
    await take_receipt(cities.tonghua, BAISHAN, PENALTIES, body)  # the answer was lost: brought again, without what was believed before


@pytest.mark.parametrize("changed", [{"received_at": "2026-06-02T02:30:01Z"}, {"no": 9, "previous": None}, {"no": 2}])
async def test_a_receipt_that_contradicts_one_that_is_held_stops_the_stream(cities: Cities, changed: dict[str, Any]):
    """Of a batch that was acknowledged long ago too: another receipt of its number, or a neighbour that is chained to another one."""
    await penalise(cities, 1)
    await send_batch(cities.tonghua, stream=PENALTIES)
    (first,) = await given_receipts.receipts_of(cities.baishan.store.reads, TONGHUA, PENALTIES)
    held = json.loads(first.document.body) | ({"no": 10, "previous": "sha-256:" + "A" * 43 + "="} if changed.get("no") == 9 else {})

    async def bring(said: dict[str, Any]) -> str | None:
        context = receipt_context(PENALTIES, TONGHUA, said["no"])
        body = json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode()
        signed = notes.sign_document("receipt", context, body, [cities.baishan.signers.signing("exchange", cities.now)])
        await take_receipt(cities.tonghua, BAISHAN, PENALTIES, notes.envelope(signed))
        out = await outbox.out_stream(cities.tonghua.store.reads, PENALTIES)
        return out.stopped if out is not None else None

    assert await bring(held) is None
    assert await bring(json.loads(first.document.body) | changed) == "SEQ_FORK"


async def test_a_withdrawal_that_waits_is_acknowledged_before_its_batch_is_decided(cities: Cities):
    """Behind a batch that waits for a person a withdrawal takes effect at once, and is acknowledged once it has left, not days later."""
    forger = Forger(cities)
    await forger.post(forger.penalty(1))
    bad = [forger.penalty(number, region="220600") for number in range(2, 32)]
    received = await forger.post(*bad, forger.withdrawal(1))
    assert received.result == "held"
    assert await news(cities) == ["ACK_WITHDRAWN"]
    await check_ledger(cities.baishan)


async def test_what_is_said_anew_is_not_waited_for(cities: Cities):
    """A record that its city asserts again before the acknowledgement has left by its withdrawal; the new version stays where it is."""
    forger = Forger(cities)
    await forger.post(forger.penalty(1))
    await settle(cities.baishan)
    await forger.post(forger.withdrawal(1, v=2, op="retract", reason="corrected"))
    await forger.post(forger.penalty(1, v=3))
    assert await news(cities) == ["ACK_WITHDRAWN"]
    assert rid(1) in await exits.still_at(cities.baishan.store.reads, [rid(1)])

"""Batches from one city to the other: what is sent, what arrives, what disappears; and that the whole ledger holds after each step."""

from collections.abc import AsyncIterator
from datetime import date
from pathlib import Path

import pytest

from gateway.core.records.model import RecordId
from gateway.operations.handle_case import repair
from gateway.operations.list_measures import list_measures
from gateway.operations.report_exchange import report_exchange
from gateway.operations.send_batch import send_batch
from gateway.operations.withdraw import withdraw
from gateway.services import Services
from gateway.store import ledger, recognitions, records
from tests.ledger import check_ledger
from tests.operations.publishing import HONOURS as HONOURS_DATASET
from tests.operations.publishing import PENALTIES as PENALTIES_DATASET
from tests.operations.publishing import code, ids, penalty, put
from tests.region import AGREEMENT, HONOURS, MARKET, PENALTIES, TONGHUA, Cities, Forger, rid, two_cities


@pytest.fixture
async def cities(tmp_path: Path, store_url: str) -> AsyncIterator[Cities]:
    """Two cities with an agreement in force; the receiver stands on SQLite and on PostgreSQL."""
    async with two_cities(tmp_path, ("", store_url)) as made:
        yield made


def honour(number: int, name: str, **more):
    """A row of the honour list."""
    return {
        "主体名称": name,
        "主体类别": "法人及非法人组织",
        "统一社会信用代码": code(number),
        "荣誉名称": "诚信示范企业",
        "荣誉级别": "市级",
        "认定日期": "2026-05-06",
        "有效期至": "2027-12-31",
        "认定机关": "通化市市场监督管理局（示例）",
        "认定机关统一社会信用代码": MARKET,
        **more,
    }


async def states(services: Services, *record_ids: str) -> list[str | None]:
    """State of each record; None for one that is not there."""
    found = {record.record_id: record for record in await records.load(services.store.reads, ids=[RecordId(each) for each in record_ids])}
    return [found[RecordId(each)].state if RecordId(each) in found else None for each in record_ids]


async def settled(cities: Cities) -> None:
    """Both ledgers hold."""
    await check_ledger(cities.tonghua)
    await check_ledger(cities.baishan)


async def test_a_penalty_goes_out_and_its_repair_follows(cities: Cities):
    """A penalty arrives next door as Tonghua's; repaired at home, it is in force nowhere, and the withdrawal is acknowledged."""
    (record_id,) = ids(await put(cities.tonghua, PENALTIES_DATASET, penalty(code(1), "通化市示例药业有限公司", "通示罚〔2026〕1号")))
    report = {sent.stream: sent for sent in await send_batch(cities.tonghua, at_once=True)}
    assert set(report) == {PENALTIES, HONOURS, f"{AGREEMENT}.tax-violations", f"{AGREEMENT}.agency-filings"}
    assert (report[PENALTIES].lines, report[PENALTIES].state, report[PENALTIES].waiting) == (1, "acked", 0)
    await settled(cities)
    (there,) = await records.load(cities.baishan.store.reads, ids=[RecordId(record_id)])
    assert (there.issuer, there.state, there.region, there.trust) == (TONGHUA, "in_force", "220500", "signed")
    assert there.raw.open()["document_number"] == "通示罚〔2026〕1号"
    await repair(cities.tonghua, record_id, actor="test")
    (sent, *_) = [each for each in await send_batch(cities.tonghua, at_once=True) if each.stream == PENALTIES]
    assert (sent.lines, sent.state) == (1, "acked")
    assert await states(cities.baishan, record_id) == ["repaired"]
    await settled(cities)
    told = await ledger.sent_records(cities.tonghua.store.reads, PENALTIES, [record_id])
    assert told[record_id].op == "repair"
    assert await ledger.overdue(cities.tonghua.store.reads, PENALTIES, now=cities.now, hours=0) is None


async def test_nothing_is_said_twice(cities: Cities):
    """An unchanged view is not sent again; a pass with nothing to say seals nothing until a sign of life is due."""
    await put(cities.tonghua, PENALTIES_DATASET, penalty(code(1), "通化市示例药业有限公司", "通示罚〔2026〕1号"))
    await send_batch(cities.tonghua, at_once=True)
    again = await send_batch(cities.tonghua, at_once=True)
    assert [(sent.sealed, sent.lines) for sent in again] == [(0, 0)] * 4
    await put(cities.tonghua, PENALTIES_DATASET, penalty(code(1), "通化市示例药业有限公司", "通示罚〔2026〕1号"))
    assert [sent.sealed for sent in await send_batch(cities.tonghua, at_once=True)] == [0] * 4
    await settled(cities)


async def test_an_honour_is_recognised_and_lifted(cities: Cities):
    """An honour takes effect next door as a local measure, and the effect goes with the honour."""
    (record_id,) = ids(await put(cities.tonghua, HONOURS_DATASET, honour(2, "通化市澄泉商贸有限公司")))
    await send_batch(cities.tonghua, at_once=True)
    (there,) = await records.load(cities.baishan.store.reads, ids=[RecordId(record_id)])
    assert there.recognised is not None
    assert (there.recognised.effect, there.recognised.issuer) == ("green-channel", TONGHUA)
    assert [(each.about, each.standing) for each in await list_measures(cities.baishan)] == [(record_id, "in_effect")]
    assert [each.in_effect for each in await report_exchange(cities.baishan) if each.stream == f"{AGREEMENT}.measures"] == [1]
    await settled(cities)
    await withdraw(cities.tonghua, record_id, reason="revoked", actor="test")
    await send_batch(cities.tonghua, at_once=True)
    (there,) = await records.load(cities.baishan.store.reads, ids=[RecordId(record_id)])
    assert (there.state, there.recognised) == ("retracted", None)
    assert [each.standing for each in await list_measures(cities.baishan)] == ["lifted"]
    assert [each.in_effect for each in await report_exchange(cities.baishan) if each.stream == f"{AGREEMENT}.measures"] == [0]
    await settled(cities)


async def test_an_honour_that_is_no_longer_valid_is_not_recognised(cities: Cities):
    """An honour past its own validity is shown with its mark, but takes no effect next door; a valid one takes it until its last day."""
    lapsed, valid = ids(
        await put(
            cities.tonghua,
            HONOURS_DATASET,
            honour(2, "通化市澄泉商贸有限公司", 有效期至="2026-05-31"),
            honour(3, "通化市拓岩建材有限公司", 有效期至="2026-12-31"),
        )
    )
    await send_batch(cities.tonghua, at_once=True)
    held = {each.record_id: each for each in await records.load(cities.baishan.store.reads, ids=[RecordId(lapsed), RecordId(valid)])}
    assert (held[RecordId(lapsed)].state, held[RecordId(lapsed)].recognised) == ("in_force", None)
    recognised = held[RecordId(valid)].recognised
    assert recognised is not None
    assert recognised.until == date(2026, 12, 31)
    decided = await recognitions.decisions(cities.baishan.store.reads, [lapsed])
    assert (decided[lapsed].effect, decided[lapsed].reason) == (None, "expired")
    await settled(cities)


async def test_numbers_as_large_as_the_wire_allows(cities: Cities):
    """A sender chooses its `v` and `epoch` up to 2⁵³−1: either database takes them, and refuses for what is wrong, not for their size."""
    forger, largest = Forger(cities), 2**53 - 1
    far = forger.seal([], advance=False, edit=lambda said: said.update(epoch=largest))
    refused = await forger.send(far)
    assert (refused.result, refused.code) == ("rejected", "SEQ_EPOCH")
    applied = await forger.send(forger.seal([forger.penalty(1, v=largest)]))
    assert applied.result == "applied"
    assert await states(cities.baishan, rid(1)) == ["in_force"]
    await check_ledger(cities.baishan)

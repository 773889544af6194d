"""A partner's record is erased: what was told of it for a case, and the measures that rested on it, go with it, in both cities."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from gateway.core.exchange.questions import SubjectAsked
from gateway.operations.ask_partner import ask_partners
from gateway.operations.erase import erase
from gateway.operations.finish_erasures import finish_erasures
from gateway.operations.kept_inquiries import show_inquiry
from gateway.operations.send_batch import send_batch
from gateway.services import Services
from gateway.store import erasures as entered
from gateway.store import inquiries, ledger, measures
from gateway.store.subjects import subject_by_key
from gateway.store.tables import erasures
from gateway.store.tables import records as rows
from tests.administrators import enrolled
from tests.asking import ASKER, asking, fined, take, with_terms
from tests.ledger import check_ledger
from tests.operations.publishing import code, ids, put
from tests.operations.test_erase import dump, holds
from tests.operations.test_exchange import honour
from tests.operations.test_questions_stored import with_a_short_way
from tests.region import AGREEMENT, HONOURS, PENALTIES, Cities, followed, two_cities

MEASURES = f"{AGREEMENT}.measures"
NAME, CODE = "通化市鸾翔澜沧药业有限公司", code(7719)


@pytest.fixture
async def cities(tmp_path: Path, store_url: str) -> AsyncIterator[Cities]:
    """Both cities on one kind of database, which may also ask one another."""
    async with two_cities(tmp_path, (store_url, ""), change=lambda _: with_terms()) as made:
        yield made


async def gone(services: Services, target: str, name: str) -> None:
    """Erased as a key custodian does."""
    admin = await enrolled(services, name, "key-custodian")
    await erase(services, target, reason="request", by=await admin.acts("record.erase", target=target, reason="request"))


async def finished(services: Services, record_id: str) -> bool:
    """Whether nothing is left of a record here."""
    row = await services.store.reads.one(sa.select(erasures.c.done_at).where(erasures.c.record_id == record_id))
    return row is not None and row.done_at is not None


async def test_what_was_told_for_a_case_goes_before_the_case_ends(cities: Cities):
    """A record told at level 2 is erased where it was made: it leaves what is kept for the case, and the one beside it stays."""
    first_id, second_id = await take(cities.tonghua, fined(1), fined(1, "通示罚〔2026〕2号"))
    await send_batch(cities.tonghua, stream=PENALTIES, at_once=True)
    baishan = with_a_short_way(cities, cities.baishan, cities.tonghua)
    first = await ask_partners(baishan, ASKER, asking(1))
    second = await ask_partners(baishan, ASKER, asking(1, level=2, follows=first.id))
    assert {each.rid for each in second.partners[0].records} == {first_id, second_id}
    await gone(cities.tonghua, first_id, "kang")
    await send_batch(cities.tonghua, stream=PENALTIES, at_once=True)
    assert await inquiries.telling(baishan.store.reads, [first_id])
    await followed(cities.baishan)
    assert await finished(cities.baishan, first_id)
    assert not await inquiries.telling(baishan.store.reads, [first_id])
    assert await inquiries.telling(baishan.store.reads, [second_id])
    assert [each.rid for each in (await show_inquiry(baishan, ASKER, second.id)).partners[0].records] == [second_id]


async def test_an_answer_that_comes_after_the_erasure_brings_it_not_back(cities: Cities):
    """What an answer tells of a record that was erased while it was on its way is not kept."""
    (record_id,) = await take(cities.tonghua, fined(1))
    baishan = with_a_short_way(cities, cities.baishan, cities.tonghua)
    first = await ask_partners(baishan, ASKER, asking(1))
    async with cities.baishan.store.transaction() as tx:
        await entered.enter_unheld(tx, [record_id])
    second = await ask_partners(baishan, ASKER, asking(1, level=2, follows=first.id))
    (row,) = await inquiries.of_inquiry(baishan.store.reads, second.id)
    assert (row.row.lines, row.lines_until) == (None, None)


async def test_all_of_a_subject_reaches_what_partners_told(cities: Cities):
    """Erasing a firm here takes what partners told about it for cases, and leaves what they told about another."""
    await take(cities.tonghua, fined(1), fined(2, "通示罚〔2026〕3号"))
    await send_batch(cities.tonghua, stream=PENALTIES, at_once=True)
    baishan = with_a_short_way(cities, cities.baishan, cities.tonghua)
    asked = {}
    for number in (1, 2):
        first = await ask_partners(baishan, ASKER, asking(number))
        asked[number] = await ask_partners(baishan, ASKER, asking(number, level=2, follows=first.id))
    subject = await subject_by_key(cities.baishan.store.reads, "uscc", code(1), "legal")
    assert subject is not None
    await gone(cities.baishan, subject.subject_id, "kang")
    kept = {number: (await inquiries.of_inquiry(baishan.store.reads, found.id))[0].row.lines for number, found in asked.items()}
    assert (kept[1] is None, kept[2] is None) == (True, False)
    assert inquiries._asked_about(baishan.store.vault, SubjectAsked(kind="legal", uscc=code(1))) == {("uscc", code(1))}


async def test_measures_go_with_the_record_that_they_rest_on(cities: Cities):
    """Our measures on account of an erased record name the firm: they are erased in both cities, and only then is the erasure told done."""
    (record_id,) = ids(await put(cities.tonghua, "honours", honour(7719, NAME)))
    await send_batch(cities.tonghua, stream=HONOURS, at_once=True)
    (taken,) = await measures.measures_about(cities.baishan.store.reads, [record_id])
    await send_batch(cities.baishan, stream=MEASURES, at_once=True)
    for services in (cities.tonghua, cities.baishan):
        await followed(services)
        assert holds(await dump(services), NAME, CODE) == {NAME, CODE}
    await gone(cities.tonghua, record_id, "kang")
    await send_batch(cities.tonghua, stream=HONOURS, at_once=True)
    held = await cities.baishan.store.reads.one(sa.select(rows.c.state).where(rows.c.record_id == taken.record_id))
    assert held is not None
    assert held.state == "erased", "in the commit that erases what it rests on"
    assert await finish_erasures(cities.baishan) == 0
    await followed(cities.baishan)
    assert await finished(cities.baishan, taken.record_id)
    assert holds(await dump(cities.baishan), NAME, CODE) == set()
    await send_batch(cities.baishan, stream=MEASURES, at_once=True)
    for services in (cities.tonghua, cities.baishan):
        await followed(services)
    await send_batch(cities.tonghua, stream=HONOURS, at_once=True)
    assert not await ledger.awaits_news(cities.tonghua.store.reads, HONOURS), "the acknowledgement is back"
    await followed(cities.tonghua)
    assert await finished(cities.tonghua, record_id)
    assert holds(await dump(cities.tonghua), NAME, CODE) == set()
    assert await measures.measures_about(cities.tonghua.store.reads, [record_id]) == []
    for services in (cities.tonghua, cities.baishan):
        await check_ledger(services)

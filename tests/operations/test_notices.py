"""Hostile notices: a date long gone frees nobody of what is owed, and neither long reasons nor many notices weigh on every request."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import pytest

from gateway.core.errors import ExchangeError
from gateway.core.exchange import agreements as terms
from gateway.core.exchange import notes
from gateway.core.exchange.agreements import Held
from gateway.core.exchange.notes import SignedDocument
from gateway.operations.agreement_fit import agreement_signers
from gateway.operations.alarms import standing
from gateway.operations.doctor import examine
from gateway.operations.handle_case import repair
from gateway.operations.keep_exchange import Rounds
from gateway.operations.list_overdue import list_overdue
from gateway.operations.manage_agreements import agreements, change_state, take_notice
from gateway.operations.send_batch import send_batch
from gateway.operations.take_documents import take_document
from gateway.services import Services
from gateway.store.held_agreements import held_agreements, notices_of
from tests.operations.publishing import PENALTIES as DATASET
from tests.operations.publishing import code, ids, penalty, put
from tests.region import AGREEMENT, BAISHAN, PENALTIES, Cities, two_cities

Word = Literal["suspended", "active", "terminated"]


@pytest.fixture
async def cities(tmp_path: Path) -> AsyncIterator[Cities]:
    """Two cities with an agreement in force."""
    async with two_cities(tmp_path) as both:
        yield both


async def held(services: Services) -> Held:
    """The agreement as a city holds it."""
    return (await held_agreements(services.store.reads))[AGREEMENT][-1]


async def said(cities: Cities, serial: int, state: Word, *, from_at: datetime | None = None, pad: int = 0) -> SignedDocument:
    """A notice of Baishan, whatever its own program would let it say."""
    agreement = (await held(cities.baishan)).agreement
    body = terms.state_body(agreement, by=BAISHAN, serial=serial, state=state, from_at=from_at or cities.now, reason="测试")
    body = body.replace("测试".encode(), b"x" * pad) if pad else body
    signers = agreement_signers(cities.baishan, cities.baishan.clock())
    return notes.sign_document("agreement-state", f"{AGREEMENT}/{BAISHAN}/{serial}", body, signers)


async def refusal(services: Services, document: SignedDocument) -> str:
    """The code with which a notice is refused."""
    with pytest.raises(ExchangeError) as caught:
        await take_notice(services, document, by="test")
    return caught.value.code


async def test_an_end_dated_back_frees_nobody(cities: Cities):
    """Ended as of 120 days ago: a repair is still sealed, delivered and overdue, purge and days count from now, and people are told."""
    (record_id, other) = ids(
        await put(cities.tonghua, DATASET, *(penalty(code(n), f"通化市测试{n}商贸有限公司", f"通示罚〔2026〕{n}号") for n in (1, 2)))
    )
    await send_batch(cities.tonghua, stream=PENALTIES)
    start = cities.now
    taken = await take_document(cities.tonghua, await said(cities, 1, "terminated", from_at=start - timedelta(days=120)), by="test")
    assert (taken.state, taken.since) == ("terminated", "2026-06-02T02:30:00Z")
    now = await held(cities.tonghua)
    assert now.takes_withdrawals(start + timedelta(days=90))
    assert not now.takes_withdrawals(start + timedelta(days=91))
    assert [(each.state, each.since) for each in await agreements(cities.tonghua)] == [("terminated", start)]
    (told,) = [each for each in await examine(cities.tonghua, lines=False) if each.code == "agreement-ended"]
    assert "from 2026-02-02T02:30:00Z" in told.en
    assert "2026-02-02T02:30:00Z" in told.zh
    await repair(cities.tonghua, record_id, actor="test", document="示例")
    cities.line.lose_before = 10**6
    (sent,) = await send_batch(cities.tonghua, stream=PENALTIES)
    assert (sent.sealed, sent.lines, sent.waiting) == (1, 1, 1)
    later = cities.at(start + timedelta(hours=49))
    rounds = Rounds()
    await rounds.run(later.tonghua)
    assert [(each.partner, each.what, each.lines) for each in await list_overdue(later.tonghua)] == [(BAISHAN, "withdrawals", 1)]
    kinds = {each.kind: each.target for each in await standing(later.tonghua)}
    assert kinds.keys() >= {"withdrawals-overdue", "withdrawals-overdue-twice"}
    assert kinds["notice-dated-back"] == f"{BAISHAN}/{AGREEMENT}"
    late = cities.at(start + timedelta(days=8))
    await repair(late.tonghua, other, actor="test", document="示例")
    cities.line.lose_before = 0
    (sent,) = await send_batch(late.tonghua, stream=PENALTIES, at_once=True)
    assert (sent.delivered, sent.waiting) == (2, 0)
    await rounds.run(late.tonghua)
    assert "notice-dated-back" not in {each.kind for each in await standing(late.tonghua)}


async def test_a_notice_that_was_on_its_way_is_no_alarm(cities: Cities):
    """Whoever fetches hears ten minutes later: it counts from then, and nobody is alarmed."""
    start = cities.now
    notice = await change_state(cities.baishan, AGREEMENT, "suspended", reason="测试", by="test")
    later = cities.at(start + timedelta(minutes=10))
    status = await take_notice(later.tonghua, notice, by="test")
    assert (status.state, status.since) == ("suspended", later.now)
    assert [(each.state, each.since) for each in await agreements(later.baishan)] == [("suspended", start)]
    await Rounds().run(later.tonghua)
    assert "notice-dated-back" not in {each.kind for each in await standing(later.tonghua)}


async def test_reasons_are_short(cities: Cities):
    """500 characters are taken, 501 are neither signed nor taken, and white space does not make a notice long."""
    assert (await take_notice(cities.tonghua, await said(cities, 1, "suspended", pad=500), by="test")).state == "suspended"
    for pad in (501, 20_000):
        assert await refusal(cities.tonghua, await said(cities, 2, "terminated", pad=pad)) == "SCHEMA_LENGTH"
    short = await said(cities, 2, "terminated")
    signers = agreement_signers(cities.baishan, cities.baishan.clock())
    padded = notes.sign_document("agreement-state", f"{AGREEMENT}/{BAISHAN}/2", short.body + b" " * 20_000, signers)
    assert await refusal(cities.tonghua, padded) == "SCHEMA_LENGTH"
    with pytest.raises(ExchangeError) as caught:
        await change_state(cities.tonghua, AGREEMENT, "suspended", reason="长" * 501, by="test")
    assert caught.value.code == "SCHEMA_LENGTH"
    assert (await change_state(cities.tonghua, AGREEMENT, "suspended", reason="长" * 500, by="test")).body


async def test_one_number_says_one_thing(cities: Cities):
    """Another text under a number that is held is refused for good, and what was taken stays."""
    assert (await take_notice(cities.tonghua, await said(cities, 1, "suspended"), by="test")).state == "suspended"
    assert await refusal(cities.tonghua, await said(cities, 1, "active")) == "SCOPE_DIGEST"
    assert [each.state for each in await agreements(cities.tonghua)] == ["suspended"]


async def test_so_many_notices_a_day(cities: Cities):
    """Twenty a day and side; beyond it resuming waits a day, while a first suspension and an end are always taken."""
    ours = cities.tonghua
    for serial in range(1, 21):
        await take_notice(ours, await said(cities, serial, "active" if serial % 2 else "suspended"), by="test")
    assert await refusal(ours, await said(cities, 21, "active")) == "RATE_LIMIT"
    assert await refusal(ours, await said(cities, 21, "suspended")) == "RATE_LIMIT", "it is suspended already"
    assert (await take_notice(ours, await said(cities, 20, "suspended"), by="test")).state == "suspended", "one that is held is no new one"
    await change_state(ours, AGREEMENT, "suspended", reason="测试", by="test")
    next_day = cities.at(cities.now + timedelta(days=1, seconds=1))
    for serial in range(121, 141):
        await take_notice(next_day.tonghua, await said(next_day, serial, "suspended" if serial % 2 else "active"), by="test")
    for serial in (50, 51):
        assert await refusal(next_day.tonghua, await said(next_day, serial, "suspended")) == "RATE_LIMIT", "of a number that is behind"
    assert (await take_notice(next_day.tonghua, await said(next_day, 141, "suspended"), by="test")).state == "suspended"
    assert await refusal(next_day.tonghua, await said(next_day, 142, "active")) == "RATE_LIMIT"
    assert (await take_notice(next_day.tonghua, await said(next_day, 143, "terminated"), by="test")).state == "terminated"
    for state in ("suspended", "terminated"):
        assert await refusal(next_day.tonghua, await said(next_day, 144, state)) == "RATE_LIMIT", "it has ended"  # type: ignore[arg-type]  # states
    assert len(await notices_of(ours.store.reads, AGREEMENT, BAISHAN)) == 42


async def test_we_say_no_more_than_is_taken(cities: Cities):
    """Our own twenty-first resumption of a day is not signed; suspending and ending are."""
    ours = cities.tonghua
    for number in range(20):
        await change_state(ours, AGREEMENT, "active" if number % 2 else "suspended", reason="测试", by="test")
    await change_state(ours, AGREEMENT, "suspended", reason="测试", by="test")
    with pytest.raises(ExchangeError) as caught:
        await change_state(ours, AGREEMENT, "active", reason="测试", by="test")
    assert caught.value.code == "RATE_LIMIT"
    await change_state(ours, AGREEMENT, "terminated", reason="测试", by="test")
    assert (await held(ours)).standing(cities.now).state == "terminated"


async def test_agreements_are_read_without_their_notices_texts(cities: Cities):
    """What is read with nearly every request selects neither body nor note of a notice, and of one agreement only its own."""
    await take_notice(cities.tonghua, await said(cities, 1, "suspended"), by="test")
    read: list[set[str]] = []

    class Seen:
        async def all(self, statement: Any, values: Any = None) -> Sequence[Any]:
            rows = await (cities.tonghua.store.reads.all(statement, values) if values else cities.tonghua.store.reads.all(statement))
            read.extend(set(row._fields) for row in rows if "by_party" in row._fields)
            return rows

    for asked in (None, AGREEMENT):
        read.clear()
        (version,) = (await held_agreements(Seen(), asked))[AGREEMENT]  # type: ignore[arg-type]  # all that is used of it
        assert version.standing(cities.now).state == "suspended"
        assert read == [{"agreement_id", "by_party", "serial", "state", "from_at", "first_seen"}]

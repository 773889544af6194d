"""What both cities keep of a mutual query, on either kind of database: once, sealed, counted, and gone when its time is over."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.adapter_contract import AdapterError
from gateway.adapter_loading import Adapters
from gateway.core.errors import NotFound
from gateway.core.exchange import notes, wire
from gateway.core.exchange.questions import Answer, Evidence, Question, SubjectAsked, Under, answer_of, question_body
from gateway.core.records.model import DatasetId
from gateway.operations.alarms import standing
from gateway.operations.answer_partner import answer_partner, asked_log, forget_questions, later_answer
from gateway.operations.ask_partner import ask_partners
from gateway.operations.kept_inquiries import end_case, inquiry_log, keep_questions, show_inquiry
from gateway.operations.manage_agreements import change_state
from gateway.operations.send_batch import send_batch
from gateway.services import Services
from gateway.store import questions as log
from gateway.store import records
from tests.asking import ASKER, CASE, asking, fined, take, with_terms
from tests.operations.publishing import PENALTIES, code, household_code, penalty
from tests.region import AGREEMENT, BAISHAN, TONGHUA, Cities, Direct, a_city, agree, two_cities


def with_a_short_way(cities: Cities, asks: Services, answers: Services) -> Services:
    """A city whose line gives its questions to the other city's story."""

    class Bound(Direct):
        capabilities = Direct.capabilities | {"ask"}

        def __init__(self, config: Any, tools: Any) -> None:
            super().__init__(cities.line, config.base_url)

        async def ask(self, question: bytes, deadline: object) -> bytes:
            del deadline
            return await answer_partner(answers, asks.signers.party, Evidence(body=question, url="", headers={}))

    return msgspec.structs.replace(asks, adapters=Adapters({"https_partner": lambda: Bound}))


@pytest.fixture
async def cities(tmp_path: Path, store_url: str) -> AsyncIterator[Cities]:
    """Both cities on one kind of database; at most three questions a day about one subject."""
    async with two_cities(tmp_path, (store_url, ""), change=lambda _: with_terms(subject=3)) as made:
        await take(made.tonghua, fined(1), fined(1, "通示罚〔2026〕2号"))
        yield made


async def test_asked_answered_counted_and_forgotten(cities: Cities) -> None:
    """A hit, its records, the day's number on either side, the end of the case, and the end of what is kept."""
    baishan = with_a_short_way(cities, cities.baishan, cities.tonghua)
    first = await ask_partners(baishan, ASKER, asking(1))
    second = await ask_partners(baishan, ASKER, asking(1, level=2, follows=first.id))
    assert (first.total, second.total, len(second.partners[0].records)) == ("hit", "hit", 2)
    assert not any(each.proved for each in second.partners[0].records), "nothing was sent yet: the answer's signature alone vouches"
    third = await ask_partners(baishan, ASKER, asking(1))
    fourth = await ask_partners(baishan, ASKER, asking(1))
    assert (third.total, fourth.total, fourth.partners[0].status, fourth.partners[0].code) == (
        "hit",
        "incomplete",
        "not_asked",
        "QUERY_RATE",
    )
    held = await log.about(cities.tonghua.store.reads, code(1))
    assert sorted((each.level, each.result) for each in held) == [(1, "hit"), (1, "hit"), (2, "hit")]
    kept = [each.level for each in held if await log.told_of(cities.tonghua.store.reads, each) is not None]
    assert kept == [1, 1], "records are told once, and kept nowhere"
    assert await end_case(baishan, ASKER.org, CASE, by="test") == 1
    assert (await show_inquiry(baishan, ASKER, second.id)).partners[0].records == ()
    later = cities.at(cities.now + timedelta(days=91))
    await later.tonghua.policies.refresh()
    await forget_questions(later.tonghua, later.tonghua.policies.current())
    held = await log.about(later.tonghua.store.reads, code(1))
    assert len(held) == 3, "ids are kept as long as the purpose says"
    assert [await log.told_of(later.tonghua.store.reads, each) for each in held] == [None, None, None]
    last = later.at(cities.now + timedelta(days=4 * 366))
    for services in (last.tonghua, last.baishan):
        await services.policies.refresh()
        await keep_questions(services)
    assert await log.about(last.tonghua.store.reads, code(1)) == []
    assert await inquiry_log(last.baishan, cities.now) == []


async def test_a_case_ends_however_it_was_written(cities: Cities) -> None:
    """A case, ground or officer with blanks around it is the one without: what partners told for it goes with the case."""
    baishan = with_a_short_way(cities, cities.baishan, cities.tonghua)
    first = await ask_partners(baishan, ASKER, asking(1, case=f" {CASE} ", officer="测试员乙 "))
    second = await ask_partners(baishan, ASKER, asking(1, level=2, follows=first.id))
    assert (second.total, len(second.partners[0].records)) == ("hit", 2)
    third = await ask_partners(baishan, ASKER, asking(1, level=2, follows=first.id, case=f"{CASE}  "))
    assert await end_case(baishan, ASKER.org, CASE, by="test") == 2
    assert [(await show_inquiry(baishan, ASKER, each.id)).partners[0].records for each in (second, third)] == [(), ()]
    told = await asked_log(cities.tonghua, cities.now)
    assert {(each.partner, each.case, each.purpose, each.level, each.result) for each in told} == {
        (BAISHAN, CASE, "mutual.query", 1, "hit"),
        (BAISHAN, CASE, "mutual.query", 2, "hit"),
    }
    assert len({each.officer for each in told}) == 1


async def test_a_guest_s_own_word_is_no_code(cities: Cities) -> None:
    """What a partner or its adapter calls a fault is cut and plain before it is kept: one row's word costs no other row."""

    class Wordy(Direct):
        capabilities = Direct.capabilities | {"ask"}

        def __init__(self, config: Any, tools: Any) -> None:
            super().__init__(cities.line, config.base_url)

        async def ask(self, question: bytes, deadline: object) -> bytes:
            del question, deadline
            raise raised.pop()

    raised = [SystemExit(0), *(AdapterError(code, "x", transient=True) for code in ("E" * 300, "\x1b[2J"))]
    baishan = msgspec.structs.replace(cities.baishan, adapters=Adapters({"https_partner": lambda: Wordy}))
    found = [await ask_partners(baishan, ASKER, asking(1)) for _ in range(3)]
    assert [each.partners[0].status for each in found] == ["unanswered"] * 3
    assert [each.partners[0].code for each in found] == ["ADAPTER_FAILED", "E" * 32, "ADAPTER_FAILED"]


async def test_nothing_of_a_question_stands_in_clear(cities: Cities) -> None:
    """Neither whom it is about, nor case, ground or officer, nor what was told: not in the database of either city."""
    baishan = with_a_short_way(cities, cities.baishan, cities.tonghua)
    first = await ask_partners(baishan, ASKER, asking(1))
    await ask_partners(baishan, ASKER, asking(1, level=2, follows=first.id))
    path = Path(baishan.settings.data_path)
    stored = b"".join(each.read_bytes() for each in path.glob("gateway.db*"))
    for text in (code(1), CASE, "测试员乙", "《示例条例》第一条", "通示罚〔2026〕2号"):
        assert text.encode() not in stored, text
    if cities.tonghua.store.dialect == "sqlite":
        stored = b"".join(each.read_bytes() for each in Path(cities.tonghua.settings.data_path).glob("gateway.db*"))
        assert CASE.encode() not in stored


async def test_another_city_s_record_is_not_passed_on(cities: Cities) -> None:
    """What a city holds from a partner it tells to nobody who asks: it is its issuer's to tell."""
    await send_batch(cities.tonghua, at_once=True)
    held = await records.load(cities.baishan.store.reads, dataset=DatasetId(PENALTIES))
    assert [each.issuer for each in held] == [TONGHUA, TONGHUA]
    tonghua = with_a_short_way(cities, cities.tonghua, cities.baishan)
    found = await ask_partners(tonghua, ASKER, asking(1))
    assert (found.total, found.partners[0].status) == ("no_hit", "no_hit")


async def test_eight_at_once(cities: Cities) -> None:
    """The same question eight times at once is answered once; of eight about one subject the day's three are answered."""
    questions = [a_question(cities, 1)] * 8
    said = await asyncio.gather(*(asked_by_hand(cities, each) for each in questions))
    assert sorted((each.result, each.code) for each in said) == [("hit", None), *[("refused", "TIME_REPLAY")] * 7]
    said = await asyncio.gather(*(asked_by_hand(cities, a_question(cities, 2)) for _ in range(8)))
    assert sorted((each.result, each.code) for each in said) == [*[("no_hit", None)] * 3, *[("refused", "QUERY_RATE")] * 5]


async def test_misses_one_after_the_other(cities: Cities) -> None:
    """Twenty misses within minutes are a search, told once; the alarm is over after a day."""
    for number in range(100, 290, 10):
        assert (await asked_by_hand(cities, a_question(cities, number))).result == "no_hit"
    assert await standing(cities.tonghua) == []
    await asked_by_hand(cities, a_question(cities, 300))
    (alarm,) = await standing(cities.tonghua)
    assert (alarm.kind, alarm.target) == ("query-scraping", f"{BAISHAN}/{AGREEMENT}")
    assert alarm.detail == {"asked": 20, "missed": 20, "neighbours": 1}
    later = cities.at(cities.now + timedelta(days=1))
    await keep_questions(later.tonghua)
    assert await standing(later.tonghua) == []


def a_question(cities: Cities, number: int) -> Question:
    """A question of Baishan, made by hand."""
    now = wire.instant(cities.now)
    return Question(
        id=wire.b64u(os.urandom(16)),
        agreement=Under(id=AGREEMENT, version=1),
        from_=BAISHAN,
        to=TONGHUA,
        level=1,
        purpose="mutual.query",
        case=CASE,
        basis="《示例条例》第一条",
        officer="o" * 32,
        subject=SubjectAsked(kind="legal", uscc=code(number)),
        datasets=(PENALTIES,),
        follows=None,
        asked_at=now,
        deadline=now,
    )


async def asked_by_hand(cities: Cities, question: Question) -> Answer:
    """What Tonghua answers."""
    evidence = Evidence(body=question_body(question), url="", headers={})
    return answer_of(notes.read_envelope(await answer_partner(cities.tonghua, BAISHAN, evidence)).body)


async def test_an_answer_is_told_again_while_it_would_be_given(cities: Cities) -> None:
    """A hit whose agreement is suspended meanwhile is told to nobody, though it was lost on its way; when that is over it is told again."""
    question = a_question(cities, 1)
    assert (await asked_by_hand(cities, question)).result == "hit"
    first = await later_answer(cities.tonghua, BAISHAN, question.id)
    await change_state(cities.tonghua, AGREEMENT, "suspended", reason="示例", by="test")
    with pytest.raises(NotFound):
        await later_answer(cities.tonghua, BAISHAN, question.id)
    await change_state(cities.tonghua, AGREEMENT, "active", reason="示例", by="test")
    assert await later_answer(cities.tonghua, BAISHAN, question.id) == first


async def test_every_partner_has_a_row_of_its_own(tmp_path: Path) -> None:
    """All partners are asked at once under one deadline: a silent one delays nobody, spoils no hit, and is never "no record"."""
    third = "credit.jian.example"
    async with two_cities(tmp_path, change=lambda _: with_terms()) as made, a_city(tmp_path / "ja", third, port=8002) as jian:
        await take(made.tonghua, fined(1))
        text = with_terms().replace(TONGHUA, third).replace(AGREEMENT, "jian-baishan-2026")
        await agree(msgspec.structs.replace(jian, adapters=made.baishan.adapters), made.baishan, text)

        class Bound(Direct):
            capabilities = Direct.capabilities | {"ask"}

            def __init__(self, config: Any, tools: Any) -> None:
                super().__init__(made.line, config.base_url)

            async def ask(self, question: bytes, deadline: object) -> bytes:
                del deadline
                if ":8002" in self.base_url:
                    await asyncio.sleep(60)
                return await answer_partner(made.tonghua, BAISHAN, Evidence(body=question, url="", headers={}))

        baishan = msgspec.structs.replace(made.baishan, adapters=Adapters({"https_partner": lambda: Bound}))
        for number, total, status in ((1, "hit", "hit"), (2, "incomplete", "no_hit")):
            started = time.monotonic()
            found = await ask_partners(baishan, ASKER, asking(number, deadline_s=1.0))
            assert time.monotonic() - started < 3
            assert found.total == total
            assert [(each.partner, each.status) for each in found.partners] == [(third, "unanswered"), (TONGHUA, status)]
        found = await ask_partners(baishan, ASKER, asking(2, partners=(TONGHUA,)))
        assert found.total == "no_hit"


PERSONS = (
    f'natural_persons = {{ allowed = true, datasets = ["{PENALTIES}"], fields = ["CF_XDR_MC"], '
    'basis = [{ text = "《示例条例》第一条" }], '
    'assessment = "评估〔2026〕1号", route = "direct" }'
)


async def test_persons_where_the_agreement_has_a_ground(tmp_path: Path) -> None:
    """With a ground in the agreement a household may be asked about, by its whole name; and what our policy shows to nobody is no hit."""
    text = with_terms().replace("natural_persons = { allowed = false }", PERSONS)
    async with two_cities(tmp_path, change=lambda _: text) as made:
        shop = {"subject": SubjectAsked(kind="individual_business", uscc=household_code(7))}
        row = penalty(household_code(7), "通化市东昌区示例小吃店", "通示罚〔2026〕7号", kind="个体工商户")
        await take(made.tonghua, row)
        baishan = with_a_short_way(made, made.baishan, made.tonghua)
        with_name = SubjectAsked(kind="individual_business", uscc=household_code(7), name="通化市东昌区示例小吃店")
        nameless = await ask_partners(baishan, ASKER, asking(7, **shop))
        assert (nameless.partners[0].status, nameless.partners[0].need, nameless.total) == ("need_more", ("name",), "incomplete")
        named = await ask_partners(baishan, ASKER, asking(7, subject=with_name))
        assert (named.partners[0].status, named.total) == ("no_hit", "no_hit")

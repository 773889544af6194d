"""Mutual query through the real door: what a partner is told of one subject, and what it is not (exchange.md §12, §20 A21)."""

from collections.abc import Iterator

import pytest

from gateway.core.exchange import questions, wire
from gateway.operations.ask_partner import ask_partners
from gateway.operations.kept_inquiries import end_case, inquiry_log, show_inquiry
from gateway.services import Services
from tests.asking import ASKER, CASE, Door, Towns, asking, fined, replaced, served, take, with_terms


async def stock(services: Services) -> None:
    """Firms 1 and 2 were fined; what is said of 3 nobody has signed for."""
    await take(services, fined(1), fined(1, "通示罚〔2026〕2号", day="2026-04-02"), fined(2, "通示罚〔2026〕3号"))
    await take(services, fined(3, "通示罚〔2026〕4号"), signed=False)


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """Tonghua, served; both cities have agreed that they may ask one another."""
    towns = Towns(tmp_path_factory.mktemp("asking"), with_terms())
    towns.make(stock)
    with served(towns) as door:
        yield door


async def test_a_hit_and_its_records(door: Door) -> None:
    """Level 1 says that there is something; level 2 tells it, each record with its proof in the stream, for the case alone."""
    async with door.towns.theirs() as baishan:
        first = await ask_partners(baishan, ASKER, asking(1))
        assert (first.total, [each.status for each in first.partners]) == ("hit", ["hit"])
        assert first.partners[0].details
        assert first.partners[0].records == ()
        second = await ask_partners(baishan, ASKER, asking(1, level=2, follows=first.id))
        (said,) = second.partners
        assert (second.total, said.status, said.code, said.details) == ("hit", "hit", None, True)
        assert [each.fields["CF_WSH"] for each in said.records] == ["通示罚〔2026〕2号", "通示罚〔2026〕1号"]
        assert all(each.proved for each in said.records)
        again = await show_inquiry(baishan, ASKER, second.id, case=CASE)
        assert [each.rid for each in again.partners[0].records] == [each.rid for each in said.records]
        assert await end_case(baishan, ASKER.org, CASE, by="test") == 1
        again = await show_inquiry(baishan, ASKER, second.id, case=CASE)
        assert again.partners[0].records == ()
        log = [each for each in await inquiry_log(baishan, baishan.clock()) if each.inquiry in (first.id, second.id)]
        assert {(each.level, each.status, each.case) for each in log} == {(1, "hit", CASE), (2, "hit", CASE)}
        assert not any(each.records_kept for each in log)


async def test_no_record_is_what_the_partner_said(door: Door) -> None:
    """A firm that is not there, and one of whom only unsigned words are, read alike: no hit."""
    async with door.towns.theirs() as baishan:
        for number in (3, 99):
            found = await ask_partners(baishan, ASKER, asking(number))
            assert (found.total, found.partners[0].status) == ("no_hit", "no_hit")


def test_refused(door: Door) -> None:
    """What may not be asked is refused with its code, signed, whoever it is about."""
    make = door.towns.question
    cases = [
        (make(1, level=2, follows="sha-256:" + "A" * 43 + "="), "QUERY_FOLLOWS"),
        (make(1, level=2), "QUERY_FOLLOWS"),
        (make(1, datasets=("honours",)), "QUERY_SCOPE"),
        (make(1, purpose="exchange.batch"), "QUERY_SCOPE"),
        (make(1, basis=" "), "QUERY_BASIS"),
        (make(1, subject=questions.SubjectAsked(kind="legal", uscc="91220502XXT00002X3")), "QUERY_SUBJECT"),
        (make(1, subject=questions.SubjectAsked(kind="legal", name="通化市测试1商贸有限公司")), "QUERY_SUBJECT"),
        (make(1, agreement=questions.Under(id="nobody-2026", version=1)), "SCOPE_AGREEMENT"),
        (make(1, asked_at="2026-06-02T02:20:00Z"), "TIME_EXPIRED"),
        (make(1, asked_at="2026-06-02T02:40:00Z"), "TIME_FUTURE"),
    ]
    for asked, code in cases:
        answer = door.ask(asked)
        assert (answer.result, answer.code, answer.details, answer.records) == ("refused", code, False, ()), asked


def test_asked_twice(door: Door) -> None:
    """A question counts once: the same again, signed anew, is refused; the same request again is not even read."""
    asked = door.towns.question(2, case="重放一号案")
    assert door.ask(asked).result == "hit"
    again = door.ask(asked)
    assert (again.result, again.code) == ("refused", "TIME_REPLAY")
    first = replaced(asked, id=wire.b64u(b"n" * 16))
    nonce = wire.b64u(b"x" * 16)
    assert door.post(first, nonce=nonce).status_code == 200
    repeated = door.post(replaced(asked, id=wire.b64u(b"m" * 16)), nonce=nonce)
    assert (repeated.status_code, repeated.json()["code"]) == (401, "time-replay")

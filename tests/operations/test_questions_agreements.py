"""A mutual query of a partner with which two agreements are in force: under each, for itself (exchange.md §12, decision 0063)."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.adapter_loading import Adapters
from gateway.core.exchange.questions import Evidence, SubjectAsked, Under, read_question
from gateway.operations.answer_partner import answer_partner, asked_log
from gateway.operations.ask_partner import Asker, Inquiry, ask_partners
from gateway.operations.kept_inquiries import inquiry_log, show_inquiry
from gateway.operations.manage_agreements import change_state
from gateway.services import Services
from tests.asking import ASKER, Door, Towns, asking, fined, served, take, with_terms
from tests.operations.publishing import HONOURS, PENALTIES, household_code
from tests.operations.test_questions_stored import PERSONS
from tests.region import AGREEMENT, BAISHAN, Direct, agree, two_cities

OTHER = "tonghua-baishan-honours-2026"


def rows(found: Inquiry) -> list[tuple[str, tuple[str, ...], str, str | None]]:
    """Agreement, what it was asked about, status and code, row by row."""
    return [(each.agreement, each.datasets, each.status, each.code) for each in found.partners]


def other(**more: Any) -> str:
    """A second agreement of the same two cities, of honours unless said otherwise."""
    return with_terms(**{"datasets": f'["{HONOURS}"]'} | more).replace(AGREEMENT, OTHER)


async def stock(services: Services) -> None:
    """Firm 1 was fined."""
    await take(services, fined(1))


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """Tonghua, served: of penalties Baishan may ask under one agreement, of honours, twice a day about one firm, under another."""
    towns = Towns(tmp_path_factory.mktemp("two"), with_terms(), other(levels="[1]", subject=2))
    towns.make(stock)
    with served(towns) as door:
        yield door


async def test_each_agreement_is_asked_for_itself(door: Door) -> None:
    """A row each here and there, under a pseudonym each; a hit is followed where it was told, and the other row says that there is none."""
    async with door.towns.theirs() as baishan:
        first = await ask_partners(baishan, ASKER, asking(1))
        assert first.total == "hit"
        assert rows(first) == [(AGREEMENT, (PENALTIES,), "hit", None), (OTHER, (HONOURS,), "no_hit", None)]
        second = await ask_partners(baishan, ASKER, asking(1, level=2, follows=first.id))
        assert rows(second) == [(AGREEMENT, (PENALTIES,), "hit", None), (OTHER, (HONOURS,), "not_asked", "QUERY_LEVEL")]
        assert [len(each.records) for each in second.partners] == [1, 0]
        assert await show_inquiry(baishan, ASKER, first.id) == first
        assert await show_inquiry(baishan, ASKER, second.id) == msgspec.structs.replace(second, partners=tuple(kept(second)))
        log = await inquiry_log(baishan, baishan.clock())
        assert [(each.agreement, each.status) for each in log if each.inquiry == first.id] == [(AGREEMENT, "hit"), (OTHER, "no_hit")]
    async with door.towns.ours() as tonghua:
        told = await asked_log(tonghua, tonghua.clock() - timedelta(days=1))
        assert sorted((each.agreement, each.level, each.result) for each in told) == [
            (AGREEMENT, 1, "hit"),
            (AGREEMENT, 2, "hit"),
            (OTHER, 1, "no_hit"),
        ]
        assert len({each.officer for each in told}) == 2


def kept(found: Inquiry) -> Iterator[Any]:
    """The rows of level 2 as they are kept: of a signed answer its records alone."""
    for each in found.partners:
        yield msgspec.structs.replace(each, details=False, as_of=None, expires_at=None)


async def test_what_is_named_is_shared_among_the_agreements(door: Door) -> None:
    """One dataset goes to the agreement that names it, two to both; what none names leaves the partner unasked, as with one agreement."""
    async with door.towns.theirs() as baishan:
        found = await ask_partners(baishan, ASKER, asking(2, datasets=(PENALTIES,)))
        assert (found.total, rows(found)) == ("no_hit", [(AGREEMENT, (PENALTIES,), "no_hit", None)])
        found = await ask_partners(baishan, ASKER, asking(2, datasets=(PENALTIES, HONOURS)))
        assert (found.total, rows(found)) == ("no_hit", [(AGREEMENT, (PENALTIES,), "no_hit", None), (OTHER, (HONOURS,), "no_hit", None)])
        named = (PENALTIES, "registrations")
        found = await ask_partners(baishan, ASKER, asking(2, datasets=named))
        assert (found.total, rows(found)) == ("incomplete", [(AGREEMENT, named, "not_asked", "QUERY_SCOPE")])
        found = await ask_partners(baishan, ASKER, asking(2, datasets=("registrations",)))
        assert [(each.status, each.code) for each in found.partners] == [("not_asked", "QUERY_SCOPE")]
        granted = Asker(actor="app/1", org=ASKER.org, datasets=frozenset({PENALTIES}))
        found = await ask_partners(baishan, granted, asking(2))
        assert rows(found) == [(AGREEMENT, (PENALTIES,), "no_hit", None)]
        found = await ask_partners(baishan, granted, asking(2, datasets=(PENALTIES, HONOURS)))
        assert {(each.status, each.code) for each in found.partners} == {("not_asked", "QUERY_SCOPE")}


async def test_a_day_s_number_is_of_one_agreement(door: Door) -> None:
    """Asked as often as one lets, a firm is asked about under the other alone, here and there; that is no "no record"."""
    async with door.towns.theirs() as baishan:
        for _ in range(2):
            assert (await ask_partners(baishan, ASKER, asking(3))).total == "no_hit"
        found = await ask_partners(baishan, ASKER, asking(3))
        assert found.total == "incomplete"
        assert rows(found) == [(AGREEMENT, (PENALTIES,), "no_hit", None), (OTHER, (HONOURS,), "not_asked", "QUERY_RATE")]
    make = door.towns.question
    under = [{"agreement": Under(id=OTHER, version=1), "datasets": (HONOURS,)}, {}]
    assert [(said.result, said.code) for said in (door.ask(make(3, **each)) for each in under)] == [
        ("refused", "QUERY_RATE"),
        ("no_hit", None),
    ]


async def test_one_that_is_suspended(door: Door) -> None:
    """Where one agreement stands still the partner is asked under the other, and nobody says that there is nothing."""
    async with door.towns.theirs() as baishan:
        await change_state(baishan, OTHER, "suspended", reason="示例", by="test")
        found = await ask_partners(baishan, ASKER, asking(4))
        assert found.total == "incomplete"
        assert rows(found) == [(AGREEMENT, (PENALTIES,), "no_hit", None), (OTHER, (HONOURS,), "not_asked", "SCOPE_AGREEMENT")]


async def test_the_same_under_both(tmp_path: Path) -> None:
    """Where both name a dataset it is asked under each: what one lets be told is not what the other does, and whoever asks cannot know.

    Of a household it is asked under the one that has a ground; the other, under which nothing more could be asked, leaves no row. What is
    not answered in time under one delays and spoils nothing under the other.
    """
    late: set[str] = set()
    text = with_terms().replace("natural_persons = { allowed = false }", PERSONS)
    async with two_cities(tmp_path, change=lambda _: text) as cities:
        await agree(cities.tonghua, cities.baishan, other(datasets=f'["{PENALTIES}"]'))
        await stock(cities.tonghua)

        class Bound(Direct):
            capabilities = Direct.capabilities | {"ask"}

            def __init__(self, config: Any, tools: Any) -> None:
                super().__init__(cities.line, config.base_url)

            async def ask(self, question: bytes, deadline: object) -> bytes:
                del deadline
                if read_question(question).agreement.id in late:
                    await asyncio.sleep(60)
                return await answer_partner(cities.tonghua, BAISHAN, Evidence(body=question, url="", headers={}))

        baishan = msgspec.structs.replace(cities.baishan, adapters=Adapters({"https_partner": lambda: Bound}))
        found = await ask_partners(baishan, ASKER, asking(1))
        assert rows(found) == [(AGREEMENT, (PENALTIES,), "hit", None), (OTHER, (PENALTIES,), "hit", None)]
        second = await ask_partners(baishan, ASKER, asking(1, level=2, follows=found.id))
        assert [(each.agreement, len(each.records)) for each in second.partners] == [(AGREEMENT, 1), (OTHER, 1)]
        shop = SubjectAsked(kind="individual_business", uscc=household_code(7), name="通化市东昌区示例小吃店")
        found = await ask_partners(baishan, ASKER, asking(7, subject=shop))
        assert (found.total, rows(found)) == ("no_hit", [(AGREEMENT, (PENALTIES,), "no_hit", None)])
        late.add(OTHER)
        found = await ask_partners(baishan, ASKER, asking(2, deadline_s=0.5))
        assert found.total == "incomplete"
        assert rows(found) == [(AGREEMENT, (PENALTIES,), "no_hit", None), (OTHER, (PENALTIES,), "unanswered", "SIZE_TIME")]
        assert rows(await show_inquiry(baishan, ASKER, found.id)) == rows(found)

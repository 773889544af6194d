"""Lists, commitments and ratings, out of the rows of the sample: what the public gets of them, what a department, and who is told."""

import random
from collections.abc import AsyncIterator
from datetime import date, timedelta
from pathlib import Path

import pytest

from gateway.core.callers.caller import PUBLIC
from gateway.operations import answer_query, read_feed
from gateway.operations.answer_query import listings, lists, records_page
from gateway.operations.render_public import settle
from gateway.sample.people import Authority, Firm, Town
from gateway.sample.rows import Row, spelled
from gateway.sample.statements import AUTHORISED, SHARED, StatementWriter
from gateway.sample.statements import PUBLIC as OPEN
from gateway.services import Services
from tests.operations.publishing import MARKET, a_house, ask, put, read, walked

BY = Authority(uscc=MARKET, name="通化市市场监督管理局（示例）", region="220500")
TODAY = date(2026, 6, 2)
BLACK = ("abnormal-operations", "serious-market-violations", "wage-arrears")


class Sent:
    """What was sent in, and about whom."""

    def __init__(self) -> None:
        rng = random.Random(5)
        self.town = Town("220500", rng, TODAY)
        self.write = StatementWriter("220500", rng, TODAY)
        self.firms: list[Firm] = [self.town.firm() for _ in range(4)]
        self.household = self.town.household()
        self.person = self.town.person()

    def rows(self) -> dict[str, list[Row]]:
        """The rows by dataset: of each kind of subject, of each reach, and one that was removed."""
        write, (one, two, three, four), house = self.write, self.firms, self.household
        return {
            "wage-arrears": [write.wage_arrears(party, BY) for party in (one, house)],
            "serious-market-violations": [write.market_violation(two, BY)],
            "abnormal-operations": [write.abnormal(one, BY), write.abnormal(house, BY), write.abnormal(three, BY, removed=True)],
            "commitments": [
                *(write.commitment(firm, BY, reach=reach) for firm, reach in ((one, OPEN), (two, SHARED), (three, AUTHORISED))),
                write.commitment(house, BY, reach=OPEN),
                write.commitment(self.person, BY, reach=OPEN),
            ],
            "assessments": [write.tax_rating(firm, BY, rating=rating) for firm, rating in ((four, "A"), (two, "D"), (house, "A"))],
        }


@pytest.fixture
async def house(tmp_path: Path, store_url: str) -> AsyncIterator[tuple[Services, Sent]]:
    """A gateway into which all of it was taken, rendered to the end."""
    sent = Sent()
    async with a_house(tmp_path, store_url) as services:
        for dataset, rows in sent.rows().items():
            taken = await put(services, dataset, *(spelled(row, "%Y-%m-%d") for row in rows))
            assert [each.result for each in taken] == ["accepted"] * len(rows)
        await settle(services)
        yield services, sent


async def test_the_public_gets_organisations_and_what_is_meant_for_it(house: tuple[Services, Sent]) -> None:
    """No household, no person, nothing that was removed, nothing said to be for few; and the lists say the same as the records."""
    services, sent = house
    one, two, _, four = (firm.name for firm in sent.firms)
    expected = {
        "wage-arrears": {one},
        "serious-market-violations": {two},
        "abnormal-operations": {one},
        "commitments": {one},
        "assessments": {four},
    }
    seen = set()
    for dataset, names in expected.items():
        items = await walked(records_page, services, dataset=dataset)
        assert {item["subject"]["name"] for item in items} == names, dataset
        assert all("legal_representative" not in item["fields"] and "remark" not in item["fields"] for item in items)
        seen |= {item["id"] for item in items}
    told = read(await read_feed.changes(services, PUBLIC, ask(since="0")))["items"]
    assert {item["record"] for item in told if "record" in item} == seen, "the feed tells of what may be read, and of nothing else"
    described = read(await lists(services, PUBLIC, "zh-CN"))["items"]
    assert {each["id"]: each["rows"] for each in described if each["id"] in BLACK} == dict.fromkeys(BLACK, 1)
    for name in BLACK:
        (listing,) = read(await listings(services, name, PUBLIC, ask()))["items"]
        assert listing["subject"]["name"] in expected[name]
        assert (listing["list"], listing["dataset"], listing["measures"]) == (name, name, [])
        assert listing["listing_basis"]
        assert listing["remedy"]
        entries = read(await read_feed.changes(services, PUBLIC, ask(since="0", list=name)))["items"]
        assert [entry["op"] for entry in entries if entry["op"] != "policy"] == ["add"]


async def test_what_is_rated_is_what_an_authority_said(house: tuple[Services, Sent]) -> None:
    """A rating stands as it was given, with who gave it and until when; there is no score anywhere."""
    services, _ = house
    (item,) = await walked(records_page, services, dataset="assessments")
    assert item["fields"]["rating"] == "A"
    assert item["fields"]["authority_code"] == MARKET
    assert "valid_until" in item["fields"]
    described = read(await answer_query.dictionary(services, "assessments", PUBLIC, "zh-CN"))
    assert not [field["name"] for field in described["fields"] if "score" in field["name"] or "评分" in str(field)]


async def test_an_entry_leaves_when_the_authority_removes_it(house: tuple[Services, Sent]) -> None:
    """A later file with the day of removal takes the subject off the list and out of every answer, and the feed says so."""
    services, sent = house
    row = sent.write.abnormal(sent.firms[3], BY)
    await put(services, "abnormal-operations", spelled(row, "%Y-%m-%d"))
    await settle(services)
    assert len(await walked(records_page, services, dataset="abnormal-operations")) == 2
    removed: Row = row | {"移出日期": TODAY - timedelta(days=1), "移出原因": "已通过登记的住所取得联系"}
    await put(services, "abnormal-operations", spelled(removed, "%Y-%m-%d"))
    await settle(services)
    assert len(await walked(records_page, services, dataset="abnormal-operations")) == 1
    assert len(read(await listings(services, "abnormal-operations", PUBLIC, ask()))["items"]) == 1

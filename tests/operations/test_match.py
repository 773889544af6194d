"""Matching over a real store on both databases: organisations by the index, households whole, persons never, hidden codes unasked."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.core.callers.caller import PUBLIC, Caller
from gateway.core.errors import BodyInvalid
from gateway.operations.answering import begin
from gateway.operations.match_names import MatchAsked, Question, match_names, outcomes
from gateway.operations.render_public import settle
from gateway.services import Services
from tests.operations.publishing import (
    DEPARTMENT,
    PENALTIES,
    REGISTRATIONS,
    a_town,
    code,
    department,
    firm,
    granted,
    household_code,
    person_number,
    put,
    read,
)

FIRM = "通化市示例药业有限公司"


@pytest.fixture
async def town(tmp_path: Path, store_url: str) -> AsyncIterator[Services]:
    """A small rendered town, on SQLite and on PostgreSQL."""
    async with a_town(tmp_path, store_url) as (services, _):
        yield services


async def asked(services: Services, *queries: dict[str, Any], caller: Caller = PUBLIC, **options: Any) -> list[dict[str, Any]]:
    """The results of a batch."""
    body = {"queries": [{"id": f"q{number}", **query} for number, query in enumerate(queries)], **options}
    answer = read(await match_names(services, caller, msgspec.convert(body, MatchAsked), "zh-CN"))
    assert answer["algorithm"] == "cx-match/1"
    results: list[dict[str, Any]] = answer["results"]
    assert [each["id"] for each in results] == [f"q{number}" for number in range(len(queries))]
    return results


async def statuses(services: Services, *queries: dict[str, Any], caller: Caller = PUBLIC) -> list[str]:
    """What each query comes to."""
    return [each["status"] for each in await asked(services, *queries, caller=caller)]


async def test_names_and_codes_of_organisations(town: Services) -> None:
    """By name in part or whole, former name, code; in one batch as alone."""
    queries = [
        {"name": "示例药业公司", "region": "220502"},
        {"name": FIRM},
        {"name": "通化县示例制药厂"},
        {"uscc": code(1).lower()},
        {"uscc": code(1), "name": "通化市澄泉商贸有限公司"},
        {"name": FIRM, "region": "220600"},
        {"name": FIRM, "address": "吉林省白山市浑江区示例街1号"},
        {"name": "无此企业"},
        {"uscc": code(999)},
        {"name": "通化市视力药业有限公司"},
    ]
    expected = ["match", "exact", "match", "exact", "possible", "possible", "possible", "not_found", "not_found", "possible"]
    assert await statuses(town, *queries) == expected
    alone = [(await asked(town, query, explain=True))[0] for query in queries]
    together = await asked(town, *queries, explain=True)
    backwards = (await asked(town, *queries[::-1], explain=True))[::-1]
    for one, other, last in zip(alone, together, backwards, strict=True):
        assert {**one, "id": ""} == {**other, "id": ""} == {**last, "id": ""}
    conflict = together[4]["candidates"][0]["features"]
    assert (conflict["uscc_equal"], conflict["name_equal"]) == (True, False)
    assert set(together[0]["candidates"][0]["subject"]) == {"id", "uscc", "name"}
    assert "features" not in (await asked(town, queries[0]))[0]["candidates"][0]


async def test_what_is_wrong_is_told_beside_the_rest(town: Services) -> None:
    """A code that is none with what may be meant, a query without input, a name without a letter."""
    wrong = code(1)[:17] + ("2" if code(1)[17] != "2" else "3")
    results = await asked(town, {"uscc": wrong}, {}, {"region": "220502"}, {"name": "（）"}, {"registration_number": "12"}, {"name": FIRM})
    assert [each["status"] for each in results] == ["invalid"] * 5 + ["exact"]
    assert results[0]["errors"] == [{"code": "check_digit"}]
    assert code(1) in results[0]["suggestions"]
    assert results[0]["status_label"] == "无法核对"
    assert [each["errors"][0]["code"] for each in results[1:5]] == ["empty", "empty", "name", "registration_number"]


async def test_households_whole_and_persons_never(town: Services) -> None:
    """A household by its whole name or code, masked; a person by nothing; a citizen number is looked up nowhere and offered nothing."""
    (home,) = await asked(town, {"name": "东昌区甲某某小吃店"})
    assert (home["status"], home["candidates"][0]["subject"]["name"]) == ("exact", "东昌区****个体工商户")
    assert await statuses(
        town,
        {"uscc": household_code(7)},
        {"name": "甲某某小吃店"},
        {"name": "东昌区甲某某小吃"},
        {"name": "测试甲"},
        {"name": person_number(1)},
        {"registration_number": person_number(1)},
    ) == ["exact", "not_found", "not_found", "not_found", "not_found", "not_found"]
    (person,) = await asked(town, {"uscc": person_number(1)})
    assert (person["status"], person["suggestions"]) == ("invalid", [])


async def test_who_is_shown_less_is_told_no_more(town: Services) -> None:
    """A department without a grant that shows the subject finds nobody; one with grants finds it as the public does."""
    queries = ({"name": FIRM}, {"uscc": code(1)}, {"name": "示例药业"})
    assert await statuses(town, *queries, caller=DEPARTMENT) == ["exact", "exact", "match"]
    elsewhere = department(granted(PENALTIES, regions=("220600",)))
    assert await statuses(town, *queries, caller=elsewhere) == ["not_found"] * 3


async def test_two_of_one_name_are_ambiguous_and_a_withdrawn_one_is_gone(town: Services) -> None:
    """Everything above the threshold is counted, whatever `limit` shows."""
    await put(town, REGISTRATIONS, firm(40, "通化市双生商贸有限公司"), firm(41, "通化市双生商贸有限公司", 行政区划代码="220503"))
    await settle(town)
    (found,) = await asked(town, {"name": "通化市双生商贸有限公司"}, limit=1)
    assert (found["status"], len(found["candidates"])) == ("ambiguous", 1)
    assert await statuses(town, {"name": "通化市双生商贸有限公司", "region": "220503"}) == ["exact"]


async def test_bounds_of_a_batch(town: Services) -> None:
    """Equal ids, an id like a person's number, more queries than the caller may send: refused whole, with the place."""
    for queries, pointer in (
        ([{"id": "a"}, {"id": "a"}], "/queries/1/id"),
        ([{"id": person_number(1), "name": FIRM}], "/queries/0/id"),
        ([{"id": str(number), "name": FIRM} for number in range(21)], "/queries"),
    ):
        with pytest.raises(BodyInvalid) as refused:
            await match_names(town, PUBLIC, msgspec.convert({"queries": queries}, MatchAsked), "zh-CN")
        assert refused.value.errors[0].pointer == pointer


async def test_a_job_asks_in_pieces(town: Services) -> None:
    """The same story under a scene of one's own, a hundred queries at a time."""
    scene = await begin(town, PUBLIC, "zh-CN")
    found = await outcomes(scene, [Question(name=FIRM if number % 2 else "无此企业") for number in range(100)], limit=1)
    assert [each.status for each in found] == ["not_found", "exact"] * 50
    assert found[1].candidates[0].document["uscc"] == code(1)

"""A firm that was merged or renumbered: its old code leads to the new one (api.md §7.2), and its own document stays under its id."""

import csv
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from gateway.operations.ingest import ingest
from gateway.operations.render_public import settle
from gateway.operations.withdraw import withdraw
from gateway.sample.people import code
from gateway.services import Services
from tests.house import CENTRE
from tests.operations.test_render_again import change_policy
from tests.web.city import City, Server, copied, served

MERGED, TAKEN_ON, RENUMBERED, LAST, ROUND, ABOUT, NOWHERE, ASIDE = (code("91", "220502", 9100 + number) for number in range(8))
"""Codes of invented firms that the sample does not have."""
TRADER = code("92", "220502", 9109)
UNKNOWN = code("91", "220502", 9110)
SUCCESSORS = {
    MERGED: TAKEN_ON,
    TAKEN_ON: "",
    RENUMBERED: MERGED,
    LAST: "",
    ROUND: ABOUT,
    ABOUT: ROUND,
    NOWHERE: UNKNOWN,
    ASIDE: TRADER,
    TRADER: LAST,
}


async def _register(services: Any, city: City, successors: dict[str, str]) -> None:
    file = city.folder / "registered.csv"
    with file.open("w", encoding="utf-8", newline="") as out:
        rows = csv.writer(out)
        rows.writerow(["企业名称", "统一社会信用代码", "主体类别", "登记状态", "承继主体统一社会信用代码"])
        for number, (uscc, successor) in enumerate(successors.items()):
            kind, form = ("个体工商户", "商店") if uscc.startswith("92") else ("法人及非法人组织", "有限公司")
            rows.writerow([f"通化市示例承继{'甲乙丙丁戊己庚辛壬'[number]}{form}", uscc, kind, "注销" if successor else "存续", successor])
    receipt = await ingest(services, dataset="registrations", path=file, authority=CENTRE, officer="测试员甲", progress=None)
    assert receipt.accepted == len(successors), receipt
    await settle(services)


@pytest.fixture(scope="module")
def city(sqlite_city: City, tmp_path_factory: pytest.TempPathFactory) -> City:
    """The sample, and firms of which some go on as others."""
    made = copied(sqlite_city, tmp_path_factory.mktemp("succession") / "gateway")
    made.run(lambda services: _register(services, made, SUCCESSORS))
    return made


@pytest.fixture(scope="module")
def server(city: City) -> Iterator[Server]:
    """Its server."""
    with served(city) as running:
        yield running


def leads_to(answer: httpx.Response, uscc: str) -> bool:
    """Whether the answer is a move for good to the subject of this code, without a word of what was left."""
    return answer.status_code == 308 and answer.headers["location"].endswith(f"/v1/subjects/{uscc}") and not answer.content


def test_the_old_code_leads_to_the_last_successor(server: Server) -> None:
    """Over several steps, whatever the code's spelling, language and method; kept as its own document would be, by credential."""
    for asked in (MERGED, RENUMBERED, MERGED.lower(), f"{MERGED}.json"):
        assert leads_to(server.get(f"/v1/subjects/{asked}"), TAKEN_ON), asked
    assert leads_to(server.get(f"/v1/subjects/{MERGED}", accept_language="en"), TAKEN_ON)
    answer = server.client.head(f"/v1/subjects/{MERGED}")
    assert leads_to(answer, TAKEN_ON)
    assert "max-age=60" in answer.headers["cache-control"]
    assert "Authorization" in answer.headers["vary"]
    assert server.get(answer.headers["location"]).json()["uscc"] == TAKEN_ON


def test_its_own_document_and_records_stay(server: Server) -> None:
    """By its id it is shown, naming its successor; its records are under either name; nobody else's document names one."""
    records = server.get(f"/v1/subjects/{MERGED}/records").json()["items"]
    assert [record["fields"]["successor_code"] for record in records] == [TAKEN_ON]
    by_id = server.get(f"/v1/subjects/{records[0]['subject']['id']}")
    assert by_id.status_code == 200
    assert (by_id.json()["uscc"], by_id.json()["successor_code"]) == (MERGED, TAKEN_ON)
    assert "successor_code" not in server.get(f"/v1/subjects/{TAKEN_ON}").json()
    rows = csv.DictReader(server.get("/v1/subjects.csv?limit=all&fields=uscc,successor_code").text.splitlines())
    named = {row["uscc"]: row["successor_code"] for row in rows}
    assert (named[MERGED], named[TAKEN_ON]) == (TAKEN_ON, "")


@pytest.mark.parametrize("asked", [ROUND, ABOUT, NOWHERE, ASIDE])
def test_what_leads_nowhere_is_answered_itself(server: Server, asked: str) -> None:
    """Successors in a circle, unknown ones, and individual businesses, whose codes nobody is led to."""
    answer = server.get(f"/v1/subjects/{asked}")
    assert answer.status_code == 200
    assert answer.json()["uscc"] == asked


def test_an_individual_business_leads_nobody_to_what_is_hidden_of_it(server: Server, city: City) -> None:
    """Of its registration the public sees no code; the department, which sees it, is led on and nothing keeps the answer."""
    assert server.get(f"/v1/subjects/{TRADER}").status_code == 200
    answer = server.get(f"/v1/subjects/{TRADER}", authorization=f"Bearer {city.token()}")
    assert leads_to(answer, LAST), answer.text
    assert answer.headers["cache-control"] == "no-store"


def test_what_is_taken_back_leads_nowhere_at_once(city: City, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The registration that names a successor is withdrawn: with the commit nobody is led on, by either lane."""
    mine = copied(City(folder=city.folder, settings_file=city.settings_file, database=""), tmp_path_factory.mktemp("taken") / "gateway")
    with served(mine) as server:
        assert leads_to(server.get(f"/v1/subjects/{MERGED}"), TAKEN_ON)
        record = server.get(f"/v1/subjects/{MERGED}/records").json()["items"][0]["id"]
        mine.run(lambda services: withdraw(services, record, reason="corrected", actor="test"))
        assert server.get(f"/v1/subjects/{MERGED}").status_code == 404
        assert server.get(f"/v1/subjects/{RENUMBERED}").status_code == 200


@pytest.mark.parametrize("cache", ["private", "no-store"])
def test_who_may_keep_the_document_may_keep_that_it_moved(city: City, tmp_path_factory: pytest.TempPathFactory, cache: str) -> None:
    """An obligation of the plan about caches holds for the move too, and what it leads to is shown under it."""
    mine = copied(City(folder=city.folder, settings_file=city.settings_file, database=""), tmp_path_factory.mktemp("kept") / "gateway")

    async def narrow(services: Services) -> None:
        await change_policy(services, "datasets/registrations.toml", 'cache = "public"', f'cache = "{cache}"')
        await settle(services)

    mine.run(narrow)
    with served(mine) as server:
        moved = server.get(f"/v1/subjects/{MERGED}")
        assert leads_to(moved, TAKEN_ON)
        assert cache in moved.headers["cache-control"]
        assert "public" not in moved.headers["cache-control"]

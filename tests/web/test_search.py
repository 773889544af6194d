"""Searching over a real socket: whatever is typed, the answer is a page or a plain refusal (api.md §8)."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.bench.searching import HOSTILE
from tests.web.city import City, Server, served


@pytest.fixture(scope="module")
def one_server(sqlite_city: City) -> Iterator[Server]:
    """A server of the sample city on SQLite."""
    with served(sqlite_city) as running:
        yield running


def answered(server: Server, text: str) -> None:
    """A search, an offer and a match for a text are answered, or refused for what it is."""
    for path in ("/v1/subjects", "/v1/suggest"):
        answer = server.client.get(path, params={"q": text})
        assert answer.status_code in (200, 400), (path, text, answer.text)
    answer = server.client.post("/v1/match", json={"queries": [{"id": "a", "name": text[:200]}]})
    if "\0" in text[:200]:  # no database could be asked for it
        assert (answer.json()["code"], answer.json()["errors"][0]["pointer"]) == ("body-invalid", "/queries/0/name")
        return
    assert answer.status_code == 200, (text, answer.text)


def test_every_nasty_class_is_answered(server: Server) -> None:
    """Operators of both engines, controls, joiners, marks, characters beyond the plane, bounds: on both databases."""
    for text in HOSTILE:
        answered(server, text)


@given(st.text(max_size=40))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_text_breaks_a_search(one_server: Server, text: str) -> None:
    """Never a 500."""
    answered(one_server, text)


def test_a_wrong_code_is_told_with_what_is_known(one_server: Server) -> None:
    """`known` marks those suggestions that are public organisations here."""
    firm = next(each for each in one_server.get("/v1/subjects?kind=enterprise&limit=5").json()["items"] if "uscc" in each)
    code = firm["uscc"]
    wrong = code[:17] + ("2" if code[17] != "2" else "3")
    told = one_server.get(f"/v1/subjects/{wrong}").json()
    assert told["code"] == "uscc-invalid"
    assert {"code": code, "reason": "substitution", "known": True} in told["suggestions"]
    assert all(not each["known"] for each in told["suggestions"] if each["code"] != code)


def test_an_organisation_is_found_by_the_code_inside_its_code(server: Server) -> None:
    """Nine characters of it are the organisation code (GB 32100): however written, they find who bears them, on both databases."""
    firm = next(each for each in server.get("/v1/subjects?kind=enterprise&limit=5").json()["items"] if "uscc" in each)
    code = firm["uscc"][8:17]
    for text in (code, code.lower(), f"{code[:8]}-{code[8]}", f" {code} ", code.translate({n: n + 0xFEE0 for n in range(33, 127)})):
        found = server.client.get("/v1/subjects", params={"q": text}).json()["items"]
        assert [(each["uscc"], each["matched_on"], each["highlight"]) for each in found] == [(firm["uscc"], "org_code", [])], text
    offered = server.client.get("/v1/suggest", params={"q": code}).json()["items"]
    assert [(each["text"], each["matched_on"]) for each in offered] == [(firm["name"], "org_code")]


def test_nothing_found_offers_names_of_organisations(one_server: Server) -> None:
    """A notice with names of whom everybody may see; the same text as an offer finds what it names."""
    name = next(each["name"] for each in one_server.get("/v1/subjects?kind=enterprise&limit=5").json()["items"])
    page = one_server.client.get("/v1/subjects", params={"q": f"甲乙丙丁{name[3:7]}戊己庚辛"}).json()
    assert page["items"] == []
    assert page["notice"]["code"] == "no-results"
    for offered in page["notice"]["suggestions"]:
        assert one_server.client.get("/v1/subjects", params={"q": offered}).json()["items"][0]["name"] == offered


def test_a_region_in_pinyin_finds_who_bears_its_name(server: Server) -> None:
    """As in characters, page by page, in either case and with blanks; a household of that name is not reached so."""
    written = server.get("/v1/subjects.json?q=通化&limit=100").json()["items"]
    assert written
    city = server.get("/v1/subjects?q=通化市&limit=100").json()["items"]
    assert [each["id"] for each in server.get("/v1/subjects?q=Tonghua%20City&limit=100").json()["items"]] == [each["id"] for each in city]
    for spoken in ("tonghua", "Tong Hua", "ＴＯＮＧＨＵＡ"):
        told = server.client.get("/v1/subjects", params={"q": spoken, "limit": "100"}).json()
        assert [each["id"] for each in told["items"]] == [each["id"] for each in written]
        assert {each["matched_on"] for each in told["items"]} <= {"pinyin", "former_name"}
        assert [each["highlight"] for each in told["items"]] == [each["highlight"] for each in written]
    page, walked = server.get("/v1/subjects?q=tonghua&limit=7").json(), []
    while True:
        walked += [each["id"] for each in page["items"]]
        if page["next"] is None:
            break
        page = server.get(page["next"]).json()
    assert walked[:100] == [each["id"] for each in written]
    assert len(set(walked)) == len(walked)
    offers = server.get("/v1/suggest?kind=subject&q=tonghua").json()["items"]
    assert [each["id"] for each in offers] == walked[: len(offers)]
    assert offers

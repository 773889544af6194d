"""Paths that go straight to their handler answer as through the framework, to the byte; and the framework still has the rest."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import cast

import pytest

from gateway.web import asked
from gateway.web.application import Straight
from gateway.web.asgi import App
from gateway.web.parameters import read_query
from tests.web.city import City, Server, served
from tests.web.test_lane import shown


@pytest.fixture(scope="module")
def straight(sqlite_city: City) -> Iterator[Server]:
    """A server without the public lane."""
    with served(sqlite_city) as server:
        server.app.lane = None
        yield server


@pytest.fixture(scope="module")
def routed(sqlite_city: City) -> Iterator[Server]:
    """A server whose every request goes through the framework."""
    with served(sqlite_city) as server:
        server.app.lane = None
        assert isinstance(server.app.inner, Straight)
        server.app.inner = cast(App, server.app.inner.framework)
        yield server


def test_straight_and_routed_answer_alike(straight: Server, routed: Server) -> None:
    """Objects, pages, formats, unknown things, wrong methods and damaged hosts, in both languages."""
    item = straight.get("/v1/records?limit=1").json()["items"][0]
    record, code, subject = item["id"], item["subject"]["uscc"], item["subject"]["id"]
    paths = [
        "/v1", "/v1/me", "/v1/keys", "/v1/problems", "/v1/lists", "/v1/datasets", "/v1/changes", "/v1/subjects", "/v1/suggest?q=a",
        "/v1/suggest",
        f"/v1/subjects/{code}", f"/v1/subjects/{subject}", f"/v1/subjects/{subject}.json", f"/v1/subjects/{subject}.xml",
        f"/v1/subjects/{code}/records", f"/v1/subjects/{code}/records.csv", f"/v1/subjects/{code}/records.xml", f"/v1/subjects/{code}/x",
        f"/v1/records/{record}", f"/v1/records/{record}/x", "/v1/records/rec_x", "/v1/records?limit=3", "/v1/records.ndjson?limit=3",
        "/v1/records.xml", "/v1/records?nothing=1", "/v1/subjects/%E4%B8%AD%2Erecords", "/v1/subjects/a%2Fb",
        "/v1/subjects/records/records",
        "/v1/validate/uscc/9I220502XXT00002X2", "/v1/validate/uscc", "/v1/lists/none/listings", "/v1/lists/listings",
        "/v2", "/", "/problems/not-found",
    ]  # fmt: skip
    for path in paths:
        for method, headers in (("GET", {}), ("GET", {"Accept-Language": "en"}), ("HEAD", {}), ("POST", {}), ("GET", {"Host": "a_b"})):
            here, there = (each.client.request(method, path, headers=headers) for each in (straight, routed))
            if here.status_code < 400:
                assert shown(here) == shown(there), (method, path)
            else:
                assert here.status_code == there.status_code, (method, path)
                assert method == "HEAD" or here.json()["code"] == there.json()["code"], (method, path)


def test_the_same_words_are_read_once_in_a_state(straight: Server, sqlite_city: City, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page asked for again is the same to the byte, and is not parsed again; after a commit it is. Other words are another question."""
    path = "/v1/records?dataset=tax-violations&limit=2"
    read: list[bytes] = []
    announced: list[object] = []
    times: list[int] = []
    monkeypatch.setattr(asked.parameters, "read_query", lambda query: read.append(query) or read_query(query))
    monkeypatch.setattr(asked.Asked, "announce", lambda _, described: announced.append(described))
    with closing(sqlite3.connect(sqlite_city.folder / "data" / "gateway.db")) as database:
        for _ in range(3):
            for of_nobody in (
                "INSERT INTO counters (name, value) VALUES ('of nobody', 1)",
                "DELETE FROM counters WHERE name = 'of nobody'",
            ):
                read.clear()
                announced.clear()
                database.execute(of_nobody)
                database.commit()
                first = straight.get(path)
                assert shown(straight.get(path)) == shown(first)
                assert straight.client.get(path, headers={"If-None-Match": first.headers["etag"]}).status_code == 304
                assert straight.client.head(path).headers["etag"] == first.headers["etag"]
                assert shown(straight.client.get(path, headers={"Accept": f"text/x{len(times)}, application/json"})) == shown(first)
                times.append(len(read))
                assert len(announced) == 5, "each request once, read or not"
    assert min(times) == 1, "more often only where the server itself commits, or a second ends"
    english, table = (straight.client.get(path, headers=each) for each in ({"Accept-Language": "en"}, {"Accept": "text/csv"}))
    assert (english.headers["content-language"], table.headers["content-type"].partition(";")[0]) == ("en", "text/csv")
    assert straight.get(path + "&excel=0").json()["items"] == first.json()["items"]
    assert straight.client.get(path, headers={"Authorization": "Bearer x"}).status_code == 401
    assert straight.get(path + "&nothing=1").status_code == 400

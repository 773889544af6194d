"""`POST /v1/match` over a real socket: strict bodies with places, cost, and nothing kept by anybody (api.md §7.5, §12.21)."""

import json
from typing import Any

import httpx
import pytest

from tests.web.city import City, Server, served
from tests.web.test_api import problem

CITIZEN = "220599199001010021"


def post(server: Server, body: Any, **headers: str) -> httpx.Response:
    """A body as it is, or as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
    return server.client.post("/v1/match", content=content, headers={"content-type": "application/json", **headers})


@pytest.fixture(scope="module")
def one_server(sqlite_city: City) -> Any:
    """A server of the sample city on SQLite."""
    with served(sqlite_city) as running:
        yield running


def test_a_batch_is_answered_and_kept_by_nobody(server: Server) -> None:
    """Whole names and codes of the city are exact, in any case and width; the answer names its algorithm and state."""
    firms = [each for each in server.get("/v1/subjects?limit=8&kind=enterprise").json()["items"] if "name" in each]
    queries = [{"id": f"n{number}", "name": each["name"]} for number, each in enumerate(firms)]
    queries += [{"id": f"c{number}", "uscc": each["uscc"].lower()} for number, each in enumerate(firms)]
    answer = post(server, {"queries": queries, "explain": True})
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    assert "etag" not in answer.headers
    body = answer.json()
    assert [each["id"] for each in body["results"]] == [each["id"] for each in queries]
    for each, result in zip([*firms, *firms], body["results"], strict=True):
        assert result["status"] in ("exact", "ambiguous")
        assert each["id"] in [candidate["subject"]["id"] for candidate in result["candidates"]]
    assert answer.headers["dataset-version"] == body["dataset_version"]
    assert float(answer.headers["request-cost"]) == len(queries)


def test_a_name_with_a_note_of_somebodys_table_is_known(server: Server) -> None:
    """What stands in a bracket behind it is none of the name; a form with its words the wrong way about is a form."""
    firms = server.get("/v1/subjects?limit=100&kind=enterprise").json()["items"]
    name = next(each["name"] for each in firms if each["name"].startswith("通化市") and each["name"].endswith("有限责任公司"))
    texts = [name, *(name + note for note in ("（已注销）", "(吊销，未注销)", "（原通化示例制药厂）"))]
    texts.append(name.replace("有限责任公司", "责任有限公司"))
    results = post(server, {"queries": [{"id": str(at), "name": text} for at, text in enumerate(texts)]}).json()["results"]
    assert [each["status"] for each in results[:4]] == ["exact"] * 4
    assert results[4]["status"] in ("match", "ambiguous")
    assert {each["candidates"][0]["subject"]["name"] for each in results} == {name}


@pytest.mark.parametrize(
    ("body", "pointer", "code"),
    [
        (b"{", "", "json"),
        (b"\xff", "", "json"),
        (b"[]", "", "invalid"),
        (b'{"queries":[{"id":"a","name":NaN}]}', "", "json"),
        ({}, "/queries", "required"),
        ({"queries": []}, "/queries", "invalid"),
        ({"queries": [{"name": "示例"}]}, "/queries/0/id", "required"),
        ({"queries": [{"id": "a", "nmae": "示例"}]}, "/queries/0", "unknown"),
        ({"queries": [{"id": "a"}], "sort": 1}, "", "unknown"),
        ({"queries": [{"id": "a", "name": "示" * 201}]}, "/queries/0/name", "invalid"),
        ({"queries": [{"id": "a", "name": 5}]}, "/queries/0/name", "invalid"),
        ({"queries": [{"id": "a", "region": "2205"}]}, "/queries/0/region", "invalid"),
        ({"queries": [{"id": "a"}], "threshold": 0.5}, "/threshold", "invalid"),
        ({"queries": [{"id": "a"}], "threshold": 1.01}, "/threshold", "invalid"),
        ({"queries": [{"id": "a"}], "limit": 0}, "/limit", "invalid"),
        ({"queries": [{"id": str(number)} for number in range(101)]}, "/queries", "invalid"),
        ({"queries": [{"id": str(number)} for number in range(21)]}, "/queries", "invalid"),
        ({"queries": [{"id": "a"}, {"id": "b"}, {"id": "a"}]}, "/queries/2/id", "invalid"),
        ({"queries": [{"id": CITIZEN}]}, "/queries/0/id", "invalid"),
        (b'{"queries":[{"id":"a","id":"b"}]}', "/queries/0", "repeated"),
        (b'{"queries":[],"queries":[{"id":"a"}]}', "", "repeated"),
        (b'{"queries":[{"id":"a"}],"%s":{"x":1,"x":2}}' % CITIZEN.encode(), "", "repeated"),
    ],
)
def test_a_bad_body_is_told_with_its_place(one_server: Server, body: Any, pointer: str, code: str) -> None:
    """And nothing of it is repeated."""
    answer = post(one_server, body)
    (fault,) = problem(answer, 400, "body-invalid")["errors"]
    assert (fault["pointer"], fault["code"]) == (pointer, code)
    assert CITIZEN not in answer.text
    assert "nmae" not in answer.text


def test_what_is_no_json_or_too_long_or_asked_otherwise(one_server: Server) -> None:
    """415, 413, 405, and no parameter exists."""
    problem(post(one_server, {"queries": [{"id": "a"}]}, **{"content-type": "text/plain"}), 415, "unsupported-media-type")
    problem(post(one_server, b" " * (1024 * 1024 + 1)), 413, "body-too-large")
    problem(one_server.client.get("/v1/match"), 405, "method-not-allowed")
    problem(one_server.client.post("/v1/match?q=1", json={"queries": [{"id": "a"}]}), 400, "unknown-parameter")


def test_a_batch_beyond_the_quota_costs_nothing_more(fresh_city: City) -> None:
    """Three batches of twenty are a minute's quota of the public; the fourth is refused, and says when to come again."""
    settings = fresh_city.settings_file
    settings.write_text(settings.read_text(encoding="utf-8").replace("quota_factor = 100000", ""), encoding="utf-8")
    with served(fresh_city) as server:
        batch = {"queries": [{"id": str(number), "name": "示例"} for number in range(20)]}
        assert [post(server, batch).status_code for _ in range(3)] == [200, 200, 200]
        refused = post(server, batch)
        problem(refused, 429, "quota-exceeded")
        assert int(refused.headers["retry-after"]) > 0

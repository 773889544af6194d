"""The review queue over HTTP: for the department whose record it is, strictly read, and told to nobody else."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from gateway.operations.manage_keys import issue_token
from gateway.sample.people import authorities
from gateway.web.api.reviews import MAX_BODY
from tests.house import CENTRE
from tests.web.city import City, Server, served

PURPOSE = "dept.supervision"


@pytest.fixture
def town(fresh_city: City) -> Iterator[Server]:
    """A server of its own, for its texts are decided about."""
    with served(fresh_city) as server:
        yield server


def token(city: City, org: str) -> str:
    """A token of an authority's application."""

    async def issue(services: Any) -> str:
        return (await issue_token(services, app="desk", org=org, tier="department", purpose=PURPOSE, by="test")).token

    made: str = city.run(issue)
    return f"Bearer {made}"


@pytest.fixture
def desk(town: Server, fresh_city: City) -> str:
    """The credential of an authority some texts of which wait."""
    for authority in authorities("220500"):
        if authority.uscc != CENTRE:
            shown = token(fresh_city, authority.uscc)
            if town.get("/v1/reviews", authorization=shown).json()["items"]:
                return shown
    raise AssertionError("nothing of the sample waits")


def say(server: Server, path: str, body: object, *, kind: str = "application/json", **headers: str) -> httpx.Response:
    """POST a body."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    case = {"case-ref": "2026-0001"} if "authorization" in headers else {}
    return server.client.post(path, content=content, headers={"content-type": kind, **case, **headers})


def code(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of a problem."""
    return answer.status_code, answer.json()["code"]


def test_the_queue_is_for_reviewers_alone(town: Server, desk: str) -> None:
    """The public is told the same on every path, whether the text is there or not; nothing is kept by anybody."""
    answer = town.get("/v1/reviews?limit=1", authorization=desk)
    assert answer.headers["cache-control"] == "no-store"
    plan = town.get("/v1/records?limit=1", authorization=desk).headers["policy-plan"]
    assert (answer.headers["policy-version"], answer.headers["policy-plan"]) == ("1", plan)
    assert code(town.client.get("/v1/reviews", headers={"authorization": desk})) == (400, "case-ref-missing")
    assert town.get("/v1/me", authorization=desk).headers["policy-plan"] == plan
    assert town.get("/v1/me").headers["policy-plan"] == town.get("/v1/records?limit=1").headers["policy-plan"]
    item = answer.json()["items"][0]
    paths = ["/v1/reviews", f"/v1/reviews/{item['id']}", "/v1/reviews/rec_2222222222222222222222222a~facts"]
    assert {code(town.get(path)) for path in paths} == {(403, "not-permitted")}
    for act in ("approve", "edit", "refuse"):
        assert code(say(town, f"/v1/reviews/{item['id']}/{act}", b"no json")) == (403, "not-permitted")
    assert code(town.get("/v1/reviews/rec_2222222222222222222222222a~facts", authorization=desk)) == (404, "not-found")
    for wrong in ("limit=0", "limit=x", "overdue=2", "after=x"):
        assert code(town.get(f"/v1/reviews?{wrong}", authorization=desk)) == (400, "invalid-parameter")
    assert code(town.get("/v1/reviews?who=me", authorization=desk)) == (400, "unknown-parameter")
    assert town.get("/v1/reviews?overdue=1", authorization=desk).json() == {"items": [], "next": None}


def test_a_text_is_released_over_http(town: Server, desk: str) -> None:
    """Shown, covered and released; after that it is not there any more."""
    item = town.get("/v1/reviews", authorization=desk).json()["items"][0]
    path = f"/v1/reviews/{item['id']}"
    shown = town.get(path, authorization=desk).json()
    assert shown["doubts"]
    doubt = shown["doubts"][0]
    assert shown["text"][doubt["start"] : doubt["end"]] == doubt["text"]
    done = say(town, f"{path}/edit", {"spans": [{"start": doubt["start"], "end": doubt["end"]}]}, authorization=desk)
    assert done.json() == {"id": item["id"], "decision": "released", "decided": 1}
    assert code(town.get(path, authorization=desk)) == (404, "not-found")
    assert code(say(town, f"{path}/approve", {}, authorization=desk)) == (404, "not-found")


def test_bodies_are_read_strictly(town: Server, desk: str) -> None:
    """Another type, too many bytes, unknown or doubled names, wrong types: a problem, and nothing is decided."""
    item = town.get("/v1/reviews", authorization=desk).json()["items"][0]
    path = f"/v1/reviews/{item['id']}"
    assert code(say(town, f"{path}/approve", {}, kind="text/plain", authorization=desk)) == (415, "unsupported-media-type")
    assert code(say(town, f"{path}/refuse", b" " * (MAX_BODY + 1), authorization=desk)) == (413, "body-too-large")
    for act, body in (
        ("approve", {"same": True}),
        ("approve", b'{"same_text": true, "same_text": false}'),
        ("approve", b"[]"),
        ("approve", {"same_text": "yes"}),
        ("edit", {"spans": []}),
        ("edit", {"spans": [{"start": -1, "end": 2}]}),
        ("edit", {}),
        ("refuse", {"reason": ""}),
        ("refuse", {"reason": "x" * 401}),
    ):
        answer = say(town, f"{path}/{act}", body, authorization=desk)
        assert code(answer) == (400, "body-invalid"), (act, body)
    assert code(say(town, f"{path}/edit", {"spans": [{"start": 0, "end": 9_999_999}]}, authorization=desk)) == (400, "invalid-parameter")
    assert town.get(path, authorization=desk).status_code == 200
    assert say(town, f"{path}/refuse", {"reason": "涉及案外人"}, authorization=desk).json()["decision"] == "refused"

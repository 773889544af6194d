"""The timeline of a subject over a real socket: what happened to records that are public now (api.md §7.2)."""

from typing import Any

from gateway.operations import handle_case
from gateway.operations.render_public import settle
from gateway.operations.withdraw import withdraw
from tests.web.city import City, Server, served
from tests.web.test_api import problem, walk


def events(server: Server, code: str) -> list[tuple[str, str, str]]:
    """(event, record, instant) of a subject, newest first."""
    return [(each["event"], each["record"], each["at"]) for each in walk(server, f"/v1/subjects/{code}/timeline?limit=3")]


def test_every_public_record_was_published_once(server: Server) -> None:
    """One event a record, on its first day, newest first; the subject links to it, and labels follow the language."""
    subject = next(each for each in server.get("/v1/subjects?limit=100").json()["items"] if sum(each["record_counts"].values()) > 3)
    code = subject["uscc"]
    assert subject["links"]["timeline"] == f"http://127.0.0.1:8000/v1/subjects/{code}/timeline"
    assert server.get(f"/v1/subjects/{code}").json()["links"] == subject["links"]
    told = walk(server, f"/v1/subjects/{code}/timeline?limit=2")
    records = {each["id"]: each for each in walk(server, f"/v1/subjects/{code}/records?limit=100")}
    assert {each["record"] for each in told if each["event"] == "published"} == set(records)
    assert [each["at"] for each in told] == sorted((each["at"] for each in told), reverse=True)
    for each in told:
        record = records[each["record"]]
        assert (each["kind"], each["dataset"]) == (record["kind"], record["dataset"])
        assert server.get(each["uri"]).status_code == 200
    english = server.get(f"/v1/subjects/{code}/timeline", accept_language="en").json()["items"]
    assert {each["event_label"] for each in english if each["event"] == "published"} == {"Published"}
    assert [each["event"] for each in english] == [each["event"] for each in told][:20]


def test_a_page_goes_back_to_the_one_before(server: Server) -> None:
    """`prev` of the second page is the first page again."""
    subject = next(each for each in server.get("/v1/subjects?limit=100").json()["items"] if sum(each["record_counts"].values()) > 3)
    first = server.get(f"/v1/subjects/{subject['uscc']}/timeline?limit=2").json()
    second = server.get(first["next"]).json()
    assert first["prev"] is None
    assert server.get(second["prev"]).json()["items"] == first["items"]


def test_nobody_and_nothing(server: Server) -> None:
    """An unknown subject is the one 404, a wrong code and a wrong limit are told; an export there is none."""
    problem(server.get("/v1/subjects/sub_aaaaaaaaaaaaaaaaaaaaaaaaaa/timeline"), 404, "not-found")
    problem(server.get("/v1/subjects/91220502XXT00002X3/timeline"), 400, "uscc-invalid")
    code = server.get("/v1/subjects?limit=1").json()["items"][0]["uscc"]
    for limit in ("all", "0", "101", "ten"):
        problem(server.get(f"/v1/subjects/{code}/timeline?limit={limit}"), 400, "invalid-parameter")
    problem(server.get(f"/v1/subjects/{code}/timeline?kind=penalty"), 400, "unknown-parameter")


def test_objections_are_told_and_a_removed_record_is_not(fresh_city: City) -> None:
    """An objection is an event when it is marked and when it is closed; with the withdrawal all events of the record are gone at once."""

    def run(story: Any, at: str) -> None:
        fresh_city.run(story, at)
        fresh_city.run(settle, at)

    with served(fresh_city) as server:
        penalties = server.get("/v1/records?kind=penalty&limit=100").json()["items"]
    # ids are drawn, and with them which record comes first: not one whose period ends while the story is told
    record = next(each for each in penalties if each["publish_until"] > "2026-07")
    code, it = record["subject"]["uscc"], record["id"]
    run(lambda services: handle_case.open_dispute(services, it, actor="test"), "2026-06-02T01:00:00Z")
    with served(fresh_city, "2026-06-02T02:00:00Z") as server:
        marked = [each for each in events(server, code) if each[1] == it]
    assert marked[0] == ("objection_marked", it, "2026-06-02T01:00:00Z")
    run(lambda services: handle_case.close_dispute(services, it, upheld=False, actor="test"), "2026-06-05T01:00:00Z")
    with served(fresh_city, "2026-06-05T02:00:00Z") as server:
        closed = [each for each in events(server, code) if each[1] == it]
        assert closed == [("objection_closed", it, "2026-06-05T01:00:00Z"), *marked]
        fresh_city.run(lambda services: withdraw(services, it, reason="revoked", actor="test"), "2026-06-05T02:00:00Z")
        left = server.get(f"/v1/subjects/{code}/timeline")
        assert it not in left.text


def test_a_department_reads_the_timeline_of_what_it_sees(server: Server, city: City) -> None:
    """A bound caller gets the events of the records that its plan shows, kept by nobody."""
    token = city.token()
    headers = {"authorization": f"Bearer {token}", "purpose": "dept.supervision"}
    code = server.get("/v1/records?kind=penalty&limit=1").json()["items"][0]["subject"]["uscc"]
    answer = server.get(f"/v1/subjects/{code}/timeline?limit=100", **headers)
    assert answer.status_code == 200, answer.text
    seen = {each["id"] for each in server.get(f"/v1/subjects/{code}/records?limit=100", **headers).json()["items"]}
    assert {each["record"] for each in answer.json()["items"]} == seen
    assert "no-store" in answer.headers["cache-control"]

"""Receipts of queries over a real socket: what they prove, what they never keep, and what a holder learns later (api.md §7.17)."""

import hashlib
import json
import sqlite3
from base64 import urlsafe_b64decode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from click.testing import CliRunner
from defusedxml import ElementTree

from gateway.cli import cli
from gateway.core.exchange import notes
from gateway.core.publication import receipts
from gateway.operations import verify_receipt
from gateway.operations.render_public import settle
from gateway.operations.withdraw import withdraw
from gateway.services import Services
from gateway.store import query_receipts
from tests.web.city import City, Server, copied, served
from tests.web.test_api import problem

UNKNOWN = "rcpt_" + "a" * 26


@pytest.fixture(scope="module")
def city(sqlite_city: City, tmp_path_factory: pytest.TempPathFactory) -> City:
    """A copy of the sample city, for receipts are written."""
    return copied(sqlite_city, tmp_path_factory.mktemp("receipts") / "gateway")


@pytest.fixture(scope="module")
def server(city: City) -> Iterator[Server]:
    """Its server."""
    with served(city) as running:
        yield running


def ask(server: Server, url: Any, **headers: str) -> httpx.Response:
    """Ask for a receipt."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return server.client.post("/v1/receipts", json={"url": url}, headers=sent)


def first(server: Server, path: str = "/v1/records?kind=penalty&limit=1") -> dict[str, Any]:
    """One record."""
    found: dict[str, Any] = server.get(path).json()["items"][0]
    return found


def shown(server: Server, issued: dict[str, Any]) -> dict[str, Any]:
    """What a holder of the id sees."""
    answer = server.get(f"/v1/receipts/{issued['id']}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def urls(server: Server) -> list[str]:
    """One of every kind that a receipt is given for."""
    record = first(server)
    code = record["subject"]["uscc"]
    return [
        "/v1/subjects?limit=5",
        f"/v1/subjects/{code}",
        f"/v1/subjects/{code}/records?kind=penalty",
        f"/v1/subjects/{code}/timeline",
        "/v1/records?dataset=honours&limit=2",
        f"/v1/records/{record['id']}",
        "/v1/lists",
        "/v1/lists/honours",
        "/v1/lists/honours/listings?limit=3",
    ]


def test_a_receipt_is_of_the_answer_that_everybody_gets(server: Server) -> None:
    """For every kind of path: the digest is that of the very bytes of a GET, versions are its header fields; nothing is overtaken."""
    for url in urls(server):
        answer = server.get(url)
        issued = ask(server, url)
        assert (issued.status_code, issued.headers["cache-control"]) == (201, "no-store"), issued.text
        body = issued.json()
        assert body["answer_sha256"] == hashlib.sha256(answer.content).hexdigest()
        assert body["answer_salt"] is None
        assert body["dataset_version"] == answer.headers["dataset-version"]
        assert str(body["policy_version"]) == answer.headers["policy-version"]
        assert f'"{body["policy_plan"]}"' == answer.headers["policy-plan"]
        assert issued.headers["location"] == f"http://127.0.0.1:8000/v1/receipts/{body['id']}"
        assert body["verify_uri"] == f"http://127.0.0.1:8000/verify/{body['id']}"
        assert body["note"].splitlines()[0] == receipts.FIRST_LINE
        told = shown(server, body)
        assert told == {name: value for name, value in body.items() if name != "answer_salt"} | {"overtaken": False}


def test_of_a_searched_text_nothing_is_kept(server: Server) -> None:
    """It may be a person's name: the digest needs the salt, and whether the answer is overtaken is unknown."""
    url = "/v1/subjects?q=%E7%BB%BE&limit=5"
    issued = ask(server, url).json()
    salt = urlsafe_b64decode(issued["answer_salt"] + "==")
    assert issued["answer_sha256"] == hashlib.sha256(salt + server.get(url).content).hexdigest()
    assert shown(server, issued)["overtaken"] is None


def test_a_receipt_never_says_what_was_asked(server: Server, city: City) -> None:
    """Neither name, code, record nor word of the answer stands in what a holder sees, in the database, or in its files."""
    record = first(server)
    secret = (record["subject"]["uscc"], record["subject"]["name"], record["id"], "kind=penalty")
    issued = ask(server, f"/v1/subjects/{record['subject']['uscc']}/records?kind=penalty").json()
    seen = json.dumps(shown(server, issued), ensure_ascii=False) + server.get(f"/verify/{issued['id']}").text
    assert not any(word in seen for word in secret)
    with sqlite3.connect(city.folder / "data" / "gateway.db") as database:
        rows = database.execute("SELECT receipt, sealed FROM query_receipts").fetchall()
    kept = b"".join(bytes(sealed) + receipt.encode() for receipt, sealed in rows)
    assert rows
    assert not any(word.encode() in kept for word in (*secret, issued["id"], issued["answer_sha256"], issued["note"]))


def test_an_overtaken_answer_is_told(city: City, tmp_path: Path) -> None:
    """After a withdrawal the receipt of the record, of its subject and of the page say so; that of another record does not."""
    fresh = copied(city, tmp_path / "gateway")
    with served(fresh) as server:
        page = server.get("/v1/records?kind=penalty&limit=2").json()["items"]
        gone, stays = page[0], page[1]
        given = {
            url: ask(server, url).json()
            for url in (f"/v1/records/{gone['id']}", f"/v1/subjects/{gone['subject']['uscc']}", "/v1/records?kind=penalty&limit=2")
        }
        other = ask(server, f"/v1/records/{stays['id']}").json()
        fresh.run(lambda services: withdraw(services, gone["id"], reason="revoked", actor="test"))
        fresh.run(settle)
        assert {url: shown(server, each)["overtaken"] for url, each in given.items()} == dict.fromkeys(given, True)
        assert shown(server, other)["overtaken"] is False
        assert "Changed since" in server.get(given[f"/v1/records/{gone['id']}"]["verify_uri"]).text


def test_of_persons_nothing_is_kept_that_could_be_asked_again(server: Server, city: City) -> None:
    """A household, and whatever a department was answered: `overtaken` is unknown, and the digest needs the salt that was given once."""
    token = city.token()
    headers = {"authorization": f"Bearer {token}", "purpose": "dept.supervision", "case_ref": "2026-0001"}
    record = server.get("/v1/records?kind=penalty&limit=1", **headers).json()["items"][0]
    url = f"/v1/records/{record['id']}"
    answer = server.get(url, **headers)
    issued = ask(server, url, **headers).json()
    salt = urlsafe_b64decode(issued["answer_salt"] + "==")
    assert issued["answer_sha256"] == hashlib.sha256(salt + answer.content).hexdigest()
    assert issued["answer_sha256"] != hashlib.sha256(answer.content).hexdigest()
    told = shown(server, issued)
    assert told["overtaken"] is None
    assert "answer_salt" not in told
    assert "not told" in server.get(f"/verify/{issued['id']}").text
    household = next(
        each["subject"]
        for listing in server.get("/v1/records?limit=100&kind=penalty", **headers).json()["items"]
        for each in [listing]
        if each["subject"]["kind"] == "household"
    )
    asked = ask(server, f"/v1/subjects/{household['id']}").json()
    assert asked["answer_salt"] is not None
    assert shown(server, asked)["overtaken"] is None


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/v1/lists",
        "//example.org/v1/lists",
        "/v1/../v1/lists",
        "/v2/lists",
        "/v1/me",
        "/v1/changes?since=0",
        "/v1/receipts",
        "/v1/records.csv",
        "/v1/records?limit=all",
        "/v1/records?cursor=c1.abc",
        "/v1/lists#x",
        "/v1/list\u00e9s",
        "/v1/records?" + "q" * 3000,
        "",
    ],
)
def test_other_urls_have_no_receipt(server: Server, url: str) -> None:
    """Other hosts, other paths, exports, cursors, streams: refused with the place, or the one 404; the URL is not repeated."""
    answer = ask(server, url)
    assert answer.status_code in (400, 404), answer.text
    assert not url or url not in answer.text


def test_a_question_without_an_answer_has_no_receipt(server: Server) -> None:
    """What the query itself says is what is said: not found, unknown parameter, wrong code, a citizen number."""
    problem(ask(server, "/v1/records/rec_aaaaaaaaaaaaaaaaaaaaaaaaaa"), 404, "not-found")
    problem(ask(server, "/v1/records?colour=red"), 400, "unknown-parameter")
    problem(ask(server, "/v1/subjects/91220502XXT00002X3"), 400, "uscc-invalid")
    problem(ask(server, "/v1/subjects?q=220599198001010013"), 400, "invalid-parameter")


@pytest.mark.parametrize("body", ["", "{}", "[]", '{"url":1}', '{"url":"/v1/lists","more":1}', '{"url":"/v1/lists","url":"/v1/lists"}'])
def test_a_bad_body_is_refused(server: Server, body: str) -> None:
    """Another shape than `{"url": …}`, also members that stand twice."""
    problem(server.client.post("/v1/receipts", content=body, headers={"Content-Type": "application/json"}), 400, "body-invalid")


def test_an_id_that_never_was_and_one_whose_time_is_over_are_one_404(city: City, tmp_path: Path) -> None:
    """Same problem, same words; its day decides, not a job."""
    fresh = copied(city, tmp_path / "gateway")
    with served(fresh) as server:
        issued = ask(server, "/v1/lists/honours").json()
    with served(fresh, "2028-05-31T15:59:59Z") as server:
        assert server.get(f"/v1/receipts/{issued['id']}/qr.svg").status_code == 200
    with served(fresh, "2028-05-31T16:00:00Z") as server:
        answers = [
            problem(server.get(f"/v1/receipts/{each}{what}"), 404, "not-found")
            for each in (issued["id"], UNKNOWN, "x")
            for what in ("", "/qr.svg")
        ]
        answers += [problem(server.get(f"/verify/{each}"), 404, "not-found") for each in (issued["id"], UNKNOWN)]
    for each in answers:
        del each["instance"], each["trace_id"]
    assert all(each == answers[0] for each in answers)


def test_a_repeated_request_gets_the_first_receipt(city: City, server: Server) -> None:
    """Under one `Idempotency-Key` there is one receipt, for one question; what is kept of it for a day tells the store no id."""
    headers = {"authorization": f"Bearer {city.token()}", "purpose": "dept.supervision", "case_ref": "2026-0001", "idempotency_key": "k-1"}
    one, two = ask(server, "/v1/lists/honours", **headers), ask(server, "/v1/lists/honours", **headers)
    assert (one.status_code, two.status_code, two.headers["idempotent-replay"]) == (201, 201, "true")
    assert (one.content, one.headers["location"]) == (two.content, two.headers["location"])
    assert "idempotent-replay" not in one.headers
    problem(ask(server, "/v1/lists", **headers), 422, "idempotency-mismatch")
    with sqlite3.connect(city.folder / "data" / "gateway.db") as database:
        kept = b"".join(bytes(head) + bytes(body) for head, body in database.execute("SELECT headers, body FROM answered"))
    assert kept
    assert one.json()["id"].encode() not in kept


def test_the_code_leads_to_the_page(server: Server) -> None:
    """The QR code is an SVG of squares, without script, links or text."""
    issued = ask(server, "/v1/lists").json()
    answer = server.get(f"/v1/receipts/{issued['id']}/qr.svg")
    assert answer.headers["content-type"] == "image/svg+xml"
    image = ElementTree.fromstring(answer.content)
    assert {each.tag.rpartition("}")[2] for each in image.iter()} <= {"svg", "g", "path"}


def verified(city: City, *arguments: str, code: int = 0) -> str:
    """What `chengxin verify receipt` prints."""
    result = CliRunner().invoke(cli, ["--settings", str(city.settings_file), "verify", "receipt", *arguments], catch_exceptions=True)
    assert result.exit_code == code, (result.output, result.exception)
    return result.output + str(result.exception or "")


@pytest.fixture
def kept(server: Server, tmp_path: Path) -> Callable[[str, bytes], str]:
    """Keeps bytes as a file and gives its name."""

    def keep(name: str, data: bytes) -> str:
        (tmp_path / name).write_bytes(data)
        return str(tmp_path / name)

    return keep


def test_the_command_verifies_by_itself(server: Server, city: City, kept: Callable[[str, bytes], str]) -> None:
    """With our own keys or a published one; the note alone is enough; the kept answer is compared; whatever was changed is found."""
    url = "/v1/lists/honours/listings?limit=3"
    answer, issued = server.get(url).content, ask(server, url)
    file, good = kept("receipt.json", issued.content), kept("answer.json", answer)
    key = next(each for each in server.get("/v1/keys").json()["items"] if each["use"] == "receipt")["vkey"]
    assert issued.json()["id"] in verified(city, file)
    assert "the answer is that one" in verified(city, file, "--answer", good, "--vkey", key)
    assert issued.json()["id"] in verified(city, kept("note.txt", issued.json()["note"].encode()))
    ring = verify_receipt.given_ring([key])
    for changed, other in (
        (issued.json() | {"answer_sha256": "0" * 64}, answer),
        (issued.json() | {"note": issued.json()["note"].replace("policy-version 1", "policy-version 2")}, answer),
        (issued.json(), answer + b" "),
    ):
        with pytest.raises(Exception, match=r"signature|signed|answer"):
            verify_receipt.verify_receipt(json.dumps(changed).encode(), ring, answer=other)
    other_key = next(each for each in server.get("/v1/keys").json()["items"] if each["use"] == "exchange")["vkey"]
    with pytest.raises(Exception, match="no signature of a key"):
        verify_receipt.verify_receipt(issued.content, verify_receipt.given_ring([other_key]))


def test_a_receipt_of_before_still_verifies(server: Server, city: City, kept: Callable[[str, bytes], str]) -> None:
    """One that names no plans is read, verified and shown as it was given; with the first line of one kind the other is no receipt."""
    issued = ask(server, "/v1/lists").json()
    text = notes.parse(issued["note"]).text
    plan = f"policy-plan {issued['policy_plan']}\n"
    assert plan in text
    assert "Policy plans" in server.get(issued["verify_uri"]).text
    before = text.replace(plan, "").replace("receipt/2", "receipt/1")

    async def given(services: Services) -> str:
        note = notes.sign(before, [services.signers.signing("receipt", services.clock())])
        said = receipts.read_text(before)[0]
        async with services.store.transaction() as tx:
            told = {name: value for name, value in msgspec.to_builtins(said).items() if name != "policy_plan"}
            body = msgspec.json.encode({"receipt": told, "note": note, "question": None})
            await query_receipts.add(tx, UNKNOWN.replace("a", "b"), body, until="2028-01-01", suite=1)
        return note

    note = city.run(given)
    assert "of before" in verified(city, kept("before.json", json.dumps(issued | {"note": note, "policy_plan": None}).encode()))
    told = server.get(f"/v1/receipts/{UNKNOWN.replace('a', 'b')}").json()
    assert (told["id"], told["policy_plan"], told["note"]) == (issued["id"], None, note)
    page = server.get(f"/verify/{UNKNOWN.replace('a', 'b')}")
    assert (page.status_code, "Policy plans" in page.text) == (200, False)
    for mixed in (before.replace("receipt/1", "receipt/2"), text.replace("receipt/2", "receipt/1")):
        with pytest.raises(Exception, match="no receipt"):
            receipts.read_text(mixed)


def test_no_other_note_passes_for_a_receipt(server: Server) -> None:
    """A note with another first line is refused before any signature is looked at."""
    issued = ask(server, "/v1/lists").json()
    text = notes.parse(issued["note"]).text
    with pytest.raises(Exception, match="no receipt"):
        receipts.read_text(text.replace(receipts.FIRST_LINE, "chengxin-exchange/receipt/1"))

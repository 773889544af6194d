"""Range look-ups over a real socket, on both databases: who stands on which list, and for how long (api.md §7.11)."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway.core.publication import ranges
from gateway.core.publication.names import normalise
from gateway.operations.render_public import settle
from gateway.operations.withdraw import withdraw
from tests.doors import developer
from tests.web.city import City, Server, served
from tests.web.test_api import problem, walk

README = Path(__file__).parents[2] / "README.md"


def listings(server: Server) -> dict[str, list[dict[str, Any]]]:
    """Every listing of every list, by the bit of its list."""
    found = {}
    for each in server.get("/v1/range").json()["lists"]:
        found[each["bit"]] = walk(server, f"/v1/lists/{each['list']}/listings?limit=100")
    return found


def bits(server: Server, algorithm: ranges.Algorithm, on: str, text: str, length: int = 3) -> int:
    """What a client finds out about a text."""
    digest = ranges.digest(algorithm, text)
    answer = server.get(f"/v1/range/{algorithm}/{digest[:length]}?on={on}")
    assert answer.status_code == 200, answer.text
    return int(dict(line.split(":") for line in answer.text.splitlines()).get(digest[length:], "0"), 16)


def test_who_is_listed_is_found_and_nobody_else(server: Server) -> None:
    """By code and by name every listed organisation has the bits of its lists, former names too; of one question every row there is."""
    expected: dict[str, int] = {}
    names: dict[str, int] = {}
    for bit, rows in listings(server).items():
        for row in rows:
            subject = row["subject"]
            if subject["kind"] != "household":
                expected[subject["uscc"]] = expected.get(subject["uscc"], 0) | 1 << bit
    assert expected
    for code, number in expected.items():
        document = server.get(f"/v1/subjects/{code}").json()
        for name in (document["name"], *document["former_names"]):
            names[normalise(name)] = names.get(normalise(name), 0) | number
    told = {}
    for number in range(256):
        prefix = f"{number:02x}"
        rows = server.get(f"/v1/range/sha256/{prefix}?on=name").text.splitlines()
        told.update({prefix + row[:62]: int(row[63:], 16) for row in rows if not row.endswith(":00000000")})
    assert told == {ranges.digest("sha256", text): number for text, number in names.items()}
    for code, number in list(expected.items())[:20]:
        assert {bits(server, algorithm, "uscc", code) for algorithm in ranges.ALGORITHMS} == {number}
    for name, number in list(names.items())[:20]:
        assert bits(server, "sm3", "name", name, 5) == number


def test_an_answer_is_a_plain_cacheable_text(server: Server) -> None:
    """Type, version, validator, a fifth of the price, never compressed, and the same again for whoever asks again; HEAD too."""
    answer = server.get("/v1/range/sm3/0f0f?on=name", accept_encoding="gzip")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert "content-encoding" not in answer.headers
    assert answer.headers["cache-control"].startswith("public, max-age=")
    assert answer.headers["dataset-version"] == server.get("/v1").json()["dataset_version"]
    assert answer.headers["request-cost"] == "0.2"
    assert len(answer.text.splitlines()) == 64
    assert server.get("/v1/range/sm3/0f0f?on=name").content == answer.content
    again = server.get("/v1/range/sm3/0f0f?on=name", if_none_match=answer.headers["etag"])
    assert (again.status_code, again.content, again.headers["request-cost"]) == (304, b"", "0.2")
    head = server.client.head("/v1/range/sm3/0f0f?on=name")
    assert (head.status_code, head.headers["content-length"]) == (200, str(len(answer.content)))


@pytest.mark.parametrize(
    ("path", "parameter"),
    [
        ("/v1/range/md5/ab?on=name", "alg"),
        ("/v1/range/sha256/a?on=name", "prefix"),
        ("/v1/range/sha256/abcdef?on=name", "prefix"),
        ("/v1/range/sha256/AB?on=name", "prefix"),
        ("/v1/range/sha256/g0?on=name", "prefix"),
        ("/v1/range/sha256/ab?on=id_no", "on"),
        ("/v1/range/sha256/ab", "on"),
    ],
)
def test_an_ill_formed_question_is_told_its_place(server: Server, path: str, parameter: str) -> None:
    """400 with the parameter, at the price of a request; what was sent is not repeated."""
    answer = server.get(path)
    body = problem(answer, 400, "invalid-parameter")
    assert [each["parameter"] for each in body["errors"]] == [parameter]
    assert answer.headers["request-cost"] == "1"


def test_an_unknown_parameter_is_refused(server: Server) -> None:
    """Nothing but `on` is taken."""
    problem(server.get("/v1/range/sha256/ab?on=name&limit=3"), 400, "unknown-parameter")


def test_the_normaliser_is_whole(server: Server) -> None:
    """The table has the digest that is told, and vectors computed with what is published alone are the published ones."""
    told = server.get("/v1/normaliser").json()
    assert ranges.digest("sha256", told["table"]["tsv"]) == told["table"]["sha256"]
    assert told["name"] == server.get("/v1/range").json()["normaliser"]
    assert {each["step"] for each in told["steps"]} == {"nfkc", "casefold", "variants", "keep"}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The client that the README prints."""
    text = README.read_text(encoding="utf-8")
    match = re.search(r"```python\n(# range look-up.*?)```", text, re.DOTALL)
    assert match is not None
    file = tmp_path_factory.mktemp("client") / "listed.py"
    file.write_text(match[1], encoding="utf-8")
    assert len(match[1].splitlines()) <= 20
    return file


def asked_by_client(client: Path, server: Server, on: str, text: str) -> list[str]:
    """What the client of the README prints."""
    run = subprocess.run(
        [sys.executable, str(client), server.origin, on, text], capture_output=True, text=True, check=True, encoding="utf-8"
    )
    return run.stdout.split()


def test_the_client_of_the_readme_finds_lists(sqlite_server: Server, client: Path) -> None:
    """In twenty lines, by code and by a name that is written otherwise; a firm that does not exist is on none."""
    row = walk(sqlite_server, "/v1/lists/honours/listings?limit=1")[0]
    name = row["subject"]["name"].replace("公司", " 公司").replace("业", "業")
    assert "honours" in asked_by_client(client, sqlite_server, "uscc", row["subject"]["uscc"])
    assert "honours" in asked_by_client(client, sqlite_server, "name", name)
    assert asked_by_client(client, sqlite_server, "name", "从未有过的示例有限公司") == []


@pytest.fixture(scope="module")
def sqlite_server(sqlite_city: City) -> Iterator[Server]:
    """A server of the sample city on SQLite."""
    with served(sqlite_city) as running:
        yield running


def test_a_withdrawal_is_forgotten_with_the_commit(fresh_city: City) -> None:
    """The bit is gone before any reader has looked, and after it too; the other lists of the same firm stay."""
    with served(fresh_city) as server:
        found = {bit: rows for bit, rows in listings(server).items() if rows}
        bit, row = next((bit, row) for bit, rows in found.items() for row in rows if row["subject"]["kind"] != "household")
        code, name = row["subject"]["uscc"], normalise(row["subject"]["name"])
        of_it = [each["id"] for each in found[bit] if each["subject"]["uscc"] == code]
        before = bits(server, "sha256", "uscc", code)
        assert before >> bit & 1
        for each in of_it:
            fresh_city.run(lambda services, each=each: withdraw(services, each, reason="revoked", actor="test"))
        left = before & ~(1 << bit)
        assert (bits(server, "sha256", "uscc", code), bits(server, "sm3", "name", name)) == (left, left)
        fresh_city.run(settle)
        assert (bits(server, "sha256", "uscc", code), bits(server, "sm3", "name", name)) == (left, left)


def test_a_period_end_is_kept_by_the_clock(fresh_city: City) -> None:
    """On the day after, with nobody having written anything, whoever's time on a list is over has no bit of it."""
    with served(fresh_city) as server:
        ending = {
            (bit, row["subject"]["uscc"]): row["publish_until"]
            for bit, rows in listings(server).items()
            for row in rows
            if row["publish_until"] is not None and row["subject"]["kind"] != "household"
        }
    assert ending
    last = min(ending.values())
    with served(fresh_city, f"{last}T15:59:00Z") as server:
        on_its_day = {pair for pair, day in ending.items() if day == last}
        for bit, code in on_its_day:
            assert bits(server, "sha256", "uscc", code) >> bit & 1
    with served(fresh_city, f"{last}T16:00:00Z") as server:
        for bit, code in on_its_day:
            assert not bits(server, "sha256", "uscc", code) >> bit & 1


def test_a_keyed_caller_gets_the_same_rows_for_himself(fresh_city: City) -> None:
    """A developer's answer has the bytes of everybody's, and is his alone."""
    key: str = fresh_city.run(developer)[1]
    with served(fresh_city) as server:
        mine: Mapping[str, Any] = {"authorization": f"Bearer {key}"}
        own, public = (server.get("/v1/range/sha256/00?on=name", **headers) for headers in (mine, {}))
        assert own.content == public.content
        assert own.headers["etag"] == public.headers["etag"]
        assert (own.headers["cache-control"].split(",")[0], public.headers["cache-control"].split(",")[0]) == ("private", "public")
        assert json.loads(server.get("/v1/range", **mine).content)["on"] == ["uscc", "name"]

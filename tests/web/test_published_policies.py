"""Policies as open data, and the files that every house on the web keeps."""

import csv
import io
import re
from collections.abc import Iterator
from typing import Any
from urllib.robotparser import RobotFileParser

import defusedxml.ElementTree
import msgspec
import openpyxl
import pyarrow.parquet as pq
import pytest

from gateway.core.disclosure.policy import files_digest
from gateway.core.errors import PolicyError
from gateway.operations import publish_policies
from gateway.store import policies as policy_rows
from tests.web.city import City, Server, served

PENALTIES = "datasets/administrative-penalties.toml"


@pytest.fixture(scope="module")
def open_city(sqlite_city: City) -> Iterator[Server]:
    """A server of the sample city."""
    with served(sqlite_city) as running:
        yield running


async def bent(services: Any, old: bytes, new: bytes) -> None:
    """Another version in force, in which the public sees otherwise."""
    files = dict(await policy_rows.files_of(services.store.reads, 1))
    assert old in files[PENALTIES]
    files[PENALTIES] = files[PENALTIES].replace(old, new)
    async with services.store.transaction() as tx:
        version = await policy_rows.propose(tx, files, files_digest(files), "test")
        await policy_rows.activate(tx, version, "test", "somebody's own words")
    await services.policies.refresh()


def test_the_matrix_names_only_what_everybody_may_know_of(open_city: Server) -> None:
    """Every cell is of a field in the public dictionary, whatever its tier; each has a legal ground."""
    known = {
        (each["id"], field["name"])
        for each in open_city.get("/v1/datasets").json()["items"]
        for field in open_city.get(f"/v1/datasets/{each['id']}/dictionary").json()["fields"]
    }
    rows = open_city.get("/v1/policies/1/matrix").json()["items"]
    assert {(row["dataset"], row["field"]) for row in rows} == known
    assert {"public", "department", "partner", "supervisor", "subject", "pboc"} == {row["tier"] for row in rows}
    assert all(row["basis"] for row in rows)


def test_the_matrix_is_a_table_in_every_format(open_city: Server) -> None:
    """JSON, NDJSON, CSV, MessagePack, XLSX and Parquet hold the same rows in the same order."""
    asked = "?dataset=honours&tier=public"
    items = open_city.get(f"/v1/policies/1/matrix{asked}").json()["items"]
    lines = open_city.get(f"/v1/policies/1/matrix.ndjson{asked}")
    rows = list(csv.DictReader(io.StringIO(open_city.get(f"/v1/policies/1/matrix.csv{asked}").text)))
    assert len(items) == len(lines.text.splitlines()) == len(rows) > 5
    assert [(row["field"], row["subject_kind"], row["treatment"]) for row in rows] == [
        (each["field"], each["subject_kind"], each["treatment"]) for each in items
    ]
    assert {each["tier"] for each in items} == {"public"}
    packed = msgspec.msgpack.decode(open_city.get(f"/v1/policies/1/matrix.msgpack{asked}").content)
    assert packed["items"] == items
    sheet = openpyxl.load_workbook(io.BytesIO(open_city.get(f"/v1/policies/1/matrix.xlsx{asked}").content)).active
    assert sheet is not None
    cells = [[cell or "" for cell in line] for line in sheet.iter_rows(values_only=True)]
    assert cells == [list(rows[0]), *(list(row.values()) for row in rows)]
    parquet = pq.read_table(io.BytesIO(open_city.get(f"/v1/policies/1/matrix.parquet{asked}").content))
    assert [{name: value or "" for name, value in row.items()} for row in parquet.to_pylist()] == rows


def test_labels_are_in_the_language_of_the_answer(open_city: Server) -> None:
    """In English as the dictionary has them, under another tag; in the matrix and in what a caller may see."""
    english = {each["name"]: each["name_en"] for each in open_city.get("/v1/datasets/honours/dictionary").json()["fields"]}
    for path in ("/v1/policies/1/matrix?tier=public&dataset=honours", "/v1/me/fields?dataset=honours"):
        chinese, told = open_city.get(path), open_city.get(path, accept_language="en")
        assert {row["field"]: row["label"] for row in told.json()["items"]}.items() <= english.items()
        assert all(re.search("[\u4e00-\u9fff]", row["label"]) for row in chinese.json()["items"])
        assert chinese.headers.get("etag") != told.headers.get("etag") or "etag" not in told.headers


def test_what_is_no_version_is_not_there(open_city: Server) -> None:
    """A number that was never in force, and what is no number, are one 404; an unknown dataset or tier is refused with its place."""
    for path in ("/v1/policies/2/matrix", "/v1/policies/01/matrix", "/v1/policies/active/matrix", "/v1/policies/1/diff/7"):
        answer = open_city.get(path)
        assert (answer.status_code, answer.json()["code"]) == (404, "not-found"), path
    for query, place in (("dataset=nobody", "dataset"), ("tier=admin", "tier")):
        answer = open_city.get(f"/v1/policies/1/matrix?{query}")
        assert (answer.status_code, answer.json()["errors"][0]["parameter"]) == (400, place)


def test_a_change_of_policy_is_told(fresh_city: City) -> None:
    """A field that the public newly sees is a widened cell from one version to the next and a narrowed one back; nobody is named."""
    shown = b'field.effective_until = { treatment = "drop" }'
    fresh_city.run(lambda services: bent(services, shown, b""))
    with served(fresh_city) as server:
        items = server.get("/v1/policies").json()["items"]
        assert [(each["version"], each["state"]) for each in items] == [(2, "in_force"), (1, "past")]
        assert items[1]["effective_until"] == items[0]["effective_from"]
        assert "words" not in server.get("/v1/policies").text
        there = server.get(items[0]["links"]["diff"]).json()["items"]
        cells = {(each["field"], each["tier"], each["change"], each["before"]) for each in there if each["capability"] is None}
        assert ("effective_until", "public", "widened", "drop") in cells
        assert {each["field"] for each in there} == {"effective_until"}
        back = server.get("/v1/policies/2/diff/1").json()["items"]
        assert {each["change"] for each in back if each["capability"] is None} == {"narrowed"}
        assert server.get("/v1/policies/1/diff/1").json()["items"] == []


def test_a_field_that_is_hidden_now_is_named_by_no_version(fresh_city: City) -> None:
    """What the version in force hides from everybody stands in no matrix and no difference, older ones included."""
    row = b"field.legal_basis = { allow"
    fresh_city.run(lambda services: bent(services, row, b'field.legal_basis = { treatment = "drop" }\n#'))
    with served(fresh_city) as server:
        for path in ("/v1/policies/1/matrix", "/v1/policies/2/matrix", "/v1/policies/1/diff/2"):
            items = server.get(f"{path}").json()["items"]
            assert not [each for each in items if (each["dataset"], each["field"]) == ("administrative-penalties", "legal_basis")], path


def test_the_sitemap_names_no_subject(open_city: Server) -> None:
    """Every address answers and is the help, or has a time and is about datasets, lists or policies; robots are kept from the rest."""
    robots = RobotFileParser()
    robots.parse(open_city.get("/robots.txt").text.splitlines())
    (address,) = robots.site_maps() or []
    urls = defusedxml.ElementTree.fromstring(open_city.get(address).content)
    space = "{http://www.sitemaps.org/schemas/sitemap/0.9}"
    found = {url.findtext(f"{space}loc"): url.findtext(f"{space}lastmod") for url in urls}
    assert len(found) > 15
    help_page = "http://127.0.0.1:8000/docs"
    assert found.pop(help_page) is None
    assert open_city.get(help_page, Accept="text/html").status_code == 200
    assert robots.can_fetch("*", help_page)
    for loc, at in found.items():
        assert at is not None
        assert loc.removeprefix("http://127.0.0.1:8000").startswith(("/v1/datasets", "/v1/lists", "/v1/policies"))
        assert open_city.get(loc).status_code == 200
        assert robots.can_fetch("*", loc)
    for path in ("/v1/subjects/91220502XXT00002X2", "/v1/records", "/v1/suggest"):
        assert not robots.can_fetch("*", path)


def test_a_robot_may_read_that_a_page_is_not_to_be_kept(open_city: Server) -> None:
    """What says `noindex` of itself may be fetched: a page that must not be fetched is never read, and its address stays in an index."""
    robots = RobotFileParser()
    robots.parse(open_city.get("/robots.txt").text.splitlines())
    subject = open_city.get("/v1/subjects?limit=1").json()["items"][0]["id"]
    page = open_city.get(f"/subjects/{subject}", Accept="text/html")
    assert (page.status_code, page.headers["x-robots-tag"]) == (200, "noindex, noarchive")
    assert robots.can_fetch("*", f"/subjects/{subject}")
    assert robots.can_fetch("*", "/verify/rcpt_2222222222222222222222222a")


def test_past_versions_are_compiled_once(fresh_city: City, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """However often and in whatever turn versions are asked for, each is compiled once in a process; one that cannot be read too."""
    for number in range(6):
        fresh_city.run(lambda services, number=number: bent(services, b"\n", b"\n# %d\n" % number))
    compiled: list[int] = []
    compile_policies = publish_policies.compile_policies

    def counted(files: Any, *, version: int, **more: Any) -> Any:
        compiled.append(version)
        if version == 3:
            raise PolicyError("not any more", file="x.toml", line=1)
        return compile_policies(files, version=version, **more)

    monkeypatch.setattr(publish_policies, "compile_policies", counted)
    request.addfinalizer(publish_policies._compiled.cache_clear)  # it remembers what was said of the third
    publish_policies._compiled.cache_clear()
    with served(fresh_city) as server:
        for _ in range(2):
            statuses = [server.get(f"/v1/policies/{version}/matrix?dataset=honours&tier=public").status_code for version in range(1, 8)]
            assert statuses == [200, 200, 404, 200, 200, 200, 200]
    assert sorted(compiled) == [1, 2, 3, 4, 5, 6]  # the seventh is in force


def test_security_txt_names_who_is_told(fresh_city: City, open_city: Server) -> None:
    """With a contact it is as RFC 9116 asks, whatever is accepted; without one it is not there."""
    answer = open_city.get("/.well-known/security.txt", Accept="text/html")
    assert answer.headers["content-type"].startswith("text/plain")
    fields = dict(line.split(": ", 1) for line in answer.text.splitlines())
    assert fields["Contact"] == "mailto:security@credit.tonghua.example"
    assert "2026-06-01" < fields["Expires"] < "2027-06-01"
    assert fields["Canonical"].endswith("/.well-known/security.txt")
    lines = fresh_city.settings_file.read_text(encoding="utf-8").splitlines(keepends=True)
    fresh_city.settings_file.write_text("".join(line for line in lines if "security_contact" not in line), encoding="utf-8")
    with served(fresh_city) as server:
        assert server.get("/.well-known/security.txt").status_code == 404

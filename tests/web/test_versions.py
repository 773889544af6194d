"""Versions, files and deltas over a real socket: validators, ranges, moves, problems, FollowTheMoney (api.md §4, §7.8, §7.18)."""

import base64
import csv
import hashlib
import io
import json
import re
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from gateway.core.publication import flat
from gateway.core.publication.columns import cell_of
from gateway.core.publication.versions import root_with_removed
from gateway.operations import table_files, version_files, workbook
from gateway.operations.reissue_lists import follow as follow_lists
from gateway.operations.render_public import settle
from gateway.operations.withdraw import withdraw
from gateway.services import Services
from gateway.web import files
from gateway.web.negotiation import XLSX
from tests.web.city import City, Server, served
from tests.web.test_api import problem
from tests.web.test_formats import as_excel, column_of, parquet, sheet

LIST = "/v1/lists/tax-violations"


@pytest.fixture(scope="module")
def door(sqlite_city: City) -> Iterator[Server]:
    """A server of the sample city."""
    with served(sqlite_city) as running:
        yield running


def follow(server: Server, path: str, **headers: str) -> httpx.Response:
    """The answer at the end of a move."""
    first = server.get(path, **headers)
    assert first.status_code == 307, first.text
    assert re.search(r"max-age=30\b", first.headers["cache-control"])
    return server.get(first.headers["location"].removeprefix("http://127.0.0.1:8000"), **headers)


def test_a_version_is_what_its_manifest_and_checkpoint_say(door: Server) -> None:
    """Files have the size and digest of the manifest; the note names its bytes, the root follows from rows and commitments."""
    about = door.get(LIST).json()
    listed = door.get(about["links"]["versions"].removeprefix("http://127.0.0.1:8000")).json()
    assert listed["items"][0]["version"] == about["latest_version"] == listed["window_from"] == about["window_from"]
    answer = door.get(f"{LIST}/versions/latest")
    manifest = answer.json()
    assert (manifest["version"], manifest["rows"], manifest["state"]) == (about["latest_version"], about["rows"], "current")
    assert [file["format"] for file in manifest["files"]][:3] == ["ndjson", "csv", "json"]
    for file in manifest["files"]:
        body = door.get(file["uri"].removeprefix("http://127.0.0.1:8000")).content
        assert (len(body), hashlib.sha256(body).hexdigest()) == (file["bytes"], file["sha256"])
    note = door.get(f"{LIST}/versions/{manifest['version']}/checkpoint")
    assert note.headers["content-type"] == "text/plain; charset=utf-8"
    lines = note.text.split("\n")
    assert lines[0] == f"127.0.0.1:8000{LIST}/{manifest['version']}"
    assert lines[3] == "manifest sha-256:" + base64.b64encode(hashlib.sha256(answer.content).digest()).decode()
    assert lines[5].startswith("— credit.tonghua.example/export ")
    rows = follow(door, f"{LIST}/versions/latest.ndjson").content.splitlines()
    assert (len(rows), lines[2]) == (int(lines[1]), base64.b64encode(root_with_removed(rows, [])[1]).decode())


def test_a_copy_that_is_cut_before_it_is_read_is_not_given(door: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing, or less than was said, is no answer: the version is being issued again."""
    moved = door.get(f"{LIST}/versions/latest.ndjson").headers["location"].removeprefix("http://127.0.0.1:8000")
    assert len(door.get(moved, Range="bytes=0-9").content) == 10
    monkeypatch.setattr(files, "_read", lambda file, first, length: b"")
    problem(door.get(moved, Range="bytes=0-9"), 503, "version-reissuing")


def test_rows_are_those_of_the_listings(door: Server) -> None:
    """A version of now has the rows of `limit=all`, sorted by id; CSV has the same."""
    wanted = sorted(json.loads(line)["id"] for line in door.get(f"{LIST}/listings.ndjson?limit=all").text.splitlines())
    assert wanted
    assert [json.loads(line)["id"] for line in follow(door, f"{LIST}/versions/latest.ndjson").text.splitlines()] == wanted
    table = list(csv.DictReader(io.StringIO(follow(door, f"{LIST}/versions/latest.csv").text)))
    assert [row["id"] for row in table] == wanted
    assert all(len(row["salt"]) == 22 for row in table)


def test_files_have_strong_validators_and_ranges(door: Server) -> None:
    """ETag, Last-Modified, Repr-Digest; one range, also from the end; If-Range; HEAD; what cannot be satisfied."""
    whole = follow(door, f"{LIST}/versions/latest.ndjson")
    path, size = whole.request.url.path, len(whole.content)
    etag, modified = whole.headers["etag"], whole.headers["last-modified"]
    assert re.fullmatch(r'"[0-9a-f]{40}"', etag)
    digest = base64.b64encode(hashlib.sha256(whole.content).digest()).decode()
    assert whole.headers["repr-digest"] == f"sha-256=:{digest}:"
    assert (whole.headers["accept-ranges"], whole.headers["x-robots-tag"]) == ("bytes", "noindex, noarchive")
    last_byte = size - 1
    parts = {"bytes=0-9": (0, 9), "bytes=-5": (size - 5, last_byte), f"bytes=7-{size * 9}": (7, last_byte), "bytes=3-": (3, last_byte)}
    for field, (first, last) in parts.items():
        part = door.get(path, Range=field)
        assert (part.status_code, part.headers["content-range"]) == (206, f"bytes {first}-{last}/{size}")
        assert part.content == whole.content[first : last + 1]
        assert part.headers["repr-digest"] == whole.headers["repr-digest"]
    for field in ("bytes=0-1,3-4", "bytes=9-3", "lines=0-1", "bytes=-", "bytes=x-2"):
        assert door.get(path, Range=field).content == whole.content
    refused = door.get(path, Range=f"bytes={size}-")
    problem(refused, 416, "range-not-satisfiable")
    assert refused.headers["content-range"] == f"bytes */{size}"
    assert door.get(path, Range="bytes=0-9", **{"If-Range": etag}).status_code == 206
    assert door.get(path, Range="bytes=0-9", **{"If-Range": modified}).status_code == 206
    for stale in ('"other"', f"W/{etag}", "Mon, 01 Jan 2024 00:00:00 GMT", "nonsense"):
        assert door.get(path, Range="bytes=0-9", **{"If-Range": stale}).status_code == 200
    for name, value in (("If-None-Match", f'"x", {etag}'), ("If-None-Match", "*"), ("If-Modified-Since", modified)):
        same = door.get(path, **{name: value})
        assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", etag)
    for name, value in (("If-Match", f'"x", {etag}'), ("If-Match", "*"), ("If-Unmodified-Since", modified)):
        assert door.get(path, Range="bytes=0-9", **{name: value}).status_code == 206
    for name, value in (("If-Match", f'W/{etag}, "x"'), ("If-Unmodified-Since", "Mon, 01 Jan 2024 00:00:00 GMT")):
        problem(door.get(path, Range="bytes=0-9", **{name: value}), 412, "precondition-failed")
    head = door.client.head(path, headers={"Range": "bytes=0-9"})
    assert (head.status_code, head.headers["content-length"], head.content) == (200, str(size), b"")


@pytest.mark.parametrize("collection", [LIST, "/v1/datasets/administrative-penalties"])
def test_tables_of_a_version_say_what_its_lines_say(door: Server, collection: str) -> None:
    """XLSX and Parquet have the rows of the NDJSON file, in its order and flat: codes text, days and amounts typed, null no empty text."""
    rows = [flat.flatten(json.loads(line)) for line in follow(door, f"{collection}/versions/latest.ndjson").content.splitlines()]
    names = follow(door, f"{collection}/versions/latest.csv").text.partition("\r\n")[0].split(",")
    whole = follow(door, f"{collection}/versions/latest.parquet")
    table = parquet(whole.content)
    columns = [column_of(field) for field in table.schema]
    assert table.column_names == names
    typed = [[cell_of(column, row.get(column.name)) for column in columns] for row in rows]
    assert rows
    assert [list(row.values()) for row in table.to_pylist()] == typed
    types = {column.name: column.type for column in columns}
    assert (types["publish_until"], types["source_received_at"]) == ("date", "instant")
    assert (types["subject_uscc"], types["salt"]) == ("text", "text")
    assert table.schema.metadata[b"version"].decode() == whole.headers["dataset-version"]
    answer = follow(door, f"{collection}/versions/latest.xlsx")
    assert answer.headers["content-type"] == XLSX
    head, *cells = sheet(answer.content)
    assert (head, cells) == (names, [[as_excel(cell) for cell in row] for row in typed])
    path = answer.request.url.path
    part = door.get(path, Range="bytes=2-9", **{"If-Range": answer.headers["etag"]})
    assert (part.status_code, part.content) == (206, answer.content[2:10])
    assert door.get(path, **{"If-None-Match": answer.headers["etag"]}).status_code == 304


def test_bytes_of_a_table_are_those_of_the_issue(fresh_city: City, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another machine, on which a library writes otherwise, gives the very bytes; when a row leaves, nothing of them is kept."""
    database = fresh_city.folder / "data" / "gateway.db"
    with served(fresh_city) as door:
        name = door.get(LIST).json()["latest_version"]
        whole = {suffix: follow(door, f"{LIST}/versions/{name}.{suffix}") for suffix in ("xlsx", "parquet")}
        gone = json.loads(follow(door, f"{LIST}/versions/{name}.ndjson").content.splitlines()[0])["id"]
    monkeypatch.setattr(workbook, "LEVEL", 1)
    monkeypatch.setattr(version_files, "ParquetFile", None)
    for copy in (fresh_city.folder / "data" / "lists").rglob(f"{name}.r1.*"):
        copy.unlink()
    with served(fresh_city) as door:
        for suffix, first in whole.items():
            again = follow(door, f"{LIST}/versions/{name}.{suffix}")
            assert (again.content, again.headers["etag"]) == (first.content, first.headers["etag"])
    monkeypatch.undo()
    fresh_city.run(lambda services: withdraw(services, gone, reason="revoked", actor="test"), "2026-06-01T03:00:00Z")
    fresh_city.run(settle, "2026-06-01T03:01:00Z")

    async def take_out(services: Services) -> None:
        while await follow_lists(services):
            pass

    for moment in ("2026-06-01T03:01:00Z", "2026-06-01T03:02:00Z"):  # read, and told at the next full 30 seconds
        fresh_city.run(take_out, moment)
    with sqlite3.connect(database) as connection:
        kept = connection.execute("SELECT count(*) FROM list_file_parts WHERE collection = 'lists/tax-violations'").fetchone()
    assert kept == (0,)
    with served(fresh_city, "2026-06-01T03:02:00Z") as door:
        for suffix, first in whole.items():
            anew = follow(door, f"{LIST}/versions/{name}.{suffix}")
            assert anew.request.url.path.endswith(f".r2.{suffix}")
            ids = parquet(anew.content)["id"].to_pylist() if suffix == "parquet" else [row[0] for row in sheet(anew.content)]
            assert gone not in ids
            assert door.get(first.request.url.path).status_code == 410


def test_a_version_without_a_workbook_says_so(fresh_city: City, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that a sheet cannot hold: the manifest names no such file, its address is 422 with the code, every other format is there."""
    monkeypatch.setitem(table_files.MOST_ROWS, "xlsx", 1)
    with served(fresh_city) as door:
        manifest = door.get(f"{LIST}/versions/latest").json()
        assert [file["format"] for file in manifest["files"]] == ["ndjson", "csv", "json", "msgpack", "parquet", "ftm.json"]
        path = f"{LIST}/versions/{manifest['version']}.r{manifest['issue']}"
        problem(door.get(f"{path}.xlsx"), 422, "too-many-rows-for-format")
        assert door.get(f"{path}.parquet").status_code == 200


def test_deltas_and_what_is_not_there(door: Server) -> None:
    """From a version to itself there is nothing; durations move; each wrong question has its problem."""
    name = door.get(LIST).json()["latest_version"]
    assert follow(door, f"{LIST}/deltas/P31D/latest.ndjson").content == b""
    assert door.get(f"{LIST}/deltas/{name}/{name}.csv").text.count("\r\n") == 1
    problem(door.get(f"{LIST}/deltas/20200101000000-1/latest.ndjson"), 410, "delta-window")
    for path in ("P2D/latest.ndjson", "latest/latest.ndjson", "P1D/latest.xml", "P1D/latest", "P1D/20990101000000-9.csv"):
        problem(door.get(f"{LIST}/deltas/{path}"), 404, "not-found")
    for path in (
        "versions/nothing",
        "versions/20990101000000-9",
        "versions/latest.exe",
        f"versions/{name}.r0.csv",
        f"versions/{name}.r01.csv",
        f"versions/{name}.r9.csv",
    ):
        problem(door.get(f"{LIST}/{path}"), 404, "not-found")
    problem(door.get(f"{LIST}/versions?sort=version"), 400, "unknown-parameter")
    for limit in ("0", "101", "all", "x"):
        problem(door.get(f"{LIST}/versions?limit={limit}"), 400, "invalid-parameter")
    problem(door.get(f"{LIST}/versions?cursor=c1.x"), 400, "bad-cursor")
    assert door.get(f"{LIST}/versions?limit=1").json()["next"] is None
    problem(door.get("/v1/lists/none/versions"), 404, "not-found")
    problem(door.get("/v1/datasets/none/versions/latest"), 404, "not-found")


def test_a_delta_is_unchanged_by_its_tag_alone(door: Server) -> None:
    """Its address may have other bytes within the second of its date: a date never makes a 304 or a part of it."""
    name = door.get(LIST).json()["latest_version"]
    path = f"{LIST}/deltas/{name}/{name}.csv"
    whole = door.get(path)
    modified = whole.headers["last-modified"]
    for later in (modified, "Fri, 01 Jan 2100 00:00:00 GMT"):
        assert door.get(path, **{"If-Modified-Since": later}).status_code == 200
    assert door.get(path, Range="bytes=0-3", **{"If-Range": modified}).status_code == 200
    assert door.get(path, Range="bytes=0-3", **{"If-Range": whole.headers["etag"]}).status_code == 206
    assert door.get(path, **{"If-None-Match": whole.headers["etag"]}).status_code == 304


def test_a_dataset_has_versions_of_organisations(door: Server) -> None:
    """The same rules for datasets, whose rows are what `rows` counts."""
    about = door.get("/v1/datasets/registrations").json()
    manifest = door.get("/v1/datasets/registrations/versions/latest").json()
    assert (manifest["version"], manifest["rows"]) == (about["latest_version"], about["rows"])
    rows = [json.loads(line) for line in follow(door, "/v1/datasets/registrations/versions/latest.ndjson").text.splitlines()]
    assert not {row["subject"]["kind"] for row in rows} & {"household", "person"}
    assert door.get("/v1/datasets/registrations/versions/latest/checkpoint").text.split("\n")[1] == str(len(rows))


def test_a_withdrawal_leaves_every_file(fresh_city: City) -> None:
    """Before anybody issues anything again the old file is refused; then the old issue is gone with the address of the next."""
    with served(fresh_city) as door:
        first = follow(door, f"{LIST}/versions/latest.ndjson")
    gone = json.loads(first.content.splitlines()[0])["id"]
    later = "2026-06-01T03:00:00Z"
    fresh_city.run(lambda services: withdraw(services, gone, reason="revoked", actor="test"), later)
    with served(fresh_city, later) as door:
        answer = door.get(first.request.url.path)
        assert (answer.status_code, answer.json()["code"]) in {(503, "version-reissuing"), (410, "version-reissued")}
        assert gone not in answer.text


# --- FollowTheMoney ----------------------------------------------------------------------------------------------------


def test_black_lists_are_datasets_of_follow_the_money(door: Server) -> None:
    """What yente asks for: a catalogue, entities a line, a chain of deltas; red lists are not there."""
    found = {each["name"]: each for each in door.get("/v1/ftm/catalog.json").json()["datasets"]}
    assert "tonghua_tax_violations" in found
    assert not any("honours" in name or "-" in name for name in found)
    about = found["tonghua_tax_violations"]
    entities = [json.loads(line) for line in follow(door, about["entities_url"].removeprefix("http://127.0.0.1:8000")).text.splitlines()]
    assert {each["schema"] for each in entities} <= {"Company", "Organization", "LegalEntity", "Sanction"}
    by_id = {each["id"]: each for each in entities}
    sanctions = [each for each in entities if each["schema"] == "Sanction"]
    assert len(sanctions) * 2 == len(entities) == 2 * door.get(LIST).json()["rows"]
    for each in sanctions:
        assert set(each["properties"]) >= {"entity", "authority", "program", "startDate", "sourceUrl"}
        assert by_id[each["properties"]["entity"][0]]["properties"]["name"]
    assert door.get(about["delta_url"].removeprefix("http://127.0.0.1:8000")).json()["versions"] == {}
    problem(door.get("/v1/ftm/none/delta.json"), 404, "not-found")
    problem(door.get("/v1/ftm/tonghua_tax_violations/deltas/20260101000000-1.json"), 404, "not-found")
    problem(door.get("/v1/lists/honours/versions/latest.ftm.json"), 404, "not-found")


_READ = """
import json, sys
from followthemoney import model
for line in sys.stdin:
    proxy = model.get_proxy(json.loads(line), cleaned=False)
    assert proxy.id and proxy.schema.name, line
    said = json.loads(line)["properties"]
    kept = proxy.to_dict()["properties"]
    assert {name: len(values) for name, values in said.items()} == {name: len(kept.get(name, [])) for name in said}, (said, kept)
print("read")
"""


def test_the_library_reads_every_entity(door: Server) -> None:
    """Followthemoney itself takes every entity and every value, where an environment of its own has it (`make ftm`)."""
    python = Path(__file__).resolve().parents[2] / ".ftm" / "bin" / "python"
    if not python.is_file():
        pytest.skip("followthemoney is not here: `make ftm` installs it beside our environment; it needs Debian's libicu-dev")
    body = follow(door, f"{LIST}/versions/latest.ftm.json").content
    done = subprocess.run([python, "-c", _READ], input=body, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (0, b"read\n"), done.stderr.decode()[-2000:]

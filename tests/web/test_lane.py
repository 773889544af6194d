"""The public lane answers alone, answers as the framework does to the byte, and steps aside whenever it is not sure."""

import asyncio
import re
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

import gateway
from gateway.core.disclosure.policy import files_digest
from gateway.core.publication.forms import forms_of
from gateway.operations.render_public import settle
from gateway.services import Services
from gateway.store import lane as reading
from gateway.store import policies as policy_rows
from gateway.store.lane import LaneReads, Rendered
from gateway.web.asgi import Message
from gateway.web.lane import Prepared, PublicLane
from gateway.web.replies import Header
from tests.operations.test_render_again import change_policy
from tests.web.city import City, Server, served

UNREPEATABLE = {"date", "request-id", "ratelimit"}


async def refuse(scope: Any, receive: Any, send: Any) -> None:
    """A framework that must not be asked."""
    if scope["type"] == "http":
        raise AssertionError("the lane did not answer by itself")


@pytest.fixture(scope="module")
def lane(sqlite_city: City) -> Iterator[Server]:
    """A server whose framework refuses every request: what is answered, the lane answered."""
    with served(sqlite_city) as server:
        server.app.inner = refuse
        yield server


@pytest.fixture(scope="module")
def office(sqlite_city: City) -> Iterator[Server]:
    """A server without the lane."""
    with served(sqlite_city) as server:
        server.app.lane = None
        yield server


@pytest.fixture(scope="module")
def codes(office: Server) -> list[str]:
    """Codes of all organisations."""
    lines = office.get("/v1/subjects.ndjson?limit=all&fields=uscc").text.splitlines()
    return [line.split('"uscc":"')[1][:18] for line in lines]


@pytest.fixture(scope="module")
def record_ids(office: Server) -> list[str]:
    """Ids of all records, of persons and households too."""
    found: list[str] = []
    page = office.get("/v1/records?limit=100&fields=id").json()
    while True:
        found += [row["id"] for row in page["items"]]
        if not page["next"]:
            return found
        page = office.get(page["next"]).json()


@pytest.fixture(scope="module")
def subject_ids(sqlite_city: City) -> list[str]:
    """Ids of all subjects, of households too, of which something is public."""
    with closing(sqlite3.connect(sqlite_city.folder / "data" / "gateway.db")) as connection:
        return [row[0] for row in connection.execute("SELECT subject_id FROM rendered_subjects WHERE body IS NOT NULL")]


def shown(answer: httpx.Response) -> tuple[int, dict[str, str], bytes]:
    """An answer without what differs each time."""
    return answer.status_code, {name: value for name, value in answer.headers.items() if name not in UNREPEATABLE}, answer.content


def test_both_lanes_answer_alike(lane: Server, office: Server, codes: list[str], subject_ids: list[str], record_ids: list[str]) -> None:
    """By code or id: status, header fields and bytes; GET, HEAD, conditional, English, browser's and plain header fields."""
    assert len(codes) > 100
    assert len(record_ids) > 100
    assert len(subject_ids) > len(codes), "households too"
    browser = {
        "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        "Accept-Language": "zh-CN,zh;q=0.9,en;q=0.8",
        "Accept-Encoding": "gzip, deflate, br",
        "User-Agent": "Mozilla/5.0",
    }
    english = {"Accept-Language": "en-GB,en;q=0.9,zh;q=0.5"}
    paths = [f"/v1/subjects/{code}" for code in codes]
    by_id = [f"/v1/subjects/{subject_id}" for subject_id in subject_ids[::3]]
    for number, path in [*enumerate(paths), *enumerate(by_id), *enumerate(f"/v1/records/{record_id}" for record_id in record_ids[::6])]:
        plain, translated = lane.get(path), lane.client.get(path, headers=english)
        assert shown(plain) == shown(office.get(path))
        assert shown(translated) == shown(office.client.get(path, headers=english))
        assert (translated.headers["content-language"], translated.headers["etag"] == plain.headers["etag"]) == ("en", False)
        if number < 20:
            etag = plain.headers["etag"]
            same = english | {"If-None-Match": translated.headers["etag"]}
            assert shown(lane.client.get(path, headers=same)) == shown(office.client.get(path, headers=same))
            assert lane.client.get(path, headers=same).status_code == 304
            assert lane.client.get(path, headers=english | {"If-None-Match": etag}).status_code == 200, "of another language"
            for method, headers in (
                ("HEAD", {}),
                ("GET", browser),
                ("HEAD", browser),
                ("GET", {"Accept-Encoding": "zstd;q=0.5, gzip;q=0.4"}),
                ("GET", browser | {"If-None-Match": etag}),
                ("GET", {"If-None-Match": etag}),
                ("GET", {"If-None-Match": f'"x", {etag}'}),
                ("HEAD", {"If-None-Match": "*"}),
                ("GET", {"If-None-Match": '"other"'}),
            ):
                there, here = lane.client.request(method, path, headers=headers), office.client.request(method, path, headers=headers)
                assert shown(there) == shown(here)
                assert there.status_code == (304 if headers.get("If-None-Match") in (etag, f'"x", {etag}', "*") else 200)


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("{code}?x=1", {}),
        ("{code}", {"Authorization": "Bearer x"}),
        ("{code}", {"Purpose": "open.read"}),
        ("{code}", {"Test-Fault": "internal"}),
        ("{code}", {"DPoP": "x"}),
        ("{code}", {"Case-Ref": "x"}),
        ("{code}", {"Accept": "text/csv"}),
        ("{code}", {"Host": "a b"}),
        ("{code}", {"Host": "http://x"}),
        ("{lower}", {}),
        ("{code}.json", {}),
        ("{code}/records", {}),
        ("sub_{code}", {}),
        ("sub_2222222222222222222222222a", {}),
        ("{subject}?x=1", {}),
        ("{subject}", {"Authorization": "Bearer x"}),
        ("{subject}", {"Purpose": "open.read"}),
        ("{subject}", {"Accept": "text/csv"}),
        ("{subject}.json", {}),
        ("{subject}/timeline", {}),
        ("92{code16}", {}),
    ],
)
def test_the_lane_steps_aside(lane: Server, codes: list[str], subject_ids: list[str], path: str, headers: dict[str, str]) -> None:
    """Query, credential, purpose, another format, other spellings, other paths, ids that nothing has: the framework's business."""
    filled = path.format(code=codes[0], lower=codes[0].lower(), code16=codes[0][2:], subject=subject_ids[0])
    assert lane.client.get(f"/v1/subjects/{filled}", headers=headers).status_code == 500  # the refusing framework was asked


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("{record}?x=1", {}),
        ("{record}", {"Authorization": "Bearer x"}),
        ("{record}", {"Purpose": "open.read"}),
        ("{record}", {"Test-Fault": "internal"}),
        ("{record}", {"Accept": "text/csv"}),
        ("{record}.json", {}),
        ("{upper}", {}),
        ("rec_2222222222222222222222222a", {}),
        ("{code}", {}),
    ],
)
def test_the_lane_steps_aside_for_records(
    lane: Server, record_ids: list[str], codes: list[str], path: str, headers: dict[str, str]
) -> None:
    """The same, and ids that nothing has: whether that is 404 the framework says."""
    filled = path.format(record=record_ids[0], upper=record_ids[0].upper(), code=codes[0])
    assert lane.client.get(f"/v1/records/{filled}", headers=headers).status_code == 500  # the refusing framework was asked


def test_other_methods_are_not_the_lanes(office: Server, codes: list[str]) -> None:
    """POST to a subject is 405 as everywhere."""
    assert office.client.post(f"/v1/subjects/{codes[0]}").status_code == 405


LICENCES = b"""
[licences.by]
title = "A"
url = "https://example.cn/by"
strictness = 2

[licences.free]
title = "B"
url = "https://example.cn/free"
strictness = 1
"""


@pytest.mark.parametrize(("cache", "kept"), [("private", "private, max-age=0, must-revalidate"), ("no-store", "no-store")])
def test_licence_and_cache_are_told_alike(fresh_city: City, cache: str, kept: str) -> None:
    """What public rules owe stands in header fields of both lanes: who may keep an answer, and under which licence its data are."""

    async def another(services: Any) -> None:
        files = dict(await policy_rows.files_of(services.store.reads, 1))
        for name, text in files.items():
            if name.startswith("datasets/"):
                named = b"by" if name == "datasets/honours.toml" else b"free"
                owed = b'cache = "%s", license = "%s"' % (cache.encode(), named)
                files[name] = text.replace(b'cache = "public"', owed)
        files["catalogue.toml"] += LICENCES
        async with services.store.transaction() as tx:
            version = await policy_rows.propose(tx, files, files_digest(files), "test")
            await policy_rows.activate(tx, version, "test", "licences")
        await services.policies.refresh()
        await settle(services)

    fresh_city.run(another)
    with served(fresh_city) as lane, served(fresh_city) as office:
        office.app.lane = None
        honour = office.get("/v1/records?dataset=honours&limit=1").json()["items"][0]
        penalty = office.get("/v1/records?dataset=administrative-penalties&limit=1").json()["items"][0]
        framework = lane.app.inner
        lane.app.inner = refuse
        for path, licence in (
            (f"/v1/subjects/{honour['subject']['uscc']}", "by"),  # all datasets: the strictest
            (f"/v1/records/{honour['id']}", "by"),
            (f"/v1/records/{penalty['id']}", "free"),
        ):
            etag = office.get(path).headers["etag"]
            for method, headers, status in (("GET", {}, 200), ("HEAD", {}, 200), ("GET", {"If-None-Match": etag}, 304)):
                here, there = (each.client.request(method, path, headers=headers) for each in (lane, office))
                assert shown(here) == shown(there)
                assert (here.status_code, here.headers["cache-control"]) == (status, kept)
                assert here.links["license"]["url"] == f"https://example.cn/{licence}"
        lane.app.inner = framework
        free, by = ('<https://example.cn/free>; rel="license"', '<https://example.cn/by>; rel="license"')
        for path, licence in (
            ("/v1/records?dataset=administrative-penalties&limit=1", free),
            ("/v1/records.csv?dataset=administrative-penalties&limit=all", free),
            ("/v1/records.ndjson?dataset=honours&limit=all", by),
            ("/v1/lists/tax-violations/listings", free),
            ("/v1/lists/tax-violations", free),
            (f"/v1/records/{penalty['id']}", free),
            ("/v1/datasets/honours", by),
            ("/v1/subjects?limit=1", by),
            ("/v1/changes?since=0", by),
        ):
            answer = office.get(path)
            assert (answer.status_code, answer.headers["cache-control"]) == (200, kept), path
            assert answer.headers["link"].endswith(licence), path
        assert office.get("/v1").json()["licence"] == "https://example.cn/by"
        assert office.get("/v1/datasets/administrative-penalties").json()["licence"] == "https://example.cn/free"
        dictionary = office.get("/v1/datasets/honours/dictionary").headers  # about rules, no data
        assert ("link" in dictionary, dictionary["cache-control"].partition(",")[0]) == (False, "public")


def test_an_answer_is_of_one_moment(fresh_city: City) -> None:
    """While one request waits for its quota another policy is adopted and another version learnt: its header fields stay with its body."""
    with closing(sqlite3.connect(fresh_city.folder / "data" / "gateway.db")) as database:
        code = _codes(database)[0]

    async def waits(services: Services) -> None:
        with closing(LaneReads[Prepared](services.store, kept_bytes=0)) as reads:
            lane = PublicLane(services, reads)

            async def told(pay: Callable[..., Awaitable[list[Header] | None]]) -> tuple[dict[bytes, bytes], bytes]:
                sent: list[Message] = []

                async def send(message: Message) -> None:
                    sent.append(message)

                scope = {"path": f"/v1/subjects/{code}", "query_string": b"", "method": "GET", "headers": [(b"host", b"h")]}
                assert await lane(scope, send, pay) == 200
                return {name: value for name, value in sent[0]["headers"] if name != b"request-id"}, sent[1]["body"]

            async def at_once(*_: object) -> list[Header]:
                return []

            async def late(*_: object) -> list[Header]:
                files = dict(await policy_rows.files_of(services.store.reads, 1))
                files = {name: text.replace(b'cache = "public"', b'cache = "no-store"') for name, text in files.items()}
                async with services.store.transaction() as tx:
                    version = await policy_rows.propose(tx, files, files_digest(files), "test")
                    await policy_rows.activate(tx, version, "test", "kept by nobody")
                    await tx.execute(sa.text("UPDATE feed SET at = '2026-06-01T02:31:00Z'"))
                plan = forms_of(await services.policies.fresh(), "public", "open.read").tag
                async with services.store.transaction() as tx:
                    await tx.execute(sa.text("UPDATE rendered_subjects SET plan = :plan"), {"plan": plan})
                between.append(await told(at_once))
                return []

            between: list[tuple[dict[bytes, bytes], bytes]] = []
            before = await told(at_once)
            assert await told(late) == before
            ((after, _),) = between
            assert after[b"cache-control"] == b"no-store"
            assert all(after[name] != before[0][name] for name in (b"policy-version", b"policy-plan", b"dataset-version", b"cache-control"))

    fresh_city.run(waits)


def test_a_change_is_seen_before_it_is_rendered(fresh_city: City) -> None:
    """When a subject has changed and no reader has run, the lane does not show the old rendering."""
    with served(fresh_city) as server:
        found = server.get("/v1/subjects?limit=1").json()["items"][0]
        paths = f"/v1/subjects/{found['uscc']}", f"/v1/subjects/{found['id']}"
        server.app.inner = refuse
        assert [server.get(path).status_code for path in paths] == [200, 200]
        with sqlite3.connect(fresh_city.folder / "data" / "gateway.db") as connection:
            connection.execute("UPDATE subjects SET head_seq = head_seq + 1")
        connection.close()
        assert [server.get(path).status_code for path in paths] == [500, 500]


def test_a_rendering_ends_by_the_clock(fresh_city: City) -> None:
    """Past its `valid_until` a rendering is not shown, whether or not a reader has run."""
    with served(fresh_city) as server:
        found = server.get("/v1/subjects?limit=1").json()["items"][0]
        paths = f"/v1/subjects/{found['uscc']}", f"/v1/subjects/{found['id']}"
        server.app.inner = refuse
        with sqlite3.connect(fresh_city.folder / "data" / "gateway.db") as connection:
            connection.execute("UPDATE rendered_subjects SET valid_until = '2026-06-01T02:30:30Z'")
        connection.close()
        assert all("max-age=30," in server.get(path).headers["cache-control"] for path in paths)
        with sqlite3.connect(fresh_city.folder / "data" / "gateway.db") as connection:
            connection.execute("UPDATE rendered_subjects SET valid_until = '2026-06-01T02:30:00Z'")
        connection.close()
        assert [server.get(path).status_code for path in paths] == [500, 500]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE records SET changed_seq = changed_seq + 1",
        "UPDATE rendered_records SET valid_from = '2026-06-01T02:30:01Z'",
        "UPDATE rendered_records SET valid_until = '2026-06-01T02:30:00Z'",
        "UPDATE rendered_records SET plan = 'another'",
        "DELETE FROM rendered_records",
    ],
)
def test_a_record_is_shown_while_its_rendering_is_true(fresh_city: City, change: str) -> None:
    """Changed since, not true yet, not true any more, of other plans, gone: from the next request on the lane steps aside."""
    with served(fresh_city) as server:
        record = server.get("/v1/records?limit=1").json()["items"][0]["id"]
        server.app.inner = refuse
        assert server.get(f"/v1/records/{record}").status_code == 200
        with sqlite3.connect(fresh_city.folder / "data" / "gateway.db") as connection:
            connection.execute(change)
        connection.close()
        assert server.get(f"/v1/records/{record}").status_code == 500


def test_another_policy_in_the_store_stops_the_lane(fresh_city: City) -> None:
    """A policy that another process activated counts from its commit, before this process has read it."""
    reads: LaneReads[Rendered] = LaneReads(asyncio.run(_store_of(fresh_city)), kept_bytes=0)
    with sqlite3.connect(fresh_city.folder / "data" / "gateway.db") as connection:
        code = connection.execute(
            "SELECT key_value FROM subject_keys JOIN rendered_subjects USING (subject_id) WHERE key_type = 'uscc' AND kind = 'enterprise'"
        ).fetchone()[0]
        before = ask(reads, code), reads.state.policy_version
        connection.execute("INSERT INTO policy_versions SELECT 2, 'other', 1, files, proposed_at, proposed_by FROM policy_versions")
        connection.execute("INSERT INTO policy_activations VALUES (2, 2, '2026-06-01T02:30:00Z', 'test', 'test', 1, NULL, NULL)")
        connection.commit()
        after = ask(reads, code), reads.state.policy_version
    connection.close()
    reads.close()
    assert before[0] is not None
    assert after[0] is not None
    assert (before[1], after[1]) == (1, 2)


def _codes(database: sqlite3.Connection) -> list[str]:
    """Codes of rendered organisations."""
    return [
        code
        for (code,) in database.execute(
            "SELECT key_value FROM subject_keys JOIN rendered_subjects USING (subject_id) "
            "WHERE key_type = 'uscc' AND length(key_value) = 18 AND body IS NOT NULL ORDER BY key_value"
        )
    ]


@contextmanager
def kept(city: City, kept_bytes: int = 2**20) -> Iterator[tuple[LaneReads[Rendered], list[str], sqlite3.Connection]]:
    """The lane's reads, which keep rows as they are, the statements that they asked, and somebody else's connection."""
    reads: LaneReads[Rendered] = LaneReads(asyncio.run(_store_of(city)), kept_bytes=kept_bytes)
    reads.keep(lambda _code, rendered: (rendered, len(rendered.body or b"") + 400))
    asked: list[str] = []
    reads._connection.set_trace_callback(asked.append)
    with closing(reads), closing(sqlite3.connect(city.folder / "data" / "gateway.db")) as database:
        yield reads, asked, database


def ask(reads: LaneReads[Rendered], code: str) -> Rendered | None:
    """What the lane would answer of: at hand or read."""
    if not reads.looked and not reads.look():
        return None
    held = reads.held.get(code)
    return held if held is not None else reads.by_code(code)


async def some_turns(reads: LaneReads[Rendered], code: str = "91220502XXT00002X2") -> None:
    """Turns of the loop in which a code is asked for, which need be nobody's: enough of them to keep what there is room for."""
    for _ in range(40):
        ask(reads, code)
        await asyncio.sleep(0)


@pytest.fixture
def restless(monkeypatch: pytest.MonkeyPatch) -> None:
    """What may be kept is read from the first turn on, also just after a change."""
    monkeypatch.setattr(reading, "_REST_S", 0.0)


def looked_up(asked: list[str]) -> int:
    """How many look-ups there were since this was last asked."""
    done = sum("FROM subject_keys" in each for each in asked)
    asked.clear()
    return done


def test_in_one_turn_of_the_loop_the_store_is_asked_once(fresh_city: City) -> None:
    """Whoever asks after a commit, in a later turn, sees it."""

    async def turns(reads: LaneReads[Rendered], asked: list[str], database: sqlite3.Connection) -> None:
        code, other = _codes(database)[:2]
        before = [ask(reads, each) for each in (code, code, other)]
        assert (asked.count("PRAGMA data_version"), asked.count("BEGIN"), looked_up(asked)) == (1, 1, 3)
        await asyncio.sleep(0)
        assert ask(reads, code) == before[0]
        assert asked[:3] == ["COMMIT", "PRAGMA data_version", "BEGIN"], "the last turn's reading ended; one look at the version"
        database.execute("UPDATE rendered_subjects SET etag = 'another'")
        database.commit()
        await asyncio.sleep(0)
        after = ask(reads, code)
        assert before[0] is not None
        assert after is not None
        assert (after.etag, before[0].etag == "another") == ("another", False)

    with kept(fresh_city) as (reads, asked, database):
        asyncio.run(turns(reads, asked, database))


@pytest.mark.usefixtures("restless")
def test_who_comes_in_while_the_store_is_looked_at_sees_what_was_committed_then(fresh_city: City) -> None:
    """Between the moment of which the database speaks and its answer others commit, are told so, and ask: that is after the commit."""

    async def turns(reads: LaneReads[Rendered], database: sqlite3.Connection) -> None:
        code = _codes(database)[0]
        await some_turns(reads)
        seen: list[Any] = []

        def meanwhile(_cursor: sqlite3.Cursor, row: tuple[Any, ...]) -> tuple[Any, ...]:
            """The version has been read, and nobody knows it yet."""
            reads._connection.row_factory = None
            database.execute("UPDATE rendered_subjects SET etag = 'another'")
            database.commit()
            asyncio.get_running_loop().call_soon(lambda: seen.append(ask(reads, code)))
            return row

        reads._connection.row_factory = meanwhile
        before = ask(reads, code)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert before is not None
        assert (before.etag == "another", [row.etag for row in seen]) == (False, ["another"])

    with kept(fresh_city) as (reads, _, database):
        asyncio.run(turns(reads, database))


@pytest.mark.usefixtures("restless")
def test_the_register_is_kept_whoever_asks_for_what(sqlite_city: City) -> None:
    """Nothing was kept because it was asked for, nothing is missing because nobody asked, and no household is among it."""
    with closing(sqlite3.connect(sqlite_city.folder / "data" / "gateway.db")) as database:
        codes = _codes(database)
    held = []
    for code in ("91220502XXT00002X2", codes[0], codes[-1]):
        with kept(sqlite_city) as (reads, asked, _):
            asyncio.run(some_turns(reads, code))
            looked_up(asked)
            assert [ask(reads, each) is not None for each in codes] == [True] * len(codes)
            assert not looked_up(asked)
            held.append(list(reads.held))
    assert held == [codes] * 3


@pytest.mark.usefixtures("restless")
def test_what_is_kept_is_bounded(sqlite_city: City) -> None:
    """The first by code are kept, as many as there is room for, and no other for being asked for; all are answered alike."""
    with closing(sqlite3.connect(sqlite_city.folder / "data" / "gateway.db")) as database:
        codes = _codes(database)
    with kept(sqlite_city, 20_000) as (reads, _, _), kept(sqlite_city, 0) as (others, _, _):
        asyncio.run(some_turns(reads, codes[-1]))
        asyncio.run(some_turns(others, codes[-1]))
        assert not others.held
        assert 2 < len(reads.held) < len(codes)
        assert list(reads.held) == codes[: len(reads.held)]
        assert sum(len(row.body or b"") for row in reads.held.values()) <= 20_000
        assert [ask(reads, code) for code in codes] == [ask(others, code) for code in codes]
        assert list(reads.held) == codes[: len(reads.held)]


def test_while_somebody_writes_nothing_is_kept(fresh_city: City) -> None:
    """After a change nothing is read beyond what is asked for: the next commit would undo it."""
    with kept(fresh_city) as (reads, asked, database):
        for _ in range(3):
            database.execute("UPDATE subjects SET head_seq = head_seq + 1")
            database.commit()
            asyncio.run(some_turns(reads))
            assert not reads.held
        assert looked_up(asked) == 120


@pytest.mark.usefixtures("restless")
def test_even_a_row_that_was_replaced_behind_the_triggers_is_seen(fresh_city: City, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here replaces rows; if another program does, nothing that was kept for so long is answered, though nobody asked meanwhile."""
    with kept(fresh_city) as (reads, _, database):
        code = _codes(database)[0]
        asyncio.run(some_turns(reads))
        before = ask(reads, code)
        ((subject,),) = database.execute("SELECT subject_id FROM subject_keys WHERE key_value = ?", (code,)).fetchall()
        row = list(database.execute("SELECT * FROM rendered_subjects WHERE subject_id = ?", (subject,)).fetchone())
        row[4] = "another"
        database.execute(f"INSERT OR REPLACE INTO rendered_subjects VALUES ({', '.join('?' * len(row))})", row)
        database.commit()
        assert ask(reads, code) == before
        monkeypatch.setattr(reads, "_renewed_from", 0.0)
        after = ask(reads, code)
        asyncio.run(some_turns(reads))
        assert after is not None
        assert (after.etag, list(reads.held)) == ("another", _codes(database))


def test_a_lane_whose_transaction_does_not_end_answers_nothing(fresh_city: City) -> None:
    """It would go on to see the past: neither what it keeps nor what it reads is believed, until the transaction is over."""

    async def turns(reads: LaneReads[Rendered], database: sqlite3.Connection) -> None:
        code, other = _codes(database)[:2]
        ((subject,),) = database.execute("SELECT subject_id FROM subject_keys WHERE key_value = ?", (other,)).fetchall()
        assert ask(reads, code) is not None
        await asyncio.sleep(0)
        reads._connection.execute("BEGIN")
        assert [ask(reads, each) for each in (code, other)] == [None, None]
        assert reads.subject(subject) is None
        reads._connection.execute("COMMIT")
        assert ask(reads, code) is not None

    with kept(fresh_city) as (reads, _asked, database):
        asyncio.run(turns(reads, database))


CHANGES = (
    "UPDATE subjects SET head_seq = head_seq + 1 WHERE subject_id = :subject",
    "UPDATE rendered_subjects SET valid_until = '2026-06-01T02:30:30Z' WHERE subject_id = :subject",
    "UPDATE subject_keys SET subject_id = (SELECT max(subject_id) FROM subjects) WHERE key_value = :code",
    "INSERT INTO rendered_subjects SELECT * FROM rendered_subjects WHERE subject_id = :subject ON CONFLICT DO UPDATE SET body = NULL",
    "DELETE FROM rendered_subjects WHERE subject_id = :subject",
    "DELETE FROM subject_keys WHERE key_value = :code",
    "DELETE FROM subjects WHERE subject_id = :subject",
)


@pytest.mark.usefixtures("restless")
@pytest.mark.parametrize("watched", [True, False], ids=["watched", "unwatched"])
def test_what_is_kept_never_outlives_its_rows(fresh_city: City, watched: bool) -> None:
    """Whatever anybody changes or takes away is seen at the next look; what else is committed costs no look-up, where triggers stand."""
    with kept(fresh_city) as (reads, asked, database):
        if not watched:
            database.execute("DROP TRIGGER lane_subjects_update")
            database.commit()
        for number, (code, change) in enumerate(zip(_codes(database)[: len(CHANGES)], CHANGES, strict=True), 1):
            asyncio.run(some_turns(reads))
            before = ask(reads, code)
            assert before is not None
            asked.clear()
            database.execute("INSERT INTO counters (name, value) VALUES (?, 1)", (f"of nobody here {number}",))
            database.commit()
            assert ask(reads, code) == before
            assert looked_up(asked) == (0 if watched else 1), change
            subject = database.execute("SELECT subject_id FROM subject_keys WHERE key_value = ?", (code,)).fetchone()[0]
            assert database.execute(change, {"subject": subject, "code": code}).rowcount == 1, change
            database.rollback()
            assert ask(reads, code) == before, change
            assert looked_up(asked) == (0 if watched else 1), change
            database.execute(change, {"subject": subject, "code": code})
            database.commit()
            assert ask(reads, code) != before, change


@pytest.mark.usefixtures("restless")
def test_nothing_outlives_a_trigger_that_is_taken_away(fresh_city: City) -> None:
    """A table that is built anew loses its triggers: from that commit on nothing is kept."""
    with kept(fresh_city) as (reads, _, database):
        code = _codes(database)[0]
        asyncio.run(some_turns(reads))
        before = ask(reads, code)
        database.executescript("BEGIN; DROP TRIGGER lane_rendered_subjects_update; UPDATE rendered_subjects SET etag = 'other'; COMMIT")
        assert ask(reads, code) != before
        asyncio.run(some_turns(reads))
        assert not reads.held


@pytest.mark.usefixtures("restless")
def test_a_trigger_that_followed_its_table_watches_no_more(fresh_city: City) -> None:
    """A table that was built anew under the old name is watched by nobody, though triggers of all six names stand."""
    with kept(fresh_city) as (reads, _, database):
        code = _codes(database)[0]
        database.executescript(
            "BEGIN; ALTER TABLE rendered_subjects RENAME TO aside; CREATE TABLE rendered_subjects AS SELECT * FROM aside; COMMIT"
        )
        asyncio.run(some_turns(reads))
        before = ask(reads, code)
        assert before is not None
        assert not reads.held
        database.executescript("UPDATE rendered_subjects SET etag = 'other'")
        assert ask(reads, code) != before


REPLACING = re.compile(r"\bor\s+replace\b|\breplace\s+into\b|on[_ ]conflict\w*[\s=\"']*replace", re.IGNORECASE)


def test_nothing_here_replaces_rows() -> None:
    """A row that a REPLACE takes away fires no trigger: no statement and no table of ours says so."""
    for said in ("INSERT OR REPLACE INTO subjects", "REPLACE INTO subjects", "ON CONFLICT REPLACE", 'sqlite_on_conflict_unique="REPLACE"'):
        assert REPLACING.search(said)
    root = Path(gateway.__file__).parent
    assert not [str(path) for path in sorted(root.rglob("*.py")) if REPLACING.search(path.read_text("utf-8"))]


async def _store_of(city: City) -> Any:
    from gateway.services import open_services

    async with open_services(city.settings()) as services:
        return services.store


def test_postgresql_has_no_lane(pg_city: City) -> None:
    """There a look-up waits for the network: the office lane answers."""
    with served(pg_city) as server:
        assert server.app.lane is None
        line = server.get("/v1/subjects.ndjson?limit=1").text
        code = line.split('"uscc":"')[1][:18]
        assert server.get(f"/v1/subjects/{code}").status_code == 200


def test_a_store_that_cannot_be_read_is_no_answer(sqlite_city: City) -> None:
    """A failing statement makes the lane step aside."""
    reads: LaneReads[Rendered] = LaneReads(asyncio.run(_store_of(sqlite_city)), kept_bytes=2**20)
    reads.close()
    assert not reads.look()
    assert reads.by_code("91220502XXT00002X2") is None
    assert reads.subject("sub_2222222222222222222222222a") is None
    assert reads.record("rec_2222222222222222222222222a") is None


def test_after_the_end_of_grounds_the_lane_steps_aside(fresh_city: City) -> None:
    """A rendered organisation, whatever it has of the dataset whose grounds have ended: 503 like the framework, and when to ask."""

    async def ends(services: Any) -> None:
        await change_policy(
            services,
            "datasets/tax-violations.toml",
            'article = "十一", from = 2022-02-01 }',
            'article = "十一", from = 2022-02-01, until = 2026-06-01 }',
        )
        await settle(services)

    fresh_city.run(ends)
    with served(fresh_city) as server:
        found = server.get("/v1/subjects?limit=1").json()["items"][0]
        code, by_id = found["uscc"], f"/v1/subjects/{found['id']}"
        framework, server.app.inner = server.app.inner, refuse
        for path in (f"/v1/subjects/{code}", by_id):
            assert server.get(path).status_code == 200, "on the last day the lane answers by itself"
        server.app.inner = framework
    with served(fresh_city, now="2026-06-01T16:00:00Z") as server:
        for path in (f"/v1/subjects/{code}", by_id, f"/v1/subjects/{code}/records", "/v1/records?dataset=tax-violations", "/v1/subjects"):
            answer = server.get(path)
            assert (answer.status_code, answer.json()["code"]) == (503, "policy-expired"), path
            assert answer.headers["retry-after"] == "300"
        assert server.get("/v1/records?dataset=honours").status_code == 200

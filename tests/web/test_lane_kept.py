"""What the public lane keeps in memory are whole answers: those of the framework, of the register or its first part, and never older."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, closing
from datetime import datetime, timedelta
from typing import Any

import pytest
from msgspec import structs

from gateway.app import create_app
from gateway.core.callers.caller import PUBLIC
from gateway.core.disclosure.policy import files_digest
from gateway.operations import answer_query
from gateway.operations.render_public import settle
from gateway.operations.rotate_keys import rotate_label
from gateway.services import Services
from gateway.store import lane as reading
from gateway.store import policies as policy_rows
from gateway.store.lane import LaneReads
from gateway.web.asgi import Message
from gateway.web.edge import FrontDoor
from gateway.web.lane import Prepared, PublicLane
from gateway.web.replies import Header
from tests.operations.test_rotate_keys import acts, custodian
from tests.web.city import City, Server
from tests.web.test_lane import _codes, refuse, shown

BROWSER = {"Accept": "text/html,application/json;q=0.9,*/*;q=0.8", "Accept-Encoding": "gzip, zstd", "User-Agent": "Mozilla/5.0"}


@pytest.fixture(autouse=True)
def restless(monkeypatch: pytest.MonkeyPatch) -> None:
    """What may be kept is read from the first turn on, also just after a change."""
    monkeypatch.setattr(reading, "_REST_S", 0.0)


def codes_of(city: City) -> list[str]:
    """Codes of rendered organisations."""
    with closing(sqlite3.connect(city.folder / "data" / "gateway.db")) as database:
        return _codes(database)


class Asked:
    """A lane in this process that is asked without a server."""

    def __init__(self, services: Services, reads: LaneReads[Prepared]) -> None:
        self.reads = reads
        self.lane = PublicLane(services, reads)
        self.statements: list[str] = []
        reads._connection.set_trace_callback(self.statements.append)

    async def look_up(self, code: str, method: str = "GET", **headers: str) -> tuple[int, Mapping[bytes, bytes], bytes]:
        """Status, header fields and body; status 0: left to the framework."""
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        fields = [(b"host", b"h"), *((name.replace("_", "-").encode(), value.encode()) for name, value in headers.items())]
        scope = {"path": f"/v1/subjects/{code}", "query_string": b"", "method": method, "headers": fields}
        status = await self.lane(scope, send, lambda *_: list[Header]())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return (status, dict(sent[0]["headers"]), sent[1]["body"]) if status else (0, {}, b"")

    async def fill(self) -> None:
        """Turns in which a code is asked for that nobody has: enough of them to keep what there is room for."""
        for _ in range(40):
            await self.look_up("91220502XXT00002X2")
        self.statements.clear()

    def read(self) -> int:
        """How many statements asked for a rendering since this was last asked."""
        done = sum("rendered_subjects" in each for each in self.statements)
        self.statements.clear()
        return done


@asynccontextmanager
async def asking(services: Services, kept_bytes: int = 2**20) -> AsyncIterator[Asked]:
    """A lane over these services."""
    with closing(LaneReads[Prepared](services.store, kept_bytes=kept_bytes)) as reads:
        yield Asked(services, reads)


@pytest.mark.parametrize("demo", [False, True], ids=["office", "demo"])
def test_whole_answers_are_the_frameworks(sqlite_city: City, demo: bool) -> None:
    """Organisations out of memory, in Chinese and in English, whole, by HEAD, as 304 and compressed: as the framework answers."""
    codes = codes_of(sqlite_city)
    settings = structs.replace(sqlite_city.settings(), demo=demo)
    servers = []
    for _ in range(2):
        door = create_app(settings)
        assert isinstance(door, FrontDoor)
        servers.append(Server(door).start())
    lane, office = servers
    try:
        office.app.lane = None
        kept = lane.app.lane
        assert isinstance(kept, PublicLane)
        while len(kept._reads.held) < len(codes):
            lane.get("/v1/subjects/91220502XXT00002X2")
        assert list(kept._reads.held) == codes
        lane.app.inner = refuse
        for code in codes[::4]:
            path = f"/v1/subjects/{code}"
            etag = office.get(path).headers["etag"]
            english = office.client.get(path, headers={"Accept-Language": "en"}).headers["etag"]
            for method, headers, status in (
                ("GET", {}, 200),
                ("HEAD", {}, 200),
                ("GET", BROWSER, 200),
                ("GET", {"If-None-Match": etag}, 304),
                ("HEAD", {"If-None-Match": f'"x", {etag}'}, 304),
                ("GET", {"Accept-Language": "en"}, 200),
                ("GET", {"Accept-Language": "en", "If-None-Match": english}, 304),
                ("GET", {"Accept-Language": "en", "If-None-Match": etag}, 200),
                ("GET", {}, 200),
            ):
                here, there = (each.client.request(method, path, headers=headers) for each in (lane, office))
                assert shown(here) == shown(there)
                assert here.status_code == status
        assert list(kept._reads.held) == codes, "of this nothing was forgotten, and nothing kept in English"
    finally:
        for server in servers:
            server.stop()


def told(city: City, story: Callable[[Services], Awaitable[None]]) -> None:
    """Run a story against a city."""
    city.run(story)


def test_what_is_at_hand_asks_the_store_nothing(sqlite_city: City) -> None:
    """In Chinese and in English, whole or not: of what is kept no rendering is read, and what has been asked is not kept."""
    code = codes_of(sqlite_city)[0]

    async def story(services: Services) -> None:
        async with asking(services) as asked:
            await asked.fill()
            held = dict(asked.reads.held)
            plain = await asked.look_up(code)
            assert (plain[0], (await asked.look_up(code, if_none_match=plain[1][b"etag"].decode()))[0]) == (200, 304)
            assert [(await asked.look_up(code, accept_language=each))[1][b"content-language"] for each in ("en", "zh")] == [b"en", b"zh-CN"]
            assert (await asked.look_up(code, "HEAD"))[2] == b""
            assert not asked.read()
            assert (held, list(held)) == (asked.reads.held, codes_of(sqlite_city))

    told(sqlite_city, story)


def test_nothing_is_read_in_advance_without_room(sqlite_city: City) -> None:
    """With 0 MB there is no portion, and each look-up is one statement."""
    codes = codes_of(sqlite_city)

    async def story(services: Services) -> None:
        async with asking(services, 0) as asked:
            await asked.fill()
            assert [(await asked.look_up(code))[0] for code in codes[:5]] == [200] * 5
            assert asked.read() == 5
            assert not asked.reads.held

    told(sqlite_city, story)


def test_answers_find_no_more_room_than_there_is(sqlite_city: City) -> None:
    """The first by code, each with all that it takes beside its document; the others are answered alike."""
    codes = codes_of(sqlite_city)

    async def story(services: Services) -> None:
        async with asking(services, 30_000) as few, asking(services) as all_of_them:
            await few.fill()
            await all_of_them.fill()
            held = few.reads.held
            assert 2 < len(held) < len(codes)
            assert list(held) == codes[: len(held)]
            assert sum(len(each.body) + len(each.etag) + len(each.link or b"") + 400 for each in held.values()) <= 30_000
            for code in codes:
                here, there = await few.look_up(code), await all_of_them.look_up(code)
                assert {**here[1], b"request-id": b""} == {**there[1], b"request-id": b""}
                assert (here[0], here[2]) == (there[0], there[2])

    told(sqlite_city, story)


def test_no_answer_outlives_its_policy(fresh_city: City) -> None:
    """Activated by this process or another: nothing that was made before is answered or kept; rendered again, all is made anew."""
    code = codes_of(fresh_city)[0]

    async def story(services: Services) -> None:
        async with asking(services) as asked:
            await asked.fill()
            _, before, _ = await asked.look_up(code)
            files = dict(await policy_rows.files_of(services.store.reads, 1))
            files = {name: text.replace(b'cache = "public"', b'cache = "no-store"') for name, text in files.items()}
            async with services.store.transaction() as tx:
                version = await policy_rows.propose(tx, files, files_digest(files), "test")
                await policy_rows.activate(tx, version, "test", "kept by nobody")
            assert (await asked.look_up(code))[0] == 0, "in force from its commit, before this process has read it"
            await services.policies.refresh()
            assert (await asked.look_up(code))[0] == 0
            await asked.fill()
            assert not asked.reads.held, "renderings of another policy are not made into answers"
            await settle(services)
            await asked.fill()
            _, after, _ = await asked.look_up(code)
            assert (asked.read(), after[b"cache-control"], before[b"cache-control"][:6]) == (0, b"no-store", b"public")
            assert before[b"policy-version"] != after[b"policy-version"]

    told(fresh_city, story)


def test_no_validator_outlives_its_key(fresh_city: City) -> None:
    """After a rotation of the key of validators every tag is the framework's at once, in memory and out of it."""
    code = codes_of(fresh_city)[0]

    async def story(services: Services) -> None:
        async def validators() -> list[bytes]:
            answers = [await answer_query.subject_document(services, code, PUBLIC, language) for language in ("zh-CN", "en")]
            return [f'W/"{answer.etag}"'.encode() for answer in answers]

        async def tags(asked: Asked) -> list[bytes]:
            return [(await asked.look_up(code, accept_language=language))[1][b"etag"] for language in ("zh", "en")]

        async with asking(services) as asked:
            await asked.fill()
            before = await tags(asked)
            assert before == await validators()
            await rotate_label(services, "etag", by=await acts(await custodian(services)), notice_s=0)
            after = await tags(asked)
            assert after == await validators()
            assert not set(before) & set(after)
            await asked.fill()
            assert await tags(asked) == after
            assert (asked.read(), len(asked.reads.held)) == (0, len(codes_of(fresh_city)))

    told(fresh_city, story)


def test_no_answer_outlives_its_end(fresh_city: City) -> None:
    """A minute before its end an answer may be kept for less; from its end on it is not given, though it lies at hand."""
    code, other = codes_of(fresh_city)[:2]
    with closing(sqlite3.connect(fresh_city.folder / "data" / "gateway.db")) as database:
        database.execute(
            "UPDATE rendered_subjects SET valid_until = '2026-06-01T02:30:30Z' "
            "WHERE subject_id = (SELECT subject_id FROM subject_keys WHERE key_value = ?)",
            (code,),
        )
        database.commit()

    async def story(services: Services) -> None:
        now = datetime.fromisoformat("2026-06-01T02:30:00Z")
        moved: Any = structs.replace(services, clock=lambda: now)
        async with asking(moved) as asked:
            await asked.fill()
            assert code in asked.reads.held
            for seconds, status in ((0, 200), (29, 200), (30, 0), (29, 200), (60, 0)):
                now = datetime.fromisoformat("2026-06-01T02:30:00Z") + timedelta(seconds=seconds)
                found, fields, _ = await asked.look_up(code)
                assert (found, (await asked.look_up(other))[0]) == (status, 200)
                if status:
                    assert fields[b"cache-control"].startswith(b"public, max-age=%d," % (30 - seconds))

    told(fresh_city, story)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE subjects SET head_seq = head_seq + 1 WHERE subject_id = :subject",
        "UPDATE rendered_subjects SET plan = 'another' WHERE subject_id = :subject",
        "UPDATE rendered_subjects SET body = NULL WHERE subject_id = :subject",
        """UPDATE rendered_subjects SET body = CAST(replace(body, '"name"', '"successor_code":null,"name"') AS BLOB)
        WHERE subject_id = :subject""",
        "DELETE FROM rendered_subjects WHERE subject_id = :subject",
    ],
)
def test_what_is_not_true_is_no_answer(fresh_city: City, change: str) -> None:
    """Changed since, of other plans, gone, with a successor: from the commit on it is not answered, and never made into an answer."""
    code, other = codes_of(fresh_city)[:2]

    async def story(services: Services) -> None:
        async with asking(services) as asked:
            await asked.fill()
            assert (await asked.look_up(code))[0] == 200
            with closing(sqlite3.connect(fresh_city.folder / "data" / "gateway.db")) as database:
                ((subject,),) = database.execute("SELECT subject_id FROM subject_keys WHERE key_value = ?", (code,)).fetchall()
                assert database.execute(change, {"subject": subject}).rowcount == 1
                assert (await asked.look_up(code))[0] == 200, "not committed"
                database.commit()
            assert (await asked.look_up(code))[0] == 0
            await asked.fill()
            assert (code in asked.reads.held, other in asked.reads.held) == (False, True)
            assert [(await asked.look_up(each))[0] for each in (code, other)] == [0, 200]

    told(fresh_city, story)


def test_a_code_that_the_lane_does_not_know_is_not_kept(fresh_city: City) -> None:
    """Were the code of a household to stand in clear, the framework would be asked about it, as about whatever is no code."""
    codes = codes_of(fresh_city)
    strange = [f"92{codes[0][2:]}", codes[1].lower()]
    with closing(sqlite3.connect(fresh_city.folder / "data" / "gateway.db")) as database:
        for code, other in zip(codes[:2], strange, strict=True):
            assert database.execute("UPDATE subject_keys SET key_value = ? WHERE key_value = ?", (other, code)).rowcount == 1
        database.commit()

    async def story(services: Services) -> None:
        async with asking(services) as asked:
            await asked.fill()
            assert list(asked.reads.held) == codes[2:]
            assert [(await asked.look_up(code))[0] for code in (*strange, codes[2])] == [0, 0, 200]

    told(fresh_city, story)


def test_a_rendering_that_cannot_be_made_into_an_answer_keeps_none_of_the_others(
    fresh_city: City, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its look-up is left to the framework, which tells what is wrong."""
    codes = codes_of(fresh_city)

    async def story(services: Services) -> None:
        async with asking(services) as asked:
            made = PublicLane._made

            def fails(lane: PublicLane, name: str, *more: Any) -> Prepared | None:
                if name == codes[1]:
                    raise answer_query.NotFound
                return made(lane, name, *more)

            monkeypatch.setattr(PublicLane, "_made", fails)
            await asked.fill()
            assert list(asked.reads.held) == [codes[0], *codes[2:]]

    told(fresh_city, story)

"""The search lane answers plain searches alone and as the framework does, to the byte, and steps aside for everything else."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any
from urllib.parse import quote

import pytest
from msgspec import structs

from gateway.core.errors import StoreError
from gateway.store import renderings, search, search_memory
from gateway.store.search_memory import SearchMemory
from gateway.web import search_lane
from tests.web.city import City, Server, served
from tests.web.serving import client_of
from tests.web.test_lane import refuse, shown
from tests.web.test_limits import app_of, left, spend

KINDS = (
    "示例", "通化市示例", "通化", "通化市", "市", "药", "有限公司", "公司", "药业", "龘龘", "测试没有这样的名称", "tonghua", "thsl", "abc",
    "220500", "示例abc", "９１２２", "92", "測試", "東昌", "𠮷野家", "示" * 64, "公" * 70,
)  # fmt: skip
SIZES = ("", "&limit=1", "&limit=2", "&limit=10", "&limit=20", "&limit=50", "&limit=100")


@pytest.fixture(scope="module", params=["read", "in memory"])
def lane(city: City, request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server whose framework refuses every request: what is answered, the lane answered, names read or (SQLite) in memory."""
    with pytest.MonkeyPatch.context() as patch, served(city) as server:
        server.app.inner = refuse
        memory = keep_names(server, patch) if request.param == "in memory" else None
        server.app.searches._memory = memory
        yield server


def keep_names(server: Server, patch: pytest.MonkeyPatch) -> SearchMemory | None:
    """Ask until names and documents are in memory; None where nothing is kept (PostgreSQL)."""
    patch.setattr(search_memory, "_REST_S", 0.0)
    memory: SearchMemory | None = server.app.searches._memory
    if memory is not None:
        for _ in range(300):
            server.get("/v1/subjects?q=%E8%8D%AF&limit=1")
            if memory._after is memory._documents_after is None:
                break
        assert memory._after is memory._documents_after is None
        assert len(memory._names)
    return memory


@pytest.fixture(scope="module")
def office(city: City) -> Iterator[Server]:
    """A server without the lane."""
    with served(city) as server:
        server.app.searches = None
        yield server


@pytest.fixture(scope="module")
def names(office: Server) -> list[str]:
    """Names of all organisations."""
    return [item["name"] for item in office.get("/v1/subjects.json?limit=all&kind=enterprise&fields=name").json()["items"]]


@pytest.fixture(scope="module")
def households(office: Server) -> list[str]:
    """Names of individual businesses, as their records show them."""
    items = office.get("/v1/records?limit=100&dataset=administrative-penalties").json()["items"]
    return [each["subject"]["name"] for each in items if each["subject"]["kind"] == "household" and "name" in each["subject"]]


def mistyped(name: str) -> str:
    """A name of which two characters changed places."""
    return name[:6] + name[7:8] + name[6:7] + name[8:10]


def test_searches_are_answered_alike(lane: Server, office: Server, names: list[str], households: list[str]) -> None:
    """Of every length, as typed and typed wrong, of firms, households and nobody: status, header fields and bytes, on both databases."""
    assert len(names) > 50
    pieces = [name[at : at + size] for at, name in enumerate(names[:60]) for size in (2, 4) if at < len(name) - 4]
    texts = [*KINDS, *households[:5], *pieces]
    texts += [text for name in names[:20] for text in (name, name[5:8], mistyped(name), name[:3] + name[5:])]
    for number, text in enumerate(texts):
        path = f"/v1/subjects?q={quote(text)}{SIZES[number % len(SIZES)]}"
        assert shown(lane.get(path)) == shown(office.get(path)), text


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Accept-Language": "en"},
        {"Accept-Encoding": "gzip, deflate, br, zstd"},
        {"Accept-Encoding": "gzip", "Accept-Language": "en", "Accept": "application/json"},
        {"If-None-Match": "*"},
        {"If-None-Match": '"other"'},
    ],
)
def test_however_it_is_asked(lane: Server, office: Server, names: list[str], method: str, headers: dict[str, str]) -> None:
    """HEAD, languages, codings and conditions, the parameters in both orders."""
    queries = f"q={quote(names[0][3:5])}&limit=20", f"limit=3&q={quote(names[1][3:7])}", "q=%e5%85%ac%e5%8f%b8"
    for path in (f"/v1/subjects?{query}" for query in queries):
        here, there = lane.client.request(method, path, headers=headers), office.client.request(method, path, headers=headers)
        assert shown(here) == shown(there)
        again = {**headers, "If-None-Match": there.headers["etag"]}
        here, there = lane.client.request(method, path, headers=again), office.client.request(method, path, headers=again)
        assert (shown(here), here.status_code) == (shown(there), 304)
        assert here.headers["request-cost"] == there.headers["request-cost"] == "0.2"


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("q=%E5%85%AC%E5%8F%B8", {"Authorization": "Bearer x"}),
        ("q=%E5%85%AC%E5%8F%B8", {"DPoP": "x"}),
        ("q=%E5%85%AC%E5%8F%B8", {"Purpose": "open.read"}),
        ("q=%E5%85%AC%E5%8F%B8", {"Case-Ref": "x"}),
        ("q=%E5%85%AC%E5%8F%B8", {"Test-Fault": "internal"}),
        ("q=%E5%85%AC%E5%8F%B8", {"Accept": "text/csv"}),
        ("q=%E5%85%AC%E5%8F%B8", {"Accept": "image/png"}),
        ("q=%E5%85%AC%E5%8F%B8", {"Host": "a b"}),
        ("q=%E5%85%AC%E5%8F%B8", {"Content-Length": "0"}),
        ("q=%E5%85%AC%E5%8F%B8", {"X": "x" * 17_000}),
        ("q=%E5%85%AC%E5%8F%B8&limit=0", {}),
        ("q=%E5%85%AC%E5%8F%B8&limit=101", {}),
        ("q=%E5%85%AC%E5%8F%B8&limit=all", {}),
        ("q=%E5%85%AC%E5%8F%B8&limit=05", {}),
        ("limit=5&q=%E5%85%AC%E5%8F%B8&limit=5", {}),
        ("q=%E5%85%AC%E5%8F%B8&q=%E5%85%AC%E5%8F%B8", {}),
        ("q=%E5%85%AC%E5%8F%B8&count=exact", {}),
        ("q=%E5%85%AC%E5%8F%B8&cursor=c1.x", {}),
        ("q=%E5%85%AC%E5%8F%B8+%E5%85%AC%E5%8F%B8", {}),
        ("q=%E5%B8%8", {}),
        ("q=%E5%B8", {}),
        ("q=", {}),
        ("q=220599198001010013", {}),
        ("q=" + "%E5%85%AC%E5%8F%B8" * 65, {}),
        ("", {}),
    ],
)
def test_the_lane_steps_aside(lane: Server, query: str, headers: dict[str, str]) -> None:
    """Credentials, other formats, other parameters, what is refused, other spellings: the framework's business."""
    answer = lane.client.get(f"/v1/subjects?{query}", headers=headers)
    assert (answer.status_code, answer.json().get("code", "internal")) in REFUSED  # the refusing framework was asked, or the door refused


REFUSED = (500, "internal"), (431, "headers-too-large"), (400, "bad-request")


def test_other_methods_are_not_the_lanes(office: Server, lane: Server) -> None:
    """POST to the search is 405 as everywhere; the lane has not seen it."""
    assert office.client.post("/v1/subjects?q=%E5%85%AC%E5%8F%B8").status_code == 405
    assert lane.client.post("/v1/subjects?q=%E5%85%AC%E5%8F%B8").status_code == 500


async def test_a_search_is_paid_once(sqlite_city: City) -> None:
    """Answered by the lane, or left to the framework after its price was taken: found, refused, not modified, without a body."""
    async with client_of(app_of(sqlite_city)) as client:
        whole = await client.get("/v1/subjects?q=%E5%85%AC%E5%8F%B8")
        before = left(whole, "day")
        for path, status in (("/v1/subjects?q=" + "%E5%85%AC%E5%8F%B8" * 65, 400), ("/v1/subjects?q=220599198001010013", 400)):
            answer = await client.get(path)
            assert (answer.status_code, answer.headers["request-cost"], left(answer, "day")) == (status, "1", before := before - 1)
        for _ in range(5):
            await client.head("/v1/subjects?q=%E5%85%AC%E5%8F%B8")
        for _ in range(5):
            same = await client.get("/v1/subjects?q=%E5%85%AC%E5%8F%B8", headers={"If-None-Match": whole.headers["etag"]})
            assert (same.status_code, same.headers["request-cost"]) == (304, "0.2")
        assert left(same, "day") == before - 2


async def test_a_spent_quota_ends_searches(sqlite_city: City, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is looked for once it is spent; the answer is the framework's."""
    async with client_of(app_of(sqlite_city)) as client:
        refused = (await spend(client, "/v1/subjects?q=%E5%85%AC%E5%8F%B8"))[-1]
        assert refused.json()["code"] == "quota-exceeded"

        async def never(*_: Any, **__: Any) -> Any:
            raise AssertionError("looked for without a price")

        monkeypatch.setattr(search, "walked", never)
        assert (await client.get("/v1/subjects?q=%E5%85%AC%E5%8F%B8")).status_code in (429, 500)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE subjects SET head_seq = head_seq + 1",
        "UPDATE rendered_subjects SET valid_until = '2026-06-01T02:30:00Z'",
        "UPDATE rendered_subjects SET plan = 'another'",
        "UPDATE rendered_subjects SET body = NULL",
        "DELETE FROM rendered_subjects",
        "UPDATE names SET role = 'former_name'",
        "UPDATE names SET shown = shown || '（示例）'",
    ],
)
def test_what_is_not_as_usual_is_told_as_ever(fresh_city: City, change: str) -> None:
    """Changed since it was rendered, ended, made under other plans, no longer public, found by another name: from the next request on."""
    with served(fresh_city) as server:
        lane, path = server.app.searches, "/v1/subjects?q=%E5%85%AC%E5%8F%B8&limit=5"
        assert len(server.get(path).json()["items"]) == 5
        with closing(sqlite3.connect(fresh_city.folder / "data" / "gateway.db")) as connection, connection:
            connection.execute(change)
        here = server.get(path)
        server.app.searches = None
        assert shown(here) == shown(server.get(path))
        server.app.searches, server.app.inner = lane, refuse
        assert shown(server.get(path)) == shown(here), "by the lane itself"


def test_what_nobody_sees_to_is_asked_of_the_framework(sqlite_city: City, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that cannot be read is told of by the framework, in its words."""

    async def gone(*_: Any, **__: Any) -> Any:
        raise StoreError(code="unavailable")

    with served(sqlite_city) as server:
        monkeypatch.setattr(search, "walked", gone)
        here = server.get("/v1/subjects?q=%E5%85%AC%E5%8F%B8")
        server.app.searches = None
        there = server.get("/v1/subjects?q=%E5%85%AC%E5%8F%B8")
        assert (here.status_code, here.json()["code"]) == (there.status_code, there.json()["code"])
        assert here.status_code >= 500


def test_a_citizen_number_is_looked_for_by_nobody(sqlite_city: City, monkeypatch: pytest.MonkeyPatch) -> None:
    """However it is written and whatever stands beside it, it is refused before anything is asked of the store."""
    asked: list[Any] = []

    async def noted(*some: Any, **_: Any) -> Any:
        asked.append(some)
        raise StoreError(code="unavailable")

    monkeypatch.setattr(search, "walked", noted)
    wide = "２２０５９９１９８００１０１００１３"
    with served(sqlite_city) as server:
        for text in ("220599198001010013", wide, f"公司{wide}", f"{wide}／２", f"公司{wide}，１"):
            answer = server.get(f"/v1/subjects?q={quote(text)}")
            assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, "citizen-number"), text
    assert not asked


def test_usual_searches_take_the_short_way(sqlite_city: City, names: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Two characters and more of a name, as typed: the long story is not asked."""

    async def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("the long way")

    monkeypatch.setattr(search_lane, "find_subjects", never)
    with served(sqlite_city) as server:
        for name in names[:40]:
            for text in (name, name[5:9], name[3:5]):
                assert server.get(f"/v1/subjects?q={quote(text)}&limit=10").status_code == 200, text


def test_what_is_in_memory_is_not_read(sqlite_city: City, names: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Two characters and more of a name, as typed: no name is read, nor any document that is kept."""
    with served(sqlite_city) as server:
        assert keep_names(server, monkeypatch) is not None

        async def never(*_: Any, **__: Any) -> Any:
            raise AssertionError("it was read")

        monkeypatch.setattr(search, "walked", never)
        monkeypatch.setattr(renderings, "shown_by_ids", never)
        for name in names[:40]:
            for text in (name, name[5:9], name[3:5]):
                assert server.get(f"/v1/subjects?q={quote(text)}&limit=10").status_code == 200, text


def test_an_answer_is_of_one_moment(sqlite_city: City, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a search is read on a thread others learn of another version of the data: its header fields are those of its body."""
    with served(sqlite_city) as server:
        lane: Any = server.app.searches
        first = server.get("/v1/subjects?q=%E5%85%AC%E5%8F%B8")
        walked = search.walked

        async def meanwhile(*some: Any, **more: Any) -> Any:
            lane._under = lane._stand_on(structs.replace(lane._under.ground, version="20990101000000-9"))
            return await walked(*some, **more)

        monkeypatch.setattr(search, "walked", meanwhile)
        assert shown(server.get("/v1/subjects?q=%E5%85%AC%E5%8F%B8")) == shown(first)
        assert first.headers["dataset-version"] == first.json()["dataset_version"]


def test_a_fault_of_the_lane_costs_nobody_an_answer(sqlite_city: City, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is counted, and the framework answers."""

    async def broken(*_: Any) -> Any:
        raise ValueError("of its own")

    with served(sqlite_city) as server:
        path = "/v1/subjects?q=%E5%85%AC%E5%8F%B8"
        first = server.get(path)
        monkeypatch.setattr(search_lane, "first_page", broken)
        assert shown(server.get(path)) == shown(first)
        assert server.app._meter._events["search-lane-failed"] == 1

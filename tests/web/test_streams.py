"""Changes as they happen: server-sent events over a real socket as a stock client reads them, and requests that wait."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import httpx
import httpx_sse
import pytest
import sqlalchemy as sa

from gateway.app import create_app
from gateway.operations import follow_feed
from gateway.operations.follow_feed import Event, Heard
from gateway.operations.render_public import settle
from gateway.operations.withdraw import withdraw
from gateway.services import Services, open_services
from gateway.store import feed
from gateway.store.bell import Bell, heads
from gateway.store.tables import tokens
from gateway.web import event_stream
from gateway.web.edge import AnswerTornError
from gateway.web.event_stream import EventStream, FellBehindError
from gateway.web.limits import Charge
from tests.house import PLAIN, settings_of
from tests.operations.test_render_again import HIDE_FINE, change_policy
from tests.web.city import NOW, City
from tests.web.serving import serving

LIST = "tax-violations"


class Town(NamedTuple):
    """A served city that another process changes."""

    client: httpx.AsyncClient
    other: Services
    app: Any


@pytest.fixture
async def town(fresh_city: City) -> AsyncIterator[Town]:
    """The city with the quotas of its policies, served, and open to another process too."""
    said = {"QUOTA_FACTOR": "1", "NOW": NOW, "EXCHANGE_POLL_S": "0", "CREDENTIAL_CACHE_S": "0"}
    settings = settings_of(fresh_city.settings_file, **{f"CHENGXIN_{name}": value for name, value in said.items()})
    app = create_app(settings)
    async with (
        open_services(settings) as other,
        serving(app) as origin,
        httpx.AsyncClient(base_url=origin, timeout=30, verify=PLAIN) as client,
    ):
        yield Town(client, other, app)


async def listed(town: Town, number: int = 2) -> list[str]:
    """Records that stand on the list."""
    return [item["id"] for item in (await town.client.get(f"/v1/lists/{LIST}/listings?limit={number}")).json()["items"]]


async def remove(town: Town, record: str) -> None:
    """Another process takes a record back, and tells it."""
    await withdraw(town.other, record, reason="revoked", actor="test")
    await settle(town.other)


async def take(events: AsyncIterator[httpx_sse.ServerSentEvent], number: int) -> list[httpx_sse.ServerSentEvent]:
    """The next events."""
    return [await asyncio.wait_for(anext(events), 20) for _ in range(number)]


async def test_a_removal_is_told_as_it_happens(town: Town) -> None:
    """A stock client hears of a commit of another process: id, event, data; and what it resumes with loses nothing."""
    one, two = await listed(town)
    async with httpx_sse.aconnect_sse(town.client, "GET", f"/v1/changes/stream?list={LIST}") as source:
        assert source.response.status_code == 200
        assert source.response.headers["content-type"] == "text/event-stream"
        assert source.response.headers["cache-control"] == "no-store"
        assert source.response.headers["x-accel-buffering"] == "no"
        events = source.aiter_sse()
        await remove(town, one)
        (told,) = await take(events, 1)
        item = told.json()
        assert (told.event, told.id, told.retry) == ("change", str(item["seq"]), 5000)
        assert (item["op"], item["record"], item["reason"]) == ("del", one, "removed")
        assert "uri" not in item
    await remove(town, two)
    resumed = {"Last-Event-ID": told.id}
    async with httpx_sse.aconnect_sse(town.client, "GET", "/v1/changes/stream?since=0", headers=resumed) as source:
        (again,) = await take(source.aiter_sse(), 1)
        assert again.json()["record"] == two
    page = (await town.client.get(f"/v1/changes?since={told.id}")).json()["items"]
    assert page == [again.json()]


async def test_everything_kept_comes_first_and_in_order(town: Town) -> None:
    """From the oldest kept position the stream tells what `/v1/changes` tells, item for item."""
    wanted = (await town.client.get("/v1/changes?since=0&limit=250")).json()["items"]
    async with httpx_sse.aconnect_sse(town.client, "GET", "/v1/changes/stream?since=0") as source:
        told = await take(source.aiter_sse(), len(wanted))
    assert [event.json() for event in told] == wanted
    assert [int(event.id) for event in told] == [item["seq"] for item in wanted]


async def test_a_policy_change_is_an_event(town: Town) -> None:
    """Another version in force is told under its own name, after the plans under which the stream goes on; the header named others."""
    (one,) = await listed(town, 1)
    async with httpx_sse.aconnect_sse(town.client, "GET", "/v1/changes/stream") as source:
        events = source.aiter_sse()
        before = source.response.headers["policy-plan"]
        await change_policy(town.other, *HIDE_FINE)
        await settle(town.other)
        named, told = await take(events, 2)
        page = await town.client.get("/v1/changes?since=0&limit=1")
        assert (named.event, named.json()) == ("plan", {"policy_version": 2, "policy_plan": page.json()["policy_plan"]})
        assert f'"{named.json()["policy_plan"]}"' == page.headers["policy-plan"] != before
        assert (told.event, told.json()["op"], told.json()["policy_version"]) == ("policy", "policy", 2)
        await remove(town, one)
        while (told := (await take(events, 1))[0]).json().get("record") != one:
            pass


async def test_a_position_that_is_gone_is_reset(town: Town) -> None:
    """A browser cannot read a 410: it is told where to begin anew, and the stream goes on from the present."""
    (one,) = await listed(town, 1)
    async with town.other.store.transaction() as tx:
        await feed.prune(tx, "public/open.read", "2099-01-01T00:00:00Z")
    async with httpx_sse.aconnect_sse(town.client, "GET", f"/v1/changes/stream?since=1&list={LIST}") as source:
        events = source.aiter_sse()
        (told,) = await take(events, 1)
        said = told.json()
        assert (told.event, said["reason"], told.id) == ("reset", "since-too-old", str(said["since"]))
        assert said["snapshot"].endswith(f"/v1/lists/{LIST}/listings?limit=all")
        await remove(town, one)
        assert (await take(events, 1))[0].json()["record"] == one
    assert (await town.client.get("/v1/changes?since=1")).status_code == 410


async def test_two_streams_a_caller(town: Town) -> None:
    """A third one is refused until one has ended; another caller is not concerned, and a stream costs while it stands."""
    opened = contextlib.AsyncExitStack()
    async with opened:
        for _ in range(2):
            source = await opened.enter_async_context(httpx_sse.aconnect_sse(town.client, "GET", "/v1/changes/stream"))
            assert source.response.status_code == 200
        refused = await town.client.get("/v1/changes/stream")
        assert (refused.status_code, refused.json()["code"]) == (429, "too-many-streams")
        assert refused.headers["retry-after"]
        assert (await town.client.head("/v1/changes/stream")).status_code == 200
    for _ in range(100):
        async with httpx_sse.aconnect_sse(town.client, "GET", "/v1/changes/stream") as source:
            if source.response.status_code == 200:
                break
        await asyncio.sleep(0.05)
    else:
        pytest.fail("places are not given back")


@pytest.mark.parametrize(
    ("path", "headers", "parameter"),
    [
        ("?since=x", {}, "since"),
        ("?since=999999999", {}, "since"),
        ("", {"Last-Event-ID": "999999999"}, "Last-Event-ID"),
        ("", {"Last-Event-ID": "abc"}, "Last-Event-ID"),
        ("?wait=3", {}, "wait"),
        ("?list=a,,b", {}, "list"),
    ],
)
async def test_bad_positions_are_problems(town: Town, path: str, headers: dict[str, str], parameter: str) -> None:
    """What is wrong is said before the stream begins, with its place."""
    answer = await town.client.get(f"/v1/changes/stream{path}", headers=headers)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert [item["parameter"] for item in answer.json()["errors"]] == [parameter]
    assert "999999999" not in answer.text


async def test_only_event_streams_are_given(town: Town) -> None:
    """Who wants JSON is told what there is."""
    answer = await town.client.get("/v1/changes/stream", headers={"Accept": "application/json"})
    assert (answer.status_code, answer.json()["acceptable"]) == (406, ["text/event-stream"])


async def test_an_office_hears_of_what_it_reaches_until_its_right_ends(fresh_city: City, town: Town) -> None:
    """A bound caller's stream stands on its plan; when its token ends, the stream ends, and nothing more is told."""
    token = await asyncio.to_thread(fresh_city.token)
    headers = {"Authorization": f"Bearer {token}", "Purpose": "dept.supervision", "Case-Ref": "2026-0001"}
    one, two = await listed(town)
    async with httpx_sse.aconnect_sse(town.client, "GET", f"/v1/changes/stream?list={LIST}", headers=headers) as source:
        events = source.aiter_sse()
        await remove(town, one)
        assert (await take(events, 1))[0].json()["record"] == one
        async with town.other.store.transaction() as tx:
            await tx.execute(sa.delete(tokens))
        await remove(town, two)
        with pytest.raises((httpx.RemoteProtocolError, StopAsyncIteration)):
            await take(events, 1)


async def test_an_office_that_waits_hears_nothing_once_its_right_has_ended(fresh_city: City, town: Town) -> None:
    """A token that ends while a request waits is worth nothing when something happens: 401, and no record."""
    token = await asyncio.to_thread(fresh_city.token)
    headers = {"Authorization": f"Bearer {token}", "Purpose": "dept.supervision", "Case-Ref": "2026-0001"}
    (one,) = await listed(town, 1)
    since = (await town.client.get("/v1/changes?since=0&limit=1000", headers=headers)).json()["next_since"]
    waiting = asyncio.create_task(town.client.get(f"/v1/changes?since={since}&wait=30", headers=headers))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    async with town.other.store.transaction() as tx:
        await tx.execute(sa.delete(tokens))
    await remove(town, one)
    answer = await asyncio.wait_for(waiting, 20)
    assert (answer.status_code, answer.json()["code"]) == (401, "credentials-invalid")


async def test_an_export_ends_with_the_right_of_whoever_asked_for_it(fresh_city: City, town: Town) -> None:
    """Its caller is looked up again for every chunk: a token that ends after the first is told no second, and the file has no end."""
    token = await asyncio.to_thread(fresh_city.token)
    shown = {"authorization": f"Bearer {token}", "purpose": "dept.supervision", "case-ref": "2026-0001", "host": "h"}
    sent: list[bytes] = []
    asked = [{"type": "http.request", "body": b"", "more_body": False}]

    async def ask() -> dict[str, Any]:
        return asked.pop() if asked else await never()

    async def take_one(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.body" and message["body"]:
            sent.append(message["body"])
            if len(sent) == 1:
                async with town.other.store.transaction() as tx:
                    await tx.execute(sa.delete(tokens))

    path = "/v1/records"
    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http", "root_path": ""}
    scope |= {"path": path, "raw_path": path.encode(), "query_string": b"dataset=administrative-penalties&limit=all"}
    scope |= {"headers": [(name.encode(), value.encode()) for name, value in shown.items()]}
    scope |= {"client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80), "state": {}}
    with pytest.raises(AnswerTornError):
        await town.app(scope, ask, take_one)
    assert sent[0].startswith(b'{"items":[')
    assert len(sent) == 1


# --- a request that waits ----------------------------------------------------------------------------------------------


async def test_a_request_that_waits_hears_of_another_process(town: Town) -> None:
    """`wait` ends with the commit, is kept by nobody, and names what happened."""
    (one,) = await listed(town, 1)
    since = (await town.client.get("/v1")).json()["seq"]
    waiting = asyncio.create_task(town.client.get(f"/v1/changes?since={since}&wait=30&list={LIST}"))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    await remove(town, one)
    answer = await asyncio.wait_for(waiting, 20)
    assert [item["record"] for item in answer.json()["items"]] == [one]
    assert answer.headers["cache-control"] == "no-store"


async def test_the_bell_rings_for_all_and_rests_when_nobody_waits(town: Town) -> None:
    """One look for many who wait; what was committed before the waiting began is not missed."""
    reads, bell = town.other.store.reads, Bell()
    seen = await heads(reads)
    (one,) = await listed(town, 1)
    many = [asyncio.create_task(bell.changed(reads, seen, 20)) for _ in range(20)]
    await remove(town, one)
    await asyncio.wait_for(asyncio.gather(*many), 10)
    await asyncio.wait_for(bell.changed(reads, seen, 20), 10)
    await bell.changed(reads, await heads(reads), 0.01)
    await bell.close()


# --- a reader that does not read ---------------------------------------------------------------------------------------


class Places:
    """Limits that only count."""

    def __init__(self) -> None:
        self.open = 0
        self.paid = 0

    @contextlib.asynccontextmanager
    async def place(self, _: Any, what: str) -> AsyncIterator[None]:
        """One more, as long as it lasts."""
        assert what == "stream"
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1

    async def stood(self, _: Any) -> None:
        """Paid for another while."""
        self.paid += 1


def stream_of(heard: AsyncIterator[Heard], places: Places, *, stream_s: float = 30.0) -> EventStream:
    """A stream of these events."""
    charge = Charge(("a", "b"), (), type("Costs", (), {"stream_s": stream_s})(), b"")
    return EventStream(heard, limits=places, charge=charge, headers=[])  # type: ignore[arg-type]


async def events(number: int, *, live: bool) -> AsyncIterator[Heard]:
    """So many events."""
    for n in range(1, number + 1):
        await asyncio.sleep(0)
        yield Heard([Event(n, "change", b"{}")], live)


async def never() -> dict[str, Any]:
    """A reader that stays."""
    await asyncio.Event().wait()
    raise AssertionError


async def test_a_reader_that_falls_behind_is_cut_off() -> None:
    """A thousand events wait for their reader and no more; its place is given back."""
    sent: list[dict[str, Any]] = []

    async def stuck(message: dict[str, Any]) -> None:
        sent.append(message)
        if len(sent) > 1:
            await asyncio.Event().wait()

    places = Places()
    with pytest.raises(FellBehindError):
        await stream_of(events(3 * event_stream.UNREAD, live=True), places)({"state": {}}, never, stuck)
    assert (places.open, len(sent)) == (0, 2)


async def test_what_is_caught_up_with_waits_for_its_reader() -> None:
    """Earlier events are no reason to cut anybody off: they wait, and all of them arrive; then the hour is over."""
    sent: list[bytes] = []

    async def slow(message: dict[str, Any]) -> None:
        await asyncio.sleep(0)
        sent.append(message.get("body", b""))

    places = Places()
    await stream_of(events(3 * event_stream.UNREAD, live=False), places)({"state": {}}, never, slow)
    assert b"".join(sent).count(b"event: change") == 3 * event_stream.UNREAD
    assert sent[-1] == b""
    assert places.open == 0


async def test_a_reader_that_leaves_costs_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the caller has gone, the story is closed and the place is free; while it stood, it paid and was told that it lives."""
    closed = asyncio.Event()
    sent: list[bytes] = []

    async def beats() -> AsyncIterator[Heard]:
        try:
            while True:
                await asyncio.sleep(0.01)
                yield Heard([], True)
        finally:
            closed.set()

    async def leaves() -> dict[str, Any]:
        await asyncio.sleep(0.1)
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message.get("body", b""))

    places = Places()
    await stream_of(beats(), places, stream_s=0.02)({"state": {}}, leaves, send)
    assert closed.is_set()
    assert places.open == 0
    assert places.paid > 0
    assert b": \n" in b"".join(sent)


async def test_an_hour_is_the_end(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server ends a stream whole after its time; nothing is torn."""
    monkeypatch.setattr(follow_feed, "LIFE_S", 0.05)
    monkeypatch.setattr(follow_feed, "BEAT_S", 0.02)
    async with httpx_sse.aconnect_sse(town.client, "GET", "/v1/changes/stream") as source:
        text = b"".join([part async for part in source.response.aiter_raw()])
    assert text.startswith(b"retry: 5000\n")
    assert b"\n: \n" in text

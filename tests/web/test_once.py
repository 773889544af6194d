"""`Idempotency-Key`: a request runs once, however often it is sent; a key belongs to one caller and one request."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from msgspec import Struct

from gateway.app import create_app
from gateway.core.callers.caller import PUBLIC, Caller
from gateway.core.errors import IdempotencyMismatch, InvalidParameter
from gateway.operations.run_once import Outcome, run_once
from gateway.store import answered
from gateway.web import application
from gateway.web.asked import begin
from gateway.web.describe import AnyRequest, Described, posted
from gateway.web.once import IDEMPOTENCY_KEY, ONCE_PROBLEMS, once
from gateway.web.replies import NO_STORE, Reply
from tests.house import PLAIN, a_gateway
from tests.web.city import City
from tests.web.serving import serving


class Made(Struct):
    """What a path made."""

    number: int


MAKE = Described(
    operation_id="make",
    method="post",
    tag="接口",
    summary="试",
    description="A path of this test.",
    takes=(IDEMPOTENCY_KEY,),
    gives=Made,
    problems=ONCE_PROBLEMS,
    example={"number": 1},
)


class Counting:
    """A POST that counts how often it ran, and may be held."""

    def __init__(self) -> None:
        self.ran = 0
        self.began = asyncio.Event()
        self.hold = asyncio.Event()
        self.hold.set()
        self.fails = False

        @posted("/v1/test-make", MAKE)
        async def make(request: AnyRequest) -> Reply:
            asked = await begin(request, MAKE)
            body = await request.body()

            async def run() -> Reply:
                self.ran += 1
                number = self.ran
                self.began.set()
                await self.hold.wait()
                if self.fails:
                    raise RuntimeError
                made = json.dumps({"number": number}).encode()
                return Reply(201, [(b"content-type", b"application/json"), (b"location", b"/v1/made/%d" % number), NO_STORE], made)

            return await once(asked, body, run)

        self.handler = make


class Shop(NamedTuple):
    """A server with that path."""

    client: httpx.AsyncClient
    made: Counting
    token: str

    async def post(self, key: str | None, body: str = "a", token: str | None = None) -> httpx.Response:
        """Send it."""
        headers = {"Authorization": f"Bearer {token or self.token}", "Purpose": "dept.supervision"}
        return await self.client.post("/v1/test-make", content=body, headers=headers | ({} if key is None else {"Idempotency-Key": key}))


@pytest.fixture
async def shop(fresh_city: City, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Shop]:
    """A city that makes something."""
    made = Counting()
    build = application.build
    monkeypatch.setattr(application, "build", lambda *args, **said: build(*args, **{**said, "more": (*said["more"], made.handler)}))
    app: Any = create_app(fresh_city.settings())
    token = await asyncio.to_thread(fresh_city.token)
    async with serving(app) as origin, httpx.AsyncClient(base_url=origin, timeout=20, verify=PLAIN) as client:
        yield Shop(client, made, token)


async def test_the_same_request_gets_the_first_answer(shop: Shop) -> None:
    """Status, fields and body as they were, marked as a replay; without a key, and under another one, it simply runs."""
    first = await shop.post("k-1")
    again = await shop.post("k-1")
    assert (first.status_code, again.status_code, shop.made.ran) == (201, 201, 1)
    assert (again.content, again.headers["location"]) == (first.content, first.headers["location"])
    assert "idempotent-replay" not in first.headers
    assert again.headers["idempotent-replay"] == "true"
    assert again.headers["request-id"] != first.headers["request-id"]
    assert (await shop.post("k-2")).json() == {"number": 2}
    assert [(await shop.post(None)).json()["number"] for _ in range(2)] == [3, 4]


async def test_another_request_under_the_key_is_refused(shop: Shop) -> None:
    """Another body is 422, and nothing runs; another caller has keys of its own."""
    await shop.post("k")
    other = await shop.post("k", "b")
    assert (other.status_code, other.json()["code"], shop.made.ran) == (422, "idempotency-mismatch", 1)


async def test_while_it_runs_it_is_not_run_again(shop: Shop) -> None:
    """The second of two that come at once is told to wait; a request that fails may be sent again."""
    shop.made.hold.clear()
    first = asyncio.create_task(shop.post("k"))
    await asyncio.wait_for(shop.made.began.wait(), 20)
    second = await shop.post("k")
    assert (second.status_code, second.json()["code"]) == (409, "idempotency-in-progress")
    shop.made.hold.set()
    assert (await first).status_code == 201
    shop.made.fails = True
    assert (await shop.post("broken")).status_code == 500
    shop.made.fails = False
    assert (await shop.post("broken")).status_code == 201


@pytest.mark.parametrize("key", ["", "x" * 65, "a b", "Ü"])
async def test_a_key_is_visible_ascii(shop: Shop, key: str) -> None:
    """Anything else is refused with its place, and not repeated."""
    headers = {"Authorization": f"Bearer {shop.token}", "Purpose": "dept.supervision", b"Idempotency-Key": key.encode()}
    answer = await shop.client.post("/v1/test-make", content="a", headers=headers)  # type: ignore[arg-type]
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid-parameter")
    assert [error["parameter"] for error in answer.json()["errors"]] == ["Idempotency-Key"]


async def test_who_has_no_name_has_no_keys(shop: Shop) -> None:
    """An anonymous request without a key runs; with one it is refused, for nobody could tell whose key it is."""
    assert (await shop.client.post("/v1/test-make", content="a")).status_code == 201
    answer = await shop.client.post("/v1/test-make", content="a", headers={"Idempotency-Key": "k"})
    assert (answer.status_code, answer.json()["errors"][0]["parameter"]) == (400, "Idempotency-Key")


def app(name: str) -> Caller:
    """A caller."""
    return Caller(tier="developer", purpose="open.read", purposes=("open.read",), credential_kind="key", app=name)


async def test_keys_on_both_databases(tmp_path: Path, store_url: str) -> None:
    """For a day the first answer stands, for its caller alone; a runner that died is followed after its lease; then all is forgotten."""
    ran = 0

    async def run() -> Outcome:
        nonlocal ran
        ran += 1
        return Outcome(201, (("location", f"/{ran}"),), b"%d" % ran)

    async with a_gateway(tmp_path, database=store_url, CHENGXIN_NOW="2026-06-01T00:00:00Z") as services:
        assert await run_once(services, app("a"), "k", b"x", run) == (Outcome(201, (("location", "/1"),), b"1"), False)
        assert await run_once(services, app("a"), "k", b"x", run) == (Outcome(201, (("location", "/1"),), b"1"), True)
        assert (await run_once(services, app("b"), "k", b"y", run))[0].body == b"2"
        with pytest.raises(IdempotencyMismatch):
            await run_once(services, app("a"), "k", b"y", run)
        with pytest.raises(InvalidParameter):
            await run_once(services, PUBLIC, "k", b"x", run)

        async def dies() -> Outcome:
            raise asyncio.CancelledError

        with pytest.raises(asyncio.CancelledError):
            await run_once(services, app("a"), "gone", b"x", dies)
        assert (await run_once(services, app("a"), "gone", b"x", run))[1] is False
        now = services.clock()
        async with services.store.transaction() as tx:
            assert await answered.take(tx, "d", "r", "first", now) is None
        async with services.store.transaction() as tx:
            held = await answered.take(tx, "d", "r", "second", now)
            assert held is not None
            assert held.status is None
        async with services.store.transaction() as tx:
            assert await answered.take(tx, "d", "r", "second", now + answered.LEASE) is None
            await answered.keep(tx, "d", "first", now, status=200, headers=b"[]", body=b"late")
        async with services.store.transaction() as tx:
            await answered.keep(tx, "d", "second", now, status=200, headers=b"[]", body=b"mine")
            held = await answered.take(tx, "d", "r", "third", now)
            assert held is not None
            assert held.body == b"mine"
            assert await answered.take(tx, "d", "other", "fourth", now + answered.KEPT) is None


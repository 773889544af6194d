"""The front door on a real socket, before a small framework of the test: limits, encodings, HEAD, OPTIONS, problems, broken streams."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

import msgspec
import pytest
from litestar import Litestar, get, post
from litestar.exceptions import HTTPException
from litestar.params import FromPath, JSONBody

from gateway.core.errors import BadRequest
from gateway.web import incoming
from gateway.web.edge import FrontDoor, Routes, check_target
from gateway.web.limits import Limiter
from gateway.web.replies import Reply
from gateway.web.telemetry import Meter
from tests.straight import asked_straight
from tests.web import serving
from tests.web.city import City
from tests.web.serving import Raw, pass_on, raw


class Body(msgspec.Struct, forbid_unknown_fields=True):
    """What the test's POST takes."""

    name: Annotated[str, msgspec.Meta(max_length=10)]


@get("/things/{thing:str}")
async def thing(thing: FromPath[str]) -> Reply:
    """An answer."""
    return Reply(200, [(b"content-type", b"application/json")], b'{"thing":1}')


@get("/broken")
async def broken() -> Reply:
    """A fault that nobody foresaw."""
    raise ZeroDivisionError("a secret value")


async def _chunks(fail: bool) -> AsyncIterator[bytes]:
    for number in range(200):
        yield b"%04d" % number * 256
        if fail and number == 100:
            raise ZeroDivisionError("a secret value")


@get("/stream")
async def stream() -> Reply:
    """A stream that ends well."""
    return Reply(200, [(b"content-type", b"text/plain")], chunks=_chunks(False))


@get("/torn")
async def torn() -> Reply:
    """A stream that fails half way."""
    return Reply(200, [(b"content-type", b"text/plain")], chunks=_chunks(True))


@post("/small", request_max_body_size=1000)
async def small(data: JSONBody[Body]) -> Reply:
    """Takes a small body."""
    return Reply(200, [], b"ok")


CLOSED = asyncio.Event()


async def _endless() -> AsyncIterator[bytes]:
    try:
        while True:
            yield b"x" * 65_536
            await asyncio.sleep(0)
    finally:
        CLOSED.set()


@get("/endless")
async def endless() -> Reply:
    """A stream without an end."""
    return Reply(200, [(b"content-type", b"text/plain")], chunks=_endless())


@post("/bodies")
async def bodies(data: JSONBody[Body]) -> Reply:
    """Takes a body."""
    return Reply(200, [], b"ok")


def application(*, faults: bool = False) -> tuple[FrontDoor, Meter]:
    """The front door with the test's handlers behind it."""
    meter = Meter()

    framework = Litestar(
        [thing, broken, stream, torn, endless, bodies, small],
        openapi_config=None,
        logging_config=None,
        request_max_body_size=200_000,
        exception_handlers={HTTPException: pass_on, Exception: pass_on},
    )
    routes = Routes([(route.path, route.path_format, frozenset(getattr(route, "methods", ()))) for route in framework.routes])
    limits = Limiter(lambda: None, meter=meter, factor=1000)
    door = FrontDoor(framework, routes=routes, origin="https://h", meter=meter, limits=limits, faults=faults)  # type: ignore[arg-type]  # the framework's narrower ASGI types
    return door, meter


@pytest.fixture
async def door() -> AsyncIterator[tuple[str, Meter]]:
    """Where the application answers, and its meter."""
    app, meter = application()
    async with serving.serving(app) as origin:
        yield origin, meter


def problem(answer: Raw, status: int, code: str) -> dict[str, Any]:
    """The problem in an answer, checked for what every problem has."""
    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    body: dict[str, Any] = json.loads(answer.body)
    assert body["status"] == status
    assert body["code"] == code
    assert body["type"] == f"https://h/problems/{code}"
    assert body["instance"] == f"urn:request:{answer.headers['request-id']}"
    assert len(body["trace_id"]) == 32
    assert "secret" not in answer.body.decode()
    return body


async def test_every_answer_carries_the_common_header_fields(door: tuple[str, Meter]) -> None:
    """Answers, problems and preflights alike."""
    for request in (serving.get("/things/x"), serving.get("/nothing"), serving.get("/things/x", method="OPTIONS"), serving.get("/broken")):
        headers = (await raw(door[0], request)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["access-control-allow-origin"] == "*"
        exposed = headers["access-control-expose-headers"].split(", ")
        assert {"Policy-Plan", "Repr-Digest", "Content-Range", "Content-Disposition"} <= set(exposed), "what a page needs to fetch a file"
        assert headers["vary"] == "Accept, Accept-Encoding, Accept-Language, Authorization"
        assert len(headers["request-id"]) == 32
        assert "access-control-allow-credentials" not in headers


async def test_request_ids_do_not_repeat(door: tuple[str, Meter]) -> None:
    """Every answer has its own."""
    assert len({(await raw(door[0], serving.get("/things/x"))).headers["request-id"] for _ in range(150)}) == 150


@pytest.mark.parametrize(
    "path",
    [
        "/things/x/",
        "/things//x",
        "/things%2Fx",
        "/nothing",
        "/things/../things/x",
        "/things/./x",
        "/things/%2e%2e/things/x",
        "//things/x",
        "/things",
    ],
)
async def test_a_path_is_written_one_way_only(door: tuple[str, Meter], path: str) -> None:
    """Trailing and doubled slashes, encoded slashes and dots are not found."""
    body = problem(await raw(door[0], serving.get(path)), 404, "not-found")
    assert set(body) == {"type", "title", "status", "code", "detail", "instance", "trace_id"}


@pytest.mark.parametrize(
    ("path", "words"),
    [("/things/%zz", "百分号"), ("/things/%", "百分号"), ("/things/%b0%a1", "GBK"), ("/things/%00", "控制"), ("/things/%0d%0ax", "控制")],
)
async def test_a_badly_encoded_path_is_a_bad_request(door: tuple[str, Meter], path: str, words: str) -> None:
    """And the problem says what is the matter."""
    assert words in problem(await raw(door[0], serving.get(path)), 400, "bad-request")["detail"]


def test_a_second_host_is_refused() -> None:
    """Whoever stands in front may have believed the other one; the server of `serve` lets both through."""
    scope: dict[str, Any] = {"path": "/v1", "raw_path": b"/v1", "query_string": b"", "headers": [(b"host", b"h")]}
    check_target(scope)
    scope["headers"].append((b"host", b"elsewhere.example"))
    with pytest.raises(BadRequest, match="Host"):
        check_target(scope)


def test_a_request_says_once_whom_it_asks(sqlite_city: City) -> None:
    """Two Host fields, or none in HTTP/1.1, are refused at every door, lanes too (RFC 9112 §3.2); HTTP/1.0 needs none."""
    with asked_straight(sqlite_city) as app:
        items = app.get("/v1/records?limit=20").json()["items"]
        record = next(each for each in items if each["subject"]["kind"] == "enterprise")
        code = record["subject"]["uscc"]
        for path in ("/v1", "/v1/subjects?q=%E5%85%AC%E5%8F%B8", f"/v1/subjects/{code}", f"/v1/records/{record['id']}", "/healthz"):
            assert app.request("GET", path, {}).status_code == 200
            assert app.request("GET", path, {}, hosts=(), version="1.0").status_code == 200
            for hosts in ((), ("h", "elsewhere.example"), ("a b",), ("http://x",)):
                answer = app.request("GET", path, {}, hosts=hosts)
                assert (answer.status_code, answer.json()["code"]) == (400, "bad-request"), (path, hosts)


async def test_limits_of_url_and_header_fields(door: tuple[str, Meter]) -> None:
    """8 KiB of URL, 16 KiB of header fields; what fits is served."""
    problem(await raw(door[0], serving.get("/things/" + "x" * 8200)), 414, "uri-too-long")
    problem(await raw(door[0], serving.get("/things/x?q=" + "x" * 8200)), 414, "uri-too-long")
    problem(await raw(door[0], serving.get("/things/x", "x-long: " + "x" * 17_000)), 431, "headers-too-large")
    assert (await raw(door[0], serving.get("/things/" + "x" * 8000, "x-long: " + "x" * 8000))).status == 200


async def test_head_is_get_without_a_body(door: tuple[str, Meter]) -> None:
    """The same header fields, also for problems; a stream is not begun."""
    for path in ("/things/x", "/nothing", "/broken"):
        full, head = await raw(door[0], serving.get(path)), await raw(door[0], serving.get(path, method="HEAD"))
        assert (head.status, head.body) == (full.status, b"")
        assert {name for name in head.headers if name != "date"} == {name for name in full.headers if name != "date"}
        if full.status == 200:
            assert head.headers["content-length"] == full.headers["content-length"]
    torn_head = await raw(door[0], serving.get("/torn", method="HEAD"))
    assert (torn_head.status, torn_head.body) == (200, b"")


async def test_options_and_preflight(door: tuple[str, Meter]) -> None:
    """OPTIONS names the methods, a preflight also the header fields, for a day; an unknown path stays unknown."""
    plain = await raw(door[0], serving.get("/things/x", method="OPTIONS"))
    assert (plain.status, plain.headers["allow"]) == (204, "GET, HEAD, OPTIONS")
    assert "access-control-max-age" not in plain.headers
    preflight = await raw(door[0], serving.get("/bodies", "origin: https://e", "access-control-request-method: POST", method="OPTIONS"))
    assert preflight.headers["access-control-allow-methods"] == "OPTIONS, POST"
    assert preflight.headers["access-control-max-age"] == "86400"
    assert "Authorization" in preflight.headers["access-control-allow-headers"]
    problem(await raw(door[0], serving.get("/nothing", method="OPTIONS")), 404, "not-found")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "TRACE", "BREW"])
async def test_another_method_is_told_what_is_allowed(door: tuple[str, Meter], method: str) -> None:
    """405 with Allow, for every method."""
    answer = await raw(door[0], serving.get("/things/x", method=method))
    problem(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS"
    assert (await raw(door[0], serving.get("/bodies", method="HEAD"))).headers["allow"] == "OPTIONS, POST"


def post_of(body: bytes, kind: str = "application/json", *more: str, path: str = "/bodies") -> bytes:
    """A POST with a body."""
    return serving.get(path, f"content-type: {kind}", f"content-length: {len(body)}", *more, method="POST") + body


async def test_bodies_that_do_not_decode(door: tuple[str, Meter]) -> None:
    """GBK, deep nesting, broken JSON, wrong shapes and too many bytes each have their problem; none is a 500."""
    assert "GBK" in problem(await raw(door[0], post_of('{"name":"示例"}'.encode("gb18030"))), 400, "bad-request")["detail"]
    problem(await raw(door[0], post_of(b'{"name":')), 400, "bad-request")
    nested = problem(await raw(door[0], post_of(b'{"name":' + b"[" * 100_000)), 400, "bad-request")
    assert "嵌套" in nested["detail"]
    problem(await raw(door[0], post_of(b'{"name":"x","extra":1}')), 400, "body-invalid")
    problem(await raw(door[0], post_of(b'{"name":"' + b"x" * 2000 + b'"}', path="/small")), 413, "body-too-large")
    assert (await raw(door[0], post_of(b'{"name":"x"}'))).status == 200


async def test_a_body_that_does_not_come_is_waited_for_a_while(door: tuple[str, Meter], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sends nothing more is answered and let go; whoever is slow but goes on is not."""
    monkeypatch.setattr(incoming, "WAIT_S", 1.0)
    whole = post_of(b'{"name":"x"}')
    problem(await asyncio.wait_for(raw(door[0], whole[:-5]), 10), 400, "bad-request")
    host, _, port = door[0].removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    for piece in (whole[:-9], whole[-9:-6], whole[-6:-3], whole[-3:]):
        writer.write(piece)
        await asyncio.sleep(0.4)
    assert (await asyncio.wait_for(reader.read(), 10)).startswith(b"HTTP/1.1 200")
    writer.close()


@pytest.mark.parametrize(
    ("size", "more", "path", "status", "ends"),
    [
        (50_000, "", "/small", 413, False),
        (150_000, "", "/small", 413, True),
        (50_000, "expect: 100-continue\r\n", "/small", 413, True),
        (50_000, "", "/nothing", 404, False),
        (150_000, "", "/things/x", 405, True),
        (12, "", "/bodies", 200, False),
        (0, "", "/nothing", 404, False),
    ],
)
async def test_what_was_not_read_of_a_body_ends_the_connection_or_is_forgotten(
    door: tuple[str, Meter], monkeypatch: pytest.MonkeyPatch, size: int, more: str, path: str, status: int, ends: bool
) -> None:
    """Little is read and forgotten, and the connection serves on; of much, or of what waits to be asked for, it ends."""
    monkeypatch.setattr(incoming, "MOST_FORGOTTEN", 100_000)
    host, _, port = door[0].removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"POST {path} HTTP/1.1\r\nhost: h\r\ncontent-type: application/json\r\ncontent-length: {size}\r\n{more}\r\n"
    writer.write(head.encode() + (b"" if more else b'{"name":"x"}'.ljust(size)[:size]))
    said = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).lower()
    assert said.startswith(b"http/1.1 %d" % status)
    assert (b"\r\nconnection: close\r\n" in said) is ends
    if not ends:
        await reader.readexactly(int(said.partition(b"content-length: ")[2].split(b"\r\n")[0]))
        writer.write(serving.get("/things/x"))
        assert (await asyncio.wait_for(reader.readline(), 10)).startswith(b"HTTP/1.1 200")
    writer.close()


async def test_a_crash_tells_nothing(door: tuple[str, Meter], capsys: pytest.CaptureFixture[str]) -> None:
    """500 with an id to report, and neither words nor traceback of the fault, in the answer or in the log."""
    answer = await raw(door[0], serving.get("/broken?q=asked", "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"))
    body = problem(answer, 500, "internal")
    assert body["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
    logged = "".join(capsys.readouterr())
    assert "ZeroDivisionError" in logged
    assert body["trace_id"] in logged
    assert "secret" not in logged
    assert "asked" not in logged


async def test_a_torn_stream_does_not_end_like_a_whole_one(door: tuple[str, Meter]) -> None:
    """A failure in mid-stream breaks the connection; a reader sees that the last chunk is missing."""
    whole, half = await raw(door[0], serving.get("/stream")), await raw(door[0], serving.get("/torn"))
    assert whole.complete
    assert half.status == 200
    assert not half.complete


async def test_a_client_may_try_how_it_takes_a_fault() -> None:
    """In test mode: a problem with its status and Retry-After, or an answer, long or short, that breaks off."""
    app, _ = application(faults=True)
    async with serving.serving(app) as origin:
        for code, status in (("query-timeout", 503), ("overloaded", 503), ("internal", 500)):
            answer = await raw(origin, serving.get("/things/x", f"test-fault: {code}"))
            assert (answer.status, json.loads(answer.body)["code"]) == (status, code)
            assert (status == 503) == ("retry-after" in answer.headers)
        for path in ("/stream", "/things/x"):
            half = await raw(origin, serving.get(path, "test-fault: abort"))
            assert (half.status, half.complete) == (200, False)
        assert (await raw(origin, serving.get("/things/x", "test-fault: more"))).status == 400
        assert (await raw(origin, serving.get("/things/x"))).complete


async def test_no_fault_is_to_be_had_elsewhere(door: tuple[str, Meter]) -> None:
    """Outside test mode the field means nothing."""
    for wished in ("internal", "abort", "more"):
        answer = await raw(door[0], serving.get("/things/x", f"test-fault: {wished}"))
        assert (answer.status, answer.complete) == (200, True)


async def test_a_stream_ends_with_its_reader(door: tuple[str, Meter]) -> None:
    """When the caller goes away, nothing more is made, and the generator is closed at once."""
    CLOSED.clear()
    host, port = door[0].removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(serving.get("/endless"))
    await reader.read(100_000)
    writer.close()
    await asyncio.wait_for(CLOSED.wait(), 10)


async def test_language_of_problems(door: tuple[str, Meter]) -> None:
    """Chinese, and English for those who prefer it."""
    english = await raw(door[0], serving.get("/nothing", "accept-language: en"))
    assert english.headers["content-language"] == "en"
    assert json.loads(english.body)["title"] == "Not found"
    chinese = await raw(door[0], serving.get("/nothing"))
    assert chinese.headers["content-language"] == "zh-CN"


async def test_refused_requests_are_counted_by_template(door: tuple[str, Meter]) -> None:
    """No label holds a path; what no route matches has one name for all."""
    origin, meter = door
    await raw(origin, serving.get("/things/91220502XXT00002X2"))
    await raw(origin, serving.get("/91220502XXT00002X2"))
    await raw(origin, serving.get("/things/x", method="POST"))
    await raw(origin, serving.get("/things/x", method="BREW"))
    samples = {
        tuple(sample.labels.values()): sample.value
        for metric in meter.collect()
        for sample in metric.samples
        if sample.name == "chengxin_answers_total"
    }
    assert samples == {
        ("/things/{thing}", "GET", "200"): 1.0,
        ("(unmatched)", "GET", "404"): 1.0,
        ("/things/{thing}", "POST", "405"): 1.0,
        ("/things/{thing}", "OTHER", "405"): 1.0,
    }

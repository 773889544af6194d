"""The craft of HTTP: caches that never mix callers, every method on every path, codings, and what will go."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import zstandard
from hishel import CacheOptions, SqliteStorage
from hishel.httpx import CacheTransport

from gateway.app import create_app
from gateway.web import application
from gateway.web.api.routes import ROUTES
from gateway.web.asked import begin
from gateway.web.describe import AnyRequest, Deprecation, Described, Handler, path
from gateway.web.negotiation import coding_of
from gateway.web.replies import NO_STORE, Reply
from tests.web.city import City, Server
from tests.web.serving import client_of

CACHED = (
    "/v1/records?limit=3",
    "/v1/records.csv?limit=3",
    "/v1/records.parquet?limit=3",
    "/v1/subjects?limit=3",
    "/v1/lists",
    "/v1/lists/tax-violations",
    "/v1/lists/tax-violations/listings?limit=2",
    "/v1/feeds/tax-violations.atom",
    "/v1/feeds/tax-violations.json",
    "/v1/feeds/changelog.atom",
    "/v1/feeds/datasets.atom",
    "/v1/changes?since=0&limit=5",
    "/v1/datasets",
    "/openapi.json",
    "/v1/problems",
    "/v1",
)


@pytest.fixture
def office(sqlite_city: City) -> dict[str, str]:
    """Header fields of a department, which may ask as the public does."""
    return {"Authorization": f"Bearer {sqlite_city.token()}", "Purpose": "open.read"}


@pytest.fixture
def shared(sqlite_server: Server, tmp_path: Path) -> Iterator[httpx.Client]:
    """A client behind a shared cache that keeps RFC 9111."""
    storage = SqliteStorage(database_path=tmp_path / "cache.db")
    transport = CacheTransport(httpx.HTTPTransport(), storage=storage, rfc=CacheOptions(shared=True))
    plain = {"Accept": "*/*", "Accept-Encoding": "identity"}
    with httpx.Client(base_url=sqlite_server.origin, transport=transport, headers=plain, timeout=30) as client:
        yield client


def asked_us(answer: httpx.Response) -> bool:
    """Whether we were asked: for the answer, or whether the kept one is right for this very caller."""
    return not answer.extensions["caching"]["from_cache"] or answer.extensions["caching"]["revalidated"]


@pytest.mark.parametrize("path", CACHED)
def test_a_shared_cache_keeps_callers_apart(
    shared: httpx.Client, sqlite_server: Server, office: dict[str, str], path: str
) -> None:
    """What everybody gets is kept and given to everybody; who has a credential gets what we say to it, before and after."""
    plain, direct = {"Accept-Encoding": "identity"}, sqlite_server.client
    for_office, for_all = direct.get(path, headers=plain | office).content, direct.get(path, headers=plain).content
    first = shared.get(path, headers=office)
    assert first.status_code == 200
    assert asked_us(first)
    assert "public" not in first.headers["cache-control"]
    anonymous = shared.get(path)
    assert asked_us(anonymous)
    assert "private" not in anonymous.headers["cache-control"]
    again = shared.get(path)
    assert not asked_us(again)
    keyed = shared.get(path, headers=office)
    assert asked_us(keyed)
    assert shared.get(path, headers={**office, "Authorization": "Bearer cxk_live_broken"}).status_code == 401
    last = shared.get(path)
    assert (first.content, keyed.content) == (for_office, for_office)
    assert (anonymous.content, again.content, last.content) == (for_all, for_all, for_all)


def test_a_shared_cache_keeps_languages_and_formats_apart(shared: httpx.Client) -> None:
    """One address, four answers: each goes to those who asked for it."""
    asked: list[dict[str, str]] = [{}, {"Accept-Language": "en"}, {"Accept": "text/csv"}, {"Accept": "application/vnd.msgpack"}]
    answers = [shared.get("/v1/records?limit=3", headers=headers) for headers in asked]
    assert len({answer.content for answer in answers}) == 4
    assert all(map(asked_us, answers))
    for headers, answer in zip(asked, answers, strict=True):
        again = shared.get("/v1/records?limit=3", headers=headers)
        assert again.content == answer.content


def test_a_private_cache_asks_again(sqlite_server: Server, office: dict[str, str], tmp_path: Path) -> None:
    """A caller's own cache holds an answer only to ask whether it is still right; it is told so in a 304."""
    storage = SqliteStorage(database_path=tmp_path / "own.db")
    transport = CacheTransport(httpx.HTTPTransport(), storage=storage, rfc=CacheOptions(shared=False))
    with httpx.Client(base_url=sqlite_server.origin, transport=transport, headers=office, timeout=30) as client:
        first = client.get("/v1/records?limit=3")
        again = client.get("/v1/records?limit=3")
    assert first.content == again.content
    assert asked_us(first)
    assert again.extensions["caching"]["revalidated"]


@pytest.mark.parametrize("path", ["/problems/not-found", "/v1/keys", "/.well-known/oauth-protected-resource", "/docs"])
def test_what_asks_for_no_credential_is_private_to_who_shows_one(
    sqlite_server: Server, office: dict[str, str], path: str
) -> None:
    """The words are everybody's; the header fields beside them are one caller's."""
    anonymous, keyed = sqlite_server.client.get(path), sqlite_server.client.get(path, headers=office)
    assert anonymous.content == keyed.content
    assert anonymous.headers["cache-control"].startswith("public, ")
    assert keyed.headers["cache-control"] == "private, max-age=0, must-revalidate"


# --- methods -----------------------------------------------------------------------------------------------------------


def addresses() -> list[tuple[str, frozenset[str]]]:
    """Every path with the example of each parameter, and its methods."""
    found: dict[str, set[str]] = {}
    for handler in ROUTES:
        described = handler.opt.get("described")
        examples = {each.name: each.example for each in described.takes} if isinstance(described, Described) else {"code": "not-found"}
        for template in handler.paths:
            pieces = [
                (examples.get(piece[1:].partition(":")[0]) or "x") if piece.startswith("{") else piece for piece in template.split("/")
            ]
            found.setdefault("/".join(pieces), set()).update(str(method) for method in handler.http_methods)
    return sorted((address, frozenset(methods - {"OPTIONS"})) for address, methods in found.items())


@pytest.mark.parametrize(("address", "methods"), addresses())
def test_every_path_has_its_methods_and_no_other(sqlite_server: Server, address: str, methods: frozenset[str]) -> None:
    """OPTIONS and Allow name them, a preflight allows them, HEAD is GET without a body, anything else is 405."""
    client = sqlite_server.client
    allowed = methods | {"OPTIONS"} | ({"HEAD"} if "GET" in methods else set())
    options = client.options(address)
    assert options.status_code == 204
    assert set(options.headers["allow"].split(", ")) == allowed
    asking = {"Origin": "https://app.example", "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "accept"}
    preflight = client.options(address, headers=asking)
    assert preflight.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in preflight.headers
    assert set(preflight.headers["access-control-allow-methods"].split(", ")) == allowed
    wanted = {"authorization", "last-event-id", "idempotency-key", "if-none-match", "if-match", "if-unmodified-since", "if-range", "range"}
    assert wanted <= {
        name.strip().lower() for name in preflight.headers["access-control-allow-headers"].split(",")
    }
    assert preflight.headers["access-control-max-age"] == "86400"
    refused = client.request("DELETE" if "DELETE" not in methods else "TRACE", address)
    assert (refused.status_code, refused.json()["code"]) == (405, "method-not-allowed")
    assert set(refused.headers["allow"].split(", ")) == allowed
    if "GET" in methods:
        head = client.head(address)
        assert head.content == b""
        if address != "/v1/changes/stream":
            full = client.get(address)
            assert head.status_code == full.status_code
            if "public" in full.headers["cache-control"] and "ratelimit" in full.headers:  # one caller's quota is told to no other
                assert 'no-cache="RateLimit, RateLimit-Policy, Request-Cost, Request-Id"' in full.headers["cache-control"]
            changing = {"date", "request-id", "ratelimit", "request-cost", "content-length", "transfer-encoding", "content-encoding"}
            assert {name: value for name, value in head.headers.items() if name not in changing} == {
                name: value for name, value in full.headers.items() if name not in changing
            }


# --- codings -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "coding"),
    [
        (b"gzip", "gzip"),
        (b"zstd", "zstd"),
        (b"gzip, deflate, br, zstd", "zstd"),
        (b"zstd;q=0.5, gzip;q=0.6", "gzip"),
        (b"zstd;q=0, gzip", "gzip"),
        (b"*", "zstd"),
        (b"gzip;q=0, *", "zstd"),
        (b"identity, gzip;q=0.5", None),
        (b"br", None),
        (b"", None),
        (b"*;q=0", None),
    ],
)
def test_the_wanted_coding_is_taken(field: bytes, coding: str | None) -> None:
    """The most wanted of ours, zstd before gzip, and none where the plain form is wanted more."""
    assert coding_of(field) == coding


@pytest.mark.parametrize("path", ["/v1/records.ndjson?limit=all", "/openapi.json"])
def test_zstd_and_gzip_say_the_same(sqlite_server: Server, path: str) -> None:
    """A stream and a document: decoded, each coding is the plain answer, under one validator."""
    answers = {}
    for coding in ("identity", "gzip", "zstd"):
        with sqlite_server.client.stream("GET", path, headers={"Accept-Encoding": coding}) as answer:
            raw = b"".join(answer.iter_raw())
            assert answer.headers.get("content-encoding", "identity") == coding
            answers[coding] = (raw, answer.headers["etag"])
    plain = answers["identity"][0]
    assert gzip.decompress(answers["gzip"][0]) == plain
    assert zstandard.ZstdDecompressor().decompressobj().decompress(answers["zstd"][0]) == plain
    assert len(answers["zstd"][0]) < len(plain) / 2
    assert len({etag for _, etag in answers.values()}) == 1


def test_files_and_private_answers_are_not_packed(sqlite_server: Server, office: dict[str, str]) -> None:
    """A workbook is packed already; an answer to a credential has no telling length."""
    packed = {"Accept-Encoding": "zstd, gzip"}
    assert "content-encoding" not in sqlite_server.client.get("/v1/records.xlsx?limit=100", headers=packed).headers
    assert "content-encoding" not in sqlite_server.client.get("/v1/records?limit=100", headers={**office, **packed}).headers


# --- what will go ------------------------------------------------------------------------------------------------------

OLD = Described(
    operation_id="old",
    tag="接口",
    summary="试",
    description="A path that will go.",
    deprecated=Deprecation(
        since=datetime(2026, 11, 1, tzinfo=UTC),
        sunset=datetime(2027, 6, 1, tzinfo=UTC),
        about="/v1/feeds/changelog.atom",
        successor="/v1/records",
    ),
    example={},
)


@pytest.fixture
async def ageing(sqlite_city: City, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx.AsyncClient]:
    """The city with a path that will go."""

    async def old(request: AnyRequest) -> Reply:
        await begin(request, OLD)
        return Reply(200, [(b"content-type", b"application/json"), NO_STORE], b"{}")

    handler: Handler = old
    build = application.build
    route = path("/v1/test-old", OLD)(handler)
    monkeypatch.setattr(application, "build", lambda *args, **said: build(*args, **{**said, "more": (*said["more"], route)}))
    app: Any = await asyncio.to_thread(create_app, sqlite_city.settings())
    async with client_of(app) as client:
        yield client


async def test_what_will_go_says_so_on_every_answer(ageing: httpx.AsyncClient) -> None:
    """Deprecation, Sunset and links, on answers, on problems and without a body; nothing else says it."""
    for answer in (
        await ageing.get("/v1/test-old"),
        await ageing.get("/v1/test-old?nothing=1"),
        await ageing.head("/v1/test-old"),
    ):
        assert answer.headers["deprecation"] == "@1793491200"
        assert answer.headers["sunset"] == "Tue, 01 Jun 2027 00:00:00 GMT"
        links = answer.headers["link"]
        assert '/v1/feeds/changelog.atom>; rel="deprecation"' in links
        assert '/v1/records>; rel="successor-version"' in links
    assert "deprecation" not in (await ageing.get("/v1")).headers


def test_what_will_go_stays_half_a_year() -> None:
    """No operation of ours goes earlier than six months after it was said."""
    for handler in ROUTES:
        described = handler.opt.get("described")
        if isinstance(described, Described) and described.deprecated is not None:
            assert (described.deprecated.sunset - described.deprecated.since).days >= 182

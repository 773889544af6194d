"""`https_partner` against a partner over real sockets: the conformance suite, and what a hostile or slow partner must not achieve."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any, ClassVar

import msgspec
import pytest

import adapters.https_partner as room
from adapters import guarded_http
from adapters.guarded_http import is_public
from adapters.https_partner import HttpsPartner, HttpsPartnerConfig
from adapters.suite import PartnerAdapterSuite, PartnerLine, canned_batch
from gateway.adapter_contract import AdapterError, Part, SealedBatch
from tests.adapters.partner_server import Partner, Server, serving


def keys_document(maintenance: object) -> bytes:
    """Of a partner that says so of its maintenance."""
    return json.dumps({"body": json.dumps({"party": "credit.example", "keys": [], "maintenance": maintenance}), "note": "n"}).encode()


class Tools:
    """Signs nothing."""

    def sign_request(self, method: str, url: str, content_type: str | None, body: bytes | None) -> Mapping[str, str]:
        """A header by which a test knows that it was asked."""
        return {"x-signed": method}

    def seal_file(self, name: str, data: bytes) -> bytes:
        """Unused."""
        raise NotImplementedError

    open_file = seal_file


class HttpLine(PartnerLine):
    """A partner over a real socket."""

    config: ClassVar[Mapping[str, object]] = {"base_url": "https://credit.example.cn/x/v1"}
    needs: ClassVar[tuple[str, ...]] = ("base_url",)

    def __init__(self) -> None:
        self.server = Server()
        self.elsewhere: Server | None = None
        self.base = self.server.origin + "/x/v1"

    @property
    def partner(self) -> Partner:
        """The other side."""
        return self.server.partner

    def connect(self, timeout_s: float = 20) -> HttpsPartner:
        """An adapter to it."""
        streams = ("canned-line-2026.canned",)
        return HttpsPartner(
            HttpsPartnerConfig(base_url=self.base, allow_private=True, streams=streams, wait_s=0, timeout_s=timeout_s), Tools()
        )

    def cut(self) -> None:
        """Nobody listens."""
        self.server.close()

    def arrived(self, batch: str) -> SealedBatch | None:
        """As posted."""
        return self.partner.arrived.get(batch)

    def effects(self, batch: str) -> int:
        """New batches."""
        return self.partner.effects.get(batch, 0)

    def everything(self) -> Sequence[str]:
        """All that was taken up."""
        return list(self.partner.effects)

    def asked(self) -> Sequence[bytes]:
        """As they were posted."""
        return self.partner.asked

    def lose_replies(self) -> None:
        """The connection breaks after the request."""
        self.partner.lose_replies = True

    def redirect(self) -> bool:
        """To another server."""
        self.elsewhere = Server()
        self.partner.redirect_to = self.elsewhere.origin
        return True

    def followed(self) -> bool:
        """Whether the other server was asked."""
        return self.elsewhere is not None and bool(self.elsewhere.partner.requests)

    def dawdle(self, seconds: float) -> None:
        """Slow."""
        self.partner.delay_s = seconds

    def offer(self, batches: Sequence[SealedBatch]) -> None:
        """Ready to be fetched."""
        self.partner.offered += batches

    def answer_with(self, answer: bytes) -> None:
        """To any question."""
        self.partner.answer = answer

    def refuse(self) -> bool:
        """The partner's own fault."""
        self.partner.status = 503
        return True

    def break_off(self) -> bool:
        """The connection breaks when half of the request is read."""
        self.partner.break_off = True
        return True

    def fail_to_keep(self) -> bool:
        """The batch is whole and the partner's disk is full."""
        self.partner.fail_to_keep = True
        return True

    def heal(self) -> bool:
        """All is well."""
        self.partner.status = None
        self.partner.break_off = self.partner.lose_replies = self.partner.fail_to_keep = False
        return True

    def hurried(self) -> HttpsPartner:
        """With a bound of half a second."""
        return self.connect(timeout_s=0.5)

    def publish_keys(self, document: bytes) -> bool:
        """At the partner."""
        self.partner.keys = document
        return True

    def answer_later(self, question: str, answer: bytes) -> bool:
        """Below the questions."""
        self.partner.later[question] = answer
        return True

    def heard(self) -> Sequence[bytes]:
        """As posted."""
        return self.partner.told

    def keep(self, version: str, state: str, document: bytes) -> bool:
        """In its list, and by its name."""
        said = self.partner.agreements
        name, _, number = version.rpartition("/")
        items = json.loads(said.get("", b'{"items":[]}'))["items"]
        said[""] = json.dumps({"items": [*items, {"id": name, "version": int(number), "state": state}]}).encode()
        said[f"/{version}"] = document
        return True

    def acknowledged(self, stream: str, no: int) -> tuple[bytes, bytes] | None:
        """As brought, the feedback first."""
        return self.partner.receipts.get(no)

    def leave_receipt(self, stream: str, no: int, receipt: bytes, feedback: bytes) -> bool:
        """To be fetched by its number."""
        self.partner.left[no] = (receipt, feedback)
        return True

    def asked_anew(self, stream: str) -> str | None:
        """As asked."""
        return self.partner.resyncs.get(stream)

    def end(self) -> None:
        """Nobody listens any more."""
        self.server.close()
        if self.elsewhere is not None:
            self.elsewhere.close()


class TestHttpsPartner(PartnerAdapterSuite):
    """The suite."""

    skips: ClassVar[Mapping[str, str]] = {
        "test_the_manifest_comes_last": "the partner sees one request, not files; it takes up a batch when every part is there",
    }

    def line(self) -> PartnerLine:
        """A partner of this check."""
        return HttpLine()


# --- what the suite cannot ask ----------------------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[Server]:
    """A partner that listens."""
    with serving() as made:
        yield made


@asynccontextmanager
async def line(server: Server, **more: Any) -> AsyncIterator[HttpsPartner]:
    """An adapter to it."""
    settings: dict[str, Any] = {"base_url": server.origin + "/x/v1", "allow_private": True, "timeout_s": 5.0, **more}
    adapter = HttpsPartner(HttpsPartnerConfig(**settings), Tools())
    try:
        yield adapter
    finally:
        await adapter.close()


async def refused(server: Server, **more: Any) -> AdapterError:
    """The error of one delivery."""
    async with line(server, **more) as adapter:
        with pytest.raises(AdapterError) as caught:
            await adapter.deliver(canned_batch(1))
    return caught.value


async def test_receipt_and_feedback_come_together(server: Server):
    """The reply holds the receipt as it came, and the feedback that it names."""
    async with line(server) as adapter:
        reply = await adapter.deliver(canned_batch(1))
    assert reply is not None
    said = json.loads(reply)
    assert (json.loads(said["receipt"]["body"])["no"], said["feedback"]) == (1, '{"i":0}\n')
    method, path, headers = server.partner.requests[0]
    assert (method, path) == ("POST", "/x/v1/streams/canned-line-2026.canned/batches")
    assert headers["x-signed"] == "POST"
    assert headers["accept-encoding"] == "identity"


async def test_large_parts_are_sent_one_by_one(server: Server):
    """Above the inline bound the batch is posted without parts, the missing ones are sent, and it is posted again."""
    data = b"x" * (room.INLINE_BYTES + 1)
    name = "1-1-000.ndjson"
    manifest = json.dumps({"sender": "credit.tonghua.example", "stream": "a-b.c", "epoch": 1, "seq": 1, "parts": [{"name": name}]}).encode()
    part = Part(name=name, size=len(data), digest="", read=lambda: iter([data]))
    batch = SealedBatch(batch="credit.tonghua.example/x/a-b.c/1/1", manifest=manifest, manifest_note=b"n", checkpoint=b"c", parts=(part,))
    async with line(server) as adapter:
        assert await adapter.deliver(batch) is not None
    assert ["parts" in post for post in server.partner.posts] == [False, False]
    assert server.partner.parts[name] == data
    assert [(method, path.partition("?")[2]) for method, path, _ in server.partner.requests if method == "PUT"] == [
        ("PUT", "epoch=1&seq=1")
    ]


async def test_a_partner_that_is_never_satisfied(server: Server):
    """A partner that asks for the same parts again and again is given up, until the core tries anew."""
    server.partner.never_satisfied = True
    error = await refused(server)
    assert (error.code, error.transient) == ("SIG_PART_MISSING", True)
    assert len(server.partner.posts) == room.POSTS


async def test_a_partner_that_asks_for_what_is_not_there(server: Server):
    """Files that are no part of the batch are never sent."""
    server.partner.status, server.partner.kind = 202, "application/json"
    server.partner.body = b'{"state":"FETCHING","missing":["../../etc/passwd"]}'
    assert (await refused(server)).code == "SIG_PART_MISSING"
    assert all(method == "POST" for method, _, _ in server.partner.requests)


@pytest.mark.parametrize(
    ("status", "code", "transient"),
    [
        (400, "SCHEMA_MANIFEST", False),
        (401, "SIG_HTTP", False),
        (403, "SCOPE_AGREEMENT", False),
        (413, "SIZE_BYTES", False),
        (422, "TIME_FUTURE", True),
        (422, "SIG_UNKNOWN_KEY", True),
        (429, "RATE_LIMIT", True),
        (503, "UNAVAILABLE", True),
        (500, "", True),
    ],
)
async def test_problems_of_the_partner(server: Server, status: int, code: str, transient: bool):
    """A problem becomes the partner's code, and whether another try may help."""
    server.partner.status, server.partner.body = status, json.dumps({"code": code.lower().replace("_", "-")}).encode()
    error = await refused(server)
    assert (error.code, error.transient) == (code or "UNAVAILABLE", transient)


async def test_receipts_that_refuse_are_receipts(server: Server):
    """409 and 422 with a signed document are receipts, not problems."""
    server.partner.status, server.partner.kind = 409, "application/json"
    server.partner.body = json.dumps({"body": json.dumps({"no": 3, "feedback": {"lines": 0}}), "note": "n"}).encode()
    async with line(server) as adapter:
        reply = await adapter.deliver(canned_batch(1))
    assert reply is not None
    assert json.loads(reply)["feedback"] == ""


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b'{"body":1}', b"[" * 5000, b'{"body":"x"}'])
async def test_garbage_is_no_receipt(server: Server, body: bytes):
    """An answer that is no receipt is an error; the core tries again."""
    server.partner.status, server.partner.kind, server.partner.body = 200, "application/json", body
    assert (await refused(server)).transient


async def test_codes_of_a_hostile_partner_are_not_repeated(server: Server):
    """What a partner puts into its problem does not get into our texts."""
    server.partner.status, server.partner.body = 400, json.dumps({"code": "<script>" * 30, "detail": "秘密"}).encode()
    error = await refused(server)
    assert error.code == "UNAVAILABLE"
    assert "秘密" not in str(error)
    for code in ("x" * 33, "通化", "sig-http\n", "-a"):
        server.partner.body = json.dumps({"code": code}).encode()
        assert (await refused(server)).code == "UNAVAILABLE", code


async def test_an_answer_without_end(server: Server):
    """An answer beyond its bound is not read to its end."""
    server.partner.status, server.partner.kind, server.partner.body = 200, "application/json", b" " * (room.MAX_ANSWER + 10)
    error = await refused(server)
    assert (error.code, error.transient) == ("SIZE_BYTES", False)


async def test_one_byte_a_second(server: Server):
    """A22: a partner that answers drop by drop is left when the time is up; nobody knows whether the batch had an effect."""
    server.partner.status, server.partner.kind, server.partner.body, server.partner.trickle_s = (
        200,
        "application/json",
        b'{"body":"x"}' * 50,
        0.2,
    )
    begun = time.monotonic()
    error = await refused(server, timeout_s=1.0)
    assert time.monotonic() - begun < 3
    assert (error.transient, error.outcome_unknown) == (True, True)


async def test_a_slow_partner_below_the_rate(server: Server, monkeypatch: pytest.MonkeyPatch):
    """Below the agreed rate a transfer is given up before its time."""
    monkeypatch.setattr(guarded_http, "SLOWEST_WINDOW_S", 0.3)
    server.partner.status, server.partner.kind, server.partner.body, server.partner.trickle_s = 200, "application/json", b"x" * 200, 0.05
    assert (await refused(server, timeout_s=30.0)).code == "SIZE_TIME"


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "192.168.1.1",
        "172.16.0.1",
        "169.254.169.254",
        "100.64.1.1",
        "0.0.0.0",  # noqa: S104  # refused, not bound
        "224.0.0.1",
        "::1",
        "fe80::1",
        "fc00::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:7f00:1::",
        "255.255.255.255",
        "198.18.0.1",
    ],
)
def test_inner_addresses_are_not_public(address: str):
    """Private, loopback, link-local, shared, metadata, mapped and NAT64 addresses are seen through."""
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", ["1.1.1.1", "8.8.8.8", "2606:4700:4700::1111", "64:ff9b::808:808"])
def test_outer_addresses_are_public(address: str):
    """What everybody may reach is allowed."""
    assert is_public(ip_address(address))


async def test_inner_addresses_are_refused_by_default(server: Server):
    """Without `allow_private` the line goes nowhere inside."""
    async with line(server, allow_private=False) as adapter:
        with pytest.raises(AdapterError, match="allow_private"):
            await adapter.deliver(canned_batch(1))
    assert server.partner.requests == []


async def test_one_inner_address_among_others_refuses_all(server: Server):
    """A name that points outside and inside is refused as a whole; a name resolved anew is checked anew."""
    answers = iter([["1.1.1.1", "169.254.169.254"]])
    config = HttpsPartnerConfig(base_url="https://credit.example.cn/x/v1")
    adapter = HttpsPartner(config, Tools(), resolve=lambda *_: next(answers))
    with pytest.raises(AdapterError, match="内部地址"):
        await adapter.deliver(canned_batch(1))
    await adapter.close()


async def test_plain_http_only_to_this_machine():
    """Plain http to another machine is refused even where private addresses are allowed."""
    config = HttpsPartnerConfig(base_url="http://credit.example.cn/x/v1", allow_private=True)
    adapter = HttpsPartner(config, Tools(), resolve=lambda *_: ["192.168.1.1"])
    with pytest.raises(AdapterError, match="http"):
        await adapter.deliver(canned_batch(1))
    await adapter.close()


@pytest.mark.parametrize("url", ["ftp://x.example/x/v1", "https://user@x.example/x/v1", "https://x.example/x/v1?a=b", "nonsense"])
def test_bad_addresses_do_not_start(url: str):
    """An address that is none is refused when the line is built."""
    with pytest.raises(AdapterError) as caught:
        HttpsPartner(HttpsPartnerConfig(base_url=url), Tools())
    assert (caught.value.code, caught.value.transient) == ("CONFIG", False)


async def test_the_environment_names_no_proxy(server: Server, monkeypatch: pytest.MonkeyPatch):
    """Proxies of the environment are not asked: a line has its own."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    async with line(server) as adapter:
        assert await adapter.deliver(canned_batch(1)) is not None


async def test_keys_come_as_they_are(server: Server):
    """The keys document is the partner's bytes."""
    async with line(server) as adapter:
        assert await adapter.keys() == server.partner.keys


async def test_check_sees_a_clock_that_is_wrong(server: Server):
    """`check` says in words that the clocks differ."""
    server.partner.date = "Mon, 01 Jan 2024 00:00:00 GMT"
    async with line(server) as adapter:
        found = {each.what: each for each in await adapter.check()}
    assert not found["时钟"].ok
    assert found["时钟"].remedy
    assert found["连接"].ok


@pytest.mark.parametrize(
    ("begins", "until", "ok", "said"),
    [(-1, 1, False, "对方维护至"), (-2, -1, True, "没有维护"), (1, 2, True, "对方将自")],
)
async def test_check_sees_a_partner_in_maintenance(server: Server, begins: int, until: int, ok: bool, said: str):
    """While it lasts it is a fault with what to do; one that is announced is told, one that is over is not."""
    now = datetime.now(UTC)
    times = [f"{now + timedelta(hours=hours):%Y-%m-%dT%H:%M:%SZ}" for hours in (begins, until)]
    server.partner.keys = keys_document({"from": times[0], "until": times[1], "text": "换机房"})
    async with line(server) as adapter:
        found = {each.what: each for each in await adapter.check()}
    assert (found["维护"].ok, bool(found["维护"].remedy)) == (ok, not ok)
    assert said in found["维护"].message
    assert "换机房" not in str(found), "no word of the partner's"


async def test_check_sees_a_keys_document_that_cannot_be_read(server: Server):
    """What is no keys document is named, and the rest is looked at all the same."""
    for keys in (b"{}", b'{"body":"k","note":"n"}', keys_document("soon"), b"\xff"):
        server.partner.keys = keys
        server.partner.agreements = {"": b'{"items":[{"id":"one-2026","version":1,"digest":"sha-256:x","state":"active"}]}'}
        async with line(server, agreed={"one-2026/1": "sha-256:x"}) as adapter:
            found = {each.what: each for each in await adapter.check()}
        assert not found["密钥文件"].ok
        assert "维护" not in found
        assert found["协议摘要 one-2026/1"].ok


async def test_check_compares_the_texts_of_agreements(server: Server):
    """Another digest, a version that is not there, a list that is none or refused: each named, and only a digest is repeated."""
    ours, theirs = ("sha-256:" + sign * 43 + "=" for sign in "AB")
    listed = b'{"items":[{"id":"one-2026","version":1,"digest":"%s"}]}'
    for answer, what, message in (
        (listed % theirs.encode(), "协议摘要 one-2026/1", f"本方 {ours}，对方 {theirs}"),
        (listed % "<张三>".encode(), "协议摘要 one-2026/1", "对方 不是摘要"),
        (b'{"items":[]}', "协议版本 one-2026/1", "对方没有第 1 版"),
        (b"{}", "协议清单", "无法读取"),
        (None, "协议清单", "NOT_FOUND"),
    ):
        server.partner.agreements = {} if answer is None else {"": answer}
        async with line(server, agreed={"one-2026/1": ours}) as adapter:
            (found,) = [each for each in await adapter.check() if not each.ok and "协议" in each.what]
        assert found.what == what
        assert message in found.message
        assert found.remedy
    assert [headers["x-signed"] for _, path, headers in server.partner.requests if path.endswith("/agreements")] == ["GET"] * 5


async def test_cursors_of_the_future_are_refused(server: Server):
    """A cursor that is no object of positions is CURSOR_UNKNOWN."""
    async with line(server, streams=("a-b.c",)) as adapter:
        for cursor in ('{"a-b.c":[0,1]}', '{"x":[1,1]}', "[]", '{"a-b.c":1}'):
            with pytest.raises(AdapterError) as caught:
                _ = [batch async for batch in adapter.collect(cursor)]
            assert caught.value.code == "CURSOR_UNKNOWN"


async def test_a_stream_that_is_agreed_no_more_stops_no_other(server: Server):
    """A new version of the agreement may name fewer streams, and a later one more again: the place of each is kept."""
    stream = "canned-line-2026.canned"
    server.partner.offered = [canned_batch(1), canned_batch(2)]
    async with line(server, streams=(stream,)) as adapter:
        cursor = f'{{"{stream}":[1,1],"canned-line-2026.gone":[2,7]}}'
        (found,) = [batch async for batch in adapter.collect(cursor)]
        assert json.loads(found.cursor) == {stream: [1, 2], "canned-line-2026.gone": [2, 7]}
        with pytest.raises(AdapterError, match="游标"):
            _ = [batch async for batch in adapter.collect('{"canned-line-2027.canned":[1,1]}')]


async def test_what_is_no_longer_served_is_looked_for_in_the_next_epoch(server: Server):
    """Pull: a batch that is closed may have a successor in the next epoch; when nothing is there either, the stream is named."""
    server.partner.status, server.partner.body = 410, b'{"code":"seq-closed"}'
    async with line(server, streams=("a-b.c",), wait_s=0) as adapter:
        with pytest.raises(AdapterError) as caught:
            _ = [batch async for batch in adapter.collect('{"a-b.c":[1,7]}')]
    assert (caught.value.code, caught.value.place) == ("SEQ_CLOSED", "a-b.c")
    asked = [path.partition("/manifests/")[2] for _, path, _ in server.partner.requests]
    assert asked == ["8?epoch=1&wait=0", "1?epoch=2&wait=0"]


async def test_the_partner_says_from_which_epoch_to_start(server: Server):
    """Pull: where the partner names an epoch, that one is asked for, however many lie between."""
    server.partner.status, server.partner.body = 410, b'{"code":"seq-closed","epoch":5}'
    async with line(server, streams=("a-b.c",), wait_s=0) as adapter:
        with pytest.raises(AdapterError) as caught:
            _ = [batch async for batch in adapter.collect('{"a-b.c":[1,7]}')]
    assert (caught.value.code, caught.value.place) == ("SEQ_CLOSED", "a-b.c")
    asked = [path.partition("/manifests/")[2] for _, path, _ in server.partner.requests]
    assert asked == ["8?epoch=1&wait=0", "1?epoch=5&wait=0"]


async def test_what_stands_still_is_passed_over(server: Server):
    """Pull: a batch that its agreement holds back does not hide the withdrawals behind it; the cursor stays before it."""
    server.partner.offered = [canned_batch(number) for number in (1, 3, 4)]
    server.partner.held_back = {2}
    server.partner.parts = {part.name: b"".join(part.read()) for batch in server.partner.offered for part in batch.parts}
    stream = "canned-line-2026.canned"
    async with line(server, streams=(stream,), wait_s=0) as adapter:
        found = [batch async for batch in adapter.collect(None)]
    told = [(batch.batch.rpartition("/")[2], json.loads(batch.cursor)[stream]) for batch in found]
    assert told == [("1", [1, 1]), ("3", [1, 1]), ("4", [1, 1])]


async def test_what_is_held_back_for_ever_is_not_asked_for_for_ever(server: Server, monkeypatch: pytest.MonkeyPatch):
    """Pull: a partner that holds back every number is left alone after some, beyond a batch that stands still and behind a new epoch."""
    monkeypatch.setattr("adapters.https_partner.NUMBERS_HELD_BACK", 5)
    server.partner.held_back = range(10**9)
    stream = "canned-line-2026.canned"
    async with line(server, streams=(stream,), wait_s=0) as adapter, asyncio.timeout(20):
        assert [batch async for batch in adapter.collect(None)] == []
        assert len(server.partner.requests) == 1 + 6
        assert [batch async for batch in adapter.collect_behind(stream, 1, 1)] == []
        assert len(server.partner.requests) == 7 + 6


async def test_what_an_older_epoch_still_brings(server: Server):
    """Pull: asked for behind a number, it comes in order until that epoch is closed; what is held back is passed over."""
    server.partner.offered = [canned_batch(number) for number in (1, 2, 4)]
    server.partner.held_back = {3}
    server.partner.parts = {part.name: b"".join(part.read()) for batch in server.partner.offered for part in batch.parts}
    async with line(server, wait_s=0) as adapter:
        found = [batch async for batch in adapter.collect_behind("canned-line-2026.canned", 1, 1)]
        assert [batch.batch.rsplit("/", 2)[1:] for batch in found] == [["1", "2"], ["1", "4"]]
        server.partner.status, server.partner.body = 410, b'{"code":"seq-closed","epoch":2}'
        assert [batch async for batch in adapter.collect_behind("canned-line-2026.canned", 1, 4)] == []
        server.partner.status, server.partner.body = 503, b'{"code":"unavailable"}'
        with pytest.raises(AdapterError) as caught:
            _ = [batch async for batch in adapter.collect_behind("canned-line-2026.canned", 1, 4)]
        assert (caught.value.code, caught.value.transient) == ("UNAVAILABLE", True)


async def test_documents_about_agreements_are_brought_and_heard(server: Server):
    """What is brought arrives as it is; of what the partner keeps, only what stands otherwise than is known is fetched."""
    items = [("a-b", 1, "terminated"), ("a-b", 2, "offered"), ("c-d", 1, "active"), ("e-f", 1, "offered")]
    server.partner.agreements = {
        "": json.dumps({"items": [{"id": name, "version": version, "state": state} for name, version, state in items]}).encode(),
        "/a-b/2": b'{"body":"v2","note":"n"}',
        "/a-b/states": b'{"items":[{"body":"s1","note":"n"},{"body":"s2","note":"n"}]}',
        "/a-b/inventory": b'{"body":"i","note":"n"}',
    }
    async with line(server) as adapter:
        await adapter.tell(b'{"body":"x","note":"n"}')
        found = await adapter.hear({"a-b/1": "active", "c-d/1": "active"})
        assert await adapter.hear({f"{name}/{version}": state for name, version, state in items}) == []
        server.partner.agreements[""] = b'{"items":[{"id":1}]}'
        with pytest.raises(AdapterError) as caught:
            await adapter.hear({})
    assert server.partner.told == [b'{"body":"x","note":"n"}']
    assert [json.loads(one)["body"] for one in found] == ["s1", "s2", "i", "v2"], "a first version travels as a file"
    assert caught.value.code == "SCHEMA_JSON"


def test_settings_are_bounded():
    """Times outside their bounds do not start."""
    for name, value in (("timeout_s", 0), ("wait_s", 31), ("part_timeout_s", 4000)):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({"base_url": "https://x.example/x/v1", name: value}, HttpsPartnerConfig)


async def test_many_lines_at_once(server: Server):
    """Several deliveries share one pool and do not mix their answers."""
    async with line(server) as adapter:
        replies = await asyncio.gather(*(adapter.deliver(canned_batch(number)) for number in range(1, 9)))
    assert all(reply is not None for reply in replies)
    assert set(server.partner.effects.values()) == {1}

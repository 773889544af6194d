"""Mutual query against whoever searches, repeats, forges or misbehaves (exchange.md §20 A21, A22)."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta

import httpx
import pytest

from gateway.core.disclosure.plans import digest
from gateway.core.exchange import notes, questions, wire
from gateway.core.exchange.documents import Maintenance
from gateway.core.exchange.questions import SubjectAsked
from gateway.operations.alarms import standing
from gateway.operations.answer_partner import who_asked
from gateway.operations.ask_partner import ask_partners
from gateway.operations.handle_case import repair
from gateway.operations.kept_inquiries import ask_again, keep_questions, show_inquiry
from gateway.operations.manage_agreements import announce_maintenance, change_state
from gateway.services import Services
from tests.asking import ASKER, Door, Towns, asking, fined, firm, replaced, served, take, with_terms
from tests.operations.publishing import PENALTIES, code, household_code
from tests.region import AGREEMENT, BAISHAN, NOW

LATER = "2026-06-02T04:30:00Z"


async def stock(services: Services) -> list[str]:
    """Every tenth firm was fined."""
    return await take(services, *(fined(number, f"通示罚〔2026〕{number}号") for number in range(10, 60, 10)))


@pytest.fixture(scope="module")
def towns(tmp_path_factory: pytest.TempPathFactory) -> Towns:
    """Two cities that may ask one another: six questions a day about one subject, forty an officer."""
    made = Towns(tmp_path_factory.mktemp("refused"), with_terms(officer=40, subject=6))
    made.make(stock)
    return made


@pytest.fixture(scope="module")
def door(towns: Towns) -> Iterator[Door]:
    """Tonghua, served."""
    with served(towns) as door:
        yield door


def problem(answer: httpx.Response) -> tuple[int, str]:
    """Status and code."""
    assert answer.headers["content-type"].startswith("application/problem+json"), answer.text
    return answer.status_code, answer.json()["code"]


def test_a_request_that_is_not_to_be_believed(door: Door) -> None:
    """Another tag, target or body than was signed, no digest, another's question: a problem before anything is looked at."""
    asked = door.towns.question(10)
    body = questions.question_body(asked)
    assert problem(door.post(asked, tag="cx-write")) == (401, "sig-http")
    assert problem(door.post(asked, url=door.origin + "/status")) == (401, "sig-http")

    def stripped(request: httpx.Request) -> None:
        del request.headers["content-digest"]

    def sent() -> httpx.Request:
        made = httpx.Request("POST", door.origin + "/query", content=body, headers={"content-type": "application/json"})
        return next(iter(door.signed().auth_flow(made)))

    signed = sent()
    stripped(signed)
    assert problem(door.client.send(signed)) == (401, "sig-http")
    signed = sent()
    answer = door.client.post("/query", content=body.replace(b'"level":1', b'"level":2'), headers=dict(signed.headers))
    assert problem(answer) == (401, "sig-content-digest")
    assert problem(door.post(replaced(asked, from_="credit.jian.example"))) == (403, "scope-issuer")
    assert problem(door.post(replaced(asked, to=BAISHAN))) == (403, "scope-receiver")
    assert problem(door.post(b"{}")) == (400, "schema-missing")
    assert problem(door.post(body.replace(b'"level":1', b'"level":1,"all":true'))) == (400, "schema-unknown")
    assert problem(door.post(b"[" * 100)) == (400, "schema-json")
    assert problem(door.post(body + b" " * 20_000)) == (413, "size-bytes")
    conditioned = sent()
    conditioned.headers["if-match"] = "*"
    assert problem(door.client.send(conditioned)) == (412, "precondition-failed")
    assert door.ask(asked).result == "hit", "the question itself is as good as new"


def test_persons_and_households(door: Door) -> None:
    """Without a ground in the agreement nobody is asked about: not a person, not a household, with or without a name."""
    make = door.towns.question
    for subject in (
        SubjectAsked(kind="natural", id_no="220599199003071236", name="测试丁"),
        SubjectAsked(kind="natural", id_no="220599199003071236"),
        SubjectAsked(kind="individual_business", uscc=household_code(1), name="通化市示例店"),
    ):
        answer = door.ask(make(1, subject=subject))
        assert (answer.result, answer.code) == ("refused", "LAW_PERSON")
    answer = door.ask(make(1, subject=SubjectAsked(kind="natural", id_no="220599199003071235", name="测试丁")))
    assert (answer.result, answer.code) == ("refused", "QUERY_SUBJECT")


def test_the_seventh_question_of_a_day(door: Door) -> None:
    """What an agreement lets be asked a day about one subject is counted, whoever asks and whatever was answered."""
    make = door.towns.question
    results = [door.ask(make(20, officer=f"{number:032d}", case=f"案件第{number}号")) for number in range(7)]
    assert [each.result for each in results] == ["hit"] * 6 + ["refused"]
    assert results[6].code == "QUERY_RATE"


async def test_a_search_is_an_alarm(door: Door) -> None:
    """Codes that follow one another, and misses one after the other, are told to the office; an officer's day ends with its number."""
    make, officer = door.towns.question, "s" * 32
    answers = [door.ask(make(number, officer=officer)) for number in range(101, 142)]
    assert [each.result for each in answers[:40]] == ["no_hit"] * 40
    assert answers[40].code == "QUERY_RATE"
    async with door.towns.ours() as tonghua:
        (alarm,) = [each for each in await standing(tonghua) if each.kind == "query-scraping"]
        assert alarm.target == f"{BAISHAN}/{AGREEMENT}"
        assert alarm.detail["neighbours"] == 5


async def test_the_subject_reads_who_asked(door: Door) -> None:
    """A firm reads which city asked about it, for which case and on which ground; nobody else's questions are there."""
    door.ask(door.towns.question(30, case="某案一号"))
    async with door.towns.ours() as tonghua:
        (asked,) = await who_asked(tonghua, code(30), by="test")
        assert (asked.by, asked.case, asked.basis, asked.result) == (BAISHAN, "某案一号", "《示例条例》第一条", "hit")
        assert asked.purpose == "协议城市逐户查询"
        plans = (await tonghua.policies.fresh()).plan_set(PENALTIES, "partner", "mutual.query")
        assert (asked.policy_version, asked.policy_plan) == (1, digest([plans.hash]))
        assert await who_asked(tonghua, code(31), by="test") == []


async def test_level_2_needs_its_own_hit(door: Door) -> None:
    """Level 2 follows the very hit that it was given, by the same officer, for the same case; records are told once and kept nowhere."""
    make = door.towns.question
    first = make(40)
    hit = door.digest(first)
    for changed in ({"case": "别的案件二号"}, {"officer": "e" * 32}, {"subject": firm(50)}):
        answer = door.ask(make(40, level=2, follows=hit, **changed))
        assert (answer.result, answer.code) == ("refused", "QUERY_FOLLOWS"), changed
    second = make(40, level=2, follows=hit)
    (record,) = door.ask(second).records
    assert record.proof is not None
    get = door.client.get(f"/query/{second.id}", auth=door.signed(tag="cx-read"))
    assert problem(get) == (404, "not-found")
    again = door.client.get(f"/query/{first.id}", auth=door.signed(tag="cx-read"))
    assert wire.digest_text(notes.read_envelope(again.content).body) == hit


async def test_a_repaired_record_is_told_to_nobody(towns: Towns, door: Door) -> None:
    """What was repaired after a hit is not in the records that follow it: an exit asks the record, not what it said before."""
    first = towns.question(50)
    hit = door.digest(first)
    again = door.client.get(f"/query/{first.id}", auth=door.signed(tag="cx-read"))
    assert wire.digest_text(notes.read_envelope(again.content).body) == hit, "an answer that was lost on its way is told again"
    async with towns.ours() as tonghua:
        await repair(tonghua, towns.taken[4], actor="test")
    assert door.client.get(f"/query/{first.id}", auth=door.signed(tag="cx-read")).status_code == 404
    answer = door.ask(towns.question(50, level=2, follows=hit))
    assert (answer.result, answer.records) == ("no_hit", ())


# --- the other end ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Towns:
    """The same, and nobody listens in Tonghua unless a test does."""
    made = Towns(tmp_path_factory.mktemp("alone"), with_terms(officer=40, subject=30))
    made.make(stock)
    return made


def test_replay_outlives_a_start(alone: Towns) -> None:
    """A question and a nonce that were used are used when the house is opened again."""
    asked, nonce = alone.question(60), wire.b64u(b"r" * 16)
    with served(alone) as door:
        assert door.post(asked, nonce=nonce).status_code == httpx.codes.OK
    with served(alone) as door:
        assert problem(door.post(asked, nonce=nonce)) == (401, "time-replay")
        assert door.ask(asked).code == "TIME_REPLAY"


Behaviour = Callable[[bytes], AsyncIterator[bytes]]


def answering(status: str, body: bytes, *more: str) -> bytes:
    """An answer of HTTP."""
    head = "\r\n".join([f"HTTP/1.1 {status}", f"content-length: {len(body)}", "content-type: application/json", *more])
    return head.encode() + b"\r\n\r\n" + body


async def silent(asked: bytes) -> AsyncIterator[bytes]:
    """Says nothing."""
    await asyncio.sleep(30)
    yield b""


async def garbage(asked: bytes) -> AsyncIterator[bytes]:
    """Bytes that are no JSON."""
    yield answering("200 OK", b"\x00\xff" * 100)


async def no_answer(asked: bytes) -> AsyncIterator[bytes]:
    """JSON that is no signed document, and says that there is nothing."""
    yield answering("200 OK", b'{"result":"no_hit"}')


async def unsigned(asked: bytes) -> AsyncIterator[bytes]:
    """An answer that says that there is nothing, signed by nobody."""
    question = questions.read_question(asked)
    said = questions.answer_body(
        question, wire.digest_text(asked), result="no_hit", at=datetime.fromisoformat(NOW), life=timedelta(hours=1), policy_version=1
    )
    text = notes.document_text("answer", question.id, said)
    yield answering("200 OK", json.dumps({"body": said.decode(), "note": text + "\n— a.b/x AAAAAAAAAAAA\n"}).encode())


async def trickle(asked: bytes) -> AsyncIterator[bytes]:
    """A byte a second, and never the end."""
    yield b"HTTP/1.1 200 OK\r\ncontent-length: 4000\r\n\r\n"
    for _ in range(30):
        yield b"{"
        await asyncio.sleep(1)


async def flood(asked: bytes) -> AsyncIterator[bytes]:
    """More than any answer has."""
    yield b"HTTP/1.1 200 OK\r\ncontent-length: 9000000\r\n\r\n"
    for _ in range(9):
        yield b" " * 1_000_000


async def away(asked: bytes) -> AsyncIterator[bytes]:
    """Points to an address of metadata."""
    yield answering("307 Temporary Redirect", b"", "location: http://169.254.169.254/latest/meta-data")


async def refusing(asked: bytes) -> AsyncIterator[bytes]:
    """A problem, which nobody has signed."""
    yield answering("403 Forbidden", b'{"code":"scope-issuer"}', "x-other: 1").replace(b"application/json", b"application/problem+json")


async def broken(asked: bytes) -> AsyncIterator[bytes]:
    """A fault of its own, after it has read the question."""
    yield answering("500 Internal Server Error", b"")


async def nothing(asked: bytes) -> AsyncIterator[bytes]:
    """An answer without a byte in it."""
    yield answering("200 OK", b"")


@asynccontextmanager
async def behaving(port: int, behaviour: Behaviour) -> AsyncIterator[None]:
    """Something that listens where Tonghua should."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            head = await reader.readuntil(b"\r\n\r\n")
            size = re.search(rb"content-length: (\d+)", head.lower())
            body = await reader.readexactly(int(size[1])) if size is not None else b""
            if head.startswith(b"POST"):
                async for piece in behaviour(body):
                    writer.write(piece)
                    await writer.drain()
            else:
                writer.write(answering("404 Not Found", b""))
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    try:
        yield
    finally:
        server.close()


@pytest.mark.parametrize(
    ("behaviour", "status"),
    [
        (silent, "unanswered"),
        (trickle, "unanswered"),
        (away, "unanswered"),
        (refusing, "unanswered"),
        (broken, "unanswered"),
        (nothing, "unanswered"),
        (garbage, "invalid"),
        (no_answer, "invalid"),
        (unsigned, "invalid"),
        (flood, "invalid"),
    ],
)
async def test_a_partner_that_misbehaves(alone: Towns, behaviour: Behaviour, status: str) -> None:
    """Silence, garbage, a byte a second, a redirect, an unsigned no: in bounded time a status of its own, and never "no record"."""
    async with alone.theirs() as baishan, behaving(alone.ports[0], behaviour):
        started = time.monotonic()
        found = await ask_partners(baishan, ASKER, asking(10, deadline_s=1.5, case="坏邻居一案"))
        assert time.monotonic() - started < 4
        assert (found.total, [each.status for each in found.partners]) == ("incomplete", [status])
        kept = await show_inquiry(baishan, ASKER, found.id)
        assert [(each.status, each.code) for each in kept.partners] == [(each.status, each.code) for each in found.partners]


async def test_nobody_there(alone: Towns) -> None:
    """A partner that cannot be reached is unreachable; one whose agreement is suspended is not asked at all."""
    async with alone.theirs() as baishan:
        found = await ask_partners(baishan, ASKER, asking(10, case="无人应答案"))
        assert (found.total, found.partners[0].status) == ("incomplete", "unreachable")


async def test_an_answer_that_comes_later(alone: Towns) -> None:
    """In a maintenance a partner says until when; asked again then, it answers the question that it was asked."""
    until = Maintenance(from_=NOW, until="2026-06-02T04:00:00Z", text="升级")
    async with alone.ours() as tonghua:
        await announce_maintenance(tonghua, until, by="test")
    with served(alone):
        async with alone.theirs() as baishan:
            found = await ask_partners(baishan, ASKER, asking(10, case="稍后答复案"))
            assert (found.total, found.partners[0].status, found.partners[0].until) == ("incomplete", "not_available_until", until.until)
            again = await ask_again(baishan, ASKER, found.id)
            assert again.partners[0].status == "not_available_until"
    with served(alone, LATER):
        async with alone.theirs(LATER) as baishan:
            again = await ask_again(baishan, ASKER, found.id)
            assert (again.total, again.partners[0].status) == ("hit", "hit")
            second = await ask_partners(baishan, ASKER, asking(10, level=2, follows=found.id, case="稍后答复案"))
            assert [each.proved for each in second.partners[0].records] == [True]
    async with alone.theirs("2026-10-02T02:30:00Z") as baishan:
        kept = await show_inquiry(baishan, ASKER, second.id)
        assert kept.partners[0].records == (), "their time is over"
        await keep_questions(baishan)
    async with alone.theirs() as baishan:
        kept = await show_inquiry(baishan, ASKER, second.id)
        assert kept.partners[0].records == (), "they are not there any more"


async def test_a_suspended_agreement(alone: Towns) -> None:
    """Suspended by one side, nothing is answered, and the other side does not ask once it knows."""
    async with alone.ours() as tonghua:
        await change_state(tonghua, AGREEMENT, "suspended", reason="示例", by="test")
    with served(alone) as door:
        answer = door.ask(alone.question(10))
        assert (answer.result, answer.code) == ("refused", "SCOPE_AGREEMENT")
    async with alone.theirs() as baishan:
        await change_state(baishan, AGREEMENT, "suspended", reason="示例", by="test")
        found = await ask_partners(baishan, ASKER, asking(10, case="中止后查询"))
        assert (found.total, found.partners[0].status, found.partners[0].code) == ("incomplete", "not_asked", "SCOPE_AGREEMENT")

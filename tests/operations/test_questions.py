"""Mutual query through the real door: what a partner is told of one subject, and what it is not (exchange.md §12, §20 A21)."""

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from gateway.core.exchange import questions, wire
from gateway.operations.answer_partner import FLOOR_S
from gateway.operations.ask_partner import ask_partners
from gateway.operations.kept_inquiries import end_case, inquiry_log, show_inquiry
from gateway.operations.manage_keys import issue_token
from gateway.services import Services
from gateway.store import audit
from gateway.store import questions as questions_log
from tests.asking import ASKER, CASE, Door, Towns, asking, fined, listening, replaced, served, take, with_terms
from tests.house import PLAIN
from tests.operations.publishing import code


async def stock(services: Services) -> None:
    """Firms 1 and 2 were fined; what is said of 3 nobody has signed for."""
    await take(services, fined(1), fined(1, "通示罚〔2026〕2号", day="2026-04-02"), fined(2, "通示罚〔2026〕3号"))
    await take(services, fined(3, "通示罚〔2026〕4号"), signed=False)


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """Tonghua, served; both cities have agreed that they may ask one another."""
    towns = Towns(tmp_path_factory.mktemp("asking"), with_terms())
    towns.make(stock)
    with served(towns) as door:
        yield door


async def test_a_hit_and_its_records(door: Door) -> None:
    """Level 1 says that there is something; level 2 tells it, each record with its proof in the stream, for the case alone."""
    async with door.towns.theirs() as baishan:
        first = await ask_partners(baishan, ASKER, asking(1))
        assert (first.total, [each.status for each in first.partners]) == ("hit", ["hit"])
        assert first.partners[0].details
        assert first.partners[0].records == ()
        second = await ask_partners(baishan, ASKER, asking(1, level=2, follows=first.id))
        (said,) = second.partners
        assert (second.total, said.status, said.code, said.details) == ("hit", "hit", None, True)
        assert [each.fields["CF_WSH"] for each in said.records] == ["通示罚〔2026〕2号", "通示罚〔2026〕1号"]
        assert all(each.proved for each in said.records)
        again = await show_inquiry(baishan, ASKER, second.id, case=CASE)
        assert [each.rid for each in again.partners[0].records] == [each.rid for each in said.records]
        assert await end_case(baishan, ASKER.org, CASE, by="test") == 1
        again = await show_inquiry(baishan, ASKER, second.id, case=CASE)
        assert again.partners[0].records == ()
        log = [each for each in await inquiry_log(baishan, baishan.clock()) if each.inquiry in (first.id, second.id)]
        assert {(each.level, each.status, each.case) for each in log} == {(1, "hit", CASE), (2, "hit", CASE)}
        assert not any(each.records_kept for each in log)


async def test_no_record_is_what_the_partner_said(door: Door) -> None:
    """A firm that is not there, and one of whom only unsigned words are, read alike: no hit."""
    async with door.towns.theirs() as baishan:
        for number in (3, 99):
            found = await ask_partners(baishan, ASKER, asking(number))
            assert (found.total, found.partners[0].status) == ("no_hit", "no_hit")


def test_refused(door: Door) -> None:
    """What may not be asked is refused with its code, signed, whoever it is about."""
    make = door.towns.question
    cases = [
        (make(1, level=2, follows="sha-256:" + "A" * 43 + "="), "QUERY_FOLLOWS"),
        (make(1, level=2), "QUERY_FOLLOWS"),
        (make(1, datasets=("honours",)), "QUERY_SCOPE"),
        (make(1, purpose="exchange.batch"), "QUERY_SCOPE"),
        (make(1, basis=" "), "QUERY_BASIS"),
        (make(1, subject=questions.SubjectAsked(kind="legal", uscc="91220502XXT00002X3")), "QUERY_SUBJECT"),
        (make(1, subject=questions.SubjectAsked(kind="legal", name="通化市测试1商贸有限公司")), "QUERY_SUBJECT"),
        (make(1, agreement=questions.Under(id="nobody-2026", version=1)), "SCOPE_AGREEMENT"),
        (make(1, asked_at="2026-06-02T02:20:00Z"), "TIME_EXPIRED"),
        (make(1, asked_at="2026-06-02T02:40:00Z"), "TIME_FUTURE"),
    ]
    for asked, why in cases:
        answer = door.ask(asked)
        assert (answer.result, answer.code, answer.details, answer.records) == ("refused", why, False, ()), asked


def test_asked_twice(door: Door) -> None:
    """A question counts once: the same again, signed anew, is refused; the same request again is not even read."""
    asked = door.towns.question(2, case="重放一号案")
    assert door.ask(asked).result == "hit"
    again = door.ask(asked)
    assert (again.result, again.code) == ("refused", "TIME_REPLAY")
    first = replaced(asked, id=wire.b64u(b"n" * 16))
    nonce = wire.b64u(b"x" * 16)
    assert door.post(first, nonce=nonce).status_code == 200
    repeated = door.post(replaced(asked, id=wire.b64u(b"m" * 16)), nonce=nonce)
    assert (repeated.status_code, repeated.json()["code"]) == (401, "time-replay")


# --- departments ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def office(door: Door) -> Iterator[httpx.Client]:
    """Baishan's API, asked as a department whose app may ask other cities."""

    async def tokens() -> tuple[str, str]:
        async with door.towns.theirs() as baishan:
            given = [
                await issue_token(baishan, app="app-1", org=ASKER.org, tier="department", purpose=purpose, by="test")
                for purpose in ("mutual.query", "dept.supervision")
            ]
            return given[0].token, given[1].token

    asks, supervises = asyncio.run(tokens())
    with (
        listening(door.towns.settings("bs"), door.towns.ports[1]) as origin,
        httpx.Client(base_url=origin, timeout=30, verify=PLAIN) as client,
    ):
        client.headers["authorization"] = f"Bearer {asks}"
        client.supervises = f"Bearer {supervises}"  # type: ignore[attr-defined]  # for the test of who may not
        yield client


QUESTION = {"subject": {"kind": "legal", "uscc": code(1)}, "basis": "《示例条例》第一条", "officer": "警号-0412"}
HEAD = {"case-ref": "2026-0031"}


def test_a_department_asks(office: httpx.Client) -> None:
    """A department asks about a firm for its case, follows the hit, reads it again, and ends the case."""
    first = office.post("/v1/partner-queries", json=QUESTION, headers=HEAD)
    assert first.status_code == httpx.codes.OK, first.text
    assert first.headers["cache-control"] == "no-store"
    said = first.json()
    assert (said["total"], [each["status"] for each in said["partners"]]) == ("hit", ["hit"])
    second = office.post("/v1/partner-queries", json=QUESTION | {"level": 2, "follows": said["id"]}, headers=HEAD).json()
    told = second["partners"][0]["records"]
    assert [each["fields"]["CF_WSH"] for each in told] == ["通示罚〔2026〕2号", "通示罚〔2026〕1号"]
    again = office.get(f"/v1/partner-queries/{second['id']}", headers=HEAD).json()
    assert again["partners"][0]["records"] == told
    assert office.get(f"/v1/partner-queries/{second['id']}", headers={"case-ref": "2026-0032"}).json()["code"] == "not-found"
    assert office.delete("/v1/partner-queries", headers={"case-ref": "2026-0032"}).json() == {"answers": 0}
    assert office.delete("/v1/partner-queries", headers=HEAD).json() == {"answers": 1}
    assert office.get(f"/v1/partner-queries/{second['id']}", headers=HEAD).json()["partners"][0]["records"] == []
    later = office.post(f"/v1/partner-queries/{second['id']}/again", headers=HEAD).json()
    assert (later["total"], later["partners"][0]["records"]) == ("hit", [])


@pytest.mark.parametrize(
    ("changed", "head", "code"),
    [
        ({}, {}, "case-ref-missing"),
        ({"subject": {"kind": "legal", "uscc": "91220502XXT00002X3"}}, HEAD, "invalid-parameter"),
        ({"subject": {"kind": "legal", "name": "通化市测试1商贸有限公司"}}, HEAD, "invalid-parameter"),
        ({"subject": {"kind": "legal", "uscc": code(1), "hash": "x"}}, HEAD, "body-invalid"),
        ({"deadline_s": 31}, HEAD, "body-invalid"),
        ({"partners": ["credit.nobody.example"]}, HEAD, "invalid-parameter"),
        ({"follows": "inq_2222222222222222222222222a", "level": 2}, HEAD, "invalid-parameter"),
        ({"level": 2}, HEAD, "invalid-parameter"),
        ({"basis": " "}, HEAD, "invalid-parameter"),
    ],
)
def test_what_a_department_may_not_ask(office: httpx.Client, changed: dict[str, Any], head: dict[str, str], code: str) -> None:
    """No case, no whole subject, no ground, a partner that is none: refused before anybody is asked, and nothing is repeated."""
    answer = office.post("/v1/partner-queries", json=QUESTION | changed, headers=head)
    assert answer.json()["code"] == code
    assert "91220502" not in answer.text
    if code == "invalid-parameter":
        (item,) = answer.json()["errors"]
        assert item["code"].startswith("query-")
        assert item["detail"] != answer.json()["detail"], "the officer reads what is wrong, not only where"


def test_the_document_of_whoever_may_ask(office: httpx.Client) -> None:
    """The question stands in the API document of a department that may ask, and in nobody else's."""
    paths = office.get("/openapi.json", headers=HEAD).json()["paths"]
    assert {"post", "delete"} <= set(paths["/v1/partner-queries"])
    assert "/v1/partner-queries/{inquiry}/again" in paths
    supervises = {"authorization": office.supervises}  # type: ignore[attr-defined]  # put there by the fixture
    for headers in (supervises | HEAD, {"authorization": ""}):
        assert "partner-queries" not in office.get("/openapi.json", headers=headers).text


def test_who_may_not_ask(office: httpx.Client) -> None:
    """Nobody without a credential, and no department under another purpose."""
    supervises = office.supervises  # type: ignore[attr-defined]  # put there by the fixture
    for authorization in ({"authorization": supervises}, {"authorization": ""}):
        answer = office.post("/v1/partner-queries", json=QUESTION, headers=HEAD | authorization)
        assert answer.status_code in (401, 403), answer.text


async def test_what_is_not_agreed_is_not_asked(door: Door) -> None:
    """A dataset that an agreement does not name, or a person without a ground, is not asked about: the total is incomplete."""
    async with door.towns.theirs() as baishan:
        found = await ask_partners(baishan, ASKER, asking(1, datasets=("honours",)))
        assert (found.total, found.partners[0].status, found.partners[0].code) == ("incomplete", "not_asked", "QUERY_SCOPE")
        person = questions.SubjectAsked(kind="natural", id_no="220599199003071236", name="测试丁")
        found = await ask_partners(baishan, ASKER, asking(1, subject=person))
        assert (found.total, found.partners[0].code) == ("incomplete", "LAW_PERSON")
        granted = replaced(ASKER, datasets=frozenset({"honours"}))
        found = await ask_partners(baishan, granted, asking(1))
        assert (found.total, found.partners[0].code) == ("incomplete", "QUERY_SCOPE")


async def test_one_officer_one_pseudonym(door: Door) -> None:
    """A partner sees the same pseudonym for one officer, another for another, and never a name; our log has the name."""
    async with door.towns.theirs() as baishan, door.towns.ours() as tonghua:
        first = await ask_partners(baishan, ASKER, asking(77))
        second = await ask_partners(baishan, ASKER, asking(78))
        third = await ask_partners(baishan, ASKER, asking(78, officer="测试员丙"))
        mine = {each.inquiry: each.officer for each in await inquiry_log(baishan, baishan.clock())}
        assert [mine[each.id] for each in (first, second, third)] == ["测试员乙", "测试员乙", "测试员丙"]
        log = await questions_log.asked_since(tonghua.store.reads, tonghua.clock())
        seen = [each.officer for each in log if each.subject in questions_log.subject_keys(tonghua.store.vault, code(78))]
        (same,) = [each.officer for each in log if each.subject in questions_log.subject_keys(tonghua.store.vault, code(77))]
        assert same in seen
        assert len(set(seen)) == 2
        evidence = await questions_log.evidence_of(tonghua.store.reads, log[-1])
        assert evidence is not None
        assert "测试员" not in evidence.body.decode()
        assert {"signature", "signature-input", "content-digest", "content-type"} == set(evidence.headers)


async def test_every_question_is_in_the_trail(door: Door) -> None:
    """Both cities wrote down who asked, for which purpose, about whom (as a keyed digest), before anything was told."""
    async with door.towns.theirs() as baishan, door.towns.ours() as tonghua:
        await ask_partners(baishan, ASKER, asking(2, case="留痕一号案"))
        for services, act in ((baishan, "data.ask"), (tonghua, "data.asked")):
            rows = await audit.rows(services.store.reads, audit.Wanted(kind="access", purpose="mutual.query"), limit=1000)
            (row,) = [each for each in rows if each.case_ref == "留痕一号案"]
            assert (row.act, row.org, row.row_count) == (act, ASKER.org, 1)
            about = services.store.vault.digest("audit-subject", code(2).encode())[:16].hex()
            assert row.subjects == (about,)


def test_a_hit_is_as_long_as_a_miss(door: Door) -> None:
    """The length of an answer says nothing: a hit and a miss have the same number of bytes, and leave no sooner than a floor."""
    sizes, times = set(), []
    for number in (2, 98):
        answer = door.post(door.towns.question(number, case="同长一号案"))
        sizes.add(len(answer.content))
        times.append(answer.elapsed.total_seconds())
    assert len(sizes) == 1
    assert min(times) >= FLOOR_S

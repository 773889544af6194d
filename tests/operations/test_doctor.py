"""The doctor: what is wrong between two cities, named by code with what to do; nothing where nothing is."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from adapters.https_partner import HttpsPartner, HttpsPartnerConfig
from gateway.adapter_contract import AdapterError, Diagnostic
from gateway.core.exchange.documents import Maintenance, sign_keys
from gateway.operations import doctor, show_exchange
from gateway.operations.agreement_fit import agreement_signers
from gateway.operations.doctor import examine
from gateway.operations.findings import Finding, checked, finding
from gateway.operations.keep_exchange import Rounds
from gateway.operations.manage_agreements import announce_maintenance, change_state, own_keys, take_keys
from gateway.operations.send_batch import send_batch
from gateway.services import Services
from tests.operations.publishing import PENALTIES as DATASET
from tests.operations.publishing import code, penalty, put
from tests.operations.test_exchange_waiting import wrong
from tests.region import AGREEMENT, BAISHAN, PENALTIES, TONGHUA, Cities, Forger, days, two_cities


@pytest.fixture
async def cities(tmp_path: Path) -> AsyncIterator[Cities]:
    """Two cities that have agreed."""
    async with two_cities(tmp_path) as both:
        yield both


async def bad(services: Services) -> dict[str, Finding]:
    """What is wrong, by code; every fault says what to do in both languages."""
    found = [each for each in await examine(services, lines=False) if not each.ok]
    for each in found:
        assert each.zh, each
        assert each.en, each
        assert each.remedy_zh, each
        assert each.remedy_en, each
    return {each.code: each for each in found}


async def test_nothing_is_wrong_between_two_cities_that_agreed(cities: Cities) -> None:
    """Keys, disk, agreement, the partner's keys and every stream are looked at, and all are well."""
    found = await examine(cities.tonghua, lines=False)
    assert await bad(cities.tonghua) == {}
    assert {each.code for each in found} == {"key", "disk", "agreement", "partner-keys", "stream"}
    assert {each.where.partition("/")[0] for each in found} == {"gateway", BAISHAN}


async def test_agreements_and_keys_that_end(cities: Cities) -> None:
    """A suspended agreement, one that ends soon or has ended, a partner's keys document that expired, our own keys that end."""
    await change_state(cities.tonghua, AGREEMENT, "suspended", reason="x", by="test")
    assert set(await bad(cities.tonghua)) == {"agreement-suspended"}
    await change_state(cities.tonghua, AGREEMENT, "active", reason="x", by="test")
    ends = next(each for each in await examine(cities.tonghua, lines=False) if each.code == "agreement")
    assert ends.ok
    assert set(await bad(cities.at(cities.now + days(91)).tonghua)) == {"partner-keys-expired"}
    assert {"key-ending"} <= set(await bad(cities.at(cities.now + days(725)).tonghua))
    assert {"key-missing", "agreement-ended"} <= set(await bad(cities.at(cities.now + days(2000)).tonghua))


async def test_a_partner_in_maintenance(cities: Cities) -> None:
    """While it lasts, and not afterwards."""
    said = Maintenance(from_=f"{cities.now:%Y-%m-%dT%H:%M:%SZ}", until=f"{cities.now + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}", text="维护")
    await take_keys(cities.baishan, await announce_maintenance(cities.tonghua, said, by="test"), by="test")
    assert set(await bad(cities.baishan)) == {"partner-maintenance"}
    assert await bad(cities.at(cities.now + timedelta(hours=2)).baishan) == {}


async def test_a_gateway_without_a_key_says_so(cities: Cities) -> None:
    """Its keys are over, and its agreement: partners read that it cannot sign, and the rounds go on with what needs no key."""
    later = cities.at(cities.now + days(2000))
    for both, able in ((cities, True), (later, False)):
        said = json.loads((await show_exchange.status(both.tonghua, BAISHAN)).body)
        assert said["able_to_sign_and_verify"] is able
    assert (await Rounds().run(later.tonghua))["gateway"] == "key-missing"
    assert "agreement-ended" in await bad(later.tonghua)


async def test_a_partner_without_a_key_that_is_good_now(cities: Cities) -> None:
    """Its document is fresh, and all that it lists for batches is revoked or over: named with what to ask for, until another key comes."""
    said = json.loads((await own_keys(cities.tonghua)).body)
    signers = agreement_signers(cities.tonghua, cities.now)
    (listed,) = (key for key in said["keys"] if key["use"] == "exchange")
    good = dict(listed)
    for changed, codes in (
        ({"revoked_at": f"{cities.now:%Y-%m-%dT%H:%M:%SZ}"}, {"partner-key-expired"}),
        ({"not_after": f"{cities.now:%Y-%m-%dT%H:%M:%SZ}"}, {"partner-key-expired"}),
        ({}, set()),
    ):
        said["serial"] += 1
        listed |= good | changed
        await take_keys(cities.baishan, sign_keys(json.dumps(said).encode(), *signers), by="test")
        assert set(await bad(cities.baishan)) == codes


async def test_streams_that_stand(cities: Cities) -> None:
    """A held batch at its receiver, a missing one after an hour, a fork; at the sender a receipt that does not come."""
    forger = Forger(cities)
    await forger.post(forger.penalty(500))
    await forger.send(wrong(forger))
    assert (await bad(cities.baishan))["HOLD_RATE"].where == f"{TONGHUA}/{PENALTIES}"
    await put(cities.tonghua, DATASET, penalty(code(1), "通化市测试商贸有限公司", "通示罚〔2026〕1号"))
    cities.line.lose_before = 99
    await send_batch(cities.tonghua, stream=PENALTIES, at_once=True)
    later = cities.at(cities.now + timedelta(hours=30))
    assert {"UNAVAILABLE", "receipt-overdue"} & set(await bad(later.tonghua))


async def test_a_missing_batch_a_fork_and_another_text(cities: Cities) -> None:
    """After an hour without its predecessor a batch is a gap; two of one number are a fork; a digest of no text that we hold is named."""
    forger = Forger(cities)
    missing, behind = forger.seal([forger.penalty(1)]), forger.seal([forger.penalty(2)])
    await forger.send(behind)
    assert await bad(cities.baishan) == {}
    forger.cities = later = cities.at(cities.now + timedelta(hours=2))
    assert set(await bad(later.baishan)) == {"SEQ_GAP"}
    await forger.send(missing)
    assert await bad(later.baishan) == {}

    def another(said: dict[str, object]) -> None:
        said["agreement"]["digest"] = "sha-256:" + "A" * 43 + "="  # type: ignore[index]

    assert (await forger.send(forger.seal([forger.penalty(3)], edit=another))).code == "SCOPE_DIGEST"
    assert (await bad(later.baishan))["SCOPE_DIGEST"].where == f"{TONGHUA}/{PENALTIES}"
    unexplained = finding("SCHEMA_COUNTS", "", "", "", otherwise="epoch-awaited")
    assert "exchange resync" in (unexplained.remedy_en or ""), "a refusal without words of its own ends with a new epoch"
    again = Forger(later)
    await again.send(again.seal([again.penalty(9)]))
    assert "SEQ_FORK" in await bad(later.baishan)


def test_what_to_do_is_said_to_the_side_that_can_do_it() -> None:
    """A fork or a held batch over there is not released here; an expired keys document or refused persons are the sender's to mend."""
    for code_, in_says, out_says in (
        ("SEQ_FORK", "release --what frozen", "then `exchange epoch` here"),
        ("HOLD_RATE", "release --what batch", "a person over there"),
        ("HOLD_DROP", "release --what batch", "a person over there"),
        ("SEQ_GAP", "exchange pull", "exchange send --now"),
        ("SIG_KEY_EXPIRED", "ask for a fresh keys document", "chengxin key new"),
        ("LAW_PERSON", "it corrects it", "then `exchange epoch`"),
        ("HOLD_REFUSED", "its sender corrects it", "then `exchange epoch`"),
        ("NOT_FOUND", "see the code", "ask it to look at its agreement"),
        ("TIME_EXPIRED", "see the code", "check time synchronisation"),
        ("TIME_FUTURE", "check time synchronisation", "when its time has come"),
        ("TIME_ORDER", "see the code", "then `exchange epoch`"),
        ("DROP_ODD", "exchange retry", "exchange retry"),
        ("HOST_KEY", "ask the other office", "ask the other office"),
    ):
        assert in_says in (finding(code_, "", "", "", stream="in").remedy_en or "")
        assert out_says in (finding(code_, "", "", "", stream="out").remedy_en or "")


@pytest.mark.parametrize("code_", ["SCOPE_DIGEST", "MAINTENANCE", "TIME_FUTURE", "SIG_KEY_EXPIRED", "SEQ_GAP", "UNAVAILABLE"])
async def test_what_the_partner_answers_is_told(cities: Cities, monkeypatch: pytest.MonkeyPatch, code_: str) -> None:
    """A batch that the other side does not take stands with its code, which has a remedy of its own."""

    async def refuse(sealed: object) -> bytes:
        raise AdapterError(code_, "…", transient=True)

    monkeypatch.setattr(cities.line, "carry", refuse)
    await put(cities.tonghua, DATASET, penalty(code(1), "通化市测试商贸有限公司", "通示罚〔2026〕1号"))
    await send_batch(cities.tonghua, stream=PENALTIES, at_once=True)
    found = (await bad(cities.tonghua))[code_]
    assert found.remedy_en != "see the code in gateway/README.md"


async def test_an_answer_that_is_not_believed_stops_nothing_and_says_so(cities: Cities, monkeypatch: pytest.MonkeyPatch) -> None:
    """Garbage for a receipt: the batch is tried again, so nobody is told to begin a new epoch."""

    async def garbage(*_: object, **__: object) -> bytes:
        return b"\xff"

    monkeypatch.setattr(cities.line, "carry", garbage)
    await put(cities.tonghua, DATASET, penalty(code(1), "通化市测试商贸有限公司", "通示罚〔2026〕1号"))
    await send_batch(cities.tonghua, stream=PENALTIES, at_once=True)
    assert "it is tried again" in ((await bad(cities.tonghua))["SCHEMA_JSON"].remedy_en or "")


async def test_a_clock_that_goes_wrong_is_seen_without_a_line(cities: Cities) -> None:
    """Batches from the future, within what the agreement lets pass, tell of clocks, whatever carries them."""
    forger = Forger(cities.at(cities.now + timedelta(minutes=4)))
    await forger.post(forger.penalty(1))
    assert set(await bad(cities.at(cities.now - timedelta(minutes=4)).baishan)) == {"clock-skew"}


@pytest.mark.parametrize(
    ("what", "named"),
    [
        ("域名解析", "dns"),
        ("时钟", "clock-skew"),
        ("连接", "line-down"),
        ("服务 administrative-penalties", "line-down"),
        ("空间", "line-full"),
        ("时间列", "line-undated"),
        ("反馈文件名", "line-surplus"),
        ("无法对应的反馈", "feedback-strange"),
        ("放置中断", "OUTCOME_UNKNOWN"),
        ("维护", "partner-maintenance"),
        ("协议摘要 one-2026/1", "SCOPE_DIGEST"),
        ("协议版本 one-2026/2", "SCOPE_AGREEMENT"),
        ("协议清单", "line-agreements"),
        ("其他", "line"),
    ],
)
def test_what_a_line_says_has_a_remedy_in_both_languages(what: str, named: str) -> None:
    """The line's own words in Chinese, ours in English, and a code that programs can look for."""
    found = checked(Diagnostic(what=what, ok=False, message="不好", remedy="检查"), "x")
    assert (found.code, found.remedy_zh) == (named, "检查")
    assert found.remedy_en
    assert found.en.isascii() or named == "line", "Chinese stands only where a guest's own word has no other"
    assert checked(Diagnostic(what=what, ok=True, message="好"), "x").ok


async def test_a_name_that_does_not_resolve_is_named(cities: Cities) -> None:
    """The real HTTPS line to a host that nobody has: `dns`, with what to do."""
    found = [each for each in await examine(msgspec.structs.replace(cities.tonghua, adapters=Nowhere())) if not each.ok]
    assert [(each.where, each.code) for each in found] == [(f"{BAISHAN}/{AGREEMENT}", "dns")]
    assert found[0].remedy_en


async def test_a_full_disk_is_told(cities: Cities, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below a gigabyte nobody waits for the first batch that cannot be taken."""
    monkeypatch.setattr(doctor, "LITTLE_DISK", 2**62)
    assert set(await bad(cities.tonghua)) == {"disk-full"}


async def test_a_line_that_cannot_be_checked_is_a_finding(cities: Cities) -> None:
    """An adapter that is not installed, or raises, ends nothing: the others are examined all the same."""
    services = msgspec.structs.replace(cities.tonghua, adapters=Broken())
    found = [each for each in await examine(services) if not each.ok]
    assert [(each.where, each.code) for each in found] == [(f"{BAISHAN}/{AGREEMENT}", "line")]


@pytest.mark.parametrize("given", [None, "好", [None], [Diagnostic(what=1, ok=True, message="好")]])  # type: ignore[arg-type]  # a guest keeps no types
async def test_a_line_whose_check_says_nonsense_is_a_finding(cities: Cities, given: object) -> None:
    """What is no list of findings is told as a fault of that line; the rest is examined all the same."""

    async def check(_: object) -> object:
        return given

    line = type("Babbler", (HttpsPartner,), {"check": check})(HttpsPartnerConfig(base_url="https://x.invalid/x/v1"), Tools())
    adapters = type("Adapters", (Nowhere,), {"partner": lambda *_: line})()
    found = [each for each in await examine(msgspec.structs.replace(cities.tonghua, adapters=adapters)) if not each.ok]
    assert [(each.where, each.code) for each in found] == [(f"{BAISHAN}/{AGREEMENT}", "line")]


class Nowhere:
    """The real line, to a name under `.invalid`."""

    def load(self, _: str) -> type[HttpsPartner]:
        return HttpsPartner

    def partner(self, *_: object) -> HttpsPartner:
        return HttpsPartner(HttpsPartnerConfig(base_url="https://credit.nowhere.invalid/x/v1"), Tools())  # type: ignore[arg-type]


class Tools:
    """Nothing is signed before a name is found."""


class Broken:
    """Adapters of which none can be built."""

    def partner(self, *_: object) -> object:
        raise RuntimeError("broken")

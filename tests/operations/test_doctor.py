"""The doctor: what is wrong between two cities, named by code with what to do; nothing where nothing is."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from gateway.core.exchange.documents import Maintenance
from gateway.operations import doctor
from gateway.operations.doctor import Finding, examine
from gateway.operations.manage_agreements import announce_maintenance, change_state, take_keys
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


async def test_a_full_disk_is_told(cities: Cities, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below a gigabyte nobody waits for the first batch that cannot be taken."""
    monkeypatch.setattr(doctor, "LITTLE_DISK", 2**62)
    assert set(await bad(cities.tonghua)) == {"disk-full"}


async def test_a_line_that_cannot_be_checked_is_a_finding(cities: Cities) -> None:
    """An adapter that is not installed, or raises, ends nothing: the others are examined all the same."""
    services = msgspec.structs.replace(cities.tonghua, adapters=Broken())
    found = [each for each in await examine(services) if not each.ok]
    assert [(each.where, each.code) for each in found] == [(BAISHAN, "line")]


class Broken:
    """Adapters of which none can be built."""

    def partner(self, *_: object) -> object:
        raise RuntimeError("broken")

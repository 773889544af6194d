"""How two offices come to an agreement, and what keeps them from it."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.core.errors import ExchangeError, StoreError
from gateway.core.exchange import notes
from gateway.core.exchange.notes import SignedDocument
from gateway.operations.manage_agreements import (
    Side,
    agreements,
    base_url,
    change_state,
    countersign,
    filled,
    offer,
    own_keys,
    take,
    take_keys,
    take_notice,
)
from gateway.services import Services
from tests.ledger import check_ledger
from tests.region import AGREEMENT, BAISHAN, TONGHUA, a_city, template


@pytest.fixture
async def cities(tmp_path: Path, store_url: str) -> AsyncIterator[tuple[Services, Services]]:
    """Two cities that have not spoken yet; the second one on each kind of database."""
    async with a_city(tmp_path / "th", TONGHUA) as ours, a_city(tmp_path / "bs", BAISHAN, database=store_url, port=8001) as theirs:
        yield ours, theirs


def proposal(ours: Services, theirs: Services, **changes: str) -> bytes:
    """The shipped template, filled in; perhaps with words replaced."""
    sides = {
        one.signers.party: Side(base_url=base_url(one), agreement_keys=(one.signers.signing("agreement", one.clock()).vkey,))
        for one in (ours, theirs)
    }
    text = filled(template(), sides)
    for old, new in changes.items():
        assert old.replace("_", " ") in text or old in text
        text = text.replace(old, new)
    return text.encode()


def edited(toml: bytes, old: str, new: str) -> bytes:
    """The file with a word changed."""
    assert old in toml.decode()
    return toml.decode().replace(old, new).encode()


async def code_of(story) -> str:
    """The code with which a story is refused."""
    with pytest.raises((ExchangeError, StoreError)) as caught:
        await story
    return caught.value.code


async def test_offer_countersign_take(cities: tuple[Services, Services]):
    """Offered, countersigned, taken back, keys exchanged: active on both sides, the same digest, each step audited once."""
    ours, theirs = cities
    toml = proposal(ours, theirs)
    offered = await offer(ours, toml, by="test")
    assert [(each.state, each.signed_by) for each in await agreements(ours)] == [("offered", (TONGHUA,))]
    assert await offer(ours, toml, by="test") == offered, "offering again changes nothing"
    signed = await countersign(theirs, offered, toml, by="test")
    assert (await take(ours, signed, by="test")).state == "agreed"
    assert (await take(ours, offered, by="test")).signed_by == (BAISHAN, TONGHUA), "an older copy takes no signature away"
    for one, other in ((ours, theirs), (theirs, ours)):
        await take_keys(one, await own_keys(other), by="test")
    statuses = [(await agreements(one))[0] for one in cities]
    assert [each.state for each in statuses] == ["active", "active"]
    assert len({each.digest for each in statuses}) == 1
    for one in cities:
        await check_ledger(one)


async def test_what_differs_is_not_signed(cities: tuple[Services, Services]):
    """An offer that says something else than our own file is not countersigned, however small the difference."""
    ours, theirs = cities
    toml = proposal(ours, theirs)
    offered = await offer(ours, toml, by="test")
    for old, new in (
        ("skew_s = 300", "skew_s = 301"),
        ('authorities = ["11220500XXT0001181", ', "authorities = ["),
        ("expires = 2028-12-31", "expires = 2029-12-31"),
    ):
        assert await code_of(countersign(theirs, offered, edited(toml, old, new), by="test")) == "SCOPE_DIGEST"


async def test_signatures_are_looked_at(cities: tuple[Services, Services]):
    """A copy without the other side's signature, or with another's, is neither countersigned nor taken."""
    ours, theirs = cities
    toml = proposal(ours, theirs)
    offered = await offer(ours, toml, by="test")
    text = notes.parse(offered.note).text
    mine = SignedDocument(offered.body, notes.sign(text, [theirs.signers.signing("agreement", theirs.clock())]))
    assert await code_of(countersign(theirs, mine, toml, by="test")) == "SIG_UNKNOWN_KEY"
    exchange_key = SignedDocument(offered.body, notes.sign(text, [ours.signers.signing("exchange", ours.clock())]))
    assert await code_of(countersign(theirs, exchange_key, toml, by="test")) == "SIG_UNKNOWN_KEY"
    broken = SignedDocument(offered.body.replace(b'"skew_s":300', b'"skew_s":301'), offered.note)
    assert await code_of(take(ours, broken, by="test")) == "SCOPE_DIGEST"
    assert await code_of(take(theirs, offered, by="test")) == "SCOPE_DIGEST", "nothing is taken that we have not countersigned"


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ('purpose = "exchange.batch"', 'purpose = "mutual.query"', "SCHEMA_ENUM"),
        ('tier = "partner"', 'tier = "nobody"', "SCOPE_FIELD"),
        ('{ name = "CF_WSH"', '{ name = "CF_NOWHERE", type = "date", required = false },\n  { name = "CF_WSH"', "SCOPE_FIELD"),
        ('{ name = "CF_WSH"', '{ name = "CF_FR_ZJHM", type = "id_no", required = false },\n  { name = "CF_WSH"', "SCOPE_FIELD"),
        ('adapter = "https_partner"', 'adapter = "pigeon"', "SCOPE_AGREEMENT"),
        ('dataset = "tax-violations"', 'dataset = "weather"', "SCOPE_AGREEMENT"),
    ],
)
async def test_our_policies_bound_what_we_offer(cities: tuple[Services, Services], old: str, new: str, code: str):
    """Nothing is offered that the plan of tier and purpose does not show, no purpose beside the terms, no adapter or dataset not here."""
    ours, theirs = cities
    assert await code_of(offer(ours, edited(proposal(ours, theirs), old, new), by="test")) == code
    assert await agreements(ours) == []


async def test_a_version_is_signed_once(cities: tuple[Services, Services]):
    """Once we have signed a text, no other text takes its number."""
    ours, theirs = cities
    toml = proposal(ours, theirs)
    await offer(ours, toml, by="test")
    assert await code_of(offer(ours, edited(toml, "skew_s = 300", "skew_s = 200"), by="test")) == "agreement-differs"


async def test_the_next_version_follows_the_one_held(cities: tuple[Services, Services]):
    """Version 2 names the digest of version 1; both sides sign it with the keys of both versions."""
    ours, theirs = cities
    toml = proposal(ours, theirs)
    await take(ours, await countersign(theirs, await offer(ours, toml, by="test"), toml, by="test"), by="test")
    digest = (await agreements(ours))[0].digest
    next_one = edited(
        edited(toml, "version = 1", f'version = 2\nprevious = "{digest}"'), "effective = 2026-01-01", "effective = 2027-01-01"
    )
    wrong = edited(toml, "version = 1", 'version = 2\nprevious = "sha-256:' + "A" * 43 + '="')
    assert await code_of(offer(ours, wrong, by="test")) == "SCOPE_DIGEST"
    signed = await countersign(theirs, await offer(ours, next_one, by="test"), next_one, by="test")
    assert (await take(ours, signed, by="test")).version == 2
    assert [each.version for each in await agreements(theirs)] == [1, 2]


async def test_keys_need_an_agreement(cities: tuple[Services, Services]):
    """A keys document of somebody with whom there is no agreement is not believed; a newer serial replaces the older one."""
    ours, theirs = cities
    assert await code_of(take_keys(ours, await own_keys(theirs), by="test")) == "SCOPE_AGREEMENT"
    toml = proposal(ours, theirs)
    await offer(ours, toml, by="test")
    keys = await take_keys(ours, await own_keys(theirs), by="test")
    assert keys.serial == 1
    assert await own_keys(theirs) == await own_keys(theirs), "the same document while it is true"
    forged = SignedDocument((await own_keys(theirs)).body.replace(b'"serial":1', b'"serial":2'), (await own_keys(theirs)).note)
    assert await code_of(take_keys(ours, forged, by="test")) in ("SIG_CONTEXT", "SIG_INVALID")


async def test_notices(cities: tuple[Services, Services]):
    """Suspended here it is suspended there; nothing follows an end; a notice is taken once."""
    ours, theirs = cities
    toml = proposal(ours, theirs)
    await take(ours, await countersign(theirs, await offer(ours, toml, by="test"), toml, by="test"), by="test")
    for one, other in ((ours, theirs), (theirs, ours)):
        await take_keys(one, await own_keys(other), by="test")
    notice = await change_state(ours, AGREEMENT, "suspended", reason="测试", by="test")
    for _ in range(2):
        assert (await take_notice(theirs, notice, by="test")).state == "suspended"
    changed = SignedDocument(json.dumps(json.loads(notice.body) | {"state": "active"}).encode(), notice.note)
    assert await code_of(take_notice(theirs, changed, by="test")) == "SIG_INVALID"
    end = await change_state(theirs, AGREEMENT, "terminated", reason="测试", by="test")
    assert (await take_notice(ours, end, by="test")).state == "terminated"
    assert await code_of(change_state(ours, AGREEMENT, "active", reason="测试", by="test")) == "SCOPE_AGREEMENT"
    for one in cities:
        await check_ledger(one)

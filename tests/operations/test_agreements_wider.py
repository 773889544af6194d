"""A wider agreement takes two persons here; a new agreement key takes a version that old and new key sign."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest

from gateway.core.errors import AdminError, ExchangeError
from gateway.core.exchange import notes
from gateway.core.exchange.notes import SignedDocument
from gateway.operations.agree_wider import approve_wider
from gateway.operations.check_agreement import check_agreement
from gateway.operations.manage_agreements import agreements, change_state, countersign, offer, own_keys, take, take_keys, take_notice
from gateway.operations.manage_keys import new_key
from gateway.operations.send_batch import send_batch
from gateway.services import Services
from gateway.store.held_agreements import held_agreements
from tests.administrators import enrolled
from tests.ledger import check_ledger
from tests.operations.publishing import PENALTIES as DATASET
from tests.operations.publishing import code, ids, penalty, put
from tests.operations.test_agreements import edited, proposal
from tests.region import AGREEMENT, BAISHAN, PENALTIES, TONGHUA, Cities, two_cities


@pytest.fixture
async def cities(tmp_path: Path) -> AsyncIterator[Cities]:
    """Two cities that have agreed."""
    async with two_cities(tmp_path) as both:
        yield both


async def next_version(cities: Cities, old: str = "", new: str = "") -> bytes:
    """Version 2 of what they have agreed, perhaps with a word changed."""
    toml = proposal(cities.tonghua, cities.baishan)
    first = (await agreements(cities.tonghua))[0]
    toml = edited(toml, "version = 1", f'version = 2\nprevious = "{first.digest}"')
    return edited(toml, old, new) if old else toml


WIDER = ('regions = ["220500"]', 'regions = ["220500", "220600"]')


async def refused(story: Awaitable[object]) -> AdminError:
    """How an act of administration is refused."""
    with pytest.raises(AdminError) as caught:
        await story
    return caught.value


async def waiting(services: Services) -> tuple[str, str]:
    """State of the newest version, and what it waits for."""
    status = (await agreements(services))[-1]
    return status.state, status.waits_for


async def test_two_names_where_nobody_is_enrolled(cities: Cities):
    """What is wider is told in words and waits; the same name does not agree, another does, to this very text; then it is offered."""
    toml = await next_version(cities, *WIDER)
    asked = await refused(offer(cities.tonghua, toml, by="office:a"))
    assert asked.code == "approval-missing"
    assert "220600" in asked.detail
    assert asked.hint is not None
    digest = asked.hint.rpartition(" ")[2]
    state, waits = await waiting(cities.tonghua)
    assert (state, digest in waits) == ("draft", True)
    assert (await refused(approve_wider(cities.tonghua, AGREEMENT, 2, digest=digest, by="office:a"))).code == "approval-conflict"
    assert (await refused(approve_wider(cities.tonghua, AGREEMENT, 2, digest="sha-256:x", by="office:b"))).code == "approval-stale"
    done = await approve_wider(cities.tonghua, AGREEMENT, 2, digest=digest, by="office:b")
    assert (done.asked_by, done.approved_by) == ("office:a", "office:b")
    wider_still = await next_version(cities, WIDER[0], 'regions = ["220500", "220600", "220300"]')
    assert (await refused(offer(cities.tonghua, wider_still, by="office:a"))).code == "approval-missing", "another text is asked for anew"
    offered = await offer(cities.tonghua, toml, by="office:a")
    assert (await refused(countersign(cities.baishan, offered, toml, by="office:c"))).code == "approval-missing", "over there too"
    assert await waiting(cities.tonghua) == ("offered", f"{BAISHAN}: countersign")
    for services in (cities.tonghua, cities.baishan):
        await check_ledger(services)


@pytest.mark.parametrize(("old", "new"), [("", ""), ('regions = ["220500"]', 'regions = ["220502"]'), ("lines = 100000", "lines = 10")])
async def test_what_narrows_takes_one(cities: Cities, old: str, new: str):
    """A version that changes nothing or only takes away is signed at once."""
    toml = await next_version(cities, old, new)
    signed = await countersign(cities.baishan, await offer(cities.tonghua, toml, by="office:a"), toml, by="office:c")
    assert (await take(cities.tonghua, signed, by="office:a")).signed_by == (BAISHAN, TONGHUA)


async def test_another_line_under_the_same_text_takes_one_person_and_is_taken(cities: Cities):
    """Our own part of a signed text may change: it counts from then on, under the same signatures; of a tier it is told."""
    toml = proposal(cities.tonghua, cities.baishan)
    moved = edited(toml, 'adapter = "https_partner"', 'adapter = "https_partner"\nallow_private = true\nconfig = { timeout_s = 20 }')
    note = (await offer(cities.tonghua, moved, by="office:a")).note
    (held,) = (await held_agreements(cities.tonghua.store.reads, AGREEMENT))[AGREEMENT]
    assert (held.local.config, held.local.allow_private, held.note, held.complete) == ({"timeout_s": 20}, True, note, True)
    assert (await agreements(cities.tonghua))[0].state == "active"
    checked = await check_agreement(cities.tonghua, edited(moved, 'tier = "partner"', 'tier = "supervisor"'))
    assert [each.place for each in checked.wider] == ["[local] tier"], "only what is another than before is told"


async def test_administrators_sign_where_they_are_enrolled(cities: Cities):
    """An operator asks and an approver of another unit agrees, each with an own key; a name alone does neither."""
    here = cities.tonghua
    approver = await enrolled(here, "anna", "approver")
    other = await enrolled(here, "arno", "approver", unit="unit of otto")
    operator = await enrolled(here, "otto", "operator")
    toml = await next_version(cities, *WIDER)
    assert (await refused(offer(here, toml, by="office:a"))).code == "operator-needed"
    asked = await refused(offer(here, toml, by=await operator.acts("agreement.offer")))
    assert asked.hint is not None
    digest = asked.hint.rpartition(" ")[2]
    assert (await refused(approve_wider(here, AGREEMENT, 2, digest=digest, by="office:b"))).code == "operator-needed"
    assert (
        await refused(approve_wider(here, AGREEMENT, 2, digest=digest, by=await operator.acts("agreement.approve")))
    ).code == "role-missing"
    assert (
        await refused(approve_wider(here, AGREEMENT, 2, digest=digest, by=await other.acts("agreement.approve")))
    ).code == "approval-conflict"
    await approve_wider(here, AGREEMENT, 2, digest=digest, by=await approver.acts("agreement.approve"))
    offered = await offer(here, toml, by=await operator.acts("agreement.offer"))
    assert notes.parse(offered.note).text.startswith(f"chengxin-exchange/agreement/1\n{AGREEMENT}/2\n")
    await check_ledger(here)


async def both_persons(services: Services, sign: Callable[[], Awaitable[SignedDocument]]) -> SignedDocument:
    """What `sign` gives once a second person has agreed."""
    with pytest.raises(AdminError) as caught:
        await sign()
    await approve_wider(services, AGREEMENT, 2, digest=str(caught.value.hint).rpartition(" ")[2], by="office:b")
    return await sign()


async def test_an_agreement_key_is_exchanged(cities: Cities):
    """A version that pins a new key is signed by old and new; keys documents, notices and batches are believed before and after its day."""
    here, there = cities.tonghua, cities.baishan
    toml = await next_version(cities)
    line = await new_key(here, "agreement", by="test")
    here.key_folder.refresh()
    old = next(key.signer.vkey for key in here.signers.keys if key.use == "agreement" and key.signer.vkey != line.vkey)
    toml = edited(edited(toml, old, line.vkey), "effective = 2026-01-01", "effective = 2026-06-10")
    offered = await both_persons(here, lambda: offer(here, toml, by="office:a"))
    signed = await both_persons(there, lambda: countersign(there, offered, toml, by="office:a"))
    await take(here, signed, by="office:a")
    (version,) = [each for each in await agreements(there) if each.version == 2]
    assert (version.state, version.waits_for) == ("agreed", "its first day, 2026-06-10")
    rows = [penalty(code(number), f"通化市测试{number}商贸有限公司", f"通示罚〔2026〕{number}号") for number in (1, 2)]
    made = ids(await put(here, DATASET, *rows))
    for moment in (cities.now, cities.now + timedelta(days=30)):
        now = cities.at(moment)
        assert (await take_keys(now.baishan, await own_keys(now.tonghua), by="test")).party == TONGHUA
        (sent,) = await send_batch(now.tonghua, stream=PENALTIES, at_once=True)
        assert sent.state == "acked", sent
        notice = await change_state(now.tonghua, AGREEMENT, "suspended", reason="测试", by="test")
        assert (await take_notice(now.baishan, notice, by="test")).state == "suspended"
        await take_notice(now.baishan, await change_state(now.tonghua, AGREEMENT, "active", reason="测试", by="test"), by="test")
    assert made
    states = [each.state for each in await agreements(now.baishan)]
    assert states == ["superseded", "active"]
    for services in (now.tonghua, now.baishan):
        await check_ledger(services)


async def test_a_key_that_only_the_new_version_pins_does_not_sign_alone(cities: Cities):
    """Without the old key's line the new version is not signed by that party; a key that is not ours is not pinned for us."""
    here = cities.tonghua
    toml = await next_version(cities)
    line = await new_key(here, "agreement", by="test")
    here.key_folder.refresh()
    old = next(key.signer for key in here.signers.keys if key.use == "agreement" and key.signer.vkey != line.vkey)
    toml = edited(toml, old.vkey, line.vkey)
    offered = await both_persons(here, lambda: offer(here, toml, by="office:a"))
    assert {one.key_id for one in notes.parse(offered.note).lines} == {old.key_id, bytes.fromhex(line.vkey.split("+")[1])}
    signer = next(one.signer for one in here.signers.keys if one.signer.vkey == line.vkey)
    alone = SignedDocument(offered.body, notes.sign(notes.parse(offered.note).text, [signer]))
    there = cities.baishan
    with pytest.raises(ExchangeError) as caught:
        await both_persons(there, lambda: countersign(there, alone, toml, by="office:a"))
    assert caught.value.code == "SIG_UNKNOWN_KEY"
    foreign = edited(toml, line.vkey, _foreign())
    with pytest.raises(ExchangeError) as caught:
        await offer(here, foreign, by="office:a")
    assert caught.value.code == "SIG_KEY_USE"


def _foreign() -> str:
    from gateway.core.signing import Ed25519Signer

    return Ed25519Signer(f"{TONGHUA}/agreement", b"\x55" * 32).vkey


async def test_nothing_follows_an_end(cities: Cities):
    """After a termination no version is offered: what comes then is another agreement."""
    toml = await next_version(cities)
    await change_state(cities.tonghua, AGREEMENT, "terminated", reason="测试", by="test")
    with pytest.raises(ExchangeError) as caught:
        await offer(cities.tonghua, toml, by="office:a")
    assert caught.value.code == "SCOPE_AGREEMENT"

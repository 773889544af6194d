"""Whose keys are believed and when: unknown, rolled back, revoked late, expired; requests that count once; announced maintenance."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.core.errors import ExchangeError, SettingsError
from gateway.core.exchange.documents import Maintenance
from gateway.core.exchange.wire import instant
from gateway.core.message_signing import Message
from gateway.operations.alarms import standing
from gateway.operations.believe_partner import by_request
from gateway.operations.keep_exchange import Rounds
from gateway.operations.manage_agreements import announce_maintenance, base_url, change_state, own_keys, take_keys, take_notice
from gateway.operations.manage_keys import list_keys, new_key, revoke_key
from gateway.operations.partners import LineTools
from gateway.operations.receive_batch import BatchRefused, receive_posted, resume_waiting
from gateway.operations.send_batch import send_batch
from gateway.services import Services, load_signers
from gateway.store.replay import DatabaseReplay
from tests.operations.publishing import PENALTIES as DATASET
from tests.operations.publishing import code, penalty, put
from tests.region import AGREEMENT, PENALTIES, TONGHUA, Cities, Forger, days, posted_of, two_cities


@pytest.fixture
async def cities(tmp_path: Path) -> AsyncIterator[Cities]:
    """Two cities that have agreed."""
    async with two_cities(tmp_path) as both:
        yield both


def asking(sender: Services, receiver: Services) -> Message:
    """A signed GET of the sender at the receiver."""
    url = base_url(receiver) + "/status"
    headers = LineTools(sender, base_url(receiver)).sign_request("GET", url, None, None)
    return Message(method="GET", url=url, headers=list(headers.items()))


async def believed(receiver: Services, message: Message) -> str:
    """Who is believed to ask, or the code."""

    async def nothing(party: str, a_minute: int) -> bytes:
        assert (party, a_minute) == (TONGHUA, 120)
        return b""

    try:
        return (await by_request(receiver, message, tag="cx-read", read_body=nothing))[0]
    except ExchangeError as error:
        return error.code


def with_keys_of_today(services: Services) -> Services:
    """A city as it is after its next start."""
    return msgspec.structs.replace(services, signers=load_signers(services.settings))


async def kinds(services: Services) -> list[tuple[str, str]]:
    """Alarms that stand."""
    return [(alarm.kind, alarm.target) for alarm in await standing(services)]


async def test_a_request_counts_once_also_after_a_start(cities: Cities):
    """A21: the nonce stands in the database."""
    message = asking(cities.tonghua, cities.baishan)
    assert await believed(cities.baishan, message) == TONGHUA
    assert await believed(cities.baishan, message) == "TIME_REPLAY"
    nonces = DatabaseReplay(cities.baishan.store)
    doors = msgspec.structs.replace(cities.baishan.doors, nonces=nonces)
    assert await believed(msgspec.structs.replace(cities.baishan, doors=doors), message) == "TIME_REPLAY"
    await nonces.close()


async def test_a_new_key_is_found_when_it_is_used(cities: Cities):
    """A10: a key made today is published at once and signs tomorrow; whoever does not know it yet asks, once a minute at most."""
    line = await new_key(cities.tonghua, "http", by="test")
    assert line.vkey in (await own_keys(cities.tonghua)).body.decode(), "published a day before it signs"
    assert cities.tonghua.signers.signing("http", cities.now).vkey != line.vkey
    later = cities.at(cities.now + days(2))
    tonghua = with_keys_of_today(later.tonghua)
    assert tonghua.signers.signing("http", later.now).vkey == line.vkey
    asked = later.line.asked
    assert await believed(later.baishan, asking(tonghua, later.baishan)) == TONGHUA
    assert later.line.asked == asked + 1
    stranger = msgspec.structs.replace(tonghua, signers=msgspec.structs.replace(tonghua.signers, keys=_strange(tonghua)))
    for _ in range(3):
        assert await believed(later.baishan, asking(stranger, later.baishan)) == "SIG_UNKNOWN_KEY"
    assert later.line.asked == asked + 1
    later = later.at(later.now + timedelta(minutes=1))
    stranger = msgspec.structs.replace(stranger, clock=later.tonghua.clock)
    for _ in range(3):
        assert await believed(later.baishan, asking(stranger, later.baishan)) == "SIG_UNKNOWN_KEY"
    assert later.line.asked == asked + 2


def _strange(services: Services) -> Any:
    from gateway.core.signing import Ed25519Signer

    return tuple(
        msgspec.structs.replace(key, signer=Ed25519Signer(key.signer.name, bytes(range(32)))) if key.use == "http" else key
        for key in services.signers.keys
    )


async def test_keys_are_fetched_every_ten_minutes(cities: Cities):
    """A round asks a partner for its keys once in ten minutes; the document that is held is not taken again."""
    rounds, asked = Rounds(), cities.line.asked
    for seconds in (0, 300, 599, 600, 900):
        await rounds.run(cities.at(cities.now + timedelta(seconds=seconds)).tonghua)
    assert cities.line.asked == asked + 2


async def test_a_keys_document_that_goes_back_is_an_alarm(cities: Cities):
    """An older serial, or a second text of one, is refused and told until a newer document comes."""
    older = await own_keys(cities.tonghua)
    over = Maintenance(from_=instant(cities.now), until=instant(cities.now + days(1)), text="维护")
    newer = await announce_maintenance(cities.tonghua, over, by="test")
    assert (await take_keys(cities.baishan, newer, by="test")).serial == 2
    with pytest.raises(ExchangeError) as caught:
        await take_keys(cities.baishan, older, by="test")
    assert caught.value.code == "SEQ_REPLAY"
    assert await kinds(cities.baishan) == [("partner-keys", TONGHUA)]
    await take_keys(cities.baishan, await announce_maintenance(cities.tonghua, None, by="test"), by="test")
    assert await kinds(cities.baishan) == []


async def test_a_revocation_learned_late_is_told(cities: Cities):
    """A10: what a key signed after its revocation, and we believed before we knew, is an alarm; from then on the key is refused."""
    await new_key(cities.tonghua, "exchange", by="test")
    later = cities.at(cities.now + days(2))
    forger = Forger(later)
    old = forger.signers[0].vkey
    first = await forger.post(forger.penalty(1))
    assert first.result == "applied"
    revoked = later.at(later.now + timedelta(hours=1))
    assert (await revoke_key(revoked.tonghua, old, reason="测试", by="test")).state == "revoked"
    document = await own_keys(revoked.tonghua)
    last = revoked.at(revoked.now + timedelta(hours=1))
    forger.cities = last
    assert (await forger.post(forger.penalty(2))).result == "applied", "nobody has told Baishan yet"
    await take_keys(last.baishan, document, by="test")
    assert [kind for kind, _ in await kinds(last.baishan)] == ["partner-key-revoked"]
    assert (await standing(last.baishan))[0].detail["batches"] == 1, "the first batch was seen before"
    for created in (last.now, last.now - timedelta(hours=3)):
        with pytest.raises(BatchRefused) as caught:
            await forger.send(forger.seal([forger.penalty(3)], created=created, advance=False))
        assert caught.value.code == "SIG_KEY_REVOKED", "back-dating helps nobody"


async def test_the_last_key_of_a_use_is_not_revoked(cities: Cities):
    """Without another key that is good now nothing could be signed."""
    only = next(line for line in list_keys(cities.tonghua.settings, cities.now) if line.use == "exchange")
    with pytest.raises(SettingsError) as caught:
        await revoke_key(cities.tonghua, only.vkey, reason="测试", by="test")
    assert caught.value.code == "key-missing"


async def test_a_stolen_key_is_revoked_though_no_other_is_good(cities: Cities):
    """With `mute` partners believe it no more from the next keys document on; nothing leaves until its successor is good, then all does."""
    await put(cities.tonghua, DATASET, penalty(code(1), "通化市测试1商贸有限公司", "通示罚〔2026〕1号"))
    forger = Forger(cities)
    assert (await new_key(cities.tonghua, "exchange", by="test")).not_before == cities.now + days(1)
    with pytest.raises(SettingsError, match="--mute"):
        await revoke_key(cities.tonghua, forger.signers[0].vkey, reason="失窃", by="test")
    assert (await revoke_key(cities.tonghua, forger.signers[0].vkey, reason="失窃", by="test", mute=True)).state == "revoked"
    cities.tonghua.key_folder.refresh()
    await take_keys(cities.baishan, await own_keys(cities.tonghua), by="test")
    with pytest.raises(BatchRefused) as caught:
        await forger.send(forger.seal([forger.penalty(1)], advance=False))
    assert caught.value.code == "SIG_KEY_REVOKED"
    (sent,) = await send_batch(cities.tonghua, stream=PENALTIES)
    assert (sent.sealed, sent.delivered, sent.state, sent.code) == (0, 0, "waiting", "key-missing")
    (sent,) = await send_batch(cities.at(cities.now + days(1)).tonghua, stream=PENALTIES)
    assert (sent.sealed, sent.delivered) == (1, 1)


async def test_announced_maintenance(cities: Cities):
    """Nothing is delivered to a partner that has announced maintenance, and it takes nothing; afterwards everything goes on."""
    until = cities.now + timedelta(hours=2)
    said = Maintenance(from_=instant(cities.now), until=instant(until), text="维护")
    await take_keys(cities.tonghua, await announce_maintenance(cities.baishan, said, by="test"), by="test")
    await put(cities.tonghua, DATASET, penalty(code(1), "通化市测试1商贸有限公司", "通示罚〔2026〕1号"))
    (sent,) = await send_batch(cities.tonghua, stream=PENALTIES, at_once=True)
    assert (sent.sealed, sent.delivered, sent.code, cities.line.carried) == (1, 0, "MAINTENANCE", [])
    forger = Forger(cities)
    sealed = forger.seal([forger.penalty(1)])
    inline = {part.name: part.data for part in sealed.parts}
    with pytest.raises(BatchRefused) as caught:
        await receive_posted(
            cities.baishan, PENALTIES, posted_of(sealed.document.body, sealed.document.note, sealed.checkpoint, inline), caller=TONGHUA
        )
    assert caught.value.code == "MAINTENANCE"
    later = cities.at(until)
    (sent,) = await send_batch(later.tonghua, stream=PENALTIES)
    assert (sent.delivered, sent.state) == (1, "acked")


async def test_what_waited_goes_on_by_itself(cities: Cities):
    """A batch that waited for keys, or for the agreement, is applied when that is there, in order, though nobody posts it again."""
    later = cities.at(cities.now + days(95))
    forger = Forger(later)
    assert (await forger.post(forger.penalty(1))).code == "SIG_KEY_EXPIRED"
    assert await resume_waiting(later.baishan) == 0
    await take_keys(later.baishan, await own_keys(later.tonghua), by="test")
    assert await resume_waiting(later.baishan) == 1
    notice = await change_state(later.baishan, AGREEMENT, "suspended", reason="测试", by="test")
    await take_notice(later.tonghua, notice, by="test")
    second, third = forger.seal([forger.penalty(2)]), forger.seal([forger.penalty(3)])
    assert ((await forger.send(second)).code, (await forger.send(third)).code) == ("SCOPE_AGREEMENT", "SCOPE_AGREEMENT")
    assert await resume_waiting(later.baishan) == 0
    await change_state(later.baishan, AGREEMENT, "active", reason="测试", by="test")
    assert await resume_waiting(later.baishan) == 1
    assert (await forger.send(third)).result == "applied", "the one behind it went on with it"

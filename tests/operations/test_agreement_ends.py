"""What is left of a partner's records when an agreement ends: nothing of their content, numbers and leaves, and an inventory that fits."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from gateway.core.errors import ExchangeError
from gateway.core.exchange import notes
from gateway.core.exchange.inventories import Sealed, decode_inventory, differences
from gateway.core.exchange.notes import SignedDocument
from gateway.operations import end_agreement
from gateway.operations.doctor import examine
from gateway.operations.end_agreement import end_agreements, show_end, take_inventory
from gateway.operations.handle_case import repair
from gateway.operations.manage_agreements import change_state, own_keys, take_keys, take_notice
from gateway.operations.render_public import settle
from gateway.operations.send_batch import send_batch
from gateway.operations.tell_partners import send_letters
from gateway.operations.watch_exchange import conditions
from gateway.services import Services, open_services
from gateway.store import agreement_ends, held_agreements, known_records, outbox
from gateway.store.tables import in_parts, in_records, inquiries, out_parts, recognitions, record_versions
from tests.ledger import check_ledger
from tests.operations.publishing import HONOURS as HONOURS_DATASET
from tests.operations.publishing import PENALTIES as DATASET
from tests.operations.publishing import code, ids, penalty, put
from tests.operations.test_exchange import honour
from tests.region import AGREEMENT, BAISHAN, HONOURS, PENALTIES, TONGHUA, Cities, two_cities

NAME = "通化市澄泉示例商贸有限公司"


@pytest.fixture
async def cities(tmp_path: Path, store_url: str) -> AsyncIterator[Cities]:
    """Two cities that have agreed; the one that receives on each kind of database."""
    async with two_cities(tmp_path, ("", store_url)) as both:
        yield both


async def exchange(cities: Cities) -> list[str]:
    """A penalty and an honour of Tonghua that Baishan holds, and one penalty that was repaired there."""
    rows = [penalty(code(number), NAME, f"通示罚〔2026〕{number}号") for number in (1, 2)]
    made = ids(await put(cities.tonghua, DATASET, *rows))
    made += ids(await put(cities.tonghua, HONOURS_DATASET, honour(2, NAME)))
    await send_batch(cities.tonghua, at_once=True)
    await repair(cities.tonghua, made[1], actor="test", document="示例")
    await send_batch(cities.tonghua, at_once=True)
    await settle(cities.baishan)
    return made


async def end(cities: Cities) -> None:
    """Tonghua ends it, and both hear and carry it out."""
    notice = await change_state(cities.tonghua, AGREEMENT, "terminated", reason="测试", by="test")
    await take_notice(cities.baishan, notice, by="test")
    for services in (cities.tonghua, cities.baishan):
        assert await end_agreements(services) == [AGREEMENT]
        assert await end_agreements(services) == [], "once"


async def inventory_of(services: Services, party: str) -> SignedDocument:
    """A signed inventory as a house holds it."""
    row = await agreement_ends.inventory(services.store.reads, AGREEMENT, party)
    assert row is not None
    return SignedDocument(row.body, row.note)


def files_with(folder: Path, word: str) -> list[str]:
    """Files below a folder in which a word stands."""
    return [path.name for path in folder.rglob("*") if path.is_file() and path.suffix != ".toml" and word.encode() in path.read_bytes()]


async def test_a_purge_leaves_numbers_and_leaves(cities: Cities):
    """Records, versions, payloads, parts and decisions say nothing any more; leaf hashes, versions and receipts stay, and all verifies."""
    made = await exchange(cities)
    reads = cities.baishan.store.reads
    before = {row.record_id: (row.v, row.leaf) for row in await reads.all(sa.select(in_records))}
    assert set(before) == set(made)
    await end(cities)
    await settle(cities.baishan)
    rows = await reads.all(sa.select(in_records))
    assert {row.record_id: (row.v, row.leaf) for row in rows} == before
    assert all(row.payload is None and row.op not in ("assert", "amend") for row in rows)
    for table in (in_parts, recognitions):
        assert await reads.all(sa.select(table)) == []
    assert all(row.clear == b"{}" and row.secret is None for row in await reads.all(sa.select(record_versions)))
    said = decode_inventory((await inventory_of(cities.baishan, BAISHAN)).body)
    assert {one.action for one in said.streams} == {"purged"}
    held = {one.origin: one.held for one in said.streams if one.held}
    assert held == {f"{TONGHUA}/x/{PENALTIES}/1": 1, f"{TONGHUA}/x/{HONOURS}/1": 1}
    assert await cities.tonghua.store.reads.all(sa.select(out_parts)) == [], "nor are our own copies kept"
    for services in (cities.tonghua, cities.baishan):
        await check_ledger(services)


async def test_whoever_sends_by_hand_carries_out_the_end_that_was_heard_over_the_line(cities: Cities):
    """Where no round runs, `agreement send` purges what a termination that came over the line ended, and has an inventory to tell of it."""
    await exchange(cities)
    notice = await change_state(cities.tonghua, AGREEMENT, "terminated", reason="测试", by="test")
    await take_notice(cities.baishan, notice, by="test")
    assert await agreement_ends.inventory(cities.baishan.store.reads, AGREEMENT, BAISHAN) is None
    await send_letters(cities.baishan, by="test")
    said = decode_inventory((await inventory_of(cities.baishan, BAISHAN)).body)
    assert {one.action for one in said.streams} == {"purged"}
    await check_ledger(cities.baishan)


async def test_nothing_of_the_content_is_found_in_any_file(tmp_path: Path):
    """A name that only the partner has told stands in files before the end, and in none after it."""
    async with two_cities(tmp_path) as cities:
        await exchange(cities)
        folder = cities.baishan.settings.data_path
        assert files_with(folder, NAME), "it can be found at all"
        await end(cities)
        await settle(cities.baishan)
        settings = cities.baishan.settings
    async with open_services(settings) as services:
        await check_ledger(services)
    for word in (NAME, code(1), "通示罚〔2026〕1号"):
        assert files_with(settings.data_path, word) == []


async def test_frozen_is_kept_and_shown_to_nobody(tmp_path: Path):
    """`freeze`: everything leaves its exits and stays sealed; withdrawals and erasures are still taken."""
    async with two_cities(tmp_path, change=lambda text: text.replace('"purge"', '"freeze"')) as cities:
        made = await exchange(cities)
        await end(cities)
        from gateway.core.records.model import RecordId
        from gateway.store import records

        held = {one.record_id: one.state for one in await records.load(cities.baishan.store.reads, ids=[RecordId(each) for each in made])}
        assert held == {made[0]: "retracted", made[1]: "repaired", made[2]: "retracted"}
        said = decode_inventory((await inventory_of(cities.baishan, BAISHAN)).body)
        assert {one.action for one in said.streams} == {"frozen"}
        await check_ledger(cities.baishan)
        await repair(cities.tonghua, made[0], actor="test", document="示例")
        (sent,) = await send_batch(cities.tonghua, stream=PENALTIES, at_once=True)
        assert sent.state == "acked"
        assert (await known_records.known(cities.baishan.store.reads, made))[made[0]].op == "repair"


async def test_withdrawals_are_acknowledged_after_a_purge(cities: Cities):
    """Within `freeze_days` a withdrawal of what is purged is taken and acknowledged; nothing comes of it."""
    made = await exchange(cities)
    await end(cities)
    await repair(cities.tonghua, made[0], actor="test", document="示例")
    (sent,) = await send_batch(cities.tonghua, stream=PENALTIES, at_once=True)
    assert (sent.state, sent.lines) == ("acked", 1)
    for services in (cities.tonghua, cities.baishan):
        await check_ledger(services)


async def test_time_ends_it_too(tmp_path: Path):
    """An agreement that has run out ends in the next round, on both sides; a house cut off in between goes on where it stood."""
    async with two_cities(tmp_path, change=lambda text: text.replace("expires = 2028-12-31", "expires = 2026-06-30")) as cities:
        await exchange(cities)
        (held,) = (await held_agreements.held_agreements(cities.baishan.store.reads))[AGREEMENT]
        later = cities.at(held.agreement.ends + timedelta(seconds=1))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(end_agreement, "inventory_body", _cut)
            with pytest.raises(ZeroDivisionError):
                await end_agreements(later.baishan)
        assert (await show_end(later.baishan, AGREEMENT)).ours is None
        assert await end_agreements(later.baishan) == [AGREEMENT]
        found = await show_end(later.baishan, AGREEMENT)
        assert found.state == "expired"
        assert found.ours is not None
        assert sum(one.held for one in found.ours.streams) == 2, "counted when it began"


def _cut(*_: object, **__: object) -> bytes:
    raise ZeroDivisionError


async def test_inventories_are_held_against_our_log(cities: Cities):
    """The other side's inventory is believed by its signature, once, about an agreement that is over; each difference is told."""
    await exchange(cities)
    with pytest.raises(ExchangeError) as caught:
        await show_end(cities.tonghua, AGREEMENT)
    assert caught.value.code == "SCOPE_AGREEMENT"
    await end(cities)
    document = await inventory_of(cities.baishan, BAISHAN)
    assert (await take_inventory(cities.tonghua, document, by="test")).differences == ()
    assert (await take_inventory(cities.tonghua, document, by="test")).theirs is not None, "taken twice is taken once"
    said, signer = json.loads(document.body), cities.baishan.signers.signing("exchange", cities.now)
    other = json.dumps(said | {"streams": []}, ensure_ascii=False).encode()
    second = notes.sign_document("inventory", f"{AGREEMENT}/{BAISHAN}", other, [signer])
    forged = notes.sign_document("inventory", f"{AGREEMENT}/{BAISHAN}", other, [cities.tonghua.signers.signing("exchange", cities.now)])
    for one, expected in ((second, "SCOPE_DIGEST"), (forged, "SIG_UNKNOWN_KEY"), (SignedDocument(other, document.note), "SIG_INVALID")):
        with pytest.raises(ExchangeError) as caught:
            await take_inventory(cities.tonghua, one, by="test")
        assert caught.value.code == expected
    (held,) = (await held_agreements.held_agreements(cities.tonghua.store.reads))[AGREEMENT]
    read = decode_inventory(document.body)
    origin = f"{TONGHUA}/x/{PENALTIES}/1"
    stream = next(one for one in read.streams if one.origin == origin)
    out = await outbox.out_stream(cities.tonghua.store.reads, PENALTIES)
    assert out is not None
    assert stream.size == out.head.tree.size

    def told(size: int, root: str | None) -> list[str]:
        return [each.words for each in differences(read, held.agreement, {origin: Sealed(size=size, root=root)}) if each.origin == origin]

    assert told(stream.size, stream.root) == []
    assert told(stream.size + 2, stream.root) == ["the last 2 entries were never applied there"]
    assert told(stream.size, "other") == [f"another root at {stream.size} entries than ours"]
    assert told(stream.size - 1, None) == [f"names {stream.size} entries, we sealed {stream.size - 1}"]
    bare = decode_inventory(other)
    assert [each.words for each in differences(bare, held.agreement, {origin: Sealed(size=3, root="x")})] == [
        "not named, though we sealed 3 entries"
    ]
    assert "no stream of ours" in [each.words for each in differences(read, held.agreement, {})]


async def ending(services: Services) -> dict[str, object]:
    """What people are told of agreements that end without a successor."""
    return {each.target: each.detail for each in await conditions(services) if each.kind == "agreement-ending" and each.bad}


async def test_the_last_month_of_an_agreement_is_told(cities: Cities):
    """What was received is then destroyed for good, so both are told a month ahead of the day and of that; afterwards no more."""
    (held,) = (await held_agreements.held_agreements(cities.baishan.store.reads))[AGREEMENT]
    for before, told in ((timedelta(days=31), False), (timedelta(days=29), True), (timedelta(hours=1), True), (timedelta(0), False)):
        then = cities.at(held.agreement.ends - before)
        for services, partner in ((then.tonghua, BAISHAN), (then.baishan, TONGHUA)):
            expected = {f"{partner}/{AGREEMENT}": {"expires": "2028-12-31", "then": "purge"}}
            assert await ending(services) == (expected if told else {}), before
            found = {each.code for each in await examine(services, lines=False)}
            assert ("agreement-ending" in found) is told, "the doctor says what the alarm says"


async def test_what_is_renewed_has_not_ended(tmp_path: Path):
    """Where the next version is signed and still to come nothing is purged, nobody is told of an end, and keys of both are still heard."""
    from tests.operations.test_agreements import edited, proposal

    async with two_cities(tmp_path, change=lambda text: text.replace("expires = 2028-12-31", "expires = 2026-06-30")) as cities:
        from gateway.operations.agree_wider import approve_wider
        from gateway.operations.manage_agreements import agreements, countersign, offer, take

        made = await exchange(cities)
        assert [*await ending(cities.baishan)] == [f"{TONGHUA}/{AGREEMENT}"]
        digest = (await agreements(cities.tonghua))[0].digest
        toml = edited(proposal(cities.tonghua, cities.baishan), "version = 1", f'version = 2\nprevious = "{digest}"')
        toml = edited(toml, "effective = 2026-01-01", "effective = 2026-07-02")
        from gateway.core.errors import AdminError

        async def both(services: Services, sign):
            with pytest.raises(AdminError) as caught:
                await sign()
            await approve_wider(services, AGREEMENT, 2, digest=str(caught.value.hint).rpartition(" ")[2], by="office:b")
            return await sign()

        offered = await both(cities.tonghua, lambda: offer(cities.tonghua, toml, by="office:a"))
        signed = await both(cities.baishan, lambda: countersign(cities.baishan, offered, toml, by="office:a"))
        await take(cities.tonghua, signed, by="office:a")
        assert (await ending(cities.tonghua), await ending(cities.baishan)) == ({}, {})
        (first, _) = (await held_agreements.held_agreements(cities.baishan.store.reads))[AGREEMENT]
        between = cities.at(first.agreement.ends + timedelta(hours=1))
        assert await end_agreements(between.baishan) == []
        assert (await known_records.known(between.baishan.store.reads, made))[made[0]].op == "assert"
        await take_keys(between.baishan, await own_keys(between.tonghua), by="test")


async def test_what_was_told_for_a_case_goes_too(tmp_path: Path):
    """Records that the partner told in answer to a question are deleted with a purge; that we asked stays in the log."""
    async with two_cities(tmp_path) as cities:
        await exchange(cities)
        row = {
            "inquiry": "inq_test", "partner": TONGHUA, "agreement": AGREEMENT, "question": "q", "day": "2026-06-02", "level": 2,
            "org": "11220600XXT0001186", "case_key": "k", "officer": "o", "subject": "s", "said": b"x", "status": "hit",
            "lines": b"sealed", "lines_until": "2027-06-02T00:00:00Z", "asked_at": "2026-06-02T00:00:00Z",
        }  # fmt: skip
        async with cities.baishan.store.transaction() as tx:
            await tx.execute(sa.insert(inquiries).values(**row))
        await end(cities)
        (kept,) = await cities.baishan.store.reads.all(sa.select(inquiries))
        assert (kept.inquiry, kept.lines) == ("inq_test", None)

"""What a person signs says what it decides: which hold is lifted, which version is confirmed; and only what is signed counts."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from gateway.core.errors import AdminError, StoreError
from gateway.operations.await_confirmation import awaiting
from gateway.operations.hold_stream import Meant, hold_stream, release_stream
from gateway.operations.recognise import confirm
from gateway.operations.send_batch import send_batch
from gateway.store import holds, inbox
from gateway.store.tables import in_streams
from tests.administrators import Admin, enrolled, hand
from tests.ledger import check_ledger
from tests.operations.publishing import PENALTIES as DATASET
from tests.operations.publishing import code, ids, penalty, put
from tests.operations.test_exchange_waiting import told, wrong
from tests.region import BAISHAN, PENALTIES, TONGHUA, Cities, Forger, held_batch, recognising, two_cities


@pytest.fixture
async def cities(tmp_path: Path) -> AsyncIterator[Cities]:
    """Two cities that have agreed."""
    async with two_cities(tmp_path) as both:
        yield both


async def people(cities: Cities, **roles: str) -> tuple[Admin, ...]:
    """Administrators of Baishan; an operator comes last, for then invitations are signed."""
    return tuple([await enrolled(cities.baishan, name, role) for name, role in roles.items()])


async def forked(cities: Cities) -> None:
    """Tonghua's penalties are frozen at Baishan."""
    forger, other = Forger(cities), Forger(cities)
    await forger.post(forger.penalty(1))
    assert told(await other.send(other.seal([other.penalty(66)]))) == ("frozen", "SEQ_FORK")


async def released(cities: Cities, who: Admin, what: Meant) -> str:
    """What came of a signed release, or the code of its refusal."""
    batch = await held_batch(cities.baishan) if what == "batch" else None
    by = await who.acts("exchange.release", stream=PENALTIES, what=what, batch=batch, reason="施工结束")
    try:
        return (await release_stream(cities.baishan, PENALTIES, what=what, batch=batch, reason="施工结束", by=by)).what
    except AdminError as error:
        return error.code


async def test_lifting_a_hold_releases_no_fork(cities: Cities) -> None:
    """Frozen and held: three who mean the hold lift it once and release nothing; the fork takes two who sign just that."""
    wu, li, zhang = await people(cities, wu="approver", li="approver", zhang="operator")
    await forked(cities)
    await hold_stream(cities.baishan, PENALTIES, reason="施工", by="office:x")
    assert [await released(cities, who, "hold") for who in (wu, zhang, li)] == ["lifted", "release-other", "release-other"]
    stream = await inbox.in_stream(cities.baishan.store.reads, TONGHUA, PENALTIES)
    assert stream is not None
    assert (stream.frozen, stream.released) == ("SEQ_FORK", False)
    with pytest.raises(AdminError) as caught:
        await release_stream(cities.baishan, PENALTIES, what="batch", reason="x", by=hand())
    assert "frozen" in caught.value.detail, "it says what is there"
    assert [await released(cities, who, "frozen") for who in (zhang, li)] == ["asked", "released"]


async def test_a_held_batch_that_was_forked_meanwhile_is_not_said_to_be_applied(cities: Cities) -> None:
    """Two contents bear its number when a person releases it: refused, with the code, and nothing of it is in force."""
    li = await enrolled(cities.baishan, "li", "approver")
    forger = Forger(cities)
    await forger.post(forger.penalty(500))
    other = Forger(cities)
    other.head = forger.head
    assert told(await forger.send(wrong(forger))) == ("held", "HOLD_RATE")
    assert told(await other.send(other.seal([other.penalty(66)]))) == ("frozen", "SEQ_FORK")
    batch = await held_batch(cities.baishan)
    by = await li.acts("exchange.release", stream=PENALTIES, what="batch", batch=batch, reason="施工结束")
    done = await release_stream(cities.baishan, PENALTIES, what="batch", batch=batch, reason="施工结束", by=by)
    assert (done.what, done.code) == ("refused", "SEQ_FORK")


async def test_a_held_batch_waits_behind_a_hold(cities: Cities) -> None:
    """What is held for its rate is applied by name only, and not past an operator's hold."""
    li = await enrolled(cities.baishan, "li", "approver")
    forger = Forger(cities)
    await forger.post(forger.penalty(500))
    assert told(await forger.send(wrong(forger))) == ("held", "HOLD_RATE")
    for what, batch in (("batch", None), ("hold", "1/2")):  # a batch goes by its name, a hold has none
        with pytest.raises(AdminError) as caught:
            await release_stream(cities.baishan, PENALTIES, what=what, batch=batch, reason="x", by=hand())
        assert caught.value.code == "release-other"
    await hold_stream(cities.baishan, PENALTIES, reason="施工", by="office:x")
    assert [await released(cities, li, what) for what in ("batch", "frozen", "hold", "hold", "batch")] == [
        "release-other", "release-other", "lifted", "release-other", "applied",
    ]  # fmt: skip
    await check_ledger(cities.baishan)


async def test_an_unsigned_asking_counts_for_nothing(cities: Cities) -> None:
    """A name that was once typed is no first person, though an administrator is called so."""
    li, zhang = await people(cities, li="approver", zhang="operator")
    await forked(cities)
    async with cities.baishan.store.transaction() as tx:
        await tx.execute(sa.update(in_streams).values(release_asked_by="zhang"))
    assert await released(cities, li, "frozen") == "asked"
    assert await released(cities, zhang, "frozen") == "released"


async def test_a_yes_is_to_what_was_read(tmp_path: Path) -> None:
    """Signed about version 1, heard when version 2 has come: refused, and nothing has an effect; the list shows what to sign."""
    async with two_cities(tmp_path, change=lambda text: recognising(text, (DATASET, "penalty"))) as cities:
        here = cities.baishan
        li = await enrolled(here, "li", "approver")
        row = penalty(code(4), "通化市测试4商贸有限公司", "通示罚〔2026〕4号")
        (record_id,) = ids(await put(cities.tonghua, DATASET, row))
        await send_batch(cities.tonghua, at_once=True)
        (first,) = await awaiting(here)
        assert (first.record, first.version, first.partner) == (record_id, 1, TONGHUA)

        async def yes(version: int, digest: str) -> str:
            basis = "《示例条例》第一条"
            by = await li.acts("exchange.confirm", record=record_id, version=version, digest=digest, basis=basis)
            try:
                return (await confirm(here, record_id, version=version, digest=digest, by=by, basis=basis)).reason
            except StoreError as error:
                return error.code

        await put(cities.tonghua, DATASET, row | {"处罚内容": "罚款伍万元整"})
        await send_batch(cities.tonghua, at_once=True)
        (second,) = await awaiting(here)
        assert (second.version, second.digest == first.digest) == (2, False)
        for version, digest in ((1, first.digest), (2, first.digest), (1, second.digest)):
            assert await yes(version, digest) == "confirmation-stale"
        assert await yes(2, second.digest) == "recognised"
        assert (await awaiting(here), await yes(2, second.digest)) == ([], "confirmed-already")


def both_ways(text: str) -> str:
    """Penalties go from Baishan to Tonghua too."""
    block = next(each for each in text.split("[[streams]]") if f'dataset = "{DATASET}"' in each)
    back = block.partition("[[")[0].replace(TONGHUA, "?").replace(BAISHAN, TONGHUA).replace("?", BAISHAN).replace("220500", "220600", 1)
    back = re.sub(r"authorities = \[[^\]]*\]", 'authorities = ["11220600XXT000142N"]', back)
    return text.replace(block, f"{block}[[streams]]{back}", 1)


async def test_a_name_of_both_directions_is_held_both_ways(tmp_path: Path) -> None:
    """One dataset that both cities tell each other: a hold stops what comes and what goes, its end lets both go on."""
    async with two_cities(tmp_path, change=both_ways) as cities:
        held = await hold_stream(cities.baishan, PENALTIES, reason="施工", by="office:x")
        assert (held.direction, held.partner) == ("both", TONGHUA)
        reads = cities.baishan.store.reads
        assert {each.sender for each in await holds.every_hold(reads)} == {TONGHUA, BAISHAN}
        assert (await release_stream(cities.baishan, PENALTIES, what="hold", reason="完成", by=hand())).what == "lifted"
        assert await holds.every_hold(reads) == []

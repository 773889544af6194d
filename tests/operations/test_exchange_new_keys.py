"""A partner signs with a key that we do not know yet: its document is asked for at once, over whichever line has it."""

import asyncio
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from gateway.core.exchange import notes
from gateway.operations.collect_batches import collect_batches
from gateway.operations.fetch_keys import fetch_keys
from gateway.operations.handle_case import repair
from gateway.operations.keep_exchange import Rounds
from gateway.operations.manage_agreements import change_state, take_notice
from gateway.operations.manage_keys import new_key, write_key
from gateway.operations.partners import agreed_lines
from gateway.operations.send_batch import send_batch
from gateway.services import load_signers
from gateway.store import ledger, outbox
from tests.operations.publishing import PENALTIES as DATASET
from tests.operations.publishing import TAX, code, ids, penalty, put
from tests.operations.test_exchange import states
from tests.operations.test_exchange_drop import dropped
from tests.operations.test_exchange_pull import lay_ready
from tests.operations.test_exchange_pull_agreements import OTHER, Lines, announced, lines, only, published, serial
from tests.region import AGREEMENT, BAISHAN, PENALTIES, TONGHUA, Cities, agree, days, followed, two_cities
from tests.web.two_served import two_served

__all__ = ["lines"]


async def fined(cities: Cities, number: int) -> str:
    """A firm of this number is fined."""
    (made,) = ids(await put(cities.tonghua, DATASET, penalty(code(number), f"通化市测试{number}商贸有限公司", f"通示罚〔2026〕{number}号")))
    return made


async def sent(cities: Cities) -> tuple[int, str | None]:
    """Seal and deliver what there is; how many batches wait, and why."""
    (one,) = await send_batch(cities.tonghua, stream=PENALTIES, at_once=True)
    return one.waiting, one.code


async def with_another_key(cities: Cities, party: str) -> Cities:
    """Two days later, when a party has signed with a new key since this moment and nobody has asked for its document."""
    one = cities.tonghua if party == TONGHUA else cities.baishan
    await new_key(one, "exchange", by="test")
    later = cities.at(cities.now + days(2))
    moved = later.tonghua if party == TONGHUA else later.baishan
    moved = msgspec.structs.replace(moved, signers=load_signers(moved.settings))
    found = msgspec.structs.replace(later, **{"tonghua" if party == TONGHUA else "baishan": moved})
    found.line.join(found.tonghua, found.baishan)
    return found


@pytest.mark.parametrize("way", ["push", "pull", "drop"])
async def test_a_receipt_under_a_new_key(tmp_path: Path, way: str) -> None:
    """The receiver has another key when it answers the second batch: it is acknowledged at once, not after the next ten minutes."""

    def change(text: str) -> str:
        return dropped(text) if way == "drop" else text.replace('delivery = "push"', f'delivery = "{way}"')

    async with two_cities(tmp_path / "cities", change=change) as cities:
        (tmp_path / "drop").mkdir()
        cities.line.drop = {"root": str(tmp_path / "drop")}

        async def brought(cities: Cities) -> int:
            waiting, _ = await sent(cities)
            if way == "pull":
                await lay_ready(cities)
            if way != "push":
                assert await collect_batches(cities.baishan) == {}
                if way == "drop":
                    assert await collect_batches(cities.tonghua) == {}
                waiting = len(await outbox.waiting_batches(cities.tonghua.store.reads, PENALTIES))
            return waiting

        await fined(cities, 1)
        assert await brought(cities) == 0
        before = await ledger.received_receipt(cities.tonghua.store.reads, PENALTIES, 1)
        cities = await with_another_key(cities, BAISHAN)
        made = await fined(cities, 2)
        assert await brought(cities) == 0
        after = await ledger.received_receipt(cities.tonghua.store.reads, PENALTIES, 2)
        assert before is not None
        assert after is not None
        assert signer_of(before.note) != signer_of(after.note)
        assert await states(cities.baishan, made) == ["in_force"]


def signer_of(note: str) -> bytes:
    """Id of the key of the only line under a note."""
    (line,) = notes.parse(note).lines
    return line.key_id


async def test_a_later_receipt_under_a_new_key(tmp_path: Path) -> None:
    """So is the news that what was withdrawn has left every exit."""
    async with two_cities(tmp_path) as cities:
        made = await fined(cities, 1)
        assert await sent(cities) == (0, None)
        await repair(cities.tonghua, made, actor="test", document="示例")
        assert await sent(cities) == (0, None)
        cities = await with_another_key(cities, BAISHAN)
        assert await followed(cities.baishan) == 1
        assert await ledger.awaits_news(cities.tonghua.store.reads, PENALTIES)
        await sent(cities)
        assert not await ledger.awaits_news(cities.tonghua.store.reads, PENALTIES)


async def test_a_stranger_s_receipt_asks_once_a_minute(tmp_path: Path) -> None:
    """A receipt under a key that stands nowhere acknowledges nothing, and asks for keys as rarely as any other unknown key."""
    async with two_cities(tmp_path) as cities:
        theirs = await with_another_key(cities, BAISHAN)
        cities = theirs.at(theirs.now)
        known = next(key for key in theirs.baishan.signers.keys if key.use == "exchange")
        strange = msgspec.structs.replace(known, signer=type(known.signer)(known.signer.name, bytes(range(32))))
        keys = tuple(strange if key.use == "exchange" else key for key in theirs.baishan.signers.keys)
        liar = msgspec.structs.replace(theirs.baishan, signers=msgspec.structs.replace(theirs.baishan.signers, keys=keys))
        cities.line.join(cities.tonghua, liar)
        cities.line.cities = {url: cities.baishan if one is liar else one for url, one in cities.line.cities.items()}
        await fined(cities, 1)
        asked = cities.line.asked
        for _ in range(3):
            assert await sent(cities) == (1, "SIG_UNKNOWN_KEY")
        assert cities.line.asked == asked + 1


async def test_a_receipt_under_a_new_key_over_http(tmp_path: Path) -> None:
    """Two running cities: the receiver's new key signs while the sender's server knows the old one only."""
    async with two_served(tmp_path) as served:
        cities = Cities(served.th, served.bs, None)  # type: ignore[arg-type]  # the line is the network
        await fined(cities, 1)
        assert await sent(cities) == (0, None)
        write_key(served.bs.settings, "exchange", number=2, not_before=served.bs.clock() - timedelta(minutes=1))
        await asyncio.sleep(1.2)
        await fined(cities, 2)
        assert await sent(cities) == (0, None)


async def test_both_lines_wait_for_one_answer(lines: Lines) -> None:
    """Under both agreements a batch is signed with the new key: one line asks, the other waits for what comes, and both are taken."""
    lines.cities = await with_another_key(lines.cities, TONGHUA)
    cities = lines.at(lines.cities)
    made = await published(cities, 1)
    assert await collect_batches(cities.baishan) == {}
    assert await states(cities.baishan, *made) == ["in_force", "in_force"]
    assert len(lines.asked) == 1


async def test_agreements_in_force_are_asked_first(lines: Lines) -> None:
    """Over the line of one that has ended, which withdrawals still use, keys are asked for only where no other serves."""
    cities = lines.cities
    notice = await change_state(cities.tonghua, AGREEMENT, "terminated", reason="示例", by="test")
    await take_notice(cities.baishan, notice, by="test")
    held = [each for each, _ in await agreed_lines(cities.baishan)]
    assert [each.agreement.id for each in held] == [AGREEMENT, OTHER]
    assert await fetch_keys(cities.baishan, held, TONGHUA) == {}
    assert lines.asked == [OTHER]


async def test_a_line_that_is_behind_hides_no_key(lines: Lines) -> None:
    """The line that is asked first has the document that is held, and no newer one: whoever misses a key asks over the next."""
    lines.cities = await with_another_key(lines.cities, TONGHUA)
    cities = lines.at(lines.cities)
    made = await published(cities, 1)
    lines.behind.add(AGREEMENT)
    assert await collect_batches(cities.baishan) == {}
    assert await states(cities.baishan, *made) == ["in_force", "in_force"]
    assert lines.asked == [AGREEMENT, OTHER]


async def test_a_document_that_is_over_is_sought_everywhere(lines: Lines) -> None:
    """While what is held counts one line is enough; when it is over, a line that has nothing newer is not the last."""
    cities = lines.cities
    held = [each for each, _ in await agreed_lines(cities.baishan)]
    lines.behind.add(AGREEMENT)
    assert await fetch_keys(cities.baishan, held, TONGHUA) == {}
    assert lines.asked == [AGREEMENT]
    later = lines.at(cities.at(cities.now + days(91)))
    before = await serial(later.baishan)
    assert await fetch_keys(later.baishan, held, TONGHUA) == {}
    assert (lines.asked[1:], await serial(later.baishan)) == ([AGREEMENT, OTHER], before + 1)


async def test_a_folder_without_keys_is_passed_over(tmp_path: Path) -> None:
    """The partner has laid no keys document into the folder of one agreement: it comes over the line of the other."""
    async with two_cities(tmp_path / "cities", change=lambda _: dropped(only(DATASET, delivery="push"))) as both:
        (tmp_path / "drop").mkdir()
        both.line.drop = {"root": str(tmp_path / "drop")}
        await agree(both.tonghua, both.baishan, only(TAX, agreement=OTHER, delivery="push"))
        before = await serial(both.baishan)
        await announced(both)
        assert await Rounds().run(both.baishan) == {}
        assert await serial(both.baishan) == before + 1

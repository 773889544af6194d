"""A receiver that was brought back from an older copy goes on under the same agreement, over real sockets: pushed to, or fetching.

What happened between the copy and the loss: a record repaired, one erased, both acknowledged, one new. Nothing of that time is known here
afterwards; everything that is true is told anew, and of the rest nothing is to be seen from the restored house's first moment on.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec import Struct

from gateway.app import create_app
from gateway.operations.back_up import back_up, restore
from gateway.operations.collect_batches import collect_batches
from gateway.operations.come_back import came_back_from_copy, find_all_places
from gateway.operations.doctor import examine
from gateway.operations.erase import erase
from gateway.operations.handle_case import repair
from gateway.operations.keep_exchange import Rounds
from gateway.operations.manage_agreements import agreements, change_state, own_keys, take_keys
from gateway.operations.manage_keys import write_key
from gateway.operations.send_batch import send_batch
from gateway.services import Services
from gateway.store import debts, inbox, ledger, outbox
from tests.administrators import enrolled
from tests.house import settings_of
from tests.ledger import check_ledger
from tests.operations.publishing import PENALTIES as DATASET
from tests.operations.publishing import code, ids, penalty, put
from tests.operations.test_exchange import states
from tests.region import AGREEMENT, BAISHAN, NOW, PENALTIES, TONGHUA, a_city, agree, days, followed, template
from tests.web.serving import serving
from tests.web.two_served import free_port

SAID = {"CHENGXIN_NOW": NOW, "CHENGXIN_EXCHANGE_POLL_S": "0"}


class Pair(Struct):
    """The sender, served throughout, and the receiver as it stands now."""

    folder: Path
    ports: tuple[int, int]
    th: Services
    bs: Services
    open: AsyncExitStack
    pull: bool

    async def up(self) -> None:
        """Open Baishan's house and serve it."""
        self.bs = await self.open.enter_async_context(a_city(self.folder / "bs", BAISHAN, new=False, port=self.ports[1]))
        await self.open.enter_async_context(serving(create_app(settings_of(self.folder / "bs" / "chengxin.toml", **SAID)), self.ports[1]))

    async def down(self) -> None:
        """Close it."""
        await self.open.aclose()

    async def go(self) -> None:
        """Everything moves until nothing does: both keep their exchange, and follow their change logs."""
        for _ in range(3):
            for services in (self.th, self.bs):
                services.paces.forget()  # whatever is asked for every minute is asked for now
                await Rounds().run(services)
            if self.pull:
                await collect_batches(self.bs)
            await send_batch(self.th, stream=PENALTIES, at_once=True)
            await followed(self.bs)
            if self.pull:
                await collect_batches(self.bs)

    async def stopped(self) -> str | None:
        """Why Tonghua's stream goes no further."""
        out = await outbox.out_stream(self.th.store.reads, PENALTIES)
        assert out is not None
        return out.stopped


@asynccontextmanager
async def a_pair(folder: Path, *, pull: bool) -> AsyncIterator[Pair]:
    """Two cities that have agreed, both served."""
    ports = free_port(), free_port()
    text = template()
    if pull:
        text = text.replace('delivery = "push"', 'delivery = "pull"')
        text = text.replace('adapter = "https_partner"', 'adapter = "https_partner"\nconfig = { wait_s = 0 }')
    async with a_city(folder / "th", TONGHUA, port=ports[0]) as th:
        async with a_city(folder / "bs", BAISHAN, port=ports[1]) as bs:
            await agree(th, bs, text)
        app = create_app(settings_of(folder / "th" / "chengxin.toml", **SAID))
        async with serving(app, ports[0]), AsyncExitStack() as open_:
            pair = Pair(folder, ports, th, bs, open_, pull)
            await pair.up()
            yield pair


@pytest.fixture(params=[False, True], ids=["push", "pull"])
async def pair(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Pair]:
    """Both ways of carrying batches."""
    async with a_pair(tmp_path, pull=request.param) as both:
        yield both


async def fined(pair: Pair, *numbers: int) -> list[str]:
    """Penalties of Tonghua's; not sent yet."""
    rows = [penalty(code(number), f"通化市测试{number}商贸有限公司", f"通示罚〔2026〕{number}号") for number in numbers]
    return ids(await put(pair.th, DATASET, *rows))


async def erased(services: Services, record_id: str) -> None:
    """A custodian of Tonghua's erases a record."""
    admin = await enrolled(services, "kang", "key-custodian")
    await erase(services, record_id, reason="request", by=await admin.acts("record.erase", target=record_id, reason="request"))


async def owes(pair: Pair) -> tuple[int, int]:
    """How many withdrawals and erasures Baishan has not acknowledged."""
    late = pair.th.clock() + days(30)
    found = [await debts.debt(pair.th.store.reads, PENALTIES, what, late) for what in ("withdrawals", "erasures")]
    return tuple(each.lines if each is not None else 0 for each in found)  # type: ignore[return-value]  # two of them


async def lose(pair: Pair) -> None:
    """Baishan's database is gone; everything else is not."""
    settings = pair.bs.settings
    await pair.down()
    away = pair.folder / "lost"
    away.mkdir()
    for file in [*settings.data_path.glob("gateway.db*"), *settings.data_path.glob("*checkpoint*")]:
        file.rename(away / file.name)


async def test_a_receiver_goes_on_after_it_came_back(pair: Pair, tmp_path: Path):
    """Shows nothing that may be over, gives no number twice, is told anew what is true, and acknowledges what follows."""
    kept, repaired, gone = await fined(pair, 1, 2, 3)
    await pair.go()
    assert await states(pair.bs, kept, repaired, gone) == ["in_force"] * 3
    copy = await back_up(pair.bs, data=tmp_path / "copy/data", keys=tmp_path / "copy/keys", by="test")
    await repair(pair.th, repaired, actor="test", document="示例")
    await erased(pair.th, gone)
    (new,) = await fined(pair, 4)
    await pair.go()
    assert await owes(pair) == (0, 0)
    write_key(pair.bs.settings, "exchange", number=2, not_before=pair.bs.clock() - timedelta(minutes=1))
    await asyncio.sleep(1.2)
    seen = await take_keys(pair.th, await own_keys(pair.bs), by="test")
    await repair(pair.th, (await fined(pair, 6))[0], actor="test", document="示例")
    await pair.go()
    before = await ledger.last_receipt_no(pair.th.store.reads, PENALTIES)
    settings = pair.bs.settings
    await lose(pair)
    back = await restore(settings, data=Path(copy.data), keys=Path(copy.keys), newer_keys=None, by="test")
    assert PENALTIES in back.streams
    for head in back.heads:
        Path(head).rename(tmp_path / Path(head).name)
    await pair.up()
    assert await states(pair.bs, kept, repaired, gone) == [None] * 3, "nothing of a partner before it is told anew"
    assert "receipt-awaited" in {each.code for each in await examine(pair.bs, lines=False)}

    (later,) = await fined(pair, 5)
    (sent,) = await send_batch(pair.th, stream=PENALTIES, at_once=True)
    if not pair.pull:
        assert (sent.state, sent.code) == ("waiting", "UNAVAILABLE"), "no receipt before the number of the last is known"
    assert await pair.stopped() is None

    await pair.go()
    assert await pair.stopped() is None
    assert (await take_keys(pair.th, await own_keys(pair.bs), by="test")).serial > seen.serial, "no keys document goes back"
    assert await states(pair.bs, kept, new, later) == ["in_force"] * 3
    assert await states(pair.bs, repaired, gone) == [None, None]
    place = await inbox.in_stream(pair.bs.store.reads, TONGHUA, PENALTIES)
    assert place is not None
    assert (place.asks, place.anew, place.head.epoch) == (None, None, 2)
    assert place.receipt_no > (before or 0), "the numbers go on behind those that were given in the lost time"
    await repair(pair.th, kept, actor="test", document="示例")
    await pair.go()
    assert await states(pair.bs, kept) == ["repaired"]
    assert await owes(pair) == (0, 0)
    assert {each.where for each in await examine(pair.bs, lines=False) if not each.ok} <= {"gateway"}
    for services in (pair.th, pair.bs):
        await check_ledger(services)


async def test_a_fork_before_anybody_knew_is_mended(pair: Pair, tmp_path: Path):
    """Brought back by other means and served: the sender stops at the fork; once it is marked both go on."""
    (kept,) = await fined(pair, 1)
    await pair.go()
    settings = pair.bs.settings
    await pair.down()
    database = (settings.data_path / "gateway.db").read_bytes()
    await pair.up()
    (repaired,) = await fined(pair, 2)
    await pair.go()
    await repair(pair.th, repaired, actor="test", document="示例")
    await pair.go()
    await lose(pair)
    (settings.data_path / "gateway.db").write_bytes(database)
    (settings.data_path / "gateway.db").chmod(0o600)
    await pair.up()
    (later,) = await fined(pair, 3)
    await send_batch(pair.th, stream=PENALTIES, at_once=True)
    if pair.pull:
        await collect_batches(pair.bs)
    assert await pair.stopped() == "SEQ_FORK"
    (told,) = [each for each in await examine(pair.th, lines=False) if each.code == "SEQ_FORK"]
    assert "came-back" in (told.remedy_en or "")

    assert PENALTIES in await came_back_from_copy(pair.bs, by="test", reason="恢复")
    assert await find_all_places(pair.bs) == {}
    await pair.go()
    assert await pair.stopped() is None
    assert await states(pair.bs, kept, later) == ["in_force", "in_force"]
    assert await states(pair.bs, repaired) in ([None], ["repaired"])
    assert await owes(pair) == (0, 0)
    for services in (pair.th, pair.bs):
        await check_ledger(services)


async def test_a_suspension_of_the_lost_time_is_learnt_again(pair: Pair, tmp_path: Path):
    """We suspended, and the copy does not know it: our own notice comes back from the partner in the first round."""
    copy = await back_up(pair.bs, data=tmp_path / "copy/data", keys=tmp_path / "copy/keys", by="test")
    await change_state(pair.bs, AGREEMENT, "suspended", reason="核查", by="test")
    await pair.go()
    assert {each.state for each in await agreements(pair.th)} == {"suspended"}
    settings = pair.bs.settings
    await lose(pair)
    await restore(settings, data=Path(copy.data), keys=Path(copy.keys), newer_keys=None, by="test")
    for head in settings.data_path.glob("*checkpoint*"):
        head.unlink()
    await pair.up()
    assert {each.state for each in await agreements(pair.bs)} == {"active"}
    await Rounds().run(pair.bs)
    assert {each.state for each in await agreements(pair.bs)} == {"suspended"}
    await change_state(pair.bs, AGREEMENT, "active", reason="核查完毕", by="test")
    await pair.go()
    assert {each.state for each in await agreements(pair.th)} == {"active"}, "the next notice has a number of its own"


async def test_a_withdrawal_that_was_never_acknowledged(pair: Pair, tmp_path: Path):
    """Told before the copy or after it and not acknowledged at the loss: gone at once afterwards, and acknowledged in the end."""
    first, second, third = await fined(pair, 1, 2, 3)
    await pair.go()

    async def told() -> None:
        await send_batch(pair.th, stream=PENALTIES, at_once=True)
        if pair.pull:
            await collect_batches(pair.bs)

    await repair(pair.th, first, actor="test", document="示例")
    await told()
    copy = await back_up(pair.bs, data=tmp_path / "copy/data", keys=tmp_path / "copy/keys", by="test")
    await repair(pair.th, second, actor="test", document="示例")
    await erased(pair.th, third)
    await told()
    assert await owes(pair) == (2, 1)
    settings = pair.bs.settings
    await lose(pair)
    back = await restore(settings, data=Path(copy.data), keys=Path(copy.keys), newer_keys=None, by="test")
    for head in back.heads:
        Path(head).rename(tmp_path / Path(head).name)
    await pair.up()
    assert await states(pair.bs, first, second, third) == [None] * 3
    assert await owes(pair) == (2, 1), "what is lost is owed all the same"
    await pair.go()
    assert await owes(pair) == (0, 0)
    assert await states(pair.bs, first, second, third) == [None] * 3
    assert await pair.stopped() is None
    for services in (pair.th, pair.bs):
        await check_ledger(services)

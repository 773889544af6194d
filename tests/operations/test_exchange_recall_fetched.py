"""Where batches are fetched, or lie in a folder: what must disappear does not wait for the last batch of a new epoch either."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
import sqlalchemy as sa

from adapters.file_drop import FileDrop
from adapters.https_partner import HttpsPartner, HttpsPartnerConfig
from gateway.adapter_contract import AdapterError
from gateway.adapter_loading import Adapters
from gateway.core.errors import ExchangeError
from gateway.operations import show_exchange
from gateway.operations.begin_epoch import begin_epoch
from gateway.operations.collect_batches import collect_batches
from gateway.operations.decide_held import decide_held
from gateway.operations.handle_case import repair
from gateway.operations.send_batch import send_batch
from gateway.operations.take_receipt import keep_feedback, take_receipt
from gateway.operations.withdraw import withdraw
from gateway.store import inbox, ledger
from gateway.store.old_epochs import being_replaced
from gateway.store.tables import out_batches, out_recalled
from tests.administrators import hand
from tests.ledger import check_ledger
from tests.operations.test_exchange_drop import dropped, share
from tests.operations.test_exchange_recall import penalise, place, states
from tests.region import BAISHAN, PENALTIES, TONGHUA, Cities, followed, held_batch, two_cities


def fetched(cities: Cities) -> Cities:
    """Baishan fetches with the adapter that is shipped; each call goes to Tonghua's story instead of over a socket."""

    class Near(HttpsPartner):
        def __init__(self, config: Any, tools: Any) -> None:
            said = {**msgspec.to_builtins(config), "wait_s": 0, "streams": [PENALTIES]}
            super().__init__(msgspec.convert(said, HttpsPartnerConfig), tools)

        async def _call(self, method: str, path: str, body: bytes | None = None, *_: object, **__: object) -> bytes:
            sender = cities.tonghua
            asked = urlsplit(path)
            _, _, stream, what, name = asked.path.split("/") if asked.path.count("/") == 4 else (*asked.path.split("/"), "")
            try:
                if what == "manifests":
                    epoch = int(parse_qs(asked.query)["epoch"][0])
                    shown = await show_exchange.manifest(sender, BAISHAN, stream, int(name), epoch=epoch)
                    return b"" if shown is None else shown.body
                if what == "files":
                    return (await show_exchange.part(sender, BAISHAN, stream, name)).body
                if what == "feedback":
                    await keep_feedback(sender, BAISHAN, stream, int(name), body or b"")
                elif what == "receipts":
                    await take_receipt(sender, BAISHAN, stream, body or b"")
            except ExchangeError as error:
                raise AdapterError(error.code, "…", transient=False) from error
            return b""

    return Cities(cities.tonghua, msgspec.structs.replace(cities.baishan, adapters=Adapters({"https_partner": lambda: Near})), cities.line)


@pytest.fixture(params=["pull", "drop"])
async def cities(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Cities]:
    """Two cities of which one fetches, or both look into one folder."""
    if request.param == "drop":
        async with two_cities(tmp_path, change=dropped) as made:
            share(made, tmp_path / "share")
            yield made
    else:
        async with two_cities(tmp_path, change=lambda text: text.replace('delivery = "push"', 'delivery = "pull"')) as made:
            yield fetched(made)


def not_there(cities: Cities, seq: int, patch: pytest.MonkeyPatch) -> None:
    """A batch of the new epoch is not there yet: it does not lie in the folder, or the line does not give it."""
    manifest, lies = show_exchange.manifest, FileDrop._manifest

    async def given(services, partner, stream, number, *, epoch, wait_s=0):  # type: ignore[no-untyped-def]
        return None if (epoch, number) == (2, seq) else await manifest(services, partner, stream, number, epoch=epoch)

    async def seen(line, stream, epoch, number):  # type: ignore[no-untyped-def]
        return None if (epoch, number) == (2, seq) else await lies(line, stream, epoch, number)

    patch.setattr(show_exchange, "manifest", given)
    patch.setattr(FileDrop, "_manifest", seen)


async def sealed(cities: Cities) -> None:
    """Whatever Tonghua has to say is published, or lies in the folder; receipts that lie there are taken."""
    if cities.line.drop:
        await collect_batches(cities.tonghua)
    await send_batch(cities.tonghua, stream=PENALTIES, at_once=True)


async def looked(cities: Cities) -> None:
    """Baishan has looked, and whoever waits for receipts has them."""
    assert await collect_batches(cities.baishan) == {}
    if cities.line.drop:
        assert await collect_batches(cities.tonghua) == {}


async def all_arrived(cities: Cities) -> None:
    """Every batch of either epoch is acknowledged, nothing has stopped, and both ledgers hold."""
    await followed(cities.baishan)
    await looked(cities)
    rows = await cities.tonghua.store.reads.all(sa.select(out_batches.c.epoch, out_batches.c.seq, out_batches.c.state, out_batches.c.code))
    assert {(row.state, row.code) for row in rows} <= {("acked", None), ("superseded", None)}, rows
    assert not await ledger.awaits_news(cities.tonghua.store.reads, PENALTIES)
    for services in (cities.tonghua, cities.baishan):
        await check_ledger(services)


async def test_the_old_epoch_is_read_until_the_new_one_is_applied(cities: Cities, monkeypatch: pytest.MonkeyPatch):
    """A receiver that has begun to read a new epoch takes what the old one withdraws meanwhile, acknowledges it, and is told it again."""
    import gateway.operations.seal_batch as story

    made = await penalise(cities, 1, 2, 3, 4, 5)
    await sealed(cities)
    await looked(cities)
    assert await place(cities) == (1, 1, 5)
    assert await being_replaced(cities.baishan.store.reads, TONGHUA, PENALTIES) is None
    monkeypatch.setattr(story, "CHANGES_A_BATCH", 3)
    await begin_epoch(cities.tonghua, PENALTIES, by="test", reason="lost_state")
    await sealed(cities)
    with pytest.MonkeyPatch.context() as aside:
        not_there(cities, 2, aside)
        await looked(cities)
        assert await being_replaced(cities.baishan.store.reads, TONGHUA, PENALTIES) == (1, 1)
        await repair(cities.tonghua, made[0], actor="test")
        await sealed(cities)
        await looked(cities)
        assert await states(cities, made) == ["repaired", *["in_force"] * 4], "by the old epoch, behind whose back the new one has begun"
        await withdraw(cities.tonghua, made[1], reason="corrected", actor="test")
        await sealed(cities)
        await looked(cities)
        assert await states(cities, made[:2]) == ["repaired", "retracted"]
        assert await place(cities) == (1, 3, 7)
        assert await being_replaced(cities.baishan.store.reads, TONGHUA, PENALTIES) == (1, 3)
        await followed(cities.baishan)
        await looked(cities)
        recalled = await cities.tonghua.store.reads.all(sa.select(out_recalled.c.op, out_recalled.c.acked_at))
        assert sorted((row.op, row.acked_at is None) for row in recalled) == [("repair", False), ("retract", False)], "acknowledged already"
    await looked(cities)
    await sealed(cities)
    await looked(cities)
    assert (await place(cities))[0] == 2
    assert await being_replaced(cities.baishan.store.reads, TONGHUA, PENALTIES) is None
    assert await states(cities, made) == ["repaired", "retracted", *["in_force"] * 3]
    await all_arrived(cities)


async def test_also_while_the_last_batch_waits_for_a_person(cities: Cities, monkeypatch: pytest.MonkeyPatch):
    """Read to its end and held, the new epoch is not applied: what the old one withdraws meanwhile takes effect all the same."""
    import gateway.operations.apply_batch as there

    made = await penalise(cities, 1, 2, 3)
    await sealed(cities)
    await looked(cities)
    monkeypatch.setattr(there, "MAX_DROPPED_PERMILLE", -1)  # whatever it leaves out, a person looks
    await begin_epoch(cities.tonghua, PENALTIES, by="test", reason="lost_state")
    await sealed(cities)
    await looked(cities)
    (last,) = await inbox.in_batches_at(cities.baishan.store.reads, TONGHUA, PENALTIES, 2, 1)
    assert (last.state, last.code) == ("held", "HOLD_DROP")
    await repair(cities.tonghua, made[0], actor="test")
    await sealed(cities)
    await looked(cities)
    assert await states(cities, made) == ["repaired", "in_force", "in_force"]
    await decide_held(cities.baishan, PENALTIES, batch=await held_batch(cities.baishan), apply=True, by=hand(), reason="已核对")
    await looked(cities)
    await sealed(cities)
    await looked(cities)
    assert (await place(cities))[0] == 2
    assert await states(cities, made) == ["repaired", "in_force", "in_force"]
    await all_arrived(cities)




async def test_who_comes_late_reads_both(cities: Cities, monkeypatch: pytest.MonkeyPatch):
    """A receiver that looks only when the new epoch and withdrawals of the old one are there takes both, and sees no fork in them."""
    import gateway.operations.seal_batch as story

    made = await penalise(cities, 1, 2, 3, 4, 5)
    await sealed(cities)
    await looked(cities)
    monkeypatch.setattr(story, "CHANGES_A_BATCH", 3)
    await begin_epoch(cities.tonghua, PENALTIES, by="test", reason="lost_state")
    await sealed(cities)
    await repair(cities.tonghua, made[0], actor="test")
    await sealed(cities)
    await looked(cities)
    await sealed(cities)
    await looked(cities)
    assert (await place(cities))[0] == 2
    assert await states(cities, made) == ["repaired", *["in_force"] * 4]
    await all_arrived(cities)

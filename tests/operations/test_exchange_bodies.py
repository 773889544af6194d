"""Many agreements with one partner, each an errand of its own: the partner takes two bodies at a time, and no more are brought."""

import asyncio
from pathlib import Path

import pytest

from gateway.operations import partners
from gateway.operations.collect_batches import collect_batches
from gateway.operations.keep_exchange import Rounds
from gateway.operations.partners import one_of_two
from gateway.operations.send_batch import send_batch
from gateway.store import given_receipts, outbox
from tests.operations.publishing import PENALTIES as DATASET
from tests.operations.publishing import TAX, code, penalty, put, violation
from tests.operations.test_exchange_pull_agreements import SHORT, only
from tests.region import BAISHAN, PENALTIES, TONGHUA, agree, two_cities
from tests.web.two_served import two_served

OTHERS = tuple(f"tonghua-baishan-tax-{number}" for number in range(5))


@pytest.mark.parametrize("delivery", ["push", "pull"])
async def test_what_many_agreements_bring_is_never_too_much(tmp_path: Path, delivery: str) -> None:
    """Six batches, or their receipts, are due to one running partner at once: all arrive in that round, none is refused and waits."""
    async with two_served(tmp_path, change=lambda _: only(DATASET, delivery=delivery)) as served:
        for name in OTHERS:
            await agree(served.th, served.bs, only(TAX, agreement=name, delivery=delivery))
        await put(served.th, DATASET, penalty(code(1), "通化市测试1商贸有限公司", "通示罚〔2026〕1号"))
        await put(served.th, TAX, violation(code(1), "通化市测试1商贸有限公司", "通示税〔2026〕1号"))
        if delivery == "push":
            assert await Rounds().run(served.th) == {}
        else:
            await send_batch(served.th)
            assert await collect_batches(served.bs) == {}
        streams = [PENALTIES, *(f"{name}.{TAX}" for name in OTHERS)]
        assert [await outbox.waiting_batches(served.th.store.reads, stream) for stream in streams] == [[]] * 6
        given = [await given_receipts.receipts_of(served.bs.store.reads, TONGHUA, stream) for stream in streams]
        assert [len(each) for each in given] == [1] * 6


async def test_whoever_waits_long_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two silent lines hold both places: the third goes without one; a place that is free again is taken by whoever comes."""
    monkeypatch.setattr(partners, "PATIENCE", SHORT)
    async with two_cities(tmp_path) as cities:
        let_go = asyncio.Event()

        async def silent() -> None:
            async with one_of_two(cities.tonghua, BAISHAN):
                await let_go.wait()

        others = [asyncio.create_task(silent()) for _ in range(2)]
        await asyncio.sleep(0)
        async with one_of_two(cities.tonghua, BAISHAN), one_of_two(cities.tonghua, "credit.nobody.example"):
            pass
        let_go.set()
        await asyncio.gather(*others)
        assert not cities.tonghua.bodies[BAISHAN].locked()
        async with one_of_two(cities.tonghua, BAISHAN), one_of_two(cities.tonghua, BAISHAN):
            assert cities.tonghua.bodies[BAISHAN].locked()

"""A command goes to every partner side by side: whoever is slow holds up nobody, and what is told stays in order."""

import asyncio
from pathlib import Path

import pytest

from gateway.adapter_contract import SealedBatch
from gateway.core.errors import ExchangeError, StoreError
from gateway.operations.apart import side_by_side
from gateway.operations.keep_lines import keep_lines
from gateway.operations.partners import streams_from
from gateway.operations.send_batch import send_batch
from tests.operations.line_partner import line_file
from tests.operations.publishing import PENALTIES as DATASET
from tests.operations.publishing import TAX, code, penalty, put, violation
from tests.operations.test_exchange_pull_agreements import OTHER, TAXES, only
from tests.operations.test_lines import STREAM, an_office
from tests.region import PENALTIES, TONGHUA, agree, two_cities


@pytest.mark.parametrize("slow", [PENALTIES, TAXES])
async def test_a_line_that_hangs_holds_up_no_other_agreement(tmp_path: Path, store_url: str, monkeypatch: pytest.MonkeyPatch, slow: str):
    """Both are sealed, the quick one arrives while the other hangs, and both are told of in their order."""
    async with two_cities(tmp_path, (store_url, ""), change=lambda _: only(DATASET, delivery="push")) as cities:
        await agree(cities.tonghua, cities.baishan, only(TAX, agreement=OTHER, delivery="push"))
        await put(cities.tonghua, DATASET, penalty(code(1), "通化市测试1商贸有限公司", "通示罚〔2026〕1号"))
        await put(cities.tonghua, TAX, violation(code(1), "通化市测试1商贸有限公司", "通示税〔2026〕1号"))
        quick = TAXES if slow == PENALTIES else PENALTIES
        arrived, carry = asyncio.Event(), cities.line.carry

        async def one_is_slow(sealed: SealedBatch) -> bytes | None:
            if f"/{slow}/" in sealed.batch:
                await asyncio.wait_for(arrived.wait(), 60)
            receipt = await carry(sealed)
            if f"/{quick}/" in sealed.batch:
                arrived.set()
            return receipt

        monkeypatch.setattr(cities.line, "carry", one_is_slow)
        sent = await send_batch(cities.tonghua, at_once=True)
        assert [(each.stream, each.state, each.delivered) for each in sent] == [
            (each.name, "acked", 1) for each in await streams_from(cities.tonghua.store.reads, TONGHUA, cities.now)
        ]
        assert len(sent) == 2
        assert [each.batch.split("/x/")[1].split("/")[0] for each in cities.line.carried] == [quick, slow]


async def test_a_line_that_hangs_holds_up_no_other_line(tmp_path: Path):
    """Of partners that sign nothing too: the other line's rows are taken meanwhile."""
    async with an_office(tmp_path, "") as office:
        await office.approve(line_file(id='"second"'))
        for slow, quick in ((STREAM, f"second.{DATASET}"), (f"second.{DATASET}", STREAM)):
            office.desk.slow, office.desk.others = slow, asyncio.Event()
            office.desk.batches.clear()
            await put(office.services, DATASET, penalty(code(2), "通化市澄泉商贸有限公司", f"通示罚〔2026〕{len(quick)}号"))
            runs = await keep_lines(office.services, at_once=True)
            assert [(run.stream, run.delivered) for run in runs] == [(STREAM, 1), (f"second.{DATASET}", 1)]
            assert [batch.split("/x/")[1].split("/")[0] for batch in office.desk.batches] == [quick, slow]


async def test_side_by_side_all_are_heard_before_one_fails():
    """In their order, whichever is done first; what one raises ends no other, and a guest that gives up is a code."""
    heard: list[str] = []
    first = asyncio.Event()

    async def slow(error: BaseException | None = None) -> str:
        await first.wait()
        heard.append("slow")
        if error is not None:
            raise error
        return "slow"

    async def quick(error: BaseException | None = None) -> str:
        first.set()
        heard.append("quick")
        if error is not None:
            raise error
        return "quick"

    assert await side_by_side((slow(), quick())) == ["slow", "quick"]
    assert heard == ["quick", "slow"]
    first.clear()
    with pytest.raises(StoreError):
        await side_by_side((slow(), quick(StoreError("locked"))))
    assert heard == ["quick", "slow"] * 2
    with pytest.raises(ExchangeError, match="given up"):
        await side_by_side((slow(asyncio.CancelledError()), quick()))

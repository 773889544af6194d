"""A record that the partner held, corrected by the sender as any sender of ours does it, until it is in force there."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.operations.send_batch import send_batch
from gateway.store import records
from tests.operations.publishing import code, ids, penalty, put
from tests.region import PENALTIES, Cities, two_cities


@pytest.fixture
async def cities(tmp_path: Path) -> AsyncIterator[Cities]:
    """Two cities with an agreement in force."""
    async with two_cities(tmp_path) as both:
        yield both


async def test_what_the_partner_held_is_in_force_once_it_is_corrected(cities: Cities):
    """A number that belongs to another firm over there holds the line; without it the record is said again, and taken."""
    dataset, number = "administrative-penalties", "220600000000014"
    await put(cities.baishan, dataset, penalty(code(2), "白山市示例二有限公司", "白市监罚〔2026〕2号", 工商注册号=number), region="220600")
    await put(cities.baishan, dataset, penalty(code(1), "通化市示例一有限公司", "白市监罚〔2026〕1号"), region="220600")
    (record_id,) = ids(
        await put(cities.tonghua, dataset, penalty(code(1), "通化市示例一有限公司", "通市监罚〔2026〕1号", 工商注册号=number))
    )

    async def over_there() -> tuple[str, str | None]:
        await send_batch(cities.tonghua, stream=PENALTIES, at_once=True)
        (there,) = await records.load(cities.baishan.store.reads, ids=[record_id])
        return there.state, there.hold_code

    assert await over_there() == ("held", "SUBJ_CONFLICT")
    await put(cities.tonghua, dataset, penalty(code(1), "通化市示例一有限公司", "通市监罚〔2026〕1号"))
    assert await over_there() == ("in_force", None)

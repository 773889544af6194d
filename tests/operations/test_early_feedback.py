"""Feedback before its receipt: only near the last receipt held, so much of a stream, and for a day."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from gateway.core.errors import ExchangeError
from gateway.operations.take_receipt import keep_feedback
from gateway.store import early_feedback
from gateway.store.tables import out_feedback
from tests.region import BAISHAN, PENALTIES, Cities, two_cities


@pytest.fixture
async def cities(tmp_path: Path) -> AsyncIterator[Cities]:
    """Two cities whose agreement says that Baishan fetches."""
    async with two_cities(tmp_path, change=lambda text: text.replace('delivery = "push"', 'delivery = "pull"')) as both:
        yield both


async def kept(cities: Cities) -> dict[int, int]:
    """Number → bytes of what Tonghua keeps."""
    rows = await cities.tonghua.store.reads.all(sa.select(out_feedback))
    return {row.no: len(row.data) for row in rows}


async def test_only_so_much_is_kept_and_not_for_long(cities: Cities, monkeypatch: pytest.MonkeyPatch):
    """A partner that brings feedback without receipts fills neither the numbers, nor the disk, nor for ever."""
    monkeypatch.setattr(early_feedback, "KEPT_BYTES", 10_000)
    for no in (17, 10**9):
        with pytest.raises(ExchangeError) as caught:
            await keep_feedback(cities.tonghua, BAISHAN, PENALTIES, no, b"x")
        assert caught.value.code == "SEQ_GAP"
    await keep_feedback(cities.tonghua, BAISHAN, PENALTIES, 16, b"x" * 6000)
    await keep_feedback(cities.tonghua, BAISHAN, PENALTIES, 16, b"x" * 5000)  # again: in its place
    await keep_feedback(cities.tonghua, BAISHAN, PENALTIES, 1, b"x" * 5000)
    with pytest.raises(ExchangeError) as caught:
        await keep_feedback(cities.tonghua, BAISHAN, PENALTIES, 2, b"x")
    assert caught.value.code == "SIZE_BYTES"
    assert await kept(cities) == {1: 5000, 16: 5000}
    cities = cities.at(cities.now + timedelta(days=1, seconds=1))
    await keep_feedback(cities.tonghua, BAISHAN, PENALTIES, 2, b"x")
    assert await kept(cities) == {2: 1}

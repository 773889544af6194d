"""What was withdrawn stands under a key: here, at the partner that received it, and in a house that withdrew it before that was so."""

import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from gateway.core.records.model import Record, RecordId
from gateway.operations import seal_withdrawn as story
from gateway.operations.erase import erase
from gateway.operations.expire import expire
from gateway.operations.handle_case import repair
from gateway.operations.render_public import settle
from gateway.operations.send_batch import send_batch
from gateway.operations.withdraw import withdraw
from gateway.services import Services
from gateway.store import places, records, withdrawn
from gateway.store.tables import metadata
from gateway.store.tables import records as record_rows
from tests.administrators import enrolled
from tests.operations.publishing import PENALTIES, a_house, code, ids, penalty, put
from tests.region import Cities, followed, two_cities

SAID = {
    "行政相对人名称": "通化市鸾翔澜沧药业有限公司",
    "行政处罚决定书文号": "通鸾罚〔2026〕7719号",
    "违法事实": "销售澜沧鸾翔牌口服液时未按规定查验供货者资质。",
    "罚款金额（万元）": "77.190000",
}
BEFORE = "33.610000"
"""What an earlier version said."""
WORDS = (*SAID.values(), BEFORE)
LATER = datetime(2026, 7, 5, 2, 30, tzinfo=UTC)
"""When the penalty is neither published nor shared any more."""

Ending = Callable[[Services, str], Awaitable[object]]


async def _revoked(services: Services, record_id: str) -> object:
    return await withdraw(services, record_id, reason="revoked", actor="test")


async def _repaired(services: Services, record_id: str) -> object:
    return await repair(services, record_id, actor="test")


async def _over(services: Services, record_id: str) -> object:
    return await expire(services, actor="test")


async def fined(services: Services) -> str:
    """A penalty of a firm, amended once and shown to everybody; its record."""
    more = {"违法事实": SAID["违法事实"], "公示截止期": "2026-07-01"}
    row = penalty(code(7719), SAID["行政相对人名称"], SAID["行政处罚决定书文号"], **more)
    await put(services, PENALTIES, row | {"罚款金额（万元）": BEFORE})
    (record_id,) = ids(await put(services, PENALTIES, row | {"罚款金额（万元）": SAID["罚款金额（万元）"]}))
    await settle(services)
    return record_id


async def found_in(services: Services, folder: Path) -> set[str]:
    """Those of the words that any row of the store or any file of a house holds."""
    held: list[bytes] = []
    async with services.store.transaction() as tx:
        for table in metadata.sorted_tables:
            for row in await tx.all(sa.select(table)):
                held += [bytes(value) if isinstance(value, bytes | memoryview) else str(value).encode() for value in row]
    held += [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    spelt = {word: (word.encode(), json.dumps(word).strip('"').encode()) for word in WORDS}
    return {word for word, spellings in spelt.items() if any(each in data for data in held for each in spellings)}


async def the_record(services: Services, record_id: str) -> Record:
    """The record with all that it says."""
    (record,) = await records.load(services.store.reads, ids=[RecordId(record_id)])
    return record


@pytest.mark.parametrize("ending", [_revoked, _repaired])
async def test_nothing_of_it_stands_in_clear(tmp_path: Path, store_url: str, ending: Ending):
    """Retracted or repaired, no row and no file, free page or log of a house holds an open value of a firm's record, of any version."""
    async with a_house(tmp_path, store_url) as services:
        record_id = await fined(services)
        assert await found_in(services, tmp_path) == set(WORDS)
        before = await the_record(services, record_id)
        await ending(services, record_id)
        await followed(services)
        assert await found_in(services, tmp_path) == set()
        after = await the_record(services, record_id)
        assert (dict(after.raw.open()), after.texts) == (dict(before.raw.open()), before.texts), "kept for whoever audits"


@pytest.mark.parametrize("ending", [_revoked, _repaired, _over])
async def test_nor_at_the_partner(tmp_path: Path, ending: Ending):
    """A partner that received it holds no value of it in clear; its own city does of what expired, and shows it to whom it is about."""
    async with two_cities(tmp_path) as cities:
        record_id = await fined(cities.tonghua)
        await _carried(cities)
        assert await found_in(cities.baishan, tmp_path / "bs") == {*WORDS} - {BEFORE}
        cities = cities.at(LATER if ending is _over else cities.now)
        await ending(cities.tonghua, record_id)
        await _carried(cities)
        state = (await the_record(cities.baishan, record_id)).state
        assert state == {_revoked: "retracted", _repaired: "repaired", _over: "expired"}[ending]
        assert await found_in(cities.baishan, tmp_path / "bs") == set()
        assert bool(await found_in(cities.tonghua, tmp_path / "th")) is (ending is _over)


async def _carried(cities: Cities) -> None:
    await send_batch(cities.tonghua, at_once=True)
    for services in (cities.tonghua, cities.baishan):
        await followed(services)


async def test_what_was_withdrawn_before_goes_under_a_key_too(tmp_path: Path, store_url: str, monkeypatch: pytest.MonkeyPatch):
    """A house that withdrew in clear is gone through once, in stretches that each begin where the last one ended."""

    async def not_yet(*_: Any) -> int:
        return 0

    async with a_house(tmp_path, store_url) as services:
        record_id = await fined(services)
        await put(services, PENALTIES, *(penalty(code(n), f"通化市旁邻{n}商贸有限公司", f"通邻罚〔2026〕{n}号") for n in (2, 3, 4)))
        with monkeypatch.context() as earlier:
            earlier.setattr(withdrawn, "seal", not_yet)
            await _revoked(services, record_id)
        await followed(services)
        assert await found_in(services, tmp_path) == set(WORDS)
        async with services.store.transaction() as tx:
            await places.keep_place(tx, story.META, "")  # as it stands where an earlier program set the house up
        monkeypatch.setattr(story, "CHUNK", 3)
        assert [await story.seal_withdrawn(services) for _ in range(3)] == [3, 1, 0]
        assert await places.place(services.store.reads, story.META) == "*"
        assert await found_in(services, tmp_path) == set()
        stays = await services.store.reads.all(sa.select(record_rows.c.clear).where(record_rows.c.record_id != record_id))
        assert ["通邻罚".encode() in bytes(row.clear) for row in stays] == [True] * 3, "what is shown stays as it is"


async def test_erasing_destroys_what_is_left(tmp_path: Path, store_url: str):
    """Erased after it was withdrawn, the ciphertexts are in no row and no file either, and its key opens nothing of it."""
    async with a_house(tmp_path, store_url) as services:
        record_id = await fined(services)
        await _revoked(services, record_id)
        (row,) = await services.store.reads.all(sa.select(record_rows.c.secret).where(record_rows.c.record_id == record_id))
        sealed = bytes(row.secret)
        by = await (await enrolled(services, "kang", "key-custodian")).acts("record.erase", target=record_id, reason="request")
        await erase(services, record_id, reason="request", by=by)
        await followed(services)
        (row,) = await services.store.reads.all(sa.select(record_rows).where(record_rows.c.record_id == record_id))
        assert (row.clear, row.secret, row.texts, row.sealed_texts) == (b"{}", None, None, None)
        assert all(sealed not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())

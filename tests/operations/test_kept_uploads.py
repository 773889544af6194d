"""Files with nobody's word for them: kept as they came, signed as received, sealed, and gone when they have to go."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from gateway.core.exchange import notes
from gateway.core.exchange.wire import digest_text
from gateway.core.records.identifiers import citizen_check_character
from gateway.core.records.model import RecordId
from gateway.operations import ingest as ingesting
from gateway.operations import keep_uploads
from gateway.operations.ingest import ingest
from gateway.operations.keep_uploads import KEPT, forget_uploads
from gateway.operations.take_upload import MAX_BYTES
from gateway.services import Services
from gateway.settings import Clock
from gateway.store import lines, records
from gateway.store.kept_uploads import name_of
from gateway.store.tables import line_replies
from gateway.store.tables import records as record_rows
from tests.operations.publishing import PENALTIES, code, penalty, person_number, person_penalty
from tests.operations.test_ingest import MARKET, a_town, csv_of
from tests.region import followed

LINE = name_of(PENALTIES)
NAME = "欧阳测甲"


@pytest.fixture
async def town(tmp_path: Path, store_url: str) -> AsyncIterator[Services]:
    """An empty gateway, on SQLite and on PostgreSQL."""
    async with a_town(tmp_path / "house", store_url) as services:
        yield services


def file_of(folder: Path, name: str, *rows: dict[str, Any]) -> Path:
    """A CSV file of penalties."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    folder.mkdir(exist_ok=True)
    return csv_of(folder / name, [columns, *([str(row.get(column) or "") for column in columns] for row in rows)])


async def stored(services: Services) -> list[sa.Row[Any]]:
    """What is kept of files, without opening it."""
    return await services.store.reads.all(sa.select(line_replies).order_by(line_replies.c.no))


async def test_what_nobody_signed_is_kept_as_it_came(town: Services, tmp_path: Path) -> None:
    """The bytes stand sealed, once, under our signature that we received them; a file that an officer confirmed is not kept."""
    rows = [penalty(code(2), "通化市测试2商贸有限公司", "通示罚〔2026〕2号"), person_penalty(NAME, person_number(501), "通示罚〔2026〕3号")]
    path = file_of(tmp_path / "in", "a.csv", *rows)
    for _ in range(2):
        receipt = await ingest(town, dataset=PENALTIES, path=path)
        assert (receipt.trust, receipt.rejected) == ("vouched", {})
    await ingest(town, dataset=PENALTIES, path=path, authority=MARKET, officer="测试员甲")
    ((row, data),) = await lines.replies(town.store.reads, LINE)
    assert data == path.read_bytes()
    assert row.digest == digest_text(data)
    body = {"type": "chengxin-exchange/received/1", "line": LINE, "no": 1, "digest": row.digest, "bytes": len(data)}
    document = notes.SignedDocument(json.dumps(body, separators=(",", ":")).encode(), row.note)
    assert notes.parse(document.note).text.split("\n")[1:3] == [f"{LINE}/1", digest_text(document.body)]
    key = town.signers.signing("exchange", town.clock())
    (line,) = notes.parse(document.note).lines
    assert (line.name, line.key_id) == (key.name, key.key_id)
    if town.store.dialect == "sqlite":
        files = b"".join(each.read_bytes() for each in tmp_path.rglob("*") if each.is_file() and each.parent.name != "in")
        assert not any(word.encode() in files for word in (NAME, person_number(501))), "sealed like all that names persons"
        assert "通化市测试2商贸有限公司".encode() in files


async def test_it_goes_when_its_time_is_over_and_with_any_erasure(town: Services, tmp_path: Path) -> None:
    """After thirty days, not before; with an erasure at once, for nobody knows whom it names. The note stays, the bytes do not return."""
    for number in (2, 3):
        row = penalty(code(number), f"通化市测试{number}商贸有限公司", f"〔{number}〕")
        await ingest(town, dataset=PENALTIES, path=file_of(tmp_path / "in", f"{number}.csv", row))
    at = {days: msgspec.structs.replace(town, clock=Clock(fixed=town.clock() + KEPT - timedelta(days=days))) for days in (1, 0)}
    await forget_uploads(at[1])
    assert len(await lines.replies(town.store.reads, LINE)) == 2
    (one, _) = await town.store.reads.all(sa.select(record_rows.c.record_id).order_by(record_rows.c.record_id))
    async with town.store.transaction() as tx:
        await records.erase(tx, RecordId(one.record_id), actor="test")
    await followed(town)
    assert await lines.replies(town.store.reads, LINE) == []
    assert all(row.note for row in await stored(town))
    path = file_of(tmp_path / "in", "4.csv", penalty(code(4), "通化市测试4商贸有限公司", "〔4〕"))
    await ingest(town, dataset=PENALTIES, path=path)
    assert len(await lines.replies(town.store.reads, LINE)) == 1
    await forget_uploads(at[0])
    assert await lines.replies(town.store.reads, LINE) == []
    await ingest(town, dataset=PENALTIES, path=path)
    assert await lines.replies(town.store.reads, LINE) == []


async def test_what_may_not_be_kept_at_all_is_not(town: Services, tmp_path: Path) -> None:
    """A row about somebody of whom nothing may be collected takes the bytes of its whole file along; digest and note stay."""
    number = "22059920200101501"
    child = person_penalty(NAME, number + citizen_check_character(number), "〔9〕")
    path = file_of(tmp_path / "in", "a.csv", penalty(code(2), "通化市测试2商贸有限公司", "〔2〕"), child)
    receipt = await ingest(town, dataset=PENALTIES, path=path)
    assert set(receipt.rejected) == {"LAW_MINOR"}
    assert await lines.replies(town.store.reads, LINE) == []
    (kept,) = await stored(town)
    assert (kept.data, bool(kept.note), kept.digest) == (None, True, digest_text(path.read_bytes()))


async def rejected(services: Services, folder: Path, *rows: dict[str, Any]) -> set[str]:
    """The codes of an ingest after which no bytes are kept, and a note of the file's digest is."""
    path = file_of(folder, f"{len(await stored(services))}.csv", *rows)
    receipt = await ingest(services, dataset=PENALTIES, path=path)
    *_, last = await stored(services)
    assert (last.data, bool(last.note), last.digest) == (None, True, digest_text(path.read_bytes()))
    return set(receipt.rejected)


class Stopped(Exception):
    """The process ends here."""


@pytest.mark.parametrize("at", ["_read_on", "read_upload"])
async def test_a_file_is_kept_when_all_of_it_was_judged(town: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    """An ingest that stops before its first row or behind its last keeps nothing of its file; the one that goes on keeps it, once."""

    async def stop(*_: Any, **__: Any) -> None:
        raise Stopped

    path = file_of(tmp_path / "in", "a.csv", penalty(code(2), "通化市测试2商贸有限公司", "〔2〕"))
    with monkeypatch.context() as patched:
        patched.setattr(ingesting, at, stop)
        with pytest.raises(Stopped):
            await ingest(town, dataset=PENALTIES, path=path)
    assert await stored(town) == []
    for _ in range(2):
        await ingest(town, dataset=PENALTIES, path=path)
        assert [data for _, data in await lines.replies(town.store.reads, LINE)] == [path.read_bytes()]


async def test_nobody_is_kept_whom_no_erasure_could_name(town: Services, tmp_path: Path) -> None:
    """A person whose row was rejected is no subject: no bytes of such a file stay, whatever the row was rejected for."""
    for number, changed in ((501, {"处罚决定日期": "not a date"}), (502, {"证件号码": "220599"})):
        bad = person_penalty(NAME, person_number(number), f"〔{number}〕") | changed
        assert await rejected(town, tmp_path / "in", penalty(code(2), "通化市测试2商贸有限公司", "〔2〕"), bad)


async def test_what_is_erased_meanwhile_is_not_kept(town: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record that is erased before the ingest of its file ends takes the bytes along: the erasure is over when they would be kept."""
    path = file_of(tmp_path / "in", "a.csv", person_penalty(NAME, person_number(501), "〔1〕"))
    real = ingesting.read_upload

    async def erased_first(*said: Any) -> Any:
        (row,) = await town.store.reads.all(sa.select(record_rows.c.record_id))
        async with town.store.transaction() as tx:
            await records.erase(tx, RecordId(row.record_id), actor="test")
        return await real(*said)

    monkeypatch.setattr(ingesting, "read_upload", erased_first)
    await ingest(town, dataset=PENALTIES, path=path)
    (kept,) = await stored(town)
    assert (kept.data, bool(kept.note)) == (None, True)


async def test_a_file_that_is_too_large_is_noted_alone(town: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is read whole that is larger than an upload may be; the note says size and digest."""
    assert keep_uploads.LARGEST == MAX_BYTES
    row = penalty(code(2), "通化市测试2商贸有限公司", "〔2〕")
    size = file_of(tmp_path / "in", "a.csv", row).stat().st_size
    monkeypatch.setattr(keep_uploads, "LARGEST", size - 1)
    assert await rejected(town, tmp_path / "in", row) == set()
    monkeypatch.setattr(keep_uploads, "LARGEST", size)
    path = file_of(tmp_path / "in", "b.csv", row | {"行政处罚决定书文号": "〔3〕"})
    await ingest(town, dataset=PENALTIES, path=path)
    assert [data for _, data in await lines.replies(town.store.reads, LINE)] == [path.read_bytes()]

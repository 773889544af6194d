"""Exchanging keys while the house goes on: nothing is lost, everything is resumable, a missing key fails only what stands under it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from msgspec.structs import replace

from gateway.core.callers.administrators import Administrator
from gateway.core.callers.caller import PUBLIC
from gateway.core.errors import RoleMissing, StoreError
from gateway.operations import answer_query, rotate_keys
from gateway.operations.record_access import record_access
from gateway.operations.render_public import settle
from gateway.operations.rotate_keys import reencrypt, renew_deks, rotate_kek, rotate_label
from gateway.operations.shred import shred
from gateway.operations.verify_audit import verify_store
from gateway.services import Services, open_services
from gateway.store import audit, kek, reindexing, reviews, rotation
from gateway.store.audit import Wanted
from gateway.store.kek import next_path
from gateway.store.records import load
from gateway.store.subjects import subject_by_key, subjects_by_name
from gateway.store.tables import deks, key_roots, record_versions, records, subject_keys, text_decisions
from gateway.store.vault import suite_of, unpack
from tests.administrators import Admin, enrolled
from tests.house import settings_of
from tests.operations.publishing import (
    DEPARTMENT,
    NOW,
    PENALTIES,
    REGISTRATIONS,
    a_town,
    code,
    household_code,
    ids,
    penalty,
    person_number,
    person_penalty,
    put,
    shop,
)
from tests.store.checks import check_store


@pytest.fixture
async def town(tmp_path: Path, store_url: str) -> AsyncIterator[Services]:
    """A small rendered town, on SQLite and on PostgreSQL."""
    async with a_town(tmp_path, store_url) as (services, _):
        await texts(services)
        yield services


HELD = "孙测丙与王建国未取得许可。"


async def texts(services: Services) -> None:
    """A held text of a person and of a firm, and what a reviewer decided about each."""
    rows = [
        person_penalty("孙测丙", person_number(3), "通示罚〔2026〕31号", 违法事实=HELD),
        penalty(code(31), "通化市测试药业有限公司", "通示罚〔2026〕32号", 违法事实=HELD),
    ]
    found = ids(await put(services, PENALTIES, *rows))
    for record_id in found:
        async with services.store.transaction() as tx:
            held = await reviews.one(tx, record_id)
            assert held is not None
            assert held.texts["facts"].held
            (was,) = (each["facts"] for each in await reviews.whole(tx, [(held, ("facts",))]))
            await reviews.decide(tx, [(record_id, "facts", was, replace(was, decided="refused"))], reason="王建国", actor="test")


async def custodian(services: Services) -> Admin:
    """Who may exchange keys."""
    return await enrolled(services, "kang", "key-custodian")


async def acts(admin: Admin) -> Administrator:
    """Proven for one act; which one is the command line's business."""
    return await admin.acts("key.rotate")


async def everything(services: Services) -> list[Any]:
    """Every value of every record, and who is found by what."""
    found: list[Any] = []
    for dataset in (PENALTIES, REGISTRATIONS):
        for each in await load(services.store.reads, dataset=dataset):  # type: ignore[arg-type]  # a test writes an id as text
            decided = await reviews._decided(services.store.reads, [each.record_id])
            found.append((each.record_id, dict(each.raw.open()), dict(each.texts), decided))
    person = await subject_by_key(services.store.reads, "id_no", person_number(1), "natural")
    shop_found = await subject_by_key(services.store.reads, "uscc", household_code(7), "individual_business")
    named = await subjects_by_name(services.store.reads, "东昌区甲某某小吃店")
    return [*found, person and person.subject_id, shop_found and shop_found.subject_id, [each.subject_id for each in named]]


async def reopened(services: Services) -> Any:
    """The same values as another process reads them, with the key files of now."""
    async with open_services(services.settings) as other:
        await other.policies.refresh()
        return await everything(other)


async def test_the_key_encryption_key_is_exchanged(town: Services) -> None:
    """After it every data key is under the new one, the old file is not needed, and a process that was open meanwhile goes on."""
    admin = await custodian(town)
    before = await everything(town)
    old = town.settings.kek_path.read_bytes()
    async with open_services(town.settings) as other:
        await other.policies.refresh()
        done = await rotate_kek(town, by=await acts(admin))
        assert (done.version, done.resumed) == (2, False)
        assert {row.key_version for row in await town.store.reads.all(sa.select(deks.c.key_version))} == {2}
        assert town.settings.kek_path.read_bytes() != old
        assert not next_path(town.settings.kek_path).exists()
        assert Path(done.old_file or "").read_bytes() == old
        Path(done.old_file or "").unlink()
        assert await everything(other) == before
        ids(await put(other, PENALTIES, person_penalty("测试乙", person_number(2), "通示罚〔2026〕9号")))
    now = await everything(town)
    assert [each for each in now if each in before] == before or len(now) == len(before) + 1
    assert await reopened(town) == now
    again = await rotate_kek(town, by=await acts(admin))
    assert again.version == 3
    assert await reopened(town) == now
    await check_store(town.store)
    assert (await verify_store(town)).ok


async def test_an_exchange_that_is_cut_off_goes_on(town: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut off before the file was moved, and between pages: each time everything is readable, and the same command ends it."""
    admin = await custodian(town)
    before = await everything(town)

    def cut(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(rotate_keys, "take_next", cut)
        with pytest.raises(ZeroDivisionError):
            await rotate_kek(town, by=await acts(admin))
    assert next_path(town.settings.kek_path).exists()
    assert await reopened(town) == before  # takes the file along
    assert not next_path(town.settings.kek_path).exists()
    with monkeypatch.context() as patch:
        patch.setattr(rotate_keys, "PAGE", 1)
        patch.setattr(rotation, "rewrap", _only(rotation.rewrap, 2))
        with pytest.raises(ZeroDivisionError):
            await rotate_kek(town, by=await acts(admin))
    versions = {row.key_version for row in await town.store.reads.all(sa.select(deks.c.key_version))}
    assert versions == {1, 2}
    assert await reopened(town) == before
    done = await rotate_kek(town, by=await acts(admin))
    assert (done.version, done.resumed) == (2, True)
    assert await reopened(town) == before


def _only(story: Any, times: int) -> Any:
    left = [times]

    async def called(*words: Any, **named: Any) -> Any:
        if not left[0]:
            raise ZeroDivisionError
        left[0] -= 1
        return await story(*words, **named)

    return called


async def test_a_missing_old_key_fails_only_what_stands_under_it(town: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the old root gone, a data key that was not wrapped anew is told by label and version; the others open."""
    admin = await custodian(town)
    with monkeypatch.context() as patch:
        patch.setattr(rotate_keys, "PAGE", 1)
        patch.setattr(rotation, "rewrap", _only(rotation.rewrap, 2))
        with pytest.raises(ZeroDivisionError):
            await rotate_kek(town, by=await acts(admin))
    async with town.store.transaction() as tx:
        await tx.execute(sa.delete(key_roots))
        await rotation.changed(tx)
    async with open_services(town.settings) as other:
        rows = await other.store.reads.all(sa.select(deks))
        outcome = {}
        for row in rows:
            try:
                await other.store.vault.deks_by_id(other.store.reads, [row.dek_id])
                outcome[row.key_version] = "open"
            except StoreError as error:
                outcome[row.key_version] = f"{error.code} {error.place}"
        assert outcome == {1: "key-missing dek-wrap#1", 2: "open"}


async def test_data_keys_are_renewed_and_values_sealed_anew(town: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing names a retired key any more but the trail; cut off between pages it goes on; every column of ciphertexts is reached."""
    admin = await custodian(town)
    person = await subject_by_key(town.store.reads, "id_no", person_number(1), "natural")
    assert person is not None
    async with town.store.transaction() as tx:
        await audit.write(tx, "clerk", "record.look", "rec", {"count": 1}, subject=person.subject_id)
    ids(await put(town, PENALTIES, person_penalty("测试甲", person_number(1), "通示罚〔2026〕3号", **{"罚款金额（万元）": "2"})))
    before = await everything(town)
    old = {row.dek_id for row in await town.store.reads.all(sa.select(deks))}
    with monkeypatch.context() as patch:
        patch.setattr(rotate_keys, "PAGE", 2)
        patch.setattr(rotation, "reencrypt", _only(rotation.reencrypt, 2))
        with pytest.raises(ZeroDivisionError):
            await renew_deks(town, prefix="", by=await acts(admin))
    assert await reopened(town) == before
    await reencrypt(town, by=await acts(admin))
    left = {row.dek_id: row.scope for row in await town.store.reads.all(sa.select(deks)) if row.dek_id in old}
    assert list(left.values()) == [f"subject:{person.subject_id}"], "the trail keeps its own"
    assert await reopened(town) == before
    (row,) = await audit.rows(town.store.reads, Wanted(act="record.look"))
    assert row.detail == {"count": 1}
    await check_store(town.store)


async def test_another_suite_is_written_and_either_is_read(town: Services, tmp_path: Path) -> None:
    """With suite 2 what is written is SM4-GCM; the rest stays readable and is sealed anew on demand; and back again."""
    admin = await custodian(town)
    before = await everything(town)
    database = {"CHENGXIN_NOW": NOW, "CHENGXIN_CRYPTO_SUITE": "2"}
    async with open_services(settings_of(tmp_path / "chengxin.toml", **database)) as gm:
        await gm.policies.refresh()
        ids(await put(gm, PENALTIES, person_penalty("测试乙", person_number(2), "通示罚〔2026〕9号")))
        assert await _suites(gm) == {1, 2}
        now = await everything(gm)
        await reencrypt(gm, by=await acts(admin))
        assert await _suites(gm) == {2}
        assert await everything(gm) == now
    assert await everything(town) == now
    assert all(each in now for each in before[:-3])


async def _suites(services: Services) -> set[int]:
    found = set()
    for table in (records, record_versions):
        for row in await services.store.reads.all(sa.select(table.c.secret, table.c.sealed_texts)):
            found |= {suite_of(sealed) for column in row if column is not None for sealed in unpack(bytes(column)).values()}
    for row in await services.store.reads.all(sa.select(text_decisions.c.result, text_decisions.c.reason)):
        found |= {suite_of(bytes(sealed)) for sealed in row}
    return found


@pytest.mark.parametrize("label", ["blind/subject/id_no", "blind/subject/uscc", "blind/subject/name"])
async def test_a_blind_index_is_cut_over(town: Services, label: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before, meanwhile and after everybody is found once; who comes in meanwhile is findable under both keys; the old index is gone."""
    admin = await custodian(town)
    before = await everything(town)
    held = {(row.key_type, row.key_value) for row in await town.store.reads.all(sa.select(subject_keys))}
    seen: list[Any] = []
    whole = reindexing.index_again

    async def watched(tx: Any, *words: Any) -> Any:
        if not seen:
            seen.append(await everything(town))
        return await whole(tx, *words)

    async with town.store.transaction() as tx:
        version = await reindexing.begin_label(tx, label)
    ids(await put(town, PENALTIES, person_penalty("测试乙", person_number(2), "通示罚〔2026〕9号")))
    ids(await put(town, REGISTRATIONS, shop(8, "东昌区乙某某面馆")))
    monkeypatch.setattr(reindexing, "index_again", watched)
    done = await rotate_label(town, label, by=await acts(admin), notice_s=0)
    assert (done.version, done.resumed) == (version, True)
    assert seen[0][-3:] == before[-3:]
    after = await everything(town)
    assert after[-3:] == before[-3:]
    assert await subject_by_key(town.store.reads, "id_no", person_number(2), "natural") is not None
    assert await subject_by_key(town.store.reads, "uscc", household_code(8), "individual_business") is not None
    assert len(await subjects_by_name(town.store.reads, "东昌区乙某某面馆")) == 1
    key_type = label.rpartition("/")[2]
    now = {(row.key_type, row.key_value) for row in await town.store.reads.all(sa.select(subject_keys))}
    blinded = {each for each in held if each[0] == key_type and len(each[1]) == 32}
    assert not blinded & now
    assert await reopened(town) == after
    await check_store(town.store)


async def test_labels_of_the_trail_rotate_alone(town: Services) -> None:
    """Details and subjects written under an older key are still read and named by its version; the chain holds."""
    admin = await custodian(town)
    held = town.policies.current().plan_set(PENALTIES, "department", "dept.supervision")
    assert held is not None
    officer = msgspec.structs.replace(DEPARTMENT, case_ref="通案-1")
    for label in ("audit-detail", "audit-subject"):
        await record_access(town, town.policies.current(), officer, [held], "record", 1, ["sub_1"])
        await rotate_label(town, label, by=await acts(admin), notice_s=0)
    await record_access(town, town.policies.current(), officer, [held], "record", 1, ["sub_1"])
    rows = await audit.rows(town.store.reads, Wanted(kind="access"))
    assert [row.case_ref for row in rows] == ["通案-1"] * 3
    assert rows[0].subjects == rows[1].subjects != rows[2].subjects
    known = [each[:16].hex() for each in town.store.vault.digests("audit-subject", b"sub_1")]
    assert known == [rows[2].subjects[0], rows[0].subjects[0]]
    assert (await verify_store(town)).ok
    with pytest.raises(StoreError, match="key-label"):
        await rotate_label(town, "business-key", by=await acts(admin))


async def test_only_a_custodian_exchanges_keys_or_shreds(town: Services) -> None:
    """Every other role is refused before anything happens."""
    other = await enrolled(town, "he", "operator")
    for story in (
        lambda by: rotate_kek(town, by=by),
        lambda by: renew_deks(town, prefix="", by=by),
        lambda by: reencrypt(town, by=by),
        lambda by: rotate_label(town, "etag", by=by),
        lambda by: shred(town, "sub_x", reason="request", by=by),
    ):
        with pytest.raises(RoleMissing):
            await story(await acts(other))
    assert not next_path(town.settings.kek_path).exists()


async def test_a_person_is_shredded(town: Services) -> None:
    """Key and index are gone in one transaction; copies of the ciphertexts open with nothing; the trail and everybody else stand."""
    admin = await custodian(town)
    person = await subject_by_key(town.store.reads, "id_no", person_number(1), "natural")
    assert person is not None
    async with town.store.transaction() as tx:
        await audit.write(tx, "clerk", "record.look", "rec", {"count": 1}, subject=person.subject_id)
    kept = [row._asdict() for row in await town.store.reads.all(sa.select(records).where(records.c.subject_id == person.subject_id))]
    done = await shred(town, person.subject_id, reason="request", by=await acts(admin))
    assert done.records == 1
    assert await subject_by_key(town.store.reads, "id_no", person_number(1), "natural") is None
    with pytest.raises(StoreError, match="key-missing"):
        await town.store.vault.dek(town.store.reads, f"subject:{person.subject_id}")
    (row,) = await audit.rows(town.store.reads, Wanted(act="record.look"))
    assert row.detail is None
    assert (await verify_store(town)).ok
    await check_store(town.store)
    async with town.store.transaction() as tx:  # somebody puts an old copy of the row back
        await tx.execute(sa.update(records).where(records.c.record_id == kept[0]["record_id"]).values(kept[0]))
    with pytest.raises(StoreError, match="key-missing"):
        await load(town.store.reads, dataset=PENALTIES)  # type: ignore[arg-type]
    firm = await subject_by_key(town.store.reads, "uscc", code(1), "legal")
    assert firm is not None
    for subject, why in ((firm.subject_id, "shred-organisation"), ("sub_nobody", "subject-unknown")):
        with pytest.raises(StoreError, match=why):
            await shred(town, subject, reason="request", by=await acts(admin))


async def test_a_hidden_change_after_a_rotation_moves_no_validator(town: Services) -> None:
    """All validators change with their key and none with what nobody sees: not the one whose subject alone was rendered again."""
    await settle(town)
    two = (code(31), code(1))

    async def tags() -> list[str | None]:
        return [(await answer_query.subject_document(town, each, PUBLIC, "zh-CN")).etag for each in two]

    before = await tags()
    await rotate_label(town, "etag", by=await acts(await custodian(town)), notice_s=0)
    rotated = await tags()
    assert not set(before) & set(rotated)
    hidden = penalty(code(31), "通化市测试药业有限公司", "通示罚〔2026〕32号", 违法事实=HELD, 法定代表人="测试丁")
    assert ids(await put(town, PENALTIES, hidden))
    await settle(town)
    assert await tags() == rotated


async def test_the_house_answers_while_keys_change(town: Services) -> None:
    """Questions of the public and of an officer are answered all the time, with the same bytes."""
    admin = await custodian(town)
    await settle(town)
    officer = msgspec.structs.replace(DEPARTMENT, case_ref="通案-1")
    person = await subject_by_key(town.store.reads, "id_no", person_number(1), "natural")
    assert person is not None
    before = (await answer_query.subject_document(town, person.subject_id, officer, "zh-CN")).body

    async def asking() -> int:
        count = 0
        while not ended.is_set():
            assert (await answer_query.subject_document(town, person.subject_id, officer, "zh-CN")).body == before
            count += 1
            await asyncio.sleep(0)
        return count

    ended = asyncio.Event()
    task = asyncio.create_task(asking())
    await rotate_kek(town, by=await acts(admin))
    await renew_deks(town, prefix="", by=await acts(admin))
    await rotate_label(town, "blind/subject/id_no", by=await acts(admin), notice_s=0)
    ended.set()
    assert await task > 0


def test_a_key_that_takes_the_others_place_meanwhile_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between any two reads of a process that loads the keys: the database was written under the new one before."""
    path = tmp_path / "kek"
    kek.create_kek(path)
    new = kek.create_kek(kek.next_path(path))
    read = kek.load_kek

    def meanwhile(file: Path) -> bytes:
        found = read(file)
        monkeypatch.undo()
        kek.take_next(path, keep=kek.old_path(path, 1))
        return found

    monkeypatch.setattr(kek, "load_kek", meanwhile)
    assert new in kek.load_keks(path)
    assert kek.load_keks(path) == (new, None)

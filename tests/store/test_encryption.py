"""What stands on the disk: nothing that names or describes a person, before and after erasure."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from msgspec.structs import replace

from gateway.core.disclosure.redaction import REDACTOR
from gateway.core.errors import StoreError
from gateway.core.records.model import SUBJECT_KINDS, Field, Redaction
from gateway.core.records.sealed import is_sealed
from gateway.settings import Clock
from gateway.store import audit, audit_log, ingests, records
from gateway.store.sealing import clear_fields
from gateway.store.store import Store
from gateway.store.tables import deks, record_versions, subject_keys
from gateway.store.tables import records as record_rows
from gateway.store.vault import pack, unpack
from tests.store.checks import check_store, everything_in
from tests.store.samples import PENALTIES, field, forever, no_texts, penalty

PERSON = {
    "name": "孙某丙",
    "id_no": "220599199001010011",
    "uscc": None,
    "legal_representative": "李某丁",
    "facts": "孙某丙于本人住处堆放货物",
    "turnover": "123456.780000",
    "remark": "家住五九九号",
    "phone": "04359990001",
}
HOUSEHOLD = {**PERSON, "name": "东昌区周某戊小吃店", "id_no": None, "uscc": "92220502XXT0000042"}
SECRET_WORDS = (
    "孙某丙",
    "220599199001010011",
    "李某丁",
    "堆放货物",
    "123456.78",
    "五九九号",
    "周某戊",
    "92220502XXT0000042",
    "吴某己",
    "名单-郑某庚",
)


async def fill(store: Store) -> None:
    """A person, a household, a firm; amended, so that past versions exist too; an ingest and an audit row."""
    async with store.transaction() as tx:
        said = [
            penalty(1, kind="natural", keys=(("id_no", "220599199001010011"),), officer="吴某己", **PERSON),
            penalty(2, kind="individual_business", keys=(("uscc", "92220502XXT0000042"), ("name", "东昌区周某戊小吃店")), **HOUSEHOLD),
            penalty(3, **{**PERSON, "name": "通化甲乙商贸有限公司", "id_no": None}, officer="吴某己"),
        ]
        await records.accept(tx, said, no_texts(3), PENALTIES, actor="ingest", period_of=forever)
        again = [penalty(1, kind="natural", keys=(("id_no", "220599199001010011"),), **PERSON, fine_amount="9")]
        await records.accept(tx, again, no_texts(1), PENALTIES, actor="ingest", period_of=forever)
        ingest = await ingests.start(
            tx,
            dataset="administrative-penalties",
            file_sha256="0" * 64,
            file_name="名单-郑某庚.xlsx",
            authority="11220502XXT0000001",
            officer="吴某己",
        )
        await audit.write(tx, "clerk", "record.look", "rec_x", {"note": "郑某庚 吴某己"})
    found = await ingests.about(store.reads, ingest.ingest_id)
    assert (found.file_name, found.officer) == ("名单-郑某庚.xlsx", "吴某己")


def assert_silent(data: bytes, where: str) -> None:
    for word in SECRET_WORDS:
        for encoding in ("utf-8", "utf-16-le", "gb18030"):
            assert word.encode(encoding) not in data, f"{where} holds a planted value"


async def test_no_table_holds_a_planted_value(store: Store) -> None:
    """Names, identifiers, raw texts, trade secrets, officers and file names stand in no table in clear; a firm's open values do."""
    await fill(store)
    held = await everything_in(store)
    assert_silent(held, "a table")
    assert "通化甲乙商贸有限公司".encode() in held
    assert "通市罚〔2026〕1号".encode() in held
    await check_store(store)


async def test_no_database_file_holds_a_planted_value(sqlite_url: str, open_store: Callable[..., Any]) -> None:
    """Not even the write-ahead log or a free page of the SQLite file."""
    store = await open_store(sqlite_url)
    await fill(store)
    assert store.path is not None
    files = sorted(Path(store.path.parent).glob("gateway.db*"))
    assert {path.suffix for path in files} == {".db", ".db-wal", ".db-shm"}
    for path in files:
        assert_silent(path.read_bytes(), path.name)
        assert path.stat().st_mode & 0o077 == 0, "others can read a database file"


async def test_no_postgresql_file_holds_a_planted_value(pg_database: str, pg_server: str, open_store: Callable[..., Any]) -> None:
    """Nor the files and the write-ahead log of the PostgreSQL server."""
    store = await open_store(pg_database)
    await fill(store)
    async with store.transaction() as tx:
        folder = Path((await tx.one(sa.text("SHOW data_directory")))[0])
        oid = (await tx.one(sa.text("SELECT oid FROM pg_database WHERE datname = current_database()")))[0]
    async with store._engine.connect() as connection:
        await (await connection.execution_options(isolation_level="AUTOCOMMIT")).exec_driver_sql("CHECKPOINT")
    looked_at = 0
    for path in [*(folder / "base" / str(oid)).iterdir(), *(folder / "pg_wal").glob("0*")]:
        looked_at += 1
        assert_silent(path.read_bytes(), path.name)
    assert looked_at > 10


async def test_person_is_found_by_blind_index_only(store: Store) -> None:
    """Keys of persons and households stand as blind indexes, a firm's code in clear."""
    await fill(store)
    rows = await store.reads.all(sa.select(subject_keys.c.key_type, subject_keys.c.key_value))
    values = {row.key_value for row in rows}
    assert "91220502XXT0000003" in values
    assert store.vault.blind("subject", "id_no", "220599199001010011") in values
    assert not {"220599199001010011", "92220502XXT0000042"} & values


async def test_erasing_shreds_every_copy(sqlite_url: str, open_store: Callable[..., Any], kek: bytes) -> None:
    """After erasure the wrapped key is nowhere in the files, and an archived copy of the ciphertexts opens no more."""
    store = await open_store(sqlite_url)
    await fill(store)
    subject = await records.subject_by_key(store.reads, "id_no", "220599199001010011", "natural")
    assert subject is not None
    key = await store.reads.one(sa.select(deks).where(deks.c.scope == f"subject:{subject.subject_id}"))
    copies = [
        row.secret
        for table in (record_rows, record_versions)
        for row in await store.reads.all(
            sa.select(table.c.secret).where(
                table.c.record_id.in_(sa.select(record_rows.c.record_id).where(record_rows.c.subject_id == subject.subject_id))
            )
        )
    ]
    ciphertexts = [value for copy in copies for value in unpack(copy).values()]
    assert len(ciphertexts) > 6
    blind = store.vault.blind("subject", "id_no", "220599199001010011").encode()
    async with store.transaction() as tx:
        await audit.write(tx, "clerk", "record.look", "rec_x", {"count": 1}, subject=subject.subject_id)
        await records.erase_subject(tx, subject.subject_id, actor="clerk")
    await check_store(store)
    assert store.path is not None
    for path in Path(store.path.parent).glob("gateway.db*"):
        data = path.read_bytes()
        assert key.wrapped not in data, f"{path.name} holds the shredded key"
        assert blind not in data, f"{path.name} holds the blind index"
        assert not any(value in data for value in ciphertexts), f"{path.name} holds a ciphertext of the erased person"
    assert await store.vault.deks_by_id(store.reads, [key.dek_id]) == {}
    rows = await audit.after(store.reads, 0, 10)
    assert [row.detail is None for row in rows] == [False, True]
    assert await audit_log.first_broken(store.reads) is None


async def test_erased_record_leaves_the_files(sqlite_url: str, open_store: Callable[..., Any]) -> None:
    """Erasing one record of somebody who stays empties the write-ahead log of its old pages too."""
    store = await open_store(sqlite_url)
    await fill(store)
    (mine,) = (row for row in await records.load(store.reads) if row.kind == "legal")
    async with store.transaction() as tx:
        await records.accept(
            tx, [penalty(4, keys=(("uscc", "91220502XXT0000003"),))], no_texts(1), PENALTIES, actor="ingest", period_of=forever
        )
    row = await store.reads.one(sa.select(record_rows).where(record_rows.c.record_id == mine.record_id))
    async with store.transaction() as tx:
        await records.erase(tx, mine.record_id, actor="clerk")
    await check_store(store)
    assert store.path is not None
    for path in Path(store.path.parent).glob("gateway.db*"):
        assert not any(value in path.read_bytes() for value in (*unpack(row.secret).values(), row.clear)), path.name


async def test_reader_in_the_way_only_delays(sqlite_url: str, open_store: Callable[..., Any]) -> None:
    """While a reader holds an old snapshot the log cannot be cut; the next transaction, or the next start, does it."""
    store = await open_store(sqlite_url)
    await fill(store)
    assert store.path is not None
    log = Path(f"{store.path}-wal")
    (mine,) = (row for row in await records.load(store.reads) if row.kind == "natural")
    stream = store.reads.stream(sa.select(record_rows.c.record_id), size=1)
    await anext(stream)
    async with store.transaction() as tx:
        await records.erase(tx, mine.record_id, actor="clerk")
    assert log.stat().st_size > 0
    await stream.aclose()
    async with store.transaction() as tx:
        await tx.number("x")
    assert log.stat().st_size == 0
    async with store.transaction() as tx:
        await tx.number("x")
    assert log.stat().st_size > 0
    await open_store(sqlite_url)
    assert log.stat().st_size == 0


@pytest.mark.parametrize(
    ("made", "sealed"),
    [
        (field("a", "string", "O"), (False, False, False)),
        (field("a", "string", "B1"), (False, False, False)),
        (field("a", "string", "B2"), (True, True, True)),
        (field("a", "string", "P1"), (True, True, True)),
        (field("a", "string", "P2"), (True, True, True)),
        (field("a", "string", "P3"), (True, True, True)),
        (field("a", "string", "U"), (True, True, True)),
        (field("a", "string", "O", text=True), (True, True, True)),
        (field("a", "person_name", "O"), (True, True, True)),
        (field("a", "id_no", "O"), (True, True, True)),
        (field("a", "subject_name", {"legal": "O", "individual_business": "P1", "natural": "P1"}), (False, True, True)),
        (field("a", "string", {"legal": "O"}), (False, True, True)),
        (None, (True, True, True)),
    ],
)
def test_what_is_sealed(made: Field | None, sealed: tuple[bool, bool, bool]) -> None:
    """Clear is only what is open by law or a business contact, no free text, and of no type that always concerns a person."""
    assert tuple(is_sealed(made, kind) for kind in SUBJECT_KINDS) == sealed


def test_field_that_the_dataset_does_not_know_is_sealed() -> None:
    """Whatever the dataset file does not describe is treated as the worst."""
    assert "no_such_field" not in clear_fields(PENALTIES, "legal")


async def test_value_of_a_lost_key_is_told_by_place(store: Store, fixed_clock: Clock) -> None:
    """A data key that vanished without erasure is an error that names the place, not the value."""
    await fill(store)
    async with store.transaction() as tx:
        await tx.execute(sa.delete(deks).where(deks.c.scope.like("subject:%")))
    with pytest.raises(StoreError, match="key-missing"):
        await records.load(store.reads, dataset=PENALTIES.id)
    assert len(await records.load(store.reads, dataset=PENALTIES.id, fields=frozenset({"document_number"}))) == 3


# --- texts ------------------------------------------------------------------------------------------------------------

HELD = Redaction(strict="经王建国同意", third_parties="孙某丙经王建国同意", residual=1, redactor=REDACTOR, doubts=((1, 4),))
SHOWN = Redaction(strict="〔姓名1〕到场", third_parties="孙某丙到场", residual=0, redactor=REDACTOR)
PLAIN = Redaction(strict="责令改正", third_parties="责令改正", residual=0, redactor=REDACTOR)
TOLD = {"facts": HELD, "content": SHOWN, "remark": PLAIN}


async def with_texts(store: Store, number: int = 1, **texts: Redaction) -> Any:
    """The row of a person's record with texts."""
    said = [penalty(number, kind="natural", keys=(("id_no", "220599199001010011"),), **PERSON)]
    async with store.transaction() as tx:
        (outcome,) = await records.accept(tx, said, [TOLD | texts], PENALTIES, actor="ingest", period_of=forever)
    return await store.reads.one(sa.select(record_rows).where(record_rows.c.record_id == outcome.record_id))


async def test_of_a_text_stands_in_clear_what_is_publishable(store: Store) -> None:
    """A held text and the names of the own subject stand under seal, also in past versions; what reads the same has no seal."""
    row = await with_texts(store)
    assert unpack(row.sealed_texts).keys() == {"facts", "content"}
    await with_texts(store, remark=replace(PLAIN, strict="责令改正。", third_parties="责令改正。"))
    held = await everything_in(store)
    assert "〔姓名1〕到场".encode() in held
    for word in ("王建国", "孙某丙"):
        assert word.encode() not in held
    await check_store(store)


async def test_a_seal_is_opened_for_who_asks(store: Store) -> None:
    """Without being asked for a held text has nothing to say, and nobody is told the own subject; asked for, each is whole."""
    row = await with_texts(store)
    (bare,) = await records.load(store.reads, ids=[row.record_id], fields=frozenset({"name"}))
    assert [(bare.texts[name].strict, bare.texts[name].third_parties) for name in ("facts", "content", "remark")] == [
        (None, None),
        ("〔姓名1〕到场", None),
        ("责令改正", None),
    ]
    assert (bare.texts["facts"].held, bare.texts["facts"].doubts) == (True, ())
    (one,) = await records.load(store.reads, ids=[row.record_id], fields=frozenset({"name"}), texts=frozenset({"content", "remark"}))
    assert (one.texts["content"].third_parties, one.texts["remark"].third_parties) == ("孙某丙到场", "责令改正")
    assert one.texts["facts"].strict is None
    (whole,) = await records.load(store.reads, ids=[row.record_id])
    assert {name: (text.strict, text.third_parties, text.doubts) for name, text in whole.texts.items()} == {
        name: (text.strict, text.third_parties, text.doubts) for name, text in TOLD.items()
    }


@pytest.mark.parametrize("how", ["raw value", "other field", "other record", "lost", "no key"])
async def test_a_seal_is_bound_to_its_place(store: Store, how: str) -> None:
    """Moved from a raw value, another field or record, taken away or without its key: an error that names the place."""
    row, other = await with_texts(store), await with_texts(store, 2)
    seals = unpack(row.sealed_texts)
    if how == "raw value":
        seals["facts"] = unpack(row.secret)["facts"]
    elif how == "other field":
        seals["facts"] = seals["content"]
    elif how == "other record":
        seals["facts"] = unpack(other.sealed_texts)["facts"]
    elif how == "lost":
        del seals["facts"]
    async with store.transaction() as tx:
        await tx.execute(sa.update(record_rows).where(record_rows.c.record_id == row.record_id).values(sealed_texts=pack(seals)))
        if how == "no key":
            await tx.execute(sa.delete(deks).where(deks.c.scope.like("subject:%")))
    fields = frozenset({"document_number"})
    with pytest.raises(StoreError, match="key-missing" if how == "no key" else "value-altered") as told:
        await records.load(store.reads, ids=[row.record_id], fields=fields, texts=frozenset({"facts"}))
    assert told.value.place == f"texts:{row.record_id}:facts"
    assert len(await records.load(store.reads, ids=[row.record_id], fields=fields)) == 1

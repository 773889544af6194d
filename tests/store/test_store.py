"""The store itself: who may open it, what a transaction promises, what errors say; on both databases."""

import asyncio
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url

from gateway.core.errors import StoreError
from gateway.settings import Clock
from gateway.store import changes, records
from gateway.store.store import Store, moment, new_id, new_ids, stamp
from gateway.store.tables import counters, meta, tokens
from gateway.store.vault import Vault
from tests.conftest import _sql
from tests.store.checks import check_store
from tests.store.samples import PENALTIES, forever, no_texts, penalty

ROOT = Path(__file__).resolve().parents[2]


async def accept(store: Store, *numbers: int) -> None:
    async with store.transaction() as tx:
        said = [penalty(number) for number in numbers]
        await records.accept(tx, said, no_texts(len(said)), PENALTIES, actor="test", period_of=forever)


# --- opening ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "sqlite+aiosqlite://",
        "sqlite+aiosqlite:///:memory:",
        "sqlite:///x.db",
        "mysql://x/y",
        "postgresql://x/y",
        "sqlite+aiosqlite:///x.db?mode=ro",
        "not an address",
    ],
)
async def test_unsupported_database_is_refused(url: str, open_store: Callable[..., Any]) -> None:
    """Only a SQLite file through aiosqlite and PostgreSQL through asyncpg are databases of ours."""
    with pytest.raises(StoreError) as refused:
        await open_store(url)
    assert refused.value.code == "database-unsupported"
    assert refused.value.hint


async def test_missing_file_is_not_made_by_opening(tmp_path: Path, open_store: Callable[..., Any]) -> None:
    """Opening without migrations says what to do and leaves no empty file behind."""
    path = tmp_path / "none.db"
    with pytest.raises(StoreError) as refused:
        await open_store(f"sqlite+aiosqlite:///{path}")
    assert refused.value.code == "migration-needed"
    assert refused.value.hint
    assert not path.exists()


async def test_unmigrated_database_is_refused(store_url: str, open_store: Callable[..., Any]) -> None:
    """A database without our tables, or with a newer program's, is not opened."""
    store = await open_store(store_url)
    async with store.transaction() as tx:
        await tx.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    for migrate in (False, True):
        with pytest.raises(StoreError) as newer:
            await open_store(store_url, migrate=migrate)
        assert newer.value.code == "migration-newer"
    async with store.transaction() as tx:
        await tx.execute(sa.text("DROP TABLE alembic_version"))
    with pytest.raises(StoreError) as refused:
        await open_store(store_url)
    assert refused.value.code == "migration-needed"


@pytest.mark.parametrize(
    "change", ["DROP TABLE out_subtrees", "ALTER TABLE apps DROP COLUMN resume_by", "ALTER TABLE apps ADD COLUMN older TEXT"]
)
async def test_database_of_an_unreleased_version_is_refused(change: str, store_url: str, open_store: Callable[..., Any]) -> None:
    """A number that is the newest is not believed alone: a table or column that is absent, or one too many, refuses the start."""
    store = await open_store(store_url)
    async with store.transaction() as tx:
        await tx.execute(sa.text("CREATE TABLE not_ours (id INTEGER)"))
    assert await open_store(store_url), "what is not ours does not matter"
    async with store.transaction() as tx:
        await tx.execute(sa.text(change))
    for migrate in (False, True):
        with pytest.raises(StoreError) as refused:
            await open_store(store_url, migrate=migrate)
        assert refused.value.code == "migration-unreleased"
        assert "chengxin init" in (refused.value.hint or "")


async def test_file_that_is_no_database_is_refused(tmp_path: Path, open_store: Callable[..., Any]) -> None:
    """A damaged file is told by its code."""
    path = tmp_path / "bad.db"
    path.write_bytes(b"this is no database" * 500)
    with pytest.raises(StoreError) as refused:
        await open_store(f"sqlite+aiosqlite:///{path}")
    assert refused.value.code == "store-corrupt"


async def test_store_of_another_gateway_is_refused(store: Store, store_url: str, open_store: Callable[..., Any]) -> None:
    """The first gateway to open a store claims it; another party, region or key file does not get in, and changes nothing."""
    assert {row.name for row in await store.reads.all(sa.select(meta))} == {"party", "region", "key_check", "label_suite"}
    for words, code in (
        ({"party": "credit.baishan.example"}, "store-foreign"),
        ({"region": "220600"}, "store-foreign"),
        ({"vault": Vault(b"x" * 32)}, "key-wrong"),
    ):
        with pytest.raises(StoreError) as refused:
            await open_store(store_url, **words)
        assert refused.value.code == code
        assert refused.value.hint
    again = await open_store(store_url)
    assert again.dialect == store.dialect


async def test_unreachable_server_is_unavailable(open_store: Callable[..., Any]) -> None:
    """A PostgreSQL that does not answer is a coded error with a hint, and the password is in no text."""
    with pytest.raises(StoreError) as refused:
        await open_store("postgresql+asyncpg://user:geheim@127.0.0.1:9/none")
    assert refused.value.code == "store-unavailable"
    assert "geheim" not in str(refused.value)
    assert refused.value.__cause__ is None


# --- transactions -----------------------------------------------------------------------------------------------------


async def test_transaction_stands_or_falls_whole(store: Store) -> None:
    """Whatever a block did before it raised is gone, numbers included."""
    await accept(store, 1)
    with pytest.raises(ZeroDivisionError):
        async with store.transaction() as tx:
            await records.accept(tx, [penalty(2), penalty(3)], no_texts(2), PENALTIES, actor="test", period_of=forever)
            assert await changes.head(tx) == 3
            raise ZeroDivisionError
    assert await changes.head(store.reads) == 1
    await accept(store, 4)
    assert await changes.head(store.reads) == 2
    await check_store(store)


async def test_now_is_read_once(store_url: str, open_store: Callable[..., Any]) -> None:
    """All that a story writes bears one instant."""
    ticks = iter(datetime(2026, 6, 1, 0, 0, second, tzinfo=UTC) for second in range(60))
    store = await open_store(store_url, clock=lambda: next(ticks))
    await accept(store, 1, 2, 3)
    assert len({change.at for change in await changes.after(store.reads, 0, 10)}) == 1


async def test_select_then_update_is_safe(store: Store) -> None:
    """Tasks that read, wait and write lose no update: whoever writes is alone."""

    async def add_one() -> None:
        async with store.transaction() as tx:
            row = await tx.one(sa.select(meta.c.value).where(meta.c.name == "sum"))
            await asyncio.sleep(0)
            if row is None:
                await tx.execute(sa.insert(meta).values(name="sum", value="1"))
            else:
                await tx.execute(sa.update(meta).where(meta.c.name == "sum").values(value=str(int(row.value) + 1)))

    await asyncio.gather(*(add_one() for _ in range(25)))
    row = await store.reads.one(sa.select(meta.c.value).where(meta.c.name == "sum"))
    assert row.value == "25"


async def test_writers_of_several_stores_keep_the_log_dense(store_url: str, open_store: Callable[..., Any]) -> None:
    """Many tasks on several connections pools, some failing: numbers are dense, and in order of commit as a reader sees them."""
    stores = [await open_store(store_url, wait_s=30.0) for _ in range(3)]
    seen: list[int] = []
    done = asyncio.Event()

    async def read() -> None:
        position = 0
        while not done.is_set() or await changes.head(stores[0].reads) > position:
            for change in await changes.after(stores[0].reads, position, 7):
                assert change.seq == position + 1, "a reader met a gap"
                position = change.seq
                seen.append(position)
            await asyncio.sleep(0)

    async def write(writer: int) -> None:
        for step in range(8):
            number = writer * 100 + step
            try:
                async with stores[writer % 3].transaction() as tx:
                    said = [penalty(number), penalty(number + 50)]
                    await records.accept(tx, said, no_texts(2), PENALTIES, actor="test", period_of=forever)
                    if step % 4 == 3:
                        raise ZeroDivisionError
            except ZeroDivisionError:
                continue

    reader = asyncio.create_task(read())
    await asyncio.gather(*(write(writer) for writer in range(9)))
    done.set()
    await reader
    assert seen == list(range(1, 9 * 6 * 2 + 1))
    await check_store(stores[0])


async def test_same_new_subject_from_two_writers_is_one(store_url: str, open_store: Callable[..., Any]) -> None:
    """Two processes that meet a firm for the first time make one subject."""
    stores = [await open_store(store_url, wait_s=30.0) for _ in range(4)]

    async def say(index: int) -> None:
        async with stores[index].transaction() as tx:
            said = penalty(index, keys=(("uscc", "91220502XXT0000001"),))
            await records.accept(tx, [said], no_texts(1), PENALTIES, actor="test", period_of=forever)

    await asyncio.gather(*(say(index) for index in range(4)))
    assert len({change.subject_id for change in await changes.after(stores[0].reads, 0, 10)}) == 1
    await check_store(stores[0])


async def test_locked_database_is_told_and_nothing_is_applied(store_url: str, open_store: Callable[..., Any]) -> None:
    """Who waits too long for another writer gets store-locked; readers do not wait; afterwards all is well."""
    holder, waiter = await open_store(store_url), await open_store(store_url, wait_s=0.3)
    async with holder.transaction() as tx:
        await tx.number("x")
        with pytest.raises(StoreError) as refused:
            await accept(waiter, 1)
        assert refused.value.code == "store-locked"
        assert await changes.head(waiter.reads) == 0
    await accept(waiter, 1)
    await check_store(waiter)


async def test_tasks_of_one_store_queue_for_the_writer(store_url: str, open_store: Callable[..., Any]) -> None:
    """In one process too, a writer that waits too long is told so instead of waiting for ever."""
    store = await open_store(store_url, wait_s=0.3)
    async with store.transaction() as tx:
        await tx.number("x")
        with pytest.raises(StoreError) as refused:
            await accept(store, 1)
    assert refused.value.code == "store-locked"


async def test_a_cancelled_writer_holds_nobody_up(store_url: str, open_store: Callable[..., Any]) -> None:
    """Wherever it was stopped and whoever keeps its traceback, with every cursor in it: the next writer writes, here and elsewhere."""
    store, other = await open_store(store_url, wait_s=1.0), await open_store(store_url, wait_s=1.0)

    async def write() -> None:
        while True:
            async with store.transaction() as tx:
                await tx.number("stopped")
                await tx.number("stopped again")

    kept = []
    for number in range(1, 41):
        writer = asyncio.create_task(write())
        await asyncio.sleep(0.0005 * number)
        writer.cancel()
        with pytest.raises(asyncio.CancelledError) as stopped:
            await writer
        kept.append(stopped)
        for one in (other, store):
            async with one.transaction() as tx:
                assert await tx.number("other") == len(kept) * 2 - (one is other)


async def test_a_writer_of_many_rows_ends_when_it_is_told(store: Store) -> None:
    """Cancelled while it sends many rows, it ends and has written nothing; one that waited on would keep its process from its end."""
    rows = [(f"row-{number}", number) for number in range(40_000)]

    async def write() -> None:
        async with store.transaction() as tx:
            await tx.insert(counters, ("name", "value"), rows)
            await asyncio.sleep(3600)  # where a driver that forgot it has arrived

    for turn in range(6):
        writer = asyncio.create_task(write())
        await asyncio.sleep(0.02 * (turn + 1))
        writer.cancel()
        _, left = await asyncio.wait({writer}, timeout=20)
        writer.cancel()
        assert not left, "it is told once"
        assert writer.cancelled()
    assert await store.reads.all(sa.select(counters.c.name).where(counters.c.name.like("row-%"))) == []


async def test_full_disk_is_told_and_nothing_is_applied(sqlite_url: str, open_store: Callable[..., Any]) -> None:
    """When the database can grow no more, the chunk is refused whole and the store goes on working for readers."""
    store = await open_store(sqlite_url)
    await accept(store, 1)
    with pytest.raises(StoreError) as refused:
        async with store.transaction() as tx:
            pages = (await tx.connection.exec_driver_sql("PRAGMA page_count")).scalar_one()
            await tx.connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 3}")
            said = [penalty(number) for number in range(100, 400)]
            await records.accept(tx, said, no_texts(300), PENALTIES, actor="test", period_of=forever)
    assert refused.value.code == "store-full"
    assert refused.value.hint
    assert await changes.head(store.reads) == 1
    async with store.transaction() as tx:
        await tx.connection.exec_driver_sql("PRAGMA max_page_count = 1000000")
    await accept(store, *range(100, 400))
    await check_store(store)


async def test_a_disk_that_is_full_from_the_start(sqlite_url: str, open_store: Callable[..., Any]) -> None:
    """Where not even the first page of SQLite's index has room, that is what is told: there is a database, and it is where it should be."""
    store = await open_store(sqlite_url)
    await accept(store, 1)
    await store.close()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(StoreError) as refused:
            await open_store(sqlite_url)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert refused.value.code == "store-full"


async def test_read_only_file_is_told(sqlite_url: str, open_store: Callable[..., Any]) -> None:
    """A write that the database refuses is coded, and readers go on."""
    store = await open_store(sqlite_url)
    await accept(store, 1)
    with pytest.raises(StoreError) as refused:
        async with store.transaction() as tx:
            await tx.connection.exec_driver_sql("PRAGMA query_only = ON")
            await tx.number("x")
    assert refused.value.code == "store-readonly"
    assert await changes.head(store.reads) == 1


async def test_server_that_goes_away_is_told(pg_database: str, pg_server: str, open_store: Callable[..., Any]) -> None:
    """A connection that the server closes undoes the transaction; reads are asked again, and the store works on."""
    store = await open_store(pg_database)
    await accept(store, 1)
    kick = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'chengxin'"
    server = make_url(pg_server).set(database=make_url(pg_database).database).render_as_string(hide_password=False)
    with pytest.raises(StoreError) as refused:
        async with store.transaction() as tx:
            await records.accept(tx, [penalty(2)], no_texts(1), PENALTIES, actor="test", period_of=forever)
            await _sql(server, kick)
            await records.accept(tx, [penalty(3)], no_texts(1), PENALTIES, actor="test", period_of=forever)
    assert refused.value.code == "store-unavailable"
    await _sql(server, kick)
    assert await changes.head(store.reads) == 1
    await accept(store, 2)
    await check_store(store)


async def test_broken_rule_of_the_tables_repeats_no_value(store: Store) -> None:
    """An error names a code and a constraint, never what was bound: not in its text, not in its cause."""
    row = {"token_sha256": "geheim", "app": "geheim", "org": "o", "tier": "t", "access": b"[]", "issued_at": "i", "expires_at": "e"}
    with pytest.raises(StoreError) as refused:
        async with store.transaction() as tx:
            await tx.execute(sa.insert(tokens), [row, row])
    assert refused.value.code == "store-conflict"
    assert "geheim" not in f"{refused.value} {refused.value.__cause__}"
    with pytest.raises(StoreError) as many:
        async with store.transaction() as tx:
            await tx.insert(tokens, tuple(row), [tuple(row.values())] * 2)
    assert many.value.code == "store-conflict"
    assert "geheim" not in str(many.value)


async def test_missing_table_says_migrate(store: Store) -> None:
    """A table that is not there is a question of migrations."""
    with pytest.raises(StoreError) as refused:
        await store.reads.all(sa.text("SELECT * FROM no_such_table"))
    assert refused.value.code == "migration-needed"


async def test_foreign_keys_are_on(store: Store) -> None:
    """A record without its subject is refused by the tables themselves."""
    with pytest.raises(StoreError) as refused:
        async with store.transaction() as tx:
            await tx.execute(sa.text("INSERT INTO subject_keys (key_type, key_value, subject_id) VALUES ('uscc', 'x', 'sub_none')"))
    assert refused.value.code == "store-conflict"


async def test_sqlite_is_set_up_for_durability(sqlite_url: str, open_store: Callable[..., Any]) -> None:
    """Write-ahead log, synchronous=FULL, foreign keys, overwriting of what is deleted."""
    store = await open_store(sqlite_url)
    async with store.transaction() as tx:
        found = {
            name: (await tx.connection.exec_driver_sql(f"PRAGMA {name}")).scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys", "secure_delete", "temp_store")
        }
    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "secure_delete": 1, "temp_store": 2}


async def test_numbers_are_dense_by_counter(store: Store) -> None:
    """Each counter counts for itself."""
    async with store.transaction() as tx:
        assert [await tx.number("a"), await tx.number("a", 5), await tx.number("a"), await tx.number("b")] == [1, 2, 7, 1]
    assert {row.name: row.value for row in await store.reads.all(sa.select(counters))} == {"a": 7, "b": 1}


async def test_closing_twice_is_harmless(store_url: str, open_store: Callable[..., Any]) -> None:
    """A store may be closed again."""
    store = await open_store(store_url)
    await store.close()
    await store.close()


# --- a killed process -------------------------------------------------------------------------------------------------

_WRITER = """
import asyncio, os, sys
sys.path.insert(0, {root!r})
from datetime import UTC, datetime
from gateway.settings import Clock
from gateway.store import records
from gateway.store.store import Store
from gateway.store.vault import Vault
from tests.conftest import _sql
from tests.store.samples import PENALTIES, forever, no_texts, penalty

async def main():
    store = await Store.open({url!r}, vault=Vault(bytes.fromhex({kek!r})), clock=Clock(), random=os.urandom)
    async with store.transaction() as tx:
        await records.accept(tx, [penalty(1)], no_texts(1), PENALTIES, actor="whole", period_of=forever)
    async with store.transaction() as tx:
        said = [penalty(number) for number in range(1, 1001)]
        said[0] = penalty(1, fine_amount="77")
        await records.accept(tx, said, no_texts(1000), PENALTIES, actor="half", period_of=forever)
        print("written, not committed", flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_killed_writer_leaves_nothing_half_done(store_url: str, kek: bytes, open_store: Callable[..., Any]) -> None:
    """Kill -9 between the last write and the commit: the next start sees the chunk before, whole, and goes on without a gap."""
    code = _WRITER.format(root=str(ROOT), url=store_url, kek=kek.hex())
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "written, not committed"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    store = await open_store(store_url, wait_s=20.0)
    assert await changes.head(store.reads) == 1
    (record,) = await records.load(store.reads, dataset=PENALTIES.id)
    assert record.raw.open()["fine_amount"] == "2.000000"
    await accept(store, 1, 2)
    assert await changes.head(store.reads) == 2
    await check_store(store)


_PROCESS = """
import asyncio, os, sys
sys.path.insert(0, {root!r})
from gateway.settings import Clock
from gateway.store import records
from gateway.store.store import Store
from gateway.store.vault import Vault
from tests.conftest import _sql
from tests.store.samples import PENALTIES, forever, no_texts, penalty

async def main():
    store = await Store.open({url!r}, vault=Vault(bytes.fromhex({kek!r})), clock=Clock(), random=os.urandom, wait_s=60.0)
    for step in range(6):
        said = [penalty({first} + 10 * step + number) for number in range(10)] + [penalty(1, fine_amount=str({first} + step))]
        async with store.transaction() as tx:
            await records.accept(tx, said, no_texts(11), PENALTIES, actor="p{first}", period_of=forever)
    await store.close()

asyncio.run(main())
"""


async def test_several_processes_write_one_dense_log(store_url: str, kek: bytes, open_store: Callable[..., Any]) -> None:
    """Three processes at once, all amending one record too: no number is missing or doubled, no amendment lost."""
    processes = []
    for first in (1000, 2000, 3000):
        code = _PROCESS.format(root=str(ROOT), url=store_url, kek=kek.hex(), first=first)
        processes.append(await asyncio.create_subprocess_exec(sys.executable, "-c", code, cwd=ROOT))
    assert [await process.wait() for process in processes] == [0, 0, 0]
    store = await open_store(store_url)
    assert await changes.head(store.reads) == 3 * 6 * 11
    (shared,) = [record for record in await records.load(store.reads, dataset=PENALTIES.id, fields=frozenset()) if record.version > 1]
    assert shared.version == 3 * 6
    await check_store(store)


# --- small things -----------------------------------------------------------------------------------------------------


def test_ids_are_random_and_canonical() -> None:
    """26 base32 characters in lower case of exactly 128 bits: decoding and encoding gives the same text."""
    import base64

    ids = new_ids("rec_", 2000, os.urandom)
    assert len(set(ids)) == 2000
    for made in (*ids[:50], new_id("sub_", os.urandom)):
        prefix, _, text = made.partition("_")
        assert prefix in ("rec", "sub")
        assert base64.b32encode(base64.b32decode(text.upper() + "======")).decode().lower()[:26] == text
    assert {made[4] for made in ids} == set("abcdefghijklmnopqrstuvwxyz234567")
    assert new_ids("rec_", 0, os.urandom) == []


def test_instants_are_sortable_text(fixed_clock: Clock) -> None:
    """Whole seconds, UTC, Z, and back."""
    assert stamp(fixed_clock()) == "2026-06-01T02:30:00Z"
    assert moment("2026-06-01T02:30:00Z") == fixed_clock()

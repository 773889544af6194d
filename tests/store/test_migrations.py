"""Migrations: the tables as made are the tables as written, on both databases; and the known trap of SQLite stays shut."""

import asyncio
import sqlite3
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy.engine import make_url

from gateway.core.errors import StoreError
from gateway.core.exchange.questions import SubjectAsked
from gateway.store import fetch_tries, inquiries, migrations
from gateway.store.dialects import write_engine
from gateway.store.inquiries import OnePartner, Said
from gateway.store.questions import LABEL
from gateway.store.store import Store
from gateway.store.tables import (
    agreement_states,
    agreements,
    audit,
    changes,
    in_records,
    line_cursors,
    metadata,
    names,
    record_versions,
    records,
    retention_due,
    subject_keys,
    subjects,
)
from tests.store.renew_first_migration import first_migration

VERSIONS = Path(migrations.__file__).parent / "versions"


async def test_tables_have_not_drifted(store: Store) -> None:
    """What the migrations made is what `tables.py` says; autogenerate finds nothing to do."""
    async with store.transaction() as tx:
        await tx.connection.run_sync(lambda connection: command.check(migrations.config(connection)))


async def test_drift_check_would_see_a_difference(store: Store) -> None:
    """The check is shown to fail: a dropped column, index and table are each found."""
    for statement in (
        "ALTER TABLE feed_pending DROP COLUMN reason",
        "DROP INDEX ix_records_subject_id_dataset",
        "DROP TABLE ingests",
    ):
        with pytest.raises(CommandError):
            async with store.transaction() as tx:
                await tx.execute(sa.text(statement))
                await tx.connection.run_sync(lambda connection: command.check(migrations.config(connection)))


def test_first_migration_follows_the_tables() -> None:
    """Until the first release the first step is written from the tables: `python tests/store/renew_first_migration.py`."""
    assert (VERSIONS / "0001_first.py").read_text(encoding="utf-8") == first_migration()


async def test_known_versions_are_those_of_the_files(store: Store) -> None:
    """HEAD and KNOWN repeat what stands in `versions/`."""
    async with store.transaction() as tx:
        script = await tx.connection.run_sync(lambda connection: ScriptDirectory.from_config(migrations.config(connection)))
    assert script.get_heads() == [migrations.HEAD]
    assert {step.revision for step in script.walk_revisions()} == migrations.KNOWN


async def test_migrating_again_changes_nothing(store: Store) -> None:
    """A start that migrates an up-to-date store leaves it as it is."""
    await store.migrate()
    async with store.transaction() as tx:
        await tx.number("x")


async def test_fresh_file_is_made_for_its_owner_alone(tmp_path: Path, open_store: Callable[..., Any]) -> None:
    """The first start makes folder and file, and nobody else can read the file."""
    path = tmp_path / "data" / "gateway.db"
    store = await open_store(f"sqlite+aiosqlite:///{path}", migrate=True)
    assert path.stat().st_mode & 0o777 == 0o600
    async with store.transaction() as tx:
        await tx.number("x")


async def test_several_starts_at_once_migrate_once(tmp_path: Path, pg_server: str, pg_url: str, open_store: Callable[..., Any]) -> None:
    """Processes that start together on an empty database all end up with a good one."""
    from tests.conftest import _named, _sql

    await _sql(pg_server, "CREATE DATABASE many_starts")
    for url in (f"sqlite+aiosqlite:///{tmp_path / 'many.db'}", _named(pg_url, "many_starts")):
        stores = await asyncio.gather(*(open_store(url, migrate=True, wait_s=30.0) for _ in range(4)))
        async with stores[0].transaction() as tx:
            await tx.connection.run_sync(lambda connection: command.check(migrations.config(connection)))
        for store in stores:
            await store.close()
    await _sql(pg_server, "DROP DATABASE many_starts WITH (FORCE)")


async def test_failed_migration_leaves_nothing(tmp_path: Path, open_store: Callable[..., Any]) -> None:
    """A step that fails in the middle leaves no table behind, so that the next start begins afresh."""

    def half(connection: sa.Connection) -> None:
        metadata.tables["meta"].create(connection)
        raise ZeroDivisionError

    path = tmp_path / "half.db"
    whole = migrations.upgrade
    migrations.upgrade = half
    try:
        with pytest.raises(ZeroDivisionError):
            await open_store(f"sqlite+aiosqlite:///{path}", migrate=True)
    finally:
        migrations.upgrade = whole
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == []
    connection.close()
    assert await open_store(f"sqlite+aiosqlite:///{path}", migrate=True)


async def test_rebuilding_a_table_keeps_its_children(sqlite_url: str, open_store: Callable[..., Any]) -> None:
    """Alembic rebuilds a SQLite table by dropping it: on the engine of migrations the children survive, on another they would not."""
    url = make_url(sqlite_url)

    async def children_after_rebuild(*, foreign_keys: bool) -> int:
        engine = write_engine(url, wait_s=5.0, foreign_keys=foreign_keys)

        def rebuild(connection: sa.Connection) -> int:
            connection.execute(sa.text("DROP TABLE IF EXISTS child"))
            connection.execute(sa.text("DROP TABLE IF EXISTS parent"))
            connection.execute(sa.text("CREATE TABLE parent (id INTEGER PRIMARY KEY, a TEXT)"))
            connection.execute(
                sa.text("CREATE TABLE child (id INTEGER PRIMARY KEY, parent INTEGER REFERENCES parent (id) ON DELETE CASCADE)")
            )
            connection.execute(sa.text("INSERT INTO parent VALUES (1, 'a')"))
            connection.execute(sa.text("INSERT INTO child VALUES (1, 1)"))
            with Operations(MigrationContext.configure(connection)).batch_alter_table("parent") as batch:
                batch.alter_column("a", type_=sa.Integer())
            return int(connection.execute(sa.text("SELECT count(*) FROM child")).scalar_one())

        try:
            async with engine.begin() as connection:
                return await connection.run_sync(rebuild)
        finally:
            await engine.dispose()

    assert await children_after_rebuild(foreign_keys=False) == 1
    assert await children_after_rebuild(foreign_keys=True) == 0


async def test_migration_that_orphans_rows_is_undone(sqlite_url: str, open_store: Callable[..., Any]) -> None:
    """Foreign keys are checked before the commit: a step that leaves rows without parents is refused as a whole."""
    store = await open_store(sqlite_url)
    async with store.transaction() as tx:
        await tx.execute(sa.text("UPDATE alembic_version SET version_num = '0000'"))

    def orphan(connection: sa.Connection) -> None:
        connection.execute(sa.insert(subject_keys).values(key_type="uscc", key_value="x", subject_id="sub_none"))

    whole, known = migrations.upgrade, migrations.KNOWN
    migrations.upgrade, migrations.KNOWN = orphan, known | {"0000"}
    try:
        with pytest.raises(StoreError) as refused:
            await store.migrate()
    finally:
        migrations.upgrade, migrations.KNOWN = whole, known
    assert refused.value.code == "migration-failed"
    assert await store.reads.all(sa.select(subject_keys)) == []


async def test_an_inquiry_of_before_is_kept(store: Store) -> None:
    """A row of when a partner had one row reads on as it was, beside a second one under another agreement, each written for itself."""
    said = Said(
        actor="test",
        app="",
        officer="测试员乙",
        case="案-1",
        basis="依据",
        purpose="mutual.query",
        subject=SubjectAsked(kind="legal", uscc="91220502XXT00002X2"),
        datasets=("honours",),
        body=b"",
    )
    words = {name: "x" for name in OnePartner.__struct_fields__ if name not in ("row", "code")}
    fixed = {"inquiry": "inq_1", "day": date(2026, 6, 1), "level": 1, "status": "unanswered", "code": None, "asked_at": store.clock()}
    ended = {"answered_at": None, "answer_digest": None, "lines_until": None}
    one, two = (OnePartner(**words | fixed | ended | {"agreement": name}) for name in ("a-2026", "b-2026"))
    sealed = store.vault.seal(store.vault.house_dek(LABEL), "inquiries", "said", "inq_1/x", msgspec.msgpack.encode(said))

    def of_before(connection: sa.Connection) -> None:
        with Operations(MigrationContext.configure(connection)).batch_alter_table("inquiries") as batch:
            batch.drop_constraint("pk_inquiries", type_="primary")
            batch.create_primary_key("pk_inquiries", ["inquiry", "partner"])

    async with store.transaction() as tx:
        await tx.connection.run_sync(of_before)
        await inquiries.begin(tx, one, said)
        await tx.execute(sa.text("UPDATE inquiries SET said = :said"), {"said": sealed})
        await tx.execute(sa.text("UPDATE alembic_version SET version_num = '0001'"))
    with pytest.raises(StoreError):
        async with store.transaction() as tx:
            await inquiries.begin(tx, two, said)
    await store.migrate()
    async with store.transaction() as tx:
        await tx.connection.run_sync(lambda connection: command.check(migrations.config(connection)))
        await inquiries.begin(tx, two, said)
        await inquiries.finish(tx, two, status="no_hit", code=None, answer=b"signed")
    first, second = await inquiries.of_inquiry(store.reads, "inq_1")
    assert [(each.agreement, each.status) for each in (first, second)] == [("a-2026", "unanswered"), ("b-2026", "no_hit")]
    assert [inquiries.said_of(store.vault, each) for each in (first, second)] == [said, said]
    assert [inquiries.answer_of(store.vault, each) for each in (first, second)] == [None, b"signed"]


async def test_a_store_of_before_gets_the_list_of_what_was_kept_long_enough(store: Store) -> None:
    """The step makes the table that `tables.py` describes, where it is not there yet."""
    async with store.transaction() as tx:
        await tx.execute(sa.text("DROP TABLE retention_due"))
        await tx.execute(sa.text("UPDATE alembic_version SET version_num = '0002'"))
    await store.migrate()
    async with store.transaction() as tx:
        await tx.connection.run_sync(lambda connection: command.check(migrations.config(connection)))
        await tx.put(
            retention_due,
            ("dataset", "record_id", "last_day", "rule"),
            ("dataset", "record_id"),
            [("penalties", "rec_x", "2026-06-01", "five")] * 2,
        )
    assert len(await store.reads.all(sa.select(retention_due))) == 1


async def test_names_of_before_are_indexed_anew(store: Store) -> None:
    """The index is emptied with its tokens, and the walk over all that is rendered begins; a store without names keeps its peace."""
    row = {"name_id": 7, "subject_id": "sub_a", "role": "name", "shown": "示例", "name_norm": "示例", "core": "示例", "tokens": "示例"}
    for indexed in (False, True):
        async with store.transaction() as tx:
            await tx.execute(sa.text("UPDATE alembic_version SET version_num = '0005'"))
            if indexed:
                await tx.execute(sa.insert(names).values(**row))
                if store.dialect == "sqlite":
                    await tx.execute(sa.text("INSERT INTO names_fts (rowid, tokens) VALUES (:name_id, :tokens)"), row)
        await store.migrate()
        async with store.transaction() as tx:
            assert await tx.all(sa.select(names)) == []
            walk = await tx.all(sa.text("SELECT position FROM readers WHERE name = 'renderings-policy'"))
            assert [each.position for each in walk] == ([0] if indexed else [])
            if store.dialect == "sqlite":
                assert await tx.all(sa.text("SELECT rowid FROM names_fts WHERE names_fts MATCH '\"示例\"'")) == []


TONGHUA, HUNJIANG, DUNHUA, NOBODY = (f"credit.{name}.example" for name in ("tonghua", "hunjiang", "dunhua", "nobody"))


def _old_lines(connection: sa.Connection) -> None:
    """The tables of when a partner was fetched from under one agreement."""
    of = Operations(MigrationContext.configure(connection))
    for name, *columns in (
        ("fetch_tries", sa.Column("attempts", sa.Integer), sa.Column("next_attempt_at", sa.String(32)), sa.Column("code", sa.String(64))),
        ("line_cursors", sa.Column("cursor", sa.Text)),
    ):
        of.drop_table(name)
        of.create_table(name, sa.Column("party", sa.String(64)), *columns, sa.PrimaryKeyConstraint("party", name=f"pk_{name}"))


def _agreement(name: str, party: str, *streams: tuple[str, str], expires: str = "2099-12-31", state: str = "agreed") -> dict[str, Any]:
    """A row of an agreement that says no more than the step reads."""
    said = [{"dataset": dataset, "from": party, "wire": {"delivery": delivery}} for dataset, delivery in streams]
    body = msgspec.json.encode({"expires": expires, "streams": said})
    words = {"digest": "x", "note": "x", "local": b"{}", "state": state, "since": "2026-01-01T00:00:00Z"}
    return {"agreement_id": name, "version": 1, "body": body, **words}


async def test_what_was_a_partner_s_is_its_agreement_s(store: Store) -> None:
    """Cursors that name streams go to whose streams they are, others and the tries to the agreement that was fetched under."""
    old = {
        TONGHUA: '{"b-2026.honours":[1,7]}',
        HUNJIANG: "opaque:5",
        DUNHUA: '{"g-2026.honours":[2,3],"h-2026.penalties":"{\\"h-2026.penalties\\":[1,4]}","h-2026.honours":"x"}',
        NOBODY: "opaque:6",
    }
    held = (
        _agreement("a-2026", TONGHUA, ("penalties", "pull")),
        _agreement("b-2026", TONGHUA, ("honours", "pull"), ("penalties", "pull")),
        _agreement("c-2026", HUNJIANG, ("penalties", "push")),
        _agreement("d-2026", HUNJIANG, ("penalties", "pull"), expires="2026-01-01"),
        _agreement("e-2026", HUNJIANG, ("penalties", "pull")),
        _agreement("f-2026", HUNJIANG, ("penalties", "pull")),
        _agreement("g-2026", DUNHUA, ("honours", "pull")),
        _agreement("h-2026", DUNHUA, ("penalties", "drop"), ("honours", "drop")),
        _agreement("i-2026", NOBODY, ("penalties", "pull"), state="offered"),
    )
    ended = {"by_party": HUNJIANG, "serial": 1, "version": 1, "state": "terminated", "body": b"", "note": "x"}
    async with store.transaction() as tx:
        await tx.connection.run_sync(_old_lines)
        for row in held:
            await tx.execute(sa.insert(agreements).values(**row))
        said = {"agreement_id": "e-2026", "from_at": "2026-02-01T00:00:00Z", "first_seen": "2026-02-01T00:00:00Z"}
        await tx.execute(sa.insert(agreement_states).values(**ended, **said))
        for party, cursor in old.items():
            await tx.execute(sa.text("INSERT INTO line_cursors VALUES (:party, :cursor)"), {"party": party, "cursor": cursor})
            tried = {"party": party, "attempts": 3, "next": "2026-06-01T00:00:00Z", "code": "UNAVAILABLE"}
            await tx.execute(sa.text("INSERT INTO fetch_tries VALUES (:party, :attempts, :next, :code)"), tried)
        await tx.execute(sa.text("UPDATE alembic_version SET version_num = '0003'"))
    await store.migrate()
    async with store.transaction() as tx:
        await tx.connection.run_sync(lambda connection: command.check(migrations.config(connection)))
    found = {row.line: row.cursor for row in await store.reads.all(sa.select(line_cursors))}
    assert found == {
        "b-2026": '{"b-2026.honours":[1,7]}',
        "f-2026": "opaque:5",
        "g-2026": '{"g-2026.honours":[2,3]}',
        "h-2026.penalties": '{"h-2026.penalties":[1,4]}',
        "h-2026.honours": "x",
    }
    tries = await fetch_tries.failing(store.reads)
    assert sorted(tries) == ["a-2026", "f-2026", "g-2026"]
    assert {(each.attempts, each.next_attempt_at, each.code) for each in tries.values()} == {
        (3, datetime(2026, 6, 1, tzinfo=UTC), "UNAVAILABLE")
    }


async def test_what_was_purged_before_gets_its_mark(store: Store) -> None:
    """Of partners' records that are erased, those bear it that the end of an agreement took; a repair keeps its word, any erasure too."""
    told = {  # (state before, who erased, last word)
        "rec_a": ("in_force", "gateway/agreement", "retract"),
        "rec_b": ("repaired", "gateway/agreement", "retract"),
        "rec_c": ("in_force", "gateway/agreement", "erase"),
        "rec_d": ("in_force", "partner/x", "retract"),
        "rec_e": ("in_force", "admin:kang", "assert"),
        "rec_f": ("in_force", "gateway/agreement", "retract"),
    }
    about = dict.fromkeys(told, "sub_x") | {"rec_f": "sub_y"}
    at = "2026-06-01T00:00:00Z"

    def of_before(connection: sa.Connection) -> None:
        of = Operations(MigrationContext.configure(connection))
        of.drop_column("in_records", "purged_at")
        of.drop_column("in_streams", "anew_since")

    async with store.transaction() as tx:
        await tx.connection.run_sync(of_before)
        for subject_id in ("sub_x", "sub_y"):
            await tx.execute(sa.insert(subjects).values(subject_id=subject_id, kind="legal", head_seq=5, known_by=b"{}"))
        for subject_id, day in (("sub_x", "2026-05-31"), ("sub_y", "2026-06-02")):
            act = {"kind": "act", "actor": "admin:kang", "act": "subject.erase", "target": f"subject/{subject_id}", "link": b""}
            await tx.execute(sa.insert(audit).values(**act, day=day, writer="office", n=1, at=f"{day}T00:00:00Z"))
        for seq, (record_id, (state, actor, op)) in enumerate(told.items(), 1):
            words = {"trust": "signed", "region": "220500", "dates": b"{}", "clear": b"{}", "minor": False, "sealed_flag": False}
            words |= {"content_digest": b"", "received_at": at, "changed_at": at, "changed_seq": seq, "record_id": record_id}
            fixed = {"subject_id": about[record_id], "dataset": "x", "category": "penalty", "kind": "legal", "issuer": "p"}
            fixed["business_key"] = record_id
            await tx.execute(sa.insert(records).values(**fixed, **words, version=2, state="erased"))
            changed = {"op": "assert", "actor": "partner/x", "at": at, "seq": 0}
            past = {name: value for name, value in (words | changed).items() if name in record_versions.c}
            await tx.execute(sa.insert(record_versions).values(**past, version=1, state=state))
            change = {"seq": seq, "at": at, "record_id": record_id, "dataset": "x", "version": 2, "op": "erase"}
            await tx.execute(sa.insert(changes).values(**change, subject_id=about[record_id], actor=actor))
            line = {"record_id": record_id, "sender": "p", "stream": "a.x", "v": 1, "op": op, "leaf": b"", "at": at}
            await tx.insert(in_records, tuple(line), [tuple(line.values())])
        await tx.execute(sa.text("UPDATE alembic_version SET version_num = '0006'"))
    await store.migrate()
    async with store.transaction() as tx:
        await tx.connection.run_sync(lambda connection: command.check(migrations.config(connection)))
    found = {row.record_id: (row.op, row.purged_at) for row in await store.reads.all(sa.select(in_records))}
    assert found == {
        "rec_a": ("retract", at),
        "rec_b": ("repair", at),
        "rec_c": ("erase", None),
        "rec_d": ("retract", None),
        "rec_e": ("assert", None),
        "rec_f": ("erase", None),
    }, "its subject was erased here after the purge"


async def test_token_index_answers_on_both_databases(store: Store) -> None:
    """The index beside `names` finds pairs of characters, and on SQLite a row is deleted with its old tokens."""
    row = {
        "name_id": 1,
        "subject_id": "sub_x",
        "role": "name",
        "shown": "通化商贸",
        "name_norm": "通化商贸",
        "core": "商贸",
        "tokens": "通化 化商 商贸",
    }
    async with store.transaction() as tx:
        await tx.execute(sa.insert(names).values(**row))
        if store.dialect == "sqlite":
            await tx.execute(sa.text("INSERT INTO names_fts (rowid, tokens) VALUES (:name_id, :tokens)"), row)
            find = sa.text("SELECT rowid AS name_id FROM names_fts WHERE names_fts MATCH :query")
            assert [found.name_id for found in await tx.all(find, {"query": '"商贸"'})] == [1]
            assert [found.name_id for found in await tx.all(find, {"query": '"通化" AND "化商"'})] == [1]
            await tx.execute(sa.text("INSERT INTO names_fts (names_fts, rowid, tokens) VALUES ('delete', :name_id, :tokens)"), row)
            assert await tx.all(find, {"query": '"商贸"'}) == []
        else:
            find = sa.text("SELECT name_id FROM names WHERE string_to_array(tokens, ' ') @> CAST(:query AS text[])")
            assert [found.name_id for found in await tx.all(find, {"query": ["商贸"]})] == [1]
            await tx.execute(sa.text("SET LOCAL enable_seqscan = off"))
            plan = await tx.all(sa.text("EXPLAIN SELECT name_id FROM names WHERE string_to_array(tokens, ' ') @> '{商贸}'"))
            assert any("ix_names_tokens" in found[0] for found in plan)

"""Adapter `frontend_database`: its tables, answers, look-backs and faults, on SQLite and on PostgreSQL."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from adapters import frontend_database_walk
from adapters.frontend_database import FrontendDatabase
from adapters.frontend_database_format import FrontendConfig, TableSettings, digest_of
from adapters.frontend_database_simulator import Province, Run, on
from adapters.suite import AT, canned_batch
from gateway.adapter_contract import AdapterError, Row, RowResult, Secret

DAY = date(2026, 6, 1)
NUMERIC = {"CF_WSH": sa.String(128), "CF_NR_FK": sa.Numeric(18, 6), "CF_JDRQ": sa.Date, "CF_CFLB": sa.String(20)}
TEXTS = {"CF_WSH": sa.String(128), "CF_NR_FK": sa.String(32), "CF_JDRQ": sa.String(10), "CF_CFLB": sa.String(20)}
TABLE = TableSettings(
    name="CX_XZCF",
    fields=tuple(TEXTS),
    lengths={"CF_WSH": 20},
    dates=("CF_JDRQ",),
    amounts=("CF_NR_FK",),
    words={"CF_CFLB": {"fine": "罚款", "warning": "警告"}},
)


def row(rid: str, v: int = 1, op: str = "assert", dataset: str = "penalties", **fields: Any) -> Row:
    """One row as the core gives it."""
    said = {"CF_WSH": f"罚〔2026〕{rid}号", "CF_NR_FK": "1.2", "CF_JDRQ": "2026-03-02", "CF_CFLB": "fine"} | fields
    empty = op not in ("assert", "amend")
    return Row(rid=rid, v=v, op=op, dataset=dataset, reason="revoked" if empty else None, at=AT, fields={} if empty else said)


class Two:
    """A province and an adapter to it, on one database."""

    def __init__(self, run: Run, url: str, columns: Mapping[str, Any]) -> None:
        self.url = url
        self.province = Province(run, "penalties", "CX_XZCF", columns)

    @property
    def numbers(self) -> bool:
        """Whether the columns are numbers and days, not texts."""
        return self.url.startswith("postgresql")

    def adapter(self, **more: Any) -> FrontendDatabase:
        """With the settings of these tests."""
        said: dict[str, Any] = {"url": Secret(self.url), "tables": {"penalties": TABLE}, "dfbm": "220500", "page_rows": 2, **more}
        return FrontendDatabase(FrontendConfig(**said), None)

    async def deliver(self, number: int, *rows: Row, **more: Any) -> Sequence[RowResult]:
        """One batch of these rows, and what is written back about them already."""
        adapter = self.adapter(**more)
        try:
            given = await adapter.deliver(canned_batch(number, [adapter.encode(rows)]))
        finally:
            await adapter.close()
        assert given is not None
        return adapter.read_reply(given)

    async def pulled(self, since: str | None = None, **more: Any) -> tuple[list[tuple[str, int | None]], str]:
        """Ids and versions of everything after a cursor, and where it ends."""
        adapter = self.adapter(**more)
        pages = [page async for page in adapter.pull(since)]
        await adapter.close()
        return [(str(record.record_id), record.version) for page in pages for record in page.records], pages[-1].cursor

    async def answers(self, after: str | None = None) -> tuple[list[tuple[str, str | None]], str | None]:
        """(id, result) of everything written back after a cursor, and where it ends."""
        adapter = self.adapter()
        late = [each async for each in adapter.feedback(after)]
        await adapter.close()
        found = [(str(result.record_id), str(result.result)) for each in late for result in adapter.read_reply(each.data)]
        return found, late[-1].cursor if late else after


def elsewhere(url: str) -> Run:
    """The way to a database with an asynchronous driver, from outside its loop."""

    async def done(story: Callable[[sa.Connection], Any]) -> Any:
        engine = create_async_engine(url, poolclass=sa.NullPool)
        async with engine.begin() as connection:
            return await connection.run_sync(story)

    def run(story: Callable[[sa.Connection], Any]) -> Any:
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(lambda: asyncio.run(done(story))).result()

    return run


@pytest.fixture(params=["sqlite", "postgresql"])
def server(request: pytest.FixtureRequest) -> tuple[str, str] | None:
    """The addresses of PostgreSQL, or none: a file."""
    return None if request.param == "sqlite" else (request.getfixturevalue("pg_server"), request.getfixturevalue("pg_url"))


@pytest.fixture
async def two(server: tuple[str, str] | None, tmp_path: Path) -> AsyncIterator[Two]:
    """Both sides on a database of this test: text columns on SQLite, numbers and days on PostgreSQL."""
    if server is None:
        path = tmp_path / "province.db"
        engine = sa.create_engine(f"sqlite:///{path}", poolclass=sa.NullPool)
        yield Two(on(engine), f"sqlite+aiosqlite:///{path}", TEXTS)
        return
    maintenance, url = server
    name = f"p_{os.urandom(6).hex()}"
    connection = await asyncpg.connect(maintenance)
    await connection.execute(f"CREATE DATABASE {name}")
    address = make_url(url).set(database=name).render_as_string(hide_password=False)
    yield Two(elsewhere(address), address, NUMERIC)
    await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await connection.close()


async def test_rows_stand_as_the_tables_have_them(two: Two) -> None:
    """Days with slashes, six decimals, words of the partner, scope by name, null where there is nothing; the digest is over the texts."""
    assert await two.deliver(1, row("a"), row("b", CF_NR_FK=None, CF_JDRQ="2099-12-31", CF_CFLB=None)) == []
    first, second = two.province.rows()
    assert (first["OP"], first["DFBM"], first["SYFW"], first["BZ"], first["REC_V"]) == ("upsert", "220500", "社会公示", None, 1)
    assert first["BATCH_NO"] == "credit.tonghua.example/x/canned-line-2026.canned/1/1"
    assert first["SJC"] == datetime(2026, 6, 1, 10, 30)  # noqa: DTZ001  # of the table, UTC+8
    assert first["CF_CFLB"] == "罚款"
    if two.numbers:
        assert (first["CF_NR_FK"], first["CF_JDRQ"], second["CF_JDRQ"]) == (Decimal("1.200000"), date(2026, 3, 2), date(2099, 12, 31))
    else:
        assert (first["CF_NR_FK"], first["CF_JDRQ"], second["CF_JDRQ"]) == ("1.200000", "2026/03/02", "2099/12/31")
    assert (second["CF_NR_FK"], second["CF_CFLB"]) == (None, None)
    assert first["ROW_DIGEST"] == digest_of(["罚〔2026〕a号", "1.200000", "2026/03/02", "罚款"])
    assert second["ROW_DIGEST"] == digest_of(["罚〔2026〕b号", None, "2099/12/31", None])


@pytest.mark.parametrize(
    ("made", "code", "place"),
    [
        (row("a", CF_WSH="长" * 21), "SCHEMA_LENGTH", "2:CF_WSH"),
        (row("a", CF_CFLB="deportation"), "SCHEMA_ENUM", "2:CF_CFLB"),
        (row("a", CF_NR_FK="1.2345678"), "SCHEMA_TYPE", "2:CF_NR_FK"),
        (row("a", CF_NR_FK="1e400"), "SCHEMA_TYPE", "2:CF_NR_FK"),
        (row("a", CF_JDRQ="2026/03/02"), "SCHEMA_TYPE", "2:CF_JDRQ"),
        (row("a", CF_WSH="a\0b"), "SCHEMA_TYPE", "2:CF_WSH"),
        (row("a", CF_WSH="a\x1fb"), "SCHEMA_TYPE", "2:CF_WSH"),
        (row("a", CF_WSH="a\ud800b"), "SCHEMA_TYPE", "2:CF_WSH"),
        (row("a", MORE="x"), "SCHEMA_UNKNOWN", "2:MORE"),
        (row("a", dataset="honours"), "SCOPE_AGREEMENT", "2"),
        (row("a", op="merge"), "SCOPE_OP", "2"),
        (row("a" * 65), "SCHEMA_LENGTH", "2"),
    ],
)
def test_what_a_table_cannot_hold(made: Row, code: str, place: str) -> None:
    """Nothing is cut or coerced: the row and its field are named, the value is not."""
    adapter = FrontendDatabase(FrontendConfig(url=Secret("sqlite://"), tables={"penalties": TABLE}, dfbm="220500"), None)
    with pytest.raises(AdapterError) as refused:
        adapter.encode([row("ok"), made])
    assert (refused.value.code, refused.value.place, refused.value.transient) == (code, place, False)
    assert "长长" not in str(refused.value)


async def test_again_is_nothing_and_otherwise_is_an_error(two: Two) -> None:
    """The same row is there already; one key with another content is DUP_KEY with its row, and nothing of its batch stands."""
    await two.deliver(1, row("a"))
    await two.deliver(2, row("a"), row("b"))
    assert [(each["RECID"], each["BATCH_NO"][-1]) for each in two.province.rows()] == [("a", "1"), ("b", "2")]
    with pytest.raises(AdapterError) as refused:
        await two.deliver(3, row("c"), row("a", CF_NR_FK="9"))
    assert (refused.value.code, refused.value.place, refused.value.transient) == ("DUP_KEY", "CX_XZCF!2", False)
    assert [each["RECID"] for each in two.province.rows()] == ["a", "b"]


async def test_a_withdrawal_is_a_row_of_its_own(two: Two) -> None:
    """With a higher version, without business values, earlier rows untouched; an erasure likewise."""
    await two.deliver(1, row("a"))
    await two.deliver(2, row("a", 2, "repair"), row("b", 5, "erase"))
    old, gone, erased = two.province.rows()
    assert (old["OP"], old["CF_WSH"]) == ("upsert", "罚〔2026〕a号")
    assert [(each["REC_V"], each["OP"], each["OP_YY"], each["CF_WSH"], each["CF_NR_FK"]) for each in (gone, erased)] == [
        (2, "withdraw", "revoked", None, None),
        (5, "erase", "revoked", None, None),
    ]
    adapter = two.adapter()
    found = [record async for page in adapter.pull(None) for record in page.records]
    assert [(each.op, each.version, each.reason, each.fields) for each in found if each.op != "upsert"] == [
        ("withdraw", 2, "revoked", {}),
        ("erase", 5, "revoked", {}),
    ]
    assert found[0].fields["CF_NR_FK"] == "1.200000"
    assert found[0].fields["CF_JDRQ"] == "2026-03-02"
    assert found[0].fields["CF_CFLB"] == "fine"


async def test_answers_come_in_their_time_whatever_their_order(two: Two) -> None:
    """What is committed late, or changed, within the minutes of the look-back is found; nothing is given twice; unknown words are held."""
    await two.deliver(1, *(row(rid) for rid in "abcd"))
    noon = datetime(2026, 6, 1, 4, tzinfo=UTC)
    two.province.write_back([("a", 1, "00", None), ("b", 1, "10", "E17")], at=noon)
    first, cursor = await two.answers()
    assert first == [("a", "accepted"), ("b", "rejected")]
    assert await two.answers(cursor) == ([], cursor)
    two.province.write_back([("c", 1, "77", None)], at=noon - timedelta(minutes=4))  # committed later than its time says
    two.province.write_back([("b", 1, "00", None)], at=noon)  # said otherwise
    late, cursor = await two.answers(cursor)
    assert sorted(late) == [("b", "accepted"), ("c", "held")]
    two.province.write_back([("d", 1, "00", None)], at=noon + timedelta(minutes=1))
    assert (await two.answers(cursor))[0] == [("d", "accepted")]


async def test_rows_that_were_committed_late_are_read(two: Two) -> None:
    """A source gives what appears behind its cursor within five minutes, and never gives a row twice, few or many."""
    base = datetime(2026, 6, 1, 12)  # noqa: DTZ001  # of the table

    def put(*numbers: int, minute: int = 0) -> None:
        said = {"REC_V": 1, "OP": "upsert", "CF_WSH": "罚", "DFBM": "220500", "SJC": base + timedelta(minutes=minute)}
        two.province.put({"RECID": f"s{number:04d}", **said} for number in numbers)

    put(1, 3, 5)
    seen, cursor = await two.pulled()
    assert [rid for rid, _ in seen] == ["s0001", "s0003", "s0005"]
    put(2)
    put(4, minute=-4)
    put(6, minute=-6)  # too late: beyond the look-back
    late, cursor = await two.pulled(cursor)
    assert [rid for rid, _ in late] == ["s0004", "s0002"]
    put(7, minute=1)
    assert [rid for rid, _ in (await two.pulled(cursor))[0]] == ["s0007"]


async def test_more_rows_than_are_remembered_one_by_one(two: Two) -> None:
    """Where many rows stand in the look-back a late one brings them all again, once; without one nothing comes again."""
    base = datetime(2026, 6, 1, 12)  # noqa: DTZ001  # of the table
    made = [{"RECID": f"s{number:04d}", "REC_V": 1, "OP": "upsert", "DFBM": "220500", "SJC": base} for number in range(0, 240, 2)]
    two.province.run(lambda connection: connection.execute(sa.insert(two.province.table), made))
    seen, cursor = await two.pulled(page_rows=50)
    assert len(seen) == 120
    assert len(cursor) < 300
    assert (await two.pulled(cursor, page_rows=50))[0] == []
    two.province.put([{"RECID": "s0001", "REC_V": 1, "OP": "upsert", "DFBM": "220500", "SJC": base}])
    again, cursor = await two.pulled(cursor, page_rows=50)
    assert len(again) == 121
    assert (await two.pulled(cursor, page_rows=50))[0] == []


async def test_of_a_look_back_of_thousands_the_newest_are_looked_at(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where more rows stand in the look-back than are looked at, a row that comes late just before the last one is read all the same."""
    monkeypatch.setattr(frontend_database_walk, "MOST_LATE", 120)
    base = datetime(2026, 6, 1, 12)  # noqa: DTZ001  # of the table
    said = {"REC_V": 1, "OP": "upsert", "DFBM": "220500"}
    made = [{"RECID": f"s{number:04d}", "SJC": base + timedelta(seconds=number), **said} for number in range(200)]
    two.province.run(lambda connection: connection.execute(sa.insert(two.province.table), made))
    _, cursor = await two.pulled(page_rows=100)
    two.province.put([{"RECID": "late", "SJC": base + timedelta(seconds=190), **said}])
    again, cursor = await two.pulled(cursor, page_rows=100)
    assert "late" in [rid for rid, _ in again]
    assert (await two.pulled(cursor, page_rows=100))[0] == []


async def test_answers_without_a_time_are_told(two: Two) -> None:
    """An answer that has no time, like a row of a table that lets it be null, is read by nobody: a check says how many there are."""
    await two.deliver(1, row("a"))
    assert all(each.ok for each in await two.adapter().check())
    table = two.province.table
    two.province.run(lambda connection: connection.execute(sa.update(table).where(table.c.RECID == "a").values(FK_ZT="00", FK_SJ=None)))
    found = [each for each in await two.adapter().check() if not each.ok]
    assert [(each.what, "1 条反馈没有 FK_SJ" in each.message) for each in found] == [("时间列", True)]


async def test_both_sides_count_a_day(two: Two) -> None:
    """Number and digest of what we wrote stand in the reconciliation table; a tampered row and a wrong digest show."""
    await two.deliver(1, row("a"), row("b"))
    two.province.count(DAY)
    adapter = two.adapter()

    async def sides() -> dict[str, tuple[int, str | None]]:
        return {each.side: (each.rows, each.digest) for each in await adapter.counts(DAY)}

    both = await sides()
    assert both["sent"] == both["recv"]
    lines = b"".join(f"{each['RECID']}|1|{each['ROW_DIGEST']}\n".encode() for each in two.province.rows())
    assert both["sent"][1] == sha256(lines).hexdigest()
    ours = two.province.run(lambda connection: connection.execute(sa.select(two.province.counted)).mappings().all())
    assert {(each["SIDE"], each["ROWS_N"], each["ROWS_DIGEST"]) for each in ours} == {(side, *both["sent"]) for side in ("sent", "recv")}
    two.province.count(DAY, digest="0" * 64)
    assert (await sides())["recv"] == (2, "0" * 64)
    two.province.lose("b")
    assert (await sides())["sent"][0] == 1
    await two.deliver(2, row("c"))
    assert [each.rows for each in await adapter.counts(DAY + timedelta(days=1))] == [0]


async def test_sql_faults_are_told_by_class_and_row(two: Two) -> None:
    """A missing table or column, and a value that the database refuses, are final, named by class and row, and hold no value."""
    wrong = msgspec.structs.replace(TABLE, columns={"CF_CFLB": "NO_SUCH"})
    for table, code, place in (
        (msgspec.structs.replace(TABLE, name="NO_SUCH"), "SCHEMA_TABLE", "NO_SUCH"),
        (wrong, "SCHEMA_COLUMN", "CX_XZCF.NO_SUCH"),
    ):
        with pytest.raises(AdapterError) as refused:
            await two.deliver(1, row("a"), tables={"penalties": table})
        assert (refused.value.code, refused.value.place, refused.value.transient) == (code, place, False)
    rule = "CREATE TRIGGER strict BEFORE INSERT ON \"CX_XZCF\" WHEN NEW.\"RECID\" = 'b' BEGIN SELECT RAISE(ABORT, 'no'); END"
    if two.numbers:
        rule = 'ALTER TABLE "CX_XZCF" ADD CONSTRAINT strict CHECK ("RECID" <> \'b\')'
    two.province.run(lambda connection: connection.exec_driver_sql(rule))
    with pytest.raises(AdapterError) as refused:
        await two.deliver(1, row("a"), row("b"))
    assert refused.value.code == ("SQL_23514" if two.numbers else "SQL_INTEGRITYERROR")
    assert (refused.value.place, refused.value.transient, "罚" in str(refused.value)) == ("CX_XZCF!2", False, False)
    assert two.province.rows() == []


async def test_a_connection_that_is_cut(two: Two) -> None:
    """Cut in the middle of a batch, or when it would be kept, nothing stands there, and the next try brings it whole."""
    if not two.numbers:
        pytest.skip("a file has no connection that could be cut")
    cut = (
        "CREATE FUNCTION cut() RETURNS trigger AS $$ BEGIN IF NEW.\"RECID\" = 'b' THEN PERFORM pg_terminate_backend(pg_backend_pid()); "
        "END IF; RETURN NEW; END $$ LANGUAGE plpgsql"
    )
    two.province.run(lambda connection: connection.exec_driver_sql(cut))
    for how in ("TRIGGER cutting", "CONSTRAINT TRIGGER cutting"):
        late = " DEFERRABLE INITIALLY DEFERRED" if "CONSTRAINT" in how else ""
        rule = f'CREATE {how} AFTER INSERT ON "CX_XZCF"{late} FOR EACH ROW EXECUTE FUNCTION cut()'
        two.province.run(lambda connection, rule=rule: connection.exec_driver_sql(rule))
        with pytest.raises(AdapterError) as refused:
            await two.deliver(1, row("a"), row("b"), row("c"))
        assert (refused.value.code, refused.value.transient) == ("UNAVAILABLE", True)
        assert refused.value.outcome_unknown == bool(late)
        assert two.province.rows() == []
        two.province.run(lambda connection: connection.exec_driver_sql('DROP TRIGGER cutting ON "CX_XZCF"'))
    await two.deliver(1, row("a"), row("b"), row("c"))
    assert [each["RECID"] for each in two.province.rows()] == ["a", "b", "c"]


async def test_answers_that_were_read_may_be_taken_away(two: Two) -> None:
    """Whoever tidies its table takes the newest answer away too; what is said later is read all the same, and a blank status is none."""
    await two.deliver(1, *(row(rid) for rid in "abc"))
    noon = datetime(2026, 6, 1, 4, tzinfo=UTC)
    two.province.write_back([("a", 1, "00", None)], at=noon)
    two.province.write_back([("b", 1, "00", None)], at=noon + timedelta(hours=1))
    first, cursor = await two.answers()
    assert first == [("a", "accepted"), ("b", "accepted")]
    two.province.lose("b")
    assert await two.answers(cursor) == ([], cursor)
    two.province.write_back([("c", 1, "  ", None)], at=noon + timedelta(hours=2))
    nothing, cursor = await two.answers(cursor)
    assert nothing == []
    two.province.write_back([("c", 1, "10", "E1")], at=noon + timedelta(hours=2))
    assert (await two.answers(cursor))[0] == [("c", "rejected")]


async def test_a_half_written_row_stops_no_other(two: Two) -> None:
    """A row without a version, an id or a time has no place in the order: the others are read, and a person is told."""
    columns = '"RECID" varchar(64), "REC_V" integer, "OP" varchar(8), "CF_WSH" varchar(128), "DFBM" varchar(6), "SJC" timestamp'
    two.province.run(lambda connection: connection.exec_driver_sql(f'CREATE TABLE "OPEN" ({columns})'))

    def written(*rows: str) -> None:
        for each in rows:
            sql = f'INSERT INTO "OPEN" VALUES ({each})'
            two.province.run(lambda connection, sql=sql: connection.exec_driver_sql(sql))

    more: dict[str, Any] = {"tables": {"penalties": TableSettings(name="OPEN", fields=("CF_WSH",))}, "page_rows": 2}
    written(
        "'a', 1, 'upsert', 'x', '220500', '2026-06-01 10:00:00.000000'",
        "'b', NULL, 'upsert', 'x', '220500', '2026-06-01 10:01:00.000000'",
    )
    found, cursor = await two.pulled(**more)
    assert found == [("a", 1)]
    written(
        "NULL, 1, 'upsert', 'x', '220500', '2026-06-01 10:02:00.000000'",
        "'c', 1, 'upsert', 'x', '220500', NULL",
        "'d', 1, 'upsert', 'x', '220500', '2026-06-01 10:03:00.000000'",
    )
    assert (await two.pulled(cursor, **more))[0] == [("d", 1)]
    told = [each.message for each in await two.adapter(**more).check() if each.what == "时间列"]
    assert told == []  # columns are missing, which is said instead
    more_columns = ("SYFW", "BATCH_NO", "ROW_DIGEST", "FK_ZT", "FK_SJ")
    for column in more_columns:
        kind = "timestamp" if column == "FK_SJ" else "varchar(160)"
        sql = f'ALTER TABLE "OPEN" ADD COLUMN "{column}" {kind}'
        two.province.run(lambda connection, sql=sql: connection.exec_driver_sql(sql))
    told = [each.message for each in await two.adapter(**more).check() if each.what == "时间列"]
    assert told == [f"表 OPEN 有 1 条行没有 {column}，不会被读取" for column in ("SJC", "RECID", "REC_V")]


async def test_what_one_table_lacks_stops_no_other(two: Two) -> None:
    """Rows, answers and counts of the other tables come, and the fault is told after them."""
    await two.deliver(1, row("a"), row("b"))
    two.province.write_back([("a", 1, "00", None)])
    tables = {"licences": msgspec.structs.replace(TABLE, name="NO_SUCH"), "penalties": TABLE}
    adapter = two.adapter(tables=tables)
    ids: list[str | None] = []
    with pytest.raises(AdapterError) as lacks:
        async for page in adapter.pull(None):
            ids += [record.record_id for record in page.records]
            assert page.more
    assert (lacks.value.code, ids) == ("SCHEMA_TABLE", ["a", "b"])
    answered: list[str | None] = []
    with pytest.raises(AdapterError) as lacks:
        async for late in adapter.feedback(None):
            answered += [result.record_id for result in adapter.read_reply(late.data)]
    assert (lacks.value.code, answered) == ("SCHEMA_TABLE", ["a"])
    assert {each.dataset for each in await adapter.counts(DAY)} == {"penalties"}


async def test_a_table_without_a_key_takes_a_row_once(two: Two) -> None:
    """What the table does not refuse is looked for first: a batch that comes again doubles nothing, nor changes it; the check tells."""
    columns = [sa.Column(each.name, each.type) for each in two.province.table.columns]
    two.province.run(sa.Table("OPEN", sa.MetaData(), *columns).create)
    more: dict[str, Any] = {"tables": {"penalties": msgspec.structs.replace(TABLE, name="OPEN")}}
    await two.deliver(1, row("a"), row("b"), **more)
    await two.deliver(1, row("a"), row("b"), **more)
    with pytest.raises(AdapterError) as refused:
        await two.deliver(2, row("b", CF_NR_FK="9"), **more)
    assert refused.value.code == "DUP_KEY"
    assert two.province.run(lambda connection: connection.exec_driver_sql('SELECT count(*) FROM "OPEN"').scalar()) == 2
    bad = [each for each in await two.adapter(**more).check() if not each.ok]
    assert [(each.what, "没有 RECID, REC_V 的主键" in each.message) for each in bad] == [("表", True)]


async def test_a_legacy_table_takes_only_what_stays(two: Two) -> None:
    """The plain profile has no versions: it loses withdrawals, refuses whatever is no first word, and is read without versions."""
    columns = '"RECID" varchar(64) PRIMARY KEY, "CF_WSH" varchar(128), "DFBM" varchar(6), "SJC" timestamp, "SYFW" varchar(16)'
    sql = f'CREATE TABLE "OLD" ({columns})'
    two.province.run(lambda connection: connection.exec_driver_sql(sql))
    old = TableSettings(name="OLD", fields=("CF_WSH",))
    more: dict[str, Any] = {"profile": "plain", "tables": {"penalties": old}}
    adapter = two.adapter(**more)
    assert "withdrawals" not in adapter.capabilities
    for op in ("retract", "amend"):
        with pytest.raises(AdapterError) as refused:
            adapter.encode([Row(rid="a", v=2, op=op, dataset="penalties", reason=None, at=AT, fields={"CF_WSH": "x"})])
        assert refused.value.code == "SCOPE_OP"
    first = Row(rid="a", v=1, op="assert", dataset="penalties", reason=None, at=AT, fields={"CF_WSH": "x"})
    await two.deliver(1, first, **more)
    await two.deliver(1, first, **more)
    with pytest.raises(AdapterError) as refused:
        await two.deliver(2, msgspec.structs.replace(first, fields={"CF_WSH": "y"}), **more)
    assert refused.value.code == "DUP_KEY"
    assert (await two.pulled(**more))[0] == [("a", None)]


async def test_a_check_says_what_is_missing(two: Two) -> None:
    """Tables, columns, scopes and the reconciliation table are looked for; each fault says what to do."""
    adapter = two.adapter()
    assert all(each.ok for each in await adapter.check())
    wrong = {"penalties": msgspec.structs.replace(TABLE, columns={"CF_CFLB": "NO_SUCH"}, scope="nobody")}
    adapter = two.adapter(tables=wrong, reconciliation="NO_DZ")
    bad = [each for each in await adapter.check() if not each.ok]
    assert [each.what for each in bad] == ["列", "范围", "对账"]
    assert all(each.remedy for each in bad)


@pytest.mark.parametrize("url", ["nothing", "nosuch://x/y", "postgresql+nosuch://x/y"])
async def test_an_address_that_is_none(url: str) -> None:
    """A wrong address is a fault of the settings, and is not told."""
    adapter = FrontendDatabase(FrontendConfig(url=Secret(url), tables={"penalties": TABLE}, dfbm="220500"), None)
    with pytest.raises(AdapterError) as refused:
        await adapter.counts(DAY)
    assert (refused.value.code, refused.value.transient, url in str(refused.value)) == ("CONFIG", False, False)

"""The audit trail: what is written, that nothing in it can be changed unseen, and what an auditor takes home; on both databases."""

import asyncio
import re
import sqlite3
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from gateway import settings as settings_room
from gateway.commands.office import Office
from gateway.core.audit.chain import COLUMNS
from gateway.core.errors import RoleMissing, SettingsError, StoreError
from gateway.operations.alarms import Condition, keep, raise_alarm, standing
from gateway.operations.audit_folder import write_folder
from gateway.operations.keep_audit import checkpoint, head_path, retire
from gateway.operations.manage_keys import write_key
from gateway.operations.read_audit import export_audit, read_audit
from gateway.operations.record_access import audit_refusal
from gateway.operations.verify_audit import Verified, verify_folder, verify_store
from gateway.services import Services, open_services
from gateway.settings import Clock
from gateway.store import audit, audit_log
from gateway.store.audit import Said, Wanted, subject_hmacs
from gateway.store.tables import audit as rows_table
from gateway.store.tables import audit_checkpoints, audit_partitions
from gateway.store.tables import audit_log as log_table
from tests import commands
from tests.administrators import enrolled
from tests.house import a_gateway, write_settings

NOW = "2026-06-01T02:30:00Z"
DAY = "2026-06-01"


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> str:
    """Where the gateway of a test keeps its rows, on each kind of database in turn."""
    return "" if request.param == "sqlite" else str(request.getfixturevalue("pg_database"))


@pytest.fixture
async def house(database: str, tmp_path: Path) -> AsyncIterator[Services]:
    """A gateway with keys and policies."""
    async with a_gateway(tmp_path, database=database, CHENGXIN_NOW=NOW) as services:
        yield services


sqlite = pytest.mark.parametrize("database", [""])


def access(services: Services, number: int = 1) -> Said:
    """What a department was shown, with every column filled."""
    return Said(
        actor="app/app-1",
        act="data.read",
        target="department",
        org="11220500XXT0001181",
        unit="220500",
        app="app-1",
        credential="thumbprint",
        purpose="dept.supervision",
        dataset="administrative-penalties",
        plan_hash="a" * 64,
        policy_version=1,
        treatments="natural keep=2",
        row_count=number,
        shape="decision_date:gte",
        subjects=subject_hmacs(services.store.vault, [f"sub_{number}", "sub_x"]),
        case_ref=f"通案-{number}",
    )


async def fill(services: Services) -> list[dict[str, Any]]:
    """Acts, accesses and a refusal over two checkpoints (the first activation has one of its own), and a young row.

    Where the partitions ended at the first of the two is given back: who reads the database may have kept it.
    """
    ends: list[dict[str, Any]] = []
    for number in (1, 2):
        async with services.store.transaction() as tx:
            for _ in range(3):
                await audit.write(tx, "clerk", "record.withdraw", f"rec_{number}", {"count": number}, subjects=["sub_1"])
        await services.trail.append([access(services, number), access(services, number + 1)])
        await audit_refusal(services, "api", "unknown", "192.0.2.77")
        await services.trail.flush()
        assert await checkpoint(services) is not None
        ends = ends or [row._asdict() for row in await services.store.reads.all(sa.select(audit_partitions))]
    await services.trail.append([access(services, 9)])
    return ends


async def test_rows_say_who_saw_what(house: Services) -> None:
    """Every kind of row is read back; values stand nowhere, a case reference only as ciphertext, a network only in part."""
    await fill(house)
    seen = await audit.rows(house.store.reads, Wanted(kind="access"))
    assert [row.case_ref for row in seen] == ["通案-1", "通案-2", "通案-2", "通案-3", "通案-9"]
    assert [row.row_count for row in seen] == [1, 2, 2, 3, 9]
    assert len({row.subjects[0] for row in seen} | {row.subjects[1] for row in seen}) == 5
    refused = await audit.rows(house.store.reads, Wanted(kind="refusal"))
    assert [(row.actor, row.shape, row.target, row.row_count) for row in refused] == [("door/api", "unknown", "192.0.2.0/24", 1)] * 2
    acts = await audit.rows(house.store.reads, Wanted(act="record.withdraw"), limit=4)
    assert [(row.n > 0, row.detail) for row in acts] == [(True, {"count": 1})] * 3 + [(True, {"count": 2})]
    after = acts[-1]
    more = await audit.rows(house.store.reads, Wanted(act="record.withdraw"), after=(after.day, after.writer, after.n))
    assert len(more) == 2
    stored = await house.store.reads.all(sa.select(rows_table))
    assert "通案".encode() not in b"".join(bytes(row.case_ref) for row in stored if row.case_ref is not None)


async def _found(services: Services, *statements: sa.Executable, known: tuple[str, ...] = ()) -> Verified:
    """What a verification says after these statements, which are then undone."""
    result: list[Verified] = []
    with pytest.raises(ZeroDivisionError):
        async with services.store.transaction() as tx:
            for statement in statements:
                await tx.execute(statement)
            result.append(await verify_store(services, source=tx, known_notes=known))
            raise ZeroDivisionError
    return result[0]


OTHER: dict[str, Any] = {
    "day": "2026-06-02", "writer": "other", "n": 99, "at": "2026-06-01T02:31:00Z", "kind": "act", "policy_version": 2, "row_count": 7,
    "subjects": b"\x01" + b"s" * 16, "case_ref": b"x" * 60, "detail": b"x" * 60,
}  # fmt: skip


async def test_no_column_of_no_row_can_be_changed(house: Services) -> None:
    """An altered value in any column of a sealed, or a young, row is found at that row; so is an altered link."""
    await fill(house)
    whole = await verify_store(house)
    assert (whole.ok, whole.checkpoints, whole.unsealed) == (True, 3, 1), whole
    writer = f"p{house.trail.process}"
    for number in (2, 5):
        at = sa.and_(rows_table.c.day == DAY, rows_table.c.writer == writer, rows_table.c.n == number)
        for column in (*COLUMNS, "link"):
            value = OTHER.get(column, b"y" * 32 if column == "link" else "other")
            bad = await _found(house, sa.update(rows_table).where(at).values({column: value}))
            assert bad.fault is not None, column
            if column != "day":
                assert (bad.fault.place, bad.fault.index) in {(f"{DAY}/{writer}", number), (f"{DAY}/other", 1)}, (column, bad.fault)
        emptied = await _found(house, sa.update(rows_table).where(at).values(purpose=None))
        assert emptied.fault is not None
        assert emptied.fault.index == number
    assert (await verify_store(house)).ok


async def test_nothing_can_be_cut_added_or_moved(house: Services) -> None:
    """Missing, added and reordered rows, a whole partition, entries and checkpoints are each found at the first place that is wrong."""
    await fill(house)
    writer = f"p{house.trail.process}"
    own = sa.and_(rows_table.c.day == DAY, rows_table.c.writer == writer)

    def renumber(old: int, new: int) -> sa.Update:
        return sa.update(rows_table).where(own, rows_table.c.n == old).values(n=new)

    def moved(**values: Any) -> sa.Update:
        return sa.update(audit_partitions).where(audit_partitions.c.day == DAY, audit_partitions.c.writer == writer).values(**values)

    copied = (await house.store.reads.all(sa.select(rows_table).where(own, rows_table.c.n == 1)))[0]._asdict()
    third = audit_checkpoints.c.number == 3
    unsaid = sa.delete(audit_partitions).where(audit_partitions.c.writer == writer)
    gone = sa.delete(rows_table).where(own, rows_table.c.n == 5)
    fourth = sa.select(rows_table.c.link).where(own, rows_table.c.n == 4).scalar_subquery()
    cases = {
        "a row is gone": ((sa.delete(rows_table).where(own, rows_table.c.n == 3),), f"{DAY}/{writer}", 3),
        "the last sealed row is gone": ((sa.delete(rows_table).where(own, rows_table.c.n >= 4),), f"{DAY}/{writer}", 4),
        "two rows are exchanged": ((renumber(2, 77), renumber(3, 2), renumber(77, 3)), f"{DAY}/{writer}", 2),
        "a partition is gone": ((sa.delete(rows_table).where(own), unsaid), f"{DAY}/{writer}", 1),
        "the young end is gone": ((sa.delete(rows_table).where(own, rows_table.c.n == 5),), f"{DAY}/{writer}", 5),
        "its end was moved back too": ((gone, moved(size=4, link=fourth)), f"{DAY}/{writer}", 4),
        "the end was moved on": ((moved(size=6),), f"{DAY}/{writer}", 6),
        "the end is another": ((moved(link=b"y" * 32),), f"{DAY}/{writer}", 5),
        "nothing says where the end is": ((unsaid,), f"{DAY}/{writer}", 1),
        "a row before the first": ((sa.insert(rows_table).values({**copied, "n": 0}),), f"{DAY}/{writer}", 1),
        "a row in another's place": ((sa.insert(rows_table).values({**copied, "writer": "q", "n": 1}),), f"{DAY}/q", 1),
        "an entry is altered": ((sa.update(log_table).where(log_table.c.idx == 2).values(body=b"{}"),), "log", 2),
        "an entry is gone": ((sa.delete(log_table).where(log_table.c.idx == 1),), "log", 1),
        "an entry is filed elsewhere": ((sa.update(log_table).where(log_table.c.idx == 1).values(writer="q"),), "log", 1),
        "entries are cut off": ((sa.delete(log_table).where(log_table.c.idx >= 4),), "log", 4),
        "a checkpoint is forged": ((sa.update(audit_checkpoints).where(third).values(note="x"),), "checkpoints", 3),
        "a checkpoint is missing": ((sa.delete(audit_checkpoints).where(~third),), "checkpoints", 1),
        "the end is cut off": (
            (
                sa.delete(audit_checkpoints).where(third),
                sa.delete(log_table).where(log_table.c.idx >= 4),
                sa.delete(rows_table).where(own, rows_table.c.n > 2),
            ),
            "log",
            4,
        ),
        "an entry without a checkpoint": (
            (sa.delete(audit_checkpoints).where(third),),
            "log",
            4,
        ),
    }  # fmt: skip
    for name, (statements, place, index) in cases.items():
        bad = await _found(house, *statements)
        assert bad.fault is not None, name
        assert (bad.fault.place, bad.fault.index) == (place, index), (name, bad.fault)


@sqlite
async def test_a_rewritten_tail_is_found_by_a_kept_checkpoint(house: Services) -> None:
    """Whoever cuts rows, entries and checkpoints alike, and the file beside them, is found by a copy of a published checkpoint."""
    ends = await fill(house)
    newest = (await audit_log.newest(house.store.reads))[0].head
    head_path(house).unlink()
    cut = (
        sa.delete(audit_checkpoints).where(audit_checkpoints.c.number == 3),
        sa.delete(log_table).where(log_table.c.idx >= 4),
        sa.delete(audit_partitions),
        sa.insert(audit_partitions).values(ends),
        sa.delete(rows_table).where(rows_table.c.writer.like("p%"), rows_table.c.n > 2),
        sa.delete(rows_table).where(rows_table.c.writer.like("n%"), rows_table.c.n > 1),
        sa.delete(rows_table).where(rows_table.c.writer == "office", rows_table.c.act == "record.withdraw", rows_table.c.target == "rec_2"),
    )
    assert (await _found(house, *cut)).ok, "nothing inside the database tells"
    bad = await _found(house, *cut, known=(newest.note,))
    assert bad.fault is not None
    assert (bad.fault.place, bad.fault.index) == ("log", 4)
    with pytest.raises(SettingsError, match="audit-checkpoint"):
        await verify_store(house, known_notes=("no note",))


async def test_nothing_is_signed_over_a_broken_trail(house: Services) -> None:
    """After a sealed part was changed no further checkpoint is made, and the place is told."""
    await fill(house)
    await raise_alarm(house, "audit-broken", "audit", {})  # stands already: each damage is undone with every row written since
    writer = f"p{house.trail.process}"
    own = audit_partitions.c.writer == writer
    for damage in (
        sa.update(audit_partitions).where(own).values(tree=b"\0" * 32),
        sa.update(audit_partitions).where(own).values(sealed=0, tree=b""),
        sa.update(audit_checkpoints).where(audit_checkpoints.c.number == 3).values(tree=b"\0" * 64),
        sa.update(audit_checkpoints).where(audit_checkpoints.c.number == 3).values(note="x"),
        sa.delete(rows_table).where(rows_table.c.writer == writer, rows_table.c.n == 5),
    ):
        before = await _dump(house)
        async with house.store.transaction() as tx:
            await tx.execute(damage)
        with pytest.raises(StoreError, match="audit-broken"):
            await checkpoint(house)
        await _restore(house, before)
    assert await checkpoint(house) is not None


TABLES = (rows_table, audit_partitions, log_table, audit_checkpoints)


async def _dump(services: Services) -> list[list[dict[str, Any]]]:
    return [[row._asdict() for row in await services.store.reads.all(sa.select(table))] for table in TABLES]


async def _restore(services: Services, dumped: list[list[dict[str, Any]]]) -> None:
    async with services.store.transaction() as tx:
        for table, rows in zip(TABLES, dumped, strict=True):
            await tx.execute(sa.delete(table))
            await tx.execute(sa.insert(table), rows)


async def _refused(services: Services) -> str:
    """Where the trail is said to be broken by a round that signs nothing; an alarm stands then."""
    with pytest.raises(StoreError) as told:
        await checkpoint(services)
    assert told.value.code == "audit-broken"
    assert [(each.kind, each.target) for each in await standing(services)] == [("audit-broken", "audit")]
    return told.value.place or ""


async def _put(services: Services, *statements: sa.Executable) -> None:
    async with services.store.transaction() as tx:
        for statement in statements:
            await tx.execute(statement)


async def test_a_shortened_trail_is_not_signed(house: Services) -> None:
    """Rows and end cut alike to a state that was once there: who wrote more does not sign it, nor does who once signed more."""
    await raise_alarm(house, "audit-broken", "audit", {})  # stands already: the rows written since are exchanged below
    writer = f"p{house.trail.process}"
    own = sa.and_(rows_table.c.day == DAY, rows_table.c.writer == writer)
    await house.trail.append([access(house)])
    kept = await _dump(house)
    await house.trail.append([access(house, 2)])
    whole = await _dump(house)
    await _restore(house, kept)
    assert (await verify_store(house)).ok, "nothing inside the database tells"
    assert await _refused(house) == f"{DAY}/{writer}#2"
    await _put(house, sa.delete(rows_table).where(own), sa.delete(audit_partitions).where(audit_partitions.c.writer == writer))
    assert await _refused(house) == f"{DAY}/{writer}#1", "the partition is gone without a trace"
    await _restore(house, whole)
    assert await checkpoint(house) is not None
    assert await standing(house) == [], "the alarm is over with its cause"

    longer = await _dump(house)
    await _restore(house, whole)
    assert (await _refused(house)).startswith("log#"), "this process signed more"
    async with open_services(house.settings) as later:
        assert (await _refused(later)).startswith("log#"), "the head beside the database says more"
        head_path(later).unlink()
    await _restore(house, longer)
    async with open_services(house.settings) as later:
        await later.trail.append([access(later, 3)])
        assert await checkpoint(later) is not None
        assert (await verify_store(later)).ok


async def test_a_forked_head_is_not_signed_on(house: Services) -> None:
    """The log was taken back and went on otherwise under another process: the one that knows better says so."""
    await checkpoint(house)
    kept = await _dump(house)
    await house.trail.append([access(house)])
    await checkpoint(house)
    await _restore(house, kept)
    head_path(house).unlink()
    async with open_services(house.settings) as other:
        await other.trail.append([access(other, 2), access(other, 3)])
        assert await checkpoint(other) is not None
        async with other.store.transaction() as tx:
            await audit.write(tx, "clerk", "grant.revoke", "grant/x", {})
    head_path(house).unlink()
    assert (await _refused(house)).startswith("log#")


async def test_an_act_of_administration_is_never_unsealed(house: Services) -> None:
    """It is under a checkpoint when its transaction ends; daily work is not; over a broken trail it stands, with an alarm."""
    before = (await audit_log.newest(house.store.reads))[0].head.number
    async with house.store.transaction() as tx:
        await audit.write(tx, "gateway", "record.expire", "records", {"count": 1})
    await house.trail.append([access(house)])
    assert (await verify_store(house)).unsealed == 2
    house.store.clock = Clock(fixed=datetime.fromisoformat(NOW) + timedelta(minutes=4))
    for number, act in enumerate(("policy.activate", "app.suspend", "grant.revoke", "key.new", "subject.shred", "audit.read"), before + 1):
        async with house.store.transaction() as tx:
            await audit.write(tx, "admin:lin", act, "x", {})
        found = await verify_store(house)
        assert (found.ok, found.unsealed, found.checkpoints) == (True, 0, number), act
    with pytest.raises(ZeroDivisionError):
        async with house.store.transaction() as tx:
            await audit.write(tx, "admin:lin", "grant.revoke", "x", {})
            raise ZeroDivisionError
    assert (await audit_log.newest(house.store.reads))[0].head.number == number
    assert head_path(house).read_text() == (await audit_log.newest(house.store.reads))[0].head.note
    await _put(house, sa.update(audit_checkpoints).where(audit_checkpoints.c.number == number).values(note="x"))
    async with house.store.transaction() as tx:
        await audit.write(tx, "admin:lin", "policy.activate", "x", {})
    assert (await audit.rows(house.store.reads, Wanted(act="policy.activate", actor="admin:lin")))[-1].target == "x"
    assert [each.kind for each in await standing(house)] == ["audit-broken"]


async def test_an_auditor_takes_the_trail_home(house: Services, tmp_path: Path) -> None:
    """An exported folder verifies without the gateway; each of its lines is needed, and none holds a clear value."""
    await fill(house)
    assert await checkpoint(house) is not None
    folder = tmp_path / "audit"
    done = await write_folder(house, folder, from_day=DAY, to_day=DAY)
    found = await verify_folder(folder)
    assert (found.ok, found.rows, found.checkpoints, found.unsealed) == (True, done.rows, 4, 0), found
    assert b"\xe9\x80\x9a\xe6\xa1\x88" not in (folder / "rows.ndjson").read_bytes()
    keys = [key.signer.vkey for key in house.signers.keys]
    assert (await verify_folder(folder, vkeys=[each for each in keys if "/audit+" in each])).ok
    strange = await verify_folder(folder, vkeys=[keys[0]])
    assert strange.fault is not None
    assert strange.fault.place == "checkpoints"
    for name in ("rows.ndjson", "log.ndjson", "checkpoints.ndjson"):
        path = folder / name
        lines = path.read_bytes().splitlines(keepends=True)
        for place in range(len(lines)):
            path.write_bytes(b"".join(lines[:place] + lines[place + 1 :]))
            if name == "checkpoints.ndjson" and place == len(lines) - 1:
                assert (await verify_folder(folder)).fault is not None
            assert not (await verify_folder(folder)).ok, (name, place)
        path.write_bytes(b"".join(lines))
    row = lines_of(folder / "rows.ndjson")[-1]
    row[0]["org"] = "other"
    path = folder / "rows.ndjson"
    path.write_bytes(b"".join([*path.read_bytes().splitlines(keepends=True)[:-1], msgspec.json.encode(row), b"\n"]))
    assert not (await verify_folder(folder)).ok
    with pytest.raises(SettingsError, match="audit-folder"):
        await write_folder(house, folder, from_day=DAY, to_day=DAY)
    (folder / "about.json").unlink()
    with pytest.raises(SettingsError, match="audit-folder"):
        await verify_folder(folder)


def lines_of(path: Path) -> list[Any]:
    return [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]


async def test_a_partition_goes_whole_and_later_proofs_verify(database: str, tmp_path: Path) -> None:
    """After ten years rows are deleted, refusals after half a year; the log keeps their roots, and a row put back is found."""
    async with a_gateway(tmp_path, database=database, CHENGXIN_NOW=NOW) as services:
        await fill(services)
        await checkpoint(services)
        kept = [row._asdict() for row in await services.store.reads.all(sa.select(rows_table).where(rows_table.c.writer == "office"))]
        assert await retire(services, by="test") == 0
    for now, deleted, left in (("2027-01-01T02:30:00Z", 1, {"office", "p"}), ("2036-06-02T02:30:00Z", 2, {"office"})):
        config = settings_room.load(tmp_path / "chengxin.toml", {"CHENGXIN_NOW": now, "CHENGXIN_DATABASE": database})
        write_key(config, "audit", number=int(now[:4]), not_before=datetime.fromisoformat(now))
        async with open_services(config) as services:
            assert await retire(services, by="test") == deleted
            await checkpoint(services)
            writers = {
                row.writer[:1] if row.writer != "office" else "office" for row in await services.store.reads.all(sa.select(rows_table))
            }
            assert writers == left
            found = await verify_store(services)
            assert found.ok, found
    async with open_services(config) as services:
        back = [row for row in kept if row["n"] == 1]
        bad = await _found(services, sa.insert(rows_table).values(back))
        assert bad.fault is not None
        assert (bad.fault.place, bad.fault.index) == (f"{DAY}/office", 1)


async def test_calls_share_a_commit_and_a_failure_reaches_each(house: Services) -> None:
    """Calls that come together are numbered without a gap; when the trail cannot be written each hears it, and it goes on."""
    await asyncio.gather(*(house.trail.append([access(house, number)]) for number in range(50)))
    async with house.store.transaction() as tx:
        await tx.execute(sa.text("ALTER TABLE audit RENAME TO audit_away"))
    failed = await asyncio.gather(*(house.trail.append([access(house, number)]) for number in range(5)), return_exceptions=True)
    assert {type(each) for each in failed} == {StoreError}
    assert house.trail.failing
    async with house.store.transaction() as tx:
        await tx.execute(sa.text("ALTER TABLE audit_away RENAME TO audit"))
    await house.trail.append([access(house)])
    assert house.trail.failing is False
    rows = await audit.rows(house.store.reads, Wanted(kind="access"))
    assert [row.n for row in rows] == list(range(1, 52))
    assert (await verify_store(house)).ok


@sqlite
async def test_a_condition_is_an_alarm_while_it_lasts(house: Services) -> None:
    """Raised once, ended by who raised it, and once by who finds it good that stood before it began; no news changes nothing."""

    def so(bad: bool | None) -> list[Condition]:
        return [Condition(kind="audit-unavailable", target="audit", bad=bad, detail={"n": 1})]

    one: dict[tuple[str, str], bool] = {}
    other: dict[tuple[str, str], bool] = {}
    for bad, told, there in ((None, one, 0), (True, one, 1), (True, one, 1), (None, other, 1), (False, one, 0), (True, other, 1)):
        await keep(house, so(bad), told)
        assert len(await standing(house)) == there
    await keep(house, so(False), one)
    assert len(await standing(house)) == 1, "the other's to end"
    await keep(house, so(False), {})
    assert await standing(house) == [], "who begins now and finds it good"


async def test_without_a_key_there_is_an_alarm_and_the_act_stands(tmp_path: Path) -> None:
    """When no key may sign, what an administrator does is not stopped; that it is unsealed is an alarm, and over with a new key."""
    async with a_gateway(tmp_path, CHENGXIN_NOW=NOW):
        pass
    path = tmp_path / "chengxin.toml"
    config = settings_room.load(path, {"CHENGXIN_NOW": "2040-01-01T00:00:00Z"})
    async with open_services(config) as services:
        async with services.store.transaction() as tx:
            await audit.write(tx, "admin:lin", "grant.revoke", "x", {})
        assert [each.kind for each in await standing(services)] == ["audit-unsealed"]
        with pytest.raises(SettingsError, match="key-missing"):
            await checkpoint(services)
    write_key(config, "audit", number=2040, not_before=datetime.fromisoformat("2040-01-01T00:00:00Z"))
    async with open_services(config) as services:
        assert await checkpoint(services) is not None
        assert await standing(services) == []
        assert (await verify_store(services)).ok


@sqlite
async def test_refusals_are_counted_not_listed(house: Services) -> None:
    """A flood of bad credentials is a row a kind with a count, networks are cut, and no more kinds are remembered than fit."""
    for text in ("203.0.113.9/32", None, "nonsense", "::ffff:203.0.113.200"):
        await audit_refusal(house, "api", "expired", text)
    for number in range(3000):
        await audit_refusal(house, "token", "signature", f"2001:db8:{number:x}::1")
    await house.trail.flush()
    rows = await audit.rows(house.store.reads, Wanted(kind="refusal"), limit=5000)
    assert sum(row.row_count or 0 for row in rows) == 3004
    assert len(rows) <= 1002
    assert ("203.0.113.0/24", 2) in {(row.target, row.row_count) for row in rows}


async def test_only_an_auditor_reads_and_reading_is_written(house: Services, tmp_path: Path) -> None:
    """Another role is refused; an auditor reads in pages, with case references and details, and each reading is a row."""
    await fill(house)
    auditor, operator = await enrolled(house, "lin", "auditor"), await enrolled(house, "zhou", "operator")
    with pytest.raises(RoleMissing):
        await read_audit(house, Wanted(), by=await operator.acts("audit.read"))
    with pytest.raises(RoleMissing):
        await export_audit(house, tmp_path / "x", from_day=DAY, to_day=DAY, by=await operator.acts("audit.export"))
    found, place = [], None
    while True:
        page = await read_audit(house, Wanted(kind="access"), after=place, limit=2, by=await auditor.acts("audit.read"))
        found += page.rows
        place = page.next
        if place is None:
            break
    assert [row.case_ref for row in found] == ["通案-1", "通案-2", "通案-2", "通案-3", "通案-9"]
    read = await audit.rows(house.store.reads, Wanted(act="audit.read"))
    assert [(row.actor, (row.detail or {})["filters"]) for row in read] == [("admin:lin", ["kind"])] * 3
    done = await export_audit(house, tmp_path / "x", from_day=DAY, to_day=DAY, by=await auditor.acts("audit.export"))
    assert done.rows > 10
    assert (await verify_folder(tmp_path / "x")).ok


def test_the_commands_verify_list_and_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`verify audit` is 0 on a whole trail and 1 with the place on a broken one; an auditor lists and exports, nobody else."""
    settings_file = write_settings(tmp_path)

    async def work() -> Path:
        async with a_gateway(tmp_path, CHENGXIN_NOW=NOW) as services:
            await fill(services)
            auditor = await enrolled(services, "lin", "auditor")
            return auditor.key_file(tmp_path)

    key = asyncio.run(work())

    def chengxin(*words: str, code: int = 0) -> str:
        one = commands.process if code == 1 else commands.chengxin
        done = one(tmp_path, "--settings", str(settings_file), *words, CHENGXIN_NOW=NOW)
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    assert re.search(r"under [3-9] checkpoints", chengxin("verify", "audit"))
    hand = ("--as", "lin", "--key", str(key))
    assert "data.read" in chengxin("audit", "list", "--kind", "access", "--from", DAY, *hand)
    chengxin("audit", "list", code=2)
    assert " 0 of them not sealed yet" in chengxin("verify", "audit"), "that it was listed is an act, and everything before it older"

    async def daily(services: Services) -> None:
        async with services.store.transaction() as tx:
            await audit.write(tx, "clerk", "record.expire", "records", {"count": 1})

    monkeypatch.setenv("CHENGXIN_NOW", NOW)
    Office(settings_file, "clerk").run(daily)
    assert " 0 of them not sealed yet" in chengxin("verify", "audit"), "what a command did is sealed when it ends"
    out = tmp_path / "out"
    chengxin("audit", "export", "--from", DAY, "--to", DAY, "--out", str(out), *hand)
    assert msgspec.json.decode(chengxin("verify", "audit", str(out), "--json"))["ok"]
    with sqlite3.connect(tmp_path / "data" / "gateway.db") as connection:
        connection.execute("UPDATE audit SET org = 'x' WHERE kind = 'access' AND n = 3")
    assert "audit-broken at 2026-06-01/p" in chengxin("verify", "audit", code=1)

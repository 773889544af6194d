"""Cases about one record: repair, withdrawal, objection and expiry, each in one transaction with change row and audit."""

import tempfile
from collections.abc import AsyncIterator
from datetime import date
from pathlib import Path

import pytest

from gateway.core.disclosure.views import closed_gate
from gateway.core.errors import StoreError
from gateway.core.records.model import DatasetId, Record, RecordId
from gateway.operations import handle_case
from gateway.operations.expire import expire
from gateway.operations.ingest import ingest
from gateway.operations.withdraw import REASONS, withdraw
from gateway.sample.generate import write_sample
from gateway.services import Services, open_services
from gateway.store import audit, audit_log, changes, records
from tests.house import make, settings_of, write_settings

PENALTIES = DatasetId("administrative-penalties")
NOW = "2026-06-02T02:30:00Z"


async def _filled(services: Services) -> None:
    """Take in the market authority's penalties of a small sample."""
    with tempfile.TemporaryDirectory() as folder:
        files = write_sample(Path(folder), seed=1, subjects=60)
        file = next(file for file in files if file.dataset == PENALTIES and file.encoding == "gb18030")
        await ingest(
            services,
            dataset=file.dataset,
            path=file.path,
            authority=file.authority,
            officer=file.officer,
            encoding=file.encoding,
            progress=None,
        )


@pytest.fixture
async def town(tmp_path: Path, store_url: str) -> AsyncIterator[Services]:
    """A gateway with those penalties; on SQLite and on PostgreSQL."""
    settings = settings_of(write_settings(tmp_path, database=store_url), CHENGXIN_NOW=NOW)
    await make(settings, _filled)
    async with open_services(settings) as services:
        yield services


async def the(services: Services, record_id: str) -> Record:
    """The record as it stands."""
    return (await records.load(services.store.reads, ids=[RecordId(record_id)]))[0]


async def a_penalty(services: Services) -> Record:
    """A penalty in force that the public sees."""
    policies = services.policies.current()
    plans = policies.public(PENALTIES)
    assert plans is not None
    for record in await records.load(services.store.reads, dataset=PENALTIES, states=["in_force"]):
        if closed_gate(record, plans.plans[record.kind], policies, services.clock()) is None:
            return record
    raise AssertionError("the sample has no public penalty")


async def last_acts(services: Services, count: int) -> list[tuple[str, str, str]]:
    """The newest rows of the audit trail: actor, act, target."""
    rows = await audit.after(services.store.reads, 0, 1000)
    return [(row.actor, row.act, row.target) for row in rows[-count:]]


async def public_gate(services: Services, record_id: str) -> str | None:
    """Which gate hides the record from the public; None: it is seen."""
    record = await the(services, record_id)
    policies = services.policies.current()
    plans = policies.public(record.dataset)
    assert plans is not None
    return closed_gate(record, plans.plans[record.kind], policies, services.clock())


async def test_a_repair_closes_every_exit_at_once(town: Services) -> None:
    """Record state, change row and audit stand together, and the door is closed before any reader of the log has run."""
    record = await a_penalty(town)
    done = await handle_case.repair(town, record.record_id, actor="officer", document="示修〔2026〕1号")
    after = await the(town, record.record_id)
    assert (done.state, after.state) == ("repaired", "repaired")
    assert after.dates.repair_approved == date(2026, 6, 2)
    assert await public_gate(town, record.record_id) == "repaired"
    change = (await changes.of_record(town.store.reads, record.record_id))[-1]
    assert (change.op, change.reason, change.actor, change.seq) == ("repair", "repaired", "officer", after.changed_seq)
    assert await last_acts(town, 1) == [("officer", "record.repair", f"record/{record.record_id}")]
    with pytest.raises(StoreError, match="record-state"):
        await handle_case.repair(town, record.record_id, actor="officer")
    assert await audit_log.first_broken(town.store.reads) is None


async def test_a_repair_before_its_time_is_pointed_out(town: Services) -> None:
    """The authority decides; a repair before the minimum period names the first regular day for a reviewer."""
    record = await a_penalty(town)
    done = await handle_case.repair(town, record.record_id, actor="officer")
    assert done.earliest is not None
    assert done.earliest > date(2026, 6, 2)


@pytest.mark.parametrize("reason", REASONS)
async def test_a_withdrawal_carries_its_reason(town: Services, reason: str) -> None:
    """Each reason of the list stands in the change row, and a revoked act also in the record's dates."""
    record = await a_penalty(town)
    await withdraw(town, record.record_id, reason=reason, actor="officer")
    after = await the(town, record.record_id)
    assert after.state == "retracted"
    assert (after.dates.revoked is not None) == (reason == "revoked")
    change = (await changes.of_record(town.store.reads, record.record_id))[-1]
    assert (change.op, change.reason) == ("retract", reason)
    assert await public_gate(town, record.record_id) == "withdrawn"


async def test_a_withdrawal_for_no_listed_reason_changes_nothing(town: Services) -> None:
    """A reason of nobody's list is refused before anything is written."""
    record = await a_penalty(town)
    with pytest.raises(StoreError, match="withdraw-reason"):
        await withdraw(town, record.record_id, reason="because", actor="officer")
    assert (await the(town, record.record_id)).changed_seq == record.changed_seq


async def test_an_unknown_record_is_told_so(town: Services) -> None:
    """Every case about a record that is not there gives one code."""
    unknown = "rec_" + "a" * 26
    for story in (
        handle_case.repair(town, unknown, actor="x"),
        withdraw(town, unknown, reason="revoked", actor="x"),
        handle_case.open_dispute(town, unknown, actor="x"),
        handle_case.close_dispute(town, unknown, upheld=False, actor="x"),
    ):
        with pytest.raises(StoreError, match="record-unknown"):
            await story


async def test_an_objection_marks_and_leaves_the_record(town: Services) -> None:
    """While an objection is open the record stays visible and says so; dismissed, the mark goes."""
    record = await a_penalty(town)
    await handle_case.open_dispute(town, record.record_id, actor="officer")
    marked = await the(town, record.record_id)
    assert marked.dispute_since == town.clock()
    assert await public_gate(town, record.record_id) is None
    with pytest.raises(StoreError, match="record-state"):
        await handle_case.open_dispute(town, record.record_id, actor="officer")
    await handle_case.close_dispute(town, record.record_id, upheld=False, actor="officer")
    assert (await the(town, record.record_id)).dispute_since is None
    assert [change.op for change in await changes.of_record(town.store.reads, record.record_id)][-2:] == ["dispute", "undispute"]
    with pytest.raises(StoreError, match="record-state"):
        await handle_case.close_dispute(town, record.record_id, upheld=False, actor="officer")


async def test_an_upheld_objection_withdraws(town: Services) -> None:
    """Mark and record go in one transaction, with the reason that partners are told."""
    record = await a_penalty(town)
    await handle_case.open_dispute(town, record.record_id, actor="officer")
    done = await handle_case.close_dispute(town, record.record_id, upheld=True, actor="officer")
    assert done.state == "retracted"
    last = (await changes.of_record(town.store.reads, record.record_id))[-1]
    assert (last.op, last.reason) == ("retract", "objection_upheld")
    assert await last_acts(town, 1) == [("officer", "dispute.close", f"record/{record.record_id}")]
    with pytest.raises(StoreError, match="record-state"):
        await handle_case.open_dispute(town, record.record_id, actor="officer")


async def test_the_door_does_not_wait_for_expire(town: Services, tmp_path: Path) -> None:
    """A year later the record is hidden before the job ran; the job then writes one change each, and none the second time."""
    record = await a_penalty(town)
    old = await expire(town, actor="job")  # the sample has decisions whose period was over when they came in
    assert old.expired == old.looked_at > 0
    assert (await expire(town, actor="job")).expired == 0
    later = settings_of(tmp_path / "chengxin.toml", CHENGXIN_NOW="2027-06-03T02:30:00Z")
    async with open_services(later) as services:
        assert await public_gate(services, record.record_id) == "publication"
        done = await expire(services, actor="job")
        assert done.expired > 0
        assert done.day == date(2027, 6, 3)
        assert (await the(services, record.record_id)).state == "expired"
        last = (await changes.of_record(services.store.reads, record.record_id))[-1]
        assert (last.op, last.reason, last.actor) == ("expire", "expired", "job")
        again = await expire(services, actor="job")
        assert (again.expired, again.looked_at) == (0, 0)
        assert (await expire(services, actor="job", everything=True)).expired == 0


async def test_a_record_of_another_city_is_left_to_that_city(town: Services) -> None:
    """Repair and withdrawal of a partner's record are refused with where to turn; an objection is marked here."""
    record = await a_penalty(town)
    async with town.store.transaction() as tx:
        await tx.execute(_of_partner(), {"party": "credit.baishan.example", "record": record.record_id})
    for story in (handle_case.repair(town, record.record_id, actor="x"), withdraw(town, record.record_id, reason="revoked", actor="x")):
        with pytest.raises(StoreError, match=r"record-foreign.*credit\.baishan\.example"):
            await story
    await handle_case.open_dispute(town, record.record_id, actor="x")
    with pytest.raises(StoreError, match="record-foreign"):
        await handle_case.close_dispute(town, record.record_id, upheld=True, actor="x")
    assert (await the(town, record.record_id)).dispute_since is not None  # the refused decision left the mark


def _of_partner() -> object:
    import sqlalchemy

    return sqlalchemy.text("UPDATE records SET issuer = :party WHERE record_id = :record")

"""Handle a case about one record: a repair that the deciding authority granted (信用修复), an objection opened or closed (异议).

Rules: 谁认定、谁修复: the authority decides, this story writes its decision down; a record of another city is repaired there
and arrives as its retraction, while an objection is marked wherever it is raised. Record, change row and audit stand in one
transaction; every exit follows the change log. This story must not change a value of the record.
"""

from datetime import date, datetime

from msgspec import Struct
from msgspec.structs import replace

from gateway.core.disclosure.plans import Policies
from gateway.core.errors import StoreError
from gateway.core.records.model import NEGATIVE_CATEGORIES, Record, RecordId, SubjectId
from gateway.core.records.periods import earliest_repair, legal_day
from gateway.services import Services
from gateway.store import audit, records
from gateway.store.store import Transaction


class CaseOutcome(Struct, frozen=True, kw_only=True):
    """What became of the record; no value of it is repeated."""

    record_id: str
    dataset: str
    act: str
    state: str
    at: datetime
    earliest: date | None = None
    """Of a repair that the authority granted before the minimum period was over: the first regular day, for the reviewer."""


async def one_record(tx: Transaction, record_id: str) -> Record:
    """The record, without any of its values.

    Raises StoreError record-unknown.
    """
    found = await records.load(tx, ids=[RecordId(record_id)], fields=frozenset())
    if not found:
        raise StoreError(
            "there is no such record", code="record-unknown", place=record_id, hint="record ids begin with rec_; search the subject for it"
        )
    return found[0]


def must_be_ours(record: Record, what: str) -> None:
    """A partner's record is decided where it was made.

    Raises StoreError record-foreign.
    """
    if record.issuer is not None:
        raise StoreError(
            f"a record that {record.issuer} asserted cannot be {what} here",
            code="record-foreign",
            place=record.record_id,
            hint="ask the issuing city: its retraction or repair arrives with its next batch",
        )


def person_of(record: Record) -> SubjectId | None:
    """Whose data key covers what the audit says of this record; organisations have none."""
    return None if record.kind == "legal" else record.subject_id


async def repair(services: Services, record_id: str, *, actor: str, document: str | None = None) -> CaseOutcome:
    """Write down that the authority granted a repair: the record leaves every exit here and at every partner that has it.

    Raises StoreError record-unknown, record-foreign, or record-state when it is no adverse record in force.
    """
    policies = await services.policies.fresh()
    async with services.store.transaction() as tx:
        record = await one_record(tx, record_id)
        must_be_ours(record, "repaired")
        if record.category not in NEGATIVE_CATEGORIES:
            raise StoreError(
                "only adverse records are repaired",
                code="record-state",
                place=record_id,
                hint="use `chengxin withdraw` to take a record back",
            )
        dates = replace(record.dates, repair_approved=legal_day(tx.now))
        seq = await records.set_state(tx, record.record_id, state="repaired", op="repair", reason="repaired", actor=actor, dates=dates)
        await audit.write(
            tx,
            actor,
            "record.repair",
            f"record/{record_id}",
            {"dataset": record.dataset, "seq": seq, "document": document is not None},
            subject=person_of(record),
        )
        return CaseOutcome(
            record_id=record_id,
            dataset=record.dataset,
            act="repair",
            state="repaired",
            at=tx.now,
            earliest=_too_early(record, policies, tx.now),
        )


def _too_early(record: Record, policies: Policies, now: datetime) -> date | None:
    """The first day on which the rules allow a repair, if that day is still to come; the decision stays the authority's."""
    dataset = policies.catalogue.datasets.get(record.dataset)
    if dataset is None:
        return None
    day = earliest_repair(
        act=dataset.publish.act, severity=record.severity, kind=record.kind, dates=record.dates, table=policies.catalogue.periods, now=now
    )
    return day if day is not None and day > legal_day(now) else None


async def open_dispute(services: Services, record_id: str, *, actor: str) -> CaseOutcome:
    """Mark a record 异议处理中; it stays visible with the mark (domain.md §8.2).

    Raises StoreError record-unknown, or record-state when it is marked already or no longer in force.
    """
    async with services.store.transaction() as tx:
        record = await one_record(tx, record_id)
        if record.state not in ("in_force", "held"):
            raise StoreError("a record that is no longer in force is not disputed", code="record-state", place=record_id)
        if record.dispute_since is not None:
            raise StoreError(
                "the record is marked as disputed already", code="record-state", place=record_id, hint="`chengxin dispute close` ends it"
            )
        await records.mark_dispute(tx, record.record_id, tx.now, actor)
        await audit.write(tx, actor, "dispute.open", f"record/{record_id}", {"dataset": record.dataset}, subject=person_of(record))
        return CaseOutcome(record_id=record_id, dataset=record.dataset, act="dispute", state=record.state, at=tx.now)


async def close_dispute(services: Services, record_id: str, *, upheld: bool, actor: str) -> CaseOutcome:
    """End an objection: dismissed, the mark goes and the record stays; upheld, the record is withdrawn, if it is not already.

    One whose period is over is withdrawn too: offices are shown it as long as it may be shared, whom it is about without an end.

    Raises StoreError record-unknown, record-foreign when upheld on a partner's record, or record-state when nothing is open.
    """
    async with services.store.transaction() as tx:
        record = await one_record(tx, record_id)
        if record.dispute_since is None:
            raise StoreError("no objection is open for this record", code="record-state", place=record_id)
        await records.mark_dispute(tx, record.record_id, None, actor)
        state = record.state
        if upheld:
            must_be_ours(record, "withdrawn")
        if upheld and state not in ("retracted", "repaired"):
            await records.set_state(tx, record.record_id, state="retracted", op="retract", reason="objection_upheld", actor=actor)
            state = "retracted"
        await audit.write(
            tx, actor, "dispute.close", f"record/{record_id}", {"dataset": record.dataset, "upheld": upheld}, subject=person_of(record)
        )
        return CaseOutcome(record_id=record_id, dataset=record.dataset, act="undispute", state=state, at=tx.now)

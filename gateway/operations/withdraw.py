"""Withdraw a record: take back what should no longer be said, with the reason that partners are told.

Rules: the reason is one of exchange.md §9; record, change row and audit stand in one transaction, and every exit follows the
change log; a partner's record is withdrawn by that partner. This story must not delete anything: what was said stays, encrypted,
as long as retention says.
"""

from typing import Literal, get_args

from msgspec.structs import replace

from gateway.core.errors import StoreError
from gateway.core.records.periods import legal_day
from gateway.operations.handle_case import CaseOutcome, must_be_ours, one_record, person_of
from gateway.services import Services
from gateway.store import audit, records

Reason = Literal["revoked", "corrected", "objection_upheld", "no_longer_public"]
REASONS: tuple[Reason, ...] = get_args(Reason)


async def withdraw(services: Services, record_id: str, *, reason: str, actor: str) -> CaseOutcome:
    """Retract one record with its reason.

    Raises StoreError record-unknown, record-foreign, record-state, or withdraw-reason for a reason of nobody's list.
    """
    if reason not in REASONS:
        raise StoreError(
            "there is no such reason of withdrawal", code="withdraw-reason", place="--reason", hint=f"one of {', '.join(REASONS)}"
        )
    async with services.store.transaction() as tx:
        record = await one_record(tx, record_id)
        must_be_ours(record, "withdrawn")
        dates = replace(record.dates, revoked=legal_day(tx.now)) if reason == "revoked" else record.dates
        seq = await records.set_state(tx, record.record_id, state="retracted", op="retract", reason=reason, actor=actor, dates=dates)
        await audit.write(
            tx,
            actor,
            "record.withdraw",
            f"record/{record_id}",
            {"dataset": record.dataset, "reason": reason, "seq": seq},
            subject=person_of(record),
        )
        return CaseOutcome(record_id=record_id, dataset=record.dataset, act="retract", state="retracted", at=tx.now)

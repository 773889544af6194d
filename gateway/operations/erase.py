"""Erase a record, or all that is kept about a subject: every version, text, index and copy here, and at every partner that got it.

Rules: key custodians only; a partner's single record is erased where it was made. The records are bared in one transaction, which also
tells the change log: renderings, search, feeds, versions of lists, the transparency log and partner streams follow it, also for a record
that was withdrawn before; what partners told about a subject for a case goes at once. `finish_erasures` takes away what they leave and
looks whether anything is left. There remain ids, versions, ops and times. There is no way back. This story must not say whom it was about.
"""

from msgspec import Struct

from gateway.core.callers.administrators import Administrator
from gateway.core.errors import StoreError
from gateway.core.records.model import SubjectId
from gateway.operations.handle_case import must_be_ours, one_record, person_of
from gateway.operations.shred import Why
from gateway.services import Services
from gateway.store import audit, inquiries, records
from gateway.store.states import erase_subject
from gateway.store.subjects import keys_of_subject, subject_by_id


class Erased(Struct, frozen=True, kw_only=True):
    """What is gone."""

    target: str
    records: int


async def erase(services: Services, target: str, *, reason: Why, by: Administrator) -> Erased:
    """Erase one record (`rec_…`) or every record of a subject (`sub_…`).

    Raises RoleMissing, StoreError `record-unknown`, `record-foreign`, `record-state` when it is erased already, `subject-unknown`.
    """
    by.require("key-custodian")
    actor = f"admin:{by.name}"
    async with services.store.transaction() as tx:
        if target.startswith("sub_"):
            if await subject_by_id(tx, SubjectId(target)) is None:
                raise StoreError("there is no such subject", code="subject-unknown", place=target)
            keys = await keys_of_subject(tx, SubjectId(target))
            count = await erase_subject(tx, SubjectId(target), actor=actor)
            await inquiries.erase_about(tx, keys)
            await audit.write(tx, actor, "subject.erase", f"subject/{target}", {"records": count, "reason": reason}, subjects=[target])
            return Erased(target=target, records=count)
        record = await one_record(tx, target)
        must_be_ours(record, "erased")
        await records.erase(tx, record.record_id, actor=actor)
        await audit.write(
            tx, actor, "record.erase", f"record/{target}", {"dataset": record.dataset, "reason": reason}, subject=person_of(record)
        )
    return Erased(target=target, records=1)

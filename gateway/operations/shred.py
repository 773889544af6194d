"""Shred a person or household: the data key and every index go in one transaction, and with them whatever it sealed, wherever a copy lies.

Rules: key custodians only; records are erased with their past versions, partners are told to erase theirs by the change log, what
partners told about the subject for a case goes at once, and the trail keeps the act and its own rows: its chain runs over ciphertext, so
it verifies on. An organisation has no data key of its own and is not shredded. There is no way back. This story must not say whom it was
about.
"""

from typing import Literal

from msgspec import Struct

from gateway.core.callers.administrators import Administrator
from gateway.core.errors import StoreError
from gateway.core.records.model import SubjectId
from gateway.services import Services
from gateway.store import audit, inquiries
from gateway.store.states import erase_subject
from gateway.store.subjects import keys_of_subject, subject_by_id

Why = Literal["request", "period-over", "court-order", "error"]
"""A closed list: a free text might name somebody."""


class Shredded(Struct, frozen=True, kw_only=True):
    """What is gone."""

    subject: str
    records: int


async def shred(services: Services, subject: str, *, reason: Why, by: Administrator) -> Shredded:
    """Erase every record of a person or household and destroy its key.

    Raises RoleMissing, StoreError `subject-unknown`, `shred-organisation`.
    """
    by.require("key-custodian")
    async with services.store.transaction() as tx:
        found = await subject_by_id(tx, SubjectId(subject))
        if found is not None and found.kind == "legal":
            raise StoreError(
                "an organisation has no data key of its own",
                code="shred-organisation",
                place=subject,
                hint="erase its records: `chengxin erase`",
            )
        keys = await keys_of_subject(tx, SubjectId(subject))
        count = await erase_subject(tx, SubjectId(subject), actor=f"admin:{by.name}")
        await inquiries.erase_about(tx, keys)
        await audit.write(
            tx, f"admin:{by.name}", "subject.shred", f"subject/{subject}", {"records": count, "reason": reason}, subjects=[subject]
        )
    return Shredded(subject=subject, records=count)

"""Partners' adverse records that wait for a named person's confirmation: which, in which version, and the digest of what they say.

Rules: version and digest stand in the signed words of the confirmation, so a yes is to what was read. No value of a record is told here:
an administrator has no tier, whoever may read the record reads it where records are read. This story must not confirm anything.
"""

from datetime import datetime
from typing import Final

import msgspec
from msgspec import Struct

from gateway.core.exchange.recognition import Inputs
from gateway.operations.recognise import shown_digests
from gateway.services import Services
from gateway.store import recognitions
from gateway.store.store import moment

PAGE: Final = 500


class Awaiting(Struct, frozen=True, kw_only=True):
    """One record that has no effect here until somebody confirms it."""

    record: str
    version: int
    digest: str
    """Of what the partner says of it, keyed."""
    dataset: str
    category: str
    agreement: str
    partner: str
    since: datetime


async def awaiting(services: Services, *, after: str = "") -> list[Awaiting]:
    """Those after a record id, in order of id, five hundred at most."""
    reads = services.store.reads
    rows = await recognitions.awaiting(reads, after=after, limit=PAGE)
    told = await recognitions.told_records(reads, [row.record_id for row in rows])
    found = []
    for row in rows:
        if (said := told.get(row.record_id)) is None:
            continue
        record = msgspec.json.decode(row.inputs, type=Inputs).record
        found.append(
            Awaiting(
                record=row.record_id,
                version=said.v,
                digest=shown_digests(services.store.vault, said)[0],
                dataset=record.dataset,
                category=record.category,
                agreement=row.agreement,
                partner=said.sender,
                since=moment(row.decided_at),
            )
        )
    return found

"""A named person's yes in tests: to what the partner says of a record at that moment."""

from gateway.core.callers.administrators import Administrator
from gateway.operations import recognise
from gateway.operations.recognise import Decided
from gateway.services import Services
from gateway.store import recognitions


async def confirm(services: Services, record_id: str, *, by: Administrator, basis: str) -> Decided:
    """Confirm a record as it reads now."""
    row = (await recognitions.told_records(services.store.reads, [record_id]))[record_id]
    digest = recognise.shown_digests(services.store.vault, row)[0]
    return await recognise.confirm(services, record_id, version=row.v, digest=digest, by=by, basis=basis)

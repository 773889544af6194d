"""Which measures rest on which records, for the office: ours on partners' records, theirs on ours. This story must not change one."""

from gateway.services import Services
from gateway.store import measures
from gateway.store.measures import Taken

PAGE = 1000


async def list_measures(services: Services, record_id: str | None = None) -> list[Taken]:
    """Every measure either way, or those about one record."""
    reads = services.store.reads
    if record_id is not None:
        return await measures.measures_about(reads, [record_id])
    found: list[Taken] = []
    while page := await measures.measures_after(reads, found[-1].record_id if found else "", PAGE):
        found += page
    return found

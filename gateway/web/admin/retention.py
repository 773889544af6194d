"""Records that were kept long enough, over the administrators' API: what `chengxin retention due` and `retention erase` do."""

from datetime import date
from typing import Annotated

from msgspec import Meta, Struct

from gateway.operations import erase_due, retention_due
from gateway.web.admin.desk import Act, Route


class ErasureDue(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of which dataset, up to which last day of keeping, and how many at most."""

    dataset: Annotated[str, Meta(min_length=1, max_length=63)]
    until: date
    records: Annotated[int, Meta(ge=0)] | None = None
    """As a dry run said; without it nothing goes."""
    dry_run: bool = False


async def due(act: Act) -> object:
    """What was kept long enough, and a page of one dataset's records."""
    return await retention_due.list_due(act.services, dataset=act.query.get("dataset"), after=act.query.get("after"))


async def erased(act: Act) -> object:
    """Erase what was kept long enough, or say what would go."""
    body: ErasureDue = act.body
    return await erase_due.erase_due(
        act.services, body.dataset, until=body.until, most=body.records, dry_run=body.dry_run, by=act.by
    )


ROUTES: tuple[Route, ...] = (
    Route(method="GET", path="/admin/v1/retention", command="retention due", summary="Records that were kept long enough", handler=due,
          query=("dataset", "after"), gives=retention_due.DueList),
    Route(method="POST", path="/admin/v1/retention/erasures", command="retention erase", summary="Erase what was kept long enough",
          handler=erased, takes=ErasureDue, gives=erase_due.ErasedDue, roles=("key-custodian",)),
)  # fmt: skip

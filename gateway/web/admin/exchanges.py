"""The exchange over the administrators' API: what `chengxin exchange overdue` says."""

from gateway.operations.list_overdue import Overdue, list_overdue
from gateway.web.admin.desk import Act, Route


async def overdue(act: Act) -> object:
    """Partners that have not acknowledged withdrawals or erasures in time."""
    return await list_overdue(act.services, partner=act.query.get("partner"))


ROUTES: tuple[Route, ...] = (
    Route(
        method="GET",
        path="/admin/v1/exchange/overdue",
        command="exchange overdue",
        summary="Partners that have not acknowledged withdrawals or erasures in time, by name",
        handler=overdue,
        gives=list[Overdue],
        query=("partner",),
    ),
)

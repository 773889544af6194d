"""The audit trail over the administrators' API, for auditors: what `chengxin audit list` does."""

from gateway.core.errors import InvalidParameter
from gateway.operations import read_audit
from gateway.operations.read_audit import Place, Wanted
from gateway.web.admin.desk import Act, Route

FILTERS = tuple(name for name in Wanted.__struct_fields__)


async def listed(act: Act) -> object:
    """Rows by day, kind, actor, act, target, organisation, app, purpose and dataset."""
    limit = act.query.get("limit", "100")
    if not (limit.isascii() and limit.isdigit() and len(limit) < 5):
        raise InvalidParameter("limit is a number")
    wanted = Wanted(**{name: act.query[name] for name in FILTERS if name in act.query})
    return await read_audit.read_audit(act.services, wanted, after=_place(act.query.get("after")), limit=int(limit), by=act.by)


def _place(text: str | None) -> Place | None:
    if text is None:
        return None
    day, _, rest = text.partition("/")
    writer, _, number = rest.rpartition("/")
    if not (number.isascii() and number.isdigit() and len(number) < 16):
        raise InvalidParameter("after is DAY/WRITER/N")
    return day, writer, int(number)


ROUTES: tuple[Route, ...] = (
    Route(method="GET", path="/admin/v1/audit", command="audit list", summary="Rows of the audit trail", handler=listed,
          query=(*FILTERS, "limit", "after"), gives=read_audit.AuditPage, roles=("auditor",)),
)  # fmt: skip

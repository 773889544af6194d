"""Whether this process can answer: the store reads, a policy is in force, the readers of the change log keep up.

Rules: it asks a few short statements and changes nothing; the tables' form is checked when the store is opened, so an open
store is a migrated one. A reader that is behind by more than the lag makes the process unready, for the public would be told
old things. This story must not name records.
"""

from datetime import timedelta

from msgspec import Struct

from gateway.core.errors import GatewayError
from gateway.services import Services
from gateway.store import changes
from gateway.store.renderings import READER

LAG = timedelta(seconds=60)
"""How old the first unread change may be."""


class Health(Struct, frozen=True, kw_only=True):
    """The checks by name: `ok`, or what is wrong in one code."""

    ready: bool
    checks: dict[str, str]


async def report_health(services: Services) -> Health:
    """Every check, made now."""
    checks: dict[str, str] = {}
    try:
        head = await changes.head(services.store.reads)
        checks["store"] = checks["migrations"] = "ok"
    except GatewayError as error:
        return Health(ready=False, checks={"store": error.code})
    try:
        await services.policies.fresh()
        checks["policy"] = "ok"
    except GatewayError as error:
        checks["policy"] = error.code
    try:
        checks["readers"] = "ok" if await lag(services, head) <= LAG else "behind"
    except GatewayError as error:
        checks["readers"] = error.code
    return Health(ready=all(result == "ok" for result in checks.values()), checks=checks)


async def lag(services: Services, head: int) -> timedelta:
    """Age of the first change that the public reader has not read; none when it has read them all."""
    position = await changes.reader_position(services.store.reads, READER)
    if position >= head:
        return timedelta()
    unread = await changes.after(services.store.reads, position, 1)
    return services.clock() - unread[0].at if unread else timedelta()

"""Put under a key what records say in clear that were withdrawn before a withdrawal did so itself.

Rules: a stretch of records in order of id is one transaction, and the store remembers where it stands: it may be stopped anywhere, and
another process goes on. When all were looked at, none is ever again: whatever is withdrawn since is sealed by the act that withdraws it.
This story must not decide which states are shown to nobody.
"""

from typing import Final

from gateway.services import Services
from gateway.store import places, withdrawn

CHUNK: Final = 500
META: Final = "withdrawn-sealed"
_ALL: Final = "*"


async def seal_withdrawn(services: Services) -> int:
    """Look at the next records; at how many, 0 = all were looked at.

    Raises StoreError.
    """
    if await places.place(services.store.reads, META) == _ALL:
        return 0
    async with services.store.transaction() as tx:
        after = await places.place(tx, META) or ""
        if after == _ALL:
            return 0
        found = await withdrawn.stretch(tx, after, CHUNK)
        await withdrawn.seal(tx, found.withdrawn)
        await places.keep_place(tx, META, found.last or _ALL)
    return found.looked_at

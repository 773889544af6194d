"""Let a partner's frozen stream go on: two persons, and a new epoch of the partner's (exchange.md §7).

Rules: the first person asks, another one agrees; only then may a new epoch be staged, and only when it is whole is the stream open again.
Nothing of the forked epoch is applied any more; the evidence stays. This story must not decide who of the two signatures was right.
"""

from gateway.core.errors import ExchangeError
from gateway.services import Services
from gateway.store import audit, inbox


async def release_frozen(services: Services, stream: str, *, by: str, reason: str) -> bool:
    """One person more for the release of a frozen stream; true once two have agreed and a new epoch is taken.

    Raises ExchangeError NOT_FOUND when no partner's stream of this name is frozen.
    """
    for row in await inbox.in_streams_all(services.store.reads):
        if row.stream == stream and row.frozen is not None:
            async with services.store.transaction() as tx:
                done = await inbox.release(tx, row.sender, stream, by)
                act = "stream.release" if done else "stream.release-asked"
                await audit.write(tx, by, act, f"stream/{row.sender}/{stream}", {"reason": reason, "code": row.frozen})
            return done
    raise ExchangeError("no stream of this name is frozen", code="NOT_FOUND", place=stream)

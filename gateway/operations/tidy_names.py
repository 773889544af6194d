"""Tidy the names index: SQLite writes its tokens in pieces, and every search looks for each of its tokens in every piece.

Rules: nothing is merged for its own sake: few pieces are left as they are. What is merged is merged in steps, so that no writer waits long;
whoever is interrupted goes on at the next look. Any number of processes may do so at a time. This story changes no answer.
"""

import asyncio
from typing import Final

from gateway.services import Services
from gateway.store import search

FEW: Final = 3
"""So many pieces are looked through in about the time of one."""


async def tidy_names(services: Services) -> bool:
    """Merge the token index into one piece where it has more than a few; whether there was something to do."""
    if await search.pieces(services.store.reads, services.store.dialect) <= FEW:
        return False
    await merge_tokens(services)
    return True


async def merge_tokens(services: Services) -> None:
    """Merge the token index into one piece, in which no token is left of a name that was taken out."""
    first, more = True, True
    while more:
        async with services.store.transaction() as tx:
            more = await search.merge_away(tx, first)
        first = False
        await asyncio.sleep(0)

"""Tidy the names index: SQLite writes its tokens in pieces, and every search looks for each of its tokens in every piece.

Rules: nothing is merged for its own sake: what is one piece is left as it is, and pieces for half an hour after some were put together, by
whichever process and whether that went well or not: the store keeps when. What is merged is merged in steps, each a transaction as long as
4 MB take to write, and between two of them the lock is free long enough for whoever waits for it. Any number of processes may do so at a
time, and leave off at any step: this story changes no answer.
"""

import asyncio
from datetime import timedelta
from typing import Final

from gateway.operations.render_public import lag
from gateway.services import Services
from gateway.store import search

FEW: Final = 1
"""One piece is as good as it gets: in three a search takes a fifth to two fifths longer to find its names."""
EVERY: Final = timedelta(minutes=30)
"""How long the index is left in pieces after somebody began to put it together: the whole of it is written anew each time."""
PAUSE_S: Final = 0.1
"""Between two steps: as long as SQLite lets another process sleep that waits for the lock."""


async def tidy_names(services: Services) -> bool:
    """Merge the token index into one piece where there are more and the reader has nothing left to put in; whether that was so.

    Raises StoreError; the next try is half an hour later then, too.
    """
    if await search.pieces(services.store.reads, services.store.dialect) <= FEW or await lag(services):
        return False
    async with services.store.transaction() as tx:
        if not await search.begin_tidying(tx, EVERY):
            return False
    await merge_tokens(services)
    return True


async def merge_tokens(services: Services) -> None:
    """Merge the token index into one piece, in which no token is left of a name that was taken out.

    Raises StoreError.
    """
    first = True
    while True:
        async with services.store.transaction() as tx:
            if not await search.merge_away(tx, first):
                return
        first = False
        await asyncio.sleep(PAUSE_S)

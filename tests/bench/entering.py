"""The transparency log at ten million entries: append, commit and sign, on a store of its own.

`python -m tests.bench.entering FOLDER SIZE` prints milliseconds (median) of one entry and of a hundred, from the transaction's begin to the
signed head. Only the tree's right edge is made for a log of that size: it is all that appending reads, however long the log is.
"""

import asyncio
import json
import statistics
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from gateway import garbage
from gateway.core.exchange.merkle import CompactRange, leaf_hash
from gateway.core.exchange.wire import SHA256, b64
from gateway.core.transparency import tiles
from gateway.core.transparency.entries import Entry, year_of
from gateway.operations import keep_log
from gateway.operations.set_up import set_up
from gateway.services import Services, open_services
from gateway.settings import load
from gateway.store import transparency
from gateway.store.store import new_ids
from gateway.store.transparency import Head
from tests.bench.house import House

TURNS = 30


async def main(folder: Path, size: int) -> None:
    """A store with a long log, then entries and heads."""
    house = House(folder / "house")
    await set_up(load(house.settings), by="bench")
    async with open_services(load(house.settings)) as services:
        await services.policies.refresh()
        await _lengthen(services, size)
        done = {f"ms_{count}": await _measure(services, count) for count in (1, 100)}
    print(json.dumps(done))


async def _lengthen(services: Services, size: int) -> None:
    """The head and edge of a log of so many entries."""
    leaf = leaf_hash(b"entry")
    tree, edge, level, node = CompactRange(), {}, 0, leaf
    stack = []
    for bit in range(size.bit_length()):
        if size >> bit & 1:
            stack.append(node)
        node = SHA256.hash(b"\x01" + node + node)
    tree = CompactRange(SHA256, size, stack[::-1])
    node = leaf
    while size >> 8 * level:
        width = (size >> 8 * level) % tiles.WIDTH
        if width:
            edge[tiles.TileName(level, size >> 8 * (level + 1), width)] = node * width
        for _ in range(tiles.HEIGHT):
            node = SHA256.hash(b"\x01" + node + node)
        level += 1
    async with services.store.transaction() as tx:
        await transparency.append(tx, Head(year=year_of(datetime.now(UTC)), size=size, tree=tree.dump()), [], edge)


async def _measure(services: Services, count: int) -> float:
    """Median milliseconds of so many entries under a new head."""
    taken = []
    for _ in range(TURNS):
        ids = new_ids("rec_", count, services.random)
        made = [
            Entry(op="list", rid=rid, v=1, c=b64(services.random(32)), at="2026-06-01T00:00:00Z", authority=None, reason=None, prev=None)
            for rid in ids
        ]
        started = time.perf_counter()
        async with services.store.transaction() as tx:
            await keep_log.append(tx, made)
        await keep_log.sign_heads(services)
        taken.append((time.perf_counter() - started) * 1000)
    return statistics.median(taken)


if __name__ == "__main__":
    garbage.seldom()
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))

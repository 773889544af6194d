"""One ingest through the product's own story, then the readers of the change log; start-up of the process is not timed.

Run on the server's core: `python -m tests.bench.ingesting SETTINGS DATASET FILE.csv`; prints {"rows_s": …, "rendered_s": …}.
"""

import asyncio
import json
import sys
import time
from pathlib import Path

from gateway.operations.ingest import ingest
from gateway.operations.render_public import render_public
from gateway.services import open_services
from gateway.settings import load
from tests.bench import register


async def main(settings: Path, dataset: str, file: Path) -> None:
    """Take the file in as the authority's own statement."""
    async with open_services(load(settings)) as services:
        await services.policies.refresh()
        started = time.perf_counter()
        receipt = await ingest(
            services, dataset=dataset, path=file, authority=register.AUTHORITY, officer="bench", encoding="utf-8", follow=False
        )
        seconds = time.perf_counter() - started
        started = time.perf_counter()
        while await render_public(services):
            pass
        rendered = time.perf_counter() - started
    rejected = sum(receipt.rejected.values())
    print(json.dumps({"rows_s": receipt.accepted / seconds, "rendered_s": rendered, "accepted": receipt.accepted, "rejected": rejected}))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])))

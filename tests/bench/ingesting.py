"""One ingest through the product's own story, then the readers of the change log; start-up of the process is not timed.

Run on the server's core: `python -m tests.bench.ingesting SETTINGS DATASET FILE.csv`; prints {"rows_s": …, "rendered_s": …, "core_s": …}:
rows a second of the clock, seconds of it that rendering took, rows a second of processor time, ingest and rendering together. What a
process loads once (words, divisions, statements) is loaded before, by the first ten rows of the file; "first_s" says how long those took.
`… FILE.csv alone` ends before anything is rendered.
"""

import asyncio
import csv
import json
import sys
import time
from itertools import islice
from pathlib import Path

from gateway import garbage
from gateway.operations.ingest import ingest
from gateway.operations.render_public import render_public
from gateway.services import Services, open_services
from gateway.settings import load
from tests.bench import register


async def main(settings: Path, dataset: str, file: Path, *, alone: bool) -> None:
    """Take the file in as the authority's own statement."""
    async with open_services(load(settings)) as services:
        await services.policies.refresh()
        first = await _take_in(services, dataset, _beginning(file, 10), alone=alone)
        core = time.process_time()
        taken = await _take_in(services, dataset, file, alone=alone)
        figures = {**taken, "core_s": taken["accepted"] / (time.process_time() - core), "first_s": first["seconds"] + first["rendered_s"]}
    print(json.dumps(figures))


async def _take_in(services: Services, dataset: str, file: Path, *, alone: bool) -> dict[str, float]:
    started = time.perf_counter()
    receipt = await ingest(
        services, dataset=dataset, path=file, authority=register.AUTHORITY, officer="bench", encoding="utf-8", follow=False
    )
    seconds = time.perf_counter() - started
    started = time.perf_counter()
    while not alone and await render_public(services):
        pass
    return {
        "seconds": seconds,
        "rows_s": receipt.accepted / seconds,
        "rendered_s": time.perf_counter() - started,
        "accepted": receipt.accepted,
        "rejected": sum(receipt.rejected.values()),
    }


def _beginning(file: Path, rows: int) -> Path:
    """A file of the first rows of another."""
    beginning = file.with_suffix(".first.csv")
    with file.open(encoding="utf-8", newline="") as whole, beginning.open("w", encoding="utf-8", newline="") as out:
        csv.writer(out).writerows(islice(csv.reader(whole), rows + 1))
    return beginning


if __name__ == "__main__":
    garbage.seldom()
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), alone=sys.argv[4:] == ["alone"]))

"""Level-1 answers to a partner's questions, in one process, without HTTP and without the partner.

`python -m tests.bench.asking FOLDER QUESTIONS` prints p50 and p95 of a hit and of a miss in milliseconds of wall time, with the floor under
which no answer leaves, and the processor time of one.
"""

import asyncio
import json
import statistics
import sys
import time
from pathlib import Path

from gateway import garbage
from gateway.core.exchange import questions
from gateway.core.exchange.questions import Evidence
from gateway.operations.answer_partner import answer_partner
from gateway.services import Services
from tests.asking import Towns, fined, take, with_terms
from tests.region import BAISHAN

FIRMS = 1000
"""Fined, of two thousand asked about."""


async def stock(services: Services) -> None:
    """Every second firm was fined."""
    await take(services, *(fined(number, f"通示罚〔2026〕{number}号") for number in range(0, 2 * FIRMS, 2)))


async def asked(towns: Towns, count: int) -> dict[str, float]:
    """Hits and misses in turn."""
    took: dict[str, list[float]] = {"hit": [], "no_hit": []}
    async with towns.ours() as tonghua:
        await tonghua.policies.refresh()
        cpu = time.process_time()
        for number in range(count + 20):
            body = questions.question_body(towns.question(number % (2 * FIRMS)))
            started = time.perf_counter()
            told = json.loads(await answer_partner(tonghua, BAISHAN, Evidence(body=body, url="", headers={})))
            spent = (time.perf_counter() - started) * 1000
            if number >= 20:  # what the first ones load is loaded
                took[json.loads(told["body"])["result"]].append(spent)
        cpu = (time.process_time() - cpu) * 1000 / (count + 20)
    figures = {"cpu": cpu}
    for result, each in took.items():
        figures |= {f"{result} p50": statistics.median(each), f"{result} p95": statistics.quantiles(each, n=20)[18]}
    return figures


def main(folder: Path, count: int) -> None:
    """Two cities, one of which answers."""
    towns = Towns(folder, with_terms(day=10**6, officer=10**6, subject=10**6))
    towns.make(stock)
    print(json.dumps(asyncio.run(asked(towns, count))))


if __name__ == "__main__":
    garbage.seldom()
    main(Path(sys.argv[1]), int(sys.argv[2]))

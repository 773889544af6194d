"""Names matched a second over the register of the bench, and whether every part of a name finds it.

`python -m tests.bench.matching SETTINGS SUBJECTS` prints {"names_s": …, "recall": …, "asked": …}: batches of a hundred names as clerks
have them (form or region left out, one character wrong, unknown firms), in one process; a page is turned until the name is there.
"""

import asyncio
import json
import random
import statistics
import sys
import time
from pathlib import Path

from gateway import garbage
from gateway.core.callers.caller import PUBLIC
from gateway.operations.answering import begin
from gateway.operations.look_up import look_up
from gateway.operations.match_names import Question, outcomes
from gateway.services import Services, open_services
from gateway.settings import load
from tests.bench import register

ROUNDS = 7
BATCH = 100


def questions(subjects: int, seed: int) -> list[Question]:
    """A batch: a third each whole, without its region, of nobody."""
    random_ = random.Random(seed)
    names = [register.name(random_.randrange(subjects)) for _ in range(BATCH)]
    typed = [(name, name[3:], name.replace("示例", "例示"), f"通化市未见{name[5:]}")[place % 4] for place, name in enumerate(names)]
    return [Question(name=name) for name in typed]


async def rate(services: Services, subjects: int) -> float:
    """Names a second of a core's work, the median of the rounds after the first."""
    rates = []
    for turn in range(ROUNDS + 1):
        batch = questions(subjects, turn)
        scene = await begin(services, PUBLIC, "zh-CN")
        scene.effort.take_your_time()
        started = time.process_time()  # of all threads: what reads off the loop is work as well
        found = await outcomes(scene, batch)
        rates.append(BATCH / (time.process_time() - started))
        if any(each.status not in ("exact", "ambiguous") for each in found[::4]):
            raise RuntimeError("a whole name is not matched")
    return statistics.median(rates[1:])


async def recall(services: Services, subjects: int, asked: int) -> float:
    """The share of substrings of two to six characters that find their name; what more names hold than may be walked is passed over."""
    random_ = random.Random(1)
    right = counted = 0
    while counted < asked:
        name = register.name(random_.randrange(subjects))
        size = random_.randint(2, 6)
        start = random_.randrange(3, len(name) - size + 1)
        scene = await begin(services, PUBLIC, "zh-CN")
        found = await look_up(scene, name[start : start + size])
        if not found.truncated:
            counted += 1
            right += any(hit.shown == name for hit in found.hits)
    return right / asked


async def main(settings: Path, subjects: int) -> None:
    """Measure; one JSON object."""
    asked = 300
    async with open_services(load(settings)) as services:
        await services.policies.refresh()
        print(json.dumps({"names_s": await rate(services, subjects), "recall": await recall(services, subjects, asked), "asked": asked}))


if __name__ == "__main__":
    garbage.seldom()
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))

"""What ten times as many records cost: the same questions to a small and a large register, in turn, in one process.

`python -m tests.bench.growing SMALL LARGE SUBJECTS` (two settings files; the small one holds SUBJECTS firms, the large one ten times as
many, nothing but registrations in both) prints the microseconds of processor time of each question in each, medians of rounds: medians
of shares of one process hold still where a shared machine's rates do not.
"""

import asyncio
import json
import random
import statistics
import sys
import time
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from gateway import garbage
from gateway import settings as settings_room
from gateway.app import create_app
from gateway.operations.tidy_names import tidy_names
from gateway.services import open_services
from tests.bench import register
from tests.bench.doors import Address, answer, living

ROUNDS = 9
EACH = 200
TIMES = 10


@asynccontextmanager
async def _served(settings_file: Path) -> Any:
    app = create_app(settings_room.load(settings_file, {}))
    async with living(app):
        yield app


def _questions(subjects: int, turn: int) -> dict[str, list[Address]]:
    """Other ones in each turn, over the whole register, so that what is kept of the last ones helps nobody."""
    rng = random.Random(turn)
    firms = [rng.randrange(subjects) for _ in range(EACH)]
    names = [register.name(firm) for firm in firms]
    # every row passes, each is another question
    days = [f"{2031 + number // 28}-{1 + turn % 12:02}-{1 + number % 28:02}" for number in range(EACH)]
    return {
        "look-up": [(f"/v1/subjects/{register.code(firm)}", "") for firm in firms],
        "look-up, its records": [(f"/v1/subjects/{register.code(firm)}/records", "limit=20") for firm in firms],
        "search, whole name": [("/v1/subjects", f"limit=10&q={quote(name)}") for name in names],
        "search, four characters": [("/v1/subjects", f"limit=10&q={quote(name[5:9])}") for name in names],
        "search, two characters": [("/v1/subjects", f"limit=10&q={quote(name[5:7])}") for name in names],
        "page of records": [("/v1/records", f"dataset=registrations&limit=20&published_from__lte={day}") for day in days],
    }


async def measure(files: tuple[Path, Path], subjects: int) -> dict[str, Any]:
    """By question: microseconds in the small and in the large register, with the names index as a server has it after its first minute."""
    taken: dict[str, tuple[list[float], list[float]]] = {}
    for file in files:
        async with open_services(settings_room.load(file, {})) as services:
            await tidy_names(services)
    async with AsyncExitStack() as stack:
        apps = [await stack.enter_async_context(_served(file)) for file in files]
        for turn in range(ROUNDS + 1):
            for place, size in enumerate((subjects, subjects * TIMES)):
                for name, asked in _questions(size, turn).items():
                    began = time.process_time()
                    for path, query in asked:
                        status, _ = await answer(apps[place], path, query)
                        if status != 200:
                            raise RuntimeError(f"{name}: {status}")
                    spent = (time.process_time() - began) / len(asked) * 1e6
                    if turn:
                        taken.setdefault(name, ([], []))[place].append(spent)
    return {name: [statistics.median(each) for each in both] for name, both in taken.items()}


def main() -> None:
    """Print the figures as JSON."""
    files = Path(sys.argv[1]), Path(sys.argv[2])
    print(json.dumps(asyncio.run(measure(files, int(sys.argv[3])))))


if __name__ == "__main__":
    garbage.seldom()
    main()

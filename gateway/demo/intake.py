"""One city's department files, all in one process: `python -m gateway.demo.intake SETTINGS SEED SUBJECTS TODAY`.

The same story that `chengxin ingest` tells for each file, without starting the house twelve times; the demo runs one such process a city.
Receipts are written beside the city's data. This room must not know the rest of the story.
"""

import asyncio
import sys
from datetime import date
from pathlib import Path

from gateway import settings as settings_room
from gateway.console import note, progress, tell_error
from gateway.operations.ingest import ingest, receipt_json
from gateway.sample.generate import SampleFile, write_sample
from gateway.services import open_services


def receipt_path(city: Path, file: SampleFile) -> Path:
    """Where the receipt of a file of the sample stands."""
    return city / "receipts" / f"{file.path.stem}.json"


def files_of(city: Path, region: str, *, seed: int, subjects: int, today: date) -> list[SampleFile]:
    """Write the city's files; the same arguments give the same bytes."""
    return write_sample(city / "files", seed=seed, city=region, subjects=subjects, today=today)


async def take_in(settings_file: Path, *, seed: int, subjects: int, today: date) -> None:
    """Ingest every file of one city and write its receipts.

    Raises what `ingest` raises; what was taken in before comes out the same.
    """
    settings = settings_room.load(settings_file)
    folder = settings_file.parent
    (folder / "receipts").mkdir(exist_ok=True)
    async with open_services(settings) as services:
        for file in files_of(folder, settings.region, seed=seed, subjects=subjects, today=today):
            with progress(file.path.name) as tell:
                receipt = await ingest(
                    services,
                    dataset=file.dataset,
                    path=file.path,
                    authority=file.authority,
                    officer=file.officer,
                    encoding=file.encoding,
                    progress=tell,
                )
            receipt_path(folder, file).write_bytes(receipt_json(receipt))
    note("taken in")


if __name__ == "__main__":
    settings_name, seed_text, subjects_text, today_text = sys.argv[1:]
    try:
        asyncio.run(take_in(Path(settings_name), seed=int(seed_text), subjects=int(subjects_text), today=date.fromisoformat(today_text)))
    except Exception as fault:  # noqa: BLE001 - the last place that can turn a fault into one line
        raise SystemExit(tell_error(fault)) from None

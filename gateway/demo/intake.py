"""One city's department files, all in one process: `python -m gateway.demo.intake SETTINGS SEED SUBJECTS TODAY`.

The same story that `chengxin ingest` tells for each file, without starting the house for each; the demo runs one such process a city.
Receipts are written beside the city's data. This room must not know the rest of the story.
"""

import asyncio
import sys
from datetime import date
from pathlib import Path

import msgspec
from msgspec import Struct

from gateway import settings as settings_room
from gateway.commands.office import write_whole
from gateway.console import progress, tell_error
from gateway.operations.ingest import IngestReceipt, ingest
from gateway.sample.files import SampleFile
from gateway.sample.generate import write_sample
from gateway.services import open_services

RECEIPTS = "receipts.json"


class Taken(Struct, frozen=True, kw_only=True):
    """One file and its receipt, as kept beside the city's data."""

    file: str
    sent_as: str
    receipt: IngestReceipt


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[Taken]).decode


def kept_receipts(city: Path) -> list[Taken]:
    """What was taken in for a city, file by file."""
    return _decode((city / RECEIPTS).read_bytes())


async def take_in(settings_file: Path, *, seed: int, subjects: int, today: date) -> None:
    """Ingest every file of one city and write its receipts.

    Raises what `ingest` raises; what was taken in before comes out the same.
    """
    settings = settings_room.load(settings_file)
    folder = settings_file.parent
    taken: list[Taken] = []
    async with open_services(settings) as services:
        for file in write_sample(folder / "files", seed=seed, city=settings.region, subjects=subjects, today=today):
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
            taken.append(Taken(file=file.path.stem, sent_as=_sent_as(file), receipt=receipt))
    write_whole(folder / RECEIPTS, _encode(taken))


def _sent_as(file: SampleFile) -> str:
    kind = file.path.suffix[1:]
    return kind if kind == "xlsx" else f"{kind}, {file.encoding}"


if __name__ == "__main__":
    settings_name, seed_text, subjects_text, today_text = sys.argv[1:]
    try:
        asyncio.run(take_in(Path(settings_name), seed=int(seed_text), subjects=int(subjects_text), today=date.fromisoformat(today_text)))
    except Exception as fault:  # noqa: BLE001 - the last place that can turn a fault into one line
        raise SystemExit(tell_error(fault)) from None

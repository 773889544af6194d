"""Kill −9 of real houses that share a folder, while files are put there: the next start goes on, effects exactly once.

Two commands, each a process of its own, and no server: `chengxin exchange send` lays batches down, `chengxin exchange pull` finds batches
and receipts.
"""

import asyncio
import subprocess
import time
from pathlib import Path

import pytest

from tests.crash.commanding import Command, started, through
from tests.crash.test_exchange_kill import Town
from tests.ledger import check_ledger
from tests.operations.publishing import PENALTIES as DATASET
from tests.operations.publishing import code, penalty, put
from tests.region import BAISHAN, NOW, PENALTIES, TONGHUA, a_city, agree, template

RECORDS = 300


@pytest.fixture(scope="module")
def towns(tmp_path_factory: pytest.TempPathFactory) -> tuple[Town, Town, Path]:
    """Two cities that have agreed on a folder; Tonghua has penalties to tell."""
    folder = tmp_path_factory.mktemp("towns")
    drop = folder / "drop"
    drop.mkdir()
    text = template().replace('delivery = "push"', 'delivery = "drop"')
    text = text.replace('adapter = "https_partner"\n', f'adapter = "file_drop"\nconfig = {{ root = "{drop}" }}\n')

    async def prepare() -> None:
        async with a_city(folder / "th", TONGHUA, now=NOW) as tonghua, a_city(folder / "bs", BAISHAN, now=NOW, port=8001) as baishan:
            await agree(tonghua, baishan, text)
            rows = [penalty(code(number), f"通化市测试{number}商贸有限公司", f"通示罚〔2026〕{number}号") for number in range(RECORDS)]
            await put(tonghua, DATASET, *rows)

    asyncio.run(prepare())
    return Town(folder / "th", 8000), Town(folder / "bs", 8001), drop


def killed_when(process: Command | subprocess.Popen[bytes], drop: Path, pattern: str) -> None:
    """Kill a process as soon as a file of this name lies in the folder."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not list(drop.glob(pattern)) and process.poll() is None:
        time.sleep(0.0005)
    assert list(drop.glob(pattern)), process.communicate()
    process.kill()
    process.wait()


def words(town: Town, *arguments: str) -> tuple[str, ...]:
    """The arguments of a command of this town."""
    return ("--settings", str(town.settings), *arguments)


def test_killed_while_files_are_put_there(towns: tuple[Town, Town, Path]):
    """The sender dies at its first file, the receiver at its first receipt; both go on, and every record has arrived once."""
    ours, theirs, drop = towns
    sender = started(*words(ours, "exchange", "send", "--now"), variables=ours.environment)
    killed_when(sender, drop, f"{PENALTIES}/{TONGHUA}/batches/*/*")
    sealed = ours.ask("SELECT stream, seq, manifest_digest FROM out_batches ORDER BY 1, 2")
    through(*words(ours, "exchange", "send", "--now"), variables=ours.environment)
    assert set(sealed) <= set(ours.ask("SELECT stream, seq, manifest_digest FROM out_batches")), "the same bytes go again"
    killed_when(Command(*words(theirs, "exchange", "pull"), variables=theirs.environment), drop, "*/*/receipts/*")
    through(*words(theirs, "exchange", "pull"), variables=theirs.environment)
    through(*words(ours, "exchange", "pull"), variables=ours.environment)
    assert theirs.ask("SELECT count(*), count(DISTINCT record_id), max(version) FROM records") == [(RECORDS, RECORDS, 1)]
    assert ours.ask("SELECT count(*) FROM out_batches WHERE state <> 'acked'") == [(0,)]

    async def look() -> None:
        for town, party in ((ours, TONGHUA), (theirs, BAISHAN)):
            async with a_city(town.folder, party, now=NOW, port=town.port, new=False) as services:
                await check_ledger(services)

    asyncio.run(look())

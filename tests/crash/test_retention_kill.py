"""Kill −9 in the middle of erasing what was kept long enough: what is gone is whole, what is left is listed, the next one goes on."""

import asyncio
import signal
import sqlite3
from collections import Counter
from datetime import date
from pathlib import Path

from gateway.operations import erase_due
from gateway.operations.render_public import settle
from gateway.operations.retention_due import look_through
from gateway.services import Services
from tests.administrators import hand
from tests.crash.dying import NEVER, acting
from tests.operations.publishing import PENALTIES, a_house, ids, put
from tests.operations.test_retention import YESTERDAY, old

RECORDS = 6


async def erase_all(services: Services) -> None:
    """All that is due, two records a transaction."""
    erase_due.CHUNK = 2
    await erase_due.erase_due(services, PENALTIES, until=YESTERDAY, most=RECORDS, dry_run=False, by=hand("kang", "key-custodian"))


async def filled(folder: Path) -> None:
    """A house in which everything is due."""
    async with a_house(folder, "") as services:
        assert len(ids(await put(services, PENALTIES, *(old(number, "2019-01-09") for number in range(1, RECORDS + 1))))) == RECORDS
        await settle(services)
        assert (await look_through(services)).datasets[0].oldest == date(2024, 1, 9)


def found(folder: Path) -> int:
    """How many are erased; each once, with its change and its row among the erasures, and off the list; the others as they were."""
    connection = sqlite3.connect(f"file:{folder / 'data' / 'gateway.db'}?mode=ro", uri=True)
    try:
        states = dict(connection.execute("SELECT record_id, state FROM records"))
        ops = Counter(row[0] for row in connection.execute("SELECT record_id FROM changes WHERE op = 'erase'"))
        gone = {record_id for record_id, state in states.items() if state == "erased"}
        assert ops == Counter(gone)
        assert gone == {row[0] for row in connection.execute("SELECT record_id FROM erasures")}
        assert states.keys() - gone == {row[0] for row in connection.execute("SELECT record_id FROM retention_due")}
        told = connection.execute("SELECT count(*) FROM audit WHERE act = 'record.erase'").fetchone()
        assert told == (len(gone),)
        return len(gone)
    finally:
        connection.close()


def test_killed_at_every_kind_of_step(tmp_path: Path) -> None:
    """Begun, half written, before the commit, after it, in the second stretch: after each death two more are gone or none is."""
    asyncio.run(filled(tmp_path))
    erased = []
    for dies_at in (1, 2, 3, 4, 7, NEVER):
        status = acting(tmp_path, erase_all, dies_at).ended()
        assert status == (-signal.SIGKILL if dies_at else 0), dies_at
        erased.append(found(tmp_path))
    assert erased == [0, 0, 0, 2, 4, 6]

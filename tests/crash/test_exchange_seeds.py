"""Kill −9 at every transition of an exchange, before its commit and after it, of the sender, of the receiver, pushed and fetched.

After each death: no batch is there in part, what is acknowledged is applied and nothing else is. After the next start: every effect once.
"""

import asyncio
import json
import os
import shutil
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Literal

import pytest
from msgspec import Struct

from tests.crash.dying import NEVER, REPAIRED, Child, acting, fetch, serving, tell
from tests.crash.test_exchange_kill import free_port
from tests.ledger import check_ledger
from tests.operations.publishing import PENALTIES as DATASET
from tests.operations.publishing import code, penalty, put
from tests.region import BAISHAN, NOW, PENALTIES, TONGHUA, a_city, agree, template

RECORDS = 12
KILLED = -9
STAGES = 4
"""Of what is told, each when the last is known."""
ONE_IN = 1 if os.environ.get("SOAK") else 10
AT_LEAST = 48
"""Seeds of each way."""
ROUNDS = 5
"""So often a story is told again after a death until everything has arrived."""


class Seed(Struct, frozen=True):
    """Who dies, at which step, and which way the batches go."""

    way: str
    who: Literal["sender", "receiver"]
    step: int

    def __str__(self) -> str:
        return f"{self.way}, {self.who} at step {self.step}"


class Cities:
    """Two cities in a folder, as processes."""

    def __init__(self, folder: Path, ports: tuple[int, int], way: str) -> None:
        self.th, self.bs, self.ports, self.way = folder / "th", folder / "bs", ports, way

    def go(self, sender: int = NEVER, receiver: int = NEVER) -> tuple[int, int]:
        """One round, with its deaths; how many steps each side made."""
        if self.way == "push":
            server = serving(self.bs, self.ports[1], receiver)
            teller = acting(self.th, tell, sender)
            _ended(teller, sender)
            return teller.steps, _stopped(server, receiver)
        server, fetched = serving(self.th, self.ports[0], sender), 0
        for _ in range(STAGES):  # what is told is sealed as when it is pushed, where that dies; here it does not
            asyncio.run(self._tell())
            fetcher = acting(self.bs, fetch, receiver)
            _ended(fetcher, receiver)
            fetched += fetcher.steps
            if fetcher.process.exitcode or server.process.exitcode:
                break
            receiver = max(receiver - fetcher.steps, NEVER)
        return _stopped(server, sender), fetched

    async def _tell(self) -> None:
        async with a_city(self.th, TONGHUA, now=NOW, port=self.ports[0], new=False) as services:
            await tell(services)

    def ask(self, folder: Path, query: str) -> list[tuple[object, ...]]:
        """Rows of a database, read from outside."""
        connection = sqlite3.connect(f"file:{folder / 'data' / 'gateway.db'}?mode=ro", uri=True)
        try:
            return connection.execute(query).fetchall()
        finally:
            connection.close()

    def check(self) -> None:
        """After any death: whole batches only, and acknowledged ⇔ applied."""
        asyncio.run(self._ledgers())
        applied = set(self.ask(self.bs, "SELECT epoch, seq FROM in_batches WHERE state IN ('applied', 'partial')"))
        answered = set(self.ask(self.th, "SELECT epoch, seq FROM out_batches WHERE state = 'acked'"))
        assert answered <= applied, "acknowledged, hence applied"
        receipts = [json.loads(bytes(body)) for (body,) in self.ask(self.bs, "SELECT body FROM receipts")]  # type: ignore[arg-type]
        about = [said for said in receipts if said["batch"] is not None and said["result"] in {"applied", "partial"}]
        given = {(said["batch"]["epoch"], said["batch"]["seq"]) for said in about}
        assert given == applied, "acknowledged if and only if it is applied"
        shown = self.ask(self.bs, "SELECT count(*) FROM records WHERE state = 'in_force'")
        assert shown[0][0] in {0, RECORDS, RECORDS - REPAIRED}, "no batch is there in part"

    async def _ledgers(self) -> None:
        for folder, party, port in ((self.th, TONGHUA, self.ports[0]), (self.bs, BAISHAN, self.ports[1])):
            async with a_city(folder, party, now=NOW, port=port, new=False) as services:
                await check_ledger(services)

    def settled(self) -> bool:
        """Whether everything was said in the second epoch and acknowledged."""
        waiting = self.ask(self.th, f"SELECT count(*) FROM out_batches WHERE stream = '{PENALTIES}' AND epoch = 2 AND state <> 'acked'")
        there = self.ask(self.th, f"SELECT count(*) FROM out_batches WHERE stream = '{PENALTIES}' AND epoch = 2")
        return waiting == [(0,)] and there != [(0,)]

    def check_end(self) -> None:
        """Each effect once: versions, changes, and both heads alike."""
        self.check()
        states = Counter(state for (state,) in self.ask(self.bs, "SELECT state FROM records"))
        assert states == {"in_force": RECORDS - REPAIRED, "repaired": REPAIRED}
        twice = self.ask(self.bs, "SELECT record_id, op, count(*) FROM changes GROUP BY record_id, op HAVING count(*) > 1")
        assert twice == [], "no effect twice"
        head = "SELECT epoch, seq, size, manifest_digest FROM {} WHERE stream = '" + PENALTIES + "' ORDER BY epoch DESC LIMIT 1"
        assert self.ask(self.th, head.format("out_streams")) == self.ask(self.bs, head.format("in_streams"))


def _ended(child: Child, dies_at: int) -> None:
    code = child.ended()
    assert code in ((0, KILLED) if dies_at else (0,)), code


def _stopped(child: Child, dies_at: int) -> int:
    assert child.process.exitcode in ((None, KILLED) if dies_at else (None,)), "it ended by itself"
    child.kill()
    return child.steps


@pytest.fixture(scope="module", params=["push", "pull"])
def prepared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[int, int], str]:
    """Two cities that have agreed, one way or the other; Tonghua has penalties to tell."""
    folder, ports, way = tmp_path_factory.mktemp("towns"), (free_port(), free_port()), str(request.param)

    async def prepare() -> None:
        async with (
            a_city(folder / "th", TONGHUA, now=NOW, port=ports[0]) as tonghua,
            a_city(folder / "bs", BAISHAN, now=NOW, port=ports[1]) as baishan,
        ):
            text = template().replace('delivery = "push"', f'delivery = "{way}"')
            text = text.replace('adapter = "https_partner"', 'adapter = "https_partner"\nconfig = { wait_s = 0 }')
            rows = [
                penalty(code(number), f"通化市测试{number}商贸有限公司", f"通示罚〔2026〕{number}号") for number in range(1, RECORDS + 1)
            ]
            await agree(tonghua, baishan, text)
            await put(tonghua, DATASET, *rows)

    asyncio.run(prepare())
    return folder, ports, way


def test_killed_at_every_transition(prepared: tuple[Path, tuple[int, int], str], tmp_path: Path):
    """Whoever dies wherever: nothing is there in part, nothing acknowledged that is not applied, and in the end every effect once."""
    pattern, ports, way = prepared

    def fresh(name: str) -> Cities:
        shutil.copytree(pattern, tmp_path / name)
        return Cities(tmp_path / name, ports, way)

    def to_the_end(cities: Cities) -> tuple[int, int]:
        steps = 0, 0
        for _ in range(ROUNDS):
            if not cities.settled():
                more = cities.go()
                steps = steps[0] + more[0], steps[1] + more[1]
        assert cities.settled()
        cities.check_end()
        return steps

    sender, receiver = to_the_end(fresh("whole"))
    seeds = [Seed(way, "sender", step + 1) for step in range(sender)] + [Seed(way, "receiver", step + 1) for step in range(receiver)]
    assert len(seeds) >= AT_LEAST
    for seed in seeds[len(way) % ONE_IN :: ONE_IN]:
        cities = fresh(str(seed))
        cities.go(**{seed.who: seed.step})
        cities.check()
        to_the_end(cities)
        shutil.rmtree(tmp_path / str(seed))

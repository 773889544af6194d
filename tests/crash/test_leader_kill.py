"""Two real servers of one house on PostgreSQL: one keeps the exchange; killed, the other goes on, and nothing is delivered twice."""

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy.engine import make_url

from gateway.operations.lead_exchange import BEAT_S, LEASE_S
from tests.crash.test_exchange_kill import Town, free_port, kill, serving
from tests.operations.publishing import PENALTIES as DATASET
from tests.operations.publishing import code, penalty, put
from tests.region import BAISHAN, NOW, PENALTIES, TONGHUA, a_city, agree, template

SLACK_S = 10.0
"""For a busy machine: starts, polls, and the delivery itself."""


async def ask(database: str, query: str) -> list[Any]:
    """Rows of the shared database, read from outside."""
    connection = await asyncpg.connect(make_url(database).set(drivername="postgresql").render_as_string(hide_password=False))
    try:
        return [tuple(row) for row in await connection.fetch(query)]
    finally:
        await connection.close()


def until(seen: Callable[[], Any], seconds: float) -> Any:
    """What is seen, as soon as there is something."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := seen():
            return found
        time.sleep(0.2)
    raise AssertionError(f"not within {seconds} s")


@pytest.fixture
def towns(tmp_path: Path, pg_database: str) -> tuple[Town, Town, Town]:
    """Tonghua twice, on one database and with one data directory, and Baishan."""
    ports = [free_port() for _ in range(3)]

    async def prepare() -> None:
        async with (
            a_city(tmp_path / "th", TONGHUA, database=pg_database, now=NOW, port=ports[0]) as tonghua,
            a_city(tmp_path / "bs", BAISHAN, now=NOW, port=ports[2]) as baishan,
        ):
            await agree(tonghua, baishan, template())
            await told(tonghua, 1, 40)

    asyncio.run(prepare())
    first, second = Town(tmp_path / "th", ports[0]), Town(tmp_path / "th", ports[1])
    text = first.settings.read_text(encoding="utf-8").replace("demo = true", "demo = true\nexchange_poll_s = 1")
    first.settings.write_text(text, encoding="utf-8")
    second.settings = tmp_path / "th" / "second.toml"
    second.settings.write_text(text.replace(f"\nport = {ports[0]}", f"\nport = {ports[1]}"), encoding="utf-8")
    return first, second, Town(tmp_path / "bs", ports[2])


async def told(tonghua: Any, first: int, last: int) -> None:
    """Penalties to be told of."""
    rows = [penalty(code(number), f"通化市测试{number}商贸有限公司", f"通示罚〔2026〕{number}号") for number in range(first, last + 1)]
    await put(tonghua, DATASET, *rows)


def test_the_leader_is_killed(towns: tuple[Town, Town, Town], pg_database: str) -> None:
    """The other server sees the silence and sends what came since, within a lease and a beat; every batch was tried once."""
    first, second, baishan = towns

    def holder() -> int:
        rows = asyncio.run(ask(pg_database, "SELECT holder FROM leases WHERE name = 'exchange'"))
        return int(rows[0][0].partition("-")[0]) if rows else 0

    def arrived(number: int) -> bool:
        return baishan.ask("SELECT count(*) FROM in_records") == [(number,)]

    def sealed() -> list[Any]:
        found = asyncio.run(ask(pg_database, f"SELECT seq, state, attempts FROM out_batches WHERE stream = '{PENALTIES}' ORDER BY seq"))
        return found if all(state == "acked" for _, state, _ in found) else []  # it has arrived before its receipt is back

    with serving(baishan), serving(first) as one, serving(second) as other:
        leader = until(holder, 30)
        until(lambda: arrived(40), 60)
        until(sealed, 10)  # a delivery that the death cut off would be tried twice, and rightly (see test_exchange_kill)
        dies, lives = (one, other) if os.getpgid(leader) == one.pid else (other, one)
        assert os.getpgid(leader) == dies.pid
        kill(dies)
        killed = time.monotonic()

        async def more() -> None:
            port = (first if dies is one else second).port
            async with a_city(first.folder, TONGHUA, database=pg_database, now=NOW, port=port, new=False) as tonghua:
                await told(tonghua, 41, 60)

        asyncio.run(more())
        next_one = until(lambda: (found := holder()) != leader and found, LEASE_S + 2 * BEAT_S + SLACK_S)
        assert os.getpgid(next_one) == lives.pid
        assert time.monotonic() - killed > BEAT_S, "it was not taken from a leader that may still live"
        until(lambda: arrived(60), 30)

        batches = until(sealed, 10)
        assert [seq for seq, _, _ in batches] == list(range(1, len(batches) + 1))
        assert {(state, attempts) for _, state, attempts in batches} == {("acked", 1)}
        assert baishan.ask("SELECT count(*), count(DISTINCT record_id), max(version) FROM records") == [(60, 60, 1)]
        got = baishan.ask(f"SELECT count(*) FROM receipts WHERE stream = '{PENALTIES}'")
        assert got == [(len(batches),)], "each came once"

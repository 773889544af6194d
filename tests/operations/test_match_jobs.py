"""Match jobs over a real store on both databases: a worker that dies leaves nothing half done, and nobody writes out of turn."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from gateway.core.callers.caller import PUBLIC
from gateway.core.errors import NotFound, QueryTimeout
from gateway.operations import match_jobs as story
from gateway.operations.match_jobs import ColumnMapping, JobAsked
from gateway.operations.read_table import Table
from gateway.services import Services
from gateway.store import match_jobs as store
from gateway.store.tables import match_jobs
from tests.operations.publishing import a_town, at

FIRM = "通化市示例药业有限公司"


@pytest.fixture
async def town(tmp_path: Path, store_url: str) -> AsyncIterator[Services]:
    """A small rendered town, on SQLite and on PostgreSQL."""
    async with a_town(tmp_path, store_url) as (services, _):
        yield services


async def sent(services: Services, rows: int = 50) -> str:
    """A job of so many rows."""
    table = Table(["n"], [[FIRM]] * rows)
    return (await story.submit(services, PUBLIC, table, JobAsked(mapping=ColumnMapping(name="n")))).id


async def kept(services: Services) -> Any:
    """What stands of the only job."""
    return (await services.store.reads.all(sa.select(match_jobs)))[0]


async def test_a_job_whose_worker_died_is_begun_anew(town: Services) -> None:
    """Not while it is believed to be at work; then whole, and the dead one's late words change nothing."""
    job = await sent(town)
    async with town.store.transaction() as tx:
        dead = await store.take(tx, "dead", town.clock())
    assert dead is not None
    assert not await story.work(town)
    assert (await story.show(town, PUBLIC, job)).state == "running"
    with pytest.raises(NotFound):
        await story.result(town, PUBLIC, job, "csv")
    later = (town.clock() + store.LEASE + timedelta(seconds=1)).isoformat()
    async with at(town, later) as services:
        assert await story.work(services)
        async with services.store.transaction() as tx:
            assert not await store.go_on(tx, dead, 20, services.clock())
            await store.finish(tx, dead, services.clock(), state="failed", done=0, result=None)
        assert (await story.show(services, PUBLIC, job)).state == "done"
        lines = (await story.result(services, PUBLIC, job, "ndjson")).splitlines()
        assert [msgspec.json.decode(line)["match_status"] for line in lines] == ["exact"] * 50
        assert (await kept(services)).upload is None
        assert FIRM.encode() not in bytes((await kept(services)).result)


async def test_a_fault_on_the_way_gives_the_job_back(town: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """What may pass begins it anew in the next round; what does not ends it, and its file with it."""
    job = await sent(town)

    async def slow(*_: Any, **__: Any) -> Any:
        raise QueryTimeout

    async def broken(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(story, "outcomes", slow)
    with pytest.raises(QueryTimeout):
        await story.work(town)
    assert (await story.show(town, PUBLIC, job)).state == "queued"
    monkeypatch.setattr(story, "outcomes", broken)
    with pytest.raises(ZeroDivisionError):
        await story.work(town)
    assert (await story.show(town, PUBLIC, job)).state == "failed"
    assert (await kept(town)).upload is None
    assert not await story.work(town)


async def test_a_job_that_is_ended_meanwhile_leaves_no_result(town: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker hears of it at its next word, and what it found is kept nowhere."""
    job = await sent(town, rows=story.TELL_EVERY + 1)
    outcomes = story.outcomes

    async def ending(*asked: Any, **options: Any) -> Any:
        if (await story.show(town, PUBLIC, job)).state == "running":
            await story.cancel(town, PUBLIC, job)
        return await outcomes(*asked, **options)

    monkeypatch.setattr(story, "outcomes", ending)
    assert await story.work(town)
    row = await kept(town)
    assert (row.state, row.upload, row.result) == ("cancelled", None, None)

"""When nothing moves: a round of the works beside the answers is one statement, until something was committed or a date comes."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway import background
from gateway.core.callers.caller import PUBLIC
from gateway.operations import answer_query, render_public
from gateway.operations.render_public import lag
from gateway.operations.standstill import Standstill
from gateway.operations.withdraw import withdraw
from gateway.services import Services, open_services
from gateway.store import feed
from gateway.store.reads import PostgresReads, SqliteReads
from gateway.web.telemetry import Meter
from tests.operations.publishing import PENALTIES, a_town, at, code, penalty, put, read
from tests.operations.test_render_again import HIDE_FINE, change_policy

Round = Callable[[Services, Meter, Standstill], Awaitable[None]]
Town = tuple[Services, dict[str, str]]
ROUNDS: list[Round] = [background.read_round, background.follow_round, background.job_round]


@pytest.fixture
async def town(tmp_path: Path, store_url: str) -> AsyncIterator[tuple[Services, dict[str, str]]]:
    """A small town, on SQLite and on PostgreSQL."""
    async with a_town(tmp_path, store_url) as both:
        yield both


class Works:
    """The works of one process, each with what it knows."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._meter = Meter()
        self.works = [(each, Standstill()) for each in ROUNDS]

    async def go_round(self, services: Services | None = None) -> None:
        """Each once."""
        for each, still in self.works:
            await each(services or self._services, self._meter, still)

    async def come_to_rest(self, services: Services | None = None) -> None:
        """As often as it takes for what one of them wrote to be seen by the others."""
        for _ in range(3):
            await self.go_round(services)


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The statements that readers ask meanwhile, a look at the state of the database among them."""
    asked: list[str] = []

    def counting(kind: type, name: str) -> None:
        real = getattr(kind, name)

        def counts(self: Any, *arguments: Any, **named: Any) -> Any:
            asked.append(name)
            return real(self, *arguments, **named)

        patched.setattr(kind, name, counts)

    with monkeypatch.context() as patched:
        for name in ("all", "one", "slow", "brief", "stream", "moment"):
            counting(SqliteReads, name)
        for name in ("_execute", "stream"):
            counting(PostgresReads, name)
        yield asked


async def the_least_of(works: Works, services: Services, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many statements a round takes at rest; a server of several databases may have looked after one of the others in between."""
    await works.come_to_rest(services)
    counts = []
    for _ in range(3):
        with counted(monkeypatch) as asked:
            await works.go_round(services)
        counts.append(len(asked))
    return min(counts)


async def test_an_idle_round_is_one_statement_a_work(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each work one look; the round before had to ask everything."""
    services, _ = town
    works = Works(services)
    with counted(monkeypatch) as asked:
        await works.go_round()
    assert len(asked) > 20
    assert await the_least_of(works, services, monkeypatch) == len(ROUNDS)


async def test_what_another_process_commits_is_seen_in_the_next_round(town: Town) -> None:
    """What is taken in and out elsewhere is read as if nothing had stood still, and so is a version that comes into force there."""
    services, made = town
    works = Works(services)
    await works.come_to_rest()
    async with open_services(services.settings) as other:
        await put(other, PENALTIES, penalty(code(1), "通化市示例药业有限公司", "通示罚〔2026〕9号"))
        await withdraw(other, made["罚单"], reason="corrected", actor="officer")
    assert await lag(services) == 2
    await works.go_round()
    assert await lag(services) == 0
    await works.come_to_rest()
    before = services.policies.version
    async with open_services(services.settings) as other:
        await change_policy(other, *HIDE_FINE)
    await works.go_round()
    assert services.policies.version == before + 1


async def test_a_date_is_kept_though_nothing_was_committed(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """A removal is told at its full half minute, and no round before it asks more than one statement a work."""
    services, made = town
    works = Works(services)
    await withdraw(services, made["罚单"], reason="corrected", actor="officer")
    await works.come_to_rest()
    head = await feed.head(services.store.reads, "public/open.read")
    async with at(services, "2026-06-02T02:30:29Z") as later:
        assert await the_least_of(works, later, monkeypatch) == len(ROUNDS)
        assert await feed.head(later.store.reads, "public/open.read") == head
    async with at(services, "2026-06-02T02:30:30Z") as later:
        await works.go_round(later)
        assert (await feed.head(later.store.reads, "public/open.read")).seq == head.seq + 1


async def test_the_end_of_a_period_is_among_the_dates(town: Town) -> None:
    """The earliest end of what is rendered is named, whatever hour it is at."""
    services, made = town
    shown = read(await answer_query.record(services, made["罚单"], PUBLIC, "zh-CN"))
    ends = [date for date in await render_public.dates(services) if date is not None]
    assert min(ends) <= f"{shown['publish_until']}T16:00:00Z"


async def test_a_standstill_ends_at_midnight_after_a_minute_and_when_the_clock_goes_back(town: Town) -> None:
    """Nothing is committed; only the clock moves, forward or back."""
    services, _ = town
    for moments in (
        ("2026-06-02T15:59:30Z", "2026-06-02T15:59:59Z", "2026-06-02T16:00:00Z"),
        ("2026-06-02T03:00:00Z", "2026-06-02T03:00:59Z", "2026-06-02T03:01:00Z"),
        ("2026-06-02T03:00:00Z", "2026-06-02T03:00:00Z", "2026-06-02T02:59:59Z"),
    ):
        still, lasted = Standstill(), []
        for moment in moments:
            async with at(services, moment) as then:
                lasted.append(await still.lasts(then))
                if not lasted[-1]:
                    still.begins()
        assert lasted == [False, True, False]


async def test_a_round_that_breaks_off_found_nothing_out(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one asks everything again; so does every round where the server cannot tell its state, as a standby."""
    services, _ = town
    still = Standstill()
    assert not await still.lasts(services)
    still.begins()
    async with services.store.transaction() as tx:
        await tx.number("test")
    for _ in range(2):
        assert not await still.lasts(services)  # and it does not begin
    monkeypatch.setattr(type(services.store.reads), "state", unknown)
    still.begins()
    for _ in range(2):
        assert not await still.lasts(services)
        still.begins()


async def unknown(_: object) -> None:
    """The state of a standby."""

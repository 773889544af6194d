"""Feeds of bound callers: for whom there is one, from when, and what is told of records that move into a caller's reach or out of it."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from datetime import date
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from gateway.core.callers.caller import PUBLIC, Caller
from gateway.core.errors import InvalidParameter, SinceTooOld
from gateway.operations import follow_feed, read_feed
from gateway.operations.answer_query import dataset, records_page
from gateway.operations.feeding import fed
from gateway.operations.manage_keys import issue_token
from gateway.operations.render_public import render_public, settle
from gateway.operations.withdraw import withdraw
from gateway.services import Services
from gateway.store import apps, feed, renderings
from gateway.store import grants as grant_rows
from gateway.store.apps import Organisation
from tests.operations.publishing import (
    MARKET,
    PENALTIES,
    REGISTRATIONS,
    a_house,
    a_town,
    ask,
    at,
    code,
    department,
    firm,
    granted,
    ids,
    penalty,
    put,
    read,
    walked,
)
from tests.operations.test_render_again import change_policy

NAME = "通化市示例药业有限公司"
REPORT = "province.report"
LATER = "2026-06-02T02:31:00Z"


@pytest.fixture
async def town(tmp_path: Path, store_url: str) -> AsyncIterator[tuple[Services, dict[str, str]]]:
    """A small rendered town with the ids of its records, on SQLite and on PostgreSQL."""
    async with a_town(tmp_path, store_url) as town:
        yield town


def caller(tier: str, purpose: str, *datasets: str, **more: Any) -> Caller:
    """A caller of a tier and purpose, with grants for datasets."""
    grants = [granted(each, purposes=(purpose,), **more) for each in datasets]
    return department(*grants, tier=tier, purpose=purpose, purposes=(purpose,))


async def admit(services: Services, tier: str, purpose: str, *datasets: str, **more: Any) -> str:
    """An app of the market bureau with approved grants in the store; its id."""
    async with services.store.transaction() as tx:
        if await apps.organisation(tx, MARKET) is None:
            await apps.add_organisation(tx, Organisation(org=MARKET, name="示例局", kind="department", region="220500"), "test")
        app = await apps.add_app(tx, org=MARKET, name="试", unit=None, tier=tier, introspects=False, by="test")
        for each in datasets:
            name = f"g-{app[4:16]}-{each}"
            grant = granted(each, purposes=(purpose,), app=app, **({"id": name} | more))
            await grant_rows.propose(tx, grant, personal=False, by="test")
    return app


async def names(services: Services) -> list[str]:
    """The plan sets that have a feed."""
    return [each.name for each in await fed(services, services.policies.current())]


async def told(services: Services, who: Caller, since: int = 0, **params: str) -> list[dict[str, Any]]:
    """The items of a caller's feed about records."""
    items = read(await read_feed.changes(services, who, ask(since=str(since), **params)))["items"]
    return [item for item in items if item["op"] != "policy"]


def briefly(items: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Operation and record of each."""
    return [(item["op"], item["record"]) for item in items]


# --- for whom ----------------------------------------------------------------------------------------------------------


async def test_nobody_else_costs_anything(town: tuple[Services, dict[str, str]]) -> None:
    """Without apps there are the feeds of the public and of departments; a proposed, ended or suspended grant begins none."""
    services, _ = town
    alone = await names(services)
    assert {name.partition("/")[0] for name in alone} == {"public", "department"}
    await admit(services, "supervisor", REPORT, PENALTIES, from_=date(2026, 7, 1))
    assert await names(services) == alone
    other = await admit(services, "supervisor", REPORT, PENALTIES)
    assert set(await names(services)) == {*alone, f"supervisor/{REPORT}"}
    async with services.store.transaction() as tx:
        await apps.set_state(tx, other, "suspended")
    assert await names(services) == alone
    async with at(services, "2026-07-01T02:00:00Z") as later:
        assert f"supervisor/{REPORT}" in await names(later)


@pytest.mark.parametrize(
    ("tier", "purpose"),
    [("partner", "mutual.query"), ("partner", "exchange.batch"), ("supervisor", REPORT), ("pboc", "pboc.report")],
)
async def test_a_feed_begins_with_the_first_grant(town: tuple[Services, dict[str, str]], tier: str, purpose: str) -> None:
    """Before it there is nothing, then all that is there by the walk of a new policy, then every change; what it names can be read."""
    services, made = town
    who = caller(tier, purpose, PENALTIES)
    assert await told(services, who) == []
    assert read(await dataset(services, PENALTIES, who, "zh-CN"))["rows"] is None
    before = {item["id"] for item in await walked(records_page, services, caller=who)}
    await admit(services, tier, purpose, PENALTIES)
    await settle(services)
    items = await told(services, who)
    assert {op for op, _ in briefly(items)} == {"add"}
    assert {item["record"] for item in items} == before == {item["id"] for item in await walked(records_page, services, caller=who)}
    assert made["罚单"] in before
    ids(await put(services, PENALTIES, penalty(code(1), NAME, "通示罚〔2026〕1号", fine="2.5")))
    await settle(services)
    after = await told(services, who, items[-1]["seq"])
    assert briefly(after) == [("mod", made["罚单"])]
    await withdraw(services, made["罚单"], reason="revoked", actor="test")
    await settle(services)
    gone = await told(services, who, after[-1]["seq"])
    assert [(item["op"], item["record"], item["reason"], item["at"][17:19] in ("00", "30")) for item in gone] == [
        ("del", made["罚单"], "removed", True)
    ]
    assert made["罚单"] not in {item["record"] for item in await told(services, who) if item["op"] != "del"}


async def test_while_the_first_walk_goes_on(town: tuple[Services, dict[str, str]]) -> None:
    """Less is told, and nothing wrong; pages show everything all the same, and one that began before goes on after."""
    services, _ = town
    firms = [firm(number, f"通化市示例{number}商贸有限公司") for number in range(10, 30)]
    await put(services, REGISTRATIONS, *firms)
    await settle(services)
    who = caller("supervisor", REPORT, REGISTRATIONS)
    await admit(services, "supervisor", REPORT, REGISTRATIONS)
    assert await render_public(services, limit=5) > 0
    assert await render_public(services, limit=5) > 0
    state = await renderings.reader_state(services.store.reads)
    assert state.again is not None
    assert state.begun == {f"supervisor/{REPORT}"}
    some = await told(services, who)
    everything = {item["id"] for item in await walked(records_page, services, caller=who)}
    assert 0 < len(some) < len(everything) == 24
    first = read(await records_page(services, who, ask(limit="3")))
    await settle(services)
    assert (await renderings.reader_state(services.store.reads)).begun == frozenset()
    rest, cursor = [item["id"] for item in first["items"]], first["next"]
    while cursor is not None:
        page = read(await records_page(services, who, ask(cursor=cursor, limit="3")))
        rest, cursor = rest + [item["id"] for item in page["items"]], page["next"]
    assert len(rest) == len(set(rest)) == 24
    assert {item["record"] for item in await told(services, who)} == everything


async def test_a_feed_nobody_may_read_ends_and_begins_anew(town: tuple[Services, dict[str, str]]) -> None:
    """It is kept for a month; then nothing is left of it, and who comes back is told to begin from the present state."""
    services, made = town
    name = f"supervisor/{REPORT}"
    who = caller("supervisor", REPORT, PENALTIES)
    await admit(services, "supervisor", REPORT, PENALTIES, until=date(2026, 6, 2))
    await settle(services)
    last = (await told(services, who))[-1]["seq"]
    async with at(services, "2026-06-20T02:00:00Z") as later:
        await settle(later)
        assert name in await names(later)
        assert await told(later, who, last) == []
    async with at(services, "2026-07-20T02:00:00Z") as later:
        await settle(later)
        assert name not in await names(later)
        for table in ("feed_rows", "feed_pending", "feed_left"):
            rows = await later.store.reads.all(feed.sa.text(f"SELECT 1 FROM {table} WHERE plan_set = '{name}'"))
            assert rows == []
        with pytest.raises(SinceTooOld):
            await told(later, who, last)
        await admit(later, "supervisor", REPORT, PENALTIES)
        await settle(later)
        with pytest.raises(SinceTooOld):
            await told(later, who, last)
        items = await told(later, who)
        assert {item["record"] for item in items} == {made["罚单"], made["店罚"], made["人罚"]}
        assert all(item["seq"] > last for item in items)


async def test_a_trial_token_of_test_mode_is_somebody(town: tuple[Services, dict[str, str]]) -> None:
    """Whoever may come counts, by whatever credential."""
    services, _ = town
    await issue_token(services, app="app-1", org=MARKET, tier="pboc", purpose="pboc.report", by="test")
    assert "pboc/pboc.report" in await names(services)


# --- into reach and out of it ------------------------------------------------------------------------------------------


EAST, WEST = "220502", "220503"


async def place(services: Services, region: str) -> str:
    """A registration by the office of a district."""
    row = firm(41, "通化市示例迁移有限公司", 行政区划代码=region)
    return ids(await put(services, REGISTRATIONS, row, region=region))[0]


@pytest.mark.parametrize("tier", ["department", "supervisor"])
async def test_a_record_that_moves(tmp_path: Path, store_url: str, tier: str) -> None:
    """Who reached it and does not is told that it left, who did not and does that it came, who always did that it changed."""
    purpose = "dept.supervision" if tier == "department" else REPORT
    east, west, city = (caller(tier, purpose, REGISTRATIONS, regions=(each,)) for each in (EAST, WEST, "220500"))
    async with a_house(tmp_path, store_url) as services:
        await admit(services, tier, purpose, REGISTRATIONS)
        moving = await place(services, EAST)
        await settle(services)
        (added,) = await told(services, east)
        assert (added["op"], added["record"]) == ("add", moving)
        assert await told(services, west) == []
        await place(services, WEST)
        while await render_public(services):
            pass
        assert await told(services, east) == [], "gone at once, told at the next full half minute"
        (came,) = await told(services, west)
        assert (came["op"], "fields_changed" in came) == ("add", False)
        (_, changed) = await told(services, city)
        assert changed["op"] == "mod"
        assert changed["seq"] == came["seq"]
        await settle(services)
        (left,) = await told(services, east, added["seq"])
        assert (left["op"], left["record"], left["reason"], left["at"][17:19]) == ("del", moving, "removed", "30")
        assert left["seq"] > changed["seq"]
        assert set(left) == {"seq", "op", "at", "dataset", "record", "reason", "reason_label"}
        assert await told(services, east) == [left], "what was told before is compacted into it"
        assert await told(services, west, came["seq"]) == []
        assert briefly(await told(services, city)) == [("add", moving), ("mod", moving)]
        # and back again
        await place(services, EAST)
        await settle(services)
        assert briefly(await told(services, east, added["seq"])) == [("add", moving)]
        assert briefly(await told(services, west, came["seq"])) == [("del", moving)]
        assert briefly(await told(services, city)) == [("add", moving), ("mod", moving), ("mod", moving)]
        # and away for everybody: each who ever held it hears so
        await withdraw(services, moving, reason="revoked", actor="test")
        await settle(services)
        for who in (east, west, city):
            assert briefly(await told(services, who)) == [("del", moving)]
        with pytest.raises(InvalidParameter):
            await told(services, who, 10**6)


BY_THEME = (
    'rows = { any = [{ within = ["region", "$grant.regions"] }, { eq = ["owner_org", "$org.id"] }] }',
    'rows = { in = ["theme", "$grant.themes"] }',
)
SILENT = ('field.uscc = { treatment = "clear" }\n', 'field.uscc = { treatment = "clear" }\nfield.theme = { deny = ["delta"] }\n')


async def test_a_theme_of_which_nobody_is_told(tmp_path: Path, store_url: str) -> None:
    """Where only what the gate asks for changed, those alone hear of it whose reach it changes; a new gate moves nothing."""
    food, fire, both = (
        caller("department", "dept.supervision", PENALTIES, themes=themes) for themes in (("food",), ("fire",), ("food", "fire"))
    )
    async with a_house(tmp_path, store_url) as services:
        (moving,) = ids(await put(services, PENALTIES, penalty(code(1), NAME, "通示罚〔2026〕1号", 监管领域="食品")))
        await settle(services)
        for old, new in (BY_THEME, SILENT):
            await change_policy(services, "datasets/administrative-penalties.toml", old, new)
        await settle(services)
        rows = await services.store.reads.all(feed.sa.text("SELECT op FROM feed WHERE op = 'move'"))
        assert rows == []
        assert briefly(await told(services, both)) == briefly(await told(services, food))
        assert await told(services, fire) == []
        last = (await told(services, both))[-1]["seq"]
        ids(await put(services, PENALTIES, penalty(code(1), NAME, "通示罚〔2026〕1号", 监管领域="消防")))
        await settle(services)
        assert briefly(await told(services, both, last)) == []
        assert briefly(await told(services, food, last)) == [("del", moving)]
        assert briefly(await told(services, fire, last)) == [("add", moving)]
        shown = {item["id"]: item for item in await walked(records_page, services, caller=both)}
        assert shown[moving]["marks"] == []


async def test_a_record_that_is_away_for_a_moment(town: tuple[Services, dict[str, str]]) -> None:
    """Moved and back within one half minute: nobody is told that it left."""
    services, _ = town
    east = caller("department", "dept.supervision", REGISTRATIONS, regions=(EAST,))
    moving = await place(services, EAST)
    await settle(services)
    last = (await told(services, east))[-1]["seq"]
    for region in (WEST, EAST):
        await place(services, region)
        while await render_public(services):
            pass
    await settle(services)
    assert briefly(await told(services, east, last)) == [("add", moving)]
    assert (await services.store.reads.all(feed.sa.text("SELECT 1 FROM feed_left WHERE told = 0"))) == []


async def test_who_follows_hears_what_changes_tells(town: tuple[Services, dict[str, str]]) -> None:
    """From the beginning every item in order, then a removal as it is told, and a sign of life while nothing happens."""
    services, made = town
    wanted = await told(services, PUBLIC)

    async def who() -> Caller:
        return PUBLIC

    stream = await follow_feed.follow(services, who, ask(since="0"), None)
    heard: list[Any] = []
    async with aclosing(cast("AsyncGenerator[follow_feed.Heard, None]", stream)) as events:
        async for each in events:
            heard += [msgspec.json.decode(event.data) for event in each.events if event.name == "change"]
            if len(heard) >= len(wanted):
                break
        assert heard == wanted
        await withdraw(services, made["罚单"], reason="revoked", actor="test")
        await settle(services)
        async for each in events:
            if each.events:
                assert msgspec.json.decode(each.events[0].data)["record"] == made["罚单"]
                break

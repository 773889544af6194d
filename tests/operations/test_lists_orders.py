"""Lists that forget on time, whatever happens in whatever order: said, corrected, withdrawn, hidden, built, killed, and all at once.

After every step what is given of versions is held against what the public is shown at this moment; at the end everything is settled
in a bounded number of rounds, and then versions, deltas, feed and pages say the same.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from gateway.core.callers.caller import PUBLIC
from gateway.core.disclosure.policy import files_digest
from gateway.core.errors import NotFound, StoreError, VersionReissuing, VersionWithdrawn
from gateway.core.publication.versions import Version, document_of, root_with_removed
from gateway.operations import answer_query, build_lists, handle_case, read_feed, read_versions, reissue_lists
from gateway.operations.answering import begin
from gateway.operations.build_lists import build
from gateway.operations.expire import expire
from gateway.operations.keep_log import settle_log
from gateway.operations.kept_versions import withdraw_version
from gateway.operations.live_records import live
from gateway.operations.prepare_ends import prepare_ends
from gateway.operations.read_versions import Elsewhere, Served
from gateway.operations.reissue_lists import follow
from gateway.operations.render_public import render_public
from gateway.operations.version_files import sweep
from gateway.operations.withdraw import withdraw
from gateway.services import Services, open_services
from gateway.store import feed, lists, policies, records, reviews
from gateway.store.tables import list_rows
from tests.house import make, settings_of, write_settings
from tests.operations.changing import MovingClock
from tests.operations.publishing import TAX, ask, code, put, read, violation, walked
from tests.operations.test_lists import BLACK, active_files

FILED = f"datasets/{TAX}"
MANY = 400
"""Rounds after which something that has no end is said to have none."""
PATH = f"datasets/{TAX}.toml"
_RULE = '[[rules]]\nid = "tax-violations-open-legal"'
_BASIS = 'obligations = { audit = "count", rate_class = "open", cache = "public" }\n'
SWITCHES = ("column", "dataset", "rows")
"""What a policy may hide."""
SEEDS = (2, 5, 18, 22)
"""Stories in which something was wrong when they were first told."""
NAMES = {number: f"通化市第{word}示例有限公司" for number, word in enumerate("零一二三四", 1)}


class Killed(Exception):
    """The process ended here."""


class Client:
    """Somebody who took what there was and has followed the feed since."""

    def __init__(self, held: set[str], since: int) -> None:
        self.held, self.since = held, since
        self.last: tuple[int, str] = (since, "")


class House:
    """One gateway in which things happen, and what those who read it have kept."""

    def __init__(self, opened: AsyncExitStack, where: Any, clock: MovingClock) -> None:
        self._stack, self._where, self.clock = opened, where, clock
        self.ids: dict[int, str] = {}
        self.said: dict[str, list[str]] = {}
        self.words = 0
        self.hidden: set[str] = set()
        self.files: dict[str, bytes] = {}
        self.kept: dict[tuple[str, str], dict[int, list[bytes]]] = {}
        self.clients: list[Client] = []
        self.here: Services
        self.there: Services

    async def open(self) -> None:
        """Two processes over one database."""
        self.here, self.there = [await self._services() for _ in range(2)]
        self.files = self.files or await active_files(self.here)

    async def _services(self) -> Services:
        opened = await self._stack.enter_async_context(open_services(self._where))
        opened.store.clock = self.clock
        return msgspec.structs.replace(opened, clock=self.clock)

    async def close(self) -> None:
        await self._stack.aclose()

    async def again(self) -> None:
        """Both processes end and come back."""
        await self._stack.aclose()
        self._stack = AsyncExitStack()
        await self.open()

    # --- what happens --------------------------------------------------------------------------------------------------

    async def say(self, number: int, nature: str, ends: int | None, *, more: bool) -> None:
        """Somebody is put on the list, or what was said is corrected; `more`: what was said before stands on in the text."""
        self.words += 1
        word = f"甲{self.words:04d}乙"
        known = self.said.get(self.ids.get(number, ""), [])
        text = "。".join([*(known[-1:] if more else []), word]) + "。"
        until = {} if ends is None else {"公示截止期": (self.clock().date() + timedelta(days=ends)).isoformat()}
        row = violation(code(number), NAMES[number], f"通示税〔2026〕{number}号", 案件性质=nature, 主要违法事实=text, **until)
        (outcome,) = await put(self.here, TAX, row)
        if outcome.record_id is not None:
            self.ids[number] = str(outcome.record_id)
            self.said.setdefault(self.ids[number], []).append(word)

    async def act(self, number: int, what: Callable[[str], Awaitable[Any]]) -> None:
        """Something is done to a record, if it can be."""
        if number in self.ids:
            with suppress(StoreError):
                await what(self.ids[number])

    async def erase(self, number: int) -> None:
        if number in self.ids:
            async with self.here.store.transaction() as tx:
                await records.erase(tx, self.ids.pop(number), actor="test")  # type: ignore[arg-type]  # a RecordId is a str

    async def hold(self, record_id: str, residual: int) -> None:
        held = await reviews.one(self.here.store.reads, record_id)
        if held is None or "facts" not in held.texts:
            return
        other = msgspec.structs.replace(held.texts["facts"], residual=residual, doubts=((0, 2),) if residual else (), decided="")
        async with self.here.store.transaction() as tx:
            await reviews.put_texts(tx, [reviews.Put(held=held, texts={**held.texts, "facts": other})], reason="test", actor="test")

    async def switch(self, what: str) -> None:
        """A policy hides something, or shows it again."""
        self.hidden ^= {what}
        files = dict(self.files)
        start = (text := files[PATH].decode()).index(_RULE)
        end = text.index(_BASIS, start) + len(_BASIS)
        rule = text[start:end]
        if "column" in self.hidden:
            rule = rule.replace("field.facts", 'field.case_nature = { treatment = "drop" }\nfield.facts')
        if "rows" in self.hidden:
            rule = rule.replace("obligations", 'rows = { eq = ["case_nature", "偷税"] }\nobligations')
        files[PATH] = (text[:start] + ("" if "dataset" in self.hidden else rule) + text[end:]).encode()
        async with self.here.store.transaction() as tx:
            version = await policies.propose(tx, files, files_digest(files), "test")
            await policies.activate(tx, version, "test", "test")

    @asynccontextmanager
    async def dying(self, step: int, where: str) -> AsyncIterator[None]:
        """The process ends at its n-th transaction: before it, in it, or after its commit."""
        store, left = self.here.store, step
        whole = store.transaction

        @asynccontextmanager
        async def counted() -> AsyncIterator[Any]:
            nonlocal left
            left -= 1
            if not left and where == "before":
                raise Killed
            async with whole() as tx:
                yield tx
                if not left and where == "in":
                    raise Killed
            if not left:
                raise Killed

        store.transaction = counted  # type: ignore[method-assign]  # each begin is a place to die at
        try:
            with suppress(Killed):
                yield
        finally:
            store.transaction = whole  # type: ignore[method-assign]  # as it was

    # --- what must hold ------------------------------------------------------------------------------------------------

    async def bodies(self) -> dict[tuple[str, str], tuple[Version, list[bytes]]]:
        """What is given of every version at this moment; each line says nothing that the public is not shown."""
        scene = await begin(self.here, PUBLIC, "zh-CN")
        shown = {each: document_of(line) for each, line in (await live(scene, sorted(self.said), listing=True)).items()}
        if "dataset" in self.hidden:
            assert not shown
        given: dict[tuple[str, str], tuple[Version, list[bytes]]] = {}
        for collection in (BLACK, FILED):
            for version in await lists.versions(self.here.store.reads, collection):
                try:
                    found = await read_versions.file(self.here, collection, f"{version.name}.r{version.issue}.ndjson")
                except (VersionReissuing, VersionWithdrawn, NotFound):
                    continue
                assert isinstance(found, Served)
                lines = found.path.read_bytes().splitlines()
                assert len(lines) == version.rows
                for line in lines:
                    row = document_of(line)
                    assert row["id"] in shown, "who is shown no more stands in a version that is given"
                    self.nothing_more(line, row, shown[row["id"]])
                gone = await lists.gone_of(self.here.store.reads, version)
                assert root_with_removed(lines, gone) == (version.size, version.root)
                before = self.kept.setdefault((collection, version.name), {}).setdefault(version.issue, lines)
                assert before == lines, "the bytes of an issue never change"
                given[collection, version.name] = version, lines
        return given

    def nothing_more(self, line: bytes, row: dict[str, Any], today: dict[str, Any]) -> None:
        """No word of a text that is not in the text of today, and no field that is hidden."""
        text = str(today["fields"].get("facts"))
        for word in self.said[row["id"]]:
            assert word in text or word.encode() not in line, "a word that was taken back"
        assert ("case_nature" in today["fields"]) >= ("case_nature" in row["fields"])

    async def deltas(self, given: dict[tuple[str, str], tuple[Version, list[bytes]]], *, every: bool) -> None:
        """Any issue of A that somebody kept, with the delta, is B."""
        for collection in (BLACK, FILED):
            names = sorted((version.seq, name) for (of, name), (version, _) in given.items() if of == collection)
            pairs = [(start, end) for at, (_, end) in enumerate(names) for _, start in names[: at + 1]]
            for start, end in pairs if every else pairs[-2:]:
                try:
                    found = await read_versions.delta(self.here, collection, start, f"{end}.ndjson")
                except VersionReissuing:
                    continue  # asked at a moment at which the start is issued again
                assert isinstance(found, Served)
                steps = [document_of(line) for line in found.path.read_bytes().splitlines()]
                for lines in self.kept[collection, start].values():
                    rows = {document_of(line)["id"]: document_of(line) for line in lines}
                    for step in steps:
                        if step["op"] == "del":
                            assert set(step) == {"op", "id", "reason"}
                            rows.pop(step["id"], None)
                        else:
                            rows[step["row"]["id"]] = step["row"]
                    assert [rows[each] for each in sorted(rows)] == [document_of(line) for line in given[collection, end][1]]

    async def check(self, *, every: bool = False) -> None:
        given = await self.bodies()
        await self.deltas(given, every=every)

    async def newcomer(self) -> None:
        """Somebody begins with the pages of this moment, and somebody with the newest version."""
        if len(self.clients) > 8 or "dataset" in self.hidden:
            return
        head = await feed.head(self.here.store.reads, "public/open.read")
        self.clients.append(Client({each["id"] for each in await self.listings()}, head.seq))
        with suppress(VersionReissuing, NotFound):
            found = await read_versions.file(self.here, BLACK, "latest.ndjson")
            assert isinstance(found, Elsewhere)
            name = found.url.rpartition("/")[2]
            served = await read_versions.file(self.here, BLACK, name)
            assert isinstance(served, Served)
            held = {document_of(line)["id"] for line in served.path.read_bytes().splitlines()}
            self.clients.append(Client(held, int(name.partition(".")[0].rpartition("-")[2])))

    async def listings(self) -> list[dict[str, Any]]:
        return await walked(answer_query.listings, self.here, TAX)

    async def heard(self, client: Client) -> None:
        """A client follows to the end, in pages of two."""
        for _ in range(MANY):
            page = read(await read_feed.changes(self.here, PUBLIC, ask(since=str(client.since), limit="2")))
            for item in page["items"]:
                assert item["seq"] > client.last[0]
                assert item["at"] >= client.last[1]
                client.last = item["seq"], item["at"]
                if item["op"] == "policy" or item["dataset"] != TAX:
                    continue
                if item["op"] == "del":
                    client.held.discard(item["record"])
                else:
                    client.held.add(item["record"])
            client.since = page["next_since"]
            if not page["more"]:
                return
        raise AssertionError("a feed without an end")

    # --- settling ------------------------------------------------------------------------------------------------------

    async def ends(self, one: Callable[[], Awaitable[Any]]) -> None:
        """Something is done until nothing is left of it."""
        for _ in range(MANY):
            if not await one():
                return
        raise AssertionError("it never ends")

    async def settle(self) -> None:
        """As time goes by in a house where nothing happens any more."""
        if self.clock.now.hour == 15:  # no day of theirs ends meanwhile
            self.clock.move(hours=1)
        for _ in range(4):
            self.clock.move(seconds=61)
            await self.ends(lambda: render_public(self.here))
            await settle_log(self.here)
            await self.ends(lambda: follow(self.here))
            await build(self.here)
        await self.ends(lambda: follow(self.here))
        await sweep(self.here)

    async def check_end(self) -> None:
        """Once all has settled versions, deltas, feed, pages and files say the same."""
        await self.settle()
        assert await build(self.here) == []
        reads = self.here.store.reads
        assert await reads.all(sa.select(list_rows.c.record_id).where(list_rows.c.until == lists.READY)) == []
        given = await self.bodies()
        if "dataset" not in self.hidden:
            for collection in (BLACK, FILED):
                held = await lists.versions(reads, collection)
                assert [each.pending for each in held] == [None] * len(held)
                assert {name for of, name in given if of == collection} == {each.name for each in held if not each.withdrawn}
        await self.deltas(given, every=True)
        items = read(await read_feed.changes(self.here, PUBLIC, ask(since="0", limit="1000")))["items"]
        told = [item["record"] for item in items if item["op"] == "del"]
        assert len(told) == len(set(told)), "a removal is told once"
        if "dataset" in self.hidden:
            return
        pages = await self.listings()
        now = {each["id"] for each in pages}
        newest = await lists.newest(reads, BLACK)
        if newest is not None and not newest.withdrawn:
            rows = [document_of(line) for line in given[BLACK, newest.name][1]]
            assert {row["id"]: row["fields"] for row in rows} == {each["id"]: each["fields"] for each in pages}
            said = read(await read_versions.one_version(self.here, BLACK, "latest"))
            assert said["rows"] == len(rows)
        floor = await feed.floor(reads, "public/open.read")
        for client in [*self.clients, Client(set(), 0)]:
            if client.since >= floor:  # who was away for longer than changes are kept begins anew
                await self.heard(client)
                assert client.held == now
        text = {each["id"]: str(each["fields"].get("facts")) for each in pages}
        away = [word for each, words in self.said.items() for word in words if word not in text.get(each, "")]
        for path in self.here.settings.lists_path.rglob("*"):
            if path.is_file():
                body = path.read_bytes()
                assert not [word for word in away if word.encode() in body], path.name


async def everything(house: House) -> None:
    """What follows from all that happened, as far as its moment has come."""
    await house.ends(lambda: render_public(house.here))
    await house.ends(lambda: follow(house.here))
    await build(house.here)


async def evening(house: House, over: str) -> None:
    """The clock goes to five minutes before midnight here, to it, or beyond."""
    midnight = house.clock.now.replace(hour=16, minute=0, second=0, microsecond=0)
    midnight += timedelta(days=midnight <= house.clock.now)
    away = {"before": -timedelta(minutes=5), "midnight": timedelta(), "after": timedelta(hours=2)}[over]
    house.clock.now = max(house.clock.now, midnight + away)
    await house.newcomer()


async def wait(house: House, seconds: int) -> None:
    """Some time goes by, and somebody comes."""
    house.clock.move(seconds=seconds)
    await house.newcomer()


async def a_month(house: House) -> None:
    """Versions fall out of the window, and what is over is written down."""
    if house.clock.now < datetime(2027, 1, 1, tzinfo=UTC):  # the grounds of the policies end at some time
        house.clock.move(days=32)
    await expire(house.here, actor="test")


async def killed(house: House, what: str, step: int, where: str) -> None:
    """A process ends in the middle."""
    async with house.dying(step, where):
        if what == "build":
            await build(house.here)
        else:
            await house.ends(lambda: WORKS[what](house.here))


async def at_once(house: House, first: str, second: str) -> None:
    """Two processes do something at the same time."""
    await asyncio.gather(WORKS[first](house.here), house.bodies() if second == "fetch" else WORKS[second](house.there))


async def take_back(house: House, which: int) -> None:
    """A version was published in error."""
    held = await lists.versions(house.here.store.reads, BLACK)
    if which < len(held) and not held[which].withdrawn and "dataset" not in house.hidden:
        await withdraw_version(house.here, BLACK, held[which].name, by="test")


WORKS: dict[str, Callable[[Services], Awaitable[Any]]] = {"build": build, "follow": follow, "render": render_public}


def next_step(house: House, draw: Random) -> tuple[str, Callable[[], Awaitable[Any]]]:
    """What happens next, in words and as a deed."""
    here, number = house.here, draw.randint(1, 4)
    nature, ends, more = draw.choice(["偷税", "偷税", "虚开"]), draw.choice([None, None, 0, 1]), draw.random() < 0.5
    reason, upheld = draw.choice(["revoked", "corrected", "no_longer_public"]), draw.choice([None, True, False])
    residual, hidden, seconds = draw.randint(0, 1), draw.choice(SWITCHES), draw.choice([1, 10, 31, 1200])
    over, limit, which = draw.choice(["before", "midnight", "after"]), draw.choice([1, 5000]), draw.randint(0, 3)
    what, step, where = draw.choice(list(WORKS)), draw.randint(1, 6), draw.choice(["before", "in", "after"])
    first, second = draw.choice(list(WORKS)), draw.choice([*WORKS, "fetch"])

    async def object_to(record_id: str) -> None:
        if upheld is None:
            await handle_case.open_dispute(here, record_id, actor="test")
        else:
            await handle_case.close_dispute(here, record_id, upheld=upheld, actor="test")

    steps: list[tuple[int, str, Callable[[], Awaitable[Any]]]] = [
        (6, f"say {number} {nature} {ends} {more}", lambda: house.say(number, nature, ends, more=more)),
        (1, f"withdraw {number} {reason}", lambda: house.act(number, lambda each: withdraw(here, each, reason=reason, actor="test"))),
        (1, f"repair {number}", lambda: house.act(number, lambda each: handle_case.repair(here, each, actor="test"))),
        (1, f"object {number} {upheld}", lambda: house.act(number, object_to)),
        (2, f"hold {number} {residual}", lambda: house.act(number, lambda each: house.hold(each, residual))),
        (1, f"erase {number}", lambda: house.erase(number)),
        (1, f"policy {hidden}", lambda: house.switch(hidden)),
        (2, f"wait {seconds}", lambda: wait(house, seconds)),
        (1, f"evening {over}", lambda: evening(house, over)),
        (1, "a month", lambda: a_month(house)),
        (1, "prepare ends", lambda: prepare_ends(here)),
        (1, f"render {limit}", lambda: render_public(here, limit=limit)),
        (1, "follow", lambda: follow(here)),
        (1, "build", lambda: build(here)),
        (3, "everything", lambda: everything(house)),
        (2, f"killed {what} {step} {where}", lambda: killed(house, what, step, where)),
        (2, f"at once {first} {second}", lambda: at_once(house, first, second)),
        (1, f"take back {which}", lambda: take_back(house, which)),
        (1, "restart", house.again),
    ]
    ((_, words, deed),) = draw.choices(steps, [each[0] for each in steps])
    return words, deed


async def story(folder: Path, database: str, seed: int, steps: int) -> None:
    """One house through so many steps; whoever fails says what had happened."""
    where = settings_of(write_settings(folder, database=database), CHENGXIN_NOW="2026-06-02T02:30:00Z", CHENGXIN_LISTS_KEEP_DAYS="31")
    await make(where)
    house, draw, told = House(AsyncExitStack(), where, MovingClock(datetime(2026, 6, 2, 2, 30, tzinfo=UTC))), Random(seed), []
    await house.open()
    try:
        for _ in range(steps):
            words, deed = next_step(house, draw)
            told.append(words)
            await deed()
            await house.check()
        await house.check_end()
    except Exception as error:
        error.add_note(f"seed {seed}: {'; '.join(told)}")
        raise
    finally:
        await house.close()


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything goes in pieces, so that it can stop between any two."""
    pieces = ((build_lists, "CHUNK", 2), (reissue_lists, "CHUNK", 2), (reissue_lists, "PORTION", 2), (reissue_lists, "PLANTED", 1))
    for room, name, size in pieces:
        monkeypatch.setattr(room, name, size)


SOAK = 10 if os.environ.get("SOAK") else 1


async def test_lists_forget_in_any_order_on_sqlite(tmp_path: Path) -> None:
    """On SQLite, after every step."""
    for seed in (*SEEDS, *range(100, 100 + 4 * (SOAK - 1))):
        await story(tmp_path / str(seed), "", seed, 70)


async def test_lists_forget_in_any_order_on_postgresql(tmp_path: Path, pg_database: str) -> None:
    """On PostgreSQL, after every step, in one long story."""
    await story(tmp_path, pg_database, 5, 50 * SOAK)

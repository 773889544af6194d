"""A real series of monthly lists: firms appear, are dropped without a word, and their year runs out; through ingest, feed and listings.

The lists are tables with eras for dates and rows that are broken. The test turns eras into days and gives each case the numbers that our
records need (digests of what it says); it compares each list with the one before, as an operator would, and says 撤销 for what was
dropped. What must be on the list on any day is worked out from the tables alone.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import msgspec
import pytest

from gateway.core.callers.caller import PUBLIC
from gateway.core.records.model import DatasetId
from gateway.operations.answer_query import listings
from gateway.operations.asking import Ask, Position
from gateway.operations.expire import expire
from gateway.operations.ingest import IngestReceipt, ingest
from gateway.operations.read_feed import changes
from gateway.operations.render_public import settle
from gateway.operations.set_up import set_up
from gateway.services import Services, open_services
from gateway.settings import Settings
from gateway.store import records
from tests.house import CENTRE, settings_of, write_settings
from tests.real_input.conftest import write_rows

LIST = "labour-violations"
POLICY = Path(__file__).with_name("policies")
HEAD = [
    "操作", "主体番号", "公表番号", "管轄番号", "主体类别", "管轄", "企業・事業場名称", "所在地", "公表日", "違反法条", "事案概要",
    "その他参考事項",
]
ERAS = {"H": 1988, "R": 2018}
_ERA = re.compile(r"([HR])([0-9]{1,2})\.([0-9]{1,2})\.([0-9]{1,2})")


class FirstPage:
    """No cursor: everything is asked for at once."""

    asked = ""

    def position(self, plan: str) -> Position | None:
        """None."""
        return None

    def url(self, plan: str, position: Position | None) -> str:
        """Nobody follows it."""
        return "http://127.0.0.1/"


class Case(msgspec.Struct, frozen=True):
    """One row of a monthly list that is whole."""

    cells: tuple[str, ...]
    published: date

    @property
    def number(self) -> str:
        """A number for the case: a digest of what the row says, but for the day on which the list was made."""
        return hashlib.sha256("\x1f".join((self.cells[0], *self.cells[2:])).encode()).hexdigest()[:32].upper()

    @property
    def subject(self) -> str:
        """A number for the firm: a digest of name and place."""
        return hashlib.sha256("\x1f".join(self.cells[2:4]).encode()).hexdigest()[:32].upper()

    @property
    def last_day(self) -> date:
        """The last day of the year after the publication."""
        try:
            return self.published.replace(year=self.published.year + 1) - timedelta(days=1)
        except ValueError:  # 29 February
            return date(self.published.year + 1, 2, 27)

    def row(self, operation: str) -> list[str]:
        """The row as a department would send it."""
        office, _, name, place, _, law, facts, note = self.cells
        numbers = [self.subject, self.number, CENTRE, "法人及非法人组织"]
        return [operation, *numbers, office, name, place, self.published.isoformat(), law, facts, note]


def day_of(text: str) -> date:
    """H29.5.17 as a day."""
    match = _ERA.fullmatch(text.strip())
    assert match is not None, "a date of the lists that this test does not know"
    return date(ERAS[match[1]] + int(match[2]), int(match[3]), int(match[4]))


def read_list(path: Path) -> tuple[date, list[Case], list[list[str]]]:
    """The day of a monthly list, its whole rows and its broken ones."""
    end = re.search(r"to_([0-9]{4})([0-9]{2})([0-9]{2})", path.name)
    assert end is not None
    lines = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()][1:]
    whole = [Case(tuple(cells), day_of(cells[4])) for cells in lines if len(cells) == 8]
    return date(*map(int, end.groups())) + timedelta(days=1), whole, [cells for cells in lines if len(cells) != 8]


def at(settings: Settings, day: date) -> Settings:
    """The same gateway at noon of a day in Tonghua."""
    return msgspec.structs.replace(settings, now=f"{day.isoformat()}T04:00:00Z")


def stepped(since: date, until: date) -> Iterator[date]:
    """Some days between two lists."""
    while since < until:
        yield since
        since += timedelta(days=11)


async def on_the_list(services: Services) -> dict[str, str]:
    """Record id → number of each public listing, as the API answers."""
    answer = await listings(services, LIST, PUBLIC, Ask(params={"limit": "all"}, format="ndjson", pages=FirstPage()))
    assert answer.stream is not None
    body = b"".join([part async for part in answer.stream])
    found = [json.loads(line) for line in body.splitlines() if line]
    return {row["id"]: row["document_number"] for row in found if "document_number" in row}


async def follow(services: Services, since: int, held: set[str]) -> int:
    """Apply the feed to a reader's own copy of the list, as a client does."""
    while True:
        answer = await changes(services, PUBLIC, Ask(params={"since": str(since), "list": LIST, "limit": "1000"}, pages=FirstPage()))
        told = json.loads(answer.body)
        for item in told["items"]:
            if item["op"] == "add":
                held.add(item["record"])
            elif item["op"] == "del":
                held.discard(item["record"])
        since = told["next_since"]
        if not told["more"]:
            return int(since)


@pytest.fixture
async def settings(tmp_path: Path, snapshots: list[Path]) -> Settings:
    """A gateway under the test-only policy, set up before the first list."""
    folder = tmp_path / "policies"
    shutil.copytree(POLICY, folder, ignore=shutil.ignore_patterns("*.md"))
    made = at(settings_of(write_settings(tmp_path, policies=folder)), read_list(snapshots[0])[0])
    await set_up(made, by="test")
    return made


async def test_firms_appear_are_dropped_and_their_year_runs_out(tmp_path, settings, snapshots):
    """On the day of each list and on days between, listings and feed hold exactly the cases last listed whose year is not over."""
    listed: dict[str, Case] = {}
    copy: set[str] = set()
    since = 0
    removed_by_list = removed_by_time = 0
    for place, path in enumerate(snapshots):
        day, whole, broken = read_list(path)
        now = {case.number: case for case in whole}
        dropped = [case for number, case in listed.items() if number not in now]
        rows = [HEAD, *[case.row("新增") for case in whole], *[case.row("撤销") for case in dropped],
                *[["新增", "", "", CENTRE, "", *cells] for cells in broken]]
        file = write_rows(tmp_path / f"{path.stem}.csv", rows)
        async with open_services(at(settings, day)) as services:
            receipt = await ingest(services, dataset=LIST, path=file, authority=CENTRE, officer="测试员甲")
            check_receipt(receipt, whole, dropped, broken, listed)
            removed_by_list += sum(case.last_day >= day for case in dropped)
            listed = now
            since = await check_list(services, listed, day, since, copy)
        following = read_list(snapshots[place + 1])[0] if place + 1 < len(snapshots) else day + timedelta(days=400)
        for later in stepped(day + timedelta(days=11), following):
            async with open_services(at(settings, later)) as services:
                if later.day % 2:
                    removed_by_time += (await expire(services, actor="test")).expired
                since = await check_list(services, listed, later, since, copy)
    assert copy == set()
    assert removed_by_list > 0
    assert removed_by_time > 0


def check_receipt(
    receipt: IngestReceipt, whole: list[Case], dropped: list[Case], broken: list[list[str]], before: dict[str, Case]
) -> None:
    """A receipt accounts for every row: new ones, known ones, dropped ones, broken ones."""
    new = {case.number for case in whole} - set(before)
    assert (receipt.accepted, receipt.held) == (len(new), 0)
    assert receipt.unchanged == len(whole) - len(new)
    assert receipt.withdrawn == len(dropped)
    assert receipt.rejected == ({"SCHEMA_LINE": len(broken)} if broken else {})


async def check_list(services: Services, listed: dict[str, Case], day: date, since: int, copy: set[str]) -> int:
    """Listings as answered, and a client's copy kept by the feed, are what the tables say for this day."""
    await settle(services)
    expected = {number for number, case in listed.items() if case.published <= day <= case.last_day}
    shown = await on_the_list(services)
    assert set(shown.values()) == expected, day
    assert len(shown) == len(expected)
    since = await follow(services, since, copy)
    assert copy == set(shown), day
    return since


async def test_a_dropped_case_leaves_nothing_public(tmp_path, settings, snapshots):
    """A case that was dropped is withdrawn: in the store as a version with its reason, in no public answer."""
    day, whole, _ = read_list(snapshots[0])
    async with open_services(at(settings, day)) as services:
        first = write_rows(tmp_path / "first.csv", [HEAD, *[case.row("新增") for case in whole[:5]]])
        await ingest(services, dataset=LIST, path=first, authority=CENTRE, officer="测试员甲")
        second = write_rows(tmp_path / "second.csv", [HEAD, whole[0].row("撤销")])
        receipt = await ingest(services, dataset=LIST, path=second, authority=CENTRE, officer="测试员甲")
        assert receipt.withdrawn == 1
        await settle(services)
        assert whole[0].number not in (await on_the_list(services)).values()
        stored = await records.load(services.store.reads, dataset=DatasetId(LIST))
        assert sorted((record.state, record.version) for record in stored) == [*[("in_force", 1)] * 4, ("retracted", 2)]

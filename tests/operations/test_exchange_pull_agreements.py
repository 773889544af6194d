"""Two agreements with one partner: under each is fetched over a line of its own, and neither waits for the other (decision 0067)."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest
from msgspec import Struct

from adapters.file_drop import FileDrop, FileDropConfig
from gateway.adapter_contract import AdapterError, IncomingBatch, SealedBatch
from gateway.adapter_loading import Adapters
from gateway.core.errors import ExchangeError
from gateway.core.exchange import documents
from gateway.core.exchange.documents import Maintenance
from gateway.core.exchange.manifests import read_manifest
from gateway.core.exchange.wire import instant
from gateway.operations import fetch_keys as keys_story
from gateway.operations.apart import Apart
from gateway.operations.collect_batches import collect_batches, fetches_from
from gateway.operations.doctor import examine
from gateway.operations.fetch_keys import fetch_keys, with_newer_keys
from gateway.operations.handle_case import repair
from gateway.operations.hold_stream import retry
from gateway.operations.keep_exchange import Rounds
from gateway.operations.manage_agreements import announce_maintenance, change_state, own_keys, take_keys, take_notice
from gateway.operations.manage_keys import new_key
from gateway.operations.partners import agreed_lines, trusted_keys
from gateway.operations.send_batch import send_batch
from gateway.services import Services, load_signers
from gateway.store import fetch_tries, held_agreements, inbox, outbox
from tests.asking import free_port
from tests.commands import chengxin
from tests.ledger import check_ledger
from tests.operations.publishing import PENALTIES as DATASET
from tests.operations.publishing import TAX, code, ids, penalty, put, violation
from tests.operations.test_exchange import states
from tests.operations.test_exchange_pull import incoming
from tests.region import AGREEMENT, BAISHAN, NOW, PENALTIES, TONGHUA, Cities, Direct, a_city, agree, days, template, two_cities

OTHER = "tonghua-baishan-tax-2026"
TAXES = f"{OTHER}.tax-violations"
ONE, TWO = f"{TONGHUA}/{AGREEMENT}", f"{TONGHUA}/{OTHER}"
SHORT = timedelta(milliseconds=50)


def only(dataset: str, *, agreement: str = AGREEMENT, delivery: str = "pull") -> str:
    """The shipped agreement with one of its streams, under this name."""
    text = template().replace(AGREEMENT, agreement).replace('delivery = "push"', f'delivery = "{delivery}"')
    start = text.index("recognition = [")
    text = text[:start] + "recognition = []" + text[text.index("\n", start) :]
    head, *streams = text.split("[[streams]]\n")
    local = streams[-1][streams[-1].index("[local]") :]
    (stream,) = (each for each in streams if each.startswith(f'dataset = "{dataset}"'))
    return f"{head}[[streams]]\n{stream.partition('[local]')[0]}\n{local}"


class Lines:
    """The lines of Baishan to Tonghua, one an agreement, and how each behaves."""

    def __init__(self, cities: Cities) -> None:
        self.cities = cities
        self.moods: dict[str, str] = {}
        """By agreement: `fails`, `hangs`, `gives up`, or `gives one` batch and fails; else all is well."""
        self.given: list[tuple[str, str | None]] = []
        """Which line was given which cursor."""
        self.asked: list[str] = []
        """Over which lines somebody asked for keys."""
        self.keyless: set[str] = set()
        """Lines that cannot fetch keys."""
        self.behind: set[str] = set()
        """Lines over which comes what is held, whatever there is."""
        self.let_go = asyncio.Event()

    async def behave(self, agreement: str) -> None:
        """As this line does."""
        if self.moods.get(agreement) == "fails":
            raise AdapterError("UNAVAILABLE", "断线", transient=True)
        if self.moods.get(agreement) == "gives up":
            raise asyncio.CancelledError
        if self.moods.get(agreement) == "hangs":
            await self.let_go.wait()

    async def lying(self, agreement: str) -> list[IncomingBatch]:
        """Everything that Tonghua has ever published under an agreement."""
        stream = PENALTIES if agreement == AGREEMENT else TAXES
        reads = self.cities.tonghua.store.reads
        out = await outbox.out_stream(reads, stream)
        found = []
        for seq in range(1, out.head.seq + 1 if out is not None else 1):
            batch = await outbox.out_batch(reads, stream, 1, seq)
            assert batch is not None
            parts = dict(await outbox.out_parts_of(reads, stream, 1, seq))
            name = read_manifest(batch.document.body).id
            found.append(incoming(name, batch.document.body, batch.document.note, batch.checkpoint, parts))
        return found

    def bound(self, services: Services) -> Services:
        """Baishan with these lines."""
        lines = self

        class Bound(Direct):
            capabilities: ClassVar[frozenset[str]] = Direct.capabilities

            class Config(Struct, frozen=True, kw_only=True):
                base_url: str
                allow_private: bool = False
                incoming: tuple[str, ...] = ()

            def __init__(self, config: Any, tools: Any) -> None:
                super().__init__(lines.cities.line, config.base_url)
                self.agreement = config.incoming[0].partition(".")[0] if config.incoming else ""
                if self.agreement in lines.keyless:
                    self.capabilities = Direct.capabilities - {"keys"}  # type: ignore[misc]  # of this line alone

            async def keys(self, held: str | None = None) -> bytes:
                lines.asked.append(self.agreement)
                await lines.behave(self.agreement)
                return b"" if self.agreement in lines.behind else await super().keys(held)

            async def deliver(self, sealed: SealedBatch) -> bytes | None:
                await lines.behave(sealed.batch.partition("/x/")[2].partition(".")[0])
                return await super().deliver(sealed)

            async def collect(self, after: str | None) -> AsyncIterator[IncomingBatch]:
                lines.given.append((self.agreement, after))
                await lines.behave(self.agreement)
                whose, _, place = (after or f"{self.agreement}:0").partition(":")
                assert whose == self.agreement, "a cursor of the other line"
                for number, batch in enumerate((await lines.lying(self.agreement))[int(place) :], int(place) + 1):
                    yield msgspec.structs.replace(batch, cursor=f"{self.agreement}:{number}")
                    if lines.moods.get(self.agreement) == "gives one":
                        break
                if lines.moods.get(self.agreement) == "gives one":
                    raise AdapterError("RATE_LIMIT", "对方限速", transient=True)

        class Dropped(FileDrop):
            def __init__(self, config: Any, tools: Any) -> None:
                super().__init__(msgspec.convert(msgspec.to_builtins(config) | lines.cities.line.drop, FileDropConfig), tools)

        return msgspec.structs.replace(services, adapters=Adapters({"https_partner": lambda: Bound, "file_drop": lambda: Dropped}))

    def at(self, cities: Cities) -> Cities:
        """The same at another moment."""
        self.cities = cities
        return msgspec.structs.replace(cities, baishan=self.bound(cities.baishan))


@pytest.fixture
async def lines(databases: tuple[str, str], tmp_path: Path) -> AsyncIterator[Lines]:
    """Two cities with two agreements: of penalties, and of tax violations; Baishan fetches under both."""
    async with two_cities(tmp_path, databases, change=lambda _: only(DATASET)) as both:
        await agree(both.tonghua, both.baishan, only(TAX, agreement=OTHER))
        lines = Lines(both)
        lines.cities = msgspec.structs.replace(both, baishan=lines.bound(both.baishan))
        yield lines


async def published(cities: Cities, number: int) -> tuple[str, str]:
    """A firm of this number is fined, and listed as a violator; both are sealed."""
    name = f"通化市测试{number}商贸有限公司"
    (fined,) = ids(await put(cities.tonghua, DATASET, penalty(code(number), name, f"通示罚〔2026〕{number}号")))
    (listed,) = ids(await put(cities.tonghua, TAX, violation(code(number), name, f"通示税〔2026〕{number}号")))
    for stream in (PENALTIES, TAXES):
        await send_batch(cities.tonghua, stream=stream, at_once=True)
    return fined, listed


async def cursors(cities: Cities) -> list[str | None]:
    """Of both lines."""
    return [await inbox.line_cursor(cities.baishan.store.reads, name) for name in (AGREEMENT, OTHER)]


async def failing(cities: Cities) -> dict[str, int]:
    """Over which lines fetching fails, and how often it has."""
    return {name: each.attempts for name, each in (await fetch_tries.failing(cities.baishan.store.reads)).items()}


async def until_taken(cities: Cities, apart: Apart, record: str) -> None:
    """Rounds of a server until this has come."""
    while await states(cities.baishan, record) != ["in_force"]:
        assert await collect_batches(cities.baishan, apart, paced=True) == {}
        await asyncio.sleep(0)


async def test_both_are_fetched_each_from_its_own_place(lines: Lines) -> None:
    """What lies under either agreement is taken and answered once; each line goes on from its own cursor and never sees the other's."""
    cities = lines.cities
    first = await published(cities, 1)
    assert await collect_batches(cities.baishan) == {}
    assert await states(cities.baishan, *first) == ["in_force", "in_force"]
    assert sorted(cities.line.brought) == [(PENALTIES, 1), (TAXES, 1)]
    second = await published(cities, 2)
    for _ in range(2):
        assert await collect_batches(cities.baishan) == {}
    assert await states(cities.baishan, *second) == ["in_force", "in_force"]
    assert await cursors(cities) == [f"{AGREEMENT}:2", f"{OTHER}:2"]
    assert sorted(lines.given, key=str) == sorted(
        [(name, after) for name in (AGREEMENT, OTHER) for after in (None, f"{name}:1", f"{name}:2")], key=str
    )
    assert sorted(cities.line.brought) == [(PENALTIES, 1), (PENALTIES, 2), (TAXES, 1), (TAXES, 2)]
    for services in (cities.tonghua, cities.baishan):
        await check_ledger(services)


async def test_a_line_that_fails_waits_alone(lines: Lines) -> None:
    """Its tries, its pause and its name are its own: the other agreement is fetched under as if nothing were."""
    cities = lines.cities
    fined, listed = await published(cities, 1)
    lines.moods[AGREEMENT] = "fails"
    assert await collect_batches(cities.baishan, paced=True) == {ONE: "UNAVAILABLE"}
    assert await states(cities.baishan, fined, listed) == [None, "in_force"]
    assert await failing(cities) == {AGREEMENT: 1}
    assert await cursors(cities) == [None, f"{OTHER}:1"]
    (found,) = [each for each in await examine(cities.baishan, lines=False) if not each.ok]
    assert (found.code, found.where) == ("fetch-failing", ONE)
    _, second = await published(cities, 2)
    lines.given.clear()
    assert await collect_batches(cities.baishan, paced=True) == {}, "only the other one is due"
    assert (lines.given, await states(cities.baishan, second)) == ([(OTHER, f"{OTHER}:1")], ["in_force"])
    await retry(cities.baishan, stream=TAXES, by="admin:one")
    assert await failing(cities) == {AGREEMENT: 1}, "a stream of the other agreement was meant"
    lines.moods.clear()
    await retry(cities.baishan, stream=PENALTIES, by="admin:one")
    assert await collect_batches(cities.baishan, paced=True) == {}
    assert (await states(cities.baishan, fined), await failing(cities)) == (["in_force"], {})
    lines.moods |= {AGREEMENT: "fails", OTHER: "fails"}
    assert await collect_batches(cities.baishan, paced=True) == {ONE: "UNAVAILABLE", TWO: "UNAVAILABLE"}
    await retry(cities.baishan, every=True, by="admin:one")
    assert await failing(cities) == {}


async def test_a_guest_that_gives_up_waits_like_one_that_fails(lines: Lines) -> None:
    """It is told by the name of its line, and tried again when its pause is over; the other line goes on."""
    cities = lines.cities
    fined, listed = await published(cities, 1)
    lines.moods[AGREEMENT] = "gives up"
    assert await collect_batches(cities.baishan, paced=True) == {ONE: "ADAPTER_FAILED"}
    assert (await states(cities.baishan, fined, listed), await failing(cities)) == ([None, "in_force"], {AGREEMENT: 1})
    assert await collect_batches(cities.baishan, paced=True) == {}


async def test_what_fails_behind_something_that_came_fails_for_the_first_time(lines: Lines) -> None:
    """A partner that gives so much and no more a minute is gone on with after a minute, not after an hour."""
    cities = lines.cities
    for number in (1, 2, 3):
        await published(cities, number)
        lines.moods[AGREEMENT] = "gives one"
        assert await collect_batches(cities.baishan) == {ONE: "RATE_LIMIT"}
        assert await failing(cities) == {AGREEMENT: 1}
    for attempts in (2, 3):
        assert await collect_batches(cities.baishan) == {ONE: "RATE_LIMIT"}
        assert await failing(cities) == {AGREEMENT: attempts}


async def test_a_line_that_does_not_come_back_waits_alone(lines: Lines) -> None:
    """While one is silent the other is fetched over, in later rounds too."""
    cities = lines.cities
    lines.moods[AGREEMENT] = "hangs"
    apart = Apart(SHORT)
    fined, listed = await published(cities, 1)
    for number in (2, 3):
        await until_taken(cities, apart, listed)
        _, listed = await published(cities, number)
    assert apart.under_way >= {AGREEMENT}
    assert lines.given.count((AGREEMENT, None)) == 1, "it is not begun again meanwhile"
    lines.moods.clear()
    lines.let_go.set()
    await until_taken(cities, apart, fined)
    await apart.end()


async def test_one_partner_is_fetched_from_alone(lines: Lines) -> None:
    """Named, a partner is looked at under all its agreements, and nobody else is."""
    cities = lines.cities
    first = await published(cities, 1)
    assert await collect_batches(cities.baishan, partner="credit.nobody.example") == {}
    assert await states(cities.baishan, *first) == [None, None]
    assert await collect_batches(cities.baishan, partner=TONGHUA) == {}
    assert await states(cities.baishan, *first) == ["in_force", "in_force"]
    known = [await fetches_from(cities.baishan, name) for name in (TONGHUA, "credit.nobody.example")]
    assert (known, await fetches_from(cities.tonghua, BAISHAN)) == ([True, False], False)


async def test_a_command_names_both(tmp_path: Path) -> None:
    """`exchange pull PARTNER` goes under both agreements, and says of each by its name what went wrong."""
    async with (
        a_city(tmp_path / "th", TONGHUA, port=free_port()) as tonghua,
        a_city(tmp_path / "bs", BAISHAN, port=free_port()) as baishan,
    ):
        await agree(tonghua, baishan, only(DATASET))
        await agree(tonghua, baishan, only(TAX, agreement=OTHER))
        nobody_listens = await asyncio.to_thread(chengxin, tmp_path / "bs", "exchange", "pull", TONGHUA, "--json", CHENGXIN_NOW=NOW)
        assert (nobody_listens.returncode, json.loads(nobody_listens.stdout)) == (1, {ONE: "UNAVAILABLE", TWO: "UNAVAILABLE"})


async def test_under_one_that_is_over_withdrawals_go_on(lines: Lines) -> None:
    """Ended, an agreement brings what withdraws and nothing else, beside the other, until the days for that are over."""
    cities = lines.cities
    fined, listed = await published(cities, 1)
    await collect_batches(cities.baishan)
    notice = await change_state(cities.tonghua, OTHER, "terminated", reason="示例", by="test")
    await take_notice(cities.baishan, notice, by="test")
    await repair(cities.tonghua, listed, actor="test", document="示例")
    second, third = await published(cities, 2)
    assert await collect_batches(cities.baishan) == {}
    assert await states(cities.baishan, fined, listed, second, third) == ["in_force", "repaired", "in_force", None]
    assert [held.agreement.id for held, _ in await agreed_lines(cities.baishan)] == [AGREEMENT, OTHER]
    later = lines.at(cities.at(cities.now + days(91)))
    assert [held.agreement.id for held, _ in await agreed_lines(later.baishan)] == [AGREEMENT]
    lines.given.clear()
    await collect_batches(later.baishan)
    assert [name for name, _ in lines.given] == [AGREEMENT]


async def serial(services: Services) -> int:
    """Of the newest keys document of Tonghua that is held."""
    row = await held_agreements.latest_keys(services.store.reads, TONGHUA)
    assert row is not None
    return int(row.serial)


async def announced(cities: Cities) -> None:
    """Tonghua has another keys document."""
    said = Maintenance(from_=instant(cities.now + days(1)), until=instant(cities.now + days(2)), text="维护")
    await announce_maintenance(cities.tonghua, said, by="test")


@pytest.mark.parametrize(
    ("mood", "code_"), [("fails", "UNAVAILABLE"), ("hangs", "UNAVAILABLE"), ("gives up", "ADAPTER_FAILED"), ("keyless", None)]
)
async def test_keys_come_over_the_other_line(lines: Lines, monkeypatch: pytest.MonkeyPatch, mood: str, code_: str | None) -> None:
    """Where one line fails, is silent, or cannot fetch keys, the other brings them; what went wrong is told by its name."""
    monkeypatch.setattr(keys_story, "PATIENCE", SHORT)
    cities = lines.cities
    before = await serial(cities.baishan)
    await announced(cities)
    if mood == "keyless":
        lines.keyless.add(AGREEMENT)
    lines.moods[AGREEMENT] = mood
    troubles = await Rounds().run(cities.baishan)
    assert troubles == ({ONE: code_} if code_ is not None else {})
    assert await serial(cities.baishan) == before + 1
    assert lines.asked == ([] if mood == "keyless" else [AGREEMENT]) + [OTHER]


async def test_one_line_is_enough_for_keys(lines: Lines) -> None:
    """They are the partner's, not the agreement's: where the first line serves, also that nothing is new, the second is not asked."""
    held = [each for each, _ in await agreed_lines(lines.cities.baishan)]
    assert await fetch_keys(lines.cities.baishan, held, TONGHUA) == {}
    assert lines.asked == [AGREEMENT]
    lines.moods |= {AGREEMENT: "fails", OTHER: "fails"}
    later = lines.at(lines.cities.at(lines.cities.now + timedelta(minutes=10)))
    assert await fetch_keys(later.baishan, held, TONGHUA) == {ONE: "UNAVAILABLE", TWO: "UNAVAILABLE"}
    assert lines.asked == [AGREEMENT, AGREEMENT, OTHER]


async def test_an_unknown_key_is_asked_for_over_either_line(lines: Lines) -> None:
    """Also where the first line fails: the batch that it has signed is taken at the same look."""
    await new_key(lines.cities.tonghua, "exchange", by="test")
    cities = lines.at(lines.cities.at(lines.cities.now + days(2)))
    cities = msgspec.structs.replace(
        cities, tonghua=msgspec.structs.replace(cities.tonghua, signers=load_signers(cities.tonghua.settings))
    )
    lines.cities = cities
    lines.moods[AGREEMENT] = "fails"
    _, listed = await published(cities, 1)
    assert await collect_batches(cities.baishan) == {ONE: "UNAVAILABLE"}
    assert await states(cities.baishan, listed) == ["in_force"]
    assert lines.asked == [AGREEMENT, OTHER]


async def test_each_agreement_believes_its_own_pins(lines: Lines) -> None:
    """A keys document that only a key of a newer agreement has signed is worth nothing under the older one, over whichever line it came."""
    tonghua, baishan = lines.cities.tonghua, lines.cities.baishan
    await new_key(tonghua, "agreement", by="test")
    tonghua = msgspec.structs.replace(tonghua, signers=load_signers(tonghua.settings))
    newest = tonghua.signers.signing("agreement", tonghua.clock())
    text = only(DATASET, agreement="tonghua-baishan-2027").replace("effective = 2026-01-01", "effective = 2026-01-02")
    lines.cities.line.join(tonghua, baishan)
    await agree(tonghua, baishan, text)

    async def believed() -> dict[str, bool]:
        reads, held = baishan.store.reads, [each for each, _ in await agreed_lines(baishan)]
        return {each.agreement.id: (await trusted_keys(reads, each, TONGHUA))[1] is not None for each in held}

    assert await believed() == {AGREEMENT: True, OTHER: True, "tonghua-baishan-2027": True}, "old and new have signed it"
    said = documents.decode_keys((await own_keys(tonghua)).body)
    body = documents.keys_body(
        party=TONGHUA,
        org=said.org,
        region=said.region,
        serial=said.serial + 1,
        issued_at=tonghua.clock(),
        base_url=said.base_url,
        keys=[key for key in tonghua.signers.keys if key.use == "exchange"],
    )
    await take_keys(baishan, documents.sign_keys(body, newest), by="test")
    assert await believed() == {AGREEMENT: False, OTHER: False, "tonghua-baishan-2027": True}


async def test_a_line_and_a_folder_with_one_partner(tmp_path: Path) -> None:
    """One agreement is fetched under, the other lies in a folder: neither meets the other's cursor, and both go on from their own."""
    async with two_cities(tmp_path / "cities", change=lambda _: only(DATASET)) as both:
        (tmp_path / "drop").mkdir()
        both.line.drop = {"root": str(tmp_path / "drop")}
        text = only(TAX, agreement=OTHER, delivery="drop")
        await agree(
            both.tonghua,
            both.baishan,
            text.replace('adapter = "https_partner"\n', 'adapter = "file_drop"\nconfig = { root = "/drop", poll_s = 0 }\n'),
        )
        lines = Lines(both)
        cities = lines.cities = msgspec.structs.replace(both, baishan=lines.bound(both.baishan))
        for number in (1, 2):
            made = await published(cities, number)
            for _ in range(2):
                assert await collect_batches(cities.baishan) == {}
            assert await states(cities.baishan, *made) == ["in_force", "in_force"]
        reads = cities.baishan.store.reads
        assert await inbox.line_cursor(reads, AGREEMENT) == f"{AGREEMENT}:2"
        assert (await inbox.line_cursor(reads, TAXES), await inbox.line_cursor(reads, OTHER)) == (f'{{"{TAXES}":[1,2]}}', None)
        assert await collect_batches(cities.tonghua) == {}
        assert await outbox.waiting_batches(cities.tonghua.store.reads, TAXES) == [], "its receipts were found in the folder"


async def test_what_is_brought_is_apart_too(tmp_path: Path) -> None:
    """Where a line is silent while a batch is delivered, streams of the other agreement are acknowledged in that round or a later one."""
    async with two_cities(tmp_path, change=lambda _: only(DATASET, delivery="push")) as both:
        await agree(both.tonghua, both.baishan, only(TAX, agreement=OTHER, delivery="push"))
        lines = Lines(both)
        tonghua, rounds = lines.bound(both.tonghua), Rounds(SHORT)
        lines.moods[AGREEMENT] = "hangs"
        name = "通化市测试1商贸有限公司"
        (fined,) = ids(await put(tonghua, DATASET, penalty(code(1), name, "通示罚〔2026〕1号")))
        (listed,) = ids(await put(tonghua, TAX, violation(code(1), name, "通示税〔2026〕1号")))
        while await states(both.baishan, listed) != ["in_force"]:
            assert await rounds.run(tonghua) == {}
        assert await states(both.baishan, fined) == [None]
        await rounds.end()


async def test_with_newer_keys_of_nobody(lines: Lines) -> None:
    """A party without any agreement is not asked: what failed stays so."""

    async def unknown() -> None:
        raise ExchangeError("unknown", code="SIG_UNKNOWN_KEY")

    with pytest.raises(ExchangeError):
        await with_newer_keys(lines.cities.baishan, "credit.nobody.example", unknown)
    assert lines.asked == []

"""Two cities that share nothing but a folder: everything of an exchange arrives through it, and what is wrong in it moves nothing."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa

from gateway.core.errors import ExchangeError
from gateway.core.exchange import documents
from gateway.core.exchange.documents import Maintenance
from gateway.core.exchange.sealing import Sealed
from gateway.core.records.model import RecordId
from gateway.operations.begin_epoch import begin_epoch
from gateway.operations.collect_batches import collect_batches
from gateway.operations.doctor import examine
from gateway.operations.export_evidence import export_evidence
from gateway.operations.fetch_keys import fetch_keys
from gateway.operations.handle_case import repair
from gateway.operations.manage_agreements import announce_maintenance, change_state, take_notice
from gateway.operations.partners import agreed_lines
from gateway.operations.report_exchange import report_exchange
from gateway.operations.send_batch import Sent, send_batch
from gateway.services import Services
from gateway.store import drops, given_receipts, held_agreements, inbox, ledger, outbox, records
from gateway.store.tables import out_batches
from gateway.store.tables import records as record_rows
from tests.adapters.drop_partner import SftpServer, serving
from tests.ledger import check_ledger
from tests.operations.publishing import PENALTIES as DATASET
from tests.operations.publishing import code, ids, penalty, put
from tests.region import AGREEMENT, BAISHAN, HONOURS, PENALTIES, TONGHUA, Cities, Forger, another_signer, days, followed, resign, two_cities


def dropped(text: str) -> str:
    """The template with every stream in a folder; where it lies, each test says."""
    said = text.replace('delivery = "push"', 'delivery = "drop"')
    return said.replace('adapter = "https_partner"\n', 'adapter = "file_drop"\nconfig = { root = "/drop", poll_s = 0 }\n')


@pytest.fixture
async def cities(tmp_path: Path) -> AsyncIterator[Cities]:
    """Two cities with one folder."""
    async with two_cities(tmp_path / "cities", change=dropped) as both:
        share(both, tmp_path / "drop")
        yield both


def share(cities: Cities, root: Path) -> None:
    """Both look into this folder from now on."""
    root.mkdir(exist_ok=True)
    cities.line.drop = {"root": str(root)}


def root_of(cities: Cities) -> Path:
    """The folder."""
    return Path(cities.line.drop["root"])


def batch_folder(cities: Cities, seq: int, epoch: int = 1) -> Path:
    """Where a batch of Tonghua's penalties lies."""
    return root_of(cities) / PENALTIES / TONGHUA / "batches" / f"{epoch}-{seq:010}"


async def tell(cities: Cities, *numbers: int) -> list[str]:
    """Penalties of these firms, laid down; their record ids."""
    rows = [penalty(code(number), f"通化市测试{number}商贸有限公司", f"通示罚〔2026〕{number}号") for number in numbers]
    made = ids(await put(cities.tonghua, DATASET, *rows))
    await laid(cities)
    return made


async def laid(cities: Cities) -> Sent:
    """Seal and lay down what there is."""
    (sent,) = await send_batch(cities.tonghua, stream=PENALTIES, at_once=True)
    return sent


async def in_force(services: Services) -> set[str]:
    """Records that are in force."""
    rows = await services.store.reads.all(sa.select(record_rows.c.record_id, record_rows.c.state))
    return {row.record_id for row in rows if row.state == "in_force"}


async def states(cities: Cities) -> dict[tuple[int, int], tuple[str, str | None]]:
    """How each batch of Tonghua's penalties stands."""
    rows = await cities.tonghua.store.reads.all(sa.select(out_batches).where(out_batches.c.stream == PENALTIES))
    return {(row.epoch, row.seq): (row.state, row.code) for row in rows}


async def a_whole_exchange(cities: Cities) -> None:
    """Told, applied, acknowledged; repaired, withdrawn, acknowledged with the feedback; nothing is left to do."""
    made = await tell(cities, 1, 2)
    assert await states(cities) == {(1, 1): ("published", None)}
    assert cities.line.carried == [], "nothing went over HTTP"
    assert await collect_batches(cities.baishan) == {}
    assert await in_force(cities.baishan) == set(made)
    assert await collect_batches(cities.tonghua) == {}
    assert await states(cities) == {(1, 1): ("acked", None)}
    await repair(cities.tonghua, made[1], actor="test", document="示例")
    sent = await laid(cities)
    assert (sent.sealed, sent.delivered, sent.waiting, sent.state) == (1, 0, 1, "waiting")
    for _ in range(2):
        assert await collect_batches(cities.baishan) == {}
        assert await collect_batches(cities.tonghua) == {}
    assert await in_force(cities.baishan) == {made[0]}
    assert set((await states(cities)).values()) == {("acked", None)}
    assert await followed(cities.baishan) == 1, "it has left every exit"
    for services in (cities.baishan, cities.tonghua):
        assert await collect_batches(services) == {}
    late = await ledger.overdue(cities.tonghua.store.reads, PENALTIES, now=cities.now, hours=-1)
    assert late is None, "the withdrawal is acknowledged"
    given = await given_receipts.receipts_of(cities.baishan.store.reads, TONGHUA, PENALTIES)
    assert [each.no for each in given] == [1, 2, 3], "each batch was answered once, and there is one later receipt"
    for services in (cities.tonghua, cities.baishan):
        await check_ledger(services)
        assert [(one.state, one.waiting) for one in await report_exchange(services) if one.stream == PENALTIES] == [("open", 0)]


@pytest.fixture
def databases(request: pytest.FixtureRequest) -> tuple[str, str]:
    """SQLite for both, or PostgreSQL for Tonghua or Baishan."""
    address = str(request.getfixturevalue("pg_database")) if request.param else ""
    return (address, "") if request.param == "tonghua" else ("", address)


@pytest.mark.parametrize("databases", ["", "tonghua", "baishan"], indirect=True)
async def test_an_exchange_through_a_folder(databases: tuple[str, str], tmp_path: Path):
    """On either database, at either end: with no HTTP between them both end at the same head."""
    async with two_cities(tmp_path / "cities", databases, change=dropped) as cities:
        share(cities, tmp_path / "drop")
        await a_whole_exchange(cities)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SftpServer]:
    """A real SFTP server for the file."""
    with serving(tmp_path_factory.mktemp("served"), tmp_path_factory.mktemp("keys")) as running:
        yield running


@pytest.mark.parametrize("databases", ["tonghua"], indirect=True)
async def test_an_exchange_over_sftp(databases: tuple[str, str], server: SftpServer, tmp_path: Path):
    """The same over a real SFTP server that hangs up in the middle of it, is full for a while, and is an old one at last."""
    root = server.root / tmp_path.name
    root.mkdir()
    async with two_cities(tmp_path / "cities", databases, change=dropped) as cities:
        cities.line.drop = server.settings(f"/{root.name}")
        await a_whole_exchange(cities)
        rows = [penalty(code(9), "通化市测试9商贸有限公司", "通示罚〔2026〕9号")]
        (made,) = ids(await put(cities.tonghua, DATASET, *rows))
        server.manners.full = True
        assert (await laid(cities)).code == "DROP_FULL"
        server.manners.full, server.manners.hang_up_after = False, 20
        assert (await laid(cities)).code == "UNAVAILABLE"
        server.manners.hang_up_after = None
        assert await collect_batches(cities.baishan) == {}
        assert made not in await in_force(cities.baishan), "half of it lies there, and is no batch"
        server.manners.old = True
        assert (await laid(cities)).code is None
        server.manners.hang_up_after = 12
        assert set((await collect_batches(cities.baishan)).values()) == {"UNAVAILABLE"}
        server.manners.hang_up_after = None
        assert await collect_batches(cities.baishan) == {}
        assert await collect_batches(cities.tonghua) == {}
        assert made in await in_force(cities.baishan)
        assert set((await states(cities)).values()) == {("acked", None)}
        settings = cities.line.drop
        server.another_host_key()
        cities.line.drop = settings
        assert set((await collect_batches(cities.baishan)).values()) == {"HOST_KEY"}
        for services in (cities.tonghua, cities.baishan):
            await check_ledger(services)


async def test_keys_and_agreements_lie_in_the_folder(cities: Cities):
    """Each house lays down its keys and the agreement with both signatures; a newer keys document is taken from there."""
    for services in (cities.tonghua, cities.baishan):
        await collect_batches(services)
    names = sorted(str(each.relative_to(root_of(cities))) for each in root_of(cities).rglob("*") if each.is_file())
    for name in (f"agreements/{AGREEMENT}-1", f"keys/{BAISHAN}", f"keys/{TONGHUA}"):
        assert {f"{name}.json", f"{name}.note"} <= set(names)
    reads = cities.baishan.store.reads
    before = await held_agreements.latest_keys(reads, TONGHUA)
    assert before is not None
    said = Maintenance(from_=f"{cities.now:%Y-%m-%dT%H:%M:%SZ}", until=f"{cities.now + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}", text="维护")
    await announce_maintenance(cities.tonghua, said, by="test")
    await collect_batches(cities.tonghua)
    ((held, _),) = await agreed_lines(cities.baishan)
    assert await fetch_keys(cities.baishan, [held], TONGHUA) == {}
    after = await held_agreements.latest_keys(reads, TONGHUA)
    assert after is not None
    assert after.serial == before.serial + 1
    assert documents.decode_keys(after.body).maintenance == said
    (root_of(cities) / "agreements" / f"{AGREEMENT}-1.json").write_bytes(b"{}")
    assert (await collect_batches(cities.baishan))[f"{TONGHUA}/{AGREEMENT}"] == "SCOPE_DIGEST", "another text is told, and not written over"
    assert (root_of(cities) / "agreements" / f"{AGREEMENT}-1.json").read_bytes() == b"{}"


async def test_a_batch_that_is_not_whole_waits_until_its_time_is_over(cities: Cities):
    """A5: a cut, missing or damaged part, and a half-written note or manifest, move nothing; past `valid_until` the batch is refused."""
    made = await tell(cities, 1)
    folder = batch_folder(cities, 1)
    (part,) = folder.glob("*.ndjson.gz")
    for path, code_told in ((part, "SIG_PART_MISSING"), (folder / "manifest.note", "SIG_FORMAT"), (folder / "checkpoint", "SIG_FORMAT")):
        whole = path.read_bytes()
        path.write_bytes(whole[:-3])
        assert (await collect_batches(cities.baishan))[PENALTIES] == code_told
        path.write_bytes(whole)
    manifest = folder / "manifest.json"
    whole = manifest.read_bytes()
    for broken in (whole[:-3], b"", whole.replace(b"administrative", b"edministrative")):
        manifest.write_bytes(broken)
        assert (await collect_batches(cities.baishan))[PENALTIES] in ("SIG_INVALID", "SCHEMA_JSON", "SIG_CONTEXT", "SCHEMA_MANIFEST")
    manifest.write_bytes(whole)
    data = bytearray(part.read_bytes())
    data[20] ^= 1
    part.write_bytes(bytes(data))
    assert (await collect_batches(cities.baishan))[PENALTIES] == "SIG_PART_DIGEST"
    assert await inbox.in_batches_at(cities.baishan.store.reads, TONGHUA, PENALTIES, 1, 1) == [], "nothing was written of it"
    late = cities.at(cities.now + days(31))
    await collect_batches(late.baishan)
    (given,) = await given_receipts.receipts_of(late.baishan.store.reads, TONGHUA, PENALTIES)
    assert b'"result":"rejected","code":"TIME_EXPIRED"' in given.document.body
    assert await in_force(late.baishan) == set()
    await collect_batches(late.tonghua)
    assert await states(late) == {(1, 1): ("nacked", "TIME_EXPIRED")}
    await begin_epoch(late.tonghua, PENALTIES, by="test", reason="too_late")
    await laid(late)
    await collect_batches(late.baishan)
    await collect_batches(late.tonghua)
    assert await in_force(late.baishan) == set(made)
    assert (await states(late))[2, 1] == ("acked", None)


async def test_one_stream_that_is_stuck_delays_no_other(cities: Cities):
    """Beside a batch that is not whole the partner's other streams go on, and so do our own receipts."""
    await send_batch(cities.tonghua, at_once=True)
    (batch_folder(cities, 1) / "manifest.note").write_bytes(b"\xff")
    assert await collect_batches(cities.baishan) == {PENALTIES: "SIG_FORMAT"}
    assert await collect_batches(cities.tonghua) == {}
    assert await outbox.waiting_batches(cities.tonghua.store.reads, HONOURS) == []
    assert len(await outbox.waiting_batches(cities.tonghua.store.reads, PENALTIES)) == 1


def plant(cities: Cities, sealed: Sealed, folder: Path, note: str | None = None) -> None:
    """A forger's batch under a number."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in sealed.parts:
        (folder / part.name).write_bytes(part.data)
    (folder / "checkpoint").write_text(sealed.checkpoint, encoding="utf-8")
    (folder / "manifest.note").write_text(note or sealed.document.note, encoding="utf-8")
    (folder / "manifest.json").write_bytes(sealed.document.body)


async def test_another_batch_under_a_taken_number_is_a_fork(cities: Cities):
    """A3: signed by the partner it freezes the stream with both kept as evidence, months later too; signed by nobody it is only told."""
    forger = Forger(cities, agreement=(await held_agreements.held_agreements(cities.tonghua.store.reads))[AGREEMENT][0].agreement)
    before, then = forger.head, cities.now
    plant(cities, forger.seal([forger.penalty(1)]), batch_folder(cities, 1))
    cities = cities.at(then + days(3))
    plant(cities, forger.seal([forger.penalty(2)], created=cities.now), batch_folder(cities, 2))
    assert PENALTIES not in await collect_batches(cities.baishan)
    assert len(await in_force(cities.baishan)) == 2
    other = forger.seal([forger.penalty(3)], head=before, advance=False, created=then + timedelta(hours=1))
    plant(cities, other, batch_folder(cities, 1), note=resign(other, [another_signer()]).note)
    assert (await collect_batches(cities.baishan))[PENALTIES] == "SIG_UNKNOWN_KEY"
    stream = await inbox.in_stream(cities.baishan.store.reads, TONGHUA, PENALTIES)
    assert stream is not None
    assert stream.frozen is None
    plant(cities, other, batch_folder(cities, 1))
    assert (await collect_batches(cities.baishan))[PENALTIES] == "SEQ_FORK"
    stream = await inbox.in_stream(cities.baishan.store.reads, TONGHUA, PENALTIES)
    assert stream is not None
    assert stream.frozen == "SEQ_FORK"
    kept = msgspec.json.decode(await export_evidence(cities.baishan, PENALTIES))
    assert other.document.body.decode() in {kept[side]["manifest"]["body"] for side in ("a", "b")}
    plant(cities, forger.seal([forger.penalty(4)], created=cities.now), batch_folder(cities, 3))
    await collect_batches(cities.baishan)
    assert len(await in_force(cities.baishan)) == 2, "nothing of a frozen stream is applied"
    await check_ledger(cities.baishan)


async def test_a_batch_under_another_number_is_not_taken(cities: Cities):
    """A copy of a batch in the place of the next one is no batch of that number, and the right one is taken once it lies there."""
    await tell(cities, 1)
    await collect_batches(cities.baishan)
    shutil.copytree(batch_folder(cities, 1), batch_folder(cities, 2))
    assert (await collect_batches(cities.baishan))[PENALTIES] == "SIG_CONTEXT"
    shutil.rmtree(batch_folder(cities, 2))
    (made,) = await tell(cities, 2)
    assert await collect_batches(cities.baishan) == {}
    assert made in await in_force(cities.baishan)


async def test_what_need_not_lie_there_is_taken_away(cities: Cities):
    """What holds an erased record goes with its acknowledgement, the rest after the days agreed; what waits for a receipt stays."""
    (first,) = await tell(cities, 1)
    await tell(cities, 2)
    await collect_batches(cities.baishan)
    await collect_batches(cities.tonghua)
    assert batch_folder(cities, 1).exists()
    async with cities.tonghua.store.transaction() as tx:
        await records.erase(tx, RecordId(first), actor="test")
    await laid(cities)
    await collect_batches(cities.baishan)
    await collect_batches(cities.tonghua)
    assert not batch_folder(cities, 1).exists(), "it held the record"
    assert batch_folder(cities, 2).exists()
    later = cities.at(cities.now + days(31))
    await laid(later)
    await collect_batches(later.tonghua)
    left = sorted(each.name for each in (root_of(cities) / PENALTIES / TONGHUA / "batches").iterdir())
    assert left == ["1-0000000004"], "the new one waits for its receipt"
    await collect_batches(later.baishan)
    assert await collect_batches(later.tonghua) == {}
    assert await drops.laid(later.tonghua.store.reads, PENALTIES) == {}


async def test_a_folder_that_is_gone_for_a_while(cities: Cities):
    """While the share is not mounted each look says so and nothing is lost; what was laid down and vanished is laid down again."""
    root = root_of(cities)
    away = root.with_name("away")
    root.rename(away)
    assert (await laid(cities)).code == "DROP_MISSING"
    assert set((await collect_batches(cities.baishan)).values()) == {"DROP_MISSING"}
    root.mkdir()
    made = await tell(cities, 1)
    shutil.rmtree(batch_folder(cities, 1))
    shutil.rmtree(batch_folder(cities, 2))
    assert await collect_batches(cities.baishan) == {}
    await laid(cities)
    assert await collect_batches(cities.baishan) == {}
    assert await in_force(cities.baishan) == set(made)
    assert await collect_batches(cities.tonghua) == {}
    assert set((await states(cities)).values()) == {("acked", None)}


async def test_the_doctor_looks_into_the_folder(cities: Cities):
    """What the line's own check says stands among the doctor's findings, in Chinese with what to do."""
    for services in (cities.tonghua, cities.baishan):
        await collect_batches(services)
    await tell(cities, 1)
    await collect_batches(cities.baishan)
    assert all(each.ok for each in await examine(cities.baishan) if each.code == "line")
    (batch_folder(cities, 1).parent / "readme.txt").touch()
    (batch_folder(cities, 1).parent / "1-0000000002").symlink_to("/etc")
    (odd,) = [each for each in await examine(cities.baishan) if not each.ok]
    assert (odd.code, odd.remedy_en) == ("line-surplus", "ask the partner to clear what does not belong into the folder")
    assert odd.zh == f"多余文件：{PENALTIES}：1 个符号链接或设备、1 个多余文件，均未读取"
    assert (await collect_batches(cities.baishan))[PENALTIES] == "DROP_ODD"
    shutil.rmtree(root_of(cities))
    (gone,) = [each for each in await examine(cities.baishan) if each.code == "line-down"]
    assert (gone.zh, gone.remedy_zh) == ("连接：交换目录不存在或未挂载", "检查 root 设置，确认目录存在且已挂载")


async def test_a_restored_sender_writes_over_nothing(cities: Cities):
    """A sender that has forgotten what it had laid down finds its own number taken, and its stream stops; what nobody signed delays it."""
    await tell(cities, 1)
    forger = Forger(cities, agreement=(await held_agreements.held_agreements(cities.tonghua.store.reads))[AGREEMENT][0].agreement)
    forger.seal([forger.penalty(8)])
    other = forger.seal([forger.penalty(9)])
    rows = [penalty(code(3), "通化市测试3商贸有限公司", "通示罚〔2026〕3号")]
    await put(cities.tonghua, DATASET, *rows)
    plant(cities, other, batch_folder(cities, 2), note=resign(other, [another_signer()]).note)
    sent = await laid(cities)
    assert (sent.state, sent.code) == ("waiting", "SEQ_FORK")
    plant(cities, other, batch_folder(cities, 2))
    before = (batch_folder(cities, 2) / "manifest.json").read_bytes()
    sent = await laid(cities)
    assert (sent.state, sent.code) == ("stopped", "SEQ_FORK")
    assert (batch_folder(cities, 2) / "manifest.json").read_bytes() == before


async def test_a_receipt_that_is_not_to_be_believed_moves_nothing(cities: Cities):
    """Altered, half written, or of another number, it is told, and nothing behind it is looked at until it is right."""
    await tell(cities, 1)
    await collect_batches(cities.baishan)
    receipts = root_of(cities) / PENALTIES / TONGHUA / "receipts"
    body, note = receipts / "0000000001.json", receipts / "0000000001.note"
    right = body.read_bytes(), note.read_bytes()
    for broken in ((right[0].replace(b"applied", b"partial"), right[1]), (right[0][:-5], right[1]), (right[0], right[1][:-5]), (b"", b"")):
        body.write_bytes(broken[0])
        note.write_bytes(broken[1])
        assert (await collect_batches(cities.tonghua))[PENALTIES] in ("SIG_INVALID", "SCHEMA_JSON", "SIG_FORMAT")
        assert await states(cities) == {(1, 1): ("published", None)}
    body.write_bytes(right[0])
    note.unlink()
    assert await collect_batches(cities.tonghua) == {}, "without its note it is not there yet"
    note.write_bytes(right[1])
    assert await collect_batches(cities.tonghua) == {}
    assert await states(cities) == {(1, 1): ("acked", None)}


async def test_a_late_receipt_of_an_epoch_that_is_over(cities: Cities):
    """A batch of the old epoch is acknowledged by a receipt that comes late, and not sent again; the new epoch arrives whole."""
    made = await tell(cities, 1, 2)
    await collect_batches(cities.baishan)
    await begin_epoch(cities.tonghua, PENALTIES, by="test", reason="too_late")
    await laid(cities)
    assert await collect_batches(cities.tonghua) == {}
    assert batch_folder(cities, 1).exists(), "the old epoch lies there until the new one has arrived"
    assert await collect_batches(cities.baishan) == {}
    assert await collect_batches(cities.tonghua) == {}
    assert {number: state for number, (state, _) in (await states(cities)).items()} == {(1, 1): "acked", (2, 1): "acked"}
    assert await in_force(cities.baishan) == set(made)
    await check_ledger(cities.baishan)


async def test_a_withdrawal_goes_before_what_a_suspension_holds_back(cities: Cities):
    """While the agreement is suspended nothing new is laid down; a withdrawal beyond that gap takes effect, and all of it counts later."""
    made = await tell(cities, 1)
    await collect_batches(cities.baishan)
    await collect_batches(cities.tonghua)
    rows = [penalty(code(2), "通化市测试2商贸有限公司", "通示罚〔2026〕2号")]
    await put(cities.tonghua, DATASET, *rows)
    await send_batch(cities.tonghua, stream=PENALTIES, deliver=False)
    notice = await change_state(cities.tonghua, AGREEMENT, "suspended", reason="x", by="test")
    await take_notice(cities.baishan, notice, by="test")
    await repair(cities.tonghua, made[0], actor="test", document="示例")
    await laid(cities)
    lies = {each.name for each in (root_of(cities) / PENALTIES / TONGHUA / "batches").iterdir()}
    assert lies == {"1-0000000001", "1-0000000003"}
    await collect_batches(cities.baishan)
    assert await in_force(cities.baishan) == set(), "withdrawn at once"
    for services in (cities.tonghua, cities.baishan):
        assert await collect_batches(services) == {}
    notice = await change_state(cities.tonghua, AGREEMENT, "active", reason="x", by="test")
    await take_notice(cities.baishan, notice, by="test")
    await laid(cities)
    await collect_batches(cities.baishan)
    await collect_batches(cities.tonghua)
    assert set((await states(cities)).values()) == {("acked", None)}
    assert len(await in_force(cities.baishan)) == 1
    for services in (cities.tonghua, cities.baishan):
        await check_ledger(services)


async def test_an_adapter_that_cannot_carry_a_stream_signs_nothing(tmp_path: Path):
    """An agreement by folder is not offered with an adapter that looks into none, nor one by HTTP with one that looks nowhere else."""
    for change in (
        lambda text: text.replace('delivery = "push"', 'delivery = "drop"'),
        lambda text: dropped(text).replace('delivery = "drop"', 'delivery = "push"'),
    ):
        with pytest.raises(ExchangeError, match="our adapter does not carry"):
            async with two_cities(tmp_path / os.urandom(4).hex(), change=change):
                pass


async def test_eight_who_look_at_once(cities: Cities):
    """A1: eight processes of each house look at the same moment, twice; the batch takes effect once and has one receipt."""
    made = await tell(cities, 1, 2)
    for _ in range(2):
        for services in (cities.baishan, cities.tonghua):
            await asyncio.gather(*(collect_batches(services) for _ in range(8)))
    assert await in_force(cities.baishan) == set(made)
    assert len(await given_receipts.receipts_of(cities.baishan.store.reads, TONGHUA, PENALTIES)) == 1
    assert await states(cities) == {(1, 1): ("acked", None)}
    assert not list(root_of(cities).rglob("*.tmp"))
    for services in (cities.tonghua, cities.baishan):
        await check_ledger(services)


class Dies(BaseException):
    """The process is gone."""


@pytest.mark.parametrize("dies", ["before", "after"])
async def test_a_sender_that_dies_while_it_lays_a_batch_down(cities: Cities, dies: str, monkeypatch: pytest.MonkeyPatch):
    """Killed before or after the last file lay there, it lays the same bytes again, and the batch takes effect once."""
    deliver = type(cities.tonghua.adapters.partner("file_drop", {"root": "/"})).deliver

    async def dying(self: object, sealed: object) -> None:
        if dies == "after":
            await deliver(self, sealed)  # type: ignore[arg-type]  # as it came
        raise Dies

    with monkeypatch.context() as patched:
        patched.setattr("adapters.file_drop.FileDrop.deliver", dying)
        with pytest.raises(Dies):
            await tell(cities, 1)
    sealed = await outbox.waiting_batches(cities.tonghua.store.reads, PENALTIES)
    await collect_batches(cities.baishan)
    await laid(cities)
    assert [each.digest for each in await outbox.waiting_batches(cities.tonghua.store.reads, PENALTIES)] == [each.digest for each in sealed]
    await collect_batches(cities.baishan)
    await collect_batches(cities.tonghua)
    assert await states(cities) == {(1, 1): ("acked", None)}
    assert len(await in_force(cities.baishan)) == 1
    for services in (cities.tonghua, cities.baishan):
        await check_ledger(services)


async def test_a_receiver_that_dies_before_it_has_answered(cities: Cities, monkeypatch: pytest.MonkeyPatch):
    """Killed after the batch was applied and before its receipt lay there, it lays down the same receipt, once."""

    async def dying(self: object, *words: object) -> None:
        raise Dies

    await tell(cities, 1)
    with monkeypatch.context() as patched:
        patched.setattr("adapters.file_drop.FileDrop.acknowledge", dying)
        with pytest.raises(Dies):
            await collect_batches(cities.baishan)
    (given,) = await given_receipts.receipts_of(cities.baishan.store.reads, TONGHUA, PENALTIES)
    assert await collect_batches(cities.baishan) == {}
    lies = root_of(cities) / PENALTIES / TONGHUA / "receipts"
    assert (lies / "0000000001.json").read_bytes() == given.document.body
    assert len(await given_receipts.receipts_of(cities.baishan.store.reads, TONGHUA, PENALTIES)) == 1


async def test_folders_are_looked_into_as_often_as_the_line_says(cities: Cities):
    """A round of the server waits for the pause of the line; whoever asks by hand does not."""
    cities.line.drop["poll_s"] = 30
    await tell(cities, 1)
    assert await collect_batches(cities.baishan, paced=True) == {}
    (made,) = await tell(cities, 2)
    await collect_batches(cities.baishan, paced=True)
    assert made not in await in_force(cities.baishan)
    later = cities.at(cities.now + timedelta(seconds=30))
    await collect_batches(later.baishan, paced=True)
    assert made in await in_force(later.baishan)

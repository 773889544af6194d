"""A town with a line to the province (SOAP) and one to the bank (files): from views to their desks and back, as the server does it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from adapters.pboc_file_simulator import Bank
from adapters.province_soap_simulator import Province, ProvinceServer
from gateway.adapter_contract import AdapterError
from gateway.adapter_loading import installed_adapters
from gateway.core.errors import AdminError
from gateway.operations.compare_counts import comparisons
from gateway.operations.handle_case import repair
from gateway.operations.keep_exchange import Rounds
from gateway.operations.keep_lines import LineRun, keep_lines
from gateway.operations.line_reports import line_conditions, line_findings, line_report, reconcile_line
from gateway.operations.manage_lines import approve_line, decide_batch, propose_line
from gateway.operations.partners import LineTools
from gateway.services import Services, open_services
from gateway.settings import PartnerSetting
from gateway.store import line_numbers
from tests.administrators import Admin
from tests.house import make, settings_of, write_settings
from tests.operations.line_partner import FIELDS, PROVINCE, line_file, two_persons
from tests.operations.publishing import NOW, PENALTIES, at, code, penalty, put, stocked

BANK = "credit.bank.example"
KEY = bytes(range(32))
TO_BANK = line_file(id='"bank"', partner=f'"{BANK}"', title='"向人民银行报送企业公共信用信息"', tier='"pboc"', purpose='"pboc.report"')
NAME = "TH2205000000012026060271000010.enc"


async def prepared(services: Services) -> tuple[dict[str, str], Admin, Admin]:
    """The small town and both lines, each approved by a second person: once in a process, then copied."""
    made = await stocked(services)
    zhang, li = await two_persons(services)
    for text in (line_file(), TO_BANK):
        done = await propose_line(services, text, by=await zhang.acts("line.propose"))
        await approve_line(services, done.id, digest=done.digest, by=await li.acts("line.approve"))
    return made, zhang, li


class Town:
    """The house with its two partners."""

    def __init__(self, services: Services, made: dict[str, str], folder: Path, zhang: Admin) -> None:
        self.services = services
        self.made = made
        self.root = folder / "bank"
        self.bank = Bank(self.root, key=KEY)
        self.zhang = Admin(zhang.name, zhang.signer, services)

    async def round(self, line: str, services: Services | None = None) -> LineRun:
        """One round over both lines; what one of them came to."""
        runs = {run.line: run for run in await keep_lines(services or self.services, at_once=True)}
        return runs[line]

    async def let_go(self) -> None:
        """A person lets the bank's batch go."""
        stream = "bank.administrative-penalties"
        await decide_batch(self.services, stream, "go", reason="核对无误", by=await self.zhang.acts("line.decide"))

    async def results(self, line: str) -> dict[str, int]:
        """What became of a line's rows."""
        (report,) = await line_report(self.services, line)
        return report.rows


@pytest.fixture(scope="module")
def province() -> Iterator[ProvinceServer]:
    """A service that listens during this file."""
    server = ProvinceServer()
    yield server
    server.close()


@asynccontextmanager
async def a_town(folder: Path, database: str, server: ProvinceServer, **soap: Any) -> AsyncIterator[Town]:
    """The prepared house, its partners' settings beside it."""
    server.province = Province("令牌")
    server.province.key = ("CF_WSH", "CF_XDR_SHXYM")
    (folder / "bank").mkdir()
    for name, text in (("token", "令牌\n"), ("key", KEY.hex() + "\n")):
        (folder / name).write_text(text, encoding="utf-8")
        (folder / name).chmod(0o400)
    service = {
        "path": "/cf",
        "namespace": "urn:example:sgs",
        "operation": "putCf",
        "columns": ["CF_WSH", "CF_XDR_MC", "CF_XDR_SHXYM", "CF_NR_FK", "CF_JDRQ", "CF_ZT"],
        "key": ["CF_WSH", "CF_XDR_SHXYM"],
        "status": "CF_ZT",
    }
    settings = settings_of(write_settings(folder, database=database), CHENGXIN_NOW=NOW)
    partners = (
        PartnerSetting(
            party=PROVINCE,
            adapter="province_soap",
            config={
                "base_url": server.origin,
                "allow_private": True,
                "token": {"file": str(folder / "token")},
                "services": {PENALTIES: service},
                "withdraw": "status_row",
                "codes": {"31": "rejected"},
                **soap,
            },
        ),
        PartnerSetting(
            party=BANK,
            adapter="pboc_file",
            file_key={"file": str(folder / "key")},
            config={
                "root": str(folder / "bank"),
                "institution": "TH220500000001",
                "types": {
                    PENALTIES: {"record": "710", "delete": "714", "columns": FIELDS, "organisation": "CF_XDR_SHXYM", "key": ["CF_WSH"]}
                },
                "codes": {"E001": "rejected"},
                "settle_s": 0,
            },
        ),
    )
    made, zhang, _ = await make(settings, prepared)
    async with open_services(settings) as opened:
        services = structs.replace(opened, settings=structs.replace(settings, partners=partners), adapters=installed_adapters())
        yield Town(services, made, folder, zhang)


@pytest.fixture
async def town(tmp_path: Path, province: ProvinceServer) -> AsyncIterator[Town]:
    """On SQLite."""
    async with a_town(tmp_path, "", province) as found:
        yield found


# --- the province -----------------------------------------------------------------------------------------------------


async def test_rows_go_to_the_province_and_come_back_withdrawn(town: Town, province: ProvinceServer) -> None:
    """The penalty arrives in the service's columns and is accepted; repaired, the same row arrives with its status withdrawn."""
    run = await town.round("province")
    assert (run.sealed, run.delivered, run.code, run.not_sent) == (1, 1, None, {"LAW_PERSON": 2})
    (row,) = province.province.rows
    assert (row["CF_XDR_SHXYM"], row["CF_JDRQ"], row["CF_ZT"]) == (code(1), "2026-03-02", "")
    assert await town.results("province") == {"accepted": 1}
    async with at(town.services, "2026-06-03T02:30:00Z") as later:
        await repair(later, town.made["罚单"], actor="test")
        await town.round("province", later)
    assert province.province.rows == [row | {"CF_ZT": "撤销"}]
    assert await town.results("province") == {"accepted": 1, "withdrawn": 1}


async def test_an_unknown_outcome_stops_the_stream(town: Town, province: ProvinceServer) -> None:
    """A reply that is lost stops the province's stream until a person decides; the bank's line goes on."""
    province.province.drop = "after"
    run = await town.round("province")
    assert (run.state, run.code) == ("stopped", "OUTCOME_UNKNOWN")
    province.province.drop = ""
    assert (await town.round("province")).state == "stopped"
    assert len(province.province.calls) == 1
    stream = "province.administrative-penalties"
    await decide_batch(town.services, stream, "arrived", reason="省厅确认", by=await town.zhang.acts("line.decide"))
    assert (await town.round("province")).state == "idle"
    assert (await town.round("bank")).code == "CONFIRM"


async def test_what_a_person_found_to_have_arrived_is_not_asked_for_any_more(town: Town, province: ProvinceServer) -> None:
    """A service answers at once or never: after `arrived` no answer is overdue, and a withdrawal counts as acknowledged."""
    stream = "province.administrative-penalties"
    await town.round("province")
    async with at(town.services, "2026-06-03T02:30:00Z") as later:
        await repair(later, town.made["罚单"], actor="test")
        province.province.drop = "after"
        assert (await town.round("province", later)).code == "OUTCOME_UNKNOWN"
    async with at(town.services, "2026-06-05T02:30:00Z") as later:
        assert "withdrawals-overdue" in {each.kind for each in await line_conditions(later) if each.bad}
    await decide_batch(town.services, stream, "arrived", reason="省厅确认", by=await town.zhang.acts("line.decide"))
    assert await town.results("province") == {"accepted": 1, "untold": 1}
    async with at(town.services, "2026-06-05T02:30:00Z") as later:
        assert not [each for each in await line_conditions(later) if each.bad and each.target.endswith(stream)]


async def test_a_line_without_counts_is_not_reconciled(town: Town) -> None:
    """A service that tells no counts agrees with nothing: the comparison says so instead of showing no difference."""
    with pytest.raises(AdminError) as refused:
        await reconcile_line(town.services, "province")
    assert refused.value.code == "line-state"


async def test_a_guaranteed_key_is_sent_again(tmp_path: Path, province: ProvinceServer) -> None:
    """With `dedupe` the core sends again by itself, and the row stands once."""
    async with a_town(tmp_path, "", province, dedupe="business_key") as town:
        province.province.drop = "after"
        assert (await town.round("province")).state == "waiting"
        province.province.drop = ""
        assert (await town.round("province")).state == "delivered"
        assert (province.province.taken, len(province.province.calls)) == (1, 2)


async def test_a22_a_refusing_province_hurts_nobody_else(town: Town, province: ProvinceServer) -> None:
    """A service that answers nonsense stops its own stream; nothing of it is believed, and the bank's file goes out in the same round."""
    province.province.body = b"<html>"
    assert (await town.round("province")).code == "OUTCOME_UNKNOWN"
    assert await town.results("province") == {"waiting": 1}
    await town.let_go()
    assert (await town.round("bank")).state == "delivered"


async def test_a22_a_province_that_does_not_come_back_delays_nobody(town: Town, province: ProvinceServer) -> None:
    """While it keeps its answer back the bank's line has its rounds: what a person lets go meanwhile lies in the folder with the next."""
    province.province.delay_s = 60
    rounds, submitted = Rounds(timedelta(milliseconds=100)), town.root / "submit"
    async with asyncio.timeout(30):
        told: dict[str, str] = {}
        while told != {"bank.administrative-penalties": "CONFIRM"}:
            told = await rounds.run(town.services)
        await town.let_go()
        while not submitted.exists() or [path.name for path in submitted.iterdir()] != [NAME]:
            await rounds.run(town.services)
    assert len(province.province.calls) == 1
    assert await town.results("province") == {"waiting": 1}
    await rounds.end()


# --- the bank ---------------------------------------------------------------------------------------------------------


async def test_a_person_lets_the_file_go_and_feedback_comes_back(town: Town) -> None:
    """Nothing lies in the folder before the confirmation; then one sealed file of one organisation, and each row is answered."""
    run = await town.round("bank")
    assert (run.sealed, run.delivered, run.code, run.not_sent) == (1, 0, "CONFIRM", {})
    assert not (town.root / "submit").exists() or list((town.root / "submit").iterdir()) == []
    await town.let_go()
    assert (await town.round("bank")).state == "delivered"
    assert [path.name for path in (town.root / "submit").iterdir()] == [NAME]
    (file,) = town.bank.work()
    assert file.fault is None
    (document,) = file.documents
    assert (document.rid, document.fields["CF_XDR_SHXYM"]) == (town.made["罚单"], code(1))
    assert set(document.fields) <= set(FIELDS)
    assert await town.results("bank") == {"waiting": 1}
    await town.round("bank")
    assert await town.results("bank") == {"accepted": 1}


async def test_serials_are_taken_with_the_batch(town: Town) -> None:
    """Each batch has its number before it leaves, one series a record type; the next day begins at 1, and withdrawals have their own."""
    reads = town.services.store.reads
    stream = "bank.administrative-penalties"
    await town.round("bank")
    assert await line_numbers.numbers_of(reads, stream, 1) == {"710": 1}
    await put(town.services, PENALTIES, penalty(code(1), "通化市示例药业有限公司", "示罚〔2026〕77号"))
    await town.round("bank")
    assert await line_numbers.numbers_of(reads, stream, 2) == {"710": 2}
    async with at(town.services, "2026-06-02T16:30:00Z") as later:  # the next day in UTC+8
        await repair(later, town.made["罚单"], actor="test")
        await put(later, PENALTIES, penalty(code(1), "通化市示例药业有限公司", "示罚〔2026〕78号"))
        await town.round("bank", later)
    assert await line_numbers.numbers_of(reads, stream, 3) == {"710": 1, "714": 1}
    for _ in range(3):
        await town.let_go()
        await town.round("bank")
    assert sorted(path.name[14:] for path in (town.root / "submit").iterdir()) == [
        "2026060271000010.enc",
        "2026060271000020.enc",
        "2026060371000010.enc",
        "2026060371400010.enc",
    ]


async def test_a_day_has_999_files(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the numbers of a day are used up nothing is written; the batch comes the next day with number 1."""
    monkeypatch.setattr("gateway.operations.send_rows.LAST_NUMBER", 0)
    run = await town.round("bank")
    assert (run.sealed, run.code) == (0, "LINE_NUMBERS")
    monkeypatch.undo()
    async with at(town.services, "2026-06-03T02:30:00Z") as later:
        assert (await town.round("bank", later)).sealed == 1
    assert await line_numbers.numbers_of(town.services.store.reads, "bank.administrative-penalties", 1) == {"710": 1}


async def test_a_refused_record_goes_again_whole(town: Town) -> None:
    """A record that the bank refused is shown with its code; corrected, it goes again with everything, and is taken."""
    town.bank.faults = {"示例": ("E001", "机构不存在")}
    await town.round("bank")
    await town.let_go()
    await town.round("bank")
    town.bank.work()
    await town.round("bank")
    (report,) = await line_report(town.services, "bank")
    assert [(each.record, each.result, each.code) for each in report.not_taken] == [(town.made["罚单"], "rejected", "E001")]
    town.bank.faults = {}
    async with at(town.services, "2026-06-02T03:30:00Z") as later:
        await put(later, PENALTIES, penalty(code(1), "通化市示例药业有限公司", "通示罚〔2026〕1号", fine="2.5"))
        await town.round("bank", later)
        await town.let_go()
        await town.round("bank", later)
        (file,) = town.bank.work()
        assert [(each.version, set(each.fields)) for each in file.documents] == [(2, set(FIELDS))]
        await town.round("bank", later)
    assert (await town.results("bank"))["accepted"] == 1


async def test_feedback_that_cannot_be_read_stops_nothing(town: Town) -> None:
    """Feedback under another key holds its rows, the line goes on, and good feedback later sets them right; counts agree."""
    await town.round("bank")
    await town.let_go()
    await town.round("bank")
    town.bank.misbehaves = "undecryptable"
    taken = town.bank.work()
    run = await town.round("bank")
    assert run.code is None
    assert await town.results("bank") == {"held": 1}
    town.bank.misbehaves = None
    town.bank.answer(taken)
    await town.round("bank")
    assert await town.results("bank") == {"accepted": 1}
    async with at(town.services, "2026-06-03T02:30:00Z") as later:
        await town.round("bank", later)
        (one,) = await comparisons(later, since="2026-06-01")
        assert (one.day, one.ours, one.theirs, one.agrees) == ("2026-06-02", 1, 1, True)


async def test_the_doctor_asks_both_lines(town: Town, province: ProvinceServer) -> None:
    """`exchange doctor` tells what the lines' own checks say, and what to do."""
    good = [each for each in await line_findings(town.services, ask=True) if not each.ok]
    assert good == []
    (town.root / "feedback" / "unbekannt").write_bytes(b"")
    province.province.redirect_to = "http://169.254.169.254/"
    bad = {each.where for each in await line_findings(town.services, ask=True) if not each.ok}
    assert bad == {f"{BANK}/bank", f"{PROVINCE}/province"}


async def test_on_either_database(tmp_path: Path, store_url: str, province: ProvinceServer) -> None:
    """Numbers, files and answers are the same on both databases."""
    async with a_town(tmp_path, store_url, province) as town:
        await town.round("bank")
        await town.let_go()
        await town.round("bank")
        town.bank.work()
        await town.round("bank")
        assert (await town.results("bank"), await town.results("province")) == ({"accepted": 1}, {"accepted": 1})


# --- the key of a line's files ----------------------------------------------------------------------------------------


async def test_files_are_sealed_under_the_key_that_lies_there_now(town: Town, tmp_path: Path) -> None:
    """The tools seal and open under the key in its file; another key, a changed name or a key that others can read open nothing."""
    tools = LineTools(town.services, "https://bank.example/x/v1", {"file": str(tmp_path / "key")})
    sealed = tools.seal_file("a.enc", b"A050")
    assert (tools.open_file("a.enc", sealed), sealed == tools.seal_file("a.enc", b"A050")) == (b"A050", True)
    for name, key, mode, why in (
        ("b.enc", KEY.hex(), 0o400, "FILE_SEALED"),
        ("a.enc", KEY[::-1].hex(), 0o400, "FILE_SEALED"),
        ("a.enc", KEY.hex()[1:], 0o400, "FILE_SEALED"),
        ("a.enc", KEY.hex(), 0o444, "CONFIG"),
    ):
        (tmp_path / "key").unlink()
        (tmp_path / "key").write_text(key, encoding="utf-8")
        (tmp_path / "key").chmod(mode)
        with pytest.raises(AdapterError) as refused:
            tools.open_file(name, sealed)
        assert (refused.value.code, refused.value.transient) == (why, False)
        assert key not in f"{refused.value} {refused.value.__cause__}"
    with pytest.raises(AdapterError) as refused:
        LineTools(town.services, "https://bank.example/x/v1").seal_file("a.enc", b"A050")
    assert refused.value.code == "CONFIG"

"""A department's file on its way in: receipts, statements and who may make them, refusals, repetition, resumption."""

import csv
import io
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from gateway.core.disclosure.views import closed_gate
from gateway.core.errors import FileRefused
from gateway.core.records.model import DatasetId, Record
from gateway.operations.ingest import IngestReceipt, ingest, receipt_json
from gateway.sample.files import SampleFile
from gateway.sample.generate import showcase, write_sample
from gateway.sample.people import authorities, code
from gateway.sample.words import HELD_FACTS
from gateway.services import Services, open_services
from gateway.settings import AuthoritySetting
from gateway.store import audit, changes, ingests, records
from tests.house import make, settings_of, write_settings

NOW = "2026-06-02T02:30:00Z"
SEED, SUBJECTS = 5, 140
REGISTER = tuple(
    AuthoritySetting(uscc=each.uscc, name=each.name, region=each.region, covers=each.covers) for each in authorities("220500")
)
MARKET, SERVICE, TAX = REGISTER[0].uscc, REGISTER[1].uscc, REGISTER[2].uscc
HEAD = ["企业名称", "统一社会信用代码", "成立日期", "登记状态"]


@asynccontextmanager
async def a_town(folder: Path, database: str = "", **changed: object) -> AsyncIterator[Services]:
    """A gateway whose settings name the authorities of the sample; small chunks, so that every file has several."""
    settings = settings_of(write_settings(folder, database=database), CHENGXIN_NOW=NOW)
    settings = msgspec.structs.replace(settings, **{"authorities": REGISTER, "ingest_chunk": 50, **changed})
    await make(settings)
    async with open_services(settings) as services:
        yield services


@pytest.fixture
async def town(tmp_path: Path, store_url: str) -> AsyncIterator[Services]:
    """An empty gateway, on SQLite and on PostgreSQL."""
    async with a_town(tmp_path, store_url) as services:
        yield services


@pytest.fixture
def files(tmp_path: Path) -> list[SampleFile]:
    """A small sample."""
    return write_sample(tmp_path / "files", seed=SEED, subjects=SUBJECTS)


async def take(services: Services, file: SampleFile) -> IngestReceipt:
    """Ingest a file of the sample as it is meant."""
    return await ingest(
        services, dataset=file.dataset, path=file.path, authority=file.authority, officer=file.officer, encoding=file.encoding
    )


def csv_of(path: Path, rows: Sequence[Sequence[str]], encoding: str = "utf-8") -> Path:
    """A CSV file."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    path.write_bytes(text.getvalue().encode(encoding))
    return path


def firm(number: int) -> list[str]:
    """A row of an invented firm."""
    return [f"通化市翥沚{number}商贸有限公司", code("91", "220502", 900_000 + number), "2020-01-31", "存续"]


async def held_records(services: Services, dataset: str) -> list[Record]:
    """Every record of a dataset, in any state."""
    return await records.load(services.store.reads, dataset=DatasetId(dataset))


def is_public(services: Services, record: Record) -> bool:
    """Whether the public gate is open for a record."""
    policies = services.policies.current()
    plans = policies.public(record.dataset)
    if plans is None or record.kind not in plans.plans:
        return False
    return closed_gate(record, plans.plans[record.kind], policies, services.clock()) is None


async def head(services: Services) -> int:
    """The end of the change log."""
    return await changes.head(services.store.reads)


def rows_in(receipt: IngestReceipt) -> int:
    """How many rows a receipt accounts for."""
    return receipt.accepted + receipt.unchanged + receipt.held + receipt.withdrawn + sum(receipt.rejected.values())


# --- receipts -------------------------------------------------------------------------------------------------------------


async def test_the_sample_comes_in_with_the_faults_that_were_put_into_it(town, files):
    """Each file's receipt accounts for every row, rejects exactly the spoilt ones under their codes, and names their lines."""
    for file in files:
        receipt = await take(town, file)
        assert receipt.rejected == dict(sorted(file.rejected.items())), file.path.name
        assert rows_in(receipt) == file.rows
        rejected = [row for row in receipt.rows if row.code in file.rejected]
        assert len(rejected) >= sum(file.rejected.values())
        assert len(receipt.rows) == receipt.held + sum(receipt.rejected.values())
        assert [row.line for row in receipt.rows] == sorted(row.line for row in receipt.rows)
        assert all(1 < row.line <= file.rows + 1 for row in receipt.rows)
        assert receipt.trust == ("vouched" if file.authority is None else "signed")
        assert Counter(row.code for row in receipt.notes) == receipt.noted


async def test_receipt_file_has_places_and_codes_but_no_values(town, files):
    """The receipt is JSON of counts, and of lines with code and column; nothing that stood in a cell is in it, nor in the audit trail."""
    file = next(file for file in files if file.path.name.startswith("08"))
    receipt = await take(town, file)
    text = receipt_json(receipt).decode()
    decoded = msgspec.json.decode(text)
    assert {"accepted", "unchanged", "held", "rejected", "rows"} <= set(decoded)
    assert all(set(row) == {"line", "code", "field"} for row in decoded["rows"])
    trail = await audit.after(town.store.reads, 0, 100)
    said = text + "".join(f"{row.actor} {row.target} {row.detail}" for row in trail)
    assert "220599" not in said
    assert "测试" not in said
    assert trail[-1].act == "ingest.file"
    assert trail[-1].detail is not None
    assert trail[-1].detail["rejected"] == receipt.rejected


async def test_rejected_row_is_told_by_line_code_and_column(town, tmp_path):
    """A bad row is rejected alone; line, code and column say which and why, also when its cell spans lines."""
    wrong = [["", *firm(2)[1:]], ["甲\n乙", "91220502XXT00002X3", "2020-01-31", "存续"], [*firm(3)[:2], "2021-02-30", ""]]
    rows = [HEAD, firm(1), *wrong, firm(4)]
    receipt = await ingest(town, dataset="registrations", path=csv_of(tmp_path / "a.csv", rows))
    assert [(row.line, row.code, row.field) for row in receipt.rows] == [
        (3, "SCHEMA_MISSING", "ZTMC"), (4, "SUBJ_USCC", "TYSHXYDM"), (5, "SCHEMA_TYPE", "established_on")]
    assert (receipt.accepted, receipt.rejected) == (2, {"SCHEMA_MISSING": 1, "SCHEMA_TYPE": 1, "SUBJ_USCC": 1})


async def test_a_held_text_does_not_hold_its_record(town, tmp_path, files):
    """A text that the redactor cannot clear is held; its record is accepted and in force."""
    file = next(file for file in files if file.path.name.startswith("05"))
    with file.path.open(encoding="gb18030", newline="") as opened:
        top, first, *_ = list(csv.reader(opened))
    row = dict(zip(top, first, strict=True)) | {
        "行政处罚决定书文号": "示罚〔2026〕70001号", "违法事实": HELD_FACTS.format(who="当事人", day="2026年1月6日")}
    path = csv_of(tmp_path / "held.csv", [list(row), list(row.values())])
    receipt = await ingest(town, dataset=file.dataset, path=path, authority=file.authority, officer="测试员甲")
    assert (receipt.accepted, receipt.held) == (1, 0)
    (record,) = await held_records(town, file.dataset)
    assert record.state == "in_force"
    assert record.texts["facts"].held


async def test_unknown_kind_of_penalty_is_held_not_rejected(town, files):
    """A value of nobody's list is kept as sent and holds its record; the receipt names line, code and column."""
    file = next(file for file in files if file.path.name.startswith("05"))
    receipt = await take(town, file)
    assert receipt.held >= 2
    assert {row.code for row in receipt.rows} >= {"SCHEMA_ENUM", "LAW_PERIOD"}
    held = [record for record in await held_records(town, file.dataset) if record.state == "held"]
    assert len(held) == receipt.held
    assert not any(is_public(town, record) for record in held)


# --- once, again, otherwise -----------------------------------------------------------------------------------------------


async def test_same_file_again_gives_the_same_receipt(town, files):
    """The same file under the same word gives the receipt that it gave, and writes nothing."""
    file = files[0]
    first = await take(town, file)
    before = (await head(town), len(await audit.after(town.store.reads, 0, 1000)))
    again = await take(town, msgspec.structs.replace(file, path=file.path.rename(file.path.with_name("又一次.csv"))))
    assert again == first
    assert (await head(town), len(await audit.after(town.store.reads, 0, 1000))) == before


async def test_same_rows_in_another_file_are_unchanged(town, tmp_path):
    """Rows are known again by their business key: other bytes with the same content change nothing, other content amends."""
    rows = [HEAD, *[firm(number) for number in range(5)]]
    await ingest(town, dataset="registrations", path=csv_of(tmp_path / "a.csv", rows))
    before = await head(town)
    again = await ingest(town, dataset="registrations", path=csv_of(tmp_path / "b.csv", rows, "gb18030"), encoding="gb18030")
    assert (again.accepted, again.unchanged) == (0, 5)
    assert await head(town) == before
    rows[3] = [*firm(2)[:3], "注销"]
    changed = await ingest(town, dataset="registrations", path=csv_of(tmp_path / "c.csv", rows))
    assert (changed.accepted, changed.unchanged) == (1, 4)
    assert await head(town) == before + 1
    assert sorted(record.version for record in await held_records(town, "registrations")) == [1, 1, 1, 1, 2]


async def test_one_file_says_one_thing_about_one_record(town, tmp_path):
    """A row that contradicts an earlier row of its file is rejected by line and key column, in the same chunk or a later one."""
    near = [HEAD, firm(1), firm(1), [*firm(1)[:3], "注销"]]
    receipt = await ingest(town, dataset="registrations", path=csv_of(tmp_path / "near.csv", near))
    assert (receipt.accepted, receipt.unchanged, receipt.rejected) == (1, 1, {"DUP_KEY": 1})
    assert [(row.line, row.code, row.field) for row in receipt.rows] == [(4, "DUP_KEY", "TYSHXYDM")]
    far = [HEAD, firm(2), *[firm(number) for number in range(100, 220)], [*firm(2)[:3], "注销"], firm(2)]
    receipt = await ingest(town, dataset="registrations", path=csv_of(tmp_path / "far.csv", far))
    assert (receipt.accepted, receipt.unchanged, receipt.rejected) == (121, 1, {"DUP_KEY": 1})
    later = await ingest(town, dataset="registrations", path=csv_of(tmp_path / "later.csv", [HEAD, [*firm(2)[:3], "注销"]]))
    assert (later.accepted, later.rejected) == (1, {})


async def test_withdrawn_by_its_own_department(town, files):
    """A row that says 撤销 withdraws the record; said again by the same file it stays withdrawn."""
    sent = next(file for file in files if file.path.name.startswith("05"))
    later = next(file for file in files if file.path.name.startswith("09"))
    await take(town, sent)
    receipt = await take(town, later)
    assert (receipt.accepted, receipt.withdrawn, receipt.rejected) == (1, 1, {"SCHEMA_ENUM": 1})
    states = Counter(record.state for record in await held_records(town, sent.dataset))
    assert states["retracted"] == 1
    await take(town, sent)
    assert Counter(record.state for record in await held_records(town, sent.dataset)) == states


async def test_other_rules_judge_the_same_file_again(tmp_path, sqlite_url):
    """When the register of authorities has changed, the same file is judged anew: what was refused comes in, the rest is unchanged."""
    other = code("11", "220500", 77)
    rows = [[*HEAD, "登记机关", "登记机关统一社会信用代码"],
            [*firm(1), "通化市翥沚局（示例）", other], [*firm(2), REGISTER[0].name, MARKET]]
    path = csv_of(tmp_path / "a.csv", rows)
    async with a_town(tmp_path / "g", sqlite_url) as services:
        first = await ingest(services, dataset="registrations", path=path, authority=MARKET, officer="测试员甲")
        assert (first.accepted, first.rejected) == (1, {"SCOPE_AUTHORITY": 1})
    newcomer = AuthoritySetting(uscc=other, name="通化市翥沚局（示例）", region="220500")
    widened = (msgspec.structs.replace(REGISTER[0], covers=(other,)), *REGISTER[1:], newcomer)
    async with a_town(tmp_path / "g", sqlite_url, authorities=widened) as services:
        again = await ingest(services, dataset="registrations", path=path, authority=MARKET, officer="测试员甲")
        assert (again.accepted, again.unchanged, again.rejected) == (1, 1, {})
        assert await ingest(services, dataset="registrations", path=path, authority=MARKET, officer="测试员甲") == again


# --- whose statement it is ------------------------------------------------------------------------------------------------


async def test_vouched_upload_burdens_nobody(town, files):
    """Penalties and listings that nobody answers for are stored as vouched, and no public gate opens for them."""
    for prefix in ("05", "10"):
        file = next(file for file in files if file.path.name.startswith(prefix))
        receipt = await ingest(town, dataset=file.dataset, path=file.path, encoding=file.encoding)
        assert receipt.trust == "vouched"
        found = await held_records(town, file.dataset)
        assert found
        assert {record.trust for record in found} == {"vouched"}
        assert not any(is_public(town, record) for record in found)


async def test_statement_names_sender_and_officer(town, files):
    """With authority and officer the records are that authority's own; the officer's name stands nowhere in clear."""
    file = next(file for file in files if file.path.name.startswith("05"))
    await take(town, file)
    found = await held_records(town, file.dataset)
    assert {(record.trust, record.sender) for record in found} == {("signed", MARKET)}
    (last,) = await ingests.latest(town.store.reads, 1)
    assert (last.authority, last.done) == (MARKET, True)
    about = await ingests.about(town.store.reads, last.ingest_id)
    assert (about.officer, about.file_name) == (file.officer, file.path.name)


async def test_same_file_under_another_word_is_another_statement(town, files):
    """A vouched file that its department then answers for is taken in again, and becomes signed."""
    file = next(file for file in files if file.path.name.startswith("05"))
    await ingest(town, dataset=file.dataset, path=file.path, encoding=file.encoding)
    receipt = await take(town, file)
    assert receipt.accepted > 0
    assert "signed" in {record.trust for record in await held_records(town, file.dataset)}


async def test_row_of_an_authority_outside_the_senders_scope(town, files):
    """A department does not speak for another; one that covers all of its region does, and nobody for another city."""
    file = next(file for file in files if file.path.name.startswith("06"))
    environment = file.authority
    wrong = await ingest(town, dataset=file.dataset, path=file.path, authority=TAX, officer="测试员甲")
    assert wrong.rejected == {"SCOPE_AUTHORITY": file.rows}
    assert all(row.field == "CF_CFJGDM" for row in wrong.rows)
    right = await ingest(town, dataset=file.dataset, path=file.path, authority=SERVICE, officer="测试员甲")
    assert right.rejected == {"SCOPE_AUTHORITY": 1}
    assert environment != TAX


async def test_one_authority_rewrites_no_firm_that_another_registered(town, tmp_path):
    """Its row, whether it renames the firm or takes it back, is rejected by name of the code; who speaks for the other may write."""
    async def send(name: str, authority: str, *rows: list[str]) -> IngestReceipt:
        path = csv_of(tmp_path / name, [[*HEAD, "操作"], *rows])
        return await ingest(town, dataset="registrations", path=path, authority=authority, officer="测试员甲")

    ours, other = firm(1), firm(2)
    assert (await send("a.csv", MARKET, [*ours, "新增"])).accepted == 1
    renamed = await send("b.csv", TAX, ["通化市改名商贸有限公司", *ours[1:], "更新"], [*other, "新增"])
    assert (renamed.accepted, renamed.rejected) == (1, {"SCOPE_OWNER": 1})
    assert [(row.line, row.field) for row in renamed.rows] == [(2, "TYSHXYDM")]
    assert (await send("c.csv", TAX, [*ours, "撤销"])).rejected == {"SCOPE_OWNER": 1}
    names = {str(record.raw.open()["name"]) for record in await held_records(town, "registrations") if record.state == "in_force"}
    assert names == {ours[0], other[0]}
    assert (await send("d.csv", SERVICE, [*ours[:3], "注销", "更新"])).accepted == 1


@pytest.mark.parametrize(("authority", "officer", "expected"), [
    (code("11", "220500", 77), "测试员甲", "SCOPE_AUTHORITY"), ("11220500XXT0001182", "测试员甲", "SUBJ_USCC"),
    (MARKET, None, "SCOPE_AUTHORITY"), (MARKET, "  ", "SCOPE_AUTHORITY"), (None, "测试员甲", "SCOPE_AUTHORITY"),
])
async def test_only_registered_authorities_upload(tmp_path, sqlite_url, authority, officer, expected):
    """An authority that the settings do not name, a wrong code, or half a statement is refused before anything is read."""
    async with a_town(tmp_path, sqlite_url) as services:
        with pytest.raises(FileRefused) as caught:
            await ingest(services, dataset="registrations", path=tmp_path / "absent.csv", authority=authority, officer=officer)
        assert caught.value.code == expected
        assert caught.value.place == ("--authority" if officer is None or officer.strip() else "--officer")


# --- refusals -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "data", "expected", "place"), [
    ("a.csv", "企业名称,信用分\n甲,1\n".encode(), "FILE_HEADER", "a.csv!R1C2"),
    ("a.csv", "企业名称\n甲\n".encode("gb18030"), "FILE_ENCODING", "a.csv!R1C1"),
    ("a.csv", ("企业名称\n" + "甲\n" * 3000 + "乙\0\n").encode(), "FILE_NUL", "a.csv!R3002C1"),
    ("a.csv", ("企业名称\n" + "甲\n" * 3000 + '"乙\n').encode(), "FILE_FORMAT", "a.csv!R3002"),
    ("a.xls", b"x", "FILE_FORMAT", "a.xls"),
    ("a.xlsx", b"x", "FILE_FORMAT", "a.xlsx"),
])
async def test_refused_file_leaves_nothing_behind(tmp_path, sqlite_url, name, data, expected, place):
    """A fault of the file, wherever it stands in it, is found before any row is stored; code, row and column are told."""
    path = tmp_path / name
    path.write_bytes(data)
    async with a_town(tmp_path / "g", sqlite_url) as services:
        with pytest.raises(FileRefused) as caught:
            await ingest(services, dataset="registrations", path=path)
        assert (caught.value.code, caught.value.place) == (expected, place)
        assert await head(services) == 0
        assert await ingests.latest(services.store.reads) == []


async def test_unknown_dataset(tmp_path, sqlite_url):
    """A dataset that no policy describes is refused by name of the parameter, with the datasets that there are."""
    async with a_town(tmp_path, sqlite_url) as services:
        with pytest.raises(FileRefused) as caught:
            await ingest(services, dataset="penalties", path=tmp_path / "a.csv")
        assert (caught.value.code, caught.value.place) == ("dataset-unknown", "DATASET")
        assert "administrative-penalties" in (caught.value.hint or "")


# --- resumption -----------------------------------------------------------------------------------------------------------


class Stop(Exception):
    """The process ends here."""


async def test_interrupted_anywhere_the_next_start_goes_on(tmp_path, files, sqlite_template):
    """Stopped after any chunk and started again, the receipt and the records are those of an uninterrupted run; no change is doubled."""
    file = files[0]

    async def run(folder: Path, stop_after: int | None) -> tuple[IngestReceipt, int, Counter[tuple[str, int]]]:
        folder.mkdir()
        shutil.copyfile(sqlite_template, folder / "gateway.db")
        url = f"sqlite+aiosqlite:///{folder / 'gateway.db'}"
        if stop_after is not None:
            seen = []

            def progress(done: int, total: int | None) -> None:
                seen.append((done, total))
                if len(seen) > stop_after:
                    raise Stop

            async with a_town(folder, url) as services:
                with pytest.raises(Stop):
                    await ingest(services, dataset=file.dataset, path=file.path, authority=file.authority, officer=file.officer,
                                 encoding=file.encoding, progress=progress)
                assert seen[0] == (0, file.rows)
        async with a_town(folder, url) as services:
            receipt = await take(services, file)
            stated = Counter((record.state, record.version) for record in await held_records(services, file.dataset))
            return receipt, await head(services), stated

    whole = await run(tmp_path / "whole", None)
    for stop_after in (1, 2, 3):
        assert await run(tmp_path / f"stop{stop_after}", stop_after) == whole


async def test_showcase_is_public_once_the_sample_is_in(tmp_path, sqlite_url, files):
    """After the whole sample, the firm to show has something public in every dataset that is no blacklist, the person nothing."""
    shown = showcase(seed=SEED, subjects=SUBJECTS)
    async with a_town(tmp_path / "g", sqlite_url) as services:
        for file in files:
            await take(services, file)

        async def public(key_type: str, value: str, kind: str) -> set[str]:
            subject = await records.subject_by_key(services.store.reads, key_type, value, kind)
            assert subject is not None
            found = await records.load(services.store.reads, subject=subject.subject_id)
            return {str(record.dataset) for record in found if is_public(services, record)}

        everything = {"registrations", "administrative-licences", "administrative-penalties", "honours", "commitments", "assessments"}
        assert await public("uscc", shown.firm.uscc, "legal") == everything
        assert await public("uscc", shown.household.uscc, "individual_business") >= {"administrative-penalties"}
        assert await public("id_no", shown.person.id_no, "natural") == set()

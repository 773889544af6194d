"""Real registry rows and real penalty decisions through the command that departments use; what is expected is worked out from the rows."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.core.records.identifiers import check_uscc
from gateway.core.records.model import DatasetId
from gateway.operations.ingest import ingest
from gateway.sample.people import code
from gateway.services import open_services
from gateway.store import records
from tests.house import CENTRE, a_gateway, settings_of, write_settings
from tests.real_input.conftest import read_rows, write_rows

PENALTIES = "administrative-penalties"
NOW = "2026-06-02T02:30:00Z"
ALPHABET = "0123456789ABCDEFGHJKLMNPQRTUWXY"
PLAIN_AMOUNT = re.compile(r"[0-9]+(\.[0-9]{1,6})?")


def right(text: str) -> bool:
    """Whether a code has 18 characters and a check character that fits, worked out once more (GB 32100-2015)."""
    if len(text) != 18 or not set(text) <= set(ALPHABET):
        return False
    total = sum(ALPHABET.index(character) * pow(3, place, 31) for place, character in enumerate(text[:17]))
    return ALPHABET[-total % 31] == text[17]


@pytest.mark.parametrize("which", [0, 1])
def test_real_registers_by_the_command(tmp_path, registers, shared_data, which):
    """Register extracts come in under their own headers: only wrong codes are rejected, each by line; unknown divisions are remarks."""
    rows = read_rows(registers[which])
    settings = write_settings(tmp_path)
    command = [sys.executable, "-m", "gateway", "--settings", str(settings)]
    subprocess.run([*command, "init"], check=True, capture_output=True)
    receipt = tmp_path / "receipt.json"
    command += ["ingest", "registrations", str(registers[which]), "--receipt", str(receipt)]
    done = subprocess.run(command, capture_output=True, text=True)
    told = json.loads(receipt.read_bytes())
    wrong = [line for line, row in enumerate(rows, start=2) if not right(row["统一社会信用代码"])]
    assert done.returncode == (3 if wrong else 0), done.stderr
    assert [(row["line"], row["code"], row["field"]) for row in told["rows"]] == [(line, "SUBJ_USCC", "TYSHXYDM") for line in wrong]
    distinct = {tuple(row.values()) for row in rows if right(row["统一社会信用代码"])}
    assert told["accepted"] == len(distinct)
    assert told["unchanged"] == len(rows) - len(wrong) - len(distinct)
    assert told["held"] == 0
    known = {row["code"] for name in ("areas", "cities", "provinces") for row in read_rows(shared_data / f"cn_divisions_2023_{name}.csv")}
    unknown = {row["line"] for row in told["notes"] if row["code"] == "REGION_UNKNOWN"}
    for line in unknown:
        assert rows[line - 2]["统一社会信用代码"][2:8] not in known
    assert told["noted"].get("REGION_UNKNOWN", 0) == len(unknown)


async def test_real_rows_keep_their_oddities(tmp_path, registers):
    """Names with brackets of either width, capital as written, and 'N/A' as nothing: what is stored is what was said."""
    rows = {row["统一社会信用代码"]: row for row in read_rows(registers[0])}
    async with a_gateway(tmp_path, CHENGXIN_NOW=NOW) as services:
        await ingest(services, dataset="registrations", path=registers[0])
        stored = await records.load(services.store.reads, dataset=DatasetId("registrations"))
        assert len(stored) == len({number for number in rows if right(number)})
        assert {record.trust for record in stored} == {"vouched"}
        for record in stored:
            values = record.raw.open()
            row = rows[str(values["uscc"])]
            assert values["name"] == " ".join(row["企业名称"].split())
            assert values.get("entity_type") == (None if row["企业类型"] == "N/A" else row["企业类型"])
            assert values.get("registered_capital") == (None if row["注册资金"] == "N/A" else row["注册资金"])
            assert values.get("established_on") == (None if row["注册日期"] == "N/A" else row["注册日期"])


def test_second_opinion_on_real_codes(registers):
    """Our verdict on every real code is that of the arithmetic written down in this test."""
    for path in registers:
        for row in read_rows(path):
            assert check_uscc(row["统一社会信用代码"]).valid == right(row["统一社会信用代码"])


async def test_decisions_file_as_it_stands_is_refused(tmp_path, shared_data):
    """The published table itself has columns that no dataset knows: it is refused whole, at the first of them."""
    settings = write_settings(tmp_path)
    command = [sys.executable, "-m", "gateway", "--settings", str(settings)]
    subprocess.run([*command, "init"], check=True, capture_output=True)
    command += ["ingest", PENALTIES, str(shared_data / "cn_mainland_penalties_real.csv")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert "FILE_HEADER at cn_mainland_penalties_real.csv!R1C1" in done.stderr


HEADERS = {
    "行政相对人名称": "行政相对人名称", "行政处罚决定书文号": "行政处罚决定书文号", "处罚机关": "处罚机关",
    "处罚决定日期": "处罚决定日期", "公示日期": "公示日期", "违法行为/事由(raw)": "违法事实", "处罚依据(raw)": "处罚依据",
    "处罚内容(raw)": "处罚内容", "罚款金额(source)": "罚款金额",
}
"""Column of the published table → label of our dataset: headers are renamed, cells are not touched."""


async def test_decisions_as_they_stand_are_not_let_in(tmp_path, decisions):
    """Real decisions lack codes, kinds and often the party: nothing is filled in, each is rejected with the code of what is wrong first."""
    path = write_rows(tmp_path / "decisions.csv", [list(HEADERS.values()), *[[row[column] for column in HEADERS] for row in decisions]])
    async with a_gateway(tmp_path / "g", CHENGXIN_NOW=NOW) as services:
        receipt = await ingest(services, dataset=PENALTIES, path=path)
        assert await records.load(services.store.reads, dataset=DatasetId(PENALTIES)) == []
    amounts = [row["罚款金额(source)"] for row in decisions]
    expected = ["SCHEMA_TYPE" if amount and not PLAIN_AMOUNT.fullmatch(amount) else "SCHEMA_MISSING" for amount in amounts]
    assert [row.code for row in receipt.rows] == expected
    assert [row.line for row in receipt.rows] == list(range(2, len(decisions) + 2))
    fields = {row.field for row in receipt.rows if row.code == "SCHEMA_TYPE"}
    assert fields <= {"CF_NR_FK"}
    assert receipt.accepted == receipt.held == 0


async def test_decisions_without_their_amount_lack_party_and_codes(tmp_path, decisions):
    """Without the column of glued amounts, what is missing is told: the party's name only where it is missing, else its kind or code."""
    columns = [column for column in HEADERS if column != "罚款金额(source)"]
    rows = [[row[column] for column in columns] for row in decisions]
    path = write_rows(tmp_path / "decisions.csv", [[HEADERS[column] for column in columns], *rows])
    async with a_gateway(tmp_path / "g", CHENGXIN_NOW=NOW) as services:
        receipt = await ingest(services, dataset=PENALTIES, path=path)
    assert receipt.rejected == {"SCHEMA_MISSING": len(decisions)}
    for row, told in zip(decisions, receipt.rows, strict=True):
        assert told.field != "CF_XDR_MC" or not row["行政相对人名称"]


async def test_unknown_kinds_of_real_decisions_are_held(tmp_path, decisions):
    """With an invented party and all codes, but the real text where the kind of penalty belongs, a decision is held, never coerced."""
    rows = [complete(number, row, kind=row["处罚内容(raw)"][:200]) for number, row in enumerate(decisions)]
    async with a_gateway(tmp_path / "g", CHENGXIN_NOW=NOW) as services:
        path = write_rows(tmp_path / "held.csv", [list(rows[0]), *[list(row.values()) for row in rows]])
        receipt = await ingest(services, dataset=PENALTIES, path=path, authority=CENTRE, officer="测试员甲")
    assert (receipt.accepted, receipt.held, receipt.rejected) == (0, len(rows), {})
    assert {(row.code, row.field) for row in receipt.rows} == {("SCHEMA_ENUM", "CF_CFLB")}


TEXTS = {"违法事实": "facts", "处罚依据": "legal_basis", "处罚内容": "content", "行政处罚决定书文号": "document_number"}


def complete(number: int, decision: dict[str, str], *, kind: str = "罚款", basis: str | None = None) -> dict[str, str]:
    """An invented company's decision with the texts of a real one; half of the real ones cite the law where the facts should stand."""
    if basis is None:
        basis = decision["处罚依据(raw)"] or decision["违法行为/事由(raw)"]
    authority = "通化市市场监督管理局（示例）"
    return {
        "行政相对人名称": f"通化市翥沚{number}商贸有限公司", "行政相对人类别": "法人及非法人组织",
        "统一社会信用代码": code("91", "220502", 910_000 + number), "行政处罚决定书文号": f"{decision['行政处罚决定书文号']}示{number}",
        "违法行为类型": "真实文本测试", "违法事实": decision["违法行为/事由(raw)"], "处罚依据": basis, "处罚类别": kind,
        "处罚内容": decision["处罚内容(raw)"], "处罚决定日期": "2026-04-20", "处罚有效期": "2027-04-20", "处罚机关": authority,
        "处罚机关统一社会信用代码": CENTRE, "数据来源单位": authority, "数据来源单位统一社会信用代码": CENTRE,
    }


async def test_real_texts_without_a_legal_basis(tmp_path, decisions):
    """With an invented party but the texts as they stand, a decision that names no basis is rejected for it; the others come in."""
    rows = [complete(number, row, basis=row["处罚依据(raw)"]) for number, row in enumerate(decisions)]
    async with a_gateway(tmp_path / "g", CHENGXIN_NOW=NOW) as services:
        path = write_rows(tmp_path / "basis.csv", [list(rows[0]), *[list(row.values()) for row in rows]])
        receipt = await ingest(services, dataset=PENALTIES, path=path, authority=CENTRE, officer="测试员甲")
    without = [line for line, row in enumerate(decisions, start=2) if not row["处罚依据(raw)"].strip()]
    assert [(row.line, row.code, row.field) for row in receipt.rows] == [(line, "LAW_BASIS", "CF_YJ") for line in without]
    assert (receipt.accepted, receipt.held) == (len(decisions) - len(without), 0)


async def test_texts_of_real_decisions_attached_to_invented_companies(tmp_path, decisions):
    """The texts themselves are let in, every bracket, capital numeral and glued amount of them, and come back as they were."""
    rows = [complete(number, row) for number, row in enumerate(decisions)]
    settings = settings_of(write_settings(tmp_path), CHENGXIN_NOW=NOW)
    async with a_gateway(tmp_path, CHENGXIN_NOW=NOW) as services:
        path = write_rows(tmp_path / "texts.csv", [list(rows[0]), *[list(row.values()) for row in rows]])
        receipt = await ingest(services, dataset=PENALTIES, path=path, authority=CENTRE, officer="测试员甲")
        assert (receipt.accepted, receipt.held, receipt.rejected) == (len(rows), 0, {})
    async with open_services(settings) as services:
        stored = {record.raw.open()["uscc"]: record for record in await records.load(services.store.reads, dataset=DatasetId(PENALTIES))}
    for row in rows:
        record = stored[row["统一社会信用代码"]]
        assert record.state == "in_force"
        for label, name in TEXTS.items():
            assert "".join(str(record.raw.open()[name]).split()) == "".join(row[label].split())
        assert set(record.texts) >= {"facts", "legal_basis", "content"}


def test_shared_data_is_not_in_the_project(registers, decisions):
    """No tracked file of the project holds a real code, or sixteen characters together of a real decision, titles of laws apart."""
    root = Path(__file__).resolve().parents[2]
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=True).stdout.split("\0")
    texts = {name: (root / name).read_text(encoding="utf-8", errors="ignore") for name in tracked if name and (root / name).is_file()}
    real = {row["统一社会信用代码"] for path in registers for row in read_rows(path)}
    runs = {
        piece[at : at + 16]
        for row in decisions for cell in row.values() for piece in re.split("《[^》]*》", cell) for at in range(len(piece) - 15)
    }
    for name, text in texts.items():
        assert not real & set(re.findall(r"(?<![0-9A-Z])[0-9A-Z]{17,18}(?![0-9A-Z])", text)), name
        assert not any(text[at : at + 16] in runs for at in range(len(text) - 15) if text[at] > "\u2e7f" or text[at].isdigit()), name

"""The error file: whose cells stand in it, what of persons is masked, and what it says of each row."""

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from openpyxl import load_workbook

from gateway.core.errors import FileRefused
from gateway.operations.error_sheet import AFTER, file_name
from gateway.operations.ingest import ErrorFile, ingest
from gateway.services import Services
from tests.commands import chengxin
from tests.house import CENTRE, a_gateway
from tests.operations.publishing import code, penalty, person_number, person_penalty

DATASET = "administrative-penalties"


def firm(number: int, **changed: str) -> dict[str, Any]:
    """A penalty of an invented company, some columns otherwise."""
    return penalty(code(number), f"通化市示例{number}有限公司", f"示罚〔2026〕{number}号") | changed


WRONG = {"处罚决定日期": "2026-13-77"}


def table(rows: list[dict[str, Any]]) -> bytes:
    """A CSV file of these rows."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    made = csv.DictWriter(text, columns)
    made.writeheader()
    made.writerows(rows)
    return text.getvalue().encode()


async def sheet_of(services: Services, path: Path, **more: Any) -> tuple[Any, list[dict[str, str]], list[list[str]]]:
    """Receipt, rows and counts of a file."""
    to = io.BytesIO()
    words: dict[str, Any] = {"authority": CENTRE, "officer": "测试员甲", "follow": False, **more}
    receipt = await ingest(services, dataset=DATASET, path=path, errors=ErrorFile(to, "csv"), **words)
    lines = list(csv.reader(io.StringIO(to.getvalue().decode("utf-8-sig"))))
    rows = [dict(zip(lines[0], line, strict=True)) for line in lines[1:] if line[0].isdigit()]
    return receipt, rows, [line for line in lines[1:] if line[0] and not line[0].isdigit()]


async def test_bad_rows_come_back_and_good_ones_do_not(tmp_path: Path) -> None:
    """Rejected and held rows stand in it by their numbers, with code, column, message and advice; the counts add up; twice is the same."""
    rows = [firm(1), firm(2, **WRONG), firm(3, 行政处罚决定书文号=""), firm(4, 失信严重程度="极其")]
    path = tmp_path / "a.csv"
    path.write_bytes(table(rows))
    async with a_gateway(tmp_path) as services:
        receipt, found, counts = await sheet_of(services, path)
        again = await sheet_of(services, path)
    assert {int(row["行号"]): (row["代码"], row["字段"]) for row in found} == {
        each.line: (each.code, each.field or "") for each in receipt.rows
    }
    assert [row["行号"] for row in found] == ["3", "4", "5"]
    assert {row["结果"] for row in found} <= {"拒绝", "待核"}
    assert all(row["说明"] and row["建议"] for row in found)
    assert found[0]["处罚决定日期"] == "2026-13-77"
    numbers = {line[0]: int(line[-1]) for line in counts}
    assert numbers["总行数"] == 4 == sum(number for name, number in numbers.items() if name != "总行数")
    assert (numbers["接受"], numbers["拒绝"]) == (receipt.accepted, sum(receipt.rejected.values()))
    assert again == (receipt, found, counts)


async def test_persons_are_masked_and_organisations_are_not(tmp_path: Path) -> None:
    """Numbers and names of persons do not go back in clear, in their columns or in running text; an organisation's do."""
    number = person_number(7)
    told = f"经查，当事人身份证号{number}，电话13812345678。"
    person = person_penalty("赵测试员", number, "示罚〔2026〕7号") | WRONG | {"违法事实": told}
    company = firm(8, **WRONG)
    path = tmp_path / "a.csv"
    path.write_bytes(table([person, company]))
    async with a_gateway(tmp_path) as services:
        _, (first, second), _ = await sheet_of(services, path)
    text = " ".join(first.values())
    assert number not in text
    assert "13812345678" not in text
    assert "赵测试员" not in text
    assert (first["行政相对人名称"], first["证件号码"]) == ("赵某某", f"********{number[-2:]}")
    assert second["行政相对人名称"] == company["行政相对人名称"]
    assert second["统一社会信用代码"] == company["统一社会信用代码"]


async def test_a_row_that_says_nothing_of_its_kind_is_masked(tmp_path: Path) -> None:
    """Where nobody can tell whether a row is about an organisation, its name and codes are masked."""
    company = firm(9, 行政相对人类别="", **WRONG)
    path = tmp_path / "a.csv"
    path.write_bytes(table([company]))
    async with a_gateway(tmp_path) as services:
        _, (row,), _ = await sheet_of(services, path)
    assert row["统一社会信用代码"] == f"********{company['统一社会信用代码'][-2:]}"
    assert row["行政相对人名称"] == "通某某"


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t", "\r", "＝"])
async def test_no_cell_is_a_formula(tmp_path: Path, sign: str) -> None:
    """A cell that a spreadsheet would take for a formula is text in both formats."""
    wrong = firm(1, **WRONG, 违法事实=f'{sign}HYPERLINK("http://x.example","y")')
    path = tmp_path / "a.csv"
    path.write_bytes(table([wrong]))
    async with a_gateway(tmp_path) as services:
        _, (row,), _ = await sheet_of(services, path)
        book = io.BytesIO()
        await ingest(
            services, dataset=DATASET, path=path, authority=CENTRE, officer="测试员甲", follow=False, errors=ErrorFile(book, "xlsx")
        )
    assert row["违法事实"] == f"'{wrong['违法事实']}"
    cells = [cell for line in load_workbook(book).active.iter_rows() for cell in line if cell.value is not None]
    assert {cell.data_type for cell in cells} <= {"s", "n", "inlineStr"}
    assert all(cell.quotePrefix for cell in cells if isinstance(cell.value, str) and "HYPERLINK" in cell.value)


async def test_rows_that_cannot_be_read_come_back_as_they_stand(tmp_path: Path) -> None:
    """A row of another width and a code that a spreadsheet spoilt are given back with their own cells and the adapter's word."""
    good = table([firm(1)]).decode()
    spoilt = table([firm(2, 统一社会信用代码="9.12205E+17")]).decode().splitlines()[1]
    path = tmp_path / "a.csv"
    path.write_bytes((good + "只有,两列\r\n" + spoilt + "\r\n").encode())
    async with a_gateway(tmp_path) as services:
        _, (short, code), _ = await sheet_of(services, path)
    assert (short["代码"], list(short.values())[1:4]) == ("SCHEMA_LINE", ["某某", "两列", ""])
    assert (code["代码"], code["字段"]) == ("SCHEMA_TYPE", "CF_XDR_SHXYM")
    assert "数字格式" in code["说明"]


async def test_a_file_without_faults_has_counts_only(tmp_path: Path) -> None:
    """No row is bad: the sheet has its header and the counts."""
    path = tmp_path / "a.csv"
    path.write_bytes(table([firm(1)]))
    async with a_gateway(tmp_path) as services:
        receipt, rows, counts = await sheet_of(services, path)
    assert (receipt.accepted, rows, len(counts)) == (1, [], 6)


async def test_nobody_confirmed_and_confirmed_are_two_words(tmp_path: Path) -> None:
    """One file, unconfirmed and confirmed by its officer, is two statements with a receipt each; another digest refuses the file."""
    path = tmp_path / "a.csv"
    path.write_bytes(table([firm(1)]))
    async with a_gateway(tmp_path) as services:
        vouched, _, _ = await sheet_of(services, path, confirmed=False)
        signed, _, _ = await sheet_of(services, path, sha256=vouched.file_sha256.upper())
        assert [vouched.trust, signed.trust] == ["vouched", "signed"]
        assert (await sheet_of(services, path, confirmed=False))[0] == vouched
        with pytest.raises(FileRefused) as refused:
            await sheet_of(services, path, sha256="0" * 64)
    assert refused.value.code == "FILE_DIGEST"


def test_the_command_writes_it_beside_nothing(tmp_path: Path) -> None:
    """`--errors FOLDER` writes NAME.errors.csv there; what it is called follows the file."""
    (tmp_path / "chengxin.toml").write_text(
        f'party = "credit.tonghua.example"\nregion = "220500"\norg = "{CENTRE}"\ndemo = true\nport = 8000\n'
        f'[[authorities]]\nuscc = "{CENTRE}"\nname = "通化市信用中心（示例）"\nregion = "220500"\n',
        encoding="utf-8",
    )
    assert chengxin(tmp_path, "init").returncode == 0
    (tmp_path / "六月.csv").write_bytes(table([firm(1, **WRONG)]))
    done = chengxin(tmp_path, "ingest", DATASET, "六月.csv", "--authority", CENTRE, "--officer", "测试员甲", "--errors", ".")
    assert done.returncode == 3, done.stderr
    assert (tmp_path / "六月.errors.csv").read_text(encoding="utf-8-sig").splitlines()[0].endswith(",".join(AFTER))
    assert [file_name("a.xlsx", "xlsx"), file_name("a.b", "csv"), file_name("x.CSV", "csv")] == [
        "a.errors.xlsx",
        "a.b.errors.csv",
        "x.errors.csv",
    ]

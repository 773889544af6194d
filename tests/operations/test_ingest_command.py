"""`chengxin ingest` from outside: exit status, the one line of an error, the receipt file; bad input of every kind."""

import json
import resource
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest
import xlsxwriter

from gateway.sample.people import code
from tests.commands import Done, chengxin
from tests.house import CENTRE, write_settings

HEAD = "企业名称,统一社会信用代码,成立日期\n"
WHOLE, REFUSED, USAGE, REJECTED = 0, 1, 2, 3
MEMORY = 2 * 1024 * 1024 * 1024
HEAVY = ("bomb.xlsx", "line.csv")
"""Files that would fill the memory of whoever unpacks or reads them whole: these meet a process with a limit."""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One gateway for all commands of this file; its settings."""
    settings = write_settings(tmp_path_factory.mktemp("house"))
    done = chengxin(settings.parent, "init")
    assert done.returncode == WHOLE, done.stderr
    return settings


def run(house: Path, *arguments: str) -> Done:
    """The command in this process."""
    return chengxin(house.parent, "ingest", *arguments)


def bounded(house: Path, *arguments: str) -> Done:
    """The command as a process of its own, which may not take more than two GiB of address space."""
    return subprocess.run(
        [sys.executable, "-m", "gateway", "--settings", str(house), "ingest", *arguments], capture_output=True, text=True, timeout=120,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY)),
    )


def firm(number: int) -> str:
    """A row of an invented firm."""
    return f"通化市翥沚{number}商贸有限公司,{code('91', '220502', 930_000 + number)},2020-01-31\n"


def a_text(path: Path, text: str, encoding: str = "utf-8") -> Path:
    """A file with this text."""
    path.write_bytes(text.encode(encoding))
    return path


def a_book(path: Path, rows: Sequence[Sequence[str]]) -> Path:
    """A workbook; what begins with = is a formula."""
    book = xlsxwriter.Workbook(str(path))
    sheet = book.add_worksheet()
    for at, row in enumerate(rows):
        sheet.write_row(at, 0, row)
    book.close()
    return path


def a_bomb(path: Path) -> Path:
    """A workbook of some kilobytes that unpacks to two hundred megabytes."""
    a_book(path, [["企业名称"], ["甲"]])
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive, archive.open("xl/worksheets/sheet9.xml", "w") as part:
        for _ in range(200):
            part.write(bytes(1_000_000))
    return path


def one_line(path: Path) -> Path:
    """A file that is one line of two GiB."""
    with path.open("wb") as file:
        file.write("企业名称,".encode())
        file.truncate(2 * 1024 * 1024 * 1024)
    return path


def test_good_file_of_an_authority(house, tmp_path):
    """Exit 0 and a receipt of counts; the same file again gives the same receipt to the byte."""
    file = a_text(tmp_path / "good.csv", HEAD + firm(1) + firm(2), "gb18030")
    said = ["registrations", str(file), "--authority", CENTRE, "--officer", "测试员甲", "--encoding", "gb18030"]
    receipts = [tmp_path / "one.json", tmp_path / "two.json"]
    for told_by, receipt in zip((bounded, run), receipts, strict=True):
        done = told_by(house, *said, "--receipt", str(receipt))
        assert done.returncode == WHOLE, done.stderr
        assert "accepted 2" in done.stdout
    assert receipts[0].read_bytes() == receipts[1].read_bytes()
    told = json.loads(receipts[0].read_bytes())
    assert (told["accepted"], told["unchanged"], told["held"], told["rejected"], told["rows"], told["trust"]) == (2, 0, 0, {}, [], "signed")


def test_bad_rows_and_duplicate_keys(house, tmp_path):
    """Exit 3 when rows were rejected: each by line, code and column; a row that contradicts another is one of them."""
    contradiction = firm(11).replace("2020-01-31", "2020-02-01")
    file = a_text(tmp_path / "rows.csv", HEAD + firm(11) + firm(12).replace("2020-01-31", "2020-02-31") + contradiction + firm(13))
    done = run(house, "registrations", str(file), "--receipt", str(tmp_path / "receipt.json"), "--json")
    assert done.returncode == REJECTED, done.stderr
    told = json.loads((tmp_path / "receipt.json").read_bytes())
    assert json.loads(done.stdout) == told
    assert told["rows"] == [
        {"line": 3, "code": "SCHEMA_TYPE", "field": "established_on"}, {"line": 4, "code": "DUP_KEY", "field": "TYSHXYDM"}]
    assert (told["accepted"], told["rejected"], told["trust"]) == (2, {"DUP_KEY": 1, "SCHEMA_TYPE": 1}, "vouched")


@pytest.mark.parametrize(("name", "make", "code_and_place"), [
    ("header.csv", lambda path: a_text(path, "企业名称,芝麻分\n甲,1\n"), "FILE_HEADER at header.csv!R1C2"),
    ("doubled.csv", lambda path: a_text(path, "企业名称,主体名称\n甲,乙\n"), "FILE_HEADER at doubled.csv!R1C2"),
    ("gbk.csv", lambda path: a_text(path, HEAD + firm(21), "gb18030"), "FILE_ENCODING at gbk.csv!R1C1"),
    ("late.csv", lambda path: path.write_bytes((HEAD + firm(22)).encode() + "甲,乙".encode("gb18030")), "FILE_ENCODING at late.csv!R3C1"),
    ("nul.csv", lambda path: a_text(path, HEAD + firm(23) + "甲\0,1,2020-01-31\n"), "FILE_NUL at nul.csv!R3C1"),
    ("quote.csv", lambda path: a_text(path, HEAD + firm(24) + '"甲\n'), "FILE_FORMAT at quote.csv!R3"),
    ("formula.xlsx", lambda path: a_book(path, [["企业名称"], ["甲"], ['="乙"&"丙"']]), "FILE_FORMULA at formula.xlsx!Sheet1!R3C1"),
    ("bomb.xlsx", a_bomb, "SIZE_RATIO at bomb.xlsx"),
    ("line.csv", one_line, "SIZE_BYTES at line.csv"),
    ("old.xls", lambda path: a_text(path, "x"), "FILE_FORMAT at old.xls"),
    ("noise.xlsx", lambda path: path.write_bytes(bytes(range(256)) * 40), "FILE_FORMAT at noise.xlsx"),
])
def test_refused_files(house, tmp_path, name, make, code_and_place):
    """Exit 1 and one line with code, row and column; no receipt is written, and the line holds no value."""
    file = tmp_path / name
    make(file)
    within = bounded if name in HEAVY else run
    done = within(house, "registrations", str(file), "--receipt", str(tmp_path / "receipt.json"))
    assert done.returncode == REFUSED, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(lines) == 1
    assert lines[0].startswith(f"error: {code_and_place}: ")
    assert "翥沚" not in done.stderr
    assert "芝麻分" not in done.stderr
    assert not (tmp_path / "receipt.json").exists()


def test_wrong_usage_and_unknown_dataset(house, tmp_path):
    """Half a statement, an unknown encoding and an absent file are wrong usage; an unknown dataset or authority is a coded error."""
    file = a_text(tmp_path / "a.csv", HEAD + firm(31))
    assert run(house, "registrations", str(file), "--authority", CENTRE).returncode == USAGE
    assert run(house, "registrations", str(file), "--encoding", "big5").returncode == USAGE
    assert run(house, "registrations", str(tmp_path / "absent.csv")).returncode == USAGE
    done = run(house, "penalties", str(file))
    assert (done.returncode, done.stderr.count("error: dataset-unknown at DATASET")) == (REFUSED, 1)
    done = run(house, "registrations", str(file), "--authority", code("11", "220500", 77), "--officer", "测试员甲")
    assert (done.returncode, done.stderr.count("error: SCOPE_AUTHORITY at --authority")) == (REFUSED, 1)

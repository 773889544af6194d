"""The invented sample: the same for one seed, right in its numbers, and nothing of it real."""

import csv
import hashlib
import re
from datetime import UTC, date, datetime
from pathlib import Path

import openpyxl
import pytest

from gateway.core.records.identifiers import check_uscc, parse_citizen_id, parse_uscc
from gateway.sample.files import SampleFile
from gateway.sample.generate import showcase, write_sample
from gateway.sample.people import CITIES, authorities
from gateway.sample.words import BRAND_WORDS

FIRM_LABELS = ("企业名称", "行政相对人名称", "纳税人名称", "主体名称", "CF_XDR_MC", "用人单位名称", "当事人名称", "承诺人名称", "机构名称")
CODE_LABELS = ("统一社会信用代码", "CF_XDR_SHXYM")
POLICIES = Path(__file__).resolve().parents[2] / "policies"
DECIDED = frozenset(
    (
        *("处罚决定日期", "许可决定日期", "确认日期", "认定日期", "成立日期", "列入决定日期", "移出日期", "承诺作出日期", "评定日期"),
        *("备案日期", "注销日期"),
    )
)
PERSON = re.compile("测试[甲乙丙丁戊己庚辛壬癸]{1,2}某")


@pytest.fixture(scope="module", params=list(CITIES))
def city(request) -> str:
    """Both invented cities."""
    return str(request.param)


@pytest.fixture(scope="module")
def files(city, tmp_path_factory) -> list[SampleFile]:
    """The whole sample of a city."""
    return write_sample(tmp_path_factory.mktemp(city), seed=20260401, city=city, subjects=1500)


def rows_of(file: SampleFile) -> list[dict[str, object]]:
    """The rows of one file by column label."""
    if file.path.suffix == ".csv":
        with file.path.open(encoding="utf-8-sig" if file.encoding == "utf-8" else file.encoding, newline="") as opened:
            return list(csv.DictReader(opened))
    book = openpyxl.load_workbook(file.path, read_only=True)
    head, *rows = book.worksheets[0].iter_rows(values_only=True)
    book.close()
    return [dict(zip(map(str, head), row, strict=True)) for row in rows]


def names_and_codes(files: list[SampleFile]) -> tuple[set[str], set[str]]:
    """All names and all codes of organisations and households, those of dirty rows among them."""
    names, codes = set(), set()
    for file in files:
        for row in rows_of(file):
            names |= {str(row[label]) for label in FIRM_LABELS if row.get(label)}
            codes |= {str(row[label]) for label in CODE_LABELS if row.get(label)}
    return names, codes


def digest(folder: Path) -> dict[str, str]:
    """Every file's bytes as a digest."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def test_same_seed_same_bytes(tmp_path):
    """The same seed, city, number and day give the same bytes; another seed or city gives others."""
    for name, seed, city in (("a", 1, "220500"), ("b", 1, "220500"), ("c", 2, "220500"), ("d", 1, "220600")):
        write_sample(tmp_path / name, seed=seed, city=city, subjects=120)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    assert not set(digest(tmp_path / "a").values()) & set(digest(tmp_path / "c").values())
    assert not set(digest(tmp_path / "a").values()) & set(digest(tmp_path / "d").values())


def test_files_come_as_departments_send_them(files):
    """CSV in GB18030, CSV in UTF-8 with a byte order mark and workbooks; every dataset is there, and so is an upload that nobody signs."""
    heads = {file.path.name: file.path.read_bytes()[:3] for file in files}
    fed_back = {"measures"}  # nobody sends these in: they follow from what a partner says
    assert {file.dataset for file in files} == {path.stem for path in (POLICIES / "datasets").glob("*.toml")} - fed_back
    assert {file.path.suffix for file in files} == {".csv", ".xlsx"}
    assert any(head == b"\xef\xbb\xbf" for head in heads.values())
    assert any(file.encoding == "gb18030" for file in files)
    assert any(file.authority is None and file.officer is None for file in files)
    assert all((file.authority is None) == (file.officer is None) for file in files)
    assert all(file.rows == len(rows_of(file)) for file in files)
    assert sum(sum(file.rejected.values()) for file in files) >= 20


def test_authorities_are_marked_and_have_right_codes(city):
    """Every authority carries （示例） and a code that checks, with a body of the series that is not issued."""
    found = authorities(city)
    assert len({authority.uscc for authority in found}) == len(found) == 8
    for authority in found:
        assert authority.name.endswith("（示例）")
        assert check_uscc(authority.uscc).inner_ok
        assert authority.uscc.startswith("11")
        assert authority.uscc[8:11] == "XXT"
        assert authority.uscc[2:8] == authority.region


def test_every_brand_is_invented(files):
    """Every name of an organisation or household holds a word of the invented list, but for those of people, who are placeholders."""
    names, codes = names_and_codes(files)
    for name in names:
        folded = name.translate({point + 0xFEE0: point for point in range(0x21, 0x7F)})
        assert any(word in folded for word in BRAND_WORDS) or PERSON.fullmatch(name), name
    good = {code for code in codes if check_uscc(code).valid}
    assert len(good) > 1200
    assert {parse_uscc(code)[8:11] for code in good} == {"XXT"}
    assert all(check_uscc(code).inner_ok for code in good)


def test_people_are_of_the_division_that_does_not_exist(files):
    """Every identity number is of division 220599, also those inside texts; names of people are placeholders."""
    seen = 0
    for file in files:
        for row in rows_of(file):
            for label, value in row.items():
                for number in re.findall(r"(?<![0-9A-Z])[1-9][0-9]{16}[0-9X](?![0-9A-Z])", str(value or "")):
                    assert number.startswith("220599"), (file.path.name, label)
                    seen += 1
            if row.get("行政相对人类别") == "自然人":
                assert PERSON.fullmatch(str(row["行政相对人名称"]))
            for label in ("法定代表人", "CF_FRDB"):
                assert not row.get(label) or PERSON.fullmatch(str(row[label]))
    assert seen > 60


def test_telephone_numbers_are_of_no_exchange(files):
    """What looks like a telephone number begins with 0 after the area code; there is no mobile number and no number plate."""
    text = "\n".join(str(value) for file in files for row in rows_of(file) for value in row.values() if value)
    assert all(number.startswith("0") for number in re.findall(r"0435-([0-9]+)", text))
    assert not re.search(r"(?<![0-9A-Z])1[3-9][0-9]{9}(?![0-9])", text)
    assert not re.search(r"吉[A-Z][·.]?[0-9A-Z]{5}", text)


def test_cities_share_no_subject(tmp_path):
    """Two cities have no name and no code in common, but for what is wrong in both."""
    both = [names_and_codes(write_sample(tmp_path / city, seed=7, city=city, subjects=700)) for city in CITIES]
    assert not {code for code in both[0][1] & both[1][1] if check_uscc(code).valid}
    assert not {name for name in both[0][0] & both[1][0] if not PERSON.fullmatch(name) and len(name) < 200}


def test_showcase_is_part_of_the_sample(files, city):
    """Firm, household and person to show are in the files: the firm with a penalty, a licence and an honour."""
    shown = showcase(seed=20260401, city=city, subjects=1500)
    by_dataset: dict[str, set[str]] = {}
    for file in files:
        for row in rows_of(file):
            by_dataset.setdefault(file.dataset, set()).update(str(value) for value in row.values() if value)
    for dataset in ("registrations", "administrative-licences", "administrative-penalties", "honours"):
        assert shown.firm.uscc in by_dataset[dataset]
    for dataset in ("commitments", "assessments"):
        assert shown.firm.uscc in by_dataset[dataset]
    for dataset in ("tax-violations", "wage-arrears", "serious-market-violations", "abnormal-operations"):
        assert shown.firm.uscc not in by_dataset[dataset]
    assert shown.household.uscc in by_dataset["administrative-penalties"]
    assert shown.person.id_no in by_dataset["administrative-penalties"]
    assert parse_citizen_id(shown.person.id_no, demo=True, today=date(2026, 6, 1)).age_on(date(2026, 6, 1)) >= 18


def test_nothing_lies_in_the_future(tmp_path):
    """With another day as reference, nothing was decided after it."""
    today = date(2026, 4, 2)
    for file in write_sample(tmp_path, seed=1, subjects=200, today=today):
        for row in rows_of(file):
            for label, value in row.items():
                if label in DECIDED and isinstance(value, datetime):
                    assert value.replace(tzinfo=UTC).date() < today


def test_nothing_of_the_sample_is_real(files, shared_data):
    """No name and no code stands in the real registers, and no invented word in a real name or short form."""
    registers = ("enterprises_tonghua.csv", "enterprises_jilin_other.csv", "cn_company_short_forms.txt")
    texts = {name: (shared_data / name).read_text(encoding="utf-8") for name in registers}
    names, codes = names_and_codes(files)
    everything = "\n".join(texts.values())
    real_names = {row["企业名称"] for name in registers[:2] for row in csv.DictReader(texts[name].splitlines())}
    real_codes = {row["统一社会信用代码"] for name in registers[:2] for row in csv.DictReader(texts[name].splitlines())}
    assert not names & real_names
    assert not codes & real_codes
    assert [word for word in BRAND_WORDS if word in everything] == []

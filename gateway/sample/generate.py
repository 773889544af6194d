"""Writes the files of an invented city as departments send them: GB18030 and UTF-8 CSV, workbooks, dirty rows among them.

Rules: the same seed, city, number and day give the same bytes; nothing of it is real (see `words.py`, `people.py`). Every fault is
put in on purpose and counted in `SampleFile.rejected`, so that a receipt can be checked against it. This room must not store anything.
"""

import csv
import io
import random
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path

import xlsxwriter
from msgspec import Struct

from gateway.sample.people import CITIES, Authority, Firm, Person, Town, authorities, code
from gateway.sample.rows import Cell, Row, Writer, spelled
from gateway.sample.words import OFFENCES

REFERENCE = date(2026, 6, 1)
"""The day before which everything in the sample was decided, unless another is asked for."""
OFFICER = "测试员甲"
ISO, SLASH, COMPACT = "%Y-%m-%d", "%Y/%m/%d", "%Y%m%d"

WIRE = {
    "行政相对人名称": "CF_XDR_MC", "行政相对人类别": "CF_XDR_LB", "统一社会信用代码": "CF_XDR_SHXYM", "法定代表人": "CF_FRDB",
    "行政处罚决定书文号": "CF_WSH", "违法行为类型": "CF_WFXW", "违法事实": "CF_SY", "处罚依据": "CF_YJ", "处罚类别": "CF_CFLB",
    "处罚内容": "CF_NR", "罚款金额（万元）": "CF_NR_FK", "没收违法所得、没收非法财物的金额（万元）": "CF_NR_WFFF",
    "处罚决定日期": "CF_JDRQ", "处罚有效期": "CF_YXQ", "公示截止期": "CF_GSJZQ", "失信严重程度": "CF_SXYZCD", "处罚机关": "CF_CFJG",
    "处罚机关统一社会信用代码": "CF_CFJGDM", "数据来源单位": "CF_SJLY", "数据来源单位统一社会信用代码": "CF_SJLYDM", "备注": "BZ",
}
"""Labels → national column codes: one department sends its table under the codes."""


class SampleFile(Struct, frozen=True, kw_only=True):
    """One file of the sample and how it is to be ingested."""

    path: Path
    dataset: str
    authority: str | None
    """USCC of the department whose statement it is; None: nobody answers for it, it is vouched."""
    officer: str | None
    encoding: str
    rows: int
    rejected: dict[str, int]
    """Rows that must be rejected, by code."""


class Showcase(Struct, frozen=True, kw_only=True):
    """Subjects of the sample that are worth showing: each has what its name says."""

    firm: Firm
    """A licence, a penalty that can be repaired, and an honour."""
    household: Firm
    """A penalty; its public name is masked."""
    person: Person
    """A penalty, shown to no public caller."""


class _Batch:
    """Rows of one file in the making, and the faults put into them."""

    __slots__ = ("rejected", "rows")

    def __init__(self, rows: Sequence[Row] = ()) -> None:
        self.rows: list[Row] = list(rows)
        self.rejected: dict[str, int] = {}

    def spoil(self, fault: str, row: Row) -> None:
        """A row that must be rejected with this code."""
        self.rows.append(row)
        self.rejected[fault] = self.rejected.get(fault, 0) + 1


def write_sample(folder: Path, *, seed: int, city: str = "220500", subjects: int = 3000, today: date = REFERENCE) -> list[SampleFile]:
    """Write all files of one city and say how each is to be ingested, in the order in which they should be."""
    folder.mkdir(parents=True, exist_ok=True)
    return _Sample(folder, seed, city, subjects, today).write()


def showcase(*, seed: int, city: str = "220500", subjects: int = 3000, today: date = REFERENCE) -> Showcase:
    """The subjects to show of the sample with the same arguments."""
    return _Sample(Path(), seed, city, subjects, today).showcase


class _Sample:
    """One city's sample: draws its subjects first, so that the showcase is known without writing a file."""

    def __init__(self, folder: Path, seed: int, city: str, subjects: int, today: date) -> None:
        if city not in CITIES:
            raise ValueError(f"the sample has the cities {', '.join(CITIES)}")
        rng = random.Random(f"{seed}/{city}")
        self._folder = folder
        self._random = rng
        self._today = today
        self._by = authorities(city)
        self._town = Town(city, rng, today)
        self._write = Writer(city, rng, today)
        households = subjects // 7
        self._firms = [self._town.firm() for _ in range(max(subjects - households, 8))]
        self._households = [self._town.household() for _ in range(max(households, 4))]
        self._people = [self._town.person() for _ in range(max(subjects // 25, 4))]
        self.showcase = Showcase(firm=next(firm for firm in self._firms if firm.uscc.startswith("91")),
                                 household=self._households[0], person=self._people[0])

    def write(self) -> list[SampleFile]:
        """All files, registrations first."""
        market, service, tax, environment, emergency, transport, *_ = self._by
        penalties = self._market_penalties(market)
        people = self._people_penalties(transport)
        return [
            self._csv("01-登记注册-企业", "registrations", self._register(), market, encoding="gb18030"),
            self._xlsx("02-登记注册-个体工商户", "registrations", self._registrations(market), market),
            self._csv("03-登记注册-历史导入", "registrations", self._history(), None, encoding="utf-8-sig"),
            self._xlsx("04-行政许可", "administrative-licences", self._licences(service), service),
            self._csv("05-行政处罚-市场监管", "administrative-penalties", penalties, market, encoding="gb18030", days=SLASH),
            self._xlsx("06-行政处罚-生态环境", "administrative-penalties", self._penalties(environment, "生态环境", 0.06), environment),
            self._csv("07-行政处罚-应急管理", "administrative-penalties", self._penalties(emergency, "安全生产", 0.06), emergency,
                      encoding="utf-8-sig", days=COMPACT, headers=WIRE),
            self._csv("08-行政处罚-自然人", "administrative-penalties", people, transport, encoding="utf-8-sig"),
            self._csv("09-行政处罚-更正", "administrative-penalties", self._corrections(penalties), market, encoding="gb18030", days=SLASH),
            self._xlsx("10-重大税收违法", "tax-violations", self._tax_violations(tax), tax),
            self._csv("11-荣誉-A级纳税人", "honours", self._taxpayers(tax), tax, encoding="utf-8-sig"),
            self._xlsx("12-荣誉-市级", "honours", self._honours(service), service),
        ]

    # --- the files --------------------------------------------------------------------------------------------------------

    def _register(self) -> _Batch:
        batch = _Batch([self._write.register_extract(firm) for firm in self._firms])
        good = batch.rows[0]
        batch.rows += batch.rows[5:8]  # sent twice: unchanged
        wide: Row = {label: _wide(str(good[label])) for label in ("企业名称", "统一社会信用代码")}
        batch.rows.append(good | wide)  # the same firm, as some input methods write it
        uscc = self._town.firm().uscc
        batch.spoil("SUBJ_USCC", good | {"统一社会信用代码": _turned(uscc)})
        batch.spoil("SUBJ_USCC", good | {"统一社会信用代码": uscc[:17]})
        batch.spoil("SUBJ_USCC", good | {"统一社会信用代码": f"9I{uscc[2:]}"})
        batch.spoil("SCHEMA_TYPE", good | {"统一社会信用代码": "9.12205E+17"})
        batch.spoil("SCHEMA_TYPE", good | {"注册日期": "2021-02-30"})
        batch.spoil("SCHEMA_MISSING", good | {"企业名称": None})
        batch.spoil("SCHEMA_LENGTH", good | {"企业名称": "通化市" + "翥沚" * 120 + "有限公司"})
        batch.spoil("SUBJ_MISSING", good | {"统一社会信用代码": None})
        return batch

    def _registrations(self, by: Authority) -> _Batch:
        batch = _Batch([self._write.registration(firm, by) for firm in self._households])
        good = batch.rows[0]
        batch.spoil("SUBJ_USCC", good | {"统一社会信用代码": _turned(self._town.household().uscc)})
        batch.spoil("SCHEMA_TYPE", good | {"统一社会信用代码": Decimal(922205020000000000)})
        elsewhere: Row = {"登记机关": "某地市场监督管理局（示例）", "登记机关统一社会信用代码": code("11", "220100", 40)}
        batch.spoil("SCOPE_AUTHORITY", good | elsewhere)
        return batch

    def _history(self) -> _Batch:
        return _Batch([self._write.register_extract(self._town.firm()) for _ in range(max(len(self._firms) // 50, 3))])

    def _licences(self, sender: Authority) -> _Batch:
        holders = [*self._drawn(self._firms, 0.55), *self._drawn(self._households, 0.4)]
        shown: list[Firm | Person] = [self.showcase.firm, self.showcase.household, *self._people[:2]]
        batch = _Batch([self._write.licence(holder, self._random.choice(self._by[:6]), sender) for holder in [*shown, *holders]])
        good = batch.rows[0]
        batch.spoil("SCHEMA_MISSING", good | {"许可内容": None, "行政许可决定文书号": "示许〔2026〕90001号"})
        batch.spoil("SCHEMA_TYPE", good | {"有效期至": "待定", "行政许可决定文书号": "示许〔2026〕90002号"})
        batch.spoil("SCHEMA_LENGTH", good | {"行政许可决定文书号": "示许" + "9" * 130})
        return batch

    def _penalties(self, by: Authority, theme: str, share: float) -> _Batch:
        offences = [offence for offence in OFFENCES if offence.theme == theme]
        parties = [*self._drawn(self._firms, share), *self._drawn(self._households, share)]
        batch = _Batch([self._write.penalty(party, by, offence=self._random.choice(offences)) for party in parties])
        elsewhere: Row = {
            "行政处罚决定书文号": "示罚〔2026〕90003号", "处罚机关": "某地生态环境局（示例）",
            "处罚机关统一社会信用代码": code("11", "220100", 41),
        }
        batch.spoil("SCOPE_AUTHORITY", batch.rows[0] | elsewhere)
        return batch

    def _market_penalties(self, by: Authority) -> _Batch:
        offences = [offence for offence in OFFENCES if offence.theme in ("市场监管", "食品", "药品", "特种设备")]
        # what is shown can be repaired: of general severity, decided not long ago
        recent = date.fromordinal(self._today.toordinal() - 30)
        plain: Row = {"失信严重程度": "一般", "违法事实": "当事人发布的广告含有与实际不符的内容。",
                      "处罚类别": "；".join(OFFENCES[0].penalties)}
        shown = (self.showcase.firm, self.showcase.household)
        rows = [self._write.penalty(party, by, offence=OFFENCES[0], decided=recent) | plain for party in shown]
        parties = [*self._drawn(self._firms, 0.12), *self._drawn(self._households, 0.3)]
        rows += [self._write.penalty(party, by, offence=self._random.choice(offences)) for party in parties]
        # under the earlier order, three years from the decision: over, so never public here
        past = date.fromordinal(self._today.toordinal() - 365 * 3 - 200)
        rows += [self._write.penalty(party, by, offence=OFFENCES[2], decided=past) for party in self._drawn(self._firms, 0.01)]
        # held: a kind of penalty that nobody knows, and one of which no severity follows
        rows += [self._write.penalty(party, by) | {"处罚类别": kind, "失信严重程度": None}
                 for party, kind in zip(self._drawn(self._firms, 0), ("训诫", "其他-责令改正"), strict=False)]
        rows += [self._write.doubtful(self._write.penalty(party, by, offence=OFFENCES[0])) for party in self._drawn(self._firms, 0)]
        batch = _Batch(rows)
        good = rows[0]
        batch.rows.append(dict(good))  # sent twice: unchanged
        batch.spoil("SUBJ_USCC", good | {"行政处罚决定书文号": "示罚〔2026〕90004号", "统一社会信用代码": _turned(self.showcase.firm.uscc)})
        batch.spoil("SCHEMA_TYPE", good | {"行政处罚决定书文号": "示罚〔2026〕90005号", "罚款金额（万元）": "伍仟元"})
        batch.spoil("SCHEMA_TYPE", good | {"行政处罚决定书文号": "示罚〔2026〕90006号", "处罚决定日期": "二〇二六年一月六日"})
        batch.spoil("SCHEMA_MISSING", good | {"行政处罚决定书文号": None})
        batch.spoil("LAW_PROHIBITED", self._write.prohibited(good) | {"行政处罚决定书文号": "示罚〔2026〕90007号"})
        batch.spoil("SUBJ_MISSING", good | {"行政处罚决定书文号": "示罚〔2026〕90008号", "统一社会信用代码": None})
        return batch

    def _people_penalties(self, by: Authority) -> _Batch:
        rows = [self._write.penalty(person, by) for person in self._people]
        # minors: kept by us, shown to no public caller
        recent = date.fromordinal(self._today.toordinal() - 20)
        rows += [self._write.penalty(self._town.person(age=16), by, decided=recent) for _ in range(2)]
        # of a detention no severity follows: held
        rows.append(self._write.penalty(self._town.person(), by, decided=recent) | {"处罚类别": "行政拘留", "失信严重程度": None})
        batch = _Batch(rows)
        person = self._town.person()
        batch.spoil("SUBJ_ID", self._write.penalty(person, by) | {"证件号码": person.id_no[:17] + _other(person.id_no[17])})
        batch.spoil("LAW_MINOR", self._write.penalty(self._town.person(age=12), by, decided=recent))
        batch.spoil("SUBJ_MISSING", self._write.penalty(self._town.person(), by) | {"证件号码": None})
        return batch

    def _corrections(self, sent: _Batch) -> _Batch:
        """A later file: one decision corrected, one revoked, one row that says something else."""
        corrected, revoked, other = sent.rows[5:8]
        amended: Row = {"操作": "更新", **corrected, "处罚内容": f"{corrected['处罚内容']}（已更正）"}
        taken_back: Row = {"操作": "撤销", **revoked}
        batch = _Batch([amended, taken_back])
        batch.spoil("SCHEMA_ENUM", {"操作": "删除", **other})
        return batch

    def _tax_violations(self, by: Authority) -> _Batch:
        others = [firm for firm in self._drawn(self._firms, 0.02) if firm is not self.showcase.firm]
        batch = _Batch([self._write.tax_violation(firm, by) for firm in others])
        batch.spoil("LAW_BASIS", batch.rows[0] | {"认定文号": "示税稽〔2026〕90009号", "相关法律依据": None})
        return batch

    def _taxpayers(self, by: Authority) -> _Batch:
        batch = _Batch([self._write.honour(firm, by, which=0) for firm in [self.showcase.firm, *self._drawn(self._firms, 0.06)]])
        recent = self._today - timedelta(days=60)  # what is shown is still valid
        batch.rows[0] |= {"认定日期": recent, "评价年度": str(recent.year - 1), "有效期至": recent + timedelta(days=365 * 2)}
        return batch

    def _honours(self, by: Authority) -> _Batch:
        batch = _Batch([self._write.honour(firm, by) for firm in self._drawn(self._firms, 0.04)])
        batch.spoil("SCHEMA_TYPE", batch.rows[0] | {"认定文号": "示信〔2026〕90010号", "认定日期": Decimal(46053)})
        return batch

    def _drawn(self, among: Sequence[Firm], share: float) -> list[Firm]:
        return self._random.sample(among, max(int(len(among) * share), 2))

    # --- how they are written ---------------------------------------------------------------------------------------------

    def _file(self, path: Path, dataset: str, batch: _Batch, by: Authority | None, encoding: str) -> SampleFile:
        return SampleFile(path=path, dataset=dataset, authority=by.uscc if by else None, officer=OFFICER if by else None, encoding=encoding,
                          rows=len(batch.rows), rejected=batch.rejected)

    def _csv(self, name: str, dataset: str, batch: _Batch, by: Authority | None, *, encoding: str, days: str = ISO,
             headers: Mapping[str, str] | None = None) -> SampleFile:
        labels = _labels(batch.rows)
        if headers is not None:
            labels = [label for label in labels if label in headers]
        text = io.StringIO(newline="")
        out = csv.writer(text)
        out.writerow(headers[label] if headers is not None else label for label in labels)
        for row in batch.rows:
            texts = spelled(row, days)
            out.writerow(texts.get(label, "") for label in labels)
        path = self._folder / f"{name}.csv"
        path.write_bytes(text.getvalue().encode(encoding))
        return self._file(path, dataset, batch, by, "gb18030" if encoding == "gb18030" else "utf-8")

    def _xlsx(self, name: str, dataset: str, batch: _Batch, by: Authority) -> SampleFile:
        labels = _labels(batch.rows)
        path = self._folder / f"{name}.xlsx"
        book = xlsxwriter.Workbook(str(path), {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False})
        book.set_properties({"author": "示例", "created": datetime.combine(self._today, time())})
        day = book.add_format({"num_format": "yyyy-mm-dd"})
        sheet = book.add_worksheet("数据")
        for column, label in enumerate(labels):
            sheet.write_string(0, column, label)
        for at, row in enumerate(batch.rows, start=1):
            for column, label in enumerate(labels):
                value: Cell = row.get(label)
                if value is None:
                    continue
                if isinstance(value, date):
                    done = sheet.write_datetime(at, column, datetime.combine(value, time()), day)
                elif isinstance(value, Decimal):
                    done = sheet.write_number(at, column, float(value))
                else:
                    done = sheet.write_string(at, column, value)
                if done != 0:
                    raise ValueError(f"{name}: a cell of row {at + 1} does not fit into a workbook")
        book.close()
        return self._file(path, dataset, batch, by, "utf-8")


def _labels(rows: Sequence[Row]) -> list[str]:
    """All columns of a file, in the order in which rows first name them."""
    return list(dict.fromkeys(label for row in rows for label in row))


def _turned(uscc: str) -> str:
    """A code whose check character does not fit."""
    return uscc[:17] + ("0" if uscc[17] != "0" else "1")


def _other(character: str) -> str:
    return "0" if character != "0" else "1"


def _wide(text: str) -> str:
    """Full-width letters, digits and brackets, as some input methods leave them."""
    return text.translate({point: point + 0xFEE0 for point in range(0x21, 0x7F)})

"""Writes the files of an invented city as departments send them: GB18030 and UTF-8 CSV, workbooks, dirty rows among them.

Rules: the same seed, city, number and day give the same bytes; nothing of it is real (see `words.py`, `people.py`). Every fault is
put in on purpose and counted in `SampleFile.rejected`, so that a receipt can be checked against it. This room must not store anything.
"""

import random
from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

from msgspec import Struct

from gateway.sample.files import COMPACT, SLASH, Batch, FileWriter, SampleFile
from gateway.sample.people import CITIES, Authority, Firm, Person, Town, authorities, code
from gateway.sample.rows import Row
from gateway.sample.statements import PUBLIC, StatementWriter
from gateway.sample.words import OFFENCES

REFERENCE = date(2026, 6, 1)
"""The day before which everything in the sample was decided, unless another is asked for."""

WIRE = {
    "行政相对人名称": "CF_XDR_MC", "行政相对人类别": "CF_XDR_LB", "统一社会信用代码": "CF_XDR_SHXYM", "法定代表人": "CF_FRDB",
    "行政处罚决定书文号": "CF_WSH", "违法行为类型": "CF_WFXW", "违法事实": "CF_SY", "处罚依据": "CF_YJ", "处罚类别": "CF_CFLB",
    "处罚内容": "CF_NR", "罚款金额（万元）": "CF_NR_FK", "没收违法所得、没收非法财物的金额（万元）": "CF_NR_WFFF",
    "处罚决定日期": "CF_JDRQ", "处罚有效期": "CF_YXQ", "公示截止期": "CF_GSJZQ", "失信严重程度": "CF_SXYZCD", "处罚机关": "CF_CFJG",
    "处罚机关统一社会信用代码": "CF_CFJGDM", "数据来源单位": "CF_SJLY", "数据来源单位统一社会信用代码": "CF_SJLYDM", "备注": "BZ",
}
"""Labels → national column codes: one department sends its table under the codes."""


class Showcase(Struct, frozen=True, kw_only=True):
    """Subjects of the sample that are worth showing: each has what its name says."""

    firm: Firm
    """A licence, a penalty that can be repaired, and an honour."""
    household: Firm
    """A penalty; its public name is masked."""
    person: Person
    """A penalty, shown to no public caller."""


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
        self._files = FileWriter(folder, today)
        self._random = rng
        self._today = today
        self._by = authorities(city)
        self._town = Town(city, rng, today)
        self._write = StatementWriter(city, rng, today)
        households = subjects // 7
        self._firms = [self._town.firm() for _ in range(max(subjects - households, 8))]
        self._households = [self._town.household() for _ in range(max(households, 4))]
        self._people = [self._town.person() for _ in range(max(subjects // 25, 4))]
        self.showcase = Showcase(firm=next(firm for firm in self._firms if firm.uscc.startswith("91")),
                                 household=self._households[0], person=self._people[0])

    def write(self) -> list[SampleFile]:
        """All files, registrations first."""
        market, service, tax, environment, emergency, transport, _, labour = self._by
        penalties = self._market_penalties(market)
        people = self._people_penalties(transport)
        csv, xlsx = self._files.csv, self._files.xlsx
        return [
            csv("01-登记注册-企业", "registrations", self._register(), market, encoding="gb18030"),
            xlsx("02-登记注册-个体工商户", "registrations", self._registrations(market), market),
            csv("03-登记注册-历史导入", "registrations", self._history(), None, encoding="utf-8-sig"),
            xlsx("04-行政许可", "administrative-licences", self._licences(service), service),
            csv("05-行政处罚-市场监管", "administrative-penalties", penalties, market, encoding="gb18030", days=SLASH),
            xlsx("06-行政处罚-生态环境", "administrative-penalties", self._penalties(environment, "生态环境", 0.06), environment),
            csv("07-行政处罚-应急管理", "administrative-penalties", self._penalties(emergency, "安全生产", 0.06), emergency,
                encoding="utf-8-sig", days=COMPACT, headers=WIRE),
            csv("08-行政处罚-自然人", "administrative-penalties", people, transport, encoding="utf-8-sig"),
            csv("09-行政处罚-更正", "administrative-penalties", self._corrections(penalties), market, encoding="gb18030", days=SLASH),
            xlsx("10-重大税收违法", "tax-violations", self._tax_violations(tax), tax),
            csv("11-荣誉-A级纳税人", "honours", self._taxpayers(tax), tax, encoding="utf-8-sig"),
            xlsx("12-荣誉-市级", "honours", self._honours(service), service),
            xlsx("13-拖欠农民工工资", "wage-arrears", self._wage_arrears(labour), labour),
            csv("14-严重违法失信", "serious-market-violations", self._market_violations(market), market, encoding="gb18030", days=SLASH),
            csv("15-经营异常名录", "abnormal-operations", self._abnormal(market), market, encoding="gb18030"),
            csv("16-信用承诺", "commitments", self._commitments(service), service, encoding="utf-8-sig"),
            xlsx("17-信用评价-纳税", "assessments", self._tax_ratings(tax), tax),
            csv("18-信用评价-环境", "assessments", self._environment_ratings(environment), environment, encoding="utf-8-sig", days=COMPACT),
            csv("19-信用服务机构备案", "agency-filings", self._agency_filings(service), service, encoding="utf-8-sig"),
        ]

    # --- the files --------------------------------------------------------------------------------------------------------

    def _register(self) -> Batch:
        batch = Batch([self._write.register_extract(firm) for firm in self._firms])
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

    def _registrations(self, by: Authority) -> Batch:
        batch = Batch([self._write.registration(firm, by) for firm in self._households])
        good = batch.rows[0]
        batch.spoil("SUBJ_USCC", good | {"统一社会信用代码": _turned(self._town.household().uscc)})
        batch.spoil("SCHEMA_TYPE", good | {"统一社会信用代码": Decimal(922205020000000000)})
        elsewhere: Row = {"登记机关": "某地市场监督管理局（示例）", "登记机关统一社会信用代码": code("11", "220100", 40)}
        batch.spoil("SCOPE_AUTHORITY", good | elsewhere)
        return batch

    def _history(self) -> Batch:
        return Batch([self._write.register_extract(self._town.firm()) for _ in range(max(len(self._firms) // 50, 3))])

    def _licences(self, sender: Authority) -> Batch:
        holders = [*self._drawn(self._firms, 0.55), *self._drawn(self._households, 0.4)]
        shown: list[Firm | Person] = [self.showcase.firm, self.showcase.household, *self._people[:2]]
        batch = Batch([self._write.licence(holder, self._random.choice(self._by[:6]), sender) for holder in [*shown, *holders]])
        good = batch.rows[0]
        batch.spoil("SCHEMA_MISSING", good | {"许可内容": None, "行政许可决定文书号": "示许〔2026〕90001号"})
        batch.spoil("SCHEMA_TYPE", good | {"有效期至": "待定", "行政许可决定文书号": "示许〔2026〕90002号"})
        batch.spoil("SCHEMA_LENGTH", good | {"行政许可决定文书号": "示许" + "9" * 130})
        return batch

    def _penalties(self, by: Authority, theme: str, share: float) -> Batch:
        offences = [offence for offence in OFFENCES if offence.theme == theme]
        parties = [*self._drawn(self._firms, share), *self._drawn(self._households, share)]
        batch = Batch([self._write.penalty(party, by, offence=self._random.choice(offences)) for party in parties])
        elsewhere: Row = {
            "行政处罚决定书文号": "示罚〔2026〕90003号", "处罚机关": "某地生态环境局（示例）",
            "处罚机关统一社会信用代码": code("11", "220100", 41),
        }
        batch.spoil("SCOPE_AUTHORITY", batch.rows[0] | elsewhere)
        return batch

    def _market_penalties(self, by: Authority) -> Batch:
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
        batch = Batch(rows)
        good = rows[0]
        batch.rows.append(dict(good))  # sent twice: unchanged
        batch.spoil("SUBJ_USCC", good | {"行政处罚决定书文号": "示罚〔2026〕90004号", "统一社会信用代码": _turned(self.showcase.firm.uscc)})
        batch.spoil("SCHEMA_TYPE", good | {"行政处罚决定书文号": "示罚〔2026〕90005号", "罚款金额（万元）": "伍仟元"})
        batch.spoil("SCHEMA_TYPE", good | {"行政处罚决定书文号": "示罚〔2026〕90006号", "处罚决定日期": "二〇二六年一月六日"})
        batch.spoil("SCHEMA_MISSING", good | {"行政处罚决定书文号": None})
        batch.spoil("LAW_PROHIBITED", self._write.prohibited(good) | {"行政处罚决定书文号": "示罚〔2026〕90007号"})
        batch.spoil("SUBJ_MISSING", good | {"行政处罚决定书文号": "示罚〔2026〕90008号", "统一社会信用代码": None})
        return batch

    def _people_penalties(self, by: Authority) -> Batch:
        rows = [self._write.penalty(person, by) for person in self._people]
        # minors: kept by us, shown to no public caller
        recent = date.fromordinal(self._today.toordinal() - 20)
        rows += [self._write.penalty(self._town.person(age=16), by, decided=recent) for _ in range(2)]
        # of a detention no severity follows: held
        rows.append(self._write.penalty(self._town.person(), by, decided=recent) | {"处罚类别": "行政拘留", "失信严重程度": None})
        batch = Batch(rows)
        person = self._town.person()
        batch.spoil("SUBJ_ID", self._write.penalty(person, by) | {"证件号码": person.id_no[:17] + _other(person.id_no[17])})
        batch.spoil("LAW_MINOR", self._write.penalty(self._town.person(age=12), by, decided=recent))
        batch.spoil("SUBJ_MISSING", self._write.penalty(self._town.person(), by) | {"证件号码": None})
        return batch

    def _corrections(self, sent: Batch) -> Batch:
        """A later file: one decision corrected, one revoked, one row that says something else."""
        corrected, revoked, other = sent.rows[5:8]
        amended: Row = {"操作": "更新", **corrected, "处罚内容": f"{corrected['处罚内容']}（已更正）"}
        taken_back: Row = {"操作": "撤销", **revoked}
        batch = Batch([amended, taken_back])
        batch.spoil("SCHEMA_ENUM", {"操作": "删除", **other})
        return batch

    def _tax_violations(self, by: Authority) -> Batch:
        others = [firm for firm in self._drawn(self._firms, 0.02) if firm is not self.showcase.firm]
        batch = Batch([self._write.tax_violation(firm, by) for firm in others])
        batch.spoil("LAW_BASIS", batch.rows[0] | {"认定文号": "示税稽〔2026〕90009号", "相关法律依据": None})
        return batch

    def _taxpayers(self, by: Authority) -> Batch:
        batch = Batch([self._write.honour(firm, by, which=0) for firm in [self.showcase.firm, *self._drawn(self._firms, 0.06)]])
        recent = self._today - timedelta(days=60)  # what is shown is still valid
        batch.rows[0] |= {"认定日期": recent, "评价年度": str(recent.year - 1), "有效期至": recent + timedelta(days=365 * 2)}
        return batch

    def _honours(self, by: Authority) -> Batch:
        batch = Batch([self._write.honour(firm, by) for firm in self._drawn(self._firms, 0.04)])
        batch.spoil("SCHEMA_TYPE", batch.rows[0] | {"认定文号": "示信〔2026〕90010号", "认定日期": Decimal(46053)})
        return batch

    def _wage_arrears(self, by: Authority) -> Batch:
        batch = Batch([self._write.wage_arrears(firm, by) for firm in self._burdened(0.015)])
        batch.rows += [self._write.wage_arrears(self._households[1], by)]  # kept, shown to departments; the list names organisations
        good = batch.rows[0]
        batch.spoil("LAW_BASIS", good | {"列入决定书文号": "示人社失〔2026〕90011号", "列入依据": None})
        batch.spoil("SCHEMA_MISSING", good | {"列入决定书文号": "示人社失〔2026〕90012号", "列入日期": None})
        batch.spoil("SCHEMA_TYPE", good | {"列入决定书文号": "示人社失〔2026〕90013号", "涉及人数": "约二十人"})
        return batch

    def _market_violations(self, by: Authority) -> Batch:
        batch = Batch([self._write.market_violation(firm, by) for firm in self._burdened(0.01)])
        elsewhere: Row = {
            "列入决定书文号": "示市监失〔2026〕90014号", "列入决定机关": "某地市场监督管理局（示例）",
            "列入决定机关统一社会信用代码": code("11", "220100", 40),
        }
        batch.spoil("SCOPE_AUTHORITY", batch.rows[0] | elsewhere)
        return batch

    def _abnormal(self, by: Authority) -> Batch:
        batch = Batch([self._write.abnormal(firm, by) for firm in self._burdened(0.03)])
        batch.rows += [self._write.abnormal(household, by) for household in self._drawn(self._households[1:], 0.03)]
        batch.rows += [self._write.abnormal(firm, by, removed=True) for firm in self._burdened(0.01)]
        batch.spoil("SCHEMA_MISSING", batch.rows[0] | {"列入决定书文号": "示市监异〔2026〕90015号", "列入原因类型": None})
        return batch

    def _commitments(self, by: Authority) -> Batch:
        rows = [self._write.commitment(self.showcase.firm, by, which=2, reach=PUBLIC), self._write.commitment(self._people[0], by)]
        rows += [self._write.commitment(party, by) for party in (*self._drawn(self._firms, 0.05), *self._drawn(self._households, 0.05))]
        batch = Batch(rows)
        batch.spoil("SCHEMA_TYPE", rows[0] | {"承诺编码": "90016", "承诺作出日期": "待定"})
        batch.spoil("SCHEMA_MISSING", rows[0] | {"承诺编码": "90017", "公开范围": None})
        return batch

    def _tax_ratings(self, by: Authority) -> Batch:
        rows = [self._write.tax_rating(self.showcase.firm, by, rating="A")]
        rows += [self._write.tax_rating(firm, by) for firm in (*self._drawn(self._firms, 0.08), *self._drawn(self._households, 0.03))]
        batch = Batch(rows)
        batch.spoil("LAW_PERSON", rows[0] | {"主体类别": "自然人", "统一社会信用代码": None})
        batch.spoil("SCHEMA_MISSING", rows[0] | {"评定日期": self._today - timedelta(days=20), "有效期至": None})
        return batch

    def _environment_ratings(self, by: Authority) -> Batch:
        return Batch([self._write.environment_rating(firm, by) for firm in self._drawn(self._firms, 0.02)])

    def _agency_filings(self, by: Authority) -> Batch:
        agencies = [self._town.agency() for _ in range(max(len(self._firms) // 300, 3))]
        batch = Batch([self._write.agency_filing(agency, by, struck_off=place == 1) for place, agency in enumerate(agencies)])
        good = batch.rows[0]
        batch.spoil("LAW_PERSON", good | {"备案号": "示信备〔2026〕90018号", "主体类别": "个体工商户",
                                          "统一社会信用代码": self._town.household().uscc})
        batch.spoil("SCHEMA_TYPE", good | {"备案号": "示信备〔2026〕90019号", "有效期至": "待定"})
        return batch

    def _burdened(self, share: float) -> list[Firm]:
        """Firms drawn for what burdens them; the one to be shown is not among them."""
        return [firm for firm in self._drawn(self._firms, share) if firm is not self.showcase.firm] or [self._firms[-1]]

    def _drawn(self, among: Sequence[Firm], share: float) -> list[Firm]:
        return self._random.sample(among, max(int(len(among) * share), 2))

def _turned(uscc: str) -> str:
    """A code whose check character does not fit."""
    return uscc[:17] + ("0" if uscc[17] != "0" else "1")


def _other(character: str) -> str:
    return "0" if character != "0" else "1"


def _wide(text: str) -> str:
    """Full-width letters, digits and brackets, as some input methods leave them."""
    return text.translate({point: point + 0xFEE0 for point in range(0x21, 0x7F)})

"""Rows of the invented sample: what a department would write about a subject, by column label.

Rules: a value is text, a day or an amount in 万元; the file decides how each is spelled. Decisions bear the character 示 in their
numbers, so that none is a real one. Cases that the house must treat in their own way (expired, minor, held) are drawn at fixed shares.
"""

import random
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from decimal import Decimal

from gateway.sample.people import Authority, Firm, Person, city_name
from gateway.sample.words import (
    CAPITALS,
    HELD_FACTS,
    HONOURS,
    LICENCES,
    OFFENCES,
    PERSONAL_OFFENCES,
    PROHIBITED_FACTS,
    STREETS,
    TAX_CASES,
    Offence,
)

Cell = str | date | Decimal | None
Row = dict[str, Cell]

FINES = (1000, 2000, 3000, 5000, 8000, 10000, 20000, 30000, 50000, 86000, 120000)
SERIOUS_FINE = 100_000
LONG_TERM = date(2099, 12, 31)


class Writer:
    """Writes the rows of one city, always the same for one seed."""

    __slots__ = ("_city", "_numbers", "_random", "_today")

    def __init__(self, city: str, rng: random.Random, today: date) -> None:
        self._city = city_name(city)
        self._random = rng
        self._today = today
        self._numbers = 0

    # --- registrations ------------------------------------------------------------------------------------------------

    def register_extract(self, firm: Firm) -> Row:
        """A row of the public register's extract, under its own headers."""
        return {
            "企业名称": firm.name, "统一社会信用代码": firm.uscc, "注册日期": firm.founded,
            "企业类型": self._random.choice((firm.form, firm.form, "N/A")), "注册资金": self._capital(), "经营范围": firm.scope,
            "所在省份": "吉林", "地区": self._city.removesuffix("市"),
        }

    def registration(self, firm: Firm, by: Authority) -> Row:
        """A row as the registration authority sends it."""
        return {
            "企业名称": firm.name, "统一社会信用代码": firm.uscc, "主体类别": firm.category, "企业类型": firm.form,
            "法定代表人": firm.representative, "注册资本": self._capital(), "成立日期": firm.founded,
            "登记状态": self._random.choice(("存续", "存续", "存续", "开业", "在营", "注销", "吊销")),
            "住所": f"{city_name(firm.region)}{self._random.choice(STREETS)}{self._random.randint(1, 999)}号", "经营范围": firm.scope,
            "行政区划代码": firm.region, "登记机关": by.name, "登记机关统一社会信用代码": by.uscc,
        }

    def _capital(self) -> str:
        return self._random.choice(CAPITALS).format(self._random.choice((10, 50, 100, 200, 500, "1,000", "3,432")))

    # --- licences -----------------------------------------------------------------------------------------------------

    def licence(self, holder: Firm | Person, by: Authority, sender: Authority) -> Row:
        """A licence; one in five is over, some are for good."""
        rng = self._random
        theme, decision, certificate, content = rng.choice(LICENCES)
        decided = self._day(30, 365 * 6)
        until = LONG_TERM if rng.random() < 0.1 else decided + timedelta(days=365 * 5)
        row: Row = {
            "行政相对人名称": holder.name, "行政相对人类别": holder.category, "行政许可决定文书名称": decision,
            "行政许可决定文书号": self._number("许", decided), "许可类别": rng.choice(("普通", "普通", "认可", "核准")),
            "许可证书名称": certificate, "许可编号": f"JY{rng.randint(10**9, 10**10 - 1)}示", "许可内容": content,
            "许可决定日期": decided, "有效期自": decided, "有效期至": until, "监管领域": theme,
            "许可机关": by.name, "许可机关统一社会信用代码": by.uscc,
            "数据来源单位": sender.name, "数据来源单位统一社会信用代码": sender.uscc,
        }
        return self._identified(row, holder)

    # --- penalties ----------------------------------------------------------------------------------------------------

    def penalty(self, party: Firm | Person, by: Authority, *, offence: Offence | None = None, decided: date | None = None) -> Row:
        """A penalty decision; shares of minor, serious, long past, held and unknown kinds among them."""
        rng = self._random
        offence = offence or rng.choice(PERSONAL_OFFENCES if isinstance(party, Person) else OFFENCES)
        decided = decided or self._day(10, 365 * 3 + 200)
        fine = rng.choice(FINES)
        taken = rng.choice((120, 356, 1480.65, 2730))
        kinds = offence.penalties
        filled = self._filled(party, decided - timedelta(days=rng.randint(20, 60)), fine, taken)
        facts = filled(offence.facts)
        if isinstance(party, Firm) and rng.random() < 0.15:
            facts += f"负责人{party.representative}到场确认。"
        if rng.random() < 0.02:
            facts = filled(HELD_FACTS)
        if rng.random() < 0.01:
            kinds = ("行政拘留",) if isinstance(party, Person) else ("训诫",)
        severity = self._severity(kinds, fine)
        row: Row = {
            "行政相对人名称": party.name, "行政相对人类别": party.category, "行政处罚决定书文号": self._number("罚", decided),
            "违法行为类型": offence.violation, "违法事实": facts, "处罚依据": offence.basis, "处罚类别": "；".join(kinds),
            "处罚内容": filled(offence.content), "罚款金额（万元）": Decimal(fine) / 10_000 if "罚款" in kinds else None,
            "没收违法所得、没收非法财物的金额（万元）": Decimal(str(taken)) / 10_000 if "没收违法所得、没收非法财物" in kinds else None,
            "处罚决定日期": decided, "处罚有效期": decided + timedelta(days=365), "公示截止期": decided + timedelta(days=365 * 3),
            "失信严重程度": severity if rng.random() < 0.6 else None, "监管领域": offence.theme,
            "处罚机关": by.name, "处罚机关统一社会信用代码": by.uscc, "数据来源单位": by.name, "数据来源单位统一社会信用代码": by.uscc,
            "备注": None,
        }
        if isinstance(party, Firm):
            row["法定代表人"] = party.representative
        return self._identified(row, party)

    def _filled(self, party: Firm | Person, day: date, fine: float, taken: float) -> Callable[[str], str]:
        words = {
            "who": party.name if isinstance(party, Person) else self._random.choice(("该单位", "当事人", party.name)),
            "day": f"{day.year}年{day.month}月{day.day}日", "fine": f"{fine:g}", "taken": f"{taken:g}",
            "id": party.id_no if isinstance(party, Person) else "", "digits": f"{self._random.randint(0, 999_999):06}",
        }
        return lambda text: text.format_map(words)

    def _severity(self, kinds: tuple[str, ...], fine: int) -> str:
        if set(kinds) <= {"警告", "通报批评"}:
            return "轻微"
        return "严重" if "吊销许可证件" in kinds or fine > SERIOUS_FINE else "一般"

    def doubtful(self, row: Row) -> Row:
        """The same decision with a text that the redactor cannot clear: the text is held, the record is not."""
        return row | {"违法事实": HELD_FACTS.format(who="当事人", day="2026年1月6日")}

    def prohibited(self, row: Row) -> Row:
        """The same decision with a text that no record may carry."""
        return row | {"违法事实": PROHIBITED_FACTS.format(who="当事人", day="2026年1月6日")}

    # --- lists --------------------------------------------------------------------------------------------------------

    def tax_violation(self, party: Firm, by: Authority) -> Row:
        """An entry in the list of serious tax violations."""
        rng = self._random
        nature, facts, basis, content = rng.choice(TAX_CASES)
        decided = self._day(20, 700)
        since = decided - timedelta(days=800)
        words = {
            "city": self._city, "who": party.name, "amount": str(rng.randint(110, 900)),
            "day": f"{since.year}年{since.month}月至{since.year + 1}年{since.month}月",
        }
        return {
            "纳税人名称": party.name, "统一社会信用代码": party.uscc, "主体类别": party.category,
            "注册地址": f"{city_name(party.region)}{STREETS[0]}1号",
            "法定代表人": party.representative, "案件性质": nature, "主要违法事实": facts.format_map(words), "相关法律依据": basis,
            "税务处理处罚情况": content.format_map(words), "认定文号": self._number("税稽", decided), "确认日期": decided,
            "列入日期": decided + timedelta(days=15), "事先告知日期": decided - timedelta(days=30), "送达日期": decided + timedelta(days=5),
            "移出条件": "缴清税款、滞纳金和罚款，公布满六个月后可以申请提前停止公布。",
            "救济途径": "可以自送达之日起六十日内申请行政复议。",
            "认定单位": by.name, "认定单位统一社会信用代码": by.uscc, "数据来源单位": by.name, "数据来源单位统一社会信用代码": by.uscc,
        }

    def honour(self, holder: Firm, by: Authority, *, which: int | None = None) -> Row:
        """An honour; some are past their validity."""
        rng = self._random
        name, level, content = HONOURS[which] if which is not None else rng.choice(HONOURS[1:])
        decided = self._day(40, 900)
        return {
            "主体名称": holder.name, "主体类别": holder.category, "统一社会信用代码": holder.uscc, "荣誉名称": name, "荣誉级别": level,
            "荣誉内容": content, "认定文号": self._number("信", decided), "认定日期": decided, "评价年度": str(decided.year - 1),
            "有效期至": decided + timedelta(days=365 * 2), "认定机关": by.name, "认定机关统一社会信用代码": by.uscc,
        }

    # --- shared -------------------------------------------------------------------------------------------------------

    def _identified(self, row: Row, party: Firm | Person) -> Row:
        if isinstance(party, Firm):
            row["统一社会信用代码"] = party.uscc
        else:
            row["证件类型"], row["证件号码"] = "身份证", party.id_no
        return row

    def _number(self, act: str, decided: date) -> str:
        """A decision number, with the brackets that departments really use: 〔〕, 【】, （） or none."""
        self._numbers += 1
        opening, closing = self._random.choice(("〔〕", "〔〕", "〔〕", "【】", "（）", ("", "")))
        return f"{self._city[0]}示{act}{opening}{decided.year}{closing}{self._numbers:05}号"

    def _day(self, least: int, most: int) -> date:
        return self._today - timedelta(days=self._random.randint(least, most))


def spelled(row: Mapping[str, Cell], pattern: str) -> dict[str, str]:
    """A row as text, days by a pattern, amounts with six places."""
    texts = {}
    for label, value in row.items():
        if value is None:
            texts[label] = ""
        elif isinstance(value, date):
            texts[label] = value.strftime(pattern)
        else:
            texts[label] = f"{value:.6f}" if isinstance(value, Decimal) else value
    return texts

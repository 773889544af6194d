"""Rows of the invented sample that say how somebody stands: entries of lists, commitments, and ratings that an authority gave.

Rules are those of `rows`. A rating is drawn, never computed: nothing in this house rates anybody. This room must not know files.
"""

from datetime import date, timedelta
from decimal import Decimal

from gateway.sample.people import Authority, Firm, Person, city_name
from gateway.sample.rows import Cell, Row, Writer
from gateway.sample.words import (
    ABNORMAL_REASONS,
    AGENCY_SERVICES,
    COMMITMENTS,
    ENVIRONMENT_RATINGS,
    MARKET_CASES,
    STREETS,
    TAX_RATINGS,
    WAGE_CASES,
)

PUBLIC, SHARED, AUTHORISED = "社会公开", "政务共享", "授权查询"


class StatementWriter(Writer):
    """The writer of one city, with the rows of the lists and of what is promised and rated."""

    __slots__ = ()

    def wage_arrears(self, party: Firm, by: Authority) -> Row:
        """An entry in the list of wages owed to rural workers."""
        rng = self._random
        project, facts, content = rng.choice(WAGE_CASES)
        workers, amount = rng.randint(8, 60), Decimal(rng.randint(300_000, 3_000_000)) / 10_000
        words = {"who": party.name, "workers": str(workers), "amount": f"{amount:.2f}"}
        return self._entered(self._day(40, 700), "人社失", by, {
            "用人单位名称": party.name, **self._party(party), "工程项目名称": project, "涉及人数": str(workers),
            "拖欠工资金额（万元）": amount, "主要失信事实": facts.format_map(words),
            "列入依据": "《保障农民工工资支付条例》、《拖欠农民工工资失信联合惩戒对象名单管理暂行办法》",
            "行政处理内容": content, "移出条件": "足额支付拖欠的工资，列入满六个月后可以申请提前移出。",
        })

    def market_violation(self, party: Firm, by: Authority) -> Row:
        """An entry in the list of serious violations in market supervision."""
        rng = self._random
        theme, facts, content, measures = rng.choice(MARKET_CASES)
        day = self._day(40, 700)
        return self._entered(day, "市监失", by, {
            "当事人名称": party.name, **self._party(party), "监管领域": theme,
            "列入原因": facts.format(who=party.name, day=f"{day.year}年{day.month}月{day.day}日"),
            "列入依据": "《市场监督管理严重违法失信名单管理办法》", "行政处罚决定书文号": self._number("罚", day - timedelta(days=40)),
            "行政处罚内容": content, "管理措施": measures, "移出条件": "履行行政处罚决定并改正，列入满一年后可以申请提前移出。",
        })

    def abnormal(self, party: Firm, by: Authority, *, removed: bool = False) -> Row:
        """An entry in the register of abnormal operations; a removed one says when and why."""
        day = self._day(40, 700)
        return self._entered(day, "市监异", by, {
            "企业名称": party.name, "主体类别": party.category, "统一社会信用代码": party.uscc, "法定代表人": party.representative,
            "设立日期": party.founded, "列入原因类型": self._random.choice(ABNORMAL_REASONS),
            "列入依据": "《企业经营异常名录管理暂行办法》", "移出条件": "履行公示义务后申请移出。",
            "移出日期": day + timedelta(days=12) if removed else None, "移出原因": "已补报年度报告并公示" if removed else None,
        })

    def commitment(self, party: Firm | Person, by: Authority, *, which: int | None = None, reach: str | None = None) -> Row:
        """What somebody promised to an authority; most of it for everybody to read, some only for departments or on authorisation."""
        rng = self._random
        kind, matter, content, liability = COMMITMENTS[which] if which is not None else rng.choice(COMMITMENTS)
        made = self._day(20, 500)
        self._numbers += 1
        performance = rng.choice(("全部履行", "全部履行", "部分履行", None))
        row: Row = {
            "承诺人名称": party.name, "主体类别": party.category, "承诺编码": f"{by.region}{made:%Y%m%d}{self._numbers:06}",
            "承诺类型": kind, "承诺事由": matter, "承诺内容": content, "违诺责任": liability, "承诺作出日期": made,
            "有效期至": made + timedelta(days=365 * 3), "公开范围": reach or rng.choice((PUBLIC, PUBLIC, PUBLIC, SHARED, AUTHORISED)),
            "履行状态": performance, "未履行内容": "尚有一项材料未补齐。" if performance == "部分履行" else None,
            "履行认定日期": made + timedelta(days=15) if performance else None, "受理单位": by.name, "受理单位统一社会信用代码": by.uscc,
        }
        return self._identified(row, party)

    def tax_rating(self, party: Firm, by: Authority, *, rating: str | None = None) -> Row:
        """The tax authority's rating of a year; only the best grade is for everybody to read."""
        rating = rating or self._random.choice(TAX_RATINGS)
        return self._rated(party, by, "纳税信用等级", rating, PUBLIC if rating == "A" else SHARED,
                           "《中华人民共和国税收征收管理法实施细则》第四十八条")

    def environment_rating(self, party: Firm, by: Authority) -> Row:
        """The environment authority's rating of a year, all grades of which are public."""
        return self._rated(party, by, "企业环境信用评价", self._random.choice(ENVIRONMENT_RATINGS), PUBLIC, "《吉林省社会信用条例》")

    def agency_filing(self, party: Firm, by: Authority, *, struck_off: bool = False) -> Row:
        """The filing of an agency that offers credit services; one that was struck off says when."""
        filed = self._day(60, 700)
        return {
            "机构名称": party.name, "主体类别": party.category, "统一社会信用代码": party.uscc, "备案号": self._number("信备", filed),
            "业务类型": self._random.choice(AGENCY_SERVICES), "备案状态": "已注销" if struck_off else "已备案", "备案日期": filed,
            "有效期至": filed + timedelta(days=365 * 3), "注销日期": filed + timedelta(days=40) if struck_off else None,
            "备案机关": by.name, "备案机关统一社会信用代码": by.uscc,
        }

    def _rated(self, party: Firm, by: Authority, scheme: str, rating: str, reach: str, basis: str) -> Row:
        decided = self._day(30, 300)
        return {
            "企业名称": party.name, "主体类别": party.category, "统一社会信用代码": party.uscc, "评价名称": scheme, "评价等级": rating,
            "评价依据": basis, "评价年度": str(decided.year - 1), "评定日期": decided, "有效期至": decided + timedelta(days=365),
            "公开范围": reach, "评定单位": by.name, "评定单位统一社会信用代码": by.uscc,
        }

    def _party(self, party: Firm) -> dict[str, Cell]:
        return {
            "主体类别": party.category, "统一社会信用代码": party.uscc, "注册地址": f"{city_name(party.region)}{STREETS[1]}8号",
            "法定代表人": party.representative,
        }

    def _entered(self, decided: date, act: str, by: Authority, row: Row) -> Row:
        """The same row with the decision to enter, its days, and who took it."""
        return row | {
            "列入决定书文号": self._number(act, decided), "列入决定日期": decided, "列入日期": decided,
            "救济途径": "可以自收到决定书之日起六十日内申请行政复议，或者六个月内提起行政诉讼。",
            "列入决定机关": by.name, "列入决定机关统一社会信用代码": by.uscc,
            "数据来源单位": by.name, "数据来源单位统一社会信用代码": by.uscc,
        }

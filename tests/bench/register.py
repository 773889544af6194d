"""A register of N invented firms with a fixed seed: organisation bodies `XXT…`, valid check digits, brand words nobody uses.

The files are what departments send (CSV, UTF-8); the figures of performance.md §1 are for such rows.
"""

import csv
import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.core.records.identifiers import org_code_check_character, uscc_check_character

AUTHORITY = "11220500XXT0001181"
AUTHORITY_NAME = "通化市基准测试局（示例）"
DIGITS = "0123456789ABCDEFGHJKLMNPQRTUWXY"
DIVISIONS = ("220500", "220502", "220503", "220521", "220523", "220524", "220581", "220582")
BRANDS = ("示例", "样例", "测例", "演例")
TRADES = (
    "药业",
    "商贸",
    "建筑工程",
    "机械制造",
    "食品",
    "运输",
    "科技",
    "农业发展",
    "人参",
    "葡萄酒",
    "物流",
    "环保",
    "电力设备",
    "旅游开发",
)
FORMS = ("有限公司", "有限责任公司", "股份有限公司")
SYLLABLES = "安宝昌达恩丰广海吉康利明宁鹏启荣盛泰旺兴永泽正卓"


def code(number: int) -> str:
    """The USCC of invented firm `number`: body `XXT` and five characters of the alphabet."""
    division = DIVISIONS[number % len(DIVISIONS)]
    body, rest = "", number
    for _ in range(5):
        rest, digit = divmod(rest, len(DIGITS))
        body = DIGITS[digit] + body
    body = "XXT" + body
    start = f"91{division}{body}"
    start += org_code_check_character(body)
    return start + uscc_check_character(start)


def name(number: int) -> str:
    """The name of invented firm `number`; unique, and none of a real firm: the brand begins with a word of ours."""
    rest, brand = number, ""
    for _ in range(3):
        rest, digit = divmod(rest, len(SYLLABLES))
        brand += SYLLABLES[digit]
    trade = TRADES[(number // 7) % len(TRADES)]
    return f"通化市{BRANDS[number % len(BRANDS)]}{brand}{rest or ''}{trade}{FORMS[number % len(FORMS)]}"


@contextmanager
def _rows(path: Path) -> Iterator[Callable[[Iterable[object]], object]]:
    """Write a file row by row, its header first."""
    with path.open("w", encoding="utf-8", newline="") as file:
        yield csv.writer(file).writerow


def registrations(path: Path, count: int, *, start: int = 0) -> None:
    """A registrations file of `count` firms."""
    rng = random.Random(7)
    with _rows(path) as write:
        write(
            [
                "企业名称",
                "统一社会信用代码",
                "成立日期",
                "企业类型",
                "注册资本",
                "登记状态",
                "经营范围",
                "行政区划代码",
                "登记机关",
                "登记机关统一社会信用代码",
            ]
        )
        for number in range(start, start + count):
            write(
                [
                    name(number),
                    code(number),
                    f"{rng.randint(1990, 2025)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}",
                    "有限责任公司",
                    f"{rng.randint(1, 900) * 10}万元人民币",
                    "存续",
                    "药品、食品、农副产品批发零售；技术咨询服务（依法须经批准的项目，经相关部门批准后方可开展经营活动）。",
                    DIVISIONS[number % len(DIVISIONS)],
                    AUTHORITY_NAME,
                    AUTHORITY,
                ]
            )


def licences(path: Path, count: int, each: int) -> None:
    """A licences file: `each` licences for each of `count` firms."""
    rng = random.Random(8)
    with _rows(path) as write:
        write(
            [
                "行政相对人名称",
                "行政相对人类别",
                "统一社会信用代码",
                "行政许可决定文书名称",
                "行政许可决定文书号",
                "许可类别",
                "许可内容",
                "许可决定日期",
                "有效期自",
                "有效期至",
                "许可机关",
                "许可机关统一社会信用代码",
                "数据来源单位",
                "数据来源单位统一社会信用代码",
            ]
        )
        for number in range(count):
            for turn in range(each):
                decided = f"2026-{rng.randint(1, 9):02}-{rng.randint(1, 28):02}"
                write(
                    [
                        name(number),
                        "法人及非法人组织",
                        code(number),
                        "准予行政许可决定书",
                        f"通示许〔2026〕{number * each + turn + 1}号",
                        "普通",
                        "准予从事药品、食品批发经营活动。",
                        decided,
                        decided,
                        "2031-12-31",
                        AUTHORITY_NAME,
                        AUTHORITY,
                        AUTHORITY_NAME,
                        AUTHORITY,
                    ]
                )


PLACES = ("经营场所", "仓库", "货架", "门店收银台旁", "冷藏柜", "网店页面", "配送车辆", "生产车间", "办公室", "后厨")
GOODS = ("食品", "瓶装饮料", "中药饮片", "电线", "化肥", "儿童玩具", "白酒", "消毒用品", "汽车配件", "劳保手套", "农用种子", "电动自行车")
DEEDS = (
    "销售商品未按规定标明价格",
    "经营超过保质期的产品",
    "未建立进货查验记录",
    "销售的产品经抽样检验不合格",
    "使用未经检定的计量器具",
    "发布的广告含有绝对化用语",
    "未按照批准的工艺组织生产",
    "擅自改变许可登记事项",
)
ENDINGS = ("事后已改正", "检查时仍未改正", "已召回其中一部分", "说明了进货来源", "未能提供检验报告", "现场予以查封")


def facts(rng: random.Random) -> str:
    """What a decision found: no two alike, in the phrases that decisions share."""
    found = [
        f"经查，当事人于2026年{rng.randint(1, 9)}月{rng.randint(1, 28)}日在{rng.choice(PLACES)}{rng.choice(DEEDS)}",
        f"涉及{rng.choice(GOODS)}{rng.randint(1, 900)}件，货值金额{rng.randint(100, 900_000)}元",
        rng.choice(ENDINGS),
    ]
    if rng.random() < 0.3:
        found.insert(2, f"违法所得{rng.randint(100, 90_000)}元，{rng.choice(DEEDS)}的情形另案处理")
    return "，".join(found) + "。"


def penalties(path: Path, count: int, *, start: int = 0) -> None:
    """A penalties file: one decision with free text for each of `count` firms from `start` on."""
    rng = random.Random(9 + start)
    with _rows(path) as write:
        write(
            [
                "行政相对人名称",
                "行政相对人类别",
                "统一社会信用代码",
                "行政处罚决定书文号",
                "违法行为类型",
                "违法事实",
                "处罚依据",
                "处罚类别",
                "处罚内容",
                "罚款金额",
                "处罚决定日期",
                "处罚有效期",
                "处罚机关",
                "处罚机关统一社会信用代码",
                "数据来源单位",
                "数据来源单位统一社会信用代码",
            ]
        )
        for number in range(start, start + count):
            decided = f"2026-{rng.randint(5, 10):02}-{rng.randint(1, 28):02}"
            amount = rng.randint(1, 90)
            write(
                [
                    name(number),
                    "法人及非法人组织",
                    code(number),
                    f"通示罚〔2026〕{number + 1}号",
                    "未按规定明码标价",
                    facts(rng),
                    "《中华人民共和国价格法》第四十二条",
                    "罚款",
                    f"责令改正，没收{rng.choice(GOODS)}{rng.randint(1, 900)}件，处罚款{amount}000元。",
                    f"{amount / 10:.6f}",
                    decided,
                    "2027-10-31",
                    AUTHORITY_NAME,
                    AUTHORITY,
                    AUTHORITY_NAME,
                    AUTHORITY,
                ]
            )


MERITS = (
    "连续五年未发生安全生产责任事故",
    "按期足额缴纳税费和社会保险费",
    "参与制定本行业地方标准",
    "质量管理体系年度审核均为合格",
    "吸纳高校毕业生和退役军人就业",
    "向社会公开服务承诺并逐项兑现",
)


def honours(path: Path, count: int, *, start: int = 0) -> None:
    """An honours file: one for each of `count` firms from `start` on, of some 700 bytes with its texts (exchange.md §21)."""
    rng = random.Random(10 + start)
    with _rows(path) as write:
        write(
            [
                "主体名称",
                "主体类别",
                "统一社会信用代码",
                "荣誉名称",
                "荣誉内容",
                "认定文号",
                "认定日期",
                "认定机关",
                "认定机关统一社会信用代码",
            ]
        )
        for number in range(start, start + count):
            praised = f"该单位{rng.randint(2010, 2020)}年以来{'，'.join(rng.sample(MERITS, 4))}，共计{rng.randint(10, 9000)}人次受益。"
            decided = f"2026-{rng.randint(1, 4):02}-{rng.randint(1, 28):02}"
            write(
                [
                    name(number),
                    "法人及非法人组织",
                    code(number),
                    "市级诚信示范企业",
                    praised,
                    f"通示信〔2026〕{number + 1}号",
                    decided,
                    AUTHORITY_NAME,
                    AUTHORITY,
                ]
            )


def codes(count: int) -> Iterator[str]:
    """The codes of the register, in order."""
    return (code(number) for number in range(count))

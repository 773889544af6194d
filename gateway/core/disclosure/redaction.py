"""Free text: what is personal is found at intake and replaced, what is doubtful is held for a person (policy.md §13).

Rules:
1. Structured values (citizen numbers, telephones, bank cards, plates, e-mail, accounts behind a cue) become typed placeholders
   〔证件号1〕, however they are written: full width, spaced, dotted, in Chinese numerals. A checksum raises confidence, never gates.
2. Values that the record itself gives for persons are found with blanks and · between their characters. `third_parties` leaves the
   names of the record's own subject in, and no number of anybody.
3. Codes of organisations, document and licence numbers, amounts, quantities, dates and law citations stay.
4. Whatever looks personal and was not replaced counts: runs of seven digits and more that nothing explains, names and contacts
   behind a cue, a name before a deed. A residual score above zero holds the text.
5. Every quantifier is bounded and every pass is linear; harmless text costs one look.

The text is compared in a copy of the same length (one character for one), so that places need no map. This room must not be asked
at request time: its results are stored.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Final, NamedTuple

from gateway.core.disclosure.masking import citizen_id, day_exists, uscc_holds
from gateway.core.disclosure.surnames import COMMON, COMPOUND, NOT_NAMES
from gateway.core.records.model import Redaction

REDACTOR: Final = "1"
"""Raised whenever the same text may come out differently; a text of another version is held until it is scored again."""

PERSONAL_TYPES: Final = frozenset(
    {"person_name", "id_no", "uscc", "reg_no", "org_code", "mobile", "phone", "email", "plate", "account", "address"}
)
"""Types of fields whose values, where they are about a person, are looked for in the record's texts."""


class Span(NamedTuple):
    """A found value: where it stands, what it is, what it reads like (for numbering), and whether it names the own subject."""

    start: int
    end: int
    kind: str
    said: str
    own: bool = False


class Numbering:
    """Numbers of placeholders through the texts of one record: the same value gets the same number."""

    __slots__ = ("_numbers",)

    def __init__(self) -> None:
        self._numbers: dict[str, dict[str, int]] = {}

    def label(self, kind: str, said: str) -> str:
        """A placeholder such as 〔姓名1〕 or 〔证件号2〕."""
        numbers = self._numbers.setdefault(kind, {})
        return f"〔{kind}{numbers.setdefault(said, len(numbers) + 1)}〕"


# --- the copy that is looked at: same length, one alphabet ------------------------------------------------------------

_NUMERALS: Final = dict(zip("〇零○一二三四五六七八九壹贰叁肆伍陆柒捌玖貳參陸幺", "0001234567891234567892361", strict=True))
_EXTRA: Final = {
    "х": "X",
    "Х": "X",
    "ⅹ": "X",
    "Ⅹ": "X",
    "—": "-",
    "–": "-",
    "−": "-",
    "－": "-",
    "×": "X",
    "‐": "-",
    "‑": "-",
    "：": ":",
    "＠": "@",
    "﹫": "@",
}


def _one_for_one() -> dict[int, str]:
    """Every character that reads like one ASCII letter, digit or sign, in whatever width, script or ring."""
    table: dict[int, str] = {}
    for code in (*range(0xA0, 0x3400), *range(0xA000, 0x10000), *range(0x10000, 0x20000)):
        sign = chr(code)
        digit = unicodedata.digit(sign, None)
        if digit is not None:
            table[code] = str(digit)
            continue
        plain = unicodedata.normalize("NFKC", sign)
        if len(plain) == 1 and plain.isascii() and plain.isprintable() and not plain.isspace():
            table[code] = plain.upper()
        elif len(plain) == 3 and plain[0] == "(" and plain[1].isdigit() and plain[2] == ")":
            table[code] = plain[1]
        elif len(plain) == 2 and plain[0].isdigit() and plain[1] == ".":
            table[code] = plain[0]
    for code in range(ord("a"), ord("z") + 1):
        table[code] = chr(code).upper()
    return table | {ord(sign): plain for sign, plain in _EXTRA.items()}


_WIDTH: Final = _one_for_one()
_DIGITS: Final = _WIDTH | {ord(sign): digit for sign, digit in _NUMERALS.items()}

# --- patterns (all over the copy: ASCII digits, capital letters) -------------------------------------------------------

_HIDDEN: Final = (
    "\\s\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0"
)
_GAP: Final = rf"[{_HIDDEN}.·•‧∙・_~*|/-]{{0,3}}"
"""What may stand between the digits of one number without ending it."""

_RUN: Final = re.compile(rf"[0-9](?:{_GAP}[0-9]){{5,}}(?:{_GAP}X(?![A-Z0-9]))?")
_GROUP: Final = re.compile("[0-9]+X?")
_COMMA_RUN: Final = re.compile(r"(?<![0-9.,])[0-9]{1,4}(?:[,;、][ ]?[0-9]{1,4}(?![0-9])){2,19}(?![0-9])")

_THOUSANDS: Final = re.compile(r"[0-9]{1,3}(?:,[0-9]{3}){1,4}(?:\.[0-9]{1,6})?[ ]?(?:元|圆|万|亿|美元|港元|欧元|人民币|[^0-9,]|$)")
_DAY8: Final = "(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])"
_ID18: Final = re.compile(rf"[1-9][0-9]{{5}}(?:18|19|20)[0-9]{{2}}{_DAY8}[0-9]{{3}}[0-9X]")
_ID15: Final = re.compile(rf"[1-8][0-9]{{7}}{_DAY8}[0-9]{{3}}")
_MOBILE: Final = re.compile(r"(?:(?:00)?86)?1[3-9][0-9]{9}")
_LANDLINE: Final = re.compile(r"(?:0086|86)?0(?:10|2[0-9]|[3-9][0-9]{2})[1-9][0-9]{6,7}")
_CARD: Final = re.compile(r"[1-9][0-9]{15,18}")
_BRACKET_LINE: Final = re.compile(r"[(\[【〔]0[1-9][0-9]{1,2}[)\]】〕][ ]?-?[ ]?[1-9][0-9]{6,7}(?![0-9])")

_UNITS: Final = (
    "元|圆|角|万|亿|千|百|美元|港元|港币|欧元|日元|韩元|人民币|%|％|‰|吨|公斤|千克|克|斤|两|毫克|微克|升|毫升|立方|平方|米|厘米|毫米|公里|千米|亩|公顷|"
    "㎡|㎥|件|个|只|台|套|瓶|袋|箱|盒|条|张|份|支|枚|粒|批|次|人|户|家|辆|艘|棵|株|头|匹|块|片|包|桶|罐|本|册|度|千瓦|兆瓦|KW|MW|KG|MG|ML|KM|M|G|L|T|"
    "天|日|月|年|小时|分钟|秒|页|字|点|名|处|间|层|座|栋|项|款|股|单|笔|标|卷|羽|尾|双|副|根|节|组|对|枝|盏|门|扇|床|口|眼"
)
_EXPLAINED: Final = (
    # days, in whatever order of signs, and ranges of years
    re.compile(
        rf"(?<![0-9])(?:19|20)[0-9]{{2}}(?:{_DAY8}|[-./年 ]{{1,2}}(?:0?[1-9]|1[0-2])[-./月 ]{{1,2}}(?:0?[1-9]|[12][0-9]|3[01]))(?![0-9])"
    ),
    re.compile(r"(?<![0-9])(?:19|20)[0-9]{2}[-~/.至到 ]{1,2}(?:19|20)[0-9]{2}(?![0-9])"),
    # amounts and quantities
    re.compile(rf"(?<![0-9])[0-9]{{1,15}}(?:\.[0-9]{{1,6}})?[ ]?[多余]?(?:{_UNITS})"),
    re.compile(
        r"(?:[¥￥$€£]|RMB|人民币|金额|价款|罚款|货值|合计|共计|总计|没收|所得)[为是计共:约 ]{0,3}[0-9]{1,15}(?:\.[0-9]{1,6})?(?![0-9])"
    ),
    # numbers of documents, of standards, and codes with letters in them
    re.compile(r"[0-9]{1,30}(?:-[0-9]{1,8})?[ ]?号(?!码)"),
    re.compile(r"[〔\[【(](?:19|20)[0-9]{2}[〕\]】)][^0-9,。;:]{0,6}[0-9]{1,20}(?![0-9])"),
    re.compile(
        r"(?:GB|DB|QB|SB|NY|HJ|YY|JJG|JJF|SN|AQ|WS|LY|LS|MT|JB|HG|SH|SY|JT|TB|YD|GA|CJ|ISO|IEC)(?:/[TZ])?[ ]?"
        r"[0-9]{1,6}(?:\.[0-9]{1,4})?(?:-[0-9]{2,4})?(?![0-9])"
    ),
    re.compile(r"CAS[号:NO. ]{0,6}[0-9]{2,7}-[0-9]{2}-[0-9](?![0-9])"),
)
_LETTERED: Final = (
    re.compile(r"(?<=[A-Z])[-/]?[0-9]{1,24}(?:[-/.][0-9]{1,8}){0,3}(?![0-9])"),
    re.compile(r"(?<![0-9])[0-9]{1,20}(?=[-]?[A-WYZ])"),
)
"""Codes with letters in them: enough where no cue says that a person's number follows."""
_LICENCE_CUE: Final = re.compile(
    r"(?:许可证|备案|登记证|执照|证书|证编号|证号|证第|准字|批号|批次|条码|条形码|商品码|编码|编号|文号|文书|案号|单号|订单|合同|流水号?|票号|发票|代码|注册号|标准|型号|"
    r"序列号|追溯码|监管码|货号|报告|登记号|纳税人识别号|产地码|字第?)[^0-9,。;、]{0,10}$"
)
_PERSON_CUE: Final = re.compile(r"(?:身份证|公民身份|证件|护照|通行证|驾驶证|军官证|学号|社保)[^0-9,。;、]{0,12}$")
_PHONE_CUE: Final = re.compile(r"(?:电话|手机|座机|传真|联系方式|热线|拨打|TEL|致电)[^0-9,。;、]{0,8}$")
_ACCOUNT_CUE: Final = re.compile(r"(?:账号|帐号|账户|帐户|卡号|银行卡|开户行?|存折)[^0-9,。;、]{0,14}$")
_CUE_REACH: Final = 24

_PLATE_HEAD: Final = "[京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼][A-HJ-NP-Z]"
_TOKENS: Final = (
    # plates: province, letter, five or six signs with a digit among them; not the numbers of lifts and boilers, 梯11吉E…
    (
        "车牌",
        re.compile(
            rf"(?<![梯起容锅车索管][0-9]{{2}}){_PLATE_HEAD}(?=[^。,;]{{0,10}}[0-9])"
            r"(?:[·•.\- ]{0,2}[A-HJ-NP-Z0-9]){4,5}[·•.\- ]{0,2}[A-HJ-NP-Z0-9学警港澳挂领使试超](?![A-Z0-9])"
        ),
    ),
    (
        "社交账号",
        re.compile(
            r"(?:Q[ ]?Q|微[ ]{0,2}信|WECHAT|WEIXIN|支付宝|VX)"
            r"(?!公众|小程序|支付|平台|商城|群发)(?:号码?|ID|群|账号|帐号)?[:为是\"“ ]{0,3}[A-Z0-9_\-]{5,30}"
        ),
    ),
    ("证件号", re.compile(r"(?:护照|通行证|居留证|回乡证|台胞证|军官证)(?:号码?)?[:为是 ]{0,3}[A-Z]{0,3}[0-9]{5,12}(?![0-9])")),
)
_EMAIL: Final = re.compile(
    rf"[A-Z0-9._%+\-]{{1,64}}[{_HIDDEN}]{{0,2}}@[{_HIDDEN}]{{0,2}}[A-Z0-9\-]{{1,63}}(?:[{_HIDDEN}]?\.[{_HIDDEN}]?[A-Z0-9\-]{{1,63}}){{1,5}}"
)
_MAIL_HOST: Final = re.compile(
    r"(?:QQ|163|126|GMAIL|SINA|FOXMAIL|HOTMAIL|OUTLOOK|SOHU|YEAH|189|139|ALIYUN)[ ]{0,2}[.点。][ ]{0,2}(?:COM|CN|NET)"
)
_PASSPORT: Final = re.compile(r"(?<![A-Z0-9])(?:[EGDSPK][0-9]{8}|E[A-HJ-NP-Z][0-9]{7}|[CHMW][0-9]{8}(?:[0-9]{2})?)(?![A-Z0-9])")
_CONTACT_CUE: Final = re.compile(
    r"(?:联系电话|联系方式|电话号码|手机号码?|身份证号码?|公民身份号码|证件号码?|银行账号|银行卡号|账号|帐号|卡号|车牌号码?|邮箱|电子邮件|微信号?|QQ号?|"
    r"尾号|[前后末][两0-9]位(?:数字?)?)"
    r"[:为是系 ]{0,3}(?=[A-Z0-9]{4})"
)
_HOME_CUE: Final = re.compile(r"(?:家庭住址|家庭地址|现住址?|户籍地址?|户籍所在地|居住地|暂住地?|住址)[:为是在于 ]{1,3}[^,。;、]{4}")

_DOUBT: Final = re.compile(
    rf"[0-9](?:{_GAP}[0-9]){{4}}|@|{_PLATE_HEAD}|Q[ ]?Q|VX|微[ ]{{0,2}}信|WECHAT|支付宝|账号|帐号|卡号"
    rf"|尾号|[前后末][0-9两]位|[点.。][ ]{{0,2}}(?:COM|CN|NET)"
    r"|住址|住在|现住|家庭地址|户籍|居住地|暂住|邮箱|(?:[0-9][,;、][ ]?){9}|[0-9]{3}[,;、][ ]?[0-9]{4}[,;、]"
)
"""Without one of these a text holds no number, address or account worth a look."""

# --- names, for the residual score only -------------------------------------------------------------------------------

_NOT_GIVEN: Final = (
    "的了在是有对于与及不未无已被将应当能该此等所由因从到以并或而但上下内外前后公司局厂店部门员法规条款项年时责任营执照许证件号处罚违政决依据场按要提供"
    "销售购买产述某各类别种式便重额间我你他她它们这那哪何每个单位次第先女士者众身体用食品药器械料材装施程筑屋房地电气油车辆船输货物资款账目票据约签订期"
    "限情形标准质价格告传虚假误导欺诈故过失认"
)
"""Characters that hardly stand in a given name, but often after a word that looks like a surname."""
_GIVEN: Final = f"(?![{''.join(sorted(set(_NOT_GIVEN)))}])[\u4e00-\u9fff]"
_CUES: Final = (
    "法定代表人|法人代表|负责人|经营者|业主|店主|老板|当事人|行为人|责任人|联系人|员工|职工|工人|雇员|司机|驾驶员|驾驶人|乘客|患者|病人|学生|学员|老师|教师|医生|医师|"
    "护士|消费者|投诉人|举报人|报案人|受害人|被害人|死者|伤者|原告|被告|申请人|被申请人|证人|股东|监事|董事长?|总经理|经理|会计|出纳|村民|居民|姓名|名叫|男子|女子|"
    "妻子|丈夫|儿子|女儿|父亲|母亲|哥哥|姐姐|弟弟|妹妹|亲属|家属|户主|租户|房东|操作工|电工|焊工|作业人员|从业人员|工作人员|安全员|检验员|质检员|收银员|厨师|实际控制人"
)
_FAMILY: Final = f"(?:{'|'.join(sorted(COMPOUND))}|[{''.join(sorted(COMMON))}])"
_AFTER: Final = (
    "(?=[,，。、；;：:（(）)“”\"'\\s]|$|的|在|于|与|和|及|等|系|向|称|因|被|将|到|对|从|为|签|陈述|表示|承认|提供|购买|投诉|驾驶|未|自|以|经|给|处|住|"
    "身份|电话|联系|男|女|作为|担任|受|持|有)"
)
_CUED_NAME: Final = re.compile(f'(?:{_CUES})[:：为是系叫“"(（ ]{{0,2}}({_FAMILY}{_GIVEN}(?:{_GIVEN})??){_AFTER}')
_DEED: Final = (
    "驾驶|驾车|饮酒|醉酒|酒后|殴打|辱骂|签字|签名|供述|自述|交代|承认|投诉|举报|死亡|受伤|住院|患有|怀孕|就诊|报案|身份证|手机号|先生|女士|同志|之妻|之子|之女|"
    "的妻子|的丈夫|的儿子|的女儿|的父亲|的母亲|的家属|本人|出生|户籍|现住|涉嫌|未满"
)
_DOER: Final = re.compile(f"({_FAMILY}{_GIVEN}(?:{_GIVEN})??)(?={_DEED})")
_DATED_NAME: Final = re.compile(f"(?:^|[，。；：、（(\\s])({_FAMILY}{_GIVEN}(?:{_GIVEN})??)(?=于[0-9二〇]{{2,4}}|在其|驾|骑|步行)")
_FOREIGN_NAME: Final = re.compile(r"[\u4e00-\u9fff]{2,8}[·•‧][\u4e00-\u9fff]{2,8}")
_NAMED: Final = (_CUED_NAME, _DOER, _DATED_NAME, _FOREIGN_NAME)


# --- the redactor -----------------------------------------------------------------------------------------------------


def redact(
    text: str, known: Iterable[str], own: Iterable[str] = (), *, keep: Iterable[str] = (), numbering: Numbering | None = None
) -> Redaction:
    """A text as it may leave, in two profiles, with the score of what is left to doubt.

    `known`: values of persons that the record gives elsewhere; `own`: what names the record's own subject, where that is a person;
    `keep`: names of organisations, in which a person's name may stand. `numbering` is shared by the texts of one record.
    """
    copy = text.translate(_DIGITS)
    if len(copy) != len(text):
        raise ValueError("the copy must have the length of the text")
    spans = [*_valued(copy, known, own=False), *_valued(copy, own, own=True)]
    residual = 0
    if _DOUBT.search(copy) is not None:
        found, residual = _structured(copy)
        spans += found
    public = _mask(len(copy), [place for name in keep if len(name) > 1 for place in _places(copy, name.translate(_DIGITS))])
    spans = _merge([span for span in spans if not public or not all(public[span.start : span.end])])
    residual += _unnamed(text, _mask(len(copy), [(span.start, span.end) for span in spans]), public)
    if not spans:
        return Redaction(strict=text, third_parties=text, residual=residual, redactor=REDACTOR)
    numbering = numbering if numbering is not None else Numbering()
    labels = [(span, numbering.label(span.kind, span.said)) for span in spans]
    return Redaction(
        strict=_replace(text, labels),
        third_parties=_replace(text, [(span, label) for span, label in labels if not span.own]),
        residual=residual,
        redactor=REDACTOR,
    )


def _replace(text: str, labels: list[tuple[Span, str]]) -> str:
    pieces: list[str] = []
    at = 0
    for span, label in labels:
        pieces += text[at : span.start], label
        at = span.end
    return "".join((*pieces, text[at:]))


def _mask(length: int, places: Iterable[tuple[int, int]]) -> bytearray:
    """One byte a character, 1 where a place covers it; empty when there is no place, so that nothing is asked of it."""
    mask = bytearray()
    for start, end in places:
        if not mask:
            mask = bytearray(length)
        mask[start:end] = b"\x01" * (end - start)
    return mask


def _merge(spans: list[Span]) -> list[Span]:
    """Spans in order, overlapping ones joined under the longest of them."""
    merged: list[Span] = []
    for span in sorted(spans, key=lambda each: (each.start, -each.end)):
        last = merged[-1] if merged else None
        if last is None or span.start >= last.end:
            merged.append(span)
        elif span.end > last.end or not span.own:
            longest = max(last, span, key=lambda each: each.end - each.start)
            merged[-1] = Span(last.start, max(last.end, span.end), longest.kind, longest.said, last.own and span.own)
    return merged


# --- values that the record gives -------------------------------------------------------------------------------------


def _valued(copy: str, values: Iterable[str], *, own: bool) -> Iterator[Span]:
    squeezed: tuple[str, list[int]] | None = None
    for value in values:
        needle = _squeeze(value.translate(_DIGITS))
        if len(needle) < 2 or (needle.isdigit() and len(needle) < 4):
            continue
        kind = "证件号" if sum(map(str.isdigit, needle)) >= 6 else "地址" if len(needle) > 12 else "姓名"
        leave = own and kind == "姓名"
        if needle[0] not in copy:
            continue
        at = copy.find(needle)
        while at >= 0:
            yield Span(at, at + len(needle), kind, needle, leave)
            at = copy.find(needle, at + len(needle))
        if _LOOSE.search(copy) is None:
            continue
        if squeezed is None:
            squeezed = _squeezed(copy)
        plain, places = squeezed
        at = plain.find(needle)
        while at >= 0:
            yield Span(places[at], places[at + len(needle) - 1] + 1, kind, needle, leave)
            at = plain.find(needle, at + len(needle))


_LOOSE: Final = re.compile(f"[{_HIDDEN}.·•‧∙・_~*|/-]")


def _squeeze(text: str) -> str:
    return _LOOSE.sub("", text)


def _squeezed(copy: str) -> tuple[str, list[int]]:
    places = [at for at, sign in enumerate(copy) if not _loose(sign)]
    return "".join(copy[at] for at in places), places


@cache
def _loose(sign: str) -> bool:
    return _LOOSE.match(sign) is not None


def _places(copy: str, needle: str) -> list[tuple[int, int]]:
    found = []
    at = copy.find(needle)
    while at >= 0:
        found.append((at, at + len(needle)))
        at = copy.find(needle, at + len(needle))
    return found


# --- structured detectors ---------------------------------------------------------------------------------------------


def _structured(copy: str) -> tuple[list[Span], int]:
    spans: list[Span] = []
    residual = 0
    for kind, pattern in _TOKENS:
        spans += (Span(found.start(), found.end(), kind, _squeeze(found[0])) for found in pattern.finditer(copy))
    spans += (Span(found.start(), found.end(), "电话", _squeeze(found[0])) for found in _BRACKET_LINE.finditer(copy))
    residual += _mails(copy, spans)
    for listed in _COMMA_RUN.finditer(copy):
        if _THOUSANDS.match(copy, listed.start()):
            continue
        digits = "".join(sign for sign in listed[0] if sign.isdigit())
        reads = _exact(digits)
        if reads is not None:
            spans.append(Span(listed.start(), listed.end(), reads, digits))
        elif len(digits) >= 10 and len(listed[0].replace(" ", "")) == 2 * len(digits) - 1:
            residual += 1
    covered = _mask(len(copy), [(span.start, span.end) for span in spans])
    for run in _RUN.finditer(copy):
        found, unexplained = _run(copy, run.start(), run.end(), covered)
        spans += found
        residual += unexplained
    covered = _mask(len(copy), [(span.start, span.end) for span in spans])
    for pattern in (_CONTACT_CUE, _HOME_CUE, _PASSPORT, _MAIL_HOST):
        for cue in pattern.finditer(copy):
            if any(covered[cue.start() : cue.end() + 4]):
                continue
            if pattern is _PASSPORT and _LICENCE_CUE.search(copy, max(0, cue.start() - _CUE_REACH), cue.start()):
                continue
            residual += 1
    return spans, residual


def _mails(copy: str, spans: list[Span]) -> int:
    """E-mail addresses around each @; an @ without one is a doubt."""
    doubts = 0
    at = copy.find("@")
    while at >= 0:
        found = _EMAIL.search(copy, max(0, at - 66), min(len(copy), at + 260))
        if found is not None and found.start() <= at < found.end():
            spans.append(Span(found.start(), found.end(), "邮箱", _squeeze(found[0])))
            at = copy.find("@", found.end())
        else:
            doubts += 1
            at = copy.find("@", at + 1)
    return doubts


class _Group(NamedTuple):
    start: int
    end: int
    digits: str


def _run(copy: str, start: int, end: int, covered: bytearray) -> tuple[list[Span], int]:
    """Numbers in a run of digit groups: what a single group is, what groups read together are, and whether anything is left over."""
    groups = [_Group(found.start(), found.end(), found[0]) for found in _GROUP.finditer(copy, start, end)]
    if end > groups[-1].end and copy[end - 1] == "X":
        last = groups.pop()
        groups.append(_Group(last.start, end, last.digits + "X"))
    spans: list[Span] = []
    rest: list[_Group | None] = []
    for group in groups:
        kind = None if covered and covered[group.start] else _alone(copy, group)
        if kind is not None:
            spans.append(Span(group.start, group.end, kind, group.digits))
        rest.append(None if kind is not None or (covered and covered[group.start]) else group)
    rest = _spelled_ids(rest, spans)
    low, high = max(0, start - _CUE_REACH), min(len(copy), end + 8)
    explained = _local_mask(copy, _EXPLAINED, low, high)
    lettered = _local_mask(copy, _LETTERED, low, high)
    if explained:
        rest = [None if group is None or all(explained[group.start - low : group.end - low]) else group for group in rest]
    residual = 0
    for chain in _chains(rest):
        found, doubts = _chain(copy, chain, lettered, low)
        spans += found
        residual += doubts
    return spans, residual


def _local_mask(copy: str, patterns: Iterable[re.Pattern[str]], low: int, high: int) -> bytearray:
    return _mask(
        high - low, ((found.start() - low, found.end() - low) for pattern in patterns for found in pattern.finditer(copy, low, high))
    )


def _spelled_ids(groups: list[_Group | None], spans: list[Span]) -> list[_Group | None]:
    """Citizen numbers written in blocks, found before anything is taken for a date."""
    left = list(groups)
    number = 0
    while number < len(left):
        digits = ""
        last = number
        while last < len(left) and len(digits) < 18:
            group = left[last]
            if group is None:
                break
            digits += group.digits
            last += 1
        if len(digits) == 18 and last > number + 1 and _ID18.fullmatch(digits):
            first, final = left[number], left[last - 1]
            if first is not None and final is not None:
                spans.append(Span(first.start, final.end, "证件号", digits))
            left[number:last] = [None] * (last - number)
            number = last
        else:
            number += 1
    return left


def _chains(groups: list[_Group | None]) -> Iterator[list[_Group]]:
    chain: list[_Group] = []
    for group in (*groups, None):
        if group is not None:
            chain.append(group)
        elif chain:
            yield chain
            chain = []


def _alone(copy: str, group: _Group) -> str | None:
    """What a group of adjacent digits is by itself; licence numbers and codes of organisations are nothing."""
    digits, length = group.digits, len(group.digits)
    if length < 10:
        return None
    if _MOBILE.fullmatch(digits):
        return "电话"
    before = (max(0, group.start - _CUE_REACH), group.start)
    if length == 18 and _ID18.fullmatch(digits):
        return None if uscc_holds(digits) and citizen_id(digits) is None else "证件号"
    if length == 18 and uscc_holds(digits):
        return None
    if length == 15 and _ID15.fullmatch(digits):
        return None if _LICENCE_CUE.search(copy, *before) and not _PERSON_CUE.search(copy, *before) else "证件号"
    if _PERSON_CUE.search(copy, *before):
        return "证件号"
    if _LANDLINE.fullmatch(digits):
        return "电话"
    if length > 18:
        inner = _ID18.search(digits)
        if inner is not None and citizen_id(inner[0]) is not None:
            return "证件号"
    if _CARD.fullmatch(digits):
        licensed = _LICENCE_CUE.search(copy, *before) is not None and _ACCOUNT_CUE.search(copy, *before) is None
        lettered = copy[group.start - 1 : group.start].isascii() and copy[group.start - 1 : group.start].isalpha()
        return None if (licensed or lettered) and not (_luhn(digits) and digits.startswith("62")) else "账号"
    return None


def _exact(digits: str) -> str | None:
    """What digits read together are, if exactly one personal number."""
    if len(digits) == 18 and _ID18.fullmatch(digits):
        return "证件号"
    if len(digits) == 15 and _ID15.fullmatch(digits) and day_exists(1900 + int(digits[6:8]), int(digits[8:10]), int(digits[10:12])):
        return "证件号"
    if _MOBILE.fullmatch(digits) or _LANDLINE.fullmatch(digits):
        return "电话"
    return None


_LENGTHS: Final = (18, 15, 13, 12, 11, 10, 14, 19, 17, 16)
"""Lengths at which groups read together may be a number: citizen numbers first."""


def _chain(copy: str, chain: list[_Group], lettered: bytearray, low: int) -> tuple[list[Span], int]:
    """Numbers that several groups spell together, and whether seven or more digits remain unexplained."""
    spans: list[Span] = []
    doubts = 0
    left: list[_Group] = []
    for groups, kind in _readings(chain):
        if kind is None:
            left += groups
            continue
        doubts += _doubt(copy, left, spans, lettered, low)
        left = []
        spans.append(Span(groups[0].start, groups[-1].end, kind, "".join(group.digits for group in groups)))
    return spans, doubts + _doubt(copy, left, spans, lettered, low)


def _readings(chain: list[_Group]) -> Iterator[tuple[list[_Group], str | None]]:
    """The groups one after another, those together that are one number."""
    digits = "".join(group.digits for group in chain)
    offsets = [0]
    for group in chain:
        offsets.append(offsets[-1] + len(group.digits))
    ends = {offset: number for number, offset in enumerate(offsets)}
    number = 0
    while number < len(chain):
        first = offsets[number]
        stop, kind = number + 1, None
        for length in _LENGTHS:
            until = ends.get(first + length, 0)
            if until > number + 1:
                kind = _exact(digits[first : first + length]) or _grouped_card(chain[number:until])
                if kind is not None:
                    stop = until
                    break
        if (
            kind == "电话"
            and digits[first] == "0"
            and stop < len(chain)
            and len(chain[stop].digits) <= 5
            and chain[stop].start == chain[stop - 1].end + 1
        ):
            stop += 1
        yield chain[number:stop], kind
        number = stop


def _grouped_card(groups: list[_Group]) -> str | None:
    """A card number in blocks of four, as it stands on the card."""
    sizes = [len(group.digits) for group in groups]
    if 4 <= len(sizes) <= 5 and all(size == 4 for size in sizes[:-1]) and sizes[-1] <= 4 and 16 <= sum(sizes) <= 19:
        return "账号"
    return None


def _doubt(copy: str, groups: list[_Group], spans: list[Span], lettered: bytearray, low: int) -> int:
    """1 when so many digits remain that they may be somebody's; a cue before them decides what they are."""
    digits = sum(len(group.digits) for group in groups)
    if digits < 5:
        return 0
    start, end = groups[0].start, groups[-1].end
    before = (max(0, start - _CUE_REACH), start)
    said = "".join(group.digits for group in groups)
    for cue, kind, least in ((_PERSON_CUE, "证件号", 6), (_PHONE_CUE, "电话", 7), (_ACCOUNT_CUE, "账号", 8)):
        if digits >= least and cue.search(copy, *before):
            spans.append(Span(start, end, kind, said))
            return 0
    if digits < 7 or _LICENCE_CUE.search(copy, *before):
        return 0
    plain = sum(len(group.digits) for group in groups if not (lettered and all(lettered[group.start - low : group.end - low])))
    return 1 if plain >= 7 else 0


def _luhn(digits: str) -> bool:
    total = 0
    for place, sign in enumerate(reversed(digits)):
        number = int(sign) * (1 + place % 2)
        total += number - 9 if number > 9 else number
    return total % 10 == 0


# --- names ------------------------------------------------------------------------------------------------------------


def _unnamed(text: str, covered: bytearray, public: bytearray) -> int:
    """How often somebody seems to be named outside what was replaced and outside the names of organisations."""
    doubts = 0
    for pattern in _NAMED:
        for found in pattern.finditer(text):
            start, end = found.span(found.re.groups)
            if text[start : start + 2] in NOT_NAMES or any(covered[start:end]) or (public and all(public[start:end])):
                continue
            doubts += 1
    return doubts

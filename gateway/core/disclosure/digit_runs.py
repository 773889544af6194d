"""Runs of digits in a text: which are somebody's numbers, which are amounts, dates and codes, and which remain in doubt.

Rules: a checksum raises confidence, never gates; numbers are read through blanks, dots and dashes; amounts, quantities, dates, document
numbers, standards and codes with letters explain themselves; a cue before a number decides what it is. Seven digits and more that
nothing explains are a doubt. Every pass is linear. This room must not look at names.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from gateway.core.disclosure.shapes import citizen_id, day_exists, uscc_is_valid
from gateway.core.disclosure.spelling import GAP


class Span(NamedTuple):
    """A found value: where it stands, what it is, what it reads like (for numbering), and whether it names the own subject."""

    start: int
    end: int
    kind: str
    said: str
    own: bool = False


Place = tuple[int, int]
"""From where to where; of a doubt."""


def mask_of(length: int, places: Iterable[tuple[int, int]]) -> bytearray:
    """One byte a character, 1 where a place covers it; empty when there is no place, so that nothing is asked of it."""
    mask = bytearray()
    for start, end in places:
        if not mask:
            mask = bytearray(length)
        mask[start:end] = b"\x01" * (end - start)
    return mask


# --- patterns (all over the copy: ASCII digits, capital letters) -------------------------------------------------------

RUN: Final = re.compile(rf"[0-9](?:{GAP}[0-9]){{5,}}(?:{GAP}X(?![A-Z0-9]))?")
_GROUP: Final = re.compile("[0-9]+X?")

_DAY8: Final = "(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])"
_DAY: Final = re.compile(f"(?:19|20)[0-9]{{2}}{_DAY8}")
_ID18: Final = re.compile(rf"[1-9][0-9]{{5}}(?:18|19|20)[0-9]{{2}}{_DAY8}[0-9]{{3}}[0-9X]")
_ID15: Final = re.compile(rf"[1-8][0-9]{{7}}{_DAY8}[0-9]{{3}}")
_MOBILE: Final = re.compile(r"(?:(?:00)?86)?1[3-9][0-9]{9}")
_LANDLINE: Final = re.compile(r"(?:0086|86)?0(?:10|2[0-9]|[3-9][0-9]{2})[1-9][0-9]{6,7}")
_CARD: Final = re.compile(r"[1-9][0-9]{15,18}")

_UNITS: Final = (
    "元|圆|角|万|亿|千|百|美元|港元|港币|欧元|日元|韩元|人民币|%|％|‰|吨|公斤|千克|克|斤|两|毫克|微克|升|毫升|部|立方|平方|米|厘米|毫米|公里|千米|亩|公顷|"
    "㎡|㎥|件|个|只|台|套|瓶|袋|箱|盒|条|张|份|支|枚|粒|批|次|人|户|家|辆|艘|棵|株|头|匹|块|片|包|桶|罐|本|册|度|千瓦|兆瓦|KW|MW|KG|MG|ML|KM|M|G|L|T|"
    "天|日|月|年|小时|分钟|秒|页|字|点|名|处|间|层|座|栋|项|款|股|单|笔|标|卷|羽|尾|双|副|根|节|组|对|枝|盏|门|扇|床|口|眼"
)
_AMOUNT: Final = re.compile(rf"(?<![0-9])[0-9]{{1,15}}(?:\.[0-9]{{1,6}})?[ ]?[多余]?(?:{_UNITS})")
_EXPLAINED: Final = (
    # amounts and quantities
    _AMOUNT,
    re.compile(
        r"(?:[¥￥$€£]|RMB|人民币|金额|价款|罚款|货值|合计|共计|总计|没收|所得)[为是计共:约 ]{0,3}[0-9]{1,15}(?:\.[0-9]{1,6})?(?![0-9])"
    ),
    # days, in whatever order of signs, and ranges of years
    re.compile(
        rf"(?<![0-9])(?:19|20)[0-9]{{2}}(?:{_DAY8}|[-./年 ]{{1,2}}(?:0?[1-9]|1[0-2])[-./月 ]{{1,2}}(?:0?[1-9]|[12][0-9]|3[01]))(?![0-9])"
    ),
    re.compile(r"(?<![0-9])(?:19|20)[0-9]{2}[-~/.至到 ]{1,2}(?:19|20)[0-9]{2}(?![0-9])"),
    # numbers of documents, of standards, and codes with letters in them
    re.compile(r"[0-9]{1,30}(?:-[0-9]{1,8})?[ ]?号(?!码)"),
    re.compile(r"[〔\[【(](?:19|20)[0-9]{2}[〕\]】)][^0-9,。;:]{0,6}[0-9]{1,20}(?![0-9])"),
    re.compile(
        r"(?:GB|DB[0-9]{0,6}|QB|SB|NY|HJ|YY|JJG|JJF|SN|AQ|WS|LY|LS|MT|JB|HG|SH|SY|JT|TB|YD|GA|CJ|ISO|IEC)(?:/[TZ])?[ ]?"
        r"[0-9]{1,6}(?:\.[0-9]{1,4})?(?:-[0-9]{2,4})?(?![0-9])"
    ),
    re.compile(r"(?<![0-9])[48]00-[0-9]{3,4}-[0-9]{3,4}(?![0-9])"),  # numbers that only firms have
    re.compile(r"CAS[号:NO. ]{0,6}[0-9]{2,7}-[0-9]{2}-[0-9](?![0-9])"),
)
_LETTERED: Final = (
    re.compile(r"(?<=[A-Z])[-/]?[0-9]{1,24}(?:[-/.][0-9]{1,8}){0,3}(?![0-9])"),
    re.compile(r"(?<![0-9])[0-9]{1,20}(?=[-]?[A-WYZ])"),
)
"""Codes with letters in them: enough where no cue says that a person's number follows."""
_IN_CODE: Final = re.compile("(?<=[A-Z0-9][-/])[0-9]+[A-WYZ]")
"""Digits with something of a code on either side."""
LICENCE_CUE: Final = re.compile(
    r"(?:许可证|备案|登记证|执照|证书|证编号|证号|证第|准字|批号|批次|条码|条形码|商品码|编码|编号|文号|文书|案号|单号|订单|合同|流水号?|票号|发票|代码|注册号|标准|型号|"
    r"票据号?|识别码|运单|单位编码|序列号|追溯码|监管码|货号|报告|登记号|纳税人识别号|产地码|字第?)[^0-9,。;、]{0,10}$"
)
_PERSON_CUE: Final = re.compile(
    r"(?:身份证|公民身份|[12]代证|[旧老]证|证件|护照|通行证|驾驶证|军官证|学[号籍]|工号|社保|医保|社会保障|准考证|健康证|资格证|执业证|残疾证|居住证|就诊卡|住院号|病历号)"
    r"[^0-9,。;、]{0,12}$"
)
_PHONE_CUE: Final = re.compile(
    r"(?:电话|手机|座机|传真|联系方式|热线|TEL)(?:号码?)?(?:[:为是系(（ ]{0,3}|[^0-9,。;、]{0,4}[:为是]{1,2})$"
    r"|(?:拨打|致电|拨通)[^0-9,。;、]{0,6}$"
)
_ACCOUNT_CUE: Final = re.compile(r"(?:账号|帐号|账户|帐户|卡号|银行卡|开户行?|存折)[^0-9,。;、]{0,14}$")
_TO: Final = frozenset("至到~")
_SHORTEST: Final = 10
"""Digits that somebody's number has at least where no cue stands before it."""
CUE_REACH: Final = 24
_CUES: Final = ((_PERSON_CUE, "证件号", 6), (_PHONE_CUE, "电话", 7), (_ACCOUNT_CUE, "账号", 8))
"""Words before a number, what it then is, and how many digits it has at least."""
_AMOUNT_AFTER: Final = re.compile(
    r"(?:\.[0-9]{1,6})?[ ]?(?:[多余]?(?:元|圆|万|亿|美元|港元|欧元|%|％|个|部|台|件|只|张|份|本|次|条|人次|户)|\.[0-9])"
)


# --- reading ----------------------------------------------------------------------------------------------------------


class _Group(NamedTuple):
    start: int
    end: int
    digits: str


def read_run(copy: str, start: int, end: int, covered: bytearray) -> tuple[list[Span], list[Place]]:
    """Numbers in a run of digit groups: what a single group is, what groups read together are, and what is left over."""
    if copy[start:end].isdigit():  # one group alone: most are somebody's number by themselves, or an amount
        amount = _AMOUNT.match(copy, start, min(len(copy), end + 8)) is not None
        if (covered and covered[start]) or (amount and end - start < _SHORTEST and _AMOUNT_AFTER.match(copy, end)):
            return [], []
        group = _Group(start, end, copy[start:end])
        kind = _alone(copy, group)
        if kind is not None:
            return [Span(start, end, kind, group.digits)], []
        if amount:
            return [], []
    groups = [_Group(found.start(), found.end(), found[0]) for found in _GROUP.finditer(copy, start, end)]
    if end > groups[-1].end and copy[end - 1] == "X":
        last = groups.pop()
        groups.append(_Group(last.start, end, last.digits + "X"))
    spans: list[Span] = []
    rest: list[_Group | None] = []
    for left in _spelled_ids([None if covered and covered[group.start] else group for group in groups], spans):
        kind = None if left is None else _alone(copy, left)
        if left is not None and kind is not None:
            spans.append(Span(left.start, left.end, kind, left.digits))
        rest.append(None if kind is not None else left)
    low, high = max(0, start - CUE_REACH), min(len(copy), end + 8)
    if any(rest):
        rest = _unexplained(copy, rest, low, high)
    if not any(rest):
        return spans, []
    unread: list[Place] = []
    lettered = _local_mask(copy, _LETTERED, low, high)
    for chain in _chains(rest):
        found, doubts = _chain(copy, chain, lettered, low)
        spans += found
        unread += doubts
    return spans, unread


def _unexplained(copy: str, groups: list[_Group | None], low: int, high: int) -> list[_Group | None]:
    """The groups without those that explain themselves; when that is all of them nothing more is asked."""
    mask = bytearray(high - low)
    for pattern in _EXPLAINED:
        found = None
        for found in pattern.finditer(copy, low, high):
            mask[found.start() - low : found.end() - low] = b"\x01" * (found.end() - found.start())
        if found is not None:
            groups = [None if group is None or all(mask[group.start - low : group.end - low]) else group for group in groups]
            if not any(groups):
                break
    return groups


def _local_mask(copy: str, patterns: Iterable[re.Pattern[str]], low: int, high: int) -> bytearray:
    return mask_of(
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
    if length < 6:
        return None
    if _MOBILE.fullmatch(digits):
        return None if _IN_CODE.match(copy, group.start, group.end + 1) else "电话"
    before = (max(0, group.start - CUE_REACH), group.start)
    if length == 18 and _ID18.fullmatch(digits):
        return None if uscc_is_valid(digits) and citizen_id(digits) is None else "证件号"
    if length == 18 and uscc_is_valid(digits):
        return None
    if length == 15 and _ID15.fullmatch(digits):
        return None if LICENCE_CUE.search(copy, *before) and not _PERSON_CUE.search(copy, *before) else "证件号"
    cued = _cued(copy, group.start, group.end, digits)
    if cued is not None:
        return cued
    if _LANDLINE.fullmatch(digits):
        return "电话"
    if length > 18:
        inner = _ID18.search(digits)
        if inner is not None and citizen_id(inner[0]) is not None:
            return "证件号"
    if _CARD.fullmatch(digits):
        licensed = LICENCE_CUE.search(copy, *before) is not None
        lettered = copy[group.start - 1 : group.start].isascii() and copy[group.start - 1 : group.start].isalpha()
        return None if (licensed or lettered) and not (_luhn(digits) and digits.startswith("62")) else "账号"
    return None


def _cued(copy: str, start: int, end: int, digits: str) -> str | None:
    """What the words before a number say it is, unless what follows makes it an amount, or it is a day."""
    if _AMOUNT_AFTER.match(copy, end) or (len(digits) == 8 and _DAY.fullmatch(digits)):
        return None
    before = (max(0, start - CUE_REACH), start)
    return next((kind for cue, kind, least in _CUES if len(digits) >= least and cue.search(copy, *before)), None)


def exact_number(digits: str) -> str | None:
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


def _chain(copy: str, chain: list[_Group], lettered: bytearray, low: int) -> tuple[list[Span], list[Place]]:
    """Numbers that several groups spell together, and where seven or more digits remain unexplained."""
    spans: list[Span] = []
    doubts: list[Place] = []
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
                kind = exact_number(digits[first : first + length]) or _grouped_card(chain[number:until])
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


def _doubt(copy: str, groups: list[_Group], spans: list[Span], lettered: bytearray, low: int) -> list[Place]:
    """Where so many digits remain that they may be somebody's; a cue before them decides what they are."""
    digits = sum(len(group.digits) for group in groups)
    if digits < 5:
        return []
    start, end = groups[0].start, groups[-1].end
    said = "".join(group.digits for group in groups)
    cued = _cued(copy, start, end, said)
    if cued is not None:
        spans.append(Span(start, end, cued, said))
        return []
    cue_end = _range_start(copy, start, len(groups[0].digits))
    if digits < 7 or LICENCE_CUE.search(copy, max(0, cue_end - CUE_REACH), cue_end):
        return []
    plain = sum(len(group.digits) for group in groups if not (lettered and all(lettered[group.start - low : group.end - low])))
    return [(start, end)] if plain >= 7 else []


def _range_start(copy: str, start: int, size: int) -> int:
    """Where a range of numbers of so many digits begins whose last one stands at `start`: 发票号码12345678至12345690; else `start`."""
    first = start - 1 - size
    if first < 0 or copy[start - 1] not in _TO or not copy[first : start - 1].isdigit() or copy[first - 1 : first].isdigit():
        return start
    return first


def _luhn(digits: str) -> bool:
    total = 0
    for place, sign in enumerate(reversed(digits)):
        number = int(sign) * (1 + place % 2)
        total += number - 9 if number > 9 else number
    return total % 10 == 0

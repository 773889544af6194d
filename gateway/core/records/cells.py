"""From a cell's text to a value, one converter a field type (policy.md §4).

Width, blanks and invisible characters are normalised, control characters refused; nothing is coerced: what is not plainly of the type is
SCHEMA_TYPE with what to do. Decimals and dates come out as canonical text. This room must not know which column a cell stands in.
"""

import re
import unicodedata
from collections.abc import Callable
from datetime import UTC, date, datetime
from functools import lru_cache

from gateway.core.errors import RowFault
from gateway.core.records.identifiers import normalise_code, parse_org_code, parse_reg_no, parse_uscc
from gateway.core.records.model import Value

Convert = Callable[[str], Value]

_REFUSED = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
_INVISIBLE = re.compile("[\u00ad\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]")
_BLANKS = re.compile(r"[^\S\n]+")
_LINE_ENDS = re.compile("\r\n?|[\x85\u2028\u2029]")


def clean(text: str, multiline: bool) -> str:
    """A text with something unprintable in it: controls refused, the invisible dropped, every blank a blank."""
    if _REFUSED.search(text):
        raise RowFault("SCHEMA_TYPE", "含有控制字符", hint="请删除该单元格中的不可见字符")
    text = _LINE_ENDS.sub("\n", _INVISIBLE.sub("", text))
    return _BLANKS.sub(" ", text if multiline else text.replace("\n", " ")).strip()


def folded(text: str) -> str:
    """A text as words of a closed list are compared."""
    return "".join(unicodedata.normalize("NFKC", text).split())


_DATE = re.compile(
    r"([0-9]{4})(?:([-/.])([0-9]{1,2})\2([0-9]{1,2})|([0-9]{2})([0-9]{2})|年([0-9]{1,2})月([0-9]{1,2})日)(?: 00:00(?::00(?:\.0+)?)?)?"
)
"""A day in the four ways in which departments write it; a midnight behind it is how spreadsheets export a date."""
_DAY_LENGTH = len("2026-03-02")
_FIRST_YEAR = 1800


@lru_cache(maxsize=8192)
def _date(text: str) -> str:
    if len(text) == _DAY_LENGTH and text[4] == text[7] == "-" and text.isascii():  # as it is to be: the calendar alone is asked
        try:
            if date.fromisoformat(text).year >= _FIRST_YEAR:
                return text
        except ValueError:
            pass  # what is wrong with it is told below
    match = _DATE.fullmatch(text if text.isascii() else unicodedata.normalize("NFKC", text))
    if match:
        year, _, month, day, month8, day8, month_cn, day_cn = match.groups()
        try:
            made = date(int(year), int(month or month8 or month_cn), int(day or day8 or day_cn))
        except ValueError:
            raise RowFault("SCHEMA_TYPE", "日期不存在") from None
        if made.year >= _FIRST_YEAR:
            return made.isoformat()
    raise RowFault("SCHEMA_TYPE", "不是日期", hint="格式为 2026-03-02、2026/03/02 或 20260302")


_DECIMAL = re.compile(r"(-?)0*([0-9]+)(?:\.([0-9]+))?")


def decimal(digits: int, places: int, unit: str | None) -> Convert:
    """A converter of plain decimals into canonical text with all their places; an amount in a unit is never negative."""
    hint = f"只填数字，单位为{unit}，最多{places}位小数" if unit else f"只填数字，最多{places}位小数"

    @lru_cache(maxsize=4096)
    def convert(text: str) -> str:
        match = _DECIMAL.fullmatch(text if text.isascii() else unicodedata.normalize("NFKC", text))
        if match is None:
            raise RowFault("SCHEMA_TYPE", "不是数值", hint=hint)
        sign, whole, fraction = match[1], match[2].lstrip("0") or "0", (match[3] or "").rstrip("0")
        if len(fraction) > places:
            raise RowFault("SCHEMA_TYPE", "小数位数过多", hint=hint)
        if len(whole) > digits - places and whole != "0":
            raise RowFault("SCHEMA_LENGTH", "数值过大", hint=hint)
        if sign and unit:
            raise RowFault("SCHEMA_TYPE", "金额不能为负", hint=hint)
        zero = whole == "0" and not fraction
        return f"{'' if zero else sign}{whole}" + (f".{fraction.ljust(places, '0')}" if places else "")

    return convert


def _int(text: str) -> int:
    digits = folded(text)
    if re.fullmatch(r"-?[0-9]{1,18}", digits) is None:
        raise RowFault("SCHEMA_TYPE", "不是整数")
    return int(digits)


_TRUTH: dict[str, bool] = {"是": True, "否": False, "true": True, "false": False}


def _bool(text: str) -> bool:
    truth = _TRUTH.get(folded(text).lower())
    if truth is None:
        raise RowFault("SCHEMA_TYPE", "应填“是”或“否”")
    return truth


def _instant(text: str) -> str:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None or moment.year < _FIRST_YEAR:
        raise RowFault("SCHEMA_TYPE", "不是带时区的时间", hint="格式为 2026-03-02T09:30:00+08:00")
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _shape(pattern: str, detail: str) -> Convert:
    compiled = re.compile(pattern)

    def convert(text: str) -> str:
        code = normalise_code(text)
        if compiled.fullmatch(code) is None:
            raise RowFault("SCHEMA_TYPE", detail)
        return code

    return convert


_URI = re.compile(r"https?://[^\s<>\"\\^`{|}]{1,2000}")
_EMAIL = re.compile(r"[^\s@<>\"]{1,64}@[A-Za-z0-9.-]{1,190}\.[A-Za-z]{2,24}")


def _uri(text: str) -> str:
    if _URI.fullmatch(text) is None:
        raise RowFault("SCHEMA_TYPE", "不是网址", hint="以 http:// 或 https:// 开头")
    return text


def _email(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text)
    if _EMAIL.fullmatch(folded) is None:
        raise RowFault("SCHEMA_TYPE", "不是电子邮箱地址")
    return folded


def _mobile(text: str) -> str:
    code = normalise_code(text).replace("-", "").removeprefix("+86")
    if re.fullmatch(r"1[3-9][0-9]{9}", code) is None:
        raise RowFault("SCHEMA_TYPE", "不是手机号码")
    return code


def _name(text: str) -> str:
    return " ".join(text.split()) if " " in text else text


parse_uscc_again = lru_cache(maxsize=4096)(parse_uscc)
SIMPLE: dict[str, Convert] = {
    "subject_name": _name, "person_name": _name, "address": _name, "date": _date, "int": _int, "bool": _bool, "instant": _instant,
    "uri": _uri, "email": _email, "mobile": _mobile, "org_code": parse_org_code, "reg_no": parse_reg_no,
    "division": _shape("[0-9]{6}", "不是六位行政区划代码"),
    "phone": _shape(r"[0-9+()\-]{5,30}", "不是电话号码"),
    "plate": _shape(r"[\u4e00-\u9fff][A-Z][·.]?[A-Z0-9]{4,6}[A-Z0-9\u4e00-\u9fff]", "不是车牌号码"),
    "account": _shape(r"[0-9A-Z\-]{5,40}", "不是账号"),
}

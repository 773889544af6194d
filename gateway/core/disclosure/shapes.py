"""Shapes: what a value of each type looks like, however it is written, and where its characters begin and end.

Rules: canonical before anything is cut (NFKC, full width, blanks, zero width, lower-case x, fifteen digits, Chinese numerals); a value of
another shape has none; a check digit belongs to the shape of codes and citizen numbers. Characters are extended grapheme clusters
(UAX 29). This room must not mask.
"""

import re
import unicodedata
from collections.abc import Callable
from operator import mul
from typing import Final

INVISIBLE: Final = re.compile(
    "[\\s\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0]+"
)
_SPELLED: Final = str.maketrans("〇零○一二三四五六七八九壹贰叁肆伍陆柒捌玖貳參陸", "000123456789123456789236")
_LOOKALIKE_X: Final = str.maketrans("хХⅹⅩ×", "XXXXX")

_USCC_ALPHABET: Final = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_USCC_VALUES: Final = bytes(_USCC_ALPHABET.find(chr(code)) % 256 for code in range(256))
"""Value of each ASCII sign in the alphabet of codes, as a translation table."""
_USCC_WEIGHTS: Final = tuple(pow(3, place, 31) for place in range(17))
_USCC: Final = re.compile(rf"[1-9ANY][{_USCC_ALPHABET}][0-9]{{6}}[{_USCC_ALPHABET}]{{10}}")
_ID_WEIGHTS: Final = tuple(pow(2, 17 - place, 11) for place in range(17))
_ID_ZERO: Final = sum(_ID_WEIGHTS) * ord("0")
_ID18: Final = re.compile(r"[1-9][0-9]{5}((?:18|19|20)[0-9]{2})([0-9]{2})([0-9]{2})[0-9]{3}[0-9X]")
_ID15: Final = re.compile(r"[1-9][0-9]{14}")
DATE: Final = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
DIVISION: Final = re.compile(r"[1-9][0-9]{5}")
_REG_NO: Final = re.compile(r"[0-9]{13}(?:[0-9]{2})?")
_ORG_CODE: Final = re.compile(r"[0-9A-Z]{8}-?[0-9X]")
_MOBILE: Final = re.compile(r"1[3-9][0-9]{9}")
_PHONE: Final = re.compile(r"(?:0[0-9]{2,3}-?)?[1-9][0-9]{6,7}(?:-[0-9]{1,6})?|1[3-9][0-9]{9}")
_PLATE: Final = re.compile(
    r"[京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼][A-HJ-NP-Z][A-HJ-NP-Z0-9]{4,5}[A-HJ-NP-Z0-9学警港澳挂领使]"
)
SIMPLE: Final = re.compile("[ -~\u3001-\u3029\u4e00-\u9fff\uff01-\uff5e]+")
"""Text in which every character is a grapheme, composed already."""
_EMAIL: Final = re.compile(r"[^@\s]{1,64}@[^@\s]{1,190}")


def plain_code(text: str) -> str:
    """A code as masks and detectors look at it: NFKC, upper case, without blanks and invisible characters."""
    return INVISIBLE.sub("", unicodedata.normalize("NFKC", text)).upper()


def uscc_is_valid(code: str) -> bool:
    """Whether 18 characters have the shape of a unified social credit code and its check character (GB 32100-2015)."""
    if _USCC.fullmatch(code) is None:
        return False
    total = sum(map(mul, _USCC_WEIGHTS, code.encode().translate(_USCC_VALUES)))
    return _USCC_ALPHABET[-total % 31] == code[17]


def day_exists(year: int, month: int, day: int) -> bool:
    """Whether the calendar has that day."""
    return (
        1 <= month <= 12
        and 1 <= day <= _DAYS[month]
        and (month != 2 or day < 29 or (year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)))
    )


_DAYS: Final = (0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def citizen_id(text: str) -> str | None:
    """The 18 characters of a citizen number however it is written (15 digits, full width, spaced, spelled), if it is one."""
    whole, long = text, True
    found = _ID18.fullmatch(text)
    if found is None:
        whole = plain_code(text.translate(_LOOKALIKE_X)).translate(_SPELLED)
        if _ID15.fullmatch(whole):
            whole, long = f"{whole[:6]}19{whole[6:]}0", False
        found = _ID18.fullmatch(whole)
        if found is None:
            return None
    year, month, day = found.groups()
    if not ("01" <= day <= "28" and "01" <= month <= "12") and not day_exists(int(year), int(month), int(day)):
        return None
    check = "10X98765432"[(sum(map(mul, _ID_WEIGHTS, whole.encode())) - _ID_ZERO) % 11]
    if not long:
        return whole[:17] + check
    return whole if check == whole[17] else None


def uscc_shape(text: str) -> str | None:
    """The code however it is written, if it holds."""
    if uscc_is_valid(text):
        return text
    code = plain_code(text)
    return code if uscc_is_valid(code) else None


def _matches(pattern: re.Pattern[str]) -> Callable[[str], str | None]:
    def shape(text: str) -> str | None:
        code = plain_code(text)
        return code if pattern.fullmatch(code) else None

    return shape


def _plate_shape(text: str) -> str | None:
    code = re.sub("[·•.-]", "", plain_code(text))
    return code if _PLATE.fullmatch(code) else None


def _any_shape(text: str) -> str | None:
    return text if SIMPLE.fullmatch(text) else unicodedata.normalize("NFC", text)


SHAPES: Final[dict[str, Callable[[str], str | None]]] = {
    "string": _any_shape,
    "uscc": uscc_shape,
    "id_no": citizen_id,
    "reg_no": _matches(_REG_NO),
    "org_code": _matches(_ORG_CODE),
    "mobile": _matches(_MOBILE),
    "phone": _matches(_PHONE),
    "plate": _plate_shape,
    "email": _matches(_EMAIL),
}
"""Types that `keep` may cut, and what a value must look like before it is cut."""

KEEP_TYPES: Final = frozenset(SHAPES)


def graphemes(text: str) -> list[str]:
    """The user-perceived characters of a text (extended grapheme clusters of UAX 29)."""
    if SIMPLE.fullmatch(text):
        return list(text)
    clusters: list[str] = []
    previous = ""
    flags = pictograph = joined = linked = consonant = False
    hangul = ""
    for sign in text:
        code = ord(sign)
        kind = _cluster_kind(sign)
        syllable = _hangul_kind(code)
        if not clusters or previous == "control" or kind == "control":
            attach = sign == "\n" and bool(clusters) and clusters[-1][-1] == "\r"
        elif kind in ("extend", "spacing") or previous == "prepend":
            attach = True
        elif kind == "picture":
            attach = joined
        elif kind == "flag":
            attach = flags
        elif kind == "conjunct":
            attach = linked
        else:
            attach = (hangul, syllable) in _SYLLABLES
        if attach:
            clusters[-1] += sign
        else:
            clusters.append(sign)
        flags = kind == "flag" and not (attach and flags)
        joined = pictograph and code == 0x200D
        if kind != "extend":
            pictograph = kind == "picture"
            consonant, linked = kind == "conjunct", False
        elif sign in _LINKERS:
            linked = consonant
        hangul = syllable
        previous = kind
    return clusters


_SYLLABLES: Final = frozenset(
    {("L", "L"), ("L", "V"), ("L", "LV"), ("L", "LVT"), ("LV", "V"), ("V", "V"), ("LV", "T"), ("V", "T"), ("LVT", "T"), ("T", "T")}
)
_PREPENDED: Final = frozenset(
    "\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\u0d4e\U000110bd\U000110cd\U000111c2\U000111c3\U0001193f"
    "\U00011941\U00011a3a\U00011d46\U00011f02"
)
_LINKERS: Final = frozenset("\u094d\u09cd\u0acd\u0b4d\u0c4d\u0d4d")
_CONJUNCT_BLOCKS: Final = frozenset({0x0900, 0x0980, 0x0A80, 0x0B00, 0x0C00, 0x0D00})
"""Scripts whose consonants join over a virama: Devanagari, Bengali, Gujarati, Oriya, Telugu, Malayalam."""


def _cluster_kind(sign: str) -> str:
    """What UAX 29 calls a character, as far as its rules need it."""
    code = ord(sign)
    if 0x3000 <= code <= 0x9FFF and not 0x302A <= code <= 0x302F and code not in (0x3030, 0x303D, 0x3099, 0x309A, 0x3297, 0x3299):
        return ""
    category = unicodedata.category(sign)
    if (
        category in ("Mn", "Me")
        or code in (0x200C, 0x200D)
        or 0xFF9E <= code <= 0xFF9F
        or 0x1F3FB <= code <= 0x1F3FF
        or 0xE0020 <= code <= 0xE007F
        or code in _SPACED_EXTENDERS
    ):
        return "extend"
    if sign in _PREPENDED:
        return "prepend"
    if category in ("Cc", "Zl", "Zp", "Cf", "Cs"):
        return "control"
    if category == "Mc" or code in (0x0E33, 0x0EB3):
        return "spacing"
    if 0x1F1E6 <= code <= 0x1F1FF:
        return "flag"
    if code in (0xA9, 0xAE) or (
        category in ("So", "Sk", "Cn") and (code >= 0x1F000 or 0x2100 <= code <= 0x27BF or 0x2B00 <= code <= 0x2BFF)
    ):
        return "picture"
    if code & ~0x7F in _CONJUNCT_BLOCKS and 0x15 <= code & 0x7F <= 0x39:
        return "conjunct"
    return ""


_SPACED_EXTENDERS: Final = frozenset(
    {0x09BE, 0x09D7, 0x0B3E, 0x0B57, 0x0BBE, 0x0BD7, 0x0CC2, 0x0CD5, 0x0CD6, 0x0D3E, 0x0D57, 0x0DCF, 0x0DDF, 0x1B35, 0x302E, 0x302F}
)


def _hangul_kind(code: int) -> str:
    if 0x1100 <= code <= 0x115F or 0xA960 <= code <= 0xA97C:
        return "L"
    if 0x1160 <= code <= 0x11A7 or 0xD7B0 <= code <= 0xD7C6:
        return "V"
    if 0x11A8 <= code <= 0x11FF or 0xD7CB <= code <= 0xD7FB:
        return "T"
    if 0xAC00 <= code <= 0xD7A3:
        return "LV" if (code - 0xAC00) % 28 == 0 else "LVT"
    return ""

"""How a text is read by the redactor: a copy of the same length in one alphabet, and what may stand between the signs of one number.

Rules: one character for one, so that a place in the copy is the place in the text; digits of every script, width and ring are ASCII
digits, letters are capitals, Chinese numerals are digits. This room must not judge what it reads.
"""

import re
import unicodedata
from functools import cache, lru_cache
from typing import Final

HIDDEN: Final = (
    "\\s\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0"
)
GAP: Final = rf"[{HIDDEN}.·•‧∙・_~*|/-]{{0,3}}"
"""What may stand between the digits of one number without ending it."""

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


_MAPPED: Final = (
    *range(0xA0, 0x2E00), *range(0xA600, 0xAC00), *range(0xFB00, 0x10000), *range(0x10400, 0x12000), *range(0x16A00, 0x16C00),
    *range(0x1D400, 0x1D800), *range(0x1E100, 0x1EA00), *range(0x1F100, 0x1F200), *range(0x1FB00, 0x1FC00),
)
"""Where such characters stand: to look at every character would take as long as to read some hundred texts."""


@cache  # made when the first text is read: most commands need not spend the time
def _one_for_one() -> dict[int, str]:
    """Every character that reads like one ASCII letter, digit or sign, in whatever width, script or ring."""
    table: dict[int, str] = {}
    for code in _MAPPED:
        sign = chr(code)
        digit = unicodedata.digit(sign, None)
        if digit is not None:
            table[code] = str(digit)
            continue
        if not unicodedata.decomposition(sign):
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
    return table | {ord(sign): plain for sign, plain in (_EXTRA | _NUMERALS).items()}


@cache
def _altered() -> re.Pattern[str]:
    """Every character that reads otherwise than it is written, and with them all of the planes above."""
    return re.compile(f"[{re.escape(''.join(chr(code) for code in sorted(_one_for_one()) if code < 0x10000))}\U00010000-\U0010ffff]")


_FEW: Final = 12


def copy_of(text: str) -> str:
    """The text in one alphabet, sign for sign."""
    altered = _altered().findall(text)
    if not altered:
        return text
    several = set(altered)
    if len(several) > _FEW:
        return text.translate(_one_for_one())
    table = _one_for_one()
    for sign in several:  # nothing becomes what is altered itself, so that the order is all one
        text = text.replace(sign, table.get(ord(sign), sign))
    return text


LOOSE: Final = re.compile(f"[{HIDDEN}.·•‧∙・_~*|/-]")


def squeeze(text: str) -> str:
    """The text without what may stand between the signs of one number."""
    return LOOSE.sub("", text)


def squeezed(copy: str) -> tuple[str, list[int]]:
    """The same of a copy, and the place of each sign that is left."""
    places = [at for at, sign in enumerate(copy) if not _loose(sign)]
    return "".join(copy[at] for at in places), places


@lru_cache(maxsize=8192)
def _loose(sign: str) -> bool:
    return LOOSE.match(sign) is not None


def places_of(copy: str, needle: str) -> list[tuple[int, int]]:
    """Where a needle stands in a copy."""
    found = []
    at = copy.find(needle)
    while at >= 0:
        found.append((at, at + len(needle)))
        at = copy.find(needle, at + len(needle))
    return found

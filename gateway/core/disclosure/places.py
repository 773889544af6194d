"""What is called like a person and is none: roads, towns, estates and the firms of families; asked where a name may stand.

Every quantifier is bounded. This room must not weigh a name: `people` does.
"""

from typing import Final

from gateway.core.disclosure.late import Late
from gateway.core.disclosure.lexicon import lexicon
from gateway.core.disclosure.name_signs import BEFORE, signs
from gateway.core.disclosure.surnames import COMPOUND

SHOPS: Final = frozenset("店厂馆铺坊")
"""Ends of words that are firms: 食品厂."""
NICKS: Final = frozenset("小老阿大")
FAMILIES: Final = frozenset("家氏")
"""What follows a surname in the name of a family's firm; names of persons begin so too."""
_FIRM_REACH: Final = 9
_NOT_IN_NAMES: Final = BEFORE.union("在于到去来的")
"""What no name of a firm or a place goes on with."""
_ROADS: Final = frozenset(["大街", "大道", "大桥", "大坝"])
_WAYS: Final = frozenset("路街巷乡屯村")
_OF_WAYS: Final = Late("[0-9]{1,5}(?:号|弄|附|-|$)|[东西南北中段口边附沿]|[和与至][^，。；、,;]{1,6}?[路街巷乡屯村市县区]")
_ESTATES: Final = frozenset("城苑园府湾郡庭邸居")
_PHASE: Final = Late("[一二三四五六七八九十0-9A-Z]{1,2}期(?![尘矽肺癌肿])")
_SMALLER: Final = Late("[^，。；、,;0-9]{1,5}?(?:村|屯|社区|[街路沟组])")


def in_region(text: str, start: int) -> bool:
    """Whether the name of a region ends there."""
    regions = lexicon("").regions
    return any(text[max(0, start - length) : start] in regions for length in (2, 3, 4))


def way(text: str, end: int) -> bool:
    """Whether a road or village with a surname of two characters ends there, or before the last sign: 欧阳路12号."""
    for at in (end - 1, end - 2):
        if text[at] in _WAYS and text[at - 2 : at] in COMPOUND:
            return _OF_WAYS.pattern.match(text, at + 1) is not None
    return False


def place(text: str, start: int, end: int) -> bool:
    """Whether what goes on makes this a road, an estate, or a town in an address: 新华大街, 春江花城二期, 通化市金厂镇夹皮沟村."""
    last = text[end - 1]
    if text[end] == "大" and text[end : end + 2] in _ROADS:
        return True
    if last in _ESTATES:
        return _PHASE.pattern.match(text, end) is not None
    if last not in "镇乡" or not in_region(text, start):
        return False
    smaller = _SMALLER.pattern.match(text, end)
    return smaller is not None and _NOT_IN_NAMES.isdisjoint(smaller[0])


def family_firm(text: str, start: int, end: int) -> bool:
    """Whether a firm is called after a family here: 马家烧锅酒厂, 于氏正骨医院, 老马家牛肉面."""
    house = end if text[start] in NICKS else start + 1
    if text[house] not in FAMILIES:
        return False
    firms, deeds = signs().firms, signs().deeds
    for at in range(max(house + 1, end), min(house + _FIRM_REACH, len(text))):
        if not "\u4e00" <= text[at] <= "\u9fff" or text[at] in _NOT_IN_NAMES or text[at : at + 2] in deeds:
            return False
        if text[at] in SHOPS or any(text[at : at + length] in firms for length in (2, 3, 4)):
            return True
    return False

"""What the detector of names knows of Chinese: ordinary words, single characters and given names, each with a cost.

A cost is the negative natural logarithm of a frequency, so that the costs of a reading are added; the table is `words.txt`, whose
head names its sources and licences (decision 0013). It is read once, when first asked for. This room must not judge a text.
"""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Final

from msgspec import Struct

from gateway.core.disclosure.surnames import COMMON_IN_ORDER, COMPOUND, ONLY_NAMES, SINGLE
from gateway.core.records.divisions import region_names

_OURS_COST: Final = 8.5
_REGION: Final = 11.0
RARE: Final = 15.5
"""Cost of a character that hardly stands alone."""
RARE_GIVEN: Final = 14.0
"""Cost of a character in a given name that the table does not know."""
_NEVER_ALONE: Final = 16.5
"""Cost of a surname that is no word: outside the words of the table it is somebody's name."""


class Lexicon(Struct, frozen=True):
    """The table, ready for the detector."""

    words: Mapping[str, float]
    """Of two to five characters."""
    heads: frozenset[str]
    """First two characters of the words that have more."""
    nouns: frozenset[str]
    """Words that may stand inside the name of an organisation."""
    regions: frozenset[str]
    official: frozenset[str]
    """Words of official texts: nobody is called so."""
    alone: Mapping[str, float]
    given: Mapping[str, float]
    surnames: Mapping[str, float]


def _table(name: str) -> list[str]:
    text = files("gateway.core.disclosure").joinpath(name).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


@cache
def lexicon() -> Lexicon:
    """The table as the gateway ships it."""
    words: dict[str, float] = {}
    alone: dict[str, float] = {}
    given: dict[str, float] = {}
    kinds: dict[str, list[str]] = {"n": [], "v": [], "x": []}
    for line in _table("words.txt"):
        kind, cost, rest = line.split(" ", 2)
        if kind == "s":
            alone.update(dict.fromkeys(rest, int(cost) / 2))
        elif kind == "g":
            given.update(dict.fromkeys(rest, int(cost) / 2))
        elif kind in kinds:
            several = rest.split(" ")
            kinds[kind] += several
            words.update(dict.fromkeys(several, int(cost) / 2))
    regions = {name for name in region_names() if 2 <= len(name) <= 4}
    regions |= {name[:-1] for name in regions if len(name) > 2 and name[-1] in "县市区旗"}
    for name in regions:
        words[name] = min(words.get(name, _REGION), _REGION)
    ours = [word for line in _table("official.txt") for word in line.split()]
    for word in ours:
        words[word] = min(words.get(word, _OURS_COST), _OURS_COST)
    alone.update(dict.fromkeys(ONLY_NAMES, _NEVER_ALONE))
    surnames = dict.fromkeys(SINGLE, 8.5)
    for rank, sign in enumerate(COMMON_IN_ORDER):
        surnames[sign] = 2.6 if rank < 4 else min(6.5, 2.6 + rank / 20)
    surnames.update(dict.fromkeys(_SELDOM, 12.0))
    surnames.update(dict.fromkeys(COMPOUND, 7.5) | {"南": 9.5} | dict.fromkeys(_MORE_COMPOUND, 8.0))
    surnames.pop("第五")
    surnames.update(dict.fromkeys(_COMPOUND_WORDS, 12.0))
    given.update(dict.fromkeys(_INVENTED, 10.0))
    given.update(dict.fromkeys(_NUMERALS, RARE))
    for compound in COMPOUND.difference(_COMPOUND_WORDS):
        words.pop(compound, None)
    return Lexicon(
        words=words,
        heads=frozenset([word[:2] for word in words if len(word) > 2]),
        nouns=frozenset((*kinds["n"], *regions, *ours)),
        regions=frozenset(regions),
        official=frozenset(ours),
        alone=alone,
        given=given,
        surnames=surnames,
    )


_SELDOM: Final = (
    "来言火院展税次刀舍户母寻揭油犹买卯妥底拜喇摆闪太由信位操巨逢门原兰初侍候海植战迟隋边都国查后红须养空师利能通居步和时应单别全计印者有支包种"
    "主充求储经解相从公贝全明水车束"
)
"""Surnames of very few, that begin very many words."""
_MORE_COMPOUND: Final = ("独孤", "纳兰", "完颜", "耶律", "那拉", "东野", "达奚", "叶赫")
_COMPOUND_WORDS: Final = ("东方", "南门", "东门", "西门", "百里", "东里", "子车", "单于", "闻人", "公西", "宗政", "微生")
_INVENTED: Final = "甲乙丙丁戊己庚"
"""What the persons of examples are called."""
_NUMERALS: Final = "二三四五六七八九十百千万元零"

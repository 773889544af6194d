"""What the detector of names knows of Chinese: ordinary words, single characters and given names, each with a cost.

A cost is the negative natural logarithm of a frequency, so that the costs of a reading are added; the table is `words.txt`, whose
head names its sources and licences (decision 0013). It is read once, when first asked for, and of its hundred thousand words only
those are taken in that begin with a character that was met in a text. This room must not judge a text.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Final

from msgspec import Struct

from gateway.core.disclosure.surnames import COMMON_IN_ORDER, COMPOUND, ONLY_NAMES, SINGLE
from gateway.core.records.divisions import region_names

LONGEST: Final = 5
"""Characters of a word that is looked for; longer ones are found by their parts."""
_OURS_COST: Final = 8.5
_REGION: Final = 11.0
RARE: Final = 15.5
"""Cost of a character that hardly stands alone."""
RARE_GIVEN: Final = 14.0
"""Cost of a character in a given name that the table does not know."""
_NEVER_ALONE: Final = 16.5
"""Cost of a surname that is no word: outside the words of the table it is somebody's name; also of what is in no given name."""


class Lexicon(Struct, frozen=True):
    """The table, ready for the detector; `words`, `heads` and `nouns` grow as `lexicon` is asked."""

    words: dict[str, float]
    """Of two to five characters."""
    heads: dict[str, str]
    """First two characters of the words that have more, and each third one."""
    nouns: set[str]
    """Words that may stand inside the name of an organisation."""
    regions: frozenset[str]
    official: frozenset[str]
    """Words of official texts: nobody is called so."""
    alone: Mapping[str, float]
    given: Mapping[str, float]
    surnames: Mapping[str, float]
    compounds: frozenset[str]
    """Surnames of two characters."""
    unread: dict[str, str]
    """Of characters that were not met yet, the lines of their words as they stand in the table."""


def _table(name: str) -> list[str]:
    text = files("gateway.core.disclosure").joinpath(name).read_bytes().decode()
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def lexicon(text: Sequence[str]) -> Lexicon:
    """The table as the gateway ships it, with every word that begins with a character of this text."""
    table = _shipped()
    if not table.unread.keys().isdisjoint(text):
        for sign in set(text):
            line = table.unread.get(sign)
            if line is not None:
                _take_in(table, sign, line)
    return table


def _take_in(table: Lexicon, sign: str, line: str) -> None:
    """The words that begin with a character; its line goes when all of them are there, for several threads may read texts."""
    cost, noun = 0.0, False
    for part in line.split(" ")[1:]:
        if part[0] in "nvx":
            cost, noun = int(part[1:]) / 2, part[0] == "n"
            continue
        word = sign + part
        if word not in _NO_WORDS:
            table.words[word] = min(cost, table.words.get(word, cost))
        if len(part) > 1:
            _head(table.heads, word)
        if noun:
            table.nouns.add(word)
    table.unread.pop(sign, None)


def _head(heads: dict[str, str], word: str) -> None:
    known = heads.get(word[:2], "")
    if word[2] not in known:
        heads[word[:2]] = known + word[2]


@cache
def _shipped() -> Lexicon:
    alone: dict[str, float] = {}
    given: dict[str, float] = {}
    unread: dict[str, str] = {}
    for line in _table("words.txt"):
        if line[0] == "s" or line[0] == "g":
            _, cost, signs = line.split(" ")
            (alone if line[0] == "s" else given).update(dict.fromkeys(signs, int(cost) / 2))
        else:
            unread[line[0]] = line
    regions = {name for name in region_names() if 2 <= len(name) <= 4}
    regions |= {name[:-1] for name in regions if len(name) > 2 and name[-1] in "县市区旗"}
    ours = [word for line in _table("official.txt") for word in line.split()]
    words = dict.fromkeys(regions, _REGION) | dict.fromkeys(ours, _OURS_COST)
    alone.update(dict.fromkeys(ONLY_NAMES, _NEVER_ALONE))
    surnames = dict.fromkeys(SINGLE.union(_MORE_SINGLE), 8.5)
    for rank, sign in enumerate(COMMON_IN_ORDER):
        surnames[sign] = 2.6 if rank < 4 else min(6.5, 2.6 + rank / 20)
    surnames.update(dict.fromkeys(_SELDOM, 12.0))
    surnames.update(dict.fromkeys(COMPOUND, 7.5) | {"南": 9.5} | dict.fromkeys(_MORE_COMPOUND, 8.0))
    surnames.pop("第五")
    surnames.update(dict.fromkeys(_COMPOUND_WORDS, 12.0))
    given.update(dict.fromkeys(_INVENTED, 10.0))
    given.update(dict.fromkeys(_NUMERALS, RARE))
    given.update(dict.fromkeys(_NEVER_GIVEN, _NEVER_ALONE))
    heads: dict[str, str] = {}
    for word in words:
        if 2 < len(word) <= LONGEST:
            _head(heads, word)
    return Lexicon(
        words={word: cost for word, cost in words.items() if word not in _NO_WORDS},
        heads=heads,
        nouns={*regions, *ours},
        regions=frozenset(regions),
        official=frozenset(ours),
        alone=alone,
        given=given,
        surnames=surnames,
        compounds=frozenset(surname for surname in surnames if len(surname) > 1),
        unread=unread,
    )


_SELDOM: Final = (
    "来言火院展税次刀舍户母寻揭油犹买卯妥底拜喇摆闪太由信位操巨逢门原兰初侍候海植战迟隋边都国查后红须养空师利能通居步和时应单别全计印者有支包种"
    "航年主充求储经解相从公贝全明水车束衣麦么呼敬渠竹哈钦旷粘楼练商鲜官盘普奉鹿随黑"
)
"""Surnames of very few, that begin very many words."""
_MORE_SINGLE: Final = (
    "丛苌缑郄郤佴谌禚笪谯撖亓郇郐鄢鄯雒霰颉蹇蔄虢遆钊镡骈骞芦芈茆菅萨仵佐俎俸冮况凃呙咎妫姒嬴尧岐弋忻恽斛栗牟漆琚眭睢畅畲肇赫邝闾靖迮"
    "汝沐綦佶甯皋盍缐舜莒裔鬲麹侴仡髙辜宛粟庹杞翦杲"
)
"""Surnames that masks need not know, for they show less of a name whose surname they do not know."""
_FROM_JAPAN: Final = "山本佐藤铃木渡边伊藤加藤吉田松本井上斋藤藤原冈本藤田坂本远藤藤井近藤"
_MORE_COMPOUND: Final = (
    *("独孤", "纳兰", "完颜", "耶律", "那拉", "东野", "达奚", "叶赫"),
    *(_FROM_JAPAN[at : at + 2] for at in range(0, len(_FROM_JAPAN), 2)),
)
_COMPOUND_WORDS: Final = ("东方", "南门", "东门", "西门", "百里", "东里", "子车", "单于", "闻人", "公西", "宗政", "微生")
_NO_WORDS: Final = COMPOUND.difference(_COMPOUND_WORDS)
_INVENTED: Final = "甲乙丙丁戊己庚"
"""What the persons of examples are called."""
_NEVER_GIVEN: Final = (
    "的了着过们吗呢吧啦货料费款率额账罚税罪违禁拆欠债租押赔退扣缴付贷罐桶箱袋瓶盒筐篓桩钉锅碗盘勺桌椅床柜厕厨粪尿渣垢污脏腐烂霉锈漏毁"
    "病癌疫症痛疤肿胀肠肝肾肺胃脑店铺厂馆"
)
"""What nobody is called by: words of function, goods, money, dirt and illness."""
_NUMERALS: Final = "二三四五六七八九十百千万元零"

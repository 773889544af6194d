"""Signs beside a name: who is about to be named, what only somebody does, and what makes a name that of a place or a firm.

Words stand in `signs.txt`, single characters here; what they weigh stands in `people`. This room must not read a text.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from typing import Final

from msgspec import Struct


class Signs(Struct, frozen=True):
    """The words of `signs.txt`, by kind."""

    cues: frozenset[str]
    cue_lengths: Mapping[str, tuple[int, ...]]
    """Last character → how long the cues are that end with it."""
    preludes: frozenset[str]
    prelude_lengths: Mapping[str, tuple[int, ...]]
    """The same of preludes of several characters, the longest first."""
    deeds: frozenset[str]
    titles: frozenset[str]
    heads: frozenset[str]
    """First characters of deeds and titles."""
    firms: frozenset[str]
    firms_alone: frozenset[str]
    """Those that are a firm also right behind a name, without any other word between."""
    forms: frozenset[str]


@cache
def signs() -> Signs:
    """The signs as the gateway ships them."""
    kinds: dict[str, set[str]] = {kind: set() for kind in ("cue", "prelude", "deed", "title", "firm", "form")}
    for line in files("gateway.core.disclosure").joinpath("signs.txt").read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            kind, *words = line.split(" ")
            kinds[kind].update(words)
    firms = frozenset(kinds["firm"])
    return Signs(
        cues=frozenset(kinds["cue"]),
        cue_lengths=_lengths(kinds["cue"], range(1, 7)),
        preludes=frozenset(kinds["prelude"]) | frozenset(BEFORE),
        prelude_lengths=_lengths(kinds["prelude"], range(2, 5)),
        deeds=frozenset(kinds["deed"]),
        titles=frozenset(kinds["title"]),
        heads=frozenset(word[0] for word in kinds["deed"] | kinds["title"]),
        firms=firms,
        firms_alone=firms.difference(_NEVER_ALONE),
        forms=frozenset(kinds["form"]),
    )


def _lengths(words: Iterable[str], among: range) -> dict[str, tuple[int, ...]]:
    """Last character → the lengths, longest first, of the words that end with it."""
    found: dict[str, set[int]] = defaultdict(set)
    for word in words:
        if len(word) in among:
            found[word[-1]].add(len(word))
    return {end: tuple(sorted(lengths, reverse=True)) for end, lengths in found.items()}


_NEVER_ALONE: Final = ("局", "厅", "所", "院", "家", "中心", "学校", "医院")
BEFORE: Final = frozenset("由经与和及向被将给让对找叫请问为把跟同替随据因自从使令凭是系即有而但后并又遂原该某")
"""Single characters before somebody."""
PLACE_ENDS: Final = frozenset(
    "村屯镇乡路街道区县市省巷弄胡沟岭桥港湾庄堡店铺坊楼苑园府寨窑窝甸沱洼坨河江湖岛峡矿站线堤坝闸坪坡峪坳塬垭滩渡"
)
"""After these a name is that of a place, unless the character belongs to the name itself."""
MARKS: Final = frozenset(":：为是系叫即名“\"'‘(（)）][【〔 \u3000-—")
"""What may stand between a cue and the name."""
TRANSLITERATED: Final = (
    "阿艾买提木尔江古丽娜依玛吐逊热合曼孜帕扎西卓才旦顿珠次仁央巴特格其乌兰图雅斯琴娃苏日那仓布达力克肉汗尼沙亚库麦海米迪萨伊不都拉多吉"
    "桑平措拥嘎降益宝音钦宁卡德努旺堆"
)
"""Characters with which names of other languages are written."""

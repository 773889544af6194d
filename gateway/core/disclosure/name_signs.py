"""Signs beside a name: who is about to be named, what only somebody does, and what makes a name that of a place or a firm.

Words stand in `signs.txt`, single characters here; what they weigh stands in `people`. This room must not read a text.
"""

from functools import cache
from importlib.resources import files
from typing import Final

from msgspec import Struct


class Signs(Struct, frozen=True):
    """The words of `signs.txt`, by kind."""

    cues: frozenset[str]
    cue_ends: frozenset[str]
    """The characters that these end with."""
    preludes: frozenset[str]
    deeds: frozenset[str]
    titles: frozenset[str]
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
        cue_ends=frozenset(cue[-1] for cue in kinds["cue"]),
        preludes=frozenset(kinds["prelude"]) | frozenset(BEFORE),
        deeds=frozenset(kinds["deed"]),
        titles=frozenset(kinds["title"]),
        firms=firms,
        firms_alone=firms.difference(_NEVER_ALONE),
        forms=frozenset(kinds["form"]),
    )


_NEVER_ALONE: Final = ("局", "厅", "所", "院", "家", "中心", "学校", "医院")
BEFORE: Final = frozenset("由经与和及向被将给让对找叫请问为把跟同替随据因自从使令凭是系即有而但后并又遂原该某")
"""Single characters before somebody."""
PLACE_ENDS: Final = frozenset("村屯镇乡路街道区县市省巷弄胡沟岭桥港湾庄堡店铺坊楼苑园府寨窑窝甸沱洼坨河江湖岛峡矿站线堤坝闸")
"""After these a name is that of a place, unless the character belongs to the name itself."""
MARKS: Final = frozenset(":：为是系叫即名“\"'‘(（)）][【〔 \u3000-—")
"""What may stand between a cue and the name."""
TRANSLITERATED: Final = (
    "阿艾买提木尔江古丽娜依玛吐逊热合曼孜帕扎西卓才旦顿珠次仁央巴特格其乌兰图雅斯琴娃苏日那仓布达力克肉汗尼沙亚库麦海米迪萨伊不都拉多吉"
    "桑平措拥嘎降益宝音钦宁卡德努旺堆"
)
"""Characters with which names of other languages are written."""

"""Who is named in a text, also where no cue stands beside the name.

Rules: what a stretch of Chinese may hold says `stretches`, by how much dearer words are than a name; cues, deeds, titles and the ends of
a clause make a name likelier, the rest of a place's or a firm's name makes it impossible. Beside a name in an enumeration less is
needed, and what is a name once is one wherever it stands. Every step is linear. This room must not replace anything.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from operator import add
from typing import Final, Literal, NamedTuple

from gateway.core.disclosure.beside import HANDS, personal, role_ends
from gateway.core.disclosure.hinted import wordly
from gateway.core.disclosure.late import Late
from gateway.core.disclosure.lexicon import RARE, lexicon
from gateway.core.disclosure.name_signs import BEFORE, MARKS, PLACE_ENDS, signs
from gateway.core.disclosure.places import FAMILIES, SHOPS, family_firm, in_region, place, way
from gateway.core.disclosure.slots import oddly
from gateway.core.disclosure.stretches import NOTHING, Known, known, remembered


class Person(NamedTuple):
    """A place where somebody seems to be named."""

    start: int
    end: int
    weight: float
    """How much likelier than ordinary words; it counts from zero on."""
    sure: bool
    """Behind a cue, and certain in where it ends."""


_STRETCH: Final = re.compile("[\u3400-\u9fff][\u3400-\u9fff]+")
_WORDLIKE: Final = 7.8
_CUE: Final = 7.5
_CUE_OF_WORD: Final = 5.5
"""What a cue adds, and what where the surname is a word too: 经营者向…, 消费者付…"""
_NEIGHBOUR: Final = -5.0
"""What is enough for somebody who stands in a row with others."""
_TITLED: Final = 4.5
_DONE: Final = 2.5
Behind = Literal["road", "hamlet", "each", "kin", "place", "house", "firm", "noun", "deed", "nothing"]
BEHIND: Final[Mapping[Behind, float]] = {
    "road": -9.0, "hamlet": -9.0, "each": -20.0, "kin": -12.0, "place": -9.0, "house": -12.0, "firm": -9.0, "noun": -5.0, "deed": 0.7,
    "nothing": 0.0,
}  # fmt: skip
"""What is added by what stands behind a name and is no sign of a person alone: `deed` is one of one character."""
_MOST_BEHIND: Final = max(BEHIND.values())
"""It is not asked what stands behind a name that even this does not make count among neighbours."""
_PERSON: Final = 9.5
"""What is added by a title, by a deed, and by what follows nobody but a person."""
_ROLE: Final = 4.0
"""What is added by a word that is somebody's role by its ending alone: 保管人, 办税人员, 获奖者."""
_ALONE_BEHIND: Final = 6.0
"""What is added where the name is all that stands behind a cue and its colon."""
_HANDED: Final = 6.0
"""What is added where a preposition stands before the name and a deed behind it: 由…代为缴纳, 向…出售, 据…交代."""
_ASKED_OF: Final = 4.0
"""What is added behind what is done to nobody but a person."""
_WORD_DOES: Final = 14.0
"""What is added to a word that may be a name and does something."""
_BY: Final = frozenset("由对向让令给经据将被托把")
_TO: Final = frozenset("向于由经从和")
"""Surnames that are prepositions where an adverb stands before them: 已向住建部门移交."""
_WHEN: Final = frozenset("已未应须需可均曾再并又也仍拟")
_WHICH: Final = frozenset("无未有各其该本不全多每相")
"""What begins a noun behind a preposition."""
_TAILS: Final = frozenset("周费")
"""Surnames with which nouns end: 宣传周, 版权费."""
_KIN: Final = frozenset("头妈婶嫂姐哥爷娘叔姨伯")
_GOODS: Final = -25.0
"""What is added to a name between quotation marks that stands on goods."""
_SURE: Final = 5.0
_PIECE: Final = 500
"""A longer stretch without any mark is read in pieces that overlap."""
_LONGEST_PIECE: Final = _PIECE + 4
_MANY: Final = 2000
"""A text that may name more is held as a whole, and not read to its end."""
_HAMLETS: Final = frozenset("村屯乡巷街周")
"""Behind a word of two characters hardly ever the end of a name: 黎明村, 常乐巷, 宣传周."""
_ASKED: Final = frozenset(
    ["询问", "传唤", "约谈", "伙同", "雇佣", "雇用", "殴打", "拖欠", "冒用", "盗用", "顶替", "搭载", "抓获", "授予", "欠付"]
)
_TELLS: Final = frozenset(":：为是系")
_BRAND: Final = 8.2
"""What a character costs at least that may be of a brand, and is no word beside a name."""
_LISTED: Final = Late("(?:[、,，;； ]|以及|和|及|与|跟|同){1,2}")
_AGED: Final = Late(
    "[，,、（( ]{1,2}(?:性别)?(?:[男女]|[汉满回壮藏]族|朝鲜族|蒙古族|现年|年龄|[0-9]{1,3}周?岁|生于|身份证|公民身份"
    "|[0-9]{4}年[^，,]{0,8}(?:出生|生))"
)
_NAMED_GOODS: Final = Late(
    '[”"』」】]{1,2}(?:牌|商标|字样|品牌|系列|注册商标|标识|文字|包装|图案|产品|商品|[\u4e00-\u9fff]{0,4}[茶酒饼糖醋酱油面粉料鞋衣帽包刀剪服裤袜表饰品药膏片丸]|吊牌|标签|等(?:品牌|商品|产品|商标))'
)
_OF_GOODS: Final = Late(
    "[酒茶饼糖醋酱油面粉料鞋衣帽服裤袜药膏片丸肉奶]?(?:外?包装|标[签识]|抽检|检出|菌落|总酸|含量|不合格|不符合|商标|系列(?!案))"
)
"""What is said of nothing but goods: 孔府家宴酒包装."""
_GOODS_BEFORE: Final = Late('(?:牌子|品牌|商标|招牌|店招|牌匾|型号)(?:名称)?(?:均|都)?[为是系叫:：]{0,2}[“"‘「『【]$')
_QUOTES: Final = frozenset('“"‘「『【')
_QUOTED: Final = frozenset('”"’」』】')
_ENTRY: Final = Late("[，。；、,;）)\\n]|$")
_DATED: Final = Late("[于自](?:[0-9二〇当次同]|上午|下午|凌晨)")
_DATED_DEED: Final = Late("于[0-9二〇当次同][^，。；]{1,12}[日月时许午天](?:向|申请|提出|到|来|签|将|驾|因|与|被|从|擅自|酒后)")
_NUMBERED: Final = Late(
    "[\u3400-\u9fff]{1,10}(?:[〔【\\[](?:19|20)[0-9]{2}年?[〕】\\]]|[(（](?:19|20)[0-9]{2}[)）](?=第?[0-9]))"
    "|[\u3400-\u9fff]{1,7}[^签文数汉写名]字第?[0-9A-Z]{3}"
    "|[(（](?:19|20)[0-9]{2}[)）][\u3400-\u9fff]{1,2}[0-9]{2,4}[行民刑执破财申初终]"
)
_NUMBERLIKE: Final = re.compile("[〔【\\[（(字]")
"""Without one of these no document is numbered."""
_FORM: Final = re.compile(
    "有限公司|有限责任公司|股份公司|集团公司|分公司|支公司|合作社|支行|分行|营业部|营业厅|营业所|支局|分理处|经销处|药房"
)
_FIRMLIKE: Final = re.compile(
    "〔|【|\\[|（|\\(|字|限公司|限责任公司|股份公司|集团公司|分公司|支公司|合作社|支行|分行|营业|支局|分理处|经销处|药房"
)
"""Without one of these neither is."""
_TRADES: Final = frozenset(
    [
        "加工",
        "生产",
        "销售",
        "投资",
        "经营",
        "运输",
        "制作",
        "种植",
        "饲养",
        "屠宰",
        "租赁",
        "承包",
        "治疗",
        "捕捞",
        "通信",
        "手机",
        "贸易",
        "组织",
    ]
)
"""What somebody may do, and a firm may be called after."""
_STOP: Final = Late("[^\u3400-\u9fff()（）]|[的在是系为于与对由被将把向从给让其未已及或至]")
_FIRM_REACH: Final = 28


def people(text: str, public: bytearray) -> list[Person]:
    """Everybody who seems to be named, in order, none overlapping another; `public` covers names of organisations and of laws."""
    firms = list(_firms(text)) if _FIRMLIKE.search(text) is not None else []
    if firms:
        public = bytearray(public) if public else bytearray(len(text))
        for start, end in firms:
            public[start:end] = b"\x01" * (end - start)
    near: list[Person] = []
    looked_at = 0
    for stretch in _STRETCH.finditer(text):
        run = stretch[0]
        if remembered(hash(run)) is NOTHING:
            continue
        for at in range(0, len(run) - 1, _PIECE):
            if public and all(public[stretch.start() + at : min(stretch.start() + at + _LONGEST_PIECE, stretch.end())]):
                continue
            piece = run[at : at + _LONGEST_PIECE]
            held = known(piece)
            if held is not NOTHING:
                start = stretch.start() + at
                looked_at += _Beside(text, start, start + len(piece)).persons(held, public, near)
                if looked_at > _MANY:
                    return _settled(text, [*near, Person(start + len(piece), len(text), 0.0, False)])
    return _settled(text, near) if near else near


def _firms(text: str) -> Iterator[tuple[int, int]]:
    """Where firms are named, from the name of their region to their legal form, and where document numbers stand."""
    if _NUMBERLIKE.search(text) is not None:
        for found in _NUMBERED.finditer(text):
            yield found.span()
    deeds, regions, begin = signs().deeds, lexicon("").regions, _region_heads()
    last = 0
    for form in _FORM.finditer(text):
        low = max(last, form.start() - _FIRM_REACH)
        for stop in _STOP.pattern.finditer(text, low, form.start()):
            low = stop.end()
        last = form.end()
        first, said = low, text[low : form.start()]
        pairs = [*map(add, said, said[1:])]
        for at, pair in enumerate(pairs, first):  # what somebody does is no part of a firm's name
            if pair in deeds and pair not in _TRADES:
                low = at + 2
        for at in range(low, form.start() - 1):
            if pairs[at - first] in begin and any(text[at : at + length] in regions for length in (2, 3, 4)):
                yield at, form.end()
                break


@cache
def _region_heads() -> frozenset[str]:
    return frozenset(name[:2] for name in lexicon("").regions)


def _settled(text: str, near: Sequence[Person]) -> list[Person]:
    """Those that count, the likeliest first where two overlap; then their neighbours in a row."""
    likeliest = [person for person in near if person.weight >= 0]
    if not likeliest:
        return []
    taken = bytearray(len(text) + 1)
    chosen: list[Person] = []
    for person in sorted(likeliest, key=lambda each: (-each.weight, each.start)):
        if not any(taken[person.start : person.end]):
            taken[person.start : person.end] = b"\x01" * (person.end - person.start)
            chosen.append(person)
    if chosen and len(chosen) < len(near):
        beside = [person for person in near if _NEIGHBOUR <= person.weight < 0 and not any(taken[person.start : person.end])]
        starts = {person.start for person in chosen}
        ends = {person.end for person in chosen}
        for person in sorted(beside, key=lambda each: each.start):
            if any(taken[person.start : person.end]) or not _in_a_row(text, person, starts, ends):
                continue
            taken[person.start : person.end] = b"\x01" * (person.end - person.start)
            chosen.append(person._replace(sure=False))
            starts.add(person.start)
            ends.add(person.end)
    return sorted(chosen)


def _in_a_row(text: str, person: Person, starts: set[int], ends: set[int]) -> bool:
    """Whether nothing but a comma or an "and" stands between this and somebody who counts."""
    after = _LISTED.pattern.match(text, person.end)
    if after is not None and after.end() in starts:
        return True
    return any(person.start - size in ends and _LISTED.pattern.fullmatch(text, person.start - size, person.start) for size in (1, 2))


class _Beside:
    """One stretch of Chinese, and what stands around the names in it."""

    __slots__ = ("_end", "_signs", "_start", "_table", "_text")

    def __init__(self, text: str, start: int, end: int) -> None:
        self._text, self._start, self._end = text, start, end
        self._signs = signs()
        self._table = lexicon("")

    def persons(self, held: Known, public: bytearray, near: list[Person]) -> int:
        """Adds whoever of those that it may hold counts, beside others at least, and tells how many were looked at."""
        looked_at = len(held.foreign)
        for at, names in held.names:
            if not (public and public[self._start + at]):
                looked_at += len(names)
                near += self._weighed(names)
        for start, end, likely in held.foreign:
            weight, cued = self._around(start, end, likely, self._lead(start))
            near.append(Person(self._start + start, self._start + end, weight, cued and self._start + end == self._end))
        if held.strange:
            for start, end in oddly(self._text, self._start, self._end):
                looked_at += 1
                near.append(Person(start, end, 0.0, False))
        return looked_at

    def _weighed(self, best: list[tuple[int, int, float]]) -> Iterator[Person]:
        """Of the names that may begin at one place those that count with what stands around them."""
        weighed = []
        first = best[0][0]
        lead = self._lead(first)
        for start, end, likely in best:
            weight, cued = self._around(start, end, likely, lead if start == first else self._lead(start))
            weighed.append((start, end, weight, cued))
        for start, end, weight, cued in weighed:
            if weight < _NEIGHBOUR:
                continue
            sure = cued and weight >= _SURE
            if sure:
                rival = max((other for first, last, other, _ in weighed if (first, last) != (start, end)), default=-99.0)
                ends = self._start + end
                clear = ends >= len(self._text) or not "\u3400" <= self._text[ends] <= "\u9fff"
                sure = clear or (weight - rival >= _SURE and (end - start > 2 or self._ends(ends)))
            yield Person(self._start + start, self._start + end, weight, sure)

    def _ends(self, end: int) -> bool:
        """Whether what goes on shows that a name of two characters has no more of them: 王强签字, not 褚老疙瘩."""
        known = self._signs
        return any((word := self._text[end : end + size]) in known.deeds or word in known.titles for size in (1, 2, 3))

    # --- what stands around --------------------------------------------------------------------------------------------

    def _lead(self, start: int) -> tuple[bool, float]:
        """Whether a cue stands before a name that begins there, and what is added by what does."""
        start += self._start
        if not self._cued(start):
            return False, self._before(start)
        if self._cut(start):
            return False, _ROLE
        return True, _CUE if self._table.alone.get(self._text[start], RARE) > _WORDLIKE else _CUE_OF_WORD

    def _around(self, start: int, end: int, likely: float, lead: tuple[bool, float]) -> tuple[float, bool]:
        """How likely it is with what stands around it, and whether a cue stands before it."""
        text = self._text
        start, end = self._start + start, self._start + end
        cued, weight = lead[0], likely + lead[1]
        hopeless = not cued and weight + _MOST_BEHIND < _NEIGHBOUR and not role_ends(text, start)  # a role may make a word a name
        after = self._after(start, end, hopeless=hopeless)
        if cued and text[start : start + 2] in self._signs.deeds and (end - start == 2 or text[end - 1 : end + 1] in self._table.words):
            after -= 9.0  # 受托人[代为]陈述
        if cued and after < _DONE and text[start] in BEFORE and self._governs(start, end):
            after -= 9.0
        if cued and text[start] in BEFORE:
            role = text[start + 1 : end]
            if role in self._signs.cues and role not in self._signs.titles:  # 当事人向村民…
                after -= 9.0
        if not cued and after < _DONE and way(text, end):
            after -= 20.0
        if weight + after < _SURE and after >= 0.5 and self._does(start, end, after, cued=cued):
            return weight + after + _WORD_DOES, False
        if after >= _DONE and text[start - 1 : start] in HANDS and text[start - 2 : start] != "未经" and end + 1 < len(text):
            after += _HANDED
        elif self._entry(start, end):
            after += _ALONE_BEHIND
        return weight + after, cued

    def _governs(self, start: int, end: int) -> bool:
        """Whether a preposition stands here, before a word that ends there or goes on: 被告[经传票]传唤, 经营者[向无证]单位提供."""
        text, words = self._text, self._table.words
        return (
            text[start + 1] in _WHICH
            or text[end - 1 : end + 1] in words
            or text[start + 1 : end] in words
            or text[end : end + 2] in self._table.nouns
        )

    def _does(self, start: int, end: int, after: float, *, cued: bool) -> bool:
        """Whether an ordinary word that may be a name does something, or is all that is said of a role: 员工云帆未…, 店长为谷雨."""
        text, word = self._text, self._text[start:end]
        if end - start != 2 or word not in self._table.words or word in self._table.official or word in self._signs.deeds:
            return False
        if not wordly(word) or any(text[end : end + length] in self._signs.cues for length in (2, 3, 4, 5)):  # 主要[负责人]
            return False
        if cued or role_ends(text, start):
            return after > 0.5 or _ENTRY.pattern.match(text, end) is not None
        if after < _DONE or text[end : end + 2] in _TRADES:  # 种子经营, 冷荤制作
            return False
        before = text[start - 1 : start]
        return before in _BY or not ("\u3400" <= before <= "\u9fff" or before.isdigit())

    def _entry(self, start: int, end: int) -> bool:
        """Whether this is all that a form says behind a role and its colon."""
        text = self._text
        if text[start - 1 : start] not in _TELLS or _ENTRY.pattern.match(text, end) is None:
            return False
        return role_ends(text, start - 1)

    def _cued(self, start: int) -> bool:
        text, cues, lengths = self._text, self._signs.cues, self._signs.cue_lengths
        for stop in range(start, max(0, start - 5), -1):
            before = text[stop - 1]
            for length in lengths.get(before, ()):
                if text[max(0, stop - length) : stop] in cues:
                    return True
            if before not in MARKS:
                return False
        return False

    def _cut(self, start: int) -> bool:
        """Whether words reach from both sides into the two signs before, so that they may be no cue: 养[护工]程."""
        text, words = self._text, self._table.words
        if start - 3 < self._start or text[start - 1] in MARKS:
            return False
        return text[start - 1 : start + 1] in words and text[start - 3 : start - 1] in words

    def _before(self, start: int) -> float:
        text, regions = self._text, self._table.regions
        if text[start : start + 2] in regions or (start and text[start - 1 : start + 1] in regions):
            return -3.0
        if start == 0 or not "\u4e00" <= (sign := text[start - 1]) <= "\u9fff":
            return 1.0
        if text[start] in _TO and sign in _WHEN:
            return -6.0
        preludes = self._signs.preludes
        for length in self._signs.prelude_lengths.get(sign, ()):
            before = text[max(0, start - length) : start]
            if before in preludes:
                return _ASKED_OF if before in _ASKED else 2.0
        if role_ends(text, start):
            return _ROLE
        if text[start] in _TAILS and text[start - 2 : start] in self._table.words:
            return -9.0
        if sign in preludes:
            return 1.3 if start > 1 else 2.0
        return 0.0

    def _after(self, start: int, end: int, *, hopeless: bool) -> float:
        """What is added by what follows; `hopeless`: unless a person follows nobody counts here, and it is not asked what else does."""
        text = self._text
        if end >= len(text):
            return 0.5
        following = text[end]
        if text[start - 1 : start] in _QUOTES:
            closed = next((at for at in range(end, min(len(text), end + 5)) if text[at] in _QUOTED), end)
            if _NAMED_GOODS.pattern.match(text, closed) or _GOODS_BEFORE.pattern.search(text, max(0, start - 9), start):
                return _GOODS
        if not "\u4e00" <= following <= "\u9fff":
            if _AGED.pattern.match(text, end):
                return 5.0
            if _NAMED_GOODS.pattern.match(text, end):
                return _GOODS
            return _PERSON if personal(text, end) else 0.5
        if following in "于自" and _DATED.pattern.match(text, end):
            if _DATED_DEED.pattern.match(text, end):
                return _PERSON
            return 0.5 if text[start:end] in self._table.words else 3.5  # 成立于2016年
        if personal(text, end):
            return _PERSON
        for length in (3, 2) if following in self._signs.heads else ():
            word = text[end : end + length]
            if word in self._signs.titles:
                return _TITLED
            if word in self._signs.deeds:
                return _DONE
        return 0.0 if hopeless else BEHIND[self._behind(start, end)]

    def _behind(self, start: int, end: int) -> Behind:
        """What stands behind a name that is no sign of a person alone."""
        text, following = self._text, self._text[end]
        if end - start == 3 and text[end - 1] in "路街" and text[end : end + 2] in self._table.nouns:  # 向海路雨水管网
            return "road"
        if end - start == 3 and text[end - 1] in _HAMLETS and text[start : end - 1] in self._table.words:
            return "hamlet"
        ending = text[end - 2 : end] if text[end - 1] in PLACE_ENDS else text[end - 1] + following
        if ending[0] in "家各" and ending[1] in PLACE_ENDS:
            return "each"
        if following in _KIN and self._firm(end + 1):  # 王大妈水饺
            return "kin"
        if following in PLACE_ENDS or place(text, start, end):
            return "place"
        if self._firm(end) or ((text[start + 1] in FAMILIES or following in FAMILIES) and family_firm(text, start, end)):
            return "house" if text[start + 1] == "氏" or in_region(text, start) else "firm"
        if text[end - 1] not in self._table.given and text[end : end + 2] in self._table.nouns:  # 高秆作物
            return "noun"
        return "deed" if following in self._signs.deeds else "nothing"

    def _firm(self, at: int) -> bool:
        """Whether what follows makes this the name of a firm: the rest of its brand, goods and trades, up to what firms are called."""
        text, table, known, last = self._text, self._table, self._signs, self._end
        first = at
        stray = 0
        while at < last and at - first <= 16:
            for length in (6, 5, 4, 3, 2, 1):
                if at + length <= last and text[at : at + length] in (known.firms_alone if at == first else known.firms):
                    return not stray or text[at : at + length] in known.forms
            for length in (4, 3, 2):
                if at + length <= last and text[at : at + length] in table.nouns:
                    at += length
                    if text[at - 1] in SHOPS:
                        return not stray or text[at - 1] in known.forms
                    break
            else:
                if at > first and _OF_GOODS.pattern.match(text, at):
                    return True
                if (
                    stray == 2
                    or at - first > 1
                    or table.alone.get(text[at], RARE) < _BRAND
                    or text[at] in known.deeds
                    or text[at] in BEFORE
                ):
                    return False
                stray += 1
                at += 1
        return False

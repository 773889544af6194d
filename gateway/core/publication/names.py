"""Names of organisations as people search for them: normalised, split, cut into tokens (api.md §7.11, §8).

Rules, in this order:
    1. normalise (`cx-name/1`): NFKC, case fold, one-to-one variant table, NFKC, then only letters, marks and numbers stay.
    2. split: region · brand 字号 · trade 行业 · form 组织形式, longest first; core = brand + trade.
    3. units are single CJK characters or whole Latin/digit runs; tokens are adjacent pairs of units and the runs, and beside
       them marked tokens: how name and core begin, first character of the brand, each character of the core, pinyin and initials of
       brand and core, and the first letters of that pinyin.
    4. a name has a place among all names: short cores first, then short names, active before cancelled, then by opaque id.
The same functions serve index and query, and both databases; how a query is put and ranked stands in `searching`. This room must not
see anything but shown names.
"""

import re
from bisect import bisect_left
from collections.abc import Container, Iterable, Mapping, Sequence
from functools import cache, lru_cache
from importlib.resources import files
from importlib.util import find_spec
from itertools import islice, pairwise, product
from typing import Final, cast
from unicodedata import category, normalize

import msgspec
from msgspec import Struct

from gateway.core.records.divisions import covers, regions

NORMALISER = "cx-name/1"

BRAND_MARK, CORE_MARK, PINYIN_MARK, INITIALS_MARK, START_MARK, TYPED_MARK = "ㄅ", "ㄘ", "ㄆ", "ㄕ", "ㄑ", "ㄉ"
"""Marks before tokens that are no text of a name: letters for every tokenizer, in no name of an organisation."""

_FORMS = """
    股份有限公司 有限责任公司 责任有限公司 有限公司 股份合作公司 股份公司 责任公司 集团股份有限公司 集团有限责任公司 集团有限公司 集团公司
    集团 分公司 子公司 公司 农民专业合作社联合社 农民专业合作社 专业合作社 股份经济合作社 经济合作社 供销合作社 合作社 有限合伙企业
    普通合伙企业 特殊普通合伙 有限合伙 普通合伙 合伙企业 个人独资企业 独资企业 个体工商户 家庭农场 事务所 办事处 代表处 经营部
    营业部 服务部 门市部 总厂 分厂 工厂 厂 商行 商店 总店 分店 店 中心 协会 学会 商会 基金会 联合会 委员会
"""
FORMS = frozenset(_FORMS.split())
_TRADES = """
    药业 医药 制药 中药材 中药 药材 药房 大药房 医疗器械 医疗 生物科技 生物制药 生物 保健品 食品 饮品 饮料 酒业 葡萄酒
    粮油 粮食 米业 面业 农业 农业科技 农产品 林业 牧业 渔业 种业 养殖 种植 人参 参业 山货 土特产 科技 网络科技 信息技术
    网络 信息 软件 电子 电子商务 通信 智能 建筑 建筑工程 建设 建材 工程 装饰 装饰装修 装修 房地产开发 房地产 置业 物业服务
    物业管理 物业 园林绿化 园林 市政 劳务 人力资源 商贸 贸易 商务 商业 实业 进出口 电力 能源 新能源 热力 供热 燃气 煤炭
    矿业 石油 化工 机械 机械制造 设备 制造 钢铁 金属 五金 汽车 汽车销售 汽车维修 运输 物流 快递 客运 出租汽车 旅游 旅行社
    酒店 酒店管理 宾馆 餐饮 餐饮管理 文化 文化传媒 传媒 广告 教育 教育咨询 培训 咨询 管理咨询 企业管理 管理 服务 投资
    资产管理 融资担保 担保 小额贷款 典当 保险代理 保险 会计 律师 税务师 评估 检测 环保 环境 环保科技 水务 水利 水泥 木业
    纸业 印刷 包装 纺织 服装 家具 塑料 销售 经销 批发 零售 超市 百货 租赁 维修 安装 安全技术 保安服务 家政服务 医院
    门诊部 诊所 幼儿园 学校
"""
TRADES = frozenset(_TRADES.split())


def _by_last(words: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """By its last character the lengths that a word has, longest first."""
    lengths: dict[str, set[int]] = {}
    for word in words:
        lengths.setdefault(word[-1], set()).add(len(word))
    return {last: tuple(sorted(each, reverse=True)) for last, each in lengths.items()}


_FORM_LENGTHS, _TRADE_LENGTHS = _by_last(FORMS), _by_last(TRADES)
HETERONYMS = frozenset("长重行乐曾单区仇解朝华厦盛石都车藏传参会调弹适祭蔚隆覃查翟尉宿便率强省铅")
"""Characters read in more than one way in names: every reading gets its token."""
_MAX_READINGS = 4
_NOTE = re.compile(
    r"\s*[(（〔\[【](?:已?(?:注销|吊销|撤销|迁出|歇业|停业|清算)(?:[,，、]?[未已]注销)?|存续|在业|在营|开业|正常|"
    r"(?:原|原名|曾用名|更名前)[:：为]?\s*[^()（）]{4,})[)）〕\]】]\s*\Z"
)
"""What tables write behind a name: how a firm stands, or what it was called before."""
_BRACKETS = {"(": ")", "〔": "〕", "[": "]", "【": "】", "《": "》", "{": "}", "〈": "〉"}


@cache
def variants() -> Mapping[int, str]:
    """The one-to-one variant table, as `str.translate` takes it."""
    lines = files("gateway.core.publication").joinpath("variants.tsv").read_text(encoding="utf-8").splitlines()
    return {ord(line[0]): line[2] for line in lines if line and not line.startswith("#")}


class _Kept(dict[int, str | None]):
    """Letters, marks and numbers stay, everything else goes; decided once for each character."""

    def __missing__(self, point: int) -> str | None:
        kept = chr(point) if category(chr(point))[0] in "LMN" else None
        self[point] = kept
        return kept


_KEPT = _Kept()


_COMMON = range(0x4E00, 0x9FF0)
"""Common characters, none of which Unicode itself changes."""


@cache
def _plain() -> re.Pattern[str]:
    """Texts that stay as they are: common characters without a variant, small letters, digits; nearly every name is one."""
    changed = [point for point in sorted(variants()) if point in _COMMON]
    spans = zip([_COMMON.start - 1, *changed], [*changed, _COMMON.stop], strict=True)  # spans: sign by sign would take ten times as long
    return re.compile(f"[0-9a-z{''.join(f'{chr(last + 1)}-{chr(point - 1)}' for last, point in spans if point - last > 1)}]*")


def is_plain(text: str) -> bool:
    """Whether a text is sure to be its own normal form."""
    return _plain().fullmatch(text) is not None


def normalise(text: str) -> str:
    """The form in which names are compared (`cx-name/1`)."""
    if _plain().fullmatch(text) is not None:
        return text
    folded = normalize("NFKC", text).casefold().translate(variants())
    return normalize("NFKC", folded).translate(_KEPT)


class Name(Struct, frozen=True, kw_only=True):
    """A name taken apart; every part is normalised, and any part may be empty."""

    norm: str
    region: str
    brand: str
    trade: str
    form: str

    @property
    def core(self) -> str:
        """Brand and trade: what tells one organisation from another."""
        return self.brand + self.trade


@cache
def _regions() -> tuple[Mapping[str, frozenset[str]], Mapping[str, tuple[int, ...]]]:
    """Every region name with the divisions that it may mean, and by their first two characters the lengths they have, longest first."""
    known: dict[str, frozenset[str]] = {}
    for name, codes in regions().items():
        known[normalise(name)] = known.get(normalise(name), frozenset()) | codes
    lengths: dict[str, set[int]] = {}
    for name in known:
        lengths.setdefault(name[:2], set()).add(len(name))
    return known, {start: tuple(sorted(each, reverse=True)) for start, each in lengths.items()}


def _read_region(text: str) -> tuple[int, frozenset[str]]:
    """How far a text says where it is, 吉林省通化市…, and the divisions that it may mean: the smallest, within those above it."""
    known, lengths = _regions()
    meant: frozenset[str] = frozenset()
    at = 0
    while name := next((text[at : at + size] for size in lengths.get(text[at : at + 2], ()) if text[at : at + size] in known), ""):
        codes = known[name]
        meant = frozenset(code for code in codes if any(covers(above, code) for above in meant)) or codes
        at += len(name)
    return at, meant


@lru_cache(10_000)
def region_codes(region: str) -> frozenset[str]:
    """The divisions that the region of a name may mean."""
    return _read_region(region)[1]


def _bracketed_region(text: str) -> tuple[str, str]:
    """The text without brackets that hold nothing but a region, and that region."""
    found = ""
    for opening, closing in _BRACKETS.items():
        start = text.find(opening)
        end = text.find(closing, start + 1)
        if start > 0 and end > start + 1:
            inside = normalise(text[start + 1 : end])
            if inside and _read_region(inside)[0] == len(inside):
                text, found = text[:start] + text[end + 1 :], found + inside
    return text, found


def _leading_region(norm: str) -> str:
    """Province, city and county at the start of a name; at least two characters are left for what follows."""
    known, lengths = _regions()
    at, most = 0, len(norm) - 2
    for _ in range(3):
        for length in lengths.get(norm[at : at + 2], ()):
            if at + length <= most and norm[at : at + length] in known:
                at += length
                break
        else:
            break
    return norm[:at]


def split(text: str) -> Name:
    """A name taken apart into region, brand, trade and form."""
    rest = norm = text
    bracketed = ""
    if not is_plain(text):
        plain = normalize("NFKC", text)
        rest = norm = normalise(plain)
        if not _BRACKETS.keys().isdisjoint(plain):
            plain, bracketed = _bracketed_region(plain)
            rest = normalise(plain) if bracketed else norm
    region = _leading_region(rest)
    if rest[len(region) :] in FORMS:  # a region alone is the brand of such a name
        region = ""
    rest = rest[len(region) :]
    end = len(rest)
    while cut := _ending(rest[:end], FORMS, _FORM_LENGTHS, left=1):
        end -= cut
    form, rest = rest[end:], rest[:end]
    brand = rest[: len(rest) - _ending(rest, TRADES, _TRADE_LENGTHS, left=2)]
    return Name(norm=norm, region=region + bracketed, brand=brand, trade=rest[len(brand) :], form=form)


def without_note(text: str) -> str:
    """A name of somebody's table without a bracket behind it that says how the firm stands or was called: （已注销）, （原…）."""
    found = _NOTE.search(text)
    return text[: found.start()] if found is not None and len(normalise(text[: found.start()])) > 1 else text


def _ending(text: str, words: Container[str], lengths: Mapping[str, tuple[int, ...]], *, left: int) -> int:
    """How long the longest of these words is that a text ends with, so many characters being left before it; 0: none."""
    most = len(text) - left
    for size in lengths.get(text[-1:], ()):
        if size <= most and text[-size:] in words:
            return size
    return 0


def is_single(character: str) -> bool:
    """Whether a character is a unit by itself: Han, kana and their like."""
    return character >= "⺀"


_LATIN = re.compile(r"[\x00-\u2e7f]+")  # what stands before the radicals; the other way about it takes Python five times as long to compile
_UNIT = re.compile(r"[^\x00-\u2e7f]|[\x00-\u2e7f]+")


def units(norm: str) -> list[str]:
    """Single CJK characters and whole runs of anything else."""
    return _UNIT.findall(norm)


def pairs(norm: str) -> list[str]:
    """The text tokens of a name or query, each once, in order: adjacent pairs of units, and Latin or digit runs."""
    if _LATIN.search(norm) is None:  # the usual name: every character is a unit
        return list(dict.fromkeys([first + second for first, second in pairwise(norm)]))
    parts = units(norm)
    found = dict.fromkeys([first + second for first, second in pairwise(parts)])
    found.update(dict.fromkeys([part for part in parts if not is_single(part[0])]))
    return list(found)


def starts(norm: str) -> list[str]:
    """Marked tokens of how a text begins: its first pair, and its first run where that is no single character."""
    parts = units(norm[:2] if _LATIN.search(norm[:2]) is None else norm)
    found = [START_MARK + parts[0] + parts[1]] if len(parts) > 1 else []
    if parts and not is_single(parts[0][0]):
        found.append(START_MARK + parts[0])
    return found


_TONES = str.maketrans(
    {
        **dict.fromkeys("āáǎà", "a"),
        **dict.fromkeys("ēéěèê", "e"),
        **dict.fromkeys("īíǐì", "i"),
        **dict.fromkeys("ōóǒò", "o"),
        **dict.fromkeys("ūúǔù", "u"),
        **dict.fromkeys("üǖǘǚǜ", "v"),
        "ń": "n",
        "ň": "n",
        "ǹ": "n",
        "ḿ": "m",
        "̀": None,
        "̄": None,
        "̌": None,
        "́": None,
    }
)


@cache
def _readings() -> Mapping[int, str]:
    """Code point → marked readings, of the library's characters alone, without its phrases, ten times as many."""
    found = find_spec("pypinyin")
    try:
        folder = found.submodule_search_locations[0]  # type: ignore[union-attr,index]  # of a library that is not as we know it: below
        return msgspec.json.decode(found.loader.get_data(f"{folder}/pinyin_dict.json"), type=dict[int, str])  # type: ignore[union-attr]
    except (AttributeError, OSError, TypeError, msgspec.MsgspecError):
        from pypinyin.constants import PINYIN_DICT

        return cast("Mapping[int, str]", PINYIN_DICT)


def readings(unit: str) -> tuple[str, ...]:
    """Toneless readings of a character: one, or all of a heteronym that stands in names; other units read as they stand.

    Those of characters alone are remembered: a run of letters and digits may be whatever somebody asked for.
    """
    if len(unit) > 1:
        return (unit,) if not is_single(unit[0]) else ()
    return _read(unit)


@lru_cache(20000)
def _read(character: str) -> tuple[str, ...]:
    listed = _readings().get(ord(character))
    if listed is None:
        return (character,) if not is_single(character[0]) else ()
    plain = dict.fromkeys(reading.translate(_TONES) for reading in listed.split(","))
    return tuple(plain) if character in HETERONYMS else (next(iter(plain)),)


def _spoken(brand: str, trade: str) -> list[str]:
    """Marked pinyin and initials tokens of the brand, and of brand and trade together."""
    core = brand + trade
    if not core or core.isascii():
        return []
    alone = _LATIN.search(core) is None  # every character is a unit
    spoken = [*map(_read, core)] if alone else [*map(readings, units(core))]
    if not all(spoken):
        return []
    ends = [len(spoken)]
    if brand and trade:
        ends.insert(0, len(brand if alone else units(brand)))
    plain = [each[0] for each in spoken]
    several = next((at for at, each in enumerate(spoken) if len(each) > 1), len(spoken))
    found: list[str] = []
    for end in ends:
        ways: Iterable[Sequence[str]] = [plain[:end]] if end <= several else islice(product(*spoken[:end]), _MAX_READINGS)
        for way in ways:
            found += (PINYIN_MARK + "".join(way), INITIALS_MARK + "".join([part[0] for part in way]))
    return found


def spoken_tokens(name: Name) -> list[str]:
    """Marked pinyin and initials tokens of a name's brand, and of its core."""
    return _spoken(name.brand, name.trade)


TYPED = (3, 5, 8)
"""So many letters of a name's pinyin are tokens of their own, for whoever is still typing it."""


def typed(letters: str) -> str:
    """The marked token of who is spoken so from the first letter on: of as many of them as are a token; empty: of too few."""
    return next((TYPED_MARK + letters[:size] for size in reversed(TYPED) if size <= len(letters)), "")


@cache
def _said_around() -> tuple[Mapping[str, tuple[str, ...]], tuple[str, ...]]:
    """The regions that are spoken so, and how forms are spoken, the longest first."""

    def said(name: str) -> list[str]:
        spoken = [_read(character) for character in name if is_single(character)]
        return ["".join(way) for way in islice(product(*spoken), _MAX_READINGS)]

    regions_said: dict[str, tuple[str, ...]] = {}
    for name in sorted(each for each in _regions()[0] if len(each) > 1):
        for way in dict.fromkeys(said(name)):
            if way.isascii():
                regions_said[way] = (*regions_said.get(way, ()), name)
    return regions_said, tuple(sorted((way for form in FORMS for way in said(form)), key=len, reverse=True))


_LONGEST_SAID, _MOST_SAID = 44, 3
"""Letters of a region; and readings of one text that are tried: 通化市利 and 通化示例 are spoken alike."""


def said_cores(letters: str) -> list[str]:
    """What is left of pinyin without a region at its beginning and a form at its end, as of an official name written out.

    Longest regions first; three letters stay at least. Nothing of what is a region and no more.
    """
    regions_said, forms_said = _said_around()
    if letters in regions_said:
        return []
    rests = [letters]
    for rest in rests:  # and what follows from each
        cuts = range(min(_LONGEST_SAID, len(rest) - 3), 3, -1)
        rests += [rest[size:] for size in cuts if rest[:size] in regions_said and rest[size:] not in rests]
    found = []
    for rest in rests:
        while form := next((each for each in forms_said if rest.endswith(each) and len(rest) - len(each) >= 3), ""):
            rest = rest[: -len(form)]
        found.append(rest)
    return [rest for rest in dict.fromkeys(found) if rest != letters][:_MOST_SAID]


_MOST_REGIONS, _NESTED = 4, 3
"""Regions that one text may mean (蠡县, 澧县, 理县 and 礼县 are spoken alike); and how many follow one another: province, city, county."""


_LEVELS_SAID: Final = (("province", "sheng"), ("city", "shi"), ("district", "qu"), ("county", "xian"))
"""How English answers end the name of a region (`labels`), and how it is spoken."""


def said_regions(letters: str) -> tuple[str, ...]:
    """What a text means that is the pinyin of a region and no more, or of regions one after another; nothing for any other.

    At its end it may say in English what the region is: Tonghua City.
    """
    for word, said in _LEVELS_SAID:
        if letters.endswith(word):
            return _said_so(letters.removesuffix(word) + said, _NESTED)
    return _said_so(letters, _NESTED)


def _said_so(letters: str, nested: int) -> tuple[str, ...]:
    regions_said, _ = _said_around()
    if letters in regions_said or nested == 1:
        return regions_said.get(letters, ())
    cuts = [size for size in range(min(_LONGEST_SAID, len(letters) - 4), 3, -1) if letters[:size] in regions_said]
    ways = (first + rest for size in cuts for rest in _said_so(letters[size:], nested - 1) for first in regions_said[letters[:size]])
    return tuple(islice(dict.fromkeys(ways), _MOST_REGIONS))


def sounding(core: str) -> list[str]:
    """Marked tokens that find who sounds like this whole text, without tones; of an indexed name its brand, or brand and trade."""
    return [token for token in _spoken(core, "") if token.startswith(PINYIN_MARK)]


def index_tokens(name: Name) -> str:
    """Everything a name is found by, joined by blanks: the one text that both databases index."""
    found = pairs(name.norm) or [name.norm]
    brand, core = name.brand, name.core
    found += starts(name.norm) + starts(core)
    if brand and is_single(brand[0]):
        found.append(BRAND_MARK + brand[0])
    found += [CORE_MARK + character for character in core if character >= "⺀"]
    spoken = _spoken(brand, name.trade)
    found += spoken
    found += [typed(token[1 : size + 1]) for token in spoken if token[0] == PINYIN_MARK for size in TYPED if size < len(token)]
    return " ".join(dict.fromkeys(found))


# --- where a name stands among all -------------------------------------------------------------------------------------

LONGEST_CORE, _LONGEST_NAME = 31, 63
_ID_BITS, _TURN_BITS = 30, 4
_CANCELLED = 1 << (_ID_BITS + _TURN_BITS)
_IN_ORDER = "234567abcdefghijklmnopqrstuvwxyz"
"""What opaque ids are written in."""
_ORDER_OF = {character: number for number, character in enumerate(_IN_ORDER)}


def place_of(subject_id: str, norm: str, core: str, *, cancelled: bool) -> int:
    """Where a name stands: core's length, name's length, cancelled, the first six characters of the id; sixteen may share them."""
    number = min(len(core), LONGEST_CORE) << 6 | min(len(norm), _LONGEST_NAME)
    number = number << 1 | cancelled
    for character in subject_id.rpartition("_")[2][:6].ljust(6, "2"):
        order = _ORDER_OF.get(character)
        number = number << 5 | (min(bisect_left(_IN_ORDER, character), 31) if order is None else order)
    return number << _TURN_BITS


def places_of(core: int, norm: int | None = None) -> tuple[int, int]:
    """From which place on, and before which, those stand whose core, and perhaps whose name, has so many characters."""
    first, after = (core, core + 1) if core < LONGEST_CORE else (LONGEST_CORE, LONGEST_CORE + 1)
    if norm is None:
        return first << _ID_BITS + _TURN_BITS + 7, after << _ID_BITS + _TURN_BITS + 7
    number = first << 6 | min(norm, _LONGEST_NAME)
    return number << _ID_BITS + _TURN_BITS + 1, number + 1 << _ID_BITS + _TURN_BITS + 1


def is_cancelled(place: int) -> bool:
    """Whether the name at a place is of somebody who is cancelled."""
    return bool(place & _CANCELLED)

"""Names of organisations as people search for them: normalised, split, cut into tokens, ranked (api.md §7.11, §8).

Rules, in this order:
    1. normalise (`cx-name/1`): NFKC, case fold, one-to-one variant table, NFKC, then only letters, marks and numbers stay.
    2. split: region · brand 字号 · trade 行业 · form 组织形式, longest first; core = brand + trade.
    3. units are single CJK characters or whole Latin/digit runs; tokens are adjacent pairs of units and the runs, and beside
       them marked tokens: first character of the brand, each character of the core, pinyin and initials of brand and core.
    4. what a query's tokens find is only a candidate: `matched` looks at the text again, so no engine decides an answer.
    5. rank: exact name, exact core, prefix, phrase, all pairs, 60 % of the pairs; then likeness of the core; then not cancelled;
       then the opaque id. Nothing else: a subject is found by what it is called.
The same functions serve index and query, and both databases. This room must not see anything but shown names.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, lru_cache
from importlib.resources import files
from itertools import islice, pairwise, product
from typing import Literal, cast
from unicodedata import category, normalize

from msgspec import Struct
from rapidfuzz.distance import Indel

from gateway.core.records.divisions import region_names

NORMALISER = "cx-name/1"
MAX_QUERY = 128
"""Code points of a query after normalisation (api.md §12.10)."""
MAX_CANDIDATES = 1000
"""How many candidates of one query can be walked."""
RERANKED = 200
"""How many of them are compared character by character."""

BRAND_MARK, CORE_MARK, PINYIN_MARK, INITIALS_MARK = "ㄅ", "ㄘ", "ㄆ", "ㄕ"
"""Marks before tokens that are no text of a name: letters for every tokenizer, in no name of an organisation."""

_FORMS = """
    股份有限公司 有限责任公司 有限公司 股份合作公司 股份公司 责任公司 集团股份有限公司 集团有限责任公司 集团有限公司 集团公司 集团
    分公司 子公司 公司 农民专业合作社联合社 农民专业合作社 专业合作社 股份经济合作社 经济合作社 供销合作社 合作社 有限合伙企业
    普通合伙企业 特殊普通合伙 有限合伙 普通合伙 合伙企业 个人独资企业 独资企业 个体工商户 家庭农场 事务所 办事处 代表处 经营部
    营业部 服务部 门市部 总厂 分厂 工厂 厂 商行 商店 总店 分店 店 中心 协会 学会 商会 基金会 联合会 委员会
"""
FORMS = frozenset(_FORMS.split())
_FORM_LENGTHS = sorted({len(form) for form in FORMS}, reverse=True)
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
_TRADE_LENGTHS = sorted({len(trade) for trade in TRADES}, reverse=True)
HETERONYMS = frozenset("长重行乐曾单区仇解朝华厦盛石都车藏传参会调弹适祭蔚隆覃查翟尉宿便率强省铅")
"""Characters read in more than one way in names: every reading gets its token."""
_MAX_READINGS = 4
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


def normalise(text: str) -> str:
    """The form in which names are compared (`cx-name/1`)."""
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
def _regions() -> tuple[frozenset[str], Mapping[str, tuple[int, ...]]]:
    """Every region name, and by their first two characters the lengths they have, longest first."""
    known = frozenset(normalise(name) for name in region_names())
    lengths: dict[str, set[int]] = {}
    for name in known:
        lengths.setdefault(name[:2], set()).add(len(name))
    return known, {start: tuple(sorted(each, reverse=True)) for start, each in lengths.items()}


def _bracketed_region(text: str) -> tuple[str, str]:
    """The text without brackets that hold nothing but a region, and that region."""
    known, _ = _regions()
    found = ""
    for opening, closing in _BRACKETS.items():
        start = text.find(opening)
        end = text.find(closing, start + 1)
        if start > 0 and end > start + 1:
            inside = normalise(text[start + 1 : end])
            if inside in known:
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
    plain = normalize("NFKC", text)
    norm = normalise(plain)
    bracketed = ""
    if any(opening in plain for opening in _BRACKETS):
        plain, bracketed = _bracketed_region(plain)
    rest = normalise(plain) if bracketed else norm
    region = _leading_region(rest)
    if rest[len(region) :] in FORMS:  # a region alone is the brand of such a name
        region = ""
    rest = rest[len(region) :]
    end = len(rest)
    while cut := next((size for size in _FORM_LENGTHS if size < end and rest[end - size : end] in FORMS), 0):
        end -= cut
    form, rest = rest[end:], rest[:end]
    trade = next((size for size in _TRADE_LENGTHS if size <= len(rest) - 2 and rest[-size:] in TRADES), 0)
    brand = rest[: len(rest) - trade]
    return Name(norm=norm, region=region + bracketed, brand=brand, trade=rest[len(brand) :], form=form)


def _single(character: str) -> bool:
    """Whether a character is a unit by itself: Han, kana and their like."""
    return character >= "⺀"


_LATIN = re.compile(r"[^⺀-\U0010ffff]+")
_UNIT = re.compile(r"[⺀-\U0010ffff]|[^⺀-\U0010ffff]+")


def units(norm: str) -> list[str]:
    """Single CJK characters and whole runs of anything else."""
    return _UNIT.findall(norm)


def pairs(norm: str) -> list[str]:
    """The text tokens of a name or query, each once, in order: adjacent pairs of units, and Latin or digit runs."""
    if _LATIN.search(norm) is None:  # the usual name: every character is a unit
        return list(dict.fromkeys([first + second for first, second in pairwise(norm)]))
    parts = units(norm)
    found = dict.fromkeys([first + second for first, second in pairwise(parts)])
    found.update(dict.fromkeys([part for part in parts if not _single(part[0])]))
    return list(found)


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
    """Code point → marked readings; read when the first name is spoken, for it is a third of an idle process."""
    from pypinyin.constants import PINYIN_DICT

    return cast("Mapping[int, str]", PINYIN_DICT)


@lru_cache(20000)
def readings(character: str) -> tuple[str, ...]:
    """Toneless readings of a character: one, or all of a heteronym that stands in names; other units read as they stand."""
    listed = _readings().get(ord(character)) if len(character) == 1 else None
    if listed is None:
        return (character,) if not _single(character[0]) else ()
    plain = dict.fromkeys(reading.translate(_TONES) for reading in listed.split(","))
    return tuple(plain) if character in HETERONYMS else (next(iter(plain)),)


def _spoken(brand: str, trade: str) -> list[str]:
    """Marked pinyin and initials tokens of the brand, and of brand and trade together."""
    core = brand + trade
    if not core or core.isascii():
        return []
    spoken = [readings(part) for part in (core if _LATIN.search(core) is None else units(core))]
    if not all(spoken):
        return []
    ends = [len(spoken)]
    if brand and trade:
        ends.insert(0, len(units(brand)))
    found: list[str] = []
    for end in ends:
        if all(len(each) == 1 for each in spoken[:end]):
            ways: Iterable[Sequence[str]] = ([each[0] for each in spoken[:end]],)
        else:
            ways = islice(product(*spoken[:end]), _MAX_READINGS)
        for way in ways:
            found += (PINYIN_MARK + "".join(way), INITIALS_MARK + "".join([part[0] for part in way]))
    return found


def index_tokens(name: Name) -> str:
    """Everything a name is found by, joined by blanks: the one text that both databases index."""
    found = pairs(name.norm) or [name.norm]
    brand = name.brand
    if brand and _single(brand[0]):
        found.append(BRAND_MARK + brand[0])
    found += [CORE_MARK + character for character in name.core if character >= "⺀"]
    found += _spoken(brand, name.trade)
    return " ".join(dict.fromkeys(found))


Route = Literal["uscc", "org_code", "reg_no", "spoken", "character", "pairs", "nothing"]


class NameQuery(Struct, frozen=True, kw_only=True):
    """A query as the index is asked: what must be there, what is enough, and how to look again."""

    route: Route
    text: str
    """Normalised."""
    core: str
    """Of the query, as if it were a name."""
    asked: tuple[tuple[str, ...], ...]
    """Groups of tokens that are all required; groups are tried in this order until one finds something."""
    loose: tuple[str, ...] = ()
    """Any one of these finds the candidates for "at least 60 % of the pairs"."""
    needed: tuple[str, ...] = ()
    """The pairs of which 60 % must be there for a loose hit."""


def route(text: str) -> Route:
    """Which way a query goes, by its shape alone."""
    norm = normalise(text)
    if not norm:
        return "nothing"
    plain = "".join(normalize("NFKC", text).upper().split())
    if len(plain) == 18 and plain.isascii() and plain.isalnum() and any(character.isdigit() for character in plain):
        return "uscc"
    if len(norm) == 15 and norm.isascii() and norm.isdigit():
        return "reg_no"
    if len(norm) == 9 and norm.isascii() and norm[:8].isalnum() and any(character.isdigit() for character in norm):
        return "org_code"
    if norm.isascii() and norm.isalpha():
        return "spoken"
    if len(norm) == 1:
        return "character"
    return "pairs"


def read_query(text: str) -> NameQuery:
    """How the index is asked for a text: pairs of its region and form are ignored while another remains."""
    name = split(text)
    norm = name.norm
    way = route(text)
    if way == "nothing":
        return NameQuery(route=way, text="", core="", asked=())
    if way == "character":
        groups: tuple[tuple[str, ...], ...] = ((BRAND_MARK + norm,), (CORE_MARK + norm,)) if _single(norm) else ((norm,),)
        return NameQuery(route=way, text=norm, core=norm, asked=groups)
    if way == "spoken":
        return NameQuery(route=way, text=norm, core=norm, asked=((norm,), (PINYIN_MARK + norm,), (INITIALS_MARK + norm,)))
    every = pairs(norm) or [norm]
    common = _everyday_pairs(name)
    telling = [token for token in every if token not in common]
    if not telling:
        return NameQuery(route=way, text=norm, core=name.core, asked=(tuple(every),))
    loose: tuple[str, ...] = ()
    if len(every) >= 3:
        # A name that holds 60 % of n pairs misses at most n − needed of them: among any (n − needed + 1) it holds one.
        enough = -(-len(every) * 3 // 5)
        loose = tuple((telling + [token for token in every if token in common])[: len(every) - enough + 1])
    return NameQuery(route=way, text=norm, core=name.core, asked=(tuple(telling),), loose=loose, needed=tuple(every))


def _everyday_pairs(name: Name) -> frozenset[str]:
    """Pairs of the region and the form of a query: they tell little."""
    return frozenset(pairs(name.region)) | frozenset(pairs(name.form))


EXACT_NAME, EXACT_CORE, PREFIX, PHRASE, ALL_PAIRS, MOST_PAIRS = range(6)


def matched(query: NameQuery, name_norm: str, core: str, tokens: str) -> int | None:
    """How a candidate fits the query, best 0; None when it only shares tokens with it."""
    text = query.text
    if name_norm == text:
        return EXACT_NAME
    if core and core == (query.core or text):
        return EXACT_CORE
    if query.route == "character":
        if core.startswith(text):
            return PREFIX
        return PHRASE if text in core else None
    if query.route == "spoken":
        if text in units(name_norm):
            return PHRASE
        held = tokens.split(" ")
        return ALL_PAIRS if PINYIN_MARK + text in held else MOST_PAIRS if INITIALS_MARK + text in held else None
    if name_norm.startswith(text) or core.startswith(text):
        return PREFIX
    if text in name_norm:
        return PHRASE
    if query.loose:
        held_pairs = set(tokens.split(" "))
        share = sum(token in held_pairs for token in query.needed)
        if share == len(query.needed):
            return ALL_PAIRS
        if share * 5 >= len(query.needed) * 3:
            return MOST_PAIRS
    return None


def likeness(query: NameQuery, name: str, core: str) -> int:
    """0 … 1000: how alike two cores are (brand and trade over region, form nearly nothing)."""
    one = Indel.normalized_similarity(query.core or query.text, core)
    other = Indel.normalized_similarity(query.text, name)
    return round(900 * one + 100 * other)


class Candidate(Struct, frozen=True, kw_only=True):
    """One name that shares tokens with a query."""

    subject_id: str
    role: str
    shown: str
    name_norm: str
    core: str
    tokens: str
    cancelled: bool = False


class Hit(Struct, frozen=True, kw_only=True):
    """One subject found, with the name that found it."""

    subject_id: str
    matched_on: str
    shown: str
    order: tuple[int, int, int, str]
    """Tier, unlikeness, cancelled, id: immutable while the names are, so a walk can stand on it."""


_NOT_COMPARED = 1001


def rank(query: NameQuery, candidates: Iterable[Candidate], *, capped: bool = False) -> list[Hit]:
    """The subjects a query finds, best first, each once; ties by opaque id.

    `capped`: more names fit than can be walked, so likeness says nothing: within a tier the order is by id.
    """
    tiers: list[tuple[int, int, int, str, Candidate]] = []
    for candidate in candidates:
        tier = matched(query, candidate.name_norm, candidate.core, candidate.tokens)
        if tier is not None:
            tiers.append((tier, int(candidate.cancelled), int(candidate.role != "name"), candidate.subject_id, candidate))
    tiers.sort(key=lambda item: item[:4])
    best: dict[str, Hit] = {}
    for position, (tier, cancelled, _, subject_id, candidate) in enumerate(tiers):
        if capped:
            order = (tier, 0, 0, subject_id)
        else:
            unlike = 1000 - likeness(query, candidate.name_norm, candidate.core) if position < RERANKED else _NOT_COMPARED
            order = (tier, unlike, cancelled, subject_id)
        known = best.get(subject_id)
        if known is None or order < known.order:
            best[subject_id] = Hit(
                subject_id=subject_id, matched_on="name" if candidate.role == "name" else "former_name", shown=candidate.shown, order=order
            )
    return sorted(best.values(), key=lambda hit: hit.order)


def highlight(query: NameQuery, shown: str) -> list[list[int]]:
    """Where the query stands in a shown name: half-open ranges of code points; of single pairs where the whole is not there."""
    norm, origin = _traced(shown)
    wanted = [query.text] if query.text in norm else [token for token in query.needed if token in norm]
    marked = sorted({origin[index] for text in wanted for start in _starts(norm, text) for index in range(start, start + len(text))})
    ranges: list[list[int]] = []
    for index in marked:
        if ranges and ranges[-1][1] == index:
            ranges[-1][1] = index + 1
        else:
            ranges.append([index, index + 1])
    return ranges


def _starts(norm: str, text: str) -> Sequence[int]:
    found: list[int] = []
    at = norm.find(text)
    while at >= 0:
        found.append(at)
        at = norm.find(text, at + 1)
    return found


def _traced(shown: str) -> tuple[str, list[int]]:
    """The normalised text, and for each of its characters the place it came from."""
    text = ""
    origin: list[int] = []
    for index, character in enumerate(shown):
        piece = normalise(character)
        text += piece
        origin.extend([index] * len(piece))
    return text, origin

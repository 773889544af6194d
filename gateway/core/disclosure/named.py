"""Names in a text, in every spelling: as they stand, with signs between their characters, with a dot in them, as an alias, in Latin.

Rules: what stands behind a cue and ends for certain is replaced, everything else that seems to be a name is a doubt. Traditional and
variant characters are read as the simplified ones. Names of organisations, and what was replaced, are left alone. This room must not
judge how likely a name of Chinese characters is: `people` does.
"""

import re
from collections.abc import Iterator
from functools import cache
from typing import Final
from unicodedata import normalize

from gateway.core.disclosure.digit_runs import Place, mask_of
from gateway.core.disclosure.framed import FRAMELIKE, framed
from gateway.core.disclosure.hinted import wordly
from gateway.core.disclosure.late import Late
from gateway.core.disclosure.lexicon import lexicon
from gateway.core.disclosure.name_signs import MARKS, signs
from gateway.core.disclosure.people import people
from gateway.core.disclosure.slots import SLOTLIKE, slotted
from gateway.core.disclosure.spelling import HIDDEN
from gateway.core.publication.names import variants

_HAN: Final = "\u3400-\u9fff"
_SIGNS: Final = f"[{HIDDEN}.·•‧∙・_~*—–－-]"
_APART: Final = re.compile(f"{_SIGNS}(?<=[{_HAN}]{_SIGNS}){_SIGNS}{{0,2}}(?=[{_HAN}])")
_ALIAS: Final = re.compile(
    "(?:绰号|外号|诨号|小名|乳名|昵称|网名|人称|花名|又名|曾用名|化名|别名|真名|本名|大名|原名)"
    f'[:：为是叫“"‘「 ]{{0,3}}((?!某)[{_HAN}A-Za-z0-9]{{2,6}})'
)
_CALLED: Final = re.compile(
    f'(?:名为|名叫|叫做|叫作|名字叫|自称|名字是)[“" ]{{0,2}}([{_HAN}]{{2,4}})[”" ]{{0,2}}的[男女人顾客学员患孩老儿]'
)
_KIN: Final = "[人员者子女儿妻男他她其友弟妹哥姐孩生]"
_CALLED_THEN: Final = re.compile(f"(?:名叫|叫做|名为)(?:(?<={_KIN}..)|(?<={_KIN}[，,]..))([{_HAN}]{{2,4}})(?=[，,。；;、]|$)")
"""Of whoever was told of just before: 车主儿子，名叫…，"""
_NAMING: Final = re.compile("[号名称叫]")
"""Without one of these nobody is named in any of these three ways."""
_HIRED: Final = re.compile(f"[.．、)）](?<=[0-9].)[ ]?([{_HAN}]{{2,4}})[，,：: ]{{1,2}}[{_HAN}]{{1,4}}[工员师匠][，,：: ]{{1,2}}[0-9]")
"""An entry of a list of workers: its number, the name, the trade, the sum."""
_LISTED_BESIDE: Final = re.compile(f"[、和及与]([{_HAN}]{{2}})(?=[，。、；;,等（(二两三]|$)([，,]?(?:均|[二两三]人|等[二两三四五0-9]人))?")
"""Who is named beside somebody, where both stand in a row: a name may be an ordinary word there."""
_DOTTED: Final = Late(f"([{_HAN}]{{1,10}})[·•‧・.．。∙]([{_HAN}]{{2,12}})")
_DOT: Final = re.compile("[·•‧・．∙.]")
_DOTS: Final = re.compile("[·•‧・．∙]|[\u3400-\u9fff][.][\u3400-\u9fff]")
_LATIN: Final = Late(r"(?<![A-Za-z])([A-Z][A-Za-z]{0,15})[ ,·]{1,2}([A-Z][A-Za-z'’-]{1,15})(?:[ ][A-Z][A-Za-z]{1,15})?(?![A-Za-z])")
_LATIN_ALONE: Final = Late(r"(?<![A-Za-z0-9])([A-Z][a-z]{2,15})(?![A-Za-z0-9]|[ ]?(?:牌|公司|品牌|系统|平台|软件|版))")
_PINYIN: Final = Late(r"(?<![A-Za-z])([a-z]{2,6})[ ]([a-z]{1,6}(?:[ ][a-z]{1,6})?)(?![A-Za-z])")
_LETTER: Final = re.compile("[A-Za-z]")
_SIGNED: Final = re.compile("[号名称叫·•‧・．∙.A-Za-z]")
"""All of these signs, for without one of them there is nothing but entries of lists."""
_HALF_LATIN: Final = Late("(?<![ -~])[a-z]{2,6}(?![ -~])")
"""The middle of a name in pinyin: 王xiao军."""
_LATIN_FIRST: Final = Late("(?<![A-Za-z])[A-Z][a-z]{2,12}[ ·](?![ -~])")
"""A foreign given name before a surname: Kevin 佟."""
_FAMILIES: Final = """
    wang li zhang liu chen yang huang zhao wu zhou xu sun ma zhu hu guo he gao lin luo zheng liang xie song tang han feng deng cao
    peng zeng xiao tian dong yuan pan yu jiang cai du ye cheng su wei lv lu ding ren shen yao cui zhong tan wang fan jin shi liao jia
    xia fu fang bai zou meng xiong qin qiu yin xue yan duan lei hou long tao he gu mao hao gong shao wan qian qin wu dai mo kong xiang
    ouyang zhuge sima shangguan murong kim lee park choi jung kang cho yoon lim
"""
_FAMILY_LATIN: Final = frozenset(_FAMILIES.split())
_SYLLABLE: Final = (
    "(?:zh|ch|sh|[bpmfdtnlgkhjqxrzcsyw])?"
    "(?:iang|iong|uang|ang|eng|ing|ong|ian|iao|uan|uai|ai|ei|ui|ao|ou|iu|ie|ue|ve|er|an|en|in|un|vn|ia|ua|uo|a|o|e|i|u|v)"
)
_GIVEN_LATIN: Final = Late(f"{_SYLLABLE}(?:['’-]?{_SYLLABLE}){{0,2}}")


@cache
def _simplified() -> dict[int, str]:
    """Variant characters and radicals as the characters they stand for, letters with tones as those without."""
    radicals = (
        "⺟母⻄西⻅见⻆角⻋车⻓长⻔门⻢马⻥鱼⻩黄⻬齐⻰龙"
        "⽅方⽯石⽩白⽥田⾦金⽜牛⽑毛⽂文⽊木⼭山⽔水⼒力⽟玉⽣生⾼高⾺马⻢马⻘青⾹香⼩小⼤大⽼老⼥女⼦子⼈人"
    )
    toned = {code: base for code in (*range(0xC0, 0x250), *range(0x1E00, 0x1F00)) if (base := normalize("NFD", chr(code))[0]).isascii()}
    return {**toned, **variants(), **{ord(radicals[at]): radicals[at + 1] for at in range(0, len(radicals), 2)}}


@cache
def _variant() -> re.Pattern[str]:
    """The characters that `_simplified` changes, and with them all of the planes above: those make a class slow one by one."""
    return re.compile(f"[{''.join(chr(code) for code in sorted(_simplified()) if code < 0x10000)}\\U00010000-\\U0010ffff]")


def named(text: str, covered: bytearray, public: bytearray) -> tuple[list[Place], list[Place]]:
    """Where somebody is named for certain, and where somebody seems to be."""
    plain = text if _variant().search(text) is None else text.translate(_simplified())
    skip = _either(covered, public)
    sure: list[Place] = []
    doubts: set[Place] = set()
    if _APART.search(plain) is not None:
        doubts.update(_joined(plain, skip))
    if _SIGNED.search(plain) is not None or _HIRED.search(plain) is not None:
        doubts.update(_signed(plain))
    if SLOTLIKE.search(plain) is not None:
        doubts.update(slotted(plain))
    if FRAMELIKE.search(plain) is not None:
        doubts.update(framed(plain))
    for person in people(plain, skip):
        if person.sure:
            sure.append((person.start, person.end))
        else:
            doubts.add((person.start, person.end))
        beside = _LISTED_BESIDE.match(plain, person.end)
        if beside is not None and (beside[2] or wordly(beside[1])):
            doubts.add(beside.span(1))
    if not doubts:
        return sure, []
    hidden = mask_of(len(plain), sure)
    return sure, sorted(
        (start, end)
        for start, end in doubts
        if not any(covered[start:end]) and not (public and all(public[start:end])) and not (hidden and all(hidden[start:end]))
    )


def _either(covered: bytearray, public: bytearray) -> bytearray:
    if covered and public:
        return bytearray(map(max, covered, public))
    return covered or public


def _joined(text: str, skip: bytearray) -> Iterator[Place]:
    """Names with signs between their characters."""
    places: list[int] = []
    at = 0
    for apart in _APART.finditer(text):
        places += range(at, apart.start())
        at = apart.end()
    places += range(at, len(text))
    hidden = bytearray([skip[place] for place in places]) if skip else skip
    for person in people("".join([text[place] for place in places]), hidden):
        start, end = places[person.start], places[person.end - 1] + 1
        if end - start > person.end - person.start:
            yield start, end


def _signed(text: str) -> Iterator[Place]:
    """Aliases, names with a dot in them, names in Latin letters."""
    for pattern in (_ALIAS, _CALLED, _CALLED_THEN, _HIRED) if _NAMING.search(text) is not None else (_HIRED,):
        if pattern.search(text) is not None:
            for found in pattern.finditer(text):
                yield found.span(1)
    if _DOT.search(text) is not None and _DOTS.search(text) is not None:
        words = lexicon(text).words
        for found in _DOTTED.finditer(text):
            left, right = found[1], found[2]
            if not any(left[-size:] in words for size in (2, 3, 4)) or not any(right[:size] in words for size in (2, 3, 4)):
                yield found.span()
    if _LETTER.search(text) is None:
        return
    surnames = lexicon("").surnames
    for half in _HALF_LATIN.finditer(text):
        start, end = half.start() - 1, min(half.end() + 1, len(text))
        if text[max(0, start) : start + 1] in surnames and _GIVEN_LATIN.pattern.fullmatch(half[0]) and _cued(text, start):
            yield start, end
    for first in _LATIN_FIRST.finditer(text):
        if text[first.end() : first.end() + 1] in surnames and not "\u3400" <= text[first.end() + 1 : first.end() + 2] <= "\u9fff":
            yield first.start(), first.end() + 1
    for words_of, parts in ((_LATIN_ALONE, 1), (_PINYIN, 2)):
        for latin in words_of.finditer(text):
            if (parts == 1 or _is_latin_name(latin[1], latin[2])) and _cued(text, latin.start()):
                yield latin.span()
    for latin in _LATIN.finditer(text):
        plain_words = latin[1][1:].islower() and latin[2][1:].islower()
        if plain_words or _is_latin_name(latin[1], latin[2]) or _cued(text, latin.start()):
            yield latin.span()


def _is_latin_name(first: str, second: str) -> bool:
    """Whether two words are a name in pinyin, in either order."""
    first, second = first.lower(), second.lower().replace(" ", "-")
    return (first in _FAMILY_LATIN and _GIVEN_LATIN.pattern.fullmatch(second) is not None) or (
        second in _FAMILY_LATIN and _GIVEN_LATIN.pattern.fullmatch(first) is not None
    )


def _cued(text: str, start: int) -> bool:
    at = start
    while at > 0 and start - at < 4 and text[at - 1] in MARKS:
        at -= 1
    return any(text[max(0, at - length) : at] in signs().cues for length in (2, 3, 4, 5))

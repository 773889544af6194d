"""Somebody in the place of a person, whatever the name is made of: for the residual score.

Names in the characters of foreign ones, nicknames, what a form says behind a role, and names of which only the middle is masked:
驾驶员约翰逊驾驶…, 工人狗剩签字, 变更后负责人：计划, 温某豪. Rules: such a name stands right behind a role or a preposition, or before
what follows nobody but a person; a mark or what somebody does comes next; it holds no word of function, and what words explain is
nobody. Every quantifier is bounded. This room must not weigh what begins with a surname: `people` does.
"""

import re
from collections.abc import Iterator
from typing import Final

from gateway.core.disclosure.beside import HANDS, personal, role_ends
from gateway.core.disclosure.digit_runs import Place
from gateway.core.disclosure.late import Late
from gateway.core.disclosure.lexicon import RARE_GIVEN, lexicon
from gateway.core.disclosure.name_signs import BEFORE, MARKS, TRANSLITERATED, Signs, signs

_WESTERN: Final = (
    "斯尔克夫万南里费德森特姆伯逊翰约亨利莱蒂莎琳珍凯瑟罗伦杰弗歇洛塞诺维奇妮奥玛丽安东史密彼得戴琼鲍勃露丝萝查理亚娅柯温格雷汤迈乔治詹福兰布朗菲普加佩"
    "波霍华肯威廉哈鲁宾纳瓦什申科洛夫斯基契叶廖沙季谢苏珊贝蓝氏阮黎武"
)
"""Characters with which names of the west and of the south are written besides those of `TRANSLITERATED`."""
OUTLANDISH: Final = re.compile(f"[{_WESTERN}{TRANSLITERATED}][{_WESTERN}{TRANSLITERATED}]{{2,9}}")
_HAN: Final = "\u3400-\u9fff"
_FUNCTIONS: Final = (
    "的了在是系为于和与及或并且而但其该此本我你他她它们这那各每某未不没无已均都也又再还仍将被把向对从自由经因据按依给让请等应须可能会要需所以之者擅持有上下中内外前后左右"
    "一二三四五六七八九十百千万两几数个名位人员户家民方店厂部局所院校站队组公司市区县镇乡村街路号楼年月日时分元次件份处间台辆售卖买购收发办做用给付报停限禁罚到至来去进出过同如若则即亦凡另曾正拟拒称说"
)
_BEHIND: Final = re.compile(f"[人员者师机主生长东客童手工家民友商贩户](?<=[{_HAN}]{{2}})[为是系叫]?((?:(?![{_FUNCTIONS}])[{_HAN}]){{2}})")
"""Two characters, none of them a word of function, behind what may be somebody's role."""
_FILLED_IN: Final = re.compile(
    f"[:：叫](?:(?<=[人员者师主长户名板机工哥姐弟妹].)|(?<=[人员者主户方工][甲乙丙丁].))([{_HAN}]{{2}})(?=[，。；、,;（()）\n ]|\\Z)"
)
"""Two characters that are all that a form says behind a role and its colon."""
_PARTIES: Final = frozenset("甲乙丙丁")
"""How several of one role are told apart: 摊主甲：纪念."""
_NO_ENTRY: Final = "无未不没详略见附同上下已均各等两二三四五六七八九十位名人户员单公司店厂部局所站"
_DUTIES: Final = frozenset("岗职勤哨证照")
"""What those who have a role leave, keep or lack: 人员脱岗."""
_NUMBERED: Final = re.compile(
    "[大二三四五六七八九](?:(?<=大)老[黑白粗憨炮虎]|(?<!大)(?:胖|丫|狗|娃|蛋|柱|哥|嫂|叔|婶|舅|姨|妮|妞|爷|毛|愣|赖|虎)子?)"
)
"""How the children of a house are called: 二胖, 三哥."""
_QUOTED: Final = Late(f'[“"「『‘]([{_HAN}]{{2,5}})[”"」』’](?=系|的[男女])')
_STAGE: Final = Late(f'(?:主播|博主|网友|群主|卖家|买家|网红|达人|团长)[“"「『‘]([{_HAN}A-Za-z0-9]{{2,8}})[”"」』’]')
"""Under what name somebody is known on a stage of the net."""
_SIGNED: Final = Late(
    "(?:签名|签字|署名|落款|捺印|签收|签章)(?:[处栏人者]{1,2})?(?:均|都)?(?:[为是系写：: ]|[写签][着的]){0,2}"
    '[“"「『‘]([^“”"「」『』‘’，。；、0-9A-Za-z]{2,4})[”"」』’]'
)
"""What a signature says between quotation marks."""
_KINDLY: Final = Late(
    "[大二老嫂婶姨叔伯](?:(?<=大)[嫂姐哥婶叔爷娘妈伯]|(?<=二)[哥姐嫂叔婶爷]|(?<=老)[汉太]|(?<=[嫂婶姨叔伯]))"
    f"(?![{_HAN}]{{0,3}}[店馆铺坊厂牌面饭菜豆饼园家饺粥酱醋酒茶粉鸡鸭鱼肉])"
)
"""A surname with what neighbours say behind it: 封大嫂."""
_SEXED: Final = Late(
    f"(?<=[{_HAN}]{{2}})[，,、（(]{{1,2}}(?:性别[:：]?)?[男女](?=[)）]|[，,、][^，。；]{{0,6}}(?:岁|生|族|住|身份|文化|学历|籍|务农|农民|工人|群众|党员|19|20))"
)
_LICENSED: Final = Late(
    f"(?:吊销|注销|撤销|暂扣)((?:(?![{_FUNCTIONS}])[{_HAN}]){{2,4}}?)的?(?:机动车|执业|律师|医师|导游|驾驶|护士|教师|资格|从业)"
)
_HALF: Final = Late("某(?=[\u4e00-\u9fff])")
SLOTLIKE: Final = re.compile(
    "[系“\"「签署落捺男女某吊注撤暂嫂婶姨叔伯:：叫大二老](?:(?<=[系“\"「签署落捺男女某吊注撤暂嫂婶姨叔伯])"
    "|(?<=[人员者师主长户名板机工哥姐弟妹甲乙丙丁][:：叫])|[嫂姐哥婶叔爷娘妈伯汉太])"
)
"""Without one of these there is neither a form nor a mask nor a neighbour (`slotted`)."""
_DAINTY: Final = 7.5
"""What a character costs at most that is often in given names."""
_BESIDE: Final = frozenset('，。；、,;:：（）()“”"‘’ \n')


def odd(run: str, *, outlandish: bool) -> bool:
    """Whether a stretch of Chinese may hold such a name, whatever stands around it; `outlandish`: whether `OUTLANDISH` stands in it."""
    if not outlandish and _BEHIND.search(run) is None and _NUMBERED.search(run) is None:
        return False
    size = len(run)
    if outlandish and any(found.start() == 0 or found.end() == size for found in OUTLANDISH.finditer(run)):
        return True
    return next(oddly(run, 0, size), None) is not None


def oddly(text: str, first: int, last: int) -> Iterator[Place]:
    """Where in a stretch of a text somebody seems to stand whose name is no Chinese one, or a nickname."""
    known = signs()
    for found in OUTLANDISH.finditer(text, first, last):
        start, end = found.span()
        while end - start > 2 and not _goes_on(text, end, known):
            end -= 1
        if end - start > 2 and _comes_in(text, start, end, known):
            yield start, end
    for found in _BEHIND.finditer(text, first, last):
        start, end = found.span(1)
        if found[1][1] in _DUTIES:
            continue
        if _acts(text, end, known) and not _plain(found[1]) and not _worded(text, start, end) and _role(text, found.start() + 1, known):
            yield start, end
    for found in _NUMBERED.finditer(text, first, last):
        if _goes_on(text, found.end(), known):
            yield found.span()


def slotted(text: str) -> Iterator[Place]:
    """Where somebody's name is all that a form says behind a role, whatever it is, or half masked."""
    known = signs()
    for found in _FILLED_IN.finditer(text):
        if not (_plain(found[1]) or found[1][0] in _NO_ENTRY or found[1][1] in _NO_ENTRY) and (
            _role(text, found.start(), known) or (text[found.start() - 1] in _PARTIES and _role(text, found.start() - 1, known))
        ):
            yield found.span(1)
    if "系" in text or "的男" in text or "的女" in text:
        for found in _QUOTED.finditer(text):
            if personal(text, found.end()):
                yield found.span(1)
    if "“" in text or '"' in text or "「" in text:
        for found in _STAGE.finditer(text):
            yield found.span(1)
    if "签" in text or "署名" in text or "落款" in text or "捺印" in text:
        for found in _SIGNED.finditer(text):
            if not (_plain(found[1]) or found[1][0] in _FUNCTIONS or found[1][-1] in _FUNCTIONS):
                yield found.span(1)
    for found in _KINDLY.finditer(text):
        start = found.start() - 1
        if start >= 0 and text[start] in lexicon("").surnames and (_open(text, start) or _role(text, start, known)):
            yield start, found.end()
    if "男" in text or "女" in text:
        for found in _SEXED.finditer(text):
            yield from _formed(text, found.start(), known)
    if "吊销" in text or "注销" in text or "撤销" in text or "暂扣" in text:
        for found in _LICENSED.finditer(text):
            if found[1][0] in lexicon("").surnames and not (_plain(found[1]) or _role(text, found.end(1), known)):
                yield found.span(1)
    if "某" in text:
        for half in _HALF.finditer(text):
            at = half.start()
            if at and _half(text, at, known):
                yield at - 1, at + 2


def _comes_in(text: str, start: int, end: int, known: Signs) -> bool:
    """Whether a role or a preposition stands before this name, or a clause begins with it that tells of nobody but a person."""
    at = start
    while at > 0 and start - at < 2 and text[at - 1] in MARKS:
        at -= 1
    if at and "\u3400" <= text[at - 1] <= "\u9fff":
        return _role(text, at, known) or (at == start and text[at - 1] in HANDS and end - start > 2)
    return personal(text, end)


def _open(text: str, start: int) -> bool:
    """Whether a clause begins there, or what stands before somebody ends."""
    return start == 0 or not "\u3400" <= text[start - 1] <= "\u9fff" or text[start - 1] in BEFORE


def _formed(text: str, end: int, known: Signs) -> Iterator[Place]:
    """What stands before somebody's sex in a form: all that a clause says, or all behind a role."""
    if _role(text, end, known):
        return
    for size in (2, 3, 4):
        start = end - size
        if start < 0 or not "\u3400" <= text[start] <= "\u9fff":
            return
        if start == 0 or not "\u3400" <= text[start - 1] <= "\u9fff" or _role(text, start, known):
            yield start, end
            return


def _role(text: str, end: int, known: Signs) -> bool:
    return any(text[max(0, end - length) : end] in known.cues for length in (2, 3, 4, 5)) or role_ends(text, end)


def _acts(text: str, end: int, known: Signs) -> bool:
    """Whether a mark stands there, the end, or what somebody does."""
    return end >= len(text) or text[end] in _BESIDE or any(text[end : end + length] in known.deeds for length in (2, 3))


def _goes_on(text: str, end: int, known: Signs) -> bool:
    """The same, or a word of one character that may follow a name."""
    return _acts(text, end, known) or text[end] in known.deeds or personal(text, end)


def _plain(pair: str) -> bool:
    """Whether this is a word of official texts, or a region."""
    table = lexicon("")
    return pair in table.official or pair in table.regions


def _worded(text: str, start: int, end: int) -> bool:
    """Whether words explain two characters, or reach into them from either side."""
    words = lexicon(text[start - 1 : end]).words
    return any(text[low:high] in words for low, high in ((start, end), (start, end + 1), (end - 1, end + 1), (start - 1, start + 1)))


def _half(text: str, at: int, known: Signs) -> bool:
    """Whether 某 at this place is the masked middle of a name whose last character stands: 温某豪, not 温某称."""
    table = lexicon(text[at - 1 : at + 4])
    last, end = text[at + 1], at + 2
    if text[at - 1] not in table.surnames or table.given.get(last, RARE_GIVEN) > _DAINTY or text[at + 1 : at + 3] in table.words:
        return False
    return last not in known.deeds and last not in _FUNCTIONS and _goes_on(text, end, known)

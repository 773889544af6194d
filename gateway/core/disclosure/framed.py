"""Somebody in a frame that nobody but a person, or a firm, stands in, whatever the name is made of: for the residual score.

责令席卷限期拆除, 向毕竟成送达, 将乐山水移送公安机关, 尚方未到庭, 和平、向前进二人, 骑手都灵闯红灯. Rules: a frame has a sign at either
end, a verb or preposition, a role, or the head of a clause before, and what is done to or by a person behind; between them stands
nothing but a surname and what may be a given name, be it an ordinary word. Every quantifier is bounded. This room must not weigh
how likely a name is elsewhere: `people` does.
"""

import re
from collections.abc import Iterator
from typing import Final

from gateway.core.disclosure.beside import KIN, role_ends
from gateway.core.disclosure.digit_runs import Place
from gateway.core.disclosure.hinted import NO_NAME, wordly
from gateway.core.disclosure.lexicon import RARE, RARE_GIVEN, Lexicon, lexicon
from gateway.core.disclosure.name_signs import Signs, signs
from gateway.core.disclosure.surnames import COMPOUND

_SLOT: Final = r"(\w{2,4}?)"
"""Whatever may be a name; ranges of Chinese characters would take longer to compile than to ask afterwards."""
_BODILY: Final = "闯牵骑拿抱喝吃跑逃打骂摔睡遛扔偷抢骗藏吸翻爬跳踢推砸撕跪哭喊蹲躺醉拎扛抡"
"""What is done with the body, so that no thing and no firm does it."""
_OWED: Final = "工资|工钱|劳务费|劳动报酬|抚养费|赔偿金|医[药疗]费|[0-9]{2,6}(?:\\.[0-9]{1,2})?元"
_SAID_OF: Final = "(?:所)?反映|的(?:投诉|举报|反映|信访)"
_ADDRESSED: Final = re.compile(
    f"令(?<=责令){_SLOT}(?=限期|立即|停止|自行|[于在](?:[0-9本收接])|[拆退赔补缴改])"
    f"|向{_SLOT}(?=送[达交]|宣读|追偿|赔[偿付]|返还|退还|索[要取]|借款|道歉|催[告缴讨])"
    f"|将{_SLOT}(?=移送|抓获|带[回离走至]|传唤|送[医往]|辞退|开除|解聘|列入失信|诉至|告上|[打撞砸咬烫][伤倒死]|免职|停职|控制|[拘逮][留捕])"
    f"|对{_SLOT}(?={_SAID_OF}|处以|罚款|行政拘留|拳打|辱骂|进行(?:询问|讯问|约谈|传唤|批评|训诫|殴打|辱骂))"
    f"|与{_SLOT}(?=发生(?:口角|争[吵执]|厮打|肢体|碰撞)|系(?:夫妻|父[子女]|母[子女]|兄|姐|亲戚|同学)|结婚|同居|离婚)"
    f'|予(?<=[给授]予){_SLOT}(?=同志|警告|记过|记大过|开除|降级|处分|[“"])'
    f"|被{_SLOT}(?=[打骂咬砸撞刺][伤倒死了骂]|殴打|辱骂|威胁|欺骗)"
    f"|受{_SLOT}(?=雇[用佣]|委托|指[使派]|胁迫|教唆)"
    f"|欠{_SLOT}(?={_OWED})|付{_SLOT}(?={_OWED})"
    f"|雇[用佣请]?{_SLOT}(?=从事|搬运|驾驶|开车|看[守管]|为其|在其)"
    f"|命(?<=任命){_SLOT}(?=为|担任)"
    f"|：(?<=[奖榜号兵范星].)[ ]?{_SLOT}(?=[（(，。、；;]|\\Z)"
    f"|给了?{_SLOT}(?=保管|看管|使用|转交)"
    f"|控(?<=指控){_SLOT}(?=犯|盗窃|诈骗|抢|伤害|非法|侵占|受贿|行贿)"
    f"|就{_SLOT}(?={_SAID_OF})"
    f"|因{_SLOT}(?=(?:多次|反复|长期|无理)\\w{{0,2}}(?:访|闹|投诉))"
    f"|制(?<=限制){_SLOT}(?=高消费|出境)"
)
"""Whom an authority turns to."""
_DID: Final = re.compile(
    "到[庭案](?!所)|缺席|不服|上诉|提[出起](?:执行)?(?:异议|诉讼|上诉|复议)|申请(?:复议|执行|再审|听证)"
    "|被(?:行政拘留|刑事拘留|训诫|抓获|传唤|辞退|解雇|[打撞砸咬烫]伤|送医)|身亡|受伤|酒后|驾[车驶]|辱骂|殴打|拒载|旷工"
    f"|{'|'.join(_BODILY)}|代[签领收缴]|携带|拍[下摄照]|扣[着下留]|出具|要求(?!的)|指使|承认|强[迫占]|勾结"
    "|擅自|私[自刻拆分藏吞]|违[规章法](?!的|行为|事实|所得|记录|案|线索|信息|情[况形])|盗窃|犯[^，。；]{2,10}罪"
)
"""What somebody did; each alternative begins with a sign, so that a search looks for those alone."""
_ALSO_FIRMS: Final = frozenset("到缺不上提申被身受酒驾辱殴拒旷")
"""First signs of what is looked at from the head of a clause too."""
_UNDUTIFUL: Final = frozenset("擅私违盗犯")
"""First signs of what nobody does in the line of duty."""
_MANNER: Final = ("突然", "故意", "当众", "公然", "拒不", "正在", "均未", *"均已也又仍拒未没正在")
_MANNER_ENDS: Final = frozenset(manner[-1] for manner in _MANNER)
"""How it was done, between whoever did it and what was done."""
_CERTIFIED: Final = re.compile("师(?:执业|资格|注册)?证书?(?:被|已|因|遗失)")
"""Whose papers these are: 敬一丹青建造师证书被注销."""
_IS: Final = re.compile(r"(?:系|为(?<=作为))(?=(\w{2,5}))")
"""What somebody is: 马上作为房东, 安全系安全员."""
_TOGETHER: Final = re.compile(
    f"[、和与及]{_SLOT}(?:[二两三四]人(?!以上|以下|次|份|间|组|一)|系\\w{{0,3}}?(?:兄|姐|父[子女]|母[子女]|夫[妻妇]|亲[戚属]|同[乡学事伙]|战友|朋友|邻居))"
)
"""Somebody at the end of a row, with how many there are."""
_TITLED: Final = re.compile(
    r"(?:老板娘?|掌柜|教练|师傅|大夫|医生|老师|会计|律师|经理|总理|主任|书记|工头|长(?<=[队厂院校所局科站班组村乡镇]长))(?<![任兼职]..)"
    r'(?!\w{0,3}[店馆铺坊厂牌面饭菜豆饼园家饺粥酱醋酒茶粉鸡鸭鱼肉]|们|室|办公|[”"’」])'
)
"""What stands behind the surname of somebody who is not named in full: 霍老板, 邬教练."""
_HURT: Final = re.compile(r"[撞打咬砸烫骂](?:[伤倒死]|(?<=辱骂))了?(\w{2,3}?)(\w\w)(?=[，。；,;]|\Z)")
"""A role and somebody, to whom something was done."""
FRAMELIKE: Final = re.compile(
    f"{_ADDRESSED.pattern}|{_DID.pattern}|师(?:执业|资格|注册|证)|系|为(?<=作为)|二人|两人|三人|四人"
    "|老板|掌柜|教练|师傅|大夫|医生|老师|会计|律师|经理|总理|主任|书记|工头|长(?<=[队厂院校所局科站班组村乡镇]长)"
    "|撞[伤倒死]|打[伤倒死]|咬[伤倒死]|砸[伤倒死]|烫[伤倒死]|骂(?<=辱骂)|骂[伤倒死]"
)
"""Without one of these nobody stands in a frame; it asks for each verb once more, since one look is less than seven."""
_ANYBODY: Final = frozenset(("群众", "行人", "路人", "工头", "务头"))
_MARKS: Final = '，。；、,;：:（(“"\n'
_ROLE_ENDS: Final = frozenset("人员者师机主生长东客童手工家民友商贩户游播头众") | KIN
_NEVER: Final = frozenset("的了在是系为于或并且而其该此我你他她这那每未不没无已都再还仍被把向对从经因据按物品款货具器械机牌账库罪况项案")


def framed(text: str) -> Iterator[Place]:
    """Where somebody stands in such a frame."""
    known = signs()
    for found in _ADDRESSED.finditer(text):
        start, end = found.span(found.lastindex or 0)
        if _fits(text[start:end], known, official=text[start - 1] == "控"):
            yield start, end
    yield from _doing(text, known)
    yield from _being(text, known)
    for found in _TOGETHER.finditer(text):
        if _fits(found[1], known, place=True, official=True):
            yield found.span(1)
            yield from _row(text, found.start(), known)
    for found in _TITLED.finditer(text):
        start = found.start() - 1 - (found[0] == "长")
        if start >= 0 and _sole(text, start):
            yield start, found.end()
    for found in _HURT.finditer(text):
        start, end = found.span(2)
        if (found[1] in known.cues or found[1] == "行人") and _ordinary(found[2], known):
            yield start, end


def _doing(text: str, known: Signs) -> Iterator[Place]:
    """At the head of a clause, or behind a role, before what somebody did."""
    for found in _DID.finditer(text):
        end = found.start()
        for adverb in _MANNER if text[end - 1 : end] in _MANNER_ENDS else ():
            if text.endswith(adverb, 0, end):
                end -= len(adverb)
                break
        if end < 2:
            continue
        if found[0][0] in _ALSO_FIRMS:
            yield from _heads(text, end, known)
        start = end - 2
        if start < 2 or text[start - 1] not in _ROLE_ENDS:
            continue
        pair = text[start:end]
        likely = _ordinary(pair, known) or (found[0][0] not in _ALSO_FIRMS and _given(pair, known, official=found[0][0] in _UNDUTIFUL))
        if likely and _role(text, start, known):
            yield start, end
    for found in _CERTIFIED.finditer(text):
        for size in (1, 2):
            yield from _heads(text, found.start() - size, known)


def _heads(text: str, end: int, known: Signs, *, official: bool = False) -> Iterator[Place]:
    """What stands between the head of a clause and this place, if it may be a name."""
    for size in (2, 3, 4):
        start = end - size
        if start < 0:
            return
        if start == 0 or text[start - 1] in _MARKS:
            if _fits(text[start:end], known, official=official):
                yield start, end
            return


def _row(text: str, end: int, known: Signs) -> Iterator[Place]:
    """Those who stand before somebody in a row, three at most."""
    for _ in range(3):
        start = next((end - size for size in (2, 3, 4) if end > size - 1 and (end == size or text[end - size - 1] in _MARKS)), -1)
        if start < 0 or not _fits(text[start:end], known, place=True, official=True):
            return
        yield start, end
        if text[start - 1 : start] != "、":
            return
        end = start - 1


def _being(text: str, known: Signs) -> Iterator[Place]:
    """At the head of a clause, before what somebody is."""
    for found in _IS.finditer(text):
        role = found[1]
        if not any(role[:size] in known.cues for size in (2, 3, 4, 5)):
            continue
        yield from _heads(text, found.start() - (text[found.start()] == "为"), known, official=True)


def _fits(word: str, known: Signs, *, place: bool = False, official: bool = False) -> bool:
    """Whether this is made like a name; `place`: also what is a region, `official`: also a word of official texts."""
    table = lexicon(word)
    compound = word[:2] in COMPOUND
    if (not compound and word[0] not in table.surnames) or min(word) < "\u3400":
        return False
    if not _NEVER.isdisjoint(word[1:]) and not (official and len(word) == 2):
        return False
    if len(word) > 2 and not place and not NO_NAME.isdisjoint(word[1:]):
        return False
    if any(word[-size:] in known.cues for size in (1, 2, 3, 4)):
        return False
    if len(word) == 2:
        return _pair(word, table, known, place=place, official=official)
    if word in table.words or word[-2:] in table.official or word[:2] in known.deeds or word[:2] in known.preludes:
        return False
    return compound or (len(word) == 3 and word[1:] not in known.deeds) or not (word[:2] in table.words and word[2:] in table.words)


def _pair(word: str, table: Lexicon, known: Signs, *, place: bool, official: bool) -> bool:
    if word in known.deeds or word in known.preludes or (word in table.official and not official) or (word in table.regions and not place):
        return False
    return official or wordly(word) or (word not in table.words and table.given.get(word[1], RARE_GIVEN) <= _DAINTY)


_DAINTY: Final = 9.5
"""What a given name costs at most that makes no word with its surname."""


def _ordinary(word: str, known: Signs) -> bool:
    return word not in known.deeds and word not in lexicon(word).official and wordly(word)


def _sole(text: str, at: int) -> bool:
    """Whether a surname alone stands there: one that is hardly a word, or behind nothing that it makes a word with."""
    table = lexicon(text[max(0, at - 2) : at + 2])
    if text[at] not in table.surnames or text[at] in _OFFICE or text[at : at + 2] in table.words or text[at - 1 : at + 1] in table.words:
        return False
    return at == 0 or not "\u3400" <= text[at - 1] <= "\u9fff" or table.alone.get(text[at], RARE) > _RATHER


_OFFICE: Final = frozenset("任代兼原副正前现应全单和与从向由经本该区县市都国后主执")
"""Surnames that say something of an office: 任教练, 原所长."""
_RATHER: Final = 9.0


def _given(word: str, known: Signs, *, official: bool) -> bool:
    """Whether two characters are such as are given, though the first may be no surname; `official`: or an official word."""
    table = lexicon(word)
    if word in table.official:
        return official and word[0] in table.surnames and word[1] not in NO_NAME
    if word in known.deeds or word in known.preludes or word in known.cues or word[1] in NO_NAME or word[1] in "堂舍室":
        return False
    return all(table.given.get(sign, RARE_GIVEN) <= _DAINTY for sign in word) or (word[0] in table.surnames and word in table.words)


def _role(text: str, at: int, known: Signs) -> bool:
    """Whether somebody's role ends there; also of whoever owns or steers something: 犬主, 机手."""
    if role_ends(text, at) or any(text[max(0, at - size) : at] in known.cues for size in (2, 3, 4, 5)):
        return True
    if text[at - 1] in KIN:
        return "其" in text[max(0, at - 3) : at - 1]
    if text[at - 2 : at] in _ANYBODY:
        return True
    return text[at - 1] in "主手" and text[at - 2 : at] not in lexicon(text[at - 2 : at]).words

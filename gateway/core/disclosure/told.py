"""What a text tells of somebody besides name and numbers: illness and injury, that somebody is a child, a birthday, where somebody lives.

Rules: an illness, pregnancy, disability or injury counts with the word that gives it to somebody (患有…, 怀孕…, 二级残疾), so that what a
drug is for, what a law forbids and how many were hurt stays; an age counts below eighteen, and a school with its class; a day of
birth counts with its word, a home behind its cue. All are replaced; what is less certain is `hinted`'s. Prohibited categories are
intake's (`records/prohibited`). This room must not look at names.
"""

import re
from collections.abc import Iterator
from typing import Final

from gateway.core.disclosure.digit_runs import Span
from gateway.core.disclosure.late import Late

_TELLING: Final = re.compile(
    "患|携带者|感染者|病人|孕|娠|截肢|断裂|坏死|家住|现住|现居|居住|住处|住在|住于|租住|残|诊断|确诊|查出|罹|骨折|流产|抑郁|阳性|癌|瘤|岁|年级"
    "|幼儿园|住址|户籍|暂住|家庭地址|出生|生于|生日|生辰|生(?<=[0-9年月日]生)|住[^所宿房建院户宅址]"
)
"""Without one of these nothing is told."""
_STOP: Final = "^，。；、,.;：:（）()\\n“”"
_PART: Final = "[^，。；、,.;]"
_NOBODY: Final = "(?!者|的?人员|疾病的|有碍|职业病的|传染病的)"
_ILLNESS: Final = (
    "(?:癌症?|白血病|肿瘤|糖尿病|高血压|心脏病|冠心病|肝炎|乙肝|丙肝|肺结核|结核病|艾滋病|梅毒|癫痫|抑郁症|精神分裂症|精神病|精神疾病|尿毒症|肾病|肝硬化"
    "|脑梗塞?|脑出血|中风|哮喘|尘肺病?|矽肺病?|职业病|白内障|痴呆症?|帕金森病?|红斑狼疮|孤独症|自闭症|双相情感障碍|精神障碍|抑郁|传染病"
    f"|[{_STOP}]{{1,6}}(?:症|病|炎|癌|瘤|坏死|麻痹|硬化|衰竭|梗死))"
)
_HEALTH: Final = (
    Late(
        f"(?:患有|身患|罹患|患上|检查出|查出|确诊为?|诊断为|诊断患有|被诊断为|患(?!者))(?:[{_STOP}的有]{{0,6}}?){_ILLNESS}(?:[1-4]期|[早中晚]期)?{_NOBODY}"
        f"(?![{_STOP}]{{0,6}}(?:的(?!家属|妻|丈|儿|女|父|母)|疾病|人员|患者))"
    ),
    Late(f"(?:系|为|是)[{_STOP}]{{0,4}}(?:乙肝|丙肝|艾滋病?|HIV|梅毒|结核)[{_STOP}]{{0,4}}(?:携带者|感染者|患者|病人)"),
    Late("(?:评定|鉴定|构成|属|为|系)[为是于]?[0-9]{1,2}级(?:伤残|残疾)"),
    Late("(?:已|其|系|正)?(?:怀孕|妊娠)[约已]{0,2}[0-9十]{1,2}(?:个?多?月|周)(?:余|多)?"),
    Late("(?:[1-9]级|轻度|中度|重度)?(?:肢体|视力|听力|言语|智力|精神|多重)残疾(?:[1-4]级)?(?!人|者)"),
    Late(
        f"(?:左|右|双|其|致){_PART}{{0,4}}(?:腿|臂|腕|肋|锁骨|踝|髋|股|胫|腓|颅|椎|指|趾|手|脚|足|膝|肩|鼻){_PART}{{0,4}}"
        "(?:骨折|截肢|断裂|坏死)"
    ),
    Late("(?:因|患)其?(?:先兆)?流产(?:住院|就医|手术)?"),
    Late(f"(?:HIV|艾滋病|梅毒|乙肝|新冠|核酸|毒品|尿检|吗啡|冰毒){_PART}{{0,12}}(?:呈|为)阳性"),
    Late(f"(?:HIV|艾滋病毒?|梅毒|乙肝|丙肝|结核){_PART}{{0,12}}阳性(?!率|样|标|对照|质控)"),
)
_CHILD: Final = "(?:男|女|孩|童|少年|少女|儿子|女儿|学生|$|[，。；、,.;)）])"
_MINOR: Final = (
    Late(
        "(?:年仅|时年|现年|年龄|年满|刚满|不满|未满|年)?[为:约]?(?<![0-9十百])(?:1[0-7]|[1-9])周?岁"
        f"(?=[^，。；、,.;的以至到之]{{0,6}}{_CHILD}|的?(?:少年|少女|儿子|女儿|孩子|男孩|女孩|男童|女童|学生|外甥|侄|孙|弟|妹))"
    ),
    Late(
        f"(?:就读于?|在读于?|系|为){_PART}{{2,16}}(?:小学|中学|幼儿园|学校){_PART}{{0,10}}?"
        "(?:[1-9](?:年级)?[(（]?[0-9]{0,2}[)）]?班|[1-9]年级|[大中小]班)"
    ),
)
_DATE: Final = (
    "(?:(?:(?:18|19|20)?[0-9]{2}年)(?:[0-9十腊正冬元]{1,3}月(?:初?[0-9十廿]{1,3}[日号]?)?)?|(?:19|20)[0-9]{2}[-./][0-9]{1,2}(?:[-./][0-9]{1,2})?"
    "|(?:19|20)[0-9]{6}|(?<![0-9])[0-9]{2}[-./][0-9]{1,2}[-./][0-9]{1,2}(?![0-9]))"
)
_BORN: Final = (
    Late(
        f"(?:出生(?:日期|年月日?|时间)?|(?<![产发诞派滋衍再新养])生于|生日|生辰)[:：为是系在于 ]{{0,3}}"
        f"({_DATE}|[0-9十腊正]{{1,3}}月[0-9十初廿]{{1,3}}[日号]?)"
    ),
    Late(f"({_DATE})[ ]?(?:出生(?!医|证|率|缺)|生(?=[，。；、,.;)）人的]))"),
)
"""A day of birth, also of years or months alone."""
_HOME: Final = Late(
    "(家庭住址|家庭地址|现住址?|户籍地址?|户籍所在地|居住地址?|暂住地址?|住址|现居住?于?|现住于?|居住于|出生地)[:：为是在于 ]{1,3}"
    "([^，。；、,;（(\\n]{4,40})"
)
_LIVES: Final = Late(
    "(?:家住|现住|现居|租住[在于]?|居住[在于]|暂住[在于]?|住在|住于|住处[是为在:]{1,2})"
    f"([{_STOP}]{{2,30}}?(?:[号组室栋幢楼村屯委]|小区|单元)[{_STOP}]{{0,12}})"
)
_RESIDES: Final = Late(
    f"住(?![所宿房建院户宅址处改店持进在于])(?=[{_STOP}]{{1,12}}(?:[省市县区旗州乡镇街路巷弄屯村社道]|胡同))"
    f"([{_STOP}]{{2,30}}?(?:[0-9零〇一二三四五六七八九十百]{{1,6}}(?:号楼?|[组室栋幢户委队]|单元)|[屯村沟])[{_STOP}]{{0,12}})"
)
"""The plain word of decisions, 张某，男，住某区某街九号, behind no cue."""


def told(copy: str) -> Iterator[Span]:
    """What a copy tells of somebody."""
    if _TELLING.search(copy) is None:
        return
    for pattern in _HEALTH:
        for found in pattern.finditer(copy):
            yield Span(found.start(), found.end(), "健康", found[0])
    for pattern in _MINOR:
        for found in pattern.finditer(copy):
            yield Span(found.start(), found.end(), "未成年", found[0])
    for pattern in (_LIVES, _RESIDES):
        for lives in pattern.finditer(copy):
            yield Span(lives.start(1), lives.end(1), "地址", lives[1])
    for pattern in _BORN:
        for found in pattern.finditer(copy):
            yield Span(found.start(1), found.end(1), "出生日期", found[1])
    for home in _HOME.finditer(copy):
        yield Span(home.start(2), home.end(2), "地址", home[2])

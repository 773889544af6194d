"""What stands beside nobody but a person, whatever the name is made of; asked of a place in a text where a name may begin or end.

Every quantifier is bounded. This room must not judge what stands between.
"""

from typing import Final

from gateway.core.disclosure.late import Late

HANDS: Final = frozenset("由据经向对与给问讯")
"""Prepositions before what somebody does: 由…签收, 向…出售, 据…交代."""
_ROLES: Final = frozenset("人员者")
KIN: Final = frozenset("妹弟兄姐父母子女孙侄甥舅姨姑叔伯婶嫂媳婿公婆爷奶妈爸")
_KIN_OF: Final = frozenset("继养干堂表亲胞其")
"""Before a word of kinship: 继女, 胞妹."""
_NO_ROLE: Final = frozenset("等他无有每某本个二两三四五六七八九十几多数名众令为以当法")
_PERSONAL_SIGNS: Final = frozenset('提刑行采执批的作在一之与和等并不系个处未到均名身领同先及本”"’')
_SEXED_SIGNS: Final = frozenset("，,、（( ")
_PERSONAL: Final = Late(
    "的(?:(?:上述|该|这一)(?:违法)?)?行为|的(?:陈述|证言|供述|询问|谈话|身份|户籍|户口|个人|私人|银行[卡账]|账[户号]|手机|微信|支付宝|家属|亲属|妻|丈夫|儿子|女儿|父|母|兄|弟"
    "|姐|妹|工资|签名|签字|指印|监护人|住处|名义|驾驶证|健康证|伤情|死亡)|作为(?:法定|法人|负责|经营|直接|企业|公司|单位|项目|主要|现场|该)|在逃|一案|一家|[之与和](?:其)?[妻夫父母兄弟姐妹]"
    '|之[子女](?!公)|与其[子女]|等[0-9一二三四五六七八九十]{1,3}[名位人]|等(?:农民工|工人|员工|职工|劳动者)|[”"’]?(?:并非|不是|系)(?:本[^案院局]|该[单公]|我公|冒|夫|父[子女亲]|母[子女亲]|兄弟|其[妻夫子女父母])'
    '|[”"](?:与|和)[^，。；]{0,10}(?:身份|本人|职工|员工|人员)|个人(?:行为|所有|账户|名义|独资)|提起公诉|刑事拘留|行政拘留|采取(?:刑事|强制|限制)|执行逮捕|批准逮捕|处以|作出[^，。；]{0,12}罚|未到案|到案|均?未到场|名下|身份证|[(（][^）)]{0,8}(?:岁|[男女][,，)）]|身份证|在逃|另案|已故|化名|汉族)|[”"’]?系(?:该|本|其|涉案|上述|案涉)[^，。；、]{0,12}(?:人|员|者|工|师|负责人|老板|代表|股东|法人|司机|户主|车主|业主|房东|亲属|配偶)(?=[，。；、,]|$)|(?:本人)?领走|同志|先生|[、和及与][\u3400-\u9fff]某'
)
"""What follows nobody but a person, whatever the name is made of."""
_SEXED: Final = Late("[，,、（( ]{1,2}(?:性别[:：]?)?[男女](?![生子性士装童孩孕工职式厕用款鞋包衣裤])")


def personal(text: str, end: int) -> bool:
    """Whether what goes on at this place follows nobody but a person."""
    following = text[end : end + 1]
    if following in _SEXED_SIGNS:
        return following != "" and (_SEXED.pattern.match(text, end) or _PERSONAL.pattern.match(text, end)) is not None
    return following in _PERSONAL_SIGNS and _PERSONAL.pattern.match(text, end) is not None


def role_ends(text: str, at: int) -> bool:
    """Whether a word for somebody's role ends there, by its ending alone."""
    if text[at - 1 : at] not in _ROLES:
        return text[at - 1 : at] in KIN and text[at - 2 : at - 1] in _KIN_OF
    return text[at - 2 : at - 1] not in _NO_ROLE or text[at - 3 : at - 1] == "所有"

"""Whether a text seems to tell where somebody lives: for the residual score, nothing is replaced by it.

Rules: a dwelling counts from its unit, its residents or its number in an estate, and a plain address from a word of homes, neighbours
or deliveries beside it; premises of firms, the rooms of offices, markets and factories, and works on a building do not. Every
quantifier is bounded. This room must not look at names.
"""

import re
from typing import Final

from gateway.core.disclosure.digit_runs import Place
from gateway.core.disclosure.late import Late

_ROOM: Final = "[0-9十百]{1,4}"
_RESIDENT: Final = "居民|住户|村民|家中|家里|家门|自家|住宅|住处|民房|租住|居住|户主|一户|[0-9A-Z]户|业主"
_ESTATE: Final = "小区|花园|家园|新村|新城|公寓|宿舍|家属楼|家属院|家属区|佳苑|嘉园|名苑|雅苑|华府|社区|棚户区"
_HOME: Final = Late(
    rf"(?:{_ROOM}(?:号楼|栋|幢|座|号|#)?[^,。;:、\n0-9]{{0,6}}{_ROOM}单元"
    rf"|{_ROOM}单元[^,。;、\n]{{0,6}}(?:{_ROOM}(?:室|号|户|门)|{_RESIDENT}|[0-9]{{3,4}})"
    rf"|{_ROOM}(?:号楼|栋|幢)[^,。;、\n]{{0,6}}[0-9]{{1,4}}(?:室|户|号房)"
    rf"|{_ROOM}(?:号楼|栋|幢)[^,。;、\n]{{0,8}}(?:{_RESIDENT})"
    rf"|(?:{_ESTATE})[^,。;、\n]{{0,8}}[0-9]{{1,4}}(?:室|户|号房)"
    rf"|(?:{_ESTATE})[^,。;、\n0-9]{{0,8}}[0-9]{{1,3}}(?:号楼?|栋|幢|#)?-[0-9]{{1,4}}"
    rf"|[路街巷弄里道同屯组村院]{_ROOM}(?:-{_ROOM})?号[^,。;、\n]{{0,8}}(?:{_RESIDENT})"
    rf"|[路街巷弄同屯村院]{_ROOM}号(?:院|楼)?[^,。;、\n]{{0,4}}[0-9]{{2,4}}室"
    rf"|门牌号?码?[为是:]?[^,。;、\n]{{0,6}}[0-9]{{1,4}}"
    rf"|[村屯社][^,。;、\n]{{0,4}}{_ROOM}[组社队][^,。;、\n]{{0,8}}(?:家中|家里|自家|住宅|住处|租住|居住))"
)
_HOMELIKE: Final = re.compile("门牌|单元|号楼|栋|幢|室|户|居民|村民|居住|住宅|住处|租住|民房|业主|自家|家[中里门]|-[0-9]")
"""Without one of these a copy tells no home in this way."""
_NUMBERED: Final = re.compile("[0-9A-Z十百甲乙丙丁]")
"""Without one of these nothing has the number of a house or a room."""
_OFFICE: Final = Late("大厦|写字楼|产业园|工业园|科技园|创业园|商务|办公|广场|中心|教学楼|实验楼|门诊楼|住院楼|市场|厂区|园区|商场")

# --- an address, and what makes it a home ------------------------------------------------------------------------------

_PART: Final = r"[^,，。;；\n]"
_SENTENCE: Final = r"[^。;；\n]"
_NUMBER: Final = "[0-9A-Z十百甲乙丙丁]{1,5}"
_ADDRESS: Final = (
    "(?:[路街巷弄里屯村委苑邸邨庭城镇乡湾郡府沟院楼区]|胡同|花园|家园|公寓|宿舍)"
    rf"{_PART}{{0,5}}?(?:{_NUMBER}(?:号(?!公告|文)|栋|幢|座|单元|室|委|[组社队](?![织会])|户|排|#)|[0-9]{{1,3}}[-#][0-9])"
)
_AT_HOME: Final = (
    "(?<![国商厂专买卖各大玩赢农行几多两0-9])家(?:[中里住在]|门口)|自己?家(?!具|电|庭|族|纺)|[他她其我](?:父母?)?家(?!具|电|庭|族|纺)|亲属家"
    "|借宿|房子就?[在位]|住处|居所|家宅|私宅|老宅|老家|暂居|借住|租住|居住|(?<!入)住在|住于|[户屋]主|房东家|民宅|民房|出租屋"
    "|[父母爷奶妻夫子女兄弟姐妹][亲子]?位于"
)
_SENT: Final = (
    "收货|收件|寄件|取件|退件|取货|放在|[邮快]寄|寄[往到至出给回]|邮[往到至]|送货|送餐|送达地址|[投派配]送[至到]|投递|送[至到]|签收地址|退货地址|上门[^,，。;；\n]{0,4}地址"
    "|[留填写报给][下出明写]?的?地址|地址(?:填写?|写|留)|登记地址|通讯地址|联系地址|订单备注|代收"
)
_CUED: Final = Late(rf"(?:{_AT_HOME}){_SENTENCE}{{0,24}}?({_ADDRESS})")
_SENT_TO: Final = Late(rf"(?:{_SENT}){_SENTENCE}{{0,24}}?({_ADDRESS})")
_HOUSED: Final = Late(
    rf"({_ADDRESS}){_PART}{{0,6}}?(?:家[中里]|自家|住处|住宅|居住|租住|民房|民宅|(?:村|居)民(?!委|小组|用户|楼|区|会)|(?:的|之)房屋内?|户主|屋主)"
)
_BARE: Final = Late(
    rf"(?:(?:为|系|是|原籍){_PART}{{2,16}}(?:镇|乡|街道|村|屯|委|社区|[0-9]组)(?:村|居|乡)民(?!委|小组))"
    rf"|户籍(?:地址?|所在地)?[为系是在于: ]{{0,2}}{_PART}{{1,12}}?[省市县区旗镇乡村屯街]"
    rf"|(?:(?<![国商厂专买卖各大玩赢农行几多两0-9])家[住在]|(?<![入居])住在|住于|暂居于?|借[住宿]于?在?|房子就?[在位])(?!(?:院|所在))[\u3400-\u9fff]{{2}}"
    r"|(?:[主人员]|其|[他她])[现暂就]?住(?![院宿所宅房户建址进入店读])[\u3400-\u9fff]{3}"
    rf"|[户屋]主家[(（]"
    rf"|暂住(?![证人地登在于])[\u3400-\u9fff]{{2}}"
    rf"|(?:其|[他她]){_PART}{{0,12}}[村屯镇乡街路区]的?家[中里]"
    rf"|[,，;；、]住(?![所宿房建院户宅址处改店持进在于满])[\u3400-\u9fff]{{2,10}}(?:{_ROOM}(?:号|栋|幢|单元|[组社委])|后身|对面|隔壁|附近|[后东西南北]侧)"
    rf"|收货地址[为是: ]{{0,2}}(?![与和不信变一])[\u3400-\u9fff]{{3}}"
)
"""Homes without a number: a villager of…, registered in…, lives in…."""
_PLACED: Final = Late(
    rf"[0-9十]{{1,3}}委[的之第]?[0-9十]{{1,3}}组"
    rf"|[村屯][0-9十]{{1,3}}(?:[组社队](?![织会])|屯|号(?![公文井线矿地楼桥机库点棚塘路沟]))"
    rf"|[东西南北][头边]?第[0-9十]{{1,3}}[趟家户排栋座]"
    rf"|公寓[0-9]{{3,4}}(?![0-9.,年月元平米㎡套间户])"
    rf"|(?:小区|花园|家园|佳苑|嘉园|[名雅丽]苑|苑|名邸|邸|雅居|公馆|豪庭|新村|公寓|家属[楼院区])[东西南北中]?[A-Z]?区?[0-9A-Z十]{{1,3}}(?:号楼|栋|幢|座|#)"
    rf"|[\u3400-\u9fff](?![48]00-[0-9]{{3,4}}-[0-9]{{3,4}}(?![0-9])){_ROOM}(?:-|#){_ROOM}(?:(?:-|#)[0-9]{{3,4}}|(?<=[0-9]{{3}}))(?![0-9A-Z-])"
    rf"|[路街巷弄同]{_ROOM}(?:-{_ROOM})?号(?:院|楼)?(?:[0-9]{{1,2}}(?:门|楼|栋|号楼))?[0-9]{{3,4}}(?![0-9.,年月元平米号㎡])"
    rf"|弄(?:[0-9]{{1,3}}支弄)?{_ROOM}号|号附{_ROOM}号|号[^,，。;；]{{0,4}}(?:自建房|廉租房|公租房)"
    rf"|院[0-9]{{1,2}}门[0-9]{{1,4}}"
    rf"|宿舍[0-9A-Z]{{1,3}}(?:号楼|栋|幢|-)[0-9]{{3,4}}"
    rf"|胡同{_ROOM}号"
    rf"|(?:家属|职工|教师|教工|干部)[楼院](?:[0-9]{{1,2}}(?:单元|门|楼)|{_PART}{{0,4}}[东西南北中]户)"
    rf"|单元[东西南北中]户|[楼门](?:左|右)手|平房第?{_ROOM}[户排]"
    rf"|[巷弄同院屯村宅]{_PART}{{0,8}}?(?:[东西南北]?[厢耳偏]房|[东西南北后里]屋|[东西]厢|阁楼|[前后]楼|亭子间)(?![产屋地主租顶])"
)
"""Numbers that are those of homes unless a firm stands behind them."""
_PREMISES: Final = Late(
    "底商|门市|商铺|网点|门面|[1一]楼|[1一]层|电梯|项目|工程|施工|在建|消防|供水|外墙|屋面|物业|车库|车位|商业|预售|商品房|集体|土地|林地|耕地|地块|河|山|沟|路段|养殖|加工|采"
    "|(?:店|超市|公司|厂|场|诊所|药房|馆|吧|中心|学校|机构|经营部|卫生室|站|仓库|库房|[粮冷油料]库|大棚|砖窑|合作社|会所|场所|作坊|工地|营业)"
)
_DESK: Final = Late("[,，;；](?:联系|受理|承办|办公)(?:部门|科室|处室|单位|机构|时间)")
"""Behind the address of an office."""
_BUSINESS: Final = Late("经营场所|经营地址|注册地址|生产地址|登记地址|登记的?住所|开发|承建|承揽|施工|建设单位|项目|工程")
_MAY: Final = re.compile(
    "家[中里住在]|家(?<=[自己他她其我母属老]家)|住处|居所|宅(?<=[私老民]宅)|暂[居住]|借[住宿]|房子|租住|居住|住在|住于|主(?<=[户屋]主)|民房|出租屋|位于|收货"
    "|件(?<=[收取退]件)|取货|放在|寄|邮|送[货餐至到达]|投递|地址|代收|备注|民(?<=[村居乡]民)|户籍|委(?<=[0-9十]委)|村[0-9十]|屯[0-9十]|公寓|第(?=[0-9十])|路[0-9十]|街[0-9十]"
    "|巷[0-9十]|弄[0-9十]|同[0-9十]|号楼|栋|幢|座|#|-[0-9]|门[0-9]|宿舍|胡同|单元|平房|左手|右手|房屋|厢|附(?=[0-9])|建房|租房|前楼|后楼|屋(?<=[东西南北后里]屋)|耳房|偏房|阁楼|住(?:(?<=[,，;；、主人员其他她]住)|(?<=[主人员其他她][现暂就]住))"
)
"""Without one of these a copy tells no address that is worth a look."""


def dwellings(copy: str, covered: bytearray, public: bytearray) -> list[Place]:
    """Where a copy seems to tell a home: by unit or room, by the number of a house with its residents, or by a word beside an address."""
    doubts: list[Place] = []

    def free(start: int, end: int) -> bool:
        return not any(covered[start:end]) and not (public and all(public[start:end]))

    if _HOMELIKE.search(copy) is not None and _NUMBERED.search(copy) is not None:
        for found in _HOME.finditer(copy):
            start, end = found.span()
            if not free(start, end):
                continue
            homely = "单元" in found[0] or "家" in found[0] or "住" in found[0]
            if not homely and _OFFICE.pattern.search(copy, max(0, start - 12), end):
                continue
            doubts.append((start, end))
    if _MAY.search(copy) is None:
        return doubts
    for found in _PLACED.finditer(copy):
        start, end = found.span()
        if free(start, end) and not _of_a_firm(copy, start, end):
            doubts.append((start, end))
    for pattern in (_CUED, _SENT_TO, _HOUSED) if _NUMBERED.search(copy) is not None else ():
        for found in pattern.finditer(copy):
            start, end = found.span(1)
            if free(start, end) and not (pattern is _SENT_TO and _firm_follows(copy, end)):
                doubts.append((start, end))
    doubts += (found.span() for found in _BARE.finditer(copy) if free(*found.span()))
    return doubts


def _clause_end(copy: str, start: int, reach: int) -> int:
    """Where the clause ends that goes on at `start`, so far at most."""
    return next((at for at in range(start, min(len(copy), start + reach)) if copy[at] in ",，。;；\n"), min(len(copy), start + reach))


def _firm_follows(copy: str, end: int) -> bool:
    return _PREMISES.pattern.search(copy, end, _clause_end(copy, end, 12)) is not None or _DESK.pattern.match(copy, end) is not None


def _of_a_firm(copy: str, start: int, end: int) -> bool:
    """Whether a firm or a building site is what stands at this number."""
    before = max(0, start - 20)
    return _firm_follows(copy, end) or any(late.pattern.search(copy, before, start) is not None for late in (_BUSINESS, _OFFICE))

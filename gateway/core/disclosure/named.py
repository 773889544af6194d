"""Whether a text seems to name somebody or somebody's home: for the residual score alone, nothing is replaced by it.

Rules: a name counts behind a cue (法定代表人 …) whatever follows it, before a deed (… 驾驶), at the head of a dated sentence, written
with ·, or of a compound surname; also with blanks between its characters. A dwelling counts from its unit or its residents. Words of
official texts that only begin like a name do not. This room must not be asked about a field that is known to hold a name.
"""

import re
from typing import Final

from gateway.core.disclosure.spelling import HIDDEN
from gateway.core.disclosure.surnames import COMMON, COMPOUND, NOT_NAMES

_HAN: Final = "\u4e00-\u9fff"
_NOT_GIVEN: Final = (
    "的了在是有对于与及不未无已被将应当能该此等所由因从到以并或而但上下内外前后公司局厂店部门员法规条款项年时责任营执照许证件号处罚违政决依据场按要提供"
    "销售购买产述某各类别种式便重额间我你他她它们这那哪何每个单位次第先女士者众身体用食品药器械料材装施程筑屋房地电气油车辆船输货物资款账目票据约签订期"
    "限情形标准质价格告传虚假误导欺诈故过失认"
)
"""Characters that hardly stand in a given name, but often after a word that looks like a surname."""
_GIVEN: Final = f"(?![{''.join(sorted(set(_NOT_GIVEN)))}])[{_HAN}]"
_NOT_CUED: Final = "".join(sorted(set(_NOT_GIVEN) - set("有在先生能时传政材程方品照重以应无法营年施资房体标约此用从")))
_CUED_GIVEN: Final = f"(?![{_NOT_CUED}])[{_HAN}]"
"""Behind a cue more characters are believed to be of a name."""

_CUES: Final = (
    "法定代表人|法人代表|法人|负责人|经营者|业主|店主|老板|当事人|行为人|责任人|联系人|员工|职工|工人|雇员|司机|驾驶员|驾驶人|乘客|患者|病人|学生|学员|老师|教师|医生|医师|"
    "护士|消费者|投诉人|举报人|报案人|受害人|被害人|死者|伤者|原告|被告|被告人|申请人|被申请人|证人|股东|监事|董事长?|总经理|经理|会计|出纳|村民|居民|姓名|名叫|男子|女子|"
    "妻子|丈夫|儿子|女儿|父亲|母亲|哥哥|姐姐|弟弟|妹妹|亲属|家属|户主|租户|房东|操作工(?!程)|电工(?!程)|焊工(?!程)|作业人员|从业人员|工作人员|安全员|检验员|质检员|收银员|厨师|"
    "实际控制人|实控人|其[妻夫子女父母兄弟姐妹]|前[妻夫]|之[妻夫子女父母兄弟姐妹]|岳[父母]|祖[父母]|爷爷|奶奶|叔叔|阿姨|舅舅|侄[子女]|外甥女?|孙[子女]|女婿|儿媳|男[友孩童生]|女[友孩童生]|未婚[妻夫]|"
    "家长|监护人|代理人|委托人|受托人|担保人|保证人|借款人|承租人|出租人|承包人|经办人|交接人|接收人|介绍人|签收人|收货人|收件人|寄件人|发货人|购买人|买家|卖家|房主|车主|机主|货主|船[主长员]|"
    "罪犯|逃犯|嫌疑人|被执行人|被处罚人|肇事[者人]|目击者|知情人|遇难者|遇害者|失踪者|同案人?|同伙|同事|同学|邻居|朋友|亲戚|"
    "店员|店长|营业员|服务员|售货员|导购员?|促销员|保安|保洁员|仓管员|库管员|采购员|业务员|销售员|推销员|快递员|外卖员|骑手|主播|技术员|护理员|护工|保姆|药师|药剂师|技师|美容师|"
    "师傅|徒弟|校长|园长|院长|主任|科长|所长|局长|处长|站长|厂长|队长|组长|班长|支书|书记|律师|老人|老太|老汉|顾客|旅客|游客|住户|"
    "叫做|叫作|名字叫|自称|人称|化名|网名|真名|本名|署名"
)
_COMMON: Final = "".join(sorted(COMMON))
_FAMILY: Final = f"(?:{'|'.join(sorted(COMPOUND))}|[{_COMMON}])"
_WORDLIKE: Final = "万于付任余向戴方曾管"
"""Surnames that are more often a word of the sentence: a name of these needs a sign behind it too."""
_SURE: Final = f"(?:{'|'.join(sorted(COMPOUND))}|(?![{_WORDLIKE}])[{_COMMON}])"
_RARE: Final = (
    "褚卫戚喻柏窦章云奚郎昌苗凤俞酆鲍费岑滕毕邬卞卜穆萧湛祁禹狄贝臧伏茅舒屈蓝闵席麻娄颜梅盛刁骆凌虞柯昝裘缪宗宣郁杭诸钮嵇滑裴荣翁荀惠甄芮羿靳邴糜井巫乌巴隗宓"
    "郗仲伊宫宁仇栾甘厉戎祖符景幸韶郜蓟薄蒲邰鄂赖卓蔺屠蒙池阴胥贡逄姬冉郦雍桑桂濮寿扈燕冀郏浦尚农庄晏瞿慕茹宦艾戈庾暨衡耿弘匡寇阙沃蔚隆巩晁敖冷訾辛阚饶沙鞠荆竺逯"
    "桓苟傅涂佟隋仝矫佘慈苑冼檀晋楚亢乔安"
)
"""Surnames of the tenth in ten that are seldom words."""
_AFTER: Final = (
    "(?=[,，。、；;：:（(）)“”\"'\\s]|$|的|在|于|与|和|及|等|系|向|称|因|被|将|到|对|从|为|签|陈述|表示|承认|提供|购买|投诉|驾驶|未|自|以|经|给|处|住|"
    "身份|电话|联系|男|女|作为|担任|受|持|有|反映|证实|举报|供述|交代|确认|说明|申请|要求|提出|领取|辩称|死亡|销售|经营|实施|使用|参与|参加|协助|到场|现场|名下|家|已|曾|把|说|让|去|用|遭|代)"
)
_MARKS: Final = '[:：为是系叫即“"(（)） \u3000]{0,3}'
_NAME: Final = f"{_FAMILY}{_GIVEN}(?:{_GIVEN})??"
_NICKNAME: Final = (
    f"[小老阿大][{_COMMON}](?!序|额|块|虾|菜|围|务|达|鱼|车|病|子|面|米|型|道|网|法|口|门|孔|蒜|葱|豆)(?![一二三四五六七八九十百千万0-9])"
)
_CUED_NAME: Final = re.compile(
    f"(?:{_CUES}){_MARKS}({_SURE}{_CUED_GIVEN}|[{_WORDLIKE}{_RARE}]{_CUED_GIVEN}(?:{_CUED_GIVEN})??{_AFTER}|{_NICKNAME})"
)
"""In this order of its alternatives nothing is lost: they begin with different characters."""
_CUED_ENDED: Final = re.compile(f"(?:{_CUES}){_MARKS}({_NAME}){_AFTER}")
"""With a sign behind the name, so that fewer words speak against it."""
_ALIAS: Final = re.compile(f'(?:绰号|外号|诨号|小名|乳名)[:：为是叫“"‘ ]{{0,3}}((?!某)[{_HAN}]{{2}})')
_CALLED: Final = re.compile(f'名为[“" ]{{0,2}}({_SURE}{_CUED_GIVEN}(?:{_CUED_GIVEN})??)[”" ]{{0,2}}的[男女人顾客学员患孩老儿]')
_DEED: Final = (
    "驾驶|驾车|饮酒|醉酒|酒后|殴打|辱骂|签字|签名|供述|自述|交代|承认|投诉|举报|死亡|受伤|住院|患有|怀孕|就诊|报案|身份证|手机号|先生|女士|同志|之妻|之子|之女|"
    "的妻子|的丈夫|的儿子|的女儿|的父亲|的母亲|的家属|本人|出生|户籍|现住|涉嫌|未满"
)
_DOER: Final = re.compile(f"({_NAME})(?={_DEED})")
_HEAD: Final = "，。；：、（“,;:(\\s由经与和及向给让系是"
_STRICT_DEED: Final = (
    "签收|签署|捺印|按手印|在场|到场|在现场|在家|反映|证实|作证|指认|辨认|确认|代收|领取|陪同|供称|自称|辩称|声称|称其|家中|家里|住处|住宅|名下|的证言|的陈述|的询问|的笔录|"
    "身亡|溺水|溺亡|坠楼|坠亡|被捕|被拘|失踪|昏迷|骨折|自杀|遇难|病逝|去世|获救|就读|打工|到案|归案|认罪|投案|自首|老师|医生|师傅|阿姨|大妈|大爷|大娘|老汉|夫妇|夫妻|父子|母子|"
    "一家|等[0-9二两三四五六七八九十]{1,3}人|[，,、（( ]{1,2}(?:性别)?(?:[男女]|[汉满回]族|朝鲜族|现年|年龄|[0-9]{1,3}岁|生于)"
)
_HEADED_DOER: Final = re.compile(
    f"([{_COMMON}{_RARE}](?<![{_WORDLIKE}])(?<![^{_HEAD}].){_CUED_GIVEN}(?:{_CUED_GIVEN})??)(?={_STRICT_DEED})"
)
_DATED_NAME: Final = re.compile(f"(?:^|[，。；：、（(\\s])({_NAME})(?=于[0-9二〇]{{2,4}}|在其|驾|骑|步行)")
_FOREIGN_NAME: Final = re.compile(r"[\u4e00-\u9fff]{2,8}[·•‧][\u4e00-\u9fff]{2,8}")
_BOTH: Final = "第五东方南门东门西门西宫百里东里子车单于鲜于闻人钟离公西公良宗政夹谷微生"
_UNSURE: Final = frozenset(_BOTH[at : at + 2] for at in range(0, len(_BOTH), 2))
"""Compound surnames that are words, or that words run into: 第五条, 电子车间, 分钟离岗."""
_COMPOUND_NAME: Final = re.compile(
    f"((?:{'|'.join(sorted(COMPOUND - _UNSURE))})(?<![公以][{_HAN}]{{2}})(?![市县区路街镇乡村省州]){_CUED_GIVEN})"
)
_BLANK: Final = "[ \\t\u3000\u00a0]{1,3}"
_SPACED_NAME: Final = re.compile(f"([{_COMMON}](?<![{_HAN}].)(?<![{_HAN}] .){_BLANK}{_CUED_GIVEN}(?:{_BLANK}{_CUED_GIVEN})?)(?=[^{_HAN}])")
_NAMED: Final = (
    _CUED_NAME, _CUED_ENDED, _ALIAS, _CALLED, _DOER, _HEADED_DOER, _DATED_NAME, _FOREIGN_NAME, _COMPOUND_NAME, _SPACED_NAME,
)  # fmt: skip
_BOUNDED: Final = frozenset((_CUED_ENDED, _DOER, _DATED_NAME, _FOREIGN_NAME))
_SIGNS: Final = f"[{HIDDEN}.·•‧∙・_~-]"
_APART: Final = re.compile(f"{_SIGNS}(?<=[{_HAN}]{_SIGNS}){_SIGNS}{{0,2}}(?=[{_HAN}])")

_ORDINARY: Final = (
    "张数张开陈设陈醋黄色黄油黄豆黄铜黄线黄页黄牛黄土黄沙黄鳝黄鱼黄芪黄瓜周末周全周到周六周日周五周三周一周二周四周内周报周年马达马力马桶马匹马车胡乱胡同胡椒"
    "何时何种何人高峰何处何地何况何以何等何为何物何事何方高级高层高新高中高质高效高标高额高频高达高污高耗高毒高浓高利高位高发高考高铁高端高清高限高低高管高职高等高大高血高息"
    "林地林下林农林权林政林草林产罗纹许可肖像田地金矿金银金边金店金饰金库万人万次万以万多余人余种余次余名余份余件史实史上"
    "方能方予方才方未方已方均方有方不方需方应曾因曾被曾在曾多曾受曾有曾两曾向曾对曾就曾三曾一曾二曾以曾用曾从曾先任务任期任命任免任教任由任其任课任用任用"
    "程式管控管护管线管材管委管部白色白糖白砂白名白条白灰白菜石灰石墨石化石块石英石棉钟内钟后钟头钱物钱币叶菜陆地陆运陆上段落段时雷达雷击龙头龙虾毛巾毛利毛发毛衣毛料"
    "温控温室温差康养岳父岳母齐全齐备洪涝季末季报季中关注关停关店关税关口关押关怀关门关爱关卡关切焦炭焦油焦化左边左转左上祝贺季前柴火柴草牛羊牛皮牛蛙牛杂毛孔殷实"
    "顾虑顾及武术武装武器汤料汤圆汤锅葛根葛粉姜黄姜片苏打杜仲范例范畴夏天夏秋夏令付清付费付出付息付给付薪付现付讫付工付货付账付全付定付押付租严肃严厉严谨严防严控"
    "严查严惩严守戴口戴安戴手莫名孔径孔雀程控江水江边谢谢孟加万能安排安装安置安葬祖国尚未尚有尚需尚欠尚不冷藏冷冻冷链景区宣传宣布宣告隆重宁可宁愿农药农业农村农民沙石"
    "云南云端宗教符合符号章程章节桂林燕窝贡献晋升费用荣誉荣获池塘蒙受蒙混屠宰阴雨仲裁卫生席位盛大盛装麻醉麻辣梅毒蓝色凌晨苗木苗圃"
)
_STOPS: Final = NOT_NAMES | frozenset(_ORDINARY[at : at + 2] for at in range(0, len(_ORDINARY), 2))
"""Words of official texts that begin like a name, ours beside those of the surnames."""

_ROOM: Final = "[0-9十百]{1,4}"
_RESIDENT: Final = "居民|住户|村民|家中|家里|家门|自家|住宅|住处|民房|租住|居住|户主|一户|[0-9A-Z]户|业主"
_ESTATE: Final = "小区|花园|家园|新村|新城|公寓|宿舍|家属楼|家属院|家属区|佳苑|嘉园|名苑|雅苑|华府|社区|棚户区"
_HOME: Final = re.compile(
    rf"(?:{_ROOM}(?:号楼|栋|幢|座|号|#)?[^,。;:、\n0-9]{{0,6}}{_ROOM}单元"
    rf"|{_ROOM}单元[^,。;、\n]{{0,6}}(?:{_ROOM}(?:室|号|户|门)|{_RESIDENT}|[0-9]{{3,4}})"
    rf"|{_ROOM}(?:号楼|栋|幢)[^,。;、\n]{{0,6}}[0-9]{{1,4}}(?:室|户|号房)"
    rf"|{_ROOM}(?:号楼|栋|幢)[^,。;、\n]{{0,8}}(?:{_RESIDENT})"
    rf"|(?:{_ESTATE})[^,。;、\n]{{0,8}}[0-9]{{1,4}}(?:室|户|号房)"
    rf"|(?:{_ESTATE})[^,。;、\n0-9]{{0,8}}[0-9]{{1,3}}(?:号楼?|栋|幢|#)?-[0-9]{{1,4}}"
    rf"|[路街巷弄里道同屯组村院]{_ROOM}(?:-{_ROOM})?号[^,。;、\n]{{0,8}}(?:{_RESIDENT})"
    rf"|[路街巷弄同屯村院]{_ROOM}号(?:院|楼)?[^,。;、\n]{{0,4}}[0-9]{{2,4}}室"
    rf"|[村屯社][^,。;、\n]{{0,4}}{_ROOM}[组社队][^,。;、\n]{{0,8}}(?:家中|家里|自家|住宅|住处|租住|居住))"
)
_HOMELIKE: Final = re.compile("单元|号楼|栋|幢|室|户|居民|村民|居住|住宅|住处|租住|民房|业主|自家|家[中里门]|-[0-9]")
"""Without one of these a copy tells no home."""
_OFFICE: Final = re.compile("大厦|写字楼|产业园|工业园|科技园|创业园|商务|办公|广场|中心|教学楼|实验楼|门诊楼|住院楼|市场|厂区|园区|商场")


def named(text: str, covered: bytearray, public: bytearray) -> int:
    """How often somebody seems to be named outside what was replaced and outside the names of organisations."""
    doubts = _names(text, covered, public, None)
    if _APART.search(text) is not None:
        places: list[int] = []
        at = 0
        for apart in _APART.finditer(text):
            places += range(at, apart.start())
            at = apart.end()
        places += range(at, len(text))
        doubts |= _names("".join([text[place] for place in places]), covered, public, places)
    return len(doubts)


def _names(text: str, covered: bytearray, public: bytearray, places: list[int] | None) -> set[int]:
    """Where names begin in the text of the masks; `places`: where each sign of this text stands there."""
    doubts = set()
    for pattern in _NAMED:
        for found in pattern.finditer(text):
            start, end = found.span(found.re.groups)
            pair = text[start] + found[1].split()[1] if pattern is _SPACED_NAME else text[start : start + 2]
            if pair in (NOT_NAMES if pattern in _BOUNDED else _STOPS):
                continue
            if places is not None:
                start, end = places[start], places[end - 1] + 1
            if any(covered[start:end]) or (public and all(public[start:end])):
                continue
            doubts.add(start)
    return doubts


def dwellings(copy: str, covered: bytearray, public: bytearray) -> int:
    """How many homes a copy seems to tell: by unit or room, or by the number of a house with its residents."""
    doubts = 0
    if _HOMELIKE.search(copy) is None:
        return 0
    for found in _HOME.finditer(copy):
        start, end = found.span()
        if any(covered[start:end]) or (public and all(public[start:end])):
            continue
        if "单元" not in found[0] and "家" not in found[0] and "住" not in found[0] and _OFFICE.search(copy, max(0, start - 12), end):
            continue
        doubts += 1
    return doubts

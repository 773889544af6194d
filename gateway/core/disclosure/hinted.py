"""What a text seems to tell of somebody besides name, number and home: for the residual score, nothing is replaced by it.

Health, pregnancy, drugs, welfare, a criminal record, an age, a child by its given name, and the maker of a signature whose name is an
ordinary word. Rules: a word counts where it is said of somebody; what a law forbids, a drug is for, an institution is called or a
benefit's funds are for does not. What is certain is `told`'s. Every quantifier is bounded. This room must not look for homes.
"""

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Final

from gateway.core.disclosure.beside import role_ends
from gateway.core.disclosure.digit_runs import Place
from gateway.core.disclosure.late import Late
from gateway.core.disclosure.lexicon import RARE_GIVEN, lexicon
from gateway.core.disclosure.name_signs import BEFORE, signs

_HAN: Final = "\u3400-\u9fff"
_BEFORE: Final = 30
_AFTER: Final = 12
_SOMEBODY: Final = Late(
    "其(?!产|经|销|生产|所|中|他|行为)|[他她]|(?<!基)本人|自己|自述|自称|坦言|该(?:名|女|男|员|职|店[员主]|学|孕|患|老|工人|顾客|消费者|司机)|妻|丈夫|爱人|老[伴婆公]|女儿|儿子|[长次幼独小]子(?!公)"
    "|[父母]亲?|爷爷|奶奶|子女|员工|职工|女工|工人|店员|店主|司机|驾驶[员人]|男[子孩童士]|女[子孩童士]|学[生员徒]|老人|老[汉太]|死者|伤者|老板|经营者|业主|负责人|操作[工员]"
    "|申请人|投诉人|举报人|受害人|被害人|嫌疑人|当事人(?:系|为|是|属|有|称|主张|提出|自述|因|患|曾|已|领取|的?[父母妻子儿女])|服务员|乘客|顾客|患者|消费者|[一-鿿]某|〔姓名|某[甲乙丙丁]"
    "|同事|户主|村民|居民[一-鿿]某|该同志|该人(?!民)|该生|一人|孩子|幼儿|儿童|少年|少女|租户|房东|护工|护士|保安|厨师|会计|主播|骑手|快递员|名叫|家属|亲属|[男女][,，]|姓名"
)
_PARTY: Final = Late("当事人[^，。；,产销售]{0,4}$")
_GENERAL: Final = Late(
    "宣称|宣传|广告|声称可|治疗(?!期)|预防|防治|适[应用]|功效|功能|疗效|缓解|改善|药品|器械|保健|规定|禁止|不得|制度|疫苗|[猪牛羊鸡鸭鹅禽畜犬]|动物|资金|保障金|优惠|企业|机构(?!诊断)|医院(?!诊断|确诊|住院|治疗)"
    "|未对[^，。；其他她该]{0,6}(?:老年?人|人员|患者|学生|幼?儿童?|职工|工人)(?:进行|开展|实施|采取)|标准|条例|办法|(?<!救助)(?<!低保)对象|人群|群体|权益|设施|食用|标签|用品|产品|项目|开展|从事|提供|服务(?!员)|指标|率|病例|报告制度|筛查|未按|备案|收费|培训|宣教|骗取|套取|虚报|冒领|发放|审核|名义|容留"
)
_INSTITUTION: Final = Late(
    "(?:[及和与、](?:婴幼儿|婴儿|幼儿|儿童|产妇|母婴|老年?人|残疾人)){0,2}(?:症|病|者|人|儿童)?(?:按摩|医院|学校|协会|联合会|保障|就业|服务|机构|用品|设施|出行|通行|辅助|专用|车位|证明?管理|康复中心|病房|门诊|病区|防治|筛查|疫苗|试剂|药|检测|监测|患者权益|人员不得|期间不得"
    "|妇女|女职工|的女职工|者不|者禁|禁用|慎用|奶粉|服装|装|手术[,，、。]?(?:药品|器械|室)|机?构?病例|监管|管理|宣传|检疫|疫情)"
)

# said of somebody or not: hardly ever anything else
_PLAIN: Final = (
    "毒驾|溜冰(?!场|鞋|馆|项)[^，。；]{0,2}[年次过]|坐[过了]?[^，。；牢]{0,4}牢|缓刑考验|[吃领][五5]保|低收入(?:户|家庭)|[生怀有][了完过]?[二三23]胎|宫外孕|孕吐|装有?假肢|耳背|小儿麻痹|怀孕|怀有身孕|身孕|有孕在身|怀上|小产|刚?流产[后过]|[做刚]{1,2}[^，。；]{0,3}人流|堕胎|哺乳期|坐月子|孕[0-9]{1,2}周|保胎"
    "|(?:因|曾|系|有|其|于?[一-鿿]某)(?:多次)?(?:吸毒|吸食|注射(?:海洛因|冰毒|毒品|吗啡))|吸毒(?:人员|前科|史|成瘾|被)|(?:社区|强制隔离|强制)戒毒(?!所|医院|场所|机构|药)|复吸|毒瘾|尿检[^，。；]{0,16}阳性"
    "|澳抗阳性|刑满释放|有[^，。；]{0,4}前科|判处?(?:有期徒刑|拘役|管制|徒刑)[0-9十]|(?:因|曾犯?|犯)[^，。；]{2,12}(?<!犯)罪(?:被|判|获刑|服刑|入狱)|因[^，。；]{0,10}(?:症|病|癌|瘤|炎|贫血|衰竭|骨折)(?:申请|致贫|请假|住院|去世|长期|在家|休养|停工|离岗|无法)|前科人员|(?:曾|被|因)[^，。；]{0,12}(?:入狱|判刑|服刑|劳教|劳改)|社区矫正(?:对象|人员|期)|[缓减]刑期?[内间]|聋哑人(?!学|协|联|用)|肢残人|植物人|瘫痪|[偏截]瘫|侏儒|智力障碍|智障|精神[失异]常(?!人员)"
    "|(?:系|为|是|属|享受|靠|吃|领取)[^，。；]{0,6}(?:低保|[五5]保户?|特困(?:供养)?人员|贫困户|救济金?|残疾补贴|残疾人补贴)(?!资金|发放|政策|工作|审)|建档立卡贫困|低保金|(?:系|为|是|属)[^，。；对象适]{0,4}(?:残疾人|残疾|盲人|残障|孕妇|精神病人|癌症患者)"
    "|高位截瘫|[双两][目眼耳][^，。；]{0,4}(?:失[明聪]|[瞎聋])|羊[角癫][风疯]|(?:离婚|离异|丧偶|未婚)独居|行动不便|智力低下|酒精依赖|精神病史|有[^，。；]{1,6}病史|剖[腹宫]产"
    "|(?:心脏|耳朵|眼睛|视力|听力|腿脚?|身体|腰|肾|肝|脑子|智力|精神)(?:一直|也|有点|很|都)?(?:不好|不行|不便|不佳|有病|有问题|有毛病)|(?:长期|常年|正在|目前|接受)(?:失眠|化疗|放疗|透析|服药|吃药|卧床|住院)"
    "|(?:系|是|为)回民|(?:蹲|进|住|坐|关)过[^，。；]{0,4}(?:看守所|监狱|拘留所|大牢|号子)|离异|丧偶|未婚先孕|改嫁|再嫁|(?:丈夫|妻子|爱人|老公|老婆)[^，。；]{0,4}(?:分居|离家出走|去世|病故|失踪)"
    "|(?<![电通书征失诚守])信(?:佛|主|教|耶稣)(?![育徒])|信[奉仰][^，。；]{0,4}教(?!育)|做礼拜|居士|皈依|受洗|吃斋|念佛|教友|(?:参加|加入|参与)[^，。；]{0,6}邪教"
)
# said of somebody where somebody stands in the same sentence
_OF_SOMEBODY: Final = (
    "抗精神病药|抗抑郁药|拄拐|临时救助|[二2]胎|假肢|孕期|孕妇|产假|待产|分娩|产后|早产|人流|流产|怀胎|不孕|生育史|[吸贩]毒|戒毒|冰毒|海洛因|甲基|聋|哑(?!铃)|盲人|失明|失聪|残疾|肢残|残障|痴呆|抑郁|躁郁|焦虑症|精神(?:失常|异常|病|障碍|分裂|问题)|自闭|孤独症"
    "|癫痫|艾滋|HIV|梅毒|性病|乙肝|丙肝|肝炎|结核|尿毒症|透析|[化放]疗|心脏病|支架|搭桥|心梗|心肌|猝死|脑梗|脑出血|中风|癌|肿瘤|白血病|糖尿病|高血压|尘肺|骨折|截肢|[绞切截砸压][断掉]|粉碎性|昏迷|重伤|轻伤|烧伤|烫伤|失能|病危|绝症|重病|疾患"
    "|[做接]{1}[过了受][^，。；]{0,8}手术|术后|低保|[五5]保户|特困|贫困户|救助金|伤残|前科|服刑|入狱|判刑|取保候审|[一-鿿]{1,3}(?:综合征|症|炎(?!热)|癌|瘤)|病休|病假|患病|重疾|发病|卧床|卧病|病倒|不能自理|无劳动能力|丧失劳动"
    "|带菌|伤寒|痢疾|独居|猥亵|性侵|性骚扰|强[奸暴]|家暴|[遭受]虐"
    "|离婚|离异|丧偶|再婚|非婚生|私生子|单亲|(?:基督|天主|东正|伊斯兰|佛|道|摩门)教|基督徒|教徒|信徒|穆斯林|教友|皈依|受洗|同性恋|变性|案底"
    "|帕金森|狼疮|痛风|哮喘|肺气肿|[肝肺]硬化|衰竭|溃疡|结石|甲[亢减]|白癜风|银屑病|脱臼|骨裂|脑震荡|[肾肺胃肠肝胆脾眼]病|视障|听障|轮椅|助听器|胰岛素|起搏器|贫血|血友|渐冻|肌无力|肌萎缩|脑瘫|青光眼|白内障|败血|肠梗阻|气胸|静脉曲张|布病"
    "|器官移植|[肾肝]移植|切除术?|吃药|服药|就医|住院(?!部|楼|医)|孤儿|囊肿|息肉|偏头痛|失眠|[大小]三阳|腰椎间盘|安眠药|镇静药|收养|抱养|领养"
)
_WORD: Final = Late(f"({_PLAIN})|({_OF_SOMEBODY})")
_SUSPECT: Final = re.compile(
    "毒|溜冰|牢|低收入|假肢|耳背|拄拐|麻痹|孕|流产|小产|人流|哺乳|月子|胎|产[假后]|待产|分娩|早产|吸食|复吸|尿检|澳抗|刑|前科|入狱|劳[教改]|矫正|聋|哑|残|植物人|瘫|侏儒|智[力障]"
    "|低保|五保|5保|特困|贫困|救[济助]|盲|失[明聪能]|痴呆|抑郁|躁郁|焦虑|精神|自闭|孤独症|癫痫|艾滋|HIV|肝|结核|透析|化疗|放疗|支架|搭桥|心[脏梗肌]|猝死|脑|中风|癌|瘤|糖尿"
    "|高血压|尘肺|骨折|绞[断掉]|切[断掉]|截[断掉]|砸[断掉]|压[断掉]|粉碎|昏迷|重伤|轻伤|烧伤|烫伤|病|疾|手术|术后|伤残|取保|综合征|症|炎|卧床|自理|劳动能力|甲基|海洛因|回民|看守|监狱|拘留所|号子|离[婚异]|偶(?<=丧偶)|不[好行便佳](?<=[脏朵睛力腿脚体腰肾肝子神]..|[一也点很都]..)|有[病问毛](?<=[脏朵睛力腿脚体腰肾肝子神]..)|低下|酒精|剖|改嫁|再嫁|先孕|分居|离家|去世|失踪|信[佛主教奉仰]|礼拜|居士|斋|念佛|邪教|囊肿|息肉|带菌|伤寒|痢疾|羊[角癫]|独居|双[目眼耳]|两[目眼耳]|猥亵|性侵|性骚|强[奸暴]|家暴|遭虐|受虐|头痛|失眠|三阳|腰椎|眠药|静药|再婚|婚生|私生|单亲|教(?<=[督主正兰佛道门]教)|徒(?<=[督教信]徒)|穆斯林|教友|皈依|受洗|同性|变性|案底|帕金|狼疮|痛风|哮喘|气肿|硬化"
    "|衰竭|溃疡|结石|甲[亢减]|白癜|银屑|脱臼|骨裂|障(?<=[视听]障)|轮椅|助听|胰岛|起搏|移植|切除|吃药|服药|就医|住院|孤儿|贫血|血友|渐冻|肌无|肌萎|青光|白内障|败血|梗阻|气胸|曲张|布病|养(?<=[收抱领]养)"
)
"""Without one of these nothing is hinted at health, drugs, welfare or crime."""

# --- ages and children --------------------------------------------------------------------------------------------------

_AGED: Final = re.compile(
    "岁(?<=[0-9十]岁|周岁)|现年|今年|时年|享年|终年|年近|年过|年龄|0后|属[鼠牛虎兔龙蛇马羊猴鸡狗猪]|初[1-3]|高[1-3]|年级|幼儿园"
)
"""Without one of these no age is told."""
_AGE: Final = Late(
    "[男女][,，、 (（]{0,2}(?:现年|年龄)?[0-9十]{1,3}周?岁"
    "|(?:现年|今年|时年|享年|终年|年近|年过)[约为]?[0-9十]{1,3}(?:周?岁|旬)?"
    "|年龄[约为:]?[0-9十]{2,3}(?![0-9十]|以[上下]|[至到-])|(?<![0-9])[05-9]0后(?![续期台方段])|(?<![归所从隶下附家金贵直亲眷军部])属[鼠牛虎兔龙蛇马羊猴鸡狗猪](?=[，,。；;、）)]|$)"
    "|(?:上|读|念|就读于?)(?:小学|初中|高中)?(?:[初高][1-3](?![0-9])|[1-9]年级|幼儿园)"
    "|(?:[系是为]|[1两2三3]名)(?:[^，,。；]{0,8}(?:中学|学校))?[初高][1-3](?:年级)?(?:[(（]?[0-9]{1,2}[)）]?班)?的?(?:在校)?[学女男]生"
    "|[1-9]年级[(（]?[0-9]{1,2}[)）]?班的?(?:孩子|学生|家长|[女男]生|同学)"
)
_CHILD: Final = Late(
    f"(?:未成年(?:人|学生|顾客|女孩|男孩)?|童工|[男女](?:童|孩|生|婴)|幼[童儿]|孩子|少年|少女|儿童|婴儿|儿子|女儿|学生|[初高][一二三123]?[学]?生|学童|暑期工|[孙侄]子|孙女|侄女|外甥|小朋友|被害女?童|养[子女])"
    f'[(（,，]?(?:名叫|小名|乳名|化名|叫|名)?[“"(（]?([小阿](?![学组区店厂班时型车])[{_HAN}]|([{_HAN}])\\2)(?![{_HAN}]{{0,1}}(?:学|组|区|店|厂))'
)
_CHILDLIKE: Final = re.compile(
    "未成年|童|男[孩生婴]|女[孩生婴儿]|幼儿|孩|少[年女]|婴儿|儿子|学生|初[一二三123]|高[一二三123]|暑期|孙|侄|外甥|小朋友|养[子女]"
)

_CLAUSE_ENDS: Final = frozenset(("", *",，。;；、)）"))
_DOES: Final = frozenset("被把因误说称在向由用")
_NICKNAME: Final = re.compile(f"[小阿](?![学组区店厂班时型车])[{_HAN}]")
_DOUBLED: Final = re.compile("(.)\\1(?=[称说在把将给向因自与和负擅拒未签无没不被替为做打系，。；、）)]|$)")
_ADVERBS: Final = frozenset("纷常往天渐仅刚偏频屡通明悄匆偷默人个家种样层步时处事")
"""What is said twice and is no name: 纷纷, 常常, 家家."""
_QUOTES: Final = frozenset('“"‘「（(')
_QUOTED: Final = frozenset('”"’」，,、）)')

# --- names that are words, before what only somebody does ---------------------------------------------------------------

_ACT: Final = Late(
    "(?:当场|本人|亲笔|核对|均|已|也|又|则|其后|随后|后来|当日|当时|事后|再次|主动|自愿|如实|代为|逐页|逐一|无异议|在[^，。；,]{1,10}上){0,2}"
    "(?:签名|签字|签收|签认|签署|签订|捺印|按手印|按了手印|按印|摁|确认|陈述|承认|供述|供认|供称|交代|招认|自述|自称|辩称|申辩|称(?![为号重职量呼])|声称|反映|举报|检举|投诉|作证|指认|辨认|证实|出具|起草|撰写|填写|代笔|表示|表明|说(?!明书)|答复|代[领签收]|核对|清点"
    "|领取|拒签|拒绝|转账|付款|收款|签|到场|在场|未?回避|坦白|认可|否认|驾驶|操作|值班|带[队领]|经手|承租|租用|看管|保管|在其(?:经营|店|家|住|摊|微信|朋友圈|个人)|把[货车钱人账款现东手活]|[发给买卖送借租写找雇拉]的(?!是)|同志|先生|女士)"
)
_ACTED: Final = re.compile(
    "签|捺印|按手印|按了手印|按印|摁|确认|陈述|承认|供[述认称]|交代|招认|自述|称|申辩|反映|举报|检举|投诉|作证|指认|辨认|证实|出具|起草|撰写|填写|代笔|表示|表明|说|答复|代[领收]|核对|清点"
    "|领取|拒绝|转账|付款|收款|到场|在场|回避|坦白|认可|否认|驾驶|操作|值班|带[队领]|经手|承租|租用|看管|保管|在其|把[货车钱人账款现东手活]|的(?<=[发给买卖送借租写找雇拉]的)|同志|先生|女士"
)
"""Without one of these nobody did anything of the kind."""
_SETS_ABOUT: Final = re.compile(
    f"[人员者师机主生长东客童手工家民友商贩户予准意院校所](?:(?<![院校所])(?=([{_HAN}]{{2}})(?:在(?:考试|驾驶|工作|经营|施工|上班|值班|作业|其)|对(?:本|该|上述|此)|设立|从事|[擅私]自|违规|[酒醉]|殴打|辱骂|谩骂|推搡|体罚|猥亵|挪用|侵占|盗窃|受贿|行贿|索要|拒载|绕道|甩客|超载|超速|[自于][0-9]{4}年|曾|因(?:涉嫌|病|故|琐事)|将其|未(?:按|到|能|取得|持有?|办理|经|履行|落实)))"
    f"|(?<=[该本我][院校所])(?=([{_HAN}]{{2}})(?:医[生师]|护士|老师|大夫|教师)))"
)
"""Two characters behind what may be a role or a grant, and what somebody sets about behind them; or the house and the title of somebody."""
_GRANTS: Final = frozenset(("准予", "批准", "同意", "核准"))
_OPENS: Final = frozenset("由经据被向让请托与和问对给有因随同及即系是叫名为时")
NO_NAME: Final = frozenset(
    "方人民户长员主家士师厂店部局所院委司会关商生者企客行府站队校区市县省镇村国机业庭警局台"
    "上下中内外前后时来日月年次件位辆事理等均也即其之此该各用应证书函文单据票约同表式法称告诉求请"
)
_GIVEN_ALONE: Final = 7.0
_GIVEN_TWICE: Final = 9.0
_WORD_WEIGHT: Final = 26.5
"""What surname and given name of a word may cost together, that may be a name."""


def hinted(copy: str, text: str, covered: bytearray, public: bytearray, persons: Sequence[Place] = ()) -> list[Place]:
    """Where a copy, or the text as it is written, seems to tell something of somebody; `persons`: where somebody is named."""

    def free(start: int, end: int) -> bool:
        return not any(covered[start:end]) and not (public and all(public[start:end]))

    places: list[Place] = []
    if _NICKNAME.search(text) is not None or _DOUBLED.search(text) is not None:
        places += _nicknames(text)
    if _given_ends().search(text) is not None:
        places += _given_alone(text)
    if _SETS_ABOUT.search(text) is not None:
        places += _setters(text)
    if _SUSPECT.search(copy) is not None:
        places += _conditions(copy, persons)
    if _AGED.search(copy) is not None:
        places += [found.span() for found in _AGE.finditer(copy)]
    if _CHILDLIKE.search(copy) is not None:
        places += _children(copy)
    if _ACTED.search(text) is not None:
        places += _signers(text)
    return [place for place in places if free(*place)] if places else places


def _conditions(copy: str, persons: Sequence[Place] = ()) -> Iterator[Place]:
    words = [*_WORD.finditer(copy)]
    if not words:
        return
    general = [found.start() for found in _GENERAL.finditer(copy)]
    somebody = sorted((*(found.start() for found in _SOMEBODY.finditer(copy)), *(start for start, _ in persons)))
    for found in words:
        start, end = found.span()
        low = max(copy.rfind(mark, max(0, start - _BEFORE), start) for mark in "。；;\n") + 1 or max(0, start - _BEFORE)
        high = min(len(copy), end + _AFTER)
        if _INSTITUTION.pattern.match(copy, end, high):
            continue
        if found[1] is not None:
            if not _between(general, max(low, start - 12), start):
                yield start, end
            continue
        clause = next((at for at in range(end, high) if copy[at] in ",，。;；\n"), high)
        if _between(general, low, clause):
            continue
        if _between(somebody, low, high) or _PARTY.pattern.search(copy, max(low, start - 8), start):
            yield start, end


def _between(places: Sequence[int], low: int, high: int) -> bool:
    """Whether one of these places lies there."""
    at = bisect_left(places, low)
    return at < len(places) and places[at] < high


def _children(copy: str) -> Iterator[Place]:
    words = lexicon(copy).words
    for child in _CHILD.finditer(copy):
        start, end = child.span(1)
        alone = child[2] is not None and copy[end : end + 1] in _CLAUSE_ENDS  # 幼儿朵朵。
        if (child[1] not in words or copy[end : end + 1] in _DOES or alone) and copy[start : end + 1] not in words:
            yield start, end


def _nicknames(text: str) -> Iterator[Place]:
    """小芳, 阿豪: behind a cue, or alone between quotation marks; 青青 behind a cue, and what somebody does behind it."""
    for found in _DOUBLED.finditer(text):
        start, given = found.start(), lexicon("").given
        if found[1] in _ADVERBS or given.get(found[1], RARE_GIVEN) > _GIVEN_TWICE:
            continue
        if any(text[max(0, start - length) : start] in signs().cues for length in (2, 3, 4, 5)):
            yield found.span()
    for found in _NICKNAME.finditer(text):
        start, end = found.span()
        words, known = lexicon(found[0]).words, signs()
        if found[0] in words or text[start : end + 1] in words:
            continue
        quoted = text[start - 1 : start] in _QUOTES and text[end : end + 1] in _QUOTED
        if quoted or any(text[max(0, start - length) : start] in known.cues for length in (2, 3, 4, 5)):
            yield start, end


def _signers(text: str) -> Iterator[Place]:
    """Words that may be names, where a clause or what stands before somebody begins, before a personal deed."""
    known = signs()
    for act in _ACT.finditer(text):
        end = act.start()
        start = end - 2
        if start < 0 or not "\u3400" <= text[end - 1] <= "\u9fff":
            continue
        word = text[start:end]
        if wordly(word) and _ACT.pattern.fullmatch(word) is None and _opens(text, start, known.cues):
            yield start, end


def _setters(text: str) -> Iterator[Place]:
    """Words that may be names between a role, or what is granted, and what somebody sets about."""
    known = signs()
    for found in _SETS_ABOUT.finditer(text):
        word, (start, end) = found[1] or found[2], found.span(found.lastindex or 0)
        if found[2] is not None:
            named = word in lexicon(word).words and word[0] in lexicon("").surnames and word not in lexicon("").official
        else:
            named = word not in known.deeds and wordly(word) and _role_or_grant(text, start, known.cues)
        if named:
            yield start, end


def wordly(word: str) -> bool:
    """Whether this is an ordinary word that may be a name."""
    table = lexicon(word)
    surname = table.surnames.get(word[0])
    if surname is None or word not in table.words or word[1] in NO_NAME:
        return False
    return surname + table.given.get(word[1], RARE_GIVEN) <= _WORD_WEIGHT


@cache
def _given_ends() -> re.Pattern[str]:
    """Two characters of common given names where a clause or the text ends."""
    common = "".join(sign for sign, cost in lexicon("").given.items() if cost <= _GIVEN_ALONE)
    return re.compile(f"[{common}][{common}](?<=.{{3}})(?=[，。；、）)]|\\n?\\Z)", re.DOTALL)


def _given_alone(text: str) -> Iterator[Place]:
    """A given name without a surname, between a cue and the end of a clause."""
    for found in _given_ends().finditer(text):
        start, cues = found.start(), signs().cues
        if found[0] not in lexicon(found[0]).words and any(text[max(0, start - length) : start] in cues for length in (2, 3, 4, 5)):
            yield found.span()


def _role_or_grant(text: str, start: int, cues: frozenset[str]) -> bool:
    """Whether somebody's role stands before, or what is granted to somebody."""
    if text[max(0, start - 2) : start] in _GRANTS or role_ends(text, start):
        return True
    return any(text[max(0, start - length) : start] in cues for length in (2, 3, 4, 5))


def _opens(text: str, start: int, cues: frozenset[str]) -> bool:
    """Whether somebody may begin here: at the head of a clause, after a cue or a preposition."""
    if start == 0 or not "\u3400" <= text[start - 1] <= "\u9fff":
        return True
    before = text[start - 1]
    return (
        before in _OPENS
        or before in BEFORE
        or role_ends(text, start)
        or any(text[max(0, start - length) : start] in cues for length in (2, 3, 4, 5))
    )

"""Whether a text seems to name somebody: for the residual score alone, nothing is replaced by it.

Rules: a name counts behind a cue (法定代表人 …), before a deed (… 驾驶), at the head of a dated sentence, or written with ·; words of
official texts that only begin like one do not. This room must not be asked about a field that is known to hold a name.
"""

import re
from typing import Final

from gateway.core.disclosure.surnames import COMMON, COMPOUND, NOT_NAMES

_NOT_GIVEN: Final = (
    "的了在是有对于与及不未无已被将应当能该此等所由因从到以并或而但上下内外前后公司局厂店部门员法规条款项年时责任营执照许证件号处罚违政决依据场按要提供"
    "销售购买产述某各类别种式便重额间我你他她它们这那哪何每个单位次第先女士者众身体用食品药器械料材装施程筑屋房地电气油车辆船输货物资款账目票据约签订期"
    "限情形标准质价格告传虚假误导欺诈故过失认"
)
"""Characters that hardly stand in a given name, but often after a word that looks like a surname."""
_GIVEN: Final = f"(?![{''.join(sorted(set(_NOT_GIVEN)))}])[\u4e00-\u9fff]"
_CUES: Final = (
    "法定代表人|法人代表|负责人|经营者|业主|店主|老板|当事人|行为人|责任人|联系人|员工|职工|工人|雇员|司机|驾驶员|驾驶人|乘客|患者|病人|学生|学员|老师|教师|医生|医师|"
    "护士|消费者|投诉人|举报人|报案人|受害人|被害人|死者|伤者|原告|被告|申请人|被申请人|证人|股东|监事|董事长?|总经理|经理|会计|出纳|村民|居民|姓名|名叫|男子|女子|"
    "妻子|丈夫|儿子|女儿|父亲|母亲|哥哥|姐姐|弟弟|妹妹|亲属|家属|户主|租户|房东|操作工|电工|焊工|作业人员|从业人员|工作人员|安全员|检验员|质检员|收银员|厨师|实际控制人"
)
_FAMILY: Final = f"(?:{'|'.join(sorted(COMPOUND))}|[{''.join(sorted(COMMON))}])"
_AFTER: Final = (
    "(?=[,，。、；;：:（(）)“”\"'\\s]|$|的|在|于|与|和|及|等|系|向|称|因|被|将|到|对|从|为|签|陈述|表示|承认|提供|购买|投诉|驾驶|未|自|以|经|给|处|住|"
    "身份|电话|联系|男|女|作为|担任|受|持|有)"
)
_CUED_NAME: Final = re.compile(f'(?:{_CUES})[:：为是系叫“"(（ ]{{0,2}}({_FAMILY}{_GIVEN}(?:{_GIVEN})??){_AFTER}')
_DEED: Final = (
    "驾驶|驾车|饮酒|醉酒|酒后|殴打|辱骂|签字|签名|供述|自述|交代|承认|投诉|举报|死亡|受伤|住院|患有|怀孕|就诊|报案|身份证|手机号|先生|女士|同志|之妻|之子|之女|"
    "的妻子|的丈夫|的儿子|的女儿|的父亲|的母亲|的家属|本人|出生|户籍|现住|涉嫌|未满"
)
_DOER: Final = re.compile(f"({_FAMILY}{_GIVEN}(?:{_GIVEN})??)(?={_DEED})")
_DATED_NAME: Final = re.compile(f"(?:^|[，。；：、（(\\s])({_FAMILY}{_GIVEN}(?:{_GIVEN})??)(?=于[0-9二〇]{{2,4}}|在其|驾|骑|步行)")
_FOREIGN_NAME: Final = re.compile(r"[\u4e00-\u9fff]{2,8}[·•‧][\u4e00-\u9fff]{2,8}")
_NAMED: Final = (_CUED_NAME, _DOER, _DATED_NAME, _FOREIGN_NAME)


def named(text: str, covered: bytearray, public: bytearray) -> int:
    """How often somebody seems to be named outside what was replaced and outside the names of organisations."""
    doubts = 0
    for pattern in _NAMED:
        for found in pattern.finditer(text):
            start, end = found.span(found.re.groups)
            if text[start : start + 2] in NOT_NAMES or any(covered[start:end]) or (public and all(public[start:end])):
                continue
            doubts += 1
    return doubts

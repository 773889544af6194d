"""What may not be collected about a person at all (征信业管理条例 14 and the regulations that copy it).

That is religion, genes, fingerprints, blood type, disease and medical history; without informed written consent also income, deposits,
securities, insurance, real estate and tax amounts.

Two nets: names of columns, and in texts a cue *with its value*, so that a decision about a gene laboratory or a fingerprint lock
passes. Whatever is caught rejects the whole row, not the field. Illness told in passing is the business of the redactor.
"""

import re
import unicodedata

_NEVER = re.compile(
    r"宗教信仰|^信仰$|^宗教$|基因|DNA|指纹|血型|病史|疾病|既往病|精神病|遗传病"
    r"|^RELIGION|BLOOD_?(?:TYPE|GROUP)|FINGERPRINT|^GENE|GENETIC|MEDICAL_?HISTORY|DISEASE"
)
_BY_CONSENT = re.compile(
    r"^(?:个人|年|月|家庭)?(?:收入|存款)(?:金额|数额|余额|情况)?$|银行存款|有价证券|商业保险|不动产|房产信息|纳税(?:数额|金额)"
    r"|^(?:INCOME|DEPOSITS?|SECURITIES|INSURANCE|REAL_?ESTATE|TAX_?AMOUNT)$"
)
_CUES = re.compile("收入|存款|纳税(?![费款义人信申])|名下|血型|型血|性血|信仰|信奉|皈依|教徒|基因|指纹|病史|[Dd][Nn][Aa]")
"""Taxes are paid in every second honour: a duty, a sum or who pays them is no amount behind 纳税, so they are no cue."""
_UNFOLDED = re.compile("[ \n\u2e80-\u2fdf\uf900-\ufaff\uff21-\uff5a]")
"""What may hide a cue: blanks between its characters, radicals and compatibility forms, full-width letters."""
_WIDE = tuple(zip("，：；（）", ",:;()", strict=True))
_VALUES = tuple(
    (cue, re.compile(value).search)
    for cue, value in (
        ("血型", r"血型[为是系:]{0,2}(?:RH(?:阴|阳)性)?(?:AB|A|B|O)(?:型|[^A-Z]|$)"),
        ("型血", r"(?<![A-Z])(?:AB|A|B|O)型血(?!浆|清|液制品)"),
        ("性血", r"RH(?:阴|阳)性血"),
        ("教", r"(?:信仰|信奉|皈依).{0,6}教(?![育学师材练职授训室养程具唆])|宗教信仰[为是:]|(?:佛|道|回|基督|天主|伊斯兰|东正)教徒"),
        ("基因", r"基因(?:型|信息|数据|序列|检测|鉴定|比对|结果|结论|报告){0,3}:|(?:基因型|基因(?:检测|鉴定|比对)(?:结果|结论))[为是]"),
        ("DNA", r"DNA(?:型|信息|数据|序列|检测|鉴定|比对|结果|结论|报告){0,3}:|(?:DNA序列|DNA(?:检测|鉴定|比对)(?:结果|结论))[为是]"),
        ("指纹", r"指纹(?:信息|编号|数据|特征|号)?:|指纹(?:编号|特征|号)[为是]"),
        ("病史", r"病史(?!采集|书写|记录|资料)"),
        ("收入", r"(?:个人|本人|家庭)(?:年|月)?(?:均)?(?:总|纯)?收入[为是约共计:]{0,3}[0-9一二三四五六七八九十百千万两]"),
        ("存款", r"(?:个人|本人|家庭|名下)(?:银行)?存款(?:余额)?[为是有约共计:]{0,3}[0-9一二三四五六七八九十百千万两]"),
        ("纳税", r"(?:个人|本人)纳税(?:数额|金额|额)[为是约共计:]{0,3}[0-9]"),
        ("名下", r"名下(?:有|持有)?(?:有价证券|股票|基金|商业保险|不动产)[^,。;]{0,6}[0-9]"),
    )
)
"""What tells somebody's value, each with the cue that stands in all of it: a decision mostly has one of them, and none behind it."""


def prohibited_name(text: str, *, persons: bool = True) -> bool:
    """Whether a column of this name may not be collected; where no persons are, what needs their consent is none of it."""
    folded = _folded(text)
    return _NEVER.search(folded) is not None or (persons and _BY_CONSENT.search(folded) is not None)


def may_tell(text: str) -> bool:
    """Whether there is a cue in a text, or what may hide one; texts of which none has either tell nothing together."""
    return _CUES.search(text) is not None or _UNFOLDED.search(text) is not None


def prohibited_text(text: str) -> bool:
    """Whether a text tells religion, genes, fingerprints, blood type, medical history or property of somebody: a cue with its value."""
    if not may_tell(text):
        return False
    folded = _folded(text)
    return any(cue in folded and value(folded) is not None for cue, value in _VALUES)


def _folded(text: str) -> str:
    for wide, narrow in _WIDE:  # they stand in every text, and without them most are as NFKC would have them: it takes no second look
        text = text.replace(wide, narrow)
    return "".join(unicodedata.normalize("NFKC", text).split()).upper()

"""What may not be collected about a person at all (征信业管理条例 14 and the regulations that copy it).

That is religion, genes, fingerprints, blood type, disease and medical history; without informed written consent also income, deposits,
securities, insurance, real estate and tax amounts.

Two nets: names of columns, and in texts a cue *with its value*, so that a decision about a gene laboratory or a fingerprint lock
passes. Whatever is caught rejects the whole row, not the field. Illness told in passing is the business of the redactor.
"""

import re
import unicodedata

_NAMES = re.compile(
    r"宗教信仰|^信仰$|^宗教$|基因|DNA|指纹|血型|病史|疾病|既往病|精神病|遗传|^RELIGION|BLOOD_?TYPE|FINGERPRINT|^GENE|GENETIC|MEDICAL_?HISTORY|DISEASE"
    r"|^(?:个人|年|月|家庭)?(?:收入|存款)(?:金额|数额|余额|情况)?$|银行存款|有价证券|商业保险|不动产|房产信息|纳税(?:数额|金额)|^(?:INCOME|DEPOSITS?|SECURITIES|INSURANCE|REAL_?ESTATE|TAX_?AMOUNT)$"
)
_CUES = ("血型", "型血", "信仰", "信奉", "皈依", "教徒", "基因", "指纹", "病史", "DNA", "RH阴性", "RH阳性")
_VALUES = re.compile(
    r"血型[为是系:]{0,2}(?:RH(?:阴|阳)性)?(?:AB|A|B|O)(?:型|[^A-Z]|$)|(?<![A-Z])(?:AB|A|B|O)型血(?!浆|清|液制品)|RH(?:阴|阳)性血"
    r"|(?:信仰|信奉|皈依).{0,6}教|宗教信仰[为是系:]|(?:佛|道|回|基督|天主|伊斯兰|东正)教徒"
    r"|(?:基因|DNA)(?:型|信息|数据|序列|检测结果|检测报告|检测结论|鉴定结论|比对结果)?[为是系:]|指纹(?:信息|编号|数据|特征|号)?[为是系:]"
    r"|病史"
)


def prohibited_name(text: str) -> bool:
    """Whether a column of this name may not be collected."""
    return _NAMES.search("".join(unicodedata.normalize("NFKC", text).split()).upper()) is not None


def prohibited_text(text: str) -> bool:
    """Whether a text tells religion, genes, fingerprints, blood type or medical history of somebody: a cue with its value."""
    folded = text if text.isascii() else unicodedata.normalize("NFKC", text)
    if " " in folded or "\n" in folded:
        folded = "".join(folded.split())
    folded = folded.upper()
    for cue in _CUES:
        if cue in folded:
            return _VALUES.search(folded) is not None
    return False

"""Words for codes, in Chinese and English: every enumeration in an answer has a sibling `*_label` (api.md §1, §12.8).

Rules: a code is never translated in place; a code without a word is its own label. Chinese is the language of renderings, an
English answer is the same document with its labels changed. This room must not know where a code stands in a document.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Literal

from gateway.core.records.divisions import short_name

Language = Literal["zh-CN", "en"]

KINDS: Mapping[str, tuple[str, str]] = {
    "registration": ("登记注册", "Registration"),
    "licence": ("行政许可", "Licence"),
    "penalty": ("行政处罚", "Penalty"),
    "blacklist": ("严重失信", "Serious breach of trust"),
    "redlist": ("守信荣誉", "Honour"),
    "commitment": ("信用承诺", "Commitment"),
    "evaluation": ("信用评价", "Evaluation"),
    "abnormal": ("经营异常", "Abnormal operation"),
    "agency_filing": ("中介备案", "Agency filing"),
    "measure": ("惩戒激励措施", "Measure"),
}
SUBJECT_KINDS: Mapping[str, tuple[str, str]] = {
    "enterprise": ("企业", "Enterprise"),
    "cooperative": ("农民专业合作社", "Farmers' cooperative"),
    "institution": ("事业单位", "Public institution"),
    "organ": ("机关", "Public organ"),
    "social_organisation": ("社会组织", "Social organisation"),
    "collective": ("集体经济组织", "Collective"),
    "other": ("其他组织", "Other organisation"),
    "household": ("个体工商户", "Individual household"),
    "person": ("自然人", "Natural person"),
}
STATUSES: Mapping[str, tuple[str, str]] = {
    "active": ("存续", "Active"),
    "suspended": ("停业", "Suspended"),
    "revoked": ("吊销", "Revoked"),
    "cancelled": ("注销", "Cancelled"),
}
SEVERITIES: Mapping[str, tuple[str, str]] = {"minor": ("轻微", "Minor"), "general": ("一般", "General"), "serious": ("严重", "Serious")}
POLARITIES: Mapping[str, tuple[str, str]] = {"black": ("黑名单", "Blacklist"), "red": ("红名单", "Red list")}
MARKS: Mapping[str, tuple[str, str]] = {
    "objection_in_progress": ("异议处理中", "Objection in progress"),
    "corrected": ("已更正", "Corrected"),
    "recognised": ("互认", "Recognised here"),
    "validity_ended": ("有效期已过", "Validity over"),
    "vouched": ("未经机关确认", "Confirmed by no authority"),
    "held": ("依据待核，暂不对外提供", "Basis under review, shown to nobody else"),
}
JOB_STATES: Mapping[str, tuple[str, str]] = {
    "queued": ("排队", "Queued"),
    "running": ("进行中", "Running"),
    "done": ("完成", "Done"),
    "failed": ("失败", "Failed"),
    "cancelled": ("已取消", "Cancelled"),
}
MATCH_STATUSES: Mapping[str, tuple[str, str]] = {
    "exact": ("一致", "Exact"),
    "match": ("相符", "Match"),
    "ambiguous": ("有多个相符", "Ambiguous"),
    "possible": ("可能", "Possible"),
    "not_found": ("未找到", "Not found"),
    "invalid": ("无法核对", "Invalid"),
}
REASONS: Mapping[str, tuple[str, str]] = {
    "expired": ("公示期届满", "Publication period over"),
    "corrected": ("来源更正", "Corrected by the source"),
    "removed": ("已移出", "Removed"),
}
STATES: Mapping[str, tuple[str, str]] = {
    "current": ("现行", "Current"),
    "archived": ("已归档", "Archived"),
    "withdrawn": ("已撤回", "Withdrawn"),
}
EVENTS: Mapping[str, tuple[str, str]] = {
    "published": ("公示", "Published"),
    "amended": ("更正", "Amended"),
    "objection_marked": ("标注异议", "Objection marked"),
    "objection_closed": ("异议办结", "Objection closed"),
}
TABLES: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "kind": KINDS,
    "subject_kind": SUBJECT_KINDS,
    "status": STATUSES,
    "severity": SEVERITIES,
    "polarity": POLARITIES,
    "mark": MARKS,
    "reason": REASONS,
    "event": EVENTS,
    "state": STATES,
    "match_status": MATCH_STATUSES,
    "job_state": JOB_STATES,
}
_LEVELS = (
    ("自治州", "Prefecture"),
    ("自治县", "County"),
    ("地区", "Prefecture"),
    ("省", "Province"),
    ("市", "City"),
    ("区", "District"),
    ("县", "County"),
    ("盟", "League"),
    ("旗", "Banner"),
)


def label(table: str, code: str | None, language: Language = "zh-CN") -> str | None:
    """The word for a code; a code without one is its own label, null has none."""
    if code is None:
        return None
    words = TABLES[table].get(code)
    return code if words is None else words[language == "en"]


@lru_cache(4096)
def region_label(code: str | None, language: Language = "zh-CN") -> str | None:
    """The name of a division, in Latin letters for English; null for an unknown one."""
    if code is None:
        return None
    name = short_name(code)
    if name is None or language != "en":
        return name
    from pypinyin import Style, lazy_pinyin  # a dictionary of some 50 MB, for answers in English only

    ends = ((suffix, word) for suffix, word in _LEVELS if name.endswith(suffix) and len(name) > len(suffix) + 1)
    suffix, level = next(ends, ("", ""))
    stem = name.removesuffix(suffix)
    latin = "".join(lazy_pinyin(stem, style=Style.NORMAL)).capitalize()
    return f"{latin} {level}".strip()

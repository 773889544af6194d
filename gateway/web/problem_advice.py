"""What to do about a problem, in both languages, for the page that its `type` leads to (api.md §5).

Rules: a code has words of its own, or those of its status; words say what a caller can do, and never what is stored. This room must not
know a request.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from gateway.web.problems import ProblemKind


class Advice(NamedTuple):
    """What to do, in Chinese and in English."""

    zh: str
    en: str


_BY_CODE: Final[Mapping[str, Advice]] = {
    "bad-request": Advice(
        "检查网址和正文是否为 UTF-8，并对特殊字符做百分号编码。", "Send UTF-8, and percent-encode special characters of the URL."
    ),
    "unknown-parameter": Advice(
        "去掉 errors 中指出的参数；各接口可用的参数见接口文档。数据集的字段可否筛选，见其字典。",
        "Leave out the parameter named in errors; the API document lists what each path takes, the dictionary which fields filter.",
    ),
    "repeated-parameter": Advice("同一参数只写一次，多个取值用逗号分开。", "Write a parameter once; separate several values by commas."),
    "invalid-parameter": Advice("按 errors 指出的位置改正取值。", "Correct the value at the place named in errors."),
    "bad-cursor": Advice(
        "不要改动 next 中的网址；从第一页重新开始。", "Use the URL in next as it stands; start again from the first page."
    ),
    "uscc-invalid": Advice(
        "核对 18 位代码；suggestions 中是可能的代码，请确认后再用，系统不会自动更正。",
        "Check the 18 characters; suggestions holds codes that may be meant. Nothing is corrected silently: confirm before using one.",
    ),
    "body-invalid": Advice("按 errors 中 pointer 指出的位置改正正文。", "Correct the body at the place that pointer names in errors."),
    "purpose-missing": Advice(
        "在 Purpose 请求头写明凭证允许的一个目的。", "State one of the purposes of the credential in the header field Purpose."
    ),
    "case-ref-missing": Advice("在 Case-Ref 请求头写明案件编号。", "State the case reference in the header field Case-Ref."),
    "credentials-invalid": Advice(
        "检查密钥或令牌是否完整、是否过期；令牌须与 DPoP 证明一同使用。不带凭证即以公众身份查询。",
        "Check that key or token is whole and has not ended; a token goes with a DPoP proof. Without a credential you ask as the public.",
    ),
    "not-permitted": Advice(
        "此接口需要其他层级或目的；向本平台运营单位申请。", "Another tier or purpose is needed; ask the operating body."
    ),
    "not-found": Advice(
        "核对编号。不存在、不公开与已移出的内容，回答相同。",
        "Check the id. What never was, is not public, or has been removed is answered alike.",
    ),
    "method-not-allowed": Advice("改用 Allow 响应头所列的方法。", "Use a method of the header field Allow."),
    "not-acceptable": Advice(
        "改用 acceptable 所列的类型，或以网址后缀选择格式。", "Ask for a type of acceptable, or choose a format by suffix."
    ),
    "cursor-expired": Advice("从 next 给出的网址重新开始。", "Start again at the URL in next."),
    "since-too-old": Advice("先取 next 给出的快照，再从其序号继续。", "Take the snapshot in next, then go on from its number."),
    "body-too-large": Advice("把内容分成较小的几次发送。", "Send it in smaller parts."),
    "uri-too-long": Advice("缩短网址；较长的条件请用 POST 接口。", "Shorten the URL; use a POST path for long conditions."),
    "unsupported-media-type": Advice(
        "按接口文档设置 Content-Type，正文不要压缩。", "Set Content-Type as the document says; do not compress."
    ),
    "quota-exceeded": Advice(
        "按 Retry-After 等待；需要更多配额可申请开发者密钥。", "Wait as Retry-After says; a developer's key has more quota."
    ),
    "lookup-budget-spent": Advice(
        "次日零时（UTC+8）后再查，或向本平台申请调整额度。", "Try again after midnight, UTC+8, or ask for another budget."
    ),
    "too-many-exports": Advice("等上一个导出结束后再开始。", "Wait until the export that runs has ended."),
    "too-many-streams": Advice("先关闭已打开的订阅。", "Close an open stream first."),
    "internal": Advice(
        "稍后再试；若再出现，请报告 instance 中的编号。", "Try again later; if it comes back, report the number in instance."
    ),
    "query-timeout": Advice("增加过滤条件，缩小范围。", "Add filters: ask for less."),
    "policy-expired": Advice("由运营单位更新策略依据后恢复；无需更改请求。", "It comes back when the operating body renews the policy."),
}
_BY_STATUS: Final[Mapping[int, Advice]] = {
    409: Advice("先查看当前状态，再决定是否重试。", "Look at the present state before you try again."),
    410: Advice("改用 next 给出的网址。", "Use the URL in next."),
    412: Advice(
        "重新读取资源，再提交；更改类请求请去掉 If-Match。",
        "Read the resource again, then send the request; one that changes something, without If-Match.",
    ),
    416: Advice("不带 Range 请求头重新下载。", "Download again without the header field Range."),
    431: Advice("减少请求头。", "Send fewer header fields."),
    503: Advice("按 Retry-After 等待后再试；无需更改请求。", "Wait as Retry-After says, and send the same request again."),
}
_CLIENT: Final = Advice("按 detail 和 errors 的说明改正请求。", "Correct the request as detail and errors say.")
_SERVER: Final = Advice("稍后再试。", "Try again later.")


def advice_for(kind: ProblemKind) -> Advice:
    """What to do about a problem of this kind."""
    return _BY_CODE.get(kind.code) or _BY_STATUS.get(kind.status) or (_SERVER if kind.status >= 500 else _CLIENT)

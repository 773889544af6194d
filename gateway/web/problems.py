"""Every error as the caller sees it: `application/problem+json` (RFC 9457), one table code → status (api.md §5).

Rules: a problem never repeats a value that was sent, nor a masked value, SQL or a stack trace; `not-found` has one wording for
absent, hidden, removed and not yet public; what is no `RequestError` of ours is told by its code alone. A change of the table
is a change of the published API. This room must not decide who may see what.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from litestar.exceptions import (
    HTTPException,
    InternalServerException,
    MethodNotAllowedException,
    NotFoundException,
    SerializationException,
    ValidationException,
)
from litestar.status_codes import HTTP_413_REQUEST_ENTITY_TOO_LARGE
from msgspec import Struct

from gateway.core.callers.proof import ALGORITHMS
from gateway.core.callers.refusals import NonceWanted
from gateway.core.errors import ErrorItem, ExchangeError, InvalidParameter, NoteRefused, RequestError, RowBudgetSpent, SeqClosed, StoreError
from gateway.web.exchange_words import EXCHANGE_WORDS
from gateway.web.in_english import in_english
from gateway.web.negotiation import Language
from gateway.web.parameters import echo


class ProblemKind(Struct, frozen=True, kw_only=True):
    """One code of the published table."""

    code: str
    status: int
    title: Mapping[Language, str]
    detail: Mapping[Language, str]
    """What is said when the error has no words of its own."""


class ProblemError(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One pointed fault: where (query or path parameter, or RFC 6901 pointer into the body) and its own code."""

    parameter: str | None = None
    pointer: str | None = None
    code: str
    detail: str


class Problem(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An error as the caller sees it (RFC 9457)."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    instance: str
    trace_id: str
    errors: tuple[ProblemError, ...] = ()
    suggestions: tuple[dict[str, Any], ...] = ()
    acceptable: tuple[str, ...] = ()
    next: str | None = None


class ClosedProblem(Problem, frozen=True, kw_only=True, omit_defaults=True):
    """That a partner asks for what is no longer served of a stream (exchange.md §10)."""

    epoch: int
    """To start from."""


class Refusal(Exception):
    """An error that the web room itself finds, before any story is told: framework, limits, negotiation."""

    def __init__(self, code: str, *, detail: str = "", acceptable: tuple[str, ...] = (), headers: Mapping[str, str] | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.detail = detail
        self.acceptable = acceptable
        self.headers = dict(headers or {})


_TABLE = """
400 bad-request            请求有误                   Malformed request
    网址、请求头或正文的编码不正确；请使用 UTF-8 和百分号编码。
    The URL, a header or the body is malformed; use UTF-8 and percent-encoding.
400 unknown-parameter      未知参数                   Unknown parameter
    此接口没有这个参数。
    This path has no such parameter.
400 repeated-parameter     参数重复                   Repeated parameter
    同一参数只能出现一次。
    A parameter may stand only once.
400 invalid-parameter      参数取值有误               Invalid parameter
    参数取值超出允许范围。
    A parameter's value is outside its bounds.
400 bad-cursor             游标无效                   Bad cursor
    游标被改动，或属于别的查询或调用方；请从第一页重新开始。
    The cursor was altered, or belongs to another query or caller; start from the first page.
400 uscc-invalid           统一社会信用代码有误       Invalid unified social credit code
    不是有效的统一社会信用代码。
    This is no valid unified social credit code.
400 body-invalid           请求正文有误               Invalid body
    请求正文不符合此接口的格式。
    The body is not what this path takes.
400 purpose-missing        缺少使用目的               Purpose missing
    请用 Purpose 请求头说明使用目的。
    State the purpose in the header field Purpose.
400 case-ref-missing       缺少案件编号               Case reference missing
    请用 Case-Ref 请求头给出案件编号。
    Give the case reference in the header field Case-Ref.
401 credentials-invalid    凭证无效                   Invalid credentials
    凭证格式不对、不存在、已过期或已撤销。
    The credential is malformed, unknown, expired or revoked.
403 not-permitted          不允许此操作               Not permitted
    此访问层级或使用目的不能使用这个接口。
    This tier or purpose may not use this path.
404 not-found              未找到                     Not found
    没有可以显示的内容。
    There is nothing here to be shown.
405 method-not-allowed     方法不被支持               Method not allowed
    此网址不支持该请求方法，可用的方法见 Allow 响应头。
    This path has no such method; see the header field Allow.
406 not-acceptable         没有可接受的格式           Not acceptable
    没有 Accept 请求头所要的格式，可用的格式见 acceptable。
    None of the formats asked for exists here; see acceptable.
409 idempotency-in-progress 同键请求仍在处理          Request in progress
    使用同一 Idempotency-Key 的请求尚未结束；请稍后重试。
    The first request under this Idempotency-Key is still running; try again later.
409 conflict               状态冲突                   Conflict
    与当前状态冲突。
    This conflicts with the present state.
410 cursor-expired         游标已过期                 Cursor expired
    游标过期，或其策略版本已不再施行；请从 next 重新开始。
    The cursor is too old, or its policy version is no longer in force; start again from next.
410 since-too-old          变更位置过旧               Position too old
    变更记录只保留一段时间；请从 next 给出的快照重新开始。
    Changes are kept for a while only; start again from the snapshot in next.
410 delta-window           增量已不再保留             Delta not kept
    起点版本已不再保留；请从 next 给出的版本重新开始。
    That version is not kept any more; start again from the version in next.
410 job-expired            任务结果已删除             Job expired
    结果只保留 24 小时；请从 next 重新提交。
    A result is kept for 24 hours only; send the file again to next.
410 version-reissued       版本已重发                 Version issued again
    此版本已重新发布，内容有移出；请用 next 给出的文件。
    This version was issued again without what has left; take the file in next.
410 version-withdrawn      版本已撤回                 Version withdrawn
    此版本发布有误，已撤回；请用 next 给出的版本。
    This version was published in error and withdrawn; take the version in next.
412 precondition-failed    前提条件不满足             Precondition failed
    资源已被更新，或者没有可供 If-Match 比较的强 ETag。
    The resource has changed, or has no strong ETag that If-Match could compare.
413 body-too-large         正文过大                   Body too large
    请求正文超出大小限制。
    The body is larger than allowed.
414 uri-too-long           网址过长                   URI too long
    网址不得超过 8 KiB。
    A URL may have 8 KiB.
415 unsupported-media-type 正文格式不被支持           Unsupported media type
    不接受这种正文类型或压缩编码。
    This type or content coding of a body is not taken.
416 range-not-satisfiable  请求范围无效               Range not satisfiable
    请求的字节范围不存在。
    There are no such bytes.
422 idempotency-mismatch   幂等键与请求不符          Key belongs to another request
    此 Idempotency-Key 已用于另一个请求；请换用新的键。
    This Idempotency-Key was used with another request; take a new one.
422 too-many-rows-for-format 行数超出格式上限         Too many rows for this format
    行数或大小超出此格式的上限；请缩小范围，或改用 NDJSON、CSV。
    There are more rows, or bytes, than this format can hold; narrow the query, or take NDJSON or CSV.
422 text-too-long-for-format 文字超出单元格上限       Text too long for this format
    有文字超过此格式一个单元格的长度（XLSX 为 32,767 个字符），不作截断；请用 fields 去掉该字段，或改用 NDJSON、CSV、Parquet。
    A text is longer than a cell of this format (XLSX: 32,767 characters) and is not cut; leave its field out, or take NDJSON or CSV.
422 file-refused           文件未被接收               File refused
    文件整体未被接收，没有任何一行入库；原因见 errors。
    The file was refused as a whole, no row of it was stored; see errors.
429 quota-exceeded         超出配额                   Quota exceeded
    请求过多，请按 Retry-After 等待后再试。
    Too many requests; wait as Retry-After says.
429 lookup-budget-spent    查询额度已用完             Look-up budget spent
    本机构今日的个人查询额度已用完，次日零时（UTC+8）重新计算。
    The organisation's look-ups of persons are spent for today; counted anew at midnight, UTC+8.
429 too-many-exports       导出过多                   Too many exports
    同一调用方同时只能有一个导出。
    A caller may run one export at a time.
429 too-many-streams       订阅过多                   Too many streams
    同时打开的订阅过多。
    Too many open streams.
431 headers-too-large      请求头过大                 Headers too large
    请求头总长不得超过 16 KiB。
    Header fields may have 16 KiB together.
500 internal               内部错误                   Internal error
    服务器内部错误，已记录；请报告 instance 中的编号。
    An internal error was recorded; please report the number in instance.
503 unavailable            暂时不可用                 Unavailable
    暂时无法读取数据，请稍后再试。
    Data cannot be read at present; try again later.
503 overloaded             服务繁忙                   Overloaded
    服务繁忙，请稍后再试。
    The service is busy; try again later.
503 query-timeout          查询超时                   Query timeout
    查询用时过长；请缩小范围后再试。
    The query took too long; narrow it.
503 version-reissuing      版本正在重发               Version being issued again
    此版本的内容刚有移出，正在重新发布；请稍后再试。
    Something has just left this version; it is being issued again, try again shortly.
503 audit-unavailable      无法留痕                   Audit unavailable
    查询留痕暂时无法写入，因此不提供数据；请稍后再试。
    The audit trail cannot be written now, so no data is given; try again later.
503 obligation-failed      义务未能履行               Obligation failed
    策略规定的义务未能履行，因此不提供数据；请稍后再试。
    What the policy obliges to could not be done, so no data is given; try again later.
503 policy-expired         策略已过期                 Policy expired
    策略的依据已过期，在更新前不能显示。
    A basis of the policy has ended; nothing is shown until it is renewed.
503 no-active-policy       没有施行中的策略           No policy in force
    尚未启用任何策略，因此不显示任何内容。
    No policy has been activated, so nothing is shown.
"""

_LINE = re.compile(r"^(\d{3}) (\S+)\s+(\S+)\s{2,}(\S.*)$")


def _read(table: str) -> dict[str, ProblemKind]:
    lines = table.strip().splitlines()
    kinds: dict[str, ProblemKind] = {}
    for head, chinese, english in zip(lines[0::3], lines[1::3], lines[2::3], strict=True):
        match = _LINE.match(head)
        if match is None:
            raise ValueError(f"the table of problems has a bad line: {head!r}")
        status, code, title_zh, title_en = match.groups()
        kinds[code] = ProblemKind(
            code=code,
            status=int(status),
            title={"zh-CN": title_zh, "en": title_en},
            detail={"zh-CN": chinese.strip(), "en": english.strip()},
        )
    return kinds


KINDS: Mapping[str, ProblemKind] = _read(_TABLE)
"""Every code of the API, in order of status."""

RETRY_AFTER: Final = {
    "version-reissuing": "30",
    "overloaded": "2",
    "unavailable": "5",
    "rate-limit": "10",
    "query-timeout": "5",
    "no-active-policy": "60",
    "policy-expired": "300",
}

EXCHANGE_STATUS: Final = (
    # what an exchange.md §8 code reads as over HTTP, by its longest prefix (exchange.md §10)
    ("NOT_FOUND", 404),
    ("MEDIA_TYPE", 415),
    ("RATE_LIMIT", 429),
    ("UNAVAILABLE", 503),
    ("MAINTENANCE", 503),
    ("SIG_HTTP", 401),
    ("SIG_CONTENT_DIGEST", 401),
    ("SIG_UNKNOWN_KEY", 401),
    ("SIG_KEY_", 401),
    ("TIME_REPLAY", 401),
    ("TIME_EXPIRED", 401),
    ("SIG_", 422),
    ("SEQ_CLOSED", 410),
    ("SEQ_GAP", 404),
    ("SEQ_", 422),
    ("SCOPE_", 403),
    ("SIZE_", 413),
    ("TIME_", 422),
    ("SCHEMA_", 400),
    ("AGR_", 403),
    ("LAW_", 422),
    ("SUBJ_", 422),
)

_BY_STATUS: Final = {
    401: "credentials-invalid",
    403: "not-permitted",
    415: "unsupported-media-type",
    429: "quota-exceeded",
    503: "unavailable",
}

_ENCODER = msgspec.json.Encoder()
_ONE_WORDING = frozenset({"not-found", "internal"})
"""Codes whose detail is never anything but the table's."""


_EXCHANGE_ELSE: Final[Mapping[Language, str]] = {"zh-CN": "交换规则不允许", "en": "Refused by the exchange rules"}
_EXCHANGE_GROUPS: Final[tuple[tuple[str, Mapping[Language, str]], ...]] = (
    ("SIG_CONTENT_DIGEST", {"zh-CN": "正文与所签摘要不符", "en": "The body is not what was digested and signed"}),
    ("SIG_PART_", {"zh-CN": "文件与清单所列摘要不符，或者缺少", "en": "A part differs from its digest, or is absent"}),
    ("SIG_", {"zh-CN": "签名或者密钥不被认可", "en": "The signature or its key is not believed"}),
    ("TIME_REPLAY", {"zh-CN": "此随机数或者编号已经用过，请重新签名", "en": "This nonce or id was used before: sign anew"}),
    ("TIME_", {"zh-CN": "时间不在允许的范围内，请核对时钟", "en": "Not of now: compare the clocks"}),
    ("SCHEMA_", {"zh-CN": "内容不合约定的格式", "en": "Not of the agreed form"}),
    ("SCOPE_", {"zh-CN": "超出协议的范围，或者协议不在有效状态", "en": "Outside what is agreed, or no agreement is in force"}),
    ("SIZE_", {"zh-CN": "超出约定的大小、数量或者时间", "en": "Over an agreed bound of size, number or time"}),
)
"""What a group of codes means: the title; of a code itself `EXCHANGE_WORDS` has the sentence."""


def exchange_status(code: str) -> int:
    """The HTTP status of an exchange code."""
    return next((status for prefix, status in EXCHANGE_STATUS if code.startswith(prefix)), 422)


def _exchange_kind(code: str, status: int | None = None) -> ProblemKind:
    wire = code.lower().replace("_", "-")
    if wire in KINDS:  # absent and unavailable read alike everywhere
        return KINDS[wire]
    group = next((words for prefix, words in _EXCHANGE_GROUPS if code.startswith(prefix)), _EXCHANGE_ELSE)
    chinese, english = EXCHANGE_WORDS.get(code, (group["zh-CN"], group["en"]))
    return ProblemKind(code=wire, status=status or exchange_status(code), title=group, detail={"zh-CN": chinese, "en": english})


def kind_of_code(code: str) -> ProblemKind | None:
    """The kind that a published code names, of the API or of the exchange; None where there is no such kind."""
    of_exchange = code.upper().replace("-", "_")
    return KINDS.get(code) or (_exchange_kind(of_exchange) if of_exchange in EXCHANGE_WORDS and code == code.lower() else None)


_BROKEN_OFF: Final = "client disconnected prematurely"
"""How the framework words a body that breaks off or is no chunks: under the class of its own faults, though it is the sender's."""


def _placed(error: RequestError) -> tuple[ErrorItem, ...]:
    """What a story says in one sentence with a place: which parameter, or which member of the body."""
    if not isinstance(error, InvalidParameter) or error.place is None:
        return ()
    if error.place.startswith("/"):
        return (ErrorItem("invalid", error.detail, pointer=error.place),)
    return (ErrorItem("invalid", error.detail, parameter=error.place),)


def _kind_of(error: Exception) -> ProblemKind:
    """The published kind of any exception at all; what nobody foresaw is `internal`."""
    match error:
        case NoteRefused() if error.code.startswith("SIG_"):
            return _exchange_kind(error.code, 422)  # an artefact's note, not the request's signature
        case ExchangeError():
            return KINDS.get(error.code) or _exchange_kind(error.code)
        case StoreError():
            return KINDS["unavailable"]
        case Refusal() | RequestError() if error.code in KINDS:
            return KINDS[error.code]
        case NotFoundException():
            return KINDS["not-found"]
        case MethodNotAllowedException():
            return KINDS["method-not-allowed"]
        case UnicodeDecodeError() | RecursionError() | SerializationException() | msgspec.DecodeError():
            return KINDS["body-invalid" if isinstance(error, msgspec.ValidationError) else "bad-request"]
        case InternalServerException() if error.detail == _BROKEN_OFF:
            return KINDS["bad-request"]
        case HTTPException():
            if error.status_code == HTTP_413_REQUEST_ENTITY_TOO_LARGE:
                return KINDS["body-too-large"]
            if isinstance(error, ValidationException):
                return KINDS["body-invalid"]
            return KINDS[_BY_STATUS.get(error.status_code, "bad-request" if 400 <= error.status_code < 500 else "internal")]
        case _:
            return KINDS["internal"]


_UNDECODABLE: Mapping[Language, str] = {
    "zh-CN": "请求的网址、请求头或正文不是 UTF-8；很可能是以 GBK/GB18030 编码发送的，请改用 UTF-8。",
    "en": "The URL, a header or the body is not UTF-8; most likely it was sent as GBK/GB18030. Send UTF-8.",
}
_TOO_DEEP: Mapping[Language, str] = {"zh-CN": "请求正文嵌套过深。", "en": "The body is nested too deeply."}


_ITEM_WORDS: Mapping[str, Mapping[Language, str]] = {
    "unknown": {"zh-CN": "未知参数", "en": "unknown parameter"},
    "repeated": {"zh-CN": "参数重复", "en": "repeated parameter"},
    "range": {"zh-CN": "超出允许范围", "en": "out of bounds"},
    "enum": {"zh-CN": "不是允许的取值", "en": "not one of the allowed values"},
    "format": {"zh-CN": "格式不正确", "en": "malformed"},
    "required": {"zh-CN": "必须给出", "en": "required"},
    "length": {"zh-CN": "长度不正确", "en": "wrong length"},
    "query-subject": {
        "zh-CN": "须写明完整的主体：法人为统一社会信用代码，个体工商户另加全称，自然人为证件号码与全名；不接受部分、通配或者仅有名称",
        "en": "a whole subject: an organisation by code, a household or person by number and name; no part, pattern or name alone",
    },
    "query-basis": {"zh-CN": "案号须为 4 至 64 个字符，并写明依据与经办人", "en": "a case of 4 to 64 characters, a ground and an officer"},
    "query-follows": {
        "zh-CN": "二级查询须接续一日内同一案件、主体与经办人的一级命中",
        "en": "level 2 follows a level-1 hit of the last day: same case, subject and officer",
    },
    "query-scope": {"zh-CN": "与所列城市没有有效的协议", "en": "there is no agreement with a partner that was named"},
    "dataset-unknown": {"zh-CN": "没有这个数据集", "en": "there is no such dataset"},
    "SCOPE_CATEGORY": {
        "zh-CN": "联合奖惩措施由外地记录引起，逐条登记，不以文件报送",
        "en": "measures follow from records of other cities, and are written down one by one",
    },
    "check_digit": {"zh-CN": "校验码不符", "en": "the check character does not fit"},
}
_HAN = re.compile("[\u4e00-\u9fff]")


def _in_words(text: str, language: Language) -> bool:
    """Whether a sentence is in the answer's language; rooms below the web write one only, and the other one gives way to the table's."""
    return bool(text) and bool(_HAN.search(text)) == (language == "zh-CN")


def root_of(error: BaseException) -> BaseException:
    """The first cause: frameworks wrap a decoder's error in their own."""
    seen = error
    while seen.__cause__ is not None:
        seen = seen.__cause__
    return seen


def _detail(error: Exception, kind: ProblemKind, language: Language) -> str:
    own = error.detail if isinstance(error, (RequestError, ExchangeError, Refusal)) and kind.code not in _ONE_WORDING else ""
    if _in_words(own, language):
        return own
    if language == "en" and own and (told := in_english(own)):
        return f"{told[0].upper()}{told[1:]}."
    root = root_of(error)
    if isinstance(root, UnicodeDecodeError):
        return _UNDECODABLE[language]
    if isinstance(root, RecursionError):
        return _TOO_DEEP[language]
    return kind.detail[language]


def _item(item: ErrorItem, kind: ProblemKind, language: Language) -> ProblemError:
    words = item.detail if _in_words(item.detail, language) else None
    if words is None and language == "en":
        words = in_english(item.detail, item.code)
    if words is None:
        words = _ITEM_WORDS.get(item.code, kind.detail)[language]
    parameter = None if item.parameter is None else echo(item.parameter)
    return ProblemError(parameter=parameter, pointer=item.pointer, code=item.code, detail=words)


def problem_of(error: Exception, *, origin: str, request_id: str, trace_id: str, language: Language) -> Problem:
    """The problem document of an exception."""
    kind = _kind_of(error)
    errors: tuple[ProblemError, ...] = ()
    suggestions: tuple[dict[str, Any], ...] = ()
    following = None
    if isinstance(error, RequestError) and kind.code not in _ONE_WORDING:
        errors = tuple(_item(item, kind, language) for item in error.errors or _placed(error))
        suggestions = tuple(error.suggestions)
        following = error.next_url
    problem = Problem(
        type=f"{origin}/problems/{kind.code}",
        title=kind.title[language],
        status=kind.status,
        code=kind.code,
        detail=_detail(error, kind, language),
        instance=f"urn:request:{request_id}",
        trace_id=trace_id,
        errors=errors,
        suggestions=suggestions,
        next=following,
        acceptable=error.acceptable if isinstance(error, Refusal) else (),
    )
    return ClosedProblem(**msgspec.structs.asdict(problem), epoch=error.epoch) if isinstance(error, SeqClosed) else problem


def _challenges(error: Exception, origin: str) -> str:
    """`WWW-Authenticate`: which schemes there are, and where to read about them; one wording for every cause but the nonce."""
    where = f'resource_metadata="{origin}/.well-known/oauth-protected-resource"'
    told = "use_dpop_nonce" if isinstance(error, NonceWanted) else "invalid_token"
    return f'DPoP realm="chengxin", error="{told}", algs="{" ".join(ALGORITHMS)}", {where}, Bearer realm="chengxin", {where}'


def headers_of(error: Exception, kind_code: str, status: int, *, origin: str) -> dict[str, str]:
    """Header fields that belong to a problem besides the common ones."""
    headers: dict[str, str] = {}
    if isinstance(error, Refusal):
        headers.update(error.headers)
    if isinstance(error, HTTPException) and status == 405:
        headers.update({name.title(): value for name, value in (error.headers or {}).items() if name.lower() == "allow"})
    if status == 401:
        headers["WWW-Authenticate"] = _challenges(error, origin)
    if isinstance(error, NonceWanted):
        headers["DPoP-Nonce"] = error.nonce
    if isinstance(error, RowBudgetSpent):
        headers["Retry-After"] = str(error.retry_after)
    if status == 503 or kind_code == "rate-limit":
        headers["Retry-After"] = RETRY_AFTER.get(kind_code, "5")
    return headers


def encode(problem: Problem) -> bytes:
    """The bytes of a problem document."""
    return _ENCODER.encode(problem)


def catalogue(origin: str, language: Language) -> bytes:
    """All codes as data: `GET /v1/problems`."""
    items = [
        {
            "code": kind.code,
            "status": kind.status,
            "type": f"{origin}/problems/{kind.code}",
            "title": kind.title[language],
            "detail": kind.detail[language],
            "title_zh": kind.title["zh-CN"],
            "title_en": kind.title["en"],
        }
        for kind in KINDS.values()
    ]
    return _ENCODER.encode({"items": items})

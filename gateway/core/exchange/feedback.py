"""Receipts and feedback: what became of a batch, line by line (exchange.md §8).

Receipts of a stream are numbered from 1 and chained by digest; a feedback line never repeats a value, the salted digest points at it.
Codes are stable. This room must not decide anything: it writes down what was decided.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from gateway.core.errors import ExchangeError
from gateway.core.exchange import notes
from gateway.core.exchange.notes import SignedDocument
from gateway.core.exchange.wire import SHA256, CodeText, Count, Digest, Number, Root, Suite, b64, digest_text, encode, instant, strict_json
from gateway.core.signing import Signer

Severity = Literal["info", "warn", "hold", "reject"]
Result = Literal["applied", "partial", "held", "quarantined", "rejected", "frozen"]

MESSAGES: dict[str, str] = {
    "ACK_WITHDRAWN": "已撤下",
    "ACK_ERASED": "已删除",
    "HOLD_RELEASED": "暂存已解除",
    "HOLD_REFUSED": "暂存后未予接收",
    "DUP_SAME": "与已接收内容相同",
    "DUP_KEY": "同一业务主键已有另一条记录",
    "DUP_OTHER_SOURCE": "另一来源已提供同一决定",
    "SEQ_VERSION": "版本号不高于已接收版本",
    "SEQ_STATE": "记录当前状态不允许此操作",
    "SEQ_ERASED": "记录已删除",
    "SCOPE_AGREEMENT": "没有生效的协议",
    "SCOPE_ISSUER": "签发方与发送方不一致",
    "SCOPE_OWNER": "记录不属于该发送方",
    "SCOPE_REGION": "区域不在协议范围内",
    "SCOPE_AUTHORITY": "决定机关不在协议范围内",
    "SCOPE_CATEGORY": "类别不在协议范围内",
    "SCOPE_KIND": "主体类型不在协议范围内",
    "SCOPE_FIELD": "字段不在协议范围内",
    "SCOPE_OP": "操作不在协议范围内",
    "SCHEMA_VERSION": "数据结构版本不符",
    "SCHEMA_STATUS": "状态与操作不符",
    "SCHEMA_MISSING": "缺少必填内容",
    "SCHEMA_UNKNOWN": "含有未知成员",
    "SCHEMA_TYPE": "类型或格式不符",
    "SCHEMA_LENGTH": "内容超长",
    "SCHEMA_ENUM": "取值不在允许范围内",
    "SCHEMA_DISCLOSURE": "披露项与摘要不符",
    "SCHEMA_TWIN": "派生值与原值不符",
    "SUBJ_USCC": "统一社会信用代码校验码不符",
    "SUBJ_ID": "证件号码校验码不符",
    "SUBJ_MISSING": "缺少主体标识",
    "SUBJ_CONFLICT": "名称与代码不一致",
    "SUBJ_USCC_INNER": "统一社会信用代码中主体标识码校验位不符",
    "SUBJ_UNLINKED": "本地尚无该主体",
    "LAW_BASIS": "缺少依据",
    "LAW_CATALOGUE": "目录中没有现行条目",
    "LAW_PERSON": "协议未约定自然人或个体工商户信息的依据",
    "LAW_MINOR": "涉及未成年人",
    "LAW_PROHIBITED": "含有禁止归集的内容",
    "LAW_PERIOD": "公示期限按本地规定执行",
    "REGION_UNKNOWN": "区划代码未知",
    "TIME_FUTURE": "日期尚未到来",
}
"""What the other office reads; a code without a sentence of its own shows itself."""


class Feedback(Struct, frozen=True, gc=False, kw_only=True):
    """One line of a feedback file."""

    i: int
    rid: str | None
    v: int | None
    severity: Severity
    code: CodeText
    field: str | None = None
    disclosure: str | None = None
    rule: str | None = None
    message: str = ""
    hint: str | None = None
    retry: bool = False
    at: str = ""


def feedback_file(lines: Iterable[Feedback]) -> bytes:
    """The NDJSON of a feedback file; made once, then kept."""
    return b"".join(encode(line) + b"\n" for line in lines)


_decode_feedback = msgspec.json.Decoder(Feedback).decode


def read_feedback(data: bytes, said: "FeedbackSum", suite: Suite = SHA256) -> tuple[Feedback, ...]:
    """The lines of a feedback file, if it is the one the receipt names.

    Raises ExchangeError SIG_PART_DIGEST for other bytes, SCHEMA_COUNTS or SCHEMA_LINE for another shape.
    """
    if len(data) != said.bytes or digest_text(data, suite) != said.digest:
        raise ExchangeError("the feedback is not the one the receipt names", code="SIG_PART_DIGEST")
    rows = data.split(b"\n")
    if rows.pop() or len(rows) != said.lines:
        raise ExchangeError("the feedback has another number of lines", code="SCHEMA_COUNTS")
    try:
        return tuple(_decode_feedback(row) for row in rows)
    except msgspec.DecodeError as error:
        raise ExchangeError("a line of the feedback does not decode", code="SCHEMA_LINE") from error


class ReceiptBatch(Struct, frozen=True, kw_only=True):
    """Which batch a receipt is about."""

    epoch: Number
    seq: Number
    manifest: Digest


class ReceiptTree(Struct, frozen=True, kw_only=True):
    """The head after the last applied batch."""

    epoch: Number
    size: Count
    root: Root


class ReceiptAgreement(Struct, frozen=True, kw_only=True):
    """Under which agreement it was decided."""

    id: str
    version: int


class ReceiptCounts(Struct, frozen=True, kw_only=True):
    """Lines by outcome: accepted + unchanged + held + rejected + withdrawn = lines; warned are part of accepted."""

    lines: Count = 0
    accepted: Count = 0
    unchanged: Count = 0
    warned: Count = 0
    held: Count = 0
    rejected: Count = 0
    withdrawn: Count = 0
    dropped: Count = 0


class FeedbackSum(Struct, frozen=True, kw_only=True):
    """Which feedback file belongs to a receipt."""

    lines: Count
    bytes: Count
    digest: Digest


class Receipt(Struct, frozen=True, kw_only=True, rename={"type_": "type"}):
    """Body of a receipt; members unknown to us are ignored."""

    type_: Literal["chengxin-exchange/receipt/1"] = "chengxin-exchange/receipt/1"
    receiver: str
    sender: str
    stream: str
    no: Number
    previous: Digest | None
    kind: Literal["batch", "later"]
    batch: ReceiptBatch | None
    result: Result
    code: CodeText | None
    tree: ReceiptTree
    agreement: ReceiptAgreement
    counts: ReceiptCounts
    feedback: FeedbackSum
    received_at: str
    decided_at: str


class _Explained(Receipt, frozen=True, kw_only=True, rename={"type_": "type"}):
    """A receipt as we write it: a word for people beside the code, which nobody has to read."""

    detail: str | UnsetType = UNSET


DETAIL = 300
"""Characters of a receipt's `detail`."""


def empty_feedback(suite: Suite = SHA256) -> FeedbackSum:
    """Of a receipt that names no lines."""
    return FeedbackSum(lines=0, bytes=0, digest=digest_text(b"", suite))


def feedback_sum(data: bytes, lines: int, suite: Suite = SHA256) -> FeedbackSum:
    """Lines, bytes and digest of a feedback file."""
    return FeedbackSum(lines=lines, bytes=len(data), digest=digest_text(data, suite))


def make_receipt(
    *,
    receiver: str,
    sender: str,
    stream: str,
    no: int,
    previous: str | None,
    batch: ReceiptBatch | None,
    result: Result,
    code: str | None,
    epoch: int,
    size: int,
    root: bytes,
    agreement: ReceiptAgreement,
    counts: ReceiptCounts,
    feedback: FeedbackSum,
    received_at: datetime,
    decided_at: datetime,
    detail: str | None = None,
) -> bytes:
    """The bytes of a receipt; made once, then kept. `detail` says in English what is wrong with a batch that is refused as a whole."""
    return encode(
        _Explained(
            receiver=receiver,
            sender=sender,
            stream=stream,
            no=no,
            previous=previous,
            kind="batch" if batch else "later",
            batch=batch,
            result=result,
            code=code,
            tree=ReceiptTree(epoch=epoch, size=size, root=b64(root)),
            agreement=agreement,
            counts=counts,
            feedback=feedback,
            received_at=instant(received_at),
            decided_at=instant(decided_at),
            detail=UNSET if detail is None else detail[:DETAIL],
        )
    )


def receipt_context(stream: str, sender: str, no: int) -> str:
    """Context of a receipt's note."""
    return f"{stream}/{sender}/{no}"


def sign_receipt(body: bytes, receipt: Receipt, signers: Sequence[Signer], suite: Suite = SHA256) -> SignedDocument:
    """The receipt with its note."""
    return notes.sign_document("receipt", receipt_context(receipt.stream, receipt.sender, receipt.no), body, signers, suite)


_RECEIPT = msgspec.json.Decoder(Receipt)


def read_receipt(body: bytes) -> Receipt:
    """What a receipt says; its note is verified by the caller.

    Raises ExchangeError SCHEMA_JSON, or SCHEMA_MANIFEST when members are missing or do not add up.
    """
    strict_json(body)
    try:
        receipt = _RECEIPT.decode(body)
    except msgspec.ValidationError as error:
        raise ExchangeError(f"no receipt: {error}", code="SCHEMA_MANIFEST") from error
    counts = receipt.counts
    if (
        counts.accepted + counts.unchanged + counts.held + counts.rejected + counts.withdrawn != counts.lines
        or counts.warned > counts.accepted
    ):
        raise ExchangeError("the counts of the receipt do not add up", code="SCHEMA_MANIFEST")
    if (receipt.batch is None) != (receipt.kind == "later"):
        raise ExchangeError("a receipt of kind `batch` names its batch", code="SCHEMA_MANIFEST")
    return receipt


def receipt_fork_evidence(a: SignedDocument, b: SignedDocument) -> bytes:
    """Two receipts of one receiver that contradict each other, as exportable evidence: one number, or neighbours that are not chained."""
    sides = {name: {"body": one.body.decode(), "note": one.note} for name, one in (("a", a), ("b", b))}
    return encode({"type": "chengxin-exchange/receipt-fork/1", **sides})

"""What a refusal by the exchange rules means, by its code, in both languages: in the problem document and on the page of its type.

Rules: a sentence says what is wrong and where to look, never a value. A code without a sentence of its own has the general one. This file
tells no story; which code has which status stands in `problems`.
"""

from collections.abc import Mapping
from typing import Final

_TABLE: Final = """
SIG_HTTP 请求签名缺失、格式不对或与请求不符（RFC 9421：标签、组成部分、参数、目标地址、tag）
    The request's signature is missing, malformed or of another request (RFC 9421: label, components, parameters, target, tag).
SIG_CONTENT_DIGEST Content-Digest 缺失、未被签名，或与正文不符
    Content-Digest is missing, not covered by the signature, or of another body.
SIG_UNKNOWN_KEY 不认识签名所用的密钥；新公布的密钥请稍后重试（每分钟最多取一次密钥文件）
    The signing key is not known here; if it is new, try again in a minute, the keys document is being fetched.
SIG_KEY_USE 密钥不是用于此种签名的
    The key is for another use.
SIG_KEY_EXPIRED 密钥在该时刻尚未生效或已过期
    The key was not valid yet, or no longer, at that moment.
SIG_KEY_REVOKED 密钥已吊销
    The key was revoked.
SIG_FORMAT 签名说明（signed note）格式有误
    The signed note is malformed.
SIG_INVALID 签名与内容不符
    A signature does not fit what it is over.
SIG_ALG_MISSING 缺少协议要求的算法的签名
    A signature of an algorithm that the agreement demands is missing.
SIG_CONTEXT 签名是对另一批次、文件或编号作出的
    The signature is over another batch, document or number.
SIG_PART_DIGEST 数据文件与清单中的摘要或长度不符
    A part is not what the manifest says of it.
SIG_PART_MISSING 回执的反馈文件须先送达
    The feedback comes before its receipt.
SEQ_GAP 此编号之前还缺批次，或编号超出范围
    Something before this number is missing, or the number is too far ahead.
SEQ_CLOSED 不再提供；从 epoch 指明的一期重新开始
    It is no longer served: begin with the epoch that is named.
SEQ_ROOT 检查点与清单或已有的树不符
    The checkpoint does not agree with the manifest, or with the tree that is held.
SEQ_FORK 同一编号下已有另一份内容
    Another content is held under this number.
SEQ_REPLAY 编号低于已知的最高编号
    The number is below the highest that was seen.
SCOPE_AGREEMENT 没有生效的协议，或协议已暂停、已终止
    No agreement is in force, or it is suspended or over.
SCOPE_DIGEST 双方所持文本不同，或版本不衔接
    The two sides hold different texts, or the version does not follow.
SCOPE_RECEIVER 不是发给本机构的
    It is for somebody else.
SCOPE_ISSUER 签发方与发送方不一致
    It is issued by another than the sender.
SCOPE_REGION 区域不在区划表或协议范围内
    The region is not in the division table, or outside the agreement.
SCOPE_AUTHORITY 机关不在协议范围内
    The authority is outside the agreement.
SCOPE_FIELD 字段不在协议范围内
    The field is outside the agreement.
SCHEMA_JSON 不是严格的 JSON（见交换规范第 1 节）
    This is no strict JSON (section 1 of the specification).
SCHEMA_MANIFEST 成员、类型、名称或合计与规范不符
    Members, types, names or sums are not those of the specification.
SCHEMA_UNKNOWN 含有未知成员
    An unknown member stands in it.
SCHEMA_MISSING 缺少必须的成员
    A member is missing.
SCHEMA_TYPE 类型或格式不符
    A value has another type or form.
SCHEMA_ENUM 取值不在允许范围内
    A value is not one of those allowed.
SCHEMA_LENGTH 内容超长
    A value is too long.
TIME_EXPIRED 请求或文件的时间已过；请核对两边的时钟
    The request or document is too old: compare the clocks.
TIME_FUTURE 时间在将来；请核对两边的时钟，稍后重试
    It comes from the future: compare the clocks, and try again later.
TIME_REPLAY nonce 或问题编号已用过；请重新签名
    The nonce or question id was used before: sign anew.
SIZE_BYTES 超出约定或允许的大小
    It is larger than agreed or allowed.
SIZE_RATIO 压缩比过高
    It is compressed too far.
SIZE_LINES 行数过多
    It has too many lines.
SIZE_PARTS 数据文件过多
    It has too many parts.
SIZE_TIME 传送或处理过慢
    It comes, or is worked on, too slowly.
MEDIA_TYPE 不接受此种 Content-Type
    This Content-Type is not taken here.
RATE_LIMIT 请求过多，请在 Retry-After 之后再试
    Too many requests: try again after Retry-After.
MAINTENANCE 维护中，结束后继续
    In maintenance: it goes on afterwards.
LAW_PERSON 协议未约定自然人或个体工商户信息的依据
    The agreement has no basis for persons or households.
"""


def _read(table: str) -> dict[str, tuple[str, str]]:
    lines = table.strip().splitlines()
    heads = [line.partition(" ") for line in lines[0::2]]
    return {code: (f"{chinese}。", english.strip()) for (code, _, chinese), english in zip(heads, lines[1::2], strict=True)}


EXCHANGE_WORDS: Final[Mapping[str, tuple[str, str]]] = _read(_TABLE)
"""Code of the specification → the sentence in Chinese and in English."""

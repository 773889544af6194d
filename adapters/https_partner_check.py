"""What a partner's own answers tell whoever operates the line to it: that it is in maintenance, and which texts of agreements it holds.

Pure: bytes that came over the line in, findings out. Nothing here is believed (the core reads signed documents for itself), and no word of
the partner's is repeated.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from gateway.adapter_contract import Diagnostic

__all__ = ["told_by_agreements", "told_by_keys"]

_DIGEST = re.compile(r"[a-z0-9-]{1,16}:[A-Za-z0-9+/]{20,90}={0,2}")


class _Maintenance(Struct, frozen=True):
    begins: Annotated[datetime, Meta(tz=True)] = msgspec.field(name="from")
    until: Annotated[datetime, Meta(tz=True)]


class _Keys(Struct, frozen=True):
    maintenance: _Maintenance | None = None


class _Envelope(Struct, frozen=True):
    body: str


class _Agreement(Struct, frozen=True):
    id: str
    version: int
    digest: str


class _Agreements(Struct, frozen=True):
    items: tuple[_Agreement, ...]


def told_by_keys(data: bytes, now: datetime) -> list[Diagnostic]:
    """That a keys document can be had and read, and whether its party is in maintenance now."""
    try:
        said = msgspec.json.decode(msgspec.json.decode(data, type=_Envelope).body, type=_Keys).maintenance
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return [Diagnostic(what="密钥文件", ok=False, message="对方的密钥文件无法读取", remedy="请对方检查 /x/v1/keys")]
    found = [Diagnostic(what="密钥文件", ok=True, message="对方密钥文件可取")]
    if said is None or now >= said.until:
        return [*found, Diagnostic(what="维护", ok=True, message="对方没有维护")]
    until = f"{said.until.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    if now < said.begins:
        begins = f"{said.begins.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
        return [*found, Diagnostic(what="维护", ok=True, message=f"对方将自 {begins} 维护至 {until}")]
    return [*found, Diagnostic(what="维护", ok=False, message=f"对方维护至 {until}", remedy="等维护结束，届时自动继续")]


def told_by_agreements(data: bytes, agreed: Mapping[str, str]) -> list[Diagnostic]:
    """Whether the partner holds the texts that we hold; `agreed`: digests by `id/version`."""
    try:
        held = {f"{each.id}/{each.version}": each.digest for each in msgspec.json.decode(data, type=_Agreements).items}
    except (msgspec.DecodeError, RecursionError):
        return [Diagnostic(what="协议清单", ok=False, message="对方的协议清单无法读取", remedy="请对方检查 /x/v1/agreements")]
    return [_text(name, digest, held.get(name)) for name, digest in agreed.items()]


def _text(name: str, ours: str, theirs: str | None) -> Diagnostic:
    what, version = f"协议摘要 {name}", name.rpartition("/")[2]
    if theirs == ours:
        return Diagnostic(what=what, ok=True, message=f"双方所持第 {version} 版文本相同")
    if theirs is None:
        remedy = "请对方收下并签署该版本（chengxin agreement list）"
        return Diagnostic(what=f"协议版本 {name}", ok=False, message=f"对方没有第 {version} 版", remedy=remedy)
    said = theirs if _DIGEST.fullmatch(theirs) else "不是摘要"  # a partner may write anything there
    message = f"双方所持第 {version} 版文本不同：本方 {ours}，对方 {said}"
    return Diagnostic(what=what, ok=False, message=message, remedy="两边办公室比对 chengxin agreement list 的摘要，查明谁的文本有误")

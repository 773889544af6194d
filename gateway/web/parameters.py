"""The query string, strictly: percent-encoding and UTF-8 as they should be, no unknown and no repeated parameter (api.md §1.1).

Rules: a hidden field and a name that never existed read alike, but for the echoed name; values are never echoed, and a whole citizen
number in a URL is refused, whatever it was meant for. What a filter means is the planner's business (`core/disclosure/query`); this room
must not know datasets.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from urllib.parse import quote, unquote_to_bytes

from gateway.core.errors import BadRequest, ErrorItem, InvalidParameter, RepeatedParameter, UnknownParameter
from gateway.core.records.identifiers import holds_citizen_number, looks_like_citizen_number

MAX_PARAMETERS = 64
_BAD_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NOT_UTF8 = "网址中的参数不是 UTF-8 编码；很可能是 GBK/GB18030，请改用 UTF-8 后再做百分号编码。"
_SHORTEST_NUMBER = 15
"""Characters of the shortest citizen number: what is shorter is none."""
_ECHO = re.compile(r"^[A-Za-z0-9_.\-]{1,64}$")


def echo(name: str) -> str:
    """A parameter's name as an error may repeat it: harmless characters only, nothing shaped like a citizen number."""
    return name if _ECHO.match(name) and not looks_like_citizen_number(name) else "?"


_ESCAPED = re.compile(rb"(?:%[89A-Fa-f][0-9A-Fa-f])+")
"""Nothing but Chinese, as nearly every text that is searched for."""
_NOT_ASCII = re.compile(r"[^\x00-\x7f]+")


def decoded(raw: bytes) -> str:
    """A name or value of a query string. Raises BadRequest for broken encoding and control characters."""
    if raw.isalnum():
        return raw.decode()
    if _ESCAPED.fullmatch(raw) is not None:
        try:
            text = bytes.fromhex(raw.replace(b"%", b"").decode()).decode("utf-8")
        except UnicodeDecodeError as error:
            raise BadRequest(_NOT_UTF8) from error
        return text
    if _BAD_PERCENT.search(raw):
        raise BadRequest("网址中的百分号编码不正确。")
    try:
        text = unquote_to_bytes(raw.replace(b"+", b" ")).decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRequest(_NOT_UTF8) from error
    if _CONTROL.search(text):
        raise BadRequest("网址中含有控制字符。")
    return text


def refuse_citizen_number(text: str, name: str | None = None) -> None:
    """Raises InvalidParameter where a whole citizen number stands in a piece of a URL (policy.md §17): it belongs in no log on the way."""
    if len(text) >= _SHORTEST_NUMBER and holds_citizen_number(text):
        raise InvalidParameter(
            errors=(ErrorItem("citizen-number", "网址中不得出现公民身份号码", parameter=None if name is None else echo(name)),)
        )


def read_query(query_string: bytes) -> dict[str, str]:
    """The parameters of a query string, each once.

    Raises BadRequest for broken encoding, RepeatedParameter for a name given twice, InvalidParameter for a whole citizen number.
    """
    values: dict[str, str] = {}
    if not query_string:
        return values
    pieces = [piece for piece in query_string.split(b"&") if piece]
    if len(pieces) > MAX_PARAMETERS:
        raise BadRequest("参数过多。")
    for piece in pieces:
        raw_name, _, raw_value = piece.partition(b"=")
        name = decoded(raw_name)
        if name in values:
            raise RepeatedParameter(errors=(ErrorItem("repeated", "参数重复", parameter=echo(name)),))
        value = decoded(raw_value)
        refuse_citizen_number(name, name)
        refuse_citizen_number(value, name)
        values[name] = value
    return values


def refuse_unknown(values: Mapping[str, str], known: Iterable[str]) -> None:
    """Raises UnknownParameter for a name that is not known here."""
    for name in values:
        if name not in known:
            raise UnknownParameter(errors=(ErrorItem("unknown", "未知参数", parameter=echo(name)),))


def flag(values: Mapping[str, str], name: str) -> bool:
    """A switch that is off unless it says `1`.

    Raises InvalidParameter for anything but 0 and 1.
    """
    text = values.get(name, "0")
    if text not in ("0", "1"):
        raise InvalidParameter(errors=(ErrorItem("enum", "应为 0 或 1", parameter=name),))
    return text == "1"


def bounded(values: Mapping[str, str], name: str, most: int) -> str | None:
    """A text of at most so many characters, as it was sent.

    Raises InvalidParameter for a longer one.
    """
    text = values.get(name)
    if text is not None and len(text) > most:
        raise InvalidParameter(errors=(ErrorItem("length", f"至多 {most} 个字符", parameter=name),))
    return text


def _quoted(text: str, safe: str = "") -> str:
    """Percent-encoded; most names and values need nothing, or all of it."""
    if text.isascii() and text.isalnum():
        return text
    if _NOT_ASCII.fullmatch(text) is not None:
        return "%" + text.encode().hex("%").upper()
    return text if text.isascii() and text.replace("_", "a").isalnum() else quote(text, safe=safe)


def canonical_query(
    values: Mapping[str, str], *, without: Collection[str] = ("cursor",), defaults: Mapping[str, str] = MappingProxyType({})
) -> str:
    """Parameters sorted by name, defaults dropped: what a cursor is bound to."""
    return "&".join(
        f"{_quoted(name)}={_quoted(value)}" for name, value in sorted(values.items()) if name not in without and defaults.get(name) != value
    )


def shown_query(values: Mapping[str, str]) -> str:
    """The query as `self`, `next` and `Link` may repeat it: without any value shaped like a citizen number (api.md §12.3)."""
    return "&".join(
        f"{_quoted(name)}={_quoted(value, ',:')}"
        for name, value in sorted(values.items())
        if len(value) < _SHORTEST_NUMBER or not looks_like_citizen_number(value)
    )

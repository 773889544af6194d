"""What `province_soap` writes and reads: rows, calls, answers.

A part is a line a row: rid, version, `a` (stated) or `w` (withdrawn), and the row as the partner gets it, parted by tabs. A call is a
SOAP 1.1 envelope with token and xml, the xml escaped once. An answer says `code`, and where something is wrong `line` and a text, either as
elements or as an escaped document of its own. Everything is a function of what is given: no clock, no chance.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Final
from uuid import NAMESPACE_URL, uuid5
from xml.etree.ElementTree import Element

from msgspec import Meta, Struct

from adapters.hardened_xml import NAME, element, escape, local, plain, read_xml
from gateway.adapter_contract import AdapterError, Part, Row, Value

__all__ = ["Answer", "AnswerNames", "MessageHeader", "SentRow", "Service", "call", "encode_row", "read_answer", "read_part"]

SOAP: Final = "http://schemas.xmlsoap.org/soap/envelope/"
STATED: Final = frozenset({"assert", "amend"})
WITHDRAWN: Final = frozenset({"retract", "repair", "expire", "erase"})
MAX_PART: Final = 256 * 2**20
_RID: Final = re.compile(r"[A-Za-z0-9_.:-]{1,64}\Z")
_CODE: Final = re.compile(r"[A-Za-z0-9_.-]{1,32}\Z")
_LINE: Final = re.compile(r"[0-9]{1,6}\Z")

ElementName = Annotated[str, Meta(pattern=NAME.pattern)]


class Service(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The service of one act type."""

    path: Annotated[str, Meta(pattern=r"^(/[A-Za-z0-9._~/-]*)?\Z")] = ""
    """Below `base_url`."""
    namespace: Annotated[str, Meta(pattern=r"^[!#-~]{1,200}\Z")]
    """Also stands in a header field, between quotation marks."""
    operation: ElementName
    columns: Annotated[tuple[ElementName, ...], Meta(min_length=1, max_length=200)]
    """Wire names in the order of the partner's dictionary: every row has all of them, empty for null."""
    names: dict[str, ElementName] = {}
    """Wire name → element, where the partner calls it otherwise."""
    lengths: dict[str, int] = {}
    """Wire name → characters that the partner's column takes, where it is not `longest`."""
    key: tuple[str, ...] = ()
    """Wire names of the business key: document number, authority, party. Needed for `dedupe` and checked before anything is sent."""
    status: str | None = None
    """Wire name of the column that says whether a row still stands."""
    live: str | None = None
    """What a row that stands says there; null: what the record says."""
    withdrawn: str = "撤销"
    """What a withdrawn row says there."""
    item: str = ""
    """Catalogue item of the envelope `exchange_message`."""


class MessageHeader(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What stands in the header of every `exchange_message`."""

    sender: str
    receiver: str
    cc: str = ""
    security_type: str = ""
    operator: str = ""
    contacts: str = ""


class AnswerNames(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the partner calls the three things that it says."""

    code: ElementName = "code"
    line: ElementName = "line"
    text: ElementName = "text"


class SentRow(Struct, frozen=True, kw_only=True):
    """One row of a part."""

    place: str
    rid: str
    version: int
    withdrawn: bool
    xml: str


class Answer(Struct, frozen=True, kw_only=True):
    """What one call was answered."""

    code: str
    line: int | None
    text: str | None


# --- rows -------------------------------------------------------------------------------------------------------------


def encode_row(row: Row, number: int, service: Service, *, longest: int, withdraw: bool, keyed: bool) -> str:
    """One line of a part.

    Raises AdapterError SCOPE_OP, SCHEMA_* with the row's number and column: nothing is cut, dropped or coerced.
    """
    if row.op not in STATED | WITHDRAWN:
        raise AdapterError("SCHEMA_ENUM", "对方没有此操作", transient=False, place=str(number))
    taken_back = row.op in WITHDRAWN
    if taken_back and not withdraw:
        raise AdapterError("SCOPE_OP", "此线路不能撤回", transient=False, place=str(number))
    if not _RID.match(row.rid):
        raise AdapterError("SCHEMA_TYPE", "记录号不合格式", transient=False, place=str(number))
    values: dict[str, Value] = dict(row.sent if taken_back and row.sent is not None else row.fields)
    if service.status is not None and (taken_back or service.live is not None):
        values[service.status] = service.withdrawn if taken_back else service.live
    unknown = [name for name in values if name not in service.columns]
    if unknown:
        raise AdapterError("SCHEMA_UNKNOWN", "对方的数据字典没有此列", transient=False, place=f"{number}:{unknown[0]}")
    if taken_back or keyed:
        empty = [name for name in service.key if values.get(name) in (None, "")]
        if empty or not any(value not in (None, "") for name, value in values.items() if name != service.status):
            raise AdapterError("SCHEMA_MISSING", "缺少业务主键", transient=False, place=f"{number}:{(empty or ['*'])[0]}")
    cells = "".join(_cell(name, values.get(name), number, service, longest) for name in service.columns)
    return f"{row.rid}\t{row.v}\t{'w' if taken_back else 'a'}\t<ROW>{cells}</ROW>\n"


def _cell(name: str, value: Value, number: int, service: Service, longest: int) -> str:
    if isinstance(value, bool):
        raise AdapterError("SCHEMA_TYPE", "对方没有布尔列", transient=False, place=f"{number}:{name}")
    text = "" if value is None else str(value)
    if len(text) > service.lengths.get(name, longest):
        raise AdapterError("SCHEMA_LENGTH", "内容超过对方字段长度", transient=False, place=f"{number}:{name}")
    try:
        return element(service.names.get(name, name), text)
    except ValueError:
        raise AdapterError("SCHEMA_TYPE", "含有 XML 1.0 不允许的字符", transient=False, place=f"{number}:{name}") from None


def read_part(part: Part) -> Iterator[SentRow]:
    """The rows of a part that this adapter has encoded.

    Raises AdapterError SCHEMA_LINE, SIZE_BYTES.
    """
    if part.size > MAX_PART:
        raise AdapterError("SIZE_BYTES", "批次过大", transient=False, place=part.name)
    data = b"".join(part.read())
    if not data.endswith(b"\n"):
        raise AdapterError("SCHEMA_LINE", "批次不是本格式", transient=False, place=part.name)
    for number, line in enumerate(data[:-1].split(b"\n"), 1):
        place = f"{part.name}:{number}"
        try:
            rid, version, state, xml = line.decode().split("\t")
            if not _RID.match(rid) or not _LINE.match(version) or state not in ("a", "w") or not xml.startswith("<ROW>"):
                raise ValueError(line)
            yield SentRow(place=place, rid=rid, version=int(version), withdrawn=state == "w", xml=xml)
        except ValueError:
            raise AdapterError("SCHEMA_LINE", "批次不是本格式", transient=False, place=place) from None


# --- calls ------------------------------------------------------------------------------------------------------------


def call(rows: Sequence[SentRow], batch: str, service: Service, token: str, header: MessageHeader | None) -> bytes:
    """One SOAP call for some rows.

    Raises AdapterError CONFIG for a token that XML cannot carry.
    """
    inner = "".join(row.xml for row in rows)
    xml = f"<ROWDATA>{inner}</ROWDATA>" if header is None else _message(rows, batch, service, header)
    try:
        body = element("token", token) + element("xml", xml)
    except ValueError:
        raise AdapterError("CONFIG", "令牌含有 XML 不允许的字符", transient=False) from None
    namespace = escape(service.namespace).replace('"', "&quot;")
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        f'<soapenv:Envelope xmlns:soapenv="{SOAP}"><soapenv:Body>'
        f'<cx:{service.operation} xmlns:cx="{namespace}">{body}</cx:{service.operation}>'
        "</soapenv:Body></soapenv:Envelope>"
    ).encode()


def _message(rows: Sequence[SentRow], batch: str, service: Service, header: MessageHeader) -> str:
    """The same rows as fields of an exchange message; flow and serial follow from batch and first row, so a second try bears them too."""
    first = rows[0]
    said = {
        "sender": header.sender,
        "receiver": header.receiver,
        "cc": header.cc,
        "flow": str(uuid5(NAMESPACE_URL, f"{batch}/{first.rid}/{first.version}/{len(rows)}")),
        "item": service.item,
        "sn": f"{batch.rpartition('/')[2]}-{first.place.rpartition(':')[2]}",
        "securityType": header.security_type,
        "operator": header.operator,
        "contacts": header.contacts,
    }
    try:
        head = "".join(element(name, text) for name, text in said.items())
    except ValueError:
        raise AdapterError("CONFIG", "报文头含有 XML 不允许的字符", transient=False) from None
    fields = "".join(f"<fields>{row.xml.removeprefix('<ROW>').removesuffix('</ROW>')}</fields>" for row in rows)
    return f"<ExchangeMessage><Header>{head}</Header><Body>{fields}</Body></ExchangeMessage>"


# --- answers ----------------------------------------------------------------------------------------------------------


class ClientFault(Exception):
    """The partner says that the call itself was wrong: it has done nothing."""


def read_answer(data: bytes, names: AnswerNames) -> Answer:
    """What a call was answered.

    Raises ClientFault for a SOAP fault that blames the caller, AdapterError SCHEMA_LINE, SIZE_BYTES for what is no answer.
    """
    root = read_xml(data)
    body = [child for child in root if child.tag == f"{{{SOAP}}}Body"]
    if root.tag != f"{{{SOAP}}}Envelope" or len(body) != 1 or len(body[0]) != 1:
        raise _no_answer()
    said = body[0][0]
    if local(said.tag) == "Fault":
        blamed = next((child.text or "" for child in said if local(child.tag) == "faultcode"), "")
        if blamed.rpartition(":")[2].partition(".")[0] == "Client":
            raise ClientFault
        raise _no_answer()
    found = _named(said, names)
    if not found:
        leaves = [each.text for each in said.iter() if len(each) == 0 and each.text and each.text.strip()]
        if len(leaves) == 1 and leaves[0].lstrip().startswith("<"):
            found = _named(read_xml(leaves[0].strip().encode()), names)
    code, line, text = (found.get(name) for name in (names.code, names.line, names.text))
    if code is None or not _CODE.match(code):
        raise _no_answer()
    if line is not None and not _LINE.match(line):
        line = "0"  # said, but no number of a row
    return Answer(code=code, line=int(line) if line else None, text=plain(text) if text else None)


def _named(root: Element, names: AnswerNames) -> dict[str, str | None]:
    """The texts of the three names below an element; none may stand twice."""
    found: dict[str, str | None] = {}
    for each in root.iter():
        name = local(each.tag)
        if name in (names.code, names.line, names.text):
            if name in found or len(each):
                raise _no_answer()
            found[name] = (each.text or "").strip() or None
    return found


def _no_answer() -> AdapterError:
    return AdapterError("SCHEMA_LINE", "对方的回答不是本接口的格式", transient=True)

"""The shape of the files of `pboc_file`: names, header lines, documents, feedback lines (exchange.md §18).

A name has 34 characters: institution 14, day 8, record type 3, `0`, serial 3, feedback flag 1, `.`, `txt` or `enc`. A file is a header line
of 50 bytes and one document a line. The real interface is not public: this is its shape. Everything here is a function of what is given.
"""

import re
from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta, timezone
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from adapters.hardened_xml import NAME, element, local, plain, read_xml
from gateway.adapter_contract import AdapterError, Row, Value

__all__ = [
    "Fault",
    "FileName",
    "Header",
    "RecordType",
    "Section",
    "encode_document",
    "encode_header",
    "read_faults",
    "read_header",
    "read_lines",
    "read_name",
    "sections",
]

Encoding = Literal["utf-8", "gb18030"]
Form = Literal["txt", "enc"]

HEADER_BYTES: Final = 50
VERSION: Final = "2.0.0"
HERE: Final = timezone(timedelta(hours=8))
MAX_FILE: Final = 64 * 2**20
MAX_LINE: Final = 256 * 1024
MAX_SERIAL: Final = 999
MAX_COUNT: Final = 9_999_999
STATED: Final = frozenset({"assert", "amend"})
WITHDRAWN: Final = frozenset({"retract", "repair", "expire", "erase"})
INSTITUTION: Final = r"^[0-9A-Z]{14}\Z"
_NAME: Final = re.compile(r"([0-9A-Z]{14})([0-9]{8})([0-9]{3})0([0-9]{3})([01])\.(txt|enc)\Z", re.ASCII)
_HEADER: Final = re.compile(rb"A050([0-9]{3})2\.0\.0(10|  )([0-9A-Z]{14})([0-9]{14})0([0-9]{7})")
_RID: Final = re.compile(r"[A-Za-z0-9_.:-]{1,64}\Z")
_CODE: Final = re.compile(r"[A-Za-z0-9_.-]{1,32}\Z")
_NUMBER: Final = re.compile(r"[0-9]{1,7}\Z", re.ASCII)
_USCC: Final = re.compile(r"[0-9A-HJ-NPQRTUWXY]{18}\Z", re.ASCII)
_ALPHABET: Final = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_CITIZEN: Final = re.compile(r"[1-8][0-9]{5}(19|20)[0-9]{2}(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])[0-9]{3}[0-9X]\Z", re.ASCII)
HOUSEHOLD: Final = "92"
"""A code that begins so is an individual business: a person."""

ElementName = Annotated[str, Meta(pattern=NAME.pattern)]
TypeCode = Annotated[str, Meta(pattern=r"^[0-9]{3}\Z")]


class RecordType(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one dataset is told."""

    record: TypeCode
    delete: TypeCode | None = None
    """Record type of a withdrawal; without it this dataset has none."""
    basic: bool = False
    """Basic information: the header says template `10`."""
    columns: Annotated[tuple[ElementName, ...], Meta(min_length=1, max_length=200)]
    """Wire names that may be told, in order: what everybody may see of organisations, and nothing else."""
    organisation: str
    """Wire name of the unified social credit code: who has none, or one of an individual business, is not told of."""
    names: dict[str, ElementName] = {}
    """Wire name → element, where it is called otherwise."""
    lengths: dict[str, int] = {}
    """Wire name → characters, where it is not `longest`."""
    key: tuple[str, ...] = ()
    """Wire names that a withdrawal repeats, besides the record's id."""


class FileName(Struct, frozen=True, kw_only=True):
    """What a name of 34 characters says."""

    institution: str
    day: date
    type: str
    serial: int
    feedback: bool
    form: Form

    @property
    def text(self) -> str:
        """The name itself."""
        return f"{self.institution}{self.day:%Y%m%d}{self.type}0{self.serial:03d}{int(self.feedback)}.{self.form}"


def read_name(text: str) -> FileName | None:
    """A name of 34 characters; None for everything else."""
    found = _NAME.match(text)
    if found is None:
        return None
    try:
        day = datetime.strptime(found[2], "%Y%m%d").date()  # noqa: DTZ007  # a day of UTC+8, no instant
    except ValueError:
        return None
    form: Form = "enc" if found[6] == "enc" else "txt"
    serial = int(found[4])
    if not 1 <= serial <= MAX_SERIAL:
        return None
    return FileName(institution=found[1], day=day, type=found[3], serial=serial, feedback=found[5] == "1", form=form)


# --- headers ----------------------------------------------------------------------------------------------------------


class Header(Struct, frozen=True, kw_only=True):
    """What the first line says."""

    type: str
    basic: bool
    institution: str
    at: str
    """`YYYYMMDDHHMMSS` of UTC+8."""
    count: int


def encode_header(header: Header) -> bytes:
    """50 bytes of ASCII and the line end."""
    template = "10" if header.basic else "  "
    return f"A050{header.type}{VERSION}{template}{header.institution}{header.at}0{header.count:07d}\n".encode("ascii")


def read_header(line: bytes) -> Header:
    """A header line without its line end.

    Raises AdapterError SCHEMA_LINE.
    """
    found = _HEADER.fullmatch(line)
    if found is None:
        raise AdapterError("SCHEMA_LINE", "文件头不合格式", transient=False, place="1")
    return Header(type=found[1].decode(), basic=found[2] == b"10", institution=found[3].decode(), at=found[4].decode(), count=int(found[5]))


def read_lines(data: bytes) -> tuple[Header, list[bytes]]:
    """A whole file: its header and exactly as many lines as that says.

    Raises AdapterError SIZE_BYTES, SCHEMA_LINE, SCHEMA_COUNTS.
    """
    if len(data) > MAX_FILE:
        raise AdapterError("SIZE_BYTES", "文件过大", transient=False)
    if not data.endswith(b"\n"):
        raise AdapterError("SCHEMA_LINE", "文件不完整", transient=False)
    first, *lines = data[:-1].split(b"\n")
    header = read_header(first)
    if header.count != len(lines):
        raise AdapterError("SCHEMA_COUNTS", "文件头的条数与内容不符", transient=False)
    return header, lines


# --- documents --------------------------------------------------------------------------------------------------------


class Section(Struct, frozen=True, kw_only=True):
    """The file of one record type within a part."""

    header: Header
    data: bytes
    """The whole file, header included."""
    rows: tuple[tuple[str, int, int], ...]
    """(rid, version, number in the part) of each document, in order."""


def type_of(row: Row, number: int, kind: RecordType) -> str:
    """The record type that tells a row.

    Raises AdapterError SCHEMA_ENUM, SCOPE_OP.
    """
    if row.op in STATED:
        return kind.record
    if row.op not in WITHDRAWN:
        raise AdapterError("SCHEMA_ENUM", "对方没有此操作", transient=False, place=str(number))
    if kind.delete is None:
        raise AdapterError("SCOPE_OP", "此数据集没有删除类型", transient=False, place=str(number))
    return kind.delete


def encode_document(row: Row, number: int, kind: RecordType, *, longest: int, encoding: Encoding) -> bytes:
    """One document, on one line.

    Raises AdapterError LAW_PERSON for whoever is no organisation, SCOPE_FIELD for a field that is not everybody's to see, SCHEMA_*.
    """
    if not _RID.match(row.rid):
        raise AdapterError("SCHEMA_TYPE", "记录号不合格式", transient=False, place=str(number))
    type_ = type_of(row, number, kind)
    if row.op in STATED:
        _lawful(row, number, kind)
        values = [(name, row.fields.get(name)) for name in kind.columns]
    else:
        before = row.sent or {}
        values = [(name, before.get(name)) for name in kind.key]
    head = "".join(
        element(name, text)
        for name, text in (
            ("InfRecType", type_),
            ("RecId", row.rid),
            ("RecVer", str(row.v)),
            ("RptDate", f"{row.at.astimezone(HERE):%Y-%m-%d}"),
        )
    )
    cells = "".join(_cell(name, value, number, kind, longest) for name, value in values if value is not None)
    try:
        return f"<Document><BsSgmt>{head}</BsSgmt><InfSgmt>{cells}</InfSgmt></Document>\n".encode(encoding)
    except UnicodeEncodeError:
        raise AdapterError("SCHEMA_TYPE", "含有约定编码没有的字符", transient=False, place=str(number)) from None


def _lawful(row: Row, number: int, kind: RecordType) -> None:
    """Only organisations, and of them only what the settings name as everybody's to see."""
    code = row.fields.get(kind.organisation)
    if not isinstance(code, str) or not _is_organisation(code):
        raise AdapterError("LAW_PERSON", "只报送法人和非法人组织", transient=False, place=f"{number}:{kind.organisation}")
    strange = [name for name in row.fields if name not in kind.columns]
    if strange:
        raise AdapterError("SCOPE_FIELD", "不属于依法公开的字段", transient=False, place=f"{number}:{strange[0]}")


def _is_organisation(code: str) -> bool:
    """Whether this is a unified social credit code (GB 32100) of no individual business, and not the number of a person's identity card."""
    if not _USCC.match(code) or code.startswith(HOUSEHOLD):
        return False
    if -sum(pow(3, at, 31) * _ALPHABET.index(sign) for at, sign in enumerate(code[:17])) % 31 != _ALPHABET.index(code[17]):
        return False
    return not (_CITIZEN.match(code) and "10X98765432"[sum(int(code[at]) << (17 - at) for at in range(17)) % 11] == code[17])


def _cell(name: str, value: Value, number: int, kind: RecordType, longest: int) -> str:
    if isinstance(value, bool):
        raise AdapterError("SCHEMA_TYPE", "对方没有布尔列", transient=False, place=f"{number}:{name}")
    text = str(value)
    if len(text) > kind.lengths.get(name, longest):
        raise AdapterError("SCHEMA_LENGTH", "内容超过对方字段长度", transient=False, place=f"{number}:{name}")
    try:
        return element(kind.names.get(name, name), text)
    except ValueError:
        raise AdapterError("SCHEMA_TYPE", "含有 XML 1.0 不允许的字符", transient=False, place=f"{number}:{name}") from None


def sections(data: bytes, encoding: Encoding) -> Iterator[Section]:
    """The files of a part: header, documents, header, documents.

    Raises AdapterError SCHEMA_LINE, SCHEMA_COUNTS for what this adapter has not encoded.
    """
    if not data.endswith(b"\n"):
        raise AdapterError("SCHEMA_LINE", "批次不是本格式", transient=False)
    lines = data[:-1].split(b"\n")
    numbers = _Numbers()
    at = 0
    while at < len(lines):
        header = read_header(lines[at])
        told = lines[at + 1 : at + 1 + header.count]
        if not told or len(told) != header.count:
            raise AdapterError("SCHEMA_COUNTS", "文件头的条数与内容不符", transient=False)
        yield Section(
            header=header,
            data=b"".join(line + b"\n" for line in lines[at : at + 1 + header.count]),
            rows=tuple((*_told(line, encoding), numbers.next()) for line in told),
        )
        at += 1 + header.count


class _Numbers:
    """Counts documents through all sections of a part."""

    def __init__(self) -> None:
        self._last = 0

    def next(self) -> int:
        """One more."""
        self._last += 1
        return self._last


_TOLD: Final = re.compile(
    r"<Document><BsSgmt><InfRecType>[0-9]{3}</InfRecType><RecId>([A-Za-z0-9_.:-]{1,64})</RecId><RecVer>([0-9]{1,9})</RecVer>", re.ASCII
)


def _told(line: bytes, encoding: Encoding) -> tuple[str, int]:
    """Which record a document of ours tells."""
    try:
        found = _TOLD.match(line.decode(encoding))
    except UnicodeDecodeError:
        found = None
    if found is None or not line.endswith(b"</Document>"):
        raise AdapterError("SCHEMA_LINE", "批次不是本格式", transient=False)
    return found[1], int(found[2])


# --- feedback ---------------------------------------------------------------------------------------------------------


class Fault(Struct, frozen=True, kw_only=True):
    """One line of a feedback file."""

    line: int
    """Of the file that was sent, from 1; 0 is the file."""
    rid: str | None
    code: str
    text: str | None


def read_faults(lines: Sequence[bytes], encoding: Encoding) -> list[Fault]:
    """What the lines of a feedback file say.

    Raises AdapterError SCHEMA_LINE with the line's number, SIZE_BYTES.
    """
    return [_fault(line, number, encoding) for number, line in enumerate(lines, 2)]


def _fault(line: bytes, number: int, encoding: Encoding) -> Fault:
    wrong = AdapterError("SCHEMA_LINE", "反馈行不合格式", transient=False, place=str(number))
    if len(line) > MAX_LINE:
        raise AdapterError("SIZE_BYTES", "反馈行过长", transient=False, place=str(number))
    try:
        root = read_xml(line.decode(encoding).encode(), limit=2 * MAX_LINE)
    except (UnicodeDecodeError, AdapterError):
        raise wrong from None
    if local(root.tag) != "Document" or len(root) != 1 or local(root[0].tag) != "FdbkInf":
        raise wrong
    said: dict[str, str] = {}
    for each in root[0]:
        if local(each.tag) in said or len(each):
            raise wrong
        said[local(each.tag)] = (each.text or "").strip()
    line_no, rid, code = said.get("LineNo", ""), said.get("RecId", ""), said.get("ErrCode", "")
    if not _NUMBER.match(line_no) or not _CODE.match(code) or (rid and not _RID.match(rid)):
        raise wrong
    return Fault(line=int(line_no), rid=rid or None, code=code, text=plain(said["ErrMsg"]) if said.get("ErrMsg") else None)

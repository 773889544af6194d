"""What a front-end database (前置库) is told, as text: settings of its tables, one part of rows, and back.

Rules: dates are `YYYY/MM/DD`, amounts have six decimals, words of closed lists and the scope are the partner's own by a table of the
settings; nothing is cut or coerced: what is too long, too fine or unknown is refused. A withdrawal or erasure has no business values.
`ROW_DIGEST` is the SHA-256 of the business columns in their order, joined by 0x1F. This file must not touch a database.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct, field

from gateway.adapter_contract import AdapterError, Instant, Row, RowResult, Secret, SourceRecord, Value

LARGEST_PART = 64 * 2**20
LARGEST_REPLY = 8 * 2**20
LONGEST_WORD = 500
Name = Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}\Z")]
Op = Literal["upsert", "withdraw", "erase"]
Result = Literal["accepted", "unchanged", "warned", "held", "rejected", "withdrawn"]
RESULTS: Final[Mapping[str, Result]] = {"00": "accepted", "01": "unchanged", "10": "rejected", "20": "withdrawn"}


class _Strict(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Unknown keys are refused."""


class ControlNames(_Strict, frozen=True, kw_only=True):
    """What the columns beside the business ones are called over there."""

    recid: Name = "RECID"
    rec_v: Name = "REC_V"
    op: Name = "OP"
    reason: Name = "OP_YY"
    dfbm: Name = "DFBM"
    sjc: Name = "SJC"
    syfw: Name = "SYFW"
    batch: Name = "BATCH_NO"
    digest: Name = "ROW_DIGEST"
    status: Name = "FK_ZT"
    answered: Name = "FK_SJ"
    code: Name = "FK_CODE"
    text: Name = "FK_YY"
    partner_id: Name = "FK_ID"
    task: Name = "FK_RWBH"


class TableSettings(_Strict, frozen=True, kw_only=True):
    """The exchange table of one dataset."""

    name: Name
    fields: Annotated[tuple[str, ...], Meta(min_length=1, max_length=200)]
    """Wire names, in the order of the dictionary: that of `ROW_DIGEST`."""
    columns: dict[str, Name] = {}
    """Wire name → column, where they differ."""
    lengths: dict[str, int] = {}
    """Wire name → longest text of its column, characters."""
    length: Annotated[int, Meta(ge=1)] = 4000
    """Of every other column."""
    dates: tuple[str, ...] = ()
    amounts: tuple[str, ...] = ()
    words: dict[str, dict[str, str]] = {}
    """Wire name → our code → the partner's word, of closed lists."""
    scope: str = "public"
    """Whom the rows are for, by our name; `scopes` says it in the partner's."""

    def column(self, wire: str) -> str:
        """The column of a field."""
        return self.columns.get(wire, wire)


class FrontendConfig(_Strict, frozen=True, kw_only=True):
    """Settings of the line."""

    url: Secret
    """Address of the database as SQLAlchemy writes it, with an asynchronous driver; it holds the password."""
    tables: Annotated[dict[str, TableSettings], Meta(min_length=1)]
    """Dataset → its table."""
    dfbm: Annotated[str, Meta(pattern=r"^[0-9]{6}\Z")]
    """Division code of our city, in every row."""
    scopes: dict[str, str] = field(default_factory=lambda: {"public": "社会公示", "shared": "政务共享"})
    """Our name of a scope → the partner's; never a bare number."""
    names: ControlNames = ControlNames()
    db_schema: Name | None = None
    profile: Literal["exchange", "plain"] = "exchange"
    """`plain`: a legacy table without REC_V and OP; nothing can be withdrawn there."""
    reconciliation: Name | None = "CX_DZ"
    results: dict[str, Result] = field(default_factory=lambda: dict(RESULTS))
    """The partner's status → what it means; any other is held."""
    codes: dict[str, str] = {}
    """The partner's code → ours; any other stays as it is."""
    overlap_s: Annotated[int, Meta(ge=0, le=86400)] = 300
    page_rows: Annotated[int, Meta(ge=1, le=5000)] = 500
    timeout_s: Annotated[float, Meta(gt=0, le=3600)] = 30.0


# --- one part ---------------------------------------------------------------------------------------------------------


class PartRow(_Strict, frozen=True, kw_only=True):
    """One row as it will stand in its table."""

    dataset: str
    recid: str
    rec_v: int
    op: Op
    reason: str | None
    at: Instant
    values: dict[str, str | None]
    """Column → text."""
    digest: str


class PartBody(_Strict, frozen=True, kw_only=True):
    """One part."""

    format: Literal["frontend-database/1"] = "frontend-database/1"
    rows: tuple[PartRow, ...]


_decode_part = msgspec.json.Decoder(PartBody).decode
_OPS: dict[str, Op] = {
    "assert": "upsert",
    "amend": "upsert",
    "retract": "withdraw",
    "repair": "withdraw",
    "expire": "withdraw",
    "erase": "erase",
}
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")
_SLASHED = re.compile(r"([0-9]{4})/([0-9]{2})/([0-9]{2})\Z")
_UNKEPT = re.compile("[\x00\x1f\ud800-\udfff]")
"""What no database keeps, and what stands between two columns in a row's digest: two rows must not have one."""
_AMOUNT = re.compile(r"-?(?:0|[1-9][0-9]{0,20})(?:\.([0-9]{1,6}))?\Z")


def encode_rows(rows: Sequence[Row], config: FrontendConfig) -> bytes:
    """One part.

    Raises AdapterError SCHEMA_LENGTH, SCHEMA_ENUM, SCHEMA_TYPE, SCHEMA_UNKNOWN, SCOPE_AGREEMENT or SCOPE_OP, with row and field.
    """
    return msgspec.json.encode(PartBody(rows=tuple(_row(row, number, config) for number, row in enumerate(rows, 1))))


def _row(row: Row, number: int, config: FrontendConfig) -> PartRow:
    table = config.tables.get(row.dataset)
    if table is None:
        raise AdapterError("SCOPE_AGREEMENT", "配置中没有该数据集的表", transient=False, place=str(number))
    op = _OPS.get(row.op)
    if op is None or (config.profile == "plain" and row.op != "assert"):
        raise AdapterError("SCOPE_OP", "此表不能表达该操作", transient=False, place=str(number))
    if len(row.rid) > 64 or not 0 < row.v < 2**31:
        raise AdapterError("SCHEMA_LENGTH", "记录编号或版本超出对方字段", transient=False, place=str(number))
    stray = next((name for name in row.fields if name not in table.fields), None)
    if stray is not None and op == "upsert":
        raise AdapterError("SCHEMA_UNKNOWN", "配置中没有该字段", transient=False, place=f"{number}:{stray}")
    said = row.fields if op == "upsert" else {}
    values = {table.column(wire): _text(said.get(wire), wire, table, number) for wire in table.fields}
    return PartRow(
        dataset=row.dataset,
        recid=row.rid,
        rec_v=row.v,
        op=op,
        reason=row.reason,
        at=row.at,
        values=values,
        digest=digest_of(values.values()),
    )


def digest_of(texts: Iterable[str | None]) -> str:
    """`ROW_DIGEST` of business columns in their order; null counts as empty."""
    return sha256("\x1f".join(text or "" for text in texts).encode()).hexdigest()


def _text(value: Value, wire: str, table: TableSettings, number: int) -> str | None:
    place = f"{number}:{wire}"
    if value is None:
        return None
    text = str(value) if not isinstance(value, bool) else ("1" if value else "0")
    words = table.words.get(wire)
    if words is not None:
        if text not in words:
            raise AdapterError("SCHEMA_ENUM", "对方代码表中没有该值", transient=False, place=place)
        text = words[text]
    elif wire in table.dates:
        if not _DAY.match(text):
            raise AdapterError("SCHEMA_TYPE", "不是日期", transient=False, place=place)
        text = text.replace("-", "/")
    elif wire in table.amounts:
        match = _AMOUNT.match(text)
        if match is None:
            raise AdapterError("SCHEMA_TYPE", "不是六位小数以内的金额", transient=False, place=place)
        whole, _, fraction = text.partition(".")
        text = f"{whole}.{fraction.ljust(6, '0')}"
    if len(text) > table.lengths.get(wire, table.length):
        raise AdapterError("SCHEMA_LENGTH", "内容超过对方字段长度", transient=False, place=place)
    if _UNKEPT.search(text):
        raise AdapterError("SCHEMA_TYPE", "含有不能存储的字符", transient=False, place=place)
    return text


def read_part(part: bytes) -> PartBody:
    """The rows of one part.

    Raises AdapterError SIZE_BYTES, SCHEMA_LINE.
    """
    if len(part) > LARGEST_PART:
        raise AdapterError("SIZE_BYTES", "部分过大", transient=False)
    try:
        return _decode_part(part)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise AdapterError("SCHEMA_LINE", "内容不是本格式", transient=False) from error


def record_of(
    dataset: str, table: TableSettings, *, recid: str, rec_v: int | None, op: Op, reason: str | None, at: datetime,
    values: dict[str, str | None], place: str,
) -> SourceRecord:  # fmt: skip
    """A row as its source said it, under wire names; dates as everywhere, words as ours where the settings know them."""
    fields: dict[str, Value] = {}
    for wire in table.fields if op == "upsert" else ():
        text = values.get(table.column(wire))
        if text is not None and wire in table.dates and (slashed := _SLASHED.match(text)):
            text = "-".join(slashed.groups())
        elif text is not None and wire in table.words:
            text = next((ours for ours, theirs in table.words[wire].items() if theirs == text), text)
        fields[wire] = text
    return SourceRecord(dataset=dataset, record_id=recid, op=op, version=rec_v, reason=reason, as_of=at, fields=fields, place=place)


def decode_part(part: bytes, config: FrontendConfig) -> list[SourceRecord]:
    """The records of one part, as the other side would read them.

    Raises AdapterError SIZE_BYTES, SCHEMA_LINE.
    """
    found = []
    for number, row in enumerate(read_part(part).rows, 1):
        table = config.tables.get(row.dataset)
        if table is None:
            raise AdapterError("SCHEMA_LINE", "配置中没有该数据集的表", transient=False, place=str(number))
        found.append(
            record_of(
                row.dataset, table, recid=row.recid, rec_v=row.rec_v, op=row.op, reason=row.reason, at=row.at, values=row.values,
                place=f"{table.name}!{number}",
            )
        )  # fmt: skip
    return found


# --- answers ----------------------------------------------------------------------------------------------------------


class AnsweredRow(_Strict, frozen=True, kw_only=True):
    """What the partner has written back about one row, as it stands."""

    table: str
    recid: str
    rec_v: int | None
    status: str
    code: str | None
    text: str | None
    partner_id: str | None
    at: Instant | None


class Answers(_Strict, frozen=True, kw_only=True):
    """Rows that were written back."""

    format: Literal["frontend-database-answers/1"] = "frontend-database-answers/1"
    rows: tuple[AnsweredRow, ...]


_decode_answers = msgspec.json.Decoder(Answers).decode


def read_answers(reply: bytes, config: FrontendConfig) -> list[RowResult]:
    """What each answer means; a status that the settings do not know is held, under its own name.

    Raises AdapterError SIZE_BYTES, SCHEMA_LINE.
    """
    if len(reply) > LARGEST_REPLY:
        raise AdapterError("SIZE_BYTES", "反馈过大", transient=False)
    try:
        answers = _decode_answers(reply)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise AdapterError("SCHEMA_LINE", "反馈不是本格式", transient=False) from error
    return [_result(row, config) for row in answers.rows]


def _result(row: AnsweredRow, config: FrontendConfig) -> RowResult:
    result = config.results.get(row.status, "held")
    code = row.code or row.status
    return RowResult(
        place=f"{row.table}!{row.recid}:{row.rec_v}",
        record_id=row.recid,
        version=row.rec_v,
        result=result,
        code=config.codes.get(code, code) if result in ("held", "rejected", "warned") else None,
        message=row.text[:LONGEST_WORD] if row.text else None,
        partner_id=row.partner_id,
        at=row.at,
    )

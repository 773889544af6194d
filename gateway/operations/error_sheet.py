"""The error file of an upload: the department's own rows that were rejected or are held, each with what is wrong and what to do.

Rules: it is made from the file itself and its receipt and kept nowhere, so nothing of it is left to be erased; whoever has the file gets
it as often as it is asked for. Columns and cells are the department's own; what names or identifies a person is masked, numbers of persons
in running text too. A cell that a spreadsheet would take for a formula is text. The words are those of intake where it still says the same
of the row, else those of its code. This story must not store anything, nor decide about a row.
"""

import asyncio
import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from datetime import datetime
from typing import IO, Final, Literal, NamedTuple, Protocol

from gateway.adapter_contract import Page, SourceAdapter, Value
from gateway.core.disclosure.masking import surname
from gateway.core.errors import RowFault
from gateway.core.records.headers import header_map, normalise_header
from gateway.core.records.intake import IntakeContext, intake_all
from gateway.core.records.model import Dataset, Field
from gateway.operations.ingest_receipt import BadRow, IngestReceipt, row_of
from gateway.operations.workbook import Workbook

Form = Literal["csv", "xlsx"]
Opened = Callable[[bool], AbstractAsyncContextManager[SourceAdapter]]
"""The adapter on the file: as it is read, or (True) giving back every cell as it stands."""

AFTER: Final = ("结果", "代码", "字段", "说明", "建议")
RESULTS: Final = {"rejected": "拒绝", "held": "待核"}
LONGEST: Final = 32_000
"""Characters of a cell that are given back; a workbook's cell takes few more."""
_FORMULA: Final = tuple("=+-@\t\r＝＋－＠")
_NUMBER: Final = re.compile(r"(?<![0-9A-Za-z])(?:[1-9][0-9]{16}[0-9Xx]|[1-9][0-9]{14}|1[3-9][0-9]{9})(?![0-9A-Za-z])")
"""Numbers of persons as they stand in running text: of both identity cards, of mobiles."""
_STARS: Final = "********"
_DIRECT: Final = frozenset({"P2", "P3"})
_PERSONAL: Final = frozenset({"P1", "P2", "P3"})

_WORDS: Final[Mapping[str, tuple[str, str]]] = {
    "SCHEMA_LINE": ("行的结构不符", "请核对列数、分隔符和引号"),
    "SCHEMA_MISSING": ("缺少必填项", "请填写该列后重新报送"),
    "SCHEMA_TYPE": ("格式不符", "请按该列的格式填写；代码列请设为文本格式"),
    "SCHEMA_LENGTH": ("超过字段长度", "请缩短内容，不要截断代码"),
    "SCHEMA_ENUM": ("不在字典范围内", "请填写字典中的名称或代码"),
    "SCHEMA_UNKNOWN": ("有数据集没有的字段", "请删除该列"),
    "SUBJ_USCC": ("统一社会信用代码校验码不符", "请核对代码"),
    "SUBJ_ID": ("证件号码校验不符", "请核对证件号码"),
    "SUBJ_MISSING": ("缺少主体身份号码", "自然人填写证件号码，其他主体至少填写一种代码"),
    "SUBJ_CONFLICT": ("名称、类别与代码不一致", "请核对后重新报送；在核实前不予公示"),
    "DUP_KEY": ("与已有记录或本文件前一行矛盾", "同一决定只报送一行；更正请在“操作”列写明"),
    "DUP_OTHER_SOURCE": ("同一决定已由另一来源报送", "请与该来源核对；在核实前不予公示"),
    "SCOPE_AUTHORITY": ("不是本机关作出的决定", "由作出决定的机关报送，或先登记代报关系"),
    "SCOPE_OWNER": ("该记录由另一机关报送", "请由原报送机关更正或撤销"),
    "LAW_BASIS": ("缺少法律依据", "写明法律、法规名称和条款"),
    "LAW_CATALOGUE": ("没有对应的目录事项", "请核对事项；在核实前不予公示"),
    "LAW_PERSON": ("该数据集不归集此类主体的信息", "请勿报送"),
    "LAW_MINOR": ("涉及未成年人", "请勿报送"),
    "LAW_PROHIBITED": ("含有禁止采集的个人信息", "宗教信仰、基因、指纹、血型、病史等不得采集，请删除后重新报送"),
    "LAW_PERIOD": ("公示期限超过上限", "按本市上限执行"),
    "TIME_FUTURE": ("日期在将来", "请核对日期"),
    "SEQ_STATE": ("记录的现状不允许此操作", "请核对是否已撤销或修复"),
    "SEQ_ERASED": ("记录已删除，不能恢复", "如需重新公示，请作为新记录报送"),
    "REGION_UNKNOWN": ("行政区划代码不认识", "请核对区划代码"),
}
_OTHERWISE: Final = ("未通过校验", "请核对后重新报送，或联系信用中心")


class Sheet(Protocol):
    """Where rows are written."""

    def add(self, rows: Sequence[Sequence[Value]]) -> None:
        """More rows."""
        ...

    def finish(self) -> None:
        """No more."""
        ...


class _Said(NamedTuple):
    message: str
    hint: str | None


def file_name(name: str, form: Form) -> str:
    """What the error file of a file is called."""
    stem, dot, ending = name.rpartition(".")
    return f"{stem if dot and ending.lower() in ('csv', 'xlsx') else name}.errors.{form}"


async def write_error_sheet(
    opened: Opened, context: IntakeContext, receipt: IngestReceipt, bad: Mapping[int, BadRow], *, form: Form, to: IO[bytes], at: datetime
) -> None:
    """Write the rows of a file that are not plainly accepted, and below them how many there were of each kind.

    Raises AdapterError when the file cannot be read any more.
    """
    said = await _words(opened, context, bad) if bad else {}
    sheet: Sheet | None = None
    async with opened(True) as adapter, aclosing(adapter.pull(None)) as pages:  # type: ignore[type-var]  # every pull is an async generator
        async for page in pages:
            if sheet is None:
                columns = tuple(page.records[0].fields) if page.records else ()
                sheet = _sheet(form, to, ("行号", *columns, *AFTER), at)
                masks = [_mask(field) for field in _fields(context.dataset, columns)]
                legal = _legal(context.dataset, columns)
            await asyncio.to_thread(sheet.add, _rows(page, bad, said, masks, legal))
    if sheet is not None:
        sheet.add(_counts(receipt, len(columns)))
        await asyncio.to_thread(sheet.finish)


async def _words(opened: Opened, context: IntakeContext, bad: Mapping[int, BadRow]) -> dict[int, _Said]:
    """What the adapter and intake say of the bad rows today, where it is what was said then."""
    said: dict[int, _Said] = {}
    async with opened(False) as adapter, aclosing(adapter.pull(None)) as pages:  # type: ignore[type-var]  # the same
        async for page in pages:
            await asyncio.to_thread(_judge, page, context, bad, said)
    return said


def _judge(page: Page, context: IntakeContext, bad: Mapping[int, BadRow], said: dict[int, _Said]) -> None:
    for result in page.unreadable:
        row = bad.get(line := row_of(result.place))
        if row is not None and row.code == result.code and result.message:
            said[line] = _Said(result.message, None)
    concerned = [record for record in page.records if row_of(record.place) in bad]
    for record, outcome in zip(concerned, intake_all(concerned, context), strict=True):
        line = row_of(record.place)
        if isinstance(outcome, RowFault) and outcome.code == bad[line].code:
            said[line] = _Said(outcome.detail, outcome.hint)


# --- rows ---------------------------------------------------------------------------------------------------------------------


def _rows(
    page: Page, bad: Mapping[int, BadRow], said: Mapping[int, _Said], masks: Sequence["_Mask"], legal: "_Legal"
) -> list[list[Value]]:
    rows: list[list[Value]] = []
    for record in page.records:
        row = bad.get(line := row_of(record.place))
        if row is None:
            continue
        cells = list(record.fields.values())
        open_ = legal(cells)
        own = [_whole(mask(cell, open_)) if isinstance(cell, str) else cell for cell, mask in zip(cells, masks, strict=True)]
        message, hint = _WORDS.get(row.code, _OTHERWISE)
        if line in said:
            message, hint = said[line].message, said[line].hint or hint
        rows.append([line, *own, RESULTS[row.result], row.code, row.field, message, hint])
    return rows


def _counts(receipt: IngestReceipt, columns: int) -> list[list[Value]]:
    rejected = sum(receipt.rejected.values())
    total = receipt.accepted + receipt.unchanged + receipt.held + receipt.withdrawn + rejected
    counts = (
        ("总行数", total),
        ("接受", receipt.accepted),
        ("未变", receipt.unchanged),
        ("撤销", receipt.withdrawn),
        ("拒绝", rejected),
        ("待核", receipt.held),
    )
    return [[None] * (1 + columns + len(AFTER)), *([name, *[None] * (columns + len(AFTER) - 1), count] for name, count in counts)]


def _whole(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}……（余略）"


# --- what is masked -----------------------------------------------------------------------------------------------------------

_Mask = Callable[[str, bool], str]
"""A cell, and whether its row is about an organisation for certain."""
_Legal = Callable[[Sequence[Value]], bool]


def _fields(dataset: Dataset, columns: Sequence[str]) -> list[Field | None]:
    names = header_map(dataset)
    return [dataset.fields[names[key]] if (key := normalise_header(column)) in names else None for column in columns]


def _legal(dataset: Dataset, columns: Sequence[str]) -> _Legal:
    """Whether a row says that it is about an organisation."""
    if set(dataset.subject_kinds) <= {"legal"}:
        return lambda _: True
    fields = _fields(dataset, columns)
    at = next((at for at, field in enumerate(fields) if field is not None and field.name == "category"), None)
    if at is None:
        return lambda _: False
    words = {"legal", dataset.fields["category"].values.get("legal", "legal")}
    return lambda cells: str(cells[at] or "").strip() in words


def _mask(field: Field | None) -> _Mask:
    if field is None:
        return lambda text, _: _NUMBER.sub(_STARS, text)
    classes = set(field.classes.values())
    always = field.classes.get("legal") in _PERSONAL or field.type == "id_no"
    if not classes & _PERSONAL and field.type != "id_no":
        return (lambda text, _: _NUMBER.sub(_STARS, text)) if field.text else (lambda text, _: text)
    hide = _hidden_number if classes & _DIRECT or field.type == "id_no" else _hidden_name
    return lambda text, open_: text if open_ and not always else hide(text)


def _hidden_number(text: str) -> str:
    return f"{_STARS}{text[-2:]}" if len(text) >= 8 else _STARS if text else text


def _hidden_name(text: str) -> str:
    return surname(text) if text else text


# --- files --------------------------------------------------------------------------------------------------------------------


def _sheet(form: Form, to: IO[bytes], names: Sequence[str], at: datetime) -> Sheet:
    if form == "xlsx":
        return Workbook(to, names, title="报送错误清单", comments="身份号码与姓名已遮盖", made_at=at, large=False)
    return _Csv(to, names)


class _Csv:
    """A CSV file that a spreadsheet opens as it is meant: UTF-8 with its mark, no cell a formula."""

    def __init__(self, to: IO[bytes], names: Sequence[str]) -> None:
        self._text = io.TextIOWrapper(to, encoding="utf-8-sig", errors="replace", newline="", write_through=True)
        self._writer = csv.writer(self._text)
        self.add([names])

    def add(self, rows: Sequence[Sequence[Value]]) -> None:
        """More rows."""
        self._writer.writerows([[_neutral(cell) for cell in row] for row in rows])

    def finish(self) -> None:
        """Let go of the text, not of the file."""
        self._text.flush()
        self._text.detach()


def _neutral(cell: Value) -> Value:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell

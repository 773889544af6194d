"""The door in: a `SourceRecord` becomes an `Admitted`, or a `RowFault` says why not; nothing else makes one.

Of each row, in this order:
- every column is known; a prohibited one rejects the row (LAW_PROHIBITED);
- every value is of its type and length. Width, case and blanks are normalised, control characters refused, nothing is coerced: an
  unknown enumeration value stays as sent and holds the row (SCHEMA_ENUM), an amount that is not a plain number is SCHEMA_TYPE;
- nothing required is missing (SCHEMA_MISSING, LAW_BASIS for the legal basis);
- the subject is known by a right number, code and category decide its kind; contradictory means natural person, held (SUBJ_CONFLICT);
- no text tells what may not be collected; nobody is under 14; persons only where the dataset takes them (LAW_PERSON);
- the deciding authority is one for which the sender may speak (SCOPE_AUTHORITY);
- the clocks can be set; a severity that cannot be derived holds the row (LAW_PERIOD), a day of decision to come too (TIME_FUTURE).

An unknown division is a note. A row's own region is that of the deciding authority. A statement of an authority by a named officer, or of a
partner under its signature, is `signed`; all else is `vouched`. No error repeats a value. This room must not store, and must not know
who may see what.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import NamedTuple

from msgspec import Struct

from gateway.adapter_contract import SourceRecord
from gateway.core.errors import RowFault
from gateway.core.publication.names import normalise as normalise_name
from gateway.core.records.catalogue import SUBJECT, normalise_header
from gateway.core.records.divisions import covers, division
from gateway.core.records.identifiers import (
    CitizenId,
    looks_like_citizen_number,
    normalise_code,
    parse_citizen_id,
    parse_org_code,
    parse_reg_no,
    parse_uscc,
    subject_kind,
    uscc_inner_ok,
    uscc_is_valid,
)
from gateway.core.records.model import Admitted, Dataset, Field, LifeDates, RecordId, SubjectKind, Unpublished, Value
from gateway.core.records.periods import derive_severity, legal_day
from gateway.core.records.prohibited import prohibited_name, prohibited_text

LONG_TERM = "2099-12-31"
"""How the national tables write "no end"."""
SEPARATOR = ";"
"""Between the codes of a multiple enumeration."""
ADULT, REFUSED_BELOW = 18, 14
ORGANISATION_KEYS = ("uscc", "org_code", "reg_no", "tax_no", "institution_no", "society_no")
"""Fields by which an organisation is known, strongest first."""


class AuthorityInfo(Struct, frozen=True, kw_only=True):
    """An authority that may upload: where it decides, and for whom besides itself it speaks."""

    uscc: str
    name: str
    region: str
    covers: tuple[str, ...] = ()
    """Codes of other authorities; `*` = every authority of its region."""


class IntakeContext(Struct, frozen=True, kw_only=True):
    """What intake must know beside the row."""

    dataset: Dataset
    authorities: Mapping[str, AuthorityInfo]
    sender: str | None = None
    """USCC of the uploading authority; None: nobody stands for the rows."""
    officer: str | None = None
    demo: bool = False
    now: datetime
    region: str
    """Our own city; for a partner's record the region that its payload claims."""
    issuer: str | None = None
    """Party of the partner whose signed batch this is."""


# --- texts ---------------------------------------------------------------------------------------------------------------

_REFUSED = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
_INVISIBLE = re.compile("[\u00ad\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]")
_BLANKS = re.compile(r"[^\S\n]+")
_LINE_ENDS = re.compile("\r\n?|[\x85\u2028\u2029]")


def _clean(text: str, multiline: bool) -> str:
    """A text with something unprintable in it: controls refused, the invisible dropped, every blank a blank."""
    if _REFUSED.search(text):
        raise RowFault("SCHEMA_TYPE", "含有控制字符", hint="请删除该单元格中的不可见字符")
    text = _LINE_ENDS.sub("\n", _INVISIBLE.sub("", text))
    return _BLANKS.sub(" ", text if multiline else text.replace("\n", " ")).strip()


def _folded(text: str) -> str:
    """A text as words of a closed list are compared."""
    return "".join(unicodedata.normalize("NFKC", text).split())


# --- one converter a type: cleaned text → value --------------------------------------------------------------------------

Convert = Callable[[str], Value]
_DATE = re.compile(
    r"([0-9]{4})(?:([-/.])([0-9]{1,2})\2([0-9]{1,2})|([0-9]{2})([0-9]{2})|年([0-9]{1,2})月([0-9]{1,2})日)(?: 00:00(?::00(?:\.0+)?)?)?"
)
"""A day in the four ways in which departments write it; a midnight behind it is how spreadsheets export a date."""


@lru_cache(maxsize=8192)
def _date(text: str) -> str:
    match = _DATE.fullmatch(text if text.isascii() else unicodedata.normalize("NFKC", text))
    if match:
        year, _, month, day, month8, day8, month_cn, day_cn = match.groups()
        try:
            made = date(int(year), int(month or month8 or month_cn), int(day or day8 or day_cn))
        except ValueError:
            raise RowFault("SCHEMA_TYPE", "日期不存在") from None
        if made.year >= 1800:
            return made.isoformat()
    raise RowFault("SCHEMA_TYPE", "不是日期", hint="格式为 2026-03-02、2026/03/02 或 20260302")


_DECIMAL = re.compile(r"(-?)0*([0-9]+)(?:\.([0-9]+))?")


def _decimal(digits: int, places: int, unit: str | None) -> Convert:
    hint = f"只填数字，单位为{unit}，最多{places}位小数" if unit else f"只填数字，最多{places}位小数"

    @lru_cache(maxsize=4096)
    def convert(text: str) -> str:
        match = _DECIMAL.fullmatch(text if text.isascii() else unicodedata.normalize("NFKC", text))
        if match is None:
            raise RowFault("SCHEMA_TYPE", "不是数值", hint=hint)
        sign, whole, fraction = match[1], match[2].lstrip("0") or "0", (match[3] or "").rstrip("0")
        if len(fraction) > places:
            raise RowFault("SCHEMA_TYPE", "小数位数过多", hint=hint)
        if len(whole) > digits - places and whole != "0":
            raise RowFault("SCHEMA_LENGTH", "数值过大", hint=hint)
        if sign and unit:
            raise RowFault("SCHEMA_TYPE", "金额不能为负", hint=hint)
        zero = whole == "0" and not fraction
        return f"{'' if zero else sign}{whole}" + (f".{fraction.ljust(places, '0')}" if places else "")

    return convert


def _int(text: str) -> int:
    folded = _folded(text)
    if re.fullmatch(r"-?[0-9]{1,18}", folded) is None:
        raise RowFault("SCHEMA_TYPE", "不是整数")
    return int(folded)


_TRUTH: dict[str, bool] = {"是": True, "否": False, "true": True, "false": False}


def _bool(text: str) -> bool:
    truth = _TRUTH.get(_folded(text).lower())
    if truth is None:
        raise RowFault("SCHEMA_TYPE", "应填“是”或“否”")
    return truth


def _instant(text: str) -> str:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None or moment.year < 1800:
        raise RowFault("SCHEMA_TYPE", "不是带时区的时间", hint="格式为 2026-03-02T09:30:00+08:00")
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _shape(pattern: str, detail: str) -> Convert:
    compiled = re.compile(pattern)

    def convert(text: str) -> str:
        code = normalise_code(text)
        if compiled.fullmatch(code) is None:
            raise RowFault("SCHEMA_TYPE", detail)
        return code

    return convert


_URI = re.compile(r"https?://[^\s<>\"\\^`{|}]{1,2000}")
_EMAIL = re.compile(r"[^\s@<>\"]{1,64}@[A-Za-z0-9.-]{1,190}\.[A-Za-z]{2,24}")


def _uri(text: str) -> str:
    if _URI.fullmatch(text) is None:
        raise RowFault("SCHEMA_TYPE", "不是网址", hint="以 http:// 或 https:// 开头")
    return text


def _email(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text)
    if _EMAIL.fullmatch(folded) is None:
        raise RowFault("SCHEMA_TYPE", "不是电子邮箱地址")
    return folded


def _mobile(text: str) -> str:
    code = normalise_code(text).replace("-", "").removeprefix("+86")
    if re.fullmatch(r"1[3-9][0-9]{9}", code) is None:
        raise RowFault("SCHEMA_TYPE", "不是手机号码")
    return code


def _name(text: str) -> str:
    return " ".join(text.split()) if " " in text else text


_parse_uscc_again = lru_cache(maxsize=4096)(parse_uscc)
_SIMPLE: dict[str, Convert] = {
    "subject_name": _name, "person_name": _name, "address": _name, "date": _date, "int": _int, "bool": _bool, "instant": _instant,
    "uri": _uri, "email": _email, "mobile": _mobile, "org_code": parse_org_code, "reg_no": parse_reg_no,
    "division": _shape("[0-9]{6}", "不是六位行政区划代码"),
    "phone": _shape(r"[0-9+()\-]{5,30}", "不是电话号码"),
    "plate": _shape(r"[\u4e00-\u9fff][A-Z][·.]?[A-Z0-9]{4,6}[A-Z0-9\u4e00-\u9fff]", "不是车牌号码"),
    "account": _shape(r"[0-9A-Z\-]{5,40}", "不是账号"),
}
_LIST_MARKS = re.compile(r"[;；,，|\n]+")


class _Enum:
    """Turns the words of a closed list, or their codes, into codes; what is not on it is told to be held."""

    def __init__(self, field: Field) -> None:
        self.words = {_folded(alias): code for alias, code in field.aliases.items()}
        self.words |= {_folded(label): code for code, label in field.values.items()}
        self.words |= {code: code for code in field.values}
        self.order = {code: place for place, code in enumerate(field.values)}
        self.other = _folded(field.values["other"]) if field.detail else None
        self.longest = sorted(self.words, key=len, reverse=True)

    def one(self, text: str) -> tuple[str | None, str | None]:
        """(code, words of `其他-…`) of one value."""
        folded = _folded(text)
        code = self.words.get(folded)
        if code is None and self.other is not None and folded.startswith(self.other):
            detail = folded[len(self.other):].strip("-—–:()·")
            return "other", detail or None
        return code, None

    def several(self, text: str) -> tuple[str | None, str | None]:
        """(codes joined, words of `其他-…`) of a list of values; one unknown among them makes all unknown."""
        codes: set[str] = set()
        details: list[str] = []
        for piece in filter(None, (part.strip() for part in _LIST_MARKS.split(text))):
            code, detail = self.one(piece)
            found = {code} if code else self._run(_folded(piece))
            if not found:
                return None, None
            codes |= found
            if detail:
                details.append(detail)
        return SEPARATOR.join(sorted(codes, key=self.order.__getitem__)), SEPARATOR.join(details) or None

    def _run(self, folded: str) -> set[str]:
        """Words of the list one after the other with 、 or 和 between them; some words contain 、 themselves."""
        codes: set[str] = set()
        while folded:
            word = next((word for word in self.longest if folded.startswith(word)), None)
            if word is None:
                return set()
            codes.add(self.words[word])
            folded = folded[len(word):].lstrip("、和及并+")
        return codes


# --- a dataset's columns, compiled once ----------------------------------------------------------------------------------


class _Column(NamedTuple):
    name: str
    wire: str
    length: int
    multiline: bool
    convert: Convert | None
    """None: a text as it is."""
    enum: _Enum | None
    multiple: bool
    detail: str | None
    aliases: dict[str, str]


class _Door:
    """Everything about a dataset that does not depend on the row."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        fields = dataset.fields
        self.columns = tuple(self._column(field) for field in fields.values())
        self.wires = {field.name: field.wire_name for field in fields.values()}
        self.keys = frozenset(self.wires.values())
        self.headers = {header: self.wires[name] for header, name in header_map(dataset).items()}
        self.renamed: dict[str, str | None] = {}
        self.lengths = {column.name: column.length for column in self.columns}
        self.required = frozenset(name for name, field in fields.items() if field.required)
        self.business = frozenset(name for name in dataset.business_key if name != SUBJECT)
        self.required_for_key = frozenset(name for name in self.business if fields[name].required)
        self.identities = tuple(
            (name, name.removesuffix("_no") + "_type" if name.removesuffix("_no") + "_type" in fields else None)
            for name, field in fields.items() if field.type == "id_no"
        )
        self.divisions = tuple(name for name, field in fields.items() if field.type == "division")
        self.clocks = tuple((name, day) for name, day in _CLOCKS.items() if name in fields)
        self.keys_of_organisation = tuple(name for name in ORGANISATION_KEYS if name in fields)
        severity = fields.get(dataset.publish.severity or "")
        self.publishable = frozenset(dataset.publish.requires)
        self.severity = severity.name if severity else None
        self.severities = frozenset(severity.values) if severity else frozenset()

    def _column(self, field: Field) -> _Column:
        kind = field.type
        convert: Convert | None
        if kind == "uscc":
            convert = parse_uscc if field.name == "uscc" else _parse_uscc_again
        elif kind.startswith("decimal"):
            digits, places = kind[8:-1].split(",")
            convert = _decimal(int(digits), int(places), field.unit)
        elif field.name in ("tax_no", "institution_no", "society_no"):
            convert = normalise_code
        else:
            convert = _SIMPLE.get(kind)
        return _Column(
            name=field.name, wire=field.wire_name, length=field.length or 100_000, multiline=field.text, convert=convert,
            enum=_Enum(field) if kind == "enum" else None, multiple=field.multiple, detail=field.detail,
            aliases=dict(field.aliases) if kind != "enum" else {},
        )


_CLOCKS = {
    "decision_date": "decision", "delivered_on": "delivery", "listed_on": "listing", "conduct_end": "conduct_end",
    "first_published_on": "first_publication_upstream", "valid_until": "valid_until", "publish_until_hint": "upstream_end",
}
"""Field → date of the life of the record."""
_DOORS: dict[int, _Door] = {}
_MOST_DOORS = 256


def header_map(dataset: Dataset) -> dict[str, str]:
    """Normalised header text (label, wire name, own name, synonyms) → field name."""
    return {
        normalise_header(text): field.name
        for field in dataset.fields.values()
        for text in (*field.synonyms, field.name, field.label, field.wire_name)
    }


def _door(dataset: Dataset) -> _Door:
    """The compiled columns of a dataset; datasets are immutable values that live as long as their policy version."""
    door = _DOORS.get(id(dataset))
    if door is None or door.dataset is not dataset:
        if len(_DOORS) >= _MOST_DOORS:
            _DOORS.clear()
        door = _DOORS[id(dataset)] = _Door(dataset)
    return door


# --- one row -------------------------------------------------------------------------------------------------------------

Notes = list[tuple[str, str | None]]
"""(code, field) of holds or warnings."""
_HOLDS = ("SUBJ_CONFLICT", "LAW_BASIS", "SCHEMA_ENUM", "LAW_PERIOD", "SCHEMA_MISSING", "TIME_FUTURE")
"""The weightiest first: a record has one hold, the others are told as warnings."""
_CITIZEN_DOCUMENTS = frozenset({
    "身份证", "居民身份证", "公民身份证", "公民身份号码", "身份证号", "二代身份证", "临时身份证", "临时居民身份证", "户口簿", "居住证",
    "港澳居民居住证", "台湾居民居住证", "港澳台居民居住证", "111", "112", "113", "154",
})
"""Documents that bear a number of GB 11643."""
_BIRTH_DOCUMENTS = frozenset({"出生医学证明", "117"})
_OTHER_DOCUMENT = re.compile(r"[0-9A-Z()/\-]{3,64}")
_ROUND_BRACKETS = str.maketrans("[【〔〖{「『]】〕〗}」』", "(((((((" + ")))))))")
_TAX_NUMBER = re.compile("[0-9A-Z]{15}|[0-9A-Z]{17,18}|[0-9A-Z]{20}")
_MOST_RENAMED = 1024


def intake(source: SourceRecord, context: IntakeContext) -> Admitted:
    """One statement, let in: normalised, its subject and clocks decided.

    Raises RowFault (reject) with code, column and place; what is only held is admitted with `hold_code`.
    """
    try:
        return _admit(source, context, _door(context.dataset))
    except RowFault as fault:
        fault.place = source.place
        raise


def _admit(source: SourceRecord, context: IntakeContext, door: _Door) -> Admitted:
    dataset, upsert, signed_by_partner = door.dataset, source.op == "upsert", context.issuer is not None
    today = _legal_day(context.now)
    holds: Notes = []
    warnings: Notes = []
    values = _values(source.fields, door, holds)
    _refuse_missing(values, door, whole=upsert and not signed_by_partner)
    citizen = _identities(values, door, context.demo, today)
    kind, keys = _subject(values, door, holds)
    # a row that names neither code nor kind is no statement about a person, but about nobody: SUBJ_MISSING below
    if upsert and not holds and kind not in dataset.subject_kinds and (keys or values.get("category")):
        raise RowFault("LAW_PERSON", "该数据集不归集此类主体的信息", field=door.wires.get("category"))
    if not keys and (upsert or not (signed_by_partner and source.record_id)):
        natural = kind == "natural" and "id_no" in door.wires
        raise RowFault("SUBJ_MISSING", "缺少主体身份号码", field=door.wires.get("id_no" if natural else "uscc"),
                       hint="自然人填写证件号码，其他主体至少填写一种代码")
    dates = _dates(values, door)
    minor = False
    severity: str | None = None
    if upsert:
        if prohibited_text("\t".join(value for value in values.values() if isinstance(value, str))):
            raise RowFault("LAW_PROHIBITED", "含有禁止采集的个人信息", hint="宗教信仰、基因、指纹、血型、病史等不得采集，请删除后重新报送")
        if citizen is not None:
            minor = _is_minor(citizen, dates.decision, today, door)
        severity = _severity(values, door, holds)
        if not values.keys() >= door.publishable:
            holds += [(_UNPUBLISHABLE.get(name, "SCHEMA_MISSING"), door.wires[name]) for name in door.publishable if name not in values]
        if dates.decision is not None and dates.decision > today:
            holds.append(("TIME_FUTURE", door.wires["decision_date"]))
    code, name, region = _authority(values, door, context, warnings)
    _note_codes(values, door, warnings)
    hold_code, hold_field = None, None
    if holds:
        holds.sort(key=_weight)
        hold_code, hold_field = holds[0]
        warnings += holds[1:]
    signed = signed_by_partner or (context.sender is not None and context.officer is not None)
    return Admitted(
        dataset=dataset.id, category=dataset.category, op=source.op, reason=source.reason, kind=kind, subject_keys=keys,
        business_key=_business_key(values, dataset, keys), values=Unpublished(values), trust="signed" if signed else "vouched",
        issuer=context.issuer, region=region, authority_code=code, authority_name=name, sender=context.sender, officer=context.officer,
        dates=dates, severity=severity, minor=minor, hold_code=hold_code, hold_field=hold_field, warnings=tuple(warnings),
        record_id=RecordId(source.record_id) if signed_by_partner and source.record_id is not None else None,
        version=source.version if signed_by_partner else None, received_at=context.now, place=source.place,
    )


_legal_day = lru_cache(maxsize=16)(legal_day)


def _weight(hold: tuple[str, str | None]) -> int:
    return _HOLDS.index(hold[0])


def _values(raw: Mapping[str, Value], door: _Door, holds: Notes) -> dict[str, Value]:
    """Every cell as a value of its type, in dictionary order; empty ones are absent."""
    if not door.keys.issuperset(raw):
        raw = _renamed(raw, door)
    get, null_words = raw.get, door.dataset.null_words
    values: dict[str, Value] = {}
    wire = ""
    try:
        for name, wire, length, multiline, convert, enum, multiple, detail, aliases in door.columns:
            cell = get(wire)
            if cell is None:
                continue
            text = cell if isinstance(cell, str) else _as_text(cell, door.dataset.fields[name].type)
            text = text.strip() if text.isprintable() else _clean(text, multiline)
            if not text or text in null_words:
                continue
            value: Value
            if enum is not None:
                code, words = enum.several(text) if multiple else enum.one(text)
                if code is None:
                    holds.append(("SCHEMA_ENUM", wire))
                value = code or text
                if words and detail is not None and not get(door.wires[detail]):
                    values[detail] = words[:door.lengths[detail]]
            elif convert is not None:
                value = convert(aliases.get(text, text) if aliases else text)
            else:
                value = text
            if isinstance(value, str) and len(value) > length:
                raise RowFault("SCHEMA_LENGTH", f"超过{length}个字", hint="系统不截断，请缩短后重新报送")
            values[name] = value
    except RowFault as fault:
        fault.field = wire
        raise
    return values


def _as_text(cell: Value, kind: str) -> str:
    """A cell that is not text, where its type may be a number or a truth."""
    if isinstance(cell, bool):
        if kind == "bool":
            return "true" if cell else "false"
    elif isinstance(cell, int) and (kind == "int" or kind.startswith("decimal")):
        return str(cell)
    raise RowFault("SCHEMA_TYPE", "应为文本", hint="请将该列设为文本格式")


def _renamed(raw: Mapping[str, Value], door: _Door) -> dict[str, Value]:
    """Columns under their wire names, whatever header the source uses.

    Raises RowFault LAW_PROHIBITED, or SCHEMA_UNKNOWN for a column that is unknown or comes twice.
    """
    cells: dict[str, Value] = {}
    for key, cell in raw.items():
        if key not in door.renamed:
            if len(door.renamed) >= _MOST_RENAMED:
                door.renamed.clear()
            door.renamed[key] = key if key in door.keys else door.headers.get(normalise_header(key))
        wire = door.renamed[key]
        if wire is None or wire in cells:
            shown = key if len(key) <= 100 and key.isprintable() else None
            if wire is None and prohibited_name(key):
                raise RowFault("LAW_PROHIBITED", "该列属于禁止采集的个人信息", field=shown, hint="请删除该列后重新报送")
            raise RowFault("SCHEMA_UNKNOWN", "该列重复" if wire else "数据集没有该列", field=shown)
        cells[wire] = cell
    return cells


def _refuse_missing(values: Mapping[str, Value], door: _Door, *, whole: bool) -> None:
    """Required fields of a whole statement; of a withdrawal or a partner's record only what identifies it."""
    required = door.required if whole else door.required_for_key
    if values.keys() >= required:
        return
    missing = [name for name in door.wires if name in required and name not in values]
    name = next((name for name in missing if name != "legal_basis"), "legal_basis")
    if name == "legal_basis":
        raise RowFault("LAW_BASIS", "缺少法律依据", field=door.wires[name], hint="写明法律、法规名称和条款")
    raise RowFault("SCHEMA_MISSING", f"缺少{door.dataset.fields[name].label}", field=door.wires[name])


def _identities(values: dict[str, Value], door: _Door, demo: bool, today: date) -> CitizenId | None:
    """Normalises every identity number of the row; that of the subject, if it is a citizen number."""
    subject: CitizenId | None = None
    for name, document in door.identities:
        number = values.get(name)
        if not isinstance(number, str):
            continue
        kind = _folded(str(values.get(document) or "")) if document else ""
        try:
            if not kind or kind in _CITIZEN_DOCUMENTS:
                citizen = parse_citizen_id(number, demo=demo, today=today)
                values[name] = citizen.number
                if name == "id_no":
                    subject = citizen
            else:
                code = normalise_code(number)
                if _OTHER_DOCUMENT.fullmatch(code) is None:
                    raise RowFault("SUBJ_ID", "证件号码格式不符")
                if kind in _BIRTH_DOCUMENTS and name == "id_no":
                    raise RowFault("LAW_MINOR", "不归集不满十四周岁未成年人的信息")
                values[name] = code
        except RowFault as fault:
            fault.field = door.wires[name]
            raise
    return subject


def _tax_number(values: Mapping[str, Value], door: _Door) -> tuple[str | None, bool]:
    """(the USCC that the taxpayer number is, whether it hides a citizen number)."""
    number = values.get("tax_no")
    if not isinstance(number, str):
        return None, False
    if _TAX_NUMBER.fullmatch(number) is None:
        raise RowFault("SCHEMA_TYPE", "纳税人识别号不符", field=door.wires["tax_no"], hint="应为15、17、18或20位")
    if uscc_is_valid(number):
        return number, False
    return None, len(number) > 15 and looks_like_citizen_number(number[:15] if len(number) == 17 else number[:18])


def _subject(values: Mapping[str, Value], door: _Door, holds: Notes) -> tuple[SubjectKind, tuple[tuple[str, str], ...]]:
    """Kind and keys of the subject; what contradicts itself is a natural person, and held."""
    category, uscc, identity = values.get("category"), values.get("uscc"), values.get("id_no")
    by_tax, personal = _tax_number(values, door) if "tax_no" in values else (None, False)
    code = uscc if isinstance(uscc, str) else by_tax
    kind, contradictory = subject_kind(category if category in _KINDS else None, code, identity is not None)
    if (personal and kind == "legal") or (by_tax is not None and by_tax != code):
        kind, contradictory = "natural", True
    keys: list[tuple[str, str]] = []
    if kind == "natural" and isinstance(identity, str):
        document = _folded(str(values.get("id_type") or ""))
        keys.append(("id_no", identity if not document or document in _CITIZEN_DOCUMENTS else f"{document}:{identity}"))
    if kind != "natural" or contradictory:
        keys += [(name, key) for name in door.keys_of_organisation if isinstance(key := values.get(name), str) and key != by_tax]
        if by_tax is not None:
            keys.insert(0, ("uscc", by_tax))
    if kind == "individual_business" and keys and isinstance(name := values.get("name"), str):
        keys.append(("name", normalise_name(name)))  # by its whole name a household is found; it identifies none
    if contradictory and keys:
        holds.append(("SUBJ_CONFLICT", door.wires.get("category") or door.wires.get("uscc")))
    return kind, tuple(dict.fromkeys(keys))


_KINDS = frozenset({"legal", "individual_business", "natural"})


def _is_minor(citizen: CitizenId, decision: date | None, today: date, door: _Door) -> bool:
    """Whether the subject is, or was when it was decided, under age.

    Raises RowFault LAW_MINOR for somebody under fourteen.
    """
    age = citizen.age_on(today if decision is None else min(today, decision))
    if age < REFUSED_BELOW:
        raise RowFault("LAW_MINOR", "不归集不满十四周岁未成年人的信息", field=door.wires["id_no"])
    return age < ADULT


def _dates(values: Mapping[str, Value], door: _Door) -> LifeDates:
    """The days from which clocks run; "long-term" is no end."""
    days = {}
    for name, clock in door.clocks:
        text = values.get(name)
        if text is not None and text != LONG_TERM:
            days[clock] = date.fromisoformat(text)  # type: ignore[arg-type]
    return LifeDates(**days)


def _severity(values: Mapping[str, Value], door: _Door, holds: Notes) -> str | None:
    """As stated, else as it follows from the kinds of penalty; a serious list is serious by law."""
    if door.dataset.category == "blacklist":
        return "serious"
    if door.severity is None:
        return None
    stated = values.get(door.severity)
    if isinstance(stated, str):
        return stated if stated in door.severities else None
    kinds = values.get("penalty_type")
    derived = derive_severity(kinds.split(SEPARATOR)) if isinstance(kinds, str) else None
    if derived is None:
        holds.append(("LAW_PERIOD", door.wires[door.severity]))
    return derived


def _authority(
    values: Mapping[str, Value], door: _Door, context: IntakeContext, warnings: Notes
) -> tuple[str | None, str | None, str]:
    """(code, name, region) of who decided.

    Raises RowFault SCOPE_AUTHORITY when the sender may not speak for it.
    """
    code, name = values.get("authority_code"), values.get("authority")
    code, name = code if isinstance(code, str) else None, name if isinstance(name, str) else None
    if context.issuer is not None:
        return code, name, context.region
    sender = context.authorities.get(context.sender) if context.sender else None
    if context.sender is not None:
        if code is None:
            code, name = context.sender, name or (sender.name if sender else None)
        elif code != context.sender and not _speaks_for(sender, code, context.authorities):
            raise RowFault("SCOPE_AUTHORITY", "报送单位无权报送该机关的信息", field=door.wires["authority_code"],
                           hint="由作出决定的机关报送，或先登记代报关系")
    known = context.authorities.get(code) if code else None
    if known is not None:
        return code, name or known.name, known.region
    if code is not None:
        warnings.append(("REGION_UNKNOWN", door.wires.get("authority_code")))
    return code, name, sender.region if sender else context.region


def _speaks_for(sender: AuthorityInfo | None, code: str, authorities: Mapping[str, AuthorityInfo]) -> bool:
    if sender is None:
        return False
    if code in sender.covers:
        return True
    other = authorities.get(code)
    return "*" in sender.covers and other is not None and covers(sender.region, other.region)


def _note_codes(values: Mapping[str, Value], door: _Door, warnings: Notes) -> None:
    """Notes that stop nothing: the inner check of the subject's code, a division that the table lacks."""
    uscc = values.get("uscc")
    if isinstance(uscc, str):
        if not uscc_inner_ok(uscc):
            warnings.append(("SUBJ_USCC_INNER", door.wires["uscc"]))
        if division(uscc[2:8]) is None and uscc[2:8] != NATIONAL:
            warnings.append(("REGION_UNKNOWN", door.wires["uscc"]))
    for name in door.divisions:
        text = values.get(name)
        if isinstance(text, str) and division(text) is None:
            warnings.append(("REGION_UNKNOWN", door.wires[name]))


_UNPUBLISHABLE = {"legal_basis": "LAW_BASIS", "decision_date": "LAW_PERIOD"}
"""Why a partner's record without one of the fields that publication needs is held."""
NATIONAL = "100000"
"""In a USCC: registered with the national authority."""


def _business_key(values: Mapping[str, Value], dataset: Dataset, keys: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    """The dataset's key with width, case, blanks and kinds of bracket folded, so that one decision stays one record."""
    return tuple(
        ":".join(keys[0]) if name == SUBJECT and keys else _key_text(values.get(name)) for name in dataset.business_key
    )


def _key_text(value: Value) -> str:
    return "" if value is None else normalise_code(str(value)).translate(_ROUND_BRACKETS)

"""A dataset's columns, compiled once, and cells read through them.

A column may come under its wire name, its own name or any header of the dataset; an unknown one is SCHEMA_UNKNOWN, a prohibited one
rejects the row. An enumeration value that its list does not know stays as sent and holds the row. This room must not know which rows
there are (`reading` does), nor whom they are about.
"""

import re
from collections.abc import Collection, Sequence
from typing import NamedTuple

from gateway.core.errors import RowFault
from gateway.core.records.catalogue import SUBJECT
from gateway.core.records.cells import SIMPLE, Convert, clean, decimal, folded, parse_uscc_again
from gateway.core.records.headers import header_map, normalise_header
from gateway.core.records.identifiers import normalise_code, parse_uscc
from gateway.core.records.model import SUBJECT_KINDS, Dataset, Field, LifeDates, Value
from gateway.core.records.prohibited import prohibited_name
from gateway.core.records.sealed import is_sealed

SEPARATOR = ";"
"""Between the codes of a multiple enumeration."""
ORGANISATION_KEYS = ("uscc", "org_code", "reg_no", "tax_no", "institution_no", "society_no")
"""Fields by which an organisation is known, strongest first."""
CLOCKS = {
    "decision_date": "decision", "delivered_on": "delivery", "listed_on": "listing", "conduct_end": "conduct_end",
    "first_published_on": "first_publication_upstream", "valid_until": "valid_until", "publish_until_hint": "upstream_end",
    "removed_on": "obligation_fulfilled",  # an authority takes off its list who has done what was owed
}
"""Field → date of the life of the record."""
Notes = list[tuple[str, str | None]]
"""(code, column) of holds or warnings."""
_MOST_KNOWN = 256
"""Of one column: what few values there are is soon seen, and of what is many nothing more is kept."""
_CLOSED = frozenset({"enum", "bool", "date", "division"})
"""Types of which a column may remember cells: days and words of closed lists. What somebody wrote goes when it is erased."""
_OWN = frozenset({"name", *ORGANISATION_KEYS})
MOST_LIVES = 4096
"""Dates of life of one dataset that are remembered."""
_LONGEST = 100_000
_MOST_LAYOUTS = 256
_PLAIN = frozenset({"string", "subject_name"})
_PERSONAL = frozenset({"P1", "P2", "P3"})
_LIST_MARKS = re.compile(r"[;；,，|\n]+")


class _Enum:
    """Turns the words of a closed list, or their codes, into codes; what is not on it is told to be held."""

    def __init__(self, field: Field) -> None:
        self.words = {folded(alias): code for alias, code in field.aliases.items()}
        self.words |= {folded(label): code for code, label in field.values.items()}
        self.words |= {code: code for code in field.values}
        self.order = {code: place for place, code in enumerate(field.values)}
        self.other = folded(field.values["other"]) if field.detail else None
        self.longest = sorted(self.words, key=len, reverse=True)
        room = field.length or _LONGEST
        self.plain = {
            word: code for word, code in self.words.items() if folded(word) == word and not _LIST_MARKS.search(word) and len(code) <= room
        }
        """Words that say their code also in a list, and need no folding: what most cells hold."""

    def one(self, text: str) -> tuple[str | None, str | None]:
        """(code, words of `其他-…`) of one value."""
        word = folded(text)
        code = self.words.get(word)
        if code is None and self.other is not None and word.startswith(self.other):
            detail = word[len(self.other):].strip("-—–:()·")
            return "other", detail or None
        return code, None

    def several(self, text: str) -> tuple[str | None, str | None]:
        """(codes joined, words of `其他-…`) of a list of values; one unknown among them makes all unknown."""
        codes: set[str] = set()
        details: list[str] = []
        for piece in filter(None, (part.strip() for part in _LIST_MARKS.split(text))):
            code, detail = self.one(piece)
            found = {code} if code else self._run(folded(piece))
            if not found:
                return None, None
            codes |= found
            if detail:
                details.append(detail)
        if not codes:
            return None, None
        return SEPARATOR.join(sorted(codes, key=self.order.__getitem__)), SEPARATOR.join(details) or None

    def _run(self, rest: str) -> set[str]:
        """Words of the list one after the other with 、 or 和 between them; some words contain 、 themselves."""
        codes: set[str] = set()
        while rest:
            word = next((word for word in self.longest if rest.startswith(word)), None)
            if word is None:
                return set()
            codes.add(self.words[word])
            rest = rest[len(word):].lstrip("、和及并+")
        return codes


class Odd(NamedTuple):
    """A cell that is not simply its value."""

    value: Value = None
    words: str | None = None
    """Of `其他-…` on a closed list: they belong into a field of their own."""
    held: bool = False
    """On no list: as it was sent."""
    fault: RowFault | None = None
    """Why it rejects its row; of any row that has it, so each row gets a fault of its own."""


class _Reading(NamedTuple):
    """How a cell of a column is read."""

    length: int
    multiline: bool
    convert: Convert | None
    """None: a text as it is."""
    enum: _Enum | None
    multiple: bool
    detail: str | None
    aliases: dict[str, str]


class Column(NamedTuple):
    """One field of a dataset."""

    name: str
    wire: str
    type: str
    known: dict[str, Value] | None
    """Cells read lately → their values, of a column of days or of a closed list; None: its values are texts, or are a secret."""
    how: _Reading
    null_words: frozenset[str]

    def read(self, cells: Sequence[Value]) -> "Said":
        """What these cells say, each distinct one read once; an empty one says nothing."""
        texts: Sequence[Value | Odd] = cells
        if not _TEXTS.issuperset(map(type, cells)):
            texts = [cell if cell is None or isinstance(cell, str) else _as_text(cell, self.type) for cell in cells]
        distinct: dict[Value | Odd, Value | Odd] = dict.fromkeys(texts)
        odd, whole = False, True
        for cell in distinct:
            # what is no text was made one, or is at fault
            value = distinct[cell] = self._read(cell) if cell and cell.__class__ is not Odd else cell or None  # type: ignore[arg-type]
            if value is None:
                whole = False
            elif value.__class__ is Odd:
                odd = True
        return Said(list(map(distinct.__getitem__, texts)), distinct.values(), whole, odd)

    def _read(self, cell: str) -> Value | Odd:
        how, known = self.how, self.known
        value: Value | Odd = None if known is None else known.get(cell)
        if value is not None:
            return value
        try:
            text = cell.strip() if cell.isprintable() else clean(cell, how.multiline)
            if not text or text in self.null_words:
                return None
            if how.enum is not None:
                value = how.enum.plain.get(text) or _listed(text, how, how.enum)
            else:
                value = text if how.convert is None else how.convert(how.aliases.get(text, text))
        except RowFault as fault:
            return Odd(fault=fault)
        if value.__class__ is str and len(value) > how.length:
            return Odd(fault=too_long(how.length))
        if known is not None and len(known) < _MOST_KNOWN and value.__class__ is not Odd and (how.enum is None or cell in how.enum.plain):
            known[cell] = value  # type: ignore[assignment]  # the same
        return value


class Said(NamedTuple):
    """What cells of a column say."""

    values: Sequence[Value | Odd]
    """One for each cell."""
    distinct: Collection[Value | Odd]
    """Of each distinct cell."""
    whole: bool
    """Whether every cell says something."""
    odd: bool
    """Whether any of them is odd."""


_TEXTS = frozenset({str, type(None)})


def too_long(length: int) -> RowFault:
    """A value that does not fit."""
    return RowFault("SCHEMA_LENGTH", f"超过{length}个字", hint="系统不截断，请缩短后重新报送")


def _listed(text: str, how: _Reading, enum: _Enum) -> Value | Odd:
    """The code of a word, or of several; what is on no list stays as sent."""
    code, words = enum.several(text) if how.multiple else enum.one(text)
    value = code or text
    fault = too_long(how.length) if len(value) > how.length else None
    return value if code and not words and fault is None else Odd(value=value, words=words, held=code is None, fault=fault)


def _as_text(cell: Value, kind: str) -> str | Odd:
    """A cell that is no text, where its type may be a number or a truth."""
    if isinstance(cell, bool):
        if kind == "bool":
            return "true" if cell else "false"
    elif isinstance(cell, int) and (kind == "int" or kind.startswith("decimal")):
        return str(cell)
    return Odd(fault=RowFault("SCHEMA_TYPE", "应为文本", hint="请将该列设为文本格式"))


class Layout(NamedTuple):
    """The columns that a source has, in dictionary order, and where in its rows each stands."""

    columns: tuple[tuple[Column, int], ...]
    places: dict[str, int]
    """By wire name."""


class Door:
    """Everything about a dataset that does not depend on the row."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        fields = dataset.fields
        self.columns = tuple(self._column(field) for field in fields.values())
        self.wires = {field.name: field.wire_name for field in fields.values()}
        self.keys = frozenset(self.wires.values())
        self.headers = {header: self.wires[name] for header, name in header_map(dataset).items()}
        self.layouts: dict[tuple[str, ...], Layout] = {}
        self.lengths = {column.name: column.how.length for column in self.columns}
        self.required = frozenset(name for name, field in fields.items() if field.required)
        self.business = frozenset(name for name in dataset.business_key if name != SUBJECT)
        self.required_for_key = frozenset(name for name in self.business if fields[name].required)
        self.identities = tuple(
            (name, name.removesuffix("_no") + "_type" if name.removesuffix("_no") + "_type" in fields else None)
            for name, field in fields.items() if field.type == "id_no"
        )
        self.of_persons = frozenset(name for name, _ in self.identities)
        plain = [name for name, field in fields.items() if field.type in _PLAIN and not field.text and name != "tax_no"]
        self.plain = {kind: tuple(name for name in plain if fields[name].classes.get(kind, "U") not in _PERSONAL) for kind in SUBJECT_KINDS}
        self.plain_of_any = frozenset(name for names in self.plain.values() for name in names)
        self.divisions = tuple(name for name, field in fields.items() if field.type == "division")
        self.lives: dict[tuple[Value, ...], LifeDates] = {}
        self.clocks = tuple((name, clock) for name, clock in CLOCKS.items() if name in fields)
        self.keys_of_organisation = tuple(name for name in ORGANISATION_KEYS if name in fields)
        severity = fields.get(dataset.publish.severity or "")
        self.publishable = frozenset(dataset.publish.requires)
        self.severity = severity.name if severity else None
        self.severities = frozenset(severity.values) if severity else frozenset()

    def layout(self, keys: tuple[str, ...]) -> Layout:
        """How rows with these columns are read: of a file the same for each row.

        Raises RowFault LAW_PROHIBITED, or SCHEMA_UNKNOWN for a column that is unknown or comes twice.
        """
        found = self.layouts.get(keys)
        if found is None:
            places = {wire: place for place, wire in enumerate(keys if self.keys.issuperset(keys) else self._wires(keys))}
            if len(self.layouts) >= _MOST_LAYOUTS:
                self.layouts.clear()
            columns = tuple((column, places[column.wire]) for column in self.columns if column.wire in places)
            found = self.layouts[keys] = Layout(columns, places)
        return found

    def _wires(self, keys: tuple[str, ...]) -> list[str]:
        """Columns by their wire names, whatever header the source uses."""
        wires: list[str] = []
        for key in keys:
            wire = key if key in self.keys else self.headers.get(normalise_header(key))
            if wire is None or wire in wires:
                shown = key if len(key) <= 100 and key.isprintable() else None
                if wire is None and prohibited_name(key):
                    raise RowFault("LAW_PROHIBITED", "该列属于禁止采集的个人信息", field=shown, hint="请删除该列后重新报送")
                raise RowFault("SCHEMA_UNKNOWN", "该列重复" if wire else "数据集没有该列", field=shown)
            wires.append(wire)
        return wires

    def _column(self, field: Field) -> Column:
        kind = field.type
        convert: Convert | None
        if kind == "uscc":
            convert = parse_uscc if field.name == "uscc" else parse_uscc_again
        elif kind.startswith("decimal"):
            digits, places = kind[8:-1].split(",")
            convert = decimal(int(digits), int(places), field.unit)
        elif field.name in ("tax_no", "institution_no", "society_no"):
            convert = normalise_code
        else:
            convert = SIMPLE.get(kind)
        how = _Reading(
            length=field.length or _LONGEST, multiline=field.text, convert=convert, enum=_Enum(field) if kind == "enum" else None,
            multiple=field.multiple, detail=field.detail, aliases=dict(field.aliases) if kind != "enum" else {},
        )
        secret = any(is_sealed(field, of) for of in SUBJECT_KINDS)
        told_apart = field.name in _OWN or field.name in self.dataset.business_key
        known: dict[str, Value] | None = {} if kind in _CLOSED and not secret and not told_apart else None
        return Column(
            name=field.name, wire=field.wire_name, type=kind, known=known, how=how, null_words=frozenset(self.dataset.null_words)
        )


_DOORS: dict[int, Door] = {}
_MOST_DOORS = 256


def door_of(dataset: Dataset) -> Door:
    """The compiled columns of a dataset; datasets are immutable values that live as long as their policy version."""
    door = _DOORS.get(id(dataset))
    if door is None or door.dataset is not dataset:
        if len(_DOORS) >= _MOST_DOORS:
            _DOORS.clear()
        door = _DOORS[id(dataset)] = Door(dataset)
    return door

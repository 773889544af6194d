"""A dataset's columns, compiled once, and the cells of a row read through them.

A column may come under its wire name, its own name or any header of the dataset; an unknown one is SCHEMA_UNKNOWN, a prohibited one
rejects the row. Values come out in dictionary order, empty cells are absent. An enumeration value that its list does not know stays as sent
and holds the row. This room must not know whom a row is about.
"""

import re
from collections.abc import Mapping
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
_MOST_RENAMED = 1024
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


class _Column(NamedTuple):
    name: str
    wire: str
    known: dict[str, Value] | None
    """Cells read lately → their values, of a column of days or of a closed list; None: its values are texts, or are a secret."""
    how: _Reading


class Door:
    """Everything about a dataset that does not depend on the row."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        fields = dataset.fields
        self.columns = tuple(self._column(field) for field in fields.values())
        self.wires = {field.name: field.wire_name for field in fields.values()}
        self.keys = frozenset(self.wires.values())
        self.headers = {header: self.wires[name] for header, name in header_map(dataset).items()}
        self.renamed: dict[str, str | None] = {}
        self.layouts: dict[tuple[str, ...], tuple[_Column, ...]] = {}
        self.lengths = {column.name: column.how.length for column in self.columns}
        self.required = frozenset(name for name, field in fields.items() if field.required)
        self.business = frozenset(name for name in dataset.business_key if name != SUBJECT)
        self.required_for_key = frozenset(name for name in self.business if fields[name].required)
        self.identities = tuple(
            (name, name.removesuffix("_no") + "_type" if name.removesuffix("_no") + "_type" in fields else None)
            for name, field in fields.items() if field.type == "id_no"
        )
        plain = [name for name, field in fields.items() if field.type in _PLAIN and not field.text and name != "tax_no"]
        self.plain = {kind: tuple(name for name in plain if fields[name].classes.get(kind, "U") not in _PERSONAL) for kind in SUBJECT_KINDS}
        self.divisions = tuple(name for name, field in fields.items() if field.type == "division")
        self.lives: dict[tuple[Value, ...], LifeDates] = {}
        self.clocks = tuple((name, clock) for name, clock in CLOCKS.items() if name in fields)
        self.keys_of_organisation = tuple(name for name in ORGANISATION_KEYS if name in fields)
        severity = fields.get(dataset.publish.severity or "")
        self.publishable = frozenset(dataset.publish.requires)
        self.severity = severity.name if severity else None
        self.severities = frozenset(severity.values) if severity else frozenset()

    def present(self, wires: tuple[str, ...]) -> tuple[_Column, ...]:
        """The columns that a source has, in dictionary order: of a file the same for each row."""
        found = self.layouts.get(wires)
        if found is None:
            if len(self.layouts) >= _MOST_LAYOUTS:
                self.layouts.clear()
            found = self.layouts[wires] = tuple([column for column in self.columns if column.wire in wires])
        return found

    def _column(self, field: Field) -> _Column:
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
        return _Column(name=field.name, wire=field.wire_name, known=known, how=how)


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


def read_values(raw: Mapping[str, Value], door: Door, holds: Notes) -> dict[str, Value]:
    """Every cell as a value of its type, in dictionary order; empty ones are absent."""
    wires = tuple(raw)
    if wires not in door.layouts and not door.keys.issuperset(wires):
        raw = _renamed(raw, door)
        wires = tuple(raw)
    get, null_words = raw.get, door.dataset.null_words
    values: dict[str, Value] = {}
    wire = ""
    try:
        for name, wire, known, how in door.present(wires):
            cell = get(wire)
            if cell is None or cell == "":
                continue
            value: Value = None if known is None else known.get(cell)  # type: ignore[arg-type]  # no cell but a text is known
            if value is not None:
                values[name] = value
                continue
            length, multiline, convert, enum, multiple, detail, aliases = how
            text = cell if isinstance(cell, str) else _as_text(cell, door.dataset.fields[name].type)
            text = text.strip() if text.isprintable() else clean(text, multiline)
            if not text or text in null_words:
                continue
            if enum is not None:
                if text in enum.plain:
                    value = values[name] = enum.plain[text]
                    if known is not None and len(known) < _MOST_KNOWN:
                        known[text] = value
                    continue
                code, words = enum.several(text) if multiple else enum.one(text)
                if code is None:
                    holds.append(("SCHEMA_ENUM", wire))
                value = code or text
                if words and detail is not None and not get(door.wires[detail]):
                    if len(words) > door.lengths[detail]:
                        raise RowFault("SCHEMA_LENGTH", f"超过{door.lengths[detail]}个字", hint="系统不截断，请缩短后重新报送")
                    values[detail] = words
            elif convert is not None:
                value = convert(aliases.get(text, text) if aliases else text)
            else:
                value = text
            if isinstance(value, str) and len(value) > length:
                raise RowFault("SCHEMA_LENGTH", f"超过{length}个字", hint="系统不截断，请缩短后重新报送")
            values[name] = value
            if known is not None and enum is None and isinstance(cell, str) and len(known) < _MOST_KNOWN:
                known[cell] = value
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


def _renamed(raw: Mapping[str, Value], door: Door) -> dict[str, Value]:
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

r"""The flat form of a document, and CSV (api.md §1.3, §12.7).

Rules: objects join with `_`, arrays of codes with `|`, arrays of objects give their `code` or `text` joined with `|`; a `|` inside
a value is written `\|`; booleans are `true` and `false`; null is the empty cell, and no shown text is ever "". `links` and
`notice` are left out. Columns are those of the plan, never of the values: envelope first, then `fields_*` in dictionary order.
CSV is RFC 4180 with CRLF, lossless; for Excel (`excel=1`) it carries a BOM and guards cells that a spreadsheet would run.
This room must not know what a column means.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any

FlatValue = str | int | bool | None
LEFT_OUT = frozenset({"links", "notice"})
BOM = b"\xef\xbb\xbf"
_GUARDED = tuple("=+-@\t\r＝＋－＠")

RECORD_COLUMNS: tuple[str, ...] = (
    "id",
    "dataset",
    "kind",
    "kind_label",
    "subject_id",
    "subject_uscc",
    "subject_name",
    "subject_kind",
    "subject_kind_label",
    "subject_uri",
    "document_number",
    "decision_date",
    "severity",
    "severity_label",
    "region",
    "region_label",
    "published_from",
    "publish_until",
    "period_rule",
    "basis",
    "source_name",
    "source_uscc",
    "source_received_at",
    "source_issuer",
    "marks",
)
"""Envelope of a record; which of them a plan shows, `record_columns` says."""
LISTING_COLUMNS: tuple[str, ...] = ("list", "listed_on", "listing_basis", "measures", "removal_conditions", "remedy")
TAIL_COLUMNS: tuple[str, ...] = ("seq", "policy_version")
SALT = "salt"
"""Last column of listings: the salt of the commitment, given when the row is kept."""
SUBJECT_COLUMNS: tuple[str, ...] = (
    "id",
    "uscc",
    "name",
    "former_names",
    "kind",
    "kind_label",
    "region",
    "region_label",
    "industry",
    "status",
    "status_label",
    "established_on",
    "successor_code",
    "marks",
    "seq",
    "policy_version",
)
_ENVELOPE_FIELDS = ("document_number", "decision_date", "severity")


def escape(text: str) -> str:
    """A value whose bars are not those of a joined list."""
    return text.replace("|", "\\|") if "|" in text else text


def _scalar(value: Any) -> str:
    if value is True:
        return "true"
    if value is False:
        return "false"
    return str(value)


def _joined(items: Sequence[Any]) -> str | None:
    """An array as one cell: codes, or the `code`, else the `text`, of objects."""
    parts = [item.get("code", item.get("text")) if isinstance(item, dict) else item for item in items]
    return "|".join(escape(_scalar(part)) for part in parts if part is not None) or None


def flatten(document: Mapping[str, Any], prefix: str = "") -> dict[str, FlatValue]:
    """The flat row of a document: the one rule, for every format."""
    row: dict[str, FlatValue] = {}
    for key, value in document.items():
        if not prefix and key in LEFT_OUT:
            continue
        if isinstance(value, dict):
            row.update(flatten(value, f"{prefix}{key}_"))
        elif isinstance(value, list | tuple):
            row[prefix + key] = _joined(value)
        elif isinstance(value, str):
            row[prefix + key] = escape(value)
        else:
            row[prefix + key] = value
    return row


def record_columns(*, shown: Iterable[str], treated: Iterable[str], listing: bool = False, promoted: Iterable[str] = ()) -> tuple[str, ...]:
    """The columns of a dataset's records (or a list's listings) under a plan set.

    `shown`: fields of its plans in dictionary order; `treated`: those not shown clear in some plan; `promoted`: fields that stand
    in the envelope instead of `fields`.
    """
    fields = tuple(shown)
    present = set(fields)
    hidden = {"subject_name": "name", "subject_uscc": "uscc", "severity_label": "severity", **{name: name for name in _ENVELOPE_FIELDS}}
    envelope = tuple(column for column in RECORD_COLUMNS if column not in hidden or hidden[column] in present)
    left_out = {"name", "uscc", *_ENVELOPE_FIELDS, *promoted}
    return (
        *envelope,
        *(f"treatments_{name}" for name in treated),
        *(LISTING_COLUMNS if listing else ()),
        *TAIL_COLUMNS,
        *(f"fields_{name}" for name in fields if name not in left_out),
        *((SALT,) if listing else ()),
    )


def subject_columns(categories: Iterable[str], treated: Iterable[str] = ()) -> tuple[str, ...]:
    """The columns of subjects: the envelope, treatments, and a count for each category."""
    at = SUBJECT_COLUMNS.index("marks")
    return (
        *SUBJECT_COLUMNS[:at],
        *(f"treatments_{name}" for name in treated),
        *(f"record_counts_{category}" for category in categories),
        *SUBJECT_COLUMNS[at:],
    )


def cell(value: FlatValue) -> str:
    """One CSV cell; the empty cell is null."""
    if value is None:
        return ""
    text = value if isinstance(value, str) else _scalar(value)
    if "," in text or '"' in text or "\n" in text or "\r" in text:
        return '"' + text.replace('"', '""') + '"'
    return text


def excel_cell(value: FlatValue) -> str:
    """One CSV cell for Excel: what a spreadsheet would run as a formula gets a leading apostrophe."""
    return cell("'" + value if isinstance(value, str) and value.startswith(_GUARDED) else value)


def line(values: Iterable[FlatValue], write: Callable[[FlatValue], str] = cell) -> bytes:
    """One CSV line with its end."""
    return (",".join([write(value) for value in values]) + "\r\n").encode()


def row_line(document: Mapping[str, Any], columns: Sequence[str], *, excel: bool = False) -> bytes:
    """A document as one CSV line in these columns; a column it does not have is empty."""
    row = flatten(document)
    return line([row.get(column) for column in columns], excel_cell if excel else cell)


class Rows:
    """Flat rows and CSV lines of documents in fixed columns: what `flatten` and `row_line` give, for the many."""

    __slots__ = ("_groups", "columns")

    def __init__(self, columns: Sequence[str]) -> None:
        self.columns = tuple(columns)
        self._groups = _grouped(self.columns)

    def row(self, document: Mapping[str, Any]) -> dict[str, FlatValue]:
        """The flat row, its columns in order; a column that the document does not have is null."""
        values: list[FlatValue] = []
        for of, names in self._groups:
            get = _part_of(document, of).get
            for name in names:
                value = get(name)
                if value.__class__ is str:
                    values.append(escape(value))
                elif value.__class__ is list:
                    values.append(_joined(value))
                else:
                    values.append(None if value.__class__ is dict else value)
        return dict(zip(self.columns, values, strict=True))

    def line(self, document: Mapping[str, Any], *, excel: bool = False) -> bytes:
        """The CSV line with its end."""
        return (_part(document, self._groups, excel) + "\r\n").encode()


class Table:
    """CSV lines of documents in fixed columns, in two halves: what `row_line` gives, where two cells are known later."""

    __slots__ = ("_after", "_before", "columns")

    def __init__(self, columns: Sequence[str]) -> None:
        self.columns = tuple(columns)
        at = self.columns.index(TAIL_COLUMNS[0])
        self._before = _grouped(self.columns[:at])
        self._after = _grouped(self.columns[at + len(TAIL_COLUMNS) :])

    def halves(self, document: Mapping[str, Any]) -> tuple[bytes, bytes]:
        """The line before and after `seq` and `policy_version`, which are known only when it is told."""
        after = _part(document, self._after)
        return _part(document, self._before).encode(), ("," + after if self._after else "").encode()

    @staticmethod
    def joined(halves: tuple[bytes, bytes], seq: int, policy_version: int, last: bytes = b"") -> bytes:
        """The whole line; `last` goes into its last cell, which is empty so far."""
        return b"%b,%d,%d%b%b\r\n" % (halves[0], seq, policy_version, halves[1], last)


def _part_of(document: Mapping[str, Any], of: str | None) -> Mapping[str, Any]:
    if of is None:
        return document
    inner = document.get(of)
    return inner if isinstance(inner, dict) else _NOTHING


def _part(document: Mapping[str, Any], groups: tuple[tuple[str | None, tuple[str, ...]], ...], excel: bool = False) -> str:
    """The cells of these columns, joined."""
    values: list[Any] = []
    for of, names in groups:
        values += map(_part_of(document, of).get, names)
    texts = [value if value.__class__ is str else "" if value is None else _cell_text(value) for value in values]
    if excel:
        run = [isinstance(value, str | list) and text.startswith(_GUARDED) for value, text in zip(values, texts, strict=True)]
        texts = ["'" + text if guarded else text for guarded, text in zip(run, texts, strict=True)]
    line = _BETWEEN.join(texts)
    # most lines hold nothing to quote or escape: one look at the whole instead of one at each cell
    plain = "," not in line and '"' not in line and "\n" not in line and "\r" not in line
    if not plain or line.count(_BETWEEN) != len(texts) - 1 or not _bars_join(values, texts, line):
        return ",".join([cell(text if value.__class__ is list else escape(text)) for value, text in zip(values, texts, strict=True)])
    return line.replace(_BETWEEN, ",")


def _cell_text(value: Any) -> str:
    """The text of a value that is neither a text nor null; an object has no cell of its own."""
    if value.__class__ is list:
        return (_joined(value) or "") if value else ""
    return "" if value.__class__ is dict else _scalar(value)


def _bars_join(values: Sequence[Any], texts: Sequence[str], line: str) -> bool:
    """Whether every bar of a line joins the items of a list, so that none stands in a text."""
    bars = line.count("|")
    return not bars or bars == sum([text.count("|") for value, text in zip(values, texts, strict=True) if value.__class__ is list])


_CELL = re.compile(rb'(?:^|,)("(?:[^"]|"")*"|[^,"]*)')
"""A cell of a CSV line as it is written."""


class Picked:
    """Of ready CSV lines some cells, as they are written."""

    __slots__ = ("_cut", "_pick", "_to_the_end")

    def __init__(self, columns: Sequence[str], chosen: Sequence[str]) -> None:
        """`columns` are those of the lines, `chosen` some of them in their order."""
        places = [columns.index(name) for name in chosen]
        self._pick: Callable[[Sequence[bytes]], Sequence[bytes]]
        self._pick = itemgetter(*places) if len(places) > 1 else itemgetter(slice(places[0], places[0] + 1))
        self._cut = places[-1] + 1
        """So many cells are cut off: what follows the last that is chosen stays in one piece."""
        self._to_the_end = self._cut == len(columns)

    def lines(self, ready: Sequence[bytes]) -> bytes:
        """The lines of the chosen cells."""
        pick, cut = self._pick, self._cut
        if self._to_the_end:
            ready = [line[:-2] for line in ready]
        if b'"' in b"".join(ready):  # a comma may stand in a cell
            lines = [b",".join(pick(line.split(b",", cut) if b'"' not in line else _CELL.findall(line))) for line in ready]
        else:
            lines = [b",".join(pick(line.split(b",", cut))) for line in ready]
        return b"\r\n".join([*lines, b""])


_BETWEEN = "\x1f"
_NOTHING: Mapping[str, Any] = {}
_OBJECTS = ("subject", "source", "fields", "treatments", "record_counts")


def place_of(column: str) -> tuple[str | None, str]:
    """Where the value of a column stands in a document: the object that it is in, if it is in one, and its key."""
    of = next((name for name in _OBJECTS if column.startswith(name + "_")), None)
    return of, column if of is None else column[len(of) + 1 :]


@lru_cache(maxsize=1024)
def _grouped(columns: tuple[str, ...]) -> tuple[tuple[str | None, tuple[str, ...]], ...]:
    """Columns that follow each other and stand in one object of the document, together."""
    groups: list[tuple[str | None, list[str]]] = []
    for column in columns:
        of, name = place_of(column)
        if not groups or groups[-1][0] != of:
            groups.append((of, []))
        groups[-1][1].append(name)
    return tuple((of, tuple(names)) for of, names in groups)

"""Flat rows and CSV: lossless, one rule for all formats, and the quick way equals the plain one."""

import csv
import io
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.core.publication import flat

TEXT = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\x00\x1f"), max_size=12)
VALUE = st.one_of(st.none(), TEXT.filter(bool), st.integers(-5, 5), st.booleans())
FIELDS = ("fine_amount", "facts", "violation_type")
COLUMNS = flat.record_columns(shown=("name", "uscc", "document_number", "severity", *FIELDS), treated=("facts",))


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """Record documents with whatever a text may hold."""
    return {
        "id": "rec_a",
        "dataset": "d",
        "kind": "penalty",
        "kind_label": draw(TEXT.filter(bool)),
        "subject": {
            "id": "sub_a",
            "uscc": draw(VALUE),
            "name": draw(VALUE),
            "kind": "enterprise",
            "kind_label": "企业",
            "uri": "http://h/x",
        },
        "document_number": draw(VALUE),
        "severity": draw(VALUE),
        "severity_label": None,
        "region": "220502",
        "region_label": "东昌区",
        "published_from": "2026-03-09",
        "publish_until": None,
        "period_rule": "x",
        "basis": [{"text": draw(TEXT.filter(bool)), "uri": None} for _ in range(draw(st.integers(0, 3)))],
        "source": {"name": draw(VALUE), "uscc": None, "received_at": "2026-03-06T02:11:00Z"},
        "marks": [{"code": "corrected", "label": "已更正", "since": None}] * draw(st.integers(0, 2)),
        "fields": {name: draw(VALUE) for name in FIELDS},
        "treatments": {"facts": "redact"},
        "seq": 7,
        "policy_version": 3,
        "links": {"self": "http://h/y"},
    }


@given(documents())
def test_the_quick_line_equals_the_plain_one(document: dict[str, Any]) -> None:
    """A prerendered line is byte for byte what the one rule gives."""
    table = flat.Table(COLUMNS)
    assert table.joined(table.halves(document), 7, 3) == flat.row_line(document, COLUMNS)


@given(documents(), st.booleans())
def test_rows_and_lines_of_the_many_equal_the_plain_ones(document: dict[str, Any], excel: bool) -> None:
    """What is made quickly of fixed columns is the flat row, and its line, whatever a text holds; a missing object is empty cells."""
    for shown in (document, {key: value for key, value in document.items() if key not in ("source", "fields")} | {"subject": None}):
        rows = flat.Rows(COLUMNS)
        plain = flat.flatten(shown)
        assert list(rows.row(shown).items()) == [(column, plain.get(column)) for column in COLUMNS]
        assert rows.line(shown, excel=excel) == flat.row_line(shown, COLUMNS, excel=excel)


@given(documents(), st.lists(st.sampled_from(COLUMNS), unique=True, min_size=1))
def test_cells_are_picked_as_they_are_written(document: dict[str, Any], chosen: list[str]) -> None:
    """Of a ready line, quoted cells and all, the chosen cells are those that a line of these columns alone has."""
    chosen.sort(key=COLUMNS.index)
    ready, plain = flat.row_line(document, COLUMNS), flat.row_line(document, chosen)
    assert flat.Picked(COLUMNS, chosen).lines([ready, ready]) == plain + plain


@given(documents())
def test_a_line_reads_back_as_the_flat_row(document: dict[str, Any]) -> None:
    """CSV is lossless for the flat row: an empty cell is null, everything else its text."""
    row = flat.flatten(document)
    data = flat.line(COLUMNS) + flat.row_line(document, COLUMNS)
    assert data.endswith(b"\r\n")
    (read,) = csv.DictReader(io.StringIO(data.decode(), newline=""))
    for column in COLUMNS:
        value = row.get(column)
        assert read[column] == ("" if value is None else flat._scalar(value)), column


def test_the_rule_of_flattening() -> None:
    """Objects join with `_`, codes with `|`, bars inside values are escaped, links are left out."""
    row = flat.flatten(
        {
            "id": "x",
            "subject": {"uscc": "c"},
            "marks": [{"code": "a"}, {"code": "b|c"}],
            "basis": [{"text": "t"}],
            "former_names": ["m|n", "o"],
            "note": "p|q",
            "none": [],
            "yes": True,
            "links": {"self": "u"},
            "notice": {"code": "n"},
        }
    )
    assert row == {
        "id": "x",
        "subject_uscc": "c",
        "marks": r"a|b\|c",
        "basis": "t",
        "former_names": r"m\|n|o",
        "note": r"p\|q",
        "none": None,
        "yes": True,
    }


def test_columns_follow_the_plan() -> None:
    """A hidden envelope value has no column; fields come last, in the order given."""
    assert "severity" in COLUMNS
    assert "decision_date" not in COLUMNS
    assert COLUMNS[-3:] == tuple(f"fields_{name}" for name in FIELDS)
    assert COLUMNS.index("treatments_facts") < COLUMNS.index("seq") < COLUMNS.index("fields_facts")


def test_cells_for_a_spreadsheet_are_guarded() -> None:
    """What would run as a formula, also in full width, gets an apostrophe; numbers stay numbers."""
    for text in ("=1", "+1", "-1", "@x", "\tx", "\rx", "＝1", "＋1", "－1", "＠x"):
        assert flat.excel_cell(text).lstrip('"').startswith("'")
        assert not flat.cell(text).lstrip('"').startswith("'")
    assert flat.excel_cell(-1) == "-1"
    assert flat.excel_cell("a=b") == "a=b"

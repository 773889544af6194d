"""What is read of one row beside another, and what a column remembers of cells: never so that a row reads otherwise."""

from collections.abc import Mapping
from datetime import date

import pytest

from gateway.adapter_contract import SourceRecord
from gateway.core.errors import RowFault
from gateway.core.records.catalogue import Catalogue
from gateway.core.records.columns import MOST_LIVES, Door, Notes
from gateway.core.records.intake import IntakeContext, _dates, intake_all
from gateway.core.records.model import Admitted, DatasetId, Value
from gateway.core.records.reading import read_rows
from gateway.core.records.sealed import is_sealed
from tests.core.records.conftest import AUTHORITIES, BASE, FIRM, HOUSEHOLD, NOW, PERSON, SENDER


def read(row: Mapping[str, Value], door: Door) -> tuple[list[tuple[str, Value]], Notes]:
    """Values in their order and holds of one row; of a rejected one why."""
    try:
        rows = read_rows([row], door)
    except RowFault as fault:
        return [], [(fault.code, fault.field)]
    if rows.faults:
        return [], [(rows.faults[0].code, rows.faults[0].field)]
    return list(rows.values[0].items()), rows.holds.get(0, [])


def remembered(door: Door) -> dict[str, dict[str, Value]]:
    """What each column remembers, by field."""
    return {column.name: column.known for column in door.columns if column.known}


@pytest.mark.parametrize("dataset", sorted(BASE))
def test_a_row_reads_the_same_again(dataset: str, catalogue: Catalogue) -> None:
    """Behind rows that were read, each row has the values, their order and the holds that it has before the eyes of a new door."""
    described = catalogue.datasets[DatasetId(dataset)]
    good = BASE[dataset]
    rows: list[dict[str, Value]] = [dict(good)]
    rows += [{**good, name: f"　{cell} "} for name, cell in good.items() if isinstance(cell, str)]
    rows += [{**good, name: cell} for name in good for cell in ("", None, "其他-示例", "不明", "2026年5月6日")]
    old = Door(described)
    for row in [*rows, *rows]:
        assert read(row, old) == read(row, Door(described))
    assert remembered(old)


def judged(outcome: Admitted | RowFault) -> object:
    """What intake said of a row, as it can be compared."""
    if isinstance(outcome, RowFault):
        return outcome.code, outcome.detail, outcome.field, outcome.place, outcome.hint
    said = {name: getattr(outcome, name) for name in outcome.__struct_fields__ if name != "values"}
    return said, list(outcome.values.open().items())


ODD_CELLS: tuple[Value, ...] = (
    "", None, " 示例\u200b", "\x00", "其他-示例", "罚款、警告", "不明", "2026年5月6日", "2031-13-01", "无", True, 1, "1.25", "长" * 6000,
    "本人年收入3万元", "信 仰 佛 教", "ＤＮＡ序列：示例", f"号{PERSON}", PERSON, FIRM, HOUSEHOLD, "自然人", "个体工商户",
)  # fmt: skip


@pytest.mark.parametrize("issuer", [None, "credit.example"])
@pytest.mark.parametrize("dataset", sorted(BASE))
def test_rows_together_are_judged_as_alone(dataset: str, issuer: str | None, catalogue: Catalogue) -> None:
    """Read column by column with any others, each row has the values, holds, warnings or fault that it has alone, in the same order."""
    described = catalogue.datasets[DatasetId(dataset)]
    good = BASE[dataset]
    rows: list[dict[str, Value]] = [{**good, name: cell} for name in good for cell in ODD_CELLS]
    rows += [{**good, first: "", second: "不明"} for first in good for second in good if first != second]
    rows += [{**good, "血型": "A"}, {**good, "示例列": ""}, {name: good[name] for name in reversed(good)}, {}]
    sender = SENDER if issuer is None else None
    context = IntakeContext(
        dataset=described, authorities=AUTHORITIES, sender=sender, officer=sender, demo=True, now=NOW, region="220500", issuer=issuer
    )
    sources = [
        SourceRecord(dataset=dataset, record_id=None, op=op, as_of=NOW, fields=row, place=f"file.csv!R{number}")
        for number, row in enumerate(rows)
        for op in ("upsert", "withdraw")
    ]
    together = [judged(outcome) for outcome in intake_all(sources, context)]
    assert together == [judged(intake_all([source], context)[0]) for source in sources]


@pytest.mark.parametrize("dataset", sorted(BASE))
def test_nothing_of_persons_is_remembered(dataset: str, catalogue: Catalogue) -> None:
    """No cell stays in memory of a column that is sealed for anybody, nor of one by which subjects or records are told apart."""
    described = catalogue.datasets[DatasetId(dataset)]
    door = Door(described)
    read(BASE[dataset], door)
    for name in remembered(door):
        assert not any(is_sealed(described.fields[name], kind) for kind in described.subject_kinds)
        assert name not in {"name", "uscc", "reg_no", *described.business_key}


@pytest.mark.parametrize("dataset", sorted(BASE))
def test_no_text_is_remembered(dataset: str, catalogue: Catalogue) -> None:
    """What somebody wrote would outlive its erasure: only days, divisions, truths and words of closed lists stay."""
    described = catalogue.datasets[DatasetId(dataset)]
    door = Door(described)
    for row in (BASE[dataset], {name: f"{cell}示例" for name, cell in BASE[dataset].items()}):
        read(row, door)
    for name, known in remembered(door).items():
        field = described.fields[name]
        assert field.type in ("enum", "bool", "date", "division")
        if field.type == "enum":
            assert {str(value) for value in known.values()} <= set(field.values)


def test_memory_has_an_end(catalogue: Catalogue) -> None:
    """However many cells come, a column remembers a few hundred, and what comes later is read all the same."""
    door = Door(catalogue.datasets[DatasetId("administrative-penalties")])
    good = BASE["administrative-penalties"]
    for number in range(1000):
        day = f"{1900 + number // 28}-01-{number % 28 + 1:02}"
        values = dict(read({**good, "decision_date": day}, door)[0])
        assert values["decision_date"] == day
        assert _dates(values, door).decision == date.fromisoformat(day)
    assert max(map(len, remembered(door).values())) <= 256
    assert len(door.lives) <= MOST_LIVES


@pytest.mark.parametrize("dataset", sorted(BASE))
def test_an_empty_cell_reads_as_one_that_is_not_there(dataset: str, catalogue: Catalogue) -> None:
    """Rows of a partner with a null for each field that they do not have, so that all have the same columns, read as without these."""
    described = catalogue.datasets[DatasetId(dataset)]
    good = BASE[dataset]
    wires = [field.wire_name for field in described.fields.values()]
    context = IntakeContext(dataset=described, authorities={}, demo=True, now=NOW, region="220500", issuer="credit.example")

    def said(*, nulls: bool) -> list[object]:
        rows = [{**good, first: "其他-示例", second: None} for first in good for second in good if first != second]
        shown = [{name: row.get(name) for name in wires if nulls or row.get(name) is not None} for row in rows]
        sources = [
            SourceRecord(dataset=dataset, record_id=None, as_of=NOW, fields=row, place=str(number)) for number, row in enumerate(shown)
        ]
        return [judged(each) for each in intake_all(sources, context)]

    assert said(nulls=True) == said(nulls=False)

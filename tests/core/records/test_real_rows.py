"""Real rows beside the checkout go through intake as they stand; nothing of them is stored here, counts least of all."""

import csv
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from gateway.core.errors import RowFault
from gateway.core.records.catalogue import Catalogue
from gateway.core.records.divisions import division
from gateway.core.records.headers import header_map, normalise_header
from gateway.core.records.identifiers import check_uscc
from gateway.core.records.model import Admitted, DatasetId

Admit = Callable[..., Admitted]
VOUCHED = {"sender": None, "officer": None, "demo": False}


def rows(path: Path) -> Iterator[dict[str, str]]:
    """The rows of a CSV file by header."""
    with path.open(encoding="utf-8-sig", newline="") as stream:
        yield from csv.DictReader(stream)


@pytest.mark.parametrize("file", ["enterprises_tonghua.csv", "enterprises_jilin_other.csv"])
def test_registry_rows(admit: Admit, shared_data: Path, catalogue: Catalogue, file: str) -> None:
    """Every registry row comes in with its values, but for those with a wrong code; an unknown region is a note."""
    headers = header_map(catalogue.datasets[DatasetId("registrations")])
    faults: list[tuple[str, str | None, bool]] = []
    names = set()
    for row in rows(shared_data / file):
        try:
            admitted = admit("registrations", raw=dict(row), context=VOUCHED)
        except RowFault as fault:
            faults.append((fault.code, fault.field, check_uscc(row["统一社会信用代码"]).valid))
            continue
        assert check_uscc(row["统一社会信用代码"]).valid
        values = admitted.values.open()
        assert (admitted.kind, admitted.hold_code, admitted.trust) == ("legal", None, "vouched")
        assert {code for code, _ in admitted.warnings} <= {"REGION_UNKNOWN", "SUBJ_USCC_INNER"}
        given = {headers[normalise_header(header)]: cell.strip() for header, cell in row.items()}
        for name, cell in given.items():
            if cell in ("", "N/A"):
                assert name not in values
            elif name in ("registered_capital", "established_on", "province", "area"):
                assert values[name] == cell
        names.add(values["name"])
    assert names
    assert set(faults) <= {("SUBJ_USCC", "TYSHXYDM", False)}


PENALTY_COLUMNS = {
    "行政相对人名称": "行政相对人名称",
    "行政处罚决定书文号": "行政处罚决定书文号",
    "处罚机关": "处罚机关",
    "处罚决定日期": "处罚决定日期",
    "公示日期": "公示日期",
    "违法行为/事由(raw)": "违法事实",
    "处罚依据(raw)": "处罚依据",
    "处罚内容(raw)": "处罚内容",
    "罚款金额(source)": "罚款金额",
}


def test_penalty_decisions_as_they_stand(admit: Admit, shared_data: Path) -> None:
    """Real decisions lack codes and more: each is rejected for what it lacks or for an amount that is no number; nothing is filled in."""
    for row in rows(shared_data / "cn_mainland_penalties_real.csv"):
        cells = {ours: row[theirs] for theirs, ours in PENALTY_COLUMNS.items()}
        with pytest.raises(RowFault) as caught:
            admit(raw=cells, context=VOUCHED)
        told = (caught.value.code, caught.value.field)
        assert told == (("SCHEMA_TYPE", "CF_NR_FK") if "万元" in cells["罚款金额"] else ("SCHEMA_MISSING", "CF_XDR_MC"))


def test_penalty_decisions_without_an_identity(admit: Admit, shared_data: Path) -> None:
    """With everything given but a code of the subject, the identity is what is missing."""
    for row in rows(shared_data / "cn_mainland_penalties_real.csv"):
        with pytest.raises(RowFault) as caught:
            admit(**_texts(row), uscc=None)
        assert caught.value.code == "SUBJ_MISSING"


def test_texts_of_real_decisions_on_invented_companies(admit: Admit, shared_data: Path) -> None:
    """Their numbers, facts, grounds and contents are accepted word for word when an invented firm stands behind them."""
    keys = set()
    for row in rows(shared_data / "cn_mainland_penalties_real.csv"):
        texts = _texts(row)
        admitted = admit(**texts)
        assert admitted.hold_code is None
        values = admitted.values.open()
        assert all(values[name] == text for name, text in texts.items() if name != "decision_date")
        keys.add(admitted.business_key)
    assert len(keys) == sum(1 for _ in rows(shared_data / "cn_mainland_penalties_real.csv"))


def _texts(row: dict[str, str]) -> dict[str, Any]:
    """The texts of one decision; where it has none, the row's own stay."""
    texts = {
        "document_number": row["行政处罚决定书文号"],
        "facts": row["违法行为/事由(raw)"],
        "legal_basis": row["处罚依据(raw)"],
        "content": row["处罚内容(raw)"],
        "decision_date": row["处罚决定日期"],
    }
    return {name: text for name, text in texts.items() if text.strip()}


def test_current_divisions(shared_data: Path) -> None:
    """Every division of the table of 2023 is known on its day, under its name."""
    for row in rows(shared_data / "cn_divisions_2023_areas.csv"):
        found = division(row["code"], date(2023, 6, 30))
        assert found is not None
        assert found.name == row["name"]

"""Real rows for tests only: read from the folder of shared data where there is one, and stored nowhere in the project."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import pytest


@pytest.fixture
def registers(shared_data: Path) -> tuple[Path, Path]:
    """The register extracts of Tonghua and of the other cities of Jilin."""
    return shared_data / "enterprises_tonghua.csv", shared_data / "enterprises_jilin_other.csv"


@pytest.fixture
def decisions(shared_data: Path) -> list[dict[str, str]]:
    """Real penalty decisions, as they stand."""
    return read_rows(shared_data / "cn_mainland_penalties_real.csv")


@pytest.fixture
def snapshots(shared_data: Path) -> list[Path]:
    """The monthly lists, oldest first."""
    return sorted((shared_data / "jp_labour_publications").glob("*.tsv"))


def read_rows(path: Path) -> list[dict[str, str]]:
    """A CSV file as its header names its columns."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def write_rows(path: Path, rows: Sequence[Sequence[str]]) -> Path:
    """A CSV file under the test's own folder."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    path.write_text(text.getvalue(), encoding="utf-8")
    return path

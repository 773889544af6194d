"""Figures of quality: filled from real counts, and saying nothing of a few."""

from datetime import date

import pytest

from gateway.core.publication.quality import Figures, quality_document


def told(taken: int, rejected: dict[str, int]) -> dict[str, object]:
    """What is told of so many rows."""
    figures = Figures(rows=1, objections=0, received=None, sample=(), taken=taken, rejected=rejected, late=0)
    return quality_document(figures, columns=(), today=date(2026, 6, 1), target=None, min_k=5)


@pytest.mark.parametrize(
    ("taken", "rejected", "validity", "kind"),
    [
        (100, {}, 1.0, "rounded"),
        (100, {"A": 7, "B": 4}, 0.909, "rounded"),
        (0, {"A": 7}, 0.0, "rounded"),
        (100, {"A": 1}, 0.962, "at_least"),
        (104, {"A": 4}, 0.962, "at_least"),
        (4, {}, None, None),
        (0, {}, None, None),
    ],
)
def test_validity_is_the_share_of_rows_taken(taken: int, rejected: dict[str, int], validity: float | None, kind: str | None) -> None:
    """It is there wherever enough rows came; where few were rejected it is the least that it may be, whatever their number."""
    said = told(taken, rejected)
    assert (said["validity"], said["validity_kind"]) == (validity, kind)


def test_rejected_rows_are_told_by_what_was_wrong() -> None:
    """Each code with a rounded number, few of a code with none; the sum is told on its own."""
    said = told(100, {"B": 12, "A": 3, "C": 0})
    assert said["rows_rejected_by"] == {"A": None, "B": 10}
    assert said["rows_rejected"] == 15
    assert told(100, {})["rows_rejected_by"] == {}


def test_one_row_more_or_less_moves_nothing() -> None:
    """Within a step of five neither what was taken nor what was rejected can be told apart."""
    assert len({str(told(taken, {"A": rejected})) for taken in range(100, 105) for rejected in range(5, 10)}) == 1
    assert len({str(told(taken, {"A": rejected})) for taken in range(100, 105) for rejected in range(1, 5)}) == 1

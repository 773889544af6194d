"""The Chinese working-day calendar."""

from datetime import date

import pytest

from gateway.core.errors import RowFault
from gateway.core.records.workdays import add_working_days, is_working_day


def test_holidays_and_worked_weekends() -> None:
    """National Day is free, and the weekend worked in exchange for it is not."""
    assert not is_working_day(date(2025, 10, 1))
    assert not is_working_day(date(2025, 10, 8))
    assert is_working_day(date(2025, 10, 11))  # a Saturday
    assert is_working_day(date(2025, 9, 28))  # a Sunday
    assert not is_working_day(date(2026, 5, 30))
    assert is_working_day(date(2026, 6, 1))


@pytest.mark.parametrize(
    ("start", "days", "expected"),
    [
        (date(2025, 9, 30), 1, date(2025, 10, 9)),
        (date(2025, 9, 30), 3, date(2025, 10, 11)),
        (date(2026, 6, 1), 7, date(2026, 6, 10)),
        (date(2026, 6, 1), 0, date(2026, 6, 1)),
        (date(2026, 6, 5), 1, date(2026, 6, 8)),
    ],
)
def test_adding_working_days(start: date, days: int, expected: date) -> None:
    """The day itself does not count; holidays are stepped over, worked Saturdays count."""
    assert add_working_days(start, days) == expected


def test_a_year_without_table_is_held() -> None:
    """A year whose holidays are not published is held, never guessed."""
    with pytest.raises(RowFault) as caught:
        add_working_days(date(2099, 1, 1), 3)
    assert (caught.value.code, caught.value.severity) == ("LAW_PERIOD", "hold")
    with pytest.raises(RowFault):
        is_working_day(date(2003, 12, 31))


def test_only_forwards() -> None:
    """Clocks of law run forwards."""
    with pytest.raises(ValueError, match="forwards"):
        add_working_days(date(2026, 6, 1), -1)

"""Chinese working days: weekdays without the State Council's holidays, plus the weekends worked in exchange (调休).

The table comes year by year with the package chinesecalendar (2004 to 2026 so far). A year that it does not know is held, never
guessed. This room must not know what the clocks are for: see `periods.py` and the operations.
"""

from datetime import date, timedelta

from gateway.core.errors import RowFault

_DAY = timedelta(days=1)


def is_working_day(day: date) -> bool:
    """Whether offices work on that day.

    Raises RowFault LAW_PERIOD (hold) for a year without a published holiday table.
    """
    # imported on first use: the tables are large and most commands never ask
    import chinese_calendar

    try:
        return bool(chinese_calendar.is_workday(day))
    except NotImplementedError:
        raise RowFault(
            "LAW_PERIOD", f"没有{day.year}年的放假安排", severity="hold", hint="国务院办公厅公布后更新 chinesecalendar"
        ) from None


def add_working_days(day: date, n: int) -> date:
    """The n-th working day after a day; the day itself does not count, and n = 0 gives it back.

    Raises RowFault LAW_PERIOD (hold) when the count runs into a year without a table.
    """
    if n < 0:
        raise ValueError("working days are counted forwards")
    while n:
        day += _DAY
        n -= is_working_day(day)
    return day

"""How good the data of one source are, in figures that betray nothing (api.md §7.14).

What each figure may tell, and why it may be told:
- completeness, timeliness, objections: of shown rows alone, organisations only; whoever downloads the dataset can count them.
- freshness: the day of the latest delivery of a source. That a department delivered is no secret of anybody's; the day, not the second.
- validity, rejected rows by the code of what was wrong: of whole files of many days. A rejected row may be about a person, so each number,
  also that of the rows taken, is rounded down to fives, and withheld below the smallest count that is told. Validity follows from what is
  told, never from what is withheld: where few were rejected it is the least that it may be, and says so.
- late removals: a duty of this house. None is told as 0; few are withheld, for a single one might be put to a date and a name.
This room must not read a record.
"""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from msgspec import Struct

from gateway.core.disclosure.counts import told_count
from gateway.core.errors import RowFault
from gateway.core.records.workdays import add_working_days

WORKING_DAYS = 7
"""Within how many of them a decision is to be published (double publicity)."""


class Figures(Struct, frozen=True, kw_only=True):
    """What was counted of one source."""

    rows: int
    objections: int
    received: date | None
    """Day of the latest delivery."""
    sample: Sequence[Mapping[str, Any]]
    """Shown documents that stand for the whole."""
    taken: int
    rejected: Mapping[str, int]
    """By code."""
    late: int


def quality_document(figures: Figures, *, columns: Sequence[str], today: date, target: str | None, min_k: int) -> dict[str, Any]:
    """The figures as they are told; `columns`: dotted names of what is shown."""
    rejected, late = _told(sum(figures.rejected.values()), min_k), _told(figures.late, min_k)
    validity, kind = _validity(_told(figures.taken, min_k), rejected, min_k)
    return {
        "rows": figures.rows,
        "freshness": freshness(figures.received, today=today, target=target),
        "completeness": {name: _share([_at(each, name) is not None for each in figures.sample]) for name in columns},
        "validity": validity,
        "validity_kind": kind,
        "timeliness": {f"within_{WORKING_DAYS}_working_days": _share(_in_time(figures.sample))},
        "late_removals": late,
        "open_objections": figures.objections,
        "rows_rejected": rejected,
        "rows_rejected_by": {code: _told(number, min_k) for code, number in sorted(figures.rejected.items()) if number},
    }


def freshness(received: date | None, *, today: date, target: str | None) -> dict[str, Any]:
    """How old the latest delivery is, and whether that is older than it should be; null: not known, or no target."""
    age = None if received is None else max(0, (today - received).days)
    late = None if age is None or target is None else age > int(target[1:-1])
    return {"target": target, "age": None if age is None else f"P{age}D", "breached": late}


def _told(number: int, min_k: int) -> int | None:
    if number == 0:
        return 0
    told: int | None = told_count(number, min_k)["value"]
    return told


def _validity(taken: int | None, rejected: int | None, min_k: int) -> tuple[float | None, str | None]:
    """The share of rows that were taken in, and how exactly that is known; nothing where too few came at all."""
    if taken is None or (taken == 0 and not rejected):
        return None, None
    if rejected is None:  # at least one was, and fewer than are told
        return round(taken / (taken + min_k - 1), 3), "at_least"
    return round(taken / (taken + rejected), 3), "rounded"


def _share(true: Sequence[bool]) -> float | None:
    return round(sum(true) / len(true), 3) if true else None


def _at(document: Mapping[str, Any], name: str) -> Any:
    value: Any = document
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _in_time(sample: Sequence[Mapping[str, Any]]) -> list[bool]:
    """Of each row with a decision whether it came in time; a year without a table of holidays is left out, not guessed."""
    found: list[bool] = []
    deadlines: dict[str, date | None] = {}
    for each in sample:
        decided, received = each.get("decision_date"), _at(each, "source.received_at")
        if not isinstance(decided, str) or not isinstance(received, str):
            continue
        if decided not in deadlines:
            deadlines[decided] = _deadline(decided)
        deadline = deadlines[decided]
        if deadline is not None:
            found.append(day_of(received) <= deadline)
    return found


def _deadline(decided: str) -> date | None:
    try:
        return add_working_days(date.fromisoformat(decided), WORKING_DAYS)
    except RowFault:
        return None


def day_of(instant: str) -> date:
    """The day of law of an instant (RFC 3339, UTC)."""
    return date.fromisoformat(instant[:10]) + timedelta(days=int(instant[11:13]) >= 16)

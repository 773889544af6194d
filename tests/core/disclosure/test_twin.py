"""The synthetic twin: deterministic records of nobody, worst cases included, through real views."""

from datetime import date

import pytest

from gateway.core.disclosure.synthetic import noon
from gateway.core.disclosure.twin import TWIN_CASES, Twin, twins
from gateway.core.disclosure.views import FAILED, View, closed_gate, view
from gateway.core.records.identifiers import parse_citizen_id, uscc_is_valid
from gateway.core.records.model import SubjectKind
from tests.core.disclosure.making import NOW, PENALTIES, PUBLIC, TODAY, plan_of, shipped


def the(case: str, kind: SubjectKind = "legal", at: date = TODAY) -> Twin:
    """One case of the penalties' twin."""
    return next(twin for twin in twins(shipped(), PENALTIES, kind, at, "publication") if twin.case == case)


def seen(case: str, kind: SubjectKind = "legal", at: date = TODAY) -> View | None:
    """How the public sees a case."""
    return view(the(case, kind, at).record, plan_of(PENALTIES, *PUBLIC, kind), shipped(), noon(at))


def test_it_is_always_the_same() -> None:
    """Two makings of a day are equal, value for value."""
    one, other = (
        [(twin.case, twin.record.record_id, twin.record.raw.open()) for twin in twins(shipped(), PENALTIES, "legal", TODAY, "publication")]
        for _ in range(2)
    )
    assert one == other


def test_every_case_is_made() -> None:
    """All of them for persons; for bodies all but the minor."""
    assert [twin.case for twin in twins(shipped(), PENALTIES, "natural", TODAY, "sharing")] == list(TWIN_CASES)
    assert {twin.case for twin in twins(shipped(), PENALTIES, "legal", TODAY, "sharing")} == set(TWIN_CASES) - {"minor"}


def test_nobody_is_meant() -> None:
    """Codes are of the series that is not issued, citizen numbers of the division that does not exist; both check."""
    firm, person = the("ordinary").record.raw.open(), the("ordinary", "natural").record.raw.open()
    assert "XXT" in str(firm["uscc"])
    assert uscc_is_valid(str(firm["uscc"]))
    assert str(person["id_no"]).startswith("220599")
    assert parse_citizen_id(str(person["id_no"]), demo=True, today=TODAY)


@pytest.mark.parametrize("at", [TODAY, date(2028, 2, 29), date(2026, 12, 31), date(2027, 1, 1)])
def test_the_last_day_of_the_period(at: date) -> None:
    """It is shown on that day, with that day as its end; what ended the day before is closed."""
    last = seen("last_day", at=at)
    assert last is not None
    assert last.publish_until == at
    assert seen("day_after", at=at) is None


def test_the_worst_values_show_nothing_more() -> None:
    """One character gives stars or nothing, an odd shape nothing, and no treatment breaks."""
    plan = plan_of(PENALTIES, *PUBLIC, "individual_business")
    for twin in twins(shipped(), PENALTIES, "individual_business", TODAY, "publication"):
        made = view(twin.record, plan, shipped(), noon(TODAY), None)
        if made is None:
            assert twin.case in ("day_after", "leap_day")
            continue
        raw = twin.record.raw.open()
        assert made.fields["name"] != raw["name"]
        assert made.fields.get("uscc") != raw["uscc"]
        assert FAILED not in made.treatments.values()
    odd, short = seen("odd_shapes", "individual_business"), seen("one_character", "individual_business")
    assert odd is not None
    assert short is not None
    assert "uscc" not in short.fields


def test_the_flags() -> None:
    """An objection is marked; a minor is closed."""
    disputed = seen("disputed")
    assert disputed is not None
    assert [mark.code for mark in disputed.marks] == ["objection_in_progress"]
    department = shipped().plan_set(PENALTIES, "department", "dept.supervision")
    assert department is not None
    minor = next(twin for twin in twins(shipped(), PENALTIES, "natural", TODAY, "sharing") if twin.case == "minor")
    assert closed_gate(minor.record, department.plans["natural"], shipped(), NOW) == "minor"


def test_every_shipped_plan_shows_its_ordinary_twin() -> None:
    """What the definitions of the fields make is a record that the gates let through, and no treatment fails on it."""
    for held in shipped().plan_sets.values():
        for kind, plan in held.plans.items():
            clock = "sharing" if plan.gate.period == "sharing" else "publication"
            for twin in twins(shipped(), held.dataset, kind, TODAY, clock):  # type: ignore[arg-type]  # one of the two clocks
                closed = closed_gate(twin.record, plan, shipped(), noon(TODAY))
                assert closed != "failed"
                if twin.case == "ordinary":
                    assert closed is None, (held.dataset, held.tier, kind)

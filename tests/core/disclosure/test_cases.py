"""Policy tests: cases are read strictly, run through real views and the real planner, and what none looks at is named."""

from collections.abc import Mapping

import pytest

from gateway.core.disclosure.cases import Case, CaseResult, coverage, read_cases, run_case
from gateway.core.disclosure.policy import check_policies
from gateway.core.errors import PolicyError
from tests.core.disclosure.making import TODAY
from tests.core.disclosure.small import small, small_files

CASES = "tests/notices.toml"
FIRM = "tests/fixtures/firm.toml"


def bent(path: str, *changes: tuple[str, str]) -> dict[str, bytes]:
    """The small folder with some text of one file replaced."""
    files = small_files()
    text = files[path].decode()
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    return files | {path: text.encode()}


def ran(files: Mapping[str, bytes]) -> list[CaseResult]:
    """How the cases of these files come out under the small policy."""
    return [run_case(small(), case, TODAY) for case in read_cases(files)]


def test_the_cases_of_the_small_folder_hold() -> None:
    """Expected values, absences and refused questions are as written."""
    results = ran(small_files())
    assert len(results) == 5
    assert all(result.ok for result in results), results


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ((('2205",', '220502",'),), "region: expected 220502, shown 2205"),
        ((('uscc = "91220502XXT00002X2"', 'uscc = "ABSENT"'),), "uscc: expected ABSENT, shown 91220502XXT00002X2"),
        ((('id_no = "ABSENT"', 'id_no = "220599****"'),), "id_no: expected 220599****, shown ABSENT"),
        ((('"filter:id_no"', '"filter:uscc"'),), "filter:uscc: not refused"),
        ((('"sort:region"', '"sort:fine"'),), "sort:fine: not refused"),
        ((('"search:remark"', '"search:facts"'),), "search:facts: not refused"),
        ((('"search:remark"', '"export:name"'),), "export:name: not refused"),
    ],
)
def test_a_case_that_does_not_hold_says_why(changes: tuple[tuple[str, str], ...], told: str) -> None:
    """One line a difference, with what was expected and what is shown."""
    failed = [result for result in ran(bent(CASES, *changes)) if not result.ok]
    assert [result.failures for result in failed] == [(told,)]
    assert failed[0].line == 2


def test_a_closed_row_shows_nothing() -> None:
    """Each flag of a record closes its gate, and the gate is named."""
    for flag, gate in (("minor", "minor"), ("sealed", "sealed"), ("repaired", "repaired"), ("held", "held"), ("expired", "publication")):
        first = ran(bent(FIRM, ("flags = []", f'flags = ["{flag}"]')))[0]
        assert not first.ok
        assert f"(the row is closed: {gate})" in first.failures[0]
    assert ran(bent(FIRM, ("flags = []", 'flags = ["disputed"]')))[0].ok


def test_the_day_of_a_case_decides() -> None:
    """After its publication period nothing is shown, whatever today is."""
    later = ran(bent(CASES, ("at = 2026-06-01", "at = 2036-06-01")))[0]
    assert "(the row is closed: publication)" in later.failures[0]


@pytest.mark.parametrize(
    ("path", "change", "code", "line"),
    [
        (CASES, ("refused =", "refuse ="), "policy-parse", 7),
        (CASES, ('"filter:id_no"', '"peek:id_no"'), "policy-parse", 7),
        (CASES, ('"fixtures/firm.toml"', '"fixtures/nobody.toml"'), "policy-S10", 4),
        (CASES, ('"fixtures/firm.toml"', '"../../firm.toml"'), "policy-parse", 4),
        (CASES, ('dataset = "notices"', 'dataset = "notes"'), "policy-S10", 2),
        (CASES, ('tier = "public"', 'tier = "king"'), "policy-S10", 2),
        (CASES, ('purpose = "open.read"', 'purpose = "curiosity"'), "policy-S10", 2),
        (CASES, ("remark =", "remarks ="), "policy-S10", 2),
        (CASES, ('fine = "1.2"', "fine = 1.2"), "policy-parse", 6),
        (FIRM, ("flags = []", 'flags = ["tall"]'), "policy-parse", 1),
        (FIRM, ('kind = "legal"', 'kind = "cat"'), "policy-parse", 1),
        (FIRM, ("remark =", "remarks ="), "policy-S10", 2),
    ],
)
def test_cases_are_read_strictly(path: str, change: tuple[str, str], code: str, line: int) -> None:
    """What is not understood is refused with file and line, also where the version is checked as a whole."""
    with pytest.raises(PolicyError) as refused:
        found = check_policies(bent(path, change), version=1, today=TODAY)
        assert found.policies is None
        raise found.errors[0]
    assert refused.value.code == code
    assert (refused.value.file, refused.value.line) == (CASES if code == "policy-S10" else path, line)


def test_a_fixture_that_no_case_uses_is_refused() -> None:
    """It would look tested."""
    with pytest.raises(PolicyError, match="no case uses this fixture"):
        read_cases(small_files() | {"tests/fixtures/other.toml": small_files()[FIRM]})


def cases(*wanted: int) -> tuple[Case, ...]:
    """Some of the cases."""
    held = read_cases(small_files())
    return tuple(held[number] for number in wanted)


def test_coverage_names_what_no_case_looks_at() -> None:
    """A rule without a case, and a class of a tier that no case expects a field of."""
    policies = small()
    assert coverage(policies, cases(0, 1, 2, 3, 4)).whole
    without = coverage(policies, cases(0, 2))
    assert without.rules == ("notices-open-household",)
    assert ("public", "P1") in without.classes
    assert ("department", "P1") not in without.classes
    nothing = coverage(policies, ())
    assert len(nothing.rules) == 3
    assert not nothing.whole

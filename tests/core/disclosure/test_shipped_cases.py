"""The cases shipped beside the policies hold, and leave no rule and no class of a tier unlooked at."""

from gateway.core.disclosure.cases import check_cases, coverage, read_cases, run_case
from gateway.core.records.identifiers import check_uscc, parse_citizen_id
from tests.core.disclosure.making import POLICIES, TODAY, shipped


def shipped_cases():  # type: ignore[no-untyped-def]  # a short hand for tests
    """The cases of the folder, read."""
    return read_cases({path.relative_to(POLICIES).as_posix(): path.read_bytes() for path in (POLICIES / "tests").rglob("*.toml")})


def test_every_shipped_case_holds() -> None:
    """What each tier sees of each fixture is what is written, and what is to be refused is refused."""
    cases = shipped_cases()
    assert list(check_cases(shipped(), cases)) == []
    assert [result for result in (run_case(shipped(), case, TODAY) for case in cases) if not result.ok] == []


def test_the_cases_cover_the_policy() -> None:
    """Every rule decides a case, and of each tier each class of field is expected by one."""
    assert coverage(shipped(), shipped_cases()).whole


def test_nobody_in_the_fixtures_is_real() -> None:
    """Firms have bodies of the series that is not issued, people numbers of the division that does not exist."""
    for case in shipped_cases():
        for name, value in case.fixture.values.items():
            if name in ("uscc", "authority_code", "source_unit_code"):
                assert check_uscc(str(value)).valid
                assert str(value)[8:11] == "XXT"
            if name.endswith("id_no"):
                assert parse_citizen_id(str(value), demo=True, today=TODAY).number.startswith("220599")

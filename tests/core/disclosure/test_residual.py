"""S6: how many candidates are left of what a plan shows in part, alone and beside everything that can be put next to it."""

import pytest

from gateway.core.disclosure.policy import check_policies
from gateway.core.disclosure.residual import _citizens
from gateway.core.errors import PolicyError
from tests.core.disclosure.making import PENALTIES, TODAY, bent, line_of, refused, shipped_files

FILE = f"datasets/{PENALTIES}.toml"
HONOURS = "datasets/honours.toml"
BIRTH = 'birth_date = { label = "出生日期", type = "date", class = "B1" }\n'
SEX = 'sex = { label = "性别", type = "enum", class = "B1", values = { f = "女", m = "男" } }\n'
REMARK = "remark = {"


def planted(*fields: str, elsewhere: str = "") -> dict[str, bytes]:
    """Penalties with further fields of persons, which departments see clear; and honours with others."""
    files = bent(FILE, (REMARK, "".join(fields) + REMARK))
    if elsewhere:
        files[HONOURS] = files[HONOURS].replace(REMARK.encode(), elsewhere.encode() + REMARK.encode(), 1)
    return files


@pytest.mark.parametrize(
    ("first", "last", "birth", "sexed", "left"),
    [
        (6, 4, 0, False, 2_182),
        (6, 4, 2, False, 34),
        (10, 4, 0, False, 34),
        (3, 4, 0, False, 17_455),
        (14, 0, 0, False, 1_000),
        (14, 0, 0, True, 500),
        (1, 1, 0, False, 17_454_546),
        (4, 0, 0, False, 192_000_000),
        (6, 0, 0, False, 24_000_000),
        (6, 0, 4, False, 1_000),
        (6, 0, 4, True, 500),
        (17, 0, 0, False, 1),
        (18, 0, 0, False, 1),
    ],
)
def test_windows_of_a_citizen_number(first: int, last: int, birth: int, sexed: bool, left: int) -> None:
    """The figures of policy.md §5: one city, eight divisions, 24,000 days, a thousand a day, one check character in eleven."""
    assert _citizens(first, last, birth, 0, sexed=sexed) == left


def test_every_partially_shown_identifier_has_its_figure() -> None:
    """Field, tier, purpose, kind and candidates, of numbers, codes and names; nothing of what is dropped or clear."""
    found = {(each.field, each.tier, each.kind): each for each in check_policies(shipped_files(), version=1, today=TODAY).residual}
    number = found[f"{PENALTIES}.id_no", "department", "natural"]
    assert (number.treatment, number.candidates) == ("keep(6,0)", 24_000_000)
    code = found[f"{PENALTIES}.uscc", "public", "individual_business"]
    assert (code.treatment, code.candidates) == ("keep(8,0)", 7_500)
    assert found[f"{PENALTIES}.name", "public", "individual_business"].candidates == 7_500
    assert found[f"{PENALTIES}.legal_representative", "partner", "legal"].candidates == 1_000
    assert (f"{PENALTIES}.name", "department", "natural") not in found


def test_a_birthday_leaves_a_thousand_and_a_sex_beside_it_too_few() -> None:
    """Exactly K is enough; five hundred are not, and the error names what stands beside the window."""
    assert check_policies(planted(BIRTH), version=1, today=TODAY).errors == ()
    files = planted(BIRTH, SEX)
    found = check_policies(files, version=1, today=TODAY)
    assert found.policies is None
    assert {each.code for each in found.errors} == {"policy-S6"}
    error = next(each for each in found.errors if each.file == FILE)
    assert (error.code, error.file, error.rule, error.field) == ("policy-S6", FILE, "penalties-supervision", "id_no")
    assert error.line == line_of(files, FILE, 'field.id_no = { treatment = { do = "keep", first = 6 }, allow')
    assert "500 candidates" in error.detail
    assert f"{PENALTIES}.birth_date" in error.detail
    assert f"{PENALTIES}.sex" in error.detail
    assert error.hint


def test_what_a_link_reaches_counts_too() -> None:
    """The day of birth here, the sex in another dataset of the same tier, joined by a clear code: five hundred."""
    error = refused(planted(BIRTH, elsewhere=SEX))
    assert (error.code, error.field) == ("policy-S6", "id_no")
    assert "honours.sex" in error.detail
    apart = planted(BIRTH, elsewhere=SEX)
    for path in (FILE, HONOURS):
        apart[path] = apart[path].replace(b', link_key = "org"', b"").replace(b', link_key = "document"', b"")
    assert check_policies(apart, version=1, today=TODAY).errors == ()


def test_a_fact_tells_only_of_what_it_is_derived_from() -> None:
    """A year of birth derived from the operator's number narrows that number, and says nothing of the subject's own."""
    other = 'operator_born = { label = "经营者出生日期", type = "date", class = "P2", derived_from = ["legal_representative_id_no"] }\n'
    files = planted(other, SEX)
    lines = """field.legal_representative_id_no = { treatment = { do = "keep", first = 6 } }
field.operator_born = { treatment = { do = "generalise", to = "year" } }
field.id_no = { treatment = { do = "keep", first = 6 }, allow = ["lookup"], budget = "200/day" }"""
    files[FILE] = files[FILE].replace(lines.splitlines()[-1].encode(), lines.encode(), 1)
    found = {each.field: each for each in check_policies(files, version=1, today=TODAY).residual if each.tier == "department"}
    assert found[f"{PENALTIES}.legal_representative_id_no"].candidates == 365_000 // 2
    assert found[f"{PENALTIES}.id_no"].candidates == 12_000_000


def test_k_is_an_argument() -> None:
    """The same policy under another K."""
    assert check_policies(planted(BIRTH), version=1, today=TODAY, residual_k=1_001).errors[0].code == "policy-S6"
    assert check_policies(planted(BIRTH, SEX), version=1, today=TODAY, residual_k=500).errors == ()


def test_a_version_in_force_is_not_closed_by_another_k() -> None:
    """It was counted when it was activated; the figures are told still."""
    found = check_policies(planted(BIRTH, SEX), version=1, today=TODAY, in_force=True)
    assert found.policies is not None
    assert any(each.candidates == 500 for each in found.residual)


def test_few_bearers_of_a_name_are_a_warning() -> None:
    """A surname beside a day of birth: told, not refused."""
    files = planted('born = { label = "出生日期", type = "date", class = "O" }\n')
    found = check_policies(files, version=1, today=TODAY)
    assert found.errors == ()
    warnings: list[PolicyError] = [each for each in found.warnings if each.code == "policy-S6"]
    assert {each.field for each in warnings} == {"legal_representative", "responsible_person"}
    assert FILE in {each.file for each in warnings}
    assert all(each.line and each.rule and each.hint for each in warnings)

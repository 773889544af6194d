"""Codes and numbers: vectors of the standards, round trips, and what is told about wrong ones."""

import json
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stdnum.cn import ric, uscc

from gateway.core.errors import RowFault
from gateway.core.records import identifiers
from gateway.core.records.identifiers import (
    ORG_ALPHABET,
    USCC_ALPHABET,
    check_uscc,
    citizen_check_character,
    looks_like_citizen_number,
    normalise_code,
    org_code_check_character,
    parse_citizen_id,
    parse_org_code,
    parse_reg_no,
    parse_uscc,
    subject_form,
    subject_kind,
    suggest_uscc,
    uscc_check_character,
)

VECTORS: dict[str, Any] = json.loads((Path(__file__).parent / "vectors.json").read_text(encoding="utf-8"))
TODAY = date(2026, 6, 1)
FIRM = "91220502XXT00002X2"

bodies = st.tuples(
    st.sampled_from(["91", "92", "93", "11", "12", "51", "N2", "Y1", "A1"]),
    st.from_regex("[0-9]{6}", fullmatch=True),
    st.text(USCC_ALPHABET, min_size=8, max_size=8),
).map("".join)


def valid_uscc(body: str) -> str:
    """A code with both check characters right."""
    body17 = body + org_code_check_character(body[8:])
    return body17 + uscc_check_character(body17)


@pytest.mark.parametrize("code", [*VECTORS["uscc_valid"], *VECTORS["uscc_warned"]])
def test_valid_codes_pass(code: str) -> None:
    """Every valid vector parses to itself, in any width and case."""
    assert check_uscc(code).valid
    wide = "".join(chr(ord(character) + 0xFEE0) for character in code)
    for form in (code, code.lower(), wide, f"  {code[:8]} {code[8:]}\u3000", f"\ufeff{code}\u200b"):
        assert parse_uscc(form) == code


@pytest.mark.parametrize(("code", "form"), VECTORS["uscc_valid"].items())
def test_form_of_subject(code: str, form: str) -> None:
    """The first characters of a code tell the form of its subject."""
    assert subject_form(code, "individual_business" if code.startswith("92") else "legal") == form


def test_form_without_code() -> None:
    """Without a code only the kind speaks."""
    assert (subject_form(None, "legal"), subject_form(None, "natural"), subject_form(None, "individual_business")) == (
        "other",
        "person",
        "household",
    )


@pytest.mark.parametrize(("code", "check"), VECTORS["uscc_invalid"].items())
def test_invalid_codes_fail_their_check(code: str, check: str) -> None:
    """Each wrong code fails at the named check, and parsing gives SUBJ_USCC with a hint."""
    result = check_uscc(code)
    assert not result.valid
    assert result.checks[check] == "failed"
    with pytest.raises(RowFault) as caught:
        parse_uscc(code)
    assert caught.value.code == "SUBJ_USCC"
    assert caught.value.hint
    assert code not in str(caught.value)


def test_inner_check_only_warns() -> None:
    """A wrong position 17 with a right position 18 is valid, with a warning."""
    result = check_uscc(VECTORS["uscc_warned"][0])
    assert result.valid
    assert result.inner_ok is False
    assert result.checks["inner_check_digit"] == "warning"


def test_answer_of_validate() -> None:
    """The parts of a code are given as far as their characters are possible (the example of the API)."""
    result = check_uscc("9I220502XXT00002X2")
    assert result.checks == {
        "length": "ok",
        "alphabet": "failed",
        "structure": "not_run",
        "check_digit": "not_run",
        "inner_check_digit": "not_run",
    }
    assert result.parts == {"department": "9", "category": None, "division": "220502", "organisation_code": "XXT00002X"}
    short = check_uscc("91220502XXT00002")
    assert (short.checks["length"], short.checks["alphabet"], short.inner_ok) == ("failed", "ok", None)
    assert check_uscc("").checks["alphabet"] == "failed"


def test_unknown_pair_of_department_and_category_warns() -> None:
    """The table of pairs is not the law: a pair that it lacks is told, and the code stays valid."""
    result = check_uscc(valid_uscc("94220500XXT00001"))
    assert result.valid
    assert result.checks["structure"] == "warning"
    assert check_uscc("91220500XXT000011D").checks["structure"] == "ok"


def test_a_check_needs_those_before_it() -> None:
    """Without a structure no check digit is looked at."""
    checks = check_uscc(valid_uscc("B1220500XXT00001")).checks
    assert (checks["structure"], checks["check_digit"], checks["inner_check_digit"]) == ("failed", "not_run", "not_run")


def test_structure_is_checked() -> None:
    """A code with right check digits and an impossible department or division has no valid structure."""
    for body in ("B1220500XXT00001", "9122050AXXT00001"):
        code = valid_uscc(body)
        assert check_uscc(code).checks["structure"] == "failed"
        with pytest.raises(RowFault, match="SUBJ_USCC"):
            parse_uscc(code)


@pytest.mark.parametrize(("code", "expected"), VECTORS["suggested"].items())
def test_suggestions(code: str, expected: list[str]) -> None:
    """What may have been meant is among at most five plausible codes."""
    offered = suggest_uscc(code)
    assert tuple(expected) in offered
    assert len(offered) <= 5
    assert all(check_uscc(each).valid and check_uscc(each).inner_ok for each, _ in offered)


def test_no_suggestion_for_a_valid_code() -> None:
    """Who is right is not corrected; who is far off is not guessed at."""
    assert suggest_uscc(FIRM) == suggest_uscc("91220502XXT00002") == suggest_uscc("zzzzzz") == ()


@given(bodies)
def test_uscc_round_trip(body: str) -> None:
    """A made code passes; its check characters agree with an independent implementation."""
    code = valid_uscc(body)
    assert parse_uscc(code.lower()) == code
    assert check_uscc(code).inner_ok
    assert uscc.calc_check_digit(code) == code[17]


@given(bodies, st.integers(0, 17), st.sampled_from(USCC_ALPHABET))
def test_one_wrong_character_is_found(body: str, place: int, character: str) -> None:
    """No single substitution passes the check of position 18, and the right code can be rebuilt from the wrong one."""
    code = valid_uscc(body)
    wrong = code[:place] + character + code[place + 1 :]
    assert check_uscc(wrong).valid == (wrong == code)


@given(bodies, st.integers(0, 16))
def test_swapped_neighbours_are_found(body: str, place: int) -> None:
    """No exchange of neighbours passes, and where the code is a plausible one it is offered back."""
    code = valid_uscc(body)
    swapped = code[:place] + code[place + 1] + code[place] + code[place + 2 :]
    if swapped != code:
        assert not check_uscc(swapped).valid
        if code[:2] in ("91", "92", "93", "11", "12", "51", "Y1", "A1", "N2"):
            assert (code, "swap") in suggest_uscc(swapped)


@given(st.text(max_size=40))
def test_any_text_gets_an_answer(text: str) -> None:
    """Whatever is sent, checks and suggestions answer and parsing raises nothing but a RowFault."""
    check_uscc(text)
    suggest_uscc(text)
    looks_like_citizen_number(text)
    for parse in (parse_uscc, parse_org_code, parse_reg_no):
        with suppress(RowFault):
            assert parse(text) == normalise_code(text).replace("-", "")
    with suppress(RowFault):
        assert len(parse_citizen_id(text, demo=True, today=TODAY).number) == 18


@pytest.mark.parametrize("code", VECTORS["org_valid"])
def test_organisation_codes(code: str) -> None:
    """Organisation codes pass with and without hyphen; any other last character does not."""
    assert parse_org_code(code) == parse_org_code(f"{code[:8]}-{code[8:].lower()}") == code
    for other in set("0123456789X") - {code[8]}:
        with pytest.raises(RowFault, match="SCHEMA_TYPE"):
            parse_org_code(code[:8] + other)


@given(st.text(ORG_ALPHABET, min_size=8, max_size=8))
def test_organisation_code_weights(body: str) -> None:
    """The check character is that of the weights printed in GB 11714."""
    total = sum(ORG_ALPHABET.index(character) * weight for character, weight in zip(body, (3, 7, 9, 10, 5, 8, 4, 2), strict=True))
    assert org_code_check_character(body) == {10: "X", 11: "0"}.get(11 - total % 11, str(11 - total % 11))


@pytest.mark.parametrize("code", VECTORS["regno_valid"])
def test_registration_numbers(code: str) -> None:
    """Registration numbers pass; one changed digit does not."""
    assert parse_reg_no(code) == code
    for place in range(15):
        wrong = code[:place] + str((int(code[place]) + 1) % 10) + code[place + 1 :]
        with pytest.raises(RowFault, match="SCHEMA_TYPE"):
            parse_reg_no(wrong)


@pytest.mark.parametrize(("number", "sex"), VECTORS["id_valid"].items())
def test_citizen_numbers(number: str, sex: str) -> None:
    """Citizen numbers pass, with birth and sex; a lower-case x and full width are normalised."""
    citizen = parse_citizen_id(number, demo=True, today=TODAY)
    assert (citizen.number, citizen.sex, citizen.permit) == (number, sex, False)
    assert citizen.born.isoformat().replace("-", "") == number[6:14]
    assert parse_citizen_id(number.lower(), demo=True, today=TODAY) == citizen
    assert number not in repr(citizen)


@pytest.mark.parametrize("number", VECTORS["permits"])
def test_permits(number: str) -> None:
    """Residence permits of Hong Kong, Macao and Taiwan residents follow the same rule."""
    assert parse_citizen_id(number, demo=False, today=TODAY).permit


@pytest.mark.parametrize(
    "number", [*VECTORS["id_invalid"], "22059919850615007", "2205991985061500701", "02059919850615007X", "", "护照E12345678"]
)
def test_wrong_citizen_numbers(number: str) -> None:
    """Wrong check digit, wrong date, wrong length: SUBJ_ID, and the number is not repeated."""
    with pytest.raises(RowFault) as caught:
        parse_citizen_id(number, demo=True, today=TODAY)
    assert caught.value.code == "SUBJ_ID"
    assert not number or number not in str(caught.value)


def test_birth_in_the_future() -> None:
    """Nobody is born after today."""
    with pytest.raises(RowFault, match="SUBJ_ID"):
        parse_citizen_id("220599201011150065", demo=True, today=date(2010, 11, 14))


def test_test_people_exist_in_demo_mode_only() -> None:
    """Division 220599 is refused where people are real."""
    with pytest.raises(RowFault, match="SUBJ_ID"):
        parse_citizen_id("220599198506150070", demo=False, today=TODAY)


def test_fifteen_digits_become_eighteen() -> None:
    """A number of the old shape gets its century and its check character."""
    for old, new in VECTORS["id15_to_18"].items():
        assert parse_citizen_id(old, demo=True, today=TODAY).number == new


@given(st.dates(date(1900, 1, 1), date(2020, 12, 31)), st.integers(100000, 659999), st.integers(1, 999))
def test_citizen_round_trip(born: date, division: int, serial: int) -> None:
    """A made number passes and agrees with an independent implementation; every other last character fails."""
    body = f"{division}{born:%Y%m%d}{serial:03}"
    number = body + citizen_check_character(body)
    assert ric.calc_check_digit(number) == number[17]
    citizen = parse_citizen_id(number, demo=True, today=TODAY)
    assert (citizen.number, citizen.born) == (number, born)
    with pytest.raises(RowFault):
        parse_citizen_id(body + ("0" if number[17] != "0" else "1"), demo=True, today=TODAY)


def test_age() -> None:
    """Age counts whole years; somebody of 29 February is older on 1 March."""
    citizen = parse_citizen_id("220599200002290053", demo=True, today=TODAY)
    assert [citizen.age_on(day) for day in (date(2018, 2, 28), date(2018, 3, 1), date(2020, 2, 29))] == [17, 18, 20]


@pytest.mark.parametrize("text", ["9.12205E+17", "9.1220502E17", "2.20599198506150E+17"])
def test_codes_that_a_spreadsheet_made_numbers(text: str) -> None:
    """A code stored as a number is a fault of type, with what to do."""
    for parse in (parse_uscc, parse_org_code, parse_reg_no, lambda code: parse_citizen_id(code, demo=True, today=TODAY)):
        with pytest.raises(RowFault) as caught:
            parse(text)
        assert caught.value.code == "SCHEMA_TYPE"
        assert "文本" in str(caught.value.hint)


def test_what_is_looked_at_for_a_citizen_number_is_remembered_nowhere() -> None:
    """No check of a code or number keeps what it was asked, for it may be a person's: a tax number, a cell of the wrong column."""
    assert not [name for name, each in vars(identifiers).items() if hasattr(each, "cache_info")]


def test_letters_stay_letters() -> None:
    """An O is never made a zero."""
    assert normalise_code("ｏ0 o-\u3000x") == "O0O-X"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("220599198506150070", True),
        ("２２０５９９１９８５０６１５００７０", True),
        ("2205 9919 8506 1500 70", True),
        ("220599-19850615-007x", True),
        ("220599850615007", True),
        ("身份证号22059919850615007Х。", True),
        ("2\u200b20599198506150070", True),
        (FIRM, False),
        ("9144030071526726XG", False),
        ("通市监罚〔2026〕12号", False),
        ("20260601123000", False),
        ("13800000000", False),
        ("", False),
    ],
)
def test_citizen_numbers_in_texts(text: str, expected: bool) -> None:
    """A number of the shape of a citizen's is recognised in any disguise; a valid organisation's code is none."""
    assert looks_like_citizen_number(text) is expected


@pytest.mark.parametrize(
    ("category", "code", "has_id", "expected"),
    [
        ("legal", FIRM, False, ("legal", False)),
        (None, FIRM, False, ("legal", False)),
        ("legal", "92220502XXT0000972", False, ("individual_business", False)),
        ("natural", "92220502XXT0000972", True, ("individual_business", False)),
        ("individual_business", None, False, ("individual_business", False)),
        ("natural", None, True, ("natural", False)),
        (None, None, True, ("natural", False)),
        ("natural", FIRM, False, ("natural", True)),
        ("individual_business", FIRM, False, ("natural", True)),
        ("legal", FIRM, True, ("natural", True)),
        ("legal", None, True, ("natural", True)),
        (None, None, False, ("natural", True)),
    ],
)
def test_kind_of_subject(category: str | None, code: str | None, has_id: bool, expected: tuple[str, bool]) -> None:
    """92 is a household whatever the category says; unknown or contradictory is a natural person."""
    assert subject_kind(category, code, has_id) == expected


def test_shared_vectors(shared_data: Path) -> None:
    """The vectors beside the checkout give the verdicts that they expect."""
    vectors = json.loads((shared_data / "identifiers.json").read_text(encoding="utf-8"))
    for code in [*vectors["uscc_valid"], *vectors["uscc_reference"]]:
        assert check_uscc(code).valid
    for code, expected in vectors["uscc_invalid_expect"].items():
        result = check_uscc(code)
        told = {"failed": False, "ok": True, "warning": False, "not_run": None}
        inner = told[result.checks["inner_check_digit"]]
        assert (told[result.checks["length"]], told[result.checks["alphabet"]], told[result.checks["check_digit"]], inner) == (
            expected["length"],
            expected["alphabet"],
            expected["outer"],
            expected["inner"],
        )
    for code in vectors["org_valid"]:
        assert parse_org_code(code)
    for code in vectors["regno_valid"]:
        assert parse_reg_no(code)
    for number in vectors["id_valid"]:
        assert parse_citizen_id(number, demo=True, today=TODAY).number == number
    for number in vectors["id_invalid"]:
        with pytest.raises(RowFault):
            parse_citizen_id(number, demo=True, today=TODAY)
    for old, new in vectors["id15_to_18"].items():
        assert parse_citizen_id(old, demo=True, today=TODAY).number == new

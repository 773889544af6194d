"""Treatments: their order is a lattice, their results are fixed, and nothing of what they hide comes out."""

import base64
import hashlib
import hmac
import string
import unicodedata
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.disclosure.fitting import misfit
from gateway.core.disclosure.masking import DROPPED, household_name, parse_twin, treat_function, twin
from gateway.core.disclosure.pseudonyms import keyed, pseudonym
from gateway.core.disclosure.shapes import graphemes, uscc_is_valid
from gateway.core.disclosure.surnames import COMPOUND, SINGLE
from gateway.core.disclosure.treatments import (
    CLEAR,
    DROP,
    EXISTS,
    PSEUDONYM,
    SURNAME,
    Generalise,
    Keep,
    Redact,
    Surname,
    Treatment,
    describe,
    leq,
    meet,
    rank,
    word,
)
from gateway.core.records.divisions import leading_division
from gateway.core.records.model import Field, SubjectKind, Value
from tests.core.disclosure.making import FIRM, HOUSEHOLD, PERSON

treatments = st.one_of(
    st.just(DROP),
    st.just(EXISTS),
    st.just(SURNAME),
    st.just(PSEUDONYM),
    st.just(CLEAR),
    st.builds(Generalise, to=st.sampled_from(["month", "year", "decade", 6, 4, 2, "band"])),
    st.builds(Keep, first=st.integers(0, 18), last=st.integers(0, 18)),
    st.builds(Redact, profile=st.sampled_from(["strict", "third_parties"]), hold=st.booleans()),
)
SMALL: list[Treatment] = [
    DROP,
    EXISTS,
    SURNAME,
    PSEUDONYM,
    CLEAR,
    *(Generalise(to=to) for to in get_args(Generalise.__annotations__["to"])),
    *(Keep(first=first, last=last) for first in range(3) for last in range(3)),
    *(Redact(profile=profile, hold=hold) for profile in ("strict", "third_parties") for hold in (False, True)),
]


def field(kind: str, **more: object) -> Field:
    """A field of a type."""
    return Field(name="x", label="x", type=kind, classes=dict.fromkeys(("legal", "individual_business", "natural"), "O"), **more)  # type: ignore[arg-type]  # the keys are Field's


# --- the lattice ------------------------------------------------------------------------------------------------------


@given(treatments, treatments, treatments)
def test_leq_is_a_partial_order(a: Treatment, b: Treatment, c: Treatment) -> None:
    """Reflexive, antisymmetric, transitive; drop is least and clear greatest."""
    assert leq(a, a)
    assert not (leq(a, b) and leq(b, a)) or a == b
    assert not (leq(a, b) and leq(b, c)) or leq(a, c)
    assert leq(DROP, a)
    assert leq(a, CLEAR)


@given(treatments, treatments)
def test_meet_is_below_both_and_commutes(a: Treatment, b: Treatment) -> None:
    """The meet shows no more than either, in whichever order they are named."""
    low = meet(a, b)
    assert leq(low, a)
    assert leq(low, b)
    assert low == meet(b, a)
    assert meet(a, a) == a


@given(treatments, treatments, treatments)
def test_meet_is_the_greatest_lower_bound(a: Treatment, b: Treatment, c: Treatment) -> None:
    """Whatever shows no more than both shows no more than their meet; and meets can be taken in any grouping."""
    if leq(c, a) and leq(c, b):
        assert leq(c, meet(a, b))
    assert meet(meet(a, b), c) == meet(a, meet(b, c))


def test_meet_is_the_greatest_lower_bound_of_every_small_pair() -> None:
    """The same, exhaustively over a small part of the list."""
    for a in SMALL:
        for b in SMALL:
            low = meet(a, b)
            assert all(leq(c, low) for c in SMALL if leq(c, a) and leq(c, b)), (describe(a), describe(b))


def test_meets_across_families() -> None:
    """Of different families no more than whether there is a value; of text and anything else nothing."""
    assert meet(Keep(first=4), SURNAME) == EXISTS
    assert meet(Generalise(to="year"), Generalise(to=4)) == EXISTS
    assert meet(Keep(first=8), Keep(first=4, last=2)) == Keep(first=4)
    assert meet(Redact(profile="strict"), Redact(profile="third_parties", hold=True)) == Redact(profile="strict", hold=True)
    assert meet(Redact(profile="strict"), EXISTS) == DROP


def test_ranks() -> None:
    """Drop, exists, partial, clear: the scale on which derived fields are compared."""
    assert [rank(each) for each in (DROP, EXISTS, SURNAME, Keep(first=1), CLEAR)] == [0, 1, 2, 2, 3]


# --- vectors of exchange.md §22 ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("treatment", "kind", "value", "shown"),
    [
        ("surname", "person_name", "王小明", "王某某"),
        ("surname", "person_name", "欧阳明", "欧阳某某"),
        ("surname", "person_name", "阿依古丽·买买提", "某某"),
        ("keep(4,0)", "uscc", "91220502XXT00002X2", "9122**********"),
        ("keep(2,2)", "string", "通化市测试公司", "通化****公司"),
        ("keep(2,2)", "string", "通化公司", "****"),
        ("generalise(month)", "date", "2026-11-04", "2026-11"),
        ("generalise(year)", "date", "2026-11-04", "2026"),
        ("generalise(month)", "date", "2026/11/04", None),
        ("surname", "person_name", None, None),
    ],
)
def test_twin_vectors(treatment: str, kind: str, value: str | None, shown: str | None) -> None:
    """A receiver recomputes exactly these results from the whole value."""
    assert twin(parse_twin(treatment), kind, value) == shown


@pytest.mark.parametrize(
    "name", ["keep", "keep(4)", "clear", "drop", "keep(4,0", "generalise(day)", "redact(strict)", "keep(a,0)", "surname()"]
)
def test_other_twin_names_are_refused(name: str) -> None:
    """Only the treatments of the appendix can be sealed as twins."""
    with pytest.raises(ValueError, match="twin"):
        parse_twin(name)


@given(st.builds(Keep, first=st.integers(0, 64), last=st.integers(0, 64)))
def test_twin_names_are_read_as_they_are_written(treatment: Keep) -> None:
    """`describe` and `parse_twin` are inverse on windows."""
    assert parse_twin(describe(treatment)) == treatment


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pair", sorted(COMPOUND))
def test_compound_surnames(pair: str) -> None:
    """The first two characters stay where they stand in the table and more follow; alone they are a surname and a name."""
    assert twin(SURNAME, "person_name", f"{pair}明") == f"{pair}某某"
    assert twin(SURNAME, "person_name", pair) == (f"{pair[0]}某某" if pair[0] in SINGLE else "某某")


def test_the_compound_table_is_the_published_one() -> None:
    """Sixty pairs, as `compound-surnames/1` has them."""
    assert len(COMPOUND) == 60
    assert {"万俟", "欧阳", "第五", "南宫", "公孙"} <= COMPOUND


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("王", "王某某"),
        ("李小", "李某某"),
        ("赵某某某某某", "赵某某"),
        (" 王 小明", "王某某"),
        ("王\u200b小明", "王某某"),
        ("John Smith", "某某"),
        ("王John", "某某"),
        ("買買提", "某某"),
        ("○○○", "某某"),
        ("阿·王", "某某"),
        ("阿．王", "某某"),
        ("阿•王", "某某"),
        ("１２３", "某某"),
        ("𠮷田", "某某"),
    ],
)
def test_surnames(name: str, shown: str) -> None:
    """The surname and a fixed mark; where the surname cannot be told, the mark alone."""
    assert twin(SURNAME, "person_name", name) == shown


@pytest.mark.parametrize("name", ["", " ", "\u3000", "\u200b\ufeff", 17, True])
def test_no_name_is_dropped(name: str | int) -> None:
    """What is empty, or no text, is no name."""
    assert treat_function(SURNAME, "person_name")(name) is DROPPED


@given(st.text(min_size=1))
def test_a_masked_name_has_one_of_a_few_forms(name: str) -> None:
    """Its length tells nothing: at most a surname of the tables and 某某."""
    shown = treat_function(SURNAME, "person_name")(name)
    if shown is not DROPPED:
        assert isinstance(shown, str)
        assert shown.endswith("某某")
        assert shown[:-2] == "" or shown[:-2] in SINGLE or shown[:-2] in COMPOUND


def test_household_names() -> None:
    """County of the code, else of the record, and a fixed form; the trade name never shows through."""
    assert household_name(HOUSEHOLD, "220500") == "东昌区****个体工商户"
    assert household_name(None, "220503") == "二道江区****个体工商户"
    assert household_name("92220502XXT0000000", "220500") == "通化市****个体工商户", "a code that does not hold names no county"
    assert household_name(None, "220501") == "通化市****个体工商户", "市辖区 is no county"
    assert household_name(None, "999999") == "****个体工商户"
    assert household_name("", "") == "****个体工商户"


# --- windows ----------------------------------------------------------------------------------------------------------


@given(st.text(), st.integers(0, 6), st.integers(0, 6))
def test_a_window_shows_its_ends_and_fixed_stars(value: str, first: int, last: int) -> None:
    """Four stars whatever the length; with nothing left over to hide behind them, stars only."""
    shown = treat_function(Keep(first=first, last=last), "string")(value)
    if value == "":
        assert shown is DROPPED
        return
    assert isinstance(shown, str)
    signs = graphemes(value if value.isascii() else unicodedata.normalize("NFC", value))
    if len(signs) < first + last + 2:
        assert shown == "****"
    else:
        assert shown == "".join(signs[:first]) + "****" + "".join(signs[len(signs) - last :] if last else [])


@given(st.text(alphabet=string.ascii_letters, min_size=12, max_size=40), st.text(alphabet=string.ascii_letters, min_size=1, max_size=40))
def test_the_hidden_part_leaves_no_trace(value: str, other: str) -> None:
    """Two values that differ only in what a window hides are shown alike."""
    treat = treat_function(Keep(first=2, last=2), "string")
    assert treat(value) == treat(value[:2] + other + value[-2:]) or len(other) < 2


def test_a_code_of_an_organisation_has_ten_stars() -> None:
    """Fixed by the type, in whatever width it was written."""
    treat = treat_function(Keep(first=8), "uscc")
    assert treat(HOUSEHOLD) == "92220502**********"
    assert treat(" 9122 0502 xxt00002x2 ") == "91220502**********"
    assert treat("９１２２０５０２ＸＸＴ００００２Ｘ２") == "91220502**********"


@pytest.mark.parametrize(
    "value", ["91220502XXT00002X3", PERSON, "91220502", "", "9I220502XXT00002X2", "91220502XXT00002X2X", 91220502, True]
)
def test_what_is_no_code_is_dropped(value: str | int) -> None:
    """Shape first: a citizen number in the field of a code is never cut 8 + ten stars."""
    assert treat_function(Keep(first=8), "uscc")(value) is DROPPED


@pytest.mark.parametrize(
    "value",
    [
        PERSON,
        "220599 19800101 0013",
        "２２０５９９１９８００１０１００１３",
        "二二〇五九九一九八〇〇一〇一〇〇一三",
        "22\u200b0599198001010013",
        "220599800101001",
    ],
)
def test_a_citizen_number_is_read_before_it_is_cut(value: str) -> None:
    """Full width, blanks, zero width, Chinese numerals and fifteen digits are the same number."""
    assert treat_function(Keep(first=6), "id_no")(value) == "220599****"


@pytest.mark.parametrize(
    "value",
    ["身份证:220599198001010013", "E12345678", "13800138000", "220599198001010012", "220599198013010011", "220599198002300011", "x" * 18],
)
def test_what_is_no_citizen_number_is_dropped(value: str) -> None:
    """A passport, a telephone number, a wrong check digit or an impossible birthday is not cut `6 + 4`."""
    assert treat_function(Keep(first=6), "id_no")(value) is DROPPED


@given(st.one_of(st.none(), st.booleans(), st.integers(), st.text(), st.text(alphabet="0123456789xXⅩ〇一二 -·吉E@.")))
def test_every_treatment_is_total(value: str | int | bool | None) -> None:
    """Whatever the value, a treatment gives a text, a boolean, nothing or DROPPED, and raises nothing."""
    kinds = ("string", "uscc", "id_no", "reg_no", "org_code", "mobile", "phone", "plate", "email")
    functions = [treat_function(Keep(first=1), kind) for kind in kinds]
    functions += [treat_function(each, "date") for each in (SURNAME, EXISTS, *(Generalise(to=to) for to in ("month", "year", "decade")))]
    functions += [treat_function(Generalise(to=2), "division"), treat_function(Generalise(to="band"), "decimal(18,6)", ("1", "5"), "万元")]
    for function in functions:
        assert function(value) is DROPPED or isinstance(function(value), str | bool | None)


@given(st.text(min_size=1), st.sampled_from(["uscc", "id_no", "reg_no", "org_code", "mobile", "phone", "plate"]))
def test_masks_are_never_longer_than_their_window_and_stars(value: str, kind: str) -> None:
    """The length of a mask is that of window and stars, whatever stood there."""
    shown = treat_function(Keep(first=2), kind)(value)
    assert shown is DROPPED or shown in ("****", "**********") or (isinstance(shown, str) and len(shown) in (6, 12))


def test_generalised_values() -> None:
    """Coarser, on the edges that policy fixes."""
    assert twin(Generalise(to="decade"), "date", "1987-01-31") == "198X"
    assert twin(Generalise(to="month"), "date", "2026-02-30") is None
    assert [twin(Generalise(to=to), "division", "220502") for to in (6, 4, 2)] == ["220502", "2205", "22"]
    assert twin(Generalise(to=4), "division", "2205") is None
    band = treat_function(Generalise(to="band"), "decimal(18,6)", ("1", "5", "10.5"), "万元")
    assert [band(amount) for amount in ("0", "0.999999", "1", "5.000000", "10.4", "10.5", "99999")] == [
        "不满1万元",
        "不满1万元",
        "1万元以上不满5万元",
        "5万元以上不满10.5万元",
        "5万元以上不满10.5万元",
        "10.5万元以上",
        "10.5万元以上",
    ]
    assert band("许多") is DROPPED
    assert band("NaN") is DROPPED
    assert band(True) is DROPPED


def test_whether_there_is_a_value() -> None:
    """`exists` says so as a boolean."""
    assert [twin(EXISTS, "string", value) for value in ("x", "", None, 0, False)] == [True, False, False, True, True]


# --- graphemes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("abc", 3),
        ("通化", 2),
        ("e\u0301a", 2),
        ("👨‍👩‍👧x", 2),
        ("🇨🇳🇯🇵", 2),
        ("각가", 2),
        ("각", 1),
        ("👍🏽!", 2),
        ("\r\n", 1),
        ("நி", 1),
        ("葛\U000e0100城", 2),
    ],
)
def test_user_perceived_characters(text: str, count: int) -> None:
    """A family, a flag, a syllable or a letter with its accent counts as one."""
    assert len(graphemes(text)) == count
    assert "".join(graphemes(text)) == text


@given(st.text())
def test_graphemes_lose_nothing(text: str) -> None:
    """Joined again they are the text."""
    assert "".join(graphemes(text)) == text


# --- what stands on what ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("treatment", "kind", "subject"),
    [
        (Keep(first=6, last=4), "id_no", "natural"),
        (Keep(first=10, last=4), "id_no", "natural"),
        (Keep(first=1, last=1), "id_no", "natural"),
        (Keep(first=14), "id_no", "natural"),
        (Keep(first=3), "id_no", "natural"),
        (Keep(first=3, last=4), "mobile", "natural"),
        (Keep(first=4), "mobile", "natural"),
        (Keep(first=3, last=4), "phone", "natural"),
        (Keep(first=3), "plate", "natural"),
        (Keep(first=2), "account", "natural"),
        (CLEAR, "account", "natural"),
        (PSEUDONYM, "account", "natural"),
        (PSEUDONYM, "date", "natural"),
        (PSEUDONYM, "address", "natural"),
        (PSEUDONYM, "decimal(18,6)", "legal"),
        (Generalise(to="year"), "address", "natural"),
        (Keep(first=2), "address", "natural"),
        (Keep(first=1), "person_name", "natural"),
        (Keep(first=2), "date", "natural"),
        (SURNAME, "subject_name", "legal"),
        (SURNAME, "string", "natural"),
        (SURNAME, "address", "natural"),
        (Generalise(to="year"), "division", "legal"),
        (Generalise(to=4), "date", "legal"),
        (Generalise(to="year"), "string", "legal"),
        (Generalise(to="band"), "decimal(18,6)", "legal"),
        (Generalise(to="band"), "date", "legal"),
        (Redact(profile="strict"), "string", "legal"),
    ],
)
def test_what_does_not_fit_is_said(treatment: Treatment, kind: str, subject: SubjectKind) -> None:
    """Forbidden windows and treatments of another type are named."""
    assert misfit(treatment, field(kind), subject)


@pytest.mark.parametrize(
    ("treatment", "kind", "subject"),
    [
        (Keep(first=4), "id_no", "natural"),
        (Keep(first=6), "id_no", "natural"),
        (Keep(first=3), "mobile", "natural"),
        (Keep(first=2), "plate", "natural"),
        (Keep(first=8, last=4), "uscc", "legal"),
        (Keep(first=2, last=2), "string", "legal"),
        (SURNAME, "person_name", "legal"),
        (SURNAME, "subject_name", "natural"),
        (SURNAME, "subject_name", "individual_business"),
        (Generalise(to="month"), "date", "legal"),
        (Generalise(to=2), "division", "legal"),
        (Generalise(to=6), "address", "natural"),
        (PSEUDONYM, "id_no", "natural"),
        (PSEUDONYM, "person_name", "legal"),
        (DROP, "account", "legal"),
        (EXISTS, "account", "legal"),
        (CLEAR, "decimal(18,6)", "legal"),
    ],
)
def test_what_fits_is_let_through(treatment: Treatment, kind: str, subject: SubjectKind) -> None:
    """The windows and types that policy allows."""
    assert misfit(treatment, field(kind), subject) is None


def test_texts_take_their_own_treatments() -> None:
    """Free text is dropped, redacted or clear; nothing else."""
    text = field("string", text=True)
    assert [misfit(each, text, "legal") is None for each in (DROP, Redact(profile="strict"), CLEAR, EXISTS, Keep(first=1))] == [
        True,
        True,
        True,
        False,
        False,
    ]
    assert misfit(Generalise(to="band"), field("decimal(18,6)", bands=("5", "1")), "legal"), "edges must ascend"
    assert misfit(Generalise(to="band"), field("decimal(18,6)", bands=("1", "5")), "legal") is None


def test_words() -> None:
    """What a view says of a treated field is the bare word."""
    assert [word(each) for each in (Keep(first=1), Redact(profile="strict"), Surname())] == ["keep", "redact", "surname"]


def test_the_check_character_of_a_code_is_checked() -> None:
    """GB 32100: eighteen characters of the right shape with another last one do not hold."""
    assert uscc_is_valid(FIRM)
    assert not any(uscc_is_valid(FIRM[:17] + sign) for sign in "0123456789ABCDEFGHJKLMNPQRTUWXY" if sign != FIRM[17])


@pytest.mark.parametrize(
    ("address", "six", "four", "two"),
    [
        ("吉林省通化市东昌区团结路1号", "吉林省通化市东昌区", "吉林省通化市", "吉林省"),
        ("通化市 东昌区 团结路", "吉林省通化市东昌区", "吉林省通化市", "吉林省"),
        ("吉林省通化市某路", DROPPED, "吉林省通化市", "吉林省"),
        ("北京市东城区某街", "北京市东城区", "北京市", "北京市"),
        ("团结路1号", DROPPED, DROPPED, DROPPED),
        ("", DROPPED, DROPPED, DROPPED),
        (7, DROPPED, DROPPED, DROPPED),
        (None, None, None, None),
    ],
)
def test_addresses_generalise_to_the_division_they_begin_with(address: Value, six: object, four: object, two: object) -> None:
    """Never to a part of what is written; an address that names less than is asked for is dropped."""
    steps = [treat_function(Generalise(to=to), "address")(address) for to in (6, 4, 2)]  # type: ignore[arg-type]  # three of the closed list
    assert steps == [six, four, two]


@given(st.text())
def test_an_address_shows_nothing_but_a_division(address: str) -> None:
    """Whatever is written, what is shown is the name of a division."""
    shown = treat_function(Generalise(to=4), "address")(address)
    assert shown is DROPPED or (isinstance(shown, str) and leading_division(shown) is not None)


# --- pseudonyms -------------------------------------------------------------------------------------------------------


def test_a_pseudonym_is_the_first_half_of_an_hmac() -> None:
    """26 base32 characters of HMAC-SHA256(key, field ‖ 0x1f ‖ value), recomputed here from the standard library."""
    tag = hmac.new(b"k" * 32, f"id_no\x1f{PERSON}".encode(), hashlib.sha256).digest()[:16]
    expected = base64.b32encode(tag).decode().rstrip("=").lower()
    assert pseudonym(b"k" * 32, "id_no", PERSON) == expected
    assert len(expected) == 26


def test_a_pseudonym_belongs_to_one_key_and_one_field() -> None:
    """Two recipients, and two fields of one value, have nothing in common."""
    made = {keyed(key)(name, PERSON) for key in (b"a" * 32, b"b" * 32) for name in ("id_no", "legal_representative_id_no")}
    assert len(made) == 4


@pytest.mark.parametrize(
    ("kind", "one", "other"),
    [
        ("id_no", PERSON, f" {PERSON[:6]} {PERSON[6:]}"),
        ("uscc", FIRM, FIRM.lower()),
        ("person_name", "某某甲", "某 某甲\u200b"),
        ("mobile", "13900000000", "１３９００００００００"),
    ],
)
def test_one_value_has_one_normal_form(kind: str, one: str, other: str) -> None:
    """However it is written, a person keeps the pseudonym."""
    normal = treat_function(PSEUDONYM, kind)
    assert normal(one) == normal(other) is not DROPPED


@pytest.mark.parametrize(("kind", "value"), [("id_no", "护照 E1234"), ("uscc", "123"), ("person_name", " "), ("person_name", 5)])
def test_what_has_no_normal_form_has_no_pseudonym(kind: str, value: Value) -> None:
    """A value of another shape than its type is dropped before it is hashed."""
    assert treat_function(PSEUDONYM, kind)(value) is DROPPED

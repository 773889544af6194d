"""Whether a name is one of ours: the rules above the arithmetic, and scores that follow from query and candidate alone (api.md §7.5)."""

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.publication.matching import LOWEST, Features, Offered, Wanted, judge, score, shortlist, sounds_alike, token_groups
from gateway.core.publication.names import index_tokens, readings, split
from gateway.core.publication.rendering import name_of

readings("长")  # the table of readings is read once, in no test's time

FIRM = "通化市示例药业有限公司"
CODE, OTHER_CODE = "91220502XXT00002X2", "91220501XXT0016390"


def offered(name: str | None = FIRM, subject: str = "sub_a", region: str | None = "220502", **more: Any) -> Offered:
    """A subject as everybody is shown it."""
    return Offered(subject_id=subject, name=name, region=region, **{"uscc": CODE} | more)


def wanted(name: str | None = None, **more: Any) -> Wanted:
    """A query."""
    return Wanted(name=split(name) if name else None, **more)


def status(name: str, *offers: Offered, threshold: float = 0.85, **more: Any) -> str:
    """What a name comes to among these."""
    return judge(wanted(name, **more), offers or (offered(),), threshold=threshold).status


@pytest.mark.parametrize(
    ("name", "region", "expected"),
    [
        (FIRM, None, "exact"),
        ("通化市示例藥業（有限公司）", None, "exact"),
        ("示例药业公司", "220502", "match"),
        ("示例药业", "220500", "match"),
        ("吉林省通化市示例药业有限公司", None, "match"),
        ("通化市示例药业股份有限公司", None, "match"),
        (FIRM, "220600", "possible"),
        ("示例药业公司", "220524", "possible"),
        ("长春市示例药业有限公司", None, "possible"),
        ("吉林省示例药业有限公司", None, "possible"),
        ("通化市示例药业合作社", None, "possible"),
        ("通化市示例药业集团有限公司", None, "possible"),
        ("通化市视力药业有限公司", None, "possible"),
        ("通化市示例商贸有限公司", None, "possible"),
        ("通化市澄泉药业有限公司", None, "not_found"),
        ("通化市", None, "not_found"),
    ],
)
def test_what_a_name_comes_to(name: str, region: str | None, expected: str) -> None:
    """Elsewhere, of another level, of another form, another core: possible at most."""
    assert status(name, region=region) == expected


def test_a_long_core_that_sounds_the_same_is_a_match() -> None:
    """One wrong homophone in six characters and more; in a short name it may be another firm."""
    assert status("通化市澄泉生物科技有限公司", offered("通化市澄全生物科技有限公司")) == "match"
    assert status("通化市澄泉有限公司", offered("通化市澄全有限公司")) == "possible"


@pytest.mark.parametrize("threshold", [0.6, 0.85, 1.0])
def test_who_is_elsewhere_matches_at_no_threshold(threshold: float) -> None:
    """Nor who has another code."""
    assert status(FIRM, region="220600", threshold=threshold) == "possible"
    assert status(FIRM, uscc=OTHER_CODE, threshold=threshold) == "possible"


def test_a_code_says_more_than_a_name() -> None:
    """The code of A with the name of B: both are possible, A first to be looked at by its code, and neither name is equal by chance."""
    a = offered("通化市澄泉商贸有限公司", "sub_a", uscc=CODE, has_uscc=True)
    b = offered(FIRM, "sub_b", uscc=OTHER_CODE)
    verdict = judge(wanted(FIRM, uscc=CODE), [a, b])
    assert verdict.status == "possible"
    features = {each.subject_id: each.features for each in verdict.candidates}
    assert (features["sub_a"].uscc_equal, features["sub_a"].name_equal) == (True, False)
    assert (features["sub_b"].uscc_equal, features["sub_b"].name_equal) == (False, True)


def test_a_code_alone_or_with_its_own_name_is_exact() -> None:
    """Also with a name that lacks its suffix, or a wrong homophone; and nobody else is offered beside it."""
    a = offered(has_uscc=True)
    for name in (None, FIRM, "示例药业", "通化市示例要业有限公司"):
        verdict = judge(wanted(name, uscc=CODE), [a, offered(subject="sub_b", uscc=OTHER_CODE)])
        assert (verdict.status, [each.subject_id for each in verdict.candidates]) == ("exact", ["sub_a"]), name


def test_a_hidden_code_contradicts_nobody() -> None:
    """What the caller is not shown is not compared."""
    verdict = judge(wanted(FIRM, uscc=OTHER_CODE), [offered(uscc=None)])
    assert (verdict.status, verdict.candidates[0].features.uscc_equal) == ("exact", None)


def test_who_shares_a_name_is_ambiguous() -> None:
    """Equal whole names, or equal cores; a second that only comes near does not matter."""
    assert status(FIRM, offered(), offered(subject="sub_b", uscc=OTHER_CODE)) == "ambiguous"
    assert status("示例药业", offered(), offered("通化示例药业公司", "sub_b")) == "ambiguous"
    assert status("示例药业", offered(), offered("通化市示例医药有限公司", "sub_b")) == "match"


def test_a_former_name_is_a_match_and_says_so() -> None:
    """Exact is who bears the name today."""
    verdict = judge(wanted("通化县示例制药厂"), [offered(former_names=("通化县示例制药厂",), region="220521")])
    assert verdict.status == "match"
    assert verdict.candidates[0].features.former_name is True


def test_a_household_is_met_whole_or_not_at_all() -> None:
    """Never possible, never beside an organisation of that name."""
    home = offered("东昌区甲某某小吃店", uscc=None, household=True)
    assert status("东昌区甲某某小吃店", home) == "exact"
    assert status("甲某某小吃店", home) == "not_found"
    assert status("东昌区甲某某小吃店", home, region="220600") == "not_found"
    assert status("东昌区甲某某小吃店", home, offered("东昌区甲某某小吃店", "sub_b")) == "exact"
    assert judge(wanted(uscc=CODE), [offered(None, has_uscc=True, household=True)]).status == "exact"
    assert judge(wanted("别的店", uscc=CODE), [offered("东昌区甲某某小吃店", has_uscc=True, household=True)]).status == "not_found"


def test_a_registration_number_finds_its_subject() -> None:
    """It is a match, for it is no unified code; with another's name possible."""
    assert judge(wanted(reg_no="220500000000017"), [offered(has_reg_no=True)]).status == "match"
    assert judge(wanted("通化市澄泉商贸有限公司", reg_no="220500000000017"), [offered(has_reg_no=True)]).status == "possible"


NAMES = st.sampled_from(
    [f"{region}{brand}{trade}{form}" for region, brand, trade, form in itertools.product(
        ("通化市", "吉林省", "长春市", ""), ("示例", "视力", "澄泉", "长青"), ("药业", "商贸", ""), ("有限公司", "合作社", "厂", ""))]
)  # fmt: skip


@given(NAMES, st.lists(NAMES, max_size=5, unique=True), st.randoms(use_true_random=False))
def test_neither_order_nor_company_changes_a_score(name: str, others: list[str], random: Any) -> None:
    """A score follows from query and candidate; the verdict is the same in any order, scores lie in 0 … 1."""
    offers = [offered(each, f"sub_{number}", uscc=None) for number, each in enumerate(others)]
    alone = {each.subject_id: score(wanted(name), each) for each in offers}
    verdict = judge(wanted(name), offers)
    shuffled = random.sample(offers, len(offers))
    assert judge(wanted(name), shuffled) == verdict
    for each in verdict.candidates:
        assert each == alone[each.subject_id]
        assert LOWEST <= each.score <= 1
    assert all(0 <= each.score <= 1 for each in alone.values())


@given(st.text(max_size=30), st.text(max_size=30))
def test_any_two_texts_can_be_compared(one: str, other: str) -> None:
    """Whatever stands in them."""
    found = score(wanted(one) if split(one).norm else wanted("示例"), offered(other))
    assert 0 <= found.score <= 1
    assert isinstance(found.features, Features)


def test_likeness_of_sound_knows_every_reading() -> None:
    """长 is cháng and zhǎng; a character more or less is a part of the whole."""
    assert sounds_alike("长青", "常清") == sounds_alike("长青", "掌青") == 1.0
    assert 0 < sounds_alike("长青", "常清泉") < 1
    assert sounds_alike("示例", "澄泉") == 0.0


def test_the_shortlist_holds_who_is_meant() -> None:
    """Equal names first, then equal cores, then those that sound so; the index is asked by tokens that the name has itself."""
    shown = ["通化市示例药业有限公司", "通化市视力药业有限公司", "示例药业公司", "通化市示例商贸有限公司", "通化市澄泉商贸有限公司"]
    rows = [name_of(str(number), "name", each) for number, each in enumerate(shown)]
    name = split("通化市示例药业有限公司")
    assert shortlist(name, rows)[:4] == ["0", "2", "1", "3"]
    assert shortlist(name, reversed(rows)) == shortlist(name, rows)
    held = index_tokens(name).split(" ")
    assert all(token in held for group in token_groups(name) for token in group)

"""The redactor: nothing personal comes out, nothing else is touched, and no text takes long."""

import csv
import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.disclosure.redaction import REDACTOR, Numbering, redact
from gateway.core.records.model import Redaction
from tests.core.disclosure.making import PERSON

CORPORA = Path(__file__).parent / "corpora"
HARMLESS = [line for line in (CORPORA / "harmless.txt").read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
PLANTED = [
    (line.split("\t")[0], tuple(line.split("\t")[1].split("|")))
    for line in (CORPORA / "planted.tsv").read_text(encoding="utf-8").splitlines()
    if line
]


def squeezed(text: str) -> str:
    """A text as somebody would read a number out of it."""
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", text)).upper()


def leaks(result: Redaction, secrets: tuple[str, ...]) -> bool:
    """Whether a secret can be read in what the public gets."""
    return not result.held and any(squeezed(secret) in squeezed(result.strict) for secret in secrets)


# --- corpora ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "secrets"), PLANTED, ids=[str(number) for number in range(len(PLANTED))])
def test_planted_secrets_do_not_come_out(text: str, secrets: tuple[str, ...]) -> None:
    """Each is replaced, or the text is held."""
    assert not leaks(redact(text, []), secrets)


@pytest.mark.parametrize("around", ["当事人销售过期食品，{}。罚款5000元。", "{}", "（{}）", "1、{}；2、没收违法所得2418.65元。"])
def test_planted_secrets_do_not_come_out_of_longer_texts(around: str) -> None:
    """Wherever they stand in a decision; and amounts beside them stay."""
    for text, secrets in PLANTED:
        result = redact(around.format(text), [])
        assert not leaks(result, secrets), text
        for amount in ("罚款5000元", "没收违法所得2418.65元"):
            assert (amount in around) == (amount in result.strict) or amount in text, text


def test_harmless_sentences_are_left_alone() -> None:
    """At most one in a hundred altered, one in ten held: what a review costs."""
    altered = [text for text in HARMLESS if redact(text, []).strict != text]
    held = [text for text in HARMLESS if redact(text, []).held]
    assert len(HARMLESS) >= 100
    assert len(altered) <= len(HARMLESS) / 100, altered
    assert len(held) <= len(HARMLESS) / 10, held


def test_amounts_dates_and_citations_are_never_lost() -> None:
    """Whatever happens to a text, its sums of money stay in it."""
    amount = re.compile(r"[0-9][0-9,.]*(?:元|万元)|第[一二三四五六七八九十百]+条|[0-9]{4}年[0-9]{1,2}月[0-9]{1,2}日")
    for text in HARMLESS:
        assert amount.findall(text) == amount.findall(redact(text, []).strict)


def test_real_decisions_mostly_come_out(shared_data: Path) -> None:
    """Texts of real decisions, attached to an invented firm: not held, not altered."""
    with (shared_data / "cn_mainland_penalties_real.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    texts = [(value, row["行政相对人名称"]) for row in rows for name, value in row.items() if name and name.endswith("(raw)") and value]
    results = [(text, redact(text, [], keep=[firm] if firm else [])) for text, firm in texts]
    assert len(results) > 30
    assert sum(result.held for _, result in results) <= len(results) / 10
    assert sum(result.strict != text for text, result in results) <= len(results) / 100
    amount = re.compile(r"[0-9][0-9,.]*(?:元|万元|（万元)")
    assert all(amount.findall(text) == amount.findall(result.strict) for text, result in results)


# --- profiles, numbering, values of the record ------------------------------------------------------------------------


def test_equal_values_get_equal_numbers() -> None:
    """Placeholders are typed and consistent through the texts of a record, so that they stay readable."""
    numbering = Numbering()
    first = redact("手机13800138000，另一手机13900139000，再拨138-0013-8000", [], numbering=numbering)
    second = redact(f"身份证{PERSON}，电话13900139000", [], numbering=numbering)
    assert first.strict == "手机〔电话1〕，另一手机〔电话2〕，再拨〔电话1〕"
    assert second.strict == "身份证〔证件号1〕，电话〔电话2〕"


def test_known_values_are_found_however_spaced() -> None:
    """A name that the record gives is replaced with blanks, dots and zero-width signs in it, and in another width."""
    for written in ("甲丙丁", "甲 丙 丁", "甲·丙·丁", "甲\u200b丙丁", "甲.丙丁"):
        assert redact(f"经{written}同意", ["甲丙丁"]).strict == "经〔姓名1〕同意"
    assert redact("与ＡＢＣ１２３联系", ["abc123"]).strict == "与〔姓名1〕联系"
    assert redact("经王一、王二同意", ["王一"]).strict == "经〔姓名1〕、王二同意"


def test_short_and_empty_known_values_are_ignored() -> None:
    """One character, or nothing, would redact everything."""
    text = "甲方于3月1日收到货款"
    assert redact(text, ["甲", "", " ", "3"]).strict == text


def test_third_parties_keeps_names_of_the_own_subject_only() -> None:
    """The own name stays for departments; the own number goes for everybody."""
    result = redact(f"甲丙丁（{PERSON}）伙同戊己庚", ["戊己庚"], ["甲丙丁", PERSON])
    assert result.strict == "〔姓名1〕（〔证件号1〕）伙同〔姓名2〕"
    assert result.third_parties == "甲丙丁（〔证件号1〕）伙同〔姓名2〕"


def test_names_inside_names_of_organisations_stay() -> None:
    """`keep` protects the firm's name, not the person elsewhere."""
    assert redact("甲丙丁药业有限公司的甲丙丁", ["甲丙丁"], keep=["甲丙丁药业有限公司"]).strict == "甲丙丁药业有限公司的〔姓名1〕"


def test_a_checksum_raises_confidence_but_never_gates() -> None:
    """A mistyped citizen number is replaced like a right one."""
    for wrong in "012456789X":
        assert redact(f"身份证{PERSON[:17]}{wrong}", []).strict == "身份证〔证件号1〕"


def test_codes_of_organisations_stay_and_numbers_of_persons_go() -> None:
    """A valid code of digits alone is none of a person's; a citizen number is, though it has eighteen digits too."""
    from gateway.core.records.identifiers import uscc_check_character

    body = next(f"9122050212345{number:04d}" for number in range(9999) if uscc_check_character(f"9122050212345{number:04d}").isdigit())
    code = body + uscc_check_character(body)
    assert redact(f"代码{code}的企业", []).strict == f"代码{code}的企业"
    assert redact(f"代码{PERSON}的企业", []).strict == "代码〔证件号1〕的企业"


def test_the_redactor_names_its_version() -> None:
    """So that another one scores again."""
    assert redact("x", []).redactor == REDACTOR
    assert redact("", []) == Redaction(strict="", third_parties="", residual=0, redactor=REDACTOR)


def test_doubt_holds() -> None:
    """Digits that nothing explains, a cue without a number behind it that was found, somebody named."""
    for text in ("号码12345678待核", "联系 7654321", "账号:abcdef", "负责人王小明在场", "@微博"):
        assert redact(text, []).held, text


# --- any text at all --------------------------------------------------------------------------------------------------

alphabet = st.sampled_from(
    [*"0123456789", *"xX一二〇壹①１", *" -·.,，、/@*\u200b\u3000", *"吉E省号元年第条款", *"王李张小明负责人身份证电话微信账"]
)


@given(st.text(alphabet=alphabet, max_size=80), st.lists(st.text(alphabet=alphabet, max_size=6), max_size=3))
def test_any_text_is_redacted_without_fault(text: str, known: list[str]) -> None:
    """It never raises, and what it does not replace it leaves in place and order."""
    result = redact(text, known)
    pieces = re.split(r"〔[^〕]{2,4}[0-9]+〕", result.strict)
    at = 0
    for piece in pieces:
        at = text.index(piece, at) + len(piece)
    assert result.residual >= 0


@given(
    st.text(alphabet=st.sampled_from([*"，。的了在是不我有这个"]), max_size=20),
    st.text(alphabet=st.sampled_from([*"，。的了在是不我有这个"]), max_size=20),
)
def test_a_citizen_number_never_survives(before: str, after: str) -> None:
    """Whatever words stand around it."""
    for written in (PERSON, " ".join(PERSON), PERSON.translate(str.maketrans("0123456789", "〇一二三四五六七八九"))):
        assert not leaks(redact(before + written + after, []), (written,))


# --- time -------------------------------------------------------------------------------------------------------------


HOSTILE = [
    "1",
    "1 ",
    "a",
    "王",
    "王小",
    "法定代表人",
    "@",
    "a@",
    "22059919800101001",
    "1,",
    "吉E1 ",
    "1-2.3/",
    "1\u200b",
    "(0435)",
    "负责人王小",
    "GB/T 1234.5-2000 ",
    "账号1234567 ",
    "13800138000",
    "2020-01-01 ",
    "〔2020〕1号",
    "微信",
    "0435-3212345 ",
    "Q",
    "E1234567 ",
    "阿·",
    "·",
    "一",
    "1234567号",
]


@pytest.mark.parametrize("unit", HOSTILE)
def test_hostile_texts_come_to_an_end(unit: str) -> None:
    """A quarter of a million characters of anything are read; worse than linear time would not end. The bench measures."""
    text = unit * (250_000 // len(unit))
    assert redact(text, ["王小明", PERSON]).redactor == REDACTOR

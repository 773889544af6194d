"""The door in: what is let in and how it looks then, what is held, what is rejected and how that is told."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.core.errors import RowFault
from gateway.core.records.catalogue import Catalogue
from gateway.core.records.identifiers import org_code_check_character, uscc_check_character
from gateway.core.records.model import Admitted, DatasetId, LifeDates
from tests.core.records.conftest import BASE

Admit = Callable[..., Admitted]
SENDER, OTHER = "11220500XXT0001181", "12220500XXT000126Q"
FIRM, HOUSEHOLD = "91220502XXT00002X2", "92220502XXT0000972"
PERSON, MINOR = "220599198506150070", "220599201011150065"
NATURAL = {"category": "自然人", "name": "测试甲", "uscc": None, "id_type": "身份证", "id_no": PERSON}
CODES = {
    "SCHEMA_MISSING",
    "SCHEMA_TYPE",
    "SCHEMA_LENGTH",
    "SCHEMA_UNKNOWN",
    "SUBJ_USCC",
    "SUBJ_ID",
    "SUBJ_MISSING",
    "LAW_BASIS",
    "LAW_PERSON",
    "LAW_MINOR",
    "LAW_PROHIBITED",
    "SCOPE_AUTHORITY",
}


def fault(admit: Admit, *arguments: Any, **changes: Any) -> RowFault:
    """The fault for which a row is rejected; it names the place."""
    with pytest.raises(RowFault) as caught:
        admit(*arguments, **changes)
    assert caught.value.place == "file.csv!R2"
    assert caught.value.severity == "reject"
    return caught.value


def test_a_penalty_is_admitted(admit: Admit) -> None:
    """A good row becomes normalised values, a subject, a business key and clocks."""
    row = admit()
    assert (row.kind, row.trust, row.category, row.severity, row.hold_code) == ("legal", "signed", "penalty", "general", None)
    assert row.subject_keys == (("uscc", FIRM),)
    assert row.business_key == ("通市监罚(2026)12号", SENDER, f"uscc:{FIRM}")
    assert (row.region, row.authority_code, row.authority_name, row.sender, row.officer) == (
        "220500",
        SENDER,
        "通化市市场监督管理局（示例）",
        SENDER,
        "示例",
    )
    assert row.dates == LifeDates(decision=date(2026, 5, 6))
    values = row.values.open()
    assert values["fine_amount"] == "1.200000"
    assert values["penalty_type"] == "fine"
    assert values["category"] == "legal"
    assert (row.place, row.received_at) == ("file.csv!R2", datetime(2026, 6, 1, 2, 30, tzinfo=UTC))
    assert row.warnings == ()


@pytest.mark.parametrize("dataset", sorted(BASE))
def test_every_dataset_takes_its_good_row(admit: Admit, dataset: str, catalogue: Catalogue) -> None:
    """The good row of each dataset comes in unheld, its values in dictionary order."""
    row = admit(dataset)
    assert (row.hold_code, row.dataset) == (None, dataset)
    names = list(catalogue.datasets[DatasetId(dataset)].fields)
    values = list(row.values.open())
    assert values == sorted(values, key=names.index)


def test_registration_of_the_public_register(admit: Admit) -> None:
    """A registry row keeps its capital as text, its N/A as nothing, and decides nothing about authorities."""
    row = admit(
        "registrations",
        raw={
            "企业名称": "通化市示例商贸有限公司",
            "统一社会信用代码": FIRM,
            "注册日期": "2016-05-11",
            "企业类型": "N/A",
            "注册资金": "1,127(万元人民币)",
            "经营范围": "电气安装。",
            "所在省份": "吉林",
            "地区": "通化",
        },
        context={"sender": None, "officer": None},
    )
    values = row.values.open()
    assert values["registered_capital"] == "1,127(万元人民币)"
    assert "entity_type" not in values
    assert (row.kind, row.trust, row.region, row.authority_code) == ("legal", "vouched", "220500", None)
    assert row.business_key == (f"uscc:{FIRM}",)


def test_own_names_wire_names_and_headers_are_the_same_column(admit: Admit) -> None:
    """A column may come under any of its names; twice is refused."""
    by_name = admit(
        "honours",
        raw={
            "name": "甲",
            "category": "legal",
            "uscc": FIRM,
            "honour_name": "乙",
            "decision_date": "2026-04-20",
            "认定机关": "丙",
            "认定机关统一社会信用代码": SENDER,
        },
    )
    assert by_name.values.open()["authority"] == "丙"
    told = fault(admit, "honours", raw={"name": "甲", "主体名称": "甲"})
    assert (told.code, told.detail) == ("SCHEMA_UNKNOWN", "该列重复")


# --- texts and codes -----------------------------------------------------------------------------------------------------


def test_codes_are_normalised(admit: Admit) -> None:
    """Full width, lower case, blanks and invisible characters in codes do not make a second subject."""
    wide = "".join(chr(ord(character) + 0xFEE0) for character in FIRM.lower())
    for form in (wide, f" {FIRM[:4]}\u00a0{FIRM[4:]} ", f"\ufeff{FIRM}\u200b"):
        assert admit(uscc=form).subject_keys == (("uscc", FIRM),)


def test_names_are_tidied_not_changed(admit: Admit) -> None:
    """Blanks of every kind become one, invisible characters go, brackets stay as sent."""
    row = admit(name="\u3000通化市\u00a0示例  药业（集团）\u200b有限公司\n")
    assert row.values.open()["name"] == "通化市 示例 药业（集团）有限公司"


def test_line_ends_stay_in_texts(admit: Admit) -> None:
    """In free text a line end stays a line end, elsewhere it is a blank."""
    row = admit(facts="第一\r\n第二\t第三", authority="通化市\n市场监督管理局")
    assert row.values.open()["facts"] == "第一\n第二 第三"
    assert row.values.open()["authority"] == "通化市 市场监督管理局"


@pytest.mark.parametrize("character", ["\x00", "\x07", "\x1b", "\x7f", "\ud800", "\uffff"])
def test_control_characters_are_refused(admit: Admit, character: str) -> None:
    """NUL and its relatives reject the row."""
    told = fault(admit, facts=f"销售{character}药品")
    assert (told.code, told.field) == ("SCHEMA_TYPE", "CF_SY")


def test_rare_characters_pass(admit: Admit) -> None:
    """Rare ideographs, those of private use from GB 18030 and emoji are letters like others."""
    assert admit(name="通化市\U00020bb7\ue000示例厂").values.open()["name"] == "通化市\U00020bb7\ue000示例厂"
    assert "😀" in str(admit(facts="店名为😀。").values.open()["facts"])


def test_brackets_of_document_numbers_make_no_second_record(admit: Admit) -> None:
    """One document number in four kinds of brackets is one business key."""
    forms = ("通市监罚〔2026〕12号", "通市监罚【2026】12号", "通市监罚（2026）12 号", "通市监罚[2026]12号", "通市监罚［２０２６］１２号")
    assert {admit(document_number=form).business_key for form in forms} == {("通市监罚(2026)12号", SENDER, f"uscc:{FIRM}")}
    assert admit(document_number="通市监罚2026第12号").business_key[0] == "通市监罚2026第12号"


def test_co_punished_firms_are_two_records(admit: Admit) -> None:
    """One decision against two firms is two records."""
    assert admit().business_key != admit(uscc="91220503XXT000038G").business_key


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1.2", "1.200000"),
        ("0", "0.000000"),
        ("-0", None),
        ("007.50", "7.500000"),
        ("１．５", "1.500000"),
        ("0.000001", "0.000001"),
        ("1.2000000", "1.200000"),
        ("999999999999.999999", "999999999999.999999"),
        ("1000000000000", None),
        ("0.0000001", None),
        ("-1", None),
        ("1,127", None),
        ("200(万)", None),
        ("100万元人民币", None),
        ("肆万捌仟元", None),
        ("1e3", None),
        ("NaN", None),
        (".5", None),
        ("5.", None),
        ("+1", None),
        ("1 000", None),
        ("２万", None),
    ],
)
def test_amounts(admit: Admit, text: str, expected: str | None) -> None:
    """An amount is a plain decimal in 万元 with six places; nothing else is read into one."""
    if expected is not None:
        assert admit(fine_amount=text).values.open()["fine_amount"] == expected
    else:
        told = fault(admit, fine_amount=text)
        assert told.code in ("SCHEMA_TYPE", "SCHEMA_LENGTH")
        assert told.field == "CF_NR_FK"
        assert "万元" in str(told.hint)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-05-06", "2026-05-06"),
        ("2026/5/6", "2026-05-06"),
        ("20260506", "2026-05-06"),
        ("2026.05.06", "2026-05-06"),
        ("2026年5月6日", "2026-05-06"),
        ("２０２６－０５－０６", "2026-05-06"),
        ("2026-05-06 00:00:00", "2026-05-06"),
        ("2024-02-29", "2024-02-29"),
        ("2026-02-29", None),
        ("2026-13-01", None),
        ("2026-05", None),
        ("06/05/2026", None),
        ("2026-5/6", None),
        ("H30.8.10", None),
        ("令和元年7月31日", None),
        ("2026-05-06 09:30:00", None),
        ("46148", None),
        ("0000-00-00", None),
        ("0226-05-06", None),
        ("昨天", None),
        ("2026-W19-3", None),
    ],
)
def test_dates(admit: Admit, text: str, expected: str | None) -> None:
    """A date is a real day in one of the ways that departments write it."""
    if expected is not None:
        assert admit(decision_date=text).values.open()["decision_date"] == expected
    else:
        told = fault(admit, decision_date=text)
        assert (told.code, told.field) == ("SCHEMA_TYPE", "CF_JDRQ")


def test_long_term(admit: Admit) -> None:
    """The national word for "no end" is written as its date, and is no end of validity."""
    for text in ("长期", "2099/12/31"):
        row = admit("administrative-licences", valid_until=text)
        assert row.values.open()["valid_until"] == "2099-12-31"
        assert row.dates.valid_until is None
    assert admit("administrative-licences").dates.valid_until == date(2031, 5, 5)


@pytest.mark.parametrize("text", ["9999-12-31", "2099/12/31", "21000101"])
def test_beyond_the_long_term_is_no_end(admit: Admit, text: str) -> None:
    """However departments write "for ever", it is no end of validity; for any other date it is a day to come, and held."""
    assert admit("honours", valid_until=text).dates.valid_until is None
    assert admit(publish_until_hint=text).dates.upstream_end is None
    for name, column in (("decision_date", "CF_JDRQ"), ("conduct_end", "conduct_end")):
        row = admit(**{name: text})
        assert (row.hold_code, row.hold_field) == ("TIME_FUTURE", column)


def test_length(admit: Admit) -> None:
    """A text is never cut: one character too many rejects the row."""
    assert admit(document_number="罚" * 128).values.open()["document_number"] == "罚" * 128
    told = fault(admit, document_number="罚" * 129)
    assert (told.code, told.field) == ("SCHEMA_LENGTH", "CF_WSH")
    assert fault(admit, penalty_type="字" * 256).code == "SCHEMA_LENGTH"


@pytest.mark.parametrize("cell", [12, True, "9.12205E+17"])
def test_codes_that_are_numbers(admit: Admit, cell: Any) -> None:
    """A code that came as a number is a fault of type with a hint."""
    told = fault(admit, uscc=cell)
    assert (told.code, told.field) == ("SCHEMA_TYPE", "CF_XDR_SHXYM")
    assert "文本" in str(told.hint)


def test_numbers_where_numbers_belong(admit: Admit) -> None:
    """A whole number is good for an amount and a year."""
    assert admit(fine_amount=3).values.open()["fine_amount"] == "3.000000"
    assert admit("honours", evaluation_year=2025).values.open()["evaluation_year"] == 2025
    assert admit("honours", evaluation_year="２０２５").values.open()["evaluation_year"] == 2025
    assert fault(admit, "honours", evaluation_year="2025年").code == "SCHEMA_TYPE"
    assert fault(admit, fine_amount=True).code == "SCHEMA_TYPE"


# --- enumerations --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected", "detail"),
    [
        ("罚款", "fine", None),
        ("fine", "fine", None),
        ("罚款;警告", "warning;fine", None),
        ("罚款；没收违法所得、没收非法财物", "fine;confiscation", None),
        ("警告、罚款", "warning;fine", None),
        ("警告,罚款，责令关闭", "warning;fine;closure", None),
        ("没收违法所得、没收非法财物", "confiscation", None),
        ("罚款、没收违法所得", "fine;confiscation", None),
        ("暂扣或者吊销许可证/执照", "licence_suspended_or_revoked", None),
        ("其他-责令改正", "other", "责令改正"),
        ("罚款；其他－责令限期拆除", "fine;other", "责令限期拆除"),
    ],
)
def test_kinds_of_penalty(admit: Admit, text: str, expected: str, detail: str | None) -> None:
    """Several kinds in one cell become their codes in dictionary order; the words of 其他 are kept."""
    values = admit(penalty_type=text).values.open()
    assert values["penalty_type"] == expected
    assert values.get("penalty_type_detail") == detail


@pytest.mark.parametrize("text", ["训诫", "罚款;训诫", "罚款训诫", "2", "罚", ";", "、"])
def test_unknown_enumeration_value_holds(admit: Admit, text: str) -> None:
    """What the list does not know stays as sent and holds the row, with or without known neighbours."""
    row = admit(penalty_type=text)
    assert (row.hold_code, row.hold_field) == ("SCHEMA_ENUM", "CF_CFLB")
    assert row.values.open()["penalty_type"] == text


def test_old_severity_codes_are_not_coerced(admit: Admit) -> None:
    """`2` of an older table is no severity; a stated one counts before a derived one."""
    assert admit(severity="2").hold_code == "SCHEMA_ENUM"
    assert admit(severity="较重").severity is None
    assert admit(severity="严重").severity == "serious"
    assert admit(severity="minor").severity == "minor"


def test_open_enumeration_of_licences(admit: Admit) -> None:
    """其他-* is the code `other` and its words in the field beside it, unless that was sent too."""
    values = admit("administrative-licences", licence_type="其他-备案").values.open()
    assert (values["licence_type"], values["licence_type_detail"]) == ("other", "备案")
    values = admit("administrative-licences", licence_type="其他-备案", licence_type_detail="告知备案").values.open()
    assert values["licence_type_detail"] == "告知备案"


@pytest.mark.parametrize("kinds", ["行政拘留", "其他", "暂扣或者吊销许可证/执照", "罚款;其他"])
def test_severity_that_cannot_be_derived_holds(admit: Admit, kinds: str) -> None:
    """Without a severity, stated or derivable, there is no clock: held."""
    row = admit(penalty_type=kinds)
    assert (row.hold_code, row.severity) == ("LAW_PERIOD", None)
    assert admit(penalty_type=kinds, severity="一般").hold_code is None


@pytest.mark.parametrize("kinds", ["警告", "通报批评", "警告;通报批评"])
def test_a_mere_warning_that_is_said_to_weigh_more_is_held(admit: Admit, kinds: str) -> None:
    """What the law has not published does not come out because a cell says that it is serious."""
    for severity in ("一般", "严重"):
        row = admit(penalty_type=kinds, severity=severity)
        assert (row.hold_code, row.hold_field) == ("LAW_PERIOD", "CF_SXYZCD")
    assert (admit(penalty_type=kinds, severity="轻微").hold_code, admit(penalty_type=kinds).severity) == (None, "minor")
    assert admit(penalty_type="警告;罚款", severity="严重").hold_code is None


def test_words_of_an_open_enumeration_are_not_cut(admit: Admit) -> None:
    """The words behind 其他 obey the length of the field that takes them."""
    assert admit(penalty_type="其他-" + "改" * 255, severity="一般").values.open()["penalty_type_detail"] == "改" * 255
    told = fault(admit, penalty_type="其他-" + "改" * 256, severity="一般")
    assert (told.code, told.field) == ("SCHEMA_LENGTH", "CF_CFLB")


def test_decision_to_come_is_held(admit: Admit) -> None:
    """A decision of tomorrow waits for a person."""
    assert admit(decision_date="2026-06-02").hold_code == "TIME_FUTURE"
    assert admit(decision_date="2026-06-01").hold_code is None


def test_one_hold_the_rest_told(admit: Admit) -> None:
    """Of several holds the weightiest is the record's, the others are warnings to the sender."""
    row = admit(penalty_type="训诫", category="自然人", decision_date="2026-07-01")
    assert row.hold_code == "SUBJ_CONFLICT"
    assert {code for code, _ in row.warnings} >= {"SCHEMA_ENUM", "TIME_FUTURE"}


# --- what is missing, what is unknown ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["name", "category", "document_number", "facts", "penalty_type", "decision_date", "authority_code", "source_unit"]
)
@pytest.mark.parametrize("cell", [None, "", "  ", "\u3000", "N/A", "无"])
def test_required_fields(admit: Admit, catalogue: Catalogue, name: str, cell: str | None) -> None:
    """A required field that is absent, blank or a word for nothing is missing."""
    told = fault(admit, **{name: cell})
    assert (told.code, told.field) == ("SCHEMA_MISSING", catalogue.datasets[DatasetId("administrative-penalties")].fields[name].wire_name)


def test_missing_basis(admit: Admit) -> None:
    """Without a legal basis there is no penalty."""
    told = fault(admit, legal_basis=None)
    assert (told.code, told.field) == ("LAW_BASIS", "CF_YJ")


def test_unknown_columns(admit: Admit) -> None:
    """An unknown column is refused by name, a prohibited one as such."""
    told = fault(admit, "honours", raw={"ZTMC": "甲", "颜色": "红"})
    assert (told.code, told.field) == ("SCHEMA_UNKNOWN", "颜色")
    assert fault(admit, "honours", raw={"ZTMC": "甲", "血型": None}).code == "LAW_PROHIBITED"
    assert fault(admit, "honours", raw={"ZTMC": "甲", "x" * 200: "1"}).field is None


# --- subjects ------------------------------------------------------------------------------------------------------------


def test_wrong_code(admit: Admit) -> None:
    """A wrong check character rejects the row."""
    told = fault(admit, uscc="91220502XXT00002X3")
    assert (told.code, told.field) == ("SUBJ_USCC", "CF_XDR_SHXYM")
    assert fault(admit, authority_code="11220500XXT0001182").field == "CF_CFJGDM"


def test_inner_check_warns(admit: Admit) -> None:
    """A wrong inner digit is told and stops nothing."""
    row = admit(uscc="91220502XXT000025P")
    assert ("SUBJ_USCC_INNER", "CF_XDR_SHXYM") in row.warnings
    assert row.hold_code is None


def test_unknown_division_is_a_note(admit: Admit) -> None:
    """A division that no table has is noted, never a reason to reject; the national register is no unknown division."""
    assert ("REGION_UNKNOWN", "CF_XDR_SHXYM") in admit(uscc=_code("91229999XXT00001")).warnings
    assert admit(uscc=_code("91100000XXT00001")).warnings == ()
    assert ("REGION_UNKNOWN", "division") in admit("registrations", division="220599").warnings
    assert fault(admit, "registrations", division="2205").code == "SCHEMA_TYPE"


def _code(body: str) -> str:
    """A code with right check characters."""
    return (body17 := body + org_code_check_character(body[8:])) + uscc_check_character(body17)


def test_no_identity(admit: Admit) -> None:
    """A firm without any code and a person without a document have no identity."""
    assert fault(admit, uscc=None).code == "SUBJ_MISSING"
    told = fault(admit, **NATURAL | {"id_no": None})
    assert (told.code, told.field) == ("SUBJ_MISSING", "CF_XDR_ZJHM")


def test_other_keys_of_an_organisation(admit: Admit) -> None:
    """Each of the six codes is identity enough; the strongest comes first."""
    row = admit(uscc=None, org_code="D2143569-X", reg_no="220500000000016", society_no="通民证〔2011〕7")
    assert row.subject_keys == (("org_code", "D2143569X"), ("reg_no", "220500000000016"), ("society_no", "通民证〔2011〕7"))
    assert row.business_key[2] == "org_code:D2143569X"
    assert fault(admit, uscc=None, org_code="D21435690").code == "SCHEMA_TYPE"
    assert fault(admit, uscc=None, reg_no="220500000000017").code == "SCHEMA_TYPE"


def test_tax_number_of_a_merged_registration_is_the_code(admit: Admit) -> None:
    """A taxpayer number that is a unified code is one, household or not; another one than the code given contradicts it."""
    assert admit("tax-violations", uscc=None, tax_no=FIRM).subject_keys == (("uscc", FIRM),)
    assert admit("tax-violations", tax_no=FIRM).subject_keys == (("uscc", FIRM),)
    assert admit("tax-violations", uscc=None, tax_no=HOUSEHOLD).kind == "individual_business"
    assert admit("tax-violations", tax_no="91220503XXT000038G").hold_code == "SUBJ_CONFLICT"
    assert admit("tax-violations", uscc=None, tax_no="220502123456789").subject_keys == (("tax_no", "220502123456789"),)
    assert fault(admit, "tax-violations", tax_no="2205").code == "SCHEMA_TYPE"


@pytest.mark.parametrize("number", [PERSON, f"{PERSON}01"])
def test_citizen_number_as_tax_number(admit: Admit, number: str) -> None:
    """A citizen number among the codes of a firm makes the row a natural person's, and held."""
    row = admit("tax-violations", uscc=None, tax_no=number)
    assert (row.kind, row.hold_code) == ("natural", "SUBJ_CONFLICT")


def test_citizen_number_of_fifteen_as_tax_number(admit: Admit) -> None:
    """Fifteen digits that are a birthday and no organisation code are a person's; with an organisation code they are a firm's."""
    row = admit("tax-violations", uscc=None, tax_no="220599850615007")
    assert (row.kind, row.hold_code) == ("natural", "SUBJ_CONFLICT")
    firm = "22050285061500" + org_code_check_character("85061500")
    assert admit("tax-violations", uscc=None, tax_no=firm).kind == "legal"


def test_registration_number_of_a_household_is_no_firm(admit: Admit) -> None:
    """A number of the series of households under the name of a firm contradicts it, unless a unified code says what it is."""
    row = admit(uscc=None, reg_no="220503600000035")
    assert (row.kind, row.hold_code) == ("natural", "SUBJ_CONFLICT")
    assert admit(reg_no="220503600000035").kind == "legal"
    assert admit(uscc=None, reg_no="220503600000035", category="个体工商户").hold_code is None


@pytest.mark.parametrize("name", ["document_number", "name", "society_no", "authority", "source_unit"])
@pytest.mark.parametrize("form", ["{}", "２２０５９９１９８５０６１５００７０", "220599-19850615-0070", "张某({})"])
def test_citizen_number_in_another_column(admit: Admit, name: str, form: str) -> None:
    """What leaves as it stands holds no citizen number, in whatever form; the fault does not repeat it."""
    told = fault(admit, **{name: form.format(PERSON)})
    assert told.code == "SCHEMA_TYPE"
    assert PERSON[6:14] not in str(told)


@pytest.mark.parametrize("number", ["220500202603150012", "2205991985061500701", "22059919850615007", PERSON[:17] + "1"])
def test_document_numbers_that_look_alike(admit: Admit, number: str) -> None:
    """Division, day and serial make no citizen number; nor do too many digits, too few, or a wrong check digit."""
    assert admit(document_number=f"通市监罚{number}号").hold_code is None


def test_a_person_keeps_name_and_number_where_they_belong(admit: Admit) -> None:
    """Fields that are about a person may hold what the person is known by: they never leave as they stand."""
    assert admit(**NATURAL | {"name": f"张某（{PERSON}）"}).kind == "natural"


def test_withdrawals_wait_for_no_such_doubt(admit: Admit) -> None:
    """What is taken back is taken back, whatever its row looks like."""
    assert admit(op="withdraw", source_unit=PERSON).op == "withdraw"


def test_each_group_of_codes_has_one(admit: Admit, catalogue: Catalogue) -> None:
    """A code that the dataset does not name among those of which one must be there is not enough."""
    described = catalogue.datasets[DatasetId("administrative-penalties")]
    narrow = replace(described, one_of=(("uscc", "org_code"),))
    told = fault(admit, uscc=None, reg_no="220500000000016", context={"dataset": narrow})
    assert (told.code, told.field) == ("SUBJ_MISSING", "CF_XDR_SHXYM")
    assert admit(uscc=None, org_code="D2143569-X", context={"dataset": narrow}).kind == "legal"


def test_household(admit: Admit) -> None:
    """92 is a household whatever the category says."""
    for category in ("个体工商户", "法人及非法人组织", "自然人"):
        row = admit(uscc=HOUSEHOLD, category=category, name="东昌区示例小卖部")
        assert (row.kind, row.hold_code) == ("individual_business", None)
        assert row.subject_keys[0] == ("uscc", HOUSEHOLD)
        assert row.subject_keys[1:] == (("name", "东昌区示例小卖部"),)


@pytest.mark.parametrize("changes", [{"category": "自然人"}, {"category": "个体工商户"}, {"id_no": PERSON, "id_type": "身份证"}])
def test_contradiction_is_a_natural_person_held(admit: Admit, changes: dict[str, str]) -> None:
    """A firm's code with another category, or with an identity number, is treated as a person and held."""
    row = admit(**changes)
    assert (row.kind, row.hold_code) == ("natural", "SUBJ_CONFLICT")


def test_unknown_category_is_a_natural_person_held(admit: Admit) -> None:
    """A category off the list holds; without a code to tell better the subject counts as a person."""
    row = admit(category="其他组织", uscc=None, reg_no="220500000000016")
    assert (row.kind, row.hold_code) == ("natural", "SUBJ_CONFLICT")
    assert ("SCHEMA_ENUM", "CF_XDR_LB") in row.warnings
    assert (admit(category="其他组织").kind, admit(category="其他组织").hold_code) == ("legal", "SCHEMA_ENUM")


def test_natural_person(admit: Admit) -> None:
    """A person is known by the document's number; fifteen digits and a lower-case x are the same person."""
    row = admit(**NATURAL)
    assert (row.kind, row.subject_keys, row.minor, row.hold_code) == ("natural", (("id_no", PERSON),), False, None)
    for form in ("220599850615007", "２２０５９９１９８５０６１５００７０", "220599 19850615 0070"):
        assert admit(**NATURAL | {"id_no": form}).subject_keys == row.subject_keys
    assert row.business_key[2] == f"id_no:{PERSON}"


@pytest.mark.parametrize("number", ["220599198506150071", "220599198502300019", "123", "E12345678"])
def test_wrong_identity_number(admit: Admit, number: str) -> None:
    """A wrong citizen number rejects the row."""
    told = fault(admit, **NATURAL | {"id_no": number})
    assert (told.code, told.field) == ("SUBJ_ID", "CF_XDR_ZJHM")


def test_test_people_in_demo_mode_only(admit: Admit) -> None:
    """Where people are real, division 220599 is refused."""
    assert fault(admit, **NATURAL, context={"demo": False}).code == "SUBJ_ID"


def test_other_documents(admit: Admit) -> None:
    """A passport is taken as it is, told apart by its kind; a birth certificate belongs to a child."""
    row = admit(**NATURAL | {"id_type": "护照号", "id_no": "e1234 5678"})
    assert row.subject_keys == (("id_no", "护照号:E12345678"),)
    assert fault(admit, **NATURAL | {"id_type": "护照号", "id_no": "张三的护照"}).code == "SUBJ_ID"
    assert fault(admit, **NATURAL | {"id_type": "出生医学证明", "id_no": "A220000001"}).code == "LAW_MINOR"


@pytest.mark.parametrize("document", ["居民身份证件", "二代证", "其他-身份证", "驾驶证"])
def test_a_citizen_number_is_one_whatever_the_document_is_called(admit: Admit, document: str) -> None:
    """Under another word for the card the person is the same, and a minor is a minor."""
    assert admit(**NATURAL | {"id_type": document}).subject_keys == (("id_no", PERSON),)
    assert admit(**NATURAL | {"id_type": document, "id_no": MINOR}).minor
    assert fault(admit, **NATURAL | {"id_type": document, "id_no": MINOR, "decision_date": "2024-11-14"}).code == "LAW_MINOR"
    assert fault(admit, **NATURAL | {"id_type": "居民身份证件", "id_no": "220599198506150071"}).code == "SUBJ_ID"


def test_identity_of_the_representative(admit: Admit) -> None:
    """The number of a legal representative is checked like any other and makes the firm no person."""
    row = admit(legal_representative="测试甲", legal_representative_id_no="220599850615007")
    assert row.values.open()["legal_representative_id_no"] == PERSON
    assert (row.kind, row.hold_code) == ("legal", None)
    told = fault(admit, legal_representative_id_no="220599198506150071")
    assert (told.code, told.field) == ("SUBJ_ID", "CF_FR_ZJHM")
    assert admit(legal_representative_id_no="E12345678", legal_representative_id_type="护照号").hold_code is None


def test_minors(admit: Admit) -> None:
    """Under fourteen, now or at the decision, is refused; under eighteen is flagged."""
    assert admit(**NATURAL | {"id_no": MINOR}).minor
    told = fault(admit, **NATURAL | {"id_no": MINOR, "decision_date": "2024-11-14"})
    assert (told.code, told.field) == ("LAW_MINOR", "CF_XDR_ZJHM")
    later = {"now": datetime(2029, 1, 1, tzinfo=UTC)}
    assert not admit(**NATURAL | {"id_no": MINOR, "decision_date": "2028-11-15"}, context=later).minor
    assert admit(**NATURAL | {"id_no": MINOR, "decision_date": "2028-11-14"}, context=later).minor


def test_persons_where_the_dataset_takes_none(admit: Admit) -> None:
    """A dataset about registrations takes no natural persons."""
    told = fault(admit, "registrations", category="自然人", uscc=None, reg_no="220500000000016")
    assert (told.code, told.field) == ("LAW_PERSON", "XYZTLB")
    assert admit("registrations", category="自然人").hold_code == "SUBJ_CONFLICT"
    assert fault(admit, "registrations", category="自然人", uscc=None, reg_no="220500000000016", status="在册不明").code == "LAW_PERSON"


# --- law and scope -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["facts", "content", "violation_type", "remark", "legal_basis"])
def test_prohibited_texts_reject_the_row(admit: Admit, name: str) -> None:
    """What may not be collected rejects the whole row, wherever it stands."""
    told = fault(admit, **{name: "当事人血型：A，住院治疗。"})
    assert told.code == "LAW_PROHIBITED"


def test_scope_of_the_sender(admit: Admit) -> None:
    """A sender speaks for itself, for those it names, or with `*` for the authorities of its region; for nobody else."""
    told = fault(admit, authority_code=OTHER)
    assert (told.code, told.field) == ("SCOPE_AUTHORITY", "CF_CFJGDM")
    assert admit(authority_code=OTHER, context={"sender": OTHER}).region == "220502"
    assert fault(admit, context={"sender": OTHER}).code == "SCOPE_AUTHORITY"
    assert fault(admit, context={"sender": "51220500XXT000134J"}).code == "SCOPE_AUTHORITY"


def test_sender_stands_for_rows_without_authority(admit: Admit) -> None:
    """Where the dataset has no authority in its rows, the sender is it."""
    row = admit("registrations")
    assert (row.authority_code, row.authority_name, row.region) == (SENDER, "通化市市场监督管理局（示例）", "220500")


def test_vouched(admit: Admit) -> None:
    """Without an authority and an officer nobody stands for a row: it is vouched, its authority may be anyone's."""
    row = admit(authority_code=OTHER, context={"sender": None, "officer": None})
    assert (row.trust, row.region, row.sender) == ("vouched", "220502", None)
    assert admit(context={"officer": None}).trust == "vouched"
    unknown = admit(authority_code="51220500XXT000134J", context={"sender": None, "officer": None})
    assert unknown.region == "220500"
    assert ("REGION_UNKNOWN", "CF_CFJGDM") in unknown.warnings


def test_partners_record(admit: Admit) -> None:
    """A partner's signed record keeps its id and region and needs only what identifies it; what publication needs is held for."""
    partner = {"issuer": "credit.baishan.example", "sender": None, "officer": None, "region": "220602"}
    raw = {
        "CF_XDR_MC": "白山市示例药业有限公司",
        "CF_XDR_SHXYM": "91220600XXT000185U",
        "CF_WSH": "白市监罚〔2026〕3号",
        "CF_CFJGDM": _code("11220600XXT00001"),
        "CF_JDRQ": "2026-05-06",
        "CF_YJ": "《中华人民共和国药品管理法》第九十八条",
        "CF_SXYZCD": "general",
    }
    row = admit(raw=raw, context=partner, record_id="rec_abc")
    assert (row.trust, row.issuer, row.region, row.record_id, row.hold_code) == (
        "signed",
        "credit.baishan.example",
        "220602",
        "rec_abc",
        None,
    )
    held = admit(raw={key: value for key, value in raw.items() if key != "CF_YJ"}, context=partner, record_id="rec_abc")
    assert (held.hold_code, held.hold_field) == ("LAW_BASIS", "CF_YJ")
    assert fault(admit, raw={key: value for key, value in raw.items() if key != "CF_WSH"}, context=partner).code == "SCHEMA_MISSING"


def test_withdrawal_needs_only_what_identifies(admit: Admit) -> None:
    """A withdrawal carries the business key and a subject; clocks and texts do not matter."""
    row = admit(op="withdraw", raw={"CF_WSH": "通市监罚〔2026〕12号", "CF_CFJGDM": SENDER, "CF_XDR_SHXYM": FIRM})
    assert (row.op, row.business_key) == ("withdraw", admit().business_key)
    assert admit(op="withdraw", penalty_type="训诫", category="自然人", decision_date="2030-01-01").hold_code is None
    assert fault(admit, op="withdraw", raw={"CF_WSH": "通市监罚〔2026〕12号", "CF_XDR_SHXYM": FIRM}).code == "SCHEMA_MISSING"
    assert fault(admit, op="withdraw", raw={"CF_WSH": "通市监罚〔2026〕12号", "CF_CFJGDM": SENDER}).code == "SUBJ_MISSING"
    assert (
        fault(admit, op="withdraw", raw={"CF_WSH": "通市监罚〔2026〕12号", "CF_CFJGDM": OTHER, "CF_XDR_SHXYM": FIRM}).code
        == "SCOPE_AUTHORITY"
    )


def test_clocks(admit: Admit) -> None:
    """Each date that runs a clock is taken from its field."""
    row = admit(
        "tax-violations",
        listed_on="2026-05-08",
        delivered_on="2026-05-09",
        conduct_end="2024-12-31",
        first_published_on="2026-05-20",
        publish_until_hint="2029-05-19",
    )
    assert row.dates == LifeDates(
        decision=date(2026, 5, 6),
        listing=date(2026, 5, 8),
        delivery=date(2026, 5, 9),
        conduct_end=date(2024, 12, 31),
        first_publication_upstream=date(2026, 5, 20),
        upstream_end=date(2029, 5, 19),
    )
    assert row.severity == "serious"


# --- nothing gets past --------------------------------------------------------------------------------------------------

cells = st.one_of(
    st.text(max_size=8),
    st.text(max_size=60).map("{}¤".format),  # drawn texts are at times words of our own code, and a code of a fault may well stand in it
    st.sampled_from([FIRM, HOUSEHOLD, PERSON, "2026-05-06", "罚款", "自然人", "N/A", "1.5", "\x00", "血型：A"]),
    st.integers(-(2**70), 2**70),
    st.booleans(),
    st.none(),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=150)
@given(data=st.data())
def test_any_row_is_admitted_or_told(admit: Admit, catalogue: Catalogue, data: st.DataObject) -> None:
    """Whatever stands in the cells, the row is admitted or rejected with a published code, and the fault repeats no cell."""
    dataset = data.draw(st.sampled_from(sorted(catalogue.datasets)))
    names = st.sampled_from(sorted(catalogue.datasets[DatasetId(dataset)].fields))
    changes = data.draw(st.dictionaries(names, cells, max_size=4))
    try:
        row = admit(dataset, **changes)
    except RowFault as fault:
        told = fault
    else:
        assert repr(row.values) == f"<Unpublished {sorted(row.values.open())}>"
        assert all(value is not None and value != "" for value in row.values.open().values())
        assert row.subject_keys
        return
    assert told.code in CODES
    assert not any(isinstance(cell, str) and len(cell) > 8 and cell in f"{told}{told.hint}" for cell in changes.values())

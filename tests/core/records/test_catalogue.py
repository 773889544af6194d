"""Reading the policies folder: what stands in it, and how faults in it are told."""

import re

import pytest
from msgspec import structs

from gateway.core.errors import PolicyError
from gateway.core.records.catalogue import Catalogue, read_catalogue
from gateway.core.records.headers import header_map, normalise_header
from gateway.core.records.model import SUBJECT_KINDS, DatasetId
from gateway.core.records.policy_file import MAX_FILE, line_of

Files = dict[str, bytes]
PENALTIES = "datasets/administrative-penalties.toml"


def refused(files: Files, name: str, old: str, new: str) -> PolicyError:
    """The error that a change of one file brings."""
    assert old.encode() in files[name], old
    with pytest.raises(PolicyError) as caught:
        read_catalogue(files | {name: files[name].replace(old.encode(), new.encode(), 1)})
    return caught.value


def test_shipped_datasets(catalogue: Catalogue) -> None:
    """The twelve datasets are there, in the shape of the national tables."""
    assert set(catalogue.datasets) == {
        "registrations",
        "administrative-licences",
        "administrative-penalties",
        "tax-violations",
        "wage-arrears",
        "serious-market-violations",
        "abnormal-operations",
        "honours",
        "commitments",
        "assessments",
        "agency-filings",
        "measures",
    }
    penalties = catalogue.datasets[DatasetId("administrative-penalties")]
    wires = [field.wire for field in penalties.fields.values() if field.wire]
    assert {"CF_XDR_MC", "CF_XDR_SHXYM", "CF_WSH", "CF_SY", "CF_YJ", "CF_CFLB", "CF_NR_FK", "CF_JDRQ", "CF_CFJGDM", "BZ"} <= set(wires)
    assert penalties.fields["fine_amount"].type == "decimal(18,6)"
    assert penalties.fields["fine_amount"].unit == "万元"
    assert penalties.fields["name"].classes == {"legal": "O", "individual_business": "P1", "natural": "P1"}
    for dataset in catalogue.datasets.values():
        assert len(dataset.fields) <= 54
        assert all(set(field.classes) == set(SUBJECT_KINDS) for field in dataset.fields.values())
        assert all(field.label and field.label_en for field in dataset.fields.values())
        assert dataset.bases


def test_every_value_has_words_in_both_languages(catalogue: Catalogue) -> None:
    """Of what we ship; a code list without English words is told in Chinese."""
    for held in catalogue.datasets.values():
        for field in held.fields.values():
            assert field.values_en.keys() == field.values.keys(), (held.id, field.name)
            assert all(each.isascii() and each[0].isupper() for each in field.values_en.values()), (held.id, field.name)
            assert field.words(english=False) == field.values
    severity = catalogue.datasets[DatasetId("administrative-penalties")].fields["severity"]
    assert severity.words(english=True)["minor"] == "Minor"
    assert structs.replace(severity, values_en={}).words(english=True)["minor"] == "轻微"


def test_persons_are_personal_everywhere(catalogue: Catalogue) -> None:
    """Names of related persons and identity numbers are personal for every kind of subject, remarks are unclassified."""
    for dataset in catalogue.datasets.values():
        for field in dataset.fields.values():
            if field.type == "person_name":
                assert set(field.classes.values()) == {"P1"}, field.name
            if field.type == "id_no":
                assert set(field.classes.values()) == {"P2"}, field.name
            if field.name == "remark":
                assert set(field.classes.values()) == {"U"}
            if field.name in ("name", "uscc", "address"):
                assert field.classes["natural"].startswith("P")
                assert field.classes["individual_business"].startswith("P")


def test_header_synonyms_of_the_register(catalogue: Catalogue) -> None:
    """The headers of the public register's extracts are understood, whatever their width and blanks."""
    headers = header_map(catalogue.datasets[DatasetId("registrations")])
    line = "企业名称,统一社会信用代码,注册日期,企业类型,注册资金,经营范围,所在省份,地区"
    found = [headers[normalise_header(header)] for header in line.split(",")]
    assert found == ["name", "uscc", "established_on", "entity_type", "registered_capital", "business_scope", "province", "area"]
    penalties = header_map(catalogue.datasets[DatasetId("administrative-penalties")])
    for header in ("罚款金额（万元）", "罚款金额(万元)", " 罚款金额 ", "cf_nr_fk", "fine_amount", "ＣＦ＿ＮＲ＿ＦＫ"):
        assert penalties[normalise_header(header)] == "fine_amount"


def test_lists(catalogue: Catalogue) -> None:
    """Four black lists and a red one stand ready; none takes households or persons."""
    assert {name: each.polarity for name, each in catalogue.lists.items()} == {
        "tax-violations": "black",
        "wage-arrears": "black",
        "serious-market-violations": "black",
        "abnormal-operations": "black",
        "honours": "red",
    }
    assert not any(each.takes("individual_business") or each.takes("natural") for each in catalogue.lists.values())
    black, red = catalogue.lists["tax-violations"], catalogue.lists["honours"]
    assert (black.polarity, red.polarity) == ("black", "red")
    assert catalogue.list_of(DatasetId("tax-violations")) is black
    assert catalogue.list_of(DatasetId("registrations")) is None
    assert [black.takes(kind) for kind in SUBJECT_KINDS] == [True, False, False]


def test_rules_are_handed_on(policy_files: Files) -> None:
    """The rules of a dataset come through as they were read, in file order."""
    text = policy_files["datasets/honours.toml"].partition(b"[[rules]]")[0] + b'\n[[rules]]\nid = "a"\n[[rules]]\nid = "b"\n'
    made = read_catalogue(policy_files | {"datasets/honours.toml": text})
    assert made.rules[DatasetId("honours")] == ({"id": "a"}, {"id": "b"})


@pytest.mark.parametrize(
    ("file", "old", "new", "code", "says"),
    [
        (PENALTIES, "\nshare =", "\nshere =", "policy-parse", "shere"),
        (PENALTIES, 'share = "conditional"', 'share = "perhaps"', "policy-parse", "perhaps"),
        (PENALTIES, "[bases]", "[basis]", "policy-parse", "basis"),
        (PENALTIES, 'type = "subject_name"', 'type = "surname"', "policy-parse", "field type"),
        (PENALTIES, 'type = "decimal(18,6)"', 'type = "decimal(3,6)"', "policy-parse", "decimal"),
        (PENALTIES, 'label = "罚款金额"', 'lable = "罚款金额"', "policy-parse", "lable"),
        (PENALTIES, 'label = "罚款金额"', 'label = "违法事实"', "policy-parse", "header"),
        (PENALTIES, 'label = "备注"', 'label = "血型"', "policy-parse", "collected"),
        (PENALTIES, 'class = "P1", synonyms', 'class = "P9", synonyms', "policy-parse", "P9"),
        (PENALTIES, "length = 18, class", "length = 0, class", "policy-parse", "length"),
        (PENALTIES, 'detail = "penalty_type_detail"', 'detail = "words"', "policy-S10", "words"),
        (PENALTIES, '"decision_date", "legal_basis"', '"decision_date", "legal_bases"', "policy-S10", "legal_bases"),
        (PENALTIES, 'business_key = ["document_number"', 'business_key = ["document_no"', "policy-S10", "document_no"),
        (PENALTIES, '"society_no"]]', '"society"]]', "policy-S10", "society"),
        (PENALTIES, 'edition = "2024"', 'edition = "2019"', "policy-S10", "2019"),
        (PENALTIES, 'act = "penalty"', 'act = "punishment"', "policy-S10", "punishment"),
        (PENALTIES, 'id = "administrative-penalties"', 'id = "penalties"', "policy-parse", "another name"),
        (PENALTIES, 'id = "administrative-penalties"', 'id = "Penalties"', "policy-parse", "regex"),
        (PENALTIES, 'warning = "警告"', 'Warning = "警告"', "policy-parse", "regex"),
        (PENALTIES, 'warning = "Warning", ', "", "policy-parse", "values_en"),
        (PENALTIES, 'warning = "Warning"', 'caution = "Caution"', "policy-parse", "values_en"),
        (PENALTIES, '"没收违法所得" = "confiscation"', '"没收违法所得" = "taking"', "policy-parse", "alias"),
        (PENALTIES, "\nremark =", "\nuscc =", "policy-parse", "overwrite"),
        (
            PENALTIES,
            'article = "四十八", from = 2021-07-15',
            'article = "四十八", from = 2021-07-15, until = 2020-01-01',
            "policy-S10",
            "ends",
        ),
        ("lists/tax-violations.toml", "range_bit = 3", "range_bit = 0", "policy-parse", "range_bit"),
        ("lists/honours.toml", "range_bit = 0", "range_bit = 32", "policy-parse", "range_bit"),
        ("lists/honours.toml", 'dataset = "honours"', 'dataset = "honour"', "policy-S10", "honour"),
        ("lists/tax-violations.toml", 'dataset = "tax-violations"', 'dataset = "honours"', "policy-parse", "same dataset"),
        ("lists/honours.toml", 'period_rule = "no-statutory-end-honour"', 'period_rule = "forever"', "policy-S10", "forever"),
        ("lists/honours.toml", 'period_rule = "no-statutory-end-honour"', 'period_rule = "order36-serious"', "policy-S10", "honour"),
        ("lists/honours.toml", "persons = false", 'persons = [{ law = "甲" }]', "policy-parse", "authority_lookup_uri"),
        ("lists/honours.toml", 'id = "honours"', 'id = "red"', "policy-parse", "another name"),
        ("lists/honours.toml", 'polarity = "red"', 'polarity = "black"', "policy-S10", "burden"),
        ("lists/honours.toml", "11220500XXT000126U", "11220500XXT000126T", "policy-S10", "check character"),
        ("lists/honours.toml", "legal_basis = [", "legal_basis = []\nother = [", "policy-parse", "other"),
        ("periods.toml", 'id = "order36-general"', 'id = "order36-minor"', "policy-parse", "twice"),
        (
            "periods.toml",
            'max = "P1Y", start = "first_publication" }\nsharing',
            'max = "1Y", start = "first_publication" }\nsharing',
            "policy-parse",
            "max",
        ),
        (
            "periods.toml",
            'max = "P1Y", start = "first_publication" }\nsharing',
            'start = "first_publication" }\nsharing',
            "policy-parse",
            "no_end",
        ),
        ("periods.toml", 'min = "P3M", max = "P1Y"', 'min = "P2Y", max = "P1Y"', "policy-parse", "longer"),
        ("periods.toml", 'start = "first_publication" }', 'start = "yesterday" }', "policy-parse", "yesterday"),
        ("periods.toml", 'acts = ["penalty"]', "acts = []", "policy-parse", "no act"),
        ("periods.toml", "valid = { from = 2026-04-01 }", "valid = { from = 2026-04-01, until = 2026-03-01 }", "policy-parse", "ends"),
        ("periods.toml", 'basis = [{ law = "信用修复管理办法", from = 2026-04-01 }]', "basis = []", "policy-S10", "legal basis"),
        ("catalogue.toml", 'edition = "2024"\nitem = "行政许可"', 'edition = "2024"\nitem = "行政处罚"', "policy-parse", "twice"),
        (
            "catalogue.toml",
            'edition = "2024"\nid = "procurement-limit"',
            'edition = "2025"\nid = "procurement-limit"',
            "policy-S10",
            "2025",
        ),
    ],
)
def test_faults(policy_files: Files, file: str, old: str, new: str, code: str, says: str) -> None:
    """Each slip is refused with its code, its file, its line and a word about it."""
    error = refused(policy_files, file, old, new)
    assert (error.code, error.file) == (code, file)
    assert error.line is not None
    assert says in str(error)


def test_the_line_is_the_line(policy_files: Files) -> None:
    """The line named is the one on which the fault stands."""
    text = policy_files[PENALTIES].decode()
    for old, new in (
        ('type = "subject_name"', 'type = "surname"'),
        ('label = "罚款金额"', 'lable = "罚款金额"'),
        ("\nshare =", "\nshere ="),
    ):
        error = refused(policy_files, PENALTIES, old, new)
        assert error.line == text[: text.index(old.lstrip())].count("\n") + 1


def test_unknown_files(policy_files: Files) -> None:
    """A file that no room reads is refused by its name."""
    for name in ("notes.txt", "datasets/UPPER.toml", "datasets/sub/x.toml", "../etc/passwd", "lists/x.json"):
        with pytest.raises(PolicyError, match=re.escape(name)):
            read_catalogue(policy_files | {name: b""})


def test_missing_files(policy_files: Files) -> None:
    """Without periods or catalogue nothing is read."""
    for name in ("periods.toml", "catalogue.toml"):
        with pytest.raises(PolicyError, match=name):
            read_catalogue({file: text for file, text in policy_files.items() if file != name})


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (b"\xff\xfe[dataset]", 1),
        (b'[dataset]\nid = "a"\nid = "b"\n', 3),
        (b"[dataset]\nid = \n", 2),
        (b"x = " + b"[" * 17 + b"]" * 17, 1),
        (b"\n\nx = " + b"[" * 100_000, 3),
        (b"#" * (MAX_FILE + 1), None),
    ],
)
def test_hostile_files(policy_files: Files, text: bytes, line: int | None) -> None:
    """Wrong encoding, doubled keys, depth and size are refused before anything is made of them."""
    with pytest.raises(PolicyError) as caught:
        read_catalogue(policy_files | {PENALTIES: text})
    assert (caught.value.file, caught.value.line, caught.value.code) == (PENALTIES, line, "policy-parse")


def test_too_many_fields(policy_files: Files) -> None:
    """A dataset has at most 54 fields."""
    more = "".join(f'\nextra_{number} = {{ label = "附加{number}", type = "string" }}' for number in range(30))
    with pytest.raises(PolicyError, match="54"):
        read_catalogue(policy_files | {PENALTIES: policy_files[PENALTIES].replace(b"[fields]", b"[fields]" + more.encode(), 1)})


def test_unclassified_by_default(policy_files: Files) -> None:
    """A field without class is unclassified for every kind, a kind left out too."""
    new = '[fields]\nextra = { label = "附加", type = "string" }\nhalf = { label = "一半", type = "string", class = { legal = "O" } }'
    made = read_catalogue(policy_files | {PENALTIES: policy_files[PENALTIES].replace(b"[fields]", new.encode(), 1)})
    fields = made.datasets[DatasetId("administrative-penalties")].fields
    assert set(fields["extra"].classes.values()) == {"U"}
    assert fields["half"].classes == {"legal": "O", "individual_business": "U", "natural": "U"}


def test_line_of() -> None:
    """A path leads to the line of its value or of the nearest thing around it."""
    text = b'a = 1\n[t]\nb = 2\n"c.d" = { e = 3 }\n[[rules]]\nid = "x"\n[[rules]]\nid = "y"\n  [rules.for]\n  tiers = []\n'
    assert line_of(text, ("a",)) == 1
    assert line_of(text, ("t", "b")) == 3
    assert line_of(text, ("t", "c.d", "e")) == 4
    assert line_of(text, ("rules", 1, "id")) == 8
    assert line_of(text, ("rules", 0)) == 5
    assert line_of(text, ("nothing",)) is None
    assert line_of(b'[x."1"]\ny = 1\n', ("x",)) == 1

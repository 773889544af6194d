"""Changes of a policy that looked narrower and were not, and folders that looked sound: each is told, or refused by name."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache

import pytest
from msgspec import Struct, structs

from gateway.core.disclosure import surroundings
from gateway.core.disclosure.approval import roles_needed
from gateway.core.disclosure.effect import Effect, effect
from gateway.core.disclosure.plans import Plan, Policies
from gateway.core.disclosure.policy import check_policies, compile_policies
from gateway.core.errors import PolicyError
from gateway.core.records.basis import legality
from tests.core.disclosure import making
from tests.core.disclosure.making import DEPARTMENT, PENALTIES, PUBLIC, TODAY, plan_of, refused
from tests.core.disclosure.making import shipped as all_shipped
from tests.core.disclosure.making import shipped_files as all_files

FILE = f"datasets/{PENALTIES}.toml"
TAX = "datasets/tax-violations.toml"
LIST = "lists/tax-violations.toml"
OWED = (
    'obligations = { audit = "subject", case_ref = "required", rate_class = "office", cache = "no-store", '
    "max_rows = 500, max_rows_day = 20000 }"
)
NUMBER = 'field.id_no = { treatment = { do = "keep", first = 6 }, allow = ["lookup"], budget = "200/day" }'


KEPT = (PENALTIES, "tax-violations", "wage-arrears", "abnormal-operations", "honours")


@cache
def shipped_files() -> dict[str, bytes]:
    """The shipped folder with half of its datasets: compiled in half the time."""
    files = {
        path: content
        for path, content in all_files().items()
        if not path.startswith(("datasets/", "lists/")) or path.rpartition("/")[2].removesuffix(".toml") in KEPT
    }
    lines, *ways = files["redlines.toml"].decode().split("[[exceptions]]")
    ways = [way for way in ways if any(f'"{name}.' in way for name in KEPT)]
    files["redlines.toml"] = "[[exceptions]]".join((lines, *ways)).encode()
    return files


@cache
def shipped() -> Policies:
    """That folder, compiled."""
    return compile_policies(shipped_files(), version=1, today=TODAY)


def bent(path: str, *changes: tuple[str, str]) -> dict[str, bytes]:
    """Its files with some text of one of them replaced."""
    return making.bent(path, *changes, of=shipped_files())


def changed(after: Mapping[str, bytes], before: Mapping[str, bytes] | None = None) -> Effect:
    """The effect of a change of the shipped files, or of others."""
    old = shipped() if before is None else compile_policies(before, version=1, today=TODAY)
    return effect(old, compile_policies(after, version=2, today=TODAY, in_force=True))


def without(path: str, files: Mapping[str, bytes] | None = None) -> dict[str, bytes]:
    """The files less one."""
    return {name: content for name, content in (files or shipped_files()).items() if name != path}


def codes(files: Mapping[str, bytes]) -> set[tuple[str, str | None]]:
    """(code, file) of everything wrong with a folder."""
    try:
        return {(error.code, error.file) for error in check_policies(files, version=1, today=TODAY).errors}
    except PolicyError as error:
        return {(error.code, error.file)}


# --- lists ------------------------------------------------------------------------------------------------------------


def test_a_listing_of_no_list_rests_on_nothing() -> None:
    """A blacklist without its list is refused; a red list, or a version that came into force so, publishes nothing."""
    error = refused(without(LIST))
    assert (error.code, error.file) == ("policy-S10", TAX)
    catalogue = compile_policies(without("lists/honours.toml"), version=1, today=TODAY).catalogue
    assert legality(catalogue.datasets["honours"], catalogue, TODAY).code == "LAW_BASIS"  # type: ignore[index]  # a test writes an id as text
    assert legality(catalogue.datasets["tax-violations"], catalogue, TODAY).live  # type: ignore[index]  # the same


def test_to_take_a_list_away_widens() -> None:
    """Its legal basis was asked for; of a category that needs no list nobody asks any more."""
    found = changed(without("lists/abnormal-operations.toml"))
    assert [(other.area, other.what, other.direction) for other in found.others if other.area == "list"] == [("list", "removed", "widens")]
    assert found.widens


def test_a_list_stands_on_a_law_in_force() -> None:
    """On the day of the check; one ground of several is enough."""
    ended = bent(LIST, ('article = "十一", from = 2022-02-01 }', 'article = "十一", from = 2022-02-01, until = 2026-05-01 }'))
    error = refused(ended)
    assert (error.code, error.file) == ("policy-S10", LIST)
    assert error.line
    two = bent(LIST, ("from = 2022-02-01 }]", 'from = 2022-02-01, until = 2026-05-01 }, { law = "新办法", from = 2026-05-02 }]'))
    assert codes(two) == set()
    persons = bent(
        LIST,
        (
            "persons = false",
            'persons = [{ law = "某法", from = 2020-01-01, until = 2021-01-01 }]\nauthority_lookup_uri = "https://credit.example"',
        ),
    )
    assert codes(persons) == {("policy-S10", LIST)}


# --- plans ------------------------------------------------------------------------------------------------------------


def test_what_no_field_shows_is_closed_beside_the_fields() -> None:
    """A field that was hidden does not come back in the envelope when it is taken out of the dataset."""
    hidden = bent(TAX, ('class = { O = "clear" }\ntext', 'class = { O = "clear" }\nfield.authority = { treatment = "drop" }\ntext'))
    text = hidden[TAX].decode().splitlines()
    gone = {**hidden, TAX: "\n".join(line for line in text if not line.startswith(("authority =", "field.authority ="))).encode()}
    for files in (hidden, gone):
        policies = compile_policies(files, version=1, today=TODAY)
        assert not plan_of("tax-violations", *PUBLIC, "legal", policies).envelope.authority


def test_every_member_of_a_plan_is_compared() -> None:
    """The table names the members of the Struct, no more and no fewer."""
    assert surroundings.MEMBERS.keys() == set(Plan.__struct_fields__)


def test_a_member_that_nobody_thought_of_widens(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if it had been added to plans since."""
    plan = plan_of(PENALTIES, *PUBLIC, "legal", shipped())
    less = structs.replace(plan, envelope=structs.replace(plan.envelope, severity=False))
    assert [found.direction for found in surroundings.surroundings(plan, less)] == ["narrows"]
    monkeypatch.setattr(surroundings, "MEMBERS", {name: look for name, look in surroundings.MEMBERS.items() if name != "envelope"})
    assert [found.direction for found in surroundings.surroundings(plan, less)] == ["widens"]


@pytest.mark.parametrize("member", ["envelope", "gate", "obligations"])
def test_what_is_more_beside_the_cells_widens(member: str) -> None:
    """Each truth of envelope and gate, each obligation, there or back."""
    plan = plan_of(PENALTIES, *DEPARTMENT, "legal", shipped())
    held: Struct | None = getattr(plan, member)
    assert held is not None
    for name in held.__struct_fields__:
        value = getattr(held, name)
        other = not value if isinstance(value, bool) else None if value else "other"
        if name in ("audit", "cache", "case_ref", "period", "legality"):
            other = {"audit": "none", "cache": "public", "case_ref": "none", "period": "none", "legality": "held"}[name]
        if name in ("flags", "requires"):
            other = ("other",)
        more = structs.replace(plan, **{member: structs.replace(held, **{name: other})})
        there, back = list(surroundings.surroundings(plan, more)), list(surroundings.surroundings(more, plan))
        assert there, name
        assert back, name
        assert "widens" in {found.direction for found in (*there, *back)}, name


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        (FILE, 'wire = "CF_WSH"', 'wire = "CF_WSHM"'),
        (FILE, 'label = "处罚机关"', 'label = "决定机关"'),
        (FILE, 'synonyms = ["CF_XZJG"]', 'synonyms = ["CF_XZJG", "机关"]'),
        ("datasets/wage-arrears.toml", "removed_on", "taken_off_on"),
        (
            FILE,
            'type = "string", length = 200, required = true, class = "O", synonyms = ["CF_XZJG"]',
            'type = "string", length = 200, required = true, class = "O", derived_from = ["source_unit"], synonyms = ["CF_XZJG"]',
        ),
    ],
)
def test_what_intake_reads_changes_by_two_persons(path: str, old: str, new: str) -> None:
    """A header may be another field's column, a clock may be the end of a record."""
    files = dict(shipped_files())
    assert old in files[path].decode()
    files[path] = files[path].decode().replace(old, new).encode()
    assert changed(files).widens


def test_a_plan_ends_with_the_first_ground_of_all() -> None:
    """That of an exception, of a red line, of the list and of the catalogue's item among them."""
    for path, old, who in (
        ("redlines.toml", 'article = "四十八", from = 2021-07-15 }', (PENALTIES, *PUBLIC, "individual_business")),
        ("redlines.toml", 'law = "中华人民共和国未成年人保护法", from = 2021-06-01 }', (PENALTIES, *PUBLIC, "legal")),
        (LIST, "from = 2022-02-01 }", ("tax-violations", *PUBLIC, "legal")),
        ("catalogue.toml", 'article = "四十八", from = 2021-07-15 }', (PENALTIES, *DEPARTMENT, "legal")),
        ("catalogue.toml", "from = 2024-01-01", (PENALTIES, *DEPARTMENT, "legal")),
    ):
        end = "\nuntil = 2026-07-01" if old == "from = 2024-01-01" else ", until = 2026-07-01 }"
        policies = compile_policies(bent(path, (old, old.removesuffix(" }") + end)), version=1, today=TODAY)
        assert plan_of(*who, policies).valid_until == datetime(2026, 7, 1, 16, tzinfo=UTC), (path, old)  # type: ignore[arg-type]  # one of each
    files = bent("catalogue.toml", ("from = 2024-01-01", "from = 2024-01-01\nuntil = 2026-07-01"))
    own = plan_of(PENALTIES, "subject", "self.read", "natural", compile_policies(files, version=1, today=TODAY))
    assert own.valid_until is None  # the subject sees its own as held


# --- budgets and obligations --------------------------------------------------------------------------------------------


def test_a_budget_that_is_not_written_is_two_hundred() -> None:
    """So another one is compared with what holds."""
    none = bent(FILE, (NUMBER, NUMBER.replace(', budget = "200/day"', "")))
    assert plan_of(PENALTIES, *DEPARTMENT, "natural", compile_policies(none, version=1, today=TODAY)).budgets == {"id_no": 200}
    much = bent(FILE, (NUMBER, NUMBER.replace("200/day", "900000000/day")))
    found = changed(much, none)
    assert found.widens
    assert found.personal
    assert not changed(bent(FILE, (NUMBER, NUMBER.replace("200/day", "100/day"))), none).widens
    assert not changed(bent(FILE, (NUMBER, NUMBER.replace(', allow = ["lookup"], budget = "200/day"', "")))).widens


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('field.tax_no = { treatment = "clear" }', 'field.tax_no = { treatment = "clear", budget = "1/day" }'),
        ('field.uscc = { treatment = "clear" }', 'field.uscc = { treatment = "clear", allow = ["lookup"], budget = "1/day" }'),
        (NUMBER, NUMBER.replace('allow = ["lookup"], ', "")),
    ],
)
def test_a_budget_that_nothing_spends_is_refused(old: str, new: str) -> None:
    """Only look-ups of persons by their number are counted."""
    assert codes(bent(FILE, (old, new))) == {("policy-S10", FILE)}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('audit = "subject"', 'audit = "call"'),
        ('cache = "no-store"', 'cache = "public"'),
        (", max_rows_day = 20000", ""),
        ("max_rows = 500, ", ""),
    ],
)
def test_a_personal_plan_owes_trail_no_copy_and_a_bound(old: str, new: str) -> None:
    """Each of them missing is refused at the rule's obligations; a version in force is not closed by it."""
    files = bent(FILE, (OWED, OWED.replace(old, new)))
    error = refused(files)
    assert (error.code, error.file, error.rule) == ("policy-S10", FILE, "penalties-supervision")
    assert OWED.replace(old, new) in files[FILE].decode().splitlines()[(error.line or 0) - 1]
    assert check_policies(files, version=1, today=TODAY, in_force=True).policies is not None


def test_every_shipped_plan_about_persons_is_bound_or_bulk_by_duty() -> None:
    """Where a case is asked about, one organisation takes so many rows a day; reports to the province are the only others."""
    for held in all_shipped().plan_sets.values():
        for plan in held.plans.values():
            if plan.personal and plan.tier not in ("public", "subject"):
                assert plan.obligations.max_rows_day is not None or plan.purpose == "province.report", (held.dataset, plan.purpose)


# --- classes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("type_", "class_", "wrong"),
    [
        ("person_name", '"O"', True),
        ("person_name", '"B1"', True),
        ("person_name", '"P1"', False),
        ("id_no", '"P1"', True),
        ("id_no", '"P2"', False),
        ("id_no", '"U"', False),
        ("mobile", '"B1"', True),
        ("email", '"O"', True),
        ("account", '"B2"', True),
        ("plate", '{ legal = "O", individual_business = "P2", natural = "P2" }', True),
        ("phone", '{ legal = "B1", individual_business = "P2", natural = "P2" }', False),
        ("phone", '"B1"', True),
        ("address", '{ legal = "O", individual_business = "O", natural = "P2" }', True),
        ("address", '{ legal = "O", individual_business = "P2", natural = "P3" }', False),
        ("subject_name", '{ legal = "O", individual_business = "P1", natural = "O" }', True),
        ("uscc", '"O"', False),
        ("string", '"O"', False),
    ],
)
def test_a_type_that_names_persons_has_a_class_of_persons(type_: str, class_: str, wrong: bool) -> None:
    """Whatever somebody wrote; unclassified hides it, an authority's code is nobody's."""
    files = bent(
        FILE, ("remark = { wire", f'another = {{ label = "另一栏", type = "{type_}", length = 60, class = {class_} }}\nremark = {{ wire')
    )
    found = check_policies(files, version=1, today=TODAY).errors
    assert (
        ("policy-S10", "another") in {(error.code, error.field) for error in found}
        if wrong
        else all(error.code != "policy-S10" for error in found)
    )


def test_the_code_of_a_household_is_its_operators() -> None:
    """The subject's own code, by its name or by what it links."""
    for old, new in (
        (
            'class = { legal = "O", individual_business = "P2", natural = "P2" }, link_key = "org", synonyms = ["代码_1"',
            'class = "O", link_key = "org", synonyms = ["代码_1"',
        ),
    ):
        assert (refused(bent(FILE, (old, new))).code, refused(bent(FILE, (old, new))).field) == ("policy-S10", "uscc")


def test_a_lowered_class_asks_for_the_privacy_officer() -> None:
    """The type is looked at, also where the class says nothing of persons on either side."""
    plain = bent(
        FILE, ("remark = { wire", 'another = { label = "另一栏", type = "phone", length = 60, class = { legal = "B1" } }\nremark = { wire')
    )
    named = {
        **plain,
        FILE: plain[FILE].replace(
            b'type = "phone", length = 60, class = { legal = "B1" }', b'type = "person_name", length = 60, class = { legal = "P1" }'
        ),
    }
    found = changed(named, plain)
    assert any(cell.identifies and cell.personal for cell in found.cells)
    assert "privacy-officer" in roles_needed(found)


def test_unclassified_fields_are_not_shown_by_their_class_either() -> None:
    """S2 looks at `class` as well as at the lines of fields."""
    error = refused(bent(FILE, ('class = { O = "clear" }', 'class = { O = "clear", U = "clear" }')))
    assert (error.code, error.file, error.rule) == ("policy-S2", FILE, "penalties-open-legal")
    assert codes(bent(FILE, ('class = { O = "clear" }', 'class = { O = "clear", U = "drop" }'))) == set()


# --- birthdays ------------------------------------------------------------------------------------------------------------


def planted(label: str, sex: str, told: str = "") -> dict[str, bytes]:
    """A day and something like a sex about persons beside the number, shown to departments."""
    day = f'day_a = {{ label = "{label}", type = "date", class = "P2"{told} }}'
    mark = f'mark_b = {{ label = "甲乙", class = "P2", {sex} }}'
    fields = f"{day}\n{mark}\nremark = {{ wire"
    return bent(
        FILE,
        ("remark = { wire", fields),
        (NUMBER, f'{NUMBER}\nfield.day_a = {{ treatment = "clear" }}\nfield.mark_b = {{ treatment = "clear" }}'),
    )


@pytest.mark.parametrize(
    "sex",
    [
        'type = "bool"',
        'type = "string", length = 4',
        'type = "enum", values = { f = "女", m = "男" }',
        'type = "string", length = 40, tells = "sex"',
    ],
)
@pytest.mark.parametrize("label", ["生日", "出生日期", "某日"])
def test_a_birthday_is_one_whatever_it_is_called(label: str, sex: str) -> None:
    """Every date of class P may be one; the label decides nothing."""
    error = refused(planted(label, sex))
    assert (error.code, error.field) == ("policy-S6", "id_no")
    assert "500 candidates" in error.detail


def test_a_field_says_that_it_tells_nothing() -> None:
    """Declared, and a declaration changes by two persons."""
    said = planted("某日", 'type = "bool"', ', tells = "nothing"')
    assert codes(said) == set()
    other = planted("某日", 'type = "bool", tells = "nothing"')
    assert changed(said, other).widens
    assert codes(planted("某日", 'type = "string", length = 40')) == set()


# --- what is kept -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "fine"),
    [
        ('"audit.personal" = "P10Y"', '"audit.personal" = "P1D"', False),
        ('"audit.personal" = "P10Y"', '"audit.personal" = "P59M"', False),
        ('"audit.personal" = "P10Y"', '"audit.personal" = "P60M"', True),
        ('"audit.personal" = "P10Y"', '"audit.personal" = "P1860D"', True),
        ('"audit.count" = "P6M"', '"audit.count" = "P5M"', False),
        ('"disclosure.personal" = "P3Y"', '"disclosure.personal" = "P2Y"', False),
        ('"audit.count" = "P6M"', '"audit.count" = "P6M"\n"audit.network" = "P1M"', False),
        ('"audit.count" = "P6M"', '"audit.count" = "P6M"\n"audit.short" = "P9Y"', False),
    ],
)
def test_nothing_is_kept_for_less_than_the_law_asks(old: str, new: str, fine: bool) -> None:
    """Below the floor, or under a name that nobody reads: no policy at all."""
    assert codes(bent("periods.toml", (old, new))) == (set() if fine else {("policy-parse", "periods.toml")})


def test_who_asked_is_kept_otherwise_by_two_persons_and_the_privacy_officer() -> None:
    """Shorter and longer alike; counters may be kept longer."""
    for kept in ("P6Y", "P20Y"):
        assert "privacy-officer" in roles_needed(
            changed(bent("periods.toml", ('"audit.personal" = "P10Y"', f'"audit.personal" = "{kept}"')))
        )
    assert not changed(bent("periods.toml", ('"audit.count" = "P6M"', '"audit.count" = "P1Y"'))).widens


def test_a_purpose_of_persons_is_not_remembered_as_a_count() -> None:
    """The floors would be worth nothing otherwise."""
    files = bent("purposes.toml", ('retention = "audit.personal"', 'retention = "audit.count"'))
    assert codes(files) == {("policy-S10", "purposes.toml")}

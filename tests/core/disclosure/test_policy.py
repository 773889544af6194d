"""Policies: the shipped ones compile to the plans they describe, and every fault is refused with file, line and what to do."""

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from itertools import product

import msgspec
import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.disclosure.deciding import Decider
from gateway.core.disclosure.effect import effect
from gateway.core.disclosure.masking import DROPPED, nothing
from gateway.core.disclosure.obligations import Obligations, strictest
from gateway.core.disclosure.plans import digest
from gateway.core.disclosure.policy import check_policies, compile_policies, files_digest
from gateway.core.disclosure.row_rules import Attributes, allows
from gateway.core.disclosure.rules import DisclosureFiles, Rule, read_disclosure_files, read_rules
from gateway.core.disclosure.treatments import CLEAR, DROP, Keep, Redact, Surname, leq
from gateway.core.errors import PolicyError
from gateway.core.records.catalogue import Catalogue, read_catalogue
from gateway.core.records.model import SUBJECT_KINDS, DatasetId
from tests.core.disclosure.bulk import LIMIT, bulk
from tests.core.disclosure.making import (
    DEPARTMENT,
    PARTNER,
    PENALTIES,
    PUBLIC,
    TODAY,
    added,
    bent,
    line_of,
    plan_of,
    refused,
    shipped,
    shipped_files,
)

FILE = f"datasets/{PENALTIES}.toml"
DATASETS = (
    "abnormal-operations",
    "administrative-licences",
    PENALTIES,
    "agency-filings",
    "assessments",
    "commitments",
    "honours",
    "measures",
    "registrations",
    "serious-market-violations",
    "tax-violations",
    "wage-arrears",
)
OPEN = tuple(dataset for dataset in DATASETS if dataset != "measures")
"""What somebody but departments may read at all."""


# --- what is shipped --------------------------------------------------------------------------------------------------


def test_every_dataset_is_ruled_for_every_tier_and_purpose() -> None:
    """Each tier has, for each purpose open to it, a plan set of all datasets that it may read; organisations have a plan in each.

    Under `mutual.query` a department asks other cities: nothing of ours is shown to it.
    """
    policies = shipped()
    asked = {(tier, purpose) for purpose, info in policies.purposes.items() for tier in info.tiers}
    assert {tier for tier, _ in asked} == set(policies.tiers) - {"developer"}
    closed = {("measures", *who) for who in (PUBLIC, ("developer", "open.read"), ("pboc", "pboc.report"))}
    closed |= {(dataset, "department", "mutual.query") for dataset in DATASETS}
    assert set(policies.plan_sets) == {(dataset, *who) for dataset in DATASETS for who in asked} - closed
    assert all("legal" in held.plans for held in policies.plan_sets.values())


def test_who_has_nothing_of_households_and_persons() -> None:
    """Partners and the central bank get organisations only; the central bank sees of them what the public sees, and no more."""
    for (dataset, tier, _), held in shipped().plan_sets.items():
        if tier in ("partner", "pboc"):
            assert set(held.plans) == {"legal"}, dataset
    for dataset in OPEN:
        public = plan_of(dataset, *PUBLIC, "legal")
        bank = plan_of(dataset, "pboc", "pboc.report", "legal")
        assert bank.steps == public.steps
        assert not bank.personal


def test_what_is_said_to_be_for_few_is_for_few() -> None:
    """Every rule of a dataset whose records say how far they may go keeps to it, but for the subject itself."""
    reach = {"public": ("public",), "partner": ("public",), "pboc": ("public",), "department": ("public", "shared")}
    reach["supervisor"] = reach["department"]
    for dataset in ("commitments", "assessments"):
        for (of, tier, _), held in shipped().plan_sets.items():
            if of == dataset and tier != "subject":
                for plan in held.plans.values():
                    assert plan.rows is not None
                    attributes = Attributes(org_id="11220500XXT0001181", grant_regions=("220500",))
                    row = {"region": "220502", "owner_org": "11220500XXT0001181"}
                    reaches = ("public", "shared", "authorised")
                    seen = tuple(each for each in reaches if allows(plan.rows, row | {"disclosure": each}, attributes))
                    assert seen == reach[tier], (dataset, tier)


def test_natural_persons_leave_by_no_open_exit() -> None:
    """No public plan for a natural person in any dataset, and nothing about persons goes to a partner."""
    for dataset in OPEN:
        assert "natural" not in plan_set(dataset, PUBLIC).plans
        assert set(plan_set(dataset, PARTNER).plans) == {"legal"}


def plan_set(dataset: str, who: tuple[str, str]):  # type: ignore[no-untyped-def]  # a short hand for tests
    held = shipped().plan_set(dataset, *who)
    assert held is not None
    return held


def test_public_view_of_a_household_is_masked() -> None:
    """Name as county and stars, code to its first eight, no number of the decision, no operator, no text; looked up whole only."""
    plan = plan_of(PENALTIES, *PUBLIC, "individual_business")
    cells = {name: reasons.treatment for name, reasons in plan.reasons.items()}
    assert cells["name"] == Surname()
    assert cells["uscc"] == Keep(first=8)
    for hidden in (
        "document_number",
        "legal_representative",
        "id_no",
        "legal_representative_id_no",
        "facts",
        "content",
        "remark",
        "reg_no",
    ):
        assert cells[hidden] == DROP
    assert plan.capabilities["name"] == plan.capabilities["uscc"] == {"lookup"}
    assert not plan.personal, "the exception of redlines.toml names what is shown of the code"


def test_public_texts_of_organisations_are_redacted_strictly() -> None:
    """Strict profile, held while in doubt, with a summary in their place."""
    plan = plan_of(PENALTIES, *PUBLIC, "legal")
    assert {plan.reasons[name].treatment for name in ("facts", "content", "legal_basis", "violation_type")} == {
        Redact(profile="strict", hold=True)
    }
    assert plan.summary is not None
    assert "facts" not in plan.columns, "the raw text stays in the database"
    assert "facts" in plan.texts
    assert plan.reasons["remark"].treatment == DROP


def test_departments_see_names_and_codes_but_no_whole_number_of_a_person() -> None:
    """Names and codes clear, citizen numbers to their first six, texts with the persons of others taken out."""
    for kind in SUBJECT_KINDS:
        cells = {name: reasons.treatment for name, reasons in plan_of(PENALTIES, *DEPARTMENT, kind).reasons.items()}
        assert cells["name"] == cells["uscc"] == CLEAR
        assert cells["id_no"] == Keep(first=6)
        assert cells["legal_representative_id_no"] == DROP
        assert cells["facts"] == Redact(profile="third_parties")
        assert cells["remark"] == DROP


def test_partners_see_open_fields_of_organisations() -> None:
    """Open fields clear, texts strictly redacted, of the legal representative the surname."""
    plan = plan_of(PENALTIES, *PARTNER, "legal")
    personal = {name: reasons.treatment for name, reasons in plan.reasons.items() if reasons.class_ in ("P1", "P2", "P3")}
    assert {name for name, treatment in personal.items() if treatment != DROP} == {"legal_representative"}
    assert personal["legal_representative"] == Surname()
    assert not plan.personal


def test_no_plan_lets_anyone_feel_his_way_to_a_person() -> None:
    """Filter, sort, facet and search stand on clear fields only, and never on a field about persons."""
    for held in shipped().plan_sets.values():
        for plan in held.plans.values():
            for name, rights in plan.capabilities.items():
                guessable = rights & {"filter", "sort", "facet", "search"}
                assert not guessable or (plan.reasons[name].treatment == CLEAR and plan.reasons[name].class_ == "O")


def test_unclassified_fields_are_nowhere() -> None:
    """A field of class U is in no step, column or capability of any plan."""
    for held in shipped().plan_sets.values():
        for plan in held.plans.values():
            unclassified = {name for name, reasons in plan.reasons.items() if reasons.class_ == "U"}
            assert "remark" in unclassified
            assert not unclassified & ({step.field for step in plan.steps} | set(plan.columns) | set(plan.texts) | set(plan.capabilities))


def test_tiers_nest() -> None:
    """Wherever two tiers both have a plan, department and partner see no less than the public."""
    for dataset in OPEN:
        for who in (DEPARTMENT, PARTNER):
            for kind, low in plan_set(dataset, PUBLIC).plans.items():
                high = plan_set(dataset, who).plans.get(kind)
                if high is not None:
                    assert all(leq(low.reasons[name].treatment, high.reasons[name].treatment) for name in low.reasons)


def test_dropped_values_are_not_even_selected() -> None:
    """What a plan does not show is no column of it; steps stand in the order of the dictionary."""
    for (dataset, _, _), held in shipped().plan_sets.items():
        order = list(shipped().catalogue.datasets[dataset].fields)  # type: ignore[index]  # ids are text here
        for plan in held.plans.values():
            names = [step.field for step in plan.steps]
            assert names == [name for name in order if plan.reasons[name].treatment != DROP]
            assert set(plan.columns) | set(plan.texts) == set(names)


def test_warnings_name_what_no_rule_covers() -> None:
    """Uncovered triples are no fault: they drop everything, and are listed."""
    found = check_policies(shipped_files(), version=1, today=TODAY)
    assert found.errors == ()
    said = {warning.file: warning.detail for warning in found.warnings}
    assert "(public, open.read, natural)" in said[FILE]
    assert "registrations" not in str(
        [detail for detail in said.values() if "(public, open.read, natural)" in detail and "registr" in detail]
    )


def test_warnings_name_a_dataset_that_rests_on_nothing() -> None:
    """An item that the catalogue has not is no fault, for it may vanish by law: its records are held, and whoever checks is told."""
    found = check_policies(bent(FILE, ('item = "行政处罚" }', 'item = "行政处分" }')), version=1, today=TODAY)
    assert found.errors == ()
    (warning,) = (each for each in found.warnings if each.code == "policy-S10")
    assert (warning.file, warning.line) == (FILE, line_of(dict(shipped_files()), FILE, "catalogue = {"))
    assert "行政处分" in warning.detail
    assert not [each for each in check_policies(shipped_files(), version=1, today=TODAY).warnings if each.code == "policy-S10"]


# --- names of versions ------------------------------------------------------------------------------------------------


def test_equal_files_give_equal_hashes() -> None:
    """Compiled twice, everything has the same name; and the version number is no part of a plan."""
    again = compile_policies(shipped_files(), version=7, today=TODAY)
    assert {key: held.hash for key, held in again.plan_sets.items()} == {key: held.hash for key, held in shipped().plan_sets.items()}
    assert again.hash_of(*PUBLIC) == shipped().hash_of(*PUBLIC)
    assert again.digest == files_digest(shipped_files())


def test_a_comment_changes_the_digest_of_the_folder_but_no_plan() -> None:
    """Plans are named by what they decide, folders by their bytes."""
    again = compile_policies(bent(FILE, ("[bases]", "# a remark\n[bases]")), version=1, today=TODAY)
    assert again.digest != shipped().digest
    assert again.hash_of(*PUBLIC) == shipped().hash_of(*PUBLIC)


def test_a_plan_hash_tells_every_change_of_what_is_shown() -> None:
    """Treatment, right, text profile, basis, period and catalogue each give another name, and only to the plans concerned."""
    before = {key: held.hash for key, held in shipped().plan_sets.items()}

    def moved(files: dict[str, bytes]) -> set[tuple[str, str, str]]:
        after = compile_policies(files, version=1, today=TODAY)
        return {key for key, held in after.plan_sets.items() if held.hash != before[key]}

    assert moved(bent(FILE, ('field.conduct_end = { treatment = "drop" }\nfield.violation_type', "field.violation_type"))) == {
        (PENALTIES, *PUBLIC)
    }
    assert moved(bent(FILE, ('field.facts = { allow = ["export", "delta"] }', 'field.facts = { allow = ["export"] }'))) == {
        (PENALTIES, *PUBLIC)
    }
    supervision = {(PENALTIES, tier, "dept.supervision") for tier in ("department", "supervisor")}
    assert moved(bent(FILE, ('profile = "third_parties"', 'profile = "strict"'))) == supervision
    assert moved(bent(FILE, ('basis = ["cf48", "xxgk20"]', 'basis = ["cf48"]'))) == {(PENALTIES, *PUBLIC)}
    assert moved(bent("periods.toml", ('max = "P1Y", start = "first_publication"', 'max = "P11M", start = "first_publication"'))) == set(
        before
    )


def test_canonical_form_is_rfc_8785() -> None:
    """The digest is that of the canonical JSON another implementation would write."""
    value = {"b": [1, "二", None, True], "a": {"z": "\n\u0001", "é": "x"}, "A": "😀"}
    assert digest(value) == hashlib.sha256(rfc8785.dumps(value)).hexdigest()


def test_the_parts_of_a_hash() -> None:
    """A plan set is named by its sorted plans, a purpose by its sorted sets."""
    held = plan_set(PENALTIES, PUBLIC)
    assert held.hash == digest(sorted(plan.plan_hash for plan in held.plans.values()))
    assert shipped().hash_of(*PUBLIC) == digest([plan_set(dataset, PUBLIC).hash for dataset in OPEN])
    assert shipped().hash_of("developer", "open.read") == shipped().hash_of(*PUBLIC)
    assert shipped().plan_set(PENALTIES, "developer", "open.read") is shipped().public(PENALTIES)


# --- grounds end ------------------------------------------------------------------------------------------------------


def test_a_plan_ends_with_the_first_of_its_grounds() -> None:
    """Until the last day of a law or of an exception, in Tonghua's time."""
    household = plan_of(PENALTIES, *PUBLIC, "individual_business")
    assert household.valid_until == datetime(2027, 12, 31, 16, tzinfo=UTC), "the exception for the code ends"
    assert plan_of(PENALTIES, *PUBLIC, "legal").valid_until is None
    ending = bent(FILE, ('article = "四十八", from = 2021-07-15 }', 'article = "四十八", from = 2021-07-15, until = 2026-06-30 }'))
    plan = plan_of(PENALTIES, *PUBLIC, "legal", compile_policies(ending, version=1, today=TODAY))
    assert plan.valid_until == datetime(2026, 6, 30, 16, tzinfo=UTC)


def test_an_expired_ground_refuses_a_proposal_and_closes_what_is_in_force() -> None:
    """A new activation is refused; the version in force starts again, its plans closed by their end."""
    ended = bent(FILE, ('article = "四十八", from = 2021-07-15 }', 'article = "四十八", from = 2021-07-15, until = 2026-05-31 }'))
    error = refused(ended)
    assert (error.code, error.rule, error.file) == ("policy-S10", "penalties-open-legal", FILE)
    in_force = compile_policies(ended, version=1, today=TODAY, in_force=True)
    assert plan_of(PENALTIES, *PUBLIC, "legal", in_force).valid_until == datetime(2026, 5, 31, 16, tzinfo=UTC)


# --- faults -----------------------------------------------------------------------------------------------------------

_ROWS = 'rows = { any = [{ within = ["region", "$grant.regions"] }, { eq = ["owner_org", "$org.id"] }] }'
_OPEN_LEGAL = 'for = { tiers = ["public"], purposes = ["open.read"], kinds = ["legal"] }'
_HOUSEHOLD = 'kinds = ["individual_business"] }\nclass = { O = "clear", P1 = "surname" }'


@pytest.mark.parametrize(
    ("code", "old", "new", "at"),
    [
        # what a Struct refuses
        ("policy-parse", 'treatment = "surname", allow', 'treatment = "surnme", allow', 'treatment = "surnme"'),
        ("policy-parse", '{ do = "keep", first = 8 }', '{ do = "keeep", first = 8 }', "keeep"),
        ("policy-parse", '{ do = "keep", first = 8 }', '{ do = "keep", first = -1 }', "first = -1"),
        ("policy-S10", '{ do = "keep", first = 8 }', '"pseudonym"', 'field.uscc = { treatment = "pseudonym"'),
        ("policy-parse", '{ do = "keep", first = 8 }', '{ do = "token" }', "token"),
        ("policy-parse", 'obligations = { audit = "count"', 'obligations = { audit = "all"', 'audit = "all"'),
        ("policy-parse", 'obligations = { audit = "count"', 'obligations = { watermark = true, audit = "count"', "watermark"),
        ("policy-parse", 'basis = ["cf48", "xxgk20"]', 'basis = ["cf48", "xxgk20"]\nobligations = { audit = "count" }', "rate_class"),
        ("policy-S10", _ROWS, "", 'tiers = ["department", "supervisor"]'),
        ("policy-S10", '"$grant.regions"] }, {', '"$grant.lands"] }, {', "$grant.lands"),
        ("policy-S10", 'eq = ["owner_org"', 'eq = ["owner"', 'eq = ["owner"'),
        ("policy-parse", _ROWS, "rows = { all = [] }", "rows = { all = [] }"),
        ("policy-parse", 'eq = ["owner_org", "$org.id"]', 'eq = ["facts", "a"]', 'eq = ["facts"'),
        ("policy-S10", 'rate_class = "open"', 'rate_class = "nowhere"', '"nowhere"'),
        ("policy-S10", 'rate_class = "open"', 'rate_class = "open", license = "nowhere"', '"nowhere"'),
        ("policy-parse", 'allow = ["lookup"] }  # 县区', 'allow = ["lookup"], budget = "many" }  # 县区', '"many"'),
        ("policy-parse", 'basis = ["cf48", "xxgk20"]', "basis = []", "basis = []"),
        ("policy-parse", 'kinds = ["legal"] }\nclass', 'kinds = ["company"] }\nclass', '["company"]'),
        ("policy-parse", 'class = { O = "clear" }', 'class = { X = "clear" }', 'X = "clear"'),
        ("policy-parse", 'id = "penalties-open-legal"', 'id = "Penalties"', '"Penalties"'),
        ("policy-parse", 'id = "penalties-open-household"', 'id = "penalties-open-legal"', None),
        ("policy-parse", 'field.conduct_end = { treatment = "drop" }', "field.conduct_end = {}", "field.conduct_end = {}"),
        ("policy-parse", 'allow = ["lookup"] }  # 县区', 'allow = ["peek"] }  # 县区', '"peek"'),
        # a person shown to the public
        ("policy-S1", '{ do = "keep", first = 8 }', '{ do = "keep", first = 10 }', "first = 10"),
        ("policy-S1", 'field.conduct_end = { treatment = "drop" }', 'field.id_no = { treatment = "exists" }', "field.id_no"),
        (
            "policy-S1",
            'field.conduct_end = { treatment = "drop" }',
            'field.legal_representative = { treatment = "clear" }',
            'field.legal_representative = { treatment = "clear" }',
        ),
        # an unclassified field named
        (
            "policy-S2",
            'field.conduct_end = { treatment = "drop" }',
            'field.remark = { treatment = { do = "redact", profile = "strict", hold = true } }',
            "field.remark",
        ),
        # two rules for one cell
        (
            "policy-S3",
            _HOUSEHOLD,
            _HOUSEHOLD.replace('["individual_business"]', '["individual_business", "legal"]'),
            '["individual_business", "legal"]',
        ),
        # tiers out of order
        (
            "policy-S4",
            'tiers = ["public"], purposes = ["open.read"], kinds = ["legal"]',
            'tiers = ["public", "developer"], purposes = ["open.read"], kinds = ["legal"]',
            '"developer"',
        ),
        (
            "policy-S4",
            'tiers = ["department"], purposes = ["dept.licensing"]',
            'tiers = ["department"], purposes = ["dept.licensing", "open.read"]',
            '"dept.licensing", "open.read"',
        ),
        (
            "policy-S4",
            'field.uscc = { treatment = "clear" }',
            'field.uscc = { treatment = "clear" }\nfield.fine_amount = { treatment = "exists" }',
            'fine_amount = { treatment = "exists" }',
        ),
        # texts
        (
            "policy-S8",
            'text = { do = "redact", profile = "strict", hold = true }',
            'text = { do = "redact", profile = "strict" }',
            'profile = "strict" }',
        ),
        ("policy-S8", 'text = { do = "redact", profile = "strict", hold = true }', 'text = "clear"', 'text = "clear"'),
        (
            "policy-S8",
            'field.uscc = { treatment = "clear" }',
            'field.uscc = { treatment = { do = "keep", first = 8 } }',
            'profile = "third_parties"',
        ),
        # rights without a clear field
        ("policy-S9", 'allow = ["lookup"] }  # 县区', 'allow = ["lookup", "filter"] }  # 县区', '"lookup", "filter"'),
        (
            "policy-S9",
            'field.facts = { allow = ["export", "delta"] }',
            'field.facts = { allow = ["export", "facet"] }',
            'field.facts = { allow = ["export", "facet"] }',
        ),
        (
            "policy-S9",
            'field.conduct_end = { treatment = "drop" }',
            'field.conduct_end = { treatment = "drop", allow = ["export"] }',
            'allow = ["export"] }',
        ),
        # names, windows, shapes
        (
            "policy-S10",
            'tiers = ["public"], purposes = ["open.read"], kinds = ["legal"]',
            'tiers = ["publik"], purposes = ["open.read"], kinds = ["legal"]',
            "publik",
        ),
        (
            "policy-S10",
            'tiers = ["public"], purposes = ["open.read"], kinds = ["legal"]',
            'tiers = ["public"], purposes = ["open.reed"], kinds = ["legal"]',
            "open.reed",
        ),
        (
            "policy-S10",
            'tiers = ["partner"], purposes = ["exchange.batch"]',
            'tiers = ["partner"], purposes = ["dept.supervision"]',
            'tiers = ["partner"]',
        ),
        (
            "policy-S10",
            'tiers = ["department"], purposes = ["dept.licensing"]',
            'tiers = ["supervisor"], purposes = ["dept.licensing"]',
            '"supervisor"], purposes = ["dept.licensing"]',
        ),
        ("policy-S10", 'field.conduct_end = { treatment = "drop" }', 'field.conduct_ende = { treatment = "drop" }', "conduct_ende"),
        ("policy-S10", 'basis = ["cf48", "xxgk20"]', 'basis = ["cf49"]', '["cf49"]'),
        (
            "policy-S10",
            'field.id_no = { treatment = { do = "keep", first = 6 } }',
            'field.id_no = { treatment = { do = "keep", first = 6, last = 4 } }',
            "last = 4",
        ),
        ("policy-S10", 'field.conduct_end = { treatment = "drop" }', 'field.theme = { treatment = "surname" }', "field.theme"),
        (
            "policy-S10",
            'field.conduct_end = { treatment = "drop" }',
            'field.authority = { treatment = { do = "generalise", to = "year" } }',
            "field.authority",
        ),
    ],
)
def test_faults_are_refused_with_code_file_and_line(code: str, old: str, new: str, at: str | None) -> None:
    """A misspelling, a leak, an overlap: each is named with its place and what to do."""
    files = bent(FILE, (old, new))
    error = refused(files)
    assert error.code == code, str(error)
    assert error.file == FILE
    assert error.hint
    if at is not None:
        assert error.line == line_of(files, FILE, at), (error.line, str(error))


LICENCES = b"""
[licences.by]
title = "A"
url = "https://example.cn/by"
strictness = 2

[licences.free]
title = "B"
url = "https://example.cn/free?version=1"
strictness = 1
"""


def licensed(text: bytes = LICENCES, id_: str = "by") -> dict[str, bytes]:
    """The shipped files with licences, one of them on the public rule for organisations."""
    files = bent(FILE, ('rate_class = "open"', f'rate_class = "open", license = "{id_}"'))
    return files | {"catalogue.toml": files["catalogue.toml"] + text}


def test_a_plan_names_a_licence_of_the_catalogue() -> None:
    """A rule names it by id; licences stand from the freest to the strictest."""
    policies = compile_policies(licensed(), version=1, today=TODAY)
    assert plan_of(PENALTIES, *PUBLIC, "legal", policies).obligations.license == "by"
    assert plan_of(PENALTIES, *PUBLIC, "individual_business", policies).obligations.license is None
    assert list(policies.catalogue.licences) == ["free", "by"]
    assert plan_of(PENALTIES, *PUBLIC, "legal", policies).plan_hash != plan_of(PENALTIES, *PUBLIC, "legal").plan_hash


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"https://example.cn/by", b"http://example.cn/by"),
        (b"https://example.cn/by", b'https://example.cn/by>; rel=\\"x'),
        (b"https://example.cn/by", b"https://example.cn/\xe8\xae\xb8"),
        (b"strictness = 2", b""),
        (b"strictness = 2", b"strictness = 2\nmore = 1"),
        (b"[licences.by]", b"[licences.By]"),
    ],
)
def test_a_licence_that_cannot_stand_in_a_header_is_refused(old: bytes, new: bytes) -> None:
    """An address over https in plain ASCII, an id, a strictness, and nothing else."""
    error = refused(licensed(LICENCES.replace(old, new, 1)))
    assert (error.code, error.file) == ("policy-parse", "catalogue.toml")


def test_of_several_obligations_the_strictest_wins() -> None:
    """The licence of the highest strictness, none where a plan names none; of caches the one that keeps least."""
    free, by, none = Obligations(license="free", cache="public"), Obligations(license="by", cache="private"), Obligations(cache="no-store")
    order = ("free", "by")
    assert strictest([free, free], order).license == "free"
    assert (strictest([free, by], order).license, strictest([free, by], order).cache) == ("by", "private")
    assert strictest([by, free], order) == strictest([free, by], order)
    assert (strictest([free, by, none], order).license, strictest([free, by, none], order).cache) == (None, "no-store")


def test_another_licence_is_no_narrower() -> None:
    """Another licence, or another address of one, is told and widens; another title is nothing."""
    old = compile_policies(licensed(), version=1, today=TODAY)
    for files, area, direction in (
        (licensed(id_="free"), "obligation", "widens"),
        (licensed(LICENCES.replace(b"/by", b"/other")), "licence", "widens"),
        (licensed(LICENCES.replace(b'"A"', b'"C"')), "licence", "neutral"),
    ):
        others = effect(old, compile_policies(files, version=2, today=TODAY)).others
        assert {(each.area, each.direction) for each in others} == {(area, direction)}


def test_an_overlap_names_both_rules_and_what_they_share() -> None:
    """S3 says which rule stands where, and the triples that are decided twice."""
    error = refused(bent(FILE, (_HOUSEHOLD, _HOUSEHOLD.replace('["individual_business"]', '["individual_business", "legal"]'))))
    assert error.rule == "penalties-open-household"
    assert "penalties-open-legal" in error.detail
    assert "(public, open.read, legal)" in error.detail
    assert f"{FILE}:" in error.detail


def test_what_is_not_shared_has_no_rule_for_those_who_share() -> None:
    """不予共享 binds: a dataset with `share = "none"` refuses rules for departments and partners."""
    files = dict(shipped_files())
    name = "datasets/honours.toml"
    files[name] = files[name].replace(b'share = "conditional"', b'share = "none"', 1)
    found = check_policies(files, version=1, today=TODAY)
    shared = ("supervision", "licensing", "procurement", "exchange", "mutual", "province", "pboc")
    told = {("policy-S10", f"honours-{rule}") for rule in shared}
    assert {(error.code, error.rule) for error in found.errors} == told


def test_all_faults_are_found_not_only_the_first() -> None:
    """`policy check` lists every fault of the files."""
    found = check_policies(
        bent(FILE, ('basis = ["cf48", "xxgk20"]', 'basis = ["a", "b"]'), ('["gx", "jl"]', '["c"]')), version=1, today=TODAY
    )
    assert found.policies is None
    assert [error.rule for error in found.errors] == ["penalties-open-legal", "penalties-open-legal", "penalties-supervision"]


def test_windows_must_nest_over_all_plans() -> None:
    """S5: a tier with the beginning and a tier with the end would pool them."""
    files = bent(
        FILE,
        ('field.uscc = { treatment = "clear" }', 'field.uscc = { treatment = { do = "keep", first = 8, last = 2 } }'),
        (
            'field.legal_representative = { treatment = "surname" }',
            'field.legal_representative = { treatment = "surname" }\nfield.source_unit_code = { treatment = { do = "keep", last = 4 } }',
        ),
        (
            'field.org_code = { treatment = "clear" }',
            'field.org_code = { treatment = "clear" }\nfield.source_unit_code = { treatment = { do = "keep", first = 4 } }',
        ),
    )
    codes = {error.code for error in check_policies(files, version=1, today=TODAY).errors}
    assert "policy-S5" in codes


def test_a_derived_field_shows_no_more_than_its_source() -> None:
    """S7: a year of birth beside a masked number would give it away."""
    files = bent(
        FILE,
        ("remark = { wire", 'birth_year = { label = "出生年份", type = "int", class = "P2", derived_from = ["id_no"] }\nremark = { wire'),
        (
            'field.org_code = { treatment = "clear" }',
            'field.org_code = { treatment = "clear" }\nfield.birth_year = { treatment = "clear" }',
        ),
    )
    error = refused(files)
    assert (error.code, error.field) == ("policy-S7", "birth_year")


def test_the_public_looks_up_no_natural_person() -> None:
    """A surname may be shown where a law says so, but no name of a person is a key for everybody."""
    public = 'for = { tiers = ["public"], purposes = ["open.read"], kinds = '
    files = bent(
        FILE,
        (f'{public}["individual_business"] }}', f'{public}["natural"] }}'),
        ('field.uscc = { treatment = { do = "keep", first = 8 }, allow = ["lookup"] }\n', ""),
    )
    error = refused(files)
    assert (error.code, error.field) == ("policy-S9", "name")


@pytest.mark.parametrize("bands", ['["5", "1"]', '["1", "1"]', '["one"]', '["-1"]', '["1e3"]'])
def test_bands_ascend(bands: str) -> None:
    """Edges of amount bands are numbers in order, whether or not a rule uses them."""
    error = refused(bent(FILE, ("fine_amount = { wire", f"fine_amount = {{ bands = {bands}, wire")))
    assert (error.code, error.field) == ("policy-S10", "fine_amount")
    assert error.line is not None


def test_a_step_that_does_not_fit_shows_nothing() -> None:
    """Should a treatment ever meet a type that it does not stand on, the field is dropped, not shown."""
    misfit = ('field.conduct_end = { treatment = "drop" }', 'field.theme = { treatment = "surname" }')
    found = check_policies(bent(FILE, misfit), version=1, today=TODAY)
    assert found.policies is None
    assert nothing("x") is DROPPED


def test_exceptions_are_the_only_way_past_s1_and_they_end() -> None:
    """Taken out, the mask of a household's code is a fault; over, the exception itself is one."""
    without = bent("redlines.toml", (f'field = "{PENALTIES}.uscc"', f'field = "{PENALTIES}.reg_no"'))
    assert refused(without).code == "policy-S1"
    assert refused(shipped_files(), date(2028, 1, 1)).code == "policy-S10"
    narrower = bent(
        "redlines.toml",
        (
            f'field = "{PENALTIES}.uscc"\nkinds = ["individual_business"]\nmax = {{ do = "keep", first = 8 }}',
            f'field = "{PENALTIES}.uscc"\nkinds = ["individual_business"]\nmax = {{ do = "keep", first = 6 }}',
        ),
    )
    assert refused(narrower).code == "policy-S1"


def test_red_lines_lower_every_rule() -> None:
    """A ceiling on a class or a field is met with whatever the rules say, and explains itself."""
    line = (
        '\n[[redlines]]\nid = "no-amounts"\nwhen = { field = "administrative-penalties.fine_amount" }\n'
        'except = ["department", "supervisor"]\nmax = "exists"\n'
        'basis = [{ law = "试验法", from = 2020-01-01 }]\n'
    )
    policies = compile_policies(added("redlines.toml", line), version=1, today=TODAY)
    public = plan_of(PENALTIES, *PUBLIC, "legal", policies).reasons["fine_amount"]
    assert str(public.treatment) == "Exists()"
    assert public.steps[-1] == "red line no-amounts: at most exists → exists"
    assert "filter" not in public.capabilities
    assert plan_of(PENALTIES, *DEPARTMENT, "legal", policies).reasons["fine_amount"].treatment == CLEAR


@pytest.mark.parametrize(
    ("path", "old", "new", "code"),
    [
        ("tiers.toml", 'order = [["public", "subject"], ', "order = [", "policy-parse"),
        ("tiers.toml", "pboc = {", "pbok = {", "policy-parse"),
        ("tiers.toml", "[classes]", "[klasses]", "policy-parse"),
        ("tiers.toml", "U = { label", "V = { label", "policy-parse"),
        ("purposes.toml", 'tiers = ["partner"]', 'tiers = ["partners"]', "policy-S10"),
        ("purposes.toml", 'label = "社会公开"', 'label = "社会公开"\naudit = "count"', "policy-parse"),
        ("purposes.toml", '[purposes."open.read"]', '[purposes."Open"]', "policy-parse"),
        ("purposes.toml", "from = 2019-05-15", "from = 2027-05-15", "policy-S10"),
        ("redlines.toml", 'when = { flag = "minor" }', 'when = { flag = "minor", class = "P3" }', "policy-parse"),
        ("redlines.toml", 'max = "drop-row"', 'max = "exists"', "policy-parse"),
        ("redlines.toml", 'flag = "minor"', 'flag = "famous"', "policy-parse"),
        ("redlines.toml", 'except = ["subject"]', 'except = ["subjekt"]', "policy-S10"),
        ("redlines.toml", f'field = "{PENALTIES}.uscc"', 'field = "penalties.uscc"', "policy-S10"),
        ("redlines.toml", "until = 2027-12-31", "", "policy-parse"),
        ("redlines.toml", "from = 2021-06-01", "from = 2021-06-01, until = 2025-01-01", "policy-S10"),
        ("redlines.toml", 'id = "sensitive"', 'id = "minor"', "policy-parse"),
        ("redlines.toml", 'when = { flag = "minor" }', 'when = { flag = "young" }', "policy-parse"),
        ("tiers.toml", 'rate_class = "office"', 'rate_class = "offices"', "policy-S10"),
        ("tiers.toml", 'rate_class = "office"', "rate_class = 1", "policy-parse"),
        ("tiers.toml", "head = 0.2", "head = 0.3", "policy-parse"),
        ("tiers.toml", "head = 0.2", "head = 0", "policy-parse"),
        ("tiers.toml", "stream_s = 30", "stream_s = 0", "policy-parse"),
        ("tiers.toml", "lookup = 5", "lookup = 5\nlookups = 5", "policy-parse"),
        ("tiers.toml", "{ q = 60, w = 60 }", "{ q = 0, w = 60 }", "policy-parse"),
        ("purposes.toml", 'retention = "audit.personal"', 'retention = "audit.personnel"', "policy-S10"),
        ("purposes.toml", 'assurance = "bound"', 'assurance = "weak"', "policy-parse"),
        ("purposes.toml", 'case_ref = "required"', 'case_ref = "maybe"', "policy-parse"),
    ],
)
def test_faults_of_the_other_files(path: str, old: str, new: str, code: str) -> None:
    """Tiers, purposes and red lines are read as strictly, with the place."""
    files = bent(path, (old, new))
    try:
        errors = check_policies(files, version=1, today=TODAY).errors
    except PolicyError as error:
        errors = (error,)
    assert (code, path) in [(error.code, error.file) for error in errors]
    assert all(error.line is not None and error.hint for error in errors)


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        (FILE, 'id = "penalties-open-household"', 'id = "penalties-open-legal\\n"'),
        (FILE, 'budget = "200/day"', 'budget = "200/day\\n"'),
        (FILE, "remark = { wire", '"remark\\n" = { wire'),
        ("tiers.toml", "open = { burst", '"open\\n" = { burst'),
        ("catalogue.toml", '[editions."2024"]', '[licences.x]\ntitle = ""\nurl = "https://x/\\n"\nstrictness = 1\n[editions."2024"]'),
        ("periods.toml", '"audit.personal" = "P10Y"', '"audit.personal" = "P10Y\\n"'),
        ("redlines.toml", 'law = "中华人民共和国行政处罚法"', 'law = "中华人民共和国行政处罚法", uri = "javascript:alert(1)"'),
        ("lists/tax-violations.toml", "range_bit =", 'authority_lookup_uri = "javascript:alert(1)"\nrange_bit ='),
        ("redlines.toml", 'law = "中华人民共和国行政处罚法"', 'law = "中华人民共和国行政处罚法", uri = "https://x.example/a b"'),
        ("redlines.toml", 'law = "中华人民共和国行政处罚法"', 'law = "中华人民共和国行政处罚法", uri = "https://x.example/\\n"'),
    ],
)
def test_what_only_looks_like_a_name_is_none(path: str, old: str, new: str) -> None:
    """A line break behind a name or a duration is a part of it, and a ground can be read at an address that may stand in a catalogue."""
    error = refused(bent(path, (old, new)))
    assert (error.code, error.file) == ("policy-parse", path)
    assert "\n" not in str(error)


def test_duplicate_keys_and_missing_files_are_refused() -> None:
    """TOML that says a thing twice, or a folder without one of its files."""
    error = refused(bent("purposes.toml", ('label = "社会公开"', 'label = "社会公开"\nlabel = "公开"')))
    assert (error.code, error.file, error.line) == ("policy-parse", "purposes.toml", 5)
    files = dict(shipped_files())
    del files["redlines.toml"]
    assert refused(files).file == "redlines.toml"


def test_costs_are_counted_in_fifths() -> None:
    """As the buckets count; what a unit goes how far stays as it is written."""
    costs = shipped().costs
    assert (costs.request, costs.head, costs.lookup, costs.export_rows, costs.stream_s) == (5, 1, 25, 1000, 30)
    assert {info.rate_class for info in shipped().tiers.values()} <= set(shipped().rate_classes)


def test_a_plan_owes_what_its_rule_and_its_purpose_demand() -> None:
    """A case where either asks for one; the class of the tier where the rule names none."""
    files = bent(FILE, ('case_ref = "required", rate_class = "office"', 'case_ref = "none"'))
    owed = plan_of(PENALTIES, *DEPARTMENT, "legal", compile_policies(files, version=1, today=TODAY)).obligations
    assert (owed.case_ref, owed.rate_class) == ("required", "office")


def test_schemas_mention_only_what_is_shown() -> None:
    """Of every plan: its shown fields and the summary, nothing of a hidden one, neither name nor label nor wire name."""
    for (name, _, _), held in shipped().plan_sets.items():
        described = shipped().catalogue.datasets[name].fields  # type: ignore[index]  # ids are text here
        for plan in held.plans.values():
            shown = {step.field for step in plan.steps}
            assert set(plan.schema["properties"]) == shown | ({"summary"} if plan.texts else set())
            assert plan.schema["additionalProperties"] is False
            told = str({key: dict(value) for key, value in plan.schema["properties"].items()})
            labels = {described[field].label for field in shown}
            assert not any(
                f"'{field.label}'" in told for hidden, field in described.items() if hidden not in shown and field.label not in labels
            )
            assert json.loads(msgspec.json.encode(plan.schema, enc_hook=dict))["type"] == "object"


_CEILINGS = st.sampled_from(
    ["drop", "exists", "surname", "pseudonym", '{ do = "keep", first = 4 }', '{ do = "generalise", to = "year" }', "clear"]
)
_TARGETS = st.one_of(
    st.sampled_from(["O", "B1", "P1", "P2", "P3"]).map(lambda name: f'class = "{name}"'),
    st.sampled_from(["name", "uscc", "id_no", "facts", "decision_date", "fine_amount"]).map(lambda name: f'field = "{PENALTIES}.{name}"'),
)


@settings(max_examples=15, deadline=None)
@given(_TARGETS, _CEILINGS, st.sets(st.sampled_from(["public", "subject", "department", "partner"]), max_size=2))
def test_a_red_line_never_widens(target: str, ceiling: str, spared: set[str]) -> None:
    """Whatever it is about, and whomever it spares: no cell shows more with it, and no right is gained."""
    maximum = ceiling if ceiling.startswith("{") else f'"{ceiling}"'
    line = f"""[[redlines]]
id = "drawn"
when = {{ {target} }}
max = {maximum}
except = [{", ".join(f'"{tier}"' for tier in sorted(spared))}]
basis = [{{ law = "法", from = 2020-01-01 }}]

[[exceptions]]"""
    catalogue, texts, rules = _read(bent("redlines.toml", ("[[exceptions]]", line)))
    dataset = catalogue.datasets[DatasetId(PENALTIES)]
    drawn, plain = Decider(texts), Decider(_read(shipped_files())[1])
    for rule in rules:
        for tier, kind, name in product(rule.tiers, rule.kinds, dataset.fields):
            narrow, wide = (decider.cell(dataset, name, tier, kind, rule) for decider in (drawn, plain))
            assert leq(narrow.treatment, wide.treatment)
            assert set(narrow.capabilities) <= set(wide.capabilities)
            assert tier not in spared or narrow == wide


def _read(files: Mapping[str, bytes]) -> tuple[Catalogue, DisclosureFiles, tuple[Rule, ...]]:
    catalogue = read_catalogue(files)
    tables = catalogue.rules[DatasetId(PENALTIES)]
    return catalogue, read_disclosure_files(files), read_rules(DatasetId(PENALTIES), tables, FILE, files[FILE])


def test_ten_thousand_rules_are_the_limit() -> None:
    """A folder of more rules is refused by name before anything is compiled."""
    error = refused(bulk(LIMIT + 1))
    assert (error.code, error.line) == ("policy-parse", 1)
    assert "at most 10000" in error.detail
    assert error.hint


def test_one_fault_among_ten_thousand_rules_is_found() -> None:
    """A folder at the limit is checked whole, and what is wrong is named with file, line and rule."""
    files = bulk()
    path = "datasets/bulk-17.toml"
    *whole, last = files[path].decode().split("\n[[rules]]\n")
    files[path] = "\n[[rules]]\n".join((*whole, last.replace("first = 6", "first = 10"))).encode()
    found = check_policies(files, version=1, today=TODAY)
    assert {(error.code, error.file, error.field) for error in found.errors} == {("policy-S10", path, "id_no")}
    assert found.errors[0].line == line_of(files, path, "first = 10")
    assert found.errors[0].rule == last.partition('"')[2].partition('"')[0]

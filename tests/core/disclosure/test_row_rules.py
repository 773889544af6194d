"""The gate language: what parses, what is refused with its path, and what a rule says of a row."""

import tomllib
from datetime import date
from typing import Any

import pytest

from gateway.core.disclosure.row_language import written
from gateway.core.disclosure.row_rules import Attributes, allows, attributes_of_rule, fields_of_rule, read_row_rule
from gateway.core.errors import PolicyError
from gateway.core.records.model import SUBJECT_KINDS, Field, FieldClass


def _field(name: str, type_: str, *, class_: FieldClass = "O", **more: Any) -> Field:
    return Field(name=name, label=name, type=type_, classes=dict.fromkeys(SUBJECT_KINDS, class_), **more)


FIELDS = {
    each.name: each
    for each in (
        _field("theme", "enum", values={"market": "市场监管", "food": "食品"}),
        _field("kinds", "enum", values={"fine": "罚款"}, multiple=True),
        _field("level", "int", required=True),
        _field("urgent", "bool"),
        _field("decision_date", "date", required=True),
        _field("place", "division"),
        _field("amount", "decimal(18,6)"),
        _field("facts", "string", text=True),
        _field("holder", "person_name", class_="P1"),
    )
}
SUPERVISION = {
    "all": [{"within": ["region", "$grant.regions"]}, {"any": [{"eq": ["owner_org", "$org.id"]}, {"in": ["theme", "$grant.themes"]}]}]
}
OFFICE = Attributes(org_id="11220500XXT0001181", grant_regions=("220500",), grant_themes=("market",))


def _allows(rule: object, attributes: Attributes = OFFICE, **values: Any) -> bool:
    return allows(read_row_rule(rule, FIELDS), values, attributes)


@pytest.mark.parametrize(
    ("values", "allowed"),
    [
        ({"region": "220502", "owner_org": "11220500XXT0001181"}, True),
        ({"region": "220502", "theme": "market"}, True),
        ({"region": "220502", "theme": "food"}, False),
        ({"region": "220502"}, False),
        ({"region": "220602", "theme": "market"}, False),
        ({"region": None, "theme": "market"}, False),
    ],
)
def test_the_shipped_kind_of_rule(values: dict[str, Any], allowed: bool) -> None:
    """A region of the grant, and either an own record or a theme of the grant."""
    assert _allows(SUPERVISION, **values) is allowed
    rule = read_row_rule(SUPERVISION, FIELDS)
    assert fields_of_rule(rule) == {"region", "owner_org", "theme"}
    assert attributes_of_rule(rule) == {"$grant.regions", "$org.id", "$grant.themes"}


@pytest.mark.parametrize(
    "rule",
    [
        SUPERVISION,
        {"not": {"eq": ["level", 1]}},
        {"any": []},
        {"in": ["theme", ["market", "food"]]},
        {"within": ["place", ["220500"]]},
        {"between": ["level", 1, 3]},
        {"is_null": "theme"},
        {"eq": ["urgent", True]},
    ],
)
def test_a_rule_is_told_as_it_is_written(rule: object) -> None:
    """What `explain` says of the rows of a plan is the line of the policy file, and reads back as the same rule."""
    held = read_row_rule(rule, FIELDS)
    assert read_row_rule(tomllib.loads(f"rows = {written(held)}")["rows"], FIELDS) == held


def test_what_has_no_value_opens_nothing() -> None:
    """An attribute without a value makes its atom FALSE, also under `not`; NULL matches `is_null` alone."""
    assert not _allows({"eq": ["owner_org", "$org.id"]}, Attributes(), owner_org="11220500XXT0001181")
    assert not _allows({"not": {"eq": ["region", "$org.id"]}}, Attributes(), region="220502")
    assert not _allows({"not": {"eq": ["level", 1]}}, level=None)
    assert _allows({"not": {"eq": ["level", 1]}}, level=2)
    assert not _allows({"any": []}, region="220502")
    assert not _allows({"ne": ["theme", "food"]}, theme=None)
    assert _allows({"is_null": "theme"}, theme=None)
    assert not _allows({"is_null": "theme"}, theme="food")
    assert not _allows({"within": ["region", "$grant.regions"]}, Attributes(grant_regions=("22", "000000", "all")), region="220502")


@pytest.mark.parametrize(
    ("rule", "values", "allowed"),
    [
        ({"between": ["decision_date", date(2026, 1, 1), date(2026, 6, 30)]}, {"decision_date": "2026-06-30"}, True),
        ({"between": ["decision_date", date(2026, 1, 1), date(2026, 6, 30)]}, {"decision_date": "2026-07-01"}, False),
        ({"ge": ["level", 3]}, {"level": 3}, True),
        ({"gt": ["level", 3]}, {"level": 3}, False),
        ({"lt": ["level", 3]}, {"level": "2"}, False),
        ({"eq": ["urgent", True]}, {"urgent": True}, True),
        ({"eq": ["urgent", True]}, {"urgent": 1}, False),
        ({"ne": ["urgent", True]}, {"urgent": False}, True),
        ({"within": ["place", ["220500", "220600"]]}, {"place": "220623"}, True),
        ({"in": ["level", [1, 2]]}, {"level": True}, False),
    ],
)
def test_operators_keep_to_the_type_of_the_field(rule: object, values: dict[str, Any], allowed: bool) -> None:
    """Values of another type than the field's match nothing; bounds are included."""
    assert _allows(rule, **values) is allowed


@pytest.mark.parametrize(
    ("rule", "code", "path"),
    [
        ({}, "policy-parse", "rows"),
        ("region", "policy-parse", "rows"),
        ({"all": []}, "policy-parse", "rows.all"),
        ({"all": [{"eq": ["theme", "food"], "ne": ["theme", "food"]}]}, "policy-parse", "rows.all[0]"),
        ({"like": ["theme", "f%"]}, "policy-parse", "rows.like"),
        ({"any": [{"eq": ["nothing", "x"]}]}, "policy-S10", "rows.any[0].eq"),
        ({"eq": ["owner_org", "$org.name"]}, "policy-S10", "rows.eq"),
        ({"eq": ["owner_org", "$grant.regions"]}, "policy-parse", "rows.eq"),
        ({"in": ["owner_org", "$org.id"]}, "policy-parse", "rows.in"),
        ({"in": ["theme", []]}, "policy-parse", "rows.in"),
        ({"in": ["theme", ["food", "food"]]}, "policy-parse", "rows.in"),
        ({"in": ["theme", ["sports"]]}, "policy-parse", "rows.in"),
        ({"eq": ["level", "3"]}, "policy-parse", "rows.eq"),
        ({"eq": ["level", True]}, "policy-parse", "rows.eq"),
        ({"eq": ["level", "$org.id"]}, "policy-parse", "rows.eq"),
        ({"lt": ["theme", "food"]}, "policy-parse", "rows.lt"),
        ({"between": ["level", 5, 1]}, "policy-parse", "rows.between"),
        ({"within": ["theme", ["220500"]]}, "policy-parse", "rows.within"),
        ({"within": ["place", ["2205"]]}, "policy-parse", "rows.within"),
        ({"not": {"eq": ["theme", "food"]}}, "policy-parse", "rows.not"),
        ({"not": {"any": []}}, "policy-parse", "rows.not"),
        ({"eq": ["amount", 1]}, "policy-parse", "rows.eq"),
        ({"eq": ["kinds", "fine"]}, "policy-parse", "rows.eq"),
        ({"eq": ["facts", "x"]}, "policy-parse", "rows.eq"),
        ({"is_null": "holder"}, "policy-parse", "rows.is_null"),
    ],
)
def test_what_is_refused_with_its_path(rule: object, code: str, path: str) -> None:
    """Unknown operators, names and values, an empty `all`, `not` over what may be missing, and encrypted fields."""
    with pytest.raises(PolicyError) as caught:
        read_row_rule(rule, FIELDS)
    assert (caught.value.code, caught.value.field) == (code, path)


def test_a_field_that_is_encrypted_for_one_kind_is_refused_for_that_kind_only() -> None:
    """Names of organisations stand in clear, those of persons do not."""
    name = Field(name="name", label="n", type="string", classes={"legal": "O", "natural": "P1"})
    read_row_rule({"eq": ["name", "x"]}, {"name": name}, ["legal"])
    with pytest.raises(PolicyError, match="encrypted"):
        read_row_rule({"eq": ["name", "x"]}, {"name": name}, ["legal", "natural"])


def test_rules_are_not_nested_without_end() -> None:
    """Depth and number of parts have bounds."""
    rule: object = {"eq": ["theme", "food"]}
    for _ in range(10):
        rule = {"all": [rule]}
    with pytest.raises(PolicyError, match="deep"):
        read_row_rule(rule, FIELDS)
    with pytest.raises(PolicyError, match="parts"):
        read_row_rule({"any": [{"eq": ["theme", "food"]}] * 65}, FIELDS)

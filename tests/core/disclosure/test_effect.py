"""Effects of a change: every cell is compared, and whatever is not provably narrower is a widening."""

import random
from functools import cache
from itertools import product

import pytest

from gateway.core.disclosure.effect import Effect, effect
from gateway.core.disclosure.plans import Policies
from gateway.core.disclosure.surroundings import narrower_rows
from tests.core.disclosure.making import shipped
from tests.core.disclosure.small import NOTICES, REDLINES, small, small_files

BASE = small()
ITEM = '[[items]]\nedition = "2024"\nitem = "新增"\ncategory = "penalty"\nbasis = [{ law = "某法" }]\n'


def change(*changes: tuple[str, str], path: str = NOTICES) -> Effect:
    """The effect of a change of the small folder."""
    return effect(BASE, small(*changes, path=path))


def back(*changes: tuple[str, str], path: str = NOTICES) -> Effect:
    """The effect of undoing that change."""
    return effect(small(*changes, path=path), BASE)


def test_the_same_has_no_effect() -> None:
    """A version against itself, and against itself with other comments, changes nothing and widens nothing."""
    for found in (effect(shipped(), shipped()), change(("[bases]", "# another word\n[bases]"))):
        assert (found.empty, found.widens, found.personal, found.redlines, found.public_fields) == (True, False, False, False, ())


def test_everything_is_new_against_nothing() -> None:
    """Without an old version each shown cell is widened, each plan added, and what the public sees is named."""
    first = effect(None, BASE)
    assert first.widens
    assert first.personal
    assert "notices.name" in first.public_fields
    assert "notices.id_no" not in first.public_fields
    assert all(cell.before == "drop" and cell.widens for cell in first.cells)
    assert sum(other.area == "plan" and other.what == "added" for other in first.others) == 5


NARROWER = [
    ('class = { O = "clear" }\ntext', 'class = { O = "exists" }\ntext'),
    ('first = 6 }, allow = ["lookup"], basis', 'first = 4 }, allow = ["lookup"], basis'),
    ('field.uscc = { treatment = { do = "keep", first = 6 }', 'field.uscc = { treatment = { do = "keep", first = 4 }'),
    ('field.name = { treatment = "surname", allow = ["lookup"] }', 'field.name = { treatment = "surname" }'),
    ('{ do = "generalise", to = 4 }', '{ do = "generalise", to = 2 }'),
    ('text = { do = "redact", profile = "third_parties" }', 'text = { do = "redact", profile = "strict" }'),
    ('kinds = ["legal", "individual_business", "natural"]', 'kinds = ["legal", "individual_business"]'),
    ("rows = { all = [{ within", 'rows = { all = [{ eq = ["severity", "minor"] }, { within'),
    ("max_rows = 100", "max_rows = 50"),
    ("min_k = 5", "min_k = 10"),
    ('audit = "count"', 'audit = "call"'),
    ('requires = ["decision_date"]', 'requires = ["decision_date", "document_number"]'),
    ('basis = ["cf48"]\n', 'basis = ["cf48", "xxgk"]\n'),
    ("from = 2025-08-01 }", "from = 2025-08-01, until = 2030-12-31 }"),
    ('query = ["filter", "facet"] }', 'query = ["filter"] }'),
]


@pytest.mark.parametrize("changed", NARROWER, ids=lambda changed: changed[1][:40])
def test_what_is_provably_narrower(changed: tuple[str, str]) -> None:
    """It has an effect and does not widen; undoing it does."""
    narrowed = change(changed)
    assert not narrowed.empty
    assert not narrowed.widens, [other for other in narrowed.others if other.direction == "widens"]
    assert not narrowed.personal
    assert back(changed).widens


WIDER = [
    ('field.region = { treatment = { do = "generalise", to = 4 } }', 'field.region = { treatment = "clear" }'),
    ('basis = ["cf48", "xxgk"]\nobligations', 'basis = ["xxgk"]\nobligations'),
    ('cf48 = { law = "中华人民共和国行政处罚法", article = "四十八"', 'cf48 = { law = "中华人民共和国行政处罚法", article = "四十九"'),
    ('bands = ["1", "10", "100"]', 'bands = ["1", "2", "3"]'),
    ('rate_class = "open", cache = "public" }', 'rate_class = "office", cache = "public" }'),
    ('label = "电话", type = "mobile"', 'label = "电话", type = "phone"'),
    ('act = "penalty"', 'act = "penalty.food"'),
    ('open = "conditional"', 'open = "unconditional"'),
]


@pytest.mark.parametrize("changed", WIDER, ids=lambda changed: changed[1][:40])
def test_what_is_not_provably_narrower_widens(changed: tuple[str, str]) -> None:
    """Also where it may be harmless: another ground, another class of callers, other bands."""
    assert change(changed).widens


def test_a_personal_cell_asks_for_the_privacy_officer() -> None:
    """More of a direct identifier is personal; more of an organisation's is not."""
    assert change(('{ do = "keep", first = 6 }, allow = ["lookup"] }', '{ do = "keep", first = 8 }, allow = ["lookup"] }')).personal
    wider = change(('field.region = { treatment = { do = "generalise", to = 4 } }\n', ""))
    assert (wider.widens, wider.personal) == (True, False)


def test_a_field_newly_seen_by_the_public_is_named() -> None:
    """From nothing to something, for whichever kind; what was seen coarser is not new."""
    found = change(('field.document_number = { treatment = "drop" }\n', ""))
    assert found.public_fields == ("notices.document_number",)
    assert (
        change(('{ do = "keep", first = 6 }, allow = ["lookup"] }', '{ do = "keep", first = 8 }, allow = ["lookup"] }')).public_fields == ()
    )


def test_a_hundred_narrower_and_one_sort_is_a_widening() -> None:
    """One right gained outweighs whatever became narrower beside it."""
    lower = ('class = { O = "clear" }\ntext', 'class = { O = "exists" }\ntext')
    lowest = ('class = { O = "clear", P1 = "surname" }', 'class = { O = "exists", P1 = "surname" }')
    only = change(lower, lowest)
    assert not only.widens
    assert len(only.cells) > 10
    sort = ('serious = "严重" } }', 'serious = "严重" }, query = ["sort"] }')
    one = change(lower, lowest, sort)
    assert len(one.cells) == len(only.cells)
    assert {(right.tier, right.field, right.capability) for right in one.rights if right.gained} == {("department", "severity", "sort")}
    assert one.widens


def test_red_lines_are_told_apart() -> None:
    """A red line more and an exception less are narrower, their opposites wider, and each is said to touch the red lines."""
    line = '[[redlines]]\nid = "phones"\nwhen = { field = "notices.phone" }\nmax = "drop"\nbasis = [{ law = "某法" }]\n'
    for changed, widens in (
        (("[[exceptions]]", f"{line}\n[[exceptions]]"), False),
        (("until = 2027-12-31", "until = 2026-12-31"), False),
        (("until = 2027-12-31", "until = 2028-12-31"), True),
        (('except = ["subject"]', "except = []"), False),
        (('except = ["subject"]', 'except = ["subject", "department"]'), True),
    ):
        found = change(changed, path=REDLINES)
        assert (found.redlines, found.widens) == (True, widens), changed


@pytest.mark.parametrize(
    ("path", "changed", "widens"),
    [
        ("periods.toml", ('max = "P3M"', 'max = "P2M"'), False),
        ("periods.toml", ('max = "P3M"', 'max = "P4M"'), True),
        ("periods.toml", ('max = "P5Y", start = "sharing_end"', 'max = "P4Y", start = "sharing_end"'), True),
        ("periods.toml", ('max = "P5Y", start = "sharing_end"', 'max = "P6Y", start = "sharing_end"'), True),
        ("periods.toml", ('retention = { max = "P5Y", start = "sharing_end" }\n', ""), True),
        ("catalogue.toml", ("[[items]]", f"{ITEM}\n[[items]]"), True),
        ("purposes.toml", ('label = "行政监管"', 'label = "行政监督管理"'), False),
        ("purposes.toml", ('case_ref = "none"', 'case_ref = "required"'), False),
    ],
)
def test_the_texts_beside_the_rules(path: str, changed: tuple[str, str], widens: bool) -> None:
    """Clocks, catalogue and purposes are compared member by member; how long a record is kept changes one person neither way."""
    found = change(changed, path=path)
    assert not found.empty
    assert found.widens is widens


@pytest.mark.parametrize(
    ("before", "after", "narrower"),
    [
        (None, {"eq": ["a", 1]}, True),
        ({"eq": ["a", 1]}, None, False),
        ({"eq": ["a", 1]}, {"all": [{"eq": ["a", 1]}, {"in": ["b", "$grant.themes"]}]}, True),
        ({"all": [{"eq": ["a", 1]}, {"eq": ["b", 2]}]}, {"all": [{"eq": ["b", 2]}, {"all": [{"eq": ["a", 1]}]}]}, True),
        ({"all": [{"eq": ["a", 1]}, {"eq": ["b", 2]}]}, {"eq": ["a", 1]}, False),
        ({"any": [{"eq": ["a", 1]}, {"eq": ["b", 2]}]}, {"eq": ["a", 1]}, False),
        ({"eq": ["a", 1]}, {"eq": ["a", 2]}, False),
    ],
)
def test_a_gate_is_narrower_only_as_old_and_something(before: object, after: object, narrower: bool) -> None:
    """Read from the text alone: what would take thought to prove is not proven."""
    assert narrower_rows(before, after) is narrower


@cache
def variants() -> tuple[Policies, ...]:
    """Versions drawn at random out of the changes above, with a fixed seed."""
    rng = random.Random(20260601)
    drawn = []
    for _ in range(14):
        files = small_files()
        for old, new in rng.sample([*NARROWER, *WIDER], 4):
            text = files[NOTICES].decode()
            files[NOTICES] = text.replace(old, new, 1).encode()
        drawn.append(small(files=files))
    return tuple(drawn)


@cache
def between(one: int, other: int) -> Effect:
    """The effect from one variant to another."""
    return effect(variants()[one], variants()[other])


def test_widening_is_antisymmetric() -> None:
    """Of two versions that differ in what they show, at least one direction widens; and each against itself is empty."""
    numbers = range(len(variants()))
    for one, other in product(numbers, numbers):
        there, again = between(one, other), between(other, one)
        assert there.empty == again.empty
        assert there.empty or one != other
        if not (there.widens or again.widens):
            assert all(alteration.direction == "neutral" for alteration in there.others)
            assert not there.cells
            assert not there.rights


def test_narrower_of_narrower_is_narrower() -> None:
    """Where two steps only narrow, so does the change as a whole."""
    numbers = range(len(variants()))
    for one, two, three in product(numbers, numbers, numbers):
        if not between(one, two).widens and not between(two, three).widens:
            assert not between(one, three).widens


def test_the_digest_binds_the_effect() -> None:
    """The same change has the same digest, another change another."""
    first, same = change(NARROWER[0]), change(NARROWER[0])
    assert first.digest == same.digest
    assert first.digest != change(NARROWER[1]).digest

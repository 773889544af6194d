"""What is judged narrower is narrower in truth: single edits of the shipped folder, looked at through views, gates and obligations.

An edit that is refused, or judged to widen, is no fault: a second person looks at it. What is left comes into force by one person alone,
and then nobody may see more of any record on any day, take more, or owe less.
"""

from collections.abc import Iterator
from typing import Final

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gateway.core.disclosure.alterations import _TABLES
from gateway.core.disclosure.effect import effect
from tests.core.disclosure.edits import DATASETS, Edit, base, compiled, edited, edits, folder, shows_more

EXAMPLES: Final = 70


def judged(dataset: str, edit: Edit) -> tuple[str, set[str]]:
    """How an edit is judged, and the areas that its effect names; it fails where somebody sees more by one person's word."""
    new = compiled(edited(dataset, edit))
    if new is None:
        return "refused", set()
    found = effect(base(dataset), new)
    areas = {other.area for other in found.others}
    if found.widens:
        return "widens", areas
    more = shows_more(base(dataset), new)
    assert more is None, f"{dataset} {edit!r}: {more}"
    return "narrows", areas


drawn = st.sampled_from(DATASETS).flatmap(lambda dataset: st.tuples(st.just(dataset), st.sampled_from(edits(dataset))))


def _the(dataset: str, file: str, path: tuple[str | int, ...], what: str) -> tuple[str, Edit]:
    return dataset, next(edit for edit in edits(dataset) if (edit.file, edit.path, edit.what) == (file, path, what))


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(drawn)
@example(_the("abnormal-operations", "lists/abnormal-operations.toml", (), "removed"))
@example(_the("wage-arrears", "datasets/wage-arrears.toml", ("fields", "removed_on"), "removed"))
def test_nobody_sees_more_by_one_persons_word(change: tuple[str, Edit]) -> None:
    """Any single edit of any file, on records of every kind, for every tier, purpose and caller, on several days."""
    judged(*change)


ENTRIES: Final[dict[str, tuple[str, tuple[str | int, ...]]]] = {
    "purpose": ("purposes.toml", ("purposes", "dept.supervision")),
    "tier": ("tiers.toml", ("tiers", "department")),
    "rate class": ("tiers.toml", ("rate_classes", "office")),
    "class": ("tiers.toml", ("classes", "P1")),
    "period": ("periods.toml", ("periods", 5)),
    "cost": ("tiers.toml", ("costs",)),
    "ceiling": ("periods.toml", ("ceilings", 0)),
    "edition": ("catalogue.toml", ("editions", "2024")),
    "item": ("catalogue.toml", ("items", 4)),
    "measure": ("catalogue.toml", ("measures", 0)),
    "licence": ("catalogue.toml", ("licences", "open-data")),
    "list": ("lists/honours.toml", ()),
    "redline": ("redlines.toml", ("redlines", 1)),
    "exception": ("redlines.toml", ("exceptions", 0)),
    "dataset": ("datasets/honours.toml", ("dataset",)),
    "field": ("datasets/honours.toml", ("fields", "honour_name")),
}
"""Of each table of alterations an entry of the folder about honours."""


def chosen(area: str) -> Iterator[Edit]:
    """Of one entry: itself taken out, one beside it, and of each member one edit of each sort."""
    file, at = ENTRIES[area]
    seen: set[tuple[object, str]] = set()
    for edit in edits("honours"):
        if edit.file != file:
            continue
        sort = (
            "removed"
            if edit.what == "removed"
            else "more"
            if edit.what.startswith(("and", "one more")) or "given" in edit.what
            else "other"
        )
        if edit.path[: len(at)] == at:
            key = (edit.path[len(at)] if len(edit.path) > len(at) else None, sort)
        elif edit.path == at[:-1] and sort == "more":
            key = (None, sort)
        else:
            continue
        if key not in seen:
            seen.add(key)
            yield edit


@pytest.mark.parametrize("area", sorted(_TABLES))
def test_every_table_of_alterations_is_true(area: str) -> None:
    """For an entry of each: one removal, one addition, one change of each member, judged and looked at."""
    tried = [judged("honours", edit) for edit in chosen(area)]
    assert {"refused", "widens", "narrows"} & {verdict for verdict, _ in tried}
    assert any(area in areas for _, areas in tried), area


def test_the_folder_of_one_dataset_is_the_shipped_one() -> None:
    """Written anew it compiles, and every table of alterations has an entry to try."""
    assert all(base(dataset).catalogue.datasets.keys() == {dataset} for dataset in DATASETS[:1])
    assert ENTRIES.keys() == _TABLES.keys()
    assert folder("honours")["redlines.toml"]["exceptions"]

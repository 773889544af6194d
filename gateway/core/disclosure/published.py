"""Policies as open data: which cells of which version may be read by everybody (api.md §7.16).

Rules: a field is named only where the version in force shows it to everybody, of some kind of subject: whatever an older or a coming
version says of any other field, its existence is not public. Of a cell its treatment, rights and grounds are told, for every tier;
never a grant, a caller, a row gate or an obligation. This room must not look at a record.
"""

from collections.abc import Mapping

from msgspec import Struct

from gateway.core.disclosure.audiences import MatrixRow, matrix_of
from gateway.core.disclosure.effect import effect
from gateway.core.disclosure.plans import Policies
from gateway.core.records.model import Capability, SubjectKind

Names = Mapping[str, frozenset[str]]
"""Dataset → the fields whose existence is public."""


class Change(Struct, frozen=True, kw_only=True):
    """A cell that another version treats otherwise, or a right that it gives or takes."""

    dataset: str
    field: str
    subject_kind: SubjectKind
    tier: str
    purpose: str
    change: str
    """`widened` or `narrowed`."""
    before: str | None
    after: str | None
    capability: Capability | None = None
    """Of a right: which; `before` and `after` are null then."""


def public_names(in_force: Policies) -> Names:
    """What everybody may know of."""
    return {held.dataset: frozenset(held.shown) for (_, tier, purpose), held in in_force.plan_sets.items() if (tier, purpose) == _EVERYBODY}


_EVERYBODY = ("public", "open.read")


def published_matrix(
    policies: Policies, names: Names, *, dataset: str | None = None, tier: str | None = None, english: bool = False
) -> tuple[MatrixRow, ...]:
    """The cells of a version that everybody may read, of one dataset and tier or of all."""
    ruled = "public" if tier == "developer" else tier
    held = [
        plans for (of, by, _), plans in sorted(policies.plan_sets.items()) if of in names and dataset in (None, of) and ruled in (None, by)
    ]
    return tuple(row for row in matrix_of(held, english=english) if row.field in names[row.dataset])


def published_changes(old: Policies, new: Policies, names: Names) -> tuple[Change, ...]:
    """What one version shows or allows otherwise than another, as far as everybody may read it."""
    found = effect(old, new)
    none: frozenset[str] = frozenset()
    cells = [
        Change(
            dataset=cell.dataset,
            field=cell.field,
            subject_kind=cell.kind,
            tier=cell.tier,
            purpose=cell.purpose,
            change="widened" if cell.widens else "narrowed",
            before=cell.before,
            after=cell.after,
        )
        for cell in found.cells
        if cell.field in names.get(cell.dataset, none)
    ]
    rights = [
        Change(
            dataset=right.dataset,
            field=right.field,
            subject_kind=right.kind,
            tier=right.tier,
            purpose=right.purpose,
            change="widened" if right.gained else "narrowed",
            before=None,
            after=None,
            capability=right.capability,
        )
        for right in found.rights
        if right.field in names.get(right.dataset, none)
    ]
    return (*cells, *rights)

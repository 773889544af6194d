"""Explanations for those who do not administer: a caller's own rows of the matrix, and what a person is told of who may see what.

Rules: a caller reads only his own plans, and only fields that some kind of subject shows him, for a hidden field and one that does not
exist are the same to him; an unclassified field is named to neither (S2); the person concerned reads, per field, who may see it, for
what purpose, in which form and by which law. It shows rules, never values. This room must not look at a record.
"""

from collections.abc import Sequence

from msgspec import Struct

from gateway.core.disclosure.explain import done
from gateway.core.disclosure.plans import PlanSet, Policies
from gateway.core.disclosure.treatments import Drop, describe
from gateway.core.errors import PolicyError
from gateway.core.records.model import SUBJECT_KINDS, Capability, DatasetId, SubjectKind


class Ground(Struct, frozen=True, kw_only=True):
    """A legal ground as it is shown."""

    text: str
    uri: str | None


class MatrixRow(Struct, frozen=True, kw_only=True):
    """One cell of the published matrix (api.md §7.16)."""

    dataset: str
    field: str
    label: str
    subject_kind: SubjectKind
    tier: str
    purpose: str
    treatment: str
    capabilities: tuple[Capability, ...]
    basis: tuple[Ground, ...]


def matrix_of(plan_sets: Sequence[PlanSet], *, english: bool = False) -> tuple[MatrixRow, ...]:
    """The rows of these plan sets: what each shows of which kind of subject, and what may be asked of it."""
    return tuple(
        MatrixRow(
            dataset=held.dataset,
            field=name,
            label=(english and name in held.described and held.described[name].label_en) or plan.reasons[name].label,
            subject_kind=kind,
            tier=held.tier,
            purpose=held.purpose,
            treatment=describe(plan.reasons[name].treatment),
            capabilities=plan.reasons[name].capabilities,
            basis=tuple(Ground(text=ground.text, uri=ground.uri) for ground in plan.basis),
        )
        for held in plan_sets
        for kind, plan in held.plans.items()
        for name in held.shown
    )


class Seen(Struct, frozen=True, kw_only=True):
    """Who may see a field, for what, in which form."""

    tier: str
    tier_label: str
    purpose: str
    purpose_label: str
    """As the person concerned reads it."""
    treatment: str
    form: str
    """The treatment in Chinese."""
    basis: tuple[str, ...]


class SubjectField(Struct, frozen=True, kw_only=True):
    """A field about somebody, and everybody who may see it."""

    dataset: str
    dataset_label: str
    field: str
    label: str
    seen_by: tuple[Seen, ...]
    """Empty: nobody but those who keep the record."""


def who_may_see(policies: Policies, *, dataset: str, kind: str) -> tuple[SubjectField, ...]:
    """Who may see this about a subject of that kind, and why; the person's own view included.

    Raises PolicyError policy-S10 for a dataset or kind that stands nowhere.
    """
    held = policies.catalogue.datasets.get(DatasetId(dataset))
    if held is None:
        known = ", ".join(policies.catalogue.datasets)
        raise PolicyError("there is no such dataset", code="policy-S10", field=dataset, hint=f"one of {known}")
    if kind not in SUBJECT_KINDS:
        raise PolicyError("there is no such subject kind", code="policy-S10", field=kind, hint=f"one of {', '.join(SUBJECT_KINDS)}")
    subject: SubjectKind = next(each for each in SUBJECT_KINDS if each == kind)
    return tuple(
        SubjectField(
            dataset=dataset, dataset_label=held.label, field=name, label=described.label, seen_by=_seen(policies, dataset, subject, name)
        )
        for name, described in held.fields.items()
        if described.classes.get(subject, "U") != "U"
    )


def _seen(policies: Policies, dataset: str, kind: SubjectKind, field: str) -> tuple[Seen, ...]:
    found = []
    for (of, tier, purpose), held in policies.plan_sets.items():
        plan = held.plans.get(kind)
        if of != dataset or plan is None:
            continue
        cell = plan.reasons[field]
        if isinstance(cell.treatment, Drop):
            continue
        found.append(
            Seen(
                tier=tier,
                tier_label=policies.tiers[tier].label,
                purpose=purpose,
                purpose_label=policies.purposes[purpose].subject_label,
                treatment=describe(cell.treatment),
                form=done(cell.treatment, reviewed=cell.reviewed),
                basis=cell.basis,
            )
        )
    return tuple(sorted(found, key=lambda each: (list(policies.tiers).index(each.tier), each.purpose)))

"""What the documents of one dataset look like under one plan set: columns, what bulk output leaves out, what makes a change.

Rules: a form follows from plans alone and is computed once a policy version; two callers of one plan set get one form. A field
without `export` stands in no bulk output, one without `delta` makes no change entry; one without `search` is not in the index.
This room must not see a record.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct, field

from gateway.core.disclosure.plans import Plan, PlanSet, Policies
from gateway.core.publication import flat
from gateway.core.publication.documents import ENVELOPE_FIELDS, HOUSEHOLD
from gateway.core.publication.listings import LISTED_FIELDS
from gateway.core.records.model import SubjectKind

TAG_DIGITS = 40


class Form(Struct, frozen=True, kw_only=True):
    """Of one plan set."""

    dataset: str
    category: str
    columns: tuple[str, ...]
    """Flat columns of a record on a page."""
    listing_columns: tuple[str, ...]
    bulk_columns: tuple[str, ...]
    """Flat columns of a record in an export."""
    bulk_listing_columns: tuple[str, ...]
    table: flat.Table
    """Of `bulk_columns`."""
    listing_table: flat.Table
    """Of `bulk_listing_columns`."""
    withheld: Mapping[SubjectKind, frozenset[str]]
    """Shown on pages, left out of bulk output."""
    unfit: Mapping[SubjectKind, frozenset[str]]
    """Of those the ones that have a bulk column all the same, for another kind of subject."""
    silent: Mapping[SubjectKind, frozenset[str]]
    """Shown, but a change of them is not told."""
    searched: frozenset[SubjectKind]
    """Kinds whose shown name is in the names index."""


class Forms(Struct, frozen=True, kw_only=True):
    """Of one (tier, purpose) over all its datasets, in order of id."""

    tier: str
    purpose: str
    version: int
    plan_hash: str
    plan_sets: Mapping[str, PlanSet]
    by_dataset: Mapping[str, Form]
    categories: tuple[str, ...]
    """Categories of its datasets, in the order in which `record_counts` names them."""
    remembered: dict[Any, Any] = field(default_factory=dict)
    """What follows from plans alone and is asked for at every request; filled as it is asked."""

    @property
    def name(self) -> str:
        """Name of its sequence of changes."""
        return f"{self.tier}/{self.purpose}"

    @property
    def tag(self) -> str:
        """What a rendering is filed under: plans and policy version."""
        return f"{self.plan_hash[:TAG_DIGITS]}@{self.version}"

    def plan(self, dataset: str, kind: SubjectKind) -> Plan | None:
        """The plan for records of a dataset and kind; None shows nothing."""
        plans = self.plan_sets.get(dataset)
        return plans.plans.get(kind) if plans is not None else None

    def columns(self, datasets: Sequence[str], *, listing: bool = False, bulk: bool = False) -> tuple[str, ...]:
        """Flat columns of records of these datasets: envelope, then fields in dictionary order of the datasets in id order."""
        key = ("columns", tuple(datasets), listing, bulk)
        known: tuple[str, ...] | None = self.remembered.get(key)
        if known is None:
            known = self.remembered[key] = self._columns(datasets, listing=listing, bulk=bulk)
        return known

    def _columns(self, datasets: Sequence[str], *, listing: bool, bulk: bool) -> tuple[str, ...]:
        found: dict[str, None] = {}
        tails: dict[str, None] = {}
        envelope: dict[str, None] = {}
        for dataset in sorted(datasets):
            form = self.by_dataset.get(dataset)
            if form is None:
                continue
            if listing:
                columns = form.bulk_listing_columns if bulk else form.listing_columns
            else:
                columns = form.bulk_columns if bulk else form.columns
            for column in columns:
                (found if column.startswith("fields_") else tails if column.startswith("treatments_") else envelope)[column] = None
        head = [column for column in flat.RECORD_COLUMNS if column in envelope]
        rest = [column for column in envelope if column not in flat.RECORD_COLUMNS]
        return (*head, *tails, *rest, *found)


_ORDER = ("registration", "licence", "penalty", "blacklist", "redlist", "commitment", "evaluation", "abnormal", "agency_filing", "measure")


def forms_of(policies: Policies, tier: str, purpose: str) -> Forms:
    """The forms of a tier and purpose under a policy version; remembered with it."""
    known = policies.memo.get(("forms", tier, purpose))
    if isinstance(known, Forms):
        return known
    plan_sets: dict[str, PlanSet] = {held.dataset: held for held in policies.sets_of(tier, purpose)}
    by_dataset: dict[str, Form] = {name: _form(held, policies) for name, held in sorted(plan_sets.items())}
    present = {form.category for form in by_dataset.values()}
    forms = Forms(
        tier=tier,
        purpose=purpose,
        version=policies.version,
        plan_hash=policies.hash_of(tier, purpose),
        plan_sets=plan_sets,
        by_dataset=by_dataset,
        categories=tuple(category for category in _ORDER if category in present),
    )
    policies.memo["forms", tier, purpose] = forms
    return forms


def _form(held: PlanSet, policies: Policies) -> Form:
    shown = list(held.shown)
    if any(plan.summary is not None for plan in held.plans.values()):
        shown.append("summary")
    treated = [name for name in shown if any(name in plan.treatments for plan in held.plans.values())]
    exported = {name for name in shown if name == "summary" or any(plan.can(name, "export") for plan in held.plans.values())}
    bulk = [name for name in shown if name in exported]
    bulk_treated = [name for name in treated if name in exported]
    withheld = {
        kind: frozenset(step.field for step in plan.steps if not plan.can(step.field, "export")) for kind, plan in held.plans.items()
    }
    bulk_columns = flat.record_columns(shown=bulk, treated=bulk_treated)
    bulk_listing_columns = flat.record_columns(shown=bulk, treated=bulk_treated, listing=True, promoted=LISTED_FIELDS)
    silent = {kind: frozenset(step.field for step in plan.steps if not plan.can(step.field, "delta")) for kind, plan in held.plans.items()}
    return Form(
        dataset=held.dataset,
        category=policies.catalogue.datasets[held.dataset].category,
        columns=flat.record_columns(shown=shown, treated=treated),
        listing_columns=flat.record_columns(shown=shown, treated=treated, listing=True, promoted=LISTED_FIELDS),
        bulk_columns=bulk_columns,
        bulk_listing_columns=bulk_listing_columns,
        table=flat.Table(bulk_columns),
        listing_table=flat.Table(bulk_listing_columns),
        withheld=withheld,
        unfit={kind: names & exported for kind, names in withheld.items()},
        silent=silent,
        searched=frozenset(kind for kind, plan in held.plans.items() if plan.can("name", "search")),
    )


def kind_of_form(form: str) -> SubjectKind:
    """The kind of subject behind a shown subject kind."""
    return "individual_business" if form == HOUSEHOLD else "natural" if form == "person" else "legal"


def without(document: dict[str, Any], withheld: frozenset[str]) -> dict[str, Any]:
    """A record document as bulk output has it."""
    if not withheld:
        return document
    bulk = {key: value for key, value in document.items() if not (key in withheld and key in ENVELOPE_FIELDS)}
    if "severity" in withheld:
        bulk.pop("severity_label", None)
    for part in ("subject", "fields", "treatments"):
        bulk[part] = {key: value for key, value in bulk[part].items() if key not in withheld}
    return bulk


def bulk_document(forms: Forms, document: dict[str, Any]) -> dict[str, Any]:
    """A record document as bulk output has it, whatever its dataset and kind."""
    form = forms.by_dataset[document["dataset"]]
    return without(document, form.withheld.get(kind_of_form(document["subject"]["kind"]), frozenset()))

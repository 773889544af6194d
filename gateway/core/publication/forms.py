"""What the documents of one dataset look like under one plan set: columns, what bulk output leaves out, what makes a change.

Rules: a form follows from plans alone and is computed once a policy version; two callers of one plan set get one form, and so do two
with equal grants. What one caller reaches by several grants is asked under all their ceilings together and shown under each. A field
without `export` stands in no bulk output, one without `delta` makes no change entry; one without `search` is not in the index.
This room must not see a record.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec
from msgspec import Struct, field, structs

from gateway.core.callers.caller import BOUND_TIERS, Caller
from gateway.core.disclosure.gates import MEMO_LIMIT
from gateway.core.disclosure.narrowing import Reach, granted, narrowed, reaches_of
from gateway.core.disclosure.plans import Plan, PlanSet, Policies, digest
from gateway.core.disclosure.seats import asked_of
from gateway.core.publication import flat
from gateway.core.publication.documents import ENVELOPE_FIELDS, HOUSEHOLD
from gateway.core.publication.listings import LISTED_FIELDS
from gateway.core.records.catalogue import Licence
from gateway.core.records.model import Capability, SubjectKind

TAG_DIGITS = 40
WRITTEN = 2
"""By which words, marks and shapes of the program itself documents are written. Raised whenever it would write another document of the same
record under the same plan: then a store that an older program has rendered is rendered again, and its validators and cursors are new
(a test holds what is written, decisions/0077)."""
FED_TIERS = BOUND_TIERS | {"public"}
"""Tiers that may have a sequence of changes of their own; `developer` reads public's, and the subject has none."""


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
    asked: frozenset[str]
    """What the row rules of its plans ask for beside region and owner."""
    searched: frozenset[SubjectKind]
    """Kinds whose shown name is in the names index."""


class Forms(Struct, frozen=True, kw_only=True):
    """Of one (tier, purpose) over all its datasets, in order of id."""

    tier: str
    purpose: str
    version: int
    plan_hash: str
    plan_sets: Mapping[str, PlanSet]
    """Dataset → the plans under which it may be asked."""
    reaches: Mapping[str, tuple[Reach, ...]] = MappingProxyType({})
    """Of one caller: dataset → what it sees of it, the first that reaches a record first. Empty where everybody of the tier is meant."""
    reach: str = ""
    """Of one caller: the name of its reaches; empty as above."""
    by_dataset: Mapping[str, Form]
    categories: tuple[str, ...]
    """Categories of its datasets, in the order in which `record_counts` names them."""
    licences: Mapping[str, Licence] = MappingProxyType({})
    """Every licence there is, the strictest last."""
    remembered: dict[Any, Any] = field(default_factory=dict)
    """What follows from plans alone and is asked for at every request; filled as it is asked."""
    tag: str = ""
    """What a rendering is filed under: plans, how the program writes, policy version; of one caller also what it reaches. Worked out, never
    given."""

    def __post_init__(self) -> None:
        """Work the tag out."""
        tag = f"{self.plan_hash[:TAG_DIGITS]}-{WRITTEN}@{self.version}"
        structs.force_setattr(self, "tag", f"{tag}.{self.reach[:TAG_DIGITS]}" if self.reach else tag)

    @property
    def name(self) -> str:
        """Name of its sequence of changes."""
        return f"{self.tier}/{self.purpose}"

    @property
    def fed(self) -> bool:
        """Whether it may have a sequence of changes; the subject asks for records as they stand."""
        return self.tier in FED_TIERS

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
        rest = [column for column in envelope if column not in flat.RECORD_COLUMNS and column != flat.SALT]
        return (*head, *tails, *rest, *found, *((flat.SALT,) if flat.SALT in envelope else ()))


_ORDER = ("registration", "licence", "penalty", "blacklist", "redlist", "commitment", "evaluation", "abnormal", "agency_filing", "measure")


def forms_of(policies: Policies, tier: str, purpose: str) -> Forms:
    """The forms of a tier and purpose under a policy version; remembered with it."""
    known = policies.memo.get(("forms", tier, purpose))
    if isinstance(known, Forms):
        return known
    plan_sets: dict[str, PlanSet] = {held.dataset: held for held in policies.sets_of(tier, purpose)}
    by_dataset: dict[str, Form] = {name: _form(held, policies) for name, held in sorted(plan_sets.items())}
    forms = Forms(
        tier=tier,
        purpose=purpose,
        version=policies.version,
        plan_hash=policies.hash_of(tier, purpose),
        plan_sets=plan_sets,
        by_dataset=by_dataset,
        categories=_categories(by_dataset),
        licences=policies.catalogue.licences,
    )
    policies.memo["forms", tier, purpose] = forms
    return forms


def _categories(by_dataset: Mapping[str, Form]) -> tuple[str, ...]:
    present = {form.category for form in by_dataset.values()}
    return tuple(category for category in _ORDER if category in present)


def forms_for(policies: Policies, caller: Caller) -> Forms:
    """The forms of one caller: those of its tier and purpose, as its grants narrow them; remembered with the policy version."""
    if caller.open:
        return forms_of(policies, caller.plan_tier, caller.purpose)
    about = (caller.org, caller.app, caller.unit, caller.subject_key, _ENCODER.encode(caller.grants))
    key = ("forms-for", caller.plan_tier, caller.purpose, about)
    known = policies.memo.get(key)
    if isinstance(known, Forms):
        return known
    reaches: dict[str, tuple[Reach, ...]] = {}
    plan_sets: dict[str, PlanSet] = {}
    for held in policies.sets_of(caller.plan_tier, caller.purpose):
        found = reaches_of(policies, caller, held)
        if found:
            reaches[held.dataset] = found
            plan_sets[held.dataset] = found[0].plan_set if len(found) == 1 else narrowed(policies, held, granted(caller, held.dataset))
    by_dataset = {name: _form(plan_sets[name], policies, [each.plan_set for each in found]) for name, found in reaches.items()}
    hashes = {name: list(dict.fromkeys(each.plan_set.hash for each in found)) for name, found in reaches.items()}
    forms = Forms(
        tier=caller.plan_tier,
        purpose=caller.purpose,
        version=policies.version,
        plan_hash=digest([each for held in hashes.values() for each in held]),
        plan_sets=plan_sets,
        reaches=MappingProxyType(reaches),
        reach=digest([(name, each.plan_set.hash, each.attributes) for name, found in reaches.items() for each in found]),
        by_dataset=by_dataset,
        categories=_categories(by_dataset),
        licences=policies.catalogue.licences,
    )
    if len(policies.memo) >= MEMO_LIMIT:
        policies.memo.clear()
    policies.memo[key] = forms
    return forms


_ENCODER = msgspec.json.Encoder(order="sorted")


def _form(held: PlanSet, policies: Policies, seen: Sequence[PlanSet] = ()) -> Form:
    """The form of a plan set; `seen`: the several under which one caller sees it."""
    ways = seen or (held,)
    plans = [plan for each in ways for plan in each.plans.values()]
    names = {name for each in ways for name in each.shown}
    shown = [name for name in held.described if name in names]
    if any(plan.summary is not None for plan in plans):
        shown.append("summary")
    treated = [name for name in shown if any(name in plan.treatments for plan in plans)]
    withheld = _without_right(ways, "export")
    exported = {name for name in shown if name == "summary" or any(plan.can(name, "export") for plan in plans)}
    bulk = [name for name in shown if name in exported]
    bulk_treated = [name for name in treated if name in exported]
    bulk_columns = flat.record_columns(shown=bulk, treated=bulk_treated)
    bulk_listing_columns = flat.record_columns(shown=bulk, treated=bulk_treated, listing=True, promoted=LISTED_FIELDS)
    silent = _without_right(ways, "delta")
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
        asked=asked_of(ways),
        searched=frozenset(kind for kind, plan in held.plans.items() if plan.can("name", "search")),
    )


def _without_right(ways: Sequence[PlanSet], right: Capability) -> dict[SubjectKind, frozenset[str]]:
    """For each kind what is shown without a right; where a caller sees a kind in several ways, what lacks it in one of them."""
    found: dict[SubjectKind, frozenset[str]] = {}
    for each in ways:
        for kind, plan in each.plans.items():
            here = frozenset(step.field for step in plan.steps if not plan.can(step.field, right))
            found[kind] = found.get(kind, frozenset()) | here
    return found


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

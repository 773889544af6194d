"""Look at a policy without looking at anybody: the synthetic twin through real views (policy.md §10).

Rules: records are made from the definitions of the fields, never read from the store; what is shown has passed a plan of the policy in
force. Where an organisation is named, its grants narrow the plans. This story must not open a record.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Final

from msgspec import Struct, structs

from gateway.core.callers.caller import BOUND_TIERS, OPEN_PURPOSE
from gateway.core.callers.grants import Grant
from gateway.core.disclosure.plans import Plan, PlanSet, Policies
from gateway.core.disclosure.synthetic import SAMPLE_KEY, noon
from gateway.core.disclosure.twin import Twin, TwinCase, twins
from gateway.core.disclosure.views import closed_gate, view
from gateway.core.errors import PolicyError
from gateway.core.records.model import DatasetId, SubjectKind, Value
from gateway.core.records.periods import legal_day
from gateway.operations.explain_policy import grants_of, narrowings
from gateway.services import Services

DAYS: Final = (date(1950, 1, 1), date(2199, 12, 31))
"""Days that may be previewed: a synthetic life reaches decades to either side of one."""


class Previewed(Struct, frozen=True, kw_only=True):
    """One synthetic record as a tier would see it."""

    dataset: str
    tier: str
    purpose: str
    grant: str | None = None
    """The grant under which an organisation would see it."""
    kind: SubjectKind
    case: TwinCase
    closed: str | None
    """The gate that is closed; None: it is shown."""
    fields: Mapping[str, Value]
    treatments: Mapping[str, str]
    marks: tuple[str, ...]
    publish_until: date | None


async def previewed(
    services: Services, *, tier: str, dataset: str | None, purpose: str | None, org: str | None, at: date | None
) -> list[Previewed]:
    """The whole answer of `policy preview`, on that day (else today), as the grants of an organisation narrow it.

    Raises PolicyError policy-S10, AdminError grant-unknown.
    """
    policies = await services.policies.fresh()
    granted = await grants_of(services, org, tier) if org is not None else None
    day = legal_day(services.clock()) if at is None else at
    return preview(policies, tier=tier, dataset=dataset, purpose=purpose, at=day, granted=granted)


def preview(
    policies: Policies, *, tier: str, dataset: str | None, purpose: str | None, at: date, granted: Sequence[Grant] | None = None
) -> list[Previewed]:
    """The twin of a dataset (None: of each) as a tier sees it for a purpose (None: for each of its own).

    Raises PolicyError policy-S10 for a tier, dataset or purpose that stands nowhere, and for a day of which no record could be.
    """
    for known, name, what in (
        (tier in policies.tiers, tier, "tier"),
        (dataset is None or DatasetId(dataset) in policies.catalogue.datasets, dataset, "dataset"),
        (purpose is None or purpose in policies.purposes, purpose, "purpose"),
    ):
        if not known:
            raise PolicyError(
                f"there is no such {what}", code="policy-S10", field=name, hint="`chengxin policy status` names what there is"
            )
    if not DAYS[0] <= at <= DAYS[1]:
        raise PolicyError("there is no synthetic record of such a day", code="policy-S10", field="at", hint="a day from 1950 to 2199")
    asked = "public" if tier == "developer" or purpose == OPEN_PURPOSE else tier
    held = [
        found
        for (of, whose, why), found in policies.plan_sets.items()
        if whose == asked and dataset in (None, of) and purpose in (None, why)
    ]
    if granted is not None and tier in BOUND_TIERS and asked == tier:  # what an organisation has no grant for it does not see
        mine = {(grant.dataset, why) for grant in granted for why in grant.purposes}
        held = [found for found in held if (found.dataset, found.purpose) in mine]
    return [
        shown
        for found in held
        for grant, narrow in narrowings(policies, granted, dataset=found.dataset, tier=tier, purpose=found.purpose)
        for shown in _previewed(policies, found if narrow is None else narrow(found), at, grant)
    ]


def _previewed(policies: Policies, plan_set: PlanSet, at: date, grant: str | None) -> Sequence[Previewed]:
    return [
        structs.replace(seen_by(policies, twin, plan, at), grant=grant)
        for kind, plan in plan_set.plans.items()
        for twin in twins(policies, plan_set.dataset, kind, at, "sharing" if plan.gate.period == "sharing" else "publication")
    ]


def seen_by(policies: Policies, twin: Twin, plan: Plan, at: date) -> Previewed:
    """A synthetic record through a plan."""
    now = noon(at)
    made = view(twin.record, plan, policies, now, None, keyed=SAMPLE_KEY)
    return Previewed(
        dataset=twin.dataset,
        tier=plan.tier,
        purpose=plan.purpose,
        kind=twin.kind,
        case=twin.case,
        closed=None if made is not None else closed_gate(twin.record, plan, policies, now) or "failed",
        fields=made.fields if made is not None else {},
        treatments=made.treatments if made is not None else {},
        marks=tuple(mark.code for mark in made.marks) if made is not None else (),
        publish_until=made.publish_until if made is not None else None,
    )

"""What an agreement lets applications of the other party read through the API.

For the tiers of partners, the province and the bank the grant *is* the agreement in force (policy.md §3): a grant of such an app counts
only as far as an agreement says the same, and only while that agreement is in force.

Rules: an agreement is one with an organisation when the code of the other party's operating body is the organisation's; its `[local]`
tier is the tier of those apps. It gives the datasets of the streams that we send, inside their regions, for the purposes that it names,
and `mutual.query` for the datasets of its query terms. What is suspended, ended, not yet in force or signed by one side gives nothing.
This room must not read the store.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime

from gateway.core.callers.caller import AGREED_TIERS
from gateway.core.callers.grants import Grant
from gateway.core.exchange.agreements import Agreement, Held, in_force
from gateway.core.records.divisions import covers

QUERY = "mutual.query"


def active_with(agreements: Iterable[Sequence[Held]], *, org: str, tier: str, ours: str, at: datetime) -> tuple[Agreement, ...]:
    """The agreements in force with an organisation for apps of a tier; `agreements` are the versions of each."""
    found = []
    for versions in agreements:
        held = in_force(versions, at)
        if held is None or ours not in held.agreement.parties or held.standing(at).state != "active":
            continue
        other = held.agreement.party(held.agreement.other(ours))
        if other.identity.org == org and held.local.tier == tier:
            found.append(held.agreement)
    return tuple(found)


def kept(grants: Iterable[Grant], agreements: Sequence[Sequence[Held]], *, tier: str, ours: str, at: datetime) -> tuple[Grant, ...]:
    """The grants of an app as far as agreements in force say the same; those of a department's app as they are."""
    if tier not in AGREED_TIERS:
        return tuple(grants)
    found = []
    for grant in grants:
        under = active_with(agreements, org=grant.org, tier=tier, ours=ours, at=at)
        purposes = tuple(purpose for purpose in grant.purposes if any(gives(one, ours, grant, purpose) for one in under))
        if purposes:
            found.append(grant.keeping(purposes))
    return tuple(found)


def gives(agreement: Agreement, ours: str, grant: Grant, purpose: str) -> bool:
    """Whether an agreement gives what a grant says for one purpose: dataset and regions; its dates are another matter."""
    terms = agreement.terms
    if purpose not in terms.purposes:
        return False
    if purpose == QUERY:
        return terms.query is not None and grant.dataset in terms.query.datasets
    stream = agreement.stream(grant.dataset, ours)
    return stream is not None and all(_inside(stream.scope.regions, stream.scope.except_, region) for region in grant.regions)


def lasts(agreement: Agreement, grant: Grant) -> bool:
    """Whether a grant lies within the life of an agreement, first and last day included."""
    return agreement.terms.effective <= grant.from_.isoformat() and grant.until.isoformat() <= agreement.terms.expires


def _inside(regions: Iterable[str], outside: Iterable[str], region: str) -> bool:
    """Whether a whole region is agreed, and no part of it taken out."""
    return any(covers(scope, region) for scope in regions) and not any(covers(scope, region) or covers(region, scope) for scope in outside)

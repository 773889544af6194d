"""For whom there is a sequence of changes: the public, the departments, and whoever else could read one today or not long ago.

Rules: the public's and the departments' are always kept. A plan set of another tier has one from the day on which a live grant of an
active app (in test mode also a trial token) lets somebody ask for its purpose, and keeps it for `KEPT` after the last of
them, so that a grant renewed in time goes on where it stood; a city without partners pays nothing for them. This room must not
look at what a feed says.
"""

from datetime import timedelta

from gateway.core.callers.caller import BOUND_TIERS
from gateway.core.disclosure.plans import Policies
from gateway.core.publication.forms import Forms, forms_of
from gateway.core.records.periods import legal_day
from gateway.operations.identify_caller import purpose_open
from gateway.services import Services
from gateway.store import clients, grants, renderings
from gateway.store.clients import EVERY_DATASET
from gateway.store.reads import moment_of

PUBLIC = ("public", "open.read")
KEPT = timedelta(days=31)
"""So long a feed that nobody may read any more is kept: the shortest window that is promised (api.md §7.9)."""
Pair = tuple[str, str]


async def fed(services: Services, policies: Policies) -> tuple[Forms, ...]:
    """The plan sets that have a sequence of changes: the public's first."""
    known = {(tier, purpose) for _, tier, purpose in policies.plan_sets}
    kept = {pair for pair in known if pair[0] == "department"} | await _lately(services) | await in_use(services, policies)
    return tuple(forms_of(policies, *pair) for pair in (PUBLIC, *sorted((kept & known) - {PUBLIC})))


async def in_use(services: Services, policies: Policies) -> frozenset[Pair]:
    """Each (tier, purpose) under which somebody may come today and be shown a dataset."""
    reads, now = services.store.reads, services.clock()
    moment = moment_of(reads)
    key = ("feeding", services.policies)
    if moment is None or key not in moment.known:
        said = await grants.in_force(reads), await clients.trials(reads, now) if services.settings.demo else []
        if moment is not None:
            moment.known[key] = said
    else:
        said = moment.known[key]
    granted, trials = said
    day = legal_day(now)
    found = {(tier, grant.dataset, purpose) for tier, grant in granted if grant.live(day) for purpose in grant.purposes}
    found |= {(tier, dataset, purpose) for tier, access in trials for dataset, purpose in access}
    return frozenset(
        (tier, purpose)
        for tier, dataset, purpose in found
        if tier in BOUND_TIERS
        and purpose_open(policies, tier, purpose)
        and (dataset == EVERY_DATASET or (dataset, tier, purpose) in policies.plan_sets)
    )


async def _lately(services: Services) -> set[Pair]:
    """What was in use some time in the last days."""
    since = (legal_day(services.clock()) - KEPT).isoformat()
    return {pair_of(name) for name, day in (await renderings.days_used(services.store.reads)).items() if day >= since}


def pair_of(name: str) -> Pair:
    """Tier and purpose of a plan set's name."""
    tier, _, purpose = name.partition("/")
    return tier, purpose

"""Which apps a change of policy concerns, and how much they called in the last thirty days (policy.md §9).

Rules: an app is concerned by a plan set of its tier that it may read: developers the public ones, bound apps those of their live grants.
Calls are counted from the audit trail, which holds only plans that owe a row a call; those that owe a counter alone are not told. This
story must not name a record or a question.
"""

from collections.abc import Collection
from datetime import timedelta

from msgspec import Struct

from gateway.core.records.periods import legal_day
from gateway.services import Services
from gateway.store import apps, audit_log, grants

SetKey = tuple[str, str, str]
"""Dataset, tier, purpose."""
DAYS = 30


class AppConcerned(Struct, frozen=True, kw_only=True):
    """An app, the datasets and purposes of it that change, and its calls of the last thirty days for them."""

    app: str
    name: str
    org: str
    tier: str
    datasets: tuple[str, ...]
    purposes: tuple[str, ...]
    calls_30d: int


async def apps_concerned(services: Services, changed: Collection[SetKey]) -> tuple[AppConcerned, ...]:
    """The apps that read one of these plan sets, the busiest first."""
    reads, today = services.store.reads, legal_day(services.clock())
    calls = await audit_log.calls_of_apps(reads, (today - timedelta(days=DAYS)).isoformat())
    found: list[AppConcerned] = []
    for app in await apps.everyone(reads):
        if not app.live:
            continue
        mine = {(dataset, purpose) for dataset, tier, purpose in changed if tier == ("public" if app.tier == "developer" else app.tier)}
        if app.tier not in ("public", "developer"):
            live = [grant for grant in await grants.active(reads, app.app) if grant.live(today)]
            mine &= {(grant.dataset, purpose) for grant in live for purpose in grant.purposes}
        if mine:
            purposes = {purpose for _, purpose in mine}
            called = [
                number
                for (of, dataset, purpose), number in calls.items()
                if of == app.app and ((dataset, purpose) in mine or (not dataset and purpose in purposes))
            ]
            found.append(
                AppConcerned(
                    app=app.app,
                    name=app.name,
                    org=app.org,
                    tier=app.tier,
                    datasets=tuple(sorted({dataset for dataset, _ in mine})),
                    purposes=tuple(sorted(purposes)),
                    calls_30d=sum(called),
                )
            )
    return tuple(sorted(found, key=lambda each: (-each.calls_30d, each.app)))

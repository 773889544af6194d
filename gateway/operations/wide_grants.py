"""Grants of test mode: what a token of `chengxin key issue-token` may use without anybody having granted anything.

Rules: only in test mode; as wide as the place of the organisation in the settings (its authority's region, else the city), for every
dataset and theme, for one purpose. Outside test mode such a token reaches nothing. This room must not be asked for an app that
is registered.
"""

from datetime import timedelta
from hashlib import sha256

from gateway.core.callers.grants import Grant, GrantBasis
from gateway.core.errors import NoActivePolicy
from gateway.core.records.periods import legal_day
from gateway.services import Services

_DOCUMENT = "测试模式"


def wide_grants(services: Services, *, org: str, app: str, purpose: str) -> tuple[Grant, ...]:
    """One grant a dataset; none outside test mode, or before a policy is in force."""
    if not services.settings.demo:
        return ()
    try:
        policies = services.policies.current()
    except NoActivePolicy:
        return ()
    day = legal_day(services.clock())
    key = ("wide-grants", org, app, purpose, day)
    known: tuple[Grant, ...] | None = policies.memo.get(key)
    if known is None:
        region = next((each.region for each in services.settings.authorities if each.uscc == org), services.settings.region)
        basis = GrantBasis(document=_DOCUMENT, sha256=sha256(_DOCUMENT.encode()).hexdigest())
        known = policies.memo[key] = tuple(
            Grant(
                id=f"test-mode.{dataset}",
                org=org,
                app=app,
                dataset=dataset,
                purposes=(purpose,),
                regions=(region,),
                from_=day - timedelta(days=1),
                until=day + timedelta(days=1),
                basis=basis,
            )
            for dataset in sorted(policies.catalogue.datasets)
        )
    return known

"""Alarms, the one place for them: raised in the store, told by status, metrics and log.

Rules: whatever cannot be mended by the gateway itself and must not wait for somebody to look by chance is an alarm; it stands until
what it tells of is over. A story raises with `sound` in its own transaction, or `raise_alarm` outside one. Kinds:

    policy-unconfirmed     a version that one person put into force is not confirmed after 24 hours; it stays in force
    policy-schedule-failed a scheduled version did not come into force; the old one stays
    treatment-failed       a treatment of one field of a plan breaks (field `*`: whole records); the field is left out until it is mended
    grounds-ending         the legal grounds of a plan end within a month, or have ended: its answers will be 503
    texts-overdue          held texts of a dataset wait too long for their reviewer
    retention-over         records of a dataset were kept long enough: a key custodian erases them; over when there are none
    partner-keys           a partner's keys document went back, or two have one serial; over when a newer one comes
    partner-key-revoked    a partner's key had signed what we took after its revocation: a person has to look
    stream-frozen          a partner signed two batches of one number, or two roots of one size; nothing of the stream is applied
    stream-gap             a batch waits for its predecessor since a day
    epoch-awaited          what a stream told was purged with an agreement, and its sender has not begun to say it again within an hour
    batch-held-overdue     nobody has decided about a held batch in the agreed time (`hold_h`); over with the decision
    stream-stopped         a stream of ours stands still until a person has looked; over when it goes on
    receipt-overdue        a partner gave no final receipt in the agreed time; over with the receipt
    withdrawals-overdue    a partner has not acknowledged withdrawals in the agreed time; `-twice`: in twice that
    erasures-overdue       the same of erasures
    agreement-ending       an agreement ends within a month and no successor is signed; over with one, or with its end
    notice-dated-back      a partner suspends or ends with a date long before we knew: it counts from then; over after a week
    query-scraping         a partner asks for whoever may be there: nearly all misses, or codes that follow one another; over after a day
    audit-broken           the trail is not what was signed, or lacks what was written; no further checkpoint is made
    audit-unsealed         no key of ours may sign a checkpoint
    audit-unavailable      an access could not be written down, so nothing was shown; over with the next that can
    limits-unreachable     the shared buckets do not answer, so each process counts alone; over when they answer
    access-log-failed      lines of the access log could not be written: the disk is full, or not ours; over with the next that can

The last three are conditions of a process: it keeps them in mind (`Condition`) while the store cannot be written, and tells later.
This story must not stop anything.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from msgspec import Struct

from gateway.services import Services
from gateway.store import alarms as rows
from gateway.store.alarms import Alarm, clear, sound

__all__ = ["Alarm", "Condition", "clear", "clear_alarm", "endings", "keep", "raise_alarm", "sound", "standing", "tell_failures"]


class Condition(Struct, frozen=True, kw_only=True):
    """Something that is so or is not, as this process sees it now."""

    kind: str
    target: str
    bad: bool | None
    """None as long as there is no news of it."""
    detail: Mapping[str, object] = {}


async def keep(services: Services, conditions: Iterable[Condition], told: dict[tuple[str, str], bool]) -> None:
    """An alarm for each condition that is bad, until it is good again; one read when nothing changed.

    `told` is what this process last said of each: what it raised it ends, and once what stood before it began.
    Raises StoreError; then the next call tries again.
    """
    there = {(each.kind, each.target) for each in await standing(services)}
    for each in conditions:
        key = each.kind, each.target
        if each.bad:
            if key not in there:
                await raise_alarm(services, *key, each.detail)
            told[key] = True
        elif each.bad is False and told.get(key) is not False:
            if key in there:
                await clear_alarm(services, *key, "gateway")
            told[key] = False


async def standing(services: Services) -> list[Alarm]:
    """Every alarm that stands, oldest first."""
    return await rows.standing(services.store.reads)


async def raise_alarm(services: Services, kind: str, target: str, detail: Mapping[str, object]) -> bool:
    """Raise an alarm in a transaction of its own; false when it stands already."""
    async with services.store.transaction() as tx:
        return await sound(tx, kind, target, detail)


AHEAD: Final = timedelta(days=31)
"""So long before its grounds end a plan is told of: time for another version with all its approvals."""


def endings(services: Services) -> list[Condition]:
    """Of every dataset whether a plan of it, for anybody, soon ends with its grounds."""
    if services.policies.version == 0:
        return []
    by_dataset: dict[str, list[tuple[datetime, str]]] = {}
    for (dataset, tier, purpose), held in services.policies.current().plan_sets.items():
        plans = by_dataset.setdefault(dataset, [])
        plans.extend(
            (plan.valid_until, f"{tier}/{purpose}/{kind}") for kind, plan in held.plans.items() if plan.valid_until is not None
        )
    soon = services.clock() + AHEAD
    return [
        Condition(kind="grounds-ending", target=name, bad=bool(plans) and min(plans)[0] <= soon, detail=_first(plans))
        for name, plans in sorted(by_dataset.items())
    ]


def _first(plans: Sequence[tuple[datetime, str]]) -> Mapping[str, object]:
    if not plans:
        return {}
    end = min(plans)[0]
    return {"end": end.isoformat(), "plans": sorted(name for until, name in plans if until == end)}


async def tell_failures(services: Services) -> int:
    """An alarm for each plan and field whose treatment broke since this was last asked; how often any did."""
    if services.policies.version == 0:
        return 0
    failures = services.policies.current().failures
    total = 0
    for key, times in list(failures.items()):
        dataset, tier, purpose, kind, field = key
        detail = {"policy_version": services.policies.version, "times": times}
        await raise_alarm(services, "treatment-failed", f"{dataset}/{tier}/{purpose}/{kind}/{field}", detail)
        failures[key] -= times
        if not failures[key]:
            del failures[key]
        total += times
    return total


async def clear_alarm(services: Services, kind: str, target: str, by: str) -> bool:
    """Clear an alarm in a transaction of its own; false when none stood."""
    async with services.store.transaction() as tx:
        return await clear(tx, kind, target, by)

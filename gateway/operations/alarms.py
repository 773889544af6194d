"""Alarms, the one place for them: raised in the store, told by status, metrics and log.

Rules: whatever cannot be mended by the gateway itself and must not wait for somebody to look by chance is an alarm; it stands until
what it tells of is over. A story raises with `sound` in its own transaction, or `raise_alarm` outside one. Kinds:

    policy-unconfirmed     a version that one person put into force is not confirmed after 24 hours; it stays in force
    policy-schedule-failed a scheduled version did not come into force; the old one stays
    audit-unavailable, …   of other rooms

This story must not stop anything.
"""

from collections.abc import Mapping

from gateway.services import Services
from gateway.store import alarms as rows
from gateway.store.alarms import Alarm, clear, sound

__all__ = ["Alarm", "clear", "clear_alarm", "raise_alarm", "sound", "standing"]


async def standing(services: Services) -> list[Alarm]:
    """Every alarm that stands, oldest first."""
    return await rows.standing(services.store.reads)


async def raise_alarm(services: Services, kind: str, target: str, detail: Mapping[str, object]) -> bool:
    """Raise an alarm in a transaction of its own; false when it stands already."""
    async with services.store.transaction() as tx:
        return await sound(tx, kind, target, detail)


async def clear_alarm(services: Services, kind: str, target: str, by: str) -> bool:
    """Clear an alarm in a transaction of its own; false when none stood."""
    async with services.store.transaction() as tx:
        return await clear(tx, kind, target, by)

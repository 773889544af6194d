"""Token buckets with cost: how much of its quota a caller still has (policy.md §16).

Rules: costs are counted in fifths of a request, so that 0.2 is exact; a bucket holds at most its quota and fills evenly; in any time t
it lets through at most q + q·t/w. What is known of a cost is taken beforehand and refused when it is not there; the rest is owed
afterwards and may bring the bucket below nothing, so that a large answer delays the next call. This room knows no clock and no store.
"""

from collections.abc import Sequence
from math import ceil, floor
from typing import Final

from msgspec import Struct, structs

FIFTHS: Final = 5
"""Fifths of one request."""


class Quota(Struct, frozen=True, kw_only=True):
    """So many requests in so many seconds."""

    name: str
    """As the header fields call it: `burst`, `day`."""
    q: int
    w: int
    capacity: int = 0
    """Of a full bucket, in fifths; worked out once, for it is asked six times a request."""
    rate: float = 0.0
    """Fifths that flow in a second; worked out likewise."""
    opening: str = ""
    """How `RateLimit` begins to speak of it; likewise."""

    def __post_init__(self) -> None:
        """Work out what follows from quota and window."""
        structs.force_setattr(self, "capacity", self.q * FIFTHS)
        structs.force_setattr(self, "rate", self.q * FIFTHS / self.w)
        structs.force_setattr(self, "opening", f'"{self.name}";r=')


class Level(Struct, frozen=True, gc=False):
    """What a bucket held at a moment: fifths (below zero: owed), and seconds of whatever clock counts."""

    fifths: float
    at: float


def level_at(level: Level | None, quota: Quota, now: float) -> float:
    """Fifths in a bucket now; one that nobody has used is full, and a clock that was set back fills nothing."""
    if level is None:
        return quota.capacity
    fifths = level.fifths
    if now > level.at:
        fifths += (now - level.at) * quota.rate
    return fifths if fifths < quota.capacity else float(quota.capacity)


def take(levels: Sequence[Level | None], quotas: Sequence[Quota], fifths: int, now: float) -> tuple[bool, tuple[Level, ...]]:
    """Take a known cost from every bucket, or from none; whether it was there, and the levels after it.

    What costs more than a bucket can hold needs a full one, and leaves a debt.
    """
    enough, held = True, []
    for level, quota in zip(levels, quotas, strict=True):
        there = level_at(level, quota, now)
        enough = enough and (there >= fifths or there >= quota.capacity)
        held.append(there)
    taken = fifths if enough else 0
    return enough, tuple([Level(there - taken, now) for there in held])


def pay(levels: Sequence[Level | None], quotas: Sequence[Quota], fifths: int, now: float) -> tuple[tuple[Level, ...], str] | None:
    """`take`, with what `told` says afterwards as `RateLimit` writes it; None where the cost is not there.

    One pass for the answers that cost less than two: each bucket is looked at once, without `level_at`, which it repeats.
    """
    after, said = [], []
    for level, quota in zip(levels, quotas, strict=True):
        capacity = quota.capacity
        if level is None:
            there: float = capacity
        else:
            there = level.fifths
            if now > level.at:
                there += (now - level.at) * quota.rate
            if there > capacity:
                there = capacity
        if there < fifths and there < capacity:
            return None
        there -= fifths
        after.append(Level(there, now))
        said.append(f"{quota.opening}{int(there // FIFTHS) if there > 0 else 0};t={ceil((capacity - there) / quota.rate)}")
    return tuple(after), ", ".join(said)


def pay_both(levels: Sequence[Level], quotas: Sequence[Quota], fifths: int, now: float) -> tuple[tuple[Level, ...], str] | None:
    """`pay` from two buckets that were used before, as nearly every look-up does: written out, for the loop is a third of it."""
    first, second = levels
    one, two = quotas
    most, there = one.capacity, first.fifths
    if now > first.at:
        there += (now - first.at) * one.rate
    if there > most:
        there = most
    full, left = two.capacity, second.fifths
    if now > second.at:
        left += (now - second.at) * two.rate
    if left > full:
        left = full
    if (there < fifths and there < most) or (left < fifths and left < full):
        return None
    there -= fifths
    left -= fifths
    said = (
        f"{one.opening}{int(there // FIFTHS) if there > 0 else 0};t={ceil((most - there) / one.rate)}, "
        f"{two.opening}{int(left // FIFTHS) if left > 0 else 0};t={ceil((full - left) / two.rate)}"
    )
    return (Level(there, now), Level(left, now)), said


def owe(levels: Sequence[Level | None], quotas: Sequence[Quota], fifths: int, now: float) -> tuple[Level, ...]:
    """Take a cost that became known afterwards, whether it is there or not."""
    return tuple(Level(level_at(level, quota, now) - fifths, now) for level, quota in zip(levels, quotas, strict=True))


def remaining(level: Level, quota: Quota, now: float) -> int:
    """Whole requests that are left, rounded down; never below nothing."""
    return max(0, floor(level_at(level, quota, now) / FIFTHS))


def told(levels: Sequence[Level | None], quotas: Sequence[Quota], now: float) -> list[tuple[str, int, int]]:
    """Of each bucket its name, the whole requests that are left, and whole seconds until it is full: what every answer says."""
    found = []
    for level, quota in zip(levels, quotas, strict=True):
        fifths = level_at(level, quota, now)
        found.append((quota.name, int(fifths // FIFTHS) if fifths > 0 else 0, ceil((quota.capacity - fifths) / quota.rate)))
    return found


def seconds_until(level: Level, quota: Quota, now: float, fifths: int) -> int:
    """Whole seconds until a bucket holds so much (at most its capacity)."""
    missing = min(fifths, quota.capacity) - level_at(level, quota, now)
    return ceil(missing / quota.rate) if missing > 0 else 0


def is_full(level: Level, quota: Quota, now: float) -> bool:
    """Whether forgetting the bucket would change nothing."""
    return level_at(level, quota, now) >= quota.capacity


def decimal(fifths: int) -> str:
    """A cost as `Request-Cost` writes it: 1, 0.2, 1.4."""
    whole, part = divmod(fifths, FIFTHS)
    return f"{whole}.{part * 2}" if part else str(whole)

"""Which way a member of a policy text goes when it changes: provably narrower, or not.

Rules: each comparison is told the value before and after; it says `narrows` only where nothing can be shown by the second that the
first did not show; what it cannot prove `widens`. This room must not know of which text the values are.
"""

from collections.abc import Callable, Iterable
from typing import Any, Literal

import msgspec

from gateway.core.disclosure.rules import Redline
from gateway.core.disclosure.treatments import leq, treatment_of
from gateway.core.records.model import BasisRef, Publish
from gateway.core.records.periods import duration_parts

Direction = Literal["widens", "narrows", "neutral"]
Compare = Callable[[Any, Any], Direction]


def always(direction: Direction) -> Compare:
    """The same answer whatever the values are."""
    return lambda _before, _after: direction


def when(narrows: bool) -> Direction:
    """The direction of what is, or is not, proven narrower."""
    return "narrows" if narrows else "widens"


def fewer(before: Iterable[object], after: Iterable[object]) -> Direction:
    """Of things each of which opens something: less is narrower."""
    return when(set(after) <= set(before))


def more(before: Iterable[object], after: Iterable[object]) -> Direction:
    """Of conditions each of which must hold: more is narrower."""
    return when(set(after) >= set(before))


def no_wider(before: BasisRef, after: BasisRef) -> bool:
    """Whether a ground is the same law and in force on no other day."""
    same = (before.law, before.article, before.uri) == (after.law, after.article, after.uri)
    begins = before.from_ is None or (after.from_ is not None and after.from_ >= before.from_)
    ends = before.until is None or (after.until is not None and after.until <= before.until)
    return same and begins and ends


def any_ground(before: Iterable[BasisRef], after: Iterable[BasisRef]) -> Direction:
    """Of grounds one of which must be in force: each that stands now stood there before."""
    held = tuple(before)
    return when(all(any(no_wider(old, new) for old in held) for new in after))


def every_ground(before: Iterable[BasisRef], after: Iterable[BasisRef]) -> Direction:
    """Of grounds all of which must be in force: each that stood there still stands."""
    held = tuple(after)
    return when(all(any(no_wider(old, new) for new in held) for old in before))


def _no_longer(before: str | None, after: str | None) -> bool:
    """Whether a duration is provably no longer; none at all is the longest."""
    if before is None or after is None:
        return before is None
    (months, days), (months_now, days_now) = duration_parts(before), duration_parts(after)
    return months_now <= months and days_now <= days


def shorter(before: str | None, after: str | None) -> Direction:
    """Of a time for which something is shown."""
    return when(_no_longer(before, after))


def longer_kept(before: str | None, after: str | None) -> Direction:
    """Of a time for which it is written down who looked."""
    return when(_no_longer(after, before))


def clock(before: Any, after: Any) -> Direction:
    """A clock of a period: the same but for a shorter time."""
    if before is None or after is None:
        return "widens"
    alike = msgspec.structs.replace(before, max=None) == msgspec.structs.replace(after, max=None)
    return when(alike and _no_longer(before.max, after.max))


def scale(*order: object) -> Compare:
    """Words that stand in an order, the narrowest first."""
    return lambda before, after: when(order.index(after) <= order.index(before))


def at_most(before: Any, after: Any) -> Direction:
    """Of a bound: none is the widest, a smaller one is narrower."""
    return when(after is not None and (before is None or after <= before))


def at_least(before: Any, after: Any) -> Direction:
    """Of a price or a least count: a higher one is narrower, none is the widest."""
    return when(before is None or (after is not None and after >= before))


def burst(before: Any, after: Any) -> Direction:
    """Of a bucket: a smaller one that fills no faster."""
    return when(after.q <= before.q and after.q * before.w <= before.q * after.w)


def published(before: Publish, after: Publish) -> Direction:
    """What the publication clock needs: the same, but for fields more without which nothing is published."""
    alike = msgspec.structs.replace(before, requires=()) == msgspec.structs.replace(after, requires=())
    return when(alike and set(after.requires) >= set(before.requires))


def allowed(before: Any, after: Any) -> Direction:
    """Whether a list takes a kind of subject: false, or the grounds on which it does."""
    if after is False:
        return "narrows"
    return "widens" if before is False else any_ground(before, after)


def ceiling(before: Redline, after: Redline) -> Direction:
    """Of two red lines about the same: a lower one is narrower."""
    if before.max == "drop-row" or after.max == "drop-row":
        return when(after.max == "drop-row")
    return when(leq(treatment_of(after.max), treatment_of(before.max)))

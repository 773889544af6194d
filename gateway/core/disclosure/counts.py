"""Numbers that may be told where persons are among what is counted (policy.md §6 `min_k`, §17 channels 5 and 8).

Rules: below k nothing is told; what is told is rounded down to fives; where a facet hides a single value, which its total would give
away, the next smallest is hidden too. This room must not count.
"""

from collections.abc import Sequence
from typing import Any, Final

BASE: Final = 5


def told_count(number: int, k: int) -> dict[str, Any]:
    """A count as it is told."""
    if number < k:
        return {"value": None, "kind": "suppressed"}
    return {"value": number - number % BASE, "kind": "rounded"}


def told_facet(values: Sequence[tuple[str, int]], k: int) -> list[tuple[str, int]]:
    """The values of a facet that are told, with rounded numbers; order stays, with the most first."""
    shown = sorted((each for each in values if each[1] >= k), key=lambda each: (-each[1], each[0]))
    if len(values) - len(shown) == 1 and shown:
        shown.pop()
    return [(value, number - number % BASE) for value, number in shown]
